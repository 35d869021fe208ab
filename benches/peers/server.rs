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

use ::moot::os::{Usage, process_usage};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use socket2::{Domain, SockAddr, Socket, Type};

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

    /// What it has used, in the same way as it is measured for this program's own server.
    pub fn usage(&self) -> io::Result<Usage> {
        process_usage(self.child.id()).ok_or_else(|| io::Error::other("no word of a process"))
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
