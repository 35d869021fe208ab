//! The hub, and the hands that do what it says.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::{Rc, Weak},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    Options,
    accept::Standing,
    conn::{AccountKey, Conn},
    lines::Lines,
    log::Log,
    past,
    threads::{Threads, Work},
};
use crate::{
    broadcast,
    chat::{
        clock::{Clock, Now},
        frames::Frame,
        hub::{Action, Bucket, Chunk, Hub, Rules},
        member::SessionId,
        message::RunId,
        names::UserName,
        store::Restored,
        stream_id::{Channel, StreamTag},
    },
    config::Settings,
    faults::{Fault, planted},
    history::History,
    limits::{
        FETCHES_MAX, FETCHES_PER_USER_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES,
        LOOKUPS_PER_USER_MAX, QUESTIONS_MAX, READ_BYTES_PER_TURN_MAX, SESSION_BYTES_PER_USER_MAX,
    },
    os,
    presence::Table,
    session::Ledger,
    wire::control,
};

/// What one pull may bring: enough for a large write, little enough to be fair.
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
    pub(super) run: RunId,
    /// Why the server is not as it should be.
    pub(super) degraded: Vec<String>,
    /// Users and groups whom the socket and the table are open to; none: all.
    pub(super) admitted: RefCell<Option<os::Admitted>>,
    /// They are to be set again.
    pub(super) admission_due: Cell<bool>,
    /// Why clients can't find the server.
    pub(super) files: RefCell<Option<String>>,
    /// The last answer to `status`, and until when it is good, monotonic microseconds.
    pub(super) last_status: RefCell<Option<(u64, super::Status)>>,
    /// Troubles of the history that are in the log.
    logged: RefCell<HashSet<String>>,
    /// Something happened that the end of a turn has to deal with.
    pub(super) turn_due: Notify,
    /// The timers have to be looked at sooner than was said.
    pub(super) busy: Notify,
    pub(super) stop_asked: Notify,
    /// Badges have to be counted anew.
    pub(super) badges_due: Notify,
    pub(super) started_mono_us: u64,
    /// Direct messages that the user of this server has not read.
    pub(super) unread_mail: Cell<u64>,
    /// One buffer for all reads; a session keeps only what is incomplete.
    pub(super) read_buffer: RefCell<Box<[u8]>>,
    pub(super) half_open: RefCell<HashMap<u32, usize>>,
    /// How many of them there may be.
    pub(super) half_open_max: usize,
    /// Sessions that go on in the next turn.
    lines: RefCell<Lines<AccountKey, SessionId>>,
    /// How often users connect.
    pub(super) connects: RefCell<HashMap<u32, Bucket>>,
    pub(super) threads: Threads,
    /// Questions about the past: one of a user id at a time.
    questions_of: RefCell<HashMap<u32, Arc<Semaphore>>>,
    /// Look-ups of users who connect, and of users whom requests name.
    look_ups_of: RefCell<HashMap<u32, Arc<Semaphore>>>,
    fetches_of: RefCell<HashMap<u32, Arc<Semaphore>>>,
    named_of: RefCell<HashMap<u32, Arc<Semaphore>>>,
    /// Whom the server let in or not, and when that was found out.
    pub(super) standings: RefCell<HashMap<u32, (u64, Standing)>>,
    /// A name that was shown is being looked up again.
    renames: Cell<bool>,
    next_session: Cell<u64>,
    clock: Cell<Clock>,
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
    pub(super) fn new(
        rules: Rules,
        channel: Option<broadcast::Sender>,
        table: Table,
        log: Log,
        options: &Options,
        (degraded, half_open_max): (Vec<String>, usize),
        (history, restored, epoch): (Option<History>, Restored, u32),
    ) -> Rc<Self> {
        let run = rules.run;
        let inner = Inner {
            hub: Hub::restored(rules, restored),
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
            epoch,
            me: Weak::clone(me),
            inner: RefCell::new(inner),
            log,
            settings: RefCell::new(Rc::new(options.settings.clone())),
            system: options.system,
            run,
            degraded,
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
            half_open_max,
            lines: RefCell::default(),
            connects: RefCell::new(HashMap::new()),
            threads: Threads::new(),
            questions_of: RefCell::new(HashMap::new()),
            look_ups_of: RefCell::new(HashMap::new()),
            fetches_of: RefCell::new(HashMap::new()),
            named_of: RefCell::new(HashMap::new()),
            standings: RefCell::new(HashMap::new()),
            renames: Cell::new(false),
            next_session: Cell::new(1),
            clock: Cell::new(Clock::new(os::monotonic_us())),
        })
    }

    /// What the operator configured.
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

    /// Waits until a question of this user may be asked; it may as long as the value is kept. On a host's
    /// server one user's questions wait for each other, not for those of others.
    pub(super) async fn question_turn(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        let at_once = if self.system { 1 } else { QUESTIONS_MAX };
        // They are never closed.
        turns_of(&self.questions_of, uid, at_once).acquire_owned().await.ok()
    }

    /// Waits until it may be looked up who a user is; it may as long as the value is kept. Connections of one
    /// user wait for each other, so that a slow user database keeps nobody else waiting for them.
    pub(super) async fn look_up_turn(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        // They are never closed.
        turns_of(&self.look_ups_of, uid, 1).acquire_owned().await.ok()
    }

    /// Waits until older messages may be read for a session of this user, as they may as long as the value is
    /// kept: others are not kept waiting for those of all sessions of one user.
    pub(super) async fn fetch_turn(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        let at_once = if self.system { FETCHES_PER_USER_MAX } else { FETCHES_MAX };
        // They are never closed.
        turns_of(&self.fetches_of, uid, at_once).acquire_owned().await.ok()
    }

    /// Waits until a user that a request names may be looked up; it may as long as the value is kept. Requests of
    /// one user wait for each other, one of each session: a refusal would end a follow for good.
    pub(super) async fn named_turn(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        // They are never closed.
        turns_of(&self.named_of, uid, LOOKUPS_PER_USER_MAX).acquire_owned().await.ok()
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

    /// Whether nobody is here and nobody would miss the server: no announcement is still to be made or shown,
    /// no mail waits.
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
        // Whoever does not take it finds the connection closed.
        let _ = tokio::time::timeout(Duration::from_millis(300), all_gone).await;
    }
}

