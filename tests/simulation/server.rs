//! The server around the hub, as the product's is: connections, accounts, the store's answers, keys of the channels.

use std::{collections::VecDeque, rc::Rc};

use moot::{
    broadcast::Sealer,
    chat::{
        batch::{Head, Reader},
        event::Event,
        frames::{ANNOUNCEMENTS, Frame},
        hub::{Action, Chunk, Hub, HubConfig},
        member::{EndCause, SessionId},
        message::BootId,
        names::{RoomName, Target},
        recv_buffer::charge_bytes,
        refusal::Refusal,
        reply::{Page, Reply, StreamInfo},
        request::{Follow, HistoryRequest, Request, SessionRequest},
        rules::Role,
        store::{Entry, Fetch, Fetched, Question, Record, StreamKey},
        stream_id::{Channel, ChannelKey, StreamId, StreamLabel},
    },
    limits::{
        FRAME_BYTES_MAX, FRAME_COST_BYTES, FRAME_HEADER_BYTES, OUTPUT_BYTES_HIGH,
        REQUEST_COST_BYTES, REQUESTS_PER_TURN_MAX, SIGNS_PER_TURN_MAX,
    },
    wire::{
        control,
        frame::{self, Kind},
        hello::{self, Bye, RefusedCode},
    },
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    checker::{Key, Place, Process, Published, TextId},
    client::{pid_of, uid_of},
    rooms::OPERATOR,
    tally::Seen,
    world::World,
};

/// Receive buffer of a member's channel, in charge.
pub const RECEIVE_BUFFER: usize = 256 * 1024;

/// What one read takes.
const READ_BYTES: usize = FRAME_BYTES_MAX;
const PULL_BYTES: usize = 2 * FRAME_BYTES_MAX;
/// How long an answer of the store takes when its reader is to be removed meanwhile.
const AIM_US: u64 = 8_000;
/// A server whose read was cut short goes on after so long.
const NEXT_TURN_US: u64 = 100;

/// From a client, in order.
pub enum Up {
    Bytes(Vec<u8>),
    End(EndCause),
}

/// What the book learns when a frame is taken by its client.
pub struct Begins {
    pub place: Place,
    pub first: u64,
    pub incarnation: u32,
    pub is_direct: bool,
}

/// A frame to a client.
pub struct Piece {
    pub bytes: Rc<[u8]>,
    pub begins: Vec<Begins>,
}

/// The server's end of one session.
pub struct Conn {
    pub id: SessionId,
    pub process: Process,
    uid: u32,
    pub up: VecDeque<(u64, Up)>,
    pub up_bytes: usize,
    partial: Vec<u8>,
    held: bool,
    paused: bool,
    looking_up: bool,
    hungry: bool,
    output: VecDeque<Piece>,
    output_bytes: usize,
    pub down: VecDeque<(u64, Piece)>,
    pub down_bytes: usize,
    /// Bytes that its socket takes.
    socket_bytes: usize,
    /// Its client reads and writes it.
    pub attached: bool,
    ending: Option<EndCause>,
    /// Streams that it subscribes to, by the checker's book.
    streams: Vec<u32>,
    will: Option<TextId>,
}

impl Conn {
    pub fn new(id: SessionId, client: &crate::client::Client, socket_bytes: usize) -> Self {
        Self {
            id,
            process: client.process(),
            uid: client.uid,
            up: VecDeque::new(),
            up_bytes: 0,
            partial: Vec::new(),
            held: false,
            paused: false,
            looking_up: false,
            hungry: false,
            output: VecDeque::new(),
            output_bytes: 0,
            down: VecDeque::new(),
            down_bytes: 0,
            socket_bytes,
            attached: true,
            ending: None,
            streams: Vec::new(),
            will: None,
        }
    }

    fn is_full(&self) -> bool {
        self.output_bytes >= OUTPUT_BYTES_HIGH
    }

    fn is_read(&self) -> bool {
        !self.is_full() && !self.paused && !self.looking_up && self.ending.is_none()
    }

    fn put(&mut self, bytes: Rc<[u8]>, begins: Vec<Begins>) {
        self.output_bytes += bytes.len();
        self.output.push_back(Piece { bytes, begins });
    }

    /// When the server has something to do for it.
    fn due_us(&self, now_us: u64) -> Option<u64> {
        if self.is_read() && self.held {
            return Some(now_us + NEXT_TURN_US);
        }
        if self.attached && !self.output.is_empty() && self.down_bytes < self.socket_bytes {
            // Its socket can be written again.
            return Some(now_us);
        }
        let (due, up) = self.up.front()?;
        let is_taken = self.is_read() || matches!(up, Up::End(EndCause::Killed));
        is_taken.then_some(*due)
    }
}

/// One boot of the server.
pub struct Server {
    pub hub: Hub,
    pub run: BootId,
    pub conns: Vec<Conn>,
    next_session: u64,
    pub storing: Option<(u64, Vec<Record>, Vec<Entry>)>,
    fetching: Vec<(u64, Fetch)>,
    answering: Vec<(u64, SessionId, u32, Question, u64)>,
    tick_at_us: u64,
    tags: FxHashMap<u32, Place>,
    sealers: FxHashMap<u32, (u32, Sealer)>,
    /// Processes that were given a key, by its number.
    holders: FxHashMap<u32, FxHashSet<Process>>,
    /// Processes that were removed from a stream.
    pub shut_out: FxHashSet<(Process, u32)>,
    refusals: Vec<(SessionId, u32)>,
    announces: FxHashMap<(SessionId, u32), Option<RoomName>>,
    reached: FxHashSet<(u64, SessionId)>,
    covered: FxHashSet<(u64, SessionId)>,
    deletes: FxHashMap<(SessionId, u32), RoomName>,
}

