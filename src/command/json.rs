//! Results as JSON objects: the keys and formats of the command line contract. Keys are only added.

use serde_json::{Map, Value, json};

use super::{args::Somebody, run::RunResult, time::rfc3339};
use crate::{
    chat::{
        event::GapReason,
        member::Member,
        message::{AnnouncementId, Message, MessageId, Notice, StreamName},
        names::{Label, RoomName},
        presence_row::Row,
        reply::{
            AnnouncementInfo, AnnouncementState, AuditInfo, HostReceiptInfo, ReceiptInfo, RoomInfo,
        },
        text::is_unsafe_to_show,
    },
    client::{Event, Sent},
    server::Status,
};

/// One line. What could command a terminal is escaped, which changes nothing for who parses it.
pub(super) fn line(object: &Value) -> String {
    let plain = object.to_string();
    if plain.chars().all(|c| !is_unsafe_to_show(c)) {
        return plain;
    }
    let mut escaped = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if is_unsafe_to_show(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// An event as an object; none for the fate of what this member sent.
pub(super) fn event(event: &Event) -> Option<Value> {
    let object = match event {
        Event::Ready { streams, broadcast } => ready(streams, broadcast),
        Event::Message(message) => self::message(message),
        Event::Joined { room, member } => {
            json!({"type": "joined", "room": room.as_str(), "member": self::member(member)})
        }
        Event::Left { room, member, cause } => json!({
            "type": "left",
            "room": room.as_str(),
            "member": self::member(member),
            "reason": cause.word(),
        }),
        Event::Topic { room, topic } => self::topic(room, topic),
        Event::Gap { stream, range, reason } => gap(stream, *range, *reason),
        Event::Slowed => json!({"type": "slowed"}),
        Event::Offer { room, seq, before, .. } => json!({
            "type": "offer",
            "id": id_in(room, *seq),
            "before": before,
        }),
        Event::Answered { room, seq, by, failed, silent } => json!({
            "type": "answered",
            "id": id_in(room, *seq),
            "by": member(by),
            "failed": failed,
            "silent": silent,
        }),
        Event::Abandoned { room, seq, by, cause } => json!({
            "type": "abandoned",
            "id": id_in(room, *seq),
            "by": member(by),
            "reason": cause.word(),
        }),
        Event::Cancelled { number, by } => json!({
            "type": "cancelled",
            "id": AnnouncementId::Number(*number).to_string(),
            "by": by.as_str(),
        }),
        Event::Removed { room, by, banned } => json!({
            "type": "removed",
            "room": room.as_str(),
            "by": by.as_str(),
            "reason": if *banned { "banned" } else { "kicked" },
        }),
        Event::Invited { room, user, by } => json!({
            "type": "invited",
            "room": room.as_str(),
            "user": user.as_str(),
            "by": by.as_str(),
        }),
        Event::Deleted { room } => json!({"type": "deleted", "room": room.as_str()}),
        Event::End { reason } => json!({"type": "end", "reason": reason}),
        Event::Sent(_)
        | Event::Rejected(_)
        | Event::NotFollowed(..)
        | Event::Reply(..)
        | Event::Ended(_) => return None,
    };
    Some(object)
}

fn gap_reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Run => "run",
        GapReason::Retention => "retention",
        GapReason::Backlog => "backlog",
        GapReason::Damage => "damage",
    }
}

fn ready(streams: &[(StreamName, u64)], broadcast: &str) -> Value {
    let rooms: Map<String, Value> = streams
        .iter()
        .filter(|(name, _)| !matches!(name, StreamName::Announcements))
        .map(|(name, head)| (name.to_string(), json!(head)))
        .collect();
    json!({"type": "ready", "rooms": rooms, "broadcast": broadcast})
}

fn gap(stream: &StreamName, range: Option<(u64, u64)>, reason: GapReason) -> Value {
    let (key, name) = place(stream);
    let reason = gap_reason(reason);
    let (first, last) = (range.map(|r| r.0), range.map(|r| r.1));
    json!({"type": "gap", key: name, "reason": reason, "first": first, "last": last})
}

/// A message of a room, as those who are in it write it.
fn id_in(room: &RoomName, seq: u64) -> String {
    format!("{room}:{seq}")
}

