//! Work that is due at a time.

use super::{
    effect::Effect,
    reading::LOOKS_FOR_US,
    rooms::GLANCE_US,
    state::{Mode, Model, When},
};

impl Model {
    /// Does the work that is due.
    pub(in crate::tui) fn tick(&mut self, now: When) {
        if self.notices.tick(now.mono_us, now.wall_us) {
            self.changed = true;
        }
        if self.times.marks_at_us.is_some_and(|at| at <= now.mono_us) {
            self.tell_marks();
        }
        if self.times.keep_at_us.is_some_and(|at| at <= now.mono_us) {
            self.times.keep_at_us = None;
            self.effects.push_back(Effect::Keep);
        }
        if self.times.members_at_us <= now.mono_us {
            self.look_after_members(now);
        }
        // Until the room counts as looked at; later events and keys mark it as read.
        if now.mono_us < self.times.looks_from_us.saturating_add(GLANCE_US) {
            self.settle_read(now);
        }
        self.end_hint(now);
        if self.server.waits_since_us.is_some() {
            // The bar shows the time.
            self.changed = true;
        }
        self.search_when_due(now);
        self.fill(self.current);
    }

    /// Returns the time of the next work for [`Model::tick`], monotonic microseconds.
    pub(in crate::tui) fn deadline_us(&self, now: When) -> Option<u64> {
        let search = match &self.mode {
            Mode::Search(search) => search.ask_at_us,
            Mode::Chat | Mode::Help { .. } | Mode::Switch { .. } | Mode::Paste { .. } => None,
        };
        // Without the focus the members' panel is not updated.
        let awake = self.user.focus != Some(false)
            && now.mono_us.saturating_sub(self.times.key_at_us) < LOOKS_FOR_US;
        [
            self.notices.deadline_us(now.mono_us, now.wall_us),
            self.times.marks_at_us,
            self.times.keep_at_us,
            awake.then_some(self.times.members_at_us),
            self.server.waits_since_us.map(|_| now.mono_us + 1_000_000),
            Some(self.times.looks_from_us).filter(|at| *at > now.mono_us),
            self.times.hint_until_us,
            search,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
