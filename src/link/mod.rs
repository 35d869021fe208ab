//! A link: carries rooms between the servers of several hosts, over a NATS server with JetStream.
//!
//! It is an ordinary client of its host's server. That server is the truth, NATS is the carrier:
//! messages that the carrier loses are published again from the history. A member (`watcher.rs`)
//! reports new messages; the exporter publishes them, in batches, one subject a room and host. The
//! importer reads the subjects of other hosts and gives their messages to the server, which
//! imports each once. The newest message on a subject says how far its host has come.

mod batch;
mod board;
#[doc(hidden)]
pub mod carrier;
mod check;
mod consumer;
mod exporter;
mod importer;
mod local;
mod plan;
mod presence;
mod receipts;
mod recent;
mod report;
mod run;
mod signals;
mod subject;
mod watcher;

pub use self::{
    carrier::{CarrierSettings, Credentials, LinkFinding, StreamLimits, Verdict},
    check::check,
    report::{HostCounts, LinkCounts, LinkReport},
    run::{LinkFailure, LinkOptions, run},
};
