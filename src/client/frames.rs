//! Frames out of a byte stream.

use std::io;

use crate::{
    limits::FRAME_BYTES_MAX,
    session::Connection,
    wire::frame::{self, FrameError, Parsed},
};

/// Bytes that came and were not taken yet.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; 4096], taken: 0, filled: 0 }
    }

    /// The next whole frame that is here.
    pub(super) fn next(&mut self) -> Result<Option<Parsed<'_>>, FrameError> {
        let parsed = frame::parse(&self.buffer[self.taken..self.filled])?;
        if let Some(parsed) = &parsed {
            self.taken += parsed.bytes;
        }
        Ok(parsed)
    }

    /// Returns what was read and not taken.
    pub(super) fn rest(&self) -> Vec<u8> {
        self.buffer[self.taken..self.filled].to_vec()
    }

    /// Reads once; false at the end of the stream.
    pub(super) fn fill(&mut self, from: &Connection) -> io::Result<bool> {
        if self.taken > 0 {
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.filled == self.buffer.len() {
            // Grown by what came, never by what a header declares; a frame is bounded.
            let larger = (self.buffer.len() * 4).min(4 * FRAME_BYTES_MAX);
            self.buffer.resize(larger, 0);
        }
        let read = from.read(&mut self.buffer[self.filled..])?;
        self.filled += read;
        Ok(read > 0)
    }
}
