//! Members of the rooms.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    effect::{Effect, PendingRequest},
    room::Present,
    state::{Model, When},
};
use crate::{
    chat::{
        member::{Kind, State},
        message::StreamName,
        names::RoomName,
        reply::WhoInfo,
    },
    limits::IDLE_AFTER_MS,
    tui::{scrollback::NoteKind, slash::CommandPurpose},
};

/// Time between two looks at the members' panel while the user is there.
const MEMBERS_EVERY_US: u64 = 10_000_000;

impl Present {
    /// Returns the session that the server described.
    pub(super) fn of_session(info: WhoInfo, now_us: u64) -> Self {
        let present = Self {
            name: info.member.name(),
            sessions: 1,
            kind: info.member.kind,
            state: info.state,
            idle_s: 0,
            status: info.status,
        };
        present.idle_since(now_us, info.active_mono_us)
    }

    /// Sets the idle time of a person: the time since the last key.
    pub(in crate::tui) fn idle_since(mut self, now_us: u64, active_us: u64) -> Self {
        self.idle_s = now_us.saturating_sub(active_us) / 1_000_000;
        let idle = self.idle_s * 1_000 >= IDLE_AFTER_MS && self.kind == Kind::Person;
        if idle && self.state == State::Online {
            self.state = State::Idle;
        }
        self
    }
}

/// Folds the sessions of each name: a user with three terminals is listed once, and is active if
/// any of them is.
pub(super) fn folded(sessions: impl IntoIterator<Item = Present>) -> Vec<Present> {
    let presence = |present: &Present| {
        let rank = match present.state {
            State::Online => 0,
            State::Idle => 1,
            State::Away => 2,
            State::Unresponsive => 3,
            State::Unknown | State::Unreachable => 4,
        };
        (rank, present.idle_s)
    };
    let mut all = BTreeMap::<_, Present>::new();
    for one in sessions {
        match all.entry((one.name.clone(), one.kind.word())) {
            Entry::Vacant(free) => drop(free.insert(one)),
            Entry::Occupied(mut known) => {
                let sessions = known.get().sessions + one.sessions;
                if presence(&one) < presence(known.get()) {
                    known.insert(one);
                }
                known.get_mut().sessions = sessions;
            }
        }
    }
    all.into_values().collect()
}

impl Model {
    /// Looks up the members of the current room, in the presence table or from the server.
    pub(super) fn look_after_members(&mut self, now: When) {
        self.times.members_at_us = now.mono_us + MEMBERS_EVERY_US;
        if !self.server.is_up() {
            return;
        }
        let room = self.room().filter(|room| !room.gone);
        let name = room.and_then(|room| room.room_name()).cloned();
        let is_private = room.is_some_and(|room| room.properties.private);
        self.effects.push_back(Effect::Look(name.clone().filter(|_| !is_private)));
        if let Some(room) = name.filter(|_| is_private) {
            let (request, purpose) = CommandPurpose::members(room);
            self.effects.push_back(Effect::Ask(request, PendingRequest::Lookup(purpose)));
        }
    }

    /// Handles the members of a room, session by session.
    pub(in crate::tui) fn take_members(
        &mut self,
        name: &RoomName,
        sessions: impl IntoIterator<Item = Present>,
    ) {
        let members = folded(sessions);
        self.known.add_names(members.iter().map(|present| present.name.clone()));
        // Another session may have changed it.
        if let Some(me) =
            members.iter().find(|p| p.name == self.user.name && p.kind == Kind::Person)
        {
            self.user.is_away = me.state == State::Away;
        }
        let Some(at) = self.index_of(&StreamName::Room(name.clone())) else { return };
        if self.rooms[at].members != members {
            self.rooms[at].members = members;
            self.changed |= at == self.current;
        }
    }

    pub(super) fn list_members(
        &mut self,
        now: When,
        name: &RoomName,
        members: impl IntoIterator<Item = Present>,
    ) {
        let line = |present: &Present| {
            let mut line =
                format!("{} ({}, {})", present.name, present.kind.word(), present.state.word());
            if present.sessions > 1 {
                line.push_str(&format!(" ×{}", present.sessions));
            }
            if !present.status.is_empty() {
                line.push_str(&format!(": {}", present.status));
            }
            line
        };
        let lines: Vec<_> = folded(members).iter().map(line).collect();
        self.note(now, NoteKind::Info, format!("in {name}:\n{}", lines.join("\n")));
    }
}
