//! Aligned columns: by display width, so that Korean and emoji are where they should be.

use unicode_width::UnicodeWidthStr;

use crate::tui;

/// Columns below which a row takes two lines.
const ONE_LINE_COLUMNS: usize = 60;
/// Columns below which no cell is shortened.
const CELL_COLUMNS_MIN: usize = 4;
const GAP: usize = 2;
const INDENT: &str = "  ";

/// A table whose first `split` columns are the first line of a row on a narrow terminal.
#[derive(Debug)]
pub(super) struct Table<'a, const N: usize> {
    pub(super) header: [&'a str; N],
    /// Columns that may be shortened; a number that lacks a digit is a wrong one.
    pub(super) flexible: [bool; N],
    pub(super) split: usize,
}

impl<const N: usize> Table<'_, N> {
    /// Lines with a header, columns two spaces apart, no spaces at line ends; not wider than the
    /// terminal, if it is one.
    pub(super) fn text(&self, rows: &[[String; N]], columns: Option<usize>) -> String {
        let mut widths = self.header.map(UnicodeWidthStr::width);
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let limit = columns.unwrap_or(usize::MAX);
        let split = if limit < ONE_LINE_COLUMNS { self.split } else { N };
        fit(&mut widths[..split], &self.flexible[..split], limit);
        fit(&mut widths[split..], &self.flexible[split..], limit.saturating_sub(INDENT.len()));
        let mut out = String::new();
        let mut put = |cells: &[&str]| {
            out.push_str(&line(&cells[..split], &widths[..split], "", limit));
            if split < N {
                out.push_str(&line(&cells[split..], &widths[split..], INDENT, limit));
            }
        };
        put(&self.header);
        for row in rows {
            put(&row.each_ref().map(String::as_str));
        }
        out
    }
}

/// Narrows the widest flexible columns until all fit, or none can be narrower.
fn fit(widths: &mut [usize], flexible: &[bool], limit: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > limit {
        let narrowed = widths
            .iter_mut()
            .zip(flexible)
            .filter(|(width, is)| **is && **width > CELL_COLUMNS_MIN);
        let Some((widest, _)) = narrowed.max_by_key(|(width, _)| **width) else { return };
        *widest -= 1;
    }
}

fn line(cells: &[&str], widths: &[usize], indent: &str, limit: usize) -> String {
    let mut line = indent.to_owned();
    for (width, cell) in widths.iter().zip(cells) {
        let is_whole = cell.width() <= *width;
        let cell = if is_whole { (*cell).into() } else { tui::cut(cell, *width) };
        line.push_str(&cell);
        line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + GAP));
    }
    let line = line.trim_end();
    let whole = if line.width() <= limit { line.into() } else { tui::cut(line, limit) };
    format!("{whole}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table<'_, 3> =
        Table { header: ["NAME", "PID", "ROOM"], flexible: [true, false, true], split: 2 };

    fn row(name: &str, pid: &str, room: &str) -> [String; 3] {
        [name, pid, room].map(str::to_owned)
    }

    #[test]
    fn korean_and_latin_columns_begin_at_the_same_place() {
        let table = TABLE.text(&[row("철수/봇", "1", "회의"), row("ann", "22", "dev")], None);
        assert_eq!(table, "NAME     PID  ROOM\n철수/봇  1    회의\nann      22   dev\n");
    }

    #[test]
    fn table_fits_every_terminal_and_a_pipe_gets_all() {
        let long = [row(&"n".repeat(49), "1234567", &"회의".repeat(30)), row("ann", "7", "dev")];
        assert!(TABLE.text(&long, None).lines().any(|line| line.width() > 150));
        for columns in 1..200 {
            let table = TABLE.text(&long, Some(columns));
            assert!(table.lines().all(|line| line.width() <= columns), "{columns}: {table}");
            let lines = if columns < ONE_LINE_COLUMNS { 6 } else { 3 };
            assert_eq!(table.lines().count(), lines, "{columns}: {table}");
            if columns >= 20 {
                assert!(table.contains("1234567"), "a number is whole: {table}");
            }
        }
        let table = TABLE.text(&long, Some(80));
        assert!(table.contains("…") && table.contains("ann"), "{table}");
        let narrow = TABLE.text(&[row("ann", "7", "dev")], Some(40));
        assert_eq!(narrow, "NAME  PID\n  ROOM\nann   7\n  dev\n");
    }
}
