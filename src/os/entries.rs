//! Entries of a server's directories: the files that servers make there, and nothing else.

use std::{ffi::OsStr, io::Read as _};

use super::{Dir, FileKind, LockState, open_to_read, places::PlaceError, query};
use crate::faults::{Fault, planted};

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
