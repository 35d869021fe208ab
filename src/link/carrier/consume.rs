//! Stored messages in order and without a hole, over restarts of the server and lost consumers.
//!
//! A task pulls from an ephemeral consumer that acknowledges nothing. Each delivery has a number
//! in its reply subject: a missing number, a missing heartbeat, a new connection or a lost
//! consumer makes the task create another consumer after the last message that it passed on.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    api::connection_number,
    client::Carrier,
    error::{CarrierError, ConsumeError},
    message::{Stored, matches},
    monitor::ConnectionState,
    stream::Extent,
};

mod pull;

/// Messages that wait between the task and the caller.
const QUEUE_CAPACITY: usize = 16;
/// First pause before a consumer is created again; the pause doubles with each failure.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// Longest pause before a consumer is created again.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Time without a request after which the server removes a consumer.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(60);
/// First server version that filters by several subjects.
const SEVERAL_FILTERS_SINCE: (u32, u32) = (2, 10);

/// Selection of the stream's messages.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Filter {
    /// Every message of the stream. Only here each missing sequence is a removed message.
    #[default]
    All,
    /// Messages on any of these subjects, which may have wildcards. Servers before 2.10 deliver
    /// the whole stream if there are several, and the rest is dropped here.
    Subjects(Vec<String>),
}

impl Filter {
    fn passes(&self, subject: &str) -> bool {
        match self {
            Self::All => true,
            Self::Subjects(patterns) => patterns.iter().any(|pattern| matches(pattern, subject)),
        }
    }
}

/// Messages of the stream, one after the other.
pub struct Messages {
    queue: mpsc::Receiver<Result<Stored, ConsumeError>>,
    restarts: Arc<AtomicU64>,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("restarts", &self.restarts()).finish_non_exhaustive()
    }
}

impl Messages {
    /// Returns the next message, in the order of the stream. While the connection is down this
    /// waits. An error is the last item: the caller calls [`Carrier::consume`] again.
    /// A dropped future loses nothing.
    ///
    /// # Errors
    /// Returns `Deleted`, `Recreated`, `RolledBack`, `Removed` and `Purged` for these events of
    /// the stream, and `Carrier` if the server refuses a consumer.
    pub async fn next(&mut self) -> Option<Result<Stored, ConsumeError>> {
        self.queue.recv().await
    }

    /// Returns how many times a consumer was created again: after a disconnection, a lost message
    /// or a lost consumer.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

impl Stream for Messages {
    type Item = Result<Stored, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll_recv(cx)
    }
}

impl Carrier {
    /// Delivers the messages that pass `filter`, from the sequence `from` on; 0 begins at the first
    /// message that the stream has.
    ///
    /// A task of the current tokio runtime reads ahead by a few dozen messages and ends when the
    /// result is dropped.
    ///
    /// # Errors
    /// Returns `Removed` if the stream begins after `from`, `RolledBack` if it ends more than one
    /// before, `Deleted` if it does not exist, and `Carrier` for denials and temporary errors.
    pub async fn consume(&self, filter: Filter, from: u64) -> Result<Messages, ConsumeError> {
        let extent = self.extent().await.map_err(from_carrier)?;
        let from = if from == 0 { extent.first } else { from };
        self.begin(filter, extent, from, false).await
    }

    /// Delivers the newest message of each subject that passes `filter`, in the order of their
    /// sequences, and then each new message.
    ///
    /// # Errors
    /// As [`Carrier::consume`].
    pub async fn consume_newest(&self, filter: Filter) -> Result<Messages, ConsumeError> {
        let extent = self.extent().await.map_err(from_carrier)?;
        self.begin(filter, extent, extent.first, true).await
    }

