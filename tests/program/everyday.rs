//! What everybody does every day: talk, listen, look who is here, announce.

use std::process::Stdio;

use super::world::{Done, Process, World, eventually};

#[test]
fn message_reaches_listeners_and_is_stored_when_send_ends() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let sent = world.run(&["send", "--json", "dev", "build", "ok"]).ok().objects();
    assert_eq!((sent[0]["seq"].as_u64(), sent[0]["members"].as_u64()), (Some(1), Some(1)));
    let message = bob.next("the message");
    assert_eq!(message["text"], "build ok");
    assert_eq!(message["id"], sent[0]["id"]);
}

// A POSIX shell.
#[cfg(unix)]
#[test]
fn automatic_start_does_not_hang_a_command_substitution() {
    let world = World::new();
    let mut shell = std::process::Command::new("sh");
    let moot = env!("CARGO_BIN_EXE_moot");
    shell.args(["-c", &format!("x=$({moot} send dev hi 2>&1); echo \"[$x]\"; {moot} who --count")]);
    shell.env("MOOT_SERVER", &world.dir).env("PATH", "/usr/bin:/bin");
    shell.stdin(Stdio::null());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = Done::of(shell, None).ok();
    assert!(done.out.starts_with("[no server: starting one in the background"), "{}", done.out);
    assert!(done.out.ends_with("]\n0\n"), "{}", done.out);
    world.run(&["stop"]).ok();
    world.run(&["who"]).exits(3);
    world.run(&["send", "--no-start", "dev", "hi"]).exits(3);
}

#[test]
fn reader_of_a_command_does_not_wait_for_its_server() {
    let world = World::new();
    let done = world.run(&["send", "dev", "hi"]).ok();
    assert!(done.err.starts_with("no server: starting one in the background"), "{}", done.err);
    assert_eq!(world.run(&["who", "--count"]).ok().out, "0\n");
    world.run(&["stop"]).ok();
    world.run(&["who"]).exits(3);
}

#[test]
fn an_announcement_says_honestly_who_was_reached() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let eve = world.listen(&["--as", "eve", "dev"]);
    let done = world.run(&["announce", "--level", "warning", "reboot at 18:00"]).ok();
    assert_eq!(done.out, "reached 2 of 2\n");
    assert_eq!(bob.next_of("announcement")["level"], "warning");
    eve.signal("STOP");
    let args = ["announce", "--json", "--require", "all", "--timeout", "300ms", "again"];
    let done = world.run(&args).exits(6);
    let receipt = &done.objects()[0];
    assert_eq!((receipt["members"].as_u64(), receipt["reached"].as_u64()), (Some(2), Some(1)));
    assert_eq!(receipt["missing"][0]["pid"], eve.pid());
    eve.signal("CONT");
}

#[test]
fn join_chats_in_line_mode_and_sees_who_comes_and_goes() {
    let world = World::new();
    let _server = world.serve();
    let mut ann = world.join(&["dev"]);
    let mut bob = world.join(&["--as", "bob", "dev"]);
    assert!(ann.next_of("joined")["member"]["name"].as_str().unwrap().ends_with("/bob"));
    bob.say("hi there");
    assert_eq!(ann.texts(1), ["hi there"]);
    ann.say("//slash");
    assert_eq!(bob.texts(2), ["hi there", "/slash"]);
    bob.say("/quit");
    assert_eq!(bob.code(), 0);
    assert_eq!(ann.next_of("left")["reason"], "quit");
}

#[test]
fn a_relative_directory_is_the_callers() {
    let world = World::new();
    let mut send = world.moot(&["--server", "./here", "send", "dev", "hi"]);
    send.env_remove("MOOT_SERVER");
    Done::of(send, None).ok();
    assert!(super::world::exists(&world.path("here/socket")));
    let mut stop = world.moot(&["--server", "here/", "stop"]);
    stop.env_remove("MOOT_SERVER");
    Done::of(stop, None).ok();
}

#[test]
fn a_refused_room_leaves_the_chat_as_it_was() {
    let world = World::with_config("[limits]\nrooms_per_user = 1\n");
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let mut ann = world.join(&["dev"]);
    ann.say("/join other");
    eventually("the reason", || ann.errors().contains("limit"));
    ann.say("still here");
    assert_eq!(bob.texts(1), ["still here"]);
    assert_eq!(ann.texts(1), ["still here"]);
    ann.input = None;
    assert_eq!(ann.code(), 1, "something was refused");
}

#[test]
fn a_question_without_a_server_is_answered_and_the_chat_ends() {
    let world = World::new();
    let mut server = world.serve();
    let mut ann = world.join(&["dev"]);
    server.kill();
    ann.next_of("end");
    ann.say("/rooms");
    eventually("an answer", || ann.errors().contains("no connection"));
    let _server = world.serve();
    ann.next_of("ready");
    ann.input = None;
    assert_eq!(ann.code(), 1);
}

#[test]
fn everything_typed_into_a_pipe_is_said_and_shown() {
    let world = World::new();
    let _server = world.serve();
    let lines: String = (0..3_000).map(|n| format!("{n}\n")).collect();
    let done = world.run_with_input(&["join", "--json", "dev"], lines.as_bytes()).ok();
    let shown = done.objects().into_iter().filter(|o| o["type"] == "message").count();
    assert_eq!(shown, 3_000);
}

