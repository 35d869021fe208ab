//! Events: frames that a session did not ask for.

use serde::{Deserialize, Serialize};

use super::{
    list::list,
    member::{EndCause, Member, SessionId},
    names::{RoomName, UserName},
    reply::StreamInfo,
    stream_id::{Channel, StreamId},
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

/// Event of a session, which did not ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A member joined a room.
    Joined {
        /// Room that has the member now.
        stream: StreamId,
        member: Member,
    },
    /// A member left a room.
    Left {
        /// Room that the member left.
        stream: StreamId,
        member: Member,
        cause: EndCause,
    },
    /// A conversation began that this session follows.
    Opened(StreamInfo),
    /// A stream has a broadcast channel from now on, or its channel another key.
    Channel {
        /// Stream of the channel.
        stream: StreamId,
        /// Address and key of the channel.
        channel: Channel,
    },
    /// Numbers that will never come.
    Gap {
        /// Stream that lacks the numbers.
        stream: StreamId,
        /// First of them.
        first: u64,
        /// Last of them.
        last: u64,
        reason: GapReason,
    },
    /// Newest numbers of streams that changed.
    Heads(#[serde(deserialize_with = "list")] Vec<(StreamId, u64)>),
    /// An earlier announcement that is still to be seen, as a body.
    Retained {
        /// The body: one message.
        #[serde(deserialize_with = "list")]
        body: Vec<u8>,
    },
    /// An announcement was taken back.
    Cancelled {
        /// Number of the announcement.
        number: u64,
        /// User who took it back.
        by: UserName,
    },
    /// The announcement of this session has reached the required members.
    Covered {
        /// Number of the announcement.
        number: u64,
    },
    /// The topic of a room changed.
    Topic {
        /// Room of the topic.
        stream: StreamId,
        /// The new topic.
        topic: String,
        /// Session that changed it.
        by: SessionId,
    },
    /// Wants a sign of life.
    Ping,
    /// The server ends this session.
    Bye {
        /// Reason in words, for the user.
        reason: String,
    },
    /// This session was taken out of a room.
    Removed {
        /// Room that lost the session.
        stream: StreamId,
        /// User who removed it.
        by: UserName,
        /// And may not come back.
        banned: bool,
    },
    /// A user was invited to a room: the user and its members are notified.
    Invited {
        /// Room of the invitation.
        room: RoomName,
        /// Invited user, here or not.
        user: UserName,
        /// User who invited them.
        by: UserName,
    },
    /// A room that this session listened to was deleted.
    Deleted {
        /// Room that was deleted.
        stream: StreamId,
    },
    /// This session waits, since its user sends more than one user may.
    Slowed,
    /// Official spelling of a room that this session wrote in another way; before the
    /// acknowledgement.
    Spelled(RoomName),
    /// A request that this answerer may take, for a short time.
    Offer {
        /// In which room.
        stream: StreamId,
        /// Sequence number of the job.
        seq: u64,
        /// Number of workers that took it and ended before they replied.
        before: u32,
    },
    /// Outcome of this session's job at a worker.
    Answered {
        /// In which room.
        stream: StreamId,
        /// Number of the request.
        seq: u64,
        /// Worker that reports it.
        by: Member,
        /// It could not be done.
        failed: bool,
        /// There will be no reply beside this.
        silent: bool,
    },
    /// A worker that had taken this session's job ended before it replied; another one may take it.
    Abandoned {
        /// In which room.
        stream: StreamId,
        /// Number of the request.
        seq: u64,
        /// Worker that had taken it.
        by: Member,
        /// Cause of the worker's end.
        cause: EndCause,
    },
}

/// Returns the event about numbers that no longer exist.
#[must_use]
pub fn gap(tag: StreamId, first: u64, last: u64, reason: GapReason) -> Event {
    Event::Gap { stream: tag, first, last, reason }
}
