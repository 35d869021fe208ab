//! What is typed: a text to say, or a command. For the screen and for line mode.
//!
//! Whatever begins with a single `/` is never said: a slip of the finger would tell a room what was
//! meant for the program. `//text` sends `/text`.

mod commands;
mod explain;
mod parse;
mod plan;

pub(crate) use self::{
    commands::{ArgKind, COMMANDS, about, entries, help, help_of},
    explain::{Explained, explain},
    parse::{Line, ScreenCommand, Slash, action_of, parse, parse_line_mode},
    plan::{CommandPlace, CommandPurpose, ServerCommand, plan},
};
