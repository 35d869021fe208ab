//! Saying something: submits are numbered once, committed where stored, published as one body.

use std::{rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    ANNOUNCEMENTS, Ack, Action, Frame, Hub, Now,
    instances::InstanceKey,
    notices::withheld,
    quota::AccountId,
    restored::still_to_be_kept,
    session::Wait,
    stream::{Stream, Topic, Way},
};
use crate::{
    chat::{
        batch::Draft,
        charge::charge_bytes,
        member::{EndCause, Member, SessionId},
        message::Notice,
        names::{Label, RoomName},
        text::{SharedText, Text},
        verbs::{Event, Refusal, RefusalCode, Reply, RoomId, StreamTag},
    },
    limits::{
        COMMIT_MESSAGES_COMPETING_MAX, COMMIT_MESSAGES_EACH_MIN, DATAGRAM_HEADER_BYTES,
        FRAME_COST_BYTES, FRAME_HEADER_BYTES, HEADS_EVERY_MS, IN_FLIGHT_BYTES_PER_STREAM_MAX,
        RECORDS_RETRY_MS, SEAL_TAG_BYTES,
    },
};

/// What a message costs beside its text while it is in flight.
const MESSAGE_OVERHEAD_BYTES: usize = 400;

/// Where submits go.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SubmitTo {
    /// A stream that was opened or joined.
    Stream(StreamTag),
    /// A room by name; it comes into being by this.
    Room(RoomName),
    /// The room of that identity, and no other room of its name.
    Known(RoomId),
}

/// One text of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Number of the message in the stream that it replies to.
    pub reply_to: Option<u64>,
    /// What to say.
    pub text: &'a str,
}

/// Texts for one stream with consecutive counters of one client instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submit<'a> {
    /// Counter of the first text; rises by one a text.
    pub first: u64,
    /// Where they go.
    pub to: SubmitTo,
    /// Sessions of the addressed user that they are for.
    pub to_label: Option<Label>,
    /// The texts.
    pub lines: Vec<Line<'a>>,
}

/// Which stream a stored message belongs to, good for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StreamKey {
    /// A room.
    Room(RoomName),
    /// A conversation of two user ids, the smaller first.
    Conversation(u32, u32),
    /// The announcements.
    Announcements,
}

/// A numbered message on its way to the store and into the backlog. A copy shares what is large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its stream.
    pub stream: Arc<StreamKey>,
    /// Its number there.
    pub seq: u64,
    /// Wall clock when it was numbered, microseconds since 1970.
    pub wall_us: i64,
    /// Who said it.
    pub from: Arc<Member>,
    /// Number of the message it replies to.
    pub reply_to: Option<u64>,
    /// Sessions of the addressed user that it is for.
    pub to_label: Option<Label>,
    /// Present in announcements.
    pub notice: Option<Box<Notice>>,
    /// How the session ended for which the server says it.
    pub will: Option<EndCause>,
    /// What was said.
    pub text: SharedText,
    /// The client instance and its counter, to be kept with the message.
    pub submit: Option<([u8; 16], u64)>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) entry: Entry,
    account: AccountId,
    bytes: usize,
}

impl Pending {
    /// The client instance that submitted it, and its counter.
    fn instance(&self) -> Option<(InstanceKey, u64)> {
        let (instance, counter) = self.entry.submit?;
        Some((InstanceKey { uid: self.entry.from.uid, instance }, counter))
    }
}

