//! What a terminal sends for keys, pastes, the wheel and the focus.

pub const ENTER: &str = "\r";
pub const ALT_ENTER: &str = "\x1b\r";
pub const ESCAPE: &str = "\x1b";
pub const TAB: &str = "\t";
pub const SHIFT_TAB: &str = "\x1b[Z";
pub const BACKSPACE: &str = "\x7f";
pub const DELETE: &str = "\x1b[3~";
pub const UP: &str = "\x1b[A";
pub const DOWN: &str = "\x1b[B";
pub const LEFT: &str = "\x1b[D";
pub const HOME: &str = "\x1b[H";
pub const END: &str = "\x1b[F";
pub const PAGE_UP: &str = "\x1b[5~";
pub const PAGE_DOWN: &str = "\x1b[6~";
pub const SHIFT_UP: &str = "\x1b[1;2A";
pub const SHIFT_DOWN: &str = "\x1b[1;2B";
pub const ALT_UP: &str = "\x1b[1;3A";
pub const ALT_DOWN: &str = "\x1b[1;3B";
pub const CTRL_UP: &str = "\x1b[1;5A";
pub const CTRL_HOME: &str = "\x1b[1;5H";
pub const CTRL_END: &str = "\x1b[1;5F";
/// The terminal's window has the keyboard, or has lost it.
pub const FOCUS_IN: &str = "\x1b[I";
pub const FOCUS_OUT: &str = "\x1b[O";

/// A letter with Control.
pub fn ctrl(letter: char) -> String {
    char::from(letter.to_ascii_uppercase() as u8 & 0x1f).to_string()
}

/// A character with Alt.
pub fn alt(c: char) -> String {
    format!("\x1b{c}")
}

/// `F1` to `F12`.
pub fn f(number: usize) -> &'static str {
    const KEYS: [&str; 12] = [
        "\x1bOP", "\x1bOQ", "\x1bOR", "\x1bOS", "\x1b[15~", "\x1b[17~", "\x1b[18~", "\x1b[19~",
        "\x1b[20~", "\x1b[21~", "\x1b[23~", "\x1b[24~",
    ];
    KEYS[number - 1]
}

/// Text that the terminal says was pasted.
pub fn paste(text: &str) -> String {
    // A terminal sends what Enter sends for the end of a line.
    format!("\x1b[200~{}\x1b[201~", text.replace('\n', "\r"))
}

/// A turn of the wheel over this cell.
pub fn wheel_up((column, row): (u16, u16)) -> String {
    mouse(64, column, row)
}

pub fn wheel_down((column, row): (u16, u16)) -> String {
    mouse(65, column, row)
}

/// A click on this cell.
pub fn click((column, row): (u16, u16)) -> String {
    mouse(0, column, row) + &mouse(0, column, row).replace('M', "m")
}

fn mouse(button: u8, column: u16, row: u16) -> String {
    format!("\x1b[<{button};{};{}M", column + 1, row + 1)
}
