//! Fuzzing: everything that reads bytes or words of others gets inputs that no client or server writes.
//!
//! * `cargo test --test fuzz` runs each target for a second.
//! * `MOOT_FUZZ_SECONDS=600` runs each for 600 s, with other inputs each time; `MOOT_FUZZ_TARGET=frames` only one.
//! * `MOOT_FUZZ_TARGET=frames MOOT_FUZZ_INPUT=6d74…` runs one input; a failure prints such a line.
//! * `MOOT_FUZZ_TARGET=server` runs a real server among hostile users, as root; `MOOT_FUZZ_SEED` the same frames.
//!
//! `fuzz/run` runs the same targets guided by coverage.

mod asks;
mod hub;
mod member;
mod memory;
mod mutate;
// User ids of threads.
#[cfg(target_os = "linux")]
#[path = "../program/hostile/raw.rs"]
#[allow(dead_code, reason = "the tests of the real program use the rest")]
mod raw;
#[cfg(target_os = "linux")]
mod server;
mod strangers;
mod tape;
mod targets;
#[cfg(target_os = "linux")]
#[path = "../program/hostile/victim.rs"]
#[allow(dead_code, reason = "the tests of the real program use the rest")]
mod victim;

use std::{
    collections::VecDeque,
    env, fmt,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mutate::Random;
use targets::{TARGETS, Target};

#[test]
fn hostile_inputs_break_no_target() {
    let only = env::var("MOOT_FUZZ_TARGET").ok();
    let chosen: Vec<&Target> =
        TARGETS.iter().filter(|t| only.as_ref().is_none_or(|only| t.name == only)).collect();
    if only.as_deref() == Some("server") {
        return;
    }
    assert!(!chosen.is_empty(), "no such target: {only:?}");
    if let Ok(hex) = env::var("MOOT_FUZZ_INPUT") {
        let [target] = chosen.as_slice() else { panic!("name one with MOOT_FUZZ_TARGET") };
        return (target.run)(&from_hex(&hex));
    }
    let asked = env::var("MOOT_FUZZ_SECONDS").ok().map(|text| text.parse().expect("seconds"));
    // The normal run makes the same inputs each time, a run on request others.
    let seed = asked.map_or(0, |_: u64| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
    });
    let time = Duration::from_secs(asked.unwrap_or(1));
    let waiting: Mutex<VecDeque<&Target>> = Mutex::new(chosen.into());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().pop_front();
                    let Some(target) = next else { return };
                    if let Err(failure) = drive(target, seed, time) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs a target until its time has passed or an input breaks a promise.
fn drive(target: &Target, seed: u64, time: Duration) -> Result<(), String> {
    let seeds = (target.seeds)();
    let mut random = Random(seed);
    let start = Instant::now();
    let mut executions = 0u64;
    let mut run = |input: &[u8]| {
        executions += 1;
        catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|_| {
            let (name, hex) = (target.name, Hex(input));
            format!("MOOT_FUZZ_TARGET={name} MOOT_FUZZ_INPUT={hex} cargo test --test fuzz fails")
        })
    };
    for seed in &seeds {
        run(seed)?;
    }
    while start.elapsed() < time {
        run(&random.input(&seeds))?;
    }
    report(format_args!("fuzz {:>10}: {executions:>9} executions", target.name));
    Ok(())
}

/// Prints past the capture of output: a test that passes prints nothing else.
fn report(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len() / 2).map(|at| pair(2 * at)).collect()
}
