//! Settings of a hub, from the operator and the machine.

use std::hash::{BuildHasher as _, RandomState};

use super::accounts::Rates;
use crate::{
    chat::{message::BootId, names::RoomName, rules::Policy},
    limits,
};

/// Bounds of the states of jobs: one for each queue that was offered a job.
#[derive(Debug, Clone, Copy)]
pub struct JobLimits {
    /// Maximum states of all jobs.
    pub states_max: usize,
    /// Maximum states of the jobs of one account.
    pub states_per_user_max: usize,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            states_max: limits::REQUEST_GROUPS_MAX,
            states_per_user_max: limits::REQUEST_GROUPS_PER_USER_MAX,
        }
    }
}

/// Settings of a hub, from the operator and the machine.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// This run of the server.
    pub run: BootId,
    /// Key of ids that can't be guessed: random, and never sent.
    pub secret: [u64; 2],
    /// The user id that the server runs as; with root an operator of every room.
    pub owner_uid: u32,
    /// Policy of the server: rights of users.
    pub policy: Policy,
    /// Rooms of the configuration: they exist from the start, and it names their operators.
    pub rooms: Vec<RoomName>,
    /// Admits all users of the host: accounts are user ids. Otherwise accounts are processes.
    pub host: bool,
    /// There is a broadcast channel.
    pub broadcast: bool,
    /// Rooms with fewer listening members go by session.
    pub broadcast_members_min: usize,
    /// There is a store: messages are committed before they are published.
    pub store: bool,
    /// True if stored messages outlive the boot: their ids need no boot id.
    pub persistent: bool,
    /// Sessions of the server.
    pub sessions_max: usize,
    /// Sessions of one account.
    pub sessions_per_user_max: usize,
    /// Rooms of the server.
    pub rooms_max: usize,
    /// Rooms made by one user id.
    pub rooms_per_user_max: usize,
    /// Bytes of backlog of one stream.
    pub backlog_bytes_max: usize,
    /// Bytes of backlog of all streams.
    pub backlog_total_bytes_max: usize,
    /// Bytes of one account taken and not yet published.
    pub in_flight_bytes_per_user_max: usize,
    /// Bounds of jobs.
    pub jobs: JobLimits,
    /// Rates of one account, per second.
    pub rates: Rates,
    /// Function that writes the header of a batch frame, from the length of its body in bytes.
    pub batch_header: fn(usize) -> [u8; limits::FRAME_HEADER_BYTES],
}

impl HubConfig {
    /// The defaults of `limits`, for a user server.
    #[must_use]
    pub fn new(run: BootId, owner_uid: u32, batch_header: fn(usize) -> [u8; 8]) -> Self {
        let random = RandomState::new();
        Self {
            run,
            secret: [0_u8, 1].map(|word| random.hash_one(word)),
            owner_uid,
            policy: Policy::default(),
            rooms: Vec::new(),
            host: false,
            broadcast: true,
            broadcast_members_min: limits::BROADCAST_MEMBERS_MIN,
            store: false,
            persistent: false,
            sessions_max: limits::SESSIONS_MAX,
            sessions_per_user_max: limits::SESSIONS_PER_USER_MAX,
            rooms_max: limits::ROOMS_MAX,
            rooms_per_user_max: limits::ROOMS_PER_USER_MAX,
            backlog_bytes_max: limits::BACKLOG_BYTES_MAX,
            backlog_total_bytes_max: limits::BACKLOG_TOTAL_BYTES_MAX,
            in_flight_bytes_per_user_max: limits::IN_FLIGHT_BYTES_PER_USER_MAX,
            jobs: JobLimits::default(),
            rates: Rates::default(),
            batch_header,
        }
    }
}
