//! Inputs for targets: seeds with a few bytes changed.

/// Longest input, bytes.
pub const INPUT_BYTES_MAX: usize = 8 * 1024;
/// Bytes at the edges of numbers, of their encodings and of texts.
const EDGES: [u8; 16] =
    [0, 1, 2, 0x0a, 0x1b, 0x20, 0x7f, 0x80, 0xc2, 0xed, 0xf0, 0xfb, 0xfc, 0xfd, 0xfe, 0xff];

/// Numbers from a seed (splitmix64).
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// Returns random bytes, few of them more often than many.
    pub fn bytes(&mut self) -> Vec<u8> {
        let bits = self.below(12);
        let count = self.below(1 << bits);
        (0..count).map(|_| self.byte()).collect()
    }

    /// Returns a part of `0..count`.
    fn part(&mut self, count: usize) -> std::ops::Range<usize> {
        let first = self.below(count + 1);
        let bits = self.below(8);
        first..(first + self.below(1 << bits)).min(count)
    }

    /// Returns the next input: one of the seeds, changed in a few places; or only random bytes.
    pub fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = match seeds {
            [] => self.bytes(),
            seeds if self.below(16) > 0 => seeds[self.below(seeds.len())].clone(),
            _ => self.bytes(),
        };
        for _ in 0..self.below(6) {
            self.change(&mut input, seeds);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len());
        match (self.below(9), input.get_mut(at)) {
            (0, Some(byte)) => *byte ^= 1 << self.below(8),
            (1, Some(byte)) => *byte = self.byte(),
            (2, Some(byte)) => *byte = EDGES[self.below(EDGES.len())],
            (3, Some(byte)) => *byte = byte.wrapping_add(self.byte() % 9).wrapping_sub(4),
            (4, _) => input.insert(at, self.byte()),
            (5, _) => drop(input.drain(self.part(input.len()))),
            (6, _) => {
                let again = input[self.part(input.len())].to_vec();
                input.splice(at..at, again);
            }
            (7, _) if !seeds.is_empty() => {
                let other = &seeds[self.below(seeds.len())];
                let from = other[self.part(other.len())].to_vec();
                let here = self.part(input.len());
                input.splice(here, from);
            }
            _ => input.truncate(at),
        }
    }
}
