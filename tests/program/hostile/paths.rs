//! No path is trusted that another user can change; nothing is taken over, changed or waited for.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::world::{Done, OTHER_UID, World, exists, is_root, kill, skipped};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn make_dir(path: &Path, uid: u32, mode: u32) -> PathBuf {
    fs::create_dir_all(path).unwrap();
    set_mode(path, mode);
    chown(path, Some(uid), Some(uid)).unwrap();
    path.to_owned()
}

/// All that is in a directory, and the directory: mode, owner and content of each.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = path.symlink_metadata().unwrap();
        let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path, (meta.mode(), meta.uid(), bytes));
    }
    all
}

/// A directory that looks like one whose server died: its files, and what `doctor --fix` would remove.
fn remains(dir: &Path) {
    fs::write(dir.join("lock"), format!("pid 1\nruntime {}\n", dir.display())).unwrap();
    drop(UnixListener::bind(dir.join("socket")).unwrap());
    drop(UnixListener::bind(dir.join("passwd")).unwrap());
    let table = fs::File::create(dir.join("presence")).unwrap();
    table.set_len(moot::presence::TABLE_BYTES).unwrap();
    for file in ["lock", "socket", "presence"] {
        set_mode(&dir.join(file), 0o666);
    }
}

/// A command of this user's in a world, without the world's own server directory.
fn run(world: &World, server: Option<&Path>, args: &[&str]) -> Done {
    let mut command = world.moot(args);
    command.env_remove("MOOT_SERVER");
    // As it is typed: a trailing slash follows a link.
    server.map(|server| command.env("MOOT_SERVER", format!("{}/", server.display())));
    Done::of(command, None)
}

/// Commands that start a server, or want to become one.
const STARTERS: [&[&str]; 6] = [
    &["send", "lobby", "hi"],
    &["listen", "lobby", "--timeout", "1s"],
    &["join", "--plain", "lobby"],
    &["run", "lobby", "--", "true"],
    &["serve", "--system"],
    &["serve", "--history", "off"],
];

