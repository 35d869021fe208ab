//! Size of a part of the output of a command.

/// Lines and bytes of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

impl Amount {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { lines: line_ends(bytes), bytes: bytes.len() as u64 }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

/// Returns the number of line ends.
pub(super) fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}
