//! A seqlock over some 64-bit words: one writer, readers that never wait for it and never see half.
//!
//! The first word is the sequence: odd while the writer writes. Loads and stores are relaxed; the
//! fences order them (Boehm, "Can seqlocks get along with programming language memory models?",
//! 2012).

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::limits::SEQLOCK_TRIES_MAX;

/// Writes the words after the sequence.
pub(super) fn write(cell: &[AtomicU64], words: &[u64]) {
    let Some((sequence, data)) = cell.split_first() else { return };
    let before = sequence.load(Ordering::Relaxed) & !1;
    sequence.store(before.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    for (to, word) in data.iter().zip(words) {
        to.store(*word, Ordering::Relaxed);
    }
    fence(Ordering::Release);
    sequence.store(before.wrapping_add(2), Ordering::Relaxed);
}

/// Copies the words after the sequence; false if they kept changing.
pub(super) fn read(cell: &[AtomicU64], words: &mut [u64]) -> bool {
    let Some((sequence, data)) = cell.split_first() else { return false };
    for _ in 0..SEQLOCK_TRIES_MAX {
        let before = sequence.load(Ordering::Relaxed);
        if before & 1 == 1 {
            std::hint::spin_loop();
            continue;
        }
        fence(Ordering::Acquire);
        for (word, from) in words.iter_mut().zip(data) {
            *word = from.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        if sequence.load(Ordering::Relaxed) == before {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    use super::*;

    #[test]
    fn a_reader_never_sees_half_of_a_write() {
        let cell: Arc<Vec<AtomicU64>> = Arc::new((0..33).map(|_| AtomicU64::new(0)).collect());
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let (cell, done) = (Arc::clone(&cell), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut round = 0u64;
                while !done.load(Ordering::SeqCst) {
                    round += 1;
                    write(&cell, &[round; 32]);
                    // A server does not write all the time; a reader gets its turn.
                    for _ in 0..round % 64 {
                        std::hint::spin_loop();
                    }
                }
            })
        };
        let mut distinct = 0;
        let mut last = 0;
        while distinct < 5_000 {
            let mut words = [0; 32];
            if read(&cell, &mut words) {
                assert!(words.iter().all(|w| *w == words[0]), "torn: {words:?}");
                distinct += u32::from(words[0] != last);
                last = words[0];
            }
        }
        done.store(true, Ordering::SeqCst);
        writer.join().unwrap();
    }

    #[test]
    fn a_writer_that_died_in_the_middle_is_noticed() {
        let cell: Vec<_> = (0..3).map(|_| AtomicU64::new(0)).collect();
        cell[0].store(7, Ordering::Relaxed);
        assert!(!read(&cell, &mut [0; 2]));
        write(&cell, &[1, 2]);
        let mut words = [0; 2];
        assert!(read(&cell, &mut words), "the next write heals it");
        assert_eq!(words, [1, 2]);
    }
}
