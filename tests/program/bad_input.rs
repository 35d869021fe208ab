//! Garbage, forbidden names, texts that do not fit, places that are none: a clear error, and the others are served on.

use std::time::Duration;
#[cfg(unix)]
use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
};

use super::{
    machine::{self, RawStream},
    world::{Done, OTHER_UID, PATIENCE, Process, World, eventually, is_root},
};

const HELLO: u8 = 1;
const SUBMIT: u8 = 17;
const WELCOME: u8 = 65;
const REFUSED: u8 = 66;

fn frame(version: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[b'm', b't', version, kind], &length[..], body].concat()
}

fn hello(protocol: u8) -> Vec<u8> {
    let body = format!(r#"{{"protocol":{protocol},"kind":"script","instance":"{:032x}"}}"#, 1);
    frame(1, HELLO, body.as_bytes())
}

/// A connection that speaks bytes of its own.
struct Raw(RawStream);

impl Raw {
    fn open(world: &World) -> Self {
        Self(RawStream::connect(&world.dir.join("socket"), PATIENCE))
    }

    /// Says something; the server may have hung up already.
    fn say(mut self, bytes: &[u8]) -> Self {
        let _ = self.0.write_within(bytes, PATIENCE);
        self
    }

    /// Has said all there is to say.
    fn done(mut self) -> Self {
        self.0.end_of_words();
        self
    }

    /// All it is told until the server ends the connection.
    #[track_caller]
    fn until_ended(mut self) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return all,
                Ok(bytes) => all.extend_from_slice(&buffer[..bytes]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return all,
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return all,
                Err(e) => panic!("the server does not end the connection: {e}"),
            }
        }
    }
}

/// The server is there for others, and its memory of the peace is unbroken.
#[track_caller]
fn serves(world: &World, bob: &mut Process, text: &str) {
    world.run(&["send", "dev", text]).ok();
    assert_eq!(bob.texts(1), [text]);
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let mut random: u64 = 1;
    let mut noise = |n: usize| -> Vec<u8> {
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        };
        (0..n).map(|_| next()).collect()
    };
    let mut huge = frame(1, SUBMIT, b"");
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let many_zeros = vec![0; 1 << 20];
    let bad: Vec<Vec<u8>> = vec![
        noise(1),
        noise(100_000),
        many_zeros,
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        frame(1, HELLO, b"{}"),
        frame(1, HELLO, b"not json"),
        frame(1, HELLO, &noise(1_000)),
        frame(1, SUBMIT, b"before the handshake"),
        [hello(1), huge].concat(),
        [hello(1), frame(1, SUBMIT, &noise(500))].concat(),
        [hello(1), frame(1, SUBMIT, b"")].concat(),
        [hello(1), frame(1, 16, &noise(64))].concat(),
        [hello(1), frame(1, 18, &noise(7))].concat(),
        [hello(1), frame(1, 19, &noise(9))].concat(),
        [hello(1), frame(1, 250, b"")].concat(),
        [hello(1), frame(9, SUBMIT, b"")].concat(),
        [hello(1), hello(1)].concat(),
    ];
    for (at, bytes) in bad.iter().enumerate() {
        let mut raw = Raw::open(&world).say(bytes);
        if at == 0 {
            // One byte may be the first of a frame: it takes the handshake's time to be sure.
            raw = raw.done();
        }
        raw.until_ended();
        serves(&world, &mut bob, &format!("after garbage {at}"));
    }
    eventually("no session is left of it", || world.who(&["--all"]).0.len() == 1);
}

#[test]
fn server_survives_truncated_and_flipped_bytes() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let good =
        [hello(1), frame(1, SUBMIT, &[1, 0, 3, b'd', b'e', b'v', 0, 1, 0, 2, b'h', b'i'])].concat();
    for cut in 0..good.len() {
        Raw::open(&world).say(&good[..cut]).done().until_ended();
    }
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        Raw::open(&world).say(&bytes).done().until_ended();
    }
    world.run(&["send", "dev", "still here"]).ok();
    while bob.texts(1) != ["still here"] {}
}

