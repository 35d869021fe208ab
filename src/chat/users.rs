//! Names of users, as the system's user database has them: remembered for a few minutes, then
//! looked up again, in both directions. A user id that is given to another user is another user,
//! and so is a name.
//!
//! Users who were here, or who have a conversation, are *known*. Names that were only asked for are
//! in a small cache of their own, so that no number of questions makes the server forget how users
//! are called.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    names::{RoomName, UserName},
    rules::Rights,
};
use crate::{
    faults::{Fault, planted},
    limits::{USER_FRESH_MS, USERS_ASKED_MAX, USERS_KNOWN_MAX, USERS_STALE_MAX},
};

/// Name of a known user.
#[derive(Debug)]
struct Known {
    name: UserName,
    /// Time of the look-up, monotonic microseconds.
    at_us: u64,
}

/// Answer of the user database about a name.
#[derive(Debug, Clone, Copy)]
struct NameLookup {
    /// None if the user does not exist.
    uid: Option<u32>,
    at_us: u64,
    /// Number of the question.
    number: u64,
}

/// Names and user ids. See the head of this file.
#[derive(Debug, Default)]
pub struct Users {
    known: FxHashMap<u32, Known>,
    /// The same by name: no two users have one name.
    by_name: HashMap<UserName, u32>,
    asked: HashMap<UserName, NameLookup>,
    asked_by_uid: FxHashMap<u32, UserName>,
    questions: u64,
    /// Users whose names were shown and are to be looked up again.
    stale: RefCell<BTreeSet<u32>>,
    /// Rights of users, found out when their sessions began.
    rights: FxHashMap<u32, Rights>,
    /// Rooms of the configuration that users who are here lead.
    leads: FxHashMap<u32, Arc<[RoomName]>>,
}

fn is_fresh(at_us: u64, now_us: u64) -> bool {
    now_us.saturating_sub(at_us) < USER_FRESH_MS * 1000 || planted(Fault::UserNamesForever)
}

impl Users {
    /// Sets what a user may do. `is_here`: has a session, and is not forgotten if there are too
    /// many.
    pub fn set_rights(&mut self, uid: u32, rights: Rights, is_here: impl Fn(u32) -> bool) {
        if self.rights.len() >= USERS_KNOWN_MAX && !self.rights.contains_key(&uid) {
            self.rights.retain(|uid, _| is_here(*uid));
        }
        self.rights.insert(uid, rights);
    }

    /// Returns the rights of a user: those of all users, if nothing else was found out.
    #[must_use]
    pub fn rights(&self, uid: u32) -> Rights {
        self.rights.get(&uid).copied().unwrap_or(Rights::EVERYBODY)
    }

    /// Sets the rooms that the configuration has a user lead, and forgets those of users who are
    /// not here.
    pub fn set_leads(&mut self, uid: u32, rooms: &Arc<[RoomName]>, is_here: impl Fn(u32) -> bool) {
        self.leads.retain(|other, _| *other != uid && is_here(*other));
        if !rooms.is_empty() {
            self.leads.insert(uid, Arc::clone(rooms));
        }
    }

    /// Returns true if the configuration has a user lead a room.
    #[must_use]
    pub fn leads(&self, uid: u32, room: &RoomName) -> bool {
        self.leads.get(&uid).is_some_and(|rooms| rooms.contains(room))
    }

    /// The name of a user, to be shown. If it was looked up long ago, it is one of the next to be
    /// looked up.
    #[must_use]
    pub fn name(&self, now_us: u64, uid: u32) -> Option<&UserName> {
        let known = self.known.get(&uid);
        let asked = || {
            Some((
                self.asked_by_uid.get(&uid)?,
                self.asked.get(self.asked_by_uid.get(&uid)?)?.at_us,
            ))
        };
        let found = known.map(|known| (&known.name, known.at_us)).or_else(asked);
        if found.is_none_or(|(_, at_us)| !is_fresh(at_us, now_us)) {
            let mut stale = self.stale.borrow_mut();
            if stale.len() < USERS_STALE_MAX {
                stale.insert(uid);
            }
        }
        found.map(|(name, _)| name)
    }

