//! The rows around the messages: title, announcements, status messages, status.

use ratatui::style::Style;

use super::{layout::Layout, panels};
use crate::{
    chat::{
        member::Level,
        text::{counted, shown},
    },
    tui::{
        frame::Row,
        keys::Action,
        model::{Mode, Model, NoticeLine, Room, Search, Session},
        paint::Role,
        rows::{bar, fit, one_line, pad, safe},
        width, wrap,
    },
};

/// Rows of a critical announcement.
const CRITICAL_ROWS: usize = 2;
/// Lag above which it is shown before a reply arrives.
const LATE_US: u64 = 1_000_000;

fn style(model: &Model, role: Role) -> Style {
    model.options.look.paint.style(role)
}

/// Adds a text at the right edge of a row of `columns`, if it fits.
fn with_right(mut row: Row, right: &str, columns: usize, style: Style) -> Row {
    let wide = width::width(right);
    if !right.is_empty() && row.width() + wide < columns {
        pad(&mut row, columns - wide);
        row.push(right, style);
    }
    row
}

// The title.

/// Returns `dev · topic`, and the number of members.
pub(super) fn title_row(model: &Model, columns: usize) -> Row {
    let title = style(model, Role::Title);
    let Some(room) = model.room() else {
        return bar(Row::of(" moot", title), title, columns);
    };
    let members = match room.sessions() {
        0 => String::new(),
        all => format!("{} ", counted(all as u64, "member")),
    };
    let mut text = format!(" {}", room.title());
    let is: Vec<_> = [
        (room.gone, "not a member"),
        (room.properties.private, "private"),
        (room.properties.read_only, "read-only"),
    ]
    .into_iter()
    .filter_map(|(is, word)| is.then_some(word))
    .collect();
    if !is.is_empty() {
        text = format!("{text} ({})", is.join(", "));
    }
    // On a narrow screen the topic is dropped first.
    let left = columns.saturating_sub(width::width(&members) + 1);
    if !room.properties.topic.is_empty() {
        text = format!("{text} · {}", one_line(&room.properties.topic, columns));
    }
    let text = width::cut(&text, if left < columns / 2 { columns } else { left });
    bar(with_right(Row::of(text, title), &members, columns, title), title, columns)
}

// Announcements.

/// Returns at most `rows` rows of announcements, the highest level first.
pub(super) fn notice_rows(model: &Model, columns: usize, rows: usize) -> Vec<Row> {
    let plain = model.options.look.plain;
    // In the plain view only critical announcements are visible.
    let is_shown = |notice: &&NoticeLine| !plain || notice.level == Level::Critical;
    let all: Vec<_> = model.notices.shown().iter().filter(is_shown).collect();
    let mut out: Vec<Row> = Vec::new();
    for (nth, notice) in all.iter().enumerate() {
        let left = rows.saturating_sub(out.len());
        if left == 0 {
            break;
        }
        let behind = all.len() - nth - 1;
        let mut one = notice_text(model, notice, columns, left, 0);
        if one.len() == left && behind > 0 {
            one = notice_text(model, notice, columns, left, behind);
        }
        out.extend(one);
    }
    out
}

/// Returns one announcement, its key, and the number of further ones.
fn notice_text(
    model: &Model,
    notice: &NoticeLine,
    columns: usize,
    rows: usize,
    more: usize,
) -> Vec<Row> {
    let style = style(model, Role::Level(notice.level));
    let level = notice.level.word().to_uppercase();
    let room = notice.room.as_ref().map(|room| format!(" {}", safe(room))).unwrap_or_default();
    let name = safe(&notice.name);
    let key = model.options.keys.shown(Action::Acknowledge);
    // The key is for one of them.
    let is_next = model.notices.next().is_some_and(|next| next.number == notice.number);
    let mut todo = match notice.acked {
        true => " ✓ seen".to_owned(),
        false if is_next => format!(" {key}: seen"),
        false if notice.ack => " unseen".to_owned(),
        false => String::new(),
    };
    if more > 0 {
        todo = format!("{todo} +{more} more");
    }
    let text = format!(" {level}{room} {name}: {}", one_line(&notice.text, 4 * columns));
    let first = columns.saturating_sub(width::width(&todo)).max(1);
    let rows = if notice.level == Level::Critical { rows.min(CRITICAL_ROWS) } else { 1 };
    let cut = split(&text, first, columns, rows);
    let mut out: Vec<_> = cut.into_iter().map(|text| Row::of(text, style)).collect();
    if let Some(row) = out.first_mut() {
        *row = with_todo(std::mem::take(row), &todo, columns, style);
    }
    out.into_iter().map(|row| bar(row, style, columns)).collect()
}

