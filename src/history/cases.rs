//! Damaged pages, and clocks that go wrong.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::tests::{Kept, entry, found, open, open_with, read_from, room, stream};
use crate::{
    chat::{
        names::Label,
        store::{Entry, Record, SearchQuestion, StreamKey},
    },
    history::connection::Retention,
    limits::HISTORY_EARLIEST_US,
    os,
};

const HOUR: Duration = Duration::from_secs(3_600);
const HOUR_US: i64 = 3_600_000_000;

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn keep(keep: Duration) -> Retention {
    Retention { keep: Some(keep), bytes_max: None }
}

/// Messages of one stream, of these times.
fn at(stream: &StreamKey, first: u64, times_us: impl IntoIterator<Item = i64>) -> Vec<Entry> {
    let entries = (first..).zip(times_us).map(|(seq, wall_us)| {
        let text = "some text of a message";
        Entry { wall_us, ..entry(stream, seq, 5, "ann", text) }
    });
    entries.collect()
}

/// Overwrites leaf pages of a table or an index, and returns the ids of a table's lost rows.
fn damage(dir: &Path, name: &str, leaves: &[usize]) -> BTreeSet<u64> {
    let path = dir.join("h.db");
    let (pages, all) = {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let list = |sql: &str| -> Vec<u64> {
            let mut rows = db.prepare(sql).unwrap();
            rows.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let pages = format!(
            "SELECT pageno FROM dbstat WHERE name = '{name}' AND pagetype = 'leaf' ORDER BY path"
        );
        (list(&pages), list("SELECT id FROM messages NOT INDEXED"))
    };
    let mut bytes = std::fs::read(&path).unwrap();
    for leaf in leaves {
        bytes[(pages[*leaf] as usize - 1) * 4096..][..4096].fill(0xff);
    }
    std::fs::write(&path, bytes).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let mut one = db.prepare("SELECT ts FROM messages WHERE id = ?").unwrap();
    all.into_iter().filter(|id| one.exists([id]).is_err()).collect()
}

/// Changes a history that no server has open.
fn execute(dir: &Path, sql: &str) {
    let db = rusqlite::Connection::open(dir.join("h.db")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db.execute_batch(sql).unwrap();
}

fn search(kept: &Kept, text: &str) -> usize {
    let query =
        SearchQuestion { text: text.to_owned(), limit: 10_000, ..SearchQuestion::default() };
    kept.history.reader().query().search(&query).unwrap().len()
}

fn numbers(kept: &Kept, stream: &StreamKey, last: u64) -> Vec<u64> {
    read_from(kept, stream, 1, last).into_iter().map(|(seq, _)| seq).collect()
}

#[test]
fn damaged_rows_are_passed_over_by_index_search_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (dev, ops) = (stream("dev"), stream("ops"));
    let kept = open(dir.path());
    kept.commit(Vec::new(), at(&dev, 1, (0..4_000).map(|n| n * 1_000_000))).unwrap();
    kept.commit(Vec::new(), at(&ops, 1, 0..10)).unwrap();
    drop(kept);
    // Ids begin high, as after a year of retention.
    let far = "UPDATE messages SET id = id + 100000000; UPDATE senders SET last = last + 100000000;
               UPDATE messages SET text = CAST(x'ff' AS TEXT) WHERE id IN (100000900, 100000902);
               DELETE FROM messages WHERE id BETWEEN 100002000 AND 100002900";
    execute(dir.path(), far);
    let lost = damage(dir.path(), "messages", &[0, 3, 4, 20]);
    assert!(lost.contains(&100_000_001) && lost.len() > 100, "{lost:?}");
    std::fs::remove_file(dir.path().join("search.db")).unwrap();
    let kept = open(dir.path());
    let left = 4_010 - 2 - 901 - lost.len();
    // Indexed to the end, by an index that is not replaced again and again.
    assert_eq!(found(&kept, "message"), 100);
    assert_eq!(search(&kept, "message"), left);
    assert_eq!(search(&kept, "of"), left, "without the index");
    eventually("the index is made once", || {
        kept.history.indexed() == kept.history.newest_for_tests()
    });
    assert!(!kept.history.shared().index_damaged.load(std::sync::atomic::Ordering::SeqCst));
    let reader = kept.history.reader();
    let unread = |stream| reader.query().unread(stream, 0, (9, None), "nobody").unwrap().0;
    assert_eq!((unread(&dev) as usize, unread(&ops)), (left - 10, 10));
    let times = [(0, 1), (1_000_000_000, 1_001), (3_999_000_000, 4_000), (i64::MAX, 4_001)];
    for (wall_us, number) in times {
        let found = reader.query().number_at(&dev, wall_us).unwrap();
        assert!(number - found.min(number) < 500, "{wall_us}: {found}, not {number}");
    }
    assert_eq!(numbers(&kept, &dev, 4_000).len(), left - 10);
    assert_eq!(kept.history.troubles().len(), 1);
}

#[test]
fn damaged_table_of_notes_keeps_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(dir.path());
    kept.commit(Vec::new(), at(&stream("dev"), 1, 0..10)).unwrap();
    drop(kept);
    execute(dir.path(), "INSERT INTO removed VALUES (1)");
    let db = rusqlite::Connection::open(dir.path().join("h.db")).unwrap();
    let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'removed'";
    let page = db.query_row(sql, (), |row| row.get::<_, usize>(0)).unwrap();
    drop(db);
    let mut bytes = std::fs::read(dir.path().join("h.db")).unwrap();
    bytes[(page - 1) * 4096..][..4096].fill(0xff);
    std::fs::write(dir.path().join("h.db"), bytes).unwrap();
    let kept = open(dir.path());
    assert_eq!(found(&kept, "message"), 10);
}

