//! Ages of messages, although clocks go wrong: the oldest messages that may go, and the times at
//! which the present time is believed.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params, params_from_iter};

use super::damage::{Damage, Order, leap, one_by_one, pass_over};
use crate::{
    faults::{Fault, planted},
    limits::{
        CLOCK_LEAP_MS, CLOCK_LEAP_MS_HELD, HISTORY_AHEAD_ROWS, HISTORY_EARLIEST_US, SUBMITS_KEPT_MS,
    },
};

/// Messages by a number that rises, which is the last column: their ids, or their numbers in one
/// stream.
const OLDEST: &str =
    "SELECT id, stream, seq, ts, id FROM messages WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
const OF_STREAM: &str = "SELECT id, stream, seq, ts, seq FROM messages
    WHERE seq BETWEEN ?1 AND ?2 AND stream = ?3 ORDER BY seq";

/// A message that may have to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Old {
    pub(super) id: i64,
    pub(super) stream: i64,
    pub(super) seq: u64,
    pub(super) ts: i64,
}

/// A search for the oldest messages that are too old, by their ids.
///
/// Ids rise in the order of commits, and times should. Where a clock was wrong the majority
/// decides: everything up to an id goes unless more of it is young than too old. So messages from a
/// time when the clock was ahead go with those that came after them, and messages from a time when
/// it was behind take no more than their number along.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ages {
    /// Oldest message when the search began.
    oldest: i64,
    /// Messages before this id were looked at.
    next: i64,
    /// By how many the too old ones are more than the young ones, so far and at most.
    surplus: i64,
    surplus_max: i64,
    /// Messages up to this id are too old.
    upto: i64,
    /// The search is valid from one time to another: then the next of the messages becomes too old.
    since_us: i64,
    until_us: i64,
}

impl Ages {
    /// Continues the search for a history whose oldest message is this one, or starts over.
    pub(super) fn resume(&mut self, oldest: i64, now_us: i64, keep_us: i64) {
        let is_valid = oldest == self.oldest && now_us < self.until_us;
        if now_us < self.since_us || !(is_valid || oldest <= self.upto) {
            let until_us = now_us.saturating_add(keep_us.max(1));
            let (next, since_us) = (oldest, now_us);
            *self = Self { oldest, next, since_us, until_us, ..Self::default() };
        }
    }

    /// The id from which on messages are still to be looked at, if any are.
    pub(super) fn wants(&self) -> Option<i64> {
        (self.upto == 0 && self.is_open()).then_some(self.next)
    }

    fn is_open(&self) -> bool {
        self.surplus_max - self.surplus < HISTORY_AHEAD_ROWS as i64
    }

    /// Looks at the next messages.
    pub(super) fn look(&mut self, rows: &[Old], now_us: i64, keep_us: i64) {
        let oldest_us = now_us.saturating_sub(keep_us);
        for row in rows {
            if !self.is_open() {
                break;
            }
            self.next = row.id + 1;
            if row.ts > now_us {
                // Certainly wrong: as old as the messages around it.
                if !planted(Fault::FutureTimesStopRetention) {
                    self.until_us = self.until_us.min(row.ts);
                    continue;
                }
            }
            if row.ts >= oldest_us {
                self.surplus -= 1;
                self.until_us = self.until_us.min(row.ts.saturating_add(keep_us).saturating_add(1));
            } else if row.ts >= HISTORY_EARLIEST_US || self.surplus >= self.surplus_max {
                self.surplus += 1;
                if self.surplus >= self.surplus_max {
                    (self.surplus_max, self.upto) = (self.surplus, row.id);
                }
            }
        }
    }

    /// The id up to which messages are too old; 0 if none is.
    pub(super) fn too_old_upto(&self) -> i64 {
        self.upto
    }
}

/// A judge of the wall clock, by monotonic time. One wrong reading must not make everything too
/// old.
#[derive(Debug)]
pub(super) struct Clock {
    believed: (Instant, i64),
    /// The clock has leapt to a time that is not believed yet.
    doubted: Option<(Instant, i64)>,
}

/// Trust in the time of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Believed,
    /// Much later than expected.
    Ahead,
    /// Much earlier than the newest message.
    Behind,
}

