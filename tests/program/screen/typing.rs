//! What is typed: kept, in several lines, pasted, completed, changed by the keys of readline.

use super::{
    LARGE, SIZES, SMALL, USUAL, begin, eventually_said, join,
    keys::{
        ALT_ENTER, BACKSPACE, DOWN, END, ENTER, ESCAPE, HOME, LEFT, SHIFT_TAB, TAB, UP, alt, ctrl,
        paste,
    },
    me, said, says,
    term::Term,
};
use crate::world::eventually;

#[test]
fn draft_of_each_room_survives_resizes_and_restarts() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev", "ops"], size);
        term.keys("half a thought");
        term.wait_input("half a thought");
        term.keys(&alt('2'));
        term.wait_input("");
        term.keys("반쯤 쓴 글");
        term.wait_input("반쯤 쓴 글");
        term.keys(&alt('1'));
        term.wait_input("half a thought");
        for other in SIZES {
            term.resize(other);
            term.wait_input("half a thought");
        }
        // The cursor is still at its end.
        term.keys(" goes on");
        term.wait_input("half a thought goes on");
        term.leave();
        assert!(said(&world, "dev").is_empty());
        let mut term = Term::open(&world, &["dev", "ops"], size);
        term.wait_input("half a thought goes on");
        term.keys(&alt('2'));
        term.wait_input("반쯤 쓴 글");
        // What is sent is no draft.
        term.keys(ENTER);
        eventually_said(&world, "ops", "반쯤 쓴 글");
        term.wait_input("");
        term.leave();
        let mut term = Term::open(&world, &["ops", "dev"], size);
        term.wait_input("");
        term.keys(&alt('2'));
        term.wait_input("half a thought goes on");
    }
}

#[test]
fn a_draft_survives_the_death_of_the_program() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.keys("not lost");
    term.wait_input("not lost");
    // It is written a moment after the last key.
    eventually("the draft is kept", || {
        let found = std::process::Command::new("grep")
            .args(["-rqs", "not lost"])
            .arg(world.path(".local/state"))
            .status();
        found.unwrap().success()
    });
    term.signal("KILL");
    term.code();
    Term::open(&world, &["dev"], USUAL).wait_input("not lost");
}

#[test]
fn input_outlives_the_server_and_sent_messages_arrive() {
    let (world, mut server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.say("before");
    eventually_said(&world, "dev", "before");
    server.kill();
    term.keys("while it is away");
    term.wait_input("while it is away");
    term.keys(ENTER);
    term.keys("and this is not done");
    term.wait_input("and this is not done");
    // It is seen, and not forgotten.
    term.wait_text("while it is away");
    let _server = world.serve();
    eventually_said(&world, "dev", "while it is away");
    term.wait_input("and this is not done");
    term.keys(ENTER);
    eventually_said(&world, "dev", "and this is not done");
    assert_eq!(said(&world, "dev"), ["before", "while it is away", "and this is not done"]);
}

#[test]
fn several_lines_are_one_message() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev"], size);
        term.keys("one");
        term.keys(ALT_ENTER);
        term.keys("둘");
        term.keys(&ctrl('J'));
        term.keys("three");
        term.wait_input("one\n둘\nthree");
        // Up and down move within it.
        term.keys(UP);
        term.keys(UP);
        term.keys(END);
        term.keys("!");
        term.wait_input("one!\n둘\nthree");
        term.keys(DOWN);
        term.keys(HOME);
        term.keys("-");
        term.wait_input("one!\n-둘\nthree");
        term.keys(ENTER);
        eventually_said(&world, "dev", "one!\n-둘\nthree");
        term.wait_input("");
        for line in ["one!", "-둘", "three"] {
            term.wait_row(line, |row| row.contains(line));
        }
        assert_eq!(said(&world, "dev").len(), 1);
    }
}

#[test]
fn a_paste_is_one_message_and_sends_nothing_by_itself() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.keys("see: ");
    term.keys(&paste("fn main() {\n\tprint();\n}"));
    term.wait_rows("all of it in the input", |rows| {
        Term::input(rows).is_some_and(|text| text.starts_with("see: fn main() {\n"))
    });
    assert!(said(&world, "dev").is_empty());
    term.keys(ENTER);
    eventually_said(&world, "dev", "see: fn main() {\n\tprint();\n}");
    assert_eq!(said(&world, "dev").len(), 1);
    // What would command the terminal is not taken.
    term.keys("\x1b[200~a\x07b\x1b[201~");
    term.wait_input("ab");
}

