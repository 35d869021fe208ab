//! The texts of a client instance that have no answer yet, over sessions and restarts of the
//! server.

use std::collections::VecDeque;

use crate::{
    chat::{
        frames::{Ack, Destination, EarlierSubmits, Line, Submit},
        message::StreamName,
        names::{RoomName, Target, UserName},
        refusal::{Refusal, RefusalCode},
        stream_id::{RoomIdentity, StreamId},
        text::Text,
    },
    faults::{Fault, planted},
    limits::UNACKED_SUBMITS_MAX,
    wire::control,
};

/// Characters of a text that a refusal quotes.
const EXCERPT_CHARS: usize = 60;

/// A text without an answer.
#[derive(Debug)]
pub(super) struct Unacked {
    counter: u64,
    to: Target,
    /// The room it was written in; `None` while the join of that room has no answer.
    room: Option<RoomIdentity>,
    reply_to: Option<u64>,
    text: Text,
    /// Wall clock when it was first submitted, microseconds since 1970.
    since_us: Option<i64>,
}

impl Unacked {
    pub fn to(&self) -> &Target {
        &self.to
    }

    pub fn room(&self) -> Option<RoomIdentity> {
        self.room
    }

    pub fn is_reply(&self) -> bool {
        self.reply_to.is_some()
    }

    pub fn stream(&self) -> StreamName {
        StreamName::from(&self.to)
    }

    pub fn is_for(&self, user: &UserName) -> bool {
        matches!(&self.to, Target::User { user: of, .. } if of == user)
    }

    /// Returns true if the text waits for the join of a room.
    pub fn waits_for(&self, room: &RoomName) -> bool {
        self.room.is_none() && matches!(&self.to, Target::Room(of) if of == room)
    }

    /// Returns the refusal for a text that may be stored or not.
    fn unknown(&self) -> Refusal {
        let stream = self.stream();
        let all = self.text.as_str();
        let line = all.lines().next().unwrap_or_default();
        let mut text: String = line.chars().take(EXCERPT_CHARS).collect();
        if text.len() < all.len() {
            text.push('…');
        }
        let text = format!(
            "can't tell whether a message to {stream} was stored (\"{text}\"): the connection \
             broke, and the server no longer knows; look with `moot history {stream}` before \
             sending the text again"
        );
        Refusal::new(RefusalCode::UnknownSubmit, text)
    }
}

/// Stream id or room identity that a text is submitted to in this session.
#[derive(Debug, Clone, Copy)]
pub(super) enum Route {
    Conversation(StreamId),
    Room(RoomIdentity),
}

/// A text that is acknowledged.
#[derive(Debug)]
pub(super) struct AckedText {
    pub counter: u64,
    pub stream: StreamName,
    pub seq: u64,
}

/// Texts without an answer, by rising counter.
#[derive(Debug, Default)]
pub(super) struct SubmitOutbox {
    unacked: VecDeque<Unacked>,
    counter: u64,
    /// Highest counter that was submitted in any session.
    submitted: u64,
    /// Texts up to this counter were submitted in this session, or wait for their room or
    /// conversation.
    reached: u64,
    /// Counters of refused texts, until the caller reads them.
    refused: Vec<u64>,
}

impl SubmitOutbox {
    /// Returns the number of texts without an answer.
    pub fn len(&self) -> usize {
        self.unacked.len()
    }

    /// Returns the bytes of those texts.
    pub fn bytes(&self) -> usize {
        self.unacked.iter().map(|unacked| unacked.text.as_str().len()).sum()
    }

    /// Adds a text and returns its counter.
    pub fn push(
        &mut self,
        to: Target,
        room: Option<RoomIdentity>,
        reply_to: Option<u64>,
        text: Text,
    ) -> u64 {
        self.counter += 1;
        let counter = self.counter;
        self.unacked.push_back(Unacked { counter, to, room, reply_to, text, since_us: None });
        counter
    }

    /// Starts over: no text was submitted in the new session.
    pub fn begin_session(&mut self) {
        self.reached = 0;
    }

