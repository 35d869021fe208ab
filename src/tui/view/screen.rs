//! The whole screen: its parts, and their places.

use super::{bars, input, layout::Layout, overlay, pane, panels};
use crate::{
    config::screen::{MEMBERS_PANEL_FROM, ROOMS_PANEL_FROM},
    tui::{
        frame::{Frame, Row},
        geometry::Geometry,
        model::{Mode, Model, Panel},
        rows::{fit, pad},
        scrollback::Place,
    },
};

/// Minimum columns of messages beside a panel that the user opened.
const PANE_COLUMNS_MIN: usize = 20;
/// Minimum columns of a panel.
const PANEL_COLUMNS_MIN: usize = 8;
/// Maximum rows of the input, and its maximum share of the screen.
const INPUT_ROWS_MAX: usize = 8;
const INPUT_PART: usize = 3;
/// Maximum rows of a status message.
const HINT_ROWS_MAX: usize = 3;
/// Maximum rows of announcements, and the screen's rows below which there is only one.
const NOTICES_MAX: usize = 3;
const NOTICES_FROM: usize = 15;

/// Returns the sizes of the parts of this screen. The input comes first, then a few rows of
/// messages, and the rest where it fits.
pub(super) fn layout(model: &Model) -> Layout {
    arrange(model).0
}

/// Returns the layout, and the bars that it was made for.
fn arrange(model: &Model) -> (Layout, Bars) {
    let columns = model.columns;
    let plain = model.options.look.plain;
    let mut at = Layout { pane_columns: columns, ..Layout::default() };
    if !plain {
        panels(model, &mut at);
    }
    let input_max = (model.height / INPUT_PART).clamp(1, INPUT_ROWS_MAX);
    at.input = input::rows_wanted(model).clamp(1, input_max).min(model.height);
    let notices_max = if model.height < NOTICES_FROM { 1 } else { NOTICES_MAX };
    let bars = Bars {
        hint: bars::hint_rows(model, columns),
        notices: bars::notice_rows(model, columns, notices_max),
        quote: bars::quote_row(model, columns),
    };
    let mut left = model.height - at.input;
    let mut take = |wanted: usize, keep: usize| {
        let taken = wanted.min(left.saturating_sub(keep));
        left -= taken;
        taken
    };
    at.status = take(1, 1) == 1;
    at.title = take(usize::from(!plain), 2) == 1;
    at.hint = take(bars.hint.len().min(HINT_ROWS_MAX), 1);
    at.notices = take(bars.notices.len(), 2);
    at.quote = take(usize::from(bars.quote.is_some()), 1) == 1;
    at.below = take(usize::from(has_more_below(model)), 2) == 1;
    at.pane_rows = left;
    (at, bars)
}

/// Rows around the messages, as many as there are without a bound of the layout.
struct Bars {
    hint: Vec<Row>,
    notices: Vec<Row>,
    quote: Option<Row>,
}

fn panels(model: &Model, at: &mut Layout) {
    let columns = model.columns;
    let wanted = |panel: Panel, from: usize| match panel {
        Panel::Auto => columns >= from,
        Panel::On => true,
        Panel::Off => false,
    };
    // Each panel has a blank column to the messages.
    let mut left = columns.saturating_sub(PANE_COLUMNS_MIN);
    let mut take = |wanted: bool, size: usize| {
        // A narrow panel is better than none.
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

/// Returns the places of all parts, as [`frame`] would draw them now.
pub(in crate::tui) fn geometry(model: &Model) -> Geometry {
    geometry_of(model, &layout(model))
}

fn geometry_of(model: &Model, at: &Layout) -> Geometry {
    let rooms = match at.rooms {
        Some(_) => panels::rooms_shown(model, at.body_rows()).0,
        None => Vec::new(),
    };
    let help_rows = match model.mode {
        Mode::Help { .. } => Some(overlay::help_rows(model, at.body_rows())),
        Mode::Chat | Mode::Switch { .. } | Mode::Search(_) | Mode::Paste { .. } => None,
    };
    Geometry {
        pane_columns: at.pane_columns,
        pane_rows: at.pane_rows,
        rooms_columns: at.rooms,
        has_members: at.members.is_some(),
        body_from: at.body_from(),
        rooms: rooms.into_iter().map(|index| model.rooms[index].number).collect(),
        help_rows,
    }
}

/// Returns the whole screen, and the places of its parts.
pub(in crate::tui) fn frame(model: &Model, now_us: u64) -> (Frame, Geometry) {
    let (columns, height) = (model.columns, model.height);
    let (at, bars) = arrange(model);
    let geometry = geometry_of(model, &at);
    if columns == 0 || height == 0 {
        return (Frame::default(), geometry);
    }
    let mut rows = Vec::with_capacity(height);
    if at.title {
        rows.push(bars::title_row(model, columns));
    }
    // The last row counts the hidden announcements, so fewer rows are not a prefix of all.
    rows.extend(match bars.notices.len() == at.notices {
        true => bars.notices,
        false => bars::notice_rows(model, columns, at.notices),
    });
    rows.extend(body_rows(model, &at));
    rows.extend(bars.hint.into_iter().take(at.hint));
    if at.quote {
        rows.extend(bars.quote);
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
    (Frame { rows, cursor }, geometry)
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

/// Returns the messages between their panels.
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
