//! What a member's program is told: one closed enum, free of the wire.

use crate::chat::{
    event::GapReason,
    member::{EndCause, Member},
    message::{Message, StreamName},
    names::{RoomName, UserName},
    stream_id::StreamTag,
};

/// Something that happened, in the order in which it is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// From here on nothing that is said is missed.
    Ready {
        /// Streams that are followed, with the newest number of each.
        streams: Vec<(StreamName, u64)>,
        /// `multicast`, `mailslot` or `session`.
        broadcast: &'static str,
    },
    /// Something was said: in a room, directly, or to everybody.
    Message(Message),
    /// Somebody began to listen to a room.
    Joined {
        /// The room.
        room: RoomName,
        /// Who.
        member: Member,
    },
    /// Somebody stopped listening to a room.
    Left {
        /// The room.
        room: RoomName,
        /// Who.
        member: Member,
        /// Why.
        cause: EndCause,
    },
    /// The topic of a room changed.
    Topic {
        /// The room.
        room: RoomName,
        /// The new topic.
        topic: String,
    },
    /// A room was deleted, with all that was said in it.
    Deleted {
        /// The room.
        room: RoomName,
    },
    /// An announcement was taken back.
    Cancelled {
        /// Its number.
        number: u64,
        /// By whom.
        by: UserName,
    },
    /// This session was taken out of a room.
    Removed {
        /// The room.
        room: RoomName,
        /// By whom.
        by: UserName,
        /// And may not come back.
        banned: bool,
    },
    /// Somebody (this user, or another where this member is) was invited to a room.
    Invited {
        /// The room.
        room: RoomName,
        /// Who.
        user: UserName,
        /// By whom.
        by: UserName,
    },
    /// Numbers that can't be shown; no range where a new run began the numbers anew.
    Gap {
        /// Where.
        stream: StreamName,
        /// First and last number.
        range: Option<(u64, u64)>,
        /// Why.
        reason: GapReason,
    },
    /// What this member says waits, since its user sends more than one user may.
    Slowed,
    /// A request that this answerer may take now, by
    /// [`Request::Take`](crate::chat::request::Request).
    Offer {
        /// The room.
        room: RoomName,
        /// The room's number in this run.
        stream: StreamTag,
        /// Number of the request.
        seq: u64,
        /// How many took it and ended before they replied.
        before: u32,
    },
    /// How an answerer fared with a request of this member. It may come again when the request is
    /// asked again after a break.
    Answered {
        /// The room.
        room: RoomName,
        /// Number of the request.
        seq: u64,
        /// Who.
        by: Member,
        /// It could not be done.
        failed: bool,
        /// There is no reply beside this.
        silent: bool,
    },
    /// Who had taken a request of this member ended before it replied.
    Abandoned {
        /// The room.
        room: RoomName,
        /// Number of the request.
        seq: u64,
        /// Who.
        by: Member,
        /// How it ended.
        cause: EndCause,
    },
    /// The connection to the server ended.
    End {
        /// In words.
        reason: String,
    },
}
