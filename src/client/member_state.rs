//! The member without I/O: bytes of its session and datagrams of its channel go in, what to show
//! and what to write comes out.
//!
//! [`Member`](super::Member) is a [`MemberState`] with sockets and a clock. A program with an event
//! loop of its own can drive one in the same way, and so does the simulation:
//! [`MemberState::begin`] when a session begins, [`MemberState::take_bytes`] and
//! [`MemberState::take_datagram`] for what comes, [`MemberState::next_event`] until all events are
//! handled, [`MemberState::tick`] at [`MemberState::tick_at_us`]; then the wishes are carried out
//! and `out` is written. [`MemberState::end`] when the session is gone.

mod incoming;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::{
    announcements::AnnouncementFilter,
    calls::{Calls, Purpose},
    event::Event,
    outbox::SubmitOutbox,
    streams::FollowedStreams,
};
use crate::{
    broadcast::Keys,
    chat::{
        batch::{MessageRef, Reader},
        message::{Message, StreamName},
        names::RoomName,
        refusal::{Refusal, RefusalCode},
        reply::Page,
        request::{Begin, Follow, Request, SessionRequest},
        stream_id::{Channel, StreamId},
        text::Text,
    },
    faults::{Fault, planted},
    os::Slot,
    wire::{
        frame::{self, Kind},
        hello::{Hello, Welcome},
    },
};

/// Streams that a member listens to.
#[derive(Debug, Clone, Default)]
pub struct Follows {
    /// Streams to follow.
    pub follow: Vec<Follow>,
    /// From where in rooms and conversations.
    pub begin: Begin,
    /// From where in some of them, in place of `begin`.
    pub begin_of: Vec<(Follow, Begin)>,
    /// Also report joins and leaves of rooms.
    pub membership: bool,
    /// Rooms are followed by this name from now on (`join`).
    pub keep: bool,
    /// Text that the server sends in these rooms, as this member, if it ends without a goodbye.
    pub will: Option<Text>,
}

/// State of the session.
#[derive(Debug)]
enum SessionState {
    /// Without a connection.
    None,
    /// Some joins have no answer.
    Joining(EarlyOutput),
    /// Every stream is joined.
    Ready,
}

/// Output of a session that is not ready, to be shown after the event `ready`.
#[derive(Debug, Default)]
struct EarlyOutput {
    events: VecDeque<Event>,
    /// Batches for the tap, each with the first sequence number to show.
    batches: Vec<(u64, Vec<u8>)>,
}

/// A task for the owner of the sockets; [`MemberState::heard`] reports the result of the first.
#[derive(Debug)]
pub enum Wish {
    /// Join the broadcast channel of a stream.
    Hear(StreamId, Channel),
    /// Leave a broadcast channel, by its number.
    Leave(u32),
}

/// Called for each message in place of an event.
pub type Tap = Box<dyn FnMut(&MessageRef<'_>) + Send>;

/// A member's streams, submits and session. See the head of this file.
pub struct MemberState {
    /// Handshake of its sessions.
    pub hello: Hello,
    follows: Follows,
    session: SessionState,
    user: String,
    streams: FollowedStreams,
    events: VecDeque<Event>,
    outbox: SubmitOutbox,
    /// Wall clock when something last came, microseconds since 1970.
    wall_us: i64,
    calls: Calls,
    /// Bytes of a frame that is not complete yet.
    partial: Vec<u8>,
    /// Keys of the broadcast channel, if this session has one.
    keys: Option<Keys>,
    /// Tasks for the owner of the sockets.
    pub wishes: Vec<Wish>,
    /// To be written to the session.
    pub out: Vec<u8>,
    announcements: AnnouncementFilter,
    /// There was a session before: what was said since then is to be shown.
    was_ready: bool,
    /// Refusals in the first session are reported as in any other, and do not end it.
    pub bears_refusals: bool,
    /// Takes the messages of rooms in place of events.
    pub tap: Option<Tap>,
}

impl std::fmt::Debug for MemberState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberState").field("user", &self.user).finish_non_exhaustive()
    }
}

