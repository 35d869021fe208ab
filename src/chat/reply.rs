//! Answers to requests.

use serde::{Deserialize, Serialize};

use super::{
    linked::{ExportInfo, ImportInfo, LinkPosition, RemoteReceipt},
    list::list,
    member::{Level, Member, State},
    message::AnnouncementId,
    names::{HostName, RoomName, UserName},
    stream_id::{Channel, RoomIdentity, StreamId, StreamLabel},
};

/// A stream, as a new member or sender learns of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its number in this run.
    pub tag: StreamId,
    /// Name of the stream, which says its kind.
    pub name: StreamLabel,
    /// Newest sequence number.
    pub head: u64,
    /// First number that will come; smaller than `head + 1` if a backlog comes first.
    pub next: u64,
    /// The message asked for (`Begin::After`) is of another boot: numbers started over.
    pub new_run: bool,
    /// True if its messages are on disk (ids without boot id).
    pub stored: bool,
    /// Members now, this session included if it listens.
    pub members: u32,
    pub topic: String,
    /// Its broadcast channel, if it has one now.
    pub channel: Option<Channel>,
    /// Of a room: its identity.
    pub room: Option<RoomIdentity>,
}

/// One room in the answer to `Request::Rooms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    pub name: RoomName,
    /// Number of members now.
    pub members: u32,
    /// Newest sequence number.
    pub last: u64,
    /// Wall clock of the newest message, microseconds since 1970.
    pub last_wall_us: Option<i64>,
    pub topic: String,
    /// True if its messages are on disk.
    pub stored: bool,
    /// Only for those who are invited.
    pub private: bool,
    /// Only who leads it says something.
    pub read_only: bool,
}

/// One member in the answer to `Request::Who`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoInfo {
    pub member: Member,
    /// State of its session.
    pub state: State,
    /// Its `away` text.
    pub status: String,
    /// Wall clock at its start, microseconds since 1970.
    pub since_wall_us: i64,
    /// Monotonic clock at its last own message or key, microseconds.
    pub active_mono_us: u64,
}

/// State of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnnouncementState {
    /// Its time has not come.
    Waiting,
    /// It is announced.
    Open,
    /// Its time has passed.
    Expired,
    /// It was taken back.
    Cancelled,
}

impl AnnouncementState {
    /// The word of the command line and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Open => "open",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An announcement as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncementInfo {
    /// Its id: a number, or a number among the scheduled ones.
    pub id: AnnouncementId,
    /// Its number among the scheduled ones, if it was one.
    pub schedule: Option<u64>,
    /// When it was or is to be announced, microseconds since 1970.
    pub wall_us: i64,
    /// Sender of the announcement.
    pub from: Member,
    pub level: Level,
    /// The room it is for; none: every member.
    pub room: Option<RoomName>,
    /// When it expires, microseconds since 1970.
    pub expires_wall_us: Option<i64>,
    /// Shown to those who come later, too.
    pub retained: bool,
    /// Asks people to acknowledge.
    pub ack: bool,
    /// Text of the announcement.
    pub text: String,
    /// State of the announcement.
    pub standing: AnnouncementState,
    /// Members that it was for.
    pub members: u32,
    /// Those of them whose process has it.
    pub reached: u32,
    /// Those of them where a person said so.
    pub acked: u32,
    /// This name acknowledged it.
    pub acked_by_me: bool,
    /// Names that acknowledged it, also of those who came later.
    pub acks: u32,
    /// The first of them; in lists none.
    #[serde(deserialize_with = "list")]
    pub acked_by: Vec<String>,
    /// Its number at the linked host that it came from.
    pub origin: Option<u64>,
}

/// One act of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditInfo {
    /// When, microseconds since 1970.
    pub wall_us: i64,
    /// Name of the operator.
    pub by: UserName,
    /// Act in words.
    pub act: String,
}

/// A member that a receipt misses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// `user` or `user/label`.
    pub name: String,
    /// Process id of the member.
    pub pid: u32,
    /// Its state, or `gone`.
    pub state: String,
}

/// Reception of an announcement by its recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptInfo {
    /// Number of the announcement.
    pub number: u64,
    /// Members when it was published, the announcer's own process aside.
    pub members: u32,
    /// Those whose process has it.
    pub reached: u32,
    /// Those where a person said so.
    pub acked: u32,
    /// Different users among the members.
    pub users: u32,
    /// Different names of which one session acknowledged.
    pub users_acked: u32,
    /// Some of those not reached.
    #[serde(deserialize_with = "list")]
    pub missing: Vec<Missing>,
    /// Position from which to ask on, if there are more.
    pub next: Option<u32>,
    /// Members who may still get it.
    pub open: u32,
    /// Linked hosts that it is for.
    #[serde(deserialize_with = "list")]
    pub hosts: Vec<HostReceiptInfo>,
}

