//! Requests: what a session asks and how it is answered.

use super::{Action, Hub, commits::Held, rooms::NewRoom, sessions::Wait, stream::StreamKind};
use crate::{
    chat::{
        clock::Now,
        frames::{ANNOUNCEMENTS, Frame},
        member::{EndCause, SessionId},
        names::{Label, RoomName, Target, UserName},
        refusal::{Refusal, RefusalCode, refuse},
        reply::Reply,
        request::{Announce, Begin, Follow, Request, SessionRequest},
        store::Question,
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{
        FOLLOWED_PER_NAME_MAX, FOLLOWING_NAMES_PER_USER_MAX, REPLIES_WAITING_PER_SESSION_MAX,
    },
};

/// The way in which a request is answered.
#[derive(Debug)]
pub(super) enum Routed {
    /// By a reply that is known now.
    Reply(Reply),
    /// By a reply that is given once the change is stored.
    WhenStored(Reply),
    /// By a later action of the hub.
    Later,
    /// By the history.
    Query(Question),
}

impl Hub {
    /// Answers a request: the answer is among the actions, or follows when its change is stored.
    /// Returns a question if the history has to answer.
    pub fn request(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        request: Request,
    ) -> Option<Question> {
        if !self.sessions.contains(id) {
            return None;
        }
        self.charged(id, |hub| match hub.room_to_await(id, &request) {
            Ok(None) => hub.request_now(now, id, serial, request),
            Ok(Some(room)) => {
                hub.hold(id, serial, request, room);
                None
            }
            Err(refusal) => {
                hub.out.push(Action::Send(id, Frame::Reply { serial, result: Err(refusal) }));
                None
            }
        })
    }

    fn request_now(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        request: Request,
    ) -> Option<Question> {
        let goes_on = matches!(
            request,
            Request::Join { begin: Begin::After { .. } | Begin::Resume { .. }, .. }
        );
        // A join does not wait for the store, and a refusal would end the follow for good.
        let waits = !matches!(request, Request::Join { .. } | Request::History(_));
        let is_full = waits && self.commits.waiting(id) >= REPLIES_WAITING_PER_SESSION_MAX;
        let routed = match is_full {
            true => refuse(
                RefusalCode::Failed,
                "too many requests of this session wait for the history",
            ),
            false => self.route(now, id, serial, request),
        };
        let result = match routed {
            Ok(Routed::Reply(reply)) => Ok(reply),
            Ok(Routed::WhenStored(reply)) => {
                self.reply_when_kept(id, serial, reply);
                return None;
            }
            Ok(Routed::Later) => return None,
            Ok(Routed::Query(question)) => return Some(question),
            Err(refusal) => Err(refusal),
        };
        let joined = match &result {
            Ok(Reply::Joined(infos)) => infos.iter().map(|info| (info.tag, info.new_run)).collect(),
            Ok(_) | Err(_) => Vec::new(),
        };
        self.out.push(Action::Send(id, Frame::Reply { serial, result }));
        for (tag, new_run) in joined {
            // What it goes on with after a break it was shown before.
            let comes_back = self.sessions.get(&id).is_some_and(|s| s.comes_back);
            if new_run || !(goes_on && comes_back) || planted(Fault::RetainedShownAgain) {
                self.give_retained(now, id, (tag != ANNOUNCEMENTS).then_some(tag));
            }
        }
        // What a join finds in the backlog comes after the answer that names the stream.
        self.wake(id);
        None
    }

    fn route(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        request: Request,
    ) -> Result<Routed, Refusal> {
        use Routed::{Later, Reply as Done, WhenStored};
        match request {
            Request::Open { target } => self.open_target(id, &target).map(Done),
            Request::Join { follow, begin, membership, keep } => {
                self.active(now, id);
                self.join(now, id, follow, begin, membership, keep).map(Done)
            }
            Request::Part { stream, forget } => self.part_by_request(id, stream, forget).map(Done),
            Request::Unfollow { room } => self.unfollow(id, &room).map(WhenStored),
            Request::Rooms { skip } => Ok(Done(self.rooms_from(id, skip))),
            Request::CreateRoom { room, history, private, read_only } => {
                let new = NewRoom { history, private, read_only };
                self.create_room(id, &room, new).map(WhenStored)
            }
            Request::Role { room, user, role, on } => {
                self.set_role(now, id, (&room, &user), role, on).map(WhenStored)
            }
            Request::KickFromRoom { room, user, label } => {
                self.kick_from_room(now, id, &room, (&user, label.as_ref())).map(WhenStored)
            }
            Request::Who { room, skip } => self.who_in(id, &room, skip).map(Done),
            Request::Kick { user, label } => {
                // Answered once all sessions have ended.
                self.kick(now, id, serial, (&user, label.as_ref())).map(|()| Later)
            }
            Request::Drop { session } => self.drop_session(now, id, session).map(Done),
            Request::Audit { skip } => self.audit_from(id, skip).map(Done),
            Request::Topic { room, topic } => self.set_topic(now, id, &room, topic).map(WhenStored),
            Request::Away { label, text } => self.away(id, label, Some(&text)).map(Done),
            Request::Back { label } => self.away(id, label, None).map(Done),
            Request::Announce(announce) => self.announce_by_request(now, id, serial, &announce),
            Request::Receipt { id: of, skip } => self.receipt(id, of, skip).map(Done),
            Request::Notices { skip } => Ok(Done(self.notices_from(now, id, skip))),
            Request::Notice { id: of } => self.notice(now, id, of).map(Done),
            Request::AckNotice { id: of } => {
                self.active(now, id);
                self.ack_notice(now, id, of).map(WhenStored)
            }
            Request::CancelNotice { id: of } => self.cancel_notice(now, id, of).map(WhenStored),
            Request::Will { text } => self.set_will(id, text).map(Done),
            Request::History(request) => self.history_query(id, &request),
            Request::MarkRead { target, seq } => self.mark_read(id, &target, seq).map(WhenStored),
            Request::DeleteRoom { room } => {
                self.delete_room(now, id, serial, &room).map(|()| Later)
            }
            Request::Link(request) => self.link_request(now, id, serial, request),
            Request::Session(request) => Ok(Done(self.session_request(now, id, &request))),
            Request::Ask { counter, again } => {
                self.ask_by_request(now, id, serial, (counter, again))
            }
            Request::Answer(answering) => self.answer_in(id, answering).map(Done),
            Request::Take { stream, seq } => self.take(id, stream, seq).map(Done),
            Request::Answered { stream, seq, failed, silent } => {
                self.answered(id, (stream, seq), failed, silent).map(Done)
            }
        }
    }

    fn announce_by_request(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        announce: &Announce,
    ) -> Result<Routed, Refusal> {
        self.active(now, id);
        // Without a reply it is answered once it is published.
        let made = self.announce(now, id, serial, announce)?;
        Ok(made.map_or(Routed::Later, Routed::WhenStored))
    }

    fn ask_by_request(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        (counter, again): (u64, bool),
    ) -> Result<Routed, Refusal> {
        // Without a reply it is answered once the message is published.
        let asked = self.ask_for(now, id, serial, (counter, again))?;
        Ok(asked.map_or(Routed::Later, Routed::Reply))
    }

    fn session_request(&mut self, now: Now, id: SessionId, request: &SessionRequest) -> Reply {
        match request {
            SessionRequest::Listening { stream, charge_bytes, slot: _ } => {
                self.listening(now, id, *stream, Some(*charge_bytes));
            }
            SessionRequest::Deaf { stream } => self.listening(now, id, *stream, None),
            SessionRequest::Active => self.active(now, id),
            // The owner of the connection ends the session.
            SessionRequest::Quit => {}
        }
        Reply::Done
    }

    fn away(
        &mut self,
        id: SessionId,
        label: Option<Label>,
        text: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        self.set_away(uid, label, text).map(|()| Reply::Done)
    }

    // ---- streams -----------------------------------------------------------------------------

    /// Makes an id for a stream of a user.
    ///
    /// # Errors
    /// Returns an error if all ids of this boot, or those of the user, are used up.
    pub(super) fn make_tag(&mut self, uid: u32) -> Result<StreamId, Refusal> {
        self.streams.make_tag(Some(uid)).ok_or_else(|| {
            let text = "this user has used up their stream ids until the server restarts";
            Refusal::new(RefusalCode::Failed, text)
        })
    }

    // ---- targets -----------------------------------------------------------------------------

    fn open_target(&mut self, id: SessionId, target: &Target) -> Result<Reply, Refusal> {
        match target {
            Target::Room(room) => {
                let tag = self.room_of_open(id, room)?;
                Ok(Reply::Opened(self.info(id, tag, None, false)))
            }
            Target::User { user, label } => {
                let uid = self.uid_of(user)?;
                self.reachable(id, uid, user, label.as_ref())?;
                self.open_conversation(id, uid)
            }
        }
    }

    pub(super) fn uid_of(&self, user: &UserName) -> Result<u32, Refusal> {
        if let Some(host) = user.host() {
            let text = format!("{user} is a user of the linked host {host}, not of this one");
            return refuse(RefusalCode::Absent, text);
        }
        match self.users.uid(user) {
            Some(uid) => Ok(uid),
            None => refuse(RefusalCode::Absent, format!("user {user} does not exist on this host")),
        }
    }

    /// Checks that a direct message would reach a session now, which it has to while mail is off.
    fn reachable(
        &self,
        id: SessionId,
        uid: u32,
        user: &UserName,
        label: Option<&Label>,
    ) -> Result<(), Refusal> {
        let called =
            |s: &super::sessions::Session| label.is_none() || s.member.label.as_ref() == label;
        let here = |s: &&super::sessions::Session| s.listens() && called(s);
        if self.rules.store && self.rules.persistent {
            // It is kept until it is read.
            return Ok(());
        }
        let to = Target::User { user: user.clone(), label: label.cloned() };
        let mut sessions = self.sessions_of(uid).filter(here).peekable();
        if sessions.peek().is_none() {
            return refuse(RefusalCode::Absent, format!("{to} is not connected"));
        }
        let own = self.sessions[&id].peer.uid;
        if sessions.any(|s| s.member.session != id && s.directs.take_from(own)) {
            return Ok(());
        }
        let text = format!("{to} is connected, but no session of theirs receives direct messages");
        refuse(RefusalCode::Absent, text)
    }

    // ---- waiting for a new room ----------------------------------------------------------------

    /// Returns the room whose commit a request has to wait for; creates the room if the request
    /// does. The id of a room is permanent once a client has it: a server that ends before the
    /// commit must not make the room look deleted.
    fn room_to_await(
        &mut self,
        id: SessionId,
        request: &Request,
    ) -> Result<Option<StreamId>, Refusal> {
        // While the store fails, rooms are used before they are stored.
        let may_wait = self.rules.persistent && self.commits.is_healthy();
        if !may_wait || planted(Fault::RoomNamedBeforeCommit) {
            return Ok(None);
        }
        let tag = if let Request::Join { follow: Follow::Room(room), begin, keep, .. } = request {
            self.room_of_join(id, room, *begin, *keep)?
        } else if let Request::Open { target: Target::Room(room) } = request {
            self.room_of_open(id, room)?
        } else {
            return Ok(None);
        };
        Ok(Some(tag).filter(|tag| self.directory.is_unstored(*tag)))
    }

    /// Keeps a request until its room is stored, and pauses its session: later requests stay behind
    /// it.
    fn hold(&mut self, id: SessionId, serial: u32, request: Request, room: StreamId) {
        self.commits.hold(Held { session: id, serial, request, room });
        if let Some(session) = self.sessions.get_mut(&id) {
            session.waits = Some(Wait::Commit);
            self.out.push(Action::Pause(id));
        }
    }

    /// Answers the requests that waited for the commit of their rooms: it is done, or it failed.
    pub(super) fn answer_held(&mut self, now: Now) {
        for held in self.commits.take_held() {
            // Another transaction may have been under way when the room was created.
            if self.commits.is_healthy() && self.directory.is_unstored(held.room) {
                self.commits.hold(held);
                continue;
            }
            let Held { session: id, serial, request, room } = held;
            self.let_go(id, Wait::Commit);
            if !self.sessions.contains(id) {
                continue;
            }
            if self.known_stream(room).is_some() {
                self.charged(id, |hub| hub.request_now(now, id, serial, request));
            } else {
                let result = refuse(RefusalCode::Absent, "the room was deleted");
                self.out.push(Action::Send(id, Frame::Reply { serial, result }));
            }
        }
    }

    // ---- leaving and following ---------------------------------------------------------------

    fn part_by_request(
        &mut self,
        id: SessionId,
        tag: StreamId,
        forget: bool,
    ) -> Result<Reply, Refusal> {
        if self.sessions[&id].sub_key(tag).is_none() {
            return refuse(RefusalCode::Absent, "this session is not subscribed to the stream");
        }
        if forget && let StreamKind::Room { name, .. } = &self.stream(tag).topic {
            let room = name.clone();
            self.forget_following(id, &room);
        }
        self.part(id, tag, EndCause::Quit);
        Ok(Reply::Done)
    }

    /// Checks that the name of a session may follow one more room.
    pub(super) fn may_follow(&self, id: SessionId, room: &RoomName) -> Result<(), Refusal> {
        let session = &self.sessions[&id];
        let uid = session.peer.uid;
        let name = (uid, session.member.label.clone());
        let followed = self.follows.rooms(&name);
        if followed.len() >= FOLLOWED_PER_NAME_MAX && !followed.contains(room) {
            let text =
                format!("this handle follows {FOLLOWED_PER_NAME_MAX} rooms, which is the limit");
            return refuse(RefusalCode::Failed, text);
        }
        if !self.follows.contains(&name)
            && self.follows.names(uid).count() >= FOLLOWING_NAMES_PER_USER_MAX
            && self.oldest_name(uid).is_none()
        {
            let text = format!(
                "this user follows rooms under {FOLLOWING_NAMES_PER_USER_MAX} labels (limit)"
            );
            return refuse(RefusalCode::Failed, text);
        }
        Ok(())
    }

    /// Has the name of a session follow a room. The caller has asked [`Hub::may_follow`].
    pub(super) fn keep_following(&mut self, id: SessionId, room: &RoomName) {
        let session = &self.sessions[&id];
        let (uid, label) = (session.peer.uid, session.member.label.clone());
        let name = (uid, label.clone());
        if !self.follows.contains(&name)
            && self.follows.names(uid).count() >= FOLLOWING_NAMES_PER_USER_MAX
        {
            self.forget_oldest_name(uid);
        }
        if !self.follows.follow(name, room) {
            return;
        }
        self.commits.add(crate::chat::store::Record::Follow {
            uid,
            label: label.clone(),
            room: room.clone(),
            on: true,
        });
        // Earlier messages are not unread. A name with the maximum of read marks follows without
        // one.
        if let Some(tag) = self.directory.room(room) {
            let head = self.stream(tag).backlog.head();
            let _ = self.set_mark(uid, label, tag, head);
        }
    }

    fn forget_following(&mut self, id: SessionId, room: &RoomName) -> bool {
        let session = &self.sessions[&id];
        let key = (session.peer.uid, session.member.label.clone());
        let found = self.follows.unfollow(&key, room);
        if found {
            let (uid, label) = key;
            self.commits.add(crate::chat::store::Record::Follow {
                uid,
                label,
                room: room.clone(),
                on: false,
            });
        }
        found
    }

    /// Returns the label of a user that was used least lately and has no session now: labels come
    /// and go (`--as ci-4711`). The person's own name is never forgotten.
    fn oldest_name(&self, uid: u32) -> Option<Label> {
        let here: Vec<&Label> =
            self.sessions_of(uid).filter_map(|session| session.member.label.as_ref()).collect();
        self.follows.oldest_label(uid, &here)
    }

    /// Forgets what the oldest name of a user follows and has read; false if there is none to
    /// forget.
    pub(super) fn forget_oldest_name(&mut self, uid: u32) -> bool {
        let Some(label) = self.oldest_name(uid) else { return false };
        self.follows.forget_label(uid, &label);
        self.commits.add(crate::chat::store::Record::NameGone { uid, label });
        true
    }

    fn unfollow(&mut self, id: SessionId, room: &RoomName) -> Result<Reply, Refusal> {
        self.known_room(self.sessions[&id].peer.uid, room)?;
        let name = self.sessions[&id].member.name();
        match self.forget_following(id, room) {
            true => Ok(Reply::Done),
            false => refuse(RefusalCode::Failed, format!("{name} does not follow {room}")),
        }
    }
}