impl Clock {
    /// The time that has passed since the newest message is not known: it may be as long as
    /// messages are kept.
    pub(super) fn new(now: (Instant, i64), newest_us: Option<i64>, keep: Option<Duration>) -> Self {
        let latest_us = newest_us.zip(keep).map_or(i64::MAX, |(newest_us, keep)| {
            newest_us.saturating_add(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX))
        });
        Self { believed: (now.0, now.1.min(latest_us)), doubted: None }
    }

    /// Judges a reading. A leap is believed once the clock stayed there for a while.
    pub(super) fn judge(&mut self, now: (Instant, i64)) -> Reading {
        let leap_us = CLOCK_LEAP_MS.cast_signed() * 1000;
        let gain_us = |of: (Instant, i64)| {
            let passed = i64::try_from((now.0 - of.0).as_micros()).unwrap_or(i64::MAX);
            now.1.saturating_sub(of.1).saturating_sub(passed)
        };
        let gained_us = gain_us(self.believed);
        let leapt = |gained_us: i64| gained_us.saturating_abs() > leap_us;
        let since = *self.doubted.get_or_insert(now);
        let held = now.0 - since.0 >= Duration::from_millis(CLOCK_LEAP_MS_HELD);
        if !leapt(gained_us) || (held && !leapt(gain_us(since))) || planted(Fault::LeapBelieved) {
            *self = Self { believed: now, doubted: None };
            return Reading::Believed;
        }
        if leapt(gain_us(since)) {
            self.doubted = Some(now);
        }
        if gained_us > 0 { Reading::Ahead } else { Reading::Behind }
    }
}

/// A submit in the order of its table: user id, client instance, counter.
pub(super) type SubmitKey = (i64, Vec<u8>, i64);

/// Looks at some submits behind one; those are forgotten that are too old to be submitted again.
/// Returns the last one, if there may be more.
///
/// Their times have no index: each commit would pay for it.
pub(super) fn forget_submits(
    connection: &Connection,
    after: &SubmitKey,
    now_us: i64,
    rows_max: u64,
) -> rusqlite::Result<Option<SubmitKey>> {
    let transaction = connection.unchecked_transaction()?;
    let sql = "SELECT uid, instance, counter, ts FROM submits
               WHERE (uid, instance, counter) > (?, ?, ?) ORDER BY uid, instance, counter LIMIT ?";
    let mut select = transaction.prepare_cached(sql)?;
    let rows = select.query_map(params![after.0, after.1, after.2, rows_max], |row| {
        Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?))
    })?;
    let rows: Vec<(SubmitKey, i64)> = rows.collect::<rusqlite::Result<_>>()?;
    drop(select);
    let forget_us = now_us - SUBMITS_KEPT_MS.cast_signed() * 1000;
    let one = "WHERE uid = ?1 AND instance = ?2 AND counter = ?3";
    for ((uid, instance, counter), ts) in &rows {
        if *ts > now_us {
            // Of a clock that was wrong: it counts from now on.
            let sql = format!("UPDATE submits SET ts = ?4 {one}");
            transaction.prepare_cached(&sql)?.execute(params![uid, instance, counter, now_us])?;
        } else if *ts < forget_us {
            let sql = format!("DELETE FROM submits {one}");
            transaction.prepare_cached(&sql)?.execute(params![uid, instance, counter])?;
        }
    }
    transaction.commit()?;
    let is_full = rows.len() as u64 == rows_max;
    Ok(rows.into_iter().next_back().map(|(key, _)| key).filter(|_| is_full))
}

/// Reads messages of a range, of all streams by their ids or of one by their numbers.
pub(super) fn rows(
    connection: &Connection,
    damage: &Damage,
    stream: Option<i64>,
    (next, last): (&mut i64, i64),
    rows_max: u64,
) -> rusqlite::Result<Vec<Old>> {
    let sql = if stream.is_some() { OF_STREAM } else { OLDEST };
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = Vec::new();
    let read = |next: &mut i64, last: i64| {
        let values = [Some(*next), Some(last), stream].into_iter().flatten();
        let mut found = select.query(params_from_iter(values))?;
        while (rows.len() as u64) < rows_max {
            let Some(row) = found.next()? else {
                *next = last.saturating_add(1).max(*next);
                break;
            };
            *next = row.get(4)?;
            let (id, stream, seq, ts) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            rows.push(Old { id, stream, seq, ts });
            *next += 1;
        }
        Ok(())
    };
    let leap = |bad, last| match stream {
        None => leap(connection, Order::OldestFirst, bad, last),
        Some(_) => one_by_one(bad, last),
    };
    pass_over(damage, next, last, read, leap)?;
    Ok(rows)
}

