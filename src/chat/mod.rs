//! The rules of the chat: who may send what where, the order of messages, and who has seen them.
//!
//! No I/O, no clock, no threads: time is an argument, what is to be done comes out as actions. The
//! same code runs in the server, in the member's client, in the seeded simulation and under
//! fuzzing.

// What can happen is a closed list; adding to it shows every place that has to know.
#![warn(clippy::wildcard_enum_match_arm)]

#[cfg(feature = "cli")]
pub mod announcement;
#[cfg(feature = "cli")]
pub mod backlog;
pub mod batch;
pub mod clock;
pub mod event;
pub mod frames;
#[cfg(feature = "cli")]
pub mod hub;
pub mod inbox;
pub mod linked;
mod list;
pub mod member;
pub mod message;
pub mod names;
#[cfg(feature = "cli")]
pub mod permutation;
pub mod presence_row;
#[cfg(feature = "cli")]
mod record_order;
pub mod recv_buffer;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod rules;
#[cfg(feature = "cli")]
pub mod store;
pub mod stream_id;
pub mod text;
#[cfg(feature = "cli")]
pub mod users;
pub mod varint;
