//! Accounts: all that a client causes is charged to its account.

use std::{collections::BTreeMap, hash::Hash};

use rustc_hash::FxHashMap;

use super::usage::UsageTable;
use crate::{
    chat::{
        member::{Peer, SessionId},
        rules::Role,
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{
        COMPETES_MS, INVITE_AGAIN_MS, INVITES_MAX, RECORDS_PER_USER_MAX, RETRY_PAUSE_MS_MAX,
        STALL_BUDGET_MS, STALL_WINDOW_MS, TURN_BYTES_MAX, TURN_BYTES_MIN, TURN_US_MIN,
    },
};

/// Returns the share that one of several may have of something: with what is free and what they
/// have already, as if all who have some of it, and one more, shared that. So there is always some
/// left for the next one, and one's share shrinks as others compete. While something is free, each
/// may have one.
#[must_use]
pub fn share(free: usize, own: usize, others: usize) -> usize {
    ((free + own) / (others + 1)).max(free.min(1))
}

/// Amount that one has of something that several have, and the amounts of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Holding {
    pub(super) own: usize,
    /// Number of others that have some; `others_have` is their total.
    pub(super) others: usize,
    pub(super) others_have: usize,
}

impl Holding {
    /// Counts what each holder has, who may occur several times.
    pub(super) fn of<K: Copy + Eq + Hash>(who: K, held: impl Iterator<Item = (K, usize)>) -> Self {
        let mut by_holder: FxHashMap<K, usize> = FxHashMap::default();
        for (holder, amount) in held {
            *by_holder.entry(holder).or_default() += amount;
        }
        let own = by_holder.remove(&who).unwrap_or(0);
        Self { own, others: by_holder.len(), others_have: by_holder.values().sum() }
    }

    /// Returns the part of `max` that it may have.
    pub(super) fn share(&self, max: usize) -> usize {
        let free = max.saturating_sub(self.own + self.others_have);
        share(free, self.own, self.others)
    }
}

/// Returns the holder with the largest amount, of holders who may occur several times.
pub(super) fn heaviest(held: impl Iterator<Item = (u32, usize)>) -> Option<u32> {
    let mut by_holder: BTreeMap<u32, usize> = BTreeMap::new();
    held.for_each(|(holder, amount)| *by_holder.entry(holder).or_default() += amount);
    by_holder.into_iter().max_by_key(|(_, amount)| *amount).map(|(holder, _)| holder)
}

/// Account of a session: a user id on a system server, a process on a user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum AccountId {
    User(u32),
    Process { pid: u32, start: u64 },
}

impl AccountId {
    pub(super) fn of(peer: &Peer, host: bool, session: SessionId) -> Self {
        match (host, peer.process()) {
            (true, _) => Self::User(peer.uid),
            (false, Some((pid, start))) => Self::Process { pid, start },
            // The kernel does not name the process: no other session is known to be of the same.
            (false, None) => Self::Process { pid: 0, start: session.0 },
        }
    }
}

/// Token bucket: an amount per second, and a second's worth at once; then it is empty until time
/// has passed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Bucket {
    /// When everything that was taken will have come in, nanoseconds of the same clock.
    paid_at_ns: u64,
}

impl Bucket {
    /// Takes something; more than there is leaves a debt. `per_second` 0: without end.
    pub fn take(&mut self, now_us: u64, amount: u64, per_second: u64) {
        let cost_ns = amount.saturating_mul(1_000_000_000).checked_div(per_second).unwrap_or(0);
        self.paid_at_ns = self.paid_at_ns.max(now_us * 1000).saturating_add(cost_ns);
    }

    /// Returns true if nothing is left.
    #[must_use]
    pub fn is_empty(&self, now_us: u64) -> bool {
        self.paid_at_ns > (now_us + 1_000_000) * 1000
    }
}

/// A user who is let into a room, and the role that lets them in.
type Invitation = (u32, StreamId, Role);

/// Present holdings of one account.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) sessions: usize,
    pub(super) in_flight_bytes: usize,
    /// Of last wills of its sessions.
    pub(super) will_bytes: usize,
    /// Records it caused: not handed to the store yet, and in the running transaction.
    records: usize,
    records_running: usize,
    /// Its last invitations, with the time of each, microseconds.
    invited: Vec<(Invitation, u64)>,
    /// Sessions that wait until less of it is in flight.
    waiting: Vec<SessionId>,
    /// Bytes that it may still have taken in this turn; negative where a frame was larger than the
    /// rest.
    credit: i64,
    /// The turn for which that is, and its time.
    turn: u64,
    turn_us: u64,
    /// When it last said or asked something, and when it last said something.
    active_us: u64,
    spoke_us: u64,
    messages: Bucket,
    bytes: Bucket,
    repairs: Bucket,
    /// Time its members held windows shut, leaking away over `STALL_WINDOW_MS`.
    stall_us: u64,
    stall_at_us: u64,
}

