//! Requests and replies: `ask`, `answer`, queues, and what becomes of a request when its answerer ends.

use super::world::{Process, World};

const MOOT: &str = env!("CARGO_BIN_EXE_moot");

/// An answerer, ready.
#[track_caller]
pub fn answer(world: &World, args: &[&str]) -> Process {
    let mut all = vec!["answer", "--json"];
    all.extend(args);
    Process::ready(world.moot(&all))
}

/// A request that runs by itself; its replies as JSON.
pub fn ask(world: &World, args: &[&str]) -> Process {
    let mut all = vec!["ask", "--json", "--timeout", "25s"];
    all.extend(args);
    Process::spawn(world.moot(&all))
}

#[test]
fn people_answer_as_well_and_time_is_out_without_them() {
    let world = World::new();
    let _server = world.serve();
    let done = world.run(&["ask", "dev", "anybody?", "--timeout", "200ms"]).exits(124);
    assert!(done.err.contains("no worker in dev"), "{}", done.err);
    let mut listener = world.listen(&["dev", "--last", "0"]);
    let mut asker = ask(&world, &["dev", "who is there?", "--replies", "2"]);
    let id = listener.next_of("message")["id"].as_str().unwrap().to_owned();
    world.run(&["send", "dev", "not a reply"]).ok();
    world.run(&["send", "dev", "me", "--reply-to", &id]).ok();
    assert_eq!(asker.next("a reply")["text"], "me");
    world.run(&["send", "dev", "me too", "--reply-to", &id]).ok();
    assert_eq!(asker.next("a reply")["text"], "me too");
    assert_eq!(asker.code(), 0);
}

#[test]
fn one_user_is_asked_directly() {
    let world = World::new();
    let _server = world.serve();
    let mut other = world.join(&["dev", "--as", "other"]);
    let user = other_user(&world);
    let mut asker = ask(&world, &[&format!("@{user}/other"), "may I?"]);
    let id = other.next_of("direct")["id"].as_str().unwrap().to_owned();
    world.run(&["send", &format!("@{user}"), "yes", "--reply-to", &id]).ok();
    let reply = asker.next("a reply");
    assert_eq!((&reply["type"], &reply["text"]), (&"direct".into(), &"yes".into()));
    assert_eq!(asker.code(), 0);
}

fn other_user(world: &World) -> String {
    world.who(&[]).0[0]["user"].as_str().unwrap().to_owned()
}

#[test]
fn without_a_server_nothing_is_started() {
    let world = World::new();
    world.run(&["ask", "dev", "hi"]).exits(3);
    world.run(&["answer", "dev", "--exec", env!("CARGO_BIN_EXE_moot")]).exits(3);
    world.run(&["answer", "dev"]).exits(2);
    world.run(&["ask", "dev", ""]).exits(2);
    world.run(&["ask", "dev", "x", "--replies", "0"]).exits(2);
    assert!(!super::world::exists(&world.dir));
}

// The program itself is one that every system has.
#[test]
fn output_of_the_program_is_the_reply() {
    let world = World::new();
    let _server = world.serve();
    let mut answerer = answer(&world, &["dev", "--exec", MOOT, "--version"]);
    let reply = world.run(&["ask", "dev", "which version?", "--json"]).ok();
    let [reply] = &reply.objects()[..] else { panic!("{}", reply.out) };
    assert_eq!(reply["text"], format!("moot {}", env!("CARGO_PKG_VERSION")));
    assert_eq!((&reply["reply_to"], &reply["failed"]), (&"dev:1".into(), &false.into()));
    let answered = answerer.next_of("answered");
    assert_eq!((&answered["id"], &answered["attempt"]), (&"dev:1".into(), &1.into()));
}

#[test]
fn another_worker_takes_over_when_a_worker_is_killed() {
    let world = World::new();
    let _server = world.serve();
    let mut gate = world.listen(&["gate"]);
    // Each replies with what is said at the gate after it has begun; that it has, it says there.
    let worker = |label: &str| {
        answer(&world, &["work", "--as", label, "--queue", "q", "--exec", MOOT, "ask", "gate", "-"])
    };
    let mut first = worker("first");
    let mut asker = ask(&world, &["work", "job"]);
    let begun = gate.next_of("message");
    assert_eq!(begun["text"], "job");
    let mut second = worker("second");
    first.kill();
    let again = gate.next_of("message");
    assert_eq!(again["text"], "job");
    world.run(&["send", "gate", "done", "--reply-to", again["id"].as_str().unwrap()]).ok();
    let reply = asker.next("a reply");
    assert_eq!(reply["text"], "done");
    assert!(reply["from"]["name"].as_str().unwrap().ends_with("/second"), "{reply}");
    assert_eq!(asker.code(), 0);
    assert!(asker.errors().contains(r#""type":"abandoned""#), "{}", asker.errors());
    assert_eq!(second.next_of("answered")["attempt"], 2);
}

#[cfg(unix)]
#[test]
fn stopped_worker_gets_the_waiting_job_when_it_goes_on() {
    let world = World::new();
    let _server = world.serve();
    let worker = answer(&world, &["work", "--exec", MOOT, "--version"]);
    worker.signal("STOP");
    super::world::eventually("the worker is unresponsive", || {
        let (rows, _) = world.who(&[]);
        rows.iter().any(|row| row["pid"] == worker.pid() && row["state"] == "unresponsive")
    });
    let mut asker = ask(&world, &["work", "which version?"]);
    // When a later job has timed out, the first waits in the server.
    world.run(&["ask", "work", "later", "--timeout", "500ms"]).exits(124);
    worker.signal("CONT");
    assert_eq!(asker.next("a reply")["text"], format!("moot {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(asker.code(), 0);
}
