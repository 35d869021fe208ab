//! `kill -9` of links, servers and the NATS server, stops and cuts, while all hosts write.
//!
//! `MOOT_LINK_ROUNDS=500` does more rounds, `MOOT_LINK_SEED=1234` draws the same ones again.

use std::time::Duration;

use super::{
    checker::{self, Writer},
    nats::Version,
    process::note,
    random::Random,
    world::{ROOM, World, is_long, pause},
};

/// Rounds of a normal run.
const ROUNDS: u64 = 30;
/// Rounds of a normal run with a current NATS server.
const ROUNDS_OF_CURRENT: u64 = 5;
/// Pause of each writer between two texts.
const PAUSE: Duration = Duration::from_millis(15);

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

fn kills(version: Version, rounds: u64) {
    let Some(mut world) = World::linked(version) else { return };
    let rounds = number_of("MOOT_LINK_ROUNDS").unwrap_or(rounds);
    let seed = number_of("MOOT_LINK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    note(&format!("kills: MOOT_LINK_SEED={seed}"));
    let mut random = Random::new(seed);
    let mut writers: Vec<_> = world
        .hosts
        .iter()
        .flat_map(|host| ["a", "b"].map(|name| Writer::begin(host, ROOM, name, PAUSE)))
        .collect();
    writers.iter().for_each(|writer| writer.progress(1));
    for round in 1..=rounds {
        let what = harm(&mut world, &mut random);
        let by = random.index(writers.len());
        writers[by].progress(1 + random.index(10));
        for host in &mut world.hosts {
            let link = host.link.as_mut().expect("a link");
            let ended = link.ended();
            assert!(ended.is_none(), "round {round} ({what}): {}", link.errors());
        }
    }
    checker::check(&world, &mut writers);
}

/// Kills, stops or cuts a part, and repairs it; returns the name of the fault.
fn harm(world: &mut World, random: &mut Random) -> &'static str {
    let at = random.index(world.hosts.len());
    let long = Duration::from_millis(700);
    match random.below(12) {
        0..3 => {
            let host = &mut world.hosts[at];
            host.kill_link();
            pause(random, Duration::from_millis(200));
            host.begin_link();
            // It may be killed again before it has begun.
            if random.permille(300) {
                host.linked();
            }
            "kill -9 of a link"
        }
        3..6 => {
            world.nats.kill();
            pause(random, Duration::from_millis(300));
            world.nats.run();
            "kill -9 of the NATS server"
        }
        6..9 => {
            let host = &mut world.hosts[at];
            // A link that begins needs a server.
            host.linked();
            host.kill_server();
            pause(random, Duration::from_millis(300));
            host.serve();
            "kill -9 of a server"
        }
        9 => {
            world.nats.signal("STOP");
            pause(random, long);
            world.nats.signal("CONT");
            "a stop of the NATS server"
        }
        10 => {
            let host = &world.hosts[at];
            let stopped = match random.below(2) {
                0 => host.link.as_ref(),
                _ => host.server.as_ref(),
            };
            let stopped = stopped.expect("a process");
            stopped.signal("STOP");
            pause(random, long);
            stopped.signal("CONT");
            "a stop of a link or a server"
        }
        _ => {
            world.set_cable(at, false);
            pause(random, 2 * long);
            world.set_cable(at, true);
            "a cut"
        }
    }
}

#[test]
fn acked_messages_survive_kills_and_cuts() {
    kills(Version::Debian, ROUNDS);
}

#[test]
fn acked_messages_survive_kills_with_current_nats_server() {
    kills(Version::Current, ROUNDS_OF_CURRENT);
}

/// Cuts a host off for longer than it takes to notice that.
fn cut(version: Version) {
    let Some(mut world) = World::linked(version) else { return };
    let mut writers: Vec<_> =
        world.hosts.iter().map(|host| Writer::begin(host, ROOM, "a", PAUSE)).collect();
    writers.iter().for_each(|writer| writer.progress(10));
    world.set_cable(1, false);
    // The length of the cut is what is tested.
    std::thread::sleep(Duration::from_secs(if is_long() { 60 } else { 6 }));
    for host in [0, 1] {
        world.hosts[host].kill_link();
        world.hosts[host].begin_link();
    }
    writers.iter().for_each(|writer| writer.progress(10));
    world.set_cable(1, true);
    writers.iter().for_each(|writer| writer.progress(10));
    checker::check(&world, &mut writers);
}

#[test]
fn cut_of_a_minute_loses_no_message() {
    cut(Version::Debian);
}
