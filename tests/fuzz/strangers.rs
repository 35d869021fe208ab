//! A hub among hostile users, a victim who must get everything, and a private room of which they must learn nothing.

use std::collections::{BTreeMap, BTreeSet};

use moot::{
    chat::{
        batch::Reader,
        event::Event,
        frames::{Destination, Frame, Line, Report, Submit},
        member::{EndCause, Kind, Level, SessionId},
        names::{RoomName, UserName},
        reply::{Reply, StreamInfo},
        request::{Announce, Answering, Begin, Follow, Request},
        rules::{Rights, Role},
        store::{Question, Restored, StreamKey},
        stream_id::{RoomId, StreamId},
        text::Text,
    },
    limits::FRAME_HEADER_BYTES,
    wire::control,
};

use crate::{
    asks::{Known, Pick},
    hub::{Seen, Shell, rules, user},
    memory,
    mutate::Random,
    tape::Tape,
};

const OWNER: u32 = 3;
const FRIEND: u32 = 4;
const VICTIM: u32 = 5;
const STRANGERS: [u32; 2] = [6, 7];
/// Text of each message of the private room, of its topic and of announcements to it.
pub const SECRET: &str = "confidential";
/// The room of the victim.
const HOME: &str = "home";
/// Actions that one frame or one look at the timers causes at most, and beside them for each session.
const ACTIONS_MAX: usize = 32;
const ACTIONS_PER_SESSION_MAX: usize = 4;
/// Bytes that one frame or one look at the timers allocates at most.
const ALLOCATED_BYTES_MAX: usize = 256 * 1024;

/// How strangers name the private room: by its name, number and id, or by such as never existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    Right,
    Wrong,
}

/// Frames that each session of a stranger received, in order.
type Received = BTreeMap<SessionId, Vec<String>>;

struct Town {
    shell: Shell,
    guess: Guess,
    /// What strangers know.
    known: Known,
    owner: SessionId,
    friend: SessionId,
    speaker: SessionId,
    listener: SessionId,
    strangers: BTreeSet<SessionId>,
    /// The private room's name and its numbers in this boot.
    hidden: RoomName,
    hidden_tags: BTreeSet<StreamId>,
    home: StreamId,
    submitted: u64,
    /// Counter and number of the newest acknowledgement that the victim got.
    acked: (u64, u64),
    /// Number of the message that the victim's listener gets next.
    next: u64,
    counters: BTreeMap<SessionId, u64>,
    received: Received,
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("a name")
}

fn join(room: RoomName) -> Request {
    let (follow, begin) = (Follow::Room(room), Begin::Now);
    Request::Join { follow, begin, membership: true, keep: true }
}

/// Long inputs: most promises are about what came before.
pub fn seeds() -> Vec<Vec<u8>> {
    let long = |seed| {
        let mut random = Random(seed);
        (0..800).map(|_| random.below(256) as u8).collect()
    };
    (0..8).map(long).collect()
}

/// Any frames of strangers, in any order.
pub fn run(bytes: &[u8]) {
    let right = play(bytes, Guess::Right);
    // Where strangers may create rooms, a name that is taken is one that can't be given again.
    let Some((right, wrong)) = right.and_then(|told| Some((told, play(bytes, Guess::Wrong)?)))
    else {
        return;
    };
    for (id, told) in &right {
        let of_wrong = wrong.get(id).map_or(&[][..], Vec::as_slice);
        let first = told.iter().zip(of_wrong).take_while(|(right, wrong)| right == wrong).count();
        let both = (told.get(first), of_wrong.get(first));
        assert_eq!(both.0, both.1, "a right guess is answered like a wrong one");
    }
    assert_eq!(right.len(), wrong.len(), "a right guess is answered like a wrong one");
}

/// Plays a tape; returns what strangers received, if that must not depend on what they guess.
fn play(bytes: &[u8], guess: Guess) -> Option<Received> {
    let mut tape = Tape::new(bytes);
    let may_create = tape.chance(4);
    let mut town = Town::new(&mut tape, guess, may_create);
    while !tape.is_empty() {
        town.step(&mut tape);
        town.settle();
    }
    town.end();
    (!may_create).then_some(town.received)
}

