//! One stream (room, conversation, announcements) and its members' cursors.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use slab::Slab;

use super::{
    pending::{EntryDraft, MESSAGE_OVERHEAD_BYTES, Pending},
    quota::{AccountId, Holding},
};
use crate::{
    chat::{
        backlog::{Backlog, Flow},
        clock::Now,
        event::Event,
        frames::ANNOUNCEMENTS,
        member::{Member, SessionId},
        message::RunId,
        names::RoomName,
        rules::RoomRules,
        store::{Entry, Span, StreamKey},
        stream_id::{Channel, RoomId, StreamTag},
    },
    faults::{Fault, planted},
    limits::{
        CONVERSATION_BACKLOG_BYTES_MAX, MEMBERSHIP_KEPT_MAX, MEMBERSHIP_TOLD_MEMBERS_MAX,
        MEMBERSHIP_TOLD_PER_USER_MAX, REPORT_BYTES, RETRY_PAUSE_MS_MAX, RETRY_PAUSE_MS_MIN,
        SESSION_WINDOW_BYTES, WINDOW_CHARGE_BYTES_MIN,
    },
};

/// What a stream is.
#[derive(Debug)]
pub(super) enum Topic {
    Announcements,
    Room {
        name: RoomName,
        id: RoomId,
        topic: String,
        creator_uid: u32,
        history: bool,
        rules: Box<RoomRules>,
    },
    /// Between two users, the smaller user id first; or of one with oneself.
    Conversation {
        low: u32,
        high: u32,
        begun_by: Option<u32>,
    },
}

/// How a member's messages reach it at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Pushed on its session as its socket takes them.
    Session,
    /// Sent once for all; only what is missed goes on the session.
    Broadcast,
}

/// Whether a member hears the stream's broadcast channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It has no socket on the channel.
    None,
    /// It has one; nothing was heard yet, or too little. Tried again at that time.
    Unproven { probe_at_us: u64 },
    /// What it reports shows that it hears.
    Proven,
}

/// A number that a member misses although it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missed {
    pub(super) first: u64,
    /// When it was first asked for, or last sent again.
    pub(super) since_us: u64,
    /// How long it has to be missed before it is sent again.
    pub(super) pause_ms: u64,
}

/// One member of a stream: cursors, nothing queued.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) session: SessionId,
    pub(super) account: AccountId,
    /// First number that this membership is owed.
    pub(super) since: u64,
    /// Everything up to here was delivered, says the member.
    pub(super) acked: u64,
    pub(super) acked_flow: Flow,
    /// Next number to push while it is served by session.
    pub(super) next_push: u64,
    /// Highest number that was pushed, and when something was last.
    pub(super) sent: u64,
    pub(super) sent_us: u64,
    /// What it last missed while it was served by session.
    pub(super) missed: Option<Missed>,
    pub(super) way: Way,
    pub(super) hearing: Hearing,
    /// Half of its receive buffer, in charge.
    pub(super) window_charge: u64,
    /// Missing numbers to send again while it is served by broadcast.
    pub(super) repair: Option<(u64, u64)>,
    pub(super) head_due: bool,
    pub(super) head_told: u64,
    pub(super) head_told_us: u64,
    /// Holds the window; false: *lagging*, or its account's stall budget is spent.
    pub(super) in_window: bool,
    pub(super) progress_us: u64,
    pub(super) rejoin_at_us: u64,
    pub(super) pause_ms: u64,
    /// Cumulative, as reported.
    pub(super) datagrams: u64,
    pub(super) health_since_us: u64,
    pub(super) health_delivered: u64,
    pub(super) health_by_broadcast: u64,
    pub(super) health_aside: u64,
    /// Wants to know who joins and leaves, told up to here.
    pub(super) membership: Option<u64>,
    /// The others were told that it came.
    pub(super) welcomed: bool,
    /// Number of the fetch that reads older messages from the store for it.
    pub(super) fetching: Option<u64>,
    /// Fetches that failed, fewer by one for each that did not.
    pub(super) fetch_failures: u32,
    /// Nothing is fetched for it before.
    pub(super) fetch_after_us: u64,
}

