//! Conversations by their users, and ids promised for conversations that may not exist yet.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::{
    chat::{member::SessionId, stream_id::StreamId},
    limits::CONVERSATIONS_PER_USER_MAX,
};

/// Id of a conversation that may not exist.
#[derive(Debug)]
struct Promise {
    tag: StreamId,
    /// Number of the promise: the oldest of a user is broken first.
    number: u64,
}

/// The conversations that exist, and those that were opened.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    /// By each of both users, with the other one.
    streams: BTreeMap<(u32, u32), StreamId>,
    /// Number of conversations that each user has begun.
    begun: FxHashMap<u32, usize>,
    /// By the user who opened them, with the other one.
    promises: BTreeMap<(u32, u32), Promise>,
    promised: FxHashMap<StreamId, (u32, u32)>,
    promises_made: u64,
    /// Sessions that follow all conversations of their users, which are more than a session may
    /// follow at a time.
    crowded: BTreeSet<(u32, SessionId)>,
}

impl Conversations {
    pub(super) fn get(&self, own: u32, other: u32) -> Option<StreamId> {
        self.streams.get(&(own, other)).copied()
    }

    /// Conversations of a user.
    pub(super) fn of(&self, uid: u32) -> impl Iterator<Item = StreamId> {
        self.streams.range((uid, 0)..=(uid, u32::MAX)).map(|(_, tag)| *tag)
    }

    /// Notes that a session does not follow all that it wants.
    pub(super) fn note_crowded(&mut self, uid: u32, session: SessionId) {
        self.crowded.insert((uid, session));
    }

    pub(super) fn session_ended(&mut self, uid: u32, session: SessionId) {
        self.crowded.remove(&(uid, session));
    }

    /// Adds a conversation. `begun_by`: none if that is not known.
    pub(super) fn insert(&mut self, (a, b): (u32, u32), begun_by: Option<u32>, tag: StreamId) {
        self.streams.insert((a, b), tag);
        self.streams.insert((b, a), tag);
        if let Some(uid) = begun_by {
            *self.begun.entry(uid).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, (a, b): (u32, u32), begun_by: Option<u32>) {
        self.streams.remove(&(a, b));
        self.streams.remove(&(b, a));
        if let Some(uid) = begun_by
            && let Some(begun) = self.begun.get_mut(&uid)
        {
            *begun -= 1;
            if *begun == 0 {
                self.begun.remove(&uid);
            }
        }
    }

    /// Keeps a promise for a conversation that a user opens; of many the oldest of that user is
    /// forgotten.
    pub(super) fn promise(&mut self, own: u32, other: u32, tag: StreamId) {
        let of_user = || self.promises.range((own, 0)..=(own, u32::MAX));
        if of_user().count() >= CONVERSATIONS_PER_USER_MAX
            && let Some((pair, tag)) =
                of_user().min_by_key(|(_, p)| p.number).map(|(pair, p)| (*pair, p.tag))
        {
            self.promises.remove(&pair);
            self.promised.remove(&tag);
        }
        self.promises_made += 1;
        self.promises.insert((own, other), Promise { tag, number: self.promises_made });
        self.promised.insert(tag, (own, other));
    }

    /// The users of a promised id: who opened it, and the other one.
    pub(super) fn promised(&self, tag: StreamId) -> Option<(u32, u32)> {
        self.promised.get(&tag).copied()
    }

    /// The id that was promised for a conversation.
    pub(super) fn promise_of(&self, own: u32, other: u32) -> Option<StreamId> {
        self.promises.get(&(own, other)).map(|promise| promise.tag)
    }

    /// Number of conversations that a user has begun.
    pub(super) fn begun(&self, uid: u32) -> usize {
        self.begun.get(&uid).copied().unwrap_or(0)
    }

    /// Sessions of a user that do not follow all conversations that they want.
    pub(super) fn crowded(&self, uid: u32) -> impl Iterator<Item = SessionId> {
        let all = (uid, SessionId(0))..=(uid, SessionId(u64::MAX));
        self.crowded.range(all).map(|(_, id)| *id)
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> ConversationCounts {
        ConversationCounts {
            promises: self.promises.len(),
            promised: self.promised.len(),
            users_who_began: self.begun.len(),
            crowded: self.crowded.len(),
        }
    }

    #[cfg(test)]
    pub(super) fn set_begun(&mut self, uid: u32, count: usize) {
        self.begun.insert(uid, count);
    }
}

#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConversationCounts {
    pub(super) promises: usize,
    pub(super) promised: usize,
    pub(super) users_who_began: usize,
    pub(super) crowded: usize,
}
