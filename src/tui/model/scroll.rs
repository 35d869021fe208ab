//! Scrolling: by rows and pages, to a message, to unread messages. The visible lines stay in place
//! while new ones arrive.

use super::{Loading, Model, Room, When};
use crate::tui::{
    geometry::Geometry,
    lines,
    scrollback::{Line, Place},
};

/// Number of lines to either end of the window below which more are requested.
const AHEAD_LINES: usize = 40;

/// Number of pages without a visible message after which requests are no longer automatic.
const BARREN_PAGES_MAX: usize = 10;

/// Pages in memory before the user scrolls.
const AHEAD_PAGES: usize = 3;

/// A row of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    index: usize,
    row: usize,
}

/// The room as a column of rows.
struct Rows<'a> {
    model: &'a Model,
    room: &'a Room,
    columns: usize,
}

impl Rows<'_> {
    fn of(&self, index: usize) -> usize {
        lines::line_rows(&self.model.options.look, self.room, index, self.columns).len()
    }

    /// Returns the lowest row of all.
    fn last(&self) -> Option<At> {
        let last = self.room.back.len().checked_sub(1)?;
        self.lowest_at_or_above(last)
    }

    /// Returns the lowest row of the first line upwards that has any.
    fn lowest_at_or_above(&self, from: usize) -> Option<At> {
        (0..=from).rev().find_map(|index| {
            let row = self.of(index).checked_sub(1)?;
            Some(At { index, row })
        })
    }

    /// Returns the lowest visible row.
    fn bottom(&self) -> Option<At> {
        match self.room.place {
            Place::End => self.last(),
            Place::At { id, row } => {
                let index = self.room.back.index_of(id);
                match self.of(index) {
                    0 => self.lowest_at_or_above(index),
                    rows => Some(At { index, row: row.min(rows - 1) }),
                }
            }
        }
    }

    /// Returns the place some rows up, and the number of rows that do not exist.
    fn up(&self, from: At, mut rows: usize) -> (At, usize) {
        let mut at = from;
        while rows > at.row {
            let above = at.index.checked_sub(1).and_then(|index| self.lowest_at_or_above(index));
            let Some(above) = above else { return (At { row: 0, ..at }, rows - at.row) };
            rows -= at.row + 1;
            at = above;
        }
        at.row -= rows;
        (at, 0)
    }

    /// Returns the place some rows down; none if the end is nearer.
    fn down(&self, from: At, mut rows: usize) -> Option<At> {
        let mut at = from;
        let mut has = self.of(at.index);
        while at.row + rows >= has {
            rows -= has - at.row;
            at = At { index: at.index + 1, row: 0 };
            if at.index >= self.room.back.len() {
                return None;
            }
            has = self.of(at.index);
        }
        at.row += rows;
        Some(at)
    }
}

impl Model {
    /// Stores the places of the parts of the frame that was drawn last.
    pub(in crate::tui) fn set_geometry(&mut self, geometry: Geometry) {
        self.geometry = geometry;
        self.bound_help();
    }

    fn rows(&self) -> Option<(Rows<'_>, usize)> {
        let room = self.room()?;
        let rows = Rows { model: self, room, columns: self.geometry.pane_columns };
        Some((rows, self.geometry.pane_rows.max(1)))
    }

    /// Returns the rows of a page.
    pub(super) fn page(&self) -> isize {
        let rows = self.geometry.pane_rows.saturating_sub(2).max(1);
        isize::try_from(rows).unwrap_or(1)
    }

    /// Scrolls by rows; up is negative.
    pub(super) fn scroll(&mut self, now: When, by: isize) {
        let Some((rows, pane_rows)) = self.rows() else { return };
        let Some(bottom) = rows.bottom() else { return self.load(self.current, Loading::Older) };
        let mut is_top = false;
        let place = if by < 0 {
            let (to, _) = rows.up(bottom, by.unsigned_abs());
            // The first row is never below the top.
            let (_, lacks) = rows.up(to, pane_rows - 1);
            is_top = lacks > 0;
            rows.down(to, lacks)
        } else {
            rows.down(bottom, by.unsigned_abs())
        };
        let is_last = place.is_none() || place == rows.last();
        let place = place.filter(|_| !is_last || !rows.room.back.is_attached());
        self.put_bottom(now, place);
        if is_top {
            self.load(self.current, Loading::Older);
        }
    }

