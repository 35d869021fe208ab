//! Requests of other threads and of signal handlers to a server: to end, to read its configuration.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::config::{ConfigError, Settings};

/// Ends a server from another thread or a signal handler, and has it read its configuration again.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Wishes>);

#[derive(Default)]
struct Wishes {
    stop: Notify,
    why: OnceLock<String>,
    reload: Notify,
    load: OnceLock<Box<StopLoad>>,
}

type StopLoad = dyn Fn() -> Result<Settings, ConfigError> + Send + Sync;

impl std::fmt::Debug for Wishes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wishes").field("why", &self.why).finish_non_exhaustive()
    }
}

impl Stop {
    /// Asks the server to end.
    pub fn stop(&self) {
        self.0.stop.notify_one();
    }

    /// Asks the server to end, and to say why in its log.
    pub fn stop_since(&self, why: &str) {
        let _ = self.0.why.set(why.to_owned());
        self.stop();
    }

    /// Sets how the configuration is read again; once.
    pub fn reload_by(
        &self,
        load: impl Fn() -> Result<Settings, ConfigError> + Send + Sync + 'static,
    ) {
        let _ = self.0.load.set(Box::new(load));
    }

    /// Asks the server to read its configuration again.
    pub fn reload(&self) {
        self.0.reload.notify_one();
    }

    pub(super) async fn asked(&self) {
        self.0.stop.notified().await;
    }

    pub(super) async fn reload_asked(&self) {
        self.0.reload.notified().await;
    }

    pub(super) fn load(&self) -> Option<Result<Settings, ConfigError>> {
        self.0.load.get().map(|load| load())
    }

    pub(super) fn why(&self) -> &str {
        self.0.why.get().map_or("asked by a signal", String::as_str)
    }
}
