//! Submits that come again: a table of refusals by what became of the counter, a random world of
//! clients that break and servers that restart, and failed commits.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::{Action, Hub, HubConfig};
use crate::{
    chat::{
        clock::Now,
        frames::{ANNOUNCEMENTS, Destination, EarlierSubmits, Frame, Hello, Line, Submit},
        member::{EndCause, Kind, Peer, SessionId},
        message::{AnnouncementId, BootId},
        names::{RoomName, Target, UserName},
        refusal::RefusalCode,
        request::{Announce, Begin, Follow, Request},
        rules::{Rights, Role, RoomRules},
        store::{Entry, Record, Restored, RestoredRoom, RestoredSubmits, Span, StreamKey},
        stream_id::{RoomId, StreamId},
        text::Text,
    },
    limits::{FRAME_HEADER_BYTES, WILLS_UNSAID_MAX},
};

const ANN: u32 = 1;
const BOB: u32 = 2;

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn rules() -> HubConfig {
    let mut rules = HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]);
    (rules.store, rules.persistent) = (true, true);
    rules
}

/// The answer to one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Acknowledged(u64),
    Refused(RefusalCode),
}

/// A hub, its store, and the answers that were not looked at yet.
struct World {
    hub: Hub,
    now: Now,
    next_session: u64,
    storing: Option<(Vec<Record>, Vec<Entry>)>,
    answers: Vec<(SessionId, u64, Answer)>,
}

impl World {
    fn new(hub: Hub, wall_us: i64) -> Self {
        let now = Now { mono_us: 1, wall_us };
        Self { hub, now, next_session: 1, storing: None, answers: Vec::new() }
    }

    fn open(&mut self, uid: u32, instance: u8, earlier: EarlierSubmits) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let user = UserName::new(["root", "ann", "bob"][uid as usize]).unwrap();
        let peer = Peer { uid, user, pid: id.0 as u32, start: 0 };
        let hello = Hello { earlier, ..Hello::new(None, Kind::Script, [instance; 16]) };
        self.hub.open(self.now, id, peer, hello).unwrap();
        id
    }

    fn close(&mut self, id: SessionId, cause: EndCause) {
        self.hub.close(self.now, id, cause);
        self.turn();
    }

    fn ask(&mut self, id: SessionId, request: Request) {
        self.hub.request(self.now, id, 1, request);
        self.turn();
    }

    fn submit(&mut self, id: SessionId, first: u64, to: Destination, lines: Vec<Line<'_>>) {
        self.hub.submit(self.now, id, &Submit { first, to, to_label: None, lines });
        self.turn();
    }

    fn turn(&mut self) {
        self.hub.end_turn(self.now);
        self.look();
    }

    fn look(&mut self) {
        for action in self.hub.actions().collect::<Vec<_>>() {
            match action {
                Action::Store(records, entries) => {
                    assert!(self.storing.replace((records, entries)).is_none());
                }
                Action::Send(id, Frame::Ack(ack)) => {
                    for at in 0..u64::from(ack.count) {
                        let answer = Answer::Acknowledged(ack.seq + at);
                        self.answers.push((id, ack.first + at, answer));
                    }
                }
                Action::Send(id, Frame::Nack { first, count, refusal }) => {
                    for at in 0..u64::from(count) {
                        self.answers.push((id, first + at, Answer::Refused(refusal.code)));
                    }
                }
                _ => {}
            }
        }
    }

    /// Answers the running transaction; returns what was in it.
    fn store(&mut self, done: Result<(), &str>) -> Option<(Vec<Record>, Vec<Entry>)> {
        let stored = self.storing.take()?;
        match done {
            Ok(()) => self.hub.stored(self.now),
            Err(why) => self.hub.store_failed(self.now, why),
        }
        self.look();
        Some(stored)
    }

    /// Submits a text to a room, 10 ms later.
    fn say(&mut self, id: SessionId, counter: u64, to: &str) {
        self.now.mono_us += 10_000;
        let lines = vec![Line { reply_to: None, text: "hi".try_into().unwrap() }];
        self.submit(id, counter, Destination::Room(room(to)), lines);
    }

    fn store_all(&mut self) {
        while self.store(Ok(())).is_some() {}
    }

    fn answers_to(&mut self, id: SessionId) -> Vec<Answer> {
        let answers = std::mem::take(&mut self.answers).into_iter();
        answers.filter(|(of, ..)| *of == id).map(|(.., answer)| answer).collect()
    }
}

