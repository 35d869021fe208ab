//! The rules of the house, kept by machine: imports go down only, rules do no I/O, `unsafe` has its rooms.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Floors from the bottom up. A file imports its own folder and strictly lower floors.
const FLOORS: &[&[&str]] = &[
    &["limits", "faults"],
    &["chat"],
    &["wire", "os"],
    &["session", "broadcast", "presence", "history", "config"],
    &["server", "client"],
    &["tui"],
    &["command"],
];
/// Folders whose code decides and does no I/O, reads no clock, starts no thread.
const PURE: &[&str] = &[
    "chat/",
    "wire/",
    "client/state.rs",
    "command/render.rs",
    "command/json.rs",
    "command/run/batch.rs",
    "command/metrics.rs",
    "command/doctor/checks.rs",
    "tui/chord.rs",
    "tui/cells.rs",
    "tui/complete.rs",
    "tui/editor/",
    "tui/frame.rs",
    "tui/hangul.rs",
    "tui/keys.rs",
    "tui/model/",
    "tui/nearest.rs",
    "tui/paint.rs",
    "tui/scrollback.rs",
    "tui/slash/",
    "tui/text.rs",
    "tui/view/",
];
const IMPURE_WORDS: &[&str] = &[
    "std::net",
    "std::fs",
    "std::thread",
    "std::env::",
    "std::io",
    "std::process",
    "crossbeam",
    "interprocess",
    "tokio",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
];
/// Crates that are named on one floor only, so that they can be replaced there.
const CONFINED: &[(&str, &[&str])] = &[
    ("interprocess::", &["os/"]),
    ("ring::", &["broadcast/"]),
    ("bincode::", &["wire/control.rs"]),
    ("socket2::", &["os/"]),
    ("memmap2::", &["os/"]),
    ("nix::", &["os/"]),
    ("libc::", &["os/"]),
    ("signal_hook::", &["os/"]),
    ("sd_notify::", &["os/"]),
    ("crossterm::", &["tui/"]),
    ("ratatui::", &["tui/"]),
    ("clap::", &["command/args/", "command/manual/"]),
    ("clap_complete::", &["command/manual/completion.rs"]),
    ("clap_mangen::", &["command/manual/page.rs"]),
    ("ctrlc::", &["main.rs"]),
    ("tokio::", &["server/", "session/", "os/"]),
    ("spawn_blocking", &["server/threads.rs"]),
    ("toml::", &["config/"]),
    ("rusqlite::", &["history/"]),
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&module))
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The crate's own modules that `code` names, from `crate::a::…` and from `crate::{a::…, b}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        found.push(word(group));
        let mut depth = 0;
        for (here, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push(word(&group[here + 1..])),
                _ => {}
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20, "the sources were found");
    let name = |f: &PathBuf| f.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
    files.iter().map(|f| (name(f), fs::read_to_string(f).unwrap())).collect()
}

/// Whether `code` has `path` as a word of its own (`String::` is not `ring::`).
fn names(code: &str, path: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(path).any(|(at, _)| !code[..at].ends_with(word))
}

/// Without comments, and without the tests at the end of a file.
fn code_of(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    body.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn complaints_of(name: &str, text: &str) -> Vec<String> {
    let mut bad = Vec::new();
    let code = code_of(text);
    let home = name.split('/').next().unwrap_or(name).trim_end_matches(".rs");
    if !text.starts_with("//!") {
        bad.push(format!("{name}: no opening //! line"));
    }
    for (krate, homes) in CONFINED {
        if names(&code, krate) && !homes.iter().any(|h| name.starts_with(h)) {
            bad.push(format!("{name}: {krate} is not at home here"));
        }
    }
    let says_unsafe = |l: &str| l.contains("unsafe ") && !l.contains("unsafe_");
    if code.lines().any(says_unsafe) && !name.starts_with("os/") {
        bad.push(format!("{name}: unsafe outside os/"));
    }
    let platform = code.contains("cfg(unix)") || code.contains("cfg(windows)");
    if platform && !name.starts_with("os/") {
        bad.push(format!("{name}: cfg(unix) or cfg(windows) outside os/"));
    }
    if PURE.iter().any(|p| name.starts_with(p)) {
        for impure in IMPURE_WORDS {
            if names(&code, impure) {
                bad.push(format!("{name}: pure code mentions {impure}"));
            }
        }
    }
    if home == "lib" || home == "main" {
        return bad;
    }
    let Some(here) = floor(home) else {
        bad.push(format!("{name}: not in the floor plan"));
        return bad;
    };
    for import in imports(&code) {
        match floor(&import) {
            Some(there) if import != home && there >= here => {
                bad.push(format!("{name}: floor {here} may not import {import} on floor {there}"));
            }
            Some(_) | None => {}
        }
    }
    bad
}

#[test]
fn imports_go_down_and_everything_is_in_its_place() {
    let bad: Vec<_> = sources().iter().flat_map(|(name, text)| complaints_of(name, text)).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn the_checks_themselves_see_a_breach() {
    let breach = |name: &str, text: &str| !complaints_of(name, text).is_empty();
    assert!(breach("chat/x.rs", "//! x\nuse crate::server::run;"));
    assert!(breach("session/x.rs", "//! x\nuse crate::{chat::names, presence::Table};"));
    assert!(breach("chat/x.rs", "//! x\nfn f() { std::fs::read(p); }"));
    assert!(breach("server/x.rs", "//! x\nunsafe { x() }"));
    assert!(breach("server/x.rs", "//! x\nring::aead::open();"));
    assert!(breach("attic/x.rs", "//! x"));
    assert!(breach("chat/x.rs", "fn f() {}"));
    assert!(!breach("server/x.rs", "//! x\nuse crate::{chat::hub, session::Listener};"));
}

#[test]
fn every_dependency_has_a_line_of_reason_or_is_obvious() {
    let obvious = ["clap", "serde", "proptest", "tempfile"];
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let manifest = manifest.unwrap();
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && let Some((name, rest)) = line.split_once(" = ") {
            let told = rest.contains('#') || obvious.contains(&name);
            assert!(told, "{name} has no reason in Cargo.toml");
        }
    }
}
