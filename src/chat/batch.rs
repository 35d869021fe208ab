//! The body of a batch: some messages of one stream, encoded once and read in place.
//!
//! The same bytes are the backlog's entry, the frame of a session and the sealed part of a
//! datagram. Each body is complete in itself: the identity of a sender is at its first message in
//! the body and is referred to by index after that, so no reader ever waits for a name.
//!
//! ```text
//! body     tag u32 · first u64 · count u32 · base i64          24 bytes, little endian
//! message  flags u8 · [sender] · index · offset · [reply] · [label] · [notice] · [will u8] · [origin] · length · text
//! sender   session · uid · pid · kind u8 · user · label        names: length u8 and bytes
//! origin   seq · time i64
//! notice   level u8 · bits u8 · [expires i64] · room
//! ```
//! Numbers without a width are LEB128. `offset` is microseconds since `base`.

use super::{
    member::{EndCause, Kind, Level, Member, SessionId},
    message::{Notice, Origin},
    names::{Label, RoomName, UserName},
    varint::{Cursor, put_name, put_number},
};
use crate::{
    chat::stream_id::StreamId,
    limits::{BATCH_MESSAGES_MAX, BODY_BYTES_MAX, TEXT_BYTES_MAX},
};

/// Bytes before the first message.
pub const HEADER_BYTES: usize = 24;

const FLAG_NEW_SENDER: u8 = 1;
const FLAG_REPLY: u8 = 2;
const FLAG_LABEL: u8 = 4;
const FLAG_NOTICE: u8 = 8;
/// The number exists; its content is not for this channel or was taken away.
const FLAG_WITHHELD: u8 = 16;
/// Said by the server for a session that ended.
const FLAG_WILL: u8 = 32;
/// Of a linked host.
const FLAG_ORIGIN: u8 = 64;
const FLAGS_KNOWN: u8 = 127;

const NOTICE_EXPIRES: u8 = 1;
const NOTICE_RETAINED: u8 = 2;
const NOTICE_ACK: u8 = 4;

pub use super::varint::Malformed;

/// One message to encode, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Sender of the message.
    pub from: &'a Member,
    /// Wall clock when it was numbered, microseconds since 1970.
    pub wall_us: i64,
    /// Number of the message it replies to.
    pub reply_to: Option<u64>,
    /// Sessions of the addressed user that it is for.
    pub to_label: Option<&'a Label>,
    /// Present in announcements.
    pub notice: Option<&'a Notice>,
    /// End of the session for which the server says it.
    pub will: Option<EndCause>,
    /// Present in messages of a linked host.
    pub origin: Option<Origin>,
    /// Keeps the number and nothing else.
    pub withheld: bool,
    /// Text of the message.
    pub text: &'a str,
}

/// Writes bodies; reused from body to body.
#[derive(Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    senders: Vec<SessionId>,
    count: u32,
    base_us: i64,
}

impl Builder {
    /// Begins a body: `headroom` bytes are left free before it (for a frame header).
    pub fn begin(&mut self, headroom: usize, tag: StreamId, first: u64) {
        self.bytes.clear();
        self.senders.clear();
        self.count = 0;
        self.bytes.resize(headroom, 0);
        self.bytes.extend_from_slice(&tag.0.to_le_bytes());
        self.bytes.extend_from_slice(&first.to_le_bytes());
        self.bytes.extend_from_slice(&0u32.to_le_bytes());
        self.bytes.extend_from_slice(&0i64.to_le_bytes());
    }

    /// Messages so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a message, or says that it goes into the next body.
    pub fn push(&mut self, headroom: usize, draft: &Draft<'_>) -> bool {
        let before = self.bytes.len();
        let senders_before = self.senders.len();
        if self.count as usize >= BATCH_MESSAGES_MAX {
            return false;
        }
        if self.count == 0 {
            self.base_us = draft.wall_us;
            self.bytes[headroom + 16..headroom + 24].copy_from_slice(&draft.wall_us.to_le_bytes());
        }
        // Times in a body are not before its base: after a clock was set back, another body begins.
        let offset_us = draft.wall_us.checked_sub(self.base_us).map(u64::try_from);
        let Some(Ok(offset_us)) = offset_us else { return false };
        self.put(draft, offset_us);
        if self.count > 0 && self.bytes.len() - headroom > BODY_BYTES_MAX {
            self.bytes.truncate(before);
            self.senders.truncate(senders_before);
            return false;
        }
        self.count += 1;
        self.bytes[headroom + 12..headroom + 16].copy_from_slice(&self.count.to_le_bytes());
        true
    }

