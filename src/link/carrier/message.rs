//! Stored messages: headers, positions in reply subjects, and subjects with wildcards.

use async_nats::HeaderMap;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::Value;

/// Header with the last exported message number of a batch, decimal.
pub const LAST_HEADER: &str = "Moot-Last";
/// Header with the generation of an export, decimal.
pub const GENERATION_HEADER: &str = "Moot-Generation";

/// Export cursor of a host in one room: the header of a stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportCursor {
    /// Microseconds since 1970 when the export of the room began under its present numbering.
    pub generation: u64,
    /// Number of the last exported message.
    pub last: u64,
}

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Subject on which it was published.
    pub subject: String,
    /// Sequence in the stream, from 1.
    pub sequence: u64,
    /// Time at which the server stored it, microseconds since 1970.
    pub time_us: u64,
    /// Cursor in its headers; none if one of them is missing or is not a decimal number.
    pub cursor: Option<ExportCursor>,
    /// Payload, which the carrier does not interpret.
    pub payload: Bytes,
}

impl Stored {
    /// Reads the object `message` of a "get message" reply.
    pub(super) fn from_api(message: &Value) -> Result<Self, String> {
        let text = |key: &str| message.get(key).and_then(Value::as_str);
        let subject = text("subject").ok_or("subject is missing")?.to_owned();
        let sequence = message.get("seq").and_then(Value::as_u64).ok_or("seq is missing")?;
        let time_us = micros(text("time").ok_or("time is missing")?)?;
        let payload = decode("data", text("data").unwrap_or_default())?.into();
        let headers = decode("hdrs", text("hdrs").unwrap_or_default())?;
        let headers = String::from_utf8_lossy(&headers);
        let number = |name| raw_header(&headers, name).and_then(|value| value.parse().ok());
        let cursor = cursor(number(GENERATION_HEADER), number(LAST_HEADER));
        Ok(Self { subject, sequence, time_us, cursor, payload })
    }

    /// Reads a message that a consumer delivered, and its position.
    pub(super) fn from_delivery(message: async_nats::Message) -> Option<(Self, Position)> {
        let position = Position::read(message.reply.as_deref()?)?;
        let headers = message.headers.as_ref();
        let number = |name: &str| {
            headers.and_then(|map: &HeaderMap| map.get(name)?.as_str().parse::<u64>().ok())
        };
        let stored = Self {
            subject: message.subject.to_string(),
            sequence: position.stream,
            time_us: position.time_us,
            cursor: cursor(number(GENERATION_HEADER), number(LAST_HEADER)),
            payload: message.payload,
        };
        Some((stored, position))
    }
}

fn cursor(generation: Option<u64>, last: Option<u64>) -> Option<ExportCursor> {
    Some(ExportCursor { generation: generation?, last: last? })
}

/// Returns the value of one header in the wire form `NATS/1.0\r\nName: value\r\n`.
fn raw_header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|e| format!("{what} is not base64: {e}"))
}

/// Returns an RFC 3339 time in microseconds since 1970; 0 for a time before.
pub(super) fn micros(time: &str) -> Result<u64, String> {
    let time: jiff::Timestamp = time.parse().map_err(|e| format!("time {time:?}: {e}"))?;
    Ok(u64::try_from(time.as_microsecond()).unwrap_or(0))
}

/// Place of a delivered message in its stream and its consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Sequence in the stream.
    pub stream: u64,
    /// Number of the delivery by its consumer, from 1 without a hole.
    pub delivery: u64,
    /// Time at which the server stored it, microseconds since 1970.
    pub time_us: u64,
}

impl Position {
    /// Reads the reply subject of a delivery: `$JS.ACK.STREAM.CONSUMER.DELIVERED.STREAM_SEQ.
    /// CONSUMER_SEQ.NANOSECONDS.PENDING`, or with domain and account before the stream, and a
    /// random token at the end.
    pub(super) fn read(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.split('.').collect();
        let first = match tokens.len() {
            9 => 2,
            11.. => 4,
            _ => return None,
        };
        if tokens[..2] != ["$JS", "ACK"] {
            return None;
        }
        let number = |at: usize| tokens[first + at].parse::<u64>().ok();
        Some(Self { stream: number(3)?, delivery: number(4)?, time_us: number(5)? / 1_000 })
    }
}

/// Returns true if `subject` matches `pattern`, in which `*` is one token and `>` the rest.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in pattern.split('.') {
        match (token, subject.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

/// Returns true if `pattern` matches every subject that `inner` matches.
pub(super) fn covers(pattern: &str, inner: &str) -> bool {
    let mut inner = inner.split('.');
    for token in pattern.split('.') {
        match (token, inner.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    inner.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_subject_of_delivery_has_its_position() {
        let at = Some(Position { stream: 7, delivery: 3, time_us: 1_700_000_000_000_000 });
        assert_eq!(Position::read("$JS.ACK.MOOT.c.1.7.3.1700000000000000000.0"), at);
        assert_eq!(Position::read("$JS.ACK._.acc.MOOT.c.1.7.3.1700000000000000000.0.x"), at);
        assert_eq!(Position::read("_INBOX.abc"), None);
    }

    #[test]
    fn wildcards_match_as_the_server_does() {
        assert!(matches("moot.1.r.>", "moot.1.r.abc.web1"));
        assert!(!matches("moot.1.r.>", "moot.1.r"));
        assert!(matches("moot.1.*.*.web1", "moot.1.r.abc.web1"));
        assert!(!matches("moot.1.n.*", "moot.1.n.web1.x"));
        assert!(covers("moot.>", "moot.1.r.>"));
        assert!(covers("moot.1.n.*", "moot.1.n.*"));
        assert!(!covers("moot.1.r.*.web1", "moot.1.r.>"));
        assert!(!covers("moot.1.r.*", "moot.1.r.>"));
    }

    #[test]
    fn api_message_is_read_with_its_headers() {
        let hdrs =
            BASE64_STANDARD.encode("NATS/1.0\r\nMoot-Last: 44\r\nmoot-generation: 9\r\n\r\n");
        let json = serde_json::json!({"subject": "moot.1.n.a", "seq": 5, "hdrs": hdrs,
            "data": "aGk=", "time": "2023-11-14T22:13:20.000001Z"});
        let stored = Stored::from_api(&json).expect("a message");
        assert_eq!(stored.cursor, Some(ExportCursor { generation: 9, last: 44 }));
        assert_eq!((stored.sequence, &stored.payload[..]), (5, &b"hi"[..]));
        assert_eq!(stored.time_us, 1_700_000_000_000_001);
    }
}
