//! Tests of cost: a user who causes much pays for it, and leaves others their part of each turn.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]

use super::{Action, Hub, HubConfig, accounts::AccountId};
use crate::{
    chat::{
        clock::Now,
        frames::{Destination, Frame, Hello, Line, Submit},
        member::{EndCause, Kind, Level, Peer, SessionId},
        message::BootId,
        names::{RoomName, UserName},
        request::{Announce, Begin, Follow, HistoryRequest, Request},
        rules::Role,
        text::Text,
    },
    limits::{
        FRAME_HEADER_BYTES, KICK_STREAMS_PER_TURN, LATE_ROWS_PER_TURN, LOOK_COST_BYTES,
        MENTIONS_LOOKED_MAX, RECIPIENTS_PER_RECORD, RECORDS_PER_USER_MAX, ROW_COST_BYTES,
        TEXT_BYTES_MAX, TOLD_COST_BYTES, UNREAD_AT_SIGNS_MAX,
    },
};

const NOW: Now = Now { mono_us: 1_000_000, wall_us: 1 };
const EVE: u32 = 5;
const BOB: u32 = 2;

fn name(uid: u32) -> UserName {
    UserName::new(&format!("user{uid}")).unwrap()
}

fn room(number: usize) -> RoomName {
    RoomName::new(&format!("room{number}")).unwrap()
}

/// A hub of all users of a host, without a history.
struct House {
    hub: Hub,
    last: u64,
}

impl House {
    fn new() -> Self {
        let rules =
            HubConfig { host: true, ..HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]) };
        Self { hub: Hub::new(rules), last: 0 }
    }

    fn open(&mut self, uid: u32) -> SessionId {
        self.last += 1;
        let id = SessionId(self.last);
        let peer = Peer { uid, user: name(uid), pid: self.last as u32, start: 0 };
        let mut instance = [0; 16];
        instance[..8].copy_from_slice(&self.last.to_le_bytes());
        self.hub.open(NOW, id, peer, Hello::new(None, Kind::Person, instance)).unwrap();
        id
    }

    fn join(&mut self, id: SessionId, number: usize, membership: bool) {
        let follow = Follow::Room(room(number));
        self.ask(id, Request::Join { follow, begin: Begin::Now, membership, keep: true });
    }

    fn ask(&mut self, id: SessionId, request: Request) {
        self.hub.request(NOW, id, 1, request);
    }

    /// Returns the cost of an act for the user.
    fn cost(&mut self, uid: u32, act: impl FnOnce(&mut Self)) -> usize {
        self.turn();
        let before = self.hub.accounts.left(AccountId::User(uid));
        act(self);
        usize::try_from(before - self.hub.accounts.left(AccountId::User(uid))).unwrap()
    }

    /// Ends the turn; returns the actions since the last one.
    fn turn(&mut self) -> Vec<Action> {
        self.hub.end_turn(NOW);
        self.hub.actions().collect()
    }

    fn say(&mut self, id: SessionId, first: u64, number: usize, text: &str) {
        let lines = vec![Line { reply_to: None, text: text.try_into().unwrap() }];
        let to = Destination::Room(room(number));
        self.hub.submit(NOW, id, &Submit { first, to, to_label: None, lines });
        self.turn();
    }
}

#[test]
fn looks_events_and_changes_are_charged() {
    let mut house = House::new();
    let eve = house.open(EVE);
    for number in 0..50 {
        house.join(eve, number, false);
    }
    let cost = house.cost(EVE, |house| house.ask(eve, Request::Rooms { skip: 0 }));
    assert!(cost >= 50 * LOOK_COST_BYTES, "rooms: {cost}");
    let others: Vec<_> = (0..20).map(|_| house.open(EVE)).collect();
    for id in others {
        house.join(id, 0, true);
    }
    let away = |text: &str| Request::Away { label: None, text: text.to_owned() };
    let cost = house.cost(EVE, |house| house.ask(eve, away("out")));
    assert!(cost >= 21 * ROW_COST_BYTES, "rows: {cost}");
    let again = house.cost(EVE, |house| house.ask(eve, away("out")));
    assert!(again <= TOLD_COST_BYTES, "nothing changes: {again}");
    let topic = Request::Topic { room: room(0), topic: "new".to_owned() };
    let cost = house.cost(EVE, |house| house.ask(eve, topic));
    assert!(cost >= 20 * TOLD_COST_BYTES, "the members that are told: {cost}");
    let cost = house.cost(EVE, |house| house.hub.close(NOW, eve, EndCause::Quit));
    assert!(cost >= 20 * TOLD_COST_BYTES, "the same when it leaves: {cost}");
}

