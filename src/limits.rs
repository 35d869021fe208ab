//! Every bound of the program, unit last in its name; `relations.rs` checks them at compile time.
//!
//! What an operator may change starts from these values (`config/moot.toml`); nothing else in the
//! program invents a bound of its own.

mod relations;

// ---- names and texts -------------------------------------------------------------------------

/// Longest room name or label.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest user name that is carried (Linux allows 32; Windows names are longer).
pub const USER_BYTES_MAX: usize = 64;
/// Bytes of the name of a linked host.
pub const HOST_BYTES_MAX: usize = 31;
/// Streams of linked hosts that a server knows the positions of.
pub const LINKED_STREAMS_MAX: usize = 65_536;
/// Senders of linked hosts that a server remembers between messages.
pub const LINKED_SENDERS_MAX: usize = 4096;
/// Linked hosts that a server, or a link, knows of.
pub const LINK_HOSTS_MAX: usize = 256;
/// Bytes of a payload that links exchange: what is larger is not read.
pub const LINK_PAYLOAD_BYTES_MAX: usize = 512 * 1024;
/// Bytes of messages in a batch, with what JSON adds to them; one long message may be more.
pub const LINK_BATCH_BYTES_MAX: usize = 192 * 1024;
/// The same at a carrier that refuses larger ones.
pub const LINK_BATCH_BYTES_MIN: usize = 4 * 1024;
/// Messages in a batch.
pub const LINK_BATCH_MESSAGES_MAX: usize = 1024;
/// Bytes of messages in one request of an importer; one long message may be more.
pub const LINK_PART_BYTES_MAX: usize = 48 * 1024;
/// Newest messages of a room that a link has in memory for its exporter.
pub const LINK_RECENT_MESSAGES_MAX: usize = 4096;
/// Bytes of those messages.
pub const LINK_RECENT_BYTES_MAX: usize = 1 << 20;
/// Stored messages between the reader of the carrier's stream and the importer.
pub const LINK_INCOMING_MAX: usize = 64;
/// Announcements of other hosts whose receipts a link sends there.
pub const LINK_RECEIPTS_FOLLOWED_MAX: usize = 256;
/// Rows of linked hosts in the presence table.
pub const LINKED_ROWS_MAX: usize = 4096;
/// Those of one host.
pub const LINKED_ROWS_PER_HOST_MAX: usize = 512;
/// Rooms in one of them.
pub const LINKED_ROOMS_PER_ROW_MAX: usize = 44;
/// Longest text of a message or an announcement.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Bytes that the screen's input takes: more than a text may have, so that a long one can be
/// shortened.
pub const INPUT_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;
/// Longest topic of a room.
pub const TOPIC_BYTES_MAX: usize = 1024;
/// Longest status text of `away`.
pub const STATUS_BYTES_MAX: usize = 120;

// ---- frames and datagrams --------------------------------------------------------------------

/// Fixed header of a frame: magic, version, kind, body length.
pub const FRAME_HEADER_BYTES: usize = 8;
/// Longest frame, header included.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Longest batch body: what one datagram or one batch frame carries before sealing.
pub const BODY_BYTES_MAX: usize = 60_000;
/// Overhead of a batch body around the longest text: its own header, one sender, one message.
pub const BODY_OVERHEAD_BYTES_MAX: usize = 1024;
/// Header of a datagram: magic, version, key number, counter.
pub const DATAGRAM_HEADER_BYTES: usize = 16;
/// Authentication tag of AES-256-GCM.
pub const SEAL_TAG_BYTES: usize = 16;
/// Longest datagram, header and seal included.
pub const DATAGRAM_BYTES_MAX: usize = BODY_BYTES_MAX + DATAGRAM_HEADER_BYTES + SEAL_TAG_BYTES;
/// Largest UDP payload over IPv4.
pub const UDP_PAYLOAD_BYTES_MAX: usize = 65_507;
/// Most messages in one batch body.
pub const BATCH_MESSAGES_MAX: usize = 4096;
/// Most messages in one submit frame.
pub const SUBMIT_MESSAGES_MAX: usize = 1024;

// ---- sessions --------------------------------------------------------------------------------

