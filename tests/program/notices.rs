//! Announcements: who has them, who said so, those that wait, those that stay, those that are taken back.

use serde_json::Value;

use super::world::{Process, World, eventually};

fn announce(world: &World, args: &[&str]) -> Value {
    let mut all = vec!["announce", "--json"];
    all.extend(args);
    world.run(&all).ok().objects().remove(0)
}

fn notices(world: &World) -> Vec<Value> {
    world.run(&["notices", "list", "--json"]).ok().objects()
}

fn ears(world: &World) -> Process {
    world.listen(&["--announcements"])
}

#[test]
fn late_member_sees_retained_announcements_first_and_once() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "before"]).ok();
    announce(&world, &["--retain", "--level", "warning", "stays"]);
    announce(&world, &["passes"]);
    announce(&world, &["--retain", "--expires", "300ms", "soon over"]);
    announce(&world, &["--retain", "--to", "dev", "for dev"]);
    eventually("one is over", || notices(&world).iter().any(|n| n["state"] == "expired"));
    let mut late = world.listen(&["dev", "--last", "5"]);
    let first = late.next("what is retained");
    assert_eq!((&first["text"], &first["retained"]), (&"stays".into(), &true.into()));
    assert_eq!(late.next("what is retained for the room")["text"], "for dev");
    assert_eq!(late.next("the backlog")["text"], "before");
    // Over a restart, and not once more for who comes back.
    for end in ["TERM", "KILL"] {
        if end == "KILL" {
            server.kill();
        } else {
            world.end(&mut server);
        }
        server = world.serve();
        eventually("it is back", || late.next("an event")["type"] == "ready");
        assert_eq!(ears(&world).next("what is retained")["text"], "stays");
    }
    world.run(&["send", "dev", "after"]).ok();
    assert_eq!(late.next("what comes next")["text"], "after");
    world.run(&["notices", "cancel", "!1"]).ok();
    assert_eq!(late.next("the end of it")["type"], "cancelled");
    let mut later = world.listen(&["dev"]);
    assert_eq!(later.next("the other one")["text"], "for dev");
    world.run(&["notices", "cancel", "1"]).exits(1);
    world.run(&["notices", "cancel", "!99"]).exits(5);
    world.run(&["notices", "cancel", "dev:1"]).exits(2);
}

