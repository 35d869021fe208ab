//! Rules about users: on the server, and in a room. Decisions over user ids, nothing else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{member::Level, names::UserName};
use crate::limits::ROOM_ROLES_MAX;

/// The operator's policy for this server; each list names users (`@ann`), groups (`%staff`) and
/// `operators`, and is for all users if it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Users who may announce, by level.
    pub announce: [Vec<String>; 4],
    /// Users who may create rooms.
    pub create_rooms: Vec<String>,
    /// Users who may listen to rooms and read them.
    pub join: Vec<String>,
}

/// Maximum names of a list that a refusal shows.
const NAMED_MAX: usize = 5;

impl Policy {
    /// A list in words, as an answer to the question who may.
    #[must_use]
    pub fn words(list: &[String]) -> String {
        let named: Vec<_> = list.iter().filter(|who| *who != "operators").cloned().collect();
        let more = if named.len() > NAMED_MAX { ", …" } else { "" };
        match named.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().as_slice() {
            [] => "operators of the server".to_owned(),
            named => format!("{}{more} and operators of the server", named.join(", ")),
        }
    }
}

/// Rights of one user on this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Is an operator of the server: may do everything that follows, and more.
    pub operator: bool,
    /// May announce, by level.
    pub announce: [bool; 4],
    /// May bring rooms into being.
    pub create_rooms: bool,
    /// May listen to rooms and read them.
    pub join: bool,
    /// May speak for users of linked hosts.
    pub link: bool,
}

impl Rights {
    /// Rights of a user about whom nothing was said.
    pub const EVERYBODY: Self =
        Self { operator: false, announce: [true; 4], create_rooms: true, join: true, link: false };
    /// Of an operator.
    pub const OPERATOR: Self = Self { operator: true, link: true, ..Self::EVERYBODY };

    /// Returns true if announcements of a level are allowed.
    #[must_use]
    pub fn may_announce(&self, level: Level) -> bool {
        self.operator || self.announce[usize::from(level.number())]
    }
}

/// Role of a user in a room, beside being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Leads it, as its creator does.
    Operator,
    /// May be in it, though it is private.
    Invited,
    /// May not be in it.
    Banned,
    /// May not say anything in it.
    Muted,
}

impl Role {
    /// All roles, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Invited, Self::Banned, Self::Muted];

    /// The number that stands for it in the history.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The role of a number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// The rules of one room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomRules {
    /// Only for those who are invited; for all others it does not exist.
    pub private: bool,
    /// Only who leads it says something.
    pub read_only: bool,
    roles: BTreeSet<(Role, u32)>,
    /// Users of linked hosts who are banned or muted.
    remote: BTreeSet<(Role, UserName)>,
}

impl RoomRules {
    /// Creates the rules of a room without roles.
    #[must_use]
    pub fn new(private: bool, read_only: bool) -> Self {
        Self { private, read_only, ..Self::default() }
    }

    /// Returns true if a user has a role.
    #[must_use]
    pub fn has(&self, uid: u32, role: Role) -> bool {
        self.roles.contains(&(role, uid))
    }

    /// Gives or takes a role; whether that changed anything. None if there are too many.
    pub fn set(&mut self, uid: u32, role: Role, on: bool) -> Option<bool> {
        if !on {
            return Some(self.roles.remove(&(role, uid)));
        }
        if self.is_full() && !self.has(uid, role) {
            return None;
        }
        Some(self.roles.insert((role, uid)))
    }

    fn is_full(&self) -> bool {
        self.roles.len() + self.remote.len() >= ROOM_ROLES_MAX
    }

    /// As [`RoomRules::set`], for a user of a linked host.
    pub fn set_remote(&mut self, user: &UserName, role: Role, on: bool) -> Option<bool> {
        let entry = (role, user.clone());
        match on {
            false => Some(self.remote.remove(&entry)),
            true if self.is_full() && !self.remote.contains(&entry) => None,
            true => Some(self.remote.insert(entry)),
        }
    }

    /// Returns true if a user of a linked host may speak in it.
    #[must_use]
    pub fn hears_remote(&self, user: &UserName) -> bool {
        let has = |role| self.remote.contains(&(role, user.clone()));
        !has(Role::Banned) && !has(Role::Muted)
    }

    /// Users of linked hosts with a role.
    pub fn remote_with(&self, role: Role) -> impl Iterator<Item = &UserName> {
        self.remote.iter().filter(move |(has, _)| *has == role).map(|(_, user)| user)
    }

    /// Users of a role.
    pub fn with(&self, role: Role) -> impl Iterator<Item = u32> + '_ {
        self.roles.range((role, 0)..=(role, u32::MAX)).map(|(_, uid)| *uid)
    }

    /// Returns true if a user may be in it, its creator and the server's operators aside.
    #[must_use]
    pub fn admits(&self, uid: u32) -> bool {
        let invited = self.has(uid, Role::Invited) || self.has(uid, Role::Operator);
        !self.has(uid, Role::Banned) && (!self.private || invited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_room_admits_the_invited_and_a_ban_wins() {
        let mut rules = RoomRules::new(true, false);
        assert!(!rules.admits(7));
        assert_eq!(rules.set(7, Role::Invited, true), Some(true));
        assert_eq!(rules.set(7, Role::Invited, true), Some(false));
        assert!(rules.admits(7) && !rules.admits(8));
        rules.set(7, Role::Banned, true);
        assert!(!rules.admits(7));
        rules.private = false;
        assert!(!rules.admits(7) && rules.admits(8));
        assert_eq!(rules.with(Role::Banned).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn there_are_only_so_many_roles() {
        let mut rules = RoomRules::default();
        for uid in 0..ROOM_ROLES_MAX as u32 {
            assert_eq!(rules.set(uid, Role::Muted, true), Some(true));
        }
        assert_eq!(rules.set(1, Role::Banned, true), None);
        assert_eq!(rules.set(1, Role::Muted, true), Some(false), "it was there");
        assert_eq!(rules.set(1, Role::Muted, false), Some(true));
        assert_eq!(rules.set(1, Role::Banned, true), Some(true));
    }

    #[test]
    fn policy_is_shown_in_words() {
        let words = |list: &[&str]| {
            Policy::words(&list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(words(&["operators"]), "operators of the server");
        assert_eq!(words(&["@ann", "%staff"]), "@ann, %staff and operators of the server");
    }
}
