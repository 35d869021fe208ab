//! A link's session with the server of its host: asks, and comes back after a break.

use std::time::Duration;

use crate::{
    chat::{
        linked::{LinkRequest, LinkedStream},
        message::Message,
        names::{HostName, Target},
        refusal::Refusal,
        reply::{Reply, SpanInfo},
        request::Request,
    },
    client::{Link, LinkError},
    os::{self, Places},
    session::{ConnectError, Connection},
    wire::hello::Hello,
};

/// Maximum wait for an answer: a commit may take long.
const REPLY_WITHIN: Duration = Duration::from_secs(30);
/// Maximum wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why the server of this host did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// The connection failed; nothing is known of the request.
    #[error("the server of this host can't be asked: {0}")]
    Lost(String),
    /// It was refused.
    #[error("{}", .0.text)]
    Refused(Refusal),
}

impl From<LinkError> for LocalError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Refusal(refusal) => Self::Refused(refusal),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// A session that is there when it is needed.
#[derive(Debug)]
pub(super) struct Local {
    places: Places,
    hello: Hello,
    host: HostName,
    session: Option<Link>,
}

impl Local {
    pub(super) fn new(places: Places, hello: Hello, host: HostName) -> Self {
        Self { places, hello, host, session: None }
    }

    /// Opens a connection to the server.
    pub(super) fn connect(places: &Places) -> Result<Connection, ConnectError> {
        Connection::open(&os::located(places).socket(), CONNECT_WITHIN)
    }

    /// The session, as a link of this host.
    fn session(&mut self) -> Result<&mut Link, LocalError> {
        if self.session.is_none() {
            let lost = |e: ConnectError| LocalError::Lost(e.to_string());
            let connection = Self::connect(&self.places).map_err(lost)?;
            let mut session = Link::open(connection, &self.hello);
            session.set_reply_timeout(REPLY_WITHIN);
            let begin = LinkRequest::Begin { host: self.host.clone() };
            session.ask(&Request::Link(begin))?;
            self.session = Some(session);
        }
        self.session.as_mut().ok_or_else(|| LocalError::Lost("no session".to_owned()))
    }

    /// Does something with the session, which ends if that fails but for a refusal.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Link) -> Result<T, LinkError>,
    ) -> Result<T, LocalError> {
        let done = act(self.session()?).map_err(LocalError::from);
        if let Err(LocalError::Lost(_)) = &done {
            self.session = None;
        }
        done
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Reply, LocalError> {
        self.with(|session| session.ask(request))
    }

    /// Returns messages of a room from a number to another one, until `each` returns false.
    pub(super) fn each_message(
        &mut self,
        stream: &LinkedStream,
        numbers: (u64, u64),
        mut each: impl FnMut(&Message) -> bool,
    ) -> Result<(), LocalError> {
        // Only rooms can be read this way.
        let LinkedStream::Room(room) = stream else { return Ok(()) };
        let target = Target::Room(room.clone());
        let name = crate::chat::stream_id::StreamLabel::Room(room.clone());
        let span = SpanInfo { name, first: 1, head: numbers.1, stored: true };
        let done = self.with(|session| {
            let read = session.messages(&target, &span, numbers, |message| {
                if each(&message) { Ok(()) } else { Err(Reading::Enough) }
            });
            match read {
                Ok(()) | Err(Reading::Enough) => Ok(()),
                Err(Reading::Failed(e)) => Err(e),
            }
        });
        done
    }

    /// Returns the message of a number; none if it is no longer stored.
    pub(super) fn message_at(
        &mut self,
        stream: &LinkedStream,
        seq: u64,
    ) -> Result<Option<Message>, LocalError> {
        let mut found = None;
        self.each_message(stream, (seq, seq), |message| {
            found = Some(message.clone());
            false
        })?;
        Ok(found)
    }

    /// Number of the session: rows that it brought go with it.
    pub(super) fn session_number(&mut self) -> Result<u64, LocalError> {
        self.with(|session| Ok(session.welcome()?.session))
    }

    /// Ends the session.
    pub(super) fn quit(&mut self) {
        if let Some(session) = self.session.take() {
            session.quit();
        }
    }
}

/// End of a reading.
enum Reading {
    /// Nothing more is wanted.
    Enough,
    Failed(LinkError),
}

impl From<LinkError> for Reading {
    fn from(error: LinkError) -> Self {
        Self::Failed(error)
    }
}
