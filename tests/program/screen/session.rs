//! The server goes and comes: visibly, and nothing is missed.

use super::{SIZES, USUAL, begin, eventually_said, join, said, says, says_lines, term::Term};
use crate::{machine::memory_kib, world::World};

/// Words of the status bar while there is no session.
const AWAY: &str = "reconnecting";

#[test]
fn it_comes_back_by_itself_and_fills_the_hole() {
    for size in SIZES {
        let (world, mut server) = begin();
        let mut term = join(&world, &["dev"], size);
        says(&world, "bob", "dev", "before.");
        term.wait_text("before.");
        server.kill();
        term.wait_text(AWAY);
        server = world.serve();
        says_lines(&world, "bob", "dev", (1..=5).map(|n| format!("meanwhile {n}.")));
        term.wait_gone(AWAY);
        term.wait_text("meanwhile 5.");
        says(&world, "bob", "dev", "after.");
        term.wait_text("after.");
        for text in (1..=5).map(|n| format!("meanwhile {n}.")) {
            // Exactly once.
            let rows = term.rows();
            assert!(rows.iter().filter(|row| row.contains(&text)).count() <= 1, "{text} {rows:?}");
        }
        // An orderly end as well.
        world.end(&mut server);
        term.wait_text(AWAY);
        let _server = world.serve();
        term.wait_gone(AWAY);
        term.say("and on");
        eventually_said(&world, "dev", "and on");
    }
}

#[test]
fn note_about_a_missing_server_goes_when_one_starts() {
    const TOLD: &str = "no server; messages wait";
    let (world, mut server) = begin();
    let term = join(&world, &["dev"], USUAL);
    server.kill();
    term.wait_text(TOLD);
    let _server = world.serve();
    term.wait_gone(AWAY);
    // Without a key.
    term.wait_gone(TOLD);
}

#[test]
fn screen_that_can_not_start_reports_one_line() {
    let world = World::with_config("[history]\nenabled = false\n");
    let mut server = world.serve();
    let term = join(&world, &["dev"], USUAL);
    says(&world, "bob", "dev", "before");
    term.wait_text("before");
    server.kill();
    let _server = world.serve();
    says(&world, "bob", "dev", "after");
    term.wait_text("after");
    term.wait_rows("a line between them", |rows| {
        let at = |text: &str| rows.iter().position(|row| row.contains(text));
        at("before") < at("starts over") && at("starts over") < at("after")
    });
}

#[test]
fn a_flood_loses_nothing_and_typing_goes_on() {
    const LINES: usize = 20_000;
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    let lines: String = (1..=LINES).map(|n| format!("flood {n}.\n")).collect();
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let args = ["send", "--as", "noise", "--lines", "dev"];
            world.run_with_input(&args, lines.as_bytes()).ok();
        });
        for n in 0..20 {
            term.keys(&n.to_string());
            let typed: String = (0..=n).map(|n| n.to_string()).collect();
            term.wait_input(&typed);
        }
        flood.join().unwrap();
    });
    term.wait_text(&format!("flood {LINES}."));
    term.keys(super::keys::ENTER);
    eventually_said(&world, "dev", &(0..20).map(|n| n.to_string()).collect::<String>());
    assert_eq!(said(&world, "dev").len(), LINES + 1);
    assert!(memory_kib(term.pid()) < 100_000, "{} KiB", memory_kib(term.pid()));
    // Back through all that a room keeps: each line, in its order.
    let numbers = |rows: &[String]| -> Vec<usize> {
        let number = |row: &String| row.split("flood ").nth(1)?.split('.').next()?.parse().ok();
        rows.iter().filter_map(number).collect()
    };
    let mut oldest = numbers(&term.rows())[0];
    while oldest > LINES - 2_000 {
        term.keys(super::keys::PAGE_UP);
        term.wait_rows("older lines", |rows| numbers(rows).first() < Some(&oldest));
        let now = numbers(&term.rows());
        assert!(now.windows(2).all(|two| two[0] + 1 == two[1]), "{now:?}");
        assert!(now.last().is_some_and(|last| *last + 1 >= oldest), "{oldest} {now:?}");
        oldest = now[0];
    }
}

#[test]
fn nothing_is_drawn_when_nothing_changes() {
    let (world, _server) = begin();
    let term = join(&world, &["dev"], USUAL);
    says(&world, "bob", "dev", "once");
    term.wait_text("once");
    term.settle();
    let one_message = {
        let before = term.output().len();
        says(&world, "bob", "dev", "a message more");
        term.wait_text("a message more");
        term.settle();
        term.output().len() - before
    };
    // Not the whole screen for a line.
    assert!(one_message < 3_000, "{one_message} bytes");
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_screen_does_nothing() {
    /// User and system time of a process, hundredths of a second.
    fn time(pid: u32) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
    let (world, _server) = begin();
    let term = join(&world, &["dev"], USUAL);
    says(&world, "bob", "dev", "the last word");
    term.wait_text("the last word");
    term.settle();
    let before = time(term.pid());
    // That something is *not* done needs time.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(time(term.pid()) - before <= 2, "hundredths: {}", time(term.pid()) - before);
}

#[test]
fn a_session_that_is_taken_away_says_so() {
    let (world, _server) = begin();
    let term = Term::open(&world, &["dev"], USUAL);
    term.wait_input("");
    world.run(&["room", "create", "other"]).ok();
    world.run(&["room", "kick", "dev", &format!("@{}", super::me())]).ok();
    term.wait_rows("who did it", |rows| {
        rows.iter().any(|row| row.contains("dev") && row.contains("removed"))
    });
}
