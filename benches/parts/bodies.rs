//! Bodies as the hub publishes them, and submits as clients write them.

use moot::{
    chat::{
        batch::{Builder, Draft, Malformed, Reader},
        frames::{Destination, Line, Submit},
        member::{Kind, Member, SessionId},
        names::{RoomName, UserName},
        stream_id::StreamId,
    },
    limits::FRAME_HEADER_BYTES,
};

use super::TEXT;

/// Stream of all bodies made here.
pub const TAG: StreamId = StreamId(1);

pub fn members(count: u64) -> Vec<Member> {
    let member = |n: u64| Member {
        session: SessionId(n + 1),
        uid: 1000 + n as u32,
        pid: 4000 + n as u32,
        kind: Kind::Script,
        user: UserName::new(&format!("user{n}")).unwrap(),
        label: None,
    };
    (0..count).map(member).collect()
}

fn draft(from: &Member, wall_us: i64) -> Draft<'_> {
    Draft {
        from,
        wall_us,
        reply_to: None,
        to_label: None,
        notice: None,
        will: None,
        origin: None,
        withheld: false,
        text: TEXT,
    }
}

/// Puts messages of all members in turns, until the body is full or has so many; gives how many it has.
pub fn fill(builder: &mut Builder, members: &[Member], first: u64, most: u32) -> u32 {
    builder.begin(FRAME_HEADER_BYTES, TAG, first);
    for (wall_us, from) in (1_700_000_000_000_000..).zip(members.iter().cycle()) {
        if builder.count() == most || !builder.push(FRAME_HEADER_BYTES, &draft(from, wall_us)) {
            break;
        }
    }
    builder.count()
}

/// A body of messages from `first` on, without a frame's header.
pub fn body(members: &[Member], first: u64, most: u32) -> Vec<u8> {
    let mut builder = Builder::default();
    fill(&mut builder, members, first, most);
    builder.bytes()[FRAME_HEADER_BYTES..].to_vec()
}

/// A body as large as it can be.
pub fn full_body(senders: u64) -> Vec<u8> {
    body(&members(senders), 1, u32::MAX)
}

/// Bytes of all texts, message by message.
pub fn read(body: &[u8]) -> Result<usize, Malformed> {
    let mut bytes = 0;
    for message in Reader::new(body)? {
        bytes += message?.text.as_bytes().len();
    }
    Ok(bytes)
}

/// The same in place.
pub fn read_each(body: &[u8]) -> Result<usize, Malformed> {
    let mut bytes = 0;
    Reader::new(body)?.each(1, |message| bytes += message.text.as_bytes().len())?;
    Ok(bytes)
}

/// The same in place, and each text looked at.
pub fn read_texts(body: &[u8]) -> Result<usize, Malformed> {
    let mut bytes = Ok(0);
    Reader::new(body)?.each(1, |message| {
        bytes = bytes.and_then(|sum| Ok(sum + message.text.read()?.len()));
    })?;
    bytes
}

pub fn submit(lines: usize) -> Submit<'static> {
    let to = Destination::Room(RoomName::new("dev").unwrap());
    Submit {
        first: 1,
        to,
        to_label: None,
        lines: vec![Line { reply_to: None, text: TEXT.try_into().unwrap() }; lines],
    }
}
