//! Settings of the screen, and the appearance of lines.

use jiff::tz::TimeZone;

use crate::{
    chat::names::Label,
    config::screen::{NotifyWish as Alert, PanelWish as Panel},
    tui::{keys::Keys, paint::Paint},
};

/// Appearance of lines: everything beside the room that decides their rows.
#[derive(Debug)]
pub(in crate::tui) struct Look {
    pub(in crate::tui) paint: Paint,
    pub(in crate::tui) zone: TimeZone,
    /// Format of times, strftime of jiff.
    pub(in crate::tui) time_format: String,
    pub(in crate::tui) date_format: String,
    /// True without panels, frames and gutter, for copying.
    pub(in crate::tui) plain: bool,
    pub(in crate::tui) links: bool,
    /// True if joins and leaves are hidden.
    pub(in crate::tui) hide_moves: bool,
    /// The current user, for mentions.
    pub(in crate::tui) user: String,
    /// Words of the search, in lower case.
    pub(in crate::tui) words: Vec<String>,
}

/// Settings of the screen.
#[derive(Debug)]
pub(in crate::tui) struct Options {
    pub(in crate::tui) keys: Keys,
    pub(in crate::tui) look: Look,
    pub(in crate::tui) rooms_panel: Panel,
    pub(in crate::tui) members_panel: Panel,
    pub(in crate::tui) rooms_columns: usize,
    pub(in crate::tui) members_columns: usize,
    pub(in crate::tui) bell: Alert,
    pub(in crate::tui) notify: Alert,
    /// Maximum lines of a paste without a question.
    pub(in crate::tui) paste_lines: usize,
    pub(in crate::tui) mouse: bool,
    /// Maximum lines of a room in memory.
    pub(in crate::tui) lines: usize,
    /// True if only the named rooms are opened.
    pub(in crate::tui) only_named: bool,
    /// True if nothing can be sent.
    pub(in crate::tui) read_only: bool,
    pub(in crate::tui) label: Option<Label>,
    /// Name or directory of the server.
    pub(in crate::tui) server: String,
}
