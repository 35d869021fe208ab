//! Announcements, the bell and desktop notifications.

use super::{
    effect::{Effect, PendingRequest},
    room::is_heard,
    state::{Model, When},
};
use crate::{
    chat::{
        member::Level,
        message::{AnnouncementId, Message, StreamName},
        request::Request,
    },
    tui::{scrollback::NoteKind, sentences, slash::CommandPurpose},
};

/// Minimum time between two bells.
const BELL_EVERY_US: u64 = 1_000_000;

impl Model {
    /// Rings the bell and shows the message on the desktop, as chosen for that room.
    pub(super) fn alert(&mut self, now: When, at: usize, important: bool, message: Message) {
        let (bell, notify) = match self.rooms.get(at) {
            Some(room) => (room.alerts.bell, room.alerts.notify),
            None => (None, None),
        };
        if is_heard(bell.unwrap_or(self.options.bell), important) {
            self.ring(now);
        }
        if is_heard(notify.unwrap_or(self.options.notify), important) {
            self.effects.push_back(Effect::Notify(Box::new(message)));
        }
    }

    fn ring(&mut self, now: When) {
        let recent = |at: u64| now.mono_us.saturating_sub(at) < BELL_EVERY_US;
        if !self.times.rung_at_us.is_some_and(recent) {
            self.times.rung_at_us = Some(now.mono_us);
            self.effects.push_back(Effect::Bell);
        }
    }

    pub(super) fn announcement(&mut self, now: When, message: &Message) {
        let Some(notice) = &message.notice else { return };
        let (level, number) = (notice.level, message.id.seq);
        if !self.notices.add(now.mono_us, message) {
            return;
        }
        self.changed = true;
        let to = notice.room.as_ref().map(|room| format!(" to {room}")).unwrap_or_default();
        let text = format!("{}{to}: {}", message.from.name(), message.text);
        let for_room = notice.room.clone().map(StreamName::Room);
        let at = for_room.and_then(|name| self.index_of(&name)).unwrap_or(self.current);
        if let Some(room) = self.rooms.get_mut(at) {
            room.note(message.wall_us, NoteKind::Notice(level), text);
        }
        if notice.ack || level == Level::Critical {
            // An announcement may be acknowledged already: earlier here, or by another session of
            // this name.
            self.ask_for_notice(number);
        }
        if message.from.name() != self.user.name && self.user.focus != Some(true) {
            let important = level >= Level::Warning || notice.ack;
            self.alert(now, at, important, message.clone());
        }
    }

    pub(super) fn ask_for_notice(&mut self, number: u64) {
        let request = Request::Notice { id: AnnouncementId::Number(number) };
        self.effects.push_back(Effect::Ask(request, PendingRequest::Notice(number)));
    }

    /// Acknowledges the announcement of the highest level, for the key.
    pub(super) fn acknowledge(&mut self) {
        let Some(notice) = self.notices.next() else {
            if !self.notices.clear() {
                self.hint(sentences::NOTHING_TO_ACK);
            }
            self.changed = true;
            return;
        };
        let number = notice.number;
        // Other screens of this name find out when their user looks.
        if notice.is_acknowledged() && self.server.is_up() {
            self.ask_to_acknowledge(number);
        } else if notice.ack {
            self.hint(sentences::NOT_CONNECTED);
        } else {
            self.notices.remove(number);
        }
        self.changed = true;
    }

    fn ask_to_acknowledge(&mut self, number: u64) {
        let (request, purpose) = CommandPurpose::acknowledge(number);
        self.effects.push_back(Effect::Ask(request, PendingRequest::Command(None, purpose)));
    }
}
