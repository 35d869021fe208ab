//! Faults to plant in tests, each of which breaks one promise: `tests/faults` requires that a test
//! notices.
//!
//! A switch is in the code of its rule: `if planted(Fault::…)` disables the rule. Without the
//! feature `faults` a switch is the constant `false`, so that nothing of it is left in the program.

// A build with faults is never shipped.
#[cfg(all(feature = "faults", not(debug_assertions)))]
compile_error!("the feature `faults` is for tests: build it with debug assertions");

macro_rules! faults {
    ($($fault:ident $promise:literal)*) => {
        /// A fault that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $(#[doc = $promise] $fault,)*
        }

        impl Fault {
            /// All faults, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$fault,)*];
        }
    };
}

// One line per fault, with the promise that it breaks: `tests/faults` reads them.
faults! {
    // Acknowledgement, order and storage.
    AckWithoutCommit "An acknowledged message is stored."
    OrderLostInDividedCommit "A divided transaction keeps the order of a room."
    RepeatedSubmitUnanswered "A repeated submit is answered."
    StoredSubmitJudgedAgain "A stored message is acknowledged even if its sender lost the right."
    OldCounterIsNew "A submit with an old counter is reported as unknown, never numbered again."
    FarSubmitNotHeld "A text waits while the server could forget the oldest open one."
    SubmittedReportedUnsent "A text that may be stored is never reported as not sent."
    StaleConversation "A direct message goes to the conversation of this boot."
    EarlyNewsLost "Events of a session before it was ready are reported."
    AckToFirstSession "Acks go to the newest session of a client instance."
    FailedCommitKeepsBytes "A failed commit gives back its bytes in flight."
    FailedChangeReportedSaved "A change is reported as saved after its commit only."
    FailedChangeDropped "A change whose commit failed is saved later."
    RoomNamedBeforeCommit "The id of a room that a client has is stored."
    SubmitsNotRestored "A repeated submit is recognized after a restart of the server."
    DeletedNumbersReused "Numbers of a deleted room are not given again."
    FutureTimesStopRetention "Retention continues behind messages with a future time."
    LeapBelieved "One wrong reading of the clock removes nothing."
    DamageCostsTheRest "A damaged message costs no other."
    DeadlinePerStream "One history query has one deadline, in any number of streams."
    OlderHistoryKeepsEpoch "The epoch rises when an older history is restored."
    IndexKeepsFullDisk "On a full disk the index gives its space to the history."
    ClientIgnoresEpoch "A member starts over when the epoch has risen."

    LostHistoryAcknowledged "A message is acknowledged only while its database is in its place."

    // Linked hosts.
    OlderHistoryKeepsGeneration "Messages under numbers that were exported before are exported too."
    ImportPassesOverGaps "Nothing is imported while earlier messages of the host are missing."
    ImportPositionSurvivesFailure "What could not be stored is imported again."
    BannedRemoteSpeaks "A user of a linked host who is banned from a room says nothing in it."

    // Hostile surroundings.
    FilesNotWatched "A server whose files are removed can be reached again."
    SecondServerBesideRemovedLock "No server starts beside one whose lock was removed."
    EndedHostServerPassedOver "No command moves to another server because the host's server ended."
    FirstWriterLeadsConfiguredRoom "The configuration names the operators of its rooms."
    WayNotChecked "Nothing leads through a directory or link that another user can change."
    ForeignDirectoryTaken "A directory with another use is not taken over."
    FifoWaitedFor "Nothing in the place of a file keeps a command waiting."
    FailedStartLeavesTable "A failed start leaves no stray file."
    ServerTextBeginsLine "No text of a server begins a line."

    // Delivery.
    HeadUpdateNotSent "Loss at the tail is noticed by a head update."
    RepairOneShort "A repair sends each missing number."
    FetchCursorOneTooFar "After a fetch the cursor is at the next number."
    FetchOfAnotherMembership "A fetch belongs to one membership."
    HearingNeverJudged "A member that stops receiving the channel is served by session."
    LaggingMemberNeverReturns "A member that caught up holds the window again."
    PausedMemberStaysInWindow "A paused member that is slow leaves the window."
    WindowIgnored "Bytes in flight never exceed the window."
    StallBudgetNeverSpent "An account may keep windows full for a bounded time."

    // Shares of an account.
    ReceiptsStoredWhole "The stored size of a report does not grow with the members."
    EffectsNotCharged "A request is charged with all that it causes."
    AccountRecordsUnbounded "Records of an account in one transaction are bounded."
    AccountBytesUnbounded "Bytes in flight of an account are bounded."
    StreamBytesUnbounded "Bytes in flight of a stream are bounded."
    RepairBytesUnbounded "Bytes that an account has sent again are bounded per second."
    AccountWaitersNeverResumed "Sessions that wait for their account are resumed."
    RateLimitNeverSlows "A sender over the rate limit waits."
    SlowedSessionNeverResumed "A sender that waited for the rate limit is resumed."

    // Shares of a user in the server's vital resources.
    SignsTakenAtAnyTime "Reports and pings have a share like all other frames."
    AllSessionsCalled "Few sessions of one account are resumed in one turn."
    GivenWithoutEnd "Bytes for the sessions of one account in one turn are bounded."
    TurnWithoutLook "A turn begins with a look at all sockets."
    SharedFramesUncharged "A frame that only one user's sessions hold is charged to that user."
    MemoryOfUserUnbounded "Memory of the sessions of one user is bounded."
    FullOutputStopsFrameTimer "An unfinished frame has a time limit, also while the output is full."
    ReadersAtFullPriority "Reading the history runs below the hub."
    SessionsBeyondDescriptors "Sessions leave the server its own descriptors."
    LogLinesUnbounded "Lines of the log that one user causes are bounded per second."
    NoisePushesActsOut "Actions of operators stay in the log, however many other lines are written."

    // Rooms, roles and removal.
    ServerKickKeepsKeys "A user kicked from the server opens no later datagram."
    KeysNeverChange "A user removed from a room opens no later datagram."
    HiddenRoomNamed "A stranger gets the same reply for a hidden room as for none."
    RemovedUserGetsAnswer "An answer of the store is not given to a user removed meanwhile."
    RemovedUserGetsFetch "A fetch is not given to a session removed meanwhile."
    BannedRoomAnnouncedByBroadcast "A banned user gets no announcement to the room."
    PrivateAnnouncementToAll "An announcement to a private room is for its members."
    FollowForgottenAtRestart "Follows survive a restart of the server."

    DeletedRoomComesBack "A member that comes back never creates a room."
    AnswerOfEarlierRoom "An answer about a deleted room is not given to readers of its successor."

    // Announcements and last wills.
    WillInFirstRoomOnly "A last will is sent in each room of the member."
    WillAfterQuit "A last will is not sent after a clean end."
    LeaverStaysRecipient "A receipt does not wait for a member that left the room."
    RecipientLeftOut "A receipt counts each member present at publication."
    FailedScheduleLost "A scheduled announcement whose commit failed is tried again."
    ScheduledTwice "A scheduled announcement is published once."
    RetainedShownAgain "A retained announcement is not shown again after a reconnect."
    RetainedOfNewRoomLost "A room joined during a break brings its retained announcements."
    DeletedRoomKeepsAnnouncements "Announcements to a deleted room go with it."

    // Shares of a user.
    BacklogTakenFromAny "Bytes of backlogs are taken from the user who holds most."
    UserNamesForever "A user id that is given to another user is another user."
    GoneNamesUnbounded "The names of deleted rooms are bounded."

    // Jobs.
    KilledWorkerKeepsJob "The job of a killed worker is offered to another worker."
    AwayWorkerNotAwaited "A worker whose connection broke has time to come back."
    OfferNeverExpires "An offer that is not claimed goes to another worker."
    StoppedWorkerForgotten "A worker that answers the server again gets the jobs that wait."
    EndedJobWakesNoQueue "A job that ends frees its workers for the jobs that wait."
    BoundNeverReleased "A job passed for a bound is offered once the bound has room."
    ClaimsBelieved "A worker's claims count only for jobs that this boot did not offer itself."
    JobBeforePublication "Only a published message becomes a job."
    JobOutcomeToldOnce "The outcome of a job reaches its sender over any break."
    FailedReplyCounts "A job is done at the commit of its reply."

    // Reading.
    ReadMarkGoesBack "A read mark only rises."
    UnreadOneTooFew "Unread messages are counted exactly."
}

/// Returns true if this process runs with the fault: `MOOT_FAULT` names it.
#[cfg(feature = "faults")]
#[must_use]
pub fn planted(fault: Fault) -> bool {
    use std::sync::LazyLock;
    static PLANTED: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let name = std::env::var("MOOT_FAULT").ok()?;
        // `will-after-quit` is `WillAfterQuit`.
        let wanted = name.replace('-', "");
        let found = Fault::ALL.iter().find(|of| format!("{of:?}").eq_ignore_ascii_case(&wanted));
        Some(*found.unwrap_or_else(|| panic!("MOOT_FAULT={name}: unknown fault")))
    });
    *PLANTED == Some(fault)
}

/// Returns false: without the feature `faults` no fault is planted.
#[cfg(not(feature = "faults"))]
#[must_use]
#[inline]
pub const fn planted(_: Fault) -> bool {
    false
}
