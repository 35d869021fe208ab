//! Records that wait for the store: a later record replaces earlier ones of the same subject.

use std::collections::{HashMap, HashSet};

use super::{
    message::AnnouncementId,
    names::{HostName, Label, RoomName, UserName},
    rules::Role,
    store::{Record, StreamKey},
};
use crate::limits::{AUDIT_KEPT_MAX, FOLLOWING_NAMES_PER_USER_MAX};

/// Subject of a record: a later record of the same subject replaces it.
#[derive(PartialEq, Eq, Hash)]
enum RecordSubject {
    Room(RoomName),
    RoomGone(RoomName),
    RoomForgotten(RoomName),
    Role(RoomName, u32, Role),
    RemoteRole(RoomName, UserName, Role),
    Export(HostName, StreamKey),
    Import(HostName, StreamKey),
    Notice(AnnouncementId),
    Follow(u32, Option<Label>, RoomName),
    Name(u32, Label),
    Mark(u32, Option<Label>, StreamKey),
}

/// Later records, while a list of records is read from its end.
#[derive(Default)]
struct LaterRecords {
    about: HashSet<RecordSubject>,
    /// Acts of operators of rooms, and of the server.
    acts: [usize; 2],
    /// Names that are gone, by user id.
    names_of: HashMap<u32, usize>,
}

impl LaterRecords {
    /// Returns the subject of a record; none if the record does not matter any longer.
    fn subject(&mut self, record: &Record) -> Option<RecordSubject> {
        Some(match record {
            Record::Room { name, .. } => RecordSubject::Room(name.clone()),
            Record::RoomGone { name, .. } => RecordSubject::RoomGone(name.clone()),
            Record::RoomForgotten { name, .. } => RecordSubject::RoomForgotten(name.clone()),
            Record::Role { room, uid, role, .. } => RecordSubject::Role(room.clone(), *uid, *role),
            Record::RemoteRole { room, user, role, .. } => {
                RecordSubject::RemoteRole(room.clone(), user.clone(), *role)
            }
            Record::Export { host, stream, .. } => {
                RecordSubject::Export(host.clone(), stream.clone())
            }
            Record::Import { host, stream, .. } => {
                RecordSubject::Import(host.clone(), stream.clone())
            }
            Record::Notice(state) => RecordSubject::Notice(state.id()),
            Record::NoticeGone(id) => RecordSubject::Notice(*id),
            Record::Follow { uid, label, room, .. } => {
                RecordSubject::Follow(*uid, label.clone(), room.clone())
            }
            Record::NameGone { uid, label } => {
                // Names come and go without end; one that is not kept here comes up again when
                // the next run has too many.
                let names = self.names_of.entry(*uid).or_default();
                *names += 1;
                if *names > FOLLOWING_NAMES_PER_USER_MAX {
                    return None;
                }
                RecordSubject::Name(*uid, label.clone())
            }
            Record::Mark { uid, label, stream, .. } => {
                RecordSubject::Mark(*uid, label.clone(), stream.clone())
            }
            // If an instance is not removed now, its age removes it; and a receipt is stored with
            // its announcement.
            Record::InstanceGone { .. } | Record::Receipt(_) | Record::Audit(_) => return None,
        })
    }

    /// Returns true if a later record takes away the room or the name that a record is about.
    fn take_away(&self, record: &Record) -> bool {
        let is_gone = |room: &RoomName| self.about.contains(&RecordSubject::RoomGone(room.clone()));
        let name_gone = |uid: u32, label: &Option<Label>| {
            let name = label.as_ref().map(|label| RecordSubject::Name(uid, label.clone()));
            name.is_some_and(|name| self.about.contains(&name))
        };
        match record {
            Record::Room { name, .. }
            | Record::Role { room: name, .. }
            | Record::RemoteRole { room: name, .. } => is_gone(name),
            Record::Follow { uid, label, room, .. } => is_gone(room) || name_gone(*uid, label),
            Record::Mark { uid, label, stream, .. } => {
                let room_gone = match stream {
                    StreamKey::Room(room) => is_gone(room),
                    StreamKey::Conversation(..) | StreamKey::Announcements => false,
                };
                room_gone || name_gone(*uid, label)
            }
            Record::RoomGone { .. }
            | Record::RoomForgotten { .. }
            | Record::NameGone { .. }
            | Record::InstanceGone { .. }
            | Record::Export { .. }
            | Record::Import { .. }
            | Record::Audit(_)
            | Record::Notice(_)
            | Record::NoticeGone(_)
            | Record::Receipt(_) => false,
        }
    }

    /// Returns true if a record still matters before these, and adds it.
    fn add(&mut self, record: &Record) -> bool {
        if let Record::Audit(act) = record {
            let acts = &mut self.acts[usize::from(act.office)];
            *acts += 1;
            return *acts <= AUDIT_KEPT_MAX;
        }
        let Some(about) = self.subject(record) else { return false };
        !self.take_away(record) && self.about.insert(about)
    }
}

/// Returns those of the records that could not be stored that still matter: without what a later
/// one says again, or takes away. So as much waits as there are rooms, names and marks, however
/// long the store fails.
pub(super) fn still_to_be_kept(records: Vec<Record>) -> Vec<Record> {
    let mut later = LaterRecords::default();
    let mut kept: Vec<Record> =
        records.into_iter().rev().filter(|record| later.add(record)).collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::stream_id::RoomId;

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
    fn only_the_last_record_of_each_thing_waits() {
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
