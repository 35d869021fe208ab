//! Things that a tick looks at: those that changed since the last tick, and those whose time has
//! come. Everything else costs a tick nothing.
//!
//! A collection marks each thing that it gives out for a change, so that no caller can forget it;
//! the tick says when it has to look again although nothing changes.

use std::{collections::BTreeSet, fmt, hash::Hash};

use rustc_hash::FxHashSet;

/// Place of one thing in its [`Watchlist`].
#[derive(Default)]
pub(super) struct WatchEntry {
    /// It may have changed since the last tick.
    is_touched: bool,
    /// Time of the next look if nothing changes, microseconds.
    due_us: Option<u64>,
}

/// Keys of the things that the next ticks look at.
pub(super) struct Watchlist<K> {
    touched: FxHashSet<K>,
    due: BTreeSet<(u64, K)>,
}

/// A look changes nothing: two states that differ in it only are the same.
impl fmt::Debug for WatchEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchEntry")
    }
}

/// As for [`WatchEntry`].
impl<K> fmt::Debug for Watchlist<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watchlist")
    }
}

impl<K> Default for Watchlist<K> {
    fn default() -> Self {
        Self { touched: FxHashSet::default(), due: BTreeSet::new() }
    }
}

impl<K: Copy + Hash + Ord> Watchlist<K> {
    /// Records that a thing may change now.
    pub(super) fn touch(&mut self, key: K, look: &mut WatchEntry) {
        if !std::mem::replace(&mut look.is_touched, true) {
            self.touched.insert(key);
        }
    }

    /// Returns what may have changed since the last tick.
    pub(super) fn touched(&self) -> impl Iterator<Item = K> {
        self.touched.iter().copied()
    }

    /// Returns what a tick looks at, each key once and in order. It stays until it is settled.
    pub(super) fn to_look_at(&self, now_us: u64) -> Vec<K> {
        let due = self.due.iter().take_while(|(due_us, _)| *due_us <= now_us).map(|(_, key)| *key);
        let mut keys: Vec<_> = self.touched().chain(due).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Ends the look at a thing: the next one is at this time, or once it changes. An earlier time
    /// that is still to come may stay: for a thing whose time is moved with each change, one look
    /// too many costs less than a move.
    pub(super) fn settle(
        &mut self,
        now_us: u64,
        key: K,
        look: &mut WatchEntry,
        due_us: Option<u64>,
    ) {
        if let (Some(old), Some(new)) = (look.due_us, due_us)
            && now_us < old
            && old <= new
        {
            self.touched.remove(&key);
            look.is_touched = false;
            return;
        }
        self.forget(key, look);
        *look = WatchEntry { is_touched: false, due_us };
        if let Some(due_us) = due_us {
            self.due.insert((due_us, key));
        }
    }

    /// Removes a thing that ends.
    pub(super) fn forget(&mut self, key: K, look: &WatchEntry) {
        if look.is_touched {
            self.touched.remove(&key);
        }
        if let Some(due_us) = look.due_us {
            self.due.remove(&(due_us, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_and_due_things_are_taken_once() {
        let (mut list, mut looks) =
            (Watchlist::default(), [WatchEntry::default(), WatchEntry::default()]);
        for _ in 0..2 {
            list.touch(0, &mut looks[0]);
        }
        assert_eq!((list.to_look_at(0), list.touched().count()), (vec![0], 1));
        list.settle(0, 0, &mut looks[0], Some(7));
        list.settle(0, 1, &mut looks[1], None);
        assert_eq!(list.to_look_at(6), Vec::<u32>::new());
        // It changes while it is looked at.
        assert_eq!(list.to_look_at(7), [0]);
        list.touch(0, &mut looks[0]);
        list.settle(7, 0, &mut looks[0], Some(20));
        assert_eq!((list.to_look_at(19).len(), list.touched().count()), (0, 0));
        list.settle(8, 0, &mut looks[0], Some(30));
        assert_eq!(list.to_look_at(20), [0], "the earlier look stays");
        list.settle(20, 0, &mut looks[0], Some(30));
        assert_eq!(list.to_look_at(29), Vec::<u32>::new());
        list.settle(21, 0, &mut looks[0], Some(25));
        assert_eq!(list.to_look_at(25), [0], "an earlier time counts at once");
        list.touch(0, &mut looks[0]);
        list.forget(0, &looks[0]);
        assert_eq!(list.to_look_at(99), Vec::<u32>::new());
    }
}