    /// Returns the statement for the next handshake: its server may no longer know what was
    /// submitted before.
    pub fn earlier(&self, wall_us: i64) -> EarlierSubmits {
        let oldest_us = self.unacked.iter().filter_map(|unacked| unacked.since_us).min();
        EarlierSubmits { highest: self.submitted, since_us: oldest_us.unwrap_or(wall_us) }
    }

    /// Forgets the identities of rooms that ended with the server.
    pub fn forget_lost_rooms(&mut self) {
        for unacked in &mut self.unacked {
            unacked.room = unacked.room.filter(|room| room.lasts);
        }
    }

    /// Returns the place of the next text that was not submitted in this session, which is
    /// submitted now or waits. The server recognizes a counter only while it is among the last
    /// [`UNACKED_SUBMITS_MAX`]: while the oldest text has no answer, those that are further from it
    /// wait, in whatever stream they are.
    pub fn advance(&mut self) -> Option<usize> {
        let at = self.unacked.partition_point(|unacked| unacked.counter <= self.reached);
        let (oldest, next) = (self.unacked.front()?, self.unacked.get(at)?);
        let distance = next.counter - oldest.counter;
        if distance >= UNACKED_SUBMITS_MAX as u64 && !planted(Fault::FarSubmitNotHeld) {
            return None;
        }
        self.reached = next.counter;
        Some(at)
    }

    /// Returns a text by its place.
    pub fn get(&self, at: usize) -> Option<&Unacked> {
        self.unacked.get(at)
    }

    /// Returns a text by its place if its turn in this session has come.
    pub fn reached(&self, at: usize) -> Option<&Unacked> {
        self.unacked.get(at).filter(|unacked| unacked.counter <= self.reached)
    }

    /// Writes the submit of a text.
    pub fn submit(&mut self, at: usize, route: Route, wall_us: i64, out: &mut Vec<u8>) {
        let Some(unacked) = self.unacked.get_mut(at) else { return };
        let to = match route {
            Route::Conversation(tag) => Destination::Stream(tag),
            Route::Room(room) => {
                unacked.room = Some(room);
                Destination::Known(room.id)
            }
        };
        let to_label = match &unacked.to {
            Target::Room(_) => None,
            Target::User { label, .. } => label.clone(),
        };
        unacked.since_us.get_or_insert(wall_us);
        self.submitted = self.submitted.max(unacked.counter);
        let lines = vec![Line { reply_to: unacked.reply_to, text: unacked.text.borrowed() }];
        control::put_submit(out, &Submit { first: unacked.counter, to, to_label, lines });
    }

    /// Removes acknowledged texts. They are looked for among its own: a server may name any
    /// counters.
    pub fn ack(&mut self, ack: &Ack) -> Vec<AckedText> {
        let range = ack.first..ack.first.saturating_add(ack.count.into());
        let mut acked = Vec::new();
        while let Some(at) = self.unacked.iter().position(|u| range.contains(&u.counter))
            && let Some(unacked) = self.unacked.remove(at)
        {
            let (counter, stream) = (unacked.counter, unacked.stream());
            let seq = ack.seq.saturating_add(counter - ack.first);
            acked.push(AckedText { counter, stream, seq });
        }
        acked
    }

    /// Removes refused texts and returns what to report: each text that may be stored, so that the
    /// user learns which they are.
    pub fn nack(&mut self, first: u64, count: u32, refusal: Refusal) -> Vec<Refusal> {
        let range = first..first.saturating_add(count.into());
        let is_unknown = refusal.code == RefusalCode::UnknownSubmit;
        let mut refusals = Vec::new();
        for unacked in self.remove(|unacked| range.contains(&unacked.counter)) {
            if is_unknown {
                refusals.push(unacked.unknown());
            }
        }
        if !is_unknown {
            refusals.push(refusal);
        }
        refusals
    }

