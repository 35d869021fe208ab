//! This project's own program, measured from outside by its command `bench`.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    sample::{Measured, Run},
    server::Process,
};

/// What differs between the ways in which the program is measured.
#[derive(Clone, Copy)]
pub struct Variant {
    pub broadcast: bool,
    pub history: bool,
}

impl Variant {
    pub fn settings(self) -> Vec<String> {
        let carrier = match self.broadcast {
            true => "multicast where it pays (the default)",
            false => "the sessions' Unix sockets alone (serve --broadcast off)",
        };
        let kept = match self.history {
            true => "each message stored before it is acknowledged",
            false => "a room without history (--room-history off)",
        };
        vec![carrier.into(), kept.into()]
    }
}

pub fn measure(program: &Path, variant: Variant, run: &Run) -> io::Result<Measured> {
    let temp = tempfile::Builder::new().prefix("moot").tempdir_in("/tmp")?;
    let dir = temp.path().join("s");
    let _server = serve(program, &dir, variant)?;
    let mut command = Command::new(program);
    command.env("MOOT_SERVER", &dir).args(["--json", "bench", "--senders", "1"]);
    command.args(["--members", &run.members.to_string(), "--size", &run.size.to_string()]);
    let rate = run.rate.map_or_else(|| "max".to_owned(), |rate| rate.to_string());
    command.args(["--rate", &rate, "--for", &format!("{}ms", run.length.as_millis())]);
    command.args(["--room-history", if variant.history { "on" } else { "off" }]);
    if run.own_threads {
        command.arg("--processes");
    }
    result(&mut command)
}

/// The server, when it takes connections.
fn serve(program: &Path, dir: &Path, variant: Variant) -> io::Result<Process> {
    let mut command = Command::new(program);
    command.arg("serve").env("MOOT_SERVER", dir).stdin(Stdio::null()).stderr(Stdio::null());
    if !variant.broadcast {
        command.args(["--broadcast", "off"]);
    }
    let mut process = Process::spawn(command.stdout(Stdio::piped()))?;
    let mut line = String::new();
    if let Some(stdout) = process.child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let listens = line.starts_with("listening");
    if listens { Ok(process) } else { Err(io::Error::other(format!("serve said {line:?}"))) }
}

/// The last line of its output; everything before it is progress.
fn result(command: &mut Command) -> io::Result<Measured> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn(command)?;
    let (stdout, stderr) = (process.child.stdout.take(), process.child.stderr.take());
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let read = stderr.map(|mut stderr| stderr.read_to_string(&mut text));
        read.transpose().map(|_| text)
    });
    let mut output = String::new();
    if let Some(mut stdout) = stdout {
        stdout.read_to_string(&mut output)?;
    }
    let errors = errors.join().map_err(|_| io::Error::other("reading its errors"))??;
    let status = process.child.wait()?;
    let said = serde_json::from_str(output.lines().last().unwrap_or_default());
    match (said, status.success()) {
        // Who loses something may say so by its status, too.
        (Ok(said), _) => measured(&said),
        (Err(_), _) => {
            let why = errors.lines().last().unwrap_or_default();
            Err(io::Error::other(format!("bench: {status}: {why}")))
        }
    }
}

fn measured(said: &Value) -> io::Result<Measured> {
    let number = |key: &str| said[key].as_f64();
    let needed = |key: &str| {
        let missing = || io::Error::other(format!("bench said nothing of {key}: {said}"));
        number(key).ok_or_else(missing)
    };
    Ok(Measured {
        messages_per_s: needed("messages_per_s")?,
        deliveries: needed("deliveries")? as u64,
        lost: needed("lost")? as u64,
        disordered: needed("disordered")? as u64,
        p50_us: said["latency_us"]["p50"].as_f64(),
        p99_us: said["latency_us"]["p99"].as_f64(),
        server_cpu_us_per_delivery: number("server_cpu_us_per_delivery"),
        server_memory_per_member_bytes: number("server_memory_per_member_bytes"),
    })
}
