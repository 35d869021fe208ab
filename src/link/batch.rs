//! Payloads that links exchange: JSON, one object each, read strictly.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    chat::{
        linked::{ImportedNotice, LinkPosition, RemoteReceipt},
        member::{Kind, Level, State},
        message::Message,
        names::{HostName, Label, RoomName, UserName},
        text::Text,
    },
    limits::LINK_PAYLOAD_BYTES_MAX,
};

/// Version of the payloads.
const VERSION: u32 = 1;

/// Reason why a payload can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    /// A later version of moot wrote it.
    #[error("a payload of version {0}, and this moot reads version {VERSION}; update moot here")]
    Version(u64),
    /// No link wrote it.
    #[error("a payload that no link writes: {0}")]
    Malformed(String),
}

/// Consecutive exported messages of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportBatch {
    /// Version of its form.
    pub(super) v: u32,
    /// Random number of the link that published it.
    pub(super) link: u64,
    /// Name of the room as its host created it; none for announcements.
    pub(super) room: Option<RoomName>,
    pub(super) generation: u64,
    /// Number of the last message of the batch before.
    pub(super) prev: u64,
    /// Number of the last message of this batch, or of one after it that is not exported.
    pub(super) last: u64,
    pub(super) messages: Vec<BatchMessage>,
}

/// One exported message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchMessage {
    pub(super) seq: u64,
    pub(super) user: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<Label>,
    pub(super) kind: Kind,
    /// Time at its host, microseconds since 1970.
    pub(super) time_us: i64,
    /// Message that it replies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<GlobalId>,
    /// Present in announcements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) notice: Option<BatchNotice>,
    pub(super) text: Text,
}

/// Message of the same stream, by the host of its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GlobalId {
    pub(super) host: HostName,
    pub(super) seq: u64,
}

/// Properties of an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchNotice {
    pub(super) level: Level,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<RoomName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_us: Option<u64>,
    pub(super) retain: bool,
    pub(super) ack: bool,
}

impl From<BatchNotice> for ImportedNotice {
    fn from(notice: BatchNotice) -> Self {
        let BatchNotice { level, room, expires_us, retain, ack } = notice;
        Self { level, room, expires_us, retain, ack }
    }
}

impl ExportBatch {
    /// Creates a batch without messages after a position.
    pub(super) fn new(link: u64, room: Option<RoomName>, after: LinkPosition) -> Self {
        let LinkPosition { generation, seq } = after;
        Self { v: VERSION, link, room, generation, prev: seq, last: seq, messages: Vec::new() }
    }

    /// Returns the position of its last message.
    pub(super) fn end(&self) -> LinkPosition {
        LinkPosition { generation: self.generation, seq: self.last }
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// Returns an error unless it was written by a link, with numbers that rise.
    pub(super) fn read(payload: &[u8]) -> Result<Self, PayloadError> {
        let batch: Self = read(payload)?;
        let numbers = batch.messages.iter().map(|message| message.seq);
        let rises = [batch.prev].into_iter().chain(numbers).is_sorted_by(|a, b| a < b);
        let is_last = batch.messages.last().is_none_or(|message| message.seq <= batch.last);
        match rises && is_last && batch.prev <= batch.last {
            true => Ok(batch),
            false => Err(PayloadError::Malformed("numbers that do not rise".to_owned())),
        }
    }

    /// Returns the batch as a payload.
    pub(super) fn payload(&self) -> Vec<u8> {
        write(self)
    }
}

impl BatchMessage {
    /// Creates the exported form of a message of this host; none if it came from another one.
    pub(super) fn new(message: &Message, reply_to: Option<GlobalId>) -> Option<Self> {
        if message.from.user.host().is_some() {
            return None;
        }
        let notice = message.notice.as_ref().map(|notice| BatchNotice {
            level: notice.level,
            room: notice.room.clone(),
            expires_us: notice
                .expires_wall_us
                .map(|at| u64::try_from(at - message.wall_us).unwrap_or(0)),
            retain: notice.retained,
            ack: notice.ack,
        });
        Some(Self {
            seq: message.id.seq,
            user: message.from.user.clone(),
            label: message.from.label.clone(),
            kind: message.from.kind,
            time_us: message.wall_us,
            reply_to,
            notice,
            text: Text::new(&message.text).ok()?,
        })
    }

    /// Returns the bytes that it takes in a payload, at most.
    pub(super) fn bytes(&self) -> usize {
        Self::bytes_of(self.text.as_str())
    }

    /// Returns the bytes that a message with this text takes in a payload, at most.
    pub(super) fn bytes_of(text: &str) -> usize {
        // Control characters are escaped.
        let escaped = |c: u8| if c < b' ' { 6 } else { 1 + usize::from(matches!(c, b'"' | b'\\')) };
        text.bytes().map(escaped).sum::<usize>() + BATCH_MESSAGE_BYTES
    }
}

/// Bytes of a message in a payload beside its text.
const BATCH_MESSAGE_BYTES: usize = 512;

/// Receipt of a host for an announcement of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostReceipt {
    v: u32,
    pub(super) receipt: RemoteReceipt,
}

