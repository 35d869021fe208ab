//! What a session is told that it did not ask for.

use serde::{Deserialize, Serialize};

use super::{
    list::list,
    member::{EndCause, Member, SessionId},
    names::{RoomName, UserName},
    reply::StreamInfo,
    stream_id::{Channel, StreamTag},
};

/// Why a range of numbers can't be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// The server restarted, and its previous numbers are lost.
    Run,
    /// Too old: removed by retention.
    Retention,
    /// Fell out of the backlog of a room without history.
    Backlog,
    /// The history is damaged there.
    Damage,
}

/// What a session is told without having asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A member joined a room.
    Joined {
        /// Which room.
        stream: StreamTag,
        /// Who.
        member: Member,
    },
    /// A member left a room.
    Left {
        /// Which room.
        stream: StreamTag,
        /// Who.
        member: Member,
        /// Why.
        cause: EndCause,
    },
    /// A conversation began that this session follows.
    Opened(StreamInfo),
    /// A stream has a broadcast channel from now on, or its channel another key.
    Channel {
        /// Which stream.
        stream: StreamTag,
        /// Where.
        channel: Channel,
    },
    /// Numbers that will never come.
    Gap {
        /// Which stream.
        stream: StreamTag,
        /// First of them.
        first: u64,
        /// Last of them.
        last: u64,
        /// Why.
        reason: GapReason,
    },
    /// Newest numbers of streams that changed.
    Heads(#[serde(deserialize_with = "list")] Vec<(StreamTag, u64)>),
    /// An announcement of before that is still to be seen, as a body.
    Retained {
        /// The body: one message.
        #[serde(deserialize_with = "list")]
        body: Vec<u8>,
    },
    /// An announcement was taken back.
    Cancelled {
        /// Its number.
        number: u64,
        /// By whom.
        by: UserName,
    },
    /// The announcement of this session has reached the required members.
    Covered {
        /// Number of the announcement.
        number: u64,
    },
    /// The topic of a room changed.
    Topic {
        /// Which room.
        stream: StreamTag,
        /// The new topic.
        topic: String,
        /// By whom.
        by: SessionId,
    },
    /// Wants a sign of life.
    Ping,
    /// The server ends this session.
    Bye {
        /// In words.
        reason: String,
    },
    /// This session was taken out of a room.
    Removed {
        /// Which.
        stream: StreamTag,
        /// By whom.
        by: UserName,
        /// And may not come back.
        banned: bool,
    },
    /// A user was invited to a room: the user and its members are notified.
    Invited {
        /// Which.
        room: RoomName,
        /// Who.
        user: UserName,
        /// By whom.
        by: UserName,
    },
    /// A room that this session listened to was deleted.
    Deleted {
        /// Which.
        stream: StreamTag,
    },
    /// This session waits, since its user sends more than one user may.
    Slowed,
    /// How a room is spelled that this session wrote in another way; before the acknowledgement.
    Spelled(RoomName),
    /// A request that this answerer may take, for a short time.
    Offer {
        /// In which room.
        stream: StreamTag,
        /// Its number.
        seq: u64,
        /// How many took it and ended before they replied.
        before: u32,
    },
    /// How an answerer fared with this session's request.
    Answered {
        /// In which room.
        stream: StreamTag,
        /// Number of the request.
        seq: u64,
        /// Who.
        by: Member,
        /// It could not be done.
        failed: bool,
        /// There is no reply beside this.
        silent: bool,
    },
    /// Who had taken this session's request ended before it replied; another one may take it.
    Abandoned {
        /// In which room.
        stream: StreamTag,
        /// Number of the request.
        seq: u64,
        /// Who.
        by: Member,
        /// How it ended.
        cause: EndCause,
    },
}

/// What a member is told of numbers that are no longer there.
pub(super) fn gap(tag: StreamTag, first: u64, last: u64, reason: GapReason) -> Event {
    Event::Gap { stream: tag, first, last, reason }
}
