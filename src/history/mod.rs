//! History on disk: SQLite, one connection that writes on its own thread, others that only read.
//! The only place that uses `rusqlite`.
//!
//! [`History::open`] gives the state with which the hub starts ([`Loaded`]); [`History::commit`]
//! passes the writer a transaction and returns at once, [`History::reader`] answers queries.
//! Acknowledged messages were committed; with `sync = "full"` they survive a power cut as well.

mod checkpoint;
mod connection;
mod copy;
mod damage;
mod error;
mod files;
mod identity;
mod index;
mod integrity;
mod load;
mod read;
mod records;
mod removal;
mod retention;
mod rows;
mod schema;
mod search;
mod space;
mod stats;
mod transaction;
mod write;

pub use connection::{Options, Retention};
pub use copy::{Copied, CopyError, back_up, restore};
pub use error::HistoryError;
pub use integrity::{Examined, examine};
pub use load::Loaded;
pub use read::{Query, Reader};
pub use rows::Found;
pub use search::Hit;
pub use write::{Done, History};

#[cfg(test)]
mod cases;

#[cfg(test)]
mod tests;
