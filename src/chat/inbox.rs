//! A member's end of one stream: takes bodies from session and broadcast alike, shows each number once and in order, asks for what it lacks.

use std::collections::BTreeMap;

use super::{
    batch::{Head, Malformed},
    charge::charge_bytes,
    hub::Report,
    verbs::{GapReason, StreamTag},
};
use crate::limits::{
    FRAME_HEADER_BYTES, INBOX_HELD_BYTES_MAX, REPAIR_DELAY_MS_MAX, REPAIR_RETRY_MS, REPORT_BYTES,
    REPORT_EVERY_MS,
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
        /// The body.
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
        /// Why.
        reason: GapReason,
    },
}

#[derive(Debug)]
enum Held {
    Body(Vec<u8>),
    Gap(GapReason),
}

/// Order, doubles and holes of one stream.
#[derive(Debug)]
pub struct Inbox {
    tag: StreamTag,
    /// Number to be shown next.
    next: u64,
    head: u64,
    held: BTreeMap<u64, (u64, Held)>,
    held_bytes: usize,
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
    /// Reports at once (announcements: somebody waits for the receipt).
    eager: bool,
}

impl Inbox {
    /// An inbox that shows numbers from `next` on, in a stream whose newest is `head`.
    #[must_use]
    pub fn new(tag: StreamTag, next: u64, head: u64, eager: bool) -> Self {
        Self {
            tag,
            next,
            head,
            held: BTreeMap::new(),
            held_bytes: 0,
            ask_at_us: None,
            by_broadcast: 0,
            datagrams: 0,
            reported: next.saturating_sub(1),
            reported_datagrams: 0,
            reported_us: 0,
            due_since_us: None,
            unreported: 0,
            eager,
        }
    }

    /// The stream.
    #[must_use]
    pub fn tag(&self) -> StreamTag {
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
    /// If the body's head can't be read.
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
        if via == Via::Broadcast && !self.held.contains_key(&head.first) {
            self.by_broadcast += head.last() + 1 - head.first.max(self.next);
        }
        if head.first <= self.next {
            let from = self.next;
            self.advance(now_us, head.last() + 1, jitter_us);
            return Ok(Some(from));
        }
        self.hold(head.first, head.last(), Held::Body(body.to_vec()), body.len());
        self.want(now_us, jitter_us);
        Ok(None)
    }

    /// The server says that these numbers will never come.
    pub fn gap(&mut self, first: u64, last: u64, reason: GapReason) {
        self.head = self.head.max(last);
        if last >= self.next {
            self.hold(first, last, Held::Gap(reason), 0);
        }
    }

    /// What had to wait and can be shown now.
    pub fn release(&mut self, now_us: u64, jitter_us: u64) -> Option<Released> {
        loop {
            let (&first, &(last, _)) = self.held.first_key_value()?;
            if first > self.next {
                return None;
            }
            let (_, held) = self.held.remove(&first)?;
            if let Held::Body(body) = &held {
                self.held_bytes -= body.len();
            }
            if last < self.next {
                continue;
            }
            let from = self.next;
            match held {
                Held::Body(body) => {
                    self.advance(now_us, last + 1, jitter_us);
                    return Some(Released::Body { body, from });
                }
                Held::Gap(reason) => {
                    // What came by another way after all is shown, not called lost.
                    let upto = self.held.keys().next().map_or(last, |f| last.min(f - 1));
                    if upto < last {
                        self.hold(upto + 1, last, Held::Gap(reason), 0);
                    }
                    if upto < from {
                        continue;
                    }
                    self.advance(now_us, upto + 1, jitter_us);
                    return Some(Released::Gap { first: from, last: upto, reason });
                }
            }
        }
    }

    /// The server names the newest number.
    pub fn note_head(&mut self, now_us: u64, head: u64, jitter_us: u64) {
        self.head = self.head.max(head);
        self.want(now_us, jitter_us);
    }

    fn hold(&mut self, first: u64, last: u64, held: Held, bytes: usize) {
        // Too much out of order: dropped here and asked for later.
        if self.held_bytes + bytes > INBOX_HELD_BYTES_MAX {
            return;
        }
        let is_gap = matches!(held, Held::Gap(_));
        match self.held.get(&first) {
            // Of two with the same beginning the longer one stays; bodies win over gaps.
            Some((_, Held::Body(_))) if is_gap => {
                let after = self.held.get(&first).map_or(last, |(l, _)| *l) + 1;
                if after <= last {
                    self.hold(after, last, held, bytes);
                }
                return;
            }
            Some((l, Held::Body(_))) if *l >= last => return,
            Some(_) | None => {}
        }
        if let Some((_, Held::Body(old))) = self.held.insert(first, (last, held)) {
            self.held_bytes -= old.len();
        }
        self.held_bytes += bytes;
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

    /// Whether it is time to ask the server for what is missing. Whoever has datagrams that were not taken yet
    /// takes those first: under load everybody is late, and then nothing is lost.
    #[must_use]
    pub fn is_repair_due(&self, now_us: u64) -> bool {
        self.next <= self.head && self.ask_at_us.is_some_and(|at| at <= now_us)
    }

    /// The range to ask the server for, if it is time.
    pub fn repair_due(&mut self, now_us: u64) -> Option<(u64, u64)> {
        if !self.is_repair_due(now_us) {
            return None;
        }
        let last = match self.held.first_key_value() {
            Some((first, _)) if *first > self.next => first - 1,
            Some(_) | None => self.head,
        };
        self.ask_at_us = Some(now_us + REPAIR_RETRY_MS * 1000);
        Some((self.next, last))
    }

    /// What to tell the server, if it is time.
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
        // Only heard, nothing new: the first time it proves the channel, after that it is small talk.
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
        b.begin(0, StreamTag(1), first);
        for seq in first..first + count {
            let text = format!("m{seq}");
            let draft = Draft {
                from: &from,
                wall_us: 0,
                reply_to: None,
                to_label: None,
                notice: None,
                will: None,
                withheld: false,
                text: &text,
            };
            assert!(b.push(0, &draft));
        }
        b.bytes().to_vec()
    }

    fn inbox() -> Inbox {
        Inbox::new(StreamTag(1), 1, 0, false)
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
    fn doubles_are_dropped_and_parts_are_shown_once() {
        let mut i = inbox();
        assert_eq!(take(&mut i, Via::Broadcast, 1, 2), Some(1));
        assert_eq!(take(&mut i, Via::Session, 1, 2), None);
        assert_eq!(take(&mut i, Via::Session, 2, 3), Some(3), "only 3 and 4 are new");
        assert_eq!(i.next(), 5);
    }

    #[test]
    fn what_comes_early_waits_and_the_hole_is_asked_for() {
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
        let want = Report { stream: StreamTag(1), delivered: 3, by_broadcast: 2, datagrams: 1 };
        assert_eq!(i.report_due(REPORT_EVERY_MS * 1000), Some(want));
        assert_eq!(i.report_due(u64::MAX), None);
    }
}
