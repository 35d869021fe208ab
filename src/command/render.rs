//! Results as text for people. What others wrote is made safe to show here.

use super::{style::Style, table::Table, time::short};
use crate::chat::linked::RemoteReceipt;
use crate::{
    chat::{
        member::{Level, State},
        message::{AnnouncementId, Message, Notice, StreamName},
        presence_row::Row,
        reply::{
            AnnouncementInfo, AnnouncementState, AuditInfo, HostReceiptInfo, ReceiptInfo, RoomInfo,
        },
        text::{counted, shown},
    },
    client::Event,
    server::Status,
    tui::{sentences, slash::action_of},
};

/// Notice to a sender whose messages wait.
pub(super) use crate::tui::sentences::THROTTLED as SLOWED;

/// Missing members that a receipt names in text; JSON names all.
const MISSING_SHOWN_MAX: usize = 20;

fn painted(style: &Style, code: &str, text: &str) -> String {
    if style.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// An event as one line (several if a text has several); none for the fate of what this member
/// sent.
pub(super) fn event(event: &Event, style: &Style) -> Option<String> {
    let dim = |text: String| painted(style, "2", &text);
    let note = |sentence: String| dim(format!("-- {sentence}"));
    let text = match event {
        Event::Ready { streams, broadcast } => {
            let names: Vec<_> = streams
                .iter()
                .filter(|(name, _)| !matches!(name, StreamName::Announcements))
                .map(|(name, _)| name.to_string())
                .collect();
            let names = match names.as_slice() {
                [] => "announcements".to_owned(),
                names => names.join(", "),
            };
            dim(format!("-- connected: {names} ({broadcast})"))
        }
        Event::Message(message) => self::message(message, style),
        Event::Joined { room, member } => dim(format!("→ {member} joined {room}")),
        Event::Left { room, member, cause } => {
            dim(format!("← {member} left {room} ({})", cause.word()))
        }
        Event::Topic { room, topic } => note(sentences::new_topic(room, topic)),
        Event::Gap { stream, range, reason } => note(sentences::gap(stream, *range, *reason)),
        Event::Slowed => note(sentences::THROTTLED.to_owned()),
        Event::Cancelled { number, by } => note(sentences::cancelled(*number, by)),
        Event::Removed { room, by, banned } => note(sentences::removed(room, by, *banned)),
        Event::Invited { room, user, by } => {
            dim(format!("-- {by} invited {user} to {room} (/join {room})"))
        }
        Event::Offer { room, seq, .. } => dim(format!("-- offered {room}:{seq}")),
        Event::Answered { room, seq, by, failed, .. } => {
            let how = if *failed { "failed to answer" } else { "answered" };
            dim(format!("-- {by} {how} {room}:{seq}"))
        }
        Event::Abandoned { room, seq, by, cause } => {
            note(sentences::abandoned(room, *seq, by, *cause))
        }
        Event::Deleted { room } => note(sentences::deleted(room)),
        Event::End { reason } => {
            dim(format!("-- disconnected: {}; trying to reconnect", shown(reason, false)))
        }
        Event::Sent(_)
        | Event::Rejected(_)
        | Event::NotFollowed(..)
        | Event::Reply(..)
        | Event::Ended(_) => return None,
    };
    Some(text)
}

/// Difference between the times of a message here and at its host from which both are shown.
const CLOCKS_DIFFER_US: u64 = 60_000_000;

fn message(message: &Message, style: &Style) -> String {
    let time = painted(style, "2", &format!("[{}]", style.clock.short(message.wall_us)));
    let name = painted(style, "1", &message.from.to_string());
    let action = message.notice.is_none().then(|| action_of(&message.text)).flatten();
    let mut text = indented(action.unwrap_or(&message.text));
    if let Some(cause) = message.will {
        text += &painted(style, "2", &format!(" ({})", cause.word()));
    }
    if let (Some(origin), Some(host)) = (message.origin, message.from.user.host())
        && origin.wall_us.abs_diff(message.wall_us) >= CLOCKS_DIFFER_US
    {
        let at = style.clock.short(origin.wall_us);
        text += &painted(style, "2", &format!(" (sent {at} on {host})"));
    }
    if message.notice.as_ref().is_some_and(|notice| notice.ack) {
        let hint = format!(" (acknowledge: moot notices ack {})", message.id.seq);
        text += &painted(style, "2", &hint);
    }
    // An action of a user reads as a sentence; no name begins with the star.
    let said = match action {
        Some(_) => format!("* {name} {text}"),
        None => format!("{name}: {text}"),
    };
    match (&message.notice, &message.id.stream) {
        (Some(notice), _) => format!("{time} {} {said}", weight(notice, style)),
        (None, StreamName::Direct(with)) => {
            let to = if *with == message.from.user { "you".to_owned() } else { with.to_string() };
            let star = if action.is_some() { "* " } else { "" };
            format!("{time} {star}{name} → {to}: {text}")
        }
        (None, StreamName::Room(room)) if style.rooms => format!("{time} {room}  {said}"),
        (None, StreamName::Room(_) | StreamName::Announcements) => format!("{time} {said}"),
    }
}

fn weight(notice: &Notice, style: &Style) -> String {
    let word = notice.level.word().to_uppercase();
    let code = match notice.level {
        Level::Info => "36",
        Level::Notice => "32",
        Level::Warning => "33",
        Level::Critical => "1;31",
    };
    let room = notice.room.as_ref().map_or_else(String::new, |room| format!(" {room}"));
    painted(style, code, &format!("! {word}{room}"))
}

/// A text whose further lines can't be taken for messages of their own.
fn indented(text: &str) -> String {
    shown(text, true).replace('\n', "\n        ")
}

/// `reached 41 of 42, acknowledged 3; missing: bob (pid 77, unresponsive) · db1 3 of 3`
pub(super) fn receipt(receipt: &ReceiptInfo, ack: bool, style: &Style) -> String {
    let mut line = format!("reached {} of {}", receipt.reached, receipt.members);
    if ack {
        line.push_str(&format!(", acknowledged {}", receipt.acked));
    }
    line.push_str(&missing(receipt));
    for host in &receipt.hosts {
        line.push_str(&format!(" · {}", host_receipt(host, ack, style)));
    }
    line
}

/// `; missing: bob (pid 77, unresponsive) and 3 more`
fn missing(receipt: &ReceiptInfo) -> String {
    if receipt.missing.is_empty() {
        return String::new();
    }
    let named = receipt.missing.iter().take(MISSING_SHOWN_MAX);
    let named: Vec<_> = named
        .map(|m| format!("{} (pid {}, {})", shown(&m.name, false), m.pid, shown(&m.state, false)))
        .collect();
    let mut text = format!("; missing: {}", named.join(", "));
    let more = receipt.missing.len().saturating_sub(MISSING_SHOWN_MAX);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// `db1 3 of 3`, `lap2 not linked since 17:02`, `lap3 no receipt`
fn host_receipt(of: &HostReceiptInfo, ack: bool, style: &Style) -> String {
    let host = &of.host;
    match (&of.receipt, of.unlinked_wall_us) {
        (Some(receipt), _) => {
            let RemoteReceipt { members, reached, acked, .. } = receipt;
            let acked = if ack { format!(", acknowledged {acked}") } else { String::new() };
            format!("{host} {reached} of {members}{acked}")
        }
        (None, Some(0)) => format!("{host} not linked"),
        (None, Some(since)) => format!("{host} not linked since {}", table_time(since, style)),
        (None, None) => format!("{host} no receipt"),
    }
}

/// That an announcement waits.
pub(super) fn scheduled(id: AnnouncementId, at_us: i64, style: &Style) -> String {
    format!("scheduled {id} for {}", style.clock.full(at_us))
}

/// A time in a table: whole where programs may read it, short on a terminal.
fn table_time(wall_us: i64, style: &Style) -> String {
    match style.columns {
        Some(_) => style.clock.short(wall_us),
        None => style.clock.full(wall_us),
    }
}

/// Announcements for people.
pub(super) fn notices(notices: &[AnnouncementInfo], style: &Style) -> String {
    let rows: Vec<_> = notices.iter().map(|notice| notice_row(notice, style)).collect();
    let table = Table {
        header: ["ID", "LEVEL", "STATE", "WHEN", "FROM", "REACHED", "ACKED", "TEXT"],
        flexible: [false, false, true, false, true, false, false, true],
        split: 4,
    };
    table.text(&rows, style.columns)
}

fn notice_row(notice: &AnnouncementInfo, style: &Style) -> [String; 8] {
    let waits = notice.standing == AnnouncementState::Waiting;
    let mut state = notice.standing.word().to_owned();
    if notice.standing == AnnouncementState::Open && notice.retained {
        state = notice
            .expires_wall_us
            .map_or_else(|| "retained".to_owned(), |at| format!("until {}", table_time(at, style)));
    }
    let of = |n: u32| {
        if waits { "-".to_owned() } else { format!("{n}/{}", notice.members) }
    };
    let room = notice.room.as_ref().map_or_else(String::new, |room| format!("[{room}] "));
    let mut lines = notice.text.lines();
    let mut text = shown(lines.next().unwrap_or_default(), false).into_owned();
    if lines.next().is_some() {
        text.push_str(" …");
    }
    [
        notice.id.to_string(),
        notice.level.word().to_owned(),
        state,
        table_time(notice.wall_us, style),
        notice.from.name(),
        of(notice.reached),
        if notice.ack || notice.acks > 0 { of(notice.acked) } else { "-".to_owned() },
        format!("{room}{text}"),
    ]
}

/// One announcement, with all that was said of it.
pub(super) fn notice(notice: &AnnouncementInfo, style: &Style) -> String {
    let head = Notice {
        level: notice.level,
        room: notice.room.clone(),
        expires_wall_us: notice.expires_wall_us,
        retained: notice.retained,
        ack: notice.ack,
    };
    let name = painted(style, "1", &notice.from.name());
    let when = style.clock.full(notice.wall_us);
    let state = notice.standing.word();
    let weight = weight(&head, style);
    let mut text =
        format!("{} {weight} {when} ({state}) {name}: {}", notice.id, indented(&notice.text));
    if !notice.acked_by.is_empty() {
        text += &format!("\nacknowledged by {}", shown(&notice.acked_by.join(", "), false));
        let more = (notice.acks as usize).saturating_sub(notice.acked_by.len());
        if more > 0 {
            text += &format!(" and {more} more");
        }
    }
    text
}

/// The presence table for people.
pub(super) fn who(rows: &[Row], now_mono_us: u64, style: &Style) -> String {
    let cells: Vec<_> = rows.iter().map(|row| who_row(row, now_mono_us, style)).collect();
    let table = Table {
        header: ["NAME", "STATE", "IDLE", "KIND", "PID", "SINCE", "ROOMS", "STATUS"],
        flexible: [true, false, false, false, false, false, true, true],
        split: 4,
    };
    let table = table.text(&cells, style.columns);
    match table.split_once('\n') {
        Some((header, rows)) if style.color => format!("{}\n{rows}", painted(style, "1", header)),
        Some(_) | None => table,
    }
}

fn who_row(row: &Row, now_mono_us: u64, style: &Style) -> [String; 8] {
    let idle = now_mono_us.saturating_sub(row.active_mono_us) / 1_000_000;
    let rooms: Vec<_> = row.rooms.iter().map(ToString::to_string).collect();
    [
        row.handle().to_string(),
        row.state.word().to_owned(),
        if row.state == State::Unknown { "-".to_owned() } else { short(idle) },
        row.kind.word().to_owned(),
        if row.pid == 0 { "-".to_owned() } else { row.pid.to_string() },
        table_time(row.since_wall_us, style),
        rooms.join(","),
        shown(&row.status, false).into_owned(),
    ]
}

/// All rooms for people.
pub(super) fn rooms(rooms: &[(&RoomInfo, u64)], style: &Style) -> String {
    let cells: Vec<_> = rooms.iter().map(|(room, unread)| room_row(room, *unread, style)).collect();
    let table = Table {
        header: ["ROOM", "MEMBERS", "MESSAGES", "UNREAD", "LAST", "HISTORY", "RULES", "TOPIC"],
        flexible: [true, false, false, false, false, false, true, true],
        split: 4,
    };
    table.text(&cells, style.columns)
}

fn room_row(room: &RoomInfo, unread: u64, style: &Style) -> [String; 8] {
    [
        room.name.to_string(),
        room.members.to_string(),
        room.last.to_string(),
        if unread == 0 { "-".to_owned() } else { unread.to_string() },
        room.last_wall_us.map_or_else(|| "-".to_owned(), |at| table_time(at, style)),
        if room.stored { "disk" } else { "memory" }.to_owned(),
        match (room.private, room.read_only) {
            (false, false) => "-",
            (true, false) => "private",
            (false, true) => "read-only",
            (true, true) => "private, read-only",
        }
        .to_owned(),
        shown(&room.topic, false).into_owned(),
    ]
}

/// Returns the line of an operator's action.
pub(super) fn audit(entry: &AuditInfo, style: &Style) -> String {
    format!("{}  {}  {}", style.clock.full(entry.wall_us), entry.by, shown(&entry.act, false))
}

/// The server's state for people.
pub(super) fn status(status: &Status) -> String {
    let lines = [
        (
            "server",
            format!(
                "pid {}, moot {}, up {}",
                status.pid,
                shown(&status.version, false),
                short(status.uptime_s)
            ),
        ),
        ("directory", shown(&status.dir, false).into_owned()),
        ("sessions", format!("{}, members: {}", status.sessions, status.members)),
        ("rooms", status.rooms.to_string()),
        ("messages", status.messages.to_string()),
        (
            "broadcast",
            format!(
                "{}, {} sent",
                shown(&status.broadcast, false),
                counted(status.broadcast_sent, "datagram")
            ),
        ),
        (
            "by session",
            format!(
                "{} repaired, {} lagging, {} without broadcast",
                status.repaired, status.lagging, status.deaf
            ),
        ),
        (
            "history",
            match status.stored.history {
                true => format!(
                    "about {}, {} KiB",
                    counted(status.stored.history_messages, "message"),
                    status.stored.history_bytes / 1024
                ),
                false => "in memory".to_owned(),
            },
        ),
    ];
    let mut text: String =
        lines.iter().map(|(name, value)| format!("{name:<11} {value}\n")).collect();
    if status.stored.history_disk_bytes > 0 {
        text += &format!(
            "{:<11} {} KiB history, {} KiB search index\n",
            "on disk",
            status.stored.history_disk_bytes.div_ceil(1024),
            status.stored.index_disk_bytes.div_ceil(1024)
        );
    }
    // On a user server there is only one.
    for user in status.users.iter().filter(|_| status.users.len() > 1) {
        let slowed = match user.usage.slowed_ms {
            0 => String::new(),
            ms => format!(", throttled for {}", short(ms / 1000)),
        };
        text += &format!(
            "{:<11} {}: {}, {}, {} KiB{slowed}\n",
            "user",
            shown(&user.user, false),
            counted(user.usage.sessions, "session"),
            counted(user.usage.messages, "message"),
            user.usage.bytes / 1024
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{
            member::{Kind, Member, SessionId},
            message::MessageId,
            names::{HostName, RoomName, UserName},
            reply::Missing,
        },
        command::time::Clock,
    };

    const PLAIN: Style =
        Style { color: false, rooms: false, clock: Clock { utc: true, now_us: 0 }, columns: None };

    fn said(text: &str) -> Message {
        Message {
            id: MessageId {
                stream: StreamName::Room(RoomName::new("dev").unwrap()),
                run: None,
                seq: 1,
            },
            wall_us: 0,
            from: Member {
                session: SessionId(1),
                uid: 1,
                pid: 1,
                kind: Kind::Script,
                user: UserName::new("ann").unwrap(),
                label: None,
            },
            reply_to: None,
            mention: false,
            notice: None,
            will: None,
            origin: None,
            text: text.to_owned(),
        }
    }

    #[test]
    fn texts_can_not_fake_lines_or_command_the_terminal() {
        let line = event(&Event::Message(said("hi\n[09:00] bob: \u{1b}[2Jgone")), &PLAIN).unwrap();
        let lines: Vec<_> = line.lines().collect();
        assert!(lines[0].ends_with("ann: hi"));
        assert_eq!(lines[1], "        [09:00] bob: \\u{1b}[2Jgone");
    }

    #[test]
    fn action_differs_from_message() {
        let shown = |message: Message, style| event(&Event::Message(message), style).unwrap();
        assert!(shown(said("/me waves"), &PLAIN).ends_with("] * ann waves"));
        let named = Style { rooms: true, ..PLAIN };
        assert!(shown(said("/me waves"), &named).ends_with("] dev  * ann waves"));
        assert!(
            shown(said("/me waves\n* bob too"), &PLAIN).ends_with("* ann waves\n        * bob too")
        );
        assert!(shown(said("* bob waves"), &PLAIN).ends_with("] ann: * bob waves"));
        assert!(shown(said("/mean it"), &PLAIN).ends_with("] ann: /mean it"));
        let mut direct = said("/me waves");
        direct.id.stream = StreamName::Direct(UserName::new("ann").unwrap());
        assert!(shown(direct, &PLAIN).ends_with("] * ann → you: waves"));
        let mut announced = said("/me waves");
        let level = Level::Notice;
        let notice =
            Notice { level, room: None, expires_wall_us: None, retained: false, ack: false };
        announced.notice = Some(notice);
        assert!(shown(announced, &PLAIN).ends_with("ann: /me waves"));
    }

    #[test]
    fn a_receipt_names_who_is_missing() {
        let missing = |n: usize| {
            let one = |i| Missing { name: format!("bob{i}"), pid: 77, state: "gone".into() };
            (0..n).map(one).collect::<Vec<_>>()
        };
        let info = |missing: Vec<Missing>| ReceiptInfo {
            number: 3,
            members: 42,
            reached: 42 - missing.len() as u32,
            acked: 3,
            users: 1,
            users_acked: 0,
            missing,
            next: None,
            open: 0,
            hosts: Vec::new(),
        };
        let receipt = |info: &ReceiptInfo, ack| receipt(info, ack, &PLAIN);
        assert_eq!(receipt(&info(missing(0)), false), "reached 42 of 42");
        assert_eq!(
            receipt(&info(missing(1)), true),
            "reached 41 of 42, acknowledged 3; missing: bob0 (pid 77, gone)"
        );
        assert!(receipt(&info(missing(23)), false).ends_with(" and 3 more"));
    }

    #[test]
    fn receipt_has_a_part_for_each_host() {
        let host = |name, receipt, unlinked_wall_us| HostReceiptInfo {
            host: HostName::new(name).unwrap(),
            receipt,
            unlinked_wall_us,
        };
        let of = RemoteReceipt { members: 3, reached: 2, acked: 1, open: 0 };
        let info = ReceiptInfo {
            number: 3,
            members: 0,
            reached: 0,
            acked: 0,
            users: 0,
            users_acked: 0,
            missing: Vec::new(),
            next: None,
            open: 0,
            hosts: vec![
                host("db1", Some(of), None),
                host("lap2", None, Some(0)),
                host("lap3", None, None),
            ],
        };
        let text = "reached 0 of 0 · db1 2 of 3 · lap2 not linked · lap3 no receipt";
        assert_eq!(receipt(&info, false, &PLAIN), text);
        assert!(receipt(&info, true, &PLAIN).contains(" · db1 2 of 3, acknowledged 1 · "));
    }
}