#[test]
fn a_handshake_or_a_frame_that_never_ends_is_ended() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let silent = Raw::open(&world);
    let slow = Raw::open(&world).say(&hello(1)[..20]);
    let unfinished = Raw::open(&world).say(&hello(1)).say(&frame(1, SUBMIT, &[0; 100])[..50]);
    serves(&world, &mut bob, "meanwhile");
    silent.until_ended();
    slow.until_ended();
    unfinished.until_ended();
    serves(&world, &mut bob, "afterwards");
}

#[test]
fn time_of_a_stopped_server_does_not_count() {
    let world = World::new();
    let server = world.serve();
    let begun = Raw::open(&world).say(&hello(1)[..20]);
    // A question that is answered: what was said before it has been read.
    world.run(&["status"]).ok();
    server.signal("STOP");
    // The time of a handshake.
    std::thread::sleep(Duration::from_millis(2_500));
    server.signal("CONT");
    world.run(&["status"]).ok();
    let answer = begun.say(&hello(1)[20..]).say(&frame(1, REFUSED, b"")).until_ended();
    assert_eq!(answer[3], WELCOME, "no welcome: {answer:?}");
}

#[test]
fn another_version_is_named_with_both_numbers_and_what_to_do() {
    let world = World::new();
    let _server = world.serve();
    let answer = Raw::open(&world).say(&hello(9)).until_ended();
    assert_eq!(answer[3], REFUSED);
    let length = u32::from_le_bytes(answer[4..8].try_into().unwrap()) as usize;
    let refused: serde_json::Value = serde_json::from_slice(&answer[8..8 + length]).unwrap();
    assert_eq!(refused["code"], 7);
    let text = refused["text"].as_str().unwrap();
    assert!(text.contains('9') && text.contains('1') && text.contains("moot stop"), "{text}");
}

// The server of another time is a socket here.
#[cfg(unix)]
#[test]
fn a_newer_server_gives_exit_code_7() {
    // A server of another time: it refuses in the frozen words.
    let world = World::new();
    machine::private_dir(&world.dir);
    let socket = std::os::unix::net::UnixListener::bind(world.dir.join("socket")).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = socket.accept() {
            let mut head = [0; 8];
            stream.read_exact(&mut head).unwrap();
            let body = br#"{"code":7,"text":"protocol 1 is spoken no more; this is 9","protocol":9,"version":"9.0","new":true}"#;
            stream.write_all(&frame(9, REFUSED, body)).unwrap();
        }
    });
    for args in [&["send", "dev", "hi"][..], &["listen", "dev"], &["join"], &["rooms"]] {
        let done = world.run(args).exits(7);
        assert!(done.err.contains('9'), "{}", done.err);
    }
}

#[test]
fn names_that_are_none_are_refused_before_anything_is_sent() {
    let world = World::new();
    let long = "x".repeat(65);
    let bad_rooms = ["", ".hidden", "-x", "a b", "a/b", "a\nb", "a\u{1b}[2J", "🎉", "#dev", &long];
    for room in bad_rooms {
        let done = world.run(&["send", "--no-start", room, "hi"]).exits(2);
        assert!(!done.err.contains('\u{1b}'), "{}", done.err);
    }
    for label in ["a b", "a/b", "\u{7}", &long] {
        world.run(&["--as", label, "--no-start", "send", "dev", "hi"]).exits(2);
    }
    for target in ["@", "@/ci", "@ann/", "@a b"] {
        world.run(&["send", "--no-start", target, "hi"]).exits(2);
    }
    world.run(&["listen", "--no-start", "@ann/ci"]).exits(2);
}

