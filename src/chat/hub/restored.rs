//! What outlives a run: what a hub begins with, and what it wants kept beside the messages.

use std::collections::{HashMap, HashSet};

use super::{
    Audit, GoneRoom, Hub, NoticeState, Receipt, Rules, StreamKey, gone::Gone, stream::Stream,
};
use crate::{
    chat::{
        message::NoticeId,
        names::{Label, RoomName, UserName},
        rules::{Role, RoomRules},
        verbs::RoomId,
    },
    faults::{Fault, planted},
    limits::{AUDIT_KEPT_MAX, FOLLOWING_NAMES_PER_USER_MAX, RECIPIENTS_PER_RECORD},
};

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
    /// Permanent id.
    pub id: RoomId,
    /// Who made it.
    pub creator_uid: u32,
    /// Whether its messages are stored.
    pub history: bool,
    /// Its topic.
    pub topic: String,
    /// Who may do what in it.
    pub rules: RoomRules,
    /// Its numbers.
    pub span: Span,
}

/// A conversation of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredConversation {
    /// Both user ids, the smaller first.
    pub users: (u32, u32),
    /// Who began it, if that is known.
    pub begun_by: Option<u32>,
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
    /// Where they went; none: a deleted room whose name is forgotten.
    pub stream: Option<StreamKey>,
    /// Number of the first.
    pub seq: u64,
    /// Wall clock when they were stored, microseconds since 1970.
    pub wall_us: i64,
}

/// Everything that a hub takes over from the run before.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Rooms.
    pub rooms: Vec<RestoredRoom>,
    /// Deleted rooms: their numbers are not given again.
    pub gone_rooms: Vec<GoneRoom>,
    /// Numbers up to here are given in no new room: those of deleted rooms whose names are forgotten.
    pub floor: u64,
    /// Conversations.
    pub conversations: Vec<RestoredConversation>,
    /// The announcements.
    pub announcements: Span,
    /// Names under which users said something, by user id.
    pub users: Vec<(u32, UserName)>,
    /// Which names (user id and label) follow which rooms.
    pub follows: Vec<(u32, Option<Label>, RoomName)>,
    /// Up to where which names have read.
    pub marks: Vec<(u32, Option<Label>, StreamKey, u64)>,
    /// What operators did, oldest first.
    pub audit: Vec<Audit>,
    /// Announcements that wait, and those that were made.
    pub notices: Vec<NoticeState>,
    /// Submits that may come again, oldest first.
    pub submits: Vec<RestoredSubmits>,
    /// Users with older submits than those, and the time of the oldest of those.
    pub submits_cut: Vec<(u32, i64)>,
}

/// Something to be kept beside the messages, in the same transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A room as it is now.
    Room {
        /// Its name.
        name: RoomName,
        /// Permanent id; a room that is created again under the same name has another.
        id: RoomId,
        /// Who made it.
        creator_uid: u32,
        /// Whether its messages are stored.
        history: bool,
        /// Its topic.
        topic: String,
        /// Only for those who are invited.
        private: bool,
        /// Only who leads it says something.
        read_only: bool,
        /// Numbers up to here were given before it was made, or by an earlier boot.
        head: u64,
    },
    /// A user has a role in a room from now on, or no longer.
    Role {
        /// The room.
        room: RoomName,
        /// The user id.
        uid: u32,
        /// Which.
        role: Role,
        /// From now on, or no longer.
        on: bool,
    },
    /// What an operator did.
    Audit(Audit),
    /// An announcement as it stands now.
    Notice(Box<NoticeState>),
    /// One that nobody wants to know of any more.
    NoticeGone(NoticeId),
    /// What became of an announcement that is stored.
    Receipt(Box<Receipt>),
    /// A room was deleted, with all that was said in it.
    RoomGone {
        /// Its name.
        name: RoomName,
        /// Newest number that was ever given under this name.
        head: u64,
    },
    /// The name of a deleted room is forgotten; no new room gives numbers up to the floor.
    RoomForgotten {
        /// Its name.
        name: RoomName,
        /// Numbers up to here are given in no new room.
        floor: u64,
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
    /// A client instance ended with a good-bye: its counters are not needed.
    InstanceGone {
        /// User id.
        uid: u32,
        /// The client instance.
        instance: [u8; 16],
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

impl Record {
    /// Whether messages of a stream must not be stored without it: they would be read by the wrong users, or
    /// announced twice.
    pub(super) fn is_needed_by(&self, stream: &StreamKey) -> bool {
        match self {
            Self::Room { name, .. }
            | Self::RoomGone { name, .. }
            | Self::RoomForgotten { name, .. } => {
                matches!(stream, StreamKey::Room(room) if room == name)
            }
            Self::Notice(_) | Self::NoticeGone(_) | Self::Receipt(_) => {
                *stream == StreamKey::Announcements
            }
            Self::Role { .. }
            | Self::Audit(_)
            | Self::Follow { .. }
            | Self::NameGone { .. }
            | Self::InstanceGone { .. }
            | Self::Mark { .. } => false,
        }
    }
}

impl Record {
    /// Returns how many records of the usual size it is as large as.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Notice(notice) => 1 + notice.recipients() / RECIPIENTS_PER_RECORD,
            Self::Room { .. }
            | Self::RoomGone { .. }
            | Self::RoomForgotten { .. }
            | Self::Role { .. }
            | Self::Audit(_)
            | Self::NoticeGone(_)
            | Self::Receipt(_)
            | Self::Follow { .. }
            | Self::NameGone { .. }
            | Self::InstanceGone { .. }
            | Self::Mark { .. } => 1,
        }
    }

    /// Whether it changes what is kept of a room.
    pub(super) fn is_about_room(&self, of: &RoomName) -> bool {
        match self {
            Self::Room { name: room, .. }
            | Self::RoomGone { name: room, .. }
            | Self::RoomForgotten { name: room, .. }
            | Self::Role { room, .. }
            | Self::Follow { room, .. }
            | Self::Mark { stream: StreamKey::Room(room), .. } => room == of,
            Self::Audit(_)
            | Self::Notice(_)
            | Self::NoticeGone(_)
            | Self::Receipt(_)
            | Self::NameGone { .. }
            | Self::InstanceGone { .. }
            | Self::Mark { .. } => false,
        }
    }
}

