//! A room's name may belong to another room later: nothing that was meant for the one reaches the
//! other.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]

use std::sync::Arc;

use super::*;
use crate::{
    chat::{
        clock::Now,
        frames::{Destination, Frame, Hello, Line, Submit},
        member::{Kind, Peer, SessionId},
        message::BootId,
        names::{Label, RoomName, UserName},
        refusal::{Refusal, RefusalCode},
        reply::{Reply, StreamInfo},
        request::{Begin, Follow, Request},
        rules::Role,
        store::{GoneRoom, Record, Restored, RestoredRoom, RestoredSubmits, Span, StreamKey},
        stream_id::{RoomId, RoomIdentity, StreamId},
    },
    limits::{self, FRAME_HEADER_BYTES},
};

const NOW: Now = Now { mono_us: 1, wall_us: 1 };
const ANN: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);

struct House {
    hub: Hub,
    counter: u64,
}

impl House {
    fn new(persistent: bool) -> Self {
        let mut rules = HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]);
        (rules.store, rules.persistent) = (persistent, persistent);
        Self::of(Hub::new(rules))
    }

    fn of(mut hub: Hub) -> Self {
        for (id, user) in [(ANN, "ann"), (BOB, "bob")] {
            let uid = id.0 as u32;
            let peer = Peer { uid, user: UserName::new(user).unwrap(), pid: uid, start: 0 };
            let hello = Hello::new(None, Kind::Person, [uid as u8; 16]);
            hub.open(NOW, id, peer, hello).unwrap();
        }
        Self { hub, counter: 0 }
    }

    /// Ends the turn and commits; returns the frames for sessions.
    fn settle(&mut self) -> Vec<(SessionId, Frame)> {
        let mut frames = Vec::new();
        self.hub.end_turn(NOW);
        while self.hub.has_actions() {
            let actions: Vec<_> = self.hub.actions().collect();
            for action in actions {
                if let Action::Send(to, frame) = action {
                    frames.push((to, frame));
                } else if matches!(action, Action::Store(..)) {
                    self.hub.stored(NOW);
                }
            }
        }
        frames
    }

    #[track_caller]
    fn ask(&mut self, id: SessionId, request: Request) -> Result<Reply, Refusal> {
        self.hub.request(NOW, id, 7, request);
        let answer = self.settle().into_iter().find_map(|(to, frame)| match frame {
            Frame::Reply { serial: 7, result } if to == id => Some(result),
            Frame::Reply { .. } | Frame::Event(_) | Frame::Ack(_) | Frame::Nack { .. } => None,
        });
        answer.expect("one answer")
    }

    fn join(&mut self, id: SessionId, begin: Begin) -> Result<StreamInfo, Refusal> {
        let follow = Follow::Room(dev());
        let join = Request::Join { follow, begin, membership: false, keep: false };
        self.ask(id, join).map(|reply| match reply {
            Reply::Joined(mut infos) => infos.remove(0),
            other => panic!("{other:?}"),
        })
    }

    fn create(&mut self, id: SessionId, private: bool) {
        let create = Request::CreateRoom { room: dev(), history: true, private, read_only: false };
        self.ask(id, create).unwrap();
    }

    fn delete(&mut self, id: SessionId) {
        self.ask(id, Request::DeleteRoom { room: dev() }).unwrap();
    }

    /// Submits a text; returns its number, or the refusal.
    fn submit(&mut self, id: SessionId, to: Destination, counter: u64) -> Result<u64, Refusal> {
        self.submit_for(id, to, counter, None)
    }

    fn submit_for(
        &mut self,
        id: SessionId,
        to: Destination,
        counter: u64,
        to_label: Option<Label>,
    ) -> Result<u64, Refusal> {
        let lines = vec![Line { reply_to: None, text: "a secret".try_into().unwrap() }];
        self.hub.submit(NOW, id, &Submit { first: counter, to, to_label, lines });
        let answer = self.settle().into_iter().find_map(|(to, frame)| match frame {
            Frame::Ack(ack) if to == id => Some(Ok(ack.seq)),
            Frame::Nack { refusal, .. } if to == id => Some(Err(refusal)),
            Frame::Reply { .. } | Frame::Event(_) | Frame::Ack(_) | Frame::Nack { .. } => None,
        });
        answer.expect("one answer")
    }

    fn say(&mut self, id: SessionId, to: Destination) -> Result<u64, Refusal> {
        self.counter += 1;
        self.submit(id, to, self.counter)
    }

    fn head(&self) -> u64 {
        self.hub.stream(self.hub.room_tag(&dev()).unwrap()).numbered
    }
}

