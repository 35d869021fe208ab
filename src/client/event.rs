//! Events for a member's program: one closed enum, free of the wire.

use super::link::Sent;
use crate::{
    chat::{
        event::GapReason,
        member::{EndCause, Member},
        message::{Message, StreamName},
        names::{RoomName, UserName},
        refusal::Refusal,
        reply::Reply,
        request::Follow,
        stream_id::StreamId,
    },
    wire::hello::Refused,
};

/// Something that happened, in the order in which it is to be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// From here on nothing that is said is missed.
    Ready {
        /// Streams that are followed, with the newest number of each.
        streams: Vec<(StreamName, u64)>,
        /// `multicast`, `mailslot` or `session`.
        broadcast: &'static str,
    },
    /// A message came: in a room, directly, or to all members.
    Message(Message),
    /// A member began to listen to a room.
    Joined {
        /// Room that the member joined.
        room: RoomName,
        /// Member that is there now.
        member: Member,
    },
    /// A member stopped listening to a room.
    Left {
        /// Room that the member left.
        room: RoomName,
        /// Member that was there.
        member: Member,
        /// Cause of the end of its subscription.
        cause: EndCause,
    },
    /// The topic of a room changed.
    Topic {
        /// Room of the topic.
        room: RoomName,
        /// The new topic.
        topic: String,
    },
    /// A room was deleted, with all that was said in it.
    Deleted {
        /// Room that no longer exists.
        room: RoomName,
    },
    /// An announcement was taken back.
    Cancelled {
        /// Number of the announcement.
        number: u64,
        /// User who took it back.
        by: UserName,
    },
    /// This session was taken out of a room.
    Removed {
        /// Room that this session left.
        room: RoomName,
        /// User who removed this member.
        by: UserName,
        /// And may not come back.
        banned: bool,
    },
    /// A user (this one, or another where this member is) was invited to a room.
    Invited {
        /// Room that the user may join now.
        room: RoomName,
        /// Invited user, here or not.
        user: UserName,
        /// User who invited them.
        by: UserName,
    },
    /// Numbers that can't be shown; no range where a new boot started the numbers over.
    Gap {
        /// Stream that lacks the numbers.
        stream: StreamName,
        /// First and last number.
        range: Option<(u64, u64)>,
        /// Cause of the gap.
        reason: GapReason,
    },
    /// The messages of this member wait, since its user sends more than one user may.
    Slowed,
    /// A request that this answerer may take now, by
    /// [`Request::Take`](crate::chat::request::Request).
    Offer {
        /// Room of the job.
        room: RoomName,
        /// The room's number in this run.
        stream: StreamId,
        /// Number of the request.
        seq: u64,
        /// Number of workers that took it and ended before they replied.
        before: u32,
    },
    /// Outcome of a job of this member at a worker. It may come again when the job is sent again
    /// after a break.
    Answered {
        /// Room of the job.
        room: RoomName,
        /// Number of the request.
        seq: u64,
        /// Worker that reports it.
        by: Member,
        /// It could not be done.
        failed: bool,
        /// There will be no reply beside this.
        silent: bool,
    },
    /// A worker that had taken a job of this member ended before it replied.
    Abandoned {
        /// Room of the job.
        room: RoomName,
        /// Number of the request.
        seq: u64,
        /// Worker that had taken it.
        by: Member,
        /// Cause of the worker's end.
        cause: EndCause,
    },
    /// The connection to the server ended.
    End {
        /// Reason in words, for the user.
        reason: String,
    },
    /// A text of this member is acknowledged.
    Sent(Sent),
    /// A text of this member was refused;
    /// [`Member::take_refused`](super::Member::take_refused) returns its counter. With the code
    /// `UnknownSubmit` the server can't tell whether the text was stored: it is not submitted
    /// again, and the refusal says which message it is.
    Rejected(Refusal),
    /// A stream could not be followed, or no longer can; everything else goes on.
    NotFollowed(Follow, Refusal),
    /// Answer to the request with this serial number.
    Reply(u32, Result<Reply, Refusal>),
    /// The server does not admit this member any longer: it was refused when it came back.
    Ended(Refused),
}