// ---- each refusal, by what became of the counter ------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    New,
    Published,
    Pending,
    Forgotten,
}

const REFUSALS: [&str; 12] = [
    "muted",
    "banned",
    "read-only",
    "quota",
    "ending",
    "deleted",
    "deleted, no room",
    "no such room",
    "private",
    "no such stream",
    "reply",
    "reply, no room",
];

/// Submits a counter of an earlier boot, whose messages are lost where nothing is stored.
#[test]
fn a_submit_of_a_boot_whose_messages_are_lost_is_unknown() {
    for persistent in [false, true] {
        let rules = HubConfig { store: true, persistent, ..rules() };
        let mut world = World::new(Hub::new(rules), 1_000_000);
        let earlier = EarlierSubmits { highest: 3, since_us: 500_000 };
        let id = world.open(ANN, 1, earlier);
        let say = |world: &mut World, counter| {
            let to = Destination::Room(room("dev"));
            world.submit(
                id,
                counter,
                to,
                vec![Line { reply_to: None, text: "once".try_into().unwrap() }],
            );
            world.store_all();
            world.answers_to(id)
        };
        // A stored history would have it.
        let (third, fourth) = match persistent {
            true => (Answer::Acknowledged(1), Answer::Acknowledged(2)),
            false => (Answer::Refused(RefusalCode::UnknownSubmit), Answer::Acknowledged(1)),
        };
        assert_eq!((say(&mut world, 3), say(&mut world, 4)), (vec![third], vec![fourth]));
    }
}

/// Submits a counter again in the face of a refusal; returns all answers that the new session gets.
fn resubmit(refusal: &str, became: Became) -> Vec<Answer> {
    let counter = 2_000;
    let mut world = World::new(Hub::new(rules()), 1);
    let world = &mut world;
    let root = world.open(0, 99, EarlierSubmits::default());
    let (private, read_only) = (refusal == "private", refusal == "read-only");
    let create = Request::CreateRoom { room: room("den"), history: true, private, read_only };
    world.ask(root, create);
    world.store_all();
    let role = |role, on| Request::Role {
        room: room("den"),
        user: UserName::new("ann").unwrap(),
        role,
        on,
    };
    let lets_in = match refusal {
        "private" => Some(Role::Invited),
        "read-only" => Some(Role::Operator),
        _ => None,
    };
    let session = world.open(ANN, 1, EarlierSubmits::default());
    if let Some(lets_in) = lets_in {
        world.ask(root, role(lets_in, true));
    }
    world.store_all();
    let line =
        |text: &'static str, reply_to| vec![Line { reply_to, text: text.try_into().unwrap() }];
    let to_den = || Destination::Room(room("den"));
    if let Became::Published | Became::Pending = became {
        world.submit(session, counter, to_den(), line("hi", None));
    }
    if became == Became::Published {
        world.store_all();
        assert_eq!(world.answers_to(session), [Answer::Acknowledged(1)]);
    }
    if let Some(lets_in) = lets_in {
        world.ask(root, role(lets_in, false));
    }
    match refusal {
        "muted" => world.ask(root, role(Role::Muted, true)),
        "banned" => world.ask(root, role(Role::Banned, true)),
        "quota" => world.hub.set_over_history(HashMap::from([(ANN, 9)])),
        "ending" => {
            // Another message keeps the room from being deleted at once.
            world.submit(root, 1, to_den(), line("wait", None));
            world.ask(root, Request::DeleteRoom { room: room("den") });
        }
        "deleted" | "deleted, no room" => {
            world.ask(root, Request::DeleteRoom { room: room("den") });
        }
        _ => {}
    }
    if let "no such room" | "deleted, no room" = refusal {
        world.hub.set_rights(ANN, Rights { create_rooms: false, ..Rights::EVERYBODY });
    }
    world.close(session, EndCause::Closed);
    let earlier = match became {
        Became::Forgotten => EarlierSubmits { highest: 3_000, since_us: 0 },
        _ => EarlierSubmits::default(),
    };
    let session = world.open(ANN, 1, earlier);
    let to = match refusal {
        "no such room" | "reply, no room" => Destination::Room(room("other")),
        "no such stream" => Destination::Stream(StreamId(77)),
        _ => to_den(),
    };
    let lines = match refusal {
        "reply" | "reply, no room" => line("hi", Some(500)),
        _ => line("hi", None),
    };
    let before = world.hub.directory.rooms().len();
    world.submit(session, counter, to, lines);
    if let "reply, no room" | "no such room" = refusal {
        assert_eq!(
            world.hub.directory.rooms().len(),
            before,
            "{refusal}, {became:?}: a refusal makes no room"
        );
    }
    world.store_all();
    world.turn();
    world.store_all();
    world.answers_to(session)
}

