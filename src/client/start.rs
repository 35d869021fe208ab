//! Starting the user's own server in the background, and waiting until it is ready.

use std::{
    ffi::OsString,
    io::{self, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    limits::{IDLE_EXIT_MS, START_MS_MAX},
    os::{self, Places},
    session::{ConnectError, Connection},
};

/// Why no server could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program itself could not be run again.
    #[error("can't start a server: {0}")]
    Spawn(#[from] io::Error),
    /// It was started and does not answer.
    #[error("the server that was started does not answer; its log is {0}")]
    NotReady(String),
    /// It answers, and can't be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Starts a server for these places and connects to it, or to the one that won the race.
///
/// # Errors
/// See [`StartError`].
pub fn start(places: &Places, args: &[OsString]) -> Result<Connection, StartError> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args)
        .args(["serve", "--detached", "--idle-exit"])
        .arg(format!("{}ms", IDLE_EXIT_MS))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // It says one line on this pipe once it listens, or closes it: then another server was faster, or
    // it failed.
    if let Some(mut pipe) = child.stdout.take() {
        let mut byte = [0];
        let _ = pipe.read(&mut byte);
    }
    os::leave_running(child);
    let deadline = Instant::now() + Duration::from_millis(START_MS_MAX);
    loop {
        match Connection::open(&places.socket()) {
            Ok(connection) => return Ok(connection),
            Err(ConnectError::NoServer(_))
                if Instant::now() < deadline && os::is_served(places) =>
            {
                // Whoever holds the lock is about to listen.
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(ConnectError::NoServer(_)) => {
                return Err(StartError::NotReady(places.log().display().to_string()));
            }
            Err(e) => return Err(e.into()),
        }
    }
}
