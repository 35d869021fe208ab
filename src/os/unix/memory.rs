//! Shared memory: a file that one process writes and others map read-only, seen as 64-bit words.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
};

use memmap2::{Mmap, MmapRaw};

use super::files::{FileIdentity, file_identity, hidden_name};

use crate::os::shared::{ReadWords, ReadWordsError, WORD_BYTES};

/// The writer's end. Pages are there before they are touched ([`SharedWords::reserve`]): a full file
/// system is an error here, never a signal.
#[derive(Debug)]
pub struct SharedWords {
    file: File,
    map: MmapRaw,
    reserved_bytes: usize,
    identity: FileIdentity,
    path: PathBuf,
}

impl SharedWords {
    /// Makes a file of so many words under a hidden name beside `path`; nobody sees it until
    /// [`SharedWords::publish`].
    ///
    /// # Errors
    /// From the system.
    pub fn create(path: &Path, words: usize, everybody: bool) -> io::Result<Self> {
        let mode = if everybody { 0o644 } else { 0o600 };
        let hidden = hidden_name(path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&hidden)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.set_len((words * WORD_BYTES) as u64)?;
        let map = MmapRaw::map_raw(&file)?;
        let identity = file_identity(&hidden)?;
        Ok(Self { file, map, reserved_bytes: 0, identity, path: hidden })
    }

    /// Makes sure that the first so many words have memory behind them.
    ///
    /// # Errors
    /// If the file system is full.
    pub fn reserve(&mut self, words: usize) -> io::Result<()> {
        let bytes = words * WORD_BYTES;
        if bytes > self.reserved_bytes {
            allocate(&self.file, self.reserved_bytes, bytes)?;
            self.reserved_bytes = bytes;
        }
        Ok(())
    }

    /// The words that have memory behind them.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        let words = self.reserved_bytes / WORD_BYTES;
        // SAFETY: the mapping is page-aligned, at least `reserved_bytes` long, lives as long as
        // `self`, and is only ever accessed as atomic words, by this process and by others.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), words) }
    }

    /// Puts the file in its place, whole.
    ///
    /// # Errors
    /// From the system.
    pub fn publish(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.path = path.to_owned();
        Ok(())
    }

    /// Removes the file from its place, if it is still this one.
    pub fn unlink(&self) {
        if file_identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn allocate(file: &File, from: usize, upto: usize) -> io::Result<()> {
    let (from, bytes) = (i64::try_from(from), i64::try_from(upto - from));
    let (from, bytes) = (from.map_err(io::Error::other)?, bytes.map_err(io::Error::other)?);
    Ok(nix::fcntl::posix_fallocate(file, from, bytes)?)
}

/// Nothing has been written there yet.
#[cfg(target_vendor = "apple")]
fn allocate(file: &File, from: usize, upto: usize) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(&vec![0; upto - from], from as u64)
}

/// The file whose memory is shared at a path: the path itself.
///
/// # Errors
/// None on this platform.
pub fn words_file(path: &Path) -> io::Result<PathBuf> {
    Ok(path.to_owned())
}

impl ReadWords {
    /// Maps a file read-only. It must be a regular file of exactly so many words.
    ///
    /// # Errors
    /// See [`ReadWordsError`].
    pub fn open(
        path: &Path,
        words: usize,
        may_own: impl Fn(u32) -> bool,
    ) -> Result<Self, ReadWordsError> {
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ReadWordsError::Absent),
            Err(e) => return Err(e.into()),
        };
        let meta = file.metadata()?;
        let wrong = |text: String| Err(ReadWordsError::Wrong(text));
        if !meta.is_file() {
            return wrong("it is no regular file".to_owned());
        }
        if !may_own(meta.uid()) {
            return wrong(format!("it belongs to user id {}", meta.uid()));
        }
        let expected = (words * WORD_BYTES) as u64;
        if meta.len() != expected {
            return wrong(format!("it has {} bytes and not {expected}", meta.len()));
        }
        // SAFETY: the bytes may change under us at any time; they are only read as atomic words and
        // checked after they were copied. The server never shrinks the file; its owner could, and would
        // harm nobody but readers of its own table.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self { map })
    }
}
