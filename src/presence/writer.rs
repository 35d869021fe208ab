//! The server's end of the table.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::atomic::Ordering,
};

use super::{
    layout::{self, BADGE_KEY_BYTES_MAX, Badge, Header, TABLE_WORDS},
    seqlock,
};
use crate::{
    chat::{
        member::SessionId,
        names::{Label, RoomName},
        presence_row::{Counters, Row},
    },
    limits::{BADGES_MAX, ROOMS_MAX, SESSIONS_MAX},
    os::{self, Places, SharedWords},
};

/// Slots that get their memory at a time.
const SLOTS_AT_A_TIME: usize = 256;

/// The table, to be written.
#[derive(Debug)]
pub struct Table {
    memory: SharedWords,
    header: Header,
    slots: HashMap<SessionId, WriterSlot>,
    free: BTreeSet<usize>,
    reserved: usize,
    rooms: HashMap<RoomName, RoomLine>,
    free_rooms: BTreeSet<u16>,
    /// Sessions that don't fit into the table yet.
    unshown: BTreeMap<SessionId, Row>,
}

#[derive(Debug)]
struct WriterSlot {
    index: usize,
    rooms: Vec<RoomName>,
}

#[derive(Debug)]
struct RoomLine {
    index: u16,
    used: usize,
}

impl Table {
    /// Makes the table and puts it in its place.
    ///
    /// # Errors
    /// Returns the error of the system, most often that the file system is full.
    pub fn create(places: &Places, everybody: bool, run: u32, broadcast: bool) -> io::Result<Self> {
        let path = places.table();
        let memory = SharedWords::create(&path, TABLE_WORDS, everybody)?;
        let pid = std::process::id();
        let header = Header {
            run: run.into(),
            pid: pid.into(),
            start: os::start_of(pid).unwrap_or(0),
            heartbeat_us: os::monotonic_us(),
            broadcast: broadcast.into(),
            ..Header::default()
        };
        let mut table = Self {
            memory,
            header,
            slots: HashMap::new(),
            free: BTreeSet::new(),
            reserved: 0,
            rooms: HashMap::new(),
            free_rooms: BTreeSet::new(),
            unshown: BTreeMap::new(),
        };
        table.reserve_more()?;
        table.write_header();
        table.memory.words()[0].store(layout::MAGIC, Ordering::Release);
        table.memory.publish(&path)?;
        Ok(table)
    }

    fn reserve_more(&mut self) -> io::Result<()> {
        let slots = (self.reserved + SLOTS_AT_A_TIME).min(SESSIONS_MAX);
        self.memory.reserve(layout::words_of_slots(slots))?;
        self.free.extend(self.reserved..slots);
        self.reserved = slots;
        Ok(())
    }

    fn write_header(&self) {
        if let Some(cell) = layout::header(self.memory.words()) {
            seqlock::write(cell, &self.header.pack());
        }
    }

    /// Shows a session, or what changed of it. One that does not fit is shown once it does
    /// ([`Table::heartbeat`]), and readers learn until then that it lacks.
    ///
    /// # Errors
    /// Returns an error if the table, or the file system that it is on, is full.
    pub fn put(&mut self, row: &Row) -> io::Result<()> {
        let done = self.show(row);
        match &done {
            Ok(()) => self.unshown.remove(&row.session),
            Err(_) => self.unshown.insert(row.session, row.clone()),
        };
        self.count_unshown();
        done
    }

    /// Returns the number of sessions that don't fit into the table.
    #[must_use]
    pub fn unshown(&self) -> usize {
        self.unshown.len()
    }

    fn count_unshown(&mut self) {
        let unshown = self.unshown.len() as u64;
        if self.header.unshown != unshown {
            self.header.unshown = unshown;
            self.write_header();
        }
    }

    fn show(&mut self, row: &Row) -> io::Result<()> {
        let index = match self.slots.get(&row.session) {
            Some(slot) => slot.index,
            None => self.take_slot(row.session)?,
        };
        let before = self.slots.get_mut(&row.session).map(|s| std::mem::take(&mut s.rooms));
        // New ones first, so that a line that goes on being used is not given away in between.
        let lines: Vec<_> = row.rooms.iter().filter_map(|room| self.hold_room(room)).collect();
        for room in before.unwrap_or_default() {
            self.let_go_of_room(&room);
        }
        if let Some(slot) = self.slots.get_mut(&row.session) {
            slot.rooms.clone_from(&row.rooms);
        }
        if let Some(cell) = layout::slot(self.memory.words(), index) {
            seqlock::write(cell, &layout::pack_row(row, &lines));
        }
        Ok(())
    }

