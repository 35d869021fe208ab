//! Targets of fuzzing: each takes any bytes, and panics if a promise about them is broken.
//!
//! Both drivers run these: the test of this folder, and libFuzzer (`fuzz/run`).

use std::{
    collections::BTreeSet,
    fmt::{Debug, Display},
    path::Path,
    str::FromStr,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moot::{
    broadcast::{Keys, Sealer},
    chat::{
        announcement::AnnouncementRecord,
        batch::{Builder, Draft, Head, MessageRef, Reader},
        event::{Event, GapReason},
        frames::{Destination, Frame, Line, Report, Submit},
        inbox::{Inbox, Released, Via},
        member::{EndCause, Member, SessionId},
        message::{AnnouncementId, MessageId, Notice},
        names::{Label, RoomName, Target as Peer, UserName},
        refusal::Refusal,
        reply::Reply,
        request::Request,
        store::Restored,
        stream_id::{ChannelKey, StreamId},
        text::{Text, TextRef, is_unsafe_to_show, mention_ranges, mentions, shown, written_out},
        varint::Malformed,
    },
    command::time::{Clock, Moment, When, rfc3339, short},
    config::{self, Settings, TomlFile as _, screen::ScreenSettings},
    limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, NAME_BYTES_MAX, TEXT_BYTES_MAX, USER_BYTES_MAX},
    presence::{Snapshot, Table, badge_of_words},
    server::Status,
    tui,
    wire::{
        control,
        frame::{self, Kind, PROTOCOL_VERSION},
        hello::{self, Bye, Hello, Refused, Welcome},
        server_frame::{BodyError, ServerFrame},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use unicode_normalization::UnicodeNormalization as _;

use crate::{hub, member, memory, mutate::Random, strangers, tape::Tape};

/// A reader of bytes of others, with its promises.
#[derive(Debug)]
pub struct Target {
    /// Its name in `MOOT_FUZZ_TARGET`.
    pub name: &'static str,
    /// Takes an input; panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with; none where any bytes are valid.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "frames", run: frames, seeds: frame_seeds },
    Target { name: "control", run: control_bodies, seeds: control_seeds },
    Target { name: "verbs", run: verbs, seeds: Vec::new },
    Target { name: "hello", run: frozen_bodies, seeds: frozen_seeds },
    Target { name: "batch", run: batch, seeds: batch_seeds },
    Target { name: "datagram", run: datagram, seeds: datagram_seeds },
    Target { name: "names", run: names, seeds: name_seeds },
    Target { name: "ids", run: ids, seeds: id_seeds },
    Target { name: "texts", run: texts, seeds: text_seeds },
    Target { name: "times", run: times, seeds: time_seeds },
    Target { name: "presence", run: presence, seeds: Vec::new },
    Target { name: "settings", run: settings, seeds: setting_seeds },
    Target { name: "receipts", run: receipts, seeds: receipt_seeds },
    Target { name: "inbox", run: inbox, seeds: Vec::new },
    Target { name: "member", run: member::run, seeds: Vec::new },
    Target { name: "hub", run: hub::run, seeds: Vec::new },
    Target { name: "strangers", run: strangers::run, seeds: strangers::seeds },
];

/// Runs the target of a name: libFuzzer's entrance.
#[allow(dead_code, reason = "libFuzzer's driver calls it")]
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.run)(bytes);
}