#[test]
fn scheduled_announcement_comes_once_over_restarts() {
    let world = World::new();
    let mut server = world.serve();
    let mut bob = ears(&world);
    let soon = announce(&world, &["--in", "300ms", "soon"]);
    let id = soon["id"].as_str().unwrap();
    assert_eq!((&soon["type"], id.starts_with("!+")), (&"scheduled".into(), true));
    assert_eq!(bob.next("it came")["text"], "soon");
    assert_eq!(world.run(&["notices", "show", id, "--json"]).ok().objects()[0]["id"], "!1");
    let never = announce(&world, &["--in", "1h", "never"]);
    let since = std::time::Instant::now();
    announce(&world, &["--in", "700ms", "while it is down"]);
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let tomorrow = format!("{tomorrow:.6}");
    announce(&world, &["--at", &tomorrow, "later"]);
    let waiting = notices(&world);
    assert_eq!(waiting.iter().filter(|n| n["state"] == "waiting").count(), 3, "{waiting:?}");
    assert_eq!(waiting[2]["at"], tomorrow);
    server.kill();
    eventually("its time has come", || since.elapsed().as_millis() > 800);
    server = world.serve();
    // Whoever is back by then has it by its stream; it came once.
    loop {
        let next = bob.next("the one that came meanwhile");
        if next["type"] == "announcement" {
            assert_eq!((&next["text"], &next["id"]), (&"while it is down".into(), &"!2".into()));
            break;
        }
    }
    world.run(&["notices", "cancel", never["id"].as_str().unwrap()]).ok();
    world.end(&mut server);
    let _server = world.serve();
    let left = notices(&world);
    let texts: Vec<_> = left.iter().map(|n| n["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["later", "while it is down", "soon"]);
    announce(&world, &["now"]);
    loop {
        let next = bob.next("the next announcement");
        if next["type"] == "announcement" {
            assert_eq!((&next["text"], &next["id"]), (&"now".into(), &"!3".into()));
            break;
        }
    }
    for bad in [
        &["--at", "2020-01-01T00:00:00Z"][..],
        &["--at", "2h"],
        &["--at", "dev:1"],
        &["--in", "999d"],
    ] {
        let mut args = vec!["announce", "x"];
        args.extend(bad);
        world.run(&args).exits(2);
    }
}

#[test]
fn acknowledging_is_by_user_and_kept() {
    let world = World::new();
    let mut server = world.serve();
    let mut one = world.listen(&["--as", "ann", "dev"]);
    let _two = world.listen(&["--as", "ann", "dev"]);
    let _bob = world.listen(&["--as", "bob", "dev"]);
    let mut asking = Process::spawn(world.moot(&[
        "announce",
        "--json",
        "--ack",
        "--wait",
        "acked",
        "--require",
        "2",
        "--timeout",
        "20s",
        "seen?",
    ]));
    assert_eq!(one.next_of("announcement")["ack"], true);
    assert_eq!(world.run(&["--as", "ann", "badge", "--json"]).ok().objects()[0]["type"], "badge");
    eventually("it is in the badge", || {
        world.run(&["--as", "ann", "badge"]).ok().out.contains("!1")
    });
    world.run(&["--as", "ann", "notices", "ack", "!1"]).ok();
    let receipt: Value = serde_json::from_str(&asking.line("the receipt")).unwrap();
    assert_eq!(asking.code(), 0);
    let counts = ["members", "reached", "acked", "users_acked"].map(|key| receipt[key].as_u64());
    assert_eq!(counts, [3, 3, 3, 1].map(Some));
    world.run(&["--as", "ann", "notices", "ack", "!1"]).ok();
    world.run(&["notices", "ack", "!9"]).exits(5);
    let args = ["announce", "--wait", "acked", "--require", "all", "--timeout", "200ms", "again?"];
    let done = world.run(&args).exits(6);
    assert!(done.out.starts_with("reached 3 of 3, acknowledged 0"), "{}", done.out);
    eventually("not in the badge", || {
        !world.run(&["--as", "ann", "badge"]).ok().out.contains("!2")
    });
    server.kill();
    let _server = world.serve();
    let shown = world.run(&["notices", "show", "!1", "--json"]).ok().objects().remove(0);
    assert_eq!((&shown["acked"], &shown["text"]), (&3.into(), &"seen?".into()));
    assert_eq!(shown["members"], 3);
    let by = shown["acked_by"].as_array().unwrap();
    assert!(by.len() == 1 && by[0].as_str().unwrap().ends_with("/ann"), "{shown}");
}

#[test]
fn a_dry_run_tells_nobody_and_a_daemon_hears_by_level() {
    let world = World::new();
    let _server = world.serve();
    let mut daemon = world.listen(&["--announcements", "--level", "warning", "--count", "2"]);
    let _other = world.listen(&["dev"]);
    let dry = announce(&world, &["--dry-run", "--level", "critical", "nothing"]);
    assert_eq!((&dry["type"], &dry["members"]), (&"dry_run".into(), &2.into()));
    assert_eq!(announce(&world, &["--dry-run", "--to", "dev", "nothing"])["members"], 1);
    world.run(&["announce", "--dry-run", "--to", "none", "nothing"]).exits(5);
    announce(&world, &["a notice"]);
    announce(&world, &["--level", "critical", "one"]);
    world.run(&["send", "dev", "not this"]).ok();
    announce(&world, &["--level", "warning", "two"]);
    let heard: Vec<_> = (0..2).map(|_| daemon.next("an announcement")["text"].clone()).collect();
    assert_eq!(heard, ["one", "two"]);
    assert_eq!(daemon.code(), 0);
    assert_eq!(notices(&world).len(), 3);
    world.run(&["listen"]).exits(2);
    world.run(&["listen", "--level", "info", "dev"]).exits(2);
}

#[test]
fn a_last_will_is_said_when_the_process_dies_and_only_then() {
    let world = World::new();
    let mut server = world.serve();
    let mut bob = world.listen(&["dev"]);
    // One that has seen enough leaves.
    let left = ["--as", "left", "--count", "1", "--will", "never said", "dev"];
    let mut left = world.listen(&left);
    world.run(&["send", "dev", "x"]).ok();
    assert_eq!(left.code(), 0);
    let mut ann = world.listen(&["--as", "ann", "--will", "the build died", "dev"]);
    // It still stands after the server was another one.
    world.end(&mut server);
    let _server = world.serve();
    eventually("both are back", || world.run(&["send", "dev", "x", "--require", "2"]).code == 0);
    ann.kill();
    let will = loop {
        let message = bob.next_of("message");
        if message["text"] != "x" {
            break message;
        }
    };
    assert_eq!(will["text"], "the build died");
    assert_eq!(will["will"], "killed");
    assert!(will["from"]["name"].as_str().unwrap().ends_with("/ann"));
    // Its reason is kept with it.
    let told = world.run(&["history", "dev", "--last", "1"]).ok().out;
    assert!(told.contains("the build died (killed)"), "{told}");
}

#[test]
fn will_of_a_killed_member_is_sent_in_each_room() {
    let world = World::new();
    let _server = world.serve();
    let rooms = ["dev", "ops", "qa"];
    let mut heard = rooms.map(|room| world.listen(&[room]));
    let mut ann = world.listen(&[&["--will", "the build died"][..], &rooms].concat());
    ann.kill();
    for (heard, room) in heard.iter_mut().zip(rooms) {
        let will = heard.next_of("message");
        assert_eq!((&will["room"], &will["text"]), (&room.into(), &"the build died".into()));
    }
}

/// Signals that stop a process are not everywhere.
#[cfg(unix)]
#[test]
fn a_receipt_of_two_hundred_is_right_to_the_last_one() {
    let world = World::new();
    let server = world.serve();
    let mut members: Vec<_> = (0..200)
        .map(|n| Process::spawn(world.moot(&["listen", "--json", "--as", &format!("m{n}"), "dev"])))
        .collect();
    for member in &mut members {
        assert_eq!(member.next("ready")["type"], "ready");
    }
    for member in &members[..15] {
        member.signal("STOP");
    }
    let args = ["announce", "--json", "--require", "all", "--timeout", "8s", "reboot at 18:00"];
    let mut asking = Process::spawn(world.moot(&args));
    // Those who live have it; then five of those who sleep die.
    for member in &mut members[15..] {
        assert_eq!(member.next("the announcement")["text"], "reboot at 18:00");
    }
    for member in &mut members[..5] {
        member.kill();
    }
    let receipt: Value = serde_json::from_str(&asking.line("the receipt")).unwrap();
    assert_eq!(asking.code(), 6);
    let counts = ["members", "reached"].map(|key| receipt[key].as_u64().unwrap());
    assert_eq!(counts, [200, 185]);
    let missing = receipt["missing"].as_array().unwrap();
    let mut expected: Vec<_> =
        (0..15).map(|n| (members[n].pid(), if n < 5 { "gone" } else { "unresponsive" })).collect();
    let mut found: Vec<_> = missing
        .iter()
        .map(|m| (m["pid"].as_u64().unwrap() as u32, m["state"].as_str().unwrap()))
        .collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    // The same by its id, in words, and once they wake up.
    let shown = world.run(&["notices", "show", "1"]).ok().out;
    assert!(shown.contains("reached 185 of 200; missing: "), "{shown}");
    for member in &members[5..15] {
        member.signal("CONT");
    }
    eventually("the sleepers have it", || {
        let shown = world.run(&["notices", "show", "1", "--json"]).ok().objects().remove(0);
        shown["reached"] == 195 && shown["missing"].as_array().unwrap().len() == 5
    });
    let done = world.run(&["announce", "--timeout", "300ms", "again"]).ok();
    assert_eq!(done.out, "reached 195 of 195\n");
    server.signal("STOP");
    world.run(&["announce", "--timeout", "300ms", "nobody answers"]).exits(124);
    server.signal("CONT");
}

/// The tool is a script of ours, in the place of the desktop's.
#[cfg(unix)]
#[test]
fn an_announcement_becomes_a_notification_of_the_desktop() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let _server = world.serve();
    let (bin, told) = (world.path("bin"), world.path("told"));
    std::fs::create_dir(&bin).unwrap();
    let script =
        format!("#!/bin/sh\nprintf '%s|' \"$@\" > {0}.new && mv {0}.new {0}\n", told.display());
    std::fs::write(bin.join("notify-send"), script).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bin.join("notify-send"), mode).unwrap();
    let args = ["listen", "--json", "--announcements", "--notify", "--level", "warning"];
    let mut command = world.moot(&args);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let mut daemon = Process::ready(command);
    announce(&world, &["--level", "critical", "<b>reboot</b> at\u{1b} 18:00 & so on"]);
    assert_eq!(daemon.next("it prints it, too")["level"], "critical");
    eventually("the notification", || told.exists());
    let told = std::fs::read_to_string(&told).unwrap();
    let words: Vec<_> = told.split('|').collect();
    assert_eq!(words[..3], ["--app-name=moot", "--urgency=critical", "--"]);
    assert!(words[3].starts_with("critical from "), "{told}");
    assert_eq!(words[4], "&lt;b&gt;reboot&lt;/b&gt; at\\u{1b} 18:00 &amp; so on");
    let mut command = world.moot(&args);
    command.env("PATH", world.path("nowhere"));
    super::world::Done::of(command, None).exits(1);
}

