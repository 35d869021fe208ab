//! The state that the hub begins with, loaded from the tables.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};

use crate::{
    chat::{
        announcement::{AnnouncementRecord, Receipt},
        linked::{ImportInfo, LinkPosition},
        message::AnnouncementId,
        names::{HostName, Label, RoomName, UserName},
        rules::{Role, RoomRules},
        store::{
            Audit, GoneRoom, Restored, RestoredConversation, RestoredExport, RestoredRoom,
            RestoredSubmits, Span, StreamKey,
        },
        stream_id::RoomId,
    },
    history::schema::{
        FLOOR, FORGOTTEN, KIND_ANNOUNCEMENTS, KIND_CONVERSATION, KIND_ROOM, PRESENT, fact,
    },
    limits::ENDED_INSTANCE_RUNS_MAX,
};

/// State with which a server starts: everything of the last boot that continues.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Rooms, conversations, follows, submits.
    pub restored: Restored,
    /// Rises whenever an older database was put back: numbers seen since then may come again.
    pub epoch: u32,
}

/// Streams by the ids of their rows.
type StreamRows = HashMap<i64, StreamKey>;

/// Loads the submits that may come again, as many of each user as there is room for, the newest.
fn load_submits(
    connection: &Connection,
    keys: &StreamRows,
    restored: &mut Restored,
) -> rusqlite::Result<()> {
    let sql = "SELECT uid, count(*) FROM submits GROUP BY uid ORDER BY count(*)";
    let mut counts = connection.prepare(sql)?;
    let counts =
        counts.query_map((), |row| Ok((row.get::<_, u32>(0)?, row.get::<_, usize>(1)?)))?;
    let counts: Vec<_> = counts.collect::<Result<_, _>>()?;
    let sql = "SELECT instance, counter, count, stream, seq, ts FROM submits
               WHERE uid = ? ORDER BY ts DESC LIMIT ?";
    let mut select = connection.prepare(sql)?;
    let mut left = ENDED_INSTANCE_RUNS_MAX;
    for (at, (uid, count)) in counts.iter().copied().enumerate() {
        // What users with fewer leave is shared by those with more.
        let most = left / (counts.len() - at);
        let from = restored.submits.len();
        let mut rows = select.query(params![uid, most])?;
        while let Some(row) = rows.next()? {
            restored.submits.push(RestoredSubmits {
                uid,
                instance: row.get(0)?,
                counter: row.get(1)?,
                count: row.get(2)?,
                stream: keys.get(&row.get(3)?).cloned(),
                seq: row.get(4)?,
                wall_us: row.get(5)?,
            });
        }
        let of_user = &mut restored.submits[from..];
        if count > most {
            let oldest_us = of_user.last().map_or(i64::MAX, |submits| submits.wall_us);
            restored.submits_cut.push((uid, oldest_us));
        }
        left -= of_user.len();
        // Oldest first, as they came.
        of_user.reverse();
    }
    Ok(())
}

/// Loads the state of the last boot that continues.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let mut restored = Restored { floor: fact(connection, FLOOR)?, ..Restored::default() };
    let keys = load_streams(connection, &mut restored)?;
    load_users(connection, &mut restored)?;
    load_audit(connection, &mut restored)?;
    load_announcements(connection, &mut restored)?;
    load_follows(connection, &keys, &mut restored)?;
    load_marks(connection, &keys, &mut restored)?;
    load_submits(connection, &keys, &mut restored)?;
    load_links(connection, &mut restored)?;
    Ok(Loaded { restored, epoch: 0 })
}

fn load_streams(connection: &Connection, restored: &mut Restored) -> rusqlite::Result<StreamRows> {
    let mut keys = StreamRows::new();
    let sql = "SELECT id, kind, key, name, creator, history, topic, head, first, newest_us, gone,
        private, read_only, room_id FROM streams";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let span = Span { head: row.get(7)?, first: row.get(8)?, newest_us: row.get(9)? };
        let key = match row.get(1)? {
            KIND_ROOM => load_room(connection, row, span, restored)?,
            KIND_CONVERSATION => load_conversation(row, span, restored)?,
            KIND_ANNOUNCEMENTS => {
                restored.announcements = span;
                Some(StreamKey::Announcements)
            }
            _ => None,
        };
        if let Some(key) = key {
            keys.insert(row.get(0)?, key);
        }
    }
    Ok(keys)
}

