//! One user does whatever hurts the others or the server: each has a share of everything, and the others go on.

// User ids and limits of single processes.
#[cfg(target_os = "linux")]
mod shell;
