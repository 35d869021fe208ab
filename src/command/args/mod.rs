//! The only clap: what can be written on the command line.

mod ask;
mod backup;
mod exec;
mod manual;
mod run;

use std::{ffi::OsString, fmt, path::PathBuf, process::ExitCode, str::FromStr, time::Duration};

use clap::{
    Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use regex::Regex;

use super::{
    exit_code::{Exit, Failure},
    output::Output,
    time::{Moment, When},
};
use crate::{
    chat::{
        member::{Kind, Level},
        message::{MessageId, NoticeId},
        names::{Label, NameError, RoomName, Target, UserName},
        text::{Text, TextError, shown},
    },
    config,
    limits::{BENCH_MEMBERS_MAX, BENCH_SENDERS_MAX, TEXT_BYTES_MAX, WILL_ROOMS_MAX},
};

pub(super) use self::{
    ask::{AnswerArgs, AskArgs, WaitArgs},
    backup::{BackupArgs, ExportArgs, RestoreArgs},
    exec::{ExecArgs, Program},
    manual::{CompletionsArgs, ManArgs},
    run::RunArgs,
};

/// Rooms, announcements and presence for the people, shells and daemons of one machine.
#[derive(Debug, Parser)]
#[command(
    name = "moot",
    version,
    max_term_width = 80,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Global {
    /// Which server: own, host, a name, or a directory (with a /) that holds everything of it
    #[arg(
        long = "server",
        global = true,
        env = "MOOT_SERVER",
        hide_env_values = true,
        value_name = "NAME|DIR"
    )]
    server_given: Option<String>,
    /// Be called USER/LABEL
    #[arg(long = "as", global = true, env = "MOOT_AS", hide_env_values = true, value_name = "LABEL", value_parser = label)]
    label_given: Option<OptionalLabel>,
    /// One JSON object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Lines in place of the screen
    #[arg(long, global = true)]
    pub(super) plain: bool,
    /// Show times in UTC
    #[arg(long, global = true)]
    pub(super) utc: bool,
    /// Only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Say more on standard error
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
    /// Colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(super) color: Color,
    /// Give up after that time (500ms, 90s, 10m, 1h30m): exit code 124
    #[arg(long, global = true, value_name = "DUR")]
    pub(super) timeout: Option<Dur>,
    /// Never start a server
    #[arg(long, global = true)]
    pub(super) no_start: bool,
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[arg(skip)]
    pub(super) server: Option<String>,
    #[arg(skip)]
    pub(super) label: Option<Label>,
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
    fn settle(&mut self) {
        self.server = self.server_given.take().filter(|s| !s.is_empty());
        self.label = self.label_given.take().and_then(|l| l.0);
    }
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

/// A duration with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dur(Duration);

impl FromStr for Dur {
    type Err = config::DurationError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        config::duration(text).map(Self)
    }
}

impl From<Dur> for Duration {
    fn from(dur: Dur) -> Self {
        dur.0
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
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
    pub(super) fn prints_seldom(&self) -> bool {
        match self {
            Self::Who(args) => args.watch,
            Self::Status(args) => args.watch,
            Self::Wait(args) => args.gone.is_some() || args.here.is_some(),
            _ => false,
        }
    }
}

/// `join`
#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// Rooms to be in; the first one is shown, or is where lines go
    #[arg(value_name = "ROOM")]
    pub(super) rooms: Vec<RoomName>,
    /// Show so many messages of before
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) last: u64,
    /// Only look: nothing is said
    #[arg(long)]
    pub(super) read_only: bool,
    /// What the server says in these rooms for this session, if it dies without leaving
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(super) will: Option<Text>,
    /// What this session is: person on a terminal, else script
    #[arg(long, value_enum)]
    pub(super) kind: Option<KindArg>,
    /// Settings of the screen, in place of screen.toml in the configuration directory
    #[arg(long, value_name = "FILE")]
    pub(super) settings: Option<PathBuf>,
}

/// `send`
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// ROOM, @USER or @USER/LABEL
    pub(super) target: Target,
    /// The message; none, or -, for standard input
    pub(super) text: Vec<String>,
    /// One message a line of standard input, as it comes
    #[arg(long)]
    pub(super) lines: bool,
    /// With --lines: end with exit code 3 when the server ends
    #[arg(long, requires = "lines")]
    pub(super) no_reconnect: bool,
    /// Exit code 6 if fewer than N other sessions are there
    #[arg(long, value_name = "N")]
    pub(super) require: Option<u32>,
    /// Id of the message that this replies to
    #[arg(long, value_name = "ID")]
    pub(super) reply_to: Option<MessageId>,
}

