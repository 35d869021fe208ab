//! Announcements: who should have one, who has it, who is missing; those that wait for their time,
//! and those that stay.
//!
//! A scheduled announcement waits under a number of its own (`!+482915`). When its time comes it
//! gets its place in the stream of announcements, and what says that it waits is removed in the
//! transaction that stores it: over a crash at any instant it comes exactly once.

use std::sync::Arc;

use super::{
    Action, Hub,
    accounts::{AccountId, Holding},
    announcements::{Announcing, Watch},
    pending::EntryDraft,
    sessions::Session,
};
use crate::{
    chat::{
        announcement::{Addressee, AnnouncementRecord},
        batch::{Builder, Draft},
        clock::Now,
        event::Event,
        frames::{ANNOUNCEMENTS, Frame},
        member::{Member, SessionId},
        message::AnnouncementId,
        names::RoomName,
        refusal::{Refusal, RefusalCode, refuse},
        reply::{AnnouncementState, Reply},
        request::{Announce, Wait},
        rules::Policy,
        store::{Entry, Record},
        stream_id::StreamId,
        text::counted,
    },
    faults::{Fault, planted},
    limits::{
        NOTICE_BYTES_KEPT_MAX, NOTICE_BYTES_PER_USER_MAX, NOTICES_PER_USER_MAX,
        RECIPIENTS_PER_RECORD, RECORDS_RETRY_MS, SCHEDULE_MS_MAX,
    },
};

impl Hub {
    /// Takes an announcement: an answer, or none if it is answered once it is published.
    pub(super) fn announce(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        announce: &Announce,
    ) -> Result<Option<Reply>, Refusal> {
        let session = &self.sessions[&id];
        let (uid, account) = (session.peer.uid, session.account);
        let only = self.may_announce(now, uid, account, announce)?;
        // The recipients are found again for each announcement.
        self.count_notified(self.stream(ANNOUNCEMENTS).members());
        if announce.dry_run {
            return Ok(Some(self.would_reach(id, only)));
        }
        // As it was created, not as it was written now.
        let room = only.and_then(|tag| self.room_name(tag));
        let from = Arc::clone(&self.sessions[&id].member);
        let state = AnnouncementRecord::new(from, announce, room, now.wall_us);
        let later = announce.at_us.filter(|at| *at > now.wall_us);
        let latest = now.wall_us.saturating_add(SCHEDULE_MS_MAX.cast_signed() * 1000);
        if later.is_some_and(|at| at > latest) {
            return refuse(RefusalCode::Input, "an announcement can wait a year at most");
        }
        if later.is_some() || announce.retain {
            self.may_keep_notice(now, uid, state.text.len())?;
        }
        if let Some(at_us) = later {
            return Ok(Some(self.schedule(state, at_us)));
        }
        // Its record is made once it is published: until then the next one waits.
        let weight = 1 + self.stream(ANNOUNCEMENTS).members() / RECIPIENTS_PER_RECORD;
        self.accounts.add_records(account, weight);
        let asked = Some((id, serial));
        let (wait, report_at) = (announce.wait, announce.report_at);
        self.put_on_its_way(now, account, Announcing { state, asked, only, wait, report_at });
        self.hold_back(id, ANNOUNCEMENTS);
        Ok(None)
    }

    /// Checks that a user may announce this now. Returns the room that it is for, if it is for one.
    fn may_announce(
        &mut self,
        now: Now,
        uid: u32,
        account: AccountId,
        announce: &Announce,
    ) -> Result<Option<StreamId>, Refusal> {
        if !self.rights_of(uid).may_announce(announce.level) {
            let who =
                Policy::words(&self.rules.policy.announce[usize::from(announce.level.number())]);
            let text = format!("only {who} may announce at level {}", announce.level.word());
            return refuse(RefusalCode::Denied, text);
        }
        self.may_store(uid, ANNOUNCEMENTS)?;
        let only = match &announce.room {
            None => None,
            Some(room) => {
                let tag = self.known_room(uid, room)?;
                self.may_speak(uid, tag)?;
                if self.is_ending(tag) {
                    return refuse(RefusalCode::Absent, "the room is being deleted");
                }
                Some(tag)
            }
        };
        // Other messages in flight do not count: a user whose log runs into a room may still warn
        // all.
        let on_their_way = self.announcements.begun().filter(|a| a.state.from.uid == uid).count();
        if self.accounts.is_over_rate(now.mono_us, account) || on_their_way >= NOTICES_PER_USER_MAX
        {
            let text = "rate limit reached; try again in a second";
            return refuse(RefusalCode::Failed, text);
        }
        Ok(only)
    }

    /// Counts the recipients that an announcement would have now.
    fn would_reach(&self, id: SessionId, only: Option<StreamId>) -> Reply {
        let addressees = self.addressees(Some(id), only);
        let mut uids: Vec<_> = addressees.iter().map(|a| a.member.uid).collect();
        uids.sort_unstable();
        uids.dedup();
        Reply::WouldReach { members: addressees.len() as u32, users: uids.len() as u32 }
    }