fn strings(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Inputs that a function makes of random decisions.
fn made(count: u64, make: impl Fn(&mut Tape<'_>) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    (0..count).filter_map(|seed| make(&mut Tape::new(&Random(seed).bytes()))).collect()
}

/// Reads something out of bytes; memory is taken in proportion to them, never by a declared length.
fn read<'a, T>(bytes: &'a [u8], read: impl FnOnce(&'a [u8]) -> T) -> T {
    let (result, largest) = memory::largest_of(|| read(bytes));
    // A list of small numbers is wider in memory than in its encoding, and grows by doubling.
    let most = 64 * bytes.len() + 1024;
    assert!(largest <= most, "{} bytes made an allocation of {largest}", bytes.len());
    result
}

// ---- frames and their bodies -----------------------------------------------------------------

/// The same frame is read however the bytes are divided, and a fault is seen as soon as it is certain.
fn frames(bytes: &[u8]) {
    let whole = read(bytes, frame::parse);
    if let Ok(Some(parsed)) = whole {
        assert_eq!(parsed.bytes, parsed.body.len() + FRAME_HEADER_BYTES);
        let mut again = Vec::new();
        frame::put(&mut again, parsed.kind, |to| to.extend_from_slice(parsed.body));
        if bytes[2] == PROTOCOL_VERSION {
            assert_eq!(again, bytes[..parsed.bytes]);
        } else {
            assert!(parsed.kind.is_frozen());
        }
    }
    for cut in 0..bytes.len() {
        let part = &bytes[..cut];
        match frame::parse(part) {
            Ok(None) => {
                let lacks = frame::lacks(part).expect("it may become a frame");
                assert!(lacks > 0 && cut + lacks <= FRAME_BYTES_MAX, "{lacks} more");
            }
            sure => {
                assert_eq!(sure, whole, "{cut} bytes are enough to tell");
                assert_eq!(frame::lacks(part), sure.map(|_| 0));
                return;
            }
        }
    }
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = control_seeds()
        .into_iter()
        .map(|body| {
            let mut bytes = Vec::new();
            frame::put(&mut bytes, Kind::Request, |to| to.extend_from_slice(&body));
            bytes
        })
        .collect();
    seeds.push(b"mt\x02\x01\x02\0\0\0{}".to_vec());
    seeds.push(b"mt\x01\x14\0\0\0\0mt\x01\x50\x01\0\0\0\0".to_vec());
    seeds
}

/// The body of the one frame that `put` writes.
fn body(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes);
    let parsed = frame::parse(&bytes).expect("a frame").expect("all of it");
    assert_eq!(parsed.bytes, bytes.len(), "one frame");
    parsed.body.to_vec()
}

/// A body that can be read is written in one way, and reads as the same.
fn again<T: PartialEq + Debug, E: Debug>(
    value: &T,
    put: impl Fn(&mut Vec<u8>, &T),
    read: impl Fn(&[u8]) -> Result<T, E>,
) {
    let bytes = body(|to| put(to, value));
    let read = read(&bytes).expect("what was written can be read");
    assert_eq!(read, *value);
    assert_eq!(body(|to| put(to, &read)), bytes, "written in one way");
}

fn put_request(to: &mut Vec<u8>, (serial, request): &(u32, Request)) {
    control::put_request(to, *serial, request);
}

fn put_repair(to: &mut Vec<u8>, (tag, first, last): &(StreamId, u64, u64)) {
    control::put_repair(to, *tag, *first, *last);
}

fn put_frame(to: &mut Vec<u8>, frame: &Frame) {
    control::put_frame(to, frame.clone());
}

fn read_frame(kind: Kind, bytes: &[u8]) -> Result<Frame, BodyError> {
    match ServerFrame::read(kind, bytes)? {
        ServerFrame::Session(frame) => Ok(frame),
        other => panic!("{other:?}"),
    }
}

fn kind_of(frame: &Frame) -> Kind {
    match frame {
        Frame::Reply { .. } => Kind::Reply,
        Frame::Event(_) => Kind::Event,
        Frame::Ack(_) => Kind::Ack,
        Frame::Nack { .. } => Kind::Nack,
    }
}

/// A frame for a session can be written, and reads as the same.
pub fn frame_again(frame: &Frame) {
    again(frame, put_frame, |bytes| read_frame(kind_of(frame), bytes));
}

fn control_bodies(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(FRAME_BYTES_MAX - FRAME_HEADER_BYTES)];
    if let Ok(request) = read(bytes, control::read_request) {
        again(&request, put_request, control::read_request);
    }
    if let Ok(report) = read(bytes, control::read_report) {
        again(&report, control::put_report, control::read_report);
    }
    if let Ok(repair) = read(bytes, control::read_repair) {
        again(&repair, put_repair, control::read_repair);
    }
    if let Ok(submit) = read(bytes, control::read_submit) {
        let again = |line: &Line<'_>| TextRef::new(line.text.as_str()) == Ok(line.text);
        assert!(submit.lines.iter().all(again));
        let bytes = body(|to| control::put_submit(to, &submit));
        assert_eq!(control::read_submit(&bytes).as_ref(), Ok(&submit));
    }
    for kind in [Kind::Reply, Kind::Event, Kind::Ack, Kind::Nack] {
        if let Ok(frame) = read(bytes, |bytes| read_frame(kind, bytes)) {
            frame_again(&frame);
        }
    }
}

fn control_seeds() -> Vec<Vec<u8>> {
    let requests = made(400, |tape| {
        let request = (1, tape.value()?);
        Some(body(|to| put_request(to, &request)))
    });
    let frames = made(400, |tape| {
        let frame = any_frame(tape)?;
        Some(body(|to| put_frame(to, &frame)))
    });
    let golden: [&[u8]; 8] = [
        b"\xfb\x2c\x01\x00\x01\x03ann\x01\x02ci",
        b"\x01\x01\x03dev\x00\x02\x00\x02hi\xac\x02\x03\xea\xb0\x80",
        &[2, 0xac, 2, 1, 0],
        &[1, 2, 0xac, 2, 7, 1],
        &[1, 1, 2, 2, b'n', b'o'],
        &[5, 1, 1, 0xfb, 0x2c, 1],
        &[5, 0xfb, 0xff, 0xff],
        b"\x01\x00\x00\xfd\0\0\0\0\0\0\0\x10",
    ];
    [requests, frames, golden.map(<[u8]>::to_vec).to_vec()].concat()
}

