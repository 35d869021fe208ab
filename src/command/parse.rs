//! Reading of the command line, and its errors.

use std::{ffi::OsString, process::ExitCode};

use clap::{
    CommandFactory, FromArgMatches, Parser, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{
    args::{Cli, Color, definition, gather},
    exit_code::{Exit, Failure},
    output::Output,
};
use crate::chat::text::shown;

/// Reads the command line; errors in it, or help, are printed here.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    let json = args.iter().take_while(|a| *a != "--").any(|a| a == "--json");
    // The definitions are made once more for that: only where it is needed.
    let args = match args.iter().any(|word| word == "--exec") {
        true => gather(&Cli::command(), args),
        false => args,
    };
    match Cli::try_parse_from(&args) {
        Ok(mut cli) => {
            if cli.global.server_given.as_deref() == Some("") && names_empty_server(&args) {
                let text = "--server: the name is empty; omit the option for the default server";
                Output::error(&Failure::new(Exit::Usage, text), json);
                return Err(Exit::Usage.into());
            }
            cli.global.settle();
            Ok(cli)
        }
        Err(e) => {
            let e = in_full(&args, e);
            let explained = match e.kind() {
                ErrorKind::InvalidUtf8 => not_utf8(&args, |name| std::env::var_os(name)),
                ErrorKind::UnknownArgument => command_without_dashes(&args, &e),
                _ => None,
            };
            let Some(text) = explained else { return Err(tell(&e, json, color_of(&args))) };
            Output::error(&Failure::new(Exit::Usage, text), json);
            Err(Exit::Usage.into())
        }
    }
}

/// Returns true if the command line names an empty server; an empty environment variable is none.
fn names_empty_server(args: &[OsString]) -> bool {
    let given = Cli::command().try_get_matches_from(args);
    given.is_ok_and(|found| {
        let mut matches = &found;
        loop {
            if matches.value_source("server_given") == Some(ValueSource::CommandLine) {
                return true;
            }
            match matches.subcommand() {
                Some((_, below)) => matches = below,
                None => return false,
            }
        }
    })
}

/// The environment variables that are read as arguments.
const VARIABLES: &[&str] = &["MOOT_SERVER", "MOOT_AS"];

/// Names the argument or variable that is not UTF-8.
fn not_utf8(args: &[OsString], variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let bad = |word: &OsString| word.to_str().is_none();
    // What follows `--` of `run` may be anything.
    let own = args.iter().enumerate().skip(1).take_while(|(_, word)| *word != "--");
    let argument = own.into_iter().find(|(_, word)| bad(word)).map(|(at, word)| {
        format!(
            "argument {at} ({}) is not UTF-8; write it in UTF-8",
            shown(&word.to_string_lossy(), false)
        )
    });
    argument.or_else(|| {
        let name = VARIABLES.iter().find(|name| variable(name).as_ref().is_some_and(bad))?;
        Some(format!("the environment variable {name} is not UTF-8; unset it, or set it in UTF-8"))
    })
}

/// `moot run ROOM make -j8` lacks the dashes that divide the command's own flags from those of
/// moot.
fn command_without_dashes(args: &[OsString], e: &clap::Error) -> Option<String> {
    let is_run =
        args.iter().skip(1).find(|word| !word.to_string_lossy().starts_with('-'))? == "run";
    let Some(ContextValue::String(word)) = e.get(ContextKind::InvalidArg) else { return None };
    if !is_run || args.iter().any(|word| word == "--") {
        return None;
    }
    let at = args.iter().position(|arg| arg.to_str() == Some(word))?;
    let words = |words: &[OsString]| {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        shown(&words.join(" "), false).into_owned()
    };
    Some(format!(
        "unexpected argument '{}'; put the command of `run` after --: moot {} -- {}",
        shown(word, false),
        words(&args[1..at]),
        words(&args[at..]),
    ))
}

