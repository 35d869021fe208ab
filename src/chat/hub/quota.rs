//! Who is charged for what: all that a client causes is charged to its account.

use std::collections::HashMap;

use crate::{
    chat::member::{Peer, SessionId},
    limits::{STALL_BUDGET_MS, STALL_WINDOW_MS},
};

/// How much one of several may have of something: with what is free and what he has already, as if all
/// who have some of it, and one more, shared that. So there is always some left for whoever comes next,
/// and one's share shrinks as others compete.
pub(super) fn share(free: usize, own: usize, others: usize) -> usize {
    (free + own) / (others + 1)
}

/// Whom a session is charged to: a user id on a host's server, a process on a user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum AccountId {
    User(u32),
    Process { pid: u32, start: u64 },
}

impl AccountId {
    pub(super) fn of(peer: &Peer, host: bool) -> Self {
        match host {
            true => Self::User(peer.uid),
            false => Self::Process { pid: peer.pid, start: peer.start },
        }
    }
}

/// What one account holds now.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) sessions: usize,
    pub(super) in_flight_bytes: usize,
    /// Of last wills of its sessions.
    pub(super) will_bytes: usize,
    /// Sessions that wait until less of it is in flight.
    waiting: Vec<SessionId>,
    /// Time its members held windows shut, leaking away over `STALL_WINDOW_MS`.
    stall_us: u64,
    stall_at_us: u64,
}

impl Account {
    fn leak(&mut self, now_us: u64) {
        let passed = now_us.saturating_sub(self.stall_at_us);
        let leaked = passed.saturating_mul(STALL_BUDGET_MS) / STALL_WINDOW_MS;
        self.stall_us = self.stall_us.saturating_sub(leaked);
        self.stall_at_us = now_us;
    }

    /// Charges time for which its members held a window shut; true once the budget is spent.
    pub(super) fn charge_stall(&mut self, now_us: u64, stalled_us: u64) -> bool {
        self.leak(now_us);
        self.stall_us = (self.stall_us + stalled_us).min(STALL_WINDOW_MS * 1000);
        self.stall_us > STALL_BUDGET_MS * 1000
    }

    /// Whether its members may hold windows again.
    pub(super) fn may_stall(&mut self, now_us: u64) -> bool {
        self.leak(now_us);
        self.stall_us <= STALL_BUDGET_MS * 1000 / 2
    }
}

/// All accounts with anything to their name.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    accounts: HashMap<AccountId, Account>,
    in_flight_bytes_max: usize,
    /// May go on.
    freed: Vec<SessionId>,
}

impl Accounts {
    pub(super) fn of(&mut self, id: AccountId) -> &mut Account {
        self.accounts.entry(id).or_default()
    }

    pub(super) fn new(in_flight_bytes_max: usize) -> Self {
        Self { in_flight_bytes_max, ..Self::default() }
    }

    /// Whether an account has as much in flight as it may; then the session waits.
    pub(super) fn must_wait(&mut self, id: AccountId, session: SessionId) -> bool {
        let max = self.in_flight_bytes_max;
        let account = self.of(id);
        if account.in_flight_bytes < max {
            return false;
        }
        if !account.waiting.contains(&session) {
            account.waiting.push(session);
        }
        true
    }

    /// Sessions that waited and may go on.
    pub(super) fn take_freed(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.freed)
    }

    /// Ends one session of an account; the last one takes the account with it once nothing of it is
    /// in flight.
    pub(super) fn end_session(&mut self, id: AccountId) {
        let account = self.of(id);
        account.sessions -= 1;
        self.settle(id);
    }

    /// Gives back bytes that were published or refused.
    pub(super) fn release(&mut self, id: AccountId, bytes: usize) {
        let account = self.of(id);
        account.in_flight_bytes = account.in_flight_bytes.saturating_sub(bytes);
        let waiting = std::mem::take(&mut account.waiting);
        if self.of(id).in_flight_bytes <= self.in_flight_bytes_max / 2 {
            self.freed.extend(waiting);
        } else {
            self.of(id).waiting = waiting;
        }
        self.settle(id);
    }

    fn settle(&mut self, id: AccountId) {
        if self.accounts.get(&id).is_some_and(|a| a.sessions == 0 && a.in_flight_bytes == 0) {
            self.accounts.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_budget_comes_back_with_time() {
        let mut account = Account::default();
        assert!(!account.charge_stall(1_000_000, 60_000));
        assert!(account.charge_stall(1_060_000, 60_000));
        assert!(!account.may_stall(1_100_000));
        assert!(account.may_stall(11_000_000));
    }
}
