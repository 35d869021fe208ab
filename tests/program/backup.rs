//! Backup, restore and export of the history.

use std::{fs, path::PathBuf, process::Stdio};

use serde_json::Value;

use super::world::{Process, World, eventually};

fn texts(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| object["text"].as_str().unwrap().to_owned()).collect()
}

fn path(world: &World, name: &str) -> (PathBuf, String) {
    let path = world.path(name);
    let text = path.to_str().unwrap().to_owned();
    (path, text)
}

#[test]
fn backup_of_a_busy_server_is_restored_with_its_numbers() {
    let world = World::new();
    let mut server = world.serve();
    for n in 1..=20 {
        world.run(&["send", "dev", &format!("before {n}")]).ok();
    }
    // Another client sends all the time.
    let mut sender = world.moot(&["send", "--lines", "busy"]);
    sender.stdin(Stdio::piped());
    let mut sender = Process::spawn(sender);
    (0..2_000).for_each(|n| sender.say(&format!("line {n}")));
    let file_text = path(&world, "moot.backup").1;
    let copied = world.run(&["--json", "backup", &file_text]).ok().objects();
    assert_eq!(copied[0]["type"], "backup");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file_text).unwrap().permissions().mode() & 0o777, 0o600);
    }
    world.run(&["send", "dev", "after the backup"]).ok();
    drop(sender.input.take());
    assert_eq!(sender.code(), 0);
    world.end(&mut server);

    let restored = world.run(&["--json", "restore", &file_text]).ok().objects();
    assert_eq!(restored[0]["messages"], copied[0]["messages"]);
    let previous = restored[0]["previous"].as_str().unwrap().to_owned();
    let mut server = world.serve();
    let dev = world.run(&["--json", "history", "dev"]).ok().objects();
    let expected: Vec<_> = (1..=20).map(|n| format!("before {n}")).collect();
    assert_eq!(texts(&dev), expected);
    assert_eq!(world.run(&["--json", "send", "dev", "x"]).ok().objects()[0]["seq"], 21);
    world.end(&mut server);

    // The previous history is complete.
    world.run(&["restore", &previous]).ok();
    let _server = world.serve();
    assert_eq!(world.run(&["--json", "history", "busy"]).ok().objects().len(), 2_000);
    let dev = world.run(&["--json", "history", "dev"]).ok().objects();
    assert_eq!(texts(&dev).last().unwrap(), "after the backup");
}

#[test]
fn restore_that_is_refused_changes_nothing() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "kept"]).ok();
    let (_, file) = path(&world, "good.backup");
    world.run(&["backup", &file]).ok();
    let refused = world.run(&["restore", &file]).exits(1);
    assert!(refused.err.contains("stop it first"), "{}", refused.err);
    world.end(&mut server);

    let bad = |name: &str, bytes: &[u8]| {
        fs::write(world.path(name), bytes).unwrap();
        path(&world, name).1
    };
    let mut damaged = fs::read(world.path("good.backup")).unwrap();
    let half = damaged.len() / 2;
    damaged.truncate(half);
    let cases = [
        (bad("empty", b""), 5),
        (bad("text", b"no database"), 1),
        (bad("half", &damaged), 1),
        (path(&world, "absent").1, 5),
        (world.path(".").to_str().unwrap().to_owned(), 5),
    ];
    for (file, code) in cases {
        let refused = world.run(&["--json", "restore", &file]).exits(code);
        assert!(refused.err.contains("\"type\":\"error\""), "{file}: {}", refused.err);
    }
    let _server = world.serve();
    assert_eq!(texts(&world.run(&["--json", "history", "dev"]).ok().objects()), ["kept"]);
}

