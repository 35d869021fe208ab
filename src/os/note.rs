//! Note of a lock's holder about itself, and result of a query for a lock.

use std::{io, path::PathBuf};

/// Note of a lock's holder about itself, in the locked file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockNote {
    /// Process id of the holder.
    pub pid: u32,
    /// Directory of its socket and its presence table.
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

/// Holder of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// No such file: no server ever lived there.
    Absent,
    /// No holder; the last holder's note, if it can be read.
    Free(Option<LockNote>),
    /// A server; its note, if it has written it already.
    Held(Option<LockNote>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{Lock, query};

    #[test]
    fn one_holds_it_and_everybody_can_ask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(query(&path).unwrap(), LockState::Absent);
        let note = LockNote { pid: 42, runtime_dir: dir.path().join("회의") };
        let lock = Lock::acquire(&path, false, &note).unwrap();
        assert_eq!(query(&path).unwrap(), LockState::Held(Some(note.clone())));
        let again = query(&path).unwrap();
        assert_eq!(again, LockState::Held(Some(note.clone())), "asking locks nothing");
        let second = Lock::acquire(&path, false, &note);
        assert!(matches!(second, Err(LockError::Held { pid: Some(42) })));
        drop(lock);
        assert_eq!(query(&path).unwrap(), LockState::Free(Some(note.clone())));
        drop(Lock::acquire(&path, false, &note).unwrap());
        std::fs::write(&path, [0xff; 100]).unwrap();
        assert_eq!(query(&path).unwrap(), LockState::Free(None), "garbage is no note");
    }
}
