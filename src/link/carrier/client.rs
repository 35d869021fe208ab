//! The connection to the carrier: its beginning, its state, and the server at its other end.

use std::sync::Arc;

use async_nats::Client;
use tokio::sync::watch;

use super::{
    connect::connect,
    error::{CarrierConnectError, CarrierError},
    monitor::{ConnectionState, Monitor},
    settings::CarrierSettings,
};

/// Connection to the carrier; clones share it. It reconnects by itself until the last clone and
/// the last [`Messages`](super::Messages) are dropped.
#[derive(Clone, Debug)]
pub struct Carrier {
    pub(super) inner: Arc<CarrierInner>,
}

/// Parts of the connection that all clones share.
#[derive(Debug)]
pub(super) struct CarrierInner {
    pub(super) client: Client,
    pub(super) monitor: Arc<Monitor>,
    pub(super) settings: CarrierSettings,
}

/// Facts that the server reports of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarrierServer {
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
    /// whether to try again ([`CarrierConnectError::is_temporary`]).
    pub async fn connect(settings: &CarrierSettings) -> Result<Self, CarrierConnectError> {
        let carrier = Self::connect_plain(settings).await?;
        match carrier.stream_info().await {
            Ok(_) | Err(CarrierError::NoStream { .. }) => Ok(carrier),
            Err(e) => Err(e.into()),
        }
    }

    /// Connects as [`Carrier::connect`] does, without the question for JetStream: for
    /// [`Carrier::check`], which reports more than the first failure.
    ///
    /// # Errors
    /// Returns an error if the connection fails.
    pub async fn connect_plain(settings: &CarrierSettings) -> Result<Self, CarrierConnectError> {
        let monitor = Arc::new(Monitor::new(&settings.url, &settings.inbox_prefix()));
        let client = connect(settings, &monitor).await?;
        let settings = settings.clone();
        Ok(Self { inner: Arc::new(CarrierInner { client, monitor, settings }) })
    }

    /// Returns a receiver of the connection's state.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.inner.monitor.state()
    }

    /// Returns facts of the server of the present or last connection.
    #[must_use]
    pub fn server(&self) -> CarrierServer {
        let info = self.inner.client.server_info();
        CarrierServer {
            name: info.server_name,
            version: info.version,
            max_payload: info.max_payload,
            tls: info.tls_required,
        }
    }
}
