//! moot: the meeting place of one machine.
//!
//! Modules in reading order, from the bottom of the house up; see `ARCHITECTURE.md`. Programs that want
//! to take part use [`client`].

#[doc(hidden)]
pub mod faults;
pub mod limits;

pub mod chat;

pub mod config;
pub mod os;
pub mod wire;

pub mod broadcast;
pub mod history;
pub mod presence;
pub mod session;

pub mod client;
pub mod server;

pub mod tui;

pub mod command;
