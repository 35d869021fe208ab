//! The directories of a server, and what can be wrong with them.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The directories of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Socket and presence table.
    pub runtime: PathBuf,
    /// Lock, log and history.
    pub state: PathBuf,
    /// It is the host's server, not a user's own.
    pub host: bool,
}

/// Whether what names a server is a directory, and not a plain name: it has a `/` (or whatever this system
/// divides paths with).
#[must_use]
pub fn is_directory(server: &str) -> bool {
    server.contains(std::path::is_separator)
}

impl Places {
    /// Everything in one directory.
    pub(super) fn all_in(dir: PathBuf) -> Self {
        Self { runtime: dir.clone(), state: dir, host: false }
    }

    /// The directory that names this server, whatever the surroundings of the process that is told it
    /// (`MOOT_SERVER`).
    #[must_use]
    pub fn directory(&self) -> &Path {
        // Where the lock is, it is said where everything else is; a host's server is known by its socket.
        if self.host { &self.runtime } else { &self.state }
    }

    /// The socket that sessions connect to.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("socket")
    }

    /// The presence table.
    #[must_use]
    pub fn table(&self) -> PathBuf {
        self.runtime.join("presence")
    }

    /// The deciding lock.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The history.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.state.join("history.db")
    }

    /// The log of a server in the background.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("server.log")
    }
}

/// Why there is no place for a server.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A plain server name that is none.
    #[error("{name:?} is no server name: {why}; a directory is written with a /")]
    Name {
        /// As it was given.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// No home, no state directory.
    #[error(
        "no place for a server: neither XDG_STATE_HOME nor HOME (on Windows: LOCALAPPDATA) is set; \
         name one with --server DIR"
    )]
    NoHome,
    /// The socket's path does not fit.
    #[error(
        "{}: a socket's path has at most {max} bytes, this one has {bytes}; \
         use a shorter --server directory",
        .path.display()
    )]
    TooLong {
        /// The socket.
        path: PathBuf,
        /// Bytes of its path.
        bytes: usize,
        /// Bytes that it may have.
        max: usize,
    },
    /// Somebody else could take the directory's place.
    #[error("{} is not safe: {why}", .path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The state directory is on a network file system.
    #[error(
        "{} is on a network file system ({kind}), where locks and history can't be trusted; \
         set XDG_STATE_HOME or --server to a local directory",
        .path.display()
    )]
    Network {
        /// The directory.
        path: PathBuf,
        /// What kind.
        kind: &'static str,
    },
    /// The directory can't be made or read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PlaceError {
    /// Whether this user may not, rather than the thing being wrong.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}
