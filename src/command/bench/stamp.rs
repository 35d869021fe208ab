//! Content of a benchmark's texts: the sender, its counter of texts, and the time.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::seen::{Latencies, Seen, latencies};
use crate::{chat::batch::MessageRef, os};

/// Bytes of a stamp: sender (8 hexadecimal digits), counter (8), monotonic microseconds (16).
pub(super) const STAMP_BYTES: usize = 32;
/// At full speed one of `SAMPLED` messages is measured: a look at the clock costs as much as a
/// message.
const SAMPLED: u64 = 64;

/// Writes a stamp into the beginning of a text.
pub(super) fn put(text: &mut [u8], sender: u32, counter: u32, now_us: u64) {
    let number = u64::from(sender) << 32 | u64::from(counter);
    text[..16].copy_from_slice(&hex(number));
    text[16..STAMP_BYTES].copy_from_slice(&hex(now_us));
}

fn hex(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (60 - 4 * at) & 15) as usize];
    }
    digits
}

/// Sixteen hexadecimal digits, eight at a time: this is done for each message that is measured.
fn unhex(digits: &[u8; 16]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (high, low) = digits.split_at(8);
    let half = |digits: &[u8]| {
        let bytes = u64::from_be_bytes(digits.try_into().unwrap_or_default());
        // '0' to '9' have their value in the low half of the byte, 'a' to 'f' it less nine.
        let nibbles = (bytes & (15 * ONES)) + 9 * (bytes >> 6 & ONES);
        let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
        let words = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
        (words | words >> 16) & 0xffff_ffff
    };
    half(high) << 32 | half(low)
}

/// Messages that one thread's members saw; read by other threads meanwhile.
#[derive(Debug)]
pub(super) struct Tally {
    deliveries: AtomicU64,
    disordered: AtomicU64,
    /// Latencies of messages, while they are measured.
    latencies: Mutex<Latencies>,
    pub(super) measures: AtomicBool,
    every: bool,
    senders: u32,
}

impl Tally {
    /// `every`: each message's latency counts, not only a sample's. A message that is not from one
    /// of the `senders` senders is not counted: any user may send to the room.
    pub(super) fn new(every: bool, senders: u32) -> Arc<Self> {
        Arc::new(Self {
            deliveries: AtomicU64::new(0),
            disordered: AtomicU64::new(0),
            latencies: Mutex::new(latencies()),
            measures: AtomicBool::new(false),
            every,
            senders,
        })
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            deliveries: self.deliveries.load(Ordering::Relaxed),
            disordered: self.disordered.load(Ordering::Relaxed),
        }
    }

    pub(super) fn latencies(&self) -> Latencies {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the function that a member of this thread calls for each message.
    pub(super) fn tap(self: &Arc<Self>) -> impl FnMut(&MessageRef<'_>) + Send + 'static {
        let tally = Arc::clone(self);
        // The next counter of each sender.
        let mut next: Vec<u32> = Vec::new();
        move |message| {
            let text = message.text.as_bytes();
            let Some((number, rest)) = text.split_first_chunk() else { return };
            let Some(sent) = rest.first_chunk() else { return };
            let number = unhex(number);
            let (sender, counter) = ((number >> 32) as usize, number as u32);
            if sender >= tally.senders as usize {
                return;
            }
            if next.len() <= sender {
                next.resize(sender + 1, 0);
            }
            // One thread writes.
            let add = |to: &AtomicU64| to.store(to.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            if next[sender] != counter {
                add(&tally.disordered);
            }
            next[sender] = counter.wrapping_add(1);
            add(&tally.deliveries);
            if (tally.every || u64::from(counter).is_multiple_of(SAMPLED))
                && tally.measures.load(Ordering::Relaxed)
            {
                let took_us = os::monotonic_us().saturating_sub(unhex(sent));
                let mut all = tally.latencies.lock().unwrap_or_else(PoisonError::into_inner);
                // It grows as far as it has to.
                let _ = all.record(took_us);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let mut text = [b'x'; 40];
        put(&mut text, 3, 0xdead_beef, 0x0123_4567_89ab_cdef);
        assert_eq!(&text[..], b"00000003deadbeef0123456789abcdefxxxxxxxx");
        assert_eq!(unhex(text.first_chunk().unwrap()), 3 << 32 | 0xdead_beef);
        assert_eq!(unhex(text[16..].first_chunk().unwrap()), 0x0123_4567_89ab_cdef);
    }
}