fn dev() -> RoomName {
    RoomName::new("dev").unwrap()
}

fn resume(info: &StreamInfo) -> Begin {
    Begin::Resume { run: BootId(1), seq: info.head, room: info.room.unwrap().id }
}

#[test]
fn deleted_room_does_not_return_by_resume_or_submit() {
    for (persistent, private) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut house = House::new(persistent);
        house.create(ANN, private);
        let info = house.join(ANN, Begin::Now).unwrap();
        let id = info.room.unwrap().id;
        house.delete(ANN);
        let refusal = house.join(ANN, resume(&info)).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Absent);
        for to in [Destination::Known(id), Destination::Stream(info.tag)] {
            assert_eq!(house.say(ANN, to).unwrap_err().code, RefusalCode::Absent);
        }
        if persistent {
            let after = Begin::After { run: BootId(1), seq: info.head };
            assert_eq!(house.join(ANN, after).unwrap_err().code, RefusalCode::Absent);
        }
        assert_eq!(house.hub.room_tag(&dev()), None, "{persistent} {private}");
    }
}

#[test]
fn other_room_of_same_name_gets_nothing() {
    for private in [true, false] {
        let mut house = House::new(true);
        house.create(ANN, private);
        let info = house.join(ANN, Begin::Now).unwrap();
        house.say(ANN, Destination::Stream(info.tag)).unwrap();
        house.delete(ANN);
        house.create(BOB, false);
        let before = house.head();
        let again = house.join(BOB, Begin::Now).unwrap();
        assert_ne!(again.tag, info.tag);
        assert_ne!(again.room.unwrap().id, info.room.unwrap().id);
        for to in [Destination::Known(info.room.unwrap().id), Destination::Stream(info.tag)] {
            house.say(ANN, to).unwrap_err();
        }
        house.join(ANN, resume(&info)).unwrap_err();
        assert_eq!(house.head(), before, "nothing of the old room is in the new one");
        assert_eq!(house.say(BOB, Destination::Known(again.room.unwrap().id)), Ok(before + 1));
    }
}

#[test]
fn text_for_a_label_goes_to_no_room() {
    let mut house = House::new(true);
    house.create(ANN, false);
    let info = house.join(ANN, Begin::Now).unwrap();
    let (to, label) = (Destination::Stream(info.tag), Label::new("ci").ok());
    let refused = house.submit_for(ANN, to.clone(), 1, label).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Absent);
    assert_eq!(house.submit(ANN, to, 2), Ok(1));
}

#[test]
fn id_of_hidden_room_is_answered_as_unknown_id() {
    let mut house = House::new(true);
    house.create(ANN, true);
    let info = house.join(ANN, Begin::Now).unwrap();
    let id = info.room.unwrap().id;
    let guess = RoomId(id.0 ^ 1);
    let unknown = house.say(BOB, Destination::Known(guess)).unwrap_err();
    assert_eq!(house.say(BOB, Destination::Known(id)).unwrap_err(), unknown);
    let never = house.say(BOB, Destination::Stream(StreamId(info.tag.0 + 1))).unwrap_err();
    assert_eq!(house.say(BOB, Destination::Stream(info.tag)).unwrap_err(), never);
    let wrong = Begin::Resume { run: BootId(1), seq: 0, room: guess };
    let unknown = house.join(BOB, wrong).unwrap_err();
    assert_eq!(house.join(BOB, resume(&info)).unwrap_err(), unknown);
}

#[test]
fn room_keeps_its_id_over_a_restart() {
    let mut rules = House::new(true).hub.rules;
    rules.run = BootId(2);
    let mut restored = Restored::default();
    restored.rooms.push(RestoredRoom {
        name: dev(),
        id: RoomId(77),
        creator_uid: 1,
        history: true,
        topic: String::new(),
        rules: Default::default(),
        span: Span { head: 5, first: 1, newest_us: None },
    });
    let mut house = House::of(Hub::restored(rules, restored));
    let begin = Begin::Resume { run: BootId(1), seq: 3, room: RoomId(77) };
    let info = house.join(ANN, begin).unwrap();
    assert_eq!((info.next, info.new_run), (4, false));
    assert_eq!(info.room, Some(RoomIdentity { id: RoomId(77), lasts: true }));
    assert_eq!(house.say(BOB, Destination::Known(RoomId(77))), Ok(6));
}

