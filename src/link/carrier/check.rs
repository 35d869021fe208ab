//! Self-test of a link's needs: each of them is tried, and described in plain words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    api::{ApiError, RequestFailure},
    client::Carrier,
    consume::version_of,
    error::CarrierError,
    message::micros,
    settings::StreamLimits,
    stream::HEADERS_MAX,
};

/// Oldest server whose consumers the link can use.
const OLDEST_VERSION: (u32, u32) = (2, 9);
/// Difference of the clocks from which messages of two hosts look out of order to a reader.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(2);
/// Sequence that no subject ever has: the server refuses the message and stores nothing. The
/// largest that servers read as a number; they parse it signed.
const IMPOSSIBLE_SEQUENCE: &str = "9223372036854775807";

/// Assessment of one finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The link can use it.
    Good,
    /// The link can use it, with a weakness that an administrator should know.
    Warning,
    /// The link can't work.
    Problem,
}

/// Result of one tried thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFinding {
    /// Assessment of the result.
    pub verdict: Verdict,
    /// One sentence without a period: what was tried, the result, and what to do.
    pub text: String,
}

/// Subjects that [`Carrier::check`] tries.
#[derive(Clone, Debug, Default)]
pub struct CheckSubjects {
    /// Stored subjects on which this host must be able to publish, without wildcards.
    pub own: Vec<String>,
    /// Stored subjects of another host, on which this host must not be able to publish.
    pub foreign: Vec<String>,
    /// Presence subject of this host. It gets one empty message, which importers ignore.
    pub presence: String,
    /// Presence subjects of all hosts, with a wildcard.
    pub presence_all: String,
}

impl Carrier {
    /// Tries each thing that a link needs, in the order in which they depend on each other, and
    /// leaves nothing behind: publications are made so that the server refuses to store them.
    ///
    /// Takes up to one reply timeout for each failing thing.
    pub async fn check(&self, subjects: &CheckSubjects, wanted: &StreamLimits) -> Vec<LinkFinding> {
        let mut found = Vec::new();
        self.check_server(wanted, &mut found);
        let last = self.check_stream(wanted, &mut found).await;
        if let Some(last) = last {
            for subject in &subjects.own {
                found.push(self.check_publish(subject).await);
            }
            for subject in &subjects.foreign {
                found.push(self.check_foreign(subject).await);
            }
            if let Some(subject) = subjects.own.first() {
                let tried = self.last(subject).await;
                found.push(finding(
                    tried.map(|_| format!("the last message on {subject} can be read")),
                ));
            }
            self.check_consumer(last + 1, &mut found).await;
        }
        found.push(self.check_presence(subjects).await);
        found
    }

    fn check_server(&self, wanted: &StreamLimits, found: &mut Vec<LinkFinding>) {
        let server = self.server();
        let (name, version) = (&server.name, &server.version);
        found.push(if version_of(version) < Some(OLDEST_VERSION) {
            problem(format!("nats-server {version} ({name}) is too old; install 2.9 or newer"))
        } else {
            good(format!("connected to nats-server {version} ({name})"))
        });
        let needed = wanted.payload_max + usize::try_from(HEADERS_MAX).unwrap_or(0);
        let max = server.max_payload;
        found.push(if max < needed {
            problem(format!(
                "the server accepts messages of up to {max} bytes, needed are {needed}; raise \
                 max_payload"
            ))
        } else {
            good(format!("messages of up to {max} bytes are accepted"))
        });
        if !server.tls && !self.inner.settings.url.split(',').all(is_private) {
            found.push(warning(format!(
                "the connection to {} is not encrypted; configure tls on the server",
                self.inner.settings.url
            )));
        }
    }

    /// Returns the last sequence of the stream, if it can be read.
    async fn check_stream(
        &self,
        wanted: &StreamLimits,
        found: &mut Vec<LinkFinding>,
    ) -> Option<u64> {
        let name = &self.inner.settings.stream;
        match self.stream_state(wanted).await {
            Ok(state) => {
                let sequences = if state.messages == 0 {
                    String::new()
                } else {
                    format!(", sequences {} to {}", state.first, state.last)
                };
                let (messages, bytes) = (state.messages, state.bytes);
                found.push(good(format!(
                    "stream {name} has {messages} messages ({bytes} bytes){sequences}"
                )));
                found.extend(state.differences.into_iter().map(warning));
                Some(state.last)
            }
            Err(e) => {
                found.push(problem(e.to_string()));
                None
            }
        }
    }

