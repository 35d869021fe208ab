//! A member's end of one stream: takes bodies from session and broadcast alike, shows each number
//! once and in order, asks for what it lacks.

use std::collections::BTreeMap;

use super::{
    batch::{Head, Malformed},
    recv_buffer::charge_bytes,
};
use crate::{
    chat::{event::GapReason, frames::Report, stream_id::StreamId},
    limits::{
        FRAME_HEADER_BYTES, INBOX_HELD_BYTES_MAX, REPAIR_DELAY_MS_MAX, REPAIR_RETRY_MS,
        REPORT_BYTES, REPORT_EVERY_MS,
    },
};

/// The way a body came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The session: in order, nothing lost.
    Session,
    /// The broadcast channel: a hint.
    Broadcast,
}

/// Something to show that had to wait for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// Messages of a body from this number on.
    Body {
        /// Encoded messages of one stream.
        body: Vec<u8>,
        /// First number to show.
        from: u64,
    },
    /// Numbers that will never come.
    Gap {
        /// First of them.
        first: u64,
        /// Last of them.
        last: u64,
        reason: GapReason,
    },
}

/// Body or gap that came before its turn. A number that is in a body and in a gap is shown.
#[derive(Debug, Default)]
struct HeldMessage {
    /// Bodies by their first number, with their last. None lies within another: in order of their
    /// first numbers they are in order of their last ones, too.
    bodies: BTreeMap<u64, (u64, Vec<u8>)>,
    /// Gaps by their first number. None overlaps another.
    gaps: BTreeMap<u64, (u64, GapReason)>,
    bytes: usize,
}

impl HeldMessage {
    /// Counts numbers of a range that are in no body.
    fn lacks(&self, first: u64, last: u64) -> u64 {
        let (mut next, mut lacking) = (first, 0);
        for (&from, (upto, _)) in self.bodies.range(..=last) {
            if *upto >= next {
                lacking += from.saturating_sub(next);
                next = upto + 1;
            }
        }
        lacking + (last + 1).saturating_sub(next)
    }

    /// Keeps a body, unless there is too much, or all of it is there: then it is asked for later.
    fn put_body(&mut self, first: u64, last: u64, body: &[u8]) -> bool {
        if self.bytes + body.len() > INBOX_HELD_BYTES_MAX {
            return false;
        }
        if self.bodies.range(..=first).next_back().is_some_and(|(_, (upto, _))| *upto >= last) {
            return false;
        }
        let within = |(_, (upto, _)): &(&u64, &(u64, Vec<u8>))| *upto <= last;
        while let Some(&old) = self.bodies.range(first..).next().filter(within).map(|(at, _)| at) {
            self.drop_body(old);
        }
        self.bytes += body.len();
        self.bodies.insert(first, (last, body.to_vec()));
        true
    }

    fn drop_body(&mut self, first: u64) -> Option<(u64, Vec<u8>)> {
        let (last, body) = self.bodies.remove(&first)?;
        self.bytes -= body.len();
        Some((last, body))
    }

    /// Keeps those numbers of a gap that are in none yet.
    fn put_gap(&mut self, first: u64, last: u64, reason: GapReason) {
        let before = self.gaps.range(..=first).next_back();
        let mut next = before.map_or(first, |(_, (upto, _))| first.max(upto + 1));
        while next <= last && self.bytes + GAP_BYTES <= INBOX_HELD_BYTES_MAX {
            let known = self.gaps.range(next..=last).next().map(|(from, (upto, _))| (*from, *upto));
            let (from, upto) = known.unwrap_or((last + 1, last));
            if next < from {
                self.bytes += GAP_BYTES;
                self.gaps.insert(next, (from - 1, reason));
            }
            next = upto + 1;
        }
    }

    fn drop_gap(&mut self, first: u64) {
        if self.gaps.remove(&first).is_some() {
            self.bytes -= GAP_BYTES;
        }
    }

    /// First number that is held.
    fn first(&self) -> Option<u64> {
        let body = self.bodies.first_key_value().map(|(first, _)| *first);
        let gap = self.gaps.first_key_value().map(|(first, _)| *first);
        body.into_iter().chain(gap).min()
    }
}

/// Bytes that a held gap counts as.
const GAP_BYTES: usize = 64;

