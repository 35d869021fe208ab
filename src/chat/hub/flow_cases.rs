//! Cases of flow: what a member gets if a fetch, a repair or a window goes wrong, and what an
//! account may take.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for some actions")]

use std::collections::BTreeMap;

use super::{Action, Chunk, Hub, HubConfig, Rates, sessions::Wait};
use crate::{
    chat::{
        batch::{Builder, Head},
        clock::Now,
        event::{Event, GapReason},
        frames::{Destination, Frame, Hello, Line, Report, Submit},
        member::{Kind, Peer, SessionId},
        message::BootId,
        names::{RoomName, UserName},
        reply::Reply,
        request::{Begin, Follow, Request, SessionRequest},
        store::{Entry, Fetch, Fetched},
        stream_id::{Channel, ChannelKey, StreamId},
    },
    limits::{
        FETCH_NUMBERS_MAX, FETCH_PAUSE_MS_MAX, FETCH_PAUSE_MS_MIN, FRAME_HEADER_BYTES,
        HEADS_EVERY_MS, HEALTH_WINDOW_MS, IN_FLIGHT_BYTES_PER_STREAM_MAX, LAGGING_AFTER_MS,
        LAGGING_TOGETHER_AFTER_MS, MEMBERSHIP_TOLD_MEMBERS_MAX, MISSED_AFTER_MS, PING_AFTER_MS,
        REPAIR_RETRY_MS, REPORT_EVERY_MS, RETRY_PAUSE_MS_MIN, STALL_LOOK_EVERY_MS,
        STALLED_AFTER_MS, TICK_BUSY_MS, TICK_IDLE_MS,
    },
};

fn at(ms: u64) -> Now {
    Now { mono_us: ms * 1000, wall_us: 0 }
}

/// A hub with one room, and the store behind it.
struct World {
    hub: Hub,
    tag: StreamId,
    disk: BTreeMap<u64, Entry>,
    /// Transactions are committed at once.
    commits: bool,
    counters: BTreeMap<u64, u64>,
    fetches: Vec<Fetch>,
    /// Datagrams handed to the channel.
    published: u64,
    paused: Vec<u64>,
    resumed: Vec<u64>,
    events: Vec<(u64, Event)>,
}

#[derive(Debug, PartialEq, Eq, Clone)]
enum Got {
    Body(u64, u64),
    Gap(u64, u64, GapReason),
    Head(u64),
}

