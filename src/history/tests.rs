//! A history that is written, read, damaged, and put back.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use super::*;
use crate::chat::{
    batch,
    linked::{ImportedFrom, LinkPosition},
    member::{Kind, Member, SessionId},
    message::Origin,
    names::{HostName, RoomName, UserName},
    rules::Role,
    store::{Entry, Record, RestoredExport, SearchQuestion, StreamKey},
    stream_id::StreamId,
};

pub(super) struct Kept {
    pub(super) history: History,
    done: mpsc::Receiver<Result<(), String>>,
    loaded: Loaded,
}

pub(super) fn open(dir: &Path) -> Kept {
    open_with(dir, Retention::default())
}

pub(super) fn open_with(dir: &Path, retention: Retention) -> Kept {
    let (tell, done) = mpsc::channel();
    let done_box = Box::new(move |result| drop(tell.send(result)));
    let options = Options { retention, ..Options::default() };
    let (history, loaded) = History::open(&dir.join("h.db"), options, done_box).unwrap();
    Kept { history, done, loaded }
}

#[test]
fn receipt_is_restored_and_removed_with_its_announcement() {
    let dir = tempfile::tempdir().unwrap();
    let addressee = |uid| {
        let member = Member { uid, ..Member::nobody() };
        serde_json::json!({"member": member, "reached": false, "acked": false, "gone": null})
    };
    let state = serde_json::json!({
        "number": 1, "schedule": null, "wall_us": 1, "from": Member::nobody(),
        "level": "info", "room": null, "expires_after_us": null, "retained": true, "ack": true,
        "text": "news", "cancelled_by": null, "addressees": [addressee(2), addressee(3)],
        "forgotten": false, "acks": [],
    });
    let acked =
        |uid: u32| serde_json::json!({"uid": uid, "label": null, "name": "x", "wall_us": 5});
    let receipt = |steps: &str, acks: Vec<serde_json::Value>| {
        let receipt = serde_json::json!({"number": 1, "steps": steps, "acks": acks});
        Record::Receipt(serde_json::from_value(receipt).unwrap())
    };
    let notice = Record::Notice(serde_json::from_value(state.clone()).unwrap());
    let kept = open(dir.path());
    let other = serde_json::json!({"number": 10});
    let mut of_another = state;
    of_another["number"] = other["number"].clone();
    let of_another = Record::Notice(serde_json::from_value(of_another).unwrap());
    kept.commit(vec![notice, of_another, receipt("ba", vec![acked(2)])], Vec::new()).unwrap();
    kept.commit(vec![receipt("df", vec![acked(3)])], Vec::new()).unwrap();
    drop(kept);
    let kept = open(dir.path());
    let loaded = serde_json::to_value(&kept.loaded.restored.notices).unwrap();
    assert_eq!(loaded[0]["acks"].as_array().unwrap().len(), 2);
    assert_eq!(loaded[0]["addressees"][0]["acked"], true);
    assert_eq!(loaded[0]["addressees"][1]["gone"], "ended");
    assert_eq!(loaded[1]["addressees"][0]["reached"], false, "another announcement");
    let gone = Record::NoticeGone(crate::chat::message::AnnouncementId::Number(1));
    kept.commit(vec![gone], Vec::new()).unwrap();
    drop(kept);
    let rows = rusqlite::Connection::open(dir.path().join("h.db")).unwrap().query_row(
        "SELECT count(*) FROM notices",
        (),
        |row| row.get::<_, u64>(0),
    );
    assert_eq!(rows, Ok(1));
}

impl Kept {
    pub(super) fn commit(&self, records: Vec<Record>, entries: Vec<Entry>) -> Result<(), String> {
        self.history.commit(records, entries, crate::os::wall_us());
        self.done.recv().unwrap()
    }

    fn texts(&self, stream: &StreamKey) -> Vec<(u64, String, String)> {
        let reader = self.history.reader();
        let found =
            reader.query().fetch(stream, StreamId(1), (1, 1_000), 0, 1 << 20, None).unwrap();
        let mut all = Vec::new();
        for body in found.bodies {
            for message in batch::Reader::new(&body).unwrap() {
                let message = message.unwrap();
                let from = message.from.to_member().unwrap().name();
                all.push((message.seq, from, message.text.read().unwrap().to_owned()));
            }
        }
        all
    }
}

pub(super) fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

pub(super) fn stream(name: &str) -> StreamKey {
    StreamKey::Room(room(name))
}

