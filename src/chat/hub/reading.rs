//! History queries: which users may read which part of which stream. The store answers them.

use super::{
    Hub, directory::Deletion, follows::MarkChange, request::Routed, sessions::Wait,
    stream::StreamKind,
};
use crate::{
    chat::{
        batch::{MessageRef, Reader},
        clock::Now,
        frames::ANNOUNCEMENTS,
        member::SessionId,
        names::{Label, RoomName, Target},
        permutation::Permutation,
        refusal::{Refusal, RefusalCode, no_room, refuse},
        reply::{MarkInfo, Page, Reply, SpanInfo},
        request::{HistoryRequest, SearchRequest},
        store::{GoneRoom, Question, Record, SearchQuestion, StreamKey},
        stream_id::{StreamId, StreamLabel},
        text::mentions,
    },
    faults::{Fault, planted},
    limits::{
        FRAME_HEADER_BYTES, LOOK_COST_BYTES, MARKS_PER_USER_MAX, SEARCH_BYTES_MAX,
        UNREAD_AT_SIGNS_MAX, UNREAD_IN_MEMORY_LOOKS_MAX, UNREAD_MAX,
    },
};

/// Streams in one answer of what is unread; the caller asks again for more.
const MARKS_PER_REPLY: usize = 200;

/// Rows of a history that its searches can name.
const SEARCH_ROWS_MAX: u64 = 1 << 40;

/// Remaining work of one count of unread messages in memory.
struct Looks {
    messages: u64,
    /// `@` characters compared with the user's name.
    at_signs: usize,
}

impl Hub {
    /// Answers a history query, or asks the store.
    pub(super) fn history_query(
        &mut self,
        id: SessionId,
        request: &HistoryRequest,
    ) -> Result<Routed, Refusal> {
        match request {
            HistoryRequest::Span { target } => {
                self.readable(id, target).map(|tag| self.span(id, tag))
            }
            HistoryRequest::Page { target, first, last } => {
                self.readable(id, target).map(|tag| self.page(tag, *first, *last))
            }
            HistoryRequest::NumberAt { target, wall_us } => {
                self.readable(id, target).map(|tag| self.number_at(tag, *wall_us))
            }
            HistoryRequest::Search(search) => self.search(id, search).map(Routed::Query),
            HistoryRequest::Unread { target, skip } => {
                self.unread(id, target.as_ref(), *skip).map(Routed::Query)
            }
        }
    }

    /// The stream that a user may read under this name.
    pub(super) fn readable(&self, id: SessionId, target: &Target) -> Result<StreamId, Refusal> {
        match target {
            Target::Room(room) => {
                let uid = self.sessions[&id].peer.uid;
                let tag = self.known_room(uid, room)?;
                self.may_read(uid, tag).map(|()| tag)
            }
            Target::User { user, .. } => {
                let (own, other) = (self.sessions[&id].peer.uid, self.uid_of(user)?);
                self.directory.conversations.get(own, other).map_or_else(
                    || {
                        let text = format!("no conversation with {user} exists yet");
                        refuse(RefusalCode::Absent, text)
                    },
                    Ok,
                )
            }
        }
    }

    /// Returns the number of the next stream: a stream with it, or a higher one, began after a
    /// question of now.
    #[must_use]
    pub fn next_stream(&self) -> u64 {
        self.streams.made()
    }

    /// Returns true if a session may still read a stream, when an answer about it comes. A room
    /// that was made after the question has the name of another one.
    pub fn still_reads(
        &self,
        id: SessionId,
        stream: &StreamKey,
        asked: u64,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get(&id) else {
            return refuse(RefusalCode::Denied, "the session has ended");
        };
        match stream {
            StreamKey::Room(_) if planted(Fault::RemovedUserGetsAnswer) => Ok(()),
            StreamKey::Room(room) => {
                let target = Target::Room(room.clone());
                let tag = self.readable(session.member.session, &target)?;
                if self.stream(tag).made < asked || planted(Fault::AnswerOfEarlierRoom) {
                    Ok(())
                } else {
                    no_room(room)
                }
            }
            StreamKey::Conversation(..) | StreamKey::Announcements => Ok(()),
        }
    }

