//! All sessions: by number and by user, their away texts, and which of their rows changed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Index,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    accounts::AccountId,
    instances::InstanceKey,
    watchlist::{Look, Watchlist},
};
use crate::{
    chat::{
        clock::Now,
        member::{Kind, Member, Peer, SessionId, State},
        names::Label,
        refusal::{Refusal, RefusalCode, refuse},
        stream_id::StreamId,
        text::{Text, counted},
    },
    limits::{AWAY_PER_USER_MAX, LATE_ROWS_PER_TURN, PING_AFTER_MS, UNRESPONSIVE_AFTER_MS},
};

/// Conversations of its user that a session follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Directs {
    None,
    All,
    With(Vec<u32>),
}

impl Directs {
    /// Returns true if direct messages of a user are taken.
    pub(super) fn take_from(&self, uid: u32) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::With(users) => users.contains(&uid),
        }
    }
}

/// Why a sender waits. Only that lets it go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// A stream has too much in flight.
    Stream(StreamId),
    /// Its account has too much in flight.
    Account,
    /// Its user says too much a second.
    Rate,
    /// A request of it waits for the commit of a room.
    Commit,
}

/// Silence of a session that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    Short,
    /// A ping is due.
    IsLong,
    /// It did not answer a ping.
    AfterPing,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) member: Arc<Member>,
    pub(super) peer: Peer,
    pub(super) account: AccountId,
    pub(super) instance: InstanceKey,
    /// Streams it listens to, with the key of its cursor there.
    pub(super) subs: Vec<(StreamId, usize)>,
    pub(super) directs: Directs,
    /// Stream with which the next pull begins, so that none starves the others.
    pub(super) pull_from: usize,
    pub(super) woken: bool,
    /// Why nothing is read from it at present.
    pub(super) waits: Option<Wait>,
    /// Older messages are being read from the store for it.
    pub(super) fetching: bool,
    /// It came back: what is retained was shown to it before.
    pub(super) comes_back: bool,
    /// Retained announcements that it was given.
    pub(super) retained_given: BTreeSet<u64>,
    /// Text that is sent for it if it ends without a goodbye.
    pub(super) will: Option<Text>,
    /// Time of the last notice that its user sends too much, microseconds.
    pub(super) slowed_told_us: u64,
    pub(super) since_wall_us: i64,
    pub(super) active_us: u64,
    pub(super) heard_us: u64,
    pub(super) pinged_us: Option<u64>,
    pub(super) unresponsive: bool,
    row_dirty: bool,
    row_late: bool,
    /// A kick is still to end it.
    pub(super) is_kicked: bool,
    look: Look,
}

impl Session {
    /// A session that follows nothing yet. Times are microseconds.
    pub(super) fn new(
        now: Now,
        member: Arc<Member>,
        peer: Peer,
        account: AccountId,
        instance: InstanceKey,
    ) -> Self {
        Self {
            member,
            peer,
            account,
            instance,
            subs: Vec::new(),
            directs: Directs::None,
            pull_from: 0,
            woken: false,
            waits: None,
            fetching: false,
            comes_back: false,
            retained_given: BTreeSet::new(),
            will: None,
            slowed_told_us: 0,
            since_wall_us: now.wall_us,
            active_us: now.mono_us,
            heard_us: now.mono_us,
            pinged_us: None,
            unresponsive: false,
            row_dirty: false,
            row_late: false,
            is_kicked: false,
            look: Look::default(),
        }
    }

    pub(super) fn listens(&self) -> bool {
        !self.subs.is_empty()
    }

    /// Returns the time from which its silence has to be judged, microseconds. A visitor is about to
    /// leave; it may wait for its own input and owes nothing.
    fn next_look_us(&self) -> Option<u64> {
        if !self.listens() || self.unresponsive {
            return None;
        }
        Some(match self.pinged_us {
            None => self.heard_us + PING_AFTER_MS * 1000,
            Some(at_us) => at_us + UNRESPONSIVE_AFTER_MS * 1000,
        })
    }

    /// Judges its silence, and records a ping that has to be sent.
    pub(super) fn judge_silence(&mut self, now_us: u64) -> Silence {
        // What the server does not read says nothing.
        if self.waits.is_some() {
            (self.pinged_us, self.heard_us) = (None, now_us);
        }
        match self.pinged_us {
            _ if self.next_look_us().is_none_or(|at_us| now_us < at_us) => Silence::Short,
            Some(_) => Silence::AfterPing,
            None => {
                self.pinged_us = Some(now_us);
                Silence::IsLong
            }
        }
    }

    pub(super) fn sub_key(&self, tag: StreamId) -> Option<usize> {
        self.subs.iter().find(|(t, _)| *t == tag).map(|(_, key)| *key)
    }
}

/// All sessions. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Boxed: a table of many has empty places, which cost little then.
    by_id: FxHashMap<SessionId, Box<Session>>,
    by_user: BTreeSet<(u32, SessionId)>,
    watched: Watchlist<SessionId>,
    /// Away texts of users, and of their labels.
    away: BTreeMap<(u32, Option<Label>), Box<str>>,
    /// Sessions whose rows changed.
    changed_rows: Vec<SessionId>,
    /// Rows that are written over several turns: a user may have many sessions.
    late_rows: VecDeque<SessionId>,
    /// Rows that change now are late ones.
    is_late: bool,
}

