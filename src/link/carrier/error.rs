//! Errors of the carrier.

use std::time::Duration;

/// Reason why the first connection failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierConnectError {
    /// A setting is not usable; the text names it.
    #[error("{0}")]
    Settings(String),
    /// No process listens at the address.
    #[error(
        "can't connect to {url}: connection refused; check that nats-server runs there and \
         listens on this address"
    )]
    Refused {
        /// Address of the server.
        url: String,
    },
    /// The name of the server has no address.
    #[error("can't connect to {url}: {why}; check the host name")]
    Dns {
        /// Address of the server.
        url: String,
        /// Text of the resolver.
        why: String,
    },
    /// The server rejected the credentials.
    #[error(
        "{url} rejected the credentials of {host}; check the user, its password or credentials \
         file, and the users in the server's configuration"
    )]
    Credentials {
        /// Address of the server.
        url: String,
        /// Name of this host.
        host: String,
    },
    /// The TLS handshake failed.
    #[error(
        "can't establish TLS with {url}: {why}; check the server's certificate and --tls-ca FILE"
    )]
    Tls {
        /// Address of the server.
        url: String,
        /// Text of the TLS library.
        why: String,
    },
    /// The server did not answer in time.
    #[error(
        "{url} did not answer in time; check that a nats-server listens there and no firewall \
         drops the packets"
    )]
    TimedOut {
        /// Address of the server.
        url: String,
    },
    /// The connection failed in another way.
    #[error("can't connect to {url}: {why}")]
    Io {
        /// Address of the server.
        url: String,
        /// Text of the system.
        why: String,
    },
    /// The connection works, but JetStream does not.
    #[error(transparent)]
    JetStream(#[from] CarrierError),
}

impl CarrierConnectError {
    /// Returns true if a later attempt with the same settings may succeed without a change of a
    /// configuration: the server may have been starting, or the network down.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Dns { .. } | Self::TimedOut { .. } | Self::Io { .. } => {
                true
            }
            Self::Settings(_) | Self::Credentials { .. } | Self::Tls { .. } => false,
            Self::JetStream(e) => e.is_temporary(),
        }
    }
}

/// Reason why a question to the carrier has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    /// No connection exists; nothing was sent.
    #[error("not connected to the NATS server: {why}; the link reconnects by itself")]
    NotConnected {
        /// Reason of the disconnection.
        why: String,
    },
    /// The connection ended between the request and its reply.
    #[error(
        "the connection to the NATS server ended before its reply: {why}; the link reconnects by \
         itself"
    )]
    Lost {
        /// Reason of the disconnection.
        why: String,
    },
    /// No reply arrived in time.
    #[error("the NATS server did not reply on {subject} within {} ms", .after.as_millis())]
    TimedOut {
        /// Subject of the request.
        subject: String,
        /// Maximum wait for the reply.
        after: Duration,
    },
    /// The server's permissions do not allow it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// JetStream is off at the server or in the account.
    #[error(
        "JetStream is not enabled on the NATS server or for this account; add jetstream {{ \
         store_dir: … }} to the server's configuration"
    )]
    NoJetStream,
    /// The stream does not exist.
    #[error("stream {stream} does not exist; create it, or start one link with --create")]
    NoStream {
        /// Name of the stream.
        stream: String,
    },
    /// The server refused in another way.
    #[error("the NATS server refused {what}: {text} (error {code})")]
    Refused {
        /// Last tokens of the API subject.
        what: String,
        /// JetStream's error code (`err_code`), or 0.
        code: u64,
        /// Text of the server.
        text: String,
    },
    /// The reply is not what the protocol defines.
    #[error("can't read the reply of the NATS server to {what}: {why}")]
    Malformed {
        /// Last tokens of the API subject.
        what: String,
        /// The unreadable part.
        why: String,
    },
    /// The client could not send the request.
    #[error("can't send to the NATS server on {subject}: {why}")]
    Unsent {
        /// Subject of the request.
        subject: String,
        /// Text of the client library.
        why: String,
    },
}

impl CarrierError {
    /// Returns true if the same request may succeed later without a change of a configuration.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::NotConnected { .. } | Self::Lost { .. } | Self::TimedOut { .. })
    }
}

/// Subject that the server's permissions do not allow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error(
    "the NATS server denies {} {subject}; add it to the permissions of this host's user",
    if *.publish { "publishing on" } else { "subscribing to" }
)]
pub struct Denial {
    /// True for a publication, false for a subscription.
    pub publish: bool,
    /// The subject as the server reported it.
    pub subject: String,
}

