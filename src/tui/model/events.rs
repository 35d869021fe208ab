//! Events of the server: messages, members that join and leave, the end of the session.

use std::collections::BTreeSet;

use super::state::{Model, Session, When};
use crate::{
    chat::{
        event::GapReason,
        member::{EndCause, Member},
        message::{Message, StreamName},
        names::RoomName,
        refusal::{Refusal, RefusalCode},
        request::Follow,
    },
    client::Event,
    tui::{
        scrollback::{Line, Note, NoteKind, Place, Said},
        sentences,
    },
};

/// Returns true if the sender is ignored. The user's own messages are always shown.
pub(super) fn is_ignored(ignored: &BTreeSet<String>, me: &str, message: &Message) -> bool {
    if ignored.is_empty() {
        return false;
    }
    let name = message.from.name();
    name != me && (ignored.contains(message.from.user.as_str()) || ignored.contains(&name))
}

/// Error of a text without a session.
const NO_SERVER: &str = "no server; messages wait until one runs (`moot serve`)";

impl Model {
    /// Handles an event.
    pub(in crate::tui) fn event(&mut self, now: When, event: Event) {
        match event {
            Event::Ready { streams, broadcast } => self.ready(now, streams, broadcast),
            Event::Message(message) => self.message(now, message),
            Event::Joined { room, member } => {
                self.known.add_names(std::iter::once(member.name()));
                self.moved(now, &room, &member, None);
            }
            Event::Left { room, member, cause } => self.moved(now, &room, &member, Some(cause)),
            Event::Topic { room, topic } => self.new_topic(now, room, topic),
            Event::Deleted { room } => self.lost(now, &room, sentences::deleted(&room)),
            Event::Removed { room, by, banned } => {
                self.lost(now, &room, sentences::removed(&room, &by, banned));
            }
            Event::Cancelled { number, by } => {
                self.notices.remove(number);
                self.note(now, NoteKind::Info, sentences::cancelled(number, &by));
            }
            Event::Invited { room, user, by } => {
                let text = if user.as_str() == self.options.look.user {
                    format!("{by} invited you to {room} (/join {room})")
                } else {
                    format!("{by} invited {user} to {room}")
                };
                self.note(now, NoteKind::Info, text);
            }
            Event::Gap { stream, range, reason } => self.gap(now, &stream, range, reason),
            Event::Slowed => self.hint(sentences::THROTTLED),
            Event::Abandoned { room, seq, by, cause } => {
                self.note(now, NoteKind::Info, sentences::abandoned(&room, seq, &by, cause));
            }
            // The event loop handles the results of submits.
            Event::Offer { .. }
            | Event::Answered { .. }
            | Event::Sent(_)
            | Event::Rejected(_)
            | Event::NotFollowed(..)
            | Event::Reply(..)
            | Event::Ended(_) => {}
            Event::End { reason } => {
                self.server.session = Session::Down { reason };
                self.hint(NO_SERVER);
                self.server.waits_since_us = None;
                self.server.lag_us = None;
                for room in &mut self.rooms {
                    room.conversation.is_open = false;
                    room.conversation.opening = false;
                    room.history.loading = None;
                    // The members are unknown until the next look.
                    room.members.clear();
                }
                self.changed = true;
            }
        }
        self.settle_read(now);
    }

    pub(super) fn ready(
        &mut self,
        now: When,
        streams: Vec<(StreamName, u64)>,
        broadcast: &'static str,
    ) {
        self.server.session = Session::Up { broadcast };
        self.server.is_hung = false;
        self.hint.take_if(|hint| hint.text == NO_SERVER);
        self.changed = true;
        for (name, head) in streams {
            match &name {
                StreamName::Announcements => {}
                StreamName::Room(_) | StreamName::Direct(_) => {
                    // A conversation without messages is not opened yet.
                    if head == 0 && matches!(name, StreamName::Direct(_)) {
                        continue;
                    }
                    let at = self.open(name);
                    let room = &mut self.rooms[at];
                    // Messages of the meantime are still to come; after a restart numbers may start
                    // over.
                    room.marks.head = room.marks.head.min(head);
                    if room.marks.head == 0 && head == 0 {
                        room.back.note_beginning();
                    }
                }
            }
        }
        for room in &mut self.rooms {
            room.history.failed = false;
        }
        self.ask_for_marks(0);
        self.ask_for_rooms();
        self.times.members_at_us = now.mono_us;
        for at in 0..self.rooms.len() {
            self.open_conversation(at);
        }
    }

