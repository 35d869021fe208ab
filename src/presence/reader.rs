//! Anybody's end of the table: the server is not asked, and may be stopped, hung or dead.

use std::{
    io,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    layout::{self, Badge, HEADER_WORDS, Header, ROOM_WORDS, SLOT_WORDS, TABLE_WORDS},
    seqlock,
};
use crate::{
    chat::{
        member::{Kind, State},
        names::{Label, RoomName},
        presence_row::{Counters, Row},
    },
    faults::{Fault, planted},
    limits::{BADGES_MAX, HEARTBEAT_STALE_MS, IDLE_AFTER_MS, ROOMS_MAX, SESSIONS_MAX},
    os::{self, LockState, PlaceError, Places, ReadWords, ReadWordsError},
};

/// State of the server, as the table and its lock show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It holds its lock and its heart beats.
    Alive,
    /// It holds its lock, and its last heartbeat is old.
    NotResponding,
    /// The lock is free: the server ended without a goodbye.
    Dead,
}

/// Why the table can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There isn't a server, and none died here.
    #[error("no server in {}; start one with `moot serve`", .dir.display())]
    NoServer {
        /// Directory where a server would be.
        dir: PathBuf,
    },
    /// This user may not read it.
    #[error("{}: permission denied", .path.display())]
    Denied {
        /// The table or the lock.
        path: PathBuf,
    },
    /// The table is not of this version, or not from a server that may be trusted.
    #[error("the presence table {} can't be used: {why}", .path.display())]
    Damaged {
        /// Path of the table.
        path: PathBuf,
        /// Reason why it can't be used.
        why: String,
    },
    /// From the system.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The table or the lock.
        path: PathBuf,
        /// Error from the system.
        source: io::Error,
    },
}

/// The table at one time.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// One row a session, visitors included, by session number. States are final: idle is worked
    /// out, and everything is unknown if the server is dead.
    pub rows: Vec<Row>,
    /// State of the server.
    pub server: ServerState,
    /// Process id of the server.
    pub pid: u64,
    /// Its counters at the last heartbeat.
    pub counters: Counters,
    /// Rows that could not be read.
    pub damaged: usize,
    /// Sessions without a row, since the file system of the table is full.
    pub unshown: u64,
}

impl Snapshot {
    /// Reads the table of a server.
    ///
    /// # Errors
    /// See [`ReadError`]. Whatever the table's bytes are, it does not panic.
    #[doc(hidden)]
    pub fn read(places: &Places) -> Result<Self, ReadError> {
        let held = held(places)?;
        Self::read_table(places, held).map_err(|e| match e {
            // What a dead server left can't be used: then there is nothing but no server.
            ReadError::Damaged { .. } if !held => {
                ReadError::NoServer { dir: places.runtime.clone() }
            }
            e => e,
        })
    }

    fn read_table(places: &Places, held: bool) -> Result<Self, ReadError> {
        let path = places.table();
        let owner = os::safe_owner_of(&places.runtime).map_err(|e| match e {
            PlaceError::Io { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                ReadError::NoServer { dir: places.runtime.clone() }
            }
            PlaceError::Io { source, .. } => ReadError::Io { path: path.clone(), source },
            e => ReadError::Damaged { path: path.clone(), why: e.to_string() },
        })?;
        let trusted = |uid| os::acceptable_server(uid, owner, os::own_uid());
        let memory = ReadWords::open(&path, TABLE_WORDS, trusted).map_err(|e| match e {
            ReadWordsError::Absent => ReadError::NoServer { dir: places.runtime.clone() },
            ReadWordsError::Wrong(why) => ReadError::Damaged { path: path.clone(), why },
            ReadWordsError::Io(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                ReadError::Denied { path: path.clone() }
            }
            ReadWordsError::Io(source) => ReadError::Io { path: path.clone(), source },
        })?;
        Self::of_words(memory.words(), held, os::monotonic_us())
            .map_err(|why| ReadError::Damaged { path, why })
    }

    /// Reads a table out of its words, whatever they are; `held`: a server holds the lock.
    ///
    /// # Errors
    /// Returns what is wrong if the words are not a table of this version.
    pub fn of_words(words: &[AtomicU64], held: bool, now_us: u64) -> Result<Self, String> {
        let header = read_header(words)?;
        let stale = now_us.saturating_sub(header.heartbeat_us) > HEARTBEAT_STALE_MS * 1000;
        let server = match (held, stale) {
            (false, _) => ServerState::Dead,
            (true, true) => ServerState::NotResponding,
            (true, false) => ServerState::Alive,
        };
        let (mut rows, damaged) = read_rows(words, &header);
        for row in &mut rows {
            row.state = final_state(row, server, now_us);
        }
        rows.sort_by_key(|row| row.session);
        Ok(Self {
            rows,
            server,
            pid: header.pid,
            counters: header.counters,
            damaged,
            unshown: header.unshown,
        })
    }
}

