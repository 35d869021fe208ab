//! The member without I/O: bytes of its session and datagrams of its channel go in, what to show
//! and what to write comes out.
//!
//! [`Member`](super::Member) is a [`MemberState`] with sockets and a clock. A program with an event
//! loop of its own can drive one in the same way, and so does the simulation:
//! [`MemberState::begin`] when a session begins, [`MemberState::take_bytes`] and
//! [`MemberState::take_datagram`] for what comes, [`MemberState::next_wake`] until there is nothing
//! more to show, [`MemberState::tick`] at [`MemberState::tick_at_us`]; then the wishes are carried
//! out and `out` is written. [`MemberState::end`] when the session is gone.

use std::collections::VecDeque;

use super::{
    announcements::AnnouncementFilter,
    calls::{Calls, Purpose},
    event::Event,
    link::{LinkError, Sent},
    outbox::{AckedText, Route, SubmitOutbox, Unacked},
    past::message_of,
    streams::FollowedStreams,
};
use crate::{
    broadcast::Keys,
    chat::{
        batch::{self, MessageRef, Reader},
        clock::Now,
        event::{Event as Told, GapReason},
        frames::{ANNOUNCEMENTS, Ack, Frame},
        inbox::{Released, Via},
        message::{Message, MessageId, StreamName},
        names::{Label, RoomName, Target, UserName},
        refusal::{Refusal, RefusalCode},
        reply::{Page, Reply, StreamInfo},
        request::{Begin, Follow, Request},
        stream_id::{Channel, StreamTag},
        text::Text,
    },
    faults::{Fault, planted},
    limits::UNACKED_SUBMITS_MAX,
    os::{BROADCAST_WORD, Slot},
    wire::{
        control,
        frame::{self, Kind},
        hello::{self, Bye, Hello, Welcome},
    },
};

/// What a member listens to.
#[derive(Debug, Clone, Default)]
pub struct Follows {
    /// Streams.
    pub follow: Vec<Follow>,
    /// From where in rooms and conversations.
    pub begin: Begin,
    /// From where in some of them, in place of `begin`.
    pub begin_of: Vec<(Follow, Begin)>,
    /// Also told who joins and leaves rooms.
    pub membership: bool,
    /// Rooms are followed by this name from now on (`join`).
    pub keep: bool,
    /// What the server says in these rooms, as this member, if it ends without a good-bye.
    pub will: Option<Text>,
}

/// Something for the caller, in order; [`Wake`](super::Wake) describes each.
#[derive(Debug)]
pub enum Queued {
    /// An event to show.
    Event(Event),
    /// A submit is acknowledged.
    Sent(Sent),
    /// A submit is refused; [`MemberState::take_refused`] returns its counter.
    Refused(Refusal),
    /// A stream is not followed, or no longer.
    NotFollowed(Follow, Refusal),
    /// The server does not admit this member any longer.
    Ended(LinkError),
    /// Answer to the request with this serial number.
    Reply(u32, Result<Reply, Refusal>),
}

pub use super::outbox::Address;

/// State of the session.
#[derive(Debug)]
enum SessionState {
    /// There is no connection.
    None,
    /// Some joins have no answer.
    Joining(EarlyOutput),
    /// Every stream is joined.
    Ready,
}

/// Output of a session that is not ready, to be shown after the event `ready`.
#[derive(Debug, Default)]
struct EarlyOutput {
    events: VecDeque<Queued>,
    /// Batches for the tap, each with the first sequence number to show.
    batches: Vec<(u64, Vec<u8>)>,
}

/// A task for the owner of the sockets; [`MemberState::heard`] reports the result of the first.
#[derive(Debug)]
pub enum Wish {
    /// Join the broadcast channel of a stream.
    Hear(StreamTag, Channel),
    /// Leave it.
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
    wakes: VecDeque<Queued>,
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
    /// What is refused in the first session is told as in any other, and does not end it.
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
            wakes: VecDeque::new(),
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

