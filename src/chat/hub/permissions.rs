//! Permissions: who may see, read, write to and lead a room.

use std::sync::Arc;

use super::{Hub, accounts::Holding, stream::StreamKind};
use crate::{
    chat::{
        hub::rooms::NewRoom,
        member::SessionId,
        names::RoomName,
        refusal::{Refusal, RefusalCode, no_room, refuse},
        rules::{Policy, Rights, Role, RoomRules},
        stream_id::{RoomId, StreamId},
        text::counted,
    },
    faults::{Fault, planted},
};

/// Names in the text of a refusal.
const LEADERS_NAMED: usize = 5;

impl Hub {
    /// Sets the rights of a user, found out before their session began.
    pub fn set_rights(&mut self, uid: u32, rights: Rights) {
        self.users.set_rights(uid, rights, |uid| self.sessions.has_user(uid));
    }

    /// Sets the rooms that the configuration has a user lead.
    pub fn set_configured_leads(&mut self, uid: u32, rooms: &Arc<[RoomName]>) {
        self.users.set_leads(uid, rooms, |uid| self.sessions.has_user(uid));
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

    pub(super) fn room_rules(&self, tag: StreamId) -> Option<(&RoomName, u32, &RoomRules)> {
        match &self.stream(tag).topic {
            // A deleted one is not a room any longer.
            StreamKind::Room { name, creator_uid, rules, .. }
                if self.directory.room(name) == Some(tag) =>
            {
                Some((name, *creator_uid, rules))
            }
            StreamKind::Room { .. }
            | StreamKind::Announcements
            | StreamKind::Conversation { .. } => None,
        }
    }

    /// Returns true if a user leads a room: as its creator, its operator, or one of the server.
    pub(super) fn leads(&self, uid: u32, tag: StreamId) -> bool {
        self.leads_by_its_rules(uid, tag)
            || (self.is_operator(uid) && self.room_rules(tag).is_some())
    }

    /// Returns true if a user leads a room apart from their role on the server.
    pub(super) fn leads_by_its_rules(&self, uid: u32, tag: StreamId) -> bool {
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

    /// Returns true if a room exists for a user.
    pub(super) fn exists_for(&self, uid: u32, tag: StreamId) -> bool {
        self.room_rules(tag).is_some_and(|(_, creator, rules)| {
            !rules.private || rules.admits(uid) || uid == creator || self.is_operator(uid)
        })
    }

    /// The room of a name, if it exists for this user.
    pub(super) fn room_named(&self, uid: u32, room: &RoomName) -> Option<StreamId> {
        self.directory.room(room).filter(|tag| self.exists_for(uid, *tag))
    }

    /// Returns the tag of a room that exists for a user, or a refusal.
    pub(super) fn known_room(&self, uid: u32, room: &RoomName) -> Result<StreamId, Refusal> {
        self.room_named(uid, room).map_or_else(|| no_room(room), Ok)
    }

    /// Returns the room of a permanent id, if it still exists for this user.
    pub(super) fn room_of_id(&self, uid: u32, id: RoomId) -> Option<StreamId> {
        self.directory.room_of_id(id).filter(|tag| self.exists_for(uid, *tag))
    }

    /// Checks that a user may be in a room and read it.
    pub(super) fn may_read(&self, uid: u32, tag: StreamId) -> Result<(), Refusal> {
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
    pub(super) fn may_speak(&self, uid: u32, tag: StreamId) -> Result<(), Refusal> {
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
    pub(super) fn room_for(&mut self, id: SessionId, room: &RoomName) -> Result<StreamId, Refusal> {
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
    fn leaders(&self, tag: StreamId) -> String {
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

    pub(super) fn must_lead(&self, uid: u32, tag: StreamId, what: &str) -> Result<(), Refusal> {
        if self.leads(uid, tag) {
            return Ok(());
        }
        refuse(RefusalCode::Denied, format!("only {} may {what}", self.leaders(tag)))
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
    pub(super) fn still_speaks(&self, uid: u32, tag: StreamId) -> bool {
        self.room_rules(tag).is_some_and(|(_, creator, rules)| {
            uid == creator || (rules.admits(uid) && !rules.has(uid, Role::Muted))
        })
    }

    /// Returns true if an announcement to a room is not for all users: it goes by session, to those
    /// who are in the room.
    pub(super) fn is_closed(&self, tag: StreamId) -> bool {
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
}
