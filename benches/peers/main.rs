//! This program against its peers, in one run: `cargo bench --bench peers -- --help`.
//!
//! The same work through each system in turns: one publisher who writes many messages at once, and
//! receivers with a connection each who check the number of every message. It is for Linux: it reads
//! `/proc` and waits with epoll.

#[cfg(target_os = "linux")]
mod chart;
#[cfg(target_os = "linux")]
mod compare;
#[cfg(target_os = "linux")]
mod drive;
#[cfg(target_os = "linux")]
mod moot;
#[cfg(target_os = "linux")]
mod mosquitto;
#[cfg(target_os = "linux")]
mod nats;
#[cfg(target_os = "linux")]
mod payload;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod publisher;
#[cfg(target_os = "linux")]
mod receivers;
#[cfg(target_os = "linux")]
mod redis;
#[cfg(target_os = "linux")]
mod sample;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod systems;
#[cfg(target_os = "linux")]
mod tables;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    compare::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    let text = "the comparison with peers needs Linux";
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
}
