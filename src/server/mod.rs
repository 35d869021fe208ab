//! The server: one thread that owns the hub and all session I/O.
//!
//! Reading order: [`run`] sets up lock, socket, table and channel and tears them down again; `core`
//! carries out the hub's actions; `conn` is one session's I/O; `accept` lets sessions in.

// What can happen is a closed list; whoever adds to it is shown every place that has to know.
#![warn(clippy::wildcard_enum_match_arm)]

mod accept;
mod allowance;
mod conn;
mod core;
mod lines;
mod log;
mod manager;
mod past;
mod status;
mod threads;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;

use self::{core::Core, manager::Manager, threads::Threads};
pub use self::{log::Log, status::Status};
use crate::{
    broadcast,
    chat::{
        hub::{Rates, Restored, Rules},
        message::RunId,
        names::UserName,
        rules::Policy,
    },
    config::Settings,
    faults::{Fault, planted},
    history::{self, History, HistoryError},
    limits::{HEARTBEAT_EVERY_MS, HISTORY_JOBS_MAX, IDLE_EXIT_MS},
    os::{self, Lock, LockError, LockNote, Places},
    presence::Table,
    session::Listener,
    wire::frame,
};

/// What a server is told by whoever starts it.
#[derive(Debug)]
pub struct Options {
    /// Where it lives.
    pub places: Places,
    /// What the operator configured.
    pub settings: Settings,
    /// Admits all users of the host.
    pub system: bool,
    /// Uses the broadcast channel if the machine has one.
    pub broadcast: bool,
    /// Keeps what is said on disk.
    pub history: bool,
    /// Ends after so long without sessions.
    pub idle_exit: Option<Duration>,
    /// Who wants to know how it is.
    pub manager: os::ServiceManager,
    /// Its socket, where a service manager made it.
    pub handed_over: Option<os::HandedOver>,
}

