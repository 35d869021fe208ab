//! The tables, their version, and the way from older versions.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::{
    chat::{names::Label, store::StreamKey},
    history::error::HistoryError,
};

/// Version of the tables below.
pub(super) const VERSION: i64 = 5;
/// Says that a SQLite file is a history of moot ("moot").
const APPLICATION_ID: i64 = 0x6d6f_6f74;

/// Kinds of streams in `streams.kind`.
pub(super) const KIND_ROOM: i64 = 0;
pub(super) const KIND_CONVERSATION: i64 = 1;
pub(super) const KIND_ANNOUNCEMENTS: i64 = 2;

/// Values of `streams.gone`, beside that of a deleted room.
pub(super) const PRESENT: i64 = 0;
pub(super) const FORGOTTEN: i64 = 2;
/// Fact: numbers up to there are given in no new room.
pub(super) const FLOOR: &str = "floor";

/// `messages.id` rises in the order of commits over all streams: retention and search go by it.
const TABLES: &str = "
CREATE TABLE streams (
  id INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  key TEXT NOT NULL,              -- a room's name as it is compared, or 'low high' user ids
  name TEXT NOT NULL,             -- a room's name as it was created
  creator INTEGER NOT NULL,       -- user id, or -1
  history INTEGER NOT NULL,       -- 0: its messages are kept in memory only
  topic TEXT NOT NULL DEFAULT '',
  head INTEGER NOT NULL DEFAULT 0,   -- newest number that was ever given
  first INTEGER NOT NULL DEFAULT 1,  -- oldest number that is kept
  newest_us INTEGER,
  gone INTEGER NOT NULL DEFAULT 0,   -- 1: deleted, its numbers are not given again; 2: its name is forgotten, too
  purge INTEGER NOT NULL DEFAULT 0,  -- messages up to this number are still to be removed
  private INTEGER NOT NULL DEFAULT 0,
  read_only INTEGER NOT NULL DEFAULT 0,
  room_id INTEGER NOT NULL DEFAULT 0, -- permanent id of the room that has this name now
  UNIQUE (kind, key)
);
CREATE TABLE roles (              -- what users are in rooms
  stream INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  role INTEGER NOT NULL,
  PRIMARY KEY (stream, uid, role)
) WITHOUT ROWID;
CREATE TABLE notices (            -- announcements that wait for their time, and receipts
  key TEXT PRIMARY KEY,
  state TEXT NOT NULL             -- JSON
) WITHOUT ROWID;
CREATE TABLE audit (              -- what operators did
  id INTEGER PRIMARY KEY,
  ts INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  user TEXT NOT NULL,
  act TEXT NOT NULL,
  office INTEGER NOT NULL
);
CREATE TABLE senders (
  id INTEGER PRIMARY KEY,
  session INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  pid INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  user TEXT NOT NULL,
  label TEXT,
  last INTEGER NOT NULL DEFAULT 0, -- said nothing with a higher id than this
  bytes INTEGER NOT NULL DEFAULT 0 -- of what it said and is still there
);
CREATE INDEX senders_by_last ON senders (last);
CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  ts INTEGER NOT NULL,            -- microseconds since 1970
  sender INTEGER NOT NULL,
  reply_to INTEGER,
  to_label TEXT,
  notice BLOB,
  text TEXT NOT NULL,
  will INTEGER,                   -- said by the server when its session ended: how
  origin INTEGER,                 -- number at the linked host that it came from
  origin_ts INTEGER               -- time there, microseconds since 1970
);
CREATE UNIQUE INDEX messages_by_number ON messages (stream, seq);
CREATE INDEX messages_by_room_announced_to ON messages (substr(notice, 11)) WHERE notice IS NOT NULL;
CREATE TABLE submits (            -- what client instances may submit again: runs of counters
  uid INTEGER NOT NULL,
  instance BLOB NOT NULL,
  counter INTEGER NOT NULL,
  count INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  ts INTEGER NOT NULL,
  PRIMARY KEY (uid, instance, counter)
) WITHOUT ROWID;
CREATE TABLE follows (
  uid INTEGER NOT NULL,
  label TEXT NOT NULL,            -- '': the person
  stream INTEGER NOT NULL,
  PRIMARY KEY (uid, label, stream)
) WITHOUT ROWID;
CREATE TABLE marks (
  uid INTEGER NOT NULL,
  label TEXT NOT NULL,
  stream INTEGER NOT NULL,
  seq INTEGER NOT NULL,           -- everything up to here was read
  PRIMARY KEY (uid, label, stream)
) WITHOUT ROWID;
CREATE TABLE imports (            -- newest message of each room of a linked host that is here
  host TEXT NOT NULL,
  stream TEXT NOT NULL,           -- a room's name as it is compared, or '!'
  generation INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (host, stream)
) WITHOUT ROWID;
CREATE TABLE remote_roles (       -- users of linked hosts who may not speak in rooms
  stream INTEGER NOT NULL,
  user TEXT NOT NULL,
  role INTEGER NOT NULL,
  PRIMARY KEY (stream, user, role)
) WITHOUT ROWID;
CREATE TABLE exports (            -- since when streams are exported to linked hosts
  host TEXT NOT NULL,             -- name of this host among them
  stream TEXT NOT NULL,           -- as in imports
  generation INTEGER NOT NULL,
  after INTEGER NOT NULL,         -- messages up to this number are not exported
  epoch INTEGER NOT NULL,
  PRIMARY KEY (host, stream)
) WITHOUT ROWID;
CREATE TABLE facts (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE removed (id INTEGER PRIMARY KEY); -- messages that the index may still have
";

/// Steps from each version to the next, from version 1 on. They stay as they are, however
/// [`TABLES`] changes.
const STEPS: [&str; VERSION as usize - 1] = [
    "
ALTER TABLE senders ADD COLUMN last INTEGER NOT NULL DEFAULT 0;
UPDATE senders SET last = m.last
  FROM (SELECT sender, max(id) AS last FROM messages GROUP BY sender) AS m
  WHERE m.sender = senders.id;
CREATE INDEX senders_by_last ON senders (last);
",
    "
ALTER TABLE streams ADD COLUMN private INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN read_only INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN will INTEGER;
ALTER TABLE senders ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE senders SET bytes = m.bytes
  FROM (SELECT sender, sum(length(CAST(text AS BLOB)) + 100) AS bytes
        FROM messages GROUP BY sender) AS m
  WHERE m.sender = senders.id;
CREATE TABLE roles (
  stream INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  role INTEGER NOT NULL,
  PRIMARY KEY (stream, uid, role)
) WITHOUT ROWID;
CREATE TABLE notices (key TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  ts INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  user TEXT NOT NULL,
  act TEXT NOT NULL,
  office INTEGER NOT NULL
);
CREATE TABLE removed (id INTEGER PRIMARY KEY);
CREATE INDEX messages_by_room_announced_to ON messages (substr(notice, 11)) WHERE notice IS NOT NULL;
DROP TABLE search;
DELETE FROM facts WHERE key = 'indexed';
",
    "
ALTER TABLE streams ADD COLUMN room_id INTEGER NOT NULL DEFAULT 0;
UPDATE streams SET room_id = random() WHERE kind = 0;
",
    "
ALTER TABLE messages ADD COLUMN origin INTEGER;
ALTER TABLE messages ADD COLUMN origin_ts INTEGER;
CREATE TABLE imports (
  host TEXT NOT NULL,
  stream TEXT NOT NULL,
  generation INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (host, stream)
) WITHOUT ROWID;
CREATE TABLE remote_roles (
  stream INTEGER NOT NULL,
  user TEXT NOT NULL,
  role INTEGER NOT NULL,
  PRIMARY KEY (stream, user, role)
) WITHOUT ROWID;
CREATE TABLE exports (
  host TEXT NOT NULL,
  stream TEXT NOT NULL,
  generation INTEGER NOT NULL,
  after INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  PRIMARY KEY (host, stream)
) WITHOUT ROWID;
",
];

/// Looks at a database without touching it: what can't be used is left as it is.
pub(super) fn check(path: &Path) -> Result<(), HistoryError> {
    let failed = |e| HistoryError::of(path, e);
    if std::fs::metadata(path).map_or(0, |meta| meta.len()) == 0 {
        return Ok(());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    version(&connection, path).map(drop)
}

/// The version of a database; an error if it is none that can be used.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<i64, HistoryError> {
    let failed = |e| HistoryError::of(path, e);
    let found: i64 =
        connection.query_row("PRAGMA user_version", (), |row| row.get(0)).map_err(failed)?;
    let id: i64 =
        connection.query_row("PRAGMA application_id", (), |row| row.get(0)).map_err(failed)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get(0))
        .map_err(failed)?;
    if id != APPLICATION_ID && (tables > 0 || found > 0) {
        let why = "a database of another program".to_owned();
        return Err(HistoryError::Damaged { path: path.to_owned(), why });
    }
    if found < 0 {
        let why = format!("schema version {found}");
        return Err(HistoryError::Damaged { path: path.to_owned(), why });
    }
    if found > VERSION {
        return Err(HistoryError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(found)
}

/// Brings a database to the present version, or says why not.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), HistoryError> {
    let failed = |e| HistoryError::of(path, e);
    let found = version(connection, path)?;
    if found == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction().map_err(failed)?;
    if found == 0 {
        transaction.execute_batch(TABLES).map_err(failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    } else {
        for step in &STEPS[usize::try_from(found).unwrap_or(0) - 1..] {
            transaction.execute_batch(step).map_err(failed)?;
        }
    }
    transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Indexes without which the end of a room, or an entry of the audit, looks at all rows of all
/// users. They change no results, so they belong to no version; on a full disk they are made at a
/// later start.
pub(super) fn index(connection: &Connection) {
    for sql in [
        "CREATE INDEX IF NOT EXISTS follows_by_stream ON follows (stream)",
        "CREATE INDEX IF NOT EXISTS marks_by_stream ON marks (stream)",
        "CREATE INDEX IF NOT EXISTS audit_by_user ON audit (office, uid)",
        "CREATE INDEX IF NOT EXISTS messages_by_origin ON messages (stream, origin)
         WHERE origin IS NOT NULL",
    ] {
        let _ = connection.execute(sql, ());
    }
}

/// A number that is kept under a name; 0 if there is none.
pub(super) fn fact(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT value FROM facts WHERE key = ?";
    Ok(connection.query_row(sql, [key], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Keeps a number under a name.
pub(super) fn set_fact(connection: &Connection, key: &str, value: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute(params![key, value]).map(drop)
}

/// Bytes of a database that are in use.
pub(super) fn size_of(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |sql| connection.query_row(sql, (), |row| row.get::<_, u64>(0));
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok(pages * number("PRAGMA page_size")?)
}

pub(super) fn key_of(stream: &StreamKey) -> (i64, String) {
    match stream {
        StreamKey::Room(name) => (KIND_ROOM, name.key().to_owned()),
        StreamKey::Conversation(low, high) => (KIND_CONVERSATION, format!("{low} {high}")),
        StreamKey::Announcements => (KIND_ANNOUNCEMENTS, String::new()),
    }
}

pub(super) fn label_text(label: Option<&Label>) -> &str {
    label.map_or("", Label::key)
}
