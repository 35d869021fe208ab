//! Replies of the server.

use super::{
    effect::{Effect, PendingRequest, TypedCommand},
    room::Present,
    searching::HITS,
    state::{Mode, Model, When},
};
use crate::{
    chat::{
        message::StreamName,
        refusal::{Refusal, RefusalCode},
        reply::Reply,
    },
    tui::{
        scrollback::NoteKind,
        slash::{CommandPurpose, Explained, explain},
    },
};

impl Model {
    /// Handles the reply to a request.
    pub(in crate::tui) fn answered(
        &mut self,
        now: When,
        asked: PendingRequest,
        result: Result<Reply, Refusal>,
    ) {
        self.changed = true;
        match (asked, result) {
            (PendingRequest::Command(typed, purpose), Ok(reply)) => {
                self.command_done(now, typed, explain(purpose, reply));
            }
            (PendingRequest::Lookup(purpose), Ok(reply)) => {
                self.looked_up(now, explain(purpose, reply));
            }
            (asked, Ok(reply)) => self.replied(now, asked, reply),
            (asked, Err(refusal)) => self.request_refused(now, asked, refusal),
        }
    }

    /// Shows the result of a chat command.
    fn command_done(&mut self, now: When, typed: Option<TypedCommand>, explained: Explained) {
        match explained {
            Explained::Quiet => {}
            Explained::Away(away) => self.user.is_away = away,
            Explained::Sentence(text) => self.note(now, NoteKind::Info, text),
            Explained::Announced(text) => self.hint(text),
            Explained::Rooms(rooms) => {
                self.list_rooms(now, &rooms);
                self.take_rooms(rooms);
            }
            Explained::Members(room, members) => {
                let members = members.into_iter().map(|m| Present::of_session(m, now.mono_us));
                self.list_members(now, &room, members);
            }
            Explained::Topic(room, topic) => self.new_topic(now, room, topic),
            Explained::Acknowledged(number) => self.notices.acknowledged(now.mono_us, number),
            Explained::More(request, purpose) => {
                self.effects
                    .push_back(Effect::Ask(request, PendingRequest::Command(typed, purpose)));
            }
        }
    }

    /// Handles a list that the screen requested by itself.
    fn looked_up(&mut self, now: When, explained: Explained) {
        match explained {
            Explained::Rooms(rooms) => self.take_rooms(rooms),
            Explained::Members(room, members) => {
                let members = members.into_iter().map(|m| Present::of_session(m, now.mono_us));
                self.take_members(&room, members);
            }
            Explained::More(request, purpose) => {
                self.effects.push_back(Effect::Ask(request, PendingRequest::Lookup(purpose)));
            }
            Explained::Quiet
            | Explained::Away(_)
            | Explained::Sentence(_)
            | Explained::Announced(_)
            | Explained::Topic(..)
            | Explained::Acknowledged(_) => {}
        }
    }

    fn replied(&mut self, now: When, asked: PendingRequest, reply: Reply) {
        match (asked, reply) {
            (PendingRequest::Marks(skip), Reply::Marks { marks, more }) => {
                let skip = skip.saturating_add(u32::try_from(marks.len()).unwrap_or(u32::MAX));
                self.take_marks(now, marks, more.then_some(skip));
            }
            (PendingRequest::Hits { room, query }, Reply::Hits { hits, more }) => {
                let is_here = self.room().is_some_and(|shown| shown.name == room);
                let more = more || hits.len() >= HITS as usize;
                if is_here {
                    self.take_hits(now, &query, &hits, more);
                }
            }
            (PendingRequest::Open(user), Reply::Opened(_)) => {
                self.conversation_opened(&StreamName::Direct(user));
            }
            (PendingRequest::OpenFor(user, token), Reply::Opened(_)) => {
                let name = StreamName::Direct(user);
                self.conversation_is_open(&name, |pending| pending.token == token);
            }
            (PendingRequest::Notice(number), Reply::Notice(info)) => {
                if info.acked_by_me {
                    self.notices.acknowledged(now.mono_us, number);
                }
            }
            (
                PendingRequest::Sign
                | PendingRequest::Read
                | PendingRequest::Command(..)
                | PendingRequest::Lookup(_)
                | PendingRequest::Marks(_)
                | PendingRequest::Page(_)
                | PendingRequest::Hits { .. }
                | PendingRequest::Open(_)
                | PendingRequest::OpenFor(..)
                | PendingRequest::Notice(_),
                _,
            ) => {}
        }
    }

    fn request_refused(&mut self, now: When, asked: PendingRequest, refusal: Refusal) {
        let is_up = self.server.is_up();
        match asked {
            // Lists for the screen itself: the next look requests them again.
            PendingRequest::Sign
            | PendingRequest::Read
            | PendingRequest::Marks(_)
            | PendingRequest::Lookup(_) => {}
            PendingRequest::Command(typed, purpose) => {
                self.command_refused(typed, &purpose, refusal);
            }
            PendingRequest::Page(asked) => {
                if let Some(at) = self.index_of(&asked.room) {
                    self.rooms[at].history.loading = None;
                    self.rooms[at].history.failed = true;
                }
                if is_up {
                    self.complain(refusal.text);
                }
            }
            PendingRequest::Notice(number) => {
                if refusal.code == RefusalCode::Absent {
                    self.notices.remove(number);
                }
            }
            PendingRequest::Hits { .. } => {
                if let Mode::Search(search) = &mut self.mode {
                    search.waits = false;
                }
                self.complain(refusal.text);
            }
            PendingRequest::Open(user) => {
                self.conversation_refused(now, &StreamName::Direct(user), &refusal);
            }
            // Without a connection the text waits for one.
            PendingRequest::OpenFor(..) if !is_up => {}
            PendingRequest::OpenFor(user, token) => {
                self.complain(refusal.text);
                match self.index_of(&StreamName::Direct(user)) {
                    Some(at)
                        if self.rooms[at].back.is_empty() && self.rooms[at].marks.head == 0 =>
                    {
                        self.close_unknown(now, at);
                    }
                    _ => self.unsaid(token),
                }
            }
        }
    }

    /// Returns a refused command to the input of its room.
    fn command_refused(
        &mut self,
        typed: Option<TypedCommand>,
        purpose: &CommandPurpose,
        refusal: Refusal,
    ) {
        if let Some(TypedCommand { line, room }) = typed
            && self.room().map(|room| &room.name) == room.as_ref()
            && self.editor.is_empty()
        {
            self.editor.set(&line);
        }
        if let CommandPurpose::Acknowledge(number) = purpose
            && refusal.code == RefusalCode::Absent
        {
            // The announcement has ended, or belongs to another boot.
            self.notices.remove(*number);
        }
        self.complain(refusal.text);
    }
}
