//! As a service: sockets that are handed over, what the service manager is told, the units themselves.

use std::{
    fs,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    machine,
    world::{
        Done, OTHER_UID, PATIENCE, Process, THIRD_UID, World, eventually, exists, is_root, skipped,
    },
};

/// Runs a program with its standard input as descriptor 3, as a service manager hands a socket over.
const HAND_OVER: &str = r#"LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&0 0</dev/null"#;

fn handing_over(script: &str, server: &Command, socket: OwnedFd) -> Command {
    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-c", script, "sh"]).arg(server.get_program());
    command.args(server.get_args());
    command.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::from(socket)).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A world with a socket that somebody else made for its server.
fn activated() -> (World, UnixListener) {
    let world = World::new();
    machine::private_dir(&world.dir);
    let listener = UnixListener::bind(world.dir.join("socket")).unwrap();
    (world, listener)
}

fn start(world: &World, listener: &UnixListener) -> Process {
    let socket = listener.try_clone().unwrap().into();
    let config = world.path("moot.toml");
    let server = world.moot(&["--config", config.to_str().unwrap(), "serve"]);
    let mut server = Process::spawn(handing_over(HAND_OVER, &server, socket));
    let line = server.line("the server's first line");
    assert!(line.starts_with("listening on "), "{line}: {}", server.errors());
    server
}

/// Connections that nobody has taken yet.
fn waiting(world: &World) -> usize {
    let socket = world.dir.join("socket");
    let all = fs::read_to_string("/proc/net/unix").unwrap();
    let of_ours = all.lines().filter(|line| line.ends_with(socket.to_str().unwrap()));
    of_ours.filter(|line| line.split_ascii_whitespace().nth(5) == Some("02")).count()
}

#[test]
fn early_client_is_served_and_the_socket_outlives_the_server() {
    let (world, listener) = activated();
    let mut member =
        Process::spawn(world.moot(&["listen", "--json", "--last", "9", "--count", "6", "dev"]));
    let send = |text: &str| Process::spawn(world.moot(&["send", "dev", text]));
    let mut senders = ["a", "b", "c"].map(send);
    eventually("all wait for a server that is not there", || waiting(&world) == 4);
    let mut server = start(&world, &listener);
    for sender in &mut senders {
        assert_eq!(sender.code(), 0, "{}", sender.errors());
    }
    assert_eq!(member.next("ready")["type"], "ready");
    let mut texts = member.texts(3);
    texts.sort();
    assert_eq!(texts, ["a", "b", "c"]);
    let socket = fs::symlink_metadata(world.dir.join("socket")).unwrap().ino();
    world.end(&mut server);
    let still = fs::symlink_metadata(world.dir.join("socket")).unwrap().ino();
    assert_eq!(still, socket, "it belongs to whoever made it");
    assert_eq!(world.who(&[]).1, 3, "who asks shared memory starts nobody");
    // The member comes back by itself, and waits as the senders do.
    let mut senders = ["d", "e"].map(send);
    eventually("all wait for the next server", || waiting(&world) == 3);
    let mut server = start(&world, &listener);
    for sender in &mut senders {
        assert_eq!(sender.code(), 0, "{}", sender.errors());
    }
    world.run(&["send", "dev", "f"]).ok();
    let mut texts = member.texts(3);
    assert_eq!(texts.pop().as_deref(), Some("f"));
    texts.sort();
    assert_eq!(texts, ["d", "e"]);
    assert_eq!(member.code(), 0);
    world.run(&["status"]).ok();
    world.run(&["stop"]).ok();
    assert_eq!(server.code(), 0);
    assert!(exists(&world.dir.join("socket")));
}

#[test]
fn an_idle_server_ends_and_its_socket_waits_for_the_next_one() {
    let (world, listener) = activated();
    let socket = listener.try_clone().unwrap().into();
    let server = world.moot(&["serve", "--idle-exit", "100ms"]);
    let mut server = Process::spawn(handing_over(HAND_OVER, &server, socket));
    assert_eq!(server.code(), 0, "{}", server.errors());
    let mut sender = Process::spawn(world.moot(&["send", "dev", "late"]));
    eventually("somebody waits", || waiting(&world) == 1);
    let _server = start(&world, &listener);
    assert_eq!(sender.code(), 0, "{}", sender.errors());
}

