//! The announcements that a session brought: each is shown once, and a cancelled one not at all.

use std::collections::{BTreeSet, HashSet};

use crate::{chat::message::Message, limits::NOTICES_KEPT_MAX};

/// Numbers of the announcements of one session.
#[derive(Debug, Default)]
pub(super) struct AnnouncementFilter {
    /// Announcements that are still to come and were cancelled.
    cancelled: HashSet<u64>,
    /// Newest announcements that this session brought.
    seen: BTreeSet<u64>,
}

impl AnnouncementFilter {
    /// Returns true for an announcement that is not shown: expired, cancelled, or shown before. The
    /// server gives what is retained for a room with its join, and the stream may bring it as well.
    pub fn is_over(&mut self, message: &Message, wall_us: i64) -> bool {
        let number = message.id.seq;
        if message.notice.is_none() {
            return false;
        }
        if self.cancelled.remove(&number) || has_expired(message, wall_us) {
            return true;
        }
        let is_new = self.seen.insert(number);
        if self.seen.len() > NOTICES_KEPT_MAX {
            self.seen.pop_first();
        }
        !is_new
    }

    /// Records that an announcement was cancelled; `next` is the next number of the stream. Returns
    /// true if it was shown. One that is still to come is then not shown at all.
    pub fn cancel(&mut self, number: u64, next: Option<u64>) -> bool {
        let is_shown = self.seen.contains(&number) || next.is_some_and(|next| number < next);
        if !is_shown {
            self.cancelled.insert(number);
        }
        is_shown
    }
}

fn has_expired(message: &Message, wall_us: i64) -> bool {
    let expires = message.notice.as_ref().and_then(|notice| notice.expires_wall_us);
    expires.is_some_and(|at| at <= wall_us)
}
