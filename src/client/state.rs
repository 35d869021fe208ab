//! The member without I/O: bytes of its session and datagrams of its channel go in, what to show and what to write comes out.
//!
//! [`Member`](super::Member) is a [`State`] with sockets and a clock. A program with an event loop of its own
//! can drive one in the same way, and so does the simulation: [`State::begin`] when a session begins,
//! [`State::take_bytes`] and [`State::take_datagram`] for what comes, [`State::next_wake`] until there is
//! nothing more to show, [`State::tick`] at [`State::tick_at_us`]; then the wishes are carried out and `out`
//! is written. [`State::end`] when the session is gone.

use std::collections::{HashSet, VecDeque};

use rustc_hash::FxHashMap;

use super::{
    event::Event,
    link::{LinkError, Sent},
    past::message_of,
};
use crate::{
    broadcast::Keys,
    chat::{
        batch::{self, MessageRef, Reader},
        hub::{ANNOUNCEMENTS, Ack, Frame, Line, Now, Submit, SubmitTo},
        inbox::{Inbox, Released, Via},
        message::{Message, MessageId, RunId, StreamName},
        names::{Label, RoomName, UserName},
        text::Text,
        verbs::{
            Begin, Channel, Event as Told, Follow, GapReason, Page, Refusal, RefusalCode, Reply,
            Request, RoomIdentity, StreamInfo, StreamLabel, StreamTag,
        },
    },
    faults::{Fault, planted},
    limits::{REPAIR_DELAY_MS_MAX, UNACKED_SUBMITS_MAX},
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

#[derive(Debug)]
struct Stream {
    name: StreamName,
    /// Of a room: tells it apart from other rooms of its name.
    room: Option<RoomIdentity>,
    inbox: Inbox,
    stored: bool,
    /// Newest number of an own text.
    acked: u64,
    /// Group and port of the broadcast channel that it is heard on.
    heard_at: Option<([u8; 4], u16)>,
}

#[derive(Debug)]
struct Unacked {
    counter: u64,
    to: Address,
    /// The room it was written in; none while that room's join is not answered.
    room: Option<RoomIdentity>,
    reply_to: Option<u64>,
    text: String,
    /// Wall clock when it was first submitted, microseconds since 1970.
    since_us: Option<i64>,
}

impl Unacked {
    fn stream(&self) -> StreamName {
        match &self.to {
            Address::Room(room) => StreamName::Room(room.clone()),
            Address::Direct { with, .. } => StreamName::Direct(with.clone()),
        }
    }

    /// The refusal if the server can't tell what became of it.
    fn unknown(&self) -> Refusal {
        let stream = self.stream();
        let line = self.text.lines().next().unwrap_or_default();
        let mut text: String = line.chars().take(EXCERPT_CHARS).collect();
        if text.len() < self.text.len() {
            text.push('…');
        }
        let text = format!(
            "can't tell whether a message to {stream} was stored (\"{text}\"): the connection broke, \
             and the server no longer knows; look with `moot history {stream}` before sending the \
             text again"
        );
        Refusal::new(RefusalCode::UnknownSubmit, text)
    }
}

/// Characters of a text that a refusal quotes.
const EXCERPT_CHARS: usize = 60;

/// Where a member's own text goes, good over reconnects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A room that the member follows, or is joining.
    Room(RoomName),
    /// A conversation that was opened ([`Request::Open`]), and the label it is for.
    Direct {
        /// Its number in this run.
        stream: StreamTag,
        /// The other one.
        with: UserName,
        /// Sessions of theirs that it is for.
        label: Option<Label>,
    },
}

/// Something for the caller, in order; [`Wake`](super::Wake) describes each.
#[derive(Debug)]
pub enum Queued {
    /// An event to show.
    Event(Event),
    /// A submit is acknowledged.
    Sent(Sent),
    /// A submit is refused; [`State::take_refused`] returns its counter.
    Refused(Refusal),
    /// A stream is not followed, or no longer.
    NotFollowed(Follow, Refusal),
    /// The server does not admit this member any longer.
    Ended(LinkError),
    /// Answer to the request with this serial number.
    Reply(u32, Result<Reply, Refusal>),
}

/// What a session is at.
#[derive(Debug, Default)]
struct Live {
    /// Joins that are not answered yet, in the order of their serial numbers.
    joining: VecDeque<(u32, Follow)>,
    /// What came before everything was joined, to be shown after `ready`.
    early: VecDeque<Queued>,
    is_ready: bool,
}

