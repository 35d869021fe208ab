//! Members: what the kernel said of a process, and what others learn of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{Label, UserName, fmt_handle};

/// Number of a session, unique within one run of the server.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct SessionId(pub u64);

/// Kind of process that a session says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A person at a keyboard.
    Person,
    /// A shell script or a command.
    Script,
    /// A program that acts by itself.
    Agent,
    /// A daemon without a person.
    Service,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Person, Self::Script, Self::Agent, Self::Service];

    /// The number that stands for it in batches and in the presence table.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The kind of a number; unknown ones read as a script.
    #[must_use]
    pub fn of_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Script)
    }

    /// The word of the command line and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Script => "script",
            Self::Agent => "agent",
            Self::Service => "service",
        }
    }
}

/// State of a session in the presence table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Connected, and not idle or away.
    Online,
    /// The person said `away`.
    Away,
    /// A person without own message or key for a while.
    Idle,
    /// Owes the server a sign of life.
    Unresponsive,
    /// The server is dead: the state is not known.
    Unknown,
    /// On a linked host of which nothing was heard for some time.
    Unreachable,
}

impl State {
    /// The word of the command line and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Idle => "idle",
            Self::Unresponsive => "unresponsive",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Facts from the kernel about the process at the other end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Kernel's id of the user.
    pub uid: u32,
    /// Its name in the system's user database.
    pub user: UserName,
    /// Kernel's id of the process.
    pub pid: u32,
    /// Start time of the process (clock ticks since boot; 0 if unknown), so that a reused pid is
    /// told apart.
    pub start: u64,
}

impl Peer {
    /// Process id and start time; none if the kernel does not name the process, as across PID
    /// namespaces.
    #[must_use]
    pub fn process(&self) -> Option<(u32, u64)> {
        (self.pid != 0).then_some((self.pid, self.start))
    }
}

/// A member or sender as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Number of its session.
    pub session: SessionId,
    /// Kernel's id of the user.
    pub uid: u32,
    /// Kernel's id of the process.
    pub pid: u32,
    /// Kind of process that it says it is.
    pub kind: Kind,
    /// Name of the user.
    pub user: UserName,
    /// Label that it chose beside its user.
    pub label: Option<Label>,
}

impl Member {
    /// Returns the placeholder for a sender that is not to be known.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            session: SessionId(0),
            uid: 0,
            pid: 0,
            kind: Kind::Service,
            user: UserName::of_uid(0),
            label: None,
        }
    }

    /// `user` or `user/label`.
    #[must_use]
    pub fn name(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_handle(f, &self.user, self.label.as_ref())
    }
}

/// Cause of a session's end, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndCause {
    /// Said goodbye itself.
    Quit,
    /// The connection ended while the process lives on.
    Closed,
    /// The process ended without a word.
    Killed,
    /// It owed signs of life for too long.
    Unresponsive,
    /// An operator ended it.
    Kicked,
    /// The server ended it: stop, broken protocol, limits.
    Server,
}

impl EndCause {
    /// All causes, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Quit, Self::Closed, Self::Killed, Self::Unresponsive, Self::Kicked, Self::Server];

    /// The number that stands for it in batches.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The cause of a number; unknown ones read as closed.
    #[must_use]
    pub fn of_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Closed)
    }

    /// The word of the command line and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Closed => "closed",
            Self::Killed => "killed",
            Self::Unresponsive => "unresponsive",
            Self::Kicked => "kicked",
            Self::Server => "server",
        }
    }
}

/// Weight of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Info,
    /// The default level.
    Notice,
    /// Something will hurt.
    Warning,
    /// Something hurts now.
    Critical,
}

impl Level {
    /// All levels, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Info, Self::Notice, Self::Warning, Self::Critical];

    /// The number that stands for it in batches.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The level of a number; unknown ones read as a notice.
    #[must_use]
    pub fn of_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Notice)
    }

    /// The word of the command line and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
