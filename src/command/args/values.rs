//! Values of options on the command line.

use std::{fmt, str::FromStr, time::Duration};

use clap::ValueEnum;

use crate::{
    chat::{
        member::{Kind, Level},
        names::{Label, NameError, RoomName, Target, UserName},
        text::{Text, TextError},
    },
    command::exit_code::{Exit, Failure},
    config,
    limits::WILL_ROOMS_MAX,
};

/// Use of colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum Color {
    Auto,
    Always,
    Never,
}

/// A duration with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) struct Dur(Duration);

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

/// Result that `announce` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum WaitArg {
    Reached,
    Acked,
}

/// Number of recipients to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum Require {
    Count(u32),
    All,
}

impl FromStr for Require {
    type Err = String;
    fn from_str(written: &str) -> Result<Self, String> {
        match written {
            "all" => Ok(Self::All),
            number => {
                number.parse().map(Self::Count).map_err(|_| "expected a number, or all".to_owned())
            }
        }
    }
}

/// `@user`, or `@user/label`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct Somebody {
    pub(in crate::command) user: UserName,
    pub(in crate::command) label: Option<Label>,
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
        // The sign that tells users from rooms is optional where a room is impossible.
        let is_marked = written.starts_with('@') || written.starts_with("user:");
        let marked = if is_marked { written.to_owned() } else { format!("@{written}") };
        match marked.parse().map_err(|e: NameError| e.to_string())? {
            Target::User { user, label } => Ok(Self { user, label }),
            Target::Room(_) => Err("expected @USER or @USER/LABEL".to_owned()),
        }
    }
}

/// State of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum OnOff {
    On,
    Off,
}

/// Stream that a session can listen to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::command) enum ListenTarget {
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
                "a conversation belongs to a user, not to one label; use @{user} for all of it, or \
                 `--as {label} listen @` for messages to your own label {label}"
            )),
        }
    }
}

pub(super) fn session_number(written: &str) -> Result<u64, String> {
    written.parse().map_err(|_| "expected the number of a session, as in `who --json`".to_owned())
}

/// Refuses a last will without a room, or for too many rooms.
pub(in crate::command) fn check_will(will: Option<&Text>, rooms: usize) -> Result<(), Failure> {
    match rooms {
        _ if will.is_none() => Ok(()),
        0 => Err(Failure::new(Exit::Usage, "--will needs at least one room")),
        1..=WILL_ROOMS_MAX => Ok(()),
        _ => {
            let text = format!("--will is for at most {WILL_ROOMS_MAX} rooms");
            Err(Failure::new(Exit::Usage, text))
        }
    }
}

pub(super) fn text(written: &str) -> Result<Text, TextError> {
    Text::new(written)
}

pub(super) fn user(written: &str) -> Result<UserName, NameError> {
    let name = written.strip_prefix('@').or_else(|| written.strip_prefix("user:"));
    UserName::new(name.unwrap_or(written))
}

macro_rules! word_arg {
    ($(#[$doc:meta])* $name:ident of $of:ident { $($word:ident),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub(in crate::command) enum $name { $($word),* }
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
