//! What a person sees: the state of the screen as rows. No I/O, no clock.

mod bars;
mod input;
mod lines;
mod moves;
mod overlay;
mod pane;
mod panels;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ratatui::style::Style;

pub(super) use self::{lines::line_rows, overlay::help_rows};
use super::{
    frame::{Frame, Row},
    model::{Mode, Model, Panel},
    scrollback::Place,
    width,
};
use crate::{
    chat::text::shown,
    config::screen::{MEMBERS_PANEL_FROM, ROOMS_PANEL_FROM},
};

/// Columns that messages have at least beside a panel that somebody asked for.
const PANE_COLUMNS_MIN: usize = 20;
/// Columns of a panel at least.
const PANEL_COLUMNS_MIN: usize = 8;
/// Rows of the input at most, and which part of the screen.
const INPUT_ROWS_MAX: usize = 8;
const INPUT_PART: usize = 3;
/// Rows of a word to the user at most.
const HINT_ROWS_MAX: usize = 3;
/// Rows of announcements, and below how many rows of the screen there is only one.
const NOTICES_MAX: usize = 3;
const NOTICES_FROM: usize = 15;
/// Bytes of a text that a row looks at.
const ONE_LINE_BYTES: usize = 1_000;

/// Where everything is, in columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Columns of the rooms' panel.
    pub(super) rooms: Option<usize>,
    /// Columns of the members' panel.
    pub(super) members: Option<usize>,
    /// Columns of the messages.
    pub(super) pane_columns: usize,
    /// Rows of the messages.
    pub(super) pane_rows: usize,
    pub(super) title: bool,
    /// Rows of announcements.
    pub(super) notices: usize,
    /// Whether a row says that there is more below.
    pub(super) below: bool,
    /// Rows of a word to the user, of what completes, or of what can be done with a message.
    pub(super) hint: usize,
    /// Whether a row says what is replied to.
    pub(super) quote: bool,
    pub(super) status: bool,
    /// Rows of the input.
    pub(super) input: usize,
}

impl Layout {
    /// Rows between the announcements and what is above the input.
    fn body_rows(&self) -> usize {
        self.pane_rows + usize::from(self.below)
    }

    /// Rows above those.
    fn body_from(&self) -> usize {
        usize::from(self.title) + self.notices
    }
}

/// What goes where on a screen of this size. The input is there first, then the messages have a few rows;
/// the rest is there if there is room for it.
pub(super) fn layout(model: &Model) -> Layout {
    let columns = model.columns;
    let plain = model.options.look.plain;
    let mut at = Layout { pane_columns: columns, ..Layout::default() };
    if !plain {
        panels(model, &mut at);
    }
    let input_max = (model.height / INPUT_PART).clamp(1, INPUT_ROWS_MAX);
    at.input = input::rows_wanted(model).clamp(1, input_max).min(model.height);
    let mut left = model.height - at.input;
    let mut take = |wanted: usize, keep: usize| {
        let taken = wanted.min(left.saturating_sub(keep));
        left -= taken;
        taken
    };
    at.status = take(1, 1) == 1;
    at.title = take(usize::from(!plain), 2) == 1;
    at.hint = take(bars::hint_rows(model, columns).len().min(HINT_ROWS_MAX), 1);
    let notices_max = if model.height < NOTICES_FROM { 1 } else { NOTICES_MAX };
    at.notices = take(bars::notice_rows(model, columns, notices_max).len(), 2);
    at.quote = take(usize::from(bars::quote_row(model, columns).is_some()), 1) == 1;
    at.below = take(usize::from(has_more_below(model)), 2) == 1;
    at.pane_rows = left;
    at
}

fn panels(model: &Model, at: &mut Layout) {
    let columns = model.columns;
    let wanted = |panel: Panel, from: usize| match panel {
        Panel::Auto => columns >= from,
        Panel::On => true,
        Panel::Off => false,
    };
    // Each has a blank column to the messages.
    let mut left = columns.saturating_sub(PANE_COLUMNS_MIN);
    let mut take = |wanted: bool, size: usize| {
        // Rather narrow than not at all.
        let size = size.min(left.saturating_sub(1));
        let fits = wanted && size >= PANEL_COLUMNS_MIN;
        left -= if fits { size + 1 } else { 0 };
        fits.then_some(size)
    };
    let rooms = wanted(model.options.rooms_panel, ROOMS_PANEL_FROM);
    at.rooms = take(rooms, model.options.rooms_columns);
    let is_room = model.room().is_some_and(|room| !room.is_direct());
    let members = is_room && wanted(model.options.members_panel, MEMBERS_PANEL_FROM);
    at.members = take(members, model.options.members_columns);
    let beside = at.rooms.map_or(0, |size| size + 1) + at.members.map_or(0, |size| size + 1);
    at.pane_columns = columns - beside;
}

