//! The command line: one verb a file, the only clap, the only place that prints.

mod announce;
mod answer;
mod args;
mod ask;
mod backup;
mod bench;
mod connect;
mod dispatch;
mod doctor;
mod exec;
mod exit_code;
mod input;
mod interrupt;
mod join;
mod json;
mod lines;
#[cfg(feature = "link")]
mod link;
#[cfg(not(feature = "link"))]
#[path = "no_link.rs"]
mod link;
#[cfg(feature = "link")]
mod link_metrics;
mod listen;
mod manual;
mod metrics;
mod notify;
mod output;
mod parse;
mod past;
mod render;
mod rooms;
mod run;
mod screen;
mod send;
mod serve;
mod status;
mod style;
mod submits;
mod table;
#[doc(hidden)]
pub mod time;
mod wait;
mod who;

pub use self::{dispatch::main, interrupt::interrupt};
