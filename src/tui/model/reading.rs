//! Read marks: a room that the user looks at is read.

use super::{
    effect::{Effect, PendingRequest},
    state::{Mode, Model, When},
};
use crate::chat::{
    message::StreamName,
    reply::MarkInfo,
    request::{Follow, HistoryRequest, Request},
};

/// Minimum time between two reports of read marks to the server.
const MARKS_EVERY_US: u64 = 500_000;
/// Time without a key after which the user is not taken to look at a terminal that does not report
/// its focus.
pub(super) const LOOKS_FOR_US: u64 = 300_000_000;

impl Model {
    /// Returns true if the user looks at the end of the current room.
    pub(super) fn is_looked_at(&self, now: When) -> bool {
        let focused = self
            .user
            .focus
            .unwrap_or(now.mono_us.saturating_sub(self.times.key_at_us) < LOOKS_FOR_US);
        focused
            && self.times.looks_from_us <= now.mono_us
            && matches!(self.mode, Mode::Chat)
            && self.room().is_some_and(|room| room.is_at_end())
    }

    /// Marks the messages that the user looks at as read.
    pub(super) fn settle_read(&mut self, now: When) {
        if !self.is_looked_at(now) {
            return;
        }
        let Some(room) = self.rooms.get_mut(self.current) else { return };
        let before = (room.marks.read, room.marks.unread);
        // The line of unread messages stays while there is something below it.
        let marker_moves = room.marks.marker >= room.marks.read && room.marks.unread == 0;
        room.marks.mark_read(room.marks.head);
        if marker_moves {
            room.marks.marker = room.marks.read;
        }
        if before != (room.marks.read, room.marks.unread) {
            self.changed = true;
        }
        self.tell_marks_soon(now);
    }

    fn tell_marks_soon(&mut self, now: When) {
        if self
            .rooms
            .iter()
            .any(|room| room.marks.are_known && room.marks.read > room.marks.sent_read)
        {
            self.times.marks_at_us.get_or_insert(now.mono_us + MARKS_EVERY_US);
        }
    }

    /// Reports read marks to the server.
    pub(in crate::tui) fn tell_marks(&mut self) {
        self.times.marks_at_us = None;
        if !self.server.is_up() {
            return;
        }
        for room in &mut self.rooms {
            if room.marks.are_known
                && room.marks.read > room.marks.sent_read
                && let Some(target) = room.target()
            {
                room.marks.sent_read = room.marks.read;
                let request = Request::MarkRead { target, seq: room.marks.read };
                self.effects.push_back(Effect::Ask(request, PendingRequest::Read));
            }
        }
    }

    pub(super) fn mark_room_read(&mut self, now: When, at: usize) {
        let Some(room) = self.rooms.get_mut(at) else { return };
        room.marks.mark_read(room.marks.head);
        room.marks.marker = room.marks.read;
        self.changed = true;
        self.tell_marks_soon(now);
    }

    pub(super) fn ask_for_marks(&mut self, skip: u32) {
        let request = Request::History(HistoryRequest::Unread { target: None, skip });
        self.effects.push_back(Effect::Ask(request, PendingRequest::Marks(skip)));
    }

    /// Handles a page of read marks; `more`: number of marks before the next page.
    pub(super) fn take_marks(&mut self, now: When, marks: Vec<MarkInfo>, more: Option<u32>) {
        if let Some(skip) = more {
            self.ask_for_marks(skip);
        }
        for mark in marks {
            let name = StreamName::from(&mark.name);
            let at = match (&name, self.index_of(&name)) {
                (_, Some(at)) => at,
                (StreamName::Room(room), None)
                    if !self.options.only_named && !self.known.left.contains(room.key()) =>
                {
                    // Rooms that this name follows are opened.
                    self.effects.push_back(Effect::Follow(Follow::Room(room.clone())));
                    self.open(name)
                }
                (StreamName::Direct(_), None) if mark.unread > 0 => self.open(name),
                (_, None) => continue,
            };
            let room = &mut self.rooms[at];
            room.marks.head = room.marks.head.max(mark.head);
            // Messages that arrived after the server counted.
            let (unread, mentions) = room.said_after(mark.head);
            let (unread, mentions) = (mark.unread + unread, mark.mentions + mentions);
            if !room.marks.are_known {
                room.marks.are_known = true;
                room.marks.before = mark.head;
                room.marks.marker = mark.mark;
                room.marks.read = mark.mark;
                room.marks.unread = unread;
                room.marks.mentions = mentions;
            } else if mark.mark >= room.marks.read {
                // The mark was set elsewhere, or this is the server's count.
                room.marks.read = mark.mark;
                room.marks.unread = unread;
                room.marks.mentions = mentions;
                if at != self.current {
                    room.marks.marker = room.marks.marker.max(mark.mark);
                }
            }
            // Marks that the server lost with the connection are sent again.
            room.marks.sent_read = mark.mark;
        }
        self.tell_marks_soon(now);
        // Streams without a mark count as read.
        for room in self.rooms.iter_mut().filter(|room| more.is_none() && !room.marks.are_known) {
            room.marks.are_known = true;
            room.marks.read = room.marks.head;
            room.marks.sent_read = room.marks.head;
            room.marks.marker = room.marks.head;
        }
        self.settle_read(now);
    }
}
