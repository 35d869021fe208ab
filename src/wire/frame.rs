//! Frames: a fixed header by hand, a kind, a length. Nothing is allocated by a declared length.
//!
//! ```text
//! magic "mt" · version u8 · kind u8 · body length u32 (little endian) · body
//! ```

use crate::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};

/// Version of everything but the frozen kinds.
pub const PROTOCOL_VERSION: u8 = 1;

const MAGIC: [u8; 2] = *b"mt";

/// Kind of a frame's body. The frozen kinds mean the same in every version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Frozen, to the server: name and version of the client.
    Hello = 1,
    /// Frozen, to the server: end.
    Stop = 2,
    /// Frozen, to the server: how are you.
    Status = 3,
    /// To the server: a request.
    Request = 16,
    /// To the server: something to say.
    Submit = 17,
    /// To the server: a report of what was delivered.
    Report = 18,
    /// To the server: numbers that are missing.
    Repair = 19,
    /// To the server: a sign of life.
    Pong = 20,
    /// Frozen, from the server: the session begins.
    Welcome = 65,
    /// Frozen, from the server: it does not.
    Refused = 66,
    /// Frozen, from the server: its state.
    StatusReply = 67,
    /// Frozen, from the server: the session ends, and why.
    Bye = 68,
    /// From the server: an answer.
    Reply = 80,
    /// From the server: messages of one stream.
    Batch = 81,
    /// From the server: submits that are acknowledged.
    Ack = 82,
    /// From the server: submits that were refused.
    Nack = 83,
    /// From the server: something that was not asked for.
    Event = 84,
}

impl Kind {
    const ALL: [Self; 17] = [
        Self::Hello,
        Self::Stop,
        Self::Status,
        Self::Request,
        Self::Submit,
        Self::Report,
        Self::Repair,
        Self::Pong,
        Self::Welcome,
        Self::Refused,
        Self::StatusReply,
        Self::Bye,
        Self::Reply,
        Self::Batch,
        Self::Ack,
        Self::Nack,
        Self::Event,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as u8 == number)
    }

    /// Returns true if it means the same in every version of the protocol.
    #[must_use]
    pub fn is_frozen(self) -> bool {
        (self as u8) < 16 || (64..80).contains(&(self as u8))
    }
}

/// Reason why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It does not begin as a frame does.
    #[error("this is not the moot protocol")]
    Magic,
    /// Of another version of the protocol.
    #[error("protocol version {found}; this is version {PROTOCOL_VERSION}")]
    Version {
        /// Version in the header.
        found: u8,
    },
    /// A kind that this version does not have.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// Longer than a frame may be.
    #[error("a frame of {bytes} bytes; the longest has {FRAME_BYTES_MAX}")]
    TooLong {
        /// Its length, header included.
        bytes: usize,
    },
}

/// Returns the header of a frame with a body of `body_bytes` bytes.
#[must_use]
pub fn header(kind: Kind, body_bytes: usize) -> [u8; FRAME_HEADER_BYTES] {
    debug_assert!(body_bytes + FRAME_HEADER_BYTES <= FRAME_BYTES_MAX, "bounds fit each other");
    let length = u32::try_from(body_bytes).unwrap_or(u32::MAX).to_le_bytes();
    let [a, b] = MAGIC;
    [a, b, PROTOCOL_VERSION, kind as u8, length[0], length[1], length[2], length[3]]
}

/// The header of a batch frame; the hub writes it before its bodies.
#[must_use]
pub fn batch_header(body_bytes: usize) -> [u8; FRAME_HEADER_BYTES] {
    header(Kind::Batch, body_bytes)
}

/// Appends a frame whose body is written by `body`.
pub fn put(to: &mut Vec<u8>, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
    let at = to.len();
    to.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    body(to);
    let body_bytes = to.len() - at - FRAME_HEADER_BYTES;
    to[at..at + FRAME_HEADER_BYTES].copy_from_slice(&header(kind, body_bytes));
}

/// A whole frame at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Kind of the body.
    pub kind: Kind,
    /// Body without the header.
    pub body: &'a [u8],
    /// Bytes of the whole frame.
    pub bytes: usize,
}

