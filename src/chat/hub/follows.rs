//! Rooms that names follow over their sessions, and their read marks.

use std::collections::BTreeMap;

use super::sessions::of_user;
use crate::{
    chat::{
        names::{Label, RoomName},
        stream_id::StreamId,
    },
    faults::{Fault, planted},
};

/// A user, or a label of theirs.
pub(super) type FollowerName = (u32, Option<Label>);

/// The rooms that a name follows, in the order of its joins.
#[derive(Debug, Default)]
struct Followed {
    rooms: Vec<RoomName>,
    /// Number of its last join.
    used: u64,
}

/// Followed rooms of names, and their read marks. See the head of this file.
#[derive(Debug)]
pub(super) struct FollowTable {
    by_name: BTreeMap<FollowerName, Followed>,
    /// Joins that were stored: which names were used lately.
    joins: u64,
    /// Numbers up to which names have read.
    marks: BTreeMap<(u32, Option<Label>, StreamId), u64>,
    /// Something was said or read since badges were counted.
    is_unread_changed: bool,
}

/// Effect of a read mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkChange {
    /// It was as high already.
    Before,
    Now,
    /// It would be a new one.
    New,
}

impl Default for FollowTable {
    fn default() -> Self {
        let (by_name, marks) = (BTreeMap::new(), BTreeMap::new());
        Self { by_name, joins: 0, marks, is_unread_changed: true }
    }
}

impl FollowTable {
    pub(super) fn contains(&self, name: &FollowerName) -> bool {
        self.by_name.contains_key(name)
    }

    /// Rooms that a name follows, in the order of its joins.
    pub(super) fn rooms(&self, name: &FollowerName) -> &[RoomName] {
        self.by_name.get(name).map_or(&[], |followed| &followed.rooms)
    }

    /// Names of a user that follow rooms.
    pub(super) fn names(&self, uid: u32) -> impl Iterator<Item = &Option<Label>> {
        of_user(&self.by_name, (uid, None), |key| key.0).map(|((_, label), _)| label)
    }

    /// Has a name follow a room, and counts the join; returns false if it followed that room
    /// before.
    pub(super) fn follow(&mut self, name: FollowerName, room: &RoomName) -> bool {
        self.joins += 1;
        let followed = self.by_name.entry(name).or_default();
        followed.used = self.joins;
        let is_new = !followed.rooms.contains(room);
        if is_new {
            followed.rooms.push(room.clone());
        }
        is_new
    }

    /// Adds what the store had.
    pub(super) fn restore(&mut self, name: FollowerName, room: RoomName) {
        self.by_name.entry(name).or_default().rooms.push(room);
    }

    /// Returns true if the name followed the room.
    pub(super) fn unfollow(&mut self, name: &FollowerName, room: &RoomName) -> bool {
        let Some(followed) = self.by_name.get_mut(name) else { return false };
        let before = followed.rooms.len();
        followed.rooms.retain(|r| r != room);
        let found = followed.rooms.len() < before;
        if followed.rooms.is_empty() {
            self.by_name.remove(name);
        }
        found
    }

    /// Removes a deleted room.
    pub(super) fn forget_room(&mut self, room: &RoomName, tag: StreamId) {
        self.by_name.retain(|_, followed| {
            followed.rooms.retain(|r| r != room);
            !followed.rooms.is_empty()
        });
        self.marks.retain(|(_, _, of), _| *of != tag);
    }

    /// Removes what a label follows and has read.
    pub(super) fn forget_label(&mut self, uid: u32, label: &Label) {
        self.by_name.remove(&(uid, Some(label.clone())));
        self.marks.retain(|(of, name, _), _| *of != uid || name.as_ref() != Some(label));
    }

    /// The label of a user that joined least lately, without some of them. The user's own name is
    /// none of them.
    pub(super) fn oldest_label(&self, uid: u32, except: &[&Label]) -> Option<Label> {
        let following = of_user(&self.by_name, (uid, None), |key| key.0);
        let following = following.map(|((_, label), followed)| (label, followed.used));
        let marked = of_user(&self.marks, (uid, None, StreamId(0)), |key| key.0);
        let marked = marked.map(|((_, label, _), _)| (label, 0));
        let mut last_use: BTreeMap<&Label, u64> = BTreeMap::new();
        for (label, used) in following.chain(marked) {
            let Some(label) = label.as_ref().filter(|label| !except.contains(label)) else {
                continue;
            };
            let last = last_use.entry(label).or_default();
            *last = used.max(*last);
        }
        last_use.into_iter().min_by_key(|(_, used)| *used).map(|(label, _)| label.clone())
    }

    // ---- read marks --------------------------------------------------------------------------

    /// Number up to which a name has read a stream.
    pub(super) fn mark(&self, (uid, label): FollowerName, tag: StreamId) -> u64 {
        self.marks.get(&(uid, label, tag)).copied().unwrap_or(0)
    }

    /// Read marks of a user.
    pub(super) fn marks_of(&self, uid: u32) -> usize {
        of_user(&self.marks, (uid, None, StreamId(0)), |key| key.0).count()
    }

    /// Raises a mark that exists. [`MarkChange::New`]: it does not, and nothing changed.
    pub(super) fn raise(
        &mut self,
        (uid, label): FollowerName,
        tag: StreamId,
        seq: u64,
    ) -> MarkChange {
        match self.marks.get_mut(&(uid, label, tag)) {
            Some(mark) if *mark >= seq && !planted(Fault::ReadMarkGoesBack) => MarkChange::Before,
            Some(mark) => {
                *mark = seq;
                MarkChange::Now
            }
            None => MarkChange::New,
        }
    }

    /// Sets a new mark.
    pub(super) fn set_mark(&mut self, (uid, label): FollowerName, tag: StreamId, seq: u64) {
        self.marks.insert((uid, label, tag), seq);
    }

    /// Something was said or read: badges are to be counted again.
    pub(super) fn note_change(&mut self) {
        self.is_unread_changed = true;
    }

    /// Returns true if something was said or read since the last call.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.is_unread_changed)
    }
}
