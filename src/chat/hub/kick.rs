//! Ending sessions by an operator's word.

use super::{
    Action, Hub,
    kicks::{Kick, KickStep},
    sessions::Session,
};
use crate::{
    chat::{
        clock::Now,
        frames::Frame,
        member::{EndCause, SessionId},
        names::{Label, UserName},
        refusal::{Refusal, RefusalCode, refuse},
        reply::Reply,
    },
    faults::{Fault, planted},
};

impl Hub {
    /// Ends sessions of a user, many of them over several turns; answered when all have ended.
    pub(super) fn kick(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        (user, label): (&UserName, Option<&Label>),
    ) -> Result<(), Refusal> {
        let own = self.sessions[&id].peer.uid;
        let uid = self.uid_of(user)?;
        self.may_end(own, uid)?;
        let is_meant = |s: &&Session| {
            // Not the one that asks.
            s.member.session != id && label.is_none_or(|l| s.member.label.as_ref() == Some(l))
        };
        let meant: Vec<_> =
            self.sessions_of(uid).filter(is_meant).map(|s| s.member.session).collect();
        self.looked_at(meant.len());
        let who = label.map_or_else(|| format!("@{user}"), |l| format!("@{user}/{l}"));
        if meant.is_empty() {
            return refuse(RefusalCode::Absent, format!("{who} has no session on this server"));
        }
        if uid != own {
            self.audit(now, own, format!("kick {who} (sessions: {})", meant.len()));
        }
        // A session that an earlier kick is still to end waits in one list only.
        let mut sessions = Vec::new();
        for of in meant {
            let session = self.sessions.get_mut(&of);
            if session.is_some_and(|session| !std::mem::replace(&mut session.is_kicked, true)) {
                sessions.push(of);
            }
        }
        self.commits.count_waiting(id, true);
        let kick = Kick { by: own, turned_out: uid != own, sessions, asked: (id, serial) };
        self.kicks.add(kick);
        self.end_kicked(now);
        Ok(())
    }

    /// Ends sessions of users who were kicked, as many as one turn may.
    pub(super) fn end_kicked(&mut self, now: Now) {
        while let Some(step) = self.kicks.next_step() {
            match step {
                KickStep::End { session, by, turned_out } => {
                    // Some may have ended by themselves.
                    if let Some(streams) = self.sessions.get(&session).map(|s| s.subs.len()) {
                        self.kicks.count(streams);
                        self.end_by(now, by, session, turned_out);
                    }
                }
                KickStep::Answer { session, serial } => {
                    self.commits.count_waiting(session, false);
                    let result = Ok(Reply::Done);
                    self.out.push(Action::Send(session, Frame::Reply { serial, result }));
                }
            }
        }
    }

    /// Ends one session.
    pub(super) fn drop_session(
        &mut self,
        now: Now,
        id: SessionId,
        session: SessionId,
    ) -> Result<Reply, Refusal> {
        let own = self.sessions[&id].peer.uid;
        let Some(found) = self.sessions.get(&session) else {
            return refuse(RefusalCode::Absent, format!("session {} does not exist", session.0));
        };
        let (uid, name) = (found.peer.uid, found.member.name());
        self.may_end(own, uid)?;
        if session == id {
            return refuse(RefusalCode::Failed, "a command can't end its own session");
        }
        if uid != own {
            self.audit(now, own, format!("drop session {} of {name}", session.0));
        }
        self.end_by(now, own, session, uid != own);
        Ok(Reply::Done)
    }

    fn may_end(&self, own: u32, uid: u32) -> Result<(), Refusal> {
        if own == uid || self.is_operator(own) {
            return Ok(());
        }
        let text = "only operators of the server may end sessions of other users: the server's own \
                    user, root, and users that its configuration names";
        refuse(RefusalCode::Denied, text)
    }

    /// Ends a session. A user who was turned out may have kept its keys; a user who ended their own
    /// session could have had them anyway.
    fn end_by(&mut self, now: Now, by: u32, session: SessionId, turned_out: bool) {
        let reason = format!("kicked by {}", self.called(by));
        let streams: Vec<_> = self.sessions[&session].subs.iter().map(|(tag, _)| *tag).collect();
        self.close(now, session, EndCause::Kicked);
        for tag in
            streams.into_iter().filter(|_| turned_out && !planted(Fault::ServerKickKeepsKeys))
        {
            self.new_key(tag);
        }
        self.out.push(Action::End(session, reason));
    }
}
