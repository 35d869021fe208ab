//! A server that means harm: whatever it says, no byte of it commands a terminal or looks like another line.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use moot::{
    chat::{
        batch::{Builder, Draft},
        event::Event,
        frames::{Ack, Frame},
        member::{EndCause, Kind as MemberKind, Level, Member, SessionId, State},
        message::BootId,
        names::UserName,
        presence_row::Row,
        refusal::{Refusal, RefusalCode},
        reply::{
            AnnouncementInfo, AnnouncementState, AuditInfo, HitInfo, MarkInfo, Missing, Page,
            ReceiptInfo, Reply, RoomInfo, SpanInfo, StreamInfo, WhoInfo,
        },
        request::{HistoryRequest, Request, SessionRequest},
        stream_id::{StreamId, StreamLabel},
        text::is_unsafe_to_show,
    },
    os::{Lock, LockNote, Places},
    presence::Table,
    wire::{
        control,
        frame::{self, Kind},
        hello::{self, Bye, Refused, RefusedCode},
    },
};
use serde_json::{Value, json};

use crate::world::{Done, World, skipped};

/// Commands a terminal in every way, and looks like a line of another program.
const HOSTILE: &str =
    "\x1b]52;c;AAAA\x07\u{9b}31m\x1b[31mred\x1b[0m\r\nfaked: line\n\u{2028}\u{202e}\t\0end";

/// How the server treats a client.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Answers each question, with hostile texts.
    Answers,
    /// Refuses each question.
    Refuses(RefusalCode),
    /// Does not let the client in.
    TurnsAway(u8),
    /// Ends the session at once.
    Ends,
    /// Answers with numbers where texts should be, and the other way round.
    Mistypes,
    /// Speaks another protocol.
    Babbles,
}

fn member() -> Member {
    Member {
        session: SessionId(9),
        uid: 9,
        pid: 9,
        kind: MemberKind::Person,
        user: UserName::new("eve").unwrap(),
        label: None,
    }
}

fn body() -> Vec<u8> {
    let mut builder = Builder::default();
    let from = member();
    builder.begin(0, StreamId(1), 1);
    for will in [None, Some(EndCause::Killed)] {
        let draft = Draft {
            from: &from,
            wall_us: 1,
            reply_to: None,
            to_label: None,
            notice: None,
            will,
            origin: None,
            withheld: false,
            text: HOSTILE,
        };
        assert!(builder.push(0, &draft));
    }
    builder.bytes().to_vec()
}

fn text() -> String {
    HOSTILE.to_owned()
}

fn stream() -> StreamInfo {
    StreamInfo {
        tag: StreamId(1),
        name: StreamLabel::Room("dev".parse().unwrap()),
        head: 2,
        next: 1,
        new_run: false,
        stored: true,
        members: 1,
        topic: text(),
        channel: None,
        room: None,
    }
}

fn notice() -> AnnouncementInfo {
    AnnouncementInfo {
        id: "!1".parse().unwrap(),
        schedule: None,
        wall_us: 1,
        from: member(),
        level: Level::Warning,
        room: None,
        expires_wall_us: None,
        retained: true,
        ack: true,
        text: text(),
        standing: AnnouncementState::Open,
        members: 2,
        reached: 1,
        acked: 1,
        acked_by_me: false,
        acks: 3,
        acked_by: vec![text(), text()],
        origin: None,
    }
}