impl Server {
    pub fn new(hub: Hub, run: BootId) -> Self {
        Self {
            hub,
            run,
            conns: Vec::new(),
            next_session: 1,
            storing: None,
            fetching: Vec::new(),
            answering: Vec::new(),
            tick_at_us: 0,
            tags: FxHashMap::default(),
            sealers: FxHashMap::default(),
            holders: FxHashMap::default(),
            shut_out: FxHashSet::default(),
            refusals: Vec::new(),
            announces: FxHashMap::default(),
            reached: FxHashSet::default(),
            covered: FxHashSet::default(),
            deletes: FxHashMap::default(),
        }
    }

    pub fn next_session(&mut self) -> SessionId {
        self.next_session += 1;
        SessionId(self.next_session - 1)
    }

    pub fn conn(&self, id: SessionId) -> Option<&Conn> {
        self.conns.iter().find(|conn| conn.id == id)
    }

    pub fn conn_mut(&mut self, id: SessionId) -> Option<&mut Conn> {
        self.conns.iter_mut().find(|conn| conn.id == id)
    }

    pub fn due_us(&self, now_us: u64) -> u64 {
        let conns = self.conns.iter().filter_map(|conn| conn.due_us(now_us));
        let storing = self.storing.as_ref().map(|(due, ..)| *due);
        let fetching = self.fetching.iter().map(|(due, _)| *due);
        let answering = self.answering.iter().map(|(due, ..)| *due);
        conns
            .chain(storing)
            .chain(fetching)
            .chain(answering)
            .min()
            .unwrap_or(u64::MAX)
            .min(self.tick_at_us)
    }

    /// Whether an announcement of a session that is still here reports to it.
    pub fn uncovered(&self, published: &FxHashMap<u64, Published>) -> Option<u64> {
        let waits = |(number, of): &(&u64, &Published)| {
            self.conns.iter().any(|conn| conn.process == of.by && conn.id.0 == of.by_session)
                && !self.covered.contains(&(**number, SessionId(of.by_session)))
        };
        published.iter().filter(waits).map(|(number, _)| *number).min()
    }
}

impl World {
    /// Everything that is due for the server.
    pub fn serve(&mut self) {
        let first = self.random.index(self.server.conns.len().max(1));
        let ids: Vec<_> = self.server.conns.iter().map(|conn| conn.id).collect();
        for at in 0..ids.len() {
            self.read(ids[(first + at) % ids.len()]);
        }
        let now = self.now();
        self.server.hub.end_turn(now);
        self.act();
        self.store();
        self.fetch();
        self.answer_questions();
        if self.now_us >= self.server.tick_at_us {
            self.server.hub.tick(now);
            self.act();
            self.server.tick_at_us = self.now_us + self.server.hub.tick_after_ms() * 1000;
        }
        self.pump_all();
    }

    // ---- what clients send -------------------------------------------------------------------

    fn read(&mut self, id: SessionId) {
        let now_us = self.now_us;
        let Some(conn) = self.server.conn_mut(id) else { return };
        let mut killed = false;
        if let Some((due, Up::End(EndCause::Killed))) = conn.up.back()
            && *due <= now_us
        {
            killed = true;
        }
        if let Some(cause) = conn.ending.filter(|_| conn.output.is_empty() || !conn.attached) {
            return self.close(id, cause);
        }
        if !conn.is_read() && !killed {
            return;
        }
        // The end of a process is seen at once; what it sent is read if it may be.
        let mut ended = (killed && !conn.is_read()).then_some(EndCause::Killed);
        while let Some((due, _)) = conn.up.front()
            && *due <= now_us
            && conn.partial.len() < READ_BYTES
        {
            match conn.up.pop_front().expect("it is there").1 {
                Up::Bytes(bytes) => {
                    conn.up_bytes -= bytes.len();
                    conn.partial.extend_from_slice(&bytes);
                }
                Up::End(cause) => {
                    ended = Some(cause);
                    break;
                }
            }
        }
        if conn.is_read() {
            self.take_frames(id);
        }
        let Some(conn) = self.server.conn_mut(id) else { return };
        let cause = match (ended, conn.ending) {
            (_, Some(cause)) if conn.output.is_empty() || !conn.attached => cause,
            (Some(EndCause::Killed), _) => EndCause::Killed,
            (Some(cause), _) if !conn.held => cause,
            (Some(cause), _) => {
                // What it sent last is read first.
                conn.up.push_front((now_us, Up::End(cause)));
                return;
            }
            (None, _) => return,
        };
        self.close(id, cause);
    }

    fn close(&mut self, id: SessionId, cause: EndCause) {
        self.tell(|| format!("session {} ends: {cause:?}", id.0));
        self.owe_wills(id, cause);
        self.book_ends(id);
        self.server.conns.retain(|conn| conn.id != id);
        let now = self.now();
        self.server.hub.close(now, id, cause);
        self.act();
    }

