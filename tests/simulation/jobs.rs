//! Jobs and workers in a world from a seed: senders and workers stop, break, come back or end, commits fail,
//! bounds are reached, rooms are deleted.
//!
//! A book that shares no code with the hub watches the promises: no job waits beside a free worker, none is
//! done twice unless its worker ended or was away, each request gets exactly one answer, only a published
//! message of its own sender is ever offered, and the sender learns how its jobs went that have no reply.
//!
//! `MOOT_SEEDS=50000 cargo test --test simulation jobs` runs more worlds, `MOOT_SEED=N` plays one again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

use moot::{
    chat::{
        clock::Now,
        event::Event,
        frames::{Destination, Frame, Hello, Line, Submit},
        hub::{Action, Hub, HubConfig},
        member::{EndCause, Kind, Peer, SessionId},
        message::BootId,
        names::{Label, RoomName, UserName},
        refusal::RefusalCode,
        reply::Reply,
        request::{Answering, Begin, Follow, Request},
        store::Entry,
        stream_id::StreamId,
    },
    wire::frame::batch_header,
};

use crate::random::Random;

const MS: u64 = 1_000;
/// Worlds of a normal run.
const SEEDS: u64 = 400;
/// A job beside a free worker is taken within this time: an offer or two to stopped workers, the pause
/// before a job that is asked again.
const PATIENCE_US: u64 = 8_000 * MS;
/// A worker that is back sooner keeps its jobs (three seconds, less a step and a tick).
const AWAY_US: u64 = 2_600 * MS;
/// A worker that runs again for this time is known to.
const RESPONSIVE_US: u64 = 3_000 * MS;
/// Each request is answered within this time: the store answers sooner.
const ANSWER_US: u64 = 3_000 * MS;

/// A sender and its message.
type Author = ([u8; 16], u64);
/// Room and number of a job.
type Key = (StreamId, u64);
/// A queue: a name, or the one worker that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Queue {
    Named(u8),
    Own([u8; 16]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Join,
    Ask(u64),
    Answer,
    Take(u64),
    /// The outcome of a job without a reply.
    Outcome(u64),
}

#[derive(Debug)]
struct Held {
    taken: bool,
    ends_us: u64,
    /// Counter of the reply.
    reply: Option<u64>,
}

#[derive(Debug, Default)]
struct Job {
    seq: Option<u64>,
    /// The server said that it is a job, in this session.
    is_open: bool,
    /// When it is asked for (again).
    ask_us: u64,
    ends_us: u64,
}

#[derive(Debug)]
struct Client {
    instance: [u8; 16],
    pid: u32,
    /// None: a sender.
    queue: Option<Queue>,
    jobs_max: u32,
    session: Option<SessionId>,
    /// A session that was left open when the next one began, and its end.
    old: Option<(SessionId, u64)>,
    back_us: u64,
    stopped: bool,
    /// Since when it is connected and runs.
    runs_since_us: u64,
    came_us: u64,
    inbox: VecDeque<Frame>,
    requests: BTreeMap<u32, (Asked, u64)>,
    serial: u32,
    tag: Option<StreamId>,
    is_worker: bool,
    counter: u64,
    /// Not acknowledged yet: what it replies to.
    unacked: BTreeMap<u64, Option<u64>>,
    jobs: BTreeMap<u64, Job>,
    /// Jobs, and processes that reported an outcome without a reply to it.
    outcomes: BTreeSet<(u64, u32)>,
    held: BTreeMap<u64, Held>,
    done: BTreeSet<u64>,
}

/// What the book knows of the worker that has a job of a queue.
#[derive(Debug)]
struct Holder {
    instance: [u8; 16],
    /// It was connected all the time.
    is_steady: bool,
    away_us: Option<u64>,
    /// Its process ended; a reply may still be committed.
    is_ended: bool,
    is_done: bool,
}

impl Holder {
    /// No other worker gets the job meanwhile.
    fn holds(&self) -> bool {
        self.is_done || !self.is_ended
    }
}

#[derive(Debug, Default)]
struct Book {
    committed: BTreeMap<Key, Author>,
    /// Requests for jobs that were ever sent.
    asked: BTreeSet<Author>,
    holders: BTreeMap<(Key, Queue), Holder>,
    /// Queues that were ever offered a job, or reported it.
    offered: BTreeSet<(Key, Queue)>,
    waits_since: BTreeMap<(Key, Queue), u64>,
    /// Processes whose outcome without a reply the server took.
    outcomes: BTreeMap<(Key, Queue), BTreeSet<u32>>,
}

/// How often things happened in all worlds together.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    done: u64,
    again: u64,
    failed_commits: u64,
    early: u64,
    refused: u64,
    lost: u64,
    deleted: u64,
    outcomes: u64,
}

