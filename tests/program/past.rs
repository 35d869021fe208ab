//! What was said before: history, search, reading, mail, and that none of it is lost.

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
#[cfg(unix)]
use std::{os::unix::fs::PermissionsExt, process::Command};

use moot::{
    chat::{
        member::Kind,
        names::{RoomName, Target},
        request::{Begin, Follow},
    },
    client::{Event, Follows, Member, Wake},
    os,
    session::Connection,
    wire::hello::Hello,
};

use super::world::{Done, PATIENCE, Process, World, eventually, is_root};
#[cfg(unix)]
use super::world::{OTHER_UID, THIRD_UID};

fn texts(done: &Done) -> Vec<String> {
    done.objects().iter().map(|o| o["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn messages_survive_a_restart_and_numbers_continue() {
    let world = World::new();
    let mut server = world.serve();
    for n in 1..=30 {
        world.run(&["send", "dev", &format!("line {n}")]).ok();
    }
    server.kill();
    let _server = world.serve();
    let sent = world.run(&["send", "--json", "dev", "line 31"]).ok().objects();
    assert_eq!((&sent[0]["id"], &sent[0]["seq"]), (&"dev:31".into(), &31.into()));
    let all = world.run(&["history", "--json", "dev"]).ok();
    assert_eq!(texts(&all), (1..=31).map(|n| format!("line {n}")).collect::<Vec<_>>());
    let last = world.run(&["history", "--json", "dev", "--last", "2"]).ok();
    assert_eq!(texts(&last), ["line 30", "line 31"]);
    let since = world.run(&["history", "--json", "dev", "--since", "dev:28", "--before", "dev:31"]);
    assert_eq!(texts(&since.ok()), ["line 29", "line 30"]);
    assert_eq!(texts(&world.run(&["history", "--json", "dev", "--since", "1h"]).ok()).len(), 31);
    let future = world.run(&["history", "--json", "dev", "--since", "2999-01-01T00:00:00Z"]).ok();
    assert!(future.out.is_empty());
    world.run(&["history", "nosuch"]).exits(5);
    world.run(&["history", "dev", "--since", "dev:99"]).exits(5);
    world.run(&["history", "dev", "--since", "lately"]).exits(2);
    // join and listen begin where they are told to, and miss nothing.
    let mut bob = world.listen(&["--last", "3", "dev"]);
    world.run(&["send", "dev", "line 32"]).ok();
    assert_eq!(bob.texts(4), ["line 29", "line 30", "line 31", "line 32"]);
}

#[test]
fn a_script_goes_on_after_exactly_its_last_message() {
    let world = World::new();
    let mut server = world.serve();
    for n in 1..=5 {
        world.run(&["send", "dev", &n.to_string()]).ok();
    }
    server.kill();
    let _server = world.serve();
    world.run(&["send", "dev", "6"]).ok();
    let mut script = world.listen(&["--since", "dev:3", "dev"]);
    assert_eq!(script.texts(3), ["4", "5", "6"]);
    let count = world.run(&["listen", "--since", "5m", "--count", "6", "--raw", "dev"]).ok();
    assert_eq!(count.out, "1\n2\n3\n4\n5\n6\n");
    world.run(&["listen", "--since", "dev:99", "dev"]).exits(5);
    world.run(&["listen", "--since", "other:1", "dev"]).exits(5);
}

#[test]
fn messages_removed_by_retention_are_a_gap() {
    let world = World::with_config("[history]\nbytes_max = 1000000\n");
    let mut server = world.serve();
    let text = "x".repeat(10_000);
    let lines: String = (0..400).map(|n| format!("{n} {text}\n")).collect();
    world.run_with_input(&["send", "--lines", "dev"], lines.as_bytes()).ok();
    let first = || {
        let kept = world.run(&["history", "--json", "dev"]).ok().objects();
        kept.first().map_or(0, |m| m["seq"].as_u64().unwrap())
    };
    eventually("the oldest are removed", || first() > 200);
    // What is in memory is shown as long as it is there; after a restart only the disk has it.
    server.kill();
    let _server = world.serve();
    let mut script = world.listen(&["--since", "dev:2", "dev"]);
    let gap = script.next("what comes first");
    assert_eq!(
        (&gap["type"], &gap["first"], &gap["reason"]),
        (&"gap".into(), &3.into(), &"retention".into())
    );
    let last = gap["last"].as_u64().unwrap();
    assert_eq!(script.next("the first that is left")["seq"], last + 1);
    let history = world.run(&["history", "--json", "dev", "--since", "dev:2"]).ok().objects();
    assert_eq!(history[0]["type"], "gap");
    // Numbers go on.
    assert_eq!(world.run(&["send", "--json", "dev", "x"]).ok().objects()[0]["seq"], 401);
}

#[test]
fn history_and_live_messages_join_without_gap_under_load() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "dev", "first"]).ok();
    let mut senders: Vec<_> = (0..8)
        .map(|_| {
            let mut command = world.moot(&["send", "--lines", "dev"]);
            command.stdin(Stdio::piped());
            Process::spawn(command)
        })
        .collect();
    let inputs: Vec<_> = senders.iter_mut().map(|s| s.input.take().unwrap()).collect();
    // The second half is said once everybody is there: who begins with now has something to hear.
    let all_in = Arc::new(std::sync::Barrier::new(inputs.len() + 1));
    let writers: Vec<_> = inputs
        .into_iter()
        .enumerate()
        .map(|(sender, mut input)| {
            let all_in = Arc::clone(&all_in);
            std::thread::spawn(move || {
                use std::io::Write;
                for n in 0..1_000 {
                    if n == 500 {
                        all_in.wait();
                    }
                    writeln!(input, "{sender} {n}").unwrap();
                }
            })
        })
        .collect();
    // They come while everybody talks.
    let mut late: Vec<_> =
        (0..6).map(|n| world.listen(&["--last", &(n * 700).to_string(), "dev"])).collect();
    late.push(world.join(&["--last", "100000", "dev"]));
    all_in.wait();
    for writer in writers {
        writer.join().unwrap();
    }
    for sender in &mut senders {
        assert_eq!(sender.code(), 0);
    }
    let all = texts(&world.run(&["history", "--json", "dev"]).ok());
    assert_eq!(all.len(), 8_001);
    for member in &mut late {
        let mut next = None;
        loop {
            let message = member.next_of("message");
            let seq = message["seq"].as_u64().unwrap();
            assert_eq!(next.unwrap_or(seq), seq, "a hole or a double");
            assert_eq!(message["text"], all[seq as usize - 1].as_str());
            next = Some(seq + 1);
            if seq == 8_001 {
                break;
            }
        }
    }
}

