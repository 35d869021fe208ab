//! Files of a server that are removed while it runs: it is found again, or it ends with a word.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use moot::os::LockState;

use crate::world::{Done, Process, World, eventually, exists};

fn pid_of(world: &World) -> u64 {
    world.run(&["status", "--json"]).ok().objects()[0]["pid"].as_u64().unwrap()
}

/// Removes a directory into which a server still writes.
fn remove_all(dir: &Path) {
    eventually("it is removed", || fs::remove_dir_all(dir).is_ok() || !exists(dir));
}

#[track_caller]
fn reaches(world: &World, member: &mut Process, text: &str) {
    world.run(&["send", "dev", text]).ok();
    assert_eq!(member.texts(1), [text]);
}

#[test]
fn removed_socket_is_made_again_and_found_by_all() {
    let world = World::new();
    let server = world.serve();
    let mut member = world.listen(&["dev"]);
    for text in ["one", "two"] {
        fs::remove_file(world.dir.join("socket")).unwrap();
        // Not even a command that starts no server has to try again.
        world.run(&["--no-start", "send", "dev", text]).ok();
        assert_eq!(member.texts(1), [text]);
    }
    fs::remove_file(world.dir.join("socket")).unwrap();
    fs::write(world.dir.join("socket"), "another program's").unwrap();
    reaches(&world, &mut member, "three");
    assert_eq!(pid_of(&world), u64::from(server.pid()));
    fs::remove_file(world.dir.join("socket")).unwrap();
    world.run(&["stop"]).ok();
    assert!(!exists(&world.dir.join("socket")));
}

#[test]
fn removed_table_is_made_again_with_all_members() {
    let world = World::new();
    let _server = world.serve();
    let mut members = [world.listen(&["--as", "a", "dev"]), world.listen(&["--as", "b", "ops"])];
    fs::remove_file(world.dir.join("presence")).unwrap();
    eventually("the table is back", || world.run(&["who"]).code == 0);
    let (rows, _) = world.who(&[]);
    let mut rooms: Vec<_> = rows.iter().map(|row| row["rooms"][0].as_str().unwrap()).collect();
    rooms.sort_unstable();
    assert_eq!(rooms, ["dev", "ops"]);
    // It is written to, too.
    members[1].kill();
    eventually("one has gone", || world.who(&[]).0.len() == 1);
}

#[test]
fn removed_lock_is_made_again_and_no_second_server_starts() {
    let world = World::new();
    let server = world.serve();
    let mut member = world.listen(&["dev"]);
    for _ in 0..3 {
        fs::remove_file(world.dir.join("lock")).unwrap();
        let done = world.run(&["serve"]).exits(1);
        assert!(done.err.contains(&format!("pid {}", server.pid())), "{}", done.err);
        eventually("the lock is held", || {
            let held = moot::os::query(&world.dir.join("lock")).unwrap();
            matches!(held, LockState::Held(Some(note)) if note.pid == server.pid())
        });
    }
    reaches(&world, &mut member, "still one");
    world.run(&["who"]).ok();
}

#[test]
fn server_whose_place_another_took_ends_with_a_word() {
    let world = World::new();
    let mut server = world.serve();
    let mut member = world.listen(&["dev"]);
    server.signal("STOP");
    remove_all(&world.dir);
    let second = world.serve();
    server.signal("CONT");
    assert_eq!(server.code(), 1);
    let errors = server.errors();
    assert!(errors.contains(&format!("pid {}", second.pid())), "{errors}");
    member.next_of("end");
    let mut member = world.listen(&["dev"]);
    reaches(&world, &mut member, "to the second");
    // What the first one left behind takes nothing from the second.
    for name in ["socket", "presence", "lock", "history.db", "history.db-wal"] {
        assert!(exists(&world.dir.join(name)), "{name}");
    }
    world.run(&["doctor"]).ok();
}

#[test]
fn removed_directory_without_history_is_made_again() {
    let world = World::new();
    let server = world.serve_with(&["--history", "off"]);
    let mut member = world.listen(&["dev"]);
    remove_all(&world.dir);
    eventually("it can be reached", || world.run(&["--no-start", "send", "dev", "back"]).code == 0);
    assert_eq!(member.texts(1), ["back"]);
    assert_eq!(pid_of(&world), u64::from(server.pid()));
    let mode = fs::metadata(&world.dir).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    world.run(&["who"]).ok();
}