pub(super) fn entry(stream: &StreamKey, seq: u64, session: u64, user: &str, text: &str) -> Entry {
    Entry {
        stream: Arc::new(stream.clone()),
        seq,
        wall_us: seq.cast_signed() * 1_000_000,
        from: Arc::new(Member {
            session: SessionId(session),
            uid: 1,
            pid: 1,
            kind: Kind::Script,
            user: UserName::new(user).unwrap(),
            label: None,
        }),
        reply_to: None,
        to_label: None,
        notice: None,
        will: None,
        origin: None,
        text: text.into(),
        submit: Some(([7; 16], seq)),
    }
}

#[test]
fn messages_of_linked_hosts_are_stored_with_their_positions() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let imported = |seq: u64, session, user: &str, generation, number| {
        let host = HostName::new(user.split_once('@').unwrap().1).unwrap();
        let origin = Origin { seq: number, wall_us: -5 };
        let origin = Some(ImportedFrom { host, generation, origin });
        Entry { origin, submit: None, ..entry(&dev, seq, session, user, "text") }
    };
    let kept = open(dir.path());
    let role = |on| Record::RemoteRole {
        room: room("dev"),
        user: UserName::new("eve@db1").unwrap(),
        role: Role::Banned,
        on,
    };
    let after = LinkPosition { generation: 3, seq: 9 };
    let host = HostName::new("web1").unwrap();
    let export = Record::Export { host: host.clone(), stream: dev.clone(), after, epoch: 5 };
    let entries = vec![
        entry(&dev, 1, 1, "ann", "ours"),
        imported(2, 2, "bob@db1", 7, 40),
        imported(3, 2, "bob@db1", 7, 41),
        imported(4, 3, "eve@lap2", 8, 41),
    ];
    kept.commit(vec![role(true), export], entries).unwrap();
    kept.commit(Vec::new(), vec![imported(5, 4, "bob@db1", 7, 45)]).unwrap();
    let number = |history: &History, host: &str, seq| {
        let host = HostName::new(host).unwrap();
        history.reader().query().number_of_origin(&dev, &host, seq).unwrap()
    };
    for (host, seq, expected) in
        [("db1", 40, 2), ("db1", 41, 3), ("lap2", 41, 4), ("db1", 45, 5), ("db1", 42, 0)]
    {
        assert_eq!(number(&kept.history, host, seq), expected, "{host} {seq}");
    }
    drop(kept);
    let restored = open(dir.path()).loaded.restored;
    let imports: Vec<_> =
        restored.imports.iter().map(|i| (i.host.as_str(), &*i.stream, i.at.seq)).collect();
    assert_eq!(imports, [("db1", "dev", 45), ("lap2", "dev", 41)]);
    assert_eq!(restored.exports, [RestoredExport { host, stream: "dev".into(), after, epoch: 5 }]);
    assert!(!restored.rooms[0].rules.hears_remote(&UserName::new("eve@db1").unwrap()));
    assert!(restored.users.iter().all(|(_, name)| name.host().is_none()), "they have no user id");
    let kept = open(dir.path());
    kept.commit(vec![role(false)], Vec::new()).unwrap();
    drop(kept);
    let restored = open(dir.path()).loaded.restored;
    assert!(restored.rooms[0].rules.hears_remote(&UserName::new("eve@db1").unwrap()));
}

#[test]
fn committed_messages_are_restored_with_senders_of_all_boots() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let kept = open(dir.path());
    kept.commit(Vec::new(), vec![entry(&dev, 1, 5, "ann", "one")]).unwrap();
    drop(kept);
    // Another run gives the same session number to somebody else.
    let kept = open(dir.path());
    assert_eq!(kept.loaded.restored.rooms[0].span.head, 1);
    kept.commit(Vec::new(), vec![entry(&dev, 2, 5, "bob", "two")]).unwrap();
    let said = |seq, from: &str, text: &str| (seq, from.to_owned(), text.to_owned());
    assert_eq!(kept.texts(&dev), [said(1, "ann", "one"), said(2, "bob", "two")]);
    drop(kept);
    let kept = open(dir.path());
    let submits = &kept.loaded.restored.submits;
    let runs: Vec<_> = submits.iter().map(|s| (s.counter, s.count, s.seq)).collect();
    assert_eq!(runs, [(1, 1, 1), (2, 1, 2)]);
    assert_eq!(kept.history.reader().query().number_at(&dev, 1_500_000).unwrap(), 2);
    assert_eq!(kept.history.reader().query().number_at(&dev, 9_000_000).unwrap(), 3);
}