#[test]
fn a_link_of_another_user_leads_no_server_anywhere() {
    if !is_root() {
        skipped("needs root");
        return;
    }
    let world = World::new();
    let eve = make_dir(&world.path("eve"), OTHER_UID, 0o755);
    let shared = make_dir(&world.path("tmp"), 0, 0o1777);
    let decoy = make_dir(&world.path("decoy"), 0, 0o755);
    let served = make_dir(&world.path("served"), 0, 0o755);
    make_dir(&served.join("run"), 0, 0o755);
    fs::write(served.join("lock"), "another program's\n").unwrap();
    let link = |at: &Path, to: &Path| {
        symlink(to, at).unwrap();
        std::os::unix::fs::lchown(at, Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    };
    let mut paths = vec![eve.join("new"), eve.join("a/b")];
    for (number, to) in [&decoy, &served].into_iter().enumerate() {
        // In her own directory, in a shared one, over several links, in the middle of a path, and to nothing yet.
        for above in [&eve, &shared] {
            let at = |name: &str| above.join(format!("{name}{number}"));
            link(&at("link"), to);
            link(&at("again"), &PathBuf::from(format!("link{number}")));
            link(&at("up"), to.parent().unwrap());
            link(&at("none"), &to.join("none"));
            let name = to.file_name().unwrap();
            paths.extend([
                at("link"),
                at("again"),
                at("up").join(name),
                at("none"),
                at("link").join("new"),
            ]);
            paths.push(at("up").join("decoy/..").join(name));
        }
    }
    let before = (picture(&decoy), picture(&served), picture(&eve));
    for path in &paths {
        for args in STARTERS {
            let done = run(&world, Some(path), args);
            // `run` runs its command all the same.
            let codes = if args[0] == "run" { [0, 0] } else { [3, 4] };
            assert!(codes.contains(&done.code), "{path:?} {args:?}: {} {}", done.code, done.err);
            assert!(done.err.contains("not safe"), "{path:?} {args:?}: {}", done.err);
        }
        run(&world, Some(path), &["doctor", "--fix"]);
        let after = (picture(&decoy), picture(&served), picture(&eve));
        assert!(before == after, "{path:?}: {before:?} and then {after:?}");
    }
    // A link that nobody else can change is as good as a path.
    symlink(&decoy, world.path("own")).unwrap();
    run(&world, Some(&world.path("own")), &["send", "lobby", "hi"]).ok();
    run(&world, Some(&decoy), &["stop"]).ok();
    assert_eq!(fs::metadata(&decoy).unwrap().mode() & 0o777, 0o755, "it was there before");
}

#[test]
fn a_directory_with_another_use_is_not_taken_over() {
    let world = World::new();
    let own = make_dir(&world.path("own"), moot::os::own_uid(), 0o755);
    for (name, files) in [
        ("etc", &["passwd"][..]),
        ("project", &["Cargo.toml", "src"]),
        ("dpkg", &["lock", "status"]),
        ("daemon", &["socket", "state", "lock"]),
        ("mail", &["presence.txt", ".hidden"]),
    ] {
        let dir = make_dir(&own.join(name), moot::os::own_uid(), 0o755);
        files.iter().for_each(|file| fs::write(dir.join(file), "").unwrap());
        let before = picture(&own);
        for args in STARTERS.into_iter().chain([&["doctor", "--fix"][..]]) {
            let done = run(&world, Some(&dir), args);
            assert!(done.code != 0 || args[0] == "run", "{name} {args:?}: {}", done.out);
            let told = done.out + &done.err;
            assert!(told.contains("another use"), "{name} {args:?}: {told}");
            assert!(before == picture(&own), "{name} {args:?}: {:?}", picture(&own));
        }
    }
    // Empty, or a server's own, whatever else is put there later: used, and its mode stays.
    let dir = make_dir(&own.join("empty"), moot::os::own_uid(), 0o755);
    for _ in 0..2 {
        run(&world, Some(&dir), &["send", "lobby", "hi"]).ok();
        run(&world, Some(&dir), &["stop"]).ok();
        fs::write(dir.join("notes"), "mine").unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o755);
    }
}

#[test]
fn every_file_that_a_server_makes_is_known_as_its_own() {
    let world = World::new();
    let dir = world.path("all");
    run(&world, Some(&dir), &["send", "lobby", "hi"]).ok();
    let files = picture(&dir);
    assert!(files.len() > 6, "{files:?}");
    run(&world, Some(&dir), &["stop"]).ok();
    // Without the lock and the history, which say whose it is, each name has to.
    for file in ["lock", "history.db"] {
        fs::remove_file(dir.join(file)).unwrap();
    }
    for (path, (_, _, bytes)) in files.iter().filter(|(path, _)| *path != &dir) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !exists(path) && !["lock", "history.db", "socket"].contains(&name) {
            fs::write(path, bytes).unwrap();
        }
    }
    for beside in ["history.db-wal", "history.db-shm", "search.db-wal", "search.db-shm"] {
        let _ = fs::remove_file(dir.join(beside));
    }
    run(&world, Some(&dir), &["send", "lobby", "hi"]).ok();
    run(&world, Some(&dir), &["stop"]).ok();
}

#[test]
fn root_leaves_nothing_in_the_home_of_a_user() {
    if !is_root() {
        skipped("needs root");
        return;
    }
    let world = World::new();
    let home = make_dir(&world.path("home"), OTHER_UID, 0o700);
    let before = picture(&home);
    let at_home = |mut command: Command| {
        command.env_remove("MOOT_SERVER").env("HOME", &home);
        Done::of(command, None)
    };
    for args in STARTERS.iter().filter(|args| !args.contains(&"--system")) {
        let done = at_home(world.moot(args));
        assert!(done.err.contains("user id"), "{args:?}: {}", done.err);
        assert!(before == picture(&home), "{args:?}: {:?}", picture(&home));
    }
    at_home(world.moot_as(OTHER_UID, &["send", "lobby", "mine"])).ok();
    at_home(world.moot_as(OTHER_UID, &["stop"])).ok();
}