#[test]
fn usage_errors_say_what_is_missing() {
    let world = World::new();
    let done = world.run(&["--json", "send"]).exits(2);
    let error: serde_json::Value = serde_json::from_str(done.err.trim()).unwrap();
    assert_eq!((&error["type"], &error["code"]), (&"error".into(), &2.into()));
    assert!(error["text"].as_str().unwrap().contains("TARGET"), "{error}");
    let done = world.run(&["send"]).exits(2);
    assert!(done.err.contains("TARGET"), "{}", done.err);
    world.run(&["nonsense"]).exits(2);
    world.run(&["who", "--timeout", "5 minutes"]).exits(2);
}

#[test]
fn a_text_of_32_kib_goes_and_one_byte_more_does_not() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let most = "가".repeat(32 * 1024 / 3) + "xx";
    assert_eq!(most.len(), 32 * 1024);
    world.run_with_input(&["send", "dev"], most.as_bytes()).ok();
    // The final newline of a file is no part of the message.
    world.run_with_input(&["send", "dev", "-"], format!("{most}\n").as_bytes()).ok();
    assert_eq!(bob.texts(2), [most.clone(), most.clone()]);
    let done = world.run_with_input(&["send", "dev"], format!("{most}x").as_bytes()).exits(2);
    assert!(done.err.contains("32768"), "{}", done.err);
    world.run_with_input(&["send", "dev"], &vec![b'x'; 10 << 20]).exits(2);
    world.run(&["send", "dev", ""]).exits(2);
    world.run_with_input(&["send", "dev"], b"\n").exits(2);
    serves(&world, &mut bob, "afterwards");
}

#[test]
fn invalid_utf_8_is_refused_with_its_place() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let done = world.run_with_input(&["send", "dev"], "안녕\u{1}\u{1}".as_bytes());
    done.ok();
    let done = world.run_with_input(&["send", "dev"], b"abc\xffdef").exits(2);
    assert!(done.err.contains("byte 3"), "{}", done.err);
    let done = world.run_with_input(&["send", "--json", "dev"], b"\xed\xa0\x80").exits(2);
    let error: serde_json::Value = serde_json::from_str(done.err.trim()).unwrap();
    assert_eq!(error["code"], 2);
    // With --lines the good lines go, the bad one is named, and the exit code tells.
    let done = world.run_with_input(&["send", "--lines", "dev"], b"one\nt\xffwo\nthree\n").exits(2);
    assert!(done.err.contains("line 2") && done.err.contains("byte 1"), "{}", done.err);
    let long = [&b"x".repeat(100_000)[..], b"\nfour\n"].concat();
    world.run_with_input(&["send", "--lines", "dev"], &long).exits(2);
    assert_eq!(bob.texts(4), ["안녕\u{1}\u{1}", "one", "three", "four"]);
}

#[test]
fn control_and_bidirectional_characters_are_escaped() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = Process::spawn(world.moot(&["listen", "--no-start", "dev"]));
    eventually("the note that it is connected", || bob.errors().contains("connected"));
    let evil = "\u{1b}]0;title\u{7}\u{1b}[2Ja\r[09:00] root: b\u{202e}c\u{2066}\u{9b}31m";
    world.run(&["send", "dev", evil]).ok();
    world.run(&["send", "dev", "line\n[09:00] root: second"]).ok();
    let first = bob.line("the evil message");
    let bad = |c: char| {
        c.is_control()
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    assert!(!first.contains(bad), "{first:?}");
    assert!(first.contains("title") && first.contains('c'), "nothing is hidden: {first:?}");
    assert!(bob.line("a line").ends_with("line"));
    let second = bob.line("its second line");
    assert!(second.starts_with("        [09:00]"), "{second:?}");
    // Programs get the bytes: JSON, and --raw into a pipe.
    let mut program = world.listen(&["--last", "2", "dev"]);
    assert_eq!(program.texts(1), [evil]);
    let raw = world.run(&["listen", "--raw", "--last", "2", "--count", "1", "dev"]).ok();
    assert_eq!(raw.out, format!("{evil}\n"));
    // Topics and status texts are texts of others as well.
    world.run(&["room", "topic", "dev", evil]).ok();
    let rooms = world.run(&["rooms"]).ok().out;
    assert!(rooms.contains("title") && !rooms.replace('\n', "").contains(bad), "{rooms:?}");
    let _ann = world.join(&["--kind", "person", "dev"]);
    world.run(&["away", evil]).ok();
    let who = world.run(&["who"]).ok().out;
    assert!(who.contains("title") && !who.replace('\n', "").contains(bad), "{who:?}");
}

