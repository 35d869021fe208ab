//! Manual pages: one a command, made from its definition, its examples and what is true of all.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use super::{
    examples::{self, EXIT_CODES, RUN_EXIT_CODES},
    help::{grouped, takes_time},
};
use crate::command::time::FORMS;

/// Name of the page about the configuration.
pub(super) const CONFIGURATION: &str = "moot.toml";
/// Name of the page about the screen.
pub(super) const KEYS: &str = "moot-keys";

/// A manual page.
#[derive(Debug)]
pub(super) struct Page {
    /// Name of the page, such as `moot-room-create`.
    pub(super) name: String,
    /// Section of the manual: 1 for commands.
    pub(super) section: u8,
    /// Content in roff.
    pub(super) text: String,
}

const ENVIRONMENT: &[(&str, &str)] = &[
    ("MOOT_SERVER", "Server to use, like --server: a name, or a directory if it has a slash."),
    ("MOOT_AS", "Label to use, like --as."),
    ("NO_COLOR", "Disables colors if not empty."),
    ("PAGER, VISUAL, EDITOR", "Programs that the screen uses to show and edit messages."),
    (
        "XDG_RUNTIME_DIR, XDG_STATE_HOME, XDG_CONFIG_HOME",
        "Directories of your user server: socket, history, configuration.",
    ),
];

const FILES: &[(&str, &str)] = &[
    ("/run/moot", "Socket and presence table of the system server."),
    ("/var/lib/moot", "Lock and history of the system server."),
    ("/etc/moot/moot.toml", "Configuration of the system server; moot.toml(5) describes each key."),
    (
        "$XDG_RUNTIME_DIR/moot",
        "Socket and presence table of your user server (if unset: /run/user/UID/moot or run/ \
         in its state directory).",
    ),
    ("$XDG_STATE_HOME/moot", "Its lock, history and log (if unset: ~/.local/state/moot)."),
    ("$XDG_CONFIG_HOME/moot/moot.toml", "Its configuration (if unset: ~/.config/moot/moot.toml)."),
    ("$XDG_CONFIG_HOME/moot/screen.toml", "Settings of the screen that `moot join` opens."),
    ("$XDG_STATE_HOME/moot/screen", "Drafts and settings of rooms on the screen."),
];

/// Returns the name of the page of these words.
pub(super) fn name(words: &[String]) -> String {
    let parts: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
    ["moot"].into_iter().chain(parts).collect::<Vec<_>>().join("-")
}

/// Returns the pages of commands, that of moot itself first.
pub(super) fn of_commands(definition: Command) -> Vec<Page> {
    // `moot help COMMAND` has no page for each of its words.
    let mut definition = definition.disable_help_subcommand(true);
    definition.build();
    let mut pages = Vec::new();
    add(&definition, "", &definition, &mut pages);
    pages
}

impl Page {
    /// Returns the file of this page. `man` looks for each section in a directory of that name, so
    /// a directory `man1` has the pages of other sections beside it.
    pub(super) fn path_in(&self, dir: &Path) -> PathBuf {
        let file = format!("{}.{}", self.name, self.section);
        match dir.file_name() {
            Some(name) if name == "man1" => {
                dir.with_file_name(format!("man{}", self.section)).join(file)
            }
            Some(_) | None => dir.join(file),
        }
    }

    /// Returns true if a user asks for this page by these words.
    pub(super) fn is_named(&self, words: &[String]) -> bool {
        self.name == name(words) || words == [self.name.as_str()]
    }
}

fn add(command: &Command, words: &str, top: &Command, pages: &mut Vec<Page>) {
    pages.push(page(command, words, top));
    for sub in shown(command) {
        add(sub, format!("{words} {}", sub.get_name()).trim_start(), top, pages);
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

fn page_name(words: &str) -> String {
    format!("moot {words}").trim_end().replace(' ', "-")
}

fn page(command: &Command, words: &str, top: &Command) -> Page {
    let name = page_name(words);
    let version = top.get_version().unwrap_or_default();
    let mut text = format!(
        ".\\\" Made by `moot man`.\n.TH \"{}\" \"1\" \"\" \"moot {version}\" \"User Commands\"\n\
         .nh\n.ad l\n",
        name.to_uppercase().replace('-', "\\-"),
    );
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]).text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
    roff.control("SH", ["SYNOPSIS"]);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let called = format!("moot {words}");
    let called = called.trim_end();
    roff.text([bold(called), roman(usage.strip_prefix(called).unwrap_or(usage))]);
    roff.control("SH", ["DESCRIPTION"]);
    let long = command.get_long_about().map_or_else(|| about.clone(), ToString::to_string);
    for paragraph in long.split("\n\n").chain(examples::remark(words)) {
        roff.control("PP", []).text([roman(sentence(&paragraph.replace('\n', " ")))]);
    }
    put(&mut text, &roff);
    text.push_str(&options(command, words.is_empty()));
    put(&mut text, &rest(command, words, top));
    Page { name, section: 1, text }
}

