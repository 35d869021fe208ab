//! Presence of other hosts: their rosters, and their reachability after a silence.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    batch::{self, Presence, PresenceMember, PresenceNews},
    local::{LocalError, LocalSession, SessionKey},
    report::Reporter,
    subject::{self, Subject},
};
use crate::{
    chat::{
        linked::{LinkRequest, RemoteMember, Roster},
        names::HostName,
        request::Request,
    },
    limits::{
        LINK_HOSTS_MAX, LINKED_ROOMS_PER_ROW_MAX, LINKED_ROWS_PER_HOST_MAX, STATUS_BYTES_MAX,
    },
};

/// Silence after which a host is unreachable.
const SILENCE: Duration = Duration::from_secs(15);
/// Time in which a link that begins hears from another one of its name.
const CLAIM: Duration = Duration::from_secs(2);
/// Members in one request: they fit into a frame, however long their names are.
const MEMBERS_PER_REQUEST: usize = 8;
/// Interval at which changes are shown.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// Roster of one host.
#[derive(Debug)]
struct HostRoster {
    members: Vec<PresenceMember>,
    /// Parts of the next roster.
    next: Vec<PresenceMember>,
    announces: bool,
    heard_at: Instant,
    reachable: bool,
    /// True if the server of this host shows the present state.
    is_shown: bool,
}

/// Action that a message about presence asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PresenceAction {
    Nothing,
    /// Answer to another link of this name that begins.
    Answer,
    /// End of this link, because another one has its name; the text says so.
    End(String),
}

/// Rosters of all other hosts. See the head of this file.
#[derive(Debug)]
pub(super) struct HostBoard {
    host: HostName,
    /// Number of this link.
    link: u64,
    /// Time until which another link of this name may claim it; none before others can be heard.
    claim_until: Option<Instant>,
    hosts: BTreeMap<HostName, HostRoster>,
    /// Session of the server that the rosters were shown to.
    shown_to: Option<SessionKey>,
    show_at: Instant,
}

impl HostBoard {
    pub(super) fn new(host: HostName, link: u64) -> Self {
        let (hosts, show_at) = (BTreeMap::new(), Instant::now());
        Self { host, link, claim_until: None, hosts, shown_to: None, show_at }
    }

    /// Begins the claim of the name: other links can be heard now. Returns true the first time.
    pub(super) fn begin_claim(&mut self) -> bool {
        let is_first = self.claim_until.is_none();
        self.claim_until.get_or_insert(Instant::now() + CLAIM);
        is_first
    }

    /// Returns true once no other link has this name.
    pub(super) fn has_claimed(&self) -> bool {
        self.claim_until.is_some_and(|until| until <= Instant::now())
    }

