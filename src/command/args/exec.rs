//! `--exec CMD…`: a program with its arguments, among the options of a command.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{Args, Command};

use crate::{
    command::exit_code::{Exit, Failure},
    limits::ANSWER_JOBS_MAX,
};

/// A program that is run for each message.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::command) struct ExecArgs {
    // One word that is split at spaces ('prog -x "a b"'); or, where the target comes before it, the
    // program and all words up to the next option of moot; or everything after `--exec --`. See
    // [`gather`].
    /// Run CMD for each message: a program with arguments, no shell; message on standard input,
    /// fields in MOOT_*
    #[arg(long = "exec", value_name = "CMD")]
    exec: Option<OsString>,
    /// Arguments of CMD, as [`gather`] writes them
    #[arg(long = "exec-arg", hide = true, allow_hyphen_values = true)]
    exec_args: Vec<OsString>,
    /// Run up to N programs at once; with 1, in message order
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=ANSWER_JOBS_MAX as i64)
    )]
    jobs: Option<u32>,
}

/// Program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct Program {
    pub(in crate::command) program: OsString,
    pub(in crate::command) args: Vec<OsString>,
}

impl ExecArgs {
    /// Returns the maximum number of programs that run at once.
    pub(in crate::command) fn jobs(&self) -> u32 {
        self.jobs.unwrap_or(1)
    }

    /// Returns the program to run; `None` without `--exec`.
    pub(in crate::command) fn program(&self) -> Result<Option<Program>, Failure> {
        let Some(written) = &self.exec else {
            return match self.jobs {
                None => Ok(None),
                Some(_) => Err(usage("--jobs needs --exec CMD")),
            };
        };
        let program = if self.exec_args.is_empty() {
            split(written)?
        } else {
            Program { program: written.clone(), args: self.exec_args.clone() }
        };
        if program.program.is_empty() {
            return Err(usage("--exec needs the name of a program"));
        }
        find(&program.program)?;
        Ok(Some(program))
    }
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, text)
}

/// Splits a word of the command line that may hold a program with arguments.
fn split(written: &OsStr) -> Result<Program, Failure> {
    let whole = || Program { program: written.to_owned(), args: Vec::new() };
    let Some(text) = written.to_str() else { return Ok(whole()) };
    if !text.contains(char::is_whitespace) || Path::new(written).is_file() {
        return Ok(whole());
    }
    // A backslash that separates path components is a plain character.
    let text = match std::path::MAIN_SEPARATOR {
        '\\' => text.replace('\\', "\\\\"),
        _ => text.to_owned(),
    };
    let words = shlex::split(&text);
    let mut words = words
        .ok_or_else(|| usage(format!("--exec {text}: a closing quotation mark is missing")))?
        .into_iter()
        .map(OsString::from);
    let program = words.next().unwrap_or_default();
    Ok(Program { program, args: words.collect() })
}

/// Refuses a name that is not a program before the command waits for messages.
fn find(program: &OsStr) -> Result<(), Failure> {
    let path = Path::new(program);
    let exists = |path: &Path| path.is_file() || path.with_extension("exe").is_file();
    let found = match path.components().count() {
        0 | 1 if !program.to_string_lossy().contains(std::path::is_separator) => {
            let dirs = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&dirs).any(|dir| exists(&dir.join(path)))
        }
        _ => exists(path),
    };
    match found {
        true => Ok(()),
        false => Err(usage(format!("--exec: program {} not found", path.display()))),
    }
}

/// Writes `--exec PROG ARG…` in a way that the parser reads as one option, see [`ExecArgs`].
pub(in crate::command) fn gather(command: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let global = takes_value(command);
    let Some(verb) = verb_at(&global, &args) else { return args };
    let name = args[verb].to_string_lossy();
    let Some(command) = command.find_subcommand(name.as_ref()) else { return args };
    if !command.get_arguments().any(|arg| arg.get_long() == Some("exec")) {
        return args;
    }
    let mut known = global;
    known.extend(takes_value(command));
    let mut rest = args[verb + 1..].iter().cloned();
    let mut out = args[..=verb].to_vec();
    let mut has_target = false;
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy().into_owned();
        if text == "--" {
            out.push(word);
            out.extend(rest);
            return out;
        }
        if text != "--exec" {
            has_target |= !text.starts_with('-') || text == "--announcements";
            let takes = known.get(text.trim_start_matches("--")).copied().unwrap_or(false);
            let value = (text.starts_with("--") && takes).then(|| rest.next()).flatten();
            out.push(word);
            out.extend(value);
            continue;
        }
        let Some(first) = rest.next() else {
            out.push(word);
            return out;
        };
        let all = first == "--";
        let first = if all { rest.next().unwrap_or_default() } else { first };
        out.push(joined("--exec=", &first));
        if !all && !has_target {
            continue;
        }
        let mut literal = all;
        while let Some(next) = rest.clone().next() {
            if !literal && next == "--" {
                // All words after it belong to the program.
                literal = true;
                rest.next();
                continue;
            }
            if !literal && is_known(&known, &next) {
                break;
            }
            out.push(joined("--exec-arg=", &next));
            rest.next();
        }
    }
    out
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(option);
    word.push(value);
    word
}

