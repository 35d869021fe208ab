//! A hub among hostile sessions: any requests in any order, a store and a channel that fail.

use std::{collections::VecDeque, rc::Rc};

use moot::{
    chat::{
        announcement::AnnouncementRecord,
        batch::Reader,
        clock::Now,
        frames::{Frame, Hello, Report},
        hub::{Action, Chunk, Hub, HubConfig},
        member::{EndCause, Kind, Peer, SessionId},
        message::{AnnouncementId, BootId},
        names::{Label, RoomName, UserName},
        presence_row::Row,
        request::{Announce, Follow, Request, SessionRequest},
        store::{Fetch, Fetched, Question, Record, Restored},
        stream_id::{Channel, ChannelKey, StreamId},
    },
    limits::FRAME_HEADER_BYTES,
    wire::{control, frame},
};

use crate::{
    asks::{Known, Pick},
    memory,
    mutate::Random,
    tape::Tape,
    targets::{any_submit, frame_again},
};

/// Maximum memory of a hub with these few users, bytes. Most of it recognizes submits that come again.
const HELD_BYTES_MAX: isize = 48 * 1024 * 1024;

/// Output of a hub since the last look.
#[derive(Default)]
pub struct Seen {
    pub frames: Vec<(SessionId, Frame)>,
    pub batches: Vec<(SessionId, Rc<[u8]>)>,
    pub published: Vec<(StreamId, Rc<[u8]>)>,
    pub rows: Vec<Row>,
    pub fetches: Vec<Fetch>,
    pub questions: Vec<(SessionId, Question)>,
}

/// The owner of a hub: executes its actions and holds its sessions.
pub struct Shell {
    pub hub: Hub,
    pub now: Now,
    pub sessions: Vec<SessionId>,
    pub seen: Seen,
    /// Names and numbers that any session received.
    known: Known,
    next_session: u64,
    hungry: VecDeque<SessionId>,
    storing: bool,
    fetches: Vec<Fetch>,
    pub has_channel: bool,
    keys: u32,
    receipts: Vec<AnnouncementRecord>,
}

/// Names of users by their ids.
const USERS: [&str; 8] = ["root", "ann", "bob", "owner", "friend", "victim", "eve", "mallory"];

pub fn user(uid: u32) -> UserName {
    UserName::new(USERS[uid as usize % USERS.len()]).expect("a name")
}

pub fn rules(tape: &mut Tape<'_>) -> HubConfig {
    let mut rules = HubConfig::new(BootId(7), 1, frame::batch_header);
    rules.secret = [0; 2];
    rules.host = tape.chance(4);
    rules.store = tape.chance(5);
    rules.persistent = rules.store && tape.chance(6);
    rules.broadcast = tape.chance(6);
    rules.broadcast_members_min = 1 + tape.below(3);
    rules.sessions_max = 16;
    rules.rooms_max = 12;
    rules.rooms_per_user_max = 8;
    rules.backlog_bytes_max = 256 * 1024;
    rules.backlog_total_bytes_max = 4 * 1024 * 1024;
    rules.in_flight_bytes_per_user_max = 128 * 1024;
    rules
}

impl Shell {
    pub fn new(rules: HubConfig, restored: Restored) -> Self {
        let mut hub = Hub::restored(rules, restored);
        hub.learn_user(UserName::new("carol").expect("a name"), 9);
        Self {
            hub,
            now: Now { mono_us: 1_000_000, wall_us: 1_795_251_600_000_000 },
            sessions: Vec::new(),
            seen: Seen::default(),
            known: Known::default(),
            next_session: 1,
            hungry: VecDeque::new(),
            storing: false,
            fetches: Vec::new(),
            has_channel: true,
            keys: 0,
            receipts: Vec::new(),
        }
    }

    /// Opens a session; none if the hub refuses it.
    pub fn open(
        &mut self,
        uid: u32,
        label: Option<Label>,
        kind: Kind,
        instance: [u8; 16],
    ) -> Option<SessionId> {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let peer = Peer { uid, user: user(uid), pid: self.next_session as u32 % 4, start: 0 };
        self.hub.open(self.now, id, peer, Hello::new(label, kind, instance)).ok()?;
        self.sessions.push(id);
        Some(id)
    }

    pub fn close(&mut self, at: usize, cause: EndCause) {
        let id = self.sessions.swap_remove(at);
        self.hub.close(self.now, id, cause);
    }

    pub fn request(&mut self, id: SessionId, request: &Request) {
        let mut bytes = Vec::new();
        control::put_request(&mut bytes, 1, request);
        let read = control::read_request(&bytes[FRAME_HEADER_BYTES..]);
        let (serial, request) = read.expect("what was written can be read");
        if request == Request::Session(SessionRequest::Quit) {
            if let Some(at) = self.sessions.iter().position(|session| *session == id) {
                self.close(at, EndCause::Quit);
            }
            return;
        }
        if let Some(question) = self.hub.request(self.now, id, serial, request) {
            // The store answers this one.
            self.seen.questions.push((id, question));
        }
    }

    fn told(&mut self, id: SessionId, frame: Frame) {
        frame_again(&frame);
        self.known.learn(&frame);
        self.seen.frames.push((id, frame));
    }

