//! Client instances: the counters that each submitted, so that a repeated submit is recognized.
//!
//! A submit is looked up here before anything else ([`Instances::recall`]); only its new lines are
//! judged and numbered. A counter that can't be recognized is answered *unknown* and never numbered
//! again.
//!
//! An instance without a session stays on record until its user holds more runs of counters than
//! any other user and the record is full. The record of a user is complete from some time on
//! ([`Instances::is_complete`]): if an instance is not on record and its open submits are younger,
//! none of them was numbered.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::ledger::{Ledger, LedgerPlace};
use crate::{
    chat::{
        frames::{EarlierSubmits, Line, Submit},
        member::SessionId,
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{
        ANSWER_JOBS_MAX, ENDED_INSTANCE_RUNS_MAX, FORGOTTEN_USERS_MAX, QUIT_INSTANCES_MAX,
        REQUESTS_DONE_KEPT_MAX, SUBMITS_KEPT_MS, UNACKED_SUBMITS_MAX,
    },
};

/// A client instance of one user: no user can submit for the instance of another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct InstanceKey {
    uid: u32,
    id: InstanceId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum InstanceId {
    /// Chosen by the client and the same over its reconnects.
    Named([u8; 16]),
    /// Session of a client that named no instance. It ends with the session and is not stored:
    /// session numbers repeat in the next boot.
    Session(SessionId),
}

impl InstanceKey {
    pub(super) fn of(uid: u32, instance: [u8; 16], session: SessionId) -> Self {
        let id = match instance == [0; 16] {
            true => InstanceId::Session(session),
            false => InstanceId::Named(instance),
        };
        Self { uid, id }
    }

    /// The name under which its submits are stored; none if they are not.
    pub(super) fn stored_as(self) -> Option<[u8; 16]> {
        match self.id {
            InstanceId::Named(instance) => Some(instance),
            InstanceId::Session(_) => None,
        }
    }
}

/// Submits with consecutive counters that got consecutive sequence numbers in one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CounterRun {
    counter: u64,
    count: u64,
    stream: StreamId,
    seq: u64,
    /// Kept on disk: the ids outlive the boot.
    stored: bool,
}

impl CounterRun {
    fn end(&self) -> u64 {
        self.counter.saturating_add(self.count)
    }
}

/// Place of an instance without a session on the record of its user.
#[derive(Debug, Clone, Copy)]
struct InstancePlace {
    at: LedgerPlace,
    /// Wall clock of its end, not before its last submit.
    at_us: i64,
}

#[derive(Debug, Default)]
struct Instance {
    /// The session that speaks for it now.
    session: Option<SessionId>,
    /// Highest counter that this session submitted, new or again.
    submitted: u64,
    /// Counters up to here are never new.
    forgotten: u64,
    /// Counters up to here may have been numbered by an earlier boot; where that boot's messages
    /// are lost, they are not new either.
    of_earlier_boot: u64,
    /// An earlier boot stored something of it.
    is_restored: bool,
    /// By counter, without overlap.
    runs: VecDeque<CounterRun>,
    /// Jobs that this boot saw it take as a worker, until its connection broke.
    jobs: BTreeSet<(StreamId, u64)>,
    /// While it has no session.
    place: Option<InstancePlace>,
}

impl Instance {
    fn find(&self, counter: u64) -> Option<(StreamId, u64, bool)> {
        let after = self.runs.partition_point(|run| run.counter <= counter);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let found = |run: &CounterRun| (run.stream, run.seq + (counter - run.counter), run.stored);
        (counter < run.end()).then(|| found(run))
    }

    fn is_new(&self, counter: u64, persistent: bool) -> bool {
        (counter > self.forgotten || planted(Fault::OldCounterIsNew))
            && (persistent || counter > self.of_earlier_boot)
    }

