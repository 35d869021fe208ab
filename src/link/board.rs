//! Presence of other hosts: their rosters as they come, and what becomes of them in silence.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    batch::{self, Presence, PresenceMember, PresenceNews},
    local::{Local, LocalError},
    report::Reporter,
    subject::{self, Subject},
};
use crate::{
    chat::{
        linked::{LinkRequest, RemoteMember, Roster},
        names::HostName,
        request::Request,
    },
    limits::{LINK_HOSTS_MAX, LINKED_ROWS_PER_HOST_MAX},
};

/// Silence after which a host is unreachable.
const SILENCE: Duration = Duration::from_secs(15);
/// Time in which a link that begins hears whether another one has its name.
const CLAIM: Duration = Duration::from_secs(1);
/// Members in one request.
const MEMBERS_PER_REQUEST: usize = 32;

/// Roster of one host.
#[derive(Debug)]
struct HostRoster {
    members: Vec<PresenceMember>,
    /// Parts of the next one.
    next: Vec<PresenceMember>,
    heard_at: Instant,
    reachable: bool,
    /// The server of this host shows it as it is.
    is_shown: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Board {
    host: HostName,
    /// Number of the own link.
    link: u64,
    /// Time until which another link of this name is in the way.
    claim_until: Instant,
    hosts: BTreeMap<HostName, HostRoster>,
    /// Session of the server that the rosters were shown to.
    shown_to: u64,
}

impl Board {
    pub(super) fn new(host: HostName, link: u64) -> Self {
        let claim_until = Instant::now() + CLAIM;
        Self { host, link, claim_until, hosts: BTreeMap::new(), shown_to: 0 }
    }

    /// Takes a message; returns a reason why this link has to end.
    pub(super) fn take(
        &mut self,
        subject: &str,
        payload: &[u8],
        reporter: &Reporter,
    ) -> Option<String> {
        let Some(Subject::Presence { host }) = subject::read(subject) else { return None };
        let Ok(presence) = batch::read::<Presence>(payload) else {
            reporter.count_of(&host, |counts| counts.refused += 1);
            return None;
        };
        if host == self.host {
            return self.take_own(&presence);
        }
        if self.hosts.len() >= LINK_HOSTS_MAX && !self.hosts.contains_key(&host) {
            reporter.warn("presence of other hosts", "there are too many hosts");
            return None;
        }
        let now = Instant::now();
        let roster = self.hosts.entry(host.clone()).or_insert_with(|| HostRoster {
            members: Vec::new(),
            next: Vec::new(),
            heard_at: now,
            reachable: false,
            is_shown: false,
        });
        match presence.news {
            PresenceNews::Hello => {}
            PresenceNews::Bye => {
                roster.is_shown &= !roster.reachable;
                roster.reachable = false;
            }
            PresenceNews::Roster { members, last } => {
                roster.heard_at = now;
                let left = LINKED_ROWS_PER_HOST_MAX.saturating_sub(roster.next.len());
                roster.next.extend(members.into_iter().take(left));
                if last {
                    let members = std::mem::take(&mut roster.next);
                    roster.is_shown &= roster.reachable && members == roster.members;
                    (roster.members, roster.reachable) = (members, true);
                }
            }
        }
        let reachable = roster.reachable;
        reporter.count_of(&host, |counts| counts.reachable = reachable);
        None
    }

    /// Another link may have this name: the one that was there first stays, and of two that begin
    /// at once the one with the smaller number.
    fn take_own(&self, presence: &Presence) -> Option<String> {
        let begins = Instant::now() < self.claim_until;
        let is_first = match presence.news {
            PresenceNews::Hello => begins && presence.link < self.link,
            PresenceNews::Roster { .. } => begins,
            PresenceNews::Bye => false,
        };
        (presence.link != self.link && is_first).then(|| {
            format!(
                "another link publishes as {}; each host needs a name of its own (--host)",
                self.host
            )
        })
    }

