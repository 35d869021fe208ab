//! Records of a transaction become rows.

use std::sync::Arc;

use rusqlite::{Params, params};

use super::{
    schema::{FLOOR, FORGOTTEN, KIND_ROOM, fact, label_text, set_fact},
    transaction::Page,
};
use crate::{
    chat::{
        announcement::Receipt,
        linked::LinkPosition,
        message::AnnouncementId,
        names::{Label, RoomName, UserName},
        rules::Role,
        store::{Audit, Record, StreamKey},
    },
    limits::{AUDIT_KEPT_MAX, AUDIT_PER_USER_MAX},
};

/// Audit entries from one count of all of them to the next.
const AUDIT_COUNTED_EVERY: i64 = 16;

/// Makes a room, or changes it; one of a deleted name continues its numbers.
const INSERT_ROOM: &str = "INSERT INTO streams
    (kind, key, name, creator, history, topic, private, read_only, room_id, head, first)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10 + 1)
    ON CONFLICT DO UPDATE SET
    name = excluded.name, creator = excluded.creator,
    history = excluded.history, topic = excluded.topic,
    private = excluded.private, read_only = excluded.read_only,
    room_id = excluded.room_id, head = max(head, excluded.head),
    first = iif(gone, max(first, excluded.first), first), gone = 0";