#[test]
fn rooms_made_and_deleted_leave_no_streams() {
    let mut house = House::new(false);
    for _ in 0..3 * limits::ROOMS_MAX {
        house.create(BOB, false);
        house.delete(BOB);
    }
    assert_eq!(house.hub.streams.len(), 1);
    assert!(house.hub.directory.rooms().len() == 0);
    house.create(ANN, false);
}

#[test]
fn refused_join_creates_and_follows_nothing() {
    let mut house = House::new(true);
    for at in 0..limits::STREAMS_PER_SESSION_MAX {
        let follow = Follow::Room(RoomName::new(&format!("r{at}")).unwrap());
        let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: true };
        house.ask(BOB, join).unwrap();
    }
    let follow = Follow::Room(dev());
    let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: true };
    assert_eq!(house.ask(BOB, join).unwrap_err().code, RefusalCode::Failed);
    assert_eq!(house.hub.room_tag(&dev()), None);
    assert!(!house.hub.follows.rooms(&(2, None)).contains(&dev()));
}

/// Answers among the actions: whose, and whether the room was joined.
fn joined(hub: &mut Hub) -> Vec<(SessionId, bool)> {
    let answers = hub.actions().filter_map(|action| match action {
        Action::Send(to, Frame::Reply { result, .. }) => Some((to, result.is_ok())),
        _ => None,
    });
    answers.collect()
}

#[test]
fn a_new_room_is_joined_and_opened_once_it_is_stored() {
    let mut house = House::new(true);
    // Another room is on its way to the store.
    let create = Request::CreateRoom {
        room: RoomName::new("other").unwrap(),
        history: true,
        private: false,
        read_only: false,
    };
    house.hub.request(NOW, BOB, 1, create);
    house.hub.end_turn(NOW);
    let join = |follow| Request::Join { follow, begin: Begin::Now, membership: false, keep: true };
    let open = Request::Open { target: crate::chat::names::Target::Room(dev()) };
    house.hub.request(NOW, ANN, 1, join(Follow::Room(dev())));
    house.hub.request(NOW, BOB, 1, open);
    house.hub.end_turn(NOW);
    assert!(house.hub.is_paused(ANN) && house.hub.is_paused(BOB), "later requests wait behind");
    assert!(house.hub.must_wait(NOW, ANN));
    assert_eq!(joined(&mut house.hub), []);
    house.hub.stored(NOW);
    assert_eq!(joined(&mut house.hub), [(BOB, true)], "the other room alone is stored");
    house.hub.stored(NOW);
    assert_eq!(joined(&mut house.hub), [(ANN, true), (BOB, true)]);
    assert!(!house.hub.is_paused(ANN) && !house.hub.is_paused(BOB));
    house.hub.request(NOW, BOB, 2, join(Follow::Room(dev())));
    assert_eq!(joined(&mut house.hub), [(BOB, true)], "a stored room is joined at once");
}

#[test]
fn a_join_waits_for_one_commit_and_not_for_a_room_that_is_gone() {
    let mut house = House::new(true);
    let join = |room| {
        let follow = Follow::Room(room);
        Request::Join { follow, begin: Begin::Now, membership: false, keep: true }
    };
    house.hub.request(NOW, ANN, 1, join(dev()));
    house.hub.request(NOW, BOB, 1, join(dev()));
    house.hub.end_turn(NOW);
    house.hub.close(NOW, BOB, crate::chat::member::EndCause::Closed);
    house.hub.store_failed(NOW, "disk full");
    assert_eq!(joined(&mut house.hub), [(ANN, true)], "the room is used all the same");
    assert!(!house.hub.is_paused(ANN));
    house.hub.tick(Now { mono_us: 10_000_000, wall_us: 1 });
    house.hub.stored(NOW);
    house.settle();
    let other = RoomName::new("other").unwrap();
    house.hub.request(NOW, ANN, 2, join(other.clone()));
    house.hub.request(NOW, ANN, 3, Request::DeleteRoom { room: other.clone() });
    let refused = |(_, frame): &(SessionId, Frame)| {
        matches!(frame, Frame::Reply { serial: 2, result: Err(_) })
    };
    assert!(house.settle().iter().any(refused));
    assert!(house.hub.room_tag(&other).is_none());
    assert!(!house.hub.directory.has_unstored() && house.hub.commits.answers_all());
}

