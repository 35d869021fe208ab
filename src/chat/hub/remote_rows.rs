//! Sessions of linked hosts in the presence table. They belong to the link that brought them.

use std::collections::{BTreeMap, HashMap};

use super::{Action, Hub};
use crate::{
    chat::{
        clock::Now,
        linked::{RemoteMember, Roster, uid_of_host},
        member::{SessionId, State},
        names::{HostName, UserName},
        presence_row::Row,
    },
    limits::{LINK_HOSTS_MAX, LINKED_ROWS_MAX, LINKED_ROWS_PER_HOST_MAX, STATUS_BYTES_MAX},
};

/// First number of a session of another host: none of this one gets so far.
const ROW_SESSION_MIN: u64 = 1 << 41;

/// Sessions of one host.
#[derive(Debug, Default)]
struct HostRows {
    /// The link that brought them.
    link: SessionId,
    shown: Vec<Row>,
    /// Parts of the next roster.
    next: Vec<RemoteMember>,
}

/// Whether a host was heard of lately.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostSeen {
    pub(super) reachable: bool,
    /// Since when, microseconds since 1970; 0 if that is not known.
    pub(super) since_wall_us: i64,
}

/// Sessions of all linked hosts. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct RemoteRows {
    hosts: BTreeMap<HostName, HostRows>,
    /// Every host that was ever linked.
    seen: BTreeMap<HostName, HostSeen>,
    made: u64,
}

impl RemoteRows {
    /// Hosts that were linked, now or earlier.
    pub(super) fn hosts_seen(&self) -> impl Iterator<Item = (&HostName, HostSeen)> {
        self.seen.iter().map(|(host, seen)| (host, *seen))
    }

    /// A host was linked in an earlier boot.
    pub(super) fn restore(&mut self, host: HostName) {
        self.seen.entry(host).or_insert(HostSeen { reachable: false, since_wall_us: 0 });
    }

    /// A host is reachable from now on, or no longer.
    fn see(&mut self, now: Now, host: &HostName, reachable: bool) {
        let seen = HostSeen { reachable, since_wall_us: now.wall_us };
        let is_full = self.seen.len() >= LINK_HOSTS_MAX;
        match self.seen.get_mut(host) {
            Some(known) if known.reachable == reachable => {}
            Some(known) => *known = seen,
            None if is_full => {}
            None => {
                self.seen.insert(host.clone(), seen);
            }
        }
    }

    /// Adds a part of a roster; returns the rows that change and those that go, once it is whole.
    fn add(&mut self, now: Now, id: SessionId, roster: Roster) -> (Vec<Row>, Vec<SessionId>) {
        let Roster { host, reachable, members, is_last } = roster;
        let others: usize = self
            .hosts
            .iter()
            .filter(|(of, _)| **of != host)
            .map(|(_, rows)| rows.shown.len())
            .sum();
        let most = LINKED_ROWS_PER_HOST_MAX.min(LINKED_ROWS_MAX.saturating_sub(others));
        self.see(now, &host, reachable);
        let rows = self.hosts.entry(host.clone()).or_default();
        rows.link = id;
        let left = most.saturating_sub(rows.next.len());
        rows.next.extend(members.into_iter().take(left));
        if !is_last {
            return Default::default();
        }
        let next = std::mem::take(&mut rows.next);
        let mut before: HashMap<_, Vec<Row>> = HashMap::new();
        for row in rows.shown.drain(..).rev() {
            before.entry((row.user.clone(), row.label.clone())).or_default().push(row);
        }
        let mut changed = Vec::new();
        for member in next {
            let Ok(user) = UserName::remote(&member.user, &host) else { continue };
            let known = before.get_mut(&(user.clone(), member.label.clone())).and_then(Vec::pop);
            let session = known.as_ref().map_or_else(
                || {
                    self.made += 1;
                    SessionId(ROW_SESSION_MIN + self.made)
                },
                |row| row.session,
            );
            let row = row_of(now, session, (user, &host), member, reachable);
            if known.as_ref().is_none_or(|known| !is_same(known, &row)) {
                changed.push(row.clone());
            }
            rows.shown.push(row);
        }
        let gone = before.into_values().flatten().map(|row| row.session).collect();
        (changed, gone)
    }

    /// Takes all rows that a link brought.
    fn take_of(&mut self, now: Now, id: SessionId) -> Vec<SessionId> {
        let of: Vec<_> = self.hosts.extract_if(.., |_, rows| rows.link == id).collect();
        of.iter().for_each(|(host, _)| self.see(now, host, false));
        of.into_iter().flat_map(|(_, rows)| rows.shown).map(|row| row.session).collect()
    }
}

/// Returns true if two rows say the same of a session.
fn is_same(known: &Row, new: &Row) -> bool {
    *known == Row { active_mono_us: known.active_mono_us, ..new.clone() }
}

fn row_of(
    now: Now,
    session: SessionId,
    (user, host): (UserName, &HostName),
    member: RemoteMember,
    reachable: bool,
) -> Row {
    let RemoteMember { label, kind, state, since_wall_us, mut status, rooms, .. } = member;
    status.truncate(status.floor_char_boundary(STATUS_BYTES_MAX));
    Row {
        session,
        uid: uid_of_host(host),
        pid: 0,
        start: 0,
        kind,
        state: if reachable { state } else { State::Unreachable },
        visitor: false,
        since_wall_us,
        active_mono_us: now.mono_us,
        user,
        label,
        status: status.into(),
        rooms,
    }
}

impl Hub {
    /// Shows the sessions of another host.
    pub(super) fn show_roster(&mut self, now: Now, id: SessionId, mut roster: Roster) {
        for member in &mut roster.members {
            // Rooms that do not exist here are not shown, and a private one is shown to no one.
            member.rooms.retain(|room| {
                let tag = self.directory.room(room);
                let rules = tag.and_then(|tag| self.room_rules(tag));
                rules.is_some_and(|(_, _, rules)| !rules.private)
            });
        }
        self.looked_at(roster.members.len());
        let (changed, gone) = self.remote_rows.add(now, id, roster);
        for row in changed {
            self.out.push(Action::Row(Box::new(row)));
        }
        for session in gone {
            self.out.push(Action::RowGone(session));
        }
    }

    /// A link ended: nothing is known of its hosts any longer.
    pub(super) fn remote_rows_ended(&mut self, now: Now, id: SessionId) {
        for session in self.remote_rows.take_of(now, id) {
            self.out.push(Action::RowGone(session));
        }
    }
}
