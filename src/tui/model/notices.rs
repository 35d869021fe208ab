//! Announcements in the bar: by level, for a time; a critical one until a user acknowledges it.

use std::collections::VecDeque;

use crate::chat::{member::Level, message::Message};

/// Maximum number of announcements for the bar.
const NOTICES_MAX: usize = 100;
/// Seconds that an announcement stays in the bar unless it is acknowledged, by level.
const SHOWN_S: [u64; 4] = [20, 90, 600, u64::MAX];

/// One announcement of the bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct NoticeLine {
    pub(in crate::tui) number: u64,
    pub(in crate::tui) level: Level,
    /// Room of the announcement; none: all members.
    pub(in crate::tui) room: Option<String>,
    pub(in crate::tui) name: String,
    pub(in crate::tui) text: String,
    pub(in crate::tui) wall_us: i64,
    /// True if the announcement asks to be acknowledged.
    pub(in crate::tui) ack: bool,
    pub(in crate::tui) acked: bool,
    /// End of its time in the bar, monotonic microseconds.
    until_us: u64,
    expires_wall_us: Option<i64>,
}

impl NoticeLine {
    /// Returns true if the server receives an acknowledgment: the sender may ask for it, and a
    /// critical announcement is shown once to a name, on any of its screens.
    pub(in crate::tui) fn is_acknowledged(&self) -> bool {
        self.ack || self.level == Level::Critical
    }
}

/// Announcements of the bar.
#[derive(Debug, Default)]
pub(in crate::tui) struct Notices {
    all: Vec<NoticeLine>,
    /// Numbers and times of announcements whose time has passed: after a reconnect they are sent
    /// again.
    over: VecDeque<(u64, i64)>,
}

impl Notices {
    /// Adds an announcement; the highest level first, of the same level the newest. Returns false
    /// if it is known.
    pub(in crate::tui) fn add(&mut self, mono_us: u64, message: &Message) -> bool {
        let Some(notice) = &message.notice else { return false };
        let (number, wall_us) = (message.id.seq, message.wall_us);
        let is_known = self.all.iter().any(|n| (n.number, n.wall_us) == (number, wall_us));
        if is_known || self.over.contains(&(number, wall_us)) {
            return false;
        }
        let shown_us = SHOWN_S[usize::from(notice.level.number())].saturating_mul(1_000_000);
        self.all.push(NoticeLine {
            number,
            level: notice.level,
            room: notice.room.as_ref().map(ToString::to_string),
            name: message.from.name(),
            text: message.text.clone(),
            wall_us: message.wall_us,
            ack: notice.ack,
            acked: false,
            until_us: mono_us.saturating_add(shown_us),
            expires_wall_us: notice.expires_wall_us,
        });
        self.all.sort_by_key(|notice| std::cmp::Reverse((notice.level, notice.number)));
        self.all.truncate(NOTICES_MAX);
        true
    }

    fn keep(&mut self, stays: impl Fn(&NoticeLine) -> bool) -> bool {
        let before = self.all.len();
        let over = self.all.iter().filter(|notice| !stays(notice));
        self.over.extend(over.map(|notice| (notice.number, notice.wall_us)));
        while self.over.len() > NOTICES_MAX {
            self.over.pop_front();
        }
        self.all.retain(stays);
        self.all.len() < before
    }

    /// Removes an announcement; returns true if it existed.
    pub(in crate::tui) fn remove(&mut self, number: u64) -> bool {
        self.keep(|notice| notice.number != number)
    }

    /// Removes all acknowledged announcements; returns true if there were any.
    pub(in crate::tui) fn clear(&mut self) -> bool {
        self.keep(|notice| !notice.acked)
    }

    /// Marks an announcement as acknowledged, here or elsewhere: it shows that for a short time,
    /// and disappears.
    pub(in crate::tui) fn acknowledged(&mut self, mono_us: u64, number: u64) {
        for notice in self.all.iter_mut().filter(|notice| notice.number == number) {
            notice.acked = true;
            notice.until_us = mono_us.saturating_add(SHOWN_S[0] * 1_000_000 / 4);
        }
    }

    /// Returns the announcements in the bar.
    pub(in crate::tui) fn shown(&self) -> &[NoticeLine] {
        &self.all
    }

    /// Returns the announcement that the key acknowledges: the highest level that is not
    /// acknowledged.
    pub(in crate::tui) fn next(&self) -> Option<&NoticeLine> {
        self.all.iter().find(|notice| !notice.acked)
    }

    /// Returns the number of the last announcement that waits for acknowledgment.
    pub(in crate::tui) fn last_to_ack(&self) -> Option<u64> {
        let open = self.all.iter().filter(|notice| notice.ack && !notice.acked);
        open.map(|notice| notice.number).max()
    }

    /// Removes announcements whose time has passed; returns true if there were any. One that asks
    /// to be acknowledged stays until it is, or until it expires.
    pub(in crate::tui) fn tick(&mut self, mono_us: u64, wall_us: i64) -> bool {
        self.keep(|notice| {
            let expired = notice.expires_wall_us.is_some_and(|at| at <= wall_us);
            let stays = notice.ack && !notice.acked;
            !expired && (stays || notice.until_us > mono_us)
        })
    }

    /// Returns the time of the next removal, monotonic microseconds.
    pub(in crate::tui) fn deadline_us(&self, mono_us: u64, wall_us: i64) -> Option<u64> {
        let ends = self.all.iter().map(|notice| {
            let stays = notice.ack && !notice.acked;
            let until = if stays { u64::MAX } else { notice.until_us };
            let left = notice.expires_wall_us.map_or(u64::MAX, |at| {
                u64::try_from(at.saturating_sub(wall_us)).unwrap_or(0).saturating_add(mono_us)
            });
            until.min(left)
        });
        ends.min().filter(|at| *at < u64::MAX)
    }
}