#[test]
fn a_ban_takes_every_role_and_an_unban_gives_none_back() {
    let mut house = House::new(true);
    house.create(ANN, true);
    let user = UserName::new("bob").unwrap();
    let role = |role, on| Request::Role { room: dev(), user: user.clone(), role, on };
    for given in [Role::Invited, Role::Operator] {
        house.ask(ANN, role(given, true)).unwrap();
    }
    house.hub.request(NOW, ANN, 7, role(Role::Banned, true));
    house.hub.end_turn(NOW);
    let records = house.hub.actions().find_map(|action| match action {
        Action::Store(records, _) => Some(records),
        _ => None,
    });
    let mut taken = Vec::new();
    for record in records.unwrap() {
        if let Record::Role { uid: 2, role, on: false, .. } = record {
            taken.push(role);
        }
    }
    assert_eq!(taken, [Role::Invited, Role::Operator], "and that is stored");
    house.hub.stored(NOW);
    house.settle();
    house.ask(ANN, role(Role::Banned, false)).unwrap();
    house.join(BOB, Begin::Now).unwrap_err();
}

#[test]
fn names_with_invisible_characters_are_used_only_if_they_exist() {
    let rules = House::new(true).hub.rules;
    let old = RoomName::existing("old\u{3164}").unwrap();
    let label = Some(Label::existing("ci\u{fe0f}").unwrap());
    let mut restored = Restored::default();
    restored.rooms.push(RestoredRoom {
        name: old.clone(),
        id: RoomId(7),
        creator_uid: 1,
        history: true,
        topic: String::new(),
        rules: Default::default(),
        span: Span { head: 5, first: 1, newest_us: Some(1) },
    });
    restored.follows.push((1, label.clone(), old.clone()));
    let mut house = House::of(Hub::restored(rules, restored));
    let peer = |uid, user| Peer { uid, user: UserName::new(user).unwrap(), pid: uid, start: 0 };
    let hello = Hello::new(label, Kind::Person, [9; 16]);
    house.hub.open(NOW, SessionId(9), peer(1, "ann"), hello.clone()).unwrap();
    let refusal = house.hub.open(NOW, SessionId(10), peer(2, "bob"), hello).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Input);
    assert_eq!(house.say(BOB, Destination::Room(old.clone())), Ok(6));
    let new = Destination::Room(RoomName::existing("old\u{ffa0}").unwrap());
    assert_eq!(house.say(BOB, new).unwrap_err().code, RefusalCode::Input);
    house.ask(ANN, Request::DeleteRoom { room: old.clone() }).unwrap();
    let refusal = house.say(BOB, Destination::Room(old)).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Input);
}

/// Rooms of a name that are made and deleted; returns the numbers with which each began and ended.
fn make_and_delete(house: &mut House, private: bool, messages: u64) -> (u64, u64) {
    house.create(BOB, private);
    let before = house.head();
    for _ in 0..messages {
        house.say(BOB, Destination::Room(dev())).unwrap();
    }
    let after = house.head();
    house.delete(BOB);
    (before, after)
}

#[test]
fn deleted_rooms_cost_nothing_and_their_ids_are_not_reused() {
    for (persistent, private) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut house = House::new(persistent);
        let mut last = 0;
        for _ in 0..5 {
            let (before, after) = make_and_delete(&mut house, private, 3);
            assert_eq!((before, after), (last, last + 3), "{persistent} {private}");
            last = after;
        }
        // Without a message nothing is remembered.
        assert_eq!(make_and_delete(&mut house, private, 0), (last, last));
        let other = Destination::Room(RoomName::new("other").unwrap());
        let first = house.say(BOB, other).unwrap();
        assert_eq!(first, if private { last + 1 } else { 1 });
    }
}

#[test]
fn room_that_was_never_stored_leaves_no_record() {
    let mut house = House::new(true);
    house.hub.end_turn(NOW);
    house.hub.actions();
    for n in 0..50 {
        let room = RoomName::new(&format!("r{n}")).unwrap();
        let create = Request::CreateRoom {
            room: room.clone(),
            history: true,
            private: false,
            read_only: false,
        };
        let now = Now { mono_us: (1 + n) * 10_000_000, wall_us: 1 };
        house.hub.request(now, BOB, 1, create);
        house.hub.request(now, BOB, 2, Request::DeleteRoom { room });
        house.hub.end_turn(now);
        house.hub.store_failed(now, "disk full");
        house.hub.actions();
    }
    assert!(
        house.hub.commits.records().len() + house.hub.commits.chosen().records.len() <= 3,
        "{:?}",
        house.hub.commits.records()
    );
    assert!(!house.hub.directory.has_unstored());
}

