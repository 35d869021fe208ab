//! Rows of one line of a room.

use std::borrow::Cow;

use jiff::{Timestamp, Zoned, civil::Date, fmt::strtime};
use ratatui::style::Style;

use crate::{
    chat::{member::EndCause, text::shown},
    tui::{
        frame::Row,
        model::{Look, Pending, Room},
        moves,
        paint::Role,
        paragraph,
        rows::{fit, one_line, pad},
        scrollback::{Line, Note, NoteKind, Said},
        slash, width, wrap,
    },
};

/// Minimum columns for names in a column of their own.
const NAMES_FROM: usize = 60;
/// Columns of that column.
const NAME_COLUMNS: usize = 12;
/// Minimum columns for a time before each line.
const TIMES_FROM: usize = 24;
/// Maximum columns of a name within a line.
const INLINE_NAME_COLUMNS: usize = 20;
/// Indentation of the further rows of a text, in columns.
const INDENT: usize = 2;
/// Minimum columns of a text behind its name; with fewer it begins below the name.
const TEXT_COLUMNS_MIN: usize = 6;
/// Rows of a text that are shown at most, and the rows that are shown of a longer one.
const ROWS_MAX: usize = 40;
const ROWS_FOLDED: usize = 30;
/// Mark before a message that mentions this name. It is a shape, so that it shows without color as
/// well.
const MENTION_MARK: &str = "▌";

/// Returns the rows of one line of a room, below the date if that changes, and below the line where
/// unread messages start. Hidden lines have none.
pub(in crate::tui) fn line_rows(
    look: &Look,
    room: &Room,
    index: usize,
    columns: usize,
) -> Vec<Row> {
    let Some(line) = room.back.get(index).filter(|line| !is_hidden(look, line)) else {
        return Vec::new();
    };
    let columns = columns.max(1);
    let shape = Shape::of(look, columns);
    let mut rows = if look.plain { Vec::new() } else { heads(look, room, index, columns) };
    let selected = room.selected == Some(room.back.id_of(index));
    let own = match line {
        Line::Said(said) => said_rows(look, &shape, room, said, selected),
        Line::Moves(all) => {
            let lead = shape.lead(look, Some(line.wall_us()), Mark::None, "", dim(look));
            shape.assemble(lead, vec![Row::of(moves::text(all), dim(look))])
        }
        Line::Note(note) => note_rows(look, &shape, note),
    };
    rows.extend(own);
    rows
}

/// Returns the rows of a text that was sent and is not acknowledged yet.
pub(in crate::tui) fn pending_rows(
    look: &Look,
    me: &str,
    pending: &Pending,
    waits: bool,
    columns: usize,
) -> Vec<Row> {
    let shape = Shape::of(look, columns.max(1));
    let style = look.paint.style(Role::Pending);
    let tail = if waits { " (waiting for the server)" } else { "" };
    let said = Spoken {
        name: me,
        name_style: style,
        text: pending.text.as_str(),
        style,
        tail,
        mark: Mark::None,
    };
    spoken_rows(look, &shape, &said, None)
}

fn dim(look: &Look) -> Style {
    look.paint.style(Role::Dim)
}

fn is_hidden(look: &Look, line: &Line) -> bool {
    matches!(line, Line::Moves(_)) && (look.hide_moves || look.plain)
}

// Rows above a line.

fn heads(look: &Look, room: &Room, index: usize, columns: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let Some(line) = room.back.get(index) else { return rows };
    let before = (0..index).rev().filter_map(|at| room.back.get(at));
    let before = before.into_iter().find(|line| !is_hidden(look, line));
    if before.is_none() && room.back.is_at_beginning() {
        rows.push(beginning_row(look, room, columns));
    }
    let day = zoned(look, line.wall_us());
    if before.is_none_or(|before| date(look, before) != day.date()) {
        let text = strtime::format(&look.date_format, &day).unwrap_or_default();
        rows.push(centred(&text, look.paint.style(Role::Date), columns));
    }
    if is_first_unread(room, index) {
        rows.push(marker_row(look, columns));
    }
    rows
}

/// Returns the row that marks the beginning of the history.
pub(in crate::tui) fn beginning_row(look: &Look, room: &Room, columns: usize) -> Row {
    centred(&format!("beginning of {}", room.title()), dim(look), columns)
}