#[test]
fn korean_is_found_by_part_of_a_word_and_latin_in_any_case() {
    let world = World::new();
    let _server = world.serve();
    let decomposed = "\u{1112}\u{116c}\u{110b}\u{1174}\u{1109}\u{1175}\u{11af} 예약";
    let all = [
        "회의 시작합니다",
        "점심시간입니다",
        "Build FAILED on main",
        decomposed,
        "réunion À DEMAIN",
    ];
    for text in all {
        world.run(&["send", "dev", text]).ok();
    }
    world.run(&["send", "other", "회의록을 올렸습니다"]).ok();
    let found = |args: &[&str]| {
        let mut all = vec!["search", "--json"];
        all.extend(args);
        let done = world.run(&all);
        assert!([0, 1].contains(&done.code), "{}", done.err);
        texts(&done)
    };
    for indexed in [false, true] {
        if indexed {
            // The index is filled behind the commit; what is found must not depend on that.
            std::thread::sleep(Duration::from_millis(1_200));
        }
        assert_eq!(found(&["시"]), ["회의 시작합니다", "점심시간입니다"]);
        assert_eq!(found(&["회의"]), [all[0], all[3], "회의록을 올렸습니다"]);
        assert_eq!(found(&["시작합"]), [all[0]]);
        assert_eq!(found(&["점심시간입"]), [all[1]]);
        assert_eq!(found(&["회의", "작합니"]), [all[0]], "all words, as one query");
        assert_eq!(found(&["failed"]), [all[2]]);
        assert_eq!(found(&["ail", "MAIN"]), [all[2]], "DEMAIN has no ail");
        assert_eq!(found(&["à demain"]), [all[4]]);
        assert_eq!(found(&["회의", "--room", "other"]), ["회의록을 올렸습니다"]);
        assert_eq!(found(&["회의", "--last", "1"]), ["회의록을 올렸습니다"]);
        assert!(found(&["nowhere"]).is_empty());
        assert!(found(&["%"]).is_empty(), "no pattern language");
        assert!(found(&["\"AND OR NOT*"]).is_empty());
    }
    world.run(&["search", "nowhere"]).exits(1);
    world.run(&["search", "x", "--room", "nosuch"]).exits(5);
    world.run(&["search", " "]).exits(2);
}

