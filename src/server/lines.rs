//! Sessions that go on in a later turn: a line for each account, from each of which a few are
//! called a turn.
//!
//! A session that could go on at once would do so again and again before the sockets of others are
//! looked at. So what a turn had no time for waits here, whatever it is: frames that were read,
//! bytes in a socket, messages that are owed. Each turn begins with a look at all sockets, and then
//! calls those who wait. Of one account only a few are called, and the messages for its sessions
//! are limited, so that what a turn costs does not grow with their number.

use std::{collections::VecDeque, hash::Hash};

use rustc_hash::FxHashMap;

use crate::{
    faults::{Fault, planted},
    limits::{CALLED_PER_TURN_MAX, GIVEN_BYTES_PER_TURN_MAX},
};

/// A line for each account. A session that is in it already is not to be put there again.
#[derive(Debug)]
pub(super) struct Lines<A, S> {
    waiting: FxHashMap<A, VecDeque<S>>,
    /// Bytes of messages that the sessions of each account were given in this turn.
    given: FxHashMap<A, usize>,
}

impl<A, S> Default for Lines<A, S> {
    fn default() -> Self {
        Self { waiting: FxHashMap::default(), given: FxHashMap::default() }
    }
}

impl<A: Eq + Hash, S> Lines<A, S> {
    /// Puts a session at the end of the line of its account.
    pub(super) fn push(&mut self, account: A, session: S) {
        self.waiting.entry(account).or_default().push_back(session);
    }

    /// Returns true if no session waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Nothing was given in this turn yet.
    pub(super) fn begin_turn(&mut self) {
        self.given.clear();
    }

    /// Returns true if sessions of an account may be given more in this turn; else they wait in
    /// line for it.
    pub(super) fn may_give(&self, account: &A) -> bool {
        let given = self.given.get(account).copied().unwrap_or(0);
        given < GIVEN_BYTES_PER_TURN_MAX || planted(Fault::GivenWithoutEnd)
    }

    /// Counts bytes that a session of an account was given.
    pub(super) fn gave(&mut self, account: A, bytes: usize) {
        *self.given.entry(account).or_default() += bytes;
    }

    /// Takes the first sessions of each line.
    pub(super) fn call(&mut self) -> Vec<S> {
        let mut called = Vec::new();
        self.waiting.retain(|_, line| {
            let most =
                if planted(Fault::AllSessionsCalled) { usize::MAX } else { CALLED_PER_TURN_MAX };
            called.extend(line.drain(..line.len().min(most)));
            !line.is_empty()
        });
        called
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_one_account_are_given_so_much_a_turn() {
        let mut lines = Lines::<_, ()>::default();
        lines.gave("eve", GIVEN_BYTES_PER_TURN_MAX - 1);
        assert!(lines.may_give(&"eve"));
        lines.gave("eve", 1);
        assert!(!lines.may_give(&"eve") && lines.may_give(&"bob"));
        lines.begin_turn();
        assert!(lines.may_give(&"eve"));
    }

    #[test]
    fn few_sessions_of_each_account_are_called_in_turn() {
        let mut lines = Lines::default();
        for n in 0..3 * CALLED_PER_TURN_MAX {
            lines.push("eve", n);
        }
        lines.push("bob", 1_000);
        let mut first = lines.call();
        first.sort_unstable();
        let expected: Vec<_> = (0..CALLED_PER_TURN_MAX).chain([1_000]).collect();
        assert_eq!(first, expected, "some of eve, and bob beside them");
        // A session that is not done goes behind the others.
        lines.push("eve", 0);
        let rest: Vec<_> = (0..3).flat_map(|_| lines.call()).collect();
        let expected: Vec<_> = (CALLED_PER_TURN_MAX..3 * CALLED_PER_TURN_MAX).chain([0]).collect();
        assert_eq!(rest, expected);
        assert!(lines.is_empty());
    }
}