#[test]
fn retention_goes_on_behind_damaged_pages() {
    let now_us = os::wall_us();
    let (dev, ops) = (stream("dev"), stream("ops"));
    for (name, leaves) in [("messages", vec![0, 1, 7]), ("messages_by_number", vec![0, 2])] {
        for by_age in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let kept = open(dir.path());
            kept.commit(Vec::new(), at(&dev, 1, (0..3_000).map(|n| now_us - 2 * HOUR_US + n)))
                .unwrap();
            kept.commit(Vec::new(), at(&ops, 1, (0..100).map(|n| now_us + n))).unwrap();
            drop(kept);
            let lost = damage(dir.path(), name, &leaves);
            assert_eq!(lost.is_empty(), name != "messages");
            let by_size = Retention { keep: None, bytes_max: Some(200_000) };
            let kept = open_with(dir.path(), if by_age { keep(HOUR) } else { by_size });
            assert!(kept.history.messages() <= 3_100, "{}", kept.history.messages());
            let what = format!("{name} {by_age}: the young are left alone");
            if by_age {
                eventually(&what, || numbers(&kept, &dev, 3_000).is_empty());
                assert_eq!(numbers(&kept, &ops, 100).len(), 100);
            } else {
                eventually(&what, || {
                    numbers(&kept, &dev, 3_000).first().is_none_or(|n| *n > 1_500)
                });
            }
            let troubles = kept.history.troubles();
            assert!(troubles.len() == 1 && troubles[0].contains("is damaged"), "{troubles:?}");
            // What comes is still stored.
            kept.commit(Vec::new(), at(&ops, 101, [now_us])).unwrap();
        }
    }
}

#[test]
fn deleted_room_with_damaged_pages_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (dev, ops) = (stream("dev"), stream("ops"));
    let kept = open(dir.path());
    kept.commit(Vec::new(), at(&dev, 1, 0..3_000)).unwrap();
    kept.commit(Vec::new(), at(&ops, 1, 0..10)).unwrap();
    drop(kept);
    let lost = damage(dir.path(), "messages", &[5, 12]);
    let kept = open(dir.path());
    kept.commit(vec![Record::RoomGone { name: room("dev"), head: 3_000 }], Vec::new()).unwrap();
    let db = rusqlite::Connection::open(dir.path().join("h.db")).unwrap();
    let number = |sql: &str| db.query_row(sql, (), |row| row.get::<_, usize>(0)).unwrap();
    eventually("the room is removed", || number("SELECT sum(purge) FROM streams") == 0);
    let left = number("SELECT count(*) FROM messages INDEXED BY messages_by_number WHERE seq > 10");
    // The rows of pages beside damaged ones may stay: such pages can't be merged.
    assert!((lost.len()..4 * lost.len()).contains(&left), "{left} of {}", lost.len());
    assert_eq!(numbers(&kept, &ops, 10).len(), 10);
}

#[test]
fn failure_of_retention_is_reported_until_it_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open_with(dir.path(), keep(HOUR));
    execute(dir.path(), "ALTER TABLE removed RENAME TO elsewhere");
    let now_us = os::wall_us();
    let times = [now_us - 2 * HOUR_US, now_us];
    kept.commit(Vec::new(), at(&stream("dev"), 1, times)).unwrap();
    eventually("it is reported", || {
        kept.history.troubles().iter().any(|what| what.contains("can't be removed"))
    });
    execute(dir.path(), "ALTER TABLE elsewhere RENAME TO removed");
    eventually("it is removed", || kept.history.messages() == 1);
    eventually("it is over", || kept.history.troubles().is_empty());
}

#[test]
fn messages_of_a_clock_that_was_ahead_go_with_those_behind_them() {
    let now_us = os::wall_us();
    let (old, young) = (now_us - 2 * HOUR_US, now_us - HOUR_US / 2);
    let many = |us: i64, count: usize| std::iter::repeat_n(us, count);
    for ahead in [1, 600] {
        let dir = tempfile::tempdir().unwrap();
        let dev = stream("dev");
        let kept = open_with(dir.path(), keep(HOUR));
        // The first ones were looked at before the others came.
        kept.commit(Vec::new(), at(&dev, 1, many(young, ahead))).unwrap();
        let looks = &kept.history.shared().retained;
        let before = looks.load(std::sync::atomic::Ordering::SeqCst);
        eventually("a look", || looks.load(std::sync::atomic::Ordering::SeqCst) > before + 1);
        let rest = many(old, ahead).chain(many(young, 50));
        kept.commit(Vec::new(), at(&dev, ahead as u64 + 1, rest)).unwrap();
        eventually("the old ones go", || kept.history.messages() == 50);
        let left = numbers(&kept, &dev, 2 * ahead as u64 + 50);
        assert_eq!(left.len(), 50);
    }
}