fn centred(text: &str, style: Style, columns: usize) -> Row {
    let text = format!("── {} ──", shown(text, false));
    let text = width::cut(&text, columns);
    let blank = (columns - width::width(&text)) / 2;
    Row::of(" ".repeat(blank) + &text, style)
}

fn marker_row(look: &Look, columns: usize) -> Row {
    let mut text = width::cut("── unread ", columns).into_owned();
    let rest = columns - width::width(&text);
    text.push_str(&"─".repeat(rest));
    Row::of(text, look.paint.style(Role::Marker))
}

/// Returns true for the line that [`Room::first_unread`] finds, without a search through all lines.
fn is_first_unread(room: &Room, index: usize) -> bool {
    let is_unread = |said: &Said| said.seq > room.marks.marker && !said.own;
    if !room.marks.are_known {
        return false;
    }
    if !room.back.get(index).and_then(Line::said).is_some_and(is_unread) {
        return false;
    }
    let before = (0..index).rev().filter_map(|at| room.back.get(at).and_then(Line::said));
    match before.into_iter().find(|said| !said.own) {
        Some(before) => before.seq <= room.marks.marker,
        None => room.has_marker(),
    }
}

fn zoned(look: &Look, wall_us: i64) -> Zoned {
    let at = Timestamp::from_microsecond(wall_us).unwrap_or_default();
    at.to_zoned(look.zone.clone())
}

fn date(look: &Look, line: &Line) -> Date {
    zoned(look, line.wall_us()).date()
}

// Times and names in front of texts.

/// Mark at the left edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Mention,
}

/// Layout of a line.
struct Shape {
    columns: usize,
    /// Columns of the time; 0: no time.
    time: usize,
    /// Columns of the names' own column; 0: names are in the text.
    names: usize,
    /// Columns before further rows of a text.
    indent: usize,
}

impl Shape {
    fn of(look: &Look, columns: usize) -> Self {
        if look.plain {
            return Self { columns, time: 0, names: 0, indent: 0 };
        }
        let time = if columns < TIMES_FROM { 0 } else { time_columns(look) };
        let names = if columns < NAMES_FROM { 0 } else { NAME_COLUMNS };
        let indent = match names {
            _ if columns < 3 * INDENT => 0,
            0 => INDENT,
            // The mark, the time and the name, each with a space behind it.
            _ => 1 + time + usize::from(time > 0) + names + 1,
        };
        Self { columns, time, names, indent }
    }

    /// Returns the mark, the time (none: not known yet) and a name or a sign.
    fn lead(&self, look: &Look, at: Option<i64>, mark: Mark, name: &str, style: Style) -> Row {
        let mut row = Row::default();
        if self.indent > 0 {
            push_mark(&mut row, look, mark);
        }
        if self.time > 0 {
            let time = at.map_or(Cow::Borrowed("…"), |at| time(look, at).into());
            row.push(width::filled(&time, self.time), look.paint.style(Role::Time));
            row.push(" ", Style::default());
        }
        if self.names > 0 {
            let name = width::cut(name, self.names);
            row.push(" ".repeat(self.names - width::width(&name)), Style::default());
            row.push(name, style);
            row.push(" ", Style::default());
        } else if !name.is_empty() {
            row.push(self.inline_name(name), style);
            row.push(" ", Style::default());
        }
        row
    }

    fn inline_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        width::cut(name, INLINE_NAME_COLUMNS.min(self.columns / 3).max(1))
    }

    /// Returns the columns of the first row of a text behind a lead, and of the rows after it.
    fn text_columns(&self, lead: usize) -> (usize, usize) {
        let rest = self.columns - self.indent;
        let first = self.columns.saturating_sub(lead);
        (if first < TEXT_COLUMNS_MIN.min(rest) { rest } else { first }, rest)
    }

    /// Puts the rows of a text, as wide as [`Self::text_columns`] says, behind a lead.
    fn assemble(&self, lead: Row, texts: Vec<Row>) -> Vec<Row> {
        let mark = lead.spans.first().filter(|_| self.indent > 0).cloned();
        let mut rows = Vec::with_capacity(texts.len() + 1);
        let mut texts = texts.into_iter();
        let (first, rest) = self.text_columns(lead.width());
        let is_below = first == rest && lead.width() + first > self.columns;
        if is_below {
            rows.push(fit(lead, self.columns));
        } else {
            let mut row = lead;
            row.spans.extend(texts.next().unwrap_or_default().spans);
            rows.push(fit(row, self.columns));
        }
        for text in texts {
            let mut row = Row::default();
            if let Some(mark) = &mark {
                row.spans.push(mark.clone());
                row.push(" ".repeat(self.indent - 1), Style::default());
            }
            row.spans.extend(text.spans);
            rows.push(fit(row, self.columns));
        }
        rows
    }
}

