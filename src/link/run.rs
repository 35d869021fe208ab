//! A link from its beginning to its end: its threads, and their shared state.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use tokio::runtime::{Builder, Handle};

use super::{
    batch::PresenceNews,
    carrier::{
        Carrier, CarrierConnectError, CarrierError, CarrierSettings, ConnectionState, Filter,
        StreamLimits,
    },
    consumer,
    exporter::Exporter,
    importer::Importer,
    local::{LocalError, LocalSession},
    presence,
    recent::Recents,
    report::{LinkCounts, LinkReport, Reporter},
    signals::LinkSignals,
    subject,
    watcher::Watcher,
};
use crate::{
    chat::{linked::LinkedStream, names::HostName},
    client::{RefusalCode, WakeReceiver},
    limits::LINK_INCOMING_MAX,
    os::{self, Places},
    wire::hello::Hello,
};

/// Pause between attempts to reach the carrier, or the server of this host, for the first time.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Time in which the session of a killed link of the same server ends.
const PREDECESSOR_ENDS: Duration = Duration::from_secs(5);
/// Maximum time for the goodbye to other hosts.
const BYE_WITHIN: Duration = Duration::from_millis(500);

/// Settings of a link.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Connection to the carrier.
    pub carrier: CarrierSettings,
    /// Limits of the stream there.
    pub limits: StreamLimits,
    /// Name of this host.
    pub host: HostName,
    /// Rooms to carry, and the announcements if they are carried.
    pub streams: Vec<LinkedStream>,
    /// True to create the stream if it does not exist.
    pub create: bool,
}

/// Reason why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkFailure {
    /// The carrier can't be used until a configuration is changed.
    #[error("{0}")]
    Carrier(String),
    /// The server of this host refused the link.
    #[error("{0}")]
    Refused(String),
    /// Another link has the name of this host, or a thread failed.
    #[error("{0}")]
    Ended(String),
    /// The system has reached its limit of threads or descriptors.
    #[error("can't start: {0}")]
    System(#[from] std::io::Error),
}

/// Runs a link until `ends` is closed or has an item, or until the link can't continue.
///
/// # Errors
/// Returns the reason for which the link can't continue: see [`LinkFailure`].
pub fn run(
    options: &LinkOptions,
    places: &Places,
    hello: &Hello,
    reports: Sender<LinkReport>,
    ends: &crossbeam_channel::Receiver<()>,
    each_second: &mut dyn FnMut(&LinkCounts),
) -> Result<(), LinkFailure> {
    let reporter = Arc::new(Reporter::new(reports));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let driver = thread::Builder::new().name("moot-carrier".to_owned()).spawn(move || {
        // Everything else asks for its share of this thread.
        let _ = runtime.block_on(ended);
        runtime.shutdown_timeout(Duration::from_millis(100));
    })?;
    let session = SessionOf { options, places, hello, reporter: &reporter, runtime: &handle };
    let done = session.run(ends, each_second);
    drop(end);
    let _ = driver.join();
    done
}

/// Parts that the beginning of a link needs.
struct SessionOf<'a> {
    options: &'a LinkOptions,
    places: &'a Places,
    hello: &'a Hello,
    reporter: &'a Arc<Reporter>,
    runtime: &'a Handle,
}