/// Sessions of the whole server; the presence table is sized for it.
pub const SESSIONS_MAX: usize = 16_384;
/// Sessions of one user id on a system server.
pub const SESSIONS_PER_USER_MAX: usize = 2_048;
/// Streams (rooms, conversations, announcements) one session may follow at a time.
pub const STREAMS_PER_SESSION_MAX: usize = 256;
/// A handshake not finished by then ends the connection.
pub const HANDSHAKE_MS_MAX: u64 = 2_000;
/// A frame not finished by then, after its first byte, ends the connection.
pub const FRAME_MS_MAX: u64 = 5_000;
/// Delay of a look at the timers from which on the server was stopped or the machine overloaded: no
/// user is charged for that time.
pub const AWAY_MS: u64 = 500;
/// Connections of one user id that have not shaken hands yet.
pub const HALF_OPEN_PER_USER_MAX: usize = 64;
/// Connections of all users that have not shaken hands yet.
pub const HALF_OPEN_MAX: usize = 1_024;
/// Frames of a connection before its handshake: one of each kind that is answered then, and some.
pub const FRAMES_BEFORE_SESSION_MAX: u32 = 8;
/// Descriptors of a connection: its socket, and its process.
pub const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// Descriptors of everything else that the server opens: locks, channels, the history, its readers.
pub const DESCRIPTORS_RESERVED: u64 = 64;
/// Connections that a server takes however few descriptors it may have.
pub const CONNECTIONS_MIN: usize = 8;
/// Silence after which a session is asked for a sign of life.
pub const PING_AFTER_MS: u64 = 1_000;
/// Time without an answer to a ping after which a session is shown as unresponsive.
pub const UNRESPONSIVE_AFTER_MS: u64 = 1_500;
/// Bytes waiting for one session's socket above which nothing more is taken from it or put to it.
pub const OUTPUT_BYTES_HIGH: usize = 256 * 1024;
/// Bytes of memory of all sessions of one user id: output, and input that is not taken yet. Above,
/// the session that keeps most is ended.
pub const SESSION_BYTES_PER_USER_MAX: usize = 64 * 1024 * 1024;
/// The same, above which they are read in small pieces only.
pub const SESSION_BYTES_PER_USER_HIGH: usize = SESSION_BYTES_PER_USER_MAX / 2;
/// Bytes that one turn reads from one session at most.
pub const READ_BYTES_PER_TURN_MAX: usize = FRAME_BYTES_MAX;
/// The same of a session whose account has used its turn.
pub const READ_BYTES_PER_TURN_MIN: usize = 4 * 1024;
/// Requests taken from one session in one turn; the rest waits for the others.
pub const REQUESTS_PER_TURN_MAX: usize = 64;
/// Signs of life and reports taken per turn from a session whose account has used its turn.
pub const SIGNS_PER_TURN_MAX: usize = 2;
/// Sessions of one account that go on in one turn with what the turn before had no time for.
pub const CALLED_PER_TURN_MAX: usize = 32;
/// Maximum bytes of a client's own words that the server repeats to it.
pub const ECHO_BYTES_MAX: usize = 200;
/// Look-ups in the user database under way for requests of one user id; further ones wait.
pub const LOOKUPS_PER_USER_MAX: usize = 2;
/// Look-ups in the user database at a time, of all users.
pub const LOOKUPS_MAX: usize = 4;
/// Maximum time that a connection's end waits for its process to end (closed or killed?).
pub const END_CAUSE_MS_MAX: u64 = 20;
/// Bytes that are read for a goodbye when a session's process has ended: more than a socket holds.
pub const LAST_WORDS_BYTES_MAX: usize = 4 * 1024 * 1024;

// ---- rooms, backlog and flow -----------------------------------------------------------------

