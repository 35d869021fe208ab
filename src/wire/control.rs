//! Bodies of control frames by bincode, and of submits, reports and acknowledgements by hand.
//!
//! bincode is named here alone, so that it can be replaced: 1.3.3 is pinned because 2.x aborts on a
//! 12-byte input when no limit is set and 3.0 does not build. It reads from slices only, under a
//! byte limit, and refuses trailing bytes. The golden vectors below fix the format.

use bincode::Options;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::frame::{self, Kind};
use crate::{
    chat::{
        event::Event,
        frames::{Ack, Destination, Frame, Line, Report, Submit},
        linked::{Import, LinkPosition, LinkRequest, LinkedStream, RemoteReceipt, Roster},
        member::SessionId,
        message::AnnouncementId,
        names::{HostName, Label, RoomName, Target, UserName},
        refusal::Refusal,
        reply::Reply,
        request::{
            Announce, Answering, Begin, Follow, HistoryRequest, Request, SearchRequest,
            SessionRequest,
        },
        rules::Role,
        stream_id::{RoomId, StreamId},
        text::{Text, TextRef},
        varint::{Cursor, Malformed, put_name, put_number},
    },
    limits::{FRAME_BYTES_MAX, SUBMIT_MESSAGES_MAX, TEXT_BYTES_MAX},
};

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(FRAME_BYTES_MAX as u64)
}

fn put_bincode<T: Serialize>(to: &mut Vec<u8>, body: &T) {
    // Each list in a body is cut to what fits where it is made.
    options().serialize_into(to, body).expect("control bodies fit into a frame");
}

fn read_bincode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    options().deserialize(body).map_err(|_| Malformed)
}

/// Defines the requests as they are on the wire: the order is the number of each. A new verb is
/// added at the end; no row is moved or removed.
macro_rules! numbered {
    ($($verb:ident { $($field:ident: $type:ty),* } = { $($request:tt)* };)*) => {
        #[derive(Serialize, Deserialize)]
        enum Numbered {
            $($verb { $($field: $type),* },)*
        }

        impl From<Request> for Numbered {
            fn from(request: Request) -> Self {
                match request {
                    $($($request)* => Self::$verb { $($field),* },)*
                }
            }
        }

        impl From<Numbered> for Request {
            fn from(numbered: Numbered) -> Self {
                match numbered {
                    $(Numbered::$verb { $($field),* } => $($request)*,)*
                }
            }
        }
    };
}

