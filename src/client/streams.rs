//! The streams that a member follows in this session, and those of the last one until they are
//! joined again.

use rustc_hash::FxHashMap;

use crate::{
    chat::{
        event::GapReason,
        inbox::{Inbox, Released, Via},
        message::{BootId, StreamName},
        names::{RoomName, UserName},
        reply::StreamInfo,
        request::{Begin, Follow},
        stream_id::{Channel, RoomIdentity, StreamId},
    },
    faults::{Fault, planted},
    limits::REPAIR_DELAY_MS_MAX,
    wire::control,
};

/// A stream that is followed, with its inbox.
#[derive(Debug)]
struct FollowedStream {
    name: StreamName,
    /// Of a room: tells it apart from other rooms of its name.
    room: Option<RoomIdentity>,
    inbox: Inbox,
    stored: bool,
    /// Newest number of the member's own texts.
    acked: u64,
    /// Group and port of the broadcast channel that it is heard on.
    heard_at: Option<([u8; 4], u16)>,
}

/// Boot of the server and epoch of its history: numbers of another one mean something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbering {
    boot: BootId,
    epoch: u32,
}

/// FollowedStreams by id, with their order of messages and what is missing.
#[derive(Debug)]
pub(super) struct FollowedStreams {
    followed: FxHashMap<u32, FollowedStream>,
    now: Numbering,
    /// FollowedStreams of the last session, until they are joined again.
    earlier: Vec<FollowedStream>,
    then: Numbering,
    /// Conversations of this boot of the server, opened or followed. Those of another boot have
    /// other ids.
    conversations: FxHashMap<UserName, StreamId>,
    jitter: u64,
}

impl FollowedStreams {
    /// Creates an empty set; the seed spreads the repairs of members over time.
    pub fn new(seed: u64) -> Self {
        let never = Numbering { boot: BootId(0), epoch: 0 };
        Self {
            followed: FxHashMap::default(),
            now: never,
            earlier: Vec::new(),
            then: never,
            conversations: FxHashMap::default(),
            jitter: seed | 1,
        }
    }

    // ---- sessions ----------------------------------------------------------------------------

    /// Begins a session.
    pub fn begin(&mut self, boot: BootId, epoch: u32) {
        if self.now.boot != boot && !planted(Fault::StaleConversation) {
            self.conversations.clear();
        }
        self.now = Numbering { boot, epoch };
    }

    /// Ends a session. The streams of one that was ready are continued by the next.
    pub fn end(&mut self, was_ready: bool) {
        if was_ready {
            self.earlier = self.followed.drain().map(|(_, stream)| stream).collect();
            self.then = self.now;
        }
        self.followed.clear();
    }

    /// Returns the boot of the server in this session.
    pub fn boot(&self) -> BootId {
        self.now.boot
    }

    /// Returns the boot of the server in the last session that was ready.
    pub fn earlier_boot(&self) -> BootId {
        self.then.boot
    }

    /// Returns true if the server has another history than the one that this member knew.
    pub fn is_another_history(&self) -> bool {
        self.now.epoch != self.then.epoch && !planted(Fault::ClientIgnoresEpoch)
    }

    /// Returns the conversations of the last session.
    pub fn earlier_conversations(&self) -> impl Iterator<Item = Follow> {
        self.earlier.iter().filter_map(|stream| match &stream.name {
            StreamName::Direct(user) => Some(Follow::With(user.clone())),
            StreamName::Room(_) | StreamName::Announcements => None,
        })
    }

    /// Returns true if a stream of the same history was followed in the last session.
    pub fn resumes(&self, follow: &Follow) -> bool {
        self.now.epoch == self.then.epoch && self.earlier_of(follow).is_some()
    }

    /// Returns the position after which to continue a stream of the last session.
    pub fn begin_of(&self, follow: &Follow) -> Option<Begin> {
        let stream = self.earlier_of(follow)?;
        let run = self.then.boot;
        // In an older history that was put back, an impossible number is answered with a gap.
        let put_back = stream.stored && self.is_another_history();
        let seq = if put_back { u64::MAX } else { stream.inbox.next() - 1 };
        Some(match self.lasting(stream.room) {
            Some(room) => Begin::Resume { run, seq, room: room.id },
            None => Begin::After { run, seq },
        })
    }

    /// Returns true if a room of the last session is resumed by its identity.
    pub fn resumes_room(&self, room: &RoomName) -> bool {
        let earlier = self.earlier_named(&StreamName::Room(room.clone()));
        earlier.is_some_and(|stream| self.lasting(stream.room).is_some())
    }

