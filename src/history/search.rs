//! Search: any script, by part of a word. Three characters and more by a trigram index, fewer by
//! looking.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::atomic::Ordering,
};

use caseless::Caseless;
use rusqlite::{Connection, Row, params};
use unicode_normalization::UnicodeNormalization;

use super::{
    damage::{Order, is_damaged, leap, one_by_one, pass_over},
    rows::{Encoder, Found, MESSAGES},
    schema::{KIND_CONVERSATION, KIND_ROOM},
};
use crate::{
    chat::{
        names::RoomName,
        store::{SearchQuestion, StreamKey},
        stream_id::StreamId,
    },
    history::stats::Shared,
    limits::{SEARCH_HITS_MAX, SEARCH_TRIGRAMS_MAX},
};

/// A message that was found.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Stream of the message.
    pub stream: StreamKey,
    /// Its id over all streams; rises with time.
    pub id: u64,
    /// A body with this message only.
    pub body: Vec<u8>,
}

/// The form in which texts are compared: NFC of the full case folding.
pub(super) fn folded(text: &str) -> String {
    // The index would end at a zero.
    let text = &text.replace('\0', " ");
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfd().default_case_fold().nfc().collect()
}

/// The parts of three characters that the words of a folded text have, each once. None has white
/// space, since the words of a search have none, or a control character, at which the tokenizer of
/// the index ends.
pub(super) fn trigrams(text: &str) -> BTreeSet<&str> {
    fn of_word(word: &str) -> impl Iterator<Item = &str> {
        let begins = word.char_indices().map(|(at, _)| at);
        let ends = begins.clone().skip(3).chain([word.len()]);
        begins.zip(ends).map(|(begin, end)| &word[begin..end])
    }
    let words = text.split_whitespace().filter(|word| word.chars().nth(2).is_some());
    words.flat_map(of_word).filter(|part| !part.contains(|c: char| c.is_ascii_control())).collect()
}

/// Streams by their id, each with the first number that is still to be found.
type SearchedStreams = HashMap<i64, (StreamKey, u64)>;

/// Streams that a user may search.
fn allowed(connection: &Connection, query: &SearchQuestion) -> rusqlite::Result<SearchedStreams> {
    let sql = "SELECT id, kind, key, name, first FROM streams WHERE gone = 0";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(())?;
    let mut streams = HashMap::new();
    while let Some(row) = rows.next()? {
        let key = match row.get(1)? {
            // What can't be read of one stream costs no other.
            KIND_ROOM => (row.get_ref(3)?.as_str().ok())
                .and_then(|name| RoomName::existing(name).ok())
                .filter(|room| !query.hidden.contains(room))
                .map(StreamKey::Room),
            KIND_CONVERSATION => {
                let pair = row.get_ref(2)?.as_str().ok().and_then(|key| key.split_once(' '));
                let pair =
                    pair.and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
                pair.filter(|(low, high)| *low == query.uid || *high == query.uid)
                    .map(|(low, high)| StreamKey::Conversation(low, high))
            }
            // Announcements are found where they are listed.
            _ => None,
        };
        let key = key.filter(|key| query.stream.as_ref().is_none_or(|only| only == key));
        if let (Some(key), Ok(first)) = (key, row.get(4)) {
            streams.insert(row.get(0)?, (key, first));
        }
    }
    Ok(streams)
}

pub(super) fn search(
    connection: &Connection,
    query: &SearchQuestion,
    index: &Path,
    shared: &Shared,
) -> rusqlite::Result<Vec<Hit>> {
    let text = folded(&query.text);
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let long: Vec<String> = trigrams(&text)
        .into_iter()
        .take(SEARCH_TRIGRAMS_MAX)
        .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
        .collect();
    // Without the index, whatever is wrong with it, everything is looked through.
    let attached =
        !long.is_empty() && shared.indexed.load(Ordering::Relaxed) > 0 && attach(connection, index);
    let long = attached.then(|| long.join(" AND "));
    let hits = find(connection, query, &words, long.as_deref(), shared);
    if attached {
        // An index that is removed gives its space back once no connection has it open.
        let _ = connection.execute("DETACH DATABASE found", ());
    }
    hits
}

