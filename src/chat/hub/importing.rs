//! Requests of links: what users of other hosts said gets its number here, once and in order.

use super::{
    Action, Hub,
    accounts::AccountId,
    announcements::Announcing,
    links::LinkWaiter,
    pending::{EntryDraft, Pending},
    request::Routed,
};
use crate::{
    chat::{
        announcement::AnnouncementRecord,
        clock::Now,
        frames::{ANNOUNCEMENTS, Frame},
        linked::{
            ExportInfo, Import, ImportedFrom, ImportedMessage, ImportedNotice, LinkPosition,
            LinkRequest, LinkedStream, uid_of_host,
        },
        member::{Kind, SessionId},
        message::Origin,
        names::{HostName, UserName},
        refusal::{Refusal, RefusalCode, refuse},
        reply::Reply,
        request::{Announce, Wait},
        store::{Question, Record, StreamKey},
        stream_id::StreamId,
        text::SharedText,
    },
    faults::{Fault, planted},
    limits::{IN_FLIGHT_BYTES_PER_STREAM_MAX, SUBMIT_MESSAGES_MAX},
};

/// Streams in one answer.
const IMPORTS_PER_REPLY: usize = 200;

/// Text in the place of messages of a host that are lost.
const GAP: &str = "messages of this host are missing here: they are no longer available";

impl Hub {
    /// Answers a request of a link.
    pub(super) fn link_request(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        request: LinkRequest,
    ) -> Result<Routed, Refusal> {
        if let LinkRequest::Begin { host } = request {
            return self.begin_link(id, host).map(Routed::Reply);
        }
        let Some(own) = self.links.own_host(id).cloned() else {
            return refuse(RefusalCode::Denied, "this session does not link hosts");
        };
        if !self.rights_of(self.sessions[&id].peer.uid).link {
            return refuse(RefusalCode::Denied, "the server no longer admits this link");
        }
        match request {
            LinkRequest::Begin { .. } => Ok(Routed::Reply(Reply::Done)),
            LinkRequest::Export { stream, renew } => self.export(now, id, own, &stream, renew),
            LinkRequest::Imports { skip } => {
                let mut rest = self.links.imports(skip as usize);
                let imports = rest.by_ref().take(IMPORTS_PER_REPLY).collect();
                let more = rest.next().is_some();
                Ok(Routed::Reply(Reply::Imports { imports, more }))
            }
            LinkRequest::Import(import) => self.import(now, id, serial, import),
            LinkRequest::Roster(roster) => {
                if self.links.is_own(&roster.host) {
                    return refuse(RefusalCode::Denied, format!("{} is this host", roster.host));
                }
                self.show_roster(now, id, roster);
                Ok(Routed::Reply(Reply::Done))
            }
            LinkRequest::Receipt { number, host, receipt } => {
                self.take_remote_receipt(number, &host, receipt).map(Routed::Reply)
            }
            LinkRequest::Announcements { first, last } => {
                let rooms = Some(self.links.exported_rooms());
                let (stream, tag) = (StreamKey::Announcements, ANNOUNCEMENTS);
                Ok(Routed::Query(Question::Page { stream, tag, first, last, rooms }))
            }
            LinkRequest::Find { stream, host, seq } => {
                let uid = self.sessions[&id].peer.uid;
                if let LinkedStream::Room(room) = &stream {
                    let tag = self.known_room(uid, room)?;
                    self.may_read(uid, tag)?;
                }
                let stream = StreamKey::from(&stream);
                Ok(Routed::Query(Question::Origin { stream, host, seq }))
            }
        }
    }

    /// A session becomes the link of this host.
    fn begin_link(&mut self, id: SessionId, host: HostName) -> Result<Reply, Refusal> {
        let peer = &self.sessions[&id].peer;
        let uid = peer.uid;
        if !self.rights_of(uid).link {
            let text = format!(
                "{0} may not link this server with other hosts; add \"@{0}\" to link in [policy] \
                 of its configuration",
                self.called(uid)
            );
            return refuse(RefusalCode::Denied, text);
        }
        if !self.rules.store || !self.rules.persistent {
            let text = "this server keeps no history, and a link needs one";
            return refuse(RefusalCode::Failed, text);
        }
        let process = peer.process();
        let other = self.links.sessions().filter_map(|of| self.sessions.get(&of)).find(|of| {
            // Its own session before a break may not have ended yet.
            of.member.session != id && (process.is_none() || of.peer.process() != process)
        });
        if let Some(other) = other {
            let text = format!(
                "process {} of {} links this host already; end that one first",
                other.peer.pid, other.member.user
            );
            return refuse(RefusalCode::Failed, text);
        }
        self.links.begin(id, host);
        Ok(Reply::Done)
    }

