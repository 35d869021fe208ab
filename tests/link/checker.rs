//! The checker across hosts. It knows what was sent and acknowledged, asks each server for its
//! history, and shares no code with the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    process::{Process, holds_within},
    world::{Host, World},
};

/// Maximum time until all hosts agree after everything works again.
const AGREE_WITHIN: Duration = Duration::from_secs(120);
/// Differences in one report.
const SHOWN_MAX: usize = 12;

/// Texts of one writer: all that were given to it, and how many of those were acknowledged.
#[derive(Debug, Default, Clone)]
struct WriterTexts {
    sent: Vec<String>,
    acked: usize,
}

/// A sender that sends unique texts until it is told to end.
pub struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<WriterTexts>>,
    thread: Option<JoinHandle<()>>,
    host: String,
    room: String,
    /// All texts of this writer begin with it.
    prefix: String,
}

impl Writer {
    /// Begins to write on a host: texts `NAME-1`, `NAME-2` …, with a pause between two.
    pub fn begin(host: &Host, room: &str, name: &str, pause: Duration) -> Self {
        let mut process = host.begin(&["--json", "send", "--lines", room]);
        let stop = Arc::<AtomicBool>::default();
        let written = Arc::<Mutex<WriterTexts>>::default();
        let prefix = format!("{}-{name}-", host.name);
        let (ends, kept, begin) = (Arc::clone(&stop), Arc::clone(&written), prefix.clone());
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                number += 1;
                let text = format!("{begin}{number}");
                // Before it is sent: what is acknowledged was sent.
                kept.lock().unwrap().sent.push(text.clone());
                assert!(process.say(&text), "a writer ended: {}", process.errors());
                count_acks(&mut process, &kept, pause);
            }
            // The sender ends once all its texts are acknowledged.
            process.input = None;
            while let Ok(line) = process.line_within(AGREE_WITHIN) {
                count_ack(&line, &kept);
            }
            assert_eq!(process.code(), 0, "a writer failed: {}", process.errors());
        });
        let (host, room) = (host.name.clone(), room.to_owned());
        Self { stop, written, thread: Some(thread), host, room, prefix }
    }

    /// Number of acknowledged texts so far.
    pub fn acked(&self) -> usize {
        self.written.lock().unwrap().acked
    }

    /// Waits until so many more texts are acknowledged.
    #[track_caller]
    pub fn progress(&self, more: usize) {
        let wanted = self.acked() + more;
        super::process::eventually(&format!("{more} more texts of {}", self.prefix), || {
            self.acked() >= wanted || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
        });
    }

    /// Ends the writer once all its texts are acknowledged.
    #[track_caller]
    pub fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn count_acks(process: &mut Process, written: &Mutex<WriterTexts>, within: Duration) {
    if let Ok(line) = process.line_within(within) {
        count_ack(&line, written);
    }
    process.rest().iter().for_each(|line| count_ack(line, written));
}

fn count_ack(line: &str, written: &Mutex<WriterTexts>) {
    let object: serde_json::Value = serde_json::from_str(line).expect(line);
    match object["type"].as_str() {
        Some("sent") => written.lock().unwrap().acked += 1,
        other => panic!("expected only acknowledgments, not {other:?}: {line}"),
    }
}

/// Texts of one room on one host, by the host that they came from, in order.
type ByOrigin = BTreeMap<String, Vec<String>>;

fn by_origin(host: &Host, room: &str) -> Option<ByOrigin> {
    let done = host.run(&["--json", "history", room]);
    if done.code != 0 {
        return None;
    }
    let mut all = ByOrigin::new();
    for message in done.objects() {
        let from = message["origin"]["host"].as_str().unwrap_or(&host.name);
        let user = message["from"]["user"].as_str().unwrap_or_default();
        let is_remote = user.strip_suffix(from).is_some_and(|user| user.ends_with('@'));
        assert_eq!(is_remote, from != host.name, "a user and its origin differ: {message}");
        let text = message["text"].as_str().expect("a text").to_owned();
        all.entry(from.to_owned()).or_default().push(text);
    }
    Some(all)
}

/// Waits until all hosts have the same messages of each host, and checks them: every acknowledged
/// text is everywhere once, no text appears that was not sent, and those of each host are in
/// its own order everywhere.
#[track_caller]
pub fn check(world: &World, writers: &mut [Writer]) {
    writers.iter_mut().for_each(Writer::end);
    let rooms: BTreeSet<_> = writers.iter().map(|writer| writer.room.clone()).collect();
    for room in rooms {
        let mut found = Vec::new();
        let agree = holds_within(AGREE_WITHIN, || {
            found = differences(world, &room, writers);
            found.is_empty()
        });
        let count = found.len();
        found.truncate(SHOWN_MAX);
        assert!(agree, "{count} differences in {room}:\n{}", found.join("\n"));
    }
}

fn differences(world: &World, room: &str, writers: &[Writer]) -> Vec<String> {
    let mut found = Vec::new();
    let mut all: BTreeMap<&str, ByOrigin> = BTreeMap::new();
    for host in &world.hosts {
        match by_origin(host, room) {
            Some(texts) => drop(all.insert(&host.name, texts)),
            None => found.push(format!("{} has no history of {room}", host.name)),
        }
    }
    for writer in writers.iter().filter(|writer| writer.room == room) {
        let written = writer.written.lock().unwrap().clone();
        let sent: BTreeSet<&str> = written.sent.iter().map(String::as_str).collect();
        for (host, texts) in &all {
            let of_writer: Vec<&str> = texts
                .get(&writer.host)
                .into_iter()
                .flatten()
                .map(String::as_str)
                .filter(|text| text.starts_with(&writer.prefix))
                .collect();
            let here: BTreeSet<&str> = of_writer.iter().copied().collect();
            let acked = &written.sent[..written.acked];
            let missing: Vec<_> =
                acked.iter().filter(|text| !here.contains(text.as_str())).collect();
            if let [first, .., last] | [first @ last] = &missing[..] {
                let count = missing.len();
                found.push(format!("{host} lacks {count} acknowledged texts, {first} to {last}"));
            }
            if here.len() != of_writer.len() {
                let count = of_writer.len() - here.len();
                found.push(format!("{host} has {count} texts of {} twice", writer.prefix));
            }
            found.extend(here.difference(&sent).map(|text| format!("{host}: {text} was not sent")));
            let number = |text: &&str| text[writer.prefix.len()..].parse::<u64>().unwrap_or(0);
            if !of_writer.is_sorted_by_key(number) {
                found.push(format!("{host} has texts of {} in another order", writer.prefix));
            }
        }
    }
    for origin in &world.hosts {
        let Some(own) = all.get(origin.name.as_str()).and_then(|of| of.get(&origin.name)) else {
            continue;
        };
        for (host, texts) in &all {
            let theirs = texts.get(&origin.name).map_or(&[][..], Vec::as_slice);
            let at = own.iter().zip(theirs).position(|(a, b)| a != b);
            let at = at.unwrap_or(own.len().min(theirs.len()));
            if theirs != own {
                let name = &origin.name;
                let (here, there) = (own.get(at), theirs.get(at));
                found.push(format!(
                    "message {at} of {name}: {here:?} there and {there:?} on {host} ({} and {})",
                    own.len(),
                    theirs.len()
                ));
            }
        }
    }
    found
}
