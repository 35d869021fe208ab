//! One stream (room, conversation, announcements) and its members' cursors.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use slab::Slab;

use super::{
    pending::{EntryDraft, MESSAGE_OVERHEAD_BYTES, Pending},
    quota::{AccountId, Holding},
    subscriber::{Reception, Subscriber},
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
        MEMBERSHIP_TOLD_PER_USER_MAX, REPORT_BYTES, RETRY_PAUSE_MS_MIN, SESSION_WINDOW_BYTES,
        WINDOW_CHARGE_BYTES_MIN,
    },
};

/// Kind of a stream, with its properties.
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

/// Returns true, by bytes and by charge, if a member that has acknowledged this flow is one of the
/// last.
fn holds(by_broadcast: bool, acked: Flow, floor: Flow) -> [bool; 2] {
    [acked.bytes <= floor.bytes, by_broadcast && acked.charge <= floor.charge]
}

/// One stream. Numbers up to `backlog.head()` are published, up to `numbered` are given out.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tag: StreamTag,
    /// Rises with each stream of the boot.
    pub(super) made: u64,
    pub(super) topic: Topic,
    /// Storage key of this stream; valid across restarts.
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
    /// Number of those that are with the store now.
    pub(super) committing: usize,
    /// Committed (or not to be stored), not published yet.
    pub(super) ready: VecDeque<Pending>,
    pub(super) in_flight_bytes: usize,
    /// Senders that wait until this stream has room again.
    pub(super) waiting: VecDeque<SessionId>,
    pub(super) subs: Slab<Subscriber>,
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
    /// Begin of the present burst: all that is older than a heads' period was reported.
    pub(super) busy_since_us: u64,
    pub(super) published_us: u64,
    /// Messages that went by session on purpose: no loss of the channel's.
    pub(super) aside: u64,
    /// The window has been full since.
    pub(super) blocked_since_us: Option<u64>,
    /// Charge of the body that did not fit then: what is ready only grows.
    pub(super) blocked_charge: usize,
    floor: Flow,
    /// Number of members at that flow, by bytes and by charge: until the last of them has gone on,
    /// the window is as shut as it was.
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

    /// Returns true if the stream's messages may go on the broadcast channel.
    pub(super) fn is_public(&self) -> bool {
        match &self.topic {
            Topic::Announcements => true,
            Topic::Room { rules, .. } => !rules.private,
            Topic::Conversation { .. } => false,
        }
    }

    /// Returns true if its messages are committed before they are published.
    pub(super) fn is_committed(&self, store: bool) -> bool {
        store
            && !planted(Fault::AckWithoutCommit)
            && match self.topic {
                Topic::Room { history, .. } => history,
                Topic::Announcements | Topic::Conversation { .. } => true,
            }
    }

    /// Returns true if a timer has to look at it soon.
    pub(super) fn needs_watching(&self) -> bool {
        let head = self.backlog.head();
        self.blocked_since_us.is_some()
            || !self.waiting.is_empty()
            || (self.probe_due && self.channel.is_some() && !self.subs.is_empty())
            || (self.broadcast_subs > 0
                && self.subs.iter().any(|(_, s)| s.is_broadcast() && s.acked < head))
    }

    /// Newest number that can't be taken back.
    pub(super) fn committed(&self) -> u64 {
        self.numbered - self.uncommitted.len() as u64
    }

    pub(super) fn lagging_count(&self) -> usize {
        self.subs.iter().filter(|(_, s)| !s.window.is_in).count()
    }

    pub(super) fn deaf_count(&self) -> usize {
        let deaf =
            |s: &Subscriber| self.channel.is_some() && s.health.reception != Reception::Proven;
        self.subs.iter().filter(|(_, s)| deaf(s)).count()
    }

    /// Adds a member; its cursor is at `sub.acked`.
    pub(super) fn add(&mut self, mut sub: Subscriber) -> usize {
        // A backlog that it asked for is not in flight to it: it must not shut the window.
        sub.acked_flow = self.backlog.flow();
        self.members += 1;
        let key = self.subs.insert(sub);
        self.hold(key, [true; 2]);
        key
    }

    pub(super) fn remove(&mut self, key: usize) -> Subscriber {
        self.release(key, [true; 2]);
        let sub = self.subs.remove(key);
        self.watching.remove(&key);
        self.members -= 1;
        if sub.is_broadcast() {
            self.broadcast_subs -= 1;
        }
        sub
    }

    /// Serves a member by broadcast from now on.
    pub(super) fn serve_by_broadcast(&mut self, key: usize) {
        let head = self.backlog.head();
        let sub = &mut self.subs[key];
        if !sub.is_broadcast() {
            sub.serve_by_broadcast(head);
            self.broadcast_subs += 1;
            self.hold(key, [false, true]);
        }
    }

    /// Serves a member by its session from now on.
    pub(super) fn serve_by_session(&mut self, key: usize) {
        if self.subs[key].is_broadcast() {
            self.release(key, [false, true]);
            self.subs[key].serve_by_session();
            self.broadcast_subs -= 1;
        }
    }

    /// Returns true if one more body of this charge may be in flight. Only what members
    /// acknowledged, or the leaving of a member from the window, opens it; no timer does.
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

    /// Returns the bytes that may be in flight: never more than the backlog can hold without
    /// dropping what a member that does not lag has not acknowledged.
    fn session_window(&self) -> u64 {
        SESSION_WINDOW_BYTES.min(self.backlog.bytes_max() / 2) as u64
    }

    /// Takes the floor and the window from the members that hold it.
    fn measure(&mut self) {
        let flow = self.backlog.flow();
        let (mut floor, mut window) = (flow, u64::MAX);
        for (_, sub) in &self.subs {
            if !sub.window.is_in {
                continue;
            }
            floor.bytes = floor.bytes.min(sub.acked_flow.bytes);
            if sub.is_broadcast() {
                floor.charge = floor.charge.min(sub.acked_flow.charge);
                window = window.min(sub.window.charge);
            }
        }
        self.floor = floor;
        self.window_charge = window;
        self.holders = [0; 2];
        for (_, sub) in self.subs.iter().filter(|(_, sub)| sub.window.is_in) {
            let holds = holds(sub.is_broadcast(), sub.acked_flow, floor);
            self.holders[0] += usize::from(holds[0]);
            self.holders[1] += usize::from(holds[1]);
        }
    }

    /// Records that a member at this flow has gone on. Returns true if the window may be wider now.
    /// (What else opens it is found at the next tick.)
    pub(super) fn went_on(&mut self, by_broadcast: bool, from: Flow) -> bool {
        let mut last = false;
        for (held, holders) in
            holds(by_broadcast, from, self.floor).into_iter().zip(&mut self.holders)
        {
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
        if !sub.window.is_in {
            return;
        }
        let by_charge = counts[1] && sub.is_broadcast();
        if counts[0] && sub.acked_flow.bytes < self.floor.bytes {
            (self.floor.bytes, self.holders[0]) = (sub.acked_flow.bytes, 0);
        }
        if by_charge && sub.acked_flow.charge < self.floor.charge {
            (self.floor.charge, self.holders[1]) = (sub.acked_flow.charge, 0);
        }
        if by_charge {
            self.window_charge = self.window_charge.min(sub.window.charge);
        }
        let holds = holds(sub.is_broadcast(), sub.acked_flow, self.floor);
        for at in [0, 1] {
            self.holders[at] += usize::from(counts[at] && holds[at]);
        }
    }

    /// Stops counting a member of the window. What was measured stays: it is measured again once it
    /// keeps the window shut.
    fn release(&mut self, key: usize, counts: [bool; 2]) {
        let sub = &self.subs[key];
        let holds = holds(sub.is_broadcast(), sub.acked_flow, self.floor);
        for at in [0, 1] {
            if sub.window.is_in && counts[at] && holds[at] {
                self.holders[at] = self.holders[at].saturating_sub(1);
            }
        }
    }

    /// Takes a member out of the window.
    pub(super) fn leave(&mut self, key: usize) {
        self.release(key, [true, false]);
        self.serve_by_session(key);
        self.subs[key].window.is_in = false;
    }

    /// Returns true if a member has not acknowledged everything.
    pub(super) fn owes(&self, sub: &Subscriber) -> bool {
        sub.window.is_in && self.backlog.flow().bytes > sub.acked_flow.bytes
    }

    /// Returns true if a member owes more than it may keep to itself until its next report is due.
    pub(super) fn owes_much(&self, sub: &Subscriber) -> bool {
        let flow = self.backlog.flow();
        flow.bytes - sub.acked_flow.bytes > REPORT_BYTES as u64
            || flow.charge - sub.acked_flow.charge > REPORT_BYTES as u64
    }

    /// Returns true if a member alone would keep the window shut now.
    pub(super) fn shuts_window(&self, sub: &Subscriber) -> bool {
        let flow = self.backlog.flow();
        let bytes = flow.bytes - sub.acked_flow.bytes;
        let charge = flow.charge - sub.acked_flow.charge;
        sub.window.is_in
            && (bytes >= self.session_window() * 3 / 4
                || (sub.is_broadcast() && charge >= self.window_charge / 2))
    }

    /// Notifies a member of joins, leaves and topics from now on.
    pub(super) fn watch(&mut self, key: usize) {
        if self.watching.insert(key) {
            self.subs[key].membership = Some(self.membership_next);
        }
    }

    /// Returns true if one more session of an account may be notified of joins and leaves: the
    /// accounts share that.
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
    /// of the turn. `own`: the member that did it is not notified.
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
            // It knows of its own arrival.
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

/// Returns a member's request to go on as a cursor: the last number it has, and whether it is of
/// another boot.
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
