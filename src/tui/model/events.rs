//! What the server tells: messages, who comes and goes, answers, the end of the session.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{
    Asked, Effect, Loading, Mode, Model, PAGE_MESSAGES, PageAsked, Pending, Present, Session, When,
    is_heard, words,
};
use crate::{
    chat::{
        batch::Reader,
        event::GapReason,
        member::{EndCause, Kind, Level, Member, State},
        message::{Message, NoticeId, StreamName},
        names::{RoomName, Target, UserName},
        refusal::{Refusal, RefusalCode},
        reply::{HitInfo, MarkInfo, Reply, RoomInfo, WhoInfo},
        request::{Follow, Request},
        text::counted,
    },
    client::{Address, Event},
    limits::IDLE_AFTER_MS,
    tui::scrollback::{Line, Note, NoteKind, Place, Said},
};

impl From<WhoInfo> for Present {
    fn from(info: WhoInfo) -> Self {
        Self {
            name: info.member.name(),
            sessions: 1,
            kind: info.member.kind,
            state: info.state,
            idle_s: 0,
            status: info.status,
        }
    }
}

impl Present {
    /// Idle is the reader's arithmetic: a person without a key for a while.
    pub(in crate::tui) fn idle_since(mut self, now_us: u64, active_us: u64) -> Self {
        self.idle_s = now_us.saturating_sub(active_us) / 1_000_000;
        let idle = self.idle_s * 1_000 >= IDLE_AFTER_MS && self.kind == Kind::Person;
        if idle && self.state == State::Online {
            self.state = State::Idle;
        }
        self
    }
}

/// Sessions as people see them: somebody with three terminals is one, and is there if any of them is.
pub(super) fn folded(sessions: impl IntoIterator<Item = Present>) -> Vec<Present> {
    let presence = |present: &Present| {
        let rank = match present.state {
            State::Online => 0,
            State::Idle => 1,
            State::Away => 2,
            State::Unresponsive => 3,
            State::Unknown => 4,
        };
        (rank, present.idle_s)
    };
    let mut all = BTreeMap::<_, Present>::new();
    for one in sessions {
        match all.entry((one.name.clone(), one.kind.word())) {
            Entry::Vacant(free) => drop(free.insert(one)),
            Entry::Occupied(mut known) => {
                let sessions = known.get().sessions + one.sessions;
                if presence(&one) < presence(known.get()) {
                    known.insert(one);
                }
                known.get_mut().sessions = sessions;
            }
        }
    }
    all.into_values().collect()
}

/// Whether somebody does not want to see it. What one says oneself is always shown.
fn is_ignored(ignored: &BTreeSet<String>, me: &str, message: &Message) -> bool {
    if ignored.is_empty() {
        return false;
    }
    let name = message.from.name();
    name != me && (ignored.contains(message.from.user.as_str()) || ignored.contains(&name))
}

/// Said while there is no session.
const NO_SERVER: &str = "what you say waits for a server; `moot serve` runs one";
/// Hits that are asked for at a time.
const HITS: u32 = 100;

impl Model {
    /// Something happened.
    pub(in crate::tui) fn event(&mut self, now: When, event: Event) {
        match event {
            Event::Ready { streams, broadcast } => self.ready(now, streams, broadcast),
            Event::Message(message) => self.message(now, message),
            Event::Joined { room, member } => {
                self.known.add_names(std::iter::once(member.name()));
                self.moved(now, &room, &member, None);
            }
            Event::Left { room, member, cause } => self.moved(now, &room, &member, Some(cause)),
            Event::Topic { room, topic } => {
                let text = if topic.is_empty() {
                    "the topic was removed".to_owned()
                } else {
                    format!("topic: {topic}")
                };
                if let Some(at) = self.index_of(&StreamName::Room(room)) {
                    self.rooms[at].topic = topic;
                    self.rooms[at].note(now.wall_us, NoteKind::Info, text);
                    self.changed |= at == self.current;
                }
            }
            Event::Deleted { room } => self.lost(now, &room, format!("{room} was deleted")),
            Event::Removed { room, by, banned } => {
                let how = if banned { "banned" } else { "removed" };
                self.lost(now, &room, format!("{by} {how} you from {room}"));
            }
            Event::Cancelled { number, by } => {
                self.notices.remove(number);
                self.note(now, NoteKind::Info, format!("{by} cancelled announcement !{number}"));
            }
            Event::Invited { room, user, by } => {
                let text = if user.as_str() == self.options.look.user {
                    format!("{by} invited you to {room} (/join {room})")
                } else {
                    format!("{by} invited {user} to {room}")
                };
                self.note(now, NoteKind::Info, text);
            }
            Event::Gap { stream, range, reason } => self.gap(now, &stream, range, reason),
            Event::Slowed => self.hint(
                "slowed down: your user says more at a time than one user may; the rest goes on as it can",
            ),
            Event::Abandoned { room, seq, by, cause } => {
                let text = format!(
                    "{by} (pid {}) ended before it replied to {room}:{seq} ({})",
                    by.pid,
                    cause.word()
                );
                self.note(now, NoteKind::Info, text);
            }
            Event::Offer { .. } | Event::Answered { .. } => {}
            Event::End { reason } => {
                self.session = Session::Down { reason };
                self.hint(NO_SERVER);
                self.waits_since_us = None;
                self.lag_us = None;
                for room in &mut self.rooms {
                    room.is_open = false;
                    room.opening = false;
                    room.loading = None;
                    // Who is there is not known now.
                    room.members.clear();
                }
                self.changed = true;
            }
        }
        self.settle_read(now);
    }