    async fn begin(
        &self,
        filter: Filter,
        extent: Extent,
        from: u64,
        newest_only: bool,
    ) -> Result<Messages, ConsumeError> {
        let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
        let restarts = Arc::new(AtomicU64::new(0));
        let mut reader = StreamReader {
            carrier: self.clone(),
            filter,
            position: from.saturating_sub(1),
            known: extent,
            sender,
            restarts: Arc::clone(&restarts),
        };
        reader.compare(extent, true)?;
        let first = reader.open(newest_only).await?;
        tokio::spawn(reader.run(first));
        Ok(Messages { queue, restarts })
    }
}

/// The reading task.
struct StreamReader {
    carrier: Carrier,
    filter: Filter,
    /// Sequence of the last message that was passed on.
    position: u64,
    /// Stream as it was last seen.
    known: Extent,
    sender: mpsc::Sender<Result<Stored, ConsumeError>>,
    restarts: Arc<AtomicU64>,
}

/// A consumer at the server and the subscription on which it delivers.
struct Consumer {
    name: String,
    inbox: String,
    subscriber: async_nats::Subscriber,
    /// Number of the connection on which it was created.
    connection: u64,
}

/// Reason why one consumer ended.
enum ConsumerEnd {
    /// Another consumer continues; true if this one delivered something.
    Again { worked: bool },
    /// The series of messages ends with this error.
    Failed(ConsumeError),
    /// The caller dropped the messages.
    Dropped,
}

