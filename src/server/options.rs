//! Options of a server.

use std::time::Duration;

use crate::{
    config::Settings,
    os::{self, Places},
};

/// Options of the program that starts a server.
#[derive(Debug)]
pub struct Options {
    /// Directories of the server.
    pub places: Places,
    /// Configuration of the operator.
    pub settings: Settings,
    /// Admits all users of the host.
    pub system: bool,
    /// Uses the broadcast channel if the machine has one.
    pub broadcast: bool,
    /// Stores messages on disk.
    pub history: bool,
    /// Time without sessions after which the server ends; `None`: never.
    pub idle_exit: Option<Duration>,
    /// Service manager that is notified of the state.
    pub manager: os::ServiceManager,
    /// Its socket, where a service manager made it.
    pub handed_over: Option<os::HandedOver>,
}
