//! What a session may ask and what it is told: the control messages, free of how they travel.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

use super::{
    member::{EndCause, Level, Member, SessionId, State},
    message::{NoticeId, RunId},
    names::{Label, RoomName, Target, UserName},
    rules::Role,
    text::Text,
};

/// Reads a list item by item. serde reserves memory by the length that a list declares, up to 1 MiB, before it
/// reads the first item.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = items.next_element()? {
                all.push(item);
            }
            Ok(all)
        }
    }

    from.deserialize_seq(Items(PhantomData))
}

/// Number of a stream (room, conversation, announcements) within one run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamTag(pub u32);

/// Permanent identity of a room: random, stored with it and never given again. A room that is deleted and created
/// again under the same name is another room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoomId(pub u64);

/// What tells a room apart from other rooms of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomIdentity {
    /// Permanent id.
    pub id: RoomId,
    /// The room outlives the server, or must not be created again by a member that comes back (a private room of
    /// a server without a history). Otherwise a restart forgets all rooms, and members create theirs again.
    pub lasts: bool,
}

/// Why a request was not done; an expected answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of refusal: decides the exit code.
    pub code: RefusalCode,
    /// What happened, to which thing, and what to do next.
    pub text: String,
}

impl Refusal {
    /// A refusal of a kind with its words.
    pub fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Kinds of refusals; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// It failed, or a limit is reached.
    Failed,
    /// It can't be sent as it is.
    Input,
    /// This user may not.
    Denied,
    /// No such room, member or id.
    Absent,
    /// The submit is too old to tell whether it was stored.
    UnknownSubmit,
}

/// What a member wants to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Follow {
    /// A room; it comes into being by this.
    Room(RoomName),
    /// The conversation with one user.
    With(UserName),
    /// All conversations of the own user, those with other labels included (`join`).
    AllDirect,
    /// What is said to the own user and label (`listen @`).
    ToMe,
    /// Announcements; also makes the session a member.
    Announcements,
}

/// Where in a stream to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Begin {
    /// With what is said from now on.
    #[default]
    Now,
    /// With the last so many messages.
    Last(u64),
    /// After a message that was seen, in the run it belongs to.
    After {
        /// The run in which it was seen.
        run: RunId,
        /// Its number.
        seq: u64,
    },
    /// As `After`, in the room of that identity and in no other room of its name.
    Resume {
        /// Boot in which the message was seen.
        run: RunId,
        /// Its sequence number.
        seq: u64,
        /// The room.
        room: RoomId,
    },
}

/// Requests of a session; each is answered by one [`Reply`] or a [`Refusal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Names a stream for submits, without listening to it.
    Open {
        /// Where messages shall go.
        target: Target,
    },
    /// Listens to a stream.
    Join {
        /// Which.
        follow: Follow,
        /// From where.
        begin: Begin,
        /// Also told who joins and leaves.
        membership: bool,
        /// The name follows the room from now on (`join`, not `listen`).
        keep: bool,
    },
    /// Ends listening to a stream.
    Part {
        /// Which.
        stream: StreamTag,
        /// The name no longer follows the room.
        forget: bool,
    },
    /// Ends following of a room by name (`room leave`).
    Unfollow {
        /// Which.
        room: RoomName,
    },
    /// All rooms this user may see, some at a time.
    Rooms {
        /// How many were received already.
        skip: u32,
    },
    /// Makes a room.
    CreateRoom {
        /// Its name.
        room: RoomName,
        /// Whether its messages are stored.
        history: bool,
        /// Only for those who are invited.
        private: bool,
        /// Only who leads it says something.
        read_only: bool,
    },
    /// Gives a user a role in a room, or takes it.
    Role {
        /// Which room.
        room: RoomName,
        /// Whom.
        user: UserName,
        /// Which role.
        role: Role,
        /// Gives it.
        on: bool,
    },
    /// Takes a user's sessions out of a room; from a private one the invitation, too.
    KickFromRoom {
        /// Which room.
        room: RoomName,
        /// Whom.
        user: UserName,
        /// Only sessions with this label.
        label: Option<Label>,
    },
    /// Members of a room, some at a time.
    Who {
        /// Which.
        room: RoomName,
        /// How many were received already.
        skip: u32,
    },
    /// Ends a user's sessions.
    Kick {
        /// Whose.
        user: UserName,
        /// Only those with this label.
        label: Option<Label>,
    },
    /// Ends a session.
    Drop {
        /// Which.
        session: SessionId,
    },
    /// What operators did, the newest first, some at a time.
    Audit {
        /// How many were received already.
        skip: u32,
    },
    /// Sets the topic of a room; empty removes it.
    Topic {
        /// Which room.
        room: RoomName,
        /// The new topic.
        topic: String,
    },
    /// Marks the person of this session's user as away.
    Away {
        /// Only those sessions of the user that carry this label.
        label: Option<Label>,
        /// What to show.
        text: String,
    },
    /// Ends `Away`.
    Back {
        /// As in `Away`.
        label: Option<Label>,
    },
    /// Announces.
    Announce(Announce),
    /// The receipt of an announcement, as it stands.
    Receipt {
        /// Which announcement.
        id: NoticeId,
        /// From where among the addressees.
        skip: u32,
    },
    /// Announcements that wait, and those that were made, the newest first, some at a time.
    Notices {
        /// How many were received already.
        skip: u32,
    },
    /// One of them.
    Notice {
        /// Which.
        id: NoticeId,
    },
    /// A person says that an announcement was seen.
    AckNotice {
        /// Which.
        id: NoticeId,
    },
    /// Takes an announcement back.
    CancelNotice {
        /// Which.
        id: NoticeId,
    },
    /// What the server is to say in this session's rooms, as this member, if it ends without a good-bye.
    Will {
        /// What; none: nothing any more.
        text: Option<Text>,
    },
    /// The broadcast channel of a stream was joined.
    Listening {
        /// Which stream.
        stream: StreamTag,
        /// Receive-buffer charge that was granted, bytes.
        charge_bytes: u64,
        /// Name of the member's mailslot, where the channel is made of them; else zeros.
        slot: [u8; 16],
    },
    /// The broadcast channel of a stream could not be joined.
    Deaf {
        /// Which stream.
        stream: StreamTag,
    },
    /// The numbers of a stream that can be read.
    Span {
        /// Which.
        target: Target,
    },
    /// Messages of a stream, as many as go into one answer.
    Page {
        /// Which.
        target: Target,
        /// First number.
        first: u64,
        /// Last number.
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
    Search {
        /// The words.
        text: String,
        /// Only there.
        target: Option<Target>,
        /// Only what this user said.
        from: Option<UserName>,
        /// Only what was said since, microseconds since 1970.
        since_us: Option<i64>,
        /// Only older than the message of this id; 0 for the newest.
        before: u64,
        /// How many at most.
        limit: u32,
    },
    /// What this name has not read, in a stream or (none) in all that it follows, some at a time.
    Unread {
        /// Which.
        target: Option<Target>,
        /// How many were received already.
        skip: u32,
    },
    /// This name has read a stream up to a number.
    MarkRead {
        /// Which.
        target: Target,
        /// The number.
        seq: u64,
    },
    /// Deletes a room with all that was said in it.
    DeleteRoom {
        /// Which.
        room: RoomName,
    },
    /// The person did something (typed, looked).
    Active,
    /// Good-bye: the end of this session is deliberate.
    Quit,
    /// What this session said under a counter is a request: its replies are waited for.
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
        stream: StreamTag,
        /// Its number.
        seq: u64,
    },
    /// How a request went that this session took: told before its reply.
    Answered {
        /// In which room.
        stream: StreamTag,
        /// Its number.
        seq: u64,
        /// It could not be done.
        failed: bool,
        /// There is no reply beside this.
        silent: bool,
    },
}

