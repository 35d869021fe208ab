//! Pages of the history.

use super::{
    effect::{Effect, PageAsked, PendingRequest},
    events::is_ignored,
    room::Loading,
    state::{Model, When},
};
use crate::{
    chat::{
        message::Message,
        request::{HistoryRequest, Request},
    },
    tui::scrollback::{Place, Said},
};

/// Messages of one request.
const PAGE_MESSAGES: u64 = 200;

impl Model {
    /// Requests older messages, unless none exist or a request is in flight.
    pub(super) fn load(&mut self, at: usize, loading: Loading) {
        let connected = self.server.is_up();
        let Some(room) = self.rooms.get_mut(at) else { return };
        if room.history.loading.is_some() || !connected {
            return;
        }
        let Some(target) = room.target() else { return };
        let (first, last) = match loading {
            Loading::Older => {
                let before = room.back.asked_from().unwrap_or(room.marks.head + 1);
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
            // The room is empty, or its head is not known yet.
            Loading::Newest if room.marks.head == 0 => return,
            Loading::Newest => {
                (room.marks.head.saturating_sub(PAGE_MESSAGES).max(1), room.marks.head)
            }
        };
        room.history.loading = Some(loading);
        let room = room.name.clone();
        let asked = PendingRequest::Page(PageAsked { room, loading, first, last, got: Vec::new() });
        self.effects.push_back(Effect::Ask(
            Request::History(HistoryRequest::Page { target, first, last }),
            asked,
        ));
    }

    /// Handles the messages of a page, in order; `upto`: last number that the page covers, 0 if it
    /// has none.
    pub(in crate::tui) fn take_page(
        &mut self,
        now: When,
        mut asked: PageAsked,
        messages: Vec<Message>,
        upto: u64,
    ) {
        let Some(at) = self.index_of(&asked.room) else { return };
        if self.rooms[at].history.loading != Some(asked.loading) {
            return;
        }
        asked.got.extend(messages);
        let last = asked.last.min(self.rooms[at].marks.head.max(asked.first));
        if upto != 0
            && upto < last
            && let Some(target) = self.rooms[at].target()
        {
            // One reply has a bounded size; the rest is requested.
            let request = Request::History(HistoryRequest::Page {
                target,
                first: upto + 1,
                last: asked.last,
            });
            self.effects.push_back(Effect::Ask(request, PendingRequest::Page(asked)));
            return;
        }
        self.take_span(now, at, asked, upto);
    }

    /// Handles the messages of a span, as far as they exist.
    fn take_span(&mut self, now: When, at: usize, asked: PageAsked, upto: u64) {
        let PageAsked { loading, first, last, got: messages, .. } = asked;
        let me = self.user.name.clone();
        let heard = |message: &Message| !is_ignored(&self.saved.kept.ignored, &me, message);
        let said = |message: Message| {
            let own = message.from.name() == me;
            Said::of(message, own)
        };
        let messages: Vec<_> = messages.into_iter().filter(heard).map(said).collect();
        let room = &mut self.rooms[at];
        room.history.loading = None;
        room.history.barren = if messages.is_empty() { room.history.barren + 1 } else { 0 };
        self.changed = true;
        let head = room.marks.head;
        // Everything up to here is known; nothing exists behind it.
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
                // The message may be removed; the nearest one is shown.
                let near = room.back.index_of_seq(seq).or(room.back.len().checked_sub(1));
                match near {
                    Some(index) => self.go_to_line(now, at, index),
                    None => {
                        self.rooms[at].back.clear(true);
                        self.rooms[at].go_to_end();
                        self.load(at, Loading::Newest);
                        self.hint("the message was removed");
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
}