/// Why a server did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another one lives there.
    #[error("a server runs already in {} (pid {})", .dir.display(), pid_words(.pid))]
    Running {
        /// Its directory.
        dir: PathBuf,
        /// Its process.
        pid: Option<u32>,
    },
    /// The directory can't be used.
    #[error(transparent)]
    Place(#[from] os::PlaceError),
    /// The history can't be used.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Anything else, with what was being done.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

fn pid_words(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
}

fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ServerError {
    let doing = doing.into();
    move |source| ServerError::Io { doing, source }
}

/// Ends a server from another thread or a signal handler.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Asks the server to end.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// Runs a server until it is stopped. `ready` is called once clients can connect.
///
/// # Errors
/// If it can't start; see [`ServerError`].
pub fn run(
    options: Options,
    log: Log,
    stop: &Stop,
    ready: impl FnOnce(&Places),
) -> Result<(), ServerError> {
    // The lowest descriptor, for what has to be closed last of all.
    let first = os::Reserve::open().map_err(io_error("no descriptor"))?;
    let places = options.places.clone();
    os::prepare(&places, options.system)?;
    let note = LockNote { pid: std::process::id(), runtime_dir: places.runtime.clone() };
    let _lock = match Lock::acquire(&places.lock(), options.system, &note) {
        Ok(lock) => lock,
        Err(LockError::Held { pid }) => {
            return Err(ServerError::Running { dir: places.state, pid });
        }
        Err(LockError::Io(source)) => {
            return Err(ServerError::Io {
                doing: format!("can't lock {}", places.lock().display()),
                source,
            });
        }
    };
    let descriptors = os::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(Threads::MAX)
        .thread_name("moot-lookup")
        .build()
        .map_err(io_error("can't start the event loop"))?;
    let local = tokio::task::LocalSet::new();
    let done =
        runtime.block_on(local.run_until(serve(options, log, stop, ready, (first, descriptors))));
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn serve(
    mut options: Options,
    log: Log,
    stop: &Stop,
    ready: impl FnOnce(&Places),
    (first, descriptors): (os::Reserve, u64),
) -> Result<(), ServerError> {
    let places = options.places.clone();
    let run = RunId(os::random_u32().map_err(io_error("no random numbers"))?);
    let mut degraded = Vec::new();
    let channel = open_channel(&options, run, first).unwrap_or_else(|why| {
        log.warn(&why);
        degraded.push(why);
        None
    });
    let wanted = options.settings.limits.sessions;
    let (sessions, half_open) = accept::room_for(descriptors, wanted);
    if sessions < wanted {
        let why = format!("{descriptors} open files are room for {sessions} sessions of {wanted}");
        log.info(&format!("{why}; raise the limit (LimitNOFILE=, ulimit -n) to take more"));
    }
    let mut rules = rules(&options, run, channel.is_some());
    rules.sessions_max = sessions;
    let (mut restored, mut epoch) = (Restored::default(), 0);
    let (to_commits, commits) = tokio::sync::mpsc::channel(HISTORY_JOBS_MAX);
    let history = if options.history {
        let done = Box::new(move |result| {
            // It fails only when the server has ended.
            let _ = to_commits.blocking_send(result);
        });
        let (history, loaded) = History::open(&places.history(), store(&options), done)?;
        (restored, epoch) = (loaded.restored, loaded.epoch);
        (rules.store, rules.persistent) = (true, true);
        Some(history)
    } else {
        None
    };
    let talked: BTreeSet<u32> =
        restored.conversations.iter().flat_map(|of| [of.users.0, of.users.1]).collect();
    let said: HashMap<u32, UserName> = restored.users.drain(..).collect();
    let socket = places.socket();
    let table = Table::create(&places, options.system, run.0, channel.is_some())
        .map_err(io_error(format!("can't make {}", places.table().display())))?;
    let listener = match options.handed_over.take() {
        Some(handed) => Listener::take_over(handed, &socket)
            .map_err(io_error("can't use what the service manager handed over"))?,
        None => Listener::bind(&socket, options.system)
            .map_err(io_error(format!("can't listen at {}", socket.display())))?,
    };
    let core = Core::new(
        rules,
        channel,
        table,
        log,
        &options,
        (degraded, half_open),
        (history, restored, epoch),
    );
    for uid in talked {
        // Who is not known to the system any more, or not yet, is called as when he said something.
        if let Some(name) = os::user_name(uid).or_else(|| said.get(&uid).cloned()) {
            core.inner.borrow_mut().hub.name_user(uid, name);
        }
    }
    ready(&places);
    let manager = Manager::new(std::mem::take(&mut options.manager));
    manager.ready(&socket);
    core.log.info(&format!("listening on {}", socket.display()));

    let accepting = tokio::task::spawn_local(accept::accept(Rc::clone(&core), listener));
    let committing = tokio::task::spawn_local(past::commits(Rc::clone(&core), commits));
    let badges = tokio::task::spawn_local(past::badges(Rc::clone(&core)));
    let turns = tokio::task::spawn_local(turns(Rc::clone(&core)));
    let idle = idle_exit(Rc::clone(&core), options.idle_exit);
    tokio::select! {
        () = stop.0.notified() => core.log.info("stopping: asked by a signal"),
        () = core.stop_asked.notified() => core.log.info("stopping: asked by a client"),
        () = idle => core.log.info("stopping: no sessions for a while"),
        () = ticks(Rc::clone(&core), &manager) => {}
    }
    manager.stopping();
    accepting.abort();
    let listener_gone = accepting.await;
    drop(listener_gone);
    core.keep();
    core.say_good_bye("server stopped").await;
    core.until_kept().await;
    turns.abort();
    committing.abort();
    badges.abort();
    let mut inner = core.inner.borrow_mut();
    inner.table.close();
    // Its port must not be free for others before the last session is closed: the process's end does it.
    std::mem::forget(inner.channel.take());
    core.log.info("stopped");
    Ok(())
}

fn store(options: &Options) -> history::Options {
    let settings = &options.settings.history;
    let keep = settings.keep().ok().flatten();
    let bytes_max = (settings.bytes_max > 0).then_some(settings.bytes_max);
    let retention = history::Retention { keep, bytes_max };
    history::Options { full_sync: settings.sync == "full", retention }
}

fn rules(options: &Options, run: RunId, broadcast: bool) -> Rules {
    let limits = &options.settings.limits;
    let own = &options.settings.policy;
    let announce = [
        own.announce_info.clone(),
        own.announce_notice.clone(),
        own.announce_warning.clone(),
        own.announce_critical.clone(),
    ];
    let policy =
        Policy { announce, create_rooms: own.create_rooms.clone(), join: own.join.clone() };
    Rules {
        policy,
        host: options.system,
        broadcast,
        broadcast_members_min: options.settings.broadcast.members_min,
        sessions_per_user_max: limits.sessions_per_user,
        rooms_max: limits.rooms,
        rooms_per_user_max: limits.rooms_per_user,
        backlog_bytes_max: limits.backlog_bytes,
        backlog_total_bytes_max: limits.backlog_total_bytes,
        in_flight_bytes_per_user_max: limits.in_flight_bytes_per_user,
        // On a user's own server there is nobody to be fair to.
        rates: if options.system {
            Rates {
                messages: limits.messages_per_second_per_user,
                bytes: limits.bytes_per_second_per_user,
                repair_bytes: limits.repair_bytes_per_second_per_user,
            }
        } else {
            Rates::default()
        },
        ..Rules::new(run, os::own_uid(), frame::batch_header)
    }
}

/// The broadcast channel, if it is wanted and this machine's kernel keeps forgers out of it.
fn open_channel(
    options: &Options,
    run: RunId,
    first: os::Reserve,
) -> Result<Option<broadcast::Sender>, String> {
    if !options.broadcast {
        return Ok(None);
    }
    os::self_test().map_err(|fault| format!("broadcast is off: {fault}"))?;
    broadcast::Sender::open(run.0, first).map(Some).map_err(|e| format!("broadcast is off: {e}"))
}

/// Ends each turn: all sessions that had something to read were read before this task ran again. The next one begins
/// with a look at the sockets; only then those go on that this one had no time for.
async fn turns(core: Rc<Core>) {
    loop {
        core.turn_due.notified().await;
        core.turn();
        if core.has_waiting() {
            look_at_sockets().await;
            core.call_waiting();
        }
    }
}

/// Waits until the runtime has looked at all sockets, and has woken whoever can go on: a task that only wakes itself
/// runs dozens of times before that.
async fn look_at_sockets() {
    if !planted(Fault::TurnWithoutLook) {
        tokio::task::yield_now().await;
    }
}

/// Looks at the timers; more often while something waits for them.
async fn ticks(core: Rc<Core>, manager: &Manager) {
    let mut heartbeat_us = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(core.until_tick()) => {}
            // The next look is nearer now; no number of wake-ups puts it off.
            () = core.busy.notified() => continue,
        }
        core.tick(manager.wait_ms_max());
        let now_us = os::monotonic_us();
        if now_us.saturating_sub(heartbeat_us) >= HEARTBEAT_EVERY_MS * 1000 {
            heartbeat_us = now_us;
            core.heartbeat(now_us);
        }
        // Whoever waits for it learns that timers are looked at and the hub answers.
        manager.beat(now_us, || core.inner.borrow().hub.counters());
    }
}