fn answer(request: &Request) -> Reply {
    let name = StreamLabel::Room("dev".parse().unwrap());
    match request {
        Request::Join { .. } => Reply::Joined(vec![stream()]),
        Request::Open { .. } => Reply::Opened(stream()),
        Request::Rooms { .. } => {
            let room = RoomInfo {
                name: "dev".parse().unwrap(),
                members: 1,
                last: 2,
                last_wall_us: Some(1),
                topic: text(),
                stored: true,
                private: false,
                read_only: false,
            };
            Reply::Rooms { rooms: vec![room], more: false }
        }
        Request::Who { .. } => {
            let who = WhoInfo {
                member: member(),
                state: State::Away,
                status: text(),
                since_wall_us: 1,
                active_mono_us: 1,
            };
            Reply::Who { who: vec![who], more: false }
        }
        Request::Audit { .. } => {
            let entry = AuditInfo { wall_us: 1, by: member().user, act: text() };
            Reply::Audit { entries: vec![entry], more: false }
        }
        Request::Announce(_) => Reply::Announced { number: 1, members: 2, hosts: 0 },
        Request::Receipt { .. } => Reply::Receipt(ReceiptInfo {
            number: 1,
            members: 2,
            reached: 1,
            acked: 0,
            users: 2,
            users_acked: 0,
            missing: vec![Missing { name: text(), pid: 9, state: text() }],
            next: None,
            open: 0,
            hosts: Vec::new(),
        }),
        Request::Notices { .. } => Reply::Notices { notices: vec![notice()], more: false },
        Request::Notice { .. } => Reply::Notice(notice().into()),
        Request::History(HistoryRequest::Span { .. }) => {
            Reply::Span(SpanInfo { name, first: 1, head: 2, stored: true })
        }
        Request::History(HistoryRequest::Page { .. }) => {
            Reply::Page(Page { body: body(), first: 1, last: 2 })
        }
        Request::History(HistoryRequest::NumberAt { .. }) => Reply::Number(1),
        Request::History(HistoryRequest::Search(_)) => {
            Reply::Hits { hits: vec![HitInfo { name, id: 1, body: body() }], more: false }
        }
        Request::History(HistoryRequest::Unread { .. }) => {
            let mark = MarkInfo { name, mark: 0, head: 2, unread: 2, mentions: 1, stored: true };
            Reply::Marks { marks: vec![mark], more: false }
        }
        Request::Ask { .. } => Reply::Asked { answerers: 1 },
        Request::Answer(_) => Reply::Answering { lost: Vec::new() },
        _ => Reply::Done,
    }
}

/// Frozen bodies; in a wrong one each value has another type.
fn frozen(value: Value, manner: Manner) -> Vec<u8> {
    let Value::Object(mut object) = value else { panic!("an object") };
    if manner == Manner::Mistypes {
        for (key, value) in &mut object {
            *value = if value.is_string() { json!(7) } else { json!(text()) };
            if key == "degraded" {
                *value = json!({ HOSTILE: HOSTILE });
            }
        }
    }
    Value::Object(object).to_string().into_bytes()
}

