//! The end of another process as an event: its handle becomes signalled.

use std::{
    collections::BTreeMap,
    ffi::c_void,
    io,
    os::windows::io::{AsRawHandle, OwnedHandle},
    ptr::{null_mut, without_provenance_mut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use windows_sys::Win32::{
    Foundation::{HANDLE, INVALID_HANDLE_VALUE},
    System::Threading::{
        INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE,
    },
};

use super::{acceptor::PeerRef, peer::open_process};

#[derive(Debug, Default)]
struct Ended {
    ended: bool,
    waker: Option<Waker>,
}

/// Notice of the end of the process at the other end of a session. Another process that has the
/// pipe's handle can hold the session open long after that.
#[derive(Debug)]
pub struct ProcessEnd(Option<Wait>);

/// Watched processes by number. The system's callback is given a number and not the state: Wine has
/// been seen to call it after the registration was gone, and then it has to find nothing.
static WATCHED: Mutex<BTreeMap<usize, Arc<Mutex<Ended>>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicUsize = AtomicUsize::new(1);

fn watched() -> MutexGuard<'static, BTreeMap<usize, Arc<Mutex<Ended>>>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Wait {
    /// Its number in [`WATCHED`].
    number: usize,
    state: Arc<Mutex<Ended>>,
    registration: HANDLE,
    /// Open as long as it is waited for.
    _process: OwnedHandle,
}

// SAFETY: the registration is a handle, which may be used in any thread.
unsafe impl Send for Wait {}

/// Called on a thread of the system's pool, with a number.
unsafe extern "system" fn on_end(context: *mut c_void, _timed_out: bool) {
    let Some(state) = watched().get(&context.addr()).map(Arc::clone) else { return };
    let waker = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        state.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl ProcessEnd {
    /// Watches the peer of a pipe.
    ///
    /// # Errors
    /// If a system call fails; also if that process has ended.
    pub fn of_peer(_pipe: PeerRef<'_>, pid: u32) -> io::Result<Self> {
        let process = open_process(pid)?;
        let state = Arc::new(Mutex::new(Ended::default()));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        watched().insert(number, Arc::clone(&state));
        let mut registration = null_mut();
        // SAFETY: the handle lives until the registration is gone; the callback takes a number.
        let done = unsafe {
            RegisterWaitForSingleObject(
                &raw mut registration,
                process.as_raw_handle(),
                Some(on_end),
                without_provenance_mut(number),
                INFINITE,
                WT_EXECUTEONLYONCE,
            )
        };
        if done == 0 {
            let why = io::Error::last_os_error();
            watched().remove(&number);
            return Err(why);
        }
        Ok(Self(Some(Wait { number, state, registration, _process: process })))
    }

    /// Returns one that never fires, where a process can't be watched.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// Ready once the process has ended.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wait) = &self.0 else { return Poll::Pending };
        let mut state = wait.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Poll::Ready(());
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        watched().remove(&self.number);
        // SAFETY: it was registered once and is unregistered once; with this event the call returns
        // only when no callback runs any more.
        unsafe { UnregisterWaitEx(self.registration, INVALID_HANDLE_VALUE) };
    }
}
