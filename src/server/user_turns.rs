//! Turns of users at slow work: on a system server one user's work waits for itself, not for that
//! of others.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{FETCHES_MAX, FETCHES_PER_USER_MAX, LOOKUPS_PER_USER_MAX, QUESTIONS_MAX};

/// Semaphores by user id, one for each kind of work.
#[derive(Debug)]
pub(super) struct UserTurns {
    is_system: bool,
    /// Queries of the history, on behalf of sessions.
    questions: Turns,
    /// Look-ups of users who connect.
    look_ups: Turns,
    /// Reads of older messages.
    fetches: Turns,
    /// Look-ups of users whom requests name.
    named: Turns,
}

type Turns = RefCell<HashMap<u32, Arc<Semaphore>>>;

impl UserTurns {
    /// Creates the turns of a user server, or of a system server.
    pub(super) fn new(is_system: bool) -> Self {
        Self {
            is_system,
            questions: RefCell::default(),
            look_ups: RefCell::default(),
            fetches: RefCell::default(),
            named: RefCell::default(),
        }
    }

    /// Waits until a history query of this user may run; it may as long as the value is kept.
    pub(super) async fn question(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        let at_once = if self.is_system { 1 } else { QUESTIONS_MAX };
        // They are never closed.
        of_user(&self.questions, uid, at_once).acquire_owned().await.ok()
    }

    /// Waits until the name of a user may be looked up; it may as long as the value is kept.
    /// Connections of one user wait for each other, so that a slow user database delays no other.
    pub(super) async fn look_up(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        of_user(&self.look_ups, uid, 1).acquire_owned().await.ok()
    }

    /// Waits until older messages may be read for a session of this user, as they may as long as
    /// the value is kept.
    pub(super) async fn fetch(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        let at_once = if self.is_system { FETCHES_PER_USER_MAX } else { FETCHES_MAX };
        of_user(&self.fetches, uid, at_once).acquire_owned().await.ok()
    }

    /// Waits until a user that a request names may be looked up; it may as long as the value is
    /// kept. Requests of one user wait for each other, one of each session: a refusal would end a
    /// follow.
    pub(super) async fn named(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        of_user(&self.named, uid, LOOKUPS_PER_USER_MAX).acquire_owned().await.ok()
    }
}

/// Returns the turns of one user; those that no task waits for are forgotten.
fn of_user(all: &Turns, uid: u32, at_once: usize) -> Arc<Semaphore> {
    let mut all = all.borrow_mut();
    all.retain(|_, turns| Arc::strong_count(turns) > 1);
    Arc::clone(all.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(at_once))))
}