    /// The name of a user, if it was looked up lately.
    #[must_use]
    pub fn fresh_name(&self, now_us: u64, uid: u32) -> Option<&UserName> {
        self.known.get(&uid).filter(|known| is_fresh(known.at_us, now_us)).map(|known| &known.name)
    }

    /// A user whose name is to be looked up again, for [`Users::looked_up`].
    pub fn take_stale(&mut self) -> Option<u32> {
        self.stale.get_mut().pop_first()
    }

    /// The user of a name, whenever that was looked up.
    #[must_use]
    pub fn uid(&self, name: &UserName) -> Option<u32> {
        let asked = self.asked.get(name).and_then(|asked| asked.uid);
        asked.or_else(|| self.by_name.get(name).copied())
    }

    /// Returns true if it was looked up lately who has a name, or that no user has it.
    #[must_use]
    pub fn is_answered(&self, now_us: u64, name: &UserName) -> bool {
        let asked = self.asked.get(name).map(|asked| asked.at_us);
        let known = || self.known.get(self.by_name.get(name)?).map(|known| known.at_us);
        asked.or_else(known).is_some_and(|at_us| is_fresh(at_us, now_us))
    }

    /// A user is called so, by the user database: they are known from now on. `is_here`: has a
    /// session, and is not forgotten if there are too many.
    pub fn called(&mut self, now_us: u64, uid: u32, name: UserName, is_here: impl Fn(u32) -> bool) {
        if self.known.len() >= USERS_KNOWN_MAX && !self.known.contains_key(&uid) {
            self.forget_half(is_here);
        }
        self.forget_asked(&name);
        self.displace(&name, uid);
        self.by_name.insert(name.clone(), uid);
        let before = self.known.insert(uid, Known { name, at_us: now_us });
        if let Some(Known { name: before, .. }) = before
            && self.known.get(&uid).is_some_and(|known| known.name != before)
        {
            self.by_name.remove(&before);
        }
    }

    /// A user begins a session under the name that was looked up for it.
    pub fn came(&mut self, now_us: u64, uid: u32, name: &UserName, is_here: impl Fn(u32) -> bool) {
        // How long ago that was looked up is known better from then.
        if self.known.get(&uid).is_none_or(|known| known.name != *name) {
            self.called(now_us, uid, name.clone(), is_here);
        }
    }

    /// A name belongs to this user, or to none.
    pub fn found(&mut self, now_us: u64, name: UserName, uid: Option<u32>) {
        if let Some(uid) = uid {
            self.displace(&name, uid);
            if let Some(known) = self.known.get_mut(&uid).filter(|known| known.name == name) {
                known.at_us = now_us;
                return self.forget_asked(&name);
            }
        }
        self.forget_asked(&name);
        self.questions += 1;
        if self.asked.len() >= USERS_ASKED_MAX {
            let oldest = self.questions - USERS_ASKED_MAX as u64 / 2;
            self.asked.retain(|_, asked| asked.number > oldest);
            self.asked_by_uid.retain(|_, name| self.asked.contains_key(name));
        }
        if let Some(uid) = uid {
            self.asked_by_uid.entry(uid).or_insert_with(|| name.clone());
        }
        self.asked.insert(name, NameLookup { uid, at_us: now_us, number: self.questions });
    }

    /// Records the answer about a user from [`Users::take_stale`]. A user who is no longer in the
    /// user database keeps the earlier name.
    pub fn looked_up(&mut self, now_us: u64, uid: u32, name: Option<UserName>) {
        match (self.known.get_mut(&uid), name) {
            (Some(_), Some(name)) => self.called(now_us, uid, name, |_| true),
            (Some(known), None) => known.at_us = now_us,
            (None, name) => {
                let name = name.unwrap_or_else(|| UserName::of_uid(uid));
                self.asked_by_uid.remove(&uid);
                self.found(now_us, name, Some(uid));
            }
        }
    }

