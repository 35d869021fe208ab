//! All announcements and their receipts: scheduled, numbered and not published yet, published.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::accounts::{Holding, heaviest};
use crate::{
    chat::{
        announcement::{Acked, Addressee, AnnouncementRecord, Gone, HostReception, Receipt},
        clock::Now,
        linked::RemoteReceipt,
        member::SessionId,
        message::AnnouncementId,
        names::{HostName, RoomName, UserName},
        permutation::Permutation,
        request::Wait,
        store::Record,
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{
        NOTICE_RECORD_EVERY_MS, NOTICES_KEPT_MAX, RECEIPT_ACKS_MAX, RECEIPT_ACKS_PER_USER_MAX,
        RECEIPT_SESSIONS_KEPT_MAX,
    },
};

/// Half the bits of the number of a scheduled announcement: short enough to be typed.
pub(super) const SCHEDULE_HALF_BITS: u32 = 10;

/// Part of an announcement that is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unstored {
    Nothing,
    /// Steps, and acknowledgments.
    Receipt,
    /// The whole announcement.
    All,
}

/// Session that waits for a receipt, and its condition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) session: SessionId,
    pub(super) wait: Wait,
    pub(super) report_at: u32,
}

/// One announcement, and what is only of this run.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) state: AnnouncementRecord,
    /// Place of each session among the recipients.
    pub(super) by_session: HashMap<SessionId, usize>,
    pub(super) watch: Option<Watch>,
    /// Since it was last stored.
    pub(super) unstored: Unstored,
    acks_stored: usize,
    /// Addressees that have it, acknowledged it, and may still get it.
    reached: u32,
    acked: u32,
    open: u32,
    /// A linked host reported since it was last stored.
    hosts_changed: bool,
    /// Users among the addressees, and among those that acknowledged it.
    users: u32,
    users_acked: u32,
}

impl Posted {
    pub(super) fn new(state: AnnouncementRecord, watch: Option<Watch>, unstored: Unstored) -> Self {
        let count = |is: fn(&Addressee) -> bool| {
            state.addressees.iter().filter(|addressee| is(addressee)).count() as u32
        };
        Self {
            reached: count(|a| a.reached),
            acked: count(|a| a.acked),
            open: count(|a| !a.reached && a.gone.is_none()),
            users: state.users(false),
            users_acked: state.users(true),
            acks_stored: if unstored == Unstored::Nothing { state.acks.len() } else { 0 },
            state,
            by_session: HashMap::new(),
            hosts_changed: false,
            watch,
            unstored,
        }
    }

    fn changed(&mut self) {
        if self.unstored == Unstored::Nothing {
            self.unstored = Unstored::Receipt;
        }
    }

    /// A session reported it; returns true if it is news.
    fn reach(&mut self, session: SessionId) -> bool {
        let Some(at) = self.by_session.get(&session) else { return false };
        let addressee = &mut self.state.addressees[*at];
        if addressee.reached {
            return false;
        }
        addressee.reached = true;
        self.reached += 1;
        self.open -= u32::from(addressee.gone.is_none());
        self.changed();
        true
    }

    /// Records that it will no longer reach a session; returns true if it has not.
    fn lose(&mut self, session: SessionId) -> bool {
        let Some(at) = self.by_session.remove(&session) else { return false };
        let addressee = &mut self.state.addressees[at];
        if addressee.reached {
            return false;
        }
        self.open -= u32::from(addressee.gone.is_none());
        addressee.gone = Some(Gone::Ended);
        self.changed();
        true
    }

    /// A user acknowledged it, for all their sessions.
    pub(super) fn ack(&mut self, acked: Acked) {
        let (mut news, mut known) = (0, 0);
        for addressee in &mut self.state.addressees {
            if addressee.member.uid == acked.uid {
                known += u32::from(addressee.acked);
                news += u32::from(!addressee.acked);
                addressee.acked = true;
            }
        }
        self.acked += news;
        self.users_acked += u32::from(news > 0 && known == 0);
        self.state.acks.push(acked);
        self.changed();
    }

