//! A hub on a stage for tests: sessions, a store, and the channel keys and texts that each session
//! has.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Chunk, Hub, HubConfig};
use crate::{
    chat::{
        clock::Now,
        event::Event,
        frames::{Destination, Frame, Hello, Line, Report, Submit},
        member::{Kind, Level, Peer, SessionId},
        message::BootId,
        names::{Label, RoomName, UserName},
        refusal::Refusal,
        reply::Reply,
        request::{Announce, Begin, Follow, Request, SessionRequest},
        rules::{Role, RoomRules},
        store::{
            Fetch, Question, Record, Restored, RestoredRoom, RestoredSubmits, Span, StreamKey,
        },
        stream_id::{Channel, ChannelKey, RoomId, StreamId},
        text::Text,
    },
    limits::FRAME_HEADER_BYTES,
};

/// Users by user id: the server's own user, the room's creator, three members, a stranger.
pub(super) const USERS: [&str; 6] = ["root", "ann", "mia", "eve", "max", "sam"];
pub(super) const ANN: u32 = 1;
pub(super) const MIA: u32 = 2;
pub(super) const EVE: u32 = 3;
pub(super) const MAX: u32 = 4;
pub(super) const SAM: u32 = 5;

/// Number of the newest message of the room at the start.
pub(super) const HEAD: u64 = 100;

/// The store's answer to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Commits,
    Waits,
    Fails,
}

pub(super) struct Scene {
    pub(super) hub: Hub,
    pub(super) now: Now,
    pub(super) store: Store,
    pub(super) fetches: Vec<Fetch>,
    /// Records of the transactions that were committed.
    pub(super) saved: Vec<Record>,
    /// Frames of each session, oldest first.
    pub(super) sent: Vec<(SessionId, Frame)>,
    /// Records of the transaction that waits.
    storing: Vec<Record>,
    /// Current key of each channel.
    keys: BTreeMap<StreamId, u32>,
    known_keys: BTreeSet<(SessionId, StreamId, u32)>,
    /// Sessions whose connection was ended.
    ended: BTreeSet<SessionId>,
    /// Bytes that each session can read: pulled, or from a datagram that it can open.
    read: BTreeMap<SessionId, Vec<u8>>,
}

/// The session of a user.
pub(super) fn session(uid: u32) -> SessionId {
    SessionId(u64::from(uid) + 1)
}

pub(super) fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

pub(super) fn den() -> RoomName {
    room("den")
}

pub(super) fn user(uid: u32) -> UserName {
    UserName::new(USERS[uid as usize]).unwrap()
}

pub(super) fn join(follow: Follow, begin: Begin) -> Request {
    Request::Join { follow, begin, membership: true, keep: false }
}

pub(super) fn join_room(name: &str) -> Request {
    join(Follow::Room(room(name)), Begin::Now)
}

pub(super) fn role(uid: u32, role: Role, on: bool) -> Request {
    Request::Role { room: den(), user: user(uid), role, on }
}

pub(super) fn announce(to: Option<RoomName>, text: &str) -> Announce {
    Announce { room: to, ..Announce::new(Level::Info, Text::new(text).unwrap()) }
}

impl Scene {
    /// A hub after a restart, with a stored room `den` of `ann`: `mia` and `eve` follow it, the
    /// newest message is of `max`, and these three are invited if it is private. Each user has a
    /// session, and no session has joined anything.
    pub(super) fn new(private: bool) -> Self {
        Self::with_rules(private, |_| {})
    }

