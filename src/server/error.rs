//! Reasons why a server does not start, or ends.

use std::{io, path::PathBuf};

use crate::{history::HistoryError, os};

/// Reason why a server did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another one lives there.
    #[error("another server runs in {} (pid {})", .dir.display(), pid_words(.pid))]
    Running {
        /// Directory of the other server.
        dir: PathBuf,
        /// Process of the other server.
        pid: Option<u32>,
    },
    /// The directory can't be used.
    #[error(transparent)]
    Place(#[from] os::PlaceError),
    /// The history can't be used.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Its directory was removed while it ran, with the history.
    #[error(
        "{} was removed with lock and history: the server ends, and the next one starts with an \
         empty history",
        .dir.display()
    )]
    Removed {
        /// The state directory.
        dir: PathBuf,
    },
    /// Its lock was removed while it ran, and another server took the place.
    #[error(
        "the lock in {} was removed, and another server (pid {}) holds the new one: stopping",
        .dir.display(),
        pid_words(.pid)
    )]
    Replaced {
        /// The state directory.
        dir: PathBuf,
        /// The process of the other server.
        pid: Option<u32>,
    },
    /// Anything else, with what was being done.
    #[error("{doing}: {source}")]
    Io {
        /// The step that failed.
        doing: String,
        /// The error of the system.
        source: io::Error,
    },
}

fn pid_words(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
}

pub(super) fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ServerError {
    let doing = doing.into();
    move |source| ServerError::Io { doing, source }
}
