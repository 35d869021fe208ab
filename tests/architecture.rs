//! The rules of the architecture, checked: imports go down, rules do no I/O, `unsafe` stays in `os/`.

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

/// Holders of bounds in `tests/bounds.txt`, beside several users.
const HOLDERS: &[&str] = &[
    "user",
    "session",
    "connection",
    "room",
    "request",
    "client",
    "server",
    "form",
    "time",
    "cost",
];

/// What is wrong with the table of bounds; `tests`: names of all tests.
fn wrong_bounds(limits: &str, table: &str, tests: &str) -> Vec<String> {
    let constants: Vec<String> =
        limits.lines().filter_map(|line| line.strip_prefix("pub const ")).map(word).collect();
    let mut wrong = Vec::new();
    let mut said: Vec<&str> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (holder, share) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        if said.contains(&name) || !constants.iter().any(|constant| constant == name) {
            wrong.push(format!("{name}: said twice, or no constant of limits.rs"));
        }
        said.push(name);
        let is_true = match (holder, share.trim().split_once(": ")) {
            ("users", None) => {
                share.trim().strip_prefix("because ").is_some_and(|why| why.split(' ').count() > 5)
            }
            ("users", Some((share, test))) => {
                let is_share = match share.strip_prefix("rule ") {
                    Some(of_user) => constants.iter().any(|constant| constant == of_user),
                    None => matches!(share, "most" | "turns"),
                };
                is_share && tests.contains(&format!("fn {test}("))
            }
            (holder, _) => HOLDERS.contains(&holder) && share.is_empty(),
        };
        if !is_true {
            wrong.push(format!("{line}: no such holder, share or test, or no reason"));
        }
    }
    let missing = constants.iter().filter(|constant| !said.contains(&constant.as_str()));
    wrong.extend(
        missing.map(|name| format!("{name} has no line in tests/bounds.txt: whose is it?")),
    );
    wrong
}

#[test]
fn every_bound_has_a_holder_or_a_share_for_each_user() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let (limits, table) = (read("src/limits.rs"), read("tests/bounds.txt"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    rust_files(&root.join("tests"), &mut files);
    let tests: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let wrong = wrong_bounds(&limits, &table, &tests);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_bounds_sees_a_breach() {
    let limits = "pub const A_MAX: usize = 1;\npub const A_PER_USER_MAX: usize = 1;\n";
    let wrong = |a: &str| {
        wrong_bounds(limits, &format!("A_PER_USER_MAX user\n{a}\n"), "fn a_test() {}").len()
    };
    for good in [
        "A_MAX   server",
        "A_MAX   users  rule A_PER_USER_MAX: a_test",
        "A_MAX   users  most: a_test",
        "A_MAX   users  because each user has one entry, and no more",
    ] {
        assert_eq!(wrong(good), 0, "{good}");
    }
    for bad in [
        "",
        "A_MAX",
        "A_MAX nobody",
        "A_MAX users",
        "A_MAX users  because so",
        "A_MAX users  rule B_PER_USER_MAX: a_test",
        "A_MAX users  most: no_test",
        "A_MAX users  a_test",
        "A_MAX server\nA_MAX server",
        "A_MAX server\nB_MAX server",
    ] {
        assert!(wrong(bad) > 0, "{bad}");
    }
}

#[test]
fn documented_json_keys_exist_in_the_program() {
    let program: String = sources().into_iter().map(|(_, text)| text).collect();
    let page = fs::read_to_string("docs/json.md").unwrap();
    for line in page.lines() {
        let rest = line.strip_prefix("### `").or_else(|| line.strip_prefix("| `"));
        let Some((name, _)) = rest.and_then(|rest| rest.split_once('`')) else { continue };
        let is_literal = program.contains(&format!("\"{name}\""));
        let is_field = program.contains(&format!("pub {name}: "));
        assert!(is_literal || is_field, "docs/json.md describes {name}, which no source has");
    }
}