    /// Shows the server of this host what changed.
    pub(super) fn show(
        &mut self,
        local: &mut Local,
        reporter: &Reporter,
    ) -> Result<(), LocalError> {
        let now = Instant::now();
        for (host, roster) in &mut self.hosts {
            if roster.reachable && now.duration_since(roster.heard_at) >= SILENCE {
                (roster.reachable, roster.is_shown) = (false, false);
                reporter.count_of(host, |counts| counts.reachable = false);
            }
        }
        // Rows go with the session that brought them.
        let session = local.session_number()?;
        if session != self.shown_to {
            self.hosts.values_mut().for_each(|roster| roster.is_shown = false);
            self.shown_to = session;
        }
        for (host, roster) in self.hosts.iter_mut().filter(|(_, roster)| !roster.is_shown) {
            let parts = roster.members.chunks(MEMBERS_PER_REQUEST);
            let last = parts.len().saturating_sub(1);
            let parts: Vec<_> = match roster.members.is_empty() {
                true => vec![&[][..]],
                false => parts.collect(),
            };
            for (at, part) in parts.into_iter().enumerate() {
                let members = part.iter().cloned().map(remote_member).collect();
                let (host, reachable) = (host.clone(), roster.reachable);
                let roster = Roster { host, reachable, members, is_last: at == last };
                local.ask(&Request::Link(LinkRequest::Roster(roster)))?;
            }
            roster.is_shown = true;
        }
        Ok(())
    }
}

fn remote_member(member: PresenceMember) -> RemoteMember {
    let PresenceMember { user, label, kind, state, since_us, status, rooms } = member;
    RemoteMember { user, label, kind, state, since_wall_us: since_us, status, rooms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(board: &mut Board, host: &str, link: u64, news: PresenceNews) -> Option<String> {
        let (to, _reports) = crossbeam_channel::bounded(9);
        let payload = batch::write(&Presence::new(link, news));
        board.take(&format!("moot.1.p.{host}"), &payload, &Reporter::new(to))
    }

    #[test]
    fn second_link_of_a_name_ends_and_the_first_stays() {
        let roster = || PresenceNews::Roster { members: Vec::new(), last: true };
        let mut new = Board::new(HostName::new("web1").unwrap(), 5);
        assert_eq!(heard(&mut new, "web1", 5, roster()), None, "its own");
        assert_eq!(heard(&mut new, "db1", 9, roster()), None, "another host");
        assert!(heard(&mut new, "web1", 9, roster()).is_some(), "one that was there before");
        assert!(heard(&mut new, "web1", 4, PresenceNews::Hello).is_some());
        assert_eq!(heard(&mut new, "web1", 6, PresenceNews::Hello), None, "that one ends");
        let mut old = Board { claim_until: Instant::now(), ..new };
        for news in [PresenceNews::Hello, roster(), PresenceNews::Bye] {
            assert_eq!(heard(&mut old, "web1", 1, news), None);
        }
    }

    #[test]
    fn roster_in_parts_is_taken_once_it_is_whole() {
        let member = |user: &str| PresenceMember {
            user: crate::chat::names::UserName::new(user).unwrap(),
            label: None,
            kind: crate::chat::member::Kind::Person,
            state: crate::chat::member::State::Online,
            since_us: 0,
            status: String::new(),
            rooms: Vec::new(),
        };
        let mut board = Board::new(HostName::new("web1").unwrap(), 5);
        let part = |user, last| PresenceNews::Roster { members: vec![member(user)], last };
        heard(&mut board, "db1", 1, part("ann", false));
        assert!(board.hosts.values().all(|roster| roster.members.is_empty()));
        heard(&mut board, "db1", 1, part("bob", true));
        let host = HostName::new("db1").unwrap();
        assert_eq!(board.hosts[&host].members.len(), 2);
        assert!(board.hosts[&host].reachable && !board.hosts[&host].is_shown);
        heard(&mut board, "db1", 1, PresenceNews::Bye);
        assert!(!board.hosts[&host].reachable);
        let many = vec![member("ann"); 2 * LINKED_ROWS_PER_HOST_MAX];
        heard(&mut board, "db1", 1, PresenceNews::Roster { members: many, last: true });
        assert_eq!(board.hosts[&host].members.len(), LINKED_ROWS_PER_HOST_MAX);
    }
}
