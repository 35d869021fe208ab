//! A world from a seed: one server, some clients, and everything that goes wrong between them.

use std::collections::BTreeMap;

use moot::{
    chat::{
        clock::Now,
        frames::Hello,
        hub::{Hub, Rates},
        member::{EndCause, Kind, Level, Peer, SessionId},
        message::{BootId, Message, StreamName},
        names::{Label, RoomName, Target},
        recv_buffer::charge_bytes,
        refusal::RefusalCode,
        reply::Reply,
        request::{Announce, Follow, Request, SessionRequest},
        rules::Role,
        text::Text,
    },
    client::{Event, LinkError, member_state::Wish},
    wire::{frame::PROTOCOL_VERSION, hello::Welcome},
};

use crate::{
    checker::{Checker, Fate, Key, Place, To},
    client::{Ask, Client, text_of, uid_of, user_name},
    disk::Disk,
    random::Random,
    rooms::{OPERATOR, Rooms},
    server::{Conn, RECEIVE_BUFFER, Server, Up, page, rules_of},
    tally::{Seen, Tally},
};

/// Wall clock of the world's beginning.
const WALL_US: i64 = 1_700_000_000_000_000;
/// Events of one world are this far apart at least.
const GRID_US: u64 = 50;
/// Once all faults have ended, every reader has everything within this time.
const HEALED_WITHIN_US: u64 = 2_000_000;
/// The longest pause before a lagging or deaf member is tried again, and a little more.
const LONGEST_PAUSE_US: u64 = 61_000_000;

const LABELS: [Option<&str>; 3] = [None, Some("ci"), Some("bot")];

#[derive(Debug)]
pub struct Faults {
    pub loss: u64,
    pub doubling: u64,
    pub delay_us: u64,
    pub session_delay_us: u64,
    pub store_fails: u64,
    pub store_delay_us: u64,
    pub channel: u64,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Say,
    SayLong,
    SayMuch,
    Flood,
    SayDirect,
    Announce,
    Schedule,
    AskReceipt,
    Break,
    KillProcess,
    Quit,
    Stop,
    Deafen,
    Restart,
    Part,
    Follow,
    Moderate,
    ServerKick,
    Delete,
    Page,
    Retain,
    FillDisk,
    Idle,
}

/// Each with its weight in an average world.
const ACTS: [(Act, u64); 23] = [
    (Act::Say, 100),
    (Act::SayLong, 6),
    (Act::SayMuch, 10),
    (Act::Flood, 1),
    (Act::SayDirect, 14),
    (Act::Announce, 8),
    (Act::Schedule, 2),
    (Act::AskReceipt, 3),
    (Act::Break, 8),
    (Act::KillProcess, 3),
    (Act::Quit, 1),
    (Act::Stop, 8),
    (Act::Deafen, 4),
    (Act::Restart, 2),
    (Act::Part, 3),
    (Act::Follow, 5),
    (Act::Moderate, 6),
    (Act::ServerKick, 1),
    (Act::Delete, 1),
    (Act::Page, 3),
    (Act::Retain, 2),
    (Act::FillDisk, 1),
    (Act::Idle, 2),
];

pub struct World {
    pub random: Random,
    trace: bool,
    pub now_us: u64,
    pub wall_us: i64,
    pub rules: WorldRules,
    pub server: Server,
    pub clients: Vec<Client>,
    names: Vec<RoomName>,
    pub rooms: Rooms,
    pub disk: Disk,
    pub disk_full_until_us: u64,
    pub checker: Checker,
    pub faults: Faults,
    /// All faults have ended.
    pub quiet: bool,
    pub is_stored: bool,
    pub keys: u32,
    pub channels_failed: bool,
    /// A user who is to be removed from a room while something is on its way to them.
    pub aim: Option<(RoomName, u32)>,
    weights: Vec<u64>,
    last: u64,
    boots: u32,
    pub tally: Tally,
}

