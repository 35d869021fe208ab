//! Bytes that turn the frame on the terminal into the next one: only the differences are written.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use ratatui::{
    buffer::{Buffer, Cell},
    layout::Rect,
    style::{Color, Modifier, Style},
};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{frame::Frame, width::cluster_columns};

/// Maximum bytes of a link as it is written to the terminal; a longer one stays plain text.
/// Terminals have about the same bound.
const LINK_BYTES_MAX: usize = 2_000;
/// Maximum number of remembered links; above it all are forgotten, and the screen is redrawn.
const LINKS_MAX: usize = 4_096;

/// Start of a synchronized update: a terminal that supports it shows nothing until the end.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l";
const END: &str = "\x1b[?2026l";
/// Empties all cells, in the terminal's default colors.
const CLEAR: &str = "\x1b[0m\x1b[2J";
const PLAIN: &str = "\x1b[0m";
const NO_LINK: &str = "\x1b]8;;\x1b\\";

/// The frame on the terminal, and the buffer for the next one.
#[derive(Debug)]
pub(super) struct Cells {
    shown: Buffer,
    next: Buffer,
    /// Position of the cursor. The outer none: the whole state of the terminal is unknown.
    cursor: Option<Option<(u16, u16)>>,
    links: Option<Links>,
}

impl Cells {
    /// Returns a state in which nothing is known of the terminal. Without `links` no text is
    /// linked.
    pub(super) fn new(size: (u16, u16), links: bool) -> Self {
        let empty = Buffer::empty(Rect::new(0, 0, size.0, size.1));
        let links = links.then(Links::default);
        Self { shown: empty.clone(), next: empty, cursor: None, links }
    }

    /// Returns columns and rows.
    pub(super) fn size(&self) -> (u16, u16) {
        (self.next.area.width, self.next.area.height)
    }

    /// Sets a new size. The contents of the terminal are unknown after a change of its size.
    pub(super) fn resize(&mut self, size: (u16, u16)) {
        *self = Self::new(size, self.links.is_some());
    }

    /// Forgets the state of the terminal, after other output: the next frame is written as a whole.
    pub(super) fn forget(&mut self) {
        self.cursor = None;
    }

    /// Returns the bytes that make the terminal show this frame; empty if it already does.
    pub(super) fn draw(&mut self, frame: &Frame) -> String {
        if self.links.as_ref().is_some_and(|links| links.urls.len() >= LINKS_MAX) {
            self.links = Some(Links::default());
            self.forget();
        }
        self.next.reset();
        fill(&mut self.next, frame, self.links.as_mut());
        let cursor = frame
            .cursor
            .filter(|&(column, row)| column < self.next.area.width && row < self.next.area.height);
        let is_known = self.cursor.is_some();
        if !is_known {
            self.shown.reset();
        }
        let mut changes = String::new();
        write_changes(&mut changes, &self.shown, &self.next, self.links.as_ref());
        let mut out = String::new();
        if !changes.is_empty() || !is_known {
            let clear = if is_known { "" } else { CLEAR };
            let shows = cursor.map(place_cursor).unwrap_or_default();
            out = [BEGIN, clear, &changes, &shows, END].concat();
        } else if self.cursor != Some(cursor) {
            out = cursor.map_or_else(|| "\x1b[?25l".to_owned(), place_cursor);
        }
        std::mem::swap(&mut self.shown, &mut self.next);
        self.cursor = Some(cursor);
        out
    }
}

fn place_cursor((column, row): (u16, u16)) -> String {
    format!("\x1b[{};{}H\x1b[?25h", u32::from(row) + 1, u32::from(column) + 1)
}

/// Writes a frame into cells. Text that does not fit is cut, always between characters.
fn fill(cells: &mut Buffer, frame: &Frame, mut links: Option<&mut Links>) {
    for (row, y) in frame.rows.iter().zip(0..cells.area.height) {
        let mut x = 0;
        for span in &row.spans {
            let mark = match (&span.link, links.as_deref_mut()) {
                (Some(url), Some(links)) => links.mark(url),
                _ => None,
            };
            x = put(cells, (x, y), &span.text, span.style, mark.unwrap_or(Color::Reset));
        }
    }
}