/// Progress of removal, which goes in small steps.
pub(super) struct RemovalProgress {
    /// Id before which all messages are removed, or can't be.
    pub(super) from: i64,
    /// Row of a deleted room, and the number before which its messages are removed.
    pub(super) purged: (i64, i64),
    pub(super) ages: Ages,
    pub(super) clock: Clock,
    /// Submit after which to look for old ones, while there are more.
    pub(super) submits_from: Option<SubmitKey>,
}

impl RemovalProgress {
    pub(super) fn new(clock: Clock) -> Self {
        Self { from: 1, purged: (0, 0), ages: Ages::default(), clock, submits_from: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;
    const KEEP_US: i64 = 30 * DAY_US;
    /// Long after the earliest time.
    const NOW_US: i64 = HISTORY_EARLIEST_US + 1_000 * DAY_US;

    /// Counts the messages that go, of these ages in days, one search after another.
    fn removed(ages: &mut Ages, days: &[i64], passed: i64) -> usize {
        let now_us = NOW_US + passed;
        let rows = days.iter().zip(1..).map(|(days, id)| {
            let ts = NOW_US - days * DAY_US;
            Old { id, stream: 1, seq: id.cast_unsigned(), ts }
        });
        let rows: Vec<Old> = rows.collect();
        let mut gone = 0;
        while let Some(oldest) = rows.get(gone) {
            ages.resume(oldest.id, now_us, KEEP_US);
            while let Some(next) = ages.wants() {
                let some = &rows[next as usize - 1..];
                ages.look(&some[..some.len().min(7)], now_us, KEEP_US);
                if some.len() <= 7 {
                    break;
                }
            }
            let upto = usize::try_from(ages.too_old_upto()).unwrap();
            if upto <= gone {
                break;
            }
            // In small pieces.
            gone = upto.min(gone + 3);
        }
        gone
    }

    fn first_removed(days: &[i64]) -> usize {
        removed(&mut Ages::default(), days, 0)
    }

    fn many(days: i64, count: usize) -> impl Iterator<Item = i64> {
        std::iter::repeat_n(days, count)
    }

    #[test]
    fn majority_tells_how_old_the_oldest_messages_are() {
        for (what, days, gone) in [
            ("rising times", vec![90, 50, 31, 29, 10, 0], 3),
            ("ahead by 20 days", vec![10, 31, 29, 10], 2),
            ("ahead, nothing old behind", vec![10, 29, 28], 0),
            ("to come", vec![-900, 31, 29], 2),
            ("to come alone", vec![-900, -901], 0),
            ("some that were behind", vec![20, 20, 20, 40, 40, 19, 18], 0),
            ("of a clock that was not set", vec![20, 20_000, 20_000, 20_000, 20_000, 19], 0),
            ("such ones as the oldest", vec![20_000, 20_000, 20], 2),
        ] {
            assert_eq!(first_removed(&days), gone, "{what}");
        }
        let block = |ahead: usize, old: usize| -> Vec<i64> {
            many(10, ahead).chain(many(31, old)).chain(many(29, 5_000)).collect()
        };
        assert_eq!(first_removed(&block(600, 600)), 1_200);
        assert_eq!(first_removed(&block(600, 599)), 0);
        // No further than a bound.
        let bound = HISTORY_AHEAD_ROWS;
        assert_eq!(first_removed(&block(bound - 1, bound)), 2 * bound - 1);
        assert_eq!(first_removed(&block(bound, bound)), 0);
    }

    #[test]
    fn search_for_old_messages_is_repeated_when_time_passes() {
        let mut ages = Ages::default();
        let mut days = vec![10, 10, 31, 29, 28];
        assert_eq!(removed(&mut ages, &days, 0), 0);
        // What came later is looked at without a new search.
        let looked = ages.next;
        days.push(0);
        assert_eq!((removed(&mut ages, &days, 1), looked), (0, 6));
        assert_eq!(ages.next, 7);
        assert_eq!(removed(&mut ages, &days, DAY_US + 1), 4, "two are old now, against two");
    }

    #[test]
    fn leap_of_the_clock_is_believed_when_it_lasts() {
        let start = Instant::now();
        let at = |s: u64, us: i64| (start + Duration::from_secs(s), NOW_US + us);
        let s = 1_000_000;
        let far = 70 * 365 * DAY_US;
        let held_s = CLOCK_LEAP_MS_HELD / 1000;
        let keep = Some(Duration::from_secs(3_600));
        let begin = || Clock::new(at(0, 0), Some(NOW_US), keep);
        let mut clock = begin();
        let mut judge = |passed: u64, us: i64| clock.judge(at(passed, us));
        assert_eq!(judge(1, s), Reading::Believed);
        // Somewhat more, as after a correction.
        assert_eq!(judge(2, 60 * s), Reading::Believed);
        assert_eq!(judge(3, far), Reading::Ahead);
        assert_eq!(judge(held_s, far + held_s.cast_signed() * s), Reading::Ahead);
        assert_eq!(judge(held_s + 1, 61 * s), Reading::Believed);
        // It counts from the last leap.
        assert_eq!(judge(held_s + 2, far), Reading::Ahead);
        assert_eq!(judge(held_s + 3, 2 * far), Reading::Ahead);
        assert_eq!(judge(2 * held_s + 2, 2 * far), Reading::Ahead);
        assert_eq!(judge(2 * held_s + 3, 2 * far), Reading::Believed);
        assert_eq!(judge(2 * held_s + 4, 0), Reading::Behind);
        // What happened before a start is not known, but for the newest message.
        let after = |days: i64| Clock::new(at(0, days * DAY_US), Some(NOW_US), keep);
        assert_eq!(after(10).judge(at(0, 10 * DAY_US)), Reading::Ahead);
        let month = Some(Duration::from_secs(30 * 86_400));
        let mut off = Clock::new(at(0, 20 * DAY_US), Some(NOW_US), month);
        assert_eq!(off.judge(at(0, 20 * DAY_US)), Reading::Believed);
        let mut none = Clock::new(at(0, far), None, keep);
        assert_eq!(none.judge(at(0, far)), Reading::Believed);
    }

    #[test]
    fn submits_are_looked_at_in_small_steps() {
        let db = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE submits (uid INTEGER, instance BLOB, counter INTEGER, ts INTEGER,
                     PRIMARY KEY (uid, instance, counter)) WITHOUT ROWID";
        db.execute(table, ()).unwrap();
        let now_us = NOW_US;
        for number in 0_u8..100 {
            let ts = match number % 4 {
                0 => now_us - 2 * DAY_US,
                1 => now_us + DAY_US,
                _ => now_us - 1,
            };
            let sql = "INSERT INTO submits VALUES (?, ?, ?, ?)";
            db.execute(sql, params![number / 50, [number / 10; 16], number, ts]).unwrap();
        }
        let count = |sql: &str| db.query_row(sql, (), |row| row.get::<_, u64>(0)).unwrap();
        let wrong = format!("SELECT count(*) FROM submits WHERE ts > {now_us}");
        let mut after = Some(SubmitKey::default());
        let mut steps = 0;
        while let Some(from) = after {
            let before = (count("SELECT count(*) FROM submits"), count(&wrong));
            after = forget_submits(&db, &from, now_us, 16).unwrap();
            let left = (count("SELECT count(*) FROM submits"), count(&wrong));
            assert!(before.0 - left.0 <= 4 && before.1 - left.1 <= 4, "{before:?} {left:?}");
            steps += 1;
        }
        assert_eq!(steps, 7);
        assert_eq!((count("SELECT count(*) FROM submits"), count(&wrong)), (75, 0));
        let plan = "EXPLAIN QUERY PLAN SELECT uid, instance, counter, ts FROM submits
                    WHERE (uid, instance, counter) > (0, x'00', 0) ORDER BY uid, instance, counter";
        let plan: String = db.query_row(plan, (), |row| row.get(3)).unwrap();
        assert!(plan.starts_with("SEARCH"), "{plan}");
    }
}
