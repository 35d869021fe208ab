//! Sessions: one bidirectional connection of a process with the server.
//!
//! A Unix socket, or a named pipe on Windows. Here are the two ends; what travels on them is
//! `wire`.

mod connect;
#[cfg(feature = "cli")]
mod listener;
#[cfg(feature = "cli")]
mod output;

pub use connect::{ConnectError, Connection};
#[cfg(feature = "cli")]
pub use listener::{Accepted, Listener};
#[cfg(feature = "cli")]
pub use output::{Ledger, Output};