    /// Handles a message about presence.
    pub(super) fn take(
        &mut self,
        subject: &str,
        payload: &[u8],
        reporter: &Reporter,
    ) -> PresenceAction {
        let Some(Subject::Presence { host }) = subject::read(subject) else {
            return PresenceAction::Nothing;
        };
        let Ok(presence) = batch::read::<Presence>(payload) else {
            // An empty one tries whether presence arrives.
            if !payload.is_empty() {
                reporter.count_of(&host, |counts| counts.refused += 1);
            }
            return PresenceAction::Nothing;
        };
        if host == self.host {
            return self.take_own(&presence);
        }
        if self.hosts.len() >= LINK_HOSTS_MAX && !self.hosts.contains_key(&host) {
            reporter.warn("presence of other hosts", "there are too many hosts");
            return PresenceAction::Nothing;
        }
        let now = Instant::now();
        let roster = self.hosts.entry(host.clone()).or_insert_with(|| HostRoster {
            members: Vec::new(),
            next: Vec::new(),
            announces: false,
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
            PresenceNews::Roster { members, last, announces } => {
                roster.heard_at = now;
                let left = LINKED_ROWS_PER_HOST_MAX.saturating_sub(roster.next.len());
                roster.next.extend(members.into_iter().take(left).map(bounded));
                if last {
                    let members = std::mem::take(&mut roster.next);
                    roster.is_shown &= roster.reachable
                        && members == roster.members
                        && announces == roster.announces;
                    (roster.members, roster.reachable) = (members, true);
                    roster.announces = announces;
                }
            }
        }
        let reachable = roster.reachable;
        reporter.count_of(&host, |counts| counts.reachable = reachable);
        PresenceAction::Nothing
    }

    /// Handles a message of another link of this name: the earlier link stays, and of two that
    /// begin at once the one with the smaller number.
    fn take_own(&self, presence: &Presence) -> PresenceAction {
        if presence.link == self.link {
            return PresenceAction::Nothing;
        }
        let (is_claimed, is_smaller) = (self.has_claimed(), presence.link < self.link);
        let is_first = match &presence.news {
            // It may have begun too late to hear this one.
            PresenceNews::Hello if is_claimed || !is_smaller => return PresenceAction::Answer,
            PresenceNews::Hello => true,
            // Two that could not hear each other may both have claimed the name.
            PresenceNews::Roster { .. } => !is_claimed || is_smaller,
            PresenceNews::Bye => false,
        };
        match is_first {
            true => PresenceAction::End(format!(
                "another link publishes as {}; each host needs a name of its own (--host)",
                self.host
            )),
            false => PresenceAction::Nothing,
        }
    }

    /// Sends the changed rosters to the server of this host.
    pub(super) fn show(
        &mut self,
        local: &mut LocalSession,
        reporter: &Reporter,
    ) -> Result<(), LocalError> {
        let now = Instant::now();
        if now < self.show_at {
            return Ok(());
        }
        self.show_at = now + SHOW_EVERY;
        for (host, roster) in &mut self.hosts {
            if roster.reachable && now.duration_since(roster.heard_at) >= SILENCE {
                (roster.reachable, roster.is_shown) = (false, false);
                reporter.count_of(host, |counts| counts.reachable = false);
            }
        }
        // Rows go with the session that brought them.
        let session = local.session_key()?;
        if self.shown_to != Some(session) {
            self.hosts.values_mut().for_each(|roster| roster.is_shown = false);
            self.shown_to = Some(session);
        }
        for (host, roster) in self.hosts.iter_mut().filter(|(_, roster)| !roster.is_shown) {
            let mut parts: Vec<_> = roster.members.chunks(MEMBERS_PER_REQUEST).collect();
            if parts.is_empty() {
                parts.push(&[]);
            }
            let last = parts.len() - 1;
            for (at, part) in parts.into_iter().enumerate() {
                let members = part.iter().cloned().map(remote_member).collect();
                let (host, reachable, announces) =
                    (host.clone(), roster.reachable, roster.announces);
                let is_last = at == last;
                let roster = Roster { host, reachable, announces, members, is_last };
                local.ask(&Request::Link(LinkRequest::Roster(roster)))?;
            }
            roster.is_shown = true;
        }
        Ok(())
    }
}

/// Cuts the texts and rooms of a member to the shown size.
fn bounded(mut member: PresenceMember) -> PresenceMember {
    member.status.truncate(member.status.floor_char_boundary(STATUS_BYTES_MAX));
    member.rooms.truncate(LINKED_ROOMS_PER_ROW_MAX);
    member
}

fn remote_member(member: PresenceMember) -> RemoteMember {
    let PresenceMember { user, label, kind, state, since_us, status, rooms } = member;
    RemoteMember { user, label, kind, state, since_wall_us: since_us, status, rooms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{
            member::{Kind, State},
            names::{Label, RoomName, UserName},
        },
        limits::{FRAME_BYTES_MAX, NAME_BYTES_MAX},
        wire::control::put_request,
    };

    fn heard(board: &mut HostBoard, host: &str, link: u64, news: PresenceNews) -> PresenceAction {
        let (to, _reports) = crossbeam_channel::bounded(9);
        let payload = batch::write(&Presence::new(link, news));
        board.take(&format!("moot.1.p.{host}"), &payload, &Reporter::new(to))
    }

    fn roster(members: Vec<PresenceMember>, last: bool) -> PresenceNews {
        PresenceNews::Roster { members, last, announces: true }
    }

    fn member(user: &str) -> PresenceMember {
        PresenceMember {
            user: UserName::new(user).unwrap(),
            label: None,
            kind: Kind::Person,
            state: State::Online,
            since_us: 0,
            status: String::new(),
            rooms: Vec::new(),
        }
    }

    #[test]
    fn second_link_of_a_name_ends_and_the_first_stays() {
        let mut new = HostBoard::new(HostName::new("web1").unwrap(), 5);
        assert!(new.begin_claim() && !new.begin_claim() && !new.has_claimed());
        assert_eq!(
            heard(&mut new, "web1", 5, roster(Vec::new(), true)),
            PresenceAction::Nothing,
            "its own"
        );
        assert_eq!(heard(&mut new, "db1", 9, roster(Vec::new(), true)), PresenceAction::Nothing);
        let is_end = |heard| matches!(heard, PresenceAction::End(_));
        assert!(is_end(heard(&mut new, "web1", 9, roster(Vec::new(), true))), "it was first");
        assert!(is_end(heard(&mut new, "web1", 4, PresenceNews::Hello)));
        assert_eq!(
            heard(&mut new, "web1", 6, PresenceNews::Hello),
            PresenceAction::Answer,
            "that one ends, but may not have heard this one"
        );
        let mut old = HostBoard { claim_until: Some(Instant::now()), ..new };
        assert_eq!(heard(&mut old, "web1", 1, PresenceNews::Hello), PresenceAction::Answer);
        assert_eq!(heard(&mut old, "web1", 1, PresenceNews::Bye), PresenceAction::Nothing);
        assert_eq!(
            heard(&mut old, "web1", 9, roster(Vec::new(), true)),
            PresenceAction::Nothing,
            "that one hears the roster of this one"
        );
        assert!(is_end(heard(&mut old, "web1", 1, roster(Vec::new(), true))), "both claimed it");
    }

    #[test]
    fn roster_in_parts_is_taken_once_it_is_whole() {
        let mut board = HostBoard::new(HostName::new("web1").unwrap(), 5);
        heard(&mut board, "db1", 1, roster(vec![member("ann")], false));
        assert!(board.hosts.values().all(|roster| roster.members.is_empty()));
        heard(&mut board, "db1", 1, roster(vec![member("bob")], true));
        let host = HostName::new("db1").unwrap();
        assert_eq!(board.hosts[&host].members.len(), 2);
        assert!(board.hosts[&host].reachable && !board.hosts[&host].is_shown);
        heard(&mut board, "db1", 1, PresenceNews::Bye);
        assert!(!board.hosts[&host].reachable);
        let many = vec![member("ann"); 2 * LINKED_ROWS_PER_HOST_MAX];
        heard(&mut board, "db1", 1, roster(many, true));
        assert_eq!(board.hosts[&host].members.len(), LINKED_ROWS_PER_HOST_MAX);
    }

    #[test]
    fn members_with_the_longest_texts_fit_into_a_request() {
        let name = "가".repeat(NAME_BYTES_MAX / 3);
        let long = PresenceMember {
            user: UserName::new(&"u".repeat(64)).unwrap(),
            label: Label::new(&name).ok(),
            status: "x".repeat(100_000),
            rooms: vec![RoomName::new(&name).unwrap(); 10_000],
            ..member("ann")
        };
        let members = vec![remote_member(bounded(long)); MEMBERS_PER_REQUEST];
        let host = HostName::new("db1").unwrap();
        let (reachable, announces, is_last) = (true, true, true);
        let roster = Roster { host, reachable, announces, members, is_last };
        let mut frame = Vec::new();
        put_request(&mut frame, 1, &Request::Link(LinkRequest::Roster(roster)));
        assert!(frame.len() < FRAME_BYTES_MAX / 2, "{}", frame.len());
    }
}
