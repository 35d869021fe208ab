//! Access of users beside the owner and root to a file of a system server.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use super::user::own_uid;
use crate::os::shared::Admitted;

/// Lets all users read a file (and connect to it, if it is a socket), or only those who are named:
/// by an access list, since a mode has room for one group only.
///
/// # Errors
/// If the file system has no access lists: then only the owner may use the file.
pub fn admit(path: &Path, is_socket: bool, who: Option<&Admitted>) -> io::Result<()> {
    let (all, right) = if is_socket { (0o666, READ | WRITE) } else { (0o644, READ) };
    let mode = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let Some(who) = who else {
        remove_list(path);
        return mode(all);
    };
    mode(0o600)?;
    set_list(path, &list(who, right))
}

const READ: u16 = 4;
const WRITE: u16 = 2;

/// An access list as acl(5) and the kernel's `posix_acl_xattr` have it.
fn list(who: &Admitted, right: u16) -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    let (mut users, mut groups) = (who.users.clone(), who.groups.clone());
    for ids in [&mut users, &mut groups] {
        ids.sort_unstable();
        ids.dedup();
    }
    // Its owner and root have their rights in any case.
    users.retain(|uid| *uid != own_uid() && *uid != 0);
    let mut entries = vec![(0x01, READ | WRITE, NO_ID)];
    entries.extend(users.into_iter().map(|uid| (0x02, right, uid)));
    entries.push((0x04, 0, NO_ID));
    entries.extend(groups.into_iter().map(|gid| (0x08, right, gid)));
    entries.extend([(0x10, right, NO_ID), (0x20, 0, NO_ID)]);
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, right, id) in entries {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend(right.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[cfg(target_os = "linux")]
const NAME: &std::ffi::CStr = c"system.posix_acl_access";

#[cfg(target_os = "linux")]
fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

#[cfg(target_os = "linux")]
fn set_list(path: &Path, list: &[u8]) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: both names end with a zero, and the kernel reads as many bytes as the list has.
    let done = unsafe {
        libc::lsetxattr(path.as_ptr(), NAME.as_ptr(), list.as_ptr().cast(), list.len(), 0)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(target_os = "linux")]
fn remove_list(path: &Path) {
    let Ok(path) = c_path(path) else { return };
    // SAFETY: both names end with a zero. Without a list there is nothing to remove.
    let _ = unsafe { libc::lremovexattr(path.as_ptr(), NAME.as_ptr()) };
}

#[cfg(not(target_os = "linux"))]
fn set_list(_path: &Path, _list: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn remove_list(_path: &Path) {}
