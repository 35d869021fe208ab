//! Finding what was said; other programs for long texts.

use super::{
    SIZES, USUAL, begin, eventually_said, join,
    keys::{CTRL_END, CTRL_UP, DOWN, ENTER, ESCAPE, UP, alt, ctrl},
    said, says, says_lines, script,
    term::{Term, column_of},
};
use crate::world::{World, eventually};

#[test]
fn search_finds_old_messages() {
    for size in SIZES {
        let (world, _server) = begin();
        says(&world, "bob", "dev", "the first needle.");
        says_lines(&world, "bob", "dev", (1..=300).map(|n| format!("hay {n}.")));
        says(&world, "bob", "dev", "the 두번째 NEEDLE.");
        says_lines(&world, "bob", "dev", (301..=600).map(|n| format!("hay {n}.")));
        let mut term = join(&world, &["dev"], size);
        term.wait_text("hay 600.");
        term.keys("kept");
        term.wait_input("kept");
        term.keys(&ctrl('r'));
        term.settle();
        term.keys("needle");
        term.wait_text("두번째 NEEDLE.");
        term.keys(&ctrl('r'));
        term.wait_text("the first needle.");
        term.keys(&ctrl('s'));
        term.wait_text("두번째 NEEDLE.");
        term.keys(UP);
        term.wait_text("the first needle.");
        term.keys(DOWN);
        term.wait_text("두번째 NEEDLE.");
        // Back to where one was.
        term.keys(ESCAPE);
        term.wait_text("hay 600.");
        term.wait_input("kept");
        // Or to stay.
        term.keys(&ctrl('r'));
        term.settle();
        term.keys("두번째");
        term.wait_text("두번째 NEEDLE.");
        term.keys(ENTER);
        term.wait_input("kept");
        term.wait_text("두번째 NEEDLE.");
        // What comes meanwhile moves nothing.
        says(&world, "bob", "dev", "news.");
        term.wait_text("new below");
        term.wait_text("두번째 NEEDLE.");
    }
}

/// All that tells a cell's look from that of others.
fn look(cell: &vt100::Cell) -> ([bool; 5], [vt100::Color; 2]) {
    let marks = [cell.bold(), cell.dim(), cell.italic(), cell.underline(), cell.inverse()];
    (marks, [cell.fgcolor(), cell.bgcolor()])
}

#[test]
fn matches_are_marked_in_all_shown_messages() {
    for (name, value) in [("COLORTERM", "truecolor"), ("NO_COLOR", "1")] {
        let (world, _server) = begin();
        says(&world, "bob", "dev", "hay and Needle one");
        says(&world, "bob", "dev", "hay and Needle two");
        let mut term = join_with_env(&world, &[(name, value)]);
        term.wait_text("Needle two");
        term.keys(&ctrl('r'));
        term.settle();
        term.keys("needle");
        term.wait_text("1 of 2");
        let hit = |nth: &str| {
            let (row, line) = term.row(nth, |row| row.contains(&format!("Needle {nth}")));
            let at = |text| u16::try_from(column_of(&line, text)).unwrap();
            [at("Needle"), at("and")].map(|column| look(&term.cell(column, row)))
        };
        let ([found, beside], [chosen_found, chosen_beside]) = (hit("one"), hit("two"));
        assert!(beside != chosen_beside, "the newest is chosen");
        assert!(found != beside, "{name}: found, and not chosen");
        assert!(chosen_found != chosen_beside, "{name}: found, and chosen");
    }
}

#[test]
fn nothing_found_is_said() {
    let (world, _server) = begin();
    says(&world, "bob", "dev", "hay");
    let mut term = join(&world, &["dev"], USUAL);
    term.wait_text("hay");
    term.keys(&ctrl('r'));
    term.settle();
    term.keys("nowhere");
    term.wait_rows("nothing", |rows| {
        rows.iter().any(|row| row.contains("nothing") || row.contains("no match"))
    });
    term.keys(ESCAPE);
    term.wait_input("");
}

fn join_with_env(world: &World, env: &[(&str, &str)]) -> Term {
    let term = Term::open_with(world, &["dev"], USUAL, env, None);
    term.wait_input("");
    term
}

