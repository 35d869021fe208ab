//! An announcement with its receipt, as a history keeps it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    linked::{ImportedFrom, RemoteReceipt},
    member::{Level, Member},
    message::{AnnouncementId, Notice},
    names::{HostName, Label, RoomName, UserName},
    reply::AnnouncementState,
    request::Announce,
};

/// End of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Gone {
    /// Its session ended before it reported.
    Ended,
    /// The server ended before it reported.
    Unknown,
}

/// One session that should have an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Addressee {
    pub(super) member: Arc<Member>,
    pub(super) reached: bool,
    pub(super) acked: bool,
    pub(super) gone: Option<Gone>,
}

/// A person's word that an announcement was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Acked {
    pub(super) uid: u32,
    pub(super) label: Option<Label>,
    pub(super) name: String,
    pub(super) wall_us: i64,
}

/// An announcement with everything that is known of it; kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncementRecord {
    /// Its number, once it is announced.
    pub(super) number: Option<u64>,
    /// Its number among those that were scheduled.
    pub(super) schedule: Option<u64>,
    /// When it was or is to be announced, microseconds since 1970.
    pub(super) wall_us: i64,
    /// When it was asked for, microseconds since 1970: of several for one time the earliest is the
    /// first.
    #[serde(default)]
    pub(super) asked_us: i64,
    pub(super) from: Arc<Member>,
    pub(super) level: Level,
    pub(super) room: Option<RoomName>,
    /// Time until it expires, from its publication on, microseconds.
    pub(super) expires_after_us: Option<u64>,
    pub(super) retained: bool,
    pub(super) ack: bool,
    pub(super) text: Box<str>,
    pub(super) cancelled_by: Option<UserName>,
    pub(super) addressees: Vec<Addressee>,
    /// Its recipients are no longer known.
    pub(super) forgotten: bool,
    pub(super) acks: Vec<Acked>,
    /// Present if a user of a linked host made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<ImportedFrom>,
    /// Linked hosts that it is for, each with what it reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) hosts: Vec<HostReception>,
}

/// Reception of an announcement by a linked host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostReception {
    pub(super) host: HostName,
    /// Present once the host has reported.
    pub(super) receipt: Option<RemoteReceipt>,
    /// If the host was not linked at the publication: since when, microseconds since 1970; 0 if
    /// that is not known.
    pub(super) unlinked_us: Option<i64>,
}

impl AnnouncementRecord {
    /// An announcement that is neither numbered nor scheduled yet. `wall_us`: microseconds since
    /// 1970.
    pub(super) fn new(
        from: Arc<Member>,
        announce: &Announce,
        room: Option<RoomName>,
        wall_us: i64,
    ) -> Self {
        Self {
            number: None,
            schedule: None,
            wall_us,
            asked_us: wall_us,
            from,
            level: announce.level,
            room,
            expires_after_us: announce.expires_us,
            retained: announce.retain,
            ack: announce.ack,
            text: announce.text.as_str().into(),
            cancelled_by: None,
            addressees: Vec::new(),
            forgotten: false,
            acks: Vec::new(),
            origin: None,
            hosts: Vec::new(),
        }
    }

    /// Returns the number of sessions that it was for.
    pub(super) fn recipients(&self) -> usize {
        self.addressees.len()
    }

    /// Returns what puts those that wait into their order.
    pub(super) fn order(&self) -> (i64, i64, Option<u64>) {
        (self.wall_us, self.asked_us, self.schedule)
    }

    /// Returns the id that people see.
    #[must_use]
    pub fn id(&self) -> AnnouncementId {
        match (self.number, self.schedule) {
            (Some(number), _) => AnnouncementId::Number(number),
            (None, schedule) => AnnouncementId::Scheduled(schedule.unwrap_or(0)),
        }
    }

    pub(super) fn expires_wall_us(&self) -> Option<i64> {
        let after = i64::try_from(self.expires_after_us?).unwrap_or(i64::MAX);
        Some(self.wall_us.saturating_add(after))
    }

    pub(super) fn notice(&self) -> Notice {
        Notice {
            level: self.level,
            room: self.room.clone(),
            expires_wall_us: self.expires_wall_us(),
            retained: self.retained,
            ack: self.ack,
        }
    }

