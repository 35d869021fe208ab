//! The input as rows of a given width, and the positions of the text in them.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation as _;

use crate::{
    chat::text::{is_unsafe_to_show, shown},
    tui::{
        width::{CUT, drawn, space_columns, width},
        wrap::{breaks_between, is_space},
    },
};

/// The input as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Layout {
    /// Rows, at least one; none wider than the given columns.
    pub(in crate::tui) rows: Vec<String>,
    /// Column and row of the cursor; always within the columns, and on one of the rows.
    pub(in crate::tui) cursor: (usize, usize),
    /// Positions of the cursor in each row.
    stops: Vec<Stops>,
    columns: usize,
}

/// Starts of the clusters in one row, as bytes of the text and columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Stops {
    places: Vec<(usize, usize)>,
    /// True if the line ends in this row, whose last position is then its end; otherwise it
    /// continues in the next row.
    ends_line: bool,
}

impl Layout {
    /// Lays out a text, broken at spaces where possible.
    pub(super) fn of(text: &str, cursor: usize, columns: usize) -> Self {
        let columns = columns.max(1);
        let mut setter = Setter { columns, ..Setter::default() };
        let mut at = 0;
        for line in text.split('\n') {
            setter.line(at, line);
            at += line.len() + 1;
        }
        let mut layout = Self { rows: setter.rows, cursor: (0, 0), stops: setter.stops, columns };
        layout.find_cursor(cursor);
        layout
    }

    /// Returns the position in the text that is shown in a row, at a column or before it; none if
    /// the row belongs to a cluster that began above.
    pub(super) fn place(&self, column: usize, row: usize) -> Option<usize> {
        let places = &self.stops[row].places;
        let last = column.min(self.columns - 1);
        let first = || places.iter().find(|place| place.1 < self.columns);
        let place = places.iter().rfind(|place| place.1 <= last).or_else(first);
        place.map(|place| place.0)
    }

    fn find_cursor(&mut self, byte: usize) {
        let found = self.stops.iter().enumerate().find_map(|(row, stops)| {
            let nth = stops.places.iter().position(|place| place.0 == byte)?;
            Some((row, nth, stops.places[nth].1))
        });
        let Some((row, nth, column)) = found else { return };
        if column < self.columns {
            self.cursor = (column, row);
            return;
        }
        // The cursor is behind the last column, so it appears in the next row, where the next
        // letter will.
        self.cursor = (0, row + 1);
        let stops = &mut self.stops[row];
        if stops.ends_line {
            stops.places.remove(nth);
            let further = Stops { places: vec![(byte, 0)], ends_line: true };
            self.stops.insert(row + 1, further);
            self.rows.insert(row + 1, String::new());
        }
    }
}

/// Layout in progress, one cluster after the other.
#[derive(Debug, Default)]
struct Setter {
    columns: usize,
    rows: Vec<String>,
    stops: Vec<Stops>,
    /// The current row.
    row: String,
    places: Vec<(usize, usize)>,
    column: usize,
    /// Last character of the current word; none between words.
    last: Option<char>,
    /// Position where the current row can be broken.
    break_at: Option<Break>,
    /// True if the row ends with a space that has no column.
    hangs: bool,
}

/// Length of a row up to some position.
#[derive(Debug, Clone, Copy)]
struct Break {
    bytes: usize,
    places: usize,
    column: usize,
}

impl Setter {
    /// Lays out a line that begins at byte `at` of the text.
    fn line(&mut self, at: usize, line: &str) {
        for (offset, cluster) in line.grapheme_indices(true) {
            // Spaces that are shown as an escape are parts of words.
            if cluster == "\t" || is_space(cluster) && !cluster.contains(is_unsafe_to_show) {
                self.space(at + offset, cluster);
            } else {
                self.cluster(at + offset, cluster);
            }
        }
        self.places.push((at + line.len(), self.column));
        self.end_row(true);
        self.last = None;
    }

    /// Adds a space. It breaks no row: behind the last column it has no width, and the next word
    /// begins a row.
    fn space(&mut self, at: usize, space: &str) {
        if self.column == self.columns && self.hangs {
            self.end_row(false);
        }
        self.places.push((at, self.column));
        let room = self.columns - self.column;
        self.hangs = room == 0;
        let wanted = space_columns(space, self.column).min(room);
        self.row.extend(std::iter::repeat_n(' ', wanted));
        self.column += wanted;
        self.last = None;
        self.may_break();
    }