/// Rooms of the whole server.
pub const ROOMS_MAX: usize = 4_096;
/// Rooms that one user id brought into being.
pub const ROOMS_PER_USER_MAX: usize = 512;
/// Names of deleted rooms that are remembered with their numbers.
pub const GONE_ROOMS_MAX: usize = 4_096;
/// Rules about users (operators, invited, banned, muted) that one room has.
pub const ROOM_ROLES_MAX: usize = 4_096;
/// Acts of operators that can be looked at afterwards.
pub const AUDIT_KEPT_MAX: usize = 4_096;
/// Acts of one user who is not an operator of the server.
pub const AUDIT_PER_USER_MAX: usize = 64;
/// Ids of streams that one user id uses up in one boot: there are 16 times as many.
pub const STREAM_IDS_PER_USER_MAX: usize = 1 << 28;
/// Conversations that one user id has begun, and as many more that it has opened.
pub const CONVERSATIONS_PER_USER_MAX: usize = 1_024;
/// Bytes of recent messages kept for one stream.
pub const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of recent messages kept for one conversation.
pub const CONVERSATION_BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// Bytes of recent messages of all streams together; above, the user who holds most holds less.
pub const BACKLOG_TOTAL_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of messages taken from one account and not yet published.
pub const IN_FLIGHT_BYTES_PER_USER_MAX: usize = 4 * 1024 * 1024;
/// Bytes of messages of one stream taken and not yet published.
pub const IN_FLIGHT_BYTES_PER_STREAM_MAX: usize = 1024 * 1024;
/// Bytes published and not yet acknowledged by a member that is served by session.
pub const SESSION_WINDOW_BYTES: usize = 1024 * 1024;
/// Receive-buffer charge assumed for a member that did not say what it was granted.
pub const WINDOW_CHARGE_BYTES_MIN: usize = 256 * 1024;
/// Time without progress, while the window is full, after which a member is *lagging*.
pub const LAGGING_AFTER_MS: u64 = 40;
/// The same while most members are as slow: then the machine is the cause, not one member.
pub const LAGGING_TOGETHER_AFTER_MS: u64 = 500;
/// Time all sessions of one account together may hold a window shut, in `STALL_WINDOW_MS`.
pub const STALL_BUDGET_MS: u64 = 40;
/// Time over which a stall budget comes back.
pub const STALL_WINDOW_MS: u64 = 10_000;
/// First pause before a lagging (or deaf) member is tried again; doubles each time.
pub const RETRY_PAUSE_MS_MIN: u64 = 1_000;
/// Longest such pause.
pub const RETRY_PAUSE_MS_MAX: u64 = 60_000;
/// Period of head updates to members that have not reported a changed head.
pub const HEADS_EVERY_MS: u64 = 250;
/// Maximum time until a member reports what it delivered, while something changes.
pub const REPORT_EVERY_MS: u64 = 200;
/// Delivered amount after which a member reports at once: bytes of a session, charge of datagrams.
/// Every second of the largest bodies: reports are most of what many members cost the server.
pub const REPORT_BYTES: usize = 62 * 1024;
/// Longest random delay before a missing range is asked for.
pub const REPAIR_DELAY_MS_MAX: u64 = 8;
/// Time after which an unanswered request for a range is repeated.
pub const REPAIR_RETRY_MS: u64 = 1_000;
/// Time after which a number that a session member still misses is sent again; doubles each time.
/// The member's second request shows that it misses the number.
pub const MISSED_AFTER_MS: u64 = 500;
/// Silence after which a session member that has not reported the head gets a head update.
pub const STALLED_AFTER_MS: u64 = 2_000;
/// Period of the search for such members.
pub const STALL_LOOK_EVERY_MS: u64 = 1_000;
/// Numbers that one fetch from the history asks for; a quarter after each failure.
pub const FETCH_NUMBERS_MAX: u64 = 4_096;
/// Pause after a fetch that failed; doubles each time.
pub const FETCH_PAUSE_MS_MIN: u64 = 500;
/// Longest such pause.
pub const FETCH_PAUSE_MS_MAX: u64 = 10_000;
/// Failed reads of a single number after which it is given up.
pub const FETCH_TRIES_MAX: u32 = 12;
/// Messages out of order that one inbox holds.
pub const INBOX_HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Window over which the share of messages that came by broadcast is judged.
pub const HEALTH_WINDOW_MS: u64 = 5_000;
/// A probe of the broadcast channel is heard by all: in rooms of more members than that...
pub const PROBE_AT_ONCE_MEMBERS_MAX: usize = 32;
/// ... it is sent at most once in this period.
pub const PROBES_EVERY_MS: u64 = 20;
/// Members of one room that are notified of joins and leaves; if more want that, none is (see
/// `who`).
pub const MEMBERSHIP_TOLD_MEMBERS_MAX: usize = 512;
/// Those of one user on a system server; in rooms with at most that many members, all are notified.
pub const MEMBERSHIP_TOLD_PER_USER_MAX: usize = 128;
/// Joins and leaves kept for members that are slow to take them.
pub const MEMBERSHIP_KEPT_MAX: usize = 256;
/// Period in which an account lets a user into a room by one role once.
pub const INVITE_AGAIN_MS: u64 = 10_000;
/// Invitations of an account in that period.
pub const INVITES_MAX: usize = 100;
/// Shortest time in which an account gets one turn budget while it owes some.
pub const TURN_US_MIN: u64 = 500;
/// Records of one account waiting for the store or in its transaction; then its requests wait.
pub const RECORDS_PER_USER_MAX: usize = 64;
/// Recipients of an announcement that count as one more record.
pub const RECIPIENTS_PER_RECORD: usize = 16;
/// Period of the timers of a server with something to watch.
pub const TICK_BUSY_MS: u64 = 20;
/// Period of timers while a member keeps a window shut: the others of its stream wait.
pub const TICK_SHUT_MS: u64 = 5;
/// Period of the timers of a quiet server.
pub const TICK_IDLE_MS: u64 = 250;

