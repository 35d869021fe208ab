//! Answers to requests.

use serde::{Deserialize, Serialize};

use super::{
    list::list,
    member::{Level, Member, State},
    message::NoticeId,
    names::{RoomName, UserName},
    stream_id::{Channel, RoomIdentity, StreamLabel, StreamTag},
};

/// A stream as its new member or sender is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its number in this run.
    pub tag: StreamTag,
    /// What it is.
    pub name: StreamLabel,
    /// Newest number.
    pub head: u64,
    /// First number that will come; smaller than `head + 1` if a backlog comes first.
    pub next: u64,
    /// What was asked for (`Begin::After`) is of another run: numbers began anew.
    pub new_run: bool,
    /// Whether its messages are kept on disk (ids without run).
    pub stored: bool,
    /// Members now, this session included if it listens.
    pub members: u32,
    /// Its topic.
    pub topic: String,
    /// Where its broadcasts can be heard, if it has a channel now.
    pub channel: Option<Channel>,
    /// Of a room: its identity.
    pub room: Option<RoomIdentity>,
}

/// One room in the answer to `Request::Rooms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    /// Its name.
    pub name: RoomName,
    /// Members now.
    pub members: u32,
    /// Newest number.
    pub last: u64,
    /// Wall clock of the newest message, microseconds since 1970.
    pub last_wall_us: Option<i64>,
    /// Its topic.
    pub topic: String,
    /// Whether its messages are kept on disk.
    pub stored: bool,
    /// Only for those who are invited.
    pub private: bool,
    /// Only who leads it says something.
    pub read_only: bool,
}

/// One member in the answer to `Request::Who`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoInfo {
    /// Who.
    pub member: Member,
    /// How it is.
    pub state: State,
    /// Its `away` text.
    pub status: String,
    /// Wall clock at its start, microseconds since 1970.
    pub since_wall_us: i64,
    /// Monotonic clock at its last own message or key, microseconds.
    pub active_mono_us: u64,
}

/// Where an announcement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeStanding {
    /// Its time has not come.
    Waiting,
    /// It is announced.
    Open,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Cancelled,
}

impl NoticeStanding {
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
pub struct NoticeInfo {
    /// What it is called.
    pub id: NoticeId,
    /// Its number among the scheduled ones, if it was one.
    pub schedule: Option<u64>,
    /// When it was or is to be announced, microseconds since 1970.
    pub wall_us: i64,
    /// Who announced it.
    pub from: Member,
    /// Its weight.
    pub level: Level,
    /// The room it is for; none: every member.
    pub room: Option<RoomName>,
    /// When it expires, microseconds since 1970.
    pub expires_wall_us: Option<i64>,
    /// Shown to those who come later, too.
    pub retained: bool,
    /// Asks people to acknowledge.
    pub ack: bool,
    /// What is announced.
    pub text: String,
    /// Where it stands.
    pub standing: NoticeStanding,
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
}

/// One act of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditInfo {
    /// When, microseconds since 1970.
    pub wall_us: i64,
    /// Who.
    pub by: UserName,
    /// What.
    pub act: String,
}

/// A member that a receipt misses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// `user` or `user/label`.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its state, or `gone`.
    pub state: String,
}

/// How far an announcement came.
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
    /// Where to ask on, if there are more.
    pub next: Option<u32>,
}

/// The numbers of a stream that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanInfo {
    /// The stream.
    pub name: StreamLabel,
    /// Oldest number that is kept.
    pub first: u64,
    /// Newest number.
    pub head: u64,
    /// On disk: ids are good for ever.
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
    /// Its stream.
    pub name: StreamLabel,
    /// How it is called in `before` of the next search; 0 is never used.
    pub id: u64,
    /// A body with this message only.
    #[serde(deserialize_with = "list")]
    pub body: Vec<u8>,
}

/// How much of a stream a name has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkInfo {
    /// The stream.
    pub name: StreamLabel,
    /// Everything up to here was read.
    pub mark: u64,
    /// Newest number.
    pub head: u64,
    /// Messages after the mark that the name did not say itself.
    pub unread: u64,
    /// Those of them that mention the user.
    pub mentions: u64,
    /// On disk: ids are good for ever.
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
    /// To `Rooms`.
    Rooms {
        /// Some rooms.
        #[serde(deserialize_with = "list")]
        rooms: Vec<RoomInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// To `Who`.
    Who {
        /// Some members.
        #[serde(deserialize_with = "list")]
        who: Vec<WhoInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// To `Audit`.
    Audit {
        /// Some acts.
        #[serde(deserialize_with = "list")]
        entries: Vec<AuditInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// To `Announce`.
    Announced {
        /// Its number.
        number: u64,
        /// Members that should get it.
        members: u32,
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
    /// To `Notices`.
    Notices {
        /// Some of them.
        #[serde(deserialize_with = "list")]
        notices: Vec<NoticeInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// To `Notice`.
    Notice(Box<NoticeInfo>),
    /// To `Receipt`.
    Receipt(ReceiptInfo),
    /// To `Span`.
    Span(SpanInfo),
    /// To `Page`.
    Page(Page),
    /// To `NumberAt`.
    Number(u64),
    /// To `Search`: oldest first; more may be found before the first of them.
    Hits {
        /// Some messages.
        #[serde(deserialize_with = "list")]
        hits: Vec<HitInfo>,
        /// Ask again before the oldest of these.
        more: bool,
    },
    /// To `Unread`.
    Marks {
        /// Some streams.
        #[serde(deserialize_with = "list")]
        marks: Vec<MarkInfo>,
        /// Ask again from there.
        more: bool,
    },
    /// To `Ask`.
    Asked {
        /// Sessions that answer in the room now.
        answerers: u32,
    },
    /// To `Answer`.
    Answering {
        /// Of what it holds, that which another one has by now.
        #[serde(deserialize_with = "list")]
        lost: Vec<u64>,
    },
}