#[test]
fn unicode_texts_are_unchanged_and_names_compare_in_nfc() {
    let world = World::new();
    let _server = world.serve();
    // Composed and decomposed are the same room.
    let mut bob = world.listen(&["회의"]);
    let decomposed = "\u{1112}\u{116c}\u{110b}\u{1174}";
    let text = "점심 \u{1100}\u{1161} e\u{301} 👩‍👩‍👧 أهلا";
    let sent = world.run(&["send", "--json", "--as", "철수-봇", decomposed, text]).ok().objects();
    let message = bob.next_of("message");
    assert_eq!(message["text"], text, "texts are not normalised");
    assert_eq!(sent[0]["room"], "회의", "rooms are called as they were first");
    assert!(message["from"]["name"].as_str().unwrap().ends_with("/철수-봇"));
    world.run(&["send", "DEV", "x"]).ok();
    assert_eq!(world.run(&["send", "--json", "dev", "x"]).ok().objects()[0]["room"], "DEV");
    assert_eq!(world.run(&["rooms", "--json"]).ok().objects().len(), 2);
}

#[test]
fn places_that_can_be_no_servers_are_explained() {
    let world = World::new();
    // Paths of sockets are bounded.
    #[cfg(unix)]
    {
        let deep = world.path(&format!("{}/s", "d".repeat(100)));
        let deep = deep.to_str().unwrap();
        for args in [
            &["--server", deep, "send", "dev", "x"][..],
            &["--server", deep, "serve"],
            &["--server", deep, "who"],
        ] {
            let done = world.run(args).exits(2);
            assert!(done.err.contains("107"), "{}", done.err);
        }
    }
    world.run(&["--server", "a b", "who"]).exits(2);
    // A file in the place of a directory.
    std::fs::write(world.path("file"), "x").unwrap();
    let file = world.path("file");
    let done = world.run(&["--server", &format!("{}/", file.display()), "send", "dev", "x"]);
    assert!([1, 3].contains(&done.code), "{} {}", done.code, done.err);
    assert!(done.err.contains("file"), "{}", done.err);
    #[cfg(unix)]
    {
        // No place at all, and a runtime directory that is not there.
        let mut nowhere = world.moot(&["send", "dev", "x"]);
        nowhere.env_remove("HOME").env_remove("MOOT_SERVER");
        if !is_root() {
            let done = Done::of(nowhere, None).exits(1);
            assert!(done.err.contains("HOME"), "{}", done.err);
        }
        let mut fallen_back = world.moot(&["send", "dev", "x"]);
        fallen_back.env_remove("MOOT_SERVER").env("XDG_STATE_HOME", world.path("state"));
        fallen_back.env("XDG_RUNTIME_DIR", world.path("absent"));
        let done = Done::of(fallen_back, None).ok();
        assert!(done.err.contains("starting one"), "{}", done.err);
        let mut stop = world.moot(&["stop"]);
        stop.env_remove("MOOT_SERVER").env("XDG_STATE_HOME", world.path("state"));
        Done::of(stop, None).ok();
    }
}

#[test]
fn a_directory_without_permission_is_exit_code_4() {
    if !is_root() {
        return;
    }
    let world = World::new();
    machine::private_dir(&world.dir);
    let moot = world.copy_of_moot();
    for args in [&["send", "dev", "x"][..], &["serve"], &["who"], &["listen", "dev"], &["status"]] {
        let done = Done::of(world.program_as(OTHER_UID, &moot, args), None);
        assert_eq!(done.code, 4, "{args:?}: {}", done.err);
    }
}

