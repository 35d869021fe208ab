//! Commands that begin with a slash.

use super::{
    SIZES, USUAL, begin, eventually_said, join, join_as_other, keys::ctrl, me, member, said, says,
    wait_in,
};
use crate::world::{OTHER_UID, THIRD_UID, World, eventually, is_root, skipped, user_name};

#[test]
fn an_unknown_one_is_refused_and_two_slashes_say_one() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev"], size);
        term.say("/jion ops");
        term.wait_text("/join");
        term.keys(&ctrl('u'));
        term.wait_input("");
        term.say("/etc/passwd is gone");
        term.wait_text("//");
        term.keys(&ctrl('u'));
        term.wait_input("");
        term.say("//etc/passwd is gone");
        eventually_said(&world, "dev", "/etc/passwd is gone");
        assert_eq!(said(&world, "dev").len(), 1);
    }
}

#[test]
fn rooms_are_joined_described_and_left() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.say("/join ops");
    term.wait("ops is shown", |screen| {
        screen.rows(0, 80).next().is_some_and(|row| row.contains("ops"))
    });
    term.say("in ops");
    eventually_said(&world, "ops", "in ops");
    term.say("/topic what is on fire");
    term.wait("the topic is in the title", |screen| {
        screen.rows(0, 80).next().is_some_and(|row| row.contains("ops · what is on fire"))
    });
    term.say("/part");
    term.wait("dev is shown", |screen| {
        screen.rows(0, 80).next().is_some_and(|row| row.contains("dev"))
    });
    term.say("in dev");
    eventually_said(&world, "dev", "in dev");
    assert_eq!(said(&world, "ops"), ["in ops"]);
}

#[test]
fn one_does_something_with_me() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.say("/me waves");
    eventually_said(&world, "dev", "/me waves");
    term.wait_row("it is an action", |row| {
        row.contains(&format!("{} waves", me())) && !row.contains("/me")
    });
}

#[test]
fn away_and_back() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.say("/away at lunch");
    eventually("away", || {
        member(&world, &me())
            .is_some_and(|row| row["status"] == "at lunch" || row["state"] == "away")
    });
    // In the status bar.
    term.wait_text(&format!("{} (away)", me()));
    term.say("/back");
    eventually("back", || member(&world, &me()).is_some_and(|row| row["state"] != "away"));
    term.wait_gone("(away)");
}

#[test]
fn somebody_is_ignored() {
    if !is_root() {
        skipped("two users need root");
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    let other = user_name(OTHER_UID);
    let mut term = join(&world, &["dev"], USUAL);
    world.run_as(OTHER_UID, &["send", "dev", "one"]).ok();
    term.wait_text("one");
    term.say(&format!("/ignore @{other}"));
    term.wait_text("/unignore");
    world.run_as(OTHER_UID, &["send", "dev", "two"]).ok();
    says(&world, "bob", "dev", "three");
    term.wait_text("three");
    assert!(!term.text().contains("two"));
    term.say(&format!("/unignore @{other}"));
    term.wait_text("no longer ignoring");
    world.run_as(OTHER_UID, &["send", "dev", "four"]).ok();
    term.wait_text("four");
}

#[test]
fn clear_empties_the_screen_only() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    says(&world, "bob", "dev", "one");
    term.wait_text("one");
    term.say("/clear");
    term.wait_gone("one");
    says(&world, "bob", "dev", "two");
    term.wait_text("two");
    assert_eq!(said(&world, "dev"), ["one", "two"]);
}

#[test]
fn rooms_are_listed() {
    let (world, _server) = begin();
    world.run(&["room", "create", "elsewhere"]).ok();
    world.run(&["room", "topic", "elsewhere", "other things"]).ok();
    let mut term = join(&world, &["dev"], USUAL);
    term.say("/rooms");
    term.wait_row("a room", |row| row.contains("elsewhere") && row.contains("other things"));
}

#[test]
fn those_who_rule_a_room_do_it_from_here() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    let other = user_name(OTHER_UID);
    let audit = || world.run(&["status", "--audit"]).ok().out;
    for (act, told) in [
        ("ban", "is banned from dev"),
        ("unban", "is no longer banned from dev"),
        ("mute", "is muted in dev"),
        ("unmute", "is no longer muted in dev"),
        ("op", "is an operator of dev"),
        ("deop", "is no longer an operator of dev"),
    ] {
        term.say(&format!("/{act} @{other}"));
        term.wait_text(&format!("{other} {told}"));
        assert!(audit().contains(&format!("{act} @{other} in dev")));
    }
    term.say(&format!("/invite @{other}"));
    term.wait_rows("it is told", |rows| {
        rows.iter().any(|row| row.contains("invited") && row.contains(&other))
    });
    // Nobody to kick is told.
    term.say(&format!("/kick @{other}"));
    term.wait_text(&format!("@{other} is not in dev"));
}

#[test]
fn help_tells_all_of_them() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], super::LARGE);
    term.say("/help");
    for command in [
        "/help",
        "/join",
        "/part",
        "/msg",
        "/me",
        "/who",
        "/topic",
        "/away",
        "/back",
        "/invite",
        "/kick",
        "/ban",
        "/announce",
        "/ack",
        "/notify",
        "/ignore",
        "/clear",
        "/quit",
    ] {
        term.wait_text(command);
    }
}

#[test]
fn quit_leaves() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.say("/quit");
    assert_eq!(term.code(), 0);
    term.assert_sane();
    // And Ctrl-D in an empty input; a letter there is only deleted.
    let mut term = join(&world, &["dev"], USUAL);
    term.keys("a");
    term.keys(&ctrl('a'));
    term.keys(&ctrl('d'));
    term.wait_input("");
    term.keys(&ctrl('d'));
    assert_eq!(term.code(), 0);
    eventually("nobody is there", || member(&world, &me()).is_none());
}

#[test]
fn refusal_is_shown_and_the_input_is_not_lost() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    let line = "/msg @nobody-of-that-name hello";
    term.say(line);
    term.wait_above("user nobody-of-that-name does not exist");
    // Whole, and where one came from: `hello` alone would be said to everybody there.
    term.wait_input(line);
    wait_in(&term, "dev");
    term.wait_rows("no room beside dev", |rows| !rows.iter().any(|row| row.starts_with("2 ")));
    assert!(said(&world, "dev").is_empty());
}

#[test]
fn refused_message_comes_back_into_the_input() {
    if !is_root() {
        skipped("two users need root");
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    world.run(&["room", "create", "--read-only", "news"]).ok();
    let mut term = join_as_other(&world, &["news"]);
    term.say("may I?");
    term.wait_above("news is read-only");
    term.wait_input("may I?");
    term.wait_rows("nothing waits to be said", |rows| {
        rows.iter().filter(|row| row.contains("may I?")).count() == 1
    });
    assert!(said(&world, "news").is_empty());
}

#[test]
fn refused_command_comes_back_into_the_input() {
    if !is_root() {
        skipped("two users need root");
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    world.run(&["room", "create", "dev"]).ok();
    let mut term = join_as_other(&world, &["dev"]);
    for command in ["/op", "/kick"] {
        let line = format!("{command} @{}", user_name(THIRD_UID));
        term.say(&line);
        term.wait_above(&format!("only the creator of dev ({})", me()));
        term.wait_input(&line);
        term.keys(&ctrl('u'));
        term.wait_input("");
    }
}