#[test]
fn counting_what_is_unread_reads_no_text_and_is_charged() {
    let mut house = House::new();
    let (eve, bob) = (house.open(EVE), house.open(BOB));
    house.join(eve, 0, false);
    house.say(bob, 1, 0, &"@".repeat(TEXT_BYTES_MAX));
    house.say(bob, 2, 0, "ask @user5, @user5");
    house.say(bob, 3, 0, "nobody");
    let unread = Request::History(HistoryRequest::Unread { target: None, skip: 0 });
    let cost = house.cost(EVE, |house| {
        let question = house.hub.request(NOW, eve, 7, unread);
        let Some(crate::chat::store::Question::Unread { marks, .. }) = question else { panic!() };
        assert_eq!((marks[0].0.unread, marks[0].0.mentions), (3, 1));
    });
    assert!((3 * LOOK_COST_BYTES..TEXT_BYTES_MAX / 16).contains(&cost), "{cost}");
}

#[test]
fn unread_count_of_many_at_signs_is_bounded() {
    let mut house = House::new();
    let (eve, bob) = (house.open(EVE), house.open(BOB));
    house.join(eve, 0, false);
    let texts = 2 * UNREAD_AT_SIGNS_MAX / MENTIONS_LOOKED_MAX;
    for n in 0..texts {
        house.say(bob, n as u64, 0, &"@".repeat(MENTIONS_LOOKED_MAX));
    }
    let unread = Request::History(HistoryRequest::Unread { target: None, skip: 0 });
    let cost = house.cost(EVE, |house| drop(house.hub.request(NOW, eve, 7, unread)));
    let bound = UNREAD_AT_SIGNS_MAX + 3 * texts * LOOK_COST_BYTES;
    assert!(cost <= bound, "expected at most {bound}: {cost}");
}

#[test]
fn requests_wait_once_an_account_has_caused_its_records() {
    let mut house = House::new();
    (house.hub.rules.store, house.hub.rules.persistent) = (true, true);
    let (eve, bob) = (house.open(EVE), house.open(BOB));
    house.join(eve, 0, false);
    house.turn();
    house.hub.stored(NOW);
    let mute = |n: usize| Request::Role {
        room: room(0),
        user: name(BOB),
        role: Role::Muted,
        on: n.is_multiple_of(2),
    };
    // One session is refused once 16 of its changes wait for the store.
    let sessions: Vec<_> = (0..20).map(|_| house.open(EVE)).collect();
    let taken = (0..1_000).take_while(|n| {
        let waits = house.hub.must_wait_to_ask(eve);
        if !waits {
            house.ask(sessions[n % sessions.len()], mute(*n));
        }
        !waits
    });
    let taken = taken.count();
    assert!(taken <= RECORDS_PER_USER_MAX, "expected at most the bound: {taken}");
    assert!(!house.hub.must_wait_to_ask(bob), "expected no wait of another account");
    let resumed = |actions: Vec<Action>| {
        actions.iter().any(|action| matches!(action, Action::Resume(id) if *id == eve))
    };
    // A commit may have been running before these.
    let goes_on = (0..2).any(|_| {
        house.turn();
        house.hub.stored(NOW);
        resumed(house.turn())
    });
    assert!(goes_on, "expected the session to go on after the commit");
    assert!(!house.hub.must_wait_to_ask(eve));
}

#[test]
fn announcement_to_many_members_weighs_as_much_as_they_do() {
    let mut house = House::new();
    (house.hub.rules.store, house.hub.rules.persistent) = (true, true);
    let (eve, bob) = (house.open(EVE), house.open(BOB));
    for _ in 0..RECORDS_PER_USER_MAX * RECIPIENTS_PER_RECORD {
        let id = house.open(EVE);
        let begin = Begin::Now;
        house.ask(
            id,
            Request::Join { follow: Follow::Announcements, begin, membership: false, keep: false },
        );
    }
    house.turn();
    let announce =
        |text: &str| Request::Announce(Announce::new(Level::Info, Text::new(text).unwrap()));
    house.ask(eve, announce("one"));
    assert!(house.hub.must_wait_to_ask(eve), "expected a wait for its message");
    assert!(!house.hub.must_wait_to_ask(bob), "expected no wait of another account");
    // The message is stored and published; then its record with all recipients waits for the store.
    house.turn();
    house.hub.stored(NOW);
    house.turn();
    assert!(house.hub.must_wait_to_ask(eve), "expected a wait for its record");
    house.hub.stored(NOW);
    house.turn();
    assert!(!house.hub.must_wait_to_ask(eve), "expected no wait once all is stored");
}

