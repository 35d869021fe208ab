//! Hostile users of a system server and other users beside them, and hostile surroundings: directories of other users,
//! things in the place of files, a server that means harm.

// User ids of threads, limits of single processes.
#[cfg(target_os = "linux")]
mod attacks;
#[cfg(target_os = "linux")]
mod hidden;
#[cfg(target_os = "linux")]
mod kinds;
mod paths;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "fuzzing and the benchmark use the rest")]
mod raw;
#[cfg(target_os = "linux")]
mod shell;
#[cfg(target_os = "linux")]
mod victim;
mod words;
