//! The Unix side of `os`.

#[cfg(feature = "cli")]
mod acceptor;
mod access;
mod channel;
#[cfg(feature = "cli")]
mod child;
mod clock;
mod dir;
#[cfg(feature = "cli")]
mod drain;
mod files;
mod health;
mod intake;
mod lock;
mod memory;
mod peer;
mod place;
#[cfg(feature = "cli")]
mod process;
#[cfg(feature = "cli")]
mod process_end;
#[cfg(feature = "cli")]
mod pty;
mod reserve;
#[cfg(feature = "cli")]
mod service;
mod stream;
#[cfg(feature = "cli")]
mod terminal;
mod user;

#[cfg(feature = "cli")]
pub use acceptor::{
    Acceptor, PeerRef, ServerStream, about_to_close, hang_up, peer_of, say_at_once,
};
pub use access::admit;
pub use channel::*;
#[cfg(feature = "cli")]
pub use child::*;
pub use clock::{monotonic_us, wall_us};
pub use dir::Dir;
#[cfg(feature = "cli")]
pub use drain::{Outputs, OwnedPipe, POLLS_OUTPUTS, has_one_output, unnamed_file};
pub use files::{
    FileIdentity, file_identity, hidden_name, is_out_of_descriptors, make_private, open_to_read,
    owner_of,
};
pub use health::*;
pub use intake::{INTAKE_BYTES, Intake, Poller, Waker, Woken, wait_for_wake, wake_pair};
pub use lock::{Lock, end_holder, query, was_ready};
pub use memory::*;
pub use peer::{ProcessWatch, peer_ids, start_of};
pub use place::*;
#[cfg(feature = "cli")]
pub use process::*;
#[cfg(feature = "cli")]
pub use process_end::ProcessEnd;
#[cfg(feature = "cli")]
pub use pty::{OFFERS_PTY, Pty};
pub use reserve::Reserve;
#[cfg(feature = "cli")]
pub use service::{HandedOver, ServiceManager, errors_go_to_journal};
pub use stream::Client;
#[cfg(feature = "cli")]
pub use terminal::*;
pub use user::{group_id, is_group, is_in_group, own_uid, user_id, user_name};
