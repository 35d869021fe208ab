//! Messages and events in flight that a removed member still gets: a table in which each cell is a
//! test.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]

use super::scene::{
    ANN, EVE, HEAD, MAX, MIA, SAM, Scene, Store, announce, den, join, join_room, role, session,
    user,
};
use crate::chat::{
    event::Event,
    frames::{ANNOUNCEMENTS, Destination, Frame},
    member::SessionId,
    names::Target,
    request::{Begin, Follow, HistoryRequest, Request},
    rules::Role,
    store::{Fetched, StreamKey},
};

const NEEDLE: &str = "needle";
/// The session with which a user comes back whose first session was ended.
const AGAIN: SessionId = SessionId(99);

/// The columns: ways in which a member is removed, or leaves.
const REMOVALS: [&str; 6] = ["left", "kicked", "banned", "uninvited", "ended", "deleted"];

fn remove(scene: &mut Scene, how: &str) {
    let (room, label) = (den(), None);
    let (by, request) = match how {
        "left" => (MIA, Request::Part { stream: scene.tag(), forget: true }),
        "kicked" => (ANN, Request::KickFromRoom { room, user: user(MIA), label }),
        "banned" => (ANN, role(MIA, Role::Banned, true)),
        "uninvited" => (ANN, role(MIA, Role::Invited, false)),
        "ended" => (0, Request::Kick { user: user(MIA), label }),
        "deleted" => (ANN, Request::DeleteRoom { room }),
        _ => panic!("{how}"),
    };
    scene.ask(by, request);
}

/// A room in which three members hear the channel, if there is one, and the announcements.
fn scene(private: bool, broadcast: bool) -> Scene {
    let mut scene = Scene::with_rules(private, |rules| rules.broadcast = broadcast);
    for uid in [ANN, MIA, EVE] {
        scene.request(uid, join(Follow::Announcements, Begin::Now)).unwrap();
        scene.request(uid, join_room("den")).unwrap();
        let tag = scene.tag();
        scene.hears(session(uid), tag);
        scene.hears(session(uid), ANNOUNCEMENTS);
        scene.pull(session(uid));
    }
    scene
}

/// Returns true if the member has what is on its way when it is removed.
fn cell(way: &str, private: bool, how: &str) -> bool {
    let mut scene = scene(private, way != "message by session, published");
    let (tag, mia) = (scene.tag(), session(MIA));
    let say = |scene: &mut Scene, uid, counter, text| {
        scene.say(session(uid), counter, Destination::Stream(tag), text);
    };
    match way {
        "message by session, published" => {
            say(&mut scene, EVE, 1, NEEDLE);
            scene.settle();
            remove(&mut scene, how);
            scene.settle();
            scene.can_read(mia, NEEDLE)
        }
        "message numbered this turn" => {
            say(&mut scene, EVE, 1, NEEDLE);
            remove(&mut scene, how);
            scene.settle();
            scene.can_read(mia, NEEDLE)
        }
        "message with the store" => {
            scene.store = Store::Waits;
            say(&mut scene, EVE, 1, NEEDLE);
            scene.settle();
            remove(&mut scene, how);
            scene.settle();
            scene.answer_store(Store::Commits);
            scene.can_read(mia, NEEDLE)
        }
        "message of the next turn" => {
            remove(&mut scene, how);
            scene.settle();
            say(&mut scene, EVE, 1, NEEDLE);
            scene.settle();
            scene.can_read(mia, NEEDLE)
        }
        "older messages from the store" => {
            scene.request(MIA, Request::Part { stream: tag, forget: false }).unwrap();
            scene.request(MIA, join(Follow::Room(den()), Begin::Last(9))).unwrap();
            scene.pull(mia);
            let fetch = scene.fetches.pop().expect("a fetch");
            remove(&mut scene, how);
            scene.settle();
            let found = Fetched { upto: fetch.last, oldest: 1, ..Fetched::default() };
            scene.hub.fetched(scene.now, &fetch, found).is_some()
        }
        "announcements from the store" => {
            let rooms = scene.hub.rooms_of(mia);
            remove(&mut scene, how);
            scene.settle();
            scene.hub.is_in_all(mia, &rooms)
        }
        "answer from the store" => {
            let page = Request::History(HistoryRequest::Page {
                target: Target::Room(den()),
                first: 1,
                last: HEAD,
            });
            assert!(scene.hub.request(scene.now, mia, 7, page).is_some());
            let asked = scene.hub.next_stream();
            remove(&mut scene, how);
            scene.settle();
            scene.hub.still_reads(mia, &StreamKey::Room(den()), asked).is_ok()
        }
        "announcement numbered this turn" => {
            scene.ask(EVE, Request::Announce(announce(Some(den()), NEEDLE)));
            remove(&mut scene, how);
            scene.settle();
            scene.can_read(mia, NEEDLE)
        }
        "announcement with the store" => {
            scene.store = Store::Waits;
            scene.ask(EVE, Request::Announce(announce(Some(den()), NEEDLE)));
            scene.settle();
            remove(&mut scene, how);
            scene.settle();
            scene.answer_store(Store::Commits);
            scene.can_read(mia, NEEDLE)
        }
        "announcement of the next turn" => {
            remove(&mut scene, how);
            scene.settle();
            scene.ask(EVE, Request::Announce(announce(Some(den()), NEEDLE)));
            scene.settle();
            scene.can_read(mia, NEEDLE)
        }
        "arrival of a member" => {
            scene.request(MAX, join_room("den")).unwrap();
            remove(&mut scene, how);
            scene.settle();
            let came =
                |event: &Event| matches!(event, Event::Joined { member, .. } if member.uid == MAX);
            scene.pull(mia).iter().any(came)
        }
        "invitation of a user" => {
            remove(&mut scene, how);
            scene.settle();
            scene.sent.clear();
            scene.ask(ANN, role(SAM, Role::Invited, true));
            scene.settle();
            let invited = |frame: &Frame| matches!(frame, Frame::Event(Event::Invited { .. }));
            scene.sent.iter().any(|(to, frame)| *to == mia && invited(frame))
        }
        "own text, stored before" | "own new text" => {
            say(&mut scene, MIA, 1, "mine");
            scene.settle();
            remove(&mut scene, how);
            scene.settle();
            let mut id = mia;
            if how == "ended" {
                scene.open(AGAIN, MIA);
                id = AGAIN;
            }
            scene.sent.clear();
            let counter = if way == "own new text" { 2 } else { 1 };
            scene.say(id, counter, Destination::Stream(tag), "mine");
            scene.settle();
            scene.sent.iter().any(|(to, frame)| *to == id && matches!(frame, Frame::Ack(_)))
        }
        _ => panic!("{way}"),
    }
}

