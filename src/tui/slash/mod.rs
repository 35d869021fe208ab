//! Typed lines: a text to send, or a command. For the screen and for line mode.
//!
//! A line that begins with a single `/` is never sent: a typing error would tell a room a command
//! for the program. `//text` sends `/text`.

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