impl HostReceipt {
    pub(super) fn new(receipt: RemoteReceipt) -> Self {
        Self { v: VERSION, receipt }
    }
}

/// Message of a link about the sessions of its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Presence {
    v: u32,
    /// Random number of the link, by which two of one host tell each other apart.
    pub(super) link: u64,
    pub(super) news: PresenceNews,
}

/// Statement of a link about its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PresenceNews {
    /// Beginning of a link: another one of the same host answers.
    Hello,
    /// Part of the sessions; `last` if it completes them. `announces`: announcements are carried.
    Roster { members: Vec<PresenceMember>, last: bool, announces: bool },
    /// End of the link.
    Bye,
}

/// A session of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresenceMember {
    pub(super) user: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<Label>,
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) since_us: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) status: String,
    pub(super) rooms: Vec<RoomName>,
}

impl Presence {
    pub(super) fn new(link: u64, news: PresenceNews) -> Self {
        Self { v: VERSION, link, news }
    }
}

/// Returns a value as a payload.
pub(super) fn write(payload: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(payload).expect("plain values are JSON")
}

/// Reads a payload of this version.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, PayloadError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u64,
    }
    if payload.len() > LINK_PAYLOAD_BYTES_MAX {
        return Err(PayloadError::Malformed(format!("{} bytes", payload.len())));
    }
    let malformed = |e: serde_json::Error| PayloadError::Malformed(e.to_string());
    match serde_json::from_slice::<Versioned>(payload).map_err(malformed)?.v {
        1 => serde_json::from_slice(payload).map_err(malformed),
        0 => Err(PayloadError::Malformed("version 0".to_owned())),
        version => Err(PayloadError::Version(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, text: &str) -> BatchMessage {
        BatchMessage {
            seq,
            user: UserName::new("ann").unwrap(),
            label: None,
            kind: Kind::Person,
            time_us: -1,
            reply_to: Some(GlobalId { host: HostName::new("db1").unwrap(), seq: 3 }),
            notice: None,
            text: Text::new(text).unwrap(),
        }
    }

    fn batch(prev: u64, seqs: &[u64], last: u64) -> ExportBatch {
        let after = LinkPosition { generation: 9, seq: prev };
        let messages = seqs.iter().map(|seq| message(*seq, "안녕")).collect();
        ExportBatch { last, messages, ..ExportBatch::new(3, RoomName::new("Dev").ok(), after) }
    }

    #[test]
    fn batch_is_read_as_it_was_written() {
        let batch = batch(4, &[5, 7], 9);
        assert_eq!(ExportBatch::read(&batch.payload()), Ok(batch.clone()));
        assert_eq!(
            String::from_utf8(batch.payload()).unwrap(),
            r#"{"v":1,"link":3,"room":"Dev","generation":9,"prev":4,"last":9,"messages":[{"seq":5,"user":"ann","kind":"person","time_us":-1,"reply_to":{"host":"db1","seq":3},"text":"안녕"},{"seq":7,"user":"ann","kind":"person","time_us":-1,"reply_to":{"host":"db1","seq":3},"text":"안녕"}]}"#
        );
    }

    #[test]
    fn payload_of_no_link_is_refused() {
        for (prev, seqs, last) in
            [(4, &[4][..], 5), (4, &[6, 5], 7), (4, &[5, 5], 6), (4, &[5], 4), (4, &[], 3)]
        {
            ExportBatch::read(&batch(prev, seqs, last).payload()).unwrap_err();
        }
        let good = String::from_utf8(batch(4, &[5], 5).payload()).unwrap();
        for (from, to) in [
            (r#""v":1"#, r#""v":1,"type":"io.nats.jetstream.api.v1""#),
            (r#""user":"ann""#, r#""user":"ann@web1""#),
            (r#""user":"ann""#, r#""user":"a b""#),
            (r#""room":"Dev""#, r##""room":"#Dev""##),
            (r#""kind":"person""#, r#""kind":"root""#),
            (r#""seq":5"#, r#""seq":-5"#),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            let read = ExportBatch::read(bad.as_bytes());
            // A user of another host is a name, but none that this host may speak for.
            assert!(read.is_err() || from.contains("user"), "{bad}");
        }
        for bad in ["", "{}", "[]", "null", r#"{"stream":"MOOT","seq":4}"#] {
            ExportBatch::read(bad.as_bytes()).unwrap_err();
        }
        let later = good.replace(r#""v":1"#, r#""v":2"#);
        assert_eq!(ExportBatch::read(later.as_bytes()), Err(PayloadError::Version(2)));
        let earlier = good.replace(r#""v":1"#, r#""v":0"#);
        assert!(matches!(ExportBatch::read(earlier.as_bytes()), Err(PayloadError::Malformed(_))));
        ExportBatch::read(&vec![b' '; LINK_PAYLOAD_BYTES_MAX + 1]).unwrap_err();
    }

    #[test]
    fn size_of_a_message_is_known_before_it_is_written() {
        for text in ["x", "\u{1}\u{2}\n\t", "\"\\\"", &"가".repeat(9_000)] {
            let message = message(u64::MAX, text);
            assert!(write(&message).len() <= message.bytes(), "{text}");
        }
    }
}
