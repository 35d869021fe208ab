//! The NATS server with JetStream that carries rooms between hosts, as a link needs it.
//!
//! Everything here is in bytes and subjects; the meaning of payloads is the caller's. JetStream is
//! used through its JSON interface: each subject that an administrator has to permit is visible
//! here, a stream that was deleted is an error instead of silence (the ordered consumer of
//! async-nats retries forever), and a denied request fails at once instead of by a timeout.

mod api;
mod check;
mod connect;
mod consume;
mod error;
mod message;
mod monitor;
mod plain;
mod publish;
mod settings;
mod stream;

use std::sync::Arc;

use async_nats::Client;
use tokio::sync::watch;

pub use check::{CheckSubjects, Finding, Verdict};
pub use consume::{Filter, Messages};
pub use error::{CarrierError, ConnectError, ConsumeError, Denial, PublishError};
pub use message::{Cursor, GENERATION_HEADER, LAST_HEADER, Stored};
pub use monitor::ConnectionState;
pub use plain::{PlainMessage, PlainMessages};
pub use settings::{Credentials, Limits, Settings};
pub use stream::{StreamState, Tail};

use monitor::Monitor;

/// Connection to the carrier; clones share it. It reconnects by itself until the last clone and
/// the last [`Messages`] are dropped.
#[derive(Clone, Debug)]
pub struct Carrier {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    monitor: Arc<Monitor>,
    settings: Settings,
}

/// Facts that the server reports of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Name of the server, from its configuration or random.
    pub name: String,
    /// Version, as in `2.9.10`.
    pub version: String,
    /// Maximum bytes of payload and headers of one message.
    pub max_payload: usize,
    /// True if the server requires TLS.
    pub tls: bool,
}

impl Carrier {
    /// Connects once, and asks whether JetStream works; the stream may be missing.
    ///
    /// # Errors
    /// Returns an error if a setting is not usable, the server is not reachable, rejects the
    /// credentials or has no JetStream, or the permissions deny the question. The caller decides
    /// whether to try again ([`ConnectError::is_temporary`]).
    pub async fn connect(settings: &Settings) -> Result<Self, ConnectError> {
        let carrier = Self::connect_plain(settings).await?;
        match carrier.stream_info().await {
            Ok(_) | Err(CarrierError::NoStream { .. }) => Ok(carrier),
            Err(e) => Err(e.into()),
        }
    }

    /// As [`Carrier::connect`], without the question for JetStream: for [`Carrier::check`], which
    /// reports more than the first failure.
    ///
    /// # Errors
    /// Returns an error if the connection fails.
    pub async fn connect_plain(settings: &Settings) -> Result<Self, ConnectError> {
        let monitor = Arc::new(Monitor::new(&settings.url, &settings.inbox_prefix()));
        let client = connect::connect(settings, &monitor).await?;
        let settings = settings.clone();
        Ok(Self { inner: Arc::new(Inner { client, monitor, settings }) })
    }

    /// Returns a receiver of the connection's state.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.inner.monitor.state()
    }

    /// Returns facts of the server of the present or last connection.
    #[must_use]
    pub fn server(&self) -> ServerFacts {
        let info = self.inner.client.server_info();
        ServerFacts {
            name: info.server_name,
            version: info.version,
            max_payload: info.max_payload,
            tls: info.tls_required,
        }
    }
}
