//! Where unread begins, and what makes it read: only what somebody does on purpose.

use super::{
    SIZES, USUAL, begin, is_unread, join,
    keys::{FOCUS_IN, FOCUS_OUT, PAGE_UP, alt},
    says, says_lines,
};
use crate::world::eventually;

#[test]
fn a_line_stands_where_unread_begins() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev", "ops"], size);
        says(&world, "bob", "dev", "seen");
        term.wait_text("seen");
        eventually("it is read", || !is_unread(&world, "dev"));
        term.keys(&alt('2'));
        term.wait_gone("seen");
        says(&world, "bob", "dev", "new one");
        says(&world, "bob", "dev", "new two");
        says(&world, "bob", "ops", "here");
        term.wait_text("here");
        term.keys(&alt('1'));
        term.wait_text("new two");
        term.wait_rows("the line between", |rows| {
            let at = |text: &str| rows.iter().position(|row| row.contains(text));
            let line = rows.iter().position(|row| row.contains("unread") && row.contains('─'));
            at("seen") < line && line < at("new one") && line.is_some()
        });
        // Being there at its end with the keyboard is reading.
        eventually("it is read", || !is_unread(&world, "dev"));
    }
}

#[test]
fn messages_without_focus_stay_unread_until_it_returns() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    assert!(term.wants_focus());
    term.keys(FOCUS_OUT);
    says(&world, "bob", "dev", "nobody looks");
    term.wait_text("nobody looks");
    term.settle();
    assert!(is_unread(&world, "dev"));
    term.wait_row("a line", |row| row.contains("unread"));
    term.keys(FOCUS_IN);
    eventually("it is read", || !is_unread(&world, "dev"));
}

#[test]
fn browsing_marks_nothing_as_read() {
    let (world, _server) = begin();
    says_lines(&world, "bob", "dev", (1..=100).map(|n| format!("line {n}.")));
    let mut term = join(&world, &["dev", "ops"], USUAL);
    term.wait_text("line 100.");
    term.keys(PAGE_UP);
    term.wait_gone("line 100.");
    eventually("it is read", || !is_unread(&world, "dev"));
    says(&world, "bob", "dev", "further down");
    term.wait_text("1 new below");
    term.keys(PAGE_UP);
    term.settle();
    assert!(is_unread(&world, "dev"), "he looks at something else");
    says(&world, "bob", "ops", "in the other room");
    term.settle();
    assert!(is_unread(&world, "ops"));
    // A key does.
    term.keys(&alt('r'));
    eventually("it is read", || !is_unread(&world, "dev"));
    assert!(is_unread(&world, "ops"));
    term.keys(&alt('R'));
    eventually("all is read", || !is_unread(&world, "ops"));
}

#[test]
fn a_key_jumps_to_where_unread_begins() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev", "ops"], size);
        says(&world, "bob", "dev", "the last that was read");
        term.wait_text("the last that was read");
        eventually("it is read", || !is_unread(&world, "dev"));
        term.keys(&alt('2'));
        term.wait_gone("the last that was read");
        says_lines(&world, "bob", "dev", (1..=200).map(|n| format!("unread number {n}.")));
        term.keys(&alt('1'));
        term.wait_text("unread number 200.");
        term.keys(&alt('u'));
        term.wait_text("unread number 1.");
        term.wait_rows("the line before the first of them", |rows| {
            let line = rows.iter().position(|row| row.contains("unread") && row.contains('─'));
            let first = rows.iter().position(|row| row.contains("unread number 1."));
            line.is_some() && line < first
        });
    }
}
