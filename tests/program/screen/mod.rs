//! The screen of `moot join`, as somebody sees it who types in a terminal.

mod alerts;
mod commands;
mod ends;
mod frame;
mod harness;
mod keys;
mod look;
mod notices;
mod people;
mod rooms;
mod scrolling;
mod search;
mod session;
mod tables;
mod term;
mod typing;
mod unread;

use std::path::Path;

use serde_json::Value;

use self::{
    keys::ctrl,
    term::{Size, Term},
};
use super::world::{OTHER_UID, Process, World, eventually, user_name};

/// What most terminals begin with.
const USUAL: Size = (80, 24);
/// A corner of a screen.
const SMALL: Size = (40, 10);
/// All of a large one.
const LARGE: Size = (200, 60);
const SIZES: [Size; 3] = [USUAL, SMALL, LARGE];

/// The user who runs the tests.
fn me() -> String {
    user_name(moot::os::own_uid())
}

fn begin() -> (World, Process) {
    let world = World::new();
    let server = world.serve();
    (world, server)
}

/// Somebody says something.
#[track_caller]
fn says(world: &World, label: &str, target: &str, text: &str) {
    world.run(&["send", "--as", label, target, text]).ok();
}

/// Lines that somebody says, each a message.
#[track_caller]
fn says_lines(world: &World, label: &str, target: &str, lines: impl Iterator<Item = String>) {
    let lines: String = lines.map(|line| line + "\n").collect();
    world.run_with_input(&["send", "--as", label, "--lines", target], lines.as_bytes()).ok();
}

/// What was said in a room or a conversation, the oldest first; nothing if there is none yet.
fn said(world: &World, room: &str) -> Vec<String> {
    let messages = world.run(&["history", "--json", room]).objects();
    let is_said = |message: &&Value| message["type"] == "message" || message["type"] == "direct";
    let texts = messages.iter().filter(is_said);
    texts.map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the newest message of a room is this.
#[track_caller]
fn eventually_said(world: &World, room: &str, text: &str) {
    let mut last = None;
    eventually(&format!("{text:?} in {room}"), || {
        last = said(world, room).pop();
        last.as_deref() == Some(text)
    });
}

/// Whether the user has something unread in a room, as the server knows it.
fn is_unread(world: &World, room: &str) -> bool {
    !world.run(&["read", "--peek", "--json", room]).ok().out.is_empty()
}

/// The screen in these rooms, ready for keys.
#[track_caller]
fn join(world: &World, rooms: &[&str], size: Size) -> Term {
    let term = Term::open(world, rooms, size);
    term.wait_begun(size);
    term
}

/// With settings.
#[track_caller]
fn join_with(world: &World, rooms: &[&str], size: Size, settings: &str) -> Term {
    let path = world.path(".config/moot/screen.toml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, settings).unwrap();
    join(world, rooms, size)
}

/// The screen of another user, with a home that is that user's own; it takes root.
#[track_caller]
fn join_as_other(world: &World, rooms: &[&str]) -> Term {
    let home = world.path("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    let env = [("HOME", home.to_str().unwrap())];
    let term = Term::open_with(world, rooms, USUAL, &env, Some(OTHER_UID));
    term.wait_begun(USUAL);
    term
}

/// Waits until this room is shown.
#[track_caller]
fn wait_in(term: &Term, room: &str) {
    term.wait(&format!("{room} is shown"), |screen| {
        let title = screen.rows(0, screen.size().1.get()).next().unwrap_or_default();
        title.split(' ').any(|word| word == room)
    });
}

/// A program that a test has others run: a script of a shell.
fn script(path: &Path, lines: &str) {
    use std::os::unix::fs::PermissionsExt;
    // By another process: nobody may have it open for writing when it is run.
    let made = std::process::Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\""])
        .arg(path)
        .arg(lines)
        .status();
    assert!(made.unwrap().success());
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A member's row of `who --json`.
fn member(world: &World, name: &str) -> Option<Value> {
    world.who(&[]).0.into_iter().find(|row| row["name"] == name)
}

impl Term {
    /// The row of the input's prompt.
    fn prompt(rows: &[String]) -> Option<usize> {
        rows.iter().rposition(|row| *row == ">" || row.starts_with("> "))
    }

    /// What is typed and not sent: rows of the input, from its prompt on.
    fn input(rows: &[String]) -> Option<String> {
        let from = Self::prompt(rows)?;
        let rows = rows[from..].iter().map(|row| row.get(2..).unwrap_or_default().trim_end());
        Some(rows.collect::<Vec<_>>().join("\n"))
    }

    /// Waits until exactly this is typed and not sent.
    #[track_caller]
    fn wait_input(&self, text: &str) {
        self.wait_rows(&format!("{text:?} in the input"), |rows| {
            Self::input(rows).as_deref() == Some(text)
        });
    }

    /// Waits until this stands above the input, where it may have been typed.
    #[track_caller]
    fn wait_above(&self, text: &str) {
        self.wait_rows(&format!("{text:?} above the input"), |rows| {
            let prompt = Self::prompt(rows).unwrap_or(0);
            rows[..prompt].iter().any(|row| row.contains(text))
        });
    }

    /// Presses keys and waits each time until exactly this is typed and not sent.
    #[track_caller]
    fn steps<'a>(&mut self, steps: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (keys, text) in steps {
            self.keys(keys);
            self.wait_input(text);
        }
    }

    /// Waits until it is ready for keys, and knows what is unread.
    #[track_caller]
    fn wait_begun(&self, size: Size) {
        self.wait_input("");
        // Where there is room for it, the answer to that is told by how long it took.
        if size.0 >= USUAL.0 {
            self.wait_text("lag ");
        }
    }

    /// Leaves by Ctrl-C.
    #[track_caller]
    fn leave(mut self) {
        self.keys(&ctrl('c'));
        self.code();
        self.assert_sane();
    }
}
