//! Settings of the operator: a TOML file over the defaults of `limits`, each value within its
//! bounds.

mod check;
mod duration;
mod file;
#[cfg(feature = "cli")]
pub mod screen;
mod settings;

pub use self::{
    duration::{DurationError, duration},
    file::{ConfigError, TomlFile, Wrong},
    settings::{Broadcast, History, Limits, Policy, Room, Server, Settings, environment},
};
