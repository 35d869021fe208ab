//! A member's end: what programs use to talk, listen, announce. Blocking; no async runtime needed.
//!
//! [`Link`] is one session for questions and submits, without threads. [`Member`] listens: it keeps
//! its streams in order over session and broadcast, and reconnects by itself.

mod event;
mod frames;
mod link;
mod member;
mod past;
mod start;

pub use event::Event;
pub use link::{Link, LinkError, Sent, Told, id_of};
pub use member::{Address, Follows, Member, Wake};
pub use past::Search;
pub use start::{StartError, start};