impl Account {
    /// Returns true if its user sends more than allowed.
    fn is_over_rate(&self, now_us: u64) -> bool {
        (self.messages.is_empty(now_us) || self.bytes.is_empty(now_us))
            && !planted(Fault::RateLimitNeverSlows)
    }

    /// Returns true if it holds anything now.
    fn is_needed(&self) -> bool {
        self.sessions > 0 || self.in_flight_bytes > 0 || self.unstored_records() > 0
    }

    fn unstored_records(&self) -> usize {
        self.records + self.records_running
    }

    /// Returns true if its waiting sessions may go on.
    fn has_room(&self, in_flight_bytes_max: usize) -> bool {
        self.in_flight_bytes <= in_flight_bytes_max / 2
            && self.unstored_records() < RECORDS_PER_USER_MAX
    }

    /// Returns true if it took more than has come in since.
    fn owes(&self, now_us: u64) -> bool {
        let buckets = [self.messages, self.bytes, self.repairs];
        buckets.iter().any(|b| b.paid_at_ns > now_us * 1000)
            || self.active_us > now_us.saturating_sub(COMPETES_MS * 1000)
            || self.stalled_us(now_us) > 0
    }

    /// Charged stall time that is not given back yet, microseconds.
    fn stalled_us(&self, now_us: u64) -> u64 {
        let passed = now_us.saturating_sub(self.stall_at_us);
        self.stall_us.saturating_sub(passed.saturating_mul(STALL_BUDGET_MS) / STALL_WINDOW_MS)
    }

    fn leak(&mut self, now_us: u64) {
        let at_us = now_us.max(self.stall_at_us);
        (self.stall_us, self.stall_at_us) = (self.stalled_us(at_us), at_us);
    }

    /// Charges time for which its members held a window shut; true once the budget is spent.
    pub(super) fn charge_stall(&mut self, now_us: u64, stalled_us: u64) -> bool {
        self.leak(now_us);
        self.stall_us = (self.stall_us + stalled_us).min(STALL_DEBT_MS_MAX * 1000);
        self.stall_us > STALL_BUDGET_MS * 1000 && !planted(Fault::StallBudgetNeverSpent)
    }

    /// Returns true if its members may hold windows again.
    pub(super) fn may_stall(&mut self, now_us: u64) -> bool {
        self.leak(now_us);
        self.stall_us <= STALL_BUDGET_MS * 1000 / 2
    }
}

/// Charged stall time at most: what is spent is back after the longest pause of a lagging member.
const STALL_DEBT_MS_MAX: u64 = STALL_BUDGET_MS * RETRY_PAUSE_MS_MAX / STALL_WINDOW_MS;

/// Limits of each user per second; 0: without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Number of messages.
    pub messages: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// Bytes sent again.
    pub repair_bytes: u64,
}

/// Period in which the competing accounts are counted, microseconds.
const COUNT_EVERY_US: u64 = COMPETES_MS * 1000 / 10;

/// All accounts with anything to their name, and those that had it a moment ago.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    rates: Rates,
    pub(super) usage: UsageTable,
    /// Number of the present turn, and its time, microseconds.
    turn: u64,
    turn_us: u64,
    /// Bytes that each account has of a turn.
    quantum: i64,
    /// Accounts that said or asked something lately, and those of them that said something.
    competing: usize,
    speaking: usize,
    counted_us: u64,
    /// Sessions that wait because their user sends too much, and since when.
    slowed: Vec<(AccountId, SessionId, u64)>,
    accounts: FxHashMap<AccountId, Account>,
    in_flight_bytes_max: usize,
    /// Records are counted for some account.
    has_records: bool,
    /// May go on.
    freed: Vec<SessionId>,
}

impl Accounts {
    pub(super) fn of(&mut self, id: AccountId) -> &mut Account {
        self.accounts.entry(id).or_default()
    }

    pub(super) fn new(in_flight_bytes_max: usize, rates: Rates) -> Self {
        let quantum = TURN_BYTES_MAX as i64;
        Self { in_flight_bytes_max, rates, quantum, turn: 1, ..Self::default() }
    }

    // ---- turns -------------------------------------------------------------------------------