#[test]
fn failed_transaction_leaves_nothing_and_the_next_succeeds() {
    let dev = stream("dev");
    let follow = || Record::Follow { uid: 1, label: None, room: room("dev"), on: true };
    let mark = || Record::Mark { uid: 1, label: None, stream: stream("dev"), seq: 1 };
    let scenario = || {
        let other = stream("other");
        let entries = vec![
            entry(&dev, 2, 5, "ann", "two"),
            entry(&dev, 3, 6, "bob", "three"),
            entry(&other, 1, 6, "bob", "elsewhere"),
        ];
        (vec![follow(), mark()], entries)
    };
    let mut failed = 0;
    for statement in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let kept = open(dir.path());
        kept.commit(Vec::new(), vec![entry(&dev, 1, 5, "ann", "one")]).unwrap();
        kept.history.fail_at(statement);
        let (records, entries) = scenario();
        let done = kept.commit(records, entries);
        kept.history.fail_at(0);
        let Err(why) = done else {
            assert_eq!(kept.texts(&dev).len(), 3);
            break;
        };
        failed += 1;
        assert!(why.contains("disk full"), "{why}");
        assert!(kept.history.is_failing());
        assert_eq!(kept.texts(&dev).len(), 1, "statement {statement}: half of it stands");
        // The same numbers, another text: they are free again.
        let next = vec![entry(&dev, 2, 6, "bob", "another two")];
        kept.commit(vec![mark()], next).unwrap();
        assert!(!kept.history.is_failing());
        drop(kept);
        let kept = open(dir.path());
        let all = kept.texts(&dev);
        assert_eq!(all[1], (2, "bob".to_owned(), "another two".to_owned()));
        let restored = &kept.loaded.restored;
        assert_eq!(restored.rooms.len(), 1, "no other room: {:?}", restored.rooms);
        assert!(restored.follows.is_empty());
        assert_eq!(restored.marks.len(), 1);
    }
    assert!(failed > 10, "only {failed} statements");
}

#[test]
fn ended_writer_thread_refuses_each_commit_and_is_failing() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let kept = open(dir.path());
    kept.commit(Vec::new(), vec![entry(&dev, 1, 5, "ann", "one")]).unwrap();
    kept.history.panic_next();
    for _ in 0..3 {
        let why = kept.commit(Vec::new(), vec![entry(&dev, 2, 5, "ann", "two")]).unwrap_err();
        assert!(why.contains("restart the server"), "{why}");
        assert!(kept.history.is_failing());
    }
    assert_eq!(kept.texts(&dev).len(), 1);
    drop(kept);
    assert_eq!(open(dir.path()).loaded.restored.rooms[0].span.head, 1);
}

#[test]
fn submits_that_no_client_repeats_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (dev, ops) = (stream("dev"), stream("ops"));
    let kept = open(dir.path());
    // In two rooms by turns.
    let many = 6 * crate::limits::UNACKED_SUBMITS_MAX as u64;
    let entries = (1..=many).map(|counter| {
        let stream = if counter % 2 == 0 { &dev } else { &ops };
        let submit = Some(([7; 16], counter));
        Entry { submit, ..entry(stream, counter.div_ceil(2), 5, "ann", "text") }
    });
    kept.commit(Vec::new(), entries.collect()).unwrap();
    let other = Entry { submit: Some(([8; 16], 1)), ..entry(&dev, many, 6, "ann", "other") };
    kept.commit(Vec::new(), vec![other]).unwrap();
    drop(kept);
    let kept = open(dir.path());
    let submits = &kept.loaded.restored.submits;
    assert!(submits.len() <= 2 + 2 * crate::limits::UNACKED_SUBMITS_MAX, "{}", submits.len());
    let newest = submits.iter().map(|submits| submits.counter).max();
    assert_eq!(newest, Some(many));
    // An instance that said goodbye.
    let gone = Record::InstanceGone { uid: 1, instance: [7; 16] };
    kept.commit(vec![gone], Vec::new()).unwrap();
    drop(kept);
    let submits = open(dir.path()).loaded.restored.submits;
    let left: Vec<_> = submits.iter().map(|s| (s.instance, s.counter, s.wall_us > 0)).collect();
    assert_eq!(left, [([8; 16], 1, true)]);
}

