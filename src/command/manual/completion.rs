//! Completion: the shell asks the program itself, which looks into the presence table.
//!
//! No word goes to a server, and none is started. What can't be found out is not offered, and nothing is
//! said: whoever completes is in the middle of a line.

use std::{
    any::TypeId,
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    path::Path,
    process::ExitCode,
};

use clap::{Arg, Command};
use clap_complete::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, engine::ValueCompleter, env::Shells,
};

use crate::{
    chat::{
        names::{RoomName, Target, UserName},
        roster::Row,
    },
    command::{
        args::{self, Color, ListenTarget, Somebody},
        exit::Exit,
        output::Output,
    },
    config,
    limits::COMPLETIONS_MAX,
    os,
    presence::Snapshot,
};

/// Set by the shell's script, to the name of the shell.
const VARIABLE: &str = "MOOT_COMPLETE";
/// Bash divides words where the program does not: its script is our own.
const BASH: &str = include_str!("moot.bash");

/// What a shell reads to ask this program from then on.
pub(super) fn script(shell: &str) -> Result<String, String> {
    if shell == "bash" {
        return Ok(BASH.replace("VARIABLE", VARIABLE));
    }
    let known = Shells::builtins();
    let completer = known.completer(shell).ok_or_else(|| format!("no shell {shell}"))?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "moot", "moot", "moot", &mut script)
        .map_err(|e| e.to_string())?;
    let script = String::from_utf8_lossy(&script).trim().to_owned() + "\n";
    Ok(if shell == "zsh" { for_fpath(&script) } else { script })
}

/// A file of zsh's `$fpath` is run as the function itself at its first use.
fn for_fpath(script: &str) -> String {
    let register = "compdef _clap_dynamic_completer_moot moot";
    let either = format!(
        "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n    \
         _clap_dynamic_completer_moot \"$@\"\nelse\n    {register}\nfi"
    );
    script.replace(register, &either)
}

/// Answers a shell that completes a line; none if it is not asked.
pub(in crate::command) fn complete() -> Option<ExitCode> {
    let shell = env::var_os(VARIABLE).filter(|shell| !shell.is_empty())?;
    // Whatever fails, the line stays as it is.
    let text = answer(&shell).unwrap_or_default();
    Some(
        Output::help(&text, &text, Color::Never)
            .map_or_else(|failure| failure.exit, |()| Exit::Done)
            .into(),
    )
}

fn answer(shell: &OsStr) -> io::Result<String> {
    let unknown = || io::Error::other("no such shell");
    let shell = shell.to_str().ok_or_else(unknown)?;
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(unknown)?;
    let words: Vec<OsString> = env::args_os().skip_while(|arg| arg != "--").skip(1).collect();
    let index = env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse().ok());
    let index = index.unwrap_or(words.len().saturating_sub(1)).min(words.len());
    let mut offer = Offer::of(&words, index);
    // PowerShell has a meaning of its own for a word that begins with `@`.
    offer.user_sign = if completer.is("powershell") { "user:" } else { "@" };
    let asks_for_flags = words.get(index).is_some_and(|word| !word.is_empty());
    let mut text = Vec::new();
    let current = env::current_dir().ok();
    let mut command = completing(args::definition(), &offer, "");
    completer.write_complete(&mut command, words, current.as_deref(), &mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    // Flags are offered to who begins one: between the rooms they would only be in the way.
    let kept = text.lines().filter(|line| asks_for_flags || !line.starts_with('-'));
    Ok(kept.take(COMPLETIONS_MAX).map(|line| format!("{line}\n")).collect())
}

/// Which server's names are offered, and how a user is written.
#[derive(Debug, Clone)]
struct Offer {
    server: Option<String>,
    user_sign: &'static str,
}

/// What a name can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    rooms: bool,
    users: bool,
    labels: bool,
}

impl Offer {
    /// The server that the line names before the word that is completed, else that of the environment.
    fn of(words: &[OsString], index: usize) -> Self {
        let mut server = env::var("MOOT_SERVER").ok();
        let mut before = words.iter().take(index).map(|word| word.to_string_lossy());
        while let Some(word) = before.next().filter(|word| word != "--") {
            if word == "--server" {
                server = before.next().map(Into::into).or(server);
            } else if let Some(named) = word.strip_prefix("--server=") {
                server = Some(named.to_owned());
            }
        }
        Self { server: server.filter(|server| !server.is_empty()), user_sign: "@" }
    }

