//! Linked hosts: requests of a link to the server of its host.
//!
//! A link is an ordinary client of its host's server. It exports the messages of users of this
//! host, and imports those of users of other hosts. Each request is safe to repeat: the server
//! knows the newest message of each stream of each host.

use serde::{Deserialize, Serialize};

use super::{
    list::list,
    member::{Kind, Level, State},
    message::{Origin, StreamName},
    names::{HostName, Label, RoomName, UserName},
    text::Text,
};

/// First of the user ids that stand for linked hosts: no process has one of them.
const HOST_UID_MIN: u32 = 0xfff0_0000;

/// Returns the user id to which the messages of a linked host are charged. Two hosts may share one.
#[must_use]
pub fn uid_of_host(host: &HostName) -> u32 {
    // FNV-1a. The last number is not a user id.
    let hash = host
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    HOST_UID_MIN + hash % (u32::MAX - HOST_UID_MIN)
}

/// Returns true if a user id stands for a linked host.
#[must_use]
pub fn is_host_uid(uid: u32) -> bool {
    uid >= HOST_UID_MIN
}

/// Stream that linked hosts exchange.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkedStream {
    Room(RoomName),
    Announcements,
}

/// Key of a stream that linked hosts exchange: that of a room's name, or `!`, which is not a name.
pub type LinkedKey = Box<str>;

impl LinkedStream {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> StreamName {
        match self {
            Self::Room(room) => StreamName::Room(room.clone()),
            Self::Announcements => StreamName::Announcements,
        }
    }

    /// Returns its key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Room(room) => room.key(),
            Self::Announcements => ANNOUNCEMENTS_KEY,
        }
    }
}

/// Key of the announcements.
pub const ANNOUNCEMENTS_KEY: &str = "!";

/// Position in the messages of one stream of one host. A later generation starts over: its host
/// gives the same numbers to other messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct LinkPosition {
    /// Microseconds since 1970 when the host began to export the stream; 0 before the first.
    pub generation: u64,
    /// Number of a message at that host.
    pub seq: u64,
}

/// Requests of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkRequest {
    /// This session links its host, under this name, with others.
    Begin { host: HostName },
    /// Position after which a stream is exported; the export begins now if there was none.
    Export {
        stream: LinkedStream,
        /// Position after which the export restarts: the numbers have other messages now.
        renew: Option<LinkPosition>,
    },
    /// Newest imported messages of all streams, some at a time.
    Imports {
        /// Number of streams already received.
        skip: u32,
    },
    /// Messages of another host.
    Import(Import),
    /// Sessions of another host.
    Roster(Roster),
    /// Reception of an announcement of this host by the members of another one.
    Receipt {
        /// Number of the announcement.
        number: u64,
        host: HostName,
        receipt: RemoteReceipt,
    },
    /// Announcements of this host, as many as go into one answer; those for rooms that are not
    /// linked are withheld.
    Announcements {
        /// First number wanted.
        first: u64,
        /// Last number wanted.
        last: u64,
    },
    /// The local number of a message of another host.
    Find {
        stream: LinkedStream,
        /// The host of the message.
        host: HostName,
        /// Its number there.
        seq: u64,
    },
}

/// Consecutive messages of one stream of another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub host: HostName,
    pub stream: LinkedStream,
    /// Generation of the export, and the number of the exported message before these.
    pub prev: LinkPosition,
    /// Number up to which nothing else was exported.
    pub upto: u64,
    /// Position after which the link found nothing before these messages: the messages between them
    /// are lost. None: it has not looked.
    pub gap_after: Option<LinkPosition>,
    /// In the order of their numbers.
    #[serde(deserialize_with = "list")]
    pub messages: Vec<ImportedMessage>,
}

/// A message of another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedMessage {
    /// Its number there.
    pub seq: u64,
    /// User of that host, without its name.
    pub user: UserName,
    pub label: Option<Label>,
    pub kind: Kind,
    /// Time there, microseconds since 1970.
    pub wall_us: i64,
    /// Number of the message here that it replies to.
    pub reply_to: Option<u64>,
    /// Present in announcements.
    pub notice: Option<ImportedNotice>,
    pub text: Text,
}

/// Reception of an announcement by the members of another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RemoteReceipt {
    pub members: u32,
    pub reached: u32,
    pub acked: u32,
    /// Members who may still get it.
    pub open: u32,
}

/// A part of the sessions of another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    pub host: HostName,
    /// False once nothing was heard of the host for some time.
    pub reachable: bool,
    /// Announcements are carried to it.
    pub announces: bool,
    /// Sessions that were in no part before.
    #[serde(deserialize_with = "list")]
    pub members: Vec<RemoteMember>,
    /// Those of the host that are in no part are gone.
    pub is_last: bool,
}

/// A session of another host that listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteMember {
    /// User of that host, without its name.
    pub user: UserName,
    pub label: Option<Label>,
    pub kind: Kind,
    pub state: State,
    /// Wall clock of its host at its start, microseconds since 1970.
    pub since_wall_us: i64,
    /// Its `away` text; empty if none.
    pub status: String,
    /// Rooms that are linked, as they are named there.
    #[serde(deserialize_with = "list")]
    pub rooms: Vec<RoomName>,
}

/// Properties of an announcement of another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedNotice {
    pub level: Level,
    /// Room that it is for; none: all members.
    pub room: Option<RoomName>,
    /// Time until it expires, microseconds; none: no limit.
    pub expires_us: Option<u64>,
    /// Shown to members that come later.
    pub retain: bool,
    /// Asks people to acknowledge.
    pub ack: bool,
}

/// Origin of a message of a linked host, and the numbering that it belongs to there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedFrom {
    pub host: HostName,
    /// Generation of the host's export; a later one has other messages under the same numbers.
    pub generation: u64,
    pub origin: Origin,
}

impl ImportedFrom {
    /// Returns its position in the export of its host.
    #[must_use]
    pub fn position(&self) -> LinkPosition {
        LinkPosition { generation: self.generation, seq: self.origin.seq }
    }
}

/// Newest imported message of one stream of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportInfo {
    pub host: HostName,
    pub stream: LinkedKey,
    pub at: LinkPosition,
}

/// Position after which a stream is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportInfo {
    pub after: LinkPosition,
    /// Oldest and newest number of the stream.
    pub first: u64,
    pub head: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_id_of_a_host_is_that_of_no_process() {
        for n in 0..100_000 {
            let uid = uid_of_host(&HostName::new(&format!("h{n}")).unwrap());
            assert!(is_host_uid(uid) && uid != u32::MAX);
        }
        assert!(!is_host_uid(0) && !is_host_uid(65_534) && !is_host_uid(0x7fff_ffff));
    }
}
