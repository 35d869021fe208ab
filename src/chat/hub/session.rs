//! Sessions: who is connected, how it is called, whether it answers; rows of the presence table.

use std::sync::Arc;

use super::{
    Action, Hub,
    accounts::AccountId,
    instances::InstanceKey,
    pending::EntryDraft,
    sessions::{Directs, Session},
    stream::StreamKind,
};
use crate::{
    chat::{
        clock::Now,
        event::Event,
        frames::Hello,
        hub::sessions::Silence,
        linked::is_host_uid,
        member::{EndCause, Member, Peer, SessionId},
        names::{Label, RoomName},
        presence_row::Row,
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        stream_id::StreamId,
        text::{Text, counted},
    },
    faults::{Fault, planted},
    limits::{
        LATE_ROWS_PER_TURN, MEMBERSHIP_TOLD_MEMBERS_MAX, STATUS_BYTES_MAX,
        WILL_BYTES_PER_ACCOUNT_MAX, WILL_ROOMS_MAX,
    },
};

impl Hub {
    /// Begins a session after its handshake.
    ///
    /// # Errors
    /// Returns a refusal if the server or the account has as many as it may, or for a new label
    /// with invisible characters.
    pub fn open(
        &mut self,
        now: Now,
        id: SessionId,
        peer: Peer,
        hello: Hello,
    ) -> Result<(), Refusal> {
        if let Some(label) = &hello.label
            && let Err(e) = label.check_new()
            && !self.follows.contains(&(peer.uid, hello.label.clone()))
        {
            return Err(Refusal::new(RefusalCode::Input, e.to_string()));
        }
        if is_host_uid(peer.uid) {
            let text = format!("user id {} is reserved for linked hosts", peer.uid);
            return Err(Refusal::new(RefusalCode::Denied, text));
        }
        let account = AccountId::of(&peer, self.rules.host, id);
        let of_account = self.accounts.sessions_of(account);
        if self.sessions.len() >= self.rules.sessions_max {
            let max = self.rules.sessions_max;
            let text =
                format!("the server is full ({}); try again later", counted(max as u64, "session"));
            return Err(Refusal::new(RefusalCode::Failed, text));
        }
        // On a system server one user's share shrinks as others have theirs, and leaves room for
        // one more.
        let mut most = self.rules.sessions_per_user_max;
        if self.rules.host {
            let free = self.rules.sessions_max - self.sessions.len();
            let others = self.accounts.others(account);
            most = most.min(super::accounts::share(free, of_account, others + 1).max(1));
        }
        if of_account >= most {
            let text = format!(
                "{} has {}, which is the limit; end one",
                peer.user,
                counted(of_account as u64, "session")
            );
            return Err(Refusal::new(RefusalCode::Failed, text));
        }
        self.accounts.of(account).sessions += 1;
        let sessions = &self.sessions;
        self.users.came(now.mono_us, peer.uid, &peer.user, |uid| sessions.has_user(uid));
        let instance = InstanceKey::of(peer.uid, hello.instance, id);
        self.instances.attach(now.wall_us, instance, id, hello.earlier, self.rules.persistent);
        let member = Arc::new(Member {
            session: id,
            uid: peer.uid,
            pid: peer.pid,
            kind: hello.kind,
            user: peer.user.clone(),
            label: hello.label,
        });
        let session = Session::new(now, member, peer, account, instance);
        self.sessions.insert(session);
        self.sessions.mark_row(id);
        Ok(())
    }

    /// Ends a session. Those who share a room with it get the reason, and its last will if it did
    /// not leave of its own accord.
    pub fn close(&mut self, now: Now, id: SessionId, cause: EndCause) {
        self.charged(id, |hub| hub.close_now(now, id, cause));
    }

