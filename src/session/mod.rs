//! Sessions: one bidirectional connection of a process with the server.
//!
//! A Unix socket, or a named pipe on Windows. Here are the two ends; what travels on them is
//! `wire`.

mod connect;
mod listener;
mod output;

pub use connect::{ConnectError, Connection};
pub use listener::{Accepted, Listener};
pub use output::{Ledger, Output};
