//! Linked hosts: positions of exports and imports, senders of other hosts, and the links that wait
//! for commits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use crate::{
    chat::{
        linked::{ImportInfo, LinkPosition, LinkedKey},
        member::{Kind, Member, SessionId},
        names::{HostName, Label, RoomName, UserName},
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{LINKED_SENDERS_MAX, LINKED_STREAMS_MAX},
};

/// First session number of a sender of another host: no session of this one gets so far.
const SENDER_SESSION_MIN: u64 = 1 << 40;

/// Positions of one stream of one host.
#[derive(Debug, Clone, Copy, Default)]
struct ImportState {
    /// Position up to which messages have their numbers here, or are not wanted.
    numbered: LinkPosition,
    /// The same, stored.
    stored: LinkPosition,
    /// Messages that have their numbers and are not stored.
    in_flight: u32,
}

/// A link that waits until the messages that it brought are stored.
#[derive(Debug)]
pub(super) struct LinkWaiter {
    pub(super) session: SessionId,
    pub(super) serial: u32,
    /// Number here of the last message that it waits for.
    pub(super) seq: u64,
    /// Position in its reply.
    pub(super) at: LinkPosition,
    /// Number of messages that were refused.
    pub(super) refused: u32,
}

/// Handle of a sender of another host.
type RemoteSender = (UserName, Option<Label>, Kind);

/// All links of this host. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct LinkTable {
    /// Links by their sessions, each with the name of this host.
    links: FxHashMap<SessionId, HostName>,
    imports: BTreeMap<(HostName, LinkedKey), ImportState>,
    /// By the name of this host at that time, and stream.
    exports: HashMap<(HostName, LinkedKey), LinkPosition>,
    /// Number of the history that they belong to.
    pub(super) epoch: u32,
    senders: HashMap<RemoteSender, Arc<Member>>,
    senders_made: u64,
    waiting: Vec<(StreamId, LinkWaiter)>,
}

impl LinkTable {
    /// Continues at the positions of the last boot.
    pub(super) fn restore(&mut self, imports: Vec<ImportInfo>, epoch: u32) {
        self.epoch = epoch;
        for ImportInfo { host, stream, at } in imports {
            self.imports
                .insert((host, stream), ImportState { numbered: at, stored: at, in_flight: 0 });
        }
    }

    // ---- links -------------------------------------------------------------------------------

    pub(super) fn begin(&mut self, id: SessionId, host: HostName) {
        self.links.insert(id, host);
    }

    /// Returns the name of this host, if a session is its link.
    pub(super) fn own_host(&self, id: SessionId) -> Option<&HostName> {
        self.links.get(&id)
    }

    /// Returns true if a session links this host with others.
    pub(super) fn is_link(&self, id: SessionId) -> bool {
        self.links.contains_key(&id)
    }

    /// Returns true if a stream is exported under some name of this host.
    pub(super) fn exports(&self, key: &str) -> bool {
        self.exports.keys().any(|(_, of)| **of == *key)
    }

    /// Returns the rooms that are exported.
    pub(super) fn exported_rooms(&self) -> Vec<RoomName> {
        let keys = self.exports.keys().map(|(_, key)| key);
        keys.filter_map(|key| RoomName::existing(key).ok()).collect()
    }

