//! Roles in rooms, and the removal of users.

use std::{collections::BTreeSet, sync::Arc};

use super::{Hub, pending::EntryDraft, sessions::Session, stream::StreamKind};
use crate::{
    chat::{
        clock::Now,
        event::Event,
        member::{EndCause, SessionId},
        names::{Label, RoomName, UserName},
        refusal::{Refusal, RefusalCode, no_room, refuse},
        reply::Reply,
        rules::{Role, RoomRules},
        store::Record,
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::ROOM_ROLES_MAX,
};

impl Hub {
    /// Gives or takes a role in a room.
    pub(super) fn set_role(
        &mut self,
        now: Now,
        id: SessionId,
        (room, user): (&RoomName, &UserName),
        role: Role,
        on: bool,
    ) -> Result<Reply, Refusal> {
        let session = &self.sessions[&id];
        let (own, account) = (session.peer.uid, session.account);
        let tag = self.known_room(own, room)?;
        let (what, done) = words(role, on);
        self.must_lead(own, tag, what)?;
        if user.host().is_some() {
            return self.set_remote_role(now, own, tag, user, role, on);
        }
        let by_office = !self.leads_by_its_rules(own, tag);
        let uid = self.uid_of(user)?;
        self.may_be_ruled(own, uid, tag, role, on)?;
        let private = self.room_rules(tag).is_some_and(|(_, _, rules)| rules.private);
        let lets_in = on && (role == Role::Invited || (role == Role::Operator && private));
        // The invited user is notified each time, and may read nothing for long.
        if lets_in && !self.accounts.may_invite(now.mono_us, account, (uid, tag, role)) {
            let text = format!("too many invitations of {user}; try again in a few seconds");
            return refuse(RefusalCode::Failed, text);
        }
        let StreamKind::Room { rules, name, .. } = &mut self.stream_mut(tag).topic else {
            return no_room(room);
        };
        let name = name.clone();
        let is_kept = role != Role::Invited || rules.private || !on;
        let changed = change(rules, (&name, user), uid, (role, on), is_kept)?;
        if changed && is_kept {
            self.commits.add(Record::Role { room: name.clone(), uid, role, on });
        }
        // A user who is shut out is no longer an operator.
        let shuts_out = matches!((role, on), (Role::Banned, true) | (Role::Invited, false));
        if shuts_out {
            self.take_roles(&name, uid, tag);
        }
        if !changed {
            return Ok(Reply::Done);
        }
        self.audit(now, own, format!("{done} @{user} in {name}"));
        if lets_in {
            self.accounts.count_invitation(now.mono_us, account, (uid, tag, role));
            self.tell_invited(id, uid, tag);
            if private && by_office {
                self.say_let_in(now, id, uid, tag);
            }
        }
        if shuts_out || self.may_read(uid, tag).is_err() {
            self.shut_out(id, uid, tag, None, role == Role::Banned && on);
        }
        Ok(Reply::Done)
    }

    /// Bans or mutes a user of a linked host. Here the name is the user's only identity.
    fn set_remote_role(
        &mut self,
        now: Now,
        own: u32,
        tag: StreamId,
        user: &UserName,
        role: Role,
        on: bool,
    ) -> Result<Reply, Refusal> {
        if matches!(role, Role::Operator | Role::Invited) {
            let text = format!("{user} is a user of another host, and has no rights on this one");
            return refuse(RefusalCode::Denied, text);
        }
        let StreamKind::Room { rules, name, .. } = &mut self.stream_mut(tag).topic else {
            return refuse(RefusalCode::Absent, "the room was deleted");
        };
        let name = name.clone();
        let Some(changed) = rules.set_remote(user, role, on) else {
            return refuse(
                RefusalCode::Failed,
                format!("{name} has {ROOM_ROLES_MAX} roles (limit)"),
            );
        };
        if changed {
            let record = Record::RemoteRole { room: name.clone(), user: user.clone(), role, on };
            self.commits.add(record);
            self.audit(now, own, format!("{} @{user} in {name}", words(role, on).1));
        }
        Ok(Reply::Done)
    }

    /// Takes the roles that let a user into a room, or lead it.
    fn take_roles(&mut self, name: &RoomName, uid: u32, tag: StreamId) {
        let StreamKind::Room { rules, .. } = &mut self.stream_mut(tag).topic else { return };
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
        tag: StreamId,
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
        let StreamKind::Room { rules, name, creator_uid, .. } = &self.stream(tag).topic else {
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
        tag: StreamId,
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
    fn sessions_in(&self, uid: u32, tag: StreamId, label: Option<&Label>) -> Vec<SessionId> {
        let is_meant = |s: &Session| {
            s.peer.uid == uid && label.is_none_or(|l| s.member.label.as_ref() == Some(l))
        };
        self.looked_at(self.stream(tag).members());
        let sessions = self.stream(tag).subs.iter().map(|(_, sub)| sub.session);
        sessions.filter(|id| self.sessions.get(id).is_some_and(&is_meant)).collect()
    }

    /// Has what is published in a stream from now on sealed with another key.
    pub(super) fn new_key(&mut self, tag: StreamId) {
        if !planted(Fault::KeysNeverChange) {
            self.directory.rekey(tag);
        }
    }

    /// Notifies the invited user and the members, who see by whom a user was let in.
    fn tell_invited(&mut self, id: SessionId, uid: u32, tag: StreamId) {
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

    /// Records in the room, permanently, that a role of the server let a user into a private room:
    /// members who are not here now see it too.
    fn say_let_in(&mut self, now: Now, id: SessionId, uid: u32, tag: StreamId) {
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
}

/// Words for a change of a role: in a refusal, and in the audit log.
fn words(role: Role, on: bool) -> (&'static str, &'static str) {
    match (role, on) {
        (Role::Operator, true) => ("grant its operator role", "op"),
        (Role::Operator, false) => ("revoke its operator role", "deop"),
        (Role::Invited, true) => ("invite users to it", "invite"),
        (Role::Invited, false) => ("revoke its invitations", "uninvite"),
        (Role::Banned, true) => ("ban users from it", "ban"),
        (Role::Banned, false) => ("lift its bans", "unban"),
        (Role::Muted, true) => ("mute users in it", "mute"),
        (Role::Muted, false) => ("unmute users in it", "unmute"),
    }
}

/// Changes a role in the rules of a room, or nothing if the change is refused. Returns true if it
/// changed something; what is not kept always does.
fn change(
    rules: &mut RoomRules,
    (name, user): (&RoomName, &UserName),
    uid: u32,
    (role, on): (Role, bool),
    is_kept: bool,
) -> Result<bool, Refusal> {
    if role == Role::Invited && on && rules.has(uid, Role::Banned) {
        let text = format!("{user} is banned from {name}; lift the ban first (room unban)");
        return refuse(RefusalCode::Failed, text);
    }
    let changed = if is_kept { rules.set(uid, role, on) } else { Some(true) };
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
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{
        hub::scene::{ANN, MIA, SAM, Scene, role},
        rules::Role,
    };

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
