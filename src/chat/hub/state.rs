//! The hub's state and its turns.

use std::collections::HashMap;

use super::{
    accounts::Accounts,
    action::Action,
    announcements::Announcements,
    audit_log::AuditLog,
    commits::Commits,
    config::HubConfig,
    directory::Directory,
    follows::FollowTable,
    instances::Instances,
    kicks::Kicks,
    links::LinkTable,
    output::HubOutput,
    remote_rows::RemoteRows,
    sessions::{Session, Sessions, Wait},
    stream::Stream,
    streams::Streams,
    subscriber::Reception,
    usage::Usage,
    work_queue::WorkQueue,
};
use crate::{
    chat::{
        clock::Now,
        event::Event,
        member::SessionId,
        names::{RoomName, UserName},
        presence_row::Counters,
        store::Record,
        stream_id::{Channel, ChannelKey, StreamId},
        users::Users,
    },
    faults::{Fault, planted},
    limits,
};

/// Both clocks of the last turn, and the last tick.
#[derive(Debug, Default)]
pub(super) struct HubTimes {
    pub(super) turn: Now,
    pub(super) tick_us: u64,
}

/// The state of all rules. See the head of this file.
#[derive(Debug)]
pub struct Hub {
    pub(super) rules: HubConfig,
    pub(super) clock: HubTimes,
    pub(super) sessions: Sessions,
    pub(super) streams: Streams,
    pub(super) directory: Directory,
    pub(super) users: Users,
    pub(super) accounts: Accounts,
    pub(super) instances: Instances,
    pub(super) follows: FollowTable,
    pub(super) commits: Commits,
    pub(super) announcements: Announcements,
    pub(super) asking: WorkQueue,
    pub(super) kicks: Kicks,
    pub(super) audit_log: AuditLog,
    pub(super) links: LinkTable,
    pub(super) remote_rows: RemoteRows,
    pub(super) out: HubOutput,
}

impl Hub {
    /// A hub without sessions or rooms.
    #[must_use]
    pub fn new(rules: HubConfig) -> Self {
        let announcements = Stream::announcements(rules.backlog_bytes_max);
        let accounts = Accounts::new(rules.in_flight_bytes_per_user_max, rules.rates);
        let asking = WorkQueue::new(&rules);
        let streams = Streams::new(announcements, rules.secret);
        Self {
            rules,
            clock: HubTimes::default(),
            sessions: Sessions::default(),
            streams,
            directory: Directory::default(),
            users: Users::default(),
            accounts,
            instances: Instances::default(),
            follows: FollowTable::default(),
            commits: Commits::default(),
            announcements: Announcements::default(),
            asking,
            kicks: Kicks::default(),
            audit_log: AuditLog::default(),
            links: LinkTable::default(),
            remote_rows: RemoteRows::default(),
            out: HubOutput::default(),
        }
    }

