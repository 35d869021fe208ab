//! Results that scripts go by: what is counted, what is refused, and an object for each command.

use serde_json::Value;

use super::world::{Process, World, eventually};

fn user(world: &World) -> String {
    world.who(&[]).0[0]["user"].as_str().unwrap().to_owned()
}

#[test]
fn requirement_is_not_met_by_an_empty_room() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "dev", "hi"]).ok();
    for require in [&["--require", "all"][..], &["--require-users", "all"], &["--require", "1"]] {
        for more in [&[][..], &["--to", "dev"], &["--ack", "--wait", "acked"], &["--json"]] {
            let args = [&["announce", "--timeout", "2s", "may I deploy?"], require, more].concat();
            let done = world.run(&args).exits(6);
            assert!(done.err.contains("no member is present; --retain shows it"), "{}", done.err);
        }
    }
    let kept = world.run(&["announce", "--retain", "--require", "all", "later"]).exits(6);
    assert!(kept.err.contains("later members will see it"), "{}", kept.err);
    let _member = world.listen(&["dev"]);
    world.run(&["announce", "--require", "all", "now"]).ok();
}

#[test]
fn users_are_counted_apart_from_their_sessions() {
    let world = World::new();
    let _server = world.serve();
    let _members = ["a", "b", "c"].map(|label| world.listen(&["--as", label, "ops"]));
    world.run(&["announce", "--require", "3", "x"]).ok();
    for require in ["1", "all"] {
        world.run(&["announce", "--require-users", require, "x"]).ok();
        world.run(&["announce", "--require", "3", "--require-users", require, "x"]).ok();
    }
    let done = world.run(&["announce", "--require-users", "2", "x"]).exits(6);
    assert!(done.err.contains("reached 1 user, and 2 are required"), "{}", done.err);
    let done = world.run(&["announce", "--require", "4", "x"]).exits(6);
    assert!(done.err.contains("reached 3 sessions, and 4 are required"), "{}", done.err);
    world.run(&["announce", "--require-users", "all", "--in", "1h", "x"]).exits(2);
}

#[test]
fn acknowledgment_counts_for_all_sessions_of_the_user() {
    let world = World::new();
    let _server = world.serve();
    let mut oncall = world.listen(&["--as", "oncall", "--kind", "person", "ops"]);
    let _second = world.listen(&["ops"]);
    let user = user(&world);
    for require in
        [&["--require", "all"][..], &["--require-users", "1"], &["--require-users", "all"]]
    {
        let args = ["announce", "--json", "--ack", "--wait", "acked", "--timeout", "60s"];
        let args = [&args[..], require, &["--to", "ops", "deploy?"]].concat();
        let mut asking = Process::spawn(world.moot(&args));
        let id = oncall.next_of("announcement")["id"].as_str().unwrap().to_owned();
        let said = world.run(&["notices", "ack", &id]).ok().out;
        let expected = format!(
            "acknowledged {id} for all sessions of {user}; acknowledged by 2 of 2 sessions"
        );
        assert_eq!(said.trim(), expected);
        let receipt: Value = serde_json::from_str(&asking.line("the receipt")).unwrap();
        assert_eq!([&receipt["acked"], &receipt["users_acked"]], [2, 1], "{receipt}");
        assert_eq!(asking.code(), 0, "{require:?}");
        let said = world
            .run(&["--as", "oncall", "notices", "ack", &id, "--json"])
            .ok()
            .objects()
            .remove(0);
        assert_eq!((&said["type"], &said["acked"]), (&"acknowledged".into(), &2.into()));
        assert_eq!(said["user"], user);
        // Badges are counted a moment later.
        eventually("no announcement to look at", || {
            world.run(&["badge", "--json"]).ok().objects()[0]["announcements"] == 0
        });
    }
}

#[test]
fn topic_is_shown_and_only_removed_on_demand() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["room", "create", "dev"]).ok();
    let none = world.run(&["room", "topic", "dev"]).ok();
    assert!(none.out.is_empty() && none.err.contains("dev has no topic"), "{}", none.err);
    world.run(&["room", "topic", "dev", "all", "about it"]).ok();
    for _ in 0..2 {
        assert_eq!(world.run(&["room", "topic", "dev"]).ok().out, "all about it\n");
    }
    let shown = world.run(&["--json", "room", "topic", "dev"]).ok().objects().remove(0);
    assert_eq!((&shown["type"], &shown["topic"]), (&"topic".into(), &"all about it".into()));
    world.run(&["room", "topic", "dev", ""]).exits(2);
    world.run(&["room", "topic", "dev", "x", "--clear"]).exits(2);
    world.run(&["room", "topic", "nowhere"]).exits(5);
    assert_eq!(world.run(&["room", "topic", "dev"]).ok().out, "all about it\n");
    world.run(&["room", "topic", "dev", "--clear"]).ok();
    assert_eq!(world.run(&["room", "topic", "dev"]).ok().out, "");
}

#[test]
fn filters_of_listen_hold_for_announcements() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["announce", "--retain", "nothing of that"]).ok();
    let filters: [&[&str]; 2] = [&["--match", "^build"], &["--mentions"]];
    for filter in filters {
        let mut args = vec!["dev"];
        args.extend(filter);
        let mut listener = world.listen(&args);
        let user = user(&world);
        world.run(&["announce", "nothing of that either"]).ok();
        world.run(&["notices", "cancel", "!1"]);
        world.run(&["announce", &format!("build ok, @{user}")]).ok();
        world.run(&["send", "dev", &format!("build done, @{user}")]).ok();
        assert_eq!(
            listener.next("an announcement")["text"],
            format!("build ok, @{user}"),
            "{filter:?}"
        );
        assert_eq!(listener.next("a message")["text"], format!("build done, @{user}"));
    }
    let mut all = world.listen(&["dev"]);
    world.run(&["announce", "for all"]).ok();
    assert_eq!(all.next("an announcement")["text"], "for all");
}