#[test]
fn a_configuration_with_a_mistake_names_it() {
    let world = World::new();
    let config = world.path("bad.toml");
    for (text, says) in [
        ("[limits]\nsessions = 0", "limits.sessions"),
        ("[broadcast]\nmode = \"loud\"", "auto"),
        ("colour = 1", "colour"),
        ("[server]\nallow = [\"@a b\"]", "@user"),
        ("[server", "bad.toml"),
    ] {
        std::fs::write(&config, text).unwrap();
        let done = world.run(&["--config", config.to_str().unwrap(), "serve", "--check"]).exits(2);
        assert!(done.err.contains(says), "{text}: {}", done.err);
    }
    world.run(&["--config", "/nowhere/moot.toml", "serve", "--check"]).exits(2);
    world.run(&["serve", "--check"]).ok();
}

// A POSIX shell and /dev/full.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
    let world = World::new();
    let _server = world.serve();
    for n in 0..20 {
        world.run(&["send", "dev", &format!("line {n}")]).ok();
    }
    let moot = env!("CARGO_BIN_EXE_moot");
    let shell = |line: &str| {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &format!("{line}; echo ${{PIPESTATUS[0]}}")]);
        command.env("MOOT_SERVER", &world.dir).env("MOOT", moot);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        Done::of(command, None).ok().out
    };
    let out = shell("\"$MOOT\" listen --raw --last 20 dev | head -1");
    assert_eq!(out, "line 0\n0\n");
    for verb in ["who", "rooms", "--help", "status"] {
        assert_eq!(shell(&format!("\"$MOOT\" {verb} > /dev/full")), "1\n", "{verb}");
    }
}

#[test]
fn time_limits_end_with_124() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["listen", "--timeout", "50ms", "dev"]).exits(124);
    world.run(&["listen", "--idle", "50ms", "dev"]).exits(1);
    server.signal("STOP");
    for args in [&["send", "dev", "x"][..], &["rooms"], &["announce", "x"]] {
        let mut all = vec!["--timeout", "200ms"];
        all.extend(args);
        world.run(&all).exits(124);
    }
    let (_, code) = world.who(&[]);
    assert_eq!(code, 0);
    server.signal("CONT");
    world.run(&["send", "dev", "x"]).ok();
    // Who was asked to end, and did not in time, ends when he wakes.
    server.signal("STOP");
    world.run(&["--timeout", "200ms", "stop"]).exits(124);
    server.signal("CONT");
    assert_eq!(server.code(), 0);
}

/// Request frames by the dozen in few bytes, none of whose answers is read.
#[test]
fn questions_whose_answers_nobody_reads_cost_the_server_little() {
    let world = World::new();
    let server = world.serve();
    for n in 0..40 {
        world.run(&["room", "create", &format!("room{n}")]).ok();
        world.run(&["room", "topic", &format!("room{n}"), &"x".repeat(1_000)]).ok();
    }
    let memory_kib = || machine::memory_kib(server.pid());
    let before = memory_kib();
    // `Rooms { skip: 0 }`, five thousand times a connection, and as many questions for the status.
    let rooms: Vec<u8> = (1..=5_000).flat_map(|_| frame(1, 16, &[1, 4, 0])).collect();
    let status: Vec<u8> = (0..5_000).flat_map(|_| frame(1, 3, &[])).collect();
    let greedy: Vec<Raw> = (0..8)
        .map(|_| {
            let mut raw = Raw::open(&world);
            for bytes in [&hello(1), &rooms, &status] {
                let _ = raw.0.write_within(bytes, Duration::from_millis(200));
            }
            raw
        })
        .collect();
    let mut bob = world.listen(&["dev"]);
    serves(&world, &mut bob, "meanwhile");
    let grown = memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for 8 connections");
    drop(greedy);
}