    fn put(&mut self, draft: &Draft<'_>, offset_us: u64) {
        let known = self.senders.iter().position(|s| *s == draft.from.session);
        let mut flags = 0;
        let to = &mut self.bytes;
        let flags_at = to.len();
        to.push(0);
        let index = known.unwrap_or_else(|| {
            flags |= FLAG_NEW_SENDER;
            put_number(to, draft.from.session.0);
            put_number(to, u64::from(draft.from.uid));
            put_number(to, u64::from(draft.from.pid));
            to.push(draft.from.kind.number());
            put_name(to, draft.from.user.as_str());
            put_name(to, draft.from.label.as_ref().map_or("", Label::as_str));
            self.senders.push(draft.from.session);
            self.senders.len() - 1
        });
        put_number(to, index as u64);
        put_number(to, offset_us);
        if let Some(reply_to) = draft.reply_to {
            flags |= FLAG_REPLY;
            put_number(to, reply_to);
        }
        if let Some(label) = draft.to_label {
            flags |= FLAG_LABEL;
            put_name(to, label.as_str());
        }
        if let Some(notice) = draft.notice {
            flags |= FLAG_NOTICE;
            put_notice(to, notice);
        }
        if let Some(cause) = draft.will {
            flags |= FLAG_WILL;
            to.push(cause.number());
        }
        if let Some(origin) = draft.origin {
            flags |= FLAG_ORIGIN;
            put_number(to, origin.seq);
            to.extend_from_slice(&origin.wall_us.to_le_bytes());
        }
        if draft.withheld {
            flags |= FLAG_WITHHELD;
        }
        let text = if draft.withheld { "" } else { draft.text };
        put_number(to, text.len() as u64);
        to.extend_from_slice(text.as_bytes());
        to[flags_at] = flags;
    }

    /// Prepares for the next message of this session number, which is from another member: its
    /// identity is put again. (Other runs of the server gave the same numbers to others.)
    pub fn retire(&mut self, session: SessionId) {
        for known in &mut self.senders {
            if *known == session {
                *known = SessionId(u64::MAX);
            }
        }
    }

    /// The bytes, headroom included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes for writing into the headroom.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

fn put_notice(to: &mut Vec<u8>, notice: &Notice) {
    to.push(notice.level.number());
    let mut bits = 0;
    if notice.expires_wall_us.is_some() {
        bits |= NOTICE_EXPIRES;
    }
    if notice.retained {
        bits |= NOTICE_RETAINED;
    }
    if notice.ack {
        bits |= NOTICE_ACK;
    }
    to.push(bits);
    if let Some(expires) = notice.expires_wall_us {
        to.extend_from_slice(&expires.to_le_bytes());
    }
    put_name(to, notice.room.as_ref().map_or("", RoomName::as_str));
}

/// The head of a body, without a look at its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of its stream.
    pub tag: StreamId,
    /// Number of the first message.
    pub first: u64,
    /// Number of messages; 0 in a probe.
    pub count: u32,
    base_us: i64,
}

impl Head {
    /// Reads the head of a body.
    ///
    /// # Errors
    /// Returns an error if the bytes are too few, or the numbers do not fit.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Cursor::new(body);
        let tag = StreamId(u32::from_le_bytes(rest.array()?));
        let first = u64::from_le_bytes(rest.array()?);
        let count = u32::from_le_bytes(rest.array()?);
        let base_us = i64::from_le_bytes(rest.array()?);
        if count as usize > BATCH_MESSAGES_MAX
            || first == 0
            || first.checked_add(count.into()).is_none()
            // A probe is a head alone.
            || (count == 0 && body.len() > HEADER_BYTES)
        {
            return Err(Malformed);
        }
        Ok(Self { tag, first, count, base_us })
    }

    /// Number of the last message; `first - 1` in a probe.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }
}

