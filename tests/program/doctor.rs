//! `doctor`: each thing that can go wrong on a host, made wrong, found and explained.

use std::fs;

use moot::os::{Lock, LockNote};
use serde_json::Value;

use crate::world::{Done, World, eventually, exists};

/// What `doctor --json` says.
struct Told {
    checks: Vec<Value>,
    summary: Value,
    code: i32,
}

impl Told {
    #[track_caller]
    fn of(done: &Done) -> Self {
        let mut checks = done.objects();
        let summary = checks.pop().expect(&done.err);
        assert_eq!(summary["type"], "doctor", "{}", done.err);
        let told = Self { checks, summary, code: done.code };
        let count = |state| told.checks.iter().filter(|c| c["state"] == state).count();
        for (key, state) in [("problems", "problem"), ("warnings", "warning"), ("fixed", "fixed")] {
            assert_eq!(told.summary[key], count(state), "{done_out}", done_out = done.out);
        }
        assert_eq!(told.code, i32::from(count("problem") > 0), "{}", done.out);
        told
    }

    /// The check of this name that is in this state, with these words, and its advice.
    #[track_caller]
    fn has(&self, name: &str, state: &str, words: &str) -> &Value {
        let is = |check: &&Value| {
            let says = |key: &str| check[key].as_str().unwrap().contains(words);
            check["name"] == name && check["state"] == state && (says("text") || says("advice"))
        };
        let found = self.checks.iter().find(is);
        let found =
            found.unwrap_or_else(|| panic!("no {state} {name} ({words}): {:#?}", self.checks));
        let open = ["warning", "problem"].contains(&state);
        assert!(!open || found["advice"] != "", "it says what to do: {found}");
        found
    }
}

#[track_caller]
fn doctor(world: &World) -> Told {
    Told::of(&world.run(&["doctor", "--json"]))
}

#[track_caller]
fn fix(world: &World) -> Told {
    Told::of(&world.run(&["doctor", "--json", "--fix"]))
}

/// A server was here and ended well.
fn used() -> World {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "hello"]).ok();
    world.end(&mut server);
    world
}

#[test]
fn healthy_system_has_no_findings_and_starts_no_server() {
    let world = World::new();
    let told = doctor(&world);
    told.has("server", "ok", "none runs");
    assert!(!exists(&world.dir), "it made nothing");
    let world = used();
    let told = doctor(&world);
    told.has("history", "ok", "intact");
    told.has("stale-files", "ok", "");
    let _server = world.serve();
    let told = doctor(&world);
    told.has("server", "ok", "serves");
    told.has("version", "ok", env!("CARGO_PKG_VERSION"));
    assert_eq!(told.summary["problems"], 0);
    let done = world.run(&["doctor"]).ok();
    assert!(done.out.lines().any(|line| line.starts_with("ok      server: ")), "{}", done.out);
}

#[test]
fn files_of_a_killed_server_are_removed_but_not_the_history() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["send", "dev", "kept"]).ok();
    server.kill();
    let told = doctor(&world);
    assert_eq!(told.has("stale-files", "warning", "socket")["fixable"], true);
    assert!(exists(&world.dir.join("presence")), "it only looked");
    fix(&world).has("stale-files", "fixed", "presence");
    assert!(!exists(&world.dir.join("socket")) && !exists(&world.dir.join("presence")));
    doctor(&world).has("stale-files", "ok", "");
    let _server = world.serve();
    let said = world.run(&["history", "dev", "--json"]).ok().objects();
    assert_eq!(said[0]["text"], "kept");
}

#[test]
fn nothing_is_taken_from_a_server_that_lives() {
    let world = World::new();
    let _server = world.serve();
    let mut member = world.listen(&["dev"]);
    let told = fix(&world);
    assert_eq!(told.summary["fixed"], 0);
    world.run(&["send", "dev", "still here"]).ok();
    assert_eq!(member.texts(1), ["still here"]);
}