impl Sub {
    /// A cursor behind `seen`; `in_window`: it holds the window from the beginning.
    pub(super) fn new(
        (session, account): (SessionId, AccountId),
        seen: u64,
        now_us: u64,
        in_window: bool,
    ) -> Self {
        Self {
            session,
            account,
            since: seen + 1,
            acked: seen,
            acked_flow: Flow::default(),
            next_push: seen + 1,
            sent: seen,
            sent_us: now_us,
            missed: None,
            way: Way::Session,
            hearing: Hearing::None,
            window_charge: WINDOW_CHARGE_BYTES_MIN as u64 / 2,
            repair: None,
            head_due: false,
            head_told: seen,
            head_told_us: now_us,
            in_window,
            progress_us: now_us,
            rejoin_at_us: now_us,
            pause_ms: RETRY_PAUSE_MS_MIN,
            datagrams: 0,
            health_since_us: now_us,
            health_delivered: 0,
            health_by_broadcast: 0,
            health_aside: 0,
            membership: None,
            welcomed: false,
            fetching: None,
            fetch_failures: 0,
            fetch_after_us: 0,
        }
    }

    /// The pause before it is tried again; the next one is twice as long.
    pub(super) fn next_pause_us(&mut self) -> u64 {
        let pause = self.pause_ms;
        self.pause_ms = (pause * 2).min(RETRY_PAUSE_MS_MAX);
        pause * 1000
    }

    /// Serves it by session from its cursor on. What is in flight to it may come twice; its inbox
    /// drops what it has.
    pub(super) fn serve_by_session(&mut self) {
        if self.way == Way::Broadcast {
            self.way = Way::Session;
            self.next_push = self.acked + 1;
            self.repair = None;
        }
    }

    /// Serves it by broadcast; what it was not pushed yet is repaired.
    pub(super) fn serve_by_broadcast(&mut self, head: u64) {
        if self.way == Way::Session {
            self.way = Way::Broadcast;
            if self.next_push <= head {
                self.repair = Some((self.next_push, head));
            }
        }
    }
}

/// Whether a member that has acknowledged so much is one of the last, by bytes and by charge.
fn holds(way: Way, acked: Flow, floor: Flow) -> [bool; 2] {
    [acked.bytes <= floor.bytes, way == Way::Broadcast && acked.charge <= floor.charge]
}

/// One stream. Numbers up to `backlog.head()` are published, up to `numbered` are given out.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tag: StreamTag,
    /// Rises with each stream of the boot.
    pub(super) made: u64,
    pub(super) topic: Topic,
    /// The same, good for ever.
    pub(super) key: Arc<StreamKey>,
    pub(super) backlog: Backlog,
    /// Oldest number that the store has, where messages are stored.
    pub(super) first: u64,
    /// Wall clock of the newest message of the last run.
    pub(super) newest_us: Option<i64>,
    /// Numbers up to here were given by an earlier boot, or in a deleted room.
    pub(super) inherited: u64,
    /// Newest number given out.
    pub(super) numbered: u64,
    /// Numbered, not committed yet (only streams that are stored).
    pub(super) uncommitted: VecDeque<Pending>,
    /// How many of those are with the store now.
    pub(super) committing: usize,
    /// Committed (or not to be stored), not published yet.
    pub(super) ready: VecDeque<Pending>,
    pub(super) in_flight_bytes: usize,
    /// Senders that wait until this stream has room again.
    pub(super) waiting: VecDeque<SessionId>,
    pub(super) subs: Slab<Sub>,
    pub(super) members: u32,
    pub(super) broadcast_subs: usize,
    pub(super) channel: Option<Channel>,
    pub(super) channel_asked: bool,
    pub(super) probe_due: bool,
    pub(super) probed_us: u64,
    pub(super) next_probe_us: u64,
    pub(super) probe_pause_ms: u64,
    /// When members that are served by session were last looked at for stalls.
    pub(super) stalls_looked_us: u64,
    pub(super) dirty: bool,
    /// Begin of the present burst: of what is older than a heads' period, everything was told.
    pub(super) busy_since_us: u64,
    pub(super) published_us: u64,
    /// Messages that went by session on purpose: no loss of the channel's.
    pub(super) aside: u64,
    /// The window has been full since.
    pub(super) blocked_since_us: Option<u64>,
    /// Charge of the body that did not fit then: what is ready only grows.
    pub(super) blocked_charge: usize,
    floor: Flow,
    /// Members that stand there, by bytes and by charge: until the last of them has gone on, the
    /// window is as shut as it was.
    holders: [usize; 2],
    window_charge: u64,
    /// Joins and leaves, for those who want to know; numbered by `membership_next`.
    membership: VecDeque<Event>,
    membership_next: u64,
    /// Members that want to know, by their keys.
    watching: BTreeSet<usize>,
    has_membership_news: bool,
}

