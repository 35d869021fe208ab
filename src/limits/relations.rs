//! Relations among the bounds, checked at compile time.

use super::*;

const _: () = assert!(TEXT_BYTES_MAX + BODY_OVERHEAD_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX + FRAME_HEADER_BYTES <= FRAME_BYTES_MAX);
const _: () =
    assert!(TEXT_BYTES_MAX + BODY_OVERHEAD_BYTES_MAX + FRAME_HEADER_BYTES <= FRAME_BYTES_MAX);
const _: () = assert!(DATAGRAM_BYTES_MAX <= UDP_PAYLOAD_BYTES_MAX);
const _: () = assert!(TOPIC_BYTES_MAX < TEXT_BYTES_MAX);

// A session is shown unresponsive at most 3 s after it was stopped (invariant 6).
const _: () = assert!(PING_AFTER_MS + UNRESPONSIVE_AFTER_MS + TICK_IDLE_MS < 3_000);
const _: () = assert!(OUTPUT_BYTES_HIGH >= 2 * FRAME_BYTES_MAX);
const _: () = assert!(READ_BYTES_PER_TURN_MIN >= SIGNS_PER_TURN_MAX * 64);
// Input that is read in small pieces alone never ends a session.
const _: () = assert!(
    SESSIONS_PER_USER_MAX * READ_BYTES_PER_TURN_MIN
        <= SESSION_BYTES_PER_USER_MAX - SESSION_BYTES_PER_USER_HIGH
);
const _: () = assert!(HALF_OPEN_PER_USER_MAX <= HALF_OPEN_MAX);
const _: () = assert!(SESSIONS_PER_USER_MAX <= SESSIONS_MAX);

const _: () = assert!(MISSED_AFTER_MS < REPAIR_RETRY_MS);
const _: () = assert!(FETCH_NUMBERS_MAX >> FETCH_TRIES_MAX <= 1);
const _: () = assert!(IN_FLIGHT_BYTES_PER_STREAM_MAX >= 2 * TEXT_BYTES_MAX);
const _: () = assert!(SESSION_WINDOW_BYTES * 2 <= BACKLOG_BYTES_MAX);
const _: () = assert!(BACKLOG_BYTES_MAX <= BACKLOG_TOTAL_BYTES_MAX);
const _: () = assert!(CONVERSATION_BACKLOG_BYTES_MAX <= BACKLOG_BYTES_MAX);
// Half of the smallest window holds the longest datagram's charge.
const _: () = assert!(WINDOW_CHARGE_BYTES_MIN >= 4 * DATAGRAM_BYTES_MAX);
const _: () = assert!(HEADS_EVERY_MS <= 250);
const _: () = assert!(REPORT_EVERY_MS + TICK_BUSY_MS < LAGGING_TOGETHER_AFTER_MS);
// A member that reports in time gets no head update for what it has.
const _: () = assert!(REPORT_EVERY_MS < HEADS_EVERY_MS);
// What a member has not reported yet never keeps a window shut.
const _: () = assert!(REPORT_BYTES + DATAGRAM_BYTES_MAX + 1024 <= WINDOW_CHARGE_BYTES_MIN / 2);
const _: () = assert!(REPORT_BYTES < CONVERSATION_BACKLOG_BYTES_MAX / 2);
const _: () = assert!(LAGGING_AFTER_MS < LAGGING_TOGETHER_AFTER_MS);
const _: () = assert!(STALL_BUDGET_MS < STALL_WINDOW_MS);

const _: () = assert!(TURN_BYTES_MIN < TURN_BYTES_MAX);
const _: () = assert!(FETCHES_PER_USER_MAX < FETCHES_MAX);

const _: () = assert!(SUBMIT_MESSAGES_MAX <= UNACKED_SUBMITS_MAX);

// A step of indexing, which takes several times its texts, leaves room.
const _: () = assert!(INDEX_FREE_BYTES_MIN >= DISK_FREE_BYTES_MIN + 8 * INDEX_CHUNK_BYTES as u64);

// A receipt of a full server fits.
const _: () = assert!(SESSIONS_MAX <= RECEIPT_SESSIONS_KEPT_MAX);
const _: () = assert!(NOTICE_BYTES_PER_USER_MAX >= TEXT_BYTES_MAX);

const _: () = assert!(ANSWER_JOBS_MAX < REQUESTS_DONE_KEPT_MAX);
// Those lists go into a frame, with up to nine bytes a number.
const _: () = assert!((REQUESTS_DONE_KEPT_MAX + ANSWER_JOBS_MAX) * 9 + 256 < FRAME_BYTES_MAX);

const _: () = assert!(HEARTBEAT_EVERY_MS * 4 <= HEARTBEAT_STALE_MS);

const _: () = assert!((BENCH_MEMBERS_MAX as usize) < SESSIONS_MAX);

const _: () = assert!(2 * LOG_ACTS_BYTES_MAX as u64 <= LOG_BYTES_MAX);
const _: () = assert!(RUN_WAITING_BYTES_MAX >= 4 * TEXT_BYTES_MAX);
const _: () = assert!(RUN_TITLE_BYTES_MAX * 6 < TEXT_BYTES_MAX);
