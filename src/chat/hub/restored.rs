//! A hub that goes on where an earlier one ended.

use super::{Hub, HubConfig, gone::Gone, stream::Stream};
use crate::{
    chat::{
        frames::ANNOUNCEMENTS,
        store::{Restored, RestoredConversation, RestoredRoom, RestoredSubmits},
    },
    faults::{Fault, planted},
};

impl Hub {
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
        let hosts = restored.imports.iter().map(|import| import.host.clone());
        hosts.for_each(|host| hub.remote_rows.restore(host));
        hub.links.restore(restored.imports, restored.exports);
        hub
    }
}