#[test]
fn a_member_with_a_false_window_does_not_shut_the_room() {
    use moot::{
        chat::{
            frames::Report,
            member::Kind,
            names::RoomName,
            reply::Reply,
            request::{Begin, Follow, Request, SessionRequest},
        },
        client::Link,
        session::Connection,
        wire::hello::Hello,
    };
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let connection = Connection::open(&world.dir.join("socket"), PATIENCE).unwrap();
    let mut hostile = Link::open(connection, &Hello::new(None, Kind::Script, [5; 16]));
    let follow = Follow::Room(RoomName::new("dev").unwrap());
    let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
    let Reply::Joined(infos) = hostile.ask(&join).unwrap() else { panic!() };
    let stream = infos[0].tag;
    hostile
        .ask(&Request::Session(SessionRequest::Listening {
            stream,
            charge_bytes: 0,
            slot: [0; 16],
        }))
        .unwrap();
    // "I hear everything", and nothing after that.
    let report = Report { stream, delivered: 0, by_broadcast: 0, datagrams: 1 };
    hostile.queue_report(&report);
    hostile.flush().unwrap();
    let text = "x".repeat(32 * 1024);
    for _ in 0..100 {
        world.run(&["send", "dev", "small"]).ok();
        world.run_with_input(&["send", "dev"], text.as_bytes()).ok();
    }
    assert_eq!(bob.texts(200).len(), 200);
}

#[test]
fn long_words_of_a_client_are_not_repeated_to_the_end() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let long = "v".repeat(65_000);
    for body in [
        format!(r#"{{"protocol":2,"version":"{long}"}}"#),
        format!(r#"{{"protocol":1,"kind":"{long}"}}"#),
    ] {
        for _ in 0..70 {
            Raw::open(&world).say(&frame(1, HELLO, body.as_bytes()));
        }
    }
    // Unfinished handshakes of one user are bounded; each that ends makes room again.
    eventually("an answer", || {
        let answer = Raw::open(&world).say(&frame(1, HELLO, b"{}")).until_ended();
        !answer.is_empty() && !String::from_utf8_lossy(&answer).contains("unfinished")
    });
    serves(&world, &mut bob, "afterwards");
}

#[test]
fn user_can_not_name_another_user() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["@"]);
    let own = moot::os::own_uid();
    for alias in [format!("@#{own}"), format!("@#+{own}"), format!("@#0{own}")] {
        world.run(&["send", &alias, "x"]).exits(5);
    }
    let name = moot::os::user_name(own).unwrap();
    world.run(&["send", &format!("@{name}"), "x"]).ok();
    assert_eq!(bob.next_of("direct")["with"], name.as_str());
}

// Modes of directories.
#[cfg(unix)]
#[test]
fn a_directory_that_others_could_exchange_is_not_trusted() {
    let world = World::new();
    let shared = world.path("shared");
    std::fs::create_dir(&shared).unwrap();
    let dir = shared.join("s").display().to_string();
    let _server = {
        let mut command = world.moot(&["--server", &dir, "serve"]);
        command.stdin(std::process::Stdio::null());
        let mut server = Process::spawn(command);
        assert!(server.line("ready").starts_with("listening"));
        server
    };
    world.run(&["--server", &dir, "send", "dev", "x"]).ok();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    let done = world.run(&["--server", &dir, "send", "dev", "a secret"]).exits(4);
    assert!(done.err.contains("not safe"), "{}", done.err);
}

#[test]
fn list_of_an_unknown_room_does_not_wait_for_a_hung_server() {
    let world = World::new();
    let server = world.serve();
    let _bob = world.listen(&["dev"]);
    world.run(&["who", "nosuch"]).exits(5);
    server.signal("STOP");
    eventually("the server is seen to hang", || {
        world.run(&["who", "dev"]).err.contains("not responding")
    });
    let done = world.run(&["who", "nosuch"]).ok();
    assert!(done.err.contains("not responding"), "{}", done.err);
    let mut status = world.moot(&["status"]);
    status.env("MOOT_SERVER", "a b");
    Done::of(status, None).exits(2);
    server.signal("CONT");
}