impl World {
    /// Each member is a user of its own, and listens from the beginning.
    fn new(members: u64, rules: impl FnOnce(&mut HubConfig)) -> Self {
        let mut all = HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]);
        rules(&mut all);
        let mut world = Self {
            hub: Hub::new(all),
            tag: StreamId(0),
            disk: BTreeMap::new(),
            commits: true,
            counters: BTreeMap::new(),
            fetches: Vec::new(),
            published: 0,
            paused: Vec::new(),
            resumed: Vec::new(),
            events: Vec::new(),
        };
        for number in 1..=members {
            let user = UserName::new(&format!("user{number}")).unwrap();
            let peer = Peer { uid: number as u32, user, pid: number as u32, start: 0 };
            let hello = Hello::new(None, Kind::Script, [0; 16]);
            world.hub.open(at(1), SessionId(number), peer, hello).unwrap();
            world.join(1, number, Begin::Now);
        }
        // The first one waited for the commit of the room.
        (world.paused, world.resumed) = (Vec::new(), Vec::new());
        world
    }

    /// The same without a store.
    fn in_memory(members: u64) -> Self {
        Self::new(members, |_| {})
    }

    /// A world with a store and a backlog of 3,000 bytes.
    fn stored(members: u64) -> Self {
        Self::new(members, |rules| {
            (rules.store, rules.persistent, rules.broadcast) = (true, true, false);
            rules.backlog_bytes_max = 3_000;
        })
    }

    fn join(&mut self, ms: u64, number: u64, begin: Begin) {
        let follow = Follow::Room(RoomName::new("dev").unwrap());
        let join = Request::Join { follow, begin, membership: false, keep: false };
        self.hub.request(at(ms), SessionId(number), 1, join);
        self.turn(ms);
    }

    fn part(&mut self, ms: u64, number: u64) {
        let part = Request::Part { stream: self.tag, forget: false };
        self.hub.request(at(ms), SessionId(number), 2, part);
        self.turn(ms);
    }

    fn turn(&mut self, ms: u64) {
        self.hub.end_turn(at(ms));
        self.act(ms);
        self.hub.streams.check_watched();
    }

    fn tick(&mut self, ms: u64) {
        self.hub.tick(at(ms));
        self.act(ms);
        self.hub.streams.check_watched();
    }

    fn act(&mut self, ms: u64) {
        while self.hub.has_actions() {
            for action in self.hub.actions().collect::<Vec<_>>() {
                self.carry_out(ms, action);
            }
        }
    }

    fn carry_out(&mut self, ms: u64, action: Action) {
        match action {
            Action::OpenChannel(of) => {
                let key = ChannelKey { number: 1, bytes: [1; 32] };
                self.hub.channel_opened(of, Some(Channel { group: [0; 4], port: 1, key }));
            }
            Action::Send(_, Frame::Reply { result: Ok(Reply::Joined(infos)), .. }) => {
                self.tag = infos[0].tag;
            }
            Action::Send(id, Frame::Event(event)) if event != Event::Ping => {
                self.events.push((id.0, event));
            }
            Action::Store(_, entries) if self.commits => {
                self.disk.extend(entries.into_iter().map(|entry| (entry.seq, entry)));
                self.hub.stored(at(ms));
            }
            Action::Fetch(fetch) => self.fetches.push(fetch),
            Action::Publish(..) => self.published += 1,
            Action::Pause(id) => self.paused.push(id.0),
            Action::Resume(id) => self.resumed.push(id.0),
            _ => {}
        }
    }

    /// Sends messages of `bytes` bytes, each by itself.
    fn say(&mut self, ms: u64, number: u64, messages: u64, bytes: usize) {
        let text = "x".repeat(bytes);
        for _ in 0..messages {
            let counter = self.counters.entry(number).or_default();
            *counter += 1;
            let lines = vec![Line { reply_to: None, text: text.as_str().try_into().unwrap() }];
            let to = Destination::Stream(self.tag);
            let submit = Submit { first: *counter, to, to_label: None, lines };
            self.hub.submit(at(ms), SessionId(number), &submit);
            self.turn(ms);
        }
    }

    fn head(&self) -> u64 {
        self.hub.stream(self.tag).backlog.head()
    }

    fn report(&mut self, ms: u64, number: u64, delivered: u64, by_broadcast: u64, datagrams: u64) {
        let report = Report { stream: self.tag, delivered, by_broadcast, datagrams };
        self.hub.report(at(ms), SessionId(number), &report);
        self.turn(ms);
    }

    /// Reports all as received by broadcast.
    fn report_heard(&mut self, ms: u64, number: u64, delivered: u64) {
        self.report(ms, number, delivered, delivered, delivered + 1);
    }

    fn repair(&mut self, ms: u64, number: u64, first: u64, last: u64) {
        self.hub.repair(at(ms), SessionId(number), self.tag, first, last);
        self.act(ms);
    }

    /// Has all members served by broadcast.
    fn go_by_broadcast(&mut self, members: u64) {
        for number in 1..=members {
            let listening = Request::Session(SessionRequest::Listening {
                stream: self.tag,
                charge_bytes: 0,
                slot: [0; 16],
            });
            self.hub.request(at(1), SessionId(number), 2, listening);
            self.report_heard(1, number, 0);
        }
        assert_eq!(self.hub.stream(self.tag).broadcast.subs as u64, members);
    }

    fn hears(&self, number: u64) -> bool {
        self.hub.hearers(self.tag).any(|id| id == SessionId(number))
    }

    fn pull(&mut self, ms: u64, number: u64) -> Vec<Got> {
        let mut chunks = Vec::new();
        while self.hub.pull(at(ms), SessionId(number), 64 * 1024, &mut chunks) {}
        self.act(ms);
        chunks.into_iter().map(got).collect()
    }

    /// The answer of the store to a fetch: of these numbers those that it has.
    fn found(&self, fetch: &Fetch, (first, upto): (u64, u64), lost: &[u64]) -> Fetched {
        let mut found = Fetched { frames: Vec::new(), upto, oldest: 1 };
        let mut builder = Builder::default();
        let mut next = 0;
        let kept = self.disk.range(first..=upto).filter(|(seq, _)| !lost.contains(seq));
        for (seq, entry) in kept {
            if *seq != next {
                found.frames.extend((builder.count() > 0).then(|| builder.bytes().into()));
                builder.begin(FRAME_HEADER_BYTES, fetch.tag, *seq);
            }
            assert!(builder.push(FRAME_HEADER_BYTES, &entry.draft()));
            next = seq + 1;
        }
        found.frames.extend((builder.count() > 0).then(|| builder.bytes().into()));
        found
    }

    fn answer(&mut self, ms: u64, fetch: &Fetch, upto: u64, lost: &[u64]) -> Option<Vec<Got>> {
        let found = self.found(fetch, (fetch.first, upto), lost);
        let chunks = self.hub.fetched(at(ms), fetch, found);
        self.act(ms);
        chunks.map(|chunks| chunks.into_iter().map(got).collect())
    }

    fn fetch(&mut self) -> Fetch {
        assert_eq!(self.fetches.len(), 1, "one fetch is under way: {:?}", self.fetches);
        self.fetches.remove(0)
    }

    /// Pulls and answers fetches until a member has everything; returns the numbers that it got.
    fn drain(&mut self, ms: u64, number: u64) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            all.extend(self.pull(ms, number));
            let Some(fetch) = self.fetches.pop() else { break };
            all.extend(self.answer(ms, &fetch, fetch.last, &[]).into_iter().flatten());
        }
        let bodies = all.into_iter().filter_map(|got| match got {
            Got::Body(first, last) => Some(first..=last),
            Got::Gap(..) | Got::Head(_) => None,
        });
        bodies.flatten().collect()
    }
}