/// Order, doubles and holes of one stream.
#[derive(Debug)]
pub struct Inbox {
    tag: StreamId,
    /// Number to be shown next.
    next: u64,
    head: u64,
    held: HeldMessage,
    /// When to ask for the hole at `next`, and whether that is a second try.
    ask_at_us: Option<u64>,
    by_broadcast: u64,
    datagrams: u64,
    reported: u64,
    reported_datagrams: u64,
    reported_us: u64,
    /// Something to report since.
    due_since_us: Option<u64>,
    /// Charge of datagrams, bytes of frames.
    unreported: usize,
    /// Reports at once (announcements: a session waits for the receipt).
    eager: bool,
}

impl Inbox {
    /// An inbox that shows numbers from `next` on, in a stream whose newest is `head`.
    #[must_use]
    pub fn new(tag: StreamId, next: u64, head: u64, eager: bool) -> Self {
        // Numbers begin at 1, whatever a server says.
        let next = next.max(1);
        Self {
            tag,
            next,
            head,
            held: HeldMessage::default(),
            ask_at_us: None,
            by_broadcast: 0,
            datagrams: 0,
            reported: next - 1,
            reported_datagrams: 0,
            reported_us: 0,
            due_since_us: None,
            unreported: 0,
            eager,
        }
    }

    /// Returns the number of its stream.
    #[must_use]
    pub fn tag(&self) -> StreamId {
        self.tag
    }

    /// Everything below this number was shown.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Newest number heard of.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Takes a body. If it gives a number, messages from that number on are to be shown now, and
    /// [`Inbox::release`] is to be called after that until it has nothing more.
    ///
    /// # Errors
    /// Returns an error if the body's head can't be read.
    pub fn take(
        &mut self,
        now_us: u64,
        via: Via,
        body: &[u8],
        jitter_us: u64,
    ) -> Result<Option<u64>, Malformed> {
        let head = Head::read(body)?;
        if via == Via::Broadcast {
            self.datagrams += 1;
            self.unreported += charge_bytes(body.len() + 32);
            self.due_since_us.get_or_insert(now_us);
        } else {
            self.unreported += body.len() + FRAME_HEADER_BYTES;
        }
        self.note_head(now_us, head.last(), jitter_us);
        if head.count == 0 || head.last() < self.next {
            return Ok(None);
        }
        let new = self.held.lacks(head.first.max(self.next), head.last());
        let from = (head.first <= self.next).then_some(self.next);
        let is_kept = from.is_some() || self.held.put_body(head.first, head.last(), body);
        if via == Via::Broadcast && is_kept {
            self.by_broadcast += new;
        }
        if from.is_some() {
            self.advance(now_us, head.last() + 1, jitter_us);
        }
        Ok(from)
    }

    /// Takes the server's word that these numbers will never come. [`Inbox::release`] is to be
    /// called after that.
    pub fn gap(&mut self, first: u64, last: u64, reason: GapReason) {
        // As in a body: one more is a number, too.
        let (first, last) = (first.max(self.next), last.min(u64::MAX - 1));
        self.head = self.head.max(last);
        if first <= last {
            self.held.put_gap(first, last, reason);
        }
    }

    /// Returns what had to wait and can be shown now.
    pub fn release(&mut self, now_us: u64, jitter_us: u64) -> Option<Released> {
        let from = self.next;
        while let Some((&first, &(last, _))) = self.held.bodies.first_key_value()
            && first <= from
        {
            let (_, body) = self.held.drop_body(first)?;
            if last >= from {
                self.advance(now_us, last + 1, jitter_us);
                return Some(Released::Body { body, from });
            }
        }
        while let Some((&first, &(last, reason))) = self.held.gaps.first_key_value()
            && first <= from
        {
            self.held.drop_gap(first);
            if last >= from {
                // What came by another way after all is shown, not called lost.
                let body = self.held.bodies.first_key_value();
                let upto = body.map_or(last, |(first, _)| last.min(first - 1));
                if upto < last {
                    self.held.put_gap(upto + 1, last, reason);
                }
                self.advance(now_us, upto + 1, jitter_us);
                return Some(Released::Gap { first: from, last: upto, reason });
            }
        }
        // What is missing before the first that is held is asked for, whatever brought that.
        self.want(now_us, jitter_us);
        None
    }

