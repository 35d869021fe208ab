//! The hub: one pure state machine that gives every room its order and knows who has what.
//!
//! A message's way: [`Hub::submit`] numbers it, [`Hub::end_turn`] hands what was numbered in this turn
//! to the store (streams that are stored) and, after [`Hub::stored`], puts it into the stream's
//! backlog as one encoded body, acknowledges it to its sender and publishes it. Publishing before the
//! commit would let a crash give one number to two texts.
//!
//! There is no queue a member. A member is a cursor into the backlog (`stream::Sub`); what it is
//! owed is computed by [`Hub::pull`] when its socket has room. What is in flight is bounded by a
//! window that only acknowledgements open (`flow.rs`); a member that keeps it shut leaves the window
//! and pulls at its own pace.
//!
//! Time comes in as [`Now`], what is to be done goes out as [`Action`]s. Nothing here reads a clock,
//! touches a socket or blocks.

mod announcements;
mod asking;
mod audit;
mod backlogs;
#[cfg(test)]
mod cases;
mod commit;
mod commits;
mod conversations;
#[cfg(test)]
mod effort;
mod flow;
#[cfg(test)]
mod flow_cases;
mod gone;
#[cfg(test)]
mod identity_cases;
mod instances;
mod ledger;
mod notices;
mod pending;
mod publish;
mod quota;
mod reading;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod removal;
mod request;
mod restored;
#[cfg(test)]
mod resubmits;
mod rooms;
#[cfg(test)]
mod scene;
mod session;
mod sessions;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod silence;
mod stream;
mod streams;
mod submit;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    rc::Rc,
    sync::Arc,
};

use rustc_hash::FxHashMap;

pub use quota::{Bucket, Rates, Usage, share};

use crate::{
    chat::{
        batch,
        clock::Now,
        event::Event,
        frames::Frame,
        member::SessionId,
        message::RunId,
        names::{Label, RoomName, UserName},
        roster::{Counters, Row},
        rules::{Policy, Rights},
        store::{Audit, Entry, Fetch, Record},
        stream_id::{Channel, ChannelKey, RoomId, StreamTag},
        users::Users,
    },
    faults::{Fault, planted},
    limits,
};
use announcements::Announcements;
use asking::Asking;
use commits::Commits;
use conversations::Conversations;
use gone::Gone;
use instances::Instances;
use quota::Accounts;
use rooms::Kick;
use sessions::{Session, Sessions, Wait};
use stream::Stream;
use streams::Streams;

/// What the operator and the machine decide for a hub.
#[derive(Debug, Clone)]
pub struct Rules {
    /// This run of the server.
    pub run: RunId,
    /// Makes ids that nobody can guess: random, and never told.
    pub secret: [u64; 2],
    /// The user id that the server runs as; with root an operator of every room.
    pub owner_uid: u32,
    /// Who may do what.
    pub policy: Policy,
    /// Rooms of the configuration: they exist from the start, and it names their operators.
    pub rooms: Vec<RoomName>,
    /// Admits all users of the host: accounts are user ids. Otherwise accounts are processes.
    pub host: bool,
    /// There is a broadcast channel.
    pub broadcast: bool,
    /// Rooms with fewer listening members go by session.
    pub broadcast_members_min: usize,
    /// There is a store: messages are committed before they are published.
    pub store: bool,
    /// What is stored outlives the run: ids need no run.
    pub persistent: bool,
    /// Sessions of the server.
    pub sessions_max: usize,
    /// Sessions of one account.
    pub sessions_per_user_max: usize,
    /// Rooms of the server.
    pub rooms_max: usize,
    /// Rooms made by one user id.
    pub rooms_per_user_max: usize,
    /// Bytes of backlog of one stream.
    pub backlog_bytes_max: usize,
    /// Bytes of backlog of all streams.
    pub backlog_total_bytes_max: usize,
    /// Bytes of one account taken and not yet published.
    pub in_flight_bytes_per_user_max: usize,
    /// Maximum states of all jobs: one for each queue that was offered a job.
    pub job_states_max: usize,
    /// Maximum states of the jobs of one account.
    pub job_states_per_user_max: usize,
    /// What one account may have a second.
    pub rates: Rates,
    /// Writes the header of a batch frame for a body of so many bytes.
    pub batch_header: fn(usize) -> [u8; limits::FRAME_HEADER_BYTES],
}

