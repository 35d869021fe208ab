//! Work on the history: commits, older messages for members that fell behind, answers from the
//! store.

use std::{rc::Rc, time::Duration};

use tokio::sync::mpsc::Receiver;

use super::{conn::Conn, core::Core, threads::Work};
use crate::{
    chat::{
        frames::Frame,
        names::{Label, UserName},
        refusal::{Refusal, RefusalCode},
        reply::{HitInfo, MarkInfo, Page, Reply},
        store::{Fetch, Fetched, Question, StreamKey},
        stream_id::StreamLabel,
    },
    history::{Found, HistoryError, Query, Reader},
    limits::{
        BADGES_EVERY_MS, BADGES_MAX, BODY_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES,
        UNREAD_MAX,
    },
    os,
    presence::Badge,
    wire::frame,
};

/// Bytes of older messages read for a session at a time.
const FETCH_BYTES: usize = 2 * FRAME_BYTES_MAX;
/// Bytes of hits in one answer.
const HITS_BYTES: usize = 40_000;

/// Tells the hub what became of each transaction.
pub(super) async fn commits(core: Rc<Core>, mut done: Receiver<Result<(), String>>) {
    while let Some(result) = done.recv().await {
        let mut inner = core.inner.borrow_mut();
        match result {
            Ok(()) => inner.hub.stored(core.now()),
            Err(why) => {
                core.log.warn(&why);
                inner.hub.store_failed(core.now(), &why);
            }
        }
        inner.act(&core);
    }
}

