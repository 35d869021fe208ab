//! Conversations of two users: a stream exists once something is said, or while a session follows
//! the conversation.
//!
//! A session that opens a conversation gets a *promised* id, with which it can submit the first
//! text. The id is the same for all sessions of its user, so that a client whose connection broke
//! can submit again.

use std::collections::BTreeSet;

use super::{
    Hub,
    sessions::Session,
    stream::{Stream, StreamKind},
};
use crate::{
    chat::{
        event::Event,
        member::{EndCause, SessionId},
        refusal::{Refusal, RefusalCode, refuse},
        reply::{Reply, StreamInfo},
        request::Begin,
        stream_id::{StreamId, StreamLabel},
    },
    faults::{Fault, planted},
    limits::CONVERSATIONS_PER_USER_MAX,
};

/// Cost of one changed subscription, in the unit of a session that is notified.
const SUBSCRIBED_COST_TOLD: usize = 8;

impl Hub {
    /// Returns the stream that a user means by an id, if it exists and the user may know of it. The
    /// one way from an id that a client names to a stream that it does not follow.
    pub(super) fn stream_of(&self, uid: u32, tag: StreamId) -> Option<StreamId> {
        if let Some(other) = self.promised_to(uid, tag) {
            return self.directory.conversations.get(uid, other);
        }
        let is_known = match &self.known_stream(tag)?.topic {
            StreamKind::Room { .. } => self.exists_for(uid, tag) || planted(Fault::HiddenRoomNamed),
            StreamKind::Conversation { low, high, .. } => uid == *low || uid == *high,
            StreamKind::Announcements => false,
        };
        is_known.then_some(tag)
    }

    /// The other user of a conversation that a user opened under an id.
    pub(super) fn promised_to(&self, uid: u32, tag: StreamId) -> Option<u32> {
        let (own, other) = self.directory.conversations.promised(tag)?;
        (own == uid).then_some(other)
    }

    /// Opens a conversation for submits. It begins with the first of them.
    pub(super) fn open_conversation(
        &mut self,
        id: SessionId,
        other: u32,
    ) -> Result<Reply, Refusal> {
        let own = self.sessions[&id].peer.uid;
        if let Some(tag) = self.directory.conversations.get(own, other) {
            return Ok(Reply::Opened(self.info(id, tag, None, false)));
        }
        self.may_begin(own)?;
        let tag = self.promised_tag(own, other)?;
        Ok(Reply::Opened(StreamInfo {
            tag,
            name: StreamLabel::Direct(self.called(other)),
            head: 0,
            next: 1,
            new_run: false,
            stored: self.rules.store && self.rules.persistent,
            members: 0,
            topic: String::new(),
            channel: None,
            room: None,
        }))
    }

    /// Checks that a user may begin one more conversation. Those that others began do not count.
    pub(super) fn may_begin(&self, uid: u32) -> Result<(), Refusal> {
        let begun = self.directory.conversations.begun(uid);
        if begun < CONVERSATIONS_PER_USER_MAX {
            return Ok(());
        }
        let text = format!("this user began {begun} conversations, which is the limit");
        refuse(RefusalCode::Failed, text)
    }

    fn promised_tag(&mut self, own: u32, other: u32) -> Result<StreamId, Refusal> {
        if let Some(tag) = self.directory.conversations.promise_of(own, other) {
            return Ok(tag);
        }
        let tag = self.make_tag(own)?;
        self.directory.conversations.promise(own, other, tag);
        Ok(tag)
    }

    /// Returns the conversation of a user with another one; it begins now if there is none.
    pub(super) fn conversation(&mut self, own: u32, other: u32) -> Result<StreamId, Refusal> {
        if let Some(tag) = self.directory.conversations.get(own, other) {
            return Ok(tag);
        }
        self.may_begin(own)?;
        let tag = self.promised_tag(own, other)?;
        let pair = (own.min(other), own.max(other));
        let bytes = self.rules.backlog_bytes_max;
        self.streams.insert(Stream::conversation(tag, pair, Some(own), bytes));
        self.directory.conversations.insert(pair, Some(own), tag);
        // The other one may never have been here.
        let sessions = &self.sessions;
        self.users.keep(other, |uid| sessions.has_user(uid));
        self.follow_new_conversation(tag, pair);
        Ok(tag)
    }

