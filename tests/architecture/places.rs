//! Places: floors, pure code, `unsafe`, platforms, outside crates, threads and tasks.

use super::{
    graph::Graph,
    source::{Source, is_word},
};

/// Floors from the bottom up. A file imports its own folder and strictly lower floors.
const FLOORS: &[&[&str]] = &[
    &["limits", "faults"],
    &["chat"],
    &["wire", "os"],
    &["session", "broadcast", "presence", "history", "config"],
    &["server", "client"],
    &["tui", "link"],
    &["command"],
];
/// Folders and files whose code does no I/O, reads no clock and starts no thread.
const PURE: &[&str] = &[
    "chat/",
    "wire/",
    "client/announcements.rs",
    "client/calls.rs",
    "client/member_state",
    "client/outbox.rs",
    "client/streams.rs",
    "command/render.rs",
    "command/json.rs",
    "command/run/batch.rs",
    "link/batch.rs",
    "link/plan.rs",
    "link/subject.rs",
    "command/link_metrics.rs",
    "command/metrics.rs",
    "command/doctor/checks.rs",
    "command/doctor/file_checks.rs",
    "command/doctor/finding.rs",
    "command/doctor/machine_checks.rs",
    "command/doctor/server_checks.rs",
    "tui/chord.rs",
    "tui/cells.rs",
    "tui/complete.rs",
    "tui/editor/",
    "tui/frame.rs",
    "tui/geometry.rs",
    "tui/hangul.rs",
    "tui/keys.rs",
    "tui/lines.rs",
    "tui/links.rs",
    "tui/model/",
    "tui/moves.rs",
    "tui/nearest.rs",
    "tui/paint.rs",
    "tui/paragraph.rs",
    "tui/rows.rs",
    "tui/scripts.rs",
    "tui/scrollback.rs",
    "tui/sentences.rs",
    "tui/slash/",
    "tui/view/",
    "tui/width.rs",
    "tui/wrap.rs",
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
/// Outside crates with the folders and files that may name them, so that each can be replaced there.
const HOMES: &[(&str, &[&str])] = &[
    ("async_nats", &["link/carrier/"]),
    ("base64", &["link/carrier/"]),
    ("bincode", &["wire/control.rs"]),
    ("bytes", &["link/carrier/"]),
    ("caseless", &["chat/", "history/search.rs", "tui/complete.rs", "tui/paragraph.rs"]),
    ("clap", &["command/args/", "command/manual/", "command/parse.rs"]),
    ("clap_complete", &["command/manual/completion.rs"]),
    ("clap_mangen", &["command/manual/page.rs", "command/manual/topics.rs"]),
    ("crossbeam_channel", &["os/", "history/", "client/", "tui/", "command/", "link/"]),
    ("crossterm", &["tui/"]),
    ("data_encoding", &["link/subject.rs"]),
    ("ctrlc", &["main.rs"]),
    ("futures_util", &["link/"]),
    ("getrandom", &["os/"]),
    ("hdrhistogram", &["command/bench/"]),
    ("interprocess", &["os/"]),
    ("jiff", &["config/screen.rs", "server/log.rs", "tui/", "command/", "link/carrier/"]),
    ("libc", &["os/"]),
    ("linkify", &["tui/links.rs"]),
    ("memmap2", &["os/"]),
    ("nix", &["os/"]),
    ("nucleo_matcher", &["tui/complete.rs"]),
    ("ratatui", &["tui/"]),
    ("regex", &["command/"]),
    ("ring", &["broadcast/"]),
    ("rusqlite", &["history/"]),
    ("rustc_hash", &["chat/", "broadcast/", "session/", "server/", "client/"]),
    ("sd_notify", &["os/"]),
    ("serde", ANYWHERE),
    ("serde_json", ANYWHERE),
    ("shlex", &["tui/outside.rs", "command/"]),
    ("signal_hook", &["os/"]),
    ("slab", &["chat/hub/"]),
    ("socket2", &["os/"]),
    ("thiserror", ANYWHERE),
    ("tokio", &["server/", "session/", "os/", "link/"]),
    ("toml", &["config/"]),
    ("unicode_normalization", &["chat/", "history/search.rs", "tui/"]),
    ("unicode_properties", &["chat/", "tui/editor/"]),
    ("unicode_segmentation", &["tui/"]),
    ("unicode_width", &["config/screen.rs", "tui/", "command/"]),
    ("windows_sys", &["os/windows/"]),
];
const ANYWHERE: &[&str] = &[""];

/// Paths that only some files may name: calls that start a thread or a task, and the hub.
const STARTS: &[(&str, &[&str])] = &[
    ("thread::spawn", THREADS),
    ("thread::Builder", THREADS),
    ("thread::scope", THREADS),
    ("spawn_blocking", &["server/threads.rs"]),
    ("spawn_local", TASKS),
    ("tokio::spawn", TASKS),
    ("task::spawn", TASKS),
    // What travels and what is stored has files of its own: only a server needs the hub.
    ("hub::", &["chat/hub/", "server/"]),
];
const THREADS: &[&str] = &[
    "client/autostart.rs",
    "command/bench/members.rs",
    "command/bench/senders.rs",
    "command/exec.rs",
    "command/interrupt.rs",
    "command/join.rs",
    "command/link.rs",
    "command/notify.rs",
    "command/output.rs",
    "command/run/supervisor.rs",
    "command/serve.rs",
    "history/index.rs",
    "history/checkpoint.rs",
    "history/write.rs",
    "link/run.rs",
    "os/unix/child.rs",
    "os/unix/process.rs",
    "os/unix/pty.rs",
    "os/windows/child.rs",
    "os/windows/intake.rs",
    "tui/event_loop.rs",
    "tui/terminal.rs",
];
const TASKS: &[&str] = &[
    "link/carrier/consume.rs",
    "server/accept.rs",
    "server/core.rs",
    "server/lifecycle.rs",
    "server/session_task.rs",
];

/// Returns true if the code contains the path as a word of its own: `String::` is not `ring::`.
fn names(code: &str, path: &str) -> bool {
    let ends = |rest: &str| path.ends_with(':') || !rest.starts_with(is_word);
    code.match_indices(path)
        .any(|(at, _)| !code[..at].ends_with(is_word) && ends(&code[at + path.len()..]))
}

fn names_crate(code: &str, name: &str) -> bool {
    names(code, &format!("{name}::")) || names(code, &format!("use {name}"))
}

fn is_below(name: &str, places: &[&str]) -> bool {
    places.iter().any(|place| name.starts_with(place))
}

/// Returns the top folder or module of a file.
fn top(name: &str) -> &str {
    name.split('/').next().unwrap_or(name).trim_end_matches(".rs")
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&top(name)))
}

