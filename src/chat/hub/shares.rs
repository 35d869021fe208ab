//! Bounds that several users fill at a time: each gets a turn.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of action")]

use super::{
    Action,
    scene::{ANN, EVE, MIA, Scene, Store, session},
};
use crate::{
    chat::{
        frames::{Destination, Line, Submit},
        member::SessionId,
    },
    limits::{
        COMMIT_MESSAGES_COMPETING_MAX, COMMIT_MESSAGES_EACH_MIN, IN_FLIGHT_BYTES_PER_STREAM_MAX,
        SUBMIT_MESSAGES_MAX,
    },
};

/// Submits a text many times at once in the room.
fn say(scene: &mut Scene, id: SessionId, first: u64, count: usize, text: &str) {
    let lines = vec![Line { reply_to: None, text: text.try_into().unwrap() }; count];
    let to = Destination::Stream(scene.tag());
    scene.hub.submit(scene.now, id, &Submit { first, to, to_label: None, lines });
}

#[test]
fn senders_of_a_full_stream_go_on_by_turns_of_accounts() {
    let mut scene = Scene::new(false);
    scene.store = Store::Waits;
    let text = "x".repeat(30_000);
    say(&mut scene, session(EVE), 1, IN_FLIGHT_BYTES_PER_STREAM_MAX / text.len() + 1, &text);
    let eves: Vec<_> = (1_000..1_005).map(SessionId).collect();
    for (n, id) in (1..).zip(&eves) {
        scene.open(*id, EVE);
        say(&mut scene, *id, 1_000 * n, 1, "x");
    }
    say(&mut scene, session(MIA), 1, 1, "x");
    scene.settle();
    let waits = |scene: &Scene| {
        let of_eve = eves.iter().copied().chain([session(EVE)]);
        let of_eve = of_eve.filter(|id| scene.hub.is_paused(*id));
        (of_eve.count(), scene.hub.is_paused(session(MIA)))
    };
    assert_eq!(waits(&scene), (6, true));
    scene.hub.stored(scene.now);
    assert_eq!(waits(&scene), (5, false), "one of each account goes on");
}

#[test]
fn transaction_is_divided_among_those_who_speak() {
    let mut scene = Scene::new(false);
    let speakers = [EVE, MIA, ANN];
    for uid in speakers {
        say(&mut scene, session(uid), 1, 1, "x");
    }
    scene.settle();
    scene.now.mono_us += 200_000;
    scene.settle();
    for uid in speakers {
        say(&mut scene, session(uid), 2, if uid == EVE { SUBMIT_MESSAGES_MAX } else { 5 }, "x");
    }
    scene.hub.end_turn(scene.now);
    let entries = scene.hub.actions().find_map(|action| match action {
        Action::Store(_, entries) => Some(entries),
        _ => None,
    });
    let entries = entries.expect("a transaction");
    let of = |uid| entries.iter().filter(|entry| entry.from.uid == uid).count();
    // What comes after hers in the same room keeps its order, and comes with the next ones.
    assert_eq!(of(EVE), COMMIT_MESSAGES_COMPETING_MAX / 3);
    assert!(of(EVE) >= COMMIT_MESSAGES_EACH_MIN);
}
