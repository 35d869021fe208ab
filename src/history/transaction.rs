//! One transaction: messages and records become rows.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rusqlite::{Statement, Transaction, params};

use super::schema::key_of;
use crate::{
    chat::{
        linked::LinkPosition,
        member::{EndCause, Member, SessionId},
        names::{HostName, Label},
        store::{Entry, StreamKey},
    },
    history::{rows::pack_notice, stats::Shared},
    limits::{HISTORY_MESSAGE_BYTES, SENDER_LEASE_IDS, UNACKED_SUBMITS_MAX},
};

/// A run of counters of one client instance, as it is stored in `submits`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) counter: u64,
    pub(super) count: u64,
    pub(super) stream: i64,
    pub(super) seq: u64,
}

/// A row of `senders`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker {
    pub(super) row: i64,
    /// Value in the row: a message with a higher id raises it.
    pub(super) last: u64,
}

/// Cache of rows that are in the tables; emptied when a transaction fails, or when it gets too
/// large.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) streams: HashMap<StreamKey, i64>,
    pub(super) senders: HashMap<SessionId, Speaker>,
    pub(super) runs: HashMap<(u32, [u8; 16]), Run>,
}

impl Cache {
    pub(super) fn bound(&mut self) {
        let Self { streams, senders, runs } = self;
        if streams.len().max(senders.len()).max(runs.len()) > CACHED_MAX {
            *self = Self::default();
        }
    }
}

/// Rows of one table above which the cache is emptied.
pub(super) const CACHED_MAX: usize = 65_536;

/// One transaction under way.
pub(super) struct Page<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) shared: &'a Shared,
    pub(super) cache: &'a mut Cache,
    /// Runs of counters to be written at the end.
    pub(super) changed_runs: HashSet<(u32, [u8; 16])>,
    /// Bytes of texts by rows of `senders`, to be written at the end.
    pub(super) said: HashMap<i64, u64>,
    /// Bytes of texts that are gone, by who said them.
    pub(super) unsaid: Vec<(u32, u64)>,
    pub(super) next_id: u64,
    pub(super) now_us: i64,
    pub(super) heads: HashMap<i64, (u64, i64)>,
    /// Newest messages of linked hosts, to be written at the end.
    pub(super) imported: HashMap<(HostName, Arc<StreamKey>), LinkPosition>,
}

