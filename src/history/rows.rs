//! Rows of messages as bodies, and announcements as a column.

use std::collections::HashMap;

use rusqlite::Row;

use crate::chat::{
    batch::{Builder, Draft},
    member::{EndCause, Kind, Level, Member, SessionId},
    message::{Notice, Origin},
    names::{Label, RoomName, UserName},
    stream_id::StreamId,
};

/// A part of a stream.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Encoded bodies, each with `headroom` free bytes before it.
    pub bodies: Vec<Vec<u8>>,
    /// First number that is there; later than asked for if older ones are gone.
    pub first: u64,
    /// Last number that is there; 0 if nothing is.
    pub last: u64,
    /// Last number that was looked for: what is not there up to it will not come.
    pub upto: u64,
    /// Oldest number that is kept: what is missing above it is damaged.
    pub oldest: u64,
}

/// Columns that [`Encoder::push`] reads, in its order.
pub(super) const MESSAGES: &str =
    "SELECT m.seq, m.ts, m.sender, m.reply_to, m.to_label, m.notice, m.text,
    s.session, s.uid, s.pid, s.kind, s.user, s.label, m.stream, m.id, m.will, m.origin, m.origin_ts
    FROM messages m JOIN senders s ON s.id = m.sender";

/// Rows into bodies.
pub(super) struct Encoder<'a> {
    /// Of announcements: those for other rooms are withheld.
    rooms: Option<&'a [RoomName]>,
    tag: StreamId,
    headroom: usize,
    builder: Builder,
    /// Row of `senders` of each session number in the present batch: other boots of the server had
    /// the same numbers.
    senders: HashMap<SessionId, i64>,
    found: Found,
    bytes: usize,
    next: u64,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(tag: StreamId, headroom: usize, rooms: Option<&'a [RoomName]>) -> Self {
        Self {
            rooms,
            tag,
            headroom,
            builder: Builder::default(),
            senders: HashMap::new(),
            found: Found::default(),
            bytes: 0,
            next: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.builder.bytes().len()
    }

    pub(super) fn push(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let seq: u64 = row.get(0)?;
        let sender: i64 = row.get(2)?;
        let from = member_of(row)?;
        let to_label: Option<String> = row.get(4)?;
        let to_label = to_label.and_then(|label| Label::existing(&label).ok());
        let notice = row.get_ref(5)?.as_blob_or_null()?.and_then(unpack_notice);
        let text = row.get_ref(6)?.as_str()?;
        // An announcement to another room keeps its number, and nothing of it is shown.
        // (Nothing is left of announcements to a deleted room.)
        let hidden = self.rooms.is_some_and(|of| match &notice {
            None => true,
            Some(notice) => notice.room.as_ref().is_some_and(|room| !of.contains(room)),
        });
        let (from, notice) = if hidden { (Member::nobody(), None) } else { (from, notice) };
        let sender = if hidden { -1 } else { sender };
        if self.builder.count() == 0 || seq != self.next {
            self.end_body();
            self.begin_body(seq);
        }
        loop {
            if self.senders.get(&from.session).is_some_and(|known| *known != sender) {
                self.builder.retire(from.session);
            }
            let draft = Draft {
                from: &from,
                wall_us: row.get(1)?,
                reply_to: row.get(3)?,
                to_label: to_label.as_ref(),
                notice: notice.as_ref(),
                will: row.get::<_, Option<u8>>(15)?.map(EndCause::of_number),
                origin: origin_of(row)?,
                withheld: false,
                text,
            };
            let draft = if hidden { Draft { withheld: true, ..draft } } else { draft };
            if self.builder.push(self.headroom, &draft) {
                break;
            }
            self.end_body();
            self.begin_body(seq);
        }
        self.senders.insert(from.session, sender);
        self.next = seq + 1;
        if self.found.first == 0 {
            self.found.first = seq;
        }
        self.found.last = seq;
        Ok(())
    }

    fn begin_body(&mut self, first: u64) {
        self.builder.begin(self.headroom, self.tag, first);
        self.senders.clear();
    }

    fn end_body(&mut self) {
        if self.builder.count() > 0 {
            self.bytes += self.builder.bytes().len();
            self.found.bodies.push(self.builder.bytes().to_vec());
        }
    }

    pub(super) fn finish(mut self) -> Found {
        self.end_body();
        self.found
    }
}

fn origin_of(row: &Row<'_>) -> rusqlite::Result<Option<Origin>> {
    let (seq, wall_us): (Option<u64>, Option<i64>) = (row.get(16)?, row.get(17)?);
    Ok(seq.map(|seq| Origin { seq, wall_us: wall_us.unwrap_or_default() }))
}

fn member_of(row: &Row<'_>) -> rusqlite::Result<Member> {
    let user: String = row.get(11)?;
    let uid = row.get(8)?;
    let label: Option<String> = row.get(12)?;
    Ok(Member {
        session: SessionId(row.get(7)?),
        uid,
        pid: row.get(9)?,
        kind: Kind::of_number(row.get(10)?),
        user: UserName::new(&user).unwrap_or_else(|_| UserName::of_uid(uid)),
        label: label.and_then(|label| Label::existing(&label).ok()),
    })
}

/// `level, flags, expires, room` of an announcement, for one column.
pub(super) fn pack_notice(notice: &Notice) -> Vec<u8> {
    let mut bytes = vec![notice.level.number()];
    bytes.push(u8::from(notice.retained) | u8::from(notice.ack) << 1);
    bytes.extend_from_slice(&notice.expires_wall_us.unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(notice.room.as_ref().map_or("", RoomName::as_str).as_bytes());
    bytes
}

fn unpack_notice(bytes: &[u8]) -> Option<Notice> {
    let (&[level, flags], rest) = bytes.split_first_chunk::<2>()?;
    let (expires, room) = rest.split_first_chunk::<8>()?;
    let expires = i64::from_le_bytes(*expires);
    Some(Notice {
        level: Level::of_number(level),
        room: std::str::from_utf8(room).ok().and_then(|room| RoomName::existing(room).ok()),
        expires_wall_us: (expires != 0).then_some(expires),
        retained: flags & 1 != 0,
        ack: flags & 2 != 0,
    })
}