    /// Returns the bytes that may be taken from an account in this turn: each has its share.
    pub(super) fn credit_left(&mut self, id: AccountId) -> usize {
        usize::try_from(self.credit(id).credit).unwrap_or(0)
    }

    /// Returns the bytes that an account has left of this turn; negative if it took more.
    #[cfg(test)]
    pub(super) fn left(&mut self, id: AccountId) -> i64 {
        self.credit(id).credit
    }

    /// Takes from an account's share of this turn.
    pub(super) fn charge(&mut self, id: AccountId, bytes: usize) {
        self.credit(id).credit -= bytes as i64;
    }

    /// An account said or asked something: it competes with the others.
    pub(super) fn note_active(&mut self, now_us: u64, id: AccountId) {
        self.of(id).active_us = now_us;
    }

    fn credit(&mut self, id: AccountId) -> &mut Account {
        let (turn, turn_us, quantum) = (self.turn, self.turn_us, self.quantum);
        let account = self.of(id);
        if account.turn != turn {
            // Unused credit is not saved. A debt is paid with time as well: empty turns follow each
            // other at once.
            let passed_us = turn_us.saturating_sub(account.turn_us).min(TURN_US_MIN) as i64;
            let paid = match account.credit {
                ..0 => quantum * passed_us / TURN_US_MIN as i64,
                _ => quantum,
            };
            (account.turn, account.turn_us) = (turn, turn_us);
            account.credit = (account.credit + paid).min(quantum);
        }
        account
    }

    /// Begins another turn: each share is as large as the number of those who compete lets it be.
    pub(super) fn next_turn(&mut self, now_us: u64) {
        self.turn += 1;
        self.turn_us = now_us;
        if now_us.saturating_sub(self.counted_us) >= COUNT_EVERY_US {
            self.counted_us = now_us;
            let since_us = now_us.saturating_sub(COMPETES_MS * 1000);
            // A user who left with a debt finds it on return.
            self.accounts.retain(|_, a| a.is_needed() || a.owes(now_us));
            self.competing = self.accounts.values().filter(|a| a.active_us > since_us).count();
            self.speaking = self.accounts.values().filter(|a| a.spoke_us > since_us).count();
            let share = TURN_BYTES_MAX / self.competing.max(1);
            // One alone may fill the largest bodies; several share a short turn.
            let share = if self.competing > 1 { share / 2 } else { share };
            self.quantum = share.max(TURN_BYTES_MIN) as i64;
        }
    }

    /// Accounts that say something these days.
    pub(super) fn speaking(&self) -> usize {
        self.speaking
    }

    /// Changes what an account may have per second.
    pub(super) fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    // ---- rates -------------------------------------------------------------------------------

    /// Counts messages against what their user may have a second.
    pub(super) fn count_messages(
        &mut self,
        now_us: u64,
        id: AccountId,
        messages: usize,
        bytes: usize,
    ) {
        let rates = self.rates;
        let account = self.of(id);
        account.spoke_us = now_us;
        account.messages.take(now_us, messages as u64, rates.messages);
        account.bytes.take(now_us, bytes as u64, rates.bytes);
    }

    /// Returns true if a user sends more than allowed.
    pub(super) fn is_over_rate(&mut self, now_us: u64, id: AccountId) -> bool {
        self.of(id).is_over_rate(now_us)
    }

    /// Returns true if a session has to wait because its user sends too much; then
    /// [`Accounts::take_slowed`] gives it once it may go on.
    pub(super) fn must_slow_down(
        &mut self,
        now_us: u64,
        id: AccountId,
        session: SessionId,
    ) -> bool {
        let over = self.is_over_rate(now_us, id);
        if over && !self.slowed.iter().any(|(_, of, _)| *of == session) {
            self.slowed.push((id, session, now_us));
        }
        over
    }

    /// Sessions that waited long enough, each with how long (microseconds).
    pub(super) fn take_slowed(&mut self, now_us: u64) -> Vec<(SessionId, u64)> {
        let mut free = Vec::new();
        let mut slowed = std::mem::take(&mut self.slowed);
        slowed.retain(|(id, session, since_us)| {
            let over = self.is_over_rate(now_us, *id);
            if !over && !planted(Fault::SlowedSessionNeverResumed) {
                free.push((*session, now_us.saturating_sub(*since_us)));
            }
            over
        });
        self.slowed = slowed;
        free
    }

    pub(super) fn has_slowed(&self) -> bool {
        !self.slowed.is_empty()
    }

    pub(super) fn forget_slowed(&mut self, session: SessionId) {
        self.slowed.retain(|(_, of, _)| *of != session);
    }

