//! Replies of the server.

use super::{
    effect::Asked,
    searching::HITS,
    state::{Mode, Model, Session, When},
};
use crate::{
    chat::{
        message::StreamName,
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        text::counted,
    },
    client::Event,
    tui::scrollback::NoteKind,
};

impl Model {
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
}