#[test]
fn names_of_deleted_rooms_are_bounded_over_restarts() {
    let mut rules = House::new(true).hub.rules;
    rules.run = BootId(2);
    let gone = |n: u64| GoneRoom {
        name: RoomName::new(&format!("r{n}")).unwrap(),
        creator_uid: 2,
        private: n.is_multiple_of(2),
        head: 1 + n % 50,
    };
    let gone_rooms = (0..3 * limits::GONE_ROOMS_MAX as u64).map(gone).collect();
    let mut house = House::of(Hub::restored(rules, Restored { gone_rooms, ..Restored::default() }));
    let forgotten = house.hub.commits.records().len();
    assert!(forgotten >= 2 * limits::GONE_ROOMS_MAX);
    assert!(house.hub.commits.records().iter().all(|r| matches!(r, Record::RoomForgotten { .. })));
    house.settle();
    assert_eq!(house.say(BOB, Destination::Room(dev())), Ok(50), "behind all that are forgotten");
}

#[test]
fn client_without_instance_gets_no_ack_from_an_earlier_boot() {
    let unnamed = |house: &mut House, uid: u32| {
        let peer = Peer { uid, user: UserName::new("eve").unwrap(), pid: uid, start: 0 };
        // The first session of the boot, which may have the number of one of an earlier boot.
        house.hub.open(NOW, SessionId(9), peer, Hello::new(None, Kind::Script, [0; 16])).unwrap();
    };
    let mut house = House::new(true);
    house.create(ANN, false);
    unnamed(&mut house, 3);
    let lines = vec![Line { reply_to: None, text: "x".try_into().unwrap() }; 3];
    let to = Destination::Room(dev());
    let submit = Submit { first: 1, to: to.clone(), to_label: None, lines };
    house.hub.submit(NOW, SessionId(9), &submit);
    house.hub.end_turn(NOW);
    let stored: Vec<_> = house.hub.actions().collect();
    let entries = stored.iter().find_map(|action| match action {
        Action::Store(_, entries) => Some(entries),
        _ => None,
    });
    let entries = entries.expect("a transaction");
    assert!(entries.iter().all(|entry| entry.submit.is_none()), "nothing to recognize it by");
    // The next boot has the room, and runs of counters of other users and by any bytes of an
    // instance.
    let (mut rules, mut restored) = (house.hub.rules.clone(), Restored::default());
    rules.run = BootId(2);
    restored.rooms.push(RestoredRoom {
        name: dev(),
        id: RoomId(7),
        creator_uid: 1,
        history: true,
        topic: String::new(),
        rules: Default::default(),
        span: Span { head: 3, first: 1, newest_us: Some(1) },
    });
    let mut of_session = [0; 16];
    of_session[8..].copy_from_slice(&9_u64.to_le_bytes());
    for (uid, instance) in [(1, [7; 16]), (3, of_session), (3, [1; 16])] {
        let stream = Some(StreamKey::Room(dev()));
        let (counter, count, seq, wall_us) = (1, 3, 1, 1);
        let run = RestoredSubmits { uid, instance, counter, count, stream, seq, wall_us };
        restored.submits.push(run);
    }
    let mut house = House::of(Hub::restored(rules, restored));
    unnamed(&mut house, 3);
    assert_eq!(house.submit(SessionId(9), to.clone(), 1), Ok(4));
    // Nor by the instance of another user.
    let peer = Peer { uid: 4, user: UserName::new("mallory").unwrap(), pid: 4, start: 0 };
    house.hub.open(NOW, SessionId(10), peer, Hello::new(None, Kind::Script, [7; 16])).unwrap();
    assert_eq!(house.submit(SessionId(10), to, 1), Ok(5));
}

#[test]
fn configured_room_is_not_led_by_its_first_writer() {
    let name = |name: &str| RoomName::new(name).unwrap();
    let mut rules = HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]);
    rules.rooms = vec![name("ops")];
    let mut house = House::of(Hub::new(rules.clone()));
    let topic = |room: &str| Request::Topic { room: name(room), topic: "new".to_owned() };
    for room in ["ops", "dev"] {
        let follow = Follow::Room(name(room));
        let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
        house.ask(ANN, join).unwrap();
    }
    // Another room of the same user tells the difference.
    house.ask(ANN, topic("dev")).unwrap();
    assert!(house.ask(ANN, topic("ops")).is_err(), "it was not made yet when she came");
    house.hub.set_configured_leads(BOB.0 as u32, &Arc::from([name("ops")]));
    house.ask(BOB, topic("ops")).unwrap();
    house.hub.set_configured_leads(BOB.0 as u32, &Arc::from([]));
    assert!(house.ask(BOB, topic("ops")).is_err());
    // It exists from the start.
    let mut hub = Hub::new(rules);
    hub.make_configured_rooms();
    hub.make_configured_rooms();
    assert_eq!(hub.counters().rooms, 1);
}