/// Writes a text into a row of cells, and returns the column where it ends. The color of the
/// underline is the mark of a link (see [`Links`]).
fn put(cells: &mut Buffer, (mut x, y): (u16, u16), text: &str, style: Style, mark: Color) -> u16 {
    for cluster in text.graphemes(true) {
        // Texts are made safe before this point; control characters are dropped here once more.
        if cluster.contains(char::is_control) {
            continue;
        }
        let columns = columns_of(cluster);
        if columns == 0 {
            continue;
        }
        let Some(end) = x.checked_add(columns).filter(|end| *end <= cells.area.width) else {
            return cells.area.width;
        };
        let cell = &mut cells[(x, y)];
        cell.set_symbol(cluster).set_style(style);
        cell.underline_color = mark;
        x = end;
    }
    x
}

fn write_changes(out: &mut String, shown: &Buffer, next: &Buffer, links: Option<&Links>) {
    let mut writer = CellWriter { out, links, at: None, pen: String::new(), link: None };
    for y in 0..next.area.height {
        write_row(&mut writer, shown, next, y);
    }
    writer.finish();
}

/// Writes the changes of one row. [`Buffer::diff_iter`] is not used: if the first half of a wide
/// character is overwritten, it leaves the second half to the terminal, and terminals differ.
fn write_row(writer: &mut CellWriter<'_>, shown: &Buffer, next: &Buffer, y: u16) {
    let end = text_end(next, y);
    // End of the columns whose contents on the terminal are not certain.
    let mut unsure = 0;
    let mut x = 0;
    while x < end {
        let cell = &next[(x, y)];
        let behind = x.saturating_add(columns_of(cell.symbol()));
        if x < unsure || *cell != shown[(x, y)] {
            writer.put((x, y), cell);
            for column in x..behind.min(next.area.width) {
                unsure = unsure.max(reach_of(column, &shown[(column, y)]));
            }
            unsure = unsure.max(reach_of(x, cell));
        }
        x = behind;
    }
    if (x..next.area.width).any(|x| x < unsure || shown[(x, y)] != Cell::EMPTY) {
        writer.clear_rest((x, y));
    }
}

/// Returns the column after the last cell with contents; only the default background follows.
fn text_end(cells: &Buffer, y: u16) -> u16 {
    let last = (0..cells.area.width).rev().find(|x| cells[(*x, y)] != Cell::EMPTY);
    last.map_or(0, |x| x.saturating_add(columns_of(cells[(x, y)].symbol())))
}

fn columns_of(cluster: &str) -> u16 {
    u16::try_from(cluster_columns(cluster)).unwrap_or(u16::MAX)
}

/// Returns the column after a character, for the terminal that draws it widest.
fn reach_of(x: u16, cell: &Cell) -> u16 {
    let cluster = cell.symbol();
    let mut columns = cluster_columns(cluster);
    if !has_sure_width(cluster) {
        columns = columns.max(cluster.chars().filter_map(|c| c.width_cjk()).sum());
    }
    x.saturating_add(u16::try_from(columns).unwrap_or(u16::MAX))
}

/// Writer of cells; knows the current state of the terminal.
struct CellWriter<'a> {
    out: &'a mut String,
    links: Option<&'a Links>,
    /// Position of the next character; none if it is not certain.
    at: Option<(u16, u16)>,
    pen: String,
    /// Number of the current link.
    link: Option<usize>,
}

