//! The streams of one boot by their ids.

use std::{
    collections::BTreeSet,
    ops::{Index, IndexMut},
};

use rustc_hash::FxHashMap;

use super::{accounts::share, stream::Stream, stream_parts::Census, watchlist::Watchlist};
use crate::{
    chat::{
        frames::ANNOUNCEMENTS, member::SessionId, permutation::Permutation, stream_id::StreamId,
    },
    limits::{STREAM_IDS_PER_USER_MAX, TICK_BUSY_MS, TICK_IDLE_MS, TICK_SHUT_MS},
};

/// Ids of one boot. The first number is that of the announcements.
const IDS: usize = u32::MAX as usize;

/// All streams. An id belongs to one stream for as long as the server runs: after a deletion it
/// names nothing, so whatever still carries it (a submit, a fetch, an acknowledgment to repeat)
/// can't reach another stream.
///
/// Ids are the numbers from 1 on in an order that is secret: an id says nothing of how many streams
/// others have, and none can be guessed.
#[derive(Debug)]
pub(super) struct Streams {
    by_tag: FxHashMap<StreamId, Stream>,
    order: Permutation<16>,
    /// Number from which the next id is made.
    next: u32,
    /// Ids that were made for each user.
    ids_of: FxHashMap<u32, usize>,
    /// Streams that were added.
    made: u64,
    /// Streams with something to publish.
    dirty: Vec<StreamId>,
    watched: Watchlist<StreamId>,
    /// Sums over all streams, as of their last looks.
    census: Census,
    /// Bytes of all backlogs, at most.
    pub(super) backlog_bytes: usize,
    pub(super) fetches: Fetches,
}

/// Reads of older messages from the store.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// Number of the newest one.
    last: u64,
    /// When sessions whose reads failed try again, microseconds.
    due: BTreeSet<(u64, SessionId)>,
}

impl Fetches {
    /// Makes the number of another one.
    pub(super) fn begin(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn retry(&mut self, due_us: u64, session: SessionId) {
        self.due.insert((due_us, session));
    }

    /// Takes a session that tries again now.
    pub(super) fn next_due(&mut self, now_us: u64) -> Option<SessionId> {
        let (due_us, _) = self.due.first()?;
        if *due_us > now_us {
            return None;
        }
        self.due.pop_first().map(|(_, session)| session)
    }
}

impl Streams {
    /// Returns a collection that has only the announcements, under [`ANNOUNCEMENTS`].
    pub(super) fn new(announcements: Stream, secret: [u64; 2]) -> Self {
        let by_tag = FxHashMap::from_iter([(announcements.tag, announcements)]);
        let order = Permutation::new(secret);
        Self {
            by_tag,
            order,
            next: 0,
            ids_of: FxHashMap::default(),
            made: 1,
            dirty: Vec::new(),
            watched: Watchlist::default(),
            census: Census::default(),
            backlog_bytes: 0,
            fetches: Fetches::default(),
        }
    }

    /// Makes an id for a stream that a user makes, or that an earlier boot had. Returns nothing
    /// once all ids of this boot, or those of this user, are used up.
    pub(super) fn make_tag(&mut self, uid: Option<u32>) -> Option<StreamId> {
        if let Some(uid) = uid {
            let own = self.ids_of.get(&uid).copied().unwrap_or(0);
            let others = self.ids_of.len() - usize::from(own > 0);
            if own >= STREAM_IDS_PER_USER_MAX.min(share(IDS - self.next as usize, own, others)) {
                return None;
            }
        }
        let tag = loop {
            let number = self.next.checked_add(1)?;
            self.next = number;
            let tag = StreamId(self.order.conceal(number.into()) as u32);
            if tag != ANNOUNCEMENTS {
                break tag;
            }
        };
        if let Some(uid) = uid {
            *self.ids_of.entry(uid).or_default() += 1;
        }
        Some(tag)
    }

    /// Adds a stream under an id from [`Streams::make_tag`].
    pub(super) fn insert(&mut self, mut stream: Stream) {
        stream.made = self.made;
        self.made += 1;
        self.watched.touch(stream.tag, &mut stream.look);
        let before = self.by_tag.insert(stream.tag, stream);
        debug_assert!(before.is_none(), "an id has one stream at a time");
    }

    /// Number of the next stream: streams with it, or with a higher one, are added later.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Removes a stream for good.
    pub(super) fn remove(&mut self, tag: StreamId) {
        if let Some(stream) = self.by_tag.remove(&tag) {
            self.watched.forget(tag, &stream.look);
            self.census = self.census - stream.census;
        }
    }

    pub(super) fn get(&self, tag: StreamId) -> Option<&Stream> {
        self.by_tag.get(&tag)
    }

    pub(super) fn get_mut(&mut self, tag: StreamId) -> Option<&mut Stream> {
        let stream = self.by_tag.get_mut(&tag)?;
        self.watched.touch(tag, &mut stream.look);
        Some(stream)
    }