#[cfg(unix)]
#[test]
fn room_announcement_during_a_break_is_shown_on_return() {
    let world = World::new();
    let mut server = world.serve();
    let mut bob = world.listen(&["dev"]);
    world.run(&["send", "dev", "x"]).ok();
    assert_eq!(bob.texts(1), ["x"]);
    bob.signal("STOP");
    server.kill();
    let _server = world.serve();
    announce(&world, &["--to", "dev", "to the room"]);
    announce(&world, &["to all"]);
    announce(&world, &["--expires", "1ms", "over by then"]);
    world.run(&["room", "create", "other"]).ok();
    announce(&world, &["--to", "other", "to others"]);
    announce(&world, &["last"]);
    bob.signal("CONT");
    let heard: Vec<_> = (0..3).map(|_| bob.next_of("announcement")["text"].clone()).collect();
    assert_eq!(heard, ["to the room", "to all", "last"]);
}

#[test]
fn recipients_are_known_after_the_server_is_killed() {
    let world = World::new();
    let mut server = world.serve();
    let _bob = world.listen(&["dev"]);
    let _eve = world.listen(&["dev"]);
    announce(&world, &["--ack", "seen?"]);
    // What the next command finds kept was kept after it.
    world.run(&["notices", "ack", "!1"]).ok();
    server.kill();
    let _server = world.serve();
    let receipt = world.run(&["notices", "show", "!1", "--json"]).ok().objects().remove(0);
    assert_eq!(receipt["members"], 2, "{receipt}");
}

