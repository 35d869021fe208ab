//! Wrapping: texts as rows, and two columns side by side.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::{
    scripts::is_ideograph,
    width::{columns, filled, space_columns, width},
};

/// Returns a text as rows of at most `first` and then `rest` columns, as byte ranges. Rows break at
/// spaces, which are dropped there, and between ideographs; a word longer than a row breaks between
/// any clusters. Spaces at the start of a line are kept. Zero columns count as one, and there is at
/// least one row.
pub(super) fn wrap(text: &str, first: usize, rest: usize) -> Vec<Range<usize>> {
    let mut wrapper = Wrapper::new(text, first, rest);
    let mut word: Option<Word> = None;
    for (at, cluster) in text.grapheme_indices(true) {
        let end = at + cluster.len();
        let space = is_space(cluster);
        if cluster.ends_with('\n')
            || space
            || word.as_ref().is_some_and(|w| breaks_between(w.last, cluster))
        {
            word.take().into_iter().for_each(|word| wrapper.word(&word));
        }
        if cluster.ends_with('\n') {
            wrapper.end_line(end);
        } else if space {
            wrapper.space(cluster, end);
        } else {
            let word = word.get_or_insert(Word { range: at..at, columns: 0, last: ' ' });
            word.range.end = end;
            word.columns += columns(cluster);
            word.last = cluster.chars().next_back().unwrap_or(word.last);
        }
    }
    word.into_iter().for_each(|word| wrapper.word(&word));
    wrapper.end_line(text.len());
    wrapper.rows
}

/// Columns of usages and keys, before their descriptions.
const LEFT_COLUMNS: usize = 28;

/// Returns a usage or key and its description, side by side in `columns`. A left side that is too
/// long has rows of its own.
pub(super) fn entry(left: &str, about: &str, columns: usize) -> Vec<String> {
    let whole = wrap(left, columns, columns);
    let mut rows: Vec<String> = whole.into_iter().map(|row| left[row].to_owned()).collect();
    let beside = columns.saturating_sub(LEFT_COLUMNS);
    for (nth, range) in wrap(about, beside, beside).into_iter().enumerate() {
        let left = rows.pop_if(|row| nth == 0 && width(row) < LEFT_COLUMNS).unwrap_or_default();
        rows.push(filled(&left, LEFT_COLUMNS) + &about[range]);
    }
    rows
}

/// Returns true if a row may end at a cluster; no-break spaces count as letters.
pub(super) fn is_space(cluster: &str) -> bool {
    let blank = |c: char| c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}');
    let mut chars = cluster.chars();
    chars.next().is_some_and(blank) && chars.next().is_none()
}

/// Clusters that stay together if they can.
struct Word {
    range: Range<usize>,
    columns: usize,
    last: char,
}

/// Returns true if a row may end between a character and the cluster behind it. Chinese and
/// Japanese write without spaces; Korean does not.
pub(super) fn breaks_between(last: char, next: &str) -> bool {
    let before = is_ideograph(last) || matches!(last, '、' | '。' | '，' | '」' | '』');
    before && next.starts_with(is_ideograph)
}

/// The current row, and those before it.
struct Wrapper<'a> {
    text: &'a str,
    first: usize,
    rest: usize,
    rows: Vec<Range<usize>>,
    /// The row up to its last word.
    row: Range<usize>,
    /// True while the row has only spaces.
    blank: bool,
    /// End of the row and its columns, with the spaces behind the last word that fit.
    end: usize,
    column: usize,
    /// True if a space did not fit: the text behind it does not either.
    full: bool,
}

impl<'a> Wrapper<'a> {
    fn new(text: &'a str, first: usize, rest: usize) -> Self {
        let (first, rest, rows) = (first.max(1), rest.max(1), Vec::new());
        Self { text, first, rest, rows, row: 0..0, blank: true, end: 0, column: 0, full: false }
    }

    /// Returns the columns of the current row.
    fn limit(&self) -> usize {
        if self.rows.is_empty() { self.first } else { self.rest }
    }

    /// Ends the row behind its last word.
    fn turn(&mut self, next: usize) {
        self.rows.push(self.row.clone());
        self.row = next..next;
        self.end = next;
        (self.column, self.blank, self.full) = (0, true, false);
    }

    /// Ends the row with the spaces that fit.
    fn end_line(&mut self, next: usize) {
        self.row.end = self.end;
        self.turn(next);
    }

    fn space(&mut self, cluster: &str, end: usize) {
        let column = self.column + space_columns(cluster, self.column);
        self.full |= column > self.limit();
        if !self.full {
            (self.column, self.end) = (column, end);
        }
    }

    fn put(&mut self, end: usize, columns: usize) {
        (self.row.end, self.end, self.blank) = (end, end, false);
        self.column += columns;
    }

    fn fits(&self, columns: usize) -> bool {
        !self.full && self.column + columns <= self.limit()
    }

    fn word(&mut self, word: &Word) {
        // A word that is too long for any row is broken in place, and so is the first of a line
        // behind its indentation: on a small screen no row should be empty.
        if !self.fits(word.columns) && !self.blank && word.columns <= self.rest {
            self.turn(word.range.start);
        }
        if self.fits(word.columns) {
            return self.put(word.range.end, word.columns);
        }
        if self.full {
            self.row.end = if self.blank { self.end } else { self.row.end };
            self.turn(word.range.start);
        }
        self.pieces(&word.range);
    }

