//! Names of streams: the numbers of one boot, permanent ids, and where a broadcast channel is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{RoomName, UserName};

/// Number of a stream (room, conversation, announcements) within one run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId(pub u32);

/// Permanent identity of a room: random, stored with it and never given again. A room that is
/// deleted and created again under the same name is another room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoomId(pub u64);

/// Identity that tells a room apart from other rooms of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomIdentity {
    /// Permanent id of the room.
    pub id: RoomId,
    /// The room outlives the server, or must not be created again by a member that comes back (a
    /// private room of a server without a history). Otherwise a restart forgets all rooms, and
    /// members create theirs again.
    pub lasts: bool,
}

/// Name of a stream, as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamLabel {
    Room(RoomName),
    /// The conversation with this user.
    Direct(UserName),
    Announcements,
}

/// A stream's broadcast channel: a multicast group and port (nothing to say for mailslots), and the
/// key that opens what is heard there. Only members of the stream have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Multicast group, IPv4.
    pub group: [u8; 4],
    /// Port of the group.
    pub port: u16,
    /// Opens its datagrams, from now on.
    pub key: ChannelKey,
}

/// Key that seals the datagrams of one stream, until a member is removed from it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelKey {
    /// Names it in datagrams; no other key of this run has the same.
    pub number: u32,
    /// Secret key of AES-256-GCM.
    pub bytes: [u8; 32],
}

impl fmt::Debug for ChannelKey {
    // Keys must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelKey").field("number", &self.number).finish_non_exhaustive()
    }
}