    /// Removes texts that are not submitted (again), and returns a refusal for each: one that was
    /// submitted earlier may be stored.
    pub fn give_up(
        &mut self,
        refusal: &Refusal,
        is_lost: impl Fn(&Unacked) -> bool,
    ) -> Vec<Refusal> {
        let lost = self.remove(is_lost).into_iter();
        let refusals = lost.map(|unacked| match unacked.since_us {
            Some(_) if !planted(Fault::SubmittedReportedUnsent) => unacked.unknown(),
            Some(_) | None => refusal.clone(),
        });
        refusals.collect()
    }

    /// Gives up the text at a place, in the same way.
    pub fn give_up_at(&mut self, at: usize, refusal: &Refusal) -> Vec<Refusal> {
        let counter = self.unacked.get(at).map(|unacked| unacked.counter);
        self.give_up(refusal, |unacked| Some(unacked.counter) == counter)
    }

    /// Gives up the texts to a user whose turn in this session has come, in the same way.
    pub fn give_up_conversation(&mut self, with: &UserName, refusal: &Refusal) -> Vec<Refusal> {
        let reached = self.reached;
        self.give_up(refusal, |unacked| unacked.counter <= reached && unacked.is_for(with))
    }

    fn remove(&mut self, is_removed: impl Fn(&Unacked) -> bool) -> VecDeque<Unacked> {
        let all = std::mem::take(&mut self.unacked).into_iter();
        let (removed, left): (VecDeque<_>, _) = all.partition(is_removed);
        self.unacked = left;
        for unacked in &removed {
            if self.refused.len() < UNACKED_SUBMITS_MAX {
                self.refused.push(unacked.counter);
            }
        }
        removed
    }

    /// Returns the counters of the texts that were refused since the last call.
    pub fn read_refused(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_texts(count: usize) -> SubmitOutbox {
        let mut outbox = SubmitOutbox::default();
        let to = Target::Room(RoomName::new("dev").unwrap());
        for _ in 0..count {
            outbox.push(to.clone(), None, None, Text::new("x").unwrap());
        }
        outbox
    }

    #[test]
    fn ack_of_unknown_counters_changes_nothing() {
        let mut outbox = with_texts(1);
        let ack = |first, seq| Ack { first, count: u32::MAX, seq, members: 0, stored: true };
        assert!(outbox.ack(&ack(2, 1)).is_empty());
        assert!(outbox.ack(&ack(u64::MAX - 1, 1)).is_empty());
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox.ack(&ack(0, u64::MAX))[0].counter, 1);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn only_submitted_texts_count_as_earlier() {
        let mut outbox = with_texts(3);
        let room = RoomIdentity { id: crate::chat::stream_id::RoomId(7), lasts: true };
        let mut out = Vec::new();
        while let Some(at) = outbox.advance().filter(|at| *at < 2) {
            outbox.submit(at, Route::Room(room), 50 + at as i64, &mut out);
        }
        assert_eq!(outbox.earlier(99), EarlierSubmits { highest: 2, since_us: 50 });
        let denied = Refusal::new(RefusalCode::Denied, "you are muted");
        let codes = outbox.give_up(&denied, |_| true).into_iter().map(|refusal| refusal.code);
        let unknown = RefusalCode::UnknownSubmit;
        assert_eq!(codes.collect::<Vec<_>>(), [unknown, unknown, RefusalCode::Denied]);
        assert_eq!(outbox.read_refused(), [1, 2, 3]);
        assert_eq!(outbox.earlier(99).since_us, 99, "no text is open");
    }

    #[test]
    fn refused_texts_are_reported_once_unless_unknown() {
        let mut outbox = with_texts(4);
        let refusal = |code| Refusal::new(code, "no");
        assert_eq!(outbox.nack(1, 2, refusal(RefusalCode::Denied)).len(), 1);
        assert_eq!(outbox.nack(3, 2, refusal(RefusalCode::UnknownSubmit)).len(), 2);
        assert_eq!(outbox.len(), 0);
        assert_eq!(outbox.read_refused(), [1, 2, 3, 4]);
        assert!(outbox.read_refused().is_empty());
    }
}