fn push_mark(row: &mut Row, look: &Look, mark: Mark) {
    match mark {
        Mark::None => row.push(" ", Style::default()),
        Mark::Mention => row.push(MENTION_MARK, look.paint.style(Role::Mention)),
    }
}

fn time(look: &Look, wall_us: i64) -> String {
    strtime::format(&look.time_format, &zoned(look, wall_us)).unwrap_or_default()
}

/// Returns the columns of the longest time: a short one, `9:05`, should not move the text behind
/// it.
fn time_columns(look: &Look) -> usize {
    const LATE_US: i64 = 1_795_388_338_000_000;
    width::width(&time(look, LATE_US))
}

// Messages.

/// A text with its sender, sent or pending.
struct Spoken<'a> {
    name: &'a str,
    name_style: Style,
    text: &'a str,
    style: Style,
    /// Text behind the message.
    tail: &'a str,
    mark: Mark,
}

fn said_rows(look: &Look, shape: &Shape, room: &Room, said: &Said, selected: bool) -> Vec<Row> {
    let tail = said.will.map(will).unwrap_or_default();
    let name_style =
        if said.own { look.paint.style(Role::Me) } else { look.paint.name(&said.name) };
    let mark = if said.mention { Mark::Mention } else { Mark::None };
    let style = look.paint.style(Role::Text);
    let spoken =
        Spoken { name: &said.name, name_style, text: &said.text, style, tail: &tail, mark };
    let mut rows = spoken_rows(look, shape, &spoken, Some(said.wall_us));
    if rows.len() > ROWS_MAX && !selected && !look.plain {
        fold(look, shape, &mut rows);
    }
    if let Some(seq) = said.reply_to.filter(|_| !look.plain) {
        rows.insert(0, reply_row(look, shape, room, seq));
    }
    if selected {
        let style = look.paint.style(Role::Selected);
        rows.iter_mut().for_each(|row| choose(row, style, shape.columns));
    }
    rows
}

fn will(cause: EndCause) -> String {
    format!(" ({})", cause.word())
}

fn spoken_rows(look: &Look, shape: &Shape, said: &Spoken<'_>, at: Option<i64>) -> Vec<Row> {
    let action = slash::action_of(said.text);
    let mut lead = match action {
        Some(_) => shape.lead(look, at, said.mark, "*", said.name_style),
        None if look.plain => Row::default(),
        None => shape.lead(look, at, said.mark, said.name, said.name_style),
    };
    if action.is_some() {
        lead.push(shape.inline_name(said.name), said.name_style);
        lead.push(" ", Style::default());
    } else if look.plain {
        // The whole name comes before the text.
        lead.push(format!("{}: ", said.name), said.name_style);
    }
    let (first, rest) = shape.text_columns(lead.width());
    let safe = shown(action.unwrap_or(said.text), true);
    let mut texts = text_rows(look, &safe, first, rest, said.style);
    if !said.tail.is_empty() {
        let columns = if texts.len() == 1 { first } else { rest };
        push_tail(&mut texts, said.tail, dim(look), (columns, rest));
    }
    shape.assemble(lead, texts)
}

fn text_rows(look: &Look, safe: &str, first: usize, rest: usize, base: Style) -> Vec<Row> {
    let style = |role| look.paint.style(role);
    let text_look = paragraph::Look {
        base,
        link: base.patch(style(Role::Link)),
        mention: base.patch(style(Role::Mention)),
        found: base.patch(style(Role::Found)),
        user: &look.user,
        words: &look.words,
    };
    let mut rows = paragraph::rows(safe, first, rest, &text_look);
    if !look.links {
        rows.iter_mut().flat_map(|row| &mut row.spans).for_each(|span| span.link = None);
    }
    rows
}

/// Adds a word behind the last row, or below it if it does not fit.
fn push_tail(rows: &mut Vec<Row>, tail: &str, style: Style, (columns, rest): (usize, usize)) {
    let wide = width::width(tail);
    match rows.last_mut() {
        Some(last) if last.width() + wide <= columns => last.push(tail, style),
        _ => rows.push(Row::of(width::cut(tail.trim_start(), rest), style)),
    }
}