    fn span(&self, id: SessionId, tag: StreamId) -> Routed {
        let stream = self.stream(tag);
        let stored = self.is_stored(tag);
        let first = if stored { stream.first } else { stream.backlog.start() };
        let uid = self.sessions[&id].peer.uid;
        let name = self.label_for(uid, tag);
        let span = SpanInfo { name, first, head: stream.backlog.head(), stored };
        match stored {
            // Retention goes on behind the hub's back.
            true => Routed::Query(Question::Span { stream: self.stream_key(tag), span }),
            false => Routed::Reply(Reply::Span(span)),
        }
    }

    /// Returns the name of a stream as a user sees it.
    pub(super) fn label_for(&self, uid: u32, tag: StreamId) -> StreamLabel {
        match &self.stream(tag).topic {
            StreamKind::Announcements => StreamLabel::Announcements,
            StreamKind::Room { name, .. } => StreamLabel::Room(name.clone()),
            StreamKind::Conversation { low, high, .. } => {
                let other = if uid == *low { *high } else { *low };
                StreamLabel::Direct(self.called(other))
            }
        }
    }

    fn page(&self, tag: StreamId, first: u64, last: u64) -> Routed {
        let stream = self.stream(tag);
        let last = last.min(stream.backlog.head());
        let first = first.max(1);
        if first > last {
            return Routed::Reply(Reply::Page(Page::default()));
        }
        if self.is_stored(tag) {
            let stream = self.stream_key(tag);
            return Routed::Query(Question::Page { stream, tag, first, last, rooms: None });
        }
        let first = first.max(stream.backlog.start());
        let page = stream.backlog.holding(first).map(|segment| Page {
            body: segment.frame[FRAME_HEADER_BYTES..].to_vec(),
            first,
            last: segment.last.min(last),
        });
        Routed::Reply(Reply::Page(page.unwrap_or_default()))
    }

    fn number_at(&self, tag: StreamId, wall_us: i64) -> Routed {
        if self.is_stored(tag) {
            let stream = self.stream_key(tag);
            return Routed::Query(Question::NumberAt { stream, wall_us });
        }
        // The same rule as in the history: after the last message of an earlier time.
        let backlog = &self.stream(tag).backlog;
        let mut at = backlog.head();
        while let Some(segment) = backlog.holding(at) {
            let body = &segment.frame[FRAME_HEADER_BYTES..];
            let messages = Reader::new(body).into_iter().flatten().flatten();
            let earlier = messages.filter(|message| message.wall_us < wall_us).last();
            self.looked_at(usize::try_from(segment.last + 1 - segment.first).unwrap_or(usize::MAX));
            if let Some(earlier) = earlier {
                return Routed::Reply(Reply::Number(earlier.seq + 1));
            }
            at = segment.first - 1;
        }
        Routed::Reply(Reply::Number(backlog.start()))
    }

    fn search(&self, id: SessionId, search: &SearchRequest) -> Result<Question, Refusal> {
        let SearchRequest { text, target, from, since_us, before, limit } = search;
        if text.len() > SEARCH_BYTES_MAX || text.trim().is_empty() {
            let text = format!("a search takes a text of 1 to {SEARCH_BYTES_MAX} bytes");
            return refuse(RefusalCode::Input, text);
        }
        if !self.rules.store {
            let text = "this server keeps no history; there is nothing to search";
            return refuse(RefusalCode::Failed, text);
        }
        let stream = match target {
            None => None,
            Some(target) => {
                let tag = self.readable(id, target)?;
                if !self.is_stored(tag) {
                    let text = format!("{target} keeps no history; there is nothing to search");
                    return refuse(RefusalCode::Failed, text);
                }
                Some(self.stream_key(tag))
            }
        };
        let order = Permutation::new(self.rules.secret);
        let before = if *before == 0 { 0 } else { order.reveal(*before) };
        if before > SEARCH_ROWS_MAX {
            let text = "the server restarted since the search began; search again";
            return refuse(RefusalCode::Failed, text);
        }
        let from_remote = from.clone().filter(|user| user.host().is_some());
        let from_uid = match (from, &from_remote) {
            (Some(user), None) => Some(self.uid_of(user)?),
            _ => None,
        };
        let uid = self.sessions[&id].peer.uid;
        Ok(Question::Search(Box::new(SearchQuestion {
            text: text.clone(),
            uid,
            hidden: self.unreadable_rooms(uid),
            stream,
            from_uid,
            from_remote,
            since_us: *since_us,
            before,
            order,
            limit: *limit,
        })))
    }

