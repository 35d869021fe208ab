//! Reader of the carrier for the importer: new messages on all subjects of a link, without a hole.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc::Sender;

use super::{
    carrier::{Carrier, Filter, Stored},
    report::Reporter,
};

/// Pause before the stream is read again after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// Item for the importer.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A stored message: the newest on its subject, or a new one.
    Stored(Stored),
    /// From here on messages about presence are heard.
    Hearing,
    /// A message about presence, and its subject.
    Presence { subject: String, payload: Vec<u8> },
    /// The stream is not the one that was read before: its sequences mean nothing any longer.
    Reset,
}

/// Sends the newest message on each subject, and then each new one, until the importer ended. The
/// channel is bounded: this waits for an importer that is busy.
pub(super) async fn read(
    carrier: Carrier,
    filter: Filter,
    to: Sender<Incoming>,
    reporter: Arc<Reporter>,
) {
    loop {
        match carrier.consume_newest(filter.clone()).await {
            Ok(mut messages) => {
                reporter.recovered("reading of the stream");
                while let Some(next) = messages.next().await {
                    match next {
                        Ok(stored) => {
                            if to.send(Incoming::Stored(stored)).await.is_err() {
                                return;
                            }
                        }
                        Err(e) => {
                            reporter.warn("reading of the stream", &e.to_string());
                            break;
                        }
                    }
                }
            }
            Err(e) => reporter.warn("reading of the stream", &e.to_string()),
        }
        if to.send(Incoming::Reset).await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends the messages about presence.
pub(super) async fn hear(carrier: Carrier, to: Sender<Incoming>, reporter: Arc<Reporter>) {
    loop {
        match carrier.subscribe_plain(super::subject::PRESENCE).await {
            Ok(mut messages) => {
                if to.send(Incoming::Hearing).await.is_err() {
                    return;
                }
                while let Some(next) = messages.next().await {
                    match next {
                        Ok(message) => {
                            let (subject, payload) = (message.subject, message.payload.to_vec());
                            if to.send(Incoming::Presence { subject, payload }).await.is_err() {
                                return;
                            }
                        }
                        Err(denial) => {
                            reporter.warn("presence of other hosts", &denial.to_string());
                            break;
                        }
                    }
                }
            }
            Err(e) => reporter.warn("presence of other hosts", &e.to_string()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