#[test]
fn loaded_submits_are_shared_fairly_by_users() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let many = crate::limits::ENDED_INSTANCE_RUNS_MAX as u64;
    let mut db = rusqlite::Connection::open(dir.path().join("h.db")).unwrap();
    let transaction = db.transaction().unwrap();
    transaction
        .execute("INSERT INTO streams (kind, key, name, creator, history) VALUES (0, 'dev', 'dev', 1, 1)", ())
        .unwrap();
    let sql = "INSERT INTO submits VALUES (?, ?, 1, 1, (SELECT id FROM streams), 1, ?)";
    let mut insert = transaction.prepare(sql).unwrap();
    let mut add = |uid: u32, number: u64, ts: u64| {
        let mut instance = [1; 16];
        instance[..8].copy_from_slice(&number.to_le_bytes());
        insert.execute(rusqlite::params![uid, instance, ts]).unwrap();
    };
    for number in 0..5 {
        add(1, number, 1);
    }
    for number in 0..many {
        add(2, number, 10 + number);
        add(3, number, 10 + number);
    }
    drop(insert);
    transaction.commit().unwrap();
    drop(db);
    let restored = open(dir.path()).loaded.restored;
    let of = |uid| restored.submits.iter().filter(|s| s.uid == uid).count() as u64;
    assert_eq!(of(1), 5, "however old, and however many others have");
    assert_eq!(of(2) + of(3) + 5, many);
    assert!(of(2).abs_diff(of(3)) <= 1);
    let cut: Vec<_> = restored.submits_cut.iter().map(|(uid, _)| *uid).collect();
    assert_eq!(cut, [2, 3]);
    for (uid, oldest_us) in restored.submits_cut {
        let mut of_user = restored.submits.iter().filter(|s| s.uid == uid);
        assert_eq!(of_user.next().unwrap().wall_us, oldest_us);
    }
}

#[test]
fn a_deleted_room_is_unreadable_while_it_is_still_being_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let kept = open(dir.path());
    let many = 8 * crate::limits::HISTORY_CHUNK_ROWS as u64;
    let entries = (1..=many).map(|seq| entry(&dev, seq, 5, "ann", "secret")).collect();
    kept.commit(Vec::new(), entries).unwrap();
    kept.commit(vec![Record::RoomGone { name: room("dev"), head: many }], Vec::new()).unwrap();
    let again = Record::Room {
        name: room("dev"),
        id: crate::chat::stream_id::RoomId(7),
        creator_uid: 1,
        history: true,
        topic: String::new(),
        private: false,
        read_only: false,
        head: many,
    };
    kept.commit(vec![again], vec![entry(&dev, many + 1, 5, "ann", "new")]).unwrap();
    let reader = kept.history.reader();
    let found = reader.query().fetch(&dev, StreamId(1), (1, many), 0, 1 << 20, None).unwrap();
    assert!(found.bodies.is_empty());
}

#[test]
fn acts_of_the_user_with_most_are_forgotten_first() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(dir.path());
    let act = |uid: u32| {
        let by = UserName::of_uid(uid);
        Record::Audit(crate::chat::store::Audit {
            wall_us: 1,
            uid,
            by,
            act: "x".to_owned(),
            office: false,
        })
    };
    let many = crate::limits::AUDIT_KEPT_MAX as u32 + 100;
    let acts = [1, 1, 1].into_iter().chain((0..many).map(|n| 10 + n / 40)).map(act);
    kept.commit(acts.collect(), Vec::new()).unwrap();
    drop(kept);
    let audit = open(dir.path()).loaded.restored.audit;
    let kept = crate::limits::AUDIT_KEPT_MAX;
    assert!((kept..kept + 16).contains(&audit.len()), "{}", audit.len());
    assert_eq!(audit.iter().filter(|of| of.uid == 1).count(), 3);
}

