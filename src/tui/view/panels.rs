//! Rooms on the left, members on the right. Without frames, so that a copied line is text.

use crate::{
    chat::member::{Kind, State},
    tui::{
        frame::Row,
        model::{Model, Present, Room},
        paint::Role,
        rows::{bar, count, fit, one_line, safe},
        width,
    },
};

/// Returns the rooms, those with mentions first; at most `rows`.
pub(super) fn rooms(model: &Model, columns: usize, rows: usize) -> Vec<Row> {
    let (shown, hidden) = rooms_shown(model, rows);
    let mut out: Vec<_> = shown.iter().map(|at| room_row(model, *at, columns)).collect();
    if !hidden.is_empty() {
        out.push(more_row(model, &hidden, columns));
    }
    out
}

/// Returns the indices of the rooms in the list, and of those that do not fit. The current room and
/// those with unread messages come first.
pub(super) fn rooms_shown(model: &Model, rows: usize) -> (Vec<usize>, Vec<usize>) {
    let order = model.order();
    if order.len() <= rows {
        return (order, Vec::new());
    }
    let mut weighed = order.clone();
    weighed.sort_by_key(|at| {
        let room = &model.rooms[*at];
        (*at != model.current, room.important() == 0, room.marks.unread == 0)
    });
    weighed.truncate(rows.saturating_sub(1));
    order.into_iter().partition(|at| weighed.contains(at))
}

fn room_row(model: &Model, at: usize, columns: usize) -> Row {
    let room = &model.rooms[at];
    let role = match at {
        _ if room.important() > 0 => Role::UnreadMention,
        _ if room.marks.unread > 0 => Role::Unread,
        _ => Role::Panel,
    };
    let style = model.options.look.paint.style(role);
    let digits = model.rooms.iter().map(|room| room.number).max().unwrap_or(0).to_string().len();
    let number = format!("{:digits$} ", room.number);
    let counts =
        counts(room.important(), room.marks.unread - room.important().min(room.marks.unread));
    let title = room.title();
    let left = columns.saturating_sub(width::width(&number) + width::width(&counts));
    let name = width::cut(&title, left).into_owned();
    let mut row = Row::of(number, model.options.look.paint.style(Role::Panel));
    row.push(name, style);
    row.push(counts, style);
    if at == model.current {
        let current = model.options.look.paint.style(Role::Current);
        row.spans.iter_mut().for_each(|span| span.style = span.style.patch(current));
        return bar(row, current, columns);
    }
    fit(row, columns)
}

/// Returns the mentions, then the other unread messages.
fn counts(mentions: u64, others: u64) -> String {
    let mut out = String::new();
    if mentions > 0 {
        out = format!(" @{}", count(mentions));
    }
    if others > 0 {
        out = format!("{out} {}", count(others));
    }
    out
}

fn more_row(model: &Model, hidden: &[usize], columns: usize) -> Row {
    let all = || hidden.iter().map(|at| &model.rooms[*at]);
    let mentions = all().map(Room::important).sum::<u64>();
    let unread = all().map(|room| room.marks.unread).sum::<u64>();
    let role = if unread > 0 { Role::Unread } else { Role::Dim };
    let text = format!("+{} more{}", hidden.len(), counts(mentions, unread - mentions.min(unread)));
    Row::of(width::cut(&text, columns), model.options.look.paint.style(role))
}

/// Returns the unread messages elsewhere, for screens without the list: `2:dev @1 3:ops 5`.
pub(super) fn activity(model: &Model) -> String {
    let unread = model.order().into_iter().filter(|at| *at != model.current);
    let unread = unread.map(|at| &model.rooms[at]).filter(|room| room.marks.unread > 0);
    let said = unread.map(|room| {
        let others = room.marks.unread - room.important().min(room.marks.unread);
        format!("{}:{}{}", room.number, room.title(), counts(room.important(), others))
    });
    said.collect::<Vec<_>>().join(" ")
}

