//! `run` on the command line.

use std::ffi::OsString;

use clap::Args;

use super::values::{KindArg, text};
use crate::chat::{names::Target, text::Text};

#[derive(Debug, Args)]
pub(in crate::command) struct RunArgs {
    /// Target of the output: ROOM, @USER or @USER/LABEL
    pub(in crate::command) target: Target,
    /// Send only the last N lines of the output, when the command ends
    #[arg(long, value_name = "N")]
    pub(in crate::command) tail: Option<u64>,
    /// Send nothing unless the command fails; then send its last output lines (20, or --tail) and
    /// the result
    #[arg(long)]
    pub(in crate::command) on_fail: bool,
    /// Print the output (up to 96 MiB) at the end, only if the command fails; the room is not
    /// affected
    #[arg(long)]
    pub(in crate::command) chronic: bool,
    /// Run the command on a terminal: it keeps colors, progress and line buffering; the room gets
    /// plain text
    #[arg(long)]
    pub(in crate::command) pty: bool,
    /// Show TITLE in the room instead of the command line
    #[arg(long, value_name = "TITLE", value_parser = title)]
    pub(in crate::command) title: Option<String>,
    /// Have the server send TEXT to the room if moot itself is killed
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(in crate::command) will: Option<Text>,
    /// Show this session as KIND
    #[arg(long, value_enum)]
    pub(in crate::command) kind: Option<KindArg>,
    /// Command with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(in crate::command) command: Vec<OsString>,
}

fn title(written: &str) -> Result<String, String> {
    match written.trim() {
        "" => Err("a title can't be empty".to_owned()),
        _ => Ok(written.to_owned()),
    }
}
