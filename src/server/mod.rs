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
mod files;
mod lines;
mod log;
mod manager;
mod past;
mod reload;
mod status;
mod threads;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::Notify;

use self::{
    core::Core,
    files::{Files, SharedListener},
    manager::Manager,
    threads::Threads,
};
pub use self::{log::Log, status::Status};
use crate::{
    broadcast,
    chat::{
        hub::{Rates, Rules},
        message::RunId,
        names::{RoomName, UserName},
        store::Restored,
    },
    config::{ConfigError, Settings},
    faults::{Fault, planted},
    history::{self, History, HistoryError},
    limits::{HEARTBEAT_EVERY_MS, HISTORY_JOBS_MAX, IDLE_EXIT_MS},
    os::{self, Lock, LockError, LockNote, Places},
    presence::{self, Table},
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
    /// Its directory was removed while it ran, with the history.
    #[error(
        "{} was removed with lock and history: this server ends, and the next one begins with an empty history",
        .dir.display()
    )]
    Removed {
        /// The state directory.
        dir: PathBuf,
    },
    /// Its lock was removed while it ran, and another server took the place.
    #[error(
        "the lock in {} was removed, and another server (pid {}) holds it now: this one ends",
        .dir.display(),
        pid_words(.pid)
    )]
    Replaced {
        /// The state directory.
        dir: PathBuf,
        /// The process of the other server.
        pid: Option<u32>,
    },
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

/// Ends a server from another thread or a signal handler, and has it read its configuration again.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Wishes>);

#[derive(Default)]
struct Wishes {
    stop: Notify,
    why: OnceLock<String>,
    reload: Notify,
    load: OnceLock<Box<Load>>,
}

type Load = dyn Fn() -> Result<Settings, ConfigError> + Send + Sync;

impl std::fmt::Debug for Wishes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wishes").field("why", &self.why).finish_non_exhaustive()
    }
}

impl Stop {
    /// Asks the server to end.
    pub fn stop(&self) {
        self.0.stop.notify_one();
    }

    /// Asks the server to end, and to say why in its log.
    pub fn stop_since(&self, why: &str) {
        let _ = self.0.why.set(why.to_owned());
        self.stop();
    }

    /// Sets how the configuration is read again; once.
    pub fn reload_by(
        &self,
        load: impl Fn() -> Result<Settings, ConfigError> + Send + Sync + 'static,
    ) {
        let _ = self.0.load.set(Box::new(load));
    }

    /// Asks the server to read its configuration again.
    pub fn reload(&self) {
        self.0.reload.notify_one();
    }

    async fn reload_asked(&self) {
        self.0.reload.notified().await;
    }

    fn load(&self) -> Option<Result<Settings, ConfigError>> {
        self.0.load.get().map(|load| load())
    }

    fn why(&self) -> &str {
        self.0.why.get().map_or("asked by a signal", String::as_str)
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
    let mut lock = match Lock::acquire(&places.lock(), options.system, &note) {
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
    // The lock of a server that lives may have been removed a moment ago: it makes it again.
    if let Some(pid) = presence::living_server(&places) {
        return Err(ServerError::Running { dir: places.state, pid: Some(pid) });
    }
    let descriptors = os::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(Threads::MAX)
        .thread_name("moot-lookup")
        .build()
        .map_err(io_error("can't start the event loop"))?;
    let local = tokio::task::LocalSet::new();
    let done = runtime.block_on(local.run_until(serve(
        options,
        log,
        stop,
        ready,
        (first, descriptors),
        &mut lock,
    )));
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn serve(
    mut options: Options,
    log: Log,
    stop: &Stop,
    ready: impl FnOnce(&Places),
    (first, descriptors): (os::Reserve, u64),
    lock: &mut Lock,
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
    let mut own_rules = rules(&options.settings, options.system, run, channel.is_some());
    own_rules.sessions_max = sessions;
    let (mut restored, mut epoch) = (Restored::default(), 0);
    let (to_commits, commits) = tokio::sync::mpsc::channel(HISTORY_JOBS_MAX);
    let history = if options.history {
        let done = Box::new(move |result| {
            // It fails only when the server has ended.
            let _ = to_commits.blocking_send(result);
        });
        let (history, loaded) = History::open(&places.history(), store(&options), done)?;
        (restored, epoch) = (loaded.restored, loaded.epoch);
        (own_rules.store, own_rules.persistent) = (true, true);
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
        own_rules,
        channel,
        table,
        log,
        &options,
        (degraded, half_open),
        (history, restored, epoch),
    );
    core.inner.borrow_mut().hub.make_configured_rooms();
    for uid in talked {
        // Who is not known to the system any more, or not yet, is called as when he said something.
        if let Some(name) = os::user_name(uid).or_else(|| said.get(&uid).cloned()) {
            core.inner.borrow_mut().hub.name_user(uid, name);
        }
    }
    let shared = SharedListener::new(listener);
    let mut files = Files {
        core: Rc::clone(&core),
        places: places.clone(),
        system: options.system,
        lock,
        shared: Rc::clone(&shared),
    };
    core.look_up_admitted().await;
    files.admit();
    files.note_ready();
    ready(&places);
    let manager = Manager::new(std::mem::take(&mut options.manager));
    manager.ready(&socket);
    core.log.info(&format!("listening on {}", socket.display()));

    let accepting = tokio::task::spawn_local(accept::accept(Rc::clone(&core), shared));
    let committing = tokio::task::spawn_local(past::commits(Rc::clone(&core), commits));
    let badges = tokio::task::spawn_local(past::badges(Rc::clone(&core)));
    let turns = tokio::task::spawn_local(turns(Rc::clone(&core)));
    let idle = idle_exit(Rc::clone(&core), options.idle_exit);
    core.log_unknown_names();
    let (system, has_channel) = (options.system, core.inner.borrow().channel.is_some());
    let live_rules = |settings: &Settings| Rules {
        sessions_max: accept::room_for(descriptors, settings.limits.sessions).0,
        ..rules(settings, system, run, has_channel)
    };
    let mut ended = Ok(());
    tokio::select! {
        e = files.watch() => {
            core.log.warn(&format!("stopping: {e}"));
            ended = Err(e);
        }
        () = stop.0.stop.notified() => core.log.always(&format!("stopping: {}", stop.why())),
        () = core.stop_asked.notified() => core.log.always("stopping: asked by a client"),
        () = idle => core.log.always("stopping: no sessions for a while"),
        () = reload::reloads(Rc::clone(&core), stop, live_rules) => {}
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
    ended
}

fn store(options: &Options) -> history::Options {
    let settings = &options.settings.history;
    let keep = settings.keep().ok().flatten();
    let bytes_max = (settings.bytes_max > 0).then_some(settings.bytes_max);
    let retention = history::Retention { keep, bytes_max };
    history::Options { full_sync: settings.sync == "full", retention }
}

fn rules(settings: &Settings, system: bool, run: RunId, broadcast: bool) -> Rules {
    let limits = &settings.limits;
    Rules {
        policy: reload::policy(settings),
        rooms: settings.rooms.keys().filter_map(|name| RoomName::new(name).ok()).collect(),
        host: system,
        broadcast,
        broadcast_members_min: settings.broadcast.members_min,
        sessions_per_user_max: limits.sessions_per_user,
        rooms_max: limits.rooms,
        rooms_per_user_max: limits.rooms_per_user,
        backlog_bytes_max: limits.backlog_bytes,
        backlog_total_bytes_max: limits.backlog_total_bytes,
        in_flight_bytes_per_user_max: limits.in_flight_bytes_per_user,
        // On a user's own server there is only one user.
        rates: if system {
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
