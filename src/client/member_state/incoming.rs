//! Incoming half of a member: frames of its session and datagrams of its channel.

use super::{EarlyOutput, MemberState, SessionState};
use crate::{
    chat::{
        batch::{self, MessageRef, Reader},
        clock::Now,
        event::{Event as ServerEvent, GapReason},
        frames::{ANNOUNCEMENTS, Frame},
        inbox::{Released, Via},
        message::{Message, StreamName},
        names::{Label, RoomName, UserName},
        refusal::{Refusal, RefusalCode},
        reply::{Reply, StreamInfo},
        request::{Begin, Follow},
        stream_id::StreamId,
    },
    client::{calls::Purpose, event::Event, link::LinkError, past::message_of},
    os::BROADCAST_WORD,
    wire::{
        frame::{self, Kind},
        server_frame::ServerFrame,
    },
};

impl MemberState {
    /// Takes bytes of the session, whole frames or not.
    ///
    /// # Errors
    /// Returns an error if they are not the server's frames, or the server ends the session:
    /// [`MemberState::end`] is due.
    pub fn take_bytes(&mut self, now: Now, mut bytes: &[u8]) -> Result<(), LinkError> {
        self.wall_us = now.wall_us;
        if !self.partial.is_empty() {
            // Only what that frame lacks is copied; the rest is read in place.
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
    pub(super) fn take_frames(&mut self, now: Now, bytes: &[u8]) -> Result<usize, LinkError> {
        let mut taken = 0;
        while let Some(parsed) = frame::parse(&bytes[taken..])? {
            taken += parsed.bytes;
            match ServerFrame::read(parsed.kind, parsed.body)? {
                ServerFrame::Batch(body) => self.take_body(now, Via::Session, body),
                ServerFrame::Session(frame) => self.take_frame(now, frame)?,
                ServerFrame::Bye(bye) => return Err(bye.into()),
                ServerFrame::Welcome(_) | ServerFrame::Refused(_) | ServerFrame::Status(_) => {}
            }
        }
        Ok(taken)
    }

    pub(super) fn take_frame(&mut self, now: Now, frame: Frame) -> Result<(), LinkError> {
        match frame {
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

    pub(super) fn take_reply(
        &mut self,
        serial: u32,
        result: Result<Reply, Refusal>,
    ) -> Result<(), LinkError> {
        match self.calls.answered(serial) {
            None => {}
            Some(Purpose::Asked) => self.queue(Event::Reply(serial, result)),
            Some(Purpose::AskedToOpen(with)) => {
                self.take_opened(&with, &result);
                self.queue(Event::Reply(serial, result));
            }
            Some(Purpose::Open(with)) => self.take_opened(&with, &result),
            Some(Purpose::Will) => match result {
                Err(refusal) if self.must_succeed() => return Err(LinkError::Refusal(refusal)),
                Err(refusal) => self.queue(Event::Rejected(refusal)),
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

    pub(super) fn take_join(
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

    pub(super) fn take_refused_join(&mut self, follow: Follow, refusal: Refusal) {
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
            Some(room) => self.queue(Event::Deleted { room }),
            None => {
                if let (true, Follow::Room(room)) = (self.is_ready(), &follow) {
                    self.submit_waiting_for(room);
                }
                self.queue(Event::NotFollowed(follow, refusal));
            }
        }
    }

    /// Follows a room by its name that is in no history any longer: its messages are lost.
    pub(super) fn join_anew(&mut self, room: RoomName) {
        let stream = StreamName::Room(room.clone());
        self.streams.forget_earlier(&stream);
        self.queue(Event::Gap { stream, range: None, reason: GapReason::Run });
        self.ask_to_join(Follow::Room(room), Begin::Now);
    }

    /// Returns true while a refusal ends the session: a program that joins wants all or nothing.
    pub(super) fn must_succeed(&self) -> bool {
        !self.was_ready && !self.bears_refusals
    }

    /// Follows a stream, from where it was if it was followed before.
    pub(super) fn add(&mut self, info: &StreamInfo) {
        let name = StreamName::from(&info.name);
        let asked = |(follow, _): &(Follow, Begin)| match (follow, &name) {
            (Follow::Room(room), StreamName::Room(of)) => room == of,
            (Follow::With(user), StreamName::Direct(of)) => user == of,
            _ => false,
        };
        let went_on = self.streams.is_earlier(&name) || self.follows.begin_of.iter().any(asked);
        if info.new_run && went_on && !matches!(name, StreamName::Announcements) {
            let gap = Event::Gap { stream: name.clone(), range: None, reason: GapReason::Run };
            self.queue(gap);
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

    pub(super) fn become_ready(&mut self) {
        let another_boot = self.was_ready && self.streams.earlier_boot() != self.streams.boot();
        self.streams.forget_all_earlier();
        let SessionState::Joining(early) = &mut self.session else { return };
        let EarlyOutput { events, batches } = std::mem::take(early);
        self.session = SessionState::Ready;
        self.was_ready = true;
        let broadcast = if self.keys.is_some() { BROADCAST_WORD } else { "session" };
        let streams = self.streams.heads();
        self.events.push_back(Event::Ready { streams, broadcast });
        self.events.extend(events);
        for (from, body) in batches {
            self.show_by_tap(&body, from);
        }
        if another_boot {
            self.outbox.forget_lost_rooms();
            self.give_up_replies();
        }
        self.submit_more();
    }

    pub(super) fn take_event(&mut self, now: Now, event: ServerEvent) {
        match event {
            ServerEvent::Ping => frame::put(&mut self.out, Kind::Pong, |_| {}),
            ServerEvent::Heads(heads) => self.streams.record_heads(now.mono_us, heads),
            ServerEvent::Gap { stream, first, last, reason } => {
                if self.streams.record_gap(stream, (first, last), reason) {
                    self.release(now, stream.0);
                }
            }
            ServerEvent::Opened(info) => self.add(&info),
            ServerEvent::Channel { stream, channel } => self.hear(stream, channel),
            ServerEvent::Retained { body } => {
                for message in Reader::new(&body).into_iter().flatten().flatten() {
                    if let Some(message) = self.message(ANNOUNCEMENTS.0, &message)
                        && !self.announcements.is_over(&message, now.wall_us)
                    {
                        self.queue(Event::Message(message));
                    }
                }
            }
            ServerEvent::Cancelled { number, by } => {
                let next = self.streams.next_of(ANNOUNCEMENTS);
                if self.announcements.cancel(number, next) {
                    self.queue(Event::Cancelled { number, by });
                }
            }
            ServerEvent::Invited { room, user, by } => {
                self.queue(Event::Invited { room, user, by });
            }
            ServerEvent::Slowed => self.queue(Event::Slowed),
            ServerEvent::Joined { stream, .. }
            | ServerEvent::Left { stream, .. }
            | ServerEvent::Topic { stream, .. }
            | ServerEvent::Deleted { stream }
            | ServerEvent::Removed { stream, .. }
            | ServerEvent::Offer { stream, .. }
            | ServerEvent::Answered { stream, .. }
            | ServerEvent::Abandoned { stream, .. } => {
                if let Some(room) = self.streams.room_of(stream) {
                    self.take_room_event(stream, room, event);
                }
            }
            ServerEvent::Covered { .. } | ServerEvent::Bye { .. } | ServerEvent::Spelled(_) => {}
        }
    }

    pub(super) fn take_room_event(&mut self, stream: StreamId, room: RoomName, event: ServerEvent) {
        let event = match event {
            ServerEvent::Joined { member, .. } => Event::Joined { room, member },
            ServerEvent::Left { member, cause, .. } => Event::Left { room, member, cause },
            ServerEvent::Topic { topic, .. } => Event::Topic { room, topic },
            ServerEvent::Deleted { .. } => {
                self.lose_room(stream, &room);
                Event::Deleted { room }
            }
            ServerEvent::Removed { by, banned, .. } => {
                self.lose_room(stream, &room);
                Event::Removed { room, by, banned }
            }
            ServerEvent::Offer { seq, before, .. } => Event::Offer { room, stream, seq, before },
            ServerEvent::Answered { seq, by, failed, silent, .. } => {
                Event::Answered { room, seq, by, failed, silent }
            }
            ServerEvent::Abandoned { seq, by, cause, .. } => {
                Event::Abandoned { room, seq, by, cause }
            }
            ServerEvent::Ping
            | ServerEvent::Heads(_)
            | ServerEvent::Gap { .. }
            | ServerEvent::Opened(_)
            | ServerEvent::Channel { .. }
            | ServerEvent::Retained { .. }
            | ServerEvent::Cancelled { .. }
            | ServerEvent::Invited { .. }
            | ServerEvent::Slowed
            | ServerEvent::Covered { .. }
            | ServerEvent::Bye { .. }
            | ServerEvent::Spelled(_) => return,
        };
        self.queue(event);
    }

    pub(super) fn lose_room(&mut self, stream: StreamId, room: &RoomName) {
        self.drop_stream(stream.0);
        self.follows.follow.retain(|f| !matches!(f, Follow::Room(of) if of == room));
    }

    pub(super) fn take_body(&mut self, now: Now, via: Via, body: &[u8]) {
        let Ok(head) = batch::Head::read(body) else { return };
        let tag = head.tag.0;
        if let Some(from) = self.streams.take(now.mono_us, via, tag, body) {
            self.show(now, tag, body, from);
            self.release(now, tag);
        }
    }

    /// Shows what had to wait for what just came.
    pub(super) fn release(&mut self, now: Now, tag: u32) {
        for released in self.streams.release(now.mono_us, tag) {
            match released {
                Released::Body { body, from } => self.show(now, tag, &body, from),
                Released::Gap { first, last, reason } => {
                    let Some((name, _)) = self.streams.name_of(tag) else { return };
                    let range = Some((first, last));
                    let gap = Event::Gap { stream: name.clone(), range, reason };
                    self.queue(gap);
                }
            }
        }
    }

    pub(super) fn show(&mut self, now: Now, tag: u32, body: &[u8], from: u64) {
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

    pub(super) fn show_by_tap(&mut self, body: &[u8], from: u64) {
        let (Some(tap), Ok(messages)) = (&mut self.tap, Reader::new(body)) else { return };
        let _ = messages.each(from, |message| {
            if !message.withheld {
                tap(message);
            }
        });
    }

    pub(super) fn show_message(&mut self, now: Now, tag: u32, message: &MessageRef<'_>) {
        if let Some(message) = self.message(tag, message)
            && !self.announcements.is_over(&message, now.wall_us)
        {
            self.queue(Event::Message(message));
        }
    }

    /// A message as it is shown; none if it is not meant for this session.
    pub(super) fn message(&self, tag: u32, message: &MessageRef<'_>) -> Option<Message> {
        let (name, stored) = self.streams.name_of(tag)?;
        if message.withheld || !self.is_for_me(name, message) {
            return None;
        }
        let run = (!stored).then_some(self.streams.boot());
        message_of(name, run, &self.user, message)
    }

    pub(super) fn is_for_me(&self, stream: &StreamName, message: &MessageRef<'_>) -> bool {
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

    /// Returns true if the whole conversation is followed, not only messages to the label of this
    /// session.
    pub(super) fn follows_all_of(&self, user: &UserName) -> bool {
        self.follows.follow.iter().any(|follow| match follow {
            Follow::AllDirect => true,
            Follow::With(with) => with == user,
            Follow::Room(_) | Follow::ToMe | Follow::Announcements => false,
        })
    }
}
