//! Who may be in which room: the checker's own book of the acts that succeeded.

use moot::chat::{names::RoomName, rules::Role};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::disk::Disk;

/// The server's operator in all worlds.
pub const OPERATOR: u32 = 1;

#[derive(Debug, Default)]
struct Room {
    creator: u32,
    private: bool,
    read_only: bool,
    memory: bool,
    roles: FxHashSet<(u32, Role)>,
    /// When users lost the right to read it, on the world's clock.
    shut_out_us: FxHashMap<u32, u64>,
}

impl Room {
    fn admits(&self, uid: u32) -> bool {
        let has = |role| self.roles.contains(&(uid, role));
        if uid == self.creator {
            return true;
        }
        if self.private {
            return !has(Role::Banned) && (has(Role::Invited) || has(Role::Operator));
        }
        uid == OPERATOR || !has(Role::Banned)
    }
}

#[derive(Debug, Default)]
pub struct Rooms(FxHashMap<RoomName, Room>);

impl Rooms {
    pub fn creates(&mut self, room: &RoomName, creator: u32, private: bool, read_only: bool) {
        let room = self.0.entry(room.clone()).or_default();
        (room.creator, room.private, room.read_only) = (creator, private, read_only);
    }

    pub fn stores(&mut self, room: &RoomName, history: bool) {
        self.0.entry(room.clone()).or_default().memory = !history;
    }

    pub fn deletes(&mut self, room: &RoomName) {
        self.0.remove(room);
    }

    pub fn sets(&mut self, room: &RoomName, uid: u32, role: Role, on: bool, now_us: u64) {
        let room = self.0.entry(room.clone()).or_default();
        let could = room.admits(uid);
        match on {
            // An invitation to a room that anybody may enter is only a message.
            true if role == Role::Invited && !room.private => {}
            true => {
                room.roles.insert((uid, role));
            }
            false => {
                room.roles.remove(&(uid, role));
            }
        }
        if matches!((role, on), (Role::Banned, true) | (Role::Invited, false)) {
            room.roles.remove(&(uid, Role::Invited));
            room.roles.remove(&(uid, Role::Operator));
        }
        if could && !room.admits(uid) {
            room.shut_out_us.insert(uid, now_us);
        }
    }

    pub fn kicks(&mut self, room: &RoomName, uid: u32, now_us: u64) {
        if self.0.get(room).is_some_and(|room| room.private) {
            self.sets(room, uid, Role::Invited, false, now_us);
        }
    }

    pub fn is_stored(&self, room: &RoomName, world_is: bool) -> bool {
        world_is && !self.0.get(room).is_some_and(|room| room.memory)
    }

    pub fn may_read(&self, room: &RoomName, uid: u32) -> bool {
        self.0.get(room).is_none_or(|room| room.admits(uid))
    }

    /// The same for a message of some time on the world's clock: what is on its way to a user who is removed
    /// later is no secret.
    pub fn may_read_at(&self, room: &RoomName, uid: u32, at_us: i64) -> bool {
        self.0.get(room).is_none_or(|room| {
            let later = room.shut_out_us.get(&uid).is_some_and(|us| us.cast_signed() >= at_us);
            room.admits(uid) || later
        })
    }

    pub fn may_speak(&self, room: &RoomName, uid: u32) -> bool {
        self.0.get(room).is_none_or(|room| {
            let is_muted = room.roles.contains(&(uid, Role::Muted)) && uid != room.creator;
            uid == OPERATOR || (room.admits(uid) && !is_muted && !room.read_only)
        })
    }

    /// A restarted server knows what the store has.
    pub fn restart(&mut self, disk: &Disk, stored: bool) {
        let before = std::mem::take(&mut self.0);
        if !stored {
            return;
        }
        for stream in &disk.streams {
            let Some(row) = stream.room.as_ref().filter(|_| !stream.gone) else { continue };
            let shut_out_us = before.get(&row.name).map(|room| room.shut_out_us.clone());
            let room = Room {
                creator: row.creator_uid,
                private: row.private,
                read_only: row.read_only,
                memory: !row.history,
                roles: stream.roles.iter().copied().collect(),
                shut_out_us: shut_out_us.unwrap_or_default(),
            };
            self.0.insert(row.name.clone(), room);
        }
    }
}