#[test]
fn a_long_paste_is_asked_about_first() {
    let long: Vec<_> = (1..=25).map(|n| format!("pasted {n}")).collect();
    let long = long.join("\n");
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev"], size);
        term.keys("kept ");
        term.wait_input("kept");
        term.keys(&paste(&long));
        // A preview, and how much it is.
        term.wait_text("25 lines");
        term.wait_text("pasted 1");
        term.keys(ESCAPE);
        term.wait_gone("25 lines");
        term.wait_input("kept");
        term.keys(&paste(&long));
        term.wait_text("25 lines");
        term.keys(ENTER);
        term.wait_gone("25 lines");
        term.wait_text("pasted 25");
        assert!(said(&world, "dev").is_empty());
        term.keys(ENTER);
        eventually_said(&world, "dev", &format!("kept {long}"));
        assert_eq!(said(&world, "dev").len(), 1);
        // Twenty lines are no question.
        term.wait_input("");
        term.keys(&paste(&long.lines().take(20).collect::<Vec<_>>().join("\n")));
        term.wait_text("pasted 20");
        assert!(!term.text().contains("20 lines"));
    }
}

#[test]
fn keys_of_readline_do_what_fingers_expect() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    // (A space at the end is not seen.)
    term.steps([
        ("one two three", "one two three"),
        (&ctrl('w'), "one two"),
        (&ctrl('a'), "one two"),
        ("x", "xone two"),
        (&ctrl('d'), "xne two"),
        (&alt('f'), "xne two"),
        (&ctrl('k'), "xne"),
        (&ctrl('y'), "xne two"),
        (&ctrl('e'), "xne two"),
        (BACKSPACE, "xne two"),
        (BACKSPACE, "xne tw"),
        (&ctrl('t'), "xne wt"),
        (&ctrl('_'), "xne tw"),
        (&alt('b'), "xne tw"),
        (&alt('d'), "xne"),
        (&ctrl('u'), ""),
        ("한글", "한글"),
        (LEFT, "한글"),
        ("x", "한x글"),
    ]);
    term.keys(ENTER);
    eventually_said(&world, "dev", "한x글");
}

#[test]
fn sent_messages_are_recalled_and_unsent_ones_come_back() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.say("first");
    term.wait_input("");
    term.say("second");
    eventually_said(&world, "dev", "second");
    term.steps([
        ("third", "third"),
        (UP, "second"),
        (&ctrl('p'), "first"),
        (&ctrl('n'), "second"),
        (DOWN, "third"),
    ]);
}

#[test]
fn names_rooms_and_commands_are_completed() {
    for size in SIZES {
        let (world, _server) = begin();
        let _bob = world.join(&["--as", "bob", "dev", "operations"]);
        let _bert = world.join(&["--as", "Bertha", "dev"]);
        let mut term = join(&world, &["dev", "operations"], size);
        says(&world, "bob", "dev", "hello");
        term.wait_text("hello");
        // By prefix, whatever the case.
        term.keys(&format!("hi @{}/BO", me().to_uppercase()));
        term.keys(TAB);
        term.wait_input(&format!("hi @{}/bob", me()));
        term.keys("x");
        term.wait_input(&format!("hi @{}/bob x", me()));
        term.keys(&ctrl('u'));
        // By letters in their order.
        term.keys("@berth");
        term.keys(TAB);
        term.wait_input(&format!("@{}/Bertha", me()));
        term.keys(&ctrl('u'));
        term.keys("/top");
        term.keys(TAB);
        term.keys("new");
        term.wait_input("/topic new");
        term.keys(&ctrl('u'));
        term.keys("/join oper");
        term.keys(TAB);
        term.wait_input("/join operations");
        term.keys(&ctrl('u'));
        // Tab goes on to the next one, Shift-Tab back.
        term.keys(&format!("@{}/b", me()));
        term.keys(TAB);
        let either = |rows: &[String]| {
            let text = Term::input(rows).unwrap_or_default();
            [format!("@{}/bob", me()), format!("@{}/Bertha", me())].iter().position(|n| text == *n)
        };
        term.wait_rows("a name", |rows| either(rows).is_some());
        let first = either(&term.rows());
        term.keys(TAB);
        term.wait_rows("the other one", |rows| either(rows).is_some_and(|n| Some(n) != first));
        term.keys(SHIFT_TAB);
        term.wait_rows("the first again", |rows| either(rows) == first);
    }
}

#[test]
fn a_message_that_is_too_long_stays_in_the_input() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], LARGE);
    let long = "x".repeat(moot::limits::TEXT_BYTES_MAX);
    term.keys(&paste(&format!("{long}yz")));
    term.wait_text("xyz");
    term.keys(ENTER);
    term.wait_text(&moot::limits::TEXT_BYTES_MAX.to_string());
    term.keys(BACKSPACE);
    term.keys(BACKSPACE);
    term.wait_gone("xy");
    term.keys(ENTER);
    eventually_said(&world, "dev", &long);
    term.wait_input("");
}

#[test]
fn a_tall_input_leaves_room_for_what_is_said() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], SMALL);
    for n in 1..=15 {
        term.keys(&format!("line {n}"));
        term.keys(&ctrl('J'));
    }
    term.keys("the last");
    term.wait_text("the last");
    says(&world, "bob", "dev", "can be seen");
    term.wait_text("can be seen");
    term.keys(ENTER);
    eventually("it was sent", || said(&world, "dev").len() == 2);
    assert!(said(&world, "dev")[1].starts_with("line 1\nline 2\n"));
}