#[test]
fn unusable_passed_socket_is_refused_and_not_changed() {
    let file = |_: &World| fs::File::open("/dev/null").unwrap().into();
    let at = |world: &World, name: &str| world.dir.join(name);
    let datagram = |world: &World| UnixDatagram::bind(at(world, "socket")).unwrap().into();
    let elsewhere = |world: &World| UnixListener::bind(at(world, "other")).unwrap().into();
    let connected = |_: &World| UnixStream::pair().unwrap().0.into();
    let inet = |_: &World| TcpListener::bind("127.0.0.1:0").unwrap().into();
    let good = |world: &World| UnixListener::bind(at(world, "socket")).unwrap().into();
    let gone = |world: &World| {
        let listener = UnixListener::bind(at(world, "socket")).unwrap();
        fs::remove_file(at(world, "socket")).unwrap();
        listener.into()
    };
    const TWO: &str = r#"LISTEN_FDS=2 LISTEN_PID=$$ exec "$@" 3<&0 4<&0 0</dev/null"#;
    const CLOSED: &str = r#"LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 0</dev/null"#;
    type Make<'a> = &'a dyn Fn(&World) -> OwnedFd;
    let cases: [(&str, Make<'_>, &str); 8] = [
        (HAND_OVER, &file, "not a socket"),
        (HAND_OVER, &datagram, "not a stream socket"),
        (HAND_OVER, &elsewhere, "ListenStream="),
        (HAND_OVER, &connected, "not a listening socket"),
        (HAND_OVER, &inet, "not a Unix socket"),
        (HAND_OVER, &gone, "was removed"),
        (TWO, &good, "2 sockets were passed"),
        (CLOSED, &file, "not open"),
    ];
    for (script, make, words) in cases {
        let world = World::new();
        machine::private_dir(&world.dir);
        let socket = make(&world);
        let stood = exists(&world.dir.join("socket"));
        let done = Done::of(handing_over(script, &world.moot(&["serve"]), socket), None);
        assert_eq!(done.code, 1, "{words}: {}", done.err);
        assert!(done.err.contains(words), "{words}: {}", done.err);
        assert_eq!(exists(&world.dir.join("socket")), stood, "{words}");
    }
}

#[test]
fn socket_for_another_process_is_not_used() {
    const OTHERS: &str = r#"LISTEN_FDS=1 LISTEN_PID=1 exec "$@" 3<&0 0</dev/null"#;
    let world = World::new();
    let socket = fs::File::open("/dev/null").unwrap().into();
    let mut server = Process::spawn(handing_over(OTHERS, &world.moot(&["serve"]), socket));
    let line = server.line("the server's first line");
    assert!(line.starts_with("listening on "), "{line}: {}", server.errors());
    world.run(&["send", "dev", "as ever"]).ok();
}

/// What a service manager hears.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    #[track_caller]
    fn hears(&self) -> String {
        let mut bytes = [0; 4096];
        let count = self.0.recv(&mut bytes).expect("it is told nothing more");
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[track_caller]
    fn hears_of(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.hears();
            if told.lines().any(|line| line.starts_with(what)) {
                return told;
            }
            assert!(Instant::now() < deadline, "never told: {what}");
        }
    }

    fn hears_nothing_for(&self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        let heard = self.0.recv(&mut [0; 4096]);
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        heard.is_err()
    }
}

#[test]
fn the_service_manager_is_told_of_readiness_life_and_end() {
    let world = World::new();
    let manager = Manager::at(&world.path("notify"));
    let mut command = world.moot(&["serve"]);
    command.env("NOTIFY_SOCKET", world.path("notify")).env("WATCHDOG_USEC", "400000");
    let mut server = Process::spawn(command);
    let ready = manager.hears();
    assert!(ready.contains("READY=1\n") && ready.contains("STATUS=listening on "), "{ready}");
    world.run(&["status"]).ok();
    world.run(&["send", "dev", "one"]).ok();
    manager.hears_of("STATUS=sessions: 0, rooms: 1, messages: 1");
    for _ in 0..3 {
        manager.hears_of("WATCHDOG=1");
    }
    server.signal("STOP");
    let stat = format!("/proc/{}/stat", server.pid());
    eventually("it is stopped", || fs::read_to_string(&stat).unwrap().contains(") T "));
    while !manager.hears_nothing_for(Duration::from_millis(10)) {}
    // Ten signs would have come by now.
    assert!(manager.hears_nothing_for(Duration::from_secs(1)), "a stopped server is not alive");
    server.signal("CONT");
    manager.hears_of("WATCHDOG=1");
    server.signal("TERM");
    manager.hears_of("STOPPING=1");
    assert_eq!(server.code(), 0);
}

#[test]
fn started_server_does_not_report_to_the_service_manager() {
    let world = World::new();
    let manager = Manager::at(&world.path("notify"));
    let mut command = world.moot(&["send", "dev", "from a service"]);
    command.env("NOTIFY_SOCKET", world.path("notify")).env("WATCHDOG_USEC", "100000");
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    Done::of(command, None).ok();
    let status = world.run(&["status", "--json"]).ok().objects().remove(0);
    let environ = fs::read(format!("/proc/{}/environ", status["pid"])).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    for name in ["NOTIFY_SOCKET", "WATCHDOG", "LISTEN_"] {
        assert!(!environ.contains(name), "{environ}");
    }
    manager.0.set_nonblocking(true).unwrap();
    assert!(manager.0.recv(&mut [0; 64]).is_err(), "nobody said that the command is ready");
    world.run(&["stop"]).ok();
}