    fn ready(&mut self, now: When, streams: Vec<(StreamName, u64)>, broadcast: &'static str) {
        self.session = Session::Up { broadcast };
        self.is_hung = false;
        self.hint.take_if(|hint| hint.text == NO_SERVER);
        self.changed = true;
        for (name, head) in streams {
            match &name {
                StreamName::Announcements => {}
                StreamName::Room(_) | StreamName::Direct(_) => {
                    // A conversation in which nothing was said is none yet.
                    if head == 0 && matches!(name, StreamName::Direct(_)) {
                        continue;
                    }
                    let at = self.open(name);
                    let room = &mut self.rooms[at];
                    // What was said meanwhile is still to come; in another run numbers begin anew.
                    room.head = room.head.min(head);
                    if room.head == 0 && head == 0 {
                        room.back.note_beginning();
                    }
                }
            }
        }
        for room in &mut self.rooms {
            room.failed = false;
        }
        self.ask_for_marks(0);
        self.ask_for_rooms();
        self.times.members_at_us = now.mono_us;
        for at in 0..self.rooms.len() {
            self.open_conversation(at);
        }
    }

    pub(super) fn ask_for_marks(&mut self, skip: u32) {
        let request = Request::Unread { target: None, skip };
        self.effects.push_back(Effect::Ask(request, Asked::Marks(skip)));
    }

    pub(super) fn ask_for_rooms(&mut self) {
        let asked = Asked::Rooms(Vec::new());
        self.effects.push_back(Effect::Ask(Request::Rooms { skip: 0 }, asked));
    }

    /// Somebody came to a room, or left it.
    fn moved(&mut self, now: When, name: &RoomName, who: &Member, left: Option<EndCause>) {
        let Some(at) = self.index_of(&StreamName::Room(name.clone())) else { return };
        let room = &mut self.rooms[at];
        let is_scrolled = room.place != Place::End;
        room.back.push_move(now.wall_us, who, left, is_scrolled);
        if at == self.current {
            self.changed = true;
            // Soon, not at once: a hundred who come together are looked at once.
            self.times.members_at_us = self.times.members_at_us.min(now.mono_us + 200_000);
        }
    }

    /// This name is in a room no more. The one that is shown stays: under a sentence in the making there
    /// must not suddenly be another room.
    fn lost(&mut self, now: When, room: &RoomName, text: String) {
        let name = StreamName::Room(room.clone());
        self.left.insert(room.key().to_owned());
        match self.index_of(&name) {
            Some(at) if at == self.current && !self.rooms[at].gone => {
                let room = &mut self.rooms[at];
                room.gone = true;
                room.failed = true;
                room.members.clear();
                room.note(now.wall_us, NoteKind::Error, text);
                self.changed = true;
            }
            Some(_) => {
                self.close(now, &name);
                self.note(now, NoteKind::Error, text);
            }
            None => self.note(now, NoteKind::Error, text),
        }
    }