    fn take_slot(&mut self, session: SessionId) -> io::Result<usize> {
        if self.free.is_empty() {
            self.reserve_more()?;
        }
        // The lowest one, so that readers have little to look at.
        let index = self.free.pop_first().ok_or(io::ErrorKind::StorageFull)?;
        self.slots.insert(session, WriterSlot { index, rooms: Vec::new() });
        let used = index as u64 + 1;
        if used > self.header.slots_used {
            self.header.slots_used = used;
            self.write_header();
        }
        Ok(index)
    }

    fn hold_room(&mut self, name: &RoomName) -> Option<u16> {
        if let Some(line) = self.rooms.get_mut(name) {
            line.used += 1;
            return Some(line.index);
        }
        let index = match self.free_rooms.pop_first() {
            Some(index) => index,
            None => {
                let next = self.header.rooms_used;
                let index = u16::try_from(next).ok().filter(|i| usize::from(*i) < ROOMS_MAX)?;
                self.header.rooms_used = next + 1;
                self.write_header();
                index
            }
        };
        self.rooms.insert(name.clone(), RoomLine { index, used: 1 });
        if let Some(cell) = layout::room(self.memory.words(), index.into()) {
            seqlock::write(cell, &layout::pack_room(name));
        }
        Some(index)
    }

    fn let_go_of_room(&mut self, name: &RoomName) {
        let Some(line) = self.rooms.get_mut(name) else { return };
        line.used -= 1;
        if line.used == 0 {
            self.free_rooms.insert(line.index);
            self.rooms.remove(name);
        }
    }

    /// Removes the row of a session.
    pub fn remove(&mut self, session: SessionId) {
        if self.unshown.remove(&session).is_some() {
            self.count_unshown();
        }
        let Some(slot) = self.slots.remove(&session) else { return };
        if let Some(cell) = layout::slot(self.memory.words(), slot.index) {
            seqlock::write(cell, &[0; layout::SLOT_WORDS - 1]);
        }
        for room in slot.rooms {
            self.let_go_of_room(&room);
        }
        self.free.insert(slot.index);
    }

    /// Says that the server lives, and how it does.
    pub fn heartbeat(&mut self, now_mono_us: u64, counters: &Counters) {
        while let Some((_, row)) = self.unshown.pop_first() {
            if self.put(&row).is_err() {
                break;
            }
        }
        self.header.heartbeat_us = now_mono_us;
        self.header.counters = *counters;
        self.write_header();
    }

    /// Shows what names have not read, in place of what was shown before.
    pub fn put_badges(&mut self, badges: &[(Option<Label>, Badge)]) {
        let words = self.memory.words();
        let fits = |(label, _): &&(Option<Label>, Badge)| {
            label.as_ref().map_or("", Label::key).len() <= BADGE_KEY_BYTES_MAX
        };
        let mut badges = badges.iter().filter(fits);
        for index in 0..BADGES_MAX {
            let Some(cell) = layout::badge(words, index) else { return };
            match badges.next() {
                Some((label, badge)) => {
                    let key = label.as_ref().map_or("", Label::key);
                    seqlock::write(cell, &layout::pack_badge(key, badge));
                }
                None => seqlock::write(cell, &[0; layout::BADGE_WORDS - 1]),
            }
        }
    }

    /// Returns true if it is in its place.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.memory.is_in_place()
    }

    /// Puts a copy of it into its place, after the table there was removed.
    ///
    /// # Errors
    /// Returns the error of the system, most often that the file system is full.
    pub fn put_back(&mut self, places: &Places, everybody: bool) -> io::Result<()> {
        let path = places.table();
        let mut memory = SharedWords::create(&path, TABLE_WORDS, everybody)?;
        memory.reserve(layout::words_of_slots(self.reserved))?;
        // Only this thread writes to either of them. A word that is not 0 is in the reserved part;
        // a 0 beyond it would take room that a full file system does not have.
        for (to, from) in memory.words().iter().zip(self.memory.words()) {
            match from.load(Ordering::Relaxed) {
                0 => {}
                word => to.store(word, Ordering::Relaxed),
            }
        }
        memory.publish(&path)?;
        self.memory = memory;
        Ok(())
    }

    /// Takes the table out of its place: the server ends cleanly.
    pub fn close(&mut self) {
        self.memory.unlink();
    }
}