/// Reads older messages for a session and writes them to it.
pub(super) async fn fetch(core: Rc<Core>, fetch: Fetch) {
    let Some(reader) = core.history.as_ref().map(crate::history::History::reader) else { return };
    let Some(conn) = core.inner.borrow().conns.get(&fetch.session).map(Rc::clone) else { return };
    let turn = core.turns.fetch(conn.uid()).await;
    let Fetch { tag, first, last, .. } = fetch;
    let (stream, rooms) = (fetch.stream.clone(), fetch.rooms.clone());
    let read = move || {
        let rooms = rooms.as_deref();
        let query = reader.query();
        query.fetch(&stream, tag, (first, last), FRAME_HEADER_BYTES, FETCH_BYTES, rooms)
    };
    let found = match core.threads.run(Work::Fetch, read).await {
        Ok(Err(e @ HistoryError::Damaged { .. })) => {
            // Not even the stream can be found. Trying again would give the same.
            core.log.of_user(conn.uid(), conn.user(), &e.to_string());
            Some(Found { upto: last, ..Found::default() })
        }
        Ok(found) => {
            found.map_err(|e| core.log.of_user(conn.uid(), conn.user(), &e.to_string())).ok()
        }
        // The server ends.
        Err(e) if !e.is_panic() => return,
        Err(_) => {
            core.log.warn("can't read the history");
            None
        }
    };
    drop(turn);
    let mut inner = core.inner.borrow_mut();
    let Some(found) = found else {
        inner.hub.fetch_failed(core.now(), &fetch);
        return inner.act(&core);
    };
    let frames = found.bodies.into_iter().map(|mut body| {
        let header = frame::batch_header(body.len() - FRAME_HEADER_BYTES);
        body[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        body.into()
    });
    let found = Fetched { frames: frames.collect(), upto: found.upto, oldest: found.oldest };
    let chunks = inner.hub.fetched(core.now(), &fetch, found);
    // A user removed meanwhile gets nothing of it.
    if let Some(chunks) = chunks.filter(|_| !conn.is_ending()) {
        core.give(&conn, chunks);
        inner.pump(&core, &conn, false);
    }
    inner.act(&core);
}

/// Answers a question of a session; meanwhile nothing more is taken from it.
pub(super) async fn answer(
    core: Rc<Core>,
    conn: Rc<Conn>,
    serial: u32,
    question: Question,
    asked: u64,
) {
    let reader = core.history.as_ref().map(crate::history::History::reader);
    let result = match reader {
        None => Err(Refusal::new(RefusalCode::Failed, "this server keeps no history")),
        Some(reader) => {
            let turn = core.turns.question(conn.uid()).await;
            let is_search = matches!(question, Question::Search(_));
            let work = if is_search { Work::Search } else { Work::Question };
            let answered = core.threads.run(work, move || ask(&reader.query(), question)).await;
            drop(turn);
            match answered {
                Ok(Ok(answer)) => core.name_hits(&conn, answer, asked),
                Ok(Err(e)) => {
                    if !matches!(e, HistoryError::Slow) {
                        core.log.of_user(conn.uid(), conn.user(), &e.to_string());
                    }
                    Err(Refusal::new(RefusalCode::Failed, e.to_string()))
                }
                // The server ends.
                Err(e) if !e.is_panic() => return,
                Err(_) => Err(Refusal::new(RefusalCode::Failed, "can't read the history")),
            }
        }
    };
    conn.end_question();
    let mut inner = core.inner.borrow_mut();
    inner.send(&core, conn.id, Frame::Reply { serial, result });
    inner.act(&core);
}

/// An answer, and the streams of hits, which are still to be called by their names.
struct HistoryAnswer {
    reply: Reply,
    streams: Vec<StreamKey>,
}

fn ask(query: &Query<'_>, question: Question) -> Result<HistoryAnswer, HistoryError> {
    let plain = |reply| HistoryAnswer { reply, streams: Vec::new() };
    match question {
        Question::Page { stream, tag, first, last, rooms } => {
            let read = |first| {
                let rooms = rooms.as_deref();
                query.fetch(&stream, tag, (first, last), 0, BODY_BYTES_MAX / 2, rooms)
            };
            let mut found = read(first)?;
            while found.bodies.is_empty() && found.upto < last {
                // A part that is damaged is passed over.
                found = read(found.upto + 1)?;
            }
            // One body an answer; the rest is asked for again.
            let page = found.bodies.into_iter().next().map(|body| {
                let head = crate::chat::batch::Head::read(&body);
                let last = head.map_or(found.first, |head| head.last());
                Page { body, first: found.first, last }
            });
            Ok(HistoryAnswer {
                reply: Reply::Page(page.unwrap_or_default()),
                streams: vec![stream],
            })
        }
        Question::Span { stream, mut span } => {
            if let Some(first) = query.oldest(&stream)? {
                span.first = first;
            }
            Ok(plain(Reply::Span(span)))
        }
        Question::NumberAt { stream, wall_us } => {
            query.number_at(&stream, wall_us).map(|number| plain(Reply::Number(number)))
        }
        Question::Origin { stream, host, seq } => {
            query.number_of_origin(&stream, &host, seq).map(|number| plain(Reply::Number(number)))
        }
        Question::Search(search) => {
            let mut found = query.search(&search)?;
            // The newest that fit into one answer.
            let mut bytes = 0;
            let fits = found.iter().rev().take_while(|hit| {
                bytes += hit.body.len() + 256;
                bytes <= HITS_BYTES
            });
            let fits = fits.count().max(usize::from(!found.is_empty()));
            let more = found.len() > fits;
            found.drain(..found.len() - fits);
            let streams = found.iter().map(|hit| hit.stream.clone()).collect();
            let name = || StreamLabel::Announcements;
            let hits = found.into_iter();
            let hits = hits.map(|hit| {
                let id = search.order.conceal(hit.id);
                HitInfo { name: name(), id, body: hit.body }
            });
            Ok(HistoryAnswer { reply: Reply::Hits { hits: hits.collect(), more }, streams })
        }
        Question::Unread { uid, user, label, marks, more } => {
            let mut counted: Vec<MarkInfo> = Vec::with_capacity(marks.len());
            for (mut info, stream) in marks {
                if let Some(stream) = stream {
                    count_unread(query, &mut info, &stream, (uid, label.as_ref()), &user);
                }
                counted.push(info);
            }
            Ok(plain(Reply::Marks { marks: counted, more }))
        }
    }
}

/// Counts what is unread in one stream. If it can't be counted, or not in time, that costs no other
/// stream: its messages count by their numbers.
fn count_unread(
    query: &Query<'_>,
    info: &mut MarkInfo,
    stream: &StreamKey,
    handle: (u32, Option<&Label>),
    user: &str,
) {
    let by_numbers = || (info.head.saturating_sub(info.mark).min(UNREAD_MAX), 0);
    let counted = query.unread(stream, info.mark, handle, user);
    (info.unread, info.mentions) = counted.unwrap_or_else(|_| by_numbers());
}

impl Core {
    /// Calls the streams of hits by the names that the asking user knows. Streams that the user may
    /// no longer read are left out.
    fn name_hits(&self, conn: &Conn, answer: HistoryAnswer, asked: u64) -> Result<Reply, Refusal> {
        let HistoryAnswer { mut reply, streams } = answer;
        let inner = self.inner.borrow();
        let Reply::Hits { hits, .. } = &mut reply else {
            for stream in &streams {
                inner.hub.still_reads(conn.id, stream, asked)?;
            }
            return Ok(reply);
        };
        let found = std::mem::take(hits).into_iter().zip(streams);
        for (mut hit, stream) in found {
            if inner.hub.still_reads(conn.id, &stream, asked).is_err() {
                continue;
            }
            hit.name = match stream {
                StreamKey::Room(room) => StreamLabel::Room(room),
                StreamKey::Conversation(low, high) => {
                    let other = if conn.uid() == low { high } else { low };
                    let name = inner.hub.user_name(other);
                    StreamLabel::Direct(name.unwrap_or_else(|| UserName::of_uid(other)))
                }
                StreamKey::Announcements => StreamLabel::Announcements,
            };
            hits.push(hit);
        }
        Ok(reply)
    }
}

/// Keeps the badges of a user server: counted on another thread, seldom enough to cost
/// little.
pub(super) async fn badges(core: Rc<Core>) {
    let uid = os::own_uid();
    loop {
        core.signals.badges_due.notified().await;
        // The hub's part is the dearest: it delays others.
        let since = std::time::Instant::now();
        let names: Vec<_> = {
            let hub = &core.inner.borrow().hub;
            let readers = hub.readers(uid, BADGES_MAX).into_iter();
            readers.map(|label| (hub.reader_marks(uid, label.as_ref()), label)).collect()
        };
        let user = core.inner.borrow().hub.user_name(uid);
        let user = user.map_or_else(String::new, |user| user.to_string());
        let reader = core.history.as_ref().map(crate::history::History::reader);
        let count_all = move || {
            let count = |(marks, label): (Vec<_>, Option<Label>)| {
                let badge = count(reader.as_deref(), uid, label.as_ref(), &user, marks);
                (label, badge)
            };
            names.into_iter().map(count).collect::<Vec<_>>()
        };
        match core.threads.run(Work::Badges, count_all).await {
            Ok(counted) => {
                let person = counted.iter().find(|(label, _)| label.is_none());
                core.unread_mail.set(person.map_or(0, |(_, badge)| badge.direct));
                core.inner.borrow_mut().table.put_badges(&counted);
            }
            Err(e) if !e.is_panic() => return,
            Err(_) => core.log.warn("can't count unread messages"),
        }
        let pause = Duration::from_millis(BADGES_EVERY_MS).max(since.elapsed() * 20);
        tokio::time::sleep(pause).await;
    }
}

fn count(
    reader: Option<&Reader>,
    uid: u32,
    label: Option<&Label>,
    user: &str,
    marks: Vec<(MarkInfo, Option<StreamKey>)>,
) -> Badge {
    let mut badge = Badge::default();
    let query = reader.map(Reader::query);
    for (mut info, stream) in marks {
        if let (Some(query), Some(stream)) = (&query, stream) {
            count_unread(query, &mut info, &stream, (uid, label), user);
        }
        badge.mentions += info.mentions;
        match info.name {
            StreamLabel::Direct(_) => badge.direct += info.unread,
            StreamLabel::Room(_) => badge.unread += info.unread,
            StreamLabel::Announcements => badge.announcements += info.unread,
        }
    }
    badge
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::{
        chat::{
            member::{Kind, Member, SessionId},
            names::RoomName,
            store::Entry,
        },
        history::{History, Options},
    };

    #[test]
    fn stream_that_can_not_be_counted_costs_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.db");
        let (tell, done) = mpsc::channel();
        let tell = Box::new(move |result| drop(tell.send(result)));
        let (history, _) = History::open(&path, Options::default(), tell).unwrap();
        let room = |name: &str| StreamKey::Room(RoomName::new(name).unwrap());
        let from = Arc::new(Member {
            session: SessionId(1),
            uid: 1,
            pid: 1,
            kind: Kind::Script,
            user: UserName::new("ann").unwrap(),
            label: None,
        });
        for name in ["dev", "ops", "web"] {
            let stream = Arc::new(room(name));
            let entries = (1..=5).map(|seq| Entry {
                stream: Arc::clone(&stream),
                seq,
                wall_us: 1,
                from: Arc::clone(&from),
                reply_to: None,
                to_label: None,
                notice: None,
                will: None,
                origin: None,
                text: "hello @bob".into(),
                submit: None,
            });
            history.commit(Vec::new(), entries.collect(), 1);
            done.recv().unwrap().unwrap();
        }
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute("UPDATE streams SET first = 'damaged' WHERE name = 'ops'", ()).unwrap();
        let marks = ["dev", "ops", "web"].map(|name| {
            let label = StreamLabel::Room(RoomName::new(name).unwrap());
            let info =
                MarkInfo { name: label, mark: 2, head: 5, unread: 0, mentions: 0, stored: true };
            (info, Some(room(name)))
        });
        let reader = history.reader();
        let question = Question::Unread {
            uid: 2,
            user: "bob".to_owned(),
            label: None,
            marks: marks.to_vec(),
            more: false,
        };
        let Ok(HistoryAnswer { reply: Reply::Marks { marks, .. }, .. }) =
            ask(&reader.query(), question)
        else {
            panic!("no marks")
        };
        let counted: Vec<_> = marks.iter().map(|mark| (mark.unread, mark.mentions)).collect();
        assert_eq!(counted, [(3, 3), (3, 0), (3, 3)]);
    }
}
