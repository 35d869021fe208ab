//! A text being written, with its cursor and its undo steps.

use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

/// Maximum number of undo steps; the oldest are dropped first.
const STEPS_MAX: usize = 1000;
/// Maximum bytes of all undo steps; the last step is always kept.
const STEPS_BYTES_MAX: usize = 1024 * 1024;

/// One change, with the data to undo and redo it.
#[derive(Debug, Clone)]
struct Step {
    at: usize,
    removed: String,
    inserted: String,
    /// Position of the cursor before the change.
    before: usize,
    after: usize,
}

impl Step {
    fn end(&self) -> usize {
        self.at + self.inserted.len()
    }

    fn bytes(&self) -> usize {
        self.removed.len() + self.inserted.len()
    }
}

/// A text that is not sent yet. Each room has one.
#[derive(Debug, Clone, Default)]
pub(in crate::tui) struct Draft {
    text: String,
    /// Position in bytes, always between two clusters.
    cursor: usize,
    undo: Vec<Step>,
    redo: Vec<Step>,
}

impl Draft {
    /// Returns a draft of a text, with the cursor at its end and nothing to undo.
    pub(in crate::tui) fn of(text: &str) -> Self {
        let text = cleaned(text);
        Self { cursor: text.len(), text, ..Self::default() }
    }

    /// Returns the text of the draft.
    pub(in crate::tui) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the position of the cursor, in bytes.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Returns the text alone.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Moves the cursor to a position, or behind the cluster around it.
    pub(super) fn go(&mut self, to: usize) {
        self.cursor = boundary_from(&self.text, to);
    }

    /// Replaces a part of the text, and moves the cursor behind it.
    pub(super) fn change(&mut self, range: Range<usize>, with: &str) {
        if range.is_empty() && with.is_empty() {
            return;
        }
        let before = self.cursor;
        let removed = self.text[range.clone()].to_owned();
        self.put(range.clone(), with);
        let (at, inserted, after) = (range.start, with.to_owned(), self.cursor);
        self.undo.push(Step { at, removed, inserted, before, after });
        self.redo.clear();
        self.forget_oldest();
    }

    /// Inserts more at the cursor, as a part of the last step; returns false if that step did not
    /// end here.
    pub(super) fn go_on(&mut self, with: &str) -> bool {
        let at = self.cursor;
        let Some(mut step) = self.undo.pop_if(|step| step.end() == at) else {
            return false;
        };
        self.put(at..at, with);
        step.inserted.push_str(with);
        self.done_again(step);
        true
    }

    /// Replaces the text that the last step inserted, as a part of that step; returns false if
    /// `range` is another one.
    pub(super) fn instead(&mut self, range: Range<usize>, with: &str) -> bool {
        let same = |step: &mut Step| step.at == range.start && step.end() == range.end;
        let Some(mut step) = self.undo.pop_if(same) else {
            return false;
        };
        self.put(range, with);
        with.clone_into(&mut step.inserted);
        self.done_again(step);
        true
    }

    /// Undoes the last step; does nothing if there is none.
    pub(super) fn undo(&mut self) {
        if let Some(step) = self.undo.pop() {
            self.text.replace_range(step.at..step.end(), &step.removed);
            self.cursor = step.before;
            self.redo.push(step);
        }
    }

    /// Redoes the step that was undone last.
    pub(super) fn redo(&mut self) {
        if let Some(step) = self.redo.pop() {
            self.text.replace_range(step.at..step.at + step.removed.len(), &step.inserted);
            self.cursor = step.after;
            self.undo.push(step);
        }
    }

    fn put(&mut self, range: Range<usize>, with: &str) {
        let end = range.start + with.len();
        self.text.replace_range(range, with);
        // The inserted text may have joined with the text behind it: a letter before a lone accent.
        self.go(end);
    }

    fn done_again(&mut self, mut step: Step) {
        step.after = self.cursor;
        self.undo.push(step);
        self.redo.clear();
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        let mut bytes = 0;
        let kept = self.undo.iter().rev().take_while(|step| {
            bytes += step.bytes();
            bytes <= STEPS_BYTES_MAX
        });
        let kept = kept.take(STEPS_MAX).count().max(1);
        self.undo.drain(..self.undo.len().saturating_sub(kept));
    }
}

/// Returns a text that the input can hold: line ends are "\n", and no other control characters than
/// tabs are left.
pub(super) fn cleaned(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Returns the start of the cluster that ends at `at`.
pub(super) fn previous(text: &str, at: usize) -> usize {
    let before = GraphemeCursor::new(at, text.len(), true).prev_boundary(text, 0);
    before.ok().flatten().unwrap_or(0)
}

/// Returns the end of the cluster that begins at `at`.
pub(super) fn next(text: &str, at: usize) -> usize {
    let after = GraphemeCursor::new(at, text.len(), true).next_boundary(text, 0);
    after.ok().flatten().unwrap_or(text.len())
}

/// Returns `at`, or the end of the cluster around it.
pub(super) fn boundary_from(text: &str, at: usize) -> usize {
    if is_boundary(text, at) { at } else { next(text, at) }
}

/// Returns `at`, or the start of the cluster around it.
pub(super) fn boundary_to(text: &str, at: usize) -> usize {
    if is_boundary(text, at) { at } else { previous(text, at) }
}

/// Returns true if no cluster spans `at`. The whole text is known, so the answer is always certain.
fn is_boundary(text: &str, at: usize) -> bool {
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(false)
}
