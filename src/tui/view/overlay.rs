//! Overlays above the room: help, the switcher, the question about a long paste.

use crate::{
    chat::text::{plural, shown},
    tui::{
        frame::Row,
        keys::{Action, Keys},
        model::{Choice, Mode, Model},
        paint::Role,
        rows::{bar, count, fit, safe},
        slash, width, wrap,
    },
};

/// Minimum columns for usages and keys beside their descriptions.
const COLUMNS_FROM: usize = 60;
/// Columns before them.
const INDENT: usize = 2;

/// Returns at most `height` rows, if there is an overlay.
pub(super) fn rows(model: &Model, height: usize) -> Option<Vec<Row>> {
    let rows = match &model.mode {
        Mode::Chat | Mode::Search(_) => return None,
        Mode::Help { from } => {
            let all = help(&model.options.keys, model.columns);
            let from = (*from).min(last_from(all.len(), height));
            let paint = &model.options.look.paint;
            let row = |(role, text)| Row::of(text, paint.style(role));
            all.into_iter().skip(from).take(height).map(row).collect()
        }
        Mode::Switch { names, at, .. } => switch(model, names, *at, height),
        Mode::Paste { text, from } => paste(model, text, *from, height),
    };
    Some(rows)
}

// Help.

/// Returns the number of rows of the help that can be the first on the screen.
pub(super) fn help_rows(model: &Model, height: usize) -> usize {
    last_from(help(&model.options.keys, model.columns).len(), height) + 1
}

/// Returns the first row of the last page.
fn last_from(rows: usize, height: usize) -> usize {
    rows.saturating_sub(height.max(1))
}

/// Returns the help: leaving, then commands, then keys.
fn help(keys: &Keys, columns: usize) -> Vec<(Role, String)> {
    let leave = [keys.shown(Action::DeleteOrLeave), keys.shown(Action::Leave)];
    let leave: Vec<_> = leave.into_iter().filter(|key| !key.is_empty()).collect();
    let escape = keys.shown(Action::Escape);
    let first = format!("/quit, {} leave moot. {escape} closes this help.", leave.join(" or "));
    let mut rows: Vec<_> = wrapped(&first, columns, 0).map(|text| (Role::Title, text)).collect();
    rows.extend(heading("Commands"));
    rows.extend(slash::entries(false).flat_map(|(usage, about)| entry(&usage, about, columns)));
    for (title, entries) in keys.help() {
        rows.extend(heading(title));
        rows.extend(entries.iter().flat_map(|(keys, about)| entry(keys, about, columns)));
    }
    rows
}

fn heading(title: &str) -> [(Role, String); 2] {
    [(Role::Text, String::new()), (Role::Help, title.to_owned())]
}

/// Returns a usage or key and its description; side by side if the screen is wide enough.
fn entry(left: &str, about: &str, columns: usize) -> Vec<(Role, String)> {
    let rows: Vec<_> = if columns < COLUMNS_FROM {
        wrapped(&format!("  {left}: {about}"), columns, 4).collect()
    } else {
        let rows = wrap::entry(left, about, columns - INDENT);
        rows.into_iter().map(|row| " ".repeat(INDENT) + &row).collect()
    };
    rows.into_iter().map(|row| (Role::Text, row)).collect()
}

/// Returns the rows of a text; those after the first are indented.
fn wrapped(text: &str, columns: usize, indent: usize) -> impl Iterator<Item = String> {
    let indent = if columns > 2 * indent { indent } else { 0 };
    let ranges = wrap::wrap(text, columns, columns.saturating_sub(indent));
    ranges.into_iter().enumerate().map(move |(nth, range)| {
        let lead = if nth == 0 { 0 } else { indent };
        " ".repeat(lead) + &text[range]
    })
}

// The switcher.

fn switch(model: &Model, names: &[Choice], at: usize, height: usize) -> Vec<Row> {
    let style = |role| model.options.look.paint.style(role);
    if names.is_empty() {
        let text = "no match";
        return vec![Row::of(width::cut(text, model.columns), style(Role::Dim))];
    }
    // The selected one stays visible.
    let from = (at + 1).saturating_sub(height.max(1));
    let shown = names.iter().enumerate().skip(from).take(height);
    let row = |(nth, choice): (usize, &Choice)| {
        let mut row = choice_row(model, choice);
        if nth == at {
            let current = style(Role::Current);
            row.spans.iter_mut().for_each(|span| span.style = span.style.patch(current));
            return bar(row, current, model.columns);
        }
        fit(row, model.columns)
    };
    shown.map(row).collect()
}

fn choice_row(model: &Model, choice: &Choice) -> Row {
    let style = |role| model.options.look.paint.style(role);
    let room = model.rooms.iter().find(|room| choice.open && room.title() == choice.name);
    let (mentions, unread) = room.map_or((0, 0), |room| (room.important(), room.marks.unread));
    let role = match () {
        () if mentions > 0 => Role::UnreadMention,
        () if unread > 0 => Role::Unread,
        () => Role::Text,
    };
    let mut row = Row::of(format!("  {}", safe(&choice.name)), style(role));
    if mentions > 0 {
        row.push(format!(" @{}", count(mentions)), style(role));
    }
    if unread > mentions {
        row.push(format!(" {}", count(unread - mentions)), style(role));
    }
    if !choice.open {
        let word = if choice.name.starts_with('@') { " (message)" } else { " (join)" };
        row.push(word, style(Role::Dim));
    }
    row
}

// A long paste.

