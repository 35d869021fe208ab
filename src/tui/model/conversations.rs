//! Conversations: opened when a text waits for them.

use super::{
    effect::{Effect, PendingRequest},
    room::Pending,
    state::{Model, When},
};
use crate::chat::{message::StreamName, names::Target, refusal::Refusal, request::Request};

impl Model {
    /// Opens a conversation that has a waiting text.
    pub(super) fn open_conversation(&mut self, at: usize) {
        let room = &mut self.rooms[at];
        let StreamName::Direct(user) = &room.name else { return };
        if !self.server.is_up() {
            return;
        }
        for pending in room.pending.iter().filter(|pending| pending.unsent) {
            if pending.label.is_none() && std::mem::replace(&mut room.conversation.opening, true) {
                continue;
            }
            let asked = match &pending.label {
                None => PendingRequest::Open(user.clone()),
                Some(_) => PendingRequest::OpenFor(user.clone(), pending.token),
            };
            let target = Target::User { user: user.clone(), label: pending.label.clone() };
            self.effects.push_back(Effect::Ask(Request::Open { target }, asked));
        }
    }

    pub(super) fn conversation_opened(&mut self, name: &StreamName) {
        let Some(at) = self.index_of(name) else { return };
        self.rooms[at].conversation.opening = false;
        self.conversation_is_open(name, |pending| pending.label.is_none());
    }

    /// Sends the waiting texts of a conversation that is open now.
    pub(super) fn conversation_is_open(
        &mut self,
        name: &StreamName,
        is_for: impl Fn(&Pending) -> bool,
    ) {
        let (StreamName::Direct(user), Some(at)) = (name, self.index_of(name)) else { return };
        let room = &mut self.rooms[at];
        room.conversation.is_open = true;
        room.marks.are_known = true;
        for pending in room.pending.iter_mut().filter(|p| p.unsent && is_for(p)) {
            pending.unsent = false;
            let (token, reply_to, text) = (pending.token, pending.reply_to, pending.text.clone());
            let to = Target::User { user: user.clone(), label: pending.label.clone() };
            self.effects.push_back(Effect::Say { token, to, reply_to, text });
        }
    }

    pub(super) fn conversation_refused(&mut self, now: When, name: &StreamName, refusal: &Refusal) {
        let Some(at) = self.index_of(name) else { return };
        self.rooms[at].conversation.opening = false;
        // Without a connection the text waits for one.
        if !self.server.is_up() {
            return;
        }
        let is_for = |pending: &&Pending| pending.unsent && pending.label.is_none();
        let tokens: Vec<_> =
            self.rooms[at].pending.iter().filter(is_for).map(|p| p.token).collect();
        self.complain(refusal.text.clone());
        if self.rooms[at].back.is_empty() && self.rooms[at].marks.head == 0 {
            return self.close_unknown(now, at);
        }
        tokens.into_iter().for_each(|token| self.unsaid(token));
    }

    /// Closes a conversation with an unknown user: the text returns to the input as it was typed,
    /// so that the name can be corrected.
    pub(super) fn close_unknown(&mut self, now: When, at: usize) {
        let name = self.rooms[at].name.clone();
        let pending = std::mem::take(&mut self.rooms[at].pending);
        let has_draft = match at == self.current {
            true => !self.editor.is_empty(),
            false => !self.rooms[at].draft.text().is_empty(),
        };
        if !has_draft {
            self.close(now, &name);
        }
        for pending in pending {
            let typed = match &pending.label {
                Some(_) => pending.as_typed(&name),
                None => format!("/msg {name} {}", pending.text.as_str()),
            };
            self.put_back(self.current, typed);
        }
    }
}
