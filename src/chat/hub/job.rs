//! Jobs and workers: what is known of each.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    chat::{
        event::Event,
        hub::{accounts::AccountId, instances::InstanceKey},
        member::{Member, SessionId},
        names::Label,
        stream_id::StreamId,
    },
    limits::{ANSWER_JOBS_MAX, REQUESTS_DONE_KEPT_MAX},
};

/// Room and sequence number of a job.
pub(super) type JobKey = (StreamId, u64);

/// Workers of a room that share its jobs: one of them gets each job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Queue {
    /// A worker without a queue, over its reconnects.
    Own(InstanceKey),
    /// All workers of a name.
    Named(Label),
}

/// Progress of a queue with a job. A queue without one has not had the job yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// No worker has it; `before` workers had it and ended.
    Waiting { before: u32 },
    /// A free worker may claim it.
    Offered { to: SessionId, before: u32, until_us: u64 },
    /// A worker works on it.
    Taken { by: SessionId, instance: InstanceKey, before: u32 },
    /// The worker's connection broke; it may come back.
    Away { who: Box<Member>, instance: InstanceKey, before: u32, until_us: u64 },
    /// The worker of this instance has replied.
    Done { instance: InstanceKey },
}

impl State {
    /// Workers that had the job and ended.
    pub(super) fn before(&self) -> u32 {
        match self {
            Self::Waiting { before }
            | Self::Offered { before, .. }
            | Self::Taken { before, .. }
            | Self::Away { before, .. } => *before,
            Self::Done { .. } => 0,
        }
    }

    /// The client instance that works on the job or has done it.
    pub(super) fn instance(&self) -> Option<InstanceKey> {
        match self {
            Self::Taken { instance, .. }
            | Self::Away { instance, .. }
            | Self::Done { instance } => Some(*instance),
            Self::Waiting { .. } | Self::Offered { .. } => None,
        }
    }

    /// The session whose capacity the job occupies.
    pub(super) fn worker(&self) -> Option<SessionId> {
        match self {
            Self::Offered { to: worker, .. } | Self::Taken { by: worker, .. } => Some(*worker),
            Self::Waiting { .. } | Self::Away { .. } | Self::Done { .. } => None,
        }
    }

    pub(super) fn until_us(&self) -> Option<u64> {
        match self {
            Self::Offered { until_us, .. } | Self::Away { until_us, .. } => Some(*until_us),
            Self::Waiting { .. } | Self::Taken { .. } | Self::Done { .. } => None,
        }
    }
}

/// Connection of a job's sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Here(SessionId),
    /// The connection broke; the job is kept for a while.
    Away {
        until_us: u64,
    },
}

/// A change that comes by itself at its time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The sender has not come back.
    Sender,
    /// The job may be offered.
    Start,
    /// An offer, or the wait for a worker, ends.
    State(Queue),
}

/// A message whose sender waits for replies.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) account: AccountId,
    pub(super) sender: Sender,
    /// Earliest time of the first offer, until the job is ready.
    pub(super) starts_us: Option<u64>,
    /// Place among the ready jobs of its room.
    pub(super) place: Option<u64>,
    /// Workers that ended while the sender's connection is broken, as events.
    pub(super) missed: Vec<Event>,
    pub(super) queues: BTreeMap<Queue, State>,
}

/// A session that takes jobs of a room.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) queue: Queue,
    /// Jobs that it was offered or has taken.
    pub(super) open: BTreeSet<u64>,
    /// Number of its last offer, so that all workers have their turn.
    pub(super) offered: u64,
    /// It answers the server: a stopped process gets no offers.
    pub(super) responsive: bool,
    /// Jobs that it works on at a time.
    pub(super) jobs_max: usize,
    /// Jobs that it works on or has done, as far as it said so or the server saw it: a job may
    /// become known only afterwards.
    pub(super) holding: BTreeSet<u64>,
    pub(super) done: BTreeSet<u64>,
}

impl Worker {
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Jobs that it works on or has done.
    pub(super) fn jobs(&self) -> impl Iterator<Item = u64> {
        self.holding.union(&self.done).copied()
    }

    pub(super) fn has(&self, seq: u64) -> bool {
        self.holding.contains(&seq) || self.done.contains(&seq)
    }

    pub(super) fn is_free(&self) -> bool {
        self.responsive && self.open.len() < self.jobs_max
    }

    /// Key of the next offer: the worker with the least to do, of those the one that has waited
    /// longest.
    pub(super) fn turn(&self, id: SessionId) -> (usize, u64, SessionId) {
        (self.open.len().max(self.holding.len()), self.offered, id)
    }

    /// Records that it works on a job, or has done it.
    pub(super) fn record(&mut self, seq: u64, is_done: bool) {
        self.holding.remove(&seq);
        let (list, max) = match is_done {
            true => (&mut self.done, REQUESTS_DONE_KEPT_MAX),
            false => (&mut self.holding, ANSWER_JOBS_MAX),
        };
        list.insert(seq);
        if list.len() > max {
            list.pop_first();
        }
    }
}

/// A worker's report on a job: how it went.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) instance: InstanceKey,
    pub(super) by: Member,
    pub(super) failed: bool,
    pub(super) silent: bool,
}

/// Open jobs of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) jobs: usize,
    /// States of these jobs in queues.
    pub(super) states: usize,
}

impl Job {
    pub(super) fn state(&self, queue: &Queue) -> Option<&State> {
        self.queues.get(queue)
    }

    /// The queue in which a client instance has or had the job.
    pub(super) fn queue_of(&self, instance: InstanceKey) -> Option<&Queue> {
        self.queues.iter().find(|(_, state)| state.instance() == Some(instance)).map(|(q, _)| q)
    }
}
