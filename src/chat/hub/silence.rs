//! A stranger gets the same answers about hidden things as about things that never were, byte for
//! byte: every request and submit, by every way to name a thing.

use super::{
    Action,
    scene::{ANN, EVE, MIA, SAM, Scene, Store, announce, join, join_room, room, session, user},
};
use crate::{
    chat::{
        frames::{Destination, Frame, Line, Submit},
        message::{AnnouncementId, BootId},
        names::{RoomName, Target},
        refusal::Refusal,
        reply::Reply,
        request::{
            Announce, Answering, Begin, Follow, HistoryRequest, Request, SearchRequest,
            SessionRequest,
        },
        rules::{Rights, Role},
        stream_id::{RoomId, StreamId},
    },
    limits::STREAMS_PER_SESSION_MAX,
};

/// All names by which a thing can be asked for.
#[derive(Debug, Clone)]
struct Thing {
    room: RoomName,
    tag: StreamId,
    id: RoomId,
    notice: u64,
    scheduled: u64,
    /// A number in it, of a message or a job.
    seq: u64,
}

impl Thing {
    fn target(&self) -> Target {
        Target::Room(self.room.clone())
    }
}

/// Names of the same length, so that answers differ in nothing else.
const HIDDEN: &str = "vault";
const DELETED: &str = "grave";
const ENDING: &str = "dying";
const NEVER: &str = "never";

/// A private room with a message, a job, an announcement and a scheduled one.
fn furnish(scene: &mut Scene, name: &str, counter: u64) -> Thing {
    let (history, private, read_only) = (true, true, false);
    let create = Request::CreateRoom { room: room(name), history, private, read_only };
    scene.request(ANN, create).unwrap();
    let joined = scene.request(ANN, join_room(name));
    let Ok(Reply::Joined(infos)) = joined else { panic!("{joined:?}") };
    let (tag, id) = (infos[0].tag, infos[0].room.unwrap().id);
    scene.say(session(ANN), counter, Destination::Stream(tag), "a job");
    scene.settle();
    scene.request(ANN, Request::Ask { counter, again: false }).unwrap();
    let to_all = announce(Some(room(name)), "x");
    let news = scene.request(ANN, Request::Announce(to_all.clone()));
    let Ok(Reply::Announced { number: notice, .. }) = news else { panic!("{news:?}") };
    let at_us = Some(scene.now.wall_us + 1_000_000_000);
    let later = scene.request(ANN, Request::Announce(Announce { at_us, ..to_all }));
    let Ok(Reply::Scheduled { schedule: scheduled, .. }) = later else { panic!("{later:?}") };
    Thing { room: room(name), tag, id, notice, scheduled, seq: 1 }
}

/// The users to whom nothing may be revealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    Plain,
    /// May not create rooms.
    Restricted,
    /// Follows as many streams as a session may.
    Full,
    /// Has used the quota of the history.
    OverQuota,
    /// Was in the rooms, and no longer is.
    Removed,
}

const STRANGERS: [Stranger; 5] =
    [Stranger::Plain, Stranger::Restricted, Stranger::Full, Stranger::OverQuota, Stranger::Removed];

