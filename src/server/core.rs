//! The hub, and the hands that do what it says.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::{Rc, Weak},
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::{
    conn::{AccountKey, Conn},
    lines::Lines,
    log::Log,
    options::Options,
    standing::Standing,
    status::Status,
    threads::{Threads, Work},
    user_turns::UserTurns,
};
use crate::{
    broadcast,
    chat::{
        clock::{Clock, Now},
        hub::{Action, Bucket, Chunk, Hub, HubConfig},
        member::SessionId,
        message::BootId,
        store::{Fetch, Restored},
    },
    config::Settings,
    history::History,
    limits::{FRAME_BYTES_MAX, READ_BYTES_PER_TURN_MAX},
    os,
    presence::Table,
    session::Ledger,
};

mod actions;

/// Maximum bytes of one pull: enough for a large write, little enough to be fair.
const PULL_BYTES: usize = 2 * FRAME_BYTES_MAX;

/// Everything the server's tasks share. One thread: cells, no locks.
pub(super) struct Core {
    pub(super) inner: RefCell<Inner>,
    pub(super) log: Log,
    settings: RefCell<Rc<Settings>>,
    /// Rises when an older history was put back.
    pub(super) epoch: u32,
    /// None: everything is kept in memory only.
    pub(super) history: Option<History>,
    /// Itself, for tasks.
    me: Weak<Self>,
    pub(super) system: bool,
    /// The runtime directory, as `status` shows it.
    pub(super) dir: RefCell<String>,
    pub(super) run: BootId,
    /// Why the server is not as it should be.
    pub(super) broadcast_failure: Option<String>,
    /// Users and groups whom the socket and the table are open to; none: all.
    pub(super) admitted: RefCell<Option<os::Admitted>>,
    /// They are to be set again.
    pub(super) admission_due: Cell<bool>,
    /// Why clients can't find the server.
    pub(super) files: RefCell<Option<String>>,
    /// The last answer to `status`, and until when it is good, monotonic microseconds.
    pub(super) last_status: RefCell<Option<(u64, Status)>>,
    /// Troubles of the history that are in the log.
    logged: RefCell<HashSet<String>>,
    /// Something happened that the end of a turn has to deal with.
    pub(super) turn_due: Notify,
    /// The timers have to be looked at sooner than was said.
    pub(super) busy: Notify,
    pub(super) stop_asked: Notify,
    /// Notice that the badges have to be counted again.
    pub(super) badges_due: Notify,
    pub(super) started_mono_us: u64,
    /// Direct messages that the user of this server has not read.
    pub(super) unread_mail: Cell<u64>,
    /// One buffer for all reads; a session keeps only what is incomplete.
    pub(super) read_buffer: RefCell<Box<[u8]>>,
    pub(super) half_open: RefCell<HashMap<u32, usize>>,
    /// Maximum number of unfinished handshakes.
    pub(super) half_open_max: usize,
    /// Sessions that go on in the next turn.
    lines: RefCell<Lines<AccountKey, SessionId>>,
    /// Rate of new connections for each user id.
    pub(super) connects: RefCell<HashMap<u32, Bucket>>,
    pub(super) threads: Threads,
    pub(super) turns: UserTurns,
    /// Rights of users who were let in or refused, with the time of the look-up.
    pub(super) standings: RefCell<HashMap<u32, (u64, Standing)>>,
    /// A name that was shown is being looked up again.
    renames: Cell<bool>,
    next_session: Cell<u64>,
    /// Starts the task that reads older messages for a session.
    start_fetch: fn(Rc<Self>, Fetch),
    clock: Cell<Clock>,
}

/// The parts that a server is made of.
pub(super) struct ServerParts {
    pub(super) rules: HubConfig,
    pub(super) channel: Option<broadcast::Sender>,
    pub(super) table: Table,
    pub(super) log: Log,
    /// Reason why the broadcast channel could not be opened.
    pub(super) broadcast_failure: Option<String>,
    /// Maximum unfinished handshakes.
    pub(super) half_open_max: usize,
    /// `None`: everything is kept in memory only.
    pub(super) history: Option<History>,
    pub(super) restored: Restored,
    /// Rises when an older history was put back.
    pub(super) epoch: u32,
    /// Starts the task that reads older messages for a session.
    pub(super) start_fetch: fn(Rc<Core>, Fetch),
}

pub(super) struct Inner {
    pub(super) hub: Hub,
    pub(super) channel: Option<broadcast::Sender>,
    pub(super) table: Table,
    pub(super) conns: FxHashMap<SessionId, Rc<Conn>>,
    /// Bytes of memory that the sessions of each user id keep.
    pub(super) memory: Ledger,
    actions: Vec<Action>,
    chunks: Vec<Chunk>,
    touched: Vec<SessionId>,
}

