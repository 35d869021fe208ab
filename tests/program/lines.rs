//! `send --lines`: each line is stored once, over restarts of the server, and each has one answer.

use std::process::Stdio;

use moot::limits::TEXT_BYTES_MAX;
use serde_json::Value;

use super::world::{Process, World, eventually, kill};

impl World {
    /// `moot send --lines` that waits for its input.
    fn lines(&self, args: &[&str]) -> Process {
        let all = [&["send", "--lines"], args].concat();
        let mut command = self.moot(&all);
        command.stdin(Stdio::piped());
        Process::spawn(command)
    }

    /// All texts of a room.
    #[track_caller]
    fn texts_of(&self, room: &str) -> Vec<String> {
        let all = self.run(&["history", "--json", room]).objects();
        all.iter().map(|o| o["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// Waits until a process has read all its input, and waits for something else.
#[track_caller]
fn until_taken(process: &Process) {
    use std::os::fd::AsRawFd;
    let pipe = process.input.as_ref().unwrap().as_raw_fd();
    eventually("its input is read", || {
        let mut unread: libc::c_int = 1;
        // SAFETY: the descriptor is open, and the number is written to a variable of ours.
        let asked = unsafe { libc::ioctl(pipe, libc::FIONREAD, &raw mut unread) };
        assert_eq!(asked, 0);
        unread == 0
    });
    let status = format!("/proc/{}/status", process.pid());
    eventually("it waits", || std::fs::read_to_string(&status).unwrap().contains("State:\tS"));
}

fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

#[test]
fn lines_are_stored_once_each_over_ends_of_the_server() {
    let world = World::new();
    let mut server = world.serve();
    let mut sender = world.lines(&["--json", "dev"]);
    let mut wanted = Vec::new();
    let mut say = |sender: &mut Process, line: String| {
        sender.say(&line);
        wanted.push(line);
    };
    for round in 0..4 {
        for line in numbered(round * 10..round * 10 + 10) {
            say(&mut sender, line);
        }
        match round {
            0 => {
                // Each has its answer, before the server ends as its user wants.
                for line in 1..=10 {
                    assert_eq!(sender.next_of("sent")["line"], line);
                }
                world.end(&mut server);
            }
            1 => {
                // What is submitted then has no answer.
                while sender.next_of("sent")["line"] != 21 {}
                server.signal("STOP");
                say(&mut sender, "while it hangs".to_owned());
                until_taken(&sender);
                server.kill();
            }
            2 => server.kill(),
            _ => break,
        }
        say(&mut sender, format!("away {round}"));
        until_taken(&sender);
        server = world.serve();
    }
    sender.input = None;
    assert_eq!(sender.code(), 0, "{}", sender.errors());
    assert_eq!(world.texts_of("dev"), wanted);
}

#[test]
fn input_is_not_read_while_the_queue_is_full() {
    let world = World::new();
    let mut server = world.serve();
    let mut sender = world.lines(&["dev"]);
    sender.say("first");
    eventually("a session", || world.run(&["history", "dev"]).out.contains("first"));
    server.kill();
    let lines: String = (0..20_000).map(|n| format!("line {n} {}\n", "x".repeat(200))).collect();
    let mut input = sender.input.take().unwrap();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        input.write_all(lines.as_bytes()).unwrap();
    });
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", sender.pid())).unwrap();
        let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap().trim();
        own.strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    // It reads until its queue is full, and then waits for a server.
    eventually("it waits with a full queue", || {
        let of =
            |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", sender.pid())).unwrap();
        let read =
            of("io").lines().find_map(|line| line.strip_prefix("rchar: ")?.parse::<u64>().ok());
        of("status").contains("State:\tS") && read.unwrap() > 200_000
    });
    assert!(!writer.is_finished(), "4 MB are more than it may hold");
    assert!(memory() < 16_000, "{} kB", memory());
    let _server = world.serve();
    writer.join().unwrap();
    assert_eq!(sender.code(), 0, "{}", sender.errors());
    let texts = world.texts_of("dev");
    assert_eq!(texts.len(), 20_001);
    let is_next = |(at, text): (usize, &String)| text.starts_with(&format!("line {at} "));
    assert!(texts[1..].iter().enumerate().all(is_next));
}

#[test]
fn line_of_unknown_fate_is_reported_and_not_sent_again() {
    let world = World::new();
    let mut server = world.serve_with(&["--history", "off"]);
    let mut sender = world.lines(&["--json", "dev"]);
    sender.say("stored");
    assert_eq!(sender.next_of("sent")["line"], 1);
    server.signal("STOP");
    sender.say("unknown");
    until_taken(&sender);
    server.kill();
    let _server = world.serve_with(&["--history", "off"]);
    let mut bob = world.listen(&["dev"]);
    sender.say("after");
    let error = sender.next("the answer to line 2");
    assert_eq!((&error["type"], &error["line"]), (&"error".into(), &2.into()), "{error}");
    assert_eq!(sender.next_of("sent")["line"], 3);
    assert_eq!(bob.texts(1), ["after"]);
    sender.input = None;
    assert_eq!(sender.code(), 1, "{}", sender.errors());
}

#[test]
fn end_without_reconnect_says_what_was_stored() {
    let world = World::new();
    let mut server = world.serve();
    let mut sender = world.lines(&["--no-reconnect", "--json", "dev"]);
    for line in ["one", "two"] {
        sender.say(line);
        sender.next_of("sent");
    }
    server.signal("STOP");
    sender.say("three");
    until_taken(&sender);
    server.kill();
    assert_eq!(sender.next("the answer to line 3")["line"], 3);
    assert_eq!(sender.code(), 3);
    let errors = sender.errors();
    assert!(errors.contains("line 2 is the last one that was stored"), "{errors}");
    assert!(errors.contains("line 3 may still be stored"), "{errors}");
    world.run(&["send", "--no-reconnect", "dev", "x"]).exits(2);
}

#[test]
fn server_that_does_not_come_back_ends_it_after_its_input() {
    let world = World::new();
    let mut server = world.serve();
    let mut sender = world.lines(&["--timeout", "300ms", "dev"]);
    sender.say("one");
    eventually("the first", || world.run(&["history", "dev"]).out.contains("one"));
    server.kill();
    sender.say("two");
    sender.input = None;
    assert_eq!(sender.code(), 3);
    let errors = sender.errors();
    assert!(errors.contains("line 1 is the last one that was stored"), "{errors}");
    // A server that hangs may still store it.
    let server = world.serve();
    server.signal("STOP");
    for args in [
        &["send", "--timeout", "300ms", "dev", "x"][..],
        &["send", "--timeout", "300ms", "--lines", "dev"],
    ] {
        let done = world.run_with_input(args, b"x\n").exits(124);
        let is_told = done.err.contains("may still be") || args.contains(&"--lines");
        assert!(is_told, "{args:?}: {}", done.err);
    }
    kill(server.pid(), "CONT");
}

#[test]
fn each_line_has_one_answer_with_its_number() {
    let world = World::new();
    let _server = world.serve();
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let input = [b"one\n\nt\xffwo\n", long.as_bytes(), b"\n\x1b[0m\nsix\r\n\r\n\nnine"].concat();
    let done = world.run_with_input(&["send", "--lines", "--json", "dev"], &input).exits(2);
    let answers: Vec<_> = done.objects().iter().map(of_line).collect();
    let wanted = ["sent", "error", "error", "error", "error", "sent", "error", "error", "sent"];
    assert_eq!(
        answers,
        wanted.iter().zip(1..).map(|(t, n)| ((*t).to_owned(), n)).collect::<Vec<_>>()
    );
    assert_eq!(world.texts_of("dev"), ["one", "six", "nine"]);
    // Only empty lines are no failure.
    let done = world.run_with_input(&["send", "--lines", "--json", "dev"], b"\n\r\n").ok();
    assert_eq!(done.objects().len(), 2);
    // A refusal ends it: what was read has its answer.
    let args = ["send", "--lines", "--json", "--reply-to", "dev:99", "dev"];
    let done = world.run_with_input(&args, b"a\nb\n\n").exits(5);
    let answers: Vec<_> = done.objects().iter().map(of_line).collect();
    assert_eq!(answers, [1, 2, 3].map(|line| ("error".to_owned(), line)));
}

fn of_line(answer: &Value) -> (String, u64) {
    (answer["type"].as_str().unwrap().to_owned(), answer["line"].as_u64().unwrap())
}

#[test]
fn lines_that_are_never_sent_wait_for_no_answer() {
    let world = World::new();
    let _server = world.serve();
    // More than the queue holds, with nothing that the server could answer.
    let done = world.run_with_input(&["send", "--lines", "dev"], &[b'\n'; 5000]).ok();
    assert_eq!(done.err, "");
    let too_long = "x".repeat(TEXT_BYTES_MAX + 1) + "\n";
    let input = format!("one\n{}{too_long}two\n", "\n".repeat(5000));
    world.run_with_input(&["send", "--lines", "dev"], input.as_bytes()).exits(2);
    assert_eq!(world.texts_of("dev"), ["one", "two"]);
}

#[test]
fn input_of_windows_loses_its_line_ends_and_mark() {
    let world = World::new();
    let _server = world.serve();
    world.run_with_input(&["send", "--lines", "a"], "\u{feff}one\r\ntwo\r\nthree".as_bytes()).ok();
    assert_eq!(world.texts_of("a"), ["one", "two", "three"]);
    world.run_with_input(&["send", "b"], "\u{feff}one\r\ntwo\r\n".as_bytes()).ok();
    assert_eq!(world.texts_of("b"), ["one\ntwo"]);
    world.run_with_input(&["join", "--plain", "c"], "\u{feff}one\r\n\r\ntwo\r\n".as_bytes()).ok();
    assert_eq!(world.texts_of("c"), ["one", "two"]);
    world.run_with_input(&["announce", "--to", "c", "-"], b"all\r\n").ok();
    let notices = world.run(&["notices", "list", "--json"]).objects();
    assert!(notices.iter().all(|notice| notice["text"] == "all"), "{notices:?}");
}

#[test]
fn lines_are_stored_once_each_under_load_and_kills() {
    let world = World::new();
    let mut server = world.serve();
    let mut sender = world.lines(&["dev"]);
    let mut input = sender.input.take().unwrap();
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ends = std::sync::Arc::clone(&is_over);
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let mut said = 0;
        while !ends.load(std::sync::atomic::Ordering::SeqCst) {
            let lines: String = (said..said + 50).map(|n| format!("line {n}\n")).collect();
            input.write_all(lines.as_bytes()).unwrap();
            said += 50;
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        said
    });
    let count = || {
        let done = world.run(&["history", "--json", "--last", "1", "dev"]);
        done.objects().first().and_then(|last| last["seq"].as_u64()).unwrap_or(0)
    };
    for _ in 0..10 {
        let before = count();
        eventually("more lines", || count() > before + 100);
        server.kill();
        server = world.serve();
    }
    is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    let said = writer.join().unwrap();
    assert_eq!(sender.code(), 0, "{}", sender.errors());
    let texts: Vec<_> = world.run(&["history", "--json", "--last", "1000000", "dev"]).objects();
    let texts = texts.iter().map(|o| o["text"].as_str().unwrap());
    assert!(
        texts.eq(numbered(0..said).iter().map(String::as_str)),
        "each of {said} once, in order"
    );
}
