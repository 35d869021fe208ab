//! Pseudo-terminals: this platform's own (ConPTY) is another thing, and is not used.

use std::{
    io,
    process::{Child, Command},
};

use super::{child::Caught, drain::OwnedPipe};

/// Returns false: a child can't have a pseudo-terminal here.
pub const OFFERS_PTY: bool = false;

/// There are none here.
#[derive(Debug)]
pub enum Pty {}

impl Pty {
    /// Fails on this platform.
    ///
    /// # Errors
    /// Always `Unsupported`.
    pub fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Starts a command on it.
    ///
    /// # Errors
    /// None: this platform has no pseudo-terminal.
    pub fn spawn(&mut self, _command: &mut Command) -> io::Result<(Child, OwnedPipe)> {
        match *self {}
    }

    /// Returns true while the terminal of this process is raw.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        match *self {}
    }

    /// Passes a signal on.
    pub fn hand_on(&mut self, _child: &Child, _caught: &Caught) {
        match *self {}
    }

    /// Ends the input.
    pub fn end(&mut self) {
        match *self {}
    }
}