impl StreamReader {
    async fn run(mut self, first: Consumer) {
        let mut consumer = first;
        let mut pause = PAUSE_FIRST;
        loop {
            let end = self.pull(&mut consumer).await;
            self.delete(&consumer).await;
            drop(consumer);
            match end {
                ConsumerEnd::Again { worked: true } => pause = PAUSE_FIRST,
                ConsumerEnd::Again { worked: false } => pause = (pause * 2).min(PAUSE_MAX),
                ConsumerEnd::Failed(error) => {
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
                ConsumerEnd::Dropped => return,
            }
            let sender = self.sender.clone();
            let next = tokio::select! {
                biased;
                () = sender.closed() => return,
                next = self.reopen(&mut pause) => next,
            };
            consumer = match next {
                Ok(next) => next,
                Err(error) => {
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
            };
            self.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Creates a consumer after the position, as soon as the server allows.
    async fn reopen(&mut self, pause: &mut Duration) -> Result<Consumer, ConsumeError> {
        loop {
            tokio::time::sleep(*pause).await;
            let mut state = self.carrier.state();
            let connected =
                |state: &ConnectionState| matches!(state, ConnectionState::Connected { .. });
            if state.wait_for(connected).await.is_err() {
                let why = "the client was closed".to_owned();
                return Err(CarrierError::Lost { why }.into());
            }
            let opened = match self.carrier.extent().await.map_err(from_carrier) {
                Ok(extent) => match self.compare(extent, true) {
                    Ok(()) => self.open(false).await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            match opened {
                Err(ConsumeError::Carrier(e)) if e.is_temporary() => {
                    *pause = (*pause * 2).min(PAUSE_MAX);
                }
                other => return other,
            }
        }
    }

    /// Compares the stream with its last known state and with the position.
    ///
    /// `opening` is true if no message is on its way: only then a first sequence after the
    /// position means that unread messages were removed.
    fn compare(&mut self, now: Extent, opening: bool) -> Result<(), ConsumeError> {
        let stream = self.carrier.inner.settings.stream.clone();
        let (position, wanted) = (self.position, self.position + 1);
        let before = std::mem::replace(&mut self.known, now);
        if now.created_us != before.created_us {
            let (before_us, created_us) = (before.created_us, now.created_us);
            return Err(ConsumeError::Recreated { stream, before_us, created_us });
        }
        if now.last < position {
            return Err(ConsumeError::RolledBack { stream, position, last: now.last });
        }
        if opening && now.first > wanted {
            return Err(ConsumeError::Removed { stream, wanted, first: now.first });
        }
        if before.messages > 0 && now.first > before.last {
            let first = now.first;
            return Err(if position >= before.last {
                ConsumeError::Purged { stream, first }
            } else {
                ConsumeError::Removed { stream, wanted, first }
            });
        }
        Ok(())
    }

    /// Subscribes and creates a consumer that begins after the position.
    async fn open(&mut self, newest_only: bool) -> Result<Consumer, ConsumeError> {
        let carrier = &self.carrier;
        let connection = connection_number(&mut carrier.state())?;
        let inbox = carrier.inner.client.new_inbox();
        let subscribe = carrier.inner.client.subscribe(inbox.clone());
        let unsent = |why| CarrierError::Unsent { subject: inbox.clone(), why };
        let subscriber = tokio::time::timeout(carrier.inner.settings.reply_timeout, subscribe)
            .await
            .map_err(|_| unsent("the client's queue is full".to_owned()))?
            .map_err(|e| unsent(e.to_string()))?;
        // The random part of the inbox: other hosts can't guess the name and take messages away.
        let random = inbox.rsplit('.').next().unwrap_or_default();
        let name = format!("{}-{random}", carrier.inner.settings.host);
        let mut filters = self.server_filters();
        if newest_only && filters.is_empty() {
            // The newest of each subject can be had of chosen subjects only.
            filters.push(">".to_owned());
        }
        let from = (!newest_only).then_some(self.position + 1);
        let reply = carrier.create_consumer(&name, &filters, from).await?;
        if reply["config"]["opt_start_seq"].as_u64() != from {
            let (what, why) = ("CONSUMER.CREATE".to_owned(), "another start than asked for".into());
            return Err(CarrierError::Malformed { what, why }.into());
        }
        Ok(Consumer { name, inbox, subscriber, connection })
    }

    /// Returns the subjects by which the server filters; empty for the whole stream.
    fn server_filters(&self) -> Vec<String> {
        match &self.filter {
            Filter::All => Vec::new(),
            Filter::Subjects(subjects) if subjects.len() == 1 => subjects.clone(),
            Filter::Subjects(subjects) => {
                let version = self.carrier.server().version;
                let several = version_of(&version) >= Some(SEVERAL_FILTERS_SINCE);
                if several { subjects.clone() } else { Vec::new() }
            }
        }
    }

    /// Removes the consumer without waiting; the server does so too, a minute later.
    async fn delete(&self, consumer: &Consumer) {
        let stream = &self.carrier.inner.settings.stream;
        let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{}", consumer.name);
        let _ = self.carrier.publish_plain(&subject, bytes::Bytes::new()).await;
    }
}

impl Carrier {
    /// Creates an ephemeral pull consumer that begins at `from`, or with the newest message of each
    /// subject.
    pub(super) async fn create_consumer(
        &self,
        name: &str,
        filters: &[String],
        from: Option<u64>,
    ) -> Result<Value, CarrierError> {
        let stream = &self.inner.settings.stream;
        let threshold = u64::try_from(INACTIVE_THRESHOLD.as_nanos()).unwrap_or(u64::MAX);
        let mut config = json!({
            "name": name,
            "ack_policy": "none",
            "max_deliver": 1,
            "replay_policy": "instant",
            "inactive_threshold": threshold,
            "num_replicas": 1,
            "mem_storage": true,
        });
        match from {
            Some(from) => {
                config["deliver_policy"] = json!("by_start_sequence");
                config["opt_start_seq"] = json!(from);
            }
            None => config["deliver_policy"] = json!("last_per_subject"),
        }
        let mut what = format!("CONSUMER.CREATE.{stream}.{name}");
        match filters {
            [] => {}
            [filter] => {
                config["filter_subject"] = json!(filter);
                what = format!("{what}.{filter}");
            }
            several => config["filter_subjects"] = json!(several),
        }
        self.api_value(&what, &json!({ "stream_name": stream, "config": config })).await
    }
}

fn from_carrier(error: CarrierError) -> ConsumeError {
    match error {
        CarrierError::NoStream { stream } => ConsumeError::Deleted { stream },
        error => ConsumeError::Carrier(error),
    }
}

/// Returns major and minor version.
pub(super) fn version_of(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}
