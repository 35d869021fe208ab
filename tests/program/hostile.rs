//! Hostile users of a system server, and other users beside them.

mod attacks;
mod hidden;
mod kinds;
#[allow(dead_code, reason = "fuzzing and the benchmark use the rest")]
mod raw;
mod victim;