/// A sender, borrowed from a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderRef<'a> {
    /// Number of its session.
    pub session: SessionId,
    /// Kernel's id of the user.
    pub uid: u32,
    /// Kernel's id of the process.
    pub pid: u32,
    /// Kind of process that it says it is.
    pub kind: Kind,
    /// Name of the user.
    pub user: &'a str,
    /// Label, empty if none.
    pub label: &'a str,
}

impl SenderRef<'_> {
    /// The same, owned.
    ///
    /// # Errors
    /// Returns an error if a name is not valid.
    pub fn to_member(&self) -> Result<Member, Malformed> {
        let label = match self.label {
            "" => None,
            label => Some(Label::existing(label).map_err(|_| Malformed)?),
        };
        Ok(Member {
            session: self.session,
            uid: self.uid,
            pid: self.pid,
            kind: self.kind,
            user: UserName::new(self.user).map_err(|_| Malformed)?,
            label,
        })
    }
}

/// An announcement's attributes, borrowed from a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoticeRef<'a> {
    /// Level of the announcement.
    pub level: Level,
    /// The room it is for, empty: all members.
    pub room: &'a str,
    /// Wall clock at which it expires, microseconds since 1970.
    pub expires_wall_us: Option<i64>,
    /// Shown to members that come later.
    pub retained: bool,
    /// Asks people to acknowledge.
    pub ack: bool,
}

impl NoticeRef<'_> {
    /// The same, owned.
    ///
    /// # Errors
    /// Returns an error if the room's name is not valid.
    pub fn to_notice(&self) -> Result<Notice, Malformed> {
        let room = match self.room {
            "" => None,
            room => Some(RoomName::existing(room).map_err(|_| Malformed)?),
        };
        Ok(Notice {
            level: self.level,
            room,
            expires_wall_us: self.expires_wall_us,
            retained: self.retained,
            ack: self.ack,
        })
    }
}

/// One message, borrowed from a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRef<'a> {
    /// Its sequence number.
    pub seq: u64,
    /// Wall clock when it was numbered, microseconds since 1970.
    pub wall_us: i64,
    /// Sender of the message.
    pub from: SenderRef<'a>,
    /// Number of the message it replies to.
    pub reply_to: Option<u64>,
    /// Sessions of the addressed user that it is for; empty: all.
    pub to_label: &'a str,
    /// Present in announcements.
    pub notice: Option<NoticeRef<'a>>,
    /// End of the session for which the server said it.
    pub will: Option<EndCause>,
    /// Present in messages of a linked host.
    pub origin: Option<Origin>,
    /// True if the message has only its number.
    pub withheld: bool,
    /// Text of the message, not checked yet.
    pub text: RawText<'a>,
}

/// A text within a body. A reader that passes it over does not pay for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawText<'a>(&'a [u8]);

impl<'a> RawText<'a> {
    /// The text.
    ///
    /// # Errors
    /// Returns an error if it is not UTF-8: then this body was not written by the protocol.
    pub fn read(self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.0).map_err(|_| Malformed)
    }

    /// Returns its bytes as they are in the body.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Reads the messages of a body in order.
#[derive(Debug)]
pub struct Reader<'a> {
    head: Head,
    rest: Cursor<'a>,
    senders: Vec<SenderRef<'a>>,
    /// The sender of the message before.
    last_index: usize,
    done: u32,
}