#[test]
fn people_are_told_what_is_asked_of_them() {
    let world = World::new();
    let _server = world.serve();
    let mut command = world.moot(&["join", "--no-start", "dev"]);
    command.stdin(std::process::Stdio::piped());
    let mut bob = Process::spawn(command);
    eventually("he is in", || world.who(&[]).0.len() == 1);
    world.run(&["announce", "--ack", "seen?\nreally?"]).ok();
    let asked = bob.line("the announcement");
    assert!(asked.contains("seen?"), "{asked}");
    let asked = bob.line("its second line");
    assert!(asked.ends_with("(acknowledge: moot notices ack 1)"), "{asked}");
    bob.say("/ack");
    eventually("acknowledged", || {
        world.run(&["notices", "show", "1", "--json"]).ok().objects()[0]["acked"] == 1
    });
    assert!(world.run(&["notices", "list"]).ok().out.contains("seen? …"));
    // A will needs rooms, and not many; nothing is announced that is over at once.
    world.run(&["listen", "--announcements", "--will", "x"]).exits(2);
    let many: Vec<String> = (0..9).map(|n| format!("r{n}")).collect();
    let mut args = vec!["listen", "--will", "x"];
    args.extend(many.iter().map(String::as_str));
    world.run(&args).exits(2);
    world.run(&["announce", "--expires", "0s", "x"]).exits(2);
}
