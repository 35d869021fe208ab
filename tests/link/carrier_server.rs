//! A NATS server on 127.0.0.1 for the tests of the carrier alone, and the words they share.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

use moot::link::{
    CarrierSettings, Credentials,
    carrier::{Carrier, CarrierConnectError, ConnectionState},
};
use tempfile::TempDir;

use super::{
    machine,
    nats::{self, Nats, PASSWORD, Version},
    process::PATIENCE,
};

/// Defines each test once a version of the NATS server. A test takes the path of its program.
macro_rules! on_both_versions {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        mod debian { $(#[test] $(#[$attribute])* fn $name() {
            $crate::carrier_server::run($crate::nats::Version::Debian, super::$name);
        })* }
        mod current { $(#[test] $(#[$attribute])* fn $name() {
            $crate::carrier_server::run($crate::nats::Version::Current, super::$name);
        })* }
    };
}
pub(crate) use on_both_versions;

/// Runs a test with a version of the server, if that is here.
pub fn run<F: Future<Output = ()>>(version: Version, test: impl FnOnce(PathBuf) -> F) {
    let Some(program) = version.find() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(test(program));
}

/// Users of one account: an administrator, host `a` with the smallest permissions, and broken ones.
pub fn users() -> String {
    let requests = nats::REQUESTS.map(|request| format!("{request:?}")).join(", ");
    format!(
        r#"
authorization {{
  users: [
    {{ user: admin, password: {PASSWORD} }}
    {{ user: a, password: {PASSWORD}, permissions: {{
        publish: [ "moot.1.r.*.a", "moot.1.n.a", "moot.1.a.*.*.a", "moot.1.p.a", {requests} ]
        subscribe: [ "_INBOX_a.>", "moot.1.p.*" ] }} }}
    {{ user: b, password: {PASSWORD}, permissions: {{
        publish: [ "$JS.API.STREAM.INFO.MOOT" ], subscribe: [ "_INBOX_b.>" ] }} }}
    {{ user: c, password: {PASSWORD}, permissions: {{
        publish: [ ">" ], subscribe: [ "_INBOX_other.>" ] }} }}
    {{ user: d, password: {PASSWORD}, permissions: {{
        publish: [ "$JS.API.STREAM.INFO.MOOT", "$JS.API.CONSUMER.CREATE.MOOT.>" ]
        subscribe: [ "_INBOX_d.>" ] }} }}
  ]
}}
"#
    )
}

/// See the head of this file.
pub struct Server {
    nats: Nats,
    _temp: TempDir,
}

impl Server {
    /// Starts a server; `more` is appended to its configuration.
    pub fn start(program: &Path, more: &str) -> Self {
        let temp = machine::temp();
        let nats = Nats::start(program, &temp.path().join("nats"), None, more);
        Self { nats, _temp: temp }
    }

    pub fn settings(&self, host: &str) -> CarrierSettings {
        CarrierSettings::new(&self.url(), host)
    }

    pub async fn carrier(&self, host: &str) -> Carrier {
        Carrier::connect(&self.settings(host)).await.expect("a connection")
    }

    pub async fn login(&self, host: &str, user: &str) -> Result<Carrier, CarrierConnectError> {
        let mut settings = self.settings(host);
        settings.credentials =
            Credentials::Password { user: user.to_owned(), password: PASSWORD.to_owned() };
        Carrier::connect(&settings).await
    }
}

impl Deref for Server {
    type Target = Nats;

    fn deref(&self) -> &Nats {
        &self.nats
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Nats {
        &mut self.nats
    }
}

/// Waits until the carrier has made its connection `number` or a later one.
pub async fn connected(carrier: &Carrier, number: u64) {
    let wanted = |state: &ConnectionState| matches!(state, ConnectionState::Connected { number: n } if *n >= number);
    let mut state = carrier.state();
    let _ = tokio::time::timeout(PATIENCE, state.wait_for(wanted)).await.expect("a connection");
}

/// Waits until the carrier is not connected; returns the reason.
pub async fn disconnected(carrier: &Carrier) -> String {
    let ended = |state: &ConnectionState| matches!(state, ConnectionState::Disconnected { .. });
    let mut state = carrier.state();
    let state =
        tokio::time::timeout(PATIENCE, state.wait_for(ended)).await.expect("a disconnection");
    match &*state.expect("a state") {
        ConnectionState::Disconnected { why, .. } => why.clone(),
        ConnectionState::Connected { .. } => unreachable!("only disconnections are waited for"),
    }
}