/// Rooms with fewer listening members go by session, unless configured otherwise.
pub const BROADCAST_MEMBERS_MIN: usize = 4;

// ---- fair shares -----------------------------------------------------------------------------

/// Bytes of one account that one turn takes while no other account competes.
pub const TURN_BYTES_MAX: usize = 128 * 1024;
/// Minimum bytes per account and turn, however many accounts compete.
pub const TURN_BYTES_MIN: usize = 8 * 1024;
/// Cost of a frame in that budget, beside its bytes.
pub const FRAME_COST_BYTES: usize = 64;
/// Cost of a request in that budget, beside its bytes.
pub const REQUEST_COST_BYTES: usize = 4 * 1024;
/// Bytes of messages given to one account's sessions per turn; waiting ones get some even then.
pub const GIVEN_BYTES_PER_TURN_MAX: usize = 2 * 1024 * 1024;
/// Cost of each member that is notified of something.
pub const TOLD_COST_BYTES: usize = 64;
/// Cost of each thing that was only looked at: a message, a member, a room.
pub const LOOK_COST_BYTES: usize = 16;
/// Cost of each changed row of the presence table.
pub const ROW_COST_BYTES: usize = 2 * 1024;
/// Cost of each record to store.
pub const RECORD_COST_BYTES: usize = 512;
/// Changed rows that one turn writes beside those of the sessions that changed them.
pub const LATE_ROWS_PER_TURN: usize = 64;
/// Streams that sessions are taken out of in one turn because their user was kicked.
pub const KICK_STREAMS_PER_TURN: usize = 256;
/// Time after its last message or request during which an account competes with others.
pub const COMPETES_MS: u64 = 1_000;
/// Messages of one transaction while several accounts compete, so that none waits long for others.
pub const COMMIT_MESSAGES_COMPETING_MAX: usize = 64;
/// Minimum messages of each account in such a transaction.
pub const COMMIT_MESSAGES_EACH_MIN: usize = 8;
/// Messages a second of one user on a system server.
pub const MESSAGES_PER_SECOND_PER_USER: u64 = 100_000;
/// Bytes of messages a second of one user on a system server.
pub const BYTES_PER_SECOND_PER_USER: u64 = 64 * 1024 * 1024;
/// Bytes sent again a second to all sessions of one user on a system server.
pub const REPAIR_BYTES_PER_SECOND_PER_USER: u64 = 16 * 1024 * 1024;
/// New connections a second of one user on a system server.
pub const CONNECTIONS_PER_SECOND_PER_USER: u64 = 1_000;
/// Users whose connections are counted; above, the counts of those with tokens left start over.
pub const CONNECTING_USERS_MAX: usize = 4_096;
/// Time for which an answer of the user database about a user is valid.
pub const STANDING_MS: u64 = 1_000;
/// Connections accepted before others have their turn.
pub const ACCEPTS_PER_TURN_MAX: usize = 16;
/// Half-life of the recent usage by which the heaviest users are named.
pub const USAGE_HALVES_MS: u64 = 10_000;
/// Heaviest users that `status` names.
pub const HEAVIEST_MAX: usize = 5;
/// Bytes of the history that one user's texts may take on a system server.
pub const HISTORY_BYTES_PER_USER_MAX: u64 = 1024 * 1024 * 1024;