#[test]
fn doctor_says_where_no_server_can_live() {
    if !is_root() {
        skipped("needs root");
        return;
    }
    let world = World::new();
    let home = make_dir(&world.path("home"), 0, 0o755);
    let mut command = world.moot_as(OTHER_UID, &["doctor"]);
    let done = Done::of(
        {
            command.env_remove("MOOT_SERVER").env("HOME", &home);
            command
        },
        None,
    );
    let problem =
        |line: &str| line.starts_with("problem") && line.contains("home: Permission denied");
    assert!(done.code == 1 && done.out.lines().any(problem), "{}", done.out);
}

#[test]
fn a_refused_start_leaves_no_directory_behind() {
    let world = World::new();
    let uid = moot::os::own_uid();
    let runtime = make_dir(&world.path("runtime"), uid, 0o700);
    let (state, taken) = (world.path("state"), runtime.join("moot"));
    fs::write(&taken, "").unwrap();
    let before = picture(&runtime);
    for args in STARTERS.iter().filter(|args| !args.contains(&"--system")) {
        let mut command = world.moot(args);
        command.env_remove("MOOT_SERVER").env("XDG_STATE_HOME", &state);
        let done = Done::of(
            {
                command.env("XDG_RUNTIME_DIR", &runtime);
                command
            },
            None,
        );
        assert!(done.err.contains(taken.to_str().unwrap()), "{args:?}: {}", done.err);
        assert!(!exists(&state), "{args:?}: {}", done.err);
        assert!(before == picture(&runtime), "{args:?}");
    }
}

#[test]
fn doctor_of_root_does_not_change_a_swapped_directory() {
    if !is_root() {
        skipped("needs root");
        return;
    }
    let world = World::new();
    let home = make_dir(&world.path("eve"), OTHER_UID, 0o755);
    let (server, aside) = (make_dir(&home.join("srv"), OTHER_UID, 0o755), home.join("aside"));
    let decoy = make_dir(&world.path("decoy"), 0, 0o755);
    for dir in [&server, &decoy] {
        remains(dir);
        fs::read_dir(dir).unwrap().for_each(|entry| {
            chown(entry.unwrap().path(), Some(fs::metadata(dir).unwrap().uid()), None).unwrap();
        });
    }
    let before = picture(&decoy);
    let done = AtomicBool::new(false);
    let doctor = || run(&world, Some(&home.join("srv")), &["doctor", "--fix"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As she would: the directory and a link to another one in turns.
            while !done.load(Ordering::SeqCst) {
                fs::rename(&server, &aside).unwrap();
                symlink(&decoy, &server).unwrap();
                std::thread::yield_now();
                fs::remove_file(&server).unwrap();
                fs::rename(&aside, &server).unwrap();
            }
        });
        let told: Vec<_> = (0..25).map(|_| doctor().out).collect();
        done.store(true, Ordering::SeqCst);
        assert!(told.iter().all(|told| !told.contains("fixed   ")), "{told:?}");
    });
    assert!(before == picture(&decoy), "{:?}", picture(&decoy));
    // Hers is hers: root looks, and says who can mend it. She can.
    let before = picture(&server);
    let told = doctor().out;
    assert!(before == picture(&server), "{told}");
    assert!(told.contains(&format!("sudo -u '#{OTHER_UID}'")), "{told}");
    let mut command = world.moot_as(OTHER_UID, &["doctor", "--fix"]);
    command.env("MOOT_SERVER", format!("{}/", server.display()));
    let told = Done::of(command, None).out;
    assert!(told.contains("fixed   stale-files"), "{told}");
    assert!(!exists(&server.join("socket")) && !exists(&server.join("passwd")), "{told}");
}

