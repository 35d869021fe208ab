//! Rust sources as the checks see them: code without comments, literals and tests; comments; literals.

use std::{
    fs, iter,
    ops::Range,
    path::{Path, PathBuf},
};

/// One source file.
#[derive(Debug, Default)]
pub struct Source {
    /// Path below `src/`, with `/`.
    pub name: String,
    pub text: String,
    /// The text with comments, literals and test items replaced by spaces.
    pub code: String,
    pub comments: Vec<Comment>,
    pub literals: Vec<Literal>,
    /// Modules of other files that are compiled for tests only.
    pub test_modules: Vec<String>,
    /// Lines (from 1) of test items.
    test_lines: Vec<Range<usize>>,
}

/// Consecutive lines of comments of one kind.
#[derive(Debug)]
pub struct Comment {
    pub line: usize,
    pub is_doc: bool,
    pub text: String,
}

/// The content of a string literal of production code.
#[derive(Debug)]
pub struct Literal {
    pub text: String,
}

/// A word, a number, a path separator, an arrow or another character.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
    at: usize,
}

/// A top-level item of a file.
#[derive(Debug)]
pub struct Item<'a> {
    pub keyword: &'a str,
    pub name: &'a str,
    /// Range of its tokens, from its keyword on.
    pub tokens: Range<usize>,
}

impl Source {
    pub fn new(name: &str, text: &str) -> Self {
        let mut source = Self { name: name.into(), text: text.into(), ..Self::default() };
        let literals = source.mask();
        let spans = source.mask_tests();
        source.literals = literals
            .into_iter()
            .filter(|(at, _)| !spans.iter().any(|span| span.contains(at)))
            .map(|(_, text)| Literal { text })
            .collect();
        source
    }

    pub fn is_in_test(&self, line: usize) -> bool {
        self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Returns the lines of production code with their numbers, comments included.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).filter(|(line, _)| !self.is_in_test(*line))
    }

    /// Separates comments and literals from the code. Returns the literals with their places.
    fn mask(&mut self) -> Vec<(usize, String)> {
        let (mut code, mut literals) = (self.text.clone().into_bytes(), Vec::new());
        let (mut at, mut line) = (0, 1);
        while at < self.text.len() {
            let end = match part_at(&self.text, at) {
                Part::Code(end) => end,
                Part::Comment(end) => {
                    self.add_comment(line, at..end);
                    blank(&mut code, at..end);
                    end
                }
                Part::Literal(content, end) => {
                    literals.push((at, self.text[content.clone()].to_owned()));
                    blank(&mut code, content);
                    end
                }
            };
            line += self.text[at..end].matches('\n').count();
            at = end;
        }
        self.code = String::from_utf8(code).expect("whole characters are replaced");
        literals
    }

    fn add_comment(&mut self, line: usize, place: Range<usize>) {
        let text = &self.text[place];
        let is_doc = text.starts_with("///") || text.starts_with("//!");
        let text = text.trim_start_matches(['/', '!', '*']).trim().trim_end_matches("*/");
        if let Some(last) = self.comments.last_mut()
            && last.is_doc == is_doc
            && last.line + last.text.matches('\n').count() + 1 == line
        {
            last.text.push('\n');
            last.text.push_str(text);
        } else {
            self.comments.push(Comment { line, is_doc, text: text.into() });
        }
    }

    /// Removes the items of tests from the code. Returns their places.
    fn mask_tests(&mut self) -> Vec<Range<usize>> {
        let mut code = self.code.clone().into_bytes();
        let (mut spans, mut end): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
        let starts = ["#[cfg(test)]", "#[cfg(all(test"];
        let mut places: Vec<usize> =
            starts.iter().flat_map(|s| self.code.match_indices(s)).map(|(at, _)| at).collect();
        places.sort_unstable();
        for at in places {
            if at < end {
                continue;
            }
            end = at + item_bytes(&self.code[at..]);
            let item = &self.code[at..end];
            let module = item.split_once("mod ").and_then(|(_, rest)| rest.strip_suffix(';'));
            self.test_modules.extend(module.map(|name| name.trim().to_owned()));
            let line_of = |at: usize| self.code[..at].matches('\n').count() + 1;
            self.test_lines.push(line_of(at)..line_of(end) + 1);
            blank(&mut code, at..end);
            spans.push(at..end);
        }
        self.code = String::from_utf8(code).expect("whole characters are replaced");
        spans
    }
}

