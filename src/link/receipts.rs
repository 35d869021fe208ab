//! Receipts of announcements between hosts: those of this host for announcements of others, and
//! those of others for announcements of this one.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    batch::{self, HostReceipt},
    carrier::{Carrier, ExportCursor},
    local::{LocalError, LocalSession},
    report::Reporter,
    subject,
};
use crate::{
    chat::{
        linked::{LinkRequest, LinkedStream, RemoteReceipt},
        message::AnnouncementId,
        names::HostName,
        reply::{ReceiptInfo, Reply},
        request::Request,
    },
    limits::LINK_RECEIPTS_FOLLOWED_MAX,
    os,
};

/// Interval between looks at receipts that may change: at first, and after a minute.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Maximum wait for the carrier.
const PUBLISH_WITHIN: Duration = Duration::from_secs(2);
/// Maximum number of receipts examined in one tick.
const LOOKS_PER_TICK: usize = 16;
/// Time for which a receipt is followed.
const FOLLOWED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// An announcement of another host, whose receipt is sent there.
#[derive(Debug)]
struct FollowedReceipt {
    origin: HostName,
    /// Its number there.
    number: u64,
    /// Its number here; none until it is known.
    here: Option<u64>,
    /// True if it is for members of this host.
    is_for_here: bool,
    since: Instant,
    look_at: Instant,
    said: Option<HostReceipt>,
    /// Sequence of the last receipt on the subject; none if it is not known.
    expected: Option<u64>,
}

/// All followed receipts. See the head of this file.
#[derive(Debug)]
pub(super) struct Receipts {
    host: HostName,
    followed: VecDeque<FollowedReceipt>,
}

impl Receipts {
    pub(super) fn new(host: HostName) -> Self {
        Self { host, followed: VecDeque::new() }
    }

    /// Follows an imported announcement. `is_for_here`: it is for members of this host.
    pub(super) fn follow(&mut self, origin: &HostName, number: u64, is_for_here: bool) {
        if self.followed.iter().any(|of| of.origin == *origin && of.number == number) {
            return;
        }
        if self.followed.len() >= LINK_RECEIPTS_FOLLOWED_MAX {
            self.followed.pop_front();
        }
        let now = Instant::now();
        self.followed.push_back(FollowedReceipt {
            origin: origin.clone(),
            number,
            here: None,
            is_for_here,
            since: now,
            look_at: now,
            said: None,
            expected: None,
        });
    }

    /// Follows the announcements of other hosts that were announced before this link began.
    pub(super) fn resume(&mut self, local: &mut LocalSession) -> Result<(), LocalError> {
        let mut skip = 0;
        loop {
            let Reply::Notices { notices, more } = local.ask(&Request::Notices { skip })? else {
                return Ok(());
            };
            skip += u32::try_from(notices.len()).unwrap_or(u32::MAX);
            for notice in &notices {
                let host = notice.from.user.host().and_then(|host| HostName::new(host).ok());
                if let (Some(host), Some(number)) = (host, notice.origin) {
                    self.follow(&host, number, true);
                }
            }
            if !more || notices.is_empty() || self.followed.len() >= LINK_RECEIPTS_FOLLOWED_MAX {
                return Ok(());
            }
        }
    }

    /// Forgets the published receipts: the stream at the carrier is another one.
    pub(super) fn reset(&mut self) {
        for of in &mut self.followed {
            (of.said, of.expected) = (None, None);
        }
    }

    /// Passes on a receipt of another host for an announcement of this one.
    pub(super) fn take(
        &mut self,
        local: &mut LocalSession,
        number: u64,
        host: &HostName,
        receipt: &HostReceipt,
        reporter: &Reporter,
    ) {
        let receipt = receipt.receipt;
        let request = LinkRequest::Receipt { number, host: host.clone(), receipt };
        if let Err(e) = local.ask(&Request::Link(request)) {
            // It comes again after each change; the server may have removed the announcement.
            if let LocalError::Lost(_) = e {
                reporter.warn(&format!("receipt of {host}"), &e.to_string());
            }
        }
    }