    /// Returns the record that is to be stored now, if something changed.
    fn take_unstored(&mut self) -> Option<Record> {
        let acks = self.acks_stored;
        self.acks_stored = self.state.acks.len();
        let hosts_changed = std::mem::take(&mut self.hosts_changed);
        match std::mem::replace(&mut self.unstored, Unstored::Nothing) {
            Unstored::Nothing => None,
            Unstored::Receipt if !planted(Fault::ReceiptsStoredWhole) => {
                Some(Record::Receipt(Box::new(Receipt {
                    number: self.state.number.unwrap_or(0),
                    steps: self.state.addressees.iter().map(Addressee::step).collect(),
                    acks: self.state.acks[acks..].to_vec(),
                    hosts: if hosts_changed { self.state.hosts.clone() } else { Vec::new() },
                })))
            }
            Unstored::Receipt | Unstored::All => Some(Record::Notice(Box::new(self.state.clone()))),
        }
    }

    /// Returns true if one more name of a user may acknowledge it: the users share that.
    pub(super) fn may_ack(&self, uid: u32) -> bool {
        let acks = &self.state.acks;
        let own = acks.iter().filter(|acked| acked.uid == uid).count();
        // While half is free, the share is larger.
        let most = match acks.len() < RECEIPT_ACKS_MAX / 2 {
            true => usize::MAX,
            false => Holding::of(uid, acks.iter().map(|a| (a.uid, 1))).share(RECEIPT_ACKS_MAX),
        };
        own < most.min(RECEIPT_ACKS_PER_USER_MAX)
    }

    /// A linked host reported; returns true if it is news.
    pub(super) fn report_of_host(&mut self, host: &HostName, receipt: RemoteReceipt) -> bool {
        let hosts = &mut self.state.hosts;
        let at = hosts.iter().position(|of| of.host == *host).unwrap_or_else(|| {
            let unlinked = HostReception { host: host.clone(), receipt: None, unlinked_us: None };
            hosts.push(unlinked);
            hosts.len() - 1
        });
        if hosts[at].receipt == Some(receipt) {
            return false;
        }
        hosts[at].receipt = Some(receipt);
        self.hosts_changed = true;
        self.changed();
        true
    }

    fn is_covered(&self, watch: &Watch) -> bool {
        let local = self.state.addressees.len() as u32;
        let remote = |of: fn(&RemoteReceipt) -> u32| {
            let receipts = self.state.hosts.iter().filter_map(|host| host.receipt.as_ref());
            receipts.map(of).sum::<u32>()
        };
        // A host that is not linked is not waited for, and counts as missing.
        let silent = |host: &HostReception| host.receipt.is_none() && host.unlinked_us.is_none();
        let is_silent = self.state.hosts.iter().any(silent);
        let all = local + remote(|of| of.members);
        // Those of a host that has not reported may be any number.
        let most = |wanted: u32| if is_silent { wanted } else { wanted.min(all) };
        match watch.wait {
            Wait::Reached => {
                let is_settled = self.open == 0 && !is_silent && remote(|of| of.open) == 0;
                self.reached + remote(|of| of.reached) >= most(watch.report_at) || is_settled
            }
            // A user whose session is gone may still acknowledge from another one.
            Wait::Acked => self.acked + remote(|of| of.acked) >= most(watch.report_at),
            Wait::AckedUsers => self.users_acked >= watch.report_at.min(self.users),
        }
    }
}

/// A scheduled one that waits for its time.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) state: AnnouncementRecord,
    /// Not before this time of the monotonic clock: it could not be stored.
    pub(super) not_before_us: u64,
}

/// An announcement that has its number and is not published yet.
#[derive(Debug)]
pub(super) struct Announcing {
    pub(super) state: AnnouncementRecord,
    /// Session and serial number of the request that waits for the answer.
    pub(super) asked: Option<(SessionId, u32)>,
    /// Only to those in this room.
    pub(super) only: Option<StreamId>,
    pub(super) wait: Wait,
    pub(super) report_at: u32,
}

impl Announcing {
    /// Returns true if it is for the members of a room.
    pub(super) fn is_for(&self, room: StreamId) -> bool {
        self.only == Some(room)
    }
}

/// A session whose wait for a receipt is over, and the number of the announcement.
pub(super) type Covered = (SessionId, u64);

/// All announcements. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// By their secret numbers.
    scheduled: BTreeMap<u64, Waiting>,
    /// Scheduled announcements that were made in this run.
    schedules: u64,
    /// Numbered, and not published yet.
    committing: BTreeMap<u64, Announcing>,
    published: BTreeMap<u64, Posted>,
    /// Published ones whose storage a session waits for.
    urgent: BTreeSet<u64>,
    /// When receipts were last stored, microseconds.
    stored_us: u64,
    /// Open ones when they were last counted.
    open: usize,
}

impl Announcements {
    // ---- before they are published -----------------------------------------------------------