#[test]
fn the_journal_gets_levels_and_a_file_gets_times() {
    for is_journal in [true, false] {
        let world = World::new();
        let log = fs::File::create(world.path("log")).unwrap();
        let meta = log.metadata().unwrap();
        let inode = if is_journal { meta.ino() } else { meta.ino() + 1 };
        let mut command = world.moot(&["-v", "serve"]);
        command.env("JOURNAL_STREAM", format!("{}:{inode}", meta.dev()));
        command.stdout(Stdio::piped()).stderr(Stdio::from(log));
        let mut server = command.spawn().unwrap();
        let socket = world.dir.join("socket");
        eventually("it listens", || UnixStream::connect(&socket).is_ok());
        world.run(&["stop"]).ok();
        server.wait().unwrap();
        let log = fs::read_to_string(world.path("log")).unwrap();
        let line = log.lines().find(|line| line.contains("stopping: asked by a client")).unwrap();
        assert_eq!(line == "<6>stopping: asked by a client", is_journal, "{log}");
        assert_eq!(line.contains("moot["), !is_journal, "{log}");
    }
}

#[test]
fn system_server_runs_as_its_own_user_with_a_socket_of_root() {
    if !is_root() {
        skipped("needs root");
        return;
    }
    let world = World::new();
    fs::create_dir(&world.dir).unwrap();
    chown(&world.dir, Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    fs::set_permissions(&world.dir, PermissionsExt::from_mode(0o755)).unwrap();
    let serve = |world: &World| world.moot_as(OTHER_UID, &["serve", "--system"]);
    let mut server = Process::spawn(serve(&world));
    assert!(server.line("ready").starts_with("listening on "), "{}", server.errors());
    world.run(&["send", "dev", "root"]).ok();
    world.run_as(THIRD_UID, &["send", "dev", "a third"]).ok();
    world.end(&mut server);
    assert!(!exists(&world.dir.join("socket")));

    // The socket unit's socket: root's, in a directory that was given to the server's user.
    let listener = UnixListener::bind(world.dir.join("socket")).unwrap();
    fs::set_permissions(world.dir.join("socket"), PermissionsExt::from_mode(0o666)).unwrap();
    let mut early = Process::spawn(world.moot_as(THIRD_UID, &["send", "dev", "early"]));
    eventually("it waits", || waiting(&world) == 1);
    // The shell, and what it runs, are the other user.
    let mut command = Command::new("/bin/sh");
    let plain = handing_over(HAND_OVER, &serve(&world), listener.try_clone().unwrap().into());
    command.env_clear().args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    machine::as_user(&mut command, OTHER_UID);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Process::spawn(command);
    assert!(server.line("ready").starts_with("listening on "), "{}", server.errors());
    assert_eq!(early.code(), 0, "{}", early.errors());
    let rows = world.run_as(THIRD_UID, &["who", "--all", "--json"]).ok();
    assert!(rows.err.is_empty(), "the table is trusted: {}", rows.err);
    let said = world.run_as(THIRD_UID, &["history", "dev", "--json"]).ok().objects();
    let texts: Vec<_> = said.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["root", "a third", "early"]);
    world.end(&mut server);
    assert!(exists(&world.dir.join("socket")));
}

/// The units, with the program that is tested.
fn units(world: &World) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd");
    let to = world.path("units");
    for unit in
        ["user/moot.service", "user/moot.socket", "system/moot.service", "system/moot.socket"]
    {
        let text = fs::read_to_string(from.join(unit)).unwrap();
        let text = text.replace("/usr/bin/moot", env!("CARGO_BIN_EXE_moot"));
        fs::create_dir_all(to.join(unit).parent().unwrap()).unwrap();
        fs::write(to.join(unit), text).unwrap();
    }
    to
}

fn has_systemd_analyze() -> bool {
    let there = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !there {
        skipped("systemd-analyze is not installed");
    }
    there
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !has_systemd_analyze() {
        return;
    }
    let world = World::new();
    let units = units(&world);
    for (kind, more) in [("system", None), ("user", Some("--user"))] {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]).args(more);
        command.args([units.join(kind).join("moot.service"), units.join(kind).join("moot.socket")]);
        command.env("XDG_RUNTIME_DIR", world.path("")).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = Done::of(command, None).ok();
        assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""), "{kind}");
    }
}

#[test]
fn the_hosts_service_may_do_little() {
    if !has_systemd_analyze() {
        return;
    }
    let world = World::new();
    let service = units(&world).join("system/moot.service");
    let mut command = Command::new("systemd-analyze");
    // 1.6 of 10; what is left is said in the unit.
    command.args(["security", "--offline=true", "--threshold=20"]).arg(service);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = Done::of(command, None).ok();
    assert!(done.out.contains("Overall exposure level"), "{}", done.out);
}