    /// The position after which a stream is exported.
    fn export(
        &mut self,
        now: Now,
        id: SessionId,
        own: HostName,
        stream: &LinkedStream,
        renew: Option<LinkPosition>,
    ) -> Result<Routed, Refusal> {
        let numbers = renew.map(|renewed| [renewed.generation, renewed.seq]);
        if numbers.into_iter().flatten().any(|number| i64::try_from(number).is_err()) {
            return refuse(RefusalCode::Input, "a number of the export is too large");
        }
        let tag = self.linked_stream(id, stream)?;
        let uid = self.sessions[&id].peer.uid;
        if tag != ANNOUNCEMENTS {
            self.may_read(uid, tag)?;
        }
        let (first, head) = (self.stream(tag).first, self.stream(tag).backlog.head());
        let known = self.links.export(&own, stream.key());
        let after = match (known, renew) {
            (Some(known), None) => known,
            (None, None) => LinkPosition { generation: now.wall_us.unsigned_abs(), seq: head },
            (_, Some(renewed)) => renewed,
        };
        let info = ExportInfo { after, first, head };
        if known == Some(after) {
            return Ok(Routed::WhenStored(Reply::Export(info)));
        }
        self.links.set_export(own.clone(), stream.key(), after);
        let (stream, epoch) = (StreamKey::from(stream), self.links.epoch);
        self.commits.add(Record::Export { host: own, stream, after, epoch });
        Ok(Routed::WhenStored(Reply::Export(info)))
    }

    /// Returns a stream that links may exchange. A room that was never linked is created; one that
    /// was deleted is not: it may have been private.
    fn linked_stream(&mut self, id: SessionId, stream: &LinkedStream) -> Result<StreamId, Refusal> {
        let LinkedStream::Room(room) = stream else { return Ok(ANNOUNCEMENTS) };
        if self.directory.room(room).is_none() && self.links.exports(room.key()) {
            let text = format!(
                "room {room} was deleted here; create it again, or link this host without it"
            );
            return refuse(RefusalCode::Absent, text);
        }
        let tag = self.room_for(id, room)?;
        if !self.is_stored(tag) {
            let text = format!("{room} keeps no history, and only rooms with history are linked");
            return refuse(RefusalCode::Failed, text);
        }
        if self.is_ending(tag) {
            return refuse(RefusalCode::Absent, "the room is being deleted");
        }
        Ok(tag)
    }

    /// Takes messages of another host. What is known is passed over; nothing is taken if messages
    /// before these are missing. The reply says what is here now.
    fn import(
        &mut self,
        now: Now,
        id: SessionId,
        serial: u32,
        import: Import,
    ) -> Result<Routed, Refusal> {
        let Import { host, stream, prev, upto, gap_after, messages } = import;
        let rises = messages.iter().map(|m| m.seq).chain([upto.saturating_add(1)]);
        let positions = [prev.generation, prev.seq, upto];
        if positions.iter().any(|number| i64::try_from(*number).is_err()) {
            return refuse(RefusalCode::Input, "a number of the import is too large");
        }
        if messages.len() > SUBMIT_MESSAGES_MAX {
            let text = format!("an import has up to {SUBMIT_MESSAGES_MAX} messages");
            return refuse(RefusalCode::Input, text);
        }
        self.looked_at(messages.len());
        if !rises.clone().is_sorted_by(|a, b| a < b) || rises.clone().any(|seq| seq <= prev.seq) {
            return refuse(RefusalCode::Input, "the numbers of imported messages must rise");
        }
        if self.links.is_own(&host) {
            let text = format!("{host} is this host; its own messages are not imported");
            return refuse(RefusalCode::Denied, text);
        }
        let tag = self.may_import(now, id, &host, &stream)?;
        let key = stream.key();
        let known = self.links.numbered(&host, key);
        let (base, is_whole) = match known {
            // Of an earlier generation nothing more is wanted.
            Some(known) if known.generation > prev.generation => (u64::MAX, true),
            Some(known) if known.generation == prev.generation => {
                (known.seq, prev.seq <= known.seq)
            }
            Some(known) => (prev.seq, prev.seq <= known.seq),
            None => (prev.seq, false),
        };
        let has_gap = gap_after == Some(known.unwrap_or_default());
        if !is_whole && !has_gap && !planted(Fault::ImportPassesOverGaps) {
            let at = known.unwrap_or_default();
            return Ok(Routed::Reply(Reply::Imported { at, refused: 0 }));
        }
        let at = match known {
            Some(known) => known.max(LinkPosition { generation: prev.generation, seq: upto }),
            None => LinkPosition { generation: prev.generation, seq: upto },
        };
        let link_uid = self.sessions[&id].peer.uid;
        let from = Importing { host: &host, generation: prev.generation, tag, key, link_uid };
        let mut refused = 0;
        // Messages before the first one that arrived here are not counted as missing.
        if !is_whole && known.is_some() {
            self.import_gap(now, from, prev);
        }
        for message in messages.into_iter().filter(|message| message.seq > base) {
            refused += u32::from(!self.import_message(now, from, message));
        }
        self.links.set_numbered(&host, key, at);
        self.record_import(&host, &stream);
        let seq = self.stream(tag).numbered;
        if self.stream(tag).in_flight.uncommitted.is_empty() {
            return Ok(Routed::WhenStored(Reply::Imported { at, refused }));
        }
        self.commits.count_waiting(id, true);
        self.links.wait(tag, LinkWaiter { session: id, serial, seq, at, refused });
        Ok(Routed::Later)
    }

