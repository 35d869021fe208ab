//! Jobs, their workers, and requests that wait for their messages.

use std::collections::BTreeMap;

use super::{config::HubConfig, job::JobKey, job_board::Board};
use crate::chat::member::SessionId;

/// A request to make a job of a message that is not published yet.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) session: SessionId,
    pub(super) serial: u32,
    pub(super) counter: u64,
    pub(super) again: bool,
}

/// All jobs and workers.
#[derive(Debug)]
pub(super) struct WorkQueue {
    pub(super) board: Board,
    /// Requests that are answered once their messages are published, or can't be stored.
    pub(super) early: BTreeMap<JobKey, Early>,
}

impl WorkQueue {
    pub(super) fn new(rules: &HubConfig) -> Self {
        let board = Board::new(rules.job_states_max, rules.job_states_per_user_max, rules.host);
        Self { board, early: BTreeMap::new() }
    }
}
