//! The targets of `tests/fuzz` under libFuzzer, which is guided by coverage; see `fuzz/run`.
#![no_main]

#[path = "../tests/fuzz/asks.rs"]
mod asks;
#[path = "../tests/fuzz/hub.rs"]
mod hub;
#[path = "../tests/fuzz/member.rs"]
mod member;
#[path = "../tests/fuzz/memory.rs"]
mod memory;
#[path = "../tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../tests/fuzz/strangers.rs"]
mod strangers;
#[path = "../tests/fuzz/tape.rs"]
mod tape;
#[path = "../tests/fuzz/targets.rs"]
mod targets;

use std::{env, fs, path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use targets::{TARGETS, Target};

/// The target that `MOOT_FUZZ_TARGET` names.
static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("MOOT_FUZZ_TARGET").expect("MOOT_FUZZ_TARGET names a target");
    TARGETS.iter().find(|target| target.name == name).expect("a target of this name")
});

fuzz_target!(
    init: {
        // The seeds of the target become files of its corpus, where libFuzzer looks for them.
        if let Some(corpus) = env::var_os("MOOT_FUZZ_CORPUS") {
            for (at, seed) in (TARGET.seeds)().iter().enumerate() {
                fs::write(Path::new(&corpus).join(format!("seed-{at}")), seed).expect("a corpus");
            }
        }
    },
    |bytes: &[u8]| (TARGET.run)(bytes)
);
