//! Every way out leaves the terminal as it was.

use super::{
    SIZES, USUAL, begin, join,
    keys::{CTRL_UP, alt, ctrl},
    says,
    term::Term,
};
use crate::world::{World, eventually, kill};

/// The screen in a shell that looks at the terminal before and after; gives its process id.
fn in_shell(world: &World, more: &str) -> (Term, u32) {
    let script = format!(
        "stty -a > before; sh -c 'echo $$ > pid; exec \"$MOOT\" join --no-start {more}'; \
         echo \"code $?\"; stty -a > after"
    );
    let term = Term::shell(world, &script, USUAL);
    term.wait_input("");
    let pid = std::fs::read_to_string(world.path("pid")).unwrap();
    (term, pid.trim().parse().unwrap())
}

#[track_caller]
fn ends_well(world: &World, mut term: Term, code: i32) {
    term.wait_text(&format!("code {code}"));
    assert_eq!(term.code(), 0);
    term.assert_sane();
    let modes = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    assert_eq!(modes("before"), modes("after"));
    assert!(!term.text().contains("> "), "nothing of the screen is left: {}", term.text());
}

#[test]
fn keys_and_commands_end_it() {
    for (keys, code) in [(ctrl('c'), 130), (ctrl('d'), 0), ("/quit\r".to_owned(), 0)] {
        let (world, _server) = begin();
        let (mut term, _) = in_shell(&world, "dev");
        term.keys(&keys);
        ends_well(&world, term, code);
    }
}

#[test]
fn signals_end_it() {
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let (world, _server) = begin();
        let (mut term, pid) = in_shell(&world, "dev");
        term.keys("a draft");
        term.wait_input("a draft");
        kill(pid, signal);
        ends_well(&world, term, code);
        join_again(&world, "a draft");
    }
}

fn join_again(world: &World, draft: &str) {
    Term::open(world, &["dev"], USUAL).wait_input(draft);
}

#[test]
fn signals_end_it_whatever_is_open() {
    for keys in [super::keys::f(1).to_owned(), ctrl('r'), alt('g'), CTRL_UP.to_owned()] {
        let (world, _server) = begin();
        let (mut term, pid) = in_shell(&world, "dev");
        says(&world, "bob", "dev", "hello");
        term.wait_text("hello");
        term.keys(&keys);
        term.settle();
        kill(pid, "TERM");
        ends_well(&world, term, 143);
    }
}

#[test]
fn a_signal_while_much_is_written_ends_it_well() {
    for _ in 0..5 {
        let (world, _server) = begin();
        let (term, pid) = in_shell(&world, "dev");
        let lines: String = (1..=5_000).map(|n| format!("flood {n}.\n")).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                world.run_with_input(&["send", "--lines", "dev"], lines.as_bytes()).ok();
            });
            term.wait_text("flood");
            kill(pid, "TERM");
        });
        ends_well(&world, term, 143);
    }
}

#[test]
fn a_closed_window_ends_it() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.keys("a draft");
    term.wait_input("a draft");
    term.hang_up();
    term.code();
    eventually("nobody is left", || world.who(&[]).0.is_empty());
    join_again(&world, "a draft");
}

#[cfg(debug_assertions)]
#[test]
fn a_panic_ends_it_well() {
    let (world, _server) = begin();
    let script = "stty -a > before; MOOT_TEST_PANIC=1 \"$MOOT\" join --no-start dev; \
                  echo \"code $?\"; stty -a > after";
    let mut term = Term::shell(&world, script, USUAL);
    term.wait_input("");
    term.keys("a draft");
    term.wait_input("a draft");
    // A key of programs that are built for tests.
    term.keys(super::keys::f(12));
    term.wait_text("panicked");
    ends_well(&world, term, 101);
}

#[test]
fn a_server_that_refuses_is_told_on_the_terminal_as_it_was() {
    for size in SIZES {
        let world = World::new();
        // There is none, and none is to be started.
        let mut term = Term::open(&world, &["dev"], size);
        assert_eq!(term.code(), 3);
        assert!(!term.is_full_screen());
        assert!(term.text().contains("moot"), "{}", term.text());
        term.assert_sane();
    }
}
