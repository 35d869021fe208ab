//! Text that comes in by standard input, as any system writes it.

use std::borrow::Cow;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line without its end, as Unix or as Windows writes that.
pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

/// The beginning of the input without a byte order mark.
pub(super) fn without_mark(input: &[u8]) -> &[u8] {
    input.strip_prefix(BYTE_ORDER_MARK).unwrap_or(input)
}

/// A whole input as one text: without its mark and its last line end; its other line ends are those
/// of Unix.
pub(super) fn whole(input: &[u8]) -> Cow<'_, [u8]> {
    let text = without_line_end(without_mark(input));
    if !text.windows(2).any(|two| two == b"\r\n") {
        return text.into();
    }
    let is_kept = |at: &usize| text[*at] != b'\r' || text.get(at + 1) != Some(&b'\n');
    (0..text.len()).filter(is_kept).map(|at| text[at]).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_end_of_windows_is_a_line_end() {
        for (line, text) in [
            ("a\r\n", "a"),
            ("a\n", "a"),
            ("a\r", "a\r"),
            ("a\r\r\n", "a\r"),
            ("\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(without_line_end(line.as_bytes()), text.as_bytes(), "{line:?}");
        }
    }

    #[test]
    fn whole_input_has_line_ends_of_unix() {
        for (input, text) in [
            ("\u{feff}a\r\nb\r\n", "a\nb"),
            ("a\rb\r\r\nc", "a\rb\r\nc"),
            ("a\n\r\n", "a\n"),
            ("a\u{feff}b\n", "a\u{feff}b"),
        ] {
            assert_eq!(&*whole(input.as_bytes()), text.as_bytes(), "{input:?}");
        }
    }
}
