//! The figures of `ARCHITECTURE.md`: `cargo bench --bench measure` prints them, `-- NAME` one of them.
//!
//! Everything runs against the real program in release mode, on a server of its own. A peer is measured
//! in the same run, in turns, and only if it is installed.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use moot::{
    chat::{
        hub::{Line, Submit, SubmitTo},
        member::Kind,
        names::RoomName,
        verbs::{Begin, Event, Follow, Request},
    },
    client::{Link, Told},
    os,
    presence::Snapshot,
    session::Connection,
    wire::hello::Hello,
};

fn main() {
    // `cargo bench` adds --bench, `cargo test --benches` adds nothing.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let all: [(&str, fn()); 4] =
        [("send", send), ("latency", latency), ("memory", memory), ("who", who)];
    for (name, measure) in all {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            measure();
        }
    }
}

fn say(line: &str) {
    // The closed pipe of `| head` ends the run.
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Median and 99th percentile.
fn quantiles(samples: &mut [f64]) -> (f64, f64) {
    samples.sort_by(f64::total_cmp);
    (samples[samples.len() / 2], samples[samples.len() * 99 / 100])
}

/// A server in a directory of its own; it ends with this value.
struct Server {
    temp: tempfile::TempDir,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let temp = tempfile::Builder::new().prefix("moot").tempdir_in("/tmp").unwrap();
        let mut command = moot(&temp.path().join("s"), &["serve"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening"), "{line}");
        Self { temp, child }
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("s")
    }

    fn link(&self, number: u32) -> Link {
        let connection =
            Connection::open(&self.dir().join("socket"), Duration::from_secs(5)).unwrap();
        let mut instance = [0; 16];
        instance[..4].copy_from_slice(&number.to_le_bytes());
        let mut link = Link::open(connection, &Hello::new(None, Kind::Script, instance));
        link.welcome().unwrap();
        link
    }

    /// A member of a room, idle.
    fn member(&self, number: u32) -> Link {
        let mut link = self.link(number);
        let follow = Follow::Room(room());
        link.ask(&Request::Join { follow, begin: Begin::Now, membership: false, keep: false })
            .unwrap();
        link
    }

    /// One line of `/proc/PID/status`, KiB.
    fn memory_kib(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with(key)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn room() -> RoomName {
    RoomName::new("dev").unwrap()
}

fn moot(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moot"));
    command.args(args).env("MOOT_SERVER", dir).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn timed(command: &mut Command) -> f64 {
    let since = Instant::now();
    assert!(command.status().unwrap().success());
    since.elapsed().as_secs_f64() * 1e3
}

fn redis() -> Option<(tempfile::TempDir, Child, PathBuf)> {
    let temp = tempfile::Builder::new().prefix("redis").tempdir_in("/tmp").unwrap();
    let socket = temp.path().join("r");
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some((temp, child, socket))
}

/// `send` as a whole process, against `redis-cli PUBLISH` over a Unix socket, in turns.
fn send() {
    let server = Server::start();
    let mut redis = redis();
    let (mut ours, mut theirs, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..520 {
        let sent = timed(&mut moot(&server.dir(), &["send", "dev", "a message of a usual length"]));
        let published = redis.as_ref().map(|(_, _, socket)| {
            let mut cli = Command::new("redis-cli");
            cli.arg("-s").arg(socket).args(["PUBLISH", "dev", "a message of a usual length"]);
            timed(cli.stdin(Stdio::null()).stdout(Stdio::null()))
        });
        let bare = timed(Command::new("/bin/true").stdin(Stdio::null()));
        // The first ones warm caches.
        if round >= 20 {
            ours.push(sent);
            theirs.extend(published);
            nothing.push(bare);
        }
    }
    let (ours, ours_99) = quantiles(&mut ours);
    let (bare, _) = quantiles(&mut nothing);
    say(&format!("send: whole process {ours:.2} ms (p99 {ours_99:.2}); /bin/true {bare:.2} ms"));
    if let Some((_, child, _)) = &mut redis {
        let (theirs, theirs_99) = quantiles(&mut theirs);
        say(&format!(
            "send: redis-cli PUBLISH {theirs:.2} ms (p99 {theirs_99:.2}); ratio {:.2}",
            ours / theirs
        ));
        let _ = child.kill();
        let _ = child.wait();
    } else {
        say("send: redis-server is not installed, nothing to compare with");
    }
}

/// From a submit to the line that `listen` prints, with 1, 10 and 100 listeners.
fn latency() {
    for listeners in [1, 10, 100] {
        let server = Server::start();
        // All listeners print into one pipe: a line of less than 4 KiB is never torn.
        let (reader, writer) = std::io::pipe().unwrap();
        let mut members: Vec<_> = (0..listeners)
            .map(|_| {
                let mut command = moot(&server.dir(), &["listen", "--raw", "dev"]);
                command.stdout(writer.try_clone().unwrap()).spawn().unwrap()
            })
            .collect();
        drop(writer);
        let places =
            os::resolve(Some(server.dir().to_str().unwrap()), &os::Env::from_process()).unwrap();
        while Snapshot::read(&places).unwrap().rows.len() < listeners {
            std::thread::sleep(Duration::from_millis(5));
        }
        let since = Instant::now();
        let mut lines = BufReader::new(reader).lines();
        let mut link = server.link(1);
        let rounds = if listeners == 100 { 300 } else { 1_000 };
        let mut samples = Vec::new();
        for round in 0..rounds + 20 {
            // A modest rate: everybody sleeps when the message comes.
            std::thread::sleep(Duration::from_millis(3));
            let text = format!(
                "{} and the text of a message as people write it",
                since.elapsed().as_nanos()
            );
            submit(&mut link, round + 1, &text);
            for _ in 0..listeners {
                let line = lines.next().unwrap().unwrap();
                let now = since.elapsed().as_nanos();
                let then: u128 = line.split(' ').next().unwrap().parse().unwrap();
                if round >= 20 {
                    samples.push((now - then) as f64 / 1e3);
                }
            }
        }
        let (p50, p99) = quantiles(&mut samples);
        say(&format!("latency: {listeners} listeners: p50 {p50:.0} µs, p99 {p99:.0} µs"));
        for member in &mut members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

fn submit(link: &mut Link, counter: u64, text: &str) {
    let lines = vec![Line { reply_to: None, text }];
    let submit = Submit { first: counter, to: SubmitTo::Room(room()), to_label: None, lines };
    link.queue_submit(&submit);
    loop {
        match link.wait().unwrap() {
            Told::Ack(_) => return,
            Told::Event(Event::Ping) => link.pong(),
            other => assert!(!matches!(other, Told::Nack { .. }), "{other:?}"),
        }
    }
}

/// What an idle session costs the server, the presence table aside.
fn memory() {
    let server = Server::start();
    let heap = |server: &Server| server.memory_kib("RssAnon:");
    let empty = heap(&server);
    say(&format!(
        "memory: no session: {empty} KiB of heap and stacks, {} KiB resident in all",
        server.memory_kib("VmRSS:")
    ));
    let mut members = Vec::new();
    for count in [100, 1_000] {
        members.extend((members.len() as u32..count).map(|n| server.member(n)));
        let used = heap(&server);
        say(&format!(
            "memory: {count} idle members: {used} KiB, {:.2} KiB a session; {} KiB resident in all",
            (used - empty) as f64 / f64::from(count),
            server.memory_kib("VmRSS:")
        ));
    }
}

/// `who` of 1,000 sessions: the whole process, and its own work.
fn who() {
    let server = Server::start();
    let members: Vec<_> = (0..1_000).map(|n| server.member(n)).collect();
    let mut whole = Vec::new();
    let mut json = Vec::new();
    for _ in 0..200 {
        whole.push(timed(&mut moot(&server.dir(), &["who"])));
        json.push(timed(&mut moot(&server.dir(), &["who", "--json"])));
    }
    let places =
        os::resolve(Some(server.dir().to_str().unwrap()), &os::Env::from_process()).unwrap();
    let mut read = Vec::new();
    for _ in 0..500 {
        let since = Instant::now();
        assert_eq!(Snapshot::read(&places).unwrap().rows.len(), members.len());
        read.push(since.elapsed().as_secs_f64() * 1e3);
    }
    let ((whole, _), (json, _), (read, _)) =
        (quantiles(&mut whole), quantiles(&mut json), quantiles(&mut read));
    say(&format!(
        "who: 1,000 sessions: whole process {whole:.2} ms (--json {json:.2} ms), reading the table {read:.2} ms"
    ));
}