    /// Returns the streams that a tick looks at; each is to be settled afterwards.
    pub(super) fn watched(&self, now_us: u64) -> Vec<StreamId> {
        self.watched.to_look_at(now_us)
    }

    /// Ends the look at a stream.
    pub(super) fn settle(&mut self, tag: StreamId) {
        let Some(stream) = self.by_tag.get_mut(&tag) else { return };
        let census = stream.census();
        self.census = self.census - std::mem::replace(&mut stream.census, census) + census;
        let due_us = stream.next_look_us();
        self.watched.settle(tag, &mut stream.look, due_us);
    }

    /// Returns the sums over all streams now.
    pub(super) fn census(&self) -> Census {
        let changed = self.watched.touched().filter_map(|tag| self.get(tag));
        changed.fold(self.census, |sum, stream| sum - stream.census + stream.census())
    }

    /// Returns the time after which the next tick has something to do, milliseconds.
    pub(super) fn tick_after_ms(&self) -> u64 {
        let changed = || self.watched.touched().filter_map(|tag| self.get(tag));
        if self.census.blocked > 0 || changed().any(|s| s.window.blocked_since_us.is_some()) {
            return TICK_SHUT_MS;
        }
        match self.census.busy > 0 || changed().any(Stream::needs_watching) {
            true => TICK_BUSY_MS,
            false => TICK_IDLE_MS,
        }
    }

    /// Has something published in a stream at the end of the turn.
    pub(super) fn mark_dirty(&mut self, tag: StreamId) {
        if let Some(stream) = self.get_mut(tag)
            && !std::mem::replace(&mut stream.dirty, true)
        {
            self.dirty.push(tag);
        }
    }

    /// Streams with something to publish.
    pub(super) fn take_dirty(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.dirty)
    }

    /// Returns false if the stream is gone: its room may have been deleted meanwhile.
    pub(super) fn begin_publishing(&mut self, tag: StreamId) -> bool {
        self.get_mut(tag).map(|stream| stream.dirty = false).is_some()
    }

    /// Gives back the empty list of [`Streams::take_dirty`], so that its allocation can be kept.
    pub(super) fn reuse_dirty(&mut self, empty: Vec<StreamId>) {
        if self.dirty.is_empty() {
            self.dirty = empty;
        }
    }

    /// Checks that the sums are those of all streams, and that no stream that has to be looked at is
    /// forgotten.
    #[cfg(test)]
    pub(super) fn check_watched(&self) {
        let sum = self.iter().fold(Census::default(), |sum, stream| sum + stream.census());
        assert_eq!(self.census(), sum);
        for stream in self.iter() {
            let due_us = stream.next_look_us();
            let is_known = due_us.is_none_or(|at| self.watched(at).contains(&stream.tag));
            assert!(is_known, "{:?} is due at {due_us:?}", stream.tag);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_tag.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.by_tag.values()
    }
}

/// For ids that were looked up in the same call; an id that a client or an earlier turn named may
/// be gone.
impl Index<StreamId> for Streams {
    type Output = Stream;

    fn index(&self, tag: StreamId) -> &Stream {
        &self.by_tag[&tag]
    }
}

impl IndexMut<StreamId> for Streams {
    fn index_mut(&mut self, tag: StreamId) -> &mut Stream {
        self.get_mut(tag).expect("the stream was looked up")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn streams(secret: u64) -> Streams {
        Streams::new(Stream::announcements(1), [secret, 0])
    }

    #[test]
    fn ids_differ_and_have_no_order() {
        let (mut streams, mut others) = (streams(1), streams(2));
        let ids: Vec<_> = (0..100_000).map(|_| streams.make_tag(Some(1)).unwrap()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(!ids.contains(&ANNOUNCEMENTS));
        let rises = ids.windows(2).filter(|two| two[0] < two[1]).count();
        assert!((45_000..55_000).contains(&rises), "{rises}");
        let near = ids.windows(2).filter(|two| two[0].0.abs_diff(two[1].0) < 1 << 20);
        assert!(near.count() < 200, "one id does not lead to the next");
        assert_ne!(others.make_tag(Some(1)), Some(ids[0]), "each boot has its own order");
    }

    #[test]
    fn one_user_does_not_use_up_the_ids() {
        let mut streams = streams(1);
        streams.ids_of.insert(1, STREAM_IDS_PER_USER_MAX);
        assert_eq!(streams.make_tag(Some(1)), None);
        assert!(streams.make_tag(Some(2)).is_some());
        // However many users have some, the next one finds some.
        streams.next = u32::MAX - 100;
        streams.ids_of = (0..50).map(|uid| (uid, 1 << 20)).collect();
        assert_eq!(streams.make_tag(Some(1)), None);
        assert!(streams.make_tag(Some(99)).is_some());
        streams.next = u32::MAX;
        assert_eq!(streams.make_tag(None), None);
    }
}
