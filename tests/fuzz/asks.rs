//! Requests and submits about what is there: names and numbers of others, and those beside them.

use moot::chat::{
    event::Event,
    frames::{Destination, Frame, Line, Submit},
    linked::{
        Import, ImportedMessage, ImportedNotice, LinkPosition, LinkRequest, LinkedStream,
        RemoteReceipt, Roster,
    },
    member::{Kind, Level, SessionId},
    message::{AnnouncementId, BootId},
    names::{HostName, Label, RoomName, Target, UserName},
    reply::{Reply, StreamInfo},
    request::{
        Announce, Answering, Begin, Follow, HistoryRequest, Request, SearchRequest, SessionRequest,
    },
    rules::Role,
    stream_id::{RoomId, StreamId},
    text::Text,
};

use crate::tape::Tape;

/// Numbers that are remembered of each kind.
const KNOWN_MAX: usize = 64;

/// Names and numbers of a server, of any user.
#[derive(Debug, Clone)]
pub struct Known {
    pub rooms: Vec<RoomName>,
    pub users: Vec<UserName>,
    pub labels: Vec<Label>,
    pub tags: Vec<StreamId>,
    pub room_ids: Vec<RoomId>,
    pub sessions: Vec<SessionId>,
    /// Numbers of messages, announcements and counters.
    pub numbers: Vec<u64>,
    pub texts: Vec<&'static str>,
}

impl Default for Known {
    fn default() -> Self {
        let room = |name| RoomName::new(name).expect("a name");
        let user = |name| UserName::new(name).expect("a name");
        Self {
            rooms: ["dev", "DEV", "board", "a"].map(room).to_vec(),
            users: ["root", "ann", "bob", "nobody-here"].map(user).to_vec(),
            labels: ["ci", "q"].map(|label| Label::new(label).expect("a name")).to_vec(),
            tags: vec![StreamId(0)],
            room_ids: Vec::new(),
            sessions: (1..6).map(SessionId).collect(),
            numbers: Vec::new(),
            texts: vec!["a text", "@ann hi", "@", "\u{1b}[2J\n"],
        }
    }
}

impl Known {
    /// Remembers names and numbers of a frame.
    pub fn learn(&mut self, frame: &Frame) {
        match frame {
            Frame::Reply { result: Ok(Reply::Joined(infos)), .. } => {
                infos.iter().for_each(|info| self.learn_stream(info));
            }
            Frame::Reply { result: Ok(Reply::Opened(info)), .. }
            | Frame::Event(Event::Opened(info)) => self.learn_stream(info),
            Frame::Reply { result: Ok(Reply::Announced { number, .. }), .. }
            | Frame::Reply { result: Ok(Reply::Scheduled { schedule: number, .. }), .. } => {
                remember(&mut self.numbers, *number);
            }
            Frame::Ack(ack) => remember(&mut self.numbers, ack.seq),
            _ => {}
        }
    }

    fn learn_stream(&mut self, info: &StreamInfo) {
        remember(&mut self.tags, info.tag);
        remember(&mut self.numbers, info.head);
        if let Some(room) = info.room {
            remember(&mut self.room_ids, room.id);
        }
    }
}

fn remember<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
        if all.len() > KNOWN_MAX {
            all.remove(0);
        }
    }
}

/// Decisions about values that are known.
pub struct Pick<'t, 'a> {
    pub tape: &'t mut Tape<'a>,
    pub known: &'t Known,
}

