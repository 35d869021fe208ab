//! A model of the store: whole transactions or nothing, ranges of messages, retention, and what a restarted server gets.

use std::{collections::BTreeMap, sync::Arc};

use moot::{
    chat::{
        announcement::AnnouncementRecord,
        batch::{Builder, Draft},
        member::Member,
        message::AnnouncementId,
        names::{Label, RoomName},
        rules::{Role, RoomRules},
        store::{
            Entry, Fetch, GoneRoom, Record, Restored, RestoredConversation, RestoredRoom,
            RestoredSubmits, Span, StreamKey,
        },
        stream_id::{RoomId, StreamId},
    },
    limits::UNACKED_SUBMITS_MAX,
};

/// A room's own row.
#[derive(Clone)]
pub struct Room {
    pub name: RoomName,
    id: RoomId,
    pub creator_uid: u32,
    pub history: bool,
    pub topic: String,
    pub private: bool,
    pub read_only: bool,
}

pub struct Stream {
    key: StreamKey,
    pub room: Option<Room>,
    /// A deleted room: only its numbers are known.
    pub gone: bool,
    pub roles: Vec<(u32, Role)>,
    head: u64,
    /// Oldest number that retention left.
    pub first: u64,
    newest_us: Option<i64>,
    entries: BTreeMap<u64, Entry>,
}

impl Stream {
    fn span(&self) -> Span {
        Span { head: self.head, first: self.first, newest_us: self.newest_us }
    }
}

/// Part of a stream, as encoded bodies with `headroom` free bytes before each.
#[derive(Default)]
pub struct Found {
    pub bodies: Vec<Vec<u8>>,
    pub first: u64,
    pub last: u64,
    /// Last number that was looked for.
    pub upto: u64,
    /// Oldest number that is kept.
    pub oldest: u64,
}

#[derive(Default)]
pub struct Disk {
    pub streams: Vec<Stream>,
    follows: Vec<(u32, Option<Label>, RoomName)>,
    marks: Vec<(u32, Option<Label>, StreamKey, u64)>,
    notices: BTreeMap<String, AnnouncementRecord>,
    submits: Vec<RestoredSubmits>,
    floor: u64,
}

impl Disk {
    pub fn stream(&self, key: &StreamKey) -> Option<&Stream> {
        self.streams.iter().find(|s| s.key == *key)
    }

    fn stream_mut(&mut self, key: &StreamKey) -> &mut Stream {
        if let Some(at) = self.streams.iter().position(|s| s.key == *key) {
            return &mut self.streams[at];
        }
        self.streams.push(Stream {
            key: key.clone(),
            room: None,
            gone: false,
            roles: Vec::new(),
            head: 0,
            first: 1,
            newest_us: None,
            entries: BTreeMap::new(),
        });
        self.streams.last_mut().expect("it was pushed")
    }

    /// One transaction: records first, as the product's writer does.
    pub fn commit(&mut self, records: Vec<Record>, entries: Vec<Entry>) {
        for record in records {
            self.record(record);
        }
        for entry in entries {
            if let Some((instance, counter)) = entry.submit {
                self.keep_submit(entry.from.uid, instance, counter, &entry);
            }
            let key = StreamKey::clone(&entry.stream);
            let stream = self.stream_mut(&key);
            assert_eq!(entry.seq, stream.head + 1, "{key:?}: committed numbers have no hole");
            stream.head = entry.seq;
            stream.newest_us = Some(entry.wall_us);
            stream.entries.insert(entry.seq, entry);
        }
    }

    fn keep_submit(&mut self, uid: u32, instance: [u8; 16], counter: u64, entry: &Entry) {
        let last = self.submits.iter_mut().rev().find(|s| s.uid == uid && s.instance == instance);
        if let Some(run) = last
            && run.stream.as_ref() == Some(&*entry.stream)
            && run.counter + run.count == counter
            && run.seq + run.count == entry.seq
            && run.count < UNACKED_SUBMITS_MAX as u64
        {
            run.count += 1;
            run.wall_us = entry.wall_us;
            return;
        }
        let stream = Some(StreamKey::clone(&entry.stream));
        let (seq, wall_us) = (entry.seq, entry.wall_us);
        let run = RestoredSubmits { uid, instance, counter, count: 1, stream, seq, wall_us };
        self.submits.push(run);
    }

