//! A hub with one who speaks and some who listen, and a shell that does at once what the hub wants done.

use std::hint::black_box;

use moot::{
    chat::{
        clock::Now,
        frames::{Frame, Hello, Report, Submit},
        hub::{Action, Chunk, Hub, HubConfig},
        member::{Kind, Peer, SessionId},
        message::BootId,
        names::{RoomName, UserName},
        reply::Reply,
        request::{Begin, Follow, Request, SessionRequest},
        stream_id::{Channel, ChannelKey, StreamId},
    },
    limits::{FRAME_COST_BYTES, FRAME_HEADER_BYTES},
    wire::frame::batch_header,
};

use super::bodies;

/// Time from turn to turn.
const TURN_US: u64 = 300;
/// What a session is given at a time.
const PULL_BYTES: usize = 128 * 1024;
/// Receive buffer of each member.
const CHARGE_BYTES: u64 = 1024 * 1024;
const SPEAKER: SessionId = SessionId(1);

/// How members are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Broadcast,
    Session,
}

/// What the shell did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub published: u64,
    pub pulled: u64,
    pub stored: u64,
    pub acked: u64,
}

#[derive(Debug)]
pub struct House {
    hub: Hub,
    now: Now,
    tag: StreamId,
    listeners: Vec<SessionId>,
    submit: Submit<'static>,
    actions: Vec<Action>,
    hungry: Vec<SessionId>,
    chunks: Vec<Chunk>,
    pub done: Done,
}

impl House {
    /// A room where so many texts are said at a time.
    pub fn new(way: Way, listeners: u64, store: bool, texts: usize) -> Self {
        let mut rules = HubConfig::new(BootId(7), 0, batch_header);
        rules.broadcast = way == Way::Broadcast;
        rules.broadcast_members_min = 1;
        rules.store = store;
        rules.persistent = store;
        let mut house = Self {
            hub: Hub::new(rules),
            now: Now { mono_us: 1_000_000, wall_us: 1_700_000_000_000_000 },
            tag: StreamId(0),
            listeners: (2..2 + listeners).map(SessionId).collect(),
            submit: bodies::submit(texts),
            actions: Vec::new(),
            hungry: Vec::new(),
            chunks: Vec::new(),
            done: Done::default(),
        };
        house.open(SPEAKER);
        for id in house.listeners.clone() {
            house.open(id);
            house.join(id);
        }
        house.prove_channel(way);
        house
    }

    fn open(&mut self, id: SessionId) {
        let number = id.0 as u32;
        let user = UserName::new(&format!("user{number}")).unwrap();
        let peer = Peer { uid: 1000 + number, user, pid: 4000 + number, start: id.0 };
        let mut instance = [0; 16];
        instance[..8].copy_from_slice(&id.0.to_le_bytes());
        let hello = Hello::new(None, Kind::Script, instance);
        self.hub.open(self.now, id, peer, hello).unwrap();
    }

    fn join(&mut self, id: SessionId) {
        let follow = Follow::Room(RoomName::new("dev").unwrap());
        let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
        self.hub.request(self.now, id, 1, join);
        self.turn();
        self.tag = self.hub.room_tag(&RoomName::new("dev").unwrap()).unwrap();
    }

    /// All listen to the channel, hear the first datagram, and say so.
    fn prove_channel(&mut self, way: Way) {
        for id in self.listeners.clone() {
            let slot = [0; 16];
            let listening = Request::Session(SessionRequest::Listening {
                stream: self.tag,
                charge_bytes: CHARGE_BYTES,
                slot,
            });
            self.hub.request(self.now, id, 2, listening);
        }
        self.turn();
        self.done.published = self.done.published.max(1);
        self.report();
        self.done = Done::default();
        self.say();
        self.report();
        let (published, pulled) = match way {
            Way::Broadcast => (1, 0),
            Way::Session => (0, self.listeners.len() as u64),
        };
        let done = (self.done.published, self.done.pulled, self.done.acked);
        assert_eq!(done, (published, pulled, self.texts() as u64), "{way:?}");
    }

