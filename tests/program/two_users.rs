//! A system server: several users, rightly named, apart where they should be.

use super::world::{OTHER_UID, Process, THIRD_UID, World, eventually, is_root, user_name};

#[test]
fn a_hosts_server_names_each_user_rightly_whatever_they_say() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    let mut bob = world.listen(&["dev"]);
    let other = user_name(OTHER_UID);
    // A label is only ever a label, whatever it pretends.
    for label in ["root", "admin", "root.root"] {
        world.run_as(OTHER_UID, &["send", "--as", label, "dev", "it is me"]).ok();
        let message = bob.next_of("message");
        assert_eq!(message["from"]["name"], format!("{other}/{label}"));
        assert_eq!(
            (&message["from"]["user"], &message["from"]["uid"]),
            (&other.clone().into(), &OTHER_UID.into())
        );
    }
    // Nor does the environment change it.
    let mut command = world.moot_as(OTHER_UID, &["send", "dev", "still me"]);
    command.env("USER", "root").env("LOGNAME", "root").env("HOME", "/root");
    super::world::Done::of(command, None).ok();
    assert_eq!(bob.next_of("message")["from"]["user"], other);
    // Everybody reads the table and talks.
    assert_eq!(world.run_as(THIRD_UID, &["who", "--count"]).ok().out, "1\n");
    world.run_as(THIRD_UID, &["send", "dev", "me too"]).ok();
    assert_eq!(bob.next_of("message")["from"]["uid"], THIRD_UID);
    // The server is not theirs.
    world.run_as(OTHER_UID, &["stop"]).exits(4);
    world.run(&["send", "dev", "still here"]).ok();
}

#[test]
fn the_allow_list_is_kept() {
    if !is_root() {
        return;
    }
    let allow = format!("[server]\nallow = [\"@{}\"]\n", user_name(THIRD_UID));
    let world = World::with_config(&allow);
    let _server = world.serve_with(&["--system"]);
    world.run_as(THIRD_UID, &["send", "dev", "hi"]).ok();
    let done = world.run_as(OTHER_UID, &["send", "dev", "hi"]).exits(4);
    assert!(done.err.contains("not permitted"), "{}", done.err);
    world.run_as(OTHER_UID, &["who"]).exits(4);
    world.run_as(THIRD_UID, &["who"]).ok();
    world.run(&["send", "dev", "root may"]).ok();
}

#[test]
fn direct_messages_are_seen_by_the_two_and_nobody_else() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    let ready = |uid, args: &[&str]| {
        let mut all = vec!["listen", "--json"];
        all.extend(args);
        Process::ready(world.moot_as(uid, &all))
    };
    let (root, other) = (user_name(0), user_name(OTHER_UID));
    let mut at_other = ready(OTHER_UID, &["@"]);
    let mut with_other = world.listen(&[&format!("@{other}")]);
    let mut third = ready(THIRD_UID, &["@", "dev"]);
    let sent = world.run(&["send", "--json", &format!("@{other}"), "a word"]).ok().objects();
    assert_eq!(sent[0]["with"], other);
    let direct = at_other.next_of("direct");
    assert_eq!((&direct["text"], &direct["with"]), (&"a word".into(), &root.clone().into()));
    assert_eq!(with_other.next_of("direct")["text"], "a word");
    world.run_as(OTHER_UID, &["send", &format!("@{root}"), "an answer"]).ok();
    assert_eq!(with_other.next_of("direct")["text"], "an answer");
    // What the third hears next is what is said to everybody.
    world.run(&["send", "dev", "to all"]).ok();
    assert_eq!(third.next("what the third sees")["text"], "to all");
    world.run(&["send", "@nobody-of-that-name", "x"]).exits(5);
    // Mail to somebody who is not here is kept, where there is a history.
    world.run(&["send", &format!("@{}", user_name(2)), "x"]).ok();
}

#[test]
fn a_label_narrows_a_direct_message() {
    let world = World::new();
    let _server = world.serve();
    let mut ci = world.listen(&["--as", "ci", "@"]);
    let mut mail = world.listen(&["--as", "mail", "@"]);
    let me = user_name(moot::os::own_uid());
    world.run(&["send", &format!("@{me}/ci"), "for ci"]).ok();
    world.run(&["send", &format!("@{me}"), "for all"]).ok();
    assert_eq!(ci.next_of("direct")["text"], "for ci");
    assert_eq!(ci.next_of("direct")["text"], "for all");
    // Numbers meant for other labels are skipped silently.
    assert_eq!(mail.next("the first that mail sees")["text"], "for all");
}

#[test]
fn one_user_can_not_use_up_what_belongs_to_all() {
    if !is_root() {
        return;
    }
    let world = World::with_config("[limits]\nsessions_per_user = 5\nrooms_per_user = 3\n");
    let _server = world.serve_with(&["--system"]);
    let mut greedy = Vec::new();
    for _ in 0..5 {
        let args = ["listen", "--json", "dev"];
        greedy.push(Process::ready(world.moot_as(OTHER_UID, &args)));
    }
    let done = world.run_as(OTHER_UID, &["listen", "dev"]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains('5'), "the limit is named: {}", done.err);
    world.run_as(THIRD_UID, &["send", "dev", "others go on"]).ok();
    drop(greedy);
    eventually("room again", || world.run_as(OTHER_UID, &["send", "dev", "x"]).code == 0);
    for room in ["a", "b"] {
        world.run_as(OTHER_UID, &["room", "create", room]).ok();
    }
    // dev was the first.
    let done = world.run_as(OTHER_UID, &["room", "create", "c"]);
    assert_eq!(done.code, 1, "{}", done.err);
    world.run_as(THIRD_UID, &["room", "create", "c"]).ok();
}
