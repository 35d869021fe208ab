//! The hub and many inboxes in a world with a bad network, from a seed; a checker of its own watches the promises.
//!
//! `MOOT_SEEDS=50000 cargo test --test simulation` runs more of them,
//! `MOOT_SEED=1234 cargo test --test simulation` plays one again and tells what happens.

mod checker;
mod client;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_member_sees_the_one_order_whatever_the_network_does() {
    if let Some(seed) = number("MOOT_SEED") {
        World::new(seed, true).run();
        return;
    }
    let seeds = number("MOOT_SEEDS").unwrap_or(2_000);
    // Two halves on two processors; each seed is a world of its own.
    let halves: Vec<_> = (0..2)
        .map(|half| std::thread::spawn(move || (half..seeds).step_by(2).for_each(play)))
        .collect();
    for half in halves {
        half.join().expect("see the seed above");
    }
}

fn play(seed: u64) {
    if catch_unwind(AssertUnwindSafe(|| World::new(seed, false).run())).is_err() {
        panic!("seed {seed} failed; MOOT_SEED={seed} cargo test --test simulation plays it again");
    }
}
