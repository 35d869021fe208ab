//! Rooms: their members, their operators, and the removal of members.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::{
    Hub,
    sessions::Session,
    stream::{Stream, StreamKind},
};
use crate::{
    chat::{
        clock::Now,
        event::Event,
        member::SessionId,
        names::{RoomName, UserName},
        refusal::{Refusal, RefusalCode, refuse},
        reply::{Reply, RoomInfo, WhoInfo},
        rules::RoomRules,
        store::{Record, Span},
        stream_id::{RoomId, StreamId},
    },
    limits::TOPIC_BYTES_MAX,
};

/// Room lines in one answer; the caller asks again for more.
const ROOMS_PER_REPLY: usize = 32;
/// Members in one answer.
const WHO_PER_REPLY: usize = 128;
/// Settings of a new room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NewRoom {
    pub(super) history: bool,
    pub(super) private: bool,
    pub(super) read_only: bool,
}

impl NewRoom {
    /// As rooms are that come into being by their first use.
    pub(super) const PUBLIC: Self = Self { history: true, private: false, read_only: false };
}

impl Hub {
    /// Makes the rooms of the configuration that do not exist yet; they belong to the server's own
    /// user.
    pub fn make_configured_rooms(&mut self) {
        for room in self.rules.rooms.clone() {
            // One that is still being deleted is made by the next start.
            let _ = self.add_room(self.rules.owner_uid, &room, NewRoom::PUBLIC);
        }
    }

    /// Returns the name of a user.
    pub(super) fn called(&self, uid: u32) -> UserName {
        self.user_name(uid).unwrap_or_else(|| UserName::of_uid(uid))
    }

