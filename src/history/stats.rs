//! State that the threads of a history share: counts and faults.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::damage::Damage;
use crate::os;

/// Figures for `status`, and what readers have to know of the writer.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Newest message that was committed.
    pub(super) newest: AtomicU64,
    /// Messages that can't be read.
    pub(super) damage: Damage,
    /// Why old messages were not removed the last time, other than for a full disk.
    pub(super) retention_failure: Mutex<Option<String>>,
    /// Messages up to this id can be found by the index.
    pub(super) indexed: AtomicU64,
    /// Bytes of the index.
    pub(super) index_bytes: AtomicU64,
    /// Average size of a message in it, in thousandths of a byte.
    pub(super) index_share: AtomicU64,
    /// A search found that it can't be read.
    pub(super) index_damaged: AtomicBool,
    pub(super) messages: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The last transaction failed.
    pub(super) failing: AtomicBool,
    /// It failed for lack of space, which the index has to give back.
    pub(super) needs_space: AtomicBool,
    /// Bytes of texts, by who said them.
    pub(super) by_user: Mutex<HashMap<u32, u64>>,
    /// For tests: number of the next statement that fails as on a full disk; 0 for none, `u64::MAX`
    /// for all.
    #[cfg(test)]
    pub(super) fails_at: AtomicU64,
    /// For tests: the next statement panics.
    #[cfg(test)]
    pub(super) panics: AtomicBool,
    /// For tests: seconds that the wall clock is ahead.
    #[cfg(test)]
    pub(super) ahead_s: AtomicU64,
    /// For tests: how often retention was looked after.
    #[cfg(test)]
    pub(super) retained: AtomicU64,
}

impl Shared {
    /// Fails statements for tests.
    #[cfg(test)]
    pub(super) fn step(&self) -> rusqlite::Result<()> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a test asked for it");
        let count = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.fails_at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
            Ok(1 | u64::MAX) => {
                let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
                Err(rusqlite::Error::SqliteFailure(full, None))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn wall_us(&self) -> i64 {
        self.retained.fetch_add(1, Ordering::SeqCst);
        os::wall_us() + self.ahead_s.load(Ordering::SeqCst).cast_signed() * 1_000_000
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests set another time")]
    pub(super) fn wall_us(&self) -> i64 {
        os::wall_us()
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests make it fail")]
    pub(super) fn step(&self) -> rusqlite::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Messages of the history, about.
    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Notes what a message takes of the index now.
    pub(super) fn note_index_share(&self) {
        let messages = self.messages.load(Ordering::Relaxed).max(1);
        let share = self.index_bytes.load(Ordering::Relaxed).saturating_mul(1000) / messages;
        self.index_share.store(share, Ordering::Relaxed);
    }

    /// Texts are gone: what their users have is less.
    pub(super) fn forget_bytes(&self, gone: Vec<(u32, u64)>) {
        let mut by_user = self.by_user();
        for (uid, bytes) in gone {
            if let Some(of) = by_user.get_mut(&uid) {
                *of = of.saturating_sub(bytes);
            }
        }
    }

    pub(super) fn by_user(&self) -> MutexGuard<'_, HashMap<u32, u64>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn retention_failure(&self) -> MutexGuard<'_, Option<String>> {
        self.retention_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
