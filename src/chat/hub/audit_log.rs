//! The last acts of operators.

use std::collections::VecDeque;

use super::accounts::heaviest;
use crate::{
    chat::store::Audit,
    limits::{AUDIT_KEPT_MAX, AUDIT_PER_USER_MAX},
};

/// Acts in the order of their times. Those of the server's operators, and those of all other users,
/// have a bound each.
#[derive(Debug, Default)]
pub(super) struct AuditLog {
    acts: VecDeque<Audit>,
}

impl AuditLog {
    /// Adds what the store had.
    pub(super) fn restore(&mut self, acts: Vec<Audit>) {
        self.acts.extend(acts);
    }

    /// Adds an act, and removes an older one if there are too many.
    pub(super) fn add(&mut self, act: Audit) {
        let (uid, office) = (act.uid, act.office);
        let own = |entry: &Audit| !office && entry.uid == uid;
        if self.acts.iter().filter(|e| own(e)).count() >= AUDIT_PER_USER_MAX
            && let Some(at) = self.acts.iter().position(own)
        {
            self.acts.remove(at);
        }
        // Of those without an office, the one with most entries loses the oldest.
        let alike = || self.acts.iter().filter(|entry| entry.office == office);
        if alike().count() >= AUDIT_KEPT_MAX {
            let most = heaviest(alike().map(|entry| (entry.uid, 1))).filter(|_| !office);
            let goes = |e: &Audit| e.office == office && most.is_none_or(|uid| e.uid == uid);
            let at = self.acts.iter().position(goes);
            at.and_then(|at| self.acts.remove(at));
        }
        self.acts.push_back(act);
    }

    /// Acts, the newest first.
    pub(super) fn newest(&self) -> impl ExactSizeIterator<Item = &Audit> {
        self.acts.iter().rev()
    }
}
