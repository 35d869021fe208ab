//! The Windows side of `os`.

mod acceptor;
mod channel;
mod child;
mod clock;
mod dir;
mod drain;
mod files;
mod health;
mod intake;
mod lock;
mod memory;
mod peer;
mod place;
mod process;
mod process_end;
mod pty;
mod reserve;
mod security;
mod service;
mod stream;
mod terminal;
mod user;

pub use acceptor::{
    Acceptor, PeerRef, ServerStream, about_to_close, hang_up, peer_of, say_at_once,
};
pub use channel::*;
pub use child::*;
pub use clock::{monotonic_us, wall_us};
pub use dir::Dir;
pub use drain::{Outputs, OwnedPipe, POLLS_OUTPUTS, has_one_output, unnamed_file};
pub use files::{
    FileIdentity, admit, file_identity, hidden_name, is_out_of_descriptors, make_private,
    open_to_read, owner_of,
};
pub use health::*;
pub use intake::{INTAKE_BYTES, Intake, Poller, Waker, Woken, wait_for_wake, wake_pair};
pub use lock::{Lock, end_holder, query, was_ready};
pub use memory::*;
pub use peer::{ProcessWatch, peer_ids, start_of};
pub use place::*;
pub use process::*;
pub use process_end::ProcessEnd;
pub use pty::{OFFERS_PTY, Pty};
pub use reserve::Reserve;
pub use service::{HandedOver, ServiceManager, errors_go_to_journal};
pub use stream::Client;
pub use terminal::*;
pub use user::{group_id, is_group, is_in_group, own_uid, user_id, user_name};
