//! Numbers for clients that say nothing of how many others have, and that none can guess.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A secret order of the numbers of `2 * HALF_BITS` bits: a Feistel network, whose rounds are keyed
/// hashes. Each width has an order of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permutation<const HALF_BITS: u32> {
    secret: [u64; 2],
}

impl<const HALF_BITS: u32> Permutation<HALF_BITS> {
    const MASK: u64 = (1 << HALF_BITS) - 1;
    const ROUNDS: u32 = 4;

    /// Returns the order that belongs to a secret.
    pub(super) fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    /// Returns what a number is called; of a higher number only the low bits count.
    #[must_use]
    pub fn conceal(&self, number: u64) -> u64 {
        let (mut left, mut right) = (number >> HALF_BITS & Self::MASK, number & Self::MASK);
        for round in 0..Self::ROUNDS {
            (left, right) = (right, left ^ self.keyed(round, right));
        }
        left << HALF_BITS | right
    }

    /// Returns the number that is called so.
    #[must_use]
    pub(super) fn reveal(&self, concealed: u64) -> u64 {
        let (mut left, mut right) = (concealed >> HALF_BITS & Self::MASK, concealed & Self::MASK);
        for round in (0..Self::ROUNDS).rev() {
            (left, right) = (right ^ self.keyed(round, left), left);
        }
        left << HALF_BITS | right
    }

    fn keyed(&self, round: u32, half: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.secret, HALF_BITS, round, half).hash(&mut hasher);
        hasher.finish() & Self::MASK
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_number_has_one_name() {
        let order = Permutation::<8>::new([1, 2]);
        let all: HashSet<_> = (0..1 << 16).map(|number| order.conceal(number)).collect();
        assert_eq!(all.len(), 1 << 16);
    }

    proptest! {
        #[test]
        fn concealed_numbers_are_found_again(secret: [u64; 2], number: u64) {
            let order = Permutation::<32>::new(secret);
            prop_assert_eq!(order.reveal(order.conceal(number)), number);
            let order = Permutation::<10>::new(secret);
            prop_assert_eq!(order.reveal(order.conceal(number)), number & 0xf_ffff);
        }
    }
}
