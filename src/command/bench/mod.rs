//! `moot bench`: how fast this server is on this machine. Real sessions; each member counts, checks
//! order and misses nothing.

mod measurement;
mod members;
mod report;
mod seen;
mod senders;
mod stamp;

pub(super) use self::measurement::run;