#[test]
fn each_submit_gets_its_one_answer_whatever_is_refused() {
    for refusal in REFUSALS {
        for became in [Became::New, Became::Published, Became::Pending, Became::Forgotten] {
            let answers = resubmit(refusal, became);
            let [answer] = answers[..] else {
                panic!("{refusal}, {became:?}: {answers:?}");
            };
            let is_right = match (became, answer) {
                (Became::Published | Became::Pending, Answer::Acknowledged(seq)) => seq == 1,
                (Became::Forgotten, Answer::Refused(code)) => code == RefusalCode::UnknownSubmit,
                (Became::New, Answer::Refused(code)) => code != RefusalCode::UnknownSubmit,
                // The name of a deleted room is free: the text begins another one.
                (Became::New, Answer::Acknowledged(_)) => refusal == "deleted",
                _ => false,
            };
            assert!(is_right, "{refusal}, {became:?}: {answer:?}");
        }
    }
}

// ---- a random world -----------------------------------------------------------------------------

const ROOMS: [(&str, bool); 3] = [("alpha", true), ("beta", true), ("memory", false)];

#[derive(Debug, Clone)]
enum Op {
    Say { client: usize, room: usize, lines: usize },
    Break { client: usize },
    Connect { client: usize },
    Overlap { client: usize },
    Renew { client: usize },
    Stored,
    Failed,
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let client = 0..4_usize;
    let op = prop_oneof![
        6 => (client.clone(), 0..3_usize, 1..4_usize)
            .prop_map(|(client, room, lines)| Op::Say { client, room, lines }),
        2 => client.clone().prop_map(|client| Op::Break { client }),
        4 => client.clone().prop_map(|client| Op::Connect { client }),
        1 => client.clone().prop_map(|client| Op::Overlap { client }),
        1 => client.prop_map(|client| Op::Renew { client }),
        4 => Just(Op::Stored),
        1 => Just(Op::Failed),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..120)
}

/// A text without an answer: its room, and when it was first submitted, if it was.
#[derive(Debug, Clone)]
struct Open {
    room: usize,
    text: String,
    since_us: Option<i64>,
    /// Boot in which it was first submitted.
    boot: u32,
}

#[derive(Debug)]
struct Client {
    uid: u32,
    instance: u8,
    session: Option<SessionId>,
    counter: u64,
    submitted: u64,
    open: BTreeMap<u64, Open>,
}

struct Model {
    world: World,
    clients: Vec<Client>,
    boot: u32,
    texts: u64,
    instances: u8,
    /// Messages on disk.
    disk: Vec<Entry>,
    /// Acknowledged texts, with their numbers.
    acknowledged: BTreeMap<String, u64>,
}

impl Model {
    fn new() -> Self {
        let clients = (0..4).map(|at| Client {
            uid: [ANN, ANN, BOB, BOB][at],
            instance: at as u8 + 1,
            session: None,
            counter: 0,
            submitted: 0,
            open: BTreeMap::new(),
        });
        let mut model = Self {
            world: World::new(Hub::new(rules()), 1),
            clients: clients.collect(),
            boot: 0,
            texts: 0,
            instances: 10,
            disk: Vec::new(),
            acknowledged: BTreeMap::new(),
        };
        model.boot();
        model
    }