    /// Returns the sessions that link this host with others.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.links.keys().copied()
    }

    /// Forgets an ended session.
    pub(super) fn session_ended(&mut self, id: SessionId) {
        self.links.remove(&id);
        self.waiting.retain(|(_, waiter)| waiter.session != id);
    }

    /// Returns true if a host is this one, under this name or an earlier one.
    pub(super) fn is_own(&self, host: &HostName) -> bool {
        self.links.values().any(|own| own == host)
            || self.exports.keys().any(|(own, _)| own == host)
    }

    // ---- exports -----------------------------------------------------------------------------

    pub(super) fn export(&self, host: &HostName, key: &str) -> Option<LinkPosition> {
        self.exports.get(&(host.clone(), key.into())).copied()
    }

    pub(super) fn set_export(&mut self, host: HostName, key: &str, after: LinkPosition) {
        self.exports.insert((host, key.into()), after);
    }

    // ---- imports -----------------------------------------------------------------------------

    /// Returns the newest message of a stream of a host that has a number here.
    pub(super) fn numbered(&self, host: &HostName, key: &str) -> Option<LinkPosition> {
        self.imports.get(&(host.clone(), key.into())).map(|imported| imported.numbered)
    }

    /// Returns true if one more stream of a host may be imported.
    pub(super) fn has_room_for(&self, host: &HostName, key: &str) -> bool {
        if self.imports.contains_key(&(host.clone(), key.into())) {
            return true;
        }
        let of_host = (host.clone(), LinkedKey::default())..;
        let own = self.imports.range(of_host).take_while(|((of, _), _)| of == host).count();
        let free = LINKED_STREAMS_MAX.saturating_sub(self.imports.len());
        // A host may have half of what the others leave.
        own < (free + own) / 2
    }

    pub(super) fn set_numbered(&mut self, host: &HostName, key: &str, at: LinkPosition) {
        self.imports.entry((host.clone(), key.into())).or_default().numbered = at;
    }

    /// Counts a message of a host that got its number.
    pub(super) fn count_numbered(&mut self, host: &HostName, key: &str) {
        self.imports.entry((host.clone(), key.into())).or_default().in_flight += 1;
    }

    /// Records that a message of a host is stored.
    pub(super) fn set_stored(&mut self, host: &HostName, key: &str, at: LinkPosition) {
        let imported = self.imports.entry((host.clone(), key.into())).or_default();
        imported.in_flight = imported.in_flight.saturating_sub(1);
        imported.stored = imported.stored.max(at);
    }

    /// Returns the position up to which nothing more is to be stored, if that is not recorded: the
    /// messages after the last stored one were not wanted.
    pub(super) fn take_unrecorded(&mut self, host: &HostName, key: &str) -> Option<LinkPosition> {
        let imported = self.imports.get_mut(&(host.clone(), key.into()))?;
        if imported.in_flight > 0 || imported.stored >= imported.numbered {
            return None;
        }
        imported.stored = imported.numbered;
        Some(imported.stored)
    }

    /// Returns to the stored position of a host: messages after it can come again.
    pub(super) fn take_back(&mut self, host: &HostName, key: &str) {
        if planted(Fault::ImportPositionSurvivesFailure) {
            return;
        }
        let source = (host.clone(), key.into());
        if let Some(imported) = self.imports.get_mut(&source) {
            imported.in_flight = 0;
            imported.numbered = imported.stored;
            if imported.stored == LinkPosition::default() {
                // Nothing of it was ever stored.
                self.imports.remove(&source);
            }
        }
    }

    /// Returns the newest imported messages of all streams, after some of them.
    pub(super) fn imports(&self, skip: usize) -> impl Iterator<Item = ImportInfo> {
        self.imports.iter().skip(skip).map(|((host, stream), imported)| ImportInfo {
            host: host.clone(),
            stream: stream.clone(),
            at: imported.stored,
        })
    }

    // ---- waiting -----------------------------------------------------------------------------

    pub(super) fn wait(&mut self, tag: StreamId, waiter: LinkWaiter) {
        self.waiting.push((tag, waiter));
    }

    /// Takes the links whose messages in a stream are stored up to a number.
    pub(super) fn take_waiting(&mut self, tag: StreamId, upto: u64) -> Vec<LinkWaiter> {
        let is_done = |(of, waiter): &mut (StreamId, LinkWaiter)| *of == tag && waiter.seq <= upto;
        self.waiting.extract_if(.., is_done).map(|(_, waiter)| waiter).collect()
    }

    // ---- senders -----------------------------------------------------------------------------

    /// Returns the member for whom messages of a user of another host are numbered.
    pub(super) fn sender(
        &mut self,
        uid: u32,
        user: UserName,
        label: Option<Label>,
        kind: Kind,
    ) -> Arc<Member> {
        if self.senders.len() >= LINKED_SENDERS_MAX {
            self.senders.clear();
        }
        let made = &mut self.senders_made;
        let sender = self.senders.entry((user, label, kind));
        let (user, label, kind) = sender.key().clone();
        let sender = sender.or_insert_with(|| {
            *made += 1;
            let session = SessionId(SENDER_SESSION_MIN + *made);
            Arc::new(Member { session, uid, pid: 0, kind, user, label })
        });
        Arc::clone(sender)
    }
}