impl<'a> Reader<'a> {
    /// Begins to read a body.
    ///
    /// # Errors
    /// Returns an error if its head can't be read.
    pub fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        let head = Head::read(body)?;
        let rest = Cursor::new(&body[HEADER_BYTES..]);
        Ok(Self { head, rest, senders: Vec::new(), last_index: 0, done: 0 })
    }

    /// The head of the body.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Gives each message from a number on to `each`, in place: the way for bodies with many of
    /// them.
    ///
    /// # Errors
    /// Returns an error if the body can't be read to its end; earlier messages were given.
    pub fn each(
        mut self,
        from: u64,
        mut each: impl FnMut(&MessageRef<'a>),
    ) -> Result<(), Malformed> {
        let mut last: Option<MessageRef<'a>> = None;
        while self.done < self.head.count {
            let is_plain = match &mut last {
                Some(message) => self.read_plain(message)?,
                None => false,
            };
            if !is_plain {
                last = Some(self.read_message()?);
            }
            self.done += 1;
            let Some(message) = &mut last else { break };
            if message.seq >= from {
                each(message);
            }
            if !is_plain {
                // The next one is written over it.
                let MessageRef { seq, wall_us, from, text, .. } = *message;
                *message = MessageRef {
                    seq,
                    wall_us,
                    from,
                    reply_to: None,
                    to_label: "",
                    notice: None,
                    will: None,
                    origin: None,
                    withheld: false,
                    text,
                };
            }
        }
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// Reads a message that has nothing but a text, over one that has nothing else; false if the
    /// next one is not like that, or its sender is new.
    #[inline]
    fn read_plain(&mut self, message: &mut MessageRef<'a>) -> Result<bool, Malformed> {
        let Some(index) = self.rest.small_after(0).map(usize::from) else { return Ok(false) };
        let offset = i64::try_from(self.rest.number()?).map_err(|_| Malformed)?;
        let bytes = usize::try_from(self.rest.number()?).map_err(|_| Malformed)?;
        if bytes > TEXT_BYTES_MAX {
            return Err(Malformed);
        }
        if self.last_index != index {
            message.from = *self.senders.get(index).ok_or(Malformed)?;
            self.last_index = index;
        }
        message.seq = self.head.first + u64::from(self.done);
        message.wall_us = self.head.base_us.saturating_add(offset);
        message.text = RawText(self.rest.take(bytes)?);
        Ok(true)
    }

    #[inline]
    fn read_message(&mut self) -> Result<MessageRef<'a>, Malformed> {
        let rest = &mut self.rest;
        let [flags] = rest.array()?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(Malformed);
        }
        if flags & FLAG_NEW_SENDER != 0 {
            self.senders.push(rest.sender()?);
        }
        let index = usize::try_from(rest.number()?).map_err(|_| Malformed)?;
        let from = *self.senders.get(index).ok_or(Malformed)?;
        self.last_index = index;
        let offset = i64::try_from(rest.number()?).map_err(|_| Malformed)?;
        let reply_to = if flags & FLAG_REPLY != 0 { Some(rest.number()?) } else { None };
        let to_label = if flags & FLAG_LABEL != 0 { rest.name()? } else { "" };
        let notice = if flags & FLAG_NOTICE != 0 { Some(rest.notice()?) } else { None };
        let will = match flags & FLAG_WILL {
            0 => None,
            _ => Some(EndCause::of_number(rest.array::<1>()?[0])),
        };
        let origin = match flags & FLAG_ORIGIN {
            0 => None,
            _ => Some(Origin { seq: rest.number()?, wall_us: i64::from_le_bytes(rest.array()?) }),
        };
        let bytes = usize::try_from(rest.number()?).map_err(|_| Malformed)?;
        if bytes > TEXT_BYTES_MAX {
            return Err(Malformed);
        }
        Ok(MessageRef {
            seq: self.head.first + u64::from(self.done),
            wall_us: self.head.base_us.saturating_add(offset),
            from,
            reply_to,
            to_label,
            notice,
            will,
            origin,
            withheld: flags & FLAG_WITHHELD != 0,
            text: RawText(rest.take(bytes)?),
        })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<MessageRef<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done == self.head.count {
            return None;
        }
        let message = self.read_message();
        // After a fault nothing more can be found in the bytes.
        self.done = if message.is_ok() { self.done + 1 } else { self.head.count };
        if message.is_ok() && self.done == self.head.count && !self.rest.is_empty() {
            return Some(Err(Malformed));
        }
        Some(message)
    }
}