    fn gap(
        &mut self,
        now: When,
        stream: &StreamName,
        range: Option<(u64, u64)>,
        reason: GapReason,
    ) {
        let why = match reason {
            GapReason::Run => "the server restarted",
            GapReason::Retention => "they were too old to be kept",
            GapReason::Backlog => "they fell out of the backlog",
            GapReason::Damage => "the history is damaged there",
        };
        let text = match range {
            None => format!("{stream} starts over: {why}, and earlier messages are lost"),
            Some((first, last)) if first >= last => format!("message {first} is gone: {why}"),
            Some((first, last)) => {
                let count = last.saturating_sub(first).saturating_add(1);
                format!("{count} messages ({first} to {last}) are gone: {why}")
            }
        };
        let Some(at) = self.index_of(stream) else { return };
        let room = &mut self.rooms[at];
        if range.is_none() {
            room.begin_anew();
        }
        match range {
            Some((_, last)) => {
                room.settle(last);
                let is_scrolled = room.place != Place::End;
                let note = Note { wall_us: now.wall_us, kind: NoteKind::Gap, text };
                room.back.push_gap(last, note, is_scrolled);
            }
            None => room.note(now.wall_us, NoteKind::Gap, text),
        }
        self.changed |= at == self.current;
    }

    fn message(&mut self, now: When, message: Message) {
        if message.notice.is_some() {
            return self.announcement(now, &message);
        }
        if is_ignored(&self.ignored, &self.me, &message) {
            if let Some(at) = self.index_of(&message.id.stream) {
                self.rooms[at].pass_over(message.id.seq);
            }
            return;
        }
        let own = message.from.name() == self.me;
        // All conversations that there were are told at the beginning of a session.
        let begins = self.index_of(&message.id.stream).is_none();
        let at = self.open(message.id.stream.clone());
        let is_looked_at = at == self.current && self.is_looked_at(now);
        let room = &mut self.rooms[at];
        let seq = message.id.seq;
        if begins && room.is_direct() {
            // A conversation that there was not before: nothing of it is read.
            room.marks_known = true;
            let before = seq.saturating_sub(1);
            (room.read, room.told_read, room.marker) = (before, before, before);
        }
        // What was counted by the server is not counted again, and what was said before this screen came
        // is no news.
        let counts = room.marks_known && seq > room.read && seq > room.head;
        let is_news = room.marks_known && seq > room.read && seq > room.before;
        room.head = room.head.max(seq);
        let important = room.is_direct() || message.mention;
        room.note_speaker(&message.from.name());
        room.settle(seq);
        let at_end = room.place == Place::End;
        let alert = message.clone();
        let said = Said::of(message, own);
        // A page of history that reached so far may have been faster.
        let last = room.back.last_seq().filter(|_| room.back.is_attached());
        let is_there = last.is_some_and(|last| last >= seq);
        let pushed = is_there || room.back.push(Line::Said(said), !at_end);
        if own {
            room.mark_own(seq);
        } else if is_looked_at {
            room.see(seq);
        } else {
            if counts {
                room.unread += 1;
                room.mentions += u64::from(alert.mention);
            }
            if !at_end || !pushed {
                room.below += 1;
            }
        }
        // The list of rooms has its counts.
        self.changed |= pushed || counts || at == self.current;
        if !own && is_news && !(is_looked_at && self.focus == Some(true)) {
            self.alert(now, at, important, alert);
        }
        let name = self.rooms[at].speakers.front().cloned();
        self.known.add_names(name.into_iter());
    }

    /// Rings, and shows it on the desktop, as it is wished for that room.
    fn alert(&mut self, now: When, at: usize, important: bool, message: Message) {
        let (bell, notify) = match self.rooms.get(at) {
            Some(room) => (room.bell, room.notify),
            None => (None, None),
        };
        if is_heard(bell.unwrap_or(self.options.bell), important) {
            self.ring(now);
        }
        if is_heard(notify.unwrap_or(self.options.notify), important) {
            self.effects.push_back(Effect::Notify(Box::new(message)));
        }
    }

    fn ring(&mut self, now: When) {
        let recent = |at: u64| now.mono_us.saturating_sub(at) < super::BELL_EVERY_US;
        if !self.times.rung_at_us.is_some_and(recent) {
            self.times.rung_at_us = Some(now.mono_us);
            self.effects.push_back(Effect::Bell);
        }
    }

    fn announcement(&mut self, now: When, message: &Message) {
        let Some(notice) = &message.notice else { return };
        let (level, number) = (notice.level, message.id.seq);
        if !self.notices.add(now.mono_us, message) {
            return;
        }
        self.changed = true;
        let to = notice.room.as_ref().map(|room| format!(" to {room}")).unwrap_or_default();
        let text = format!("{}{to}: {}", message.from.name(), message.text);
        let for_room = notice.room.clone().map(StreamName::Room);
        let at = for_room.and_then(|name| self.index_of(&name)).unwrap_or(self.current);
        if let Some(room) = self.rooms.get_mut(at) {
            room.note(message.wall_us, NoteKind::Notice(level), text);
        }
        if notice.ack || level == Level::Critical {
            // It may be acknowledged already: here before, or by another session of this name.
            self.ask_for_notice(number);
        }
        if message.from.name() != self.me && self.focus != Some(true) {
            let important = level >= Level::Warning || notice.ack;
            self.alert(now, at, important, message.clone());
        }
    }

