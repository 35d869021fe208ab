//! History on disk: SQLite, one connection that writes on its own thread, others that only read. The only `rusqlite`.
//!
//! [`History::open`] gives what the hub begins with ([`Loaded`]); [`History::commit`] hands the writer a
//! transaction and returns at once, [`History::reader`] answers questions. What is acknowledged was
//! committed; with `sync = "full"` a power cut does not take it back either.

mod read;
mod schema;
mod search;
mod write;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use read::{Found, Reader};
pub use search::{Hit, Query};
pub use write::{Done, History, Options};

use crate::chat::hub::Restored;

/// Why the history can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file is no history, or its pages do not fit each other.
    #[error(
        "the history {} is damaged ({why}); move it away, or put a copy of it back. \
         `moot serve --history off` serves without it",
        .path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        why: String,
    },
    /// Written by a newer moot.
    #[error(
        "the history {} has schema version {found}, and this moot knows versions up to {known}; \
         use the newer moot that wrote it",
        .path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// From SQLite or the system.
    #[error("the history {}: {source}", .path.display())]
    Sql {
        /// The database.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

impl HistoryError {
    fn of(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, why: source.to_string() }
            }
            _ => Self::Sql { path, source },
        }
    }
}

/// What a failed transaction is called in a refusal.
fn words(e: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the history can't be written: disk full".to_owned(),
        Some(ErrorCode::SystemIoFailure) => format!("the history can't be written: {e}"),
        Some(ErrorCode::ReadOnly) => "the history can't be written: read-only".to_owned(),
        _ => format!("the history can't be written: {e}"),
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Not longer than so long; none: for ever.
    pub keep: Option<Duration>,
    /// Not more than so many bytes of the database; none: as much as there is room for.
    pub bytes_max: Option<u64>,
}

/// What a server begins with: everything of the last run that goes on.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Rooms, conversations, follows, submits.
    pub restored: Restored,
    /// Rises whenever an older database was put back: numbers seen since then may come again.
    pub epoch: u32,
}