impl Pick<'_, '_> {
    fn one<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.tape.below(all.len().max(1))).cloned()
    }

    fn yes(&mut self) -> bool {
        self.tape.chance(4)
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.yes() { Some(make(self)) } else { None }
    }

    /// 0, 1, the largest ones, a known one and its neighbors.
    fn number(&mut self) -> u64 {
        let near = self.one(&self.known.numbers).unwrap_or(0);
        match self.tape.byte() % 12 {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - 1,
            4 => i64::MAX as u64,
            5 => self.tape.number(),
            6 => near.saturating_sub(1),
            7 => near.saturating_add(1),
            _ => near,
        }
    }

    fn small(&mut self) -> u32 {
        match self.tape.byte() % 8 {
            0 => u32::MAX,
            1 => self.number() as u32,
            n => u32::from(n - 2),
        }
    }

    fn time(&mut self) -> i64 {
        self.number().cast_signed()
    }

    fn room(&mut self) -> RoomName {
        let known = self.one(&self.known.rooms);
        let new = || RoomName::new("dev").expect("a name");
        if self.tape.chance(7) { known } else { self.tape.value() }.unwrap_or_else(new)
    }

    fn user(&mut self) -> UserName {
        let known = self.one(&self.known.users);
        known.unwrap_or_else(|| UserName::of_uid(7))
    }

    fn label(&mut self) -> Option<Label> {
        self.maybe(|pick| pick.one(&pick.known.labels)).flatten()
    }

    fn tag(&mut self) -> StreamId {
        let known = self.one(&self.known.tags);
        if self.tape.chance(7) { known } else { None }.unwrap_or(StreamId(self.small()))
    }

    fn room_id(&mut self) -> RoomId {
        let known = self.one(&self.known.room_ids);
        if self.tape.chance(6) { known } else { None }.unwrap_or(RoomId(self.tape.number()))
    }

    fn session(&mut self) -> SessionId {
        let known = self.one(&self.known.sessions);
        if self.tape.chance(6) { known } else { None }.unwrap_or(SessionId(self.tape.number()))
    }

    fn notice(&mut self) -> AnnouncementId {
        let number = self.number();
        if self.yes() { AnnouncementId::Number(number) } else { AnnouncementId::Scheduled(number) }
    }

    fn target(&mut self) -> Target {
        match self.tape.chance(5) {
            true => Target::Room(self.room()),
            false => Target::User { user: self.user(), label: self.label() },
        }
    }

    fn text(&mut self) -> &'static str {
        self.one(&self.known.texts).unwrap_or("a text")
    }

    fn begin(&mut self) -> Begin {
        let run = BootId(if self.tape.chance(6) { 7 } else { 8 });
        match self.tape.byte() % 4 {
            0 => Begin::Now,
            1 => Begin::Last(self.number()),
            2 => Begin::After { run, seq: self.number() },
            _ => Begin::Resume { run, seq: self.number(), room: self.room_id() },
        }
    }

    fn follow(&mut self) -> Follow {
        match self.tape.byte() % 8 {
            0 => Follow::Announcements,
            1 => Follow::AllDirect,
            2 => Follow::ToMe,
            3 => Follow::With(self.user()),
            _ => Follow::Room(self.room()),
        }
    }

    fn numbers(&mut self) -> Vec<u64> {
        (0..self.tape.byte() % 4).map(|_| self.number()).collect()
    }

    fn announce(&mut self) -> Announce {
        let level = self.tape.value().unwrap_or(Level::Info);
        let text = Text::new(self.text()).expect("a text");
        Announce {
            room: self.maybe(Self::room),
            expires_us: self.maybe(Self::number),
            retain: self.yes(),
            ack: self.yes(),
            at_us: if self.tape.chance(2) { Some(self.time()) } else { None },
            report_at: self.small(),
            dry_run: self.tape.chance(2),
            ..Announce::new(level, text)
        }
    }

    /// Returns any request.
    pub fn request(&mut self) -> Request {
        let (make, is_made) = REQUESTS[self.tape.below(REQUESTS.len())];
        let request = make(self);
        assert!(is_made(&request), "{request:?} is in the row of another one");
        request
    }

    fn query(&mut self) -> HistoryRequest {
        let (make, is_made) = QUERIES[self.tape.below(QUERIES.len())];
        let query = make(self);
        assert!(is_made(&query), "{query:?} is in the row of another one");
        query
    }

    fn link(&mut self) -> LinkRequest {
        let (make, is_made) = LINKS[self.tape.below(LINKS.len())];
        let request = make(self);
        assert!(is_made(&request), "{request:?} is in the row of another one");
        request
    }

    fn host(&mut self) -> HostName {
        let hosts = ["db1", "web1", "lap2"];
        HostName::new(hosts[self.tape.below(hosts.len())]).expect("a name")
    }

    fn linked(&mut self) -> LinkedStream {
        if self.yes() { LinkedStream::Announcements } else { LinkedStream::Room(self.room()) }
    }

    fn position(&mut self) -> LinkPosition {
        LinkPosition { generation: self.number(), seq: self.number() }
    }

    fn import(&mut self) -> Import {
        let message = |pick: &mut Self| ImportedMessage {
            seq: pick.number(),
            user: pick.user(),
            label: pick.label(),
            kind: Kind::Person,
            wall_us: pick.time(),
            reply_to: pick.maybe(Self::number),
            notice: pick.maybe(|pick| ImportedNotice {
                level: Level::Info,
                room: pick.maybe(Self::room),
                expires_us: pick.maybe(Self::number),
                retain: pick.yes(),
                ack: pick.yes(),
            }),
            text: Text::new(pick.text()).expect("a text"),
        };
        let mut messages: Vec<_> = (0..self.tape.byte() % 4).map(|_| message(self)).collect();
        if self.tape.chance(6) {
            messages.sort_by_key(|message| message.seq);
            messages.dedup_by_key(|message| message.seq);
        }
        let last = messages.last().map_or(0, |message| message.seq);
        Import {
            host: self.host(),
            stream: self.linked(),
            prev: self.position(),
            upto: last.saturating_add(self.small().into()),
            gap_after: self.maybe(Self::position),
            messages,
        }
    }

    fn statement(&mut self) -> SessionRequest {
        let (make, is_made) = STATEMENTS[self.tape.below(STATEMENTS.len())];
        let statement = make(self);
        assert!(is_made(&statement), "{statement:?} is in the row of another one");
        statement
    }

    /// Returns any submit with a counter.
    pub fn submit(&mut self, first: u64) -> Submit<'static> {
        let (make, is_made) = SUBMITS[self.tape.below(SUBMITS.len())];
        let to = make(self);
        assert!(is_made(&to), "{to:?} is in the row of another one");
        let line = |pick: &mut Self| Line {
            reply_to: pick.maybe(Self::number),
            text: pick.text().try_into().expect("a text"),
        };
        let lines = (0..=self.tape.byte() % 4).map(|_| line(self)).collect();
        Submit { first, to, to_label: self.label(), lines }
    }
}