#[test]
fn unread_messages_are_marked_by_reading_only() {
    let world = World::new();
    let mut server = world.serve();
    let me = os::user_name(os::own_uid()).unwrap().to_string();
    world.run(&["send", "dev", "before I followed"]).ok();
    world.run_with_input(&["join", "dev"], b"").ok();
    let say = |text: &str| {
        world.run(&["send", "--as", "ci", "dev", text]).ok();
    };
    say("one");
    say(&format!("two for @{me}"));
    world.run(&["send", "dev", "my own"]).ok();
    let unread = || world.run(&["rooms", "--json"]).ok().objects()[0]["unread"].as_u64().unwrap();
    assert_eq!(unread(), 2, "own messages are not unread");
    // To be shown something is not to read it: the member has it, and told the server so.
    let mut shown = world.listen(&["--last", "5", "dev"]);
    assert_eq!(shown.texts(4).len(), 4);
    world.run(&["announce", "--require", "all", "have it?"]).ok();
    drop(shown);
    let peeked = world.run(&["read", "--peek", "--json"]).ok();
    assert_eq!(texts(&peeked), ["one".to_owned(), format!("two for @{me}")]);
    let badge = || world.run(&["badge"]).ok().out;
    eventually("the badge", || badge() == "✉2 @1\n");
    server.kill();
    let _server = world.serve();
    assert_eq!(unread(), 2, "marks are kept");
    eventually("the badge again", || badge() == "✉2 @1\n");
    assert_eq!(texts(&world.run(&["read", "--json"]).ok()).len(), 2);
    assert_eq!((unread(), world.run(&["read"]).ok().out), (0, String::new()));
    eventually("no badge", || badge().is_empty());
    let mut mentions = world.listen(&["--mentions", "dev"]);
    say("nothing for you");
    say(&format!("@{me}: this"));
    assert_eq!(mentions.texts(1), [format!("@{me}: this")]);
    // Without a server there is nothing to show, and no failure.
    world.run(&["stop"]).ok();
    assert_eq!(badge(), "");
}

