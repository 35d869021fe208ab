//! Looking back: what is read stays where it is, older history comes by itself.

use super::{
    SIZES, USUAL, begin, join,
    keys::{CTRL_END, CTRL_HOME, PAGE_DOWN, PAGE_UP, SHIFT_DOWN, SHIFT_UP, wheel_down, wheel_up},
    says, says_lines,
    term::Term,
};

fn lines(rows: &[String]) -> Vec<u32> {
    let number = |row: &String| row.split("line ").nth(1)?.split('.').next()?.parse().ok();
    rows.iter().filter_map(number).collect()
}

fn seen(term: &Term) -> Vec<u32> {
    lines(&term.rows())
}

#[test]
fn scrolled_view_stays_while_messages_arrive() {
    for size in SIZES {
        let (world, _server) = begin();
        says_lines(&world, "bob", "dev", (1..=300).map(|n| format!("line {n}.")));
        let mut term = join(&world, &["dev"], size);
        term.wait_text("line 300.");
        term.keys(PAGE_UP);
        term.wait_gone("line 300.");
        says(&world, "bob", "dev", "line 301.");
        term.wait_text("1 new below");
        let before = seen(&term);
        assert!(!before.is_empty());
        says_lines(&world, "bob", "dev", (302..=400).map(|n| format!("line {n}.")));
        term.wait_text("100 new below");
        assert_eq!(seen(&term), before);
        // Typing is no reason to go elsewhere.
        term.keys("x");
        term.wait_input("x");
        assert_eq!(seen(&term), before);
        term.keys(CTRL_END);
        term.wait_text("line 400.");
        term.wait_gone("new below");
    }
}

#[test]
fn the_wheel_and_single_lines_scroll() {
    let (world, _server) = begin();
    says_lines(&world, "bob", "dev", (1..=200).map(|n| format!("line {n}.")));
    let mut term = join(&world, &["dev"], USUAL);
    term.wait_text("line 200.");
    term.keys(SHIFT_UP);
    term.wait_gone("line 200.");
    assert_eq!(seen(&term).last(), Some(&199));
    term.keys(SHIFT_DOWN);
    term.wait_text("line 200.");
    term.keys(&wheel_up((40, 10)));
    term.wait_gone("line 200.");
    let last = *seen(&term).last().unwrap();
    term.keys(&wheel_up((40, 10)));
    term.wait_rows("further up", |rows| lines(rows).last() < Some(&last));
    let last = *seen(&term).last().unwrap();
    term.keys(&wheel_down((40, 10)));
    term.wait_rows("further down", |rows| lines(rows).last() > Some(&last));
    term.keys(PAGE_DOWN);
    term.wait_text("line 200.");
}

#[test]
fn older_history_comes_by_itself() {
    for size in SIZES {
        let (world, _server) = begin();
        says_lines(&world, "bob", "dev", (1..=1_000).map(|n| format!("line {n}.")));
        let mut term = join(&world, &["dev"], size);
        term.wait_text("line 1000.");
        let mut oldest = *seen(&term).first().unwrap();
        while oldest > 700 {
            term.keys(PAGE_UP);
            term.wait_rows("older lines", |rows| lines(rows).first() < Some(&oldest));
            let now = seen(&term);
            // Nothing is left out, nothing is there twice.
            assert!(now.windows(2).all(|two| two[0] + 1 == two[1]), "{now:?}");
            assert!(now.last().is_some_and(|last| *last + 1 >= oldest), "{oldest}: {now:?}");
            oldest = now[0];
        }
        term.keys(CTRL_END);
        term.wait_text("line 1000.");
        // To the oldest that is there; further up there is more, to the very first.
        while oldest > 1 {
            term.keys(CTRL_HOME);
            term.wait_rows("older lines", |rows| lines(rows).first() < Some(&oldest));
            oldest = seen(&term)[0];
        }
        term.keys(CTRL_END);
        term.wait_text("line 1000.");
    }
}

#[test]
fn a_resize_while_scrolled_keeps_the_place() {
    let (world, _server) = begin();
    says_lines(
        &world,
        "bob",
        "dev",
        (1..=300).map(|n| format!("line {n}. {}", "word ".repeat(20))),
    );
    let mut term = join(&world, &["dev"], USUAL);
    term.wait_text("line 300.");
    term.keys(PAGE_UP);
    term.wait_gone("line 300.");
    term.keys(PAGE_UP);
    term.settle();
    let before = seen(&term);
    for size in SIZES.into_iter().chain([USUAL]) {
        term.resize(size);
        term.wait_input("");
        term.wait_rows("some of the same lines", |rows| {
            lines(rows).iter().any(|line| before.contains(line))
        });
        assert!(!term.text().contains("line 300."));
    }
}
