//! Signals among the threads of a link: its end, the claim of its name, a change of the carrier.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::client::WakeSender;

/// Signals that all threads of a link share. See the head of this file.
#[derive(Debug, Clone, Default)]
pub(super) struct LinkSignals {
    inner: Arc<StopState>,
}

#[derive(Debug, Default)]
struct StopState {
    is_set: AtomicBool,
    is_claimed: AtomicBool,
    /// Number of times that the stream of the carrier became another one.
    changes: AtomicU64,
    why: Mutex<Option<String>>,
    wake: Mutex<Option<WakeSender<()>>>,
}

impl LinkSignals {
    pub(super) fn is_set(&self) -> bool {
        self.inner.is_set.load(Ordering::Relaxed)
    }

    /// Sets the thread that is woken by each signal that ends the link.
    pub(super) fn wake_by(&self, wake: WakeSender<()>) {
        *self.inner.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }

    /// Wakes the thread of [`LinkSignals::wake_by`].
    pub(super) fn wake(&self) {
        let wake = self.inner.wake.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = &*wake {
            wake.try_send(());
        }
    }

    /// Ends the link.
    pub(super) fn set(&self) {
        self.inner.is_set.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Ends the link for a reason. Later reasons are dropped.
    pub(super) fn fail(&self, why: String) {
        let mut reason = self.inner.why.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert(why);
        drop(reason);
        self.set();
    }

    pub(super) fn why(&self) -> Option<String> {
        self.inner.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Records that no other link has the name of this one.
    pub(super) fn set_claimed(&self) {
        self.inner.is_claimed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.inner.is_claimed.load(Ordering::Relaxed)
    }

    /// Records that the stream of the carrier may be another one.
    pub(super) fn carrier_changed(&self) {
        self.inner.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn changes(&self) -> u64 {
        self.inner.changes.load(Ordering::Relaxed)
    }

    /// Runs the body of a thread. If it panics, the link ends: without this, the other threads
    /// would continue without it.
    pub(super) fn guard(&self, body: impl FnOnce()) {
        struct Guard<'a>(&'a LinkSignals);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.fail("a thread of the link failed; see its output".to_owned());
                }
            }
        }
        let _guard = Guard(self);
        body();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_of_a_thread_ends_the_link() {
        let stop = LinkSignals::default();
        let of_thread = stop.clone();
        let thread = std::thread::spawn(move || of_thread.guard(|| panic!("a fault")));
        thread.join().unwrap_err();
        assert!(stop.is_set() && stop.why().is_some());
        let stop = LinkSignals::default();
        stop.guard(|| {});
        assert!(!stop.is_set());
    }
}
