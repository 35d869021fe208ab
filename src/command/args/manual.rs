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
    /// Show the page of COMMAND (send, room create …), moot.toml or keys; without it, of moot
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(in crate::command) command: Vec<String>,
    /// Write all pages into DIR; if it is called man1, other sections go to man5 and man7
    #[arg(long, value_name = "DIR")]
    pub(in crate::command) dir: Option<PathBuf>,
}