fn serve(mut stream: UnixStream, manner: Manner) -> std::io::Result<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&buffer[..read]);
        let mut out = Vec::new();
        if manner == Manner::Babbles {
            stream.write_all(HOSTILE.as_bytes())?;
            return Ok(());
        }
        while let Ok(Some(parsed)) = frame::parse(&bytes) {
            match (parsed.kind, manner) {
                (Kind::Hello, Manner::TurnsAway(code)) => {
                    let refused = Refused { version: text(), ..Refused::new(code.into(), text()) };
                    frame::put(&mut out, Kind::Refused, |to| hello::put(to, &refused));
                }
                (Kind::Hello, _) => {
                    let welcome = json!({
                        "protocol": 1, "version": HOSTILE, "run": BootId(7), "session": 1, "pid": 1,
                        "user": HOSTILE, "uid": 1, "broadcast": HOSTILE,
                    });
                    let body = frozen(welcome, manner);
                    frame::put(&mut out, Kind::Welcome, |to| to.extend(body));
                    if manner == Manner::Ends {
                        let bye = Bye { reason: text(), code: None };
                        frame::put(&mut out, Kind::Bye, |to| hello::put(to, &bye));
                    }
                }
                (Kind::Status, _) => {
                    let status = json!({
                        "pid": 1, "version": HOSTILE, "uptime_s": 1, "dir": HOSTILE, "sessions": 1,
                        "rooms": 1, "messages": 1, "broadcast": HOSTILE, "broadcast_sent": 1,
                        "repaired": 1, "lagging": 1, "history_messages": 1, "history_bytes": 1,
                        "degraded": [HOSTILE, format!("broadcast is off: {HOSTILE}")],
                        "users": [{
                            "user": HOSTILE, "uid": 9, "sessions": 1, "messages": 1, "bytes": 1,
                            "history_bytes": 1,
                        }],
                    });
                    let body = frozen(status, manner);
                    frame::put(&mut out, Kind::StatusReply, |to| to.extend(body));
                }
                (Kind::Stop, _) => {
                    let bye = Bye { reason: text(), code: Some(RefusedCode::Denied) };
                    frame::put(&mut out, Kind::Bye, |to| hello::put(to, &bye));
                }
                (Kind::Request, _) => {
                    let (serial, request) = control::read_request(parsed.body).unwrap();
                    if request == Request::Session(SessionRequest::Quit) {
                        return Ok(());
                    }
                    let is_join = matches!(request, Request::Join { .. });
                    let result = match manner {
                        Manner::Refuses(code) => Err(Refusal::new(code, text())),
                        _ => Ok(answer(&request)),
                    };
                    let is_in = is_join && result.is_ok();
                    control::put_frame(&mut out, Frame::Reply { serial, result });
                    if is_in {
                        frame::put(&mut out, Kind::Batch, |to| to.extend(body()));
                        let tag = StreamId(1);
                        let topic = Event::Topic { stream: tag, topic: text(), by: SessionId(9) };
                        control::put_event(&mut out, &topic);
                        control::put_event(
                            &mut out,
                            &Event::Offer { stream: tag, seq: 1, before: 1 },
                        );
                    }
                }
                (Kind::Submit, manner) => {
                    let submit = control::read_submit(parsed.body).unwrap();
                    let (first, count) = (submit.first, submit.lines.len() as u32);
                    let frame = match manner {
                        Manner::Refuses(code) => {
                            Frame::Nack { first, count, refusal: Refusal::new(code, text()) }
                        }
                        _ => Frame::Ack(Ack { first, count, seq: 3, members: 1, stored: true }),
                    };
                    control::put_frame(&mut out, frame);
                }
                _ => {}
            }
            bytes.drain(..parsed.bytes);
        }
        stream.write_all(&out)?;
    }
}

const COMMANDS: &[&[&str]] = &[
    &["status"],
    &["status", "--metrics"],
    &["status", "--audit"],
    &["who"],
    &["who", "other"],
    &["who", "--count"],
    &["rooms"],
    &["room", "create", "dev"],
    &["room", "topic", "dev", "x"],
    &["room", "delete", "dev"],
    &["room", "invite", "dev", "@eve"],
    &["room", "leave", "dev"],
    &["send", "dev", "hi"],
    &["send", "@eve", "hi"],
    &["send", "dev", "--lines"],
    &["listen", "dev"],
    &["listen", "dev", "--raw", "--count", "2"],
    &["join", "--plain", "dev"],
    &["history", "dev"],
    &["history", "dev", "--last", "1"],
    &["search", "word"],
    &["read"],
    &["read", "dev"],
    &["badge"],
    &["announce", "x"],
    &["announce", "--ack", "--wait", "acked", "--require", "all", "x"],
    &["notices", "list"],
    &["notices", "show", "!1"],
    &["notices", "ack", "!1"],
    &["notices", "cancel", "!1"],
    &["ask", "dev", "x"],
    &["answer", "dev", "--exec", "cat"],
    &["kick", "@eve"],
    &["drop", "9"],
    &["away", "x"],
    &["back"],
    &["wait", "dev"],
    &["run", "dev", "--", "echo", "hi"],
    &["doctor"],
    &["stop"],
];

/// The same on a terminal, where they look different.
const ON_TERMINAL: &[&str] = &[
    "--timeout 500ms --no-start join dev",
    "--timeout 1500ms --no-start status --watch",
    "--timeout 500ms --no-start who --watch",
    "--timeout 300ms --no-start listen dev --raw",
    "--timeout 300ms --no-start ask dev x",
    "--timeout 300ms --no-start history dev",
    "--timeout 300ms --no-start rooms",
    "--no-start doctor",
];

