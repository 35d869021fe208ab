//! Requests of a session, free of how they travel.

use serde::{Deserialize, Serialize};

use super::{
    linked::LinkRequest,
    list::list,
    member::{Level, SessionId},
    message::{AnnouncementId, BootId},
    names::{Label, RoomName, Target, UserName},
    rules::Role,
    stream_id::{RoomId, StreamId},
    text::Text,
};

/// Streams that a member wants to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Follow {
    /// A room; it comes into being by this.
    Room(RoomName),
    /// The conversation with one user.
    With(UserName),
    /// All conversations of the current user, those with other labels included (`join`).
    AllDirect,
    /// Direct messages to the current user and label (`listen @`).
    ToMe,
    /// Announcements; also makes the session a member.
    Announcements,
}

/// Position in a stream at which to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Begin {
    /// With what is said from now on.
    #[default]
    Now,
    /// With the last N messages.
    Last(u64),
    /// After a message that was seen, in the run it belongs to.
    After {
        /// The run in which it was seen.
        run: BootId,
        /// Sequence number of the message.
        seq: u64,
    },
    /// As `After`, in the room of that identity and in no other room of its name.
    Resume {
        /// Boot in which the message was seen.
        run: BootId,
        /// Its sequence number.
        seq: u64,
        /// Identity of the room.
        room: RoomId,
    },
}

/// Requests of a session; each is answered by one `Reply` or a `Refusal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Names a stream for submits, without listening to it.
    Open {
        /// Destination of later messages.
        target: Target,
    },
    /// Listens to a stream.
    Join {
        follow: Follow,
        /// Position at which to begin.
        begin: Begin,
        /// Also sends joins and leaves.
        membership: bool,
        /// The name follows the room from now on (`join`, not `listen`).
        keep: bool,
    },
    /// Ends listening to a stream.
    Part {
        stream: StreamId,
        /// The name no longer follows the room.
        forget: bool,
    },
    /// Ends following of a room by name (`room leave`).
    Unfollow {
        /// Room to stop following.
        room: RoomName,
    },
    /// All rooms this user may see, some at a time.
    Rooms {
        /// Number of rooms already received.
        skip: u32,
    },
    /// Makes a room.
    CreateRoom {
        /// Name of the new room.
        room: RoomName,
        /// True if its messages are stored.
        history: bool,
        /// Only for those who are invited.
        private: bool,
        /// Only who leads it says something.
        read_only: bool,
    },
    /// Gives a user a role in a room, or takes it.
    Role {
        room: RoomName,
        /// User who gets or loses the role.
        user: UserName,
        role: Role,
        /// Gives the role; else takes it.
        on: bool,
    },
    /// Takes a user's sessions out of a room; from a private one the invitation, too.
    KickFromRoom {
        room: RoomName,
        /// User whose sessions leave.
        user: UserName,
        /// Only sessions with this label.
        label: Option<Label>,
    },
    /// Members of a room, some at a time.
    Who {
        room: RoomName,
        /// Number of members already received.
        skip: u32,
    },
    /// Ends a user's sessions.
    Kick {
        /// User whose sessions end.
        user: UserName,
        /// Only those with this label.
        label: Option<Label>,
    },
    /// Ends a session.
    Drop {
        /// Number of the session.
        session: SessionId,
    },
    /// Acts of operators, the newest first, some at a time.
    Audit {
        /// Number of acts already received.
        skip: u32,
    },
    /// Sets the topic of a room; empty removes it.
    Topic {
        room: RoomName,
        /// The new topic.
        topic: String,
    },
    /// Marks the person of this session's user as away.
    Away {
        /// Only those sessions of the user that carry this label.
        label: Option<Label>,
        /// Text that others see.
        text: String,
    },
    /// Ends `Away` again.
    Back {
        /// As in `Away`.
        label: Option<Label>,
    },
    /// Makes an announcement, or schedules it.
    Announce(Announce),
    /// The present receipt of an announcement.
    Receipt {
        /// Id of the announcement.
        id: AnnouncementId,
        /// From where among the addressees.
        skip: u32,
    },
    /// Announcements that wait, and those that were made, the newest first, some at a time.
    Notices {
        /// Number of announcements already received.
        skip: u32,
    },
    /// One of them.
    Notice {
        /// Id of the announcement.
        id: AnnouncementId,
    },
    /// A person says that an announcement was seen.
    AckNotice {
        /// Id of the announcement.
        id: AnnouncementId,
    },
    /// Takes an announcement back.
    CancelNotice {
        /// Id of the announcement.
        id: AnnouncementId,
    },
    /// Sets the text that the server sends in this session's rooms, as this member, if it ends
    /// without a goodbye.
    Will {
        /// Text of the last will; none removes it.
        text: Option<Text>,
    },
    /// A question that the history answers.
    History(HistoryRequest),
    /// A statement of the session about itself.
    Session(SessionRequest),
    /// A request of a link with other hosts.
    Link(LinkRequest),
    /// This name has read a stream up to a number.
    MarkRead {
        /// Target whose stream is meant.
        target: Target,
        /// Newest number that was read.
        seq: u64,
    },
    /// Deletes a room with all that was said in it.
    DeleteRoom {
        /// Room to delete, by name.
        room: RoomName,
    },
    /// Declares the text sent under a counter a job: this session waits for its replies.
    Ask {
        /// Counter of the submit, which is acknowledged.
        counter: u64,
        /// It was said so before, in a session that broke.
        again: bool,
    },
    /// This session answers requests.
    Answer(Answering),
    /// Takes a request that was offered.
    Take {
        /// In which room.
        stream: StreamId,
        /// Sequence number of the job.
        seq: u64,
    },
    /// Reports the outcome of a job that this session took, before its reply.
    Answered {
        /// In which room.
        stream: StreamId,
        /// Sequence number of the job.
        seq: u64,
        /// It could not be done.
        failed: bool,
        /// There will be no reply beside this.
        silent: bool,
    },
}