impl Rules {
    /// The defaults of `limits`, for a user's own server.
    #[must_use]
    pub fn new(run: RunId, owner_uid: u32, batch_header: fn(usize) -> [u8; 8]) -> Self {
        let random = RandomState::new();
        Self {
            run,
            secret: [0_u8, 1].map(|word| random.hash_one(word)),
            owner_uid,
            policy: Policy::default(),
            rooms: Vec::new(),
            host: false,
            broadcast: true,
            broadcast_members_min: limits::BROADCAST_MEMBERS_MIN,
            store: false,
            persistent: false,
            sessions_max: limits::SESSIONS_MAX,
            sessions_per_user_max: limits::SESSIONS_PER_USER_MAX,
            rooms_max: limits::ROOMS_MAX,
            rooms_per_user_max: limits::ROOMS_PER_USER_MAX,
            backlog_bytes_max: limits::BACKLOG_BYTES_MAX,
            backlog_total_bytes_max: limits::BACKLOG_TOTAL_BYTES_MAX,
            in_flight_bytes_per_user_max: limits::IN_FLIGHT_BYTES_PER_USER_MAX,
            job_states_max: limits::REQUEST_GROUPS_MAX,
            job_states_per_user_max: limits::REQUEST_GROUPS_PER_USER_MAX,
            rates: Rates::default(),
            batch_header,
        }
    }
}

/// What the shell is to do. One closed list; the shell matches it without `_`.
#[derive(Debug)]
pub enum Action {
    /// Put a frame into a session's output.
    Send(SessionId, Frame),
    /// There is something for this session to pull.
    Wake(SessionId),
    /// Stop reading from a session: what it sends has to wait.
    Pause(SessionId),
    /// Read from it again.
    Resume(SessionId),
    /// Hand a body (the frame without its header) to the broadcast channel.
    Publish(StreamTag, Rc<[u8]>),
    /// Open a broadcast channel for a stream, then call [`Hub::channel_opened`].
    OpenChannel(StreamTag),
    /// Seal what is published in a stream from now on with a fresh key, then call [`Hub::channel_key`]: who
    /// was removed has only old ones.
    NewKey(StreamTag),
    /// Nobody listens to it any more.
    CloseChannel(StreamTag),
    /// Commit these records and messages in one transaction, then call [`Hub::stored`] or
    /// [`Hub::store_failed`].
    Store(Vec<Record>, Vec<Entry>),
    /// Read older messages for a session from the store, then call [`Hub::fetched`] or
    /// [`Hub::fetch_failed`].
    Fetch(Fetch),
    /// End a session's connection, and say why: the hub has forgotten it already.
    End(SessionId, String),
    /// Note what an operator did.
    Log(String),
    /// Note what a user caused.
    LogOf(u32, String),
    /// A row of the presence table changed.
    Row(Box<Row>),
    /// A row of the presence table is gone.
    RowGone(SessionId),
}

/// What [`Hub::pull`] gives for a session's output.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// An encoded batch frame, shared with other sessions.
    Batch(Rc<[u8]>),
    /// An event to encode.
    Event(Event),
}

/// What a name follows, and when it was last said so.
#[derive(Debug, Default)]
struct Followed {
    rooms: Vec<RoomName>,
    used: u64,
}