#[test]
fn forgotten_room_leaves_its_numbers_and_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str, head| Record::Room {
        name: room(name),
        id: crate::chat::stream_id::RoomId(7),
        creator_uid: 5,
        history: true,
        topic: String::new(),
        private: false,
        read_only: false,
        head,
    };
    let gone = |name: &str, head| Record::RoomGone { name: room(name), head };
    let forgotten = |name: &str, floor| Record::RoomForgotten { name: room(name), floor };
    let instance =
        |seq| Entry { submit: Some(([7; 16], seq)), ..entry(&stream("a"), seq, 5, "ann", "x") };
    let kept = open(dir.path());
    kept.commit(vec![made("a", 0)], (1..=3).map(instance).collect()).unwrap();
    kept.commit(vec![gone("a", 3), forgotten("a", 3)], Vec::new()).unwrap();
    kept.commit(vec![made("b", 3), gone("b", 9), made("c", 3)], Vec::new()).unwrap();
    // Used again before its row is removed, and forgotten again; never with a smaller number.
    kept.commit(vec![made("a", 3)], vec![entry(&stream("a"), 4, 5, "ann", "y")]).unwrap();
    kept.commit(vec![gone("a", 4), forgotten("a", 4), forgotten("never", 2)], Vec::new()).unwrap();
    let names = |kept: &Kept| {
        let restored = &kept.loaded.restored;
        let rooms =
            restored.rooms.iter().map(|of| (of.name.to_string(), of.span.head, of.span.first));
        let gone =
            restored.gone_rooms.iter().map(|of| (of.name.to_string(), of.creator_uid, of.head));
        (rooms.collect::<Vec<_>>(), gone.collect::<Vec<_>>(), restored.floor)
    };
    drop(kept);
    let want = (vec![("c".to_owned(), 3, 4)], vec![("b".to_owned(), 5, 9)], 4);
    let kept = open(dir.path());
    assert_eq!(names(&kept), want);
    let submits = &kept.loaded.restored.submits;
    assert!(submits.iter().all(|of| of.stream.is_none()), "{submits:?}");
    assert!(!submits.is_empty());
    let rows = || -> u64 {
        let db = rusqlite::Connection::open(dir.path().join("h.db")).unwrap();
        db.query_row("SELECT count(*) FROM streams", (), |row| row.get(0)).unwrap()
    };
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while rows() > 2 {
        assert!(std::time::Instant::now() < until, "{} rows are left", rows());
        std::thread::sleep(Duration::from_millis(5));
    }
    // The writer knows that the row is gone.
    kept.commit(vec![made("a", 4)], vec![entry(&stream("a"), 5, 5, "ann", "z")]).unwrap();
    assert_eq!(kept.texts(&stream("a")), [(5, "ann".to_owned(), "z".to_owned())]);
}

