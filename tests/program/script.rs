//! For scripts: `wait`, and `listen --exec`.

use serde_json::Value;

use super::world::{Done, Process, World, eventually};

const MOOT: &str = env!("CARGO_BIN_EXE_moot");

/// A `wait --json` that has begun: its standard error says when it is ready.
#[track_caller]
fn wait(world: &World, args: &[&str]) -> Process {
    let mut all = vec!["wait", "--json"];
    all.extend(args);
    let mut waiting = Process::spawn(world.moot(&all));
    eventually("ready", || waiting.errors().contains(r#""type":"ready""#));
    waiting
}

#[test]
fn wait_ends_with_what_it_waited_for_and_prints_nothing_else() {
    let world = World::new();
    let _server = world.serve();
    let mut waiting = wait(&world, &["ci", "--match", "build (ok|failed)"]);
    world.run(&["send", "ci", "build begins"]).ok();
    world.run(&["send", "ci", "build ok"]).ok();
    let message = waiting.next("the message");
    assert_eq!((&message["type"], &message["text"]), (&"message".into(), &"build ok".into()));
    assert_eq!(waiting.code(), 0);
    assert!(waiting.rest().is_empty());
    // Several; of one user; as text.
    let mut waiting = wait(&world, &["ci", "--count", "2"]);
    world.run(&["send", "ci", "1"]).ok();
    world.run(&["send", "ci", "2"]).ok();
    assert_eq!(waiting.texts(2), ["1", "2"]);
    assert_eq!(waiting.code(), 0);
    // Wine has no other user.
    if cfg!(unix) {
        let nobody = world.run(&["wait", "ci", "--from", "@nobody", "--timeout", "200ms"]);
        assert_eq!(nobody.exits(124).out, "");
    }
    world.run(&["wait", "ci", "--from", "@nobody-such", "--timeout", "200ms"]).exits(5);
    let past = world.run(&["wait", "ci", "--since", "1h", "--match", "^2$", "--raw"]).ok();
    assert_eq!(past.out, "2\n");
}

#[test]
fn wait_needs_a_server_and_starts_none() {
    let world = World::new();
    world.run(&["wait", "ci"]).exits(3);
    world.run(&["wait", "--gone", "@root"]).exits(3);
    world.run(&["wait", "--here", "@root"]).exits(3);
    world.run(&["wait"]).exits(2);
    world.run(&["wait", "--gone", "@a", "--here", "@b"]).exits(2);
    world.run(&["wait", "ci", "--gone", "@a", "--match", "x"]).exits(2);
    world.run(&["wait", "@a", "--gone", "@a"]).exits(2);
    assert!(!super::world::exists(&world.dir));
}

/// A message that is said in the same instant in which somebody begins to wait is not missed with `--since`.
#[test]
fn wait_misses_nothing_that_is_said_while_it_begins() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "ci", "first"]).ok();
    let rounds = if cfg!(windows) { 3 } else { 20 };
    for round in 0..rounds {
        let text = format!("round {round}");
        let since = format!("ci:{}", round + 1);
        let mut waiting = Process::spawn(world.moot(&[
            "wait",
            "ci",
            "--json",
            "--since",
            &since,
            "--timeout",
            "25s",
        ]));
        world.run(&["send", "ci", &text]).ok();
        assert_eq!(waiting.next("the message")["text"], text.as_str());
        assert_eq!(waiting.code(), 0);
    }
}

#[test]
fn wait_goes_on_after_a_restart_of_the_server() {
    let world = World::new();
    let mut server = world.serve();
    let mut waiting = wait(&world, &["ci", "--match", "ok"]);
    world.end(&mut server);
    let _server = world.serve();
    world.run(&["send", "ci", "ok"]).ok();
    assert_eq!(waiting.next("the message")["text"], "ok");
    assert_eq!(waiting.code(), 0);
}

