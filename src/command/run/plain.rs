//! Output for a terminal as plain text: its escape sequences are removed, however the bytes come.
//! Pure.

/// Bytes after which a sequence without an end is given up: the rest is text.
const SEQUENCE_BYTES_MAX: usize = 64 * 1024;

/// Position in an escape sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum PlainState {
    #[default]
    Text,
    /// Directly after ESC.
    Escape,
    /// After ESC and an intermediate byte, such as `(`.
    Designation,
    /// In `ESC [ …`.
    Control(Parameter),
    /// In a title or a link (`ESC ] …`), which ends with its line.
    Title,
    /// In an image or another string for the terminal.
    Data,
    /// After ESC in such a string.
    DataEscape,
}

/// Parameters of a sequence so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameter {
    None,
    /// The first place, which 0 names as well.
    First,
    Other,
}

/// Removes the escape sequences of one output.
#[derive(Debug, Default)]
pub(super) struct Plain {
    state: PlainState,
    /// Bytes of the sequence so far.
    bytes: usize,
    /// The line has text.
    is_inside_line: bool,
}

impl Plain {
    /// Returns the text in these bytes. A return to column 1 becomes a carriage return, a jump to
    /// another place a line end, and a backspace takes a character away if it came in the same
    /// bytes.
    pub(super) fn text(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.push(*byte, &mut text);
        }
        text
    }

    fn push(&mut self, byte: u8, text: &mut Vec<u8>) {
        self.bytes = if self.state == PlainState::Text { 0 } else { self.bytes + 1 };
        if self.bytes > SEQUENCE_BYTES_MAX {
            self.state = PlainState::Text;
        }
        self.state = match (self.state, byte) {
            // These end any sequence.
            (_, 0x18 | 0x1a) => PlainState::Text,
            (PlainState::Data, 0x1b) => PlainState::DataEscape,
            (PlainState::DataEscape, b'\\') => PlainState::Text,
            (_, 0x1b) => PlainState::Escape,
            (PlainState::Title, b'\n') => self.say(byte, text),
            (PlainState::Title | PlainState::Data, 0x07) => PlainState::Text,
            (PlainState::Title | PlainState::Data, _) => self.state,
            (PlainState::Text, _) => self.say(byte, text),
            // Other control characters act as if there were no sequence around them.
            (state, 0x00..=0x1f) => {
                self.say(byte, text);
                state
            }
            (PlainState::Escape | PlainState::DataEscape, b'[') => {
                PlainState::Control(Parameter::None)
            }
            (PlainState::Escape | PlainState::DataEscape, b']') => PlainState::Title,
            (PlainState::Escape | PlainState::DataEscape, b'P' | b'X' | b'^' | b'_') => {
                PlainState::Data
            }
            (
                PlainState::Escape | PlainState::DataEscape | PlainState::Designation,
                0x20..=0x2f,
            ) => PlainState::Designation,
            (
                PlainState::Escape | PlainState::DataEscape | PlainState::Designation,
                0x30..=0x7e,
            ) => PlainState::Text,
            (PlainState::Control(Parameter::None), b'0' | b'1') => {
                PlainState::Control(Parameter::First)
            }
            (PlainState::Control(_), 0x20..=0x3f) => PlainState::Control(Parameter::Other),
            (PlainState::Control(Parameter::None | Parameter::First), b'G' | b'`') => {
                self.say(b'\r', text)
            }
            (PlainState::Control(_), b'H' | b'f') if self.is_inside_line => self.say(b'\n', text),
            (PlainState::Control(_), 0x40..=0x7e) => PlainState::Text,
            // Not a sequence.
            (_, _) => self.say(byte, text),
        };
    }

    fn say(&mut self, byte: u8, text: &mut Vec<u8>) -> PlainState {
        match byte {
            b'\n' => self.is_inside_line = false,
            b'\r' | b'\t' => {}
            0x08 => {
                take_character(text);
                return PlainState::Text;
            }
            0x00..=0x1f | 0x7f => return PlainState::Text,
            _ => self.is_inside_line = true,
        }
        text.push(byte);
        PlainState::Text
    }
}

/// Removes the last character of a line.
fn take_character(text: &mut Vec<u8>) {
    while let Some(byte) = text.pop_if(|byte| !matches!(byte, b'\r' | b'\n')) {
        if !matches!(byte, 0x80..=0xbf) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(bytes: &[u8]) -> String {
        String::from_utf8_lossy(&Plain::default().text(bytes)).into_owned()
    }

    #[test]
    fn sequences_are_removed_and_text_stays() {
        for (output, text) in [
            ("plain 한\ttext\r\n", "plain 한\ttext\r\n"),
            ("\x1b[1;32mgreen\x1b[0m \x1b[38:2::1:2:3mx\x1b[m", "green x"),
            ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
            ("\x1b]0;no end\nnext", "\nnext"),
            ("\x1bPq\n#0;1\x1b\\after \x1b_Gdata\x1b\\image", "after image"),
            ("\x1b(Bx\x1b=y\x1bMz\x1b#8", "xyz"),
            ("50%\r\x1b[K60%\x1b[1G70%\x1b[G80%\x1b[2G90%", "50%\r60%\r70%\r80%90%"),
            ("\x1b[H\x1b[2Jtop\x1b[5;1Hlow\n\x1b[Hend", "top\nlow\nend"),
            ("ab\x08c 한\x08글\n\x08\x08d", "ac 글\nd"),
            ("bell\x07 nul\0 \x0eshift\x0f", "bell nul shift"),
            ("\x1b[?25l\x1b[?2004hx\x1b[>1u\x1b[!py\x1b[ q", "xy"),
            ("\x1b[3\x18cut \x1b\x1b[1mtwice", "cut twice"),
            ("\x1b[1\n2mx", "\nx"),
            ("\x1b한", "한"),
        ] {
            assert_eq!(plain(output.as_bytes()), text, "{output:?}");
        }
    }

    #[test]
    fn sequence_without_an_end_does_not_take_all() {
        let output = [b"\x1bP".to_vec(), vec![b'x'; SEQUENCE_BYTES_MAX], b"text".to_vec()].concat();
        assert!(plain(&output).ends_with("text"));
    }

    proptest! {
        #[test]
        fn text_is_the_same_however_it_comes(
            parts in proptest::collection::vec(prop_oneof![
                any::<Vec<u8>>().prop_map(|bytes| bytes.into_iter().filter(|b| *b != 8).collect()),
                Just(b"\x1b[1;31m".to_vec()),
                Just(b"\x1b]0;t\x1b\\".to_vec()),
                Just(b"\x1b[1G".to_vec()),
                Just(b"\x1bPx\x1b\\".to_vec()),
            ], 0..12),
            cut in 1..9_usize,
        ) {
            let all = parts.concat();
            let whole = Plain::default().text(&all);
            let mut plain = Plain::default();
            let cut: Vec<u8> = all.chunks(cut).flat_map(|part| plain.text(part)).collect();
            prop_assert_eq!(&cut, &whole);
            let commands = |b: &u8| matches!(b, 0x00..=0x08 | 0x0b | 0x0c | 0x0e..=0x1f | 0x7f);
            prop_assert!(!whole.iter().any(commands), "{:?}", whole);
            prop_assert!(whole.len() <= all.len());
        }
    }
}
