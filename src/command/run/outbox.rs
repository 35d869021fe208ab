//! Texts to send about a command, and their fate: between the threads that read its output and the
//! one that talks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::batch::{Batch, Keep, Stream};
use crate::client::WakeSender;

/// Texts to send.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) batch: Batch,
    /// Comes before the output, and after it.
    first: Option<(Instant, String)>,
    last: VecDeque<String>,
    /// When everything was there.
    ended: Option<Instant>,
    /// Bytes of each text that was sent and is not acknowledged yet.
    open: VecDeque<usize>,
    /// Number of messages that are acknowledged.
    said: u64,
    /// A server is being started.
    is_starting: bool,
}

impl Outbox {
    fn new(keep: Keep) -> Self {
        Self {
            batch: Batch::new(keep),
            first: None,
            last: VecDeque::new(),
            ended: None,
            open: VecDeque::new(),
            said: 0,
            is_starting: false,
        }
    }

    /// When there is something to be said.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.first.as_ref().map(|(at, _)| *at);
        let last = self.ended.filter(|_| !self.last.is_empty());
        [first, last, self.batch.due()].into_iter().flatten().min()
    }

    /// Returns the next text to send, if it is time.
    pub(super) fn next(&mut self, now: Instant) -> Option<String> {
        let first = self.first.take().map(|(_, text)| text);
        let text = first.or_else(|| self.batch.take(now)).or_else(|| {
            self.ended?;
            self.last.pop_front()
        })?;
        self.open.push_back(text.len());
        Some(text)
    }

    /// Records that the oldest sent text is acknowledged.
    pub(super) fn stands(&mut self) {
        self.open.pop_front();
        self.said += 1;
    }

    /// The oldest of what was said may be stored or not, and that was reported.
    pub(super) fn drop_unknown(&mut self) {
        self.open.pop_front();
    }

    /// Nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// All of it was said.
    pub(super) fn is_empty(&self) -> bool {
        self.due().is_none()
    }

    pub(super) fn is_starting(&self) -> bool {
        self.is_starting
    }

    /// Returns the number of acknowledged messages.
    pub(super) fn said(&self) -> u64 {
        self.said
    }

    /// Returns messages, and their bytes, that are not acknowledged. Nothing can be sent after
    /// that.
    pub(super) fn give_up(&mut self) -> (u64, u64) {
        let now = Instant::now();
        while self.next(now).is_some() {}
        let open = std::mem::take(&mut self.open);
        (open.len() as u64, open.iter().map(|bytes| *bytes as u64).sum())
    }
}

/// The outbox, and what wakes the thread that talks.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    outbox: Arc<Mutex<Outbox>>,
    talker: WakeSender<()>,
}

impl Shared {
    pub(super) fn new(keep: Keep, talker: WakeSender<()>) -> Self {
        Self { outbox: Arc::new(Mutex::new(Outbox::new(keep))), talker }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // One letter is as good as many.
        let _ = self.talker.try_send(());
    }

    /// Adds output. It does not wait for the texts before: the command must get on.
    pub(super) fn push(&self, stream: Stream, bytes: &[u8]) {
        if self.lock().batch.push(Instant::now(), stream, bytes) {
            self.wake();
        }
    }

    /// Something to be said before all output.
    pub(super) fn begin(&self, text: String) {
        self.lock().first = Some((Instant::now(), text));
        self.wake();
    }

    /// Nothing more comes but these texts. Without any, nothing at all is to be said any more.
    pub(super) fn end(&self, texts: Vec<String>) {
        let now = Instant::now();
        let mut outbox = self.lock();
        outbox.batch.end(now);
        if texts.is_empty() {
            outbox.batch.forget();
        }
        outbox.last = texts.into();
        outbox.ended = Some(now);
        drop(outbox);
        self.wake();
    }

    pub(super) fn set_starting(&self, is_starting: bool) {
        self.lock().is_starting = is_starting;
    }
}