fn has_more_below(model: &Model) -> bool {
    let is_over =
        matches!(model.mode, Mode::Help { .. } | Mode::Switch { .. } | Mode::Paste { .. });
    !is_over
        && model.room().is_some_and(|room| room.place != Place::End || !room.back.is_attached())
}

/// The whole screen.
pub(super) fn frame(model: &Model, now_us: u64) -> Frame {
    let (columns, height) = (model.columns, model.height);
    if columns == 0 || height == 0 {
        return Frame::default();
    }
    let at = layout(model);
    let mut rows = Vec::with_capacity(height);
    if at.title {
        rows.push(bars::title_row(model, columns));
    }
    rows.extend(bars::notice_rows(model, columns, at.notices));
    rows.extend(body_rows(model, &at));
    rows.extend(bars::hint_rows(model, columns).into_iter().take(at.hint));
    if at.quote {
        rows.extend(bars::quote_row(model, columns));
    }
    if at.status {
        rows.push(bars::status_row(model, &at, now_us));
    }
    let (input, cursor) = input::rows(model, at.input);
    let from = rows.len();
    rows.extend(input);
    rows.resize(height, Row::default());
    let rows = rows.into_iter().map(|row| fit(row, columns)).collect();
    let cursor = cursor.and_then(|(column, row)| {
        let column = column.min(columns - 1);
        Some((u16::try_from(column).ok()?, u16::try_from(from + row).ok()?))
    });
    Frame { rows, cursor }
}

fn body_rows(model: &Model, at: &Layout) -> Vec<Row> {
    let rows = at.body_rows();
    let over = overlay::rows(model, rows);
    let mut body = match over {
        Some(over) => over,
        None => room_rows(model, at),
    };
    body.resize(rows, Row::default());
    body
}

/// The messages between their panels.
fn room_rows(model: &Model, at: &Layout) -> Vec<Row> {
    let rows = at.body_rows();
    let mut pane = pane::rows(model, at);
    if at.rooms.is_none() && at.members.is_none() {
        return pane;
    }
    let mut left = at.rooms.map(|columns| panels::rooms(model, columns, rows).into_iter());
    let mut right = at.members.map(|columns| panels::members(model, columns, rows).into_iter());
    for pane_row in &mut pane {
        let middle = fit(std::mem::take(pane_row), at.pane_columns);
        let mut row = Row::default();
        if let (Some(columns), Some(left)) = (at.rooms, &mut left) {
            row = left.next().unwrap_or_default();
            pad(&mut row, columns + 1);
        }
        row.spans.extend(middle.spans);
        if let Some(member) = right.as_mut().and_then(Iterator::next) {
            pad(&mut row, at.rooms.map_or(0, |columns| columns + 1) + at.pane_columns + 1);
            row.spans.extend(member.spans);
        }
        *pane_row = row;
    }
    pane
}

/// Which room stands at a place of the screen.
pub(super) fn room_at(model: &Model, column: u16, row: u16) -> Option<usize> {
    let at = layout(model);
    if usize::from(column) >= at.rooms? {
        return None;
    }
    let nth = usize::from(row).checked_sub(at.body_from())?;
    panels::rooms_shown(model, at.body_rows()).0.get(nth).copied()
}

/// Columns that a typed text has.
pub(super) fn input_columns(model: &Model) -> usize {
    input::columns(model)
}

/// A row that is never wider than `columns`.
fn fit(mut row: Row, columns: usize) -> Row {
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
fn pad(row: &mut Row, columns: usize) {
    let wide: usize = row.spans.iter().map(|span| width::width(&span.text)).sum();
    if wide < columns {
        row.push(" ".repeat(columns - wide), Style::default());
    }
}

/// A row that is in one style from edge to edge.
fn bar(mut row: Row, style: Style, columns: usize) -> Row {
    row = fit(row, columns);
    pad(&mut row, columns);
    row.spans.iter_mut().for_each(|span| span.style = style.patch(span.style));
    row
}

/// The beginning of a text without line ends, safe to show, no wider than `columns`.
fn one_line(written: &str, columns: usize) -> String {
    let end = written.floor_char_boundary(ONE_LINE_BYTES.max(4 * columns));
    let words: Vec<_> = written[..end].split_whitespace().collect();
    let line = words.join(" ");
    width::cut(&shown(&line, false), columns).into_owned()
}

/// A name of somebody else's making.
fn safe(name: &str) -> Cow<'_, str> {
    shown(name, false)
}

/// How many there are, in few columns.
fn count(number: u64) -> String {
    if number > 999 { "999+".to_owned() } else { number.to_string() }
}
