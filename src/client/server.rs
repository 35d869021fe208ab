//! Finding the server and the everyday questions, for programs.

use std::time::{Duration, Instant};

use super::{
    link::{Link, LinkError, Sent, id_of},
    member::{Follows, Member},
};
use crate::{
    chat::{
        event::Event,
        frames::{Frame, Line, Submit},
        member::{Kind, Level},
        message::{AnnouncementId, StreamName},
        names::{Label, Target},
        refusal::{Refusal, RefusalCode},
        reply::{AnnouncementInfo, ReceiptInfo, Reply},
        request::{Announce, Begin, Follow, Request},
        text::{Text, TextError, TextRef},
    },
    config,
    limits::{ANSWER_MS_DEFAULT, RECEIPT_MS_DEFAULT},
    os::{self, Places},
    presence::{ReadError, Snapshot},
    session::Connection,
    wire::hello::Hello,
};

/// A server, and how this program wants to be known to it.
///
/// ```no_run
/// use moot::client::Server;
///
/// let server = Server::find(None)?.labelled("ci".parse()?);
/// let sent = server.say(&"dev".parse()?, "build ok")?;
/// println!("{} for {} others", sent.id, sent.members);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Server {
    places: Places,
    label: Option<Label>,
    kind: Kind,
    pub(super) timeout: Duration,
}

impl Server {
    /// Returns the server that the command line would use: the one named (a name, or a directory
    /// with a `/`), else `MOOT_SERVER`, else the host's, else the user's own.
    ///
    /// # Errors
    /// Returns an error if the name is not valid, or has no place on this host.
    pub fn find(choice: Option<&str>) -> Result<Self, os::PlaceError> {
        let named = std::env::var("MOOT_SERVER").ok().filter(|s| !s.is_empty());
        let places = os::resolve(choice.or(named.as_deref()), &config::environment())?;
        let timeout = Duration::from_millis(ANSWER_MS_DEFAULT);
        Ok(Self { places, label: None, kind: Kind::Script, timeout })
    }

    /// To be called `user/label`.
    #[must_use]
    pub fn labelled(self, label: Label) -> Self {
        Self { label: Some(label), ..self }
    }

    /// Sets the kind of this program; the default is a script.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Sets the time to wait for each answer; the default is ten seconds.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn hello(&self) -> Result<Hello, LinkError> {
        let instance = os::random_bytes().map_err(LinkError::Io)?;
        Ok(Hello::new(self.label.clone(), self.kind, instance))
    }

    /// Opens a session for requests and submits.
    ///
    /// # Errors
    /// Returns an error if no server can be trusted.
    pub fn link(&self) -> Result<Link, LinkError> {
        let mut link = self.begin()?;
        // The time of its first request is unknown, and a server does not wait long for a
        // handshake.
        link.welcome()?;
        Ok(link)
    }

    /// A session whose handshake goes with what is asked next, at once.
    fn begin(&self) -> Result<Link, LinkError> {
        let connection = Connection::open(&self.places.socket(), self.timeout)?;
        let mut link = Link::open(connection, &self.hello()?);
        link.set_deadline(Some(Instant::now() + self.timeout));
        Ok(link)
    }

    /// Sends a text once, and returns when it is acknowledged.
    ///
    /// # Errors
    /// Returns a refusal, or the connection's failure. After a failure it is not known whether the
    /// text was accepted; a [`Member`] submits again by itself.
    pub fn say(&self, target: &Target, text: &str) -> Result<Sent, LinkError> {
        let mut link = self.begin()?;
        let sent = link.say(target, text)?;
        link.quit();
        Ok(sent)
    }

    /// Tells every member, and says who was reached within two seconds.
    ///
    /// ```no_run
    /// use moot::client::{Level, Server};
    ///
    /// let receipt = Server::find(None)?.announce(Level::Warning, "reboot at 18:00")?;
    /// for missing in &receipt.missing {
    ///     eprintln!("not reached: {} (pid {}, {})", missing.name, missing.pid, missing.state);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns a refusal, or the connection's failure.
    pub fn announce(&self, level: Level, text: &str) -> Result<ReceiptInfo, LinkError> {
        let mut link = self.begin()?;
        let text = Text::new(text).map_err(unsendable)?;
        let wait = Duration::from_millis(RECEIPT_MS_DEFAULT);
        match link.announce(Announce::new(level, text), wait)? {
            Announced::Receipt(receipt) => {
                link.quit();
                Ok(receipt)
            }
            Announced::Scheduled { .. } | Announced::WouldReach { .. } => {
                Err(LinkError::Protocol("it was not announced".to_owned()))
            }
        }
    }

    /// Listens. What is said after this returns is not missed; when the server ends, the member
    /// comes back by itself and goes on where it was.
    ///
    /// ```no_run
    /// use moot::client::{Begin, Event, Follow, Server};
    ///
    /// let room = Follow::Room("dev".parse()?);
    /// let mut member = Server::find(None)?.listen(vec![room], Begin::Last(10))?;
    /// loop {
    ///     if let Event::Message(message) = member.next_event()? {
    ///         println!("{}: {}", message.from, message.text);
    ///     }
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the session does not begin, or something can't be followed.
    pub fn listen(&self, follow: Vec<Follow>, begin: Begin) -> Result<Member, LinkError> {
        let connection = Connection::open(&self.places.socket(), self.timeout)?;
        let follows = Follows { follow, begin, ..Follows::default() };
        let deadline = Some(Instant::now() + self.timeout);
        Member::join(connection, self.places.clone(), self.hello()?, follows, deadline)
    }

    /// Returns the sessions, read from shared memory without a word to the server.
    ///
    /// ```no_run
    /// for row in moot::client::Server::find(None)?.who()?.rows {
    ///     println!("{} {} {}", row.user, row.pid, row.state.word());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if no server is found, or its table can't be read.
    pub fn who(&self) -> Result<Snapshot, ReadError> {
        Snapshot::read(&self.places)
    }
}