/// Finds messages, those that have `long` words by the attached index.
fn find(
    connection: &Connection,
    query: &SearchQuestion,
    words: &[&str],
    long: Option<&str>,
    shared: &Shared,
) -> rusqlite::Result<Vec<Hit>> {
    let limit = (query.limit as usize).min(SEARCH_HITS_MAX);
    let before = match query.before {
        0 => i64::MAX,
        before => i64::try_from(before).unwrap_or(i64::MAX),
    };
    // One view of messages and index: up to which message it knows them is asked of this very
    // index, since another one may just have taken its place.
    let view = connection.unchecked_transaction()?;
    let streams = allowed(&view, query)?;
    if streams.is_empty() {
        return Ok(Vec::new());
    }
    let mut search = RunningSearch { streams, query, words, hits: Vec::new(), limit, shared };
    let found = match long {
        Some(long) => search.by_index(&view, long, before),
        None => search.look_through(&view, 0, before),
    };
    if let Err(e) = found {
        // Damage of the messages was passed over: this is of the index.
        if long.is_none() || !is_damaged(&e) {
            return Err(e);
        }
        shared.index_damaged.store(true, Ordering::Relaxed);
        search.hits.clear();
        search.look_through(&view, 0, before)?;
    }
    let mut hits = search.hits;
    hits.reverse();
    Ok(hits)
}

/// Has the index at hand as `found`; false if that can't be.
fn attach(connection: &Connection, index: &Path) -> bool {
    let sql = "SELECT count(*) FROM pragma_database_list WHERE name = 'found'";
    if connection.query_row(sql, (), |row| row.get::<_, i64>(0)).is_ok_and(|n| n > 0) {
        // It may have been rebuilt since.
        let _ = connection.execute("DETACH DATABASE found", ());
    }
    let path = index.to_str();
    path.is_some_and(|path| connection.execute("ATTACH DATABASE ? AS found", [path]).is_ok())
}

struct RunningSearch<'a> {
    streams: SearchedStreams,
    query: &'a SearchQuestion,
    words: &'a [&'a str],
    hits: Vec<Hit>,
    limit: usize,
    shared: &'a Shared,
}