#[test]
fn removed_directory_with_history_ends_the_server() {
    let world = World::new();
    let mut server = world.serve();
    let mut member = world.listen(&["dev"]);
    world.run(&["send", "dev", "lost"]).ok();
    assert_eq!(member.texts(1), ["lost"]);
    remove_all(&world.dir);
    assert_eq!(server.code(), 1);
    assert!(server.errors().contains("removed"), "{}", server.errors());
    member.next_of("end");
    world.run(&["send", "dev", "begun again"]).ok();
    let mut member = world.listen(&["dev"]);
    reaches(&world, &mut member, "heard");
    world.run(&["stop"]).ok();
}

#[test]
fn removed_history_refuses_messages_and_is_reported() {
    let world = World::new();
    let mut server = world.serve();
    for name in ["history.db", "history.db-wal"] {
        world.run(&["send", "dev", "stored"]).ok();
        let (path, aside) = (world.dir.join(name), world.path(name));
        fs::rename(&path, &aside).unwrap();
        let done = world.run(&["send", "dev", "into the void"]).exits(1);
        assert!(done.err.contains(name), "{}", done.err);
        let done = world.run(&["status"]).exits(1);
        assert!(done.err.contains(name), "{}", done.err);
        let done = world.run(&["doctor"]).exits(1);
        assert!(done.out.contains(name), "{}", done.out);
        // Replaced is as bad as removed.
        fs::copy(&aside, &path).unwrap();
        world.run(&["send", "dev", "into another file"]).exits(1);
        fs::rename(&aside, &path).unwrap();
        eventually("it is well again", || world.run(&["status"]).code == 0);
    }
    world.run(&["send", "dev", "after"]).ok();
    world.end(&mut server);
    let _server = world.serve();
    let texts: Vec<_> = world.run(&["history", "dev", "--json"]).ok().objects();
    let texts: Vec<_> = texts.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["stored", "stored", "after"]);
}

/// A user with a home and a runtime directory.
struct User {
    world: World,
    run: PathBuf,
}

impl User {
    fn new() -> Self {
        let world = World::new();
        let run = world.path("run");
        make(&run);
        Self { world, run }
    }

    fn moot(&self, args: &[&str]) -> Command {
        let mut command = self.world.moot(args);
        command.env_remove("MOOT_SERVER").env("XDG_RUNTIME_DIR", &self.run);
        command.env("XDG_STATE_HOME", self.world.path("state"));
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(self.moot(args), None)
    }

    fn pid(&self) -> u64 {
        let done = self.run(&["status", "--json"]).ok();
        done.objects()[0]["pid"].as_u64().unwrap()
    }
}

fn make(dir: &Path) {
    fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
}

#[test]
fn server_outlives_the_runtime_directory_of_its_user() {
    let user = User::new();
    user.run(&["send", "lobby", "one"]).ok();
    let pid = user.pid();
    let mut member = Process::ready(user.moot(&["listen", "lobby", "--json"]));
    fs::remove_dir_all(&user.run).unwrap();
    make(&user.run);
    user.run(&["send", "lobby", "two"]).ok();
    assert_eq!(member.texts(1), ["two"]);
    user.run(&["who"]).ok();
    user.run(&["status"]).ok();
    assert_eq!(user.pid(), pid);
    // A job of cron, which knows no runtime directory.
    let mut cron = user.moot(&["send", "lobby", "three"]);
    cron.env_remove("XDG_RUNTIME_DIR");
    Done::of(cron, None).ok();
    assert_eq!(member.texts(1), ["three"]);
    user.run(&["stop"]).ok();
    user.run(&["stop"]).exits(3);
}