    pub(super) fn ask_for_notice(&mut self, number: u64) {
        let request = Request::Notice { id: NoticeId::Number(number) };
        self.effects.push_back(Effect::Ask(request, Asked::Notice(number)));
    }

    // ---- what was said -----------------------------------------------------------------------

    /// What was said with a token stands with this number.
    pub(in crate::tui) fn sent(&mut self, now: When, token: u64, seq: u64) {
        self.orphans.retain(|orphan| orphan.token != token);
        // It may have been kept as a draft while there was no server.
        self.keep_soon(now);
        for room in &mut self.rooms {
            let Some(pending) = room.pending.iter_mut().find(|p| p.token == token) else {
                continue;
            };
            pending.seq = Some(seq);
            // It may have come before this did.
            let is_there = room.back.last_seq().is_some_and(|last| last >= seq);
            if is_there || !room.back.is_attached() {
                room.pending.retain(|pending| pending.token != token);
            }
            room.head = room.head.max(seq);
        }
        self.changed = true;
        self.settle_read(now);
    }

    /// What was said with a token was refused: it goes back to where it was typed.
    pub(in crate::tui) fn unsaid(&mut self, token: u64) {
        if let Some(found) = self.orphans.iter().position(|orphan| orphan.token == token) {
            let orphan = self.orphans.remove(found);
            let hint = format!("what was not said in {} is kept there", orphan.room);
            self.keep_unsaid(&orphan.room, orphan.text);
            return self.complain(hint);
        }
        let at = self.rooms.iter().position(|r| r.pending.iter().any(|p| p.token == token));
        let Some(at) = at else { return };
        let room = &mut self.rooms[at];
        let Some(found) = room.pending.iter().position(|p| p.token == token) else { return };
        let Some(pending) = room.pending.remove(found) else { return };
        let typed = pending.as_typed(&room.name);
        self.put_back(at, typed);
    }

    /// The server refused what was said; that is a line, since it may come while something else is typed.
    pub(in crate::tui) fn refused(&mut self, now: When, refusal: &Refusal) {
        let text = match refusal.code {
            // It may be done.
            RefusalCode::UnknownSubmit => refusal.text.clone(),
            _ => format!("not done: {}", refusal.text),
        };
        self.note(now, NoteKind::Error, text);
    }

    /// Something could not be followed, or not any more.
    pub(in crate::tui) fn not_followed(&mut self, now: When, follow: &Follow, refusal: &Refusal) {
        match follow {
            Follow::Room(room) => self.lost(now, room, refusal.text.clone()),
            Follow::With(_) | Follow::AllDirect | Follow::ToMe | Follow::Announcements => {
                self.complain(refusal.text.clone());
            }
        }
    }

    // ---- answers -----------------------------------------------------------------------------