    /// The server names the newest number.
    pub fn note_head(&mut self, now_us: u64, head: u64, jitter_us: u64) {
        self.head = self.head.max(head);
        self.want(now_us, jitter_us);
    }

    fn advance(&mut self, now_us: u64, next: u64, jitter_us: u64) {
        self.next = next;
        self.due_since_us.get_or_insert(now_us);
        self.ask_at_us = None;
        self.want(now_us, jitter_us);
    }

    /// Sets the time to ask for the hole at `next`, if there is one.
    fn want(&mut self, now_us: u64, jitter_us: u64) {
        if self.next > self.head {
            self.ask_at_us = None;
        } else if self.ask_at_us.is_none() {
            self.ask_at_us = Some(now_us + jitter_us.min(REPAIR_DELAY_MS_MAX * 1000));
        }
    }

    /// Returns true if it is time to ask the server for what is missing. A member with datagrams
    /// that were not taken yet takes those first: under load all members are late, and then nothing
    /// is lost.
    #[must_use]
    pub fn is_repair_due(&self, now_us: u64) -> bool {
        self.next <= self.head && self.ask_at_us.is_some_and(|at| at <= now_us)
    }

    /// The range to ask the server for, if it is time.
    pub fn repair_due(&mut self, now_us: u64) -> Option<(u64, u64)> {
        if !self.is_repair_due(now_us) {
            return None;
        }
        let held = self.held.first().filter(|first| *first > self.next);
        let last = held.map_or(self.head, |first| first - 1);
        self.ask_at_us = Some(now_us + REPAIR_RETRY_MS * 1000);
        Some((self.next, last))
    }

    /// Returns the report for the server, if it is time.
    pub fn report_due(&mut self, now_us: u64) -> Option<Report> {
        if self.report_at_us().is_none_or(|at| at > now_us) {
            return None;
        }
        self.due_since_us = None;
        self.reported = self.next - 1;
        self.reported_datagrams = self.datagrams;
        self.reported_us = now_us;
        self.unreported = 0;
        Some(Report {
            stream: self.tag,
            delivered: self.next - 1,
            by_broadcast: self.by_broadcast,
            datagrams: self.datagrams,
        })
    }

    fn report_at_us(&self) -> Option<u64> {
        let since = self.due_since_us?;
        let every = REPORT_EVERY_MS * 1000;
        if self.next - 1 > self.reported {
            let full = self.unreported >= REPORT_BYTES;
            return Some(if full || self.eager { since } else { since + every });
        }
        // Only heard, nothing new: the first time it proves the channel, after that it is small
        // talk.
        match self.reported_datagrams {
            0 if self.datagrams > 0 => Some(since),
            _ => Some(since.max(self.reported_us + 1_000_000)),
        }
    }