    pub(super) fn standing(&self, now_us: i64) -> AnnouncementState {
        if self.cancelled_by.is_some() {
            AnnouncementState::Cancelled
        } else if self.number.is_none() {
            AnnouncementState::Waiting
        } else if self.expires_wall_us().is_some_and(|at| at <= now_us) {
            AnnouncementState::Expired
        } else {
            AnnouncementState::Open
        }
    }

    /// Returns true if it is still shown to those who come, or asks for an answer.
    pub(super) fn is_open(&self, now_us: i64) -> bool {
        self.standing(now_us) == AnnouncementState::Open && (self.retained || self.ack)
    }

    pub(super) fn is_acked_by(&self, uid: u32) -> bool {
        self.acks.iter().any(|acked| acked.uid == uid)
    }

    pub(super) fn is_acked_as(&self, uid: u32, label: Option<&Label>) -> bool {
        self.acks.iter().any(|a| a.uid == uid && a.label.as_ref() == label)
    }

    /// Number of users among the addressees, or among those that acknowledged it.
    pub(super) fn users(&self, acked: bool) -> u32 {
        let of = self.addressees.iter().filter(|a| a.acked || !acked);
        let mut uids: Vec<_> = of.map(|a| a.member.uid).collect();
        uids.sort_unstable();
        uids.dedup();
        uids.len() as u32
    }

    pub(super) fn reached(&self) -> u32 {
        self.addressees.iter().filter(|a| a.reached).count() as u32
    }

    pub(super) fn acked(&self) -> u32 {
        self.addressees.iter().filter(|a| a.acked).count() as u32
    }
}

/// Changes of an announcement since it was stored whole: small, however many recipients it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Number of the announcement.
    pub number: u64,
    /// A letter for each addressee: what it reported, and how it ended.
    pub(super) steps: String,
    /// Acknowledgments since the last one that was stored.
    pub(super) acks: Vec<Acked>,
    /// Linked hosts that reported, if one did since it was last stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) hosts: Vec<HostReception>,
}

impl Receipt {
    /// The parts that are stored apart: one for what all reported, and one for each acknowledgment.
    /// Each has a key among those of the same announcement.
    #[must_use]
    pub fn parts(&self) -> Vec<(String, Self)> {
        let part = |steps: &str, acks| {
            let (number, steps) = (self.number, steps.to_owned());
            Self { number, steps, acks, hosts: Vec::new() }
        };
        let ack = |acked: &Acked| {
            let label = acked.label.as_ref().map_or("", Label::as_str);
            (format!("{} {label}", acked.uid), part("", vec![acked.clone()]))
        };
        let steps = (String::new(), part(&self.steps, Vec::new()));
        let hosts = (!self.hosts.is_empty()).then(|| {
            let hosts = Self { hosts: self.hosts.clone(), ..part("", Vec::new()) };
            // No user id has this form.
            ("hosts".to_owned(), hosts)
        });
        [steps].into_iter().chain(self.acks.iter().map(ack)).chain(hosts).collect()
    }
}

impl Addressee {
    pub(super) const STEPS: u8 = 4;

    pub(super) fn step(&self) -> char {
        let gone = match self.gone {
            None => 0,
            Some(Gone::Ended) => 1,
            Some(Gone::Unknown) => 2,
        };
        let step = u8::from(self.reached) | u8::from(self.acked) << 1;
        char::from(b'a' + gone * Self::STEPS + step)
    }

    /// Takes a step over; what was known already stays.
    pub(super) fn take_step(&mut self, step: u8) {
        let step = step.saturating_sub(b'a');
        self.reached |= step & 1 != 0;
        self.acked |= step & 2 != 0;
        self.gone = self.gone.or(match step / Self::STEPS {
            1 => Some(Gone::Ended),
            2 => Some(Gone::Unknown),
            _ => None,
        });
    }
}

impl AnnouncementRecord {
    /// Takes over what was stored apart.
    pub fn take_receipt(&mut self, receipt: Receipt) {
        for (addressee, step) in self.addressees.iter_mut().zip(receipt.steps.bytes()) {
            addressee.take_step(step);
        }
        for acked in receipt.acks {
            if !self.is_acked_as(acked.uid, acked.label.as_ref()) {
                self.acks.push(acked);
            }
        }
        if !receipt.hosts.is_empty() {
            self.hosts = receipt.hosts;
        }
    }
}
