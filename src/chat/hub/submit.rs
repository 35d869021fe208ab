//! Saying something: submits are numbered once, committed where stored, published as one body.

use std::{rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    Action, Hub,
    instances::{Again, InstanceKey, NewLines},
    notices::withheld,
    quota::{AccountId, Holding, share},
    sessions::Wait,
    stream::{Stream, Topic, Way},
};
use crate::{
    chat::{
        batch::Draft,
        charge::charge_bytes,
        clock::Now,
        event::Event,
        frames::{ANNOUNCEMENTS, Ack, Frame, Submit, SubmitTo},
        member::{EndCause, Member, SessionId},
        message::Notice,
        names::Label,
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        store::{Entry, Record, StreamKey, still_to_be_kept},
        stream_id::StreamTag,
        text::{SharedText, Text},
    },
    faults::{Fault, planted},
    limits::{
        COMMIT_MESSAGES_COMPETING_MAX, COMMIT_MESSAGES_EACH_MIN, DATAGRAM_HEADER_BYTES,
        FRAME_COST_BYTES, FRAME_HEADER_BYTES, HEADS_EVERY_MS, IN_FLIGHT_BYTES_PER_STREAM_MAX,
        RECORDS_RETRY_MS, SEAL_TAG_BYTES, WILLS_UNSAID_MAX,
    },
};

/// What a message costs beside its text while it is in flight.
const MESSAGE_OVERHEAD_BYTES: usize = 400;

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) entry: Entry,
    /// The client instance that submitted it, and its counter.
    submit: Option<(InstanceKey, u64)>,
    account: AccountId,
    bytes: usize,
}

impl Hub {
    /// Reads texts of a session. Each gets one answer: an acknowledgement once it is stored, or a refusal.
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
        let session = &self.sessions[&id];
        let (from, account) = (Arc::clone(&session.member), session.account);
        let instance = session.instance;
        let out = &mut self.out;
        new.retain(|counter, line| {
            let Err(why) = Text::check(line.text) else { return true };
            let refusal = Refusal::new(RefusalCode::Input, why.to_string());
            out.push(Action::Send(id, Frame::Nack { first: counter, count: 1, refusal }));
            false
        });
        if new.is_empty() {
            return;
        }
        let destination = match self.destination(id, submit) {
            Ok(destination) => destination,
            Err(refusal) => {
                return self.refuse(id, new.iter().map(|(counter, _)| counter), &refusal);
            }
        };
        let mut numbered = destination.map_or(0, |tag| self.stream(tag).numbered);
        let out = &mut self.out;
        new.retain(|counter, line| {
            let Some(to) = line.reply_to.filter(|to| *to == 0 || *to > numbered) else {
                numbered += 1;
                return true;
            };
            let text = format!("there is no message {to} to reply to");
            let refusal = Refusal::new(RefusalCode::Absent, text);
            out.push(Action::Send(id, Frame::Nack { first: counter, count: 1, refusal }));
            false
        });
        if new.is_empty() {
            return;
        }
        let tag = match (destination, &submit.to) {
            (Some(tag), _) => Ok(tag),
            (None, SubmitTo::Room(room)) => self.room_for(id, room),
            (None, SubmitTo::Stream(tag)) => match self.promised_to(from.uid, *tag) {
                Some(other) => self.conversation(from.uid, other),
                None => Err(no_such_stream()),
            },
            (None, SubmitTo::Known(_)) => Err(no_such_stream()),
        };
        let tag = match tag {
            Ok(tag) => tag,
            Err(refusal) => {
                return self.refuse(id, new.iter().map(|(counter, _)| counter), &refusal);
            }
        };
        if let (SubmitTo::Room(room), Topic::Room { name, .. }) =
            (&submit.to, &self.stream(tag).topic)
            && name.as_str() != room.as_str()
        {
            let spelled = Event::Spelled(name.clone());
            self.send(id, spelled);
        }
        // The lines share one text: no more of it is kept than is charged for.
        let all: String = new.iter().map(|(_, line)| line.text).collect();
        let all: Arc<str> = all.into();
        let to_store = self.stream(tag).is_committed(self.rules.store);
        let stored = self.is_stored(tag);
        let stream = &mut self.streams[tag];
        if to_store && stream.uncommitted.is_empty() {
            self.committing.push_back(tag);
        }
        let (mut added, mut text_from) = (Added::default(), 0);
        let (mut first, mut first_seq) = (0, 0);
        let mut count = 0;
        for (counter, line) in new.iter() {
            let text = text_from..text_from + line.text.len();
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
                to_label: submit.to_label.clone(),
                notice: None,
                will: None,
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
        self.hold_back(id, tag);
    }