    /// Begins a boot with what is on disk.
    fn boot(&mut self) {
        self.boot += 1;
        let head = |name: &str| {
            let of = |entry: &&Entry| *entry.stream == StreamKey::Room(room(name));
            self.disk.iter().filter(of).map(|entry| entry.seq).max().unwrap_or(0)
        };
        let rooms = ROOMS.map(|(name, history)| RestoredRoom {
            name: room(name),
            id: RoomId(name.len() as u64),
            creator_uid: 0,
            history,
            topic: String::new(),
            rules: RoomRules::new(false, false),
            span: Span { head: head(name), first: 1, newest_us: None },
        });
        let submits = self.disk.iter().filter_map(|entry| {
            let (instance, counter) = entry.submit?;
            Some(RestoredSubmits {
                uid: entry.from.uid,
                instance,
                counter,
                count: 1,
                stream: Some(StreamKey::clone(&entry.stream)),
                seq: entry.seq,
                wall_us: entry.wall_us,
            })
        });
        let restored =
            Restored { rooms: rooms.into(), submits: submits.collect(), ..Restored::default() };
        let mut now = self.world.now;
        now.wall_us += 1;
        self.world = World { now, ..World::new(Hub::restored(rules(), restored), 0) };
    }

    fn connect(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let since_us = client.open.values().find_map(|open| open.since_us).unwrap_or(0);
        let earlier = EarlierSubmits { highest: client.submitted, since_us };
        let session = self.world.open(client.uid, client.instance, earlier);
        client.session = Some(session);
        for counter in client.open.keys().copied().collect::<Vec<_>>() {
            self.submit(at, &[counter]);
        }
    }

    fn submit(&mut self, at: usize, counters: &[u64]) {
        let client = &mut self.clients[at];
        let Some(session) = client.session else { return };
        let (first, last) = (counters[0], counters[counters.len() - 1]);
        let Some(room_of) = client.open.get(&first).map(|open| open.room) else { return };
        client.submitted = client.submitted.max(last);
        let mut lines = Vec::new();
        for counter in counters {
            let Some(open) = client.open.get_mut(counter) else { return };
            if open.since_us.is_none() {
                (open.since_us, open.boot) = (Some(self.world.now.wall_us), self.boot);
            }
            lines.push(open.text.clone());
        }
        let lines: Vec<_> = lines
            .iter()
            .map(|text| Line { reply_to: None, text: text.as_str().try_into().unwrap() })
            .collect();
        self.world.submit(session, first, Destination::Room(room(ROOMS[room_of].0)), lines);
        self.look();
    }

    fn look(&mut self) {
        for (session, counter, answer) in std::mem::take(&mut self.world.answers) {
            let of = self.clients.iter_mut().find(|client| client.session == Some(session));
            // What goes to a session that is gone was not received.
            let Some(client) = of else { continue };
            let open = client.open.remove(&counter);
            let open = open.unwrap_or_else(|| panic!("{counter} is answered twice: {answer:?}"));
            match answer {
                Answer::Acknowledged(seq) => {
                    if ROOMS[open.room].1 {
                        assert!(self.acknowledged.insert(open.text, seq).is_none());
                    }
                }
                Answer::Refused(RefusalCode::Failed) => {}
                // It may have been shown by an earlier boot, which kept nothing.
                Answer::Refused(RefusalCode::UnknownSubmit) => {
                    assert!(!ROOMS[open.room].1 && client.submitted >= counter, "{open:?}");
                    assert!(open.boot < self.boot, "{open:?}");
                }
                Answer::Refused(code) => panic!("{code:?}"),
            }
        }
    }

