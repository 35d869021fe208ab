//! Requests over the connection, and JetStream's JSON interface on them.

use async_nats::{HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::{
    client::Carrier,
    error::{CarrierError, Denial},
    monitor::{ConnectionState, Monitor},
};

/// Codes of JetStream (`err_code`) that need their own handling.
pub(super) mod code {
    pub(crate) const MESSAGE_NOT_FOUND: u64 = 10_037;
    pub(crate) const STREAM_NOT_FOUND: u64 = 10_059;
    pub(crate) const NOT_ENABLED: u64 = 10_076;
    pub(crate) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10_039;
}

/// Reason why a request has no reply.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// No server answers on the subject.
    NoResponders,
    /// Payload and headers exceed the limit of the server; the text has both sizes.
    TooLarge(String),
    /// Any other reason.
    Other(CarrierError),
}

/// Error that JetStream put into its reply.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub code: u64,
    pub text: String,
}

impl ApiError {
    /// Returns the error in a reply, if it has one.
    pub(super) fn of(reply: &Value) -> Option<Self> {
        let error = reply.get("error")?;
        let code = error.get("err_code").and_then(Value::as_u64).unwrap_or(0);
        let text = error.get("description").and_then(Value::as_str).unwrap_or("no description");
        Some(Self { code, text: text.to_owned() })
    }
}

impl Carrier {
    /// Sends a request and waits for its one reply, its denial, the end of the connection or the
    /// reply timeout, whichever comes first.
    pub(super) async fn request(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Message, RequestFailure> {
        let monitor = &self.inner.monitor;
        let mut denials = monitor.denials();
        let mut state = monitor.state();
        let number = connection_number(&mut state).map_err(RequestFailure::Other)?;
        if let Some(denial) = monitor.inbox_denial() {
            return Err(RequestFailure::Other(denial.into()));
        }
        let mut request = Request::new().payload(payload).timeout(None);
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let after = self.inner.settings.reply_timeout;
        tokio::select! {
            biased;
            reply = self.inner.client.send_request(subject.to_owned(), request) => {
                reply.map_err(|e| failure(&e, subject))
            }
            denial = denied(&mut denials, subject, monitor) => {
                Err(RequestFailure::Other(denial.into()))
            }
            why = lost(&mut state, number) => {
                Err(RequestFailure::Other(CarrierError::Lost { why }))
            }
            () = tokio::time::sleep(after) => {
                let subject = subject.to_owned();
                Err(RequestFailure::Other(CarrierError::TimedOut { subject, after }))
            }
        }
    }

    /// Sends a request to `$JS.API.<what>`. The result is JetStream's own error, if it has one.
    pub(super) async fn api(
        &self,
        what: &str,
        body: &Value,
    ) -> Result<Result<Value, ApiError>, CarrierError> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let reply = self.request(&format!("$JS.API.{what}"), HeaderMap::new(), body).await;
        let reply = reply.map_err(|e| match e {
            RequestFailure::NoResponders => CarrierError::NoJetStream,
            RequestFailure::TooLarge(why) => CarrierError::Unsent { subject: what.to_owned(), why },
            RequestFailure::Other(e) => e,
        })?;
        let malformed = |why| CarrierError::Malformed { what: what.to_owned(), why };
        let reply: Value =
            serde_json::from_slice(&reply.payload).map_err(|e| malformed(e.to_string()))?;
        match ApiError::of(&reply) {
            None => Ok(Ok(reply)),
            Some(e) if matches!(e.code, code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT) => {
                Err(CarrierError::NoJetStream)
            }
            Some(e) if e.code == code::STREAM_NOT_FOUND => {
                Err(CarrierError::NoStream { stream: self.inner.settings.stream.clone() })
            }
            Some(e) => Ok(Err(e)),
        }
    }

    /// Sends a request as [`Carrier::api`] does, with JetStream's errors as refusals.
    pub(super) async fn api_value(&self, what: &str, body: &Value) -> Result<Value, CarrierError> {
        self.api(what, body).await?.map_err(|e| CarrierError::Refused {
            what: what.to_owned(),
            code: e.code,
            text: e.text,
        })
    }
}

fn failure(error: &async_nats::RequestError, subject: &str) -> RequestFailure {
    match error.kind() {
        RequestErrorKind::NoResponders => RequestFailure::NoResponders,
        RequestErrorKind::MaxPayloadExceeded => RequestFailure::TooLarge(error.to_string()),
        RequestErrorKind::InvalidSubject => {
            let (subject, why) = (subject.to_owned(), error.to_string());
            RequestFailure::Other(CarrierError::Unsent { subject, why })
        }
        // The client task ended; the request may have been written before.
        RequestErrorKind::TimedOut | RequestErrorKind::Other => {
            RequestFailure::Other(CarrierError::Lost { why: error.to_string() })
        }
    }
}

/// Returns the number of the present connection.
pub(super) fn connection_number(
    state: &mut watch::Receiver<ConnectionState>,
) -> Result<u64, CarrierError> {
    match &*state.borrow_and_update() {
        ConnectionState::Connected { number } => Ok(*number),
        ConnectionState::Disconnected { why, .. } => {
            Err(CarrierError::NotConnected { why: why.clone() })
        }
    }
}

/// Waits until the connection with this number has ended; returns the reason.
pub(super) async fn lost(state: &mut watch::Receiver<ConnectionState>, connection: u64) -> String {
    let ended = |state: &ConnectionState| match state {
        ConnectionState::Connected { number } => *number != connection,
        ConnectionState::Disconnected { .. } => true,
    };
    match state.wait_for(ended).await.as_deref() {
        Ok(ConnectionState::Disconnected { why, .. }) => why.clone(),
        Ok(ConnectionState::Connected { .. }) => "the client reconnected".to_owned(),
        Err(_) => "the client was closed".to_owned(),
    }
}

/// Waits for a denial of publications on `subject` or of the subscription to replies.
async fn denied(
    denials: &mut broadcast::Receiver<Denial>,
    subject: &str,
    monitor: &Monitor,
) -> Denial {
    loop {
        match denials.recv().await {
            Ok(denial) if denial.publish && denial.subject == subject => return denial,
            Ok(denial) if monitor.is_inbox(&denial) => return denial,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