/// Process of the server that made the table in its place and lives; none if it has ended, or is
/// this process.
#[must_use]
pub fn living_server(places: &Places) -> Option<u32> {
    if planted(Fault::SecondServerBesideRemovedLock) {
        return None;
    }
    let own = |uid| uid == os::own_uid();
    let memory = ReadWords::open(&places.table(), TABLE_WORDS, own).ok()?;
    let header = read_header(memory.words()).ok()?;
    let pid = u32::try_from(header.pid).ok().filter(|pid| *pid != std::process::id())?;
    // A process that ended may be known for as long as its parent does not ask for its end.
    let lives = match os::ProcessWatch::of_process(pid, header.start) {
        Ok(watch) => !watch.ended().unwrap_or(false),
        Err(e) if e.kind() == io::ErrorKind::Unsupported => os::start_of(pid) == Some(header.start),
        Err(_) => false,
    };
    (header.start != 0 && lives).then_some(pid)
}

/// Returns the unread counts of a name of this user server; none if the table lacks them.
#[must_use]
pub fn badge(places: &Places, label: Option<&Label>) -> Option<Badge> {
    let owner = os::safe_owner_of(&places.runtime).ok()?;
    let trusted = |uid| os::acceptable_server(uid, owner, os::own_uid());
    let memory = ReadWords::open(&places.table(), TABLE_WORDS, trusted).ok()?;
    badge_of_words(memory.words(), label)
}

/// Reads the badge of a label out of a table's words, whatever they are.
#[must_use]
pub fn badge_of_words(words: &[AtomicU64], label: Option<&Label>) -> Option<Badge> {
    if words.first()?.load(Ordering::Acquire) != layout::MAGIC {
        return None;
    }
    let key = label.map_or("", Label::key);
    (0..BADGES_MAX).find_map(|index| {
        let mut data = [0; layout::BADGE_WORDS - 1];
        let read = seqlock::read(layout::badge(words, index)?, &mut data);
        layout::unpack_badge(&data, key).filter(|_| read)
    })
}

fn held(places: &Places) -> Result<bool, ReadError> {
    let path = places.lock();
    match os::query(&path) {
        Ok(LockState::Held(_)) => Ok(true),
        Ok(LockState::Free(_)) => Ok(false),
        Ok(LockState::Absent) => Err(ReadError::NoServer { dir: places.runtime.clone() }),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(ReadError::Denied { path }),
        Err(source) => Err(ReadError::Io { path, source }),
    }
}

fn read_header(words: &[AtomicU64]) -> Result<Header, String> {
    let magic = words.first().map_or(0, |w| w.load(Ordering::Acquire));
    if magic != layout::MAGIC {
        return Err("not a presence table of this version".to_owned());
    }
    let mut data = [0; HEADER_WORDS - 2];
    let cell = layout::header(words).ok_or("too short")?;
    if !seqlock::read(cell, &mut data) {
        return Err("the header keeps changing: its server died while writing".to_owned());
    }
    let header = Header::unpack(&data);
    if header.slots_used > SESSIONS_MAX as u64 || header.rooms_used > ROOMS_MAX as u64 {
        return Err("the header is invalid".to_owned());
    }
    Ok(header)
}

fn read_rows(words: &[AtomicU64], header: &Header) -> (Vec<Row>, usize) {
    let rooms: Vec<Option<RoomName>> =
        (0..header.rooms_used as usize).map(|index| read_room(words, index)).collect();
    let name = |index: u16| rooms.get(usize::from(index)).cloned().flatten();
    let mut damaged = 0;
    let mut rows = Vec::new();
    for index in 0..header.slots_used as usize {
        let mut data = [0; SLOT_WORDS - 1];
        let read = layout::slot(words, index).is_some_and(|cell| seqlock::read(cell, &mut data));
        match layout::unpack_row(&data, name) {
            Ok(row) if read => rows.extend(row),
            Ok(_) | Err(()) => damaged += 1,
        }
    }
    (rows, damaged)
}

fn read_room(words: &[AtomicU64], index: usize) -> Option<RoomName> {
    let mut data = [0; ROOM_WORDS - 1];
    let cell = layout::room(words, index)?;
    seqlock::read(cell, &mut data).then(|| layout::unpack_room(&data))?
}

