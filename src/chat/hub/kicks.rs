//! Sessions that operators end, many of them over several turns.

use std::collections::VecDeque;

use crate::{chat::member::SessionId, limits::KICK_STREAMS_PER_TURN};

/// Sessions of a user that an operator ends, and the request to answer once they have ended.
#[derive(Debug)]
pub(super) struct Kick {
    pub(super) by: u32,
    pub(super) turned_out: bool,
    pub(super) sessions: Vec<SessionId>,
    pub(super) asked: (SessionId, u32),
}

/// Next step of a turn for kicks.
pub(super) enum KickStep {
    /// Ends a session.
    End { session: SessionId, by: u32, turned_out: bool },
    /// Answers the request: all its sessions have ended.
    Answer { session: SessionId, serial: u32 },
}

/// Kicks that still have sessions to end, in their order.
#[derive(Debug)]
pub(super) struct Kicks {
    queue: VecDeque<Kick>,
    /// Streams that sessions may still be taken out of in this turn.
    streams_left: usize,
}

impl Default for Kicks {
    fn default() -> Self {
        Self { queue: VecDeque::new(), streams_left: KICK_STREAMS_PER_TURN }
    }
}

impl Kicks {
    pub(super) fn begin_turn(&mut self) {
        self.streams_left = KICK_STREAMS_PER_TURN;
    }

    pub(super) fn add(&mut self, kick: Kick) {
        self.queue.push_back(kick);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the next step, unless this turn has done as much as it may.
    pub(super) fn next_step(&mut self) -> Option<KickStep> {
        if self.streams_left == 0 {
            return None;
        }
        let kick = self.queue.front_mut()?;
        if let Some(session) = kick.sessions.pop() {
            return Some(KickStep::End { session, by: kick.by, turned_out: kick.turned_out });
        }
        let (session, serial) = self.queue.pop_front()?.asked;
        Some(KickStep::Answer { session, serial })
    }

    /// Counts a session that was ended, by the streams that it was in.
    pub(super) fn count(&mut self, streams: usize) {
        self.streams_left = self.streams_left.saturating_sub(streams + 1);
    }

    /// Kicks that wait, and sessions that they still have to end.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.iter().map(|kick| kick.sessions.len()).sum())
    }
}