/// Commits messages with these times, one of each, and waits until retention has left so many.
fn retained(keep: Duration, times_us: impl Iterator<Item = i64>, left: u64) {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { keep: Some(keep), bytes_max: None };
    let options = Options { retention, ..Options::default() };
    let (tell, done) = mpsc::channel();
    let done_box = Box::new(move |result| drop(tell.send(result)));
    let (history, _) = History::open(&dir.path().join("h.db"), options, done_box).unwrap();
    let dev = stream("dev");
    let entries = (1..).zip(times_us);
    let entries = entries
        .map(|(seq, wall_us)| Entry { wall_us, ..entry(&dev, seq, 5, "ann", "text") })
        .collect();
    history.commit(Vec::new(), entries, crate::os::wall_us());
    done.recv().unwrap().unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while history.messages() > left {
        assert!(std::time::Instant::now() < until, "{} are left", history.messages());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(history.messages(), left);
}

#[test]
fn retention_goes_on_behind_messages_of_a_time_to_come() {
    let now_us = crate::os::wall_us();
    let (hour, years) = (Duration::from_secs(3_600), 300_000_000_000_000);
    let (far, old) = (now_us + years, now_us - 2 * 3_600_000_000);
    let ahead = crate::limits::HISTORY_AHEAD_ROWS + 2 * crate::limits::HISTORY_CHUNK_ROWS;
    let many = |us: i64, count: usize| std::iter::repeat_n(us, count);
    // As old as the next one of a time that has passed.
    retained(hour, many(far, ahead).chain(many(old, 10)).chain(many(now_us, 3)), 3);
    // What is as young stays, and what has no such message behind it.
    let young = crate::limits::HISTORY_CHUNK_ROWS + 10;
    retained(hour, many(old, 10).chain(many(far, young)), young as u64);
    let between = many(old, 5).chain(many(far, young)).chain(many(now_us, 2));
    retained(hour, between.chain(many(far, 5)), young as u64 + 7);
}

#[test]
fn submit_of_a_time_to_come_is_not_kept_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let kept = open(dir.path());
    let (now_us, far_us) = (crate::os::wall_us(), i64::MAX);
    kept.history.commit(Vec::new(), vec![entry(&dev, 1, 5, "ann", "one")], far_us);
    kept.done.recv().unwrap().unwrap();
    drop(kept);
    // It is looked at when nothing else is to be done.
    let kept = open(dir.path());
    let db = rusqlite::Connection::open(dir.path().join("h.db")).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    let time = || db.query_row("SELECT ts FROM submits", (), |row| row.get::<_, i64>(0));
    while time().unwrap() == far_us {
        assert!(std::time::Instant::now() < until, "it stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(time().unwrap() >= now_us, "it counts from now on");
    assert_eq!(kept.loaded.restored.submits.len(), 1);
}

#[test]
fn search_finds_everything_though_the_index_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let kept = open(dir.path());
    let entries = (1..=50).map(|seq| entry(&dev, seq, 5, "ann", "needle in hay")).collect();
    kept.commit(Vec::new(), entries).unwrap();
    assert_eq!(found(&kept, "needle"), 50);
    // Another one, behind the back of the thread that fills it, and not full yet.
    let index = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
    index.busy_timeout(Duration::from_secs(5)).unwrap();
    index.execute("DELETE FROM search WHERE rowid > 10", ()).unwrap();
    index.execute("UPDATE facts SET value = 10 WHERE key = 'indexed'", ()).unwrap();
    assert_eq!(found(&kept, "needle"), 50);
}

#[test]
fn direct_message_to_a_label_is_unread_for_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(dir.path());
    let label = |name: &str| Some(crate::chat::names::Label::new(name).unwrap());
    let (pair, alone) = (StreamKey::Conversation(1, 2), StreamKey::Conversation(1, 1));
    let said = |stream: &StreamKey, seq, uid, own: Option<&str>, to: Option<&str>| {
        let mut entry = entry(stream, seq, 10 * u64::from(uid) + seq, "ann", "hello");
        let from = Arc::make_mut(&mut entry.from);
        (from.uid, from.label) = (uid, own.and_then(label));
        Entry { to_label: to.and_then(label), ..entry }
    };
    let entries = vec![
        said(&pair, 1, 2, None, Some("ci")),
        said(&pair, 2, 2, None, None),
        said(&pair, 3, 2, None, Some("CI")),
        // A label of the other user, whatever it is called.
        said(&pair, 4, 1, Some("bot"), Some("ci")),
        said(&alone, 1, 1, Some("bot"), Some("ci")),
    ];
    kept.commit(Vec::new(), entries).unwrap();
    let unread = |stream: &StreamKey, name: Option<&str>| {
        let name = name.and_then(label);
        let of = (1, name.as_ref());
        kept.history.reader().query().unread(stream, 0, of, "nobody").unwrap().0
    };
    for (name, of_pair, of_alone) in
        [(Some("ci"), 4, 1), (Some("other"), 2, 0), (Some("bot"), 1, 0), (None, 2, 0)]
    {
        assert_eq!((unread(&pair, name), unread(&alone, name)), (of_pair, of_alone), "{name:?}");
    }
}

#[test]
fn retention_keeps_up_with_constant_writes() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Some(Duration::ZERO);
    let options = Options { retention: Retention { keep, bytes_max: None }, ..Options::default() };
    let (tell, done) = mpsc::channel();
    let done_box = Box::new(move |result| drop(tell.send(result)));
    let (history, _) = History::open(&dir.path().join("h.db"), options, done_box).unwrap();
    let dev = stream("dev");
    let many = 3 * crate::limits::SENDER_LEASE_IDS;
    let mut most = 0;
    for at in 0.. {
        // Each of another session, as from a script that sends line by line.
        let first = at * 64 + 1;
        let entries = (first..first + 64).map(|seq| entry(&dev, seq, seq, "ann", "text")).collect();
        history.commit(Vec::new(), entries, crate::os::wall_us());
        done.recv().unwrap().unwrap();
        most = history.messages().max(most);
        if first > many && history.messages() < most / 2 {
            break;
        }
    }
    let sql = "SELECT count(*), (SELECT count(*) FROM messages) FROM senders";
    let db = rusqlite::Connection::open(dir.path().join("h.db")).unwrap();
    let count = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?));
    let (senders, messages) = db.query_row(sql, (), count).unwrap();
    assert!(senders <= messages + crate::limits::SENDER_LEASE_IDS + 64, "{senders} {messages}");
}

/// Numbers of a stream that are read, and its times, whatever the question begins with.
pub(super) fn read_from(kept: &Kept, stream: &StreamKey, first: u64, last: u64) -> Vec<(u64, i64)> {
    let (reader, mut next, mut all) = (kept.history.reader(), first, Vec::new());
    while next <= last {
        let found =
            reader.query().fetch(stream, StreamId(1), (next, last), 0, 10_000, None).unwrap();
        assert!((next..=last).contains(&found.upto), "{next} {last} {}", found.upto);
        for body in found.bodies {
            let messages = batch::Reader::new(&body).unwrap().map(Result::unwrap);
            all.extend(messages.map(|message| (message.seq, message.wall_us)));
        }
        next = found.upto + 1;
    }
    all
}

