//! Tests of `moot link` with the real program and a real NATS server: several hosts, each in a
//! network namespace where the tests run as root.
//!
//! `MOOT_NATS_SERVER` names a current nats-server; that of Debian is found by `PATH`. Without one,
//! its tests pass and print that they were skipped. Most of the time is spent in waits, so that
//! `--test-threads 5` is faster on 2 cores. Longer runs: `MOOT_LINK_LONG=1`, `MOOT_LINK_ROUNDS=500`
//! (`kills.rs`), and `--include-ignored`.
#![cfg(target_os = "linux")]

mod announce;
mod carrier_consume;
mod carrier_injection;
mod carrier_publish;
mod carrier_server;
mod carrier_subjects;
mod checker;
mod happy;
mod hostile;
mod kills;
mod names;
mod nats;
mod net;
mod presence;
mod process;
mod restore;
mod stream;
mod two_links;
mod world;

#[allow(dead_code)]
#[path = "../program/machine/mod.rs"]
mod machine;
#[allow(dead_code)]
#[path = "../simulation/random.rs"]
mod random;
