//! Start, life and end of a server.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
    time::Duration,
};

use tokio::{sync::mpsc::Receiver, task::JoinHandle};

use super::{
    accept,
    core::{Core, ServerParts},
    error::{ServerError, io_error},
    files::{Files, SharedListener},
    log::Log,
    options::Options,
    past, reload,
    stop::Stop,
    threads::Threads,
    watchdog::Manager,
};
use crate::{
    broadcast,
    chat::{
        hub::{HubConfig, Rates},
        message::BootId,
        names::{RoomName, UserName},
        store::Restored,
    },
    config::Settings,
    faults::{Fault, planted},
    history::{self, History},
    limits::{HEARTBEAT_EVERY_MS, HISTORY_JOBS_MAX, IDLE_EXIT_MS},
    os::{self, Lock, LockError, LockNote, Places},
    presence::{self, Table},
    session::Listener,
    wire::frame,
};

/// Runs a server until it is stopped. `ready` is called once clients can connect.
///
/// # Errors
/// Returns an error if it can't start; see [`ServerError`].
pub fn run(
    options: Options,
    log: Log,
    stop: &Stop,
    ready: impl FnOnce(&Places),
) -> Result<(), ServerError> {
    // The lowest descriptor, for what has to be closed last of all.
    let first = os::Reserve::open().map_err(io_error("can't open a file descriptor"))?;
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

/// A server before its first session.
struct Started {
    core: Rc<Core>,
    listener: Listener,
    /// Results of transactions of the history.
    commits: Receiver<Result<(), String>>,
}

/// Opens everything that the server needs; rooms and users are as the history has them.
fn start(
    options: &mut Options,
    log: Log,
    run: BootId,
    (first, descriptors): (os::Reserve, u64),
) -> Result<Started, ServerError> {
    let places = options.places.clone();
    let mut broadcast_failure = None;
    let channel = open_channel(options, run, first).unwrap_or_else(|why| {
        log.warn(&why);
        broadcast_failure = Some(why);
        None
    });
    let wanted = options.settings.limits.sessions;
    let (sessions, half_open_max) = accept::room_for(descriptors, wanted);
    if sessions < wanted {
        let why = format!("{descriptors} open files suffice for {sessions} of {wanted} sessions");
        log.info(&format!("{why}; raise the limit of open files (LimitNOFILE=, ulimit -n)"));
    }
    let mut rules = rules(&options.settings, options.system, run, channel.is_some());
    rules.sessions_max = sessions;
    let (mut restored, mut epoch) = (Restored::default(), 0);
    let (to_commits, commits) = tokio::sync::mpsc::channel(HISTORY_JOBS_MAX);
    let history = if options.history {
        let done = Box::new(move |result| {
            // It fails only when the server has ended.
            let _ = to_commits.blocking_send(result);
        });
        let (history, loaded) = History::open(&places.history(), store(options), done)?;
        (restored, epoch) = (loaded.restored, loaded.epoch);
        (restored.epoch, restored.loaded_us) = (epoch, os::wall_us());
        (rules.store, rules.persistent) = (true, true);
        Some(history)
    } else {
        None
    };
    let talked: BTreeSet<u32> =
        restored.conversations.iter().flat_map(|of| [of.users.0, of.users.1]).collect();
    let said: HashMap<u32, UserName> = restored.users.drain(..).collect();
    let table = Table::create(&places, options.system, run.0, channel.is_some())
        .map_err(io_error(format!("can't create {}", places.table().display())))?;
    let listener = listen(options)?;
    let start_fetch = |core, fetch| {
        tokio::task::spawn_local(past::fetch(core, fetch));
    };
    let parts = ServerParts {
        rules,
        channel,
        table,
        log,
        broadcast_failure,
        half_open_max,
        history,
        restored,
        epoch,
        start_fetch,
    };
    let core = Core::new(parts, options);
    core.inner.borrow_mut().hub.make_configured_rooms();
    for uid in talked {
        // A user whom the system does not know has the name of their last message.
        if let Some(name) = os::user_name(uid).or_else(|| said.get(&uid).cloned()) {
            core.inner.borrow_mut().hub.name_user(uid, name);
        }
    }
    Ok(Started { core, listener, commits })
}

fn listen(options: &mut Options) -> Result<Listener, ServerError> {
    let socket = options.places.socket();
    match options.handed_over.take() {
        Some(handed) => Listener::take_over(handed, &socket)
            .map_err(io_error("can't use the socket of the service manager")),
        None => Listener::bind(&socket, options.system)
            .map_err(io_error(format!("can't listen at {}", socket.display()))),
    }
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
    let run = BootId(os::random_u32().map_err(io_error("can't get random numbers"))?);
    let Started { core, listener, commits } = start(&mut options, log, run, (first, descriptors))?;
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
    manager.ready(&places.socket());
    core.log.info(&format!("listening on {}", places.socket().display()));

    let accepting = tokio::task::spawn_local(accept::accept(Rc::clone(&core), shared));
    let tasks = [
        tokio::task::spawn_local(past::commits(Rc::clone(&core), commits)),
        tokio::task::spawn_local(past::badges(Rc::clone(&core))),
        tokio::task::spawn_local(turns(Rc::clone(&core))),
    ];
    let idle = idle_exit(Rc::clone(&core), options.idle_exit);
    core.log_unknown_names();
    let (system, has_channel) = (options.system, core.inner.borrow().channel.is_some());
    let live_rules = |settings: &Settings| HubConfig {
        sessions_max: accept::room_for(descriptors, settings.limits.sessions).0,
        ..rules(settings, system, run, has_channel)
    };
    let mut ended = Ok(());
    tokio::select! {
        e = files.watch() => {
            core.log.warn(&format!("stopping: {e}"));
            ended = Err(e);
        }
        () = stop.asked() => core.log.always(&format!("stopping: {}", stop.why())),
        () = core.signals.stop_asked.notified() => core.log.always("stopping: asked by a client"),
        () = idle => core.log.always("stopping: idle for the time of idle_exit"),
        () = reload::reloads(Rc::clone(&core), stop, live_rules) => {}
        () = ticks(Rc::clone(&core), &manager) => {}
    }
    manager.stopping();
    accepting.abort();
    let listener_gone = accepting.await;
    drop(listener_gone);
    end(&core, &tasks).await;
    ended
}

/// Saves what is to be saved, ends the sessions, and closes what they used.
async fn end(core: &Core, tasks: &[JoinHandle<()>]) {
    core.keep();
    core.say_good_bye("server stopped").await;
    core.until_kept().await;
    for task in tasks {
        task.abort();
    }
    let mut inner = core.inner.borrow_mut();
    inner.table.close();
    // Its port must not be free for others before the last session is closed: the process's end
    // does it.
    std::mem::forget(inner.channel.take());
    core.log.info("stopped");
}

fn store(options: &Options) -> history::Options {
    let settings = &options.settings.history;
    let keep = settings.keep().ok().flatten();
    let bytes_max = (settings.bytes_max > 0).then_some(settings.bytes_max);
    let retention = history::Retention { keep, bytes_max };
    history::Options { full_sync: settings.sync == "full", retention }
}

fn rules(settings: &Settings, system: bool, run: BootId, broadcast: bool) -> HubConfig {
    let limits = &settings.limits;
    HubConfig {
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
        // On a user server there is only one user.
        rates: if system {
            Rates {
                messages: limits.messages_per_second_per_user,
                bytes: limits.bytes_per_second_per_user,
                repair_bytes: limits.repair_bytes_per_second_per_user,
            }
        } else {
            Rates::default()
        },
        ..HubConfig::new(run, os::own_uid(), frame::batch_header)
    }
}

/// The broadcast channel, if it is wanted and this machine's kernel keeps forgers out of it.
fn open_channel(
    options: &Options,
    run: BootId,
    first: os::Reserve,
) -> Result<Option<broadcast::Sender>, String> {
    if !options.broadcast {
        return Ok(None);
    }
    os::self_test().map_err(|fault| format!("broadcast is off: {fault}"))?;
    broadcast::Sender::open(run.0, first).map(Some).map_err(|e| format!("broadcast is off: {e}"))
}

/// Ends each turn: all sessions that had something to read were read before this task ran again.
/// The next one begins with a look at the sockets; only then those go on that this one had no time
/// for.
async fn turns(core: Rc<Core>) {
    loop {
        core.signals.turn_due.notified().await;
        core.turn();
        if core.has_waiting() {
            look_at_sockets().await;
            core.call_waiting();
        }
    }
}

/// Waits until the runtime has looked at all sockets, and has woken every task that can go on: a
/// task that only wakes itself runs dozens of times before that.
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
            () = core.signals.busy.notified() => continue,
        }
        core.tick(manager.wait_ms_max());
        let now_us = os::monotonic_us();
        if now_us.saturating_sub(heartbeat_us) >= HEARTBEAT_EVERY_MS * 1000 {
            heartbeat_us = now_us;
            core.heartbeat(now_us);
        }
        // The service manager learns that timers are looked at and the hub answers.
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
    fn readable_tasks_run_before_one_that_looked_at_the_sockets() {
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