numbered! {
    Open { target: Target } = { Request::Open { target } };
    Join { follow: Follow, begin: Begin, membership: bool, keep: bool }
        = { Request::Join { follow, begin, membership, keep } };
    Part { stream: StreamId, forget: bool } = { Request::Part { stream, forget } };
    Unfollow { room: RoomName } = { Request::Unfollow { room } };
    Rooms { skip: u32 } = { Request::Rooms { skip } };
    CreateRoom { room: RoomName, history: bool, private: bool, read_only: bool }
        = { Request::CreateRoom { room, history, private, read_only } };
    Role { room: RoomName, user: UserName, role: Role, on: bool }
        = { Request::Role { room, user, role, on } };
    KickFromRoom { room: RoomName, user: UserName, label: Option<Label> }
        = { Request::KickFromRoom { room, user, label } };
    Who { room: RoomName, skip: u32 } = { Request::Who { room, skip } };
    Kick { user: UserName, label: Option<Label> } = { Request::Kick { user, label } };
    Drop { session: SessionId } = { Request::Drop { session } };
    Audit { skip: u32 } = { Request::Audit { skip } };
    Topic { room: RoomName, topic: String } = { Request::Topic { room, topic } };
    Away { label: Option<Label>, text: String } = { Request::Away { label, text } };
    Back { label: Option<Label> } = { Request::Back { label } };
    Announce { announce: Announce } = { Request::Announce(announce) };
    Receipt { id: AnnouncementId, skip: u32 } = { Request::Receipt { id, skip } };
    Notices { skip: u32 } = { Request::Notices { skip } };
    Notice { id: AnnouncementId } = { Request::Notice { id } };
    AckNotice { id: AnnouncementId } = { Request::AckNotice { id } };
    CancelNotice { id: AnnouncementId } = { Request::CancelNotice { id } };
    Will { text: Option<Text> } = { Request::Will { text } };
    Listening { stream: StreamId, charge_bytes: u64, slot: [u8; 16] }
        = { Request::Session(SessionRequest::Listening { stream, charge_bytes, slot }) };
    Deaf { stream: StreamId } = { Request::Session(SessionRequest::Deaf { stream }) };
    Span { target: Target } = { Request::History(HistoryRequest::Span { target }) };
    Page { target: Target, first: u64, last: u64 }
        = { Request::History(HistoryRequest::Page { target, first, last }) };
    NumberAt { target: Target, wall_us: i64 }
        = { Request::History(HistoryRequest::NumberAt { target, wall_us }) };
    Search { search: SearchRequest } = { Request::History(HistoryRequest::Search(search)) };
    Unread { target: Option<Target>, skip: u32 }
        = { Request::History(HistoryRequest::Unread { target, skip }) };
    MarkRead { target: Target, seq: u64 } = { Request::MarkRead { target, seq } };
    DeleteRoom { room: RoomName } = { Request::DeleteRoom { room } };
    Active {} = { Request::Session(SessionRequest::Active) };
    Quit {} = { Request::Session(SessionRequest::Quit) };
    Ask { counter: u64, again: bool } = { Request::Ask { counter, again } };
    Answer { answering: Answering } = { Request::Answer(answering) };
    Take { stream: StreamId, seq: u64 } = { Request::Take { stream, seq } };
    Answered { stream: StreamId, seq: u64, failed: bool, silent: bool }
        = { Request::Answered { stream, seq, failed, silent } };
    LinkBegin { host: HostName } = { Request::Link(LinkRequest::Begin { host }) };
    LinkExport { stream: LinkedStream, renew: Option<LinkPosition> }
        = { Request::Link(LinkRequest::Export { stream, renew }) };
    LinkImports { skip: u32 } = { Request::Link(LinkRequest::Imports { skip }) };
    LinkImport { import: Import } = { Request::Link(LinkRequest::Import(import)) };
    LinkRoster { roster: Roster } = { Request::Link(LinkRequest::Roster(roster)) };
    LinkReceipt { number: u64, host: HostName, receipt: RemoteReceipt }
        = { Request::Link(LinkRequest::Receipt { number, host, receipt }) };
    LinkAnnouncements { first: u64, last: u64 }
        = { Request::Link(LinkRequest::Announcements { first, last }) };
    LinkFind { stream: LinkedStream, host: HostName, seq: u64 }
        = { Request::Link(LinkRequest::Find { stream, host, seq }) };
}

#[derive(Serialize, Deserialize)]
struct Asked {
    serial: u32,
    request: Numbered,
}

#[derive(Serialize, Deserialize)]
struct Answered {
    serial: u32,
    result: Result<Reply, Refusal>,
}

#[derive(Serialize, Deserialize)]
struct Refused {
    first: u64,
    count: u32,
    refusal: Refusal,
}

/// Appends a request frame.
pub fn put_request(to: &mut Vec<u8>, serial: u32, request: &Request) {
    let asked = Asked { serial, request: request.clone().into() };
    frame::put(to, Kind::Request, |body| put_bincode(body, &asked));
}

/// Reads the body of a request frame.
///
/// # Errors
/// Returns an error if it was not written by [`put_request`].
pub fn read_request(body: &[u8]) -> Result<(u32, Request), Malformed> {
    read_bincode::<Asked>(body).map(|asked| (asked.serial, asked.request.into()))
}

/// Appends what the hub wants to tell a session.
pub fn put_frame(to: &mut Vec<u8>, told: Frame) {
    match told {
        Frame::Reply { serial, result } => {
            let answered = Answered { serial, result };
            frame::put(to, Kind::Reply, |body| put_bincode(body, &answered));
        }
        Frame::Event(event) => put_event(to, &event),
        Frame::Ack(ack) => frame::put(to, Kind::Ack, |body| put_ack(body, &ack)),
        Frame::Nack { first, count, refusal } => {
            let refused = Refused { first, count, refusal };
            frame::put(to, Kind::Nack, |body| put_bincode(body, &refused));
        }
    }
}