// Several users.
#[cfg(unix)]
#[test]
fn mail_waits_for_its_reader_and_nobody_else_sees_it() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mut server = world.serve_with(&["--system"]);
    let name = |uid| os::user_name(uid).unwrap().to_string();
    let (root, other, third) = (name(0), name(OTHER_UID), name(THIRD_UID));
    for text in ["first secret", "second secret"] {
        world.run(&["send", &format!("@{other}"), text]).ok();
    }
    world.run_as(THIRD_UID, &["send", "dev", "no secret"]).ok();
    server.kill();
    let _server = world.serve_with(&["--system"]);
    // The reader.
    let read = world.run_as(OTHER_UID, &["read", "--json"]).ok();
    assert_eq!(texts(&read), ["first secret", "second secret"]);
    assert_eq!(read.objects()[0]["with"], root.as_str());
    assert_eq!(world.run_as(OTHER_UID, &["read"]).ok().out, "");
    let history = world.run_as(OTHER_UID, &["history", "--json", &format!("@{root}")]).ok();
    assert_eq!(texts(&history).len(), 2);
    assert_eq!(texts(&world.run_as(OTHER_UID, &["search", "--json", "secret"]).ok()).len(), 3);
    // A third user.
    assert_eq!(
        texts(&world.run_as(THIRD_UID, &["search", "--json", "secret"]).ok()),
        ["no secret"]
    );
    for with in [&root, &other] {
        world.run_as(THIRD_UID, &["history", &format!("@{with}")]).exits(5);
        world.run_as(THIRD_UID, &["read", &format!("@{with}")]).exits(5);
    }
    world.run_as(THIRD_UID, &["room", "delete", "nosuch"]).exits(5);
    world.run_as(OTHER_UID, &["room", "delete", "dev"]).exits(4);
    world.run_as(THIRD_UID, &["send", &format!("@{third}"), "a note to myself"]).ok();
    assert!(!texts(&world.run(&["search", "--json", "note"])).iter().any(|t| t.contains("myself")));
    // The database is the server's own.
    for file in ["history.db", "history.db-wal", "history.epoch"] {
        let mode = std::fs::metadata(world.dir.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} is {mode:o}");
    }
}

#[test]
fn a_deleted_room_is_gone_with_all_that_was_said_in_it() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    world.run(&["send", "dev", "to be forgotten"]).ok();
    world.run(&["room", "delete", "dev"]).ok();
    assert_eq!(bob.next_of("deleted")["room"], "dev");
    world.run(&["history", "dev"]).exits(5);
    world.run(&["search", "forgotten"]).exits(1);
    assert!(world.run(&["rooms", "--json"]).ok().out.is_empty());
    // The same name is a new room; no number is given twice.
    assert_eq!(world.run(&["send", "--json", "dev", "new"]).ok().objects()[0]["seq"], 2);
    assert_eq!(texts(&world.run(&["history", "--json", "dev"]).ok()), ["new"]);
}

#[test]
fn rooms_without_history_say_so_and_keep_nothing() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["room", "create", "chatter", "--no-history"]).ok();
    world.run(&["send", "chatter", "soon gone"]).ok();
    assert_eq!(world.run(&["rooms", "--json"]).ok().objects()[0]["history"], false);
    let history = world.run(&["history", "--json", "chatter"]).ok();
    assert_eq!(texts(&history), ["soon gone"]);
    let id = history.objects()[0]["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("chatter:") && id.contains('.'), "{id} names its run");
    server.kill();
    let _server = world.serve();
    assert!(world.run(&["history", "--json", "chatter"]).ok().out.is_empty());
    assert_eq!(world.run(&["rooms", "--json"]).ok().objects()[0]["history"], false);
    let mut script = world.listen(&["--since", &id, "chatter"]);
    assert_eq!(script.next("what comes first")["type"], "gap");
}

#[test]
fn unusable_database_is_named_and_not_changed() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "precious"]).ok();
    world.end(&mut server);
    let path = world.dir.join("history.db");
    let good = std::fs::read(&path).unwrap();
    let refused = |why: &str| {
        let before = std::fs::read(&path).unwrap();
        let done = world.run(&["serve"]).exits(1);
        assert!(done.err.contains("history.db") && done.err.contains(why), "{}", done.err);
        assert!(std::fs::read(&path).unwrap() == before, "it is left alone");
    };
    std::fs::write(&path, b"this is no database at all, and long enough to be sure of it").unwrap();
    refused("damaged");
    let mut torn = good.clone();
    torn[200..].fill(0xaa);
    std::fs::write(&path, &torn).unwrap();
    refused("damaged");
    // Another program's, and a newer moot's.
    std::fs::remove_file(&path).unwrap();
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(foreign);
    refused("another program");
    std::fs::write(&path, &good).unwrap();
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    refused("99");
    // Without it the server still serves.
    let _without = world.serve_with(&["--history", "off"]);
    world.run(&["send", "dev", "hi"]).ok();
    drop(_without);
    std::fs::write(&path, &good).unwrap();
    let _server = world.serve();
    assert_eq!(texts(&world.run(&["history", "--json", "dev"]).ok()), ["precious"]);
}

