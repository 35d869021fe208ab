//! What operators did, for those who want to know it afterwards.

use super::{Action, Hub, Now, Record, request::refuse};
use crate::{
    chat::{
        member::SessionId,
        names::UserName,
        verbs::{AuditInfo, Refusal, RefusalCode, Reply, StreamTag},
    },
    limits::{AUDIT_KEPT_MAX, AUDIT_PER_USER_MAX},
};

/// Entries in one answer.
const AUDIT_PER_REPLY: usize = 64;

/// One act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Microseconds since 1970.
    pub wall_us: i64,
    /// Who did it.
    pub uid: u32,
    /// What he was called then.
    pub by: UserName,
    /// What he did.
    pub act: String,
    /// By right of an office of the server, not of a room: such acts are kept whatever others do.
    pub office: bool,
}

impl Hub {
    /// Notes what somebody did by right of his office.
    pub(super) fn audit(&mut self, now: Now, uid: u32, act: String) {
        let by = self.called(uid);
        let office = self.is_operator(uid);
        if office {
            self.out.push(Action::Log(format!("{by}: {act}")));
        }
        let entry = Audit { wall_us: now.wall_us, uid, by, act, office };
        let own = |entry: &Audit| !office && entry.uid == uid;
        if self.audit.iter().filter(|e| own(e)).count() >= AUDIT_PER_USER_MAX
            && let Some(at) = self.audit.iter().position(own)
        {
            self.audit.remove(at);
        }
        let alike = |entry: &Audit| entry.office == office;
        if self.audit.iter().filter(|e| alike(e)).count() >= AUDIT_KEPT_MAX
            && let Some(at) = self.audit.iter().position(alike)
        {
            self.audit.remove(at);
        }
        self.audit.push_back(entry.clone());
        self.records.push(Record::Audit(entry));
    }

    /// The same, if it was by no right in the room itself.
    pub(super) fn audit_by_office(&mut self, now: Now, uid: u32, tag: StreamTag, act: String) {
        if !self.leads_by_its_rules(uid, tag) {
            self.audit(now, uid, act);
        }
    }

    /// What was noted, the newest first.
    pub(super) fn audit_from(&self, id: SessionId, skip: u32) -> Result<Reply, Refusal> {
        if !self.is_operator(self.sessions[&id].peer.uid) {
            let text = "only operators of the server see what operators did";
            return refuse(RefusalCode::Denied, text);
        }
        let mut rest = self.audit.iter().rev().skip(skip as usize);
        let page = rest.by_ref().take(AUDIT_PER_REPLY).map(|entry| AuditInfo {
            wall_us: entry.wall_us,
            by: entry.by.clone(),
            act: entry.act.clone(),
        });
        let entries = page.collect();
        Ok(Reply::Audit { entries, more: rest.next().is_some() })
    }
}