fn paste(model: &Model, pasted: &str, from: usize, height: usize) -> Vec<Row> {
    let style = |role| model.options.look.paint.style(role);
    let keys = &model.options.keys;
    let (enter, escape) = (keys.shown(Action::Send), keys.shown(Action::Escape));
    let lines = pasted.lines().count();
    let question = format!(
        "Paste {} {} ({} bytes)? {enter}: paste · {escape}: discard",
        thousands(lines),
        plural(lines as u64, "line"),
        thousands(pasted.len()),
    );
    let ranges = wrap::wrap(&question, model.columns, model.columns);
    let row = |range: std::ops::Range<usize>| {
        Row::of(width::cut(&question[range], model.columns), style(Role::Title))
    };
    let mut rows: Vec<_> = ranges.into_iter().map(row).collect();
    let left = height.saturating_sub(rows.len());
    for line in pasted.lines().skip(from).take(left) {
        let end = line.floor_char_boundary(8 * model.columns);
        let line = shown(&line[..end], true).replace('\t', "    ");
        rows.push(Row::of(width::cut(&line, model.columns), style(Role::Text)));
    }
    rows
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{
        super::{screen::layout, tests::*},
        *,
    };
    use crate::tui::editor::Editor;

    #[test]
    fn the_first_line_of_the_help_says_how_to_leave() {
        let mut screen = Screen::new();
        screen.model.mode = Mode::Help { from: 0 };
        let rows = screen.rows();
        assert!(rows[1].starts_with("/quit, "), "{}", rows[1]);
        assert!(rows[1].contains("leave moot"), "{}", rows[1]);
        assert!(rows.iter().any(|row| row.contains("/join")), "{rows:?}");
        screen.model.mode = Mode::Help { from: 10_000 };
        let last = help(&screen.model.options.keys, 80).last().unwrap().1.clone();
        let rows = screen.rows();
        assert_eq!(
            rows[21].trim_end(),
            width::cut(&last, 80).trim_end(),
            "it ends with its last row"
        );
    }

    #[test]
    fn the_help_is_read_whole_on_a_small_screen() {
        let mut screen = Screen::new();
        screen.resize(40, 10);
        screen.model.mode = Mode::Help { from: 0 };
        let mut seen = Vec::new();
        for from in 0..help_rows(&screen.model, layout(&screen.model).body_rows()) {
            screen.model.mode = Mode::Help { from };
            seen.push(screen.rows()[1].clone());
        }
        seen.extend_from_slice(&screen.rows()[2..8]);
        let all = help(&screen.model.options.keys, 40);
        let all: Vec<_> = all.into_iter().map(|(_, row)| row).collect();
        assert_eq!(seen, all);
        assert!(all.iter().all(|row| width::width(row) <= 40), "{all:?}");
        assert_eq!(all[0], "/quit, Ctrl-D or Ctrl-C leave moot. Esc");
        assert_eq!(all[1], "closes this help.");
    }

    #[test]
    fn both_helps_describe_each_command_the_same() {
        let screen = Screen::new();
        let rows = help(&screen.model.options.keys, 81);
        let rows: Vec<_> = rows.iter().map(|(_, row)| row.as_str()).collect();
        for line in slash::help(false).lines() {
            assert!(rows.contains(&format!("  {line}").as_str()), "{line}");
        }
        let at = rows.iter().position(|row| row.contains("Shift-Enter")).unwrap();
        assert_eq!(rows[at], "  Alt-Enter, Ctrl-J, Shift-Enter");
        assert_eq!(rows[at + 1], format!("{:30}start a new line", ""));
    }

    #[test]
    fn switcher_shows_the_selection_and_rooms_to_join() {
        let mut screen = Screen::new();
        screen.resize(40, 10);
        screen.model.rooms[0].marks.unread = 2;
        let choice = |name: &str, open| Choice { name: name.into(), open };
        let mut names = vec![choice("dev", true), choice("ops", false), choice("@ann", false)];
        names.extend((0..20).map(|n| choice(&format!("room{n}"), false)));
        let mode = |at| Mode::Switch { query: Editor::default(), names: names.clone(), at };
        screen.model.mode = mode(0);
        let rows = screen.rows();
        assert_eq!(rows[1].trim_end(), "  dev 2");
        assert_eq!(rows[2..4], ["  ops (join)", "  @ann (message)"]);
        assert_eq!(rows[9], "go to: ");
        screen.model.mode = mode(22);
        assert!(screen.rows()[7].starts_with("  room19"));
    }

    #[test]
    fn a_long_paste_is_asked_about_with_its_first_lines() {
        let mut screen = Screen::new();
        let text =
            (0..37).map(|n| format!("line {n}\tx\n")).collect::<String>() + &"x".repeat(1_000);
        screen.model.mode = Mode::Paste { text: text.clone(), from: 0 };
        let rows = screen.rows();
        let expected = format!("Paste 38 lines ({} bytes)? ", thousands(text.len()));
        assert!(rows[1].starts_with(&expected), "{}", rows[1]);
        assert_eq!(rows[2], "line 0    x");
        screen.model.mode = Mode::Paste { text, from: 30 };
        assert_eq!(screen.rows()[2], "line 30    x");
        assert_eq!(screen.frame().cursor, None);
    }

    #[test]
    fn large_numbers_are_read_in_groups() {
        assert_eq!([0, 999, 1_204, 1_000_000].map(thousands), ["0", "999", "1,204", "1,000,000"]);
    }
}
