//! The client's end: a blocking connection, made only to a server that may be trusted.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::os::{self, Intake, PlaceError};

/// Reason why a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No process listens there.
    #[error("no server at {}", .0.display())]
    NoServer(PathBuf),
    /// It does not take connections in time.
    #[error("the server at {} does not respond", .0.display())]
    TimedOut(PathBuf),
    /// This user may not connect.
    #[error(
        "not permitted: the server at {} does not admit you (permission denied); --server own uses \
         your own server",
        .0.display()
    )]
    Denied(PathBuf),
    /// The process that listens there does not run as the directory's owner.
    #[error(
        "not trusted: the server at {} runs as user id {found}, and its directory belongs to user \
         id {expected}",
        .path.display()
    )]
    Untrusted {
        /// Path of the socket.
        path: PathBuf,
        /// User id of the listener.
        found: u32,
        /// User id of the directory's owner.
        expected: u32,
    },
    /// Another user could have put it there.
    #[error(transparent)]
    Place(PlaceError),
    /// Any other error.
    #[error("can't connect to {}: {source}", .path.display())]
    Io {
        /// Path of the socket.
        path: PathBuf,
        /// Error from the system.
        source: io::Error,
    },
}

/// A client's connection. Reading and writing may happen in two threads.
#[derive(Debug)]
pub struct Connection(os::Client);

impl Connection {
    /// Connects to the server that listens at a path, and checks that it is not an impostor.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn open(path: &Path, wait: Duration) -> Result<Self, ConnectError> {
        let failed = |source: io::Error| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::ConnectionRefused => ConnectError::NoServer(path),
                io::ErrorKind::PermissionDenied => ConnectError::Denied(path),
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectError::TimedOut(path),
                _ => ConnectError::Io { path, source },
            }
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let expected = os::safe_owner_of(directory).map_err(|e| match e {
            PlaceError::Io { source, .. } => failed(source),
            e => ConnectError::Place(e),
        })?;
        let client = os::Client::connect(path, wait).map_err(failed)?;
        let found = client.peer().map_err(failed)?.uid;
        if !os::acceptable_server(found, expected, os::own_uid()) {
            return Err(ConnectError::Untrusted { path: path.to_owned(), found, expected });
        }
        Ok(Self(client))
    }

    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// If a system call fails; `WouldBlock` or `TimedOut` after the receive timeout.
    pub fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn write_all(&self, from: &[u8]) -> io::Result<()> {
        self.0.write_all(from)
    }

    /// Bounds the time of one read; none: no limit.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(timeout)
    }

    /// Bounds the time of one write; none: no limit.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_write_timeout(timeout)
    }

    /// From now on what comes by it is waited for together with what its server sends from a port,
    /// if that has one.
    ///
    /// # Errors
    /// If descriptors or threads have run out.
    pub fn into_intake(self, source_port: Option<u16>) -> io::Result<Intake> {
        Intake::open(self.0, source_port)
    }
}