fn got(chunk: Chunk) -> Got {
    match chunk {
        Chunk::Batch(frame) => {
            let head = Head::read(&frame[FRAME_HEADER_BYTES..]).unwrap();
            Got::Body(head.first, head.last())
        }
        Chunk::Event(Event::Gap { first, last, reason, .. }) => Got::Gap(first, last, reason),
        Chunk::Event(Event::Heads(heads)) => Got::Head(heads[0].1),
        Chunk::Event(other) => panic!("not expected here: {other:?}"),
    }
}

// ---- fetches ---------------------------------------------------------------------------------

#[test]
fn fetch_of_an_ended_membership_goes_nowhere() {
    let mut world = World::stored(1);
    world.part(2, 1);
    world.say(2, 1, 200, 100);
    world.join(3, 1, Begin::Last(100));
    world.pull(3, 1);
    let old = world.fetch();
    assert_eq!(old.first, 101);
    world.part(4, 1);
    world.join(4, 1, Begin::Last(150));
    assert_eq!(world.pull(4, 1), [], "the session has one fetch at a time");
    assert_eq!(world.answer(5, &old, 110, &[]), None);
    world.pull(5, 1);
    assert_eq!(
        world.answer(5, &old, old.last, &[]),
        None,
        "also once the new one waits for its own"
    );
    world.hub.fetch_failed(at(5), &old);
    assert_eq!(world.drain(5, 1), (51..=200).collect::<Vec<_>>(), "from its own cursor");
    assert_eq!(world.answer(6, &old, old.last, &[]), None, "an answer counts once");
}

