//! Findings of checks, with what is safe to do about them.

use std::path::PathBuf;

use super::facts::Facts;

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Warning,
    Problem,
    Fixed,
    /// It could not be looked at, or does not matter here.
    Skipped,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Fixed => "fixed",
            Self::Skipped => "skipped",
        }
    }
}

/// Something that is safe to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fix {
    Mode(PathBuf, u32),
    /// While the lock is held, so that no server is there or starts.
    Remove(Vec<PathBuf>),
    /// The server of a lock, which no client can connect to.
    End(PathBuf),
}

/// Finding of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) text: String,
    /// Advice to the user; empty if none is needed.
    pub(super) advice: String,
    pub(super) fix: Option<Fix>,
}

impl Finding {
    pub(super) fn new(name: &'static str, state: State, text: impl Into<String>) -> Self {
        Self { name, state, text: text.into(), advice: String::new(), fix: None }
    }

    pub(super) fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, State::Ok, text)
    }

    pub(super) fn warning(
        name: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { advice: advice.into(), ..Self::new(name, State::Warning, text) }
    }

    pub(super) fn problem(
        name: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { advice: advice.into(), ..Self::new(name, State::Problem, text) }
    }

    pub(super) fn skipped(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, State::Skipped, text)
    }

    pub(super) fn fixed_by(self, fix: Option<Fix>) -> Self {
        Self { fix, ..self }
    }

    /// With what is safe to do, if this process may do it.
    pub(super) fn fixed_in(self, facts: &Facts, fix: Option<Fix>) -> Self {
        match facts.foreign_owner() {
            _ if facts.may_change() => self.fixed_by(fix),
            Some(uid) if facts.uid == 0 && uid != 0 => {
                let advice = &self.advice;
                let advice =
                    format!("{advice}, as user id {uid}: sudo -u '#{uid}' moot doctor --fix");
                Self { advice, ..self }
            }
            Some(_) | None => self,
        }
    }

    /// Returns true if something is still wrong.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Warning | State::Problem)
    }
}
