//! Usage of users, for `status`.

use std::collections::HashMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::limits::USAGE_HALVES_MS;

/// Work that one user caused.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Kernel's id of the user.
    pub uid: u32,
    /// Number of sessions now.
    pub sessions: u64,
    /// Messages in this run of the server.
    pub messages: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Messages sent again to its sessions.
    pub repaired: u64,
    /// Time that its senders were kept waiting because it sends too much, milliseconds.
    pub slowed_ms: u64,
    /// Work it caused lately, bytes.
    #[serde(skip)]
    pub recent: u64,
}

/// Work that all users caused. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct UsageTable {
    by_user: FxHashMap<u32, Usage>,
    /// Time of the last halving, microseconds.
    halved_us: u64,
    /// Users who have used their history quota, and their bytes.
    over_history: HashMap<u32, u64>,
}

impl UsageTable {
    pub(super) fn of(&mut self, uid: u32) -> &mut Usage {
        self.by_user.entry(uid).or_insert(Usage { uid, ..Usage::default() })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Usage> {
        self.by_user.values()
    }

    /// Users who caused most lately, the heaviest first.
    pub(super) fn heaviest(&self, most: usize) -> Vec<Usage> {
        let mut all: Vec<Usage> = self.iter().copied().collect();
        all.sort_by_key(|u| std::cmp::Reverse((u.recent, u.bytes)));
        all.truncate(most);
        all
    }

    /// Returns true if recent work is to be halved now.
    pub(super) fn is_halving_due(&mut self, now_us: u64) -> bool {
        let is_due = now_us.saturating_sub(self.halved_us) >= USAGE_HALVES_MS * 1000;
        if is_due {
            self.halved_us = now_us;
        }
        is_due
    }

    /// Halves recent work, and forgets users who are not here and did nothing lately.
    pub(super) fn halve(&mut self, is_here: impl Fn(u32) -> bool) {
        self.by_user.retain(|uid, usage| {
            usage.recent /= 2;
            usage.recent > 0 || is_here(*uid)
        });
    }

    pub(super) fn set_over_history(&mut self, over: HashMap<u32, u64>) {
        self.over_history = over;
    }

    /// Bytes of a user who has used the history quota.
    pub(super) fn over_history(&self, uid: u32) -> Option<u64> {
        self.over_history.get(&uid).copied()
    }
}