/// Parses once more with all that help has: commands that run as typed need none of it.
fn in_full(args: &[OsString], first: clap::Error) -> clap::Error {
    let mut definition = definition();
    let matches = definition.try_get_matches_from_mut(args);
    let Err(mut e) = matches.and_then(|found| Cli::from_arg_matches(&found)) else { return first };
    e = e.with_cmd(&definition);
    if let Some(ContextValue::String(word)) = e.get(ContextKind::InvalidSubcommand)
        && let Some(meant) = super::manual::suggestion_for(word, &definition)
    {
        let meant = ContextValue::Strings(vec![meant.to_owned()]);
        e.insert(ContextKind::SuggestedSubcommand, meant);
    }
    e
}

/// The last `--color` of a command line that may be wrong.
fn color_of(args: &[OsString]) -> Color {
    let words: Vec<_> =
        args.iter().take_while(|word| *word != "--").map(|word| word.to_string_lossy()).collect();
    let value = |at: usize| match words[at].strip_prefix("--color") {
        Some("") => words.get(at + 1).map(AsRef::as_ref),
        Some(value) => value.strip_prefix('='),
        None => None,
    };
    let wished = (0..words.len()).filter_map(value);
    wished.filter_map(|word| Color::from_str(word, false).ok()).next_back().unwrap_or(Color::Auto)
}

fn tell(e: &clap::Error, json: bool, color: Color) -> ExitCode {
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = e.render();
            let Err(failure) = Output::help(&text.to_string(), &text.ansi().to_string(), color)
            else {
                return Exit::Done.into();
            };
            Output::error(&failure, json);
            failure.exit.into()
        }
        _ if json => {
            Output::error(&Failure::new(Exit::Usage, in_one_line(&e.render().to_string())), true);
            Exit::Usage.into()
        }
        _ => {
            let text = e.render();
            Output::usage(&text.to_string(), &text.ansi().to_string(), color);
            Exit::Usage.into()
        }
    }
}

