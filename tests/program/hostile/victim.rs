//! A user beside an attack, whose texts, questions and messages all have to be served.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use moot::{
    chat::{
        batch::Reader,
        event::Event,
        frames::{Destination, Frame, Line, Submit},
        member::{Kind, Level},
        message::AnnouncementId,
        names::{Target, UserName},
        reply::{Reply, StreamInfo},
        request::{Announce, Answering, Begin, Follow, HistoryRequest, Request, SearchRequest},
        text::Text,
    },
    client::{self, Link, Server, Wake},
    session::Connection,
    wire::hello::Hello,
};

use super::raw::{PATIENCE, as_user, room};

/// The room in which the victim speaks and listens.
pub const QUIET: &str = "quiet";
/// Another room of theirs.
const ASIDE: &str = "aside";

/// Success, or what the victim did not get.
pub type Outcome<T = ()> = Result<T, String>;

/// One session that asks and speaks, and one that listens.
pub struct Victim {
    dir: PathBuf,
    uid: u32,
    link: Link,
    counter: u64,
    listener: Listener,
    /// End of the time for everything that follows; a server that needs longer hangs.
    deadline: Instant,
}

impl Victim {
    /// Begins to listen in [`QUIET`].
    pub fn new(dir: &Path, uid: u32) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let link = link(dir, uid, deadline).unwrap();
        let (dir, listener) = (dir.to_owned(), Listener::new(dir, uid));
        Self { dir, uid, link, counter: 0, listener, deadline }
    }

    /// Gives everything that follows its time.
    pub fn begin(&mut self) {
        self.deadline = Instant::now() + PATIENCE;
        self.link.set_deadline(Some(self.deadline));
    }

    /// Submits a text, and waits for its number.
    pub fn send(&mut self, to: &str, text: &str) -> Outcome<u64> {
        self.counter += 1;
        let lines = vec![Line { reply_to: None, text: text.try_into().unwrap() }];
        let to = Destination::Room(room(to));
        self.link.queue_submit(&Submit { first: self.counter, to, to_label: None, lines });
        loop {
            match self.link.wait().map_err(|e| format!("a text is not acknowledged: {e}"))? {
                Frame::Ack(ack) if (ack.first, ack.count) == (self.counter, 1) => {
                    return Ok(ack.seq);
                }
                Frame::Event(Event::Ping) => self.link.pong(),
                Frame::Event(_) => {}
                other => return Err(format!("a text is answered by {other:?}")),
            }
        }
    }

    /// Asks, and waits for the reply.
    pub fn ask(&mut self, request: &Request) -> Outcome<Reply> {
        self.link.ask(request).map_err(|e| format!("{request:?}: {e}"))
    }

    fn join(&mut self, name: &str, begin: Begin) -> Outcome<StreamInfo> {
        let follow = Follow::Room(room(name));
        let join = Request::Join { follow, begin, membership: false, keep: false };
        match self.ask(&join)? {
            Reply::Joined(mut infos) => infos.pop().ok_or_else(|| "joined nothing".to_owned()),
            other => Err(format!("{other:?}")),
        }
    }

    fn part(&mut self, info: &StreamInfo) -> Outcome {
        self.ask(&Request::Part { stream: info.tag, forget: false }).map(drop)
    }

    /// Does what users do all day: submits a text that arrives, lists members, reads the history, joins and leaves.
    pub fn round(&mut self) -> Outcome {
        let text = format!("text {}", self.counter);
        let seq = self.send(QUIET, &text)?;
        self.listener.until(seq, self.deadline)?;
        let info = self.join(ASIDE, Begin::Now)?;
        self.part(&info)?;
        let Reply::Who { who, .. } = self.ask(&Request::Who { room: room(QUIET), skip: 0 })? else {
            return Err("who is not answered".to_owned());
        };
        if who.is_empty() {
            return Err("a room with a member has none".to_owned());
        }
        self.page(QUIET, seq, &text)?;
        link(&self.dir, self.uid, self.deadline)?.quit();
        Ok(())
    }

    /// Reads one message, whose text is known.
    fn page(&mut self, name: &str, seq: u64, text: &str) -> Outcome {
        let page = Request::History(HistoryRequest::Page {
            target: Target::Room(room(name)),
            first: seq,
            last: seq,
        });
        let Reply::Page(page) = self.ask(&page)? else {
            return Err("no page".to_owned());
        };
        let messages = Reader::new(&page.body).map_err(|e| e.to_string())?;
        let found = messages.into_iter().flatten().find(|message| message.seq == seq);
        match found.is_some_and(|message| message.text.as_bytes() == text.as_bytes()) {
            true => Ok(()),
            false => Err(format!("{name}:{seq} has another text")),
        }
    }

    /// Uses everything that has a bound: the victim's share of each is left.
    pub fn everything(&mut self) -> Outcome {
        let made = room("made-later");
        let create = Request::CreateRoom {
            room: made.clone(),
            history: true,
            private: false,
            read_only: false,
        };
        self.ask(&create)?;
        self.ask(&Request::Topic { room: made.clone(), topic: "a topic".to_owned() })?;
        let seq = self.send("made-later", "the word needle")?;
        self.page("made-later", seq, "the word needle")?;
        let target = Target::Room(made.clone());
        let search = Request::History(HistoryRequest::Search(SearchRequest {
            text: "needle".to_owned(),
            target: Some(target.clone()),
            from: None,
            since_us: None,
            before: 0,
            limit: 5,
        }));
        match self.ask(&search)? {
            Reply::Hits { hits, .. } if hits.len() == 1 => {}
            other => return Err(format!("a search finds {other:?}")),
        }
        self.ask(&Request::MarkRead { target: target.clone(), seq })?;
        self.ask(&Request::History(HistoryRequest::Unread { target: Some(target), skip: 0 }))?;
        let info = self.join("jobs", Begin::Now)?;
        let answering = Answering {
            stream: info.tag,
            queue: None,
            jobs: 1,
            holding: Vec::new(),
            done: Vec::new(),
        };
        self.ask(&Request::Answer(answering))?;
        self.part(&info)?;
        let text = Text::new("to all").map_err(|e| e.to_string())?;
        match self.ask(&Request::Announce(Announce::new(Level::Info, text)))? {
            Reply::Announced { number, .. } => {
                self.ask(&Request::Receipt { id: AnnouncementId::Number(number), skip: 0 })?;
            }
            other => return Err(format!("an announcement is answered by {other:?}")),
        }
        self.ask(&Request::Away { label: None, text: "away".to_owned() })?;
        self.ask(&Request::Back { label: None })?;
        self.ask(&Request::Open {
            target: Target::User { user: UserName::new("root").unwrap(), label: None },
        })?;
        self.ask(&Request::DeleteRoom { room: made })?;
        Ok(())
    }

    /// Fills the backlog of a room without history.
    pub fn fill_unstored(&mut self, name: &str) -> Outcome {
        let create = Request::CreateRoom {
            room: room(name),
            history: false,
            private: false,
            read_only: false,
        };
        self.ask(&create)?;
        (0..UNSTORED).try_for_each(|_| self.send(name, &"x".repeat(30_000)).map(drop))
    }

    /// Checks that all of these messages are still there.
    pub fn all_unstored(&mut self, name: &str) -> Outcome {
        let span = Request::History(HistoryRequest::Span { target: Target::Room(room(name)) });
        match self.ask(&span)? {
            Reply::Span(span) if (span.first, span.head) == (1, UNSTORED) => Ok(()),
            other => Err(format!("of {UNSTORED} messages there are left: {other:?}")),
        }
    }
}

