//! The NATS server with JetStream that carries rooms between hosts, as a link needs it.
//!
//! Everything here is in bytes and subjects; the meaning of payloads is the caller's. JetStream is
//! used through its JSON interface: each subject that an administrator has to permit is visible
//! here, a stream that was deleted is an error instead of silence (the ordered consumer of
//! async-nats retries forever), and a denied request fails at once instead of by a timeout.

mod api;
mod check;
mod client;
mod connect;
mod consume;
mod error;
mod message;
mod monitor;
mod plain;
mod publish;
mod settings;
mod stream;
mod tail;

pub use self::{
    check::{CheckSubjects, LinkFinding, Verdict},
    client::{Carrier, CarrierServer},
    consume::{Filter, Messages},
    error::{CarrierConnectError, CarrierError, ConsumeError, Denial, PublishError},
    message::{ExportCursor, GENERATION_HEADER, LAST_HEADER, Stored},
    monitor::ConnectionState,
    plain::{PlainMessage, PlainMessages},
    settings::{CarrierSettings, Credentials, StreamLimits},
    stream::StreamState,
    tail::Tail,
};