#[test]
fn debt_is_paid_with_time_not_with_empty_turns() {
    let mut house = House::new();
    let (eve, bob) = (house.open(EVE), house.open(BOB));
    let at = |us: u64| Now { mono_us: 2_000_000 + us, wall_us: 1 };
    for id in [eve, bob] {
        house.hub.spend(at(0), id, 1, true);
    }
    house.hub.end_turn(at(0));
    house.hub.spend(at(0), eve, 1_000_000, true);
    for us in 1..=100 {
        house.hub.end_turn(at(us));
        assert_eq!(house.hub.credit_left(eve), 0, "after {us} turns of 1 us");
    }
    for ms in 1..=100 {
        house.hub.end_turn(at(ms * 1_000));
        house.hub.credit_left(eve);
    }
    assert!(house.hub.credit_left(eve) > 0, "expected the debt to be paid after 100 ms");
}

#[test]
fn rows_of_many_sessions_are_written_over_several_turns() {
    let mut house = House::new();
    let sessions = 3 * LATE_ROWS_PER_TURN;
    let ids: Vec<_> = (0..sessions).map(|_| house.open(EVE)).collect();
    house.turn();
    house.ask(ids[0], Request::Away { label: None, text: "out".to_owned() });
    let rows = |actions: Vec<Action>| {
        let away = |action: &&Action| matches!(action, Action::Row(row) if &*row.status == "out");
        actions.iter().filter(away).count()
    };
    let mut turns = vec![rows(house.hub.actions().collect())];
    while house.hub.has_more() {
        turns.push(rows(house.turn()));
    }
    assert_eq!(turns, [LATE_ROWS_PER_TURN; 3]);
}

#[test]
fn many_sessions_are_kicked_over_several_turns() {
    let mut house = House::new();
    let rooms = KICK_STREAMS_PER_TURN / 4;
    let ids: Vec<_> = (0..10).map(|_| house.open(EVE)).collect();
    for id in ids {
        for number in 0..rooms {
            house.join(id, number, true);
        }
    }
    let root = house.open(0);
    house.turn();
    house.ask(root, Request::Kick { user: name(EVE), label: None });
    // Again and again while it is under way: no session waits twice, and few such requests wait.
    let other = house.open(0);
    for _ in 0..1_000 {
        house.ask(other, Request::Kick { user: name(EVE), label: None });
    }
    let (kicks, waiting) = house.hub.kicks.waiting();
    assert!(waiting < 10 && kicks < 20, "{waiting} {kicks}");
    let mut turns = 1;
    let answered = |actions: &[Action]| {
        let reply = |a: &&Action| matches!(a, Action::Send(to, Frame::Reply { .. }) if *to == root);
        actions.iter().filter(reply).count()
    };
    let mut answers = answered(&house.hub.actions().collect::<Vec<_>>());
    while house.hub.has_more() {
        assert_eq!(answers, 0, "while some are still here");
        turns += 1;
        answers += answered(&house.turn());
    }
    assert_eq!((answers, house.hub.session_count()), (1, 2));
    assert!(house.hub.commits.answers_all());
    assert!((3..=4).contains(&turns), "{turns}");
    // A few are gone at once.
    house.open(EVE);
    house.ask(root, Request::Kick { user: name(EVE), label: None });
    assert_eq!(answered(&house.hub.actions().collect::<Vec<_>>()), 1);
}

#[test]
fn new_session_of_an_account_that_kept_windows_shut_holds_none() {
    let mut house = House::new();
    let eve = house.open(EVE);
    house.join(eve, 0, false);
    let account = AccountId::User(EVE);
    house.hub.accounts.of(account).charge_stall(NOW.mono_us, 1_000_000);
    let again = house.open(EVE);
    house.join(again, 0, false);
    let stream = house.hub.stream(house.hub.room_tag(&room(0)).unwrap());
    let in_window: Vec<_> = stream.subs.iter().map(|(_, sub)| sub.window.is_in).collect();
    assert_eq!(in_window, [true, false]);
}