/// Returns what is wrong with a file of `src/`.
pub fn complaints(source: &Source) -> Vec<String> {
    let (name, code) = (source.name.as_str(), source.code.as_str());
    let mut bad = Vec::new();
    let mut require = |is_good: bool, what: String| {
        if !is_good {
            bad.push(format!("src/{name}: {what}"));
        }
    };
    require(source.text.starts_with("//!"), "no `//!` at its start".into());
    for (krate, homes) in HOMES {
        let is_home = is_below(name, homes) || !names_crate(code, krate);
        require(is_home, format!("the crate {krate} may be used in {homes:?} only"));
    }
    for (start, homes) in STARTS {
        let is_home = is_below(name, homes) || !names(code, start);
        require(is_home, format!("{start} may be named in files listed in places.rs only"));
    }
    let is_os = name.starts_with("os/");
    require(is_os || !names(code, "unsafe"), "`unsafe` outside os/".into());
    let platforms = ["cfg(unix)", "cfg(windows)"];
    let has_platform = platforms.iter().any(|platform| code.contains(platform));
    require(is_os || !has_platform, "`cfg(unix)` or `cfg(windows)` outside os/".into());
    let has_feature = ["cfg(feature", "cfg(not(feature"].iter().any(|cfg| code.contains(cfg));
    let is_head = name == "lib.rs" || name.ends_with("mod.rs") || name == "faults.rs";
    require(is_head || !has_feature, "`cfg(feature)` outside lib.rs and mod.rs".into());
    for impure in IMPURE_WORDS.iter().filter(|_| is_below(name, PURE)) {
        require(!names(code, impure), format!("pure code uses {impure}"));
    }
    let is_planned = matches!(top(name), "lib" | "main") || floor(name).is_some();
    require(is_planned, "its folder is not in the list of floors".into());
    bad
}

/// Returns the imports that do not lead to a lower floor or stay in their folder.
pub fn arrows_upwards(graph: &Graph) -> Vec<String> {
    let mut bad = Vec::new();
    for (from, to) in graph.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        if let (Some(here), Some(there)) = (floor(from), floor(to))
            && there >= here
            && top(from) != top(to)
        {
            bad.push(format!("src/{from}: floor {here} may not import {to} on floor {there}"));
        }
    }
    bad
}

/// Returns the listed files that start no thread or task.
pub fn unused_starts(sources: &[Source]) -> Vec<String> {
    let mut bad = Vec::new();
    for file in THREADS.iter().chain(TASKS) {
        let mut sources = sources.iter().filter(|source| source.name == *file);
        let is_used = |source: &Source| STARTS.iter().any(|(start, _)| names(&source.code, start));
        if !sources.any(is_used) {
            bad.push(format!("THREADS and TASKS in places.rs: {file} starts none"));
        }
    }
    bad
}