    /// An answer came.
    pub(in crate::tui) fn answered(
        &mut self,
        now: When,
        asked: Asked,
        result: Result<Reply, Refusal>,
    ) {
        self.changed = true;
        match (asked, result) {
            (Asked::Sign | Asked::Read, _) => {}
            (Asked::Typed(line, room, asked), result) => {
                let is_here = self.room().map(|room| &room.name) == room.as_ref();
                if result.is_err() && is_here && self.editor.is_empty() {
                    self.editor.set(&line);
                }
                self.answered(now, *asked, result);
            }
            (Asked::Done(text), Ok(_)) => self.note(now, NoteKind::Info, text),
            (Asked::Page(asked), Err(refusal)) => {
                if let Some(at) = self.index_of(&asked.room) {
                    self.rooms[at].loading = None;
                    self.rooms[at].failed = true;
                }
                if matches!(self.session, Session::Up { .. }) {
                    self.complain(refusal.text);
                }
            }
            // What is only for the looks is not told when there is no connection.
            (Asked::Marks(_) | Asked::Rooms(_) | Asked::Members(..), Err(_)) => {}
            (Asked::Notice(number), Err(refusal)) => {
                if refusal.code == RefusalCode::Absent {
                    self.notices.remove(number);
                }
            }
            (Asked::Hits { .. }, Err(refusal)) => {
                if let Mode::Search(search) = &mut self.mode {
                    search.waits = false;
                }
                self.complain(refusal.text);
            }
            (Asked::Open(user), Err(refusal)) => {
                self.conversation_refused(now, &StreamName::Direct(user), &refusal);
            }
            // Without a connection it waits for one.
            (Asked::OpenFor(..), Err(_)) if matches!(self.session, Session::Down { .. }) => {}
            (Asked::OpenFor(user, token), Err(refusal)) => {
                self.complain(refusal.text);
                match self.index_of(&StreamName::Direct(user)) {
                    Some(at) if self.rooms[at].back.is_empty() && self.rooms[at].head == 0 => {
                        self.close_unknown(now, at);
                    }
                    _ => self.unsaid(token),
                }
            }
            (Asked::Acknowledge(number), Err(refusal)) => {
                if refusal.code == RefusalCode::Absent {
                    // It is over, or was of another run.
                    self.notices.remove(number);
                }
                self.complain(refusal.text);
            }
            (_, Err(refusal)) => self.complain(refusal.text),
            (Asked::Marks(skip), Ok(Reply::Marks { marks, more })) => {
                let skip = skip.saturating_add(u32::try_from(marks.len()).unwrap_or(u32::MAX));
                self.take_marks(now, marks, more.then_some(skip));
            }
            (Asked::Rooms(rooms), Ok(Reply::Rooms { rooms: page, more })) => {
                if let Some(rooms) = self.more_rooms(rooms, page, more, Asked::Rooms) {
                    self.take_rooms(rooms);
                }
            }
            (Asked::ListRooms(rooms), Ok(Reply::Rooms { rooms: page, more })) => {
                if let Some(rooms) = self.more_rooms(rooms, page, more, Asked::ListRooms) {
                    self.list_rooms(now, &rooms);
                    self.take_rooms(rooms);
                }
            }
            (Asked::Members(name, members), Ok(Reply::Who { who, more })) => {
                let members =
                    self.more_members(now, (name.clone(), members), who, more, Asked::Members);
                if let Some(members) = members {
                    self.take_members(&name, members);
                }
            }
            (Asked::ListMembers(name, members), Ok(Reply::Who { who, more })) => {
                let members =
                    self.more_members(now, (name.clone(), members), who, more, Asked::ListMembers);
                if let Some(members) = members {
                    self.list_members(now, &name, members);
                }
            }
            (Asked::Hits { room, query }, Ok(Reply::Hits { hits, more })) => {
                let is_here = self.room().is_some_and(|shown| shown.name == room);
                let more = more || hits.len() >= HITS as usize;
                if is_here {
                    self.take_hits(now, &query, &hits, more);
                }
            }
            (Asked::Open(user), Ok(Reply::Opened(_))) => {
                self.conversation_opened(&StreamName::Direct(user));
            }
            (Asked::OpenFor(user, token), Ok(Reply::Opened(_))) => {
                let name = StreamName::Direct(user);
                self.conversation_is_open(&name, |pending| pending.token == token);
            }
            (Asked::Notice(number), Ok(Reply::Notice(info))) => {
                if info.acked_by_me {
                    self.notices.acknowledged(now.mono_us, number);
                }
            }
            (Asked::Acknowledge(number), Ok(_)) => self.notices.acknowledged(now.mono_us, number),
            (Asked::Topic(room, topic), Ok(_)) => self.event(now, Event::Topic { room, topic }),
            (Asked::Announced, Ok(Reply::Announced { number, members })) => {
                let members = counted(members.into(), "member");
                self.hint(format!("announced to {members} as !{number}"));
            }
            (_, Ok(_)) => {}
        }
    }

    /// Adds a page of rooms; gives them once that was the last one.
    fn more_rooms(
        &mut self,
        mut rooms: Vec<RoomInfo>,
        page: Vec<RoomInfo>,
        more: bool,
        asked: fn(Vec<RoomInfo>) -> Asked,
    ) -> Option<Vec<RoomInfo>> {
        rooms.extend(page);
        if !more {
            return Some(rooms);
        }
        let skip = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
        self.effects.push_back(Effect::Ask(Request::Rooms { skip }, asked(rooms)));
        None
    }

    /// Adds a page of members; gives them once that was the last one.
    fn more_members(
        &mut self,
        now: When,
        (name, mut members): (RoomName, Vec<Present>),
        page: Vec<WhoInfo>,
        more: bool,
        asked: fn(RoomName, Vec<Present>) -> Asked,
    ) -> Option<Vec<Present>> {
        members.extend(page.into_iter().map(|info| {
            let active_us = info.active_mono_us;
            Present::from(info).idle_since(now.mono_us, active_us)
        }));
        if !more {
            return Some(members);
        }
        let skip = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let request = Request::Who { room: name.clone(), skip };
        self.effects.push_back(Effect::Ask(request, asked(name, members)));
        None
    }