/// Appends an event frame.
pub fn put_event(to: &mut Vec<u8>, event: &Event) {
    frame::put(to, Kind::Event, |body| put_bincode(body, event));
}

/// Reads the body of a reply frame.
pub(super) fn read_reply(body: &[u8]) -> Result<Frame, Malformed> {
    let Answered { serial, result } = read_bincode(body)?;
    Ok(Frame::Reply { serial, result })
}

/// Reads the body of an event frame.
pub(super) fn read_event(body: &[u8]) -> Result<Frame, Malformed> {
    read_bincode(body).map(Frame::Event)
}

/// Reads the body of a frame about refused submits.
pub(super) fn read_nack(body: &[u8]) -> Result<Frame, Malformed> {
    let Refused { first, count, refusal } = read_bincode(body)?;
    Ok(Frame::Nack { first, count, refusal })
}

fn put_ack(to: &mut Vec<u8>, ack: &Ack) {
    put_number(to, ack.first);
    put_number(to, ack.count.into());
    put_number(to, ack.seq);
    put_number(to, ack.members.into());
    to.push(ack.stored.into());
}

/// Reads the body of an acknowledgement frame.
pub(super) fn read_ack(body: &[u8]) -> Result<Frame, Malformed> {
    let mut rest = Cursor::new(body);
    let ack = Ack {
        first: rest.number()?,
        count: small(rest.number()?)?,
        seq: rest.number()?,
        members: small(rest.number()?)?,
        stored: rest.array::<1>()?[0] != 0,
    };
    end(&rest).map(|()| Frame::Ack(ack))
}

fn small(number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_| Malformed)
}

fn end(rest: &Cursor<'_>) -> Result<(), Malformed> {
    if rest.is_empty() { Ok(()) } else { Err(Malformed) }
}

const TO_STREAM: u8 = 0;
const TO_ROOM: u8 = 1;
const TO_KNOWN: u8 = 2;

/// Bytes of a text in a submit beside the text itself, at most.
pub const LINE_OVERHEAD_BYTES: usize = 16;

/// Appends a submit frame. The caller sees to it that it is not longer than a frame may be.
pub fn put_submit(to: &mut Vec<u8>, submit: &Submit<'_>) {
    frame::put(to, Kind::Submit, |body| {
        put_number(body, submit.first);
        match &submit.to {
            Destination::Stream(tag) => {
                body.push(TO_STREAM);
                put_number(body, tag.0.into());
            }
            Destination::Room(room) => {
                body.push(TO_ROOM);
                put_name(body, room.as_str());
            }
            Destination::Known(room) => {
                body.push(TO_KNOWN);
                put_number(body, room.0);
            }
        }
        put_name(body, submit.to_label.as_ref().map_or("", Label::as_str));
        put_number(body, submit.lines.len() as u64);
        for line in &submit.lines {
            put_number(body, line.reply_to.map_or(0, |seq| seq));
            put_number(body, line.text.as_str().len() as u64);
            body.extend_from_slice(line.text.as_str().as_bytes());
        }
    });
}

/// Reads the body of a submit frame.
///
/// # Errors
/// Returns an error if it was not written by [`put_submit`].
pub fn read_submit(body: &[u8]) -> Result<Submit<'_>, Malformed> {
    let mut rest = Cursor::new(body);
    let first = rest.number()?;
    let to = match rest.array::<1>()? {
        [TO_STREAM] => Destination::Stream(StreamId(small(rest.number()?)?)),
        [TO_ROOM] => Destination::Room(RoomName::existing(rest.name()?).map_err(|_| Malformed)?),
        [TO_KNOWN] => Destination::Known(RoomId(rest.number()?)),
        _ => return Err(Malformed),
    };
    let to_label = match rest.name()? {
        "" => None,
        label => Some(Label::existing(label).map_err(|_| Malformed)?),
    };
    let count = rest.number()?;
    if first == 0 || count == 0 || count > SUBMIT_MESSAGES_MAX as u64 {
        return Err(Malformed);
    }
    // What is kept on disk is a signed number.
    let end_of_counters = first.checked_add(count).ok_or(Malformed)?;
    i64::try_from(end_of_counters).map_err(|_| Malformed)?;
    // Bounded, and by what is there: a line has two bytes at least.
    let mut lines = Vec::with_capacity((count as usize).min(body.len() / 2));
    for _ in 0..count {
        let reply_to = Some(rest.number()?).filter(|seq| *seq > 0);
        let bytes = usize::try_from(rest.number()?).map_err(|_| Malformed)?;
        if bytes > TEXT_BYTES_MAX {
            return Err(Malformed);
        }
        let text = TextRef::new(rest.text(bytes)?).map_err(|_| Malformed)?;
        lines.push(Line { reply_to, text });
    }
    end(&rest)?;
    Ok(Submit { first, to, to_label, lines })
}

