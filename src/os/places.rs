//! The directories of a server, and what can be wrong with them.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Reserved name of the user server.
pub(super) const OWN: &str = "own";
/// Reserved name of the system server.
pub(super) const HOST: &str = "host";

/// The directories of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Socket and presence table.
    pub runtime: PathBuf,
    /// Lock, log and history.
    pub state: PathBuf,
    /// It is the system server, not a user's own.
    pub host: bool,
}

/// Returns true if the name of a server is a directory and not a plain name: it has a `/` (or
/// another path separator of this system).
#[must_use]
pub fn is_directory(server: &str) -> bool {
    server.contains(std::path::is_separator)
}

impl Places {
    /// Everything in one directory.
    pub(super) fn all_in(dir: PathBuf) -> Self {
        Self { runtime: dir.clone(), state: dir, host: false }
    }

    /// Returns the directory that names this server for any process, whatever its environment
    /// (`MOOT_SERVER`).
    #[must_use]
    pub fn directory(&self) -> &Path {
        // Where the lock is, it is said where everything else is; a system server is known by its
        // socket.
        if self.host { &self.runtime } else { &self.state }
    }

    /// The same server with its socket beside its lock, where the usual directory can't be made.
    #[must_use]
    pub fn fall_back(&self) -> Self {
        let is_apart = self.runtime != self.state;
        let runtime = if is_apart { self.state.join("run") } else { self.runtime.clone() };
        Self { runtime, ..self.clone() }
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

    /// Returns the path of the history.
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

/// Reason why a server has no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A plain server name that is none.
    #[error("{name:?} is not a server name: {why}; a directory needs a / in it")]
    Name {
        /// As it was given.
        name: String,
        /// Fault of the name.
        why: String,
    },
    /// No home, no state directory.
    #[error(
        "no directory for a server: neither XDG_STATE_HOME nor HOME (on Windows: LOCALAPPDATA) is \
         set; use --server DIR/"
    )]
    NoHome,
    /// The socket's path does not fit.
    #[error(
        "{}: the path of the socket has {bytes} bytes (limit {max}); \
         use a shorter --server directory",
        .path.display()
    )]
    TooLong {
        /// Path of the socket.
        path: PathBuf,
        /// Bytes of its path.
        bytes: usize,
        /// Bytes that it may have.
        max: usize,
    },
    /// Another user could replace the directory.
    #[error("{} is not safe: {why}", .path.display())]
    Unsafe {
        /// Path of the directory.
        path: PathBuf,
        /// Reason why it is not safe.
        why: String,
    },
    /// Something else is there.
    #[error("{} {why}", .path.display())]
    Taken {
        /// Path that is taken.
        path: PathBuf,
        /// Fault of the thing at the path.
        why: String,
    },
    /// The state directory is on a network file system.
    #[error(
        "{} is on a network file system ({kind}), where locks and history can't be trusted; \
         set XDG_STATE_HOME or --server to a local directory",
        .path.display()
    )]
    Network {
        /// Path of the directory.
        path: PathBuf,
        /// Kind of the file system.
        kind: &'static str,
    },
    /// A server can't use the directory, or make it.
    #[error(
        "can't create or use the directory {} ({}: {source}); {remedy}",
        .path.display(), .at.display()
    )]
    Unusable {
        /// The directory that the server needs.
        path: PathBuf,
        /// The directory on the way to it where the attempt ended.
        at: PathBuf,
        /// Reason from the system.
        source: io::Error,
        /// Remedy, as a command to the user.
        remedy: &'static str,
    },
    /// The directory can't be made or read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Path of the directory.
        path: PathBuf,
        /// Error from the system.
        source: io::Error,
    },
}

impl PlaceError {
    /// Returns true if this user lacks permission, rather than the thing being wrong.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Io { source, .. } | Self::Unusable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied
        )
    }
}
