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
            ExportInfo, Import, ImportedFrom, ImportedMessage, LinkPosition, LinkRequest,
            LinkedStream, uid_of_host,
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
    limits::IN_FLIGHT_BYTES_PER_STREAM_MAX,
};

/// Streams in one answer.
const IMPORTS_PER_REPLY: usize = 200;

/// Text in the place of messages of a host that can't be had.
const GAP: &str = "messages of this host are missing here: they are no longer on the way";

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
        self.commits.add(Record::Export { host: own, stream: StreamKey::from(stream), after });
        Ok(Routed::WhenStored(Reply::Export(info)))
    }

    /// Returns a stream that links may exchange; a room that does not exist is created.
    fn linked_stream(&mut self, id: SessionId, stream: &LinkedStream) -> Result<StreamId, Refusal> {
        let LinkedStream::Room(room) = stream else { return Ok(ANNOUNCEMENTS) };
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
        let Import { host, stream, prev, upto, has_gap, messages } = import;
        let rises = messages.iter().map(|m| m.seq).chain([upto.saturating_add(1)]);
        let positions = [prev.generation, prev.seq, upto];
        if positions.iter().any(|number| i64::try_from(*number).is_err()) {
            return refuse(RefusalCode::Input, "a number of the import is too large");
        }
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
            // The first that is ever seen of it is its beginning.
            None => (prev.seq, true),
        };
        if !is_whole && !has_gap && !planted(Fault::ImportPassesOverGaps) {
            let at = known.unwrap_or_default();
            return Ok(Routed::Reply(Reply::Imported { at, refused: 0 }));
        }
        let at = match known {
            Some(known) if base >= upto => known,
            Some(_) | None => LinkPosition { generation: prev.generation, seq: upto },
        };
        let from = Importing { host: &host, generation: prev.generation, tag };
        let mut refused = 0;
        if !is_whole {
            self.import_gap(now, from, prev);
        }
        for message in messages.into_iter().filter(|message| message.seq > base) {
            refused += u32::from(!self.import_message(now, from, message));
        }
        self.links.set_numbered(&host, key, at);
        let seq = self.stream(tag).numbered;
        if self.stream(tag).in_flight.uncommitted.is_empty() {
            self.links.set_stored(&host, key, at);
            return Ok(Routed::Reply(Reply::Imported { at, refused }));
        }
        self.commits.count_waiting(id, true);
        self.links.wait(tag, LinkWaiter { session: id, serial, seq, at, refused });
        Ok(Routed::Later)
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

    /// Numbers one message of another host; false if its user may not speak here.
    fn import_message(&mut self, now: Now, of: Importing<'_>, message: ImportedMessage) -> bool {
        let Ok(user) = UserName::remote(&message.user, of.host) else { return false };
        let hears = self.room_rules(of.tag).is_none_or(|(_, _, rules)| rules.hears_remote(&user));
        let is_fit = (of.tag == ANNOUNCEMENTS) == message.notice.is_some();
        if !is_fit || (!hears && !planted(Fault::BannedRemoteSpeaks)) {
            return false;
        }
        let account = AccountId::User(uid_of_host(of.host));
        let from = self.links.sender(uid_of_host(of.host), user, message.label, message.kind);
        let numbered = self.stream(of.tag).numbered;
        let origin = Some(of.origin(message.seq, message.wall_us));
        let draft = EntryDraft {
            reply_to: message.reply_to.filter(|to| *to > 0 && *to <= numbered),
            origin,
            ..EntryDraft::new(from, SharedText::from(message.text.as_str()))
        };
        match message.notice {
            None => {
                self.number(now, of.tag, account, draft);
            }
            Some(notice) => {
                // Of a room that does not exist here, no member has to know.
                let only = notice.room.as_ref().map(|room| self.directory.room(room));
                if only == Some(None) {
                    return false;
                }
                let room = only.flatten().and_then(|tag| self.room_name(tag));
                let announce = Announce {
                    room: None,
                    expires_us: notice.expires_us,
                    retain: notice.retain,
                    ack: notice.ack,
                    ..Announce::new(notice.level, message.text)
                };
                let state = AnnouncementRecord {
                    origin: draft.origin,
                    ..AnnouncementRecord::new(draft.from, &announce, room, now.wall_us)
                };
                let announcing = Announcing {
                    state,
                    asked: None,
                    only: only.flatten(),
                    wait: Wait::Reached,
                    report_at: u32::MAX,
                };
                self.put_on_its_way(now, account, announcing);
            }
        }
        true
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
        self.number(now, of.tag, AccountId::User(uid_of_host(of.host)), draft);
    }

    /// Messages of a stream are stored, those from a place among the ready ones on: their links
    /// learn it.
    pub(super) fn imports_stored(&mut self, tag: StreamId, from: usize) {
        let stream = &self.streams[tag];
        let key = stream.key.linked().unwrap_or_default();
        for pending in stream.in_flight.ready.range(from..) {
            if let Some(from) = &pending.entry.origin {
                self.links.set_stored(&from.host, key, from.position());
            }
        }
        let upto = stream.committed();
        for waiter in self.links.take_waiting(tag, upto) {
            let LinkWaiter { session, serial, at, refused, .. } = waiter;
            self.answer_link(session, serial, Ok(Reply::Imported { at, refused }));
        }
    }

    /// Messages of a stream could not be stored: their links learn it, and bring them again.
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

/// What the messages of one import have in common.
#[derive(Debug, Clone, Copy)]
struct Importing<'a> {
    host: &'a HostName,
    generation: u64,
    tag: StreamId,
}

impl Importing<'_> {
    fn origin(&self, seq: u64, wall_us: i64) -> ImportedFrom {
        let origin = Origin { seq, wall_us };
        ImportedFrom { host: self.host.clone(), generation: self.generation, origin }
    }
}