// ---- submits ---------------------------------------------------------------------------------

/// Messages that a client may have submitted and not yet seen acknowledged, counted from the oldest
/// to the newest: the server recognizes that many counters.
pub const UNACKED_SUBMITS_MAX: usize = 1_024;
/// Runs of counters of client instances without a session; each instance counts as one more.
pub const ENDED_INSTANCE_RUNS_MAX: usize = 131_072;
/// Users whose dropped instances are told apart from those of others.
pub const FORGOTTEN_USERS_MAX: usize = 4_096;
/// Ended instances that wait to be removed from the history with its next transaction.
pub const QUIT_INSTANCES_MAX: usize = 4_096;
/// Users whose names are known: they were here, or have a conversation.
pub const USERS_KNOWN_MAX: usize = 65_536;
/// Names of other users that were asked for lately.
pub const USERS_ASKED_MAX: usize = 1_024;
/// Users whose names are to be looked up again because they were shown.
pub const USERS_STALE_MAX: usize = 256;
/// Time after which a user's name, or a name's user, is looked up again, also if there was none.
pub const USER_FRESH_MS: u64 = 2 * 60 * 1000;

/// Rooms in which one session's last will is said, at most.
pub const WILL_ROOMS_MAX: usize = 8;
/// Last wills that are said again because their commit failed.
pub const WILLS_UNSAID_MAX: usize = 1_024;
/// Bytes of last wills of one account.
pub const WILL_BYTES_PER_ACCOUNT_MAX: usize = 256 * 1024;

// ---- history ---------------------------------------------------------------------------------