impl Stream {
    /// Gives a message its number and puts it on its way; gives the length of its text.
    pub(super) fn number(
        &mut self,
        now: Now,
        to_store: bool,
        account: AccountId,
        draft: EntryDraft,
    ) -> usize {
        self.numbered += 1;
        let text_bytes = draft.text.len();
        let bytes = text_bytes + MESSAGE_OVERHEAD_BYTES;
        let entry = Entry {
            stream: Arc::clone(&self.key),
            seq: self.numbered,
            wall_us: now.wall_us,
            from: draft.from,
            reply_to: draft.reply_to,
            to_label: draft.to_label,
            notice: draft.notice,
            will: draft.will,
            text: draft.text,
            submit: draft.submit.and_then(|(key, counter)| Some((key.stored_as()?, counter))),
        };
        self.in_flight_bytes += bytes;
        let pending = Pending { entry, submit: draft.submit, account, bytes };
        if to_store {
            self.uncommitted.push_back(pending);
        } else {
            self.ready.push_back(pending);
        }
        text_bytes
    }

    fn new(tag: StreamTag, topic: Topic, head: u64, backlog_bytes_max: usize) -> Self {
        let key = match &topic {
            Topic::Announcements => StreamKey::Announcements,
            Topic::Room { name, .. } => StreamKey::Room(name.clone()),
            Topic::Conversation { low, high, .. } => StreamKey::Conversation(*low, *high),
        };
        Self {
            tag,
            made: 0,
            topic,
            key: Arc::new(key),
            backlog: Backlog::new(head, backlog_bytes_max),
            first: head + 1,
            newest_us: None,
            inherited: head,
            numbered: head,
            uncommitted: VecDeque::new(),
            committing: 0,
            ready: VecDeque::new(),
            in_flight_bytes: 0,
            waiting: VecDeque::new(),
            subs: Slab::new(),
            members: 0,
            broadcast_subs: 0,
            channel: None,
            channel_asked: false,
            probe_due: false,
            probed_us: 0,
            next_probe_us: 0,
            probe_pause_ms: RETRY_PAUSE_MS_MIN,
            stalls_looked_us: 0,
            dirty: false,
            busy_since_us: 0,
            published_us: 0,
            aside: 0,
            blocked_since_us: None,
            blocked_charge: 0,
            floor: Flow::default(),
            holders: [0; 2],
            window_charge: WINDOW_CHARGE_BYTES_MIN as u64 / 2,
            membership: VecDeque::new(),
            membership_next: 0,
            watching: BTreeSet::new(),
            has_membership_news: false,
        }
    }

    /// Goes on after the numbers of the last run.
    pub(super) fn restore(&mut self, span: Span) {
        self.backlog.begin_at(span.head);
        (self.inherited, self.numbered) = (span.head, span.head);
        self.first = span.first.max(1);
        self.newest_us = span.newest_us;
    }

    pub(super) fn set_topic(&mut self, new: String) {
        if let Topic::Room { topic, .. } = &mut self.topic {
            *topic = new;
        }
    }

    pub(super) fn set_rules(&mut self, new: RoomRules) {
        if let Topic::Room { rules, .. } = &mut self.topic {
            **rules = new;
        }
    }

    pub(super) fn announcements(backlog_bytes_max: usize) -> Self {
        Self::new(ANNOUNCEMENTS, Topic::Announcements, 0, backlog_bytes_max)
    }

