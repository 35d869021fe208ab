//! What outlives a run: what a hub begins with, and what it wants kept beside the messages.

use super::{Hub, Rules, StreamKey, stream::Stream};
use crate::chat::names::{Label, RoomName, UserName};

/// Numbers of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Newest number that was ever given; 0 before the first.
    pub head: u64,
    /// Oldest number that is kept.
    pub first: u64,
    /// Wall clock of the newest message, microseconds since 1970.
    pub newest_us: Option<i64>,
}

/// A room of an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredRoom {
    /// Its name, as it was created.
    pub name: RoomName,
    /// Who made it.
    pub creator_uid: u32,
    /// Whether its messages are stored.
    pub history: bool,
    /// Its topic.
    pub topic: String,
    /// Its numbers.
    pub span: Span,
}

/// What a client instance submitted: consecutive counters with consecutive numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredSubmits {
    /// Whose.
    pub uid: u32,
    /// The client instance.
    pub instance: [u8; 16],
    /// First counter.
    pub counter: u64,
    /// How many.
    pub count: u64,
    /// Where they went.
    pub stream: StreamKey,
    /// Number of the first.
    pub seq: u64,
}

/// Everything that a hub takes over from the run before.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Rooms.
    pub rooms: Vec<RestoredRoom>,
    /// Deleted rooms: their numbers are not given again. Name and newest number.
    pub gone_rooms: Vec<(RoomName, u64)>,
    /// Conversations: both user ids, the smaller first.
    pub conversations: Vec<(u32, u32, Span)>,
    /// The announcements.
    pub announcements: Span,
    /// Names under which users said something, by user id.
    pub users: Vec<(u32, UserName)>,
    /// Which names (user id and label) follow which rooms.
    pub follows: Vec<(u32, Option<Label>, RoomName)>,
    /// Up to where which names have read.
    pub marks: Vec<(u32, Option<Label>, StreamKey, u64)>,
    /// Submits that may come again, oldest first.
    pub submits: Vec<RestoredSubmits>,
}

/// Something to be kept beside the messages, in the same transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A room as it is now.
    Room {
        /// Its name.
        name: RoomName,
        /// Who made it.
        creator_uid: u32,
        /// Whether its messages are stored.
        history: bool,
        /// Its topic.
        topic: String,
    },
    /// A room was deleted, with all that was said in it.
    RoomGone {
        /// Its name.
        name: RoomName,
        /// Newest number that was ever given under this name.
        head: u64,
    },
    /// A name follows a room, or no longer.
    Follow {
        /// User id.
        uid: u32,
        /// Label; none: the person.
        label: Option<Label>,
        /// The room.
        room: RoomName,
        /// From now on, or no longer.
        on: bool,
    },
    /// A label of a user is forgotten, with what it followed and had read.
    NameGone {
        /// User id.
        uid: u32,
        /// The label.
        label: Label,
    },
    /// A name has read a stream up to a number.
    Mark {
        /// User id.
        uid: u32,
        /// Label; none: the person.
        label: Option<Label>,
        /// The stream.
        stream: StreamKey,
        /// The number.
        seq: u64,
    },
}

impl Hub {
    /// A hub that goes on where the last run ended.
    #[must_use]
    pub fn restored(rules: Rules, restored: Restored) -> Self {
        let mut hub = Self::new(rules);
        hub.streams[0].restore(restored.announcements);
        for room in restored.rooms {
            let tag = hub.next_tag();
            let bytes = hub.rules.backlog_bytes_max;
            let RestoredRoom { name, creator_uid, history, topic, span } = room;
            let mut stream = Stream::room(tag, name.clone(), creator_uid, history, bytes);
            stream.set_topic(topic);
            if history {
                stream.restore(span);
            } else {
                // Numbers begin anew with each run; those of a stored room of that name, which was
                // deleted, are not given again all the same.
                hub.gone_rooms.insert(name.clone(), span.head);
            }
            hub.streams.push(stream);
            hub.rooms.insert(name, tag);
        }
        for (low, high, span) in restored.conversations {
            let tag = hub.next_tag();
            let mut stream = Stream::conversation(tag, low, high);
            stream.restore(span);
            hub.streams.push(stream);
            hub.pairs.insert((low, high), tag);
        }
        hub.gone_rooms.extend(restored.gone_rooms);
        for (uid, label, room) in restored.follows {
            hub.following.entry((uid, label)).or_default().rooms.push(room);
        }
        for (uid, label, stream, seq) in restored.marks {
            if let Some(tag) = hub.tag_of(&stream) {
                hub.marks.insert((uid, label, tag), seq);
            }
        }
        for submits in restored.submits {
            if let Some(tag) = hub.tag_of(&submits.stream) {
                hub.instances.restore(&submits, tag);
            }
        }
        hub.share_backlog();
        hub
    }

    fn tag_of(&self, stream: &StreamKey) -> Option<crate::chat::verbs::StreamTag> {
        match stream {
            StreamKey::Room(name) => self.rooms.get(name).copied(),
            StreamKey::Conversation(low, high) => self.pairs.get(&(*low, *high)).copied(),
            StreamKey::Announcements => Some(super::ANNOUNCEMENTS),
        }
    }
}
