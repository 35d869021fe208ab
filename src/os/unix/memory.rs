//! Shared memory: a file that one process writes and others map read-only, seen as 64-bit words.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
};

use memmap2::{Mmap, MmapRaw};
use nix::fcntl::OFlag;

use super::{
    files::{OwnFile, hidden_name, open_regular},
    health::is_hidden_name,
};
use crate::os::shared::{ReadWords, ReadWordsError, WORD_BYTES};

/// The writer's end. Pages are there before they are touched ([`SharedWords::reserve`]): a full
/// file system is an error here, never a signal.
#[derive(Debug)]
pub struct SharedWords {
    file: File,
    map: MmapRaw,
    reserved_bytes: usize,
    place: OwnFile,
}

impl SharedWords {
    /// Makes a file of `words` words under a hidden name beside `path`; it is not visible until
    /// [`SharedWords::publish`]. It goes with this value, and files that killed servers left while
    /// they made theirs go now: the caller holds the lock.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn create(path: &Path, words: usize, everybody: bool) -> io::Result<Self> {
        let bytes = (words * WORD_BYTES) as u64;
        remove_old(path, bytes);
        let mode = if everybody { 0o644 } else { 0o600 };
        let hidden = hidden_name(path)?;
        let file = open_regular(&hidden, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL, mode)?;
        let place = OwnFile::just_made(hidden)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.set_len(bytes)?;
        let map = MmapRaw::map_raw(&file)?;
        Ok(Self { file, map, reserved_bytes: 0, place })
    }

    /// Makes sure that the first `words` words have memory behind them.
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
    /// If a system call fails.
    pub fn publish(&mut self, path: &Path) -> io::Result<()> {
        self.place.rename(path)
    }

    /// Returns true if the file is still in its place.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.place.is_in_place()
    }

    /// Removes the file from its place, if it is still this one.
    pub fn unlink(&self) {
        self.place.unlink();
    }
}

/// Removes tables on their way into their place, which have the full size from the start.
fn remove_old(path: &Path, bytes: u64) {
    for entry in
        path.parent().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten()
    {
        let is_table = |meta: fs::Metadata| meta.is_file() && meta.len() == bytes;
        if is_hidden_name(path, &entry.path()) && entry.metadata().is_ok_and(is_table) {
            let _ = fs::remove_file(entry.path());
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
    /// Maps a file read-only. It must be a regular file of exactly the given number of words.
    ///
    /// # Errors
    /// See [`ReadWordsError`].
    pub fn open(
        path: &Path,
        words: usize,
        may_own: impl Fn(u32) -> bool,
    ) -> Result<Self, ReadWordsError> {
        let file = match open_regular(path, OFlag::O_RDONLY, 0) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ReadWordsError::Absent),
            Err(e) => return Err(e.into()),
        };
        let meta = file.metadata()?;
        let wrong = |text: String| Err(ReadWordsError::Wrong(text));
        if !may_own(meta.uid()) {
            return wrong(format!("owned by user id {}", meta.uid()));
        }
        let expected = (words * WORD_BYTES) as u64;
        if meta.len() != expected {
            return wrong(format!("{} bytes, and not {expected}", meta.len()));
        }
        // SAFETY: the bytes may change under us at any time; they are only read as atomic words and
        // checked after they were copied. The server never shrinks the file; its owner could, and
        // would harm only readers of its own table.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self { map })
    }
}
