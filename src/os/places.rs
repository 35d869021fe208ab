//! The directories of a server, and what can be wrong with them.

use std::{
    ffi::OsStr,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{Dir, FileKind, LockState, open_to_read, query};
use crate::faults::{Fault, planted};

/// Reserved name of the user's own server.
pub(super) const OWN: &str = "own";
/// Reserved name of the host's server.
pub(super) const HOST: &str = "host";

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
        // Where the lock is, it is said where everything else is; a host's server is known by its
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

/// Files that servers make in their directories.
const FILES: &[&str] = &[
    "lock",
    "presence",
    "history.db",
    "history.db-wal",
    "history.db-shm",
    "history.db-journal",
    "history.epoch",
    "history.epoch.new",
    "search.db",
    "search.db-wal",
    "search.db-shm",
    "search.db-journal",
    "server.log",
    "server.log.old",
];
/// Directories that are in them: sockets without a better place, what screens save, and what a file
/// system has of its own.
const DIRECTORIES: &[&str] = &["run", "screen", "lost+found"];
/// A SQLite file says at this byte whose it is.
const APPLICATION_AT: usize = 68;

/// Returns true if a server can live with that kind of thing under that name; none if no server
/// makes such a name.
fn fits(name: &str, kind: FileKind) -> Option<bool> {
    match name {
        // A file in its place is replaced.
        "socket" => Some(matches!(kind, FileKind::Socket | FileKind::File)),
        name if FILES.contains(&name) => Some(kind == FileKind::File),
        name if DIRECTORIES.contains(&name) => Some(kind == FileKind::Directory),
        _ => None,
    }
}

/// Checks that a directory is a server's, or is empty: what has another use is not taken over. And
/// that nothing else is in the place of a file that a server would open.
pub(super) fn check_entries(dir: &Dir, is_state: bool) -> Result<(), PlaceError> {
    let failed = |source| PlaceError::Io { path: dir.path().to_owned(), source };
    let refuse = |name: &OsStr, why: &str| {
        let path = dir.path().join(name);
        Err(PlaceError::Taken { path, why: why.to_owned() })
    };
    let mut foreign = None;
    for name in dir.names().map_err(failed)? {
        // What has gone since is in the way of nothing.
        let Ok(look) = dir.look_at(&name) else { continue };
        match name.to_str().and_then(|name| fits(name, look.kind)) {
            None => foreign = Some(name),
            Some(false) => return refuse(&name, "is not a file of a server; move it away"),
            Some(true) => {}
        }
    }
    match foreign {
        Some(_) if planted(Fault::ForeignDirectoryTaken) => Ok(()),
        Some(name) if is_state && !dir.was_served() => refuse(
            &name,
            "is not a file of a server, so its directory has another use; use an empty or new \
             directory",
        ),
        _ => Ok(()),
    }
}

impl Dir {
    /// Returns true if it has the lock or the history of a server.
    #[must_use]
    pub fn was_served(&self) -> bool {
        let mut head = [0; APPLICATION_AT + 4];
        let history = open_to_read(&self.path().join("history.db"));
        let is_read = history.and_then(|mut file| file.read_exact(&mut head)).is_ok();
        let lock = query(&self.path().join("lock"));
        (is_read && head.starts_with(b"SQLite format 3") && head.ends_with(b"moot"))
            || matches!(lock, Ok(LockState::Held(_) | LockState::Free(Some(_))))
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