impl Inner {
    /// Carries out everything the hub wants done, until it wants nothing more.
    pub(super) fn act(&mut self, core: &Core) {
        // What sessions pull may want something done as well.
        while self.hub.has_actions() || !self.touched.is_empty() {
            self.act_once(core);
        }
    }

    fn act_once(&mut self, core: &Core) {
        while self.hub.has_actions() {
            let mut actions = std::mem::take(&mut self.actions);
            actions.extend(self.hub.actions());
            for action in actions.drain(..) {
                self.carry_out(core, action);
            }
            self.actions = actions;
        }
        let mut touched = std::mem::take(&mut self.touched);
        // Those who wait for what was said come before those who learn that it stands: these know it already.
        for listeners in [true, false] {
            for id in &touched {
                let Some(conn) = self.conns.get(id).map(Rc::clone) else { continue };
                if conn.touched.get() && (conn.hungry.get() || !listeners) {
                    conn.touched.set(false);
                    self.pump(core, &conn, false);
                }
            }
        }
        touched.clear();
        self.touched = touched;
    }

    fn carry_out(&mut self, core: &Core, action: Action) {
        match action {
            Action::Send(id, frame) => self.send(core, id, frame),
            Action::Wake(id) => {
                if let Some(conn) = self.conns.get(&id) {
                    conn.hungry.set(true);
                    touch(&mut self.touched, id, conn);
                }
            }
            Action::Pause(id) => {
                if let Some(conn) = self.conns.get(&id) {
                    conn.paused.set(true);
                }
            }
            Action::Resume(id) => {
                if let Some(conn) = self.conns.get(&id) {
                    conn.resume();
                    core.line_up(conn);
                }
            }
            Action::Publish(tag, frame) => {
                if let Some(channel) = &mut self.channel {
                    // Full buffers lose a datagram: heads and repair bring it by session.
                    let hub = &self.hub;
                    let hearers = || hub.hearers(tag).map(|id| id.0).collect();
                    let _ = channel.publish(tag.0, &frame[FRAME_HEADER_BYTES..], hearers);
                }
            }
            Action::OpenChannel(tag) => self.open_channel(core, tag),
            Action::NewKey(tag) => self.new_key(core, tag),
            Action::CloseChannel(tag) => {
                if let Some(channel) = &mut self.channel {
                    channel.close_group(tag.0);
                }
            }
            Action::Fetch(fetch) => {
                if let Some(core) = core.me.upgrade() {
                    tokio::task::spawn_local(past::fetch(core, fetch));
                }
            }
            Action::Store(records, entries) => match &core.history {
                Some(history) => history.commit(records, entries, os::wall_us()),
                // Without a history nothing is to be stored (`Rules::store` is off).
                None => self.hub.stored(core.now()),
            },
            Action::End(id, reason) => {
                if let Some(conn) = self.conns.get(&id) {
                    conn.turn_out(&reason);
                }
            }
            Action::Log(what) => core.log.note(&what),
            Action::LogOf(uid, what) => {
                let user = self.hub.user_name(uid).unwrap_or_else(|| UserName::of_uid(uid));
                core.log.of_user(uid, &user, &what);
            }
            Action::Row(mut row) => {
                // Other processes compare it with the machine's clock.
                row.active_mono_us = core.clock.get().reading_of(row.active_mono_us);
                let was_whole = self.table.unshown() == 0;
                if let (Err(e), true) = (self.table.put(&row), was_whole) {
                    core.log.warn(&format!("the presence table takes no more sessions: {e}"));
                }
            }
            Action::RowGone(id) => self.table.remove(id),
        }
    }

