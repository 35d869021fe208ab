//! A user beside an attack gets everything: each text is acknowledged, each question answered, each message heard.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    super::world::{THIRD_UID, World, is_root, skipped},
    kinds::{ATTACKS, Scene},
    victim::Victim,
};

/// Rounds that the victim does beside an attack, at least.
const VICTIM_ROUNDS: usize = 30;
/// Rounds that an attack does beside the victim, at least.
const ATTACK_ROUNDS: usize = 5;
/// Divides the number of sessions, rooms and texts of an attack.
const DIVISOR: usize = 5;
/// Attacks use the whole machine: one at a time.
static ATTACK: Mutex<()> = Mutex::new(());

/// Runs an attack beside a victim, which does its rounds meanwhile.
#[track_caller]
fn survives(name: &str) {
    if !is_root() {
        return skipped("an attack needs root, to be two users");
    }
    let _alone = ATTACK.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    let mut victim = Victim::new(&world.dir, THIRD_UID);
    victim.fill_unstored("unstored").unwrap();
    let socket = world.dir.join("socket");
    let attack = ATTACKS.iter().find(|attack| attack.name == name).expect("an attack");
    let rounds = (attack.begin)(&Scene { socket: &socket, divisor: DIVISOR, victim: THIRD_UID });
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    victim.begin();
    let outcome = thread::scope(|scope| {
        let threads: Vec<_> = rounds
            .into_iter()
            .map(|mut round| {
                let (stop, done) = (&stop, &done);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) && round() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let goes_on = || {
            let is_under_way = threads.iter().any(|thread| !thread.is_finished());
            is_under_way && done.load(Ordering::Relaxed) < ATTACK_ROUNDS
        };
        let mut outcome = Ok(());
        for round in 0.. {
            if outcome.is_err() || (round >= VICTIM_ROUNDS && !goes_on()) {
                break;
            }
            outcome = victim.round();
        }
        let outcome = outcome.and_then(|()| victim.everything());
        let outcome = outcome.and_then(|()| victim.all_unstored("unstored"));
        stop.store(true, Ordering::Relaxed);
        outcome
    });
    assert_eq!(outcome, Ok(()), "beside {name}");
    world.run(&["status"]).ok();
}

macro_rules! attacks {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                survives($name);
            }
        )*

        /// Attacks that have a test.
        const TESTED: &[&str] = &[$($name),*];
    };
}

attacks! {
    unread_counts_cost_others_nothing "unread"
    status_of_many_sessions_costs_others_nothing "away"
    kick_of_many_sessions_costs_others_nothing "kick"
    removals_of_many_sessions_cost_others_nothing "removals"
    deletions_of_crowded_rooms_cost_others_nothing "deletions"
    reports_without_pause_cost_others_nothing "reports"
    pongs_without_pause_cost_others_nothing "pongs"
    repairs_without_pause_cost_others_nothing "repairs"
    lists_of_rooms_cost_others_nothing "rooms"
    lists_of_members_cost_others_nothing "who"
    questions_about_the_past_cost_others_nothing "past"
    searches_of_several_users_cost_others_nothing "searches"
    status_with_many_subscriptions_costs_others_nothing "status"
    joins_with_a_backlog_cost_others_nothing "backlog"
    joins_and_leaves_cost_others_nothing "joins"
    channels_that_come_and_go_cost_others_nothing "channels"
    members_that_vanish_at_once_cost_others_nothing "vanish"
    wills_of_many_sessions_cost_others_nothing "wills"
    members_that_never_report_cost_others_nothing "stall"
    rooms_that_come_and_go_cost_others_nothing "made-rooms"
    conversations_with_no_one_cost_others_nothing "conversations"
    questions_for_users_cost_others_nothing "users"
    places_for_workers_are_left_for_others "answerers"
    jobs_that_are_never_done_cost_others_nothing "jobs"
    announcements_and_reports_cost_others_nothing "announcements"
    announcements_that_no_one_reads_cost_others_nothing "unheard"
    changes_of_records_cost_others_nothing "records"
    roles_of_many_users_cost_others_nothing "roles"
    invitations_without_pause_cost_others_nothing "invitations"
    refused_requests_cost_others_nothing "refusals"
    texts_without_pause_cost_others_nothing "texts"
    direct_messages_to_many_sessions_cost_others_nothing "direct"
    connections_without_pause_cost_others_nothing "connects"
    oversized_handshakes_cost_others_nothing "hellos"
    frames_that_never_end_cost_others_nothing "half-frames"
    sessions_that_never_read_cost_others_nothing "never-read"
}

#[test]
fn every_attack_has_a_test() {
    let all: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
    assert_eq!(all, TESTED);
}