/// Returns the number of bytes that the frame at the beginning lacks, as far as is known yet; 0 if
/// it is whole.
///
/// # Errors
/// Returns an error as soon as the bytes can no longer become a frame.
pub fn lacks(bytes: &[u8]) -> Result<usize, FrameError> {
    if parse(bytes)?.is_some() {
        return Ok(0);
    }
    let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(FRAME_HEADER_BYTES - bytes.len());
    };
    let [.., a, b, c, d] = *header;
    Ok(FRAME_HEADER_BYTES + u32::from_le_bytes([a, b, c, d]) as usize - bytes.len())
}

/// Returns the number of bytes that the last of several frames lacks; 0 if all are whole, or if the
/// bytes are not frames.
#[must_use]
pub fn last_lacks(mut bytes: &[u8]) -> usize {
    while let Ok(Some(frame)) = parse(bytes) {
        bytes = &bytes[frame.bytes..];
    }
    if bytes.is_empty() { 0 } else { lacks(bytes).unwrap_or(0) }
}

/// Reads the frame at the beginning of some bytes; none if it is not complete yet.
///
/// # Errors
/// Returns an error as soon as the bytes can no longer become a frame.
pub fn parse(bytes: &[u8]) -> Result<Option<Parsed<'_>>, FrameError> {
    if !MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
        return Err(FrameError::Magic);
    }
    let Some((header, rest)) = bytes.split_at_checked(FRAME_HEADER_BYTES) else {
        return Ok(None);
    };
    let known = Kind::of(header[3]);
    if header[2] != PROTOCOL_VERSION && !known.is_some_and(Kind::is_frozen) {
        return Err(FrameError::Version { found: header[2] });
    }
    let kind = known.ok_or(FrameError::Kind(header[3]))?;
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let whole = length.saturating_add(FRAME_HEADER_BYTES);
    if whole > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes: whole });
    }
    Ok(rest.get(..length).map(|body| Parsed { kind, body, bytes: whole }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_read_once_it_is_complete() {
        let mut bytes = Vec::new();
        put(&mut bytes, Kind::Pong, |b| b.extend_from_slice(b"abc"));
        assert_eq!(bytes, b"mt\x01\x14\x03\0\0\0abc");
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut}");
        }
        bytes.push(7);
        let frame = parse(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.body, frame.bytes), (Kind::Pong, &b"abc"[..], 11));
    }

    #[test]
    fn garbage_is_known_by_its_first_bytes() {
        assert_eq!(parse(b"G"), Err(FrameError::Magic));
        assert_eq!(parse(b"mX"), Err(FrameError::Magic));
        assert_eq!(parse(b"mt\x02\x10\0\0\0\0"), Err(FrameError::Version { found: 2 }));
        assert!(parse(b"mt\x02\x01\0\0\0\0").unwrap().is_some(), "the handshake is frozen");
        assert_eq!(parse(b"mt\x01\xfe\0\0\0\0"), Err(FrameError::Kind(0xfe)));
        assert!(matches!(parse(b"mt\x01\x10\xff\xff\xff\xff"), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn lacks_of_bytes_that_are_no_frame_is_an_error() {
        assert_eq!(lacks(b"mt\x01"), Ok(5));
        assert_eq!(lacks(b"mt\x01\x14\x03\0\0\0a"), Ok(2));
        assert_eq!(lacks(b"mX"), Err(FrameError::Magic), "two bytes are enough to tell");
        assert_eq!(lacks(b"mt\x01\xfe\0\0\0\0"), Err(FrameError::Kind(0xfe)));
    }

    #[test]
    fn last_of_several_frames_lacks_what_finishes_it() {
        let mut bytes = Vec::new();
        for body in [&b"abc"[..], b"", b"de"] {
            put(&mut bytes, Kind::Pong, |b| b.extend_from_slice(body));
        }
        // A header says how much follows: until it is whole, only that it does.
        let missing: Vec<_> = (0..=bytes.len()).map(|cut| last_lacks(&bytes[..cut])).collect();
        let first = [0, 7, 6, 5, 4, 3, 2, 1, 3, 2, 1];
        let second = [0, 7, 6, 5, 4, 3, 2, 1];
        let third = [0, 7, 6, 5, 4, 3, 2, 1, 2, 1, 0];
        assert_eq!(missing, [&first[..], &second, &third].concat());
        assert_eq!(last_lacks(b"mt\x01\x14\0\0\0\0GET /"), 0, "nothing makes a frame of that");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
        }
    }
}
