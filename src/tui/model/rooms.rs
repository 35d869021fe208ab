//! Rooms of the screen: opened, shown, closed, listed.

use super::{
    effect::{Effect, PendingRequest},
    room::Room,
    state::{Mode, Model, NOWHERE, Orphan, When},
};
use crate::{
    chat::{message::StreamName, names::UserName, reply::RoomInfo, text::counted},
    config::screen::NotifyWish as Alert,
    tui::{editor::Draft, scrollback::NoteKind, slash::CommandPurpose},
};

/// Time in a room after which it is not only passed through.
pub(super) const GLANCE_US: u64 = 1_000_000;

impl Model {
    /// Opens a room if it is not open; returns its index.
    pub(super) fn open(&mut self, name: StreamName) -> usize {
        if let Some(at) = self.index_of(&name) {
            return at;
        }
        // The lowest free number: open rooms keep theirs.
        let free = |number: &usize| self.rooms.iter().all(|room| room.number != *number);
        let number = (1..).find(free).unwrap_or(usize::MAX);
        let mut room = Room::new(name, number, self.options.lines);
        let title = room.kept_name();
        let kept = self.saved.kept.drafts.get(&title);
        room.draft = kept.map_or_else(Draft::default, |draft| Draft::of(draft));
        room.unsaid.extend(self.saved.kept.unsaid.get(&title).into_iter().flatten().cloned());
        if self.rooms.is_empty() {
            self.begin_input(&mut room);
        }
        let wish = |words: &std::collections::BTreeMap<String, String>| {
            words.get(&title).and_then(|word| Alert::of_word(word))
        };
        room.alerts.bell = wish(&self.saved.kept.bell);
        room.alerts.notify = wish(&self.saved.kept.notify);
        self.rooms.push(room);
        self.changed = true;
        self.rooms.len() - 1
    }

    /// Puts the draft of the first room into the input, unless a text was typed there before.
    fn begin_input(&mut self, room: &mut Room) {
        room.unsaid.extend(self.saved.kept.unsaid.get(NOWHERE).into_iter().flatten().cloned());
        self.keep_text(NOWHERE.to_owned(), String::new(), Vec::new());
        let draft = std::mem::take(&mut room.draft);
        if self.editor.is_empty() {
            let _ = self.editor.swap(draft);
        } else if !draft.text().is_empty() {
            room.unsaid.push_back(draft.text().to_owned());
        }
    }

    /// Shows a room.
    pub(super) fn show(&mut self, now: When, at: usize) {
        if at >= self.rooms.len() || at == self.current {
            return;
        }
        self.completion = None;
        if matches!(self.mode, Mode::Search(_)) {
            self.end_search();
        }
        let next = std::mem::take(&mut self.rooms[at].draft);
        let (draft, remade) = self.editor.swap(next);
        let mut gone = None;
        if let Some(room) = self.room_mut() {
            room.draft = draft;
            room.unsaid.extend(remade);
            room.leave();
            let name = room.name.clone();
            gone = room.gone.then(|| name.clone());
            self.last_shown = Some(name);
        }
        self.current = at;
        self.changed = true;
        self.times.members_at_us = now.mono_us;
        self.times.looks_from_us = now.mono_us + GLANCE_US;
        self.offer_unsaid();
        if let Some(gone) = gone {
            self.close(now, &gone);
        }
    }

    /// Closes a room.
    pub(super) fn close(&mut self, now: When, name: &StreamName) {
        let Some(at) = self.index_of(name) else { return };
        if at == self.current {
            let last = self.last_shown.as_ref().and_then(|name| self.index_of(name));
            let other = last.filter(|other| *other != at).unwrap_or(usize::from(at == 0));
            if self.rooms.len() > 1 {
                // The room is closed here.
                self.rooms[at].gone = false;
                self.show(now, other);
            } else {
                let (draft, remade) = self.editor.swap(Draft::default());
                self.rooms[at].draft = draft;
                self.rooms[at].unsaid.extend(remade);
            }
        }
        let gone = self.rooms.remove(at);
        if self.current > at {
            self.current -= 1;
        }
        // The typed text is saved until the room is opened again.
        let room = gone.kept_name();
        let mut unsaid = Vec::from(gone.unsaid);
        for pending in &gone.pending {
            let text = pending.as_typed(&gone.name);
            if pending.unsent {
                unsaid.push(text);
            } else if pending.seq.is_none() {
                self.outgoing.orphans.push(Orphan {
                    token: pending.token,
                    room: room.clone(),
                    text,
                });
            }
        }
        self.keep_text(room, gone.draft.text().to_owned(), unsaid);
        self.changed = true;
    }

