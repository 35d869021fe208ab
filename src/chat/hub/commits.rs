//! The store's next commit, its current commit, and the replies that wait for them.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{
    accounts::{Holding, share},
    pending::Pending,
};
use crate::{
    chat::{
        member::SessionId, names::RoomName, record_order::still_to_be_kept, reply::Reply,
        request::Request, store::Record, stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{RECORDS_RETRY_MS, WILLS_UNSAID_MAX},
};

/// Failed transactions in a row after which records and messages are committed apart.
const FAILURES_TOGETHER_MAX: u32 = 2;

/// Answer to a request that is given once its change is stored: session, serial number of the
/// request, answer.
pub(super) type LateReply = (SessionId, u32, Reply);

/// Records of a transaction, and the requests that it answers.
#[derive(Debug, Default)]
pub(super) struct CommitBatch {
    pub(super) records: Vec<Record>,
    pub(super) replies: Vec<LateReply>,
}

/// A request that waits until the room that it names is stored.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) session: SessionId,
    pub(super) serial: u32,
    pub(super) request: Request,
    pub(super) room: StreamId,
}

/// Replies and receipts that a failed transaction leaves.
pub(super) struct Failed {
    /// Requests whose changes are not stored yet.
    pub(super) replies: Vec<LateReply>,
    /// Announcements whose receipts were not stored.
    pub(super) receipts: Vec<u64>,
}

/// All transactions: one runs, and the next one fills meanwhile. A failed one gives its records
/// back.
#[derive(Debug, Default)]
pub(super) struct Commits {
    filling: CommitBatch,
    /// The running transaction, or the one that is being chosen.
    running: CommitBatch,
    is_running: bool,
    /// Records were left for a later transaction.
    leaves_records: bool,
    /// Streams with messages to commit, in the order of their turns.
    streams: VecDeque<StreamId>,
    /// Failed transactions since records and messages were last stored together.
    failures: u32,
    /// Time from which failed records are tried again, microseconds.
    retry_at_us: u64,
    /// Requests of each session that are answered later.
    waiting: FxHashMap<SessionId, usize>,
    held: Vec<Held>,
    /// Last wills whose commits failed, and their rooms.
    failed_wills: Vec<(StreamId, Pending)>,
}

impl Commits {
    // ---- filling -----------------------------------------------------------------------------

    /// Adds a record to the next transaction.
    pub(super) fn add(&mut self, record: Record) {
        self.filling.records.push(record);
    }

    /// Adds a stream that has messages to commit, after the others.
    pub(super) fn add_stream(&mut self, tag: StreamId) {
        self.streams.push_back(tag);
    }

    /// Records of the next transaction.
    pub(super) fn records(&self) -> &[Record] {
        &self.filling.records
    }

    /// Drops records of the next transaction.
    pub(super) fn drop_filling(&mut self, is_dropped: impl Fn(&Record) -> bool) {
        self.filling.records.retain(|record| !is_dropped(record));
    }

    /// Drops records of the next transaction and of a failed one.
    pub(super) fn drop_all(&mut self, is_dropped: impl Fn(&Record) -> bool) {
        self.running.records.retain(|record| !is_dropped(record));
        self.drop_filling(is_dropped);
    }

    /// Returns true if the running transaction has such a record.
    pub(super) fn is_committing(&self, is_it: impl Fn(&Record) -> bool) -> bool {
        self.running.records.iter().any(is_it)
    }

    /// Returns true if the end of a room of this name is not stored yet.
    pub(super) fn has_end_of(&self, room: &RoomName) -> bool {
        let is_it =
            |record: &Record| matches!(record, Record::RoomGone { name, .. } if name == room);
        self.filling.records.iter().any(is_it) || self.is_committing(is_it)
    }

    /// Returns true if a transaction runs, or there is something for the next one.
    pub(super) fn is_busy(&self) -> bool {
        self.is_running || !self.filling.records.is_empty()
    }

    // ---- answers that wait -------------------------------------------------------------------

    /// Keeps an answer until its change is stored; returns it if there is nothing to wait for. An
    /// answer that changed nothing (`is_new` is false, and so are all records) may repeat a change
    /// that is being stored.
    pub(super) fn keep_reply(&mut self, is_new: bool, reply: LateReply) -> Option<LateReply> {
        let is_new = is_new || !self.filling.records.is_empty();
        if !is_new && self.running.records.is_empty() {
            return Some(reply);
        }
        self.count_waiting(reply.0, true);
        let joins_running = !is_new && self.is_running;
        let batch = if joins_running { &mut self.running } else { &mut self.filling };
        batch.replies.push(reply);
        None
    }

    /// Requests of a session that are answered later.
    pub(super) fn waiting(&self, id: SessionId) -> usize {
        self.waiting.get(&id).copied().unwrap_or(0)
    }

    /// Counts a request of a session that is answered later, or was.
    pub(super) fn count_waiting(&mut self, id: SessionId, waits: bool) {
        let count = self.waiting.entry(id).or_default();
        *count = if waits { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.waiting.remove(&id);
        }
    }

    /// Keeps a request until its room is stored.
    pub(super) fn hold(&mut self, held: Held) {
        self.held.push(held);
    }

    pub(super) fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    // ---- choosing and running ----------------------------------------------------------------

    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Returns true if the last transaction did not fail.
    pub(super) fn is_healthy(&self) -> bool {
        self.failures == 0
    }

    /// Returns true if records may be tried now.
    pub(super) fn is_due(&self, now_us: u64) -> bool {
        self.is_healthy() || now_us >= self.retry_at_us
    }

