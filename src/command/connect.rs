//! Finding the server, connecting to it, and starting the user's own where a command may.

use std::{
    ffi::OsString,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    args::Global,
    exit_code::{Exit, Failure},
    output::Output,
};
use crate::{
    chat::member::Kind,
    client::{Link, StartError},
    config,
    limits::{ANSWER_MS_DEFAULT, REPAIR_MS_MAX},
    os::{self, PlaceError, Places},
    session::{ConnectError, Connection},
    wire::hello::Hello,
};

/// Context of every command.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) global: Global,
    pub(super) out: Output,
}

impl Context {
    /// Returns the places of this command's server.
    pub(super) fn places(&self) -> Result<Places, Failure> {
        Ok(os::resolve(self.global.server.as_deref(), &config::environment())?)
    }

    /// Until when an answer is waited for.
    pub(super) fn deadline(&self) -> Instant {
        let default = Duration::from_millis(ANSWER_MS_DEFAULT);
        Instant::now() + self.global.timeout.map_or(default, Duration::from)
    }

    /// A connection to a server that is there.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        let places = self.places()?;
        let wait = self.deadline().saturating_duration_since(Instant::now());
        open(&places, wait).map_err(|e| self.no_connection(e, &places))
    }

    /// A connection; the user server is started if there is none.
    pub(super) fn connect_or_start(&mut self) -> Result<(Connection, Places), Failure> {
        let places = self.places()?;
        let wait = self.deadline().saturating_duration_since(Instant::now());
        match open(&places, wait) {
            Ok(connection) => Ok((connection, places)),
            Err(e @ ConnectError::NoServer(_)) if self.global.no_start || places.host => {
                Err(self.no_connection(e, &places))
            }
            Err(ConnectError::NoServer(_)) => {
                // Where none could live nothing is begun.
                os::check(&places).map_err(no_place)?;
                let dir = places.runtime.display();
                self.out.note(&format!("no server: starting one in the background ({dir})"));
                let connection = crate::client::start(&places, &self.server_args()?, wait)
                    .map_err(|e| match e {
                        StartError::Connect(e) => self.no_connection(e, &places),
                        e @ StartError::Failed(_) => Failure::new(
                            Exit::NoServer,
                            format!("{e}; `moot doctor` checks for the cause"),
                        ),
                        e @ (StartError::Spawn(_) | StartError::NotReady(_)) => {
                            Failure::new(Exit::NoServer, e.to_string())
                        }
                    })?;
                Ok((connection, places))
            }
            Err(e) => {
                // A home that this user can't enter: no server has refused the user.
                let is_usual = !places.host && places.runtime != places.state;
                match os::check(&places) {
                    Err(e @ PlaceError::Unusable { .. }) if is_usual => Err(no_place(e)),
                    _ => Err(self.no_connection(e, &places)),
                }
            }
        }
    }

    /// The server works in another directory: paths are written out for it.
    fn server_args(&self) -> Result<Vec<OsString>, Failure> {
        let absolute = |path: &Path| {
            std::path::absolute(path)
                .map_err(|e| Failure::new(Exit::Failed, format!("{}: {e}", path.display())))
        };
        let mut args: Vec<OsString> = Vec::new();
        if let Some(server) = &self.global.server {
            let server = match os::is_directory(server) {
                true => absolute(Path::new(server))?.into(),
                false => server.into(),
            };
            args.extend(["--server".into(), server]);
        }
        if let Some(config) = &self.global.config {
            args.extend(["--config".into(), absolute(config)?.into()]);
        }
        Ok(args)
    }

    /// Returns the failure of a command that needs a server when none runs.
    pub(super) fn no_server(&self) -> Result<Failure, Failure> {
        let places = self.places()?;
        Ok(Failure::new(Exit::NoServer, no_server_in(&places)))
    }

    pub(super) fn no_connection(&self, e: ConnectError, places: &Places) -> Failure {
        match e {
            ConnectError::NoServer(_) => {
                let dir = places.runtime.display();
                let text = if os::is_served(places) {
                    format!("the server in {dir} does not accept connections yet")
                } else {
                    no_server_in(places)
                };
                Failure::new(Exit::NoServer, text)
            }
            e @ (ConnectError::Denied(_)
            | ConnectError::TimedOut(_)
            | ConnectError::Place(_)
            | ConnectError::Untrusted { .. }
            | ConnectError::Io { .. }) => e.into(),
        }
    }

    /// Returns the environment for programs that a command runs, so that they mean the same server.
    pub(super) fn environment(&self, places: &Places) -> Vec<(&'static str, OsString)> {
        vec![("MOOT_SERVER", places.directory().into())]
    }

    /// Returns true if the time of a command that goes on has passed.
    pub(super) fn is_late(&self, since: Instant) -> bool {
        self.global.timeout.is_some_and(|t| since.elapsed() >= Duration::from(t))
    }

    /// The handshake of this command.
    pub(super) fn hello(&self, kind: Kind) -> Result<Hello, Failure> {
        let instance = os::random_bytes()
            .map_err(|e| Failure::new(Exit::Failed, format!("can't get random numbers: {e}")))?;
        Ok(Hello::new(self.global.label.clone(), kind, instance))
    }

    /// A session without threads with a server that is there.
    pub(super) fn link(&self) -> Result<Link, Failure> {
        let mut link = Link::open(self.connect()?, &self.hello(Kind::Script)?);
        link.set_deadline(Some(self.deadline()));
        if self.global.timeout.is_none() {
            link.set_reply_timeout(Duration::from_millis(ANSWER_MS_DEFAULT));
        }
        Ok(link)
    }

    /// The same, within some time.
    pub(super) fn link_within(&self, wait: Duration) -> Result<Link, Failure> {
        let places = self.places()?;
        let connection = open(&places, wait)?;
        let mut link = Link::open(connection, &self.hello(Kind::Script)?);
        link.set_deadline(Some(Instant::now() + wait));
        Ok(link)
    }
}

/// Converts an error of a directory that can't be made: no server can run there.
fn no_place(e: PlaceError) -> Failure {
    match e {
        e @ PlaceError::Unusable { .. } => Failure::new(Exit::NoServer, e.to_string()),
        e => e.into(),
    }
}

/// The way out for users whom the system server does not serve.
pub(super) const OWN_INSTEAD: &str = "--server own uses your own server";

/// Words for the place of a server that does not run.
pub(super) fn no_server_in(places: &Places) -> String {
    let dir = places.runtime.display();
    match places.host {
        true => format!(
            "the system server is not running (no server in {dir}); start it (`systemctl start \
             moot` or `moot serve --system`); {OWN_INSTEAD}"
        ),
        false => format!("no server in {dir}; start one with `moot serve`"),
    }
}

/// A connection to the server of these places. One whose socket was removed makes it again: that is
/// waited for.
pub(super) fn open(places: &Places, wait: Duration) -> Result<Connection, ConnectError> {
    let until = Instant::now() + wait.min(Duration::from_millis(REPAIR_MS_MAX));
    loop {
        match Connection::open(&os::located(places).socket(), wait) {
            Err(ConnectError::NoServer(_)) if Instant::now() < until && os::is_served(places) => {
                std::thread::sleep(LOOK_EVERY);
            }
            done => return done,
        }
    }
}

/// Interval between looks for a socket.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);
