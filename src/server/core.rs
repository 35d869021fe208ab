//! The hub, and the hands that do what it says.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
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
    conn::Conn,
    log::Log,
    past,
    threads::{Threads, Work},
};
use crate::{
    broadcast,
    chat::{
        hub::{Action, Bucket, Chunk, Clock, Frame, Hub, Now, Restored, Rules},
        member::SessionId,
        message::RunId,
        verbs::{Channel, StreamTag},
    },
    config::Settings,
    history::History,
    limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, OUTPUT_BYTES_PER_USER_MAX, QUESTIONS_MAX},
    os,
    presence::Table,
    wire::control,
};

/// What one pull may bring: enough for a large write, little enough to be fair.
const PULL_BYTES: usize = 2 * FRAME_BYTES_MAX;

/// Everything the server's tasks share. One thread: cells, no locks.
pub(super) struct Core {
    pub(super) inner: RefCell<Inner>,
    pub(super) log: Log,
    pub(super) settings: Settings,
    /// Rises when an older history was put back.
    pub(super) epoch: u32,
    /// None: everything is kept in memory only.
    pub(super) history: Option<History>,
    /// Itself, for tasks.
    me: Weak<Self>,
    pub(super) system: bool,
    pub(super) dir: String,
    pub(super) run: RunId,
    /// Why the server is not as it should be.
    pub(super) degraded: Vec<String>,
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
    /// How often users connect.
    pub(super) connects: RefCell<HashMap<u32, Bucket>>,
    /// Look-ups under way, by user id.
    lookups: RefCell<HashMap<u32, usize>>,
    pub(super) threads: Threads,
    /// Questions about the past: one of a user id at a time.
    questions_of: RefCell<HashMap<u32, Arc<Semaphore>>>,
    look_ups_of: RefCell<HashMap<u32, Arc<Semaphore>>>,
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
    /// Bytes that wait for all sessions of each user id.
    pub(super) owed: FxHashMap<u32, usize>,
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
        degraded: Vec<String>,
        (history, restored, epoch): (Option<History>, Restored, u32),
    ) -> Rc<Self> {
        let run = rules.run;
        let inner = Inner {
            hub: Hub::restored(rules, restored),
            channel,
            table,
            conns: FxHashMap::default(),
            owed: FxHashMap::default(),
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
            settings: options.settings.clone(),
            system: options.system,
            run,
            degraded,
            dir: options.places.runtime.display().to_string(),
            turn_due: Notify::new(),
            busy: Notify::new(),
            stop_asked: Notify::new(),
            badges_due: Notify::new(),
            started_mono_us: os::monotonic_us(),
            unread_mail: Cell::new(0),
            read_buffer: RefCell::new(vec![0; FRAME_BYTES_MAX].into()),
            half_open: RefCell::new(HashMap::new()),
            connects: RefCell::new(HashMap::new()),
            lookups: RefCell::new(HashMap::new()),
            threads: Threads::new(),
            questions_of: RefCell::new(HashMap::new()),
            look_ups_of: RefCell::new(HashMap::new()),
            standings: RefCell::new(HashMap::new()),
            renames: Cell::new(false),
            next_session: Cell::new(1),
            clock: Cell::new(Clock::new(os::monotonic_us())),
        })
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

    pub(super) fn lookups_of(&self, uid: u32) -> usize {
        self.lookups.borrow().get(&uid).copied().unwrap_or(0)
    }

    pub(super) fn count_lookup(&self, uid: u32, begins: bool) {
        let mut lookups = self.lookups.borrow_mut();
        let count = lookups.entry(uid).or_default();
        *count = if begins { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            lookups.remove(&uid);
        }
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

    pub(super) fn broadcast_word(&self) -> &'static str {
        if self.inner.borrow().channel.is_some() { os::BROADCAST_WORD } else { "session" }
    }

    pub(super) fn source_port(&self) -> Option<u16> {
        self.inner.borrow().channel.as_ref().map(broadcast::Sender::source_port)
    }

    /// Ends a turn of the hub and does what it says.
    pub(super) fn turn(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.hub.end_turn(self.now());
        inner.act(self);
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

    /// Looks at the timers; the next look follows after `wait_ms_max` at the latest.
    pub(super) fn tick(&self, wait_ms_max: u64) {
        let mut inner = self.inner.borrow_mut();
        let now = self.now();
        inner.hub.tick(now);
        inner.act(self);
        for conn in inner.conns.values() {
            conn.check_time(now.mono_us);
        }
        let after_ms = inner.hub.tick_after_ms().min(wait_ms_max);
        self.with_clock(|clock, now_us| clock.looked(now_us, after_ms));
    }

    /// Time until the next look at the timers.
    pub(super) fn until_tick(&self) -> Duration {
        Duration::from_micros(self.with_clock(|clock, now_us| clock.left_us(now_us)))
    }

    pub(super) fn heartbeat(&self, now_us: u64) {
        let mut inner = self.inner.borrow_mut();
        let most = self.settings.history.user_bytes_max;
        if let Some(history) = self.history.as_ref().filter(|_| self.system && most > 0) {
            inner.hub.set_over_history(history.users_over(most));
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
                    self.pump(core, &conn);
                }
            }
        }
        touched.clear();
        self.touched = touched;
    }

    fn carry_out(&mut self, core: &Core, action: Action) {
        match action {
            Action::Send(id, frame) => self.send(id, frame),
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
            Action::Row(mut row) => {
                // Other processes compare it with the machine's clock.
                row.active_mono_us = core.clock.get().reading_of(row.active_mono_us);
                if let Err(e) = self.table.put(&row) {
                    core.log.warn(&format!("presence table: {e}"));
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

    pub(super) fn send(&mut self, id: SessionId, frame: Frame) {
        if let Some(conn) = self.conns.get(&id) {
            conn.output.borrow_mut().put(|bytes| control::put_frame(bytes, frame));
            touch(&mut self.touched, id, conn);
            // Others decide how much it is told: it does not grow without end.
            if count_output(&mut self.owed, conn) > OUTPUT_BYTES_PER_USER_MAX {
                conn.cut_off();
            }
        }
    }

    /// Fills and writes a session's output until the socket is full or nothing is owed.
    pub(super) fn pump(&mut self, core: &Core, conn: &Conn) {
        let waker = conn.waker.borrow().clone();
        loop {
            if conn.hungry.get() && conn.output.borrow().waiting_bytes() < FRAME_BYTES_MAX {
                self.pull(core, conn);
            }
            let goes_on = !conn.output.borrow().is_empty() && conn.write(&waker);
            count_output(&mut self.owed, conn);
            if !goes_on {
                return;
            }
        }
    }

    fn pull(&mut self, core: &Core, conn: &Conn) {
        let mut chunks = std::mem::take(&mut self.chunks);
        let more = self.hub.pull(core.now(), conn.id, PULL_BYTES, &mut chunks);
        conn.hungry.set(more);
        conn.put_chunks(chunks.drain(..));
        self.chunks = chunks;
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

/// Counts what waits for a session as its user's; gives what waits for all of them, bytes.
pub(super) fn count_output(owed: &mut FxHashMap<u32, usize>, conn: &Conn) -> usize {
    let now = conn.output.borrow().own_bytes();
    let before = conn.counted.replace(now);
    let of_user = owed.entry(conn.uid()).or_default();
    *of_user = *of_user + now - before;
    let left = *of_user;
    if left == 0 {
        owed.remove(&conn.uid());
    }
    left
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
