//! The table's layout in 64-bit words: a header, a badge a name, a line a public room, a slot a
//! session.

use std::sync::atomic::AtomicU64;

use crate::{
    chat::{
        member::{Kind, SessionId, State},
        names::{Label, RoomName, UserName},
        presence_row::{Counters, Row},
    },
    limits::{
        BADGES_MAX, NAME_BYTES_MAX, ROOMS_MAX, SESSIONS_MAX, STATUS_BYTES_MAX, USER_BYTES_MAX,
    },
};

/// "moot" and a layout version; another layout has another number.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"mootpt03");
pub(super) const HEADER_WORDS: usize = 64;
/// Sequence and data of a badge.
pub(super) const BADGE_WORDS: usize = 16;
const ROOMS_FROM: usize = HEADER_WORDS + BADGES_MAX * BADGE_WORDS;
const SLOTS_FROM: usize = ROOMS_FROM + ROOMS_MAX * ROOM_WORDS;
/// Sequence and data of a slot.
pub(super) const SLOT_WORDS: usize = 64;
/// Sequence and data of a room line.
pub(super) const ROOM_WORDS: usize = 16;
pub(super) const TABLE_WORDS: usize = SLOTS_FROM + SESSIONS_MAX * SLOT_WORDS;
/// Bytes of a table.
pub const TABLE_BYTES: u64 = (TABLE_WORDS * 8) as u64;
/// Rooms that a slot can name; more are not shown.
pub(super) const SLOT_ROOMS_MAX: usize = 44;

const USER_AT: usize = 8;
const LABEL_AT: usize = USER_AT + USER_BYTES_MAX / 8;
const STATUS_AT: usize = LABEL_AT + NAME_BYTES_MAX / 8;
const ROOMS_AT: usize = STATUS_AT + STATUS_BYTES_MAX / 8;
const _: () = assert!(ROOMS_AT + SLOT_ROOMS_MAX / 4 < SLOT_WORDS, "a slot holds a row");
const _: () = assert!(STATUS_BYTES_MAX.is_multiple_of(8) && SLOT_ROOMS_MAX.is_multiple_of(4));
const _: () = assert!(ROOMS_MAX <= 1 << 16, "rooms are named by 16 bits");
const _: () = assert!(2 + NAME_BYTES_MAX / 8 < ROOM_WORDS, "a line holds a name");

/// A slot's data, without its sequence.
pub(super) type SlotData = [u64; SLOT_WORDS - 1];
/// A room line's data, without its sequence.
pub(super) type RoomData = [u64; ROOM_WORDS - 1];
/// The header's data, without magic and sequence.
pub(super) type HeaderData = [u64; HEADER_WORDS - 2];

/// The header. It is a seqlock as well, behind the magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub(super) run: u64,
    pub(super) pid: u64,
    pub(super) start: u64,
    pub(super) heartbeat_us: u64,
    pub(super) slots_used: u64,
    pub(super) rooms_used: u64,
    pub(super) broadcast: u64,
    pub(super) counters: Counters,
    /// Sessions without a slot, since there was no room for one.
    pub(super) unshown: u64,
}

impl Header {
    pub(super) fn pack(&self) -> HeaderData {
        let mut words = [0; HEADER_WORDS - 2];
        let c = &self.counters;
        let packed = [
            self.run,
            self.pid,
            self.start,
            self.heartbeat_us,
            self.slots_used,
            self.rooms_used,
            self.broadcast,
            c.sessions,
            c.rooms,
            c.messages,
            c.broadcast_sent,
            c.repaired,
            c.lagging,
            c.deaf,
            self.unshown,
        ];
        words[..packed.len()].copy_from_slice(&packed);
        words
    }

    pub(super) fn unpack(words: &HeaderData) -> Self {
        Self {
            run: words[0],
            pid: words[1],
            start: words[2],
            heartbeat_us: words[3],
            slots_used: words[4],
            rooms_used: words[5],
            broadcast: words[6],
            counters: Counters {
                sessions: words[7],
                rooms: words[8],
                messages: words[9],
                broadcast_sent: words[10],
                repaired: words[11],
                lagging: words[12],
                deaf: words[13],
            },
            unshown: words[14],
        }
    }
}

pub(super) fn slot(words: &[AtomicU64], index: usize) -> Option<&[AtomicU64]> {
    let at = SLOTS_FROM + index * SLOT_WORDS;
    words.get(at..at + SLOT_WORDS)
}

pub(super) fn room(words: &[AtomicU64], index: usize) -> Option<&[AtomicU64]> {
    let at = ROOMS_FROM + index * ROOM_WORDS;
    words.get(at..at + ROOM_WORDS)
}

pub(super) fn header(words: &[AtomicU64]) -> Option<&[AtomicU64]> {
    words.get(1..HEADER_WORDS)
}

/// Returns the number of words up to the end of `slots` slots.
pub(super) fn words_of_slots(slots: usize) -> usize {
    SLOTS_FROM + slots * SLOT_WORDS
}

pub(super) fn badge(words: &[AtomicU64], index: usize) -> Option<&[AtomicU64]> {
    let at = HEADER_WORDS + index * BADGE_WORDS;
    words.get(at..at + BADGE_WORDS).filter(|_| index < BADGES_MAX)
}

/// A badge's data, without its sequence: word 0 is 0 if there is none.
pub(super) type BadgeData = [u64; BADGE_WORDS - 1];

