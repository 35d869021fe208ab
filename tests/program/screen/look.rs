//! How what is said looks: times, names, links, replies; wide letters; what others wrote to do harm.

use super::{
    LARGE, SIZES, SMALL, USUAL, begin, eventually_said, join, join_with,
    keys::{BACKSPACE, CTRL_UP, DELETE, ENTER, ESCAPE, LEFT, alt, ctrl, f},
    me, says,
    term::{Term, column_of},
};
use crate::world::World;

fn join_with_env(world: &World, env: &[(&str, &str)]) -> Term {
    let term = Term::open_with(world, &["dev"], USUAL, env, None);
    term.wait_input("");
    term
}

/// `HH:MM` somewhere in a row.
fn time_in(row: &str) -> Option<&str> {
    let at = |at: usize| row.get(at..at + 5);
    (0..row.len()).filter_map(at).find(|text| {
        let digits =
            |range: std::ops::Range<usize>| text.as_bytes()[range].iter().all(u8::is_ascii_digit);
        text.is_ascii() && digits(0..2) && text.as_bytes()[2] == b':' && digits(3..5)
    })
}

#[test]
fn times_are_local() {
    let (world, _server) = begin();
    let utc = join(&world, &["dev"], USUAL);
    // Half past: no hour of theirs is one of UTC.
    let india = join_with_env(&world, &[("TZ", "Asia/Kolkata")]);
    says(&world, "bob", "dev", "when is it?");
    let minutes = |term: &Term| {
        let (_, row) = term.row("the message", |row| row.contains("when is it?"));
        let time = time_in(&row).unwrap_or_else(|| panic!("no time: {row}"));
        let (hour, minute) = time.split_once(':').unwrap();
        hour.parse::<i32>().unwrap() * 60 + minute.parse::<i32>().unwrap()
    };
    assert_eq!((minutes(&india) - minutes(&utc)).rem_euclid(24 * 60), 5 * 60 + 30);
    // A line says which day it is.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let (day, year) = (now.day().to_string(), now.year().to_string());
    utc.wait_row("the day", |row| row.contains(&day) && row.contains(&year));
}

#[test]
fn names_have_colors_of_the_terminal_s_depth() {
    let (world, _server) = begin();
    says(&world, "bob", "dev", "who am I?");
    let name = format!("{}/bob", me());
    for (env, is) in [
        (
            &[("COLORTERM", "truecolor")][..],
            &(|color| matches!(color, vt100::Color::Rgb(..))) as &dyn Fn(vt100::Color) -> bool,
        ),
        (&[], &|color| matches!(color, vt100::Color::Idx(16..))),
        (&[("TERM", "xterm")], &|color| matches!(color, vt100::Color::Idx(..16))),
        (&[("NO_COLOR", "1")], &|color| color == vt100::Color::Default),
    ] {
        let term = join_with_env(&world, env);
        term.wait_text("who am I?");
        let cell = term.cell_of(&name);
        assert!(is(cell.fgcolor()), "{env:?}: {:?}", cell.fgcolor());
        assert_eq!(cell.bgcolor(), vt100::Color::Default);
        // What is said is on the terminal's own background in its own color.
        assert_eq!(term.cell_of("who am I?").fgcolor(), vt100::Color::Default);
        assert!(cell.bold() || env.contains(&("TERM", "xterm")));
    }
}

#[test]
fn mentions_show_without_color() {
    let (world, _server) = begin();
    let term = join_with_env(&world, &[("NO_COLOR", "1")]);
    says(&world, "bob", "dev", &format!("hey @{} you", me()));
    let mention = format!("@{}", me());
    let (row, line) = term.row("a mention", |row| row.contains("hey"));
    let cell = term.cell(u16::try_from(column_of(&line, &mention)).unwrap(), row);
    assert!(cell.bold() || cell.inverse(), "a mention stands out without color");
    let colors = term.output();
    let colors = String::from_utf8_lossy(&colors).into_owned();
    for sign in ["\x1b[38;", "\x1b[48;", ";38;", ";48;"] {
        assert!(!colors.contains(sign), "{sign:?}");
    }
}