struct World {
    random: Random,
    trace: bool,
    now_us: u64,
    hub: Hub,
    clients: Vec<Client>,
    storing: Option<(u64, bool, Vec<Entry>)>,
    /// Queues of all sessions that were ever opened.
    workers: BTreeMap<SessionId, Queue>,
    next_session: u64,
    next_instance: u64,
    tick_us: u64,
    states_max: usize,
    states_per_sender_max: usize,
    room: u32,
    is_deleting: bool,
    book: Book,
    tally: Tally,
    /// Chance in a thousand, each step.
    breaks: u64,
    ends: u64,
    stops: u64,
    store_fails: u64,
    deletes: u64,
    quiet: bool,
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let mut rules = HubConfig::new(BootId(7), 0, batch_header);
        (rules.store, rules.persistent, rules.secret) = (true, true, [seed, 0]);
        if random.permille(300) {
            rules.job_states_max = 2 + random.below(8) as usize;
        }
        if random.permille(300) {
            rules.job_states_per_user_max = 1 + random.below(4) as usize;
        }
        let mut chance = |max: u64| if random.permille(750) { random.below(max + 1) } else { 0 };
        let (breaks, ends, stops) = (chance(12), chance(4), chance(10));
        let (store_fails, deletes) = (chance(150), chance(2));
        let mut world = Self {
            trace,
            now_us: 1_000_000,
            states_max: rules.job_states_max,
            states_per_sender_max: rules.job_states_per_user_max,
            hub: Hub::new(rules),
            clients: Vec::new(),
            storing: None,
            workers: BTreeMap::new(),
            next_session: 1,
            next_instance: 1,
            tick_us: 0,
            room: 1,
            is_deleting: false,
            book: Book::default(),
            tally: Tally::default(),
            breaks,
            ends,
            stops,
            store_fails,
            deletes,
            quiet: false,
            random,
        };
        for _ in 0..1 + world.random.below(4) {
            let client = world.client(None);
            world.clients.push(client);
        }
        for _ in 0..1 + world.random.below(4) {
            let queue = world.random.permille(700).then(|| world.random.below(2) as u8);
            let client = world.client(Some(queue));
            world.clients.push(client);
        }
        world
    }

    /// A process of its own. A worker of a queue, for itself, or a sender.
    fn client(&mut self, work: Option<Option<u8>>) -> Client {
        let number = self.next_instance;
        self.next_instance += 1;
        let mut instance = [0; 16];
        instance[..8].copy_from_slice(&number.to_le_bytes());
        Client {
            instance,
            pid: number as u32,
            queue: work.map(|name| name.map_or(Queue::Own(instance), Queue::Named)),
            jobs_max: 1 + self.random.below(2) as u32,
            session: None,
            old: None,
            back_us: self.now_us + self.random.below(2_000) * MS,
            stopped: false,
            runs_since_us: 0,
            came_us: 0,
            inbox: VecDeque::new(),
            requests: BTreeMap::new(),
            serial: 0,
            tag: None,
            is_worker: false,
            counter: 0,
            unacked: BTreeMap::new(),
            jobs: BTreeMap::new(),
            outcomes: BTreeSet::new(),
            held: BTreeMap::new(),
            done: BTreeSet::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono_us: self.now_us, wall_us: self.now_us.cast_signed() }
    }

    #[expect(clippy::print_stdout, reason = "for the reader of a seed that is played again")]
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>7} {}", self.now_us / MS, what());
        }
    }

    fn run(&mut self) -> Tally {
        let steps = 300 + self.random.below(900);
        for _ in 0..steps {
            self.step();
        }
        // At the end everything works: what can be done is done.
        self.quiet = true;
        for at in 0..self.clients.len() {
            self.go_on(at);
        }
        let until_us = self.now_us + 2 * PATIENCE_US;
        while self.now_us < until_us {
            self.step();
        }
        self.check_outcomes();
        self.tally
    }

    fn step(&mut self) {
        self.now_us += (5 + self.random.below(50)) * MS;
        if let Some((_, well, entries)) =
            self.storing.take_if(|(due_us, ..)| *due_us <= self.now_us)
        {
            self.store_answers(well, &entries);
        }
        if !self.quiet {
            self.disturb();
        }
        for at in 0..self.clients.len() {
            self.act(at);
        }
        self.hub.end_turn(self.now());
        self.carry_out();
        if self.now_us >= self.tick_us {
            self.hub.tick(self.now());
            self.carry_out();
            self.tick_us = self.now_us + self.hub.tick_after_ms() * MS;
        }
        self.check();
    }

    // ---- faults ------------------------------------------------------------------------------

    fn disturb(&mut self) {
        if self.random.permille(self.deletes) {
            self.delete_room();
        }
        for at in 0..self.clients.len() {
            if self.clients[at].stopped {
                if self.random.permille(8) {
                    self.go_on(at);
                }
            } else if self.random.permille(self.stops) {
                self.tell(|| format!("client {at} stops"));
                self.clients[at].stopped = true;
            }
            if self.clients[at].session.is_none() {
                continue;
            }
            if self.random.permille(self.breaks) {
                self.break_off(at);
            } else if self.random.permille(self.ends) {
                let cause =
                    if self.random.permille(500) { EndCause::Killed } else { EndCause::Quit };
                self.end(at, cause);
            }
        }
    }

    fn go_on(&mut self, at: usize) {
        if std::mem::take(&mut self.clients[at].stopped) {
            self.tell(|| format!("client {at} goes on"));
            self.clients[at].runs_since_us = self.now_us;
        }
    }

    fn break_off(&mut self, at: usize) {
        let away = match self.random.below(3) {
            0 => self.random.below(500),
            1 => self.random.below(3_500),
            _ => self.random.below(15_000),
        };
        let now_us = self.now_us;
        // Its end is sometimes seen only after the next session has begun.
        let late = self.random.permille(250).then(|| away + self.random.below(1_500));
        let client = &mut self.clients[at];
        let Some(session) = client.session.take() else { return };
        client.back_us = now_us + away * MS;
        client.inbox.clear();
        client.requests.clear();
        client.tag = None;
        client.is_worker = false;
        client.jobs.values_mut().for_each(|job| job.is_open = false);
        // What was not confirmed was never begun.
        client.held.retain(|_, held| held.taken);
        let instance = client.instance;
        self.book.away(instance, now_us);
        self.tell(|| format!("client {at} breaks for {away} ms, its end is seen {late:?}"));
        match (late, self.clients[at].old) {
            (Some(after), None) => self.clients[at].old = Some((session, now_us + after * MS)),
            _ => self.close(session, EndCause::Closed),
        }
    }

    /// Its process ends; another one takes its place.
    fn end(&mut self, at: usize, cause: EndCause) {
        self.tell(|| format!("client {at} ends: {cause:?}"));
        let old = &self.clients[at];
        let (sessions, instance) = ([old.session, old.old.map(|(id, _)| id)], old.instance);
        let work = old.queue.map(|queue| match queue {
            Queue::Named(name) => Some(name),
            Queue::Own(_) => None,
        });
        self.book.ended(instance);
        self.clients[at] = self.client(work);
        for session in sessions.into_iter().flatten() {
            self.close(session, cause);
        }
    }

    fn close(&mut self, session: SessionId, cause: EndCause) {
        self.hub.close(self.now(), session, cause);
        self.carry_out();
    }

    fn delete_room(&mut self) {
        self.tell(|| "the room is deleted".to_owned());
        self.is_deleting = true;
        let id = self.open(0, [0xff; 16]);
        let room = self.room_name();
        self.hub.request(self.now(), id, 1, Request::DeleteRoom { room });
        self.tally.deleted += 1;
        // Everything under way in the room comes first.
        for _ in 0..3 {
            self.hub.end_turn(self.now());
            self.carry_out();
            if let Some((_, well, entries)) = self.storing.take() {
                self.store_answers(well, &entries);
            }
        }
        self.close(id, EndCause::Quit);
        self.room += 1;
        // Requests were answered before the room was gone.
        for at in 0..self.clients.len() {
            self.read(at);
            let client = &mut self.clients[at];
            assert!(
                !client.requests.values().any(|(asked, _)| matches!(asked, Asked::Ask(_))),
                "a request without an answer in a deleted room"
            );
            let (stopped, back_us) = (client.stopped, self.now_us);
            if let Some(session) = client.session {
                self.hub.close(Now { mono_us: back_us, wall_us: 1 }, session, EndCause::Quit);
            }
            if let Some((session, _)) = self.clients[at].old {
                self.hub.close(Now { mono_us: back_us, wall_us: 1 }, session, EndCause::Quit);
            }
            let work = self.clients[at].queue.map(|queue| match queue {
                Queue::Named(name) => Some(name),
                Queue::Own(_) => None,
            });
            let mut next = self.client(work);
            next.stopped = stopped;
            self.clients[at] = next;
            self.carry_out();
        }
        self.book = Book::default();
        self.is_deleting = false;
    }

    // ---- the store ---------------------------------------------------------------------------

    fn store_answers(&mut self, well: bool, entries: &[Entry]) {
        if !well {
            self.tell(|| format!("{} entries are not stored", entries.len()));
            self.tally.failed_commits += 1;
            self.hub.store_failed(self.now(), "disk full");
            return self.carry_out();
        }
        let Some(tag) = self.hub.room_tag(&self.room_name()) else {
            self.hub.stored(self.now());
            return self.carry_out();
        };
        for entry in entries {
            let Some((instance, counter)) = entry.submit else { continue };
            self.tell(|| format!("{} is stored, in reply to {:?}", entry.seq, entry.reply_to));
            self.book.committed.insert((tag, entry.seq), (instance, counter));
            if let Some(to) = entry.reply_to {
                self.book.replied((tag, to), instance);
            }
        }
        self.hub.stored(self.now());
        self.carry_out();
    }

    // ---- clients -----------------------------------------------------------------------------

    fn room_name(&self) -> RoomName {
        RoomName::new(&format!("dev{}", self.room)).unwrap()
    }

    fn open(&mut self, pid: u32, instance: [u8; 16]) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let user = UserName::new("ann").unwrap();
        let peer = Peer { uid: 0, user, pid, start: 0 };
        let hello = Hello { kind: Kind::Script, ..hello(instance) };
        self.hub.open(self.now(), id, peer, hello).unwrap();
        id
    }

    fn act(&mut self, at: usize) {
        let now_us = self.now_us;
        if let Some((session, _)) = self.clients[at].old.take_if(|(_, end_us)| *end_us <= now_us) {
            self.close(session, EndCause::Closed);
        }
        if self.clients[at].stopped {
            return;
        }
        let client = &mut self.clients[at];
        if client.session.is_none() {
            if client.back_us > now_us {
                return;
            }
            let (pid, instance) = (client.pid, client.instance);
            let id = self.open(pid, instance);
            let client = &mut self.clients[at];
            client.session = Some(id);
            self.workers.extend(client.queue.map(|queue| (id, queue)));
            (client.came_us, client.runs_since_us) = (now_us, now_us);
            self.tell(|| format!("client {at} comes as {id:?}"));
            let follow = Follow::Room(self.room_name());
            let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
            self.request(at, Asked::Join, join);
        }
        self.read(at);
        match self.clients[at].queue {
            None => self.send_jobs(at),
            Some(_) => self.work(at),
        }
    }

    fn request(&mut self, at: usize, asked: Asked, request: Request) {
        let client = &mut self.clients[at];
        let Some(session) = client.session else { return };
        client.serial += 1;
        let serial = client.serial;
        client.requests.insert(serial, (asked, self.now_us));
        self.hub.request(self.now(), session, serial, request);
        self.hub.heard(self.now(), session);
        self.carry_out();
    }

    fn submit(&mut self, at: usize, counter: u64) {
        let client = &mut self.clients[at];
        let (Some(session), Some(tag)) = (client.session, client.tag) else { return };
        let reply_to = client.unacked[&counter];
        let lines = vec![Line { reply_to, text: "x".try_into().unwrap() }];
        let submit = Submit { first: counter, to: Destination::Stream(tag), to_label: None, lines };
        self.hub.submit(self.now(), session, &submit);
        self.hub.heard(self.now(), session);
        self.carry_out();
    }

    fn say(&mut self, at: usize, reply_to: Option<u64>) -> u64 {
        let client = &mut self.clients[at];
        client.counter += 1;
        let counter = client.counter;
        client.unacked.insert(counter, reply_to);
        self.submit(at, counter);
        counter
    }

    fn ask(&mut self, at: usize, counter: u64, again: bool) {
        self.tell(|| format!("client {at} asks for {counter}, again: {again}"));
        self.book.asked.insert((self.clients[at].instance, counter));
        self.clients[at].jobs.entry(counter).or_default().ask_us = u64::MAX;
        self.tally.again += u64::from(again);
        self.request(at, Asked::Ask(counter), Request::Ask { counter, again });
    }

    fn send_jobs(&mut self, at: usize) {
        if self.clients[at].tag.is_none() {
            return;
        }
        let now_us = self.now_us;
        if !self.quiet && self.clients[at].jobs.len() < 3 && self.random.permille(30) {
            let counter = self.say(at, None);
            let ends_us = now_us + (500 + self.random.below(20_000)) * MS;
            let early = self.random.permille(400);
            let ask_us = u64::MAX;
            let job = Job { seq: None, is_open: false, ask_us, ends_us };
            self.clients[at].jobs.insert(counter, job);
            if early {
                self.tally.early += 1;
                self.ask(at, counter, false);
            }
        }
        let due: Vec<_> =
            self.clients[at].jobs.iter().filter(|(_, j)| j.ask_us <= now_us).collect();
        for counter in due.into_iter().map(|(counter, _)| *counter).collect::<Vec<_>>() {
            let again = self.random.permille(500);
            self.ask(at, counter, again);
        }
        // A sender has one session for its jobs: it ends when the last of them has its time.
        let jobs = &self.clients[at].jobs;
        if !self.quiet && !jobs.is_empty() && jobs.values().all(|job| job.ends_us <= now_us) {
            self.end(at, EndCause::Quit);
        }
    }

    fn work(&mut self, at: usize) {
        let now_us = self.now_us;
        let ended: Vec<u64> = self.clients[at]
            .held
            .iter()
            .filter(|(_, held)| held.taken && held.reply.is_none() && held.ends_us <= now_us)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in ended {
            if self.clients[at].tag.is_none() || !self.clients[at].is_worker {
                return;
            }
            if self.random.permille(200) {
                self.report(at, seq);
            } else {
                let counter = self.say(at, Some(seq));
                self.tell(|| format!("client {at} replies to {seq} as {counter}"));
                if let Some(held) = self.clients[at].held.get_mut(&seq) {
                    held.reply = Some(counter);
                }
            }
        }
    }

    /// There is no reply, which the sender gets to know.
    fn report(&mut self, at: usize, seq: u64) {
        let client = &mut self.clients[at];
        let (Some(stream), Some(held)) = (client.tag, client.held.get_mut(&seq)) else { return };
        held.ends_us = u64::MAX;
        held.reply = None;
        let request = Request::Answered { stream, seq, failed: true, silent: true };
        self.request(at, Asked::Outcome(seq), request);
    }

    fn read(&mut self, at: usize) {
        while let Some(frame) = self.clients[at].inbox.pop_front() {
            match frame {
                Frame::Reply { serial, result } => {
                    let Some((asked, _)) = self.clients[at].requests.remove(&serial) else {
                        panic!("two answers to one request: {result:?}");
                    };
                    self.answered(at, asked, result);
                }
                Frame::Ack(ack) => {
                    for index in 0..u64::from(ack.count) {
                        self.acknowledged(at, ack.first + index, ack.seq + index);
                    }
                }
                Frame::Nack { first, count, .. } => {
                    for counter in first..first + u64::from(count) {
                        self.refused(at, counter);
                    }
                }
                Frame::Event(Event::Offer { stream, seq, .. }) => self.offered(at, stream, seq),
                Frame::Event(Event::Answered { seq, by, silent: true, .. }) => {
                    self.tell(|| format!("client {at} learns how {seq} went"));
                    self.clients[at].outcomes.insert((seq, by.pid));
                }
                Frame::Event(Event::Ping) => {
                    if let Some(session) = self.clients[at].session {
                        self.hub.heard(self.now(), session);
                        self.carry_out();
                    }
                }
                Frame::Event(_) => {}
            }
        }
    }

    fn offered(&mut self, at: usize, stream: StreamId, seq: u64) {
        let client = &mut self.clients[at];
        if client.tag != Some(stream)
            || client.done.contains(&seq)
            || client.held.contains_key(&seq)
        {
            return;
        }
        client.held.insert(seq, Held { taken: false, ends_us: 0, reply: None });
        self.request(at, Asked::Take(seq), Request::Take { stream, seq });
    }

    fn acknowledged(&mut self, at: usize, counter: u64, seq: u64) {
        let client = &mut self.clients[at];
        client.unacked.remove(&counter);
        let now_us = self.now_us;
        let is_asked = client.requests.values().any(|(asked, _)| *asked == Asked::Ask(counter));
        if let Some(job) = client.jobs.get_mut(&counter) {
            job.seq = Some(seq);
            if !is_asked && !job.is_open {
                job.ask_us = now_us;
            }
        }
        let of_reply = |(_, held): &(&u64, &Held)| held.reply == Some(counter);
        if let Some(seq) = client.held.iter().find(of_reply).map(|(seq, _)| *seq) {
            client.held.remove(&seq);
            client.done.insert(seq);
            self.tally.done += 1;
        }
    }

    fn refused(&mut self, at: usize, counter: u64) {
        let client = &mut self.clients[at];
        client.unacked.remove(&counter);
        client.jobs.remove(&counter);
        let of_reply = |(_, held): &(&u64, &Held)| held.reply == Some(counter);
        if let Some(seq) = client.held.iter().find(of_reply).map(|(seq, _)| *seq) {
            self.report(at, seq);
        }
    }

    fn answered(
        &mut self,
        at: usize,
        asked: Asked,
        result: Result<Reply, moot::chat::refusal::Refusal>,
    ) {
        let now_us = self.now_us;
        let (instance, queue) = (self.clients[at].instance, self.clients[at].queue);
        match (asked, result) {
            (Asked::Join, Ok(Reply::Joined(infos))) => {
                self.clients[at].tag = Some(infos[0].tag);
                for counter in self.clients[at].unacked.keys().copied().collect::<Vec<_>>() {
                    self.submit(at, counter);
                }
                match queue {
                    Some(_) => self.register(at),
                    None => {
                        let known: Vec<u64> = self.clients[at]
                            .jobs
                            .iter()
                            .filter(|(_, job)| job.seq.is_some())
                            .map(|(counter, _)| *counter)
                            .collect();
                        for counter in known {
                            self.ask(at, counter, true);
                        }
                    }
                }
            }
            // All clients begin anew.
            (Asked::Join | Asked::Answer, Err(refusal))
                if self.is_deleting && refusal.code == RefusalCode::Absent => {}
            (Asked::Join, other) => panic!("no room to join: {other:?}"),
            (Asked::Ask(counter), result) => {
                let Some(job) = self.clients[at].jobs.get_mut(&counter) else { return };
                match result {
                    Ok(Reply::Asked { .. }) => job.is_open = true,
                    Ok(other) => panic!("{other:?}"),
                    // It is not stored, which the sender hears of beside this; or there are too many.
                    Err(refusal) => {
                        self.tally.refused += 1;
                        assert_eq!(refusal.code, RefusalCode::Failed, "{refusal:?}");
                        job.ask_us = now_us + 300 * MS;
                    }
                }
            }
            (Asked::Answer, Ok(Reply::Answering { lost })) => {
                self.clients[at].is_worker = true;
                self.tell(|| format!("client {at} has lost {lost:?}"));
                for seq in lost {
                    let Some(tag) = self.clients[at].tag else { continue };
                    if let Some(queue) = queue {
                        self.book.lost((tag, seq), queue, instance);
                    }
                    self.tally.lost += 1;
                    self.clients[at].held.remove(&seq);
                }
                let (Some(tag), Some(queue)) = (self.clients[at].tag, queue) else { return };
                for seq in self.clients[at].held.keys() {
                    self.book.kept((tag, *seq), queue, instance);
                }
            }
            (Asked::Answer, other) => panic!("no worker: {other:?}"),
            (Asked::Take(seq), Ok(_)) => {
                self.tell(|| format!("client {at} takes {seq}"));
                let ends_us = now_us + self.random.below(4_000) * MS;
                let client = &mut self.clients[at];
                let (Some(tag), Some(held)) = (client.tag, client.held.get_mut(&seq)) else {
                    return;
                };
                (held.taken, held.ends_us) = (true, ends_us);
                if let Some(queue) = queue {
                    self.book.taken((tag, seq), queue, instance);
                }
            }
            (Asked::Take(seq), Err(_)) => {
                self.clients[at].held.remove(&seq);
            }
            (Asked::Outcome(seq), result) => {
                self.tell(|| format!("client {at} reports {seq}: {result:?}"));
                self.clients[at].held.remove(&seq);
                if result.is_ok() {
                    self.clients[at].done.insert(seq);
                }
            }
        }
    }

    /// Makes it a worker, with what it works on and what it has done.
    fn register(&mut self, at: usize) {
        let client = &self.clients[at];
        let (Some(stream), Some(queue)) = (client.tag, client.queue) else { return };
        let (said, open): (Vec<_>, Vec<_>) =
            client.held.iter().partition(|(_, held)| held.reply.is_some());
        let holding: Vec<u64> = open.iter().map(|(seq, _)| **seq).collect();
        let done: Vec<u64> =
            client.done.iter().copied().chain(said.iter().map(|(seq, _)| **seq)).collect();
        let name = match queue {
            Queue::Named(name) => Some(Label::new(&format!("q{name}")).unwrap()),
            Queue::Own(_) => None,
        };
        let (jobs, instance) = (client.jobs_max, client.instance);
        self.tell(|| format!("client {at} works for {queue:?}, holds {holding:?}, did {done:?}"));
        self.book.back((stream, &holding, &done), queue, instance, self.now_us);
        let answering = Answering { stream, queue: name, jobs, holding, done };
        self.request(at, Asked::Answer, Request::Answer(answering));
    }

    fn carry_out(&mut self) {
        for action in self.hub.actions().collect::<Vec<_>>() {
            match action {
                Action::Send(id, frame) => {
                    if let Frame::Event(Event::Offer { stream, seq, before }) = &frame {
                        self.tell(|| format!("{seq} is offered to {id:?}, before: {before}"));
                        // It may be a session whose end was not seen yet.
                        let queue = self.workers[&id];
                        let author = self.book.committed.get(&(*stream, *seq));
                        let author = author.expect("only a committed message is offered");
                        assert!(self.book.asked.contains(author), "nobody asked for {seq}");
                        self.book.offered.insert(((*stream, *seq), queue));
                    }
                    let to = self.clients.iter_mut().find(|client| client.session == Some(id));
                    let Some(client) = to else { continue };
                    // What the server granted counts, though a stopped client has not read it yet.
                    if let (Frame::Reply { serial, result: Ok(_) }, Some(tag)) =
                        (&frame, client.tag)
                        && let Some((Asked::Outcome(seq), _)) = client.requests.get(serial)
                    {
                        self.book.replied((tag, *seq), client.instance);
                        let queue = client.queue.expect("a worker");
                        let outcomes = self.book.outcomes.entry(((tag, *seq), queue));
                        outcomes.or_default().insert(client.pid);
                    }
                    client.inbox.push_back(frame);
                }
                Action::Store(_, entries) => {
                    let due_us = self.now_us + self.random.below(400) * MS;
                    let well = self.quiet || !self.random.permille(self.store_fails);
                    self.storing = Some((due_us, well, entries));
                }
                _ => {}
            }
        }
    }

    // ---- promises ----------------------------------------------------------------------------

    fn check(&mut self) {
        let now_us = self.now_us;
        for client in self.clients.iter().filter(|client| !client.stopped) {
            for (asked, at_us) in client.requests.values() {
                assert!(now_us - at_us < ANSWER_US, "no answer to {asked:?}");
            }
        }
        let mut open: Vec<(usize, Key)> = Vec::new();
        for (at, client) in self.clients.iter().enumerate() {
            let (true, Some(tag)) = (client.session.is_some(), client.tag) else { continue };
            let open_jobs = client.jobs.values().filter(|job| job.is_open);
            open.extend(open_jobs.filter_map(|job| Some((at, (tag, job.seq?)))));
        }
        // A bound may keep a queue from a job; the book counts more states than there can be.
        let seqs_of = |client: &Client| -> BTreeSet<u64> {
            client.jobs.values().filter_map(|job| job.seq).collect()
        };
        let all: BTreeSet<u64> = self.clients.iter().flat_map(seqs_of).collect();
        let of_client = |at: usize| {
            let client = &self.clients[at];
            let (seqs, is_unsure) =
                (seqs_of(client), client.jobs.values().any(|job| job.seq.is_none()));
            // A job whose sender was cut off before it knew its number may be any that is no other's.
            let is_its = |seq: &u64| seqs.contains(seq) || (is_unsure && !all.contains(seq));
            self.book.offered.iter().filter(|((_, seq), _)| is_its(seq)).count()
        };
        let counts: Vec<usize> = (0..self.clients.len()).map(of_client).collect();
        let is_full = counts.iter().sum::<usize>() >= self.states_max;
        let mut waits = BTreeMap::new();
        for (at, key) in open {
            if is_full || counts[at] >= self.states_per_sender_max {
                continue;
            }
            for worker in &self.clients {
                let Some(queue) = worker.queue else { continue };
                let runs = worker.session.is_some() && worker.is_worker && !worker.stopped;
                let is_free = worker.held.len() < worker.jobs_max as usize;
                let is_known = now_us >= worker.runs_since_us + RESPONSIVE_US;
                let is_held = self.book.holders.get(&(key, queue)).is_some_and(Holder::holds);
                if !(runs && is_free && is_known) || is_held {
                    continue;
                }
                let since_us = self.book.waits_since.get(&(key, queue)).copied().unwrap_or(now_us);
                let waited = now_us - since_us;
                assert!(waited < PATIENCE_US, "{key:?} waits beside a free worker of {queue:?}");
                waits.insert((key, queue), since_us);
            }
        }
        self.book.waits_since = waits;
    }

    /// Each sender whose job is open knows how it went in each queue that has no reply to it.
    fn check_outcomes(&mut self) {
        for client in &self.clients {
            let open = client.jobs.values().filter(|job| job.is_open && client.session.is_some());
            for seq in open.filter_map(|job| job.seq) {
                for (((tag, of), queue), pids) in &self.book.outcomes {
                    if (Some(*tag), *of) != (client.tag, seq) {
                        continue;
                    }
                    let unread = client.inbox.iter().filter_map(|frame| match frame {
                        Frame::Event(Event::Answered { seq, by, .. }) => Some((*seq, by.pid)),
                        _ => None,
                    });
                    let mut known = client.outcomes.iter().copied().chain(unread);
                    let is_known = known.any(|(of, pid)| of == seq && pids.contains(&pid));
                    assert!(is_known, "the sender of {seq} waits for {queue:?}");
                    self.tally.outcomes += 1;
                }
            }
        }
    }
}