/// Of records that could not be kept, those that still say something: what a later one says anew, or takes
/// away, is left out. So as much waits as there are rooms, names and marks, however long the store fails.
pub(super) fn still_to_be_kept(records: Vec<Record>) -> Vec<Record> {
    #[derive(PartialEq, Eq, Hash)]
    enum About {
        Room(RoomName),
        RoomGone(RoomName),
        RoomForgotten(RoomName),
        Role(RoomName, u32, Role),
        Notice(NoticeId),
        Follow(u32, Option<Label>, RoomName),
        Name(u32, Label),
        Mark(u32, Option<Label>, StreamKey),
    }
    let mut said: HashSet<About> = HashSet::new();
    let mut acts = [0; 2];
    let mut names_of: HashMap<u32, usize> = HashMap::new();
    let mut kept: Vec<Record> = records
        .into_iter()
        .rev()
        .filter(|record| {
            let name_gone = |said: &HashSet<About>, uid: u32, label: &Option<Label>| {
                let name = label.as_ref().map(|label| About::Name(uid, label.clone()));
                name.is_some_and(|name| said.contains(&name))
            };
            let about = match record {
                Record::Room { name, .. } => About::Room(name.clone()),
                Record::RoomGone { name, .. } => About::RoomGone(name.clone()),
                Record::RoomForgotten { name, .. } => About::RoomForgotten(name.clone()),
                Record::Role { room, uid, role, .. } => About::Role(room.clone(), *uid, *role),
                Record::Notice(state) => About::Notice(state.id()),
                Record::NoticeGone(id) => About::Notice(*id),
                // If it is not removed now, its age removes it; and a receipt is stored with its announcement.
                Record::InstanceGone { .. } | Record::Receipt(_) => return false,
                Record::Audit(act) => {
                    let acts = &mut acts[usize::from(act.office)];
                    *acts += 1;
                    return *acts <= AUDIT_KEPT_MAX;
                }
                Record::Follow { uid, label, room, .. } => {
                    About::Follow(*uid, label.clone(), room.clone())
                }
                Record::NameGone { uid, label } => {
                    // Names come and go without end; one that is not kept here comes up again when the
                    // next run has too many.
                    let names = names_of.entry(*uid).or_default();
                    *names += 1;
                    if *names > FOLLOWING_NAMES_PER_USER_MAX {
                        return false;
                    }
                    About::Name(*uid, label.clone())
                }
                Record::Mark { uid, label, stream, .. } => {
                    About::Mark(*uid, label.clone(), stream.clone())
                }
            };
            let taken_away = match record {
                Record::Room { name, .. } | Record::Role { room: name, .. } => {
                    said.contains(&About::RoomGone(name.clone()))
                }
                Record::Follow { uid, label, room, .. } => {
                    said.contains(&About::RoomGone(room.clone())) || name_gone(&said, *uid, label)
                }
                Record::Mark { uid, label, stream, .. } => {
                    let room_gone = match stream {
                        StreamKey::Room(room) => said.contains(&About::RoomGone(room.clone())),
                        StreamKey::Conversation(..) | StreamKey::Announcements => false,
                    };
                    room_gone || name_gone(&said, *uid, label)
                }
                Record::RoomGone { .. }
                | Record::RoomForgotten { .. }
                | Record::NameGone { .. }
                | Record::InstanceGone { .. }
                | Record::Audit(_)
                | Record::Notice(_)
                | Record::NoticeGone(_)
                | Record::Receipt(_) => false,
            };
            !taken_away && said.insert(about)
        })
        .collect();
    kept.reverse();
    kept
}