    fn add(&mut self, run: CounterRun) {
        let at = self.runs.partition_point(|other| other.counter < run.counter);
        match at.checked_sub(1).and_then(|before| self.runs.get_mut(before)) {
            Some(before)
                if before.stream == run.stream
                    && before.end() == run.counter
                    && before.seq + before.count == run.seq =>
            {
                before.count += run.count;
            }
            Some(_) | None => self.runs.insert(at, run),
        }
        // A client has at most that many open submits: older ones are never submitted again.
        let bound = run.end().saturating_sub(1 + UNACKED_SUBMITS_MAX as u64);
        self.forgotten = self.forgotten.max(bound);
        while self.runs.front().is_some_and(|run| run.end() <= bound + 1) {
            self.runs.pop_front();
        }
    }

    /// Takes a counter out again; later ones may have been numbered in other streams.
    fn remove(&mut self, counter: u64) {
        let Some(at) = self.runs.partition_point(|run| run.counter <= counter).checked_sub(1)
        else {
            return;
        };
        let run = self.runs[at];
        if counter >= run.end() {
            return;
        }
        let before = counter - run.counter;
        let after = run.count - before - 1;
        self.runs[at].count = before;
        if after > 0 {
            let (counter, seq) = (counter + 1, run.seq + before + 1);
            self.runs.insert(at + 1, CounterRun { counter, count: after, seq, ..run });
        }
        if before == 0 {
            self.runs.remove(at);
        }
    }

    /// Returns true if a later session with the same instance could tell that it was forgotten.
    fn knows_something(&self) -> bool {
        !self.runs.is_empty() || self.forgotten > 0 || !self.jobs.is_empty()
    }
}

/// A line that was submitted before and is numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) counter: u64,
    pub(super) stream: StreamId,
    pub(super) seq: u64,
    pub(super) stored: bool,
    pub(super) reply_to: Option<u64>,
}

/// Lines that were not submitted before, each with its counter. Only [`Instances::recall`] makes
/// them: no line is judged before it was looked up.
#[derive(Debug)]
pub(super) struct NewLines<'a>(Vec<(u64, Line<'a>)>);

impl<'a> NewLines<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Line<'a>)> + '_ {
        self.0.iter().copied()
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(u64, &Line<'a>) -> bool) {
        self.0.retain(|(counter, line)| stays(*counter, line));
    }
}

/// The lines of one submit, each in one of three.
#[derive(Debug)]
pub(super) struct Recalled<'a> {
    pub(super) again: Vec<Again>,
    /// Counters that are too old to tell.
    pub(super) unknown: Vec<u64>,
    pub(super) new: NewLines<'a>,
}

/// The counters of all client instances.
#[derive(Debug, Default)]
pub(super) struct Instances {
    known: HashMap<InstanceKey, Box<Instance>>,
    /// Instances without a session, each with its runs and one more.
    ended: Ledger<InstanceKey>,
    /// Wall clock of the first session of this boot: nothing was numbered by it before.
    started_us: Option<i64>,
    /// Wall-clock time of the last submit that a dropped instance can have had, by user.
    dropped: HashMap<u32, i64>,
    /// Such a time of the users who are not in `dropped`.
    dropped_of_others: Option<i64>,
    /// Instances that ended with a goodbye: what the store has of them is not needed.
    quit: Vec<(u32, [u8; 16])>,
}

impl Instances {
    /// Adds submits that an earlier boot stored at a wall-clock time. `stream`: none if it is gone.
    pub(super) fn restore(
        &mut self,
        (uid, instance): (u32, [u8; 16]),
        (counter, count, seq): (u64, u64, u64),
        stream: Option<StreamId>,
        wall_us: i64,
    ) {
        let key = InstanceKey { uid, id: InstanceId::Named(instance) };
        let known = self.known.entry(key).or_default();
        known.is_restored = true;
        let at_us = known.place.map_or(wall_us, |place| place.at_us.max(wall_us));
        match stream {
            Some(stream) => known.add(CounterRun { counter, count, stream, seq, stored: true }),
            None => known.forgotten = known.forgotten.max(counter.saturating_add(count) - 1),
        }
        self.end(key, at_us);
    }

