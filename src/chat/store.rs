//! Contents of a history for a hub, and the questions it answers.

use std::{collections::HashSet, rc::Rc, sync::Arc};

use super::{
    announcement::{AnnouncementRecord, Receipt},
    linked::{ANNOUNCEMENTS_KEY, ImportInfo, ImportedFrom, LinkPosition, LinkedKey, LinkedStream},
    member::{EndCause, Member, SessionId},
    message::{AnnouncementId, Notice},
    names::{HostName, Label, RoomName, UserName},
    permutation::Permutation,
    rules::{Role, RoomRules},
    text::SharedText,
};
use crate::{
    chat::{
        reply::{MarkInfo, SpanInfo},
        stream_id::{RoomId, StreamId},
    },
    limits::RECIPIENTS_PER_RECORD,
};

/// Permanent key of the stream that a stored message belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StreamKey {
    Room(RoomName),
    /// A conversation of two user ids, the smaller first.
    Conversation(u32, u32),
    Announcements,
}

impl StreamKey {
    /// Returns true if a message counts as unread for a handle: another one said it, and in a
    /// conversation it is not addressed to another label of the user.
    #[must_use]
    pub fn counts(
        &self,
        from: (u32, Option<&Label>),
        to_label: Option<&Label>,
        handle: (u32, Option<&Label>),
    ) -> bool {
        let addressed = match self {
            Self::Room(_) | Self::Announcements => true,
            // The user's own messages name a label of the other user.
            Self::Conversation(low, high) if low != high && from.0 == handle.0 => true,
            Self::Conversation(..) => to_label.is_none() || to_label == handle.1,
        };
        addressed && from != handle
    }
}

/// A numbered message on its way to the store and into the backlog. A copy shares what is large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Stream of the message.
    pub stream: Arc<StreamKey>,
    /// Its number there.
    pub seq: u64,
    /// Wall clock when it was numbered, microseconds since 1970.
    pub wall_us: i64,
    /// Sender of the message.
    pub from: Arc<Member>,
    /// Number of the message it replies to.
    pub reply_to: Option<u64>,
    /// Sessions of the addressed user that it is for.
    pub to_label: Option<Label>,
    /// Present in announcements.
    pub notice: Option<Box<Notice>>,
    /// End of the session for which the server says it.
    pub will: Option<EndCause>,
    /// Present in messages of a linked host.
    pub origin: Option<ImportedFrom>,
    /// Text of the message.
    pub text: SharedText,
    /// The client instance and its counter, to be kept with the message.
    pub submit: Option<([u8; 16], u64)>,
}

/// Numbers of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Newest number that was ever given; 0 before the first.
    pub head: u64,
    /// Oldest number that is kept.
    pub first: u64,
    /// Wall clock of the newest message, microseconds since 1970.
    pub newest_us: Option<i64>,
}

/// A room of an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredRoom {
    /// Its name, as it was created.
    pub name: RoomName,
    /// Permanent id of the room.
    pub id: RoomId,
    /// User id of its creator.
    pub creator_uid: u32,
    /// True if its messages are stored.
    pub history: bool,
    pub topic: String,
    /// Rights and roles in it.
    pub rules: RoomRules,
    /// Numbers of its messages.
    pub span: Span,
}

/// A conversation of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredConversation {
    /// Both user ids, the smaller first.
    pub users: (u32, u32),
    /// User id of the user who began it, if known.
    pub begun_by: Option<u32>,
    /// Numbers of its messages.
    pub span: Span,
}

/// Submits of a client instance: consecutive counters with consecutive numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredSubmits {
    /// User id of the sender.
    pub uid: u32,
    /// The client instance.
    pub instance: [u8; 16],
    /// Counter of the first.
    pub counter: u64,
    /// Number of submits.
    pub count: u64,
    /// Their stream; none: a deleted room whose name is forgotten.
    pub stream: Option<StreamKey>,
    /// Number of the first.
    pub seq: u64,
    /// Wall clock when they were stored, microseconds since 1970.
    pub wall_us: i64,
}

