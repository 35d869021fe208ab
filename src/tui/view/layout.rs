//! The layout of the screen: columns and rows of each part.

/// Where everything is, in columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::tui) struct Layout {
    /// Columns of the rooms' panel.
    pub(in crate::tui) rooms: Option<usize>,
    /// Columns of the members' panel.
    pub(in crate::tui) members: Option<usize>,
    /// Columns of the messages.
    pub(in crate::tui) pane_columns: usize,
    /// Rows of the messages.
    pub(in crate::tui) pane_rows: usize,
    pub(in crate::tui) title: bool,
    /// Rows of announcements.
    pub(in crate::tui) notices: usize,
    /// Whether a row says that there is more below.
    pub(in crate::tui) below: bool,
    /// Rows of a word to the user, of what completes, or of what can be done with a message.
    pub(in crate::tui) hint: usize,
    /// Whether a row says what is replied to.
    pub(in crate::tui) quote: bool,
    pub(in crate::tui) status: bool,
    /// Rows of the input.
    pub(in crate::tui) input: usize,
}

impl Layout {
    /// Rows between the announcements and what is above the input.
    pub(super) fn body_rows(&self) -> usize {
        self.pane_rows + usize::from(self.below)
    }

    /// Rows above those.
    pub(super) fn body_from(&self) -> usize {
        usize::from(self.title) + self.notices
    }
}