    /// Subscribes the sessions that follow all conversations of their users to a new one.
    fn follow_new_conversation(&mut self, tag: StreamId, (low, high): (u32, u32)) {
        let of_low = self.sessions_of(low).filter(|s| s.directs.take_from(high));
        let of_high = self.sessions_of(high).filter(|s| low != high && s.directs.take_from(low));
        let ids: Vec<_> = of_low.chain(of_high).map(|s| s.member.session).collect();
        for id in ids {
            self.follow_spoken(id, tag);
        }
    }

    /// Subscribes sessions with more conversations than they may follow to one in which something
    /// is said now.
    pub(super) fn follow_crowded(&mut self, tag: StreamId) {
        let StreamKind::Conversation { low, high, .. } = self.stream(tag).topic else { return };
        let crowded = |uid| self.directory.conversations.crowded(uid);
        let ids: BTreeSet<_> = crowded(low).chain(crowded(high)).collect();
        for id in ids {
            let lacks = |session: &&Session| {
                let other = if session.peer.uid == low { high } else { low };
                session.directs.take_from(other) && session.sub_key(tag).is_none()
            };
            if self.sessions.get(&id).filter(lacks).is_some() {
                // Each leaves one conversation and subscribes to another.
                self.count_notified(SUBSCRIBED_COST_TOLD);
                self.follow_spoken(id, tag);
            }
        }
    }

    /// Subscribes a session to a conversation from its next message on, in the place of an idle one
    /// if need be.
    fn follow_spoken(&mut self, id: SessionId, tag: StreamId) {
        self.make_room_for(id, tag);
        if self.may_subscribe(id, Some(tag)).is_ok() {
            let (next, new_run) = self.subscribe(id, tag, Begin::Now, self.clock.turn.mono_us);
            let info = self.info(id, tag, Some(next), new_run);
            self.send(id, Event::Opened(info));
        } else {
            self.directory.conversations.note_crowded(self.sessions[&id].peer.uid, id);
        }
    }

    /// Has a session that follows as much as it may leave the conversation that was idle for
    /// longest and of which it has everything: it comes back with the next message there.
    pub(super) fn make_room_for(&mut self, id: SessionId, tag: StreamId) {
        if self.may_subscribe(id, Some(tag)).is_ok() {
            return;
        }
        let session = &self.sessions[&id];
        let uid = session.peer.uid;
        let idle = session.subs.iter().filter_map(|(of, key)| {
            let stream = self.stream(*of);
            let has_all = stream.subs[*key].acked == stream.numbered;
            let is_conversation = matches!(stream.topic, StreamKind::Conversation { .. });
            (is_conversation && has_all).then_some((stream.published_us, *of))
        });
        if let Some((_, idle)) = idle.min() {
            self.part(id, idle, EndCause::Quit);
            self.directory.conversations.note_crowded(uid, id);
        }
    }