    /// Publishes the receipts that changed.
    pub(super) fn publish(
        &mut self,
        local: &mut LocalSession,
        carrier: &Carrier,
        runtime: &Handle,
        reporter: &Reporter,
    ) {
        let now = Instant::now();
        self.followed.retain(|of| now.duration_since(of.since) < FOLLOWED_FOR);
        let due = self.followed.iter_mut().filter(|of| of.look_at <= now);
        for of in due.take(LOOKS_PER_TICK) {
            let is_young = now.duration_since(of.since) < Duration::from_secs(60);
            of.look_at = now + if is_young { LOOK_EVERY.0 } else { LOOK_EVERY.1 };
            let name = format!("receipt for !{} of {}", of.number, of.origin);
            match of.receipt(local) {
                Ok(Some(receipt)) if of.said.as_ref() != Some(&receipt) => {
                    match of.say(&self.host, &receipt, carrier, runtime) {
                        Ok(()) => {
                            of.said = Some(receipt);
                            reporter.recovered(&name);
                        }
                        Err(why) => reporter.warn(&name, &why),
                    }
                }
                Ok(_) => {}
                Err(e) => reporter.warn(&name, &e.to_string()),
            }
        }
    }
}

impl FollowedReceipt {
    /// Returns the present receipt of this host; none if it is not known.
    fn receipt(&mut self, local: &mut LocalSession) -> Result<Option<HostReceipt>, LocalError> {
        if !self.is_for_here {
            return Ok(Some(HostReceipt::new(RemoteReceipt::default())));
        }
        if self.here.is_none() {
            let stream = LinkedStream::Announcements;
            let find = LinkRequest::Find { stream, host: self.origin.clone(), seq: self.number };
            self.here = match local.ask(&Request::Link(find)) {
                Ok(Reply::Number(0)) => {
                    // The server refused it: no member here is to have it.
                    self.is_for_here = false;
                    return Ok(Some(HostReceipt::new(RemoteReceipt::default())));
                }
                Ok(Reply::Number(number)) => Some(number),
                Ok(_) | Err(LocalError::Refused(_)) => None,
                Err(e) => return Err(e),
            };
        }
        let Some(here) = self.here else { return Ok(None) };
        let request = Request::Receipt { id: AnnouncementId::Number(here), skip: u32::MAX };
        match local.ask(&request) {
            Ok(Reply::Receipt(receipt)) => {
                let ReceiptInfo { members, reached, acked, open, .. } = receipt;
                let receipt = RemoteReceipt { members, reached, acked, open };
                Ok(Some(HostReceipt::new(receipt)))
            }
            Ok(_) | Err(LocalError::Refused(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn say(
        &mut self,
        host: &HostName,
        receipt: &HostReceipt,
        carrier: &Carrier,
        runtime: &Handle,
    ) -> Result<(), String> {
        let subject = subject::of_receipt(&self.origin, self.number, host);
        let publish = async {
            let expected = match self.expected {
                Some(expected) => expected,
                None => {
                    let last = carrier.last(&subject).await.map_err(|e| e.to_string())?;
                    last.map_or(0, |last| last.sequence)
                }
            };
            let generation = os::wall_us().unsigned_abs();
            let cursor = ExportCursor { generation, last: self.number };
            let payload = batch::write(receipt).into();
            carrier
                .publish(&subject, Some(cursor), payload, expected)
                .await
                .map_err(|e| e.to_string())
        };
        let done = runtime.block_on(async {
            let within = tokio::time::timeout(PUBLISH_WITHIN, publish).await;
            within.unwrap_or_else(|_| Err("no confirmation".to_owned()))
        });
        // After a failure the sequence is asked for again.
        self.expected = done.as_ref().ok().copied();
        done.map(drop)
    }
}
