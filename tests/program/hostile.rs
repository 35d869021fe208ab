//! Hostile users of a system server, and other users beside them: each has a share of everything, and the others go on.

mod attacks;
mod hidden;
mod kinds;
#[allow(dead_code, reason = "fuzzing and the benchmark use the rest")]
mod raw;
// User ids and limits of single processes.
#[cfg(target_os = "linux")]
mod shell;
mod victim;
