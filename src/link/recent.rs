//! The newest messages of the linked rooms, between the member that hears them and the exporter.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    chat::{
        linked::{LinkedKey, LinkedStream},
        message::{Message, StreamName},
    },
    limits::{LINK_RECENT_BYTES_MAX, LINK_RECENT_MESSAGES_MAX},
};

/// Consecutive newest messages of one stream.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Newest known number; 0 before the first.
    head: u64,
    messages: VecDeque<Message>,
    bytes: usize,
    /// True if a new session began: earlier messages may be of another history.
    is_new: bool,
    /// True if the stream is not followed now.
    is_lost: bool,
    /// True if the stream can be followed again.
    may_return: bool,
}

impl Recent {
    /// Adds a message; those before a hole are dropped.
    fn push(&mut self, message: Message) {
        let seq = message.id.seq;
        if self.messages.back().is_some_and(|last| last.id.seq + 1 != seq) {
            self.messages.clear();
            self.bytes = 0;
        }
        self.head = self.head.max(seq);
        self.bytes += message.text.len();
        self.messages.push_back(message);
        while self.messages.len() > LINK_RECENT_MESSAGES_MAX || self.bytes > LINK_RECENT_BYTES_MAX {
            let Some(first) = self.messages.pop_front() else { break };
            self.bytes -= first.text.len();
        }
    }

    /// Returns the messages after a number; none if some of them are not here: removed for newer
    /// ones, or sent while the stream was not followed.
    fn after(&self, seq: u64) -> Option<impl Iterator<Item = &Message>> {
        self.messages.back().filter(|last| last.id.seq >= self.head)?;
        let first = self.messages.front()?.id.seq;
        let skip = usize::try_from((seq + 1).checked_sub(first)?).ok()?;
        Some(self.messages.iter().skip(skip))
    }
}

/// Newest messages of all linked streams. A thread that waits is woken by new ones.
#[derive(Debug)]
pub(super) struct Recents {
    streams: Mutex<HashMap<LinkedKey, Recent>>,
    bell: Sender<()>,
    rung: Receiver<()>,
}

impl Recents {
    pub(super) fn new() -> Self {
        let (bell, rung) = bounded(1);
        Self { streams: Mutex::default(), bell, rung }
    }

    /// Wakes the exporter.
    pub(super) fn ring(&self) {
        let _ = self.bell.try_send(());
    }

    /// Returns the receiver of the bell, for a thread that waits.
    pub(super) fn rung(&self) -> &Receiver<()> {
        &self.rung
    }

    fn with<T>(&self, key: &str, act: impl FnOnce(&mut Recent) -> T) -> T {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        act(streams.entry(key.into()).or_default())
    }

    pub(super) fn push(&self, message: Message) {
        let key = match &message.id.stream {
            StreamName::Room(room) => room.key().to_owned(),
            StreamName::Announcements => LinkedStream::Announcements.key().to_owned(),
            StreamName::Direct(_) => return,
        };
        self.with(&key, |recent| recent.push(message));
        self.ring();
    }

    /// Restarts a stream: a session began that receives it from a number on.
    pub(super) fn begin(&self, stream: &LinkedStream, head: u64) {
        self.with(stream.key(), |recent| {
            *recent = Recent { head, is_new: true, ..Recent::default() };
        });
        self.ring();
    }

    /// Records that a stream is not followed now.
    pub(super) fn lose(&self, stream: &LinkedStream) {
        self.with(stream.key(), |recent| (recent.is_new, recent.is_lost) = (true, true));
        self.ring();
    }

    /// Returns true if a session began since the last call.
    pub(super) fn take_new(&self, stream: &LinkedStream) -> bool {
        self.with(stream.key(), |recent| std::mem::take(&mut recent.is_new))
    }

    /// Permits to follow a lost stream again.
    pub(super) fn allow_return(&self, stream: &LinkedStream) {
        self.with(stream.key(), |recent| recent.may_return = true);
    }