    /// Sets the lowest visible row; none: the end.
    fn put_bottom(&mut self, now: When, bottom: Option<At>) {
        let at = self.current;
        let Some(room) = self.rooms.get_mut(at) else { return };
        match bottom {
            Some(At { index, row }) => {
                room.place = Place::At { id: room.back.id_of(index), row };
            }
            None if room.back.is_attached() => room.go_to_end(),
            None => {
                let last = room.back.len().saturating_sub(1);
                room.place = Place::At { id: room.back.id_of(last), row: usize::MAX };
            }
        }
        self.changed = true;
        self.look_ahead(at);
        self.settle_read(now);
    }

    /// Requests more at the ends of the window, before it is needed.
    fn look_ahead(&mut self, at: usize) {
        let Some(room) = self.rooms.get(at) else { return };
        let Place::At { id, .. } = room.place else { return };
        let index = room.back.index_of(id);
        let pane = self.geometry.pane_rows;
        if index < AHEAD_LINES + pane {
            self.load(at, Loading::Older);
        } else if !room.back.is_attached() && index + AHEAD_LINES > room.back.len() {
            self.load(at, Loading::Newer);
        }
        let Some(room) = self.rooms.get(at) else { return };
        if !room.back.is_attached() && index + 1 >= room.back.len() {
            self.load(at, Loading::Newer);
        }
    }

    /// Requests older messages for a screen that is not full, and for its next pages.
    pub(super) fn fill(&mut self, at: usize) {
        let Some(room) = self.rooms.get(at) else { return };
        if room.history.failed || room.back.is_at_beginning() || !room.back.is_attached() {
            return;
        }
        let wanted = (self.height * AHEAD_PAGES).min(room.back.bound());
        // An ignored user may have sent thousands of messages; more are loaded when the user
        // scrolls.
        if room.history.barren > BARREN_PAGES_MAX {
            return;
        }
        if room.back.asked_from().is_some() {
            if room.back.len() < wanted && room.back.has_room() {
                self.load(at, Loading::Older);
            }
        } else if room.marks.head > 0 {
            self.load(at, Loading::Newest);
        }
    }

    /// Scrolls to the oldest line in memory, and requests older ones.
    pub(super) fn go_to_top(&mut self, now: When) {
        let Some((rows, pane_rows)) = self.rows() else { return };
        let first = (0..rows.room.back.len()).find(|index| rows.of(*index) > 0);
        let bottom = first.and_then(|index| rows.down(At { index, row: 0 }, pane_rows - 1));
        self.put_bottom(now, bottom);
        self.load(self.current, Loading::Older);
    }

    /// Scrolls to the newest message.
    pub(super) fn go_to_bottom(&mut self, now: When) {
        let at = self.current;
        let connected = self.server.is_up();
        let Some(room) = self.rooms.get_mut(at) else { return };
        room.selected = None;
        if !room.back.is_attached() {
            if !connected {
                // The newest lines in memory are shown meanwhile.
                return self.put_bottom(now, None);
            }
            room.history.loading = None;
            room.back.clear(true);
            self.load(at, Loading::Newest);
        }
        if let Some(room) = self.rooms.get_mut(at) {
            room.go_to_end();
        }
        self.changed = true;
        self.settle_read(now);
    }

    /// Scrolls back to the place before a search, if it is still in memory.
    pub(super) fn go_back_to(&mut self, now: When, place: Place) {
        match place {
            Place::At { id, .. } if self.room().is_some_and(|r| r.back.find(id).is_some()) => {
                if let Some(room) = self.room_mut() {
                    room.place = place;
                    room.selected = None;
                }
                self.changed = true;
            }
            Place::At { .. } | Place::End => self.go_to_bottom(now),
        }
    }