/// A frame of a server, of a tape.
pub fn any_frame(tape: &mut Tape<'_>) -> Option<Frame> {
    Some(match tape.byte() % 4 {
        0 => Frame::Event(tape.value::<Event>()?),
        1 => Frame::Nack { first: tape.number(), count: tape.value()?, refusal: tape.value()? },
        _ => Frame::Reply {
            serial: tape.value()?,
            result: match tape.chance(1) {
                true => Err(tape.value::<Refusal>()?),
                false => Ok(tape.value::<Reply>()?),
            },
        },
    })
}

/// Every request, reply and event reads as it was written.
fn verbs(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    while !tape.is_empty() {
        match tape.byte() % 4 {
            0 => {
                if let Some(request) = tape.value::<Request>() {
                    again(&(7, request), put_request, control::read_request);
                }
            }
            1 => {
                if let Some((report, repair)) = tape.value::<((_, u64, u64, u64), _)>() {
                    let (stream, delivered, by_broadcast, datagrams) = report;
                    let report = Report { stream, delivered, by_broadcast, datagrams };
                    again(&report, control::put_report, control::read_report);
                    again(&repair, put_repair, control::read_repair);
                }
            }
            _ => {
                if let Some(frame) = any_frame(&mut tape) {
                    frame_again(&frame);
                }
            }
        }
    }
}

/// A submit of a tape, as it comes from a session; none if no client could write it.
pub fn any_submit(tape: &mut Tape<'_>) -> Option<Vec<u8>> {
    let to = match tape.chance(4) {
        true => Destination::Stream(tape.value()?),
        false => Destination::Room(tape.value()?),
    };
    let first = tape.number();
    let to_label = tape.value::<Option<Label>>()?;
    let texts: Vec<(Option<u64>, Text)> = tape.value()?;
    let lines: Vec<Line<'_>> = texts
        .iter()
        .map(|(reply_to, t)| Line { reply_to: *reply_to, text: t.borrowed() })
        .collect();
    Some(body(|to_| control::put_submit(to_, &Submit { first, to, to_label, lines })))
}

fn frozen<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = hello::read::<T>(bytes) else { return };
    let mut again = Vec::new();
    hello::put(&mut again, &value);
    assert_eq!(hello::read::<T>(&again).as_ref(), Ok(&value));
}

fn frozen_bodies(bytes: &[u8]) {
    // A character may take six times as many bytes when it is written.
    let bytes = &bytes[..bytes.len().min(FRAME_BYTES_MAX / 8)];
    frozen::<Hello>(bytes);
    frozen::<Welcome>(bytes);
    frozen::<Refused>(bytes);
    frozen::<Bye>(bytes);
    frozen::<Status>(bytes);
}

fn frozen_seeds() -> Vec<Vec<u8>> {
    strings(&[
        r#"{"protocol":1,"version":"0.1.0","label":"봇","kind":"agent","instance":"abababababababababababababababab"}"#,
        r#"{"protocol":1,"version":"0.1.0","run":7,"session":3,"pid":1,"user":"ann","uid":1000,"broadcast":"multicast","epoch":2,"source_port":5}"#,
        r#"{"code":4,"text":"no","protocol":1,"version":"0.1.0"}"#,
        r#"{"reason":"the server ends","code":0}"#,
        r#"{"protocol":9,"colour":"red","version":"9.0"}"#,
        r#"{"pid":1,"version":"0.1.0","uptime_s":1,"dir":"/run/moot","sessions":1,"members":1,"rooms":1,"messages":1,"broadcast":"session","broadcast_sent":0,"repaired":0,"lagging":0,"deaf":0,"history":true,"history_messages":1,"history_bytes":1,"users":[{"user":"ann","messages":1,"bytes":1,"repaired":0,"slowed_ms":0,"sessions":1,"history_bytes":1}],"degraded":["\u001b[2J"]}"#,
    ])
}

// ---- batches and datagrams -------------------------------------------------------------------

fn read_one_by_one(bytes: &[u8]) -> Option<(Vec<MessageRef<'_>>, bool)> {
    let (mut messages, mut whole) = (Vec::new(), true);
    for message in Reader::new(bytes).ok()? {
        match message {
            Ok(message) => messages.push(message),
            Err(Malformed) => whole = false,
        }
    }
    Some((messages, whole))
}