    pub(super) fn create_room(
        &mut self,
        id: SessionId,
        room: &RoomName,
        new: NewRoom,
    ) -> Result<Reply, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        if self.room_named(uid, room).is_some() {
            return refuse(RefusalCode::Failed, format!("room {room} already exists"));
        }
        match self.new_room(id, room, new)? {
            Some(_) => Ok(Reply::Done),
            // Without saying why.
            None => refuse(
                RefusalCode::Failed,
                format!("the name {room} is not available; try again later, or use another one"),
            ),
        }
    }

    /// Makes a room that does not exist for the user. Returns nothing if the name is not free: a
    /// room that is hidden from the user has it, or one that is still being deleted, and the user
    /// does not learn which.
    pub(super) fn new_room(
        &mut self,
        id: SessionId,
        room: &RoomName,
        new: NewRoom,
    ) -> Result<Option<StreamId>, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        self.may_make(uid, room)?;
        self.add_room(uid, room, new)
    }

    /// Makes a room if its name is free.
    fn add_room(
        &mut self,
        uid: u32,
        room: &RoomName,
        new: NewRoom,
    ) -> Result<Option<StreamId>, Refusal> {
        // Until a deletion is kept, what was said in the room is still to be found under its name.
        if self.directory.room(room).is_some()
            || (self.rules.store && self.commits.has_end_of(room))
        {
            return Ok(None);
        }
        let tag = self.make_tag(uid)?;
        let bytes = self.rules.backlog_bytes_max;
        let id = self.make_room_id(tag);
        let mut stream = Stream::room(tag, (room.clone(), id), uid, new.history, bytes);
        stream.set_rules(RoomRules::new(new.private, new.read_only));
        let head = self.directory.gone.reuse(room);
        stream.restore(Span { head, first: head + 1, newest_us: None });
        self.streams.insert(stream);
        self.directory.insert(room.clone(), id, tag, !self.rules.persistent);
        self.record_room(tag);
        Ok(Some(tag))
    }

    /// Makes the permanent id of a new room. No client can guess it, and no other boot makes it.
    fn make_room_id(&self, tag: StreamId) -> RoomId {
        let mut hasher = DefaultHasher::new();
        (self.rules.secret, self.rules.run, tag).hash(&mut hasher);
        RoomId(hasher.finish())
    }

    fn record_room(&mut self, tag: StreamId) {
        let stream = self.stream(tag);
        if let StreamKind::Room { name, id, creator_uid, history, topic, rules } = &stream.topic {
            let record = Record::Room {
                name: name.clone(),
                id: *id,
                creator_uid: *creator_uid,
                history: *history,
                topic: topic.clone(),
                private: rules.private,
                read_only: rules.read_only,
                head: stream.inherited,
            };
            self.commits.add(record);
        }
    }

    pub(super) fn set_topic(
        &mut self,
        now: Now,
        id: SessionId,
        room: &RoomName,
        new: String,
    ) -> Result<Reply, Refusal> {
        if new.len() > TOPIC_BYTES_MAX {
            let text = format!("the topic has {} bytes (limit {TOPIC_BYTES_MAX})", new.len());
            return refuse(RefusalCode::Input, text);
        }
        let uid = self.sessions[&id].peer.uid;
        let tag = self.known_room(uid, room)?;
        self.must_lead(uid, tag, "set its topic")?;
        self.stream_mut(tag).set_topic(new.clone());
        self.record_room(tag);
        self.audit_by_office(now, uid, tag, format!("topic of {room}"));
        self.tell_membership(tag, id, Event::Topic { stream: tag, topic: new, by: id });
        Ok(Reply::Done)
    }

    pub(super) fn rooms_from(&self, id: SessionId, skip: u32) -> Reply {
        let uid = self.sessions[&id].peer.uid;
        self.looked_at(self.directory.rooms().len());
        let known = self.directory.rooms().filter(|(_, tag)| self.exists_for(uid, *tag));
        let mut rest = known.skip(skip as usize);
        let rooms = rest.by_ref().take(ROOMS_PER_REPLY).map(|(name, tag)| {
            let stream = self.stream(tag);
            let (topic, private, read_only) = match &stream.topic {
                StreamKind::Room { topic, rules, .. } => {
                    (topic.clone(), rules.private, rules.read_only)
                }
                StreamKind::Announcements | StreamKind::Conversation { .. } => {
                    (String::new(), false, false)
                }
            };
            RoomInfo {
                name: name.clone(),
                members: stream.members,
                last: stream.backlog.head(),
                last_wall_us: stream.backlog.newest_wall_us().or(stream.newest_us),
                topic,
                stored: self.is_stored(tag),
                private,
                read_only,
            }
        });
        let rooms = rooms.collect();
        Reply::Rooms { rooms, more: rest.next().is_some() }
    }

    /// Number of rooms that all users may know of.
    pub(super) fn public_rooms(&self) -> usize {
        self.directory.rooms().filter(|(_, tag)| self.stream(*tag).is_public()).count()
    }

    /// Rooms that a user may not read: matches in them are left out for that user.
    pub(super) fn unreadable_rooms(&self, uid: u32) -> HashSet<RoomName> {
        self.looked_at(self.directory.rooms().len());
        let hidden = self.directory.rooms().filter(|(_, tag)| self.may_read(uid, *tag).is_err());
        hidden.map(|(name, _)| name.clone()).collect()
    }

    /// Members of a room, for those who may read it: a private one is not in the presence table.
    pub(super) fn who_in(
        &self,
        id: SessionId,
        room: &RoomName,
        skip: u32,
    ) -> Result<Reply, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        let tag = self.known_room(uid, room)?;
        self.may_read(uid, tag)?;
        self.looked_at(self.stream(tag).members as usize);
        let mut sessions: Vec<_> = self.stream(tag).subs.iter().map(|(_, s)| s.session).collect();
        sessions.sort_unstable();
        let mut rest = sessions.into_iter().skip(skip as usize);
        let who = rest.by_ref().take(WHO_PER_REPLY).filter_map(|of| {
            let session = self.sessions.get(&of)?;
            Some(self.who_info(session))
        });
        let who = who.collect();
        Ok(Reply::Who { who, more: rest.next().is_some() })
    }

    fn who_info(&self, session: &Session) -> WhoInfo {
        WhoInfo {
            member: (*session.member).clone(),
            state: self.sessions.state_of(session),
            status: self.sessions.away_text(session).unwrap_or_default().to_owned(),
            since_wall_us: session.since_wall_us,
            active_mono_us: session.active_us,
        }
    }
}
