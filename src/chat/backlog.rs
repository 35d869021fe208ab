//! The recent messages of one stream, as encoded bodies, bounded in bytes; read by number.

use std::{collections::VecDeque, rc::Rc};

use super::text::mention_excerpt;
use crate::chat::stream_id::StreamId;

/// Cost of one entry beside its bytes, in bytes.
const ENTRY_BYTES: usize = 64;

/// One encoded batch, ready to be written to a session as it is.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Number of its first message.
    pub first: u64,
    /// Number of its last message.
    pub last: u64,
    /// The frame: header and body.
    pub frame: Rc<[u8]>,
    /// Wall clock of its newest message, microseconds since 1970.
    pub wall_us: i64,
    /// It is for the members of this room only; what the others get in its place.
    pub secret: Option<(StreamId, Rc<[u8]>)>,
    /// Messages whose texts may contain mentions: number, and the `@`s of the text.
    mentions: Vec<(u64, Box<str>)>,
    before: Flow,
    after: Flow,
}

impl Segment {
    /// Bytes that it takes, overhead included.
    fn bytes(&self) -> usize {
        let withheld = self.secret.as_ref().map_or(0, |(_, frame)| frame.len());
        let mentions: usize = self.mentions.iter().map(|(_, at)| at.len() + ENTRY_BYTES).sum();
        self.frame.len() + withheld + mentions + ENTRY_BYTES
    }

    /// The `@`s of a text that was noted ([`Backlog::note_mentions`]).
    #[must_use]
    pub fn mentions_of(&self, seq: u64) -> Option<&str> {
        let at = self.mentions.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        Some(&self.mentions[at].1)
    }
}

/// Total that has flowed through a stream since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Bytes of frames.
    pub bytes: u64,
    /// Receive-buffer charge of the same as datagrams.
    pub charge: u64,
}

/// Recent segments of a stream, oldest first.
#[derive(Debug)]
pub struct Backlog {
    segments: VecDeque<Segment>,
    bytes: usize,
    bytes_max: usize,
    head: u64,
    flow: Flow,
}

impl Backlog {
    /// An empty one whose next message has the number after `head`.
    #[must_use]
    pub fn new(head: u64, bytes_max: usize) -> Self {
        Self { segments: VecDeque::new(), bytes: 0, bytes_max, head, flow: Flow::default() }
    }

    /// Sets the newest number, before there is any message.
    pub fn begin_at(&mut self, head: u64) {
        debug_assert!(self.segments.is_empty(), "only at the beginning");
        self.head = head;
    }