/// Under which key a stream is named.
fn place(stream: &StreamName) -> (&'static str, Value) {
    match stream {
        StreamName::Room(room) => ("room", json!(room.as_str())),
        StreamName::Direct(user) => ("with", json!(user.as_str())),
        StreamName::Announcements => ("room", Value::Null),
    }
}

fn member(member: &Member) -> Value {
    if let Some(host) = member.user.host() {
        // Of another host: no number of it means anything here.
        return json!({
            "name": member.name(),
            "user": member.user.as_str(),
            "uid": null,
            "pid": null,
            "session": null,
            "kind": member.kind.word(),
            "host": host,
        });
    }
    json!({
        "name": member.name(),
        "user": member.user.as_str(),
        "uid": member.uid,
        "pid": member.pid,
        "session": member.session.0,
        "kind": member.kind.word(),
    })
}

fn message(message: &Message) -> Value {
    if let Some(notice) = &message.notice {
        return announcement(message, notice);
    }
    let (key, name) = place(&message.id.stream);
    let kind = if key == "with" { "direct" } else { "message" };
    let reply_to = message.reply_to.map(|seq| MessageId { seq, ..message.id.clone() }.to_string());
    let mut object = json!({
        "type": kind,
        "id": message.id.to_string(),
        key: name,
        "seq": message.id.seq,
        "ts": rfc3339(message.wall_us),
        "from": member(&message.from),
        "text": message.text,
        "reply_to": reply_to,
        "mention": message.mention,
    });
    if let (Some(cause), Some(keys)) = (message.will, object.as_object_mut()) {
        keys.insert("will".to_owned(), json!(cause.word()));
    }
    add_origin(&mut object, message);
    if let (Some(result), Some(keys)) = (RunResult::parse(&message.text), object.as_object_mut()) {
        keys.insert("run".to_owned(), result.json());
    }
    object
}

/// Adds where a message of a linked host came from.
fn add_origin(object: &mut Value, message: &Message) {
    let host = message.from.user.host();
    if let (Some(origin), Some(host), Some(keys)) = (message.origin, host, object.as_object_mut()) {
        let id = MessageId { seq: origin.seq, run: None, ..message.id.clone() }.to_string();
        let origin = json!({"host": host, "id": id, "ts": rfc3339(origin.wall_us)});
        keys.insert("origin".to_owned(), origin);
    }
}

fn announcement(message: &Message, notice: &Notice) -> Value {
    let mut object = json!({
        "type": "announcement",
        "id": message.id.to_string(),
        "level": notice.level.word(),
        "room": notice.room.as_ref().map(|r| r.as_str()),
        "ts": rfc3339(message.wall_us),
        "from": member(&message.from),
        "text": message.text,
        "expires": notice.expires_wall_us.map(rfc3339),
        "retained": notice.retained,
        "ack": notice.ack,
    });
    add_origin(&mut object, message);
    object
}

/// A reply to a request: a message, and whether the answerer says that it failed.
pub(super) fn reply(message: &Message, failed: bool) -> Value {
    let mut object = self::message(message);
    if let Some(keys) = object.as_object_mut() {
        keys.insert("failed".to_owned(), json!(failed));
    }
    object
}

/// The same of an answerer that had nothing to say.
pub(super) fn silent_reply(to: Option<&MessageId>, by: &Member, failed: bool) -> Value {
    let (key, name) = to.map_or(("room", Value::Null), |id| place(&id.stream));
    json!({
        "type": if key == "with" { "direct" } else { "message" },
        "id": null,
        key: name,
        "seq": null,
        "ts": null,
        "from": member(by),
        "text": "",
        "reply_to": to.map(ToString::to_string),
        "mention": false,
        "failed": failed,
    })
}

/// A request that was answered.
pub(super) fn answered(id: &str, attempt: u32, failure: Option<&str>) -> Value {
    json!({"type": "answered", "id": id, "attempt": attempt, "failed": failure})
}

pub(super) fn sent(sent: &Sent) -> Value {
    let (key, name) = place(&sent.id.stream);
    json!({
        "type": "sent",
        "id": sent.id.to_string(),
        key: name,
        "seq": sent.id.seq,
        "members": sent.members,
    })
}