#[test]
fn no_word_of_a_server_commands_a_terminal_or_begins_a_line() {
    let world = World::new();
    crate::machine::private_dir(&world.dir);
    let places = Places { runtime: world.dir.clone(), state: world.dir.clone(), host: false };
    let note = LockNote { pid: std::process::id(), runtime_dir: world.dir.clone() };
    let _lock = Lock::acquire(&places.lock(), false, &note).unwrap();
    let mut table = Table::create(&places, false, 7, false).unwrap();
    let row = Row {
        session: SessionId(9),
        uid: 9,
        pid: 9,
        start: 9,
        kind: MemberKind::Person,
        state: State::Away,
        visitor: false,
        since_wall_us: 1,
        active_mono_us: 1,
        user: UserName::new("eve").unwrap(),
        label: None,
        status: HOSTILE.into(),
        rooms: vec!["dev".parse().unwrap()],
    };
    table.put(&row).unwrap();
    let listener = UnixListener::bind(places.socket()).unwrap();
    let manners = [
        Manner::Answers,
        Manner::Refuses(RefusalCode::Failed),
        Manner::TurnsAway(4),
        Manner::Ends,
        Manner::Mistypes,
        Manner::Babbles,
    ];
    let now = Arc::new(AtomicU64::new(0));
    let served = Arc::clone(&now);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let manner = manners[served.load(Ordering::SeqCst) as usize];
            // A client that does not read is none of its business.
            thread::spawn(move || serve(stream, manner));
        }
    });
    let (mut told_hostile, mut wrong) = (0, Vec::new());
    for (number, manner) in manners.iter().enumerate() {
        now.store(number as u64, Ordering::SeqCst);
        for args in COMMANDS {
            for more in [&["--color", "always"][..], &["--json"]] {
                let mut all = vec!["--timeout", "300ms", "--no-start"];
                all.extend(more);
                all.extend(*args);
                let input = b"/rooms\n/topic\n/who\n/who other\nhi\n/me x\n/topic y\n";
                let done = Done::of(world.moot(&all), Some(input));
                let is_raw = args.contains(&"--raw");
                for complaint in complaints(&done, more.contains(&"always"), is_raw) {
                    wrong.push(format!("{manner:?} {all:?}: {complaint}"));
                }
                told_hostile += usize::from((done.out + &done.err).contains("52;c;AAAA"));
            }
        }
    }
    for args in ON_TERMINAL {
        let shell = format!("{} {args}", env!("CARGO_BIN_EXE_moot"));
        let mut command = world.command("script".as_ref(), &["-qec", &shell, "/dev/null"]);
        command.env("TERM", "xterm-256color").env("COLORTERM", "truecolor");
        for (number, manner) in manners.iter().enumerate() {
            now.store(number as u64, Ordering::SeqCst);
            let Ok(done) = command.output() else {
                skipped("script(1) is not installed");
                break;
            };
            let text = String::from_utf8_lossy(&done.stdout);
            told_hostile += usize::from(text.contains("52;c;AAAA"));
            let commands =
                ["\x1b]52", "AAAA\x07", "\u{9b}", "\x1b[31mred", "\u{2028}", "\u{202e}", "\0"];
            if commands.iter().any(|bytes| text.contains(bytes)) {
                wrong.push(format!("{manner:?} {args} on a terminal: {text:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(told_hostile > 300, "only {told_hostile} commands showed what the server said");
}

/// Nothing in it commands a terminal, but for colors where they are asked for; no text of the server begins a line.
fn complaints(done: &Done, color: bool, is_raw: bool) -> Vec<String> {
    let mut all = Vec::new();
    if done.code == 2 {
        all.push(format!("used wrongly: {}", done.err));
    }
    for text in [&done.out, &done.err] {
        let mut plain = text.clone();
        // Those of moot, whose red is never alone.
        for code in ["0", "1", "2", "32", "33", "36", "1;31"].iter().filter(|_| color) {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        let is_bad = |c: char| is_unsafe_to_show(c) && !matches!(c, '\n' | '\t');
        // A program gets a text as it is.
        let begins = |line: &str| line.starts_with("faked") || line.starts_with("red");
        let is_hostile = || plain.contains(is_bad) || plain.lines().any(begins);
        if !is_raw && is_hostile() {
            all.push(format!("{text:?}"));
        }
    }
    all
}
