//! Saying something: submits are numbered once, committed where stored, published as one body.

use crate::client::Label;
use std::sync::Arc;

use super::{
    Action, Hub,
    accounts::AccountId,
    instances::{Again, InstanceKey, NewLines},
    pending::{EntryDraft, MESSAGE_OVERHEAD_BYTES},
    sessions::Wait,
    stream::StreamKind,
};
use crate::{
    chat::{
        batch::Draft,
        clock::Now,
        event::Event,
        frames::{Ack, Destination, Frame, Submit},
        member::SessionId,
        refusal::{Refusal, RefusalCode},
        store::{Entry, StreamKey},
        stream_id::StreamId,
        text::SharedText,
    },
    faults::{Fault, planted},
    limits::{FRAME_COST_BYTES, IN_FLIGHT_BYTES_PER_STREAM_MAX},
};

impl Hub {
    /// Reads texts of a session. Each gets one answer: an acknowledgement once it is stored, or a
    /// refusal.
    pub fn submit(&mut self, now: Now, id: SessionId, submit: &Submit<'_>) {
        self.charged(id, |hub| hub.submit_now(now, id, submit));
    }

    fn submit_now(&mut self, now: Now, id: SessionId, submit: &Submit<'_>) {
        self.active(now, id);
        let Some(session) = self.sessions.get(&id) else { return };
        let (instance, account) = (session.instance, session.account);
        // Many short texts are as much work as few long ones.
        self.accounts.charge(account, submit.lines.len() * FRAME_COST_BYTES);
        // What is numbered already is never judged again: only new lines get past this.
        let persistent = self.is_persistent(session.peer.uid, &submit.to);
        let Some(recalled) = self.instances.recall(instance, id, submit, persistent) else {
            return;
        };
        if planted(Fault::StoredSubmitJudgedAgain)
            && let Err(refusal) = self.destination(id, submit)
        {
            let counters = recalled.again.iter().map(|again| again.counter);
            return self.refuse(id, counters, &refusal);
        }
        for again in
            recalled.again.into_iter().filter(|_| !planted(Fault::RepeatedSubmitUnanswered))
        {
            self.acknowledge_again(id, instance, again);
        }
        if !recalled.unknown.is_empty() {
            let text = "can't tell whether the message was stored: it was submitted too long ago, or \
                        before the server restarted; look in the history before sending it again";
            let refusal = Refusal::new(RefusalCode::UnknownSubmit, text);
            self.refuse(id, recalled.unknown.into_iter(), &refusal);
        }
        if !recalled.new.is_empty() {
            self.submit_new(now, id, submit, recalled.new);
        }
    }

    /// Numbers the new lines of a submit, or refuses them. A refusal changes nothing.
    fn submit_new(&mut self, now: Now, id: SessionId, submit: &Submit<'_>, mut new: NewLines<'_>) {
        let destination = match self.destination(id, submit) {
            Ok(destination) => destination,
            Err(refusal) => {
                return self.refuse(id, new.iter().map(|(counter, _)| counter), &refusal);
            }
        };
        self.refuse_lost_replies(id, destination, &mut new);
        if new.is_empty() {
            return;
        }
        let tag = match self.stream_for(id, destination, &submit.to) {
            Ok(tag) => tag,
            Err(refusal) => {
                return self.refuse(id, new.iter().map(|(counter, _)| counter), &refusal);
            }
        };
        if let (Destination::Room(room), StreamKind::Room { name, .. }) =
            (&submit.to, &self.stream(tag).topic)
            && name.as_str() != room.as_str()
        {
            let spelled = Event::Spelled(name.clone());
            self.send(id, spelled);
        }
        self.number_lines(now, id, tag, submit.to_label.as_ref(), &new);
        self.hold_back(id, tag);
    }

    /// Refuses the lines that reply to a message that does not exist: neither published nor
    /// numbered by the lines before.
    fn refuse_lost_replies(
        &mut self,
        id: SessionId,
        destination: Option<StreamId>,
        new: &mut NewLines<'_>,
    ) {
        let mut numbered = destination.map_or(0, |tag| self.stream(tag).numbered);
        let out = &mut self.out;
        new.retain(|counter, line| {
            let Some(to) = line.reply_to.filter(|to| *to == 0 || *to > numbered) else {
                numbered += 1;
                return true;
            };
            let text = format!("message {to} does not exist; the reply was not sent");
            let refusal = Refusal::new(RefusalCode::Absent, text);
            out.push(Action::Send(id, Frame::Nack { first: counter, count: 1, refusal }));
            false
        });
    }