#[test]
fn a_long_message_opens_in_the_pager() {
    let (world, _server) = begin();
    let long: Vec<_> = (1..=100).map(|n| format!("paragraph {n}.")).collect();
    let mut term = join_with_env(&world, &[("PAGER", "less")]);
    let text = format!("{}\nend \x1b[31m", long.join("\n"));
    world.run_with_input(&["send", "--as", "bob", "dev", "-"], text.as_bytes()).ok();
    term.wait_text("more rows");
    term.keys("typed before");
    term.wait_input("typed before");
    term.keys(CTRL_UP);
    term.settle();
    term.keys(&alt('p'));
    term.wait_row("the pager's first page", |row| row.starts_with("paragraph 1."));
    term.keys("G");
    // What could command the terminal is written out there as well.
    term.wait_text("end \\u{1b}[31m");
    term.keys("q");
    // One that ends by itself at its last row could not be read else.
    term.wait_text("Enter");
    term.keys(ENTER);
    term.wait_input("typed before");
    term.keys("!");
    term.wait_input("typed before!");
    says(&world, "bob", "dev", "and on");
    term.keys(CTRL_END);
    term.wait_text("and on");
}

#[test]
fn a_message_is_written_in_the_editor() {
    let (world, _server) = begin();
    let editor = world.path("an editor");
    // It shows what it was given, waits for a line, and adds that.
    script(
        &editor,
        "stat -c %a \"$2\" > mode; echo \"given: $1 $(cat \"$2\")\"; read line; printf '\\n%s\\n' \"$line\" >> \"$2\"",
    );
    let command = format!("'{}' -w", editor.display());
    let mut term = join_with_env(&world, &[("EDITOR", &command)]);
    term.keys("a beginning");
    term.wait_input("a beginning");
    term.keys(&alt('e'));
    term.wait_text("given: -w a beginning");
    // What is said meanwhile is not drawn over it, and not lost.
    says(&world, "bob", "dev", "meanwhile");
    term.settle();
    assert!(!term.text().contains("meanwhile"));
    term.say("and an end");
    term.wait_input("a beginning\nand an end");
    term.wait_text("meanwhile");
    assert_eq!(said(&world, "dev"), ["meanwhile"], "nothing was sent yet");
    term.keys(ENTER);
    eventually_said(&world, "dev", "a beginning\nand an end");
    assert_eq!(std::fs::read_to_string(world.path("mode")).unwrap(), "600\n");
    term.leave();
}

#[test]
fn an_editor_that_fails_changes_nothing() {
    let (world, _server) = begin();
    let mut term = join_with_env(&world, &[("VISUAL", "false"), ("EDITOR", "vi")]);
    term.keys("as it was");
    term.wait_input("as it was");
    term.keys(&alt('e'));
    term.settle();
    term.wait_input("as it was");
    term.keys("!");
    term.wait_input("as it was!");
    let mut term = join_with_env(&world, &[("VISUAL", "no-such-editor")]);
    term.keys(&alt('e'));
    term.wait_text("no-such-editor");
    term.keys("x");
    term.wait_rows("it goes on", |rows| Term::input(rows).is_some_and(|text| text.ends_with('x')));
}

#[test]
fn a_message_is_copied() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    says(&world, "bob", "dev", "hi");
    term.wait_text("hi");
    term.keys(CTRL_UP);
    term.settle();
    term.keys(&alt('y'));
    assert_eq!(term.wait_copied("the text on its way to the clipboard"), "aGk=");
}

#[test]
fn suspended_and_taken_up_again() {
    let (world, _server) = begin();
    let script = "set -m; \"$MOOT\" join --no-start dev; echo \"shell has it $?\"; stty -a > modes; \
                  read x; fg; echo ended";
    let mut term = Term::shell(&world, script, USUAL);
    term.wait_input("");
    term.keys("kept");
    term.wait_input("kept");
    term.keys(&ctrl('z'));
    term.wait_text("shell has it");
    assert!(!term.is_full_screen());
    eventually("what the shell has", || {
        let modes = std::fs::read_to_string(world.path("modes")).unwrap_or_default();
        modes.contains(" icanon") && modes.contains(" echo ")
    });
    says(&world, "bob", "dev", "meanwhile");
    term.keys(ENTER);
    term.wait_input("kept");
    term.wait_text("meanwhile");
    term.keys(&ctrl('c'));
    term.wait_text("ended");
    term.code();
    term.assert_sane();
}
