//! Status messages above the input, and notes in the room.

use super::state::{Hint, Model, When};
use crate::tui::{keys::Action, scrollback::NoteKind};

/// Time that a status message is shown.
const HINT_US: u64 = 15_000_000;

impl Model {
    /// Shows how to get help and how to leave.
    pub(in crate::tui) fn welcome(&mut self) {
        let help = self.options.keys.shown(Action::Help);
        self.hint(format!("{help} or ? for help · /quit to leave"));
    }

    pub(super) fn hint(&mut self, text: impl Into<String>) {
        self.hint = Some(Hint { text: text.into(), is_error: false });
        self.times.hint_until_us = None;
        self.changed = true;
    }

    pub(super) fn complain(&mut self, text: impl Into<String>) {
        self.hint = Some(Hint { text: text.into(), is_error: true });
        self.times.hint_until_us = None;
        self.changed = true;
    }

    /// Removes a status message after its time; errors stay.
    pub(super) fn end_hint(&mut self, now: When) {
        let ends = self.hint.as_ref().is_some_and(|hint| !hint.is_error);
        match self.times.hint_until_us.filter(|_| ends) {
            None if ends => self.times.hint_until_us = Some(now.mono_us + HINT_US),
            None => self.times.hint_until_us = None,
            Some(until) if until <= now.mono_us => {
                self.hint = None;
                self.times.hint_until_us = None;
                self.changed = true;
            }
            Some(_) => {}
        }
    }

    /// Adds a note to the current room.
    pub(super) fn note(&mut self, now: When, kind: NoteKind, text: impl Into<String>) {
        if let Some(room) = self.room_mut() {
            room.note(now.wall_us, kind, text);
        }
        self.changed = true;
    }

    /// Shows an error of a program or of the terminal.
    pub(in crate::tui) fn failed(&mut self, text: impl Into<String>) {
        self.complain(text);
    }
}
