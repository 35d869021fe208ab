//! `backup`, `restore` and `export`.

use std::path::PathBuf;

use clap::Args;

use crate::chat::names::Target;

#[derive(Debug, Args)]
pub(in crate::command) struct BackupArgs {
    /// File to write, or - for standard output
    pub(in crate::command) file: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    pub(in crate::command) force: bool,
    /// Back up the history of the system server
    #[arg(long)]
    pub(in crate::command) system: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct RestoreArgs {
    /// Backup to restore
    pub(in crate::command) file: PathBuf,
    /// Restore the history of the system server
    #[arg(long)]
    pub(in crate::command) system: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ExportArgs {
    /// Rooms and conversations to export: ROOM or @USER
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "TARGET")]
    pub(in crate::command) targets: Vec<Target>,
    /// Export all rooms and conversations that you may read, and all announcements
    #[arg(long)]
    pub(in crate::command) all: bool,
}