#[test]
fn hole_in_a_fetched_range_is_a_gap_between_bodies() {
    let mut world = World::stored(1);
    world.part(2, 1);
    world.say(2, 1, 200, 100);
    world.join(3, 1, Begin::Last(200));
    world.pull(3, 1);
    let fetch = world.fetch();
    let mut found = world.found(&fetch, (5, 20), &[8, 9, 15, 20]);
    found.oldest = 3;
    let chunks = world.hub.fetched(at(4), &fetch, found).unwrap();
    let all: Vec<_> = chunks.into_iter().map(got).collect();
    let expected = [
        Got::Gap(1, 2, GapReason::Retention),
        Got::Gap(3, 4, GapReason::Damage),
        Got::Body(5, 7),
        Got::Gap(8, 9, GapReason::Damage),
        Got::Body(10, 14),
        Got::Gap(15, 15, GapReason::Damage),
        Got::Body(16, 19),
        Got::Gap(20, 20, GapReason::Damage),
    ];
    assert_eq!(all, expected);
    assert_eq!(world.drain(5, 1), (21..=200).collect::<Vec<_>>());
}

#[test]
fn fetch_that_fails_shrinks_and_gives_up_one_number() {
    let mut world = World::stored(1);
    world.part(2, 1);
    world.say(2, 1, 200, 100);
    world.join(3, 1, Begin::Last(200));
    let (mut ms, mut sizes) = (4, Vec::new());
    world.pull(ms, 1);
    while world.events.is_empty() {
        let fetch = world.fetch();
        assert_eq!(fetch.first, 1);
        sizes.push(fetch.last + 1 - fetch.first);
        world.hub.fetch_failed(at(ms), &fetch);
        world.act(ms);
        world.pull(ms, 1);
        if world.events.is_empty() {
            assert_eq!(world.fetches.len(), 0, "there is a pause");
            ms += FETCH_PAUSE_MS_MAX;
            world.tick(ms);
            world.pull(ms, 1);
        }
        assert!(sizes.len() < 100, "it does not end: {sizes:?}");
    }
    assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes.ends_with(&[1, 1]), "{sizes:?}");
    let (_, Event::Gap { first, last, reason, .. }) = &world.events[0] else { panic!("no gap") };
    assert_eq!((*first, *last, *reason), (1, 1, GapReason::Damage));
    assert_eq!(world.drain(ms, 1), (2..=200).collect::<Vec<_>>(), "all others come");
}

#[test]
fn fetch_that_fails_wakes_its_session_after_the_pause() {
    let mut world = World::stored(1);
    world.part(2, 1);
    world.say(2, 1, 200, 100);
    world.join(3, 1, Begin::Last(200));
    world.pull(4, 1);
    let fetch = world.fetch();
    world.hub.fetch_failed(at(4), &fetch);
    world.act(4);
    world.pull(4, 1);
    // Sooner than any stall is noticed.
    world.hub.tick(at(4 + FETCH_PAUSE_MS_MIN));
    let woken = world.hub.actions().any(|a| matches!(a, Action::Wake(SessionId(1))));
    assert!(woken, "nothing else would ask for it again");
}

#[test]
fn fetch_asks_for_a_bounded_range() {
    let mut world = World::stored(1);
    world.part(2, 1);
    world.say(2, 1, FETCH_NUMBERS_MAX + 500, 1);
    world.join(3, 1, Begin::Last(FETCH_NUMBERS_MAX + 500));
    world.pull(3, 1);
    assert_eq!(world.fetch().last, FETCH_NUMBERS_MAX);
}

#[test]
fn late_fetch_does_not_move_a_cursor_that_is_before_it() {
    let mut world = World::new(1, |rules| {
        (rules.store, rules.persistent) = (true, true);
        (rules.backlog_bytes_max, rules.broadcast_members_min) = (3_000, 1);
    });
    world.go_by_broadcast(1);
    for delivered in 1..=200 {
        world.say(2, 1, 1, 100);
        world.report_heard(2, 1, delivered);
    }
    world.repair(3, 1, 60, 80);
    world.pull(3, 1);
    let fetch = world.fetch();
    world.repair(4, 1, 10, 20);
    world.answer(5, &fetch, 80, &[]);
    let all = world.drain(6, 1);
    assert!((10..=20).all(|seq| all.contains(&seq)), "{all:?}");
}