fn final_state(row: &Row, server: ServerState, now_us: u64) -> State {
    let idle = row.kind == Kind::Person
        && now_us.saturating_sub(row.active_mono_us) >= IDLE_AFTER_MS * 1000;
    match (server, row.state) {
        (ServerState::Dead, _) => State::Unknown,
        (_, State::Online) if idle => State::Idle,
        (_, state) => state,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        chat::{member::SessionId, names::UserName},
        os::{Lock, LockNote},
        presence::Table,
    };

    fn places(dir: &Path) -> Places {
        Places { runtime: dir.to_owned(), state: dir.to_owned(), host: false }
    }

    fn lock(places: &Places) -> Lock {
        let note = LockNote { pid: 1, runtime_dir: places.runtime.clone() };
        Lock::acquire(&places.lock(), false, &note).unwrap()
    }

    fn row(session: u64, rooms: &[&str]) -> Row {
        Row {
            session: SessionId(session),
            uid: 1000,
            pid: 4711,
            start: 99,
            kind: Kind::Agent,
            state: State::Away,
            visitor: false,
            since_wall_us: -5,
            active_mono_us: 7,
            user: UserName::new("ann").unwrap(),
            label: Some(Label::new("봇").unwrap()),
            status: "점심 먹으러".into(),
            rooms: rooms.iter().map(|r| RoomName::new(r).unwrap()).collect(),
        }
    }

    #[test]
    fn every_process_reads_the_rows_of_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let lock = lock(&places);
        let mut table = Table::create(&places, false, 7, true).unwrap();
        let (a, b) = (row(3, &["회의", "dev"]), row(2, &["dev"]));
        table.put(&a).unwrap();
        table.put(&b).unwrap();
        let seen = Snapshot::read(&places).unwrap();
        assert_eq!((seen.server, seen.damaged), (ServerState::Alive, 0));
        assert_eq!(seen.rows, [b.clone(), a.clone()]);
        table.remove(SessionId(3));
        table.put(&row(4, &["neu"])).unwrap();
        let seen = Snapshot::read(&places).unwrap();
        assert_eq!(seen.rows, [b, row(4, &["neu"])], "slots and lines are used again");
        drop(lock);
        let seen = Snapshot::read(&places).unwrap();
        assert_eq!(seen.server, ServerState::Dead);
        assert!(seen.rows.iter().all(|r| r.state == State::Unknown));
        table.close();
        assert!(matches!(Snapshot::read(&places), Err(ReadError::NoServer { .. })));
    }

    #[test]
    fn sessions_without_a_slot_are_counted_and_shown_later() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let _lock = lock(&places);
        let mut table = Table::create(&places, false, 7, true).unwrap();
        let all = SESSIONS_MAX as u64;
        (1..=all).for_each(|session| table.put(&row(session, &["dev"])).unwrap());
        table.put(&row(all + 1, &["dev"])).unwrap_err();
        table.put(&row(all + 2, &["dev"])).unwrap_err();
        let seen = Snapshot::read(&places).unwrap();
        assert_eq!((seen.rows.len(), seen.unshown, table.unshown()), (SESSIONS_MAX, 2, 2));
        table.remove(SessionId(all + 2));
        table.remove(SessionId(1));
        table.heartbeat(os::monotonic_us(), &Counters::default());
        let seen = Snapshot::read(&places).unwrap();
        assert_eq!((seen.rows.len(), seen.unshown, table.unshown()), (SESSIONS_MAX, 0, 0));
        assert_eq!(seen.rows.last(), Some(&row(all + 1, &["dev"])));
    }

    #[test]
    fn a_thousand_sessions_fit_and_a_heart_that_stops_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let _lock = lock(&places);
        let mut table = Table::create(&places, false, 7, true).unwrap();
        for session in 1..=1000 {
            table.put(&row(session, &["dev"])).unwrap();
        }
        table.heartbeat(0, &Counters { messages: 5, ..Counters::default() });
        let seen = Snapshot::read(&places).unwrap();
        assert_eq!((seen.rows.len(), seen.counters.messages), (1000, 5));
        assert_eq!(seen.server, ServerState::NotResponding);
    }

    #[test]
    fn cut_or_overwritten_table_is_reported_without_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let _lock = lock(&places);
        let mut table = Table::create(&places, false, 7, true).unwrap();
        table.put(&row(1, &["dev"])).unwrap();
        let file = os::words_file(&places.table()).unwrap();
        let good = fs::read(&file).unwrap();
        drop(table);
        fs::write(&file, &good[..100]).unwrap();
        assert!(matches!(Snapshot::read(&places), Err(ReadError::Damaged { .. })));
        let mut bad = good.clone();
        bad[0] ^= 1;
        fs::write(&file, &bad).unwrap();
        assert!(matches!(Snapshot::read(&places), Err(ReadError::Damaged { .. })));
        let slot = (layout::words_of_slots(0) + 1) * 8;
        let mut bad = good;
        bad[slot + 8 * 8] = 0xff;
        fs::write(&file, &bad).unwrap();
        let seen = Snapshot::read(&places).unwrap();
        assert_eq!((seen.rows.len(), seen.damaged), (0, 1), "a name that is no UTF-8");
    }

    proptest! {
        #[test]
        fn any_words_are_a_row_or_not(words in proptest::collection::vec(any::<u64>(), SLOT_WORDS - 1)) {
            let data: layout::SlotData = words.try_into().unwrap();
            let _ = layout::unpack_row(&data, |_| None);
        }
    }
}