/// Returns the dependencies without a home or a reason, and the homes that are not needed.
pub fn wrong_dependencies(manifest: &str, sources: &[Source]) -> Vec<String> {
    const OBVIOUS: &[&str] = &["clap", "serde", "proptest", "tempfile"];
    let (mut bad, mut krates, mut section) = (Vec::new(), Vec::new(), "");
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            continue;
        }
        let Some((name, rest)) = line.split_once(" = ") else { continue };
        if !section.ends_with("dependencies") {
            continue;
        }
        if !rest.contains('#') && !OBVIOUS.contains(&name) {
            bad.push(format!("{name} has no reason in Cargo.toml"));
        }
        if !section.starts_with("dev-") {
            krates.push(name.replace('-', "_"));
        }
    }
    let has_home = |krate: &str| HOMES.iter().any(|(name, _)| *name == krate);
    let homeless = krates.iter().filter(|krate| !has_home(krate));
    bad.extend(homeless.map(|krate| format!("{krate} has no home: add it to HOMES in places.rs")));
    for (krate, homes) in HOMES {
        let is_used = |home: &str| {
            let mut files = sources.iter().filter(|source| source.name.starts_with(home));
            files.any(|source| names_crate(&source.code, krate))
        };
        let unused = homes.iter().filter(|home| !home.is_empty() && !is_used(home));
        bad.extend(unused.map(|home| format!("HOMES in places.rs: {krate} is not used in {home}")));
        if !krates.iter().any(|name| name == krate) {
            bad.push(format!("HOMES in places.rs: {krate} is not a dependency"));
        }
    }
    bad
}

#[test]
fn breaches_of_places_are_seen() {
    let of = |name: &str, text: &str| complaints(&Source::new(name, text)).len();
    assert_eq!(of("chat/x.rs", "//! x\nfn f() { std::fs::read(p); }"), 1);
    assert_eq!(of("server/x.rs", "//! x\nunsafe { x() }"), 1);
    assert_eq!(of("server/x.rs", "//! x\nring::aead::open();"), 1);
    assert_eq!(of("server/x.rs", "//! x\nuse slab;"), 1);
    assert_eq!(of("server/x.rs", "//! x\n#[cfg(unix)]\nfn f() {}"), 1);
    assert_eq!(of("server/x.rs", "//! x\n#[cfg(feature = \"cli\")]\nfn f() {}"), 1);
    assert_eq!(of("server/mod.rs", "//! x\n#[cfg(feature = \"cli\")]\nmod x;"), 0);
    assert_eq!(of("config/x.rs", "//! x\nstd::thread::spawn(f);"), 1);
    assert_eq!(of("config/x.rs", "//! x\ntask::spawn_local(f);"), 1);
    assert_eq!(of("attic/x.rs", "//! x"), 1);
    assert_eq!(of("chat/x.rs", "fn f() {}"), 1);
    assert_eq!(of("server/x.rs", "//! unsafe, slab::x\nString::new(\"nix::x\", unsafe_free)"), 0);
}

#[test]
fn arrows_upwards_are_seen() {
    let graph = |from: &str, to: &str| Graph::from([(from.into(), [to.into()].into())]);
    assert_eq!(arrows_upwards(&graph("chat/x.rs", "server/run.rs")).len(), 1);
    assert_eq!(arrows_upwards(&graph("session/x.rs", "presence/mod.rs")).len(), 1);
    assert_eq!(arrows_upwards(&graph("server/x.rs", "chat/hub/mod.rs")).len(), 0);
    assert_eq!(arrows_upwards(&graph("chat/x.rs", "chat/y.rs")).len(), 0);
}

#[test]
fn wrong_dependencies_are_seen() {
    let of = |manifest: &str| {
        let bad = wrong_dependencies(manifest, &[]);
        bad.into_iter().filter(|line| !line.starts_with("HOMES")).count()
    };
    assert_eq!(of("[dependencies]\nslab = \"1\" # reason"), 0);
    assert_eq!(of("[target.'cfg(unix)'.dependencies]\nslab = \"1\""), 1);
    assert_eq!(of("[dependencies]\nnew-one = \"1\" # reason"), 1);
    assert_eq!(of("[dev-dependencies]\nnew-one = \"1\" # reason"), 0);
    let unused = wrong_dependencies("[dependencies]\nslab = \"1\" # reason", &[]);
    assert!(unused.contains(&"HOMES in places.rs: slab is not used in chat/hub/".to_owned()));
}
