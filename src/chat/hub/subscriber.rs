//! One member of a stream: where it is, and how messages reach it. Nothing is queued for it.

use super::accounts::AccountId;
use crate::{
    chat::{backlog::Flow, clock::Now, frames::Report, member::SessionId},
    limits::{
        FETCH_NUMBERS_MAX, FETCH_PAUSE_MS_MAX, FETCH_PAUSE_MS_MIN, FETCH_TRIES_MAX,
        MISSED_AFTER_MS, RETRY_PAUSE_MS_MAX, RETRY_PAUSE_MS_MIN, WINDOW_CHARGE_BYTES_MIN,
    },
};

/// The way of messages to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// By its session, as its socket has room: from this number on.
    Session { next: u64 },
    /// By the broadcast channel, once for all. Its session carries only missing numbers, from the
    /// first to the last.
    Broadcast { missing: Option<(u64, u64)> },
}

/// Reception of the broadcast channel by a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reception {
    /// It has no socket on the channel.
    Unavailable,
    /// It has one, and too little was received so far. Tried again at that time.
    Unproven { probe_at_us: u64 },
    /// Its reports show that it receives.
    Proven,
}

/// Reception, and the reports from which it is judged. Counts are cumulative.
#[derive(Debug)]
pub(super) struct BroadcastHealth {
    pub(super) reception: Reception,
    /// Datagrams that it received.
    pub(super) datagrams: u64,
    /// Time at which the present count began, microseconds.
    pub(super) since_us: u64,
    /// Messages that it had then, and those of them that came by broadcast.
    pub(super) delivered: u64,
    pub(super) by_broadcast: u64,
    /// Messages of the stream that did not go on the channel, then.
    pub(super) aside: u64,
}

impl BroadcastHealth {
    /// Counts from now on.
    pub(super) fn restart(&mut self, now: Now, report: &Report, aside: u64) {
        self.since_us = now.mono_us;
        self.aside = aside;
        self.delivered = report.delivered;
        self.by_broadcast = report.by_broadcast;
    }
}

/// A subscriber's part in the window of its stream. Times are microseconds.
#[derive(Debug)]
pub(super) struct WindowState {
    /// Holds the window. False: it lags, or the stall budget of its account is spent.
    pub(super) is_in: bool,
    /// Half of its receive buffer, in charge.
    pub(super) charge: u64,
    /// Time of its last progress.
    pub(super) progress_us: u64,
    /// Time from which it may hold the window again.
    pub(super) rejoin_at_us: u64,
    /// Its next pause, milliseconds.
    pause_ms: u64,
}

impl WindowState {
    /// The pause before it is tried again; the next one is twice as long.
    pub(super) fn next_pause_us(&mut self) -> u64 {
        let pause = self.pause_ms;
        self.pause_ms = (pause * 2).min(RETRY_PAUSE_MS_MAX);
        pause * 1000
    }
}

/// Head of the stream as it was sent to a subscriber.
#[derive(Debug)]
pub(super) struct HeadUpdate {
    /// Is to be sent.
    pub(super) is_due: bool,
    pub(super) seq: u64,
    /// Time at which it was sent, microseconds.
    pub(super) at_us: u64,
}

/// Reading of older messages from the store.
#[derive(Debug, Default)]
pub(super) struct FetchState {
    /// Number of the fetch that is under way.
    pub(super) number: Option<u64>,
    /// Fetches that failed, fewer by one for each that did not.
    failures: u32,
    /// No fetch before this time, microseconds.
    pub(super) not_before_us: u64,
}

impl FetchState {
    /// Numbers of one fetch: fewer after each failure.
    pub(super) fn numbers(&self) -> u64 {
        (FETCH_NUMBERS_MAX >> (2 * self.failures).min(63)).max(1)
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }

    /// Returns the time of the next try, microseconds; nothing if it gives up what it tried, which
    /// is a `single` number then.
    pub(super) fn failed(&mut self, now_us: u64, single: bool) -> Option<u64> {
        if single && self.failures + 1 >= FETCH_TRIES_MAX {
            // The next one is tried as often.
            self.failures = FETCH_TRIES_MAX / 2;
            return None;
        }
        self.failures = (self.failures + 1).min(FETCH_TRIES_MAX);
        let pause_ms = FETCH_PAUSE_MS_MIN << self.failures.saturating_sub(1).min(16);
        self.not_before_us = now_us + pause_ms.min(FETCH_PAUSE_MS_MAX) * 1000;
        Some(self.not_before_us)
    }
}

/// A number that a subscriber misses although it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missed {
    first: u64,
    /// Time at which it was first asked for, or last sent again, microseconds.
    since_us: u64,
    /// Time for which it has to be missed before it is sent again, milliseconds.
    pause_ms: u64,
}