impl Book {
    fn away(&mut self, instance: [u8; 16], now_us: u64) {
        for holder in self.holders.values_mut().filter(|holder| holder.instance == instance) {
            holder.is_steady = false;
            holder.away_us.get_or_insert(now_us);
        }
    }

    /// Another worker may have its jobs from now on.
    fn ended(&mut self, instance: [u8; 16]) {
        for holder in self.holders.values_mut().filter(|holder| holder.instance == instance) {
            (holder.is_steady, holder.is_ended) = (false, true);
            holder.away_us = Some(0);
        }
    }

    /// A worker is back and reports its jobs.
    fn back(
        &mut self,
        (tag, holding, done): (StreamId, &[u64], &[u64]),
        queue: Queue,
        instance: [u8; 16],
        now_us: u64,
    ) {
        self.holders.retain(|((of, seq), of_queue), holder| {
            let is_reported = holding.contains(seq) || done.contains(seq);
            holder.instance != instance
                || (*of, *of_queue) != (tag, queue)
                || holder.is_done
                || is_reported
        });
        for seq in holding.iter().chain(done) {
            self.offered.insert(((tag, *seq), queue));
            let is_held = self.holders.get(&((tag, *seq), queue)).is_some_and(Holder::holds);
            if !is_held {
                let (away_us, is_ended, is_done) = (Some(0), false, false);
                let holder = Holder { instance, is_steady: false, away_us, is_ended, is_done };
                self.holders.insert(((tag, *seq), queue), holder);
            }
            let Some(holder) = self.holders.get_mut(&((tag, *seq), queue)) else { continue };
            // Back in time: the job is still its own, and so is the next break's time.
            if holder.instance == instance && holder.away_us.is_some_and(|us| now_us < us + AWAY_US)
            {
                holder.away_us = None;
            }
        }
    }

