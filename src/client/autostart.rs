//! Starting the user server in the background, and waiting until it is ready.

use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    limits::{IDLE_EXIT_MS, REPAIR_MS_MAX, START_MS_MAX},
    os::{self, Places},
    session::{ConnectError, Connection},
};

/// Maximum bytes kept of the output of a server that did not start.
const LAST_WORDS_BYTES_MAX: u64 = 4096;

/// Line of `serve --detached` on standard output if another server runs there.
pub const SERVED: &str = "served by another server";

/// Beginning of a server in the background.
enum Beginning {
    /// It is ready, or still working on that.
    Started,
    /// Another server runs there.
    Served,
    /// It ended with these words.
    Ended(String),
}

/// Why no server could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program itself could not be run again.
    #[error("can't start a server: {0}")]
    Spawn(#[from] io::Error),
    /// It was started and ended with these words.
    #[error("can't start a server: {0}")]
    Failed(String),
    /// It was started and does not answer.
    #[error("the started server does not respond; see its log {0}")]
    NotReady(String),
    /// It answers, and can't be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Starts a server for these places and connects to it, or to the one that won the race.
///
/// # Errors
/// See [`StartError`].
pub fn start(places: &Places, args: &[OsString], wait: Duration) -> Result<Connection, StartError> {
    let deadline = Instant::now() + wait.min(Duration::from_millis(START_MS_MAX));
    loop {
        let beginning = spawn(args, deadline)?;
        match connect(places, deadline) {
            Err(ConnectError::NoServer(_)) => {}
            Ok(connection) => return Ok(connection),
            Err(e) => return Err(e.into()),
        }
        match beginning {
            // It has ended since: once more. A server that ends by itself does so again.
            Beginning::Served if Instant::now() < deadline => {}
            Beginning::Ended(words) => {
                return Err(StartError::Failed(words.trim_start_matches("moot: ").to_owned()));
            }
            Beginning::Served => {
                let text = "another server runs there, and does not respond";
                return Err(StartError::Failed(text.to_owned()));
            }
            Beginning::Started => {
                return Err(StartError::NotReady(places.log().display().to_string()));
            }
        }
    }
}

/// Runs a server in the background, until it is ready or has ended.
fn spawn(args: &[OsString], deadline: Instant) -> Result<Beginning, StartError> {
    let program = std::env::current_exe().map_err(|e| {
        // On Linux it is found by /proc.
        io::Error::new(
            e.kind(),
            format!("the program file can't be found ({e}); is /proc mounted?"),
        )
    })?;
    let mut command = Command::new(program);
    os::in_background(&mut command);
    let mut child = command
        .args(args)
        .args(["serve", "--detached", "--idle-exit"])
        .arg(format!("{IDLE_EXIT_MS}ms"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It writes one line to this pipe once it listens, or if another server was faster; it closes
    // the pipe if it failed.
    let pipe = child.stdout.take().map(|pipe| BufReader::new(pipe.take(LAST_WORDS_BYTES_MAX)));
    let line = pipe.map(|mut pipe| within(deadline, move |line| pipe.read_until(b'\n', line)));
    let line = line.unwrap_or_default();
    let beginning = match (line.trim_end(), child.stderr.take()) {
        (SERVED, _) => Beginning::Served,
        ("", Some(pipe)) => {
            // It has ended, or is about to: a moment more is enough for what it still writes.
            let deadline = deadline.max(Instant::now() + Duration::from_millis(100));
            let mut pipe = pipe.take(LAST_WORDS_BYTES_MAX);
            match within(deadline, move |words| pipe.read_to_end(words)).trim() {
                "" => Beginning::Started,
                words => Beginning::Ended(words.to_owned()),
            }
        }
        _ => Beginning::Started,
    };
    os::leave_running(child);
    Ok(beginning)
}

/// Connects to the server that holds the lock, once it listens.
fn connect(places: &Places, deadline: Instant) -> Result<Connection, ConnectError> {
    let repaired = Instant::now() + Duration::from_millis(REPAIR_MS_MAX);
    let mut is_asked = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        // A server that was faster may have it in another directory.
        match Connection::open(&os::located(places).socket(), left) {
            Err(ConnectError::NoServer(_))
                if Instant::now() < deadline && os::is_served(places) =>
            {
                // It was ready once, and its socket stays away: it makes room for another one.
                if !is_asked && Instant::now() >= repaired && os::was_ready(&places.lock()) {
                    is_asked = true;
                    // One that can't be asked is named when the time has passed.
                    let _ = os::end_holder(&places.lock());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// Returns what a function reads until the deadline; nothing if that passes first.
fn within(
    deadline: Instant,
    read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize> + Send + 'static,
) -> String {
    let (to_caller, received) = crossbeam_channel::bounded(1);
    let reader = std::thread::Builder::new().name("moot-start".to_owned()).spawn(move || {
        let mut words = Vec::new();
        let _ = read(&mut words);
        let _ = to_caller.send(String::from_utf8_lossy(&words).into_owned());
    });
    match reader {
        Ok(_) => received.recv_deadline(deadline).unwrap_or_default(),
        Err(_) => String::new(),
    }
}
