//! The bytes of all backlogs together: what is too much is taken from the user who holds most.

use std::collections::{BTreeMap, BinaryHeap};

use super::{
    stream::{Stream, StreamKind},
    streams::Streams,
};
use crate::{
    chat::stream_id::StreamId,
    faults::{Fault, planted},
};

/// Bytes that one backlog gives at a time.
const SLICE_BYTES: usize = 128 * 1024;

/// Backlogs of one user's streams, the largest first.
#[derive(Default)]
struct BacklogHolder {
    bytes: usize,
    backlogs: BinaryHeap<(usize, StreamId)>,
}

impl Streams {
    /// Counts bytes that a backlog got, and keeps all backlogs within their bound. A pass over all
    /// streams gives back a sixteenth of the bound at least, so that it is not needed again before
    /// as much has been published.
    pub(super) fn limit_backlogs(&mut self, added: usize, most: usize) {
        // Dropped segments are not counted before the next pass: there are at most that many bytes.
        self.backlog_bytes += added;
        if self.backlog_bytes <= most {
            return;
        }
        let mut held = 0;
        let mut holders: BTreeMap<u32, BacklogHolder> = BTreeMap::new();
        for stream in self.iter() {
            let bytes = stream.backlog.bytes();
            held += bytes;
            if let Some(uid) = stream.payer() {
                let holder = holders.entry(uid).or_default();
                holder.bytes += bytes;
                holder.backlogs.push((bytes, stream.tag));
            }
        }
        while held > most - most / 16
            && let Some((uid, holder)) = holders.iter_mut().max_by_key(|(uid, holder)| {
                if planted(Fault::BacklogTakenFromAny) {
                    usize::MAX - **uid as usize
                } else {
                    holder.bytes
                }
            })
        {
            let (uid, Some((bytes, tag))) = (*uid, holder.backlogs.pop()) else {
                let uid = *uid;
                holders.remove(&uid);
                continue;
            };
            let freed = self[tag].shed(SLICE_BYTES);
            held -= freed;
            if let Some(holder) = holders.get_mut(&uid)
                && freed > 0
            {
                holder.bytes -= freed;
                holder.backlogs.push((bytes - freed, tag));
            }
        }
        self.backlog_bytes = held;
    }
}

impl Stream {
    /// The user whose share a backlog is: who made the room or began the conversation.
    fn payer(&self) -> Option<u32> {
        match &self.topic {
            StreamKind::Announcements => None,
            StreamKind::Room { creator_uid, .. } => Some(*creator_uid),
            StreamKind::Conversation { low, begun_by, .. } => Some(begun_by.unwrap_or(*low)),
        }
    }

    /// Drops the oldest messages of the backlog, but none that a member of the window has not
    /// acknowledged; returns their bytes.
    fn shed(&mut self, bytes: usize) -> usize {
        let holding = self.subs.iter().filter(|(_, sub)| sub.window.is_in);
        let acked = holding.map(|(_, sub)| sub.acked_flow.bytes).min();
        self.backlog.drop_oldest(bytes, acked.unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{
        frames::Destination,
        hub::scene::{ANN, EVE, MIA, Scene, join_room, room, session},
        request::Request,
    };

    const TEXT_BYTES: usize = 10_000;

    fn memory(scene: &mut Scene, uid: u32, name: &str) -> StreamId {
        let (history, private, read_only) = (false, false, false);
        let create = Request::CreateRoom { room: room(name), history, private, read_only };
        scene.request(uid, create).unwrap();
        scene.hub.room_tag(&room(name)).unwrap()
    }

    fn say(scene: &mut Scene, uid: u32, counter: u64, tag: StreamId) {
        scene.say(session(uid), counter, Destination::Stream(tag), &"x".repeat(TEXT_BYTES));
        scene.settle();
    }

    fn held(scene: &Scene) -> usize {
        scene.hub.streams.iter().map(|stream| stream.backlog.bytes()).sum()
    }

    /// A server for 1 MiB of backlogs, and a room of `ann` with 20 messages.
    fn scene() -> (Scene, StreamId) {
        let mut scene = Scene::with_rules(false, |rules| {
            (rules.backlog_total_bytes_max, rules.host) = (1 << 20, true);
        });
        let tag = memory(&mut scene, ANN, "anns");
        for counter in 1..=20 {
            say(&mut scene, ANN, counter, tag);
        }
        (scene, tag)
    }

    #[test]
    fn streams_that_hold_nothing_take_nothing() {
        let (mut scene, tag) = scene();
        for n in 0..100 {
            memory(&mut scene, EVE, &format!("eves-{n}"));
        }
        say(&mut scene, ANN, 21, tag);
        assert_eq!(scene.hub.stream(tag).backlog.start(), 1);
    }

    #[test]
    fn excess_is_taken_from_the_user_who_holds_most() {
        let (mut scene, tag) = scene();
        // Each of these rooms holds less than ann's, all together more.
        let rooms: Vec<_> =
            (0..20).map(|n| memory(&mut scene, EVE, &format!("eves-{n}"))).collect();
        let mut counter = 0;
        for _ in 0..15 {
            for room in &rooms {
                counter += 1;
                say(&mut scene, EVE, counter, *room);
                assert!(held(&scene) <= 1 << 20, "{}", held(&scene));
            }
        }
        assert!(held(&scene) > 800 << 10, "no more than is needed: {}", held(&scene));
        assert_eq!(scene.hub.stream(tag).backlog.start(), 1, "ann holds what she had");
    }

    #[test]
    fn unreported_messages_of_the_window_are_not_dropped() {
        let mut scene = Scene::with_rules(false, |rules| {
            (rules.backlog_total_bytes_max, rules.broadcast) = (64 << 10, false);
        });
        let tag = memory(&mut scene, ANN, "anns");
        scene.request(MIA, join_room("anns")).unwrap();
        for counter in 1..=10 {
            say(&mut scene, ANN, counter, tag);
        }
        assert_eq!(scene.hub.stream(tag).backlog.start(), 1);
        assert!(scene.pull(session(MIA)).is_empty(), "no gap");
        let report = crate::chat::frames::Report {
            stream: tag,
            delivered: 9,
            by_broadcast: 0,
            datagrams: 0,
        };
        scene.hub.report(scene.now, session(MIA), &report);
        say(&mut scene, ANN, 11, tag);
        assert!(scene.hub.stream(tag).backlog.start() > 1);
    }
}