#[test]
fn a_server_that_was_stopped_is_told_by_its_process() {
    let world = World::new();
    let server = world.serve();
    server.signal("STOP");
    let told = doctor(&world);
    told.has("server", "problem", &format!("process {}", server.pid()));
    server.signal("CONT");
    eventually("it is well again", || {
        doctor(&world).checks.iter().any(|c| c["name"] == "server" && c["state"] == "ok")
    });
}

#[test]
fn a_lock_whose_holder_never_answers_is_a_server_that_hangs() {
    let world = used();
    let note = LockNote { pid: std::process::id(), runtime_dir: world.dir.clone() };
    let _lock = Lock::acquire(&world.dir.join("lock"), false, &note).unwrap();
    // Without a socket it can't even be asked.
    doctor(&world).has("server", "problem", "holds the lock");
}

#[test]
fn a_damaged_history_is_told_with_what_to_do() {
    let world = used();
    let path = world.dir.join("history.db");
    let good = fs::read(&path).unwrap();
    for log in ["history.db-wal", "history.db-shm"] {
        let _ = fs::remove_file(world.dir.join(log));
    }
    fs::write(&path, "this is no database, and it is long enough to be taken for none").unwrap();
    doctor(&world).has("history", "problem", "move it away");
    let mut newer = good.clone();
    // The header's user version.
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&path, newer).unwrap();
    doctor(&world).has("history", "problem", "version 99");
    fs::write(&path, good).unwrap();
    doctor(&world).has("history", "ok", "intact");
}

#[test]
fn a_configuration_that_can_not_be_read_is_a_problem() {
    let world = World::new();
    fs::write(world.path("bad.toml"), "[server]\nallow = 7\n").unwrap();
    let bad = world.path("bad.toml");
    let told = Told::of(&world.run(&["--config", bad.to_str().unwrap(), "doctor", "--json"]));
    told.has("configuration", "problem", "bad.toml");
}

#[test]
fn directory_in_the_place_of_a_socket_is_no_stale_file() {
    let world = used();
    let socket = world.dir.join("socket");
    let _ = fs::remove_file(&socket);
    fs::create_dir(&socket).unwrap();
    let told = doctor(&world);
    told.has("directory", "problem", "move it away");
    told.has("stale-files", "ok", "");
}

#[test]
fn a_log_beyond_its_bound_is_told() {
    let world = used();
    fs::write(world.dir.join("server.log"), vec![b'x'; 2 << 20]).unwrap();
    let told = doctor(&world);
    told.has("log", "warning", "server.log");
}

// Modes, owners, sockets, limits of processes, mounts.
#[cfg(unix)]
mod posix {
    use std::{
        io::Write,
        os::unix::{
            fs::{PermissionsExt, chown},
            net::UnixListener,
        },
        path::Path,
        process::Stdio,
    };

    use moot::wire::frame::{self, Kind};
    use serde_json::json;

    use super::*;
    use crate::world::{OTHER_UID, is_root, skipped};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// `doctor --json` by a shell that does something first.
    #[track_caller]
    fn after(world: &World, script: &str) -> Told {
        let script = format!("{script}\nexec {} doctor --json", env!("CARGO_BIN_EXE_moot"));
        let mut command = world.command("/bin/sh".as_ref(), &["-c", &script]);
        command.stdin(Stdio::null());
        Told::of(&Done::of(command, None))
    }

