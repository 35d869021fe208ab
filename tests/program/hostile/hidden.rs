//! Answers to a stranger about a private room: byte for byte those about a room that never existed.

use std::path::Path;

use moot::{
    chat::{
        event::Event,
        frames::{Destination, Frame, Line, Submit},
        linked::{LinkRequest, LinkedStream},
        member::{Level, SessionId},
        message::{AnnouncementId, BootId},
        names::{Label, RoomName, Target, UserName},
        reply::Reply,
        request::{
            Announce, Answering, Begin, Follow, HistoryRequest, Request, SearchRequest,
            SessionRequest, Wait,
        },
        rules::Role,
        stream_id::{RoomId, StreamId},
        text::Text,
    },
    wire::{control, server_frame::ServerFrame},
};

use super::{
    super::world::{OTHER_UID, THIRD_UID, World, is_root, skipped, user_name},
    raw::{Raw, bytes_of, room},
};

/// Name and numbers of a room.
#[derive(Debug, Clone, Copy)]
struct Named {
    name: &'static str,
    tag: StreamId,
    id: RoomId,
}

impl Named {
    fn room(self) -> RoomName {
        room(self.name)
    }

    fn target(self) -> Target {
        Target::Room(self.room())
    }

    fn announce(self) -> Announce {
        Announce {
            room: Some(self.room()),
            dry_run: true,
            wait: Wait::Reached,
            ..Announce::new(Level::Info, Text::new("hear").unwrap())
        }
    }
}

fn owner() -> UserName {
    UserName::new(&user_name(THIRD_UID)).unwrap()
}

/// A table with a row for each request: a request without a row does not compile, and neither does one that
/// names no room without its reason.
macro_rules! table {
    ($($variant:ident $cases:tt)*) => {
        #[expect(dead_code, reason = "it is for the compiler")]
        fn every_request_has_a_row(request: &Request) {
            match request {
                $(table!(@pattern $variant) => {})*
            }
        }

        /// Each request that can name a room, by each way of naming one.
        fn requests(of: Named) -> Vec<Request> {
            let mut all = Vec::new();
            $(table!(@row all of $cases);)*
            all
        }
    };
    (@pattern Span) => { Request::History(HistoryRequest::Span { .. }) };
    (@pattern Page) => { Request::History(HistoryRequest::Page { .. }) };
    (@pattern NumberAt) => { Request::History(HistoryRequest::NumberAt { .. }) };
    (@pattern Search) => { Request::History(HistoryRequest::Search { .. }) };
    (@pattern Unread) => { Request::History(HistoryRequest::Unread { .. }) };
    (@pattern Listening) => { Request::Session(SessionRequest::Listening { .. }) };
    (@pattern Deaf) => { Request::Session(SessionRequest::Deaf { .. }) };
    (@pattern Active) => { Request::Session(SessionRequest::Active { .. }) };
    (@pattern Quit) => { Request::Session(SessionRequest::Quit { .. }) };
    (@pattern Link) => { Request::Link(_) };
    (@pattern $variant:ident) => { Request::$variant { .. } };
    (@row $all:ident $of:ident (names_no_room: $reason:literal)) => {};
    (@row $all:ident $of:ident [$named:ident: $($request:expr),+ $(,)?]) => {{
        let $named = $of;
        $all.extend([$($request),+]);
    }};
}

fn join(of: Named, begin: Begin, keep: bool) -> Request {
    Request::Join { follow: Follow::Room(of.room()), begin, membership: true, keep }
}

fn search(of: Named) -> Request {
    Request::History(HistoryRequest::Search(SearchRequest {
        text: "secret".to_owned(),
        target: Some(of.target()),
        from: None,
        since_us: None,
        before: 0,
        limit: 9,
    }))
}

fn role(of: Named, role: Role) -> Request {
    Request::Role { room: of.room(), user: owner(), role, on: true }
}

fn answering(of: Named, holding: Vec<u64>) -> Request {
    let queue = Label::new("q").ok();
    Request::Answer(Answering { stream: of.tag, queue, jobs: 1, done: holding.clone(), holding })
}