// Signals and pipes of a POSIX system.
#[cfg(unix)]
#[test]
fn watching_command_ends_when_its_reader_is_gone() {
    let world = World::new();
    let _server = world.serve();
    let _member = world.listen(&["dev"]);
    for args in [
        &["who", "--watch"][..],
        &["who", "--watch", "--json"],
        &["who", "dev", "--watch"],
        &["status", "--watch"],
        &["wait", "--here", "@root/never"],
        &["wait", "dev", "--here", "@root/never"],
    ] {
        let mut command = world.moot(args);
        let mut child = command.stdin(std::process::Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        eventually(&format!("{args:?} has ended"), || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }
}

#[test]
fn state_that_reaches_no_session_says_so() {
    let world = World::new();
    let _server = world.serve();
    let _script = world.listen(&["dev"]);
    let away = world.run(&["away", "lunch"]).ok();
    assert!(away.err.contains("you have no session of kind person now"), "{}", away.err);
    let said = world.run(&["--json", "back"]).ok();
    assert_eq!(said.objects()[0]["sessions"], 0);
    let _person = world.listen(&["--kind", "person", "dev"]);
    eventually("it is in the table", || world.who(&[]).0.len() == 2);
    assert_eq!(world.run(&["away", "lunch"]).ok().err, "");
    assert_eq!(world.run(&["--json", "back"]).ok().objects()[0]["sessions"], 1);
    let long = "x".repeat(121);
    let refused = world.run(&["away", &long]).exits(2);
    assert!(refused.err.contains("121 bytes (limit 120)"), "{}", refused.err);
    world.run(&["away", &long[1..]]).ok();
    let row = world.who(&[]).0.into_iter().find(|row| row["kind"] == "person").unwrap();
    eventually("the status", || {
        let rows = world.who(&[]).0;
        rows.iter().any(|row| row["status"] == long[1..])
    });
    assert_eq!(row["kind"], "person");
}

#[test]
fn user_that_does_not_exist_is_refused_everywhere() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "dev", "hi"]).ok();
    let _member = world.listen(&["--as", "here", "dev"]);
    let user = user(&world);
    for args in [
        &["listen", "dev", "--from"][..],
        &["wait", "dev", "--from"],
        &["wait", "--gone"],
        &["wait", "--here"],
        &["who", "--user"],
        &["search", "hi", "--from"],
        &["kick"],
    ] {
        for name in ["@no-such-user", "no-such-user"] {
            let done = world.run(&[args, &[name]].concat()).exits(5);
            assert!(done.err.contains("no-such-user"), "{args:?}: {}", done.err);
        }
    }
    for name in [user.clone(), format!("@{user}")] {
        world.run(&["who", "--user", &name]).ok();
        world.run(&["search", "hi", "--from", &name]).ok();
        world.run(&["wait", "--here", &name]).ok();
        world.run(&["wait", "dev", "--from", &name, "--since", "1h"]).ok();
        world.run(&["listen", "dev", "--from", &name, "--last", "1", "--count", "1"]).ok();
    }
    let typo = world.run(&["wait", "--gone", &format!("{user}/typo")]).ok();
    assert!(typo.err.contains("/typo has no session"), "{}", typo.err);
    world.run(&["kick", &format!("{user}/here")]).ok();
}

#[test]
fn refused_line_of_join_is_a_failure() {
    let world = World::new();
    let _server = world.serve();
    for (line, code) in [
        ("/usr/bin/foo is broken\n", 2),
        ("/part\nhello\n", 2),
        ("/reply x\n", 2),
        ("hello\n", 0),
        ("//usr/bin is said\n", 0),
    ] {
        let done = world.run_with_input(&["join", "--plain", "dev"], line.as_bytes()).exits(code);
        assert_eq!(done.err.contains("moot: "), code != 0, "{line}: {}", done.err);
    }
    for end in ["", "\n", "\nhello\n"] {
        let line = "x".repeat(70_000) + end;
        let done = world.run_with_input(&["join", "--plain", "dev"], line.as_bytes()).exits(2);
        assert!(done.err.contains("70000 bytes"), "{}", done.err);
    }
}

#[test]
fn each_command_answers_json_with_an_object() {
    let world = World::new();
    let mut server = world.serve();
    let _member = world.listen(&["--as", "x", "dev"]);
    let user = format!("@{}", user(&world));
    world.run(&["announce", "--retain", "--ack", "x"]).ok();
    for (args, kind) in [
        (&["room", "create", "den", "--private"][..], "ok"),
        (&["room", "invite", "den", &user], "ok"),
        (&["room", "topic", "den", "about"], "ok"),
        (&["room", "topic", "den"], "topic"),
        (&["room", "topic", "den", "--clear"], "ok"),
        (&["room", "mute", "den", "@#4000000"], "ok"),
        (&["room", "unmute", "den", "@#4000000"], "ok"),
        (&["room", "delete", "den"], "ok"),
        (&["away", "lunch"], "ok"),
        (&["back"], "ok"),
        (&["notices", "ack", "!1"], "acknowledged"),
        (&["notices", "cancel", "!1"], "ok"),
        (&["kick", &format!("{user}/x")], "ok"),
        (&["serve", "--check"], "ok"),
        (&["status"], "status"),
        (&["badge"], "badge"),
        (&["stop"], "ok"),
    ] {
        let done = world.run(&[args, &["--json"]].concat()).ok();
        let objects = done.objects();
        assert_eq!(objects.len(), 1, "{args:?}: {}", done.out);
        assert_eq!(objects[0]["type"], kind, "{args:?}");
    }
    server.code();
}