    /// When [`Inbox::repair_due`] or [`Inbox::report_due`] will have something, if nothing comes.
    #[must_use]
    pub fn deadline_us(&self) -> Option<u64> {
        match (self.ask_at_us, self.report_at_us()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::{
        batch::{Builder, Draft},
        member::{Kind, Member, SessionId},
        names::UserName,
    };

    fn body(first: u64, count: u64) -> Vec<u8> {
        let from = Member {
            session: SessionId(1),
            uid: 0,
            pid: 1,
            kind: Kind::Script,
            user: UserName::new("ann").unwrap(),
            label: None,
        };
        let mut b = Builder::default();
        b.begin(0, StreamId(1), first);
        for seq in first..first + count {
            let text = format!("m{seq}");
            let draft = Draft {
                from: &from,
                wall_us: 0,
                reply_to: None,
                to_label: None,
                notice: None,
                will: None,
                origin: None,
                withheld: false,
                text: &text,
            };
            assert!(b.push(0, &draft));
        }
        b.bytes().to_vec()
    }

    fn inbox() -> Inbox {
        Inbox::new(StreamId(1), 1, 0, false)
    }

    fn take(inbox: &mut Inbox, via: Via, first: u64, count: u64) -> Option<u64> {
        inbox.take(0, via, &body(first, count), 0).unwrap()
    }

    fn released(inbox: &mut Inbox) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        while let Some(r) = inbox.release(0, 0) {
            out.push(match r {
                Released::Body { body, from } => (from, Head::read(&body).unwrap().last()),
                Released::Gap { first, last, .. } => (first, last),
            });
        }
        out
    }

    #[test]
    fn inbox_that_begins_at_zero_begins_at_one() {
        let mut i = Inbox::new(StreamId(1), 0, 0, false);
        assert_eq!((i.next(), i.report_due(u64::MAX)), (1, None));
        assert_eq!(take(&mut i, Via::Session, 1, 1), Some(1));
    }

    #[test]
    fn doubles_are_dropped_and_parts_are_shown_once() {
        let mut i = inbox();
        assert_eq!(take(&mut i, Via::Broadcast, 1, 2), Some(1));
        assert_eq!(take(&mut i, Via::Session, 1, 2), None);
        assert_eq!(take(&mut i, Via::Session, 2, 3), Some(3), "only 3 and 4 are new");
        assert_eq!(i.next(), 5);
    }

    #[test]
    fn early_message_waits_and_the_gap_is_requested() {
        let mut i = inbox();
        assert_eq!(take(&mut i, Via::Broadcast, 3, 2), None);
        assert_eq!(i.repair_due(0), Some((1, 2)));
        assert_eq!(i.repair_due(0), None, "asked once");
        assert_eq!(i.repair_due(REPAIR_RETRY_MS * 1000), Some((1, 2)), "and again later");
        assert_eq!(take(&mut i, Via::Session, 1, 2), Some(1));
        assert_eq!(released(&mut i), [(3, 4)]);
        assert_eq!(i.repair_due(u64::MAX), None);
    }

    #[test]
    fn a_lost_tail_is_asked_for_when_the_head_is_told() {
        let mut i = inbox();
        i.note_head(0, 7, 0);
        assert_eq!(i.repair_due(0), Some((1, 7)));
    }

    #[test]
    fn a_gap_shows_what_came_after_all() {
        let mut i = inbox();
        assert_eq!(take(&mut i, Via::Broadcast, 4, 2), None);
        i.gap(1, 8, GapReason::Backlog);
        assert_eq!(released(&mut i), [(1, 3), (4, 5), (6, 8)]);
        assert_eq!(i.next(), 9);
        i.gap(1, 8, GapReason::Backlog);
        assert_eq!(released(&mut i), []);
    }

    #[test]
    fn a_report_says_what_was_delivered_and_how() {
        let mut i = inbox();
        assert_eq!(i.report_due(u64::MAX), None);
        take(&mut i, Via::Broadcast, 1, 2);
        take(&mut i, Via::Session, 3, 1);
        let want = Report { stream: StreamId(1), delivered: 3, by_broadcast: 2, datagrams: 1 };
        assert_eq!(i.report_due(REPORT_EVERY_MS * 1000), Some(want));
        assert_eq!(i.report_due(u64::MAX), None);
    }

    #[test]
    fn held_gap_outlives_a_shorter_body_at_its_start() {
        let mut i = inbox();
        i.gap(5, 9, GapReason::Retention);
        assert_eq!(take(&mut i, Via::Broadcast, 5, 1), None);
        assert_eq!(take(&mut i, Via::Session, 1, 4), Some(1));
        assert_eq!(released(&mut i), [(5, 5), (6, 9)]);
    }

    #[test]
    fn hole_before_a_gap_is_asked_for() {
        let mut i = inbox();
        i.gap(5, 9, GapReason::Retention);
        assert_eq!(released(&mut i), []);
        assert_eq!(i.repair_due(0), Some((1, 4)));
    }

    #[test]
    fn last_number_of_all_ends_nothing_badly() {
        let mut i = inbox();
        i.gap(2, u64::MAX, GapReason::Run);
        i.gap(2, u64::MAX, GapReason::Run);
        i.gap(9, 3, GapReason::Run);
        assert_eq!(released(&mut i), []);
        assert_eq!(i.repair_due(0), Some((1, 1)));
        i.gap(1, 1, GapReason::Run);
        assert_eq!(released(&mut i), [(1, 1), (2, u64::MAX - 1)]);
    }

    #[test]
    fn more_than_may_be_held_is_asked_for_again() {
        let mut i = inbox();
        let big = body(2, 1_000);
        for at in 0..=(INBOX_HELD_BYTES_MAX / big.len()) as u64 {
            assert_eq!(take(&mut i, Via::Session, 2 + at * 1_000, 1_000), None);
        }
        assert!(i.held.bytes <= INBOX_HELD_BYTES_MAX);
        for at in 0..100_000 {
            i.gap(10_000_000 + 2 * at, 10_000_000 + 2 * at, GapReason::Run);
        }
        assert!(i.held.bytes <= INBOX_HELD_BYTES_MAX && i.held.gaps.len() < 70_000);
        assert_eq!(take(&mut i, Via::Session, 1, 1), Some(1), "its turn always comes");
        let shown = released(&mut i);
        assert_eq!(i.held.bytes, i.held.gaps.len() * GAP_BYTES, "all bodies were given");
        assert_eq!(shown.first().map(|(first, _)| *first), Some(2));
        assert_eq!(i.repair_due(LATE_US).map(|(first, _)| first), Some(i.next()));
    }

    /// Later than any try.
    const LATE_US: u64 = 1_000_000_000;

    /// Numbers of the model below.
    const MODEL: u64 = 24;

    /// What is known of a number.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Known {
        Body { by_broadcast: bool },
        Gap,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Arrivals of any numbers, in any order, by both ways, against a set of numbers.
        #[test]
        fn inbox_shows_each_number_once_and_in_order(
            arrivals in prop::collection::vec((1..=MODEL, 1..=MODEL, 0..3_u8), 0..60)
        ) {
            let mut i = inbox();
            let mut known = [None; MODEL as usize + 2];
            let (mut next, mut by_broadcast) = (1, 0);
            let (mut shown, mut expected) = (Vec::new(), Vec::new());
            for (turn, (first, count, how)) in (1..).zip(arrivals) {
                let last = (first + count - 1).min(MODEL);
                let via = if how == 1 { Via::Broadcast } else { Via::Session };
                if how == 0 {
                    i.gap(first, last, GapReason::Run);
                } else if let Some(from) = take(&mut i, via, first, last + 1 - first) {
                    shown.extend((from..=last).map(|seq| (seq, true)));
                }
                while let Some(released) = i.release(0, 0) {
                    match released {
                        Released::Body { body, from } => {
                            let head = Head::read(&body).unwrap();
                            prop_assert!(head.first <= from);
                            shown.extend((from..=head.last()).map(|seq| (seq, true)));
                        }
                        Released::Gap { first, last, .. } => {
                            prop_assert!(first <= last);
                            shown.extend((first..=last).map(|seq| (seq, false)));
                        }
                    }
                }
                for seq in first.max(next)..=last {
                    let of = &mut known[seq as usize];
                    match (how, &of) {
                        (0, None) => *of = Some(Known::Gap),
                        (0, Some(_)) | (_, Some(Known::Body { .. })) => {}
                        _ => *of = Some(Known::Body { by_broadcast: how == 1 }),
                    }
                }
                while let Some(of) = known[next as usize] {
                    expected.push((next, of != Known::Gap));
                    next += 1;
                }
                by_broadcast = known[..].iter().flatten()
                    .filter(|of| **of == Known::Body { by_broadcast: true }).count() as u64;
                prop_assert_eq!(&shown, &expected);
                prop_assert_eq!(i.next(), next);
                let held = i.held.bodies.values().map(|(_, body)| body.len()).sum::<usize>();
                prop_assert_eq!(i.held.bytes, held + i.held.gaps.len() * GAP_BYTES);
                let asked = i.repair_due(turn * LATE_US);
                let missing = (next..).take_while(|n| known.get(*n as usize).is_some_and(Option::is_none));
                match asked {
                    Some((first, last)) => {
                        prop_assert_eq!(first, next);
                        prop_assert!(missing.take_while(|n| *n <= last).last() == Some(last));
                    }
                    None => prop_assert!(known[next as usize..].iter().all(Option::is_none)),
                }
            }
            if let Some(report) = i.report_due(u64::MAX) {
                prop_assert_eq!(report.delivered, next - 1);
                prop_assert_eq!(report.by_broadcast, by_broadcast);
            }
        }
    }
}
