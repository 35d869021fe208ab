//! The terminal of these tests itself: that it shows what a real one would.

use super::{
    super::world::World,
    keys::{self, ENTER, alt, ctrl, f, paste},
    term::{Size, Term, column_of},
};

const SIZE: Size = (80, 24);

fn shell(script: &str) -> (World, Term) {
    let world = World::new();
    let term = Term::shell(&world, script, SIZE);
    (world, term)
}

#[test]
fn input_and_output_pass_the_harness() {
    let (_world, mut term) = shell("stty -echo; echo go; read line; echo \"<$line>\"; exit 7");
    term.wait_text("go");
    term.keys("두 글자 é");
    term.keys(ENTER);
    term.wait_text("<두 글자 é>");
    assert_eq!(term.code(), 7);
    assert_eq!(term.rows()[..2], ["go", "<두 글자 é>"]);
    assert_eq!(term.rows().len(), 24);
}

#[test]
fn wide_letters_take_two_columns() {
    let (_world, mut term) = shell("printf 'a한글b😀c\\ncafe\\314\\201|'");
    term.code();
    let rows = term.rows();
    assert_eq!(rows[..2], ["a한글b😀c", "cafe\u{301}|"]);
    assert_eq!((column_of(&rows[0], "b"), column_of(&rows[0], "c")), (5, 8));
    assert_eq!(column_of(&rows[1], "|"), 4);
    assert_eq!(term.cursor(), (5, 1));
    assert!(term.cell(1, 0).is_wide());
    assert!(term.cell(2, 0).is_wide_continuation());
    assert_eq!(term.cell(3, 0).contents(), "글");
}

#[test]
fn colors_bells_titles_links_and_copies_are_seen() {
    let (_world, mut term) = shell(
        "printf '\\033]2;a; b\\033\\\\\\a\\a\\033[1;31mred\\033[0m \
         \\033]8;id=1;http://x.invalid/a;b\\033\\\\here\\033]8;;\\033\\\\ there \
         \\033]9;come here\\a\\033]52;c;aGk=\\a'",
    );
    term.code();
    assert_eq!((term.title().as_str(), term.bells()), ("a; b", 2));
    let cell = term.cell_of("red");
    assert!(cell.bold());
    assert_eq!(cell.fgcolor(), vt100::Color::Idx(1));
    assert_eq!(term.wait_link("http://x.invalid/a;b"), "here");
    assert_eq!(term.links().len(), 1);
    assert_eq!(term.notifications(), ["come here"]);
    assert_eq!(term.wait_copied("the copy"), "aGk=");
    term.assert_sane();
}

#[test]
fn a_resize_reaches_the_program() {
    let (_world, mut term) =
        shell("trap 'stty size' WINCH; stty size; echo go; while :; do sleep 0.05; done");
    term.wait_text("24 80");
    term.wait_text("go");
    term.resize((40, 10));
    term.wait_text("10 40");
    assert_eq!(term.rows().len(), 10);
    term.resize((200, 60));
    term.wait_text("60 200");
    assert_eq!(term.rows().len(), 60);
}

#[test]
fn keys_are_the_bytes_that_a_terminal_sends() {
    let (_world, mut term) = shell("stty raw -echo opost; echo go; exec od -An -tx1 -w15 -v -N 30");
    term.wait_text("go");
    let typed = [&ctrl('J'), &alt('a'), f(1), f(5), keys::UP, &paste("a\nb"), &ctrl('_')].concat();
    assert_eq!(typed.len(), 30);
    term.keys(&typed);
    term.wait_text("0a 1b 61 1b 4f 50 1b 5b 31 35 7e 1b 5b 41 1b");
    term.wait_text("5b 32 30 30 7e 61 0d 62 1b 5b 32 30 31 7e 1f");
    assert_eq!(keys::wheel_up((0, 4)), "\x1b[<64;1;5M");
}

#[test]
fn an_update_is_seen_as_a_whole() {
    let (_world, mut term) = shell(
        "stty -echo; printf '\\033[?2026hone'; read x; printf ' two\\033[?2026l'; read x; printf three",
    );
    term.settle();
    term.keys(ENTER);
    // Never "one" alone.
    assert_eq!(term.rows()[0], "one two");
    term.keys(ENTER);
    term.wait_text("three");
}

#[test]
fn harness_notices_leftovers() {
    let left = |script: &str| {
        let (_world, mut term) = shell(script);
        term.code();
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| term.assert_sane()));
        looked.err().map(|why| *why.downcast::<String>().unwrap())
    };
    assert_eq!(
        left("printf '\\033[?1049h\\033[?1049l'; was=$(stty -g); stty raw; stty $was"),
        None
    );
    for (script, what) in [
        ("printf '\\033[?1049h'", "the alternate screen"),
        ("printf '\\033[?25l'", "a hidden cursor"),
        ("printf '\\033[?2004h'", "bracketed paste"),
        ("printf '\\033[?1000h\\033[?1006h'", "the mouse"),
        ("printf '\\033[?1004h'", "focus events"),
        ("printf '\\033[1m'", "bold letters"),
        ("printf '\\033[38;5;7m'", "a color"),
        ("printf '\\033]8;;http://x.invalid\\033\\\\'", "a link without end"),
    ] {
        let why = left(script).expect(what);
        assert!(why.contains(&format!("left behind: {what}\n")), "{why}");
    }
    let why = left("stty -echo").expect("no echo");
    assert!(why.contains("ECHO"), "{why}");
}

#[test]
fn the_whole_screen_is_told_when_something_never_comes() {
    let (_world, term) = shell("echo here");
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| term.wait_text("there")));
    let why = waited.unwrap_err().downcast::<String>().unwrap();
    for told in ["never seen: there", "|here ", "80 x 24", "ended"] {
        assert!(why.contains(told), "{why}");
    }
}

#[test]
fn a_pager_takes_the_terminal_and_gives_it_back() {
    let (_world, mut term) =
        shell("seq 200 > numbers; echo before; less numbers; echo \"after $?\"");
    term.wait("less", |screen| screen.alternate_screen());
    term.wait_row("the first page", |row| row == "23");
    term.keys(" ");
    term.wait_row("the second page", |row| row == "46");
    assert!(term.is_full_screen());
    term.keys("q");
    term.wait_text("after 0");
    assert_eq!(term.code(), 0);
    assert_eq!(term.rows()[0], "before");
    term.assert_sane();
}

#[test]
fn a_program_is_told_when_its_window_is_closed() {
    let (world, mut term) =
        shell("trap 'echo gone > gone; exit' HUP; echo go; while :; do sleep 0.05; done");
    term.wait_text("go");
    term.hang_up();
    assert_eq!(term.code(), 0);
    assert_eq!(std::fs::read_to_string(world.path("gone")).unwrap(), "gone\n");
}

#[test]
fn signals_end_a_program() {
    let (_world, mut term) = shell("echo go; exec sleep 1000");
    term.wait_text("go");
    assert_eq!(term.modes(), term.modes_before());
    term.signal("TERM");
    assert_eq!(term.code(), 128 + 15);
}