/// A task for the owner of the sockets; [`State::heard`] reports the result of the first.
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
pub struct State {
    /// Handshake of its sessions.
    pub hello: Hello,
    follows: Follows,
    live: Option<Live>,
    run: RunId,
    user: String,
    streams: FxHashMap<u32, Stream>,
    /// Streams of the last session, until they are joined again.
    before: Vec<Stream>,
    /// The run that they belong to.
    before_run: RunId,
    /// Of the history: numbers of another one mean something else.
    epoch: u32,
    before_epoch: u32,
    wakes: VecDeque<Queued>,
    unacked: VecDeque<Unacked>,
    counter: u64,
    /// Highest counter that was submitted.
    submitted: u64,
    /// Wall clock when something last came, microseconds since 1970.
    wall_us: i64,
    /// Counters of what was refused, until somebody asks.
    refused: Vec<u64>,
    serial: u32,
    jitter: u64,
    /// Bytes of a frame that is not complete yet.
    partial: Vec<u8>,
    /// Keys of the broadcast channel, if this session has one.
    keys: Option<Keys>,
    /// Tasks for the owner of the sockets.
    pub wishes: Vec<Wish>,
    /// To be written to the session.
    pub out: Vec<u8>,
    /// Requests whose answers nobody waits for.
    silent: HashSet<u32>,
    /// Requests whose answers the caller waits for.
    asked: HashSet<u32>,
    /// The request for its last will.
    will_asked: Option<u32>,
    /// Announcements that are still to come and were cancelled.
    cancelled: HashSet<u64>,
    /// There was a session before: what was said since then is to be shown.
    was_ready: bool,
    /// What is refused in the first session is told as in any other, and does not end it.
    pub bears_refusals: bool,
    /// Takes the messages of rooms in place of events.
    pub tap: Option<Tap>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("user", &self.user).finish_non_exhaustive()
    }
}