impl RunningSearch<'_> {
    /// Finds messages that are not in the index yet, and then those in the index.
    fn by_index(
        &mut self,
        connection: &Connection,
        words: &str,
        before: i64,
    ) -> rusqlite::Result<()> {
        let sql = "SELECT coalesce(max(value), 0) FROM found.facts WHERE key = 'indexed'";
        let indexed = connection.query_row(sql, (), |row| row.get(0))?;
        self.look_through(connection, indexed, before)?;
        self.look_up(connection, words, before, indexed)
    }

    /// Finds messages newer than `after`, newest first, without the index.
    fn look_through(
        &mut self,
        connection: &Connection,
        after: i64,
        before: i64,
    ) -> rusqlite::Result<()> {
        let sql = format!("{MESSAGES} WHERE m.id BETWEEN ?1 AND ?2 ORDER BY m.id DESC");
        let mut statement = connection.prepare_cached(&sql)?;
        let shared = self.shared;
        let newest = shared.newest.load(Ordering::SeqCst).cast_signed();
        let (mut next, last) = (-newest.min(before - 1), -(after + 1));
        while next <= last && !self.is_full() {
            let read = |next: &mut i64, last: i64| {
                let mut rows = statement.query(params![-last, -*next])?;
                while !self.is_full() {
                    let Some(row) = rows.next()? else {
                        *next = last + 1;
                        break;
                    };
                    *next = -row.get::<_, i64>(14)?;
                    self.take(row)?;
                    *next += 1;
                }
                Ok(())
            };
            let leap = |bad, last| leap(connection, Order::NewestFirst, bad, last);
            pass_over(&shared.damage, &mut next, last, read, leap)?;
        }
        Ok(())
    }

    /// Finds messages as old as `indexed` or older, with the index.
    fn look_up(
        &mut self,
        connection: &Connection,
        words: &str,
        before: i64,
        indexed: i64,
    ) -> rusqlite::Result<()> {
        let sql =
            "SELECT rowid FROM found.search WHERE search MATCH ?1 AND rowid < ?2 AND rowid <= ?3
                   ORDER BY rowid DESC";
        let mut matches = connection.prepare(sql)?;
        let mut ids = matches.query(params![words, before, indexed])?;
        let one = format!("{MESSAGES} WHERE m.id = ?");
        let mut one = connection.prepare_cached(&one)?;
        let shared = self.shared;
        while let Some(id) = ids.next()? {
            if self.is_full() {
                break;
            }
            let id: i64 = id.get(0)?;
            let read = |_: &mut i64, _| match one.query([id])?.next()? {
                Some(row) => self.take(row),
                None => Ok(()),
            };
            pass_over(&shared.damage, &mut id.clone(), id, read, one_by_one)?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.hits.len() >= self.limit
    }

    /// Takes a row if it fits.
    fn take(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        if self.query.since_us.is_some_and(|since| row.get(1).is_ok_and(|ts: i64| ts < since)) {
            // Ids rise with time, but clocks are set back now and then: go on looking.
            return Ok(());
        }
        let Some((stream, first)) = self.streams.get(&row.get(13)?) else { return Ok(()) };
        if row.get::<_, u64>(0)? < *first
            || self.query.from_uid.is_some_and(|uid| row.get(8) != Ok(uid))
            || self.query.from_remote.as_ref().is_some_and(|user| {
                row.get_ref(11).ok().and_then(|name| name.as_str().ok()) != Some(user.as_str())
            })
            || !self.has_all_words(row.get_ref(6)?.as_str()?)
        {
            return Ok(());
        }
        let mut encoder = Encoder::new(StreamId(0), 0, None);
        encoder.push(row)?;
        let Found { mut bodies, .. } = encoder.finish();
        if let Some(body) = bodies.pop() {
            self.hits.push(Hit { stream: stream.clone(), id: row.get(14)?, body });
        }
        Ok(())
    }

    fn has_all_words(&self, text: &str) -> bool {
        let text = folded(text);
        self.words.iter().all(|word| text.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::{entry, found, open, stream};

    #[test]
    fn trigrams_are_of_words_and_each_once() {
        for (text, parts) in [
            ("", vec![]),
            ("ab cd", vec![]),
            ("abc", vec!["abc"]),
            ("abcabc ab bca", vec!["abc", "bca", "cab"]),
            ("日本語だ", vec!["日本語", "本語だ"]),
            ("a\u{1}bcde", vec!["bcd", "cde"]),
            ("a\"'b", vec!["\"'b", "a\"'"]),
        ] {
            assert_eq!(trigrams(text).into_iter().collect::<Vec<_>>(), parts, "{text:?}");
        }
    }

    #[test]
    fn search_by_trigrams_finds_whole_words_only() {
        let dir = tempfile::tempdir().unwrap();
        let kept = open(dir.path());
        let long = "x".repeat(40) + &('a'..='z').chain('0'..='9').collect::<String>().repeat(3);
        let texts = [
            "abcd",
            "abc bcd",
            "abcdef",
            "it's \"quoted\" (and) {more} a*b^c:d",
            "日本語だよ",
            "Straße",
            "a\u{1}bcde",
            "zero\0inside",
            &long,
        ];
        let entries = (1..).zip(texts).map(|(seq, text)| entry(&stream("dev"), seq, 5, "a", text));
        kept.commit(Vec::new(), entries.collect()).unwrap();
        for (word, hits) in [
            ("abcd", 3),
            ("bcd abc", 4),
            ("ABCDEF", 2),
            ("\"quoted\"", 1),
            ("it's (and)", 1),
            ("a*b^c:d", 1),
            ("{more}", 1),
            ("本語だ", 1),
            ("strasse", 1),
            ("a\u{1}bc", 1),
            ("inside", 1),
            ("AND", 1),
            (&long, 1),
            (&(long.clone() + "y"), 0),
            ("nothing", 0),
        ] {
            assert_eq!(found(&kept, word), hits, "{word:?}");
        }
    }
}
