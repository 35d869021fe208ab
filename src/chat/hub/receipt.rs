//! Announcements and their receipts: who should have it, who has it, who is missing.

use std::{collections::HashMap, sync::Arc};

use super::{ANNOUNCEMENTS, Action, Frame, Hub, Now, submit::EntryDraft};
use crate::{
    chat::{
        member::{Level, Member, SessionId},
        message::Notice,
        names::RoomName,
        rules::Policy,
        text::Text,
        verbs::{Event, Missing, ReceiptInfo, Refusal, RefusalCode, Reply, StreamTag},
    },
    limits::{RECEIPT_MISSING_PER_FRAME_MAX, RECEIPTS_KEPT_MAX, RECEIPTS_PER_ACCOUNT_MAX},
};

#[derive(Debug)]
struct Addressee {
    member: Arc<Member>,
    reached: bool,
    /// Its session ended before it reported.
    gone: bool,
}

/// How far one announcement came.
#[derive(Debug)]
pub(super) struct Receipt {
    announcer: SessionId,
    addressees: HashMap<SessionId, Addressee>,
    reached: u32,
    report_at: u32,
    told: bool,
}

impl Receipt {
    fn gone(&self) -> u32 {
        self.addressees.values().filter(|a| a.gone && !a.reached).count() as u32
    }

    /// Whether waiting longer could not change what was asked for.
    fn is_covered(&self) -> bool {
        let all = self.addressees.len() as u32;
        self.reached >= self.report_at.min(all) || self.reached + self.gone() >= all
    }
}

/// An announcement that has its number and is not published yet.
#[derive(Debug)]
pub(super) struct Announcing {
    announcer: SessionId,
    serial: u32,
    /// Only to those in this room.
    only: Option<StreamTag>,
    report_at: u32,
}

/// What is to be announced.
#[derive(Debug)]
pub(super) struct Announcement<'a> {
    pub(super) level: Level,
    pub(super) room: Option<RoomName>,
    pub(super) text: &'a Text,
    pub(super) report_at: u32,
}

impl Hub {
    /// Numbers an announcement; it is answered once it is published.
    pub(super) fn announce(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        announcement: Announcement<'_>,
    ) -> Result<(), Refusal> {
        let Announcement { level, room, text, report_at } = announcement;
        let uid = self.sessions[&id].peer.uid;
        if !self.rights_of(uid).may_announce(level) {
            let who = Policy::words(&self.rules.policy.announce[usize::from(level.number())]);
            let text = format!("only {who} may announce at level {}", level.word());
            return Err(Refusal::new(RefusalCode::Denied, text));
        }
        let only = match &room {
            None => None,
            Some(room) => {
                let tag = self.known_room(uid, room)?;
                self.may_speak(uid, tag)?;
                Some(tag)
            }
        };
        let from = Arc::clone(&self.sessions[&id].member);
        let notice = Notice { level, room, expires_wall_us: None, retained: false, ack: false };
        let draft = EntryDraft {
            from,
            reply_to: None,
            to_label: None,
            notice: Some(Box::new(notice)),
            text: text.as_str().into(),
            submit: None,
        };
        let number = self.number(now, ANNOUNCEMENTS, draft);
        self.announcing.insert(number, Announcing { announcer: id, serial, only, report_at });
        self.hold_back(id, ANNOUNCEMENTS);
        Ok(())
    }

    /// An announcement could not be stored: its number is free again.
    pub(super) fn announcing_failed(&mut self, number: u64, why: &str) {
        if let Some(Announcing { announcer, serial, .. }) = self.announcing.remove(&number) {
            let result = Err(Refusal::new(RefusalCode::Failed, why));
            self.out.push(Action::Send(announcer, Frame::Reply { serial, result }));
        }
    }

