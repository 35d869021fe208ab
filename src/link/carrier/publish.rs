//! Publications: stored ones with an expected last sequence, and plain ones that are not stored.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::Value;

use super::{
    api::{ApiError, RequestFailure, connection_number},
    client::Carrier,
    error::{CarrierError, PublishError},
    message::{ExportCursor, GENERATION_HEADER, LAST_HEADER},
};

/// Header that makes the server refuse a message unless the last one on its subject has this
/// sequence; 0 means none.
const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
/// Header that makes another stream refuse the message.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

/// Codes of refused publications (`err_code`).
mod code {
    pub(super) const WRONG_LAST: u64 = 10_071;
    pub(super) const WRONG_LAST_CONSTANT: u64 = 10_164;
    pub(super) const MESSAGE_TOO_LARGE: u64 = 10_054;
    pub(super) const OTHER_STREAM: u64 = 10_060;
    pub(super) const STORE_FAILED: u64 = 10_077;
    pub(super) const ACCOUNT_RESOURCES: u64 = 10_002;
    pub(super) const INSUFFICIENT_RESOURCES: u64 = 10_023;
    pub(super) const MEMORY_RESOURCES: u64 = 10_028;
    pub(super) const STORAGE_RESOURCES: u64 = 10_047;
}

impl Carrier {
    /// Publishes `payload` on `subject` if the last message there has the sequence
    /// `expected_last` (0: no message), and returns the sequence of the new message once the
    /// server has confirmed it.
    ///
    /// The result arrives within the reply timeout. After an error no repetition is under way,
    /// except after `Unknown`: then the message may still reach the server.
    ///
    /// # Errors
    /// Returns `WrongLast` for a repeat or a second publisher, `TooLarge`, `Full`, `Denied`,
    /// `NoStream`, `NotConnected` and `Refused` if nothing was stored, and `Unknown` if the
    /// connection ended or the timeout passed first.
    pub async fn publish(
        &self,
        subject: &str,
        cursor: Option<ExportCursor>,
        payload: Bytes,
        expected_last: u64,
    ) -> Result<u64, PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_LAST, expected_last.to_string());
        headers.insert(EXPECTED_STREAM, self.inner.settings.stream.as_str());
        if let Some(cursor) = cursor {
            headers.insert(LAST_HEADER, cursor.last.to_string());
            headers.insert(GENERATION_HEADER, cursor.generation.to_string());
        }
        let bytes = payload.len();
        let reply = match self.request(subject, headers, payload).await {
            Ok(reply) => reply,
            Err(failure) => return Err(self.unconfirmed(failure, subject, bytes)),
        };
        let unknown = |why: String| PublishError::Unknown { subject: subject.to_owned(), why };
        let reply: Value = serde_json::from_slice(&reply.payload)
            .map_err(|e| unknown(format!("can't read the confirmation: {e}")))?;
        if let Some(error) = ApiError::of(&reply) {
            return Err(self.refusal(error, subject, bytes));
        }
        let sequence = reply.get("seq").and_then(Value::as_u64).filter(|sequence| *sequence > 0);
        sequence.ok_or_else(|| unknown(format!("the confirmation has no sequence: {reply}")))
    }

    fn unconfirmed(&self, failure: RequestFailure, subject: &str, bytes: usize) -> PublishError {
        let subject = subject.to_owned();
        match failure {
            RequestFailure::NoResponders => {
                PublishError::NoStream { stream: self.inner.settings.stream.clone(), subject }
            }
            RequestFailure::TooLarge(why) => PublishError::TooLarge { subject, bytes, why },
            RequestFailure::Other(CarrierError::Denied(denial)) => denial.into(),
            RequestFailure::Other(CarrierError::NotConnected { why }) => {
                PublishError::NotConnected { why }
            }
            RequestFailure::Other(CarrierError::Unsent { why, .. }) => {
                PublishError::Refused { subject, code: 0, text: why }
            }
            RequestFailure::Other(e) => PublishError::Unknown { subject, why: e.to_string() },
        }
    }

    fn refusal(&self, error: ApiError, subject: &str, bytes: usize) -> PublishError {
        let subject = subject.to_owned();
        let ApiError { code, text } = error;
        match code {
            code::WRONG_LAST | code::WRONG_LAST_CONSTANT => {
                let found = text.rsplit(' ').next().and_then(|number| number.parse().ok());
                PublishError::WrongLast { subject, found }
            }
            code::MESSAGE_TOO_LARGE => PublishError::TooLarge { subject, bytes, why: text },
            code::OTHER_STREAM => {
                PublishError::NoStream { stream: self.inner.settings.stream.clone(), subject }
            }
            code::STORE_FAILED
            | code::ACCOUNT_RESOURCES
            | code::INSUFFICIENT_RESOURCES
            | code::MEMORY_RESOURCES
            | code::STORAGE_RESOURCES => PublishError::Full { subject, code, text },
            _ => PublishError::Refused { subject, code, text },
        }
    }

    /// Publishes `payload` on `subject` without storing it and without a confirmation: subscribers
    /// of this moment get it.
    ///
    /// # Errors
    /// Returns `NotConnected` if no connection exists, `Denied` if the server has denied an
    /// earlier publication on this subject, and `Unsent` if the payload is too large.
    pub async fn publish_plain(&self, subject: &str, payload: Bytes) -> Result<(), CarrierError> {
        let monitor = &self.inner.monitor;
        connection_number(&mut monitor.state())?;
        let unsent = |why| CarrierError::Unsent { subject: subject.to_owned(), why };
        let send = self.inner.client.publish(subject.to_owned(), payload);
        match tokio::time::timeout(self.inner.settings.reply_timeout, send).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(unsent(e.to_string())),
            Err(_) => return Err(unsent("the client's queue is full".to_owned())),
        }
        monitor.publish_denial(subject).map_or(Ok(()), |denial| Err(denial.into()))
    }
}