    /// Returns the stream of a submit; a room or conversation begins with its first message.
    fn stream_for(
        &mut self,
        id: SessionId,
        known: Option<StreamId>,
        to: &Destination,
    ) -> Result<StreamId, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        match (known, to) {
            (Some(tag), _) => Ok(tag),
            (None, Destination::Room(room)) => self.room_for(id, room),
            (None, Destination::Stream(tag)) => match self.promised_to(uid, *tag) {
                Some(other) => self.conversation(uid, other),
                None => Err(no_such_stream()),
            },
            (None, Destination::Known(_)) => Err(no_such_stream()),
        }
    }

    /// Gives lines their numbers. From here on nothing is refused.
    fn number_lines(
        &mut self,
        now: Now,
        id: SessionId,
        tag: StreamId,
        to_label: Option<&Label>,
        new: &NewLines<'_>,
    ) {
        let session = &self.sessions[&id];
        let (from, account) = (Arc::clone(&session.member), session.account);
        let instance = session.instance;
        // The lines share one text: only as much of it is kept as is charged for.
        let all: String = new.iter().map(|(_, line)| line.text.as_str()).collect();
        let all: Arc<str> = all.into();
        let to_store = self.stream(tag).is_committed(self.rules.store);
        let stored = self.is_stored(tag);
        let stream = &mut self.streams[tag];
        if to_store && stream.in_flight.uncommitted.is_empty() {
            self.commits.add_stream(tag);
        }
        let (mut added, mut text_from) = (Added::default(), 0);
        let (mut first, mut first_seq) = (0, 0);
        let mut count = 0;
        for (counter, line) in new.iter() {
            let text = text_from..text_from + line.text.as_str().len();
            text_from = text.end;
            if count > 0 && counter != first + count {
                self.instances.numbered(instance, (first, count), (tag, stored), first_seq);
                count = 0;
            }
            if count == 0 {
                (first, first_seq) = (counter, stream.numbered + 1);
            }
            count += 1;
            let draft = EntryDraft {
                from: Arc::clone(&from),
                reply_to: line.reply_to,
                to_label: to_label.cloned(),
                notice: None,
                will: None,
                origin: None,
                text: SharedText::part(&all, text),
                submit: Some((instance, counter)),
            };
            added.count(stream.number(now, to_store, account, draft));
        }
        self.instances.numbered(instance, (first, count), (tag, stored), first_seq);
        self.count_added(now, tag, account, from.uid, added);
        if !to_store || planted(Fault::FailedReplyCounts) {
            for to in new.iter().filter_map(|(_, line)| line.reply_to) {
                self.replied(instance, tag, to);
            }
        }
    }

    /// Checks that a user's messages in a stream may be stored: their part of the history is
    /// bounded.
    pub(super) fn may_store(&self, uid: u32, tag: StreamId) -> Result<(), Refusal> {
        match self.stream(tag).is_committed(self.rules.store) {
            true => self.has_history_left(uid),
            false => Ok(()),
        }
    }

    fn has_history_left(&self, uid: u32) -> Result<(), Refusal> {
        let Some(used) = self.accounts.usage.over_history(uid) else { return Ok(()) };
        let text = format!(
            "{} has used the history quota ({used} bytes, history.user_bytes_max) until older \
             messages expire",
            self.called(uid)
        );
        Err(Refusal::new(RefusalCode::Failed, text))
    }

    /// Returns the destination of a submit's new lines, if the session may submit there; none: a
    /// room or conversation that its first message creates.
    fn destination(
        &mut self,
        id: SessionId,
        submit: &Submit<'_>,
    ) -> Result<Option<StreamId>, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        let tag = match &submit.to {
            Destination::Room(room) => match self.room_named(uid, room) {
                Some(tag) => {
                    self.may_speak(uid, tag)?;
                    tag
                }
                None => return self.begins_by_message(uid),
            },
            Destination::Known(room) => {
                let Some(tag) = self.room_of_id(uid, *room) else {
                    let text = "the room was deleted; the message was not sent";
                    return Err(Refusal::new(RefusalCode::Absent, text));
                };
                self.may_speak(uid, tag)?;
                tag
            }
            Destination::Stream(tag) => match self.stream_of(uid, *tag) {
                // A text for a label is for one user: it is never shown to a room that has the
                // number of that conversation now.
                Some(tag) if self.room_name(tag).is_none() || submit.to_label.is_none() => {
                    if self.room_name(tag).is_some() {
                        self.may_speak(uid, tag)?;
                    }
                    tag
                }
                None if self.promised_to(uid, *tag).is_some() => {
                    self.may_begin(uid)?;
                    return self.begins_by_message(uid);
                }
                Some(_) | None => return Err(no_such_stream()),
            },
        };
        self.may_store(uid, tag)?;
        if self.is_ending(tag) {
            return Err(Refusal::new(RefusalCode::Absent, "the room is being deleted"));
        }
        Ok(Some(tag))
    }

    /// A destination that exists once the message is numbered.
    fn begins_by_message(&self, uid: u32) -> Result<Option<StreamId>, Refusal> {
        if self.rules.store { self.has_history_left(uid) } else { Ok(()) }.map(|()| None)
    }

    /// Returns true if the numbers in a destination outlive the boot.
    fn is_persistent(&self, uid: u32, to: &Destination) -> bool {
        let tag = match to {
            Destination::Room(room) => self.room_named(uid, room),
            Destination::Known(room) => self.room_of_id(uid, *room),
            Destination::Stream(tag) => self.stream_of(uid, *tag),
        };
        tag.map_or(self.rules.persistent, |tag| self.is_stored(tag))
    }

    /// Refuses submits, with one frame for consecutive counters.
    pub(super) fn refuse(
        &mut self,
        id: SessionId,
        counters: impl Iterator<Item = u64>,
        refusal: &Refusal,
    ) {
        let mut run: Option<(u64, u32)> = None;
        for counter in counters.map(Some).chain([None]) {
            match (&mut run, counter) {
                (Some((first, count)), Some(counter)) if *first + u64::from(*count) == counter => {
                    *count += 1;
                }
                _ => {
                    if let Some((first, count)) = run {
                        let refusal = refusal.clone();
                        self.out.push(Action::Send(id, Frame::Nack { first, count, refusal }));
                    }
                    run = counter.map(|counter| (counter, 1));
                }
            }
        }
    }

    /// Acknowledges a submit that came before, whatever its sender may do now.
    fn acknowledge_again(&mut self, id: SessionId, instance: InstanceKey, again: Again) {
        let Again { counter, stream: tag, seq, stored, reply_to } = again;
        // The room may have been deleted since: it was stored all the same.
        let Some(stream) = self.known_stream(tag) else {
            let ack = Ack { first: counter, count: 1, seq, members: 0, stored };
            return self.out.push(Action::Send(id, Frame::Ack(ack)));
        };
        let is_committed = seq <= stream.committed();
        // What is not published yet is acknowledged when it is, to the session of that time.
        if seq <= stream.backlog.head() {
            let members = self.others(tag, id);
            let ack = Ack { first: counter, count: 1, seq, members, stored };
            self.out.push(Action::Send(id, Frame::Ack(ack)));
        }
        if let Some(to) = reply_to.filter(|_| is_committed) {
            self.replied(instance, tag, to);
        }
    }

    /// Gives a message its number and puts it on its way.
    pub(super) fn number(
        &mut self,
        now: Now,
        tag: StreamId,
        account: AccountId,
        draft: EntryDraft,
    ) -> u64 {
        let uid = draft.from.uid;
        let to_store = self.stream(tag).is_committed(self.rules.store);
        let stream = &mut self.streams[tag];
        if to_store && stream.in_flight.uncommitted.is_empty() {
            self.commits.add_stream(tag);
        }
        let mut added = Added::default();
        added.count(stream.number(now, to_store, account, draft));
        let seq = stream.numbered;
        self.count_added(now, tag, account, uid, added);
        seq
    }

    /// Charges what was numbered to who said it.
    fn count_added(&mut self, now: Now, tag: StreamId, account: AccountId, uid: u32, added: Added) {
        if added.messages == 0 {
            return;
        }
        let bytes = added.text_bytes + added.messages * MESSAGE_OVERHEAD_BYTES;
        self.accounts.of(account).in_flight_bytes += bytes;
        self.accounts.count_messages(now.mono_us, account, added.messages, added.text_bytes);
        let used = self.accounts.usage.of(uid);
        used.recent += bytes as u64;
        used.messages += added.messages as u64;
        used.bytes += added.text_bytes as u64;
        self.out.counters.messages += added.messages as u64;
        self.follow_crowded(tag);
        self.mark_dirty(tag);
    }

    /// Stops reading from a sender that has enough in flight.
    pub(super) fn hold_back(&mut self, id: SessionId, tag: StreamId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let full = self.streams[tag].in_flight.bytes >= IN_FLIGHT_BYTES_PER_STREAM_MAX
            && !planted(Fault::StreamBytesUnbounded);
        if full && session.waits.is_none() {
            session.waits = Some(Wait::Stream(tag));
            self.streams[tag].in_flight.waiting.push_back(id);
            self.out.push(Action::Pause(id));
        }
    }

    /// Members of a stream other than a session itself.
    pub(super) fn others(&self, tag: StreamId, id: SessionId) -> u32 {
        let is_member = self.sessions.get(&id).is_some_and(|s| s.sub_key(tag).is_some());
        self.stream(tag).members() as u32 - u32::from(is_member)
    }

    /// Returns true if ids of a stream outlive the boot.
    pub(super) fn is_stored(&self, tag: StreamId) -> bool {
        self.rules.persistent && self.stream(tag).is_committed(self.rules.store)
    }

    pub(super) fn stream_key(&self, tag: StreamId) -> StreamKey {
        StreamKey::clone(&self.stream(tag).key)
    }
}

/// Result of an addition to a stream.
#[derive(Default, Clone, Copy)]
struct Added {
    messages: usize,
    text_bytes: usize,
}

impl Added {
    fn count(&mut self, text_bytes: usize) {
        self.messages += 1;
        self.text_bytes += text_bytes;
    }
}

fn no_such_stream() -> Refusal {
    Refusal::new(RefusalCode::Absent, "the stream does not exist")
}

impl Entry {
    /// Returns the message for encoding.
    #[must_use]
    pub fn draft(&self) -> Draft<'_> {
        Draft {
            from: &self.from,
            wall_us: self.wall_us,
            reply_to: self.reply_to,
            to_label: self.to_label.as_ref(),
            notice: self.notice.as_deref(),
            will: self.will,
            origin: self.origin.as_ref().map(|from| from.origin),
            withheld: false,
            text: &self.text,
        }
    }
}
