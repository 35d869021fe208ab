//! The server ends, is killed, hangs, starts again, starts twice: what everybody sees.

use std::{
    io::{Seek, SeekFrom, Write},
    process::Stdio,
};

use serde_json::Value;

#[cfg(unix)]
use super::world::{Done, kill};
use super::world::{Process, World, eventually, exists};

#[test]
fn a_killed_server_is_seen_and_a_new_one_goes_on_without_a_hole() {
    a_killed_server("on");
}

#[test]
fn server_without_history_starts_over_after_a_kill() {
    a_killed_server("off");
}

fn a_killed_server(history: &str) {
    let world = World::new();
    let mut server = world.serve_with(&["--history", history]);
    let mut bob = world.listen(&["dev"]);
    let mut ann = world.join(&["dev"]);
    world.run(&["send", "dev", "before"]).ok();
    assert_eq!((bob.texts(1), ann.texts(1)), (vec!["before".into()], vec!["before".into()]));
    server.kill();
    assert!(bob.next_of("end")["reason"].is_string());
    assert!(ann.next_of("end")["reason"].is_string());
    let (rows, code) = world.who(&[]);
    assert_eq!(code, 3, "a dead server is exit code 3");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["state"] == "unknown"), "{rows:?}");
    world.run(&["send", "--no-start", "dev", "nobody"]).exits(3);
    world.run(&["status"]).exits(3);

    // Stale socket, lock and table are no hindrance.
    let _server = world.serve_with(&["--history", history]);
    for member in [&mut bob, &mut ann] {
        let ready = member.next_of("ready");
        if history == "off" {
            assert_eq!(ready["rooms"]["dev"], 0);
            let gap = member.next_of("gap");
            assert_eq!((&gap["reason"], &gap["first"]), (&"run".into(), &Value::Null));
        } else {
            assert_eq!(ready["rooms"]["dev"], 1);
        }
    }
    world.run(&["send", "dev", "after"]).ok();
    for member in [&mut bob, &mut ann] {
        // The next thing that happens, others that come back aside.
        let next = loop {
            let event = member.next("an event");
            if event["type"] != "joined" {
                break event;
            }
        };
        assert_eq!(next["text"], "after");
        assert_eq!(next["seq"], if history == "off" { 1 } else { 2 });
    }
    let (rows, code) = world.who(&[]);
    assert_eq!((rows.len(), code), (2, 0));
}

#[test]
fn input_during_an_outage_is_sent_to_the_next_server() {
    let world = World::new();
    let mut server = world.serve();
    let mut ann = world.join(&["dev"]);
    server.kill();
    ann.next_of("end");
    ann.say("said into the void");
    let _server = world.serve();
    let mut bob = world.listen(&["--last", "5", "dev"]);
    assert_eq!(bob.texts(1), ["said into the void"]);
}

#[test]
fn listen_without_reconnect_ends_with_3() {
    let world = World::new();
    let mut server = world.serve();
    let mut bob = world.listen(&["--no-reconnect", "dev"]);
    server.kill();
    bob.next_of("end");
    assert_eq!(bob.code(), 3);
}

#[test]
fn second_server_names_the_first_and_disturbs_nothing() {
    let world = World::new();
    let mut server = world.serve();
    let mut bob = world.listen(&["dev"]);
    for _ in 0..3 {
        let done = world.run(&["serve"]).exits(1);
        assert!(done.err.contains(&format!("pid {}", server.pid())), "{}", done.err);
    }
    world.run(&["send", "dev", "undisturbed"]).ok();
    assert_eq!(bob.texts(1), ["undisturbed"]);
    assert_eq!(world.who(&[]).0.len(), 1);
    assert!(server.child.try_wait().unwrap().is_none());
}

#[test]
fn of_many_servers_started_at_once_one_serves() {
    let world = World::new();
    let mut servers: Vec<_> = (0..6)
        .map(|_| {
            let mut command = world.moot(&["serve"]);
            command.stdin(Stdio::null());
            Process::spawn(command)
        })
        .collect();
    let mut ended = Vec::new();
    eventually("all but one end", || {
        for (at, server) in servers.iter_mut().enumerate() {
            if !ended.contains(&at) && server.child.try_wait().unwrap().is_some() {
                assert_eq!(server.code(), 1);
                ended.push(at);
            }
        }
        ended.len() == 5
    });
    world.run(&["send", "dev", "hi"]).ok();
    let winner = (0..6).find(|at| !ended.contains(at)).unwrap();
    let status = world.run(&["status", "--json"]).ok().objects();
    assert_eq!(status[0]["pid"], servers[winner].pid());
    for at in ended {
        let errors = servers[at].errors();
        assert!(errors.contains("pid") || errors.contains("another server"), "{errors}");
    }
}

