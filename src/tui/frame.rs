//! Frames: rows of styled text, and the place of the cursor. Free of the terminal.

use std::sync::Arc;

use ratatui::style::Style;

use super::width::width;

/// A piece of a row in one style.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// Text that is safe to show, without line ends and tabs.
    pub(super) text: String,
    pub(super) style: Style,
    /// Target of a click.
    pub(super) link: Option<Arc<str>>,
}

/// One row of the screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    pub(super) spans: Vec<Span>,
}

impl Row {
    /// Returns a row of one piece.
    pub(super) fn of(text: impl Into<String>, style: Style) -> Self {
        let mut row = Self::default();
        row.push(text, style);
        row
    }

    /// Adds a piece at the end.
    pub(super) fn push(&mut self, text: impl Into<String>, style: Style) {
        self.spans.push(Span { text: text.into(), style, link: None });
    }

    /// Returns the columns of the row.
    pub(super) fn width(&self) -> usize {
        self.spans.iter().map(|span| width(&span.text)).sum()
    }

    /// Returns the text without styles.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }
}

/// A whole screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Frame {
    /// Rows from the top; no more than the screen has, none wider than it.
    pub(super) rows: Vec<Row>,
    /// Column and row of the cursor; none: hidden.
    pub(super) cursor: Option<(u16, u16)>,
}