fn with_todo(mut row: Row, todo: &str, columns: usize, style: Style) -> Row {
    let wide = width::width(todo);
    if wide > 0 && wide < columns {
        pad(&mut row, columns - wide);
        row.push(todo, style);
    }
    row
}

/// Splits a text into at most `rows` rows; the last one is cut.
fn split(text: &str, first: usize, columns: usize, rows: usize) -> Vec<String> {
    if rows < 2 {
        return vec![width::cut(text, first).into_owned()];
    }
    let ranges = wrap::wrap(text, first, columns.saturating_sub(1));
    let mut out = Vec::new();
    for (at, range) in ranges.iter().take(rows).enumerate() {
        let (lead, columns) = if at == 0 { ("", first) } else { (" ", columns) };
        let is_last = at + 1 == rows;
        let end = if is_last { text.len() } else { range.end };
        out.push(width::cut(&format!("{lead}{}", &text[range.start..end]), columns).into_owned());
    }
    out
}

// Above the input.

/// Returns the status message, else the completion, else the keys for the selected message.
pub(super) fn hint_rows(model: &Model, columns: usize) -> Vec<Row> {
    if let Some(hint) = &model.hint {
        let style = style(model, if hint.is_error { Role::Error } else { Role::Dim });
        let safe = shown(&hint.text, true);
        let rows = wrap::wrap(&safe, columns, columns);
        return rows
            .into_iter()
            .map(|range| Row::of(width::cut(&safe[range], columns), style))
            .collect();
    }
    if let Some(completion) = &model.completion {
        let (names, at) = completion.shown();
        if names.len() > 1 {
            return vec![choices_row(model, names, at, columns)];
        }
        return Vec::new();
    }
    let is_chosen = model.room().is_some_and(|room| room.selected.is_some());
    if is_chosen && matches!(model.mode, Mode::Chat) && !model.options.look.plain {
        let keys = &model.options.keys;
        let can = [
            (Action::Reply, "reply"),
            (Action::Pager, "pager"),
            (Action::Copy, "copy"),
            (Action::Escape, "back"),
        ];
        let mut said = can.map(|(action, word)| format!("{}: {word}", keys.shown(action))).to_vec();
        // The number for `/reply` and other programs, and the sender's whole name.
        if let Some(room) = model.room()
            && let Some(index) = room.selected.and_then(|id| room.back.find(id))
            && let Some(chosen) = room.back.get(index).and_then(|line| line.said())
        {
            said.insert(0, format!("{} by {}", chosen.seq, shown(&chosen.name, false)));
        }
        let text = said.join(" · ");
        return vec![Row::of(width::cut(&text, columns), style(model, Role::Dim))];
    }
    Vec::new()
}

/// Returns names in a row around the selected one.
fn choices_row(model: &Model, names: &[String], at: usize, columns: usize) -> Row {
    let (dim, current) = (style(model, Role::Dim), style(model, Role::Current));
    let wide = |name: &str| width::width(&safe(name)) + 2;
    // First the names before it that leave it visible, then those after it.
    let mut from = at.min(names.len().saturating_sub(1));
    let mut left = columns.saturating_sub(wide(names.get(from).map_or("", String::as_str)) + 2);
    while from > 0 && wide(&names[from - 1]) <= left / 2 {
        from -= 1;
        left -= wide(&names[from]);
    }
    let mut row = Row::default();
    if from > 0 {
        row.push("… ", dim);
    }
    for (nth, name) in names.iter().enumerate().skip(from) {
        row.push(safe(name), if nth == at { current } else { dim });
        row.push("  ", dim);
        if row.width() > columns {
            break;
        }
    }
    fit(row, columns)
}

/// Returns the row of the message to reply to.
pub(super) fn quote_row(model: &Model, columns: usize) -> Option<Row> {
    let quote = model.room()?.quote.as_ref()?;
    let end = format!(" ({}: cancel)", model.options.keys.shown(Action::Escape));
    let text = format!("reply to {}: {}", safe(&quote.name), one_line(&quote.text, columns));
    let text = width::cut(&text, columns.saturating_sub(width::width(&end)));
    Some(fit(Row::of(format!("{text}{end}"), style(model, Role::Dim)), columns))
}

// The status.

/// A part of the status bar; on a narrow screen those with the highest number are dropped first.
struct BarPart {
    text: String,
    goes: usize,
}