async fn idle_exit(core: Rc<Core>, after: Option<Duration>) {
    let Some(after) = after else { return std::future::pending().await };
    let every = (after / 4).clamp(Duration::from_millis(50), Duration::from_millis(IDLE_EXIT_MS));
    let mut idle_since = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(every).await;
        if !core.is_idle() {
            idle_since = tokio::time::Instant::now();
        } else if idle_since.elapsed() >= after {
            return;
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{cell::Cell, io::Write as _, os::unix::net::UnixStream};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn whoever_can_be_read_goes_on_before_a_task_that_looked_at_the_sockets() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let local = tokio::task::LocalSet::new();
        runtime.block_on(local.run_until(async {
            let (mut ann, bob) = UnixStream::pair().unwrap();
            bob.set_nonblocking(true).unwrap();
            let mut bob = tokio::net::UnixStream::from_std(bob).unwrap();
            let read = Rc::new(Cell::new(0));
            let count = Rc::clone(&read);
            let reader = tokio::task::spawn_local(async move {
                while bob.read(&mut [0; 8]).await.is_ok_and(|bytes| bytes > 0) {
                    count.set(count.get() + 1);
                }
            });
            // Until it waits for its socket.
            tokio::task::yield_now().await;
            let turns = tokio::task::spawn_local(async move {
                for turn in 1..100 {
                    ann.write_all(b"x").unwrap();
                    look_at_sockets().await;
                    assert_eq!(read.get(), turn);
                }
            });
            turns.await.unwrap();
            reader.abort();
        }));
    }
}