/// Loads a room, or its remains; none if the row says nothing.
fn load_room(
    connection: &Connection,
    row: &Row<'_>,
    span: Span,
    restored: &mut Restored,
) -> rusqlite::Result<Option<StreamKey>> {
    let name: String = row.get(3)?;
    // Names were checked before they were written; anything else is left alone.
    let Ok(name) = RoomName::existing(&name) else { return Ok(None) };
    let creator_uid = u32::try_from(row.get::<_, i64>(4)?).unwrap_or(u32::MAX);
    let key = StreamKey::Room(name.clone());
    match row.get(10)? {
        PRESENT => {}
        FORGOTTEN => return Ok(None),
        _ => {
            let (private, head) = (row.get(11)?, span.head);
            restored.gone_rooms.push(GoneRoom { name, creator_uid, private, head });
            return Ok(Some(key));
        }
    }
    let mut rules = RoomRules::new(row.get(11)?, row.get(12)?);
    let sql = "SELECT uid, role FROM roles WHERE stream = ?";
    let mut roles = connection.prepare_cached(sql)?;
    let mut found = roles.query([row.get::<_, i64>(0)?])?;
    while let Some(role) = found.next()? {
        if let Some(of) = Role::of_number(role.get(1)?) {
            rules.set(role.get(0)?, of, true);
        }
    }
    let sql = "SELECT user, role FROM remote_roles WHERE stream = ?";
    let mut roles = connection.prepare_cached(sql)?;
    let mut found = roles.query([row.get::<_, i64>(0)?])?;
    while let Some(role) = found.next()? {
        if let (Ok(user), Some(of)) =
            (UserName::new(role.get_ref(0)?.as_str()?), Role::of_number(role.get(1)?))
        {
            rules.set_remote(&user, of, true);
        }
    }
    restored.rooms.push(RestoredRoom {
        name,
        id: RoomId(row.get::<_, i64>(13)?.cast_unsigned()),
        creator_uid,
        history: row.get(5)?,
        topic: row.get(6)?,
        rules,
        span,
    });
    Ok(Some(key))
}

/// Loads a conversation, whose key is the ids of its users.
fn load_conversation(
    row: &Row<'_>,
    span: Span,
    restored: &mut Restored,
) -> rusqlite::Result<Option<StreamKey>> {
    let key: String = row.get(2)?;
    let users = key.split_once(' ');
    let users = users.and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    let Some(users) = users else { return Ok(None) };
    let begun_by = u32::try_from(row.get::<_, i64>(4)?).ok();
    restored.conversations.push(RestoredConversation { users, begun_by, span });
    Ok(Some(StreamKey::Conversation(users.0, users.1)))
}

/// Loads the newest name of each user.
fn load_users(connection: &Connection, restored: &mut Restored) -> rusqlite::Result<()> {
    let sql = "SELECT uid, user, max(id) FROM senders GROUP BY uid";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        // Users of linked hosts have no user id of their own.
        if let Ok(name) = UserName::local(row.get_ref(1)?.as_str()?) {
            restored.users.push((row.get(0)?, name));
        }
    }
    Ok(())
}

/// Loads what is exchanged with linked hosts, and how far.
fn load_links(connection: &Connection, restored: &mut Restored) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT host, stream, generation, seq FROM imports")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Ok(host) = HostName::new(row.get_ref(0)?.as_str()?) {
            let stream = row.get_ref(1)?.as_str()?.into();
            let at = LinkPosition { generation: row.get(2)?, seq: row.get(3)? };
            restored.imports.push(ImportInfo { host, stream, at });
        }
    }
    let mut statement =
        connection.prepare("SELECT host, stream, generation, after, epoch FROM exports")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Ok(host) = HostName::new(row.get_ref(0)?.as_str()?) {
            let stream = row.get_ref(1)?.as_str()?.into();
            let after = LinkPosition { generation: row.get(2)?, seq: row.get(3)? };
            restored.exports.push(RestoredExport { host, stream, after, epoch: row.get(4)? });
        }
    }
    Ok(())
}

fn load_audit(connection: &Connection, restored: &mut Restored) -> rusqlite::Result<()> {
    let sql = "SELECT ts, uid, user, act, office FROM audit ORDER BY id";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let uid = row.get(1)?;
        let by = UserName::new(row.get_ref(2)?.as_str()?).unwrap_or_else(|_| UserName::of_uid(uid));
        let (wall_us, act, office) = (row.get(0)?, row.get(3)?, row.get(4)?);
        restored.audit.push(Audit { wall_us, uid, by, act, office });
    }
    Ok(())
}

/// Loads announcements with their receipts, which follow them.
fn load_announcements(connection: &Connection, restored: &mut Restored) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT state FROM notices ORDER BY key")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        // A row that can't be read is of no use.
        let text = row.get_ref(0)?.as_str()?;
        if let Ok(state) = serde_json::from_str::<AnnouncementRecord>(text) {
            restored.notices.push(state);
        } else if let Ok(receipt) = serde_json::from_str::<Receipt>(text)
            && let Some(state) = restored.notices.last_mut()
            && state.id() == AnnouncementId::Number(receipt.number)
        {
            state.take_receipt(receipt);
        }
    }
    Ok(())
}

/// Returns the label of a handle, which is stored as an empty text without one.
fn label(text: &str) -> Option<Label> {
    if text.is_empty() { None } else { Label::existing(text).ok() }
}

fn load_follows(
    connection: &Connection,
    keys: &StreamRows,
    restored: &mut Restored,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT uid, label, stream FROM follows")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Some(StreamKey::Room(room)) = keys.get(&row.get(2)?) {
            let label = label(row.get_ref(1)?.as_str()?);
            restored.follows.push((row.get(0)?, label, room.clone()));
        }
    }
    Ok(())
}

fn load_marks(
    connection: &Connection,
    keys: &StreamRows,
    restored: &mut Restored,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT uid, label, stream, seq FROM marks")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Some(stream) = keys.get(&row.get(2)?) {
            let label = label(row.get_ref(1)?.as_str()?);
            restored.marks.push((row.get(0)?, label, stream.clone(), row.get(3)?));
        }
    }
    Ok(())
}
