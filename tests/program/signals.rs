//! How commands end by signals. The console's events, their counterpart, need a console, which a test run has not
//! everywhere.

use std::{io::Read, os::unix::process::ExitStatusExt, process::Stdio};

use super::world::{Done, Process, World, eventually, exists, kill, skipped};

/// SIGTERM and SIGHUP end a command by themselves; after an interrupt the exit code says so.
const SIGNALS: [(&str, Option<i32>, i32); 3] =
    [("TERM", Some(15), 143), ("HUP", Some(1), 129), ("INT", None, 130)];

/// Each command that goes on until it is ended, and a word of its first line.
const COMMANDS: [&[&str]; 9] = [
    &["listen", "--json", "dev"],
    &["join", "--json", "dev"],
    &["wait", "--json", "dev"],
    &["wait", "--here", "@nobody/never"],
    &["answer", "--json", "dev", "--exec", "cat"],
    &["ask", "dev", "a question"],
    &["send", "--lines", "dev"],
    &["who", "--watch"],
    &["status", "--watch"],
];

#[test]
fn every_client_command_ends_by_its_signal() {
    let world = World::new();
    let _server = world.serve();
    let _worker = world.listen(&["dev"]);
    for args in COMMANDS {
        for (signal, by, code) in SIGNALS {
            let mut command = world.moot(args);
            command.stdin(Stdio::piped());
            let mut process = Process::spawn(command);
            // Handlers are installed before the first of these signals may end it.
            eventually("the command sleeps in a system call", || is_waiting(process.pid()));
            process.signal(signal);
            assert_eq!(process.code(), code, "{args:?} by {signal}: {}", process.errors());
            let status = process.child.wait().unwrap();
            assert_eq!(status.signal(), by, "{args:?} by {signal}");
        }
    }
}

/// Returns true once the main thread waits for something, which it does not while it starts.
fn is_waiting(pid: u32) -> bool {
    let read = |file: &str| {
        let mut text = String::new();
        let path = format!("/proc/{pid}/{file}");
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)).ok()?;
        Some(text)
    };
    let status = read("status").unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    caught & (1 << 14) != 0 && status.contains("State:\tS")
}

#[test]
fn run_ends_by_the_signal_that_ended_its_command() {
    let world = World::new();
    let _server = world.serve();
    for (signal, by, code) in SIGNALS {
        let mut run = Process::spawn(world.moot(&[
            "run",
            "dev",
            "--",
            "sh",
            "-c",
            "echo ready; exec sleep 99",
        ]));
        run.line("ready");
        run.signal(signal);
        assert_eq!(run.code(), code);
        assert_eq!(run.child.wait().unwrap().signal(), by, "{signal}");
    }
    // A command that ends by itself has its own code, whatever signal came.
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let mut run = Process::spawn(world.moot(&["run", "dev", "--", "sh", "-c", script]));
    run.line("ready");
    run.signal("TERM");
    assert_eq!(run.code(), 7);
    assert_eq!(run.child.wait().unwrap().signal(), None);
}

#[test]
fn ignored_signals_stay_ignored() {
    let world = World::new();
    let _server = world.serve();
    let script = "trap '' HUP; exec \"$0\" listen --json dev";
    let moot = env!("CARGO_BIN_EXE_moot");
    let mut listen =
        Process::ready(world.command(std::path::Path::new("/bin/sh"), &["-c", script, moot]));
    listen.signal("HUP");
    world.run(&["send", "dev", "still here"]).ok();
    assert_eq!(listen.texts(1), ["still here"]);
    listen.signal("TERM");
    assert_eq!(listen.code(), 143);
}

#[test]
fn server_that_ends_by_a_signal_succeeds() {
    for signal in ["TERM", "INT"] {
        let world = World::new();
        let mut server = world.serve();
        let mut bob = world.listen(&["--no-reconnect", "dev"]);
        server.signal(signal);
        assert_eq!(server.code(), 0);
        assert_eq!(bob.next_of("end")["type"], "end");
        assert_eq!(bob.code(), 3);
        world.run(&["who"]).exits(3);
        assert!(!exists(&world.dir.join("socket")), "a clean end leaves no socket");
    }
}