    /// Returns true if records and messages go apart, so that a record that always fails does not
    /// stop the messages.
    pub(super) fn is_divided(&self) -> bool {
        self.failures >= FAILURES_TOGETHER_MAX
    }

    /// Returns true if there is something to commit beside messages.
    pub(super) fn has_filling(&self, are_records_due: bool) -> bool {
        (are_records_due && !self.filling.records.is_empty()) || !self.filling.replies.is_empty()
    }

    /// Streams with messages to commit, in the order of their turns.
    pub(super) fn streams(&self) -> impl ExactSizeIterator<Item = StreamId> {
        self.streams.iter().copied()
    }

    /// Puts the stream whose turn it was behind the others.
    pub(super) fn next_turn(&mut self) {
        self.streams.rotate_left(1.min(self.streams.len()));
    }

    /// Chooses everything for the next transaction.
    pub(super) fn choose_all(&mut self) {
        self.running.records.append(&mut self.filling.records);
        self.running.replies.append(&mut self.filling.replies);
    }

    /// Chooses some records for the next transaction.
    pub(super) fn choose(&mut self, goes: impl FnMut(&Record) -> bool) {
        let records = still_to_be_kept(std::mem::take(&mut self.filling.records));
        (self.running.records, self.filling.records) = records.into_iter().partition(goes);
    }

    /// Chooses the answers as well, if no record is left that one of them may wait for.
    pub(super) fn choose_replies(&mut self) {
        if self.filling.records.is_empty() {
            self.running.replies.append(&mut self.filling.replies);
        }
    }

    /// Takes the chosen answers: their records were dropped, and there is nothing to commit.
    pub(super) fn take_replies(&mut self) -> Vec<LateReply> {
        std::mem::take(&mut self.running.replies)
    }

    /// Adds a record to the transaction that is being chosen.
    pub(super) fn add_chosen(&mut self, record: Record) {
        self.running.records.push(record);
    }

    pub(super) fn chosen(&self) -> &CommitBatch {
        &self.running
    }

    /// Begins the chosen transaction; returns true if it has all records.
    pub(super) fn begin(&mut self) -> bool {
        self.leaves_records = !self.filling.records.is_empty();
        self.is_running = true;
        !self.leaves_records
    }

    /// Drops all records: nothing is stored.
    pub(super) fn clear(&mut self) {
        self.filling.records.clear();
    }

    /// Streams of the transaction that ended, and those that wait for the next one.
    pub(super) fn take_streams(&mut self) -> VecDeque<StreamId> {
        std::mem::take(&mut self.streams)
    }

    /// Ends a transaction that was stored.
    pub(super) fn succeed(&mut self) -> CommitBatch {
        self.is_running = false;
        if !self.leaves_records || self.filling.records.is_empty() {
            self.failures = 0;
        }
        std::mem::take(&mut self.running)
    }

    /// Ends a transaction that failed: its records are tried again.
    pub(super) fn fail(&mut self, now_us: u64) -> Failed {
        self.is_running = false;
        self.failures = self.failures.saturating_add(1);
        self.retry_at_us = now_us + RECORDS_RETRY_MS * 1000;
        let CommitBatch { mut records, mut replies } = std::mem::take(&mut self.running);
        if planted(Fault::FailedChangeDropped) {
            records.clear();
        }
        records.append(&mut self.filling.records);
        let receipts = records.iter().filter_map(|record| {
            let Record::Receipt(receipt) = record else { return None };
            Some(receipt.number)
        });
        let receipts = receipts.collect();
        self.filling.records = still_to_be_kept(records);
        // What waits for records of its own may wait long: the store fails.
        if self.is_divided() {
            replies.append(&mut self.filling.replies);
        }
        Failed { replies, receipts }
    }

    // ---- last wills --------------------------------------------------------------------------

    /// Keeps a last will whose commit failed, unless its user has their share of them; returns what
    /// is not kept.
    pub(super) fn keep_will(&mut self, tag: StreamId, pending: Pending) -> Option<Pending> {
        let uid = |pending: &Pending| pending.entry.from.uid;
        let kept = self.failed_wills.iter().map(|(_, pending)| (uid(pending), 1));
        let holding = Holding::of(uid(&pending), kept);
        // Some are left for the next user.
        let free = WILLS_UNSAID_MAX.saturating_sub(holding.own + holding.others_have);
        if free == 0 || holding.own >= share(free, holding.own, holding.others + 1) {
            return Some(pending);
        }
        self.failed_wills.push((tag, pending));
        None
    }

    /// Last wills that are to be sent again now.
    pub(super) fn take_wills(&mut self, now_us: u64) -> Vec<(StreamId, Pending)> {
        match now_us < self.retry_at_us {
            true => Vec::new(),
            false => std::mem::take(&mut self.failed_wills),
        }
    }
}

#[cfg(test)]
impl Commits {
    /// Returns true if no request waits for its answer.
    pub(super) fn answers_all(&self) -> bool {
        self.waiting.is_empty() && self.held.is_empty()
    }

    pub(super) fn replies(&self) -> impl Iterator<Item = &LateReply> {
        self.filling.replies.iter().chain(&self.running.replies)
    }

    /// Last wills of a user, or of all, that wait for a commit.
    pub(super) fn wills_of(&self, uid: Option<u32>) -> usize {
        let of = |pending: &Pending| uid.is_none_or(|uid| pending.entry.from.uid == uid);
        self.failed_wills.iter().filter(|(_, pending)| of(pending)).count()
    }
}