    #[test]
    fn a_server_of_another_version_says_so_itself() {
        let world = used();
        let note = LockNote { pid: std::process::id(), runtime_dir: world.dir.clone() };
        let _lock = Lock::acquire(&world.dir.join("lock"), false, &note).unwrap();
        let listener = UnixListener::bind(world.dir.join("socket")).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let status = json!({
                "pid": std::process::id(), "version": "9.9.9", "uptime_s": 1, "dir": "/", "sessions": 0,
                "rooms": 0, "messages": 0, "broadcast": "session", "broadcast_sent": 0, "repaired": 0,
                "lagging": 0, "history_messages": 0, "history_bytes": 0, "news": true,
                "degraded": ["the history can't be written: messages are refused"],
            });
            let mut bytes = Vec::new();
            let body = status.to_string().into_bytes();
            frame::put(&mut bytes, Kind::StatusReply, |to| to.extend_from_slice(&body));
            stream.write_all(&bytes).unwrap();
            stream
        });
        let told = doctor(&world);
        told.has("version", "warning", "9.9.9");
        told.has("server", "problem", "can't be written");
        drop(other.join().unwrap());
    }

    #[test]
    fn open_permissions_are_tightened() {
        let world = World::new();
        let mut server = world.serve();
        world.run(&["send", "dev", "private"]).ok();
        let files = ["socket", "presence", "history.db"].map(|name| world.dir.join(name));
        files.iter().for_each(|file| set_mode(file, 0o666));
        let told = doctor(&world);
        for file in &files {
            let check = told.has("permissions", "problem", file.to_str().unwrap());
            assert_eq!(check["fixable"], true, "{check}");
        }
        let told = fix(&world);
        assert_eq!(told.summary["fixed"], 3, "also while it serves: {:#?}", told.checks);
        for file in &files {
            assert_eq!(mode(file), 0o600, "{}", file.display());
        }
        world.end(&mut server);
        set_mode(&world.dir, 0o777);
        doctor(&world).has("directory", "problem", "others may write");
        fix(&world).has("directory", "fixed", "");
        assert_eq!(mode(&world.dir), 0o755);
        let _server = world.serve();
    }

    #[test]
    fn replaceable_directory_is_reported_and_not_changed() {
        let world = used();
        let above = world.dir.parent().unwrap().to_owned();
        set_mode(&above, 0o777);
        let told = fix(&world);
        assert_eq!(told.has("directory", "problem", "others could replace")["fixable"], false);
        assert_eq!(mode(&above), 0o777);
        set_mode(&above, 0o755);
        assert_eq!(doctor(&world).summary["problems"], 0);
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_is_told() {
        let world = World::new();
        let long = format!("/tmp/{}/", "x".repeat(120));
        let told = Told::of(&world.run(&["--server", &long, "doctor", "--json"]));
        told.has("place", "problem", "shorter");
    }

    #[test]
    fn a_runtime_directory_that_is_not_ours_is_told() {
        let world = World::new();
        let ask = |dir: Option<&str>| {
            let mut command = world.moot(&["doctor", "--json"]);
            command.env_remove("MOOT_SERVER").env("XDG_STATE_HOME", world.path("state"));
            dir.map(|dir| command.env("XDG_RUNTIME_DIR", dir));
            Told::of(&Done::of(command, None))
        };
        if exists(Path::new("/run/moot/socket")) {
            skipped("a host's server runs here");
            return;
        }
        ask(None).has("runtime-directory", "warning", "not set");
        ask(Some("relative")).has("runtime-directory", "warning", "absolute");
        ask(Some("/nowhere/at/all")).has("runtime-directory", "warning", "can't be used");
        crate::machine::private_dir(&world.path("run"));
        let own = world.path("run");
        ask(own.to_str()).has("runtime-directory", "ok", "XDG_RUNTIME_DIR is");
        if is_root() {
            chown(&own, Some(OTHER_UID), None).unwrap();
            let words = format!("user id {OTHER_UID}");
            ask(own.to_str()).has("runtime-directory", "warning", &words);
        }
    }

    #[test]
    fn temporary_files_of_killed_servers_are_removed() {
        let world = used();
        drop(UnixListener::bind(world.dir.join("qwerty")).unwrap());
        // Not of a server: another kind, another length, another size.
        fs::write(world.dir.join("abcdef"), "mine").unwrap();
        fs::write(world.dir.join("abcdefgh"), "mine").unwrap();
        let table = fs::File::create(world.dir.join("zyxwvuts")).unwrap();
        table.set_len(moot::presence::TABLE_BYTES).unwrap();
        doctor(&world).has("stray-files", "warning", "qwerty");
        fix(&world).has("stray-files", "fixed", "zyxwvuts");
        for (name, stays) in
            [("qwerty", false), ("zyxwvuts", false), ("abcdef", true), ("abcdefgh", true)]
        {
            assert_eq!(exists(&world.dir.join(name)), stays, "{name}");
        }
    }

    #[test]
    fn socket_of_a_service_manager_is_not_stale() {
        let world = used();
        let path = world.dir.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        set_mode(&path, 0o600);
        listener.set_nonblocking(true).unwrap();
        fix(&world).has("server", "ok", "service manager");
        assert!(exists(&path));
        assert!(listener.accept().is_err(), "nobody connected: that would start a server");
        drop(listener);
        fix(&world).has("stale-files", "fixed", "socket");
        assert!(!exists(&path));
    }

    #[test]
    fn few_descriptors_are_told() {
        after(&World::new(), "ulimit -n 64").has("descriptors", "warning", "64 open files");
    }

    #[test]
    fn a_history_that_another_program_holds_is_told() {
        let world = used();
        // An exclusive lock of SQLite's kind on the pending byte, the reserved one and the shared ones.
        let script = format!(
            "import sqlite3,sys\nc=sqlite3.connect({:?},isolation_level=None)\n\
             c.execute('PRAGMA locking_mode=EXCLUSIVE')\nc.execute('BEGIN EXCLUSIVE')\n\
             c.execute('CREATE TABLE IF NOT EXISTS x (y)')\nprint('held',flush=True)\nsys.stdin.read()",
            world.dir.join("history.db")
        );
        let mut command = world.command("python3".as_ref(), &["-c", &script]);
        command.stdin(Stdio::piped());
        if std::process::Command::new("python3").arg("--version").output().is_err() {
            skipped("python3 is not installed");
            return;
        }
        let mut other = crate::world::Process::spawn(command);
        assert_eq!(other.line("it has it"), "held");
        doctor(&world).has("history", "problem", "locked");
    }

    #[test]
    fn faults_that_only_root_can_make_are_found() {
        if !is_root() {
            skipped("needs root");
            return;
        }
        // Another user's directory.
        let world = used();
        set_mode(&world.dir, 0o755);
        let told = Told::of(&world.run_as(OTHER_UID, &["doctor", "--json"]));
        told.has("directory", "problem", "belongs to user id 0");
        // A user without a name.
        let world = World::new();
        let told = Told::of(&world.run_as(4_000_042, &["doctor", "--json"]));
        told.has("user", "warning", "#4000042");
    }

    /// Whether namespaces can be made here.
    fn unshares(flag: &str) -> bool {
        let done = std::process::Command::new("unshare").args([flag, "true"]).output();
        let can = is_root() && done.is_ok_and(|done| done.status.success());
        if !can {
            skipped("needs root and unshare(1)");
        }
        can
    }

    #[test]
    fn another_network_and_a_loopback_that_is_down_are_told() {
        if !unshares("-n") || crate::world::broadcast() == "off" {
            return;
        }
        let world = World::new();
        let _server = world.serve();
        let moot = env!("CARGO_BIN_EXE_moot");
        let told = |script: &str| {
            let command = world.command("unshare".as_ref(), &["-n", "sh", "-c", script]);
            Told::of(&Done::of(command, None))
        };
        let down = told(&format!("exec {moot} doctor --json"));
        down.has("broadcast", "warning", "ip link set lo up");
        if Path::new("/sbin/ip").exists() || Path::new("/bin/ip").exists() {
            let script = format!("PATH=$PATH:/sbin ip link set lo up; exec {moot} doctor --json");
            told(&script).has("broadcast", "warning", "another network namespace");
        }
        assert_eq!(down.code, 0, "nothing is lost by it");
    }

    #[test]
    fn a_disk_that_is_full_is_told() {
        if !unshares("-m") {
            return;
        }
        let world = used();
        let dir = world.dir.to_str().unwrap();
        let script = format!(
            "mount -t tmpfs -o size=4m,mode=700 tmpfs {dir} && exec {} doctor --json",
            env!("CARGO_BIN_EXE_moot")
        );
        let command = world.command("unshare".as_ref(), &["-m", "sh", "-c", &script]);
        Told::of(&Done::of(command, None)).has("disk", "problem", "free space");
    }

    #[test]
    fn a_dead_hosts_server_whose_socket_stands_is_a_problem() {
        if !unshares("-m") {
            return;
        }
        let world = World::new();
        // In a /run and a /var/lib of its own.
        let script = format!(
            "mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=755 tmpfs /var/lib || exit 99\n\
             unset MOOT_SERVER\n\
             {moot} serve --system > ready & server=$!\n\
             until grep -q listening ready; do kill -0 $server || exit 98; done\n\
             kill -9 $server; wait $server\n\
             {moot} who > table; echo code $? >&2\n\
             {moot} doctor --json; code=$?\n\
             [ \"$1\" = fix ] && {moot} doctor --json --fix >&2\n\
             exit $code",
            moot = env!("CARGO_BIN_EXE_moot")
        );
        let command = world.command("unshare".as_ref(), &["-m", "sh", "-c", &script, "sh", "fix"]);
        let done = Done::of(command, None);
        assert!(done.err.contains("code 3"), "{}", done.err);
        Told::of(&done).has("stale-files", "problem", "exit code 3");
        assert!(done.err.contains(r#""state":"fixed""#), "{}", done.err);
    }

    #[test]
    fn nothing_open_is_left_after_everything_was_fixed() {
        let world = World::new();
        let mut server = world.serve();
        server.kill();
        set_mode(&world.dir.join("lock"), 0o602);
        set_mode(&world.dir, 0o722);
        let told = fix(&world);
        assert_eq!(told.summary["problems"], 0, "{:#?}", told.checks);
        assert_eq!(told.summary["fixed"], 3, "{:#?}", told.checks);
    }

    /// Runs a script as root where mounts are its own; `$bob` runs a command as a user with nothing but HOME=$home.
    /// What it prints is that of `doctor --json`, and its error output the rest.
    fn of_bob(script: &str) -> Option<(Told, String)> {
        if !unshares("-m") {
            return None;
        }
        let world = World::new();
        let moot = world.copy_of_moot();
        let script = format!(
            "mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=755 tmpfs /var/lib || exit 99
             home={home}; mkdir -m 700 $home; chown {OTHER_UID}:{OTHER_UID} $home
             bob='setpriv --reuid {OTHER_UID} --regid {OTHER_UID} --clear-groups env -i PATH=/usr/bin:/bin'
             moot={moot}
             unset MOOT_SERVER
             {script}
             echo \"code $?\" >&2
             $bob HOME=$home $moot doctor --json",
            home = world.path("bob").display(),
            moot = moot.display()
        );
        let mut command = world
            .command("unshare".as_ref(), &["-m", "--propagation", "private", "sh", "-c", &script]);
        command.stdin(Stdio::null());
        let done = Done::of(command, None);
        let err = done.err.clone();
        Some((Told::of(&done), err))
    }

    #[test]
    fn home_that_does_not_exist_is_a_problem_with_harmless_advice() {
        for (home, words) in [("/nonexistent", "/nonexistent"), ("/var/lib", "/var/lib")] {
            let script = format!("home={home}; $bob HOME=$home $moot send dev x >&2");
            let Some((told, err)) = of_bob(&script) else { return };
            assert!(!err.contains("code 0"), "{err}");
            assert_eq!(told.summary["problems"], 1, "{:#?}", told.checks);
            told.has("directory", "problem", words);
            let promised =
                |check: &Value| check["text"].as_str().unwrap().contains("is created when");
            assert!(!told.checks.iter().any(promised), "{:#?}", told.checks);
            let found = told.has("directory", "problem", "set HOME");
            assert!(!found["advice"].as_str().unwrap().contains("chown"), "{found}");
        }
    }

    #[test]
    fn home_that_is_no_directory_has_no_server_and_one_problem() {
        let script = "for command in who status 'history dev' 'send dev x'; do
                 $bob HOME=/dev/null $moot $command >&2; echo \"code $?\" >&2
             done; home=/dev/null";
        let Some((told, err)) = of_bob(script) else { return };
        assert_eq!(err.matches("code 3\n").count(), 4, "{err}");
        assert_eq!(told.summary["problems"], 1, "{:#?}", told.checks);
        told.has("directory", "problem", "set HOME");
    }

    #[test]
    fn unusable_home_is_an_error_with_path_and_remedy() {
        for (home, at) in [
            ("/nonexistent", "/: "),
            ("/var/lib", "/var/lib: "),
            ("/etc/passwd", "/etc/passwd/.local/state/moot: "),
            ("$home/closed", "/closed/.local/state/moot: "),
            ("$home", "/bob/.local: "),
        ] {
            let script = format!(
                "mkdir -m 700 $home/closed; mkdir -m 755 $home/.local; home={home}
                 for command in 'send dev x' 'join --plain dev' 'listen dev' 'run dev -- true'; do
                     $bob HOME=$home $moot $command >&2 </dev/null; echo \"code $?\" >&2
                 done"
            );
            let Some((_, err)) = of_bob(&script) else { return };
            assert_eq!(err.matches("code 3\n").count(), 3, "`run` runs its command: {err}");
            let words =
                err.lines().filter(|line| line.contains("can't create or use the directory"));
            let words: Vec<_> = words.collect();
            assert_eq!(words.len(), 4, "{err}");
            for line in words {
                assert!(line.contains("/.local/state/moot (") && line.contains(at), "{line}");
                assert!(line.contains("set HOME or XDG_STATE_HOME"), "{line}");
            }
        }
    }

    #[test]
    fn directory_of_root_below_home_is_a_problem_with_chown() {
        let Some((told, err)) =
            of_bob("mkdir -m 755 $home/.local; $bob HOME=$home $moot send dev x >&2")
        else {
            return;
        };
        assert!(!err.contains("code 0"), "{err}");
        assert_eq!(told.summary["problems"], 1, "{:#?}", told.checks);
        let found = told.has("directory", "problem", "sudo chown -R");
        assert!(found["advice"].as_str().unwrap().contains("/bob/.local"), "{found}");
    }

    #[test]
    fn files_of_root_in_a_users_directory_are_a_problem_with_chown() {
        let script = "$bob HOME=$home $moot send dev x >&2; $bob HOME=$home $moot stop >&2
             chown 0 $home/.local/state/moot/lock $home/.local/state/moot/history.db
             $bob HOME=$home $moot send dev x >&2";
        let Some((told, err)) = of_bob(script) else { return };
        assert!(!err.contains("code 0"), "{err}");
        told.has("owner", "problem", "sudo chown -R");
        let states = |check: &&Value| check["state"] == "problem";
        let advice = |check: &Value| check["advice"].as_str().unwrap().contains("chown");
        assert!(told.checks.iter().filter(states).all(advice), "{:#?}", told.checks);
    }

    #[test]
    fn missing_or_unreadable_proc_is_a_problem() {
        for mode in ["755", "000"] {
            let script = format!(
                "mount -t tmpfs -o mode={mode} tmpfs /proc; $bob HOME=$home $moot send dev x >&2"
            );
            let Some((told, err)) = of_bob(&script) else { return };
            assert!(err.contains("code 3"), "{err}");
            assert_eq!(told.summary["problems"], 1, "{:#?}", told.checks);
            told.has("program", "problem", "mount -t proc");
        }
    }

    #[test]
    fn dead_system_server_is_the_only_problem_of_an_ordinary_user() {
        let script = "$moot serve --system > $home/ready & server=$!
             until grep -q listening $home/ready; do kill -0 $server || exit 98; done
             $moot send dev x >&2
             kill -9 $server; wait $server
             $bob HOME=$home $moot send dev x >&2";
        let Some((told, err)) = of_bob(script) else { return };
        assert!(err.contains("code 3"), "{err}");
        assert_eq!(told.summary["problems"], 1, "{:#?}", told.checks);
        told.has("stale-files", "problem", "exit code 3");
        assert!(told.checks.iter().all(|c| c["name"] != "history" || c["state"] == "skipped"));
    }
}