/// How the server of a world is set up, over all its boots.
#[derive(Debug)]
pub struct WorldRules {
    host: bool,
    broadcast: bool,
    members_min: usize,
    small_backlog: bool,
    in_flight: Option<usize>,
    pub rates: Rates,
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let is_stored = random.permille(700);
        let rules = WorldRules {
            host: random.permille(500),
            broadcast: random.permille(850),
            members_min: 1 + random.index(4),
            small_backlog: random.permille(250),
            in_flight: random.permille(250).then(|| 2_000 + random.index(8_000)),
            rates: match random.below(10) {
                0 => Rates { messages: 20 + random.below(80), ..Rates::default() },
                1 => Rates { repair_bytes: 20_000 + random.below(50_000), ..Rates::default() },
                _ => Rates::default(),
            },
        };
        let bad = random.permille(800);
        let mut chance = |max: u64| if bad { random.below(max) } else { 0 };
        let faults = Faults {
            loss: chance(400),
            doubling: chance(100),
            delay_us: chance(20_000),
            session_delay_us: chance(3_000),
            store_fails: chance(150),
            store_delay_us: 1 + chance(8_000),
            channel: chance(40) / 2,
        };
        let names: Vec<_> = ["alpha", "beta", "gamma", "memory", "secret"]
            .iter()
            .map(|name| RoomName::new(name).expect("a name"))
            .collect();
        let weights = ACTS.iter().map(|(act, weight)| {
            let often = [0, 1, 1, 2, 4][random.index(5)];
            match act {
                Act::Say => 100,
                _ => weight * often,
            }
        });
        let weights = weights.collect();
        let count = 3 + random.index(5);
        let clients = (0..count)
            .map(|at| {
                let uid = if at == 0 { OPERATOR } else { 1_000 + at as u32 % 3 };
                let rooms =
                    names.iter().filter(|_| at == 0 || random.permille(700)).cloned().collect();
                let mut client = Client::new(at, uid, LABELS[random.index(3)], rooms);
                client.follows_all_direct = random.permille(700);
                client
            })
            .collect();
        let last = if random.permille(300) { 5 } else { 0 };
        let run = BootId(seed as u32 ^ 0x5eed);
        let hub = Hub::new(rules_of(run));
        let mut checker = Checker::new();
        checker.backlog_is_small = rules.small_backlog;
        let mut world = Self {
            random,
            trace,
            now_us: 1_000_000,
            wall_us: WALL_US,
            rules,
            server: Server::new(hub, run),
            clients,
            names,
            rooms: Rooms::default(),
            disk: Disk::default(),
            disk_full_until_us: 0,
            checker,
            faults,
            quiet: false,
            is_stored,
            keys: 0,
            channels_failed: false,
            aim: None,
            weights,
            last,
            boots: 0,
            tally: Tally::default(),
        };
        world.tell(|| format!("stored {is_stored}, {:?}, {:?}", world.rules, world.faults));
        world.boot();
        for at in 0..world.clients.len() {
            world.start_process(at);
        }
        world
    }

    pub fn now(&self) -> Now {
        Now { mono_us: self.now_us, wall_us: self.wall_us + self.now_us.cast_signed() }
    }

    #[expect(clippy::print_stdout, reason = "for a person who plays a seed again")]
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} {}", self.now_us, what());
        }
    }

    // ---- the server's life -------------------------------------------------------------------

    /// A server begins with what the store has.
    fn boot(&mut self) {
        self.boots += 1;
        let run = BootId(self.server.run.0.wrapping_add(1));
        let mut rules = rules_of(run);
        rules.host = self.rules.host;
        rules.broadcast = self.rules.broadcast;
        rules.broadcast_members_min = self.rules.members_min;
        (rules.store, rules.persistent) = (self.is_stored, self.is_stored);
        if self.rules.small_backlog {
            rules.backlog_bytes_max = 3_000;
        }
        if let Some(bytes) = self.rules.in_flight {
            rules.in_flight_bytes_per_user_max = bytes;
        }
        rules.rates = self.rules.rates;
        let restored = self.disk.restored();
        let talked: Vec<_> =
            restored.conversations.iter().flat_map(|c| [c.users.0, c.users.1]).collect();
        self.server = Server::new(Hub::restored(rules, restored), run);
        for uid in talked {
            self.server.hub.learn_user(user_name(uid), uid);
        }
        self.tell(|| format!("the server begins, boot {:08x}", run.0));
        if !self.is_stored || self.boots == 1 {
            self.create_rooms();
        }
    }

    /// Two rooms that do not come into being by their first use: one in memory, one private.
    fn create_rooms(&mut self) {
        let id = self.server.next_session();
        let peer = Peer { uid: OPERATOR, user: user_name(OPERATOR), pid: 1, start: 1 };
        let hello = Hello::new(None, Kind::Script, [0; 16]);
        let now = self.now();
        for uid in 1_000..1_003 {
            self.server.hub.learn_user(user_name(uid), uid);
        }
        self.server.hub.open(now, id, peer, hello).expect("the first session");
        for (room, history, private) in [(3, false, false), (4, true, true)] {
            let room = self.names[room].clone();
            self.rooms.creates(&room, OPERATOR, private, false);
            self.rooms.stores(&room, history);
            let read_only = false;
            let request = Request::CreateRoom { room, history, private, read_only };
            self.server.hub.request(now, id, 1, request);
        }
        for uid in 1_000..1_002 {
            let room = self.names[4].clone();
            self.rooms.sets(&room, uid, Role::Invited, true, self.now_us);
            let request =
                Request::Role { room, user: user_name(uid), role: Role::Invited, on: true };
            self.server.hub.request(now, id, 2, request);
        }
        self.server.hub.close(now, id, EndCause::Quit);
        self.server.hub.end_turn(now);
        self.act();
        if let Some((_, records, entries)) = self.server.storing.take() {
            self.commit(records, entries);
            self.server.hub.stored(now);
            self.act();
        }
    }

    fn restart(&mut self) {
        self.tell(|| "the server is killed".to_owned());
        self.kill_server();
        if !self.is_stored {
            self.checker.forgets_schedules();
        }
        self.boot();
    }

    // ---- clients' lives ----------------------------------------------------------------------

    fn start_process(&mut self, at: usize) {
        let will = self.random.permille(600);
        let client = &mut self.clients[at];
        let process = client.process() + 1;
        self.checker.begins_process(process, client.uid);
        let will = will.then(|| self.checker.says(To::Will));
        let text = will.map(|number| text_of(number, 3));
        client.start(self.last, will.zip(text.as_deref()));
        client.connects_at_us = self.now_us + self.random.below(20_000);
    }

    fn connect(&mut self, at: usize) {
        let client = &self.clients[at];
        let (uid, pid, process) = (client.uid, client.pid(), client.process());
        let overlaps = self.server.conns.iter().any(|conn| conn.process == process);
        let peer = Peer { uid, user: user_name(uid), pid, start: u64::from(pid) };
        let id = self.server.next_session();
        let now = self.now();
        let hello = client.state.hello.clone();
        if self.server.hub.open(now, id, peer, hello.for_hub()).is_err() {
            self.clients[at].connects_at_us = self.now_us + 50_000;
            return;
        }
        self.tell(|| format!("client {at} (process {process}) connects as session {}", id.0));
        if overlaps {
            self.tally.count(Seen::Overlap);
        }
        let socket_bytes = if self.random.permille(300) { 20_000 } else { 200_000 };
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            version: String::new(),
            run: self.server.run,
            session: id.0,
            pid: 1,
            user: user_name(uid).to_string(),
            uid,
            broadcast: "multicast".to_owned(),
            epoch: 1,
            source_port: self.rules.broadcast.then_some(1),
        };
        let client = &mut self.clients[at];
        self.server.conns.push(Conn::new(id, client, socket_bytes));
        client.session = Some(id);
        client.state.begin(&welcome);
        self.after_input(at);
    }

    /// A client's connection broke; its process goes on.
    pub fn break_client(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(id) = client.session else { return };
        if !client.state.end("broken") {
            let process = client.process();
            for place in client.new_places.drain(..) {
                self.checker.leaves(process, place);
            }
        }
        client.forget_session();
        client.connects_at_us = self.now_us + 1_000 + self.random.below(200_000);
        if let Some(conn) = self.server.conn_mut(id) {
            conn.attached = false;
            conn.down.clear();
            conn.down_bytes = 0;
        }
        self.drain(at);
    }

    /// The server sees the end of a session later, or soon.
    fn end_up(&mut self, id: SessionId, cause: EndCause) {
        let late = if self.quiet { 0 } else { self.random.below(400_000) };
        let within = if self.random.permille(500) { late } else { late % 2_000 };
        if let Some(conn) = self.server.conn_mut(id) {
            let due = conn.up.back().map_or(0, |(due, _)| *due).max(self.now_us + within);
            conn.up.push_back((due, Up::End(cause)));
        }
    }

    fn kill_process(&mut self, at: usize) {
        let session = self.clients[at].session;
        self.break_client(at);
        if let Some(id) = session {
            self.end_up(id, EndCause::Killed);
        }
        let lost: Vec<_> = self.clients[at].submitted.values().copied().collect();
        for text in lost {
            self.checker.loses_sight(text);
        }
        self.start_process(at);
    }

    fn quit(&mut self, at: usize) {
        let Some(id) = self.clients[at].session else { return };
        self.clients[at].ask(&Request::Session(SessionRequest::Quit), Ask::Other);
        self.after_input(at);
        self.kill_process_quietly(at, id);
    }

    fn kill_process_quietly(&mut self, at: usize, id: SessionId) {
        self.break_client(at);
        self.end_up(id, EndCause::Closed);
        let lost: Vec<_> = self.clients[at].submitted.values().copied().collect();
        for text in lost {
            self.checker.loses_sight(text);
        }
        self.start_process(at);
    }

    // ---- what comes to a client --------------------------------------------------------------

    fn take_down(&mut self, at: usize) {
        let client = &self.clients[at];
        if client.stopped {
            return;
        }
        let Some(id) = client.session else { return };
        let now = self.now();
        loop {
            let Some(conn) = self.server.conn_mut(id) else {
                // The server ended it, and it has read the goodbye.
                return self.break_client(at);
            };
            if conn.down.front().is_none_or(|(due, _)| *due > now.mono_us) {
                break;
            }
            let Some((_, piece)) = conn.down.pop_front() else { break };
            conn.down_bytes -= piece.bytes.len();
            let client = &mut self.clients[at];
            let process = client.process();
            for begins in &piece.begins {
                let client = &mut self.clients[at];
                let label =
                    (begins.is_direct && !client.follows_all_direct).then_some(client.label);
                if self.checker.begins(process, begins.place, begins.first, label)
                    && !client.state.is_ready()
                {
                    client.new_places.push(begins.place);
                }
                client.places.insert(begins.place, begins.incarnation);
                let (key, first) = (self.checker.key(begins.place).clone(), begins.first);
                self.tell(|| format!("process {process} begins {key:?} at {first}"));
            }
            let half =
                if self.random.permille(100) { self.random.index(piece.bytes.len()) } else { 0 };
            let (first, rest) = piece.bytes.split_at(half);
            let state = &mut self.clients[at].state;
            let taken = state.take_bytes(now, first).and_then(|()| state.take_bytes(now, rest));
            self.drain(at);
            match taken {
                Ok(()) => {}
                Err(LinkError::Refused(_)) => {
                    // It was turned out, and is not to come back: another process does.
                    self.tell(|| format!("client {at} is turned out"));
                    return self.kill_process_quietly(at, id);
                }
                Err(e) => panic!("client {at}: {e}"),
            }
        }
        while let Some((due, _)) = self.clients[at].datagrams.front()
            && *due <= now.mono_us
        {
            let client = &mut self.clients[at];
            let Some((_, datagram)) = client.datagrams.pop_front() else { break };
            client.datagrams_charge -= charge_bytes(datagram.len());
            let mut bytes = datagram.to_vec();
            client.state.take_datagram(now, &mut bytes);
            self.drain(at);
        }
        self.clients[at].state.tick(now.mono_us);
        // A text for a room that it does not follow is refused without the server.
        self.drain(at);
        self.after_input(at);
    }

    /// Carries out a client's wishes and writes what it has to say.
    fn after_input(&mut self, at: usize) {
        let client = &mut self.clients[at];
        for wish in std::mem::take(&mut client.state.wishes) {
            match wish {
                Wish::Hear(tag, channel) => {
                    client.groups.insert(tag.0);
                    client.state.heard(tag, &channel, Some(RECEIVE_BUFFER as u64), [0; 16]);
                }
                Wish::Leave(tag) => {
                    client.groups.remove(&tag);
                }
            }
        }
        let Some(id) = client.session else { return };
        if client.state.out.is_empty() {
            return;
        }
        let delay =
            if self.quiet { 10 } else { 10 + self.random.below(self.faults.session_delay_us) };
        let Some(conn) = self.server.conn_mut(id) else { return };
        if !client.may_write(conn.up_bytes) {
            return;
        }
        let bytes = std::mem::take(&mut client.state.out);
        let due = conn.up.back().map_or(0, |(due, _)| *due).max(self.now_us + delay);
        conn.up_bytes += bytes.len();
        conn.up.push_back((due, Up::Bytes(bytes)));
    }

    fn place(&mut self, uid: u32, stream: &StreamName, run: Option<BootId>) -> Place {
        let key = match stream {
            StreamName::Room(room) => Key::Room(room.clone(), run),
            StreamName::Direct(user) => {
                let other = uid_of(user);
                Key::Pair(uid.min(other), uid.max(other), run)
            }
            StreamName::Announcements => Key::Announcements(run),
        };
        self.checker.place(key)
    }

    /// The place of a stream that a client follows now.
    fn followed_place(&mut self, at: usize, stream: &StreamName) -> Place {
        let stored = match stream {
            StreamName::Room(room) => self.rooms.is_stored(room, self.is_stored),
            StreamName::Direct(_) | StreamName::Announcements => self.is_stored,
        };
        let run = (!stored).then_some(self.server.run);
        self.place(self.clients[at].uid, stream, run)
    }

    fn drain(&mut self, at: usize) {
        let mut codes = Vec::new();
        while let Some(event) = self.clients[at].state.next_event() {
            match event {
                Event::Sent(sent) => {
                    let client = &mut self.clients[at];
                    let uid = client.uid;
                    let text = client.submitted.remove(&sent.counter).expect("one ack for a text");
                    let place = self.place(uid, &sent.id.stream, sent.id.run);
                    self.checker.acks(text, place, sent.id.seq);
                }
                Event::Rejected(refusal) => {
                    self.tally.count(Seen::Refused);
                    codes.push(refusal);
                }
                Event::NotFollowed(follow, _) => {
                    self.clients[at].rooms.retain(|room| Follow::Room(room.clone()) != follow);
                    if let Follow::Room(room) = follow {
                        let place = self.followed_place(at, &StreamName::Room(room));
                        self.checker.leaves(self.clients[at].process(), place);
                        self.clients[at].places.remove(&place);
                    }
                }
                Event::Ended(refused) => panic!("client {at} ended: {}", refused.text),
                Event::Reply(serial, result) => {
                    let ask =
                        self.clients[at].asks.remove(&serial).expect("one answer to a request");
                    self.take_answer(at, ask, result);
                }
                event => self.take_event(at, event),
            }
        }
        let unknown = codes.iter().any(|refusal| refusal.code == RefusalCode::UnknownSubmit);
        for counter in self.clients[at].state.take_refused() {
            let text = self.clients[at].submitted.remove(&counter).expect("one refusal for a text");
            if unknown {
                self.checker.loses_sight(text);
            } else {
                self.checker.refuses(text, &format!("{codes:?}"));
            }
        }
    }

    fn take_answer(
        &mut self,
        at: usize,
        ask: Ask,
        result: Result<Reply, moot::chat::refusal::Refusal>,
    ) {
        let client = &mut self.clients[at];
        let uid = client.uid;
        let connected = client.session.is_some();
        match (ask, result) {
            (Ask::Open { with, label, bytes }, Ok(Reply::Opened(_))) => {
                self.tally.count(Seen::Direct);
                let number = self.checker.says(To::Pair(uid, with, label));
                let label = label.map(|label| Label::new(label).expect("a name"));
                let to = Target::User { user: user_name(with), label };
                self.clients[at].say(to, None, number, bytes);
            }
            (Ask::Announce(text), Ok(Reply::Announced { number, .. })) => {
                client.announced.push(number);
                let place = self.followed_place(at, &StreamName::Announcements);
                self.checker.acks(text, place, number);
            }
            (Ask::Announce(text), Ok(Reply::Scheduled { .. })) => {
                self.tally.count(Seen::Scheduled);
                let said = self.checker.said_mut(text);
                (said.promised, said.fate) = (true, Fate::Unknown);
            }
            (Ask::Announce(text), Err(refusal)) => {
                // A scheduled one is active, though not stored yet; and the sender of any other can't know
                // once its session is gone.
                let scheduled = self.checker.said(text).not_before_us != i64::MIN;
                if connected && !scheduled {
                    self.checker.refuses(text, &refusal.text);
                } else {
                    self.checker.loses_sight(text);
                }
            }
            (_, _) => {}
        }
    }

    fn take_event(&mut self, at: usize, event: Event) {
        let process = self.clients[at].process();
        match event {
            Event::Message(message) => self.show(at, &message),
            Event::Gap { stream, range: Some((first, last)), .. } => {
                self.tally.count(Seen::Gap);
                let place = self.followed_place(at, &stream);
                self.checker.gap(process, place, first, last);
            }
            Event::Removed { room, .. } | Event::Deleted { room } => {
                self.tell(|| format!("client {at} is out of {room}"));
                let place = self.followed_place(at, &StreamName::Room(room.clone()));
                self.checker.leaves(process, place);
                self.clients[at].places.remove(&place);
                self.clients[at].rooms.retain(|of| *of != room);
            }
            Event::Ready { .. }
            | Event::Gap { .. }
            | Event::Joined { .. }
            | Event::Left { .. }
            | Event::Topic { .. }
            | Event::Cancelled { .. }
            | Event::Invited { .. }
            | Event::Slowed
            | Event::Offer { .. }
            | Event::Answered { .. }
            | Event::Abandoned { .. }
            | Event::End { .. }
            | Event::Sent(_)
            | Event::Rejected(_)
            | Event::NotFollowed(..)
            | Event::Reply(..)
            | Event::Ended(_) => {}
        }
    }

    fn show(&mut self, at: usize, message: &Message) {
        let (process, uid) = (self.clients[at].process(), self.clients[at].uid);
        let run = match &message.id.stream {
            // Announcements are named without their boot.
            StreamName::Announcements => (!self.is_stored).then_some(self.server.run),
            StreamName::Room(_) | StreamName::Direct(_) => message.id.run,
        };
        let place = self.place(uid, &message.id.stream, run);
        let wall_us = message.wall_us - self.wall_us;
        self.tell(|| format!("process {process} shows {}", message.id));
        let (seq, text) = (message.id.seq, message.text.as_str());
        // A retained one comes beside the stream's order to members that are new, in a room above all.
        let retained = message.notice.as_ref().filter(|notice| notice.retained);
        let beside = |room: &Option<_>| room.is_some() || self.checker.is_past(process, place, seq);
        if retained.is_some_and(|notice| beside(&notice.room)) {
            self.checker.shows_retained(place, seq, text);
        } else {
            self.checker.shows(process, place, seq, text, wall_us);
        }
    }

    // ---- what happens ------------------------------------------------------------------------

    pub fn run(&mut self) {
        let acts = 100 + self.random.below(150);
        for _ in 0..acts {
            self.disturb();
            let pause = match self.random.below(1_000) {
                0..600 => self.random.below(1_500),
                600..900 => self.random.below(25_000),
                900..985 => self.random.below(400_000),
                985..998 => self.random.below(6_000_000),
                _ => self.random.below(LONGEST_PAUSE_US),
            };
            self.pass(pause);
        }
        self.heal();
        self.settle();
        self.check_receipts();
        self.bring_back();
        if self.random.permille(50) {
            self.judge_deafness();
        }
    }

    /// Virtual time passes; nothing new is begun.
    fn pass(&mut self, us: u64) {
        let until = self.now_us + us;
        while self.step(until) {}
        self.now_us = until;
    }

    /// One instant at which something is due, until a time; false if nothing is.
    fn step(&mut self, until_us: u64) -> bool {
        let now_us = self.now_us;
        let mut due = self.server.due_us(now_us);
        for client in &self.clients {
            let conn = client.session.and_then(|id| self.server.conn(id));
            let down = match (client.session, conn) {
                (Some(_), None) => Some(now_us),
                (_, conn) => conn.and_then(|conn| conn.down.front()).map(|(due, _)| *due),
            };
            if !client.stopped && conn.is_some_and(|conn| client.may_write(conn.up_bytes)) {
                due = due.min(now_us);
            }
            due = due.min(client.due_us(down).unwrap_or(u64::MAX));
        }
        let at = due.max(now_us + 1).next_multiple_of(GRID_US);
        if at > until_us {
            return false;
        }
        self.now_us = at;
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            if client.session.is_none() && !client.stopped && client.connects_at_us <= self.now_us {
                self.connect(at);
            }
        }
        self.serve();
        if let Some((room, uid)) = self.aim.take() {
            let user = user_name(uid);
            let kick =
                Request::KickFromRoom { room: room.clone(), user: user.clone(), label: None };
            let ban = Request::Role { room, user, role: Role::Banned, on: true };
            let request = if self.random.permille(700) { kick } else { ban };
            self.operator_asks(&request);
        }
        for at in 0..self.clients.len() {
            self.take_down(at);
        }
        true
    }

    /// A client that can do something now.
    fn any_client(&mut self) -> Option<usize> {
        let at = self.random.index(self.clients.len());
        (!self.clients[at].stopped).then_some(at)
    }

    fn any_room(&mut self) -> RoomName {
        self.names[self.random.index(self.names.len())].clone()
    }

    fn disturb(&mut self) {
        let Some(drawn) = self.random.weighted(&self.weights) else { return };
        let act = ACTS[drawn].0;
        match act {
            Act::Say => self.say(1, 8),
            Act::SayLong => self.say(1, 9_000),
            Act::SayMuch => {
                let count = 5 + self.random.below(25);
                let bytes = if self.random.permille(200) { 3_000 } else { 60 };
                self.say(count, bytes);
            }
            Act::Flood => {
                if let Some(at) = self.any_client()
                    && self.random.permille(50)
                {
                    self.flood(at);
                }
            }
            Act::SayDirect => self.say_direct(),
            Act::Announce => self.announce(false),
            Act::Schedule => self.announce(true),
            Act::AskReceipt => {
                if let Some(at) = self.any_client()
                    && let Some(number) = self.clients[at].announced.last().copied()
                {
                    self.clients[at].ask_receipt(number);
                    self.after_input(at);
                }
            }
            Act::Break => {
                let at = self.random.index(self.clients.len());
                if let Some(id) = self.clients[at].session {
                    self.tell(|| format!("client {at} loses session {}", id.0));
                    self.tally.count(Seen::Break);
                    self.break_client(at);
                    self.end_up(id, EndCause::Closed);
                }
            }
            Act::KillProcess => {
                let at = self.random.index(self.clients.len());
                self.tell(|| format!("client {at} is killed"));
                self.tally.count(Seen::KilledProcess);
                self.kill_process(at);
            }
            Act::Quit => {
                if let Some(at) = self.any_client() {
                    self.tell(|| format!("client {at} quits"));
                    self.tally.count(Seen::Quit);
                    self.quit(at);
                }
            }
            Act::Stop => {
                let at = self.random.index(self.clients.len());
                self.clients[at].stopped ^= true;
                self.tally.count(Seen::Stopped);
                self.tell(|| format!("client {at} stopped: {}", self.clients[at].stopped));
            }
            Act::Deafen => {
                let at = self.random.index(self.clients.len());
                self.clients[at].deaf ^= true;
                self.tally.count(Seen::Deaf);
                self.tell(|| format!("client {at} deaf: {}", self.clients[at].deaf));
            }
            Act::Restart => self.restart(),
            Act::Part => self.part(),
            Act::Follow => self.follow(),
            Act::Moderate => self.moderate(),
            Act::ServerKick => {
                let user = user_name(1_000 + self.random.below(3) as u32);
                self.operator_asks(&Request::Kick { user, label: None });
            }
            Act::Delete => {
                let room = self.names[self.random.index(3)].clone();
                self.operator_asks(&Request::DeleteRoom { room });
            }
            Act::Page => {
                if let Some(at) = self.any_client() {
                    let room = self.any_room();
                    let place = self.room_place(&room);
                    let last = self.checker.newest(place);
                    self.clients[at].ask(&page(&room, last.max(1)), Ask::Other);
                    self.after_input(at);
                }
            }
            Act::Retain => {
                if self.is_stored && !self.disk.streams.is_empty() {
                    self.tally.count(Seen::Retention);
                    let at = self.random.index(self.disk.streams.len());
                    let count = 1 + self.random.index(12);
                    let (key, first) = self.disk.retain(at, count);
                    self.tell(|| format!("{key:?} is kept from {first}"));
                    self.checker.retains(crate::server::key_of(&key), first);
                }
            }
            Act::FillDisk => self.disk_full_until_us = self.now_us + self.random.below(4_000_000),
            Act::Idle => {
                let us = self.random.below(3_000_000);
                self.pass(us);
            }
        }
    }

    fn say(&mut self, count: u64, bytes: u64) {
        let Some(at) = self.any_client() else { return };
        let room = self.any_room();
        self.say_in(at, &room, count, bytes);
    }

    fn say_in(&mut self, at: usize, room: &RoomName, count: u64, bytes: u64) {
        let place = self.room_place(room);
        for _ in 0..count {
            let client = &self.clients[at];
            if client.state.unacked() >= 60 {
                break;
            }
            let incarnation = client.places.get(&place).map(|incarnation| (place, *incarnation));
            let to = To::Room(room.clone(), incarnation);
            let number = self.checker.says(to);
            let bytes = self.random.index(bytes as usize);
            self.tell(|| format!("client {at} submits {number} to {room}"));
            self.clients[at].say(Target::Room(room.clone()), None, number, bytes);
        }
        self.after_input(at);
    }

    /// More than one stream may have in flight.
    fn flood(&mut self, at: usize) {
        let room = self.any_room();
        let place = self.room_place(&room);
        for _ in 0..50 {
            let incarnation = self.clients[at].places.get(&place).map(|i| (place, *i));
            let number = self.checker.says(To::Room(room.clone(), incarnation));
            self.clients[at].say(Target::Room(room.clone()), None, number, 30_000);
        }
        self.after_input(at);
    }

    fn say_direct(&mut self) {
        let Some(at) = self.any_client() else { return };
        let with = 1_000 + self.random.below(3) as u32;
        let label = LABELS[self.random.index(3)];
        self.say_to(at, with, label);
    }

    fn say_to(&mut self, at: usize, with: u32, label: Option<&'static str>) {
        let bytes = self.random.index(40);
        let target_label = label.map(|label| Label::new(label).expect("a name"));
        let target = Target::User { user: user_name(with), label: target_label };
        self.clients[at].ask(&Request::Open { target }, Ask::Open { with, label, bytes });
        self.after_input(at);
    }

    fn announce(&mut self, scheduled: bool) {
        if let Some(at) = self.any_client() {
            self.announce_by(at, scheduled);
        }
    }

    fn announce_by(&mut self, at: usize, scheduled: bool) {
        let room = (!scheduled && self.random.permille(500)).then(|| self.any_room());
        let to = room.clone().map_or(To::All, To::Members);
        let number = self.checker.says(to);
        let text = Text::new(&text_of(number, 4)).expect("a text");
        let mut announce = Announce::new(Level::Notice, text);
        announce.retain = self.random.permille(200);
        announce.expires_us =
            self.random.permille(300).then(|| 500_000 + self.random.below(5_000_000));
        let said = self.checker.said_mut(number);
        said.may_be_hidden = announce.expires_us.is_some();
        if scheduled {
            let at_us = (self.now_us + 500_000 + self.random.below(5_000_000)).cast_signed();
            announce.at_us = Some(self.wall_us + at_us);
            said.not_before_us = at_us;
        }
        if room.is_some() {
            self.tally.count(Seen::RoomAnnouncement);
        }
        announce.room = room;
        self.tell(|| format!("client {at} announces {number}"));
        self.clients[at].ask(&Request::Announce(announce), Ask::Announce(number));
        self.after_input(at);
    }

    fn operator_asks(&mut self, request: &Request) {
        self.tell(|| format!("the operator asks {request:?}"));
        if self.clients[0].stopped || self.clients[0].session.is_none() {
            return;
        }
        self.clients[0].ask(request, Ask::Other);
        self.after_input(0);
    }

    fn moderate(&mut self) {
        let room = self.any_room();
        let user = user_name(1_000 + self.random.below(3) as u32);
        let role = |role, on| Request::Role { room: room.clone(), user: user.clone(), role, on };
        let request = match self.random.below(10) {
            0 | 1 => Request::KickFromRoom { room, user, label: None },
            2 => role(Role::Banned, true),
            3..6 => role(Role::Banned, false),
            6 => role(Role::Invited, false),
            7 | 8 => role(Role::Invited, true),
            _ => {
                self.tally.count(Seen::Mute);
                role(Role::Muted, self.random.permille(500))
            }
        };
        self.operator_asks(&request);
    }

    fn part(&mut self) {
        let Some(at) = self.any_client() else { return };
        if !self.clients[at].state.is_ready() || self.clients[at].rooms.is_empty() {
            return;
        }
        let which = self.random.index(self.clients[at].rooms.len());
        let room = self.clients[at].rooms[which].clone();
        let place = self.room_place(&room);
        if !self.clients[at].places.contains_key(&place) {
            return;
        }
        self.clients[at].rooms.remove(which);
        self.tell(|| format!("client {at} leaves {room}"));
        self.clients[at].state.part(&room, true);
        self.clients[at].places.remove(&place);
        self.checker.leaves(self.clients[at].process(), place);
        if self.random.permille(300) {
            self.follow_room(at, room);
        }
        self.after_input(at);
    }

    fn follow(&mut self) {
        let Some(at) = self.any_client() else { return };
        let room = self.any_room();
        self.follow_room(at, room);
        self.after_input(at);
    }

    fn follow_room(&mut self, at: usize, room: RoomName) {
        let client = &mut self.clients[at];
        if client.rooms.contains(&room) || !client.state.is_ready() {
            return;
        }
        client.rooms.push(room.clone());
        client.state.follow(Follow::Room(room));
    }

    // ---- the end -----------------------------------------------------------------------------

    fn heal(&mut self) {
        self.tell(|| "all faults end".to_owned());
        self.quiet = true;
        self.disk_full_until_us = 0;
        for client in &mut self.clients {
            client.stopped = false;
            client.deaf = false;
            client.connects_at_us = client.connects_at_us.min(self.now_us + 10_000);
        }
    }

    fn settle(&mut self) {
        // Repairs may be throttled: one read of this store, up to 600 kB, leaves a debt of 30 s.
        let within_us = HEALED_WITHIN_US * if self.rules.rates.repair_bytes > 0 { 20 } else { 1 };
        let (mut deadline_us, mut before) = (self.now_us + within_us, u64::MAX);
        // Small limits make senders wait for each other: there each step has that time.
        let rules = &self.rules;
        let is_slow = rules.in_flight.is_some() || rules.small_backlog || rules.rates.messages > 0;
        while let Some(open) = self.unsettled() {
            let unacked = self.clients.iter().map(|client| client.state.unacked() as u64);
            let unpublished = u64::MAX / 2 - self.checker.texts_published();
            let left = unacked.sum::<u64>() + self.behind() + unpublished;
            if is_slow && left < before {
                deadline_us = self.now_us + within_us;
                before = left;
            }
            assert!(self.now_us < deadline_us, "after all faults ended: {open}");
            if !self.step(deadline_us) {
                self.now_us = deadline_us;
            }
        }
    }

    /// Messages that readers do not have yet.
    fn behind(&self) -> u64 {
        let of = |client: &Client| {
            let process = client.process();
            client.places.keys().map(|place| self.checker.behind(process, *place)).sum::<u64>()
        };
        self.clients.iter().map(of).sum()
    }

    fn unsettled(&mut self) -> Option<String> {
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            if !client.is_idle() {
                return Some(format!(
                    "client {at}: session {:?}, ready {}, {} unacked {:?}, asks {:?}",
                    client.session,
                    client.state.is_ready(),
                    client.state.unacked(),
                    client.submitted,
                    client.asks
                ));
            }
            if !client.state.has_shown_all() {
                return Some(format!("client {at} has not shown all"));
            }
            let process = client.process();
            for place in client.places.keys() {
                if let Some(seq) = self.checker.lacks(process, *place) {
                    let key = self.checker.key(*place);
                    return Some(format!("client {at} lacks {seq} of {key:?}"));
                }
            }
        }
        if let Some(number) = self.server.uncovered(&self.checker.published) {
            return Some(format!("the announcer of !{number} waits"));
        }
        if let Some((text, key)) = self.checker.will_that_is_due()
            && self.rules.in_flight.is_none()
            && self.rules.rates.messages == 0
        {
            return Some(format!("will {text} is not in {key:?}"));
        }
        if !self.is_stored {
            // One that no member was there to see can't be found.
            return None;
        }
        let missed = self.checker.missed(self.now_us.cast_signed() - 1_500_000);
        missed.map(|text| format!("the scheduled announcement {text} did not come"))
    }

    /// Receipts are compared with the book as they come.
    fn check_receipts(&mut self) {
        for at in 0..self.clients.len() {
            for number in self.clients[at].announced.clone() {
                self.clients[at].ask_receipt(number);
            }
            self.after_input(at);
        }
        self.settle();
    }

    /// Members that lag or do not hear are tried again after their pause, and then nobody is left behind.
    fn bring_back(&mut self) {
        let counters = self.server.hub.counters();
        if counters.lagging > 0 {
            self.tally.count(Seen::Lagging);
        }
        if counters.lagging == 0 && (counters.deaf == 0 || self.channels_failed) {
            return;
        }
        self.pass(LONGEST_PAUSE_US);
        let everywhere = self.say_everywhere();
        self.settle();
        self.pass(LONGEST_PAUSE_US);
        let after = self.server.hub.counters();
        if everywhere {
            assert_eq!(after.lagging, 0, "members that lag after their longest pause");
        }
        if !self.channels_failed {
            assert_eq!(after.deaf, 0, "members that do not hear after their longest pause");
        }
        if counters.lagging > 0 {
            self.tally.count(Seen::LaggingAgain);
        }
        if counters.deaf > 0 {
            self.tally.count(Seen::BroadcastAgain);
        }
    }

    /// Submits a message to each stream; returns false if nobody may in one of them.
    fn say_everywhere(&mut self) -> bool {
        let mut all: BTreeMap<Place, bool> = BTreeMap::new();
        for at in 0..self.clients.len() {
            let uid = self.clients[at].uid;
            for place in self.clients[at].places.keys().copied().collect::<Vec<_>>() {
                if all.get(&place).copied().unwrap_or(false) {
                    continue;
                }
                let key = self.checker.key(place).clone();
                let may = match &key {
                    Key::Room(room, _) => self.rooms.may_speak(room, uid),
                    Key::Pair(..) | Key::Announcements(_) => true,
                };
                all.insert(place, may);
                match key {
                    Key::Room(room, _) if may => self.say_in(at, &room, 1, 8),
                    Key::Room(..) => {}
                    Key::Pair(low, high, _) => {
                        self.say_to(at, if low == uid { high } else { low }, None);
                    }
                    Key::Announcements(_) => self.announce_by(at, false),
                }
            }
        }
        all.values().all(|may| *may)
    }

    /// A member that gets no datagram any longer is served by session after a while.
    fn judge_deafness(&mut self) {
        let has_channel = self.rules.broadcast && !self.channels_failed;
        let deaf = self.server.hub.counters().deaf;
        let Some(at) = (1..self.clients.len()).find(|at| !self.clients[*at].rooms.is_empty())
        else {
            return;
        };
        let room = self.clients[at].rooms[0].clone();
        if !has_channel || deaf > 0 || room == self.names[4] || self.rules.members_min > 2 {
            return;
        }
        let may_speak = self.rooms.may_speak(&room, self.clients[0].uid);
        if !self.clients[0].rooms.contains(&room) || !may_speak {
            return;
        }
        self.clients[at].deaf = true;
        for _ in 0..45 {
            self.say_in(0, &room, 1, 8);
            self.pass(300_000);
        }
        self.settle();
        self.pass(300_000);
        assert!(
            self.server.hub.counters().deaf > 0,
            "client {at} hears nothing, and it is not seen"
        );
        self.tally.count(Seen::DeafJudged);
        self.clients[at].deaf = false;
        self.bring_back();
    }
}
