//! The server: one thread that owns the hub and all session I/O.
//!
//! Reading order: [`run`] sets up lock, socket, table and channel and tears them down again; `core`
//! carries out the hub's actions; `conn` is one session's state and output, `session_task` its
//! input; `accept` lets sessions in.

// What can happen is a closed list; adding to it shows every place that has to know.
#![warn(clippy::wildcard_enum_match_arm)]

mod accept;
mod allowance;
mod conn;
mod core;
mod error;
mod files;
mod health;
mod lifecycle;
mod lines;
mod log;
mod options;
mod past;
mod reload;
mod session_task;
mod standing;
mod status;
mod stop;
mod threads;
mod user_turns;
mod watchdog;

pub use self::{
    error::ServerError, lifecycle::run, log::Log, options::Options, status::Status, stop::Stop,
};
