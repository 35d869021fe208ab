//! A member's end: for programs that talk, listen and announce. Blocking; no async runtime needed.
//!
//! Begin with [`Server::find`]: it has the everyday verbs.
//!
//! | verb | method |
//! | --- | --- |
//! | send a text | [`Server::say`] |
//! | listen, reply | [`Server::listen`], then [`Member::next_event`] and [`Member::say`] |
//! | announce to all members, with a receipt | [`Server::announce`] |
//! | list the sessions, even if the server hangs | [`Server::who`] |
//! | read and search the history | [`Server::history`], [`Server::search`] |
//! | send a job, be a worker | [`Server::ask`], [`Server::answer`] |
//!
//! Each of them opens a session of its own. A program with many questions keeps one: a [`Link`],
//! without threads. A [`Member`] keeps its streams in order over session and broadcast, and
//! reconnects by itself. Times are microseconds since 1970, as they travel; [`time_of`] converts
//! them.
//!
//! The folder `examples/` has a small program for each verb. Without its default feature the
//! package compiles what this module needs, and no SQLite, async runtime or screen:
//!
//! ```toml
//! moot = { version = "0.1", default-features = false }
//! ```

#![warn(missing_docs)]

mod announcements;
#[cfg(feature = "cli")]
mod autostart;
mod calls;
mod event;
mod everyday;
mod frames;
mod link;
mod mailbox;
mod member;
mod member_set;
#[doc(hidden)]
pub mod member_state;
mod outbox;
mod past;
mod pipeline;
mod server;
mod streams;
mod worker;

#[doc(hidden)]
#[cfg(feature = "cli")]
pub use autostart::{StartError, start};
pub use event::Event;
pub use everyday::{JobOutcome, time_of};
pub use link::{Link, LinkError, Sent, id_of};
pub use mailbox::{WakeReceiver, WakeSender};
#[doc(hidden)]
pub use member::Follows;
pub use member::{Member, Wake};
#[doc(hidden)]
pub use member_set::MemberSet;
pub use past::Search;
pub use pipeline::{Pipeline, Progress};
pub use server::{Announced, Server};

pub use crate::{
    chat::{
        event::GapReason,
        member::{EndCause, Kind as SessionKind, Level, Member as Handle, SessionId, State},
        message::{
            AnnouncementId, AnnouncementIdError, BootId, IdError, Message, MessageId, Notice,
            StreamName,
        },
        names::{Label, NameError, RoomName, Target, UserName},
        presence_row::{Counters, Row},
        refusal::{Refusal, RefusalCode},
        reply::{
            AnnouncementInfo, AnnouncementState, AuditInfo, HitInfo, MarkInfo, Missing, Page,
            ReceiptInfo, Reply, RoomInfo, SpanInfo, StreamInfo, WhoInfo,
        },
        request::{Announce, Answering, Begin, Follow, Request, Wait},
        rules::Role,
        stream_id::{Channel, ChannelKey, RoomId, RoomIdentity, StreamId, StreamLabel},
        text::{Text, TextError},
    },
    os::PlaceError,
    presence::{ReadError, ServerState, Snapshot},
    session::ConnectError,
    wire::hello::{Refused, RefusedCode},
};