    /// Notes that submits of a user up to a wall-clock time are not on record.
    pub(super) fn forget(&mut self, uid: u32, until_us: i64) {
        let full = self.dropped.len() >= FORGOTTEN_USERS_MAX;
        if full && !self.dropped.contains_key(&uid) {
            let newest = self.dropped.drain().map(|(_, at_us)| at_us).max();
            self.dropped_of_others = self.dropped_of_others.max(newest);
        }
        let of_user = self.dropped.entry(uid).or_insert(until_us);
        *of_user = (*of_user).max(until_us);
    }

    /// Returns true if each numbered submit of a user from a time on is on record. A persistent
    /// record holds what earlier boots stored, for a day; any other begins with this boot.
    fn is_complete(&self, uid: u32, since_us: i64, wall_us: i64, persistent: bool) -> bool {
        let begins_us = match persistent {
            true => wall_us.saturating_sub(SUBMITS_KEPT_MS.cast_signed() * 1000),
            false => self.started_us.unwrap_or(i64::MAX),
        };
        let dropped_us = self.dropped.get(&uid).copied().max(self.dropped_of_others);
        since_us > 0
            && since_us >= begins_us
            && dropped_us.is_none_or(|dropped_us| since_us > dropped_us)
    }

    /// A session speaks for an instance from now on.
    pub(super) fn attach(
        &mut self,
        wall_us: i64,
        key: InstanceKey,
        session: SessionId,
        earlier: EarlierSubmits,
        persistent: bool,
    ) {
        let started_us = *self.started_us.get_or_insert(wall_us);
        // Of what an earlier boot stored, a part may have been loaded.
        let is_known = self.known.get(&key).is_some_and(|instance| !instance.is_restored);
        let is_on_record =
            is_known || self.is_complete(key.uid, earlier.since_us, wall_us, persistent);
        let instance = self.known.entry(key).or_default();
        if let Some(place) = instance.place.take() {
            self.ended.take(place.at);
        }
        if !is_on_record {
            instance.forgotten = instance.forgotten.max(earlier.highest);
        }
        if earlier.since_us < started_us {
            instance.of_earlier_boot = instance.of_earlier_boot.max(earlier.highest);
        }
        if !(planted(Fault::AckToFirstSession) && instance.session.is_some()) {
            instance.session = Some(session);
        }
        instance.submitted = 0;
    }

    /// A session ends. An instance that said goodbye has the answer to each of its submits, and
    /// one without a name can't come back: both are forgotten.
    pub(super) fn detach(
        &mut self,
        wall_us: i64,
        key: InstanceKey,
        session: SessionId,
        good_bye: bool,
    ) {
        let Some(instance) = self.known.get_mut(&key) else { return };
        if instance.session != Some(session) {
            return;
        }
        instance.session = None;
        let stored_as = key.stored_as().filter(|_| instance.knows_something());
        match stored_as {
            Some(_) if !good_bye => self.end(key, wall_us),
            Some(instance) if self.quit.len() < QUIT_INSTANCES_MAX => {
                self.quit.push((key.uid, instance));
                self.known.remove(&key);
            }
            Some(_) | None => drop(self.known.remove(&key)),
        }
    }

    /// Returns the instances that said goodbye since this was last called.
    pub(super) fn take_quit(&mut self) -> Vec<(u32, [u8; 16])> {
        std::mem::take(&mut self.quit)
    }

    /// Keeps an instance without a session on record, by its present weight.
    fn end(&mut self, key: InstanceKey, at_us: i64) {
        let Some(instance) = self.known.get_mut(&key) else { return };
        if let Some(place) = instance.place.take() {
            self.ended.take(place.at);
        }
        let at = self.ended.put(key.uid, key, 1 + instance.runs.len() + instance.jobs.len());
        instance.place = Some(InstancePlace { at, at_us });
        while let Some(key) = self.ended.excess(ENDED_INSTANCE_RUNS_MAX).copied() {
            let dropped = self.known.remove(&key);
            let Some(place) = dropped.and_then(|instance| instance.place) else { return };
            self.ended.take(place.at);
            self.forget(key.uid, place.at_us);
        }
    }