    /// Shows a message in the middle, and selects it. A message that is not in memory is requested.
    pub(super) fn go_to(&mut self, now: When, at: usize, seq: u64) {
        let Some(room) = self.rooms.get_mut(at) else { return };
        let Some(index) = room.back.index_of_seq(seq) else {
            room.history.loading = None;
            return self.load(at, Loading::Around(seq));
        };
        self.go_to_line(now, at, index);
    }

    /// Shows a line in the middle, and selects it.
    pub(super) fn go_to_line(&mut self, now: When, at: usize, index: usize) {
        let Some(room) = self.rooms.get_mut(at) else { return };
        room.selected = Some(room.back.id_of(index));
        if at == self.current {
            self.put_line(now, index, 2);
        }
    }

    /// Scrolls so that a part (`1 / share`) of the room is below the line's last row.
    fn put_line(&mut self, now: When, index: usize, share: usize) {
        let Some((rows, pane_rows)) = self.rows() else { return };
        let Some(at) = rows.lowest_at_or_above(index) else { return };
        let below = pane_rows / share;
        let bottom = rows.down(at, below);
        let bottom = match bottom {
            None => None,
            Some(bottom) => {
                let (_, lacks) = rows.up(bottom, pane_rows - 1);
                rows.down(bottom, lacks)
            }
        };
        self.put_bottom(now, bottom);
    }

    /// Scrolls to the first unread message.
    pub(super) fn jump_to_unread(&mut self, now: When) {
        let at = self.current;
        let Some(room) = self.rooms.get(at) else { return };
        if room.marks.marker >= room.marks.head {
            return self.hint("no unread messages here");
        }
        match room.first_unread().and_then(|seq| room.back.index_of_seq(seq)) {
            Some(index) => {
                let Some((rows, pane_rows)) = self.rows() else { return };
                let has = rows.of(index).max(1);
                let top = At { index, row: 0 };
                // A few rows of earlier messages stay visible.
                let below = pane_rows.saturating_sub(3).max(has.min(pane_rows) - 1);
                let bottom = rows.down(top, below);
                self.put_bottom(now, bottom);
            }
            None => {
                let seq = room.marks.marker + 1;
                self.go_to(now, at, seq);
            }
        }
    }

    /// Selects the message above or below the selected one.
    pub(super) fn select(&mut self, now: When, up: bool) {
        let lowest = self.lowest_seen();
        let Some(room) = self.room() else { return };
        let lines = room.back.len();
        let is_said = |index: &usize| matches!(room.back.get(*index), Some(Line::Said(_)));
        let next = match (room.selected.and_then(|id| room.back.find(id)), up) {
            (None, true) => (0..lowest.map_or(0, |at| at + 1)).rev().find(is_said),
            (None, false) => return,
            (Some(at), true) => (0..at).rev().find(is_said).or(Some(at)),
            (Some(at), false) => (at + 1..lines).find(is_said),
        };
        let id = next.map(|index| room.back.id_of(index));
        if let Some(room) = self.room_mut() {
            room.selected = id;
        }
        self.changed = true;
        match next {
            None => self.go_to_bottom(now),
            Some(index) => self.bring_into_sight(now, index),
        }
    }

    /// Returns the lowest visible line.
    pub(super) fn lowest_seen(&self) -> Option<usize> {
        let (rows, _) = self.rows()?;
        rows.bottom().map(|at| at.index)
    }

    /// Scrolls as little as necessary to show a line.
    fn bring_into_sight(&mut self, now: When, index: usize) {
        let Some((rows, pane_rows)) = self.rows() else { return };
        let (Some(bottom), Some(line)) = (rows.bottom(), rows.lowest_at_or_above(index)) else {
            return;
        };
        let (top, _) = rows.up(bottom, pane_rows - 1);
        if line.index > bottom.index || (line.index == bottom.index && line.row > bottom.row) {
            let is_last = Some(line) == rows.last();
            self.put_bottom(now, Some(line).filter(|_| !is_last));
        } else if line.index < top.index || (line.index == top.index && top.row > 0) {
            let first = At { index, row: 0 };
            let to = rows.down(first, pane_rows - 1);
            self.put_bottom(now, to);
            self.look_ahead(self.current);
        }
    }
}
