//! Joins: which stream a session subscribes to, from where, and what it learns of the stream.

use super::{
    Hub,
    sessions::Directs,
    stream::{StreamKind, cursor_of, joined},
    subscriber::{Reception, Subscriber},
};
use crate::{
    chat::{
        clock::Now,
        frames::ANNOUNCEMENTS,
        member::SessionId,
        names::RoomName,
        refusal::{Refusal, RefusalCode, no_room, refuse},
        reply::{Reply, StreamInfo},
        request::{Begin, Follow},
        stream_id::{RoomIdentity, StreamId},
    },
    faults::{Fault, planted},
    limits::{RETRY_PAUSE_MS_MIN, STREAMS_PER_SESSION_MAX, WINDOW_CHARGE_BYTES_MIN},
};

/// Conversations joined by one request.
const DIRECTS_PER_REPLY: usize = 200;

impl Hub {
    pub(super) fn join(
        &mut self,
        now: Now,
        id: SessionId,
        follow: Follow,
        begin: Begin,
        membership: bool,
        keep: bool,
    ) -> Result<Reply, Refusal> {
        let now_us = now.mono_us;
        match follow {
            Follow::Room(room) => {
                let tag = self.room_of_join(id, &room, begin, keep)?;
                if keep {
                    self.keep_following(id, &room);
                }
                let info = self.join_stream(id, tag, begin, now_us)?;
                self.welcome(id, tag, membership);
                Ok(Reply::Joined(vec![info]))
            }
            Follow::Announcements => {
                let info = self.join_stream(id, ANNOUNCEMENTS, begin, now_us)?;
                // A member who comes back gets the missed messages in order, and what is retained
                // with them.
                let resumes = matches!(begin, Begin::After { .. } | Begin::Resume { .. });
                let comes_back = resumes && !info.new_run;
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.comes_back = comes_back;
                }
                if comes_back {
                    self.tell_cancelled(id, info.next.saturating_sub(1));
                }
                Ok(Reply::Joined(vec![info]))
            }
            Follow::With(user) => {
                let other = self.uid_of(&user)?;
                let own = self.sessions[&id].peer.uid;
                let existing = self.directory.conversations.get(own, other);
                if let Some(tag) = existing {
                    self.make_room_for(id, tag);
                }
                self.may_subscribe(id, existing)?;
                let tag = self.conversation(own, other)?;
                self.follow_directs(id, Some(other));
                self.join_stream(id, tag, begin, now_us).map(|info| Reply::Joined(vec![info]))
            }
            Follow::AllDirect | Follow::ToMe => {
                let own = self.sessions[&id].peer.uid;
                self.follow_directs(id, None);
                let mut tags: Vec<_> = self.directory.conversations.of(own).collect();
                // The newest come first. A session whose user has more conversations than it may
                // follow is subscribed to the others when something is said there.
                tags.sort_unstable_by_key(|tag| std::cmp::Reverse(self.stream(*tag).made));
                let free =
                    STREAMS_PER_SESSION_MAX.saturating_sub(self.sessions[&id].subs.len() + 8);
                if tags.len() > free.min(DIRECTS_PER_REPLY) {
                    tags.truncate(free.min(DIRECTS_PER_REPLY));
                    self.directory.conversations.note_crowded(own, id);
                }
                let infos = tags.into_iter().map(|tag| self.join_stream(id, tag, begin, now_us));
                infos.collect::<Result<_, _>>().map(Reply::Joined)
            }
        }
    }

    /// Returns the room that a join means, and creates it if the join does.
    pub(super) fn room_of_join(
        &mut self,
        id: SessionId,
        room: &RoomName,
        begin: Begin,
        keep: bool,
    ) -> Result<StreamId, Refusal> {
        let found = self.room_to_join(id, room, begin)?;
        self.may_subscribe(id, found)?;
        if keep {
            self.may_follow(id, room)?;
        }
        match found {
            Some(tag) => Ok(tag),
            None => self.room_for(id, room),
        }
    }

    /// Returns the room that an open request means, and creates it if the request does.
    pub(super) fn room_of_open(
        &mut self,
        id: SessionId,
        room: &RoomName,
    ) -> Result<StreamId, Refusal> {
        let tag = self.room_for(id, room)?;
        self.may_speak(self.sessions[&id].peer.uid, tag).map(|()| tag)
    }

    /// Returns the room that a join means, if it exists for the user; none if the join creates it.
    /// A member that comes back never creates a room: the room may have been deleted, and its name
    /// may belong to another user by now.
    fn room_to_join(
        &self,
        id: SessionId,
        room: &RoomName,
        begin: Begin,
    ) -> Result<Option<StreamId>, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        let begin = if planted(Fault::DeletedRoomComesBack) { Begin::Now } else { begin };
        let tag = match begin {
            Begin::Resume { room: of, .. } => {
                let same = self.directory.room(room) == self.room_of_id(uid, of);
                self.known_room(uid, room)
                    .and_then(|tag| if same { Ok(tag) } else { no_room(room) })?
            }
            // Without a history a restart forgets all rooms; members create theirs again.
            Begin::After { .. } if self.rules.persistent => self.known_room(uid, room)?,
            Begin::Now | Begin::Last(_) | Begin::After { .. } => {
                match self.room_named(uid, room) {
                    Some(tag) => tag,
                    // The name is checked last, since its state is not reported for any other name.
                    None => {
                        self.may_make(uid, room)?;
                        return self.may_join_rooms(uid).map(|()| None);
                    }
                }
            }
        };
        self.may_read(uid, tag).map(|()| Some(tag))
    }

    /// Checks that a session may follow one more stream; `tag`: that stream, if it exists.
    pub(super) fn may_subscribe(
        &self,
        id: SessionId,
        tag: Option<StreamId>,
    ) -> Result<(), Refusal> {
        let session = &self.sessions[&id];
        let follows_it = tag.is_some_and(|tag| session.sub_key(tag).is_some());
        if follows_it || session.subs.len() < STREAMS_PER_SESSION_MAX {
            return Ok(());
        }
        let text =
            format!("a session can join at most {STREAMS_PER_SESSION_MAX} rooms and conversations");
        refuse(RefusalCode::Failed, text)
    }

    fn follow_directs(&mut self, id: SessionId, with: Option<u32>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match (with, &mut session.directs) {
            (None, directs) => *directs = Directs::All,
            (Some(_), Directs::All) => {}
            (Some(uid), Directs::With(users)) => {
                if !users.contains(&uid) {
                    users.push(uid);
                }
            }
            (Some(uid), directs @ Directs::None) => *directs = Directs::With(vec![uid]),
        }
    }

    fn join_stream(
        &mut self,
        id: SessionId,
        tag: StreamId,
        begin: Begin,
        now_us: u64,
    ) -> Result<StreamInfo, Refusal> {
        if let Some(key) = self.sessions[&id].sub_key(tag) {
            let next = self.stream(tag).subs[key].acked + 1;
            return Ok(self.info(id, tag, Some(next), false));
        }
        self.may_subscribe(id, Some(tag))?;
        let (next, new_run) = self.subscribe(id, tag, begin, now_us);
        Ok(self.info(id, tag, Some(next), new_run))
    }

    /// Sets a cursor; gives the first number that will come, and whether that is a new numbering.
    /// The caller has asked [`Hub::may_subscribe`].
    pub(super) fn subscribe(
        &mut self,
        id: SessionId,
        tag: StreamId,
        begin: Begin,
        now_us: u64,
    ) -> (u64, bool) {
        let (run, stored) = (self.rules.run, self.is_stored(tag));
        let account = self.sessions[&id].account;
        // A new session of an account that kept windows shut does not get around its budget.
        let may_stall = self.accounts.of(account).may_stall(now_us);
        let stream = self.stream_mut(tag);
        let (seen, new_run) = cursor_of(stream, run, stored, begin);
        // The user who asks for a backlog pays for it; less than for their own messages, since it
        // is only copied.
        let backlog = stream.backlog.flow().bytes - stream.backlog.flow_at(seen).bytes;
        let key = stream.add(Subscriber::new((id, account), seen, now_us, may_stall));
        if let Some(session) = self.sessions.get_mut(&id) {
            session.subs.push((tag, key));
        }
        self.accounts.charge(account, usize::try_from(backlog).unwrap_or(0) / 4);
        self.sessions.mark_row(id);
        self.settle_channel(tag);
        (seen + 1, new_run)
    }

    /// Notifies the members of a room of a new one.
    fn welcome(&mut self, id: SessionId, tag: StreamId, membership: bool) {
        let Some(key) = self.sessions[&id].sub_key(tag) else { return };
        // On a system server the number of those notified of each other is limited, so that all of
        // them are.
        let may_watch = !self.rules.host || self.stream(tag).may_watch(self.sessions[&id].account);
        let stream = self.stream_mut(tag);
        let arrives = !std::mem::replace(&mut stream.subs[key].welcomed, true);
        if membership && may_watch {
            stream.watch(key);
        }
        if arrives {
            let event = joined(tag, &self.sessions[&id].member);
            self.tell_membership(tag, id, event);
        }
    }

    pub(super) fn info(
        &self,
        id: SessionId,
        tag: StreamId,
        next: Option<u64>,
        new_run: bool,
    ) -> StreamInfo {
        let stream = self.stream(tag);
        let head = stream.backlog.head();
        let (topic, room) = match &stream.topic {
            StreamKind::Room { topic, id, rules, .. } => {
                let lasts = self.rules.persistent || rules.private;
                (topic.clone(), Some(RoomIdentity { id: *id, lasts }))
            }
            StreamKind::Announcements | StreamKind::Conversation { .. } => (String::new(), None),
        };
        StreamInfo {
            tag,
            name: self.label_for(self.sessions[&id].peer.uid, tag),
            head,
            next: next.unwrap_or(head + 1),
            new_run,
            stored: self.is_stored(tag),
            members: stream.members() as u32,
            topic,
            // A session that does not listen has no use for its key.
            channel: stream.broadcast.channel.filter(|_| self.sessions[&id].sub_key(tag).is_some()),
            room,
        }
    }

    /// A member opened its socket on the broadcast channel, or could not.
    pub(super) fn listening(
        &mut self,
        now: Now,
        id: SessionId,
        tag: StreamId,
        charge: Option<u64>,
    ) {
        let Some(key) = self.sessions[&id].sub_key(tag) else { return };
        let stream = self.stream_mut(tag);
        let has_channel = stream.broadcast.channel.is_some();
        let sub = &mut stream.subs[key];
        match charge {
            Some(_) if !has_channel => {}
            Some(charge_bytes) => {
                sub.health.reception = Reception::Unproven { probe_at_us: now.mono_us };
                sub.window.charge = charge_bytes.max(WINDOW_CHARGE_BYTES_MIN as u64) / 2;
                stream.broadcast.probe_due = true;
                stream.broadcast.probe_pause_ms = RETRY_PAUSE_MS_MIN;
                stream.broadcast.next_probe_us = now.mono_us + RETRY_PAUSE_MS_MIN * 1000;
                self.mark_dirty(tag);
            }
            None => {
                sub.health.reception = Reception::Unavailable;
                stream.serve_by_session(key);
            }
        }
    }
}
