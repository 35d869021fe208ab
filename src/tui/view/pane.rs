//! The messages of the current room, as many rows as fit, from the visible part on.

use std::collections::VecDeque;

use super::layout::Layout;
use crate::tui::{
    frame::Row,
    keys::Action,
    lines,
    model::{Model, Room, Session},
    paint::Role,
    scrollback::Place,
    width,
};

/// Returns exactly the rows of the body: messages, and the mark of more below.
pub(super) fn rows(model: &Model, at: &Layout) -> Vec<Row> {
    let mut rows = match model.room() {
        Some(room) => room_rows(model, room, at),
        None => VecDeque::from([no_room(model, at.pane_columns)]),
    };
    // Few rows are at the bottom, where the next message will be.
    while rows.len() < at.pane_rows {
        rows.push_front(Row::default());
    }
    while rows.len() > at.pane_rows {
        rows.pop_front();
    }
    let mut rows = Vec::from(rows);
    if at.below {
        rows.extend(model.room().map(|room| below_row(model, room, at.pane_columns)));
    }
    rows
}

fn no_room(model: &Model, columns: usize) -> Row {
    let key = model.options.keys.shown(Action::Switch);
    let text = format!("no open room; /join ROOM, or {key}: find a room");
    Row::of(width::cut(&text, columns), model.options.look.paint.style(Role::Dim))
}

fn room_rows(model: &Model, room: &Room, at: &Layout) -> VecDeque<Row> {
    let (look, columns, wanted) = (&model.options.look, at.pane_columns, at.pane_rows);
    if room.back.is_empty() && room.pending.is_empty() {
        return VecDeque::from([nothing(model, room, columns)]);
    }
    let line = |index| lines::line_rows(look, room, index, columns);
    // From the lowest visible row upwards.
    let (above, mut rows, mut next) = match room.place {
        Place::End => (room.back.len(), VecDeque::from(pending(model, room, columns)), None),
        Place::At { id, row } => {
            let index = room.back.index_of(id);
            let mut rows = line(index);
            let under = rows.split_off(row.saturating_add(1).min(rows.len()));
            (index, VecDeque::from(rows), Some((under, index + 1)))
        }
    };
    for index in (0..above).rev() {
        if rows.len() >= wanted {
            break;
        }
        for row in line(index).into_iter().rev() {
            rows.push_front(row);
        }
    }
    // At the top there may be more rows than messages above.
    if let Some((under, from)) = next.take() {
        rows.extend(under.into_iter().take(wanted.saturating_sub(rows.len())));
        for index in from..room.back.len() {
            if rows.len() >= wanted {
                break;
            }
            rows.extend(line(index).into_iter().take(wanted - rows.len()));
        }
    }
    rows
}

fn nothing(model: &Model, room: &Room, columns: usize) -> Row {
    let look = &model.options.look;
    if room.back.is_at_beginning() && !look.plain {
        return lines::beginning_row(look, room, columns);
    }
    let text = if room.history.loading.is_some() || room.conversation.opening {
        "loading …"
    } else {
        ""
    };
    Row::of(width::cut(text, columns), look.paint.style(Role::Dim))
}

/// Returns the rows of texts that are not acknowledged yet.
fn pending(model: &Model, room: &Room, columns: usize) -> Vec<Row> {
    if !room.back.is_attached() {
        return Vec::new();
    }
    let is_down = matches!(model.server.session, Session::Down { .. });
    // A removed user no longer receives acknowledgments, so all texts are shown.
    let open = room.pending.iter().filter(|pending| pending.seq.is_none() || room.gone);
    let rows = open.flat_map(|pending| {
        let waits = is_down || pending.unsent;
        lines::pending_rows(&model.options.look, &model.user.name, pending, waits, columns)
    });
    rows.collect()
}

fn below_row(model: &Model, room: &Room, columns: usize) -> Row {
    let key = model.options.keys.shown(Action::Bottom);
    let (text, role) = match room.below {
        0 => (format!(" ↓ more below ({key})"), Role::Dim),
        new => (format!(" ↓ {new} new below ({key})"), Role::Unread),
    };
    Row::of(width::cut(&text, columns), model.options.look.paint.style(role))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    fn filled() -> Screen {
        let mut screen = Screen::new();
        screen.resize(40, 10);
        for n in 0..30 {
            screen.say("ann", &format!("message {n}"));
        }
        screen
    }

    #[test]
    fn rows_fill_from_the_bottom_and_stay_while_scrolled() {
        let mut screen = filled();
        let shown = screen.rows();
        assert_eq!(shown[7], " 09:29 ann message 29");
        assert_eq!(shown[1], " 09:23 ann message 23");
        let id = screen.model.rooms[0].back.id_of(20);
        screen.model.rooms[0].place = Place::At { id, row: 0 };
        screen.model.rooms[0].below = 2;
        let shown = screen.rows();
        assert_eq!(shown[6], " 09:20 ann message 20");
        assert_eq!(shown[1], " 09:15 ann message 15");
        assert!(shown[7].starts_with(" ↓ 2 new below ("), "{}", shown[7]);
        let before = shown;
        screen.model.rooms[0].back.prepend(vec![], 1, true);
        screen.say("bob", "something new");
        assert_eq!(screen.rows()[1..7], before[1..7]);
    }

    #[test]
    fn at_the_top_the_rows_below_fill_what_is_left() {
        let mut screen = filled();
        let id = screen.model.rooms[0].back.id_of(0);
        screen.model.rooms[0].place = Place::At { id, row: 1 };
        let shown = screen.rows();
        assert_eq!(shown[2], " 09:00 ann message 0");
        assert_eq!(shown[6], " 09:04 ann message 4");
        assert!(shown[7].starts_with(" ↓ more below ("), "{}", shown[7]);
    }

    #[test]
    fn pending_text_is_last_and_shows_a_missing_server() {
        let mut screen = filled();
        screen.pend("on its way");
        assert_eq!(screen.rows()[7], " …     me on its way");
        screen.model.server.session = Session::Down { reason: "gone".into() };
        assert_eq!(screen.rows()[6..8], [" …     me on its way", "  (waiting for the server)"]);
    }
}