/// Reception of an announcement by a linked host.
fn host_receipt(of: &HostReceiptInfo) -> Value {
    let receipt = of.receipt.as_ref();
    json!({
        "host": of.host.as_str(),
        "members": receipt.map(|receipt| receipt.members),
        "reached": receipt.map(|receipt| receipt.reached),
        "acked": receipt.map(|receipt| receipt.acked),
        "linked": of.unlinked_wall_us.is_none() || receipt.is_some(),
        "unlinked_since": of.unlinked_wall_us.filter(|at| *at > 0).map(rfc3339),
    })
}

pub(super) fn receipt(receipt: &ReceiptInfo) -> Value {
    let missing: Vec<_> = receipt
        .missing
        .iter()
        .map(|m| json!({"name": m.name, "pid": m.pid, "state": m.state}))
        .collect();
    let mut object = json!({
        "type": "receipt",
        "id": format!("!{}", receipt.number),
        "members": receipt.members,
        "reached": receipt.reached,
        "acked": receipt.acked,
        "users": receipt.users,
        "users_acked": receipt.users_acked,
        "missing": missing,
    });
    if let (false, Some(keys)) = (receipt.hosts.is_empty(), object.as_object_mut()) {
        let hosts: Vec<_> = receipt.hosts.iter().map(host_receipt).collect();
        keys.insert("hosts".to_owned(), json!(hosts));
    }
    object
}

pub(super) fn scheduled(id: AnnouncementId, at_us: i64) -> Value {
    json!({"type": "scheduled", "id": id.to_string(), "at": rfc3339(at_us)})
}

pub(super) fn would_reach(members: u32, users: u32) -> Value {
    json!({"type": "dry_run", "members": members, "users": users})
}

pub(super) fn notice(notice: &AnnouncementInfo) -> Value {
    let waits = notice.standing == AnnouncementState::Waiting;
    json!({
        "type": "notice",
        "id": notice.id.to_string(),
        "state": notice.standing.word(),
        "level": notice.level.word(),
        "room": notice.room.as_ref().map(|r| r.as_str()),
        "ts": (!waits).then(|| rfc3339(notice.wall_us)),
        "at": waits.then(|| rfc3339(notice.wall_us)),
        "scheduled": notice.schedule.map(|n| AnnouncementId::Scheduled(n).to_string()),
        "from": member(&notice.from),
        "text": notice.text,
        "expires": notice.expires_wall_us.map(rfc3339),
        "retained": notice.retained,
        "ack": notice.ack,
        "members": notice.members,
        "reached": notice.reached,
        "acked": notice.acked,
        "acks": notice.acks,
        "acked_by_me": notice.acked_by_me,
    })
}

/// An announcement with its receipt: what is known of both.
pub(super) fn notice_and_receipt(notice: &AnnouncementInfo, receipt: &ReceiptInfo) -> Value {
    let mut object = self::receipt(receipt);
    if let (Some(to), Value::Object(from)) = (object.as_object_mut(), self::notice(notice)) {
        to.extend(from.into_iter().filter(|(key, _)| {
            !matches!(key.as_str(), "type" | "id" | "members" | "reached" | "acked")
        }));
        to.insert("acked_by".to_owned(), json!(notice.acked_by));
    }
    object
}

pub(super) fn session(row: &Row, now_mono_us: u64) -> Value {
    let rooms: Vec<_> = row.rooms.iter().map(|r| r.as_str()).collect();
    let mut object = json!({
        "type": "session",
        "name": row.handle().to_string(),
        "user": row.user.as_str(),
        "label": row.label.as_ref().map(Label::as_str),
        "uid": row.uid,
        "pid": row.pid,
        "session": row.session.0,
        "kind": row.kind.word(),
        "state": row.state.word(),
        "status": &*row.status,
        "since": rfc3339(row.since_wall_us),
        "idle_s": now_mono_us.saturating_sub(row.active_mono_us) / 1_000_000,
        "rooms": rooms,
        "visitor": row.visitor,
    });
    if let (Some(host), Some(keys)) = (row.user.host(), object.as_object_mut()) {
        // Of another host: no number of it means anything here.
        for key in ["uid", "pid", "session"] {
            keys.insert(key.to_owned(), Value::Null);
        }
        keys.insert("host".to_owned(), json!(host));
    }
    object
}

