//! The streams of one boot by their ids.

use std::ops::{Index, IndexMut};

use rustc_hash::FxHashMap;

use super::stream::Stream;
use crate::chat::verbs::StreamTag;

/// All streams. An id belongs to one stream for as long as the server runs: after a deletion it names nothing, so
/// whatever still carries it (a submit, a fetch, an acknowledgment to repeat) can't reach another stream.
#[derive(Debug)]
pub(super) struct Streams {
    by_tag: FxHashMap<StreamTag, Stream>,
    next: u32,
}

impl Streams {
    /// Returns a collection that has only the announcements, under [`super::ANNOUNCEMENTS`].
    pub(super) fn new(announcements: Stream) -> Self {
        Self { by_tag: FxHashMap::from_iter([(announcements.tag, announcements)]), next: 1 }
    }

    /// Returns the id for the next stream; none once all ids of this boot are used up.
    pub(super) fn free_tag(&self) -> Option<StreamTag> {
        (self.next < u32::MAX).then_some(StreamTag(self.next))
    }

    /// Adds a stream under the id that [`Streams::free_tag`] returned.
    pub(super) fn insert(&mut self, stream: Stream) {
        debug_assert_eq!(stream.tag.0, self.next, "ids are given in order, once");
        self.next = self.next.max(stream.tag.0.saturating_add(1));
        self.by_tag.insert(stream.tag, stream);
    }

    /// Removes a stream for good.
    pub(super) fn remove(&mut self, tag: StreamTag) {
        self.by_tag.remove(&tag);
    }

    pub(super) fn get(&self, tag: StreamTag) -> Option<&Stream> {
        self.by_tag.get(&tag)
    }

    pub(super) fn get_mut(&mut self, tag: StreamTag) -> Option<&mut Stream> {
        self.by_tag.get_mut(&tag)
    }

    pub(super) fn len(&self) -> usize {
        self.by_tag.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.by_tag.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.by_tag.values_mut()
    }
}

/// For ids that were looked up in the same call; an id that a client or an earlier turn named may be gone.
impl Index<StreamTag> for Streams {
    type Output = Stream;

    fn index(&self, tag: StreamTag) -> &Stream {
        &self.by_tag[&tag]
    }
}

impl IndexMut<StreamTag> for Streams {
    fn index_mut(&mut self, tag: StreamTag) -> &mut Stream {
        self.by_tag.get_mut(&tag).expect("the stream was looked up")
    }
}