    pub(super) fn room(
        tag: StreamTag,
        (name, id): (RoomName, RoomId),
        creator_uid: u32,
        history: bool,
        backlog_bytes_max: usize,
    ) -> Self {
        let rules = Box::default();
        let topic = Topic::Room { name, id, topic: String::new(), creator_uid, history, rules };
        Self::new(tag, topic, 0, backlog_bytes_max)
    }

    pub(super) fn conversation(
        tag: StreamTag,
        (low, high): (u32, u32),
        begun_by: Option<u32>,
        backlog_bytes_max: usize,
    ) -> Self {
        let topic = Topic::Conversation { low, high, begun_by };
        Self::new(tag, topic, 0, backlog_bytes_max.min(CONVERSATION_BACKLOG_BYTES_MAX))
    }

    /// Whether what is said here may go on the broadcast channel.
    pub(super) fn is_public(&self) -> bool {
        match &self.topic {
            Topic::Announcements => true,
            Topic::Room { rules, .. } => !rules.private,
            Topic::Conversation { .. } => false,
        }
    }

    /// Whether its messages are committed before they are published.
    pub(super) fn is_committed(&self, store: bool) -> bool {
        store
            && !planted(Fault::AckWithoutCommit)
            && match self.topic {
                Topic::Room { history, .. } => history,
                Topic::Announcements | Topic::Conversation { .. } => true,
            }
    }

    /// Whether a timer has to look at it soon.
    pub(super) fn needs_watching(&self) -> bool {
        let head = self.backlog.head();
        self.blocked_since_us.is_some()
            || !self.waiting.is_empty()
            || (self.probe_due && self.channel.is_some() && !self.subs.is_empty())
            || (self.broadcast_subs > 0
                && self.subs.iter().any(|(_, s)| s.way == Way::Broadcast && s.acked < head))
    }

    /// Newest number that can't be taken back.
    pub(super) fn committed(&self) -> u64 {
        self.numbered - self.uncommitted.len() as u64
    }

    pub(super) fn lagging_count(&self) -> usize {
        self.subs.iter().filter(|(_, s)| !s.in_window).count()
    }

    pub(super) fn deaf_count(&self) -> usize {
        let deaf = |s: &Sub| self.channel.is_some() && s.hearing != Hearing::Proven;
        self.subs.iter().filter(|(_, s)| deaf(s)).count()
    }

    /// Adds a member; its cursor stands at `sub.acked`.
    pub(super) fn add(&mut self, mut sub: Sub) -> usize {
        // A backlog that it asked for is not in flight to it: it must not shut the window.
        sub.acked_flow = self.backlog.flow();
        self.members += 1;
        let key = self.subs.insert(sub);
        self.hold(key, [true; 2]);
        key
    }

    pub(super) fn remove(&mut self, key: usize) -> Sub {
        self.release(key, [true; 2]);
        let sub = self.subs.remove(key);
        self.watching.remove(&key);
        self.members -= 1;
        if sub.way == Way::Broadcast {
            self.broadcast_subs -= 1;
        }
        sub
    }

    /// Changes the way of a member, keeping count.
    pub(super) fn set_way(&mut self, key: usize, way: Way) {
        let head = self.backlog.head();
        let sub = &mut self.subs[key];
        match (sub.way, way) {
            (Way::Session, Way::Broadcast) => {
                sub.serve_by_broadcast(head);
                self.broadcast_subs += 1;
                self.hold(key, [false, true]);
            }
            (Way::Broadcast, Way::Session) => {
                self.release(key, [false, true]);
                self.subs[key].serve_by_session();
                self.broadcast_subs -= 1;
            }
            (Way::Session, Way::Session) | (Way::Broadcast, Way::Broadcast) => {}
        }
    }

    /// Whether one more body of this charge may be in flight. Only what members acknowledged, or
    /// the leaving of a member from the window, opens it; no timer does.
    pub(super) fn window_is_open(&mut self, charge: usize) -> bool {
        if self.fits(charge) || planted(Fault::WindowIgnored) {
            return true;
        }
        self.measure();
        self.fits(charge)
    }