    /// Stores an announcement that is published at its time.
    fn schedule(&mut self, mut state: AnnouncementRecord, at_us: i64) -> Reply {
        let schedule = self.announcements.make_schedule(self.rules.secret);
        state.schedule = Some(schedule);
        state.wall_us = at_us;
        self.commits.add(Record::Notice(Box::new(state.clone())));
        self.announcements.schedule(schedule, state, 0);
        Reply::Scheduled { schedule, at_us, kept: self.rules.persistent }
    }

    /// Numbers an announcement and has it stored, with what is to be kept of it.
    pub(super) fn put_on_its_way(
        &mut self,
        now: Now,
        account: AccountId,
        mut announcing: Announcing,
    ) {
        announcing.state.wall_us = now.wall_us;
        let state = &announcing.state;
        let draft = EntryDraft {
            notice: Some(Box::new(state.notice())),
            origin: state.origin.clone(),
            ..EntryDraft::new(Arc::clone(&state.from), (&*state.text).into())
        };
        let number = self.number(now, ANNOUNCEMENTS, account, draft);
        announcing.state.number = Some(number);
        if let Some(schedule) = announcing.state.schedule
            && !planted(Fault::ScheduledTwice)
        {
            self.commits.add(Record::NoticeGone(AnnouncementId::Scheduled(schedule)));
        }
        // Until it is published its recipients are unknown.
        let kept = AnnouncementRecord { forgotten: true, ..announcing.state.clone() };
        self.commits.add(Record::Notice(Box::new(kept)));
        self.announcements.begin(number, announcing);
    }

    /// Checks that a user may leave one more announcement here.
    pub(super) fn may_keep_notice(&self, now: Now, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let kept: Vec<_> = self.announcements.kept(now.wall_us).collect();
        let own = kept.iter().filter(|(of, _)| *of == uid).count();
        let held = Holding::of(uid, kept.into_iter());
        let most = NOTICE_BYTES_PER_USER_MAX.min(held.share(NOTICE_BYTES_KEPT_MAX));
        if own >= NOTICES_PER_USER_MAX || held.own + bytes > most {
            let text = format!(
                "this user has {} with {} bytes (limit {NOTICES_PER_USER_MAX}, with {most} bytes); \
                 cancel one with `moot notices cancel ID`",
                counted(own as u64, "retained or scheduled announcement"),
                held.own
            );
            return refuse(RefusalCode::Failed, text);
        }
        Ok(())
    }

    /// An announcement could not be stored: its number is free again. A scheduled one goes on
    /// waiting.
    pub(super) fn announcing_failed(&mut self, now: Now, number: u64, why: &str) {
        let Some(mut announcing) = self.announcements.take_begun(number) else { return };
        let schedule = announcing.state.schedule;
        // It may have been numbered before the transaction that failed, or while it was under way.
        let stays = |record: &Record| match record {
            Record::Notice(state) => state.number != Some(number),
            Record::NoticeGone(id) => Some(*id) != schedule.map(AnnouncementId::Scheduled),
            Record::Room { .. }
            | Record::Role { .. }
            | Record::Audit(_)
            | Record::RoomGone { .. }
            | Record::RoomForgotten { .. }
            | Record::Follow { .. }
            | Record::NameGone { .. }
            | Record::InstanceGone { .. }
            | Record::RemoteRole { .. }
            | Record::Export { .. }
            | Record::Import { .. }
            | Record::Receipt(_)
            | Record::Mark { .. } => true,
        };
        self.commits.drop_all(|record| !stays(record));
        if let Some((session, serial)) = announcing.asked {
            let result = Err(Refusal::new(RefusalCode::Failed, why));
            self.out.push(Action::Send(session, Frame::Reply { serial, result }));
        }
        if let Some(schedule) = schedule
            && !planted(Fault::FailedScheduleLost)
        {
            announcing.state.number = None;
            self.commits.add(Record::Notice(Box::new(announcing.state.clone())));
            let not_before_us = now.mono_us + RECORDS_RETRY_MS * 1000;
            self.announcements.schedule(schedule, announcing.state, not_before_us);
        }
    }

    /// Members that an announcement is for, without those of the process of one session.
    pub(super) fn addressees(
        &self,
        own: Option<SessionId>,
        only: Option<StreamId>,
    ) -> Vec<Addressee> {
        let subs = self.stream(ANNOUNCEMENTS).subs.iter();
        let process = own.and_then(|id| self.sessions[&id].peer.process());
        let is_own = |session: &Session| {
            Some(session.member.session) == own
                || (process.is_some() && session.peer.process() == process)
        };
        let mut all: Vec<_> = subs
            .filter_map(|(_, sub)| self.sessions.get(&sub.session))
            .filter(|session| !is_own(session) && !self.links.is_link(session.member.session))
            .filter(|s| only.is_none_or(|tag| s.sub_key(tag).is_some()))
            .map(|s| Addressee {
                member: Arc::clone(&s.member),
                reached: false,
                acked: false,
                gone: None,
            })
            .collect();
        all.sort_by_key(|a| a.member.session);
        all.truncate(all.len() - usize::from(planted(Fault::RecipientLeftOut) && !all.is_empty()));
        all
    }