    fn taken(&mut self, key: Key, queue: Queue, instance: [u8; 16]) {
        if let Some(holder) = self.holders.get(&(key, queue)) {
            assert!(
                holder.instance == instance || !holder.is_steady,
                "{key:?} of {queue:?} is taken from a worker that was there all the time: {holder:?}"
            );
            assert!(
                !(holder.is_done && holder.is_steady),
                "{key:?} of {queue:?} is done twice: {holder:?}"
            );
        }
        let (is_ended, is_done) = (false, false);
        let holder = Holder { instance, is_steady: true, away_us: None, is_ended, is_done };
        self.holders.insert((key, queue), holder);
    }

    fn replied(&mut self, key: Key, instance: [u8; 16]) {
        let of_job = self.holders.range_mut((key, Queue::Named(0))..);
        let of_job = of_job.take_while(|((of, _), _)| *of == key).map(|(_, holder)| holder);
        for holder in of_job.filter(|holder| holder.instance == instance) {
            holder.is_done = true;
        }
    }

    /// A worker that is back has a job, and no other worker of the queue.
    fn kept(&mut self, key: Key, queue: Queue, instance: [u8; 16]) {
        if let Some(holder) = self.holders.get_mut(&(key, queue)).filter(|holder| !holder.is_done) {
            holder.instance = instance;
        }
    }