    /// Returns the identity of a room if it is still to be found under it: a restart of a server
    /// without a history forgets its rooms.
    fn lasting(&self, room: Option<RoomIdentity>) -> Option<RoomIdentity> {
        room.filter(|room| room.lasts || self.then.boot == self.now.boot)
    }

    fn earlier_of(&self, follow: &Follow) -> Option<&FollowedStream> {
        match follow {
            Follow::Room(room) => self.earlier_named(&StreamName::Room(room.clone())),
            Follow::With(user) => self.earlier_named(&StreamName::Direct(user.clone())),
            Follow::Announcements => self.earlier_named(&StreamName::Announcements),
            Follow::AllDirect | Follow::ToMe => None,
        }
    }

    fn earlier_named(&self, name: &StreamName) -> Option<&FollowedStream> {
        self.earlier.iter().find(|stream| stream.name == *name)
    }

    /// Returns true if a stream of this name was followed in the last session.
    pub fn is_earlier(&self, name: &StreamName) -> bool {
        self.earlier_named(name).is_some()
    }

    /// Forgets one stream of the last session.
    pub fn forget_earlier(&mut self, name: &StreamName) {
        self.earlier.retain(|stream| stream.name != *name);
    }

    /// Forgets the last session: everything is joined again.
    pub fn forget_all_earlier(&mut self) {
        self.earlier.clear();
    }

    // ---- streams -----------------------------------------------------------------------------

    /// Adds a stream, from where it was if it was followed before. Returns false if it is followed
    /// already.
    pub fn add(&mut self, info: &StreamInfo) -> bool {
        let name = StreamName::from(&info.name);
        let next = match self.earlier_named(&name) {
            Some(stream) if !info.new_run => stream.inbox.next().max(info.next),
            Some(_) | None => info.next,
        };
        if self.followed.contains_key(&info.tag.0) {
            return false;
        }
        let eager = matches!(name, StreamName::Announcements);
        let inbox = Inbox::new(info.tag, next, info.head, eager);
        let (room, stored) = (info.room, info.stored);
        let stream = FollowedStream { name, room, inbox, stored, acked: 0, heard_at: None };
        self.followed.insert(info.tag.0, stream);
        true
    }

    /// Removes a stream.
    pub fn remove(&mut self, tag: u32) {
        self.followed.remove(&tag);
    }

    /// Returns the name of a stream, and true if its numbers are valid in each boot.
    pub fn name_of(&self, tag: u32) -> Option<(&StreamName, bool)> {
        self.followed.get(&tag).map(|stream| (&stream.name, stream.stored))
    }

    /// Returns the name of a stream that is a room.
    pub fn room_of(&self, tag: StreamId) -> Option<RoomName> {
        match self.name_of(tag.0)?.0 {
            StreamName::Room(room) => Some(room.clone()),
            StreamName::Direct(_) | StreamName::Announcements => None,
        }
    }

    /// Returns the id of a stream.
    pub fn tag_of(&self, name: &StreamName) -> Option<StreamId> {
        let mut all = self.followed.iter();
        all.find(|(_, stream)| stream.name == *name).map(|(tag, _)| StreamId(*tag))
    }

    /// Returns true if the numbers of a stream are valid in each boot; `None` if it is not
    /// followed.
    pub fn is_stored(&self, name: &StreamName) -> Option<bool> {
        self.followed.values().find(|stream| stream.name == *name).map(|stream| stream.stored)
    }

    /// Returns true and the epoch for a room with a history, else false and the boot.
    pub fn numbering_of(&self, room: &RoomName) -> Option<(bool, u32)> {
        let stored = self.is_stored(&StreamName::Room(room.clone()))?;
        Some((stored, if stored { self.now.epoch } else { self.now.boot.0 }))
    }

    /// Returns the identity of a room that is followed, or was until the connection broke.
    pub fn identity_of(&self, room: &RoomName) -> Option<RoomIdentity> {
        let mut all = self.followed.values().chain(&self.earlier);
        all.find(|s| matches!(&s.name, StreamName::Room(of) if of == room))?.room
    }

    /// Returns the streams with their newest numbers, by name.
    pub fn heads(&self) -> Vec<(StreamName, u64)> {
        let all = self.followed.values();
        let mut heads: Vec<_> = all.map(|s| (s.name.clone(), s.inbox.head())).collect();
        heads.sort_by_cached_key(|(name, _)| name.to_string());
        heads
    }