    fn list_members(&mut self, now: When, name: &RoomName, members: Vec<Present>) {
        let line = |present: &Present| {
            let mut line =
                format!("{} ({}, {})", present.name, present.kind.word(), present.state.word());
            if present.sessions > 1 {
                line.push_str(&format!(" ×{}", present.sessions));
            }
            if !present.status.is_empty() {
                line.push_str(&format!(": {}", present.status));
            }
            line
        };
        let lines: Vec<_> = folded(members).iter().map(line).collect();
        self.note(now, NoteKind::Info, format!("in {name}:\n{}", lines.join("\n")));
    }

    fn take_rooms(&mut self, rooms: Vec<RoomInfo>) {
        for info in &rooms {
            if let Some(at) = self.index_of(&StreamName::Room(info.name.clone())) {
                let room = &mut self.rooms[at];
                room.topic.clone_from(&info.topic);
                room.private = info.private;
                room.read_only = info.read_only;
                // Rooms are shown as they were created, not as somebody writes them.
                room.name = StreamName::Room(info.name.clone());
            }
        }
        self.known.rooms = rooms;
    }

    fn list_rooms(&mut self, now: When, rooms: &[RoomInfo]) {
        let line = |info: &RoomInfo| {
            let rules = match (info.private, info.read_only) {
                (false, false) => "",
                (true, false) => ", private",
                (false, true) => ", read-only",
                (true, true) => ", private, read-only",
            };
            let topic =
                if info.topic.is_empty() { String::new() } else { format!(" · {}", info.topic) };
            let members = counted(info.members.into(), "member");
            format!("{}: {members}{rules}{topic}", info.name)
        };
        let lines: Vec<_> = rooms.iter().map(line).collect();
        self.note(now, NoteKind::Info, format!("rooms:\n{}", lines.join("\n")));
    }

    /// `more`: from where to ask on.
    fn take_marks(&mut self, now: When, marks: Vec<MarkInfo>, more: Option<u32>) {
        if let Some(skip) = more {
            self.ask_for_marks(skip);
        }
        for mark in marks {
            let name = StreamName::from(&mark.name);
            let at = match (&name, self.index_of(&name)) {
                (_, Some(at)) => at,
                (StreamName::Room(room), None)
                    if !self.options.only_named && !self.left.contains(room.key()) =>
                {
                    // What this name follows, it sees.
                    self.effects.push_back(Effect::Follow(Follow::Room(room.clone())));
                    self.open(name)
                }
                (StreamName::Direct(_), None) if mark.unread > 0 => self.open(name),
                (_, None) => continue,
            };
            let room = &mut self.rooms[at];
            room.head = room.head.max(mark.head);
            // What came since the server counted.
            let (unread, mentions) = room.said_after(mark.head);
            let (unread, mentions) = (mark.unread + unread, mark.mentions + mentions);
            if !room.marks_known {
                room.marks_known = true;
                room.before = mark.head;
                room.marker = mark.mark;
                room.read = mark.mark;
                room.unread = unread;
                room.mentions = mentions;
            } else if mark.mark >= room.read {
                // It was read elsewhere, or this is what the server counts.
                room.read = mark.mark;
                room.unread = unread;
                room.mentions = mentions;
                if at != self.current {
                    room.marker = room.marker.max(mark.mark);
                }
            }
            // What it was told and forgot with the connection is told again.
            room.told_read = mark.mark;
        }
        self.tell_marks_soon(now);
        // Of what the server keeps no mark, what was said so far is taken as read.
        for room in self.rooms.iter_mut().filter(|room| more.is_none() && !room.marks_known) {
            room.marks_known = true;
            room.read = room.head;
            room.told_read = room.head;
            room.marker = room.head;
        }
        self.settle_read(now);
    }

    // ---- history -----------------------------------------------------------------------------

