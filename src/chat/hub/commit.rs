//! Commits: what was numbered goes to the store, one transaction at a time.

use rustc_hash::FxHashMap;

use super::{
    Action, Hub,
    accounts::AccountId,
    commits::{Failed, LateReply},
    pending::{EntryDraft, Pending},
};
use crate::{
    chat::{
        clock::Now,
        frames::{ANNOUNCEMENTS, Frame},
        member::SessionId,
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        store::{Entry, Record, StreamKey},
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{COMMIT_MESSAGES_COMPETING_MAX, COMMIT_MESSAGES_EACH_MIN},
};

impl Hub {
    /// Returns true if something is still to be stored.
    #[must_use]
    pub fn is_keeping(&self) -> bool {
        self.rules.store && self.commits.is_busy()
    }

    /// Hands what waits for the store to it, as one transaction; one at a time.
    pub(super) fn commit_next(&mut self, now: Now) {
        if self.commits.is_running() {
            return;
        }
        self.keep_urgent_notices();
        if !self.rules.store {
            return self.commits.clear();
        }
        let is_due = self.commits.is_due(now.mono_us);
        let streams = match self.commits.is_divided() {
            true => self.choose_part(is_due),
            false => self.choose_all(is_due),
        };
        let Some(streams) = streams else { return };
        let entries = self.entries_to_commit(&streams);
        if !entries.is_empty() {
            for (uid, instance) in self.instances.take_quit() {
                self.commits.add_chosen(Record::InstanceGone { uid, instance });
            }
        }
        if self.commits.begin() {
            self.accounts.begin_commit();
        }
        let records = self.commits.chosen().records.clone();
        self.out.push(Action::Store(records, entries));
    }

    /// Chooses everything for the next transaction; returns the streams whose messages it has, or
    /// nothing if there is nothing to commit.
    fn choose_all(&mut self, are_records_due: bool) -> Option<Vec<StreamId>> {
        if self.commits.streams().len() == 0 && !self.commits.has_filling(are_records_due) {
            if self.commits.records().is_empty() {
                // Those that were counted were not needed.
                self.accounts.end_commit(true);
            }
            return None;
        }
        self.commits.choose_all();
        Some(self.commits.streams().collect())
    }

    /// Chooses a part after several failures: records if they are due, else the messages of streams
    /// that can be stored without them, or of one stream with its records.
    fn choose_part(&mut self, are_records_due: bool) -> Option<Vec<StreamId>> {
        if are_records_due {
            // An announcement and its state are stored together.
            let waits = self.stream(ANNOUNCEMENTS).in_flight.uncommitted.is_empty();
            // So are a room's end and that of its announcements.
            self.commits.choose(|record| {
                let is_gone = matches!(record, Record::RoomGone { .. });
                waits || !(is_gone || record.is_needed_by(&StreamKey::Announcements))
            });
            self.commits.choose_replies();
        }
        if !self.commits.chosen().records.is_empty() {
            return Some(Vec::new());
        }
        let Some(front) = self.commits.streams().next() else {
            let replies = self.commits.take_replies();
            self.give_late(replies);
            return None;
        };
        let needs_record = |tag: StreamId| {
            let key = &self.stream(tag).key;
            self.commits.records().iter().any(|record| record.is_needed_by(key))
        };
        // Streams that need a record go alone: the others do not fail with them.
        let alone = needs_record(front);
        let goes = |tag: &StreamId| if alone { *tag == front } else { !needs_record(*tag) };
        let goes: Vec<_> = self.commits.streams().filter(goes).collect();
        let keys: Vec<_> = goes.iter().map(|tag| self.stream_key(*tag)).collect();
        self.commits.choose(|record| keys.iter().any(|key| record.is_needed_by(key)));
        Some(goes)
    }

    /// The messages of these streams that go into the next transaction.
    fn entries_to_commit(&mut self, tags: &[StreamId]) -> Vec<Entry> {
        let mut entries = Vec::new();
        // While several users send, none waits long for the messages of others: each user has a
        // part of a transaction, over all the rooms that they send to.
        let speaking = if self.rules.host { self.accounts.speaking() } else { 1 };
        let share = match speaking {
            0 | 1 => usize::MAX,
            several => (COMMIT_MESSAGES_COMPETING_MAX / several).max(COMMIT_MESSAGES_EACH_MIN),
        };
        let mut left: FxHashMap<AccountId, usize> = FxHashMap::default();
        for tag in tags {
            let stream = &mut self.streams[*tag];
            for pending in &stream.in_flight.uncommitted {
                if share < usize::MAX {
                    let left = left.entry(pending.account).or_insert(share);
                    // An announcement and its record are in the same transaction.
                    if *left == 0 && *tag != ANNOUNCEMENTS {
                        if planted(Fault::OrderLostInDividedCommit) {
                            continue;
                        }
                        // What comes after it in this room keeps its order.
                        break;
                    }
                    *left = left.saturating_sub(1);
                }
                stream.in_flight.committing += 1;
                entries.push(pending.entry.clone());
            }
        }
        // The first stream is the last one the next time. It keeps its turn if only records go.
        if !tags.is_empty() {
            self.commits.next_turn();
        }
        entries
    }

    /// Gives answers that waited for their changes to be stored.
    fn give_late(&mut self, replies: Vec<LateReply>) {
        for (id, serial, reply) in replies {
            self.commits.count_waiting(id, false);
            self.out.push(Action::Send(id, Frame::Reply { serial, result: Ok(reply) }));
        }
    }

    /// The store committed what it was handed.
    pub fn stored(&mut self, now: Now) {
        self.accounts.end_commit(false);
        let done = self.commits.succeed();
        for record in &done.records {
            if let Record::Room { id, .. } = record {
                self.directory.note_stored(*id);
            }
        }
        self.give_late(done.replies);
        self.answer_held(now);
        for tag in self.commits.take_streams() {
            let stream = self.stream_mut(tag);
            let committed = std::mem::take(&mut stream.in_flight.committing);
            let reply = |pending: &Pending| Some((pending.submit?.0, pending.entry.reply_to?));
            let replies: Vec<_> =
                stream.in_flight.uncommitted.iter().take(committed).filter_map(reply).collect();
            let from = stream.in_flight.ready.len();
            stream.in_flight.ready.extend(stream.in_flight.uncommitted.drain(..committed));
            if !stream.in_flight.uncommitted.is_empty() {
                self.commits.add_stream(tag);
            }
            self.mark_dirty(tag);
            for (instance, to) in replies {
                self.replied(instance, tag, to);
            }
            self.imports_stored(tag, from);
        }
        self.end_turn(now);
    }

    /// The store failed: nothing of the transaction is stored. Its records are tried again, its
    /// messages are refused.
    pub fn store_failed(&mut self, now: Now, why: &str) {
        // Records that are tried again hold up no requests.
        self.accounts.end_commit(true);
        let Failed { replies, receipts } = self.commits.fail(now.mono_us);
        for number in receipts {
            self.announcements.receipt_failed(number);
        }
        for (id, serial, reply) in replies {
            self.commits.count_waiting(id, false);
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
        for tag in self.commits.take_streams() {
            // Messages that were not in the transaction wait for the next one.
            match self.stream(tag).in_flight.committing {
                0 => self.commits.add_stream(tag),
                _ => self.take_back(now, tag, why),
            }
        }
        self.end_turn(now);
    }

    /// Takes back the messages of a stream of which one could not be stored: all that they took
    /// (numbers, bytes in flight, counters, figures) is as it was before they came, and each sender
    /// is notified. Later ones go with them, because their numbers follow. Only the rate limit
    /// still counts them: a user whose messages fail may not send more of them.
    fn take_back(&mut self, now: Now, tag: StreamId, why: &str) {
        let stream = self.stream_mut(tag);
        stream.in_flight.committing = 0;
        let refused = Vec::from(std::mem::take(&mut stream.in_flight.uncommitted));
        stream.numbered -= refused.len() as u64;
        if !planted(Fault::FailedCommitKeepsBytes) {
            self.release(tag, &refused);
        }
        self.jobs_not_stored(tag, why);
        self.imports_failed(tag, &refused, why);
        for pending in refused {
            self.out.counters.messages -= 1;
            let used = self.accounts.usage.of(pending.entry.from.uid);
            used.messages = used.messages.saturating_sub(1);
            used.bytes = used.bytes.saturating_sub(pending.entry.text.len() as u64);
            if tag == ANNOUNCEMENTS {
                self.announcing_failed(now, pending.entry.seq, why);
            }
            let pending = match pending.entry.will {
                None => pending,
                Some(_) => match self.commits.keep_will(tag, pending) {
                    None => continue,
                    Some(pending) => pending,
                },
            };
            let Some((instance, counter)) = pending.submit else { continue };
            if let Some(session) = self.instances.not_stored(instance, counter) {
                let refusal = Refusal::new(RefusalCode::Failed, why);
                self.refuse(session, std::iter::once(counter), &refusal);
            }
        }
        self.mark_dirty(tag);
        self.free_conversation(tag);
    }

    /// Sends last wills again whose commits failed.
    pub(super) fn say_unsaid_wills(&mut self, now: Now) {
        for (tag, pending) in self.commits.take_wills(now.mono_us) {
            if self.known_stream(tag).is_none() || self.is_ending(tag) {
                continue;
            }
            let Pending { entry, account, .. } = pending;
            let draft = EntryDraft { will: entry.will, ..EntryDraft::new(entry.from, entry.text) };
            self.number(now, tag, account, draft);
        }
    }

    /// Answers a request: at once if nothing is to be kept, else when that is kept. What changed
    /// nothing may repeat what is still on its way.
    pub(super) fn reply_when_kept(&mut self, id: SessionId, serial: u32, reply: Reply) {
        let is_new = self.announcements.has_urgent();
        let now = match self.rules.store {
            true => self.commits.keep_reply(is_new, (id, serial, reply)),
            false => Some((id, serial, reply)),
        };
        if let Some((id, serial, reply)) = now {
            self.out.push(Action::Send(id, Frame::Reply { serial, result: Ok(reply) }));
        }
    }

    /// Gives back what messages that were published or refused took.
    pub(super) fn release(&mut self, tag: StreamId, done: &[Pending]) {
        let mut all = 0;
        for of_one in done.chunk_by(|a, b| a.account == b.account) {
            let bytes = of_one.iter().map(|pending| pending.bytes).sum();
            self.accounts.release(of_one[0].account, bytes);
            all += bytes;
        }
        self.stream_mut(tag).in_flight.bytes -= all;
    }
}
