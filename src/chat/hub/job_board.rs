//! The jobs of all rooms and the workers that are free for them.
//!
//! What is offered next is derived from two facts: how far a queue is with a job, which
//! [`Board::set_state`] alone changes, and what a worker is able to take, which
//! [`Board::set_worker`] alone changes. Both keep `matched` right, so no caller can forget to wake
//! a queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use rustc_hash::FxHashMap;

use super::{
    job::{Due, Job, JobKey, Load, Queue, Sender, State, Worker},
    outcomes::Outcomes,
};
use crate::{
    chat::{
        event::Event,
        hub::{
            JobLimits,
            accounts::{AccountId, share},
        },
        member::{Member, SessionId},
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{MISSED_EVENTS_MAX, REQUESTS_MAX},
};

/// One queue of one room while it has workers.
#[derive(Debug, Default)]
struct QueueLine {
    workers: usize,
    free: BTreeSet<(usize, u64, SessionId)>,
    /// Place of the first ready job that this queue has not looked at.
    next: u64,
    /// Jobs before that place that wait again.
    returned: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct RoomJobs {
    /// Jobs that may be offered, by place. A later place means that the job became ready later.
    ready: BTreeMap<u64, u64>,
    lines: BTreeMap<Queue, QueueLine>,
    workers: BTreeMap<SessionId, Worker>,
}

/// All jobs and workers. See the head of this file.
#[derive(Debug)]
pub(super) struct Board {
    jobs: BTreeMap<JobKey, Job>,
    rooms: BTreeMap<StreamId, RoomJobs>,
    loads: FxHashMap<AccountId, Load>,
    /// Jobs by the session that sent them.
    sent: BTreeSet<(SessionId, JobKey)>,
    due: BTreeSet<(u64, JobKey, Due)>,
    pub(super) outcomes: Outcomes,
    /// Queues with a free worker and a job that may wait.
    matched: BTreeSet<(StreamId, Queue)>,
    /// Jobs that a queue passed because a bound of states was reached.
    blocked: BTreeSet<(AccountId, JobKey)>,
    /// States of all jobs together.
    states: usize,
    limits: JobLimits,
    /// Accounts are users.
    host: bool,
    offers: u64,
    places: u64,
}

impl Board {
    pub(super) fn new(limits: JobLimits, host: bool) -> Self {
        Self {
            jobs: BTreeMap::new(),
            rooms: BTreeMap::new(),
            loads: FxHashMap::default(),
            sent: BTreeSet::new(),
            due: BTreeSet::new(),
            outcomes: Outcomes::default(),
            matched: BTreeSet::new(),
            blocked: BTreeSet::new(),
            states: 0,
            limits,
            host,
            offers: 0,
            places: 0,
        }
    }

    // ---- reading -----------------------------------------------------------------------------

    pub(super) fn job(&self, key: JobKey) -> Option<&Job> {
        self.jobs.get(&key)
    }

    pub(super) fn jobs_in(&self, tag: StreamId) -> impl Iterator<Item = (u64, &Job)> {
        self.jobs.range((tag, 0)..=(tag, u64::MAX)).map(|((_, seq), job)| (*seq, job))
    }

    /// Jobs of a room that a session sent.
    pub(super) fn sent_by(&self, id: SessionId, tag: StreamId) -> Vec<JobKey> {
        let of_room = self.sent.range((id, (tag, 0))..=(id, (tag, u64::MAX)));
        of_room.map(|(_, key)| *key).collect()
    }

    pub(super) fn load(&self, account: AccountId) -> Load {
        self.loads.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn worker(&self, tag: StreamId, id: SessionId) -> Option<&Worker> {
        self.rooms.get(&tag)?.workers.get(&id)
    }

    pub(super) fn workers(&self, tag: StreamId) -> impl Iterator<Item = (SessionId, &Worker)> {
        let room = self.rooms.get(&tag).into_iter();
        room.flat_map(|room| &room.workers).map(|(id, worker)| (*id, worker))
    }

    pub(super) fn worker_count(&self, tag: StreamId) -> usize {
        self.rooms.get(&tag).map_or(0, |room| room.workers.len())
    }

    /// Jobs that an account may have. On a system server all accounts share them.
    pub(super) fn share_of(&self, account: AccountId) -> usize {
        self.share(account, REQUESTS_MAX.saturating_sub(self.jobs.len()), self.load(account).jobs)
    }

    /// States that an account's jobs may have beside those that they have. On a system server all
    /// accounts share them.
    pub(super) fn states_left(&self, account: AccountId) -> usize {
        let own = self.load(account).states;
        let share = self.share(account, self.limits.states_max.saturating_sub(self.states), own);
        self.limits.states_per_user_max.min(share).saturating_sub(own)
    }

    fn share(&self, account: AccountId, free: usize, own: usize) -> usize {
        let others = self.loads.len() - usize::from(self.loads.contains_key(&account));
        share(free, own, if self.host { others } else { 0 })
    }

    // ---- jobs --------------------------------------------------------------------------------

    /// Adds a job; `known` says how far queues are with it already, which no bound keeps out.
    pub(super) fn open(
        &mut self,
        key: JobKey,
        account: AccountId,
        sender: SessionId,
        starts_us: Option<u64>,
        known: Vec<(Queue, State)>,
    ) {
        let sender = Sender::Here(sender);
        let (missed, queues) = (Vec::new(), BTreeMap::new());
        self.jobs.insert(key, Job { account, sender, starts_us, place: None, missed, queues });
        self.loads.entry(account).or_default().jobs += 1;
        self.set_sender(key, sender);
        for (queue, state) in known {
            self.set_state(key, &queue, Some(state));
        }
        match starts_us {
            Some(at_us) => {
                self.due.insert((at_us, key, Due::Start));
            }
            None => self.make_ready(key),
        }
    }

    /// Removes a job: the workers that had it are free.
    pub(super) fn remove(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if let (Some(place), Some(room)) = (job.place.take(), self.rooms.get_mut(&key.0)) {
            room.ready.remove(&place);
        }
        for queue in job.queues.keys().cloned().collect::<Vec<_>>() {
            self.set_state(key, &queue, None);
        }
        let Some(job) = self.jobs.remove(&key) else { return };
        self.forget_sender(key, job.sender);
        self.due.remove(&(job.starts_us.unwrap_or(0), key, Due::Start));
        self.blocked.remove(&(job.account, key));
        if let Some(load) = self.loads.get_mut(&job.account) {
            load.jobs -= 1;
            if *load == Load::default() {
                self.loads.remove(&job.account);
            }
        }
        if planted(Fault::EndedJobWakesNoQueue) {
            self.matched.retain(|(tag, _)| *tag != key.0);
        }
        self.drop_empty(key.0);
    }

    /// A job may be offered from now on; once more if a bound kept it from a queue.
    fn make_ready(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let room = self.rooms.entry(key.0).or_default();
        job.starts_us = None;
        if let Some(passed) = job.place.replace(self.places) {
            room.ready.remove(&passed);
        }
        room.ready.insert(self.places, key.1);
        self.places += 1;
        let free = room.lines.iter().filter(|(_, line)| !line.free.is_empty());
        for queue in free.map(|(queue, _)| queue.clone()).collect::<Vec<_>>() {
            self.settle(key.0, &queue);
        }
    }

    pub(super) fn set_sender(&mut self, key: JobKey, sender: Sender) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let old = std::mem::replace(&mut job.sender, sender);
        self.forget_sender(key, old);
        match sender {
            Sender::Here(id) => self.sent.insert((id, key)),
            Sender::Away { until_us } => self.due.insert((until_us, key, Due::Sender)),
        };
    }

    fn forget_sender(&mut self, key: JobKey, sender: Sender) {
        match sender {
            Sender::Here(id) => self.sent.remove(&(id, key)),
            Sender::Away { until_us } => self.due.remove(&(until_us, key, Due::Sender)),
        };
    }

    pub(super) fn sender(&self, key: JobKey) -> Option<SessionId> {
        match self.jobs.get(&key)?.sender {
            Sender::Here(id) => Some(id),
            Sender::Away { .. } => None,
        }
    }

    /// Returns the session that gets an event about a job; without one the event is kept for later.
    pub(super) fn reader_of(&mut self, key: JobKey, event: &Event) -> Option<SessionId> {
        let job = self.jobs.get_mut(&key)?;
        match job.sender {
            Sender::Here(id) => Some(id),
            Sender::Away { .. } => {
                if job.missed.len() < MISSED_EVENTS_MAX {
                    job.missed.push(event.clone());
                }
                None
            }
        }
    }

    pub(super) fn take_missed(&mut self, key: JobKey) -> Vec<Event> {
        self.jobs.get_mut(&key).map(|job| std::mem::take(&mut job.missed)).unwrap_or_default()
    }

    // ---- states ------------------------------------------------------------------------------

    /// Sets how far a queue is with a job. The one place where that changes: counts, times, the
    /// worker's capacity and what waits follow from it.
    pub(super) fn set_state(&mut self, key: JobKey, queue: &Queue, new: Option<State>) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let (tag, seq) = key;
        let (account, place) = (job.account, job.place);
        let waits = matches!(new, None | Some(State::Waiting { .. }));
        let (until_us, worker) =
            (new.as_ref().and_then(State::until_us), new.as_ref().and_then(State::worker));
        let more = usize::from(new.is_some());
        let old = match new {
            Some(new) => job.queues.insert(queue.clone(), new),
            None => job.queues.remove(queue),
        };
        let fewer = usize::from(old.is_some());
        self.states = self.states + more - fewer;
        if let Some(load) = self.loads.get_mut(&account) {
            load.states = load.states + more - fewer;
        }
        if let Some(at_us) = old.as_ref().and_then(State::until_us) {
            self.due.remove(&(at_us, key, Due::State(queue.clone())));
        }
        if let Some(at_us) = until_us {
            self.due.insert((at_us, key, Due::State(queue.clone())));
        }
        if let Some(id) = old.as_ref().and_then(State::worker) {
            self.set_worker(tag, id, |worker| {
                worker.open.remove(&seq);
            });
        }
        if let Some(id) = worker {
            self.set_worker(tag, id, |worker| {
                worker.open.insert(seq);
            });
        }
        if let Some(line) = self.rooms.get_mut(&tag).and_then(|room| room.lines.get_mut(queue)) {
            // A later place is looked at anyway.
            match waits && place.is_some_and(|place| place < line.next) {
                true => line.returned.insert(seq),
                false => line.returned.remove(&seq),
            };
        }
        self.settle(tag, queue);
    }

    /// Forgets a queue whose only worker will not come back.
    pub(super) fn forget_queue(&mut self, tag: StreamId, queue: &Queue) {
        let known = self.jobs_in(tag).filter(|(_, job)| job.queues.contains_key(queue));
        for seq in known.map(|(seq, _)| seq).collect::<Vec<_>>() {
            self.set_state((tag, seq), queue, None);
        }
    }

    // ---- workers -----------------------------------------------------------------------------

    /// Adds a worker, or changes what it said of itself earlier.
    pub(super) fn put_worker(
        &mut self,
        tag: StreamId,
        id: SessionId,
        queue: &Queue,
        change: impl FnOnce(&mut Worker),
    ) {
        let room = self.rooms.entry(tag).or_default();
        if !room.workers.contains_key(&id) {
            room.lines.entry(queue.clone()).or_default().workers += 1;
            let worker = Worker {
                queue: queue.clone(),
                open: BTreeSet::new(),
                offered: 0,
                responsive: true,
                jobs_max: 0,
                holding: BTreeSet::new(),
                done: BTreeSet::new(),
            };
            room.workers.insert(id, worker);
        }
        self.set_worker(tag, id, change);
    }

    /// Changes a worker. The one place where that happens: whether it is free follows from it.
    pub(super) fn set_worker(
        &mut self,
        tag: StreamId,
        id: SessionId,
        change: impl FnOnce(&mut Worker),
    ) {
        let Some(room) = self.rooms.get_mut(&tag) else { return };
        let Some(worker) = room.workers.get_mut(&id) else { return };
        let Some(line) = room.lines.get_mut(&worker.queue) else { return };
        line.free.remove(&worker.turn(id));
        change(worker);
        if worker.is_free() {
            line.free.insert(worker.turn(id));
        }
        let queue = worker.queue.clone();
        self.settle(tag, &queue);
    }

    /// Removes a worker; `after` says what becomes of a job that it was offered or has taken.
    pub(super) fn remove_worker(
        &mut self,
        tag: StreamId,
        id: SessionId,
        mut after: impl FnMut(u64, &State) -> State,
    ) {
        self.set_worker(tag, id, |worker| worker.responsive = false);
        let Some(worker) = self.worker(tag, id) else { return };
        let (queue, open) = (worker.queue.clone(), worker.open.clone());
        for seq in open {
            let state = self.jobs.get(&(tag, seq)).and_then(|job| job.state(&queue));
            let state = state.map(|state| after(seq, state));
            self.set_state((tag, seq), &queue, state);
        }
        let Some(room) = self.rooms.get_mut(&tag) else { return };
        room.workers.remove(&id);
        let Some(line) = room.lines.get_mut(&queue) else { return };
        line.workers -= 1;
        if line.workers == 0 {
            // A job that no worker of the queue ever had is as new for the next one.
            for seq in line.returned.clone() {
                let state = self.jobs.get(&(tag, seq)).and_then(|job| job.state(&queue));
                if state == Some(&State::Waiting { before: 0 }) {
                    self.set_state((tag, seq), &queue, None);
                }
            }
            if let Some(room) = self.rooms.get_mut(&tag) {
                room.lines.remove(&queue);
            }
            self.settle(tag, &queue);
        }
        self.drop_empty(tag);
    }

    /// Removes all jobs and workers of a room.
    pub(super) fn remove_room(&mut self, tag: StreamId) {
        for seq in self.jobs_in(tag).map(|(seq, _)| seq).collect::<Vec<_>>() {
            self.remove((tag, seq));
        }
        self.outcomes.forget_room(tag);
        for id in self.workers(tag).map(|(id, _)| id).collect::<Vec<_>>() {
            self.remove_worker(tag, id, |_, state| state.clone());
        }
    }

    fn drop_empty(&mut self, tag: StreamId) {
        let is_empty = |room: &RoomJobs| room.ready.is_empty() && room.workers.is_empty();
        if self.rooms.get(&tag).is_some_and(is_empty) {
            self.rooms.remove(&tag);
        }
    }

    // ---- time and offers ---------------------------------------------------------------------

    /// Applies what is due: offers that no worker claimed, senders and workers that did not come
    /// back, jobs whose time has come. Returns the next job that lost its worker.
    pub(super) fn expire(&mut self, now_us: u64) -> Option<(JobKey, Member)> {
        while let Some((_, key, due)) = self.due.first().filter(|due| due.0 <= now_us).cloned() {
            self.due.pop_first();
            let Some(job) = self.jobs.get(&key) else { continue };
            let queue = match due {
                Due::Sender => {
                    self.remove(key);
                    continue;
                }
                Due::Start => {
                    self.make_ready(key);
                    continue;
                }
                Due::State(queue) => queue,
            };
            match job.queues.get(&queue) {
                Some(State::Offered { before, .. }) => {
                    let before = *before;
                    self.set_state(key, &queue, Some(State::Waiting { before }));
                }
                Some(State::Away { who, before, .. }) => {
                    let (who, before) = ((**who).clone(), before + 1);
                    self.set_state(key, &queue, Some(State::Waiting { before }));
                    return Some((key, who));
                }
                Some(State::Waiting { .. } | State::Taken { .. } | State::Done { .. }) | None => {}
            }
        }
        None
    }

    /// Jobs that a bound kept from a queue are looked at again as soon as the bound has room.
    pub(super) fn unblock(&mut self) {
        const LAST: JobKey = (StreamId(u32::MAX), u64::MAX);
        let mut next = self.blocked.first().copied();
        while let Some((account, key)) = next {
            let left = self.states_left(account);
            let of_account = self.blocked.range((account, key)..=(account, LAST));
            for (_, key) in of_account.take(left).copied().collect::<Vec<_>>() {
                self.blocked.remove(&(account, key));
                self.make_ready(key);
            }
            let others = (Bound::Excluded((account, LAST)), Bound::Unbounded);
            next = self.blocked.range(others).next().copied();
        }
    }

    /// Offers one job that waits to a free worker; none if no queue has both. Returns the worker,
    /// the job, and how many workers had it before.
    pub(super) fn offer(&mut self, until_us: u64) -> Option<(SessionId, JobKey, u32)> {
        while let Some((tag, queue)) = self.matched.first().cloned() {
            let offer = self.next_of(tag, &queue);
            if let Some((worker, key, before)) = offer {
                self.offers += 1;
                let number = self.offers;
                self.set_worker(tag, worker, |worker| worker.offered = number);
                let state = State::Offered { to: worker, before, until_us };
                self.set_state(key, &queue, Some(state));
                return offer;
            }
            self.settle(tag, &queue);
        }
        None
    }

    /// The free worker of a queue whose turn it is, and the job that it gets; none if the next job
    /// turns out not to wait in this queue.
    fn next_of(&mut self, tag: StreamId, queue: &Queue) -> Option<(SessionId, JobKey, u32)> {
        let room = self.rooms.get_mut(&tag)?;
        let line = room.lines.get_mut(queue)?;
        let (_, _, worker) = *line.free.first()?;
        let seq = match line.returned.pop_first() {
            Some(seq) => seq,
            None => {
                let (place, seq) = room.ready.range(line.next..).next()?;
                line.next = place + 1;
                *seq
            }
        };
        let key = (tag, seq);
        let job = self.jobs.get(&key)?;
        match job.queues.get(queue) {
            None if self.states_left(job.account) == 0 => {
                self.blocked.insert((job.account, key));
                None
            }
            None => Some((worker, key, 0)),
            Some(State::Waiting { before }) => Some((worker, key, *before)),
            Some(_) => None,
        }
    }

    /// Records whether a queue has both a free worker and a job that it has not looked at.
    fn settle(&mut self, tag: StreamId, queue: &Queue) {
        let room = self.rooms.get(&tag);
        let has_both = room.and_then(|room| Some((room, room.lines.get(queue)?))).is_some_and(
            |(room, line)| {
                let waits = |line: &QueueLine| room.ready.range(line.next..).next().is_some();
                !line.free.is_empty() && (!line.returned.is_empty() || waits(line))
            },
        );
        match has_both {
            true => self.matched.insert((tag, queue.clone())),
            false => self.matched.remove(&(tag, queue.clone())),
        };
    }
}

#[cfg(test)]
impl Board {
    pub(super) fn states(&self) -> usize {
        self.states
    }

    /// Derives everything again from jobs and workers, and compares.
    pub(super) fn check(&self) {
        assert_eq!(self.states, self.jobs.values().map(|job| job.queues.len()).sum::<usize>());
        let jobs: usize = self.loads.values().map(|load| load.jobs).sum();
        assert_eq!(jobs, self.jobs.len());
        self.outcomes.check();
        for (tag, room) in &self.rooms {
            for (id, worker) in &room.workers {
                let has = |(_, job): &(u64, &Job)| {
                    job.state(&worker.queue).and_then(State::worker) == Some(*id)
                };
                let open: BTreeSet<_> =
                    self.jobs_in(*tag).filter(has).map(|(seq, _)| seq).collect();
                assert_eq!(open, worker.open);
                let line = &room.lines[&worker.queue];
                assert_eq!(line.free.contains(&worker.turn(*id)), worker.is_free());
            }
            for (queue, line) in &room.lines {
                assert!(line.workers > 0 && line.free.len() <= line.workers);
                let waits = |(seq, job): &(u64, &Job)| {
                    let is_blocked = self.blocked.contains(&(job.account, (*tag, *seq)));
                    let waits = matches!(job.state(queue), None | Some(State::Waiting { .. }));
                    job.place.is_some() && waits && !is_blocked
                };
                if !line.free.is_empty() && self.jobs_in(*tag).any(|job| waits(&job)) {
                    assert!(self.matched.contains(&(*tag, queue.clone())), "a missed wake-up");
                }
            }
        }
    }
}