/// The rules' state. See the head of this file.
#[derive(Debug)]
pub struct Hub {
    rules: Rules,
    sessions: Sessions,
    streams: Streams,
    rooms: BTreeMap<RoomName, StreamTag>,
    /// The same by their permanent ids.
    room_ids: FxHashMap<RoomId, StreamTag>,
    /// Rooms that were created and are not stored yet.
    unstored_rooms: HashSet<StreamTag>,
    conversations: Conversations,
    /// Bytes of all backlogs, at most.
    backlog_bytes: usize,
    users: Users,
    /// What was found out of users; of others nothing was.
    rights: FxHashMap<u32, Rights>,
    /// Rooms of the configuration that users who are here lead.
    configured_leads: FxHashMap<u32, Arc<[RoomName]>>,
    /// What operators did last.
    audit: VecDeque<Audit>,
    accounts: Accounts,
    /// What users caused.
    usage: FxHashMap<u32, Usage>,
    usage_halved_us: u64,
    /// Users whose texts take as much of the history as they may, and how much that is, bytes.
    over_history: HashMap<u32, u64>,
    instances: Instances,
    following: BTreeMap<(u32, Option<Label>), Followed>,
    /// Rises with each join that is kept: which names were used lately.
    uses: u64,
    /// Up to where names have read.
    marks: BTreeMap<(u32, Option<Label>, StreamTag), u64>,
    /// Numbers of deleted rooms: they are not given again.
    gone: Gone,
    commits: Commits,
    /// Rooms to be deleted once nothing is under way in them, and who is told.
    deleting: Vec<(StreamTag, SessionId, u32)>,
    /// Something was said or read since badges were counted.
    unread_changed: bool,
    /// Jobs and workers.
    asking: Asking,
    announcements: Announcements,
    /// Both clocks of the last turn.
    turn_us: u64,
    wall_us: i64,
    /// Streams that get another key before anything more is published.
    rekeyed: BTreeSet<StreamTag>,
    /// Number of the newest fetch.
    last_fetch: u64,
    /// When sessions whose fetches failed try again, microseconds.
    fetches_due: BTreeSet<(u64, SessionId)>,
    dirty_streams: Vec<StreamTag>,
    /// Things that were looked at since the server began.
    looked: Cell<usize>,
    /// Sessions that kicks still have to end.
    kicks: VecDeque<Kick>,
    /// Streams that kicks may still take sessions out of in this turn.
    kick_streams_left: usize,
    out: Vec<Action>,
    counters: Counters,
    last_tick_us: u64,
    builder: batch::Builder,
}

