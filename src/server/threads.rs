//! Threads for work that blocks, apart for each kind of it: a slow user database keeps no member
//! from catching up.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinError};

use crate::{
    faults::{Fault, planted},
    limits::{FETCHES_MAX, LOOKUPS_MAX, QUESTIONS_MAX, SEARCHES_MAX},
    os,
};

/// Kinds of work. Each has threads of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Questions about the past, but for searches.
    Question,
    /// Searches: each may take seconds.
    Search,
    /// Older messages for members that fell behind.
    Fetch,
    /// Questions to the user database.
    LookUp,
    /// Counts for the badges.
    Badges,
}

impl Work {
    const ALL: [Self; 5] = [Self::Question, Self::Search, Self::Fetch, Self::LookUp, Self::Badges];

    const fn threads(self) -> usize {
        match self {
            Self::Question => QUESTIONS_MAX,
            Self::Search => SEARCHES_MAX,
            Self::Fetch => FETCHES_MAX,
            Self::LookUp => LOOKUPS_MAX,
            Self::Badges => 1,
        }
    }
}

/// All threads for work that blocks.
pub(super) struct Threads([Arc<Semaphore>; Work::ALL.len()]);

impl Threads {
    /// Threads of all kinds of work together.
    pub(super) const MAX: usize = {
        let (mut all, mut at) = (0, 0);
        while at < Work::ALL.len() {
            all += Work::ALL[at].threads();
            at += 1;
        }
        all
    };

    pub(super) fn new() -> Self {
        Self(Work::ALL.map(|work| Arc::new(Semaphore::new(work.threads()))))
    }

    /// Runs something on a thread, once one of its kind is free.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: Work,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // They are never closed.
        let turn = Arc::clone(&self.0[work as usize]).acquire_owned().await.ok();
        let run = move || {
            // It ends with the work, though its caller may be gone before.
            let _turn = turn;
            // What one user asks for takes no time from the thread that serves all.
            if !planted(Fault::ReadersAtFullPriority) {
                os::step_aside();
            }
            run()
        };
        tokio::task::spawn_blocking(run).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn work_runs_below_the_thread_that_serves_all() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(')').unwrap();
            fields.split_ascii_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let own = nice();
        for work in Work::ALL {
            let of_work = runtime.block_on(Threads::new().run(work, nice)).unwrap();
            assert!(of_work > own || own == 19, "{work:?}: {of_work}");
        }
        assert_eq!(nice(), own);
    }

    #[test]
    fn slow_look_ups_keep_no_fetch_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(Threads::MAX)
            .build()
            .unwrap();
        let threads = Arc::new(Threads::new());
        runtime.block_on(async {
            let (mut blocked, mut ends) = (Vec::new(), Vec::new());
            for work in [Work::LookUp, Work::Question, Work::Search, Work::Badges] {
                for _ in 0..2 * Threads::MAX {
                    let (end, wait) = mpsc::channel::<()>();
                    let threads = Arc::clone(&threads);
                    let run = async move { threads.run(work, move || wait.recv()).await };
                    blocked.push(tokio::spawn(run));
                    ends.push(end);
                }
            }
            tokio::task::yield_now().await;
            for _ in 0..2 * Threads::MAX {
                assert_eq!(threads.run(Work::Fetch, || 7).await.unwrap(), 7);
            }
            drop(ends);
            for run in blocked {
                run.await.unwrap().unwrap().unwrap_err();
            }
        });
    }
}