    /// Returns true if something may be sent again to sessions of an account now.
    pub(super) fn may_repair(&mut self, now_us: u64, id: AccountId) -> bool {
        !self.of(id).repairs.is_empty(now_us) || planted(Fault::RepairBytesUnbounded)
    }

    pub(super) fn count_repair(&mut self, now_us: u64, id: AccountId, bytes: usize) {
        let per_second = self.rates.repair_bytes;
        self.of(id).repairs.take(now_us, bytes as u64, per_second);
    }

    // ---- sessions ----------------------------------------------------------------------------

    /// Returns the sessions of an account.
    pub(super) fn sessions_of(&self, id: AccountId) -> usize {
        self.accounts.get(&id).map_or(0, |account| account.sessions)
    }

    /// Accounts with sessions, one aside.
    pub(super) fn others(&self, id: AccountId) -> usize {
        self.accounts.iter().filter(|(of, a)| **of != id && a.sessions > 0).count()
    }

    /// Bytes in flight of each account that has some.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> Vec<(AccountId, usize)> {
        let all = self.accounts.iter().map(|(id, account)| (*id, account.in_flight_bytes));
        all.filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// Returns true if an account has as much in flight as it may.
    pub(super) fn is_full(&mut self, id: AccountId) -> bool {
        let bytes_max = self.in_flight_bytes_max;
        let account = self.of(id);
        (account.in_flight_bytes >= bytes_max && !planted(Fault::AccountBytesUnbounded))
            || (account.unstored_records() >= RECORDS_PER_USER_MAX
                && !planted(Fault::AccountRecordsUnbounded))
    }

    /// Returns true if an account may make this invitation now.
    pub(super) fn may_invite(&mut self, now_us: u64, id: AccountId, to: Invitation) -> bool {
        let invited = &mut self.of(id).invited;
        invited.retain(|(_, at_us)| now_us.saturating_sub(*at_us) < INVITE_AGAIN_MS * 1000);
        invited.len() < INVITES_MAX && invited.iter().all(|(of, _)| *of != to)
    }

    /// Counts an invitation.
    pub(super) fn count_invitation(&mut self, now_us: u64, id: AccountId, to: Invitation) {
        self.of(id).invited.push((to, now_us));
    }

    /// Counts records that an account caused.
    pub(super) fn add_records(&mut self, id: AccountId, records: usize) {
        self.of(id).records += records;
        self.has_records |= records > 0;
    }

    /// All records counted so far are in the transaction that begins.
    pub(super) fn begin_commit(&mut self) {
        for account in self.accounts.values_mut() {
            account.records_running += std::mem::take(&mut account.records);
        }
    }

    /// The running transaction ended. Records that are `all` gone are counted no longer.
    pub(super) fn end_commit(&mut self, all: bool) {
        if !self.has_records {
            return;
        }
        self.has_records = !all;
        let bytes_max = self.in_flight_bytes_max;
        for account in self.accounts.values_mut() {
            account.records_running = 0;
            if all {
                account.records = 0;
            }
            if account.has_room(bytes_max) {
                self.freed.append(&mut account.waiting);
            }
        }
    }

    /// Returns true if an account is full; then the session waits.
    pub(super) fn must_wait(&mut self, id: AccountId, session: SessionId) -> bool {
        if !self.is_full(id) {
            return false;
        }
        let account = self.of(id);
        if !account.waiting.contains(&session) {
            account.waiting.push(session);
        }
        true
    }

    /// Sessions that waited and may go on.
    pub(super) fn take_freed(&mut self) -> Vec<SessionId> {
        if planted(Fault::AccountWaitersNeverResumed) {
            self.freed.clear();
        }
        std::mem::take(&mut self.freed)
    }

    /// Ends one session of an account.
    pub(super) fn end_session(&mut self, id: AccountId) {
        let account = self.of(id);
        account.sessions -= 1;
    }

