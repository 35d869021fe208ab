//! What waits for one session's socket: bounded by its owner, batches shared with other sessions and not copied.

use std::{collections::VecDeque, io::IoSlice, rc::Rc};

/// Small frames are gathered into one buffer of about so many bytes.
const GATHER_BYTES: usize = 16 * 1024;
/// Pieces that one write takes.
const SLICES: usize = 8;

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Rc<[u8]>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// The output of one session.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that were written already.
    written: usize,
    waiting: usize,
    /// Bytes of pieces that no other session shares.
    own: usize,
}

impl Output {
    /// Bytes that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// Bytes of memory that only this session needs.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.own
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Appends a frame that other sessions get as well.
    pub fn share(&mut self, frame: Rc<[u8]>) {
        self.waiting += frame.len();
        self.pieces.push_back(Piece::Shared(frame));
    }

    /// Appends what `write` writes.
    pub fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let fits = |p: &Piece| matches!(p, Piece::Own(bytes) if bytes.len() < GATHER_BYTES);
        if !self.pieces.back().is_some_and(fits) {
            self.pieces.push_back(Piece::Own(Vec::new()));
        }
        if let Some(Piece::Own(bytes)) = self.pieces.back_mut() {
            let before = bytes.len();
            write(bytes);
            self.waiting += bytes.len() - before;
            self.own += bytes.len() - before;
        }
    }

    /// What to write next, one after another; empty if nothing waits.
    #[must_use]
    pub fn front(&self) -> [IoSlice<'_>; SLICES] {
        let mut pieces = self.pieces.iter().map(Piece::bytes);
        let mut skip = self.written;
        std::array::from_fn(|_| {
            let bytes = pieces.next().unwrap_or(&[]);
            IoSlice::new(&bytes[std::mem::take(&mut skip)..])
        })
    }

    /// So many bytes of [`Output::front`] were written.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        self.waiting -= bytes;
        while let Some(piece) = self.pieces.front().map(|piece| piece.bytes().len())
            && self.written >= piece
        {
            self.written -= piece;
            if let Some(Piece::Own(bytes)) = self.pieces.pop_front() {
                self.own -= bytes.len();
            }
        }
        if self.pieces.is_empty() {
            // An idle session holds no memory for its output.
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut out = Output::default();
        out.put(|b| b.extend_from_slice(b"ab"));
        out.put(|b| b.extend_from_slice(b"c"));
        out.share(b"shared"[..].into());
        out.put(|b| b.extend_from_slice(b"d"));
        let front = |out: &Output| {
            out.front()
                .iter()
                .map(|part| str::from_utf8(part).unwrap())
                .collect::<Vec<_>>()
                .join("|")
        };
        assert_eq!((out.waiting_bytes(), front(&out).as_str()), (10, "abc|shared|d|||||"));
        assert_eq!(out.own_bytes(), 4);
        out.advance(2);
        assert_eq!(front(&out), "c|shared|d|||||");
        out.advance(5);
        assert_eq!((front(&out).as_str(), out.own_bytes()), ("ed|d||||||", 1));
        out.advance(3);
        assert!(out.is_empty() && out.front().iter().all(|part| part.is_empty()));
        assert_eq!(out.own_bytes(), 0);
    }
}
