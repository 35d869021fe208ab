//! State of the connection and denied subjects, from the events of the client library.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_nats::{ClientError, Event, ServerError};
use tokio::sync::{broadcast, watch};

use super::error::Denial;

/// Maximum number of denied subjects that are remembered for one connection.
const DENIALS_MAX: usize = 256;
/// Denials that a slow request may fall behind.
const DENIALS_QUEUED: usize = 64;

/// State of the connection to the carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// The connection works.
    Connected {
        /// Number of the connection since the start, from 1.
        number: u64,
    },
    /// No connection; the client tries again by itself.
    Disconnected {
        /// Number of the last connection; 0 before the first.
        number: u64,
        /// Reason, in words.
        why: String,
    },
}

/// Collector of connection events; one a carrier.
#[derive(Debug)]
pub(super) struct Monitor {
    state: watch::Sender<ConnectionState>,
    denials: broadcast::Sender<Denial>,
    noted: Mutex<ConnectionFacts>,
    url: String,
    inbox_prefix: String,
}

/// Facts of the present connection.
#[derive(Debug, Default)]
struct ConnectionFacts {
    /// Error that the server sent before it may close the connection.
    server_error: Option<String>,
    denied: HashSet<Denial>,
}

impl Monitor {
    pub(super) fn new(url: &str, inbox_prefix: &str) -> Self {
        let why = "no connection was made yet".to_owned();
        Self {
            state: watch::Sender::new(ConnectionState::Disconnected { number: 0, why }),
            denials: broadcast::Sender::new(DENIALS_QUEUED),
            noted: Mutex::default(),
            url: url.to_owned(),
            inbox_prefix: format!("{inbox_prefix}."),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    pub(super) fn denials(&self) -> broadcast::Receiver<Denial> {
        self.denials.subscribe()
    }

    /// Returns the denial of the subscription on which replies arrive, if there is one.
    pub(super) fn inbox_denial(&self) -> Option<Denial> {
        self.noted().denied.iter().find(|denial| self.is_inbox(denial)).cloned()
    }

    /// Returns true if `denial` means that no reply can arrive.
    pub(super) fn is_inbox(&self, denial: &Denial) -> bool {
        !denial.publish && denial.subject.starts_with(&self.inbox_prefix)
    }

    /// Returns the denial of publications on `subject` that was reported on this connection.
    pub(super) fn publish_denial(&self, subject: &str) -> Option<Denial> {
        let denial = Denial { publish: true, subject: subject.to_owned() };
        self.noted().denied.contains(&denial).then_some(denial)
    }

    /// Applies one event of the client library.
    pub(super) fn apply(&self, event: Event) {
        match event {
            Event::Connected => {
                *self.noted() = ConnectionFacts::default();
                self.state.send_modify(|state| {
                    let (ConnectionState::Connected { number }
                    | ConnectionState::Disconnected { number, .. }) = *state;
                    *state = ConnectionState::Connected { number: number + 1 };
                });
            }
            Event::Disconnected | Event::Closed => {
                let why = self.noted().server_error.take();
                let why = why.map_or_else(
                    || format!("the connection to {} ended", self.url),
                    |error| format!("{} ended the connection: {error}", self.url),
                );
                self.disconnected(why);
            }
            Event::ServerError(ServerError::Other(text)) => match denial(&text) {
                Some(denial) => self.note(denial),
                None => self.noted().server_error = Some(text.to_lowercase()),
            },
            Event::ServerError(error) => {
                self.noted().server_error = Some(error.to_string().replace("nats: ", ""));
            }
            Event::ClientError(ClientError::Other(text)) => self.attempt_failed(&text),
            Event::ClientError(error) => self.attempt_failed(&error.to_string()),
            Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }

    fn note(&self, denial: Denial) {
        {
            let mut noted = self.noted();
            if noted.denied.len() < DENIALS_MAX {
                noted.denied.insert(denial.clone());
            }
        }
        // No receiver is not an error: the request that caused the denial may have ended.
        let _ = self.denials.send(denial);
    }

    fn disconnected(&self, text: String) {
        self.state.send_modify(|state| {
            let (ConnectionState::Connected { number }
            | ConnectionState::Disconnected { number, .. }) = *state;
            *state = ConnectionState::Disconnected { number, why: text };
        });
    }

    /// Records why an attempt to reconnect failed. The library reports only the kind of failure.
    fn attempt_failed(&self, kind: &str) {
        if matches!(*self.state.borrow(), ConnectionState::Connected { .. }) {
            return;
        }
        let url = &self.url;
        let why = match kind {
            "authorization violation" => format!("{url} rejects the credentials"),
            "timed out" => format!("{url} does not answer in time"),
            "TLS error" => format!("can't establish TLS with {url}"),
            "DNS error" => format!("can't find the address of {url}"),
            "IO error" => format!("{url} refuses or drops connections"),
            other => format!("can't connect to {url}: {other}"),
        };
        self.disconnected(why);
    }

    fn noted(&self) -> MutexGuard<'_, ConnectionFacts> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `Permissions Violation for Publish to "SUBJECT"` and the same for a subscription.
fn denial(text: &str) -> Option<Denial> {
    let lower = text.to_lowercase();
    let rest = lower.strip_prefix("permissions violation for ")?;
    let publish = rest.starts_with("publish");
    if !publish && !rest.starts_with("subscription") {
        return None;
    }
    let subject = text.split('"').nth(1)?.to_owned();
    Some(Denial { publish, subject })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_errors_name_subject_and_direction() {
        let publish = denial("Permissions Violation for Publish to \"moot.1.n.B\"");
        assert_eq!(publish, Some(Denial { publish: true, subject: "moot.1.n.B".to_owned() }));
        let subscribe = denial("Permissions Violation for Subscription to \"x\" using queue \"q\"");
        assert_eq!(subscribe, Some(Denial { publish: false, subject: "x".to_owned() }));
        assert_eq!(denial("Stale Connection"), None);
    }

    #[test]
    fn connection_number_rises_with_each_connection() {
        let monitor = Monitor::new("nats://h", "_INBOX_a");
        let state = monitor.state();
        monitor.apply(Event::Connected);
        monitor.apply(Event::ServerError(ServerError::Other("Server Shutdown".to_owned())));
        monitor.apply(Event::Disconnected);
        let why = "nats://h ended the connection: server shutdown".to_owned();
        assert_eq!(*state.borrow(), ConnectionState::Disconnected { number: 1, why });
        monitor.apply(Event::Connected);
        assert_eq!(*state.borrow(), ConnectionState::Connected { number: 2 });
    }
}