    fn fits(&self, charge: usize) -> bool {
        let flow = self.backlog.flow();
        let (charge_out, bytes_out) =
            (flow.charge - self.floor.charge, flow.bytes - self.floor.bytes);
        let charge_fits = charge_out == 0 || charge_out + charge as u64 <= self.window_charge;
        charge_fits && bytes_out < self.session_window()
    }

    /// Bytes that may be in flight: never so much that the backlog drops what is not acknowledged
    /// by a member that does not lag.
    fn session_window(&self) -> u64 {
        SESSION_WINDOW_BYTES.min(self.backlog.bytes_max() / 2) as u64
    }

    /// Takes the floor and the window from the members that hold it.
    fn measure(&mut self) {
        let flow = self.backlog.flow();
        let (mut floor, mut window) = (flow, u64::MAX);
        for (_, sub) in &self.subs {
            if !sub.in_window {
                continue;
            }
            floor.bytes = floor.bytes.min(sub.acked_flow.bytes);
            if sub.way == Way::Broadcast {
                floor.charge = floor.charge.min(sub.acked_flow.charge);
                window = window.min(sub.window_charge);
            }
        }
        self.floor = floor;
        self.window_charge = window;
        self.holders = [0; 2];
        for (_, sub) in self.subs.iter().filter(|(_, sub)| sub.in_window) {
            let holds = holds(sub.way, sub.acked_flow, floor);
            self.holders[0] += usize::from(holds[0]);
            self.holders[1] += usize::from(holds[1]);
        }
    }

    /// A member that stood at this flow has gone on; whether the window may be wider now. (What
    /// else opens it is found at the next tick.)
    pub(super) fn went_on(&mut self, way: Way, from: Flow) -> bool {
        let mut last = false;
        for (held, holders) in holds(way, from, self.floor).into_iter().zip(&mut self.holders) {
            if held {
                *holders = holders.saturating_sub(1);
                last |= *holders == 0;
            }
        }
        last
    }

    /// A member of the window counts from now on, by bytes and by charge: what was measured stays a
    /// lower bound.
    pub(super) fn hold(&mut self, key: usize, counts: [bool; 2]) {
        let sub = &self.subs[key];
        if !sub.in_window {
            return;
        }
        let by_charge = counts[1] && sub.way == Way::Broadcast;
        if counts[0] && sub.acked_flow.bytes < self.floor.bytes {
            (self.floor.bytes, self.holders[0]) = (sub.acked_flow.bytes, 0);
        }
        if by_charge && sub.acked_flow.charge < self.floor.charge {
            (self.floor.charge, self.holders[1]) = (sub.acked_flow.charge, 0);
        }
        if by_charge {
            self.window_charge = self.window_charge.min(sub.window_charge);
        }
        let holds = holds(sub.way, sub.acked_flow, self.floor);
        for at in [0, 1] {
            self.holders[at] += usize::from(counts[at] && holds[at]);
        }
    }

    /// A member of the window counts no longer. What was measured stays: it is measured anew once
    /// it keeps the window shut.
    fn release(&mut self, key: usize, counts: [bool; 2]) {
        let sub = &self.subs[key];
        let holds = holds(sub.way, sub.acked_flow, self.floor);
        for at in [0, 1] {
            if sub.in_window && counts[at] && holds[at] {
                self.holders[at] = self.holders[at].saturating_sub(1);
            }
        }
    }

    /// Takes a member out of the window.
    pub(super) fn leave(&mut self, key: usize) {
        self.release(key, [true, false]);
        self.set_way(key, Way::Session);
        self.subs[key].in_window = false;
    }

    /// Whether a member has not acknowledged everything.
    pub(super) fn owes(&self, sub: &Sub) -> bool {
        sub.in_window && self.backlog.flow().bytes > sub.acked_flow.bytes
    }

    /// Whether a member owes more than it may keep to itself until its next report is due.
    pub(super) fn owes_much(&self, sub: &Sub) -> bool {
        let flow = self.backlog.flow();
        flow.bytes - sub.acked_flow.bytes > REPORT_BYTES as u64
            || flow.charge - sub.acked_flow.charge > REPORT_BYTES as u64
    }

