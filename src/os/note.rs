//! What a lock's holder says of itself, and what asking for a lock gives.

use std::{io, path::PathBuf};

/// What the holder of a lock says of itself in the locked file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockNote {
    /// Its process.
    pub pid: u32,
    /// Where its socket and its presence table are.
    pub runtime_dir: PathBuf,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("held by process {pid:?}")]
    Held {
        /// That process, if it said so.
        pid: Option<u32>,
    },
    /// The file can't be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// There is no such file: no server ever lived there.
    Absent,
    /// Nobody; the last holder's note, if it can be read.
    Free(Option<LockNote>),
    /// A server; its note, if it has written it already.
    Held(Option<LockNote>),
}