    /// A will is due in each room of a session that did not say goodbye.
    fn owe_wills(&mut self, id: SessionId, cause: EndCause) {
        let Some(conn) = self.server.conn(id) else { return };
        let Some(will) = conn.will else { return };
        if !matches!(cause, EndCause::Killed | EndCause::Closed) {
            return;
        }
        self.tally.count(Seen::Will);
        let uid = conn.uid;
        let tags = conn.streams.clone();
        for place in tags.iter().filter_map(|tag| self.server.tags.get(tag)).copied() {
            let Key::Room(room, _) = self.checker.key(place).clone() else { continue };
            // Nothing new is said in a room whose deletion has begun.
            let is_ending = self.server.deletes.values().any(|ending| *ending == room);
            if self.rooms.may_speak(&room, uid) {
                self.checker.owes_will(will, place, !is_ending);
            }
        }
    }

    fn take_frames(&mut self, id: SessionId) {
        let Some(conn) = self.server.conn_mut(id) else { return };
        let bytes = std::mem::take(&mut conn.partial);
        conn.held = false;
        let (mut taken, mut questions, mut signs) = (0, 0, 0);
        let now = self.now();
        while let Some(parsed) = frame::parse(&bytes[taken..]).expect("clients write frames") {
            let asks = parsed.kind == Kind::Request;
            let submits = parsed.kind == Kind::Submit;
            let is_sign = matches!(parsed.kind, Kind::Report | Kind::Pong);
            let Some(conn) = self.server.conns.iter_mut().find(|conn| conn.id == id) else {
                return;
            };
            if conn.ending.is_some() {
                break;
            }
            let hub = &mut self.server.hub;
            let spent = !hub.has_credit(id);
            signs += usize::from(spent && is_sign);
            let no_credit = spent && (!is_sign || signs > SIGNS_PER_TURN_MAX);
            if no_credit {
                self.tally.count(Seen::CreditSpent);
            }
            let out_of_turn = conn.looking_up
                || conn.is_full()
                || questions >= REQUESTS_PER_TURN_MAX
                || no_credit
                || (asks && hub.is_paused(id));
            let paused = !out_of_turn && submits && hub.must_wait(now, id);
            if out_of_turn || paused {
                conn.held = true;
                if paused && !conn.paused && self.rules.rates.messages == 0 {
                    self.tally.count(Seen::PausedByAccount);
                }
                conn.paused |= paused;
                break;
            }
            taken += parsed.bytes;
            let cost = parsed.bytes + if asks { REQUEST_COST_BYTES } else { FRAME_COST_BYTES };
            if !spent {
                hub.spend(now, id, cost, asks || submits);
            }
            questions += usize::from(asks);
            self.take_frame(id, parsed.kind, parsed.body);
        }
        if let Some(conn) = self.server.conn_mut(id) {
            conn.partial.extend_from_slice(&bytes[taken..]);
        }
    }

    fn take_frame(&mut self, id: SessionId, kind: Kind, body: &[u8]) {
        let now = self.now();
        #[expect(clippy::wildcard_enum_match_arm, reason = "a client sends no other frames")]
        match kind {
            Kind::Request => {
                let (serial, request) = control::read_request(body).expect("a request");
                if request == Request::Session(SessionRequest::Quit) {
                    self.server.conn_mut(id).expect("it is read").ending = Some(EndCause::Quit);
                    return;
                }
                self.take_request(id, serial, &request);
            }
            Kind::Submit => {
                let submit = control::read_submit(body).expect("a submit");
                self.server.hub.submit(now, id, &submit);
            }
            Kind::Report => {
                let report = control::read_report(body).expect("a report");
                if report.stream == ANNOUNCEMENTS {
                    self.book_report(id, report.delivered);
                }
                self.server.hub.report(now, id, &report);
            }
            Kind::Repair => {
                let (tag, first, last) = control::read_repair(body).expect("a repair");
                self.tally.count(Seen::Repair);
                self.server.hub.repair(now, id, tag, first, last);
            }
            Kind::Pong => self.tally.count(Seen::Pong),
            other => panic!("a client sent {other:?}"),
        }
        self.server.hub.heard(now, id);
        self.act();
    }

    fn take_request(&mut self, id: SessionId, serial: u32, request: &Request) {
        let now = self.now();
        // The user database knows all users of this world.
        let user = match request {
            Request::Join { follow: Follow::With(user), .. }
            | Request::Role { user, .. }
            | Request::KickFromRoom { user, .. }
            | Request::Kick { user, .. }
            | Request::Open { target: Target::User { user, .. } } => Some(user),
            _ => None,
        };
        if let Some(user) = user
            && !self.server.hub.knows_user(user)
            && user.as_str().starts_with("user")
        {
            self.server.hub.learn_user(user.clone(), uid_of(user));
        }
        let uid = self.server.conn(id).expect("it is read").uid;
        if let Request::Announce(announce) = request {
            self.server.announces.insert((id, serial), announce.room.clone());
        }
        if let Request::DeleteRoom { room } = request {
            self.server.deletes.insert((id, serial), room.clone());
        }
        let removed = self.removed_by(id, uid, request);
        self.server.refusals.clear();
        let question = self.server.hub.request(now, id, serial, request.clone());
        if let Some(question) = question {
            let mut due = self.now_us + self.random.below(3_000);
            if let Question::Page { stream: StreamKey::Room(room), .. } = &question
                && self.aims_at(id, room)
            {
                due += AIM_US;
            }
            let asked = self.server.hub.next_stream();
            self.server.answering.push((due, id, serial, question, asked));
            self.server.conn_mut(id).expect("it is read").looking_up = true;
            return;
        }
        self.act();
        if !self.server.refusals.contains(&(id, serial)) {
            self.book_request(id, uid, request);
            for (session, process, tag) in removed {
                self.server.shut_out.insert((process, tag));
                self.book_leaves(session, StreamId(tag));
            }
        }
    }

