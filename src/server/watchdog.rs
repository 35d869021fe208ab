//! Reports to the service manager: that the server is ready, that it lives, and what it has to do.

use std::{cell::RefCell, path::Path, time::Duration};

use crate::{chat::presence_row::Counters, limits::SERVICE_STATUS_EVERY_MS, os::ServiceManager};

/// Signs of life in the time after which the manager takes the server for dead.
const SIGNS: u32 = 4;

/// The manager, and the last report to it.
pub(super) struct Manager {
    to: ServiceManager,
    every_us: u64,
    told: RefCell<Told>,
}

#[derive(Default)]
struct Told {
    at_us: u64,
    status: String,
}

impl Manager {
    pub(super) fn new(to: ServiceManager) -> Self {
        let status_every = Duration::from_millis(SERVICE_STATUS_EVERY_MS);
        let every = to.watchdog().map_or(status_every, |wait| status_every.min(wait / SIGNS));
        let every_us = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
        Self { to, every_us, told: RefCell::default() }
    }

    /// Clients can connect.
    pub(super) fn ready(&self, socket: &Path) {
        self.to.ready(&format!("listening on {}", socket.display()));
    }

    /// The longest time that may pass until the next [`Manager::beat`].
    pub(super) fn wait_ms_max(&self) -> u64 {
        (self.every_us / 1000).max(1)
    }

    /// A sign of life when one is due. Called by the loop that looks after the hub, so that a
    /// server which hangs gives none.
    pub(super) fn beat(&self, now_us: u64, counters: impl FnOnce() -> Counters) {
        let mut told = self.told.borrow_mut();
        if now_us.saturating_sub(told.at_us) < self.every_us {
            return;
        }
        told.at_us = now_us;
        let Counters { sessions, rooms, messages, .. } = counters();
        let status = format!("sessions: {sessions}, rooms: {rooms}, messages: {messages}");
        let is_new = status != told.status;
        self.to.alive(is_new.then_some(status.as_str()));
        told.status = status;
    }

    /// The server ends.
    pub(super) fn stopping(&self) {
        self.to.stopping();
    }
}
