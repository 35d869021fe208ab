//! `completions` and `man`: what can be written.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `completions`
#[derive(Debug, Args)]
pub(in crate::command) struct CompletionsArgs {
    /// Whose
    #[arg(value_enum)]
    pub(in crate::command) shell: ShellArg,
}

/// Shells that complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum ShellArg {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl ShellArg {
    /// As it is written.
    pub(in crate::command) fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Zsh => "zsh",
        }
    }
}

/// `man`
#[derive(Debug, Args)]
pub(in crate::command) struct ManArgs {
    /// Whose page, e.g. send, or room create; none: the page of moot itself
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(in crate::command) command: Vec<String>,
    /// Write all pages into this directory: moot.1, moot-send.1 and so on
    #[arg(long, value_name = "DIR")]
    pub(in crate::command) dir: Option<PathBuf>,
}
