//! Bells, desktop notifications, the title of the window.

use super::{
    USUAL, begin, eventually_said, join, join_with,
    keys::{ENTER, FOCUS_IN, FOCUS_OUT, alt, ctrl, paste},
    me, says, script,
    term::Term,
};
use crate::world::{World, eventually, skipped};

/// Says something that is no reason to ring, after which all that came before has been dealt with.
fn says_after(world: &World, term: &Term, text: &str) {
    says(world, "bob", "dev", text);
    term.wait_text(text);
    term.settle();
}

#[test]
fn the_bell_rings_for_mentions_unless_somebody_looks() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.keys(FOCUS_OUT);
    says_after(&world, &term, "nothing special");
    assert_eq!(term.bells(), 0);
    says(&world, "bob", "dev", &format!("@{}: look", me()));
    term.wait_bells(1);
    // Looked at.
    term.keys(FOCUS_IN);
    says(&world, "bob", "dev", &format!("@{}: seen at once", me()));
    says_after(&world, &term, "that was all");
    assert_eq!(term.bells(), 1);
}

#[test]
fn each_room_has_its_own_bell() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev", "ops"], USUAL);
    term.keys(FOCUS_OUT);
    term.say("/bell off");
    term.wait_text("bell off in dev");
    says(&world, "bob", "dev", &format!("@{}: not heard", me()));
    says_after(&world, &term, "silence");
    assert_eq!(term.bells(), 0);
    term.keys(&alt('2'));
    term.say("/bell all");
    term.wait_text("bell for all messages in ops");
    says(&world, "bob", "ops", "anything");
    term.wait_bells(1);
    // It is known the next time.
    term.leave();
    let mut term = join(&world, &["dev", "ops"], USUAL);
    term.keys(FOCUS_OUT);
    says(&world, "bob", "dev", &format!("@{}: not heard", me()));
    says_after(&world, &term, "silence again");
    assert_eq!(term.bells(), 0);
    says(&world, "bob", "ops", "anything");
    term.wait_bells(1);
}

#[test]
fn the_settings_say_when_it_rings() {
    let (world, _server) = begin();
    let mut term = join_with(&world, &["dev"], USUAL, "[bell]\nwhen = \"off\"\n");
    term.keys(FOCUS_OUT);
    says(&world, "bob", "dev", &format!("@{}: not heard", me()));
    says_after(&world, &term, "silence");
    assert_eq!(term.bells(), 0);
    let mut term = join_with(&world, &["dev"], USUAL, "[bell]\nwhen = \"all\"\n");
    term.keys(FOCUS_OUT);
    says(&world, "bob", "dev", "anything");
    term.wait_bells(1);
}

#[test]
fn the_desktop_is_told_whatever_the_bell_does() {
    let (world, _server) = begin();
    let settings = "[bell]\nwhen = \"off\"\n[notify]\nwhen = \"mentions\"\nby = \"terminal\"\n";
    let mut term = join_with(&world, &["dev"], USUAL, settings);
    term.keys(FOCUS_OUT);
    says(&world, "bob", "dev", "not for you");
    says(&world, "bob", "dev", &format!("@{}: for you\x1b[2J", me()));
    term.wait_notification("what was said", |text| text.contains("for you"));
    assert_eq!(term.notifications().len(), 1);
    assert!(!term.notifications()[0].contains('\x1b'));
    assert_eq!(term.bells(), 0);
    // And through tmux, which hands on what is wrapped for it.
    let env = [("TMUX", "/tmp/tmux-0/default,1,0"), ("TERM", "tmux-256color")];
    let mut term = Term::open_with(&world, &["dev"], USUAL, &env, None);
    term.wait_begun(USUAL);
    term.keys(FOCUS_OUT);
    says(&world, "bob", "dev", &format!("@{}: in tmux", me()));
    term.wait_text("in tmux");
    eventually("it is wrapped", || {
        let wrapped = b"\x1bPtmux;\x1b\x1b]9;";
        term.output().windows(wrapped.len()).any(|bytes| bytes == wrapped)
    });
}

#[test]
fn the_tool_of_the_desktop_is_run() {
    let (world, _server) = begin();
    let bin = world.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let told = world.path("told");
    script(&bin.join("notify-send"), &format!("printf '%s\\n' \"$@\" >> {}", told.display()));
    let path = format!("{}:/usr/bin:/bin", bin.display());
    std::fs::create_dir_all(world.path(".config/moot")).unwrap();
    let settings = "[notify]\nwhen = \"mentions\"\nby = \"tool\"\n";
    std::fs::write(world.path(".config/moot/screen.toml"), settings).unwrap();
    let mut term = Term::open_with(&world, &["dev"], USUAL, &[("PATH", &path)], None);
    term.wait_begun(USUAL);
    term.keys(FOCUS_OUT);
    says(&world, "bob", "dev", &format!("@{}: to the desktop", me()));
    eventually("it was told", || {
        std::fs::read_to_string(&told).is_ok_and(|text| text.contains("to the desktop"))
    });
    // What it prints, or that it fails, is not on the screen.
    term.wait_input("");
}

#[test]
fn the_window_s_title_says_where_and_how_much() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    term.wait_title("the room", |title| title.contains("dev"));
    term.keys(FOCUS_OUT);
    says(&world, "bob", "dev", &format!("@{}: look", me()));
    term.wait_title("something is unread", |title| title.contains('1'));
}

/// A tmux of its own; it ends with the test.
struct Tmux<'a>(&'a World);

impl Tmux<'_> {
    fn run(&self, args: &[&str]) -> std::process::Command {
        let socket = self.0.path("tmux");
        let mut all = vec!["-u", "-f", "/dev/null", "-S", socket.to_str().unwrap()];
        all.extend(args);
        self.0.command(std::path::Path::new("tmux"), &all)
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        // It may have ended, or never begun.
        let _ = self.run(&["kill-server"]).status();
    }
}

#[test]
fn it_lives_in_tmux() {
    if std::process::Command::new("tmux").arg("-V").output().is_err() {
        skipped("there is no tmux");
        return;
    }
    let (world, _server) = begin();
    let tmux = Tmux(&world);
    let moot = format!("{} join --no-start dev ops", env!("CARGO_BIN_EXE_moot"));
    let mut term = Term::run(tmux.run(&["new-session", &moot]), USUAL);
    let typed = |text: &'static str| move |row: &str| row == format!("> {text}").trim_end();
    term.wait_row("the prompt", typed(""));
    term.keys("한글 x");
    term.wait_row("what is typed", typed("한글 x"));
    assert_eq!(term.cursor().0, 2 + 6);
    term.resize((60, 15));
    term.wait_row("what is typed", typed("한글 x"));
    term.keys(ENTER);
    eventually_said(&world, "dev", "한글 x");
    term.keys(&paste("two\nlines"));
    term.wait_row("what was pasted", typed("two"));
    term.keys(ENTER);
    eventually_said(&world, "dev", "two\nlines");
    // In the other room nobody looks at it.
    says(&world, "bob", "ops", &format!("@{}: ring", me()));
    term.wait_bells(1);
    term.keys(&alt('2'));
    term.wait_text("ring");
    term.keys(&ctrl('c'));
    // tmux ends with the last of its programs.
    assert_eq!(term.code(), 0);
    term.assert_sane();
}