#[test]
fn time_of_a_message_is_the_same_in_each_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (dev, kept) = (stream("dev"), open(dir.path()));
    let entries = (1..=50).map(|seq: u64| {
        // The clock is set back now and then.
        let wall_us = 1_000_000 * (seq % 7).cast_signed() - 500_000 * seq.cast_signed();
        Entry { wall_us, ..entry(&dev, seq, 5, "ann", "text") }
    });
    let entries: Vec<_> = entries.collect();
    let said: Vec<_> = entries.iter().map(|entry| (entry.seq, entry.wall_us)).collect();
    kept.commit(Vec::new(), entries).unwrap();
    for first in 1..=50 {
        assert_eq!(read_from(&kept, &dev, first, 50), said[first as usize - 1..]);
    }
}

#[test]
fn damaged_page_costs_only_its_own_messages() {
    let dir = tempfile::tempdir().unwrap();
    let (path, dev) = (dir.path().join("h.db"), stream("dev"));
    let kept = open(dir.path());
    let entries = (1..=5_000).map(|seq| entry(&dev, seq, 5, "ann", "some text")).collect();
    kept.commit(Vec::new(), entries).unwrap();
    drop(kept);
    let db = rusqlite::Connection::open(&path).unwrap();
    // Bytes that are not a text, in one row.
    let sql = "UPDATE messages SET text = CAST(x'ff' AS TEXT) WHERE seq = 4000";
    db.execute(sql, ()).unwrap();
    let page = |sql: &str| db.query_row(sql, (), |row| row.get::<_, u64>(0)).unwrap();
    let of_rows = "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf'
                   ORDER BY path LIMIT 1 OFFSET 20";
    let of_index = "SELECT pageno FROM dbstat WHERE name = 'messages_by_number'
                    AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 3";
    let pages = [page(of_rows), page(of_index)];
    drop(db);
    let mut bytes = std::fs::read(&path).unwrap();
    for page in pages {
        let at = (page as usize - 1) * 4096;
        bytes[at..at + 4096].fill(0xff);
    }
    std::fs::write(&path, bytes).unwrap();
    let kept = open(dir.path());
    let read: Vec<u64> = read_from(&kept, &dev, 1, 5_000).into_iter().map(|(seq, _)| seq).collect();
    assert!(read.is_sorted_by(|a, b| a < b) && read.last() == Some(&5_000));
    let lost: Vec<u64> = (1..=5_000).filter(|seq| !read.contains(seq)).collect();
    assert!(lost.contains(&4_000) && !lost.contains(&3_999) && !lost.contains(&4_001));
    assert!((10..1_000).contains(&lost.len()), "two pages of rows: {}", lost.len());
    let ends = lost.windows(2).filter(|pair| pair[0] + 1 < pair[1]).count();
    assert!(ends <= 2, "three places are damaged: {lost:?}");
}

#[test]
fn a_question_that_takes_too_long_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(dir.path());
    let long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                SELECT max(i) FROM n";
    let reader = kept.history.reader();
    let done = reader
        .query_within(Duration::from_millis(20))
        .with(|connection| connection.query_row(long, (), |row| row.get::<_, u64>(0)));
    assert!(matches!(done, Err(HistoryError::Slow)), "{done:?}");
    // The same connection answers the next one.
    assert_eq!(reader.query().oldest(&stream("dev")).unwrap(), None);
}

#[test]
fn a_lost_or_broken_note_does_not_take_the_epoch_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, dev) = (dir.path().join("h.db"), stream("dev"));
    let kept = open(dir.path());
    kept.commit(Vec::new(), vec![entry(&dev, 1, 5, "ann", "one")]).unwrap();
    drop(kept);
    let first = open(dir.path()).loaded.epoch;
    std::fs::write(path.with_extension("epoch"), format!("{} 99\n", first + 3)).unwrap();
    assert_eq!(open(dir.path()).loaded.epoch, first + 4, "an older database");
    for note in ["", "rubbish", "-1 5"] {
        std::fs::write(path.with_extension("epoch"), note).unwrap();
        assert_eq!(open(dir.path()).loaded.epoch, first + 4, "{note:?}");
    }
}