#[test]
fn damaged_history_is_reported_and_serves_the_rest() {
    let world = World::with_config("[history]\nkeep = \"1h\"\n");
    let mut server = world.serve();
    let lines: String = (1..=2_000).map(|n| format!("line {n}\n")).collect();
    world.run_with_input(&["send", "--lines", "dev"], lines.as_bytes()).ok();
    world.run(&["send", "ops", "line of another room"]).ok();
    world.run(&["status"]).ok();
    world.end(&mut server);
    let path = world.dir.join("history.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf' \
               ORDER BY path LIMIT 1";
    let page: usize = db.query_row(sql, (), |row| row.get(0)).unwrap();
    drop(db);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(page - 1) * 4096..][..4096].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_file(world.dir.join("search.db")).unwrap();
    let mut server = world.serve();
    eventually("status reports it", || world.run(&["status"]).code == 1);
    let status = world.run(&["status", "--json"]).exits(1).objects();
    let degraded = status[0]["degraded"].as_array().unwrap();
    assert!(degraded.len() == 1 && degraded[0].as_str().unwrap().contains("is damaged"));
    let history = world.run(&["history", "--json", "dev"]).ok().objects();
    let left: Vec<_> = history.iter().filter_map(|of| of["text"].as_str()).collect();
    assert!(left.len() > 1_500 && left.last() == Some(&"line 2000"), "{}", left.len());
    let found = || texts(&world.run(&["search", "--json", "--last", "5000", "line"]).ok()).len();
    eventually("the rest is found", || found() == left.len() + 1);
    let rooms = world.run(&["rooms", "--json"]).ok().objects();
    assert_eq!(rooms.len(), 2, "{rooms:?}");
    let mut logged = || server.errors().matches("is damaged").count();
    eventually("the log has it", || logged() > 0);
    let uptime = || world.run(&["status", "--json"]).objects()[0]["uptime_s"].as_u64();
    eventually("some more looks", || uptime() >= Some(2));
    assert_eq!(logged(), 1);
}

// A small file system of one's own.
#[cfg(unix)]
#[test]
fn a_full_disk_refuses_clearly_and_recovers_by_itself() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let disk = world.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3m,mode=755", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        // No file system of one's own here.
        return;
    }
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let mounted = Mounted(disk.clone());
    let runtime = world.path("runtime");
    std::fs::create_dir(&runtime).unwrap();
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).unwrap();
    let moot = |args: &[&str]| {
        let mut command = world.moot(args);
        command
            .env_remove("MOOT_SERVER")
            .env("XDG_STATE_HOME", &disk)
            .env("XDG_RUNTIME_DIR", &runtime);
        command
    };
    let mut server = Process::spawn(moot(&["serve"]));
    assert!(server.line("ready").starts_with("listening"));
    Done::of(moot(&["send", "dev", "before"]), None).ok();
    let mut listen = moot(&["listen", "--json", "--no-start", "dev"]);
    listen.stdin(Stdio::null());
    let mut bob = Process::ready(listen);
    std::fs::write(disk.join("ballast"), vec![0; 8 << 20]).unwrap_err();
    let text = "x".repeat(20_000);
    let mut sent = Vec::new();
    let refused = loop {
        let line = format!("{} {text}", sent.len());
        let done = Done::of(moot(&["send", "dev", &line]), None);
        if done.code != 0 {
            break done;
        }
        sent.push(line);
        assert!(sent.len() < 1_000, "the disk is never full");
    };
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("disk full"), "{}", refused.err);
    Done::of(moot(&["announce", "x"]), None).exits(1);
    // Reading goes on, and the state is told.
    let history = Done::of(moot(&["history", "--json", "dev"]), None).ok();
    assert_eq!(history.objects().len(), sent.len() + 1);
    let status = Done::of(moot(&["status"]), None).exits(1);
    assert!(status.err.contains("degraded"), "{}", status.err);
    assert_eq!(bob.texts(sent.len()), sent, "what was refused is shown to nobody");
    // Room again.
    std::fs::remove_file(disk.join("ballast")).unwrap();
    Done::of(moot(&["send", "dev", "after"]), None).ok();
    assert_eq!(bob.texts(1), ["after"]);
    Done::of(moot(&["status"]), None).ok();
    drop((bob, server, mounted));
}