    /// Has a position recorded that no stored message says.
    fn record_import(&mut self, host: &HostName, stream: &LinkedStream) {
        if let Some(at) = self.links.take_unrecorded(host, stream.key()) {
            let (host, stream) = (host.clone(), StreamKey::from(stream));
            self.commits.add(Record::Import { host, stream, at });
        }
    }

    /// Checks that messages of a host may come into a stream now, as those of a user.
    fn may_import(
        &mut self,
        now: Now,
        id: SessionId,
        host: &HostName,
        stream: &LinkedStream,
    ) -> Result<StreamId, Refusal> {
        if !self.links.has_room_for(host, stream.key()) {
            let text = format!("{host} has as many rooms on this server as it may");
            return refuse(RefusalCode::Failed, text);
        }
        let tag = self.linked_stream(id, stream)?;
        if tag != ANNOUNCEMENTS {
            self.may_speak(self.sessions[&id].peer.uid, tag)?;
        }
        let uid = uid_of_host(host);
        if self.accounts.usage.over_history(uid).is_some() {
            let text = format!(
                "{host} has used its history quota (history.user_bytes_max) until older messages \
                 expire"
            );
            return refuse(RefusalCode::Failed, text);
        }
        let is_over = self.accounts.is_over_rate(now.mono_us, AccountId::User(uid));
        if is_over || self.stream(tag).in_flight.bytes >= IN_FLIGHT_BYTES_PER_STREAM_MAX {
            let text = format!("rate limit of {host} reached; try again in a second");
            return refuse(RefusalCode::Failed, text);
        }
        Ok(tag)
    }

    /// Numbers one message of another host; false if it is refused.
    fn import_message(
        &mut self,
        now: Now,
        of: Importing<'_>,
        mut message: ImportedMessage,
    ) -> bool {
        let Ok(user) = UserName::remote(&message.user, of.host) else { return false };
        let only = match message.notice.as_mut() {
            None if of.tag == ANNOUNCEMENTS => return false,
            None => None,
            Some(_) if of.tag != ANNOUNCEMENTS => return false,
            Some(notice) => match self.may_import_notice(now, of, notice, message.wall_us) {
                Some(only) => only,
                None => return false,
            },
        };
        let room = if of.tag == ANNOUNCEMENTS { only } else { Some(of.tag) };
        let rules = room.and_then(|tag| self.room_rules(tag));
        let hears = rules.is_none_or(|(_, _, rules)| rules.hears_remote(&user));
        if !hears && !planted(Fault::BannedRemoteSpeaks) {
            return false;
        }
        let account = AccountId::User(uid_of_host(of.host));
        let from = self.links.sender(uid_of_host(of.host), user, message.label, message.kind);
        let numbered = self.stream(of.tag).numbered;
        let origin = Some(of.origin(message.seq, message.wall_us));
        let Some(notice) = message.notice else {
            let draft = EntryDraft {
                reply_to: message.reply_to.filter(|to| *to > 0 && *to <= numbered),
                origin,
                ..EntryDraft::new(from, SharedText::from(message.text.as_str()))
            };
            self.links.count_numbered(of.host, of.key);
            self.number(now, of.tag, account, draft);
            return true;
        };
        let room = only.and_then(|tag| self.room_name(tag));
        let ImportedNotice { level, expires_us, retain, ack, .. } = notice;
        let announce = Announce { expires_us, retain, ack, ..Announce::new(level, message.text) };
        let state = AnnouncementRecord {
            origin,
            ..AnnouncementRecord::new(from, &announce, room, now.wall_us)
        };
        let (wait, report_at) = (Wait::Reached, u32::MAX);
        self.links.count_numbered(of.host, of.key);
        let announcing = Announcing { state, asked: None, only, wait, report_at };
        self.put_on_its_way(now, account, announcing);
        true
    }