#[test]
fn doctor_changes_no_file_that_has_another_name_elsewhere() {
    let world = World::new();
    let dir = make_dir(&world.path("srv"), moot::os::own_uid(), 0o700);
    remains(&dir);
    let elsewhere = world.path("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    set_mode(&elsewhere, 0o644);
    fs::hard_link(&elsewhere, dir.join("server.log")).unwrap();
    symlink(&elsewhere, dir.join("search.db")).unwrap();
    run(&world, Some(&dir), &["doctor", "--fix"]);
    assert!(!exists(&dir.join("socket")), "the rest is done");
    assert_eq!(fs::metadata(&elsewhere).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
}

/// Things that can be in the place of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Thing {
    Fifo,
    Directory,
    Socket,
    Device,
    LinkToFifo,
}

impl Thing {
    /// Puts it there; false if that can't be done here.
    fn put(self, at: &Path) -> bool {
        let mkfifo = |at: &Path| Command::new("mkfifo").arg(at).status().unwrap().success();
        match self {
            Self::Fifo => mkfifo(at),
            Self::Directory => fs::create_dir(at).is_ok(),
            Self::Socket => UnixListener::bind(at).map(drop).is_ok(),
            // A terminal would be waited for.
            Self::Device => {
                let done = Command::new("mknod").arg(at).args(["c", "5", "1"]).output();
                done.is_ok_and(|done| done.status.success())
            }
            Self::LinkToFifo => {
                let fifo = at.with_extension("elsewhere");
                mkfifo(&fifo) && symlink(fifo, at).is_ok()
            }
        }
    }
}

#[test]
fn nothing_in_the_place_of_a_file_keeps_a_command_waiting() {
    const COMMANDS: [&[&str]; 9] = [
        &["status"],
        &["who"],
        &["badge"],
        &["doctor", "--fix"],
        &["send", "--no-start", "lobby", "hi"],
        &["history", "lobby"],
        &["wait", "lobby", "--no-start"],
        &["stop"],
        // Last: it may start a server.
        &["send", "lobby", "hi"],
    ];
    for name in [
        "lock",
        "presence",
        "socket",
        "history.db",
        "history.epoch",
        "search.db",
        "server.log",
        "moot.toml",
    ] {
        for thing in
            [Thing::Fifo, Thing::Directory, Thing::Socket, Thing::Device, Thing::LinkToFifo]
        {
            let world = World::new();
            crate::machine::private_dir(&world.dir);
            if !thing.put(&world.dir.join(name)) {
                skipped(&format!("no {thing:?} can be made here"));
                continue;
            }
            let config = world.dir.join("moot.toml");
            for args in COMMANDS {
                let mut all = vec!["--timeout", "2s"];
                if name == "moot.toml" {
                    all.extend(["--config", config.to_str().unwrap()]);
                }
                all.extend(args);
                // A hang is a failure: `Done` waits for no command forever.
                let done = world.run(&all);
                let told = done.out + &done.err;
                assert!(!told.contains("panicked"), "{name} {thing:?} {args:?}: {told}");
                let is_kept = exists(&world.dir.join(name)) || name == "socket";
                assert!(is_kept, "{name} {thing:?} {args:?}: {told}");
                let says_path = told.contains(world.dir.to_str().unwrap());
                assert!(
                    done.code == 0 || says_path || args == ["badge"],
                    "{name} {thing:?} {args:?}: {told}"
                );
            }
            if let Ok(moot::os::LockState::Held(Some(note))) =
                moot::os::query(&world.dir.join("lock"))
            {
                kill(note.pid, "KILL");
            }
        }
    }
}

/// Runs a script in a mount namespace of its own; none where that can't be done.
fn with_mounts(world: &World, script: &str) -> Option<Done> {
    let done = Command::new("unshare").args(["-m", "true"]).output();
    if !is_root() || !done.is_ok_and(|done| done.status.success()) {
        skipped("needs root and unshare(1)");
        return None;
    }
    let script =
        format!("moot={}\ndir={}\n{script}", env!("CARGO_BIN_EXE_moot"), world.dir.display());
    let mut command = world.command("unshare".as_ref(), &["-m", "sh", "-c", &script]);
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    Some(Done::of(command, None))
}

#[test]
fn failed_starts_on_a_full_file_system_leave_no_stray_files() {
    let world = World::new();
    let script = "
        mkdir -p $dir && mount -t tmpfs -o size=300k,mode=700 tmpfs $dir || exit 99
        for i in 1 2 3; do $moot serve --system --history off > $dir/../out 2>&1; echo code $?; done
        ls -A $dir
        # What a killed one left goes with the next start.
        mount -o remount,size=40m $dir
        cp $dir/lock $dir/../note
        truncate -s TABLE $dir/abcdefgh; echo mine > $dir/ijklmnop
        $moot serve --history off > $dir/../ready & server=$!
        until grep -q listening $dir/../ready; do kill -0 $server || exit 98; done
        ls $dir | grep -x '[a-p]*'
        kill $server; wait $server; ls -A $dir";
    let script = script.replace("TABLE", &moot::presence::TABLE_BYTES.to_string());
    let Some(done) = with_mounts(&world, &script) else { return };
    let lines: Vec<_> = done.out.lines().collect();
    let failed = ["code 1", "code 1", "code 1", "lock"];
    assert_eq!(
        lines,
        [&failed[..], &["ijklmnop", "lock"], &["ijklmnop", "lock"]].concat(),
        "{}",
        done.err
    );
}

#[test]
fn a_history_that_was_full_goes_on_once_there_is_room() {
    let world = World::new();
    let script = "
        mkdir -p $dir && mount -t tmpfs -o size=6m,mode=700 tmpfs $dir || exit 99
        dd if=/dev/zero of=$dir/../ballast bs=1k count=1 2> /dev/null
        $moot serve > $dir/../ready & server=$!
        until grep -q listening $dir/../ready; do kill -0 $server || exit 98; done
        # Something else on the same disk.
        dd if=/dev/zero of=$dir/ballast bs=1M count=1 2> /dev/null
        text=$(head -c 24000 /dev/zero | tr '\\0' 'x')
        for i in $(seq 500); do
            echo \"$i $text\" | $moot send full 2> $dir/../refused || break
        done
        cat $dir/../refused
        $moot status > /dev/null 2>&1; echo status $?
        rm $dir/ballast
        for i in $(seq 200); do $moot status > /dev/null 2>&1 && break; sleep 0.1; done
        $moot status > /dev/null; echo status $?
        $moot send full again > /dev/null; echo send $?
        $moot room create other; $moot room delete other; echo delete $?
        $moot search again | grep -c again
        kill $server; wait $server";
    let Some(done) = with_mounts(&world, script) else { return };
    assert!(done.out.contains("disk full"), "{}\n{}", done.out, done.err);
    assert!(
        done.out.ends_with("status 1\nstatus 0\nsend 0\ndelete 0\n1\n"),
        "{}\n{}",
        done.out,
        done.err
    );
}

#[test]
fn sessions_without_room_in_the_table_are_told() {
    let world = World::new();
    let script = "
        mkdir -p $dir && mount -t tmpfs -o size=900k,mode=700 tmpfs $dir || exit 99
        $moot serve --history off > $dir/../ready & server=$!
        until grep -q listening $dir/../ready; do kill -0 $server || exit 98; done
        dd if=/dev/zero of=$dir/ballast bs=4k 2> /dev/null
        $moot bench --members 400 --rate 1 --for 2s --room-history off > /dev/null 2>&1 & bench=$!
        for i in $(seq 200); do $moot who --count > $dir/../count 2> $dir/../why || break; sleep 0.05; done
        cat $dir/../why
        $moot status 2>&1 | grep degraded
        rm $dir/ballast
        wait $bench
        for i in $(seq 200); do $moot who --count > /dev/null 2>&1 && break; sleep 0.05; done
        $moot who --count; $moot status > /dev/null; echo status $?
        kill $server; wait $server";
    let Some(done) = with_mounts(&world, script) else { return };
    assert!(done.out.contains(" not shown: the file system of "), "{}\n{}", done.out, done.err);
    assert!(
        done.out.contains("degraded: the presence table is full"),
        "{}\n{}",
        done.out,
        done.err
    );
    assert!(done.out.ends_with("0\nstatus 0\n"), "{}\n{}", done.out, done.err);
}