    fn cluster(&mut self, at: usize, cluster: &str) {
        let text = visible(cluster);
        if self.last.is_some_and(|last| breaks_between(last, cluster)) {
            self.may_break();
        }
        self.last = cluster.chars().next_back();
        let mut place = Some(at);
        // An escape has several clusters.
        for piece in text.graphemes(true) {
            // A cluster that is wider than any row can't be shown.
            let piece = if width(piece) > self.columns { CUT } else { piece };
            self.make_room(width(piece));
            self.places.extend(place.take().map(|at| (at, self.column)));
            self.row.push_str(piece);
            self.column += width(piece);
        }
    }

    fn may_break(&mut self) {
        let (bytes, places) = (self.row.len(), self.places.len());
        // The previous row must not be left empty.
        self.break_at = (places > 0).then_some(Break { bytes, places, column: self.column });
    }

    /// Begins a new row if fewer than `columns` are left, with the word that does not fit as a
    /// whole.
    fn make_room(&mut self, columns: usize) {
        while self.column + columns > self.columns {
            match self.break_at.take() {
                Some(at) => self.break_row(at),
                None => self.end_row(false),
            }
        }
    }

    fn break_row(&mut self, at: Break) {
        let row = self.row.split_off(at.bytes);
        let places = self.places.split_off(at.places);
        let column = self.column - at.column;
        self.end_row(false);
        self.places = places.into_iter().map(|(byte, column)| (byte, column - at.column)).collect();
        (self.row, self.column) = (row, column);
    }

    fn end_row(&mut self, ends_line: bool) {
        self.rows.push(std::mem::take(&mut self.row));
        let places = std::mem::take(&mut self.places);
        self.stops.push(Stops { places, ends_line });
        self.column = 0;
        self.break_at = None;
        self.hangs = false;
    }
}