    /// Gives back bytes that were published or refused.
    pub(super) fn release(&mut self, id: AccountId, bytes: usize) {
        let account = self.of(id);
        account.in_flight_bytes = account.in_flight_bytes.saturating_sub(bytes);
        let mut waiting = std::mem::take(&mut account.waiting);
        let bytes_max = self.in_flight_bytes_max;
        if self.of(id).has_room(bytes_max) {
            self.freed.append(&mut waiting);
        } else {
            self.of(id).waiting = waiting;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::names::UserName;

    #[test]
    fn share_shrinks_with_others_and_leaves_room_for_one() {
        assert_eq!(share(100, 0, 0), 100);
        assert_eq!(share(100, 0, 1), 50, "somebody else has some");
        // A user who took all they could leaves as much for the next.
        assert_eq!(share(50, 50, 1), 50);
        assert_eq!(share(25, 25, 3), 12);
        assert_eq!(
            (share(1, 0, 9), share(0, 0, 9)),
            (1, 0),
            "the last one is for whoever has none"
        );
    }

    #[test]
    fn next_account_always_finds_a_share() {
        // Each takes all that they may, up to a cap of a quarter.
        let (max, cap) = (1_024, 256);
        let mut all: Vec<(u32, usize)> = Vec::new();
        for uid in 0..50 {
            loop {
                let holding = Holding::of(uid, all.iter().copied());
                if holding.own >= cap.min(holding.share(max)) {
                    assert!(holding.own > 0, "user {uid} gets nothing");
                    break;
                }
                all.push((uid, 1));
            }
        }
        assert!(all.len() <= max);
        let holding = Holding::of(0, all.iter().copied());
        assert_eq!((holding.own, holding.others), (256, 49));
        assert_eq!(holding.own + holding.others_have, all.len());
    }

    #[test]
    fn a_bucket_gives_a_second_at_once_and_then_so_much_a_second() {
        let mut bucket = Bucket::default();
        for _ in 0..10 {
            assert!(!bucket.is_empty(5_000_000));
            bucket.take(5_000_000, 1, 10);
        }
        bucket.take(5_000_000, 1, 10);
        assert!(bucket.is_empty(5_000_000));
        assert!(!bucket.is_empty(5_100_000));
        bucket.take(5_000_000, u64::from(u32::MAX), 0);
        assert!(!bucket.is_empty(5_100_000), "no rate, no end");
    }

    #[test]
    fn session_of_an_unnamed_process_has_an_account_of_its_own() {
        let peer = |pid| Peer { uid: 1, user: UserName::new("ann").unwrap(), pid, start: 5 };
        let of = |pid, host, session| AccountId::of(&peer(pid), host, SessionId(session));
        assert_eq!(of(7, false, 1), of(7, false, 2));
        assert_ne!(of(0, false, 1), of(0, false, 2));
        assert_eq!(of(0, true, 1), of(7, true, 2));
    }

    #[test]
    fn account_over_its_share_waits_for_the_next_turn() {
        let mut accounts = Accounts::new(1, Rates::default());
        let (loud, quiet) = (AccountId::User(1), AccountId::User(2));
        accounts.note_active(1, loud);
        accounts.charge(loud, TURN_BYTES_MAX + 10);
        assert!(accounts.credit_left(loud) == 0 && accounts.credit_left(quiet) > 0);
        accounts.note_active(1, quiet);
        accounts.charge(quiet, 100);
        accounts.next_turn(2_000_000);
        assert!(accounts.credit_left(loud) > 0, "its debt was small");
        // Both spoke within the last second: turns are shorter.
        accounts.note_active(2_000_000, loud);
        accounts.note_active(2_000_000, quiet);
        accounts.next_turn(2_200_000);
        accounts.charge(loud, TURN_BYTES_MAX / 4);
        assert!(accounts.credit_left(loud) == 0 && accounts.credit_left(quiet) > 0);
    }

    #[test]
    fn accounts_that_speak_are_counted_apart_from_those_that_ask() {
        let mut accounts = Accounts::new(1, Rates::default());
        let (speaks, asks) = (AccountId::User(1), AccountId::User(2));
        accounts.note_active(1_000_000, asks);
        accounts.note_active(1_000_000, speaks);
        accounts.count_messages(1_000_000, speaks, 1, 10);
        accounts.next_turn(1_100_000);
        assert_eq!((accounts.competing, accounts.speaking()), (2, 1));
        accounts.next_turn(1_200_000 + COMPETES_MS * 1000);
        assert_eq!((accounts.competing, accounts.speaking()), (0, 0), "that was long ago");
    }

    #[test]
    fn a_stall_budget_comes_back_with_time() {
        let mut account = Account::default();
        let most = STALL_BUDGET_MS * 600;
        assert!(!account.charge_stall(1_000_000, most));
        assert!(account.charge_stall(1_000_000 + most, most));
        assert!(!account.may_stall(1_100_000));
        assert!(account.may_stall(11_000_000));
        // However long it was, what is spent is back after the longest pause of a member.
        account.charge_stall(12_000_000, 3_600_000_000);
        assert!(!account.may_stall(13_000_000));
        assert!(account.may_stall(12_000_000 + RETRY_PAUSE_MS_MAX * 1000));
    }
}
