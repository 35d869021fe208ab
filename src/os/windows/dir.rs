//! A directory, and what is done in it. By its path here: access lists keep others from changing
//! where that leads.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    files::owner_of,
    security::{is_of_host, of_file},
    user::{own_uid, uid_of},
};
use crate::os::{
    health::{FileKind, Look},
    places::PlaceError,
};

/// Remedy where a directory is not safe.
const OTHER_DIRECTORY: &str = "use a directory of yours with --server DIR/";

/// Directory, known by its path.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// Finds a directory, or the nearest one above it that exists; and returns the names that are
    /// missing below.
    ///
    /// # Errors
    /// If a system call fails; `NotADirectory` if something else is there.
    pub fn reach(path: &Path) -> io::Result<(Self, Vec<OsString>)> {
        let path = std::path::absolute(path)?;
        let found = path.ancestors().find(|above| above.exists()).ok_or(io::ErrorKind::NotFound)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let missing = path.strip_prefix(found).map_err(io::Error::other)?;
        Ok((Self(found.to_owned()), missing.iter().map(OsStr::to_owned).collect()))
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Looks at the directory itself.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn look(&self) -> io::Result<Look> {
        look_at(&self.0)
    }

    /// Looks at an entry; a link is not followed.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn look_at(&self, name: &OsStr) -> io::Result<Look> {
        look_at(&self.0.join(name))
    }

    /// Returns the names of its entries.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Checks that only its owner, the system and administrators could have changed where its path
    /// leads.
    ///
    /// # Errors
    /// [`PlaceError::Unsafe`] names the directory that others can change.
    pub fn check_way(&self, owner: u32) -> Result<(), PlaceError> {
        check_safe(&self.0, owner)
    }

    /// Checks that this process may change what is in it.
    ///
    /// # Errors
    /// [`PlaceError::Unsafe`] if it may not, with the reason.
    pub fn check_own(&self) -> Result<(), PlaceError> {
        check_fits(&self.0, false)
    }

    /// Checks that no other user writes to it, as [`Dir::check_own`] does.
    ///
    /// # Errors
    /// [`PlaceError::Unsafe`] if others do.
    pub fn check_closed(&self) -> Result<(), PlaceError> {
        self.check_own()
    }

    /// Removes an entry if it is what the caller takes it for; one that is gone is removed.
    ///
    /// # Errors
    /// If it is something else, or from the system.
    pub fn remove(&self, name: &OsStr, is_it: impl Fn(&Look) -> bool) -> io::Result<()> {
        match self.look_at(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(look) if is_it(&look) => fs::remove_file(self.0.join(name)),
            Ok(_) => Err(io::Error::other("replaced by something else")),
            Err(e) => Err(e),
        }
    }

    /// Access lists are not a number.
    ///
    /// # Errors
    /// Always.
    pub fn set_own_mode(&self, _mode: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Access lists are not a number.
    ///
    /// # Errors
    /// Always.
    pub fn set_mode(&self, _name: &OsStr, _mode: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn look_at(path: &Path) -> io::Result<Look> {
    let meta = fs::symlink_metadata(path)?;
    let kind = match meta.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        _ => FileKind::Other,
    };
    Ok(Look { kind, uid: owner_of(path)?, mode: None, bytes: meta.len() })
}

/// Checks that a directory is this user's (or the host's), and that others can't take its place.
pub(super) fn check_fits(dir: &Path, system: bool) -> Result<(), PlaceError> {
    let failed = |source| PlaceError::Io { path: dir.to_owned(), source };
    let refuse = |why| Err(PlaceError::Unsafe { path: dir.to_owned(), why });
    let security = of_file(dir).map_err(failed)?;
    let owner = uid_of(&security.owner).map_err(failed)?;
    if !is_of_host(&security.owner) && (system || owner != own_uid()) {
        return refuse(match system {
            true => format!(
                "owned by {}, and a system server needs a directory that only administrators may \
                 write; remove it, and start the server as an administrator",
                security.owner
            ),
            false => format!(
                "owned by {}, and this program runs as another user; {OTHER_DIRECTORY}",
                security.owner
            ),
        });
    }
    if security.others_write {
        return refuse(format!("writable by others; {OTHER_DIRECTORY}"));
    }
    check_safe(dir, owner)
}

/// Checks that only the owner, the system and administrators may write to it, or take away a
/// directory above it.
///
/// # Errors
/// [`PlaceError::Unsafe`] names the directory where others may.
pub(super) fn check_safe(path: &Path, _owner: u32) -> Result<(), PlaceError> {
    let look =
        |dir: &Path| of_file(dir).map_err(|source| PlaceError::Io { path: dir.to_owned(), source });
    let refuse = |dir: &Path| {
        let why = format!("others could replace the directories below it; {OTHER_DIRECTORY}");
        Err(PlaceError::Unsafe { path: dir.to_owned(), why })
    };
    if look(path)?.others_write {
        return refuse(path);
    }
    // The root of a drive can't be taken away.
    for dir in path.ancestors().skip(1).filter(|dir| dir.parent().is_some()) {
        if look(dir)?.others_take {
            return refuse(dir);
        }
    }
    Ok(())
}
