//! Places of the parts of a frame, against which clicks and pages are resolved.

/// Places of the parts of a frame, in columns and rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Geometry {
    /// Columns of the messages.
    pub(super) pane_columns: usize,
    /// Rows of the messages.
    pub(super) pane_rows: usize,
    /// Columns of the rooms' panel, if there is one.
    pub(super) rooms_columns: Option<usize>,
    /// True if there is a members' panel.
    pub(super) has_members: bool,
    /// Row of the screen where the panels begin.
    pub(super) body_from: usize,
    /// Numbers of the rooms in their panel, from the top.
    pub(super) rooms: Vec<usize>,
    /// Number of rows of the help that can be the first on the screen; only while the help is open.
    pub(super) help_rows: Option<usize>,
}

impl Geometry {
    /// Returns the number of the room at a place of the screen.
    pub(super) fn room_at(&self, column: u16, row: u16) -> Option<usize> {
        if usize::from(column) >= self.rooms_columns? {
            return None;
        }
        let nth = usize::from(row).checked_sub(self.body_from)?;
        self.rooms.get(nth).copied()
    }
}
