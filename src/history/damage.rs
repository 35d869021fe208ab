//! Damage costs only itself: rows that can't be read are passed over, and reported once.

use std::sync::OnceLock;

use rusqlite::{Connection, ErrorCode};

use crate::{
    faults::{Fault, planted},
    limits::{DAMAGED_ISLANDS_MAX, DAMAGED_LOOKS_MAX, DAMAGED_LOOKS_NEAR_MAX},
};

/// Damage of the messages, as it was first seen.
#[derive(Debug, Default)]
pub(super) struct Damage(OnceLock<String>);

impl Damage {
    /// Returns the report, if anything was passed over.
    pub(super) fn report(&self) -> Option<String> {
        self.0.get().cloned()
    }

    /// Records a row that can't be read or removed.
    pub(super) fn record(&self, e: &rusqlite::Error) {
        self.0.get_or_init(|| {
            format!(
                "the history is damaged ({e}): some messages can't be read or removed; \
                 stop the server and restore a backup (`moot restore FILE`)"
            )
        });
    }
}

/// Returns true if SQLite found a page damaged.
pub(super) fn is_damaged(e: &rusqlite::Error) -> bool {
    let code = e.sqlite_error_code();
    matches!(code, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// Returns true if an error is of the row that was read, not of the reading: its page is damaged,
/// or a column has a value that was never written.
pub(super) fn is_damaged_row(e: &rusqlite::Error) -> bool {
    is_damaged(e) || e.sqlite_error_code().is_none()
}

/// Reads rows in the order of their places from `next` to `last`, and skips damaged ones.
///
/// `read` reads from one place to another. It moves the first to each row before it looks at it,
/// and behind the row afterwards. `leap` finds the next place that may be readable, after many that
/// are not. `next` is where the reading ended: behind `last`, where `read` had enough, or after a
/// bounded number of looks.
///
/// # Errors
/// Returns the first error that is not of a row.
pub(super) fn pass_over(
    damage: &Damage,
    next: &mut i64,
    last: i64,
    mut read: impl FnMut(&mut i64, i64) -> rusqlite::Result<()>,
    leap: impl Fn(i64, i64) -> rusqlite::Result<i64>,
) -> rusqlite::Result<()> {
    let (mut looks, mut near) = (0, 0);
    loop {
        let from = *next;
        match read(next, last) {
            Err(e) if is_damaged_row(&e) && !planted(Fault::DamageCostsTheRest) => {
                damage.record(&e);
            }
            done => return done,
        }
        looks += 1;
        near = if *next > from { 1 } else { near + 1 };
        // Whatever a damaged page says, it leads on.
        *next = from.max(*next);
        *next = if near <= DAMAGED_LOOKS_NEAR_MAX { *next + 1 } else { leap(*next, last)? };
        if *next > last || looks >= DAMAGED_LOOKS_MAX {
            return Ok(());
        }
    }
}

/// For rows whose numbers have no large holes.
#[expect(clippy::unnecessary_wraps, reason = "the other way of `pass_over`")]
pub(super) fn one_by_one(place: i64, _: i64) -> rusqlite::Result<i64> {
    Ok(place + 1)
}

/// Order in which messages are read by their ids. Places are ids, or negative ids.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

/// Finds a place behind `bad` from which messages can be read again, by doubling and halving: the
/// ids on one damaged page may span any number of removed ones. Readable rows between two damaged
/// pages may be missed.
pub(super) fn leap(
    connection: &Connection,
    order: Order,
    bad: i64,
    last: i64,
) -> rusqlite::Result<i64> {
    let (sql, sign) = match order {
        Order::OldestFirst => ("SELECT id FROM messages WHERE id >= ? ORDER BY id LIMIT 1", 1),
        Order::NewestFirst => {
            ("SELECT id FROM messages WHERE id <= ? ORDER BY id DESC LIMIT 1", -1)
        }
    };
    let mut nearest = connection.prepare_cached(sql)?;
    let mut is_good = |place: i64| match nearest.exists([sign * place]) {
        Err(e) if is_damaged(&e) => Ok(false),
        done => done.map(|_| true),
    };
    let mut step = 1_i64;
    while bad.saturating_add(step) <= last && !is_good(bad + step)? {
        step = step.saturating_mul(2);
    }
    let mut good = bad.saturating_add(step).min(last.saturating_add(1));
    let mut islands = 0;
    loop {
        let mut worst = bad;
        while good - worst > 1 {
            let middle = worst + (good - worst) / 2;
            if is_good(middle)? { good = middle } else { worst = middle }
        }
        // Another damaged page may have misled the halving.
        let near = (bad + 1..good - 1).rev().take(DAMAGED_LOOKS_NEAR_MAX as usize);
        let mut before = None;
        for place in near {
            if is_good(place)? {
                before = Some(place);
                break;
            }
        }
        match before {
            Some(place) if islands < DAMAGED_ISLANDS_MAX => (good, islands) = (place, islands + 1),
            _ => return Ok(good),
        }
    }
}