    fn record(&mut self, record: Record) {
        match record {
            Record::Room { name, id, creator_uid, history, topic, private, read_only, head } => {
                let room = Room { name, id, creator_uid, history, topic, private, read_only };
                let key = StreamKey::Room(room.name.clone());
                let stream = self.stream_mut(&key);
                if stream.gone || stream.room.is_none() {
                    stream.head = stream.head.max(head);
                    stream.first = stream.head + 1;
                }
                (stream.room, stream.gone) = (Some(room), false);
            }
            Record::Role { room, uid, role, on } => {
                let roles = &mut self.stream_mut(&StreamKey::Room(room)).roles;
                roles.retain(|of| *of != (uid, role));
                if on {
                    roles.push((uid, role));
                }
            }
            // Worlds without linked hosts.
            Record::Audit(_)
            | Record::RemoteRole { .. }
            | Record::Export { .. }
            | Record::Import { .. } => {}
            Record::InstanceGone { uid, instance } => {
                self.submits.retain(|s| (s.uid, s.instance) != (uid, instance));
            }
            Record::Notice(state) => {
                self.notices.insert(state.id().to_string(), *state);
            }
            Record::Receipt(receipt) => {
                let id = AnnouncementId::Number(receipt.number).to_string();
                if let Some(state) = self.notices.get_mut(&id) {
                    state.take_receipt(*receipt);
                }
            }
            Record::NoticeGone(id) => {
                self.notices.remove(&id.to_string());
            }
            Record::RoomGone { name, head } => {
                let key = StreamKey::Room(name.clone());
                let stream = self.stream_mut(&key);
                stream.head = stream.head.max(head);
                stream.first = stream.head + 1;
                stream.entries.clear();
                stream.roles.clear();
                // It may have been created and deleted before anything of it was stored.
                stream.gone = true;
                self.follows.retain(|(_, _, of)| *of != name);
                self.marks.retain(|(_, _, of, _)| *of != key);
                let announcements = self.stream_mut(&StreamKey::Announcements);
                for entry in announcements.entries.values_mut() {
                    // Only the number stays of an announcement to it.
                    let room = entry.notice.as_ref().and_then(|notice| notice.room.as_ref());
                    if room == Some(&name) {
                        entry.notice = None;
                        entry.text = "".into();
                    }
                }
            }
            Record::RoomForgotten { name, floor } => {
                self.floor = self.floor.max(floor);
                let key = StreamKey::Room(name);
                self.streams.retain(|stream| stream.key != key || !stream.gone);
            }
            Record::Follow { uid, label, room, on } => {
                let follow = (uid, label, room);
                self.follows.retain(|of| *of != follow);
                if on {
                    self.follows.push(follow);
                }
            }
            Record::NameGone { uid, label } => {
                let gone =
                    |of: u32, name: &Option<Label>| of == uid && name.as_ref() == Some(&label);
                self.follows.retain(|(of, name, _)| !gone(*of, name));
                self.marks.retain(|(of, name, ..)| !gone(*of, name));
            }
            Record::Mark { uid, label, stream, seq } => {
                let before = self
                    .marks
                    .iter_mut()
                    .find(|(of, name, key, _)| *of == uid && *name == label && *key == stream);
                match before {
                    Some((.., mark)) => *mark = seq.max(*mark),
                    None => self.marks.push((uid, label, stream, seq)),
                }
            }
        }
    }

    /// Retention takes the oldest messages of a stream; returns its key and the first number that is left.
    pub fn retain(&mut self, at: usize, count: usize) -> (StreamKey, u64) {
        let stream = &mut self.streams[at];
        for _ in 0..count {
            if let Some((seq, _)) = stream.entries.pop_first() {
                stream.first = seq + 1;
            }
        }
        (stream.key.clone(), stream.first)
    }

