//! The graph of imports among files, each followed through re-exports to the file that defines the name.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    debt::Breach,
    source::{Source, Token, items, tokens},
};

/// Files with the files that they import.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// One name that a `use` brings into a module; `*` for all names.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    path: Vec<String>,
    name: String,
}

struct Module {
    file: String,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths with at least two segments in its code.
    paths: Vec<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Module(String),
    File(String),
    Outside,
}

/// All modules of the crate by their path; the path of the root is empty.
struct Modules(BTreeMap<String, Module>);

impl Modules {
    fn new(sources: &[Source]) -> Self {
        let modules = sources.iter().map(|source| {
            let path = source.name.trim_end_matches(".rs").replace('/', "::");
            let path = path.strip_suffix("::mod").unwrap_or(&path);
            let path = if path == "lib" { "" } else { path };
            (path.to_owned(), Module::new(source))
        });
        Self(modules.collect())
    }

    fn child(&self, module: &str, name: &str) -> Option<String> {
        let path = if module.is_empty() { name.into() } else { format!("{module}::{name}") };
        self.0.contains_key(&path).then_some(path)
    }

    /// Returns what the path means in the module.
    fn resolve(&self, module: &str, path: &[String], depth: usize) -> Found {
        let (mut here, mut rest, mut is_anchored) = (module.to_owned(), path, false);
        while let Some(first) = rest.first() {
            match first.as_str() {
                "crate" => here.clear(),
                "self" => {}
                "super" => here = here.rsplit_once("::").map_or(String::new(), |(up, _)| up.into()),
                _ => break,
            }
            (rest, is_anchored) = (&rest[1..], true);
        }
        while let Some((name, more)) = rest.split_first() {
            if name == "*" {
                return Found::Module(here);
            }
            let found = self.member(&here, name, more, depth);
            match found {
                Found::Module(path) => (here, rest, is_anchored) = (path, more, true),
                // A name that a macro defines, or a variant.
                Found::Outside if is_anchored => {
                    return self.0.get(&here).map_or(found, |m| Found::File(m.file.clone()));
                }
                Found::File(_) | Found::Outside => return found,
            }
        }
        Found::Module(here)
    }

    /// Returns what a name of a module means; `more`: the path goes on after it.
    fn member(&self, module: &str, name: &str, more: &[String], depth: usize) -> Found {
        let Some(here) = self.0.get(module) else { return Found::Outside };
        let child = self.child(module, name);
        if let (Some(child), false) = (&child, more.is_empty()) {
            return Found::Module(child.clone());
        }
        if here.items.contains(name) {
            return Found::File(here.file.clone());
        }
        if depth == 0 {
            return Found::Outside;
        }
        for import in here.imports.iter().filter(|import| import.name == name) {
            let is_itself = import.path.len() == 1 && import.path[0] == name;
            match self.resolve(module, &import.path, depth - 1) {
                found @ (Found::File(_) | Found::Module(_)) if !is_itself => return found,
                _ => {}
            }
        }
        for import in here.imports.iter().filter(|import| import.name == "*") {
            if let Found::Module(target) = self.resolve(module, &import.path, depth - 1)
                && target != module
                && let found @ (Found::File(_) | Found::Module(_)) =
                    self.member(&target, name, more, depth - 1)
            {
                return found;
            }
        }
        child.map_or(Found::Outside, Found::Module)
    }
}