impl Town {
    fn new(tape: &mut Tape<'_>, guess: Guess, may_create: bool) -> Self {
        let mut rules = rules(tape);
        (rules.host, rules.owner_uid) = (true, 1);
        (rules.sessions_max, rules.rooms_max, rules.rooms_per_user_max) = (64, 64, 16);
        let mut shell = Shell::new(rules, Restored::default());
        for uid in STRANGERS {
            shell.hub.set_rights(uid, Rights { create_rooms: may_create, ..Rights::EVERYBODY });
        }
        let mut open = |uid: u32, at: u8| {
            shell.open(uid, None, Kind::Script, [uid as u8 + 16 * at; 16]).expect("a session")
        };
        let (owner, friend) = (open(OWNER, 0), open(FRIEND, 0));
        let (speaker, listener) = (open(VICTIM, 0), open(VICTIM, 1));
        let strangers = STRANGERS.iter().map(|uid| open(*uid, 0)).collect();
        // The names are of the same length.
        let (hidden, never) = match guess {
            Guess::Right => (room("hush-a"), room("hush-a")),
            Guess::Wrong => (room("hush-b"), room("hush-a")),
        };
        let known = Known {
            rooms: vec![never, room(HOME), room("plaza"), room("gone")],
            users: [OWNER, FRIEND, VICTIM, 6, 7]
                .map(user)
                .into_iter()
                .chain([UserName::of_uid(9)])
                .collect(),
            texts: vec!["a text", "@victim hi", "@", "\u{1b}[2J\n"],
            ..Known::default()
        };
        let mut town = Self {
            shell,
            guess,
            known,
            owner,
            friend,
            speaker,
            listener,
            strangers,
            hidden,
            hidden_tags: BTreeSet::new(),
            home: StreamId(0),
            submitted: 0,
            acked: (0, 0),
            next: 1,
            counters: BTreeMap::new(),
            received: Received::new(),
        };
        let home = room(HOME);
        town.shell.request(listener, &join(home.clone()));
        town.quiet();
        town.home = town.shell.hub.room_tag(&home).expect("the victim's room");
        town.found_hidden();
        town.secret(6);
        town.quiet();
        town
    }

    /// Creates the private room; strangers guess its number and id, or not.
    fn found_hidden(&mut self) {
        let create = Request::CreateRoom {
            room: self.hidden.clone(),
            history: true,
            private: true,
            read_only: false,
        };
        self.shell.request(self.owner, &create);
        self.quiet();
        let invite = Request::Role {
            room: self.hidden.clone(),
            user: user(FRIEND),
            role: Role::Invited,
            on: true,
        };
        self.shell.request(self.owner, &invite);
        for id in [self.owner, self.friend] {
            self.shell.request(id, &join(self.hidden.clone()));
            self.quiet();
        }
        let Some(tag) = self.shell.hub.room_tag(&self.hidden) else { return };
        if self.hidden_tags.insert(tag) {
            let (tag, id) = match self.guess {
                Guess::Right => (tag, self.id_of(tag).unwrap_or(RoomId(1))),
                Guess::Wrong => (StreamId(1_000_000 + tag.0), RoomId(1)),
            };
            self.known.tags.push(tag);
            self.known.room_ids.push(id);
        }
    }

    /// The id of the private room, as its members know it.
    fn id_of(&mut self, tag: StreamId) -> Option<RoomId> {
        self.shell.request(self.owner, &join(self.hidden.clone()));
        self.shell.act();
        let seen = std::mem::take(&mut self.shell.seen);
        let infos = seen.frames.iter().flat_map(|(_, frame)| streams_of(frame));
        let found = infos.filter(|info| info.tag == tag).find_map(|info| info.room);
        self.look_at(seen);
        found.map(|room| room.id)
    }

    /// Executes everything that is due, and stores it.
    fn quiet(&mut self) {
        for _ in 0..4 {
            self.settle();
            self.shell.stored(true);
            self.shell.pass(20_000);
        }
        self.settle();
    }