impl MemberState {
    /// A member without a session.
    pub fn new(hello: Hello, follows: Follows) -> Self {
        let seed = u64::from_le_bytes(hello.instance.0[..8].try_into().unwrap_or_default());
        Self {
            hello,
            follows,
            session: SessionState::None,
            user: String::new(),
            streams: FollowedStreams::new(seed),
            events: VecDeque::new(),
            outbox: SubmitOutbox::default(),
            wall_us: 0,
            calls: Calls::default(),
            partial: Vec::new(),
            keys: None,
            wishes: Vec::new(),
            out: Vec::new(),
            announcements: AnnouncementFilter::default(),
            was_ready: false,
            bears_refusals: false,
            tap: None,
        }
    }

    /// Name of the current user, as the server's kernel says.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns true if everything is joined.
    pub fn is_ready(&self) -> bool {
        matches!(self.session, SessionState::Ready)
    }

    fn has_session(&self) -> bool {
        !matches!(self.session, SessionState::None)
    }

    /// Number of submits that are not acknowledged yet.
    pub fn unacked(&self) -> usize {
        self.outbox.len()
    }

    /// Bytes of those texts.
    pub fn unacked_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Returns true if every known message was shown, the member's own texts included.
    pub fn has_shown_all(&self) -> bool {
        self.is_ready() && self.events.is_empty() && self.streams.are_shown()
    }

    /// Removes and returns the oldest event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns true if there is an event.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Queues an event ahead of all that comes later.
    pub fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Begins a session: asks to follow everything, from the present position in each stream.
    ///
    /// The caller has ended the previous session ([`MemberState::end`]).
    pub fn begin(&mut self, welcome: &Welcome) {
        debug_assert!(!self.has_session(), "the previous session was ended");
        self.user.clone_from(&welcome.user);
        self.streams.begin(welcome.run, welcome.epoch);
        self.keys = welcome.source_port.map(|_| Keys::new(welcome.run.0));
        self.partial = Vec::new();
        self.out.clear();
        self.wishes.clear();
        self.session = SessionState::Joining(EarlyOutput::default());
        self.outbox.begin_session();
        // Conversations go on at their positions; only those that are new since then start over.
        let known: Vec<_> = self
            .streams
            .earlier_conversations()
            .filter(|follow| !self.follows.follow.contains(follow))
            .collect();
        // A member that is there has a will; it is too late to make one once a process was killed.
        if let Some(will) = &self.follows.will {
            let will = Request::Will { text: Some(will.clone()) };
            self.calls.send(&mut self.out, &will, Purpose::Will);
        }
        // Announcements that were made while there was no session come after the rooms that it was
        // in: which of them are for it depends on those. They come before the rooms that are new:
        // with such a room the server gives what is retained there, to a session that gets
        // announcements.
        let mut all: Vec<_> = known.into_iter().chain(self.follows.follow.clone()).collect();
        all.sort_by_key(|follow| match follow {
            Follow::Announcements => 1,
            Follow::Room(_) | Follow::With(_) | Follow::AllDirect | Follow::ToMe => {
                let resumes = self.streams.resumes(follow);
                if resumes || planted(Fault::RetainedOfNewRoomLost) { 0 } else { 2 }
            }
        });
        for follow in all {
            self.ask_to_follow(follow);
        }
    }

    fn ask_to_follow(&mut self, follow: Follow) {
        let begin = self.begin_of(&follow);
        self.ask_to_join(follow, begin);
    }

    fn ask_to_join(&mut self, follow: Follow, begin: Begin) {
        let (membership, keep) = (self.follows.membership, self.follows.keep);
        let request = Request::Join { follow: follow.clone(), begin, membership, keep };
        if self.has_session() {
            self.calls.send(&mut self.out, &request, Purpose::Join(follow));
        }
    }

