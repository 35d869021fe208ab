//! A member and sender as the product's client is: an inbox a stream, submits that are sent again.

use std::collections::{HashMap, VecDeque};

use moot::chat::{
    batch::{Head, Reader},
    hub::{Frame, Report},
    inbox::{Inbox, Released, Via},
    member::SessionId,
    message::RunId,
    names::RoomName,
    verbs::{Announce, Begin, Event, Follow, Reply, Request, StreamInfo, StreamLabel, StreamTag},
};

use crate::checker::Checker;

/// From a client to the server, in order.
#[derive(Debug, Clone)]
pub enum Up {
    Request(u32, Request),
    Submit { counter: u64, room: RoomName, text: String },
    Report(Report),
    Repair(StreamTag, u64, u64),
    Pong,
}

/// From the server to a client, in order.
#[derive(Debug, Clone)]
pub enum Down {
    Frame(Frame),
    Batch(std::rc::Rc<[u8]>),
}

pub struct Stream {
    pub place: String,
    pub inbox: Inbox,
}

pub struct Client {
    pub id: usize,
    pub uid: u32,
    pub instance: [u8; 16],
    pub rooms: Vec<RoomName>,
    pub session: Option<SessionId>,
    /// Not scheduled: it neither reads nor writes.
    pub stopped: bool,
    /// Hears no datagram.
    pub deaf: bool,
    pub down_until_us: u64,
    /// The server does not read from it.
    pub paused: bool,
    pub up: VecDeque<(u64, Up)>,
    pub down: VecDeque<(u64, Down)>,
    /// The server's output for it, and whether it has more.
    pub output: VecDeque<Down>,
    pub hungry: bool,
    pub datagrams: Vec<(u64, Vec<u8>)>,
    pub streams: HashMap<u32, Stream>,
    positions: HashMap<String, u64>,
    pub unacked: VecDeque<(u64, RoomName, String)>,
    counter: u64,
    serial: u32,
    jitter: u64,
    pub announced: Vec<u64>,
    pub receipts_answered: usize,
}

/// Headroom of a frame before its body.
pub const HEADER: usize = 8;

impl Client {
    pub fn new(id: usize, uid: u32, rooms: Vec<RoomName>) -> Self {
        let mut instance = [0; 16];
        instance[0] = u8::try_from(id + 1).unwrap();
        Self {
            id,
            uid,
            instance,
            rooms,
            session: None,
            stopped: false,
            deaf: false,
            down_until_us: 0,
            paused: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            output: VecDeque::new(),
            hungry: false,
            datagrams: Vec::new(),
            streams: HashMap::new(),
            positions: HashMap::new(),
            unacked: VecDeque::new(),
            counter: 0,
            serial: 0,
            jitter: id as u64 * 1_000,
            announced: Vec::new(),
            receipts_answered: 0,
        }
    }

    fn ask(&mut self, now_us: u64, request: Request) {
        self.serial += 1;
        self.up.push_back((now_us, Up::Request(self.serial, request)));
    }

    /// A new session: follows everything from where it stands, and submits again what is open.
    pub fn connected(&mut self, now_us: u64, session: SessionId, run: RunId, last: u64) {
        self.session = Some(session);
        let mut follows: Vec<_> = self.rooms.iter().cloned().map(Follow::Room).collect();
        follows.extend([Follow::Announcements, Follow::AllDirect]);
        for follow in follows {
            let place = match &follow {
                Follow::Room(room) => room.to_string(),
                _ => "!".to_owned(),
            };
            let begin = match (self.positions.get(&place), &follow) {
                (_, Follow::AllDirect) => Begin::Last(1_000_000),
                (Some(next), _) => Begin::After { run, seq: next - 1 },
                (None, _) => Begin::Last(last),
            };
            self.ask(now_us, Request::Join { follow, begin, membership: true, keep: true });
        }
        for (counter, room, text) in self.unacked.clone() {
            self.up.push_back((now_us, Up::Submit { counter, room, text }));
        }
    }

    /// The session broke.
    pub fn disconnected(&mut self) {
        self.session = None;
        // Receipts belong to the session that announced.
        self.announced.clear();
        for stream in self.streams.values() {
            self.positions.insert(stream.place.clone(), stream.inbox.next());
        }
        self.streams.clear();
        self.up.clear();
        self.down.clear();
        self.output.clear();
        self.datagrams.clear();
        self.hungry = false;
        self.paused = false;
    }

    pub fn say(&mut self, now_us: u64, room: RoomName, text: String) {
        self.counter += 1;
        self.unacked.push_back((self.counter, room.clone(), text.clone()));
        if self.session.is_some() {
            self.up.push_back((now_us, Up::Submit { counter: self.counter, room, text }));
        }
    }

    pub fn announce(&mut self, now_us: u64, text: &str) {
        let text = moot::chat::text::Text::new(text).unwrap();
        let level = moot::chat::member::Level::Notice;
        self.ask(now_us, Request::Announce(Announce::new(level, text)));
    }

    pub fn ask_receipt(&mut self, now_us: u64, number: u64) {
        self.ask(
            now_us,
            Request::Receipt { id: moot::chat::message::NoticeId::Number(number), skip: 0 },
        );
    }