    fn pulled(&mut self, id: SessionId, chunk: Chunk) {
        match chunk {
            Chunk::Event(event) => self.told(id, Frame::Event(event)),
            Chunk::Batch(bytes) => {
                let parsed = frame::parse(&bytes).expect("a frame").expect("all of it");
                let messages = Reader::new(parsed.body).expect("a body");
                assert!(messages.into_iter().all(|message| message.is_ok()));
                self.seen.batches.push((id, bytes));
            }
        }
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> Option<()> {
        let op = tape.byte() % 32;
        let at = tape.below(self.sessions.len().max(1));
        let id = self.sessions.get(at).copied();
        match (op, id) {
            (0 | 1, _) | (2..=23, None) => {
                let (label, kind) = tape.value()?;
                let uid = tape.below(3) as u32;
                self.open(uid, label, kind, [tape.byte() % 4; 16]);
            }
            (2, Some(_)) => self.close(at, tape.value()?),
            (3..=14, Some(id)) => {
                let request = match tape.chance(4) {
                    true => tape.value()?,
                    false => Pick { tape, known: &self.known }.request(),
                };
                self.hub.spend(self.now, id, 4096, true);
                self.request(id, &request);
            }
            (15..=19, Some(id)) => {
                let body = any_submit(tape)?;
                let submit = control::read_submit(&body).ok()?;
                if !self.hub.must_wait(self.now, id) && self.hub.has_credit(id) {
                    self.hub.spend(self.now, id, body.len(), true);
                    self.hub.submit(self.now, id, &submit);
                }
            }
            (20 | 21, Some(id)) => {
                let (stream, delivered, by_broadcast, datagrams) = tape.value()?;
                let report = Report { stream, delivered, by_broadcast, datagrams };
                self.hub.report(self.now, id, &report);
            }
            (22, Some(id)) => {
                let (tag, first, last) = tape.value()?;
                self.hub.repair(self.now, id, tag, first, last);
            }
            (23, Some(id)) => self.hub.heard(self.now, id),
            (24 | 25, _) => self.stored(tape.chance(6)),
            (26, _) => self.fetched(tape),
            (27, _) => self.has_channel = tape.chance(6),
            (28 | 29, _) => self.pass(u64::from(tape.byte()) * 10_000),
            (30, _) => self.pass(tape.number() % 100_000_000),
            (_, _) => self.hub.end_turn(self.now),
        }
        Some(())
    }

    pub fn pass(&mut self, us: u64) {
        self.now.mono_us += us;
        // The wall clock may be set back.
        self.now.wall_us += if us % 7 == 3 { -(us.cast_signed()) } else { us.cast_signed() };
        self.hub.end_turn(self.now);
        self.hub.tick(self.now);
        assert!(self.hub.tick_after_ms() > 0);
    }

    pub fn stored(&mut self, well: bool) {
        if std::mem::take(&mut self.storing) {
            match well {
                true => self.hub.stored(self.now),
                false => self.hub.store_failed(self.now, "disk full"),
            }
        }
    }

    pub fn fetched(&mut self, tape: &mut Tape<'_>) {
        if self.fetches.is_empty() {
            return;
        }
        let fetch = self.fetches.swap_remove(tape.below(self.fetches.len()));
        if tape.chance(1) {
            self.hub.fetch_failed(self.now, &fetch);
            return;
        }
        let upto = match tape.chance(2) {
            true => fetch.last,
            false => fetch.first + (fetch.last - fetch.first) / 2,
        };
        let found = Fetched { frames: Vec::new(), upto, oldest: tape.byte().into() };
        for chunk in self.hub.fetched(self.now, &fetch, found).into_iter().flatten() {
            self.pulled(fetch.session, chunk);
        }
    }

    /// Executes the hub's actions until there are none.
    pub fn act(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "the hub never comes to rest");
            let actions: Vec<Action> = self.hub.actions().collect();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.carry_out(action);
            }
            // A few pulls for each session: messages from the store come later.
            for id in std::mem::take(&mut self.hungry) {
                let mut chunks = Vec::new();
                for _ in 0..4 {
                    if !self.hub.pull(self.now, id, 64 * 1024, &mut chunks) {
                        break;
                    }
                }
                chunks.into_iter().for_each(|chunk| self.pulled(id, chunk));
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send(id, frame) => self.told(id, frame),
            Action::Wake(id) => self.hungry.push_back(id),
            Action::OpenChannel(tag) => {
                let key = self.key();
                let channel = Channel { group: [239, 255, 0, 1], port: 1, key };
                self.hub.channel_opened(tag, self.has_channel.then_some(channel));
            }
            Action::NewKey(tag) => {
                let key = self.key();
                match self.has_channel {
                    true => self.hub.channel_key(tag, key),
                    false => self.hub.channel_lost(tag),
                }
            }
            Action::Publish(tag, bytes) => {
                let messages = Reader::new(&bytes[FRAME_HEADER_BYTES..]).expect("a body");
                assert_eq!(messages.head().tag, tag);
                assert!(messages.into_iter().all(|message| message.is_ok()));
                let _ = self.hub.hearers(tag).count();
                self.seen.published.push((tag, bytes));
            }
            Action::Store(records, entries) => {
                assert!(!std::mem::replace(&mut self.storing, true), "one transaction at a time");
                for record in records {
                    if let Record::Notice(state) = record {
                        self.receipts.push(*state);
                        self.receipts.truncate(64);
                    }
                }
                entries.iter().for_each(|entry| assert!(!entry.text.is_empty()));
            }
            Action::Fetch(fetch) => {
                assert!(fetch.first <= fetch.last, "{fetch:?}");
                self.seen.fetches.push(fetch.clone());
                self.fetches.push(fetch);
            }
            Action::End(id, _) => self.sessions.retain(|session| *session != id),
            Action::Pause(_)
            | Action::Resume(_)
            | Action::CloseChannel(_)
            | Action::Log(_)
            | Action::LogOf(..)
            | Action::RowGone(_) => {}
            Action::Row(row) => self.seen.rows.push(*row),
        }
    }

    fn key(&mut self) -> ChannelKey {
        self.keys += 1;
        ChannelKey { number: self.keys, bytes: [7; 32] }
    }
}

