//! Tests of `moot link` with the real program and a real NATS server: several hosts, each in a
//! network namespace where the tests run as root.
//!
//! `MOOT_NATS_SERVER` names a current nats-server; that of Debian is found by `PATH`. Without one,
//! its tests pass and say that they were skipped. `MOOT_LINK_LONG=1` runs the long ones as well.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)]

mod checker;
mod happy;
mod kills;
mod nats;
mod net;
mod process;
mod world;

#[allow(dead_code)]
#[path = "../program/machine/mod.rs"]
mod machine;
#[allow(dead_code)]
#[path = "../simulation/random.rs"]
mod random;
