//! Manual pages that do not belong to one command: the configuration, and the screen.
//!
//! Their texts come from the commented file in `config/` and from the tables of the screen's help.

use clap::Command;
use clap_mangen::roff::{Roff, bold, roman};

use super::page::{CONFIGURATION, KEYS, Page, of_commands, put, sentence};
use crate::tui::{self, slash};

/// The commented configuration, which a test compares with the defaults.
const SAMPLE: &str = include_str!("../../../config/moot.toml");

/// Returns all pages, those of commands first.
pub(super) fn all_pages(definition: Command) -> Vec<Page> {
    let version = definition.get_version().unwrap_or_default().to_owned();
    let mut pages = of_commands(definition);
    pages.extend([configuration(&version), keys(&version)]);
    pages
}

fn page(name: &str, section: u8, part: (&str, &str), about: &str, body: &Roff) -> Page {
    let (version, manual) = part;
    let mut text = format!(
        ".\\\" Made by `moot man`.\n.TH \"{}\" \"{section}\" \"\" \"moot {version}\" \"{manual}\"\n\
         .nh\n.ad l\n",
        name.to_uppercase().replace('-', "\\-"),
    );
    let mut head = Roff::new();
    head.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    put(&mut text, &head);
    put(&mut text, body);
    Page { name: name.to_owned(), section, text }
}

fn refer(roff: &mut Roff, pages: &[(&str, u8)]) {
    roff.control("SH", ["SEE ALSO"]);
    for (at, (name, section)) in pages.iter().enumerate() {
        let end = if at + 1 == pages.len() { "" } else { "," };
        roff.text([bold(*name), roman(format!("({section}){end}"))]);
    }
}

fn configuration(version: &str) -> Page {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    let mut comment: Vec<&str> = Vec::new();
    let mut keys: Vec<&str> = Vec::new();
    for line in SAMPLE.lines().chain([""]) {
        let is_comment = line.starts_with('#');
        let is_section = line.starts_with('[');
        // A comment belongs to the keys that follow it without an empty line.
        if line.is_empty() || is_section || (is_comment && !keys.is_empty()) {
            setting(&mut roff, &keys, &comment);
            comment.clear();
            keys.clear();
        }
        match line.strip_prefix('#') {
            Some(text) => comment.push(text.strip_prefix(' ').unwrap_or(text)),
            None if is_section => {
                roff.control("SH", [line]);
            }
            None if line.is_empty() => {}
            None => keys.push(line),
        }
    }
    refer(&mut roff, &[("moot", 1), ("moot-serve", 1)]);
    page(CONFIGURATION, 5, (version, "File Formats"), "configuration of a moot server", &roff)
}

/// Adds keys with their comment, or a comment by itself.
fn setting(roff: &mut Roff, keys: &[&str], comment: &[&str]) {
    for (at, key) in keys.iter().enumerate() {
        roff.control(if at == 0 { "TP" } else { "TQ" }, []).text([bold(*key)]);
    }
    if keys.is_empty() && !comment.is_empty() {
        roff.control("PP", []);
    }
    // Lines that are indented, and settings that are commented out, stay as they are.
    let is_literal = |line: &&&str| line.starts_with([' ', '[']) || line.contains(" = ");
    let mut rest = comment;
    while let Some(first) = rest.first() {
        let literal = is_literal(&first);
        let count = rest.iter().take_while(|line| is_literal(line) == literal).count();
        let (lines, others) = rest.split_at(count);
        if literal {
            roff.control("EX", []);
            for line in lines {
                roff.text([roman(*line)]);
            }
            roff.control("EE", []);
        } else {
            roff.text([roman(lines.join(" "))]);
        }
        rest = others;
    }
}

fn keys(version: &str) -> Page {
    let mut roff = Roff::new();
    let item = |roff: &mut Roff, name: &str, text: &str| {
        roff.control("TP", []).text([bold(name)]).text([roman(sentence(text))]);
    };
    roff.control("SH", ["DESCRIPTION"]).text([
        roman("On a terminal, "),
        bold("moot join"),
        roman(
            " opens the screen. F1 shows this list there with your own keys: \
             screen.toml can change any key. Line mode (--plain, --json or a pipe) has only \
             commands; /help lists them.",
        ),
    ]);
    roff.control("SH", ["KEYS"]);
    for (heading, lines) in tui::default_keys() {
        roff.control("SS", [heading]);
        lines.iter().for_each(|(keys, about)| item(&mut roff, keys, about));
    }
    roff.control("SH", ["COMMANDS"]);
    for (usage, about) in slash::entries(false) {
        let command = slash::COMMANDS.iter().find(|command| command.usage() == usage);
        let text = command.map_or_else(|| about.to_owned(), slash::about);
        let end = match command {
            Some(command) if !command.line_mode => " (on the screen only)",
            Some(_) | None => "",
        };
        item(&mut roff, &usage, &format!("{text}{end}"));
    }
    refer(&mut roff, &[("moot", 1), ("moot-join", 1)]);
    page(KEYS, 7, (version, "Miscellaneous"), "keys and commands of the screen", &roff)
}
