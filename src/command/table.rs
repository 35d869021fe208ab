//! Aligned columns: by display width, so that Korean and emoji stand where they should.

use unicode_width::UnicodeWidthStr;

/// Lines with a header, columns two spaces apart, no spaces at line ends.
pub(super) fn aligned<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(UnicodeWidthStr::width);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut out = String::new();
    put(&mut out, &widths, header.into_iter());
    for row in rows {
        put(&mut out, &widths, row.iter().map(String::as_str));
    }
    out
}

fn put<'a>(out: &mut String, widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    let mut line = String::new();
    for (width, cell) in widths.iter().zip(cells) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width - cell.width() + 2));
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn korean_and_latin_columns_begin_at_the_same_place() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let table = aligned(["NAME", "ROOM"], &[row("철수/봇", "회의"), row("ann", "dev")]);
        assert_eq!(table, "NAME     ROOM\n철수/봇  회의\nann      dev\n");
    }
}