impl Page<'_> {
    pub(super) fn record(&mut self, record: &Record) -> rusqlite::Result<()> {
        self.shared.step()?;
        match record {
            Record::Room { name, id, creator_uid, history, topic, private, read_only, head } => {
                // The row of an earlier room of that name may have been removed.
                self.cache.streams.remove(&StreamKey::Room(name.clone()));
                let values = params![
                    KIND_ROOM,
                    name.key(),
                    name.as_str(),
                    creator_uid,
                    history,
                    topic,
                    private,
                    read_only,
                    id.0.cast_signed(),
                    head
                ];
                self.execute(INSERT_ROOM, values)
            }
            Record::RoomGone { name, head } => self.record_deleted_room(name, *head),
            Record::RoomForgotten { name, floor } => self.record_forgotten_room(name, *floor),
            Record::Role { room, uid, role, on } => self.record_role(room, *uid, *role, *on),
            Record::RemoteRole { room, user, role, on } => {
                self.record_remote_role(room, user, *role, *on)
            }
            Record::Notice(state) => {
                self.remove_notice(state.id())?;
                self.insert_notice(&state.id().to_string(), &**state)
            }
            Record::NoticeGone(id) => self.remove_notice(*id),
            Record::Receipt(receipt) => self.record_receipt(receipt),
            Record::Audit(audit) => self.record_audit(audit),
            Record::Follow { uid, label, room, on } => {
                let id = self.stream(&StreamKey::Room(room.clone()))?;
                let sql = match on {
                    true => "INSERT OR IGNORE INTO follows VALUES (?, ?, ?)",
                    false => "DELETE FROM follows WHERE uid = ? AND label = ? AND stream = ?",
                };
                self.execute(sql, params![uid, label_text(label.as_ref()), id])
            }
            Record::Mark { uid, label, stream, seq } => {
                let id = self.stream(stream)?;
                let sql = "INSERT INTO marks VALUES (?, ?, ?, ?)
                           ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)";
                self.execute(sql, params![uid, label_text(label.as_ref()), id, seq])
            }
            Record::NameGone { uid, label } => self.record_removed_handle(*uid, label),
            Record::Export { host, stream, after, epoch } => {
                let sql = "INSERT OR REPLACE INTO exports VALUES (?, ?, ?, ?, ?)";
                let LinkPosition { generation, seq } = after;
                self.execute(sql, params![host.as_str(), stream.linked(), generation, seq, epoch])
            }
            Record::Import { host, stream, at } => {
                let key = (host.clone(), Arc::new(stream.clone()));
                let before = self.imported.entry(key).or_default();
                *before = (*at).max(*before);
                Ok(())
            }
            Record::InstanceGone { uid, instance } => {
                self.cache.runs.remove(&(*uid, *instance));
                let sql = "DELETE FROM submits WHERE uid = ? AND instance = ?";
                self.execute(sql, params![uid, instance])
            }
        }
    }

    fn execute(&self, sql: &str, values: impl Params) -> rusqlite::Result<()> {
        self.transaction.prepare_cached(sql)?.execute(values).map(drop)
    }

    fn record_role(
        &mut self,
        room: &RoomName,
        uid: u32,
        role: Role,
        on: bool,
    ) -> rusqlite::Result<()> {
        let id = self.stream(&StreamKey::Room(room.clone()))?;
        let sql = match on {
            true => "INSERT OR IGNORE INTO roles VALUES (?, ?, ?)",
            false => "DELETE FROM roles WHERE stream = ? AND uid = ? AND role = ?",
        };
        self.execute(sql, params![id, uid, role.number()])
    }

    fn record_remote_role(
        &mut self,
        room: &RoomName,
        user: &UserName,
        role: Role,
        on: bool,
    ) -> rusqlite::Result<()> {
        let id = self.stream(&StreamKey::Room(room.clone()))?;
        let sql = match on {
            true => "INSERT OR IGNORE INTO remote_roles VALUES (?, ?, ?)",
            false => "DELETE FROM remote_roles WHERE stream = ? AND user = ? AND role = ?",
        };
        self.execute(sql, params![id, user.as_str(), role.number()])
    }

    fn record_deleted_room(&mut self, name: &RoomName, head: u64) -> rusqlite::Result<()> {
        let id = self.stream(&StreamKey::Room(name.clone()))?;
        let sql = "UPDATE streams SET gone = 1, topic = '', purge = max(head, ?2),
                   first = max(head, ?2) + 1, head = max(head, ?2) WHERE id = ?1";
        self.execute(sql, params![id, head])?;
        for sql in [
            "DELETE FROM follows WHERE stream = ?",
            "DELETE FROM marks WHERE stream = ?",
            "DELETE FROM roles WHERE stream = ?",
            "DELETE FROM remote_roles WHERE stream = ?",
        ] {
            self.execute(sql, [id])?;
        }
        self.erase_announcements_to(name)
    }

    /// Erases the texts that were announced to a room; their numbers stay. (The room of an
    /// announcement is stored behind ten bytes; there is an index of that.)
    fn erase_announcements_to(&mut self, room: &RoomName) -> rusqlite::Result<()> {
        let sql = "SELECT m.sender, s.uid, sum(length(CAST(m.text AS BLOB)))
                   FROM messages m JOIN senders s ON s.id = m.sender
                   WHERE m.notice IS NOT NULL AND substr(m.notice, 11) = ?
                   GROUP BY m.sender";
        let room = room.as_str().as_bytes();
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query([room])?;
        while let Some(row) = rows.next()? {
            let (sender, uid, bytes): (i64, u32, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let sql = "UPDATE senders SET bytes = max(bytes - ?2, 0) WHERE id = ?1";
            self.execute(sql, params![sender, bytes])?;
            self.unsaid.push((uid, bytes));
        }
        let sql = "UPDATE messages SET notice = NULL, text = ''
                   WHERE notice IS NOT NULL AND substr(notice, 11) = ?";
        self.execute(sql, [room])
    }

    fn record_forgotten_room(&mut self, name: &RoomName, floor: u64) -> rusqlite::Result<()> {
        self.cache.streams.remove(&StreamKey::Room(name.clone()));
        let sql = "UPDATE streams SET gone = ?3 WHERE kind = ?1 AND key = ?2 AND gone = 1";
        self.execute(sql, params![KIND_ROOM, name.key(), FORGOTTEN])?;
        let floor = fact(self.transaction, FLOOR)?.max(floor);
        set_fact(self.transaction, FLOOR, floor)
    }

    /// Removes an announcement and its receipt: the receipt's keys begin with its own and a space.
    fn remove_notice(&mut self, id: AnnouncementId) -> rusqlite::Result<()> {
        let sql = "DELETE FROM notices
                   WHERE key = ?1 OR (key >= ?1 || ' ' AND key < ?1 || '!')";
        self.execute(sql, [id.to_string()])
    }

    fn insert_notice(&self, key: &str, value: &impl serde::Serialize) -> rusqlite::Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        self.execute("INSERT OR REPLACE INTO notices VALUES (?, ?)", params![key, text])
    }

    fn record_receipt(&mut self, receipt: &Receipt) -> rusqlite::Result<()> {
        let id = AnnouncementId::Number(receipt.number);
        for (key, part) in receipt.parts() {
            self.insert_notice(&format!("{id} {key}"), &part)?;
        }
        Ok(())
    }

    fn record_audit(&mut self, audit: &Audit) -> rusqlite::Result<()> {
        let Audit { wall_us, uid, by, act, office } = audit;
        let sql = "INSERT INTO audit (ts, uid, user, act, office) VALUES (?, ?, ?, ?, ?)";
        self.execute(sql, params![wall_us, uid, by.as_str(), act, office])?;
        let sql = "DELETE FROM audit WHERE uid = ?1 AND office = 0 AND id <=
                   (SELECT id FROM audit WHERE uid = ?1 AND office = 0
                    ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        self.execute(sql, params![uid, AUDIT_PER_USER_MAX as u64])?;
        // The bound of all users may be exceeded by a few entries: counting them costs more.
        if self.transaction.last_insert_rowid() % AUDIT_COUNTED_EVERY != 0 {
            return Ok(());
        }
        // Acts of a server's operator are kept whatever others do.
        let sql = "DELETE FROM audit WHERE office = 1 AND id <=
                   (SELECT id FROM audit WHERE office = 1
                    ORDER BY id DESC LIMIT 1 OFFSET ?1)";
        let kept = AUDIT_KEPT_MAX as u64;
        self.execute(sql, [kept])?;
        // Of the others, the user with the most entries loses the oldest.
        let sql = "DELETE FROM audit WHERE id IN
                   (SELECT id FROM audit WHERE office = 0 AND uid =
                    (SELECT uid FROM audit WHERE office = 0 GROUP BY uid
                     ORDER BY count(*) DESC LIMIT 1)
                    ORDER BY id LIMIT ?2)
                   AND (SELECT count(*) FROM audit WHERE office = 0) > ?1";
        self.execute(sql, params![kept, AUDIT_COUNTED_EVERY])
    }

    fn record_removed_handle(&mut self, uid: u32, label: &Label) -> rusqlite::Result<()> {
        for sql in [
            "DELETE FROM follows WHERE uid = ? AND label = ?",
            "DELETE FROM marks WHERE uid = ? AND label = ?",
        ] {
            self.execute(sql, params![uid, label.key()])?;
        }
        Ok(())
    }
}