    /// Divides a submit of a session. `persistent`: what its destination numbers outlives the boot.
    /// Returns nothing if the session does not speak for the instance: the client came back and
    /// submits again what it has no answer to.
    pub(super) fn recall<'a>(
        &mut self,
        key: InstanceKey,
        session: SessionId,
        submit: &Submit<'a>,
        persistent: bool,
    ) -> Option<Recalled<'a>> {
        let instance = self.known.get_mut(&key)?;
        if instance.session != Some(session) {
            return None;
        }
        let (mut again, mut unknown) = (Vec::new(), Vec::new());
        let mut new = Vec::with_capacity(submit.lines.len());
        for (counter, line) in (0..).map(|at| submit.first.saturating_add(at)).zip(&submit.lines) {
            instance.submitted = instance.submitted.max(counter);
            if let Some((stream, seq, stored)) = instance.find(counter) {
                again.push(Again { counter, stream, seq, stored, reply_to: line.reply_to });
            } else if instance.is_new(counter, persistent) {
                new.push((counter, *line));
            } else {
                unknown.push(counter);
            }
        }
        Some(Recalled { again, unknown, new: NewLines(new) })
    }

    /// New lines with consecutive counters were numbered.
    pub(super) fn numbered(
        &mut self,
        key: InstanceKey,
        (counter, count): (u64, u64),
        (stream, stored): (StreamId, bool),
        seq: u64,
    ) {
        if let Some(instance) = self.known.get_mut(&key) {
            instance.add(CounterRun { counter, count, stream, seq, stored });
        }
    }

    /// A line was not stored: its counter is new again. Returns the session that has to be
    /// notified; one that came back and has not submitted it again will find it new.
    pub(super) fn not_stored(&mut self, key: InstanceKey, counter: u64) -> Option<SessionId> {
        let instance = self.known.get_mut(&key)?;
        instance.remove(counter);
        if let Some(place) = instance.place {
            match instance.knows_something() {
                true => self.end(key, place.at_us),
                false => {
                    self.ended.take(place.at);
                    self.known.remove(&key);
                }
            }
            return None;
        }
        instance.session.filter(|_| instance.submitted >= counter)
    }

    /// Stream and sequence number of a submit, if it is on record.
    pub(super) fn submitted(&self, key: InstanceKey, counter: u64) -> Option<(StreamId, u64)> {
        self.known.get(&key)?.find(counter).map(|(stream, seq, _)| (stream, seq))
    }

    /// The session that speaks for an instance.
    pub(super) fn session_of(&self, key: InstanceKey) -> Option<SessionId> {
        self.known.get(&key)?.session
    }

    /// Notes jobs that an instance has as a worker whose connection breaks.
    pub(super) fn had_jobs(
        &mut self,
        key: InstanceKey,
        jobs: impl Iterator<Item = (StreamId, u64)>,
    ) {
        let Some(instance) = self.known.get_mut(&key) else { return };
        instance.jobs.extend(jobs);
        while instance.jobs.len() > ANSWER_JOBS_MAX + REQUESTS_DONE_KEPT_MAX {
            instance.jobs.pop_first();
        }
    }

    /// Returns true if an instance had a job when its connection broke.
    pub(super) fn has_had_job(&self, key: InstanceKey, job: (StreamId, u64)) -> bool {
        self.known.get(&key).is_some_and(|instance| instance.jobs.contains(&job))
    }

    /// The counters of all instances, as text.
    #[cfg(test)]
    pub(super) fn digest(&self) -> String {
        let all = self.known.iter().map(|(key, instance)| (*key, &instance.runs));
        format!("{:?}", all.collect::<std::collections::BTreeMap<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: StreamId = StreamId(1);
    const OPS: StreamId = StreamId(2);
    const NEVER: EarlierSubmits = EarlierSubmits { highest: 0, since_us: 0 };

    fn key(uid: u32, number: u64) -> InstanceKey {
        let mut instance = [1; 16];
        instance[..8].copy_from_slice(&number.to_le_bytes());
        InstanceKey::of(uid, instance, SessionId(0))
    }

    /// The answers to some counters: a sequence number, unknown (`None`), or 0 for a new one.
    fn recall(
        instances: &mut Instances,
        key: InstanceKey,
        first: u64,
        count: usize,
    ) -> Vec<Option<u64>> {
        let lines = vec![Line { reply_to: None, text: "x".try_into().unwrap() }; count];
        let to = crate::chat::frames::Destination::Stream(DEV);
        let submit = Submit { first, to, to_label: None, lines };
        let speaks = instances.session_of(key).unwrap();
        let recalled = instances.recall(key, speaks, &submit, true).unwrap();
        let again = recalled.again.iter().map(|again| (again.counter, Some(again.seq)));
        let unknown = recalled.unknown.iter().map(|counter| (*counter, None));
        let new = recalled.new.iter().map(|(counter, _)| (counter, Some(0)));
        let all: std::collections::BTreeMap<_, _> = again.chain(unknown).chain(new).collect();
        assert_eq!(all.len(), count, "one answer for each counter");
        all.into_values().collect()
    }

    /// An instance numbers one message and its connection breaks.
    fn submit_and_break(instances: &mut Instances, key: InstanceKey, at_us: i64) {
        instances.attach(at_us, key, SessionId(1), NEVER, true);
        instances.numbered(key, (1, 1), (DEV, true), 7);
        instances.detach(at_us, key, SessionId(1), false);
    }

    #[test]
    fn counters_too_old_to_tell_are_unknown_and_never_new() {
        let mut instances = Instances::default();
        let key = key(1, 1);
        instances.attach(1, key, SessionId(1), NEVER, true);
        // In two streams by turns: a run for each.
        for counter in 1..=3_000 {
            assert_eq!(recall(&mut instances, key, counter, 1), [Some(0)]);
            let stream = if counter % 2 == 0 { DEV } else { OPS };
            instances.numbered(key, (counter, 1), (stream, true), counter + 10);
        }
        let kept = UNACKED_SUBMITS_MAX as u64;
        assert_eq!(recall(&mut instances, key, 1, 2), [None, None]);
        assert_eq!(recall(&mut instances, key, 3_000 - kept, 2), [None, Some(3_011 - kept)]);
        assert_eq!(recall(&mut instances, key, 3_000, 2), [Some(3_010), Some(0)]);
        assert_eq!(instances.known[&key].runs.len(), UNACKED_SUBMITS_MAX);
        assert_eq!(recall(&mut instances, key, u64::MAX - 1, 1), [Some(0)]);
    }

    #[test]
    fn flapping_client_does_not_push_out_others() {
        let mut instances = Instances::default();
        let (flapping, other) = (key(1, 1), key(1, 2));
        submit_and_break(&mut instances, other, 1);
        instances.attach(2, flapping, SessionId(1), NEVER, true);
        for counter in 1..=2_000 {
            let stream = if counter % 2 == 0 { DEV } else { OPS };
            instances.numbered(flapping, (counter, 1), (stream, true), counter);
        }
        for at_us in 3..500 {
            instances.detach(at_us, flapping, SessionId(1), false);
            assert_eq!(instances.ended.weight(), 2 + 1 + UNACKED_SUBMITS_MAX);
            instances.attach(at_us, flapping, SessionId(1), NEVER, true);
            assert_eq!((instances.ended.weight(), instances.ended.len()), (2, 1));
        }
        instances.attach(500, other, SessionId(1), NEVER, true);
        assert_eq!(recall(&mut instances, other, 1, 1), [Some(7)]);
        assert_eq!(recall(&mut instances, flapping, 2_000, 1), [Some(2_000)]);
    }

    #[test]
    fn full_record_drops_the_oldest_of_the_heaviest_user() {
        let mut instances = Instances::default();
        submit_and_break(&mut instances, key(2, 0), 1);
        let many = ENDED_INSTANCE_RUNS_MAX as u64 / 2;
        for number in 0..many + 5 {
            submit_and_break(&mut instances, key(1, number), 10 + number.cast_signed());
        }
        assert!(instances.ended.weight() <= ENDED_INSTANCE_RUNS_MAX);
        assert_eq!(instances.known.len(), instances.ended.len());
        let come_back = |instances: &mut Instances, key, since_us| {
            let earlier = EarlierSubmits { highest: 1, since_us };
            instances.attach(1_000_000, key, SessionId(1), earlier, true);
            recall(instances, key, 1, 2)
        };
        // What was dropped is unknown, and what comes after it is new.
        assert_eq!(come_back(&mut instances, key(1, 3), 13), [None, Some(0)]);
        assert_eq!(come_back(&mut instances, key(1, 100), 110), [Some(7), Some(0)]);
        assert_eq!(come_back(&mut instances, key(2, 0), 1), [Some(7), Some(0)]);
        // The server never read these: of this user nothing was dropped, or nothing so young.
        assert_eq!(come_back(&mut instances, key(2, 5), 5), [Some(0), Some(0)]);
        assert_eq!(come_back(&mut instances, key(1, many * 2), 500_000), [Some(0), Some(0)]);
        assert_eq!(come_back(&mut instances, key(1, many * 3), 0), [None, Some(0)]);
    }

    #[test]
    fn users_with_dropped_submits_are_bounded() {
        let mut instances = Instances::default();
        for uid in 0..3 * FORGOTTEN_USERS_MAX as u32 {
            instances.forget(uid, i64::from(uid) + 10);
        }
        assert!(instances.dropped.len() <= FORGOTTEN_USERS_MAX);
        let late = 1_000_000;
        assert!(instances.is_complete(1, late, late, true));
        assert!(!instances.is_complete(1, 11, late, true), "none is taken for complete");
    }

    #[test]
    fn record_without_a_store_begins_with_the_boot() {
        let mut instances = Instances::default();
        let (old, new) = (key(1, 1), key(1, 2));
        let earlier = |since_us| EarlierSubmits { highest: 5, since_us };
        instances.attach(100, old, SessionId(1), earlier(99), false);
        assert_eq!(recall(&mut instances, old, 5, 2), [None, Some(0)]);
        instances.attach(200, new, SessionId(1), earlier(150), false);
        assert_eq!(recall(&mut instances, new, 5, 2), [Some(0), Some(0)]);
        // A record of a day, as a store has it.
        let day_us = SUBMITS_KEPT_MS.cast_signed() * 1000;
        let mut instances = Instances::default();
        instances.attach(2 * day_us, old, SessionId(1), earlier(day_us - 1), true);
        instances.attach(2 * day_us, new, SessionId(1), earlier(day_us), true);
        assert_eq!(recall(&mut instances, old, 5, 1), [None]);
        assert_eq!(recall(&mut instances, new, 5, 1), [Some(0)]);
    }

    #[test]
    fn instance_that_says_good_bye_leaves_nothing() {
        let mut instances = Instances::default();
        for number in 0..10 {
            instances.attach(1, key(1, number), SessionId(1), NEVER, true);
            instances.numbered(key(1, number), (1, 1), (DEV, true), 1);
            instances.detach(1, key(1, number), SessionId(1), true);
        }
        assert!(instances.known.is_empty() && instances.ended.weight() == 0);
        assert_eq!(instances.take_quit().len(), 10);
        assert!(instances.take_quit().is_empty());
    }

    #[test]
    fn unnamed_instance_is_not_stored_and_ends_with_its_session() {
        let mut instances = Instances::default();
        let unnamed = InstanceKey::of(1, [0; 16], SessionId(1));
        assert_eq!(unnamed.stored_as(), None);
        // It is not the instance of a client that chose those bytes.
        let mut same = [0; 16];
        same[8..].copy_from_slice(&1_u64.to_le_bytes());
        assert_ne!(unnamed, InstanceKey::of(1, same, SessionId(1)));
        submit_and_break(&mut instances, unnamed, 1);
        assert!(instances.known.is_empty() && instances.take_quit().is_empty());
    }

    #[test]
    fn restored_instances_weigh_their_runs() {
        let mut instances = Instances::default();
        for counter in 1..=5_000_u64 {
            let stream = if counter % 2 == 0 { DEV } else { OPS };
            let run = (counter, 1, counter);
            instances.restore((1, [7; 16]), run, Some(stream), counter.cast_signed());
        }
        assert_eq!(instances.ended.weight(), 1 + UNACKED_SUBMITS_MAX);
        instances.restore((1, [8; 16]), (4, 3, 1), None, 1);
        let key = InstanceKey::of(1, [8; 16], SessionId(1));
        instances.attach(9_000, key, SessionId(1), NEVER, true);
        // Its room is gone.
        assert_eq!(recall(&mut instances, key, 6, 2), [None, Some(0)]);
    }

    #[test]
    fn partly_restored_instance_is_not_taken_for_the_whole() {
        let mut instances = Instances::default();
        // Counter 6 was loaded; what was stored up to the wall clock 500 was not.
        instances.restore((1, [7; 16]), (6, 1, 60), Some(DEV), 600);
        instances.forget(1, 500);
        let key = InstanceKey::of(1, [7; 16], SessionId(1));
        instances.attach(
            1_000,
            key,
            SessionId(1),
            EarlierSubmits { highest: 6, since_us: 400 },
            true,
        );
        assert_eq!(recall(&mut instances, key, 5, 3), [None, Some(60), Some(0)]);
    }

    #[test]
    fn failed_submits_of_ended_instances_leave_nothing() {
        let mut instances = Instances::default();
        let key = key(1, 1);
        submit_and_break(&mut instances, key, 1);
        assert_eq!(instances.not_stored(key, 1), None);
        assert!(instances.known.is_empty() && instances.ended.weight() == 0);
        assert_eq!(instances.ended.weight(), 0);
        // In the middle of a run.
        instances.attach(1, key, SessionId(1), NEVER, true);
        instances.numbered(key, (1, 5), (DEV, true), 1);
        assert_eq!(recall(&mut instances, key, 1, 5), [1, 2, 3, 4, 5].map(Some));
        assert_eq!(instances.not_stored(key, 3), Some(SessionId(1)));
        assert_eq!(recall(&mut instances, key, 1, 5), [1, 2, 0, 4, 5].map(Some));
        instances.numbered(key, (3, 1), (OPS, true), 1);
        assert_eq!(recall(&mut instances, key, 1, 5), [1, 2, 1, 4, 5].map(Some));
    }

    #[test]
    fn superseded_session_submits_nothing() {
        let mut instances = Instances::default();
        let key = key(1, 1);
        let lines = vec![Line { reply_to: None, text: "x".try_into().unwrap() }];
        let to = crate::chat::frames::Destination::Stream(DEV);
        let submit = Submit { first: 1, to, to_label: None, lines };
        let recalls = |instances: &mut Instances, id| {
            instances.recall(key, SessionId(id), &submit, true).is_some()
        };
        instances.attach(1, key, SessionId(1), NEVER, true);
        assert!(recalls(&mut instances, 1));
        instances.attach(1, key, SessionId(2), NEVER, true);
        assert!(!recalls(&mut instances, 1) && recalls(&mut instances, 2));
        instances.numbered(key, (1, 1), (DEV, true), 1);
        // What the old connection still held is read after the new one has ended, in any way.
        instances.detach(1, key, SessionId(2), false);
        assert!(!recalls(&mut instances, 1));
        instances.attach(1, key, SessionId(3), NEVER, true);
        instances.detach(1, key, SessionId(3), true);
        assert!(!recalls(&mut instances, 1));
    }
}
