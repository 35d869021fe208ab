//! The figures of `docs/performance.md`: `cargo bench --bench measure` prints them, `-- NAME` one of them.
//!
//! Everything runs against the real program in release mode, on a server of its own. A peer is measured
//! in the same run, in turns, and only if it is installed.

// User ids of threads.
#[cfg(target_os = "linux")]
mod hostile;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};

use moot::{
    chat::{
        event::Event,
        frames::{Destination, Frame, Line, Submit},
        member::Kind,
        names::RoomName,
        request::{Begin, Follow, HistoryRequest, Request, SessionRequest},
    },
    client::Link,
    os,
    presence::Snapshot,
    session::Connection,
    wire::hello::Hello,
};

fn main() {
    if let Ok(orders) = std::env::var("MOOT_FLOOD") {
        return flood_as_told(&orders);
    }
    // `cargo bench` adds --bench, `cargo test --benches` adds nothing.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let all: [(&str, fn()); 10] = [
        ("send", send),
        ("latency", latency),
        ("memory", memory),
        ("who", who),
        ("stored", stored),
        ("million", million),
        ("badge", badge),
        ("flood", flood),
        ("hostile", hostile),
        ("screen", screen),
    ];
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
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let temp = tempfile::Builder::new().prefix("moot").tempdir_in("/tmp").unwrap();
        let mut command = moot(&temp.path().join("s"), &[&["serve"], more].concat());
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

fn redis(more: &[&str]) -> Option<(tempfile::TempDir, Child, PathBuf)> {
    let temp = tempfile::Builder::new().prefix("redis").tempdir_in("/tmp").unwrap();
    let socket = temp.path().join("r");
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--dir"])
        .arg(temp.path())
        .args(more)
        .arg("--unixsocket")
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
    let mut redis = redis(&[]);
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
    let lines = vec![Line { reply_to: None, text: text.try_into().unwrap() }];
    let submit = Submit { first: counter, to: Destination::Room(room()), to_label: None, lines };
    link.queue_submit(&submit);
    loop {
        match link.wait().unwrap() {
            Frame::Ack(_) => return,
            Frame::Event(Event::Ping) => link.pong(),
            other => assert!(!matches!(other, Frame::Nack { .. }), "{other:?}"),
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

/// Messages that each sender has unacknowledged at most.
const WINDOW: usize = 64;
const SENDERS: usize = 8;

/// Runs eight senders at once; gives operations a second.
fn at_once(each: usize, sender: impl Fn(usize) + Sync) -> f64 {
    let since = Instant::now();
    std::thread::scope(|scope| {
        for id in 0..SENDERS {
            let sender = &sender;
            scope.spawn(move || sender(id));
        }
    });
    (SENDERS * each) as f64 / since.elapsed().as_secs_f64()
}

/// Stored before acknowledged: eight senders with 64 unacknowledged each, against Redis with an
/// append-only file (everysec) and a bare SQLite loop, in one run.
fn stored() {
    for (bytes, each) in [(64, 60_000), (1024, 20_000)] {
        let text = "x".repeat(bytes);
        let (mut ours, mut theirs, mut bare, mut lines) = (vec![], vec![], vec![], vec![]);
        for _ in 0..3 {
            let server = Server::start();
            ours.push(at_once(each, |id| {
                let mut link = server.link(id as u32 + 1);
                for round in 0..each / WINDOW {
                    submit_many(&mut link, (round * WINDOW) as u64 + 1, &text);
                }
            }));
            lines.push(at_once(each, |_| {
                let mut command = moot(&server.dir(), &["send", "--lines", "dev"]);
                let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
                let all = format!("{text}\n").repeat(each);
                child.stdin.take().unwrap().write_all(all.as_bytes()).unwrap();
                assert!(child.wait().unwrap().success());
            }));
            drop(server);
            let aof = ["--appendonly", "yes", "--appendfsync", "everysec"];
            if let Some((_temp, mut child, socket)) = redis(&aof) {
                theirs.push(at_once(each, |_| {
                    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
                    let one = format!("*3\r\n$5\r\nRPUSH\r\n$3\r\ndev\r\n${bytes}\r\n{text}\r\n");
                    let many = one.repeat(WINDOW);
                    let mut replies = BufReader::new(stream.try_clone().unwrap());
                    let mut line = String::new();
                    for _ in 0..each / WINDOW {
                        stream.write_all(many.as_bytes()).unwrap();
                        for _ in 0..WINDOW {
                            line.clear();
                            replies.read_line(&mut line).unwrap();
                        }
                    }
                }));
                let _ = child.kill();
                let _ = child.wait();
            }
            bare.push(bare_sqlite(SENDERS * each, &text));
        }
        let median = |samples: &mut Vec<f64>| quantiles(samples).0;
        let (ours, lines, bare) = (median(&mut ours), median(&mut lines), median(&mut bare));
        say(&format!(
            "stored: {bytes} B: library {ours:.0}/s, send --lines {lines:.0}/s; bare SQLite loop {bare:.0}/s (ratio {:.2})",
            ours / bare
        ));
        if !theirs.is_empty() {
            let theirs = median(&mut theirs);
            say(&format!(
                "stored: {bytes} B: Redis AOF everysec {theirs:.0}/s; ratio {:.2}, send --lines {:.2}",
                ours / theirs,
                lines / theirs
            ));
        }
    }
    acknowledged();
}

/// Time from a submit to its acknowledgement, alone and while eight others send as fast as they can.
fn acknowledged() {
    let server = Server::start();
    let measure = |pause: Duration| {
        let mut link = server.link(100);
        let mut samples = Vec::new();
        for round in 0..500 {
            std::thread::sleep(pause);
            let since = Instant::now();
            submit(&mut link, round + 1, "a message of a usual length, as people write it");
            samples.push(since.elapsed().as_secs_f64() * 1e6);
        }
        link.quit();
        quantiles(&mut samples)
    };
    let (p50, p99) = measure(Duration::from_millis(10));
    say(&format!("acknowledged: at 100/s p50 {p50:.0} µs, p99 {p99:.0} µs"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for id in 0..SENDERS {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut link = server.link(id as u32 + 1);
                let mut counter = 1;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    submit_many(&mut link, counter, "x");
                    counter += WINDOW as u64;
                }
            });
        }
        let (p50, p99) = measure(Duration::from_millis(1));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        say(&format!("acknowledged: at full load p50 {p50:.0} µs, p99 {p99:.0} µs"));
    });
}