/// Returns the long options of a command, each with true if it takes a value.
fn takes_value(command: &Command) -> HashMap<String, bool> {
    let long = |arg: &clap::Arg| {
        let name = arg.get_long()?.to_owned();
        Some((name, arg.get_action().takes_values()))
    };
    command.get_arguments().filter_map(long).collect()
}

/// Returns the index of the command among the arguments.
fn verb_at(global: &HashMap<String, bool>, args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = args.get(at) {
        let text = word.to_string_lossy();
        match text.strip_prefix("--") {
            Some("") => return None,
            Some(name) if global.get(name).copied().unwrap_or(false) => at += 2,
            Some(_) => at += 1,
            None if text.starts_with('-') => at += 1,
            None => return Some(at),
        }
    }
    None
}

fn is_known(known: &HashMap<String, bool>, word: &OsStr) -> bool {
    let text = word.to_string_lossy();
    let Some(name) = text.strip_prefix("--") else { return false };
    known.contains_key(name.split('=').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::{Cli, Verb};
    use clap::{CommandFactory, Parser};

    fn exec(args: &[&str]) -> (Vec<String>, ExecArgs) {
        let args = ["moot"].iter().chain(args).map(OsString::from).collect();
        let args = gather(&Cli::command(), args);
        match Cli::try_parse_from(args).unwrap().verb {
            Verb::Listen(listen) => {
                let targets = listen.targets.iter().map(|t| format!("{t:?}")).collect();
                (targets, listen.exec)
            }
            _ => panic!(),
        }
    }

    fn program(args: &[&str]) -> Vec<String> {
        let (_, exec) = exec(args);
        let Some(written) = &exec.exec else { return Vec::new() };
        let program = match exec.exec_args.as_slice() {
            [] => split(written).unwrap(),
            args => Program { program: written.clone(), args: args.to_vec() },
        };
        let words = std::iter::once(program.program).chain(program.args);
        words.map(|w| w.into_string().unwrap()).collect()
    }

    #[test]
    fn program_with_arguments_is_read_in_all_usual_forms() {
        for (line, words) in [
            (&["listen", "dev", "--exec", "cat"][..], &["cat"][..]),
            (&["listen", "--exec", "cat", "dev"], &["cat"]),
            (&["listen", "--exec", "cat", "--count", "1", "dev"], &["cat"]),
            (
                &["listen", "dev", "--exec", "sh", "-c", "x | y", "--count", "2"],
                &["sh", "-c", "x | y"],
            ),
            (&["listen", "dev", "--exec", "sh -c 'x | y'", "--count=2"], &["sh", "-c", "x | y"]),
            (&["--timeout", "5s", "listen", "dev", "--exec=a b", "--json"], &["a", "b"]),
            (&["listen", "dev", "--exec", "curl", "--silent", "url"], &["curl", "--silent", "url"]),
            (&["listen", "dev", "--exec", "--", "grep", "--color", "x"], &["grep", "--color", "x"]),
            (&["listen", "dev", "--exec", "grep", "--", "--json"], &["grep", "--json"]),
            (&["listen", "--announcements", "--exec", "say", "it"], &["say", "it"]),
            (&["listen", "--count", "1", "dev", "--exec", "a", "-v"], &["a", "-v"]),
        ] {
            assert_eq!(program(line), words, "{line:?}");
        }
        let (targets, exec) = exec(&["listen", "--exec", "cat", "dev", "--jobs", "3"]);
        assert_eq!((targets.len(), exec.jobs()), (1, 3));
    }

    #[test]
    fn program_that_can_not_run_is_refused_at_once() {
        let exec = |words: &[&str]| {
            let args = ["moot", "listen", "dev", "--exec"].iter().chain(words);
            let args = gather(&Cli::command(), args.map(OsString::from).collect());
            match Cli::try_parse_from(args).unwrap().verb {
                Verb::Listen(listen) => listen.exec.program(),
                _ => panic!(),
            }
        };
        for (bad, why) in
            [("no-such-program", "not found"), ("sh -c 'x", "quotation"), ("", "name")]
        {
            let failure = exec(&[bad]).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.text.contains(why), "{}", failure.text);
        }
    }
}