/// Time after which records that could not be stored are tried again.
pub const RECORDS_RETRY_MS: u64 = 1_000;
/// Requests of one session that may wait until what they changed is kept.
pub const REPLIES_WAITING_PER_SESSION_MAX: usize = 16;
/// Transactions that may wait for the history's thread; the hub has one under way.
pub const HISTORY_JOBS_MAX: usize = 4;
/// Messages that one step of retention takes.
pub const HISTORY_CHUNK_ROWS: usize = 500;
/// Messages that seem young behind which retention looks for a majority of older ones.
pub const HISTORY_AHEAD_ROWS: usize = 2_000;
/// Earlier times of messages (2025-01-01) are of a clock that was not set: microseconds since 1970.
pub const HISTORY_EARLIEST_US: i64 = 1_735_689_600_000_000;
/// Difference of the wall clock and the monotonic one from which on the wall clock has leapt.
pub const CLOCK_LEAP_MS: u64 = 60 * 60 * 1000;
/// Time that a wall clock has to stay where it leapt to, before anything is removed by it.
pub const CLOCK_LEAP_MS_HELD: u64 = 10 * 60 * 1000;
/// Looks at damaged rows for one answer, or for one step of work.
pub const DAMAGED_LOOKS_MAX: u32 = 4_096;
/// Looks at damaged rows one by one, before larger steps are made: more than a page has rows.
pub const DAMAGED_LOOKS_NEAR_MAX: u32 = 512;
/// Readable parts between damaged pages that are looked for after a large step.
pub const DAMAGED_ISLANDS_MAX: u32 = 16;
/// Messages that one step of indexing takes.
pub const INDEX_CHUNK_ROWS: usize = 2_000;
/// Bytes of texts after which such a step ends.
pub const INDEX_CHUNK_BYTES: usize = 1024 * 1024;
/// Removed messages that the index drops one by one; of more, and more than stay, it is rebuilt.
pub const INDEX_REMADE_ROWS_MIN: u64 = 10_000;
/// The index takes nothing of a disk with less room than that: it is left to the history.
pub const INDEX_FREE_BYTES_MIN: u64 = 2 * DISK_FREE_BYTES_MIN;
/// Minimum time between two purges of the traces of removed messages from the index.
pub const INDEX_PURGE_MS: u64 = 60_000;
/// Time after the last removal from the index before its traces are purged.
pub const INDEX_QUIET_MS: u64 = HISTORY_IDLE_MS / 2;
/// Trigrams per search that the index gets; the texts found are compared with the whole words.
pub const SEARCH_TRIGRAMS_MAX: usize = 64;
/// Bytes in use up to which an earlier version's history is rewritten at start to return free
/// pages.
pub const HISTORY_REWRITE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Free pages (4 KiB) that a database keeps for later, if more than its share of the used ones.
pub const FREE_PAGES_MAX: u64 = 256;
/// Divisor of the used pages: one in this number may be free.
pub const FREE_SHARE: u64 = 8;
/// Time that returning some free pages to the file system may take, while senders wait.
pub const SPACE_STEP_MS: u64 = 4;
/// Pages that are returned in one step, however fast that is.
pub const SPACE_STEP_PAGES_MAX: u64 = 1_024;
/// Time between two such steps while transactions come without a pause.
pub const SPACE_PAUSE_MS: u64 = 50;
/// Size of a log above which it is emptied when there is nothing else to do.
pub const LOG_BYTES_IDLE_MAX: u64 = 1024 * 1024;
/// Minimum time between two times that a log is emptied for its size.
pub const LOG_EMPTIED_MS: u64 = 10_000;
/// Bytes that a message counts in its user's share of the history, beside its text.
pub const HISTORY_MESSAGE_BYTES: u64 = 100;
/// Period in which the history's thread looks for work of its own while nothing comes.
pub const HISTORY_IDLE_MS: u64 = 1_000;
/// Time without a transaction after which the history's thread begins with work of its own.
pub const HISTORY_PAUSE_MS: u64 = 10;
/// Period of retention while transactions come without a pause.
pub const HISTORY_RETAIN_MS: u64 = 250;
/// Period in which the newest id is noted beside the database.
pub const HISTORY_NOTE_MS: u64 = 5_000;
/// Minimum number of messages of any user, after a sender's last one, for which its row is kept.
pub const SENDER_LEASE_IDS: u64 = 4_096;
/// Period in which submits that are too old are forgotten.
pub const SUBMITS_FORGET_MS: u64 = 60_000;
/// Maximum time of one history query.
pub const QUESTION_MS_MAX: u64 = 5_000;
/// Questions about the past that are answered at a time; one of each user id.
pub const QUESTIONS_MAX: usize = 3;
/// Age up to which an answer to `status` is given again, milliseconds.
pub const STATUS_OLD_MS_MAX: u64 = 250;
/// Searches at a time, apart from those.
pub const SEARCHES_MAX: usize = 2;
/// Fetches of older messages for members that fell behind, at a time.
pub const FETCHES_MAX: usize = 4;
/// Such fetches of one user id on a system server.
pub const FETCHES_PER_USER_MAX: usize = 2;
/// Time for which a repeated submit is recognised.
pub const SUBMITS_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Messages that one search gives at most.
pub const SEARCH_HITS_MAX: usize = 10_000;
/// Longest text to search for.
pub const SEARCH_BYTES_MAX: usize = 1024;
/// Connections that read, kept open.
pub const READERS_MAX: usize = 2;
/// Read marks kept for one user id.
pub const MARKS_PER_USER_MAX: usize = 4_096;
/// Messages of one stream that are counted as unread at most; more are as many.
pub const UNREAD_MAX: u64 = 10_000;
/// Messages in memory that one request looks at to count unread ones (5 ms for 8,000); later ones
/// count by their numbers.
pub const UNREAD_IN_MEMORY_LOOKS_MAX: u64 = 2_000;
/// `@`s that one request in memory compares with a user's name; later ones do not count as
/// mentions.
pub const UNREAD_AT_SIGNS_MAX: usize = 10_000;
/// Messages that one question looks at to count unread ones; the rest counts by its numbers.
pub const UNREAD_LOOKS_MAX: u64 = 200_000;
/// Number of `@`s in one text that may be mentions.
pub const MENTIONS_LOOKED_MAX: usize = 128;

// ---- announcements ---------------------------------------------------------------------------

