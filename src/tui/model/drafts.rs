//! Drafts and unsent texts, and their way to the disk.

use super::state::{Model, NOWHERE, Orphan, When};
use crate::{
    chat::message::StreamName,
    tui::{
        editor::Draft,
        kept::{Kept, Touched},
    },
};

/// Maximum time from a key until the drafts are on disk.
const KEEP_AFTER_US: u64 = 1_000_000;
/// Time until drafts that could not be saved are saved again.
const KEEP_AGAIN_US: u64 = 30_000_000;

impl Model {
    pub(super) fn keep_soon(&mut self, now: When) {
        self.times.keep_at_us.get_or_insert(now.mono_us + KEEP_AFTER_US);
    }

    /// Saves an unsent text of a room, open or closed.
    pub(super) fn keep_unsaid(&mut self, room: &str, text: String) {
        match self.rooms.iter().position(|open| open.kept_name() == room) {
            Some(at) => self.put_back(at, text),
            None => {
                self.saved.kept.unsaid.entry(room.to_owned()).or_default().push(text);
                self.saved.touched.drafts.insert(room.to_owned());
            }
        }
    }

    /// Returns an unsent text to the input. If another text is typed there, it waits until the
    /// input is empty.
    pub(super) fn put_back(&mut self, at: usize, text: String) {
        self.changed = true;
        let Some(room) = self.rooms.get_mut(at) else {
            if self.editor.is_empty() {
                self.editor.set(&text);
            } else {
                self.saved.kept.unsaid.entry(NOWHERE.to_owned()).or_default().push(text);
                self.saved.touched.drafts.insert(NOWHERE.to_owned());
            }
            return;
        };
        room.unsaid.push_back(text);
        if at == self.current {
            self.offer_unsaid();
        } else if room.draft.text().is_empty() {
            let first = room.unsaid.pop_front();
            room.draft = first.map_or_else(Draft::default, |text| Draft::of(&text));
        }
    }

    /// Puts an unsent text of the current room into the input, if that is empty; returns true if
    /// there was one.
    pub(super) fn offer_unsaid(&mut self) -> bool {
        if !self.editor.is_empty() {
            return false;
        }
        let Some(text) = self.room_mut().and_then(|room| room.unsaid.pop_front()) else {
            return false;
        };
        self.editor.set(&text);
        self.changed = true;
        true
    }

    /// Saves the pending texts of closed rooms with their rooms, when the user leaves.
    pub(in crate::tui) fn keep_orphans(&mut self) {
        for Orphan { room, text, .. } in std::mem::take(&mut self.outgoing.orphans) {
            self.keep_unsaid(&room, text);
        }
    }

    /// Returns the state to save, and the names that this screen has changed.
    pub(in crate::tui) fn kept(&mut self) -> (&Kept, &Touched) {
        if self.rooms.is_empty() {
            let unsaid = self.saved.kept.unsaid.get(NOWHERE).cloned().unwrap_or_default();
            self.keep_text(NOWHERE.to_owned(), self.editor.written().to_owned(), unsaid);
        }
        for at in 0..self.rooms.len() {
            let room = &self.rooms[at];
            let is_shown = at == self.current;
            let written = if is_shown { self.editor.written() } else { room.draft.text() };
            let mut unsaid = Vec::from_iter(room.unsaid.iter().cloned());
            if is_shown {
                unsaid.extend(self.editor.remade());
            }
            // Pending texts are saved as well.
            let pending = room.pending.iter().filter(|pending| pending.seq.is_none());
            unsaid.extend(pending.map(|pending| pending.as_typed(&room.name)));
            self.keep_text(room.kept_name(), written.to_owned(), unsaid);
        }
        (&self.saved.kept, &self.saved.touched)
    }

    pub(super) fn keep_text(&mut self, name: String, draft: String, unsaid: Vec<String>) {
        let is_known = self.saved.kept.drafts.get(&name).map_or("", String::as_str) == draft
            && self.saved.kept.unsaid.get(&name).map_or(&[][..], Vec::as_slice) == unsaid;
        if is_known {
            return;
        }
        self.saved.touched.drafts.insert(name.clone());
        match draft.is_empty() {
            true => drop(self.saved.kept.drafts.remove(&name)),
            false => drop(self.saved.kept.drafts.insert(name.clone(), draft)),
        }
        match unsaid.is_empty() {
            true => drop(self.saved.kept.unsaid.remove(&name)),
            false => drop(self.saved.kept.unsaid.insert(name, unsaid)),
        }
    }

    /// Records that the state is saved, except for the drafts of these rooms. Other screens may
    /// change it from now on.
    pub(in crate::tui) fn is_kept(&mut self, left_out: &[String]) {
        self.saved.touched = Touched::default();
        self.saved.touched.drafts.extend(left_out.iter().cloned());
    }

    /// Records that the state could not be saved: the user is notified, and saving is tried again
    /// later.
    pub(in crate::tui) fn not_kept(&mut self, now: When, why: Option<&str>) {
        if let Some(why) = why {
            self.complain(why);
        }
        self.times.keep_at_us = Some(now.mono_us + KEEP_AGAIN_US);
    }

    /// Returns the number of pending texts.
    pub(in crate::tui) fn unsaid_count(&self) -> usize {
        let pending = self.rooms.iter().flat_map(|room| &room.pending);
        let pending = pending.filter(|pending| pending.seq.is_none()).count();
        pending
            + self.outgoing.orphans.len()
            + self.rooms.iter().map(|room| room.unsaid.len()).sum::<usize>()
    }

    /// Handles the text that the editor returned, for the room in which it was begun.
    pub(in crate::tui) fn edited(
        &mut self,
        now: When,
        room: &StreamName,
        before: &str,
        text: &str,
    ) {
        match self.index_of(room) {
            Some(at) if at == self.current => {
                let there = self.editor.text().to_owned();
                self.editor.set(text);
                self.set_aside(at, before, there);
            }
            Some(at) => {
                let there = std::mem::replace(&mut self.rooms[at].draft, Draft::of(text));
                self.set_aside(at, before, there.text().to_owned());
            }
            None => {
                let name = super::Room::new(room.clone(), 0, 1).kept_name();
                self.keep_unsaid(&name, text.to_owned());
                self.complain(format!("{room} is not open; the text is saved there"));
            }
        }
        self.keep_soon(now);
        self.changed = true;
    }

    /// Sets a text aside that was put into the input while the editor had its contents; it waits
    /// until the edited text is sent.
    pub(super) fn set_aside(&mut self, at: usize, before: &str, there: String) {
        if !there.is_empty()
            && there != before
            && let Some(room) = self.rooms.get_mut(at)
        {
            room.unsaid.push_front(there);
        }
    }
}
