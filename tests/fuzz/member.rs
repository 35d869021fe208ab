//! A member of a hostile server: any frames in any order, over broken connections.

use moot::{
    chat::{
        clock::Now,
        frames::{Ack, Frame},
        member::Kind as MemberKind,
        message::BootId,
        names::{RoomName, Target},
        reply::Reply,
        request::Request,
        stream_id::ChannelKey,
        text::{Text, shown},
    },
    client::{
        Event, Follows,
        member_state::{MemberState, Wish},
    },
    limits::UNACKED_SUBMITS_MAX,
    wire::{
        control,
        frame::{self, Kind, PROTOCOL_VERSION},
        hello::{Bye, Hello, Welcome, put},
    },
};

use crate::{
    memory,
    tape::Tape,
    targets::{any_body, any_frame, sealed},
};

/// Memory of a member before a server sends anything, bytes.
const MEMBER_BYTES_MAX: isize = 256 * 1024;

struct Session {
    state: MemberState,
    now: Now,
    sent: usize,
}

fn follows(tape: &mut Tape<'_>) -> Option<Follows> {
    let (membership, keep) = tape.value()?;
    Some(Follows {
        follow: tape.value()?,
        begin: tape.value()?,
        begin_of: tape.value()?,
        membership,
        keep,
        will: tape.value()?,
    })
}

impl Session {
    fn begin(&mut self, tape: &mut Tape<'_>) {
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            version: String::new(),
            run: BootId(u32::from(tape.byte() % 3)),
            session: 1,
            pid: 1,
            user: tape.value().unwrap_or_default(),
            uid: 1,
            broadcast: String::new(),
            epoch: u32::from(tape.byte() % 2),
            source_port: tape.chance(6).then_some(1),
        };
        self.state.begin(&welcome);
        self.written();
    }

    /// A member writes whole frames that a server can read.
    fn written(&mut self) {
        let out = std::mem::take(&mut self.state.out);
        let mut rest = out.as_slice();
        while let Some(parsed) = frame::parse(rest).expect("its own frames") {
            rest = &rest[parsed.bytes..];
            let is_read = match parsed.kind {
                Kind::Request => control::read_request(parsed.body).is_ok(),
                Kind::Submit => control::read_submit(parsed.body).is_ok(),
                Kind::Report => control::read_report(parsed.body).is_ok(),
                Kind::Repair => control::read_repair(parsed.body).is_ok(),
                Kind::Pong => parsed.body.is_empty(),
                other => panic!("a member never writes {other:?}"),
            };
            assert!(is_read, "{parsed:?}");
        }
        assert!(rest.is_empty());
        while let Some(event) = self.state.next_event() {
            if let Event::Message(message) = event {
                let (id, from) = (message.id.to_string(), message.from.to_string());
                assert_eq!(
                    (shown(&id, false), shown(&from, false)),
                    (id.as_str().into(), from.as_str().into())
                );
            }
        }
        let _ = (self.state.take_refused(), self.state.has_shown_all(), self.state.tick_at_us());
    }

    /// Takes bytes in two parts, as a socket may divide them.
    fn take(&mut self, tape: &mut Tape<'_>, bytes: &[u8]) {
        self.sent += bytes.len();
        let (first, rest) = bytes.split_at(tape.below(bytes.len() + 1));
        let taken = self.state.take_bytes(self.now, first);
        if taken.and_then(|()| self.state.take_bytes(self.now, rest)).is_err() {
            self.state.end("the server broke the protocol");
            self.begin(tape);
        }
    }

    fn step(&mut self, tape: &mut Tape<'_>) -> Option<()> {
        let mut bytes = Vec::new();
        match tape.byte() % 16 {
            0..=2 => {
                let serial = 1 + u32::from(tape.byte() % 8);
                let result = Ok(Reply::Joined(tape.value()?));
                control::put_frame(&mut bytes, Frame::Reply { serial, result });
            }
            3..=5 => control::put_frame(&mut bytes, any_frame(tape)?),
            6 => {
                let ack = Ack {
                    first: tape.number(),
                    count: tape.value()?,
                    seq: tape.number(),
                    members: tape.value()?,
                    stored: tape.chance(4),
                };
                control::put_frame(&mut bytes, Frame::Ack(ack));
            }
            7 | 8 => {
                let (tag, first) = (tape.value()?, tape.number().max(1));
                let body = any_body(tape, tag, first)?;
                frame::put(&mut bytes, Kind::Batch, |to| to.extend_from_slice(&body));
            }
            9 => {
                let (tag, first) = (tape.value()?, tape.number().max(1));
                let key: ChannelKey = tape.value()?;
                let mut datagram = sealed(&key, &any_body(tape, tag, first)?);
                self.sent += datagram.len();
                self.state.take_datagram(self.now, &mut datagram);
            }
            10 => {
                let count = tape.below(40);
                bytes.extend_from_slice(tape.bytes(count));
            }
            11 if self.state.unacked() < UNACKED_SUBMITS_MAX => {
                let to = match tape.chance(5) {
                    true => Target::Room(tape.value()?),
                    false => {
                        let (user, label) = tape.value()?;
                        Target::User { user, label }
                    }
                };
                let (reply_to, text): (_, Text) = (tape.value()?, tape.value()?);
                self.sent += text.len() + 256;
                self.state.say(to, reply_to, text);
            }
            12 => {
                self.sent += 256;
                match tape.byte() % 4 {
                    0 => drop(self.state.ask(&tape.value::<Request>()?)),
                    1 => self.state.follow(tape.value()?),
                    _ => drop(self.state.part(&tape.value::<RoomName>()?, tape.chance(4))),
                }
            }
            13 => match tape.chance(4) {
                true => {
                    let (reason, number) = (tape.value::<Text>()?.as_str().to_owned(), tape.byte());
                    let bye = Bye { reason, code: (number != 0).then(|| number.into()) };
                    frame::put(&mut bytes, Kind::Bye, |to| put(to, &bye));
                }
                false => {
                    self.state.end("the connection broke");
                    self.begin(tape);
                }
            },
            14 => {
                self.now.mono_us += tape.number() % 100_000_000;
                self.now.wall_us = tape.number().cast_signed();
                self.state.tick(self.now.mono_us);
                self.state.say_alive();
            }
            _ => {
                for wish in std::mem::take(&mut self.state.wishes) {
                    if let Wish::Hear(tag, channel) = wish {
                        let charge = tape.chance(6).then(|| tape.number());
                        self.state.heard(tag, &channel, charge, [0; 16]);
                    }
                }
            }
        }
        self.take(tape, &bytes);
        self.written();
        Some(())
    }
}

/// No panic, only frames that a server can read, and memory in proportion to the bytes that the server sent.
pub fn run(bytes: &[u8]) {
    let before = memory::held();
    let mut tape = Tape::new(bytes);
    let Some(follows) = follows(&mut tape) else { return };
    let label = tape.value().unwrap_or_default();
    let state = MemberState::new(Hello::new(label, MemberKind::Person, [7; 16]), follows);
    let mut session = Session { state, now: Now { mono_us: 1, wall_us: 1 }, sent: 0 };
    session.begin(&mut tape);
    while !tape.is_empty() {
        session.step(&mut tape);
        let held = memory::held() - before;
        let most = MEMBER_BYTES_MAX + 64 * session.sent.cast_signed();
        assert!(held < most, "{} bytes of a server made a member hold {held}", session.sent);
    }
}
