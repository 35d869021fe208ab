//! `run` on the command line.

use std::ffi::OsString;

use clap::Args;

use super::values::{KindArg, text};
use crate::chat::{names::Target, text::Text};

/// `run`
#[derive(Debug, Args)]
pub(in crate::command) struct RunArgs {
    /// ROOM, @USER or @USER/LABEL
    pub(in crate::command) target: Target,
    /// Of the output, say only the last so many lines, at the end
    #[arg(long, value_name = "N")]
    pub(in crate::command) tail: Option<u64>,
    /// Say nothing unless it fails; then the end of its output (20 lines, or --tail) and the result
    #[arg(long)]
    pub(in crate::command) on_fail: bool,
    /// Print the command's output only if it fails, at the end (up to 96 MiB of it); the room is not affected
    #[arg(long)]
    pub(in crate::command) chronic: bool,
    /// Give the command a terminal: it keeps colors, progress and line buffering, and the room gets plain text
    #[arg(long)]
    pub(in crate::command) pty: bool,
    /// What the command is called there; without it, by its command line
    #[arg(long, value_name = "TITLE", value_parser = title)]
    pub(in crate::command) title: Option<String>,
    /// What the server says in the room if moot itself is killed
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(in crate::command) will: Option<Text>,
    /// What this session is
    #[arg(long, value_enum)]
    pub(in crate::command) kind: Option<KindArg>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(in crate::command) command: Vec<OsString>,
}

fn title(written: &str) -> Result<String, String> {
    match written.trim() {
        "" => Err("a name is wanted".to_owned()),
        _ => Ok(written.to_owned()),
    }
}
