//! Figures of links between hosts: `cargo bench --features link --bench link`; `-- --quick` for a short run.
//!
//! Several moot servers with their links, and one NATS server, on this machine over loopback; `MOOT_NATS_SERVER=PATH`
//! chooses the NATS server. Everything is the real program in release mode. Without a NATS server nothing is measured.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};

fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(command: &mut Command) -> Running {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("the program runs"))
}

/// One host: a server and its link.
struct Host {
    dir: PathBuf,
    server: Running,
    link: Running,
}

/// All hosts, and the NATS server between them.
struct Town {
    _dir: tempfile::TempDir,
    port: u16,
    nats: Running,
    hosts: Vec<Host>,
}

fn moot(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moot"));
    command.arg("--server").arg(format!("{}/", dir.display()));
    command
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < until, "{what} in time");
        thread::sleep(Duration::from_millis(2));
    }
}

impl Town {
    /// Starts it; none if there is no NATS server.
    fn new(count: usize) -> Option<Self> {
        let program =
            std::env::var("MOOT_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
        let dir = tempfile::tempdir().ok()?;
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let mut nats = Command::new(program);
        nats.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(dir.path().join("js"));
        let nats = nats.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let nats = Running(nats.ok()?);
        eventually("the NATS server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let hosts = (0..count).map(|number| Self::host(dir.path(), port, number)).collect();
        let town = Self { _dir: dir, port, nats, hosts };
        // Each is heard of by all others once its name is its own.
        eventually("links", || town.hosts.iter().all(|host| host.sees(count - 1)));
        Some(town)
    }

    fn host(dir: &Path, port: u16, number: usize) -> Host {
        let dir = dir.join(format!("h{number}"));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&dir).expect("a directory");
        let server = spawn(moot(&dir).arg("serve"));
        eventually("a server", || {
            moot(&dir)
                .arg("rooms")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        });
        let url = format!("nats://127.0.0.1:{port}");
        let name = format!("h{number}");
        let metrics = dir.join("link.prom");
        let link = spawn(
            moot(&dir)
                .args(["link", &url, "--host", &name, "--rooms", "dev", "--create", "--metrics"])
                .arg(metrics),
        );
        Host { dir, server, link }
    }
}

impl Host {
    fn sees(&self, hosts: usize) -> bool {
        let text = std::fs::read_to_string(self.dir.join("link.prom")).unwrap_or_default();
        text.lines().filter(|l| l.starts_with("moot_link_reachable") && l.ends_with(" 1")).count()
            >= hosts
    }

    /// The lines of a listener, each with the time of its arrival.
    fn listen(&self) -> (Running, mpsc::Receiver<(String, Instant)>) {
        let mut command = moot(&self.dir);
        command.args(["listen", "dev", "--raw"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a listener");
        let mut ready = BufReader::new(child.stderr.take().expect("a pipe"));
        ready.read_line(&mut String::new()).expect("that it is ready");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let (to, from) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if to.send((line, Instant::now())).is_err() {
                    return;
                }
            }
        });
        (Running(child), from)
    }

