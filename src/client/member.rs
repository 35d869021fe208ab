//! A member: listens to streams over session and broadcast, in order and without doubles, and comes
//! back by itself.
//!
//! The caller's own thread waits for both at once ([`Intake`]; on Windows two threads read for it).
//! What comes goes through the member's [`MemberState`], which puts it in order. Correctness never
//! depends on the broadcast channel: what does not come by it is asked for by session.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    event::Event,
    link::{Link, LinkError},
    mailbox::WakeReceiver,
    member_state::{MemberState, Wish},
};
use crate::{
    chat::{
        batch::MessageRef,
        clock::Now,
        member::Kind as MemberKind,
        message::{Message, StreamName},
        names::{RoomName, Target},
        reply::Page,
        request::{Follow, Request, SessionRequest},
        stream_id::StreamId,
        text::Text,
    },
    os::{self, Came, INTAKE_BYTES, Intake, Places, Woken},
    session::Connection,
    wire::hello::Hello,
};

pub use super::member_state::Follows;

/// Datagrams that are taken at most before something is called missing.
const CATCH_UP_DATAGRAMS: usize = 256;
/// Maximum time in which a goodbye is written.
const GOOD_BYE_WITHIN: Duration = Duration::from_millis(300);
/// First and longest pause between tries to reconnect.
const RECONNECT_MS: (u64, u64) = (50, 2_000);

/// Reason why [`Member::wait`] returned.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an event is moved once, from its queue")]
pub enum Wake<T> {
    /// An event of the member.
    Event(Event),
    /// An item of the caller's own channel; none once that is closed.
    Item(Option<T>),
    /// The deadline has passed.
    TimedOut,
}

/// A listening session.
#[derive(Debug)]
pub struct Member {
    places: Places,
    state: MemberState,
    intake: Option<Intake>,
    buffer: Vec<u8>,
    retry: Retry,
    reconnects: bool,
}

/// When to try to reconnect.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    pause_ms: u64,
}

fn now() -> Now {
    Now { mono_us: os::monotonic_us(), wall_us: os::wall_us() }
}

impl Member {
    /// Joins. The first event is [`Event::Ready`]; a backlog comes after it.
    ///
    /// # Errors
    /// Returns an error if the session does not begin, or something can't be followed.
    #[doc(hidden)]
    pub fn join(
        connection: Connection,
        places: Places,
        hello: Hello,
        follows: Follows,
        deadline: Option<Instant>,
    ) -> Result<Self, LinkError> {
        let mut member = Self::new(places, hello, follows);
        member.connect(connection, deadline)?;
        member.until_ready(deadline)?;
        Ok(member)
    }

    /// Begins without a session, and tries to have one as long as it is waited for
    /// ([`Member::wait`]): for a program that has something else to do. Each session is reported by
    /// [`Event::Ready`]; a refusal is then reported too, and everything else goes on.
    #[must_use]
    #[doc(hidden)]
    pub fn begin(places: Places, hello: Hello, follows: Follows) -> Self {
        let mut member = Self::new(places, hello, follows);
        member.state.bears_refusals = true;
        member
    }

    fn new(places: Places, hello: Hello, follows: Follows) -> Self {
        Self {
            places,
            state: MemberState::new(hello, follows),
            intake: None,
            buffer: vec![0; INTAKE_BYTES],
            retry: Retry { at: Instant::now(), pause_ms: RECONNECT_MS.0 },
            reconnects: true,
        }
    }

    /// Goes on with a connection that another part of the program made.
    ///
    /// # Errors
    /// Returns an error if no session begins; it is tried again, unless it was refused for good.
    #[doc(hidden)]
    pub fn adopt(&mut self, connection: Connection, within: Duration) -> Result<(), LinkError> {
        let done = self.connect(connection, Some(Instant::now() + within));
        if let Err(LinkError::Refused(refused)) = &done
            && refused.code.is_final()
        {
            self.reconnects = false;
        }
        done
    }

    /// Tries to have a connection the next time it is waited for, if it has none.
    pub fn hurry(&mut self) {
        self.retry.at = Instant::now();
    }