table! {
    Open [of: Request::Open { target: of.target() }]
    Join [of:
        join(of, Begin::Now, false),
        join(of, Begin::Last(9), true),
        join(of, Begin::After { run: BootId(1), seq: 1 }, true),
        join(of, Begin::Resume { run: BootId(1), seq: 1, room: of.id }, false),
    ]
    Part [of:
        Request::Part { stream: of.tag, forget: false },
        Request::Part { stream: of.tag, forget: true },
    ]
    Unfollow [of: Request::Unfollow { room: of.room() }]
    Rooms (names_no_room: "lists of rooms are compared on their own")
    CreateRoom (names_no_room: "a name that is taken can't be given again")
    Role [of: role(of, Role::Invited), role(of, Role::Banned), role(of, Role::Operator)]
    KickFromRoom [of: Request::KickFromRoom { room: of.room(), user: owner(), label: None }]
    Who [of: Request::Who { room: of.room(), skip: 0 }, Request::Who { room: of.room(), skip: 9 }]
    Kick (names_no_room: "a user")
    Drop (names_no_room: "a session")
    Audit (names_no_room: "acts of operators, for operators")
    Topic [of: Request::Topic { room: of.room(), topic: "a topic".to_owned() }]
    Away (names_no_room: "the user's own sessions")
    Back (names_no_room: "the user's own sessions")
    Announce [of: Request::Announce(of.announce())]
    Receipt (names_no_room: "announcements are compared on their own")
    Notices (names_no_room: "announcements are compared on their own")
    Notice (names_no_room: "announcements are compared on their own")
    AckNotice (names_no_room: "announcements are compared on their own")
    CancelNotice (names_no_room: "announcements are compared on their own")
    Will (names_no_room: "the rooms of the session")
    Listening [of: Request::Session(SessionRequest::Listening { stream: of.tag, charge_bytes: 1 << 20, slot: [0; 16] })]
    Deaf [of: Request::Session(SessionRequest::Deaf { stream: of.tag })]
    Span [of: Request::History(HistoryRequest::Span { target: of.target() })]
    Page [of: Request::History(HistoryRequest::Page { target: of.target(), first: 1, last: u64::MAX })]
    NumberAt [of: Request::History(HistoryRequest::NumberAt { target: of.target(), wall_us: 1 })]
    Search [of: search(of)]
    Unread [of: Request::History(HistoryRequest::Unread { target: Some(of.target()), skip: 0 })]
    MarkRead [of: Request::MarkRead { target: of.target(), seq: 1 }]
    DeleteRoom [of: Request::DeleteRoom { room: of.room() }]
    Active (names_no_room: "the session")
    Quit (names_no_room: "the session")
    Ask (names_no_room: "a counter of the session")
    Answer [of: answering(of, Vec::new()), answering(of, vec![1, 2])]
    Take [of: Request::Take { stream: of.tag, seq: 1 }]
    Answered [of: Request::Answered { stream: of.tag, seq: 1, failed: false, silent: false }]
    Link [of: Request::Link(LinkRequest::Export { stream: LinkedStream::Room(of.room()), renew: None })]
}

/// Each frame that can name a room.
fn frames(of: Named, counter: &mut u64) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = requests(of)
        .iter()
        .map(|request| bytes_of(|to| control::put_request(to, 1, request)))
        .collect();
    for to in [Destination::Stream(of.tag), Destination::Room(of.room()), Destination::Known(of.id)]
    {
        *counter += 1;
        let lines = vec![Line { reply_to: None, text: "a text".try_into().unwrap() }];
        let submit = Submit { first: *counter, to, to_label: None, lines };
        all.push(bytes_of(|bytes| control::put_submit(bytes, &submit)));
    }
    all.push(super::raw::report(of.tag, 1));
    all.push(bytes_of(|to| control::put_repair(to, of.tag, 1, 2)));
    all
}

/// Frames that a frame causes, up to the reply to a question behind it, without the room's name.
fn answer(raw: &mut Raw, of: Named, frame: &[u8]) -> Vec<String> {
    const FENCE: u32 = 77;
    raw.write(frame);
    raw.write(&bytes_of(|to| {
        control::put_request(to, FENCE, &Request::Session(SessionRequest::Active));
    }));
    let mut all = Vec::new();
    loop {
        let (kind, body) = raw.next_frame().expect("the session goes on");
        let Ok(ServerFrame::Session(frame)) = ServerFrame::read(kind, &body) else {
            all.push(format!("{kind:?} {body:?}"));
            continue;
        };
        match frame {
            Frame::Reply { serial: FENCE, .. } => return all,
            Frame::Event(Event::Ping) => {}
            Frame::Nack { refusal, .. } => all.push(without_name(of, &refusal)),
            frame => all.push(without_name(of, &frame)),
        }
    }
}

fn without_name(of: Named, what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").replace(of.name, "NAME")
}

/// The room's number and id, as its member knows them.
fn named(raw: &mut Raw, name: &'static str) -> Named {
    let info = raw.join(name, false).expect("a room");
    let id = info.room.expect("a room has an id").id;
    Named { name, tag: info.tag, id }
}

fn create(name: &str) -> Request {
    Request::CreateRoom { room: room(name), history: true, private: true, read_only: false }
}

/// A server where a stranger may not create rooms: then names that are taken give nothing away.
fn world() -> World {
    World::with_config(&format!("[policy]\ncreate_rooms = [\"@{}\"]\n", user_name(THIRD_UID)))
}

/// Two private rooms of the same kind, one of which is deleted again, and one that never existed.
fn rooms(socket: &Path) -> (Raw, [Named; 3]) {
    let mut owner = Raw::open(socket, THIRD_UID, None);
    owner.ask_all(&[create("merger-a"), create("merger-b")]);
    let (hidden, gone) = (named(&mut owner, "merger-a"), named(&mut owner, "merger-b"));
    let counter = |tag: StreamId| u64::from(tag.0);
    for of in [hidden, gone] {
        owner.submit_all(&Destination::Stream(of.tag), counter(of.tag), "a secret", 1);
        owner.ask(&Request::Ask { counter: counter(of.tag), again: false });
        owner.ask(&Request::Topic { room: of.room(), topic: "a secret".to_owned() });
    }
    let deleted = owner.ask(&Request::DeleteRoom { room: gone.room() });
    assert!(matches!(deleted, Some(Ok(Reply::Done))), "{deleted:?}");
    let never = Named { name: "merger-c", tag: StreamId(99), id: RoomId(7) };
    (owner, [hidden, gone, never])
}

