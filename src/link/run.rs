//! A link from its beginning to its end: its threads, and what they share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::Sender;
use tokio::runtime::{Builder, Handle};

use super::{
    board::Board,
    carrier::{Carrier, CarrierError, ConnectError, ConnectionState, Filter, Limits, Settings},
    consumer,
    exporter::Exporter,
    importer::Importer,
    local::{Local, LocalError},
    presence,
    recent::Recents,
    report::{LinkCounts, LinkReport, Reporter},
    subject, watcher,
};
use crate::{
    chat::{
        linked::{LinkPosition, LinkRequest, LinkedStream},
        names::HostName,
        reply::Reply,
        request::Request,
    },
    client::{WakeReceiver, WakeSender},
    limits::LINK_INCOMING_MAX,
    os::{self, Places},
    wire::hello::Hello,
};

/// Pause between tries to reach the carrier, or the server of this host, for the first time.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Maximum time in which a goodbye is said.
const BYE_WITHIN: Duration = Duration::from_millis(500);

/// Settings of a link.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Connection to the carrier.
    pub carrier: Settings,
    /// Limits of the stream there.
    pub limits: Limits,
    /// Name of this host.
    pub host: HostName,
    /// Rooms to carry, and whether announcements are carried.
    pub streams: Vec<LinkedStream>,
    /// Creates the stream if it does not exist.
    pub create: bool,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The carrier can't be used, and won't be until something is changed.
    #[error("{0}")]
    Carrier(String),
    /// The server of this host refused it.
    #[error("{0}")]
    Refused(String),
    /// Another link has the name of this host, or the like.
    #[error("{0}")]
    Ended(String),
    /// The system has no more threads or descriptors.
    #[error("can't start: {0}")]
    System(#[from] std::io::Error),
}

/// The wish that the link ends, for all threads.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    inner: Arc<StopState>,
}