// ---- repairs and stalls ----------------------------------------------------------------------

#[test]
fn number_missed_by_session_is_sent_again() {
    let mut world = World::in_memory(2);
    world.say(2, 1, 10, 10);
    assert_eq!(world.drain(3, 2), (1..=10).collect::<Vec<_>>());
    world.repair(10, 2, 4, 6);
    assert_eq!(world.pull(10, 2), [], "it is rather on its way");
    world.repair(10 + REPAIR_RETRY_MS, 2, 4, 6);
    let all = world.drain(10 + REPAIR_RETRY_MS, 2);
    assert_eq!(all, (4..=10).collect::<Vec<_>>());
    // Not with each question.
    world.repair(11 + REPAIR_RETRY_MS, 2, 4, 6);
    assert_eq!(world.pull(11 + REPAIR_RETRY_MS, 2), []);
    // What it reported wrongly does not keep a number from it.
    world.report(3_000, 2, 10, 0, 0);
    world.repair(4_000, 2, 7, 10);
    world.repair(4_000 + REPAIR_RETRY_MS, 2, 7, 10);
    assert_eq!(world.drain(4_000 + REPAIR_RETRY_MS, 2), (7..=10).collect::<Vec<_>>());
}

#[test]
fn repair_is_not_for_numbers_before_the_membership() {
    let mut world = World::in_memory(2);
    world.say(2, 1, 10, 10);
    world.part(3, 2);
    world.join(3, 2, Begin::Last(2));
    world.drain(3, 2);
    for ms in [10, 10 + REPAIR_RETRY_MS] {
        world.repair(ms, 2, 1, 10);
    }
    assert_eq!(world.drain(10 + REPAIR_RETRY_MS, 2), [9, 10]);
}

#[test]
fn stalled_member_by_session_is_told_the_head() {
    let mut world = World::in_memory(2);
    world.say(2, 1, 10, 10);
    world.drain(3, 2);
    let later = 3 + STALLED_AFTER_MS + STALL_LOOK_EVERY_MS;
    world.tick(later);
    assert_eq!(world.pull(later, 2), [Got::Head(10)], "it asks for what it lacks");
    world.report(later + 1, 2, 10, 0, 0);
    world.tick(2 * later);
    assert_eq!(world.pull(2 * later, 2), [], "it has everything");
}

#[test]
fn repair_serves_its_whole_range_by_broadcast() {
    let mut world = World::in_memory(4);
    world.go_by_broadcast(4);
    world.say(2, 1, 10, 10);
    assert_eq!(world.pull(3, 2), [], "it went by broadcast");
    world.repair(4, 2, 3, 10);
    assert_eq!(world.drain(4, 2), (3..=10).collect::<Vec<_>>());
    world.repair(5, 2, 10, 10);
    assert_eq!(world.drain(5, 2), [10], "also the head alone");
    world.tick(5 + HEADS_EVERY_MS);
    assert_eq!(world.pull(5 + HEADS_EVERY_MS, 3), [Got::Head(10)]);
}

/// A world in which each account may have 10,000 bytes sent again a second; 20 messages of 1,000
/// bytes each.
fn with_repair_budget(broadcast: bool) -> World {
    let mut world = World::new(4, |rules| {
        rules.rates = Rates { repair_bytes: 10_000, ..Rates::default() };
        rules.broadcast = broadcast;
    });
    if broadcast {
        world.go_by_broadcast(4);
    }
    world.say(2, 1, 20, 1_000);
    world.drain(2, 2);
    world
}

#[test]
fn repairs_end_with_the_budget_of_the_account() {
    let mut world = with_repair_budget(true);
    let mut repaired = 0;
    for _ in 0..50 {
        world.repair(10_000, 2, 1, 20);
        repaired += world.drain(10_000, 2).len();
    }
    assert!(repaired <= 40, "{repaired} messages in one moment");
    world.repair(60_000, 2, 20, 20);
    assert!(!world.drain(60_000, 2).is_empty(), "the budget comes back");
}

