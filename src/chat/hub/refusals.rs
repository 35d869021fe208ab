//! A refusal changes nothing: every request, in every way that it can be refused, leaves the hub as
//! it was.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]

use super::{
    Action, Hub, HubConfig, Rates,
    scene::{
        ANN, EVE, MIA, SAM, Scene, Store, announce, den, join, join_room, role, room, session, user,
    },
};
use crate::chat::linked::RemoteReceipt;
use crate::{
    chat::{
        frames::{ANNOUNCEMENTS, Destination, Frame, Hello, Line, Report, Submit},
        linked::{
            Import, ImportedMessage, LinkPosition, LinkRequest, LinkedStream, Roster, uid_of_host,
        },
        member::{Kind, Peer, SessionId},
        message::AnnouncementId,
        names::{HostName, Label, RoomName, Target, UserName},
        refusal::Refusal,
        reply::Reply,
        request::{
            Announce, Answering, Begin, Follow, HistoryRequest, Request, SearchRequest,
            SessionRequest,
        },
        rules::{Rights, Role},
        stream_id::StreamId,
        text::Text,
    },
    limits::{
        ANSWER_JOBS_MAX, ANSWERERS_PER_USER_MAX, AWAY_PER_USER_MAX, CONVERSATIONS_PER_USER_MAX,
        MARKS_PER_USER_MAX, NOTICE_BYTES_PER_USER_MAX, NOTICES_PER_USER_MAX,
        RECEIPT_ACKS_PER_USER_MAX, REPLIES_WAITING_PER_SESSION_MAX, REQUESTS_PER_USER_MAX,
        ROOM_ROLES_MAX, SCHEDULE_MS_MAX, SEARCH_BYTES_MAX, STREAMS_PER_SESSION_MAX, TEXT_BYTES_MAX,
        TOPIC_BYTES_MAX, WILL_BYTES_PER_ACCOUNT_MAX,
    },
};

/// Rate limit of the one case about it.
const MESSAGES_PER_SECOND: u64 = 3;

/// Sets the stage; returns the user who asks, and the request that is refused.
type Case = fn(&mut Scene) -> (u32, Request);

impl Hub {
    /// Returns everything that the hub knows, as sorted lines, without the fields that any frame
    /// changes: shares of the present turn, turns among the streams of a session, and the highest
    /// counter that it submitted.
    fn digest(&self) -> Vec<String> {
        let volatile = ["credit: ", "turn: ", "turn_us: ", "woken: ", "pull_from: ", "submitted: "];
        // What was looked at is paid for, whatever the answer.
        let all = self.out.without_looks(|| format!("{self:#?}"));
        let lines = all.lines().filter(|l| !volatile.iter().any(|v| l.trim_start().starts_with(v)));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }
}

/// Lines that one digest has more of than the other, with their signs.
fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let mut count = std::collections::BTreeMap::new();
    before.iter().for_each(|line| *count.entry(line).or_insert(0) -= 1);
    after.iter().for_each(|line| *count.entry(line).or_insert(0) += 1);
    let signed = count.into_iter().filter(|(_, n)| *n != 0);
    signed.map(|(line, n)| format!("{n:+}{line}")).take(20).collect()
}

/// Asks; returns the refusal, or what is wrong.
fn refusal(scene: &mut Scene, uid: u32, request: Request) -> Result<Refusal, String> {
    let id = session(uid);
    if let Some(question) = scene.ask(uid, request) {
        return Err(format!("the store is asked: {question:?}"));
    }
    let mut refusal = Err("it is not refused".to_owned());
    for action in scene.hub.actions() {
        match action {
            Action::Send(to, Frame::Reply { result: Err(why), .. }) if to == id => {
                refusal = Ok(why);
            }
            Action::Wake(to) if to == id => {}
            other => return Err(format!("it has an effect: {other:?}")),
        }
    }
    refusal
}

/// The stage of all cases: `den` is a public room, `vault` a private one, both of `ann`; `mia` and
/// `eve` are in `den`.
fn stage(adjust: impl FnOnce(&mut HubConfig)) -> Scene {
    let mut scene = Scene::with_rules(false, adjust);
    let vault =
        Request::CreateRoom { room: room("vault"), history: true, private: true, read_only: false };
    scene.request(ANN, vault).unwrap();
    for uid in [ANN, MIA, EVE] {
        scene.request(uid, join(Follow::Announcements, Begin::Now)).unwrap();
        scene.request(uid, join_room("den")).unwrap();
    }
    scene
}