    /// Makes the number of a scheduled announcement. It does not tell how many others there are.
    pub(super) fn make_schedule(&mut self, secret: [u64; 2]) -> u64 {
        let order = Permutation::<SCHEDULE_HALF_BITS>::new(secret);
        loop {
            self.schedules += 1;
            let schedule = order.conceal(self.schedules);
            let is_new = !self.scheduled.contains_key(&schedule)
                && self.published.values().all(|posted| posted.state.schedule != Some(schedule));
            if schedule > 0 && is_new {
                return schedule;
            }
        }
    }

    /// Adds a scheduled announcement; `not_before_us`: microseconds of the monotonic clock.
    pub(super) fn schedule(
        &mut self,
        schedule: u64,
        state: AnnouncementRecord,
        not_before_us: u64,
    ) {
        self.scheduled.insert(schedule, Waiting { state, not_before_us });
    }

    pub(super) fn unschedule(&mut self, schedule: u64) -> Option<AnnouncementRecord> {
        self.scheduled.remove(&schedule).map(|waiting| waiting.state)
    }

    /// Scheduled announcements, in the order of their times.
    pub(super) fn scheduled(&self) -> impl Iterator<Item = &AnnouncementRecord> {
        let mut all: Vec<_> = self.scheduled.values().map(|w| &w.state).collect();
        all.sort_unstable_by_key(|state| state.order());
        all.into_iter()
    }

    /// Takes the scheduled announcements whose time has come, in the order of their times.
    pub(super) fn take_due(&mut self, now: Now) -> Vec<(u64, AnnouncementRecord)> {
        let is_due = |w: &Waiting| w.state.wall_us <= now.wall_us && now.mono_us >= w.not_before_us;
        let due = self.scheduled.iter().filter(|(_, w)| is_due(w));
        let mut due: Vec<_> = due.map(|(schedule, w)| (w.state.order(), *schedule)).collect();
        due.sort_unstable();
        let take = |(_, schedule)| Some((schedule, self.unschedule(schedule)?));
        due.into_iter().filter_map(take).collect()
    }

    /// Adds an announcement that has its number now.
    pub(super) fn begin(&mut self, number: u64, announcing: Announcing) {
        self.committing.insert(number, announcing);
    }

    /// Takes an announcement that is published now, or could not be stored.
    pub(super) fn take_begun(&mut self, number: u64) -> Option<Announcing> {
        self.committing.remove(&number)
    }

    /// Announcements that are not published yet.
    pub(super) fn begun(&self) -> impl Iterator<Item = &Announcing> {
        self.committing.values()
    }

    /// The room whose members alone get an announcement that is not published yet.
    pub(super) fn room_of_begun(&self, number: u64) -> Option<StreamId> {
        self.committing.get(&number)?.only
    }

    // ---- published ---------------------------------------------------------------------------

    /// Adds a published announcement, to be stored at once.
    pub(super) fn publish(&mut self, number: u64, state: AnnouncementRecord, watch: Option<Watch>) {
        let recipients = state.addressees.iter().enumerate();
        let by_session = recipients.map(|(at, a)| (a.member.session, at)).collect();
        let posted = Posted { by_session, ..Posted::new(state, watch, Unstored::All) };
        self.published.insert(number, posted);
        self.urgent.insert(number);
    }

    pub(super) fn get(&self, number: u64) -> Option<&Posted> {
        self.published.get(&number)
    }

    /// A published announcement that changes, to be stored at once.
    pub(super) fn change(&mut self, number: u64) -> Option<&mut Posted> {
        let posted = self.published.get_mut(&number)?;
        self.urgent.insert(number);
        Some(posted)
    }

    /// Cancels a published announcement; returns who waited for its receipt.
    pub(super) fn cancel(&mut self, number: u64, by: UserName) -> Option<Covered> {
        let posted = self.change(number)?;
        posted.state.cancelled_by = Some(by);
        posted.unstored = Unstored::All;
        posted.watch.take().map(|watch| (watch.session, number))
    }

    /// Published announcements, the oldest first.
    pub(super) fn published(&self) -> impl DoubleEndedIterator<Item = &Posted> {
        self.published.values()
    }

    /// Published announcements after a number.
    pub(super) fn published_after(&self, number: u64) -> impl Iterator<Item = (u64, &Posted)> {
        self.published.range(number + 1..).map(|(number, posted)| (*number, posted))
    }