/// Each line: what is on its way, and whether the member gets it (`+`) or not (`.`), by the columns
/// of [`REMOVALS`]; `=`: the removal waits until it is published.
fn check(private: bool, table: &str) {
    let mut wrong = Vec::new();
    for line in table.lines().skip(1) {
        let (way, want) = line.split_at(34);
        for (how, want) in REMOVALS.into_iter().zip(want.split_whitespace()) {
            if want == "-" {
                continue;
            }
            let got = cell(way.trim(), private, how);
            if got != (want != ".") {
                wrong.push(format!("{} after {how}, private {private}: {got}", way.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn removed_member_of_a_public_room_gets_what_the_table_says() {
    check(
        false,
        "\
                                  left kicked banned uninvited ended deleted
message by session, published     .    .      .      -         .     .
message numbered this turn        +    .      .      -         .     =
message with the store            +    .      .      -         .     =
message of the next turn          +    .      .      -         .     .
older messages from the store     .    .      .      -         .     .
announcements from the store      .    .      .      -         .     .
answer from the store             +    +      .      -         .     .
announcement numbered this turn   +    +      .      -         .     =
announcement with the store       +    +      .      -         .     =
announcement of the next turn     +    +      .      -         .     .
arrival of a member               .    .      .      -         .     .
invitation of a user              .    .      .      -         .     .
own text, stored before           +    +      +      -         +     +
own new text                      +    +      .      -         +     .
",
    );
}

#[test]
fn removed_member_of_a_private_room_gets_what_the_table_says() {
    check(
        true,
        "\
                                  left kicked banned uninvited ended deleted
message by session, published     .    .      .      .         .     .
message numbered this turn        .    .      .      .         .     .
message with the store            .    .      .      .         .     .
message of the next turn          .    .      .      .         .     .
older messages from the store     .    .      .      .         .     .
announcements from the store      .    .      .      .         .     .
answer from the store             +    .      .      .         .     .
announcement numbered this turn   .    .      .      .         .     .
announcement with the store       .    .      .      .         .     .
announcement of the next turn     .    .      .      .         .     .
arrival of a member               .    .      .      .         .     .
invitation of a user              .    .      .      .         .     .
own text, stored before           +    +      +      +         +     +
own new text                      +    .      .      .         +     .
",
    );
}
