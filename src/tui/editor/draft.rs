//! A text in the making, with its cursor and the steps back.

use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

/// Steps back that are kept; the oldest go first.
const STEPS_MAX: usize = 1000;
/// Bytes that all steps back hold together; the last one stays in any case.
const STEPS_BYTES_MAX: usize = 1024 * 1024;

/// One change, with all that is needed to take it back and to do it again.
#[derive(Debug, Clone)]
struct Step {
    at: usize,
    removed: String,
    inserted: String,
    /// Where the cursor stood before it, and after.
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
    /// Always between two clusters.
    cursor: usize,
    undo: Vec<Step>,
    redo: Vec<Step>,
}

impl Draft {
    /// A text as if it had just been written, with the cursor at its end.
    pub(in crate::tui) fn of(text: &str) -> Self {
        let text = cleaned(text);
        Self { cursor: text.len(), text, ..Self::default() }
    }

    /// The text.
    pub(in crate::tui) fn text(&self) -> &str {
        &self.text
    }

    /// Where what is typed goes, in bytes.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// The text alone.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Puts the cursor there, or behind the cluster that the place is within.
    pub(super) fn go(&mut self, to: usize) {
        self.cursor = boundary_from(&self.text, to);
    }

    /// Puts one text in place of another, the cursor behind it.
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

    /// Puts more at the cursor, as a part of the last step; false if that did not end here.
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

    /// Puts another text in place of what the last step put in, as a part of it; false if `range` is
    /// something else.
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

    /// Takes the last step back; does nothing if there is none.
    pub(super) fn undo(&mut self) {
        if let Some(step) = self.undo.pop() {
            self.text.replace_range(step.at..step.end(), &step.removed);
            self.cursor = step.before;
            self.redo.push(step);
        }
    }

    /// Does again what was taken back last.
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
        // What was put in may have joined with what follows: a letter before a lone accent.
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

/// A text as the input can hold it: line ends are "\n", and of the control characters only they and
/// tabs stay.
pub(super) fn cleaned(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Where the cluster begins that ends at `at`.
pub(super) fn previous(text: &str, at: usize) -> usize {
    let before = GraphemeCursor::new(at, text.len(), true).prev_boundary(text, 0);
    before.ok().flatten().unwrap_or(0)
}

/// Where the cluster ends that begins at `at`.
pub(super) fn next(text: &str, at: usize) -> usize {
    let after = GraphemeCursor::new(at, text.len(), true).next_boundary(text, 0);
    after.ok().flatten().unwrap_or(text.len())
}

/// `at`, or the end of the cluster that it is within.
pub(super) fn boundary_from(text: &str, at: usize) -> usize {
    if is_boundary(text, at) { at } else { next(text, at) }
}

/// `at`, or the start of the cluster that it is within.
pub(super) fn boundary_to(text: &str, at: usize) -> usize {
    if is_boundary(text, at) { at } else { previous(text, at) }
}

/// Whether no cluster goes over `at`. The whole text is there, so that it can always be said.
fn is_boundary(text: &str, at: usize) -> bool {
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(false)
}