/// Returns the row with the user, the room and the state of the connection.
pub(super) fn status_row(model: &Model, at: &Layout, now_us: u64) -> Row {
    let columns = model.columns;
    let is_alert = model.server.is_hung || matches!(model.server.session, Session::Down { .. });
    let style = style(model, if is_alert { Role::BarAlert } else { Role::Bar });
    let mut parts = parts(model, at, now_us);
    let server = format!("{} ", safe(&model.options.server));
    let wide = |parts: &[BarPart]| {
        parts.iter().map(|part| width::width(&part.text)).sum::<usize>() + 3 * parts.len() - 2
    };
    while parts.len() > 1 && wide(&parts) > columns {
        let last = (0..parts.len()).max_by_key(|at| parts[*at].goes).unwrap_or(0);
        parts.remove(last);
    }
    let said: Vec<_> = parts.into_iter().map(|part| part.text).collect();
    let row = fit(Row::of(format!(" {}", said.join(" · ")), style), columns);
    bar(with_right(row, &server, columns, style), style, columns)
}

fn parts(model: &Model, at: &Layout, now_us: u64) -> Vec<BarPart> {
    let part = |text: String, goes| BarPart { text, goes };
    let mut parts = Vec::new();
    let is_down = matches!(model.server.session, Session::Down { .. });
    if let Session::Down { reason } = &model.server.session {
        let reason = match reason.as_str() {
            "" => String::new(),
            reason => format!(" ({})", one_line(reason, model.columns)),
        };
        parts.push(part(format!("no server: reconnecting{reason}"), 0));
    }
    match &model.mode {
        Mode::Search(search) => parts.push(part(found(model, search), 1)),
        Mode::Chat if model.options.look.plain => {
            let key = model.options.keys.shown(Action::Plain);
            parts.push(part(format!("plain view for copying · {key}: back"), 1));
        }
        Mode::Chat | Mode::Help { .. } | Mode::Switch { .. } | Mode::Paste { .. } => {}
    }
    let unsaid = model.room().map_or(0, |room| room.unsaid.len());
    if unsaid > 0 {
        let key = model.options.keys.shown(Action::Up);
        parts.push(part(format!("{unsaid} unsent · {key} in an empty input: edit"), 1));
    }
    if model.server.is_hung && !is_down {
        parts.push(part("server not responding".to_owned(), 0));
    }
    let away = if model.user.is_away { " (away)" } else { "" };
    parts.push(part(format!("{}{away}", safe(&model.user.name)), 3));
    // The title shows the room as well.
    parts.extend(model.room().map(Room::title).map(|title| part(title, 4)));
    let activity = if at.rooms.is_none() { panels::activity(model) } else { String::new() };
    if !activity.is_empty() {
        let activity = width::cut(&activity, model.columns.saturating_sub(2)).into_owned();
        parts.push(part(activity, 2));
    }
    if let Session::Up { broadcast } = model.server.session {
        parts.push(part(format!("connected {broadcast}"), 5));
        parts.extend(
            lag(model, now_us).map(|(text, is_late)| part(text, if is_late { 1 } else { 6 })),
        );
    }
    parts
}