#[test]
fn repairs_by_session_end_with_the_budget_of_the_account() {
    let mut world = with_repair_budget(false);
    let (mut ms, mut repaired) = (10_000, 0);
    // It asks as a member that got something in between.
    for first in [1, 2, 3, 1, 2, 3, 1, 2, 3] {
        world.repair(ms, 2, first, 20);
        ms += MISSED_AFTER_MS;
        world.repair(ms, 2, first, 20);
        repaired += world.drain(ms, 2).len();
    }
    assert!((20..80).contains(&repaired), "{repaired} messages in 4.5 s");
    // What was put off is not forgotten.
    world.tick(60_000);
    assert!(world.drain(60_000, 2).contains(&20));
}

// ---- windows and health ----------------------------------------------------------------------

#[test]
fn shut_window_holds_messages_back() {
    let mut world = World::in_memory(6);
    world.go_by_broadcast(6);
    world.say(2, 1, 20, 20_000);
    let head = world.head();
    assert!(head < 20, "nothing was acknowledged: {head}");
    for number in 1..=6 {
        world.report_heard(3, number, head);
    }
    assert!(world.head() > head, "reports open it");
}

#[test]
fn member_outside_the_window_comes_back_once_it_caught_up() {
    let mut world = World::in_memory(6);
    world.go_by_broadcast(6);
    world.say(2, 1, 20, 20_000);
    let head = world.head();
    for number in 2..=6 {
        world.report_heard(20, number, head);
    }
    world.tick(3 + LAGGING_AFTER_MS + REPORT_EVERY_MS);
    assert_eq!(world.hub.stream(world.tag).census().lagging, 1);
    assert!(!world.hears(1), "it is served by session");
    let ms = 3 + LAGGING_AFTER_MS + REPORT_EVERY_MS + RETRY_PAUSE_MS_MIN;
    for number in 1..=6 {
        let head = world.head();
        world.report_heard(ms, number, head);
    }
    for number in 1..=6 {
        let head = world.head();
        world.report_heard(ms + 60_000, number, head);
    }
    assert_eq!(world.hub.stream(world.tag).census().lagging, 0);
    world.report_heard(ms + 60_001, 1, world.head());
    assert!(world.hears(1), "and by broadcast again");
}

#[test]
fn member_that_stops_hearing_goes_by_session() {
    let mut world = World::in_memory(6);
    world.go_by_broadcast(6);
    world.say(2, 1, 20, 10);
    for number in 1..=6 {
        world.report_heard(3, number, 20);
    }
    // Half of it and more is health, less is not.
    let judged = |world: &mut World, ms, number, by_broadcast| {
        let delivered = world.head();
        world.report(ms, number, delivered, by_broadcast, by_broadcast + 1);
        world.hears(number)
    };
    world.say(4, 1, 20, 10);
    assert!(judged(&mut world, HEALTH_WINDOW_MS, 2, 5), "it is not judged before its time");
    assert!(judged(&mut world, 2 + HEALTH_WINDOW_MS, 3, 20), "half of 40 is enough");
    judged(&mut world, 2 + HEALTH_WINDOW_MS, 4, 19);
    let stream = world.hub.stream(world.tag);
    assert_eq!(stream.broadcast.subs, 5, "19 of 40 is too little");
}

#[test]
fn report_of_any_numbers_is_taken() {
    let mut world = World::in_memory(6);
    world.go_by_broadcast(6);
    world.say(2, 1, 20, 10);
    for (turn, n) in [u64::MAX, 1 << 63, u64::MAX / 2 + 1, 0].into_iter().enumerate() {
        let ms = (1 + turn as u64) * (HEALTH_WINDOW_MS + 1);
        for (delivered, by_broadcast) in [(n, n), (20, n), (n, 0), (0, n)] {
            world.report(ms, 2, delivered, by_broadcast, n);
            world.repair(ms, 2, n, u64::MAX);
            world.repair(ms, 2, 0, n);
            let listening = Request::Session(SessionRequest::Listening {
                stream: world.tag,
                charge_bytes: n,
                slot: [0; 16],
            });
            world.hub.request(at(ms), SessionId(2), 3, listening);
            world.turn(ms);
        }
        world.say(ms, 1, 20, 10);
        world.tick(ms);
    }
}

