//! A world from a seed: one hub, some clients, a network that loses, doubles, delays and breaks.

use std::collections::{BTreeMap, HashMap};

use moot::{
    chat::{
        batch::Builder,
        charge::charge_bytes,
        hub::{
            Action, Chunk, Entry, Fetch, Fetched, Frame, Hello, Hub, Line, Now, Rules, StreamKey,
            Submit, SubmitTo,
        },
        inbox::Via,
        member::{EndCause, Kind, Peer, SessionId},
        message::RunId,
        names::{RoomName, UserName},
        verbs::{Channel, ChannelKey, Request, StreamTag},
    },
    wire::frame::batch_header,
};

use crate::{
    checker::Checker,
    client::{Client, Down, HEADER, Up},
    random::Random,
};

/// Receive buffer of a member's channel, in charge.
pub const RECEIVE_BUFFER: usize = 128 * 1024;
/// Frames that a session's socket takes before it is full.
const SOCKET_FRAMES: usize = 12;
const STEP_US: u64 = 1_000;
const RUN: RunId = RunId(7);

struct Faults {
    loss: u64,
    doubling: u64,
    delay_us: u64,
    breaks: u64,
    stops: u64,
    deafness: u64,
    store_fails: u64,
}

pub struct World {
    random: Random,
    trace: bool,
    now_us: u64,
    hub: Hub,
    clients: Vec<Client>,
    rooms: Vec<RoomName>,
    sessions: HashMap<SessionId, usize>,
    next_session: u64,
    tags: HashMap<u32, String>,
    storing: Option<(u64, Vec<Entry>)>,
    /// What the store has, by stream and number.
    disk: HashMap<StreamKey, BTreeMap<u64, Entry>>,
    fetching: Vec<(u64, Fetch)>,
    checker: Checker,
    faults: Faults,
    quiet: bool,
    chatter: u64,
    said: u64,
    tick_at_us: u64,
    last: u64,
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let store = random.permille(400);
        let small_backlog = random.permille(200);
        let mut rules = Rules::new(RUN, 0, batch_header);
        rules.host = random.permille(500);
        rules.broadcast = random.permille(850);
        rules.broadcast_members_min = 1 + random.below(4) as usize;
        rules.store = store;
        let persistent = store && random.permille(700);
        rules.persistent = persistent;
        if small_backlog {
            rules.backlog_bytes_max = 3_000;
        }
        if random.permille(300) {
            rules.in_flight_bytes_per_user_max = 4_000;
        }
        let names = ["alpha", "beta", "memory"];
        let rooms: Vec<_> = names.iter().map(|r| RoomName::new(r).unwrap()).collect();
        let bad = random.permille(800);
        let mut chance = |max: u64| if bad { random.below(max) } else { 0 };
        let faults = Faults {
            loss: chance(400),
            doubling: chance(100),
            delay_us: chance(20_000),
            breaks: chance(8),
            stops: chance(6),
            deafness: chance(4),
            store_fails: chance(200),
        };
        let count = 3 + random.below(6) as usize;
        let clients = (0..count)
            .map(|id| {
                let of: Vec<_> = rooms.iter().filter(|_| random.permille(700)).cloned().collect();
                Client::new(id, 1000 + (id as u32 % 3), of)
            })
            .collect();
        let chatter = 20 + random.below(400);
        let last = if random.permille(300) { 5 } else { 0 };
        Self {
            trace,
            now_us: 1_000_000,
            hub: Hub::new(rules),
            clients,
            rooms,
            sessions: HashMap::new(),
            next_session: 1,
            tags: HashMap::new(),
            storing: None,
            disk: HashMap::new(),
            fetching: Vec::new(),
            checker: Checker::new(small_backlog, persistent, store),
            faults,
            quiet: false,
            chatter,
            said: 0,
            tick_at_us: 0,
            last,
            random,
        }
    }

    fn now(&self) -> Now {
        Now { mono_us: self.now_us, wall_us: self.now_us.cast_signed() }
    }

    #[expect(clippy::print_stdout, reason = "for whoever plays a seed again")]
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} {}", self.now_us, what());
        }
    }

    pub fn run(&mut self) {
        self.make_memory_room();
        let steps = 300 + self.random.below(500);
        for _ in 0..steps {
            self.disturb();
            self.chat();
            self.step();
        }
        self.heal();
        let deadline_us = self.now_us + 2_000_000;
        while !self.is_settled() {
            assert!(self.now_us < deadline_us, "2 s after all faults ended: {}", self.unsettled());
            self.step();
        }
        self.check_receipts();
    }

    /// One room is not stored, in every world.
    fn make_memory_room(&mut self) {
        let session = self.open(usize::MAX, 1000);
        let room = self.rooms[2].clone();
        self.hub.request(
            self.now(),
            session,
            1,
            Request::CreateRoom { room, history: false, private: false, read_only: false },
        );
        self.hub.close(self.now(), session, EndCause::Quit);
        self.hub.end_turn(self.now());
        self.act();
    }

    fn open(&mut self, client: usize, uid: u32) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let user = UserName::new(&format!("user{uid}")).unwrap();
        let instance = self.clients.get(client).map_or([0xff; 16], |c| c.instance);
        let peer = Peer { uid, user, pid: client as u32, start: client as u64 };
        let hello = Hello { label: None, kind: Kind::Script, instance };
        self.hub.open(self.now(), session, peer, hello).unwrap();
        session
    }

    fn connect(&mut self, at: usize) {
        let uid = self.clients[at].uid;
        let session = self.open(at, uid);
        self.sessions.insert(session, at);
        self.tell(|| format!("client {at} connects as session {}", session.0));
        self.clients[at].connected(self.now_us, session, RUN, self.last);
    }

    fn disconnect(&mut self, at: usize) {
        let Some(session) = self.clients[at].session else { return };
        self.tell(|| format!("client {at} loses session {}", session.0));
        self.sessions.remove(&session);
        let cause = [EndCause::Closed, EndCause::Killed][self.random.below(2) as usize];
        self.hub.close(self.now(), session, cause);
        self.clients[at].disconnected();
        self.clients[at].down_until_us = self.now_us + self.random.below(100_000);
    }

    fn disturb(&mut self) {
        for at in 0..self.clients.len() {
            if self.random.permille(self.faults.breaks) {
                self.disconnect(at);
            }
            if self.random.permille(self.faults.stops) {
                self.clients[at].stopped ^= true;
                self.tell(|| format!("client {at} stopped: {}", self.clients[at].stopped));
            }
            if self.random.permille(self.faults.deafness) {
                self.clients[at].deaf ^= true;
                self.tell(|| format!("client {at} deaf: {}", self.clients[at].deaf));
            }
        }
    }

    fn chat(&mut self) {
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            if client.stopped || client.paused || client.unacked.len() >= 60 {
                continue;
            }
            if self.random.permille(self.chatter) {
                let room = self.rooms[self.random.below(3) as usize].clone();
                self.said += 1;
                let long = if self.random.permille(20) { 9_000 } else { 5 };
                let text =
                    format!("{} {}", self.said, "x".repeat(self.random.below(long) as usize));
                self.clients[at].say(self.now_us, room, text);
            }
            if self.clients[at].session.is_some() && self.random.permille(3) {
                self.said += 1;
                let text = format!("announcement {}", self.said);
                self.clients[at].announce(self.now_us, &text);
            }
        }
    }

    fn heal(&mut self) {
        self.tell(|| "all faults end".to_owned());
        self.quiet = true;
        for client in &mut self.clients {
            client.stopped = false;
            client.deaf = false;
            client.down_until_us = 0;
        }
    }

    fn step(&mut self) {
        self.now_us += STEP_US;
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            if client.session.is_none() && !client.stopped && client.down_until_us <= self.now_us {
                self.connect(at);
            }
        }
        self.take_up();
        self.hub.end_turn(self.now());
        self.act();
        self.store();
        self.fetch();
        if self.now_us >= self.tick_at_us {
            self.hub.tick(self.now());
            self.act();
            self.tick_at_us = self.now_us + self.hub.tick_after_ms() * 1000;
        }
        for at in 0..self.clients.len() {
            self.pump(at);
            self.act();
            self.take_down(at);
        }
    }

    /// What clients sent arrives, in order, unless the server does not read.
    fn take_up(&mut self) {
        for at in 0..self.clients.len() {
            let mut taken = 0;
            while taken < 20
                && !self.clients[at].paused
                && self.clients[at].up.front().is_some_and(|(due, _)| *due <= self.now_us)
            {
                let (_, up) = self.clients[at].up.pop_front().unwrap();
                taken += 1;
                let session = self.clients[at].session.unwrap();
                let now = self.now();
                self.hub.heard(now, session);
                match up {
                    Up::Request(serial, request) => self.hub.request(now, session, serial, request),
                    Up::Report(report) => self.hub.report(now, session, &report),
                    Up::Repair(tag, first, last) => self.hub.repair(now, session, tag, first, last),
                    Up::Pong => {}
                    Up::Submit { counter, room, text } => {
                        let lines = vec![Line { reply_to: None, text: &text }];
                        let to = SubmitTo::Room(room);
                        let submit = Submit { first: counter, to, to_label: None, lines };
                        self.hub.submit(now, session, &submit);
                    }
                }
                self.act();
            }
        }
    }

    fn act(&mut self) {
        while self.hub.has_actions() {
            let actions: Vec<_> = self.hub.actions().collect();
            for action in actions {
                self.carry_out(action);
            }
        }
    }

    fn client_of(&mut self, session: SessionId) -> Option<&mut Client> {
        let at = *self.sessions.get(&session)?;
        self.clients.get_mut(at)
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send(session, frame) => {
                if let Frame::Reply { result: Ok(reply), .. } = &frame {
                    self.note_tags(reply);
                }
                if let Some(client) = self.client_of(session) {
                    client.output.push_back(Down::Frame(frame));
                }
            }
            Action::Wake(session) => {
                if let Some(client) = self.client_of(session) {
                    client.hungry = true;
                }
            }
            Action::Pause(session) => {
                if let Some(client) = self.client_of(session) {
                    client.paused = true;
                }
            }
            Action::Resume(session) => {
                if let Some(client) = self.client_of(session) {
                    client.paused = false;
                }
            }
            Action::Publish(tag, frame) => self.publish(tag, &frame),
            Action::OpenChannel(tag) => {
                let port = self.random.permille(900).then_some(4242);
                let key = ChannelKey { number: 1, bytes: [0; 32] };
                let channel = port.map(|port| Channel { group: [239, 255, 0, 1], port, key });
                self.hub.channel_opened(tag, channel);
            }
            Action::Fetch(fetch) => {
                self.fetching.push((self.now_us + self.random.below(5_000), fetch));
            }
            Action::Store(_, entries) => {
                assert!(self.storing.is_none(), "one transaction at a time");
                self.storing = Some((self.now_us + self.random.below(8_000), entries));
            }
            Action::NewKey(_)
            | Action::CloseChannel(_)
            | Action::End(..)
            | Action::Log(_)
            | Action::Row(_)
            | Action::RowGone(_) => {}
        }
    }

    fn note_tags(&mut self, reply: &moot::chat::verbs::Reply) {
        use moot::chat::verbs::{Reply, StreamLabel};
        if let Reply::Joined(infos) = reply {
            for info in infos {
                if let StreamLabel::Room(room) = &info.name {
                    self.tags.insert(info.tag.0, room.to_string());
                }
            }
        }
    }

    fn publish(&mut self, _tag: StreamTag, frame: &[u8]) {
        let body = &frame[HEADER..];
        let charge = charge_bytes(body.len() + 32);
        for client in &mut self.clients {
            let (loss, doubling) =
                if self.quiet { (0, 0) } else { (self.faults.loss, self.faults.doubling) };
            if client.session.is_none() || client.deaf || self.random.permille(loss) {
                continue;
            }
            let held: usize =
                client.datagrams.iter().map(|(_, b)| charge_bytes(b.len() + 32)).sum();
            if held + charge > RECEIVE_BUFFER {
                continue;
            }
            let copies = 1 + u64::from(self.random.permille(doubling));
            for _ in 0..copies {
                let delay = if self.faults.delay_us > 0 && !self.quiet {
                    self.random.below(self.faults.delay_us)
                } else {
                    0
                };
                client.datagrams.push((self.now_us + delay, body.to_vec()));
            }
        }
    }

    fn store(&mut self) {
        if self.storing.as_ref().is_none_or(|(due, _)| *due > self.now_us) {
            return;
        }
        let (_, entries) = self.storing.take().unwrap();
        if !self.quiet && self.random.permille(self.faults.store_fails) {
            self.tell(|| format!("the store refuses {} messages", entries.len()));
            self.hub.store_failed(self.now(), "disk full");
        } else {
            for entry in &entries {
                self.checker.commits(&entry.text);
                let stream = self.disk.entry(StreamKey::clone(&entry.stream)).or_default();
                stream.insert(entry.seq, entry.clone());
            }
            self.hub.stored(self.now());
        }
        self.act();
    }

    /// The store's readers: older messages for those that fell behind the backlog, a few at a time.
    fn fetch(&mut self) {
        let (due, waiting) = std::mem::take(&mut self.fetching)
            .into_iter()
            .partition::<Vec<_>, _>(|(due, _)| *due <= self.now_us);
        self.fetching = waiting;
        for (_, fetch) in due {
            if !self.quiet && self.random.permille(50) {
                self.hub.fetch_failed(self.now(), &fetch);
                continue;
            }
            let few = fetch.last.min(fetch.first + self.random.below(20));
            let mut builder = Builder::default();
            builder.begin(HEADER, fetch.tag, fetch.first);
            let stream = &self.disk[&fetch.stream];
            let mut last = 0;
            for (seq, entry) in stream.range(fetch.first..=few) {
                if !builder.push(HEADER, &entry.draft()) {
                    break;
                }
                last = *seq;
            }
            assert!(last > 0, "everything is on the disk: {fetch:?}");
            let frames = vec![builder.bytes().into()];
            let found = Fetched { frames, upto: last, oldest: 1 };
            let chunks = self.hub.fetched(self.now(), &fetch, found);
            if let (Some(chunks), Some(client)) = (chunks, self.client_of(fetch.session)) {
                for chunk in chunks {
                    let Chunk::Batch(body) = chunk else { panic!("nothing is gone: {chunk:?}") };
                    client.output.push_back(Down::Batch(body));
                }
            }
            self.act();
        }
    }

    /// The shell's rule: pull only while there is room, write what the socket takes.
    fn pump(&mut self, at: usize) {
        let now = self.now();
        loop {
            let client = &mut self.clients[at];
            let Some(session) = client.session else { return };
            if client.hungry && client.output.len() < SOCKET_FRAMES {
                let mut chunks = Vec::new();
                client.hungry = self.hub.pull(now, session, 8_000, &mut chunks);
                client.output.extend(chunks.into_iter().map(|chunk| match chunk {
                    Chunk::Batch(frame) => Down::Batch(frame),
                    Chunk::Event(event) => Down::Frame(Frame::Event(event)),
                }));
            }
            let room = SOCKET_FRAMES.saturating_sub(client.down.len());
            if room == 0 || client.output.is_empty() {
                return;
            }
            let delay = if self.quiet { 0 } else { self.random.below(3_000) };
            let due = client.down.back().map_or(0, |(due, _)| *due).max(now.mono_us + delay);
            let written = room.min(client.output.len());
            client.down.extend(client.output.drain(..written).map(|down| (due, down)));
        }
    }

    fn take_down(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.stopped || client.session.is_none() {
            return;
        }
        while client.down.front().is_some_and(|(due, _)| *due <= self.now_us) {
            let (_, down) = client.down.pop_front().unwrap();
            client.take(self.now_us, down, &mut self.checker);
        }
        let mut at = 0;
        while at < client.datagrams.len() {
            if client.datagrams[at].0 <= self.now_us {
                let (_, body) = client.datagrams.remove(at);
                client.take_body(self.now_us, Via::Broadcast, &body, &mut self.checker);
            } else {
                at += 1;
            }
        }
        client.tick(self.now_us);
    }

    fn places(&self, client: &Client) -> Vec<String> {
        let rooms = client.rooms.iter().map(ToString::to_string);
        rooms.chain(["!".to_owned()]).collect()
    }

    fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    fn unsettled(&self) -> String {
        let mut open = Vec::new();
        for client in &self.clients {
            if client.session.is_none() || client.streams.len() < client.rooms.len() + 1 {
                open.push(format!("client {} has not joined", client.id));
            }
            if !client.unacked.is_empty() {
                open.push(format!("client {} waits for {:?}", client.id, client.unacked.front()));
            }
            for place in self.places(client) {
                let (seen, newest) =
                    (self.checker.seen(client.id, &place), self.checker.newest(&place));
                if seen != Some(newest) && newest > 0 {
                    open.push(format!("client {} saw {seen:?} of {newest} in {place}", client.id));
                }
            }
        }
        open.join("; ")
    }

    /// Once everybody has everything, a receipt counts as missing only who is gone.
    fn check_receipts(&mut self) {
        // Reports go out a moment after the messages were shown.
        for _ in 0..100 {
            self.step();
        }
        for client in &mut self.clients {
            for number in client.announced.clone() {
                client.ask_receipt(self.now_us, number);
            }
        }
        for _ in 0..100 {
            self.step();
        }
        for client in &self.clients {
            assert_eq!(client.receipts_answered, client.announced.len(), "client {}", client.id);
        }
    }
}
