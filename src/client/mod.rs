//! A member's end: what programs use to talk, listen, announce. Blocking; no async runtime needed.
//!
//! Begin with [`Server::find`]: it has the everyday verbs. [`Link`] is one session for questions
//! and submits, without threads; [`Link::messages`] and [`Link::search`] read what was said before.
//! [`Member`] listens: it keeps its streams in order over session and broadcast, and reconnects by
//! itself; [`member_state`] is the same without I/O. The commands are made of these, and of nothing
//! else.

mod announcements;
mod calls;
mod crowd;
mod event;
mod frames;
mod link;
mod mailbox;
mod member;
pub mod member_state;
mod outbox;
mod past;
mod pipeline;
mod server;
mod start;
mod streams;

pub use crowd::Crowd;
pub use event::Event;
pub use link::{Link, LinkError, Sent, id_of};
pub use mailbox::{Mailbox, Postbox};
pub use member::{Follows, Member, Wake};
pub use past::Search;
pub use pipeline::{Pipeline, Progress};
pub use server::{Announced, Server};
pub use start::{StartError, start};
