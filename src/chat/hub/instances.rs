//! Client instances: the counters that each has submitted, so that a repeated submit is recognized.

use std::collections::{HashMap, VecDeque};

use crate::{
    chat::{member::SessionId, verbs::StreamTag},
    limits::{INSTANCE_RANGES_PER_USER_MAX, INSTANCES_MAX, UNACKED_SUBMITS_MAX},
};

/// Submits with consecutive counters that got consecutive numbers.
#[derive(Debug, Clone, Copy)]
struct Range {
    counter: u64,
    count: u64,
    stream: StreamTag,
    seq: u64,
}

/// A client instance, of one user id: nobody can speak for the instance of another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct InstanceKey {
    pub(super) uid: u32,
    pub(super) instance: [u8; 16],
}

impl InstanceKey {
    /// Who does not name its instance has one of its own for each session.
    pub(super) fn of(uid: u32, instance: [u8; 16], session: SessionId) -> Self {
        if instance != [0; 16] {
            return Self { uid, instance };
        }
        let mut instance = [0; 16];
        instance[8..].copy_from_slice(&session.0.to_le_bytes());
        Self { uid, instance }
    }
}

#[derive(Debug, Default)]
pub(super) struct Instance {
    /// The session that speaks for it now.
    pub(super) session: Option<SessionId>,
    /// Highest counter that this session submitted, or submitted again.
    pub(super) submitted: u64,
    /// Nothing is known any more of counters up to here.
    forgotten: u64,
    /// Nothing was ever numbered above it.
    highest: u64,
    recent: VecDeque<Range>,
}

impl Instance {
    /// Whether a counter was submitted before: numbered, or too long ago to tell.
    pub(super) fn was_submitted(&mut self, counter: u64) -> bool {
        self.submitted = self.submitted.max(counter);
        counter <= self.forgotten || self.find(counter).is_some()
    }

    /// What became of a counter: its stream and number.
    pub(super) fn find(&self, counter: u64) -> Option<(StreamTag, u64)> {
        if counter > self.highest {
            return None;
        }
        let hit = |r: &&Range| (r.counter..r.counter + r.count).contains(&counter);
        self.recent.iter().rev().find(hit).map(|r| (r.stream, r.seq + (counter - r.counter)))
    }

    pub(super) fn note(&mut self, counter: u64, stream: StreamTag, seq: u64) {
        self.highest = self.highest.max(counter);
        if let Some(r) = self.recent.back_mut()
            && r.stream == stream
            && r.counter + r.count == counter
            && r.seq + r.count == seq
        {
            r.count += 1;
        } else {
            self.recent.push_back(Range { counter, count: 1, stream, seq });
        }
        // A client has at most so many unacknowledged: older ones are never asked for again.
        let bound = counter.saturating_sub(UNACKED_SUBMITS_MAX as u64);
        let old = |r: &Range| r.counter.saturating_add(r.count) <= bound;
        while let Some(range) = self
            .recent
            .front()
            .copied()
            .filter(|range| old(range) || self.recent.len() > UNACKED_SUBMITS_MAX)
        {
            self.forget_oldest(range);
        }
    }

    fn forget_oldest(&mut self, range: Range) {
        self.forgotten = self.forgotten.max(range.counter.saturating_add(range.count) - 1);
        self.recent.pop_front();
    }

    /// Forgets what a failed commit took back, so that it can be submitted anew. Others that came
    /// after it, for rooms that are not stored, may stand.
    pub(super) fn forget(&mut self, counter: u64) {
        let hit = |r: &Range| (r.counter..r.counter + r.count).contains(&counter);
        let Some(at) = self.recent.iter().rposition(hit) else { return };
        let range = self.recent[at];
        let before = counter - range.counter;
        let after = range.count - before - 1;
        self.recent[at].count = before;
        if after > 0 {
            let rest = Range {
                counter: counter + 1,
                count: after,
                stream: range.stream,
                seq: range.seq + before + 1,
            };
            self.recent.insert(at + 1, rest);
        }
        if before == 0 {
            self.recent.remove(at);
        }
    }
}

/// What became of the last submits of each client instance.
#[derive(Debug, Default)]
pub(super) struct Instances {
    pub(super) known: HashMap<InstanceKey, Box<Instance>>,
    /// With what each weighs: one, and its runs of counters.
    ended: VecDeque<(InstanceKey, usize)>,
    ended_of_user: HashMap<u32, usize>,
}

impl Instances {
    /// What the last run knew.
    pub(super) fn restore(&mut self, submits: &super::RestoredSubmits, stream: StreamTag) {
        let key = InstanceKey { uid: submits.uid, instance: submits.instance };
        let is_new = !self.known.contains_key(&key);
        let instance = self.known.entry(key).or_default();
        let (counter, count, seq) = (submits.counter, submits.count, submits.seq);
        instance.recent.push_back(Range { counter, count, stream, seq });
        instance.highest = instance.highest.max(counter.saturating_add(count));
        if is_new {
            self.remember(key);
        }
    }

    /// Stream and number of what an instance submitted under a counter, if that is known.
    pub(super) fn submitted(&self, key: InstanceKey, counter: u64) -> Option<(StreamTag, u64)> {
        self.known.get(&key)?.find(counter)
    }

    /// The session that speaks for an instance now.
    pub(super) fn session_of(&self, key: InstanceKey) -> Option<SessionId> {
        self.known.get(&key)?.session
    }

    pub(super) fn attach(&mut self, key: InstanceKey, session: SessionId) {
        let instance = self.known.entry(key).or_default();
        instance.session = Some(session);
        instance.submitted = 0;
    }

    /// A session ends. One that said good-bye had all its acknowledgements: nothing to remember.
    pub(super) fn detach(&mut self, key: InstanceKey, session: SessionId, good_bye: bool) {
        let Some(instance) = self.known.get_mut(&key) else { return };
        if instance.session != Some(session) {
            return;
        }
        instance.session = None;
        if good_bye || instance.recent.is_empty() {
            self.known.remove(&key);
            return;
        }
        self.remember(key);
    }

    fn weight(&self, key: InstanceKey) -> usize {
        1 + self.known.get(&key).map_or(0, |instance| instance.recent.len())
    }

    /// Keeps an ended instance for a while: the oldest go when there are too many, or its user has too
    /// much.
    fn remember(&mut self, key: InstanceKey) {
        let weight = self.weight(key);
        self.ended.push_back((key, weight));
        *self.ended_of_user.entry(key.uid).or_default() += weight;
        while self.ended_of_user.get(&key.uid).is_some_and(|w| *w > INSTANCE_RANGES_PER_USER_MAX)
            && let Some(at) = self.ended.iter().position(|(k, _)| k.uid == key.uid)
        {
            self.drop_ended(at);
        }
        if self.ended.len() > INSTANCES_MAX {
            self.drop_ended(0);
        }
    }

    fn drop_ended(&mut self, at: usize) {
        let Some((old, weight)) = self.ended.remove(at) else { return };
        if let Some(of_user) = self.ended_of_user.get_mut(&old.uid) {
            *of_user -= weight;
            if *of_user == 0 {
                self.ended_of_user.remove(&old.uid);
            }
        }
        // It may have come back, or ended once more since.
        if self.known.get(&old).is_some_and(|i| i.session.is_none())
            && !self.ended.iter().any(|(k, _)| *k == old)
        {
            self.known.remove(&old);
        }
    }
}
