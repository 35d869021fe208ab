//! The hub: one pure state machine that gives every room its order and knows who has what.
//!
//! A message's way: [`Hub::submit`] numbers it, [`Hub::end_turn`] hands what was numbered in this
//! turn to the store (streams that are stored) and, after [`Hub::stored`], puts it into the
//! stream's backlog as one encoded body, acknowledges it to its sender and publishes it. Publishing
//! before the commit would let a crash give one number to two texts.
//!
//! Members have no queues. A member is a cursor into the backlog (`Subscriber`); what it is owed is
//! computed by [`Hub::pull`] when its socket has room. What is in flight is bounded by a window
//! that only acknowledgements open (`flow.rs`); a member that keeps it shut leaves the window and
//! pulls at its own pace.
//!
//! Time comes in as [`crate::chat::clock::Now`], what is to be done goes out as [`Action`]s.
//! Nothing here reads a clock, touches a socket or blocks.

mod accounts;
mod action;
mod announcements;
mod asking;
mod audit;
mod audit_log;
mod backlogs;
#[cfg(test)]
mod cases;
mod commit;
mod commits;
mod config;
mod conversation;
mod conversations;
mod directory;
#[cfg(test)]
mod effort;
mod fetch;
mod flow;
#[cfg(test)]
mod flow_cases;
mod follows;
mod gone;
#[cfg(test)]
mod identity_cases;
#[cfg(test)]
mod import_cases;
mod importing;
mod instances;
mod job;
mod job_board;
mod joining;
mod kick;
mod kicks;
mod ledger;
mod links;
mod notices;
mod outcomes;
mod output;
mod pending;
mod permissions;
mod posted;
mod publish;
mod pull;
mod reading;
mod receipts;
mod reception;
#[cfg(test)]
mod refusals;
mod remote_rows;
#[cfg(test)]
mod removal;
mod request;
mod restored;
#[cfg(test)]
mod resubmits;
mod roles;
mod rooms;
mod roster;
#[cfg(test)]
mod scene;
mod session;
mod sessions;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod silence;
mod state;
mod stream;
mod stream_parts;
mod streams;
mod submit;
mod subscriber;
mod usage;
mod watchlist;
mod work_queue;

pub use accounts::{Bucket, Rates, share};
pub use action::{Action, Chunk};
pub use config::{HubConfig, JobLimits};
pub use state::Hub;
pub use usage::Usage;