impl Hub {
    /// A hub that goes on where the last run ended.
    #[must_use]
    pub fn restored(rules: Rules, restored: Restored) -> Self {
        let mut hub = Self::new(rules);
        hub.stream_mut(super::ANNOUNCEMENTS).restore(restored.announcements);
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
            hub.rooms.insert(name, tag);
            hub.room_ids.insert(id, tag);
        }
        for RestoredConversation { users, begun_by, span } in restored.conversations {
            let Some(tag) = hub.streams.make_tag(None) else { break };
            let mut stream =
                Stream::conversation(tag, users, begun_by, hub.rules.backlog_bytes_max);
            stream.restore(span);
            hub.streams.insert(stream);
            hub.conversations.insert(users, begun_by, tag);
        }
        hub.gone = Gone::new(restored.floor);
        restored.gone_rooms.into_iter().for_each(|room| hub.bury(room, true));
        hub.audit.extend(restored.audit);
        for notice in restored.notices {
            hub.restore_notice(notice);
        }
        for (uid, label, room) in
            restored.follows.into_iter().skip(usize::from(planted(Fault::FollowForgottenAtRestart)))
        {
            hub.following.entry((uid, label)).or_default().rooms.push(room);
        }
        for (uid, label, stream, seq) in restored.marks {
            if let Some(tag) = hub.tag_of(&stream) {
                hub.marks.insert((uid, label, tag), seq);
            }
        }
        for submits in restored.submits.into_iter().filter(|_| !planted(Fault::SubmitsNotRestored))
        {
            let RestoredSubmits { uid, instance, counter, count, stream, seq, wall_us } = submits;
            let tag = stream.and_then(|stream| hub.tag_of(&stream));
            hub.instances.restore((uid, instance), (counter, count, seq), tag, wall_us);
        }
        for (uid, until_us) in restored.submits_cut {
            hub.instances.forget(uid, until_us);
        }
        hub
    }

    fn tag_of(&self, stream: &StreamKey) -> Option<crate::chat::verbs::StreamTag> {
        match stream {
            StreamKey::Room(name) => self.rooms.get(name).copied(),
            StreamKey::Conversation(low, high) => self.conversations.get(*low, *high),
            StreamKey::Announcements => Some(super::ANNOUNCEMENTS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn made(name: &str, topic: &str) -> Record {
        Record::Room {
            name: room(name),
            id: RoomId(1),
            creator_uid: 1,
            history: true,
            topic: topic.to_owned(),
            private: false,
            read_only: false,
            head: 0,
        }
    }

    fn gone(name: &str, head: u64) -> Record {
        Record::RoomGone { name: room(name), head }
    }

    fn mark(label: Option<&str>, name: &str, seq: u64) -> Record {
        let label = label.map(|label| Label::new(label).unwrap());
        Record::Mark { uid: 1, label, stream: StreamKey::Room(room(name)), seq }
    }

    fn follow(label: Option<&str>, name: &str, on: bool) -> Record {
        let label = label.map(|label| Label::new(label).unwrap());
        Record::Follow { uid: 1, label, room: room(name), on }
    }

    #[test]
    fn the_last_word_on_each_thing_waits_and_what_it_took_away_does_not() {
        let many = (1..=1_000).map(|seq| mark(None, "dev", seq));
        let topics = (1..=1_000).map(|n| made("dev", &n.to_string()));
        assert_eq!(
            still_to_be_kept(many.chain(topics).collect()),
            [mark(None, "dev", 1_000), made("dev", "1000")]
        );
        let deleted = vec![
            made("dev", "a"),
            follow(None, "dev", true),
            mark(None, "dev", 3),
            gone("dev", 3),
            made("dev", "b"),
            gone("dev", 7),
            made("dev", "c"),
            follow(None, "dev", true),
        ];
        let left = [gone("dev", 7), made("dev", "c"), follow(None, "dev", true)];
        assert_eq!(still_to_be_kept(deleted), left);
        let label = Label::new("ci").unwrap();
        let name_gone = Record::NameGone { uid: 1, label };
        let forgotten = vec![
            follow(Some("ci"), "dev", true),
            mark(Some("ci"), "dev", 3),
            mark(None, "dev", 2),
            name_gone.clone(),
            follow(Some("ci"), "dev", true),
            follow(Some("ci"), "dev", false),
        ];
        let left = [mark(None, "dev", 2), name_gone, follow(Some("ci"), "dev", false)];
        assert_eq!(still_to_be_kept(forgotten), left);
    }

    #[test]
    fn names_that_come_and_go_do_not_add_up() {
        let names = (0..10 * FOLLOWING_NAMES_PER_USER_MAX).flat_map(|n| {
            let label = format!("ci-{n}");
            let name_gone = Record::NameGone { uid: 1, label: Label::new(&label).unwrap() };
            [follow(Some(&label), "dev", true), name_gone]
        });
        let left = still_to_be_kept(names.collect());
        // Of the names whose end is left out, what they followed is at most as much.
        assert!(left.len() <= 10 * FOLLOWING_NAMES_PER_USER_MAX, "{}", left.len());
        let ends = left.iter().filter(|r| matches!(r, Record::NameGone { .. })).count();
        assert_eq!(ends, FOLLOWING_NAMES_PER_USER_MAX);
    }
}