    fn rows(&self) -> Vec<Row> {
        let places = os::resolve(self.server.as_deref(), &config::environment());
        let table = places.ok().and_then(|places| Snapshot::read(&places).ok());
        table.map(|table| table.rows).unwrap_or_default()
    }

    fn names(&self, wanted: Wanted, begun: &str) -> BTreeSet<String> {
        let sign = if begun.starts_with("user:") { "user:" } else { self.user_sign };
        let mut names = BTreeSet::new();
        for row in self.rows().iter().filter(|row| !row.visitor) {
            if wanted.rooms {
                names.extend(row.rooms.iter().map(ToString::to_string));
            }
            if wanted.users {
                names.insert(format!("{sign}{}", row.user));
            }
            if let Some(label) = row.label.as_ref().filter(|_| wanted.labels) {
                names.insert(format!("{sign}{}/{label}", row.user));
            }
        }
        names.retain(|name| name.starts_with(begun));
        names
    }

    fn completer(&self, wanted: Wanted) -> ArgValueCompleter {
        let offer = self.clone();
        ArgValueCompleter::new(move |begun: &OsStr| {
            let names = offer.names(wanted, &begun.to_string_lossy());
            names.into_iter().take(COMPLETIONS_MAX).map(CompletionCandidate::new).collect()
        })
    }
}

/// The definitions with what completes each value, by its type: a new verb needs no line here.
fn completing(command: Command, offer: &Offer, words: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let mut command = command;
    for name in names {
        let words = format!("{words} {name}");
        command = command.mut_subcommand(&name, |sub| completing(sub, offer, &words));
    }
    // The name of a room that is made is not that of one which is there.
    let new_room = words == " room create";
    command.mut_args(|arg| match wanted(&arg) {
        Some(wanted) if !new_room => arg.add(offer.completer(wanted)),
        _ if arg.get_id() == "server_given" => arg.add(ArgValueCompleter::new(servers)),
        _ if names_a(&arg, "FILE") => arg.add(ArgValueCompleter::new(PathCompleter::file())),
        _ if names_a(&arg, "DIR") => arg.add(ArgValueCompleter::new(PathCompleter::dir())),
        _ => arg,
    })
}

fn names_a(arg: &Arg, what: &str) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == what))
}

fn wanted(arg: &Arg) -> Option<Wanted> {
    let of = arg.get_value_parser().type_id();
    let is = |ty: TypeId| of == ty;
    let kinds = [
        (TypeId::of::<RoomName>(), (true, false, false)),
        (TypeId::of::<Target>(), (true, true, true)),
        (TypeId::of::<ListenTarget>(), (true, true, false)),
        (TypeId::of::<UserName>(), (false, true, false)),
        (TypeId::of::<Somebody>(), (false, true, true)),
    ];
    let (_, (rooms, users, labels)) = kinds.into_iter().find(|(ty, _)| is(*ty))?;
    Some(Wanted { rooms, users, labels })
}

/// Names of the user's own servers, and directories once there is a `/`.
fn servers(begun: &OsStr) -> Vec<CompletionCandidate> {
    let text = begun.to_string_lossy();
    if os::is_directory(&text) {
        return PathCompleter::dir().complete(begun);
    }
    // All named servers have their places side by side.
    let Ok(one) = os::resolve_own(Some("x"), &config::environment(), false) else {
        return Vec::new();
    };
    let names: BTreeSet<String> = [&one.state, &one.runtime]
        .into_iter()
        .filter_map(|place| place.parent())
        .flat_map(directories)
        .filter(|name| name.starts_with(&*text) && name.parse::<RoomName>().is_ok())
        .collect();
    names.into_iter().take(COMPLETIONS_MAX).map(CompletionCandidate::new).collect()
}

fn directories(of: &Path) -> Vec<String> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).take(COMPLETIONS_MAX).collect()
}