impl CellWriter<'_> {
    fn put(&mut self, (x, y): (u16, u16), cell: &Cell) {
        let leads_to = self.links.and_then(|links| links.of(cell.underline_color));
        self.go_to((x, y));
        self.set_link(leads_to);
        self.set_pen(pen_of(cell));
        let (text, columns) = (cell.symbol(), columns_of(cell.symbol()));
        let is_sure = has_sure_width(text);
        if !is_sure && columns > 1 {
            // A terminal that draws it narrow would otherwise keep an old character in its right
            // half.
            let _ = write!(self.out, "{:columns$}\x1b[{columns}D", "", columns = columns.into());
        }
        self.out.push_str(text);
        self.at = is_sure.then(|| (x.saturating_add(columns), y));
    }

    /// Clears the rest of the row. Spaces are not used: a copied row would contain them.
    fn clear_rest(&mut self, place: (u16, u16)) {
        self.go_to(place);
        self.set_link(None);
        self.set_pen(String::new());
        self.out.push_str("\x1b[K");
    }

    fn finish(&mut self) {
        self.set_link(None);
        self.set_pen(String::new());
    }

    fn go_to(&mut self, place: (u16, u16)) {
        if self.at != Some(place) {
            // Writing to a string does not fail, here and elsewhere.
            let _ = write!(self.out, "\x1b[{};{}H", u32::from(place.1) + 1, u32::from(place.0) + 1);
            self.at = Some(place);
        }
    }

    fn set_pen(&mut self, pen: String) {
        if pen != self.pen {
            self.out.push_str(if pen.is_empty() { PLAIN } else { &pen });
            self.pen = pen;
        }
    }

    fn set_link(&mut self, link: Option<(usize, &str)>) {
        let number = link.map(|(number, _)| number);
        if number == self.link {
            return;
        }
        match link {
            Some((number, url)) => {
                let _ = write!(self.out, "\x1b]8;id={number:x};{url}\x1b\\");
            }
            None => self.out.push_str(NO_LINK),
        }
        self.link = number;
    }
}

/// Returns true if all terminals agree on the number of columns. After any other character the
/// position is set again, so that the row stays aligned.
fn has_sure_width(cluster: &str) -> bool {
    if cluster.len() == 1 {
        return true;
    }
    let mut chars = cluster.chars();
    let is_letter = chars.next().is_some_and(char::is_alphanumeric) && chars.next().is_none();
    is_letter && cluster_columns(cluster) == cluster.width_cjk()
}

/// Returns the attributes and colors of a cell, from the default state; empty if there are none.
/// Named colors use the short form, which terminals of 8 and 16 colors support.
fn pen_of(cell: &Cell) -> String {
    const ATTRIBUTES: [(Modifier, &str); 9] = [
        (Modifier::BOLD, ";1"),
        (Modifier::DIM, ";2"),
        (Modifier::ITALIC, ";3"),
        (Modifier::UNDERLINED, ";4"),
        (Modifier::SLOW_BLINK, ";5"),
        (Modifier::RAPID_BLINK, ";6"),
        (Modifier::REVERSED, ";7"),
        (Modifier::HIDDEN, ";8"),
        (Modifier::CROSSED_OUT, ";9"),
    ];
    let mut pen = String::new();
    for (_, code) in ATTRIBUTES.iter().filter(|(one, _)| cell.modifier.contains(*one)) {
        pen.push_str(code);
    }
    push_color(&mut pen, cell.fg, 30);
    push_color(&mut pen, cell.bg, 40);
    if pen.is_empty() { pen } else { format!("\x1b[0{pen}m") }
}

/// Adds a color; `base`: 30 for the text, 40 for the background.
fn push_color(pen: &mut String, color: Color, base: u8) {
    let _ = match color {
        Color::Reset => Ok(()),
        Color::Rgb(red, green, blue) => write!(pen, ";{};2;{red};{green};{blue}", base + 8),
        Color::Indexed(number) => write!(pen, ";{};5;{number}", base + 8),
        Color::Black => write!(pen, ";{base}"),
        Color::Red => write!(pen, ";{}", base + 1),
        Color::Green => write!(pen, ";{}", base + 2),
        Color::Yellow => write!(pen, ";{}", base + 3),
        Color::Blue => write!(pen, ";{}", base + 4),
        Color::Magenta => write!(pen, ";{}", base + 5),
        Color::Cyan => write!(pen, ";{}", base + 6),
        Color::Gray => write!(pen, ";{}", base + 7),
        Color::DarkGray => write!(pen, ";{}", base + 60),
        Color::LightRed => write!(pen, ";{}", base + 61),
        Color::LightGreen => write!(pen, ";{}", base + 62),
        Color::LightYellow => write!(pen, ";{}", base + 63),
        Color::LightBlue => write!(pen, ";{}", base + 64),
        Color::LightMagenta => write!(pen, ";{}", base + 65),
        Color::LightCyan => write!(pen, ";{}", base + 66),
        Color::White => write!(pen, ";{}", base + 67),
    };
}

/// Targets of linked cells. A cell has no field for a link, but a color of the underline that is
/// not used otherwise. It carries the link's number, so a changed link is a changed cell.
#[derive(Debug, Default)]
struct Links {
    numbers: HashMap<Arc<str>, u32>,
    /// Escaped URLs, by number.
    urls: Vec<String>,
}

