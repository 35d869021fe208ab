//! Why the history can't be used.

use std::path::{Path, PathBuf};

/// Why the history can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file is not a history, or its pages do not fit each other.
    #[error(
        "the history {} is damaged ({why}); move it away, restore a backup (`moot restore FILE`), \
         or serve without it (`moot serve --history off`)",
        .path.display()
    )]
    Damaged {
        /// Path of the database.
        path: PathBuf,
        /// Reason that SQLite gives.
        why: String,
    },
    /// Written by a newer moot.
    #[error(
        "the history {} has schema version {found}, and this moot supports versions up to {known}; \
         use the newer moot that wrote it",
        .path.display()
    )]
    Newer {
        /// Path of the database.
        path: PathBuf,
        /// Schema version of the database.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A question took too long.
    #[error("the search takes too long; search in one room or period, or for longer words")]
    Slow,
    /// From SQLite or the system.
    #[error("the history {}: {source}", .path.display())]
    Sql {
        /// Path of the database.
        path: PathBuf,
        /// Error of SQLite.
        source: rusqlite::Error,
    },
}

impl HistoryError {
    /// Returns true if another program has locked the database.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        use rusqlite::ErrorCode;
        let Self::Sql { source, .. } = self else { return false };
        let code = source.sqlite_error_code();
        matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    pub(super) fn of(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, why: source.to_string() }
            }
            Some(ErrorCode::OperationInterrupted) => Self::Slow,
            _ => Self::Sql { path, source },
        }
    }
}

/// Returns the text of a refusal for a failed transaction.
pub(super) fn words(e: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the history can't be written: disk full".to_owned(),
        Some(ErrorCode::SystemIoFailure) => format!("the history can't be written: {e}"),
        Some(ErrorCode::ReadOnly) => "the history can't be written: read-only file".to_owned(),
        _ => format!("the history can't be written: {e}"),
    }
}