    /// Asks for older messages, if there may be some and none are on their way.
    pub(super) fn load(&mut self, at: usize, loading: Loading) {
        let connected = matches!(self.session, Session::Up { .. });
        let Some(room) = self.rooms.get_mut(at) else { return };
        if room.loading.is_some() || !connected {
            return;
        }
        let Some(target) = room.target() else { return };
        let (first, last) = match loading {
            Loading::Older => {
                let before = room.back.asked_from().unwrap_or(room.head + 1);
                if room.back.is_at_beginning() || before <= 1 {
                    room.back.note_beginning();
                    return;
                }
                (before.saturating_sub(PAGE_MESSAGES).max(1), before - 1)
            }
            Loading::Newer => {
                let after = room.back.asked_to();
                (after + 1, after + PAGE_MESSAGES)
            }
            Loading::Around(seq) => {
                (seq.saturating_sub(PAGE_MESSAGES / 2).max(1), seq + PAGE_MESSAGES / 2)
            }
            // Nothing was said, or nobody knows yet what.
            Loading::Newest if room.head == 0 => return,
            Loading::Newest => (room.head.saturating_sub(PAGE_MESSAGES).max(1), room.head),
        };
        room.loading = Some(loading);
        let room = room.name.clone();
        let asked = Asked::Page(PageAsked { room, loading, first, last, got: Vec::new() });
        self.effects.push_back(Effect::Ask(Request::Page { target, first, last }, asked));
    }

    /// Messages of a page, in order; `upto`: which number it reaches, 0 if there is nothing.
    pub(in crate::tui) fn take_page(
        &mut self,
        now: When,
        mut asked: PageAsked,
        messages: Vec<Message>,
        upto: u64,
    ) {
        let Some(at) = self.index_of(&asked.room) else { return };
        if self.rooms[at].loading != Some(asked.loading) {
            return;
        }
        asked.got.extend(messages);
        let last = asked.last.min(self.rooms[at].head.max(asked.first));
        if upto != 0
            && upto < last
            && let Some(target) = self.rooms[at].target()
        {
            // As much as goes into one answer; the rest is asked for.
            let request = Request::Page { target, first: upto + 1, last: asked.last };
            self.effects.push_back(Effect::Ask(request, Asked::Page(asked)));
            return;
        }
        self.take_span(now, at, asked, upto);
    }

    /// A span of messages is there, as much of it as there is.
    fn take_span(&mut self, now: When, at: usize, asked: PageAsked, upto: u64) {
        let PageAsked { loading, first, last, got: messages, .. } = asked;
        let me = self.me.clone();
        let heard = |message: &Message| !is_ignored(&self.ignored, &me, message);
        let said = |message: Message| {
            let own = message.from.name() == me;
            Said::of(message, own)
        };
        let messages: Vec<_> = messages.into_iter().filter(heard).map(said).collect();
        let room = &mut self.rooms[at];
        room.loading = None;
        room.barren = if messages.is_empty() { room.barren + 1 } else { 0 };
        self.changed = true;
        let head = room.head;
        // Up to where everything is here; nothing is there behind what is gone.
        let reached = if upto == 0 { last } else { upto };
        match loading {
            Loading::Older => {
                let keeps_end = room.place == Place::End;
                room.back.prepend(messages, first, keeps_end);
                if first <= 1 || upto == 0 {
                    room.back.note_beginning();
                }
            }
            Loading::Newer => room.back.append(messages, (first, reached), reached >= head),
            Loading::Around(seq) => {
                room.back.clear(reached >= head);
                let is_attached = room.back.is_attached();
                room.back.append(messages, (first, reached), is_attached);
                room.back.note_reach(first);
                // That one may be gone; what stands next to it is there, or nothing is.
                let near = room.back.index_of_seq(seq).or(room.back.len().checked_sub(1));
                match near {
                    Some(index) => self.go_to_line(now, at, index),
                    None => {
                        self.rooms[at].back.clear(true);
                        self.rooms[at].go_to_end();
                        self.load(at, Loading::Newest);
                        self.hint("what was said there is gone");
                        return;
                    }
                }
            }
            Loading::Newest => {
                room.back.prepend(messages, first, true);
                if first <= 1 || upto == 0 {
                    room.back.note_beginning();
                }
                room.go_to_end();
                self.settle_read(now);
            }
        }
        self.fill(at);
    }

    // ---- search ------------------------------------------------------------------------------

    fn take_hits(&mut self, now: When, query: &str, hits: &[HitInfo], more: bool) {
        let Mode::Search(search) = &mut self.mode else { return };
        if search.query.text() != query {
            return;
        }
        search.waits = false;
        search.more_before = if more { hits.first().map(|hit| hit.id) } else { None };
        let seqs = hits.iter().filter_map(|hit| {
            let mut messages = Reader::new(&hit.body).ok()?;
            messages.next()?.ok().map(|message| message.seq)
        });
        let had = search.current();
        search.add(seqs.collect::<Vec<_>>());
        if had.is_none() {
            self.show_hit(now, None);
        }
    }

