//! Facts about this machine for a search for faults.

use std::{io, path::Path, ptr::null_mut};

use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;

use super::security::wide;
use crate::os::health::{RuntimeWish, Space};

/// Returns true if a name could be that of a table of an earlier run, or of something on its way
/// into its place.
#[must_use]
pub fn is_hidden_name(place: &Path, name: &Path) -> bool {
    let text = |path: &Path| path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let (Some(place), Some(name)) = (text(place), text(name)) else { return false };
    name.strip_prefix(&place)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|random| random.len() == 32 && random.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Returns none: this platform has no such limit.
#[must_use]
pub fn descriptors_max() -> Option<u64> {
    None
}

/// Nothing is received in a buffer of that kind here.
#[must_use]
pub fn receive_buffer_bytes_max() -> Option<u64> {
    None
}

/// Room on the drive of a directory.
///
/// # Errors
/// If a system call fails.
pub fn space_at(dir: &Path) -> io::Result<Space> {
    let (mut free_bytes, mut total_bytes) = (0, 0);
    let name = wide(dir);
    // SAFETY: the name ends with a zero; the results are written to variables of ours.
    let done = unsafe {
        GetDiskFreeSpaceExW(name.as_ptr(), &raw mut free_bytes, &raw mut total_bytes, null_mut())
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Space { free_bytes, total_bytes }) }
}

/// Ends of processes are waited for with their handles.
#[must_use]
pub fn watches_processes() -> Option<bool> {
    None
}

/// Returns none: this platform does not use the loopback interface.
#[must_use]
pub fn loopback_is_up() -> Option<bool> {
    None
}

/// There is one network.
#[must_use]
pub fn shares_network_with(_pid: u32) -> Option<bool> {
    None
}

/// Not known here.
#[must_use]
pub fn is_stopped(_pid: u32) -> bool {
    false
}

/// No service manager holds a pipe here.
#[must_use]
pub fn is_listening(_path: &Path) -> bool {
    false
}

/// Returns [`RuntimeWish::None`]: this platform has no such setting.
#[must_use]
pub fn runtime_wish() -> RuntimeWish {
    RuntimeWish::None
}