#[derive(Debug, Default)]
struct StopState {
    is_set: AtomicBool,
    why: Mutex<Option<String>>,
    wake: Mutex<Option<WakeSender<()>>>,
}

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.inner.is_set.load(Ordering::Relaxed)
    }

    /// Ends the link.
    fn set(&self) {
        self.inner.is_set.store(true, Ordering::Relaxed);
        let wake = self.inner.wake.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = &*wake {
            wake.try_send(());
        }
    }

    /// Ends the link for a reason.
    pub(super) fn fail(&self, why: String) {
        let mut reason = self.inner.why.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert(why);
        drop(reason);
        self.set();
    }

    fn why(&self) -> Option<String> {
        self.inner.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs a link until `ends` is closed or gives something, or until it can't go on.
///
/// # Errors
/// See [`LinkError`].
pub fn run(
    options: &LinkOptions,
    places: &Places,
    hello: &Hello,
    reports: Sender<LinkReport>,
    ends: &crossbeam_channel::Receiver<()>,
    each_second: &mut dyn FnMut(&LinkCounts),
) -> Result<(), LinkError> {
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

/// What the beginning of a link needs.
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
    ) -> Result<(), LinkError> {
        let Some(begins) = self.until(ends, || self.begin_here())? else { return Ok(()) };
        let Some(carrier) = self.until(ends, || self.begin_there())? else { return Ok(()) };
        let stop = Stop::default();
        let (wake, woken) = WakeReceiver::new(1)?;
        *stop.inner.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
        let threads = self.start(&carrier, begins, &stop, woken)?;
        self.reporter.send(LinkReport::Linked);
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
        let link = presence::say_bye(&carrier, &self.options.host, threads.link, self.reporter);
        let _ = self.runtime.block_on(async { tokio::time::timeout(BYE_WITHIN, link).await });
        threads.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for thread in threads.threads {
            let _ = thread.join();
        }
        stop.why().map_or(Ok(()), |why| Err(LinkError::Ended(why)))
    }

    /// Tries until it succeeds, fails for good, or the link is to end (none).
    fn until<T>(
        &self,
        ends: &crossbeam_channel::Receiver<()>,
        mut act: impl FnMut() -> Result<Option<T>, LinkError>,
    ) -> Result<Option<T>, LinkError> {
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

    /// Becomes the link of the server of this host; returns where each export began.
    fn begin_here(&self) -> Result<Option<Vec<(LinkedStream, LinkPosition)>>, LinkError> {
        let mut local = self.local();
        let mut begins = Vec::new();
        for stream in &self.options.streams {
            let request = LinkRequest::Export { stream: stream.clone(), renew: None };
            match local.ask(&Request::Link(request)) {
                Ok(Reply::Export(info)) => begins.push((stream.clone(), info.after)),
                Ok(other) => {
                    let text = format!("an answer that does not fit: {other:?}");
                    return Err(LinkError::Refused(text));
                }
                Err(LocalError::Refused(refusal)) => return Err(LinkError::Refused(refusal.text)),
                Err(LocalError::Lost(why)) => {
                    self.reporter.warn("the server of this host", &why);
                    return Ok(None);
                }
            }
        }
        local.quit();
        self.reporter.recovered("the server of this host");
        Ok(Some(begins))
    }

    /// Connects to the carrier, and looks at its stream.
    fn begin_there(&self) -> Result<Option<Carrier>, LinkError> {
        let LinkOptions { carrier: settings, limits, create, .. } = self.options;
        let connected = self.runtime.block_on(async {
            let carrier = Carrier::connect(settings).await?;
            let state = match carrier.stream_state(limits).await {
                Err(CarrierError::NoStream { .. }) if *create => {
                    carrier.create_stream(limits).await?
                }
                other => other?,
            };
            Ok::<_, ConnectError>((carrier, state))
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
            Err(e) => Err(LinkError::Carrier(e.to_string())),
        }
    }

    fn local(&self) -> Local {
        Local::new(self.places.clone(), self.hello.clone(), self.options.host.clone())
    }

    fn start(
        &self,
        carrier: &Carrier,
        begins: Vec<(LinkedStream, LinkPosition)>,
        stop: &Stop,
        woken: WakeReceiver<()>,
    ) -> Result<Threads, LinkError> {
        let LinkOptions { host, streams, .. } = self.options;
        let link = u64::from_le_bytes(os::random_bytes()?);
        let recents = Arc::new(Recents::new());
        let (to_importer, incoming) = tokio::sync::mpsc::channel(LINK_INCOMING_MAX);
        let mut filter: Vec<_> = streams.iter().map(subject::of_all_hosts).collect();
        if streams.contains(&LinkedStream::Announcements) {
            filter.push(subject::of_receipts_for(host));
        }
        let shared = (Arc::clone(&recents), Arc::clone(self.reporter), stop.clone());
        let way = (carrier.clone(), self.runtime.clone());
        let exporter =
            Exporter::new(host.clone(), streams.clone(), way.clone(), self.local(), shared);
        let importer = Importer::new(
            host.clone(),
            streams.clone(),
            way,
            self.local(),
            (incoming, Arc::clone(self.reporter), stop.clone()),
            Board::new(host.clone(), link),
        );
        let reporter = || Arc::clone(self.reporter);
        let filter = Filter::Subjects(filter);
        let name = (host.clone(), link);
        let presence =
            presence::say(carrier.clone(), self.places.clone(), name, streams.clone(), reporter());
        let tasks = vec![
            self.runtime.spawn(consumer::hear(carrier.clone(), to_importer.clone(), reporter())),
            self.runtime.spawn(consumer::read(carrier.clone(), filter, to_importer, reporter())),
            self.runtime.spawn(presence),
        ];
        let (places, hello) = (self.places.clone(), self.hello.clone());
        let (reporter, of_watcher, host) = (reporter(), stop.clone(), host.clone());
        let watch = move || {
            watcher::run(places, hello, &host, &begins, &recents, (&reporter, &of_watcher), &woken);
        };
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        let threads = vec![
            spawn("moot-watch").spawn(watch)?,
            spawn("moot-export").spawn(move || exporter.run())?,
            spawn("moot-import").spawn(move || importer.run())?,
        ];
        Ok(Threads { threads, tasks, link })
    }
}

/// What runs for a link.
struct Threads {
    threads: Vec<thread::JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// Number of the link.
    link: u64,
}
