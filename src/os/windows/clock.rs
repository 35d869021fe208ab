//! Both clocks. The monotonic one is the same in all processes of the host since its start.

use std::time::{SystemTime, UNIX_EPOCH};

use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

/// Monotonic clock, microseconds; comparable between processes.
#[must_use]
pub fn monotonic_us() -> u64 {
    let (mut count, mut each_second) = (0, 0);
    // SAFETY: it writes one integer, which is ours.
    unsafe { QueryPerformanceCounter(&raw mut count) };
    // SAFETY: as above.
    unsafe { QueryPerformanceFrequency(&raw mut each_second) };
    // Neither fails on any Windows that Rust supports.
    let (count, each_second) = (count.unsigned_abs(), each_second.unsigned_abs().max(1));
    count / each_second * 1_000_000 + count % each_second * 1_000_000 / each_second
}

/// Wall clock, microseconds since 1970.
#[must_use]
pub fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