    /// A user whose name was asked for is known from now on.
    pub fn keep(&mut self, uid: u32, is_here: impl Fn(u32) -> bool) {
        if self.known.contains_key(&uid) {
            return;
        }
        if let Some(name) = self.asked_by_uid.get(&uid).cloned()
            && let Some(NameLookup { at_us, .. }) = self.asked.get(&name).copied()
        {
            self.called(at_us, uid, name, is_here);
        }
    }

    /// A name belongs to one user: it is forgotten of the one who had it.
    fn displace(&mut self, name: &UserName, uid: u32) {
        if let Some(before) = self.by_name.get(name).copied().filter(|before| *before != uid) {
            self.by_name.remove(name);
            self.known.remove(&before);
        }
    }

    fn forget_asked(&mut self, name: &UserName) {
        if let Some(NameLookup { uid: Some(uid), .. }) = self.asked.remove(name)
            && self.asked_by_uid.get(&uid) == Some(name)
        {
            self.asked_by_uid.remove(&uid);
        }
    }

    /// Forgets the half of the known users whose look-ups are older, but no user who is here.
    fn forget_half(&mut self, is_here: impl Fn(u32) -> bool) {
        let mut times: Vec<u64> = self.known.values().map(|known| known.at_us).collect();
        let half = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(half);
        let middle = *middle;
        self.known.retain(|uid, known| known.at_us > middle || is_here(*uid));
        self.by_name.retain(|_, uid| self.known.contains_key(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH_US: u64 = USER_FRESH_MS * 1000;

    fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    /// The name that is shown; empty if none is known.
    fn name(users: &Users, now_us: u64, uid: u32) -> String {
        users.name(now_us, uid).map(ToString::to_string).unwrap_or_default()
    }

    fn called(users: &mut Users, now_us: u64, uid: u32, name: &str) {
        users.called(now_us, uid, user(name), |_| false);
    }

    #[test]
    fn both_directions_are_asked_again_after_some_time() {
        let mut users = Users::default();
        called(&mut users, 0, 5, "old");
        let ask = |users: &Users, now_us| users.is_answered(now_us, &user("old"));
        assert!(ask(&users, FRESH_US - 1) && !ask(&users, FRESH_US));
        assert_eq!(users.fresh_name(FRESH_US - 1, 5), Some(&user("old")));
        assert_eq!(users.fresh_name(FRESH_US, 5), None);
        // A session with a cached name makes it no fresher.
        users.came(FRESH_US - 1, 5, &user("old"), |_| false);
        assert!(!ask(&users, FRESH_US));
        users.found(FRESH_US, user("old"), Some(5));
        assert!(ask(&users, 2 * FRESH_US - 1) && !ask(&users, 2 * FRESH_US));
        // That a user does not exist is remembered as long.
        let none = user("none");
        assert!(!users.is_answered(1, &none));
        users.found(1, none.clone(), None);
        assert!(users.is_answered(FRESH_US, &none) && !users.is_answered(FRESH_US + 1, &none));
        assert_eq!(users.uid(&none), None);
    }

    #[test]
    fn user_id_given_to_another_user_is_another_user() {
        let mut users = Users::default();
        called(&mut users, 0, 5_555, "old");
        // userdel old; useradd -u 5555 new; useradd -u 5556 old
        users.found(FRESH_US, user("old"), Some(5_556));
        assert_eq!(users.uid(&user("old")), Some(5_556));
        assert_eq!(name(&users, FRESH_US, 5_556), "old");
        assert_eq!(name(&users, FRESH_US, 5_555), "", "it has another name, to be looked up");
        assert_eq!(users.take_stale(), Some(5_555));
        users.looked_up(FRESH_US, 5_555, Some(user("new")));
        assert_eq!(name(&users, FRESH_US, 5_555), "new");
        assert_eq!(users.uid(&user("new")), Some(5_555));
        // The same the other way round: the user comes before the name is asked for.
        let mut users = Users::default();
        called(&mut users, 0, 5_555, "old");
        called(&mut users, FRESH_US, 5_555, "new");
        assert_eq!((users.uid(&user("old")), users.uid(&user("new"))), (None, Some(5_555)));
        called(&mut users, FRESH_US, 5_556, "old");
        assert_eq!(users.uid(&user("old")), Some(5_556));
        assert_eq!(users.by_name.len(), users.known.len());
    }

    #[test]
    fn names_that_are_only_asked_for_take_no_other_name_away() {
        let mut users = Users::default();
        for (uid, name) in [(1, "ann"), (2, "bob")] {
            called(&mut users, 0, uid, name);
        }
        users.found(0, user("dan"), Some(3));
        users.keep(3, |_| false);
        for uid in 100_000..170_000 {
            users.found(1, UserName::of_uid(uid), Some(uid));
            users.found(1, user(&format!("none-{uid}")), None);
        }
        assert!(users.asked.len() <= USERS_ASKED_MAX);
        assert!(users.asked_by_uid.len() <= users.asked.len());
        assert_eq!(users.known.len(), 3);
        for (uid, of) in [(1, "ann"), (2, "bob"), (3, "dan")] {
            assert_eq!(name(&users, 1, uid), of);
            assert_eq!(users.uid(&user(of)), Some(uid));
        }
        assert_eq!(name(&users, 1, 169_999), "#169999");
    }

    #[test]
    fn known_users_are_bounded_and_those_who_are_here_stay() {
        let mut users = Users::default();
        for uid in 0..3 * USERS_KNOWN_MAX as u32 {
            let name = UserName::of_uid(uid);
            users.called(uid.into(), uid, name, |uid| uid == 7);
        }
        assert!(users.known.len() <= USERS_KNOWN_MAX);
        assert_eq!(users.known.len(), users.by_name.len());
        assert_eq!(name(&users, 0, 7), "#7");
        assert_eq!(name(&users, 0, 8), "");
    }

    #[test]
    fn shown_names_are_refreshed_and_deleted_users_keep_theirs() {
        let mut users = Users::default();
        called(&mut users, 0, 1, "ann");
        assert_eq!((name(&users, 5, 1), users.take_stale()), ("ann".to_owned(), None));
        assert_eq!((name(&users, FRESH_US, 1), users.take_stale()), ("ann".to_owned(), Some(1)));
        users.looked_up(FRESH_US, 1, None);
        assert_eq!((name(&users, FRESH_US, 1), users.take_stale()), ("ann".to_owned(), None));
        // Of users who are not known, too.
        assert_eq!((name(&users, 0, 9), users.take_stale()), (String::new(), Some(9)));
        users.looked_up(0, 9, None);
        assert_eq!((name(&users, 0, 9), users.take_stale()), ("#9".to_owned(), None));
        users.looked_up(1, 9, Some(user("eve")));
        assert_eq!(name(&users, 1, 9), "eve");
        for uid in 0..10_000 {
            let _ = users.name(0, 1_000 + uid);
        }
        assert_eq!(users.stale.borrow().len(), USERS_STALE_MAX);
    }

    #[test]
    fn other_name_of_a_user_changes_nothing_that_is_shown() {
        let mut users = Users::default();
        called(&mut users, 0, 0, "root");
        users.found(0, user("toor"), Some(0));
        assert_eq!(users.uid(&user("toor")), Some(0));
        assert_eq!(name(&users, 0, 0), "root");
        assert_eq!(users.uid(&user("root")), Some(0));
    }
}