pub(super) fn audit(entry: &AuditInfo) -> Value {
    json!({
        "type": "audit",
        "ts": rfc3339(entry.wall_us),
        "by": entry.by.as_str(),
        "act": entry.act,
    })
}

pub(super) fn gone(whom: &Somebody, room: Option<&RoomName>) -> Value {
    let name = whom.to_string();
    json!({
        "type": "gone",
        "name": name.strip_prefix('@'),
        "user": whom.user.as_str(),
        "label": whom.label.as_ref().map(Label::as_str),
        "room": room.map(RoomName::as_str),
    })
}

pub(super) fn count(count: usize) -> Value {
    json!({"type": "count", "sessions": count})
}

pub(super) fn room(room: &RoomInfo, unread: u64) -> Value {
    json!({
        "type": "room",
        "name": room.name.as_str(),
        "members": room.members,
        "last": room.last,
        "unread": unread,
        "topic": room.topic,
        "private": room.private,
        "read_only": room.read_only,
        "history": room.stored,
    })
}

pub(super) fn status(status: &Status) -> Value {
    let mut object = json!({"type": "status"});
    if let (Some(to), Ok(Value::Object(from))) =
        (object.as_object_mut(), serde_json::to_value(status))
    {
        to.extend(from);
    }
    object
}

