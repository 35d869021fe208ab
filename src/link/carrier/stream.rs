//! State and configuration of the stream, its creation, and its last message on a subject.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    api::code,
    client::Carrier,
    error::CarrierError,
    message::{Stored, covers, micros},
    settings::StreamLimits,
};

/// State of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Sequence of the first message; `last` + 1 without messages.
    pub first: u64,
    /// Sequence of the last message that was ever stored; 0 if there was none.
    pub last: u64,
    /// Number of messages.
    pub messages: u64,
    /// Size of the messages, bytes.
    pub bytes: u64,
    /// Creation of the stream, microseconds since 1970: the same after a restart of the server,
    /// another after a deletion.
    pub created_us: u64,
    /// Differences between the wanted and the found configuration, each a sentence without a
    /// period; empty if the configuration fits.
    pub differences: Vec<String>,
}

/// Sequences of the stream at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub first: u64,
    pub last: u64,
    pub messages: u64,
    pub created_us: u64,
}

impl Extent {
    /// Includes a message that was delivered.
    pub(super) fn saw(&mut self, sequence: u64) {
        if sequence > self.last {
            self.last = sequence;
            self.messages = self.messages.max(1);
        }
    }
}

impl Carrier {
    /// Returns the state of the stream, and how its configuration differs from `wanted`.
    ///
    /// # Errors
    /// Returns `NoStream` if the stream does not exist, `NoJetStream`, `Denied`, or a temporary
    /// error of the connection.
    pub async fn stream_state(&self, wanted: &StreamLimits) -> Result<StreamState, CarrierError> {
        let info = self.stream_info().await?;
        let extent = extent(&info)?;
        let bytes = info.pointer("/state/bytes").and_then(Value::as_u64).unwrap_or(0);
        Ok(StreamState {
            first: extent.first,
            last: extent.last,
            messages: extent.messages,
            bytes,
            created_us: extent.created_us,
            differences: differences(&self.inner.settings.stream, &info["config"], wanted),
        })
    }