#[test]
fn commands_that_start_a_server_all_use_the_same_one() {
    let world = World::new();
    let sends: Vec<_> = (0..8)
        .map(|n| Process::spawn(world.moot(&["send", "--json", "dev", &format!("hi {n}")])))
        .collect();
    let mut numbers: Vec<u64> = sends
        .into_iter()
        .map(|mut send| {
            let sent = send.next("sent");
            assert_eq!(send.code(), 0);
            sent["seq"].as_u64().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<u64>>(), "one server numbered them all");
    world.run(&["stop"]).ok();
}

#[test]
fn a_stopped_server_is_told_as_such_and_nothing_is_called_dead() {
    let world = World::new();
    let server = world.serve();
    let mut bob = world.listen(&["dev"]);
    server.signal("STOP");
    eventually("who says that the server does not respond", || {
        let done = world.run(&["who", "--json"]).ok();
        assert_eq!(done.objects().len(), 1);
        assert_eq!(done.objects()[0]["state"], "online", "rows stay as they are");
        done.err.contains("server not responding")
    });
    let done = world.run(&["status"]).exits(1);
    assert!(done.err.contains("not responding"), "{}", done.err);
    let done = world.run(&["serve"]).exits(1);
    assert!(done.err.contains(&format!("pid {}", server.pid())), "{}", done.err);
    server.signal("CONT");
    world.run(&["send", "dev", "awake"]).ok();
    assert_eq!(bob.texts(1), ["awake"]);
}

#[test]
fn a_stopped_member_is_unresponsive_and_a_killed_one_is_gone() {
    let world = World::new();
    let _server = world.serve();
    let mut watcher = world.join(&["dev"]);
    let mut bob = world.listen(&["--as", "bob", "dev"]);
    let state = || {
        let (rows, _) = world.who(&[]);
        let bob = rows.into_iter().find(|row| row["name"].as_str().unwrap().ends_with("/bob"));
        bob.map(|row| row["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state().as_deref(), Some("online"));
    bob.signal("STOP");
    eventually("unresponsive", || state().as_deref() == Some("unresponsive"));
    bob.signal("CONT");
    eventually("online again", || state().as_deref() == Some("online"));
    bob.kill();
    eventually("gone", || state().is_none());
    let left = watcher.next_of("left");
    assert_eq!(left["reason"], "killed");
}

fn write_at(mut file: &std::fs::File, bytes: &[u8], at: u64) {
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_damaged_table_is_said_and_never_crashes_who() {
    let world = World::new();
    let mut server = world.serve();
    let _bob = world.listen(&["dev"]);
    let table = moot::os::words_file(&world.dir.join("presence")).unwrap();
    let good = std::fs::read(&table).unwrap();
    let file = std::fs::File::options().write(true).open(&table).unwrap();
    let mut random: u64 = 7;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..60 {
        // Some bytes of the header, of the slots, or a whole stretch.
        for _ in 0..=round % 7 {
            let at = next() % 8192;
            write_at(&file, &next().to_le_bytes()[..=(next() % 8) as usize], at);
        }
        let done = world.run(&["who", "--json"]);
        assert!([0, 1, 3].contains(&done.code), "{}: {}", done.code, done.err);
        world.run(&["who"]);
        write_at(&file, &good, 0);
    }
    // Shorter than it says, empty, and something else altogether. The server writes on all the same,
    // to the file that it has open: take another's place.
    server.kill();
    for bytes in [&good[..good.len() / 2], &[], b"not a table"] {
        std::fs::remove_file(&table).unwrap();
        std::fs::write(&table, bytes).unwrap();
        let done = world.run(&["who"]);
        assert!([1, 3].contains(&done.code), "{}", done.code);
        assert!(!done.err.is_empty());
    }
    let table = world.dir.join("presence");
    std::fs::remove_file(&table).unwrap();
    std::fs::create_dir(&table).unwrap();
    let code = world.run(&["who"]).code;
    assert!([1, 3].contains(&code), "{code}");
}

#[test]
fn rubbish_in_the_place_of_lock_and_socket_is_no_hindrance() {
    let world = World::new();
    super::machine::private_dir(&world.dir);
    let mut lock = std::fs::File::create(world.dir.join("lock")).unwrap();
    lock.write_all(&[0xff; 5000]).unwrap();
    lock.seek(SeekFrom::Start(0)).unwrap();
    std::fs::write(world.dir.join("socket"), "no socket").unwrap();
    std::fs::write(world.dir.join("presence"), "no table").unwrap();
    world.run(&["who"]).exits(3);
    let _server = world.serve();
    world.run(&["send", "dev", "hi"]).ok();
    world.run(&["who"]).ok();
}

#[test]
fn an_idle_server_ends_by_itself_and_leaves_nothing_running() {
    let world = World::new();
    // Long enough for the listener to come before the server ends.
    let mut server = world.serve_with(&["--idle-exit", "3s"]);
    let mut bob = world.listen(&["--timeout", "4s", "dev"]);
    assert_eq!(bob.code(), 124, "not idle while somebody listens");
    assert_eq!(server.code(), 0);
    assert!(!exists(&world.dir.join("socket")));
    let done = world.run(&["who"]).exits(3);
    assert!(done.out.is_empty(), "a clean end leaves no rows: {}", done.out);
}

#[test]
fn stop_waits_for_the_end_and_members_are_told() {
    let world = World::new();
    let mut server = world.serve();
    let mut bob = world.listen(&["dev"]);
    world.run(&["stop"]).ok();
    assert!(server.child.try_wait().unwrap().is_some() || server.code() == 0);
    assert_eq!(bob.next_of("end")["reason"], "server stopped");
    world.run(&["stop"]).exits(3);
}

// Descriptors that a shell hands on.
#[cfg(unix)]
#[test]
fn background_server_outlives_its_starter_without_descriptors() {
    let world = World::new();
    let mut shell = std::process::Command::new("bash");
    let moot = env!("CARGO_BIN_EXE_moot");
    // Descriptor 7 is a pipe that ends only when nobody holds it any more.
    let script = format!("exec 7> >(cat); {moot} send dev hi >/dev/null 2>&1 7>&7; echo done >&7");
    shell.args(["-c", &script]).env("MOOT_SERVER", &world.dir);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = Done::of(shell, None).ok();
    assert_eq!(done.out, "done\n");
    let status = world.run(&["status", "--json"]).ok().objects();
    let pid = status[0]["pid"].as_u64().unwrap();
    let root = std::fs::read_link(format!("/proc/{pid}/cwd"));
    if let Ok(root) = root {
        assert_eq!(root.to_str(), Some("/"));
    }
    kill(u32::try_from(pid).unwrap(), "TERM");
    eventually("the end of the server", || world.run(&["who"]).code == 3);
}

/// A member that leaves a child with its socket behind; without its orders it is no test.
#[cfg(unix)]
#[test]
fn the_careless_parent() {
    let Ok(path) = std::env::var("MOOT_PARENT_OF") else { return };
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    let body = format!(r#"{{"protocol":1,"kind":"script","instance":"{:032x}"}}"#, 7);
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    stream.write_all(&[b"mt\x01\x01", &length[..], body.as_bytes()].concat()).unwrap();
    let mut answer = [0; 8];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    let socket: std::os::fd::OwnedFd = stream.try_clone().unwrap().into();
    let mut child = std::process::Command::new("sleep").arg("60").stdin(socket).spawn().unwrap();
    writeln!(std::io::stderr(), "\nchild {}", child.id()).unwrap();
    child.wait().unwrap();
}

// A socket handed to a child.
#[cfg(unix)]
#[test]
fn killed_process_leaves_although_a_child_holds_its_session() {
    let world = World::new();
    let _server = world.serve();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "server_end::the_careless_parent", "--nocapture"]);
    command.env("MOOT_PARENT_OF", world.dir.join("socket"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut parent = Process::spawn(command);
    eventually("the child", || parent.errors().contains("child "));
    assert_eq!(world.who(&["--all"]).0.len(), 1);
    parent.kill();
    eventually("gone", || world.who(&["--all"]).0.is_empty());
    let errors = parent.errors();
    let child = errors.lines().find_map(|line| line.strip_prefix("child ")).unwrap();
    kill(child.parse().unwrap(), "KILL");
}