#[test]
fn a_direct_message_to_who_was_away_for_a_moment_is_not_lost() {
    let world = World::new();
    let mut server = world.serve();
    let me = moot::os::user_name(moot::os::own_uid()).unwrap();
    let mut asleep = world.listen(&["@"]);
    let mut awake = world.listen(&["@"]);
    server.kill();
    asleep.signal("STOP");
    let _server = world.serve();
    awake.next_of("ready");
    world.run(&["send", &format!("@{me}"), "psst"]).ok();
    assert_eq!(awake.next_of("direct")["text"], "psst");
    asleep.signal("CONT");
    assert_eq!(asleep.next_of("direct")["text"], "psst");
}

#[test]
fn room_listener_gets_no_direct_messages_of_other_labels() {
    let world = World::new();
    let _server = world.serve();
    let me = moot::os::user_name(moot::os::own_uid()).unwrap();
    let mut x = world.listen(&["--as", "x", "dev", "@", "dev", "DEV"]);
    let _y = world.listen(&["--as", "y", "@"]);
    world.run(&["send", &format!("@{me}/y"), "for y"]).ok();
    world.run(&["send", &format!("@{me}/x"), "for x"]).ok();
    assert_eq!(x.next("the first that x sees")["text"], "for x");
}

#[test]
fn naming_a_room_twice_is_one_arrival() {
    let world = World::new();
    let _server = world.serve();
    let mut watcher = world.join(&["dev"]);
    let _twice = world.join(&["dev", "DEV", "dev", "--as", "twice"]);
    let _next = world.join(&["dev", "--as", "next"]);
    let name = |event: serde_json::Value| event["member"]["name"].as_str().unwrap().to_owned();
    assert!(name(watcher.next("the first")).ends_with("/twice"));
    assert!(name(watcher.next("the second")).ends_with("/next"));
}

// Ignored signals.
#[cfg(unix)]
#[test]
fn signals_ignored_by_the_caller_stay_ignored() {
    let world = World::new();
    let _server = world.serve();
    let mut command = std::process::Command::new("sh");
    let moot = env!("CARGO_BIN_EXE_moot");
    command.args(["-c", &format!("trap '' HUP; exec {moot} listen --json --no-start dev")]);
    command.env("MOOT_SERVER", &world.dir).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bob = Process::ready(command);
    bob.signal("HUP");
    world.run(&["send", "dev", "hi"]).ok();
    assert_eq!(bob.texts(1), ["hi"]);
    bob.signal("TERM");
    assert_eq!(bob.code(), 143);
}

#[test]
fn a_reply_names_a_message_that_is_there() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let sent = world.run(&["send", "--json", "dev", "question"]).ok().objects();
    let id = sent[0]["id"].as_str().unwrap();
    world.run(&["send", "dev", "answer", "--reply-to", id]).ok();
    bob.next_of("message");
    assert_eq!(bob.next_of("message")["reply_to"], id);
    world.run(&["send", "dev", "x", "--reply-to", "dev:99"]).exits(5);
    world.run(&["send", "dev", "x", "--reply-to", "other:1"]).exits(5);
    world.run(&["send", "--require", "1", "--lines", "dev"]).exits(6);
}

#[test]
fn message_to_many_members_goes_by_broadcast() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let mut eve = world.listen(&["dev"]);
    let status = || world.run(&["status", "--json"]).ok().objects().remove(0);
    if super::world::broadcast() == "off" {
        world.run(&["send", "dev", "hi"]).ok();
        assert_eq!((bob.texts(1), eve.texts(1)), (vec!["hi".to_owned()], vec!["hi".to_owned()]));
        assert_eq!(status()["broadcast"], "session");
        assert_eq!(status()["broadcast_sent"], 0);
        return;
    }
    assert_eq!(status()["broadcast"], moot::os::BROADCAST_WORD);
    // Once both have been heard of by it, it is the way.
    eventually("a broadcast", || {
        world.run(&["send", "dev", "hi"]).ok();
        assert_eq!((bob.texts(1), eve.texts(1)), (vec!["hi".to_owned()], vec!["hi".to_owned()]));
        status()["broadcast_sent"].as_u64().unwrap() > 3
    });
    assert_eq!(status()["lagging"], 0);
}

#[test]
fn lines_may_come_as_late_as_they_like() {
    let world = World::new();
    let _server = world.serve();
    let mut command = world.moot(&["send", "--lines", "dev"]);
    command.stdin(Stdio::piped());
    let mut sender = Process::spawn(command);
    // It is a session before it has anything to say: a server ends whoever does not begin one soon.
    eventually("it is here", || {
        world.run(&["status", "--json"]).ok().objects()[0]["sessions"] == 1
    });
    sender.say("late");
    sender.input = None;
    assert_eq!(sender.code(), 0, "{}", sender.errors());
    assert_eq!(world.run(&["history", "dev", "--json"]).ok().objects()[0]["text"], "late");
    world.run_with_input(&["send", "--lines", "dev", "-"], b"more\n").ok();
    world.run_with_input(&["send", "--lines", "dev", "words"], b"more\n").exits(2);
    assert_eq!(world.run(&["history", "dev", "--json"]).ok().objects().len(), 2);
}