/// One sender that comes back by itself: what it said, what was acknowledged, what it saw.
#[derive(Default)]
struct Log {
    acknowledged: HashMap<String, u64>,
    refused: Vec<String>,
    seen: Vec<(u64, String)>,
}

fn talk(dir: &Path, id: usize, stop: &AtomicBool, log: &Mutex<Log>) {
    let places = os::resolve(Some(dir.to_str().unwrap()), &os::Env::from_process()).unwrap();
    let mut instance = [0; 16];
    instance[0] = u8::try_from(id + 1).unwrap();
    let room = RoomName::new("dev").unwrap();
    let follows = Follows {
        follow: vec![Follow::Room(room.clone())],
        begin: Begin::Now,
        begin_of: Vec::new(),
        membership: false,
        keep: false,
        will: None,
    };
    // The server may be killed in the middle of this, too.
    let mut joined = None;
    eventually("a session", || {
        let Ok(connection) = Connection::open(&places.socket(), PATIENCE) else { return false };
        let hello = Hello::new(None, Kind::Script, instance);
        joined = Member::join(connection, places.clone(), hello, follows.clone(), None).ok();
        joined.is_some()
    });
    let mut member = joined.unwrap();
    let mut said = 0;
    let mut open: std::collections::VecDeque<String> = std::collections::VecDeque::new();
    let deadline = || Some(Instant::now() + Duration::from_millis(2));
    let mut give_up = None;
    loop {
        let stopping = stop.load(Ordering::SeqCst);
        if stopping {
            let at = *give_up.get_or_insert_with(|| Instant::now() + PATIENCE);
            assert!(Instant::now() < at, "{} never acknowledged", member.unacked());
            if member.unacked() == 0 && member.has_shown_all() {
                return;
            }
        } else if member.unacked() < 8 {
            said += 1;
            let text = format!("{id} {said}");
            open.push_back(text.clone());
            member.say(Target::Room(room.clone()), None, text.try_into().unwrap());
        }
        match member.wait::<()>(None, deadline()) {
            Wake::Event(Event::Sent(sent)) => {
                // Acknowledgements of one instance come in order.
                let text = open.pop_front().unwrap();
                log.lock().unwrap().acknowledged.insert(text, sent.id.seq);
            }
            Wake::Event(Event::Rejected(refusal)) => {
                let text = open.pop_front().unwrap();
                log.lock().unwrap().refused.push(format!("{text}: {refusal:?}"));
            }
            Wake::Event(Event::Message(message)) => {
                log.lock().unwrap().seen.push((message.id.seq, message.text));
            }
            Wake::Event(Event::Gap { .. }) => panic!("nothing is lost"),
            other @ Wake::Event(Event::NotFollowed(..) | Event::Reply(..) | Event::Ended(_)) => {
                panic!("{other:?}")
            }
            Wake::Event(_) | Wake::TimedOut => {}
            Wake::Item(_) => panic!("there is no mailbox"),
        }
    }
}