#[test]
fn runtime_directory_that_stays_away_moves_the_socket() {
    let user = User::new();
    user.run(&["send", "lobby", "one"]).ok();
    let pid = user.pid();
    let mut member = Process::ready(user.moot(&["listen", "lobby", "--json"]));
    fs::remove_dir_all(&user.run).unwrap();
    user.run(&["send", "lobby", "two"]).ok();
    assert_eq!(member.texts(1), ["two"]);
    assert!(!exists(&user.run), "what a login makes is not made by a server");
    make(&user.run);
    user.run(&["send", "lobby", "three"]).ok();
    assert_eq!(member.texts(1), ["three"]);
    assert_eq!(user.pid(), pid);
    let log = fs::read_to_string(user.world.path("state/moot/server.log")).unwrap();
    assert!(log.contains("the socket moves to"), "{log}");
    user.run(&["stop"]).ok();
}

#[test]
fn unsafe_directory_gets_no_socket_and_stop_finds_the_process() {
    let world = World::new();
    let mut server = world.serve();
    fs::set_permissions(&world.dir, PermissionsExt::from_mode(0o777)).unwrap();
    fs::remove_file(world.dir.join("socket")).unwrap();
    world.run(&["--no-start", "send", "dev", "x"]).exits(3);
    assert!(!exists(&world.dir.join("socket")), "others could replace it");
    let done = world.run(&["doctor", "--fix"]);
    assert!(done.out.contains("fixed   server"), "{}", done.out);
    assert_eq!(server.code(), 0);
    let mut server = world.serve();
    fs::set_permissions(&world.dir, PermissionsExt::from_mode(0o777)).unwrap();
    fs::remove_file(world.dir.join("socket")).unwrap();
    world.run(&["stop"]).ok();
    assert_eq!(server.code(), 0);
}

#[test]
fn log_that_was_removed_is_written_again() {
    let user = User::new();
    user.run(&["send", "lobby", "one"]).ok();
    let log = user.world.path("state/moot/server.log");
    fs::remove_file(&log).unwrap();
    fs::remove_file(user.run.join("moot/socket")).unwrap();
    eventually("the log tells it", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("socket was removed"))
    });
    user.run(&["stop"]).ok();
}

#[test]
fn hangup_ends_a_foreground_server_only() {
    let world = World::new();
    let mut server = world.serve();
    server.signal("HUP");
    assert_eq!(server.code(), 0);
    assert!(server.errors().contains("stopping: its terminal closed"), "{}", server.errors());
    world.run(&["send", "dev", "hi"]).ok();
    let pid = pid_of(&world);
    crate::world::kill(pid.try_into().unwrap(), "HUP");
    world.run(&["send", "dev", "still here"]).ok();
    assert_eq!(pid_of(&world), pid);
    world.run(&["stop"]).ok();
    let log = fs::read_to_string(world.dir.join("server.log")).unwrap();
    assert!(log.contains("stopping: asked by a client"), "{log}");
}

#[test]
fn empty_server_name_is_refused_by_each_command() {
    let world = World::new();
    for args in [
        &["--server", "", "send", "dev", "x"][..],
        &["send", "--server", "", "dev", "x"],
        &["who", "--server="],
        &["--server", "", "serve", "--check"],
        &["room", "create", "x", "--server", ""],
    ] {
        let done = world.run(args).exits(2);
        assert!(done.err.contains("--server"), "{}", done.err);
    }
    // A variable that is empty is none.
    let mut command = world.moot(&["who"]);
    command.env("MOOT_SERVER", "").env("XDG_RUNTIME_DIR", world.path("none"));
    Done::of(command, None).exits(3);
    assert!(!exists(&world.dir));
}

#[test]
fn files_beside_a_history_that_was_put_back_are_private() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "private"]).ok();
    world.end(&mut server);
    fs::set_permissions(world.dir.join("history.db"), PermissionsExt::from_mode(0o644)).unwrap();
    for name in ["history.db-wal", "history.db-shm"] {
        fs::write(world.dir.join(name), "").unwrap();
        fs::set_permissions(world.dir.join(name), PermissionsExt::from_mode(0o644)).unwrap();
    }
    let _server = world.serve();
    world.run(&["send", "dev", "more"]).ok();
    for entry in fs::read_dir(&world.dir).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{}", entry.path().display());
    }
    assert_eq!(world.run(&["doctor"]).code, 0);
}