impl State {
    /// A member without a session.
    pub fn new(hello: Hello, follows: Follows) -> Self {
        let seed = u64::from_le_bytes(hello.instance.0[..8].try_into().unwrap_or_default());
        Self {
            hello,
            follows,
            live: None,
            run: RunId(0),
            user: String::new(),
            streams: FxHashMap::default(),
            before: Vec::new(),
            before_run: RunId(0),
            epoch: 0,
            before_epoch: 0,
            wakes: VecDeque::new(),
            unacked: VecDeque::new(),
            counter: 0,
            submitted: 0,
            wall_us: 0,
            refused: Vec::new(),
            serial: 0,
            jitter: seed | 1,
            partial: Vec::new(),
            keys: None,
            wishes: Vec::new(),
            out: Vec::new(),
            silent: HashSet::new(),
            asked: HashSet::new(),
            will_asked: None,
            cancelled: HashSet::new(),
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
        self.live.as_ref().is_some_and(|live| live.is_ready)
    }

    /// Number of submits that are not acknowledged yet.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Bytes of those texts.
    pub fn unacked_bytes(&self) -> usize {
        self.unacked.iter().map(|u| u.text.len()).sum()
    }

    /// Returns true if every known message was shown, the member's own texts included.
    pub fn has_shown_all(&self) -> bool {
        let shown = |s: &Stream| s.inbox.next() > s.inbox.head().max(s.acked);
        self.is_ready() && self.wakes.is_empty() && self.streams.values().all(shown)
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
        self.run = welcome.run;
        self.epoch = welcome.epoch;
        self.keys = welcome.source_port.map(|_| Keys::new(welcome.run.0));
        self.partial = Vec::new();
        self.out.clear();
        self.wishes.clear();
        self.live = Some(Live::default());
        // Conversations go on where each stood; only those that are new since then begin anew.
        let known: Vec<_> = self
            .before
            .iter()
            .filter_map(|s| match &s.name {
                StreamName::Direct(user) => Some(Follow::With(user.clone())),
                StreamName::Room(_) | StreamName::Announcements => None,
            })
            .filter(|follow| !self.follows.follow.contains(follow))
            .collect();
        // Whoever is there has a will; it is too late to make one once a process was killed.
        if let Some(will) = &self.follows.will {
            let will = Request::Will { text: Some(will.clone()) };
            self.will_asked = Some(self.put(&will));
        }
        // Announcements that are still to be seen come first. Those that were made while there was no
        // session come last: which of them are for it depends on the rooms it is in.
        let mut all: Vec<_> = known.into_iter().chain(self.follows.follow.clone()).collect();
        let comes_back = self.was_ready;
        all.sort_by_key(|follow| (*follow == Follow::Announcements) == comes_back);
        for follow in all {
            self.ask_to_follow(follow);
        }
    }

    fn ask_to_follow(&mut self, follow: Follow) {
        let begin = self.begin_of(&follow);
        let (membership, keep) = (self.follows.membership, self.follows.keep);
        let request = Request::Join { follow: follow.clone(), begin, membership, keep };
        let serial = self.put(&request);
        if let Some(live) = &mut self.live {
            live.joining.push_back((serial, follow));
        }
    }

    /// Where to go on in a stream that was followed before; else where the caller wants to begin.
    fn begin_of(&self, follow: &Follow) -> Begin {
        let known = match follow {
            Follow::Room(room) => self.before_named(&StreamName::Room(room.clone())),
            Follow::With(user) => self.before_named(&StreamName::Direct(user.clone())),
            Follow::Announcements => self.before_named(&StreamName::Announcements),
            Follow::AllDirect | Follow::ToMe => None,
        };
        match (known, follow) {
            // An older history was put back: a number that there never was is answered with a gap.
            (Some(stream), _) => {
                let run = self.before_run;
                let put_back = stream.stored
                    && self.epoch != self.before_epoch
                    && !planted(Fault::ClientIgnoresEpoch);
                let seq = if put_back { u64::MAX } else { stream.inbox.next() - 1 };
                match self.lasting(stream.room) {
                    Some(room) => Begin::Resume { run, seq, room: room.id },
                    None => Begin::After { run, seq },
                }
            }
            // What is not known began while there was no session.
            (None, Follow::AllDirect | Follow::ToMe) if self.was_ready => {
                Begin::After { run: self.before_run, seq: 0 }
            }
            (None, Follow::Announcements) => Begin::Now,
            (None, _) => {
                let own = self.follows.begin_of.iter().find(|(of, _)| of == follow);
                own.map_or(self.follows.begin, |(_, begin)| *begin)
            }
        }
    }

    /// Returns the identity of a room if it is still to be found under it: a restart of a server without a history
    /// forgets its rooms.
    fn lasting(&self, room: Option<RoomIdentity>) -> Option<RoomIdentity> {
        room.filter(|room| room.lasts || self.before_run == self.run)
    }

    fn before_named(&self, name: &StreamName) -> Option<&Stream> {
        self.before.iter().find(|s| s.name == *name)
    }

    // ---- what comes --------------------------------------------------------------------------

    /// Takes bytes of the session, whole frames or not.
    ///
    /// # Errors
    /// If they are not the server's frames, or the server ends the session: [`State::end`] is due.
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
                let refused = first..first.saturating_add(count.into());
                let is_unknown = refusal.code == RefusalCode::UnknownSubmit;
                let mut refusals = Vec::new();
                self.unacked.retain(|unacked| {
                    let is_refused = refused.contains(&unacked.counter);
                    if is_refused && self.refused.len() < UNACKED_SUBMITS_MAX {
                        self.refused.push(unacked.counter);
                    }
                    // Each may be stored: the user learns which they are.
                    if is_refused && is_unknown {
                        refusals.push(unacked.unknown());
                    }
                    !is_refused
                });
                if !is_unknown {
                    refusals.push(refusal);
                }
                for refusal in refusals {
                    self.queue(Queued::Refused(refusal));
                }
            }
            Frame::Event(event) => self.take_event(now, event),
        }
        Ok(())
    }

    fn take_reply(&mut self, serial: u32, result: Result<Reply, Refusal>) -> Result<(), LinkError> {
        if self.will_asked == Some(serial) {
            self.will_asked = None;
            return match result {
                Err(refusal) if self.must_succeed() => Err(LinkError::Refusal(refusal)),
                Err(refusal) => {
                    self.queue(Queued::Refused(refusal));
                    Ok(())
                }
                Ok(_) => Ok(()),
            };
        }
        let Some(live) = &mut self.live else { return Ok(()) };
        let Some(at) = live.joining.iter().position(|(s, _)| *s == serial) else {
            if !self.silent.remove(&serial) && self.asked.remove(&serial) {
                self.queue(Queued::Reply(serial, result));
            }
            return Ok(());
        };
        let follow = live.joining.remove(at).map(|(_, follow)| follow);
        let last = live.joining.is_empty() && !live.is_ready;
        match (result, follow) {
            (Ok(Reply::Joined(infos)), follow) => {
                for info in infos {
                    self.add(&info);
                }
                if self.is_ready()
                    && let Some(Follow::Room(room)) = &follow
                {
                    self.submit_waiting(room);
                }
                if let Some(Follow::Room(room)) = follow
                    && !self.follows.follow.contains(&Follow::Room(room.clone()))
                {
                    self.part(&room, true);
                }
            }
            (Ok(_), _) | (Err(_), None) => {
                return Err(LinkError::Protocol("an answer that fits no join".to_owned()));
            }
            (Err(refusal), _) if self.must_succeed() => return Err(LinkError::Refusal(refusal)),
            (Err(refusal), Some(follow)) => {
                self.follows.follow.retain(|f| *f != follow);
                let resumed = match &follow {
                    Follow::Room(room) => self
                        .before_named(&StreamName::Room(room.clone()))
                        .and_then(|stream| self.lasting(stream.room))
                        .map(|_| room.clone()),
                    Follow::With(_) | Follow::AllDirect | Follow::ToMe | Follow::Announcements => {
                        None
                    }
                };
                match resumed {
                    // The room itself is gone, whatever has its name now.
                    Some(room) if refusal.code == RefusalCode::Absent => {
                        self.queue(Queued::Event(Event::Deleted { room }));
                    }
                    _ => {
                        if let (true, Follow::Room(room)) = (self.is_ready(), &follow) {
                            self.submit_waiting(room);
                        }
                        self.queue(Queued::NotFollowed(follow, refusal));
                    }
                }
            }
        }
        if last {
            self.become_ready();
        }
        Ok(())
    }

    /// Whoever joins wants all or nothing.
    fn must_succeed(&self) -> bool {
        !self.was_ready && !self.bears_refusals
    }

    /// Takes a stream up, from where it stood if it was followed before.
    fn add(&mut self, info: &StreamInfo) {
        let name = match &info.name {
            StreamLabel::Room(room) => StreamName::Room(room.clone()),
            StreamLabel::Direct(user) => StreamName::Direct(user.clone()),
            StreamLabel::Announcements => StreamName::Announcements,
        };
        let asked = |(follow, _): &(Follow, Begin)| match (follow, &name) {
            (Follow::Room(room), StreamName::Room(of)) => room == of,
            (Follow::With(user), StreamName::Direct(of)) => user == of,
            _ => false,
        };
        let went_on = self.before_named(&name).is_some() || self.follows.begin_of.iter().any(asked);
        if info.new_run && went_on && !matches!(name, StreamName::Announcements) {
            let gap = Event::Gap { stream: name.clone(), range: None, reason: GapReason::Run };
            self.queue(Queued::Event(gap));
        }
        let next = match self.before_named(&name) {
            Some(stream) if !info.new_run => stream.inbox.next().max(info.next),
            Some(_) | None => info.next,
        };
        if self.streams.contains_key(&info.tag.0) {
            // Named twice: it is followed already.
            return;
        }
        let eager = matches!(name, StreamName::Announcements);
        let inbox = Inbox::new(info.tag, next, info.head, eager);
        let (room, stored) = (info.room, info.stored);
        let stream = Stream { name, room, inbox, stored, acked: 0, heard_at: None };
        self.streams.insert(info.tag.0, stream);
        if let Some(channel) = info.channel {
            self.hear(info.tag, channel);
        }
    }

    fn become_ready(&mut self) {
        let another_run = self.was_ready && self.before_run != self.run;
        self.before.clear();
        let Some(live) = &mut self.live else { return };
        live.is_ready = true;
        self.was_ready = true;
        let early = std::mem::take(&mut live.early);
        let broadcast = if self.keys.is_some() { BROADCAST_WORD } else { "session" };
        let mut streams: Vec<_> =
            self.streams.values().map(|s| (s.name.clone(), s.inbox.head())).collect();
        streams.sort_by_cached_key(|(name, _)| name.to_string());
        self.wakes.push_back(Queued::Event(Event::Ready { streams, broadcast }));
        self.wakes.extend(early);
        if another_run {
            for unacked in &mut self.unacked {
                unacked.room = unacked.room.filter(|room| room.lasts);
            }
            self.readdress_direct();
            self.give_up_replies();
        }
        self.resubmit();
    }

    fn take_event(&mut self, now: Now, event: Told) {
        match event {
            Told::Ping => frame::put(&mut self.out, Kind::Pong, |_| {}),
            Told::Heads(heads) => {
                let jitter_us = self.jitter_us();
                for (tag, head) in heads {
                    if let Some(stream) = self.streams.get_mut(&tag.0) {
                        stream.inbox.note_head(now.mono_us, head, jitter_us);
                    }
                }
            }
            Told::Gap { stream, first, last, reason } => {
                if let Some(followed) = self.streams.get_mut(&stream.0) {
                    followed.inbox.gap(first, last, reason);
                    self.release(now, stream.0);
                }
            }
            Told::Opened(info) => self.add(&info),
            Told::Channel { stream, channel } => self.hear(stream, channel),
            Told::Joined { stream, member } => {
                if let Some(room) = self.room_of(stream) {
                    self.queue(Queued::Event(Event::Joined { room, member }));
                }
            }
            Told::Left { stream, member, cause } => {
                if let Some(room) = self.room_of(stream) {
                    self.queue(Queued::Event(Event::Left { room, member, cause }));
                }
            }
            Told::Topic { stream, topic, .. } => {
                if let Some(room) = self.room_of(stream) {
                    self.queue(Queued::Event(Event::Topic { room, topic }));
                }
            }
            Told::Deleted { stream } => {
                if let Some(room) = self.room_of(stream) {
                    self.drop_stream(stream.0);
                    self.follows.follow.retain(|f| *f != Follow::Room(room.clone()));
                    self.queue(Queued::Event(Event::Deleted { room }));
                }
            }
            Told::Retained { body } => {
                for message in Reader::new(&body).into_iter().flatten().flatten() {
                    if let Some(message) = self.message(ANNOUNCEMENTS.0, &message)
                        && !has_expired(&message, now.wall_us)
                    {
                        self.queue(Queued::Event(Event::Message(message)));
                    }
                }
            }
            Told::Cancelled { number, by } => {
                // It may be still to come: then it is not shown at all.
                let head = self.streams.get(&ANNOUNCEMENTS.0).map(|s| s.inbox.next());
                if head.is_some_and(|next| number < next) {
                    self.queue(Queued::Event(Event::Cancelled { number, by }));
                } else {
                    self.cancelled.insert(number);
                }
            }
            Told::Removed { stream, by, banned } => {
                if let Some(room) = self.room_of(stream) {
                    self.drop_stream(stream.0);
                    self.follows.follow.retain(|f| *f != Follow::Room(room.clone()));
                    self.queue(Queued::Event(Event::Removed { room, by, banned }));
                }
            }
            Told::Invited { room, user, by } => {
                self.queue(Queued::Event(Event::Invited { room, user, by }));
            }
            Told::Slowed => self.queue(Queued::Event(Event::Slowed)),
            Told::Offer { stream, seq, before } => {
                if let Some(room) = self.room_of(stream) {
                    self.queue(Queued::Event(Event::Offer { room, stream, seq, before }));
                }
            }
            Told::Answered { stream, seq, by, failed, silent } => {
                if let Some(room) = self.room_of(stream) {
                    let answered = Event::Answered { room, seq, by, failed, silent };
                    self.queue(Queued::Event(answered));
                }
            }
            Told::Abandoned { stream, seq, by, cause } => {
                if let Some(room) = self.room_of(stream) {
                    self.queue(Queued::Event(Event::Abandoned { room, seq, by, cause }));
                }
            }
            Told::Covered { .. } | Told::Bye { .. } | Told::Spelled(_) => {}
        }
    }

    fn room_of(&self, tag: StreamTag) -> Option<RoomName> {
        match &self.streams.get(&tag.0)?.name {
            StreamName::Room(room) => Some(room.clone()),
            StreamName::Direct(_) | StreamName::Announcements => None,
        }
    }

    /// Counters of what was refused since this was last asked.
    pub fn take_refused(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.refused)
    }

    /// What the numbers of a room that is followed belong to: another history, or another run of a room
    /// without one, has others.
    pub fn numbering_of(&self, room: &RoomName) -> Option<(bool, u32)> {
        let name = StreamName::Room(room.clone());
        let stream = self.streams.values().find(|stream| stream.name == name)?;
        Some((stream.stored, if stream.stored { self.epoch } else { self.run.0 }))
    }

    /// The number of a room that is followed, in this run.
    pub fn tag_of(&self, room: &RoomName) -> Option<StreamTag> {
        let name = StreamName::Room(room.clone());
        self.streams.iter().find(|(_, s)| s.name == name).map(|(tag, _)| StreamTag(*tag))
    }

    /// The messages of a page of a stream that is followed.
    pub fn messages_of_page(&self, name: &StreamName, page: &Page) -> Vec<Message> {
        let Some((tag, _)) = self.streams.iter().find(|(_, s)| s.name == *name) else {
            return Vec::new();
        };
        let messages = Reader::new(&page.body).into_iter().flatten().flatten();
        messages
            .filter(|message| (page.first..=page.last).contains(&message.seq))
            .filter_map(|message| self.message(*tag, &message))
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
        let jitter_us = self.jitter_us();
        let tag = head.tag.0;
        let Some(stream) = self.streams.get_mut(&tag) else { return };
        if let Ok(Some(from)) = stream.inbox.take(now.mono_us, via, body, jitter_us) {
            self.show(now, tag, body, from);
            self.release(now, tag);
        }
    }

    /// Shows what had to wait for what just came.
    fn release(&mut self, now: Now, tag: u32) {
        let jitter_us = self.jitter_us();
        while let Some(stream) = self.streams.get_mut(&tag) {
            match stream.inbox.release(now.mono_us, jitter_us) {
                None => return,
                Some(Released::Body { body, from }) => self.show(now, tag, &body, from),
                Some(Released::Gap { first, last, reason }) => {
                    let range = Some((first, last));
                    let gap = Event::Gap { stream: stream.name.clone(), range, reason };
                    self.queue(Queued::Event(gap));
                }
            }
        }
    }

    fn show(&mut self, now: Now, tag: u32, body: &[u8], from: u64) {
        // What the server sealed or sent can be read; anything else has no place to go.
        let Ok(messages) = Reader::new(body) else { return };
        let is_room = self.streams.get(&tag).is_some_and(|s| matches!(s.name, StreamName::Room(_)));
        let _ = match self.tap.take_if(|_| is_room) {
            Some(mut tap) => {
                let read = messages.each(from, |message| {
                    if !message.withheld {
                        tap(message);
                    }
                });
                self.tap = Some(tap);
                read
            }
            None => messages.each(from, |message| self.show_message(now, tag, message)),
        };
    }

    fn show_message(&mut self, now: Now, tag: u32, message: &MessageRef<'_>) {
        if let Some(message) = self.message(tag, message)
            && !self.is_over(now, &message)
        {
            self.queue(Queued::Event(Event::Message(message)));
        }
    }

    /// An announcement that comes too late to be shown: expired, or cancelled.
    fn is_over(&mut self, now: Now, message: &Message) -> bool {
        message.notice.is_some()
            && (self.cancelled.remove(&message.id.seq) || has_expired(message, now.wall_us))
    }

    /// A message as it is shown; none if it is not meant for this session.
    fn message(&self, tag: u32, message: &MessageRef<'_>) -> Option<Message> {
        let stream = self.streams.get(&tag)?;
        if message.withheld || !self.is_for_me(stream, message) {
            return None;
        }
        let run = (!stream.stored).then_some(self.run);
        message_of(&stream.name, run, &self.user, message)
    }

    fn is_for_me(&self, stream: &Stream, message: &MessageRef<'_>) -> bool {
        match &stream.name {
            StreamName::Room(_) => true,
            StreamName::Announcements => message.notice.is_some_and(|notice| {
                let room = RoomName::existing(notice.room).ok().map(StreamName::Room);
                notice.room.is_empty()
                    || room.is_some_and(|room| self.streams.values().any(|s| s.name == room))
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
        match &mut self.live {
            Some(live) if !live.is_ready => live.early.push_back(queued),
            Some(_) | None => self.wakes.push_back(queued),
        }
    }

    // ---- what is said ------------------------------------------------------------------------

    /// Queues a request; its answer comes with this serial number.
    pub fn ask(&mut self, request: &Request) -> u32 {
        let serial = self.put(request);
        if self.live.is_some() {
            self.asked.insert(serial);
        } else {
            self.unanswered(serial);
        }
        serial
    }

    fn put(&mut self, request: &Request) -> u32 {
        self.serial += 1;
        // What can't be asked now is answered so, and not asked later.
        if self.live.is_some() {
            control::put_request(&mut self.out, self.serial, request);
        }
        self.serial
    }

    fn unanswered(&mut self, serial: u32) {
        let refusal = Refusal::new(RefusalCode::Failed, "there is no connection to the server now");
        self.wakes.push_back(Queued::Reply(serial, Err(refusal)));
    }

    fn ask_silently(&mut self, request: &Request) {
        let serial = self.put(request);
        if self.live.is_some() {
            self.silent.insert(serial);
        }
    }

    /// Follows something more; its messages come like the others.
    pub fn follow(&mut self, follow: Follow) {
        self.follows.follow.push(follow.clone());
        if self.live.is_some() {
            self.ask_to_follow(follow);
        }
    }

    /// Stops following a room; `forget`: the name does not follow it any more either. False if it is not
    /// followed. One that is just being joined is left once it is.
    pub fn part(&mut self, room: &RoomName, forget: bool) -> bool {
        let before = self.follows.follow.len();
        self.follows.follow.retain(|f| !matches!(f, Follow::Room(r) if r == room));
        let was_wanted = self.follows.follow.len() < before;
        let name = StreamName::Room(room.clone());
        let found = self.streams.iter().find(|(_, s)| s.name == name).map(|(t, _)| *t);
        if let Some(tag) = found {
            self.drop_stream(tag);
            self.ask_silently(&Request::Part { stream: StreamTag(tag), forget });
        }
        was_wanted || found.is_some()
    }

    fn drop_stream(&mut self, tag: u32) {
        self.streams.remove(&tag);
        if let Some(keys) = &mut self.keys {
            keys.forget(tag);
        }
        self.wishes.push(Wish::Leave(tag));
    }

    /// Says something; gives its counter. It is submitted again after a broken connection, and stored once.
    ///
    /// The caller keeps `unacked` below its limit.
    pub fn say(&mut self, to: Address, reply_to: Option<u64>, text: String) -> u64 {
        debug_assert!(self.unacked.len() < UNACKED_SUBMITS_MAX, "the caller waits");
        self.counter += 1;
        let room = match &to {
            Address::Room(room) => self.identity_of(room),
            Address::Direct { .. } => None,
        };
        let (counter, since_us) = (self.counter, None);
        self.unacked.push_back(Unacked { counter, to, room, reply_to, text, since_us });
        if self.is_ready() {
            self.submit_at(self.unacked.len() - 1);
        }
        self.counter
    }

    /// Ids of conversations are those of another boot. What was on its way to a user has the new id if that
    /// conversation is followed; else it is reported, and never goes to whoever has the old id now. What was
    /// submitted before may have been delivered.
    fn readdress_direct(&mut self) {
        let mut lost = Vec::new();
        let followed: FxHashMap<_, _> =
            self.streams.iter().map(|(tag, stream)| (&stream.name, StreamTag(*tag))).collect();
        self.unacked.retain_mut(|unacked| match &mut unacked.to {
            Address::Room(_) => true,
            Address::Direct { stream, with, .. } => {
                let now = followed.get(&StreamName::Direct(with.clone()));
                match now {
                    Some(now) => *stream = *now,
                    None => {
                        let text = "a direct message was not delivered: the server restarted";
                        let refusal = match unacked.since_us {
                            Some(_) => unacked.unknown(),
                            None => Refusal::new(RefusalCode::Failed, text),
                        };
                        lost.push((unacked.counter, refusal));
                    }
                }
                now.is_some()
            }
        });
        for (counter, refusal) in lost {
            self.give_up(counter, refusal);
        }
    }

    /// In a room or conversation without history another run gives the numbers anew: a reply that was on its way would be one
    /// to whatever has that number now.
    fn give_up_replies(&mut self) {
        let begun_anew: HashSet<_> = self
            .streams
            .values()
            .filter(|stream| !stream.stored)
            .map(|stream| &stream.name)
            .collect();
        let mut given_up = Vec::new();
        self.unacked.retain(|unacked| {
            let is_lost = unacked.reply_to.is_some() && begun_anew.contains(&unacked.stream());
            given_up.extend(is_lost.then_some(unacked.counter));
            !is_lost
        });
        for counter in given_up {
            let text = "the reply was not sent: the server restarted, and its message is gone";
            self.give_up(counter, Refusal::new(RefusalCode::Absent, text));
        }
    }

    fn resubmit(&mut self) {
        self.submit_from(0, |_| true);
    }

    /// Submits the texts that waited for the answer to the join of a room.
    fn submit_waiting(&mut self, room: &RoomName) {
        let waits = |unacked: &Unacked| {
            unacked.room.is_none() && matches!(&unacked.to, Address::Room(of) if of == room)
        };
        self.submit_from(0, waits);
    }

    /// Submits the texts from a place on that are meant.
    fn submit_from(&mut self, mut at: usize, is_meant: impl Fn(&Unacked) -> bool) {
        while let Some(unacked) = self.unacked.get(at) {
            if !is_meant(unacked) || self.submit_at(at) {
                at += 1;
            }
        }
    }

    /// Submits a text to the room it was written in, never to another room of that name. Removes and reports it if it
    /// was written in no room; false then.
    fn submit_at(&mut self, at: usize) -> bool {
        let unacked = &self.unacked[at];
        let (to, to_label) = match &unacked.to {
            Address::Direct { stream, label, .. } => (SubmitTo::Stream(*stream), label.clone()),
            Address::Room(name) => match unacked.room.or_else(|| self.identity_of(name)) {
                Some(room) => {
                    self.unacked[at].room = Some(room);
                    (SubmitTo::Known(room.id), None)
                }
                None if self.is_joining(name) => return true,
                None => {
                    let text =
                        format!("the message was not sent: this session does not follow {name}");
                    let counter = unacked.counter;
                    self.unacked.remove(at);
                    self.give_up(counter, Refusal::new(RefusalCode::Absent, text));
                    return false;
                }
            },
        };
        let unacked = &mut self.unacked[at];
        unacked.since_us.get_or_insert(self.wall_us);
        self.submitted = self.submitted.max(unacked.counter);
        let lines = vec![Line { reply_to: unacked.reply_to, text: &unacked.text }];
        let submit = Submit { first: unacked.counter, to, to_label, lines };
        control::put_submit(&mut self.out, &submit);
        true
    }

    /// Returns the identity of a room that is followed, or was until the connection broke.
    fn identity_of(&self, room: &RoomName) -> Option<RoomIdentity> {
        let mut all = self.streams.values().chain(&self.before);
        all.find(|s| matches!(&s.name, StreamName::Room(of) if of == room))?.room
    }

    fn is_joining(&self, room: &RoomName) -> bool {
        let is_it = |(_, follow): &(u32, Follow)| matches!(follow, Follow::Room(of) if of == room);
        self.live.as_ref().is_some_and(|live| live.joining.iter().any(is_it))
    }

    /// Reports a text that is not submitted (again).
    fn give_up(&mut self, counter: u64, refusal: Refusal) {
        if self.refused.len() < UNACKED_SUBMITS_MAX {
            self.refused.push(counter);
        }
        self.queue(Queued::Refused(refusal));
    }

    fn take_ack(&mut self, ack: &Ack) {
        // Looked for among its own texts: a server may name any counters.
        let acked = ack.first..ack.first.saturating_add(ack.count.into());
        while let Some(found) = self.unacked.iter().position(|u| acked.contains(&u.counter)) {
            let Some(unacked) = self.unacked.remove(found) else { return };
            let counter = unacked.counter;
            let seq = ack.seq.saturating_add(counter - ack.first);
            let stream = unacked.stream();
            if let Some(followed) = self.streams.values_mut().find(|s| s.name == stream) {
                followed.acked = followed.acked.max(seq);
            }
            let run = (!ack.stored).then_some(self.run);
            let id = MessageId { stream, run, seq };
            self.queue(Queued::Sent(Sent { id, members: ack.members, counter }));
        }
    }

    // ---- housekeeping ------------------------------------------------------------------------

    /// Wants the broadcast channel of a stream joined. Where it was joined before, its key is another one.
    fn hear(&mut self, tag: StreamTag, channel: Channel) {
        let Some(stream) = self.streams.get_mut(&tag.0) else { return };
        let Some(keys) = &mut self.keys else { return };
        keys.add(tag.0, &channel.key);
        if stream.heard_at != Some((channel.group, channel.port)) {
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
        let Some(stream) = self.streams.get_mut(&tag.0) else { return };
        stream.heard_at = charge_bytes.map(|_| (channel.group, channel.port));
        let request = match charge_bytes {
            Some(charge_bytes) => Request::Listening { stream: tag, charge_bytes, slot },
            None => Request::Deaf { stream: tag },
        };
        self.ask_silently(&request);
    }

    /// A sign of life.
    pub fn say_alive(&mut self) {
        if self.live.is_some() && self.out.is_empty() {
            frame::put(&mut self.out, Kind::Pong, |_| {});
        }
    }

    /// Asks for what is missing and reports what was delivered, when it is time.
    pub fn tick(&mut self, now_us: u64) {
        for stream in self.streams.values_mut() {
            if let Some((first, last)) = stream.inbox.repair_due(now_us) {
                control::put_repair(&mut self.out, stream.inbox.tag(), first, last);
            }
            if let Some(report) = stream.inbox.report_due(now_us) {
                control::put_report(&mut self.out, &report);
            }
        }
    }

    /// Whether [`State::tick`] would ask for what is missing.
    pub fn is_repair_due(&self, now_us: u64) -> bool {
        self.streams.values().any(|stream| stream.inbox.is_repair_due(now_us))
    }

    /// When [`State::tick`] has something to do, if nothing comes.
    pub fn tick_at_us(&self) -> Option<u64> {
        self.streams.values().filter_map(|s| s.inbox.deadline_us()).min()
    }

    /// The session is gone; whether everything had been joined.
    pub fn end(&mut self, reason: &str) -> bool {
        let Some(live) = self.live.take() else { return false };
        // In the next session the server may no longer know what this one submitted.
        self.hello.submitted = self.submitted;
        let since_us = self.unacked.iter().filter_map(|unacked| unacked.since_us).min();
        self.hello.submitted_since_us = since_us.unwrap_or(self.wall_us);
        self.out.clear();
        self.wishes.clear();
        self.silent.clear();
        self.keys = None;
        if live.is_ready {
            self.before = self.streams.drain().map(|(_, s)| s).collect();
            self.before_run = self.run;
            self.before_epoch = self.epoch;
            // A try to come back that failed is not told each time.
            self.wakes.push_back(Queued::Event(Event::End { reason: reason.to_owned() }));
        }
        // Behind the news of the end, so that everybody knows why.
        for serial in std::mem::take(&mut self.asked) {
            self.unanswered(serial);
        }
        self.streams.clear();
        self.cancelled.clear();
        live.is_ready
    }

    fn jitter_us(&mut self) -> u64 {
        // xorshift: spreads the members' questions over a few milliseconds, nothing more.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        self.jitter % (REPAIR_DELAY_MS_MAX * 1000)
    }
}

fn has_expired(message: &Message, now_us: i64) -> bool {
    let expires = message.notice.as_ref().and_then(|notice| notice.expires_wall_us);
    expires.is_some_and(|at| at <= now_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{member::Kind as MemberKind, verbs::RoomId},
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
        let mut state = State::new(hello, Follows::default());
        state.begin(&welcome());
        state.follow(Follow::Room(room.clone()));
        assert!(state.part(&room, true));
        assert!(!state.part(&room, true), "once");
        let (serial, _) = state.live.as_ref().unwrap().joining[0].clone();
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
    fn ack_of_unknown_counters_changes_nothing() {
        let mut state =
            State::new(Hello::new(None, MemberKind::Script, [1; 16]), Follows::default());
        let room = Address::Room(RoomName::new("dev").unwrap());
        let counter = state.say(room, None, "hi".to_owned());
        let ack = |first, seq| Ack { first, count: u32::MAX, seq, members: 0, stored: true };
        state.take_ack(&ack(counter + 1, 1));
        state.take_ack(&ack(u64::MAX - 1, 1));
        assert!(state.unacked() == 1 && !state.has_wakes());
        state.take_ack(&ack(0, u64::MAX));
        assert!(matches!(state.next_wake(), Some(Queued::Sent(sent)) if sent.counter == counter));
        assert_eq!(state.unacked(), 0);
    }

    #[test]
    fn what_was_asked_without_a_session_is_not_asked_in_the_next_one() {
        let room = RoomName::new("dev").unwrap();
        let follow = vec![Follow::Room(room.clone())];
        let follows = Follows { follow, ..Follows::default() };
        let mut state = State::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
        let serial = state.ask(&Request::Topic { room, topic: "stale".to_owned() });
        assert!(matches!(state.next_wake(), Some(Queued::Reply(s, Err(_))) if s == serial));
        state.begin(&welcome());
        let first = frame::parse(&state.out).unwrap().unwrap();
        let (_, request) = control::read_request(first.body).unwrap();
        assert!(matches!(request, Request::Join { .. }), "{request:?}");
        assert_eq!(first.bytes, state.out.len(), "and nothing else");
    }

    /// A state that follows a room, whose id is 7, and is ready.
    fn ready_in(room: &RoomName, lasts: bool) -> State {
        let follow = vec![Follow::Room(room.clone())];
        let follows = Follows { follow, ..Follows::default() };
        let mut state = State::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
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

    fn answer_join(state: &mut State, answer: Result<StreamInfo, Refusal>) {
        let (serial, _) = state.live.as_ref().unwrap().joining[0].clone();
        state.take_reply(serial, answer.map(|info| Reply::Joined(vec![info]))).unwrap();
    }

    /// Breaks the session and begins one of the next boot.
    fn reconnect(state: &mut State) {
        state.end("lost");
        state.begin(&Welcome { run: RunId(2), ..welcome() });
    }

    /// Where the next submits go; empties the output.
    fn submits(state: &mut State) -> Vec<SubmitTo> {
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

    fn wakes(state: &mut State) -> Vec<Queued> {
        std::iter::from_fn(|| state.next_wake()).collect()
    }

    #[test]
    fn unknown_submit_is_reported_and_never_repeated() {
        let room = RoomName::new("dev").unwrap();
        let mut state = ready_in(&room, true);
        let say = |state: &mut State, text: &str| {
            state.say(Address::Room(room.clone()), None, text.to_owned());
        };
        let come = |state: &mut State, wall_us| {
            state.take_bytes(Now { mono_us: 1, wall_us }, &[]).unwrap();
        };
        let stated = |state: &State| (state.hello.submitted, state.hello.submitted_since_us);
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
        let request = |state: &State| {
            let first = frame::parse(&state.out).unwrap().unwrap();
            control::read_request(first.body).unwrap().1
        };
        let Request::Join { begin: Begin::Resume { room: of, .. }, .. } = request(&state) else {
            panic!("{:?}", request(&state));
        };
        assert_eq!(of, RoomId(7));
        // The room is gone: the server is asked about both texts under the old identity, and nothing else.
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

    #[test]
    fn direct_message_of_earlier_boot_is_not_sent_again() {
        // A member that follows nothing has no stream that tells the boots apart.
        let mut state =
            State::new(Hello::new(None, MemberKind::Script, [1; 16]), Follows::default());
        state.begin(&welcome());
        state.become_ready();
        let with = UserName::new("bob").unwrap();
        let to = Address::Direct { stream: StreamTag(9), with, label: None };
        let counter = state.say(to.clone(), None, "hi".to_owned());
        reconnect(&mut state);
        state.out.clear();
        // It was not submitted before.
        let unsent = state.say(to, None, "ho".to_owned());
        state.become_ready();
        assert_eq!(submits(&mut state), []);
        assert_eq!(state.take_refused(), [counter, unsent]);
        let code = |wake: &Queued| match wake {
            Queued::Refused(refusal) => Some(refusal.code),
            _ => None,
        };
        let codes: Vec<_> = state.wakes.iter().filter_map(code).collect();
        assert_eq!(codes, [RefusalCode::UnknownSubmit, RefusalCode::Failed]);
    }
}