/// The messages of a body written again; none if a name or a text is invalid.
fn rewritten(head: Head, messages: &[MessageRef<'_>]) -> Option<Vec<u8>> {
    let mut builder = Builder::default();
    builder.begin(0, head.tag, head.first);
    for message in messages {
        let from = message.from.to_member().ok()?;
        let notice: Option<Notice> = message.notice.map(|n| n.to_notice()).transpose().ok()?;
        let to_label = match message.to_label {
            "" => None,
            label => Some(Label::new(label).ok()?),
        };
        let draft = Draft {
            from: &from,
            wall_us: message.wall_us,
            reply_to: message.reply_to,
            to_label: to_label.as_ref(),
            notice: notice.as_ref(),
            will: message.will,
            origin: message.origin,
            withheld: message.withheld,
            text: message.text.read().ok()?,
        };
        // Written again, a sender that was declared twice is declared once: the body is never longer.
        assert!(builder.push(0, &draft));
    }
    Some(builder.bytes().to_vec())
}

fn batch(bytes: &[u8]) {
    let one_by_one = read(bytes, |bytes| read_one_by_one(bytes).is_some());
    assert_eq!(one_by_one, Reader::new(bytes).is_ok());
    let Some((messages, whole)) = read_one_by_one(bytes) else { return };
    let mut each = Vec::new();
    let read_whole = Reader::new(bytes).is_ok_and(|r| r.each(0, |m| each.push(*m)).is_ok());
    // Bytes behind the last message are seen after that message.
    let last_is_read = !whole && each.len() == messages.len() + 1;
    assert!(each.starts_with(&messages) && (each.len() == messages.len() || last_is_read));
    assert_eq!(read_whole, whole);
    let head = Head::read(bytes).expect("it was read");
    assert!(messages.iter().zip(head.first..).all(|(message, seq)| message.seq == seq));
    assert!(messages.len() <= head.count as usize);
    let mut from_second = Vec::new();
    let _ =
        Reader::new(bytes).map(|r| r.each(head.first.saturating_add(1), |m| from_second.push(*m)));
    assert_eq!(from_second, each.get(1..).unwrap_or_default());
    let senders: BTreeSet<_> = messages.iter().map(|m| m.from.session).collect();
    let same_session = |a: &MessageRef<'_>| {
        let first = messages.iter().find(|b| b.from.session == a.from.session);
        first.is_some_and(|b| b.from == a.from)
    };
    // A server writes only bodies in which a session is one sender and no time is before the first.
    let is_later = |m: &MessageRef<'_>| m.wall_us >= messages[0].wall_us;
    let is_written = messages.iter().all(|message| is_later(message) && same_session(message));
    if !whole || senders.contains(&SessionId(u64::MAX)) || !is_written {
        return;
    }
    let Some(again) = rewritten(head, &messages) else { return };
    let (read_again, whole) = read_one_by_one(&again).expect("what was written can be read");
    assert!(whole);
    for (message, again) in messages.iter().zip(&read_again) {
        let text = if message.withheld { &[] } else { message.text.as_bytes() };
        assert_eq!(again.text.as_bytes(), text);
        assert_eq!(MessageRef { text: message.text, ..*again }, *message);
    }
    assert_eq!((read_again.len(), rewritten(head, &read_again)), (messages.len(), Some(again)));
}

/// A body of a tape's members and texts.
pub fn any_body(tape: &mut Tape<'_>, tag: StreamId, first: u64) -> Option<Vec<u8>> {
    let mut builder = Builder::default();
    builder.begin(0, tag, first);
    for _ in 0..tape.byte() % 4 {
        let (from, to_label): (Member, Option<Label>) = tape.value()?;
        let (text, will): (Text, Option<EndCause>) = tape.value()?;
        let (level, room, expires_wall_us, retained, ack) = tape.value()?;
        let notice = Notice { level, room, expires_wall_us, retained, ack };
        builder.push(
            0,
            &Draft {
                from: &from,
                wall_us: i64::try_from(tape.number()).unwrap_or(-1),
                reply_to: tape.value()?,
                to_label: to_label.as_ref(),
                notice: tape.chance(2).then_some(&notice),
                will: will.filter(|_| tape.chance(1)),
                origin: tape.value()?,
                withheld: tape.chance(1),
                text: text.as_str(),
            },
        );
    }
    Some(builder.bytes().to_vec())
}

fn batch_seeds() -> Vec<Vec<u8>> {
    made(600, |tape| {
        let (tag, first) = (tape.value()?, tape.number().max(1));
        any_body(tape, tag, first)
    })
}