    /// Publishes an announcement: the members at this time are its recipients.
    pub(super) fn announced(&mut self, number: u64) {
        let Some(announcing) = self.announcements.take_begun(number) else { return };
        let Announcing { mut state, asked, only, wait, report_at } = announcing;
        let asked = asked.filter(|(id, _)| self.sessions.contains(*id));
        state.addressees = self.addressees(asked.map(|(id, _)| id), only);
        if state.origin.is_none() {
            state.hosts = self.hosts_to_reach(self.clock.turn, state.room.as_ref());
        }
        let members = state.addressees.len() as u32;
        if let Some((id, serial)) = asked {
            let hosts = state.hosts.len() as u32;
            let result = Ok(Reply::Announced { number, members, hosts });
            self.out.push(Action::Send(id, Frame::Reply { serial, result }));
        }
        let watch = asked.map(|(session, _)| Watch { session, wait, report_at });
        // The recipients are stored at once.
        self.announcements.publish(number, state, watch);
        self.follows.note_change();
        let (forgotten, mut covered) = self.announcements.trim(number);
        for number in forgotten {
            self.commits.add(Record::NoticeGone(AnnouncementId::Number(number)));
        }
        covered.extend(self.announcements.covered(number));
        self.tell_covered(covered);
    }

    /// A room is deleted: what was or is to be announced to it goes with it.
    pub(super) fn forget_notices_of(&mut self, room: &RoomName, tag: StreamId) {
        if planted(Fault::DeletedRoomKeepsAnnouncements) {
            return;
        }
        let (forgotten, covered) = self.announcements.forget_room(room);
        for id in forgotten {
            self.commits.add(Record::NoticeGone(id));
        }
        self.tell_covered(covered);
        self.stream_mut(ANNOUNCEMENTS).backlog.forget_secrets(tag);
    }

    /// Takes an announcement back, for its maker or an operator.
    pub(super) fn cancel_notice(
        &mut self,
        now: Now,
        id: SessionId,
        of: AnnouncementId,
    ) -> Result<Reply, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        let by = self.called(uid);
        let (from, waits, shown) = match self.visible_notice(id, of)? {
            Ok(p) => (Arc::clone(&p.state.from), None, p.state.id()),
            Err(state) => (Arc::clone(&state.from), state.schedule, state.id()),
        };
        let maker = from.uid;
        if maker != uid && !self.is_operator(uid) {
            let text = format!(
                "only the sender of {shown} ({}) or an operator of the server may cancel it",
                from.user
            );
            return refuse(RefusalCode::Denied, text);
        }
        let act = (maker != uid).then(|| format!("cancel {shown} of {}", from.user));
        if let Some(schedule) = waits {
            self.announcements.unschedule(schedule);
            act.into_iter().for_each(|act| self.audit(now, uid, act));
            self.commits.add(Record::NoticeGone(AnnouncementId::Scheduled(schedule)));
            return Ok(Reply::Done);
        }
        let AnnouncementId::Number(number) = shown else { return Ok(Reply::Done) };
        let Some(posted) = self.announcements.get(number) else { return Ok(Reply::Done) };
        match posted.state.standing(now.wall_us) {
            AnnouncementState::Cancelled => {
                return refuse(RefusalCode::Failed, format!("{shown} is already canceled"));
            }
            AnnouncementState::Expired => {
                return refuse(RefusalCode::Failed, format!("{shown} has expired"));
            }
            AnnouncementState::Open | AnnouncementState::Waiting => {}
        }
        let room = posted.state.room.clone();
        // It can't be acknowledged any longer.
        let covered = self.announcements.cancel(number, by.clone());
        self.tell_covered(covered);
        self.follows.note_change();
        act.into_iter().for_each(|act| self.audit(now, uid, act));
        let only = room.as_ref().map(|room| self.directory.room(room));
        let subs = self.stream(ANNOUNCEMENTS).subs.iter().map(|(_, sub)| sub.session);
        let told: Vec<_> = subs
            .filter(|id| match only {
                None => true,
                Some(tag) => tag.is_some_and(|tag| self.sessions[id].sub_key(tag).is_some()),
            })
            .collect();
        for session in told {
            self.send(session, Event::Cancelled { number, by: by.clone() });
        }
        Ok(Reply::Done)
    }

    /// Returns the room of an announcement that is kept from all others when it is published: users
    /// removed since it was numbered are among them. The room stays as long as an announcement to
    /// it is on its way.
    pub(super) fn secret_room(&self, number: u64) -> Option<StreamId> {
        let only = self.announcements.room_of_begun(number);
        only.filter(|tag| self.is_closed(*tag) && !planted(Fault::PrivateAnnouncementToAll))
    }

    /// Announces what is due, and has receipts kept.
    pub(super) fn tick_notices(&mut self, now: Now) {
        for (schedule, state) in self.announcements.take_due(now) {
            let only = match &state.room {
                None => None,
                Some(room) => match self.directory.room(room) {
                    Some(tag) if self.still_speaks(state.from.uid, tag) && !self.is_ending(tag) => {
                        Some(tag)
                    }
                    Some(_) | None => {
                        let text = format!(
                            "!+{schedule} of {} was not published: they may not send to {room}",
                            state.from
                        );
                        self.out.push(Action::LogOf(state.from.uid, text));
                        // The room was deleted, or the sender may not post in it any longer.
                        self.commits.add(Record::NoticeGone(AnnouncementId::Scheduled(schedule)));
                        continue;
                    }
                },
            };
            let account = AccountId::User(state.from.uid);
            let (wait, report_at) = (Wait::Reached, 0);
            let announcing = Announcing { state, asked: None, only, wait, report_at };
            self.put_on_its_way(now, account, announcing);
        }
        if self.announcements.is_storing_due(now.mono_us) {
            self.keep_notices();
        }
        if self.announcements.count_open(now.wall_us) {
            self.follows.note_change();
        }
    }

    /// Stores announcements that a session waits for with the next transaction, each once however
    /// often it changed.
    pub(super) fn keep_urgent_notices(&mut self) {
        for (uid, record) in self.announcements.take_urgent() {
            // On a user server the user waits for no other one.
            if self.rules.host {
                self.accounts.add_records(AccountId::User(uid), record.weight());
            }
            self.commits.add(record);
        }
    }

    /// Has what changed in receipts kept.
    pub fn keep_notices(&mut self) {
        for record in self.announcements.take_unstored() {
            self.commits.add(record);
        }
    }
}

