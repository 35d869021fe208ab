//! What each message says: its number and the time of its sending, as text, filled up to its size.

use nix::time::{ClockId, clock_gettime};

/// The shortest message: 16 hexadecimal digits of the number, 16 of the time.
pub const BYTES_MIN: usize = 32;

/// Nanoseconds of a clock that all threads share.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a monotonic clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

pub fn write(payload: &mut [u8], number: u64, sent_ns: u64) {
    payload[..16].copy_from_slice(&to_hex(number));
    payload[16..32].copy_from_slice(&to_hex(sent_ns));
}

pub fn number(payload: &[u8]) -> u64 {
    from_hex(&payload[..16])
}

pub fn sent_ns(payload: &[u8]) -> u64 {
    from_hex(&payload[16..32])
}

// Each receiver reads the number of every message, so eight digits are read at once: a loop over
// them would cost as much as all the rest of a receiver.

/// From what follows '9' to 'a'.
const LETTER_AFTER_NINE: u64 = 39;

fn to_hex(value: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    digits[..8].copy_from_slice(&eight_digits((value >> 32) as u32));
    digits[8..].copy_from_slice(&eight_digits(value as u32));
    digits
}

fn eight_digits(value: u32) -> [u8; 8] {
    let mut nibbles = u64::from(value);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * LETTER_AFTER_NINE).to_be_bytes()
}

fn from_hex(digits: &[u8]) -> u64 {
    let (high, low) = digits.split_at(8);
    eight_values(high) << 32 | eight_values(low)
}

fn eight_values(digits: &[u8]) -> u64 {
    let text = u64::from_be_bytes(digits.try_into().expect("eight digits"));
    let letters = text >> 6 & 0x0101_0101_0101_0101;
    let mut nibbles = (text & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9;
    nibbles = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles >> 8) & 0x0000_ffff_0000_ffff;
    (nibbles | nibbles >> 16) & 0xffff_ffff
}