/// `MOOT_KILLS=10000 cargo test --test program killed_server_loses -- --nocapture` for a long run.
#[test]
fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let kills: Option<u32> = std::env::var("MOOT_KILLS").ok().and_then(|n| n.parse().ok());
    let kills = kills.unwrap_or(super::machine::KILLS);
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "0 0"]).ok();
    let stop = Arc::new(AtomicBool::new(false));
    let talkers: Vec<_> = (1..=8)
        .map(|id| {
            let log = Arc::new(Mutex::new(Log::default()));
            let (dir, stop, own) = (world.dir.clone(), Arc::clone(&stop), Arc::clone(&log));
            (std::thread::spawn(move || talk(&dir, id, &stop, &own)), log)
        })
        .collect();
    let mut random: u64 = 88_172_645_463_325_252;
    for _ in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Any moment: in the middle of a commit, of a publication, of a handshake.
        std::thread::sleep(Duration::from_micros(random % 30_000));
        server.kill();
        server = world.serve();
    }
    stop.store(true, Ordering::SeqCst);
    for (talker, _) in &talkers {
        eventually("the end of a talker", || talker.is_finished());
    }
    let history = world.run(&["history", "--json", "dev"]).ok().objects();
    let by_seq: HashMap<u64, String> = history
        .iter()
        .map(|m| (m["seq"].as_u64().unwrap(), m["text"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(by_seq.len(), history.len(), "each number once");
    assert_eq!(by_seq.keys().max(), Some(&(by_seq.len() as u64)), "no number is left out");
    let mut by_text: HashMap<&String, u64> = HashMap::new();
    for (seq, text) in &by_seq {
        assert_eq!(by_text.insert(text, *seq), None, "{text} stands twice");
    }
    let mut acknowledged = 0;
    for (talker, log) in talkers {
        talker.join().unwrap();
        let log = log.lock().unwrap();
        assert!(log.refused.is_empty(), "{:?}", log.refused);
        for (text, seq) in &log.acknowledged {
            assert_eq!(by_text.get(text), Some(seq), "{text} was acknowledged as {seq}");
            acknowledged += 1;
        }
        let mut next = log.seen.first().map_or(0, |(seq, _)| *seq);
        for (seq, text) in &log.seen {
            assert_eq!(*seq, next, "a hole or a double");
            assert_eq!(&by_seq[seq], text, "two texts for one number");
            next = seq + 1;
        }
    }
    use std::io::Write;
    writeln!(std::io::stderr(), "{kills} kills, {acknowledged} acknowledged, none lost").unwrap();
}

#[test]
fn a_member_is_told_when_an_older_history_was_put_back() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "one"]).ok();
    world.end(&mut server);
    let path = world.dir.join("history.db");
    let copy = std::fs::read(&path).unwrap();
    let mut server = world.serve();
    let mut bob = world.listen(&["dev"]);
    for text in ["two", "three"] {
        world.run(&["send", "dev", text]).ok();
    }
    assert_eq!(bob.texts(2), ["two", "three"]);
    bob.signal("STOP");
    world.end(&mut server);
    std::fs::write(&path, copy).unwrap();
    let _server = world.serve();
    // Numbers 2 and 3 are given again before bob looks: what bob saw under them is no longer what
    // stands there, and by the numbers alone nobody could tell.
    for text in ["another two", "another three"] {
        world.run(&["send", "dev", text]).ok();
    }
    bob.signal("CONT");
    bob.next_of("ready");
    assert_eq!(bob.next("a gap")["reason"], "run");
    world.run(&["send", "dev", "four"]).ok();
    let message = bob.next_of("message");
    assert_eq!((&message["text"], &message["seq"]), (&"four".into(), &4.into()));
}

#[test]
fn members_go_on_in_their_rooms_after_the_history_was_lost() {
    // With and without the note that tells histories apart.
    for lost in [
        ["history.db", "history.db-wal", "none"],
        ["history.db", "history.db-wal", "history.epoch"],
    ] {
        let world = World::new();
        let mut server = world.serve();
        let mut bob = world.listen(&["dev", "den"]);
        world.run(&["send", "dev", "one"]).ok();
        assert_eq!(bob.next("a text")["text"], "one");
        world.end(&mut server);
        for file in lost {
            // The log is gone after a clean end.
            let _ = std::fs::remove_file(world.dir.join(file));
        }
        let _server = world.serve();
        bob.next_of("ready");
        let mut gaps = [bob.next_of("gap"), bob.next_of("gap")].map(|gap| gap["room"].clone());
        gaps.sort_by_key(ToString::to_string);
        assert_eq!(gaps, ["den", "dev"]);
        world.run(&["send", "dev", "another first"]).ok();
        let message = bob.next("what comes next");
        assert_eq!((&message["text"], &message["seq"]), (&"another first".into(), &1.into()));
    }
}