impl Page<'_> {
    pub(super) fn stream(&mut self, stream: &StreamKey) -> rusqlite::Result<i64> {
        self.stream_of(stream, None)
    }

    /// The row of a stream, which exists from now on. `by`: who begins it by a message.
    pub(super) fn stream_of(
        &mut self,
        stream: &StreamKey,
        by: Option<u32>,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.cache.streams.get(stream) {
            return Ok(*id);
        }
        self.shared.step()?;
        let (kind, key) = key_of(stream);
        let name = match stream {
            StreamKey::Room(name) => name.as_str(),
            StreamKey::Conversation(..) | StreamKey::Announcements => "",
        };
        let sql = "INSERT INTO streams (kind, key, name, creator, history, room_id)
                   VALUES (?, ?, ?, ?, 1, random())
                   ON CONFLICT DO UPDATE SET kind = kind RETURNING id";
        let id = self
            .transaction
            .prepare_cached(sql)?
            .query_row(params![kind, key, name, by.map_or(-1, i64::from)], |row| row.get(0))?;
        self.cache.streams.insert(stream.clone(), id);
        Ok(id)
    }

    /// Returns the row of a sender of `messages` more messages.
    pub(super) fn sender(&mut self, from: &Member, messages: usize) -> rusqlite::Result<i64> {
        // Raised by more than is needed, so that this is seldom done.
        let last = self.next_id + SENDER_LEASE_IDS;
        // A sender of another boot has no session in this one.
        let of_this_run = from.session != SessionId(0);
        if let Some(known) = self.cache.senders.get_mut(&from.session).filter(|_| of_this_run) {
            if known.last >= self.next_id + messages as u64 {
                return Ok(known.row);
            }
            self.shared.step()?;
            let sql = "UPDATE senders SET last = ?2 WHERE id = ?1";
            if self.transaction.prepare_cached(sql)?.execute(params![known.row, last])? > 0 {
                known.last = last;
                return Ok(known.row);
            }
            // Removed meanwhile, with all that was said.
        }
        self.shared.step()?;
        let sql = "INSERT INTO senders (session, uid, pid, kind, user, label, last)
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        self.transaction.prepare_cached(sql)?.execute(params![
            from.session.0,
            from.uid,
            from.pid,
            from.kind.number(),
            from.user.as_str(),
            from.label.as_ref().map(Label::as_str),
            last,
        ])?;
        let row = self.transaction.last_insert_rowid();
        self.cache.senders.insert(from.session, Speaker { row, last });
        Ok(row)
    }

    pub(super) fn messages(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        // What one session says at once has much in common.
        let follows = |a: &Entry, b: &Entry| {
            let consecutive = match (a.submit, b.submit) {
                (Some((of, counter)), Some((instance, next))) => {
                    of == instance && counter + 1 == next
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            consecutive
                && a.seq + 1 == b.seq
                && Arc::ptr_eq(&a.stream, &b.stream)
                && Arc::ptr_eq(&a.from, &b.from)
        };
        let transaction = self.transaction;
        let sql =
            "INSERT INTO messages (id, stream, seq, ts, sender, reply_to, to_label, notice, text,
                   will, origin, origin_ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let mut insert = transaction.prepare_cached(sql)?;
        for all in entries.chunk_by(follows) {
            for some in all.chunks(UNACKED_SUBMITS_MAX) {
                self.said_at_once(&mut insert, some)?;
            }
        }
        Ok(())
    }

    /// Messages of one session in one stream, one after another.
    pub(super) fn said_at_once(
        &mut self,
        insert: &mut Statement<'_>,
        entries: &[Entry],
    ) -> rusqlite::Result<()> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let stream = self.stream_of(&first.stream, Some(first.from.uid))?;
        let sender = self.sender(&first.from, entries.len())?;
        // What was bound stays bound.
        insert.raw_bind_parameter(2, stream)?;
        insert.raw_bind_parameter(5, sender)?;
        let mut bytes = 0;
        for entry in entries {
            self.shared.step()?;
            insert.raw_bind_parameter(1, self.next_id)?;
            insert.raw_bind_parameter(3, entry.seq)?;
            insert.raw_bind_parameter(4, entry.wall_us)?;
            insert.raw_bind_parameter(6, entry.reply_to)?;
            insert.raw_bind_parameter(7, entry.to_label.as_ref().map(Label::as_str))?;
            insert.raw_bind_parameter(8, entry.notice.as_deref().map(pack_notice))?;
            insert.raw_bind_parameter(9, &*entry.text)?;
            insert.raw_bind_parameter(10, entry.will.map(EndCause::number))?;
            let origin = entry.origin.as_ref().map(|from| from.origin);
            insert.raw_bind_parameter(11, origin.map(|origin| origin.seq))?;
            insert.raw_bind_parameter(12, origin.map(|origin| origin.wall_us))?;
            insert.raw_execute()?;
            self.next_id += 1;
            bytes += entry.text.len() as u64 + HISTORY_MESSAGE_BYTES;
        }
        *self.said.entry(sender).or_default() += bytes;
        self.heads.insert(stream, (last.seq, last.wall_us));
        if let Some(from) = &last.origin {
            let key = (from.host.clone(), Arc::clone(&last.stream));
            let at = self.imported.entry(key).or_default();
            *at = from.position().max(*at);
        }
        match first.submit {
            Some((instance, counter)) => {
                let count = entries.len() as u64;
                let run = Run { counter, count, stream, seq: first.seq };
                self.submits((first.from.uid, instance), run)
            }
            None => Ok(()),
        }
    }

    pub(super) fn submits(&mut self, instance: (u32, [u8; 16]), new: Run) -> rusqlite::Result<()> {
        let follows = |run: &&mut Run| {
            run.stream == new.stream
                && run.counter + run.count == new.counter
                && run.seq + run.count == new.seq
                && run.count + new.count <= UNACKED_SUBMITS_MAX as u64
        };
        if let Some(run) = self.cache.runs.get_mut(&instance).filter(follows) {
            run.count += new.count;
            self.changed_runs.insert(instance);
            return Ok(());
        }
        // Another stream, or a hole in the numbers: a new run begins.
        if self.changed_runs.contains(&instance)
            && let Some(run) = self.cache.runs.get(&instance).copied()
        {
            self.write_run(instance, run)?;
        }
        // What a client can't submit again is not needed.
        let bound = new.counter.saturating_sub(2 * UNACKED_SUBMITS_MAX as u64);
        if bound > 0 {
            self.shared.step()?;
            let sql = "DELETE FROM submits WHERE uid = ? AND instance = ? AND counter < ?";
            let values = params![instance.0, instance.1, bound];
            self.transaction.prepare_cached(sql)?.execute(values)?;
        }
        self.cache.runs.insert(instance, new);
        self.changed_runs.insert(instance);
        Ok(())
    }

    pub(super) fn write_run(&self, instance: (u32, [u8; 16]), run: Run) -> rusqlite::Result<()> {
        self.shared.step()?;
        let sql = "INSERT OR REPLACE INTO submits VALUES (?, ?, ?, ?, ?, ?, ?)";
        let Run { counter, count, stream, seq } = run;
        let values = params![instance.0, instance.1, counter, count, stream, seq, self.now_us];
        self.transaction.prepare_cached(sql)?.execute(values).map(drop)
    }

    /// Writes what was gathered; gives the bytes of texts that are gone.
    pub(super) fn finish(self) -> rusqlite::Result<Vec<(u32, u64)>> {
        self.shared.step()?;
        for instance in &self.changed_runs {
            if let Some(run) = self.cache.runs.get(instance) {
                self.write_run(*instance, *run)?;
            }
        }
        let sql = "UPDATE senders SET bytes = bytes + ?2 WHERE id = ?1";
        let mut update = self.transaction.prepare_cached(sql)?;
        for (sender, bytes) in &self.said {
            update.execute(params![sender, bytes])?;
        }
        let sql = "UPDATE streams SET head = ?2, newest_us = ?3 WHERE id = ?1";
        let mut update = self.transaction.prepare_cached(sql)?;
        for (stream, (head, newest_us)) in &self.heads {
            update.execute(params![stream, head, newest_us])?;
        }
        let sql = "INSERT INTO imports VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
                   SET generation = ?3, seq = ?4 WHERE (generation, seq) < (?3, ?4)";
        let mut update = self.transaction.prepare_cached(sql)?;
        for ((host, stream), LinkPosition { generation, seq }) in &self.imported {
            update.execute(params![host.as_str(), stream.linked(), generation, seq])?;
        }
        Ok(self.unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_of_the_cache_is_bounded() {
        let stream = |n: usize| StreamKey::Conversation(n as u32, n as u32);
        let run = Run { counter: 1, count: 1, stream: 1, seq: 1 };
        let fills: [fn(&mut Cache, usize, StreamKey, Run); 3] = [
            |cache, _, stream, _| {
                cache.streams.insert(stream, 1);
            },
            |cache, n, _, _| {
                cache.senders.insert(SessionId(n as u64), Speaker { row: 1, last: 1 });
            },
            |cache, n, _, run| {
                cache.runs.insert((n as u32, [0; 16]), run);
            },
        ];
        for fill in fills {
            let mut cache = Cache::default();
            for n in 0..CACHED_MAX {
                fill(&mut cache, n, stream(n), run);
            }
            cache.bound();
            let count = |of: &Cache| of.streams.len() + of.senders.len() + of.runs.len();
            assert_eq!(count(&cache), CACHED_MAX);
            fill(&mut cache, CACHED_MAX, stream(CACHED_MAX), run);
            cache.bound();
            assert_eq!(count(&cache), 0);
        }
    }
}