fn blank(code: &mut [u8], place: Range<usize>) {
    code[place].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

enum Part {
    Code(usize),
    Comment(usize),
    Literal(Range<usize>, usize),
}

/// Returns the part of the text that begins at `at`: a comment, a literal or a piece of code.
fn part_at(text: &str, at: usize) -> Part {
    let rest = &text[at..];
    let find = |what: &str, from: usize| rest[from..].find(what).map_or(rest.len(), |n| n + from);
    if rest.starts_with("//") {
        return Part::Comment(at + find("\n", 0));
    }
    if rest.starts_with("/*") {
        return Part::Comment(at + (find("*/", 2) + 2).min(rest.len()));
    }
    if let Some(content) = rest.strip_prefix('"') {
        let mut escaped = false;
        let bytes = content.find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        let end = at + 1 + bytes.unwrap_or(content.len());
        return Part::Literal(at + 1..end, (end + 1).min(text.len()));
    }
    let starts_word = !text[..at].ends_with(is_word);
    let raw = rest.trim_start_matches(['b', 'c']).strip_prefix('r').unwrap_or_default();
    let fence = raw.len() - raw.trim_start_matches('#').len();
    if starts_word && raw[fence..].starts_with('"') {
        let start = rest.len() - raw.len() + fence + 1;
        let end = find(&format!("\"{}", "#".repeat(fence)), start);
        return Part::Literal(at + start..at + end, (at + end + 1 + fence).min(text.len()));
    }
    if let Some(inner) = rest.strip_prefix('\'') {
        if inner.starts_with('\\') {
            return Part::Literal(at + 1..at + find("'", 3), at + find("'", 3) + 1);
        }
        let first = inner.chars().next().map_or(0, char::len_utf8);
        if inner[first..].starts_with('\'') {
            return Part::Literal(at + 1..at + 1 + first, at + first + 2);
        }
    }
    let first = rest.chars().next().map_or(1, char::len_utf8);
    let code = if rest.starts_with(is_word) { rest.find(|c| !is_word(c)) } else { Some(first) };
    Part::Code(at + code.unwrap_or(rest.len()))
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the length of the item, field or statement at the start of the code, with its attributes.
fn item_bytes(code: &str) -> usize {
    let (mut depth, mut angles, mut is_attribute) = (0, 0, false);
    let mut last = ' ';
    for (at, c) in code.char_indices() {
        match c {
            '#' if depth == 0 => is_attribute = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 && c == '}' && !is_attribute {
                    return at + 1;
                }
                is_attribute &= depth > 0;
            }
            '<' => angles += 1,
            '>' if last != '-' && last != '=' => angles -= 1,
            ';' if depth == 0 => return at + 1,
            ',' if depth == 0 && angles <= 0 => return at + 1,
            _ => {}
        }
        last = c;
    }
    code.len()
}

pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at..];
        let bytes = if is_word(c) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if ["::", "->", "=>"].iter().any(|pair| rest.starts_with(pair)) {
            2
        } else {
            c.len_utf8()
        };
        if !c.is_whitespace() {
            found.push(Token { text: &rest[..bytes], line, at });
        }
        line += usize::from(c == '\n');
        at += bytes;
    }
    found
}

/// Returns the index of the token after the bracket that closes the one at `open`.
pub fn after_bracket(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Returns the index after the item whose keyword is at `start`.
pub fn after_item(tokens: &[Token<'_>], start: usize) -> usize {
    let ends_with_brace = !["use", "const", "static", "type"].contains(&tokens[start].text);
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" if ends_with_brace => return after_bracket(tokens, at),
            "(" | "[" | "{" => at = after_bracket(tokens, at),
            ";" => return at + 1,
            _ => at += 1,
        }
    }
    tokens.len()
}

pub fn items<'a>(tokens: &[Token<'a>]) -> Vec<Item<'a>> {
    let (mut found, mut at) = (Vec::new(), 0);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    while at < tokens.len() {
        match text(at) {
            "#" => at = after_bracket(tokens, at + 1 + usize::from(text(at + 1) == "!")),
            "pub" if text(at + 1) == "(" => at = after_bracket(tokens, at + 1),
            "pub" | "async" | "unsafe" | "extern" | ";" => at += 1,
            "const" if ["fn", "unsafe", "async"].contains(&text(at + 1)) => at += 1,
            "\"" => at = (at + 1..tokens.len()).find(|at| text(*at) == "\"").unwrap_or(at) + 1,
            keyword => {
                let end = after_item(tokens, at).max(at + 1);
                // `macro_rules! name { … }`
                let name = at + if keyword == "macro_rules" { 2 } else { 1 };
                found.push(Item { keyword, name: text(name), tokens: at..end });
                at = end;
            }
        }
    }
    found
}

