//! Facts about this machine for a search for faults.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::{
    net::if_::InterfaceFlags,
    sys::{
        resource::{Resource, getrlimit},
        statvfs::statvfs,
    },
};

use super::user::own_uid;
use crate::os::health::{RuntimeWish, Space};

/// Returns true if a name could be that of a socket or table on its way into its place, which a
/// killed server left.
#[must_use]
pub fn is_hidden_name(place: &Path, name: &Path) -> bool {
    let (Some(place), Some(name)) = (place.file_name(), name.file_name()) else { return false };
    place != name && place.len() == name.len() && name.as_bytes().iter().all(u8::is_ascii_lowercase)
}

/// Open descriptors that a server here may have at most.
#[must_use]
pub fn descriptors_max() -> Option<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    #[allow(clippy::useless_conversion, reason = "signed on some platforms")]
    u64::try_from(hard).ok()
}

/// Largest receive buffer that the kernel grants, before it doubles it.
#[must_use]
pub fn receive_buffer_bytes_max() -> Option<u64> {
    fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?.trim().parse().ok()
}

/// Room on the file system of a directory.
///
/// # Errors
/// If a system call fails.
pub fn space_at(dir: &Path) -> io::Result<Space> {
    let found = statvfs(dir)?;
    #[allow(clippy::unnecessary_cast, reason = "their widths differ between platforms")]
    let (unit, free, all, files) = (
        found.fragment_size() as u64,
        found.blocks_available() as u64,
        found.blocks() as u64,
        found.files() as u64,
    );
    #[allow(clippy::unnecessary_cast, reason = "its width differs between platforms")]
    let no_files_left = files > 0 && found.files_available() as u64 == 0;
    Ok(Space {
        free_bytes: if no_files_left { 0 } else { free.saturating_mul(unit) },
        total_bytes: all.saturating_mul(unit),
    })
}

/// Returns true if the kernel hands out descriptors of processes; none where moot does not use
/// them.
#[must_use]
#[cfg(target_os = "linux")]
pub fn watches_processes() -> Option<bool> {
    // SAFETY: it takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    let Ok(fd) = i32::try_from(fd) else { return Some(false) };
    if fd < 0 {
        return Some(false);
    }
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel just gave us this descriptor, and no other code knows it.
    drop(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) });
    Some(true)
}

/// Returns true if the kernel hands out descriptors of processes; none where moot does not use
/// them.
#[must_use]
#[cfg(not(target_os = "linux"))]
pub fn watches_processes() -> Option<bool> {
    None
}

/// Returns true if the loopback interface is up.
#[must_use]
pub fn loopback_is_up() -> Option<bool> {
    let mut all = nix::ifaddrs::getifaddrs().ok()?;
    all.find(|one| one.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .map(|lo| lo.flags.contains(InterfaceFlags::IFF_UP))
}

/// Returns true if a process has the same network as this one; none if that may not be known.
#[must_use]
pub fn shares_network_with(pid: u32) -> Option<bool> {
    let network = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).ok();
    Some(network("self")? == network(&pid.to_string())?)
}

/// Returns true if a process was stopped by a signal.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 't']))
}

/// Returns true if a process listens at a path, without connecting: a service manager that holds
/// the socket would start a server.
#[must_use]
pub fn is_listening(path: &Path) -> bool {
    /// Flag of a listening socket, `__SO_ACCEPTCON`.
    const LISTENS: &str = "00010000";
    let Ok(all) = fs::read("/proc/net/unix") else { return false };
    all.split(|byte| *byte == b'\n').any(|line| {
        let Some(before) = line.strip_suffix(path.as_os_str().as_bytes()) else { return false };
        let fields = String::from_utf8_lossy(before);
        fields.ends_with(' ') && fields.split_ascii_whitespace().nth(3) == Some(LISTENS)
    })
}

/// Returns the setting of `XDG_RUNTIME_DIR`, checked against the directory.
#[must_use]
pub fn runtime_wish() -> RuntimeWish {
    let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) else {
        return RuntimeWish::Unset;
    };
    let dir = PathBuf::from(dir);
    if !dir.is_absolute() {
        return RuntimeWish::Bad(dir, "not an absolute path".to_owned());
    }
    match fs::metadata(&dir) {
        Err(e) => RuntimeWish::Bad(dir, e.to_string()),
        Ok(meta) if !meta.is_dir() => RuntimeWish::Bad(dir, "not a directory".to_owned()),
        Ok(meta) if meta.uid() != own_uid() => {
            RuntimeWish::Bad(dir, format!("owned by user id {}", meta.uid()))
        }
        Ok(_) => RuntimeWish::Good(dir),
    }
}