/// Encodes an announcement for those who may not see it: its number alone.
pub(super) fn withheld(entry: &Entry, builder: &mut Builder, headroom: usize) {
    let nobody = Member::nobody();
    builder.begin(headroom, ANNOUNCEMENTS, entry.seq);
    let draft = Draft {
        from: &nobody,
        wall_us: entry.wall_us,
        reply_to: None,
        to_label: None,
        notice: None,
        will: None,
        origin: None,
        withheld: true,
        text: "",
    };
    builder.push(headroom, &draft);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{
            announcement::Acked,
            frames::Report,
            hub::{
                announcements::{Posted, SCHEDULE_HALF_BITS},
                posted::LIST_BYTES,
                scene::{
                    ANN, EVE, MIA, SAM, Scene, Store, announce, den, join, join_room, session,
                },
            },
            member::EndCause,
            names::Label,
            request::{Begin, Follow, Request},
        },
        limits::{
            NOTICES_KEPT_MAX, RECEIPT_ACKS_MAX, RECEIPT_ACKS_PER_USER_MAX,
            RECEIPT_SESSIONS_KEPT_MAX, TEXT_BYTES_MAX,
        },
    };

    /// Three members of the room who listen to announcements by session.
    pub(super) fn scene() -> Scene {
        let mut scene = Scene::with_rules(false, |rules| rules.broadcast = false);
        for uid in [ANN, MIA, EVE] {
            scene.request(uid, join(Follow::Announcements, Begin::Now)).unwrap();
            scene.request(uid, join_room("den")).unwrap();
        }
        scene
    }

    pub(super) fn is_covered(scene: &Scene, uid: u32) -> bool {
        let covered = Frame::Event(Event::Covered { number: 1 });
        scene.sent.iter().any(|(to, frame)| *to == session(uid) && *frame == covered)
    }

    #[test]
    fn member_that_left_and_came_back_is_not_waited_for() {
        let mut scene = scene();
        let reply = scene.request(ANN, Request::Announce(announce(Some(den()), "news")));
        assert_eq!(reply, Ok(Reply::Announced { number: 1, members: 2, hosts: 0 }));
        let stream = scene.tag();
        scene.request(MIA, Request::Part { stream, forget: false }).unwrap();
        scene.request(MIA, join_room("den")).unwrap();
        assert!(!is_covered(&scene, ANN), "eve has not reported it");
        let report = Report { stream: ANNOUNCEMENTS, delivered: 1, by_broadcast: 0, datagrams: 0 };
        scene.hub.report(scene.now, session(EVE), &report);
        scene.settle();
        assert!(is_covered(&scene, ANN), "nobody else will report it");
        let receipt =
            scene.request(ANN, Request::Receipt { id: AnnouncementId::Number(1), skip: 0 });
        let Ok(Reply::Receipt(receipt)) = receipt else { panic!("{receipt:?}") };
        assert_eq!((receipt.members, receipt.reached), (2, 1));
        assert_eq!((&*receipt.missing[0].name, &*receipt.missing[0].state), ("mia", "gone"));
    }

    #[test]
    fn receipt_names_each_member_of_the_room_and_nobody_else() {
        let mut scene = scene();
        scene.request(SAM, join(Follow::Announcements, Begin::Now)).unwrap();
        scene.request(ANN, Request::Announce(announce(Some(den()), "news"))).unwrap();
        let receipt =
            scene.request(ANN, Request::Receipt { id: AnnouncementId::Number(1), skip: 0 });
        let Ok(Reply::Receipt(receipt)) = receipt else { panic!("{receipt:?}") };
        let missing: Vec<_> = receipt.missing.iter().map(|m| &*m.name).collect();
        assert_eq!((receipt.members, missing), (2, vec!["mia", "eve"]));
    }

    /// What the store has of the first announcement, put together.
    pub(super) fn stored(scene: &Scene) -> AnnouncementRecord {
        let mut stored: Option<AnnouncementRecord> = None;
        for record in &scene.saved {
            match record {
                Record::Notice(state) => stored = Some((**state).clone()),
                Record::Receipt(receipt) => {
                    for (_, part) in receipt.parts() {
                        let json = serde_json::to_string(&part).unwrap();
                        let part = serde_json::from_str(&json).unwrap();
                        stored.as_mut().unwrap().take_receipt(part);
                    }
                }
                Record::Room { .. }
                | Record::Role { .. }
                | Record::Audit(_)
                | Record::RoomGone { .. }
                | Record::RoomForgotten { .. }
                | Record::NoticeGone(_)
                | Record::Follow { .. }
                | Record::NameGone { .. }
                | Record::InstanceGone { .. }
                | Record::RemoteRole { .. }
                | Record::Export { .. }
                | Record::Import { .. }
                | Record::Mark { .. } => {}
            }
        }
        stored.unwrap()
    }

    #[test]
    fn a_report_stores_little_and_what_is_stored_adds_up() {
        let mut scene = scene();
        for number in 0..200 {
            scene.open(SessionId(100 + number), EVE);
            let follow = Follow::Announcements;
            let join = join(follow, Begin::Now);
            scene.hub.request(scene.now, SessionId(100 + number), 1, join);
        }
        scene.settle();
        let news = Announce { ack: true, ..announce(None, "news") };
        scene.request(ANN, Request::Announce(news)).unwrap();
        let whole = scene.saved.len();
        let steps = |scene: &mut Scene, step: u64| match step {
            0..=99 => {
                let report =
                    Report { stream: ANNOUNCEMENTS, delivered: 1, by_broadcast: 0, datagrams: 0 };
                scene.hub.report(scene.now, SessionId(100 + step), &report);
            }
            100..=149 => scene.hub.close(scene.now, SessionId(100 + step), EndCause::Closed),
            _ => {
                let id = AnnouncementId::Number(1);
                let uid = if step.is_multiple_of(2) { MIA } else { EVE };
                scene.request(uid, Request::AckNotice { id }).unwrap();
            }
        };
        for step in 0..160 {
            steps(&mut scene, step);
            scene.hub.keep_notices();
            scene.settle();
            assert_eq!(
                stored(&scene),
                scene.hub.announcements.get(1).unwrap().state,
                "after step {step}"
            );
        }
        for record in &scene.saved[whole..] {
            let Record::Receipt(receipt) = record else { continue };
            let bytes = serde_json::to_string(receipt).unwrap().len();
            assert!(bytes < 600, "{bytes} bytes for one of 202 members");
        }
        let wholes = scene.saved[whole..].iter().filter(|r| matches!(r, Record::Notice(_)));
        assert_eq!(wholes.count(), 0, "stored whole once");
    }

    #[test]
    fn retained_or_unacknowledged_announcement_is_open() {
        for (retained, ack, cancels, open) in [
            (false, false, false, false),
            (true, false, false, true),
            (false, true, false, true),
            (true, true, true, false),
        ] {
            let mut scene = scene();
            let news = Announce { retain: retained, ack, ..announce(None, "news") };
            scene.request(ANN, Request::Announce(news)).unwrap();
            if cancels {
                let id = AnnouncementId::Number(1);
                scene.request(ANN, Request::CancelNotice { id }).unwrap();
            }
            let is_open = scene
                .hub
                .announcements
                .published()
                .any(|posted| posted.state.is_open(scene.now.wall_us));
            assert_eq!(is_open, open, "retained {retained}, ack {ack}, cancelled {cancels}");
        }
    }

    #[test]
    fn retained_ones_are_given_up_to_where_a_subscription_begins() {
        let mut scene = scene();
        for text in ["first", "second"] {
            let news = Announce { retain: true, ..announce(None, text) };
            scene.request(ANN, Request::Announce(news)).unwrap();
        }
        let retained = |scene: &Scene| {
            let mut numbers = Vec::new();
            for (to, frame) in &scene.sent {
                if *to == session(SAM)
                    && let Frame::Event(Event::Retained { body }) = frame
                {
                    let messages = crate::chat::batch::Reader::new(body).unwrap();
                    numbers.extend(messages.map(|message| message.unwrap().seq));
                }
            }
            numbers
        };
        // The second comes with the stream.
        scene.request(SAM, join(Follow::Announcements, Begin::Last(1))).unwrap();
        assert_eq!(retained(&scene), [1]);
    }

    #[test]
    fn acknowledgment_counts_for_all_sessions_of_the_user() {
        let mut scene = scene();
        let oncall = SessionId(100);
        scene.open_as(oncall, MIA, 200, Some(Label::new("oncall").unwrap()));
        scene.hub.request(scene.now, oncall, 1, join(Follow::Announcements, Begin::Now));
        scene.settle();
        for (number, wait, report_at) in [(1, Wait::Acked, 2), (2, Wait::AckedUsers, 1)] {
            let wanted = Announce { ack: true, wait, report_at, ..announce(None, "read") };
            scene.request(ANN, Request::Announce(wanted)).unwrap();
            let id = AnnouncementId::Number(number);
            scene.request(MIA, Request::AckNotice { id }).unwrap();
            let covered = Frame::Event(Event::Covered { number });
            assert!(scene.sent.contains(&(session(ANN), covered)), "{wait:?}");
            let receipt = scene.request(ANN, Request::Receipt { id, skip: 0 });
            let Ok(Reply::Receipt(receipt)) = receipt else { panic!("{receipt:?}") };
            assert_eq!((receipt.acked, receipt.users_acked, receipt.users), (2, 1, 2));
        }
        let wanted =
            Announce { wait: Wait::AckedUsers, report_at: 2, ..announce(None, "two users") };
        scene.request(ANN, Request::Announce(wanted)).unwrap();
        scene.request(MIA, Request::AckNotice { id: AnnouncementId::Number(3) }).unwrap();
        let covered = Frame::Event(Event::Covered { number: 3 });
        assert!(!scene.sent.contains(&(session(ANN), covered)), "mia is one user");
        assert_eq!(scene.hub.open_notices(scene.now.wall_us, MIA), 0);
    }

    #[test]
    fn processes_that_the_kernel_does_not_name_are_all_recipients() {
        let mut scene = scene();
        let (own, other) = (SessionId(100), SessionId(101));
        for id in [own, other] {
            scene.open_as(id, SAM, 0, None);
            scene.hub.request(scene.now, id, 1, join(Follow::Announcements, Begin::Now));
        }
        scene.settle();
        scene.sent.clear();
        scene.hub.request(scene.now, own, 2, Request::Announce(announce(None, "news")));
        scene.settle();
        let members = scene.sent.iter().find_map(|(to, frame)| {
            let Frame::Reply { result: Ok(Reply::Announced { members, .. }), .. } = frame else {
                return None;
            };
            (*to == own).then_some(*members)
        });
        assert_eq!(members, Some(4), "the three members and the other session of pid 0");
    }

    #[test]
    fn acknowledgment_ends_the_wait_and_is_named() {
        let mut scene = scene();
        let wanted =
            Announce { ack: true, wait: Wait::Acked, report_at: 1, ..announce(None, "read") };
        scene.request(ANN, Request::Announce(wanted)).unwrap();
        let id = AnnouncementId::Number(1);
        assert!(!is_covered(&scene, ANN));
        assert_eq!(scene.hub.open_notices(scene.now.wall_us, MIA), 1);
        assert_eq!(scene.request(MIA, Request::AckNotice { id }), Ok(Reply::Done));
        assert!(is_covered(&scene, ANN));
        assert_eq!(scene.request(MIA, Request::AckNotice { id }), Ok(Reply::Done), "again");
        assert_eq!(scene.hub.open_notices(scene.now.wall_us, MIA), 0);
        assert_eq!(scene.hub.open_notices(scene.now.wall_us, EVE), 1);
        let Ok(Reply::Notice(info)) = scene.request(ANN, Request::Notice { id }) else { panic!() };
        assert_eq!((info.acked, info.acks, info.acked_by), (1, 1, vec!["mia".to_owned()]));
    }

    #[test]
    fn list_of_announcements_comes_in_parts_with_each_once() {
        let mut scene = scene();
        let text = "x".repeat(TEXT_BYTES_MAX / 2);
        for _ in 0..5 {
            scene.request(ANN, Request::Announce(announce(None, &text))).unwrap();
        }
        let (mut ids, mut parts) = (Vec::new(), 0);
        loop {
            let skip = ids.len() as u32;
            let Ok(Reply::Notices { notices, more }) =
                scene.request(MIA, Request::Notices { skip })
            else {
                panic!("no list")
            };
            parts += 1;
            assert!(notices.iter().map(|n| n.text.len()).sum::<usize>() <= LIST_BYTES);
            ids.extend(notices.into_iter().map(|info| info.id));
            if !more {
                break;
            }
        }
        assert_eq!(ids, [5, 4, 3, 2, 1].map(AnnouncementId::Number));
        assert_eq!(parts, 3);
    }

    #[test]
    fn retained_announcement_is_shown_to_later_members_once() {
        let mut scene = scene();
        let stays = |room, text: &str| Announce { retain: true, ..announce(room, text) };
        assert!(!scene.hub.has_open_notices(scene.now));
        scene.request(ANN, Request::Announce(stays(None, "to all"))).unwrap();
        assert!(scene.hub.has_open_notices(scene.now));
        scene.request(ANN, Request::Announce(stays(Some(den()), "to the room"))).unwrap();
        scene.request(ANN, Request::Announce(announce(None, "passes"))).unwrap();
        let shown = |scene: &Scene| {
            let of = |(to, frame): &(SessionId, Frame)| {
                let retained = matches!(frame, Frame::Event(Event::Retained { .. }));
                *to == session(SAM) && retained
            };
            scene.sent.iter().filter(|sent| of(sent)).count()
        };
        scene.request(SAM, join(Follow::Announcements, Begin::Now)).unwrap();
        assert_eq!(shown(&scene), 1);
        scene.request(SAM, join_room("den")).unwrap();
        assert_eq!(shown(&scene), 1, "the one to the room");
        let stream = scene.tag();
        scene.request(SAM, Request::Part { stream, forget: false }).unwrap();
        scene.request(SAM, join_room("den")).unwrap();
        assert_eq!(shown(&scene), 0, "not again");
    }

    #[test]
    fn member_that_comes_back_learns_of_cancelled_announcements() {
        let mut scene = scene();
        for _ in 0..3 {
            scene.request(ANN, Request::Announce(announce(None, "news"))).unwrap();
        }
        for number in [1, 2, 3] {
            scene
                .request(ANN, Request::CancelNotice { id: AnnouncementId::Number(number) })
                .unwrap();
        }
        let begin = Begin::After { run: scene.hub.rules.run, seq: 1 };
        scene.request(SAM, join(Follow::Announcements, begin)).unwrap();
        let cancelled = scene.sent.iter().filter_map(|(to, frame)| match frame {
            Frame::Event(Event::Cancelled { number, .. }) if *to == session(SAM) => Some(*number),
            Frame::Event(_) | Frame::Reply { .. } | Frame::Ack(_) | Frame::Nack { .. } => None,
        });
        assert_eq!(cancelled.collect::<Vec<_>>(), [2, 3], "those after its cursor");
    }

    #[test]
    fn operator_sees_no_text_for_a_private_room() {
        let mut scene = Scene::new(true);
        scene.request(ANN, Request::Announce(announce(Some(den()), "secret"))).unwrap();
        let text = |scene: &mut Scene, uid| {
            let notice = scene.request(uid, Request::Notice { id: AnnouncementId::Number(1) });
            let Ok(Reply::Notice(info)) = notice else { panic!("{notice:?}") };
            info.text
        };
        assert_eq!(text(&mut scene, 0), "");
        assert_eq!(text(&mut scene, ANN), "secret");
        assert_eq!(text(&mut scene, MIA), "secret");
    }

    #[test]
    fn announcements_of_several_users_push_out_none_of_another() {
        let mut scene = scene();
        for text in ["one", "two", "three"] {
            scene.request(MIA, Request::Announce(announce(None, text))).unwrap();
        }
        for _ in 0..NOTICES_KEPT_MAX / 2 {
            for uid in [0, ANN, EVE, SAM] {
                scene.request(uid, Request::Announce(announce(None, "x"))).unwrap();
            }
        }
        let of = |uid| {
            let all = scene.hub.announcements.published();
            all.filter(|posted| posted.state.from.uid == uid).count()
        };
        assert_eq!(scene.hub.announcements.published().count(), NOTICES_KEPT_MAX);
        assert_eq!(of(MIA), 3);
        let others = [0, ANN, EVE, SAM].map(of);
        assert!(others.iter().all(|count| (60..=70).contains(count)), "{others:?}");
    }

    #[test]
    fn receipts_of_one_user_push_out_none_of_another() {
        let mut scene = scene();
        scene.request(MIA, Request::Announce(announce(None, "mine"))).unwrap();
        for n in 2..6 {
            scene.request(EVE, Request::Announce(announce(None, "x"))).unwrap();
            let state = &mut scene.hub.announcements.change(n).unwrap().state;
            let addressee = state.addressees[0].clone();
            state.addressees = vec![addressee; RECEIPT_SESSIONS_KEPT_MAX / 2 - 10];
        }
        scene.request(EVE, Request::Announce(announce(None, "x"))).unwrap();
        let forgotten = scene.hub.announcements.published().map(|posted| posted.state.forgotten);
        let forgotten: Vec<_> = forgotten.collect();
        assert_eq!(forgotten, [false, true, true, false, false, false]);
    }

    #[test]
    fn bytes_of_retained_announcements_are_shared() {
        let mut scene = scene();
        let stays = |bytes| {
            Request::Announce(Announce { retain: true, ..announce(None, &"x".repeat(bytes)) })
        };
        // Each takes all that they may.
        for uid in [0, ANN, MIA, EVE] {
            while scene.request(uid, stays(TEXT_BYTES_MAX / 4)).is_ok() {}
        }
        scene.request(SAM, stays(1_000)).unwrap();
        let bytes = |uid| {
            let of_user = scene.hub.announcements.published().filter(|p| p.state.from.uid == uid);
            of_user.map(|p| p.state.text.len()).sum::<usize>()
        };
        assert_eq!(bytes(0), NOTICE_BYTES_PER_USER_MAX);
        assert!(bytes(EVE) > 0 && bytes(EVE) < NOTICE_BYTES_PER_USER_MAX);
    }

    #[test]
    fn names_that_acknowledge_are_shared() {
        let mut scene = scene();
        scene.request(ANN, Request::Announce(announce(None, "x"))).unwrap();
        let posted = scene.hub.announcements.change(1).unwrap();
        let ack = |posted: &mut Posted, uid| {
            let may = posted.may_ack(uid);
            let (label, name, wall_us) = (None, String::new(), 1);
            posted.state.acks.extend(may.then_some(Acked { uid, label, name, wall_us }));
            may
        };
        for uid in 0..RECEIPT_ACKS_MAX as u32 / RECEIPT_ACKS_PER_USER_MAX as u32 + 10 {
            let acks = (0..=RECEIPT_ACKS_PER_USER_MAX).take_while(|_| ack(posted, uid)).count();
            assert!((1..=RECEIPT_ACKS_PER_USER_MAX).contains(&acks), "{uid}: {acks}");
        }
    }

    #[test]
    fn number_of_a_scheduled_announcement_says_nothing_of_others() {
        let mut scene = scene();
        let at_us = Some(scene.now.wall_us + 500_000);
        let mut made = Vec::new();
        for _ in 0..40 {
            let later = Announce { at_us, ..announce(None, "news") };
            let reply = scene.request(ANN, Request::Announce(later));
            let Ok(Reply::Scheduled { schedule, .. }) = reply else { panic!("{reply:?}") };
            assert!((1..1 << (2 * SCHEDULE_HALF_BITS)).contains(&schedule), "{schedule}");
            assert!(!made.contains(&schedule), "{schedule} twice in {made:?}");
            made.push(schedule);
        }
        let rises = made.windows(2).filter(|two| two[0] < two[1]).count();
        assert!((5..35).contains(&rises), "{made:?}");
    }

    #[test]
    fn scheduled_announcements_come_in_the_order_of_their_times() {
        let mut scene = scene();
        for n in 0..20_i64 {
            // Pairs for one time, the later times first.
            let at_us = Some(scene.now.wall_us - scene.now.wall_us % 1_000_000 + 2_000_000 - n / 2);
            scene.pass(1);
            let later = Announce { at_us, ..announce(None, &format!("{n:02}")) };
            scene.request(ANN, Request::Announce(later)).unwrap();
        }
        let expected: Vec<_> =
            (0..10).rev().flat_map(|n| [2 * n, 2 * n + 1]).map(|n| format!("{n:02}")).collect();
        let listed = |scene: &mut Scene| -> Vec<String> {
            let reply = scene.request(ANN, Request::Notices { skip: 0 });
            let Ok(Reply::Notices { notices, .. }) = reply else { panic!("{reply:?}") };
            notices.into_iter().map(|info| info.text).collect()
        };
        assert_eq!(listed(&mut scene), expected);
        scene.pass(4_000);
        // The newest first.
        assert!(listed(&mut scene).iter().eq(expected.iter().rev()));
    }

    #[test]
    fn scheduled_announcement_waits_over_a_failed_commit() {
        let mut scene = scene();
        let at_us = Some(scene.now.wall_us + 500_000);
        let later = Announce { at_us, ..announce(None, "news") };
        let reply = scene.request(ANN, Request::Announce(later));
        let Ok(Reply::Scheduled { schedule, .. }) = reply else { panic!("{reply:?}") };
        let id = AnnouncementId::Scheduled(schedule);
        scene.store = Store::Fails;
        scene.pass(900);
        let waiting = scene.request(ANN, Request::Notice { id });
        let Ok(Reply::Notice(info)) = waiting else { panic!("{waiting:?}") };
        assert_eq!(info.standing, AnnouncementState::Waiting);
        assert!(!scene.can_read(session(MIA), "news"));
        scene.store = Store::Commits;
        scene.saved.clear();
        scene.pass(RECORDS_RETRY_MS + 100);
        assert!(scene.can_read(session(MIA), "news"));
        // What is saved says that it waits no longer, or it would be published again after a
        // restart.
        let gone = Record::NoticeGone(id);
        let waits = |of: &Record| matches!(of, Record::Notice(state) if state.id() == id);
        let last = scene.saved.iter().rfind(|record| waits(record) || **record == gone);
        assert_eq!(last, Some(&gone));
        scene.pass(2_000);
        assert_eq!(scene.hub.stream(ANNOUNCEMENTS).numbered, 1, "published once");
    }
}