    pub(super) fn new_topic(&mut self, now: When, room: RoomName, topic: String) {
        let text = sentences::new_topic(&room, &topic);
        if let Some(at) = self.index_of(&StreamName::Room(room)) {
            self.rooms[at].properties.topic = topic;
            self.rooms[at].note(now.wall_us, NoteKind::Info, text);
            self.changed |= at == self.current;
        }
    }

    /// Handles a member that joined or left a room.
    fn moved(&mut self, now: When, name: &RoomName, who: &Member, left: Option<EndCause>) {
        let Some(at) = self.index_of(&StreamName::Room(name.clone())) else { return };
        let room = &mut self.rooms[at];
        let is_scrolled = room.place != Place::End;
        room.back.push_move(now.wall_us, who, left, is_scrolled);
        if at == self.current {
            self.changed = true;
            // Not at once: a hundred members that join together are looked up once.
            self.times.members_at_us = self.times.members_at_us.min(now.mono_us + 200_000);
        }
    }

    /// Handles the loss of a room. If it is shown it stays open: a sentence being written must not
    /// suddenly belong to another room.
    fn lost(&mut self, now: When, room: &RoomName, text: String) {
        let name = StreamName::Room(room.clone());
        self.known.left.insert(room.key().to_owned());
        match self.index_of(&name) {
            Some(at) if at == self.current && !self.rooms[at].gone => {
                let room = &mut self.rooms[at];
                room.gone = true;
                room.history.failed = true;
                room.members.clear();
                room.note(now.wall_us, NoteKind::Error, text);
                self.changed = true;
            }
            Some(_) => {
                self.close(now, &name);
                self.note(now, NoteKind::Error, text);
            }
            None => self.note(now, NoteKind::Error, text),
        }
    }

    fn gap(
        &mut self,
        now: When,
        stream: &StreamName,
        range: Option<(u64, u64)>,
        reason: GapReason,
    ) {
        let text = sentences::gap(stream, range, reason);
        let Some(at) = self.index_of(stream) else { return };
        let room = &mut self.rooms[at];
        if range.is_none() {
            room.begin_anew();
        }
        match range {
            Some((_, last)) => {
                room.settle(last);
                let is_scrolled = room.place != Place::End;
                let note = Note { wall_us: now.wall_us, kind: NoteKind::Gap, text };
                room.back.push_gap(last, note, is_scrolled);
            }
            None => room.note(now.wall_us, NoteKind::Gap, text),
        }
        self.changed |= at == self.current;
    }

