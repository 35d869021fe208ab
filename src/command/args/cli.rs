//! Commands and their common flags.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, Parser, Subcommand};

use super::{
    announce::{AnnounceArgs, NoticeVerb},
    ask::{AnswerArgs, AskArgs, WaitArgs},
    backup::{BackupArgs, ExportArgs, RestoreArgs},
    bench::BenchArgs,
    link::LinkArgs,
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
#[command(next_help_heading = "Global options")]
pub(in crate::command) struct Global {
    /// Use server NAME (own, host or another), or the one in DIR (if it contains a /)
    #[arg(
        long = "server",
        global = true,
        env = "MOOT_SERVER",
        hide_env_values = true,
        value_name = "NAME|DIR"
    )]
    pub(in crate::command) server_given: Option<String>,
    /// Act as USER/LABEL
    #[arg(
        long = "as",
        global = true,
        env = "MOOT_AS",
        hide_env_values = true,
        value_name = "LABEL",
        value_parser = label
    )]
    label_given: Option<OptionalLabel>,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    pub(in crate::command) json: bool,
    /// Print lines instead of opening the screen
    #[arg(long, global = true)]
    pub(in crate::command) plain: bool,
    /// Show times in UTC
    #[arg(long, global = true)]
    pub(in crate::command) utc: bool,
    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(in crate::command) quiet: bool,
    /// Print more on standard error
    #[arg(short, long, global = true)]
    pub(in crate::command) verbose: bool,
    /// Use colors WHEN (auto: on terminals)
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(in crate::command) color: Color,
    /// Give up after DUR (500ms, 90s, 10m, 1h30m), with exit code 124
    #[arg(long, global = true, value_name = "DUR")]
    pub(in crate::command) timeout: Option<Dur>,
    /// Never start a server
    #[arg(long, global = true)]
    pub(in crate::command) no_start: bool,
    /// Read the configuration from FILE
    #[arg(long, global = true, value_name = "FILE")]
    pub(in crate::command) config: Option<PathBuf>,
    #[arg(skip)]
    pub(in crate::command) server: Option<String>,
    #[arg(skip)]
    pub(in crate::command) label: Option<Label>,
}

/// Label of an option or environment variable; an empty one counts as absent.
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

/// Commands of `moot`.
#[derive(Debug, Subcommand)]
pub(in crate::command) enum Verb {
    /// Chat on the screen; without a terminal, send input lines and print messages
    Join(JoinArgs),
    /// Send a message
    Send(SendArgs),
    /// Print messages as they arrive
    Listen(ListenArgs),
    /// Wait until a message arrives, or a member comes or goes
    Wait(WaitArgs),
    /// Send a job and print the replies
    Ask(AskArgs),
    /// Run a program for each job in a room, and reply with its output
    Answer(AnswerArgs),
    /// Run a command, posting output to a room
    Run(RunArgs),
    /// Print earlier messages of a room or conversation
    History(HistoryArgs),
    /// Search messages in any language, even by partial word
    Search(SearchArgs),
    /// Print unread messages and mark them as read
    Read(ReadArgs),
    /// Print unread counts in one short line, for a shell prompt
    Badge,
    /// Send an announcement to all members, and print how many were reached
    Announce(AnnounceArgs),
    /// List, show, acknowledge or cancel announcements
    Notices {
        #[command(subcommand)]
        verb: NoticeVerb,
    },
    /// List members (from shared memory, even if the server is stopped or dead)
    Who(WhoArgs),
    /// List rooms: members, unread messages and topic
    Rooms,
    /// Create, describe, moderate, leave or delete a room
    Room {
        #[command(subcommand)]
        verb: RoomVerb,
    },
    /// Show all your sessions as away
    Away(Words),
    /// Show all your sessions as present
    Back,
    /// End your sessions (operators: any user's)
    Kick {
        /// User whose sessions to end: @USER or @USER/LABEL
        #[arg(value_name = "@USER")]
        who: Somebody,
    },
    /// End a session of yours (operators: any)
    Drop {
        /// Number of the session, as in `who --json`
        #[arg(value_parser = session_number)]
        session: u64,
    },
    /// Show health and counters of the server
    Status(StatusArgs),
    /// Look for problems: sockets, permissions, stale files, broadcast, versions, limits
    Doctor(DoctorArgs),
    /// Measure the speed of the server on this machine
    Bench(BenchArgs),
    /// Run a server in the foreground
    Serve(ServeArgs),
    /// Stop the server
    Stop,
    /// Copy the history to a file, even while the server runs
    Backup(BackupArgs),
    /// Replace the history with a backup (no server may run)
    Restore(RestoreArgs),
    /// Print messages as JSON, one object per line
    Export(ExportArgs),
    /// Carry rooms between the servers of several hosts, over NATS
    Link(LinkArgs),
    /// Print a shell script that completes commands, rooms and members
    Completions(CompletionsArgs),
    /// Write manual pages
    Man(ManArgs),
}

impl Verb {
    /// Returns true for commands that run long without printing, hold nothing, and have a reader.
    pub(in crate::command) fn prints_seldom(&self) -> bool {
        match self {
            Self::Who(args) => args.watch,
            Self::Status(args) => args.watch,
            Self::Wait(args) => args.gone.is_some() || args.here.is_some(),
            _ => false,
        }
    }
}

/// Returns the definition of the command line, with all texts of the help.
pub(in crate::command) fn definition() -> Command {
    crate::command::manual::dress(Cli::command())
}