    /// Whether what a user says in a stream may be stored: his part of the history is bounded.
    pub(super) fn may_store(&self, uid: u32, tag: StreamTag) -> Result<(), Refusal> {
        match self.stream(tag).is_committed(self.rules.store) {
            true => self.has_history_left(uid),
            false => Ok(()),
        }
    }

    fn has_history_left(&self, uid: u32) -> Result<(), Refusal> {
        let Some(used) = self.over_history.get(&uid) else { return Ok(()) };
        let text = format!(
            "{} has used the history quota ({used} bytes, history.user_bytes_max) until older \
             messages expire",
            self.called(uid)
        );
        Err(Refusal::new(RefusalCode::Failed, text))
    }

    /// Where the new lines of a submit go, if the session may submit there; none: a room or conversation that its
    /// first message creates.
    fn destination(
        &mut self,
        id: SessionId,
        submit: &Submit<'_>,
    ) -> Result<Option<StreamTag>, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        let tag = match &submit.to {
            SubmitTo::Room(room) => match self.room_named(uid, room) {
                Some(tag) => {
                    self.may_speak(uid, tag)?;
                    tag
                }
                None => return self.begins_by_message(uid),
            },
            SubmitTo::Known(room) => {
                let Some(tag) = self.room_of_id(uid, *room) else {
                    let text = "the room was deleted; the message was not sent";
                    return Err(Refusal::new(RefusalCode::Absent, text));
                };
                self.may_speak(uid, tag)?;
                tag
            }
            SubmitTo::Stream(tag) => match self.stream_of(uid, *tag) {
                // A text for a label is for one user: it is never shown to a room that has the number of that
                // conversation now.
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
    fn begins_by_message(&self, uid: u32) -> Result<Option<StreamTag>, Refusal> {
        if self.rules.store { self.has_history_left(uid) } else { Ok(()) }.map(|()| None)
    }

    /// Whether what is numbered in a destination outlives the boot.
    fn is_persistent(&self, uid: u32, to: &SubmitTo) -> bool {
        let tag = match to {
            SubmitTo::Room(room) => self.room_named(uid, room),
            SubmitTo::Known(room) => self.room_of_id(uid, *room),
            SubmitTo::Stream(tag) => self.stream_of(uid, *tag),
        };
        tag.map_or(self.rules.persistent, |tag| self.is_stored(tag))
    }

    /// Refuses submits, with one frame for consecutive counters.
    fn refuse(&mut self, id: SessionId, counters: impl Iterator<Item = u64>, refusal: &Refusal) {
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
        tag: StreamTag,
        account: AccountId,
        draft: EntryDraft,
    ) -> u64 {
        let uid = draft.from.uid;
        let to_store = self.stream(tag).is_committed(self.rules.store);
        let stream = &mut self.streams[tag];
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
        self.follow_crowded(tag);
        self.mark_dirty(tag);
    }

    /// Stops reading from a sender that has enough in flight.
    pub(super) fn hold_back(&mut self, id: SessionId, tag: StreamTag) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let full = self.streams[tag].in_flight_bytes >= IN_FLIGHT_BYTES_PER_STREAM_MAX
            && !planted(Fault::StreamBytesUnbounded);
        if full && session.waits.is_none() {
            session.waits = Some(Wait::Stream(tag));
            self.streams[tag].waiting.push_back(id);
            self.out.push(Action::Pause(id));
        }
    }

    /// Reads again from senders that waited: one of each account a turn, so that an account with many
    /// sessions gets no more than one with a single session.
    fn let_go_on(&mut self, tag: StreamTag) {
        let stream = &mut self.streams[tag];
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

    /// Hands what waits for the store to it, as one transaction; one at a time. After two failures in a row
    /// records and messages go apart, so that a record that always fails does not stop the messages.
    pub(super) fn commit_next(&mut self, now: Now) {
        if self.commit_running {
            return;
        }
        self.keep_urgent_notices();
        if !self.rules.store {
            // Nothing is stored.
            self.records.clear();
            return;
        }
        let is_due = self.failures == 0 || now.mono_us >= self.retry_records_us;
        let apart = self.failures >= FAILURES_TOGETHER_MAX;
        let mut entries = Vec::new();
        if apart && is_due {
            // An announcement and its state are stored together.
            let waits = self.stream(ANNOUNCEMENTS).uncommitted.is_empty();
            // So are a room's end and that of its announcements.
            self.part_records(|record| {
                let is_gone = matches!(record, Record::RoomGone { .. });
                waits || !(is_gone || record.is_needed_by(&StreamKey::Announcements))
            });
            if self.records.is_empty() {
                self.replies_running.append(&mut self.replies);
            }
        }
        if apart && self.records_running.is_empty() {
            let Some(front) = self.committing.front().copied() else { return };
            let needs_record = |hub: &Self, tag: StreamTag| {
                let key = &hub.stream(tag).key;
                hub.records.iter().any(|record| record.is_needed_by(key))
            };
            // Streams that need a record go alone: the others do not fail with them.
            let alone = needs_record(self, front);
            let goes = self.committing.iter().copied();
            let goes = goes.filter(|tag| match alone {
                true => *tag == front,
                false => !needs_record(self, *tag),
            });
            let goes: Vec<_> = goes.collect();
            let keys: Vec<_> = goes.iter().map(|tag| Arc::clone(&self.stream(*tag).key)).collect();
            self.part_records(|record| keys.iter().any(|key| record.is_needed_by(key)));
            entries = self.entries_to_commit(&goes);
        }
        if !apart {
            let records_go = is_due && !self.records.is_empty();
            if self.committing.is_empty() && !records_go && self.replies.is_empty() {
                if self.records.is_empty() {
                    // Those that were counted were not needed.
                    self.accounts.end_commit(true);
                }
                return;
            }
            self.records_running.append(&mut self.records);
            self.replies_running.append(&mut self.replies);
            let all: Vec<_> = self.committing.iter().copied().collect();
            entries = self.entries_to_commit(&all);
        }
        if !entries.is_empty() {
            let quit = self.instances.take_quit().into_iter();
            let gone = |(uid, instance)| Record::InstanceGone { uid, instance };
            self.records_running.extend(quit.map(gone));
        }
        self.is_all_running = self.records.is_empty();
        if self.is_all_running {
            self.accounts.begin_commit();
        }
        self.commit_running = true;
        self.out.push(Action::Store(self.records_running.clone(), entries));
    }

    /// Divides the records into those of the next transaction and those that wait.
    fn part_records(&mut self, goes: impl FnMut(&Record) -> bool) {
        let records = still_to_be_kept(std::mem::take(&mut self.records));
        (self.records_running, self.records) = records.into_iter().partition(goes);
    }

    /// The messages of these streams that go into the next transaction.
    fn entries_to_commit(&mut self, tags: &[StreamTag]) -> Vec<Entry> {
        let mut entries = Vec::new();
        // While several users speak, nobody waits long for what others said: each has his part of a
        // transaction, over all the rooms where he speaks.
        let speaking = if self.rules.host { self.accounts.speaking() } else { 1 };
        let share = match speaking {
            0 | 1 => usize::MAX,
            several => (COMMIT_MESSAGES_COMPETING_MAX / several).max(COMMIT_MESSAGES_EACH_MIN),
        };
        let mut left: FxHashMap<AccountId, usize> = FxHashMap::default();
        for tag in tags {
            let stream = &mut self.streams[*tag];
            for pending in &stream.uncommitted {
                if share < usize::MAX {
                    let left = left.entry(pending.account).or_insert(share);
                    // What is kept of announcements is in the same transaction as they are.
                    if *left == 0 && *tag != ANNOUNCEMENTS {
                        if planted(Fault::OrderLostInDividedCommit) {
                            continue;
                        }
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
        entries
    }

    /// The store committed what it was handed.
    pub fn stored(&mut self, now: Now) {
        self.commit_running = false;
        self.accounts.end_commit(false);
        for record in self.records_running.drain(..) {
            if let Record::Room { id, .. } = record
                && let Some(tag) = self.room_ids.get(&id)
            {
                self.unstored_rooms.remove(tag);
            }
        }
        if self.is_all_running || self.records.is_empty() {
            self.failures = 0;
        }
        for (id, serial, reply) in std::mem::take(&mut self.replies_running) {
            self.count_waiting(id, false);
            self.out.push(Action::Send(id, Frame::Reply { serial, result: Ok(reply) }));
        }
        self.answer_held(now);
        for tag in std::mem::take(&mut self.committing) {
            let stream = self.stream_mut(tag);
            let committed = std::mem::take(&mut stream.committing);
            let reply = |pending: &Pending| Some((pending.submit?.0, pending.entry.reply_to?));
            let replies: Vec<_> =
                stream.uncommitted.iter().take(committed).filter_map(reply).collect();
            stream.ready.extend(stream.uncommitted.drain(..committed));
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

    /// The store failed: nothing of the transaction is stored. Its records are tried again, its messages are
    /// refused.
    pub fn store_failed(&mut self, now: Now, why: &str) {
        self.commit_running = false;
        // Records that are tried again hold up no requests.
        self.accounts.end_commit(true);
        self.failures = self.failures.saturating_add(1);
        self.retry_records_us = now.mono_us + RECORDS_RETRY_MS * 1000;
        let mut records = std::mem::take(&mut self.records_running);
        if planted(Fault::FailedChangeDropped) {
            records.clear();
        }
        records.append(&mut self.records);
        for record in &records {
            if let Record::Receipt(receipt) = record {
                self.receipt_failed(receipt.number);
            }
        }
        self.records = still_to_be_kept(records);
        // What waits for records of its own may wait long: the store fails.
        let mut replies = std::mem::take(&mut self.replies_running);
        if self.failures >= FAILURES_TOGETHER_MAX {
            replies.append(&mut self.replies);
        }
        for (id, serial, reply) in replies {
            self.count_waiting(id, false);
            if planted(Fault::FailedChangeReportedSaved) {
                self.out.push(Action::Send(id, Frame::Reply { serial, result: Ok(reply) }));
                continue;
            }
            let text =
                format!("the change is active but not saved yet ({why}); the server will retry");
            let result = Err(Refusal::new(RefusalCode::Failed, text));
            self.out.push(Action::Send(id, Frame::Reply { serial, result }));
        }
        self.answer_held(now);
        for tag in std::mem::take(&mut self.committing) {
            // Messages that were not in the transaction wait for the next one.
            match self.stream(tag).committing {
                0 => self.committing.push_back(tag),
                _ => self.take_back(now, tag, why),
            }
        }
        self.end_turn(now);
    }

    /// Takes back the messages of a stream of which one could not be stored: all that they took (numbers,
    /// bytes in flight, counters, figures) is as it was before they came, and each sender is notified. Later
    /// ones go with them, because their numbers follow. Only the rate limit still counts them: a user whose
    /// messages fail may not send more of them.
    fn take_back(&mut self, now: Now, tag: StreamTag, why: &str) {
        let stream = self.stream_mut(tag);
        stream.committing = 0;
        let refused = Vec::from(std::mem::take(&mut stream.uncommitted));
        stream.numbered -= refused.len() as u64;
        if !planted(Fault::FailedCommitKeepsBytes) {
            self.release(tag, &refused);
        }
        self.jobs_not_stored(tag, why);
        for pending in refused {
            self.counters.messages -= 1;
            let used = self.used(pending.entry.from.uid);
            used.messages = used.messages.saturating_sub(1);
            used.bytes = used.bytes.saturating_sub(pending.entry.text.len() as u64);
            if tag == ANNOUNCEMENTS {
                self.announcing_failed(now, pending.entry.seq, why);
            }
            if pending.entry.will.is_some() && self.may_keep_will(pending.entry.from.uid) {
                self.unsaid_wills.push((tag, pending));
                continue;
            }
            let Some((instance, counter)) = pending.submit else { continue };
            if let Some(session) = self.instances.not_stored(instance, counter) {
                let refusal = Refusal::new(RefusalCode::Failed, why);
                self.refuse(session, std::iter::once(counter), &refusal);
            }
        }
        self.mark_dirty(tag);
        self.free_conversation(tag);
    }

    /// Whether one more last will of a user may be kept for later.
    fn may_keep_will(&self, uid: u32) -> bool {
        let kept = self.unsaid_wills.iter().map(|(_, pending)| (pending.entry.from.uid, 1));
        let holding = Holding::of(uid, kept);
        // Some are left for whoever comes next.
        let free = WILLS_UNSAID_MAX.saturating_sub(holding.own + holding.others_have);
        free > 0 && holding.own < share(free, holding.own, holding.others + 1)
    }

    /// Says last wills again whose commits failed: nobody else will.
    pub(super) fn say_unsaid_wills(&mut self, now: Now) {
        if self.unsaid_wills.is_empty() || now.mono_us < self.retry_records_us {
            return;
        }
        for (tag, pending) in std::mem::take(&mut self.unsaid_wills) {
            if self.known_stream(tag).is_none() || self.is_ending(tag) {
                continue;
            }
            let Pending { entry, account, .. } = pending;
            let draft = EntryDraft {
                from: entry.from,
                reply_to: None,
                to_label: None,
                notice: None,
                will: entry.will,
                text: entry.text,
                submit: None,
            };
            self.number(now, tag, account, draft);
        }
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
        let stream = &mut self.streams[tag];
        if stream.blocked_since_us.is_some() && !stream.window_is_open(stream.blocked_charge) {
            return self.wake_watching(tag);
        }
        while let Some(body_bytes) = self.build(tag) {
            if !self.publish_body(now, tag, body_bytes) {
                break;
            }
        }
        self.probe(now, tag);
        self.wake_watching(tag);
        if self.stream(tag).backlog.head() > before {
            self.wake_pulling(tag);
            self.jobs_published(now, tag);
        }
        self.let_go_on(tag);
    }

    /// Wakes those who want to know of joins and leaves, once for all of a turn.
    fn wake_watching(&mut self, tag: StreamTag) {
        for session in self.stream_mut(tag).take_membership_news() {
            self.wake(session);
        }
    }

    /// Encodes as many ready messages as go into one body; none if nothing is ready.
    fn build(&mut self, tag: StreamTag) -> Option<usize> {
        let stream = &self.streams[tag];
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
        let stream = &mut self.streams[tag];
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
        let stream = &mut self.streams[tag];
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
        let stream = &mut self.streams[tag];
        let last_us = last.entry.wall_us;
        let bytes_before = stream.backlog.bytes();
        stream.backlog.push(last.entry.seq, Rc::clone(&frame), charge, last_us, secret);
        if !self.rules.persistent || !stream.is_committed(self.rules.store) {
            let texts = done.iter().map(|pending| (pending.entry.seq, &*pending.entry.text));
            stream.backlog.note_mentions(texts);
        }
        let added = stream.backlog.bytes().saturating_sub(bytes_before);
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
        self.limit_backlogs(added);
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
        for (_, sub) in &mut self.streams[tag].subs {
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
            let Some((instance, counter)) = pending.submit else { continue };
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
        let Some(session) = self.instances.session_of(instance) else { return };
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

/// Failed transactions in a row after which records and messages go apart.
const FAILURES_TOGETHER_MAX: u32 = 2;

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
            submit: draft.submit.and_then(|(key, counter)| Some((key.stored_as()?, counter))),
        };
        self.in_flight_bytes += bytes;
        let pending = Pending { entry, submit: draft.submit, account, bytes };
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
    pub(super) submit: Option<(InstanceKey, u64)>,
}

fn no_such_stream() -> Refusal {
    Refusal::new(RefusalCode::Absent, "no such stream")
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
