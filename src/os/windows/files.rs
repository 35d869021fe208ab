//! Files: which one it is, whose it is, who may use it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::windows::io::{FromRawHandle, OwnedHandle},
    path::{Path, PathBuf},
    ptr::null_mut,
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::{
        ERROR_ACCESS_DENIED, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY,
        ERROR_SHARING_VIOLATION, ERROR_TOO_MANY_OPEN_FILES, GENERIC_READ, GENERIC_WRITE,
        INVALID_HANDLE_VALUE,
    },
    Storage::FileSystem::{
        CreateFileW, FILE_ATTRIBUTE_NORMAL, FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_DELETE,
        FILE_SHARE_READ, FILE_SHARE_WRITE,
    },
};

use super::{
    security::{Descriptor, of_file, wide},
    user::uid_of,
};
use crate::os::{random::random_bytes, shared::Admitted};

/// Identity of the file at a path: here, a file that is open can't be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity;

impl FileIdentity {
    /// Identity of an open file.
    ///
    /// # Errors
    /// None on this platform.
    pub fn of(_file: &File) -> io::Result<Self> {
        Ok(Self)
    }

    /// Returns true if this very file is at a path.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// Identity of the file at a path.
///
/// # Errors
/// If a system call fails.
pub fn file_identity(path: &Path) -> io::Result<FileIdentity> {
    std::fs::symlink_metadata(path).map(|_| FileIdentity)
}

/// Access lists are made with the file here, and the handshake refuses the others.
///
/// # Errors
/// None on this platform.
pub fn admit(_path: &Path, _is_socket: bool, _who: Option<&Admitted>) -> io::Result<()> {
    Ok(())
}

/// Number of the user that a file or directory belongs to.
///
/// # Errors
/// If a system call fails.
pub fn owner_of(path: &Path) -> io::Result<u32> {
    uid_of(&of_file(path)?.owner)
}

/// Returns a random name beside a path.
///
/// # Errors
/// If random numbers are not available, or the path has no file name.
pub fn hidden_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = name.to_owned();
    hidden.push(".");
    hidden.push(hex(&random_bytes::<16>()?));
    Ok(path.with_file_name(hidden))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns true if an error says that this process or the system has no handles left.
#[must_use]
pub fn is_out_of_descriptors(e: &io::Error) -> bool {
    let code = e.raw_os_error().map(i32::cast_unsigned);
    matches!(
        code,
        Some(ERROR_TOO_MANY_OPEN_FILES | ERROR_NO_SYSTEM_RESOURCES | ERROR_NOT_ENOUGH_MEMORY)
    )
}

/// Opens or makes a file that is this user's and the system's, and at most to be read by others.
pub(super) fn open_with(path: &Path, everybody_reads: bool, disposition: u32) -> io::Result<File> {
    let name = wide(path);
    let descriptor = Descriptor::of_file(everybody_reads)?;
    let attributes = descriptor.attributes();
    // SAFETY: the name ends with a zero; attributes and what they point to live through the call.
    let handle = unsafe {
        CreateFileW(
            name.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            &raw const attributes,
            disposition,
            FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT,
            null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just gave us this handle, and no other code knows it.
    Ok(File::from(unsafe { OwnedHandle::from_raw_handle(handle) }))
}

/// Opens a file to append to it, and makes it if there is none, for its owner and the system alone.
///
/// # Errors
/// If a system call fails.
pub fn make_private(path: &Path) -> io::Result<File> {
    use windows_sys::Win32::Storage::FileSystem::OPEN_ALWAYS;
    let mut file = open_with(path, false, OPEN_ALWAYS)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// Opens a file of this user's settings to read it.
///
/// # Errors
/// If a system call fails.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Time that another process's look at a file may prevent its replacement, in milliseconds.
const IN_THE_WAY_MS: u64 = 2_000;

/// Returns true if something failed because another process has the file open just now; or because
/// it may not be done at all, which the system does not tell apart.
fn may_pass(e: &io::Error) -> bool {
    let code = e.raw_os_error().map(i32::cast_unsigned);
    matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION))
}

/// Puts a file in the place of another one. Older systems refuse that while any process has it
/// open: then it is tried again for a while.
pub(super) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    let until = Instant::now() + Duration::from_millis(IN_THE_WAY_MS);
    loop {
        match std::fs::rename(from, to) {
            Err(e) if may_pass(&e) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(3));
            }
            done => return done,
        }
    }
}

/// Reads a small text file that is replaced now and then.
pub(super) fn read_small(path: &Path, bytes_max: u64) -> io::Result<String> {
    let until = Instant::now() + Duration::from_millis(IN_THE_WAY_MS / 20);
    loop {
        match File::open(path) {
            Err(e) if may_pass(&e) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(3));
            }
            opened => {
                let mut text = String::new();
                opened?.take(bytes_max).read_to_string(&mut text)?;
                return Ok(text);
            }
        }
    }
}
