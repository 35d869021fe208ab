//! Announcements as the bar shows them: by weight, for their time, a critical one until somebody
//! says that it was seen.

use std::collections::VecDeque;

use crate::chat::{member::Level, message::Message};

/// Announcements that are kept for the bar.
const NOTICES_MAX: usize = 100;
/// How long one is in the bar that nobody takes out of it, seconds, by level.
const SHOWN_S: [u64; 4] = [20, 90, 600, u64::MAX];

/// An announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct NoticeLine {
    pub(in crate::tui) number: u64,
    pub(in crate::tui) level: Level,
    /// The room it is for; none: everybody.
    pub(in crate::tui) room: Option<String>,
    pub(in crate::tui) name: String,
    pub(in crate::tui) text: String,
    pub(in crate::tui) wall_us: i64,
    /// Asks to be acknowledged.
    pub(in crate::tui) ack: bool,
    pub(in crate::tui) acked: bool,
    /// When it leaves the bar, monotonic microseconds.
    until_us: u64,
    expires_wall_us: Option<i64>,
}

impl NoticeLine {
    /// Whether the server is told that it was seen: whoever asks for that wants to know, and what
    /// is critical is said once to a name, on whichever of its screens.
    pub(in crate::tui) fn is_acknowledged(&self) -> bool {
        self.ack || self.level == Level::Critical
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::tui) struct Notices {
    all: Vec<NoticeLine>,
    /// Numbers and times of those that had their time: after a break they are told again.
    over: VecDeque<(u64, i64)>,
}

impl Notices {
    /// Takes one up; the heaviest first, of the same weight the newest. False if it is known.
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

    /// Takes one out; true if it was there.
    pub(in crate::tui) fn remove(&mut self, number: u64) -> bool {
        self.keep(|notice| notice.number != number)
    }

    /// Takes all out that were acknowledged; true if there were any.
    pub(in crate::tui) fn clear(&mut self) -> bool {
        self.keep(|notice| !notice.acked)
    }

    /// It was acknowledged, here or elsewhere: it says so for a short time, and goes.
    pub(in crate::tui) fn acknowledged(&mut self, mono_us: u64, number: u64) {
        for notice in self.all.iter_mut().filter(|notice| notice.number == number) {
            notice.acked = true;
            notice.until_us = mono_us.saturating_add(SHOWN_S[0] * 1_000_000 / 4);
        }
    }

    /// What is in the bar now.
    pub(in crate::tui) fn shown(&self) -> &[NoticeLine] {
        &self.all
    }

    /// The one that the key is for: the heaviest that was not acknowledged.
    pub(in crate::tui) fn next(&self) -> Option<&NoticeLine> {
        self.all.iter().find(|notice| !notice.acked)
    }

    /// The last one that asked to be acknowledged and was not.
    pub(in crate::tui) fn last_to_ack(&self) -> Option<u64> {
        let open = self.all.iter().filter(|notice| notice.ack && !notice.acked);
        open.map(|notice| notice.number).max()
    }

    /// What has had its time goes; true if anything did. What asks to be acknowledged stays until
    /// it is, or until it expires.
    pub(in crate::tui) fn tick(&mut self, mono_us: u64, wall_us: i64) -> bool {
        self.keep(|notice| {
            let expired = notice.expires_wall_us.is_some_and(|at| at <= wall_us);
            let stays = notice.ack && !notice.acked;
            !expired && (stays || notice.until_us > mono_us)
        })
    }

    /// When the next one goes, monotonic microseconds.
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