/// A world that is the same each time, in which a user asks; with what is hidden, deleted, being
/// deleted, of other users, and what never was.
fn world(stranger: Stranger) -> (Scene, [Thing; 5]) {
    let mut scene = Scene::with_rules(false, |rules| rules.secret = [1, 2]);
    let deleted = furnish(&mut scene, DELETED, 1);
    let hidden = furnish(&mut scene, HIDDEN, 2);
    let ending = furnish(&mut scene, ENDING, 3);
    if stranger == Stranger::Removed {
        for thing in [&deleted, &hidden, &ending] {
            let invite = |on| {
                let (room, user) = (thing.room.clone(), user(SAM));
                Request::Role { room, user, role: Role::Invited, on }
            };
            scene.request(ANN, invite(true)).unwrap();
            scene.request(SAM, join(Follow::Room(thing.room.clone()), Begin::Now)).unwrap();
            scene.request(ANN, invite(false)).unwrap();
        }
    }
    scene.request(ANN, Request::DeleteRoom { room: deleted.room.clone() }).unwrap();
    let opened =
        scene.request(MIA, Request::Open { target: Target::User { user: user(EVE), label: None } });
    let Ok(Reply::Opened(promised)) = opened else { panic!("{opened:?}") };
    scene.say(session(MIA), 1, Destination::Stream(promised.tag), "psst");
    scene.settle();
    match stranger {
        Stranger::Plain | Stranger::Removed => {}
        Stranger::Restricted => {
            let rights = Rights { create_rooms: false, ..Rights::EVERYBODY };
            scene.hub.set_rights(SAM, rights);
        }
        Stranger::Full => {
            for n in 0..STREAMS_PER_SESSION_MAX {
                scene.ask(SAM, join_room(&format!("room-{n}")));
            }
            scene.settle();
            assert_eq!(scene.hub.sessions[&session(SAM)].subs.len(), STREAMS_PER_SESSION_MAX);
        }
        Stranger::OverQuota => scene.hub.set_over_history([(SAM, 1)].into()),
    }
    scene.store = Store::Waits;
    scene.ask(ANN, Request::DeleteRoom { room: ending.room.clone() });
    scene.settle();
    scene.sent.clear();
    let never = Thing {
        room: room(NEVER),
        tag: StreamId(hidden.tag.0 ^ 1),
        id: RoomId(hidden.id.0 ^ 1),
        notice: 99,
        scheduled: 99,
        seq: 7,
    };
    assert!(scene.hub.known_stream(never.tag).is_none());
    let conversation = Thing { tag: promised.tag, ..never.clone() };
    (scene, [hidden, deleted, ending, conversation, never])
}

/// Everything that the stranger gets for a request, encoded, with each name written the same.
fn answer(scene: &mut Scene, request: &Request) -> String {
    match scene.ask(SAM, request.clone()) {
        Some(question) => format!("{question:?}"),
        None => frames(scene),
    }
}

fn frames(scene: &mut Scene) -> String {
    scene.settle();
    // What changed something is answered once that is stored.
    scene.answer_store(Store::Commits);
    let mut all = String::new();
    for (_, frame) in scene.sent.drain(..).filter(|(to, _)| *to == session(SAM)) {
        all += &match frame {
            Frame::Reply { serial, result } => encoded(serial, &result),
            Frame::Event(event) => serde_json::to_string(&event).unwrap(),
            Frame::Ack(ack) => format!("{ack:?}"),
            Frame::Nack { first, count, refusal } => {
                format!("{first} {count} {}", serde_json::to_string(&refusal).unwrap())
            }
        };
        all.push('\n');
    }
    all
}

fn encoded(serial: u32, result: &Result<Reply, Refusal>) -> String {
    format!("{serial} {}", serde_json::to_string(result).unwrap())
}

fn of(answer: String, thing: &Thing) -> String {
    let named = [
        (thing.room.to_string(), "ROOM"),
        (format!("!{} ", thing.notice), "!N "),
        (format!("!{}\"", thing.notice), "!N\""),
        (format!("!+{}\"", thing.scheduled), "!S\""),
    ];
    named.into_iter().fold(answer, |all, (name, same)| all.replace(&name, same))
}