/// Returns a cluster as it can be shown.
fn visible(cluster: &str) -> Cow<'_, str> {
    match shown(cluster, false) {
        Cow::Borrowed(safe) => drawn(safe),
        Cow::Owned(written_out) => {
            written_out.graphemes(true).map(drawn).collect::<String>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;
    use crate::tui::{cells::tests::ends, frame::Row, wrap::wrap};

    impl Layout {
        /// Checks the invariants of every layout.
        pub(in crate::tui::editor) fn check(&self, text: &str, columns: usize) {
            let columns = columns.max(1);
            let (column, row) = self.cursor;
            assert!(column < columns && row < self.rows.len(), "{text:?} in {columns}: {self:?}");
            assert_eq!(self.rows.len(), self.stops.len());
            for row in &self.rows {
                assert!(width(row) <= columns, "{text:?} in {columns}: {row:?}");
                assert!(!row.contains(is_unsafe_to_show), "{row:?}");
            }
            let places = self.stops.iter().map(|stops| stops.places.len()).sum::<usize>();
            let lines = text.split('\n').map(|line| line.graphemes(true).count() + 1);
            assert_eq!(places, lines.sum::<usize>(), "each cluster and each end has one place");
        }
    }

    fn rows(text: &str, columns: usize) -> Vec<String> {
        Layout::of(text, 0, columns).rows
    }

    /// Column and row of the cursor at `|`.
    fn cursor(text: &str, columns: usize) -> (usize, usize) {
        let (cursor, text) = (text.find('|').unwrap(), text.replace('|', ""));
        let layout = Layout::of(&text, cursor, columns);
        layout.check(&text, columns);
        layout.cursor
    }

    #[test]
    fn rows_break_at_spaces_and_long_words_anywhere() {
        assert_eq!(rows("", 10), [""]);
        assert_eq!(rows("one two three", 8), ["one two ", "three"]);
        assert_eq!(rows("one two three", 7), ["one two", "three"]);
        assert_eq!(rows("one two three", 6), ["one ", "two ", "three"]);
        assert_eq!(rows("a abcdefghij b", 4), ["a ", "abcd", "efgh", "ij b"]);
        assert_eq!(rows("one\n\ntwo\n", 8), ["one", "", "two", ""]);
        assert_eq!(rows("회의는 내일입니다", 10), ["회의는 ", "내일입니다"]);
        assert_eq!(rows("ok 会議は明日です", 10), ["ok 会議は", "明日です"]);
        assert_eq!(rows("ab👩\u{200d}👧cd", 3), ["ab", "👩\u{200d}👧c", "d"]);
        assert_eq!(rows("x", 0), ["x"]);
        assert_eq!(rows("한a", 1), ["…", "a"]);
    }

    #[test]
    fn the_cursor_behind_a_full_row_is_in_the_next() {
        assert_eq!(cursor("abc|", 4), (3, 0));
        assert_eq!(cursor("abcd|", 4), (0, 1));
        assert_eq!(Layout::of("abcd", 4, 4).rows, ["abcd", ""]);
        assert_eq!(Layout::of("abcd", 3, 4).rows, ["abcd"]);
        assert_eq!(Layout::of("abcd\nx", 4, 4).rows, ["abcd", "", "x"]);
        assert_eq!(Layout::of("abcd\nx", 5, 4).rows, ["abcd", "x"]);
        assert_eq!(cursor("abcd |", 4), (0, 1));
        assert_eq!(cursor("abcd| e", 4), (0, 1));
        assert_eq!(cursor("abcd |e", 4), (0, 1));
        assert_eq!(cursor("abcd e|", 4), (1, 1));
        assert_eq!(cursor("한글|", 4), (0, 1));
        assert_eq!(cursor("a한|글", 4), (0, 1), "where the wide letter had to go");
        assert_eq!(cursor("one|\ntwo", 8), (3, 0));
        assert_eq!(cursor("one\n|two", 8), (0, 1));
        assert_eq!(cursor("one two|", 6), (3, 1));
    }

    #[test]
    fn wide_and_combined_characters_are_measured_as_shown() {
        assert_eq!(cursor("한글|", 20), (4, 0));
        assert_eq!(cursor("\u{1112}\u{1161}\u{11ab}|", 20), (2, 0));
        assert_eq!(cursor("👩\u{200d}👩\u{200d}👧|", 20), (2, 0));
        assert_eq!(cursor("🇰🇷|", 20), (2, 0));
        assert_eq!(cursor("e\u{301}|", 20), (1, 0));
        assert_eq!(cursor("a\tb|", 20), (5, 0));
        assert_eq!(rows("a\tb", 20), ["a   b"]);
        for text in ["ｶﾞｷﾞｸﾞ ﾊﾟ|", "か\u{3099}\u{3000}x|", "❤\u{fe0f}\t한|"] {
            let end = cursor(text, 20).0;
            let row = Row::of(&rows(&text.replace('|', ""), 20)[0], Style::new());
            assert_eq!(ends(&[row], 20), [Some(end)], "{text}");
        }
        assert_eq!(cursor("ｶﾞｷﾞｸﾞ ﾊﾟ|", 20), (9, 0));
    }

    #[test]
    fn the_input_breaks_where_the_message_will() {
        for text in
            ["日本語。文", "ok会議は明日", "👍👍👍", "가나다라", "会議\u{3000}明日", "日本ok"]
        {
            for columns in 4..8 {
                let rows = rows(text, columns);
                let said = wrap(text, columns, columns).into_iter().map(|range| &text[range]);
                let rows: Vec<_> = rows.iter().map(|row| row.trim_end()).collect();
                assert_eq!(rows, said.collect::<Vec<_>>(), "{text} in {columns}");
            }
        }
    }

    #[test]
    fn control_and_invisible_characters_are_made_visible() {
        assert_eq!(rows("a\u{202e}b", 20), ["a\\u{202e}b"]);
        assert_eq!(rows("a\u{202e}b", 4), ["a\\u{", "202e", "}b"]);
        assert_eq!(cursor("\u{202e}|", 20), (8, 0));
        assert_eq!(rows("\u{301}a", 20), ["◌\u{301}a"]);
        assert_eq!(rows("\u{1161}", 20), ["◌"]);
        assert_eq!(cursor("\u{200d}|", 20), (8, 0));
    }

    #[test]
    fn a_long_text_without_spaces_is_laid_out_in_one_go() {
        let text = "가".repeat(crate::limits::TEXT_BYTES_MAX / 3);
        let layout = Layout::of(&text, text.len(), 80);
        assert_eq!(layout.rows.len(), (text.len() / 3).div_ceil(40));
    }
}