pub(super) fn unsendable(e: TextError) -> LinkError {
    LinkError::Refusal(Refusal::new(RefusalCode::Input, e.to_string()))
}

/// Result of an announcement.
#[derive(Debug, Clone)]
pub enum Announced {
    /// It is made: who has it.
    Receipt(ReceiptInfo),
    /// It waits for its time.
    Scheduled {
        /// Id of the announcement until then.
        id: AnnouncementId,
        /// When, microseconds since 1970.
        at_us: i64,
        /// Over a restart of the server as well.
        kept: bool,
    },
    /// It was not made; it would have reached this number of members.
    WouldReach {
        /// Members at this time, the announcer aside.
        members: u32,
        /// Different users among them.
        users: u32,
    },
}

impl Link {
    /// Sends a text and waits until it is acknowledged.
    ///
    /// # Errors
    /// Returns a refusal, or the connection's failure.
    pub fn say(&mut self, target: &Target, text: &str) -> Result<Sent, LinkError> {
        let text = TextRef::new(text).map_err(unsendable)?;
        let (to, to_label) = self.destination(target)?;
        let mut stream = StreamName::from(target);
        let lines = vec![Line { reply_to: None, text }];
        let first = self.next_counter();
        self.queue_submit(&Submit { first, to, to_label, lines });
        loop {
            match self.wait()? {
                Frame::Ack(ack) => {
                    let run = self.welcome()?.run;
                    let (members, counter) = (ack.members, ack.first);
                    return Ok(Sent { id: id_of(stream, &ack, run), members, counter });
                }
                Frame::Nack { refusal, .. } => return Err(LinkError::Refusal(refusal)),
                Frame::Event(Event::Spelled(room)) => stream = StreamName::Room(room),
                Frame::Event(Event::Ping) => self.pong(),
                Frame::Event(_) | Frame::Reply { .. } => {}
            }
        }
    }

    /// Announces, and gives the receipt: once the number of members asked for is covered, or after
    /// `wait`.
    ///
    /// # Errors
    /// Returns a refusal, or the connection's failure.
    pub fn announce(&mut self, announce: Announce, wait: Duration) -> Result<Announced, LinkError> {
        let (number, recipients) = match self.ask(&Request::Announce(announce))? {
            Reply::Announced { number, members, hosts } => (number, members.max(hosts)),
            Reply::Scheduled { schedule, at_us, kept } => {
                let id = AnnouncementId::Scheduled(schedule);
                return Ok(Announced::Scheduled { id, at_us, kept });
            }
            Reply::WouldReach { members, users } => {
                return Ok(Announced::WouldReach { members, users });
            }
            _ => return Err(LinkError::Protocol("it was not announced".to_owned())),
        };
        if recipients > 0 {
            self.wait_until_covered(number, Instant::now() + wait)?;
        }
        self.set_deadline(Some(Instant::now() + Duration::from_millis(RECEIPT_MS_DEFAULT)));
        self.receipt(AnnouncementId::Number(number)).map(Announced::Receipt)
    }

    /// Waits for the server's word that there is nothing more to wait for, or for the time to be
    /// out.
    fn wait_until_covered(&mut self, number: u64, until: Instant) -> Result<(), LinkError> {
        let covers = |event: &Event| *event == Event::Covered { number };
        if self.take_events().iter().any(covers) {
            return Ok(());
        }
        self.set_deadline(Some(until));
        loop {
            match self.wait() {
                Ok(Frame::Event(event)) if covers(&event) => return Ok(()),
                Ok(Frame::Event(Event::Ping)) => self.pong(),
                Ok(_) => {}
                Err(LinkError::TimedOut) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// The receipt of an announcement with all its missing members, however many frames that takes.
    ///
    /// # Errors
    /// Returns a refusal, or the connection's failure.
    pub fn receipt(&mut self, id: AnnouncementId) -> Result<ReceiptInfo, LinkError> {
        let (mut missing, mut skip) = (Vec::new(), 0);
        loop {
            let Reply::Receipt(page) = self.ask(&Request::Receipt { id, skip })? else {
                return Err(LinkError::Protocol("no receipt".to_owned()));
            };
            missing.extend(page.missing.iter().cloned());
            match page.next {
                Some(next) => skip = next,
                None => {
                    // A member reached while the pages came is counted as it was listed.
                    let reached = page.members - missing.len() as u32;
                    return Ok(ReceiptInfo { reached, missing, ..page });
                }
            }
        }
    }

    /// Announcements that wait, then those that were made, the newest first.
    ///
    /// # Errors
    /// Returns the connection's failure.
    pub fn notices(&mut self) -> Result<Vec<AnnouncementInfo>, LinkError> {
        let mut all = Vec::new();
        loop {
            let skip = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let Reply::Notices { notices, more } = self.ask(&Request::Notices { skip })? else {
                return Err(LinkError::Protocol("no announcements".to_owned()));
            };
            all.extend(notices);
            if !more {
                return Ok(all);
            }
        }
    }
}