    fn run(&mut self, op: &Op) {
        self.world.now.mono_us += 1_000;
        self.world.now.wall_us += 1_000;
        match *op {
            Op::Say { client: at, room, lines } => {
                let client = &mut self.clients[at];
                let mut counters = Vec::new();
                for _ in 0..lines {
                    self.texts += 1;
                    client.counter += 1;
                    counters.push(client.counter);
                    let text = format!("text {}", self.texts);
                    let open = Open { room, text, since_us: None, boot: 0 };
                    client.open.insert(client.counter, open);
                }
                self.submit(at, &counters);
            }
            Op::Break { client: at } => {
                if let Some(session) = self.clients[at].session.take() {
                    self.world.close(session, EndCause::Closed);
                }
            }
            Op::Connect { client: at } => {
                if self.clients[at].session.is_none() {
                    self.connect(at);
                }
            }
            Op::Overlap { client: at } => {
                // The server learns late that the old connection broke.
                if let Some(old) = self.clients[at].session.take() {
                    let open: Vec<_> = self.clients[at].open.clone().into_iter().collect();
                    self.connect(at);
                    // What the old one still holds is read later.
                    for (counter, Open { room: of, text, .. }) in open {
                        let lines =
                            vec![Line { reply_to: None, text: text.as_str().try_into().unwrap() }];
                        self.world.submit(
                            old,
                            counter,
                            Destination::Room(room(ROOMS[of].0)),
                            lines,
                        );
                    }
                    self.world.close(old, EndCause::Killed);
                }
            }
            Op::Renew { client: at } => {
                if self.clients[at].open.is_empty()
                    && let Some(session) = self.clients[at].session.take()
                {
                    self.world.close(session, EndCause::Quit);
                    self.instances += 1;
                    let client = &mut self.clients[at];
                    client.instance = self.instances;
                    (client.counter, client.submitted) = (0, 0);
                }
            }
            Op::Stored => {
                if let Some((_, entries)) = self.world.store(Ok(())) {
                    self.disk.extend(entries);
                }
            }
            Op::Failed => drop(self.world.store(Err("disk full"))),
            Op::Restart => {
                // A transaction that is under way is done or not.
                if let Some((_, entries)) = self.world.storing.take()
                    && self.texts.is_multiple_of(2)
                {
                    self.disk.extend(entries);
                }
                for client in &mut self.clients {
                    client.session = None;
                }
                self.boot();
            }
        }
        self.look();
    }