#[test]
fn first_process_of_a_container_collects_orphans() {
    let unshare = ["-p", "-f", "--mount-proc"];
    let tried = std::process::Command::new("unshare").args(unshare).arg("true").output();
    if !tried.is_ok_and(|done| done.status.success()) {
        return skipped("needs root and unshare(1)");
    }
    let world = World::new();
    let _server = world.serve();
    let moot = env!("CARGO_BIN_EXE_moot");
    // What is left behind ends after its parent, and says so.
    let leave = "(sleep 0.05; echo over >>over) & exit 0";
    let script = world.path("leave.sh");
    std::fs::write(&script, leave).unwrap();
    let exec = format!("sh {}", script.display());
    let run = format!("for i in 1 2 3 4 5; do sh {}; done; sleep 100", script.display());
    for args in [
        &["listen", "--json", "dev", "--exec", &exec][..],
        &["answer", "--json", "dev", "--exec", &exec],
        &["run", "other", "--", "sh", "-c", &run],
    ] {
        let _ = std::fs::remove_file(world.path("over"));
        let all = [&unshare[..], &[moot], args].concat();
        let mut process = Process::spawn(world.command(std::path::Path::new("unshare"), &all));
        if args[0] != "run" {
            process.next_of("ready");
            for _ in 0..5 {
                let verb = if args[0] == "answer" { "ask" } else { "send" };
                world.run(&[verb, "dev", "x"]).ok();
            }
        }
        let over = || std::fs::read_to_string(world.path("over")).unwrap_or_default();
        eventually("the end of all of them", || over().lines().count() == 5);
        let first = children(process.pid())[0];
        eventually("only moot is left", || children(first).len() == 1);
        // It passes on what it gets.
        kill(first, "TERM");
        assert_eq!(process.code(), 143, "{args:?}: {}", process.errors());
    }
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// A command whose files may have up to that many bytes, as after `ulimit -f`.
fn limited(world: &World, bytes: u64, args: &[&str]) -> std::process::Command {
    let limit = format!("--fsize={bytes}");
    let all = [&[&*limit, env!("CARGO_BIN_EXE_moot")], args].concat();
    world.command("prlimit".as_ref(), &all)
}

#[test]
fn file_size_limit_refuses_messages_and_ends_no_server() {
    let world = World::new();
    // The presence table fits, and the history does at first.
    let mut server = Process::spawn(limited(&world, 12 << 20, &["serve"]));
    assert!(server.line("the server's first line").starts_with("listening on "));
    let mut bob = world.listen(&["dev"]);
    world.run(&["send", "dev", "stored"]).ok();
    assert_eq!(bob.texts(1), ["stored"]);
    let lines = format!("{}\n", "x".repeat(30_000)).repeat(1000);
    let done = world.run_with_input(&["send", "big", "--lines"], lines.as_bytes());
    assert_ne!(done.code, 0, "12 MiB do not hold 30 MB");
    assert!(server.child.try_wait().unwrap().is_none(), "{}", server.errors());
    world.run(&["who"]).ok();
    let done = world.run(&["status", "--json"]).exits(1);
    assert!(done.out.contains("history"), "{}", done.out);
    let done = world.run(&["history", "dev", "--json"]).ok();
    assert_eq!(done.objects()[0]["text"], "stored");
}

#[test]
fn file_size_limit_is_left_to_the_command_of_a_run() {
    let world = World::new();
    let _server = world.serve();
    let script = "seq 50000; head -c 100000 /dev/zero >big; echo $? >result; exit 3";
    let run = ["run", "dev", "--chronic", "--", "sh", "-c", script];
    let done = Done::of(limited(&world, 65_536, &run), None).exits(3);
    assert!(done.err.contains("could not be saved"), "{}", done.err);
    let result = std::fs::read_to_string(world.path("result")).unwrap();
    assert_eq!(result, "153\n", "the signal ends the command, as without moot");
    // What can't be written is not left behind in part.
    world.run_with_input(&["send", "dev", "--lines"], "y\n".repeat(50_000).as_bytes()).ok();
    let done = Done::of(limited(&world, 65_536, &["backup", "copy.db"]), None).exits(1);
    assert!(done.err.contains("copy.db"), "{}", done.err);
    let names = std::fs::read_dir(world.path("")).unwrap().map(|e| e.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains("copy")).collect();
    assert!(left.is_empty(), "{left:?}");
}