    fn unread(
        &mut self,
        id: SessionId,
        target: Option<&Target>,
        skip: u32,
    ) -> Result<Question, Refusal> {
        let session = &self.sessions[&id];
        let (uid, label) = (session.peer.uid, session.member.label.clone());
        let user = session.member.user.to_string();
        let mut tags = match target {
            None => self.followed(uid, label.as_ref()),
            Some(target) => vec![self.readable(id, target)?],
        };
        // In the same order each time: rooms as they were joined, then conversations.
        let mut rest = tags.split_off(tags.len().min(skip as usize));
        let more = rest.len() > MARKS_PER_REPLY;
        rest.truncate(MARKS_PER_REPLY);
        let marks = self.marks_of(uid, label.as_ref(), &user, rest);
        Ok(Question::Unread { uid, user, label, marks, more })
    }

    /// Names of a user id that have something to read, for their badges.
    #[must_use]
    pub fn readers(&self, uid: u32, most: usize) -> Vec<Option<Label>> {
        let following = self.follows.names(uid).filter_map(Clone::clone);
        let here = self.sessions_of(uid).filter_map(|s| s.member.label.clone());
        let labels: std::collections::BTreeSet<Label> = here.chain(following).collect();
        let labels = labels.into_iter().map(Some);
        // The person is always one: mail is for all.
        [None].into_iter().chain(labels).take(most).collect()
    }

    /// Returns the read marks of a name for everything it follows, and what the store is to count.
    #[must_use]
    pub fn reader_marks(
        &self,
        uid: u32,
        label: Option<&Label>,
    ) -> Vec<(MarkInfo, Option<StreamKey>)> {
        let user = self.user_name(uid).map_or_else(String::new, |user| user.to_string());
        self.marks_of(uid, label, &user, self.followed(uid, label))
    }

    /// Returns true if anything was sent or read since the last call.
    pub fn take_unread_changed(&mut self) -> bool {
        self.follows.take_change()
    }

    fn followed(&self, uid: u32, label: Option<&Label>) -> Vec<StreamId> {
        let name = (uid, label.cloned());
        let rooms = self.follows.rooms(&name).iter().filter_map(|room| self.directory.room(room));
        let rooms = rooms.filter(|tag| self.may_read(uid, *tag).is_ok());
        let mut pairs: Vec<_> = self.directory.conversations.of(uid).collect();
        pairs.sort_unstable_by_key(|tag| self.stream(*tag).made);
        rooms.chain(pairs).chain([ANNOUNCEMENTS]).collect()
    }

    fn marks_of(
        &self,
        uid: u32,
        label: Option<&Label>,
        user: &str,
        tags: Vec<StreamId>,
    ) -> Vec<(MarkInfo, Option<StreamKey>)> {
        let mut looks =
            Looks { messages: UNREAD_IN_MEMORY_LOOKS_MAX, at_signs: UNREAD_AT_SIGNS_MAX };
        let marks = tags.into_iter().map(|tag| {
            if tag == ANNOUNCEMENTS {
                return (self.notices_mark(uid), None);
            }
            let mark = self.follows.mark((uid, label.cloned()), tag);
            let stream = self.stream(tag);
            let head = stream.backlog.head();
            let mut info = MarkInfo {
                name: self.label_for(uid, tag),
                mark: mark.min(head),
                head,
                unread: 0,
                mentions: 0,
                stored: self.is_stored(tag),
            };
            let key = (info.mark < head && info.stored).then(|| self.stream_key(tag));
            if !info.stored {
                self.count_in_memory(&mut info, tag, (uid, label), user, &mut looks);
            }
            (info, key)
        });
        marks.collect()
    }

    /// Announcements are not read up to a number: those count that a user should still look at.
    fn notices_mark(&self, uid: u32) -> MarkInfo {
        MarkInfo {
            name: StreamLabel::Announcements,
            mark: 0,
            head: 0,
            unread: self.open_notices(self.clock.turn.wall_us, uid),
            mentions: 0,
            stored: true,
        }
    }