/// Everything that a hub takes over from the run before.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Rooms, with their rules.
    pub rooms: Vec<RestoredRoom>,
    /// Deleted rooms: their numbers are not given again.
    pub gone_rooms: Vec<GoneRoom>,
    /// Numbers up to here are given in no new room: those of deleted rooms whose names are
    /// forgotten.
    pub floor: u64,
    /// Conversations, with their numbers.
    pub conversations: Vec<RestoredConversation>,
    /// Numbers of the announcements.
    pub announcements: Span,
    /// Names under which users said something, by user id.
    pub users: Vec<(u32, UserName)>,
    /// Rooms that each name (user id and label) follows.
    pub follows: Vec<(u32, Option<Label>, RoomName)>,
    /// Up to where which names have read.
    pub marks: Vec<(u32, Option<Label>, StreamKey, u64)>,
    /// Acts of operators, oldest first.
    pub audit: Vec<Audit>,
    /// Announcements that wait, and those that were made.
    pub notices: Vec<AnnouncementRecord>,
    /// Submits that may come again, oldest first.
    pub submits: Vec<RestoredSubmits>,
    /// Users with older submits than those, and the time of the oldest of those.
    pub submits_cut: Vec<(u32, i64)>,
    /// Newest messages of linked hosts that are here.
    pub imports: Vec<ImportInfo>,
    /// Streams that are exported.
    pub exports: Vec<RestoredExport>,
    /// Number of this history: another one after an older copy was put back.
    pub epoch: u32,
    /// When it was loaded, microseconds since 1970.
    pub loaded_us: i64,
}

/// Stream that is exported to linked hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredExport {
    /// Name of this host among them.
    pub host: HostName,
    pub stream: LinkedKey,
    /// Position after which it is exported.
    pub after: LinkPosition,
    /// Number of the history to which the position belongs.
    pub epoch: u32,
}

impl From<&LinkedStream> for StreamKey {
    fn from(stream: &LinkedStream) -> Self {
        match stream {
            LinkedStream::Room(room) => Self::Room(room.clone()),
            LinkedStream::Announcements => Self::Announcements,
        }
    }
}

impl StreamKey {
    /// Returns the key under which linked hosts exchange a stream; none for what stays on this
    /// host.
    #[must_use]
    pub fn linked(&self) -> Option<&str> {
        match self {
            Self::Room(name) => Some(name.key()),
            Self::Announcements => Some(ANNOUNCEMENTS_KEY),
            Self::Conversation(..) => None,
        }
    }
}

/// A deleted room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneRoom {
    pub name: RoomName,
    /// User id of its creator.
    pub creator_uid: u32,
    /// Only for those who were invited.
    pub private: bool,
    /// Newest number that was ever given under its name.
    pub head: u64,
}

/// One act of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Microseconds since 1970.
    pub wall_us: i64,
    /// User id of the operator.
    pub uid: u32,
    /// Name of the operator at that time.
    pub by: UserName,
    /// Act in words.
    pub act: String,
    /// By right of an office of the server, not of a room: such acts are kept whatever others do.
    pub office: bool,
}