    /// Returns true if everything is joined: a message sent now goes out now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
    }

    /// Returns the name of the current user, from the server's kernel.
    #[must_use]
    pub fn user(&self) -> &str {
        self.state.user()
    }

    /// Returns the kind of process that it claims to be in public.
    #[must_use]
    pub fn kind(&self) -> MemberKind {
        self.state.hello.kind
    }

    /// Returns true if there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.intake.is_some()
    }

    /// Submits that are not acknowledged yet.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.state.unacked()
    }

    /// Bytes of those texts.
    #[must_use]
    pub fn unacked_bytes(&self) -> usize {
        self.state.unacked_bytes()
    }

    /// Returns true if all messages known to exist were shown, own texts included.
    #[must_use]
    pub fn has_shown_all(&self) -> bool {
        self.state.has_shown_all()
    }

    /// From now on hands each message of the rooms that it follows to `tap` as it is in the buffer,
    /// in order, and makes no event of it: for a program with many to take. It is called by the one
    /// that waits for this member ([`Member::wait`], or a [`MemberSet`](super::MemberSet) that it was added
    /// to).
    #[doc(hidden)]
    pub fn tap(&mut self, tap: impl FnMut(&MessageRef<'_>) + Send + 'static) {
        self.state.tap = Some(Box::new(tap));
    }

    /// Begins a session and asks to follow everything, from the present position in each stream.
    fn connect(
        &mut self,
        connection: Connection,
        deadline: Option<Instant>,
    ) -> Result<(), LinkError> {
        let mut link = Link::open(connection, &self.state.hello);
        link.set_deadline(deadline);
        let welcome = link.welcome()?.clone();
        let (connection, rest) = link.into_parts();
        self.intake = Some(connection.into_intake(welcome.source_port)?);
        self.state.begin(&welcome);
        // What came together with the welcome.
        if let Err(e) = self.state.take_bytes(now(), &rest) {
            self.lose(&e.to_string());
            return Err(e);
        }
        self.settle();
        Ok(())
    }

    /// Waits until everything is joined.
    fn until_ready(&mut self, deadline: Option<Instant>) -> Result<(), LinkError> {
        while !self.state.is_ready() {
            let wait = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if wait.is_some_and(|wait| wait.is_zero()) {
                return Err(LinkError::TimedOut);
            }
            if self.intake.is_none() {
                return Err(LinkError::Ended("before everything was joined".to_owned()));
            }
            self.take_in(None, wait)?;
        }
        Ok(())
    }

    /// Waits for what happens next: here, on the caller's own channel, or in time.
    pub fn wait<T>(
        &mut self,
        mailbox: Option<&WakeReceiver<T>>,
        deadline: Option<Instant>,
    ) -> Wake<T> {
        loop {
            if let Some(item) = mailbox.and_then(|mailbox| mailbox.read_urgent()) {
                return Wake::Item(Some(item));
            }
            if let Some(event) = self.state.next_event() {
                return Wake::Event(event);
            }
            self.tick();
            if self.state.has_events() {
                continue;
            }
            if let Some(item) = mailbox.and_then(WakeReceiver::read) {
                return Wake::Item(item);
            }
            let now = Instant::now();
            if deadline.is_some_and(|at| at <= now) {
                return Wake::TimedOut;
            }
            let wait = [deadline, self.next_tick(now)].into_iter().flatten().min();
            let wait = wait.map(|at| at.saturating_duration_since(now));
            self.take_or_lose(mailbox.map(|mailbox| mailbox.woken()), wait);
        }
    }

    /// Takes what is there without waiting; true if nothing of it is to be shown. The caller may
    /// then write out what it has gathered.
    pub fn is_quiet(&mut self) -> bool {
        if !self.state.has_events() && self.intake.is_some() {
            self.take_or_lose(None, Some(Duration::ZERO));
        }
        !self.state.has_events()
    }

    /// Watches it together with others; once more after [`Member::end_turn`] said so.
    pub(super) fn watch(&self, poller: &mut os::Poller, number: usize) -> io::Result<()> {
        self.intake.as_ref().map_or(Ok(()), |intake| poller.watch(number, intake))
    }

    /// Takes a datagram into the caller's buffer; it counts only once the session is known to live.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.intake.as_mut()?.receive(buffer)
    }

    /// Returns true if any of these has lost its session.
    pub(super) fn any_ended<'a>(members: impl Iterator<Item = &'a Self>) -> bool {
        Intake::any_ended(members.filter_map(|member| member.intake.as_ref()))
    }

    /// Takes what [`Member::receive`] gave.
    pub(super) fn take_datagram(&mut self, datagram: &mut [u8]) {
        self.state.take_datagram(now(), datagram);
    }

    /// Takes what is there of the session, without waiting, with the caller's buffer.
    pub(super) fn take_session(&mut self, buffer: &mut [u8]) -> Result<(), LinkError> {
        let Some(intake) = &mut self.intake else {
            return Err(LinkError::Ended("the connection was lost".to_owned()));
        };
        let (state, mut failed) = (&mut self.state, None);
        intake.take_session(buffer, &mut |came| take(state, came, &mut failed));
        failed.map_or(Ok(()), Err)
    }

    /// Sends what is due, with the caller's buffer. Returns true if it has to be watched again.
    pub(super) fn end_turn(&mut self, buffer: &mut [u8]) -> bool {
        self.catch_up(buffer);
        self.state.tick(os::monotonic_us());
        self.settle()
    }

    /// Before it asks for what is missing, it takes what has come.
    fn catch_up(&mut self, buffer: &mut [u8]) {
        let Some(intake) = &mut self.intake else { return };
        for _ in 0..CATCH_UP_DATAGRAMS {
            if !self.state.is_repair_due(os::monotonic_us()) {
                return;
            }
            let Some(bytes) = intake.receive(buffer) else { return };
            if Intake::any_ended(std::iter::once(&*intake)) {
                return;
            }
            self.state.take_datagram(now(), &mut buffer[..bytes]);
        }
    }

    /// Returns true if something is still to be written.
    pub(super) fn has_output(&self) -> bool {
        self.intake.is_some() && !self.state.out.is_empty()
    }

    /// Passes over what happened beside messages; fails if it is to get no further messages.
    pub(super) fn skip_events(&mut self) -> Result<(), LinkError> {
        while let Some(event) = self.state.next_event() {
            match event {
                Event::Removed { room, .. } | Event::Deleted { room } => {
                    return Err(LinkError::Ended(format!("{room} is closed")));
                }
                Event::Ended(refused) => return Err(LinkError::Refused(refused)),
                Event::NotFollowed(_, refusal) => return Err(LinkError::Refusal(refusal)),
                Event::Ready { .. }
                | Event::Message(_)
                | Event::Joined { .. }
                | Event::Left { .. }
                | Event::Topic { .. }
                | Event::Cancelled { .. }
                | Event::Invited { .. }
                | Event::Gap { .. }
                | Event::Slowed
                | Event::Offer { .. }
                | Event::Answered { .. }
                | Event::Abandoned { .. }
                | Event::End { .. }
                | Event::Sent(_)
                | Event::Rejected(_)
                | Event::Reply(..) => {}
            }
        }
        Ok(())
    }

    /// When [`Member::end_turn`] is due at the latest, monotonic microseconds.
    pub(super) fn turn_at_us(&self) -> Option<u64> {
        self.state.tick_at_us()
    }

    /// Gives back the memory for reading: the caller's buffer is used from now on.
    pub(super) fn lend_no_buffer(&mut self) {
        self.buffer = Vec::new();
    }

    /// Waits once and takes what comes.
    fn take_in(&mut self, woken: Option<&Woken>, wait: Option<Duration>) -> Result<(), LinkError> {
        let Some(intake) = &mut self.intake else {
            // Until it is time to try again.
            return Ok(os::wait_for_wake(woken, wait)?);
        };
        let (state, mut failed) = (&mut self.state, None);
        intake.wait(woken, wait, &mut self.buffer, &mut |came| take(state, came, &mut failed))?;
        match failed {
            None => {
                self.settle();
                Ok(())
            }
            Some(e) => Err(e),
        }
    }

    fn take_or_lose(&mut self, woken: Option<&Woken>, wait: Option<Duration>) {
        match self.take_in(woken, wait) {
            Ok(()) => {}
            // The server's own words.
            Err(LinkError::Ended(reason)) => self.lose(&reason),
            // It is not to come back.
            Err(LinkError::Refused(refused)) => {
                self.lose(&refused.text);
                self.reconnects = false;
                self.state.push_event(Event::Ended(refused));
            }
            Err(e) => self.lose(&e.to_string()),
        }
    }

    /// Does what the state wants done, and writes what it has to say; whether other sockets are
    /// open now.
    fn settle(&mut self) -> bool {
        let Some(intake) = &mut self.intake else { return false };
        let wishes = std::mem::take(&mut self.state.wishes);
        let changed = !wishes.is_empty();
        for wish in wishes {
            match wish {
                Wish::Hear(tag, channel) => {
                    let granted = intake.join(tag.0, channel.group, channel.port).ok();
                    self.state.heard(tag, &channel, granted, intake.slot());
                }
                Wish::Leave(tag) => intake.leave(tag),
            }
        }
        if !self.state.out.is_empty() {
            // A broken connection is seen where it is read.
            let _ = intake.write(&mut self.state.out);
        }
        changed
    }

    /// Queues a request; its answer comes as [`Event::Reply`] with this serial number.
    pub fn ask(&mut self, request: &Request) -> u32 {
        self.state.ask(request)
    }

    /// Follows something more; its messages come like the others.
    pub fn follow(&mut self, follow: Follow) {
        self.state.follow(follow);
    }

    /// Stops following a room; `forget`: the name no longer follows it either.
    pub fn part(&mut self, room: &RoomName, forget: bool) -> bool {
        self.state.part(room, forget)
    }

    /// Says something; gives the counter that stands for it in [`Request::Ask`]. It is submitted
    /// again after a broken connection, and stored once.
    ///
    /// A room is one that the member follows or is joining. The first text to a user opens the
    /// conversation, unless [`Request::Open`] did; if that is refused, so are the texts.
    ///
    /// The caller keeps [`Member::unacked`] below its limit.
    pub fn say(&mut self, to: Target, reply_to: Option<u64>, text: Text) -> u64 {
        self.state.say(to, reply_to, text)
    }

    /// Counters ([`Member::say`]) of what was refused since this was last asked: more than
    /// [`Event::Rejected`] reports.
    pub fn take_refused(&mut self) -> Vec<u64> {
        self.state.take_refused()
    }

    /// Returns what the numbers of a room that it follows belong to; if that changes, they mean
    /// something else.
    #[must_use]
    pub fn numbering_of(&self, room: &RoomName) -> Option<(bool, u32)> {
        self.state.numbering_of(room)
    }

    /// Shows the server that this process lives, without reading its frames: for a program that
    /// takes nothing just now.
    pub fn say_alive(&mut self) {
        self.state.say_alive();
        self.settle();
    }

    /// The number of a room that it follows, in this run of the server.
    #[must_use]
    pub fn tag_of(&self, room: &RoomName) -> Option<StreamId> {
        self.state.tag_of(room)
    }

    /// Returns the messages of a page of history, in order, of a stream that it follows.
    #[must_use]
    pub fn messages_of_page(&self, name: &StreamName, page: &Page) -> Vec<Message> {
        self.state.messages_of_page(name, page)
    }

    /// Returns a message of a room that it follows, out of a page of history.
    #[must_use]
    pub fn message_of_page(&self, room: &RoomName, page: &Page, seq: u64) -> Option<Message> {
        self.state.message_of_page(room, page, seq)
    }

    /// Asks for what is missing and reports what was delivered, when it is time.
    fn tick(&mut self) {
        if self.intake.is_none() {
            return self.try_again();
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.end_turn(&mut buffer);
        self.buffer = buffer;
    }

    fn next_tick(&self, now: Instant) -> Option<Instant> {
        if self.intake.is_none() {
            return self.reconnects.then_some(self.retry.at);
        }
        let due = self.state.tick_at_us()?;
        Some(now + Duration::from_micros(due.saturating_sub(os::monotonic_us())))
    }

    /// The connection is gone.
    fn lose(&mut self, reason: &str) {
        self.intake = None;
        if self.state.end(reason) {
            self.retry = Retry { at: Instant::now(), pause_ms: RECONNECT_MS.0 };
        }
    }

    fn try_again(&mut self) {
        let now = Instant::now();
        if !self.reconnects || now < self.retry.at {
            return;
        }
        let pause_ms = (self.retry.pause_ms * 2).min(RECONNECT_MS.1);
        self.retry = Retry { at: now + Duration::from_millis(self.retry.pause_ms), pause_ms };
        let wait = Duration::from_millis(RECONNECT_MS.1);
        // A server that was begun meanwhile may be found elsewhere.
        let places = os::located(&self.places);
        let Ok(connection) = Connection::open(&places.socket(), wait) else { return };
        match self.connect(connection, Some(now + wait)) {
            Err(LinkError::Refused(refused)) if refused.code.is_final() => {
                // Trying again would not change that.
                self.reconnects = false;
                self.state.push_event(Event::Ended(refused));
            }
            // What fails now is tried again.
            Ok(()) | Err(_) => {}
        }
    }

    /// Sets whether it comes back by itself when the server ends; the default is true.
    pub fn set_reconnects(&mut self, reconnects: bool) {
        self.reconnects = reconnects;
    }

    /// Reports what was delivered and says that the end is deliberate.
    pub fn say_good_bye(&mut self) {
        if self.intake.is_some() {
            self.tick();
            self.ask(&Request::Session(SessionRequest::Quit));
            if let Some(intake) = &self.intake {
                intake.make_room();
            }
            self.settle();
        }
        // Behind what the server does not take just now: unsaid it would be taken for an accident.
        let until = Instant::now() + GOOD_BYE_WITHIN;
        while self.has_output() && Instant::now() < until {
            self.take_or_lose(None, Some(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Says goodbye and ends.
    pub fn quit(mut self) {
        self.say_good_bye();
    }
}

fn take(state: &mut MemberState, came: Came<'_>, failed: &mut Option<LinkError>) {
    if failed.is_some() {
        return;
    }
    let result = match came {
        Came::Datagram(datagram) => {
            state.take_datagram(now(), datagram);
            Ok(())
        }
        Came::Session(bytes) => state.take_bytes(now(), bytes),
        Came::End => Err(LinkError::Ended("server closed the connection".to_owned())),
    };
    *failed = result.err();
}