const RUN: u32 = 7;
const BODY: &[u8] = b"\x03\0\0\0\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn channel_key(number: u32) -> ChannelKey {
    ChannelKey { number, bytes: [number as u8; 32] }
}

/// A body as a datagram, the first one of a key.
pub fn sealed(key: &ChannelKey, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    assert!(Sealer::new(key.number, &key.bytes, RUN).seal(body, &mut datagram));
    datagram
}

/// A datagram opens only if it was sealed for its stream, is whole, and its key is not too old.
fn datagram(bytes: &[u8]) {
    let mut keys = Keys::new(RUN);
    keys.add(3, &channel_key(1));
    keys.add(4, &channel_key(2));
    let genuine = [sealed(&channel_key(1), BODY), sealed(&channel_key(2), BODY)];
    let opened = keys.open(&mut bytes.to_vec()).map(<[u8]>::to_vec);
    // The other key is that of another stream than the body's.
    let expected = (bytes == genuine[0]).then(|| BODY.to_vec());
    assert_eq!(opened, expected);
    // The same bytes as a body: they open unchanged, and only for their own stream.
    let mut sealed_body = sealed(&channel_key(1), bytes);
    let is_for_3 = Head::read(bytes).is_ok_and(|head| head.tag == StreamId(3));
    let opened = keys.open(&mut sealed_body.clone()).map(<[u8]>::to_vec);
    assert_eq!(opened, is_for_3.then(|| bytes.to_vec()));
    let at = bytes.first().map_or(0, |at| usize::from(*at) % sealed_body.len());
    sealed_body[at] ^= 1 << (bytes.len() % 8);
    assert_eq!(keys.open(&mut sealed_body), None, "byte {at} was changed");
    // After a removal the previous key opens datagrams in flight, and older keys open nothing.
    keys.add(3, &channel_key(5));
    assert!(keys.open(&mut genuine[0].clone()).is_some());
    keys.add(3, &channel_key(6));
    assert!(keys.open(&mut genuine[0].clone()).is_none());
    keys.forget(3);
    assert!(keys.open(&mut sealed(&channel_key(6), BODY)).is_none());
}

fn datagram_seeds() -> Vec<Vec<u8>> {
    vec![sealed(&channel_key(1), BODY), sealed(&channel_key(2), BODY), BODY.to_vec()]
}

// ---- words -----------------------------------------------------------------------------------

/// A word is shown in one form, which can be typed and reads as the same.
fn word<T: FromStr + Display + PartialEq + Debug>(written: &str) -> Option<T> {
    let value: T = written.parse().ok()?;
    let shown_value = value.to_string();
    let again: T = shown_value.parse().ok().expect("a shown word can be typed");
    assert_eq!((&again, again.to_string()), (&value, shown_value.clone()));
    assert_eq!(shown(&shown_value, false), shown_value, "names command no terminal");
    Some(value)
}

fn names(bytes: &[u8]) {
    let written = String::from_utf8_lossy(bytes);
    word::<Peer>(&written);
    if let Ok(name) = UserName::new(&written) {
        assert!(name.as_str() == written && written.len() <= USER_BYTES_MAX);
        assert_eq!(shown(&written, false), written);
        let destination = Peer::User { user: name, label: None };
        assert_eq!(word::<Peer>(&format!("@{written}")), Some(destination));
    }
    // What exists is found by its name, also where a new thing may not have it.
    let (existing, named) = (RoomName::existing(&written), word::<Label>(&written));
    assert_eq!(existing.is_ok(), named.is_some());
    let (room, label) = (RoomName::new(&written), Label::new(&written));
    assert_eq!(room.is_ok(), label.is_ok());
    assert!(existing.is_ok() || room.is_err());
    let Ok(room) = room else { return };
    assert!(room.as_str() == written && written.len() <= NAME_BYTES_MAX);
    word::<RoomName>(&written);
    // Spellings of one name are one room.
    for spelled in [written.nfd().collect::<String>(), written.nfc().collect()] {
        if let Ok(spelled) = RoomName::new(&spelled) {
            assert_eq!((spelled.key(), &spelled), (room.key(), &room));
        }
    }
}

fn name_seeds() -> Vec<Vec<u8>> {
    strings(&[
        "dev",
        "Dev-2_x.y",
        "회의",
        "\u{1112}\u{116c}\u{110b}\u{1174}",
        "Straße",
        "cafe\u{301}",
        "हिन्दी",
        "٣ب",
        "ΐΰ\u{345}",
        "İıſK",
        "@ann",
        "@ann/ci",
        "user:ann/봇",
        "#1000",
        "DOMAIN\\ann",
        "a\u{202e}b",
        "가가가가가가가가가가가가가가가가가가가가가",
    ])
}

