//! Commands and their common flags.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, Parser, Subcommand};

use super::{
    announce::{AnnounceArgs, NoticeVerb},
    ask::{AnswerArgs, AskArgs, WaitArgs},
    backup::{BackupArgs, ExportArgs, RestoreArgs},
    bench::BenchArgs,
    manual::{CompletionsArgs, ManArgs},
    past::{HistoryArgs, ReadArgs, SearchArgs},
    rooms::{RoomVerb, WhoArgs},
    run::RunArgs,
    server::{DoctorArgs, ServeArgs, StatusArgs},
    talk::{JoinArgs, ListenArgs, SendArgs, Words},
    values::{Color, Dur, Somebody, session_number},
};
use crate::chat::names::{Label, NameError};

/// Rooms, announcements and presence for the people, shells and daemons of one machine.
#[derive(Debug, Parser)]
#[command(
    name = "moot",
    version,
    max_term_width = 80,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub(in crate::command) struct Cli {
    #[command(flatten)]
    pub(in crate::command) global: Global,
    #[command(subcommand)]
    pub(in crate::command) verb: Verb,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(in crate::command) struct Global {
    /// Which server: own, host, a name, or a directory (with a /) that holds everything of it
    #[arg(
        long = "server",
        global = true,
        env = "MOOT_SERVER",
        hide_env_values = true,
        value_name = "NAME|DIR"
    )]
    pub(in crate::command) server_given: Option<String>,
    /// Be called USER/LABEL
    #[arg(long = "as", global = true, env = "MOOT_AS", hide_env_values = true, value_name = "LABEL", value_parser = label)]
    label_given: Option<OptionalLabel>,
    /// One JSON object a line
    #[arg(long, global = true)]
    pub(in crate::command) json: bool,
    /// Lines in place of the screen
    #[arg(long, global = true)]
    pub(in crate::command) plain: bool,
    /// Show times in UTC
    #[arg(long, global = true)]
    pub(in crate::command) utc: bool,
    /// Only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(in crate::command) quiet: bool,
    /// Say more on standard error
    #[arg(short, long, global = true)]
    pub(in crate::command) verbose: bool,
    /// Colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(in crate::command) color: Color,
    /// Give up after that time (500ms, 90s, 10m, 1h30m): exit code 124
    #[arg(long, global = true, value_name = "DUR")]
    pub(in crate::command) timeout: Option<Dur>,
    /// Never start a server
    #[arg(long, global = true)]
    pub(in crate::command) no_start: bool,
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub(in crate::command) config: Option<PathBuf>,
    #[arg(skip)]
    pub(in crate::command) server: Option<String>,
    #[arg(skip)]
    pub(in crate::command) label: Option<Label>,
}

/// An empty environment variable is none.
#[derive(Debug, Clone)]
struct OptionalLabel(Option<Label>);

fn label(written: &str) -> Result<OptionalLabel, NameError> {
    if written.is_empty() {
        Ok(OptionalLabel(None))
    } else {
        written.parse().map(|l| OptionalLabel(Some(l)))
    }
}

impl Global {
    pub(in crate::command) fn settle(&mut self) {
        self.server = self.server_given.take().filter(|s| !s.is_empty());
        self.label = self.label_given.take().and_then(|l| l.0);
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(in crate::command) enum Verb {
    /// Chat: on a terminal the screen, else say what is typed and show what is said
    Join(JoinArgs),
    /// Say something, once
    Send(SendArgs),
    /// Print what is said
    Listen(ListenArgs),
    /// Wait until something is said, or somebody comes or goes
    Wait(WaitArgs),
    /// Ask something, and print the replies
    Ask(AskArgs),
    /// Answer requests with what a program writes
    Answer(AnswerArgs),
    /// Run a command, with its output in a room
    Run(RunArgs),
    /// What was said before
    History(HistoryArgs),
    /// Find what was said, in any script, by part of a word
    Search(SearchArgs),
    /// What you have not read yet; marks it as read
    Read(ReadArgs),
    /// One short line for a shell prompt: what is unread
    Badge,
    /// Tell every member, and say honestly who was reached
    Announce(AnnounceArgs),
    /// Announcements: list them, show receipts, acknowledge, cancel
    Notices {
        #[command(subcommand)]
        verb: NoticeVerb,
    },
    /// Who is here (reads shared memory; works with the server stopped or dead)
    Who(WhoArgs),
    /// All rooms
    Rooms,
    /// Make, describe, rule or leave a room
    Room {
        #[command(subcommand)]
        verb: RoomVerb,
    },
    /// Show yourself as away in all your sessions
    Away(Words),
    /// End `away`
    Back,
    /// End a user's sessions (operators; your own always)
    Kick {
        /// @USER or @USER/LABEL
        #[arg(value_name = "@USER")]
        who: Somebody,
    },
    /// End one session (operators; your own always)
    Drop {
        /// Its number, as `who --json` has it
        #[arg(value_parser = session_number)]
        session: u64,
    },
    /// How the server is
    Status(StatusArgs),
    /// Look for what is wrong: sockets, permissions, stale files, broadcast, versions, limits
    Doctor(DoctorArgs),
    /// Measure how fast the server is on this machine
    Bench(BenchArgs),
    /// Run the server in the foreground
    Serve(ServeArgs),
    /// End the server
    Stop,
    /// Copy the history to a file, also while the server runs
    Backup(BackupArgs),
    /// Replace the history by a backup (the server must not run)
    Restore(RestoreArgs),
    /// Print messages as JSON, one object per line
    Export(ExportArgs),
    /// Write what lets a shell complete commands, rooms and members
    Completions(CompletionsArgs),
    /// Write manual pages
    Man(ManArgs),
}

impl Verb {
    /// Returns true for commands that go on without printing, hold nothing, and have a reader.
    pub(in crate::command) fn prints_seldom(&self) -> bool {
        match self {
            Self::Who(args) => args.watch,
            Self::Status(args) => args.watch,
            Self::Wait(args) => args.gone.is_some() || args.here.is_some(),
            _ => false,
        }
    }
}

/// What can be written, with all that help says of it.
pub(in crate::command) fn definition() -> Command {
    crate::command::manual::dress(Cli::command())
}
