//! Parts of the state of a stream: messages in flight, the broadcast channel, the window, joins and
//! leaves, and the interval of its ticks.

use std::collections::{BTreeSet, VecDeque};

use super::{pending::Pending, subscriber::Subscriber};
use crate::{
    chat::{backlog::Flow, event::Event, member::SessionId, stream_id::Channel},
    limits::{MEMBERSHIP_KEPT_MAX, RETRY_PAUSE_MS_MIN, WINDOW_CHARGE_BYTES_MIN},
};

/// Messages that have a number and are not published yet.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// Not committed yet (only streams that are stored).
    pub(super) uncommitted: VecDeque<Pending>,
    /// Number of those that are with the store now.
    pub(super) committing: usize,
    /// Committed, or not to be stored.
    pub(super) ready: VecDeque<Pending>,
    pub(super) bytes: usize,
    /// Senders that wait until this stream has room again.
    pub(super) waiting: VecDeque<SessionId>,
}

/// The broadcast channel of a stream, and the probes of its reception. Times are microseconds.
#[derive(Debug)]
pub(super) struct BroadcastState {
    pub(super) channel: Option<Channel>,
    /// The shell was asked to open the channel.
    pub(super) is_asked: bool,
    /// Subscribers that are served by broadcast.
    pub(super) subs: usize,
    /// Messages that went by session on purpose: no loss of the channel's.
    pub(super) aside: u64,
    pub(super) probe_due: bool,
    pub(super) probed_us: u64,
    pub(super) next_probe_us: u64,
    pub(super) probe_pause_ms: u64,
}

impl Default for BroadcastState {
    fn default() -> Self {
        Self {
            channel: None,
            is_asked: false,
            subs: 0,
            aside: 0,
            probe_due: false,
            probed_us: 0,
            next_probe_us: 0,
            probe_pause_ms: RETRY_PAUSE_MS_MIN,
        }
    }
}

/// Bounds of what may be in flight to the members that hold the window.
#[derive(Debug)]
pub(super) struct Window {
    /// Time since which the window has been full, microseconds.
    pub(super) blocked_since_us: Option<u64>,
    /// Charge of the body that did not fit then: what is ready only grows.
    pub(super) blocked_charge: usize,
    /// Flow that all of these members have acknowledged.
    pub(super) floor: Flow,
    /// Number of members at that flow, by bytes and by charge: until the last of them has gone on,
    /// the window is as shut as it was.
    pub(super) holders: [usize; 2],
    /// Charge that may be in flight.
    pub(super) charge: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            blocked_since_us: None,
            blocked_charge: 0,
            floor: Flow::default(),
            holders: [0; 2],
            charge: WINDOW_CHARGE_BYTES_MIN as u64 / 2,
        }
    }
}

impl Window {
    /// Returns true, by bytes and by charge, if a member that has acknowledged this flow is one of
    /// the last.
    fn is_last(&self, by_broadcast: bool, acked: Flow) -> [bool; 2] {
        [acked.bytes <= self.floor.bytes, by_broadcast && acked.charge <= self.floor.charge]
    }

    /// Takes the floor and the charge from the members that hold the window; `flow`: everything
    /// that was published.
    pub(super) fn measure<'a>(
        &mut self,
        flow: Flow,
        subs: impl Iterator<Item = &'a Subscriber> + Clone,
    ) {
        (self.floor, self.charge, self.holders) = (flow, u64::MAX, [0; 2]);
        let subs = subs.filter(|sub| sub.window.is_in);
        for sub in subs.clone() {
            self.floor.bytes = self.floor.bytes.min(sub.acked_flow.bytes);
            if sub.is_broadcast() {
                self.floor.charge = self.floor.charge.min(sub.acked_flow.charge);
                self.charge = self.charge.min(sub.window.charge);
            }
        }
        for sub in subs {
            for (at, is_last) in
                self.is_last(sub.is_broadcast(), sub.acked_flow).into_iter().enumerate()
            {
                self.holders[at] += usize::from(is_last);
            }
        }
    }

    /// Records that a member at this flow has gone on. Returns true if the window may be wider now.
    /// (What else opens it is found at the next tick.)
    pub(super) fn went_on(&mut self, by_broadcast: bool, from: Flow) -> bool {
        let mut last = false;
        for (held, holders) in self.is_last(by_broadcast, from).into_iter().zip(&mut self.holders) {
            if held {
                *holders = holders.saturating_sub(1);
                last |= *holders == 0;
            }
        }
        last
    }

    /// Counts a member of the window from now on, by bytes and by charge: what was measured stays a
    /// lower bound.
    pub(super) fn hold(&mut self, sub: &Subscriber, counts: [bool; 2]) {
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
            self.charge = self.charge.min(sub.window.charge);
        }
        let is_last = self.is_last(sub.is_broadcast(), sub.acked_flow);
        for at in [0, 1] {
            self.holders[at] += usize::from(counts[at] && is_last[at]);
        }
    }

    /// Counts a member of the window no longer, by bytes and by charge.
    pub(super) fn release(&mut self, sub: &Subscriber, counts: [bool; 2]) {
        let is_last = self.is_last(sub.is_broadcast(), sub.acked_flow);
        for at in [0, 1] {
            if sub.window.is_in && counts[at] && is_last[at] {
                self.holders[at] = self.holders[at].saturating_sub(1);
            }
        }
    }
}

/// Joins, leaves and topics for the members that follow them; numbered by `next`.
#[derive(Debug, Default)]
pub(super) struct MembershipEvents {
    events: VecDeque<Event>,
    pub(super) next: u64,
    /// Keys of the members that follow them.
    pub(super) watching: BTreeSet<usize>,
    has_news: bool,
}

impl MembershipEvents {
    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() >= MEMBERSHIP_KEPT_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.next += 1;
        self.has_news = true;
    }

    /// Returns the event after `seen`, and its number; older ones that are gone are passed over.
    pub(super) fn after(&self, seen: u64) -> Option<(u64, &Event)> {
        let oldest = self.next - self.events.len() as u64;
        let at = seen.max(oldest);
        self.events.get(usize::try_from(at - oldest).ok()?).map(|event| (at + 1, event))
    }

    /// Returns true if an event came since this was asked.
    pub(super) fn take_has_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }
}

/// Interval at which a tick has to look at a stream, the shortest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pace {
    /// Its window is shut.
    Shut,
    /// A sender waits, or a datagram may be lost.
    Busy,
    Idle,
}

impl Pace {
    pub(super) const COUNT: usize = 3;
}