    /// A worker that is back has lost a job to another one, or to time.
    fn lost(&mut self, key: Key, queue: Queue, instance: [u8; 16]) {
        let Some(holder) = self.holders.get(&(key, queue)) else { return };
        assert!(
            holder.instance != instance || holder.away_us.is_some(),
            "{key:?} of {queue:?} is lost though its worker was back in time: {holder:?}"
        );
        if holder.instance == instance {
            self.holders.remove(&(key, queue));
        }
    }
}

fn hello(instance: [u8; 16]) -> Hello {
    Hello::new(None, Kind::Script, instance)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn jobs_reach_free_workers_whatever_breaks() {
    if let Some(seed) = number("MOOT_SEED") {
        World::new(seed, true).run();
        return;
    }
    let seeds = number("MOOT_SEEDS").unwrap_or(SEEDS);
    let halves = (0..2).map(|half| {
        std::thread::spawn(move || {
            (half..seeds).step_by(2).map(play).fold([0; 8], |sum, tally| {
                let Tally { done, again, failed_commits, early, refused, .. } = tally;
                let Tally { lost, deleted, outcomes, .. } = tally;
                let of_world =
                    [done, again, failed_commits, early, refused, lost, deleted, outcomes];
                std::array::from_fn(|at| sum[at] + of_world[at])
            })
        })
    });
    let halves: Vec<_> = halves.collect();
    let halves = halves.into_iter().map(|half| half.join().expect("see the seed above"));
    let sum: [u64; 8] =
        halves.fold([0; 8], |sum, half| std::array::from_fn(|at| sum[at] + half[at]));
    let is_all = sum.iter().all(|count| *count > 0);
    assert!(is_all || seeds < SEEDS, "something never happened: {sum:?}");
}

fn play(seed: u64) -> Tally {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, false).run())).unwrap_or_else(|_| {
        panic!(
            "seed {seed} failed; MOOT_SEED={seed} cargo test --test simulation jobs plays it again"
        )
    })
}