    /// Draws whether the operator removes a user from a room while an answer of the store is on its way.
    fn aims_at(&mut self, id: SessionId, room: &RoomName) -> bool {
        let uid = self.server.conn(id).map_or(OPERATOR, |conn| conn.uid);
        let aims = !self.quiet && uid != OPERATOR && self.random.permille(30);
        if aims {
            self.tally.count(Seen::Aim);
            self.aim = Some((room.clone(), uid));
        }
        aims
    }

    // ---- the book ----------------------------------------------------------------------------

    /// A request took effect at once, whenever it is answered.
    fn book_request(&mut self, id: SessionId, uid: u32, request: &Request) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "other requests change nobody's rights")]
        match request {
            Request::Part { stream, .. } => self.book_leaves(id, *stream),
            Request::Will { text } => {
                let number = text.as_ref().and_then(|t| t.as_str().split(' ').next()?.parse().ok());
                self.server.conn_mut(id).expect("it asked").will = number;
            }
            Request::CreateRoom { room, private, read_only, .. } => {
                self.rooms.creates(room, uid, *private, *read_only);
            }
            Request::Role { room, user, role, on } => {
                let whom = uid_of(user);
                self.rooms.sets(room, whom, *role, *on, self.now_us);
                match (role, on) {
                    (Role::Banned, true) => self.tally.count(Seen::Ban),
                    (Role::Invited, false) => self.tally.count(Seen::Uninvite),
                    _ => {}
                }
            }
            Request::KickFromRoom { room, user, .. } => {
                self.tally.count(Seen::Kick);
                let whom = uid_of(user);
                self.rooms.kicks(room, whom, self.now_us);
            }
            Request::Kick { .. } => self.tally.count(Seen::ServerKick),
            _ => {}
        }
    }

    /// Subscriptions that a request ends if it is not refused.
    fn removed_by(
        &mut self,
        id: SessionId,
        uid: u32,
        request: &Request,
    ) -> Vec<(SessionId, Process, u32)> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "other requests remove nobody")]
        let (whom, room) = match request {
            Request::Role { room, user, role: Role::Banned, on: true }
            | Request::Role { room, user, role: Role::Invited, on: false }
            | Request::KickFromRoom { room, user, .. } => (uid_of(user), Some(room)),
            // Users who end their own sessions keep what they could have had anyway.
            Request::Kick { user, .. } if uid_of(user) != uid => (uid_of(user), None),
            _ => return Vec::new(),
        };
        let place = room.map(|room| self.room_place(room));
        let conns = self.server.conns.iter().filter(|conn| conn.uid == whom && conn.id != id);
        let all =
            conns.flat_map(|conn| conn.streams.iter().map(|tag| (conn.id, conn.process, *tag)));
        let meant = |tag: &u32| place.is_none_or(|of| self.server.tags.get(tag) == Some(&of));
        all.filter(|(_, _, tag)| meant(tag)).collect()
    }

    /// The place of a room that exists now.
    pub fn room_place(&mut self, room: &RoomName) -> Place {
        let run = self
            .rooms
            .is_stored(room, self.is_stored)
            .then_some(())
            .map_or(Some(self.server.run), |()| None);
        self.checker.place(Key::Room(room.clone(), run))
    }

    fn book_leaves(&mut self, id: SessionId, tag: StreamId) {
        let room = self.server.tags.get(&tag.0).map(|place| self.checker.key(*place).clone());
        let Some(conn) = self.server.conn_mut(id) else { return };
        conn.streams.retain(|of| *of != tag.0);
        if let Some(Key::Room(room, _)) = room {
            for of in self.checker.published.values_mut() {
                if of.room.as_ref() == Some(&room) {
                    of.left.insert(id.0);
                }
            }
        }
    }

    fn book_ends(&mut self, id: SessionId) {
        for of in self.checker.published.values_mut() {
            of.left.insert(id.0);
        }
    }

    fn book_report(&mut self, id: SessionId, delivered: u64) {
        for (number, of) in &self.checker.published {
            if *number <= delivered && !of.left.contains(&id.0) {
                self.server.reached.insert((*number, id));
            }
        }
    }

    fn place_of(&mut self, uid: u32, info: &StreamInfo) -> Place {
        let run = (!info.stored).then_some(self.server.run);
        let key = match &info.name {
            StreamLabel::Room(room) => Key::Room(room.clone(), run),
            StreamLabel::Direct(user) => {
                let other = uid_of(user);
                Key::Pair(uid.min(other), uid.max(other), run)
            }
            StreamLabel::Announcements => Key::Announcements(run),
        };
        let place = self.checker.place(key);
        self.server.tags.insert(info.tag.0, place);
        place
    }

    /// A session subscribes to a stream.
    fn book_begins(&mut self, id: SessionId, info: &StreamInfo) -> Option<Begins> {
        let (uid, process) = self.server.conn(id).map(|conn| (conn.uid, conn.process))?;
        let place = self.place_of(uid, info);
        if let Key::Room(room, _) = self.checker.key(place) {
            assert!(self.rooms.may_read(room, uid), "{uid} joins {room}");
        }
        self.server.shut_out.remove(&(process, info.tag.0));
        if let Some(channel) = &info.channel {
            self.holds(process, channel);
        }
        let conn = self.server.conn_mut(id)?;
        if !conn.streams.contains(&info.tag.0) {
            conn.streams.push(info.tag.0);
        }
        let incarnation = self.checker.incarnation(place);
        let is_direct = matches!(info.name, StreamLabel::Direct(_));
        Some(Begins { place, first: info.next, incarnation, is_direct })
    }

    fn holds(&mut self, process: Process, channel: &Channel) {
        self.server.holders.entry(channel.key.number).or_default().insert(process);
    }

    /// Members that an announcement is for at this moment, one process aside.
    fn recipients(&self, except: Process, room: Option<&RoomName>) -> Vec<(u64, Process)> {
        let has = |conn: &Conn, key: &dyn Fn(&Key) -> bool| {
            conn.streams.iter().any(|tag| {
                self.server.tags.get(tag).is_some_and(|place| key(self.checker.key(*place)))
            })
        };
        let all = self.server.conns.iter().filter(|conn| {
            conn.process != except
                && has(conn, &|key| matches!(key, Key::Announcements(_)))
                && room.is_none_or(|room| {
                    has(conn, &|key| matches!(key, Key::Room(of, _) if of == room))
                })
        });
        all.map(|conn| (conn.id.0, conn.process)).collect()
    }

    // ---- what the hub wants done -------------------------------------------------------------

    pub fn act(&mut self) {
        while self.server.hub.has_actions() {
            let actions: Vec<_> = self.server.hub.actions().collect();
            for action in actions {
                self.carry_out(action);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send(id, frame) => self.send(id, frame),
            Action::Wake(id) => {
                if let Some(conn) = self.server.conn_mut(id) {
                    conn.hungry = true;
                }
            }
            Action::Pause(id) => {
                self.tally.count(Seen::PausedByStream);
                if let Some(conn) = self.server.conn_mut(id) {
                    conn.paused = true;
                }
            }
            Action::Resume(id) => {
                self.tally.count(Seen::Resumed);
                if let Some(conn) = self.server.conn_mut(id) {
                    conn.paused = false;
                }
            }
            Action::Publish(tag, frame) => self.publish(tag, &frame[FRAME_HEADER_BYTES..]),
            Action::OpenChannel(tag) => {
                let fails = self.faults.channel > 0 && self.random.permille(self.faults.channel);
                let channel = (!fails).then(|| {
                    let key = self.new_key(tag);
                    Channel { group: [239, 255, 0, 1], port: 4242, key }
                });
                self.channels_failed |= fails;
                self.server.hub.channel_opened(tag, channel);
            }
            Action::NewKey(tag) => {
                if self.faults.channel > 0 && self.random.permille(self.faults.channel) {
                    self.server.sealers.remove(&tag.0);
                    self.channels_failed = true;
                    self.server.hub.channel_lost(tag);
                } else {
                    self.tally.count(Seen::NewKey);
                    let key = self.new_key(tag);
                    self.server.hub.channel_key(tag, key);
                }
            }
            Action::CloseChannel(tag) => {
                self.server.sealers.remove(&tag.0);
            }
            Action::Fetch(fetch) => {
                self.tally.count(Seen::Fetch);
                let mut due = self.now_us + self.random.below(self.faults.store_delay_us);
                if let StreamKey::Room(room) = &fetch.stream
                    && self.aims_at(fetch.session, &room.clone())
                {
                    due += AIM_US;
                }
                self.server.fetching.push((due, fetch));
            }
            Action::Store(records, entries) => {
                assert!(self.server.storing.is_none(), "one transaction at a time");
                let due = self.now_us + self.random.below(self.faults.store_delay_us);
                self.server.storing = Some((due, records, entries));
            }
            Action::End(id, reason) => {
                // Its session has ended already.
                if let Some(conn) = self.server.conn_mut(id) {
                    let mut bytes = Vec::new();
                    let bye = Bye { reason, code: Some(RefusedCode::Denied) };
                    frame::put(&mut bytes, Kind::Bye, |body| hello::put(body, &bye));
                    conn.put(bytes.into(), Vec::new());
                    conn.ending = Some(EndCause::Server);
                    conn.streams.clear();
                }
                self.book_ends(id);
            }
            Action::Log(_) | Action::LogOf(..) | Action::Row(_) | Action::RowGone(_) => {}
        }
    }

    fn new_key(&mut self, tag: StreamId) -> ChannelKey {
        self.keys += 1;
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&self.keys.to_le_bytes());
        let key = ChannelKey { number: self.keys, bytes };
        let sealer = Sealer::new(key.number, &key.bytes, self.server.run.0);
        self.server.sealers.insert(tag.0, (key.number, sealer));
        key
    }

    /// Puts a frame into a session's output.
    fn send(&mut self, id: SessionId, frame: Frame) {
        let Some(conn) = self.server.conn(id) else { return };
        let (process, uid) = (conn.process, conn.uid);
        let mut begins = Vec::new();
        match &frame {
            Frame::Reply { serial, result } => self.sees_reply(id, *serial, result, &mut begins),
            Frame::Event(event) => self.sees_event(id, process, uid, event, &mut begins),
            Frame::Ack(_) | Frame::Nack { .. } => {}
        }
        let mut bytes = Vec::new();
        control::put_frame(&mut bytes, frame);
        if let Some(conn) = self.server.conn_mut(id) {
            conn.put(bytes.into(), begins);
        }
    }

    fn sees_reply(
        &mut self,
        id: SessionId,
        serial: u32,
        result: &Result<Reply, Refusal>,
        begins: &mut Vec<Begins>,
    ) {
        match result {
            Err(_) => self.server.refusals.push((id, serial)),
            Ok(Reply::Joined(infos)) => {
                for info in infos {
                    begins.extend(self.book_begins(id, info));
                }
            }
            Ok(Reply::Announced { number, members, .. }) => {
                let Some(room) = self.server.announces.remove(&(id, serial)) else {
                    panic!("an answer to no announcement");
                };
                let by = self.server.conn(id).expect("it is sent to").process;
                let recipients = self.recipients(by, room.as_ref());
                assert_eq!(*members as usize, recipients.len(), "recipients of !{number}");
                self.tally.count(Seen::Announcement);
                let published = Published {
                    by,
                    by_session: id.0,
                    room,
                    recipients,
                    left: FxHashSet::default(),
                };
                self.checker.published.insert(*number, published);
            }
            Ok(Reply::Receipt(receipt)) => {
                let Some(of) = self.checker.published.get(&receipt.number) else { return };
                self.tally.count(Seen::Receipt);
                let reached = |(session, _): &&(u64, Process)| {
                    self.server.reached.contains(&(receipt.number, SessionId(*session)))
                };
                let all = of.recipients.len();
                let have = of.recipients.iter().filter(reached).count();
                assert_eq!(
                    (receipt.members as usize, receipt.reached as usize),
                    (all, have),
                    "receipt of !{} by the book",
                    receipt.number
                );
                let mut missing: Vec<_> = receipt.missing.iter().map(|m| m.pid).collect();
                let mut lacking: Vec<_> =
                    of.recipients.iter().filter(|r| !reached(r)).map(|(_, p)| pid_of(*p)).collect();
                missing.sort_unstable();
                lacking.sort_unstable();
                assert_eq!(missing, lacking, "processes that !{} did not reach", receipt.number);
            }
            Ok(Reply::Done) => {
                if let Some(room) = self.server.deletes.remove(&(id, serial))
                    && !self.rooms.is_stored(&room, self.is_stored)
                {
                    self.book_deletes(&room);
                }
            }
            Ok(_) => {}
        }
    }

    fn book_deletes(&mut self, room: &RoomName) {
        self.tally.count(Seen::Delete);
        let run = (!self.rooms.is_stored(room, self.is_stored)).then_some(self.server.run);
        self.checker.deletes(Key::Room(room.clone(), run));
        self.rooms.deletes(room);
    }

    fn sees_event(
        &mut self,
        id: SessionId,
        process: Process,
        uid: u32,
        event: &Event,
        begins: &mut Vec<Begins>,
    ) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "other events say nothing to the book")]
        match event {
            Event::Opened(info) => begins.extend(self.book_begins(id, info)),
            Event::Channel { stream, channel } => {
                assert!(
                    self.server.conn(id).is_some_and(|conn| conn.streams.contains(&stream.0)),
                    "session {} is given a key of {stream:?} and does not subscribe to it",
                    id.0
                );
                self.holds(process, channel);
            }
            Event::Removed { stream, .. } | Event::Deleted { stream } => {
                self.book_leaves(id, *stream);
            }
            Event::Covered { number } => {
                self.server.covered.insert((*number, id));
            }
            Event::Ping => self.tally.count(Seen::Ping),
            Event::Slowed => self.tally.count(Seen::Slowed),
            Event::Retained { body } => {
                self.tally.count(Seen::Retained);
                self.check_notices(body, &[uid]);
            }
            _ => {}
        }
    }

    /// Announcements in a body are for rooms that these users may read.
    fn check_notices(&self, body: &[u8], uids: &[u32]) {
        for message in Reader::new(body).expect("a body").map(|m| m.expect("a message")) {
            let Some(notice) = message.notice.filter(|n| !message.withheld && !n.room.is_empty())
            else {
                continue;
            };
            let room = RoomName::new(notice.room).expect("a name");
            for uid in uids {
                assert!(
                    self.rooms.may_read_at(&room, *uid, message.wall_us - self.wall_us),
                    "an announcement to {room} goes to {uid}"
                );
            }
        }
    }

    // ---- messages ----------------------------------------------------------------------------

    fn publish(&mut self, tag: StreamId, body: &[u8]) {
        let Some((key, sealer)) = self.server.sealers.get_mut(&tag.0) else { return };
        let key = *key;
        let mut datagram = Vec::with_capacity(body.len() + 32);
        assert!(sealer.seal(body, &mut datagram));
        let head = Head::read(body).expect("a body");
        let holders = self.server.holders.get(&key).cloned().unwrap_or_default();
        if let Some(place) = self.server.tags.get(&tag.0).copied()
            && head.count > 0
        {
            self.checker.publishes(place, head.last());
            if let Some(process) =
                holders.iter().find(|p| self.server.shut_out.contains(&(**p, tag.0)))
            {
                panic!(
                    "process {process} was removed from {:?} and can open {}",
                    self.checker.key(place),
                    head.first
                );
            }
            if tag == ANNOUNCEMENTS {
                let uids: Vec<_> =
                    holders.iter().map(|p| self.clients[(*p / 1_000) as usize].uid).collect();
                self.check_notices(body, &uids);
            }
        }
        let datagram: Rc<[u8]> = datagram.into();
        let charge = charge_bytes(datagram.len());
        for client in &mut self.clients {
            if client.session.is_none() || client.deaf || !client.groups.contains(&tag.0) {
                continue;
            }
            if !self.quiet && self.random.permille(self.faults.loss) {
                self.tally.count(Seen::LostDatagram);
                continue;
            }
            let doubled = !self.quiet && self.random.permille(self.faults.doubling);
            if doubled {
                self.tally.count(Seen::Doubled);
            }
            for _ in 0..1 + u8::from(doubled) {
                if client.datagrams_charge + charge > RECEIVE_BUFFER {
                    continue;
                }
                let delay = if self.quiet { 0 } else { self.random.below(self.faults.delay_us) };
                client.datagrams_charge += charge;
                let due = self.now_us + 20 + delay;
                let at = client.datagrams.partition_point(|(of, _)| *of <= due);
                client.datagrams.insert(at, (due, Rc::clone(&datagram)));
            }
        }
    }

    fn store(&mut self) {
        let now = self.now();
        let Some((due, records, entries)) = self.server.storing.take() else { return };
        if due > self.now_us {
            self.server.storing = Some((due, records, entries));
            return;
        }
        let fails = !self.quiet
            && (self.now_us < self.disk_full_until_us
                || self.random.permille(self.faults.store_fails));
        if fails {
            self.tally.count(Seen::FailedCommit);
            self.tell(|| format!("the store refuses {} messages, and {records:?}", entries.len()));
            self.checker.forgives_wills();
            self.server.hub.store_failed(now, "disk full");
        } else {
            self.commit(records, entries);
            self.server.hub.stored(now);
        }
        self.act();
    }

    pub fn commit(&mut self, records: Vec<Record>, entries: Vec<Entry>) {
        self.tell(|| format!("{} messages are stored, and {records:?}", entries.len()));
        for record in &records {
            match record {
                Record::RoomGone { name, .. } => self.book_deletes(name),
                Record::RoomForgotten { .. } => {}
                Record::Room { name, creator_uid, private, read_only, history, .. } => {
                    self.rooms.creates(name, *creator_uid, *private, *read_only);
                    self.rooms.stores(name, *history);
                }
                Record::Role { .. }
                | Record::Audit(_)
                | Record::Notice(_)
                | Record::NoticeGone(_)
                | Record::Receipt(_)
                | Record::Follow { .. }
                | Record::NameGone { .. }
                | Record::InstanceGone { .. }
                | Record::RemoteRole { .. }
                | Record::Export { .. }
                | Record::Import { .. }
                | Record::Mark { .. } => {}
            }
        }
        for entry in &entries {
            self.checker.commits(
                key_of(&entry.stream),
                entry.seq,
                &entry.text,
                entry.wall_us - self.wall_us,
            );
        }
        self.disk.commit(records, entries);
    }

    /// Older messages for sessions that fell behind the backlog, a few at a time.
    fn fetch(&mut self) {
        let now_us = self.now_us;
        while let Some(at) = self.server.fetching.iter().position(|(due, _)| *due <= now_us) {
            let (_, fetch) = self.server.fetching.remove(at);
            self.tell(|| format!("{fetch:?}"));
            let now = self.now();
            if !self.quiet && self.random.permille(50) {
                self.tally.count(Seen::FailedFetch);
                self.server.hub.fetch_failed(now, &fetch);
                self.act();
                continue;
            }
            let count = 1 + self.random.index(20);
            let found = self.disk.fetch(&fetch, FRAME_HEADER_BYTES, count);
            let frames = found.bodies.into_iter().map(|mut body| {
                let header = frame::batch_header(body.len() - FRAME_HEADER_BYTES);
                body[..FRAME_HEADER_BYTES].copy_from_slice(&header);
                body.into()
            });
            let frames = frames.collect();
            let found = Fetched { frames, upto: found.upto, oldest: found.oldest };
            let chunks = self.server.hub.fetched(now, &fetch, found);
            self.put_chunks(fetch.session, chunks.unwrap_or_default());
            self.act();
        }
    }

    fn put_chunks(&mut self, id: SessionId, chunks: Vec<Chunk>) {
        for chunk in chunks {
            match chunk {
                Chunk::Batch(frame) => self.give(id, frame),
                Chunk::Event(event) => self.send(id, Frame::Event(event)),
            }
        }
    }

    fn answer_questions(&mut self) {
        let now_us = self.now_us;
        while let Some(at) = self.server.answering.iter().position(|(due, ..)| *due <= now_us) {
            let (_, session, serial, question, asked) = self.server.answering.remove(at);
            let Some(conn) = self.server.conn_mut(session) else { continue };
            conn.looking_up = false;
            let uid = conn.uid;
            let Question::Page { stream, tag, first, last, .. } = question else { continue };
            let found = self.disk.range(&stream, tag, (first, last), 0, 1, None);
            let result = self.server.hub.still_reads(session, &stream, asked).map(|()| {
                let page = found.bodies.into_iter().next().map(|body| {
                    if let StreamKey::Room(room) = &stream {
                        assert!(self.rooms.may_read(room, uid), "{uid} is given a page of {room}");
                        self.tally.count(Seen::Page);
                    }
                    Page { body, first: found.first, last: found.last }
                });
                Reply::Page(page.unwrap_or_default())
            });
            self.send(session, Frame::Reply { serial, result });
            self.act();
        }
    }

    /// Puts a batch into a session's output.
    fn give(&mut self, id: SessionId, frame: Rc<[u8]>) {
        let body = &frame[FRAME_HEADER_BYTES..];
        let head = Head::read(body).expect("a body");
        let Some(conn) = self.server.conn(id) else { return };
        assert!(
            conn.streams.contains(&head.tag.0),
            "session {} of {} is given {:?} {} and does not subscribe to it",
            id.0,
            conn.uid,
            self.server.tags.get(&head.tag.0).map(|p| self.checker.key(*p)),
            head.first
        );
        if head.tag == ANNOUNCEMENTS {
            self.check_notices(body, &[conn.uid]);
        }
        let place = self.server.tags[&head.tag.0];
        self.tell(|| {
            format!(
                "session {} is given {:?} {}..={}",
                id.0,
                self.checker.key(place),
                head.first,
                head.last()
            )
        });
        self.checker.publishes(place, head.last());
        self.checker.gives(place, head.first, head.last());
        self.server.conn_mut(id).expect("it is there").put(frame, Vec::new());
    }

    // ---- output ------------------------------------------------------------------------------

    fn pump_all(&mut self) {
        let ids: Vec<_> = self.server.conns.iter().map(|conn| conn.id).collect();
        for id in ids {
            self.pump(id);
        }
    }

    /// The server's rule: pull only while there is room, write what the socket takes.
    fn pump(&mut self, id: SessionId) {
        let now = self.now();
        loop {
            let Some(conn) = self.server.conn(id) else { return };
            if conn.hungry && conn.output_bytes < FRAME_BYTES_MAX {
                let mut chunks = Vec::new();
                let hungry = self.server.hub.pull(now, id, PULL_BYTES, &mut chunks);
                self.put_chunks(id, chunks);
                let Some(conn) = self.server.conn_mut(id) else { return };
                conn.hungry = hungry;
                self.act();
            }
            let delay =
                if self.quiet { 10 } else { 10 + self.random.below(self.faults.session_delay_us) };
            let Some(conn) = self.server.conn_mut(id) else { return };
            if conn.output.is_empty() {
                return;
            }
            if !conn.attached {
                conn.output.clear();
                conn.output_bytes = 0;
                continue;
            }
            let mut wrote = false;
            let due = conn.down.back().map_or(0, |(due, _)| *due).max(now.mono_us + delay);
            while conn.down_bytes < conn.socket_bytes
                && let Some(piece) = conn.output.pop_front()
            {
                conn.output_bytes -= piece.bytes.len();
                conn.down_bytes += piece.bytes.len();
                conn.down.push_back((due, piece));
                wrote = true;
            }
            if !wrote {
                return;
            }
        }
    }

    /// The server is killed: what it wrote may still be read; a transaction that runs is committed or not.
    pub fn kill_server(&mut self) {
        self.tally.count(Seen::Restart);
        if let Some((_, records, entries)) = self.server.storing.take() {
            if self.random.permille(500) {
                self.tell(|| format!("killed after a commit of {} messages", entries.len()));
                self.tally.count(Seen::CommitAtKill);
                self.commit(records, entries);
            } else {
                self.tell(|| format!("killed before a commit of {} messages", entries.len()));
            }
        }
        self.checker.forgives_wills();
        self.checker.published.clear();
        self.server.conns.clear();
        for at in 0..self.clients.len() {
            self.break_client(at);
        }
        self.rooms.restart(&self.disk, self.is_stored);
    }
}

/// Permanent identity of a stored stream.
pub fn key_of(stream: &StreamKey) -> Key {
    match stream {
        StreamKey::Room(room) => Key::Room(room.clone(), None),
        StreamKey::Conversation(low, high) => Key::Pair(*low, *high, None),
        StreamKey::Announcements => Key::Announcements(None),
    }
}

/// A question about the newest messages of a room.
pub fn page(room: &RoomName, last: u64) -> Request {
    Request::History(HistoryRequest::Page {
        target: Target::Room(room.clone()),
        first: last.saturating_sub(3).max(1),
        last,
    })
}

pub fn rules_of(run: BootId) -> HubConfig {
    // Each world is played again from its seed alone.
    HubConfig { secret: [run.0.into(), 0], ..HubConfig::new(run, 1, frame::batch_header) }
}