    /// Creates the stream with file storage and these limits, reads its configuration back and
    /// compares: servers ignore unknown fields silently. An equal stream that exists is accepted.
    ///
    /// # Errors
    /// Returns `Refused` if a stream with another configuration or an overlapping subject exists,
    /// or the account's limits are too low; and the errors of [`Carrier::stream_state`].
    pub async fn create_stream(&self, wanted: &StreamLimits) -> Result<StreamState, CarrierError> {
        let name = &self.inner.settings.stream;
        let bytes = i64::try_from(wanted.max_bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(-1);
        let config = json!({
            "name": name,
            "description": "rooms between hosts, written by moot link",
            "subjects": wanted.subjects,
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "max_age": nanos(wanted.max_age),
            "max_bytes": bytes,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "max_consumers": -1,
            "num_replicas": 1,
            "allow_direct": false,
        });
        self.api_value(&format!("STREAM.CREATE.{name}"), &config).await?;
        self.stream_state(wanted).await
    }

    /// Returns the last message on `subject`, or none if the stream has none (no longer).
    ///
    /// # Errors
    /// Returns `NoStream`, `NoJetStream`, `Denied`, or a temporary error of the connection.
    pub async fn last(&self, subject: &str) -> Result<Option<Stored>, CarrierError> {
        self.message(&json!({ "last_by_subj": subject })).await
    }

    /// Returns the first message on `subject` from the sequence `from` on, or none.
    ///
    /// # Errors
    /// As [`Carrier::last`].
    pub async fn first_from(
        &self,
        subject: &str,
        from: u64,
    ) -> Result<Option<Stored>, CarrierError> {
        self.message(&json!({ "seq": from.max(1), "next_by_subj": subject })).await
    }

    async fn message(&self, which: &Value) -> Result<Option<Stored>, CarrierError> {
        let what = format!("STREAM.MSG.GET.{}", self.inner.settings.stream);
        let reply = match self.api(&what, which).await? {
            Ok(reply) => reply,
            Err(e) if e.code == code::MESSAGE_NOT_FOUND => return Ok(None),
            Err(e) => return Err(CarrierError::Refused { what, code: e.code, text: e.text }),
        };
        let stored = Stored::from_api(&reply["message"]);
        stored.map(Some).map_err(|why| CarrierError::Malformed { what, why })
    }

    pub(super) async fn extent(&self) -> Result<Extent, CarrierError> {
        extent(&self.stream_info().await?)
    }

    pub(super) async fn stream_info(&self) -> Result<Value, CarrierError> {
        let name = &self.inner.settings.stream;
        self.api_value(&format!("STREAM.INFO.{name}"), &Value::Null).await
    }
}

fn extent(info: &Value) -> Result<Extent, CarrierError> {
    let malformed = |why: String| CarrierError::Malformed { what: "STREAM.INFO".to_owned(), why };
    let number = |key: &str| {
        let found = info.pointer(&format!("/state/{key}")).and_then(Value::as_u64);
        found.ok_or_else(|| malformed(format!("state.{key} is missing")))
    };
    let created = info["created"].as_str().ok_or_else(|| malformed("created is missing".into()))?;
    let last = number("last_seq")?;
    let messages = number("messages")?;
    // A stream that never had a message reports 0 as its first sequence.
    let first = if messages == 0 { last + 1 } else { number("first_seq")? };
    Ok(Extent { first, last, messages, created_us: micros(created).map_err(malformed)? })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns how a stream's configuration differs from the wanted one, in plain words.
fn differences(name: &str, config: &Value, wanted: &StreamLimits) -> Vec<String> {
    let mut found = Vec::new();
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    if text("storage") != "file" {
        found.push(format!(
            "stream {name} has {} storage: a restart of the server loses all messages; create it \
             again with file storage",
            text("storage")
        ));
    }
    if text("retention") != "limits" {
        found.push(format!(
            "stream {name} has retention {:?}: messages vanish when they are read; create it \
             again with retention limits",
            text("retention")
        ));
    }
    if text("discard") != "old" {
        found.push(format!(
            "stream {name} discards new messages when it is full: rooms stop; set discard to old"
        ));
    }
    differing_subjects(name, config, wanted, &mut found);
    differing_limits(name, config, wanted, &mut found);
    differing_options(name, config, &mut found);
    found
}

fn differing_subjects(name: &str, config: &Value, wanted: &StreamLimits, found: &mut Vec<String>) {
    let subjects: Vec<&str> =
        config["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for subject in &wanted.subjects {
        if !subjects.iter().any(|pattern| covers(pattern, subject)) {
            found.push(format!(
                "stream {name} does not store {subject}; add the subject to the stream"
            ));
        }
    }
    for subject in subjects {
        if !wanted.subjects.iter().any(|pattern| covers(pattern, subject)) {
            found.push(format!(
                "stream {name} also stores {subject}, which moot does not need; remove the \
                 subject from the stream"
            ));
        }
    }
}

fn differing_limits(name: &str, config: &Value, wanted: &StreamLimits, found: &mut Vec<String>) {
    let limit = |key: &str| config[key].as_i64().filter(|limit| *limit > 0).map(i64::unsigned_abs);
    let wanted_age = nanos(wanted.max_age);
    match limit("max_age") {
        Some(age) if wanted_age == 0 || age < wanted_age => found.push(format!(
            "stream {name} removes messages after {} s, wanted are {}; raise max_age",
            age / 1_000_000_000,
            if wanted_age == 0 {
                "no limit".to_owned()
            } else {
                format!("{} s", wanted_age / 1_000_000_000)
            }
        )),
        Some(_) | None => {}
    }
    match limit("max_bytes") {
        Some(bytes) if wanted.max_bytes == 0 || bytes < wanted.max_bytes => found.push(format!(
            "stream {name} keeps {bytes} bytes, wanted are {}; raise max_bytes",
            if wanted.max_bytes == 0 { "all".to_owned() } else { wanted.max_bytes.to_string() }
        )),
        Some(_) | None => {}
    }
    for key in ["max_msgs", "max_msgs_per_subject", "max_consumers"] {
        if let Some(count) = limit(key) {
            found.push(format!("stream {name} has {key} {count}; set {key} to -1 (no limit)"));
        }
    }
    match limit("max_msg_size") {
        Some(bytes) if bytes < wanted.payload_max as u64 + HEADERS_MAX => found.push(format!(
            "stream {name} refuses messages above {bytes} bytes; set max_msg_size to -1 (no limit)"
        )),
        Some(_) | None => {}
    }
}

/// Bytes of the headers of one publication, generously.
pub(super) const HEADERS_MAX: u64 = 1_024;

fn differing_options(name: &str, config: &Value, found: &mut Vec<String>) {
    let options = [
        ("no_ack", "publications are never confirmed; set no_ack to false"),
        ("sealed", "nothing can be stored; create the stream again"),
        ("allow_rollup_hdrs", "any host can purge the stream by a header; disable it"),
        ("allow_direct", "stored messages can be sent to subjects of other hosts; disable it"),
    ];
    for (key, consequence) in options {
        if config[key].as_bool() == Some(true) {
            found.push(format!("stream {name} has {key}: {consequence}"));
        }
    }
    for key in ["mirror", "sources", "republish", "subject_transform"] {
        if !config[key].is_null() && config[key] != json!([]) {
            found.push(format!("stream {name} has {key}, which moot does not support; remove it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting_configuration_has_no_differences() {
        let config = json!({"storage": "file", "retention": "limits", "discard": "old",
            "subjects": ["moot.1.r.>", "moot.1.n.*", "moot.1.a.>"], "max_age": 0, "max_bytes": -1,
            "max_msgs": -1, "max_msg_size": -1, "allow_direct": false});
        assert_eq!(differences("MOOT", &config, &StreamLimits::default()), [""; 0]);
    }

    #[test]
    fn each_unfit_setting_is_named() {
        let config = json!({"storage": "memory", "retention": "workqueue", "discard": "new",
            "subjects": ["moot.1.r.*", "x.>"], "max_age": 1_000_000_000, "max_bytes": 10, "max_msgs": 5,
            "max_msg_size": 100, "no_ack": true, "republish": {"src": "a"}});
        let found = differences("MOOT", &config, &StreamLimits::default()).join("\n");
        let keys = ["memory", "workqueue", "discard", "not store moot.1.r.>", "also stores", "1 s"];
        for key in keys.iter().chain(&["max_bytes", "max_msgs 5", "max_msg_size", "no_ack"]) {
            assert!(found.contains(key), "expected {key} in {found}");
        }
        assert!(found.contains("republish"), "expected republish in {found}");
    }
}
