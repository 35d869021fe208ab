//! The service manager: it asks in another way here, and hands nothing over.

use std::{io, path::Path, time::Duration};

/// Service manager that started this process, if it wants reports of its state.
#[derive(Debug, Default)]
pub struct ServiceManager(());

impl ServiceManager {
    /// Returns no manager.
    ///
    /// # Errors
    /// None on this platform.
    pub fn from_environment() -> io::Result<(Self, Option<HandedOver>)> {
        Ok((Self(()), None))
    }

    /// Returns none: no manager waits for a sign of life.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        None
    }

    /// Clients can connect.
    pub fn ready(&self, _status: &str) {}

    /// A sign of life.
    pub fn alive(&self, _status: Option<&str>) {}

    /// The server is about to end.
    pub fn stopping(&self) {}
}

/// Something that a service manager handed over: there is none.
#[derive(Debug, Clone, Copy)]
pub enum HandedOver {}

impl HandedOver {
    /// Checks nothing.
    ///
    /// # Errors
    /// None: there is none.
    pub fn check(&self, _path: &Path) -> io::Result<()> {
        match *self {}
    }
}

impl super::Acceptor {
    /// Takes sessions at a socket that was handed over.
    ///
    /// # Errors
    /// None: there is none.
    pub fn take_over(handed: HandedOver, _path: &Path) -> io::Result<Self> {
        match handed {}
    }
}

/// Returns true if standard error leads to a journal that wants levels.
#[must_use]
pub fn errors_go_to_journal() -> bool {
    false
}