/// A table with a row for each request: a variant without a row does not compile, and neither does
/// a row without cases that gives no reason.
macro_rules! table {
    ($($variant:ident $cases:tt)*) => {
        #[expect(dead_code, reason = "it is for the compiler")]
        fn every_request_has_a_row(request: &Request) {
            match request {
                $(table!(@pattern $variant) => {})*
            }
        }

        fn rows() -> Vec<(&'static str, &'static str, Case)> {
            let mut rows = Vec::new();
            $(table!(@row rows $variant $cases);)*
            rows
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
    (@pattern LinkBegin) => { Request::Link(LinkRequest::Begin { .. }) };
    (@pattern Export) => { Request::Link(LinkRequest::Export { .. }) };
    (@pattern Imports) => { Request::Link(LinkRequest::Imports { .. }) };
    (@pattern Import) => { Request::Link(LinkRequest::Import(_)) };
    (@pattern Roster) => { Request::Link(LinkRequest::Roster(_)) };
    (@pattern RemoteReceipt) => { Request::Link(LinkRequest::Receipt { .. }) };
    (@pattern PageOfAnnouncements) => { Request::Link(LinkRequest::Announcements { .. }) };
    (@pattern Find) => { Request::Link(LinkRequest::Find { .. }) };
    (@pattern $variant:ident) => { Request::$variant { .. } };
    (@row $rows:ident $variant:ident (never: $reason:literal)) => {};
    (@row $rows:ident $variant:ident { $($case:literal: $stage:expr;)+ }) => {
        $(
            let stage: Case = $stage;
            $rows.push((stringify!($variant), $case, stage));
        )+
    };
}

fn target(name: &str) -> Target {
    Target::Room(room(name))
}

fn direct(name: &str) -> Target {
    Target::User { user: UserName::new(name).unwrap(), label: None }
}

fn no_rights() -> Rights {
    Rights { operator: false, announce: [false; 4], create_rooms: false, join: false, link: false }
}

fn create(name: &str) -> Request {
    Request::CreateRoom { room: room(name), history: true, private: false, read_only: false }
}

fn kick_from(name: &str, user: UserName) -> Request {
    Request::KickFromRoom { room: room(name), user, label: None }
}

fn topic(name: &str, topic: String) -> Request {
    Request::Topic { room: room(name), topic }
}

fn in_den(text: &str) -> Announce {
    announce(Some(den()), text)
}

fn retained(text: &str) -> Announce {
    Announce { retain: true, ack: true, ..announce(None, text) }
}

/// Returns the id of an announcement of [`SAM`] that waits for its time.
fn scheduled(scene: &mut Scene) -> AnnouncementId {
    let at_us = Some(scene.now.wall_us + 1_000_000);
    let reply = scene.request(SAM, Request::Announce(Announce { at_us, ..announce(None, "x") }));
    let Ok(Reply::Scheduled { schedule, .. }) = reply else { panic!("{reply:?}") };
    AnnouncementId::Scheduled(schedule)
}

fn search(text: String, target: Option<Target>, from: Option<UserName>) -> Request {
    Request::History(HistoryRequest::Search(SearchRequest {
        text,
        target,
        from,
        since_us: None,
        before: 0,
        limit: 9,
    }))
}

/// The name of the room `den`, to look at.
fn invisible() -> RoomName {
    RoomName::existing("den\u{fe0f}").unwrap()
}

fn stranger() -> UserName {
    UserName::new("nobody-here").unwrap()
}

fn answering(scene: &Scene, queue: Option<&str>, jobs: u32) -> Answering {
    let queue = queue.map(|queue| Label::new(queue).unwrap());
    Answering { stream: scene.tag(), queue, jobs, holding: Vec::new(), done: Vec::new() }
}

fn id(number: u64) -> AnnouncementId {
    AnnouncementId::Number(number)
}

/// A user submits a text in `den`, and another one gets it.
fn submit(scene: &mut Scene, uid: u32, counter: u64) {
    let to = Destination::Stream(scene.tag());
    scene.say(session(uid), counter, to, "a job");
    scene.settle();
}

/// A user follows as many streams as a session may.
fn fill_session(scene: &mut Scene, uid: u32) {
    scene.hub.rules.rooms_per_user_max = usize::MAX;
    for n in 0.. {
        if scene.hub.sessions[&session(uid)].subs.len() == STREAMS_PER_SESSION_MAX {
            return;
        }
        scene.request(uid, join_room(&format!("room-{n}"))).unwrap();
    }
}

fn fill_conversations(scene: &mut Scene, uid: u32) {
    for n in 0..CONVERSATIONS_PER_USER_MAX as u32 {
        scene.hub.directory.conversations.insert((uid, 1_000 + n), Some(uid), ANNOUNCEMENTS);
    }
}

fn keep(name: &str) -> Request {
    let follow = Follow::Room(room(name));
    Request::Join { follow, begin: Begin::Now, membership: false, keep: true }
}

table! {
    Open {
        "a room that this user may not create": |scene| {
            scene.hub.set_rights(SAM, no_rights());
            (SAM, Request::Open { target: target("new") })
        };
        "a room more than the server has": |scene| {
            scene.hub.rules.rooms_max = 2;
            (SAM, Request::Open { target: target("new") })
        };
        "a private room": |_| (SAM, Request::Open { target: target("vault") });
        "a room that banned this user": |scene| {
            scene.request(ANN, role(SAM, Role::Banned, true)).unwrap();
            (SAM, Request::Open { target: target("den") })
        };
        "a room where this user is muted": |scene| {
            scene.request(ANN, role(SAM, Role::Muted, true)).unwrap();
            (SAM, Request::Open { target: target("den") })
        };
        "an unknown user": |_| (SAM, Request::Open { target: direct("nobody-here") });
        "a user who is away": |scene| {
            scene.hub.rules.persistent = false;
            (MIA, Request::Open { target: direct("sam") })
        };
        "a conversation too many": |scene| {
            fill_conversations(scene, MIA);
            (MIA, Request::Open { target: direct("sam") })
        };
        "a new room with an invisible character": |_| {
            (SAM, Request::Open { target: Target::Room(invisible()) })
        };
    }
    Join {
        "a private room": |_| (SAM, join_room("vault"));
        "a room that banned this user": |scene| {
            scene.request(ANN, role(SAM, Role::Banned, true)).unwrap();
            (SAM, keep("den"))
        };
        "a room for a user without the right": |scene| {
            scene.hub.set_rights(SAM, Rights { create_rooms: true, ..no_rights() });
            (SAM, keep("den"))
        };
        "a room more than the server has": |scene| {
            scene.hub.rules.rooms_max = 2;
            (SAM, join_room("new"))
        };
        "an unknown user": |_| (SAM, join(Follow::With(stranger()), Begin::Now));
        "a conversation too many": |scene| {
            fill_conversations(scene, MIA);
            (MIA, join(Follow::With(user(SAM)), Begin::Now))
        };
        "a new room with an invisible character": |_| {
            (SAM, join(Follow::Room(invisible()), Begin::Now))
        };
        "announcements as a stream too many": |scene| {
            fill_session(scene, SAM);
            (SAM, join(Follow::Announcements, Begin::Now))
        };
    }
    Part {
        "a stream that is not followed": |scene| {
            (SAM, Request::Part { stream: scene.tag(), forget: true })
        };
        "a stream that does not exist": |_| {
            (SAM, Request::Part { stream: StreamId(99), forget: true })
        };
    }
    Unfollow {
        "an unknown room": |_| (SAM, Request::Unfollow { room: room("new") });
        "a private room": |_| (SAM, Request::Unfollow { room: room("vault") });
        "a room that is not followed": |_| (SAM, Request::Unfollow { room: den() });
    }
    Rooms (never: "a list may be empty")
    CreateRoom {
        "a room that exists": |_| (SAM, create("den"));
        "a private room that exists": |_| (SAM, create("vault"));
        "a room for a user without the right": |scene| {
            scene.hub.set_rights(SAM, no_rights());
            (SAM, create("new"))
        };
        "a new room with an invisible character": |_| {
            let (history, private, read_only) = (true, false, false);
            (SAM, Request::CreateRoom { room: invisible(), history, private, read_only })
        };
        "a room more than the server has": |scene| {
            scene.hub.rules.rooms_max = 2;
            (SAM, create("new"))
        };
        "a room more than this user's share": |scene| {
            scene.hub.rules.rooms_per_user_max = 2;
            (ANN, create("new"))
        };
        "a room that is being deleted": |scene| {
            scene.store = Store::Waits;
            scene.ask(ANN, Request::DeleteRoom { room: den() });
            scene.settle();
            (SAM, create("den"))
        };
        "a room while too many answers wait for the store": |scene| {
            scene.store = Store::Waits;
            for n in 0..REPLIES_WAITING_PER_SESSION_MAX {
                scene.ask(ANN, create(&format!("new-{n}")));
            }
            scene.settle();
            (ANN, create("new"))
        };
    }
    Role {
        "an unknown room": |_| {
            (SAM, Request::Role { room: room("new"), user: user(MIA), role: Role::Muted, on: true })
        };
        "a private room": |_| {
            let room = room("vault");
            (SAM, Request::Role { room, user: user(MIA), role: Role::Invited, on: true })
        };
        "a member who is not an operator": |_| (MIA, role(EVE, Role::Banned, true));
        "an unknown user": |_| {
            (ANN, Request::Role { room: den(), user: stranger(), role: Role::Banned, on: true })
        };
        "the operator themself": |_| (ANN, role(ANN, Role::Banned, true));
        "the creator": |_| (0, role(ANN, Role::Banned, true));
        "an operator of the server": |_| (ANN, role(0, Role::Banned, true));
        "an invitation of a banned user": |scene| {
            scene.request(ANN, role(SAM, Role::Banned, true)).unwrap();
            (ANN, role(SAM, Role::Invited, true))
        };
        "a role too many": |scene| {
            let tag = scene.tag();
            let super::stream::StreamKind::Room { rules, .. } = &mut scene.hub.stream_mut(tag).topic
            else {
                panic!("den is a room");
            };
            for uid in 0..ROOM_ROLES_MAX as u32 {
                rules.set(1_000 + uid, Role::Muted, true);
            }
            (ANN, role(MIA, Role::Banned, true))
        };
        "the end of a ban that is none": |_| (ANN, role(MIA, Role::Banned, false));
        "the end of a mute that is none": |_| (ANN, role(MIA, Role::Muted, false));
        "the end of an invitation that is none": |_| (ANN, role(MIA, Role::Invited, false));
        "the end of a role that is none": |_| (ANN, role(MIA, Role::Operator, false));
    }
    KickFromRoom {
        "an unknown room": |_| (SAM, kick_from("new", user(MIA)));
        "a private room": |_| (SAM, kick_from("vault", user(MIA)));
        "a member who is not an operator": |_| (MIA, kick_from("den", user(EVE)));
        "an unknown user": |_| (ANN, kick_from("den", stranger()));
        "the creator": |_| (0, kick_from("den", user(ANN)));
        "a user who is not there": |_| (ANN, kick_from("den", user(SAM)));
        "a stranger of a private room": |_| (ANN, kick_from("vault", user(SAM)));
        "a label that is not there": |_| {
            let label = Some(Label::new("ci").unwrap());
            (ANN, Request::KickFromRoom { room: den(), user: user(MIA), label })
        };
    }
    Who {
        "an unknown room": |_| (SAM, Request::Who { room: room("new"), skip: 0 });
        "a private room": |_| (SAM, Request::Who { room: room("vault"), skip: 0 });
        "a room that banned this user": |scene| {
            scene.request(ANN, role(SAM, Role::Banned, true)).unwrap();
            (SAM, Request::Who { room: den(), skip: 0 })
        };
    }
    Kick {
        "an unknown user": |_| (0, Request::Kick { user: stranger(), label: None });
        "another user": |_| (SAM, Request::Kick { user: user(MIA), label: None });
        "the only session of this user": |_| (SAM, Request::Kick { user: user(SAM), label: None });
        "a label that is not there": |_| {
            (0, Request::Kick { user: user(MIA), label: Some(Label::new("ci").unwrap()) })
        };
    }
    Drop {
        "an unknown session": |_| (0, Request::Drop { session: SessionId(99) });
        "a session of another user": |_| (SAM, Request::Drop { session: session(MIA) });
        "the session itself": |_| (SAM, Request::Drop { session: session(SAM) });
    }
    Audit {
        "a user who is not an operator": |_| (SAM, Request::Audit { skip: 0 });
    }
    Topic {
        "a long one": |_| (ANN, topic("den", "x".repeat(TOPIC_BYTES_MAX + 1)));
        "an unknown room": |_| (ANN, topic("new", "x".to_owned()));
        "a private room": |_| (SAM, topic("vault", "x".to_owned()));
        "a member who is not an operator": |_| (MIA, topic("den", "x".to_owned()));
    }
    Away {
        "a label too many": |scene| {
            let away = |n: usize| {
                let label = Some(Label::new(&format!("ci-{n}")).unwrap());
                Request::Away { label, text: "lunch".to_owned() }
            };
            for n in 0..AWAY_PER_USER_MAX {
                scene.request(SAM, away(n)).unwrap();
            }
            (SAM, away(AWAY_PER_USER_MAX))
        };
    }
    Back (never: "a user who is not away is back")
    Announce {
        "a level that this user may not use": |scene| {
            scene.hub.set_rights(SAM, no_rights());
            (SAM, Request::Announce(announce(None, "x")))
        };
        "a user over the quota of the history": |scene| {
            scene.hub.set_over_history([(SAM, 1)].into());
            (SAM, Request::Announce(announce(None, "x")))
        };
        "an unknown room": |_| (SAM, Request::Announce(announce(Some(room("new")), "x")));
        "a private room": |_| (SAM, Request::Announce(announce(Some(room("vault")), "x")));
        "a room where this user is muted": |scene| {
            scene.request(ANN, role(SAM, Role::Muted, true)).unwrap();
            (SAM, Request::Announce(in_den("x")))
        };
        "a room that is being deleted": |scene| {
            scene.store = Store::Waits;
            submit(scene, MIA, 1);
            scene.ask(ANN, Request::DeleteRoom { room: den() });
            scene.settle();
            (SAM, Request::Announce(in_den("x")))
        };
        "a user over the rate limit": |scene| {
            for _ in 0..=MESSAGES_PER_SECOND {
                scene.request(SAM, Request::Announce(announce(None, "x"))).unwrap();
            }
            (SAM, Request::Announce(announce(None, "x")))
        };
        "too many that are not published": |scene| {
            scene.store = Store::Waits;
            for _ in 0..NOTICES_PER_USER_MAX {
                scene.ask(SAM, Request::Announce(announce(None, "x")));
            }
            scene.settle();
            (SAM, Request::Announce(announce(None, "x")))
        };
        "a time too far away": |scene| {
            let at_us = scene.now.wall_us + SCHEDULE_MS_MAX.cast_signed() * 1000 + 1;
            (SAM, Request::Announce(Announce { at_us: Some(at_us), ..announce(None, "x") }))
        };
        "too many bytes that are retained": |scene| {
            for text in ["x".repeat(TEXT_BYTES_MAX), "x".repeat(TEXT_BYTES_MAX)] {
                scene.request(SAM, Request::Announce(retained(&text))).unwrap();
            }
            assert_eq!(2 * TEXT_BYTES_MAX, NOTICE_BYTES_PER_USER_MAX);
            (SAM, Request::Announce(retained("x")))
        };
    }
    Receipt {
        "an unknown announcement": |_| (SAM, Request::Receipt { id: id(9), skip: 0 });
        "one to a private room": |scene| {
            scene.request(ANN, Request::Announce(announce(Some(room("vault")), "x"))).unwrap();
            (SAM, Request::Receipt { id: id(1), skip: 0 })
        };
        "one that waits for its time": |scene| {
            (SAM, Request::Receipt { id: scheduled(scene), skip: 0 })
        };
    }
    Notices (never: "a list may be empty")
    Notice {
        "an unknown announcement": |_| (SAM, Request::Notice { id: id(9) });
        "one to a private room": |scene| {
            scene.request(ANN, Request::Announce(announce(Some(room("vault")), "x"))).unwrap();
            (SAM, Request::Notice { id: id(1) })
        };
    }
    AckNotice {
        "an unknown announcement": |_| (SAM, Request::AckNotice { id: id(9) });
        "one to a private room": |scene| {
            scene.request(ANN, Request::Announce(announce(Some(room("vault")), "x"))).unwrap();
            (SAM, Request::AckNotice { id: id(1) })
        };
        "a canceled one": |scene| {
            scene.request(ANN, Request::Announce(retained("x"))).unwrap();
            scene.request(ANN, Request::CancelNotice { id: id(1) }).unwrap();
            (MIA, Request::AckNotice { id: id(1) })
        };
        "one that waits for its time": |scene| {
            (SAM, Request::AckNotice { id: scheduled(scene) })
        };
        "too many names of this user": |scene| {
            scene.request(ANN, Request::Announce(retained("x"))).unwrap();
            for n in 0..RECEIPT_ACKS_PER_USER_MAX as u64 {
                let id = SessionId(1_000 + n);
                let peer = Peer { uid: SAM, user: user(SAM), pid: 999, start: n };
                let label = Some(Label::new(&format!("ci-{n}")).unwrap());
                let hello = Hello::new(label, Kind::Person, [0; 16]);
                scene.hub.open(scene.now, id, peer, hello).unwrap();
                scene.hub.request(scene.now, id, 1, Request::AckNotice { id: self::id(1) });
            }
            scene.settle();
            (SAM, Request::AckNotice { id: id(1) })
        };
    }
    CancelNotice {
        "an unknown announcement": |_| (SAM, Request::CancelNotice { id: id(9) });
        "one of another user": |scene| {
            scene.request(ANN, Request::Announce(retained("x"))).unwrap();
            (SAM, Request::CancelNotice { id: id(1) })
        };
        "a canceled one": |scene| {
            scene.request(ANN, Request::Announce(retained("x"))).unwrap();
            scene.request(ANN, Request::CancelNotice { id: id(1) }).unwrap();
            (ANN, Request::CancelNotice { id: id(1) })
        };
        "an expired one": |scene| {
            let short = Announce { expires_us: Some(1), ..retained("x") };
            scene.request(ANN, Request::Announce(short)).unwrap();
            scene.pass(10);
            (ANN, Request::CancelNotice { id: id(1) })
        };
    }
    Will {
        "too many bytes": |scene| {
            let text = Text::new(&"x".repeat(TEXT_BYTES_MAX)).unwrap();
            for n in 0..(WILL_BYTES_PER_ACCOUNT_MAX / TEXT_BYTES_MAX) as u64 {
                let id = SessionId(1_000 + n);
                scene.open(id, SAM);
                let will = Request::Will { text: Some(text.clone()) };
                scene.hub.request(scene.now, id, 1, will);
            }
            scene.settle();
            (SAM, Request::Will { text: Some(text) })
        };
    }
    Listening (never: "a session that does not follow the stream is not refused, and changes nothing")
    Deaf (never: "a session that does not follow the stream is not refused, and changes nothing")
    Span {
        "an unknown room": |_| (SAM, Request::History(HistoryRequest::Span { target: target("new") }));
        "a private room": |_| (SAM, Request::History(HistoryRequest::Span { target: target("vault") }));
        "a conversation that there is not": |_| (SAM, Request::History(HistoryRequest::Span { target: direct("mia") }));
        "an unknown user": |_| (SAM, Request::History(HistoryRequest::Span { target: direct("nobody-here") }));
    }
    Page {
        "a private room": |_| (SAM, Request::History(HistoryRequest::Page { target: target("vault"), first: 1, last: 9 }));
    }
    NumberAt {
        "a private room": |_| (SAM, Request::History(HistoryRequest::NumberAt { target: target("vault"), wall_us: 1 }));
    }
    Search {
        "no word": |_| (SAM, search(" ".to_owned(), None, None));
        "results of an earlier run": |_| {
            let mut search = search("x".to_owned(), None, None);
            if let Request::History(HistoryRequest::Search(SearchRequest { before, .. })) = &mut search {
                *before = 1;
            }
            (SAM, search)
        };
        "long words": |_| (SAM, search("x".repeat(SEARCH_BYTES_MAX + 1), None, None));
        "a private room": |_| (SAM, search("x".to_owned(), Some(target("vault")), None));
        "an unknown user": |_| (SAM, search("x".to_owned(), None, Some(stranger())));
        "a room without history": |scene| {
            let room = room("memory");
            let create =
                Request::CreateRoom { room, history: false, private: false, read_only: false };
            scene.request(ANN, create).unwrap();
            (SAM, search("x".to_owned(), Some(target("memory")), None))
        };
    }
    Unread {
        "a private room": |_| (SAM, Request::History(HistoryRequest::Unread { target: Some(target("vault")), skip: 0 }));
    }
    MarkRead {
        "a private room": |_| (SAM, Request::MarkRead { target: target("vault"), seq: 1 });
        "a mark too many": |scene| {
            for n in 0..MARKS_PER_USER_MAX as u32 {
                scene.hub.follows.set_mark((SAM, None), StreamId(1_000 + n), 1);
            }
            (SAM, Request::MarkRead { target: target("den"), seq: 1 })
        };
    }
    DeleteRoom {
        "an unknown room": |_| (SAM, Request::DeleteRoom { room: room("new") });
        "a private room": |_| (SAM, Request::DeleteRoom { room: room("vault") });
        "a room of another user": |_| (MIA, Request::DeleteRoom { room: den() });
    }
    Active (never: "it asks for nothing")
    Quit (never: "a session may always end")
    Ask {
        "a counter that was never submitted": |_| (MIA, Request::Ask { counter: 9, again: true });
        "a room that is not followed": |scene| {
            submit(scene, SAM, 1);
            (SAM, Request::Ask { counter: 1, again: false })
        };
        "a direct message": |scene| {
            let open = scene.request(MIA, Request::Open { target: direct("eve") });
            let Ok(Reply::Opened(info)) = open else { panic!("{open:?}") };
            scene.say(session(MIA), 1, Destination::Stream(info.tag), "x");
            scene.settle();
            (MIA, Request::Ask { counter: 1, again: false })
        };
        "a job too many": |scene| {
            for counter in 1..=REQUESTS_PER_USER_MAX as u64 {
                submit(scene, MIA, counter);
                scene.request(MIA, Request::Ask { counter, again: false }).unwrap();
            }
            let counter = REQUESTS_PER_USER_MAX as u64 + 1;
            submit(scene, MIA, counter);
            (MIA, Request::Ask { counter, again: false })
        };
    }
    Answer {
        "a room that is not followed": |scene| (SAM, Request::Answer(answering(scene, None, 1)));
        "a room where this user is muted": |scene| {
            scene.request(ANN, role(MIA, Role::Muted, true)).unwrap();
            (MIA, Request::Answer(answering(scene, None, 1)))
        };
        "a queue with an invisible character": |scene| {
            let queue = Some(Label::existing("q\u{fe0f}").unwrap());
            (MIA, Request::Answer(Answering { queue, ..answering(scene, None, 1) }))
        };
        "no job at a time": |scene| (MIA, Request::Answer(answering(scene, None, 0)));
        "too many jobs": |scene| {
            let holding = (1..=ANSWER_JOBS_MAX as u64 + 1).collect();
            (MIA, Request::Answer(Answering { holding, ..answering(scene, None, 1) }))
        };
        "another queue": |scene| {
            let first = Request::Answer(answering(scene, Some("q"), 1));
            scene.request(MIA, first).unwrap();
            (MIA, Request::Answer(answering(scene, Some("r"), 1)))
        };
        "a worker too many": |scene| {
            for n in 0..ANSWERERS_PER_USER_MAX as u64 {
                let id = SessionId(1_000 + n);
                scene.open(id, EVE);
                scene.hub.request(scene.now, id, 1, join_room("den"));
                let answer = Request::Answer(answering(scene, None, 1));
                scene.hub.request(scene.now, id, 1, answer);
            }
            scene.settle();
            scene.request(MIA, Request::Answer(answering(scene, None, 1))).unwrap();
            (EVE, Request::Answer(answering(scene, None, 1)))
        };
    }
    Take {
        "a job that was not offered": |scene| {
            submit(scene, MIA, 1);
            let stream = scene.tag();
            scene.request(MIA, Request::Ask { counter: 1, again: false }).unwrap();
            (EVE, Request::Take { stream, seq: 101 })
        };
    }
    Answered {
        "a job of another worker": |scene| {
            submit(scene, MIA, 1);
            let stream = scene.tag();
            scene.request(MIA, Request::Ask { counter: 1, again: false }).unwrap();
            (EVE, Request::Answered { stream, seq: 101, failed: false, silent: true })
        };
    }
    LinkBegin {
        "a user whom the policy does not name": |_| (SAM, begin_link());
        "a server without a history": |scene| {
            (scene.hub.rules.store, scene.hub.rules.persistent) = (false, false);
            (0, begin_link())
        };
        "a second link": |scene| {
            scene.request(0, begin_link()).unwrap();
            let rights = Rights { link: true, ..Rights::EVERYBODY };
            scene.hub.set_rights(SAM, rights);
            (SAM, begin_link())
        };
    }
    Export {
        "a session that is no link": |_| (0, export("den"));
        "a room without history": |scene| {
            scene.request(0, begin_link()).unwrap();
            let memory = Request::CreateRoom {
                room: room("ram"),
                history: false,
                private: false,
                read_only: false,
            };
            scene.request(ANN, memory).unwrap();
            (0, export("ram"))
        };
        "a private room that the link may not read": |scene| {
            scene.request(0, begin_link()).unwrap();
            (0, export("vault"))
        };
    }
    Imports {
        "a session that is no link": |_| (0, Request::Link(LinkRequest::Imports { skip: 0 }));
    }
    Import {
        "a session that is no link": |_| (0, import("db1", &[1]));
        "this host": |scene| {
            scene.request(0, begin_link()).unwrap();
            (0, import("web1", &[1]))
        };
        "numbers that do not rise": |scene| {
            scene.request(0, begin_link()).unwrap();
            (0, import("db1", &[2, 1]))
        };
        "a host whose texts fill the history": |scene| {
            scene.request(0, begin_link()).unwrap();
            let uid = uid_of_host(&HostName::new("db1").unwrap());
            scene.hub.set_over_history([(uid, 1)].into());
            (0, import("db1", &[1]))
        };
    }
    Roster {
        "a session that is no link": |_| (0, roster("db1"));
        "this host": |scene| {
            scene.request(0, begin_link()).unwrap();
            (0, roster("web1"))
        };
    }
    RemoteReceipt {
        "an announcement that does not exist": |scene| {
            scene.request(0, begin_link()).unwrap();
            (0, remote_receipt(RemoteReceipt::default()))
        };
        "more reached than there are members": |scene| {
            scene.request(0, begin_link()).unwrap();
            scene.request(ANN, Request::Announce(announce(None, "x"))).unwrap();
            (0, remote_receipt(RemoteReceipt { reached: 1, ..RemoteReceipt::default() }))
        };
    }
    PageOfAnnouncements {
        "a session that is no link": |_| {
            (0, Request::Link(LinkRequest::Announcements { first: 1, last: 9 }))
        };
    }
    Find {
        "a room that is absent": |scene| {
            scene.request(0, begin_link()).unwrap();
            let host = HostName::new("db1").unwrap();
            (0, Request::Link(LinkRequest::Find { stream: LinkedStream::Room(room("nosuch")), host, seq: 1 }))
        };
    }
}

fn begin_link() -> Request {
    Request::Link(LinkRequest::Begin { host: HostName::new("web1").unwrap() })
}

fn export(name: &str) -> Request {
    Request::Link(LinkRequest::Export { stream: LinkedStream::Room(room(name)), renew: None })
}

fn import(host: &str, seqs: &[u64]) -> Request {
    let message = |seq: &u64| ImportedMessage {
        seq: *seq,
        user: UserName::new("bob").unwrap(),
        label: None,
        kind: Kind::Person,
        wall_us: 1,
        reply_to: None,
        notice: None,
        text: Text::new("hi").unwrap(),
    };
    Request::Link(LinkRequest::Import(Import {
        host: HostName::new(host).unwrap(),
        stream: LinkedStream::Room(room("den")),
        prev: LinkPosition { generation: 1, seq: 0 },
        upto: 9,
        gap_after: Some(LinkPosition::default()),
        messages: seqs.iter().map(message).collect(),
    }))
}

fn remote_receipt(receipt: RemoteReceipt) -> Request {
    let host = HostName::new("db1").unwrap();
    Request::Link(LinkRequest::Receipt { number: 1, host, receipt })
}

fn roster(host: &str) -> Request {
    let host = HostName::new(host).unwrap();
    let roster =
        Roster { host, reachable: true, announces: true, members: Vec::new(), is_last: true };
    Request::Link(LinkRequest::Roster(roster))
}

#[test]
fn refused_request_changes_nothing() {
    let mut wrong = Vec::new();
    for (request, case, set_up) in rows() {
        let rates = Rates { messages: MESSAGES_PER_SECOND, ..Rates::default() };
        let limited = case == "a user over the rate limit";
        let mut scene = stage(|rules| rules.rates = if limited { rates } else { rules.rates });
        let (uid, request_refused) = set_up(&mut scene);
        scene.hub.actions();
        scene.hub.take_unread_changed();
        let before = scene.hub.digest();
        match refusal(&mut scene, uid, request_refused) {
            Ok(_) => {
                let changed = difference(&before, &scene.hub.digest());
                if !changed.is_empty() {
                    wrong.push(format!("{request}, {case}: changed {changed:#?}"));
                }
            }
            Err(why) => wrong.push(format!("{request}, {case}: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Submits a text that is refused; returns the lines that are different afterwards.
fn refused_submit(scene: &mut Scene, to: Destination, reply_to: Option<u64>) -> Vec<String> {
    scene.hub.actions();
    let before = scene.hub.digest();
    let lines = vec![Line { reply_to, text: "x".try_into().unwrap() }];
    scene.hub.submit(scene.now, session(SAM), &Submit { first: 9, to, to_label: None, lines });
    let actions: Vec<_> = scene.hub.actions().collect();
    let refused = |a: &Action| matches!(a, Action::Send(_, Frame::Nack { first: 9, count: 1, .. }));
    assert!(matches!(&actions[..], [action] if refused(action)), "{actions:?}");
    difference(&before, &scene.hub.digest())
}

#[test]
fn refused_submit_changes_nothing() {
    let den_tag = stage(|_| {}).tag();
    type SetUp = fn(&mut Scene);
    let nothing: SetUp = |_| {};
    let muted: SetUp = |scene| drop(scene.request(ANN, role(SAM, Role::Muted, true)).unwrap());
    let over: SetUp = |scene| scene.hub.set_over_history([(SAM, 1)].into());
    let ending: SetUp = |scene| {
        scene.store = Store::Waits;
        submit(scene, MIA, 1);
        scene.ask(ANN, Request::DeleteRoom { room: den() });
        scene.settle();
    };
    let named = |name: &str| Destination::Room(room(name));
    let cases: [(&str, SetUp, Destination, Option<u64>); 8] = [
        ("no stream", nothing, Destination::Stream(StreamId(99)), None),
        ("announcements", nothing, Destination::Stream(ANNOUNCEMENTS), None),
        ("private", nothing, named("vault"), None),
        ("invisible character", nothing, Destination::Room(invisible()), None),
        ("muted", muted, named("den"), None),
        ("over the quota", over, Destination::Stream(den_tag), None),
        ("room that is being deleted", ending, named("den"), None),
        ("reply to nothing", nothing, named("den"), Some(9_999)),
    ];
    for (case, set_up, to, reply_to) in cases {
        let mut scene = stage(|_| {});
        set_up(&mut scene);
        assert_eq!(refused_submit(&mut scene, to, reply_to), [""; 0], "{case}");
    }
}

#[test]
fn report_or_repair_of_nonsense_changes_nothing() {
    let mut scene = stage(|_| {});
    let (tag, mia) = (scene.tag(), session(MIA));
    let before = scene.hub.digest();
    for stream in [StreamId(99), ANNOUNCEMENTS, tag] {
        for id in [mia, session(SAM), SessionId(99)] {
            let report = Report { stream, delivered: 0, by_broadcast: u64::MAX, datagrams: 0 };
            scene.hub.report(scene.now, id, &report);
            for (first, last) in [(0, 0), (9, 1), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
                scene.hub.repair(scene.now, id, stream, first, last);
            }
        }
    }
    assert_eq!(difference(&before, &scene.hub.digest()), [""; 0]);
    assert!(!scene.hub.has_actions());
}

#[test]
fn refused_session_changes_nothing() {
    for full in [true, false] {
        // Each process is an account, so that the refused one is of a new one.
        let mut scene = stage(|rules| rules.host = false);
        let rules = &mut scene.hub.rules;
        match full {
            true => rules.sessions_max = 1,
            false => rules.sessions_per_user_max = 1,
        }
        let before = scene.hub.digest();
        // A new process; or one that has a session.
        let pid = if full { 9 } else { 100 + SAM };
        let peer = Peer { uid: SAM, user: user(SAM), pid, start: 0 };
        let hello = Hello::new(None, Kind::Person, [9; 16]);
        scene.hub.open(scene.now, SessionId(99), peer, hello).unwrap_err();
        assert_eq!(difference(&before, &scene.hub.digest()), [""; 0], "full: {full}");
        assert!(!scene.hub.has_actions());
    }
}