    /// How many texts are said at a time.
    pub fn texts(&self) -> usize {
        self.submit.lines.len()
    }

    /// The speaker says something, and it is brought to where its listeners get it from.
    pub fn say(&mut self) {
        let bytes = self.submit.lines.iter().map(|line| line.text.as_str().len()).sum::<usize>();
        assert!(self.hub.has_credit(SPEAKER) && !self.hub.must_wait(self.now, SPEAKER));
        self.hub.spend(self.now, SPEAKER, bytes + FRAME_COST_BYTES, true);
        self.hub.heard(self.now, SPEAKER);
        self.hub.submit(self.now, SPEAKER, &self.submit);
        self.submit.first += self.submit.lines.len() as u64;
        self.turn();
    }

    /// All listeners say that they have everything.
    pub fn report(&mut self) {
        let delivered = self.submit.first - 1;
        let datagrams = self.done.published;
        let by_broadcast = if datagrams > 0 { delivered } else { 0 };
        let report = Report { stream: self.tag, delivered, by_broadcast, datagrams };
        for id in &self.listeners {
            self.hub.spend(self.now, *id, FRAME_HEADER_BYTES + FRAME_COST_BYTES, false);
            self.hub.heard(self.now, *id);
            self.hub.report(self.now, *id, black_box(&report));
        }
        self.turn();
    }

    /// Ends a turn, and does what is to be done.
    fn turn(&mut self) {
        self.now.mono_us += TURN_US;
        self.now.wall_us += TURN_US.cast_signed();
        self.hub.end_turn(self.now);
        while self.hub.has_actions() || !self.hungry.is_empty() {
            self.act();
        }
    }

    fn act(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(self.hub.actions());
        for action in actions.drain(..) {
            self.carry_out(action);
        }
        self.actions = actions;
        let mut hungry = std::mem::take(&mut self.hungry);
        for id in hungry.drain(..) {
            self.pull(id);
        }
        self.hungry = hungry;
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send(_, Frame::Ack(ack)) => {
                self.done.acked += u64::from(black_box(ack).count);
            }
            Action::Send(_, Frame::Reply { result, .. }) => {
                assert!(matches!(result, Ok(Reply::Done | Reply::Joined(_))), "{result:?}");
            }
            Action::Send(_, frame @ Frame::Nack { .. }) => panic!("{frame:?}"),
            Action::Wake(id) => self.hungry.push(id),
            Action::Publish(_, frame) => {
                self.done.published += 1;
                black_box(frame);
            }
            Action::OpenChannel(tag) => {
                let key = ChannelKey { number: 1, bytes: [0; 32] };
                let channel = Channel { group: [239, 255, 0, 1], port: 4242, key };
                self.hub.channel_opened(tag, Some(channel));
            }
            Action::Store(_, entries) => {
                self.done.stored += entries.len() as u64;
                black_box(entries);
                self.hub.stored(self.now);
            }
            Action::Fetch(_) | Action::End(..) => panic!("{action:?}"),
            // The first member waits for the commit of the room.
            Action::Send(_, Frame::Event(_))
            | Action::Pause(_)
            | Action::Resume(_)
            | Action::NewKey(_)
            | Action::CloseChannel(_)
            | Action::Log(_)
            | Action::LogOf(..)
            | Action::Row(_)
            | Action::RowGone(_) => {}
        }
    }

    /// Fills a session's output, whose socket takes everything, until it is owed nothing.
    fn pull(&mut self, id: SessionId) {
        let mut more = true;
        while more {
            more = self.hub.pull(self.now, id, PULL_BYTES, &mut self.chunks);
            for chunk in self.chunks.drain(..) {
                match chunk {
                    Chunk::Batch(frame) => {
                        self.done.pulled += 1;
                        black_box(frame);
                    }
                    Chunk::Event(event) => {
                        black_box(event);
                    }
                }
            }
        }
    }
}