/// `listen`
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// ROOM, @USER, or @ alone for what is said to you
    #[arg(required_unless_present = "announcements", value_name = "TARGET")]
    pub(super) targets: Vec<ListenTarget>,
    /// Only announcements: those for everybody, and those for the rooms that are named
    #[arg(long, conflicts_with_all = ["mentions", "last", "since"])]
    pub(super) announcements: bool,
    /// Only announcements of this level and above
    #[arg(long, value_enum, value_name = "LEVEL", requires = "announcements")]
    pub(super) level: Option<LevelArg>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// End after so long without a message: 0 if any came, else 1
    #[arg(long, value_name = "DUR")]
    pub(super) idle: Option<Dur>,
    /// First show so many messages of before
    #[arg(long, value_name = "N")]
    pub(super) last: Option<u64>,
    /// First show what was said since then: a time, a duration ago, or after a message id
    #[arg(long, value_name = "TIME|ID", conflicts_with = "last")]
    pub(super) since: Option<When>,
    /// Only what mentions you, and what is said to you
    #[arg(long)]
    pub(super) mentions: bool,
    /// Only messages whose text matches
    #[arg(long = "match", value_name = "REGEX")]
    pub(super) matches: Option<Regex>,
    /// Only the result of the run with this title (`wait --run`)
    #[arg(skip)]
    pub(super) run: Option<String>,
    /// Only what this user says
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(super) from: Option<UserName>,
    /// Also show each as a desktop notification (notify-send, or what the system has)
    #[arg(long)]
    pub(super) notify: bool,
    /// Only the texts, unchanged
    #[arg(long, conflicts_with = "json")]
    pub(super) raw: bool,
    #[command(flatten)]
    pub(super) exec: ExecArgs,
    /// End with exit code 1 once the program of --exec fails
    #[arg(long, requires = "exec")]
    pub(super) fail_fast: bool,
    /// End with exit code 3 when the server ends
    #[arg(long)]
    pub(super) no_reconnect: bool,
    /// What the server says there for this session, if it dies without leaving
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(super) will: Option<Text>,
    /// What this session is
    #[arg(long, value_enum)]
    pub(super) kind: Option<KindArg>,
}

/// `history`
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// ROOM or @USER
    pub(super) target: Target,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub(super) last: Option<u64>,
    /// Only since then: a time, a duration ago, or after a message id
    #[arg(long, value_name = "TIME|ID")]
    pub(super) since: Option<When>,
    /// Only until then
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<Moment>,
    /// Only before this message
    #[arg(long, value_name = "ID")]
    pub(super) before: Option<MessageId>,
}

/// `search`
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Words; each has to occur
    #[arg(required = true)]
    pub(super) text: Vec<String>,
    /// Only in this room
    #[arg(long, value_name = "ROOM")]
    pub(super) room: Option<RoomName>,
    /// Only what this user said
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(super) from: Option<UserName>,
    /// Only since then: a time, a duration ago, or after a message id
    #[arg(long, value_name = "TIME|ID")]
    pub(super) since: Option<When>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) last: u64,
}

/// `read`
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// Rooms and @users; none: everything that you follow, and what was said to you
    #[arg(value_name = "TARGET")]
    pub(super) targets: Vec<Target>,
    /// Leave it unread
    #[arg(long)]
    pub(super) peek: bool,
}

