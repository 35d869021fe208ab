//! Counts of what happened in the worlds of a run: a simulation that never gets somewhere tests nothing there.

/// Something that worlds have to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Seen {
    Aim,
    Announcement,
    Ban,
    Break,
    BroadcastAgain,
    CommitAtKill,
    CreditSpent,
    Deaf,
    DeafJudged,
    Delete,
    Direct,
    Doubled,
    FailedCommit,
    FailedFetch,
    Fetch,
    Gap,
    Kick,
    KilledProcess,
    Lagging,
    LaggingAgain,
    LostDatagram,
    Mute,
    NewKey,
    Overlap,
    Page,
    PausedByAccount,
    PausedByStream,
    Ping,
    Pong,
    Quit,
    Receipt,
    Refused,
    Repair,
    Restart,
    Resumed,
    Retained,
    Retention,
    RoomAnnouncement,
    Scheduled,
    ServerKick,
    Slowed,
    Stopped,
    Uninvite,
    Will,
}

const SEEN: usize = Seen::Will as usize + 1;
const ALL: [Seen; SEEN] = [
    Seen::Aim,
    Seen::Announcement,
    Seen::Ban,
    Seen::Break,
    Seen::BroadcastAgain,
    Seen::CommitAtKill,
    Seen::CreditSpent,
    Seen::Deaf,
    Seen::DeafJudged,
    Seen::Delete,
    Seen::Direct,
    Seen::Doubled,
    Seen::FailedCommit,
    Seen::FailedFetch,
    Seen::Fetch,
    Seen::Gap,
    Seen::Kick,
    Seen::KilledProcess,
    Seen::Lagging,
    Seen::LaggingAgain,
    Seen::LostDatagram,
    Seen::Mute,
    Seen::NewKey,
    Seen::Overlap,
    Seen::Page,
    Seen::PausedByAccount,
    Seen::PausedByStream,
    Seen::Ping,
    Seen::Pong,
    Seen::Quit,
    Seen::Receipt,
    Seen::Refused,
    Seen::Repair,
    Seen::Restart,
    Seen::Resumed,
    Seen::Retained,
    Seen::Retention,
    Seen::RoomAnnouncement,
    Seen::Scheduled,
    Seen::ServerKick,
    Seen::Slowed,
    Seen::Stopped,
    Seen::Uninvite,
    Seen::Will,
];
/// Worlds in which every kind has to happen.
const WORLDS_ENOUGH: u64 = 1_000;

#[derive(Debug, Clone)]
pub struct Tally(pub [u64; SEEN]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; SEEN])
    }
}

impl Tally {
    pub fn count(&mut self, seen: Seen) {
        self.0[seen as usize] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (all, one) in self.0.iter_mut().zip(other.0) {
            *all += one;
        }
    }

    /// Every kind has happened.
    #[expect(clippy::print_stdout, reason = "for a person who looks at how often")]
    pub fn check(&self, worlds: u64) {
        for (at, count) in self.0.iter().enumerate() {
            println!("{:>9} {:?}", count, ALL[at]);
        }
        if worlds >= WORLDS_ENOUGH {
            let never: Vec<_> = ALL.iter().filter(|seen| self.0[**seen as usize] == 0).collect();
            assert!(never.is_empty(), "never happened in {worlds} worlds: {never:?}");
        }
    }
}