impl Hub {
    /// A hub without sessions or rooms.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let announcements = Stream::announcements(rules.backlog_bytes_max);
        let accounts = Accounts::new(rules.in_flight_bytes_per_user_max, rules.rates);
        let asking = Asking::new(&rules);
        let streams = Streams::new(announcements, rules.secret);
        Self {
            rules,
            sessions: Sessions::default(),
            streams,
            rooms: BTreeMap::new(),
            room_ids: FxHashMap::default(),
            unstored_rooms: HashSet::new(),
            conversations: Conversations::default(),
            backlog_bytes: 0,
            users: Users::default(),
            rights: FxHashMap::default(),
            configured_leads: FxHashMap::default(),
            audit: VecDeque::new(),
            accounts,
            usage: FxHashMap::default(),
            usage_halved_us: 0,
            over_history: HashMap::new(),
            instances: Instances::default(),
            following: BTreeMap::new(),
            uses: 0,
            marks: BTreeMap::new(),
            gone: Gone::default(),
            commits: Commits::default(),
            deleting: Vec::new(),
            unread_changed: true,
            asking,
            announcements: Announcements::default(),
            turn_us: 0,
            wall_us: 0,
            rekeyed: BTreeSet::new(),
            last_fetch: 0,
            fetches_due: BTreeSet::new(),
            dirty_streams: Vec::new(),
            looked: Cell::new(0),
            kicks: VecDeque::new(),
            kick_streams_left: limits::KICK_STREAMS_PER_TURN,
            out: Vec::new(),
            counters: Counters::default(),
            last_tick_us: 0,
            builder: batch::Builder::default(),
        }
    }

    /// What is to be done now, in order. Empty it after each call.
    pub fn actions(&mut self) -> std::vec::Drain<'_, Action> {
        // The table shows a member before the member learns that it is one.
        self.tell_rows();
        self.out.drain(..)
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn has_actions(&self) -> bool {
        !self.out.is_empty() || self.sessions.has_changed_rows()
    }

    /// Ends a turn: what arrived in it is stored, published and told, as much at a time as can be.
    pub fn end_turn(&mut self, now: Now) {
        self.accounts.next_turn(now.mono_us);
        (self.turn_us, self.wall_us) = (now.mono_us, now.wall_us);
        for id in self.accounts.take_freed() {
            self.let_go(id, Wait::Account);
        }
        self.kick_streams_left = limits::KICK_STREAMS_PER_TURN;
        self.end_kicked(now);
        self.sessions.mark_late_rows();
        if self.delete_ending() {
            self.answer_held(now);
        }
        for tag in std::mem::take(&mut self.rekeyed) {
            if self.known_stream(tag).is_some_and(|stream| stream.channel.is_some()) {
                self.out.push(Action::NewKey(tag));
            }
        }
        self.commit_next(now);
        let mut dirty = std::mem::take(&mut self.dirty_streams);
        for tag in dirty.drain(..) {
            // A room may have been deleted meanwhile.
            let Some(stream) = self.streams.get_mut(tag) else { continue };
            stream.dirty = false;
            self.publish(now, tag);
        }
        self.offer_jobs(now);
        if self.announcements.has_urgent() {
            self.commit_next(now);
        }
        // Publishing marks nothing dirty itself, so the allocation can be kept.
        if self.dirty_streams.is_empty() {
            self.dirty_streams = dirty;
        }
    }

    /// Looks at everything that depends on time. To be called every [`Hub::tick_after_ms`].
    pub fn tick(&mut self, now: Now) {
        self.tick_sessions(now);
        self.tick_streams(now);
        self.tick_fetches(now);
        self.tick_notices(now);
        self.tick_asking(now);
        self.tick_usage(now);
        self.say_unsaid_wills(now);
        self.last_tick_us = now.mono_us;
        self.end_turn(now);
    }

    /// How long the shell may sleep before the next [`Hub::tick`], milliseconds.
    #[must_use]
    pub fn tick_after_ms(&self) -> u64 {
        if self.streams.iter().any(|stream| stream.blocked_since_us.is_some()) {
            return limits::TICK_SHUT_MS;
        }
        let soon = self.has_more() || self.accounts.has_slowed();
        match soon || self.streams.iter().any(Stream::needs_watching) {
            true => limits::TICK_BUSY_MS,
            false => limits::TICK_IDLE_MS,
        }
    }

    /// Whether something was put off to the next turn, so that others have their part of this one.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.sessions.has_late_rows() || !self.kicks.is_empty()
    }

    /// Counters for `status` and the presence table.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            sessions: self.sessions.len() as u64,
            rooms: self.public_rooms() as u64,
            lagging: self.streams.iter().map(|s| s.lagging_count() as u64).sum(),
            deaf: self.streams.iter().map(|s| s.deaf_count() as u64).sum(),
            ..self.counters
        }
    }

    /// Sessions now, visitors included.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions that listen.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.sessions.iter().filter(|session| session.listens()).count()
    }

    /// The room of a name, for tests and the shell's log.
    #[must_use]
    pub fn room_tag(&self, room: &RoomName) -> Option<StreamTag> {
        self.rooms.get(room).copied()
    }

    /// Whether it was looked up lately who has a name; if not, the shell should do that first.
    #[must_use]
    pub fn knows_user(&self, user: &UserName) -> bool {
        self.users.is_answered(self.turn_us, user)
    }

    /// The user id that had a name when that was last looked up.
    #[must_use]
    pub fn uid_of_user(&self, user: &UserName) -> Option<u32> {
        self.users.uid(user)
    }

    /// Tells the hub the user id of a name that was looked up.
    pub fn learn_user(&mut self, user: UserName, uid: u32) {
        self.users.found(self.turn_us, user, Some(uid));
    }

    /// Tells the hub that no user has a name that was looked up.
    pub fn learn_no_user(&mut self, user: UserName) {
        self.users.found(self.turn_us, user, None);
    }

    /// Tells the hub the name of a user id that was looked up: of a session that begins, or of a conversation.
    pub fn name_user(&mut self, uid: u32, user: UserName) {
        let sessions = &self.sessions;
        self.users.called(self.turn_us, uid, user, |uid| sessions.has_user(uid));
    }

    /// The name of a user id, if it was looked up lately.
    #[must_use]
    pub fn fresh_user_name(&self, uid: u32) -> Option<UserName> {
        self.users.fresh_name(self.turn_us, uid).cloned()
    }

    /// A user id whose name was shown and is to be looked up again, for [`Hub::rename_user`].
    pub fn take_stale_user(&mut self) -> Option<u32> {
        self.users.take_stale()
    }

    /// Tells the hub how a user of [`Hub::take_stale_user`] is called now.
    pub fn rename_user(&mut self, uid: u32, user: Option<UserName>) {
        self.users.looked_up(self.turn_us, uid, user);
    }

    /// The name of a user id, if it is known.
    #[must_use]
    pub fn user_name(&self, uid: u32) -> Option<UserName> {
        self.users.name(self.turn_us, uid).cloned()
    }

    /// How many things wait to be done.
    #[must_use]
    pub fn action_count(&self) -> usize {
        self.out.len()
    }

    /// Whether a session waits until its stream or account has room again.
    #[must_use]
    pub fn is_paused(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|s| s.waits.is_some())
    }

    /// Returns true if a request of this session has to wait, because its account has caused as many records as it
    /// may; the shell reads on after [`Action::Resume`].
    pub fn must_wait_to_ask(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if session.waits.is_none() && self.accounts.must_wait(session.account, id) {
            session.waits = Some(Wait::Account);
        }
        session.waits.is_some()
    }

    /// Whether a submit of this session has to wait; the shell reads on after
    /// [`Action::Resume`].
    pub fn must_wait(&mut self, now: Now, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if session.waits.is_some() {
            return true;
        }
        let account = session.account;
        if self.accounts.must_wait(account, id) {
            session.waits = Some(Wait::Account);
        } else if self.accounts.must_slow_down(now.mono_us, account, id) {
            session.waits = Some(Wait::Rate);
            let told_us = std::mem::replace(&mut session.slowed_told_us, now.mono_us);
            if told_us == 0 || now.mono_us.saturating_sub(told_us) >= limits::COMPETES_MS * 1000 {
                self.send(id, Event::Slowed);
            }
            return true;
        }
        session.waits.is_some()
    }

    /// Has a session read again, if this is what it waited for.
    fn let_go(&mut self, id: SessionId, from: Wait) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.waits == Some(from)
        {
            session.waits = None;
            self.out.push(Action::Resume(id));
        }
    }

    /// Sessions of a user.
    fn sessions_of(&self, uid: u32) -> impl Iterator<Item = &Session> {
        self.sessions.of_user(uid)
    }

    /// Whether more of what a session sends may be taken in this turn: each account has its share.
    pub fn has_credit(&mut self, id: SessionId) -> bool {
        self.credit_left(id) > 0
    }

    /// Returns the bytes that may be taken from a session in this turn. What is no session pays nothing.
    pub fn credit_left(&mut self, id: SessionId) -> usize {
        let Some(session) = self.sessions.get(&id) else { return usize::MAX };
        self.accounts.credit_left(session.account)
    }

    /// Does what a session asked for, and charges its account with all that this caused: what was told to
    /// whomever, what is to be stored, which rows changed, and what was looked at.
    fn charged<T>(&mut self, id: SessionId, act: impl FnOnce(&mut Self) -> T) -> T {
        let account = self.sessions.get(&id).map(|session| session.account);
        let (before, records_before) = (self.caused_bytes(), self.commits.records().len());
        let result = act(self);
        if let Some(account) = account
            && self.rules.store
        {
            let new = self.commits.records().iter().skip(records_before);
            let weight = new.clone().map(Record::weight).sum::<usize>();
            self.looked_at(
                (weight - new.count()) * limits::RECORD_COST_BYTES / limits::LOOK_COST_BYTES,
            );
            self.accounts.add_records(account, weight);
        }
        if let Some(account) = account
            && !planted(Fault::EffectsNotCharged)
        {
            self.accounts.charge(account, self.caused_bytes() - before);
        }
        result
    }

    /// What was caused since the server began, in the bytes that it costs of a turn. It only rises while a
    /// request is answered.
    fn caused_bytes(&self) -> usize {
        self.out.len() * limits::TOLD_COST_BYTES
            + self.sessions.unwritten_rows() * limits::ROW_COST_BYTES
            + self.commits.records().len() * limits::RECORD_COST_BYTES
            + self.looked.get() * limits::LOOK_COST_BYTES
    }

    /// Counts sessions that will be told something in a later turn.
    fn told(&self, sessions: usize) {
        self.looked_at(sessions * (limits::TOLD_COST_BYTES / limits::LOOK_COST_BYTES));
    }

    /// Counts things that are looked at for a request beyond a few.
    fn looked_at(&self, things: usize) {
        self.looked.set(self.looked.get().saturating_add(things));
    }

    /// Counts a frame against its account's share of this turn; `speaks`: it says or asks something. A user of the
    /// host who uses up that share competes with the others whatever it was used for.
    pub fn spend(&mut self, now: Now, id: SessionId, bytes: usize, speaks: bool) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (account, uid) = (session.account, session.peer.uid);
        self.accounts.charge(account, bytes);
        if speaks || (self.rules.host && self.accounts.credit_left(account) == 0) {
            self.accounts.note_active(now.mono_us, account);
            self.used(uid).recent += bytes as u64;
        }
    }

    fn used(&mut self, uid: u32) -> &mut Usage {
        self.usage.entry(uid).or_insert(Usage { uid, ..Usage::default() })
    }

    /// Returns true if a user may see what other users cause.
    #[must_use]
    pub fn may_see_usage(&self, uid: u32) -> bool {
        !self.rules.host || self.is_operator(uid)
    }

    /// Users who caused most lately, the heaviest first.
    #[must_use]
    pub fn heaviest(&self, most: usize) -> Vec<Usage> {
        let mut all: Vec<Usage> = self.usage.values().copied().collect();
        all.sort_by_key(|u| std::cmp::Reverse((u.recent, u.bytes)));
        all.truncate(most);
        for session in self.sessions.iter() {
            if let Some(usage) = all.iter_mut().find(|usage| usage.uid == session.peer.uid) {
                usage.sessions += 1;
            }
        }
        all
    }

    /// Takes over the rules that may change while the server runs.
    pub fn change_rules(&mut self, new: &Rules) {
        self.rules.policy = new.policy.clone();
        self.rules.rooms.clone_from(&new.rooms);
        self.rules.broadcast_members_min = new.broadcast_members_min;
        self.rules.sessions_max = new.sessions_max;
        self.rules.sessions_per_user_max = new.sessions_per_user_max;
        self.rules.rooms_max = new.rooms_max;
        self.rules.rooms_per_user_max = new.rooms_per_user_max;
        self.rules.rates = new.rates;
        self.accounts.set_rates(new.rates);
        self.make_configured_rooms();
    }

    /// Users whose texts take as much of the history as they may: what they say is refused where it
    /// would be stored.
    pub fn set_over_history(&mut self, over: HashMap<u32, u64>) {
        self.over_history = over;
    }

    /// Lets those go on who waited long enough, and forgets what was long ago.
    fn tick_usage(&mut self, now: Now) {
        for (id, waited_us) in self.accounts.take_slowed(now.mono_us) {
            let Some(session) = self.sessions.get(&id) else { continue };
            let uid = session.peer.uid;
            self.used(uid).slowed_ms += waited_us / 1000;
            self.let_go(id, Wait::Rate);
        }
        if now.mono_us.saturating_sub(self.usage_halved_us) >= limits::USAGE_HALVES_MS * 1000 {
            self.usage_halved_us = now.mono_us;
            let here: HashSet<u32> = self.sessions.iter().map(|s| s.peer.uid).collect();
            self.usage.retain(|uid, usage| {
                usage.recent /= 2;
                usage.recent > 0 || here.contains(uid)
            });
        }
    }

    fn stream(&self, tag: StreamTag) -> &Stream {
        &self.streams[tag]
    }

    fn stream_mut(&mut self, tag: StreamTag) -> &mut Stream {
        &mut self.streams[tag]
    }

    fn known_stream(&self, tag: StreamTag) -> Option<&Stream> {
        self.streams.get(tag)
    }

    fn mark_dirty(&mut self, tag: StreamTag) {
        let Some(stream) = self.streams.get_mut(tag) else { return };
        if !stream.dirty {
            stream.dirty = true;
            self.dirty_streams.push(tag);
        }
    }

    fn send(&mut self, session: SessionId, event: Event) {
        self.out.push(Action::Send(session, Frame::Event(event)));
    }

    fn wake(&mut self, session: SessionId) {
        if let Some(s) = self.sessions.get_mut(&session)
            && !s.woken
        {
            s.woken = true;
            self.out.push(Action::Wake(session));
        }
    }

    /// A broadcast channel was opened, or could not be (any more).
    pub fn channel_opened(&mut self, tag: StreamTag, channel: Option<Channel>) {
        // The room may have been deleted before the channel was open.
        let Some(stream) = self.streams.get_mut(tag) else { return };
        stream.channel_asked = channel.is_some();
        stream.channel = channel;
        if channel.is_some() {
            self.tell_channel(tag);
            return;
        }
        let stream = self.stream_mut(tag);
        let keys: Vec<_> = stream.subs.iter().map(|(key, _)| key).collect();
        for key in keys {
            stream.subs[key].hearing = stream::Hearing::None;
            stream.set_way(key, stream::Way::Session);
        }
        self.wake_pulling(tag);
    }

    /// A stream's channel has no key any more: it goes by session, until nobody listens to it.
    pub fn channel_lost(&mut self, tag: StreamTag) {
        self.channel_opened(tag, None);
        if let Some(stream) = self.streams.get_mut(tag) {
            stream.channel_asked = true;
        }
    }

    /// A stream's channel has another key: its members are told, by session, before anything else.
    pub fn channel_key(&mut self, tag: StreamTag, key: ChannelKey) {
        let channel = self.streams.get_mut(tag).and_then(|stream| stream.channel.as_mut());
        if let Some(channel) = channel {
            channel.key = key;
            self.tell_channel(tag);
        }
    }

    fn tell_channel(&mut self, tag: StreamTag) {
        let stream = self.stream(tag);
        let Some(channel) = stream.channel else { return };
        let sessions: Vec<_> = stream.subs.iter().map(|(_, sub)| sub.session).collect();
        for session in sessions {
            self.send(session, Event::Channel { stream: tag, channel });
        }
    }
}