fn ids(bytes: &[u8]) {
    let written = String::from_utf8_lossy(bytes);
    word::<MessageId>(&written);
    word::<AnnouncementId>(&written);
    if let Ok(AnnouncementId::Number(seq)) = written.parse()
        && written.starts_with('!')
    {
        assert!(written.parse::<MessageId>().is_ok_and(|id| id.seq == seq));
    }
}

fn id_seeds() -> Vec<Vec<u8>> {
    strings(&["dev:42", "dev:3f9a01b2.42", "@ann:7", "user:ann:7", "!3", "!+2", "3", "회의:1"])
}

fn texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let checked = Text::from_bytes(bytes);
    let is_text =
        !bytes.is_empty() && bytes.len() <= TEXT_BYTES_MAX && str::from_utf8(bytes).is_ok();
    assert_eq!(
        checked.as_ref().map(|text| text.as_str().as_bytes()).ok(),
        is_text.then_some(bytes)
    );
    for multiline in [false, true] {
        let safe = shown(&text, multiline);
        let bad = |c: char| is_unsafe_to_show(c) && !(multiline && matches!(c, '\n' | '\t'));
        assert!(!safe.contains(bad), "{safe:?}");
        assert_eq!(shown(&safe, multiline), safe, "it is safe already");
        assert!(safe != text || !text.contains(bad), "unsafe text is changed");
    }
    let written = written_out(bytes);
    assert_eq!(written == text, str::from_utf8(bytes).is_ok());
    for user in ["ann", "철수", "a.b", ""] {
        let ranges = mention_ranges(&text, user);
        assert_eq!(!ranges.is_empty(), mentions(&text, user));
        assert!(ranges.windows(2).all(|two| two[0].end <= two[1].start), "one after another");
        assert!(ranges.iter().all(|range| text[range.clone()].strip_prefix('@') == Some(user)));
    }
}

fn text_seeds() -> Vec<Vec<u8>> {
    strings(&[
        "plain 한글 👩\u{200d}👩\u{200d}👧 नमस्ते",
        "a\u{1b}[2Jb\u{202e}c\u{2066}\u{9b}31m\u{85}\r\u{7f}\n\t",
        "\u{feff}\u{200b}\u{2028}\u{e0041}\u{e0001}",
        "ask @ann, @ann님, @anna. @ann @@ann x@ann @ann.b @ann.",
        "@철수! @a.b. @",
    ])
}

/// The first microsecond of the year 0.
const YEAR_0_US: i64 = -62_167_219_200_000_000;

/// A time that can be typed can be shown, whatever the clock says.
fn times(bytes: &[u8]) {
    let written = String::from_utf8_lossy(bytes);
    if let Ok(duration) = config::duration(&written) {
        assert!(duration < Duration::from_secs(100 * 366 * 24 * 60 * 60));
        assert_eq!(written.parse(), Ok(Moment::Ago(duration)));
        let _ = short(duration.as_secs());
    }
    let mut eight = [0; 8];
    let count = bytes.len().min(8);
    eight[..count].copy_from_slice(&bytes[..count]);
    let odd = i64::from_le_bytes(eight);
    for now_us in [0, 1_795_251_600_000_000, odd, i64::MIN, i64::MAX] {
        let clock = Clock { utc: true, now_us };
        let _ = (rfc3339(now_us), clock.short(0), clock.full(now_us));
        let _ = written.parse::<When>().map(|when| when.among(&[]).is_ok());
        let Ok(moment) = written.parse::<Moment>() else { continue };
        let wall_us = moment.wall_us(now_us);
        match moment {
            // RFC 3339 has no years before 0.
            Moment::At(_) if wall_us >= YEAR_0_US => {
                assert_eq!(rfc3339(wall_us).parse(), Ok(Moment::At(wall_us)));
            }
            Moment::Ago(_) => assert!(wall_us <= now_us),
            Moment::At(_) | Moment::Of { .. } => {
                let _ = moment.past_us(now_us);
            }
        }
    }
}

fn time_seeds() -> Vec<Vec<u8>> {
    strings(&[
        "2h",
        "500ms",
        "36500d",
        "2026-11-21T09:00:00Z",
        "2026-11-21T18:00:00.123456789+09:00[Asia/Seoul]",
        "0001-01-02T01:59:59Z",
        "yesterday 18:00 Asia/Seoul",
        "1h30m",
        "18:00:30.5+0900",
        "9999-12-30T22:00:00Z",
        "2026-11-21",
        "2026-11-21T18:30",
        "09:30",
        "ci:10",
        "dev:3f9a01b2.42",
    ])
}

fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let path = Path::new("moot.toml");
    match Settings::parse(&text, path) {
        Ok(settings) => {
            settings.idle_exit().expect("it was checked");
            settings.history.keep().expect("it was checked");
        }
        Err(e) => assert!(e.to_string().starts_with("moot.toml: ")),
    }
    if let Ok(settings) = ScreenSettings::parse(&text, path) {
        let _ = tui::check(&settings);
        for format in [&settings.times.format, &settings.times.date] {
            assert!(!format.contains('\u{1b}'), "{format:?}");
        }
    }
}

fn setting_seeds() -> Vec<Vec<u8>> {
    let uncommented = |text: &str| text.replace("\n# ", "\n").replace("\n#", "\n");
    let files = [include_str!("../../config/moot.toml"), include_str!("../../config/screen.toml")];
    let mut seeds: Vec<_> = files.map(|text| uncommented(text).into_bytes()).to_vec();
    seeds.extend(files.map(|text| text.as_bytes().to_vec()));
    seeds.extend(strings(&[
        "[limits]\nsessions = 10\nmessages_per_second_per_user = 0\n",
        "[server]\nallow = [\"@ann\", \"%staff\"]\nidle_exit = \"15m\"\n",
        "[policy]\njoin = [\"operators\", \"@#1000\"]\n[history]\nkeep = \"90d\"\nsync = \"full\"\n",
        "[keys]\nsend = \"alt-enter\"\nquit = [\"ctrl-q\", \"f10\", \"alt-shift-a\"]\n",
        "[times]\nformat = \"%H:%M:%S\"\ndate = \"%Y-%m-%d %A %Z %:z\"\n[history]\nlines = 10\n",
        "[colors]\ntext = \"#ff0000\"\n",
    ]));
    seeds
}

// ---- presence table --------------------------------------------------------------------------

/// A table with some sessions, rooms and badges, up to its last used word; and the places worth a change:
/// near words that are not 0.
static TABLE: LazyLock<(Vec<u64>, Vec<usize>)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let places = moot::os::Places {
        runtime: dir.path().to_owned(),
        state: dir.path().to_owned(),
        host: false,
    };
    let mut table = Table::create(&places, false, RUN, true).expect("a table");
    let rows = (0..200).filter_map(|seed: u64| {
        let mut tape_bytes = Random(seed).bytes();
        tape_bytes.push(0);
        hub::any_row(&mut Tape::new(&tape_bytes), seed + 1)
    });
    for row in rows.take(4) {
        table.put(&row).expect("room for a row");
    }
    table.put_badges(&[(None, moot::presence::Badge { unread: 3, ..Default::default() })]);
    let file = moot::os::words_file(&places.table()).expect("its file");
    let bytes = std::fs::read(file).expect("its bytes");
    let mut words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|eight| u64::from_le_bytes(eight.try_into().expect("eight bytes")))
        .collect();
    let used = words.iter().rposition(|word| *word != 0).expect("it is not empty") + 64;
    words.truncate(used);
    let near = |at: &usize| words[at.saturating_sub(4)..(at + 4).min(used)].iter().any(|w| *w != 0);
    let places = (0..used).filter(near).collect();
    (words, places)
});

thread_local! {
    static WORDS: Vec<AtomicU64> = TABLE.0.iter().map(|word| AtomicU64::new(*word)).collect();
}

/// Any words in the table of another process are rows that can be shown, or are left out.
fn presence(bytes: &[u8]) {
    WORDS.with(|words| {
        let mut tape = Tape::new(bytes);
        let mut changed = Vec::new();
        while !tape.is_empty() {
            let at = TABLE.1[tape.below(TABLE.1.len())];
            let before = words[at].load(Ordering::Relaxed);
            let word = match tape.byte() % 4 {
                0 => tape.number(),
                1 => before ^ 1 << (tape.byte() % 64),
                2 => before ^ u64::from(tape.byte()) << (tape.byte() % 8 * 8),
                _ => before.wrapping_add(tape.number()),
            };
            // Reading a sequence that stays odd takes a thousand tries: only a few of them.
            if before.is_multiple_of(2) && word % 2 == 1 && changed.len() > 8 {
                break;
            }
            changed.push((at, before));
            words[at].store(word, Ordering::Relaxed);
        }
        let cut = words.len() - tape.below(2) * tape.below(words.len());
        for label in [None, Label::new("ci").ok()] {
            let _ = badge_of_words(&words[..cut], label.as_ref());
        }
        if let Ok(table) = Snapshot::of_words(&words[..cut], true, 1_000_000) {
            for row in &table.rows {
                let name = row.user.to_string();
                assert_eq!(shown(&name, false), name);
                assert!(row.rooms.len() <= 44 && row.status.len() <= 120);
            }
        }
        for (at, before) in changed.into_iter().rev() {
            words[at].store(before, Ordering::Relaxed);
        }
    });
}

