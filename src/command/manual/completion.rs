//! Completion: the shell asks the program itself, which looks into the presence table.
//!
//! Only the ids of announcements and messages are asked of a server, for a moment, and none is
//! started. Unknown values are not offered, and errors are not printed: the user is in the middle
//! of a line.

use std::{
    any::TypeId,
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Arg, Command};
use clap_complete::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, engine::ValueCompleter, env::Shells,
};

use super::page::CONFIGURATION;
use crate::{
    chat::{
        member::Kind,
        message::{AnnouncementId, Message, MessageId},
        names::{RoomName, Target, UserName},
        presence_row::Row,
    },
    client::{Link, LinkError},
    command::{
        args::{self, Color, ListenTarget, Somebody},
        connect::open,
        exit_code::Exit,
        output::Output,
    },
    config,
    limits::COMPLETIONS_MAX,
    os,
    presence::Snapshot,
    wire::hello::Hello,
};

/// Set by the shell's script, to the name of the shell.
const VARIABLE: &str = "MOOT_COMPLETE";
/// Bash divides words where the program does not: its script is our own.
const BASH: &str = include_str!("moot.bash");

/// Time that a server is waited for, while its user waits for the shell.
const SERVER_WAITS: Duration = Duration::from_millis(300);
/// Newest messages of a room whose ids are offered.
const NEWEST_MESSAGES: u64 = 20;

/// Returns the script by which a shell asks this program from then on.
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
    let mut offer = Suggestion::of(&words, index);
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

/// Server whose names are offered, and form of a user's name.
#[derive(Debug, Clone)]
struct Suggestion {
    server: Option<String>,
    user_sign: &'static str,
    /// The word before the one that is completed.
    previous: String,
    /// Room or user that the line names.
    target: Option<Target>,
}

/// Kinds of names that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    rooms: bool,
    users: bool,
    labels: bool,
}

impl Suggestion {
    /// The server that the line names before the word that is completed, else that of the
    /// environment.
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
        let server = server.filter(|server| !server.is_empty());
        let previous = index.checked_sub(1).and_then(|index| words.get(index));
        let previous = previous.map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let target = target_in(words, index);
        Self { server, user_sign: "@", previous, target }
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
            if row.label.is_some() && wanted.labels {
                names.insert(format!("{sign}{}", row.handle()));
            }
        }
        names.retain(|name| name.starts_with(begun));
        names
    }

    /// The first word of another program's command line, or a file that follows it.
    fn programs(&self) -> ArgValueCompleter {
        let is_first = ["--", "--exec"].contains(&&*self.previous);
        ArgValueCompleter::new(move |begun: &OsStr| {
            let text = begun.to_string_lossy();
            if !is_first || text.contains(std::path::MAIN_SEPARATOR) {
                return PathCompleter::any().complete(begun);
            }
            let dirs = env::var_os("PATH").unwrap_or_default();
            let files =
                env::split_paths(&dirs).flat_map(|dir| fs::read_dir(dir).into_iter().flatten());
            let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
            candidates(names.filter(|name| name.starts_with(&*text)).collect())
        })
    }

    /// Announcements that the server knows, as `!3`, or as `3` for a number that is begun.
    fn notices(&self) -> ArgValueCompleter {
        let offer = self.clone();
        ArgValueCompleter::new(move |begun: &OsStr| {
            let text = begun.to_string_lossy();
            let is_bare = text.starts_with(|c: char| c.is_ascii_digit());
            let ids = offer.notice_ids().unwrap_or_default().into_iter();
            let ids = ids.map(|id| id.to_string());
            let names = ids.map(|id| if is_bare { id.replace('!', "") } else { id });
            candidates(names.filter(|name| name.starts_with(&*text)).collect())
        })
    }

    fn link(&self) -> Option<Link> {
        let places = os::resolve(self.server.as_deref(), &config::environment()).ok()?;
        let hello = Hello::new(None, Kind::Script, os::random_bytes().ok()?);
        let mut link = Link::open(open(&places, SERVER_WAITS).ok()?, &hello);
        link.set_deadline(Some(Instant::now() + SERVER_WAITS));
        Some(link)
    }

    fn notice_ids(&self) -> Option<Vec<AnnouncementId>> {
        let mut link = self.link()?;
        let notices = link.notices().ok()?;
        link.quit();
        Some(notices.into_iter().map(|notice| notice.id).collect())
    }

    /// Ids of the newest messages of the room or user that the line names, the newest first.
    fn messages(&self) -> ArgValueCompleter {
        let offer = self.clone();
        ArgValueCompleter::new(move |begun: &OsStr| {
            let text = begun.to_string_lossy();
            let ids = offer.message_ids().unwrap_or_default().into_iter().rev();
            let ids = ids.map(|id| id.to_string()).filter(|id| id.starts_with(&*text));
            ids.map(CompletionCandidate::new).collect()
        })
    }

    fn message_ids(&self) -> Option<Vec<MessageId>> {
        let target = self.target.as_ref()?;
        let mut link = self.link()?;
        let span = link.span(target).ok()?;
        let first = span.head.saturating_sub(NEWEST_MESSAGES - 1).max(span.first);
        let mut ids = Vec::new();
        let each = |message: Message| -> Result<(), LinkError> {
            ids.push(message.id);
            Ok(())
        };
        link.messages(target, &span, (first, span.head), each).ok()?;
        link.quit();
        Some(ids)
    }

    /// Numbers of the sessions, each with its name for shells that show it.
    fn sessions(&self) -> ArgValueCompleter {
        let offer = self.clone();
        ArgValueCompleter::new(move |begun: &OsStr| {
            let text = begun.to_string_lossy();
            let mut rows = offer.rows();
            rows.retain(|row| !row.visitor && row.session.0.to_string().starts_with(&*text));
            rows.sort_by_key(|row| row.session);
            let candidate = |row: &Row| {
                let name = row.handle().to_string();
                CompletionCandidate::new(row.session.0.to_string()).help(Some(name.into()))
            };
            rows.iter().take(COMPLETIONS_MAX).map(candidate).collect()
        })
    }

    fn completer(&self, wanted: Wanted) -> ArgValueCompleter {
        let offer = self.clone();
        ArgValueCompleter::new(move |begun: &OsStr| {
            candidates(offer.names(wanted, &begun.to_string_lossy()))
        })
    }
}