    /// Asks the server for what is typed, once nobody types for a moment.
    pub(super) fn search_when_due(&mut self, now: When) {
        let Mode::Search(search) = &mut self.mode else { return };
        if search.ask_at_us.is_none_or(|at| at > now.mono_us) {
            return;
        }
        search.ask_at_us = None;
        let query = search.query.text().to_owned();
        if words(&query).is_empty() {
            return;
        }
        search.waits = true;
        self.ask_for_hits(query, 0);
    }

    pub(super) fn ask_for_hits(&mut self, query: String, before: u64) {
        let Some(room) = self.room() else { return };
        let (Some(target), room) = (room.target(), room.name.clone()) else { return };
        let request = Request::Search {
            text: query.clone(),
            target: Some(target),
            from: None,
            since_us: None,
            before,
            limit: HITS,
        };
        self.effects.push_back(Effect::Ask(request, Asked::Hits { room, query }));
    }

    // ---- conversations -----------------------------------------------------------------------

    /// Opens a conversation that something waits for.
    pub(super) fn open_conversation(&mut self, at: usize) {
        let room = &mut self.rooms[at];
        let StreamName::Direct(user) = &room.name else { return };
        if matches!(self.session, Session::Down { .. }) {
            return;
        }
        for pending in room.pending.iter().filter(|pending| pending.unsent) {
            if pending.label.is_none() && std::mem::replace(&mut room.opening, true) {
                continue;
            }
            let asked = match &pending.label {
                None => Asked::Open(user.clone()),
                Some(_) => Asked::OpenFor(user.clone(), pending.token),
            };
            let target = Target::User { user: user.clone(), label: pending.label.clone() };
            self.effects.push_back(Effect::Ask(Request::Open { target }, asked));
        }
    }

    fn conversation_opened(&mut self, name: &StreamName) {
        let Some(at) = self.index_of(name) else { return };
        self.rooms[at].opening = false;
        self.conversation_is_open(name, |pending| pending.label.is_none());
    }

    /// A conversation is open: what waited for it is said.
    fn conversation_is_open(&mut self, name: &StreamName, is_for: impl Fn(&Pending) -> bool) {
        let (StreamName::Direct(user), Some(at)) = (name, self.index_of(name)) else { return };
        let room = &mut self.rooms[at];
        room.is_open = true;
        room.marks_known = true;
        for pending in room.pending.iter_mut().filter(|p| p.unsent && is_for(p)) {
            pending.unsent = false;
            let (token, reply_to, text) = (pending.token, pending.reply_to, pending.text.clone());
            let to = Address::Direct { with: user.clone(), label: pending.label.clone() };
            self.effects.push_back(Effect::Say { token, to, reply_to, text });
        }
    }

    fn conversation_refused(&mut self, now: When, name: &StreamName, refusal: &Refusal) {
        let Some(at) = self.index_of(name) else { return };
        self.rooms[at].opening = false;
        // Without a connection it waits for one.
        if matches!(self.session, Session::Down { .. }) {
            return;
        }
        let is_for = |pending: &&Pending| pending.unsent && pending.label.is_none();
        let tokens: Vec<_> =
            self.rooms[at].pending.iter().filter(is_for).map(|p| p.token).collect();
        self.complain(refusal.text.clone());
        if self.rooms[at].back.is_empty() && self.rooms[at].head == 0 {
            return self.close_unknown(now, at);
        }
        tokens.into_iter().for_each(|token| self.unsaid(token));
    }

    /// A conversation with somebody who is not there is none: what was to be said comes back as it was typed,
    /// so that the name can be mended.
    fn close_unknown(&mut self, now: When, at: usize) {
        let name = self.rooms[at].name.clone();
        let pending = std::mem::take(&mut self.rooms[at].pending);
        let has_draft = match at == self.current {
            true => !self.editor.is_empty(),
            false => !self.rooms[at].draft.text().is_empty(),
        };
        if !has_draft {
            self.close(now, &name);
        }
        for pending in pending {
            let typed = match &pending.label {
                Some(_) => pending.as_typed(&name),
                None => format!("/msg {name} {}", pending.text),
            };
            self.put_back(self.current, typed);
        }
    }

    /// The user of a name, for completion and switching.
    pub(super) fn user_of(name: &str) -> Option<UserName> {
        UserName::new(name.split('/').next().unwrap_or(name)).ok()
    }
}