    /// Executes what is due, and checks what each session receives.
    fn settle(&mut self) {
        self.shell.act();
        let seen = std::mem::take(&mut self.shell.seen);
        self.look_at(seen);
        let open: BTreeSet<_> = self.shell.sessions.iter().copied().collect();
        self.strangers.retain(|id| open.contains(id));
        let own = [self.owner, self.friend, self.speaker, self.listener];
        assert!(own.iter().all(|id| open.contains(id)), "a stranger ended a session of others");
    }

    /// Lets a stranger do something, which is not much work for the hub.
    fn bounded(&mut self, act: impl FnOnce(&mut Shell)) {
        let ((), allocated) = memory::allocated_by(|| act(&mut self.shell));
        let count = self.shell.hub.action_count();
        let most = ACTIONS_MAX + ACTIONS_PER_SESSION_MAX * self.shell.sessions.len();
        assert!(count <= most, "a step causes {count} actions");
        assert!(allocated <= ALLOCATED_BYTES_MAX, "a step allocates {allocated} bytes");
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> Option<()> {
        let op = tape.byte() % 32;
        let at = tape.below(self.strangers.len().max(1));
        let id = self.strangers.iter().nth(at).copied();
        match (op, id) {
            (0 | 1, _) | (2..=21, None) => {
                let (label, kind) = tape.value()?;
                let uid = STRANGERS[tape.below(STRANGERS.len())];
                let instance = [128 + tape.byte() % 4; 16];
                self.strangers.extend(self.shell.open(uid, label, kind, instance));
            }
            (2, Some(_)) => {
                let place = self.shell.sessions.iter().position(|of| Some(*of) == id)?;
                let cause = tape.value()?;
                self.bounded(|shell| shell.close(place, cause));
            }
            (3..=15, Some(id)) => {
                let request = Pick { tape, known: &self.known }.request();
                self.shell.hub.spend(self.shell.now, id, 4096, true);
                self.bounded(|shell| shell.request(id, &request));
            }
            (16..=19, Some(id)) => {
                let counter = self.counters.entry(id).or_insert(1);
                let first = if tape.chance(6) { *counter } else { tape.number() };
                let submit = Pick { tape, known: &self.known }.submit(first);
                let mut bytes = Vec::new();
                control::put_submit(&mut bytes, &submit);
                let submit = control::read_submit(&bytes[FRAME_HEADER_BYTES..]).ok()?;
                *counter = first.saturating_add(submit.lines.len() as u64);
                let (hub, now) = (&mut self.shell.hub, self.shell.now);
                if !hub.must_wait(now, id) && hub.has_credit(id) {
                    hub.spend(now, id, bytes.len(), true);
                    self.bounded(|shell| shell.hub.submit(shell.now, id, &submit));
                }
            }
            (20, Some(id)) => {
                let (_, delivered, by_broadcast, datagrams) =
                    tape.value::<(StreamId, _, _, _)>()?;
                let stream = self.tag(tape);
                let report = Report { stream, delivered, by_broadcast, datagrams };
                self.bounded(|shell| shell.hub.report(shell.now, id, &report));
            }
            (21, Some(id)) => {
                let (first, last) = tape.value()?;
                let tag = self.tag(tape);
                self.bounded(|shell| shell.hub.repair(shell.now, id, tag, first, last));
            }
            (22, _) if tape.chance(1) => self.crowd(tape),
            (22 | 23, _) => self.speak(),
            (24, _) => self.secret(tape.byte()),
            (25 | 26, _) => self.shell.stored(true),
            (27, _) => self.shell.has_channel = tape.chance(6),
            (28 | 29, _) => {
                let us = u64::from(tape.byte()) * 10_000;
                self.bounded(|shell| shell.pass(us));
            }
            (30, _) => {
                let us = tape.number() % 100_000_000;
                self.bounded(|shell| shell.pass(us));
            }
            (_, _) => self.bounded(|shell| shell.hub.end_turn(shell.now)),
        }
        Some(())
    }

    fn tag(&self, tape: &mut Tape<'_>) -> StreamId {
        self.known.tags[tape.below(self.known.tags.len())]
    }

    /// A stranger comes with many sessions that are in many rooms.
    fn crowd(&mut self, tape: &mut Tape<'_>) {
        let uid = STRANGERS[tape.below(STRANGERS.len())];
        for at in 0..=tape.byte() % 64 {
            let Some(id) = self.shell.open(uid, None, Kind::Person, [160 + at; 16]) else { return };
            self.strangers.insert(id);
            for name in [HOME, "plaza", "board"] {
                self.shell.request(id, &join(room(name)));
                self.settle();
            }
        }
    }

    /// Submits a text of the victim.
    fn speak(&mut self) {
        let (hub, now) = (&mut self.shell.hub, self.shell.now);
        if hub.must_wait(now, self.speaker) || !hub.has_credit(self.speaker) {
            return;
        }
        self.submitted += 1;
        let lines = vec![Line { reply_to: None, text: "here I am".try_into().unwrap() }];
        let to = Destination::Stream(self.home);
        hub.spend(now, self.speaker, 64, true);
        let submit = Submit { first: self.submitted, to, to_label: None, lines };
        hub.submit(now, self.speaker, &submit);
    }

    /// Something happens in the private room.
    fn secret(&mut self, what: u8) {
        let room = self.hidden.clone();
        match what % 8 {
            0 => {
                let announce = Announce {
                    room: Some(room),
                    retain: true,
                    ack: true,
                    ..Announce::new(Level::Info, Text::new(SECRET).expect("a text"))
                };
                self.shell.request(self.owner, &Request::Announce(announce));
            }
            1 => {
                let topic = Request::Topic { room, topic: SECRET.to_owned() };
                self.shell.request(self.owner, &topic);
            }
            2 => {
                let delete = Request::DeleteRoom { room };
                self.shell.request(self.owner, &delete);
                self.quiet();
                self.found_hidden();
            }
            3 => {
                let will = Request::Will { text: Text::new(SECRET).ok() };
                self.shell.request(self.friend, &will);
            }
            4 => {
                self.shell.request(self.friend, &join(room));
                self.settle();
                if let Some(stream) = self.hidden_tags.last().copied() {
                    let answering = Answering {
                        stream,
                        queue: None,
                        jobs: 1,
                        holding: Vec::new(),
                        done: Vec::new(),
                    };
                    self.shell.request(self.friend, &Request::Answer(answering));
                }
            }
            5 => {
                let counter = self.counters.get(&self.owner).map_or(1, |next| next - 1);
                self.shell.request(self.owner, &Request::Ask { counter, again: false });
            }
            _ => {
                let counter = self.counters.entry(self.owner).or_insert(1);
                let lines = vec![Line { reply_to: None, text: SECRET.try_into().unwrap() }];
                let submit =
                    Submit { first: *counter, to: Destination::Room(room), to_label: None, lines };
                *counter += 1;
                self.shell.hub.submit(self.shell.now, self.owner, &submit);
            }
        }
    }

    // ---- promises ----------------------------------------------------------------------------

    fn look_at(&mut self, seen: Seen) {
        for (id, frame) in seen.frames {
            if self.strangers.contains(&id) {
                self.known.learn(&frame);
                let told = format!("{frame:?}");
                self.keeps_secret(&told);
                let masked = without_ids(&told);
                self.received.entry(id).or_default().push(masked);
            }
            self.victim_receives(id, &frame);
        }
        for (id, bytes) in seen.batches {
            if self.strangers.contains(&id) {
                self.keeps_secret(&String::from_utf8_lossy(&bytes));
                let head = Reader::new(&bytes[FRAME_HEADER_BYTES..]).expect("a body").head();
                assert!(!self.hidden_tags.contains(&head.tag), "a stranger gets a private room");
                self.received.entry(id).or_default().push(format!("{bytes:?}"));
            }
            if id == self.listener {
                self.victim_hears(&bytes);
            }
        }
        for (tag, bytes) in seen.published {
            let is_secret = contains(&bytes, SECRET);
            assert!(!is_secret || self.hidden_tags.contains(&tag), "a secret is sent to all");
        }
        for row in seen.rows {
            assert!(!row.rooms.contains(&self.hidden), "the presence table shows a private room");
        }
        let hidden = StreamKey::Room(self.hidden.clone());
        for fetch in seen.fetches {
            let is_own = [self.owner, self.friend].contains(&fetch.session);
            assert!(is_own || fetch.stream != hidden, "a stranger is read a private room");
        }
        for (id, question) in seen.questions {
            assert!(!self.strangers.contains(&id) || !asks(&question, &hidden), "{question:?}");
        }
    }

    /// Checks that a stranger receives no text of the private room, no number and, unless they guess it, no name.
    fn keeps_secret(&self, told: &str) {
        assert!(!told.contains(SECRET), "a stranger receives {told}");
        let name = self.hidden.as_str();
        assert!(self.guess == Guess::Right || !told.contains(name), "a stranger receives {told}");
        for tag in &self.hidden_tags {
            assert!(!told.contains(&format!("{tag:?}")), "a stranger receives {told}");
        }
    }

    /// Each text of the victim is acknowledged, in order.
    fn victim_receives(&mut self, id: SessionId, frame: &Frame) {
        if id != self.speaker {
            assert!(id != self.listener || !matches!(frame, Frame::Event(Event::Gap { .. })));
            return;
        }
        match frame {
            Frame::Ack(ack) => {
                let (counter, seq) = self.acked;
                assert!(ack.first == counter + 1 && ack.seq > seq, "{ack:?} after {counter}");
                let more = u64::from(ack.count) - 1;
                self.acked = (ack.first + more, ack.seq + more);
            }
            Frame::Nack { .. } => panic!("a text of the victim is refused: {frame:?}"),
            Frame::Reply { .. } | Frame::Event(_) => {}
        }
    }

    /// The victim's listener gets each message, in order.
    fn victim_hears(&mut self, bytes: &[u8]) {
        let messages = Reader::new(&bytes[FRAME_HEADER_BYTES..]).expect("a body");
        let head = messages.head();
        if head.tag != self.home {
            return;
        }
        assert!(head.first <= self.next, "{} comes after {}", head.first, self.next - 1);
        self.next = self.next.max(head.last() + 1);
        let delivered = self.next - 1;
        let report = Report { stream: self.home, delivered, by_broadcast: 0, datagrams: 0 };
        self.shell.hub.report(self.shell.now, self.listener, &report);
    }

    /// Checks that the victim gets everything that is owed once the strangers are silent.
    fn end(&mut self) {
        for _ in 0..4 {
            self.shell.pass(1_000_000);
            self.quiet();
        }
        self.speak();
        self.quiet();
        let (counter, seq) = self.acked;
        assert!(counter > 0 && counter == self.submitted, "{} of {}", counter, self.submitted);
        assert!(self.next > seq, "the listener gets {} of {seq}", self.next - 1);
        while !self.shell.sessions.is_empty() {
            self.shell.close(0, EndCause::Closed);
        }
        self.shell.act();
        assert_eq!((self.shell.hub.session_count(), self.shell.hub.member_count()), (0, 0));
    }
}

/// The streams that a frame describes.
fn streams_of(frame: &Frame) -> &[StreamInfo] {
    match frame {
        Frame::Reply { result: Ok(Reply::Joined(infos)), .. } => infos,
        Frame::Reply { result: Ok(Reply::Opened(info)), .. }
        | Frame::Event(Event::Opened(info)) => std::slice::from_ref(info),
        _ => &[],
    }
}

/// Returns true if the store's answer to a question may be about a stream.
fn asks(question: &Question, of: &StreamKey) -> bool {
    match question {
        Question::Page { stream, .. }
        | Question::Span { stream, .. }
        | Question::NumberAt { stream, .. }
        | Question::Origin { stream, .. } => stream == of,
        Question::Search(search) => match (&search.stream, of) {
            (Some(stream), _) => stream == of,
            (None, StreamKey::Room(room)) => !search.hidden.contains(room),
            (None, _) => true,
        },
        Question::Unread { marks, .. } => {
            marks.iter().any(|(_, stream)| stream.as_ref() == Some(of))
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Without the permanent ids of rooms, which are random.
fn without_ids(told: &str) -> String {
    let mut parts = told.split("RoomId(");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        all.push_str("RoomId");
        all.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    all
}