    /// Returns the actions to do now, in order. Empty it after each call.
    pub fn actions(&mut self) -> std::vec::Drain<'_, Action> {
        // The table shows a member before the member learns that it is one.
        self.tell_rows();
        self.out.drain()
    }

    /// Returns true if there is anything to do.
    #[must_use]
    pub fn has_actions(&self) -> bool {
        self.out.len() > 0 || self.sessions.has_changed_rows()
    }

    /// Ends a turn: stores, publishes and reports what arrived in it, as much at a time as can be.
    pub fn end_turn(&mut self, now: Now) {
        self.accounts.next_turn(now.mono_us);
        self.clock.turn = now;
        for id in self.accounts.take_freed() {
            self.let_go(id, Wait::Account);
        }
        self.kicks.begin_turn();
        self.end_kicked(now);
        self.sessions.mark_late_rows();
        if self.delete_ending() {
            self.answer_held(now);
        }
        for tag in self.directory.take_rekeyed() {
            if self.known_stream(tag).is_some_and(|stream| stream.broadcast.channel.is_some()) {
                self.out.push(Action::NewKey(tag));
            }
        }
        self.commit_next(now);
        let mut dirty = self.streams.take_dirty();
        for tag in dirty.drain(..) {
            // A room may have been deleted meanwhile.
            if self.streams.begin_publishing(tag) {
                self.publish(now, tag);
            }
        }
        self.offer_jobs(now);
        if self.announcements.has_urgent() {
            self.commit_next(now);
        }
        self.streams.reuse_dirty(dirty);
    }

    /// Looks at everything that depends on time. To be called every [`Hub::tick_after_ms`].
    pub fn tick(&mut self, now: Now) {
        self.tick_sessions(now);
        self.tick_streams(now);
        self.tick_fetches(now);
        self.tick_notices(now);
        self.tick_asking(now);
        self.tick_usage(now);
        self.say_unsaid_wills(now);
        self.clock.tick_us = now.mono_us;
        self.end_turn(now);
    }

    /// Returns the time that the shell may sleep before the next [`Hub::tick`], milliseconds.
    #[must_use]
    pub fn tick_after_ms(&self) -> u64 {
        let streams_ms = self.streams.tick_after_ms();
        match self.has_more() || self.accounts.has_slowed() {
            true => streams_ms.min(limits::TICK_BUSY_MS),
            false => streams_ms,
        }
    }

    /// Returns true if something was put off to the next turn, so that others have their part of
    /// this one.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.sessions.has_late_rows() || !self.kicks.is_empty()
    }

    /// Counters for `status` and the presence table.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            sessions: self.sessions.len() as u64,
            rooms: self.public_rooms() as u64,
            lagging: self.streams.iter().map(|s| s.lagging_count() as u64).sum(),
            deaf: self.streams.iter().map(|s| s.deaf_count() as u64).sum(),
            ..self.out.counters
        }
    }

    /// Sessions now, visitors included.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions that listen.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.sessions.iter().filter(|session| session.listens()).count()
    }

    /// The room of a name, for tests and the shell's log.
    #[must_use]
    pub fn room_tag(&self, room: &RoomName) -> Option<StreamId> {
        self.directory.room(room)
    }

    /// Returns true if a name was looked up lately; if not, the shell should do that first.
    #[must_use]
    pub fn knows_user(&self, user: &UserName) -> bool {
        // A user of a linked host is never one of this host, whatever the user database says.
        user.host().is_some() || self.users.is_answered(self.clock.turn.mono_us, user)
    }

    /// The user id that had a name when that was last looked up.
    #[must_use]
    pub fn uid_of_user(&self, user: &UserName) -> Option<u32> {
        self.users.uid(user)
    }

    /// Tells the hub the user id of a name that was looked up.
    pub fn learn_user(&mut self, user: UserName, uid: u32) {
        self.users.found(self.clock.turn.mono_us, user, Some(uid));
    }

    /// Tells the hub that no user has a name that was looked up.
    pub fn learn_no_user(&mut self, user: UserName) {
        self.users.found(self.clock.turn.mono_us, user, None);
    }

    /// Tells the hub the name of a user id that was looked up: of a session that begins, or of a
    /// conversation.
    pub fn name_user(&mut self, uid: u32, user: UserName) {
        let sessions = &self.sessions;
        self.users.called(self.clock.turn.mono_us, uid, user, |uid| sessions.has_user(uid));
    }

    /// The name of a user id, if it was looked up lately.
    #[must_use]
    pub fn fresh_user_name(&self, uid: u32) -> Option<UserName> {
        self.users.fresh_name(self.clock.turn.mono_us, uid).cloned()
    }

    /// A user id whose name was shown and is to be looked up again, for [`Hub::rename_user`].
    pub fn take_stale_user(&mut self) -> Option<u32> {
        self.users.take_stale()
    }

    /// Tells the hub how a user of [`Hub::take_stale_user`] is called now.
    pub fn rename_user(&mut self, uid: u32, user: Option<UserName>) {
        self.users.looked_up(self.clock.turn.mono_us, uid, user);
    }

    /// The name of a user id, if it is known.
    #[must_use]
    pub fn user_name(&self, uid: u32) -> Option<UserName> {
        self.users.name(self.clock.turn.mono_us, uid).cloned()
    }

    /// Returns the number of actions that wait.
    #[must_use]
    pub fn action_count(&self) -> usize {
        self.out.len()
    }

    /// Returns true if a session waits until its stream or account has room again.
    #[must_use]
    pub fn is_paused(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|s| s.waits.is_some())
    }

    /// Returns true if a request of this session has to wait, because its account has caused as
    /// many records as it may; the shell reads on after [`Action::Resume`].
    pub fn must_wait_to_ask(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if session.waits.is_none() && self.accounts.must_wait(session.account, id) {
            session.waits = Some(Wait::Account);
        }
        session.waits.is_some()
    }

    /// Returns true if a submit of this session has to wait; the shell reads on after
    /// [`Action::Resume`].
    pub fn must_wait(&mut self, now: Now, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if session.waits.is_some() {
            return true;
        }
        let account = session.account;
        if self.accounts.must_wait(account, id) {
            session.waits = Some(Wait::Account);
        } else if self.accounts.must_slow_down(now.mono_us, account, id) {
            session.waits = Some(Wait::Rate);
            let told_us = std::mem::replace(&mut session.slowed_told_us, now.mono_us);
            if told_us == 0 || now.mono_us.saturating_sub(told_us) >= limits::COMPETES_MS * 1000 {
                self.send(id, Event::Slowed);
            }
            return true;
        }
        session.waits.is_some()
    }

    /// Has a session read again, if this is what it waited for.
    pub(super) fn let_go(&mut self, id: SessionId, from: Wait) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.waits == Some(from)
        {
            session.waits = None;
            self.out.push(Action::Resume(id));
        }
    }

    /// Sessions of a user.
    pub(super) fn sessions_of(&self, uid: u32) -> impl Iterator<Item = &Session> {
        self.sessions.of_user(uid)
    }

    /// Returns true if more of what a session sends may be taken in this turn: each account has its
    /// share.
    pub fn has_credit(&mut self, id: SessionId) -> bool {
        self.credit_left(id) > 0
    }

    /// Returns the bytes that may be taken from a session in this turn. An unknown session pays
    /// nothing.
    pub fn credit_left(&mut self, id: SessionId) -> usize {
        let Some(session) = self.sessions.get(&id) else { return usize::MAX };
        self.accounts.credit_left(session.account)
    }

    /// Does what a session asked for, and charges its account with all that this caused: notices to
    /// any session, records to store, changed rows, and things looked at.
    pub(super) fn charged<T>(&mut self, id: SessionId, act: impl FnOnce(&mut Self) -> T) -> T {
        let account = self.sessions.get(&id).map(|session| session.account);
        let (before, records_before) = (self.caused_bytes(), self.commits.records().len());
        let result = act(self);
        if let Some(account) = account
            && self.rules.store
        {
            let new = self.commits.records().iter().skip(records_before);
            let weight = new.clone().map(Record::weight).sum::<usize>();
            self.looked_at(
                (weight - new.count()) * limits::RECORD_COST_BYTES / limits::LOOK_COST_BYTES,
            );
            self.accounts.add_records(account, weight);
        }
        if let Some(account) = account
            && !planted(Fault::EffectsNotCharged)
        {
            self.accounts.charge(account, self.caused_bytes() - before);
        }
        result
    }

    /// Returns the costs caused since the server began, in bytes of a turn. They only rise while a
    /// request is answered.
    pub(super) fn caused_bytes(&self) -> usize {
        self.out.caused_bytes()
            + self.sessions.unwritten_rows() * limits::ROW_COST_BYTES
            + self.commits.records().len() * limits::RECORD_COST_BYTES
    }

    /// Counts sessions that will be notified in a later turn.
    pub(super) fn count_notified(&self, sessions: usize) {
        self.looked_at(sessions * (limits::TOLD_COST_BYTES / limits::LOOK_COST_BYTES));
    }

    /// Counts things that are looked at for a request beyond a few.
    pub(super) fn looked_at(&self, things: usize) {
        self.out.looked_at(things);
    }

    /// Counts a frame against its account's share of this turn; `speaks`: it says or asks
    /// something. A user of the host who uses up that share competes with the others whatever it
    /// was used for.
    pub fn spend(&mut self, now: Now, id: SessionId, bytes: usize, speaks: bool) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (account, uid) = (session.account, session.peer.uid);
        self.accounts.charge(account, bytes);
        if speaks || (self.rules.host && self.accounts.credit_left(account) == 0) {
            self.accounts.note_active(now.mono_us, account);
            self.accounts.usage.of(uid).recent += bytes as u64;
        }
    }

    /// Returns true if a user may see what other users cause.
    #[must_use]
    pub fn may_see_usage(&self, uid: u32) -> bool {
        !self.rules.host || self.is_operator(uid)
    }

    /// Users who caused most lately, the heaviest first.
    #[must_use]
    pub fn heaviest(&self, most: usize) -> Vec<Usage> {
        let mut all = self.accounts.usage.heaviest(most);
        for session in self.sessions.iter() {
            if let Some(usage) = all.iter_mut().find(|usage| usage.uid == session.peer.uid) {
                usage.sessions += 1;
            }
        }
        all
    }

    /// Takes over the rules that may change while the server runs.
    pub fn change_rules(&mut self, new: &HubConfig) {
        self.rules.policy = new.policy.clone();
        self.rules.rooms.clone_from(&new.rooms);
        self.rules.broadcast_members_min = new.broadcast_members_min;
        self.rules.sessions_max = new.sessions_max;
        self.rules.sessions_per_user_max = new.sessions_per_user_max;
        self.rules.rooms_max = new.rooms_max;
        self.rules.rooms_per_user_max = new.rooms_per_user_max;
        self.rules.rates = new.rates;
        self.accounts.set_rates(new.rates);
        self.make_configured_rooms();
    }

    /// Users whose texts take as much of the history as they may: what they say is refused where it
    /// would be stored.
    pub fn set_over_history(&mut self, over: HashMap<u32, u64>) {
        self.accounts.usage.set_over_history(over);
    }

    /// Lets those go on who waited long enough, and forgets what was long ago.
    pub(super) fn tick_usage(&mut self, now: Now) {
        for (id, waited_us) in self.accounts.take_slowed(now.mono_us) {
            let Some(session) = self.sessions.get(&id) else { continue };
            let uid = session.peer.uid;
            self.accounts.usage.of(uid).slowed_ms += waited_us / 1000;
            self.let_go(id, Wait::Rate);
        }
        if self.accounts.usage.is_halving_due(now.mono_us) {
            self.accounts.usage.halve(|uid| self.sessions.has_user(uid));
        }
    }

    pub(super) fn stream(&self, tag: StreamId) -> &Stream {
        &self.streams[tag]
    }

    pub(super) fn stream_mut(&mut self, tag: StreamId) -> &mut Stream {
        &mut self.streams[tag]
    }

    pub(super) fn known_stream(&self, tag: StreamId) -> Option<&Stream> {
        self.streams.get(tag)
    }

    pub(super) fn mark_dirty(&mut self, tag: StreamId) {
        self.streams.mark_dirty(tag);
    }

    pub(super) fn send(&mut self, session: SessionId, event: Event) {
        self.out.send(session, event);
    }

    pub(super) fn wake(&mut self, session: SessionId) {
        if let Some(s) = self.sessions.get_mut(&session)
            && !s.woken
        {
            s.woken = true;
            self.out.push(Action::Wake(session));
        }
    }

    /// Handles a broadcast channel that was opened, or could not be, or no longer can.
    pub fn channel_opened(&mut self, tag: StreamId, channel: Option<Channel>) {
        // The room may have been deleted before the channel was open.
        let Some(stream) = self.streams.get_mut(tag) else { return };
        stream.broadcast.is_asked = channel.is_some();
        stream.broadcast.channel = channel;
        if channel.is_some() {
            self.tell_channel(tag);
            return;
        }
        let stream = self.stream_mut(tag);
        let keys: Vec<_> = stream.subs.iter().map(|(key, _)| key).collect();
        for key in keys {
            stream.subs[key].health.reception = Reception::Unavailable;
            stream.serve_by_session(key);
        }
        self.wake_pulling(tag);
    }

    /// Handles the loss of a stream's channel key: the stream goes by session until no session
    /// listens to it.
    pub fn channel_lost(&mut self, tag: StreamId) {
        self.channel_opened(tag, None);
        if let Some(stream) = self.streams.get_mut(tag) {
            stream.broadcast.is_asked = true;
        }
    }

    /// Sets a new key of a stream's channel: its members get it, by session, before anything else.
    pub fn channel_key(&mut self, tag: StreamId, key: ChannelKey) {
        let channel =
            self.streams.get_mut(tag).and_then(|stream| stream.broadcast.channel.as_mut());
        if let Some(channel) = channel {
            channel.key = key;
            self.tell_channel(tag);
        }
    }

    pub(super) fn tell_channel(&mut self, tag: StreamId) {
        let stream = self.stream(tag);
        let Some(channel) = stream.broadcast.channel else { return };
        let sessions: Vec<_> = stream.subs.iter().map(|(_, sub)| sub.session).collect();
        for session in sessions {
            self.send(session, Event::Channel { stream: tag, channel });
        }
    }
}