    /// An announcement by its id: published, with its receipt, or scheduled.
    pub(super) fn find(&self, id: AnnouncementId) -> Option<Result<&Posted, &AnnouncementRecord>> {
        match id {
            AnnouncementId::Number(number) => self.get(number).map(Ok),
            AnnouncementId::Scheduled(schedule) => {
                let scheduled = self.scheduled.get(&schedule).map(|w| Err(&w.state));
                let published = self.published().find(|p| p.state.schedule == Some(schedule));
                scheduled.or(published.map(Ok))
            }
        }
    }

    /// Announcements that are kept for later members or a later time: users, and bytes of the
    /// texts.
    pub(super) fn kept(&self, now_us: i64) -> impl Iterator<Item = (u32, usize)> {
        let published = self.published().map(|p| &p.state);
        let kept = published
            .filter(move |s| s.retained && s.is_open(now_us))
            .chain(self.scheduled.values().map(|w| &w.state))
            .chain(self.begun().map(|a| &a.state).filter(|s| s.retained));
        kept.map(|state| (state.from.uid, state.text.len()))
    }

    /// Returns true if an announcement is still to be published, or to be shown to new members.
    pub(super) fn has_open(&self, now_us: i64) -> bool {
        let is_shown = |p: &Posted| p.state.retained && p.state.is_open(now_us);
        !self.scheduled.is_empty() || self.published().any(is_shown)
    }

    /// Counts open announcements; returns true if there are more or fewer than the last time.
    pub(super) fn count_open(&mut self, now_us: i64) -> bool {
        let open = self.published().filter(|p| p.state.is_open(now_us)).count();
        std::mem::replace(&mut self.open, open) != open
    }

    /// Forgets as many as needed. The user who has most loses the oldest: of their announcements
    /// one that is over, if there is one; of their receipts any. Returns the numbers of forgotten
    /// announcements, and who waited for receipts.
    pub(super) fn trim(&mut self, newest: u64) -> (Vec<u64>, Vec<Covered>) {
        let (mut forgotten, mut covered) = (Vec::new(), Vec::new());
        let Some(now_us) = self.get(newest).map(|p| p.state.wall_us) else {
            return (forgotten, covered);
        };
        while self.published.len() > NOTICES_KEPT_MAX {
            let others = || self.published.iter().filter(|(number, _)| **number != newest);
            let Some(uid) = heaviest(others().map(|(_, p)| (p.state.from.uid, 1))) else { break };
            let of_user = || others().filter(|(_, p)| p.state.from.uid == uid);
            let is_over = |p: &Posted| !(p.state.retained && p.state.is_open(now_us));
            let found = of_user().find(|(_, p)| is_over(p)).or_else(|| of_user().next());
            let Some(number) = found.map(|(number, _)| *number) else { break };
            covered.extend(self.forget(number));
            forgotten.push(number);
        }
        let mut sessions: usize = self.published().map(|p| p.state.addressees.len()).sum();
        while sessions > RECEIPT_SESSIONS_KEPT_MAX {
            let size = |p: &Posted| p.state.addressees.len();
            let is_other = |(number, p): &(&u64, &Posted)| **number != newest && size(p) > 0;
            let receipts = self.published.iter().filter(is_other);
            let Some(uid) = heaviest(receipts.map(|(_, p)| (p.state.from.uid, size(p)))) else {
                break;
            };
            let is_meant = |(number, p): &(&u64, &mut Posted)| {
                **number != newest && size(p) > 0 && p.state.from.uid == uid
            };
            let Some((number, posted)) = self.published.iter_mut().find(is_meant) else { break };
            sessions -= size(posted);
            posted.state.addressees = Vec::new();
            posted.state.forgotten = true;
            covered.extend(posted.watch.take().map(|watch| (watch.session, *number)));
            *posted = Posted::new(posted.state.clone(), None, Unstored::All);
        }
        (forgotten, covered)
    }

    /// Forgets a published announcement; returns who waited for its receipt.
    fn forget(&mut self, number: u64) -> Option<Covered> {
        let posted = self.published.remove(&number)?;
        posted.watch.map(|watch| (watch.session, number))
    }

    /// Forgets all announcements for a room that is deleted.
    pub(super) fn forget_room(&mut self, room: &RoomName) -> (Vec<AnnouncementId>, Vec<Covered>) {
        let of_room = |state: &AnnouncementRecord| state.room.as_ref() == Some(room);
        let published = self.published.iter().filter(|(_, p)| of_room(&p.state));
        let published: Vec<_> = published.map(|(number, _)| *number).collect();
        let covered = published.iter().filter_map(|number| self.forget(*number)).collect();
        let scheduled = self.scheduled.iter().filter(|(_, w)| of_room(&w.state));
        let scheduled: Vec<_> = scheduled.map(|(schedule, _)| *schedule).collect();
        self.scheduled.retain(|schedule, _| !scheduled.contains(schedule));
        let published = published.into_iter().map(AnnouncementId::Number);
        (published.chain(scheduled.into_iter().map(AnnouncementId::Scheduled)).collect(), covered)
    }