/// Makes a value of one variant, and knows it.
type Maker<T> = (fn(&mut Pick<'_, '_>) -> T, fn(&T) -> bool);

/// A table with a row for each variant: a variant without a row does not compile.
macro_rules! table {
    ($all:ident, $every:ident, $of:ident: $($variant:ident $make:expr;)*) => {
        #[expect(dead_code, reason = "it is for the compiler")]
        fn $every(made: &$of) {
            match made {
                $($of::$variant { .. } => {})*
            }
        }

        const $all: &[Maker<$of>] = &[$(($make, |made| matches!(made, $of::$variant { .. })),)*];
    };
}

table! { SUBMITS, every_submit_has_a_row, Destination:
    Stream |pick| Destination::Stream(pick.tag());
    Room |pick| Destination::Room(pick.room());
    Known |pick| Destination::Known(pick.room_id());
}

table! { REQUESTS, every_request_has_a_row, Request:
    Open |pick| Request::Open { target: pick.target() };
    Join |pick| Request::Join {
        follow: pick.follow(),
        begin: pick.begin(),
        membership: pick.yes(),
        keep: pick.yes(),
    };
    Part |pick| Request::Part { stream: pick.tag(), forget: pick.yes() };
    Unfollow |pick| Request::Unfollow { room: pick.room() };
    Rooms |pick| Request::Rooms { skip: pick.small() };
    CreateRoom |pick| Request::CreateRoom {
        room: pick.room(),
        history: pick.yes(),
        private: pick.yes(),
        read_only: pick.yes(),
    };
    Role |pick| Request::Role {
        room: pick.room(),
        user: pick.user(),
        role: pick.tape.value().unwrap_or(Role::Invited),
        on: pick.yes(),
    };
    KickFromRoom |pick| Request::KickFromRoom {
        room: pick.room(),
        user: pick.user(),
        label: pick.label(),
    };
    Who |pick| Request::Who { room: pick.room(), skip: pick.small() };
    Kick |pick| Request::Kick { user: pick.user(), label: pick.label() };
    Drop |pick| Request::Drop { session: pick.session() };
    Audit |pick| Request::Audit { skip: pick.small() };
    Topic |pick| Request::Topic { room: pick.room(), topic: pick.text().to_owned() };
    Away |pick| Request::Away { label: pick.label(), text: pick.text().to_owned() };
    Back |pick| Request::Back { label: pick.label() };
    Announce |pick| Request::Announce(pick.announce());
    Receipt |pick| Request::Receipt { id: pick.notice(), skip: pick.small() };
    Notices |pick| Request::Notices { skip: pick.small() };
    Notice |pick| Request::Notice { id: pick.notice() };
    AckNotice |pick| Request::AckNotice { id: pick.notice() };
    CancelNotice |pick| Request::CancelNotice { id: pick.notice() };
    Will |pick| Request::Will { text: pick.maybe(|pick| Text::new(pick.text()).expect("a text")) };
    History |pick| Request::History(pick.query());
    Session |pick| Request::Session(pick.statement());
    Link |pick| Request::Link(pick.link());
    MarkRead |pick| Request::MarkRead { target: pick.target(), seq: pick.number() };
    DeleteRoom |pick| Request::DeleteRoom { room: pick.room() };
    Ask |pick| Request::Ask { counter: pick.number(), again: pick.yes() };
    Answer |pick| Request::Answer(Answering {
        stream: pick.tag(),
        queue: pick.label(),
        jobs: pick.small(),
        holding: pick.numbers(),
        done: pick.numbers(),
    });
    Take |pick| Request::Take { stream: pick.tag(), seq: pick.number() };
    Answered |pick| Request::Answered {
        stream: pick.tag(),
        seq: pick.number(),
        failed: pick.yes(),
        silent: pick.yes(),
    };
}