impl SessionOf<'_> {
    fn run(
        &self,
        ends: &crossbeam_channel::Receiver<()>,
        each_second: &mut dyn FnMut(&LinkCounts),
    ) -> Result<(), LinkFailure> {
        let since = Instant::now();
        if self.until(ends, || self.begin_here(since))?.is_none() {
            return Ok(());
        }
        let Some(carrier) = self.until(ends, || self.begin_there())? else { return Ok(()) };
        let stop = LinkSignals::default();
        let (wake, woken) = WakeReceiver::new(1)?;
        stop.wake_by(wake);
        let threads = self.start(&carrier, &stop, woken)?;
        let mut state = carrier.state();
        while !stop.is_set() {
            let is_up = matches!(*state.borrow_and_update(), ConnectionState::Connected { .. });
            self.reporter.count(|counts| counts.connected = is_up);
            if let ConnectionState::Disconnected { why, .. } = &*state.borrow() {
                self.reporter.warn("carrier", why);
            } else {
                self.reporter.recovered("carrier");
            }
            each_second(&self.reporter.counts());
            match ends.recv_timeout(TRY_EVERY) {
                Err(e) if e.is_timeout() => {}
                _ => stop.set(),
            }
        }
        let subject = subject::of_presence(&self.options.host);
        let (link, bye) = (threads.link, PresenceNews::Bye);
        let bye = presence::tell(&carrier, &subject, link, bye, self.reporter);
        let _ = self.runtime.block_on(async { tokio::time::timeout(BYE_WITHIN, bye).await });
        threads.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for thread in threads.threads {
            let _ = thread.join();
        }
        stop.why().map_or(Ok(()), |why| Err(LinkFailure::Ended(why)))
    }

    /// Calls `act` until it succeeds, fails permanently, or the link has to end (none).
    fn until<T>(
        &self,
        ends: &crossbeam_channel::Receiver<()>,
        mut act: impl FnMut() -> Result<Option<T>, LinkFailure>,
    ) -> Result<Option<T>, LinkFailure> {
        loop {
            if let Some(done) = act()? {
                return Ok(Some(done));
            }
            match ends.recv_timeout(TRY_EVERY) {
                Err(e) if e.is_timeout() => {}
                _ => return Ok(None),
            }
        }
    }

    /// Registers as the link of the server of this host.
    fn begin_here(&self, since: Instant) -> Result<Option<()>, LinkFailure> {
        let mut local = self.local();
        let asked = local.session_key();
        local.quit();
        match asked {
            Ok(_) => {
                self.reporter.recovered("the server of this host");
                Ok(Some(()))
            }
            // One that was killed may not have ended yet.
            Err(LocalError::Refused(refusal))
                if refusal.code == RefusalCode::Failed && since.elapsed() < PREDECESSOR_ENDS =>
            {
                Ok(None)
            }
            Err(LocalError::Refused(refusal)) => Err(LinkFailure::Ended(refusal.text)),
            Err(LocalError::Lost(why)) => {
                self.reporter.warn("the server of this host", &why);
                Ok(None)
            }
        }
    }

    /// Connects to the carrier, and checks its stream.
    fn begin_there(&self) -> Result<Option<Carrier>, LinkFailure> {
        let LinkOptions { carrier: settings, limits, create, .. } = self.options;
        let connected = self.runtime.block_on(async {
            let carrier = Carrier::connect(settings).await?;
            let state = match carrier.stream_state(limits).await {
                Err(CarrierError::NoStream { .. }) if *create => {
                    carrier.create_stream(limits).await?
                }
                other => other?,
            };
            Ok::<_, CarrierConnectError>((carrier, state))
        });
        match connected {
            Ok((carrier, state)) => {
                for difference in state.differences {
                    self.reporter.send(LinkReport::Warning(difference));
                }
                self.reporter.recovered("carrier");
                Ok(Some(carrier))
            }
            Err(e) if e.is_temporary() => {
                self.reporter.warn("carrier", &e.to_string());
                Ok(None)
            }
            Err(e) => Err(LinkFailure::Carrier(e.to_string())),
        }
    }

    fn local(&self) -> LocalSession {
        LocalSession::new(self.places.clone(), self.hello.clone(), self.options.host.clone())
    }

    fn start(
        &self,
        carrier: &Carrier,
        stop: &LinkSignals,
        woken: WakeReceiver<()>,
    ) -> Result<LinkThreads, LinkFailure> {
        let LinkOptions { host, streams, .. } = self.options;
        let link = u64::from_le_bytes(os::random_bytes()?);
        let recents = Arc::new(Recents::new());
        let (to_importer, incoming) = tokio::sync::mpsc::channel(LINK_INCOMING_MAX);
        let mut filter: Vec<_> = streams.iter().map(subject::of_all_hosts).collect();
        if streams.contains(&LinkedStream::Announcements) {
            filter.push(subject::of_receipts_for(host));
        }
        let way = (carrier.clone(), self.runtime.clone());
        let reporter = || Arc::clone(self.reporter);
        let name = (host.clone(), link);
        let shared = (Arc::clone(&recents), reporter(), stop.clone());
        let exporter = Exporter::new(name.clone(), streams, way.clone(), self.local(), shared);
        let shared = (incoming, reporter(), stop.clone());
        let importer = Importer::new(name.clone(), streams, way, self.local(), shared);
        let filter = Filter::Subjects(filter);
        let places = self.places.clone();
        let presence = presence::say(
            carrier.clone(),
            places,
            name,
            streams.clone(),
            (reporter(), stop.clone()),
        );
        let tasks = vec![
            self.runtime.spawn(consumer::hear(carrier.clone(), to_importer.clone(), reporter())),
            self.runtime.spawn(consumer::read(carrier.clone(), filter, to_importer, reporter())),
            self.runtime.spawn(presence),
        ];
        let (places, hello) = (self.places.clone(), self.hello.clone());
        let (reporter, of_watcher) = (reporter(), stop.clone());
        let (host, streams) = (host.clone(), streams.clone());
        let watch = move || {
            let (reporter, stop) = (&*reporter, &of_watcher);
            let watcher =
                Watcher { host: &host, streams: &streams, recents: &recents, reporter, stop };
            watcher.run(places, hello, &woken);
        };
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let stop = stop.clone();
            thread::Builder::new().name(name.to_owned()).spawn(move || stop.guard(body))
        };
        let threads = vec![
            spawn("moot-watch", Box::new(watch))?,
            spawn("moot-export", Box::new(move || exporter.run()))?,
            spawn("moot-import", Box::new(move || importer.run()))?,
        ];
        Ok(LinkThreads { threads, tasks, link })
    }
}

/// Threads and tasks of a running link.
struct LinkThreads {
    threads: Vec<thread::JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// Number of the link.
    link: u64,
}
