//! What a datagram costs in a member's receive buffer: the kernel counts its own structures and whole pages.

/// Datagram size (bytes, at most) and its charge, as measured on Linux 6.18 over loopback.
const STEPS: [(usize, usize); 9] = [
    (128, 832),
    (512, 1_280),
    (1_400, 2_304),
    (2_048, 4_353),
    (4_096, 8_456),
    (8_192, 16_644),
    (16_384, 17_225),
    (32_768, 33_689),
    (65_507, 65_535 + 1_024),
];

/// Receive-buffer charge of a datagram of so many bytes; never less than it really is.
#[must_use]
pub fn charge_bytes(datagram_bytes: usize) -> usize {
    STEPS.iter().find(|(bytes, _)| datagram_bytes <= *bytes).map_or(STEPS[8].1, |(_, c)| *c)
}
