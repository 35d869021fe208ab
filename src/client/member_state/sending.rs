//! Outgoing half of a member: texts, each submitted again until it has an answer.

use super::MemberState;
use crate::{
    chat::{
        frames::Ack,
        message::{MessageId, StreamName},
        names::{Label, RoomName, Target, UserName},
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        request::Request,
        stream_id::StreamId,
        text::Text,
    },
    client::{
        calls::Purpose,
        event::Event,
        link::Sent,
        outbox::{AckedText, Route, Unacked},
    },
    limits::UNACKED_SUBMITS_MAX,
};

impl MemberState {
    /// Says something; gives its counter. It is submitted again after a broken connection, and
    /// stored once.
    ///
    /// The caller keeps `unacked` below its limit.
    pub fn say(&mut self, to: Target, reply_to: Option<u64>, text: Text) -> u64 {
        debug_assert!(self.outbox.len() < UNACKED_SUBMITS_MAX, "the caller waits");
        let room = match &to {
            Target::Room(room) => self.streams.identity_of(room),
            Target::User { .. } => None,
        };
        let counter = self.outbox.push(to, room, reply_to, text);
        self.submit_more();
        counter
    }

    /// Gives up replies whose message is gone: without a history the next boot of the server gives
    /// the sequence numbers again, and the reply would be to another message.
    pub(super) fn give_up_replies(&mut self) {
        let keeps_numbers = |name: &StreamName| match self.streams.is_stored(name) {
            Some(stored) => stored,
            None => matches!(name, StreamName::Room(_)),
        };
        let is_lost = |unacked: &Unacked| unacked.is_reply() && !keeps_numbers(&unacked.stream());
        let text = "the reply was not sent: the server restarted, and its message is gone";
        let refusal = Refusal::new(RefusalCode::Absent, text);
        let refusals = self.outbox.give_up(&refusal, is_lost);
        self.queue_refused(refusals);
    }

    /// Submits what was not submitted in this session, in order.
    pub(super) fn submit_more(&mut self) {
        while self.is_ready()
            && let Some(at) = self.outbox.advance()
        {
            self.submit_at(at);
        }
    }

    /// Submits the texts that waited for a room or a conversation.
    pub(super) fn submit_waiting(&mut self, waits: impl Fn(&Unacked) -> bool) {
        let mut at = 0;
        while let Some(unacked) = self.outbox.reached(at) {
            if !waits(unacked) || self.submit_at(at) {
                at += 1;
            }
        }
    }

    pub(super) fn submit_waiting_for(&mut self, room: &RoomName) {
        self.submit_waiting(|unacked| unacked.waits_for(room));
    }

    /// Submits a text to the room it was written in, never to another room of that name. Returns
    /// false if it was written in no room, and was removed and reported.
    pub(super) fn submit_at(&mut self, at: usize) -> bool {
        let Some(unacked) = self.outbox.get(at) else { return true };
        let route = match unacked.to() {
            Target::User { user, label } => match self.streams.conversation(user) {
                Some(tag) => Route::Conversation(tag),
                None => {
                    let (user, label) = (user.clone(), label.clone());
                    self.open_conversation(user, label);
                    return true;
                }
            },
            Target::Room(name) => match unacked.room().or_else(|| self.streams.identity_of(name)) {
                Some(room) => Route::Room(room),
                None if self.calls.is_joining(name) => return true,
                None => {
                    let text =
                        format!("the message was not sent: this session does not follow {name}");
                    let refusal = Refusal::new(RefusalCode::Absent, text);
                    let refusals = self.outbox.give_up_at(at, &refusal);
                    self.queue_refused(refusals);
                    return false;
                }
            },
        };
        self.outbox.submit(at, route, self.wall_us, &mut self.out);
        true
    }

    pub(super) fn open_conversation(&mut self, user: UserName, label: Option<Label>) {
        if !self.calls.is_opening(&user) {
            let target = Target::User { user: user.clone(), label };
            let open = Request::Open { target };
            self.calls.send(&mut self.out, &open, Purpose::Open(user));
        }
    }

    pub(super) fn take_opened(&mut self, with: &UserName, result: &Result<Reply, Refusal>) {
        match result {
            Ok(Reply::Opened(info)) => self.conversation_is(with, info.tag),
            Err(refusal)
                if self.streams.conversation(with).is_none() && !self.calls.is_opening(with) =>
            {
                let refusals = self.outbox.give_up_conversation(with, refusal);
                self.queue_refused(refusals);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// A conversation has this number in this run of the server: the texts for it are submitted.
    pub(super) fn conversation_is(&mut self, with: &UserName, tag: StreamId) {
        if self.streams.open_conversation(with, tag) {
            self.submit_waiting(|unacked| unacked.is_for(with));
        }
    }

    pub(super) fn queue_refused(&mut self, refusals: Vec<Refusal>) {
        for refusal in refusals {
            self.queue(Event::Rejected(refusal));
        }
    }

    pub(super) fn take_ack(&mut self, ack: &Ack) {
        for AckedText { counter, stream, seq } in self.outbox.ack(ack) {
            self.streams.acked(&stream, seq);
            let run = (!ack.stored).then_some(self.streams.boot());
            let id = MessageId { stream, run, seq };
            self.queue(Event::Sent(Sent { id, members: ack.members, counter }));
        }
        self.submit_more();
    }
}
