//! Sessions of linked hosts in the presence table. They belong to the link that brought them.

use std::collections::{BTreeMap, HashMap};

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

/// Time after which a host that is not linked is no longer missed, microseconds.
const FORGOTTEN_AFTER_US: u64 = 7 * 24 * 60 * 60 * 1_000_000;

/// Sessions of one host.
#[derive(Debug, Default)]
struct HostRows {
    /// The link that brought them.
    link: SessionId,
    /// Rows in the presence table.
    shown: Vec<Row>,
    /// Parts of the next roster.
    next: Vec<RemoteMember>,
}

/// Reachability of a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostSeen {
    pub(super) reachable: bool,
    /// Announcements are carried to it.
    pub(super) announces: bool,
    /// Time of the last change, microseconds since 1970; 0 if not known.
    pub(super) since_wall_us: i64,
    /// The same, monotonic microseconds.
    since_us: u64,
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
    /// Returns the hosts that are linked, or were in the last days.
    pub(super) fn hosts_seen(&self, now: Now) -> impl Iterator<Item = (&HostName, HostSeen)> {
        let is_recent = move |seen: &HostSeen| {
            seen.reachable || now.mono_us.saturating_sub(seen.since_us) < FORGOTTEN_AFTER_US
        };
        self.seen.iter().filter(move |(_, seen)| is_recent(seen)).map(|(host, seen)| (host, *seen))
    }

    /// Records that a host is reachable from now on, or no longer. `announces`: announcements are
    /// carried to it; none: as before.
    fn see(&mut self, now: Now, host: &HostName, reachable: bool, announces: Option<bool>) {
        let is_full = self.seen.len() >= LINK_HOSTS_MAX;
        match self.seen.get_mut(host) {
            Some(known) => {
                known.announces = announces.unwrap_or(known.announces);
                if known.reachable != reachable {
                    known.reachable = reachable;
                    (known.since_wall_us, known.since_us) = (now.wall_us, now.mono_us);
                }
            }
            None if is_full => {}
            None => {
                let (since_wall_us, since_us) = (now.wall_us, now.mono_us);
                let announces = announces.unwrap_or(false);
                let seen = HostSeen { reachable, announces, since_wall_us, since_us };
                self.seen.insert(host.clone(), seen);
            }
        }
    }

    /// Adds a part of a roster; returns the rows that change and those that go, once it is whole.
    pub(super) fn add(
        &mut self,
        now: Now,
        id: SessionId,
        roster: Roster,
    ) -> (Vec<Row>, Vec<SessionId>) {
        let Roster { host, reachable, announces, members, is_last } = roster;
        let others: usize = self
            .hosts
            .iter()
            .filter(|(of, _)| **of != host)
            .map(|(_, rows)| rows.shown.len())
            .sum();
        let most = LINKED_ROWS_PER_HOST_MAX.min(LINKED_ROWS_MAX.saturating_sub(others));
        self.see(now, &host, reachable, Some(announces));
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

    /// Removes all rows that a link brought; returns their sessions.
    pub(super) fn take_of(&mut self, now: Now, id: SessionId) -> Vec<SessionId> {
        let of: Vec<_> = self.hosts.extract_if(.., |_, rows| rows.link == id).collect();
        of.iter().for_each(|(host, _)| self.see(now, host, false, None));
        of.into_iter().flat_map(|(_, rows)| rows.shown).map(|row| row.session).collect()
    }
}

/// Returns true if two rows differ in the time of activity only.
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
