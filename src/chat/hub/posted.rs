//! Announcements as their readers see them: lists, texts, and those that are retained.

use super::{Hub, announcements::Posted};
use crate::chat::{
    announcement::AnnouncementRecord,
    batch::{Builder, Draft},
    clock::Now,
    event::Event,
    frames::ANNOUNCEMENTS,
    member::SessionId,
    message::AnnouncementId,
    refusal::{Refusal, RefusalCode, refuse},
    reply::{AnnouncementInfo, Reply},
    stream_id::StreamId,
};

/// Bytes of announcements in one answer; the caller asks again for more.
pub(super) const LIST_BYTES: usize = 40_000;

/// Names in the answer about one announcement: with the longest text they fit into a frame.
const ACKED_BY_NAMED: usize = 128;

impl Hub {
    /// An announcement that this session may see: announced (with its receipt), or waiting.
    pub(super) fn visible_notice(
        &self,
        id: SessionId,
        of: AnnouncementId,
    ) -> Result<Result<&Posted, &AnnouncementRecord>, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        let found = self.announcements.find(of);
        let state = |found: &Result<&Posted, &AnnouncementRecord>| match found {
            Ok(posted) => self.sees_notice(uid, &posted.state),
            Err(state) => self.sees_notice(uid, state),
        };
        match found.filter(state) {
            Some(found) => Ok(found),
            None => refuse(RefusalCode::Absent, format!("unknown announcement {of}")),
        }
    }

    /// Returns true if a user may know of it: its maker, operators, who may take it back, and, once
    /// it is announced, its recipients.
    fn sees_notice(&self, uid: u32, state: &AnnouncementRecord) -> bool {
        let made_it = state.from.uid == uid
            && self
                .room_of(state)
                .is_none_or(|tag| tag.is_some_and(|tag| self.exists_for(uid, tag)));
        let reads_it = state.number.is_some() && self.may_read_notice(uid, state).is_ok();
        made_it || reads_it || self.is_operator(uid)
    }

    /// Checks that a user may read it, and whom it reached: it is for all, or the user may read its
    /// room.
    pub(super) fn may_read_notice(
        &self,
        uid: u32,
        state: &AnnouncementRecord,
    ) -> Result<(), Refusal> {
        match self.room_of(state) {
            None => Ok(()),
            Some(Some(tag)) => self.may_read(uid, tag),
            Some(None) => refuse(RefusalCode::Absent, "the room of the announcement was deleted"),
        }
    }

    /// The room it is for, if it is for one; none if that is gone.
    pub(super) fn room_of(&self, state: &AnnouncementRecord) -> Option<Option<StreamId>> {
        state.room.as_ref().map(|room| self.directory.room(room))
    }

    fn notice_info(&self, id: SessionId, now: Now, state: &AnnouncementRecord) -> AnnouncementInfo {
        let member = &self.sessions[&id].member;
        // An operator may take back an announcement to a private room, and reads only as much of it
        // as of the room.
        let reads = state.from.uid == member.uid || self.may_read_notice(member.uid, state).is_ok();
        AnnouncementInfo {
            id: state.id(),
            schedule: state.schedule,
            wall_us: state.wall_us,
            from: (*state.from).clone(),
            level: state.level,
            room: state.room.clone(),
            expires_wall_us: state.expires_wall_us().filter(|_| state.number.is_some()),
            retained: state.retained,
            ack: state.ack,
            text: if reads { state.text.to_string() } else { String::new() },
            standing: state.standing(now.wall_us),
            members: state.addressees.len() as u32,
            reached: state.reached(),
            acked: state.acked(),
            acked_by_me: state.is_acked_by(member.uid),
            acks: state.acks.len() as u32,
            acked_by: Vec::new(),
            origin: state.origin.as_ref().map(|from| from.origin.seq),
        }
    }

    /// Those that wait, in their order, then those that were announced, the newest first.
    pub(super) fn notices_from(&self, now: Now, id: SessionId, skip: u32) -> Reply {
        let uid = self.sessions[&id].peer.uid;
        let waiting = self.announcements.scheduled();
        let posted = self.announcements.published().rev().map(|p| &p.state);
        let mut seen = waiting.chain(posted).filter(|s| self.sees_notice(uid, s));
        let mut seen = seen.by_ref().skip(skip as usize).peekable();
        let (mut notices, mut bytes) = (Vec::new(), 0);
        while let Some(state) = seen.peek() {
            bytes += state.text.len() + 512;
            if bytes > LIST_BYTES && !notices.is_empty() {
                break;
            }
            notices.push(self.notice_info(id, now, state));
            seen.next();
        }
        Reply::Notices { notices, more: seen.peek().is_some() }
    }

    /// One of them.
    pub(super) fn notice(
        &self,
        now: Now,
        id: SessionId,
        of: AnnouncementId,
    ) -> Result<Reply, Refusal> {
        let state = match self.visible_notice(id, of)? {
            Ok(posted) => &posted.state,
            Err(state) => state,
        };
        let mut info = self.notice_info(id, now, state);
        info.acked_by =
            state.acks.iter().take(ACKED_BY_NAMED).map(|acked| acked.name.clone()).collect();
        Ok(Reply::Notice(Box::new(info)))
    }

    /// Gives a new member the announcements that are still to be seen: those for all, or (`room`)
    /// those for a room.
    pub(super) fn give_retained(&mut self, now: Now, id: SessionId, room: Option<StreamId>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(key) = session.sub_key(ANNOUNCEMENTS) else { return };
        // The stream itself brings what comes after the cursor of a new subscription.
        let seen =
            if room.is_none() { self.stream(ANNOUNCEMENTS).subs[key].acked } else { u64::MAX };
        let had = &session.retained_given;
        let given = |posted: &&Posted| {
            let of = posted.state.room.as_ref().map(|name| self.directory.room(name));
            let fits = match (room, of) {
                (None, None) => true,
                (Some(room), Some(of)) => of == Some(room),
                (None, Some(_)) | (Some(_), None) => false,
            };
            let open = posted.state.retained && posted.state.is_open(now.wall_us);
            let is_new = !posted.by_session.contains_key(&id)
                && posted
                    .state
                    .number
                    .is_some_and(|number| number <= seen && !had.contains(&number));
            fits && open && is_new
        };
        let mut builder = Builder::default();
        let bodies: Vec<(u64, Vec<u8>)> = self
            .announcements
            .published()
            .filter(given)
            .filter_map(|posted| {
                let state = &posted.state;
                let number = state.number?;
                builder.begin(0, ANNOUNCEMENTS, number);
                let notice = state.notice();
                let draft = Draft {
                    from: &state.from,
                    wall_us: state.wall_us,
                    reply_to: None,
                    to_label: None,
                    notice: Some(&notice),
                    will: None,
                    origin: None,
                    withheld: false,
                    text: &state.text,
                };
                builder.push(0, &draft).then(|| (number, builder.bytes().to_vec()))
            })
            .collect();
        for (number, body) in bodies {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.retained_given.insert(number);
            }
            self.send(id, Event::Retained { body });
        }
    }

    /// Number of announcements that a user should look at: open, and not acknowledged.
    pub(super) fn open_notices(&self, now_us: i64, uid: u32) -> u64 {
        let waits = |posted: &&Posted| {
            let state = &posted.state;
            state.is_open(now_us)
                && self.may_read_notice(uid, state).is_ok()
                && !state.is_acked_by(uid)
        };
        self.announcements.published().filter(waits).count() as u64
    }

    /// Tells a member that comes back which of the announcements it will get now were cancelled.
    pub(super) fn tell_cancelled(&mut self, id: SessionId, after: u64) {
        let uid = self.sessions[&id].peer.uid;
        let cancelled = self.announcements.published_after(after);
        let cancelled: Vec<_> = cancelled
            .filter(|(_, p)| self.may_read_notice(uid, &p.state).is_ok())
            .filter_map(|(number, p)| Some((number, p.state.cancelled_by.clone()?)))
            .collect();
        for (number, by) in cancelled {
            self.send(id, Event::Cancelled { number, by });
        }
    }

    /// Returns true if an announcement still has to be made, or to be shown to later members.
    #[must_use]
    pub fn has_open_notices(&self, now: Now) -> bool {
        self.announcements.has_open(now.wall_us)
    }
}