/// A row for each request: a variant without a row does not compile. `makes`: it creates a room of
/// a name that is free, so that a name that is not free is answered in another way.
macro_rules! table {
    ($($variant:ident $requests:tt)*) => {
        #[expect(dead_code, reason = "it is for the compiler")]
        fn every_request_has_a_row(request: &Request) {
            match request {
                $(table!(@pattern $variant) => {})*
            }
        }

        fn rows() -> Vec<(&'static str, bool, fn(&Thing) -> Vec<Request>)> {
            let mut rows: Vec<(&'static str, bool, fn(&Thing) -> Vec<Request>)> = Vec::new();
            $(table!(@row rows $variant $requests);)*
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
    (@pattern Link) => { Request::Link(_) };
    (@pattern $variant:ident) => { Request::$variant { .. } };
    (@row $rows:ident $variant:ident (names: $nothing:literal)) => {};
    (@row $rows:ident $variant:ident { makes: $requests:expr }) => {
        $rows.push((stringify!($variant), true, $requests));
    };
    (@row $rows:ident $variant:ident { $requests:expr }) => {
        $rows.push((stringify!($variant), false, $requests));
    };
}

fn join_with(t: &Thing, begin: Begin, keep: bool) -> Request {
    Request::Join { follow: Follow::Room(t.room.clone()), begin, membership: true, keep }
}

table! {
    Open { makes: |t| vec![Request::Open { target: t.target() }] }
    Join { makes: |t| {
        let (run, seq) = (BootId(1), t.seq);
        vec![
            join_with(t, Begin::Resume { run, seq, room: t.id }, false),
            join_with(t, Begin::After { run, seq }, true),
            join_with(t, Begin::Now, false),
            join_with(t, Begin::Last(9), true),
        ]
    } }
    Part { |t| vec![Request::Part { stream: t.tag, forget: true }] }
    Unfollow { |t| vec![Request::Unfollow { room: t.room.clone() }] }
    Rooms (names: "nothing")
    CreateRoom { makes: |t| {
        let create = |private| {
            Request::CreateRoom { room: t.room.clone(), history: true, private, read_only: false }
        };
        vec![create(false), create(true)]
    } }
    Role { |t| {
        let role = |role, on| Request::Role { room: t.room.clone(), user: user(SAM), role, on };
        vec![role(Role::Invited, true), role(Role::Banned, false), role(Role::Operator, true)]
    } }
    KickFromRoom { |t| {
        vec![Request::KickFromRoom { room: t.room.clone(), user: user(MIA), label: None }]
    } }
    Who { |t| vec![Request::Who { room: t.room.clone(), skip: 0 }] }
    Kick (names: "users, who are listed for all")
    Drop (names: "sessions, which are listed for all")
    Audit (names: "nothing")
    Topic { |t| {
        let topic = |topic: String| Request::Topic { room: t.room.clone(), topic };
        vec![topic(String::new()), topic("x".repeat(9_999))]
    } }
    Away (names: "a label of the user")
    Back (names: "a label of the user")
    Announce { |t| {
        let to = || announce(Some(t.room.clone()), "x");
        let later = Announce { at_us: Some(1 << 60), ..to() };
        vec![Request::Announce(to()), Request::Announce(later)]
    } }
    Receipt { |t| notices(t, |id| Request::Receipt { id, skip: 0 }) }
    Notices (names: "nothing")
    Notice { |t| notices(t, |id| Request::Notice { id }) }
    AckNotice { |t| notices(t, |id| Request::AckNotice { id }) }
    CancelNotice { |t| notices(t, |id| Request::CancelNotice { id }) }
    Will (names: "nothing")
    Listening { |t| {
        vec![Request::Session(SessionRequest::Listening { stream: t.tag, charge_bytes: 1 << 20, slot: [0; 16] })]
    } }
    Deaf { |t| vec![Request::Session(SessionRequest::Deaf { stream: t.tag })] }
    Span { |t| vec![Request::History(HistoryRequest::Span { target: t.target() })] }
    Page { |t| vec![Request::History(HistoryRequest::Page { target: t.target(), first: 1, last: 9 })] }
    NumberAt { |t| vec![Request::History(HistoryRequest::NumberAt { target: t.target(), wall_us: 1 })] }
    Search { |t| {
        let target = Some(t.target());
        let (text, from, since_us) = ("x".to_owned(), None, None);
        vec![Request::History(HistoryRequest::Search(SearchRequest { text, target, from, since_us, before: 0, limit: 9 }))]
    } }
    Unread { |t| vec![Request::History(HistoryRequest::Unread { target: Some(t.target()), skip: 0 })] }
    MarkRead { |t| vec![Request::MarkRead { target: t.target(), seq: t.seq }] }
    DeleteRoom { |t| vec![Request::DeleteRoom { room: t.room.clone() }] }
    Active (names: "nothing")
    Quit (names: "nothing")
    Link (names: "what is a link's own, and rooms, as Open does")
    Ask (names: "a text of the client itself")
    Answer { |t| {
        let answer = |jobs, done| {
            Request::Answer(Answering { stream: t.tag, queue: None, jobs, holding: Vec::new(), done })
        };
        vec![answer(1, vec![t.seq]), answer(0, Vec::new())]
    } }
    Take { |t| vec![Request::Take { stream: t.tag, seq: t.seq }] }
    Answered { |t| {
        let (stream, seq) = (t.tag, t.seq);
        vec![
            Request::Answered { stream, seq, failed: false, silent: true },
            Request::Answered { stream, seq, failed: true, silent: false },
        ]
    } }
}

fn notices(t: &Thing, of: fn(AnnouncementId) -> Request) -> Vec<Request> {
    vec![of(AnnouncementId::Number(t.notice)), of(AnnouncementId::Scheduled(t.scheduled))]
}

/// Asks for a thing in a new world; `at`: its place there.
fn told(stranger: Stranger, at: usize, ask: impl Fn(&mut Scene, &Thing) -> String) -> String {
    let (mut scene, things) = world(stranger);
    let told = ask(&mut scene, &things[at]);
    assert!(!told.is_empty(), "it is answered");
    of(told, &things[at])
}

/// Compares the answers about each thing with those about one that never was.
fn compare(
    wrong: &mut Vec<String>,
    what: &str,
    makes: bool,
    ask: &dyn Fn(&mut Scene, &Thing) -> String,
) {
    const NEVER_AT: usize = 4;
    for stranger in STRANGERS {
        let never = told(stranger, NEVER_AT, ask);
        for (at, thing) in ["hidden", "deleted", "being deleted", "conversation"].iter().enumerate()
        {
            let told = told(stranger, at, ask);
            // That a name is not free can't be hidden; why it is not is hidden.
            let is_free = !(makes
                && matches!(at, 0 | 2)
                && (never.contains("\"Ok\"") || never.contains("Ack")));
            let same = if is_free { never.clone() } else { self::told(stranger, 2, ask) };
            if told != same {
                wrong.push(format!("{what}, {stranger:?}, {thing}:\n  {told}  and\n  {same}"));
            }
        }
    }
}

#[test]
fn strangers_learn_nothing_from_answers_to_requests() {
    let mut wrong = Vec::new();
    let never = world(Stranger::Plain).1[4].clone();
    for (name, makes, requests) in rows() {
        for at in 0..requests(&never).len() {
            let ask = |scene: &mut Scene, thing: &Thing| answer(scene, &requests(thing)[at]);
            compare(&mut wrong, &format!("{name} {at}"), makes, &ask);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn strangers_learn_nothing_from_answers_to_submits() {
    let mut wrong = Vec::new();
    type Way = fn(&Thing) -> Destination;
    let ways: [(&str, Way); 3] = [
        ("stream", |t| Destination::Stream(t.tag)),
        ("room", |t| Destination::Room(t.room.clone())),
        ("id", |t| Destination::Known(t.id)),
    ];
    for (way, to) in ways {
        for reply_to in [None, Some(1)] {
            let ask = |scene: &mut Scene, thing: &Thing| {
                let lines = vec![Line { reply_to, text: "x".try_into().unwrap() }];
                let submit = Submit { first: 9, to: to(thing), to_label: None, lines };
                scene.hub.submit(scene.now, session(SAM), &submit);
                frames(scene)
            };
            compare(&mut wrong, &format!("{way} {reply_to:?}"), way == "room", &ask);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reports_and_repairs_of_hidden_streams_are_not_answered() {
    let (mut scene, things) = world(Stranger::Removed);
    for thing in things {
        let report = crate::chat::frames::Report {
            stream: thing.tag,
            delivered: 1,
            by_broadcast: 1,
            datagrams: 1,
        };
        scene.hub.report(scene.now, session(SAM), &report);
        scene.hub.repair(scene.now, session(SAM), thing.tag, 1, 9);
        let to_sam =
            |a: &Action| matches!(a, Action::Send(to, _) | Action::Wake(to) if *to == session(SAM));
        assert!(!scene.hub.actions().any(|action| to_sam(&action)));
    }
}
