//! Subscriptions to messages that are not stored.

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::broadcast;

use super::{
    client::Carrier,
    error::{CarrierError, Denial},
    message::matches,
};

/// One message that is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainMessage {
    /// Subject on which it was published.
    pub subject: String,
    /// Payload, which the carrier does not interpret.
    pub payload: Bytes,
}

/// Messages on a subject from now on. The subscription survives disconnections; messages
/// published meanwhile are lost.
#[derive(Debug)]
pub struct PlainMessages {
    subject: String,
    subscriber: async_nats::Subscriber,
    denials: broadcast::Receiver<Denial>,
}

impl Carrier {
    /// Subscribes to `subject`, which may have wildcards.
    ///
    /// # Errors
    /// Returns `Unsent` if the subject is invalid or the client was closed. A denial arrives
    /// later, from [`PlainMessages::next`].
    pub async fn subscribe_plain(&self, subject: &str) -> Result<PlainMessages, CarrierError> {
        let denials = self.inner.monitor.denials();
        let unsent = |why| CarrierError::Unsent { subject: subject.to_owned(), why };
        let subscribe = self.inner.client.subscribe(subject.to_owned());
        let subscriber = tokio::time::timeout(self.inner.settings.reply_timeout, subscribe)
            .await
            .map_err(|_| unsent("the client's queue is full".to_owned()))?
            .map_err(|e| unsent(e.to_string()))?;
        Ok(PlainMessages { subject: subject.to_owned(), subscriber, denials })
    }
}

impl PlainMessages {
    /// Returns the next message; none after the client was closed. A dropped future loses nothing.
    ///
    /// # Errors
    /// Returns the denial of this subscription, each time the server reports it: also after a
    /// reconnection.
    pub async fn next(&mut self) -> Option<Result<PlainMessage, Denial>> {
        loop {
            tokio::select! {
                biased;
                message = self.subscriber.next() => {
                    let message = message?;
                    let (subject, payload) = (message.subject.to_string(), message.payload);
                    // A status message of the server has no subject of ours.
                    if message.status.is_none() && matches(&self.subject, &subject) {
                        return Some(Ok(PlainMessage { subject, payload }));
                    }
                }
                denial = self.denials.recv() => match denial {
                    Ok(denial) if !denial.publish && denial.subject == self.subject => {
                        return Some(Err(denial));
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            }
        }
    }
}
