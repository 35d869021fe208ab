//! The console that this process was started in, and what a user has beside it.

use std::io;

/// Editor of a user who has not chosen one.
pub const EDITOR: &str = "notepad";
/// Pagers for a user who has not chosen one: the first that exists.
pub const PAGERS: &[&str] = &["less", "more.com"];

/// Standard output: the standard library knows how to write non-ASCII text to a console.
pub type TerminalOutput = io::Stdout;

/// Standard output.
///
/// # Errors
/// Never.
pub fn terminal_output() -> io::Result<TerminalOutput> {
    Ok(io::stdout())
}

/// A console that is closed ends its processes.
#[must_use]
pub fn wait_until_terminal_is_gone() -> bool {
    false
}

/// Nothing is stopped by a key here.
pub fn suspend() {}

/// Returns false: a console that asks a process to end ends it.
#[must_use]
pub fn was_told_to_end() -> bool {
    false
}

/// Returns true if this session has a desktop that could show notifications.
#[must_use]
pub fn has_desktop() -> bool {
    true
}