/// Returns the members of the current room; people first.
pub(super) fn members(model: &Model, columns: usize, rows: usize) -> Vec<Row> {
    let Some(room) = model.room() else { return Vec::new() };
    let style = model.options.look.paint.style(Role::Panel);
    let head = format!("members {}", room.sessions());
    let mut out = vec![Row::of(width::cut(&head, columns), style)];
    let mut all: Vec<_> = room.members.iter().collect();
    all.sort_by_key(|present| rank(present.kind));
    let fits = rows.saturating_sub(1);
    let shown = if all.len() > fits { fits.saturating_sub(1) } else { all.len() };
    out.extend(all[..shown].iter().map(|present| member_row(model, present, columns)));
    if shown < all.len() {
        let more = format!("+{} more", all.len() - shown);
        out.push(Row::of(width::cut(&more, columns), style));
    }
    out
}

fn rank(kind: Kind) -> usize {
    match kind {
        Kind::Person => 0,
        Kind::Agent => 1,
        Kind::Service => 2,
        Kind::Script => 3,
    }
}

fn member_row(model: &Model, present: &Present, columns: usize) -> Row {
    let paint = &model.options.look.paint;
    let (dim, away) = (paint.style(Role::Dim), paint.style(Role::Away));
    let name = safe(&present.name);
    let mut said = String::new();
    if present.sessions > 1 {
        said = format!(" ×{}", present.sessions);
    }
    if present.kind != Kind::Person {
        said = format!("{said} {}", present.kind.word());
    }
    match present.state {
        State::Online => {}
        State::Away if present.status.is_empty() => said.push_str(" away"),
        State::Away => said = format!("{said} away: {}", one_line(&present.status, columns)),
        State::Idle => said = format!("{said} {}", idle(present.idle_s)),
        State::Unresponsive | State::Unknown | State::Unreachable => said.push_str(" ?"),
    }
    let is_here = matches!(present.state, State::Online | State::Idle);
    let style = if is_here { paint.name(&present.name) } else { away };
    // The name is the most important part: the rest has the columns that it leaves, but never none.
    let rest = width::width(&said).min(columns / 3);
    let mut row = Row::of(width::cut(&name, columns - rest), style);
    let left = columns - row.width().min(columns);
    row.push(width::cut(&said, left), if is_here { dim } else { away });
    fit(row, columns)
}

fn idle(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[test]
    fn rooms_with_mentions_come_first_and_unread_ones_show() {
        let mut screen = Screen::new();
        for name in ["ops", "회의", "qa", "x1", "x2", "x3"] {
            screen.open(name);
        }
        screen.open_direct("ann");
        screen.model.rooms[1].marks.unread = 3;
        (screen.model.rooms[2].marks.unread, screen.model.rooms[2].marks.mentions) = (5, 2);
        screen.model.rooms[7].marks.unread = 1;
        let all = texts(&rooms(&screen.model, 12, 20));
        let trimmed: Vec<_> = all.iter().map(|row| row.trim_end()).collect();
        assert_eq!(
            trimmed,
            ["3 회의 @2 3", "8 @ann @1", "1 dev", "2 ops 3", "4 qa", "5 x1", "6 x2", "7 x3"]
        );
        let few = texts(&rooms(&screen.model, 12, 4));
        let trimmed: Vec<_> = few.iter().map(|row| row.trim_end()).collect();
        assert_eq!(trimmed, ["3 회의 @2 3", "8 @ann @1", "1 dev", "+5 more 3"]);
        assert_eq!(activity(&screen.model), "3:회의 @2 3 8:@ann @1 2:ops 3");
    }

    #[test]
    fn members_show_their_kind_and_state() {
        let mut screen = Screen::new();
        let one = |name: &str, kind, state, idle_s, status: &str| Present {
            name: name.into(),
            sessions: 1,
            kind,
            state,
            idle_s,
            status: status.into(),
        };
        screen.model.rooms[0].members = vec![
            one("backup", Kind::Script, State::Online, 0, ""),
            one("ann", Kind::Person, State::Away, 0, "at lunch"),
            one("bob", Kind::Person, State::Idle, 750, ""),
            one("bot", Kind::Agent, State::Unresponsive, 0, ""),
            one("철수", Kind::Person, State::Online, 0, ""),
        ];
        screen.model.rooms[0].members[0].sessions = 3;
        assert_eq!(
            texts(&members(&screen.model, 22, 10)),
            [
                "members 7",
                "ann away: at lunch",
                "bob 12m",
                "철수",
                "bot agent ?",
                "backup ×3 script"
            ]
        );
        assert_eq!(
            texts(&members(&screen.model, 10, 4)),
            ["members 7", "ann away:…", "bob 12m", "+3 more"]
        );
    }
}
