//! Rows and one-line texts that fit into a number of columns.

use std::borrow::Cow;

use ratatui::style::Style;

use super::{frame::Row, width};
use crate::chat::text::shown;

/// Maximum bytes of a text that a row looks at.
const ONE_LINE_BYTES: usize = 1_000;

/// Returns a row that is never wider than `columns`.
pub(super) fn fit(mut row: Row, columns: usize) -> Row {
    let mut left = columns;
    for at in 0..row.spans.len() {
        let span = &mut row.spans[at];
        let wide = width::width(&span.text);
        if wide > left {
            span.text = width::cut(&span.text, left).into_owned();
            row.spans.truncate(at + 1);
            break;
        }
        left -= wide;
    }
    row
}

/// Fills a row with blanks.
pub(super) fn pad(row: &mut Row, columns: usize) {
    let wide: usize = row.spans.iter().map(|span| width::width(&span.text)).sum();
    if wide < columns {
        row.push(" ".repeat(columns - wide), Style::default());
    }
}

/// Returns a row in one style from edge to edge.
pub(super) fn bar(mut row: Row, style: Style, columns: usize) -> Row {
    row = fit(row, columns);
    pad(&mut row, columns);
    row.spans.iter_mut().for_each(|span| span.style = style.patch(span.style));
    row
}

/// Returns the beginning of a text without line ends, safe to show, no wider than `columns`.
pub(super) fn one_line(written: &str, columns: usize) -> String {
    let end = written.floor_char_boundary(ONE_LINE_BYTES.max(4 * columns));
    let words: Vec<_> = written[..end].split_whitespace().collect();
    let line = words.join(" ");
    width::cut(&shown(&line, false), columns).into_owned()
}

/// Returns a name that another user chose, safe to show.
pub(super) fn safe(name: &str) -> Cow<'_, str> {
    shown(name, false)
}

/// Returns a count in few columns.
pub(super) fn count(number: u64) -> String {
    if number > 999 { "999+".to_owned() } else { number.to_string() }
}