    fn pieces(&mut self, range: &Range<usize>) {
        let text = self.text;
        for (at, cluster) in text[range.clone()].grapheme_indices(true) {
            let (at, wide) = (range.start + at, columns(cluster));
            // A cluster that is wider than any row gets a row of its own.
            if !self.fits(wide) && (self.column > 0 || (self.rows.is_empty() && wide <= self.rest))
            {
                self.turn(at);
            }
            self.put(at + cluster.len(), wide);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    use super::*;
    use crate::tui::width::tests::{FAMILY, any_text};

    fn wrapped(text: &str, first: usize, rest: usize) -> Vec<&str> {
        wrap(text, first, rest).into_iter().map(|range| &text[range]).collect()
    }

    fn without_spaces(text: &str) -> String {
        text.graphemes(true).filter(|c| !is_space(c) && !c.ends_with('\n')).collect()
    }

    #[test]
    fn entry_too_long_for_its_column_is_above_its_description() {
        let blank = " ".repeat(LEFT_COLUMNS);
        assert_eq!(entry("Alt-Y", "copy its text", 60), [format!("{:28}copy its text", "Alt-Y")]);
        for left in ["/announce [--level L] TEXT ..", "Alt-Enter, Ctrl-J, Shift-Enter"] {
            assert_eq!(entry(left, "a new line", 60), [left, &format!("{blank}a new line")]);
        }
        assert_eq!(
            entry("Tab", "complete a name, a room", 40),
            [format!("{:28}complete a", "Tab"), format!("{blank}name, a room")]
        );
        assert_eq!(entry("", "", 40), [blank]);
    }

    #[test]
    fn korean_breaks_at_spaces() {
        let text = "오늘 회의는 세 시에 시작합니다";
        assert_eq!(wrapped(text, 12, 12), ["오늘 회의는", "세 시에", "시작합니다"]);
        assert_eq!(wrapped(text, 4, 16), ["오늘", "회의는 세 시에", "시작합니다"]);
        let decomposed: String = text.nfd().collect();
        let rows: Vec<String> =
            wrapped(&decomposed, 12, 12).into_iter().map(|row| row.nfc().collect()).collect();
        assert_eq!(rows, ["오늘 회의는", "세 시에", "시작합니다"]);
    }

    #[test]
    fn a_word_longer_than_a_row_breaks_where_the_row_ends() {
        assert_eq!(wrapped("가나다라마바사", 6, 6), ["가나다", "라마바", "사"]);
        assert_eq!(wrapped("가나다라마바사", 7, 5), ["가나다", "라마", "바사"]);
        assert_eq!(wrapped("ab abcdefghij kl", 6, 6), ["ab abc", "defghi", "j kl"]);
        assert_eq!(wrapped("abcdef ghi", 6, 6), ["abcdef", "ghi"]);
        assert_eq!(wrapped("abcdef   ghijklmnop", 6, 6), ["abcdef", "ghijkl", "mnop"]);
        assert_eq!(wrapped(&FAMILY.repeat(3), 5, 5), [&FAMILY.repeat(2), FAMILY]);
        assert_eq!(wrapped("🇰🇷🇯🇵🇩🇪", 3, 3), ["🇰🇷", "🇯🇵", "🇩🇪"]);
    }

    #[test]
    fn chinese_and_japanese_break_between_letters() {
        assert_eq!(wrapped("see 日本語の文", 10, 10), ["see 日本語", "の文"]);
        assert_eq!(wrapped("日本語。文", 6, 6), ["日本", "語。文"], "no full stop begins a row");
    }

    #[test]
    fn lines_and_spaces_stay_but_where_a_row_breaks() {
        assert_eq!(wrapped("", 9, 9), [""]);
        assert_eq!(wrapped("a\n\nb\n", 9, 9), ["a", "", "b", ""]);
        assert_eq!(wrapped("a\r\nb", 9, 9), ["a", "b"]);
        assert_eq!(wrapped("  if x {\n    y", 9, 9), ["  if x {", "    y"]);
        assert_eq!(wrapped("one  two", 4, 4), ["one", "two"]);
        assert_eq!(wrapped("one ", 4, 4), ["one "]);
        assert_eq!(wrapped("one  ", 4, 4), ["one "]);
        assert_eq!(wrapped("      x", 4, 4), ["    ", "x"]);
        assert_eq!(wrapped("   abcdef", 4, 4), ["   a", "bcde", "f"]);
        assert_eq!(wrapped("10\u{a0}km away", 8, 8), ["10\u{a0}km", "away"]);
        assert_eq!(wrapped("3\u{a0}km far", 4, 9), ["3\u{a0}km", "far"]);
    }

    proptest! {
        #[test]
        fn all_but_spaces_appears_once_and_in_order(
            text in any_text(), first in 0..30usize, rest in 0..30usize
        ) {
            let ranges = wrap(&text, first, rest);
            let all: String = ranges.iter().map(|range| without_spaces(&text[range.clone()])).collect();
            prop_assert_eq!(all, without_spaces(&text));
            let edges: Vec<_> = text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]).collect();
            for range in &ranges {
                prop_assert!(range.start <= range.end);
                prop_assert!(edges.contains(&range.start) && edges.contains(&range.end));
            }
            prop_assert!(ranges.is_sorted_by_key(|range| range.start));
        }
    }
}