/// Announcements that are known with their receipts.
pub const NOTICES_KEPT_MAX: usize = 256;
/// Retained and scheduled announcements of one user id, and those that are in flight.
pub const NOTICES_PER_USER_MAX: usize = 64;
/// Bytes of their texts.
pub const NOTICE_BYTES_PER_USER_MAX: usize = 64 * 1024;
/// Bytes of such texts of all users.
pub const NOTICE_BYTES_KEPT_MAX: usize = 256 * 1024;
/// Sessions in all receipts together; the oldest receipts are forgotten above.
pub const RECEIPT_SESSIONS_KEPT_MAX: usize = 131_072;
/// Names of one user id that acknowledge one announcement.
pub const RECEIPT_ACKS_PER_USER_MAX: usize = 64;
/// Names that acknowledge one announcement.
pub const RECEIPT_ACKS_MAX: usize = 16_384;
/// Period in which changed receipts are stored.
pub const NOTICE_RECORD_EVERY_MS: u64 = 1_000;
/// Maximum time from now for which an announcement can be scheduled.
pub const SCHEDULE_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;
/// Missing members named in one frame; more come in further frames.
pub const RECEIPT_MISSING_PER_FRAME_MAX: usize = 256;

// ---- programs that are run for messages ------------------------------------------------------

/// Messages that wait for the program of `--exec`; above, reading pauses.
pub const EXEC_WAITING_MAX: usize = 1_024;
/// Bytes of their texts.
pub const EXEC_WAITING_BYTES_MAX: usize = 1024 * 1024;

// ---- requests and replies --------------------------------------------------------------------

/// Requests of one account that wait for replies.
pub const REQUESTS_PER_USER_MAX: usize = 1_024;
/// Requests of all.
pub const REQUESTS_MAX: usize = 16_384;
/// Queues, and answerers without one, that all requests together were offered to.
pub const REQUEST_GROUPS_MAX: usize = 131_072;
/// Queues, and workers without one, that the jobs of one account were offered to.
pub const REQUEST_GROUPS_PER_USER_MAX: usize = 16_384;
/// Sessions that answer in one room.
pub const ANSWERERS_PER_ROOM_MAX: usize = 1_024;
/// Those of them that one user has on a system server.
pub const ANSWERERS_PER_USER_MAX: usize = 256;
/// Requests that one answerer works on at a time.
pub const ANSWER_JOBS_MAX: usize = 256;
/// Jobs that a worker remembers as done, for a server that restarts.
pub const REQUESTS_DONE_KEPT_MAX: usize = 1_024;
/// Time in which an offered job has to be claimed, before it is offered to another worker.
pub const OFFER_MS_MAX: u64 = 1_000;
/// Events about workers that ended, kept for the sender of a job whose connection broke.
pub const MISSED_EVENTS_MAX: usize = 64;
/// Outcomes of jobs that workers reported, kept until the senders of the jobs are gone.
pub const OUTCOMES_MAX: usize = 4_096;
/// Time for which a job is kept for a worker whose connection broke while it worked on it.
pub const HOLDER_AWAY_MS_MAX: u64 = 3_000;
/// Time for which a job is kept for a sender whose connection broke.
pub const ASKER_AWAY_MS_MAX: u64 = 10_000;
/// Time after which a job sent again after a break is offered; a worker that did it reports before.
pub const REASK_AFTER_MS: u64 = 3_000;

// ---- names that are kept ---------------------------------------------------------------------

/// Away texts kept for one user id (one a label).
pub const AWAY_PER_USER_MAX: usize = 64;
/// Rooms that one name (user and label) follows.
pub const FOLLOWED_PER_NAME_MAX: usize = 512;
/// Names with followed rooms of one user id.
pub const FOLLOWING_NAMES_PER_USER_MAX: usize = 256;

// ---- presence --------------------------------------------------------------------------------

/// Minimum time between two reports to the service manager of what the server has to do.
pub const SERVICE_STATUS_EVERY_MS: u64 = 5_000;
/// Period of the server's heartbeat.
pub const HEARTBEAT_EVERY_MS: u64 = 500;
/// Period in which the server looks at its own files, milliseconds.
pub const FILES_LOOK_MS: u64 = 500;
/// A command waits for a server that makes its socket again, milliseconds.
pub const REPAIR_MS_MAX: u64 = 3_000;
/// A held lock with an older heartbeat: the server does not respond.
pub const HEARTBEAT_STALE_MS: u64 = 3_000;
/// Time without a message or a key of their own after which a person is idle.
pub const IDLE_AFTER_MS: u64 = 10 * 60 * 1000;
/// Names whose unread messages are listed in the table of a user server.
pub const BADGES_MAX: usize = 64;
/// Minimum time between two counts of the badges while something changes.
pub const BADGES_EVERY_MS: u64 = 200;
/// Tries of a reader on a slot that changes under its eyes.
pub const SEQLOCK_TRIES_MAX: usize = 1_000;

