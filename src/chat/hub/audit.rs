//! Acts of operators, kept for later review.

use super::{Action, Hub};
use crate::chat::{
    clock::Now,
    member::SessionId,
    refusal::{Refusal, RefusalCode, refuse},
    reply::{AuditInfo, Reply},
    store::{Audit, Record},
    stream_id::StreamId,
};

/// Entries in one answer.
const AUDIT_PER_REPLY: usize = 64;

impl Hub {
    /// Notes an act of a user by right of their role.
    pub(super) fn audit(&mut self, now: Now, uid: u32, act: String) {
        let by = self.called(uid);
        let office = self.is_operator(uid);
        if office {
            self.out.push(Action::Log(format!("{by}: {act}")));
        }
        let entry = Audit { wall_us: now.wall_us, uid, by, act, office };
        self.audit_log.add(entry.clone());
        self.commits.add(Record::Audit(entry));
    }

    /// Notes an act of a user who has no right to it in the room itself, only on the server.
    pub(super) fn audit_by_office(&mut self, now: Now, uid: u32, tag: StreamId, act: String) {
        if !self.leads_by_its_rules(uid, tag) {
            self.audit(now, uid, act);
        }
    }

    /// Returns the acts on record, the newest first.
    pub(super) fn audit_from(&self, id: SessionId, skip: u32) -> Result<Reply, Refusal> {
        if !self.is_operator(self.sessions[&id].peer.uid) {
            let text = "only operators of the server may see the actions of operators";
            return refuse(RefusalCode::Denied, text);
        }
        let mut rest = self.audit_log.newest().skip(skip as usize);
        let page = rest.by_ref().take(AUDIT_PER_REPLY).map(|entry| AuditInfo {
            wall_us: entry.wall_us,
            by: entry.by.clone(),
            act: entry.act.clone(),
        });
        let entries = page.collect();
        Ok(Reply::Audit { entries, more: rest.next().is_some() })
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        chat::hub::scene::{EVE, MIA, Scene},
        limits::{AUDIT_KEPT_MAX, AUDIT_PER_USER_MAX},
    };

    #[test]
    fn acts_of_many_users_push_out_none_of_another() {
        let mut scene = Scene::new(false);
        let now = scene.now;
        for _ in 0..3 {
            scene.hub.audit(now, MIA, "mine".to_owned());
            scene.hub.audit(now, 0, "office".to_owned());
        }
        for n in 0..2 * AUDIT_KEPT_MAX as u32 {
            scene.hub.audit(now, 1_000 + n / 32, "x".to_owned());
            scene.hub.audit(now, EVE, "x".to_owned());
        }
        let of = |uid| scene.hub.audit_log.newest().filter(|entry| entry.uid == uid).count();
        assert_eq!((of(MIA), of(0)), (3, 3));
        assert_eq!(scene.hub.audit_log.newest().len(), AUDIT_KEPT_MAX + 3);
        assert!(of(EVE) <= AUDIT_PER_USER_MAX);
    }
}