    /// Returns the position in a stream that was followed before; else where the caller wants to
    /// begin.
    fn begin_of(&self, follow: &Follow) -> Begin {
        if let Some(begin) = self.streams.begin_of(follow) {
            return begin;
        }
        match follow {
            // What is not known began while there was no session.
            Follow::AllDirect | Follow::ToMe if self.was_ready => {
                Begin::After { run: self.streams.earlier_boot(), seq: 0 }
            }
            Follow::Announcements => Begin::Now,
            Follow::Room(_) | Follow::With(_) | Follow::AllDirect | Follow::ToMe => {
                let own = self.follows.begin_of.iter().find(|(of, _)| of == follow);
                own.map_or(self.follows.begin, |(_, begin)| *begin)
            }
        }
    }

    /// Counters of what was refused since this was last asked.
    pub fn take_refused(&mut self) -> Vec<u64> {
        self.outbox.read_refused()
    }

    /// Returns what the numbers of a room that is followed belong to: another history, or another
    /// boot of a room without one, has others.
    pub fn numbering_of(&self, room: &RoomName) -> Option<(bool, u32)> {
        self.streams.numbering_of(room)
    }

    /// The number of a room that is followed, in this run.
    pub fn tag_of(&self, room: &RoomName) -> Option<StreamId> {
        self.streams.tag_of(&StreamName::Room(room.clone()))
    }

    /// The messages of a page of a stream that is followed.
    pub fn messages_of_page(&self, name: &StreamName, page: &Page) -> Vec<Message> {
        let Some(tag) = self.streams.tag_of(name) else { return Vec::new() };
        let messages = Reader::new(&page.body).into_iter().flatten().flatten();
        messages
            .filter(|message| (page.first..=page.last).contains(&message.seq))
            .filter_map(|message| self.message(tag.0, &message))
            .collect()
    }

    /// A message of a room that is followed, out of a page of it.
    pub fn message_of_page(&self, room: &RoomName, page: &Page, seq: u64) -> Option<Message> {
        let tag = self.tag_of(room)?;
        let mut messages = Reader::new(&page.body).into_iter().flatten().flatten();
        let found = messages.find(|message| message.seq == seq)?;
        self.message(tag.0, &found)
    }

    fn queue(&mut self, event: Event) {
        match &mut self.session {
            SessionState::Joining(early) => early.events.push_back(event),
            SessionState::None | SessionState::Ready => self.events.push_back(event),
        }
    }

    /// Queues a request; its answer comes with this serial number.
    pub fn ask(&mut self, request: &Request) -> u32 {
        if self.has_session() {
            return self.calls.send(&mut self.out, request, Purpose::of_caller(request));
        }
        // A request without a session has its answer now, and is not sent later.
        let serial = self.calls.next_serial();
        self.unanswered(serial);
        serial
    }

    fn unanswered(&mut self, serial: u32) {
        let refusal = Refusal::new(RefusalCode::Failed, "there is no connection to the server now");
        self.events.push_back(Event::Reply(serial, Err(refusal)));
    }

    fn ask_silently(&mut self, request: &Request) {
        if self.has_session() {
            self.calls.send_silently(&mut self.out, request);
        }
    }

    /// Follows something more; its messages come like the others.
    pub fn follow(&mut self, follow: Follow) {
        self.follows.follow.push(follow.clone());
        if self.has_session() {
            self.ask_to_follow(follow);
        }
    }

    /// Stops following a room; `forget`: the name no longer follows it either. False if it is not
    /// followed. One that is just being joined is left once it is.
    pub fn part(&mut self, room: &RoomName, forget: bool) -> bool {
        let before = self.follows.follow.len();
        self.follows.follow.retain(|f| !matches!(f, Follow::Room(r) if r == room));
        let was_wanted = self.follows.follow.len() < before;
        let name = StreamName::Room(room.clone());
        let found = self.streams.tag_of(&name);
        if let Some(stream) = found {
            self.drop_stream(stream.0);
            self.ask_silently(&Request::Part { stream, forget });
        }
        was_wanted || found.is_some()
    }