// ---- benchmarks ------------------------------------------------------------------------------

/// Sessions that send in a benchmark.
pub const BENCH_SENDERS_MAX: u32 = 1_000;
/// Sessions that listen in a benchmark; a few are left for others.
pub const BENCH_MEMBERS_MAX: u32 = 16_000;

// ---- help and completion ---------------------------------------------------------------------

/// Widest line of help that is not fitted to the terminal.
pub const HELP_COLUMNS: usize = 80;
/// Names that a shell is offered at once.
pub const COMPLETIONS_MAX: usize = 256;

// ---- times of commands -----------------------------------------------------------------------

/// Time that a command waits for an answer without `--timeout`.
pub const ANSWER_MS_DEFAULT: u64 = 10_000;
/// Time that `ask` waits for replies without `--timeout`.
pub const ASK_MS_DEFAULT: u64 = 30_000;
/// Time that `announce` waits for its receipt without `--timeout`.
pub const RECEIPT_MS_DEFAULT: u64 = 2_000;
/// Time that `announce --wait acked` waits for its receipt: people take longer.
pub const ACKED_MS_DEFAULT: u64 = 5 * 60 * 1000;
/// Time without sessions after which a server started by a command ends.
pub const IDLE_EXIT_MS: u64 = 15 * 60 * 1000;
/// Time that a command waits for the server that it started.
pub const START_MS_MAX: u64 = 10_000;
/// Output of a command (`run`) that waits to be sent: above, the oldest is left out and reported.
pub const RUN_WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Minimum time between two messages of a command's output while it runs.
pub const RUN_EVERY_MS: u64 = 250;
/// Time that the first line waits for others that come with it.
pub const RUN_GATHER_MS: u64 = 100;
/// Time without an addition after which a line without its end (a prompt) is sent...
pub const RUN_PARTIAL_MS: u64 = 1_000;
/// ... or time since its beginning (a progress bar).
pub const RUN_PARTIAL_MS_MAX: u64 = 5_000;
/// Lines of the output that `run --on-fail` says when `--tail` does not say.
pub const RUN_TAIL_LINES_DEFAULT: u64 = 20;
/// Longest name of a command in what `run` says of it.
pub const RUN_TITLE_BYTES_MAX: usize = 200;
/// Time that `run` waits at its end for messages that are not acknowledged yet.
pub const RUN_UNSENT_MS_MAX: u64 = 5_000;
/// Time that `run` reads, after its child's end, what a grandchild still writes.
pub const RUN_DRAIN_MS: u64 = 300;
/// The same in bytes, after that time: the largest pipe that it may have made (Linux).
pub const RUN_DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one part of the output that `run --chronic` saves: it keeps the first and the newest
/// two.
pub const RUN_SPOOL_PART_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Time after which a child that was asked to end because of its timeout is killed.
pub const RUN_KILL_AFTER_MS: u64 = 3_000;
/// Time that `doctor` waits for a server's answer.
pub const DOCTOR_ANSWER_MS: u64 = 2_000;
/// Time that `doctor` looks at a history.
pub const DOCTOR_HISTORY_MS: u64 = 5_000;
/// Room on a history's disk below which it counts as full, and below which it will soon be full.
pub const DISK_FREE_BYTES_MIN: u64 = 8 * 1024 * 1024;
pub const DISK_FREE_BYTES_LOW: u64 = 128 * 1024 * 1024;
/// Descriptors below which a server has room for a few dozen sessions only (two each, and some).
pub const DESCRIPTORS_LOW: u64 = 512;
/// Log of a server that runs in the background: one file, and one older.
pub const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of the newest acts of operators, which every log file begins with.
pub const LOG_ACTS_BYTES_MAX: usize = 256 * 1024;
/// Lines of the log that one user id causes in a second; more are counted.
pub const LOG_LINES_PER_USER_MAX: u32 = 3;
/// Users whose lines are counted apart in a second; those of all others are counted together.
pub const LOG_USERS_MAX: usize = 32;
/// Longest configuration file that is read.
pub const CONFIG_BYTES_MAX: u64 = 256 * 1024;