impl Core {
    pub(super) fn new(parts: ServerParts, options: &Options) -> Rc<Self> {
        let ServerParts { rules, channel, table, log, history, start_fetch, .. } = parts;
        let run = rules.run;
        let inner = Inner {
            hub: Hub::restored(rules, parts.restored),
            channel,
            table,
            conns: FxHashMap::default(),
            memory: Ledger::default(),
            actions: Vec::new(),
            chunks: Vec::new(),
            touched: Vec::new(),
        };
        Rc::new_cyclic(|me| Self {
            history,
            epoch: parts.epoch,
            me: Weak::clone(me),
            inner: RefCell::new(inner),
            log,
            settings: RefCell::new(Rc::new(options.settings.clone())),
            system: options.system,
            run,
            broadcast_failure: parts.broadcast_failure,
            logged: RefCell::default(),
            dir: RefCell::new(options.places.runtime.display().to_string()),
            files: RefCell::default(),
            last_status: RefCell::default(),
            admitted: RefCell::default(),
            admission_due: Cell::new(false),
            turn_due: Notify::new(),
            busy: Notify::new(),
            stop_asked: Notify::new(),
            badges_due: Notify::new(),
            started_mono_us: os::monotonic_us(),
            unread_mail: Cell::new(0),
            read_buffer: RefCell::new(vec![0; READ_BYTES_PER_TURN_MAX].into()),
            half_open: RefCell::new(HashMap::new()),
            half_open_max: parts.half_open_max,
            lines: RefCell::default(),
            connects: RefCell::new(HashMap::new()),
            threads: Threads::new(),
            turns: UserTurns::new(options.system),
            standings: RefCell::new(HashMap::new()),
            renames: Cell::new(false),
            next_session: Cell::new(1),
            start_fetch,
            clock: Cell::new(Clock::new(os::monotonic_us())),
        })
    }