    fn drop_stream(&mut self, tag: u32) {
        self.streams.remove(tag);
        if let Some(keys) = &mut self.keys {
            keys.forget(tag);
        }
        self.wishes.push(Wish::Leave(tag));
    }

    // ---- housekeeping ------------------------------------------------------------------------

    /// Wants the broadcast channel of a stream joined. Where it was joined before, its key is
    /// another one.
    fn hear(&mut self, tag: StreamId, channel: Channel) {
        let Some(is_heard) = self.streams.is_heard_on(tag, &channel) else { return };
        let Some(keys) = &mut self.keys else { return };
        keys.add(tag.0, &channel.key);
        if !is_heard {
            self.wishes.push(Wish::Hear(tag, channel));
        }
    }

    /// Tells the server whether joining the broadcast channel of a stream went.
    pub fn heard(
        &mut self,
        tag: StreamId,
        channel: &Channel,
        charge_bytes: Option<u64>,
        slot: Slot,
    ) {
        if !self.streams.set_heard_on(tag, charge_bytes.map(|_| channel)) {
            return;
        }
        let request = match charge_bytes {
            Some(charge_bytes) => {
                Request::Session(SessionRequest::Listening { stream: tag, charge_bytes, slot })
            }
            None => Request::Session(SessionRequest::Deaf { stream: tag }),
        };
        self.ask_silently(&request);
    }

    /// A sign of life.
    pub fn say_alive(&mut self) {
        if self.has_session() && self.out.is_empty() {
            frame::put(&mut self.out, Kind::Pong, |_| {});
        }
    }

    /// Asks for what is missing and reports what was delivered, when it is time.
    pub fn tick(&mut self, now_us: u64) {
        self.streams.put_due(now_us, &mut self.out);
    }

    /// Returns true if [`MemberState::tick`] would ask for what is missing.
    pub fn is_repair_due(&self, now_us: u64) -> bool {
        self.streams.is_repair_due(now_us)
    }

    /// When [`MemberState::tick`] has something to do, if nothing comes.
    pub fn tick_at_us(&self) -> Option<u64> {
        self.streams.deadline_us()
    }

    /// The session is gone; whether everything had been joined.
    pub fn end(&mut self, reason: &str) -> bool {
        let session = std::mem::replace(&mut self.session, SessionState::None);
        if matches!(session, SessionState::None) {
            return false;
        }
        let was_ready = matches!(session, SessionState::Ready);
        // In the next session the server may no longer know what this one submitted.
        let earlier = self.outbox.earlier(self.wall_us);
        self.hello.submitted = earlier.highest;
        self.hello.submitted_since_us = earlier.since_us;
        self.out.clear();
        self.wishes.clear();
        self.keys = None;
        self.streams.end(was_ready);
        match session {
            SessionState::None => {}
            // A failed try to come back is not reported each time.
            SessionState::Ready => {
                self.events.push_back(Event::End { reason: reason.to_owned() });
            }
            SessionState::Joining(_) if planted(Fault::EarlyNewsLost) => {}
            SessionState::Joining(early) => {
                self.events.extend(early.events.into_iter().filter(|event| !comes_again(event)));
            }
        }
        // Behind the news of the end, so that the reason is known by then.
        for serial in self.calls.end() {
            self.unanswered(serial);
        }
        self.announcements = AnnouncementFilter::default();
        was_ready
    }
}

/// Returns true if the next session brings it once more. All else has changed the state already.
fn comes_again(event: &Event) -> bool {
    matches!(event, Event::Message(_) | Event::Gap { .. } | Event::Offer { .. })
}
