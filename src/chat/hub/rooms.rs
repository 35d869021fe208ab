//! Rooms: their members, their operators, and the removal of members.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use super::{
    Hub,
    pending::EntryDraft,
    quota::Holding,
    sessions::Session,
    stream::{Stream, Topic},
};
use crate::{
    chat::{
        clock::Now,
        event::Event,
        member::{EndCause, SessionId},
        names::{Label, RoomName, UserName},
        refusal::{Refusal, RefusalCode, no_room, refuse},
        reply::{Reply, RoomInfo, WhoInfo},
        rules::{Policy, Rights, Role, RoomRules},
        store::{Record, Span},
        stream_id::{RoomId, StreamTag},
        text::counted,
    },
    faults::{Fault, planted},
    limits::{ROOM_ROLES_MAX, TOPIC_BYTES_MAX},
};

/// Room lines in one answer; the caller asks again for more.
const ROOMS_PER_REPLY: usize = 32;
/// Members in one answer.
const WHO_PER_REPLY: usize = 128;
/// Names in the text of a refusal.
const LEADERS_NAMED: usize = 5;

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
    // ---- who may -----------------------------------------------------------------------------

    /// Sets the rights of a user, found out before their session began.
    pub fn set_rights(&mut self, uid: u32, rights: Rights) {
        self.users.set_rights(uid, rights, |uid| self.sessions.has_user(uid));
    }

    /// Sets the rooms that the configuration has a user lead.
    pub fn set_configured_leads(&mut self, uid: u32, rooms: &Arc<[RoomName]>) {
        self.users.set_leads(uid, rooms, |uid| self.sessions.has_user(uid));
    }

    /// Makes the rooms of the configuration that do not exist yet; they belong to the server's own
    /// user.
    pub fn make_configured_rooms(&mut self) {
        for room in self.rules.rooms.clone() {
            // One that is still being deleted is made by the next start.
            let _ = self.add_room(self.rules.owner_uid, &room, NewRoom::PUBLIC);
        }
    }

    pub(super) fn rights_of(&self, uid: u32) -> Rights {
        if uid == 0 || uid == self.rules.owner_uid {
            return Rights::OPERATOR;
        }
        self.users.rights(uid)
    }

    pub(super) fn is_operator(&self, uid: u32) -> bool {
        self.rights_of(uid).operator
    }

    fn room_rules(&self, tag: StreamTag) -> Option<(&RoomName, u32, &RoomRules)> {
        match &self.stream(tag).topic {
            // A deleted one is not a room any longer.
            Topic::Room { name, creator_uid, rules, .. }
                if self.directory.room(name) == Some(tag) =>
            {
                Some((name, *creator_uid, rules))
            }
            Topic::Room { .. } | Topic::Announcements | Topic::Conversation { .. } => None,
        }
    }

    /// Returns true if a user leads a room: as its creator, its operator, or one of the server.
    fn leads(&self, uid: u32, tag: StreamTag) -> bool {
        self.leads_by_its_rules(uid, tag)
            || (self.is_operator(uid) && self.room_rules(tag).is_some())
    }

    /// Returns true if a user leads a room apart from their role on the server.
    pub(super) fn leads_by_its_rules(&self, uid: u32, tag: StreamTag) -> bool {
        self.room_rules(tag).is_some_and(|(name, creator, rules)| {
            let made = rules.has(uid, Role::Operator) && !rules.has(uid, Role::Banned);
            // The configuration names the operators of its rooms; the user who wrote first is not
            // one.
            let is_configured = self.rules.rooms.contains(name);
            let is_creator = uid == creator
                && (!is_configured || planted(Fault::FirstWriterLeadsConfiguredRoom));
            is_creator || made || self.users.leads(uid, name)
        })
    }

    /// Records in the room, permanently, that a role of the server let a user into a private room:
    /// members who are not here now see it too.
    fn say_let_in(&mut self, now: Now, id: SessionId, uid: u32, tag: StreamTag) {
        let session = &self.sessions[&id];
        let (account, from) = (session.account, Arc::clone(&session.member));
        let whom =
            if uid == from.uid { "themself".to_owned() } else { format!("@{}", self.called(uid)) };
        let draft = EntryDraft::new(
            from,
            format!("-- invited {whom} to this room, as an operator of the server").as_str().into(),
        );
        self.number(now, tag, account, draft);
    }

    /// Returns true if a room exists for a user.
    pub(super) fn exists_for(&self, uid: u32, tag: StreamTag) -> bool {
        self.room_rules(tag).is_some_and(|(_, creator, rules)| {
            !rules.private || rules.admits(uid) || uid == creator || self.is_operator(uid)
        })
    }

    /// The room of a name, if it exists for this user.
    pub(super) fn room_named(&self, uid: u32, room: &RoomName) -> Option<StreamTag> {
        self.directory.room(room).filter(|tag| self.exists_for(uid, *tag))
    }

    /// Returns the tag of a room that exists for a user, or a refusal.
    pub(super) fn known_room(&self, uid: u32, room: &RoomName) -> Result<StreamTag, Refusal> {
        self.room_named(uid, room).map_or_else(|| no_room(room), Ok)
    }

    /// Returns the room of a permanent id, if it still exists for this user.
    pub(super) fn room_of_id(&self, uid: u32, id: RoomId) -> Option<StreamTag> {
        self.directory.room_of_id(id).filter(|tag| self.exists_for(uid, *tag))
    }

    /// Checks that a user may be in a room and read it.
    pub(super) fn may_read(&self, uid: u32, tag: StreamTag) -> Result<(), Refusal> {
        let Some((name, creator, rules)) = self.room_rules(tag) else {
            return refuse(RefusalCode::Absent, "the room was deleted");
        };
        if !self.exists_for(uid, tag) {
            return no_room(name);
        }
        self.may_join_rooms(uid)?;
        if uid == creator || rules.admits(uid) {
            return Ok(());
        }
        if rules.has(uid, Role::Banned) && !self.is_operator(uid) {
            let text =
                format!("you are banned from {name}; {} can lift the ban", self.leaders(tag));
            return refuse(RefusalCode::Denied, text);
        }
        if rules.private {
            // Operators know of it and may rule it. Who wants to read it has to be seen doing so.
            let text = format!(
                "{name} is private; an operator can read it after inviting themself, which its \
                 members see (`moot room invite {name} @…`)"
            );
            return refuse(RefusalCode::Denied, text);
        }
        Ok(())
    }

    /// Checks that the server's policy allows a user to be in rooms.
    pub(super) fn may_join_rooms(&self, uid: u32) -> Result<(), Refusal> {
        let rights = self.rights_of(uid);
        if rights.join || rights.operator {
            return Ok(());
        }
        let who = Policy::words(&self.rules.policy.join);
        refuse(RefusalCode::Denied, format!("only {who} may join rooms on this server"))
    }

    /// Checks that a user may send to a room.
    pub(super) fn may_speak(&self, uid: u32, tag: StreamTag) -> Result<(), Refusal> {
        let Some((name, _, rules)) = self.room_rules(tag) else {
            return refuse(RefusalCode::Absent, "the room was deleted");
        };
        if !self.exists_for(uid, tag) {
            return no_room(name);
        }
        let leads = self.leads(uid, tag);
        let admitted = leads || rules.admits(uid);
        if rules.private || !admitted {
            self.may_read(uid, tag)?;
        }
        let above = self.room_rules(tag).is_some_and(|(_, creator, _)| creator == uid);
        if rules.has(uid, Role::Muted) && !above && !self.is_operator(uid) {
            let text = format!("you are muted in {name}; {} can unmute you", self.leaders(tag));
            return refuse(RefusalCode::Denied, text);
        }
        if rules.read_only && !leads {
            let text = format!("{name} is read-only; only {} may send messages", self.leaders(tag));
            return refuse(RefusalCode::Denied, text);
        }
        Ok(())
    }

    /// The room of that name; a public room comes into being by its first use.
    pub(super) fn room_for(
        &mut self,
        id: SessionId,
        room: &RoomName,
    ) -> Result<StreamTag, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        match self.room_named(uid, room) {
            Some(tag) => Ok(tag),
            None => match self.new_room(id, room, NewRoom::PUBLIC)? {
                Some(tag) => Ok(tag),
                None => no_room(room),
            },
        }
    }

    /// Returns the names of users who could do what is refused.
    fn leaders(&self, tag: StreamTag) -> String {
        let Some((name, creator, rules)) = self.room_rules(tag) else { return String::new() };
        let operators: Vec<_> = rules
            .with(Role::Operator)
            .take(LEADERS_NAMED)
            .map(|uid| self.called(uid).to_string())
            .collect();
        let mut text = format!("the creator of {name} ({}),", self.called(creator));
        if !operators.is_empty() {
            text += &format!(" its operators ({}),", operators.join(", "));
        }
        text + " or an operator of the server"
    }

    /// Returns the name of a user.
    pub(super) fn called(&self, uid: u32) -> UserName {
        self.user_name(uid).unwrap_or_else(|| UserName::of_uid(uid))
    }

    fn must_lead(&self, uid: u32, tag: StreamTag, what: &str) -> Result<(), Refusal> {
        if self.leads(uid, tag) {
            return Ok(());
        }
        refuse(RefusalCode::Denied, format!("only {} may {what}", self.leaders(tag)))
    }

    // ---- making and describing ---------------------------------------------------------------

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
    fn new_room(
        &mut self,
        id: SessionId,
        room: &RoomName,
        new: NewRoom,
    ) -> Result<Option<StreamTag>, Refusal> {
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
    ) -> Result<Option<StreamTag>, Refusal> {
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
    fn make_room_id(&self, tag: StreamTag) -> RoomId {
        let mut hasher = DefaultHasher::new();
        (self.rules.secret, self.rules.run, tag).hash(&mut hasher);
        RoomId(hasher.finish())
    }

    /// Checks that a user may create a room of this name, as far as they may know.
    pub(super) fn may_make(&self, uid: u32, room: &RoomName) -> Result<(), Refusal> {
        room.check_new().or_else(|e| refuse(RefusalCode::Input, e.to_string()))?;
        let rights = self.rights_of(uid);
        if !rights.create_rooms && !rights.operator {
            let who = Policy::words(&self.rules.policy.create_rooms);
            let text = format!("room {room} does not exist, and only {who} may create rooms");
            return refuse(RefusalCode::Denied, text);
        }
        let all = self.directory.rooms().len();
        if all >= self.rules.rooms_max {
            let text = format!("the server has {} (limits.rooms)", counted(all as u64, "room"));
            return refuse(RefusalCode::Failed, text);
        }
        self.may_make_rooms(uid)
    }

    /// Returns true if a user who could send to a room when they scheduled a message still may:
    /// they were not shut out.
    pub(super) fn still_speaks(&self, uid: u32, tag: StreamTag) -> bool {
        self.room_rules(tag).is_some_and(|(_, creator, rules)| {
            uid == creator || (rules.admits(uid) && !rules.has(uid, Role::Muted))
        })
    }

    /// Returns true if an announcement to a room is not for all users: it goes by session, to those
    /// who are in the room.
    pub(super) fn is_closed(&self, tag: StreamTag) -> bool {
        self.room_rules(tag).is_none_or(|(_, _, rules)| {
            rules.private
                || (rules.with(Role::Banned).next().is_some()
                    && !planted(Fault::BannedRoomAnnouncedByBroadcast))
        })
    }

    /// Checks that a user may make one more room: their share shrinks as others have theirs.
    fn may_make_rooms(&self, uid: u32) -> Result<(), Refusal> {
        self.looked_at(self.directory.rooms().len());
        let creators = self.directory.rooms().filter_map(|(_, tag)| self.room_rules(tag));
        let holding = Holding::of(uid, creators.map(|(_, creator_uid, _)| (creator_uid, 1)));
        let own = holding.own;
        if own >= self.rules.rooms_per_user_max.min(holding.share(self.rules.rooms_max)) {
            let text =
                format!("this user created {}, which is the limit", counted(own as u64, "room"));
            return refuse(RefusalCode::Failed, text);
        }
        Ok(())
    }

    fn record_room(&mut self, tag: StreamTag) {
        let stream = self.stream(tag);
        if let Topic::Room { name, id, creator_uid, history, topic, rules } = &stream.topic {
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
                Topic::Room { topic, rules, .. } => (topic.clone(), rules.private, rules.read_only),
                Topic::Announcements | Topic::Conversation { .. } => (String::new(), false, false),
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

    // ---- roles -------------------------------------------------------------------------------

    /// Gives or takes a role in a room.
    pub(super) fn set_role(
        &mut self,
        now: Now,
        id: SessionId,
        (room, user): (&RoomName, &UserName),
        role: Role,
        on: bool,
    ) -> Result<Reply, Refusal> {
        let own = self.sessions[&id].peer.uid;
        let tag = self.known_room(own, room)?;
        let (what, done) = match (role, on) {
            (Role::Operator, true) => ("grant its operator role", "op"),
            (Role::Operator, false) => ("revoke its operator role", "deop"),
            (Role::Invited, true) => ("invite users to it", "invite"),
            (Role::Invited, false) => ("revoke its invitations", "uninvite"),
            (Role::Banned, true) => ("ban users from it", "ban"),
            (Role::Banned, false) => ("lift its bans", "unban"),
            (Role::Muted, true) => ("mute users in it", "mute"),
            (Role::Muted, false) => ("unmute users in it", "unmute"),
        };
        self.must_lead(own, tag, what)?;
        let by_office = !self.leads_by_its_rules(own, tag);
        let uid = self.uid_of(user)?;
        self.may_be_ruled(own, uid, tag, role, on)?;
        let private = self.room_rules(tag).is_some_and(|(_, _, rules)| rules.private);
        let lets_in = on && (role == Role::Invited || (role == Role::Operator && private));
        // The invited user is notified each time, and may read nothing for long.
        let account = self.sessions[&id].account;
        if lets_in && !self.accounts.may_invite(now.mono_us, account, (uid, tag, role)) {
            let text = format!("too many invitations of {user}; try again in a few seconds");
            return refuse(RefusalCode::Failed, text);
        }
        let Topic::Room { rules, name, .. } = &mut self.stream_mut(tag).topic else {
            return no_room(room);
        };
        let name = name.clone();
        if role == Role::Invited && on && rules.has(uid, Role::Banned) {
            let text = format!("{user} is banned from {name}; lift the ban first (room unban)");
            return refuse(RefusalCode::Failed, text);
        }
        let kept = role != Role::Invited || rules.private || !on;
        let changed = if kept { rules.set(uid, role, on) } else { Some(true) };
        let Some(changed) = changed else {
            let text = format!("{name} has {ROOM_ROLES_MAX} roles of users, which is the limit");
            return refuse(RefusalCode::Failed, text);
        };
        if !changed && !on {
            let text = match role {
                Role::Operator => format!("{user} is not an operator of {name}"),
                Role::Invited => format!("{user} is not invited to {name}"),
                Role::Banned => format!("{user} is not banned from {name}"),
                Role::Muted => format!("{user} is not muted in {name}"),
            };
            return refuse(RefusalCode::Failed, text);
        }
        if changed && kept {
            self.commits.add(Record::Role { room: name.clone(), uid, role, on });
        }
        // A user who is shut out is no longer an operator.
        let shuts_out = matches!((role, on), (Role::Banned, true) | (Role::Invited, false));
        if shuts_out {
            self.take_roles(&name, uid, tag);
        }
        if changed {
            self.audit(now, own, format!("{done} @{user} in {name}"));
        }
        if lets_in && changed {
            self.accounts.count_invitation(now.mono_us, account, (uid, tag, role));
            self.tell_invited(id, uid, tag);
        }
        if lets_in && private && changed && by_office {
            self.say_let_in(now, id, uid, tag);
        }
        if changed && (shuts_out || self.may_read(uid, tag).is_err()) {
            self.shut_out(id, uid, tag, None, role == Role::Banned && on);
        }
        Ok(Reply::Done)
    }

    /// Takes the roles that let a user into a room, or lead it.
    fn take_roles(&mut self, name: &RoomName, uid: u32, tag: StreamTag) {
        let Topic::Room { rules, .. } = &mut self.stream_mut(tag).topic else { return };
        let had = |role: &Role| rules.set(uid, *role, false) == Some(true);
        let gone: Vec<Role> = [Role::Invited, Role::Operator].into_iter().filter(had).collect();
        for role in &gone {
            self.commits.add(Record::Role { room: name.clone(), uid, role: *role, on: false });
        }
    }

    /// Protects creators and the server's operators from a room's rules, and users from themselves.
    fn may_be_ruled(
        &self,
        own: u32,
        uid: u32,
        tag: StreamTag,
        role: Role,
        on: bool,
    ) -> Result<(), Refusal> {
        let harms = matches!(
            (role, on),
            (Role::Banned | Role::Muted, true) | (Role::Operator | Role::Invited, false)
        );
        let Some((name, creator, _)) = self.room_rules(tag).filter(|_| harms) else {
            return Ok(());
        };
        if uid == own && role != Role::Operator {
            let text = format!("you can't moderate yourself; leave with `moot room leave {name}`");
            return refuse(RefusalCode::Failed, text);
        }
        if uid == creator {
            let text = format!("{} created {name} and always moderates it", self.called(uid));
            return refuse(RefusalCode::Denied, text);
        }
        // An operator who entered a private room uninvited can be removed from it.
        if self.is_operator(uid) && matches!(role, Role::Banned | Role::Muted) {
            let text = format!("{} is an operator of the server", self.called(uid));
            return refuse(RefusalCode::Denied, text);
        }
        Ok(())
    }

    /// Takes a user's sessions out of a room, by an operator's word. From a private room the
    /// invitation is taken back as well.
    pub(super) fn kick_from_room(
        &mut self,
        now: Now,
        id: SessionId,
        room: &RoomName,
        (user, label): (&UserName, Option<&Label>),
    ) -> Result<Reply, Refusal> {
        let own = self.sessions[&id].peer.uid;
        let tag = self.known_room(own, room)?;
        self.must_lead(own, tag, "remove users from it")?;
        let uid = self.uid_of(user)?;
        if uid != own {
            self.may_be_ruled(own, uid, tag, Role::Invited, false)?;
        }
        let Topic::Room { rules, name, creator_uid, .. } = &self.stream(tag).topic else {
            return no_room(room);
        };
        let name = name.clone();
        let shuts = rules.private && label.is_none() && uid != *creator_uid;
        let is_invited = shuts && rules.admits(uid);
        if !is_invited && self.sessions_in(uid, tag, label).is_empty() {
            let who = label.map_or_else(|| format!("@{user}"), |l| format!("@{user}/{l}"));
            return refuse(RefusalCode::Absent, format!("{who} is not in {name}"));
        }
        if shuts {
            self.take_roles(&name, uid, tag);
        }
        self.shut_out(id, uid, tag, label, false);
        self.audit(now, own, format!("kick @{user} from {name}"));
        Ok(Reply::Done)
    }

    /// Takes sessions of a user out of a room. What is published from now on is sealed with another
    /// key: who was there before may have kept the present one.
    fn shut_out(
        &mut self,
        by: SessionId,
        uid: u32,
        tag: StreamTag,
        label: Option<&Label>,
        banned: bool,
    ) {
        let by = self.called(self.sessions[&by].peer.uid);
        let sessions = self.sessions_in(uid, tag, label);
        self.sessions.set_late(sessions.len());
        for id in sessions {
            self.send(id, Event::Removed { stream: tag, by: by.clone(), banned });
            self.part(id, tag, EndCause::Kicked);
        }
        self.sessions.write_rows_at_once();
        self.new_key(tag);
    }

    /// Returns the sessions of a user, or of one label of theirs, in a room.
    fn sessions_in(&self, uid: u32, tag: StreamTag, label: Option<&Label>) -> Vec<SessionId> {
        let is_meant = |s: &Session| {
            s.peer.uid == uid && label.is_none_or(|l| s.member.label.as_ref() == Some(l))
        };
        self.looked_at(self.stream(tag).members as usize);
        let sessions = self.stream(tag).subs.iter().map(|(_, sub)| sub.session);
        sessions.filter(|id| self.sessions.get(id).is_some_and(&is_meant)).collect()
    }

    /// Has what is published in a stream from now on sealed with another key.
    pub(super) fn new_key(&mut self, tag: StreamTag) {
        if !planted(Fault::KeysNeverChange) {
            self.directory.rekey(tag);
        }
    }

    /// Notifies the invited user and the members, who see by whom a user was let in.
    fn tell_invited(&mut self, id: SessionId, uid: u32, tag: StreamTag) {
        let Some(room) = self.room_rules(tag).map(|(name, ..)| name.clone()) else { return };
        let (user, by) = (self.called(uid), self.called(self.sessions[&id].peer.uid));
        let invited = self.sessions_of(uid).filter(|s| s.listens());
        let invited = invited.map(|s| s.member.session);
        let subs = self.stream(tag).subs.iter();
        let there = subs.filter(|(_, s)| s.membership.is_some()).map(|(_, s)| s.session);
        let told: BTreeSet<SessionId> = invited.chain(there).collect();
        for id in told {
            let (room, user, by) = (room.clone(), user.clone(), by.clone());
            self.send(id, Event::Invited { room, user, by });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::hub::scene::{ANN, MIA, SAM, Scene, role};

    #[test]
    fn invitation_is_not_repeated_at_once() {
        for private in [false, true] {
            let mut scene = Scene::new(private);
            scene.request(ANN, role(SAM, Role::Invited, true)).unwrap();
            // Taken back, it would be sent again.
            drop(scene.request(ANN, role(SAM, Role::Invited, false)));
            let refusal = scene.request(ANN, role(SAM, Role::Invited, true)).unwrap_err();
            assert!(refusal.text.contains("too many invitations"), "{}", refusal.text);
            scene.request(ANN, role(SAM, Role::Operator, true)).unwrap();
        }
    }

    fn saved_roles(private: bool, uid: u32, given: Role) -> usize {
        let mut scene = Scene::new(private);
        scene.request(ANN, role(uid, given, true)).unwrap();
        // An invitation into a public room is not repeated at once.
        drop(scene.request(ANN, role(uid, given, true)));
        scene.saved.iter().filter(|record| matches!(record, Record::Role { .. })).count()
    }

    #[test]
    fn role_is_saved_if_it_changes_something() {
        assert_eq!(saved_roles(false, MIA, Role::Muted), 1, "once");
        assert_eq!(saved_roles(true, SAM, Role::Invited), 1);
        assert_eq!(saved_roles(true, MIA, Role::Invited), 0, "was invited before");
        assert_eq!(saved_roles(false, SAM, Role::Invited), 0, "may join a public room anyway");
    }
}