/// What a search for a word finds once everything is indexed.
pub(super) fn found(kept: &Kept, word: &str) -> usize {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while kept.history.indexed() < kept.history.newest_for_tests() {
        assert!(std::time::Instant::now() < until, "it is never indexed");
        std::thread::sleep(Duration::from_millis(5));
    }
    let query = SearchQuestion { text: word.to_owned(), limit: 100, ..SearchQuestion::default() };
    kept.history.reader().query().search(&query).unwrap().len()
}

#[test]
fn lost_damaged_or_foreign_index_is_rebuilt() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dev = stream("dev");
    for (dir, texts) in [(&other, ["elsewhere one", "elsewhere two"]), (&dir, ["needle", "hay"])] {
        let kept = open(dir.path());
        let entries = (1..).zip(texts).map(|(seq, text)| entry(&dev, seq, 5, "ann", text));
        kept.commit(Vec::new(), entries.collect()).unwrap();
        assert_eq!(found(&kept, texts[0]), 1);
    }
    let index = dir.path().join("search.db");
    let foreign = std::fs::read(other.path().join("search.db")).unwrap();
    let mut damaged = std::fs::read(&index).unwrap();
    for byte in damaged.iter_mut().skip(4096) {
        *byte ^= 0x5a;
    }
    for bytes in [None, Some(b"rubbish".to_vec()), Some(damaged), Some(foreign)] {
        match &bytes {
            None => std::fs::remove_file(&index).unwrap(),
            Some(bytes) => std::fs::write(&index, bytes).unwrap(),
        }
        let kept = open(dir.path());
        assert_eq!(found(&kept, "needle"), 1, "{:?}", bytes.map(|b| b.len()));
        assert_eq!(found(&kept, "elsewhere"), 0);
    }
}

#[test]
fn removed_message_leaves_the_index_and_its_note() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let kept = open(dir.path());
    let entries = (1..=50).map(|seq| entry(&dev, seq, 5, "ann", "needle in hay")).collect();
    kept.commit(Vec::new(), entries).unwrap();
    assert_eq!(found(&kept, "needle"), 50);
    kept.commit(vec![Record::RoomGone { name: room("dev"), head: 50 }], Vec::new()).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let count = |file: &str, sql: &str| {
        let db = rusqlite::Connection::open(dir.path().join(file)).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.query_row(sql, (), |row| row.get::<_, u64>(0)).unwrap()
    };
    let left = || {
        [
            count("h.db", "SELECT count(*) FROM messages"),
            count("h.db", "SELECT count(*) FROM removed"),
            count("search.db", "SELECT count(*) FROM search WHERE search MATCH 'needle'"),
            count("search.db", "SELECT coalesce(sum(value), 0) FROM facts WHERE key = 'purge'"),
        ]
    };
    while left() != [0; 4] {
        assert!(std::time::Instant::now() < until, "{:?}", left());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn full_disk_takes_the_index_and_the_history_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let kept = open(dir.path());
    kept.commit(Vec::new(), vec![entry(&dev, 1, 5, "ann", "needle")]).unwrap();
    assert_eq!(found(&kept, "needle"), 1);
    let index = dir.path().join("search.db");
    kept.history.fail_at(u64::MAX);
    kept.commit(Vec::new(), vec![entry(&dev, 2, 5, "ann", "more")]).unwrap_err();
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(std::time::Instant::now() < until, "never came: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    eventually("the index is gone", &|| !index.exists());
    let query = SearchQuestion { text: "needle".to_owned(), limit: 9, ..SearchQuestion::default() };
    assert_eq!(kept.history.reader().query().search(&query).unwrap().len(), 1, "without an index");
    assert!(kept.history.is_failing());
    kept.history.fail_at(0);
    // No sender has to find out.
    eventually("it can be written again", &|| !kept.history.is_failing());
    assert_eq!(found(&kept, "needle"), 1, "there is room for an index");
}

#[test]
fn an_older_database_put_back_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let dev = stream("dev");
    let kept = open(dir.path());
    let first = kept.loaded.epoch;
    kept.commit(Vec::new(), vec![entry(&dev, 1, 5, "ann", "one")]).unwrap();
    drop(kept);
    let copy = std::fs::read(dir.path().join("h.db")).unwrap();
    let kept = open(dir.path());
    assert_eq!(kept.loaded.epoch, first);
    kept.commit(Vec::new(), vec![entry(&dev, 2, 5, "ann", "two")]).unwrap();
    drop(kept);
    std::fs::write(dir.path().join("h.db"), copy).unwrap();
    assert_eq!(open(dir.path()).loaded.epoch, first + 1);
}
