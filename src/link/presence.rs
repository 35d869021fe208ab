//! Presence of this host, published to the others.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    batch::{self, Presence, PresenceMember, PresenceNews},
    carrier::Carrier,
    report::Reporter,
    signals::LinkSignals,
    subject,
};
use crate::{
    chat::{
        linked::LinkedStream,
        names::{HostName, RoomName},
        presence_row::Row,
    },
    limits::{LINK_PAYLOAD_BYTES_MAX, LINKED_ROWS_PER_HOST_MAX},
    os::Places,
    presence::Snapshot,
};

/// Interval between looks at the presence table of this host.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Interval between looks at the claim of the name of this link.
const CLAIM_LOOK_EVERY: Duration = Duration::from_millis(50);
/// Interval at which the whole roster is published, changed or not.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Members in one message.
const MEMBERS_PER_MESSAGE: usize = 64;

/// Publishes the sessions of this host until the link ends.
pub(super) async fn say(
    carrier: Carrier,
    places: Places,
    (host, link): (HostName, u64),
    streams: Vec<LinkedStream>,
    (reporter, stop): (Arc<Reporter>, LinkSignals),
) {
    let announces = streams.contains(&LinkedStream::Announcements);
    let rooms: Vec<_> = streams
        .into_iter()
        .filter_map(|stream| match stream {
            LinkedStream::Room(room) => Some(room),
            LinkedStream::Announcements => None,
        })
        .collect();
    let subject = subject::of_presence(&host);
    let (mut said, mut said_at): (Option<Vec<PresenceMember>>, _) = (None, Instant::now());
    while !stop.is_claimed() {
        tokio::time::sleep(CLAIM_LOOK_EVERY).await;
    }
    loop {
        let snapshot = Snapshot::read(&places);
        // While the table can't be read, nothing is published: a silence for others.
        if let Ok(snapshot) = snapshot {
            let members = members(&snapshot.rows, &rooms);
            if said.as_ref() != Some(&members) || said_at.elapsed() >= SAY_EVERY {
                for (last, members) in parts(&members) {
                    let news = PresenceNews::Roster { members, last, announces };
                    tell(&carrier, &subject, link, news, &reporter).await;
                }
                (said, said_at) = (Some(members), Instant::now());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Publishes one statement.
pub(super) async fn tell(
    carrier: &Carrier,
    subject: &str,
    link: u64,
    news: PresenceNews,
    reporter: &Reporter,
) {
    let payload = batch::write(&Presence::new(link, news));
    debug_assert!(payload.len() <= LINK_PAYLOAD_BYTES_MAX, "a part of a roster is small");
    match carrier.publish_plain(subject, payload.into()).await {
        Ok(()) => reporter.recovered("presence of this host"),
        Err(e) => reporter.warn("presence of this host", &e.to_string()),
    }
}

/// Returns the parts of a roster, each with true if it is the last.
fn parts(members: &[PresenceMember]) -> Vec<(bool, Vec<PresenceMember>)> {
    if members.is_empty() {
        return vec![(true, Vec::new())];
    }
    let chunks = members.chunks(MEMBERS_PER_MESSAGE);
    let count = chunks.len();
    chunks.enumerate().map(|(at, part)| (at + 1 == count, part.to_vec())).collect()
}

/// Returns the sessions that are in a linked room, without those of other hosts.
fn members(rows: &[Row], rooms: &[RoomName]) -> Vec<PresenceMember> {
    let member = |row: &Row| {
        let linked: Vec<_> =
            row.rooms.iter().filter(|room| rooms.contains(room)).cloned().collect();
        // The link itself is a member here, but does not read messages.
        let is_link = row.pid == std::process::id();
        let is_here = !row.visitor && !is_link && row.user.host().is_none() && !linked.is_empty();
        is_here.then(|| PresenceMember {
            user: row.user.clone(),
            label: row.label.clone(),
            kind: row.kind,
            state: row.state,
            since_us: row.since_wall_us,
            status: row.status.to_string(),
            rooms: linked,
        })
    };
    rows.iter().filter_map(member).take(LINKED_ROWS_PER_HOST_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{
        member::{Kind, SessionId, State},
        names::UserName,
    };

    fn row(user: &str, visitor: bool, rooms: &[&str]) -> Row {
        Row {
            session: SessionId(1),
            uid: 1,
            pid: u32::MAX,
            start: 0,
            kind: Kind::Person,
            state: State::Idle,
            visitor,
            since_wall_us: 1,
            active_mono_us: 0,
            user: UserName::new(user).unwrap(),
            label: None,
            status: "".into(),
            rooms: rooms.iter().map(|room| RoomName::new(room).unwrap()).collect(),
        }
    }

    #[test]
    fn only_members_of_linked_rooms_are_named_elsewhere() {
        let linked = [RoomName::new("dev").unwrap(), RoomName::new("ops").unwrap()];
        let rows = [
            row("ann", false, &["secret", "Dev"]),
            row("bob", false, &["secret"]),
            row("cho", true, &["dev"]),
            row("eve@db1", false, &["dev"]),
        ];
        let members = members(&rows, &linked);
        let named: Vec<_> = members.iter().map(|m| (m.user.as_str(), m.rooms.clone())).collect();
        assert_eq!(named, [("ann", vec![RoomName::new("dev").unwrap()])]);
    }

    #[test]
    fn each_roster_has_one_last_part() {
        for count in [0, 1, MEMBERS_PER_MESSAGE, MEMBERS_PER_MESSAGE + 1, 300] {
            let rows = vec![row("ann", false, &["dev"]); count];
            let parts = parts(&members(&rows, &[RoomName::new("dev").unwrap()]));
            assert_eq!(parts.iter().map(|(_, part)| part.len()).sum::<usize>(), count);
            let last: Vec<_> = parts.iter().map(|(last, _)| *last).collect();
            assert!(last.iter().rev().skip(1).all(|last| !last) && last.ends_with(&[true]));
        }
    }
}