impl Sessions {
    pub(super) fn insert(&mut self, mut session: Session) {
        let id = session.member.session;
        self.watched.touch(id, &mut session.look);
        self.by_user.insert((session.peer.uid, id));
        self.by_id.insert(id, Box::new(session));
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Box<Session>> {
        let session = self.by_id.remove(&id)?;
        self.by_user.remove(&(session.peer.uid, id));
        self.watched.forget(id, &session.look);
        Some(session)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn contains(&self, id: SessionId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&Session> {
        self.by_id.get(id).map(AsRef::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: &SessionId) -> Option<&mut Session> {
        let session = self.by_id.get_mut(id)?;
        self.watched.touch(*id, &mut session.look);
        Some(session)
    }

    /// Returns the sessions that a tick looks at; each is to be settled afterwards.
    pub(super) fn watched(&self, now_us: u64) -> Vec<SessionId> {
        self.watched.to_look_at(now_us)
    }

    /// Ends the look at a session.
    pub(super) fn settle(&mut self, id: SessionId) {
        let Some(session) = self.by_id.get_mut(&id) else { return };
        let due_us = session.next_look_us();
        self.watched.settle(id, &mut session.look, due_us);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values().map(AsRef::as_ref)
    }

    /// Sessions of a user.
    pub(super) fn of_user(&self, uid: u32) -> impl Iterator<Item = &Session> {
        let ids = self.by_user.range((uid, SessionId(0))..=(uid, SessionId(u64::MAX)));
        ids.filter_map(|(_, id)| self.get(id))
    }

    /// Returns true if a user has a session.
    pub(super) fn has_user(&self, uid: u32) -> bool {
        self.of_user(uid).next().is_some()
    }

    // ---- away --------------------------------------------------------------------------------

    /// Sets or removes an away text; returns true if that changes it.
    pub(super) fn set_away_text(
        &mut self,
        name: (u32, Option<Label>),
        text: Option<&str>,
    ) -> Result<bool, Refusal> {
        if self.away.get(&name).map(AsRef::as_ref) == text {
            return Ok(false);
        }
        let of_user = of_user(&self.away, (name.0, None), |key| key.0).count();
        match text {
            None => drop(self.away.remove(&name)),
            Some(_) if of_user >= AWAY_PER_USER_MAX && !self.away.contains_key(&name) => {
                let count = counted(of_user as u64, "away text");
                let text = format!("this user has {count}, which is the limit");
                return refuse(RefusalCode::Failed, text);
            }
            Some(text) => drop(self.away.insert(name, text.into())),
        }
        Ok(true)
    }

    /// Away text of a person's session.
    pub(super) fn away_text(&self, session: &Session) -> Option<&str> {
        if session.member.kind != Kind::Person {
            return None;
        }
        let uid = session.peer.uid;
        let labelled = session.member.label.clone();
        let own = labelled.and_then(|label| self.away.get(&(uid, Some(label))));
        own.or_else(|| self.away.get(&(uid, None))).map(AsRef::as_ref)
    }

    /// State of a session in a word, for receipts and rows.
    pub(super) fn state_of(&self, session: &Session) -> State {
        if session.unresponsive {
            State::Unresponsive
        } else if self.away_text(session).is_some() {
            State::Away
        } else {
            State::Online
        }
    }

    // ---- rows --------------------------------------------------------------------------------

    /// Rows that are still to be written.
    pub(super) fn unwritten_rows(&self) -> usize {
        self.changed_rows.len() + self.late_rows.len()
    }

    /// Returns true if rows are to be written now.
    pub(super) fn has_changed_rows(&self) -> bool {
        !self.changed_rows.is_empty()
    }

    /// Returns true if rows are left for later turns.
    pub(super) fn has_late_rows(&self) -> bool {
        !self.late_rows.is_empty()
    }

    /// Writes rows that change from now on over several turns, if `sessions` sessions change: a row
    /// has all rooms of a session.
    pub(super) fn set_late(&mut self, sessions: usize) {
        self.is_late = sessions > LATE_ROWS_PER_TURN;
    }

    pub(super) fn write_rows_at_once(&mut self) {
        self.is_late = false;
    }

    pub(super) fn mark_row(&mut self, id: SessionId) {
        if self.is_late {
            return self.mark_row_late(id);
        }
        if let Some(session) = self.get_mut(&id)
            && !std::mem::replace(&mut session.row_dirty, true)
        {
            self.changed_rows.push(id);
        }
    }

    pub(super) fn mark_row_late(&mut self, id: SessionId) {
        if let Some(session) = self.get_mut(&id)
            && !std::mem::replace(&mut session.row_late, true)
        {
            self.late_rows.push_back(id);
        }
    }

    /// Marks some of the rows that were left for later turns.
    pub(super) fn mark_late_rows(&mut self) {
        for _ in 0..LATE_ROWS_PER_TURN {
            let Some(id) = self.late_rows.pop_front() else { return };
            if let Some(session) = self.get_mut(&id) {
                session.row_late = false;
                self.mark_row(id);
            }
        }
    }

    /// Sessions whose rows are to be written, each once.
    pub(super) fn take_changed_rows(&mut self) -> Vec<SessionId> {
        let mut ids = std::mem::take(&mut self.changed_rows);
        ids.retain(|id| self.get_mut(id).map(|session| session.row_dirty = false).is_some());
        ids
    }
}

/// For sessions that were looked up in the same call.
impl Index<&SessionId> for Sessions {
    type Output = Session;

    fn index(&self, id: &SessionId) -> &Session {
        &self.by_id[id]
    }
}

/// Entries of one user in a map that is ordered by users.
pub(super) fn of_user<'a, K: Ord, V>(
    map: &'a BTreeMap<K, V>,
    first: K,
    uid_of: impl Fn(&K) -> u32 + 'a,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let uid = uid_of(&first);
    map.range(first..).take_while(move |(key, _)| uid_of(key) == uid)
}
