//! Fair shares: one user does as much as he can, and nobody else is worse off.

use super::world::{OTHER_UID, Process, THIRD_UID, World, eventually, is_root, user_name};

#[test]
fn who_sends_too_much_is_slowed_down_and_told_and_nothing_of_it_is_lost() {
    if !is_root() {
        return;
    }
    let world = World::with_config("[limits]\nmessages_per_second_per_user = 1000\n");
    let _server = world.serve_with(&["--system"]);
    let mut flood = world.moot_as(OTHER_UID, &["send", "--lines", "dev"]);
    flood.stdin(std::process::Stdio::piped());
    let mut flood = Process::spawn(flood);
    let lines: String = (1..=3_000).map(|n| format!("{n}\n")).collect();
    // His other sessions are no way around it.
    let mut second = world.moot_as(OTHER_UID, &["send", "--lines", "dev"]);
    second.stdin(std::process::Stdio::piped());
    let mut second = Process::spawn(second);
    flood.say(lines.trim_end());
    second.say(lines.trim_end());
    (flood.input, second.input) = (None, None);
    eventually("it is told", || flood.errors().contains("rate limit reached"));
    // Meanwhile others speak as if he was not there.
    for n in 0..20 {
        world.run_as(THIRD_UID, &["send", "dev", &format!("quiet {n}")]).ok();
    }
    assert_eq!((flood.code(), second.code()), (0, 0));
    let all = world.run(&["history", "dev", "--json"]).ok().objects();
    assert_eq!(all.len(), 6_020);
    let last = world.run(&["status", "--json"]).ok().objects().remove(0);
    let heaviest = &last["users"][0];
    assert_eq!(heaviest["user"], user_name(OTHER_UID), "{last}");
    assert_eq!(heaviest["messages"], 6_000);
    assert!(heaviest["slowed_ms"].as_u64().unwrap() > 1_000, "{heaviest}");
    assert!(world.run(&["status"]).ok().out.contains(&format!("{}: ", user_name(OTHER_UID))));
}

#[test]
fn who_connects_too_often_is_turned_away_with_a_reason() {
    if !is_root() {
        return;
    }
    let world = World::with_config("[limits]\nconnections_per_second_per_user = 3\n");
    let _server = world.serve_with(&["--system"]);
    let mut refused = None;
    eventually("a refusal", || {
        let done = world.run_as(OTHER_UID, &["send", "dev", "x"]);
        refused = (done.code != 0).then_some(done);
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("connects too often"), "{}", refused.err);
    world.run_as(THIRD_UID, &["send", "dev", "x"]).ok();
    eventually("he may again", || world.run_as(OTHER_UID, &["send", "dev", "x"]).code == 0);
}

#[test]
fn what_one_user_has_in_the_history_is_bounded() {
    if !is_root() {
        return;
    }
    let config = "[history]\nuser_bytes_max = 100000\n[limits]\nrooms_per_user = 10\n";
    let world = World::with_config(config);
    let mut server = world.serve_with(&["--system"]);
    world.run_as(OTHER_UID, &["room", "create", "talk", "--no-history"]).ok();
    let text = vec![b'x'; 30_000];
    let send = |uid, room: &str| {
        let mut command = world.moot_as(uid, &["send", room]);
        command.stdin(std::process::Stdio::piped());
        super::world::Done::of(command, Some(&text))
    };
    eventually("as much as he may have", || send(OTHER_UID, "dev").code != 0);
    let refused = send(OTHER_UID, "dev").exits(1);
    assert!(refused.err.contains("history quota"), "{}", refused.err);
    // Elsewhere and for others it goes on, also after a restart.
    send(OTHER_UID, "talk").ok();
    send(THIRD_UID, "dev").ok();
    world.end(&mut server);
    let _server = world.serve_with(&["--system"]);
    eventually("still refused", || send(OTHER_UID, "dev").code == 1);
    let status = world.run(&["status", "--json"]).ok().objects().remove(0);
    let users = status["users"].as_array().unwrap();
    let other = users.iter().find(|u| u["uid"] == OTHER_UID).unwrap();
    assert!(other["history_bytes"].as_u64().unwrap() >= 100_000, "{status}");
    // When the room is deleted there is room again.
    world.run(&["room", "delete", "dev"]).ok();
    eventually("room again", || send(OTHER_UID, "dev").code == 0);
}

#[test]
fn good_bye_of_a_paused_session_is_found() {
    if !is_root() {
        return;
    }
    // The member stops taking input for half a minute.
    let world = World::with_config("[limits]\nmessages_per_second_per_user = 100\n");
    let _server = world.serve_with(&["--system"]);
    let mut watcher = world.join(&["dev"]);
    let mut talker = world.moot_as(OTHER_UID, &["join", "--json", "--no-start", "dev"]);
    talker.stdin(std::process::Stdio::piped());
    let mut talker = Process::ready(talker);
    for n in 0..5_000 {
        talker.say(&format!("line {n}"));
    }
    talker.next_of("slowed");
    // After these it has taken as much of the input as it may.
    for _ in 0..100 {
        talker.next_of("message");
    }
    talker.signal("TERM");
    assert_eq!(watcher.next_of("left")["reason"], "quit");
}