    pub(super) fn show_number(&mut self, now: When, number: usize) {
        match self.rooms.iter().position(|room| room.number == number) {
            Some(at) => self.show(now, at),
            None => self.hint(format!("no room has the number {number}")),
        }
    }

    pub(super) fn step(&mut self, now: When, forward: bool) {
        // By number, not in the order of the list: rooms move in the list when they are read, and
        // one could be skipped.
        let mut order: Vec<_> = (0..self.rooms.len()).collect();
        order.sort_by_key(|at| self.rooms[*at].number);
        let Some(here) = order.iter().position(|at| *at == self.current) else { return };
        let count = order.len();
        let next = if forward { (here + 1) % count } else { (here + count - 1) % count };
        self.show(now, order[next]);
    }

    /// Returns the rooms in the order of the list: those with mentions first, then by number.
    pub(in crate::tui) fn order(&self) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.rooms.len()).collect();
        order.sort_by_key(|at| {
            let room = &self.rooms[*at];
            (room.important() == 0, room.number)
        });
        order
    }

    /// Shows the next room with unread messages: mentions first, otherwise by number from the
    /// current one.
    pub(super) fn next_unread(&mut self, now: When, forward: bool) {
        let here = self.room().map_or(0, |room| room.number);
        let count = self.rooms.iter().map(|room| room.number).max().unwrap_or(0) + 1;
        let distance = |number: usize| {
            if forward { (number + count - here) % count } else { (here + count - number) % count }
        };
        let unread = (0..self.rooms.len())
            .filter(|at| *at != self.current && self.rooms[*at].marks.unread > 0)
            .min_by_key(|at| {
                let room = &self.rooms[*at];
                (room.important() == 0, distance(room.number))
            });
        match unread {
            Some(at) => {
                self.show(now, at);
                // A user who steps through unread rooms wants to see them, and not to return to the
                // first.
                self.times.looks_from_us = now.mono_us;
                self.settle_read(now);
            }
            None => self.hint("no other unread rooms"),
        }
    }

    pub(super) fn ask_for_rooms(&mut self) {
        let (request, purpose) = CommandPurpose::rooms();
        self.effects.push_back(Effect::Ask(request, PendingRequest::Lookup(purpose)));
    }

    pub(super) fn take_rooms(&mut self, rooms: Vec<RoomInfo>) {
        for info in &rooms {
            if let Some(at) = self.index_of(&StreamName::Room(info.name.clone())) {
                let room = &mut self.rooms[at];
                room.properties.topic.clone_from(&info.topic);
                room.properties.private = info.private;
                room.properties.read_only = info.read_only;
                // Rooms are shown as they were created, not as a user spells them.
                room.name = StreamName::Room(info.name.clone());
            }
        }
        self.known.rooms = rooms;
    }

    pub(super) fn list_rooms(&mut self, now: When, rooms: &[RoomInfo]) {
        let line = |info: &RoomInfo| {
            let rules = match (info.private, info.read_only) {
                (false, false) => "",
                (true, false) => ", private",
                (false, true) => ", read-only",
                (true, true) => ", private, read-only",
            };
            let topic =
                if info.topic.is_empty() { String::new() } else { format!(" · {}", info.topic) };
            let members = counted(info.members.into(), "member");
            format!("{}: {members}{rules}{topic}", info.name)
        };
        let lines: Vec<_> = rooms.iter().map(line).collect();
        self.note(now, NoteKind::Info, format!("rooms:\n{}", lines.join("\n")));
    }

    /// Returns the user of a name, for completion and switching.
    pub(super) fn user_of(name: &str) -> Option<UserName> {
        UserName::new(name.split('/').next().unwrap_or(name)).ok()
    }
}
