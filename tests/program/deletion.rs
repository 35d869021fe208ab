//! A room is deleted while a member of it has no connection: it does not return, and nothing reaches its name's next owner.

use super::world::{OTHER_UID, Process, World, eventually, is_root, skipped};

/// A member that is stopped, and in whose absence the server restarts and loses the room.
struct Away {
    world: World,
    _server: Process,
    member: Process,
}

impl Away {
    fn new(private: bool, command: &[&str]) -> Self {
        let world = World::with_config("[history]\n");
        let mut server = world.serve();
        let create = ["room", "create", "board", "--private"];
        world.run(if private { &create } else { &create[..3] }).ok();
        let mut command = world.moot(command);
        command.stdin(std::process::Stdio::piped());
        let mut member = Process::spawn(command);
        let first = member.line("the first line");
        assert!(first.contains("ready"), "{first}");
        eventually("the member in its room", || {
            world.run(&["rooms", "--json"]).objects()[0]["members"] == 1
        });
        member.signal("STOP");
        server.kill();
        let server = world.serve();
        world.run(&["room", "delete", "board"]).ok();
        Self { world, _server: server, member }
    }

    #[track_caller]
    fn room_is_not_back(&self) {
        let rooms = self.world.run(&["rooms", "--json"]).ok().out;
        assert!(rooms.is_empty(), "{rooms}");
        self.world.run(&["history", "board"]).exits(5);
    }
}

const PRINTS: &str =
    "trap 'exit 0' USR1; echo ready; while :; do echo the salaries; sleep 0.01; done";

#[test]
fn listener_of_deleted_room_ends_with_a_notice() {
    for private in [true, false] {
        let mut away = Away::new(private, &["listen", "--json", "--no-start", "board"]);
        away.member.signal("CONT");
        assert_eq!(away.member.next_of("deleted")["room"], "board");
        away.room_is_not_back();
    }
}

#[test]
fn output_of_run_does_not_recreate_a_deleted_room() {
    for private in [true, false] {
        let mut away = Away::new(private, &["run", "board", "--", "sh", "-c", PRINTS]);
        away.member.signal("CONT");
        eventually("a note", || away.member.errors().contains("was deleted"));
        away.room_is_not_back();
        away.member.signal("USR1");
        assert_eq!(away.member.code(), 0, "{}", away.member.errors());
        away.room_is_not_back();
    }
}

#[test]
fn texts_of_line_mode_do_not_recreate_a_deleted_room() {
    let mut away = Away::new(false, &["join", "--json", "--no-start", "board"]);
    // Typed while the program is stopped, and after it has noticed.
    away.member.say("for board only");
    away.member.signal("CONT");
    assert_eq!(away.member.next_of("deleted")["room"], "board");
    away.member.say("still for board");
    away.member.input = None;
    away.member.code();
    away.room_is_not_back();
}

#[test]
fn next_owner_of_a_name_reads_nothing_of_the_old_room() {
    if !is_root() {
        return skipped("a second user needs root");
    }
    let world = World::with_config("");
    let mut server = world.serve_with(&["--system"]);
    world.run(&["room", "create", "board"]).ok();
    let mut run = Process::spawn(world.moot(&["run", "board", "--", "sh", "-c", PRINTS]));
    assert_eq!(run.line("ready"), "ready");
    eventually("its output", || world.run(&["history", "board"]).out.contains("the salaries"));
    run.signal("STOP");
    server.kill();
    let _server = world.serve_with(&["--system"]);
    world.run(&["room", "delete", "board"]).ok();
    eventually("the name", || world.run_as(OTHER_UID, &["room", "create", "board"]).code == 0);
    let mut other = Process::ready(world.moot_as(OTHER_UID, &["listen", "--json", "board"]));
    run.signal("CONT");
    eventually("a note", || run.errors().contains("was deleted"));
    run.signal("USR1");
    assert_eq!(run.code(), 0);
    world.run_as(OTHER_UID, &["send", "board", "mine"]).ok();
    assert_eq!(other.texts(1), ["mine"], "and nothing before it");
    assert!(!world.run_as(OTHER_UID, &["history", "board"]).ok().out.contains("salaries"));
}
