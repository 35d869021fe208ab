//! The input: prompt, editor and columns, which depend on the mode.

use super::{Mode, Model};
use crate::tui::editor::Editor;

/// Minimum columns of a screen with a prompt.
const PROMPT_FROM: usize = 20;

impl Model {
    /// Returns the prompt of the input and its editor.
    pub(in crate::tui) fn field(&self) -> (&'static str, &Editor) {
        let (prompt, editor) = match &self.mode {
            Mode::Chat | Mode::Help { .. } | Mode::Paste { .. } => ("> ", &self.editor),
            Mode::Switch { query, .. } => ("go to: ", query),
            Mode::Search(search) => ("search: ", &search.query),
        };
        (if self.columns < PROMPT_FROM { "" } else { prompt }, editor)
    }

    /// Returns the columns of the text in the input.
    pub(in crate::tui) fn input_columns(&self) -> usize {
        let (prompt, _) = self.field();
        self.columns.saturating_sub(prompt.len()).max(1)
    }
}
