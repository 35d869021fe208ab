//! The rules of the architecture, checked: where things are, what imports what, sizes, words.
//!
//! Rules without exceptions fail at once. The others have their remaining exceptions in `architecture/debt.txt`.

#[path = "architecture/bounds.rs"]
mod bounds;
#[path = "architecture/debt.rs"]
mod debt;
#[path = "architecture/graph.rs"]
mod graph;
#[path = "architecture/places.rs"]
mod places;
#[path = "architecture/sizes.rs"]
mod sizes;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/words.rs"]
mod words;

use std::{fs, process::Command};

use self::source::{Source, root, sources, test_files};

/// Returns the sources of the program, without the files that are compiled for tests only.
fn production() -> Vec<Source> {
    let all = sources("src");
    assert!(all.len() > 20, "expected the sources below src/");
    let of_tests: Vec<_> = test_files(&all).into_iter().map(str::to_owned).collect();
    all.into_iter().filter(|source| !of_tests.contains(&source.name)).collect()
}

#[test]
fn imports_go_down_and_code_is_in_its_place() {
    let sources = production();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut bad: Vec<_> = sources.iter().flat_map(places::complaints).collect();
    bad.extend(places::arrows_upwards(&graph::graph(&sources)));
    bad.extend(places::unused_starts(&sources));
    bad.extend(places::wrong_dependencies(&manifest, &sources));
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn only_listed_places_break_a_rule() {
    let sources = production();
    let mut breaches: Vec<_> = sources.iter().flat_map(sizes::breaches).collect();
    breaches.extend(sizes::shared_type_names(&sources));
    breaches.extend(graph::circles(&graph::graph(&sources)));

    let examples = source::sources("examples");
    let texts = sources.iter().map(|source| ("src", source));
    let texts = texts.chain(examples.iter().map(|source| ("examples", source)));
    let (of_sources, counts): (Vec<_>, Vec<_>) =
        texts.map(|(folder, source)| words::of_source(folder, source)).unzip();
    let (of_documents, count) = words::of_documents();
    breaches.extend(of_sources.into_iter().flatten().chain(of_documents));
    breaches.extend(words::rate("sources", counts));
    breaches.extend(words::rate("documents", [count]));
    for folder in ["src", "tests"] {
        let tests = source::sources(folder);
        breaches.extend(tests.iter().filter_map(|file| words::of_test_names(folder, file)));
    }
    debt::check(breaches);
}

#[test]
fn library_alone_compiles_no_crate_of_the_program() {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--locked", "--no-default-features"]);
    let tree = tree.args(["--edges", "normal", "--prefix", "none"]).current_dir(root()).output();
    let tree = tree.unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"moot") && names.contains(&"ring"), "{tree}");
    for unneeded in ["rusqlite", "libsqlite3-sys", "clap", "ratatui", "crossterm", "tokio"] {
        assert!(!names.contains(&unneeded), "cargo tree --no-default-features has {unneeded}");
    }
}

#[test]
fn documented_json_keys_exist_in_the_program() {
    let program: String = sources("src").into_iter().map(|source| source.text).collect();
    let page = fs::read_to_string(root().join("docs/json.md")).unwrap();
    for line in page.lines() {
        let rest = line.strip_prefix("### `").or_else(|| line.strip_prefix("| `"));
        let Some((name, _)) = rest.and_then(|rest| rest.split_once('`')) else { continue };
        let is_literal = program.contains(&format!("\"{name}\""));
        let is_field = program.contains(&format!("pub {name}: "));
        assert!(is_literal || is_field, "docs/json.md describes {name}, which no source has");
    }
}