    /// Returns true, once, if a lost stream can be followed again.
    pub(super) fn may_return(&self, stream: &LinkedStream) -> bool {
        self.with(stream.key(), |recent| {
            let may = std::mem::take(&mut recent.may_return);
            recent.is_lost &= !may;
            may
        })
    }

    /// Returns the streams that are not followed now.
    pub(super) fn lost<'a>(
        &self,
        streams: impl Iterator<Item = &'a LinkedStream>,
    ) -> Vec<&'a LinkedStream> {
        streams.filter(|stream| self.with(stream.key(), |recent| recent.is_lost)).collect()
    }

    /// Raises the newest known number of a stream.
    pub(super) fn note_head(&self, stream: &LinkedStream, head: u64) {
        self.with(stream.key(), |recent| recent.head = recent.head.max(head));
        self.ring();
    }

    pub(super) fn head(&self, stream: &LinkedStream) -> u64 {
        self.with(stream.key(), |recent| recent.head)
    }

    /// Calls `each` with the messages after a number until it returns false. Returns false if some
    /// of them are no longer here.
    pub(super) fn each_after(
        &self,
        stream: &LinkedStream,
        seq: u64,
        mut each: impl FnMut(&Message) -> bool,
    ) -> bool {
        self.with(stream.key(), |recent| {
            if recent.head <= seq {
                return true;
            }
            let Some(messages) = recent.after(seq) else { return false };
            let mut messages = messages;
            let _ = messages.all(&mut each);
            true
        })
    }

    /// Returns a message, if it is here.
    pub(super) fn find(&self, stream: &LinkedStream, seq: u64) -> Option<Message> {
        self.with(stream.key(), |recent| {
            let first = recent.messages.front()?.id.seq;
            let at = usize::try_from(seq.checked_sub(first)?).ok()?;
            recent.messages.get(at).cloned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{member::Member, message::MessageId, names::RoomName};

    fn room() -> LinkedStream {
        LinkedStream::Room(RoomName::new("dev").unwrap())
    }

    fn message(seq: u64) -> Message {
        let stream = StreamName::Room(RoomName::new("Dev").unwrap());
        Message {
            id: MessageId { stream, run: None, seq },
            wall_us: 0,
            from: Member::nobody(),
            reply_to: None,
            mention: false,
            notice: None,
            will: None,
            origin: None,
            text: "x".repeat(100),
        }
    }

    fn after(recents: &Recents, seq: u64) -> Option<Vec<u64>> {
        let mut all = Vec::new();
        recents
            .each_after(&room(), seq, |message| {
                all.push(message.id.seq);
                true
            })
            .then_some(all)
    }

    #[test]
    fn messages_behind_a_hole_are_not_taken_for_all() {
        let recents = Recents::new();
        assert_eq!(after(&recents, 0), Some(vec![]), "nothing was said");
        recents.note_head(&room(), 4);
        assert_eq!(after(&recents, 3), None, "4 is in the history");
        for seq in [5, 6] {
            recents.push(message(seq));
        }
        assert_eq!(after(&recents, 4), Some(vec![5, 6]));
        assert_eq!(after(&recents, 5), Some(vec![6]));
        assert_eq!(after(&recents, 6), Some(vec![]));
        assert_eq!(after(&recents, 3), None);
        recents.lose(&room());
        recents.note_head(&room(), 8);
        assert_eq!(after(&recents, 6), None, "7 and 8 came while the room was not followed");
        assert_eq!(after(&recents, 4), None);
        recents.push(message(9));
        assert_eq!(after(&recents, 6), None);
        assert_eq!(after(&recents, 8), Some(vec![9]));
        assert!(recents.find(&room(), 9).is_some() && recents.find(&room(), 6).is_none());
        for seq in 10..20 + LINK_RECENT_MESSAGES_MAX as u64 {
            recents.push(message(seq));
        }
        assert_eq!(after(&recents, 8), None, "bounded");
    }
}