    /// Counts messages of a room without history. Once `looks` are used up, the remaining messages
    /// count by their numbers, own messages with others, and the remaining mentions do not count.
    /// No text is read: its mentions were saved when it was published.
    fn count_in_memory(
        &self,
        info: &mut MarkInfo,
        tag: StreamId,
        (uid, label): (u32, Option<&Label>),
        user: &str,
        looks: &mut Looks,
    ) {
        let stream = self.stream(tag);
        let (backlog, key) = (&stream.backlog, &stream.key);
        let counts = |of: &MessageRef<'_>| {
            let (from, to) =
                (Label::existing(of.from.label).ok(), Label::existing(of.to_label).ok());
            key.counts((of.from.uid, from.as_ref()), to.as_ref(), (uid, label))
        };
        let mut at = backlog.start().max(info.mark + 1);
        while looks.messages > 0
            && let Some(segment) = backlog.holding(at)
        {
            let body = &segment.frame[FRAME_HEADER_BYTES..];
            let messages = segment.last + 1 - segment.first;
            // Each is decoded.
            self.looked_at(usize::try_from(2 * messages).unwrap_or(usize::MAX));
            for message in Reader::new(body).into_iter().flatten().flatten() {
                if message.seq > info.mark && counts(&message) {
                    info.unread += 1;
                    if looks.at_signs > 0
                        && let Some(excerpt) = segment.mentions_of(message.seq)
                    {
                        let at_signs = excerpt.bytes().filter(|b| *b == b'@').count();
                        self.looked_at(at_signs.div_ceil(LOOK_COST_BYTES));
                        looks.at_signs = looks.at_signs.saturating_sub(at_signs);
                        info.mentions += u64::from(mentions(excerpt, user));
                    }
                }
            }
            looks.messages = looks.messages.saturating_sub(messages);
            at = segment.last + 1;
        }
        let rest = (backlog.head() + 1).saturating_sub(at);
        info.unread = (info.unread + rest).min(UNREAD_MAX);
    }

    // ---- read marks --------------------------------------------------------------------------

    pub(super) fn mark_read(
        &mut self,
        id: SessionId,
        target: &Target,
        seq: u64,
    ) -> Result<Reply, Refusal> {
        let tag = self.readable(id, target)?;
        let session = &self.sessions[&id];
        let (uid, label) = (session.peer.uid, session.member.label.clone());
        self.set_mark(uid, label, tag, seq)?;
        Ok(Reply::Done)
    }

    /// Marks only rise, and never above what was said.
    pub(super) fn set_mark(
        &mut self,
        uid: u32,
        label: Option<Label>,
        tag: StreamId,
        seq: u64,
    ) -> Result<(), Refusal> {
        let seq = seq.min(self.stream(tag).backlog.head());
        if seq == 0 {
            // As good as no mark.
            return Ok(());
        }
        let name = (uid, label);
        match self.follows.raise(name.clone(), tag, seq) {
            MarkChange::Before => return Ok(()),
            MarkChange::Now => {}
            MarkChange::New => {
                if self.follows.marks_of(uid) >= MARKS_PER_USER_MAX && !self.forget_oldest_name(uid)
                {
                    let text = format!(
                        "this user has {MARKS_PER_USER_MAX} read marks, which is the limit"
                    );
                    return refuse(RefusalCode::Failed, text);
                }
                self.follows.set_mark(name.clone(), tag, seq);
            }
        }
        self.follows.note_change();
        if self.is_stored(tag) {
            let ((uid, label), stream) = (name, self.stream_key(tag));
            self.commits.add(Record::Mark { uid, label, stream, seq });
        }
        Ok(())
    }

    // ---- deleting ----------------------------------------------------------------------------

    /// Deletes a room as soon as nothing is under way in it; answered when that is kept.
    pub(super) fn delete_room(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        room: &RoomName,
    ) -> Result<(), Refusal> {
        let uid = self.sessions[&id].peer.uid;
        let tag = self.known_room(uid, room)?;
        let StreamKind::Room { creator_uid, .. } = &self.stream(tag).topic else {
            return no_room(room);
        };
        if uid != *creator_uid && !self.is_operator(uid) {
            let by = self.called(*creator_uid);
            let text =
                format!("only its creator ({by}) or an operator of the server may delete {room}");
            return refuse(RefusalCode::Denied, text);
        }
        self.count_notified(self.stream(tag).members());
        let act = format!("delete {room}");
        self.audit_by_office(now, uid, tag, act);
        self.directory.begin_deletion(Deletion { tag, session: id, serial });
        self.commits.count_waiting(id, true);
        Ok(())
    }

    /// Returns true if a room is about to be deleted: nothing new is sent in it.
    pub(super) fn is_ending(&self, tag: StreamId) -> bool {
        self.directory.is_ending(tag)
    }

    /// Deletes the rooms in which nothing is in flight any longer. Returns true if there was one.
    pub(super) fn delete_ending(&mut self) -> bool {
        let (streams, announcements) = (&self.streams, &self.announcements);
        let deletions = self.directory.take_deletions(|tag| {
            // It may have been deleted for another user who asked as well.
            streams.get(tag).is_some_and(|stream| stream.in_flight.bytes > 0)
                || announcements.begun().any(|announcing| announcing.is_for(tag))
        });
        for Deletion { tag, session, serial } in &deletions {
            self.commits.count_waiting(*session, false);
            self.delete_now(*tag);
            self.reply_when_kept(*session, *serial, Reply::Done);
        }
        !deletions.is_empty()
    }

    fn delete_now(&mut self, tag: StreamId) {
        let Some(stream) = self.known_stream(tag) else { return };
        let StreamKind::Room { name, id, creator_uid, rules, .. } = &stream.topic else { return };
        let (name, id, creator_uid, private) = (name.clone(), *id, *creator_uid, rules.private);
        let head = stream.numbered;
        let sessions: Vec<_> = self.stream(tag).subs.iter().map(|(_, sub)| sub.session).collect();
        self.sessions.set_late(sessions.len());
        for session in sessions {
            self.send(session, crate::chat::event::Event::Deleted { stream: tag });
            self.part(session, tag, crate::chat::member::EndCause::Server);
        }
        self.sessions.write_rows_at_once();
        self.asking_room_gone(tag);
        // A session that waits to send there is read again, and refused.
        for id in std::mem::take(&mut self.stream_mut(tag).in_flight.waiting) {
            self.let_go(id, Wait::Stream(tag));
        }
        self.forget_notices_of(&name, tag);
        let was_stored = self.directory.remove(&name, id, tag);
        self.streams.remove(tag);
        self.follows.forget_room(&name, tag);
        let is_about = |record: &Record| record.is_about_room(&name);
        let stored = was_stored || self.commits.is_committing(is_about);
        if stored {
            self.commits.add(Record::RoomGone { name: name.clone(), head });
        } else {
            // The store never learns of it.
            self.commits.drop_filling(is_about);
        }
        self.bury(GoneRoom { name, creator_uid, private, head }, stored);
    }

    /// Remembers the numbers of a deleted room.
    pub(super) fn bury(&mut self, room: GoneRoom, stored: bool) {
        if let Some(name) = self.directory.gone.add(room, stored) {
            self.commits.add(Record::RoomForgotten { name, floor: self.directory.gone.floor() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::{
            clock::Now,
            frames::{Destination, Frame, Hello, Line, Report, Submit},
            hub::{
                Action, HubConfig,
                scene::{self, EVE, HEAD, MAX, MIA, Scene, session},
            },
            member::{Kind, Peer},
            message::BootId,
            names::{RoomName, UserName},
            request::{Begin, Follow, Request},
        },
        limits::REPLIES_WAITING_PER_SESSION_MAX,
    };

    const NOW: Now = Now { mono_us: 1, wall_us: 1 };

    fn hub() -> Hub {
        let mut hub = Hub::new(HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]));
        for (id, user) in [(1, "ann"), (2, "bob")] {
            let peer = Peer { uid: id, user: UserName::new(user).unwrap(), pid: id, start: 0 };
            let hello = Hello::new(None, Kind::Person, [id as u8; 16]);
            hub.open(NOW, SessionId(id.into()), peer, hello).unwrap();
        }
        hub
    }

    fn unread(hub: &Hub) -> (u64, u64) {
        let marks = hub.reader_marks(1, None);
        (marks[0].0.unread, marks[0].0.mentions)
    }

    #[test]
    fn read_mark_moves_up_by_reading_only() {
        let (mut hub, room) = (hub(), RoomName::new("dev").unwrap());
        let join = Request::Join {
            follow: Follow::Room(room.clone()),
            begin: Begin::Now,
            membership: false,
            keep: true,
        };
        hub.request(NOW, SessionId(1), 1, join);
        let lines = ["one", "two @ann", "three"]
            .map(|text| Line { reply_to: None, text: text.try_into().unwrap() });
        let to = Destination::Room(room.clone());
        let submit = Submit { first: 1, to, to_label: None, lines: lines.to_vec() };
        hub.submit(NOW, SessionId(2), &submit);
        hub.end_turn(NOW);
        assert_eq!(unread(&hub), (3, 1));
        let stream = hub.room_tag(&room).unwrap();
        let report = Report { stream, delivered: 3, by_broadcast: 0, datagrams: 0 };
        hub.report(NOW, SessionId(1), &report);
        assert_eq!(unread(&hub), (3, 1), "shown is not read");
        let read = |seq| Request::MarkRead { target: Target::Room(room.clone()), seq };
        hub.request(NOW, SessionId(1), 2, read(2));
        assert_eq!(unread(&hub), (1, 0));
        hub.request(NOW, SessionId(1), 3, read(1));
        assert_eq!(unread(&hub), (1, 0), "a mark does not go back");
        hub.request(NOW, SessionId(1), 4, read(99));
        assert_eq!(hub.reader_marks(1, None)[0].0.mark, 3, "nor further than what was said");
    }

    /// A hub whose store commits on demand.
    fn kept() -> Hub {
        let mut hub = hub();
        (hub.rules.store, hub.rules.persistent) = (true, true);
        hub
    }

    fn say(hub: &mut Hub, first: u64, room: &RoomName, text: &str) {
        let lines = vec![Line { reply_to: None, text: text.try_into().unwrap() }];
        let to = Destination::Room(room.clone());
        hub.submit(NOW, SessionId(2), &Submit { first, to, to_label: None, lines });
    }

    /// Answers among the actions, each with what it says if it is a refusal.
    fn replies(hub: &mut Hub) -> Vec<(u32, Option<String>)> {
        let replies = hub.actions().filter_map(|action| {
            let Action::Send(_, Frame::Reply { serial, result }) = action else { return None };
            Some((serial, result.err().map(|refusal| refusal.text)))
        });
        replies.collect()
    }

    #[test]
    fn room_is_deleted_when_idle_and_answered_when_stored() {
        let (mut hub, room) = (kept(), RoomName::new("dev").unwrap());
        say(&mut hub, 1, &room, "one");
        hub.end_turn(NOW);
        hub.request(NOW, SessionId(2), 7, Request::DeleteRoom { room: room.clone() });
        say(&mut hub, 2, &room, "too late");
        hub.end_turn(NOW);
        assert!(hub.room_tag(&room).is_some(), "its message is still under way");
        assert_eq!(replies(&mut hub), []);
        hub.stored(NOW);
        hub.end_turn(NOW);
        assert_eq!((hub.room_tag(&room), replies(&mut hub)), (None, vec![]));
        hub.stored(NOW);
        assert_eq!(replies(&mut hub), [(7, None)]);
        assert!(hub.commits.answers_all());
        // The refused text has no number.
        say(&mut hub, 3, &room, "two");
        assert_eq!(hub.stream(hub.room_tag(&room).unwrap()).numbered, 2);
    }

    #[test]
    fn answer_about_a_room_is_not_for_the_next_of_its_name() {
        let (mut hub, room) = (kept(), RoomName::new("dev").unwrap());
        say(&mut hub, 1, &room, "one");
        hub.end_turn(NOW);
        hub.stored(NOW);
        let key = StreamKey::Room(room.clone());
        let asked = hub.next_stream();
        hub.still_reads(SessionId(1), &key, asked).unwrap();
        hub.request(NOW, SessionId(2), 7, Request::DeleteRoom { room: room.clone() });
        hub.end_turn(NOW);
        hub.stored(NOW);
        hub.still_reads(SessionId(1), &key, asked).unwrap_err();
        say(&mut hub, 2, &room, "another room");
        assert!(hub.room_tag(&room).is_some());
        hub.still_reads(SessionId(1), &key, asked).unwrap_err();
        hub.still_reads(SessionId(1), &key, hub.next_stream()).unwrap();
    }

    #[test]
    fn join_does_not_depend_on_answers_that_wait_for_the_store() {
        let mut scene = Scene::new(false);
        scene.store = scene::Store::Waits;
        for seq in 1..=REPLIES_WAITING_PER_SESSION_MAX as u64 {
            let target = Target::Room(scene::den());
            scene.ask(MIA, Request::MarkRead { target, seq });
        }
        scene.settle();
        let target = Target::Room(scene::den());
        scene.request(MIA, Request::MarkRead { target, seq: HEAD }).unwrap_err();
        scene.request(MIA, scene::join_room("den")).unwrap();
    }

    #[test]
    fn failed_commit_is_reported_and_tried_again() {
        let (mut hub, room) = (kept(), RoomName::new("dev").unwrap());
        let create = Request::CreateRoom { room, history: true, private: false, read_only: false };
        hub.request(NOW, SessionId(1), 1, create);
        hub.end_turn(NOW);
        assert_eq!(hub.commits.waiting(SessionId(1)), 1);
        hub.store_failed(NOW, "disk full");
        assert!(hub.commits.answers_all());
        let told = replies(&mut hub);
        assert!(told[0].1.as_ref().is_some_and(|text| text.contains("disk full")), "{told:?}");
        hub.tick(Now { mono_us: 10_000_000, wall_us: 1 });
        let stores = hub.actions().filter(|a| matches!(a, Action::Store(r, _) if r.len() == 1));
        assert_eq!(stores.count(), 1);
    }

    #[test]
    fn numbers_of_a_deleted_stored_room_are_not_reused() {
        let room = RoomName::new("dev").unwrap();
        let mut restored = crate::chat::store::Restored::default();
        restored.rooms.push(crate::chat::store::RestoredRoom {
            name: room.clone(),
            id: crate::chat::stream_id::RoomId(7),
            creator_uid: 2,
            history: false,
            topic: String::new(),
            rules: Default::default(),
            span: crate::chat::store::Span { head: 100, first: 101, newest_us: None },
        });
        let mut hub = Hub::restored(kept().rules, restored);
        let peer = Peer { uid: 2, user: UserName::new("bob").unwrap(), pid: 2, start: 0 };
        let hello = Hello::new(None, Kind::Person, [2; 16]);
        hub.open(NOW, SessionId(2), peer, hello).unwrap();
        hub.request(NOW, SessionId(2), 1, Request::DeleteRoom { room: room.clone() });
        hub.end_turn(NOW);
        // Until that is kept, what was said there could be found under its name.
        say(&mut hub, 1, &room, "too early");
        assert_eq!(hub.room_tag(&room), None);
        hub.stored(NOW);
        say(&mut hub, 1, &room, "stored again");
        assert_eq!(hub.stream(hub.room_tag(&room).unwrap()).numbered, 101);
    }

    #[test]
    fn follows_of_each_user_survive_a_restart() {
        let scene = Scene::new(false);
        for uid in [MIA, EVE] {
            assert_eq!(scene.hub.followed(uid, None), [scene.tag(), ANNOUNCEMENTS]);
        }
    }

    #[test]
    fn conversations_are_followed_by_both_users_and_no_other() {
        let mut scene = Scene::new(false);
        let target = Target::User { user: scene::user(EVE), label: None };
        let Ok(Reply::Opened(info)) = scene.request(MAX, Request::Open { target }) else {
            panic!("not opened")
        };
        let direct = info.tag;
        scene.say(session(MAX), 2, Destination::Stream(direct), "x");
        scene.settle();
        assert_eq!(scene.hub.followed(MAX, None), [direct, ANNOUNCEMENTS]);
        assert_eq!(scene.hub.followed(EVE, None), [scene.tag(), direct, ANNOUNCEMENTS]);
        assert_eq!(scene.hub.followed(MIA, None), [scene.tag(), ANNOUNCEMENTS]);
    }

    #[test]
    fn search_hides_rooms_that_the_user_may_not_read() {
        let scene = Scene::new(true);
        let request = SearchRequest {
            text: "x".to_owned(),
            target: None,
            from: None,
            since_us: None,
            before: 0,
            limit: 9,
        };
        for (uid, hides) in [(scene::SAM, true), (MIA, false)] {
            let Ok(Question::Search(search)) = scene.hub.search(session(uid), &request) else {
                panic!("no question")
            };
            assert_eq!(search.hidden.contains(&scene::den()), hides, "{uid}");
        }
    }

    #[test]
    fn number_at_a_time_is_found_in_a_room_without_history() {
        let mut scene = Scene::with_rules(false, |rules| rules.store = false);
        let to = Destination::Room(scene::room("memory"));
        let mut times = Vec::new();
        for counter in 1..=3 {
            scene.pass(1_000);
            times.push(scene.now.wall_us);
            scene.say(session(MIA), counter, to.clone(), "x");
            scene.settle();
        }
        let tag = scene.hub.room_tag(&scene::room("memory")).unwrap();
        let at = |wall_us| {
            let routed = scene.hub.number_at(tag, wall_us);
            let Routed::Reply(Reply::Number(number)) = routed else { panic!("{routed:?}") };
            number
        };
        assert_eq!([0, times[0], times[0] + 1, times[2], times[2] + 1].map(at), [1, 1, 2, 3, 4]);
    }

    #[test]
    fn number_at_follows_one_rule_where_a_clock_was_set_back() {
        let mut scene = Scene::with_rules(false, |rules| rules.store = false);
        let to = Destination::Room(scene::room("memory"));
        let start_us = scene.now.wall_us;
        let mut times = Vec::new();
        for (counter, step_us) in
            (1..).zip([5, 3, 9, -11, 2, 2, 30, -8, 1, 40, -100, 3, 80, 20, -1])
        {
            scene.pass(1);
            scene.now.wall_us = times.last().unwrap_or(&start_us) + step_us;
            times.push(scene.now.wall_us);
            scene.say(session(MIA), counter, to.clone(), "x");
            scene.settle();
        }
        let tag = scene.hub.room_tag(&scene::room("memory")).unwrap();
        for wall_us in start_us - 120..start_us + 150 {
            let later = |first: usize| times[first..].iter().all(|ts| *ts >= wall_us);
            let slow = (0..times.len()).find(|first| later(*first)).unwrap_or(times.len());
            let Routed::Reply(Reply::Number(number)) = scene.hub.number_at(tag, wall_us) else {
                panic!()
            };
            assert_eq!(number, slow as u64 + 1, "{wall_us} {times:?}");
        }
    }

    #[test]
    fn submit_of_the_previous_boot_is_acknowledged_again() {
        let mut scene = Scene::new(false);
        let to = Destination::Stream(scene.tag());
        scene.say(session(MAX), 1, to, "the newest message");
        scene.settle();
        let ack = scene.sent.iter().find_map(|(to, frame)| {
            let Frame::Ack(ack) = frame else { return None };
            (*to == session(MAX)).then_some((ack.first, ack.count, ack.seq))
        });
        assert_eq!(ack, Some((1, 1, HEAD)));
        assert_eq!(scene.hub.stream(scene.tag()).numbered, HEAD);
    }

    #[test]
    fn labels_that_come_and_go_do_not_use_up_what_a_user_may_follow() {
        let mut hub = hub();
        let join = |room: &str| Request::Join {
            follow: Follow::Room(RoomName::new(room).unwrap()),
            begin: Begin::Now,
            membership: false,
            keep: true,
        };
        hub.request(NOW, SessionId(1), 1, join("dev"));
        let names = crate::limits::FOLLOWING_NAMES_PER_USER_MAX as u64;
        for n in 1..=2 * names {
            let id = SessionId(100 + n);
            let peer = Peer { uid: 1, user: UserName::new("ann").unwrap(), pid: 9, start: 0 };
            let label = Some(Label::new(&format!("ci-{n}")).unwrap());
            let hello = Hello::new(label, Kind::Script, [9; 16]);
            hub.open(NOW, id, peer, hello).unwrap();
            hub.request(NOW, id, 1, join("dev"));
            hub.close(NOW, id, crate::chat::member::EndCause::Quit);
        }
        assert!(replies(&mut hub).iter().all(|(_, refused)| refused.is_none()));
        let of = |hub: &Hub, label: Option<Label>| hub.follows.contains(&(1, label));
        assert!(of(&hub, None), "the person's own is never forgotten");
        assert!(!of(&hub, Some(Label::new("ci-1").unwrap())));
        assert!(of(&hub, Some(Label::new(&format!("ci-{}", 2 * names)).unwrap())));
    }
}
