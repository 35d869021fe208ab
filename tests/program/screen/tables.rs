//! Commands beside the screen on a terminal: tables fit it, and nobody gets colors who wants none.

use unicode_width::UnicodeWidthStr;

use super::{
    super::world::World,
    term::{Size, Term},
};

fn output(world: &World, script: &str, size: Size) -> String {
    let mut term = Term::shell(world, script, size);
    term.code();
    String::from_utf8_lossy(&term.output()).replace('\r', "")
}

#[test]
fn tables_fit_the_terminal_and_are_whole_in_a_pipe() {
    let world = World::new();
    let _server = world.serve();
    let label = "l".repeat(49);
    let rooms = ["general-discussion", "회의실-회의실", "operations-night", "build"];
    let _member = world.listen(&[&["--as", &label][..], &rooms].concat());
    let topic = "a topic that is much longer than any terminal is wide ".repeat(3);
    world.run(&["room", "topic", "build", &topic]).ok();
    world.run(&["announce", "--retain", &topic]).ok();
    for command in ["who", "rooms", "notices list"] {
        for columns in [80, 60, 59, 40] {
            let script = format!("$MOOT --color never {command}");
            let shown = output(&world, &script, (columns, 50));
            assert!(!shown.contains('\x1b'), "{shown:?}");
            for line in shown.lines() {
                assert!(line.width() <= usize::from(columns), "{command} at {columns}: {shown}");
            }
            assert!(shown.contains('…'), "{command} at {columns}: {shown}");
            let rows = world.run(&command.split(' ').collect::<Vec<_>>()).ok().out;
            let per_row = if columns < 60 { 2 } else { 1 };
            assert_eq!(shown.lines().count(), rows.lines().count() * per_row, "{shown}");
            assert!(rows.contains(if command == "who" { &label } else { topic.trim() }), "{rows}");
        }
    }
}

#[test]
fn no_escape_sequence_reaches_a_terminal_without_them() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "dev", "hi"]).ok();
    let _member = world.listen(&["dev"]);
    for command in [
        "history dev",
        "search hi",
        "read dev --peek",
        "who",
        "rooms",
        "status",
        "listen dev --last 1 --count 1",
        "join dev --timeout 300ms",
        "join --plain dev --timeout 300ms",
        "wait dev --since 1h",
        "announce hi",
        "notices list",
        "status --watch --timeout 300ms",
        "who --watch --timeout 300ms",
        "bogus",
        "help",
        "send --help",
        "doctor",
    ] {
        let dumb = output(&world, &format!("TERM=dumb $MOOT {command} </dev/null"), (80, 24));
        assert!(!dumb.contains('\x1b'), "{command}: {dumb:?}");
    }
    for (script, is_colored) in [
        ("$MOOT --color never bogus", false),
        ("$MOOT bogus --color=never", false),
        ("NO_COLOR=1 $MOOT bogus", false),
        ("NO_COLOR=1 $MOOT help", false),
        ("$MOOT --color never help", false),
        ("NO_COLOR=1 $MOOT history dev", false),
        ("$MOOT bogus", true),
        ("$MOOT help", true),
        ("TERM=dumb $MOOT --color always history dev", true),
        ("$MOOT --color always bogus 2>&1 | cat", true),
        ("$MOOT bogus 2>&1 | cat", false),
    ] {
        let shown = output(&world, script, (80, 24));
        assert_eq!(shown.contains('\x1b'), is_colored, "{script}: {shown:?}");
    }
}