    /// Whether a member alone would keep the window shut now.
    pub(super) fn shuts_window(&self, sub: &Sub) -> bool {
        let flow = self.backlog.flow();
        let bytes = flow.bytes - sub.acked_flow.bytes;
        let charge = flow.charge - sub.acked_flow.charge;
        sub.in_window
            && (bytes >= self.session_window() * 3 / 4
                || (sub.way == Way::Broadcast && charge >= self.window_charge / 2))
    }

    /// Notifies a member of joins, leaves and topics from now on.
    pub(super) fn watch(&mut self, key: usize) {
        if self.watching.insert(key) {
            self.subs[key].membership = Some(self.membership_next);
        }
    }

    /// Whether one more session of an account may be notified of joins and leaves: the accounts
    /// share that.
    pub(super) fn may_watch(&self, account: AccountId) -> bool {
        let accounts = self.watching.iter().map(|key| (self.subs[*key].account, 1));
        let holding = Holding::of(account, accounts);
        let share = holding.share(MEMBERSHIP_TOLD_MEMBERS_MAX);
        holding.own < share.min(MEMBERSHIP_TOLD_PER_USER_MAX)
    }

    /// Members that want to know who joins and leaves.
    pub(super) fn watchers(&self) -> usize {
        self.watching.len()
    }

    /// Keeps a join, a leave or a new topic for those who want to know; they are woken at the end
    /// of the turn. `own`: the member that did it is not told.
    pub(super) fn keep_membership(&mut self, event: Event, own: Option<usize>) {
        if self.membership.len() >= MEMBERSHIP_KEPT_MAX {
            self.membership.pop_front();
        }
        self.membership.push_back(event);
        self.membership_next += 1;
        self.has_membership_news = true;
        if let Some(sub) = own.and_then(|key| self.subs.get_mut(key))
            && let Some(told) = &mut sub.membership
            && *told + 1 == self.membership_next
        {
            // Its own arrival is no news to it.
            *told = self.membership_next;
        }
    }

    /// Members to be woken for joins and leaves since this was asked.
    pub(super) fn take_membership_news(&mut self) -> Vec<SessionId> {
        if !std::mem::take(&mut self.has_membership_news) {
            return Vec::new();
        }
        self.watching.iter().map(|key| self.subs[*key].session).collect()
    }

    /// The membership event after `told`, and its number; older ones that are gone are passed over.
    pub(super) fn membership_after(&self, told: u64) -> Option<(u64, &Event)> {
        let oldest = self.membership_next - self.membership.len() as u64;
        let at = told.max(oldest);
        self.membership.get(usize::try_from(at - oldest).ok()?).map(|event| (at + 1, event))
    }
}

/// How a member of this run asks to go on, as a cursor: the last number it has, whether the run is
/// another one.
pub(super) fn cursor_of(
    stream: &Stream,
    run: RunId,
    stored: bool,
    begin: crate::chat::request::Begin,
) -> (u64, bool) {
    use crate::chat::request::Begin;

    let head = stream.backlog.head();
    match begin {
        Begin::Now => (head, false),
        Begin::Last(n) => {
            let oldest = if stored { stream.first } else { stream.backlog.start() };
            (head.saturating_sub(n).max(oldest.saturating_sub(1)).min(head), false)
        }
        // A number that was never given: an older history was put back.
        Begin::After { seq, .. } | Begin::Resume { seq, .. } if stored && seq > head => {
            (head, true)
        }
        Begin::After { run: seen_in, seq } | Begin::Resume { run: seen_in, seq, .. }
            if stored || seen_in == run =>
        {
            (seq.min(head), false)
        }
        Begin::After { .. } | Begin::Resume { .. } => (stream.backlog.start() - 1, true),
    }
}

/// Names of a member for an event, boxed once a change.
pub(super) fn joined(tag: StreamTag, member: &Member) -> Event {
    Event::Joined { stream: tag, member: member.clone() }
}