/// Returns the length of `code` between two tokens, in lines.
pub fn lines_of(tokens: &[Token<'_>], range: Range<usize>) -> usize {
    tokens[range.end - 1].line - tokens[range.start].line + 1
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { &mut dirs } else { &mut found }.push(path);
        }
    }
    found.sort();
    found
}

/// Reads all Rust files below a folder of the repository; none if the folder does not exist.
pub fn sources(folder: &str) -> Vec<Source> {
    let dir = root().join(folder);
    if !dir.exists() {
        return Vec::new();
    }
    let name = |path: &Path| path.strip_prefix(&dir).unwrap().to_str().unwrap().replace('\\', "/");
    files_below(&dir)
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| Source::new(&name(path), &fs::read_to_string(path).unwrap()))
        .collect()
}

/// Returns the names of the files that are compiled for tests only.
pub fn test_files(sources: &[Source]) -> Vec<&str> {
    let folders: Vec<String> = sources
        .iter()
        .flat_map(|source| iter::repeat(folder_of(&source.name)).zip(&source.test_modules))
        .map(|(folder, module)| format!("{folder}{module}"))
        .collect();
    let is_test = |name: &str| {
        folders.iter().any(|module| {
            name.strip_prefix(module.as_str()).is_some_and(|n| n.starts_with(['.', '/']))
        })
    };
    sources.iter().map(|source| source.name.as_str()).filter(|name| is_test(name)).collect()
}

/// Returns the folder of the modules that a file declares, with a `/` at its end.
fn folder_of(name: &str) -> String {
    let module = name.trim_end_matches(".rs");
    match module.strip_suffix("mod").or_else(|| module.strip_suffix("lib")) {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => folder.to_owned(),
        _ => format!("{module}/"),
    }
}

#[test]
fn comments_literals_and_tests_are_masked() {
    let text = "//! Doc.\n/// A \"b\".\nfn f<'a>(c: char) { g(\"x // {y\", '{', '\\'', r#\"\"z\"#); } // end\n\
                #[cfg(test)]\nmod cases;\nstruct S {\n    #[cfg(test)]\n    n: Map<A, B>,\n    m: u8,\n}\n\
                #[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn t() { \"secret\" }\n}\nfn last() {}\n";
    let source = Source::new("a.rs", text);
    assert_eq!(source.text.len(), source.code.len());
    for gone in ["Doc", "y", "z", "end", "cases", "Map", "secret", "tests"] {
        assert!(!source.code.contains(gone), "expected no {gone} in\n{}", source.code);
    }
    let tokens = tokens(&source.code);
    let names: Vec<_> = items(&tokens).iter().map(|item| (item.keyword, item.name)).collect();
    assert_eq!(names, [("fn", "f"), ("struct", "S"), ("fn", "last")]);
    assert_eq!(tokens.last().map(|t| (t.line, t.at)), Some((16, text.len() - 2)));
    assert_eq!(source.test_modules, ["cases"]);
    assert_eq!(source.literals.len(), 4);
    assert_eq!(source.comments.iter().map(|c| c.text.as_str()).next(), Some("Doc.\nA \"b\"."));
    assert!(source.is_in_test(14) && !source.is_in_test(16));
}

#[test]
fn files_of_test_modules_are_found() {
    let sources = [
        Source::new("chat/mod.rs", "#[cfg(test)]\nmod cases;\nmod hub;"),
        Source::new("chat/hub.rs", "#[cfg(test)]\nmod tests;"),
        Source::new("chat/cases.rs", ""),
        Source::new("chat/hub/tests.rs", ""),
        Source::new("chat/hub/tests/a.rs", ""),
        Source::new("chat/cases_of.rs", ""),
    ];
    assert_eq!(test_files(&sources), ["chat/cases.rs", "chat/hub/tests.rs", "chat/hub/tests/a.rs"]);
}