#[test]
fn one_wrong_reading_of_the_clock_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (dev, now_us) = (stream("dev"), os::wall_us());
    let count = |kept: &Kept| numbers(kept, &dev, 1_000).len();
    let kept = open_with(dir.path(), keep(HOUR));
    let look = |kept: &Kept| {
        let looks = || kept.history.shared().retained.load(std::sync::atomic::Ordering::SeqCst);
        let before = looks();
        eventually("a look", || looks() > before + 2);
    };
    kept.commit(Vec::new(), at(&dev, 1, (0..500).map(|n| now_us - 500 + n))).unwrap();
    look(&kept);
    let ahead_s = &kept.history.shared().ahead_s;
    ahead_s.store(70 * 365 * 86_400, std::sync::atomic::Ordering::SeqCst);
    look(&kept);
    // One that was said meanwhile proves nothing.
    let far_us = now_us + 70 * 365 * 24 * HOUR_US;
    kept.commit(Vec::new(), at(&dev, 501, [far_us])).unwrap();
    look(&kept);
    assert_eq!(count(&kept), 501);
    ahead_s.store(0, std::sync::atomic::Ordering::SeqCst);
    look(&kept);
    assert_eq!(count(&kept), 501);
    drop(kept);
    // Nor does the first reading of a server that begins.
    execute(dir.path(), &format!("UPDATE messages SET ts = ts - {}", 30 * HOUR_US));
    let db = rusqlite::Connection::open(dir.path().join("h.db")).unwrap();
    db.execute("DELETE FROM messages WHERE seq = 501", ()).unwrap();
    let kept = open_with(dir.path(), keep(HOUR));
    look(&kept);
    assert_eq!(count(&kept), 500);
}

#[test]
fn number_at_follows_one_rule_whatever_the_clocks() {
    let mut random = 7_u64;
    let mut roll = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for round in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let (dev, kept) = (stream("dev"), open(dir.path()));
        let mut time = 1_000;
        let times: Vec<i64> = (0..1 + roll(60))
            .map(|_| {
                // Set back and ahead more or less often.
                time += match roll(2 + round) {
                    0 => roll(100).cast_signed() - 60,
                    _ => roll(10).cast_signed(),
                };
                time
            })
            .collect();
        kept.commit(Vec::new(), at(&dev, 1, times.iter().copied())).unwrap();
        let reader = kept.history.reader();
        for wall_us in 900..1_400 {
            let later = |first: usize| times[first..].iter().all(|ts| *ts >= wall_us);
            let slow = (0..times.len()).find(|first| later(*first)).unwrap_or(times.len());
            let number = reader.query().number_at(&dev, wall_us).unwrap();
            assert_eq!(number, slow as u64 + 1, "{wall_us} {times:?}");
        }
    }
}

#[test]
fn one_question_has_one_deadline_and_one_number_of_looks() {
    let dir = tempfile::tempdir().unwrap();
    let (dev, ops) = (stream("dev"), stream("ops"));
    let kept = open(dir.path());
    let own = |stream: &StreamKey| {
        let own = at(stream, 1, 0..100).into_iter();
        let mut own: Vec<_> = own.collect();
        own.extend(at(stream, 101, 0..1).into_iter().map(|of| {
            let mut from = (*of.from).clone();
            (from.uid, from.label) = (2, Label::new("bot").ok());
            from.session = crate::chat::member::SessionId(6);
            Entry { from: Arc::new(from), ..of }
        }));
        own
    };
    kept.commit(Vec::new(), own(&dev)).unwrap();
    kept.commit(Vec::new(), own(&ops)).unwrap();
    let reader = kept.history.reader();
    let unread = |query: &super::Query<'_>, of| query.unread(of, 0, (1, None), "nobody").ok();
    let query = reader.query();
    assert_eq!((unread(&query, &dev), unread(&query, &ops)), (Some((1, 0)), Some((1, 0))));
    // Own messages that are looked at count: the rest goes by its numbers.
    query.looks.set(101 + 40);
    assert_eq!((unread(&query, &dev), unread(&query, &ops)), (Some((1, 0)), Some((61, 0))));
    let late = reader.query_within(Duration::ZERO);
    assert_eq!(unread(&late, &dev), None);
    assert!(late.number_at(&dev, 0).is_err() && late.oldest(&dev).is_err());
}

#[test]
fn earliest_time_is_before_this_program() {
    assert!(HISTORY_EARLIEST_US < os::wall_us());
}