impl Hub {
    /// Takes texts of a session. Each is acknowledged or refused, once; those that stand, in order.
    pub fn submit(&mut self, now: Now, id: SessionId, submit: &Submit<'_>) {
        self.active(now, id);
        let Some(session) = self.sessions.get(&id) else { return };
        let from = Arc::clone(&session.member);
        let instance = session.instance;
        let tag = match self.submit_stream(id, submit) {
            Ok(tag) => tag,
            Err(refusal) => return self.refuse(id, submit.first, submit.lines.len(), refusal),
        };
        if let Err(refusal) = self.may_store(from.uid, tag) {
            return self.refuse(id, submit.first, submit.lines.len(), refusal);
        }
        if self.is_ending(tag) {
            let refusal = Refusal::new(RefusalCode::Absent, "the room is being deleted");
            return self.refuse(id, submit.first, submit.lines.len(), refusal);
        }
        // Many short texts are as much work as few long ones.
        let account = self.sessions[&id].account;
        self.accounts.charge(account, submit.lines.len() * FRAME_COST_BYTES);
        let (mut again, mut replied) = (Vec::new(), Vec::new());
        let to_store = self.stream(tag).is_committed(self.rules.store);
        let stream = &mut self.streams[tag.0 as usize];
        let mut known = self.instances.known.get_mut(&instance);
        // Those that are new share one text: no more of it is kept than is charged for.
        let mut new = Vec::with_capacity(submit.lines.len());
        let mut all = String::with_capacity(submit.lines.iter().map(|line| line.text.len()).sum());
        for (counter, line) in (submit.first..).zip(&submit.lines) {
            let refused = if let Err(refusal) = Text::check(line.text) {
                Some(Refusal::new(RefusalCode::Input, refusal.to_string()))
            } else if let Some(known) = &mut known
                && known.was_submitted(counter)
            {
                again.push(counter);
                let of_room = known.find(counter).filter(|(of, _)| *of == tag);
                if of_room.is_some_and(|(_, seq)| seq <= stream.committed()) {
                    replied.extend(line.reply_to);
                }
                continue;
            } else {
                let numbered = stream.numbered + new.len() as u64;
                line.reply_to.filter(|to| *to == 0 || *to > numbered).map(|to| {
                    let text = format!("there is no message {to} to reply to");
                    Refusal::new(RefusalCode::Absent, text)
                })
            };
            if let Some(refusal) = refused {
                self.out.push(Action::Send(id, Frame::Nack { first: counter, count: 1, refusal }));
                continue;
            }
            if !to_store {
                replied.extend(line.reply_to);
            }
            new.push((counter, line.reply_to, all.len()..all.len() + line.text.len()));
            all.push_str(line.text);
        }
        let all: Arc<str> = all.into();
        let mut added = Added::default();
        if to_store && stream.uncommitted.is_empty() && !new.is_empty() {
            self.committing.push_back(tag);
        }
        for (counter, reply_to, text) in new {
            if let Some(known) = &mut known {
                known.note(counter, tag, stream.numbered + 1);
            }
            let draft = EntryDraft {
                from: Arc::clone(&from),
                reply_to,
                to_label: submit.to_label.clone(),
                notice: None,
                will: None,
                text: SharedText::part(&all, text),
                submit: Some((instance.instance, counter)),
            };
            added.count(stream.number(now, to_store, account, draft));
        }
        self.count_added(now, tag, account, from.uid, added);
        for counter in again {
            self.answer_again(id, instance, counter);
        }
        for to in replied {
            self.replied(instance, tag, to);
        }
        self.hold_back(id, tag);
    }

    /// Whether what a user says in a stream may be stored: his part of the history is bounded.
    pub(super) fn may_store(&self, uid: u32, tag: StreamTag) -> Result<(), Refusal> {
        let used = self.over_history.get(&uid);
        let Some(used) = used.filter(|_| self.stream(tag).is_committed(self.rules.store)) else {
            return Ok(());
        };
        let text = format!(
            "what {} said takes {used} bytes of the history, which is as much as one user may have \
             (history.user_bytes_max); older messages have to go first",
            self.called(uid)
        );
        Err(Refusal::new(RefusalCode::Failed, text))
    }

    fn submit_stream(&mut self, id: SessionId, submit: &Submit<'_>) -> Result<StreamTag, Refusal> {
        match &submit.to {
            SubmitTo::Room(room) => {
                let tag = self.room_for(id, room)?;
                self.may_speak(self.sessions[&id].peer.uid, tag)?;
                if let Topic::Room { name, .. } = &self.stream(tag).topic
                    && name.as_str() != room.as_str()
                {
                    let spelled = Event::Spelled(name.clone());
                    self.send(id, spelled);
                }
                Ok(tag)
            }
            SubmitTo::Known(room) => {
                let uid = self.sessions[&id].peer.uid;
                let Some(tag) = self.room_of_id(uid, *room) else {
                    let text = "the room was deleted; the message was not sent";
                    return Err(Refusal::new(RefusalCode::Absent, text));
                };
                self.may_speak(uid, tag).map(|()| tag)
            }
            SubmitTo::Stream(tag) => {
                let uid = self.sessions[&id].peer.uid;
                match self.known_stream(*tag).map(|s| &s.topic) {
                    Some(Topic::Room { .. }) if self.exists_for(uid, *tag) => {
                        self.may_speak(uid, *tag).map(|()| *tag)
                    }
                    Some(Topic::Conversation { low, high }) if uid == *low || uid == *high => {
                        Ok(*tag)
                    }
                    Some(_) | None => Err(Refusal::new(RefusalCode::Absent, "no such stream")),
                }
            }
        }
    }

