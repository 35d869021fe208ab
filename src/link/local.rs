//! A link's session with the server of its host: its requests, and a new session after a break.

use std::time::Duration;

use crate::{
    chat::{
        linked::{LinkRequest, LinkedStream},
        message::Message,
        names::{HostName, Target},
        refusal::Refusal,
        reply::Reply,
        request::{HistoryRequest, Request},
    },
    client::{BootId, Link, LinkError},
    os::{self, Places},
    session::{ConnectError, Connection},
    wire::hello::Hello,
};

/// Maximum wait for an answer: a commit may take long.
const REPLY_WITHIN: Duration = Duration::from_secs(30);
/// Maximum wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Reason why a request to the server of this host failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// The connection failed; the result of the request is unknown.
    #[error("the server of this host can't be asked: {0}")]
    Lost(String),
    /// The server refused the request.
    #[error("{}", .0.text)]
    Refused(Refusal),
}

impl LocalError {
    /// Returns the error of a reply of another kind than the request needs.
    pub(super) fn unexpected(reply: &Reply) -> Self {
        Self::Lost(format!("an answer that does not fit: {reply:?}"))
    }
}

impl From<LinkError> for LocalError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Refusal(refusal) => Self::Refused(refusal),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// One session of one boot of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionKey {
    run: BootId,
    session: u64,
}

/// Session that is opened when it is needed.
#[derive(Debug)]
pub(super) struct LocalSession {
    places: Places,
    hello: Hello,
    host: HostName,
    session: Option<Link>,
}

impl LocalSession {
    pub(super) fn new(places: Places, hello: Hello, host: HostName) -> Self {
        Self { places, hello, host, session: None }
    }

    /// Opens a connection to the server.
    pub(super) fn connect(places: &Places) -> Result<Connection, ConnectError> {
        Connection::open(&os::located(places).socket(), CONNECT_WITHIN)
    }

    /// Returns the session, as a link of this host; opens it if there is none.
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

    /// Calls `act` with the session, and drops the session after any error but a refusal.
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

    /// Sends a request, and waits for its reply.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Reply, LocalError> {
        self.with(|session| session.ask(request))
    }

    /// Calls `each` with the messages between two numbers, in order, until it returns false.
    pub(super) fn each_message(
        &mut self,
        stream: &LinkedStream,
        (first, last): (u64, u64),
        mut each: impl FnMut(&Message) -> bool,
    ) -> Result<(), LocalError> {
        let mut next = first.max(1);
        while next <= last {
            let request = match stream {
                LinkedStream::Room(room) => {
                    let target = Target::Room(room.clone());
                    Request::History(HistoryRequest::Page { target, first: next, last })
                }
                LinkedStream::Announcements => {
                    Request::Link(LinkRequest::Announcements { first: next, last })
                }
            };
            let page = match self.ask(&request)? {
                Reply::Page(page) => page,
                other => return Err(LocalError::unexpected(&other)),
            };
            if page.last == 0 {
                return Ok(());
            }
            for message in page.messages(&stream.name()) {
                if (next..=last).contains(&message.id.seq) && !each(&message) {
                    return Ok(());
                }
            }
            next = page.last + 1;
        }
        Ok(())
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

    /// Returns the key of the session, after a request that proves it: its rows end with it.
    pub(super) fn session_key(&mut self) -> Result<SessionKey, LocalError> {
        self.ask(&Request::Link(LinkRequest::Imports { skip: u32::MAX }))?;
        self.with(|session| {
            let welcome = session.welcome()?;
            Ok(SessionKey { run: welcome.run, session: welcome.session })
        })
    }

    /// Ends the session.
    pub(super) fn quit(&mut self) {
        if let Some(session) = self.session.take() {
            session.quit();
        }
    }
}
