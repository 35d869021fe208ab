//! A server that this program has started: it ends with its value, or with this program.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use socket2::{Domain, SockAddr, Socket, Type};

/// The unit of times in `/proc/PID/stat` is the same on all Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;
/// Nothing answers for so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How a peer is to be started.
pub struct Start {
    pub arguments: Vec<OsString>,
    pub address: Address,
}

pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Address {
    pub fn connect(&self) -> io::Result<Socket> {
        let (domain, address) = match self {
            Self::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
            Self::Tcp(address) => (Domain::IPV4, (*address).into()),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect(&address)?;
        if matches!(self, Self::Tcp(_)) {
            socket.set_tcp_nodelay(true)?;
        }
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    }
}

/// Ends its process when it is dropped, also on panic.
pub struct Process {
    pub child: Child,
}

/// For whoever interrupts this program: values are not dropped then.
static ALIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

impl Process {
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut alive = ALIVE.lock().expect("nobody panics with it");
        let child = command.spawn()?;
        alive.push(child.id());
        Ok(Self { child })
    }

    /// Processor time so far, user's and system's.
    pub fn cpu_s(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may contain anything.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / TICKS_PER_S)
    }

    pub fn resident_bytes(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        let kib = line.split_ascii_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
        Ok(kib.unwrap_or(0) * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(mut alive) = ALIVE.lock() {
            alive.retain(|id| *id != self.child.id());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Interrupted, this program takes with it what it has started.
pub fn end_all_when_interrupted() {
    let end = || {
        for id in ALIVE.lock().iter().flat_map(|alive| alive.iter()) {
            let _ = kill(Pid::from_raw(*id as i32), Signal::SIGKILL);
        }
        std::process::exit(130);
    };
    ctrlc::set_handler(end).expect("no other handler");
}

pub struct Server {
    pub process: Process,
    pub address: Address,
    _temp: tempfile::TempDir,
}

impl Server {
    /// Starts it in a directory of its own, and waits until it takes connections.
    pub fn start(program: &Path, how: fn(&Path) -> Start) -> io::Result<Self> {
        let temp = tempfile::Builder::new().prefix("peer").tempdir_in("/tmp")?;
        let Start { arguments, address } = how(temp.path());
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::spawn(&mut command)?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = address.connect() {
            if let Some(status) = process.child.try_wait()? {
                return Err(io::Error::other(format!("it ended at its start: {status}")));
            }
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { process, address, _temp: temp })
    }
}

/// Where a program is; servers are often where only administrators look.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// The first word of its own description that is a version.
pub fn version(program: &Path, option: &str) -> String {
    let output = Command::new(program).arg(option).stdin(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let versions = text.split_ascii_whitespace().filter_map(|word| {
        let number = word.trim_start_matches(|c: char| !c.is_ascii_digit());
        (number.contains('.')).then(|| number.trim_end_matches(',').to_owned())
    });
    versions.into_iter().next().unwrap_or_else(|| "version unknown".into())
}