#[test]
fn a_reply_is_shown_with_its_quote() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev"], size);
        says(&world, "bob", "dev", "shall we?");
        says(&world, "bob", "dev", "or not?");
        term.wait_text("or not?");
        term.keys(CTRL_UP);
        term.keys(CTRL_UP);
        term.settle();
        term.keys(&alt('q'));
        term.settle();
        term.keys("yes");
        term.keys(ENTER);
        eventually_said(&world, "dev", "yes");
        let messages = world.run(&["history", "--json", "dev"]).ok().objects();
        assert_eq!(messages[2]["reply_to"], "dev:1");
        term.wait_rows("the quote above the reply", |rows| {
            let reply = rows.iter().rposition(|row| row.contains("yes") && !row.starts_with('>'));
            let quote = rows.iter().rposition(|row| row.contains("shall we?"));
            reply.is_some() && quote.is_some_and(|quote| quote + 1 == reply.unwrap())
        });
    }
}

#[test]
fn escape_once_ends_a_reply_and_what_is_typed_stays() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    says(&world, "bob", "dev", "shall we?");
    term.wait_text("shall we?");
    term.keys(CTRL_UP);
    term.keys(&alt('q'));
    term.wait_text("reply to");
    term.keys("no reply");
    term.wait_input("no reply");
    term.keys(ESCAPE);
    term.wait_gone("reply to");
    term.wait_input("no reply");
    term.keys(ENTER);
    eventually_said(&world, "dev", "no reply");
    let messages = world.run(&["history", "--json", "dev"]).ok().objects();
    assert!(messages[1]["reply_to"].is_null(), "{}", messages[1]);
}

#[test]
fn links_can_be_clicked_where_they_are_broken_as_well() {
    let (world, _server) = begin();
    let term = join(&world, &["dev"], USUAL);
    says(&world, "bob", "dev", "see https://x.invalid/a(b)?c=d, and so on");
    assert_eq!(term.wait_link("https://x.invalid/a(b)?c=d"), "https://x.invalid/a(b)?c=d");
    let long = format!("https://x.invalid/{}", "long/".repeat(40));
    says(&world, "bob", "dev", &long);
    term.wait_link(&long);
    let parts = term.links().iter().filter(|(url, _)| *url == long).count();
    assert!(parts >= 2, "each row of it leads there");
    // Not where they are not wanted, and never from what only looks like one.
    let term = join_with(&world, &["dev"], USUAL, "[colors]\nlinks = false\n");
    term.wait_text("see https://");
    assert!(term.links().is_empty());
}

#[test]
fn a_plain_view_has_what_was_said_and_nothing_else() {
    for size in [USUAL, LARGE] {
        let (world, _server) = begin();
        world.run(&["room", "create", "dev"]).ok();
        world.run(&["room", "topic", "dev", "what is up"]).ok();
        let mut term = join(&world, &["dev", "operations"], size);
        let long = format!("begin {}end.", "word ".repeat(70));
        says(&world, "bob", "dev", &long);
        says(&world, "bob", "dev", "short");
        term.wait_above("short");
        // What it goes without.
        let (title, members) = (" dev · what is up", "members 1");
        term.wait_rows("all around it", |rows| {
            let has = |text: &str| rows.iter().any(|row| row.contains(text));
            rows[0].starts_with(title) && has("operations") && has(members) == (size == LARGE)
        });
        term.row("a time", |row| row.contains("short") && time_in(row).is_some());
        term.keys(f(7));
        term.wait_text("plain view");
        let rows = term.rows();
        // The status and the input are below it.
        let prompt = Term::prompt(&rows).unwrap();
        let shown: Vec<_> = rows[..prompt - 1].iter().filter(|row| !row.is_empty()).collect();
        assert!(shown.len() >= 3, "{rows:#?}");
        for row in &shown {
            assert!(!row.starts_with(' ') && time_in(row).is_none(), "{row}");
        }
        // From edge to edge: names, texts, and not a word more.
        let all = shown.into_iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        assert_eq!(all, format!("{0}/bob: {long} {0}/bob: short", me()));
        term.keys(f(7));
        term.wait_text("operations");
        term.wait_text(title);
    }
}