/// A member of a stream. See the head of this file.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) session: SessionId,
    pub(super) account: AccountId,
    /// First number that this membership is owed.
    pub(super) since: u64,
    /// Number up to which everything was delivered, as it reported.
    pub(super) acked: u64,
    pub(super) acked_flow: Flow,
    pub(super) delivery: Delivery,
    /// Highest number that its session was sent, and the time of the last one, microseconds.
    pub(super) sent: u64,
    pub(super) sent_us: u64,
    /// Number that it last missed while it was served by session.
    missed: Option<Missed>,
    pub(super) health: BroadcastHealth,
    pub(super) window: WindowState,
    pub(super) head: HeadUpdate,
    pub(super) fetch: FetchState,
    /// Number up to which it was sent joins and leaves, if it follows them.
    pub(super) membership: Option<u64>,
    /// The others were sent its arrival.
    pub(super) welcomed: bool,
}

impl Subscriber {
    /// A subscriber that has everything up to `seen`; `in_window`: it holds the window from the
    /// beginning.
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
            delivery: Delivery::Session { next: seen + 1 },
            sent: seen,
            sent_us: now_us,
            missed: None,
            health: BroadcastHealth {
                reception: Reception::Unavailable,
                datagrams: 0,
                since_us: now_us,
                delivered: 0,
                by_broadcast: 0,
                aside: 0,
            },
            window: WindowState {
                is_in: in_window,
                charge: WINDOW_CHARGE_BYTES_MIN as u64 / 2,
                progress_us: now_us,
                rejoin_at_us: now_us,
                pause_ms: RETRY_PAUSE_MS_MIN,
            },
            head: HeadUpdate { is_due: false, seq: seen, at_us: now_us },
            fetch: FetchState::default(),
            membership: None,
            welcomed: false,
        }
    }

    pub(super) fn is_broadcast(&self) -> bool {
        matches!(self.delivery, Delivery::Broadcast { .. })
    }

    /// Serves it by session from its cursor on. Messages in flight to it may come twice; its inbox
    /// drops what it has.
    pub(super) fn serve_by_session(&mut self) {
        if self.is_broadcast() {
            self.delivery = Delivery::Session { next: self.acked + 1 };
        }
    }

    /// Serves it by broadcast; what it was not sent yet is repaired.
    pub(super) fn serve_by_broadcast(&mut self, head: u64) {
        if let Delivery::Session { next } = self.delivery {
            self.delivery = Delivery::Broadcast { missing: (next <= head).then_some((next, head)) };
        }
    }

    /// Returns true if a session is to be sent numbers up to `head`.
    pub(super) fn is_behind(&self, head: u64) -> bool {
        matches!(self.delivery, Delivery::Session { next } if next <= head)
    }

    /// Moves its cursor over numbers that it has by another way, or that are gone. A cursor before
    /// them stays: what lies between is still owed.
    pub(super) fn passed(&mut self, (first, last): (u64, u64)) {
        let over = |next: u64| if (first..=last).contains(&next) { last + 1 } else { next };
        match &mut self.delivery {
            Delivery::Session { next } => *next = over(*next),
            Delivery::Broadcast { missing } => {
                *missing = missing.map(|(f, l)| (over(f), l)).filter(|(f, l)| f <= l);
            }
        }
    }

    /// Returns true if its session is to be sent what was sent before.
    pub(super) fn repeats(&self) -> bool {
        match self.delivery {
            Delivery::Broadcast { .. } => true,
            Delivery::Session { next } => next <= self.sent,
        }
    }

    /// Has numbers that it misses sent again.
    pub(super) fn repair(&mut self, now: Now, (first, last): (u64, u64)) {
        match &mut self.delivery {
            Delivery::Broadcast { missing } => {
                let (f, l) = missing.unwrap_or((first, last));
                *missing = Some((f.min(first), l.max(last)));
            }
            // By session a number is rather on its way than lost: it is sent again once the member
            // has missed it for some time.
            Delivery::Session { next } => {
                if first < *next
                    && self.fetch.number.is_none()
                    && misses(&mut self.missed, now, first)
                {
                    *next = first;
                }
            }
        }
    }
}

/// Returns true if this number has been missed for some time, although it was sent; longer each
/// time.
fn misses(missed: &mut Option<Missed>, now: Now, first: u64) -> bool {
    match missed {
        Some(missed) if missed.first == first => {
            let is_due = now.mono_us.saturating_sub(missed.since_us) >= missed.pause_ms * 1000;
            if is_due {
                missed.since_us = now.mono_us;
                missed.pause_ms = (missed.pause_ms * 2).min(RETRY_PAUSE_MS_MAX);
            }
            is_due
        }
        missed => {
            *missed = Some(Missed { first, since_us: now.mono_us, pause_ms: MISSED_AFTER_MS });
            false
        }
    }
}