    pub fn take(&mut self, now_us: u64, down: Down, checker: &mut Checker) {
        match down {
            Down::Batch(frame) => self.take_body(now_us, Via::Session, &frame[HEADER..], checker),
            Down::Frame(Frame::Reply { result, .. }) => {
                let reply = match result {
                    Ok(reply) => reply,
                    Err(refusal) => {
                        // An announcement that could not be stored, or an old one.
                        let old = refusal.text.contains("no receipt");
                        assert!(old || refusal.text == "disk full", "refused: {refusal:?}");
                        self.receipts_answered += usize::from(old);
                        return;
                    }
                };
                match reply {
                    Reply::Joined(infos) => {
                        for info in &infos {
                            self.joined(now_us, info, checker);
                        }
                    }
                    Reply::Announced { number, .. } => self.announced.push(number),
                    Reply::Receipt(receipt) => {
                        assert_eq!(receipt.next, None, "all fit into one answer");
                        let missing = receipt.missing.len() as u32;
                        assert_eq!(receipt.members, receipt.reached + missing, "{receipt:?}");
                        for missing in &receipt.missing {
                            assert_eq!(missing.state, "gone", "all that are here were reached");
                        }
                        self.receipts_answered += 1;
                    }
                    _ => {}
                }
            }
            Down::Frame(Frame::Ack(ack)) => {
                for at in 0..u64::from(ack.count) {
                    let counter = ack.first + at;
                    if let Some(i) = self.unacked.iter().position(|(c, ..)| *c == counter) {
                        let (_, room, text) = self.unacked.remove(i).unwrap();
                        checker.acks(&text, room.as_str(), ack.seq + at);
                    }
                }
            }
            Down::Frame(Frame::Nack { first, count, refusal }) => {
                for counter in first..first + u64::from(count) {
                    if let Some(i) = self.unacked.iter().position(|(c, ..)| *c == counter) {
                        let (_, _, text) = self.unacked.remove(i).unwrap();
                        checker.refuses(&text, &format!("{refusal:?}"));
                    }
                }
            }
            Down::Frame(Frame::Event(event)) => self.take_event(now_us, event, checker),
        }
    }

    fn joined(&mut self, now_us: u64, info: &StreamInfo, checker: &mut Checker) {
        let place = match &info.name {
            StreamLabel::Room(room) => room.to_string(),
            StreamLabel::Announcements => "!".to_owned(),
            StreamLabel::Direct(_) => return,
        };
        assert!(!info.new_run);
        let next = self.positions.get(&place).map_or(info.next, |n| (*n).max(info.next));
        checker.begins(self.id, &place, info.next);
        let inbox = Inbox::new(info.tag, next, info.head, place == "!");
        self.streams.insert(info.tag.0, Stream { place, inbox });
        if info.channel.is_some() {
            self.hears(now_us, info.tag);
        }
    }

    fn hears(&mut self, now_us: u64, stream: StreamTag) {
        let charge_bytes = crate::world::RECEIVE_BUFFER as u64;
        self.ask(now_us, Request::Listening { stream, charge_bytes, slot: [0; 16] });
    }

    fn take_event(&mut self, now_us: u64, event: Event, checker: &mut Checker) {
        match event {
            Event::Ping => self.up.push_back((now_us, Up::Pong)),
            Event::Heads(heads) => {
                for (tag, head) in heads {
                    if let Some(stream) = self.streams.get_mut(&tag.0) {
                        stream.inbox.note_head(now_us, head, self.jitter);
                    }
                }
            }
            Event::Gap { stream, first, last, reason } => {
                if let Some(s) = self.streams.get_mut(&stream.0) {
                    s.inbox.gap(first, last, reason);
                    self.release(now_us, stream.0, checker);
                }
            }
            Event::Channel { stream, .. } => self.hears(now_us, stream),
            Event::Joined { .. }
            | Event::Left { .. }
            | Event::Opened(_)
            | Event::Covered { .. }
            | Event::Topic { .. }
            | Event::Spelled(_)
            | Event::Offer { .. }
            | Event::Answered { .. }
            | Event::Abandoned { .. }
            | Event::Deleted { .. }
            | Event::Removed { .. }
            | Event::Retained { .. }
            | Event::Slowed
            | Event::Cancelled { .. }
            | Event::Invited { .. }
            | Event::Bye { .. } => {}
        }
    }

    pub fn take_body(&mut self, now_us: u64, via: Via, body: &[u8], checker: &mut Checker) {
        let tag = Head::read(body).unwrap().tag.0;
        self.jitter = (self.jitter * 31 + 7) % 8_000;
        let Some(stream) = self.streams.get_mut(&tag) else { return };
        if let Some(from) = stream.inbox.take(now_us, via, body, self.jitter).unwrap() {
            show(self.id, &stream.place, body, from, checker);
            self.release(now_us, tag, checker);
        }
    }

    fn release(&mut self, now_us: u64, tag: u32, checker: &mut Checker) {
        let Some(stream) = self.streams.get_mut(&tag) else { return };
        while let Some(released) = stream.inbox.release(now_us, self.jitter) {
            match released {
                Released::Body { body, from } => show(self.id, &stream.place, &body, from, checker),
                Released::Gap { first, last, .. } => {
                    checker.gap(self.id, &stream.place, first, last);
                }
            }
        }
    }

    pub fn tick(&mut self, now_us: u64) {
        for stream in self.streams.values_mut() {
            if let Some((first, last)) = stream.inbox.repair_due(now_us) {
                self.up.push_back((now_us, Up::Repair(stream.inbox.tag(), first, last)));
            }
            if let Some(report) = stream.inbox.report_due(now_us) {
                self.up.push_back((now_us, Up::Report(report)));
            }
        }
    }
}

fn show(id: usize, place: &str, body: &[u8], from: u64, checker: &mut Checker) {
    for message in Reader::new(body).unwrap() {
        let message = message.unwrap();
        if message.seq >= from {
            checker.shows(id, place, message.seq, message.text.read().unwrap());
        }
    }
}