    /// Newest number; 0 before the first.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// First number that is held; one after the head if nothing is.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.segments.front().map_or(self.head + 1, |s| s.first)
    }

    /// Returns the bound of its bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes held, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the flow up to the head.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// Wall clock of the newest message held.
    #[must_use]
    pub fn newest_wall_us(&self) -> Option<i64> {
        self.segments.back().map(|s| s.wall_us)
    }

    /// Adds the messages up to `last` and drops the oldest beyond the bound.
    pub fn push(
        &mut self,
        last: u64,
        frame: Rc<[u8]>,
        charge: usize,
        wall_us: i64,
        secret: Option<(StreamId, Rc<[u8]>)>,
    ) {
        assert!(last > self.head, "numbers rise without a hole");
        let before = self.flow;
        self.flow.bytes += frame.len() as u64;
        self.flow.charge += charge as u64;
        let first = self.head + 1;
        let after = self.flow;
        let mentions = Vec::new();
        let segment = Segment { first, last, frame, wall_us, secret, mentions, before, after };
        self.bytes += segment.bytes();
        self.segments.push_back(segment);
        self.head = last;
        self.trim();
    }

    /// Notes whom the texts of the newest segment mention, in their order: counting what is unread
    /// reads no text then.
    pub fn note_mentions<'a>(&mut self, texts: impl Iterator<Item = (u64, &'a str)>) {
        let Some(newest) = self.segments.back_mut() else { return };
        self.bytes -= newest.bytes();
        let found = texts.filter_map(|(seq, text)| Some((seq, mention_excerpt(text)?)));
        newest.mentions.extend(found);
        self.bytes += newest.bytes();
        self.trim();
    }

    fn trim(&mut self) {
        // The newest segment stays whatever its size: it is on its way.
        while self.bytes > self.bytes_max && self.segments.len() > 1 {
            self.drop_front();
        }
    }

    /// Keeps only the numbers of what was for the members of a room that is gone.
    pub fn forget_secrets(&mut self, room: StreamId) {
        for segment in &mut self.segments {
            if let Some((of, withheld)) = &segment.secret
                && *of == room
            {
                self.bytes -= segment.bytes();
                segment.frame = Rc::clone(withheld);
                segment.secret = None;
                self.bytes += segment.bytes();
            }
        }
    }

    /// Drops the oldest segments until that many bytes are free, but not the newest segment, and
    /// none that ends after `acked` bytes of the flow. Returns the bytes.
    pub fn drop_oldest(&mut self, bytes: usize, acked: u64) -> usize {
        let before = self.bytes;
        while before - self.bytes < bytes
            && self.segments.len() > 1
            && self.segments.front().is_some_and(|oldest| oldest.after.bytes <= acked)
        {
            self.drop_front();
        }
        before - self.bytes
    }

    fn drop_front(&mut self) {
        if let Some(old) = self.segments.pop_front() {
            self.bytes -= old.bytes();
        }
    }

    /// The segment that holds a number.
    #[must_use]
    pub fn holding(&self, seq: u64) -> Option<&Segment> {
        let at = self.segments.partition_point(|s| s.last < seq);
        self.segments.get(at).filter(|s| s.first <= seq)
    }

    /// Returns the flow of a member that has everything up to `seq`; where it has a part of a
    /// segment, the flow before that segment.
    #[must_use]
    pub fn flow_at(&self, seq: u64) -> Flow {
        if seq >= self.head {
            return self.flow;
        }
        let at = self.segments.partition_point(|s| s.last < seq);
        match self.segments.get(at) {
            Some(segment) if segment.last == seq => segment.after,
            Some(segment) => segment.before,
            None => self.flow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Rc<[u8]> {
        vec![0; bytes].into()
    }

    #[test]
    fn numbers_are_found_and_the_oldest_go_first() {
        let mut log = Backlog::new(0, 1100);
        assert_eq!((log.head(), log.start()), (0, 1));
        for last in [3, 4, 10] {
            log.push(last, frame(200), 832, 0, None);
        }
        assert_eq!(log.holding(3).unwrap().first, 1);
        assert_eq!(log.holding(5).unwrap().last, 10);
        assert!(log.holding(11).is_none());
        log.push(20, frame(500), 832, 0, None);
        assert_eq!(log.start(), 4, "the first segment went");
        assert!(log.holding(3).is_none());
        assert_eq!(log.head(), 20);
    }

    #[test]
    fn bytes_are_those_of_the_segments_that_are_held() {
        let mut log = Backlog::new(0, 10_000);
        let room = StreamId(7);
        log.push(1, frame(200), 832, 0, None);
        log.push(2, frame(300), 832, 0, Some((room, frame(20))));
        log.push(3, frame(400), 832, 0, None);
        log.note_mentions([(3, "@ann"), (4, "nobody")].into_iter());
        assert_eq!(log.holding(3).unwrap().mentions_of(3), Some("@ann"));
        assert_eq!(log.bytes(), 200 + 300 + 20 + 400 + 4 + 4 * ENTRY_BYTES);
        log.segments[2].mentions.clear();
        log.bytes -= 4 + ENTRY_BYTES;
        assert_eq!(log.bytes(), 200 + 300 + 20 + 400 + 3 * ENTRY_BYTES);
        log.forget_secrets(room);
        assert_eq!(log.bytes(), 200 + 20 + 400 + 3 * ENTRY_BYTES);
        assert_eq!(log.drop_oldest(1, 199), 0, "it is not acknowledged");
        assert_eq!(log.drop_oldest(1, 200), 200 + ENTRY_BYTES);
        assert_eq!(log.drop_oldest(usize::MAX, u64::MAX), 20 + ENTRY_BYTES);
        assert_eq!((log.start(), log.bytes()), (3, 400 + ENTRY_BYTES), "the newest stays");
    }

    #[test]
    fn flow_counts_what_is_not_acknowledged() {
        let mut log = Backlog::new(0, 10_000);
        log.push(3, frame(200), 800, 0, None);
        log.push(5, frame(100), 900, 0, None);
        assert_eq!(log.flow_at(0), Flow::default());
        assert_eq!(log.flow_at(2), Flow::default(), "a part of a segment counts as nothing");
        assert_eq!(log.flow_at(3), Flow { bytes: 200, charge: 800 });
        assert_eq!(log.flow_at(4), Flow { bytes: 200, charge: 800 });
        assert_eq!(log.flow_at(9), log.flow());
        assert_eq!(log.flow(), Flow { bytes: 300, charge: 1700 });
    }
}