/// Returns the error, without the usage that follows it.
fn in_one_line(rendered: &str) -> String {
    let text = rendered.trim_start_matches("error: ");
    let lines = text.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:"));
    let lines = lines.filter(|l| !l.starts_with("For more information"));
    lines.filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::names::Label,
        command::{args::Verb, time::Moment},
    };

    fn cli(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|mut cli| {
            cli.global.settle();
            cli
        })
    }

    #[cfg(unix)]
    #[test]
    fn argument_that_is_not_utf_8_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let bad = || OsString::from_vec(b"h\xffi".to_vec());
        let args = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut with = args(&["moot", "send", "dev"]);
        with.push(bad());
        let told = not_utf8(&with, |_| None).unwrap();
        assert!(told.starts_with("argument 3 (h\u{fffd}i) is not UTF-8"), "{told}");
        let variable = |name: &str| (name == "MOOT_AS").then(bad);
        let told = not_utf8(&args(&["moot", "who"]), variable).unwrap();
        assert!(told.contains("variable MOOT_AS is not UTF-8"), "{told}");
        // The command of `run` is not named for a variable.
        let mut run = args(&["moot", "run", "dev", "--"]);
        run.push(bad());
        assert!(not_utf8(&run, variable).unwrap().contains("MOOT_AS"));
    }

    #[test]
    fn command_of_run_without_dashes_is_explained() {
        let told = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let e = Cli::try_parse_from(&args).unwrap_err();
            command_without_dashes(&args, &e)
        };
        for (line, wanted) in [
            ("moot run room make -j8", "moot run room -- make -j8"),
            ("moot --json run room --tail 3 make", "moot --json run room --tail 3 -- make"),
            ("moot run -q room ls", "moot run -q room -- ls"),
        ] {
            let told = told(line).unwrap();
            assert!(told.ends_with(wanted), "{told}");
        }
        assert_eq!(told("moot send --bogus dev run"), None);
        assert_eq!(told("moot run room --bogus -- make"), None);
    }

    #[test]
    fn the_definitions_fit_each_other() {
        Cli::command().debug_assert();
        definition().debug_assert();
    }

    #[test]
    fn flags_go_before_and_after_the_verb() {
        for line in ["moot --json --as ci send dev hi", "moot send --json dev hi --as ci"] {
            let cli = cli(line).unwrap();
            assert!(cli.global.json);
            assert_eq!(cli.global.label, Some(Label::new("ci").unwrap()));
            let Verb::Send(send) = cli.verb else { panic!() };
            assert_eq!((send.target.to_string(), send.text), ("dev".into(), vec!["hi".to_owned()]));
        }
    }

    #[test]
    fn texts_may_be_dashes() {
        let text = |line| match cli(line).unwrap().verb {
            Verb::Send(send) => send.text,
            _ => panic!(),
        };
        assert_eq!(text("moot send dev -"), ["-"]);
        assert_eq!(text("moot send dev -- -x"), ["-x"]);
        assert_eq!(text("moot send @ann/ci hi you"), ["hi", "you"]);
    }

    #[test]
    fn every_option_that_takes_a_time_reads_the_same_forms() {
        use crate::command::time::Meaning;
        let read = |line: &str, written: &str| -> Result<Moment, clap::Error> {
            let words = line.split(' ').chain([written]);
            let verb = Cli::try_parse_from(words)?.verb;
            let (moment, when) = match verb {
                Verb::History(args) => (args.until, args.since),
                Verb::Listen(args) => (None, args.since),
                Verb::Wait(args) => (None, args.since),
                Verb::Search(args) => (None, args.since),
                Verb::Announce(args) => (args.at, None),
                _ => panic!("{line}"),
            };
            Ok(moment.unwrap_or_else(|| match when.unwrap().among(&[]).unwrap() {
                Meaning::Time(moment) => moment.clone(),
                Meaning::After(id) => panic!("{written} is {id}"),
            }))
        };
        let options = [
            "moot history dev --since",
            "moot history dev --until",
            "moot listen dev --since",
            "moot wait dev --since",
            "moot search x --since",
            "moot announce x --at",
        ];
        for option in options {
            for written in [
                "18:00",
                "18:00:30",
                "7:05",
                "2026-12-24",
                "2026-12-24 18:00",
                "2026-12-24 18:00:30",
                "2026-12-24T18:00",
                "2026-12-24T18:00:00Z",
                "2026-12-24T18:00:00.25+09:00",
                "2026-12-24 18:00[Asia/Seoul]",
                "2026-12-24 18:00 Europe/Berlin",
                "today",
                "tomorrow 18:00",
                "yesterday",
                "now",
                "1h30m",
                "90s",
                "2w",
                "1d",
            ] {
                let moment = read(option, written).unwrap();
                assert_eq!(Ok(moment), written.parse(), "{option} {written}");
            }
            for bad in
                ["", "soon", "1.5h", "9:05pm", "9999-12-31", "2026-12-24 25:00", "1795251600"]
            {
                assert!(read(option, bad).is_err(), "{option} {bad}");
            }
        }
    }

    #[test]
    fn every_option_that_takes_a_duration_reads_the_same_forms() {
        for option in [
            "moot who --timeout",
            "moot announce x --in",
            "moot announce x --expires",
            "moot listen dev --idle",
            "moot serve --idle-exit",
            "moot bench --for",
        ] {
            let read = |written| Cli::try_parse_from(option.split(' ').chain([written]));
            for good in ["500ms", "90s", "1h30m", "1h 30m", "2w", "1d"] {
                assert!(read(good).is_ok(), "{option} {good}");
            }
            for bad in ["", "5", "1.5h", "30m1h", "1h30", "-1h", "18:00"] {
                assert!(read(bad).is_err(), "{option} {bad}");
            }
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for bad in [
            "moot send .dev hi",
            "moot send dev hi --require x",
            "moot send dev hi --timeout 5",
            "moot listen",
            "moot listen dev --match (",
            "moot listen dev --count 0",
            "moot join a/b",
            "moot --as a/b who",
            "moot announce --require some hi",
            "moot nonsense",
        ] {
            assert!(cli(bad).is_err(), "{bad}");
        }
    }
}