    /// Frees a conversation in which nothing was said and that no session follows. Its promises
    /// stay.
    pub(super) fn free_conversation(&mut self, tag: StreamId) {
        let Some(stream) = self.known_stream(tag) else { return };
        let StreamKind::Conversation { low, high, begun_by } = stream.topic else { return };
        if stream.numbered == 0 && stream.subs.is_empty() {
            self.streams.remove(tag);
            self.directory.conversations.remove((low, high), begun_by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{
            frames::{Destination, Frame},
            hub::scene::{EVE, MAX, MIA, SAM, Scene, Store, join, session, user},
            names::{Target, UserName},
            request::{Follow, Request},
        },
        limits::STREAMS_PER_SESSION_MAX,
    };

    fn direct(uid: u32) -> Target {
        Target::User { user: user(uid), label: None }
    }

    fn open(scene: &mut Scene, uid: u32, other: u32) -> StreamId {
        match scene.request(uid, Request::Open { target: direct(other) }) {
            Ok(Reply::Opened(info)) => info.tag,
            other => panic!("{other:?}"),
        }
    }

    fn acks(scene: &Scene, uid: u32) -> Vec<u64> {
        let acks = scene.sent.iter().filter_map(|(to, frame)| match frame {
            Frame::Ack(ack) if *to == session(uid) => Some(ack.seq),
            Frame::Ack(_) | Frame::Nack { .. } | Frame::Reply { .. } | Frame::Event(_) => None,
        });
        acks.collect()
    }

    #[test]
    fn opened_conversation_has_no_stream_before_its_first_message() {
        let mut scene = Scene::new(false);
        let before = scene.hub.streams.len();
        for n in 0..10 * CONVERSATIONS_PER_USER_MAX as u32 {
            let name = UserName::of_uid(100_000 + n);
            scene.hub.learn_user(name.clone(), 100_000 + n);
            let target = Target::User { user: name, label: None };
            scene.request(EVE, Request::Open { target }).unwrap();
        }
        assert_eq!(scene.hub.streams.len(), before);
        let promises = &scene.hub.directory.conversations;
        assert_eq!(promises.counts().promises, CONVERSATIONS_PER_USER_MAX);
        assert_eq!(promises.counts().promised, CONVERSATIONS_PER_USER_MAX);
        // Both may open it; the first message is in both users' stream.
        let (of_mia, of_max) = (open(&mut scene, MIA, MAX), open(&mut scene, MAX, MIA));
        assert_ne!(of_mia, of_max);
        assert_eq!(open(&mut scene, MIA, MAX), of_mia, "the same each time");
        scene.say(session(MAX), 2, Destination::Stream(of_max), "one");
        scene.settle();
        scene.say(session(MIA), 1, Destination::Stream(of_mia), "two");
        scene.settle();
        assert_eq!((acks(&scene, MAX), acks(&scene, MIA)), (vec![1], vec![2]));
        assert_eq!(scene.hub.streams.len(), before + 1);
        assert_eq!(open(&mut scene, MIA, MAX), of_max, "what exists has one id");
    }

    #[test]
    fn promised_id_is_for_its_user_in_any_session() {
        let mut scene = Scene::new(false);
        let tag = open(&mut scene, MIA, MAX);
        scene.hub.close(scene.now, session(MIA), EndCause::Closed);
        scene.open(session(MIA), MIA);
        for (uid, acked) in [(EVE, vec![]), (MAX, vec![]), (MIA, vec![1])] {
            scene.say(session(uid), 2, Destination::Stream(tag), "x");
            scene.settle();
            assert_eq!(acks(&scene, uid), acked, "{uid}");
        }
    }

    #[test]
    fn conversation_without_members_and_messages_is_freed() {
        let mut scene = Scene::new(false);
        let before = scene.hub.streams.len();
        let with = |uid| join(Follow::With(user(uid)), Begin::Now);
        let follow = |scene: &mut Scene, uid, other| match scene.request(uid, with(other)) {
            Ok(Reply::Joined(infos)) => infos[0].tag,
            other => panic!("{other:?}"),
        };
        let tag = follow(&mut scene, MIA, SAM);
        assert_eq!(scene.hub.streams.len(), before + 1);
        let part = Request::Part { stream: tag, forget: false };
        scene.request(MIA, part.clone()).unwrap();
        assert_eq!(scene.hub.streams.len(), before);
        assert!(scene.hub.directory.conversations.counts().users_who_began == 0);
        assert_eq!(follow(&mut scene, MIA, SAM), tag, "its id stays as long as it is promised");
        scene.hub.close(scene.now, session(MIA), EndCause::Killed);
        scene.settle();
        assert_eq!(scene.hub.streams.len(), before);
        // A message that is not stored was not said.
        scene.open(session(MIA), MIA);
        scene.store = Store::Fails;
        scene.say(session(MIA), 1, Destination::Stream(tag), "x");
        scene.settle();
        assert_eq!(scene.hub.streams.len(), before);
        scene.store = Store::Commits;
        scene.say(session(MIA), 2, Destination::Stream(tag), "x");
        scene.settle();
        assert_eq!(scene.hub.streams.len(), before + 1);
        follow(&mut scene, MIA, SAM);
        scene.request(MIA, part).unwrap();
        assert_eq!(scene.hub.streams.len(), before + 1, "it has a message");
    }

    #[test]
    fn session_that_left_a_conversation_does_not_rejoin_it() {
        let mut scene = Scene::new(false);
        for n in 0..2 * STREAMS_PER_SESSION_MAX {
            let with = join(Follow::With(user(SAM)), Begin::Now);
            let Ok(Reply::Joined(infos)) = scene.request(MIA, with) else { panic!("{n}") };
            scene.request(MIA, Request::Part { stream: infos[0].tag, forget: false }).unwrap();
        }
        assert!(!scene.hub.sessions[&session(MIA)].directs.take_from(SAM));
        let tag = open(&mut scene, SAM, MIA);
        scene.say(session(SAM), 1, Destination::Stream(tag), "x");
        scene.settle();
        assert!(!scene.hub.sessions[&session(MIA)].listens());
    }

    #[test]
    fn conversations_begun_by_others_take_nothing_from_a_user() {
        let mut scene = Scene::new(false);
        for n in 0..CONVERSATIONS_PER_USER_MAX as u32 {
            scene.hub.conversation(1_000 + n, MIA).unwrap();
        }
        scene.hub.conversation(MIA, SAM).unwrap();
        scene.hub.directory.conversations.set_begun(MIA, CONVERSATIONS_PER_USER_MAX);
        scene.hub.conversation(MIA, MAX).unwrap_err();
        scene.hub.conversation(MIA, SAM).unwrap();
    }

    /// Opens a session of `mia` that has as many conversations as the user, more than it may
    /// follow.
    fn crowded(scene: &mut Scene, conversations: u32) -> Vec<StreamId> {
        for n in 0..conversations {
            let name = UserName::of_uid(100_000 + n);
            scene.hub.learn_user(name, 100_000 + n);
            let tag = scene.hub.conversation(MIA, 100_000 + n).unwrap();
            scene.say(session(MIA), u64::from(n) + 1, Destination::Stream(tag), "hi");
            scene.settle();
        }
        scene.open(SessionId(77), MIA);
        scene.hub.request(scene.now, SessionId(77), 1, join(Follow::AllDirect, Begin::Now));
        scene.settle();
        scene.hub.directory.conversations.of(MIA).collect()
    }

    #[test]
    fn each_of_many_conversations_is_joined_at_its_next_message() {
        let mut scene = Scene::new(false);
        let tags = crowded(&mut scene, STREAMS_PER_SESSION_MAX as u32 + 50);
        assert!(scene.hub.sessions[&SessionId(77)].subs.len() < tags.len());
        let mut counter = tags.len() as u64;
        // More than once, so that conversations that were left come back.
        for tag in tags.iter().chain(&tags) {
            counter += 1;
            scene.say(SessionId(77), counter, Destination::Stream(*tag), "again");
            scene.settle();
            let session = &scene.hub.sessions[&SessionId(77)];
            assert!(session.subs.len() <= STREAMS_PER_SESSION_MAX);
            let key = session.sub_key(*tag).expect("it is followed");
            let stream = scene.hub.stream(*tag);
            let (acked, head) = (stream.subs[key].acked, stream.backlog.head());
            assert!(acked < head, "the message is still to be delivered");
            let report = crate::chat::frames::Report {
                stream: *tag,
                delivered: head,
                by_broadcast: 0,
                datagrams: 0,
            };
            scene.hub.report(scene.now, SessionId(77), &report);
        }
        let opened = |(to, frame): &&(SessionId, Frame)| {
            *to == SessionId(77) && matches!(frame, Frame::Event(Event::Opened(_)))
        };
        assert!(scene.sent.iter().filter(opened).count() > 50);
        scene.hub.close(scene.now, SessionId(77), EndCause::Quit);
        assert!(scene.hub.directory.conversations.counts().crowded == 0);
    }
}