    /// Checks an announcement of another host, and makes it one of this host; returns the room that
    /// it is for. None: it is refused.
    fn may_import_notice(
        &self,
        now: Now,
        of: Importing<'_>,
        notice: &mut ImportedNotice,
        wall_us: i64,
    ) -> Option<Option<StreamId>> {
        if !self.rights_of(of.link_uid).may_announce(notice.level) {
            return None;
        }
        let only = match &notice.room {
            None => None,
            Some(room) if self.links.exports(room.key()) => Some(self.directory.room(room)?),
            Some(_) => return None,
        };
        if let Some(expires_us) = notice.expires_us {
            // It expires here when it does there.
            let age_us = u64::try_from(now.wall_us.saturating_sub(wall_us)).unwrap_or(0);
            notice.expires_us = Some(expires_us.checked_sub(age_us).filter(|left| *left > 0)?);
        }
        if notice.retain && self.may_keep_notice(now, uid_of_host(of.host), 0).is_err() {
            notice.retain = false;
        }
        Some(only)
    }

    /// Says in a stream that messages of a host are missing.
    fn import_gap(&mut self, now: Now, of: Importing<'_>, prev: LinkPosition) {
        let link = UserName::new("link").and_then(|user| UserName::remote(&user, of.host));
        let Ok(user) = link else { return };
        if of.tag == ANNOUNCEMENTS {
            return;
        }
        let from = self.links.sender(uid_of_host(of.host), user, None, Kind::Service);
        let origin = Some(of.origin(prev.seq, now.wall_us));
        let draft = EntryDraft { origin, ..EntryDraft::new(from, SharedText::from(GAP)) };
        self.links.count_numbered(of.host, of.key);
        self.number(now, of.tag, AccountId::User(uid_of_host(of.host)), draft);
    }

    /// Records that messages of a stream are stored, those from a place among the ready ones on,
    /// and answers their links.
    pub(super) fn imports_stored(&mut self, tag: StreamId, from: usize) {
        let stream = &self.streams[tag];
        let upto = stream.committed();
        let linked = match &*stream.key {
            StreamKey::Room(room) => LinkedStream::Room(room.clone()),
            StreamKey::Announcements => LinkedStream::Announcements,
            StreamKey::Conversation(..) => return,
        };
        let mut hosts: Vec<HostName> = Vec::new();
        for pending in stream.in_flight.ready.range(from..) {
            let Some(from) = &pending.entry.origin else { continue };
            self.links.set_stored(&from.host, linked.key(), from.position());
            if hosts.last() != Some(&from.host) {
                hosts.push(from.host.clone());
            }
        }
        for host in hosts {
            self.record_import(&host, &linked);
        }
        for waiter in self.links.take_waiting(tag, upto) {
            let LinkWaiter { session, serial, at, refused, .. } = waiter;
            self.answer_link(session, serial, Ok(Reply::Imported { at, refused }));
        }
    }

    /// Refuses messages of a stream that could not be stored: their links bring them again.
    pub(super) fn imports_failed(&mut self, tag: StreamId, refused: &[Pending], why: &str) {
        let key = self.stream_key(tag);
        for from in refused.iter().filter_map(|pending| pending.entry.origin.as_ref()) {
            self.links.take_back(&from.host, key.linked().unwrap_or_default());
        }
        for LinkWaiter { session, serial, .. } in self.links.take_waiting(tag, u64::MAX) {
            let refusal = Refusal::new(RefusalCode::Failed, why);
            self.answer_link(session, serial, Err(refusal));
        }
    }

    fn answer_link(&mut self, session: SessionId, serial: u32, result: Result<Reply, Refusal>) {
        self.commits.count_waiting(session, false);
        self.out.push(Action::Send(session, Frame::Reply { serial, result }));
    }
}

/// Properties that all messages of one import share.
#[derive(Debug, Clone, Copy)]
struct Importing<'a> {
    host: &'a HostName,
    generation: u64,
    tag: StreamId,
    /// Key of the stream.
    key: &'a str,
    /// User of the link.
    link_uid: u32,
}

impl Importing<'_> {
    fn origin(&self, seq: u64, wall_us: i64) -> ImportedFrom {
        let origin = Origin { seq, wall_us };
        ImportedFrom { host: self.host.clone(), generation: self.generation, origin }
    }
}