    /// An announcement is published: whoever is a member now counts.
    pub(super) fn announced(&mut self, number: u64) {
        let Some(announcing) = self.announcing.remove(&number) else { return };
        let Announcing { announcer: id, serial, only, report_at } = announcing;
        let own = self.sessions.get(&id).map(|s| (s.peer.pid, s.peer.start));
        let announcements = self.stream(ANNOUNCEMENTS);
        let addressees: HashMap<_, _> = announcements
            .subs
            .iter()
            .filter_map(|(_, sub)| self.sessions.get(&sub.session))
            .filter(|s| Some((s.peer.pid, s.peer.start)) != own)
            .filter(|s| only.is_none_or(|tag| s.sub_key(tag).is_some()))
            .map(|s| {
                let addressee =
                    Addressee { member: Arc::clone(&s.member), reached: false, gone: false };
                (s.member.session, addressee)
            })
            .collect();
        let members = addressees.len() as u32;
        let result = Ok(Reply::Announced { number, members });
        self.out.push(Action::Send(id, Frame::Reply { serial, result }));
        let receipt = Receipt { announcer: id, addressees, reached: 0, report_at, told: false };
        self.receipts.insert(number, receipt);
        let of = |hub: &Self, r: &Receipt| hub.sessions.get(&r.announcer).map(|s| s.account);
        let account = self.sessions.get(&id).map(|s| s.account);
        let own: Vec<u64> = self
            .receipts
            .iter()
            .filter(|(_, r)| of(self, r) == account)
            .map(|(number, _)| *number)
            .collect();
        if own.len() > RECEIPTS_PER_ACCOUNT_MAX {
            self.receipts.remove(&own[0]);
        } else if self.receipts.len() > RECEIPTS_KEPT_MAX {
            self.receipts.pop_first();
        }
        self.tell_covered(number);
    }

    /// A member reported announcements up to a number.
    pub(super) fn receipts_reached(&mut self, id: SessionId, after: u64, upto: u64) {
        let mut covered = Vec::new();
        for (number, receipt) in self.receipts.range_mut(after + 1..=upto) {
            if let Some(addressee) = receipt.addressees.get_mut(&id)
                && !addressee.reached
            {
                addressee.reached = true;
                receipt.reached += 1;
                covered.push(*number);
            }
        }
        for number in covered {
            self.tell_covered(number);
        }
    }

    /// A session ended: it will not report any more, and nobody waits for its receipts.
    pub(super) fn receipts_session_ended(&mut self, id: SessionId) {
        let mut covered = Vec::new();
        for (number, receipt) in &mut self.receipts {
            if let Some(addressee) = receipt.addressees.get_mut(&id)
                && !addressee.reached
            {
                addressee.gone = true;
                covered.push(*number);
            }
        }
        for number in covered {
            self.tell_covered(number);
        }
    }

    fn tell_covered(&mut self, number: u64) {
        let Some(receipt) = self.receipts.get_mut(&number) else { return };
        if receipt.told || !receipt.is_covered() {
            return;
        }
        receipt.told = true;
        let announcer = receipt.announcer;
        self.send(announcer, Event::Covered { number });
    }

    pub(super) fn receipt(&self, id: SessionId, number: u64, skip: u32) -> Result<Reply, Refusal> {
        let receipt = self.receipts.get(&number).filter(|r| r.announcer == id);
        let Some(receipt) = receipt else {
            let text = format!("there is no receipt of !{number} for this session");
            return Err(Refusal::new(RefusalCode::Absent, text));
        };
        let mut missing: Vec<_> = receipt.addressees.values().filter(|a| !a.reached).collect();
        missing.sort_by_key(|a| a.member.session);
        let rest = missing.len().saturating_sub(skip as usize);
        let shown = missing.iter().skip(skip as usize).take(RECEIPT_MISSING_PER_FRAME_MAX);
        let shown: Vec<_> = shown.map(|a| self.missing(a)).collect();
        let mut uids: Vec<_> = receipt.addressees.values().map(|a| a.member.uid).collect();
        uids.sort_unstable();
        uids.dedup();
        Ok(Reply::Receipt(ReceiptInfo {
            number,
            members: receipt.addressees.len() as u32,
            reached: receipt.reached,
            acked: 0,
            users: uids.len() as u32,
            users_acked: 0,
            missing_more: (rest - shown.len()) as u32,
            missing: shown,
        }))
    }

    fn missing(&self, addressee: &Addressee) -> Missing {
        let state = match self.sessions.get(&addressee.member.session) {
            Some(session) if !addressee.gone => self.state_of(session).word(),
            Some(_) | None => "gone",
        };
        Missing {
            name: addressee.member.name(),
            pid: addressee.member.pid,
            state: state.to_owned(),
        }
    }
}
