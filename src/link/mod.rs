//! A link: carries rooms between the servers of several hosts, over a NATS server with JetStream.
//!
//! It is an ordinary client of its host's server. That server is the truth, NATS is the carrier:
//! what the carrier loses is published again from the history. A member (`watcher.rs`) says that
//! there is something to export; the exporter publishes it, in batches, one subject a room and
//! host. The importer reads the subjects of other hosts and gives their messages to the server,
//! which takes each once. The newest message on a subject says how far its host has come.

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
mod stop;
mod subject;
mod watcher;

pub use self::{
    carrier::{Credentials, Finding, Limits, Settings, Verdict},
    check::check,
    report::{HostCounts, LinkCounts, LinkReport},
    run::{LinkError, LinkOptions, run},
};