/// Appends a report frame.
pub fn put_report(to: &mut Vec<u8>, report: &Report) {
    frame::put(to, Kind::Report, |body| {
        put_number(body, report.stream.0.into());
        put_number(body, report.delivered);
        put_number(body, report.by_broadcast);
        put_number(body, report.datagrams);
    });
}

/// Reads the body of a report frame.
///
/// # Errors
/// Returns an error if it was not written by [`put_report`].
pub fn read_report(body: &[u8]) -> Result<Report, Malformed> {
    let mut rest = Cursor::new(body);
    let report = Report {
        stream: StreamId(small(rest.number()?)?),
        delivered: rest.number()?,
        by_broadcast: rest.number()?,
        datagrams: rest.number()?,
    };
    end(&rest).map(|()| report)
}

/// Appends a repair frame: numbers of a stream that are missing.
pub fn put_repair(to: &mut Vec<u8>, stream: StreamId, first: u64, last: u64) {
    frame::put(to, Kind::Repair, |body| {
        put_number(body, stream.0.into());
        put_number(body, first);
        put_number(body, last);
    });
}

/// Reads the body of a repair frame.
///
/// # Errors
/// Returns an error if it was not written by [`put_repair`].
pub fn read_repair(body: &[u8]) -> Result<(StreamId, u64, u64), Malformed> {
    let mut rest = Cursor::new(body);
    let repair = (StreamId(small(rest.number()?)?), rest.number()?, rest.number()?);
    end(&rest).map(|()| repair)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        chat::{member::Level, message::BootId, refusal::RefusalCode, request::Wait},
        limits::FRAME_HEADER_BYTES,
    };

    fn body(bytes: &[u8]) -> &[u8] {
        &bytes[FRAME_HEADER_BYTES..]
    }

    #[test]
    fn a_counter_that_could_not_be_kept_is_refused() {
        let submit = |first| {
            let lines = vec![Line { reply_to: None, text: "hi".try_into().unwrap() }];
            let to = Destination::Stream(StreamId(1));
            let mut b = Vec::new();
            put_submit(&mut b, &Submit { first, to, to_label: None, lines });
            read_submit(body(&b)).is_ok()
        };
        let most = i64::MAX as u64;
        assert!(submit(1) && submit(most - 1));
        assert!(!submit(0) && !submit(most) && !submit(1 << 63) && !submit(u64::MAX));
    }

    #[test]
    fn golden_bytes() {
        let mut b = Vec::new();
        let target: Target = "@ann/ci".parse().unwrap();
        put_request(&mut b, 300, &Request::Open { target });
        assert_eq!(body(&b), b"\xfb\x2c\x01\x00\x01\x03ann\x01\x02ci");
        b.clear();
        put_submit(
            &mut b,
            &Submit {
                first: 1,
                to: Destination::Room(RoomName::new("dev").unwrap()),
                to_label: None,
                lines: vec![
                    Line { reply_to: None, text: "hi".try_into().unwrap() },
                    Line { reply_to: Some(300), text: "가".try_into().unwrap() },
                ],
            },
        );
        assert_eq!(body(&b), b"\x01\x01\x03dev\x00\x02\x00\x02hi\xac\x02\x03\xea\xb0\x80");
        b.clear();
        let lines = vec![Line { reply_to: None, text: "hi".try_into().unwrap() }];
        let to = Destination::Known(RoomId(300));
        put_submit(&mut b, &Submit { first: 1, to, to_label: None, lines });
        assert_eq!(body(&b), b"\x01\x02\xac\x02\x00\x01\x00\x02hi");
        b.clear();
        let report = Report { stream: StreamId(2), delivered: 300, by_broadcast: 1, datagrams: 0 };
        put_report(&mut b, &report);
        assert_eq!(body(&b), [2, 0xac, 2, 1, 0]);
        assert_eq!(read_report(body(&b)), Ok(report));
        b.clear();
        put_frame(
            &mut b,
            Frame::Ack(Ack { first: 1, count: 2, seq: 300, members: 7, stored: true }),
        );
        assert_eq!(body(&b), [1, 2, 0xac, 2, 7, 1]);
        b.clear();
        let refusal = Refusal::new(RefusalCode::Denied, "no");
        put_frame(&mut b, Frame::Reply { serial: 1, result: Err(refusal) });
        assert_eq!(body(&b), [1, 1, 2, 2, b'n', b'o']);
        b.clear();
        put_event(&mut b, &Event::Heads(vec![(StreamId(1), 300)]));
        assert_eq!(body(&b), [5, 1, 1, 0xfb, 0x2c, 1]);
    }

    /// Bytes of each request, written by the first version of the protocol.
    #[test]
    fn golden_bytes_of_every_request() {
        let room = || RoomName::new("dev").unwrap();
        let user = || UserName::new("ann").unwrap();
        let target = || Target::Room(room());
        let follow = || Follow::Room(room());
        let ci = || Label::new("ci").ok();
        let (stream, text) = (StreamId(3), || "hi".to_owned());
        let id = AnnouncementId::Scheduled(5);
        let begin = Begin::After { run: BootId(7), seq: 300 };
        let create =
            Request::CreateRoom { room: room(), history: true, private: false, read_only: true };
        let announce = Announce {
            room: Some(room()),
            at_us: Some(-1),
            wait: Wait::Acked,
            ..Announce::new(Level::Critical, Text::new("hi").unwrap())
        };
        let answering =
            Answering { stream, queue: ci(), jobs: 2, holding: vec![1], done: vec![300] };
        let query = |query| Request::History(query);
        let search = SearchRequest {
            text: text(),
            target: Some(target()),
            from: Some(user()),
            since_us: Some(1),
            before: 2,
            limit: 3,
        };
        let requests: [(Request, &[u8]); 37] = [
            (Request::Open { target: target() }, b"\x00\x00\x03dev"),
            (
                Request::Join { follow: follow(), begin, membership: true, keep: false },
                b"\x01\x00\x03dev\x02\x07\xfb\x2c\x01\x01\x00",
            ),
            (Request::Part { stream, forget: true }, b"\x02\x03\x01"),
            (Request::Unfollow { room: room() }, b"\x03\x03dev"),
            (Request::Rooms { skip: 9 }, b"\x04\x09"),
            (create, b"\x05\x03dev\x01\x00\x01"),
            (
                Request::Role { room: room(), user: user(), role: Role::Banned, on: true },
                b"\x06\x03dev\x03ann\x02\x01",
            ),
            (
                Request::KickFromRoom { room: room(), user: user(), label: ci() },
                b"\x07\x03dev\x03ann\x01\x02ci",
            ),
            (Request::Who { room: room(), skip: 9 }, b"\x08\x03dev\x09"),
            (Request::Kick { user: user(), label: None }, b"\x09\x03ann\x00"),
            (Request::Drop { session: SessionId(300) }, b"\x0a\xfb\x2c\x01"),
            (Request::Audit { skip: 9 }, b"\x0b\x09"),
            (Request::Topic { room: room(), topic: text() }, b"\x0c\x03dev\x02hi"),
            (Request::Away { label: ci(), text: text() }, b"\x0d\x01\x02ci\x02hi"),
            (Request::Back { label: None }, b"\x0e\x00"),
            (
                Request::Announce(announce),
                b"\x0f\x03\x01\x03dev\x02hi\x00\x00\x00\x01\x01\x01\xfc\xff\xff\xff\xff\x00",
            ),
            (Request::Receipt { id, skip: 9 }, b"\x10\x01\x05\x09"),
            (Request::Notices { skip: 9 }, b"\x11\x09"),
            (Request::Notice { id }, b"\x12\x01\x05"),
            (Request::AckNotice { id }, b"\x13\x01\x05"),
            (Request::CancelNotice { id }, b"\x14\x01\x05"),
            (Request::Will { text: Text::new("hi").ok() }, b"\x15\x01\x02hi"),
            (
                Request::Session(SessionRequest::Listening {
                    stream,
                    charge_bytes: 300,
                    slot: *b"0123456789abcdef",
                }),
                b"\x16\x03\xfb\x2c\x010123456789abcdef",
            ),
            (Request::Session(SessionRequest::Deaf { stream }), b"\x17\x03"),
            (query(HistoryRequest::Span { target: target() }), b"\x18\x00\x03dev"),
            (
                query(HistoryRequest::Page { target: target(), first: 1, last: 300 }),
                b"\x19\x00\x03dev\x01\xfb\x2c\x01",
            ),
            (
                query(HistoryRequest::NumberAt { target: target(), wall_us: -1 }),
                b"\x1a\x00\x03dev\x01",
            ),
            (
                query(HistoryRequest::Search(search)),
                b"\x1b\x02hi\x01\x00\x03dev\x01\x03ann\x01\x02\x02\x03",
            ),
            (query(HistoryRequest::Unread { target: None, skip: 9 }), b"\x1c\x00\x09"),
            (Request::MarkRead { target: target(), seq: 300 }, b"\x1d\x00\x03dev\xfb\x2c\x01"),
            (Request::DeleteRoom { room: room() }, b"\x1e\x03dev"),
            (Request::Session(SessionRequest::Active), b"\x1f"),
            (Request::Session(SessionRequest::Quit), b"\x20"),
            (Request::Ask { counter: 300, again: true }, b"\x21\xfb\x2c\x01\x01"),
            (Request::Answer(answering), b"\x22\x03\x01\x02ci\x02\x01\x01\x01\xfb\x2c\x01"),
            (Request::Take { stream, seq: 1 }, b"\x23\x03\x01"),
            (
                Request::Answered { stream, seq: 1, failed: true, silent: false },
                b"\x24\x03\x01\x01\x00",
            ),
        ];
        for (request, verb) in requests {
            let mut b = Vec::new();
            put_request(&mut b, 1, &request);
            assert_eq!(body(&b), [b"\x01", verb].concat(), "{request:?}");
            assert_eq!(read_request(body(&b)), Ok((1, request)));
        }
    }

    #[test]
    fn trailing_bytes_and_bad_names_are_refused() {
        let mut b = Vec::new();
        put_repair(&mut b, StreamId(1), 2, 3);
        let mut longer = body(&b).to_vec();
        longer.push(0);
        assert_eq!(read_repair(body(&b)), Ok((StreamId(1), 2, 3)));
        assert_eq!(read_repair(&longer), Err(Malformed));
        assert_eq!(read_submit(b"\x01\x01\x03d v\x00\x01\x00\x02hi"), Err(Malformed));
        assert_eq!(
            read_submit(b"\x00\x00\x01\x00\x01\x00\x02hi"),
            Err(Malformed),
            "counters begin at 1"
        );
        let mut b = Vec::new();
        put_request(&mut b, 1, &Request::Session(SessionRequest::Quit));
        let mut longer = body(&b).to_vec();
        longer.push(0);
        assert!(read_request(&longer).is_err());
        // A length of 2^60 for a name: refused, nothing allocated.
        assert!(read_request(b"\x01\x00\x00\xfd\0\0\0\0\0\0\0\x10").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_request(&bytes);
            let _ = read_submit(&bytes);
            let _ = read_report(&bytes);
            let _ = read_repair(&bytes);
            let _ = (read_reply(&bytes), read_event(&bytes), read_ack(&bytes), read_nack(&bytes));
        }
    }
}
