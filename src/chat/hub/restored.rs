//! A hub that goes on where an earlier one ended.

use super::{Hub, HubConfig, gone::Gone, stream::Stream};
use crate::{
    chat::{
        frames::ANNOUNCEMENTS,
        linked::{ANNOUNCEMENTS_KEY, LinkPosition},
        names::RoomName,
        store::{
            Record, Restored, RestoredConversation, RestoredExport, RestoredRoom, RestoredSubmits,
            StreamKey,
        },
    },
    faults::{Fault, planted},
};

impl Hub {
    /// Continues an export. If the history is an older copy of the one that was exported, its next
    /// messages get numbers that others have had: a new generation begins with them.
    fn restore_export(&mut self, export: RestoredExport, loaded_us: i64) {
        let RestoredExport { host, stream, mut after, epoch } = export;
        let now_epoch = self.links.epoch;
        if epoch != now_epoch && !planted(Fault::OlderHistoryKeepsGeneration) {
            let key = match &*stream {
                ANNOUNCEMENTS_KEY => StreamKey::Announcements,
                room => match RoomName::existing(room) {
                    Ok(room) => StreamKey::Room(room),
                    Err(_) => return,
                },
            };
            let head = self.directory.stream(&key).map_or(0, |tag| self.stream(tag).numbered);
            let generation = loaded_us.unsigned_abs().max(after.generation + 1);
            after = LinkPosition { generation, seq: head };
            let (host, epoch) = (host.clone(), now_epoch);
            self.commits.add(Record::Export { host, stream: key, after, epoch });
        }
        self.links.set_export(host, &stream, after);
    }

    /// A hub that goes on where the last run ended.
    #[must_use]
    pub fn restored(rules: HubConfig, restored: Restored) -> Self {
        let mut hub = Self::new(rules);
        hub.stream_mut(ANNOUNCEMENTS).restore(restored.announcements);
        for room in restored.rooms {
            let Some(tag) = hub.streams.make_tag(None) else { break };
            let bytes = hub.rules.backlog_bytes_max;
            let RestoredRoom { name, id, creator_uid, history, topic, rules, span } = room;
            let mut stream = Stream::room(tag, (name.clone(), id), creator_uid, history, bytes);
            stream.set_topic(topic);
            stream.set_rules(rules);
            // Of a room without history the numbers of stored rooms that had its name before.
            stream.restore(span);
            hub.streams.insert(stream);
            hub.directory.insert(name, id, tag, true);
        }
        for RestoredConversation { users, begun_by, span } in restored.conversations {
            let Some(tag) = hub.streams.make_tag(None) else { break };
            let mut stream =
                Stream::conversation(tag, users, begun_by, hub.rules.backlog_bytes_max);
            stream.restore(span);
            hub.streams.insert(stream);
            hub.directory.conversations.insert(users, begun_by, tag);
        }
        hub.directory.gone = Gone::new(restored.floor);
        restored.gone_rooms.into_iter().for_each(|room| hub.bury(room, true));
        hub.audit_log.restore(restored.audit);
        for notice in restored.notices {
            hub.announcements.restore(notice);
        }
        for (uid, label, room) in
            restored.follows.into_iter().skip(usize::from(planted(Fault::FollowForgottenAtRestart)))
        {
            hub.follows.restore((uid, label), room);
        }
        for (uid, label, stream, seq) in restored.marks {
            if let Some(tag) = hub.directory.stream(&stream) {
                hub.follows.set_mark((uid, label), tag, seq);
            }
        }
        for submits in restored.submits.into_iter().filter(|_| !planted(Fault::SubmitsNotRestored))
        {
            let RestoredSubmits { uid, instance, counter, count, stream, seq, wall_us } = submits;
            let tag = stream.and_then(|stream| hub.directory.stream(&stream));
            hub.instances.restore((uid, instance), (counter, count, seq), tag, wall_us);
        }
        for (uid, until_us) in restored.submits_cut {
            hub.instances.forget(uid, until_us);
        }
        hub.links.restore(restored.imports, restored.epoch);
        for export in restored.exports {
            hub.restore_export(export, restored.loaded_us);
        }
        hub
    }
}