/// Returns the lag, and true if a reply is late.
fn lag(model: &Model, now_us: u64) -> Option<(String, bool)> {
    let waits_us = model.server.waits_since_us.map_or(0, |since| now_us.saturating_sub(since));
    if waits_us > LATE_US {
        return Some((format!("lag > {} s", waits_us / 1_000_000), true));
    }
    let text = match model.server.lag_us? {
        us @ 0..10_000 => format!("lag {}.{} ms", us / 1_000, us % 1_000 / 100),
        us @ 10_000..1_000_000 => format!("lag {} ms", us / 1_000),
        us => format!("lag {}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    };
    Some((text, false))
}

fn found(model: &Model, search: &Search) -> String {
    let hits = search.hits.len();
    let text = match search.at {
        _ if search.query.text().trim().is_empty() => "search: type words".to_owned(),
        _ if hits == 0 && search.waits => "search: in progress".to_owned(),
        _ if hits == 0 => "search: no match".to_owned(),
        at => {
            // The newest hit is shown first.
            let nth = at.map_or(0, |at| hits - at.min(hits - 1));
            let more = if search.more_before.is_some() || search.waits { "+" } else { "" };
            format!("search: {nth} of {hits}{more}")
        }
    };
    let keys = &model.options.keys;
    let (older, newer) = (keys.shown(Action::Search), keys.shown(Action::SearchNewer));
    format!("{text} · {older}: older · {newer}: newer")
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::tui::model::{Hint, Quote};

    #[test]
    fn title_is_cut_before_the_number_of_members() {
        let mut screen = Screen::new();
        screen.model.rooms[0].properties.topic =
            "배포는 금요일에 하지 않는다, whatever they say".into();
        screen.model.rooms[0].properties.private = true;
        screen.join(&["ann", "bob"]);
        let row = title_row(&screen.model, 40).text();
        assert_eq!(row, " dev (private) · 배포는 금요… 2 members ");
        let row = title_row(&screen.model, 80).text();
        assert_eq!(
            row.trim_end(),
            " dev (private) · 배포는 금요일에 하지 않는다, whatever they say       2 members"
        );
    }

    #[test]
    fn announcements_show_their_level_and_key() {
        let mut screen = Screen::new();
        screen.notice(1, Level::Info, false, "coffee");
        screen.notice(2, Level::Warning, true, "disk full");
        screen.notice(
            3,
            Level::Critical,
            false,
            "the machine stops in five minutes, save your work",
        );
        screen.notice(4, Level::Notice, false, "hello");
        let key = screen.model.options.keys.shown(Action::Acknowledge);
        let rows = texts(&notice_rows(&screen.model, 40, 3));
        let first =
            format!(" CRITICAL root: the machine{:pad$} {key}: seen", "", pad = 6 - key.len());
        assert_eq!(
            rows[0].split_whitespace().collect::<Vec<_>>(),
            first.split_whitespace().collect::<Vec<_>>()
        );
        assert_eq!(rows.len(), 3);
        assert!(rows[1].starts_with(" stops in five minutes, save your work"), "{}", rows[1]);
        assert!(rows[2].starts_with(" WARNING root: disk full  unseen"), "{}", rows[2]);
        assert!(rows[2].ends_with("+2 more"), "{}", rows[2]);
        screen.model.notices.acknowledged(0, 2);
        let rows = texts(&notice_rows(&screen.model, 60, 3));
        assert!(rows[2].contains("✓ seen"), "{}", rows[2]);
        assert!(texts(&notice_rows(&screen.model, 40, 1))[0].ends_with("+3 more"));
        assert!(notice_rows(&screen.model, 40, 0).is_empty());
    }

    #[test]
    fn status_shows_user_room_connection_as_far_as_they_fit() {
        let mut screen = Screen::new();
        screen.model.server.lag_us = Some(230);
        screen.model.user.is_away = true;
        let layout = crate::tui::view::screen::layout(&screen.model);
        let row = status_row(&screen.model, &layout, 0).text();
        assert_eq!(
            row,
            format!("{:75}main ", " me (away) · dev · connected multicast · lag 0.2 ms")
        );
        screen.model.server.waits_since_us = Some(0);
        let row = status_row(&screen.model, &layout, 3_200_000).text();
        assert!(row.contains("lag > 3 s"), "{row}");
        screen.model.columns = 24;
        let row = status_row(&screen.model, &layout, 0).text();
        assert_eq!(row.trim_end(), " me (away) · dev   main");
        screen.model.server.session = Session::Down { reason: "the server ended".into() };
        screen.model.columns = 60;
        let row = status_row(&screen.model, &layout, 0).text();
        assert_eq!(row.trim_end(), " no server: reconnecting (the server ended) · me (away)");
    }

    #[test]
    fn narrow_status_shows_unread_messages_elsewhere() {
        let mut screen = Screen::new();
        screen.open("ops");
        screen.model.rooms[1].marks.unread = 4;
        screen.resize(40, 10);
        let row = screen.rows()[8].clone();
        assert!(row.starts_with(" me · dev · 2:ops 4"), "{row}");
    }

    #[test]
    fn long_status_message_is_shown_whole() {
        let mut screen = Screen::new();
        screen.resize(40, 10);
        screen.model.hint = Some(Hint {
            text: "there is no /jion; did you mean /join? It is written so".into(),
            is_error: true,
        });
        let rows = screen.rows();
        assert_eq!(rows[6..8], ["there is no /jion; did you mean /join?", "It is written so"]);
    }

    #[test]
    fn quote_of_a_reply_is_above_the_input() {
        let mut screen = Screen::new();
        let text = "a text\nof two lines which is longer than the screen is wide".to_owned();
        screen.model.rooms[0].quote = Some(Quote { seq: 1, name: "ann".into(), text });
        let key = screen.model.options.keys.shown(Action::Escape);
        let row = quote_row(&screen.model, 40).unwrap();
        assert!(row.text().starts_with("reply to ann: a text of t"), "{}", row.text());
        assert!(row.text().ends_with(&format!("… ({key}: cancel)")), "{}", row.text());
    }

    #[test]
    fn selected_name_of_a_completion_is_visible() {
        let screen = Screen::new();
        let names: Vec<_> = (10..40).map(|n| format!("name{n}")).collect();
        for at in 0..names.len() {
            let row = choices_row(&screen.model, &names, at, 30);
            assert!(row.text().contains(&names[at]), "{at}: {}", row.text());
            assert!(row.width() <= 30);
        }
    }
}
