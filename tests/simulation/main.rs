//! The hub, the product's clients and a checker of its own, in worlds from seeds in which everything fails.
//!
//! `MOOT_SEED=1234 cargo test --test simulation` plays one world again and says what happens;
//! `MOOT_SEEDS=1000000` plays more of them.

mod checker;
mod client;
mod disk;
mod jobs;
mod random;
mod rooms;
mod server;
mod tally;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tally::Tally;
use world::World;

/// Worlds of a normal run.
const SEEDS: u64 = 20_000;
/// A run ends after so many of them failed.
const FAILURES_SHOWN: usize = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_promise_holds_whatever_fails() {
    if let Some(seed) = number("MOOT_SEED") {
        let mut world = World::new(seed, true);
        world.run();
        return;
    }
    let first = number("MOOT_FIRST").unwrap_or(0);
    let seeds = number("MOOT_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let play_all = || {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || failed.lock().unwrap().len() >= FAILURES_SHOWN {
                return tally;
            }
            match play(seed) {
                Some(of_one) => tally.add(&of_one),
                None => failed.lock().unwrap().push(seed),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut all = Tally::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(play_all)).collect();
        for thread in threads {
            all.add(&thread.join().expect("worlds are caught"));
        }
    });
    let failed = failed.into_inner().unwrap();
    if let Some(seed) = failed.iter().min() {
        let again = format!("MOOT_SEED={seed} cargo test --test simulation");
        panic!("seeds {failed:?} failed, see above; this plays one again: {again}");
    }
    all.check(seeds);
}

/// Plays one world; none if a promise was broken.
fn play(seed: u64) -> Option<Tally> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, false);
        world.run();
        world.tally
    }));
    played.ok()
}