/// Folds a long text, to leave room for other messages.
fn fold(look: &Look, shape: &Shape, rows: &mut Vec<Row>) {
    let more = rows.len() - ROWS_FOLDED;
    rows.truncate(ROWS_FOLDED);
    let text = format!("… {more} more rows; select the message to read them");
    let mut row = Row::of(" ".repeat(shape.indent), Style::default());
    row.push(text, dim(look));
    rows.push(fit(row, shape.columns));
}

fn reply_row(look: &Look, shape: &Shape, room: &Room, seq: u64) -> Row {
    let at = room.back.index_of_seq(seq).and_then(|at| room.back.get(at));
    let text = match at.and_then(Line::said).filter(|said| said.seq == seq) {
        Some(said) => format!("┌ {}: {}", said.name, one_line(&said.text, shape.columns)),
        None => format!("┌ message {seq}"),
    };
    let mut row = Row::of(" ".repeat(shape.indent), Style::default());
    row.push(width::cut(&text, shape.columns - shape.indent), dim(look));
    row
}

fn choose(row: &mut Row, style: Style, columns: usize) {
    pad(row, columns);
    row.spans.iter_mut().for_each(|span| span.style = span.style.patch(style));
}

// Notes.

fn note_rows(look: &Look, shape: &Shape, note: &Note) -> Vec<Row> {
    let safe = shown(&note.text, true);
    if look.plain {
        return text_rows(look, &safe, shape.columns, shape.columns, dim(look));
    }
    let (sign, role, safe) = match note.kind {
        NoteKind::Info => ("—", Role::Dim, safe),
        NoteKind::Error => ("!", Role::Error, safe),
        NoteKind::Gap => return gap_rows(look, &safe, shape.columns),
        NoteKind::Notice(level) => {
            let weight = level.word().to_uppercase();
            ("!", Role::Level(level), format!("{weight} {safe}").into())
        }
    };
    let style = look.paint.style(role);
    let lead = shape.lead(look, Some(note.wall_us), Mark::None, sign, style);
    let (first, rest) = shape.text_columns(lead.width());
    let texts = text_rows(look, &safe, first, rest, style);
    shape.assemble(lead, texts)
}

