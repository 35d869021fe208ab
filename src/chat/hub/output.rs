//! Output of the hub: actions, the body that is being encoded, and the count of what requests
//! cause.

use std::cell::Cell;

use super::action::Action;
use crate::{
    chat::{
        batch::Builder, event::Event, frames::Frame, member::SessionId, presence_row::Counters,
    },
    limits::{LOOK_COST_BYTES, TOLD_COST_BYTES},
};

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct HubOutput {
    actions: Vec<Action>,
    /// Things that were looked at since the server began.
    looked: Cell<usize>,
    pub(super) counters: Counters,
    pub(super) builder: Builder,
}

impl HubOutput {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Sends an event to a session.
    pub(super) fn send(&mut self, session: SessionId, event: Event) {
        self.push(Action::Send(session, Frame::Event(event)));
    }

    pub(super) fn len(&self) -> usize {
        self.actions.len()
    }

    pub(super) fn drain(&mut self) -> std::vec::Drain<'_, Action> {
        self.actions.drain(..)
    }

    /// Counts things that are looked at for a request beyond a few.
    pub(super) fn looked_at(&self, things: usize) {
        self.looked.set(self.looked.get().saturating_add(things));
    }

    /// Cost of all that was given out and looked at, in the bytes that it takes of a turn.
    pub(super) fn caused_bytes(&self) -> usize {
        self.actions.len() * TOLD_COST_BYTES + self.looked.get() * LOOK_COST_BYTES
    }

    /// Calls a function while nothing counts as looked at.
    #[cfg(test)]
    pub(super) fn without_looks<T>(&self, act: impl FnOnce() -> T) -> T {
        let looked = self.looked.replace(0);
        let result = act();
        self.looked.set(looked);
        result
    }

    #[cfg(test)]
    pub(super) fn actions(&mut self) -> &mut Vec<Action> {
        &mut self.actions
    }
}