    /// Returns the id of an open conversation.
    pub fn conversation(&self, with: &UserName) -> Option<StreamId> {
        self.conversations.get(with).copied()
    }

    /// Records that a conversation is open. Returns true if it was not before.
    pub fn open_conversation(&mut self, with: &UserName, tag: StreamId) -> bool {
        self.conversations.insert(with.clone(), tag).is_none()
    }

    // ---- messages ----------------------------------------------------------------------------

    /// Returns the next number of a stream.
    pub fn next_of(&self, tag: StreamId) -> Option<u64> {
        self.followed.get(&tag.0).map(|stream| stream.inbox.next())
    }

    /// Returns true if every known message was shown, the member's own texts included.
    pub fn are_shown(&self) -> bool {
        let is_shown = |s: &FollowedStream| s.inbox.next() > s.inbox.head().max(s.acked);
        self.followed.values().all(is_shown)
    }

    /// Records the number of one of the member's own texts.
    pub fn acked(&mut self, name: &StreamName, seq: u64) {
        if let Some(stream) = self.followed.values_mut().find(|stream| stream.name == *name) {
            stream.acked = stream.acked.max(seq);
        }
    }

    /// Records the newest numbers that the server reports.
    pub fn record_heads(&mut self, now_us: u64, heads: Vec<(StreamId, u64)>) {
        let jitter_us = self.jitter_us();
        for (tag, head) in heads {
            if let Some(stream) = self.followed.get_mut(&tag.0) {
                stream.inbox.note_head(now_us, head, jitter_us);
            }
        }
    }

    /// Records numbers that this member never gets. Returns false if the stream is not followed.
    pub fn record_gap(
        &mut self,
        tag: StreamId,
        (first, last): (u64, u64),
        reason: GapReason,
    ) -> bool {
        let stream = self.followed.get_mut(&tag.0);
        stream.map(|stream| stream.inbox.gap(first, last, reason)).is_some()
    }

    /// Takes a batch. Returns the first number to show of it now.
    pub fn take(&mut self, now_us: u64, via: Via, tag: u32, batch: &[u8]) -> Option<u64> {
        let jitter_us = self.jitter_us();
        self.followed.get_mut(&tag)?.inbox.take(now_us, via, batch, jitter_us).ok().flatten()
    }

    /// Returns what waited in a stream for what came last, in order.
    pub fn release(&mut self, now_us: u64, tag: u32) -> Vec<Released> {
        let jitter_us = self.jitter_us();
        let Some(stream) = self.followed.get_mut(&tag) else { return Vec::new() };
        std::iter::from_fn(|| stream.inbox.release(now_us, jitter_us)).collect()
    }

    /// Writes the repairs and reports that are due.
    pub fn put_due(&mut self, now_us: u64, out: &mut Vec<u8>) {
        for stream in self.followed.values_mut() {
            if let Some((first, last)) = stream.inbox.repair_due(now_us) {
                control::put_repair(out, stream.inbox.tag(), first, last);
            }
            if let Some(report) = stream.inbox.report_due(now_us) {
                control::put_report(out, &report);
            }
        }
    }

    /// Returns true if [`FollowedStreams::put_due`] would ask for missing numbers.
    pub fn is_repair_due(&self, now_us: u64) -> bool {
        self.followed.values().any(|stream| stream.inbox.is_repair_due(now_us))
    }

    /// Returns the time when [`FollowedStreams::put_due`] has something to write, if nothing comes.
    pub fn deadline_us(&self) -> Option<u64> {
        self.followed.values().filter_map(|stream| stream.inbox.deadline_us()).min()
    }

    fn jitter_us(&mut self) -> u64 {
        // xorshift: spreads the members' questions over a few milliseconds, nothing more.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        self.jitter % (REPAIR_DELAY_MS_MAX * 1000)
    }

    // ---- broadcast ---------------------------------------------------------------------------

    /// Returns true if a stream is followed and heard on this channel; `None` if it is not
    /// followed.
    pub fn is_heard_on(&self, tag: StreamId, channel: &Channel) -> Option<bool> {
        let stream = self.followed.get(&tag.0)?;
        Some(stream.heard_at == Some((channel.group, channel.port)))
    }

    /// Records the channel that a stream is heard on. Returns false if it is not followed.
    pub fn set_heard_on(&mut self, tag: StreamId, channel: Option<&Channel>) -> bool {
        let Some(stream) = self.followed.get_mut(&tag.0) else { return false };
        stream.heard_at = channel.map(|channel| (channel.group, channel.port));
        true
    }
}