/// Unread counts of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Badge {
    /// Messages in rooms that it follows.
    pub unread: u64,
    /// Those that mention the user, direct ones included.
    pub mentions: u64,
    /// Number of unread direct messages.
    pub direct: u64,
    /// Announcements that are open and not acknowledged.
    pub announcements: u64,
}

/// Names are compared by what their spellings have in common: `key`.
pub(super) fn pack_badge(key: &str, badge: &Badge) -> BadgeData {
    let mut w = [0; BADGE_WORDS - 1];
    w[0] = 1 | (key.len() as u64) << 8;
    (w[1], w[2], w[3]) = (badge.unread, badge.mentions, badge.direct);
    w[4] = badge.announcements;
    put_bytes(&mut w[5..5 + KEY_WORDS], key);
    w
}

/// The badge of these words, if it is that of `key`.
pub(super) fn unpack_badge(w: &BadgeData, key: &str) -> Option<Badge> {
    let is_it = w[0] & 1 == 1 && get_text(&w[5..5 + KEY_WORDS], w[0] >> 8)? == key;
    is_it.then_some(Badge { unread: w[1], mentions: w[2], direct: w[3], announcements: w[4] })
}

/// Words of a name's key; longer ones have no badge.
const KEY_WORDS: usize = BADGE_WORDS - 6;
/// Longest key with a badge, bytes.
pub(super) const BADGE_KEY_BYTES_MAX: usize = KEY_WORDS * 8;

fn put_bytes(words: &mut [u64], text: &str) {
    for (word, bytes) in words.iter_mut().zip(text.as_bytes().chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(eight);
    }
}

fn get_text(words: &[u64], bytes: u64) -> Option<String> {
    let all: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let text = all.get(..usize::try_from(bytes).ok()?)?;
    String::from_utf8(text.to_vec()).ok()
}

/// A row as a slot's words. Word 0 is the session, 0 in a free slot.
pub(super) fn pack_row(row: &Row, rooms: &[u16]) -> SlotData {
    let mut w = [0; SLOT_WORDS - 1];
    let label = row.label.as_ref().map_or("", Label::as_str);
    let rooms = &rooms[..rooms.len().min(SLOT_ROOMS_MAX)];
    w[0] = row.session.0;
    w[1] = u64::from(row.uid) | u64::from(row.pid) << 32;
    w[2] = row.start;
    w[3] = row.since_wall_us.cast_unsigned();
    w[4] = row.active_mono_us;
    w[5] = u64::from(row.kind.number())
        | (row.state as u64) << 8
        | u64::from(row.visitor) << 16
        | (rooms.len() as u64) << 24;
    w[6] = row.user.as_str().len() as u64
        | (label.len() as u64) << 16
        | (row.status.len().min(STATUS_BYTES_MAX) as u64) << 32;
    put_bytes(&mut w[USER_AT..LABEL_AT], row.user.as_str());
    put_bytes(&mut w[LABEL_AT..STATUS_AT], label);
    put_bytes(&mut w[STATUS_AT..ROOMS_AT], &row.status);
    for (at, room) in rooms.iter().enumerate() {
        w[ROOMS_AT + at / 4] |= u64::from(*room) << (at % 4 * 16);
    }
    w
}

/// The row of a slot's words; `Ok(None)` if the slot is free, `Err` if they make no sense.
pub(super) fn unpack_row(
    w: &SlotData,
    room_name: impl Fn(u16) -> Option<RoomName>,
) -> Result<Option<Row>, ()> {
    if w[0] == 0 {
        return Ok(None);
    }
    let text = |from: usize, to: usize, shift: u32| {
        get_text(&w[from..to], w[6] >> shift & 0xffff).ok_or(())
    };
    let user = UserName::new(&text(USER_AT, LABEL_AT, 0)?).map_err(|_| ())?;
    let label = match text(LABEL_AT, STATUS_AT, 16)?.as_str() {
        "" => None,
        label => Some(Label::existing(label).map_err(|_| ())?),
    };
    let state = match w[5] >> 8 & 0xff {
        0 => State::Online,
        1 => State::Away,
        2 => State::Idle,
        3 => State::Unresponsive,
        5 => State::Unreachable,
        _ => return Err(()),
    };
    let count = usize::try_from(w[5] >> 24 & 0xff).map_err(|_| ())?;
    if count > SLOT_ROOMS_MAX || w[5] & 0xff > 3 {
        return Err(());
    }
    let number = |at: usize| (w[ROOMS_AT + at / 4] >> (at % 4 * 16)) as u16;
    Ok(Some(Row {
        session: SessionId(w[0]),
        uid: w[1] as u32,
        pid: (w[1] >> 32) as u32,
        start: w[2],
        kind: Kind::of_number((w[5] & 0xff) as u8),
        state,
        visitor: w[5] >> 16 & 1 == 1,
        since_wall_us: w[3].cast_signed(),
        active_mono_us: w[4],
        user,
        label,
        status: text(STATUS_AT, ROOMS_AT, 32)?.into(),
        // A line may have been given to another room between the two reads: then it is left out.
        rooms: (0..count).filter_map(|at| room_name(number(at))).collect(),
    }))
}

pub(super) fn pack_room(name: &RoomName) -> RoomData {
    let mut w = [0; ROOM_WORDS - 1];
    w[0] = name.as_str().len() as u64;
    put_bytes(&mut w[1..], name.as_str());
    w
}

pub(super) fn unpack_room(w: &RoomData) -> Option<RoomName> {
    RoomName::existing(&get_text(&w[1..], w[0])?).ok()
}