    /// Returns the settings of the operator.
    pub(super) fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.settings.borrow())
    }

    /// Takes over another configuration: all that was found out by the last one is forgotten.
    pub(super) fn set_settings(&self, settings: Settings) {
        self.settings.replace(Rc::new(settings));
        self.standings.borrow_mut().clear();
    }

    /// Finds out whom the configuration admits, for [`Core::admission_due`].
    pub(super) async fn look_up_admitted(&self) {
        if !self.system {
            return;
        }
        let settings = Settings::clone(&self.settings());
        let look_up = move || {
            if settings.server.allow.is_empty() {
                return None;
            }
            let mut admitted = os::Admitted::default();
            for who in settings.server.allow.iter().chain(&settings.policy.operators) {
                match who.split_at_checked(1) {
                    Some(("@", user)) => admitted.users.extend(os::user_id(user)),
                    Some(("%", group)) => admitted.groups.extend(os::group_id(group)),
                    _ => {}
                }
            }
            Some(admitted)
        };
        // If that can't be found out, only the server's own user and root may.
        let found = self.threads.run(Work::LookUp, look_up).await;
        self.admitted.replace(found.unwrap_or_else(|_| Some(os::Admitted::default())));
        self.admission_due.set(true);
    }

    /// Names users and groups of the configuration that the system does not know.
    pub(super) fn log_unknown_names(&self) {
        let (settings, Some(core)) = (self.settings(), self.me.upgrade()) else { return };
        if !self.system {
            return;
        }
        tokio::task::spawn_local(async move {
            let names = Settings::clone(&settings);
            let unknown = core.threads.run(Work::LookUp, move || names.unknown_names()).await;
            for what in unknown.unwrap_or_default() {
                core.log.warn(&what);
            }
        });
    }

    /// The time of the hub and of its sessions.
    pub(super) fn now(&self) -> Now {
        self.with_clock(|clock, mono_us| clock.now(Now { mono_us, wall_us: os::wall_us() }))
    }

    fn with_clock<T>(&self, with: impl FnOnce(&mut Clock, u64) -> T) -> T {
        let mut clock = self.clock.get();
        let result = with(&mut clock, os::monotonic_us());
        self.clock.set(clock);
        result
    }

    pub(super) fn next_session(&self) -> SessionId {
        let id = self.next_session.get();
        self.next_session.set(id + 1);
        SessionId(id)
    }

    pub(super) fn broadcast_word(&self) -> &'static str {
        if self.inner.borrow().channel.is_some() { os::BROADCAST_WORD } else { "session" }
    }

    pub(super) fn source_port(&self) -> Option<u16> {
        self.inner.borrow().channel.as_ref().map(broadcast::Sender::source_port)
    }

    /// Ends a turn of the hub and does what it says.
    pub(super) fn turn(&self) {
        let mut inner = self.inner.borrow_mut();
        self.lines.borrow_mut().begin_turn();
        inner.hub.end_turn(self.now());
        inner.act(self);
        if inner.hub.has_more() {
            self.turn_due.notify_one();
        }
        if !self.system && inner.hub.take_unread_changed() {
            self.badges_due.notify_one();
        }
        let after_ms = inner.hub.tick_after_ms();
        drop(inner);
        if self.with_clock(|clock, now_us| clock.hasten(now_us, after_ms)) {
            self.busy.notify_one();
        }
        self.rename_stale();
    }

    /// Looks up again how users are called whose names were shown, one after the other.
    fn rename_stale(&self) {
        if self.renames.get() {
            return;
        }
        let (Some(uid), Some(core)) =
            (self.inner.borrow_mut().hub.take_stale_user(), self.me.upgrade())
        else {
            return;
        };
        self.renames.set(true);
        tokio::task::spawn_local(async move {
            let mut next = Some(uid);
            while let Some(uid) = next {
                let found = core.threads.run(Work::LookUp, move || os::user_name(uid)).await;
                let hub = &mut core.inner.borrow_mut().hub;
                hub.rename_user(uid, found.ok().flatten());
                next = hub.take_stale_user();
            }
            core.renames.set(false);
        });
    }

    /// Has a session go on in a later turn.
    pub(super) fn line_up(&self, conn: &Conn) {
        if conn.line_up() {
            self.lines.borrow_mut().push(conn.account, conn.id);
        }
        self.turn_due.notify_one();
    }

    /// Returns true if sessions wait for the next turn.
    pub(super) fn has_waiting(&self) -> bool {
        !self.lines.borrow().is_empty()
    }

    /// Has sessions that wait go on, as many of each account as may in one turn.
    pub(super) fn call_waiting(&self) {
        let called = self.lines.borrow_mut().call();
        let inner = self.inner.borrow();
        for conn in called.iter().filter_map(|id| inner.conns.get(id)) {
            conn.call();
        }
        if self.has_waiting() {
            self.turn_due.notify_one();
        }
    }

    /// Puts messages and events into a session's output, and counts them as given to its account.
    pub(super) fn give(&self, conn: &Conn, chunks: impl IntoIterator<Item = Chunk>) {
        let before = conn.output.borrow().waiting_bytes();
        conn.put_chunks(chunks);
        let bytes = conn.output.borrow().waiting_bytes() - before;
        self.lines.borrow_mut().gave(conn.account, bytes);
    }

    /// Looks at the timers; the next look follows after `wait_ms_max` at the latest.
    pub(super) fn tick(&self, wait_ms_max: u64) {
        let mut inner = self.inner.borrow_mut();
        let now = self.now();
        inner.hub.tick(now);
        inner.act(self);
        for conn in inner.conns.values() {
            conn.check_time(now.mono_us);
        }
        self.log.settle();
        let after_ms = inner.hub.tick_after_ms().min(wait_ms_max);
        self.with_clock(|clock, now_us| clock.looked(now_us, after_ms));
    }

    /// Time until the next look at the timers.
    pub(super) fn until_tick(&self) -> Duration {
        Duration::from_micros(self.with_clock(|clock, now_us| clock.left_us(now_us)))
    }

    pub(super) fn heartbeat(&self, now_us: u64) {
        let mut inner = self.inner.borrow_mut();
        let most = self.settings().history.user_bytes_max;
        if let Some(history) = self.history.as_ref().filter(|_| self.system && most > 0) {
            inner.hub.set_over_history(history.users_over(most));
        }
        for trouble in self.history.iter().flat_map(History::troubles) {
            let mut logged = self.logged.borrow_mut();
            if !logged.contains(&trouble) {
                self.log.warn(&trouble);
                logged.insert(trouble);
            }
        }
        let counters = inner.hub.counters();
        inner.table.heartbeat(now_us, &counters);
    }

    /// Returns true if the server is not needed: it has no session, no announcement still to be
    /// made or shown, and no waiting mail.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.inner.borrow();
        inner.conns.is_empty()
            && !inner.hub.has_open_notices(self.now())
            && self.unread_mail.get() == 0
    }

    /// Has everything kept that the hub would keep sooner or later.
    pub(super) fn keep(&self) {
        self.inner.borrow_mut().hub.keep_notices();
        self.turn();
    }

    /// Waits a moment until everything is kept that the hub wants kept.
    pub(super) async fn until_kept(&self) {
        let kept = async {
            while self.inner.borrow().hub.is_keeping() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Where the store fails it can't be helped.
        let _ = tokio::time::timeout(Duration::from_millis(300), kept).await;
    }

    /// Tells every session that the server ends, and gives them a moment to take it.
    pub(super) async fn say_good_bye(&self, reason: &str) {
        let conns: Vec<_> = self.inner.borrow().conns.values().cloned().collect();
        for conn in &conns {
            conn.good_bye(reason);
        }
        let all_gone = async {
            while !self.inner.borrow().conns.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // A client that does not read the reason finds the connection closed.
        let _ = tokio::time::timeout(Duration::from_millis(300), all_gone).await;
    }
}
