//! Outcomes of jobs: the newest report of each queue, also on jobs that are not known: a connection
//! or the server may end before the sender has read it. They are kept until the sender ends, which
//! may be back after its job is removed.

use std::collections::BTreeMap;

use super::{
    job::{JobKey, Outcome, Queue},
    ledger::{Ledger, LedgerPlace},
};
use crate::{chat::stream_id::StreamId, limits::OUTCOMES_MAX};

/// All outcomes. The user of the worker is charged. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    by_job: BTreeMap<JobKey, BTreeMap<Queue, (Outcome, LedgerPlace)>>,
    of_users: Ledger<(JobKey, Queue)>,
}

impl Outcomes {
    /// Records the outcome of a job. Returns true if this worker had not reported one: a second
    /// report changes nothing, whatever it says, because each would be an event for the sender.
    pub(super) fn put(&mut self, key: JobKey, queue: Queue, outcome: Outcome) -> bool {
        let known = self.by_job.get(&key).and_then(|of_job| of_job.get(&queue));
        if known.is_some_and(|(of, _)| of.instance == outcome.instance) {
            return false;
        }
        let place = self.of_users.put(outcome.by.uid, (key, queue.clone()), 1);
        let old = self.by_job.entry(key).or_default().insert(queue, (outcome, place));
        if let Some((_, place)) = old {
            self.of_users.take(place);
        }
        while let Some((key, queue)) = self.of_users.excess(OUTCOMES_MAX).cloned() {
            self.remove(key, &queue);
        }
        true
    }

    /// Returns the outcomes of a job by queue.
    pub(super) fn of(&self, key: JobKey) -> impl Iterator<Item = (&Queue, &Outcome)> {
        let of_job = self.by_job.get(&key).into_iter().flatten();
        of_job.map(|(queue, (outcome, _))| (queue, outcome))
    }

    fn remove(&mut self, key: JobKey, queue: &Queue) {
        let Some(of_job) = self.by_job.get_mut(&key) else { return };
        if let Some((_, place)) = of_job.remove(queue) {
            self.of_users.take(place);
        }
        if of_job.is_empty() {
            self.by_job.remove(&key);
        }
    }

    /// Removes the outcomes of a job: its sender is gone.
    pub(super) fn forget(&mut self, key: JobKey) {
        for (_, (_, place)) in self.by_job.remove(&key).into_iter().flatten() {
            self.of_users.take(place);
        }
    }

    /// Removes the outcomes of all jobs of a room.
    pub(super) fn forget_room(&mut self, tag: StreamId) {
        while let Some((key, _)) = self.by_job.range((tag, 0)..=(tag, u64::MAX)).next() {
            self.forget(*key);
        }
    }
}

#[cfg(test)]
impl Outcomes {
    /// Derives the ledger again, and compares.
    pub(super) fn check(&self) {
        assert!(self.by_job.values().all(|of_job| !of_job.is_empty()));
        let outcomes: usize = self.by_job.values().map(BTreeMap::len).sum();
        assert_eq!((outcomes, outcomes), (self.of_users.len(), self.of_users.weight()));
    }
}
