//! Receipts of announcements: who has them, and who acknowledged them.

use std::sync::Arc;

use super::{
    Hub,
    announcements::{Covered, Posted},
};
use crate::{
    chat::{
        announcement::{Acked, Addressee, Gone, HostReception},
        clock::Now,
        event::Event,
        linked::{ANNOUNCEMENTS_KEY, RemoteReceipt},
        member::SessionId,
        message::AnnouncementId,
        names::{HostName, RoomName},
        refusal::{Refusal, RefusalCode, refuse},
        reply::{HostReceiptInfo, Missing, ReceiptInfo, Reply},
    },
    limits::{LINK_HOSTS_MAX, RECEIPT_MISSING_PER_FRAME_MAX, SESSIONS_MAX},
};

impl Hub {
    /// A member reported announcements up to a number.
    pub(super) fn receipts_reached(&mut self, id: SessionId, after: u64, upto: u64) {
        let covered = self.announcements.reached(id, after, upto);
        self.tell_covered(covered);
    }

    /// Forgets an ended session: it will no longer report, and its receipts have no reader.
    pub(super) fn receipts_session_ended(&mut self, id: SessionId) {
        let covered = self.announcements.session_ended(id);
        self.tell_covered(covered);
    }

    /// A session left a room: what was announced there and has not reached it will not reach it any
    /// more.
    pub(super) fn receipts_left_room(&mut self, id: SessionId, room: &RoomName) {
        let covered = self.announcements.left_room(id, room);
        self.tell_covered(covered);
    }

    pub(super) fn tell_covered(&mut self, covered: impl IntoIterator<Item = Covered>) {
        for (session, number) in covered {
            self.send(session, Event::Covered { number });
        }
    }

    /// Returns the present receipt of an announcement.
    pub(super) fn receipt(
        &self,
        id: SessionId,
        of: AnnouncementId,
        skip: u32,
    ) -> Result<Reply, Refusal> {
        let state = match self.visible_notice(id, of)? {
            Ok(posted) => &posted.state,
            Err(_) => return refuse(RefusalCode::Failed, format!("{of} is not published yet")),
        };
        let uid = self.sessions[&id].peer.uid;
        if state.from.uid != uid {
            self.may_read_notice(uid, state)?;
        }
        if state.forgotten {
            return refuse(RefusalCode::Absent, format!("the receipt of {of} is no longer stored"));
        }
        let number = state.number.unwrap_or(0);
        // By their places among the addressees, which do not change.
        let mut rest = state.addressees.iter().enumerate().skip(skip as usize);
        let mut missing = rest.by_ref().filter(|(_, a)| !a.reached);
        let shown: Vec<_> = missing.by_ref().take(RECEIPT_MISSING_PER_FRAME_MAX).collect();
        let next = missing.next().map(|(at, _)| at as u32);
        let shown: Vec<_> = shown.into_iter().map(|(_, a)| self.missing(a)).collect();
        Ok(Reply::Receipt(ReceiptInfo {
            number,
            members: state.addressees.len() as u32,
            reached: state.reached(),
            acked: state.acked(),
            users: state.users(false),
            users_acked: state.users(true),
            next,
            open: state.addressees.iter().filter(|a| !a.reached && a.gone.is_none()).count() as u32,
            hosts: state.hosts.iter().map(host_info).collect(),
            missing: shown,
        }))
    }

    pub(super) fn missing(&self, addressee: &Addressee) -> Missing {
        let state = match (self.sessions.get(&addressee.member.session), addressee.gone) {
            (_, Some(Gone::Unknown)) => "unknown",
            (_, Some(Gone::Ended)) | (None, None) => "gone",
            (Some(session), None) => self.sessions.state_of(session).word(),
        };
        Missing {
            name: addressee.member.name(),
            pid: addressee.member.pid,
            state: state.to_owned(),
        }
    }

    /// Takes what another host reports of an announcement of this one.
    pub(super) fn take_remote_receipt(
        &mut self,
        number: u64,
        host: &HostName,
        receipt: RemoteReceipt,
    ) -> Result<Reply, Refusal> {
        let is_own = |posted: &Posted| {
            let state = &posted.state;
            let is_known = state.hosts.iter().any(|of| of.host == *host);
            state.origin.is_none() && (is_known || state.hosts.len() < LINK_HOSTS_MAX)
        };
        if !self.announcements.get(number).is_some_and(is_own) {
            return refuse(RefusalCode::Absent, format!("unknown announcement !{number}"));
        }
        let RemoteReceipt { members, reached, acked, open } = receipt;
        if members > SESSIONS_MAX as u32 || reached.max(acked).max(open) > members {
            let text = format!("{host} reports more than its members");
            return refuse(RefusalCode::Input, text);
        }
        if let Some(posted) = self.announcements.change(number)
            && posted.report_of_host(host, receipt)
        {
            let covered = self.announcements.covered(number);
            self.tell_covered(covered);
        }
        Ok(Reply::Done)
    }

    /// Linked hosts that an announcement of now is for.
    pub(super) fn hosts_to_reach(&self, now: Now, room: Option<&RoomName>) -> Vec<HostReception> {
        let exports = |key: &str| self.links.exports(key);
        if !exports(ANNOUNCEMENTS_KEY) || room.is_some_and(|room| !exports(room.key())) {
            return Vec::new();
        }
        let hosts = self.remote_rows.hosts_seen(now).filter(|(_, seen)| seen.announces);
        let receptions = hosts.map(|(host, seen)| HostReception {
            host: host.clone(),
            receipt: None,
            unlinked_us: (!seen.reachable).then_some(seen.since_wall_us),
        });
        receptions.collect()
    }

    /// A person says that it was seen: for all sessions of the user.
    pub(super) fn ack_notice(
        &mut self,
        now: Now,
        id: SessionId,
        of: AnnouncementId,
    ) -> Result<Reply, Refusal> {
        let uid = self.sessions[&id].peer.uid;
        let number = match self.visible_notice(id, of)? {
            Ok(posted) if posted.state.cancelled_by.is_some() => {
                return refuse(RefusalCode::Failed, format!("{of} was canceled"));
            }
            Ok(posted) if !posted.may_ack(uid) => {
                let text = "too many labels of this user have acknowledged the announcement";
                return refuse(RefusalCode::Failed, text);
            }
            Ok(posted) => posted.state.number.unwrap_or(0),
            Err(_) => return refuse(RefusalCode::Failed, format!("{of} is not published yet")),
        };
        let member = Arc::clone(&self.sessions[&id].member);
        let (uid, label) = (member.uid, member.label.clone());
        let Some(posted) = self.announcements.get(number) else { return Ok(Reply::Done) };
        if posted.state.is_acked_as(uid, label.as_ref()) {
            return Ok(Reply::Done);
        }
        if let Some(posted) = self.announcements.change(number) {
            posted.ack(Acked { uid, label, name: member.name(), wall_us: now.wall_us });
        }
        self.follows.note_change();
        let covered = self.announcements.covered(number);
        self.tell_covered(covered);
        Ok(Reply::Done)
    }
}

fn host_info(of: &HostReception) -> HostReceiptInfo {
    let HostReception { host, receipt, unlinked_us } = of;
    HostReceiptInfo { host: host.clone(), receipt: *receipt, unlinked_wall_us: *unlinked_us }
}