table! { LINKS, every_link_request_has_a_row, LinkRequest:
    Begin |pick| LinkRequest::Begin { host: pick.host() };
    Export |pick| LinkRequest::Export {
        stream: pick.linked(),
        renew: pick.maybe(Pick::position),
    };
    Imports |pick| LinkRequest::Imports { skip: pick.small() };
    Import |pick| LinkRequest::Import(pick.import());
    Roster |pick| LinkRequest::Roster(Roster {
        host: pick.host(),
        reachable: pick.yes(),
        announces: pick.yes(),
        members: (0..pick.small() % 4).filter_map(|_| pick.tape.value()).collect(),
        is_last: pick.yes(),
    });
    Announcements |pick| LinkRequest::Announcements { first: pick.number(), last: pick.number() };
    Find |pick| LinkRequest::Find { stream: pick.linked(), host: pick.host(), seq: pick.number() };
    Receipt |pick| LinkRequest::Receipt {
        number: pick.number(),
        host: pick.host(),
        receipt: RemoteReceipt {
            members: pick.small(),
            reached: pick.small(),
            acked: pick.small(),
            open: pick.small(),
        },
    };
}

table! { QUERIES, every_query_has_a_row, HistoryRequest:
    Span |pick| HistoryRequest::Span { target: pick.target() };
    Page |pick| HistoryRequest::Page {
        target: pick.target(),
        first: pick.number(),
        last: pick.number(),
    };
    NumberAt |pick| HistoryRequest::NumberAt { target: pick.target(), wall_us: pick.time() };
    Search |pick| HistoryRequest::Search(SearchRequest {
        text: pick.text().to_owned(),
        target: pick.maybe(Pick::target),
        from: pick.maybe(Pick::user),
        since_us: pick.maybe(Pick::time),
        before: pick.number(),
        limit: pick.small(),
    });
    Unread |pick| HistoryRequest::Unread { target: pick.maybe(Pick::target), skip: pick.small() };
}

table! { STATEMENTS, every_statement_has_a_row, SessionRequest:
    Listening |pick| SessionRequest::Listening {
        stream: pick.tag(),
        charge_bytes: pick.number(),
        slot: [pick.tape.byte(); 16],
    };
    Deaf |pick| SessionRequest::Deaf { stream: pick.tag() };
    Active |_| SessionRequest::Active;
    Quit |_| SessionRequest::Quit;
}