#[test]
fn paused_member_steps_aside_and_goes_on() {
    let mut world = World::in_memory(2);
    // The sender reads nothing: its own reports wait behind what it says.
    while world.paused.is_empty() {
        world.say(2, 1, 1, 20_000);
        world.report(2, 2, world.head(), 0, 0);
        assert!(world.counters[&1] < 1_000, "the window is never shut");
    }
    assert!(world.resumed.is_empty());
    for ms in [LAGGING_TOGETHER_AFTER_MS, 2 * LAGGING_TOGETHER_AFTER_MS, 5_000] {
        world.tick(ms + REPORT_EVERY_MS);
        world.report(ms + REPORT_EVERY_MS, 2, world.head(), 0, 0);
    }
    assert_eq!(world.resumed, [1], "it does not wait for itself");
}

// ---- who comes and goes ----------------------------------------------------------------------

#[test]
fn joins_and_leaves_reach_who_wants_them_in_a_large_room() {
    let many = MEMBERSHIP_TOLD_MEMBERS_MAX as u64 + 10;
    let mut world = World::in_memory(many);
    let follow = Follow::Room(RoomName::new("dev").unwrap());
    let join = Request::Join { follow, begin: Begin::Now, membership: true, keep: false };
    world.hub.request(at(2), SessionId(1), 1, join);
    let told = |world: &mut World| {
        let mut chunks = Vec::new();
        while world.hub.pull(at(2), SessionId(1), 64 * 1024, &mut chunks) {}
        let of = chunks.into_iter().map(|chunk| match chunk {
            Chunk::Event(Event::Joined { member, .. }) => (member.session.0, true),
            Chunk::Event(Event::Left { member, .. }) => (member.session.0, false),
            other => panic!("not expected here: {other:?}"),
        });
        of.collect::<Vec<_>>()
    };
    assert_eq!(told(&mut world), []);
    world.part(3, 7);
    world.join(3, 7, Begin::Now);
    world.part(3, 8);
    assert_eq!(told(&mut world), [(7, false), (7, true), (8, false)]);
    world.part(4, 1);
    world.join(4, 1, Begin::Now);
    world.part(4, 9);
    assert_eq!(told(&mut world), [], "it does not want them any longer");
}

#[test]
fn session_goes_on_only_by_what_it_waits_for() {
    let mut world = World::new(2, |rules| {
        (rules.store, rules.persistent) = (true, true);
        rules.in_flight_bytes_per_user_max = 4_000;
    });
    world.commits = false;
    world.say(2, 1, 4, 1_000);
    assert!(world.hub.must_wait(at(2), SessionId(1)));
    for wait in [Wait::Rate, Wait::Stream(world.tag), Wait::Stream(StreamId(0))] {
        world.hub.let_go(SessionId(1), wait);
        assert!(world.hub.is_paused(SessionId(1)), "{wait:?}");
    }
    world.hub.let_go(SessionId(1), Wait::Account);
    assert!(!world.hub.is_paused(SessionId(1)));
}

// ---- what is in flight -----------------------------------------------------------------------

#[test]
fn account_with_too_much_in_flight_waits_until_it_is_published() {
    let mut world = World::new(2, |rules| {
        (rules.store, rules.persistent) = (true, true);
        rules.in_flight_bytes_per_user_max = 4_000;
    });
    world.commits = false;
    assert!(!world.hub.must_wait(at(2), SessionId(1)));
    world.say(2, 1, 4, 1_000);
    assert!(world.hub.must_wait(at(2), SessionId(1)), "its account is full");
    assert!(!world.hub.must_wait(at(2), SessionId(2)), "others go on");
    world.turn(3);
    assert!(world.resumed.is_empty());
    world.commits = true;
    for ms in [4, 5] {
        world.hub.stored(at(ms));
        world.act(ms);
    }
    assert_eq!(world.resumed, [1]);
    assert!(!world.hub.must_wait(at(6), SessionId(1)));
}