    // ---- receipts ----------------------------------------------------------------------------

    /// A session reported announcements after one number and up to another.
    pub(super) fn reached(&mut self, id: SessionId, after: u64, upto: u64) -> Vec<Covered> {
        let range = self.published.range_mut(after + 1..=upto);
        let news = range.filter_map(|(number, posted)| posted.reach(id).then_some(*number));
        let news: Vec<_> = news.collect();
        news.into_iter().filter_map(|number| self.covered(number)).collect()
    }

    /// A session ended: it will no longer report, and does not wait for receipts.
    pub(super) fn session_ended(&mut self, id: SessionId) -> Vec<Covered> {
        for posted in self.published.values_mut() {
            posted.watch = posted.watch.filter(|watch| watch.session != id);
        }
        self.lost(|_| true, id)
    }

    /// A session left a room: announcements for it that have not reached the session will not reach
    /// it.
    pub(super) fn left_room(&mut self, id: SessionId, room: &RoomName) -> Vec<Covered> {
        let is_for_room = |state: &AnnouncementRecord| state.room.as_ref() == Some(room);
        self.lost(|state| is_for_room(state) && !planted(Fault::LeaverStaysRecipient), id)
    }

    fn lost(
        &mut self,
        is_meant: impl Fn(&AnnouncementRecord) -> bool,
        id: SessionId,
    ) -> Vec<Covered> {
        let meant = self.published.iter_mut().filter(|(_, posted)| is_meant(&posted.state));
        let news = meant.filter_map(|(number, posted)| posted.lose(id).then_some(*number));
        let news: Vec<_> = news.collect();
        news.into_iter().filter_map(|number| self.covered(number)).collect()
    }

    /// Returns who waits for a receipt that is complete now: once.
    pub(super) fn covered(&mut self, number: u64) -> Option<Covered> {
        let posted = self.published.get_mut(&number)?;
        let watch = posted.watch.filter(|watch| posted.is_covered(watch))?;
        posted.watch = None;
        Some((watch.session, number))
    }

    // ---- storing -----------------------------------------------------------------------------

    pub(super) fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Takes the records of announcements that a session waits for, each once however often it
    /// changed, with the user who made it.
    pub(super) fn take_urgent(&mut self) -> Vec<(u32, Record)> {
        let urgent = std::mem::take(&mut self.urgent).into_iter();
        let records = urgent.filter_map(|number| {
            let posted = self.published.get_mut(&number)?;
            Some((posted.state.from.uid, posted.take_unstored()?))
        });
        records.collect()
    }

    /// Takes the records of everything that changed.
    pub(super) fn take_unstored(&mut self) -> Vec<Record> {
        self.published.values_mut().filter_map(Posted::take_unstored).collect()
    }

    /// Returns true if receipts are to be stored now.
    pub(super) fn is_storing_due(&mut self, now_us: u64) -> bool {
        let is_due = now_us.saturating_sub(self.stored_us) >= NOTICE_RECORD_EVERY_MS * 1000;
        if is_due {
            self.stored_us = now_us;
        }
        is_due
    }

    /// A receipt could not be stored: the announcement is stored whole again.
    pub(super) fn receipt_failed(&mut self, number: u64) {
        if let Some(posted) = self.published.get_mut(&number) {
            posted.unstored = Unstored::All;
        }
    }

    /// Adds an announcement of an earlier run.
    pub(super) fn restore(&mut self, mut state: AnnouncementRecord) {
        // Sessions of another run may have had the same numbers as those of this one.
        let mut from = (*state.from).clone();
        from.session = SessionId(0);
        state.from = from.into();
        for addressee in state.addressees.iter_mut().filter(|a| !a.reached) {
            addressee.gone.get_or_insert(Gone::Unknown);
        }
        match (state.number, state.schedule) {
            (Some(number), _) => {
                self.published.insert(number, Posted::new(state, None, Unstored::Nothing));
            }
            (None, Some(schedule)) => self.schedule(schedule, state, 0),
            (None, None) => {}
        }
    }
}