/// An answerer of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answering {
    /// The room.
    pub stream: StreamTag,
    /// One answerer of this name takes each request; none: this one answers all of them.
    pub queue: Option<Label>,
    /// How many it works on at a time.
    pub jobs: u32,
    /// Those that it has taken and not replied to yet, after a break.
    #[serde(deserialize_with = "list")]
    pub holding: Vec<u64>,
    /// Those that it has replied to lately, after a break.
    #[serde(deserialize_with = "list")]
    pub done: Vec<u64>,
}

/// What is to be announced, to whom, and what is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Its weight.
    pub level: Level,
    /// The room it is for; none: every member.
    pub room: Option<RoomName>,
    /// What to announce.
    pub text: Text,
    /// How long it is good for once it is announced, microseconds; none: for ever.
    pub expires_us: Option<u64>,
    /// Shown to those who come later, too.
    pub retain: bool,
    /// Asks people to acknowledge.
    pub ack: bool,
    /// Not before that time, microseconds since 1970; none: now.
    pub at_us: Option<i64>,
    /// What is waited for.
    pub wait: Wait,
    /// Report once so many members are covered (all of them: `u32::MAX`).
    pub report_at: u32,
    /// Only says whom it would reach.
    pub dry_run: bool,
}

impl Announce {
    /// An announcement for everybody, now.
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

/// What an announcement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// The member's process has it.
    Reached,
    /// A person said so.
    Acked,
    /// A person said so, counted by users in place of sessions.
    AckedUsers,
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

/// What a stream is, in the reader's eyes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamLabel {
    /// A room.
    Room(RoomName),
    /// The conversation with this user.
    Direct(UserName),
    /// The announcements.
    Announcements,
}

/// A stream's broadcast channel: a multicast group and port (nothing to say for mailslots), and the key
/// that opens what is heard there. Members of the stream have it, nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Multicast group, IPv4.
    pub group: [u8; 4],
    /// Port of the group.
    pub port: u16,
    /// Opens its datagrams, from now on.
    pub key: ChannelKey,
}

/// What the datagrams of one stream are sealed with, until somebody is removed from it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelKey {
    /// Names it in datagrams; no other key of this run has the same.
    pub number: u32,
    /// The key.
    pub bytes: [u8; 32],
}

impl fmt::Debug for ChannelKey {
    // Keys must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelKey").field("number", &self.number).finish_non_exhaustive()
    }
}

/// One room in the answer to [`Request::Rooms`].
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

/// One member in the answer to [`Request::Who`].
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

/// Why a range of numbers can't be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// The server started anew; the numbers of the last run are gone.
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
    /// Somebody began to listen to a room.
    Joined {
        /// Which room.
        stream: StreamTag,
        /// Who.
        member: Member,
    },
    /// Somebody stopped listening to a room.
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
    /// The receipt of this session's announcement reached what was asked for.
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
    /// Somebody was invited to a room: told to him, and to those who are there.
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
