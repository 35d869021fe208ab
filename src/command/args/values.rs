//! Values of options, as they are written on the command line.

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

/// When to use colours.
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

/// What an announcement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum WaitArg {
    Reached,
    Acked,
}

/// How many members have to be reached.
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
            number => number.parse().map(Self::Count).map_err(|_| "a number, or all".to_owned()),
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
        // The sign that tells a user from a room may be left out where no room can be meant.
        let is_marked = written.starts_with('@') || written.starts_with("user:");
        let marked = if is_marked { written.to_owned() } else { format!("@{written}") };
        match marked.parse().map_err(|e: NameError| e.to_string())? {
            Target::User { user, label } => Ok(Self { user, label }),
            Target::Room(_) => Err("a user is written @USER".to_owned()),
        }
    }
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum OnOff {
    On,
    Off,
}

/// What can be listened to.
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
                "a conversation is with a user, not with one label of it; @{user} is all of it, \
                 and `--as {label} listen @` is what is said to your own {label}"
            )),
        }
    }
}

pub(super) fn session_number(written: &str) -> Result<u64, String> {
    written.parse().map_err(|_| "a session has a number, as `who --json` has it".to_owned())
}

/// A last will is said in rooms, and not in many.
pub(in crate::command) fn check_will(will: Option<&Text>, rooms: usize) -> Result<(), Failure> {
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
