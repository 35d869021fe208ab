//! Numbers of deleted rooms, which are never given again, whatever their names are used for next.
//!
//! The newest number of a deleted room is remembered with its name. The names are limited: of the
//! user who has most of them that with the smallest number is forgotten, and the *floor* rises to
//! that number. A new room begins after the numbers of its name, and after the floor. Names of
//! private rooms are not remembered at all: the number with which a new room begins would tell that
//! there was a private one of that name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    chat::{names::RoomName, store::GoneRoom},
    faults::{Fault, planted},
    limits::GONE_ROOMS_MAX,
};

/// The name of a deleted room.
#[derive(Debug, Clone, Copy)]
struct Name {
    creator_uid: u32,
    head: u64,
    /// The store knows it.
    stored: bool,
}

/// All deleted rooms. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Gone {
    floor: u64,
    by_name: HashMap<RoomName, Name>,
    of_user: BTreeMap<u32, BTreeSet<(u64, RoomName)>>,
}

impl Gone {
    pub(super) fn new(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Up to where numbers are given in no new room.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Forgets a name that is used again, and returns the number after which its new room begins.
    pub(super) fn reuse(&mut self, name: &RoomName) -> u64 {
        let head = self.forget(name).map_or(0, |name| name.head).max(self.floor);
        if planted(Fault::DeletedNumbersReused) { 0 } else { head }
    }

    fn forget(&mut self, name: &RoomName) -> Option<Name> {
        let found = self.by_name.remove(name)?;
        if let Some(names) = self.of_user.get_mut(&found.creator_uid) {
            names.remove(&(found.head, name.clone()));
            if names.is_empty() {
                self.of_user.remove(&found.creator_uid);
            }
        }
        Some(found)
    }

    /// Adds a deleted room; `stored`: the store knows it. Returns a name that the store has to
    /// forget, which may be its own.
    pub(super) fn add(&mut self, room: GoneRoom, stored: bool) -> Option<RoomName> {
        let GoneRoom { name, creator_uid, private, head } = room;
        if private || head <= self.floor {
            self.floor = self.floor.max(head);
            return stored.then_some(name);
        }
        self.by_name.insert(name.clone(), Name { creator_uid, head, stored });
        self.of_user.entry(creator_uid).or_default().insert((head, name));
        if self.by_name.len() <= GONE_ROOMS_MAX || planted(Fault::GoneNamesUnbounded) {
            return None;
        }
        let (_, names) = self.of_user.iter().max_by_key(|(_, names)| names.len())?;
        let (head, name) = names.first()?.clone();
        self.floor = self.floor.max(head);
        self.forget(&name).filter(|of| of.stored).map(|_| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn delete(gone: &mut Gone, of: &str, creator_uid: u32, head: u64) -> Option<String> {
        let room = GoneRoom { name: name(of), creator_uid, private: false, head };
        gone.add(room, true).map(|name| name.to_string())
    }

    #[test]
    fn numbers_are_not_given_again_and_names_are_bounded() {
        let mut gone = Gone::default();
        delete(&mut gone, "anns", 1, 1_000_000);
        let mut heads = HashMap::new();
        for n in 0..3 * GONE_ROOMS_MAX as u64 {
            // As a job that makes a room, says a few words and deletes it.
            let (name, head) = (format!("job-{n}"), 1 + n % 7);
            delete(&mut gone, &name, 2, head);
            heads.insert(name, head);
            assert!(gone.by_name.len() <= GONE_ROOMS_MAX);
        }
        let of_users: usize = gone.of_user.values().map(BTreeSet::len).sum();
        assert_eq!(of_users, gone.by_name.len());
        assert!(gone.floor() <= 7, "no more than is needed");
        assert_eq!(gone.reuse(&name("other")), gone.floor());
        for (of, head) in heads {
            assert!(gone.reuse(&name(&of)) >= head, "{of}");
        }
        assert_eq!(gone.reuse(&name("anns")), 1_000_000);
        assert!(gone.by_name.is_empty() && gone.of_user.is_empty());
    }

    #[test]
    fn user_with_most_names_loses_the_one_with_the_smallest_number() {
        let mut gone = Gone::default();
        delete(&mut gone, "anns", 1, 3);
        for n in 0..GONE_ROOMS_MAX as u64 - 1 {
            assert_eq!(delete(&mut gone, &format!("eves-{n}"), 2, 100 + n), None);
        }
        assert_eq!(delete(&mut gone, "bobs", 3, 5).as_deref(), Some("eves-0"));
        assert_eq!(gone.floor(), 100);
        // Behind the floor no name is needed.
        assert_eq!(delete(&mut gone, "small", 4, 100).as_deref(), Some("small"));
        assert_eq!((gone.reuse(&name("small")), gone.reuse(&name("bobs"))), (100, 100));
    }

    #[test]
    fn private_room_leaves_no_trace_in_its_name() {
        let mut gone = Gone::default();
        let vault = GoneRoom { name: name("vault"), creator_uid: 1, private: true, head: 57 };
        assert_eq!(gone.add(vault, true), Some(name("vault")));
        assert_eq!(gone.reuse(&name("vault")), gone.reuse(&name("never")));
        assert_eq!(gone.reuse(&name("vault")), 57);
    }
}
