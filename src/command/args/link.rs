//! `moot link` on the command line.

use std::path::PathBuf;

use clap::Args;

use super::values::Dur;
use crate::chat::names::{HostName, RoomName};

#[derive(Debug, Args)]
pub(in crate::command) struct LinkArgs {
    /// Address of the NATS server (tls://HOST:4222; several of one cluster separated by commas)
    #[arg(value_name = "URL", env = "MOOT_LINK_URL", hide_env_values = true)]
    pub(in crate::command) url: String,
    /// Act as host NAME, which no other link may use (default: name of this machine up to the first
    /// dot)
    #[arg(long, value_name = "NAME", value_parser = str::parse::<HostName>)]
    pub(in crate::command) host: Option<HostName>,
    /// Carry these rooms, in both directions
    #[arg(
        long,
        value_name = "ROOM,…",
        value_delimiter = ',',
        value_parser = str::parse::<RoomName>,
    )]
    pub(in crate::command) rooms: Vec<RoomName>,
    /// Carry announcements, with a receipt for each host
    #[arg(long)]
    pub(in crate::command) announcements: bool,
    /// Log in with FILE (.creds, of nsc)
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub(in crate::command) creds: Option<PathBuf>,
    /// Log in as NATS user NAME
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub(in crate::command) user: Option<String>,
    /// Read the password of the NATS user from FILE
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(in crate::command) password_file: Option<PathBuf>,
    /// Trust the certificate authorities in FILE (PEM) only
    #[arg(long, value_name = "FILE")]
    pub(in crate::command) tls_ca: Option<PathBuf>,
    /// Use JetStream stream NAME
    #[arg(long, value_name = "NAME", default_value = "MOOT")]
    pub(in crate::command) stream: String,
    /// Create the stream if it does not exist
    #[arg(long)]
    pub(in crate::command) create: bool,
    /// With --create: remove messages from the stream after DUR
    #[arg(long, value_name = "DUR", requires = "create")]
    pub(in crate::command) max_age: Option<Dur>,
    /// With --create: remove the oldest messages above N mebibytes
    #[arg(
        long,
        value_name = "N",
        requires = "create",
        value_parser = clap::value_parser!(u64).range(1..),
    )]
    pub(in crate::command) max_mib: Option<u64>,
    /// Check each thing that a link needs, say what is wrong, and exit
    #[arg(long)]
    pub(in crate::command) check: bool,
    /// Write counters to FILE every 5 s, in the format of Prometheus
    #[arg(long, value_name = "FILE")]
    pub(in crate::command) metrics: Option<PathBuf>,
}