    fn finish(&mut self) {
        for at in 0..self.clients.len() {
            if self.clients[at].session.is_none() {
                self.connect(at);
            }
        }
        while let Some((_, entries)) = self.world.store(Ok(())) {
            self.disk.extend(entries);
            self.look();
        }
        for client in &self.clients {
            assert!(client.open.is_empty(), "without an answer: {client:?}");
        }
        let mut texts = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for entry in &self.disk {
            assert!(texts.insert(entry.text.to_string()), "stored twice: {}", &*entry.text);
            assert!(numbers.insert((format!("{:?}", entry.stream), entry.seq)));
            if let Some(seq) = self.acknowledged.remove(&*entry.text) {
                assert_eq!(seq, entry.seq);
            }
        }
        assert!(self.acknowledged.is_empty(), "not stored: {:?}", self.acknowledged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn texts_are_stored_once_over_breaks_and_restarts(ops in ops()) {
        let mut model = Model::new();
        for op in &ops {
            model.run(op);
        }
        model.finish();
    }
}

// ---- failed commits -----------------------------------------------------------------------------

/// Returns all that a batch takes: numbers, bytes in flight, counters, figures.
fn digest(world: &World, tag: StreamId) -> String {
    let hub = &world.hub;
    let stream = hub.stream(tag);
    let mut usage: Vec<_> =
        hub.accounts.usage.iter().map(|u| (u.uid, u.messages, u.bytes)).collect();
    usage.sort_unstable();
    let mut bytes = hub.accounts.in_flight();
    bytes.sort_unstable();
    let pending = (
        stream.in_flight.uncommitted.len(),
        stream.in_flight.committing,
        stream.in_flight.ready.len(),
    );
    format!(
        "{} {} {pending:?} {bytes:?} {} {usage:?} {}",
        stream.numbered,
        stream.in_flight.bytes,
        hub.out.counters.messages,
        hub.instances.digest()
    )
}

#[test]
fn failed_commit_gives_back_all_that_its_messages_took() {
    let mut world = World::new(Hub::new(rules()), 1);
    let (ann, bob) = (
        world.open(ANN, 1, EarlierSubmits::default()),
        world.open(BOB, 2, EarlierSubmits::default()),
    );
    let line = |text: &'static str| Line { reply_to: None, text: text.try_into().unwrap() };
    let to = || Destination::Room(room("den"));
    world.submit(ann, 1, to(), vec![line("one")]);
    world.submit(bob, 1, to(), vec![line("two")]);
    world.store_all();
    world.answers.clear();
    let tag = world.hub.room_tag(&room("den")).unwrap();
    let before = digest(&world, tag);
    for _ in 0..5 {
        world.submit(ann, 2, to(), vec![line("three"), line("four")]);
        world.submit(bob, 2, to(), vec![line("five")]);
        // One that was numbered while the transaction was under way goes with it.
        world.submit(ann, 4, to(), vec![line("six")]);
        assert_ne!(digest(&world, tag), before);
        world.store(Err("disk full")).unwrap();
        assert_eq!(digest(&world, tag), before);
        let refused = world.answers.iter().map(|(id, counter, answer)| {
            assert_eq!(*answer, Answer::Refused(RefusalCode::Failed));
            (*id, *counter)
        });
        let mut refused: Vec<_> = refused.collect();
        refused.sort_unstable();
        assert_eq!(refused, [(ann, 2), (ann, 3), (ann, 4), (bob, 2)]);
        world.answers.clear();
    }
    world.submit(ann, 2, to(), vec![line("three")]);
    world.store_all();
    assert_eq!(world.answers_to(ann), [Answer::Acknowledged(3)]);
}

#[test]
fn last_will_survives_a_full_account_and_a_failed_commit() {
    let rules = HubConfig { in_flight_bytes_per_user_max: 1_000, host: true, ..rules() };
    let mut world = World::new(Hub::new(rules), 1);
    let none = EarlierSubmits::default;
    let (ann, other) = (world.open(ANN, 1, none()), world.open(ANN, 2, none()));
    let follow = Follow::Room(room("den"));
    let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
    world.ask(ann, join);
    world.store_all();
    world.ask(ann, Request::Will { text: Some(Text::new("gone").unwrap()) });
    let text = "x".repeat(2_000);
    world.submit(
        other,
        1,
        Destination::Room(room("ops")),
        vec![Line { reply_to: None, text: text.as_str().try_into().unwrap() }],
    );
    world.close(ann, EndCause::Killed);
    let wills = |entries: &[Entry]| entries.iter().filter(|entry| entry.will.is_some()).count();
    assert_eq!(wills(&world.store(Ok(())).unwrap().1), 0, "its room comes after the other one");
    assert_eq!(wills(&world.store(Err("disk full")).unwrap().1), 1);
    assert!(world.storing.is_none());
    world.now.mono_us += 2_000_000;
    world.hub.tick(world.now);
    world.look();
    assert_eq!(wills(&world.store(Ok(())).unwrap().1), 1);
    assert!(world.hub.commits.wills_of(None) == 0);
}

#[test]
fn unsaid_wills_of_one_user_leave_some_to_others() {
    let mut world = World::new(Hub::new(HubConfig { host: true, ..rules() }), 1);
    let follow = || Follow::Room(room("den"));
    let join =
        || Request::Join { follow: follow(), begin: Begin::Now, membership: false, keep: false };
    let end_many = |world: &mut World, uid: u32, many: usize| {
        let ids: Vec<_> = (0..many)
            .map(|_| {
                let id = world.open(uid, 1, EarlierSubmits::default());
                world.ask(id, join());
                world.store_all();
                world.ask(id, Request::Will { text: Some(Text::new("gone").unwrap()) });
                id
            })
            .collect();
        ids.into_iter().for_each(|id| world.hub.close(world.now, id, EndCause::Killed));
        world.turn();
        world.store(Err("disk full")).unwrap();
    };
    end_many(&mut world, ANN, WILLS_UNSAID_MAX + 10);
    end_many(&mut world, BOB, 3);
    let of = |uid: u32| world.hub.commits.wills_of(Some(uid));
    assert!(of(ANN) < WILLS_UNSAID_MAX + 1 && of(BOB) > 0, "{} {}", of(ANN), of(BOB));
}

#[test]
fn change_is_answered_with_its_own_record_only() {
    let mut world = World::new(Hub::new(rules()), 1);
    let ann = world.open(ANN, 1, EarlierSubmits::default());
    // Two failures: records and messages go apart from now on.
    for counter in 1..=2 {
        world.say(ann, counter, "den");
        world.store(Err("broken")).unwrap();
    }
    world.now.mono_us += 2_000_000;
    // While another one is on its way, the records of announcements wait for it; others do not.
    world.hub.request(world.now, ann, 6, Request::Announce(super::scene::announce(None, "now")));
    let follow = Follow::Room(room("den"));
    let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: true };
    world.hub.request(world.now, ann, 5, join);
    let announce = Announce { at_us: Some(1_000_000_000), ..super::scene::announce(None, "later") };
    world.hub.request(world.now, ann, 7, Request::Announce(announce));
    world.turn();
    let waits = |world: &World| {
        let mut replies = world.hub.commits.replies();
        replies.any(|(_, serial, _)| *serial == 7)
    };
    let is_its = |record: &Record| matches!(record, Record::Notice(state) if matches!(state.id(), AnnouncementId::Scheduled(_)));
    let mut stored = false;
    while let Some((records, _)) = world.store(Ok(())) {
        stored |= records.iter().any(is_its);
        assert!(stored || waits(&world), "answered before it is stored");
    }
    assert!(stored && !waits(&world));
}

#[test]
fn failing_record_does_not_stop_messages() {
    let mut world = World::new(Hub::new(rules()), 1);
    let ann = world.open(ANN, 1, EarlierSubmits::default());
    world.say(ann, 1, "den");
    world.store_all();
    world.answers.clear();
    // A read mark that can never be saved.
    world.ask(ann, Request::MarkRead { target: Target::Room(room("den")), seq: 1 });
    let is_mark = |record: &Record| matches!(record, Record::Mark { .. });
    let store = |world: &mut World| {
        while let Some((records, _)) = &world.storing {
            let done = if records.iter().any(is_mark) { Err("broken table") } else { Ok(()) };
            world.store(done);
        }
    };
    for counter in 2..12 {
        world.say(ann, counter, "den");
        store(&mut world);
    }
    let answers = world.answers_to(ann);
    assert_eq!(answers.len(), 10);
    let refused = answers.iter().filter(|a| matches!(a, Answer::Refused(_))).count();
    assert!(refused <= 2, "{answers:?}");
    // A new room's own record goes with its first message.
    world.say(ann, 12, "new");
    let (records, entries) = world.storing.as_ref().unwrap();
    assert_eq!(entries.len(), 1);
    assert!(matches!(&records[..], [Record::Room { name, .. }] if *name == room("new")));
    store(&mut world);
    assert_eq!(world.answers_to(ann), [Answer::Acknowledged(1)]);
    // Records are tried again by themselves, and messages that come meanwhile are not refused with
    // them.
    world.now.mono_us += 2_000_000;
    world.turn();
    let (records, entries) = world.storing.as_ref().unwrap();
    assert!(records.iter().any(is_mark) && entries.is_empty());
    world.say(ann, 13, "den");
    store(&mut world);
    assert_eq!(world.answers_to(ann), [Answer::Acknowledged(12 - refused as u64)]);
    // Once the store takes records again, all goes together.
    world.now.mono_us += 2_000_000;
    world.turn();
    world.store_all();
    assert!(world.hub.commits.is_healthy());
    assert!(world.hub.commits.records().is_empty());
}

#[test]
fn stream_keeps_its_turn_while_only_records_are_committed() {
    let mut world = World::new(Hub::new(rules()), 1);
    let ann = world.open(ANN, 1, EarlierSubmits::default());
    world.say(ann, 1, "den");
    world.store_all();
    for counter in 2..=3 {
        world.say(ann, counter, "den");
        world.store(Err("broken")).unwrap();
    }
    // A record that is not due keeps records and messages apart.
    let mark = |seq| Request::MarkRead { target: Target::Room(room("den")), seq };
    world.ask(ann, mark(1));
    world.say(ann, 4, "den");
    // The announcement is committed with its record, and alone: only when its stream is the first.
    world.hub.request(world.now, ann, 6, Request::Announce(super::scene::announce(None, "now")));
    world.now.mono_us += 2_000_000;
    world.store(Ok(())).unwrap();
    world.say(ann, 5, "den");
    world.ask(ann, mark(5));
    world.store(Ok(())).unwrap();
    let (records, entries) = world.storing.as_ref().unwrap();
    assert!(!records.is_empty() && entries.is_empty(), "only records: {entries:?}");
    assert_eq!(world.hub.commits.streams().next(), Some(ANNOUNCEMENTS), "it keeps its turn");
    world.store_all();
    assert_eq!(world.hub.commits.streams().len(), 0);
}
