//! moot: the meeting place of one machine.
//!
//! Programs that take part use [`client`], which needs no default feature. Everything else belongs to
//! the program `moot` and its tests, and can change in any version.

// Modules in reading order, from the bottom of the house up; see `ARCHITECTURE.md`.
#[doc(hidden)]
pub mod faults;
#[doc(hidden)]
pub mod limits;

#[doc(hidden)]
pub mod chat;

#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod os;
#[doc(hidden)]
pub mod wire;

#[doc(hidden)]
pub mod broadcast;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod history;
#[doc(hidden)]
pub mod presence;
#[doc(hidden)]
pub mod session;

pub mod client;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod server;

#[cfg(feature = "link")]
#[doc(hidden)]
pub mod link;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod tui;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod command;