    /// Messages of a range, `count` at most.
    pub fn fetch(&self, fetch: &Fetch, headroom: usize, count: usize) -> Found {
        let rooms = fetch.rooms.as_deref();
        self.range(&fetch.stream, fetch.tag, (fetch.first, fetch.last), headroom, count, rooms)
    }

    pub fn range(
        &self,
        key: &StreamKey,
        tag: StreamId,
        (first, last): (u64, u64),
        headroom: usize,
        count: usize,
        rooms: Option<&[RoomName]>,
    ) -> Found {
        let mut found = Found { upto: last, oldest: 1, ..Found::default() };
        let Some(stream) = self.stream(key) else { return found };
        let nobody = Arc::new(Member::nobody());
        let mut builder = Builder::default();
        found.oldest = stream.first;
        let first = first.max(stream.first);
        if first > last {
            return found;
        }
        for (seq, entry) in stream.entries.range(first..=last).take(count) {
            let hidden = rooms.is_some_and(|of| match &entry.notice {
                None => true,
                Some(notice) => notice.room.as_ref().is_some_and(|room| !of.contains(room)),
            });
            let draft = if hidden {
                Draft { from: &nobody, notice: None, withheld: true, ..entry.draft() }
            } else {
                entry.draft()
            };
            // One run's session numbers mean others in another run: a body for each sender is simplest.
            if builder.count() > 0 {
                found.bodies.push(builder.bytes().to_vec());
            }
            builder.begin(headroom, tag, *seq);
            assert!(builder.push(headroom, &draft), "the first message fits into any body");
            if found.first == 0 {
                found.first = *seq;
            }
            found.last = *seq;
        }
        if found.bodies.len() + 1 >= count && found.last > 0 {
            found.upto = found.last;
        }
        if builder.count() > 0 {
            found.bodies.push(builder.bytes().to_vec());
        }
        found
    }

    /// What the next boot of the server begins with.
    pub fn restored(&self) -> Restored {
        let mut restored = Restored { floor: self.floor, ..Restored::default() };
        for stream in &self.streams {
            match (&stream.key, &stream.room) {
                (StreamKey::Room(name), _) if stream.gone => {
                    let room = stream.room.as_ref();
                    restored.gone_rooms.push(GoneRoom {
                        name: name.clone(),
                        creator_uid: room.map_or(0, |room| room.creator_uid),
                        private: room.is_some_and(|room| room.private),
                        head: stream.head,
                    });
                }
                (StreamKey::Room(name), Some(room)) => {
                    let mut rules = RoomRules::new(room.private, room.read_only);
                    for (uid, role) in &stream.roles {
                        rules.set(*uid, *role, true);
                    }
                    restored.rooms.push(RestoredRoom {
                        name: name.clone(),
                        id: room.id,
                        creator_uid: room.creator_uid,
                        history: room.history,
                        topic: room.topic.clone(),
                        rules,
                        span: stream.span(),
                    });
                }
                // Deleted before its own record was ever stored.
                (StreamKey::Room(name), None) if stream.entries.is_empty() => {
                    let (name, head) = (name.clone(), stream.head);
                    let (creator_uid, private) = (0, false);
                    restored.gone_rooms.push(GoneRoom { name, creator_uid, private, head });
                }
                (StreamKey::Room(name), None) => panic!("{name} has messages and no record"),
                (StreamKey::Conversation(low, high), _) => {
                    let (users, span) = ((*low, *high), stream.span());
                    let begun_by = None;
                    restored.conversations.push(RestoredConversation { users, begun_by, span });
                }
                (StreamKey::Announcements, _) => restored.announcements = stream.span(),
            }
        }
        restored.follows = self.follows.clone();
        restored.marks = self.marks.clone();
        restored.notices = self.notices.values().cloned().collect();
        restored.submits = self.submits.clone();
        restored
    }
}
