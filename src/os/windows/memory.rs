//! Shared memory: a file that one process writes and others map read-only, seen as 64-bit words.
//!
//! A mapped file can be neither replaced nor removed here. So the table has a name of its own for
//! each run, a small file in its place names it, and what earlier runs left is removed by the next
//! one.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
};

use memmap2::{Mmap, MmapRaw};
use windows_sys::Win32::Storage::FileSystem::CREATE_NEW;

use super::{
    files::{hidden_name, open_with, read_small, replace},
    security::of_file,
    user::uid_of,
};
use crate::os::shared::{ReadWords, ReadWordsError, WORD_BYTES};

/// Longest name in the small file.
const NAME_BYTES_MAX: u64 = 256;

/// The writer's end.
#[derive(Debug)]
pub struct SharedWords {
    map: MmapRaw,
    reserved_bytes: usize,
    /// The table's own file.
    file: PathBuf,
    /// The small file that names it, once it is published.
    place: Option<PathBuf>,
    everybody: bool,
}

impl SharedWords {
    /// Makes a file of `words` words under a random name beside `path`; it is not visible until
    /// [`SharedWords::publish`].
    ///
    /// # Errors
    /// If a system call fails; a full disk above all, since the file has its final size from the
    /// start.
    pub fn create(path: &Path, words: usize, everybody: bool) -> io::Result<Self> {
        remove_old(path);
        let hidden = hidden_name(path)?;
        let file = open_with(&hidden, everybody, CREATE_NEW)?;
        file.set_len((words * WORD_BYTES) as u64)?;
        let map = MmapRaw::map_raw(&file)?;
        Ok(Self { map, reserved_bytes: 0, file: hidden, place: None, everybody })
    }

    /// Makes sure that the first `words` words have memory behind them.
    ///
    /// # Errors
    /// None on this platform: the file has its space.
    pub fn reserve(&mut self, words: usize) -> io::Result<()> {
        self.reserved_bytes = self.reserved_bytes.max(words * WORD_BYTES).min(self.map.len());
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

    /// Puts the small file in its place, whole.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn publish(&mut self, path: &Path) -> io::Result<()> {
        write_pointer(path, &self.file, self.everybody)?;
        self.place = Some(path.to_owned());
        Ok(())
    }

    /// Returns true if the small file is still in its place.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.exists())
    }

    /// Removes the small file from its place, if it names this table. The table itself goes with
    /// the next server's start, if a process maps it.
    pub fn unlink(&self) {
        if let Some(place) = &self.place
            && words_file(place).is_ok_and(|file| file == self.file)
        {
            let _ = fs::remove_file(place);
        }
    }
}

/// Names a file in a small one, which appears whole.
fn write_pointer(place: &Path, file: &Path, everybody: bool) -> io::Result<()> {
    let name = file.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let hidden = hidden_name(place)?;
    open_with(&hidden, everybody, CREATE_NEW)?.write_all(name.as_bytes())?;
    replace(&hidden, place)
}

/// The file whose memory is shared at a path: the one that the small file there names.
///
/// # Errors
/// If a system call fails; `InvalidData` if it names none.
pub fn words_file(place: &Path) -> io::Result<PathBuf> {
    if place.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a directory"));
    }
    let name = read_small(place, NAME_BYTES_MAX)?;
    let own = place.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let is_ours = name
        .strip_prefix(own)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|random| !random.is_empty() && random.bytes().all(|b| b.is_ascii_hexdigit()));
    if !is_ours {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the name of a table"));
    }
    Ok(place.with_file_name(name))
}

/// Removes the tables of earlier runs: those that are still mapped stay until the next time.
fn remove_old(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return;
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let of = entry.file_name();
        let old = of.to_str().and_then(|of| of.strip_prefix(name)?.strip_prefix('.'));
        if old.is_some_and(|random| random.len() == 32) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl ReadWords {
    /// Maps a table read-only. It must be a regular file of exactly the given number of words.
    ///
    /// # Errors
    /// See [`ReadWordsError`].
    pub fn open(
        path: &Path,
        words: usize,
        may_own: impl Fn(u32) -> bool,
    ) -> Result<Self, ReadWordsError> {
        let absent = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => ReadWordsError::Absent,
            io::ErrorKind::InvalidData => ReadWordsError::Wrong(e.to_string()),
            _ => e.into(),
        };
        let path = words_file(path).map_err(absent)?;
        let file = OpenOptions::new().read(true).open(&path).map_err(absent)?;
        let wrong = |text: String| Err(ReadWordsError::Wrong(text));
        let owner = uid_of(&of_file(&path)?.owner)?;
        if !may_own(owner) {
            return wrong(format!("owned by user number {owner}"));
        }
        let (bytes, expected) = (file.metadata()?.len(), (words * WORD_BYTES) as u64);
        if bytes != expected {
            return wrong(format!("{bytes} bytes, and not {expected}"));
        }
        // SAFETY: the bytes may change under us at any time; they are only read as atomic words and
        // checked after they were copied. A mapped file can't be shrunk.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self { map })
    }
}