impl<'a> Cursor<'a> {
    fn sender(&mut self) -> Result<SenderRef<'a>, Malformed> {
        Ok(SenderRef {
            session: SessionId(self.number()?),
            uid: u32::try_from(self.number()?).map_err(|_| Malformed)?,
            pid: u32::try_from(self.number()?).map_err(|_| Malformed)?,
            kind: Kind::of_number(self.array::<1>()?[0]),
            user: self.name()?,
            label: self.name()?,
        })
    }

    fn notice(&mut self) -> Result<NoticeRef<'a>, Malformed> {
        let [level, bits] = self.array()?;
        let expires_wall_us = match bits & NOTICE_EXPIRES {
            0 => None,
            _ => Some(i64::from_le_bytes(self.array()?)),
        };
        Ok(NoticeRef {
            level: Level::of_number(level),
            room: self.name()?,
            expires_wall_us,
            retained: bits & NOTICE_RETAINED != 0,
            ack: bits & NOTICE_ACK != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(session: u64, label: Option<&str>) -> Member {
        Member {
            session: SessionId(session),
            uid: 1000,
            pid: 4711,
            kind: Kind::Script,
            user: UserName::new("ann").unwrap(),
            label: label.map(|l| Label::new(l).unwrap()),
        }
    }

    fn draft<'a>(from: &'a Member, text: &'a str) -> Draft<'a> {
        Draft {
            from,
            wall_us: 1_000_000,
            reply_to: None,
            to_label: None,
            notice: None,
            will: None,
            origin: None,
            withheld: false,
            text,
        }
    }

    fn read(body: &[u8]) -> Vec<MessageRef<'_>> {
        let one_by_one: Vec<_> = Reader::new(body).unwrap().map(Result::unwrap).collect();
        let mut each = Vec::new();
        Reader::new(body).unwrap().each(0, |message| each.push(*message)).unwrap();
        assert_eq!(one_by_one, each, "both ways read the same");
        if let [_, rest @ ..] = one_by_one.as_slice() {
            let mut later = Vec::new();
            let from = one_by_one[0].seq + 1;
            Reader::new(body).unwrap().each(from, |message| later.push(*message)).unwrap();
            assert_eq!(later, rest, "from a number on");
        }
        one_by_one
    }

    #[test]
    fn time_before_the_base_begins_another_body() {
        let ann = member(1, None);
        let mut b = Builder::default();
        b.begin(0, StreamId(7), 1);
        assert!(b.push(0, &draft(&ann, "one")));
        assert!(b.push(0, &Draft { wall_us: 1_000_001, ..draft(&ann, "two") }));
        for wall_us in [999_999, -5, i64::MIN] {
            assert!(!b.push(0, &Draft { wall_us, ..draft(&ann, "the clock was set back") }));
        }
        assert!(b.push(0, &Draft { wall_us: i64::MAX, ..draft(&ann, "and forth") }));
        let times: Vec<_> = read(b.bytes()).iter().map(|message| message.wall_us).collect();
        assert_eq!(times, [1_000_000, 1_000_001, i64::MAX]);
        b.begin(0, StreamId(7), 4);
        assert!(b.push(0, &Draft { wall_us: i64::MIN, ..draft(&ann, "a body has any base") }));
        assert_eq!(read(b.bytes())[0].wall_us, i64::MIN);
    }

    #[test]
    fn a_body_has_what_was_put_in() {
        let (ann, ci) = (member(1, None), member(2, Some("ci")));
        let notice = Notice {
            level: Level::Critical,
            room: Some(RoomName::new("회의").unwrap()),
            expires_wall_us: Some(-5),
            retained: true,
            ack: false,
        };
        let label = Label::new("봇").unwrap();
        let mut b = Builder::default();
        b.begin(8, StreamId(7), 41);
        assert!(b.push(8, &draft(&ann, "안녕 👋")));
        assert!(b.push(8, &Draft { wall_us: 1_000_300, reply_to: Some(41), ..draft(&ci, "ok") }));
        assert!(
            b.push(8, &Draft { notice: Some(&notice), to_label: Some(&label), ..draft(&ann, "x") })
        );
        assert!(b.push(8, &Draft { withheld: true, ..draft(&ann, "secret") }));
        let will = Some(EndCause::Killed);
        assert!(b.push(8, &Draft { will, ..draft(&ann, "gone") }));
        let body = &b.bytes()[8..];
        let got = read(body);
        assert_eq!(Head::read(body).unwrap().last(), 45);
        assert_eq!(got.iter().map(|m| m.seq).collect::<Vec<_>>(), [41, 42, 43, 44, 45]);
        assert_eq!(got[0].text.read(), Ok("안녕 👋"));
        assert_eq!(got[0].from.to_member().unwrap(), ann);
        assert_eq!((got[1].wall_us, got[1].reply_to), (1_000_300, Some(41)));
        assert_eq!(got[1].from.to_member().unwrap().name(), "ann/ci");
        assert_eq!(got[2].notice.unwrap().to_notice().unwrap(), notice);
        assert_eq!(got[2].to_label, "봇");
        assert_eq!(got[2].from.session, SessionId(1));
        assert!(got[3].withheld && got[3].text.as_bytes().is_empty());
        assert_eq!((got[4].will, got[4].text.as_bytes()), (will, &b"gone"[..]));
    }

    #[test]
    fn later_message_of_64_bytes_costs_a_few_bytes_more() {
        let ann = member(1, None);
        let text = "x".repeat(64);
        let mut b = Builder::default();
        b.begin(0, StreamId(1), 1);
        assert!(b.push(0, &draft(&ann, &text)));
        let one = b.bytes().len();
        assert!(b.push(0, &draft(&ann, &text)));
        assert!(b.bytes().len() - one <= 64 + 4);
    }

    #[test]
    fn the_longest_text_fits_and_a_full_body_refuses_more() {
        let ann = member(1, None);
        let text = "x".repeat(TEXT_BYTES_MAX);
        let mut b = Builder::default();
        b.begin(8, StreamId(1), 1);
        assert!(b.push(8, &draft(&ann, &text)));
        assert!(!b.push(8, &draft(&ann, &text)));
        assert!(b.bytes().len() - 8 <= BODY_BYTES_MAX);
        assert_eq!(read(&b.bytes()[8..]).len(), 1);
    }

    #[test]
    fn probe_with_bytes_behind_it_is_malformed() {
        let mut b = Builder::default();
        b.begin(0, StreamId(1), 2);
        let probe = b.bytes().to_vec();
        assert_eq!(Head::read(&probe).map(|head| head.count), Ok(0));
        assert_eq!(Head::read(&[&probe[..], &[0]].concat()), Err(Malformed));
    }

    #[test]
    fn golden_bytes() {
        let ann = member(300, Some("ci"));
        let mut b = Builder::default();
        b.begin(0, StreamId(1), 2);
        assert!(b.push(0, &Draft { reply_to: Some(1), ..draft(&ann, "hi") }));
        assert_eq!(
            b.bytes(),
            [
                &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x40, 0x42, 0x0f, 0, 0, 0, 0, 0]
                    [..],
                &[3, 0xac, 2, 0xe8, 7, 0xe7, 0x24, 1, 3, b'a', b'n', b'n', 2, b'c', b'i', 0, 0, 1],
                &[2, b'h', b'i'],
            ]
            .concat()
        );
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(reader) = Reader::new(&bytes) {
                for message in reader.take(5000) { let _ = message; }
            }
            if let Ok(reader) = Reader::new(&bytes) {
                let _ = reader.each(0, |_| {});
            }
        }

        #[test]
        fn a_changed_body_never_panics(at in 0usize..60, with in any::<u8>(), cut in 0usize..60) {
            let ann = member(1, Some("ci"));
            let mut b = Builder::default();
            b.begin(0, StreamId(1), 1);
            b.push(0, &draft(&ann, "hello"));
            b.push(0, &draft(&ann, "world"));
            let mut bytes = b.bytes().to_vec();
            if let Some(byte) = bytes.get_mut(at) { *byte = with; }
            let kept = bytes.len().saturating_sub(cut);
            let mut read = Vec::new();
            if let Ok(reader) = Reader::new(&bytes[..kept]) {
                read.extend(reader.map_while(Result::ok));
            }
            let mut each = Vec::new();
            if let Ok(reader) = Reader::new(&bytes[..kept]) {
                let _ = reader.each(0, |message| each.push(*message));
            }
            prop_assert_eq!(read, each);
        }
    }
}
