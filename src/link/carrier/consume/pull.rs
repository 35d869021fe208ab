//! Pulling of one consumer until it ends.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    super::{
        api::lost,
        error::{CarrierError, ConsumeError},
        message::Stored,
    },
    Consumer, ConsumerEnd, Filter, StreamReader, from_carrier,
};

/// Messages of one request.
const BATCH: u64 = 32;
/// Deliveries still open at which the next request is sent, so that the server never waits.
const REFILL: u64 = BATCH / 2;
/// Time after which the server ends a request.
const EXPIRES: Duration = Duration::from_secs(30);
/// Interval of the server's heartbeats while it has nothing to deliver.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which the consumer is considered lost.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// Interval at which the stream is compared with its earlier state.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);

/// State of pulling.
struct Pull {
    /// Deliveries that the server still owes for the requests made.
    open: u64,
    /// Number of the last delivery.
    delivery: u64,
    /// True after the first sign of life.
    worked: bool,
    /// Time at which silence is too long.
    silent_at: Instant,
    /// Time of the next comparison.
    compare_at: Instant,
    /// Result of a comparison, reported once no delivery is queued.
    verdict: Option<ConsumeError>,
}

impl Pull {
    fn alive(&mut self) {
        self.worked = true;
        self.silent_at = Instant::now() + SILENCE_MAX;
    }

    fn again(&self) -> ConsumerEnd {
        ConsumerEnd::Again { worked: self.worked }
    }
}

impl StreamReader {
    /// Passes on the deliveries of one consumer until it ends.
    pub(super) async fn pull(&mut self, consumer: &mut Consumer) -> ConsumerEnd {
        let sender = self.sender.clone();
        let mut state = self.carrier.state();
        let now = Instant::now();
        let mut pull = Pull {
            open: 0,
            delivery: 0,
            worked: false,
            silent_at: now + SILENCE_MAX,
            compare_at: now + COMPARE_INTERVAL,
            verdict: None,
        };
        loop {
            if pull.open <= REFILL {
                if self.ask(consumer, BATCH).await.is_err() {
                    return pull.again();
                }
                pull.open += BATCH;
            }
            tokio::select! {
                biased;
                () = sender.closed() => return ConsumerEnd::Dropped,
                message = consumer.subscriber.next() => {
                    let Some(message) = message else { return pull.again() };
                    if let Err(end) = self.receive(&mut pull, message).await {
                        return end;
                    }
                }
                _ = lost(&mut state, consumer.connection) => return pull.again(),
                () = std::future::ready(()), if pull.verdict.is_some() => {
                    return self.verdict(pull);
                }
                () = sleep_until(pull.silent_at) => return self.silence(&pull, consumer),
                () = sleep_until(pull.compare_at) => {
                    pull.compare_at = Instant::now() + COMPARE_INTERVAL;
                    match self.carrier.extent().await.map_err(from_carrier) {
                        Ok(extent) => pull.verdict = self.compare(extent, false).err(),
                        Err(ConsumeError::Carrier(e)) if e.is_temporary() => return pull.again(),
                        Err(error) => pull.verdict = Some(error),
                    }
                }
            }
        }
    }

    /// Returns the result of the last comparison, after all deliveries were passed on.
    fn verdict(&self, pull: Pull) -> ConsumerEnd {
        let wanted = self.position + 1;
        match pull.verdict {
            None => ConsumerEnd::Again { worked: pull.worked },
            Some(ConsumeError::Removed { stream, first, .. }) if first <= wanted => {
                ConsumerEnd::Failed(ConsumeError::Purged { stream, first })
            }
            Some(ConsumeError::Removed { stream, first, .. }) => {
                ConsumerEnd::Failed(ConsumeError::Removed { stream, wanted, first })
            }
            Some(error) => ConsumerEnd::Failed(error),
        }
    }

    /// Returns the reason of the silence: a denied request never has a reply.
    fn silence(&self, pull: &Pull, consumer: &Consumer) -> ConsumerEnd {
        let denial = self.carrier.inner.monitor.publish_denial(&self.next_subject(consumer));
        let denial = denial.or_else(|| self.carrier.inner.monitor.inbox_denial());
        denial.map_or(pull.again(), |denial| ConsumerEnd::Failed(CarrierError::from(denial).into()))
    }

    fn next_subject(&self, consumer: &Consumer) -> String {
        let stream = &self.carrier.inner.settings.stream;
        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", consumer.name)
    }

    /// Requests `count` more messages.
    async fn ask(&self, consumer: &Consumer, count: u64) -> Result<(), ()> {
        let carrier = &self.carrier.inner;
        let subject = self.next_subject(consumer);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let body = json!({
            "batch": count,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        let send = carrier.client.publish_with_reply(
            subject,
            consumer.inbox.clone(),
            body.to_string().into(),
        );
        match tokio::time::timeout(carrier.settings.reply_timeout, send).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(()),
        }
    }

    /// Handles one message on the inbox.
    async fn receive(&mut self, pull: &mut Pull, message: Message) -> Result<(), ConsumerEnd> {
        match message.status {
            None => self.pass_on(pull, message).await,
            Some(StatusCode::IDLE_HEARTBEAT) => {
                pull.alive();
                match number(&message, "Nats-Last-Consumer") {
                    // The last deliveries were lost on their way.
                    Some(delivery) if delivery != pull.delivery => Err(pull.again()),
                    Some(_) | None => Ok(()),
                }
            }
            Some(StatusCode::TIMEOUT) => {
                pull.alive();
                let owed = number(&message, "Nats-Pending-Messages").unwrap_or(pull.open);
                pull.open = pull.open.saturating_sub(owed);
                Ok(())
            }
            // The consumer was deleted or is unknown, or the server shuts down.
            Some(_) => Err(pull.again()),
        }
    }

    async fn pass_on(&mut self, pull: &mut Pull, message: Message) -> Result<(), ConsumerEnd> {
        let Some((stored, position)) = Stored::from_delivery(message) else { return Ok(()) };
        if position.delivery != pull.delivery + 1 {
            return Err(pull.again());
        }
        pull.delivery = position.delivery;
        pull.open = pull.open.saturating_sub(1);
        if position.stream <= self.position {
            return Err(pull.again());
        }
        let sequence = stored.sequence;
        let wanted = self.position + 1;
        if self.filter == Filter::All && sequence != wanted {
            let stream = self.carrier.inner.settings.stream.clone();
            return Err(ConsumerEnd::Failed(ConsumeError::Removed {
                stream,
                wanted,
                first: sequence,
            }));
        }
        if self.filter.passes(&stored.subject) && self.sender.send(Ok(stored)).await.is_err() {
            return Err(ConsumerEnd::Dropped);
        }
        self.position = sequence;
        self.known.saw(sequence);
        // Not before: the caller may have made this wait.
        pull.alive();
        Ok(())
    }
}

fn number(message: &Message, header: &str) -> Option<u64> {
    message.headers.as_ref()?.get(header)?.as_str().parse().ok()
}
