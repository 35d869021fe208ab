//! `completions` and `man`: what can be written.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(in crate::command) struct CompletionsArgs {
    /// Shell to write completions for
    #[arg(value_enum)]
    pub(in crate::command) shell: ShellArg,
}

/// Shells with completion scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum ShellArg {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl ShellArg {
    /// Returns the name of the shell.
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

#[derive(Debug, Args)]
pub(in crate::command) struct ManArgs {
    /// Page to print: a command (send, room create …), moot.toml or keys; by default, moot
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(in crate::command) command: Vec<String>,
    /// Write all pages into DIR; if its name is man1, other sections go to man5 and man7 beside it
    #[arg(long, value_name = "DIR")]
    pub(in crate::command) dir: Option<PathBuf>,
}