impl Module {
    fn new(source: &Source) -> Self {
        let tokens = tokens(&source.code);
        let items = items(&tokens);
        let names = items.iter().filter(|item| !matches!(item.keyword, "use" | "impl" | "mod"));
        let mut module = Self {
            file: source.name.clone(),
            items: names.map(|item| item.name.to_owned()).collect(),
            imports: Vec::new(),
            paths: Vec::new(),
        };
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at].text == "use" {
                at = module.add_imports(&tokens, at + 1, &[]);
            } else {
                at = module.add_path(&tokens, at);
            }
        }
        module
    }

    /// Adds the imports of a `use` tree. Returns the index after it.
    fn add_imports(&mut self, tokens: &[Token<'_>], start: usize, prefix: &[String]) -> usize {
        let (mut path, mut at) = (prefix.to_vec(), start);
        let mut name = None;
        while let Some(token) = tokens.get(at) {
            match token.text {
                "::" => {}
                "{" => {
                    while tokens.get(at).is_some_and(|token| token.text != "}") {
                        at = self.add_imports(tokens, at + 1, &path);
                    }
                    return at + 1;
                }
                "as" => {
                    name = tokens.get(at + 1).map(|token| token.text.to_owned());
                    at += 1;
                }
                "*" => path.push("*".to_owned()),
                "," | "}" | ";" => break,
                word => path.push(word.to_owned()),
            }
            at += 1;
        }
        // `use path::{self, …}`
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(name) = name.or_else(|| path.last().cloned())
            && path.len() > prefix.len().min(1)
        {
            self.imports.push(Import { path, name });
        }
        at
    }

    /// Adds the path that begins at `start`, if one does. Returns the index after it.
    fn add_path(&mut self, tokens: &[Token<'_>], start: usize) -> usize {
        let is_name = |at: usize| {
            let text = tokens.get(at).map_or("", |token| token.text);
            text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        };
        let is_separator = |at: usize| tokens.get(at).is_some_and(|token| token.text == "::");
        let mut at = start;
        while is_name(at) && is_separator(at + 1) && is_name(at + 2) {
            at += 2;
        }
        let is_start = start == 0 || !matches!(tokens[start - 1].text, "::" | ".");
        if at > start && is_start {
            let words = tokens[start..=at].iter().step_by(2);
            self.paths.push(words.map(|token| token.text.to_owned()).collect());
        }
        at + 1
    }
}

/// Returns the graph of the given files; imports of other crates are left out.
pub fn graph(sources: &[Source]) -> Graph {
    const DEPTH: usize = 12;
    let modules = Modules::new(sources);
    let mut graph = Graph::new();
    for (path, module) in &modules.0 {
        let targets = graph.entry(module.file.clone()).or_default();
        for used in module.imports.iter().map(|i| &i.path).chain(&module.paths) {
            if let Found::File(file) = modules.resolve(path, used, DEPTH)
                && file != module.file
            {
                targets.insert(file);
            }
        }
    }
    graph
}

/// Returns the files that import themselves by way of others, each with its number of such imports.
pub fn circles(graph: &Graph) -> Vec<Breach> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (file.as_str(), reached_from(graph, file))).collect();
    let leads_back = |file: &str, next: &str| reached.get(next).is_some_and(|r| r.contains(file));
    let mut found = Vec::new();
    for (file, targets) in graph {
        let next: Vec<_> = targets.iter().filter(|next| leads_back(file, next)).cloned().collect();
        if !next.is_empty() {
            let detail = format!("imports {}", next.join(", "));
            found.push(Breach {
                detail,
                ..Breach::new("circle", format!("src/{file}"), next.len())
            });
        }
    }
    found
}

fn reached_from<'a>(graph: &'a Graph, file: &str) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![file]);
    while let Some(file) = open.pop() {
        for next in graph.get(file).into_iter().flatten() {
            if seen.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    seen
}

#[cfg(test)]
fn graph_of(files: &[(&str, &str)]) -> Graph {
    graph(&files.iter().map(|(name, text)| Source::new(name, text)).collect::<Vec<_>>())
}

#[test]
fn imports_are_followed_to_the_file_that_defines_the_name() {
    let graph = graph_of(&[
        ("lib.rs", "pub mod os; pub mod chat;"),
        ("os/mod.rs", "mod unix; pub use unix::*; pub use self::unix::lock::{self, Lock as Held};"),
        ("os/unix/mod.rs", "mod lock; mod place; pub use lock::{self, Lock}; pub use place::*;"),
        ("os/unix/lock.rs", "pub struct Lock;"),
        ("os/unix/place.rs", "pub fn place() {} make!(Macro);"),
        ("chat/mod.rs", "pub mod a; pub mod b; pub mod c; pub mod d;\npub struct Own;"),
        ("chat/a.rs", "use crate::os::{Held, place};"),
        ("chat/b.rs", "use crate::{os, chat};\nfn f() { os::Lock::new(chat::a::X, Vec::new()) }"),
        ("chat/c.rs", "fn f(own: super::Own) { self::g(std::a::b) }"),
        ("chat/d.rs", "use super::super::os::unix::place::Macro;\n#[cfg(test)]\nuse super::Own;"),
    ]);
    let targets = |file: &str| graph[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(targets("chat/a.rs"), ["os/unix/lock.rs", "os/unix/place.rs"]);
    assert_eq!(targets("chat/b.rs"), ["chat/a.rs", "os/unix/lock.rs"]);
    assert_eq!(targets("chat/c.rs"), ["chat/mod.rs"]);
    assert_eq!(targets("chat/d.rs"), ["os/unix/place.rs"]);
}

#[test]
fn circles_of_files_are_seen() {
    let graph = graph_of(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "fn f() { super::c::C::new() } pub struct B;"),
        ("c.rs", "use super::a; pub struct C(a::A);"),
        ("d.rs", "use super::a::A; fn main() {}"),
    ]);
    let found: Vec<_> = circles(&graph).into_iter().map(|b| (b.place, b.value)).collect();
    assert_eq!(found, ["a.rs", "b.rs", "c.rs"].map(|file| (format!("src/{file}"), 1)));
}