// ---- receipts in the history ------------------------------------------------------------------

/// A receipt that can be read is written as the same, and a hub that begins with it answers.
fn receipts(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<AnnouncementRecord>(bytes) else { return };
    let written = serde_json::to_vec(&state).expect("it can be written");
    assert_eq!(serde_json::from_slice::<AnnouncementRecord>(&written).ok().as_ref(), Some(&state));
    let restored = Restored { notices: vec![state.clone(), state], ..Restored::default() };
    hub::asked_for_notices(restored);
}

fn receipt_seeds() -> Vec<Vec<u8>> {
    let mut seeds = hub::written_receipts();
    seeds.extend(strings(&[
        r#"{"number":3,"schedule":2,"wall_us":5,"from":{"session":1,"uid":1,"pid":1,"kind":"person","user":"ann","label":"ci"},"level":"critical","room":"dev","expires_after_us":18446744073709551615,"retained":true,"ack":true,"text":"x","cancelled_by":"bob","addressees":[{"member":{"session":1,"uid":1,"pid":1,"kind":"agent","user":"ann","label":null},"reached":true,"acked":true,"gone":"ended"}],"forgotten":false,"acks":[{"uid":1,"label":null,"name":"ann","wall_us":5}]}"#,
        r#"{"number":null,"schedule":2,"wall_us":9000000,"from":{"session":1,"uid":1,"pid":1,"kind":"person","user":"ann","label":null},"level":"info","room":null,"expires_after_us":null,"retained":false,"ack":false,"text":"x","cancelled_by":null,"addressees":[],"forgotten":true,"acks":[]}"#,
    ]));
    seeds
}

// ---- a member's inbox ------------------------------------------------------------------------

/// Bodies and gaps in any order: each number is shown once and in order, or is part of a gap; a number that
/// came is not part of a gap; and nothing waits for a number that is there.
fn inbox(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let (tag, first) = (StreamId(1), tape.below(4) as u64);
    let mut inbox = Inbox::new(tag, first, tape.below(6) as u64, tape.chance(4));
    // Numbers begin at 1.
    let (mut next, mut now_us) = (first.max(1), 1);
    let (mut bodies, mut gaps) = (BTreeSet::new(), BTreeSet::new());
    while !tape.is_empty() {
        let (from, count) = (1 + tape.below(60) as u64, tape.below(9) as u64);
        now_us += tape.number() % 1_000_000;
        match tape.byte() % 8 {
            0..=3 => {
                let mut body = BODY.to_vec();
                body[..4].copy_from_slice(&1_u32.to_le_bytes());
                body[4..12].copy_from_slice(&from.to_le_bytes());
                body[12..16].copy_from_slice(&(count as u32).to_le_bytes());
                let via = if tape.chance(4) { Via::Session } else { Via::Broadcast };
                let shown = inbox.take(now_us, via, &body, tape.number() % 8_000).expect("a body");
                bodies.extend(from..from + count);
                if let Some(shown_from) = shown {
                    assert_eq!(shown_from, next);
                    next = from + count;
                }
            }
            4 => {
                inbox.gap(from, from + count, GapReason::Retention);
                gaps.extend(from..=from + count);
            }
            5 => inbox.note_head(now_us, from, 0),
            6 => {
                if let Some((ask_from, to)) = inbox.repair_due(now_us) {
                    assert!(ask_from == next && to >= ask_from && to <= inbox.head());
                }
            }
            _ => {
                if let Some(report) = inbox.report_due(now_us) {
                    assert_eq!(report.delivered, next - 1);
                }
            }
        }
        while let Some(released) = inbox.release(now_us, 0) {
            match released {
                Released::Body { body, from } => {
                    let head = Head::read(&body).expect("it was taken");
                    assert!(from == next && head.first <= from && head.last() >= from);
                    next = head.last() + 1;
                }
                Released::Gap { first, last, .. } => {
                    assert!(first == next && last >= first);
                    assert!((first..=last).all(|seq| gaps.contains(&seq)), "{first}..={last}");
                    assert!(!(first..=last).any(|seq| bodies.contains(&seq)), "{first}..={last}");
                    next = last + 1;
                }
            }
        }
        assert_eq!(inbox.next(), next);
        assert!(!bodies.contains(&next) && !gaps.contains(&next), "{next} is there");
    }
}
