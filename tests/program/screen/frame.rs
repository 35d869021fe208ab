//! The frame around what is said: the status bar, help, and that all of it fits into any terminal.

use super::{
    LARGE, SIZES, SMALL, USUAL, begin, eventually_said, join,
    keys::{ENTER, ESCAPE, PAGE_DOWN, ctrl, f},
    me, says, says_lines,
    term::{Size, Term},
};

#[test]
fn the_status_bar_says_where_one_is() {
    for size in SIZES {
        let (world, _server) = begin();
        let term = join(&world, &["dev"], size);
        // Right above the input.
        let bar = |rows: &[String]| {
            let input = rows.iter().rposition(|row| row.starts_with('>'))?;
            rows.get(input.checked_sub(1)?).cloned()
        };
        let mut told = vec!["dev".to_owned(), me()];
        if size != SMALL {
            told.push("ms".to_owned());
        }
        for word in told {
            let what = format!("{word} in the status bar");
            term.wait_rows(&what, |rows| bar(rows).is_some_and(|bar| bar.contains(&word)));
        }
    }
}

#[test]
fn help_begins_with_how_to_leave() {
    for size in SIZES {
        for key in ["?", f(1)] {
            let (world, _server) = begin();
            let mut term = join(&world, &["dev"], size);
            term.keys(key);
            term.wait_rows("how to leave comes first", |rows| {
                rows[..3].iter().any(|row| row.contains("Ctrl-C") && row.contains("leave"))
            });
            term.keys(PAGE_DOWN);
            term.settle();
            term.keys(ESCAPE);
            term.wait_input("");
            term.wait_gone("leave");
            // In a text it is a letter.
            term.keys("what");
            term.keys("?");
            term.wait_input("what?");
        }
    }
}

#[test]
fn every_size_shows_what_is_said_and_typed() {
    let (world, _server) = begin();
    says_lines(&world, "bob", "dev", (1..=100).map(|n| format!("line {n}.")));
    let mut term = join(&world, &["dev", "ops"], USUAL);
    term.keys("typed");
    term.wait_input("typed");
    let sizes: [Size; 9] =
        [SMALL, LARGE, (20, 5), (80, 3), (300, 100), (39, 9), (70, 24), (110, 24), USUAL];
    for size in sizes {
        term.resize(size);
        term.wait_input("typed");
        if size.0 >= 39 && size.1 >= 9 {
            term.wait_text("line 100.");
        }
        let cursor = term.cursor();
        assert!(cursor.0 < size.0 && cursor.1 < size.1);
    }
    // Too small for anything: it waits for better times.
    for size in [(1, 1), (2, 1), (5, 2), (1, 40), (200, 1)] {
        term.resize(size);
        term.settle();
    }
    term.resize(USUAL);
    term.wait_input("typed");
    term.keys(ENTER);
    eventually_said(&world, "dev", "typed");
}

#[test]
fn a_storm_of_resizes_ends_well() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.keys("kept");
    for n in 0..200 {
        term.resize((20 + n * 7 % 150, 5 + n * 3 % 50));
        if n % 20 == 0 {
            says(&world, "bob", "dev", &format!("storm {n}"));
        }
    }
    term.resize(USUAL);
    term.wait_input("kept");
    term.wait_text("storm 180");
}

#[test]
fn a_key_and_a_resize_at_once_are_both_seen() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    let mut typed = String::new();
    for n in 0..100 {
        let letter = char::from(b'a' + n % 26);
        typed.push(letter);
        if n % 20 == 0 {
            term.keys(&ctrl('u'));
            typed = letter.to_string();
        }
        let size = if n % 2 == 0 { LARGE } else { USUAL };
        // As near to each other as can be.
        if n % 3 == 0 {
            term.resize(size);
            term.keys(&letter.to_string());
        } else {
            term.keys(&letter.to_string());
            term.resize(size);
        }
        term.wait_input(&typed);
        term.wait_rows("the prompt in the last row", |rows| {
            rows.last().is_some_and(|row| row.starts_with("> "))
        });
    }
}

#[test]
fn resize_at_the_start_is_seen() {
    let (world, _server) = begin();
    for n in 0..20 {
        let mut term = Term::open(&world, &["dev"], USUAL);
        // The program has measured the terminal by now, and may not watch it yet.
        term.wait_output("the program took the screen", |output| !output.is_empty());
        term.resize(LARGE);
        term.wait_rows(&format!("the prompt in the last row, start {n}"), |rows| {
            rows.len() == usize::from(LARGE.1)
                && rows.last().is_some_and(|row| row.starts_with('>'))
        });
    }
}

#[test]
fn a_redraw_mends_what_others_wrote_over() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    says(&world, "bob", "dev", "to be seen");
    term.wait_text("to be seen");
    let before = term.output().len();
    term.keys(&ctrl('l'));
    // All of it, not only what has changed.
    term.wait_output("all is written anew", |output| {
        String::from_utf8_lossy(&output[before..]).contains("seen")
    });
    term.wait_text("to be seen");
}

#[test]
fn line_mode_is_still_there() {
    let (world, _server) = begin();
    let mut term = Term::open(&world, &["--plain", "dev"], USUAL);
    term.wait_text("connected: dev");
    assert!(!term.is_full_screen());
    term.say("hello");
    eventually_said(&world, "dev", "hello");
    term.say("/quit");
    assert_eq!(term.code(), 0);
    // A terminal that can do nothing gets lines as well.
    let mut term = Term::open_with(&world, &["dev"], USUAL, &[("TERM", "dumb")], None);
    term.wait_text("connected: dev");
    term.say("/quit");
    assert_eq!(term.code(), 0);
}
