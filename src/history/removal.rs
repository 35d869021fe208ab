//! Removal of messages that are too old, too many, or of deleted rooms.

use std::{
    collections::HashMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rusqlite::{ErrorCode, OptionalExtension as _, params};

use super::{
    damage::is_damaged_row,
    retention::{Old, Reading, forget_submits, rows},
    schema::{FORGOTTEN, set_fact, size_of},
    write::Writer,
};
use crate::limits::{HISTORY_CHUNK_ROWS, HISTORY_MESSAGE_BYTES, SUBMITS_FORGET_MS};

const FIRST: &str = "UPDATE streams SET first = max(first, ?2) WHERE id = ?1";

impl Writer {
    /// Removes some of what is too old, too much, or of a deleted room. Returns true if there may
    /// be more.
    pub(super) fn retain(&mut self, rows_max: u64) -> bool {
        self.times.retained = Instant::now();
        let done = self.retain_some(rows_max.min(HISTORY_CHUNK_ROWS as u64));
        // What fails here is tried again later. Of a full disk the next commit learns as well.
        let failure = done.as_ref().err();
        let failure = failure.filter(|e| e.sqlite_error_code() != Some(ErrorCode::DiskFull));
        let failure = failure.map(|e| format!("old messages of the history can't be removed: {e}"));
        *self.shared.retention_failure() = failure;
        done.unwrap_or(false)
    }

    fn retain_some(&mut self, rows_max: u64) -> rusqlite::Result<bool> {
        self.shared.bytes.store(size_of(&self.connection)?, Ordering::Relaxed);
        if self.remove_deleted(rows_max)? {
            return Ok(true);
        }
        if let Some(max) = self.retention.bytes_max {
            // No more than is too much, by what a message takes on the average. The index is
            // counted by that, too: it gives up its space later.
            let messages = self.shared.messages.load(Ordering::Relaxed).max(1);
            let share = self.shared.index_share.load(Ordering::Relaxed);
            let index = share.saturating_mul(messages) / 1000;
            let bytes = self.shared.bytes.load(Ordering::Relaxed) + index;
            let excess = bytes.saturating_sub(max);
            if excess > 0 {
                let each = (bytes / messages).max(1);
                let oldest = self.oldest(0, (excess / each + 1).min(rows_max))?;
                // Nothing is left, or the rest is not made of messages.
                return self.remove_oldest(&oldest);
            }
        }
        let now_us = self.shared.wall_us();
        let reading = self.removal.clock.judge((Instant::now(), now_us));
        if let Some(keep) = self.retention.keep.filter(|_| reading != Reading::Ahead) {
            let keep_us = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
            if self.remove_too_old(now_us, keep_us, rows_max)? {
                return Ok(true);
            }
        }
        let every = Duration::from_millis(SUBMITS_FORGET_MS);
        let is_due = self.removal.submits_from.is_some()
            || self.times.forgot.is_none_or(|at| at.elapsed() >= every);
        if is_due && reading == Reading::Believed {
            self.times.forgot = Some(Instant::now());
            let after = self.removal.submits_from.take().unwrap_or_default();
            self.removal.submits_from = forget_submits(&self.connection, &after, now_us, rows_max)?;
            // The newest row stays: SQLite would give its id to the next stream.
            let sql = "DELETE FROM streams WHERE gone = ?1 AND purge = 0
                       AND id < (SELECT max(id) FROM streams)";
            self.connection.prepare_cached(sql)?.execute([FORGOTTEN])?;
        }
        Ok(self.removal.submits_from.is_some())
    }

    /// Removes some messages that are too old. Returns true if there may be more.
    fn remove_too_old(
        &mut self,
        now_us: i64,
        keep_us: i64,
        rows_max: u64,
    ) -> rusqlite::Result<bool> {
        let Some(oldest) = self.oldest(0, 1)?.first().map(|row| row.id) else { return Ok(false) };
        self.removal.ages.resume(oldest, now_us, keep_us);
        let mut is_full = false;
        if let Some(next) = self.removal.ages.wants() {
            let rows = self.oldest(next, HISTORY_CHUNK_ROWS as u64)?;
            self.removal.ages.look(&rows, now_us, keep_us);
            is_full = rows.len() == HISTORY_CHUNK_ROWS;
        }
        let upto = self.removal.ages.too_old_upto();
        if upto == 0 {
            return Ok(is_full && self.removal.ages.wants().is_some());
        }
        let mut old = self.oldest(0, rows_max)?;
        old.retain(|row| row.id <= upto);
        self.remove_oldest(&old)
    }

    /// Removes what was said in deleted rooms. No member can read it any longer; a room of the same
    /// name may be there already.
    fn remove_deleted(&mut self, rows_max: u64) -> rusqlite::Result<bool> {
        let sql = "SELECT id, purge FROM streams WHERE purge > 0 LIMIT 1";
        let of = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let Some((stream, last)) = self.connection.query_row(sql, (), of).optional()? else {
            return Ok(false);
        };
        let mut next = if self.removal.purged.0 == stream { self.removal.purged.1 } else { 0 };
        let range = (&mut next, last);
        let rows = rows(&self.connection, &self.shared.damage, Some(stream), range, rows_max)?;
        self.remove(&rows)?;
        self.removal.purged = (stream, next);
        if next > last {
            self.connection.execute("UPDATE streams SET purge = 0 WHERE id = ?", [stream])?;
            self.removal.purged = (0, 0);
        }
        Ok(true)
    }

    /// Forgets which messages were removed, once they are gone from the index.
    pub(super) fn forget_removed(&mut self) {
        let gone: Vec<i64> = self.index.gone().flatten().collect();
        if gone.is_empty() {
            return;
        }
        self.times.forgot_removed = Instant::now();
        let forget = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            {
                let sql = "DELETE FROM removed WHERE id = ?";
                let mut delete = transaction.prepare_cached(sql)?;
                for id in &gone {
                    delete.execute([id])?;
                }
            }
            transaction.commit()
        };
        // If that fails, they are looked for in the index once more.
        if forget().is_ok() {
            self.checkpoint(gone.len() as u64);
            self.index.ask();
        }
    }

    /// Oldest messages of an id or a later one.
    fn oldest(&mut self, from: i64, rows_max: u64) -> rusqlite::Result<Vec<Old>> {
        let first = from.max(self.removal.from);
        let mut next = first;
        let range = (&mut next, self.next_id.cast_signed() - 1);
        let rows = rows(&self.connection, &self.shared.damage, None, range, rows_max)?;
        if first == self.removal.from {
            // What is older can't be read: next time it is not looked for.
            self.removal.from = rows.first().map_or(next, |row| row.id);
        }
        Ok(rows)
    }

    /// Removes the oldest messages. Returns true if there were any.
    fn remove_oldest(&mut self, rows: &[Old]) -> rusqlite::Result<bool> {
        self.remove(rows)?;
        self.removal.from = rows.last().map_or(self.removal.from, |row| row.id + 1);
        Ok(!rows.is_empty())
    }

    /// Removes messages, the oldest of their streams. Those that can't be removed (pages beside
    /// damaged ones can't be changed) are only hidden, and cost no other.
    fn remove(&mut self, rows: &[Old]) -> rusqlite::Result<()> {
        match self.remove_all(rows) {
            Err(e) if is_damaged_row(&e) && rows.len() > 1 => {
                rows.iter().try_for_each(|row| self.remove(std::slice::from_ref(row)))
            }
            Err(e) if is_damaged_row(&e) => {
                self.shared.damage.record(&e);
                rows.iter().try_for_each(|Old { stream, seq, .. }| {
                    let values = params![stream, seq + 1];
                    self.connection.prepare_cached(FIRST)?.execute(values).map(drop)
                })
            }
            done => done,
        }
    }

    fn remove_all(&mut self, rows: &[Old]) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.unchecked_transaction()?;
        let mut removed: Vec<(u32, u64)> = Vec::new();
        {
            let mut removed_ids =
                transaction.prepare_cached("INSERT OR IGNORE INTO removed VALUES (?)")?;
            let sql = "DELETE FROM messages WHERE id = ?
                       RETURNING sender, length(CAST(text AS BLOB))";
            let mut delete = transaction.prepare_cached(sql)?;
            let mut first = transaction.prepare_cached(FIRST)?;
            let mut firsts: HashMap<i64, u64> = HashMap::new();
            let mut unsaid: HashMap<i64, u64> = HashMap::new();
            for Old { id, stream, seq, .. } in rows {
                removed_ids.execute([id])?;
                let of =
                    |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?));
                if let Some((sender, bytes)) = delete.query_row([id], of).optional()? {
                    *unsaid.entry(sender).or_default() += bytes + HISTORY_MESSAGE_BYTES;
                }
                let of_stream = firsts.entry(*stream).or_default();
                *of_stream = (*of_stream).max(seq + 1);
            }
            for (stream, next) in firsts {
                first.execute(params![stream, next])?;
            }
            let sql = "UPDATE senders SET bytes = max(bytes - ?2, 0) WHERE id = ?1 RETURNING uid";
            let mut update = transaction.prepare_cached(sql)?;
            for (sender, bytes) in unsaid {
                let uid = update.query_row(params![sender, bytes], |row| row.get(0)).optional()?;
                if let Some(uid) = uid {
                    removed.push((uid, bytes));
                }
            }
            // Ids must not be given again, even if everything is removed.
            set_fact(&transaction, "newest", self.next_id - 1)?;
            // Senders of no message that is still there.
            let sql = "SELECT id FROM messages WHERE id >= ? ORDER BY id LIMIT 1";
            let mut oldest = transaction.prepare_cached(sql)?;
            let oldest = match oldest.query_row([self.removal.from], |row| row.get(0)).optional() {
                Err(e) if is_damaged_row(&e) => self.removal.from.cast_unsigned(),
                oldest => oldest?.unwrap_or(self.next_id),
            };
            let sql = "DELETE FROM senders WHERE last < ?";
            transaction.prepare_cached(sql)?.execute([oldest])?;
        }
        transaction.commit()?;
        self.shared.messages.fetch_sub(rows.len() as u64, Ordering::Relaxed);
        self.index.ask();
        self.shared.forget_bytes(removed);
        self.checkpoint(2 * rows.len() as u64);
        Ok(())
    }
}