/// Reason why a publication is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The last message on the subject is not the expected one: it is a repeat, or another link
    /// publishes as this host. Read the last message to tell them apart.
    #[error(
        "{subject} has another last message than expected (the stream says {found:?}); read the \
         last message again"
    )]
    WrongLast {
        /// Subject of the publication.
        subject: String,
        /// Sequence of the last message on the subject, if the server named it.
        found: Option<u64>,
    },
    /// The message is larger than the server or the stream allows; nothing was stored.
    #[error(
        "a message of {bytes} bytes on {subject} is too large ({why}); raise max_payload or \
         max_msg_size, or publish smaller batches"
    )]
    TooLarge {
        /// Subject of the publication.
        subject: String,
        /// Bytes of the payload.
        bytes: usize,
        /// Limit in the words of the server or the client library.
        why: String,
    },
    /// A limit of the stream, the account or the disk is reached; nothing was stored.
    #[error(
        "the NATS server can't store more on {subject}: {text} (error {code}); raise the limit, \
         or let the stream discard old messages"
    )]
    Full {
        /// Subject of the publication.
        subject: String,
        /// JetStream's error code.
        code: u64,
        /// Text of the server.
        text: String,
    },
    /// The server's permissions do not allow the publication; nothing was stored.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// No stream stores this subject, or not the configured one; nothing was stored.
    #[error(
        "stream {stream} does not store {subject}; check that the stream exists and has the subject"
    )]
    NoStream {
        /// Name of the configured stream.
        stream: String,
        /// Subject of the publication.
        subject: String,
    },
    /// No connection exists; nothing was sent.
    #[error("not connected to the NATS server: {why}; the link reconnects by itself")]
    NotConnected {
        /// Reason of the disconnection.
        why: String,
    },
    /// No confirmation arrived: the message may be stored, or be stored within the next seconds.
    /// Read the last message, and publish again with its sequence.
    #[error("unknown whether the message on {subject} was stored: {why}")]
    Unknown {
        /// Subject of the publication.
        subject: String,
        /// Timeout or disconnection.
        why: String,
    },
    /// The server refused in another way; nothing was stored.
    #[error("the NATS server refused a message on {subject}: {text} (error {code})")]
    Refused {
        /// Subject of the publication.
        subject: String,
        /// JetStream's error code, or 0.
        code: u64,
        /// Text of the server.
        text: String,
    },
}

/// Reason why a series of stored messages ended. The caller continues with
/// [`consume`](super::Carrier::consume) from its own position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// The stream no longer exists.
    #[error("stream {stream} was deleted; create it again, then links fill it from their history")]
    Deleted {
        /// Name of the stream.
        stream: String,
    },
    /// The stream was deleted and created again: sequences restart.
    #[error(
        "stream {stream} was created again (at {created_us} µs, before at {before_us} µs); read \
         it from its beginning"
    )]
    Recreated {
        /// Name of the stream.
        stream: String,
        /// Creation of the earlier stream, microseconds since 1970.
        before_us: u64,
        /// Creation of the present stream, microseconds since 1970.
        created_us: u64,
    },
    /// The stream ends before the position: its server lost messages, or it is another stream.
    #[error(
        "stream {stream} ends at {last}, before the position {position} that was read already; \
         its server lost messages, read it from its beginning"
    )]
    RolledBack {
        /// Name of the stream.
        stream: String,
        /// Last sequence that the caller has, or asked for.
        position: u64,
        /// Last sequence of the stream.
        last: u64,
    },
    /// Messages after the position were removed before they were read.
    #[error(
        "stream {stream} begins at {first}: messages from {wanted} on were removed (purge, age \
         or size); continue from {first}"
    )]
    Removed {
        /// Name of the stream.
        stream: String,
        /// Next sequence after the position.
        wanted: u64,
        /// First sequence that the stream still has, or will have.
        first: u64,
    },
    /// All messages of a moment ago were removed, and all of them had been read.
    #[error("stream {stream} was purged: it begins at {first} now; no unread message was removed")]
    Purged {
        /// Name of the stream.
        stream: String,
        /// First sequence that the stream still has, or will have.
        first: u64,
    },
    /// The server refused to deliver: permissions, JetStream off, or limits.
    #[error(transparent)]
    Carrier(#[from] CarrierError),
}