#[test]
fn answers_about_a_private_room_are_those_about_none() {
    if !is_root() {
        return skipped("a private room needs root, to be two users");
    }
    let world = world();
    let _server = world.serve_with(&["--system"]);
    let (_owner, rooms) = rooms(&world.dir.join("socket"));
    let mut stranger = Raw::open(&world.dir.join("socket"), OTHER_UID, None);
    let mut counter = 0;
    let [hidden, gone, never] = rooms.map(|of| {
        let frames = frames(of, &mut counter);
        frames.iter().map(|frame| answer(&mut stranger, of, frame)).collect::<Vec<_>>()
    });
    let asked = requests(rooms[2]);
    let name = |at: usize| asked.get(at).map_or(format!("frame {at}"), |of| format!("{of:?}"));
    let mut differ = Vec::new();
    for (which, answers) in [("private", hidden), ("deleted", gone)] {
        let both =
            answers.into_iter().zip(&never).enumerate().filter(|(_, (is, never))| is != *never);
        differ.extend(both.map(|(at, (is, never))| {
            format!("{which}: {}: {is:?}, and of none: {never:?}", name(at))
        }));
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn lists_of_a_stranger_name_no_private_room() {
    if !is_root() {
        return skipped("a private room needs root, to be two users");
    }
    let world = world();
    let _server = world.serve_with(&["--system"]);
    let (mut owner, [hidden, ..]) = rooms(&world.dir.join("socket"));
    let announce = Announce { dry_run: false, ..hidden.announce() };
    let announced = owner.ask(&Request::Announce(announce));
    assert!(matches!(announced, Some(Ok(Reply::Announced { number: 1, .. }))), "{announced:?}");
    let mut stranger = Raw::open(&world.dir.join("socket"), OTHER_UID, None);
    let id = |number| AnnouncementId::Number(number);
    for list in [
        Request::Rooms { skip: 0 },
        Request::Notices { skip: 0 },
        Request::History(HistoryRequest::Unread { target: None, skip: 0 }),
        Request::Audit { skip: 0 },
        Request::Join {
            follow: Follow::Announcements,
            begin: Begin::Last(9),
            membership: true,
            keep: true,
        },
        Request::Join {
            follow: Follow::AllDirect,
            begin: Begin::Last(9),
            membership: true,
            keep: true,
        },
        Request::Drop { session: SessionId(1) },
        Request::History(HistoryRequest::Search(SearchRequest {
            text: "secret".to_owned(),
            target: None,
            from: None,
            since_us: None,
            before: 0,
            limit: 99,
        })),
    ] {
        let frame = bytes_of(|to| control::put_request(to, 1, &list));
        let all = answer(&mut stranger, hidden, &frame).concat();
        assert!(!all.contains("NAME") && !all.contains("secret"), "{list:?}: {all}");
    }
    type Ask = fn(AnnouncementId) -> Request;
    let asks: [Ask; 4] = [
        |id| Request::Notice { id },
        |id| Request::Receipt { id, skip: 0 },
        |id| Request::AckNotice { id },
        |id| Request::CancelNotice { id },
    ];
    for ask in asks {
        let [is, should] = [1, 9].map(|number| {
            let frame = bytes_of(|to| control::put_request(to, 1, &ask(id(number))));
            answer(&mut stranger, hidden, &frame).concat().replace(&format!("!{number}"), "!N")
        });
        assert_eq!(is, should, "{:?}", ask(id(1)));
    }
    let who = world.run_as(OTHER_UID, &["who", "--all", "--json"]).ok().out;
    assert!(!who.contains(hidden.name), "{who}");
}

#[test]
fn hits_of_a_search_do_not_count_what_others_say() {
    let world = World::new();
    let _server = world.serve();
    let mut raw = Raw::open(&world.dir.join("socket"), moot::os::own_uid(), None);
    raw.submit_all(&Destination::Room(room("den")), 1, "the word needle", 30);
    let mut found = Vec::new();
    while found.len() < 30 {
        let before = found.last().copied().unwrap_or(0);
        let search = Request::History(HistoryRequest::Search(SearchRequest {
            text: "needle".to_owned(),
            target: None,
            from: None,
            since_us: None,
            before,
            limit: 4,
        }));
        match raw.ask(&search) {
            Some(Ok(Reply::Hits { hits, .. })) if !hits.is_empty() => {
                found.extend(hits.iter().rev().map(|hit| hit.id));
            }
            other => panic!("after {found:?}: {other:?}"),
        }
    }
    let near = found.windows(2).filter(|two| two[0].abs_diff(two[1]) < 1 << 40).count();
    assert_eq!((found.len(), near), (30, 0), "{found:?}");
}