/// Returns the room or user of a line: its first word that is neither a command, an option nor
/// the value of an option.
fn target_in(words: &[OsString], index: usize) -> Option<Target> {
    let definition = args::definition();
    let mut command = &definition;
    let mut is_value = false;
    for (at, word) in words.iter().enumerate().skip(1) {
        let word = word.to_str()?;
        if std::mem::take(&mut is_value) || at == index {
            continue;
        }
        if let Some(name) = word.strip_prefix("--") {
            let mut known = command.get_arguments().chain(definition.get_arguments());
            let arg = known.find(|arg| arg.get_long() == Some(name));
            is_value = arg.is_some_and(|arg| arg.get_action().takes_values());
        } else if let Some(sub) = command.find_subcommand(word) {
            command = sub;
        } else if !word.starts_with('-') {
            return word.parse().ok();
        }
    }
    None
}

fn candidates(names: BTreeSet<String>) -> Vec<CompletionCandidate> {
    names.into_iter().take(COMPLETIONS_MAX).map(CompletionCandidate::new).collect()
}

/// Commands of which there is a page.
fn commands() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let text = begun.to_string_lossy();
        let all = args::definition();
        let names = all.get_subcommands().map(|command| command.get_name().to_owned());
        let names = names.chain(["keys", CONFIGURATION].map(str::to_owned));
        candidates(names.filter(|name| name.starts_with(&*text)).collect())
    })
}

/// The definitions with what completes each value, by its type: a new verb needs no line here.
fn completing(command: Command, offer: &Suggestion, words: &str) -> Command {
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
        _ if arg.get_value_parser().type_id() == TypeId::of::<AnnouncementId>() => {
            arg.add(offer.notices())
        }
        _ if arg.get_value_parser().type_id() == TypeId::of::<MessageId>() => {
            arg.add(offer.messages())
        }
        _ if words == " drop" && arg.get_id() == "session" => arg.add(offer.sessions()),
        _ if names_a(&arg, "CMD") => arg.add(offer.programs()),
        _ if words == " man" && names_a(&arg, "COMMAND") => arg.add(commands()),
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

/// Names of the user servers, and directories once there is a `/`.
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
    candidates(names)
}

fn directories(of: &Path) -> Vec<String> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).take(COMPLETIONS_MAX).collect()
}