/// Questions that the history answers where a stream is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HistoryRequest {
    /// The numbers of a stream that can be read.
    Span {
        /// Target whose stream is meant.
        target: Target,
    },
    /// Messages of a stream, as many as go into one answer.
    Page {
        /// Target whose stream is meant.
        target: Target,
        /// First number wanted.
        first: u64,
        /// Last number wanted.
        last: u64,
    },
    /// The first number from which on no message is of an earlier time.
    NumberAt {
        /// In which stream.
        target: Target,
        /// Microseconds since 1970.
        wall_us: i64,
    },
    /// The newest messages that have all words of a text.
    Search(SearchRequest),
    /// Unread counts of this name, in a stream or (none) in all that it follows, some at a time.
    Unread {
        /// Target whose stream is meant.
        target: Option<Target>,
        /// Number of streams already received.
        skip: u32,
    },
}

/// Statements of a session about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionRequest {
    /// The broadcast channel of a stream was joined.
    Listening {
        /// Stream of the channel.
        stream: StreamId,
        /// Receive-buffer charge that was granted, bytes.
        charge_bytes: u64,
        /// Name of the member's mailslot, where the channel is made of them; else zeros.
        slot: [u8; 16],
    },
    /// The broadcast channel of a stream could not be joined.
    Deaf {
        /// Stream of the channel.
        stream: StreamId,
    },
    /// The person did something (typed, looked).
    Active,
    /// Good-bye: the end of this session is deliberate.
    Quit,
}

/// Search for messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// Words to search for.
    pub text: String,
    /// Only in this target's stream.
    pub target: Option<Target>,
    /// Sender to find; none: all.
    pub from: Option<UserName>,
    /// Time of the oldest message to find, microseconds since 1970.
    pub since_us: Option<i64>,
    /// Message id before which to look; 0 for the newest.
    pub before: u64,
    /// Maximum number of messages.
    pub limit: u32,
}

impl Request {
    /// Returns the user that has to be known before there is an answer.
    #[must_use]
    pub fn named_user(&self) -> Option<&UserName> {
        match self {
            Self::Join { follow: Follow::With(user), .. }
            | Self::Role { user, .. }
            | Self::KickFromRoom { user, .. }
            | Self::Kick { user, .. } => Some(user),
            Self::Open { target } | Self::MarkRead { target, .. } => target.user(),
            Self::History(request) => request.named_user(),
            Self::Join { .. }
            | Self::Part { .. }
            | Self::Unfollow { .. }
            | Self::Rooms { .. }
            | Self::CreateRoom { .. }
            | Self::Topic { .. }
            | Self::Away { .. }
            | Self::Back { .. }
            | Self::Announce(_)
            | Self::Receipt { .. }
            | Self::Notices { .. }
            | Self::Notice { .. }
            | Self::AckNotice { .. }
            | Self::CancelNotice { .. }
            | Self::Will { .. }
            | Self::DeleteRoom { .. }
            | Self::Who { .. }
            | Self::Drop { .. }
            | Self::Audit { .. }
            | Self::Ask { .. }
            | Self::Answer(_)
            | Self::Take { .. }
            | Self::Answered { .. }
            | Self::Session(_)
            | Self::Link(_) => None,
        }
    }
}

impl HistoryRequest {
    fn named_user(&self) -> Option<&UserName> {
        match self {
            Self::Search(search) => {
                let of_target = || search.target.as_ref().and_then(Target::user);
                search.from.as_ref().or_else(of_target)
            }
            Self::Span { target } | Self::Page { target, .. } | Self::NumberAt { target, .. } => {
                target.user()
            }
            Self::Unread { target, .. } => target.as_ref().and_then(Target::user),
        }
    }
}

/// An answerer of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answering {
    /// Room whose jobs it takes.
    pub stream: StreamId,
    /// One answerer of this name takes each request; none: this one answers all of them.
    pub queue: Option<Label>,
    /// Maximum number of jobs at a time.
    pub jobs: u32,
    /// Those that it has taken and not replied to yet, after a break.
    #[serde(deserialize_with = "list")]
    pub holding: Vec<u64>,
    /// Those that it has replied to lately, after a break.
    #[serde(deserialize_with = "list")]
    pub done: Vec<u64>,
}

/// An announcement to make, its recipients, and the condition of its report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    pub level: Level,
    /// The room it is for; none: every member.
    pub room: Option<RoomName>,
    /// Text of the announcement.
    pub text: Text,
    /// Time until it expires, from its publication on, microseconds; none: no limit.
    pub expires_us: Option<u64>,
    /// Shown to those who come later, too.
    pub retain: bool,
    /// Asks people to acknowledge.
    pub ack: bool,
    /// Not before that time, microseconds since 1970; none: now.
    pub at_us: Option<i64>,
    /// Condition by which a member counts.
    pub wait: Wait,
    /// Report once that many members are covered (all of them: `u32::MAX`).
    pub report_at: u32,
    /// Only says whom it would reach.
    pub dry_run: bool,
}

impl Announce {
    /// Creates an announcement for all members, now.
    #[must_use]
    pub fn new(level: Level, text: Text) -> Self {
        Self {
            level,
            room: None,
            text,
            expires_us: None,
            retain: false,
            ack: false,
            at_us: None,
            wait: Wait::Reached,
            report_at: u32::MAX,
            dry_run: false,
        }
    }
}

/// Condition by which a member counts as covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// The member's process has it.
    Reached,
    /// A person said so.
    Acked,
    /// A person said so, counted by users in place of sessions.
    AckedUsers,
}
