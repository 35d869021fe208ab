//! The caller's own channel into a member's wait: items of other threads wake it.

use std::{cell::Cell, io, time::Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::os::{self, Waker, Woken};

/// The caller's own channel into [`Member::wait`](super::Member::wait): what other threads send
/// wakes it.
#[derive(Debug)]
pub struct WakeReceiver<T> {
    letters: Receiver<T>,
    urgent: Receiver<T>,
    /// Only what is urgent is taken.
    is_held: Cell<bool>,
    woken: Woken,
}

/// The end of a [`WakeReceiver`] that other threads have.
#[derive(Debug)]
pub struct WakeSender<T> {
    letters: Option<Sender<T>>,
    urgent: Sender<T>,
    waker: Waker,
}

impl<T> WakeReceiver<T> {
    /// Creates a channel for `bound` items; a thread that sends more waits.
    ///
    /// # Errors
    /// Returns an error if descriptors have run out.
    pub fn new(bound: usize) -> io::Result<(WakeSender<T>, Self)> {
        let (to_caller, letters) = bounded(bound);
        let (urgent_to_caller, urgent) = bounded(1);
        let (waker, woken) = os::wake_pair()?;
        let postbox = WakeSender { letters: Some(to_caller), urgent: urgent_to_caller, waker };
        Ok((postbox, Self { letters, urgent, is_held: Cell::new(false), woken }))
    }

    /// While `is_held`, [`Member::wait`](super::Member::wait) returns urgent letters only, and the
    /// others wait.
    pub fn hold(&self, is_held: bool) {
        self.is_held.set(is_held);
    }

    /// Waits for an item; `None` once all senders are gone.
    #[must_use]
    pub fn recv(&self) -> Option<T> {
        self.letters.recv().ok()
    }

    /// Waits for an item until a time.
    ///
    /// # Errors
    /// Returns an error if no item was sent until then.
    #[expect(clippy::result_unit_err, reason = "there is nothing else to know")]
    pub fn recv_until(&self, until: Option<Instant>) -> Result<Option<T>, ()> {
        let Some(until) = until else { return Ok(self.recv()) };
        match self.letters.recv_deadline(until) {
            Ok(letter) => Ok(Some(letter)),
            Err(e) if e.is_disconnected() => Ok(None),
            Err(_) => Err(()),
        }
    }

    /// Returns an item, if one was sent.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.letters.try_recv().ok()
    }

    /// Returns an urgent item, if one was sent.
    pub(super) fn read_urgent(&self) -> Option<T> {
        self.urgent.try_recv().ok()
    }

    /// Returns the signal of its senders.
    pub(super) fn woken(&self) -> &Woken {
        &self.woken
    }

    /// Returns an item, if one was sent; `Some(None)` once all senders are gone.
    pub(super) fn read(&self) -> Option<Option<T>> {
        if self.is_held.get() {
            return None;
        }
        match self.letters.try_recv() {
            Ok(letter) => Some(Some(letter)),
            Err(e) if e.is_disconnected() => Some(None),
            Err(_) => None,
        }
    }
}

impl<T> WakeSender<T> {
    /// Sends an item. Returns false if the receiver is gone.
    pub fn send(&self, letter: T) -> bool {
        let sent = self.letters.as_ref().is_some_and(|to| to.send(letter).is_ok());
        self.waker.wake();
        sent
    }

    /// Sends what overtakes all other letters and all that [`Member::wait`](super::Member::wait)
    /// has to tell, such as a signal; false if the last urgent letter was not taken yet.
    pub fn send_urgent(&self, letter: T) -> bool {
        let sent = self.urgent.try_send(letter).is_ok();
        self.waker.wake();
        sent
    }

    /// Sends if there is room.
    pub fn try_send(&self, letter: T) -> bool {
        let sent = self.letters.as_ref().is_some_and(|to| to.try_send(letter).is_ok());
        self.waker.wake();
        sent
    }
}

impl<T> Clone for WakeSender<T> {
    fn clone(&self) -> Self {
        Self {
            letters: self.letters.clone(),
            urgent: self.urgent.clone(),
            waker: self.waker.clone(),
        }
    }
}

impl<T> Drop for WakeSender<T> {
    fn drop(&mut self) {
        // A thread that waits learns that this sender is gone.
        self.letters = None;
        self.waker.wake();
    }
}