    fn message(&mut self, now: When, message: Message) {
        if message.notice.is_some() {
            return self.announcement(now, &message);
        }
        if is_ignored(&self.saved.kept.ignored, &self.user.name, &message) {
            if let Some(at) = self.index_of(&message.id.stream) {
                self.rooms[at].pass_over(message.id.seq);
            }
            return;
        }
        let own = message.from.name() == self.user.name;
        // All existing conversations are reported at the beginning of a session.
        let begins = self.index_of(&message.id.stream).is_none();
        let at = self.open(message.id.stream.clone());
        let is_looked_at = at == self.current && self.is_looked_at(now);
        let room = &mut self.rooms[at];
        let seq = message.id.seq;
        if begins && room.is_direct() {
            // A new conversation: all of it is unread.
            room.marks.are_known = true;
            let before = seq.saturating_sub(1);
            (room.marks.read, room.marks.sent_read, room.marks.marker) = (before, before, before);
        }
        // Messages that the server counted are not counted again, and messages before this screen
        // are not news.
        let counts = room.marks.are_known && seq > room.marks.read && seq > room.marks.head;
        let is_news = room.marks.are_known && seq > room.marks.read && seq > room.marks.before;
        room.marks.head = room.marks.head.max(seq);
        let important = room.is_direct() || message.mention;
        room.note_speaker(&message.from.name());
        room.settle(seq);
        let at_end = room.place == Place::End;
        let alert = message.clone();
        let said = Said::of(message, own);
        // A page of history with this message may have been faster.
        let last = room.back.last_seq().filter(|_| room.back.is_attached());
        let is_there = last.is_some_and(|last| last >= seq);
        let pushed = is_there || room.back.push(Line::Said(said), !at_end);
        if own {
            room.marks.advance(seq);
        } else if is_looked_at {
            room.marks.see(seq);
        } else {
            if counts {
                room.marks.unread += 1;
                room.marks.mentions += u64::from(alert.mention);
            }
            if !at_end || !pushed {
                room.below += 1;
            }
        }
        // The list of rooms shows counts.
        self.changed |= pushed || counts || at == self.current;
        if !own && is_news && !(is_looked_at && self.user.focus == Some(true)) {
            self.alert(now, at, important, alert);
        }
        let name = self.rooms[at].speakers.front().cloned();
        self.known.add_names(name.into_iter());
    }

    /// Handles the acknowledgment of a text, with its sequence number.
    pub(in crate::tui) fn sent(&mut self, now: When, token: u64, seq: u64) {
        self.outgoing.orphans.retain(|orphan| orphan.token != token);
        // The text may have been saved as a draft while there was no server.
        self.keep_soon(now);
        for room in &mut self.rooms {
            let Some(pending) = room.pending.iter_mut().find(|p| p.token == token) else {
                continue;
            };
            pending.seq = Some(seq);
            // The message may have arrived before its acknowledgment.
            let is_there = room.back.last_seq().is_some_and(|last| last >= seq);
            if is_there || !room.back.is_attached() {
                room.pending.retain(|pending| pending.token != token);
            }
            room.marks.head = room.marks.head.max(seq);
        }
        self.changed = true;
        self.settle_read(now);
    }

    /// Handles the refusal of a text: it returns to the input of its room.
    pub(in crate::tui) fn unsaid(&mut self, token: u64) {
        if let Some(found) = self.outgoing.orphans.iter().position(|orphan| orphan.token == token) {
            let orphan = self.outgoing.orphans.remove(found);
            let hint = format!("unsent text of {} is saved there", orphan.room);
            self.keep_unsaid(&orphan.room, orphan.text);
            return self.complain(hint);
        }
        let at = self.rooms.iter().position(|r| r.pending.iter().any(|p| p.token == token));
        let Some(at) = at else { return };
        let room = &mut self.rooms[at];
        let Some(found) = room.pending.iter().position(|p| p.token == token) else { return };
        let Some(pending) = room.pending.remove(found) else { return };
        let typed = pending.as_typed(&room.name);
        self.put_back(at, typed);
    }

    /// Shows a refusal as a line of the room, since another text may be in the input.
    pub(in crate::tui) fn refused(&mut self, now: When, refusal: &Refusal) {
        let text = match refusal.code {
            // The message may be stored.
            RefusalCode::UnknownSubmit => refusal.text.clone(),
            _ => format!("refused: {}", refusal.text),
        };
        self.note(now, NoteKind::Error, text);
    }

    /// Handles a subscription that was refused or has ended.
    pub(in crate::tui) fn not_followed(&mut self, now: When, follow: &Follow, refusal: &Refusal) {
        match follow {
            Follow::Room(room) => self.lost(now, room, refusal.text.clone()),
            Follow::With(_) | Follow::AllDirect | Follow::ToMe | Follow::Announcements => {
                self.complain(refusal.text.clone());
            }
        }
    }
}
