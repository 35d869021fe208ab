//! One stream (room, conversation, announcements) and its members' cursors.

use super::watchlist::WatchEntry;
use crate::chat::hub::stream_parts::Pace;
use crate::limits::STALL_LOOK_EVERY_MS;
use std::sync::Arc;

use slab::Slab;

use super::{
    accounts::{AccountId, Holding},
    pending::{EntryDraft, MESSAGE_OVERHEAD_BYTES, Pending},
    subscriber::{Reception, Subscriber},
};
use crate::{
    chat::{
        backlog::Backlog,
        clock::Now,
        event::Event,
        frames::ANNOUNCEMENTS,
        hub::stream_parts::{BroadcastState, InFlight, MembershipEvents, Window},
        member::{Member, SessionId},
        message::BootId,
        names::RoomName,
        rules::RoomRules,
        store::{Entry, Span, StreamKey},
        stream_id::{RoomId, StreamId},
    },
    faults::{Fault, planted},
    limits::{
        CONVERSATION_BACKLOG_BYTES_MAX, MEMBERSHIP_TOLD_MEMBERS_MAX, MEMBERSHIP_TOLD_PER_USER_MAX,
        REPORT_BYTES, SESSION_WINDOW_BYTES,
    },
};

/// Kind of a stream, with its properties.
#[derive(Debug)]
pub(super) enum StreamKind {
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

/// One stream. Numbers up to `backlog.head()` are published, up to `numbered` are given out.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tag: StreamId,
    /// Rises with each stream of the boot.
    pub(super) made: u64,
    pub(super) topic: StreamKind,
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
    pub(super) in_flight: InFlight,
    pub(super) subs: Slab<Subscriber>,
    pub(super) broadcast: BroadcastState,
    pub(super) window: Window,
    pub(super) membership: MembershipEvents,
    /// When members that are served by session were last looked at for stalls.
    pub(super) stalls_looked_us: u64,
    pub(super) dirty: bool,
    /// Begin of the present burst: all that is older than a heads' period was reported.
    pub(super) busy_since_us: u64,
    pub(super) published_us: u64,
    pub(super) look: WatchEntry,
    /// As of the last look.
    pub(super) pace: Pace,
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
            origin: draft.origin,
            text: draft.text,
            submit: draft.submit.and_then(|(key, counter)| Some((key.stored_as()?, counter))),
        };
        self.in_flight.bytes += bytes;
        let pending = Pending { entry, submit: draft.submit, account, bytes };
        if to_store {
            self.in_flight.uncommitted.push_back(pending);
        } else {
            self.in_flight.ready.push_back(pending);
        }
        text_bytes
    }

    fn new(tag: StreamId, topic: StreamKind, head: u64, backlog_bytes_max: usize) -> Self {
        let key = match &topic {
            StreamKind::Announcements => StreamKey::Announcements,
            StreamKind::Room { name, .. } => StreamKey::Room(name.clone()),
            StreamKind::Conversation { low, high, .. } => StreamKey::Conversation(*low, *high),
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
            in_flight: InFlight::default(),
            subs: Slab::new(),
            broadcast: BroadcastState::default(),
            window: Window::default(),
            membership: MembershipEvents::default(),
            stalls_looked_us: 0,
            dirty: false,
            busy_since_us: 0,
            published_us: 0,
            look: WatchEntry::default(),
            pace: Pace::Idle,
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
        if let StreamKind::Room { topic, .. } = &mut self.topic {
            *topic = new;
        }
    }

    pub(super) fn set_rules(&mut self, new: RoomRules) {
        if let StreamKind::Room { rules, .. } = &mut self.topic {
            **rules = new;
        }
    }

    pub(super) fn announcements(backlog_bytes_max: usize) -> Self {
        Self::new(ANNOUNCEMENTS, StreamKind::Announcements, 0, backlog_bytes_max)
    }

    pub(super) fn room(
        tag: StreamId,
        (name, id): (RoomName, RoomId),
        creator_uid: u32,
        history: bool,
        backlog_bytes_max: usize,
    ) -> Self {
        let rules = Box::default();
        let topic =
            StreamKind::Room { name, id, topic: String::new(), creator_uid, history, rules };
        Self::new(tag, topic, 0, backlog_bytes_max)
    }

    pub(super) fn conversation(
        tag: StreamId,
        (low, high): (u32, u32),
        begun_by: Option<u32>,
        backlog_bytes_max: usize,
    ) -> Self {
        let topic = StreamKind::Conversation { low, high, begun_by };
        Self::new(tag, topic, 0, backlog_bytes_max.min(CONVERSATION_BACKLOG_BYTES_MAX))
    }

    /// Returns true if the stream's messages may go on the broadcast channel.
    pub(super) fn is_public(&self) -> bool {
        match &self.topic {
            StreamKind::Announcements => true,
            StreamKind::Room { rules, .. } => !rules.private,
            StreamKind::Conversation { .. } => false,
        }
    }

    /// Returns true if its messages are committed before they are published.
    pub(super) fn is_committed(&self, store: bool) -> bool {
        store
            && !planted(Fault::AckWithoutCommit)
            && match self.topic {
                StreamKind::Room { history, .. } => history,
                StreamKind::Announcements | StreamKind::Conversation { .. } => true,
            }
    }

    /// Returns the interval at which a tick has to look at it.
    pub(super) fn pace(&self) -> Pace {
        if self.window.blocked_since_us.is_some() {
            return Pace::Shut;
        }
        let head = self.backlog.head();
        let probes = self.broadcast.probe_due && self.broadcast.channel.is_some();
        let is_busy = !self.in_flight.waiting.is_empty()
            || (probes && !self.subs.is_empty())
            || (self.broadcast.subs > 0
                && self.subs.iter().any(|(_, s)| s.is_broadcast() && s.acked < head));
        if is_busy { Pace::Busy } else { Pace::Idle }
    }

    /// Newest number that can't be taken back.
    pub(super) fn committed(&self) -> u64 {
        self.numbered - self.in_flight.uncommitted.len() as u64
    }

    /// Returns the time from which it has to be looked at although nothing changes in it,
    /// microseconds. Its pace is that of now.
    pub(super) fn next_look_us(&self) -> Option<u64> {
        if self.pace != Pace::Idle || !self.in_flight.ready.is_empty() {
            return Some(0);
        }
        let head = self.backlog.head();
        let mut next = None;
        let mut at = |us: u64| next = Some(next.map_or(us, |next: u64| next.min(us)));
        for (_, sub) in &self.subs {
            if sub.acked < head || !sub.window.is_in {
                at(self.stalls_looked_us + STALL_LOOK_EVERY_MS * 1000);
            }
            if let Reception::Unproven { probe_at_us } = sub.health.reception
                && self.broadcast.channel.is_some()
            {
                at(probe_at_us.max(self.broadcast.next_probe_us));
            }
        }
        next
    }

    pub(super) fn lagging_count(&self) -> usize {
        self.subs.iter().filter(|(_, sub)| !sub.window.is_in).count()
    }

    /// Members that do not receive a channel that is open.
    pub(super) fn deaf_count(&self) -> usize {
        let is_deaf = |sub: &Subscriber| sub.health.reception != Reception::Proven;
        match self.broadcast.channel {
            Some(_) => self.subs.iter().filter(|(_, sub)| is_deaf(sub)).count(),
            None => 0,
        }
    }

    /// Returns the number of members.
    pub(super) fn members(&self) -> usize {
        self.subs.len()
    }

    /// Adds a member; its cursor is at `sub.acked`.
    pub(super) fn add(&mut self, mut sub: Subscriber) -> usize {
        // A backlog that it asked for is not in flight to it: it must not shut the window.
        sub.acked_flow = self.backlog.flow();
        let key = self.subs.insert(sub);
        self.window.hold(&self.subs[key], [true; 2]);
        key
    }

    pub(super) fn remove(&mut self, key: usize) -> Subscriber {
        self.window.release(&self.subs[key], [true; 2]);
        let sub = self.subs.remove(key);
        self.membership.watching.remove(&key);
        if sub.is_broadcast() {
            self.broadcast.subs -= 1;
        }
        sub
    }

    /// Serves a member by broadcast from now on.
    pub(super) fn serve_by_broadcast(&mut self, key: usize) {
        let head = self.backlog.head();
        let sub = &mut self.subs[key];
        if !sub.is_broadcast() {
            sub.serve_by_broadcast(head);
            self.broadcast.subs += 1;
            self.window.hold(&self.subs[key], [false, true]);
        }
    }

    /// Serves a member by its session from now on.
    pub(super) fn serve_by_session(&mut self, key: usize) {
        if self.subs[key].is_broadcast() {
            self.window.release(&self.subs[key], [false, true]);
            self.subs[key].serve_by_session();
            self.broadcast.subs -= 1;
        }
    }

    /// Returns true if one more body of this charge may be in flight. Only what members
    /// acknowledged, or the leaving of a member from the window, opens it; no timer does.
    pub(super) fn window_is_open(&mut self, charge: usize) -> bool {
        if self.fits(charge) || planted(Fault::WindowIgnored) {
            return true;
        }
        self.window.measure(self.backlog.flow(), self.subs.iter().map(|(_, sub)| sub));
        self.fits(charge)
    }

    fn fits(&self, charge: usize) -> bool {
        let flow = self.backlog.flow();
        let (charge_out, bytes_out) =
            (flow.charge - self.window.floor.charge, flow.bytes - self.window.floor.bytes);
        let charge_fits = charge_out == 0 || charge_out + charge as u64 <= self.window.charge;
        charge_fits && bytes_out < self.session_window()
    }

    /// Returns the bytes that may be in flight: never more than the backlog can hold without
    /// dropping what a member that does not lag has not acknowledged.
    fn session_window(&self) -> u64 {
        SESSION_WINDOW_BYTES.min(self.backlog.bytes_max() / 2) as u64
    }

    /// Takes a member out of the window.
    pub(super) fn leave(&mut self, key: usize) {
        self.window.release(&self.subs[key], [true, false]);
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
                || (sub.is_broadcast() && charge >= self.window.charge / 2))
    }

    /// Notifies a member of joins, leaves and topics from now on.
    pub(super) fn watch(&mut self, key: usize) {
        if self.membership.watching.insert(key) {
            self.subs[key].membership = Some(self.membership.next);
        }
    }

    /// Returns true if one more session of an account may be notified of joins and leaves: the
    /// accounts share that.
    pub(super) fn may_watch(&self, account: AccountId) -> bool {
        let accounts = self.membership.watching.iter().map(|key| (self.subs[*key].account, 1));
        let holding = Holding::of(account, accounts);
        let share = holding.share(MEMBERSHIP_TOLD_MEMBERS_MAX);
        holding.own < share.min(MEMBERSHIP_TOLD_PER_USER_MAX)
    }

    /// Members that want to know who joins and leaves.
    pub(super) fn watchers(&self) -> usize {
        self.membership.watching.len()
    }

    /// Keeps a join, a leave or a new topic for those who want to know; they are woken at the end
    /// of the turn. `own`: the member that did it is not notified.
    pub(super) fn keep_membership(&mut self, event: Event, own: Option<usize>) {
        self.membership.push(event);
        if let Some(sub) = own.and_then(|key| self.subs.get_mut(key))
            && let Some(seen) = &mut sub.membership
            && *seen + 1 == self.membership.next
        {
            // It knows of its own arrival.
            *seen = self.membership.next;
        }
    }

    /// Members to be woken for joins and leaves since this was asked.
    pub(super) fn take_membership_news(&mut self) -> Vec<SessionId> {
        if !self.membership.take_has_news() {
            return Vec::new();
        }
        self.membership.watching.iter().map(|key| self.subs[*key].session).collect()
    }
}

/// Returns a member's request to go on as a cursor: the last number it has, and whether it is of
/// another boot.
pub(super) fn cursor_of(
    stream: &Stream,
    run: BootId,
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
pub(super) fn joined(tag: StreamId, member: &Member) -> Event {
    Event::Joined { stream: tag, member: member.clone() }
}
