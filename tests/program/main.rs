//! The real program, in processes of its own, in temporary directories.
//!
//! `MOOT_TEST_BROADCAST=off` runs everything without the broadcast channel, with the same results.

mod machine;
mod world;

mod ask;
mod backup;
mod bad_input;
mod bench;
mod crowd;
mod doctor;
mod everyday;
mod library;
mod manual;
mod notices;
mod past;
mod results;
mod run;
mod script;
mod server_end;
mod status;
mod times;
// Forged multicast datagrams, several users of one host, what is written for a POSIX shell, and examples.
#[cfg(unix)]
mod deletion;
#[cfg(unix)]
mod examples;
#[cfg(unix)]
mod fair;
#[cfg(unix)]
mod files;
#[cfg(unix)]
mod first_minute;
#[cfg(unix)]
mod host;
#[cfg(unix)]
mod hostile;
#[cfg(unix)]
mod library_examples;
#[cfg(unix)]
mod rules;
// Pseudo-terminals.
#[cfg(unix)]
mod screen;
// Descriptors that a service manager hands over, and its sockets.
#[cfg(unix)]
mod service;
#[cfg(unix)]
mod shell;
// Signals.
#[cfg(unix)]
mod lines;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod spoof;
#[cfg(unix)]
mod two_users;