/// Texts of 30,000 bytes that a room without history keeps.
const UNSTORED: u64 = 100;

/// A session of a user.
fn link(dir: &Path, uid: u32, deadline: Instant) -> Outcome<Link> {
    as_user(uid, || {
        let left = deadline.saturating_duration_since(Instant::now());
        let connection = Connection::open(&dir.join("socket"), left);
        let instance = moot::os::random_bytes().map_err(|e| e.to_string())?;
        let hello = Hello::new(None, Kind::Script, instance);
        let mut link = Link::open(connection.map_err(|e| e.to_string())?, &hello);
        link.set_deadline(Some(deadline));
        link.welcome().map_err(|e| format!("no session: {e}"))?;
        Ok(link)
    })
}

/// A member that has to get each message in order, without a gap, over one connection.
struct Listener {
    heard: Receiver<Outcome<u64>>,
    ends: Arc<AtomicBool>,
}

impl Listener {
    fn new(dir: &Path, uid: u32) -> Self {
        let (to_victim, heard) = channel();
        let ends = Arc::new(AtomicBool::new(false));
        let (dir, until) = (format!("{}/", dir.display()), Arc::clone(&ends));
        thread::spawn(move || as_user(uid, || listen(&dir, &to_victim, &until)));
        let listener = Self { heard, ends };
        let ready = listener.heard.recv_timeout(PATIENCE);
        assert_eq!(ready, Ok(Ok(0)), "the listener begins");
        listener
    }

    /// Waits until the listener has got the message of this number.
    fn until(&mut self, seq: u64, deadline: Instant) -> Outcome {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = self.heard.recv_timeout(left);
            match next.map_err(|_| format!("the listener never gets {QUIET}:{seq}"))?? {
                heard if heard < seq => {}
                heard if heard == seq => return Ok(()),
                heard => return Err(format!("the listener gets {heard} before {seq}")),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

fn listen(dir: &str, to_victim: &Sender<Outcome<u64>>, ends: &AtomicBool) {
    let server = Server::find(Some(dir)).unwrap().within(PATIENCE);
    let mut member = server.listen(vec![Follow::Room(room(QUIET))], Begin::Now).unwrap();
    let mut last = None;
    while !ends.load(Ordering::Relaxed) {
        let received =
            match member.wait::<()>(None, Some(Instant::now() + Duration::from_millis(200))) {
                Wake::Event(client::Event::Ready { .. }) if last.is_none() => {
                    last = Some(0);
                    Ok(0)
                }
                Wake::Event(client::Event::Message(message)) => {
                    let seq = message.id.seq;
                    match last.replace(seq) {
                        Some(before) if before > 0 && seq != before + 1 => {
                            Err(format!("the listener gets {seq} after {before}"))
                        }
                        _ => Ok(seq),
                    }
                }
                Wake::Event(
                    client::Event::Joined { .. }
                    | client::Event::Left { .. }
                    | client::Event::Topic { .. }
                    | client::Event::Invited { .. }
                    | client::Event::Cancelled { .. },
                )
                | Wake::TimedOut => continue,
                other => Err(format!("the listener gets {other:?}")),
            };
        if to_victim.send(received).is_err() {
            return;
        }
    }
}