/// `announce`
#[derive(Debug, Args)]
pub(super) struct AnnounceArgs {
    /// The announcement; none, or -, for standard input
    pub(super) text: Vec<String>,
    /// How much it weighs
    #[arg(long, value_enum, default_value = "notice")]
    pub(super) level: LevelArg,
    /// Only to those in this room
    #[arg(long, value_name = "ROOM")]
    pub(super) to: Option<RoomName>,
    /// Good for so long; then nobody is shown it any more
    #[arg(long, value_name = "DUR")]
    pub(super) expires: Option<Dur>,
    /// Shown to those who come later, until it expires or is cancelled
    #[arg(long)]
    pub(super) retain: bool,
    /// Not before then: today at that time, or with a date
    #[arg(long, value_name = "TIME", conflicts_with_all = ["within", "require", "require_users", "wait"])]
    pub(super) at: Option<Moment>,
    /// Not before so long from now
    #[arg(long = "in", value_name = "DUR", conflicts_with_all = ["at", "require", "require_users", "wait"])]
    pub(super) within: Option<Dur>,
    /// Asks people to acknowledge it (`moot notices ack`)
    #[arg(long)]
    pub(super) ack: bool,
    /// What to wait for: that processes have it, or that people said so
    #[arg(long, value_enum, default_value = "reached")]
    pub(super) wait: WaitArg,
    /// Exit code 6 if fewer sessions (as --wait names) have it or acknowledged it, or if no member is here
    #[arg(long, value_name = "N|all")]
    pub(super) require: Option<Require>,
    /// The same, counting users: one user with three sessions is one, reached when each of them is
    #[arg(long, value_name = "N|all")]
    pub(super) require_users: Option<Require>,
    /// Only say whom it would reach
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// `notices …`
#[derive(Debug, Subcommand)]
pub(super) enum NoticeVerb {
    /// Those that wait, and those that were made, the newest first
    List,
    /// One of them, with its receipt
    Show {
        /// !3, or !+482915 while it waits (the ! may be left out)
        id: NoticeId,
    },
    /// Say that you have seen it: for all your sessions, whatever their labels
    Ack {
        /// Which
        #[arg(required = true, value_name = "ID")]
        ids: Vec<NoticeId>,
    },
    /// Take it back: your own, or as an operator
    Cancel {
        /// Which
        id: NoticeId,
    },
}

/// What an announcement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum WaitArg {
    Reached,
    Acked,
}

/// How many members have to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Require {
    Count(u32),
    All,
}

impl FromStr for Require {
    type Err = String;
    fn from_str(written: &str) -> Result<Self, String> {
        match written {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Count).map_err(|_| "a number, or all".to_owned()),
        }
    }
}

/// `who`
#[derive(Debug, Args)]
pub(super) struct WhoArgs {
    /// Only those in this room
    pub(super) room: Option<RoomName>,
    /// Passing sessions as well
    #[arg(long)]
    pub(super) all: bool,
    /// Show it again whenever it changes
    #[arg(long)]
    pub(super) watch: bool,
    /// Only how many
    #[arg(long)]
    pub(super) count: bool,
    /// Only this user's sessions
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(super) user: Option<UserName>,
}

/// `room …`
#[derive(Debug, Subcommand)]
pub(super) enum RoomVerb {
    /// Make a room
    Create {
        /// Its name
        room: RoomName,
        /// Keep its messages in memory only
        #[arg(long)]
        no_history: bool,
        /// Only for those who are invited; for all others it does not exist
        #[arg(long)]
        private: bool,
        /// Only you and its operators say something there
        #[arg(long)]
        read_only: bool,
    },
    /// Let a user into a private room, or tell him of any other
    Invite(RoomUser),
    /// Take a user's sessions out of a room (from a private one the invitation, too)
    Kick {
        /// Which room
        room: RoomName,
        /// @USER or @USER/LABEL
        #[arg(value_name = "@USER")]
        who: Somebody,
    },
    /// Take a user out of a room, for good
    Ban(RoomUser),
    /// End a ban
    Unban(RoomUser),
    /// Let a user say nothing more in a room
    Mute(RoomUser),
    /// Let him speak again
    Unmute(RoomUser),
    /// Make a user operator of a room
    Op(RoomUser),
    /// End that
    Deop(RoomUser),
    /// Set the topic; without words, show it
    Topic {
        /// Which room
        room: RoomName,
        /// The topic
        text: Vec<String>,
        /// Remove the topic
        #[arg(long, conflicts_with = "text")]
        clear: bool,
    },
    /// Delete a room with all that was said in it
    Delete {
        /// Which room
        room: RoomName,
    },
    /// Follow a room no more
    Leave {
        /// Which room
        room: RoomName,
    },
}

/// A user and a room.
#[derive(Debug, Args)]
pub(super) struct RoomUser {
    /// Which room
    pub(super) room: RoomName,
    /// Whom
    #[arg(value_name = "@USER", value_parser = user)]
    pub(super) user: UserName,
}

/// `@user`, or `@user/label`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Somebody {
    pub(super) user: UserName,
    pub(super) label: Option<Label>,
}