/// A row of the presence table; none if a name is invalid.
pub fn any_row(tape: &mut Tape<'_>, session: u64) -> Option<Row> {
    let (kind, state, visitor) = tape.value()?;
    let (label, status): (_, String) = tape.value()?;
    let rooms: Vec<RoomName> = tape.value()?;
    Some(Row {
        session: SessionId(session),
        uid: 1,
        pid: 1,
        start: 1,
        kind,
        state,
        visitor,
        since_wall_us: 1,
        active_mono_us: 1,
        user: user(1),
        label,
        status: status.chars().take(20).collect::<String>().into(),
        rooms,
    })
}

/// Any sequence of frames: no panic, nothing that can't be written, bounded memory; and once all sessions
/// have ended, none is left.
pub fn run(bytes: &[u8]) {
    let before = memory::held();
    let mut tape = Tape::new(bytes);
    let mut shell = Shell::new(rules(&mut tape), Restored::default());
    for uid in 0..3 {
        shell.open(uid, None, Kind::Person, [uid as u8; 16]);
        if tape.chance(6) {
            let room = RoomName::new("dev").expect("a name");
            let follow = if tape.chance(2) { Follow::Announcements } else { Follow::Room(room) };
            let begin = tape.value().unwrap_or_default();
            let id = *shell.sessions.last().expect("it was opened");
            shell.request(id, &Request::Join { follow, begin, membership: true, keep: false });
        }
    }
    while !tape.is_empty() {
        shell.step(&mut tape);
        shell.act();
        shell.seen = Seen::default();
    }
    let held = memory::held() - before;
    assert!(held < HELD_BYTES_MAX, "the hub holds {held} bytes");
    while !shell.sessions.is_empty() {
        shell.close(0, EndCause::Closed);
        shell.act();
    }
    for _ in 0..4 {
        shell.pass(20_000_000);
        shell.act();
        shell.stored(true);
        shell.act();
    }
    assert_eq!((shell.hub.session_count(), shell.hub.member_count()), (0, 0));
}

/// A hub that starts with the receipts of a history answers all requests about announcements.
pub fn asked_for_notices(restored: Restored) {
    let mut shell = Shell::new(rules(&mut Tape::new(&[0, 0, 0, 0])), restored);
    shell.open(1, None, Kind::Person, [1; 16]);
    shell.act();
    let id = shell.sessions[0];
    let mut ids: Vec<AnnouncementId> = (0..5).map(AnnouncementId::Number).collect();
    ids.extend((0..5).map(AnnouncementId::Scheduled));
    shell.request(id, &Request::Notices { skip: 0 });
    for of in ids {
        shell.request(id, &Request::Notice { id: of });
        shell.request(id, &Request::Receipt { id: of, skip: 0 });
        shell.request(id, &Request::AckNotice { id: of });
        shell.request(id, &Request::CancelNotice { id: of });
        shell.act();
    }
    let follow = Follow::Announcements;
    let begin = moot::chat::request::Begin::Last(9);
    shell.request(id, &Request::Join { follow, begin, membership: false, keep: false });
    for _ in 0..3 {
        shell.act();
        shell.stored(true);
        shell.pass(10_000_000);
    }
    shell.hub.keep_notices();
    shell.act();
}

/// Receipts of a hub in the form in which the history stores them.
pub fn written_receipts() -> Vec<Vec<u8>> {
    let mut shell = Shell::new(rules(&mut Tape::new(&[0, 0, 0, 0])), Restored::default());
    shell.open(0, None, Kind::Person, [1; 16]);
    let id = shell.sessions[0];
    for seed in 0..400 {
        let bytes = Random(seed).bytes();
        if let Some(announce) = Tape::new(&bytes).value::<Announce>() {
            shell.request(id, &Request::Announce(announce));
        }
        shell.act();
        shell.stored(true);
        shell.pass(300_000);
        shell.act();
    }
    shell.receipts.iter().filter_map(|state| serde_json::to_vec(state).ok()).collect()
}