/// Reception of an announcement by a linked host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReceiptInfo {
    pub host: HostName,
    /// Present once the host has reported.
    pub receipt: Option<RemoteReceipt>,
    /// If it was not linked when the announcement was published: since when, microseconds since
    /// 1970; 0 if that is not known.
    pub unlinked_wall_us: Option<i64>,
}

/// The numbers of a stream that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanInfo {
    pub name: StreamLabel,
    /// Oldest number that is kept.
    pub first: u64,
    /// Newest sequence number.
    pub head: u64,
    /// On disk: ids are permanent.
    pub stored: bool,
}

/// Some messages of a stream, as a body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// The body; it may begin before `first` and end after `last`.
    #[serde(deserialize_with = "list")]
    pub body: Vec<u8>,
    /// First number that is there.
    pub first: u64,
    /// Last number that is there; 0 if nothing is.
    pub last: u64,
}

/// A message that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitInfo {
    /// Stream of the message.
    pub name: StreamLabel,
    /// Its id in `before` of the next search; 0 is never used.
    pub id: u64,
    /// A body with this message only.
    #[serde(deserialize_with = "list")]
    pub body: Vec<u8>,
}

/// Read mark of a name in a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkInfo {
    pub name: StreamLabel,
    /// Everything up to here was read.
    pub mark: u64,
    /// Newest sequence number.
    pub head: u64,
    /// Messages after the mark that the name did not say itself.
    pub unread: u64,
    /// Those of them that mention the user.
    pub mentions: u64,
    /// On disk: ids are permanent.
    pub stored: bool,
}

/// Answers to requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done.
    Done,
    /// To `Open`: where to submit.
    Opened(StreamInfo),
    /// To `Join`: the streams that are followed by it now (several for direct messages).
    Joined(#[serde(deserialize_with = "list")] Vec<StreamInfo>),
    /// Reply to `Rooms`.
    Rooms {
        /// Rooms of this part.
        #[serde(deserialize_with = "list")]
        rooms: Vec<RoomInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// Reply to `Who`.
    Who {
        /// Members of this part.
        #[serde(deserialize_with = "list")]
        who: Vec<WhoInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// Reply to `Audit`.
    Audit {
        /// Acts of this part.
        #[serde(deserialize_with = "list")]
        entries: Vec<AuditInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// Reply to `Announce`.
    Announced {
        /// Number of the announcement.
        number: u64,
        /// Members that should get it.
        members: u32,
        /// Linked hosts that should get it.
        hosts: u32,
    },
    /// To `Announce`: it waits for its time.
    Scheduled {
        /// Its number among the scheduled ones.
        schedule: u64,
        /// When, microseconds since 1970.
        at_us: i64,
        /// Over a restart of the server as well.
        kept: bool,
    },
    /// To `Announce`: it was not made.
    WouldReach {
        /// Members that would count.
        members: u32,
        /// Different users among them.
        users: u32,
    },
    /// Reply to `Notices`.
    Notices {
        /// Some of them.
        #[serde(deserialize_with = "list")]
        notices: Vec<AnnouncementInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// Reply to `Notice`.
    Notice(Box<AnnouncementInfo>),
    /// Reply to `Receipt`.
    Receipt(ReceiptInfo),
    /// Reply to `Span`.
    Span(SpanInfo),
    /// Reply to `Page`.
    Page(Page),
    /// Reply to `NumberAt`.
    Number(u64),
    /// To `Search`: oldest first; more may be found before the first of them.
    Hits {
        /// Messages that were found.
        #[serde(deserialize_with = "list")]
        hits: Vec<HitInfo>,
        /// Ask again before the oldest of these.
        more: bool,
    },
    /// Reply to `Unread`.
    Marks {
        /// Streams of this part.
        #[serde(deserialize_with = "list")]
        marks: Vec<MarkInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// Reply to `Ask`.
    Asked {
        /// Sessions that answer in the room now.
        answerers: u32,
    },
    /// Reply to `Answer`.
    Answering {
        /// Of what it holds, that which another one has by now.
        #[serde(deserialize_with = "list")]
        lost: Vec<u64>,
    },
    /// Reply to `Export`.
    Export(ExportInfo),
    /// Reply to `Imports`.
    Imports {
        /// Streams of this part.
        #[serde(deserialize_with = "list")]
        imports: Vec<ImportInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// Reply to `Import`.
    Imported {
        /// Newest message of the stream that is stored now. Before the end of the import: earlier
        /// messages are missing.
        at: LinkPosition,
        /// Number of messages whose users may not speak here.
        refused: u32,
    },
}