    fn refuse(&mut self, id: SessionId, first: u64, count: usize, refusal: Refusal) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.out.push(Action::Send(id, Frame::Nack { first, count, refusal }));
    }

    /// Answers a submit that came before.
    fn answer_again(&mut self, id: SessionId, instance: InstanceKey, counter: u64) {
        let known = self.instances.known.get(&instance);
        let Some((tag, seq)) = known.and_then(|known| known.find(counter)) else {
            let text = "this message was submitted too long ago to tell whether it was stored";
            return self.refuse(id, counter, 1, Refusal::new(RefusalCode::UnknownSubmit, text));
        };
        // What is not published yet is acknowledged when it is, to the session of that time.
        // The room may have been deleted since: it was stored all the same.
        let Some(stream) = self.known_stream(tag) else {
            let ack = Ack { first: counter, count: 1, seq, members: 0, stored: true };
            return self.out.push(Action::Send(id, Frame::Ack(ack)));
        };
        if seq <= stream.backlog.head() {
            let (members, stored) = (self.others(tag, id), self.is_stored(tag));
            let ack = Ack { first: counter, count: 1, seq, members, stored };
            self.out.push(Action::Send(id, Frame::Ack(ack)));
        }
    }

    /// Gives a message its number and puts it on its way.
    pub(super) fn number(
        &mut self,
        now: Now,
        tag: StreamTag,
        account: AccountId,
        draft: EntryDraft,
    ) -> u64 {
        let uid = draft.from.uid;
        let to_store = self.stream(tag).is_committed(self.rules.store);
        let stream = &mut self.streams[tag.0 as usize];
        if to_store && stream.uncommitted.is_empty() {
            self.committing.push_back(tag);
        }
        let mut added = Added::default();
        added.count(stream.number(now, to_store, account, draft));
        let seq = stream.numbered;
        self.count_added(now, tag, account, uid, added);
        seq
    }

    /// Charges what was numbered to who said it.
    fn count_added(
        &mut self,
        now: Now,
        tag: StreamTag,
        account: AccountId,
        uid: u32,
        added: Added,
    ) {
        if added.messages == 0 {
            return;
        }
        let bytes = added.text_bytes + added.messages * MESSAGE_OVERHEAD_BYTES;
        self.accounts.of(account).in_flight_bytes += bytes;
        self.accounts.count_messages(now.mono_us, account, added.messages, added.text_bytes);
        let used = self.used(uid);
        used.recent += bytes as u64;
        used.messages += added.messages as u64;
        used.bytes += added.text_bytes as u64;
        self.counters.messages += added.messages as u64;
        self.mark_dirty(tag);
    }

    /// Stops reading from a sender that has enough in flight.
    pub(super) fn hold_back(&mut self, id: SessionId, tag: StreamTag) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let full = self.streams[tag.0 as usize].in_flight_bytes >= IN_FLIGHT_BYTES_PER_STREAM_MAX;
        if full && session.waits.is_none() {
            session.waits = Some(Wait::Stream(tag));
            self.streams[tag.0 as usize].waiting.push_back(id);
            self.out.push(Action::Pause(id));
        }
    }

    /// Reads again from senders that waited: one of each account a turn, so that an account with many
    /// sessions gets no more than one with a single session.
    fn let_go_on(&mut self, tag: StreamTag) {
        let stream = &mut self.streams[tag.0 as usize];
        if stream.waiting.is_empty() || stream.in_flight_bytes > IN_FLIGHT_BYTES_PER_STREAM_MAX / 2
        {
            return;
        }
        let (mut served, mut free): (Vec<AccountId>, _) = (Vec::new(), Vec::new());
        for _ in 0..stream.waiting.len() {
            let Some(id) = stream.waiting.pop_front() else { break };
            let Some(session) = self.sessions.get(&id) else { continue };
            if served.contains(&session.account) {
                stream.waiting.push_back(id);
                continue;
            }
            served.push(session.account);
            free.push(id);
        }
        for id in free {
            self.let_go(id, Wait::Stream(tag));
        }
    }

    /// Whether anything is still to be kept.
    #[must_use]
    pub fn is_keeping(&self) -> bool {
        self.rules.store && (self.commit_running || !self.records.is_empty())
    }

    /// Hands everything that waits for the store to it, as one transaction; one at a time.
    pub(super) fn commit_next(&mut self) {
        if !self.commit_running {
            self.keep_urgent_notices();
        }
        let nothing = self.committing.is_empty() && self.records.is_empty();
        if self.commit_running || (nothing && self.replies.is_empty()) {
            return;
        }
        if !self.rules.store {
            // Nothing is kept.
            self.records.clear();
            return;
        }
        self.replies_running.append(&mut self.replies);
        let mut entries = Vec::new();
        // While several users speak, nobody waits long for what others said: each has his part of a
        // transaction, over all the rooms where he speaks.
        let speaking = if self.rules.host { self.accounts.speaking() } else { 1 };
        let share = match speaking {
            0 | 1 => usize::MAX,
            several => (COMMIT_MESSAGES_COMPETING_MAX / several).max(COMMIT_MESSAGES_EACH_MIN),
        };
        let mut left: FxHashMap<AccountId, usize> = FxHashMap::default();
        for tag in &self.committing {
            let stream = &mut self.streams[tag.0 as usize];
            stream.committing = 0;
            for pending in &stream.uncommitted {
                if share < usize::MAX {
                    let left = left.entry(pending.account).or_insert(share);
                    // What is kept of announcements is in the same transaction as they are.
                    if *left == 0 && *tag != ANNOUNCEMENTS {
                        // What comes after it in this room keeps its order.
                        break;
                    }
                    *left = left.saturating_sub(1);
                }
                stream.committing += 1;
                entries.push(pending.entry.clone());
            }
        }
        // Those who come first now come last the next time.
        self.committing.rotate_left(1.min(self.committing.len()));
        self.commit_running = true;
        self.records_running.append(&mut self.records);
        self.out.push(Action::Store(self.records_running.clone(), entries));
    }

    /// The store committed what it was handed.
    pub fn stored(&mut self, now: Now) {
        self.commit_running = false;
        self.records_running.clear();
        for (id, serial, reply) in std::mem::take(&mut self.replies_running) {
            self.count_waiting(id, false);
            self.out.push(Action::Send(id, Frame::Reply { serial, result: Ok(reply) }));
        }
        for tag in std::mem::take(&mut self.committing) {
            let stream = self.stream_mut(tag);
            let committed = stream.committing;
            let reply = |pending: &Pending| Some((pending.instance()?.0, pending.entry.reply_to?));
            let replies: Vec<_> =
                stream.uncommitted.iter().take(committed).filter_map(reply).collect();
            stream.ready.extend(stream.uncommitted.drain(..committed));
            stream.committing = 0;
            if !stream.uncommitted.is_empty() {
                self.committing.push_back(tag);
            }
            self.mark_dirty(tag);
            for (instance, to) in replies {
                self.replied(instance, tag, to);
            }
        }
        self.end_turn(now);
    }

    /// The store failed: nothing of it stands, the numbers are free again, each sender is told.
    pub fn store_failed(&mut self, now: Now, why: &str) {
        self.commit_running = false;
        self.retry_records_us = now.mono_us + RECORDS_RETRY_MS * 1000;
        self.records_running = still_to_be_kept(std::mem::take(&mut self.records_running));
        for (id, serial, _) in std::mem::take(&mut self.replies_running) {
            self.count_waiting(id, false);
            let text = format!("it is so for now, but not kept yet: {why}");
            let result = Err(Refusal::new(RefusalCode::Failed, text));
            self.out.push(Action::Send(id, Frame::Reply { serial, result }));
        }
        for tag in std::mem::take(&mut self.committing) {
            let stream = self.stream_mut(tag);
            stream.committing = 0;
            let refused = Vec::from(std::mem::take(&mut stream.uncommitted));
            stream.numbered -= refused.len() as u64;
            self.release(tag, &refused);
            self.jobs_not_stored(tag, why);
            for pending in refused {
                self.counters.messages -= 1;
                if tag == ANNOUNCEMENTS {
                    self.announcing_failed(now, pending.entry.seq, why);
                }
                let Some((instance, counter)) = pending.instance() else { continue };
                let Some(known) = self.instances.known.get_mut(&instance) else { continue };
                known.forget(counter);
                // Who came back and has not submitted it again yet will do so, and finds it new.
                if let Some(session) = known.session.filter(|_| known.submitted >= counter) {
                    self.refuse(session, counter, 1, Refusal::new(RefusalCode::Failed, why));
                }
            }
            self.mark_dirty(tag);
        }
        self.end_turn(now);
    }

    /// Answers a request: at once if nothing is to be kept, else when that is kept. What changed nothing may
    /// repeat what is still on its way.
    pub(super) fn reply_when_kept(&mut self, id: SessionId, serial: u32, reply: Reply) {
        let new = !self.records.is_empty() || !self.urgent_notices.is_empty();
        if !self.rules.store || (!new && self.records_running.is_empty()) {
            self.out.push(Action::Send(id, Frame::Reply { serial, result: Ok(reply) }));
        } else if !new && self.commit_running {
            self.replies_running.push((id, serial, reply));
            self.count_waiting(id, true);
        } else {
            self.replies.push((id, serial, reply));
            self.count_waiting(id, true);
        }
    }

    /// Requests of a session that are answered later.
    pub(super) fn waiting_replies(&self, id: SessionId) -> usize {
        self.replies_of.get(&id).copied().unwrap_or(0)
    }

    /// Counts a request of a session that is answered later, or was.
    pub(super) fn count_waiting(&mut self, id: SessionId, waits: bool) {
        let count = self.replies_of.entry(id).or_default();
        *count = if waits { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.replies_of.remove(&id);
        }
    }

    /// What could not be kept is tried again, also when nothing is said.
    pub(super) fn retry_records(&mut self, now: Now) {
        let due = !self.records_running.is_empty() && now.mono_us >= self.retry_records_us;
        if !self.commit_running && self.records.is_empty() && due {
            self.records = std::mem::take(&mut self.records_running);
        }
    }

    /// Gives back what messages that were published or refused took.
    fn release(&mut self, tag: StreamTag, done: &[Pending]) {
        let mut all = 0;
        for of_one in done.chunk_by(|a, b| a.account == b.account) {
            let bytes = of_one.iter().map(|pending| pending.bytes).sum();
            self.accounts.release(of_one[0].account, bytes);
            all += bytes;
        }
        self.stream_mut(tag).in_flight_bytes -= all;
    }

    /// Puts what is ready into the backlog, as large bodies, while the window is open.
    pub(super) fn publish(&mut self, now: Now, tag: StreamTag) {
        let before = self.stream(tag).backlog.head();
        // While the window is shut, do not encode again and again what can't go.
        let stream = &mut self.streams[tag.0 as usize];
        if stream.blocked_since_us.is_some() && !stream.window_is_open(stream.blocked_charge) {
            return;
        }
        while let Some(body_bytes) = self.build(tag) {
            if !self.publish_body(now, tag, body_bytes) {
                break;
            }
        }
        self.probe(now, tag);
        if self.stream(tag).backlog.head() > before {
            self.wake_pulling(tag);
            self.jobs_published(now, tag);
        }
        self.let_go_on(tag);
    }

    /// Encodes as many ready messages as go into one body; none if nothing is ready.
    fn build(&mut self, tag: StreamTag) -> Option<usize> {
        let stream = &self.streams[tag.0 as usize];
        let first = stream.ready.front()?.entry.seq;
        self.builder.begin(FRAME_HEADER_BYTES, tag, first);
        for pending in &stream.ready {
            // What is for some only stands alone.
            let secret = |seq| tag == ANNOUNCEMENTS && self.secret_room(seq).is_some();
            if pending.entry.seq > first && (secret(first) || secret(pending.entry.seq)) {
                break;
            }
            if pending.entry.from.session == SessionId(0) {
                // Sessions of another run: each speaks for itself.
                self.builder.retire(SessionId(0));
            }
            if !self.builder.push(FRAME_HEADER_BYTES, &pending.entry.draft()) {
                break;
            }
        }
        Some(self.builder.bytes().len() - FRAME_HEADER_BYTES)
    }

    fn publish_body(&mut self, now: Now, tag: StreamTag, body_bytes: usize) -> bool {
        let charge = charge_bytes(DATAGRAM_HEADER_BYTES + body_bytes + SEAL_TAG_BYTES);
        let stream = &mut self.streams[tag.0 as usize];
        if !stream.window_is_open(charge) {
            stream.blocked_since_us.get_or_insert(now.mono_us);
            stream.blocked_charge = charge;
            return false;
        }
        stream.blocked_since_us = None;
        if now.mono_us.saturating_sub(stream.published_us) >= HEADS_EVERY_MS * 1000 {
            stream.busy_since_us = now.mono_us;
        }
        stream.published_us = now.mono_us;
        self.unread_changed = true;
        let stream = &mut self.streams[tag.0 as usize];
        let header = (self.rules.batch_header)(body_bytes);
        self.builder.bytes_mut()[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        let frame: Rc<[u8]> = self.builder.bytes().into();
        let count = self.builder.count() as usize;
        // Taken out for this time, so that it can be looked at while the rest changes.
        let mut ready = std::mem::take(&mut stream.ready);
        let (done, _) = ready.as_mut_slices();
        let done: &[Pending] = match done.get(..count) {
            Some(done) => done,
            None => &ready.make_contiguous()[..count],
        };
        let (Some(first), Some(last)) = (done.first(), done.last()) else { return false };
        assert_eq!(first.entry.seq, stream.backlog.head() + 1, "no number is left out");
        let secret = if tag == ANNOUNCEMENTS { self.secret_of(&first.entry) } else { None };
        let is_secret = secret.is_some();
        let stream = &mut self.streams[tag.0 as usize];
        let last_us = last.entry.wall_us;
        stream.backlog.push(last.entry.seq, Rc::clone(&frame), charge, last_us, secret);
        if is_secret {
            stream.aside += 1;
            self.send_by_session(tag, last.entry.seq);
        } else if stream.broadcast_subs > 0 {
            // A probe is any datagram: this one will do.
            stream.probe_due = false;
            self.counters.broadcast_sent += 1;
            self.out.push(Action::Publish(tag, frame));
        }
        self.acknowledge(tag, done);
        self.release(tag, done);
        if tag == ANNOUNCEMENTS {
            for pending in done {
                self.announced(pending.entry.seq);
            }
        }
        ready.drain(..count);
        let stream = self.stream_mut(tag);
        debug_assert!(stream.ready.is_empty(), "nothing is numbered while a body is published");
        stream.ready = ready;
        true
    }

    /// What an announcement for a private room is for all others, and that room.
    fn secret_of(&mut self, entry: &Entry) -> Option<(StreamTag, Rc<[u8]>)> {
        let room = self.secret_room(entry.seq)?;
        // A number without a text always fits.
        withheld(entry, &mut self.builder, FRAME_HEADER_BYTES);
        let header = (self.rules.batch_header)(self.builder.bytes().len() - FRAME_HEADER_BYTES);
        self.builder.bytes_mut()[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        Some((room, self.builder.bytes().into()))
    }

    /// A number that does not go on the broadcast channel goes by session, to everybody.
    fn send_by_session(&mut self, tag: StreamTag, seq: u64) {
        let mut wake = Vec::new();
        for (_, sub) in &mut self.streams[tag.0 as usize].subs {
            if sub.way == Way::Broadcast {
                let (first, last) = sub.repair.unwrap_or((seq, seq));
                sub.repair = Some((first.min(seq), last.max(seq)));
                wake.push(sub.session);
            }
        }
        for session in wake {
            self.wake(session);
        }
    }

    /// Tells the senders of some consecutive messages that they stand, few frames for many.
    fn acknowledge(&mut self, tag: StreamTag, done: &[Pending]) {
        let stored = self.is_stored(tag);
        let mut open: Option<(InstanceKey, Ack)> = None;
        for pending in done {
            let Some((instance, counter)) = pending.instance() else { continue };
            match &mut open {
                Some((of, ack))
                    if *of == instance
                        && ack.first + u64::from(ack.count) == counter
                        && ack.seq + u64::from(ack.count) == pending.entry.seq =>
                {
                    ack.count += 1;
                }
                Some(_) | None => {
                    self.tell_ack(tag, open.take());
                    let seq = pending.entry.seq;
                    open =
                        Some((instance, Ack { first: counter, count: 1, seq, members: 0, stored }));
                }
            }
        }
        self.tell_ack(tag, open);
    }

    fn tell_ack(&mut self, tag: StreamTag, ack: Option<(InstanceKey, Ack)>) {
        let Some((instance, mut ack)) = ack else { return };
        let Some(session) = self.instances.known.get(&instance).and_then(|i| i.session) else {
            return;
        };
        ack.members = self.others(tag, session);
        self.out.push(Action::Send(session, Frame::Ack(ack)));
    }

    /// Members of a stream other than a session itself.
    pub(super) fn others(&self, tag: StreamTag, id: SessionId) -> u32 {
        let is_member = self.sessions.get(&id).is_some_and(|s| s.sub_key(tag).is_some());
        self.stream(tag).members - u32::from(is_member)
    }

    /// Whether ids of a stream outlive the run.
    pub(super) fn is_stored(&self, tag: StreamTag) -> bool {
        self.rules.persistent && self.stream(tag).is_committed(self.rules.store)
    }

    pub(super) fn stream_key(&self, tag: StreamTag) -> StreamKey {
        StreamKey::clone(&self.stream(tag).key)
    }

    /// Wakes members that are served by session and have something to pull.
    pub(super) fn wake_pulling(&mut self, tag: StreamTag) {
        let stream = self.stream(tag);
        if stream.broadcast_subs == stream.subs.len() {
            return;
        }
        let sessions: Vec<_> = pulling(stream).collect();
        for session in sessions {
            self.wake(session);
        }
    }
}

fn pulling(stream: &Stream) -> impl Iterator<Item = SessionId> + '_ {
    let head = stream.backlog.head();
    let behind = move |s: &&super::stream::Sub| s.way == Way::Session && s.next_push <= head;
    stream.subs.iter().map(|(_, sub)| sub).filter(behind).map(|s| s.session)
}