fn submit_many(link: &mut Link, first: u64, text: &str) {
    // Two frames: a frame has 64 KiB at most.
    let half = WINDOW / 2;
    for first in [first, first + half as u64] {
        let lines = vec![Line { reply_to: None, text: text.try_into().unwrap() }; half];
        link.queue_submit(&Submit { first, to: Destination::Room(room()), to_label: None, lines });
    }
    let mut open = WINDOW;
    while open > 0 {
        match link.wait().unwrap() {
            Frame::Ack(ack) => open -= ack.count as usize,
            Frame::Event(Event::Ping) => link.pong(),
            other => assert!(!matches!(other, Frame::Nack { .. }), "{other:?}"),
        }
    }
}

/// What SQLite does without anything around it: transactions of as many rows as eight senders have
/// unacknowledged.
fn bare_sqlite(rows: usize, text: &str) -> f64 {
    let temp = tempfile::tempdir_in("/tmp").unwrap();
    let mut connection = rusqlite::Connection::open(temp.path().join("b.db")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
    connection
        .execute_batch("CREATE TABLE m (id INTEGER PRIMARY KEY, stream, seq, ts, sender, text)")
        .unwrap();
    let since = Instant::now();
    for batch in 0..rows / (WINDOW * SENDERS) {
        let transaction = connection.transaction().unwrap();
        let mut insert = transaction
            .prepare_cached("INSERT INTO m (stream, seq, ts, sender, text) VALUES (?, ?, ?, ?, ?)")
            .unwrap();
        for row in 0..WINDOW * SENDERS {
            insert.execute(rusqlite::params![1, batch + row, 0, 1, text]).unwrap();
        }
        drop(insert);
        transaction.commit().unwrap();
    }
    rows as f64 / since.elapsed().as_secs_f64()
}

/// A million messages: start, search, bytes on disk.
fn million() {
    let mut server = Server::start();
    let words = [
        "회의를 시작합니다",
        "build ok",
        "점심 먹으러 갑시다",
        "deploy of main finished",
        "배포 완료",
    ];
    let each = 1_000_000 / SENDERS;
    let since = Instant::now();
    at_once(each, |id| {
        let mut command = moot(&server.dir(), &["send", "--lines", "dev"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = std::io::BufWriter::new(child.stdin.take().unwrap());
        for n in 0..each {
            writeln!(input, "{} {id} {n}", words[(id + n) % words.len()]).unwrap();
        }
        writeln!(input, "needle{id}").unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
    });
    say(&format!("million: stored in {:.1} s", since.elapsed().as_secs_f64()));
    // The index is filled behind the commits.
    let (path, index) = (server.dir().join("history.db"), server.dir().join("search.db"));
    let indexed = || {
        let connection = rusqlite::Connection::open(&index).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        let sql = "SELECT value FROM facts WHERE key = 'indexed'";
        connection.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap_or(0)
    };
    while indexed() < 1_000_000 {
        std::thread::sleep(Duration::from_millis(200));
    }
    say(&format!("million: indexed after {:.1} s", since.elapsed().as_secs_f64()));
    let _ = server.child.kill();
    let _ = server.child.wait();
    let bytes = [&path, &index].map(|file| std::fs::metadata(file).unwrap().len());
    let bytes = bytes.iter().sum::<u64>();
    say(&format!("million: {} bytes a message on disk, index included", bytes / 1_000_000));
    let since = Instant::now();
    let mut command = moot(&server.dir(), &["serve"]);
    server.child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut link = server.link(1);
    submit(&mut link, 1, "the first after the start");
    say(&format!(
        "million: start to first acknowledgement {:.0} ms",
        since.elapsed().as_secs_f64() * 1e3
    ));
    for text in ["build", "시작합니다", "회의", "needle3", "배포 완료", "nowhere at all", "없음"]
    {
        let mut samples: Vec<f64> = (0..5)
            .map(|_| {
                let since = Instant::now();
                let _ = moot(&server.dir(), &["search", "--last", "20", text]).status();
                since.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        say(&format!("million: search {text:?}: {:.0} ms", quantiles(&mut samples).0));
    }
}

/// `badge` as a whole process.
fn badge() {
    let server = Server::start();
    let mut join = moot(&server.dir(), &["join", "dev"]);
    assert!(join.status().unwrap().success());
    let mut link = server.link(1);
    submit_many(&mut link, 1, "unread");
    std::thread::sleep(Duration::from_millis(500));
    let mut samples: Vec<f64> =
        (0..300).map(|_| timed(&mut moot(&server.dir(), &["badge"]))).collect();
    let (p50, p99) = quantiles(&mut samples);
    say(&format!("badge: whole process {p50:.2} ms (p99 {p99:.2})"));
}

/// Who floods, on a host's server.
const FLOODER_UID: u32 = 65_534;

/// What others notice of one user who does as much as he can: p99 of a quiet user's messages, to another
/// process, alone and during each kind of flood in the same run.
fn flood() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    if os::own_uid() != 0 {
        return say("flood: needs root, to be two users");
    }
    let server = Server::start_with(&["--system"]);
    let only = std::env::var("MOOT_FLOOD_ONLY").unwrap_or_default();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(server.temp.path(), open.clone()).unwrap();
    let flooder = server.temp.path().join("flooder");
    std::fs::copy(std::env::current_exe().unwrap(), &flooder).unwrap();
    std::fs::set_permissions(&flooder, open).unwrap();
    if std::env::var("MOOT_FLOOD_QUIET").is_ok_and(|what| what == "unstored") {
        moot(&server.dir(), &["room", "create", "quiet", "--no-history"]).status().unwrap();
    }
    let mut listener =
        moot(&server.dir(), &["listen", "--raw", "quiet"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let mut link = server.link(1);
    let mut counter = 0;
    let since = Instant::now();
    let mut quiet = |rounds: u64| {
        let mut samples = Vec::new();
        for _ in 0..rounds {
            std::thread::sleep(Duration::from_millis(3));
            counter += 1;
            let text = format!("{} of a usual length", since.elapsed().as_nanos());
            submit_to(&mut link, "quiet", counter, &text);
            let line = lines.next().unwrap().unwrap();
            let now = since.elapsed().as_nanos();
            let then: u128 = line.split(' ').next().unwrap().parse().unwrap();
            samples.push((now - then) as f64 / 1e3);
        }
        quantiles(&mut samples)
    };
    // Until the listener hears.
    std::thread::sleep(Duration::from_millis(300));
    quiet(100);
    for kind in ["spin", "messages", "joins", "repairs", "half-open"] {
        if !only.is_empty() && only != kind {
            continue;
        }
        for sessions in [1, 10, 100] {
            let (_, alone) = quiet(500);
            let mut child = Command::new(&flooder)
                .env("MOOT_FLOOD", format!("{kind} {sessions} {}", server.dir().display()))
                .uid(FLOODER_UID)
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(500));
            let (p50, p99) = quiet(1_000);
            let _ = child.kill();
            let _ = child.wait();
            say(&format!(
                "flood: {kind} by {sessions}: p50 {p50:.0} µs, p99 {p99:.0} µs; alone {alone:.0} µs; \
                 ratio {:.2}; server {} MiB",
                p99 / alone,
                server.memory_kib("VmHWM:") / 1024
            ));
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    let _ = listener.kill();
    let _ = listener.wait();
}

/// What one user gets of the server while another one attacks it; `-- hostile --quick` only tries each attack.
fn hostile() {
    #[cfg(target_os = "linux")]
    hostile::measure();
    #[cfg(not(target_os = "linux"))]
    say("hostile: needs Linux, where each thread is a user of its own");
}

fn submit_to(link: &mut Link, room: &str, counter: u64, text: &str) {
    let lines = vec![Line { reply_to: None, text: text.try_into().unwrap() }];
    let to = Destination::Room(RoomName::new(room).unwrap());
    link.queue_submit(&Submit { first: counter, to, to_label: None, lines });
    loop {
        match link.wait().unwrap() {
            Frame::Ack(_) => return,
            Frame::Event(Event::Ping) => link.pong(),
            other => assert!(!matches!(other, Frame::Nack { .. }), "{other:?}"),
        }
    }
}

/// The other process: `KIND SESSIONS DIR`. It ends when it is killed.
fn flood_as_told(orders: &str) {
    let mut words = orders.split(' ');
    let (kind, sessions) = (words.next().unwrap(), words.next().unwrap().parse::<u32>().unwrap());
    let socket = Path::new(words.next().unwrap()).join("socket");
    std::thread::scope(|scope| {
        for id in 0..sessions {
            let socket = &socket;
            scope.spawn(move || {
                loop {
                    // Whoever is turned away tries again.
                    match kind {
                        // What the processor's time alone costs the others.
                        "spin" => std::hint::spin_loop(),
                        "half-open" => drop(std::os::unix::net::UnixStream::connect(socket)),
                        kind => drop(flood_once(kind, id, socket)),
                    }
                }
            });
        }
    });
}

fn flood_once(kind: &str, id: u32, socket: &Path) -> Result<(), moot::client::LinkError> {
    let connection = Connection::open(socket, Duration::from_secs(5))?;
    let mut instance = [7; 16];
    instance[..4].copy_from_slice(&id.to_le_bytes());
    let mut link = Link::open(connection, &Hello::new(None, Kind::Script, instance));
    link.welcome()?;
    let join = |name: &str| Request::Join {
        follow: Follow::Room(RoomName::new(name).unwrap()),
        begin: Begin::Last(1_000),
        membership: true,
        keep: false,
    };
    let mut counter = 0;
    match kind {
        "messages" => loop {
            // As many as may be on their way.
            let lines = vec![
                Line {
                    reply_to: None,
                    text: "what nobody wants to read, again".try_into().unwrap()
                };
                256
            ];
            let to = Destination::Room(room());
            link.queue_submit(&Submit { first: counter + 1, to, to_label: None, lines });
            counter += 256;
            link.flush()?;
            let mut open = 256;
            while open > 0 {
                match link.wait()? {
                    Frame::Ack(ack) => open -= i64::from(ack.count),
                    Frame::Nack { count, .. } => open -= i64::from(count),
                    _ => {}
                }
            }
        },
        "joins" => loop {
            let moot::chat::reply::Reply::Joined(infos) = link.ask(&join("dev"))? else { continue };
            link.ask(&Request::Part { stream: infos[0].tag, forget: false })?;
        },
        _ => {
            let moot::chat::reply::Reply::Joined(infos) = link.ask(&join("dev"))? else {
                return Ok(());
            };
            let stream = infos[0].tag;
            link.queue_request(&Request::Session(SessionRequest::Listening {
                stream,
                charge_bytes: 0,
                slot: [0; 16],
            }));
            loop {
                // It says that it hears, has nothing, and wants everything again.
                counter += 1;
                link.queue_report(&moot::chat::frames::Report {
                    stream,
                    delivered: 0,
                    by_broadcast: counter,
                    datagrams: counter,
                });
                link.queue_repair(stream, 1, u64::MAX);
                let page = Request::History(HistoryRequest::Page {
                    target: moot::chat::names::Target::Room(room()),
                    first: 1,
                    last: u64::MAX,
                });
                link.ask(&page)?;
            }
        }
    }
}

/// The screen in a pseudo-terminal: how fast it begins, how fast a key is seen while 5,000 messages a second
/// come into the room that it shows, and what it uses while nothing happens.
fn screen() {
    const RATE: u64 = 5_000;
    const KEYS: usize = 400;
    const SECONDS: u64 = 15;
    let server = Server::start();
    // The room has something to show.
    let mut link = server.link(1);
    for counter in 1..=200 {
        submit(&mut link, counter, &format!("message {counter} of before"));
    }
    let mut starts: Vec<f64> = (0..20)
        .map(|_| {
            let since = Instant::now();
            let mut terminal = Pty::open(&server.dir());
            terminal.wait_for("message 200 of before");
            let took = since.elapsed().as_secs_f64() * 1e3;
            terminal.leave();
            took
        })
        .collect();
    let (median, worst) = quantiles(&mut starts);
    say(&format!("screen: first frame with the room after {median:.1} ms (99 %: {worst:.1} ms)"));

    let mut terminal = Pty::open(&server.dir());
    terminal.wait_for("message 200 of before");
    let idle = Duration::from_secs(10);
    std::thread::sleep(Duration::from_secs(1));
    let before = cpu_ms(terminal.pid());
    std::thread::sleep(idle);
    let used = cpu_ms(terminal.pid()) - before;
    say(&format!("screen: {used} ms of processor in {} idle seconds", idle.as_secs()));

    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = {
        let (stop, dir) = (stop.clone(), server.dir());
        std::thread::spawn(move || {
            let server = dir.join("socket");
            let connection = Connection::open(&server, Duration::from_secs(5)).unwrap();
            let mut link = Link::open(connection, &Hello::new(None, Kind::Script, [9; 16]));
            link.welcome().unwrap();
            let since = Instant::now();
            let mut counter = 1;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let due = (since.elapsed().as_secs_f64() * RATE as f64) as u64;
                while counter <= due {
                    submit(&mut link, counter, "a line of a build that says a lot, as builds do");
                    counter += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            (counter - 1) as f64 / since.elapsed().as_secs_f64()
        })
    };
    let since = Instant::now();
    let mut echoes: Vec<f64> = Vec::new();
    while echoes.len() < KEYS && since.elapsed().as_secs() < SECONDS * 2 {
        // Letters that the flood has not; the row is emptied when it is full.
        let letter = ["Q", "Z", "X", "W"][echoes.len() % 4];
        if echoes.len().is_multiple_of(40) {
            terminal.keys("\x15");
            terminal.wait_until(|rows| !rows.ends_with(['Q', 'Z', 'X', 'W']));
        }
        let before = terminal.input();
        let pressed = Instant::now();
        terminal.keys(letter);
        let wanted = format!("{before}{letter}");
        terminal.wait_until(|input| input == wanted);
        echoes.push(pressed.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(SECONDS * 1000 / KEYS as u64));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let rate = flood.join().unwrap();
    let (median, worst) = quantiles(&mut echoes);
    say(&format!(
        "screen: key to echo {median:.1} ms (99 %: {worst:.1} ms) under {rate:.0} messages a second"
    ));
    say(&format!("screen: {} KiB of memory after that", pid_kib(terminal.pid(), "VmRSS:")));
    terminal.leave();
}

fn pid_kib(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time of a process, ms, in the clock's ticks of 10 ms.
fn cpu_ms(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) * 10
}

/// `moot join` in a terminal of 80 × 24.
struct Pty {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    output: std::sync::mpsc::Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

impl Pty {
    fn open(dir: &Path) -> Self {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_moot"));
        command.args(["join", "dev"]);
        command.env("MOOT_SERVER", dir);
        command.env("TERM", "xterm-256color");
        command.env("XDG_STATE_HOME", dir.with_file_name("state"));
        command.env("XDG_CONFIG_HOME", dir.with_file_name("config"));
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (to, output) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(bytes @ 1..) = std::io::Read::read(&mut reader, &mut buffer) {
                if to.send(buffer[..bytes].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        let screen = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0);
        Self { master: pair.master, keyboard, child, output, screen }
    }

    fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn take(&mut self) {
        let bytes = self.output.recv_timeout(Duration::from_secs(30)).expect("the screen hangs");
        self.screen.process(&bytes);
    }

    fn wait_for(&mut self, text: &str) {
        while !self.screen.screen().contents().contains(text) {
            self.take();
        }
    }

    /// The last row: what is typed.
    fn input(&self) -> String {
        let rows = self.screen.screen().rows(0, 80).collect::<Vec<_>>();
        let last = rows.last().map(|row| row.trim_end().to_owned()).unwrap_or_default();
        last.trim_start_matches('>').trim_start().to_owned()
    }

    fn wait_until(&mut self, is: impl Fn(&str) -> bool) {
        while !is(&self.input()) {
            self.take();
        }
    }

    fn leave(mut self) {
        self.keys("\x15\x04");
        let _ = self.child.wait();
        drop(self.master);
    }
}