#[test]
fn wide_letters_are_measured_right() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["개발"], size);
        term.wait_text("개발");
        says(&world, "밥", "개발", "안녕하세요 😀 여러분");
        term.wait_text("안녕하세요 😀 여러분");
        // The cursor stands where the next letter will be.
        term.keys("한글é");
        term.wait_input("한글é");
        assert_eq!(term.cursor().0, 2 + 5);
        term.keys(LEFT);
        term.keys(LEFT);
        term.keys("x");
        term.wait_input("한x글é");
        assert_eq!(term.cursor().0, 2 + 3);
        term.keys(DELETE);
        term.wait_input("한xé");
        term.keys(BACKSPACE);
        term.keys(BACKSPACE);
        term.wait_input("é");
        assert_eq!(term.cursor().0, 2);
        term.keys(&ctrl('e'));
        // A decomposed letter is one.
        term.keys("e\u{301}");
        term.wait_rows("both", |rows| Term::input(rows).is_some_and(|t| t == "ée\u{301}"));
        term.keys(BACKSPACE);
        term.wait_input("é");
        term.keys(&ctrl('u'));
        // Full rows.
        let wide = "가".repeat(usize::from(size.0));
        term.keys(&wide);
        term.wait_rows("all of it", |rows| {
            Term::input(rows).is_some_and(|text| text.replace('\n', "") == wide)
        });
        term.keys(ENTER);
        eventually_said(&world, "개발", &wide);
        term.wait_rows("all of it, and no half letter", |rows| {
            rows.iter().map(|row| row.matches('가').count()).sum::<usize>() >= wide.chars().count()
        });
    }
}

#[test]
fn long_korean_texts_break_at_spaces() {
    let (world, _server) = begin();
    let term = join(&world, &["dev"], SMALL);
    says(&world, "bob", "dev", "회의는 내일 오후 세 시에 삼층 회의실에서 시작합니다");
    term.wait_text("시작합니다");
    for word in ["회의는", "오후", "회의실에서", "시작합니다"] {
        term.wait_row(word, |row| row.contains(word));
    }
}

#[test]
fn texts_of_others_can_not_command_the_screen() {
    for size in [USUAL, SMALL] {
        let (world, _server) = begin();
        let term = join(&world, &["dev"], size);
        let evil = "a\x1b[2J\x1b]0;stolen\x07\x1b[31mb\u{202e}c\u{9b}1md\x08\x08e\rf\u{200b}g";
        says(&world, "bob", "dev", evil);
        for shown in
            ["\\u{1b}[2J", "\\u{7}", "b\\u{202e}c", "c\\u{9b}1m", "\\u{8}\\u{8}", "f\\u{200b}g"]
        {
            term.wait_rows(shown, |rows| {
                // It may be broken over rows.
                rows.concat().replace(' ', "").contains(shown)
            });
        }
        term.settle();
        let output = String::from_utf8_lossy(&term.output()).into_owned();
        assert!(!output.contains(['\u{202e}', '\u{9b}', '\u{200b}']), "{output:?}");
        assert_eq!(term.bells(), 0);
        assert!(!term.title().contains("stolen"));
        term.wait_input("");
        world.run(&["room", "topic", "dev", "a\x1b[2Jb"]).ok();
        term.wait("the topic", |screen| {
            screen.rows(0, screen.size().1.get()).next().is_some_and(|row| row.contains("u{1b}"))
        });
        term.wait_input("");
    }
}

#[test]
fn settings_change_keys_and_times() {
    let (world, _server) = begin();
    says(&world, "bob", "dev", "what time?");
    let settings = "[times]\nformat = \"%Hh%M\"\n[keys]\nhelp = [\"ctrl-g\"]\n";
    let mut term = join_with(&world, &["dev"], USUAL, settings);
    term.wait_row("its own format", |row| row.contains("what time?") && row.contains('h'));
    term.keys(&ctrl('g'));
    term.wait_text("Ctrl-C");
    term.leave();
    // What is wrong with them is told, by name, and nothing is begun.
    for (settings, told) in [
        ("[keys]\nhelpp = \"f1\"\n", "helpp"),
        ("[keys]\nhelp = \"hyper-x\"\n", "hyper-x"),
        ("[bell]\nwhen = \"maybe\"\n", "maybe"),
        ("[times]\nformat = \"%~\"\n", "format"),
        ("colour = 1\n", "colour"),
    ] {
        std::fs::write(world.path(".config/moot/screen.toml"), settings).unwrap();
        let mut term = Term::open(&world, &["dev"], USUAL);
        assert_ne!(term.code(), 0, "{settings}");
        assert!(term.text().contains(told), "{}", term.text());
        assert!(term.text().contains("screen.toml"), "{}", term.text());
        term.assert_sane();
    }
}
