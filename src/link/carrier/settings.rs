//! Settings of one connection to the carrier, and the limits wanted of its stream.

use std::{fmt, path::PathBuf, time::Duration};

/// Credentials for the NATS server.
#[derive(Clone, Default)]
pub enum Credentials {
    /// No credentials: only for a server without users.
    #[default]
    None,
    /// Path of a `.creds` file with a user JWT and an nkey seed.
    File(PathBuf),
    /// User and password.
    Password {
        /// Name of the NATS user.
        user: String,
        /// Password of the NATS user.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
        }
    }
}

/// Settings of a connection to the carrier.
#[derive(Clone, Debug)]
pub struct CarrierSettings {
    /// Addresses of the NATS server or of the servers of one cluster, separated by commas:
    /// `nats://HOST:PORT`, or `tls://HOST:PORT` to require TLS. Without user and password.
    pub url: String,
    /// Name of this host, one NATS token of `[a-z0-9_-]`: part of the client name
    /// (`moot-link HOST`), of consumer names and of the inbox prefix (`_INBOX_HOST`).
    pub host: String,
    /// Credentials of this host.
    pub credentials: Credentials,
    /// PEM file with the certificate authorities to trust in place of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Name of the JetStream stream.
    pub stream: String,
    /// Maximum wait for each reply of the server; also the limit of each connection attempt.
    pub reply_timeout: Duration,
    /// Silence after which the server is pinged. A server that is silent for three times as long
    /// is considered dead.
    pub ping_interval: Duration,
    /// Maximum pause between two attempts to reconnect; the first attempts come sooner.
    pub reconnect_pause_max: Duration,
}

impl CarrierSettings {
    /// Returns settings for `host` at `url` with the stream `MOOT`, no credentials, replies within
    /// 5 s, a dead server noticed after 4.5 s, and a reconnection attempt at least every 2 s.
    #[must_use]
    pub fn new(url: &str, host: &str) -> Self {
        Self {
            url: url.to_owned(),
            host: host.to_owned(),
            credentials: Credentials::None,
            ca_file: None,
            stream: "MOOT".to_owned(),
            reply_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_millis(1_500),
            reconnect_pause_max: Duration::from_secs(2),
        }
    }

    /// Prefix of all subjects on which replies arrive, without the dot.
    pub(super) fn inbox_prefix(&self) -> String {
        format!("_INBOX_{}", self.host)
    }
}

/// Wanted subjects and limits of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Subjects that the stream stores; may have wildcards.
    pub subjects: Vec<String>,
    /// Age after which a message is removed; zero for no limit.
    pub max_age: Duration,
    /// Size of the stream in bytes above which the oldest messages are removed; 0 for no limit.
    pub max_bytes: u64,
    /// Bytes of the largest payload that the link publishes.
    pub payload_max: usize,
}

impl Default for StreamLimits {
    /// Room messages, announcements and receipts for 7 days, up to 1 GiB, in batches of 256 KiB.
    fn default() -> Self {
        Self {
            subjects: ["moot.1.r.>", "moot.1.n.*", "moot.1.a.>"].map(str::to_owned).to_vec(),
            max_age: Duration::from_secs(7 * 24 * 60 * 60),
            max_bytes: 1 << 30,
            payload_max: 256 * 1024,
        }
    }
}
