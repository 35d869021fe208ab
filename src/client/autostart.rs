//! Starting the user's own server in the background, and waiting until it is ready.

use std::{
    ffi::OsString,
    io::{self, Read},
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
        let last_words = spawn(args, deadline)?;
        match connect(places, deadline) {
            Err(ConnectError::NoServer(_)) => {}
            Ok(connection) => return Ok(connection),
            Err(e) => return Err(e.into()),
        }
        // Another server was in the way, and has ended since: once more. One that ends by itself
        // does so again.
        let in_the_way = last_words.contains("runs already");
        if !in_the_way || Instant::now() >= deadline {
            return Err(match last_words.trim() {
                "" => StartError::NotReady(places.log().display().to_string()),
                words => StartError::Failed(words.trim_start_matches("moot: ").to_owned()),
            });
        }
    }
}

/// Runs a server in the background; gives its last words if it ended before it was ready.
fn spawn(args: &[OsString], deadline: Instant) -> Result<String, StartError> {
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
    // It says one line on this pipe once it listens, or closes it: then another server was faster,
    // or it failed.
    let first = child.stdout.take().map(|pipe| words_of(pipe, 1, deadline)).unwrap_or_default();
    let mut last_words = String::new();
    if first.is_empty()
        && let Some(pipe) = child.stderr.take()
    {
        // It has ended, or is about to: a moment more is enough for what it still says.
        let deadline = deadline.max(Instant::now() + Duration::from_millis(100));
        last_words = words_of(pipe, LAST_WORDS_BYTES_MAX, deadline);
    }
    os::leave_running(child);
    Ok(last_words)
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

/// Returns the output of a pipe until it ends, `bytes_max` bytes have come, or the time has passed.
fn words_of(pipe: impl Read + Send + 'static, bytes_max: u64, deadline: Instant) -> String {
    let (tell, told) = crossbeam_channel::bounded(1);
    let listener = std::thread::Builder::new().name("moot-start".to_owned()).spawn(move || {
        let mut words = Vec::new();
        let _ = pipe.take(bytes_max).read_to_end(&mut words);
        let _ = tell.send(String::from_utf8_lossy(&words).into_owned());
    });
    match listener {
        Ok(_) => told.recv_deadline(deadline).unwrap_or_default(),
        Err(_) => String::new(),
    }
}