/// Something to be kept beside the messages, in the same transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A room as it is now.
    Room {
        name: RoomName,
        /// Permanent id; a room that is created again under the same name has another.
        id: RoomId,
        /// User id of its creator.
        creator_uid: u32,
        /// True if its messages are stored.
        history: bool,
        topic: String,
        /// Only for those who are invited.
        private: bool,
        /// Only who leads it says something.
        read_only: bool,
        /// Numbers up to here were given before it was made, or by an earlier boot.
        head: u64,
    },
    /// A user has a role in a room from now on, or no longer.
    Role {
        /// Room of the role.
        room: RoomName,
        /// The user id.
        uid: u32,
        role: Role,
        /// From now on, or no longer.
        on: bool,
    },
    /// A user of a linked host is banned from a room or muted in it, or no longer.
    RemoteRole {
        /// Room of the role.
        room: RoomName,
        /// Name of the user, with the host.
        user: UserName,
        role: Role,
        /// From now on, or no longer.
        on: bool,
    },
    /// Act of an operator.
    Audit(Audit),
    /// An announcement in its present state.
    Notice(Box<AnnouncementRecord>),
    /// An announcement that is not needed any longer.
    NoticeGone(AnnouncementId),
    /// Changes of an announcement that is stored.
    Receipt(Box<Receipt>),
    /// A room was deleted, with all that was said in it.
    RoomGone {
        /// Name of the room.
        name: RoomName,
        /// Newest number that was ever given under this name.
        head: u64,
    },
    /// The name of a deleted room is forgotten; no new room gives numbers up to the floor.
    RoomForgotten {
        /// Name of the room.
        name: RoomName,
        /// Numbers up to here are given in no new room.
        floor: u64,
    },
    /// A name follows a room, or no longer.
    Follow {
        uid: u32,
        /// Label; none: the person.
        label: Option<Label>,
        room: RoomName,
        /// From now on, or no longer.
        on: bool,
    },
    /// A label of a user is forgotten, with what it followed and had read.
    NameGone {
        uid: u32,
        /// Label that is forgotten.
        label: Label,
    },
    /// A client instance ended with a goodbye: its counters are not needed.
    InstanceGone {
        uid: u32,
        /// The client instance.
        instance: [u8; 16],
    },
    /// A stream is exported to linked hosts from now on, or under other numbers.
    Export {
        /// Name of this host among them.
        host: HostName,
        stream: StreamKey,
        /// Messages up to this position are not exported.
        after: LinkPosition,
        /// Number of the history to which the position belongs.
        epoch: u32,
    },
    /// The messages of a linked host up to a position are here, or are not wanted.
    Import { host: HostName, stream: StreamKey, at: LinkPosition },
    /// A name has read a stream up to a number.
    Mark {
        uid: u32,
        /// Label; none: the person.
        label: Option<Label>,
        stream: StreamKey,
        /// Newest number that was read.
        seq: u64,
    },
}

impl Record {
    /// Returns true if messages of a stream must not be stored without it: the wrong users would
    /// read them, or they would be announced twice.
    pub(super) fn is_needed_by(&self, stream: &StreamKey) -> bool {
        match self {
            Self::Room { name, .. }
            | Self::RoomGone { name, .. }
            | Self::RoomForgotten { name, .. } => {
                matches!(stream, StreamKey::Room(room) if room == name)
            }
            Self::Notice(_) | Self::NoticeGone(_) | Self::Receipt(_) => {
                *stream == StreamKey::Announcements
            }
            Self::Role { .. }
            | Self::RemoteRole { .. }
            | Self::Audit(_)
            | Self::Follow { .. }
            | Self::NameGone { .. }
            | Self::InstanceGone { .. }
            | Self::Export { .. }
            | Self::Import { .. }
            | Self::Mark { .. } => false,
        }
    }
}

impl Record {
    /// Returns how many records of the usual size it is as large as.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Notice(notice) => 1 + notice.recipients() / RECIPIENTS_PER_RECORD,
            Self::Room { .. }
            | Self::RoomGone { .. }
            | Self::RoomForgotten { .. }
            | Self::Role { .. }
            | Self::RemoteRole { .. }
            | Self::Audit(_)
            | Self::NoticeGone(_)
            | Self::Receipt(_)
            | Self::Follow { .. }
            | Self::NameGone { .. }
            | Self::InstanceGone { .. }
            | Self::Export { .. }
            | Self::Import { .. }
            | Self::Mark { .. } => 1,
        }
    }

    /// Returns true if it changes the stored settings of a room.
    pub(super) fn is_about_room(&self, of: &RoomName) -> bool {
        match self {
            Self::Room { name: room, .. }
            | Self::RoomGone { name: room, .. }
            | Self::RoomForgotten { name: room, .. }
            | Self::Role { room, .. }
            | Self::RemoteRole { room, .. }
            | Self::Follow { room, .. }
            | Self::Mark { stream: StreamKey::Room(room), .. } => room == of,
            Self::Audit(_)
            | Self::Notice(_)
            | Self::NoticeGone(_)
            | Self::Receipt(_)
            | Self::NameGone { .. }
            | Self::InstanceGone { .. }
            | Self::Export { .. }
            | Self::Import { .. }
            | Self::Mark { .. } => false,
        }
    }
}