#[test]
fn backup_replaces_a_file_only_if_told_to() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "dev", "one"]).ok();
    let (file, file_text) = path(&world, "backup");
    fs::write(&file, "other").unwrap();
    let refused = world.run(&["backup", &file_text]).exits(1);
    assert!(refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(fs::read(&file).unwrap(), b"other");
    world.run(&["backup", "--force", &file_text]).ok();
    assert!(fs::read(&file).unwrap().starts_with(b"SQLite format 3"));
    // A file that has a similar name stays.
    for suffix in [".new", ".tmp", "~"] {
        fs::write(format!("{file_text}{suffix}"), "mine").unwrap();
    }
    world.run(&["backup", "--force", &file_text]).ok();
    world
        .run(&["--server", &format!("{file_text}.none/"), "backup", "--force", &file_text])
        .exits(5);
    for suffix in [".new", ".tmp", "~"] {
        assert_eq!(fs::read(format!("{file_text}{suffix}")).unwrap(), b"mine");
        fs::remove_file(format!("{file_text}{suffix}")).unwrap();
    }
    // A directory that does not exist is not made.
    let refused = world.run(&["backup", &format!("{file_text}.d/x")]).exits(1);
    assert!(refused.err.contains("can't write"), "{}", refused.err);
    let names = fs::read_dir(world.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> =
        names.into_iter().filter(|name| name.to_string_lossy().starts_with("backup.")).collect();
    assert!(left.is_empty(), "expected no temporary file: {left:?}");
}

#[cfg(unix)]
#[test]
fn backup_to_standard_output_is_complete() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "one"]).ok();
    let file = world.path("piped");
    let mut command = world.moot(&["backup", "-"]);
    command.stdout(fs::File::create(&file).unwrap()).env("TMPDIR", world.path("."));
    assert!(command.status().unwrap().success());
    world.end(&mut server);
    world.run(&["restore", file.to_str().unwrap()]).ok();
    let left = fs::read_dir(world.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> =
        left.filter(|name| name.to_string_lossy().starts_with("moot-backup")).collect();
    assert!(left.is_empty(), "expected no temporary directory: {left:?}");
}

#[cfg(unix)]
#[test]
fn export_of_all_has_each_message_once() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "dev", "in dev"]).ok();
    world.run(&["send", "ops", "in ops"]).ok();
    world.run(&["room", "create", "secret", "--private"]).ok();
    world.run(&["send", "secret", "in secret"]).ok();
    let own = format!("@{}", super::world::user_name(moot::os::own_uid()));
    world.run(&["send", &own, "to myself"]).ok();
    world.run(&["announce", "--retain", "news"]).ok();
    let all = world.run(&["export", "--all"]).ok().objects();
    let mut said = texts(&all);
    said.sort();
    assert_eq!(said, ["in dev", "in ops", "in secret", "news", "to myself"]);
    let one = world.run(&["export", "ops"]).ok().objects();
    assert_eq!(texts(&one), ["in ops"]);
    world.run(&["export"]).exits(2);
    world.run(&["export", "nothing"]).exits(5);
}

#[test]
fn deleted_room_leaves_no_bytes_on_disk_and_status_says_so() {
    let world = World::new();
    let mut server = world.serve();
    let lines: String =
        (0..30_000).map(|n| format!("{n} {}\n", "many words ".repeat(20))).collect();
    world.run_with_input(&["send", "--lines", "big"], lines.as_bytes()).ok();
    world.run(&["send", "dev", "kept"]).ok();
    let on_disk = || {
        let status = &world.run(&["--json", "status"]).ok().objects()[0];
        ["history_disk_bytes", "index_disk_bytes"].map(|key| status[key].as_u64().unwrap())
    };
    let file = |name: &str| world.dir.join(name).metadata().map_or(0, |meta| meta.len());
    eventually("status reports the files", || {
        let files =
            ["history.db", "search.db"].map(|name| file(name) + file(&format!("{name}-wal")));
        files == on_disk() && files[0] > 6 << 20 && files[1] > 100_000
    });
    world.run(&["room", "delete", "big"]).ok();
    eventually("the space is returned", || on_disk().iter().all(|bytes| *bytes < 1 << 20));
    assert_eq!(texts(&world.run(&["--json", "history", "dev"]).ok().objects()), ["kept"]);
    world.end(&mut server);
    assert!(file("history.db") + file("search.db") < 1 << 20);
}

// A server that writes for a long time before it ends, played by this process.
#[cfg(unix)]
#[test]
fn stop_waits_while_the_server_writes_its_history() {
    use std::time::{Duration, Instant};

    use moot::os::{Lock, LockNote};

    let world = World::new();
    world.end(&mut world.serve());
    let note = LockNote { pid: std::process::id(), runtime_dir: world.dir.clone() };
    let lock = Lock::acquire(&world.dir.join("lock"), false, &note).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(world.dir.join("socket")).unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let since = Instant::now();
    world.run(&["--timeout", "1s", "stop"]).exits(124);
    assert!(since.elapsed() < Duration::from_secs(9), "--timeout is the limit");
    let log = world.dir.join("history.db-wal");
    let working = std::thread::spawn(move || {
        // Longer than a server gets that does nothing.
        for n in 0..26 {
            fs::write(&log, n.to_string()).unwrap();
            std::thread::sleep(Duration::from_millis(500));
        }
        fs::remove_file(log).unwrap();
        drop(lock);
    });
    let done = world.run(&["stop"]).ok();
    assert!(done.err.contains("writing its history"), "{}", done.err);
    working.join().unwrap();
}