/// What was added to a stream.
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

impl Stream {
    /// Gives a message its number and puts it on its way; gives the length of its text.
    fn number(&mut self, now: Now, to_store: bool, account: AccountId, draft: EntryDraft) -> usize {
        self.numbered += 1;
        let text_bytes = draft.text.len();
        let bytes = text_bytes + MESSAGE_OVERHEAD_BYTES;
        let entry = Entry {
            stream: Arc::clone(&self.key),
            seq: self.numbered,
            wall_us: now.wall_us,
            from: draft.from,
            reply_to: draft.reply_to,
            to_label: draft.to_label,
            notice: draft.notice,
            will: draft.will,
            text: draft.text,
            submit: draft.submit,
        };
        self.in_flight_bytes += bytes;
        let pending = Pending { entry, account, bytes };
        if to_store {
            self.uncommitted.push_back(pending);
        } else {
            self.ready.push_back(pending);
        }
        text_bytes
    }
}

/// A message before it has its number.
pub(super) struct EntryDraft {
    pub(super) from: Arc<Member>,
    pub(super) reply_to: Option<u64>,
    pub(super) to_label: Option<Label>,
    pub(super) notice: Option<Box<Notice>>,
    pub(super) will: Option<EndCause>,
    pub(super) text: SharedText,
    pub(super) submit: Option<([u8; 16], u64)>,
}

impl Entry {
    /// The same, to be encoded.
    #[must_use]
    pub fn draft(&self) -> Draft<'_> {
        Draft {
            from: &self.from,
            wall_us: self.wall_us,
            reply_to: self.reply_to,
            to_label: self.to_label.as_ref(),
            notice: self.notice.as_deref(),
            will: self.will,
            withheld: false,
            text: &self.text,
        }
    }
}
