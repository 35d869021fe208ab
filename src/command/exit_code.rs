//! Exit codes: every end of a command in one place.

use std::process::ExitCode;

use crate::{
    chat::refusal::{Refusal, RefusalCode},
    client::LinkError,
    history::{CopyError, HistoryError},
    os::PlaceError,
    presence::ReadError,
    session::ConnectError,
    wire::hello::{Refused, RefusedCode},
};

/// Exit codes of the command line contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done as asked.
    Done = 0,
    /// Failed, or nothing matched.
    Failed = 1,
    /// Used wrongly, or input that can't be sent.
    Usage = 2,
    /// No server runs.
    NoServer = 3,
    /// Permission was denied.
    Denied = 4,
    /// No such room, member or id.
    Absent = 5,
    /// Sent, but not to as many as required.
    TooFew = 6,
    /// The server speaks another version of the protocol.
    Version = 7,
    /// Its time has passed.
    TimedOut = 124,
    /// `run`: moot itself failed, and the command was not run, or not to its end.
    OwnFault = 125,
    /// `run`: the command was found and can't be executed.
    NotExecutable = 126,
    /// `run`: the command was not found.
    NotFound = 127,
    /// Ended by a signal.
    Interrupted = 130,
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it should, with its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    /// The reader of standard output has gone: that is its right, and success.
    pub(super) fn closed_pipe() -> Self {
        Self::new(Exit::Done, "")
    }
}

/// A word on the command line that has no meaning there.
impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(Exit::Usage, text)
    }
}

impl From<PlaceError> for Failure {
    fn from(e: PlaceError) -> Self {
        let exit = match &e {
            PlaceError::Name { .. } | PlaceError::TooLong { .. } => Exit::Usage,
            PlaceError::Unsafe { .. } | PlaceError::Taken { .. } => Exit::Denied,
            e if e.is_denied() => Exit::Denied,
            PlaceError::NoHome
            | PlaceError::Network { .. }
            | PlaceError::Unusable { .. }
            | PlaceError::Io { .. } => Exit::Failed,
        };
        Self::new(exit, e.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(e: ReadError) -> Self {
        let exit = match e {
            ReadError::NoServer { .. } => Exit::NoServer,
            ReadError::Denied { .. } => Exit::Denied,
            _ => Exit::Failed,
        };
        Self::new(exit, e.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let exit = match refusal.code {
            RefusalCode::Failed | RefusalCode::UnknownSubmit => Exit::Failed,
            RefusalCode::Input => Exit::Usage,
            RefusalCode::Denied => Exit::Denied,
            RefusalCode::Absent => Exit::Absent,
        };
        Self::new(exit, refusal.text)
    }
}

impl From<ConnectError> for Failure {
    fn from(e: ConnectError) -> Self {
        let exit = match &e {
            ConnectError::Denied(_)
            | ConnectError::Untrusted { .. }
            | ConnectError::Place(PlaceError::Unsafe { .. }) => Exit::Denied,
            ConnectError::TimedOut(_) => Exit::TimedOut,
            ConnectError::NoServer(_) | ConnectError::Io { .. } | ConnectError::Place(_) => {
                Exit::NoServer
            }
        };
        Self::new(exit, e.to_string())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let exit = match refused.code {
            RefusedCode::Denied => Exit::Denied,
            RefusedCode::Version => Exit::Version,
            RefusedCode::Failed | RefusedCode::Input | RefusedCode::Other(_) => Exit::Failed,
        };
        Self::new(exit, refused.text)
    }
}

impl From<LinkError> for Failure {
    fn from(e: LinkError) -> Self {
        match e {
            LinkError::Refusal(refusal) => refusal.into(),
            LinkError::Refused(refused) => refused.into(),
            e @ LinkError::TimedOut => Self::new(Exit::TimedOut, e.to_string()),
            LinkError::Connect(e) => e.into(),
            e @ (LinkError::Ended(_) | LinkError::Io(_)) => {
                Self::new(Exit::NoServer, e.to_string())
            }
            e @ LinkError::Protocol(_) => Self::new(Exit::Failed, e.to_string()),
        }
    }
}

impl From<CopyError> for Failure {
    fn from(e: CopyError) -> Self {
        let exit = match &e {
            CopyError::Absent(_) => Exit::Absent,
            CopyError::History(HistoryError::Newer { .. }) => Exit::Version,
            CopyError::History(_) | CopyError::Io { .. } => Exit::Failed,
        };
        Self::new(exit, e.to_string())
    }
}