impl Links {
    /// Returns the mark of a link, the same in every frame; none if the link is too long.
    fn mark(&mut self, url: &Arc<str>) -> Option<Color> {
        let number = match self.numbers.get(url) {
            Some(number) => *number,
            None => {
                let encoded = encoded(url)?;
                let number = u32::try_from(self.urls.len()).ok().filter(|n| n >> 24 == 0)?;
                self.urls.push(encoded);
                self.numbers.insert(Arc::clone(url), number);
                number
            }
        };
        let [_, red, green, blue] = number.to_be_bytes();
        Some(Color::Rgb(red, green, blue))
    }

    /// Returns the number and the URL of a mark.
    fn of(&self, mark: Color) -> Option<(usize, &str)> {
        let Color::Rgb(red, green, blue) = mark else { return None };
        let number = u32::from_be_bytes([0, red, green, blue]) as usize;
        self.urls.get(number).map(|url| (number, url.as_str()))
    }
}

/// Returns a URL without bytes that could end or break the surrounding escape sequence.
fn encoded(url: &str) -> Option<String> {
    let mut out = String::with_capacity(url.len());
    for byte in url.bytes() {
        match byte {
            0x21..=0x7e => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        if out.len() > LINK_BYTES_MAX {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::{
        super::frame::{Row, Span},
        *,
    };

    /// Returns the column where each row ends on a terminal of that width; none if it is past the
    /// edge.
    pub(in crate::tui) fn ends(rows: &[Row], columns: u16) -> Vec<Option<usize>> {
        let mut rows = rows.to_vec();
        rows.iter_mut().for_each(|row| row.push("|", Style::new()));
        let height = u16::try_from(rows.len()).unwrap();
        let mut seen = Seen::new(columns, height);
        seen.draw(&Frame { rows, cursor: None });
        let screen = seen.screen.screen();
        let is_mark = |row, column| screen.cell(row, column).is_some_and(|c| c.contents() == "|");
        let end = |row| (0..columns).rev().find(|column| is_mark(row, *column)).map(usize::from);
        (0..height).map(end).collect()
    }

    fn nonzero(number: u16) -> std::num::NonZeroU16 {
        number.try_into().unwrap()
    }

    /// A terminal of that size, and the bytes that were written to it.
    struct Seen {
        cells: Cells,
        screen: vt100::Parser,
        last: String,
    }

    impl Seen {
        fn new(columns: u16, rows: u16) -> Self {
            let cells = Cells::new((columns, rows), true);
            Self {
                cells,
                screen: vt100::Parser::new(nonzero(rows), nonzero(columns), 0),
                last: String::new(),
            }
        }

        fn draw(&mut self, frame: &Frame) {
            self.last = self.cells.draw(frame);
            self.screen.process(self.last.as_bytes());
        }

        fn rows(&self) -> Vec<String> {
            let screen = self.screen.screen();
            screen.rows(0, screen.size().1.get()).collect()
        }
    }

    fn frame(rows: &[&str]) -> Frame {
        let rows = rows.iter().map(|text| Row::of(*text, Style::new())).collect();
        Frame { rows, cursor: None }
    }

    fn linked(text: &str, url: &str) -> Frame {
        let mut row = Row::of("see ", Style::new());
        row.push(text, Style::new());
        row.spans[1].link = Some(url.into());
        row.push(" now", Style::new());
        Frame { rows: vec![row], cursor: None }
    }

    #[test]
    fn a_frame_is_shown_and_only_changes_are_written_after_it() {
        let mut seen = Seen::new(20, 3);
        seen.draw(&frame(&["one", "two", "three"]));
        assert_eq!(seen.rows(), ["one", "two", "three"]);
        seen.draw(&frame(&["one", "two", "three"]));
        assert_eq!(seen.last, "");
        seen.draw(&frame(&["one", "tWo", "three"]));
        assert_eq!(seen.last, format!("{BEGIN}\x1b[2;2HW{END}"));
        seen.draw(&frame(&["one"]));
        assert_eq!(seen.rows(), ["one", "", ""]);
    }

    #[test]
    fn wide_characters_take_two_columns_and_are_never_halved() {
        let mut seen = Seen::new(6, 3);
        seen.draw(&frame(&["한글한글", "a한b", "e\u{301}한국어"]));
        assert_eq!(seen.rows(), ["한글한", "a한b", "e\u{301}한국"]);
        // The replacement of a wide character leaves nothing of it, and the other way round.
        seen.draw(&frame(&["a글한", "한b", "ab"]));
        assert_eq!(seen.rows(), ["a글한", "한b", "ab"]);
        seen.draw(&frame(&["abcdef", "a한b", "한글한"]));
        assert_eq!(seen.rows(), ["abcdef", "a한b", "한글한"]);
    }

    #[test]
    fn row_stays_aligned_after_a_character_of_unclear_width() {
        let mut seen = Seen::new(20, 2);
        seen.draw(&frame(&["👩‍👩‍👧x|", "가각갂"]));
        assert!(seen.last.contains("👧\x1b[1;3Hx|"), "{:?}", seen.last);
        assert!(seen.last.contains("가각갂"), "{:?}", seen.last);
        // The neighbor is unchanged, and may have been overwritten.
        seen.draw(&frame(&["👨‍👩‍👧x|", "가각갂"]));
        assert!(seen.last.contains("👧\x1b[1;3Hx|"), "{:?}", seen.last);
        seen.draw(&frame(&["❤\u{fe0f}y", ""]));
        assert!(seen.last.contains("1;1H  \x1b[2D❤\u{fe0f}\x1b[1;3Hy"), "{:?}", seen.last);
    }

    #[test]
    fn colors_and_attributes_are_set_and_reset() {
        let mut seen = Seen::new(20, 1);
        let mut row = Row::of("r", Style::new().fg(Color::LightRed).add_modifier(Modifier::BOLD));
        row.push("p", Style::new());
        row.push("i", Style::new().bg(Color::Indexed(200)));
        row.push("t", Style::new().fg(Color::Rgb(1, 2, 3)));
        seen.draw(&Frame { rows: vec![row], cursor: None });
        let want = "\x1b[0;1;91mr\x1b[0mp\x1b[0;48;5;200mi\x1b[0;38;2;1;2;3mt\x1b[0m";
        assert!(seen.last.contains(want), "{:?}", seen.last);
        let cell = |column| seen.screen.screen().cell(0, column).unwrap().clone();
        assert!(cell(0).bold() && !cell(1).bold());
        assert_eq!(cell(2).bgcolor(), vt100::Color::Idx(200));
        assert_eq!(cell(3).fgcolor(), vt100::Color::Rgb(1, 2, 3));
    }

    #[test]
    fn link_is_written_and_a_changed_link_is_rewritten() {
        let mut seen = Seen::new(20, 1);
        seen.draw(&linked("here", "https://a.example/한"));
        let link = "\x1b]8;id=0;https://a.example/%ED%95%9C\x1b\\here\x1b";
        assert!(seen.last.contains(link), "{:?}", seen.last);
        assert_eq!(seen.rows(), ["see here now"]);
        seen.draw(&linked("here", "https://a.example/한"));
        assert_eq!(seen.last, "");
        seen.draw(&linked("here", "https://b.example"));
        let link = "\x1b]8;id=1;https://b.example\x1b\\here\x1b]8;;\x1b\\";
        assert_eq!(seen.last, format!("{BEGIN}\x1b[1;5H{link}{END}"));
        assert!(!seen.last.contains("58"), "the mark is no color");
    }

    #[test]
    fn a_link_commands_nothing_and_has_an_end() {
        assert_eq!(encoded("https://x/\x1b\\\x07 y").unwrap(), "https://x/%1B\\%07%20y");
        assert!(encoded(&"x".repeat(LINK_BYTES_MAX)).is_some());
        assert!(encoded(&"x".repeat(LINK_BYTES_MAX + 1)).is_none());
        let mut seen = Seen::new(20, 1);
        seen.draw(&linked("here", &"x".repeat(LINK_BYTES_MAX + 1)));
        assert!(!seen.last.contains("\x1b]8") && seen.rows() == ["see here now"]);
        let mut without = Cells::new((20, 1), false);
        assert!(!without.draw(&linked("here", "https://a.example")).contains("\x1b]8"));
    }

    #[test]
    fn links_are_forgotten_before_they_are_too_many() {
        let mut seen = Seen::new(20, 1);
        for number in 0..=LINKS_MAX {
            seen.draw(&linked("here", &format!("https://a.example/{number}")));
        }
        assert_eq!(seen.cells.links.as_ref().unwrap().urls.len(), 1);
        let link = format!("id=0;https://a.example/{LINKS_MAX}\x1b\\here");
        assert!(seen.last.contains(&link) && seen.last.contains(CLEAR), "{:?}", seen.last);
    }

    #[test]
    fn the_cursor_goes_where_it_is_wanted() {
        let mut seen = Seen::new(10, 2);
        let with = |cursor| Frame { cursor, ..frame(&["a", "b"]) };
        seen.draw(&with(Some((3, 1))));
        assert_eq!(seen.screen.screen().cursor_position(), (1, 3));
        assert!(!seen.screen.screen().hide_cursor());
        seen.draw(&with(Some((4, 1))));
        assert_eq!(seen.last, "\x1b[2;5H\x1b[?25h");
        seen.draw(&with(None));
        assert!(seen.screen.screen().hide_cursor());
        // A position outside of the screen hides the cursor.
        seen.draw(&with(Some((10, 0))));
        assert_eq!(seen.last, "");
    }

    #[test]
    fn unknown_terminal_gets_the_whole_frame() {
        let mut seen = Seen::new(10, 2);
        seen.draw(&frame(&["one", "two"]));
        seen.screen.process(b"\x1b[1;1Hgarbage");
        seen.cells.forget();
        seen.draw(&frame(&["one", "two"]));
        assert_eq!(seen.rows(), ["one", "two"]);
        seen.cells.resize((5, 4));
        seen.screen.screen_mut().set_size(nonzero(4), nonzero(5));
        seen.draw(&frame(&["longer than it is", "b", "c", "d", "more than there are"]));
        assert_eq!(seen.rows(), ["longe", "b", "c", "d"]);
    }

    #[test]
    fn control_characters_do_not_get_through() {
        let mut seen = Seen::new(20, 1);
        seen.draw(&frame(&["a\x1b[31mb\u{9b}c\x07"]));
        assert_eq!(seen.rows(), ["a[31mbc"]);
    }

    fn span() -> impl Strategy<Value = Span> {
        let pieces =
            ["a", "bc", " ", "   ", "한", "글자", "é", "e\u{301}", "❤\u{fe0f}", "…", "😀", "ｶﾞ"];
        let text = prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..4);
        let color = prop::sample::select(vec![Color::Reset, Color::Red, Color::Indexed(9)]);
        let link = prop::option::of(Just("https://a.example".into()));
        (text, color.clone(), color, any::<bool>(), link).prop_map(
            |(text, fg, bg, turned, link)| {
                let turned = if turned { Modifier::REVERSED } else { Modifier::empty() };
                Span {
                    text: text.concat(),
                    style: Style::new().fg(fg).bg(bg).add_modifier(turned),
                    link,
                }
            },
        )
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let row = prop::collection::vec(span(), 0..4).prop_map(|spans| Row { spans });
        let rows = prop::collection::vec(row, 0..4);
        let cursor = prop::option::of((0..10_u16, 0..3_u16));
        let frame = (rows, cursor).prop_map(|(rows, cursor)| Frame { rows, cursor });
        prop::collection::vec(frame, 1..6)
    }

    proptest! {
        #[test]
        fn changes_lead_to_what_the_whole_frame_would_show(frames in frames()) {
            let mut seen = Seen::new(8, 3);
            for frame in &frames {
                seen.draw(frame);
                let mut fresh = Seen::new(8, 3);
                fresh.draw(frame);
                prop_assert_eq!(looks(&seen), looks(&fresh), "{:?}", seen.last);
            }
        }
    }

    /// Text, colors and reversal of each cell; an empty cell is a space.
    fn looks(seen: &Seen) -> Vec<(String, vt100::Color, vt100::Color, bool)> {
        let places = (0..3).flat_map(|row| (0..8).map(move |column| (row, column)));
        let look = |(row, column)| {
            let cell = seen.screen.screen().cell(row, column).unwrap();
            let text = if cell.has_contents() { cell.contents() } else { " " };
            (text.to_owned(), cell.fgcolor(), cell.bgcolor(), cell.inverse())
        };
        places.map(look).collect()
    }
}