#[test]
fn wait_here_ends_when_somebody_comes() {
    let world = World::new();
    let _server = world.serve();
    let first = world.join(&["den", "--as", "first"]);
    let user = world.who(&[]).0[0]["user"].as_str().unwrap().to_owned();
    let (me, late) = (format!("@{user}"), format!("@{user}/late"));
    let here = world.run(&["wait", "--here", &me, "--json"]).ok();
    assert_eq!(here.objects()[0]["type"], "session");
    world.run(&["wait", "--here", &late, "--timeout", "200ms"]).exits(124);
    world.run(&["wait", "den", "--here", &me]).ok();
    world.run(&["wait", "elsewhere", "--here", &me, "--timeout", "300ms"]).exits(124);
    let mut waiting = Process::spawn(world.moot(&["wait", "--here", &late, "--json"]));
    let _late = world.join(&["den", "--as", "late"]);
    assert_eq!(waiting.next("the row")["label"], "late");
    assert_eq!(waiting.code(), 0);
    // In a private room, whoever may see it is told.
    world.run(&["room", "create", "secret", "--private"]).ok();
    let mut waiting = Process::spawn(world.moot(&["wait", "secret", "--here", &me, "--json"]));
    let _inside = world.join(&["secret"]);
    assert_eq!(waiting.next("the row")["rooms"][0], "secret");
    drop(first);
}

#[test]
fn wait_gone_follows_the_process_and_not_only_its_session() {
    let world = World::new();
    let mut server = world.serve();
    let mut job = world.join(&["den", "--as", "job"]);
    let user = world.who(&[]).0[0]["user"].as_str().unwrap().to_owned();
    world.run(&["wait", "--gone", "@no-such-user"]).exits(5);
    world.run(&["wait", "--here", "@no-such-user"]).exits(5);
    let (of_job, of_none) = (format!("@{user}/job"), format!("@{user}/none"));
    let none = world.run(&["wait", "--gone", &of_none, "--json"]).ok();
    assert_eq!(none.objects()[0]["type"], "gone");
    world.run(&["wait", "--gone", &of_job, "--timeout", "200ms"]).exits(124);
    let mut waiting = Process::spawn(world.moot(&["wait", "--gone", &of_job, "--json"]));
    let mut in_room = Process::spawn(world.moot(&["wait", "den", "--gone", &of_job, "--json"]));
    world.run(&["wait", "nowhere", "--gone", &of_job]).exits(5);
    // It is seen to wait by what it has seen: the row is there until the server ends.
    world.run(&["wait", "--gone", &of_job, "--timeout", "300ms"]).exits(124);
    world.end(&mut server);
    // The session is gone, and the process is not; nothing is known of rooms.
    assert!(waiting.child.try_wait().unwrap().is_none());
    assert!(in_room.child.try_wait().unwrap().is_none());
    let mut server = world.serve();
    world.run(&["wait", "den", "--here", &of_job]).ok();
    assert!(in_room.child.try_wait().unwrap().is_none(), "it came back");
    job.say("/part den");
    assert_eq!(in_room.next("gone from the room")["room"], "den");
    world.end(&mut server);
    assert!(waiting.child.try_wait().unwrap().is_none());
    job.kill();
    let gone = waiting.next("gone");
    assert_eq!((&gone["name"], &gone["room"]), (&Value::from(format!("{user}/job")), &Value::Null));
    assert_eq!(waiting.code(), 0);
}

#[test]
fn a_program_is_run_once_a_message() {
    let world = World::new();
    let _server = world.serve();
    let copies = world.listen(&["copies"]);
    let mut copies = copies;
    // The program itself is one that every system has.
    let mut listener =
        world.listen(&["dev", "--count", "3", "--exec", MOOT, "send", "copies", "-"]);
    for text in ["one", "두 줄\nzwei", "three"] {
        Done::of(world.moot(&["send", "dev"]), Some(text.as_bytes())).ok();
    }
    assert_eq!(copies.texts(3), ["one", "두 줄\nzwei", "three"], "in their order");
    assert_eq!(listener.code(), 0);
}