impl fmt::Display for Somebody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            None => write!(f, "@{}", self.user),
            Some(label) => write!(f, "@{}/{label}", self.user),
        }
    }
}

impl FromStr for Somebody {
    type Err = String;
    fn from_str(written: &str) -> Result<Self, String> {
        // The sign that tells a user from a room may be left out where no room can be meant.
        let is_marked = written.starts_with('@') || written.starts_with("user:");
        let marked = if is_marked { written.to_owned() } else { format!("@{written}") };
        match marked.parse().map_err(|e: NameError| e.to_string())? {
            Target::User { user, label } => Ok(Self { user, label }),
            Target::Room(_) => Err("a user is written @USER".to_owned()),
        }
    }
}

/// Some words.
#[derive(Debug, Args)]
pub(super) struct Words {
    /// What to show
    pub(super) text: Vec<String>,
}

/// `status`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 healthy, 1 degraded (says what), 3 no server.\n\nExamples:\n  moot status --json | jq .sessions\n  moot status --metrics > /var/lib/prometheus/node-exporter/moot.prom"
)]
pub(super) struct StatusArgs {
    /// Show it again every second, until Ctrl-C, also while there is no server
    #[arg(long)]
    pub(super) watch: bool,
    /// As text for Prometheus (a textfile collector, an exporter)
    #[arg(long, conflicts_with_all = ["watch", "audit", "json"])]
    pub(super) metrics: bool,
    /// What operators did (for operators)
    #[arg(long, conflicts_with = "watch")]
    pub(super) audit: bool,
}

/// `doctor`
#[derive(Debug, Args)]
#[command(
    after_help = "It starts no server and disturbs none. Exit codes: 0 no problem is left, 1 some are.\n\nExamples:\n  moot doctor\n  moot doctor --fix       removes what dead servers left, closes what is too open\n  moot doctor --json | jq 'select(.state == \"problem\")'"
)]
pub(super) struct DoctorArgs {
    /// Do what is safe to do: remove what dead servers left, take back too open permissions
    #[arg(long)]
    pub(super) fix: bool,
}

/// `bench`
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Sessions that listen
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_MEMBERS_MAX)))]
    pub(super) members: u32,
    /// Sessions that send
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_SENDERS_MAX)))]
    pub(super) senders: u32,
    /// Bytes of a text, 32 at least
    #[arg(long, value_name = "B", default_value_t = 64, value_parser = bench_size)]
    pub(super) size: usize,
    /// Messages a second of all senders together, or max
    #[arg(long, value_name = "R", default_value = "max")]
    pub(super) rate: BenchRate,
    /// Whether the room keeps its messages
    #[arg(long, value_name = "on|off", value_enum, default_value = "off")]
    room_history: OnOff,
    /// For how long
    #[arg(long = "for", value_name = "DUR", default_value = "5s")]
    duration: Dur,
    /// A process for each member, in place of some threads for all
    #[arg(long)]
    pub(super) processes: bool,
    /// Be such a process
    #[arg(long, value_name = "ROOM", hide = true)]
    pub(super) as_member: Option<RoomName>,
}

impl BenchArgs {
    pub(super) fn room_history(&self) -> bool {
        matches!(self.room_history, OnOff::On)
    }

    pub(super) fn duration(&self) -> Duration {
        self.duration.into()
    }
}

fn bench_size(text: &str) -> Result<usize, String> {
    let size: usize = text.parse().map_err(|_| "not a number of bytes".to_owned())?;
    if (32..=TEXT_BYTES_MAX).contains(&size) {
        return Ok(size);
    }
    Err(format!("a text has from 32 (its stamp) to {TEXT_BYTES_MAX} bytes here"))
}

/// How fast to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BenchRate {
    Max,
    PerSecond(u64),
}

impl FromStr for BenchRate {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("max", _) => Ok(Self::Max),
            (_, Ok(rate @ 1..=10_000_000)) => Ok(Self::PerSecond(rate)),
            _ => Err("a number of messages a second (1 to 10000000), or max"),
        }
    }
}