#[test]
fn messages_of_others_after_many_own_ones_are_unread() {
    let world = World::new();
    let _server = world.serve();
    world.run_with_input(&["join", "dev"], b"").ok();
    let own: String = (1..=10_100).map(|n| format!("{n}\n")).collect();
    world.run_with_input(&["send", "--lines", "dev"], own.as_bytes()).ok();
    world.run(&["send", "--as", "ci", "dev", "an answer"]).ok();
    assert_eq!(world.run(&["rooms", "--json"]).ok().objects()[0]["unread"], 1);
    // However often it is named.
    assert_eq!(texts(&world.run(&["read", "--json", "dev", "dev"]).ok()), ["an answer"]);
    assert_eq!(world.run(&["read"]).ok().out, "");
}

#[test]
fn search_finds_text_after_a_zero_byte_and_since_a_message() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "dev", "needle one"]).ok();
    world.run_with_input(&["send", "dev"], b"before\0needle two").ok();
    world.run(&["send", "dev", "needle three"]).ok();
    let found = |args: &[&str]| texts(&world.run(args).ok()).len();
    eventually("all of them, indexed or not", || found(&["search", "--json", "needle"]) == 3);
    assert_eq!(found(&["search", "--json", "--since", "dev:2", "needle"]), 1);
    world.run(&["search", "--since", "dev:9", "needle"]).exits(5);
    world.run(&["search", "nee\u{1}dle"]).exits(1);
}

/// `fixtures/history-v1.db` was written by the first version of the tables. It stays as it is: whatever
/// the tables become, what was said then is still there.
#[test]
fn a_history_of_the_first_version_is_read_and_goes_on() {
    let world = World::new();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/fixtures/history-v1.db");
    std::fs::create_dir(&world.dir).unwrap();
    std::fs::copy(fixture, world.dir.join("history.db")).unwrap();
    let _server = world.serve();
    let said = world.run(&["history", "--json", "dev"]).ok();
    assert_eq!(
        texts(&said),
        ["첫 빌드를 시작합니다", "build 17 failed: see the log @root", "고쳤습니다"]
    );
    let reply = &said.objects()[1];
    assert_eq!((&reply["from"]["name"], &reply["reply_to"]), (&"root/ci".into(), &"dev:1".into()));
    assert_eq!(texts(&world.run(&["search", "--json", "빌드"]).ok()), ["첫 빌드를 시작합니다"]);
    let rooms = world.run(&["rooms", "--json"]).ok().objects();
    let rooms: Vec<_> = rooms
        .iter()
        .map(|r| (r["name"].as_str(), r["topic"].as_str(), r["history"].as_bool()))
        .collect();
    let room = |name, topic, history| (Some(name), Some(topic), Some(history));
    assert_eq!(rooms, [room("dev", "빌드와 배포", true), room("quick", "", false)]);
    assert_eq!(world.run(&["send", "--json", "dev", "next"]).ok().objects()[0]["seq"], 4);
    world.run(&["history", "old"]).exits(5);
    assert_eq!(world.run(&["send", "--json", "old", "again"]).ok().objects()[0]["seq"], 2);
    if is_root() {
        assert_eq!(texts(&world.run(&["history", "--json", "@nobody"]).ok()), ["메일입니다"]);
        assert_eq!(world.run(&["rooms", "--json"]).ok().objects()[0]["unread"], 1);
    }
}

#[test]
fn two_of_the_longest_texts_are_found_at_once() {
    let world = World::new();
    let _server = world.serve();
    let text = format!("needle{}", "x".repeat(32 * 1024 - 6));
    for _ in 0..3 {
        world.run_with_input(&["send", "dev"], text.as_bytes()).ok();
    }
    assert_eq!(world.run(&["search", "needle", "--json"]).ok().objects().len(), 3);
}