    fn open_channel(&mut self, core: &Core, tag: StreamTag) {
        let opened = match &mut self.channel {
            None => None,
            Some(channel) => match channel.open_group(tag.0) {
                Ok((address, key)) => {
                    Some(Channel { group: address.ip().octets(), port: address.port(), key })
                }
                Err(e) => {
                    core.log.warn(&format!("no broadcast group: {e}"));
                    None
                }
            },
        };
        self.hub.channel_opened(tag, opened);
    }

    fn new_key(&mut self, core: &Core, tag: StreamTag) {
        let Some(channel) = &mut self.channel else { return };
        match channel.new_key(tag.0) {
            Ok(key) => self.hub.channel_key(tag, key),
            Err(e) => {
                // Nothing can be sealed any more: it goes by session.
                core.log.warn(&format!("no key for a broadcast group: {e}"));
                self.hub.channel_lost(tag);
            }
        }
    }

    pub(super) fn send(&mut self, core: &Core, id: SessionId, frame: Frame) {
        if let Some(conn) = self.conns.get(&id).map(Rc::clone) {
            conn.output.borrow_mut().put(|bytes| control::put_frame(bytes, frame));
            touch(&mut self.touched, id, &conn);
            // Others decide how much it is told: it does not grow without end.
            self.count(core, &conn);
        }
    }

    /// Fills and writes a session's output until the socket is full, nothing is owed, or its account was given what
    /// it gets in one turn. `called`: it stood in line, and is given something even then.
    pub(super) fn pump(&mut self, core: &Core, conn: &Conn, mut called: bool) {
        let waker = conn.waker.borrow().clone();
        let waits = loop {
            let wants = conn.hungry.get() && conn.output.borrow().waiting_bytes() < FRAME_BYTES_MAX;
            let gets = std::mem::take(&mut called) || core.lines.borrow().may_give(&conn.account);
            if wants && gets {
                self.pull(core, conn);
            }
            let goes_on = !conn.output.borrow().is_empty() && conn.write(&waker);
            self.count(core, conn);
            if !goes_on {
                break wants && !gets;
            }
        };
        if waits || conn.take_unread() {
            core.line_up(conn);
        }
    }

    fn pull(&mut self, core: &Core, conn: &Conn) {
        let mut chunks = std::mem::take(&mut self.chunks);
        let more = self.hub.pull(core.now(), conn.id, PULL_BYTES, &mut chunks);
        conn.hungry.set(more);
        core.give(conn, chunks.drain(..));
        self.chunks = chunks;
    }

    /// Counts the memory that a session keeps. If its user's sessions keep too much, those that keep most end.
    fn count(&mut self, core: &Core, conn: &Conn) {
        conn.count(&mut self.memory);
        let uid = conn.uid();
        if self.memory.bytes_of(uid) <= SESSION_BYTES_PER_USER_MAX
            || planted(Fault::MemoryOfUserUnbounded)
        {
            return;
        }
        let of_user = self.conns.values().filter(|of| of.uid() == uid && !of.is_ending());
        let mut of_user: Vec<_> = of_user.map(Rc::clone).collect();
        of_user.sort_by_key(|of| std::cmp::Reverse(of.kept_bytes()));
        let why = format!(
            "the sessions of this user keep more than {SESSION_BYTES_PER_USER_MAX} bytes, and this one most"
        );
        for heaviest in of_user {
            if self.memory.bytes_of(uid) <= SESSION_BYTES_PER_USER_MAX {
                break;
            }
            heaviest.cut_off(&mut self.memory, &why);
            core.log.of_user(uid, &heaviest.user(), &why);
        }
    }
}

/// The turns of one user; those that nobody waits for are forgotten.
fn turns_of(
    all: &RefCell<HashMap<u32, Arc<Semaphore>>>,
    uid: u32,
    at_once: usize,
) -> Arc<Semaphore> {
    let mut all = all.borrow_mut();
    all.retain(|_, turns| Arc::strong_count(turns) > 1);
    Arc::clone(all.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(at_once))))
}

fn touch(touched: &mut Vec<SessionId>, id: SessionId, conn: &Conn) {
    if !conn.touched.replace(true) {
        touched.push(id);
    }
}

/// A waker for sessions whose task has not been polled yet.
pub(super) fn no_waker() -> Waker {
    Waker::noop().clone()
}
