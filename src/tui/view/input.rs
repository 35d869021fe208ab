//! The rows of the input, and the place of the cursor.

use ratatui::style::Style;

use crate::tui::{
    frame::Row,
    model::{Mode, Model},
    paint::Role,
    width,
};

fn is_read_only(model: &Model) -> bool {
    model.options.read_only && matches!(model.mode, Mode::Chat)
}

/// Returns the rows of the whole text.
pub(super) fn rows_wanted(model: &Model) -> usize {
    if is_read_only(model) {
        return 1;
    }
    model.field().1.layout(model.input_columns()).rows.len()
}

/// Returns the rows around the cursor; and the cursor's column and row among them.
pub(super) fn rows(model: &Model, height: usize) -> (Vec<Row>, Option<(usize, usize)>) {
    let paint = &model.options.look.paint;
    // A command may still be typed.
    if is_read_only(model) && model.editor.is_empty() {
        let text = width::cut("(read-only)", model.columns);
        return (vec![Row::of(text, paint.style(Role::Dim))], None);
    }
    let (prompt, editor) = model.field();
    let layout = editor.layout(model.input_columns());
    let (column, row) = layout.cursor;
    let from = (row + 1).saturating_sub(height);
    let mut rows = Vec::with_capacity(height);
    for (nth, text) in layout.rows.iter().enumerate().skip(from).take(height) {
        let lead = if nth == 0 { prompt.to_owned() } else { " ".repeat(prompt.len()) };
        let mut line = Row::of(lead, paint.style(Role::Dim));
        line.push(text.as_str(), Style::default());
        rows.push(line);
    }
    let is_typing = !matches!(model.mode, Mode::Help { .. } | Mode::Paste { .. });
    (rows, is_typing.then_some((prompt.len() + column, row - from)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn input_grows_to_a_third_of_the_screen_with_the_cursor() {
        let mut screen = Screen::new();
        screen.resize(40, 12);
        screen.model.editor.set("one\ntwo\nthree\nfour\nfive\nsix");
        let frame = screen.frame();
        assert_eq!(texts(&frame.rows[8..]), ["  three", "  four", "  five", "  six"]);
        assert_eq!(frame.cursor, Some((5, 11)));
        screen.model.editor.set("안녕");
        let frame = screen.frame();
        assert_eq!(texts(&frame.rows[11..]), ["> 안녕"]);
        assert_eq!(frame.cursor, Some((6, 11)));
    }

    #[test]
    fn read_only_input_has_no_cursor() {
        let mut screen = Screen::new();
        screen.model.options.read_only = true;
        let frame = screen.frame();
        assert_eq!(frame.rows.last().unwrap().text(), "(read-only)");
        assert_eq!(frame.cursor, None);
    }
}