/// Older messages that a session is owed and that are no longer in the backlog. Each has one
/// answer: `Hub::fetched` or `Hub::fetch_failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Its own number, never given again: the answer belongs to the membership that waits for it.
    pub number: u64,
    /// Session that gets them.
    pub session: SessionId,
    /// Of which stream.
    pub tag: StreamId,
    /// The same, as the store knows it.
    pub stream: StreamKey,
    /// First number wanted.
    pub first: u64,
    /// Last number; fewer may be given.
    pub last: u64,
    /// Of announcements: those for other rooms than these are withheld.
    pub rooms: Option<Vec<RoomName>>,
}

/// Messages that the store found for a [`Fetch`].
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// Batch frames in order. A number between them that is in none is not there.
    pub frames: Vec<Rc<[u8]>>,
    /// Last number that was looked for; the first wanted one at least.
    pub upto: u64,
    /// Oldest number that is kept: what is missing below it was removed, above it damaged.
    pub oldest: u64,
}

/// A question that the store has to answer, on another thread.
#[derive(Debug, Clone)]
pub enum Question {
    /// Messages of a stream.
    Page {
        stream: StreamKey,
        /// Its number in this run.
        tag: StreamId,
        /// First number wanted.
        first: u64,
        /// Last number wanted.
        last: u64,
        /// Of announcements: those for other rooms than these are withheld.
        rooms: Option<Vec<RoomName>>,
    },
    /// The oldest number that is kept.
    Span {
        stream: StreamKey,
        /// Known part of the answer.
        span: SpanInfo,
    },
    /// The first number from which on no message is of an earlier time.
    NumberAt {
        stream: StreamKey,
        /// Microseconds since 1970.
        wall_us: i64,
    },
    /// Messages that have some words.
    Search(Box<SearchQuestion>),
    /// The number of a message of a linked host.
    Origin {
        stream: StreamKey,
        host: HostName,
        /// Its number there.
        seq: u64,
    },
    /// Unread counts of a name.
    Unread {
        /// The user id.
        uid: u32,
        /// The user's name, for mentions.
        user: String,
        /// Label of the name.
        label: Option<Label>,
        /// Known parts of the answer, and the streams to count in.
        marks: Vec<(MarkInfo, Option<StreamKey>)>,
        /// There are more of them.
        more: bool,
    },
}

/// Words to search for, and the place.
#[derive(Debug, Clone, Default)]
pub struct SearchQuestion {
    /// Words, each of which has to occur, as a part of a word or more.
    pub text: String,
    /// User id of the asking user: their conversations are searched, those of others are not.
    pub uid: u32,
    /// Only in this stream.
    pub stream: Option<StreamKey>,
    /// Not in these rooms.
    pub hidden: HashSet<RoomName>,
    /// User id of the senders to find; none: all.
    pub from_uid: Option<u32>,
    /// User of a linked host to find.
    pub from_remote: Option<UserName>,
    /// Time of the oldest message to find, microseconds since 1970.
    pub since_us: Option<i64>,
    /// Row of the history before which to look; 0 for the newest.
    pub before: u64,
    /// Permutation of row numbers in the answer: the plain ones count the messages of all users.
    pub order: Permutation<32>,
    /// Maximum number of messages.
    pub limit: u32,
}