    fn sender(&self) -> Child {
        let mut command = moot(&self.dir);
        command.args(["send", "dev", "--lines"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.stdin(Stdio::piped()).spawn().expect("a sender")
    }
}

/// Microseconds of a sorted list at a part of it.
fn at(sorted: &[Duration], part: f64) -> u128 {
    sorted[((sorted.len() - 1) as f64 * part) as usize].as_micros()
}

fn latency(town: &Town, count: usize) {
    let (_listener, heard) = town.hosts[1].listen();
    let mut sender = town.hosts[0].sender();
    let mut to = sender.stdin.take().expect("a pipe");
    let mut sent = Vec::new();
    let begin = Instant::now();
    for number in 0..count {
        let due = begin + Duration::from_millis(5) * number as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        writeln!(to, "n{number}").expect("a line");
    }
    let mut times: Vec<Duration> = Vec::new();
    for sent in &sent {
        let (_, arrived) = heard.recv_timeout(Duration::from_secs(60)).expect("each text");
        times.push(arrived.saturating_duration_since(*sent));
    }
    drop(to);
    let _ = sender.wait();
    times.sort_unstable();
    say(&format!(
        "host to host at 200 messages/s, from the sender's pipe to the listener's, stored at both: p50 {} µs, p99 {} µs",
        at(&times, 0.5),
        at(&times, 0.99)
    ));
}

/// Sends texts at full speed on the first host; returns the messages a second that all others have.
fn throughput(town: &Town, count: usize) -> f64 {
    let listeners: Vec<_> = town.hosts[1..].iter().map(Host::listen).collect();
    let mut sender = town.hosts[0].sender();
    let mut to = std::io::BufWriter::new(sender.stdin.take().expect("a pipe"));
    let text = "x".repeat(55);
    let begin = Instant::now();
    for number in 0..count {
        writeln!(to, "{number:08} {text}").expect("a line");
    }
    drop(to);
    for (_, heard) in &listeners {
        for number in 0..count {
            let (line, _) = heard.recv_timeout(Duration::from_secs(120)).expect("each text");
            assert!(line.starts_with(&format!("{number:08} ")), "in order: {line}");
        }
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    assert!(sender.wait().expect("its end").success());
    rate
}

/// Publishes the same texts to a stream of the same NATS server, each acknowledged, 256 at a time.
fn plain(town: &Town, count: usize) -> f64 {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client =
            async_nats::connect(format!("127.0.0.1:{}", town.port)).await.expect("a connection");
        let config = r#"{"name":"PLAIN","subjects":["plain"],"storage":"file"}"#;
        client.request("$JS.API.STREAM.CREATE.PLAIN", config.into()).await.expect("a stream");
        let text = "x".repeat(55);
        let begin = Instant::now();
        let published = stream::iter(0..count).map(|number| {
            let (client, text) = (client.clone(), format!("{number:08} {text}"));
            async move { client.request("plain", text.into()).await.expect("an acknowledgment") }
        });
        let acknowledged =
            published.buffered(256).fold(0, |count, _| async move { count + 1 }).await;
        assert_eq!(acknowledged, count);
        count as f64 / begin.elapsed().as_secs_f64()
    })
}

/// Processor time of a process so far, and its resident memory.
fn cost(process: &Running) -> (Duration, u64) {
    let pid = process.0.id();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok());
    (Duration::from_millis((fields[11] + fields[12]) * 10), kib.unwrap_or(0))
}

fn at_rest(town: &Town, time: Duration) {
    let host = &town.hosts[0];
    let before = [&host.link, &host.server, &town.nats].map(|process| cost(process).0);
    thread::sleep(time);
    let after = [&host.link, &host.server, &town.nats].map(cost);
    let share = |at: usize| (after[at].0 - before[at]).as_secs_f64() / time.as_secs_f64() * 100.0;
    say(&format!(
        "at rest with {} hosts: link {:.2} % of a processor, {} MiB; server {:.2} %; NATS server {:.2} %, {} MiB",
        town.hosts.len(),
        share(0),
        after[0].1 / 1024,
        share(1),
        share(2),
        after[2].1 / 1024
    ));
}

fn main() {
    let is_quick = std::env::args().any(|arg| arg == "--quick");
    let (texts, count, rest) = if is_quick { (2_000, 100, 1) } else { (200_000, 2_000, 20) };
    let Some(town) = Town::new(2) else {
        return say("no NATS server was found: nothing is measured");
    };
    latency(&town, count);
    let (linked, plain) = (throughput(&town, texts), plain(&town, texts));
    say(&format!(
        "64-byte texts at full speed, host to host, stored at both: {linked:.0}/s, {:.1} × plain publications to JetStream \
         ({plain:.0}/s)",
        linked / plain
    ));
    at_rest(&town, Duration::from_secs(rest));
    drop(town);
    for hosts in [4, 8].into_iter().filter(|_| !is_quick) {
        let Some(town) = Town::new(hosts) else { return };
        let rate = throughput(&town, texts / 4);
        let deliveries = rate * (hosts - 1) as f64;
        say(&format!(
            "{hosts} hosts: {rate:.0} messages/s to each other host, {deliveries:.0} imports/s in all"
        ));
        at_rest(&town, Duration::from_secs(rest));
    }
}