/// Everything after the flags.
fn rest(command: &Command, words: &str, top: &Command) -> Roff {
    let mut roff = Roff::new();
    if words.is_empty() {
        roff.control("SH", ["COMMANDS"]);
        for (heading, commands) in grouped(command) {
            roff.control("SS", [heading]);
            commands.iter().for_each(|(sub, about)| one_command(&mut roff, sub, about));
        }
    } else if command.has_subcommands() {
        roff.control("SH", ["COMMANDS"]);
        for sub in shown(command) {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            one_command(&mut roff, &format!("{words} {}", sub.get_name()), &about);
        }
    }
    if takes_time(command) {
        roff.control("SH", ["TIMES"]);
        FORMS.iter().for_each(|(form, means)| item(&mut roff, form, means));
    }
    let lines = examples::of(words);
    if !lines.is_empty() {
        roff.control("SH", ["EXAMPLES"]).control("EX", []);
        for line in lines {
            roff.text([roman(*line)]);
        }
        roff.control("EE", []);
    }
    roff.control("SH", ["EXIT STATUS"]);
    let codes = if words == "run" { RUN_EXIT_CODES } else { EXIT_CODES };
    for (code, means) in codes {
        item(&mut roff, &code.to_string(), means);
    }
    if words == "run" {
        item(&mut roff, "other", "The exit code of the command.");
    }
    if words.is_empty() {
        roff.control("SH", ["ENVIRONMENT"]);
        ENVIRONMENT.iter().for_each(|(name, means)| item(&mut roff, name, means));
        roff.control("SH", ["FILES"]);
        FILES.iter().for_each(|(path, means)| item(&mut roff, path, means));
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = see_also(command, words, top);
    for (index, other) in others.iter().enumerate() {
        let end = if index + 1 == others.len() { "" } else { "," };
        let section = match other.as_str() {
            CONFIGURATION => 5,
            KEYS => 7,
            _ => 1,
        };
        roff.text([bold(other), roman(format!("({section}){end}"))]);
    }
    roff
}

fn one_command(roff: &mut Roff, words: &str, about: &str) {
    roff.control("TP", []);
    if words == "help" {
        roff.text([bold("moot help")]);
    } else {
        roff.text([bold(page_name(words)), roman("(1)")]);
    }
    roff.text([roman(about)]);
}

fn item(roff: &mut Roff, name: &str, means: &str) {
    roff.control("TP", []).text([italic(name)]).text([roman(means)]);
}

/// Returns the parts of a command, else those beside it in its group; and moot itself.
fn see_also(command: &Command, words: &str, top: &Command) -> Vec<String> {
    let mut others: Vec<String> = Vec::new();
    let (parent, _) = words.rsplit_once(' ').unwrap_or(("", words));
    if !words.is_empty() {
        others.push("moot".to_owned());
    }
    if !parent.is_empty() {
        others.push(page_name(parent));
    } else if words.is_empty() || command.has_subcommands() {
        others.extend(
            shown(command).map(|sub| page_name(format!("{words} {}", sub.get_name()).trim_start())),
        );
    }
    let groups = grouped(top);
    let group = groups.iter().find(|(_, names)| names.iter().any(|(name, _)| *name == words));
    let beside = group.iter().flat_map(|(_, names)| names.iter().map(|(name, _)| *name));
    others.extend(beside.filter(|name| *name != words && *name != "help").map(page_name));
    let topics: &[&str] = match words {
        "" => &[CONFIGURATION, KEYS],
        "serve" => &[CONFIGURATION],
        "join" => &[KEYS],
        _ => &[],
    };
    others.extend(topics.iter().map(ToString::to_string));
    others
}

/// The flags as `clap_mangen` writes them; those of every command on the page of moot only.
fn options(command: &Command, top: bool) -> String {
    let command = command.clone().mut_args(|arg| {
        let hidden = arg.is_hide_set() || (arg.is_global_set() && !top);
        arg.hide(hidden)
    });
    let mut bytes = Vec::new();
    // Writing into memory does not fail.
    let _ = Man::new(command).render_options_section(&mut bytes);
    let mut text = without_preamble(&String::from_utf8_lossy(&bytes));
    if !top {
        let mut roff = Roff::new();
        roff.control("PP", []).text([
            roman("Global options such as --json, environment variables and files are listed in "),
            bold("moot"),
            roman("(1)."),
        ]);
        text.push_str(&without_preamble(&roff.render()));
    }
    text
}

pub(super) fn sentence(text: &str) -> String {
    if text.ends_with(['.', ')', ':']) { text.to_owned() } else { format!("{text}.") }
}

/// Appends a part of a page.
pub(super) fn put(text: &mut String, roff: &Roff) {
    if !text.contains(".ds Aq") {
        text.push_str(&Roff::new().render());
    }
    text.push_str(&without_preamble(&roff.render()));
}

/// Each part begins with the definition of the apostrophe: once is enough.
fn without_preamble(text: &str) -> String {
    let preamble = Roff::new().render();
    text.strip_prefix(preamble.as_str()).unwrap_or(text).to_owned()
}