#[test]
fn account_with_too_much_in_flight_goes_on_if_the_store_fails() {
    let mut world = World::new(1, |rules| {
        (rules.store, rules.persistent) = (true, true);
        rules.in_flight_bytes_per_user_max = 4_000;
    });
    world.commits = false;
    world.say(2, 1, 4, 1_000);
    assert!(world.hub.must_wait(at(2), SessionId(1)));
    world.hub.store_failed(at(3), "disk full");
    world.act(3);
    assert_eq!(world.resumed, [1]);
}

#[test]
fn stream_with_too_much_in_flight_pauses_its_senders() {
    let mut world = World::new(2, |rules| (rules.store, rules.persistent) = (true, true));
    world.commits = false;
    let many = (IN_FLIGHT_BYTES_PER_STREAM_MAX / 20_000) as u64;
    world.say(2, 1, many - 2, 20_000);
    assert!(world.paused.is_empty());
    world.say(2, 2, 4, 20_000);
    assert_eq!(world.paused, [2], "who made it too much waits");
    world.say(2, 1, 1, 10);
    assert_eq!(world.paused, [2, 1]);
    world.commits = true;
    world.hub.stored(at(3));
    world.act(3);
    for ms in [4, 1_000, 2_000] {
        for number in [1, 2] {
            world.report(ms, number, world.head(), 0, 0);
        }
        world.tick(ms);
    }
    let mut resumed = world.resumed.clone();
    resumed.sort_unstable();
    assert_eq!(resumed, [1, 2]);
}

// ---- what the server counts and looks at --------------------------------------------------------

#[test]
fn every_datagram_is_counted_probes_too() {
    let mut world = World::in_memory(4);
    world.go_by_broadcast(4);
    let before = world.published;
    assert!(before > 0, "the channel was probed");
    assert_eq!(world.hub.counters().broadcast_sent, before);
    world.say(2, 1, 2, 10);
    assert_eq!(world.published, before + 2);
    assert_eq!(world.hub.counters().broadcast_sent, before + 2);
}

#[test]
fn timers_are_looked_at_often_while_a_datagram_may_be_lost_only() {
    let mut world = World::in_memory(4);
    world.go_by_broadcast(4);
    assert_eq!(world.hub.tick_after_ms(), TICK_IDLE_MS);
    world.say(2, 1, 1, 10);
    assert_eq!(world.hub.tick_after_ms(), TICK_BUSY_MS, "the last datagram may be lost");
    for number in 1..=4 {
        world.report_heard(3, number, 1);
    }
    assert_eq!(world.hub.tick_after_ms(), TICK_IDLE_MS);
}

#[test]
fn tick_looks_at_changed_and_due_things_only() {
    let mut world = World::in_memory(4);
    world.go_by_broadcast(4);
    let looks = |world: &mut World, ms: u64| {
        let of = (world.hub.streams.watched(ms * 1000), world.hub.sessions.watched(ms * 1000));
        world.tick(ms);
        of
    };
    let mut ms = 100;
    looks(&mut world, ms);
    looks(&mut world, ms + 1);
    assert_eq!(looks(&mut world, ms + 2), (vec![], vec![]), "all is quiet");
    ms += 10;
    world.say(ms, 1, 1, 10);
    let (streams, sessions) = looks(&mut world, ms);
    assert_eq!((streams, sessions.contains(&SessionId(1))), (vec![world.tag], true));
    for number in 1..=4 {
        world.report_heard(ms + 1, number, 1);
    }
    looks(&mut world, ms + 1);
    looks(&mut world, ms + 2);
    assert_eq!(looks(&mut world, ms + 3), (vec![], vec![]));
    let all: Vec<_> = (1..=4).map(SessionId).collect();
    // They were heard of last when they came.
    assert_eq!(looks(&mut world, 1 + PING_AFTER_MS).1, all, "a ping is due");
    assert_eq!(looks(&mut world, 2 + PING_AFTER_MS).1, []);
}