    /// Publishes on `subject` so that the server must refuse for its sequence.
    async fn probe(&self, subject: &str) -> Result<(), CarrierError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", IMPOSSIBLE_SEQUENCE);
        headers.insert("Nats-Expected-Stream", self.inner.settings.stream.as_str());
        let refused = |code, text| CarrierError::Refused { what: subject.to_owned(), code, text };
        let reply = match self.request(subject, headers, Bytes::new()).await {
            Ok(reply) => reply,
            Err(RequestFailure::Other(e)) => return Err(e),
            Err(RequestFailure::TooLarge(why)) => return Err(refused(0, why)),
            Err(RequestFailure::NoResponders) => {
                return Err(refused(0, "no stream stores this subject".to_owned()));
            }
        };
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap_or_default();
        match ApiError::of(&reply) {
            Some(e) if e.text.contains("wrong last sequence") => Ok(()),
            Some(e) => Err(refused(e.code, e.text)),
            None => Err(refused(0, format!("the test message was stored: {reply}"))),
        }
    }

    async fn check_publish(&self, subject: &str) -> LinkFinding {
        finding(self.probe(subject).await.map(|()| format!("publishing on {subject} is allowed")))
    }

    async fn check_foreign(&self, subject: &str) -> LinkFinding {
        match self.probe(subject).await {
            Err(CarrierError::Denied(_)) => {
                good(format!("publishing on {subject} (another host) is denied"))
            }
            Ok(()) => warning(format!(
                "publishing on {subject} is allowed, which belongs to another host: this host \
                 could pass for it; restrict the permissions of this host's user"
            )),
            Err(e) => warning(format!("can't find out whether {subject} is denied: {e}")),
        }
    }

    /// Creates a consumer, asks it for a message that does not exist, and removes it.
    async fn check_consumer(&self, from: u64, found: &mut Vec<LinkFinding>) {
        let inbox = self.inner.client.new_inbox();
        let random = inbox.rsplit('.').next().unwrap_or_default();
        let name = format!("{}-check-{random}", self.inner.settings.host);
        let before = now_us();
        let created = self.create_consumer(&name, &[], Some(from)).await;
        let after = now_us();
        let reply = match created {
            Ok(reply) => reply,
            Err(e) => return found.push(problem(e.to_string())),
        };
        found.push(finding(
            self.empty_pull(&name, &inbox).await.map(|()| "a consumer delivers".to_owned()),
        ));
        let stream = &self.inner.settings.stream;
        let subject = format!("CONSUMER.DELETE.{stream}.{name}");
        if let Err(e) = self.api(&subject, &Value::Null).await {
            found.push(warning(format!("a consumer can't be removed early: {e}")));
        }
        if let Some(Ok(server)) = reply["created"].as_str().map(micros) {
            found.extend(clock_skew(before, after, server));
        }
    }

    async fn empty_pull(&self, consumer: &str, inbox: &str) -> Result<(), CarrierError> {
        let stream = &self.inner.settings.stream;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let after = self.inner.settings.reply_timeout;
        let unsent = |why: String| CarrierError::Unsent { subject: subject.clone(), why };
        let client = &self.inner.client;
        let mut replies =
            client.subscribe(inbox.to_owned()).await.map_err(|e| unsent(e.to_string()))?;
        let body = json!({ "batch": 1, "no_wait": true }).to_string().into();
        let sent = client.publish_with_reply(subject.clone(), inbox.to_owned(), body).await;
        sent.map_err(|e| unsent(e.to_string()))?;
        match timeout(after, replies.next()).await {
            // No message, or one that was stored this moment.
            Ok(Some(message)) if message.status != Some(StatusCode::NO_RESPONDERS) => Ok(()),
            Ok(_) => Err(unsent("the server does not know the consumer".to_owned())),
            Err(_) => Err(self
                .inner
                .monitor
                .publish_denial(&subject)
                .map_or(CarrierError::TimedOut { subject, after }, Into::into)),
        }
    }

    /// Publishes an empty presence message and waits until it comes back.
    async fn check_presence(&self, subjects: &CheckSubjects) -> LinkFinding {
        let tried = async {
            let mut messages = self.subscribe_plain(&subjects.presence_all).await?;
            self.publish_plain(&subjects.presence, Bytes::new()).await?;
            loop {
                match messages.next().await {
                    Some(Ok(message)) if message.subject == subjects.presence => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(denial)) => return Err(denial.into()),
                    None => return Err(CarrierError::Lost { why: "the client was closed".into() }),
                }
            }
        };
        let after = self.inner.settings.reply_timeout;
        let subject = subjects.presence.clone();
        let result = timeout(after, tried).await.unwrap_or_else(|_| {
            let denial = self.inner.monitor.publish_denial(&subject);
            Err(denial.map_or(CarrierError::TimedOut { subject, after }, Into::into))
        });
        finding(result.map(|()| {
            format!("presence on {} arrives on {}", subjects.presence, subjects.presence_all)
        }))
    }
}

fn clock_skew(before: u64, after: u64, server: u64) -> Option<LinkFinding> {
    let skew = if server < before { before - server } else { server.saturating_sub(after) };
    let skew = Duration::from_micros(skew);
    let direction = if server < before { "ahead of" } else { "behind" };
    (skew > CLOCK_SKEW_MAX).then(|| {
        warning(format!(
            "the clock of this host is {:.1} s {direction} the clock of the NATS server; \
             synchronize both (NTP)",
            skew.as_secs_f64()
        ))
    })
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Returns true if the address is on this machine.
fn is_private(url: &str) -> bool {
    let rest = url.trim().split_once("://").map_or(url, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|prefix| rest.starts_with(prefix))
        || url.trim().starts_with("tls://")
}

fn finding(result: Result<String, CarrierError>) -> LinkFinding {
    result.map_or_else(|e| problem(e.to_string()), good)
}

fn good(text: String) -> LinkFinding {
    LinkFinding { verdict: Verdict::Good, text }
}

fn warning(text: String) -> LinkFinding {
    LinkFinding { verdict: Verdict::Warning, text }
}

fn problem(text: String) -> LinkFinding {
    LinkFinding { verdict: Verdict::Problem, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_skew_is_reported_with_its_direction() {
        assert_eq!(clock_skew(10_000_000, 10_100_000, 10_050_000), None);
        let ahead = clock_skew(10_000_000, 10_100_000, 5_000_000).expect("a warning").text;
        assert!(ahead.contains("5.0 s ahead of"), "{ahead}");
        let behind = clock_skew(10_000_000, 10_100_000, 20_100_000).expect("a warning").text;
        assert!(behind.contains("10.0 s behind"), "{behind}");
    }
}