/// `serve`
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// A server for the whole host: admits everybody, or those that the configuration names
    #[arg(long)]
    pub(super) system: bool,
    /// End after so long without sessions
    #[arg(long, value_name = "DUR")]
    pub(super) idle_exit: Option<Dur>,
    /// auto: use multicast on the loopback interface where it is safe; off: sessions only
    #[arg(long, value_enum)]
    pub(super) broadcast: Option<Broadcast>,
    /// on: what is said is kept on disk; off: in memory only
    #[arg(long, value_enum)]
    pub(super) history: Option<OnOff>,
    /// Check the configuration and end
    #[arg(long)]
    pub(super) check: bool,
    /// In the background, for the automatic start
    #[arg(long, hide = true)]
    pub(super) detached: bool,
}

/// Use of the broadcast channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Broadcast {
    Auto,
    Off,
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnOff {
    On,
    Off,
}

/// What can be listened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ListenTarget {
    Room(RoomName),
    With(UserName),
    ToMe,
}

impl FromStr for ListenTarget {
    type Err = String;
    fn from_str(written: &str) -> Result<Self, String> {
        if written == "@" {
            return Ok(Self::ToMe);
        }
        match written.parse().map_err(|e: NameError| e.to_string())? {
            Target::Room(room) => Ok(Self::Room(room)),
            Target::User { user, label: None } => Ok(Self::With(user)),
            Target::User { user, label: Some(label) } => Err(format!(
                "a conversation is with a user, not with one label of it; @{user} is all of it, \
                 and `--as {label} listen @` is what is said to your own {label}"
            )),
        }
    }
}

fn session_number(written: &str) -> Result<u64, String> {
    written.parse().map_err(|_| "a session has a number, as `who --json` has it".to_owned())
}

/// A last will is said in rooms, and not in many.
pub(super) fn check_will(will: Option<&Text>, rooms: usize) -> Result<(), Failure> {
    match rooms {
        _ if will.is_none() => Ok(()),
        0 => Err(Failure::new(Exit::Usage, "--will is said in rooms, and none is named")),
        1..=WILL_ROOMS_MAX => Ok(()),
        _ => {
            let text = format!("--will is said in {WILL_ROOMS_MAX} rooms at most");
            Err(Failure::new(Exit::Usage, text))
        }
    }
}

fn text(written: &str) -> Result<Text, TextError> {
    Text::new(written)
}

fn user(written: &str) -> Result<UserName, NameError> {
    let name = written.strip_prefix('@').or_else(|| written.strip_prefix("user:"));
    UserName::new(name.unwrap_or(written))
}

macro_rules! word_arg {
    ($(#[$doc:meta])* $name:ident of $of:ident { $($word:ident),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub(super) enum $name { $($word),* }
        impl From<$name> for $of {
            fn from(arg: $name) -> Self {
                match arg { $($name::$word => Self::$word),* }
            }
        }
    };
}

word_arg!(
    /// Kinds of sessions.
    KindArg of Kind { Person, Script, Agent, Service }
);
word_arg!(
    /// Levels of announcements.
    LevelArg of Level { Info, Notice, Warning, Critical }
);

/// What can be written, with all that help says of it.
pub(super) fn definition() -> Command {
    super::manual::dress(Cli::command())
}

/// Reads the command line; what is wrong with it, or help, is told here.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    let json = args.iter().take_while(|a| *a != "--").any(|a| a == "--json");
    // The definitions are made once more for that: only where it is needed.
    let args = match args.iter().any(|word| word == "--exec") {
        true => exec::gather(&Cli::command(), args),
        false => args,
    };
    match Cli::try_parse_from(&args) {
        Ok(mut cli) => {
            if cli.global.server_given.as_deref() == Some("") && names_empty_server(&args) {
                let text = "--server: an empty name is no server; leave it out for the usual one";
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

/// `moot run ROOM make -j8` lacks the dashes that divide the command's own flags from those of moot.
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
        "unexpected argument '{}'; write the command of `run` after --: moot {} -- {}",
        shown(word, false),
        words(&args[1..at]),
        words(&args[at..]),
    ))
}

/// The same once more with all that help has: commands that do as they are told need none of it.
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

/// What is wrong, without the usage that follows it.
fn in_one_line(rendered: &str) -> String {
    let text = rendered.trim_start_matches("error: ");
    let lines = text.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:"));
    let lines = lines.filter(|l| !l.starts_with("For more information"));
    lines.filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|mut cli| {
            cli.global.settle();
            cli
        })
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_utf_8_is_named() {
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
    fn what_is_wrong_is_refused() {
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