    fn close_now(&mut self, now: Now, id: SessionId, cause: EndCause) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let account = session.account;
        let will = self.forget_will(id);
        let Some(session) = self.sessions.get(&id) else { return };
        let mut rooms = 0;
        let most = if planted(Fault::WillInFirstRoomOnly) { 1 } else { WILL_ROOMS_MAX };
        for (tag, _) in session.subs.clone() {
            self.part(id, tag, cause);
            match cause {
                EndCause::Quit if !planted(Fault::WillAfterQuit) => {}
                EndCause::Quit | EndCause::Killed | EndCause::Closed | EndCause::Unresponsive => {
                    if rooms < most && self.say_will(now, id, tag, will.as_ref(), cause) {
                        rooms += 1;
                    }
                }
                EndCause::Kicked | EndCause::Server => {}
            }
        }
        let Some(session) = self.sessions.remove(id) else { return };
        self.directory.conversations.session_ended(session.peer.uid, id);
        let good_bye = cause == EndCause::Quit;
        self.instances.detach(now.wall_us, session.instance, id, good_bye);
        self.accounts.end_session(account);
        self.receipts_session_ended(id);
        self.links.session_ended(id);
        self.remote_rows_ended(now, id);
        self.accounts.forget_slowed(id);
        self.out.push(Action::RowGone(id));
    }

    /// Sets what is said for a session if it ends without a goodbye.
    pub(super) fn set_will(&mut self, id: SessionId, text: Option<Text>) -> Result<Reply, Refusal> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(Reply::Done) };
        let Some(text) = text else {
            self.forget_will(id);
            return Ok(Reply::Done);
        };
        let before = session.will.as_ref().map_or(0, |will| will.as_str().len());
        let account = self.accounts.of(session.account);
        if account.will_bytes - before + text.as_str().len() > WILL_BYTES_PER_ACCOUNT_MAX {
            let refusal = format!(
                "the last wills of this user's sessions are full: {} bytes in all, limit \
                 {WILL_BYTES_PER_ACCOUNT_MAX}",
                account.will_bytes
            );
            return Err(Refusal::new(RefusalCode::Failed, refusal));
        }
        account.will_bytes += text.as_str().len();
        account.will_bytes -= before;
        session.will = Some(text);
        Ok(Reply::Done)
    }

    fn forget_will(&mut self, id: SessionId) -> Option<Text> {
        let session = self.sessions.get_mut(&id)?;
        let will = session.will.take()?;
        self.accounts.of(session.account).will_bytes -= will.as_str().len();
        Some(will)
    }

    /// Says the last will of a session in a room it was in, as that member; whether it may.
    fn say_will(
        &mut self,
        now: Now,
        id: SessionId,
        tag: StreamId,
        will: Option<&Text>,
        cause: EndCause,
    ) -> bool {
        let (Some(will), Some(session)) = (will, self.sessions.get(&id)) else { return false };
        // A conversation may be freed by now.
        if self.room_name(tag).is_none()
            || self.may_speak(session.peer.uid, tag).is_err()
            || self.is_ending(tag)
            || self.may_store(session.peer.uid, tag).is_err()
        {
            return false;
        }
        let account = session.account;
        let from = Arc::clone(&session.member);
        // It can't wait, and needs no bound beside that of wills: others of its user may have used
        // up theirs.
        let draft = EntryDraft { will: Some(cause), ..EntryDraft::new(from, will.as_str().into()) };
        self.number(now, tag, account, draft);
        true
    }

    /// Rooms that a session is in.
    pub(super) fn rooms_of(&self, id: SessionId) -> Vec<RoomName> {
        let subs = self.sessions.get(&id).into_iter().flat_map(|s| &s.subs);
        subs.filter_map(|(tag, _)| self.room_name(*tag)).collect()
    }

    /// Returns true if a session is in all of these rooms.
    #[must_use]
    pub fn is_in_all(&self, id: SessionId, rooms: &[RoomName]) -> bool {
        let of = self.rooms_of(id);
        rooms.iter().all(|room| of.contains(room))
    }

    pub(super) fn room_name(&self, tag: StreamId) -> Option<RoomName> {
        match &self.known_stream(tag)?.topic {
            StreamKind::Room { name, .. } => Some(name.clone()),
            StreamKind::Announcements | StreamKind::Conversation { .. } => None,
        }
    }

    /// Takes a member out of a stream and tells the others.
    pub(super) fn part(&mut self, id: SessionId, tag: StreamId, cause: EndCause) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(at) = session.subs.iter().position(|(t, _)| *t == tag) else { return };
        let (_, key) = session.subs.remove(at);
        let member = Arc::clone(&session.member);
        self.sessions.mark_row(id);
        self.asking_parted(id, tag, cause);
        let stream = self.stream_mut(tag);
        stream.remove(key);
        self.mark_dirty(tag);
        if let Some(room) = self.room_name(tag) {
            self.receipts_left_room(id, &room);
        }
        self.tell_membership(
            tag,
            id,
            Event::Left { stream: tag, member: (*member).clone(), cause },
        );
        self.settle_channel(tag);
        self.forget_direct(id, tag);
        self.free_conversation(tag);
    }

    /// A session that followed one conversation only does not follow it when it begins again.
    fn forget_direct(&mut self, id: SessionId, tag: StreamId) {
        let StreamKind::Conversation { low, high, .. } = self.stream(tag).topic else { return };
        if let Some(session) = self.sessions.get_mut(&id)
            && let Directs::With(users) = &mut session.directs
        {
            let other = if session.peer.uid == low { high } else { low };
            users.retain(|user| *user != other);
        }
    }

    /// Tells a change of a room's membership to those members that want to know.
    pub(super) fn tell_membership(&mut self, tag: StreamId, except: SessionId, event: Event) {
        let stream = self.stream(tag);
        if !matches!(stream.topic, StreamKind::Room { .. }) {
            return;
        }
        let watchers = stream.watchers();
        if watchers > MEMBERSHIP_TOLD_MEMBERS_MAX {
            return;
        }
        let own = self.sessions.get(&except).and_then(|session| session.sub_key(tag));
        self.stream_mut(tag).keep_membership(event, own);
        self.mark_dirty(tag);
        // The member who comes and goes pays for all who are notified.
        self.count_notified(watchers);
    }

    /// Any sign of life.
    pub fn heard(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.liveness.heard_us = now.mono_us;
        session.liveness.pinged_us = None;
        if session.liveness.unresponsive {
            self.set_unresponsive(id, false);
        }
    }

    fn set_unresponsive(&mut self, id: SessionId, unresponsive: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.liveness.unresponsive = unresponsive;
        self.sessions.mark_row(id);
        self.set_worker_responsive(id, !unresponsive);
    }

    /// Records a deliberate act of the person at this session: a message, a key.
    pub(super) fn active(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // The table shows whole seconds.
        if now.mono_us.saturating_sub(session.active_us) >= 1_000_000 {
            session.active_us = now.mono_us;
            self.sessions.mark_row(id);
        }
    }

    pub(super) fn tick_sessions(&mut self, now: Now) {
        for id in self.sessions.watched(now.mono_us) {
            if let Some(session) = self.sessions.get_mut(&id) {
                match session.judge_silence(now.mono_us) {
                    Silence::Short => {}
                    Silence::IsLong => self.send(id, Event::Ping),
                    Silence::AfterPing => self.set_unresponsive(id, true),
                }
            }
            self.sessions.settle(now.mono_us, id);
        }
    }

    /// Marks the person of a user as away, or back, in sessions present and later.
    pub(super) fn set_away(
        &mut self,
        uid: u32,
        label: Option<Label>,
        text: Option<&str>,
    ) -> Result<(), Refusal> {
        let name = (uid, label);
        if let Some(bytes) = text.map(str::len).filter(|bytes| *bytes > STATUS_BYTES_MAX) {
            let text = format!("the status has {bytes} bytes (limit {STATUS_BYTES_MAX})");
            return Err(Refusal::new(RefusalCode::Input, text));
        }
        if !self.sessions.set_away_text(name, text)? {
            return Ok(());
        }
        let sessions: Vec<_> = self.sessions_of(uid).map(|s| s.member.session).collect();
        for (at, id) in sessions.into_iter().enumerate() {
            match at < LATE_ROWS_PER_TURN {
                true => self.sessions.mark_row(id),
                // They follow in the next turns, before rows that change again.
                false => self.sessions.mark_row_late(id),
            }
        }
        Ok(())
    }

    /// Hands rows that changed to the presence table, each once.
    pub(super) fn tell_rows(&mut self) {
        for id in self.sessions.take_changed_rows() {
            let row = self.row(id);
            if let Some(row) = row {
                self.out.push(Action::Row(Box::new(row)));
            }
        }
    }

    fn row(&self, id: SessionId) -> Option<Row> {
        let session = self.sessions.get(&id)?;
        let rooms = session.subs.iter().filter_map(|(tag, _)| match &self.stream(*tag).topic {
            // The table is public.
            StreamKind::Room { name, rules, .. } => (!rules.private).then(|| name.clone()),
            StreamKind::Announcements | StreamKind::Conversation { .. } => None,
        });
        Some(Row {
            session: id,
            uid: session.peer.uid,
            pid: session.peer.pid,
            start: session.peer.start,
            kind: session.member.kind,
            state: self.sessions.state_of(session),
            visitor: !session.listens(),
            since_wall_us: session.since_wall_us,
            active_mono_us: session.active_us,
            user: session.member.user.clone(),
            label: session.member.label.clone(),
            status: self.sessions.away_text(session).unwrap_or_default().into(),
            rooms: rooms.collect(),
        })
    }

    /// The channel of a stream opens when enough members could hear it, and closes when few are
    /// left.
    pub(super) fn settle_channel(&mut self, tag: StreamId) {
        let (broadcast, min) = (self.rules.broadcast, self.rules.broadcast_members_min);
        let stream = self.stream_mut(tag);
        if !broadcast || !stream.is_public() {
            return;
        }
        let members = stream.members();
        if members >= min && !stream.broadcast.is_asked {
            stream.broadcast.is_asked = true;
            self.out.push(Action::OpenChannel(tag));
        } else if members == 0 && stream.broadcast.is_asked {
            stream.broadcast.is_asked = false;
            stream.broadcast.channel = None;
            self.out.push(Action::CloseChannel(tag));
        }
        // Half the threshold, so that one member that comes and goes does not turn everyone around.
        let few = members < min.div_ceil(2);
        let stream = self.stream_mut(tag);
        if few && stream.broadcast.subs > 0 {
            let keys: Vec<_> = stream.subs.iter().map(|(key, _)| key).collect();
            for key in keys {
                stream.serve_by_session(key);
            }
            self.wake_pulling(tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{
            frames::{Destination, Frame},
            hub::scene::{
                ANN, EVE, HEAD, MAX, MIA, SAM, Scene, Store, USERS, join, join_room, role, room,
                session,
            },
            member::{Kind, State},
            names::UserName,
            request::{Begin, Follow, Request},
            rules::Role,
        },
        limits::{PING_AFTER_MS, TEXT_BYTES_MAX, TURN_BYTES_MAX, UNRESPONSIVE_AFTER_MS},
    };

    /// Closes the session of a member of more rooms than a last will is sent in; returns how many
    /// have it.
    fn rooms_with_will(cause: EndCause) -> usize {
        let mut scene = Scene::new(false);
        let rooms: Vec<_> = (0..=WILL_ROOMS_MAX).map(|n| format!("room-{n}")).collect();
        scene.request(MIA, join(Follow::Announcements, Begin::Now)).unwrap();
        for room in &rooms {
            scene.request(EVE, join_room(room)).unwrap();
            scene.request(MIA, join_room(room)).unwrap();
        }
        let text = Some(Text::new("gone").unwrap());
        scene.request(MIA, Request::Will { text }).unwrap();
        scene.hub.close(scene.now, session(MIA), cause);
        scene.settle();
        let head = |name: &String| {
            let tag = scene.hub.room_tag(&room(name)).unwrap();
            scene.hub.stream(tag).backlog.head()
        };
        let heads: Vec<_> = rooms.iter().map(head).collect();
        assert!(heads.iter().all(|head| *head <= 1), "{heads:?}");
        assert!(heads.is_sorted_by(|a, b| a >= b), "the first rooms have it: {heads:?}");
        heads.iter().sum::<u64>() as usize
    }

    #[test]
    fn will_of_a_killed_member_is_sent_in_each_of_its_rooms() {
        assert_eq!(rooms_with_will(EndCause::Killed), WILL_ROOMS_MAX);
        assert_eq!(rooms_with_will(EndCause::Closed), WILL_ROOMS_MAX);
        assert_eq!(rooms_with_will(EndCause::Quit), 0);
        assert_eq!(rooms_with_will(EndCause::Kicked), 0);
    }

    #[test]
    fn will_is_not_sent_where_its_member_may_not_speak() {
        let mut scene = Scene::new(false);
        scene.request(MIA, join_room("den")).unwrap();
        scene.request(MIA, join_room("ops")).unwrap();
        let text = Some(Text::new("gone").unwrap());
        scene.request(MIA, Request::Will { text }).unwrap();
        scene.request(ANN, role(MIA, Role::Muted, true)).unwrap();
        scene.hub.close(scene.now, session(MIA), EndCause::Killed);
        scene.settle();
        let numbered = ["den", "ops"]
            .map(|name| scene.hub.stream(scene.hub.room_tag(&room(name)).unwrap()).numbered);
        assert_eq!(numbered, [HEAD, 1]);
    }

    #[test]
    fn will_can_be_replaced_when_the_account_has_no_more_bytes() {
        let mut scene = Scene::new(false);
        let text = Text::new(&"x".repeat(TEXT_BYTES_MAX)).unwrap();
        let wills = (WILL_BYTES_PER_ACCOUNT_MAX / TEXT_BYTES_MAX) as u64;
        for n in 0..wills {
            scene.open(SessionId(100 + n), MIA);
            let set = scene.hub.set_will(SessionId(100 + n), Some(text.clone()));
            assert_eq!(set, Ok(Reply::Done));
        }
        assert!(scene.hub.set_will(session(MIA), Some(text.clone())).is_err());
        assert_eq!(scene.hub.set_will(SessionId(100), Some(text.clone())), Ok(Reply::Done));
        scene.hub.set_will(SessionId(100), None).unwrap();
        assert_eq!(scene.hub.set_will(session(MIA), Some(text)), Ok(Reply::Done));
    }

    /// States of a member, and pings sent to it, after each of some times.
    #[test]
    fn silent_member_is_pinged_once_and_unresponsive_until_heard() {
        let mut scene = Scene::new(false);
        scene.request(MIA, join_room("den")).unwrap();
        scene.sent.clear();
        let pings = |scene: &Scene, uid| {
            let ping = |(to, frame): &&(SessionId, Frame)| {
                *to == session(uid) && *frame == Frame::Event(Event::Ping)
            };
            scene.sent.iter().filter(ping).count()
        };
        let state = |scene: &Scene| scene.hub.sessions.state_of(&scene.hub.sessions[&session(MIA)]);
        scene.pass(PING_AFTER_MS - 100);
        assert_eq!(pings(&scene, MIA), 0);
        scene.pass(200);
        assert_eq!((pings(&scene, MIA), state(&scene)), (1, State::Online));
        scene.pass(UNRESPONSIVE_AFTER_MS + 100);
        assert_eq!((pings(&scene, MIA), state(&scene)), (1, State::Unresponsive));
        scene.hub.heard(scene.now, session(MIA));
        assert_eq!(state(&scene), State::Online);
        scene.pass(PING_AFTER_MS + 100);
        assert_eq!(pings(&scene, MIA), 2);
        assert_eq!(pings(&scene, SAM), 0, "a visitor owes nothing");
    }

    #[test]
    fn sessions_of_one_user_keep_joins_and_leaves_from_no_other() {
        let mut scene = Scene::new(false);
        for n in 0..2 * MEMBERSHIP_TOLD_MEMBERS_MAX as u64 {
            scene.open(SessionId(1_000 + n), EVE);
            scene.hub.request(scene.now, SessionId(1_000 + n), 1, join_room("den"));
        }
        scene.settle();
        scene.request(MIA, join_room("den")).unwrap();
        scene.pull(session(MIA));
        scene.request(SAM, join_room("den")).unwrap();
        let joined =
            |event: &Event| matches!(event, Event::Joined { member, .. } if member.uid == SAM);
        assert!(scene.pull(session(MIA)).iter().any(joined));
        let stream = scene.hub.stream(scene.tag());
        assert!(stream.watchers() <= MEMBERSHIP_TOLD_MEMBERS_MAX);
    }

    #[test]
    fn channel_is_used_from_a_number_of_members_to_half_of_it() {
        let mut scene = Scene::with_rules(false, |rules| rules.broadcast_members_min = 4);
        let members = [ANN, MIA, EVE, MAX];
        for uid in members {
            assert!(scene.hub.stream(scene.tag()).broadcast.channel.is_none());
            scene.request(uid, join_room("den")).unwrap();
        }
        let tag = scene.tag();
        members.into_iter().for_each(|uid| scene.hears(session(uid), tag));
        let mut served = Vec::new();
        for uid in members {
            served.push(scene.hub.stream(tag).broadcast.subs);
            scene.request(uid, Request::Part { stream: tag, forget: false }).unwrap();
        }
        assert_eq!(served, [4, 3, 2, 0], "of two, both hear it; one alone is served by session");
        assert!(scene.hub.stream(tag).broadcast.channel.is_none(), "without members it is closed");
    }

    #[test]
    fn first_user_leaves_sessions_for_those_who_come_later() {
        let mut scene = Scene::with_rules(false, |rules| rules.sessions_max = 40);
        let open_all = |scene: &mut Scene, uid: u32, from: u64| {
            let peer = || Peer { uid, user: UserName::of_uid(uid), pid: 1, start: 0 };
            let hello = || Hello::new(None, Kind::Script, [9; 16]);
            let mut ids = (from..from + 100).map(SessionId);
            ids.by_ref()
                .take_while(|id| scene.hub.open(scene.now, *id, peer(), hello()).is_ok())
                .count()
        };
        for uid in 0..USERS.len() as u32 {
            scene.hub.close(scene.now, session(uid), EndCause::Quit);
        }
        let taken = [70, 71, 72].map(|uid| open_all(&mut scene, uid, u64::from(uid) * 1_000));
        assert_eq!(taken, [20, 6, 3], "half of it, and less and less of the rest");
        assert!(open_all(&mut scene, 73, 73_000) > 0);
        // However little there is, a free place goes to a user without one.
        let mut scene = Scene::with_rules(false, |rules| rules.sessions_max = USERS.len() + 1);
        assert_eq!(open_all(&mut scene, 70, 70_000), 1);
    }

    #[test]
    fn user_who_spends_a_turn_on_reports_competes_with_senders() {
        let mut scene = Scene::new(false);
        for (spends, alone) in [(TURN_BYTES_MAX, false), (TURN_BYTES_MAX - 1, true)] {
            scene.pass(2_000);
            scene.hub.spend(scene.now, session(EVE), spends, false);
            scene.hub.spend(scene.now, session(MIA), 1, true);
            scene.pass(200);
            assert_eq!(scene.hub.credit_left(session(MAX)) == TURN_BYTES_MAX, alone, "{spends}");
        }
    }

    #[test]
    fn ack_goes_to_the_newest_of_overlapping_sessions() {
        let mut scene = Scene::new(false);
        let (old, new, to) = (session(MIA), SessionId(99), Destination::Stream(scene.tag()));
        scene.store = Store::Waits;
        scene.say(old, 1, to.clone(), "once");
        scene.settle();
        scene.open(new, MIA);
        scene.say(new, 1, to, "once");
        scene.answer_store(Store::Commits);
        let acks = scene.sent.iter().filter_map(|(to, frame)| match frame {
            Frame::Ack(ack) => Some((*to, ack.first, ack.seq)),
            Frame::Nack { .. } => panic!("{frame:?}"),
            Frame::Reply { .. } | Frame::Event(_) => None,
        });
        assert_eq!(acks.collect::<Vec<_>>(), [(new, 1, HEAD + 1)]);
    }
}
