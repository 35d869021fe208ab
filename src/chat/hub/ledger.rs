//! Ledger of things kept for users until they come back, within one bound: the user who holds most
//! loses the oldest first.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

/// Place of one thing among those of its user.
#[derive(Debug, Clone, Copy)]
pub(super) struct LedgerPlace {
    uid: u32,
    order: u64,
    weight: usize,
}

/// Keys of the things of all users, in the order they were put.
#[derive(Debug)]
pub(super) struct Ledger<K> {
    order: BTreeMap<(u32, u64), K>,
    next: u64,
    weight_of: FxHashMap<u32, usize>,
    by_weight: BTreeSet<(usize, u32)>,
    weight: usize,
}

impl<K> Default for Ledger<K> {
    fn default() -> Self {
        Self {
            order: BTreeMap::new(),
            next: 0,
            weight_of: FxHashMap::default(),
            by_weight: BTreeSet::new(),
            weight: 0,
        }
    }
}

impl<K> Ledger<K> {
    /// Puts a thing behind the others of its user.
    pub(super) fn put(&mut self, uid: u32, key: K, weight: usize) -> LedgerPlace {
        self.next += 1;
        self.order.insert((uid, self.next), key);
        self.weigh(uid, 0, weight);
        LedgerPlace { uid, order: self.next, weight }
    }

    pub(super) fn take(&mut self, place: LedgerPlace) {
        let LedgerPlace { uid, order, weight } = place;
        if self.order.remove(&(uid, order)).is_some() {
            self.weigh(uid, weight, 0);
        }
    }

    fn weigh(&mut self, uid: u32, less: usize, more: usize) {
        let of_user = self.weight_of.entry(uid).or_default();
        self.by_weight.remove(&(*of_user, uid));
        *of_user = *of_user + more - less;
        self.weight = self.weight + more - less;
        match *of_user {
            0 => drop(self.weight_of.remove(&uid)),
            of_user => drop(self.by_weight.insert((of_user, uid))),
        }
    }

    /// Returns the thing to drop if all together weigh more than that.
    pub(super) fn excess(&self, weight_max: usize) -> Option<&K> {
        let (_, uid) = self.by_weight.last().filter(|_| self.weight > weight_max)?;
        self.order.range((*uid, 0)..=(*uid, u64::MAX)).next().map(|(_, key)| key)
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
