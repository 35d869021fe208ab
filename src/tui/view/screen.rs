//! The whole screen: the parts, and their places.

use super::{bars, input, layout::Layout, overlay, pane, panels};
use crate::{
    config::screen::{MEMBERS_PANEL_FROM, ROOMS_PANEL_FROM},
    tui::{
        frame::{Frame, Row},
        model::{Mode, Model, Panel},
        rows::{fit, pad},
        scrollback::Place,
    },
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

/// What goes where on a screen of this size. The input is there first, then the messages have a few
/// rows; the rest is there if there is room for it.
pub(in crate::tui) fn layout(model: &Model) -> Layout {
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
pub(in crate::tui) fn frame(model: &Model, now_us: u64) -> Frame {
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
pub(in crate::tui) fn room_at(model: &Model, column: u16, row: u16) -> Option<usize> {
    let at = layout(model);
    if usize::from(column) >= at.rooms? {
        return None;
    }
    let nth = usize::from(row).checked_sub(at.body_from())?;
    panels::rooms_shown(model, at.body_rows()).0.get(nth).copied()
}

/// Columns that a typed text has.
pub(in crate::tui) fn input_columns(model: &Model) -> usize {
    input::columns(model)
}

/// How many rows of the help may be the first one on the screen.
pub(in crate::tui) fn help_rows(model: &Model) -> usize {
    let all = overlay::help(&model.options.keys, model.columns);
    overlay::last_from(all.len(), layout(model).body_rows()) + 1
}