    /// The same with other rules of the server.
    pub(super) fn with_rules(private: bool, adjust: impl FnOnce(&mut HubConfig)) -> Self {
        let mut roles = RoomRules::new(private, false);
        for uid in [MIA, EVE, MAX].into_iter().filter(|_| private) {
            roles.set(uid, Role::Invited, true);
        }
        let den = RestoredRoom {
            id: RoomId(1),
            name: den(),
            creator_uid: ANN,
            history: true,
            topic: String::new(),
            rules: roles,
            span: Span { head: HEAD, first: 1, newest_us: Some(1) },
        };
        let restored = Restored {
            rooms: vec![den],
            follows: [MIA, EVE].map(|uid| (uid, None, self::den())).into(),
            submits: vec![RestoredSubmits {
                uid: MAX,
                instance: [MAX as u8 + 1; 16],
                counter: 1,
                count: 1,
                stream: Some(StreamKey::Room(self::den())),
                seq: HEAD,
                wall_us: 1,
            }],
            ..Restored::default()
        };
        let mut rules = HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]);
        (rules.store, rules.persistent, rules.host) = (true, true, true);
        rules.broadcast_members_min = 1;
        adjust(&mut rules);
        let mut scene = Self {
            hub: Hub::restored(rules, restored),
            now: Now { mono_us: 10_000_000, wall_us: 10_000_000 },
            store: Store::Commits,
            fetches: Vec::new(),
            saved: Vec::new(),
            sent: Vec::new(),
            storing: Vec::new(),
            keys: BTreeMap::new(),
            known_keys: BTreeSet::new(),
            ended: BTreeSet::new(),
            read: BTreeMap::new(),
        };
        for uid in 0..USERS.len() as u32 {
            scene.open(session(uid), uid);
        }
        scene.settle();
        scene
    }

    /// Opens a session of a user, whose client instance is the same each time.
    pub(super) fn open(&mut self, id: SessionId, uid: u32) {
        self.open_as(id, uid, 100 + uid, None);
    }

    /// Opens a session of a process, with a label.
    pub(super) fn open_as(&mut self, id: SessionId, uid: u32, pid: u32, label: Option<Label>) {
        let peer = Peer { uid, user: user(uid), pid, start: 0 };
        let hello = Hello::new(label, Kind::Person, [uid as u8 + 1; 16]);
        self.hub.open(self.now, id, peer, hello).unwrap();
    }

    pub(super) fn tag(&self) -> StreamId {
        self.hub.room_tag(&den()).unwrap()
    }

    /// Asks without waiting for the end of the turn.
    pub(super) fn ask(&mut self, uid: u32, request: Request) -> Option<Question> {
        self.hub.request(self.now, session(uid), 7, request)
    }

    /// Asks, and ends the turn.
    pub(super) fn request(&mut self, uid: u32, request: Request) -> Result<Reply, Refusal> {
        self.sent.clear();
        self.ask(uid, request);
        self.settle();
        let reply = self.sent.iter().rev().find_map(|(to, frame)| match frame {
            Frame::Reply { serial: 7, result } if *to == session(uid) => Some(result.clone()),
            _ => None,
        });
        reply.expect("an answer")
    }

    /// Submits a text without waiting for the end of the turn.
    pub(super) fn say(&mut self, id: SessionId, counter: u64, to: Destination, text: &str) {
        let lines = vec![Line { reply_to: None, text: text.try_into().unwrap() }];
        self.hub.submit(self.now, id, &Submit { first: counter, to, to_label: None, lines });
    }

    /// Lets time pass, with its ticks.
    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now.mono_us += 10_000;
            self.now.wall_us += 10_000;
            self.hub.tick(self.now);
            self.settle();
        }
    }

    /// Ends turns until nothing is left to do.
    pub(super) fn settle(&mut self) {
        self.hub.end_turn(self.now);
        while self.hub.has_actions() {
            let actions: Vec<_> = self.hub.actions().collect();
            for action in actions {
                self.carry_out(action);
            }
            self.hub.end_turn(self.now);
        }
    }

    /// The store answers to the transaction that waits, and to later ones.
    pub(super) fn answer_store(&mut self, store: Store) {
        self.store = store;
        self.end_transaction();
        self.settle();
    }

    fn end_transaction(&mut self) {
        match self.store {
            Store::Commits => {
                self.saved.append(&mut self.storing);
                self.hub.stored(self.now);
            }
            Store::Fails => self.hub.store_failed(self.now, "disk full"),
            Store::Waits => {}
        }
    }

    fn channel(number: u32) -> Channel {
        Channel { group: [239, 255, 0, 1], port: 1, key: ChannelKey { number, bytes: [0; 32] } }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send(id, frame) if !self.ended.contains(&id) => {
                self.learn_keys(id, &frame);
                self.sent.push((id, frame));
            }
            Action::OpenChannel(tag) => {
                let key = self.keys.entry(tag).or_insert(1);
                let channel = Self::channel(*key);
                self.hub.channel_opened(tag, Some(channel));
            }
            Action::NewKey(tag) => {
                let number = self.keys.entry(tag).or_default();
                *number += 1;
                let key = Self::channel(*number).key;
                self.hub.channel_key(tag, key);
            }
            Action::Publish(tag, frame) => {
                let key = self.keys.get(&tag).copied().unwrap_or_default();
                for (id, ..) in self.known_keys.iter().filter(|(_, t, k)| (*t, *k) == (tag, key)) {
                    self.read.entry(*id).or_default().extend_from_slice(&frame);
                }
            }
            Action::Store(records, _) => {
                self.storing = records;
                self.end_transaction();
            }
            Action::Fetch(fetch) => self.fetches.push(fetch),
            Action::End(id, _) => {
                self.ended.insert(id);
            }
            _ => {}
        }
    }

    fn learn_keys(&mut self, id: SessionId, frame: &Frame) {
        let mut learn = |tag, channel: Option<Channel>| {
            self.known_keys.extend(channel.map(|channel| (id, tag, channel.key.number)));
        };
        match frame {
            Frame::Reply { result: Ok(Reply::Joined(infos)), .. } => {
                infos.iter().for_each(|info| learn(info.tag, info.channel));
            }
            Frame::Event(Event::Opened(info)) => learn(info.tag, info.channel),
            Frame::Event(Event::Channel { stream, channel }) => learn(*stream, Some(*channel)),
            Frame::Event(Event::Retained { body }) => {
                self.read.entry(id).or_default().extend_from_slice(body);
            }
            _ => {}
        }
    }

    /// A session listens to a channel and hears it.
    pub(super) fn hears(&mut self, id: SessionId, stream: StreamId) {
        let listening = Request::Session(SessionRequest::Listening {
            stream,
            charge_bytes: 1 << 20,
            slot: [0; 16],
        });
        self.hub.request(self.now, id, 8, listening);
        self.settle();
        let delivered = self.hub.stream(stream).backlog.head();
        let report = Report { stream, delivered, by_broadcast: 0, datagrams: 1 };
        self.hub.report(self.now, id, &report);
        self.settle();
    }

    /// Takes what a session is owed; returns the events among it.
    pub(super) fn pull(&mut self, id: SessionId) -> Vec<Event> {
        let mut chunks = Vec::new();
        while self.hub.pull(self.now, id, 1 << 20, &mut chunks) && self.fetches.is_empty() {
            self.settle();
        }
        self.settle();
        let read = self.read.entry(id).or_default();
        let events = chunks.into_iter().filter_map(|chunk| match chunk {
            Chunk::Batch(frame) => {
                read.extend_from_slice(&frame);
                None
            }
            Chunk::Event(event) => Some(event),
        });
        events.collect()
    }

    /// Returns true if a session can read a text, by whatever way it came.
    pub(super) fn can_read(&mut self, id: SessionId, text: &str) -> bool {
        self.pull(id);
        self.read[&id].windows(text.len()).any(|of| of == text.as_bytes())
    }
}
