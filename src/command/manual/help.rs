//! Help as `moot help` shows it: commands by purpose, examples, and suggestions for unknown words.

use std::fmt::Write as _;

use clap::{Command, builder::StyledStr};
use unicode_width::UnicodeWidthStr;

use super::{
    examples::{self, EXIT_CODES},
    groups::{GROUPS, MEANT},
};
use crate::{command::time::FORMS, limits::HELP_COLUMNS};

/// Returns the definition with examples at each command, and the commands in groups at the top.
///
/// It is built only for help and for wrong command lines, not at each start.
pub(in crate::command) fn dress(command: Command) -> Command {
    let grouped = grouped(&command);
    let command = with_examples(command, "");
    let styles = command.get_styles().clone();
    let header = |text: &str| {
        let style = styles.get_header();
        format!("{style}{text}:{style:#}")
    };
    let mut template = format!("{{about-with-newline}}\n{} {{usage}}\n", header("Usage"));
    for (heading, commands) in grouped {
        let _ = write!(template, "\n{}\n", header(heading));
        for line in rows(&commands, |name| {
            let style = styles.get_literal();
            format!("{style}{name}{style:#}")
        }) {
            let _ = writeln!(template, "{line}");
        }
    }
    let _ = write!(template, "\n{}\n{{options}}{{after-help}}", header("Global options"));
    command.help_template(StyledStr::from(template)).after_help(after_top())
}

/// Returns the command that an unknown word usually means.
pub(in crate::command) fn suggestion_for(word: &str, command: &Command) -> Option<&'static str> {
    let word = word.to_lowercase();
    let (_, meant) = MEANT.iter().find(|(typed, _)| *typed == word)?;
    exists(command, meant).then_some(*meant)
}

fn exists(command: &Command, words: &str) -> bool {
    let mut words = words.split(' ');
    words.try_fold(command, |command, word| command.find_subcommand(word)).is_some()
}

/// Returns the groups with those of their commands that exist, each with its first line of help.
pub(super) fn grouped(command: &Command) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let about = |name: &str| match command.find_subcommand(name) {
        Some(found) => Some(found.get_about().map(ToString::to_string).unwrap_or_default()),
        None if name == "help" => Some("Show this help, or the help of a command".to_owned()),
        None => None,
    };
    let of_group = |names: &[&'static str]| -> Vec<_> {
        names.iter().filter_map(|name| Some((*name, about(name)?))).collect()
    };
    let groups = GROUPS.iter().map(|(heading, names)| (*heading, of_group(names)));
    groups.filter(|(_, commands)| !commands.is_empty()).collect()
}

/// Returns rows of two columns; a long text continues in the second column.
fn rows(commands: &[(&'static str, String)], name: impl Fn(&str) -> String) -> Vec<String> {
    let names = GROUPS.iter().flat_map(|(_, names)| names.iter());
    let width = names.map(|name| name.width()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (command, about) in commands {
        let blank = " ".repeat(width - command.width());
        let mut begin = format!("  {}{blank}  ", name(command));
        for part in wrapped(about, HELP_COLUMNS - width - 4) {
            lines.push(format!("{begin}{part}"));
            begin = " ".repeat(width + 4);
        }
    }
    lines
}

/// Returns a text in lines of at most `columns` columns, cut at spaces.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits =
            lines.last().is_some_and(|l| l.is_empty() || l.width() + 1 + word.width() <= columns);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn with_examples(command: Command, words: &str) -> Command {
    let inner =
        |name: &str| if words.is_empty() { name.to_owned() } else { format!("{words} {name}") };
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let mut command = command;
    for name in names {
        command = command.mut_subcommand(&name, |sub| with_examples(sub, &inner(&name)));
    }
    let times = if takes_time(&command) { times() } else { String::new() };
    match after(words) {
        Some(text) => command.after_help(times + &text),
        None => command,
    }
}

/// Returns true if a command has an option that takes a time.
pub(super) fn takes_time(command: &Command) -> bool {
    let mut names = command.get_arguments().filter_map(|arg| arg.get_value_names()).flatten();
    names.any(|name| name == "TIME" || name == "TIME|ID")
}

fn times() -> String {
    let width = FORMS.iter().map(|(form, _)| form.width()).max().unwrap_or(0);
    let mut text = "Times:\n".to_owned();
    for (form, meaning) in FORMS {
        let mut begin = format!("  {form:width$}  ");
        for line in wrapped(meaning, HELP_COLUMNS - width - 4) {
            let _ = writeln!(text, "{begin}{line}");
            begin = " ".repeat(width + 4);
        }
    }
    text + "\n"
}

fn after(words: &str) -> Option<String> {
    let lines = examples::of(words);
    if lines.is_empty() {
        return None;
    }
    let mut text = "Examples:".to_owned();
    for line in lines {
        let _ = write!(text, "\n  {line}");
    }
    if let Some(remark) = examples::remark(words) {
        let _ = write!(text, "\n\n{remark}");
    }
    Some(text)
}

fn after_top() -> String {
    let codes: Vec<_> = EXIT_CODES.iter().map(|(code, text)| format!("{code} {text}")).collect();
    let codes = wrapped(&format!("Exit codes: {}.", codes.join(" · ")), HELP_COLUMNS).join("\n");
    format!("{}\n\n{codes}", after("").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{args, manual::examples::EXAMPLES};

    fn definition() -> Command {
        args::definition()
    }

    /// Of each command that can be run: its words.
    fn commands(command: &Command, words: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let words = format!("{words} {}", sub.get_name()).trim().to_owned();
            commands(sub, &words, found);
            found.push(words);
        }
    }

    #[test]
    fn each_command_stands_in_one_group_and_has_examples() {
        let mut all = Vec::new();
        commands(&definition(), "", &mut all);
        assert!(all.len() > 30, "{all:?}");
        for words in &all {
            assert!(!examples::of(words).is_empty(), "{words} has no example");
            let fits = |line: &&str| line.width() + 2 <= HELP_COLUMNS;
            assert!(examples::of(words).iter().all(fits), "{words}: an example is too long");
            if !words.contains(' ') {
                let groups = GROUPS.iter().filter(|(_, names)| names.contains(&words.as_str()));
                assert_eq!(groups.count(), 1, "groups of {words}");
            }
        }
    }

    #[test]
    fn suggestions_are_commands_and_hide_no_command() {
        let known =
            |words: &str| EXAMPLES.iter().any(|(name, _)| *name == words) && !words.is_empty();
        for (typed, meant) in MEANT {
            assert!(known(meant), "{typed}: {meant}");
            assert!(definition().find_subcommand(typed).is_none(), "{typed} is a command");
        }
        let sorted = MEANT.is_sorted_by(|a, b| a.0 < b.0);
        assert!(sorted, "words stand once, and where they are looked for");
        assert_eq!(suggestion_for("Say", &definition()), Some("send"));
        assert_eq!(suggestion_for("nonsense", &definition()), None);
    }

    #[test]
    fn long_text_wraps_by_display_width() {
        assert_eq!(wrapped("점심 먹으러 갑시다", 11), ["점심 먹으러", "갑시다"]);
        assert_eq!(wrapped("", 5), [""]);
        let lines = rows(&[("who", "x ".repeat(60))], str::to_owned);
        assert!(lines.len() > 1 && lines.iter().all(|l| l.width() <= HELP_COLUMNS), "{lines:?}");
        assert!(lines[1].starts_with(&" ".repeat(15)), "{lines:?}");
    }
}
