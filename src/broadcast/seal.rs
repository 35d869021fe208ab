//! Sealing datagrams: AES-256-GCM, a key for each stream, a new one when a member is removed.
//!
//! ```text
//! magic "md" · version u8 · 0 · key number u32 · counter u64 · sealed body · tag
//! ```
//! Any process of the host can bind the group and hear the datagrams; only members of the stream
//! have its key. The nonce is the counter, which is never used twice with a key. The header and the
//! number of the run are authenticated with the body. A key proves membership, never origin: that
//! is the kernel's part.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::limits::{DATAGRAM_HEADER_BYTES, SEAL_TAG_BYTES};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// A key, to be handed to members over their sessions and never stored.
pub type Key = [u8; KEY_BYTES];

const MAGIC: [u8; 4] = *b"md\x01\x00";

fn aead(key: &Key) -> LessSafeKey {
    // The key has the length that the algorithm wants, by its type.
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"))
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn aad(header: &[u8], run: u32) -> Aad<[u8; DATAGRAM_HEADER_BYTES + 4]> {
    let mut bytes = [0; DATAGRAM_HEADER_BYTES + 4];
    bytes[..DATAGRAM_HEADER_BYTES].copy_from_slice(header);
    bytes[DATAGRAM_HEADER_BYTES..].copy_from_slice(&run.to_le_bytes());
    Aad::from(bytes)
}

/// The server's end.
pub struct Sealer {
    key: LessSafeKey,
    number: u32,
    run: u32,
    counter: u64,
}

impl std::fmt::Debug for Sealer {
    // Keys must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Seals with a key of this number, in this run of the server.
    #[must_use]
    pub fn new(number: u32, key: &Key, run: u32) -> Self {
        Self { key: aead(key), number, run, counter: 0 }
    }

    /// Makes a datagram of a body; false if the key is used up (after 2^64 datagrams) or the body
    /// is longer than the algorithm takes.
    pub fn seal(&mut self, body: &[u8], datagram: &mut Vec<u8>) -> bool {
        let Some(counter) = self.counter.checked_add(1) else { return false };
        self.counter = counter;
        datagram.clear();
        datagram.extend_from_slice(&MAGIC);
        datagram.extend_from_slice(&self.number.to_le_bytes());
        datagram.extend_from_slice(&counter.to_le_bytes());
        let aad = aad(datagram, self.run);
        datagram.extend_from_slice(body);
        let sealed = &mut datagram[DATAGRAM_HEADER_BYTES..];
        match self.key.seal_in_place_separate_tag(nonce(counter), aad, sealed) {
            Ok(tag) => {
                datagram.extend_from_slice(tag.as_ref());
                true
            }
            Err(_) => false,
        }
    }
}

/// The number of the key that a datagram says it was sealed with.
pub(super) fn key_number(datagram: &[u8]) -> Option<u32> {
    datagram.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
}

/// A member's end.
pub struct Opener {
    key: LessSafeKey,
    number: u32,
    run: u32,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Opener {
    /// Opens with a key of this number, in this run of the server.
    #[must_use]
    pub fn new(number: u32, key: &Key, run: u32) -> Self {
        Self { key: aead(key), number, run }
    }

    /// The body of a datagram, opened in place; none if this server did not seal it in this run.
    #[must_use]
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        if datagram.len() < DATAGRAM_HEADER_BYTES + SEAL_TAG_BYTES {
            return None;
        }
        let (header, sealed) = datagram.split_at_mut(DATAGRAM_HEADER_BYTES);
        let (magic, rest) = header.split_at(4);
        let (number, counter) = rest.split_at(4);
        let counter = u64::from_le_bytes(counter.try_into().ok()?);
        if magic != MAGIC || number != self.number.to_le_bytes() {
            return None;
        }
        let aad = aad(header, self.run);
        self.key.open_in_place(nonce(counter), aad, sealed).ok().map(|body| &*body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(run: u32, body: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        assert!(Sealer::new(7, &[1; 32], run).seal(body, &mut datagram));
        datagram
    }

    #[test]
    fn sealed_batch_opens_only_in_the_same_boot_with_the_same_key() {
        let mut datagram = sealed(3, b"hello");
        assert!(!datagram.windows(5).any(|w| w == b"hello"));
        assert_eq!(Opener::new(7, &[1; 32], 3).open(&mut datagram.clone()), Some(&b"hello"[..]));
        assert_eq!(Opener::new(7, &[1; 32], 4).open(&mut datagram.clone()), None, "another run");
        assert_eq!(Opener::new(7, &[2; 32], 3).open(&mut datagram.clone()), None, "another key");
        assert_eq!(Opener::new(8, &[1; 32], 3).open(&mut datagram), None, "another key's number");
    }

    #[test]
    fn no_nonce_is_used_twice() {
        let mut sealer = Sealer::new(7, &[1; 32], 3);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        assert!(sealer.seal(b"same", &mut a) && sealer.seal(b"same", &mut b));
        assert_ne!(a, b);
        sealer.counter = u64::MAX;
        assert!(!sealer.seal(b"same", &mut a), "used up");
    }

    #[test]
    fn golden_bytes() {
        let datagram = sealed(3, b"");
        assert_eq!(&datagram[..16], b"md\x01\x00\x07\0\0\0\x01\0\0\0\0\0\0\0");
        assert_eq!(datagram.len(), 32);
    }

    proptest! {
        #[test]
        fn a_changed_datagram_does_not_open(at in 0usize..37, bit in 0u8..8) {
            let mut datagram = sealed(3, b"hello");
            datagram[at] ^= 1 << bit;
            prop_assert_eq!(Opener::new(7, &[1; 32], 3).open(&mut datagram), None);
        }

        #[test]
        fn garbage_does_not_open(mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(Opener::new(7, &[1; 32], 3).open(&mut bytes), None);
        }
    }
}