/// Returns the rows of a gap, from edge to edge, so that readers notice it.
fn gap_rows(look: &Look, safe: &str, columns: usize) -> Vec<Row> {
    let style = look.paint.style(Role::Error);
    let text = format!("── {safe} ──");
    let rows = wrap::wrap(&text, columns, columns);
    rows.into_iter().map(|range| Row::of(width::cut(&text[range], columns), style)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::member::Level,
        tui::{scrollback::Moves, view::tests::*},
    };

    fn rows(screen: &Screen, index: usize, columns: usize) -> Vec<String> {
        let look = &screen.model.options.look;
        texts(&line_rows(look, &screen.model.rooms[0], index, columns))
    }

    #[test]
    fn names_have_a_column_of_their_own_where_there_is_room_for_it() {
        let mut screen = Screen::new();
        screen.say("ann", "one two three four five six seven eight nine ten eleven twelve");
        assert_eq!(
            rows(&screen, 0, 60),
            [
                "                    ── 2026-11-22 Sun ──",
                " 09:00          ann one two three four five six seven eight",
                "                    nine ten eleven twelve",
            ]
        );
        assert_eq!(
            rows(&screen, 0, 40)[1..],
            [" 09:00 ann one two three four five six", "  seven eight nine ten eleven twelve"]
        );
        assert_eq!(rows(&screen, 0, 20)[1..3], [" ann one two three", "  four five six"]);
    }

    #[test]
    fn a_day_is_said_once_and_unread_starts_where_it_starts() {
        let mut screen = Screen::new();
        screen.say("ann", "one");
        screen.say("ann", "two");
        screen.clock_us += 86_400_000_000;
        screen.say("ann", "three");
        screen.model.rooms[0].marks.marker = 1;
        screen.model.rooms[0].marks.are_known = true;
        assert_eq!(
            rows(&screen, 1, 40),
            ["── unread ──────────────────────────────", " 09:01 ann two"]
        );
        assert_eq!(rows(&screen, 2, 40), ["          ── 2026-11-23 Mon ──", " 09:02 ann three"]);
        screen.model.rooms[0].back.note_beginning();
        assert_eq!(rows(&screen, 0, 40)[0], "         ── beginning of dev ──");
    }

    #[test]
    fn marker_is_where_unread_messages_start() {
        // Unread messages may start before the window; then the line is hidden.
        for first in [1, 5] {
            let mut screen = Screen::new();
            for seq in first..=9_u64 {
                let said = screen.said(if seq % 3 == 0 { "me" } else { "ann" }, "x");
                screen.put(Said { seq, ..said });
            }
            screen.model.rooms[0].marks.are_known = true;
            for marker in 0..=9 {
                screen.model.rooms[0].marks.marker = marker;
                let room = &screen.model.rooms[0];
                let marked = (0..room.back.len()).filter(|at| is_first_unread(room, *at));
                let marked: Vec<_> =
                    marked.map(|at| room.back.get(at).unwrap().said().unwrap().seq).collect();
                assert_eq!(marked, Vec::from_iter(room.first_unread()), "{first} {marker}");
                assert!(marker + 1 >= first || marked.is_empty(), "{first} {marker}");
            }
        }
    }

    #[test]
    fn an_action_a_reply_a_will_and_a_mention_are_told_apart() {
        let mut screen = Screen::new();
        screen.say("ann", "/me waves");
        assert_eq!(rows(&screen, 0, 40)[1], " 09:00 * ann waves");
        let reply = screen.said("bob", "yes @me");
        screen.put(Said { reply_to: Some(1), mention: true, ..reply });
        assert_eq!(rows(&screen, 1, 40), ["  ┌ ann: /me waves", "▌09:01 bob yes @me"]);
        let will = screen.said("cid", "gone");
        screen.put(Said { reply_to: Some(77), will: Some(EndCause::Killed), ..will });
        assert_eq!(rows(&screen, 2, 40), ["  ┌ message 77", " 09:02 cid gone (killed)"]);
    }

    #[test]
    fn a_long_text_is_folded_until_it_is_chosen() {
        let mut screen = Screen::new();
        screen.say("ann", &"line\n".repeat(100));
        let folded = rows(&screen, 0, 40);
        assert_eq!(folded.len(), 1 + ROWS_FOLDED + 1);
        assert!(folded[31].starts_with("  … 71 more rows"), "{}", folded[31]);
        let id = screen.model.rooms[0].back.id_of(0);
        screen.model.rooms[0].selected = Some(id);
        assert_eq!(rows(&screen, 0, 40).len(), 1 + 101);
    }

    #[test]
    fn notes_and_gaps_show_without_color() {
        let mut screen = Screen::new();
        let room = &mut screen.model.rooms[0];
        room.note(0, NoteKind::Info, "ann set the topic");
        room.note(0, NoteKind::Error, "not allowed\nask an operator");
        room.note(0, NoteKind::Gap, "messages 10 to 12 are gone");
        room.note(0, NoteKind::Notice(Level::Warning), "ann: disk full");
        assert_eq!(rows(&screen, 0, 40)[1], " 00:00 — ann set the topic");
        assert_eq!(rows(&screen, 1, 40), [" 00:00 ! not allowed", "  ask an operator"]);
        assert_eq!(rows(&screen, 2, 40), ["── messages 10 to 12 are gone ──"]);
        assert_eq!(rows(&screen, 3, 40), [" 00:00 ! WARNING ann: disk full"]);
    }

    #[test]
    fn joins_that_are_hidden_do_not_hide_the_day() {
        let mut screen = Screen::new();
        screen.model.options.look.hide_moves = true;
        screen.model.rooms[0]
            .back
            .push(Line::Moves(Moves { wall_us: NINE_US, ..Moves::default() }), false);
        screen.say("ann", "hello");
        assert!(rows(&screen, 0, 40).is_empty());
        assert_eq!(rows(&screen, 1, 40), ["          ── 2026-11-22 Sun ──", " 09:00 ann hello"]);
    }

    #[test]
    fn the_plain_view_has_names_and_texts_and_nothing_else() {
        let mut screen = Screen::new();
        screen.model.options.look.plain = true;
        screen.say("ann", "one\n  two");
        assert_eq!(rows(&screen, 0, 40), ["ann: one", "  two"]);
    }

    #[test]
    fn terminal_commands_in_texts_are_shown_and_not_executed() {
        let mut screen = Screen::new();
        screen.say("ann", "a\u{1b}[2Jb\u{202e}c");
        assert_eq!(rows(&screen, 0, 60)[1], " 09:00          ann a\\u{1b}[2Jb\\u{202e}c");
    }
}
