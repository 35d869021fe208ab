//! Reports of a link: changes for its log, and counters.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crossbeam_channel::Sender;

use crate::{chat::names::HostName, limits::LINK_HOSTS_MAX};

/// Faults that are remembered at a time, so that each is reported once.
const FAULTS_MAX: usize = 4096;

/// Change of a link, for its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkReport {
    /// Everything is exported and imported from now on.
    Linked,
    /// A part of the link works again, or has a piece of information.
    Note(String),
    /// A part of the link fails, and is tried again.
    Warning(String),
}

/// Counters of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostCounts {
    /// Exported messages of this host; imported ones of another.
    pub messages: u64,
    /// Refused messages, batches and receipts.
    pub refused: u64,
    /// Times at which messages of the host were missing.
    pub gaps: u64,
    /// Time between the publication of the last batch at the carrier and its import, microseconds.
    pub lag_us: u64,
    /// True if its link was heard in the last seconds.
    pub reachable: bool,
}

/// Counters of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkCounts {
    /// Counters by host; those of this host count exports.
    pub hosts: BTreeMap<HostName, HostCounts>,
    /// True if the carrier is connected.
    pub connected: bool,
    /// Numbers that wait to be exported, of all rooms.
    pub waiting: u64,
}

/// The report of all threads of a link.
#[derive(Debug)]
pub(super) struct Reporter {
    to: Sender<LinkReport>,
    counts: Mutex<LinkCounts>,
    /// Last warning about each thing, so that a lasting fault is reported once.
    said: Mutex<BTreeMap<String, String>>,
}

impl Reporter {
    pub(super) fn new(to: Sender<LinkReport>) -> Self {
        Self { to, counts: Mutex::default(), said: Mutex::default() }
    }

    /// Reports a fault of a thing, unless it is the same as the last time.
    pub(super) fn warn(&self, thing: &str, why: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(thing).map(String::as_str) != Some(why) {
            // Other hosts name rooms and announcements, without a limit.
            if said.len() >= FAULTS_MAX && !said.contains_key(thing) {
                said.pop_first();
            }
            said.insert(thing.to_owned(), why.to_owned());
            self.send(LinkReport::Warning(format!("{thing}: {why}")));
        }
    }

    /// Reports that a thing works again, if it did not.
    pub(super) fn recovered(&self, thing: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.remove(thing).is_some() {
            self.send(LinkReport::Note(format!("{thing}: works again")));
        }
    }

    pub(super) fn send(&self, report: LinkReport) {
        // A full log loses reports, so that it does not delay the link.
        let _ = self.to.try_send(report);
    }

    /// Changes the counters.
    pub(super) fn count(&self, change: impl FnOnce(&mut LinkCounts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes the counters of a host. Hosts above the limit have none.
    pub(super) fn count_of(&self, host: &HostName, change: impl FnOnce(&mut HostCounts)) {
        self.count(|counts| {
            if counts.hosts.len() < LINK_HOSTS_MAX || counts.hosts.contains_key(host) {
                change(counts.hosts.entry(host.clone()).or_default());
            }
        });
    }

    pub(super) fn counts(&self) -> LinkCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_faults_without_end_fill_no_memory() {
        let (to, _reports) = crossbeam_channel::bounded(1);
        let reporter = Reporter::new(to);
        for n in 0..2 * FAULTS_MAX {
            reporter.warn(&format!("receipt for !{n}"), "no confirmation");
            let host = HostName::new(&format!("h{n}")).unwrap();
            reporter.count_of(&host, |counts| counts.refused += 1);
        }
        assert_eq!(reporter.said.lock().unwrap().len(), FAULTS_MAX);
        assert_eq!(reporter.counts().hosts.len(), LINK_HOSTS_MAX);
    }

    #[test]
    fn lasting_fault_is_reported_once() {
        let (to, reports) = crossbeam_channel::bounded(9);
        let reporter = Reporter::new(to);
        for _ in 0..3 {
            reporter.warn("dev", "full");
        }
        reporter.warn("dev", "denied");
        reporter.recovered("dev");
        reporter.recovered("dev");
        let all: Vec<_> = reports.try_iter().collect();
        assert_eq!(
            all,
            [
                LinkReport::Warning("dev: full".to_owned()),
                LinkReport::Warning("dev: denied".to_owned()),
                LinkReport::Note("dev: works again".to_owned()),
            ]
        );
    }
}