/// That a command was done which has no other result.
pub(super) fn ok(command: &str, of: &[(&str, Value)]) -> Value {
    let mut object = json!({"type": "ok", "command": command});
    if let Some(keys) = object.as_object_mut() {
        keys.extend(of.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
    object
}

/// An acknowledgment, and the state of its announcement after it.
pub(super) fn acknowledged(notice: &AnnouncementInfo, user: &str) -> Value {
    json!({
        "type": "acknowledged",
        "id": notice.id.to_string(),
        "user": user,
        "members": notice.members,
        "acked": notice.acked,
    })
}

pub(super) fn topic(room: &RoomName, topic: &str) -> Value {
    json!({"type": "topic", "room": room.as_str(), "topic": topic})
}

pub(super) fn error(code: u8, text: &str) -> Value {
    json!({"type": "error", "code": code, "text": text})
}

/// The answer to a line of the input, counted from 1.
pub(super) fn of_line(mut answer: Value, line: u64) -> Value {
    answer["line"] = line.into();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{
        member::{EndCause, Kind, Level, SessionId, State},
        message::BootId,
        names::{RoomName, UserName},
        reply::Missing,
    };

    fn event(event: &Event) -> Value {
        super::event(event).unwrap()
    }

    fn ann() -> Member {
        Member {
            session: SessionId(17),
            uid: 1000,
            pid: 4711,
            kind: Kind::Script,
            user: UserName::new("ann").unwrap(),
            label: Some(Label::new("ci").unwrap()),
        }
    }

    fn said(stream: StreamName, text: &str) -> Message {
        Message {
            id: MessageId { stream, run: None, seq: 42 },
            wall_us: 1_795_251_600_123_456,
            from: ann(),
            reply_to: Some(41),
            mention: false,
            notice: None,
            will: None,
            origin: None,
            text: text.to_owned(),
        }
    }

    const FROM: &str =
        r#"{"name":"ann/ci","user":"ann","uid":1000,"pid":4711,"session":17,"kind":"script"}"#;

    fn dev() -> RoomName {
        RoomName::new("dev").unwrap()
    }

    fn same(got: &Value, want: &str) {
        assert_eq!(line(got), want);
    }

    #[test]
    fn messages_have_the_keys_of_the_contract() {
        let message = Event::Message(said(StreamName::Room(dev()), "빌드 ok"));
        same(
            &event(&message),
            &format!(
                r#"{{"type":"message","id":"dev:42","room":"dev","seq":42,"ts":"2026-11-21T09:00:00.123456Z","from":{FROM},"text":"빌드 ok","reply_to":"dev:41","mention":false}}"#
            ),
        );
        let with = StreamName::Direct(UserName::new("bob").unwrap());
        let mut direct = said(with, "hi");
        direct.reply_to = None;
        direct.id.run = Some(BootId(0x3f9a));
        same(
            &event(&Event::Message(direct)),
            &format!(
                r#"{{"type":"direct","id":"@bob:00003f9a.42","with":"bob","seq":42,"ts":"2026-11-21T09:00:00.123456Z","from":{FROM},"text":"hi","reply_to":null,"mention":false}}"#
            ),
        );
        let mut notice = said(StreamName::Announcements, "down");
        notice.notice = Some(Notice {
            level: Level::Warning,
            room: None,
            expires_wall_us: None,
            retained: false,
            ack: false,
        });
        same(
            &event(&Event::Message(notice)),
            &format!(
                r#"{{"type":"announcement","id":"!42","level":"warning","room":null,"ts":"2026-11-21T09:00:00.123456Z","from":{FROM},"text":"down","expires":null,"retained":false,"ack":false}}"#
            ),
        );
    }

    #[test]
    fn events_have_the_keys_of_the_contract() {
        let streams = vec![(StreamName::Announcements, 3), (StreamName::Room(dev()), 41)];
        same(
            &event(&Event::Ready { streams, broadcast: "multicast" }),
            r#"{"type":"ready","rooms":{"dev":41},"broadcast":"multicast"}"#,
        );
        same(
            &event(&Event::Left { room: dev(), member: ann(), cause: EndCause::Killed }),
            &format!(r#"{{"type":"left","room":"dev","member":{FROM},"reason":"killed"}}"#),
        );
        let gap =
            |range| Event::Gap { stream: StreamName::Room(dev()), range, reason: GapReason::Run };
        same(
            &event(&gap(None)),
            r#"{"type":"gap","room":"dev","reason":"run","first":null,"last":null}"#,
        );
        same(
            &event(&gap(Some((10, 12)))),
            r#"{"type":"gap","room":"dev","reason":"run","first":10,"last":12}"#,
        );
        same(&event(&Event::End { reason: "x".into() }), r#"{"type":"end","reason":"x"}"#);
        let id = MessageId { stream: StreamName::Room(dev()), run: None, seq: 42 };
        same(
            &sent(&Sent { id, members: 7, counter: 1 }),
            r#"{"type":"sent","id":"dev:42","room":"dev","seq":42,"members":7}"#,
        );
        let missing = vec![Missing { name: "bob".into(), pid: 77, state: "unresponsive".into() }];
        let info = ReceiptInfo {
            number: 3,
            members: 42,
            reached: 41,
            acked: 0,
            users: 2,
            users_acked: 0,
            missing,
            next: None,
            open: 0,
            hosts: Vec::new(),
        };
        same(
            &receipt(&info),
            r#"{"type":"receipt","id":"!3","members":42,"reached":41,"acked":0,"users":2,"users_acked":0,"missing":[{"name":"bob","pid":77,"state":"unresponsive"}]}"#,
        );
    }

    #[test]
    fn a_row_of_who_has_the_keys_of_the_contract() {
        let row = Row {
            session: SessionId(17),
            uid: 1000,
            pid: 4711,
            start: 1,
            kind: Kind::Person,
            state: State::Away,
            visitor: false,
            since_wall_us: 1_795_251_600_000_000,
            active_mono_us: 1_000_000,
            user: UserName::new("ann").unwrap(),
            label: None,
            status: "점심".into(),
            rooms: vec![dev()],
        };
        same(
            &session(&row, 4_500_000),
            r#"{"type":"session","name":"ann","user":"ann","label":null,"uid":1000,"pid":4711,"session":17,"kind":"person","state":"away","status":"점심","since":"2026-11-21T09:00:00.000000Z","idle_s":3,"rooms":["dev"],"visitor":false}"#,
        );
    }

    #[test]
    fn terminal_commands_are_escaped_and_parse_back() {
        let text = "a\u{1b}[2J\u{9b}1m\u{202e}b\u{2028}\u{e0001}";
        let written = line(&json!({ "text": text }));
        assert!(written.chars().all(|c| !is_unsafe_to_show(c)), "{written}");
        let back: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(back["text"], text);
    }
}