    /// Whether everything is joined.
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
        self.is_ready() && self.wakes.is_empty() && self.streams.are_shown()
    }

    /// Removes and returns the oldest thing to show.
    pub fn next_wake(&mut self) -> Option<Queued> {
        self.wakes.pop_front()
    }

    /// Returns true if something is to be shown.
    pub fn has_wakes(&self) -> bool {
        !self.wakes.is_empty()
    }

    /// To be told before anything that comes later.
    pub fn tell(&mut self, queued: Queued) {
        self.wakes.push_back(queued);
    }

    /// A session begins: asks to follow everything, from where each stream stands.
    pub fn begin(&mut self, welcome: &Welcome) {
        self.user.clone_from(&welcome.user);
        self.streams.begin(welcome.run, welcome.epoch);
        self.keys = welcome.source_port.map(|_| Keys::new(welcome.run.0));
        self.partial = Vec::new();
        self.out.clear();
        self.wishes.clear();
        self.session = SessionState::Joining(EarlyOutput::default());
        self.outbox.begin_session();
        // Conversations go on where each stood; only those that are new since then begin anew.
        let known: Vec<_> = self
            .streams
            .earlier_conversations()
            .filter(|follow| !self.follows.follow.contains(follow))
            .collect();
        // Whoever is there has a will; it is too late to make one once a process was killed.
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

    /// Where to go on in a stream that was followed before; else where the caller wants to begin.
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

    // ---- what comes --------------------------------------------------------------------------

    /// Takes bytes of the session, whole frames or not.
    ///
    /// # Errors
    /// If they are not the server's frames, or the server ends the session: [`MemberState::end`] is
    /// due.
    pub fn take_bytes(&mut self, now: Now, mut bytes: &[u8]) -> Result<(), LinkError> {
        self.wall_us = now.wall_us;
        if !self.partial.is_empty() {
            // Only what that frame lacks is copied; what follows is read where it stands.
            loop {
                let lacks = frame::lacks(&self.partial)?;
                if lacks == 0 {
                    break;
                }
                let (part, rest) = bytes.split_at(lacks.min(bytes.len()));
                if part.is_empty() {
                    return Ok(());
                }
                self.partial.extend_from_slice(part);
                bytes = rest;
            }
            // A member that only listens holds no memory for what it does not get.
            let whole = std::mem::take(&mut self.partial);
            self.take_frames(now, &whole)?;
        }
        let taken = self.take_frames(now, bytes)?;
        self.partial.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Takes a datagram of the broadcast channel; what the server did not seal is dropped.
    pub fn take_datagram(&mut self, now: Now, datagram: &mut [u8]) {
        self.wall_us = now.wall_us;
        let Some(keys) = self.keys.take() else { return };
        if let Some(body) = keys.open(datagram) {
            self.take_body(now, Via::Broadcast, body);
        }
        self.keys = Some(keys);
    }

    /// Takes whole frames; gives their length.
    fn take_frames(&mut self, now: Now, bytes: &[u8]) -> Result<usize, LinkError> {
        let mut taken = 0;
        while let Some(parsed) = frame::parse(&bytes[taken..])? {
            taken += parsed.bytes;
            match parsed.kind {
                Kind::Batch => self.take_body(now, Via::Session, parsed.body),
                Kind::Reply | Kind::Ack | Kind::Nack | Kind::Event => {
                    let told = control::read_frame(parsed.kind, parsed.body)
                        .map_err(|e| LinkError::Protocol(e.to_string()))?;
                    self.take_told(now, told)?;
                }
                Kind::Bye => {
                    let bye: Bye = hello::read(parsed.body).map_err(LinkError::Protocol)?;
                    return Err(bye
                        .refusal()
                        .map_or(LinkError::Ended(bye.reason), LinkError::Refused));
                }
                Kind::Hello
                | Kind::Stop
                | Kind::Status
                | Kind::Request
                | Kind::Submit
                | Kind::Report
                | Kind::Repair
                | Kind::Pong
                | Kind::Welcome
                | Kind::Refused
                | Kind::StatusReply => {}
            }
        }
        Ok(taken)
    }

    fn take_told(&mut self, now: Now, told: Frame) -> Result<(), LinkError> {
        match told {
            Frame::Reply { serial, result } => self.take_reply(serial, result)?,
            Frame::Ack(ack) => self.take_ack(&ack),
            Frame::Nack { first, count, refusal } => {
                let refusals = self.outbox.nack(first, count, refusal);
                self.queue_refused(refusals);
                self.submit_more();
            }
            Frame::Event(event) => self.take_event(now, event),
        }
        Ok(())
    }

    fn take_reply(&mut self, serial: u32, result: Result<Reply, Refusal>) -> Result<(), LinkError> {
        match self.calls.answered(serial) {
            None => {}
            Some(Purpose::Asked) => self.queue(Queued::Reply(serial, result)),
            Some(Purpose::AskedToOpen(with)) => {
                self.take_opened(&with, &result);
                self.queue(Queued::Reply(serial, result));
            }
            Some(Purpose::Open(with)) => self.take_opened(&with, &result),
            Some(Purpose::Will) => match result {
                Err(refusal) if self.must_succeed() => return Err(LinkError::Refusal(refusal)),
                Err(refusal) => self.queue(Queued::Refused(refusal)),
                Ok(_) => {}
            },
            Some(Purpose::Join(follow)) => {
                self.take_join(follow, result)?;
                if self.calls.joins().next().is_none() && !self.is_ready() {
                    self.become_ready();
                }
            }
        }
        Ok(())
    }

    fn take_join(
        &mut self,
        follow: Follow,
        result: Result<Reply, Refusal>,
    ) -> Result<(), LinkError> {
        match result {
            Ok(Reply::Joined(infos)) => {
                for info in infos {
                    self.add(&info);
                }
                if let Follow::Room(room) = &follow {
                    if self.is_ready() {
                        self.submit_waiting_for(room);
                    }
                    if !self.follows.follow.contains(&follow) {
                        self.part(room, true);
                    }
                }
                Ok(())
            }
            Ok(_) => Err(LinkError::Protocol("an answer that fits no join".to_owned())),
            Err(refusal) if self.must_succeed() => Err(LinkError::Refusal(refusal)),
            Err(refusal) => {
                self.take_refused_join(follow, refusal);
                Ok(())
            }
        }
    }

    fn take_refused_join(&mut self, follow: Follow, refusal: Refusal) {
        let resumed = match &follow {
            Follow::Room(room) => self.streams.resumes_room(room).then(|| room.clone()),
            Follow::With(_) | Follow::AllDirect | Follow::ToMe | Follow::Announcements => None,
        };
        let gone = resumed.filter(|_| refusal.code == RefusalCode::Absent);
        if gone.is_none() || !self.streams.is_another_history() {
            self.follows.follow.retain(|f| *f != follow);
        }
        match gone {
            // This history never had it: it was not deleted.
            Some(room) if self.streams.is_another_history() => self.join_anew(room),
            // The room itself is gone, whatever has its name now.
            Some(room) => self.queue(Queued::Event(Event::Deleted { room })),
            None => {
                if let (true, Follow::Room(room)) = (self.is_ready(), &follow) {
                    self.submit_waiting_for(room);
                }
                self.queue(Queued::NotFollowed(follow, refusal));
            }
        }
    }

    /// Follows a room by its name that is in no history any more: what was said there is lost.
    fn join_anew(&mut self, room: RoomName) {
        let stream = StreamName::Room(room.clone());
        self.streams.forget_earlier(&stream);
        self.queue(Queued::Event(Event::Gap { stream, range: None, reason: GapReason::Run }));
        self.ask_to_join(Follow::Room(room), Begin::Now);
    }

    /// Whoever joins wants all or nothing.
    fn must_succeed(&self) -> bool {
        !self.was_ready && !self.bears_refusals
    }

    /// Follows a stream, from where it was if it was followed before.
    fn add(&mut self, info: &StreamInfo) {
        let name = StreamName::from(&info.name);
        let asked = |(follow, _): &(Follow, Begin)| match (follow, &name) {
            (Follow::Room(room), StreamName::Room(of)) => room == of,
            (Follow::With(user), StreamName::Direct(of)) => user == of,
            _ => false,
        };
        let went_on = self.streams.is_earlier(&name) || self.follows.begin_of.iter().any(asked);
        if info.new_run && went_on && !matches!(name, StreamName::Announcements) {
            let gap = Event::Gap { stream: name.clone(), range: None, reason: GapReason::Run };
            self.queue(Queued::Event(gap));
        }
        if !self.streams.add(info) {
            // Named twice: it is followed already.
            return;
        }
        if let StreamName::Direct(with) = &name {
            self.conversation_is(with, info.tag);
        }
        if let Some(channel) = info.channel {
            self.hear(info.tag, channel);
        }
    }

    fn become_ready(&mut self) {
        let another_boot = self.was_ready && self.streams.earlier_boot() != self.streams.boot();
        self.streams.forget_all_earlier();
        let SessionState::Joining(early) = &mut self.session else { return };
        let EarlyOutput { events, batches } = std::mem::take(early);
        self.session = SessionState::Ready;
        self.was_ready = true;
        let broadcast = if self.keys.is_some() { BROADCAST_WORD } else { "session" };
        let streams = self.streams.heads();
        self.wakes.push_back(Queued::Event(Event::Ready { streams, broadcast }));
        self.wakes.extend(events);
        for (from, body) in batches {
            self.show_by_tap(&body, from);
        }
        if another_boot {
            self.outbox.forget_lost_rooms();
            self.give_up_replies();
        }
        self.submit_more();
    }

    fn take_event(&mut self, now: Now, event: Told) {
        match event {
            Told::Ping => frame::put(&mut self.out, Kind::Pong, |_| {}),
            Told::Heads(heads) => self.streams.record_heads(now.mono_us, heads),
            Told::Gap { stream, first, last, reason } => {
                if self.streams.record_gap(stream, (first, last), reason) {
                    self.release(now, stream.0);
                }
            }
            Told::Opened(info) => self.add(&info),
            Told::Channel { stream, channel } => self.hear(stream, channel),
            Told::Retained { body } => {
                for message in Reader::new(&body).into_iter().flatten().flatten() {
                    if let Some(message) = self.message(ANNOUNCEMENTS.0, &message)
                        && !self.announcements.is_over(&message, now.wall_us)
                    {
                        self.queue(Queued::Event(Event::Message(message)));
                    }
                }
            }
            Told::Cancelled { number, by } => {
                let next = self.streams.next_of(ANNOUNCEMENTS);
                if self.announcements.cancel(number, next) {
                    self.queue(Queued::Event(Event::Cancelled { number, by }));
                }
            }
            Told::Invited { room, user, by } => {
                self.queue(Queued::Event(Event::Invited { room, user, by }));
            }
            Told::Slowed => self.queue(Queued::Event(Event::Slowed)),
            Told::Joined { stream, .. }
            | Told::Left { stream, .. }
            | Told::Topic { stream, .. }
            | Told::Deleted { stream }
            | Told::Removed { stream, .. }
            | Told::Offer { stream, .. }
            | Told::Answered { stream, .. }
            | Told::Abandoned { stream, .. } => {
                if let Some(room) = self.streams.room_of(stream) {
                    self.take_room_event(stream, room, event);
                }
            }
            Told::Covered { .. } | Told::Bye { .. } | Told::Spelled(_) => {}
        }
    }

    fn take_room_event(&mut self, stream: StreamTag, room: RoomName, event: Told) {
        let event = match event {
            Told::Joined { member, .. } => Event::Joined { room, member },
            Told::Left { member, cause, .. } => Event::Left { room, member, cause },
            Told::Topic { topic, .. } => Event::Topic { room, topic },
            Told::Deleted { .. } => {
                self.lose_room(stream, &room);
                Event::Deleted { room }
            }
            Told::Removed { by, banned, .. } => {
                self.lose_room(stream, &room);
                Event::Removed { room, by, banned }
            }
            Told::Offer { seq, before, .. } => Event::Offer { room, stream, seq, before },
            Told::Answered { seq, by, failed, silent, .. } => {
                Event::Answered { room, seq, by, failed, silent }
            }
            Told::Abandoned { seq, by, cause, .. } => Event::Abandoned { room, seq, by, cause },
            Told::Ping
            | Told::Heads(_)
            | Told::Gap { .. }
            | Told::Opened(_)
            | Told::Channel { .. }
            | Told::Retained { .. }
            | Told::Cancelled { .. }
            | Told::Invited { .. }
            | Told::Slowed
            | Told::Covered { .. }
            | Told::Bye { .. }
            | Told::Spelled(_) => return,
        };
        self.queue(Queued::Event(event));
    }

    fn lose_room(&mut self, stream: StreamTag, room: &RoomName) {
        self.drop_stream(stream.0);
        self.follows.follow.retain(|f| !matches!(f, Follow::Room(of) if of == room));
    }

    /// Counters of what was refused since this was last asked.
    pub fn take_refused(&mut self) -> Vec<u64> {
        self.outbox.read_refused()
    }

    /// What the numbers of a room that is followed belong to: another history, or another run of a
    /// room without one, has others.
    pub fn numbering_of(&self, room: &RoomName) -> Option<(bool, u32)> {
        self.streams.numbering_of(room)
    }

    /// The number of a room that is followed, in this run.
    pub fn tag_of(&self, room: &RoomName) -> Option<StreamTag> {
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

    fn take_body(&mut self, now: Now, via: Via, body: &[u8]) {
        let Ok(head) = batch::Head::read(body) else { return };
        let tag = head.tag.0;
        if let Some(from) = self.streams.take(now.mono_us, via, tag, body) {
            self.show(now, tag, body, from);
            self.release(now, tag);
        }
    }

    /// Shows what had to wait for what just came.
    fn release(&mut self, now: Now, tag: u32) {
        for released in self.streams.release(now.mono_us, tag) {
            match released {
                Released::Body { body, from } => self.show(now, tag, &body, from),
                Released::Gap { first, last, reason } => {
                    let Some((name, _)) = self.streams.name_of(tag) else { return };
                    let range = Some((first, last));
                    let gap = Event::Gap { stream: name.clone(), range, reason };
                    self.queue(Queued::Event(gap));
                }
            }
        }
    }

    fn show(&mut self, now: Now, tag: u32, body: &[u8], from: u64) {
        let name = self.streams.name_of(tag);
        let is_room = name.is_some_and(|(name, _)| matches!(name, StreamName::Room(_)));
        if is_room && self.tap.is_some() {
            match &mut self.session {
                SessionState::Joining(early) => early.batches.push((from, body.to_vec())),
                SessionState::None | SessionState::Ready => self.show_by_tap(body, from),
            }
            return;
        }
        // What the server sealed or sent can be read; anything else has no place to go.
        let Ok(messages) = Reader::new(body) else { return };
        let _ = messages.each(from, |message| self.show_message(now, tag, message));
    }

    fn show_by_tap(&mut self, body: &[u8], from: u64) {
        let (Some(tap), Ok(messages)) = (&mut self.tap, Reader::new(body)) else { return };
        let _ = messages.each(from, |message| {
            if !message.withheld {
                tap(message);
            }
        });
    }

    fn show_message(&mut self, now: Now, tag: u32, message: &MessageRef<'_>) {
        if let Some(message) = self.message(tag, message)
            && !self.announcements.is_over(&message, now.wall_us)
        {
            self.queue(Queued::Event(Event::Message(message)));
        }
    }

    /// A message as it is shown; none if it is not meant for this session.
    fn message(&self, tag: u32, message: &MessageRef<'_>) -> Option<Message> {
        let (name, stored) = self.streams.name_of(tag)?;
        if message.withheld || !self.is_for_me(name, message) {
            return None;
        }
        let run = (!stored).then_some(self.streams.boot());
        message_of(name, run, &self.user, message)
    }

    fn is_for_me(&self, stream: &StreamName, message: &MessageRef<'_>) -> bool {
        match stream {
            StreamName::Room(_) => true,
            StreamName::Announcements => message.notice.is_some_and(|notice| {
                let room = RoomName::existing(notice.room).ok().map(StreamName::Room);
                notice.room.is_empty()
                    || room.is_some_and(|room| self.streams.tag_of(&room).is_some())
            }),
            StreamName::Direct(with) if self.follows_all_of(with) => true,
            StreamName::Direct(with) => {
                let own = self.hello.label.as_ref().map_or("", Label::as_str);
                let same = Label::existing(message.to_label).ok() == Label::existing(own).ok();
                // What I said myself is not said to me, except in a conversation with myself.
                let to_me = message.from.user != self.user || with.as_str() == self.user;
                to_me && (message.to_label.is_empty() || same)
            }
        }
    }

    /// Whether the whole conversation is followed, not only what is said to the own label.
    fn follows_all_of(&self, user: &UserName) -> bool {
        self.follows.follow.iter().any(|follow| match follow {
            Follow::AllDirect => true,
            Follow::With(with) => with == user,
            Follow::Room(_) | Follow::ToMe | Follow::Announcements => false,
        })
    }

    fn queue(&mut self, queued: Queued) {
        match &mut self.session {
            SessionState::Joining(early) => early.events.push_back(queued),
            SessionState::None | SessionState::Ready => self.wakes.push_back(queued),
        }
    }

    // ---- what is said ------------------------------------------------------------------------

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
        self.wakes.push_back(Queued::Reply(serial, Err(refusal)));
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

    /// Stops following a room; `forget`: the name does not follow it any more either. False if it
    /// is not followed. One that is just being joined is left once it is.
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

    /// Says something; gives its counter. It is submitted again after a broken connection, and
    /// stored once.
    ///
    /// The caller keeps `unacked` below its limit.
    pub fn say(&mut self, to: Address, reply_to: Option<u64>, text: String) -> u64 {
        debug_assert!(self.outbox.len() < UNACKED_SUBMITS_MAX, "the caller waits");
        let room = match &to {
            Address::Room(room) => self.streams.identity_of(room),
            Address::Direct { .. } => None,
        };
        let counter = self.outbox.push(to, room, reply_to, text);
        self.submit_more();
        counter
    }

    /// Where there is no history another run of the server gives the sequence numbers again: a
    /// reply from before would be one to another message.
    fn give_up_replies(&mut self) {
        let keeps_numbers = |name: &StreamName| match self.streams.is_stored(name) {
            Some(stored) => stored,
            None => matches!(name, StreamName::Room(_)),
        };
        let is_lost = |unacked: &Unacked| unacked.is_reply() && !keeps_numbers(&unacked.stream());
        let text = "the reply was not sent: the server restarted, and its message is gone";
        let refusal = Refusal::new(RefusalCode::Absent, text);
        let refusals = self.outbox.give_up(&refusal, is_lost);
        self.queue_refused(refusals);
    }

    /// Submits what was not submitted in this session, in order.
    fn submit_more(&mut self) {
        while self.is_ready()
            && let Some(at) = self.outbox.advance()
        {
            self.submit_at(at);
        }
    }

    /// Submits the texts that waited for a room or a conversation.
    fn submit_waiting(&mut self, waits: impl Fn(&Unacked) -> bool) {
        let mut at = 0;
        while let Some(unacked) = self.outbox.reached(at) {
            if !waits(unacked) || self.submit_at(at) {
                at += 1;
            }
        }
    }

    fn submit_waiting_for(&mut self, room: &RoomName) {
        self.submit_waiting(|unacked| unacked.waits_for(room));
    }

    /// Submits a text to the room it was written in, never to another room of that name. Returns
    /// false if it was written in no room, and was removed and reported.
    fn submit_at(&mut self, at: usize) -> bool {
        let Some(unacked) = self.outbox.get(at) else { return true };
        let route = match unacked.to() {
            Address::Direct { with, label } => match self.streams.conversation(with) {
                Some(tag) => Route::Conversation(tag),
                None => {
                    let (user, label) = (with.clone(), label.clone());
                    self.open_conversation(user, label);
                    return true;
                }
            },
            Address::Room(name) => {
                match unacked.room().or_else(|| self.streams.identity_of(name)) {
                    Some(room) => Route::Room(room),
                    None if self.calls.is_joining(name) => return true,
                    None => {
                        let text = format!(
                            "the message was not sent: this session does not follow {name}"
                        );
                        let refusal = Refusal::new(RefusalCode::Absent, text);
                        let refusals = self.outbox.give_up_at(at, &refusal);
                        self.queue_refused(refusals);
                        return false;
                    }
                }
            }
        };
        self.outbox.submit(at, route, self.wall_us, &mut self.out);
        true
    }

    fn open_conversation(&mut self, user: UserName, label: Option<Label>) {
        if !self.calls.is_opening(&user) {
            let target = Target::User { user: user.clone(), label };
            let open = Request::Open { target };
            self.calls.send(&mut self.out, &open, Purpose::Open(user));
        }
    }

    fn take_opened(&mut self, with: &UserName, result: &Result<Reply, Refusal>) {
        match result {
            Ok(Reply::Opened(info)) => self.conversation_is(with, info.tag),
            Err(refusal)
                if self.streams.conversation(with).is_none() && !self.calls.is_opening(with) =>
            {
                let refusals = self.outbox.give_up_conversation(with, refusal);
                self.queue_refused(refusals);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// A conversation has this number in this run of the server: the texts for it are submitted.
    fn conversation_is(&mut self, with: &UserName, tag: StreamTag) {
        if self.streams.open_conversation(with, tag) {
            self.submit_waiting(|unacked| unacked.is_for(with));
        }
    }

    fn queue_refused(&mut self, refusals: Vec<Refusal>) {
        for refusal in refusals {
            self.queue(Queued::Refused(refusal));
        }
    }

    fn take_ack(&mut self, ack: &Ack) {
        for AckedText { counter, stream, seq } in self.outbox.ack(ack) {
            self.streams.acked(&stream, seq);
            let run = (!ack.stored).then_some(self.streams.boot());
            let id = MessageId { stream, run, seq };
            self.queue(Queued::Sent(Sent { id, members: ack.members, counter }));
        }
        self.submit_more();
    }

    // ---- housekeeping ------------------------------------------------------------------------

    /// Wants the broadcast channel of a stream joined. Where it was joined before, its key is
    /// another one.
    fn hear(&mut self, tag: StreamTag, channel: Channel) {
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
        tag: StreamTag,
        channel: &Channel,
        charge_bytes: Option<u64>,
        slot: Slot,
    ) {
        if !self.streams.set_heard_on(tag, charge_bytes.map(|_| channel)) {
            return;
        }
        let request = match charge_bytes {
            Some(charge_bytes) => Request::Listening { stream: tag, charge_bytes, slot },
            None => Request::Deaf { stream: tag },
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

    /// Whether [`MemberState::tick`] would ask for what is missing.
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
            // A try to come back that failed is not told each time.
            SessionState::Ready => {
                self.wakes.push_back(Queued::Event(Event::End { reason: reason.to_owned() }));
            }
            SessionState::Joining(_) if planted(Fault::EarlyNewsLost) => {}
            SessionState::Joining(early) => {
                self.wakes.extend(early.events.into_iter().filter(|queued| !comes_again(queued)));
            }
        }
        // Behind the news of the end, so that everybody knows why.
        for serial in self.calls.end() {
            self.unanswered(serial);
        }
        self.announcements = AnnouncementFilter::default();
        was_ready
    }
}

/// Returns true if the next session brings it once more. All else has changed the state already.
fn comes_again(queued: &Queued) -> bool {
    matches!(queued, Queued::Event(Event::Message(_) | Event::Gap { .. } | Event::Offer { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{
            batch::{Builder, Draft},
            frames::SubmitTo,
            hub::{Action, Chunk, Hub, Rules},
            member::{EndCause, Kind as MemberKind, Level, Member, Peer, SessionId},
            message::RunId,
            request::Announce,
            stream_id::{RoomId, RoomIdentity, StreamLabel},
        },
        wire::frame::PROTOCOL_VERSION,
    };

    fn welcome() -> Welcome {
        Welcome {
            protocol: PROTOCOL_VERSION,
            version: String::new(),
            run: RunId(1),
            session: 1,
            pid: 1,
            user: "ann".to_owned(),
            uid: 1,
            broadcast: "session".to_owned(),
            epoch: 0,
            source_port: None,
        }
    }

    #[test]
    fn a_room_that_is_left_while_it_is_joined_is_not_followed() {
        let room = RoomName::new("dev").unwrap();
        let hello = Hello::new(None, MemberKind::Person, [1; 16]);
        let mut state = MemberState::new(hello, Follows::default());
        state.begin(&welcome());
        state.follow(Follow::Room(room.clone()));
        assert!(state.part(&room, true));
        assert!(!state.part(&room, true), "once");
        let (serial, _) = state.calls.joins().next().unwrap();
        state.out.clear();
        let info = StreamInfo {
            tag: StreamTag(5),
            name: StreamLabel::Room(room.clone()),
            head: 0,
            next: 1,
            new_run: false,
            stored: true,
            members: 1,
            topic: String::new(),
            channel: None,
            room: None,
        };
        state.take_reply(serial, Ok(Reply::Joined(vec![info]))).unwrap();
        assert_eq!(state.tag_of(&room), None);
        let first = frame::parse(&state.out).unwrap().unwrap();
        let (_, request) = control::read_request(first.body).unwrap();
        assert!(
            matches!(request, Request::Part { stream: StreamTag(5), forget: true }),
            "{request:?}"
        );
    }

    #[test]
    fn what_was_asked_without_a_session_is_not_asked_in_the_next_one() {
        let room = RoomName::new("dev").unwrap();
        let follow = vec![Follow::Room(room.clone())];
        let follows = Follows { follow, ..Follows::default() };
        let mut state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
        let serial = state.ask(&Request::Topic { room, topic: "stale".to_owned() });
        assert!(matches!(state.next_wake(), Some(Queued::Reply(s, Err(_))) if s == serial));
        state.begin(&welcome());
        let first = frame::parse(&state.out).unwrap().unwrap();
        let (_, request) = control::read_request(first.body).unwrap();
        assert!(matches!(request, Request::Join { .. }), "{request:?}");
        assert_eq!(first.bytes, state.out.len(), "and nothing else");
    }

    #[test]
    fn whole_conversations_are_told_from_messages_to_one_label() {
        let (bob, carol) = (UserName::new("bob").unwrap(), UserName::new("carol").unwrap());
        let followed = |follow| {
            let follows = Follows { follow: vec![follow], ..Follows::default() };
            let state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
            state.follows_all_of(&bob)
        };
        assert!(followed(Follow::AllDirect) && followed(Follow::With(bob.clone())));
        assert!(!followed(Follow::With(carol)) && !followed(Follow::ToMe));
        assert!(!followed(Follow::Announcements));
        assert!(!followed(Follow::Room(RoomName::new("bob").unwrap())));
    }

    /// A state that follows a room, whose id is 7, and is ready.
    fn ready_in(room: &RoomName, lasts: bool) -> MemberState {
        let follow = vec![Follow::Room(room.clone())];
        let follows = Follows { follow, ..Follows::default() };
        let mut state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
        state.begin(&welcome());
        answer_join(&mut state, Ok(info(room, 7, lasts)));
        state
    }

    fn info(room: &RoomName, id: u64, lasts: bool) -> StreamInfo {
        StreamInfo {
            tag: StreamTag(id as u32),
            name: StreamLabel::Room(room.clone()),
            head: 0,
            next: 1,
            new_run: false,
            stored: lasts,
            members: 1,
            topic: String::new(),
            channel: None,
            room: Some(RoomIdentity { id: RoomId(id), lasts }),
        }
    }

    fn answer_join(state: &mut MemberState, answer: Result<StreamInfo, Refusal>) {
        let (serial, _) = state.calls.joins().next().unwrap();
        state.take_reply(serial, answer.map(|info| Reply::Joined(vec![info]))).unwrap();
    }

    /// Breaks the session and begins one of the next boot.
    fn reconnect(state: &mut MemberState) {
        state.end("lost");
        state.begin(&Welcome { run: RunId(2), ..welcome() });
    }

    /// Where the next submits go; empties the output.
    fn submits(state: &mut MemberState) -> Vec<SubmitTo> {
        let (mut all, out) = (Vec::new(), std::mem::take(&mut state.out));
        let mut rest = &out[..];
        while let Some(parsed) = frame::parse(rest).unwrap() {
            if parsed.kind == Kind::Submit {
                all.push(control::read_submit(parsed.body).unwrap().to);
            }
            rest = &rest[parsed.bytes..];
        }
        all
    }

    fn wakes(state: &mut MemberState) -> Vec<Queued> {
        std::iter::from_fn(|| state.next_wake()).collect()
    }

    #[test]
    fn unknown_submit_is_reported_and_never_repeated() {
        let room = RoomName::new("dev").unwrap();
        let mut state = ready_in(&room, true);
        let say = |state: &mut MemberState, text: &str| {
            state.say(Address::Room(room.clone()), None, text.to_owned());
        };
        let come = |state: &mut MemberState, wall_us| {
            state.take_bytes(Now { mono_us: 1, wall_us }, &[]).unwrap();
        };
        let stated = |state: &MemberState| (state.hello.submitted, state.hello.submitted_since_us);
        assert_eq!(stated(&state), (0, 0));
        come(&mut state, 50);
        say(&mut state, "one");
        come(&mut state, 60);
        say(&mut state, "two\nlines");
        reconnect(&mut state);
        assert_eq!(stated(&state), (2, 50));
        // What is said meanwhile was not submitted before.
        say(&mut state, "three");
        come(&mut state, 70);
        answer_join(&mut state, Ok(info(&room, 7, true)));
        assert_eq!(submits(&mut state).len(), 3);
        wakes(&mut state);
        let refusal = Refusal::new(RefusalCode::UnknownSubmit, "too old");
        let mut bytes = Vec::new();
        control::put_frame(&mut bytes, Frame::Nack { first: 1, count: 2, refusal });
        state.take_bytes(Now { mono_us: 1, wall_us: 80 }, &bytes).unwrap();
        for (text, wake) in ["\"one\"", "\"two…\""].iter().zip(wakes(&mut state)) {
            let Queued::Refused(refusal) = wake else { panic!("{wake:?}") };
            assert_eq!(refusal.code, RefusalCode::UnknownSubmit);
            assert!(refusal.text.contains(text) && refusal.text.contains("moot history dev"));
        }
        assert_eq!(state.take_refused(), [1, 2]);
        reconnect(&mut state);
        assert_eq!(stated(&state), (3, 70));
        answer_join(&mut state, Ok(info(&room, 7, true)));
        assert_eq!(submits(&mut state).len(), 1, "only the third");
    }

    #[test]
    fn texts_go_to_the_room_they_were_written_in() {
        let room = RoomName::new("dev").unwrap();
        let to = Address::Room(room.clone());
        let mut state = ready_in(&room, true);
        submits(&mut state);
        state.say(to.clone(), None, "one".to_owned());
        assert_eq!(submits(&mut state), [SubmitTo::Known(RoomId(7))]);
        // Written while there is no session.
        state.end("lost");
        state.say(to.clone(), None, "two".to_owned());
        state.begin(&Welcome { run: RunId(2), ..welcome() });
        let request = |state: &MemberState| {
            let first = frame::parse(&state.out).unwrap().unwrap();
            control::read_request(first.body).unwrap().1
        };
        let Request::Join { begin: Begin::Resume { room: of, .. }, .. } = request(&state) else {
            panic!("{:?}", request(&state));
        };
        assert_eq!(of, RoomId(7));
        // The room is gone: the server is asked about both texts under the old identity, and
        // nothing else.
        answer_join(&mut state, Err(Refusal::new(RefusalCode::Absent, "there is no room dev")));
        assert_eq!(submits(&mut state), vec![SubmitTo::Known(RoomId(7)); 2]);
        let is_deleted =
            |w: &Queued| matches!(w, Queued::Event(Event::Deleted { room: of }) if *of == room);
        assert_eq!(wakes(&mut state).iter().filter(|w| is_deleted(w)).count(), 1);
        // What is written now was written in no room.
        let counter = state.say(to, None, "three".to_owned());
        assert_eq!(submits(&mut state), []);
        assert_eq!(state.take_refused(), [counter]);
        assert!(matches!(wakes(&mut state)[..], [Queued::Refused(_)]));
    }

    #[test]
    fn server_without_history_gets_its_rooms_again() {
        let room = RoomName::new("dev").unwrap();
        let mut state = ready_in(&room, false);
        state.say(Address::Room(room.clone()), None, "one".to_owned());
        reconnect(&mut state);
        submits(&mut state);
        answer_join(&mut state, Ok(info(&room, 8, false)));
        assert_eq!(submits(&mut state), [SubmitTo::Known(RoomId(8))]);
    }

    #[test]
    fn text_waits_for_the_join_of_its_room() {
        let (dev, ops) = (RoomName::new("dev").unwrap(), RoomName::new("ops").unwrap());
        for joins in [true, false] {
            let mut state = ready_in(&dev, true);
            submits(&mut state);
            state.follow(Follow::Room(ops.clone()));
            let counter = state.say(Address::Room(ops.clone()), None, "one".to_owned());
            assert_eq!(submits(&mut state), []);
            let refusal = Refusal::new(RefusalCode::Denied, "you are banned from ops");
            answer_join(&mut state, if joins { Ok(info(&ops, 9, true)) } else { Err(refusal) });
            match joins {
                true => assert_eq!(submits(&mut state), [SubmitTo::Known(RoomId(9))]),
                false => assert_eq!(state.take_refused(), [counter]),
            }
        }
    }

    /// Answers the request for a conversation that was written last.
    fn answer_open(state: &mut MemberState, tag: u32, answer: Result<(), Refusal>) {
        let (serial, user) = state.calls.openings().max().unwrap();
        let name = StreamLabel::Direct(user.clone());
        let info = StreamInfo { name, tag: StreamTag(tag), room: None, ..info(&dev(), 1, true) };
        state.take_reply(serial, answer.map(|()| Reply::Opened(info))).unwrap();
    }

    fn dev() -> RoomName {
        RoomName::new("dev").unwrap()
    }

    fn bob() -> UserName {
        UserName::new("bob").unwrap()
    }

    fn to_bob() -> Address {
        Address::Direct { with: bob(), label: None }
    }

    fn ack_of(counter: u64, seq: u64) -> Ack {
        Ack { first: counter, count: 1, seq, members: 0, stored: true }
    }

    #[test]
    fn direct_message_goes_to_the_conversation_of_this_boot() {
        // A member that follows nothing has no stream that tells the boots apart.
        let mut state =
            MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), Follows::default());
        state.begin(&welcome());
        state.become_ready();
        let first = state.say(to_bob(), None, "one".to_owned());
        let second = state.say(to_bob(), None, "two".to_owned());
        assert_eq!(submits(&mut state), [], "the conversation is not open");
        answer_open(&mut state, 9, Ok(()));
        assert_eq!(submits(&mut state), vec![SubmitTo::Stream(StreamTag(9)); 2]);
        state.take_ack(&ack_of(first, 1));
        // An address that is kept over a restart; what is on its way goes with it.
        reconnect(&mut state);
        state.become_ready();
        let third = state.say(to_bob(), None, "three".to_owned());
        assert_eq!(submits(&mut state), []);
        answer_open(&mut state, 4, Ok(()));
        assert_eq!(submits(&mut state), vec![SubmitTo::Stream(StreamTag(4)); 2]);
        // In the same boot it has the same number.
        state.end("lost");
        state.begin(&Welcome { run: RunId(2), ..welcome() });
        state.become_ready();
        assert_eq!(submits(&mut state), vec![SubmitTo::Stream(StreamTag(4)); 2]);
        // What can't be opened is refused; it may be stored if it was submitted earlier.
        state.end("lost");
        state.begin(&Welcome { run: RunId(3), ..welcome() });
        state.become_ready();
        let fourth = state.say(to_bob(), None, "four".to_owned());
        wakes(&mut state);
        let absent = Refusal::new(RefusalCode::Absent, "there is no user bob on this host");
        answer_open(&mut state, 0, Err(absent));
        assert_eq!(submits(&mut state), []);
        assert_eq!(state.take_refused(), [second, third, fourth]);
        assert_eq!(
            refusals(&mut state),
            [RefusalCode::UnknownSubmit, RefusalCode::UnknownSubmit, RefusalCode::Absent]
        );
    }

    #[test]
    fn direct_messages_keep_their_order_while_a_conversation_opens() {
        let mut state = ready_in(&dev(), true);
        submits(&mut state);
        let first = state.say(to_bob(), None, "one".to_owned());
        // Another member of this user opened it meanwhile.
        let name = StreamLabel::Direct(bob());
        let info = StreamInfo { name, tag: StreamTag(9), room: None, ..info(&dev(), 9, true) };
        state.take_event(Now { mono_us: 1, wall_us: 1 }, Told::Opened(info));
        let second = state.say(to_bob(), None, "two".to_owned());
        answer_open(&mut state, 9, Ok(()));
        assert_eq!(submits(&mut state), vec![SubmitTo::Stream(StreamTag(9)); 2]);
        state.take_ack(&Ack { count: 2, ..ack_of(first, 1) });
        assert_eq!((second, state.unacked()), (first + 1, 0));
    }

    /// Codes of the refusals among the wakes.
    fn refusals(state: &mut MemberState) -> Vec<RefusalCode> {
        let codes = wakes(state).into_iter().filter_map(|wake| match wake {
            Queued::Refused(refusal) => Some(refusal.code),
            Queued::Event(_)
            | Queued::Sent(_)
            | Queued::NotFollowed(..)
            | Queued::Ended(_)
            | Queued::Reply(..) => None,
        });
        codes.collect()
    }

    #[test]
    fn submitted_text_is_never_reported_as_not_sent() {
        // Nothing outlives this server: its rooms and numbers are others after a restart.
        for (follows_again, reply_to) in [(true, Some(1)), (false, None), (false, Some(1))] {
            let mut state = ready_in(&dev(), false);
            let say = |state: &mut MemberState| {
                state.say(Address::Room(dev()), reply_to, "one".to_owned());
            };
            say(&mut state);
            assert_eq!(submits(&mut state).len(), 1);
            state.end("lost");
            say(&mut state);
            state.begin(&Welcome { run: RunId(2), ..welcome() });
            wakes(&mut state);
            let refusal = Refusal::new(RefusalCode::Denied, "you are banned from dev");
            let answer = if follows_again { Ok(info(&dev(), 8, false)) } else { Err(refusal) };
            answer_join(&mut state, answer);
            assert_eq!(submits(&mut state), []);
            assert_eq!(
                refusals(&mut state),
                [RefusalCode::UnknownSubmit, RefusalCode::Absent],
                "{follows_again} {reply_to:?}"
            );
        }
    }

    #[test]
    fn reply_to_a_user_is_not_sent_to_another_message() {
        let mut state = ready_in(&dev(), true);
        state.say(to_bob(), Some(5), "one".to_owned());
        answer_open(&mut state, 9, Ok(()));
        reconnect(&mut state);
        answer_join(&mut state, Ok(info(&dev(), 7, true)));
        // Whether the new boot still has message 5 is not known: the conversation is not followed.
        assert_eq!(refusals(&mut state), [RefusalCode::UnknownSubmit]);
        assert_eq!(state.calls.openings().count(), 0);
    }

    #[test]
    fn text_far_from_the_oldest_one_waits_for_its_answer() {
        let (dev, ops) = (dev(), RoomName::new("ops").unwrap());
        let follow = vec![Follow::Room(dev.clone()), Follow::Room(ops.clone())];
        let follows = Follows { follow, ..Follows::default() };
        let mut state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
        state.begin(&welcome());
        let join_both = |state: &mut MemberState| {
            for (room, id) in [(&dev, 7), (&ops, 8)] {
                answer_join(state, Ok(info(room, id, true)));
            }
        };
        join_both(&mut state);
        submits(&mut state);
        let say = |state: &mut MemberState, room: &RoomName| {
            state.say(Address::Room(room.clone()), None, "x".to_owned())
        };
        let slow = say(&mut state, &dev);
        let most = UNACKED_SUBMITS_MAX as u64;
        for _ in 0..2 * most {
            let counter = say(&mut state, &ops);
            if submits(&mut state).contains(&SubmitTo::Known(RoomId(8))) {
                assert!(counter - slow < most, "the server forgets {slow}");
                state.take_ack(&ack_of(counter, counter));
            }
            if state.unacked() == UNACKED_SUBMITS_MAX {
                break;
            }
        }
        assert_eq!(state.unacked(), UNACKED_SUBMITS_MAX);
        // Over a break as well.
        reconnect(&mut state);
        join_both(&mut state);
        assert_eq!(submits(&mut state), [SubmitTo::Known(RoomId(7))]);
        assert_eq!(state.hello.submitted, slow + most - 1);
        // Its answer lets all others go, whatever it is.
        let refusal = Refusal::new(RefusalCode::Denied, "you are muted in dev");
        state.take_told(Now::default(), Frame::Nack { first: slow, count: 1, refusal }).unwrap();
        assert_eq!(submits(&mut state).len(), UNACKED_SUBMITS_MAX - 1);
    }

    // ---- what a session learns before it is ready --------------------------------------------

    #[test]
    fn news_of_a_session_that_never_was_ready_is_reported() {
        let (dev, ops) = (dev(), RoomName::new("ops").unwrap());
        let mut state = ready_in(&dev, true);
        state.follow(Follow::Room(ops.clone()));
        answer_join(&mut state, Ok(info(&ops, 8, true)));
        let counters: Vec<_> =
            (0..3).map(|_| state.say(Address::Room(dev.clone()), None, "x".to_owned())).collect();
        state.end("lost");
        wakes(&mut state);
        state.follow(Follow::Room(RoomName::new("den").unwrap()));
        state.begin(&Welcome { run: RunId(2), ..welcome() });
        let asked = state.ask(&Request::Rooms { skip: 0 });
        let now = Now { mono_us: 1, wall_us: 1 };
        let tell = |state: &mut MemberState, frame| state.take_told(now, frame).unwrap();
        let refusal = |text: &str| Refusal::new(RefusalCode::Denied, text);
        answer_join(&mut state, Ok(info(&dev, 7, true)));
        answer_join(&mut state, Ok(info(&ops, 8, true)));
        tell(&mut state, Frame::Ack(ack_of(counters[0], 5)));
        let muted = Frame::Nack { first: counters[1], count: 1, refusal: refusal("muted") };
        tell(&mut state, muted);
        let rooms = Reply::Rooms { rooms: Vec::new(), more: false };
        tell(&mut state, Frame::Reply { serial: asked, result: Ok(rooms) });
        let removed = Told::Removed { stream: StreamTag(8), by: bob(), banned: false };
        tell(&mut state, Frame::Event(removed));
        tell(&mut state, Frame::Event(Told::Deleted { stream: StreamTag(7) }));
        let gap = Told::Gap { stream: StreamTag(7), first: 1, last: 2, reason: GapReason::Run };
        tell(&mut state, Frame::Event(gap));
        // The last join is refused only in the next session.
        state.end("lost again");
        let seen = format!("{:?}", wakes(&mut state));
        let expected = ["Sent(", "Refused(", "Reply(", "Removed {", "Deleted {"];
        let mut rest = seen.as_str();
        for word in expected {
            let at = rest.find(word).unwrap_or_else(|| panic!("no {word} in {seen}"));
            rest = &rest[at + word.len()..];
        }
        assert_eq!(seen.matches("Gap").count() + seen.matches("Ready").count(), 0, "{seen}");
        // The third text is open, and nothing is followed but the room whose join had no answer.
        assert_eq!(state.unacked(), 1);
        state.begin(&Welcome { run: RunId(2), ..welcome() });
        assert_eq!(state.calls.joins().count(), 1);
        state.follow(Follow::Room(ops));
        answer_join(&mut state, Err(refusal("banned from den")));
        assert!(!state.is_ready());
        state.end("lost");
        assert!(matches!(wakes(&mut state)[..], [Queued::NotFollowed(..)]));
    }

    /// A batch of a stream with one text for each sequence number.
    fn batch_of(tag: StreamTag, seqs: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let mut builder = Builder::default();
        builder.begin(0, tag, *seqs.start());
        for _ in seqs {
            let draft = Draft {
                from: &Member::nobody(),
                wall_us: 1,
                reply_to: None,
                to_label: None,
                notice: None,
                will: None,
                withheld: false,
                text: "x",
            };
            assert!(builder.push(0, &draft));
        }
        builder.bytes().to_vec()
    }

    #[test]
    fn tap_gets_each_message_once_over_breaks_before_ready() {
        let (dev, ops) = (dev(), RoomName::new("ops").unwrap());
        let follow = vec![Follow::Room(dev.clone()), Follow::Room(ops.clone())];
        let follows = Follows { follow, ..Follows::default() };
        let mut state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
        let (seen, sees) = std::sync::mpsc::channel();
        state.tap = Some(Box::new(move |message| seen.send(message.seq).unwrap()));
        for breaks in [true, true, false] {
            state.begin(&welcome());
            answer_join(&mut state, Ok(StreamInfo { head: 3, ..info(&dev, 7, true) }));
            let now = Now { mono_us: 1, wall_us: 1 };
            state.take_body(now, Via::Session, &batch_of(StreamTag(7), 1..=3));
            assert_eq!(sees.try_iter().count(), 0, "not before it is ready");
            if breaks {
                state.end("lost");
            }
        }
        answer_join(&mut state, Ok(info(&ops, 8, true)));
        assert_eq!(sees.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
        let now = Now { mono_us: 2, wall_us: 2 };
        state.take_body(now, Via::Session, &batch_of(StreamTag(7), 4..=5));
        assert_eq!(sees.try_iter().collect::<Vec<_>>(), [4, 5]);
    }

    // ---- with the hub --------------------------------------------------------------------------

    /// A state whose sessions are of a real hub, and an operator's session there.
    struct Together {
        hub: Hub,
        state: MemberState,
        now: Now,
        session: SessionId,
    }

    impl Together {
        const OPERATOR: SessionId = SessionId(1);

        fn new(follow: Vec<Follow>) -> Self {
            let hello = Hello::new(None, MemberKind::Script, [1; 16]);
            let follows = Follows { follow, ..Follows::default() };
            let mut together = Self {
                hub: Hub::new(Rules::new(RunId(1), 0, frame::batch_header)),
                state: MemberState::new(hello, follows),
                now: Now { mono_us: 1_000_000, wall_us: 1_000_000 },
                session: Self::OPERATOR,
            };
            let hello = Hello::new(None, MemberKind::Person, [2; 16]);
            together.open(Self::OPERATOR, hello);
            together
        }

        fn open(&mut self, id: SessionId, hello: Hello) {
            let user = UserName::new("ann").unwrap();
            let peer = Peer { uid: 0, user, pid: id.0 as u32, start: 0 };
            self.hub.open(self.now, id, peer, hello.for_hub()).unwrap();
        }

        fn connect(&mut self) {
            self.session.0 += 1;
            let hello = self.state.hello.clone();
            self.open(self.session, hello);
            self.state.begin(&welcome());
            self.exchange();
        }

        fn break_off(&mut self) {
            self.hub.close(self.now, self.session, EndCause::Closed);
            self.state.end("lost");
            self.exchange();
        }

        fn operator(&mut self, request: Request) {
            self.hub.request(self.now, Self::OPERATOR, 1, request);
            self.exchange();
        }

        fn announce(&mut self, to: &RoomName, text: &str) {
            let announce = Announce::new(Level::Info, Text::new(text).unwrap());
            let (room, retain) = (Some(to.clone()), true);
            self.operator(Request::Announce(Announce { room, retain, ..announce }));
        }

        /// Carries frames to and fro until there are none.
        fn exchange(&mut self) {
            loop {
                let (out, mut rest) = (std::mem::take(&mut self.state.out), 0);
                while let Some(parsed) = frame::parse(&out[rest..]).unwrap() {
                    rest += parsed.bytes;
                    if parsed.kind == Kind::Request {
                        let (serial, request) = control::read_request(parsed.body).unwrap();
                        self.hub.request(self.now, self.session, serial, request);
                    }
                }
                self.hub.end_turn(self.now);
                let (mut bytes, mut chunks) = (Vec::new(), Vec::new());
                for action in self.hub.actions() {
                    if let Action::Send(to, frame) = action
                        && to == self.session
                    {
                        control::put_frame(&mut bytes, frame);
                    }
                }
                self.hub.pull(self.now, self.session, usize::MAX, &mut chunks);
                for chunk in chunks {
                    match chunk {
                        Chunk::Batch(frame) => bytes.extend_from_slice(&frame),
                        Chunk::Event(event) => control::put_event(&mut bytes, &event),
                    }
                }
                if bytes.is_empty() && out.is_empty() {
                    return;
                }
                self.state.take_bytes(self.now, &bytes).unwrap();
            }
        }

        /// Texts that were shown since this was last asked.
        fn shown(&mut self) -> Vec<String> {
            let texts = wakes(&mut self.state).into_iter().filter_map(|wake| match wake {
                Queued::Event(Event::Message(message)) => Some(message.text),
                Queued::Event(_)
                | Queued::Sent(_)
                | Queued::Refused(_)
                | Queued::NotFollowed(..)
                | Queued::Ended(_)
                | Queued::Reply(..) => None,
            });
            texts.collect()
        }
    }

    #[test]
    fn room_joined_during_a_break_brings_its_retained_announcements() {
        let (dev, den) = (dev(), RoomName::new("den").unwrap());
        let follow = vec![Follow::Announcements, Follow::Room(dev.clone())];
        let mut together = Together::new(follow);
        for room in [&dev, &den] {
            let (history, private, read_only) = (false, false, false);
            let room = room.clone();
            together.operator(Request::CreateRoom { room, history, private, read_only });
        }
        together.announce(&dev, "dev before");
        together.announce(&den, "den before");
        together.connect();
        assert_eq!(together.shown(), ["dev before"]);
        together.break_off();
        together.announce(&dev, "dev meanwhile");
        together.announce(&den, "den meanwhile");
        together.state.follow(Follow::Room(den.clone()));
        together.connect();
        let mut shown = together.shown();
        shown.sort();
        assert_eq!(shown, ["den before", "den meanwhile", "dev meanwhile"]);
        together.break_off();
        together.connect();
        assert_eq!(together.shown(), [""; 0], "nothing twice");
        together.announce(&den, "den after");
        assert_eq!(together.shown(), ["den after"]);
    }

    #[test]
    fn announcements_are_joined_where_each_room_gets_its_own() {
        let (dev, den) = (Follow::Room(dev()), Follow::Room(RoomName::new("den").unwrap()));
        let follow = vec![dev.clone(), Follow::Announcements];
        for (epoch, expected) in [
            (0, [dev.clone(), Follow::Announcements, den.clone()]),
            // Of an older history that was put back each room brings what is retained.
            (1, [Follow::Announcements, dev, den.clone()]),
        ] {
            let mut together = Together::new(follow.clone());
            together.connect();
            together.break_off();
            together.state.follow(den.clone());
            together.state.begin(&Welcome { epoch, ..welcome() });
            let order: Vec<_> =
                together.state.calls.joins().map(|(_, follow)| follow.clone()).collect();
            assert_eq!(order, expected);
        }
    }
}
