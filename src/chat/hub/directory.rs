//! Rooms by their names and ids, conversations by their users, and what is under way with them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rustc_hash::FxHashMap;

use super::{conversations::Conversations, gone::Gone};
use crate::chat::{
    frames::ANNOUNCEMENTS,
    member::SessionId,
    names::RoomName,
    store::StreamKey,
    stream_id::{RoomId, StreamId},
};

/// A room that is being deleted, and the request that is answered then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deletion {
    pub(super) tag: StreamId,
    pub(super) session: SessionId,
    pub(super) serial: u32,
}

/// Index by which streams are found. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Directory {
    by_name: BTreeMap<RoomName, StreamId>,
    /// By their permanent ids.
    by_id: FxHashMap<RoomId, StreamId>,
    /// Rooms that were created and are not stored yet.
    unstored: HashSet<StreamId>,
    /// Rooms to be deleted once nothing is under way in them.
    deletions: Vec<Deletion>,
    /// Streams that get another key before anything more is published.
    rekeyed: BTreeSet<StreamId>,
    pub(super) conversations: Conversations,
    /// Numbers of deleted rooms.
    pub(super) gone: Gone,
}

impl Directory {
    // ---- rooms -------------------------------------------------------------------------------

    /// Adds a room; `is_stored`: the store knows it.
    pub(super) fn insert(&mut self, name: RoomName, id: RoomId, tag: StreamId, is_stored: bool) {
        self.by_name.insert(name, tag);
        self.by_id.insert(id, tag);
        if !is_stored {
            self.unstored.insert(tag);
        }
    }

    /// Removes a deleted room; returns true if it was stored.
    pub(super) fn remove(&mut self, name: &RoomName, id: RoomId, tag: StreamId) -> bool {
        self.by_name.remove(name);
        self.by_id.remove(&id);
        !self.unstored.remove(&tag)
    }

    pub(super) fn room(&self, name: &RoomName) -> Option<StreamId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn room_of_id(&self, id: RoomId) -> Option<StreamId> {
        self.by_id.get(&id).copied()
    }

    /// Rooms in the order of their names.
    pub(super) fn rooms(&self) -> impl ExactSizeIterator<Item = (&RoomName, StreamId)> {
        self.by_name.iter().map(|(name, tag)| (name, *tag))
    }

    /// A new room is stored now.
    pub(super) fn note_stored(&mut self, id: RoomId) {
        if let Some(tag) = self.room_of_id(id) {
            self.unstored.remove(&tag);
        }
    }

    /// Returns true if a room was created and is not stored yet.
    pub(super) fn is_unstored(&self, tag: StreamId) -> bool {
        self.unstored.contains(&tag)
    }

    #[cfg(test)]
    pub(super) fn has_unstored(&self) -> bool {
        !self.unstored.is_empty()
    }

    /// The stream that the store has under a key.
    pub(super) fn stream(&self, key: &StreamKey) -> Option<StreamId> {
        match key {
            StreamKey::Room(name) => self.room(name),
            StreamKey::Conversation(low, high) => self.conversations.get(*low, *high),
            StreamKey::Announcements => Some(ANNOUNCEMENTS),
        }
    }

    // ---- under way ---------------------------------------------------------------------------

    /// Deletes a room once nothing is under way in it.
    pub(super) fn begin_deletion(&mut self, deletion: Deletion) {
        self.deletions.push(deletion);
    }

    /// Returns true if a room is being deleted: it takes nothing new.
    pub(super) fn is_ending(&self, tag: StreamId) -> bool {
        self.deletions.iter().any(|deletion| deletion.tag == tag)
    }

    /// Takes the deletions of rooms in which nothing is under way.
    pub(super) fn take_deletions(&mut self, is_busy: impl Fn(StreamId) -> bool) -> Vec<Deletion> {
        self.deletions.extract_if(.., |deletion| !is_busy(deletion.tag)).collect()
    }

    /// Has a stream get another key.
    pub(super) fn rekey(&mut self, tag: StreamId) {
        self.rekeyed.insert(tag);
    }

    pub(super) fn take_rekeyed(&mut self) -> BTreeSet<StreamId> {
        std::mem::take(&mut self.rekeyed)
    }
}
