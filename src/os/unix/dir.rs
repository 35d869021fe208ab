//! A directory that is reached step by step and stays open: what is done in it is done by its
//! descriptor.
//!
//! A path is only as good as the users who can change where it leads. So each directory and each
//! link on the way is looked at while it is passed, and nothing is looked up by its path a second
//! time.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat, readlinkat},
    sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat, mkdirat},
    unistd::{AccessFlags, UnlinkatFlags, faccessat, unlinkat},
};

use super::user::own_uid;
use crate::{
    faults::{Fault, planted},
    os::{
        health::{FileKind, Look},
        places::PlaceError,
    },
};

/// As the kernel bounds it.
const LINKS_MAX: usize = 40;
/// Only passed and looked at: the right to search a directory is enough.
#[cfg(target_os = "linux")]
const STEP: OFlag = OFlag::O_PATH;
#[cfg(not(target_os = "linux"))]
const STEP: OFlag = OFlag::O_NONBLOCK;

fn step_flags() -> OFlag {
    STEP | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// A directory or a link that was passed on the way.
#[derive(Debug)]
struct Passed {
    path: PathBuf,
    uid: u32,
    mode: u32,
}

impl Passed {
    /// Returns true if a user other than these could have changed where the way leads from here.
    fn is_unsafe(&self, trusted: &[u32]) -> bool {
        // In a sticky directory each entry is its owner's, who is looked at in turn.
        let others_write = self.mode & 0o022 != 0 && self.mode & 0o1000 == 0;
        !trusted.contains(&self.uid) || others_write
    }
}

/// An open directory, and the way to it.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    way: Vec<Passed>,
}

impl Dir {
    /// Opens a directory.
    ///
    /// # Errors
    /// Returns `NotFound` if there is none, and `NotADirectory` if something else is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        match Self::reach(path)? {
            (dir, missing) if missing.is_empty() => Ok(dir),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Opens a directory, or the nearest one above it that exists; and returns the names that are
    /// missing below.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn reach(path: &Path) -> io::Result<(Self, Vec<OsString>)> {
        let mut todo = VecDeque::new();
        put_first(&mut todo, &std::path::absolute(path)?);
        let mut path = PathBuf::from("/");
        let root = open(&path, step_flags(), Mode::empty())?;
        let (mut fds, mut way, mut links) = (vec![root], Vec::new(), 0);
        while let Some(name) = todo.pop_front() {
            let here = fds.last().ok_or(io::ErrorKind::NotFound)?;
            if name == ".." {
                if fds.len() > 1 {
                    fds.pop();
                    path.pop();
                }
                continue;
            }
            let found = match fstatat(here, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => {
                    todo.push_front(name);
                    break;
                }
                found => found?,
            };
            way.push(passed(&path, &fstat(here)?));
            if kind_of(&found) == SFlag::S_IFLNK {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::ELOOP.into());
                }
                // Its owner may replace it in a sticky directory. Its mode says nothing.
                way.push(Passed { path: path.join(&name), uid: found.st_uid, mode: 0 });
                let target = PathBuf::from(readlinkat(here, name.as_os_str())?);
                if target.is_absolute() {
                    fds.truncate(1);
                    path = "/".into();
                }
                put_first(&mut todo, &target);
                continue;
            }
            let next = openat(here, name.as_os_str(), step_flags(), Mode::empty())?;
            path.push(&name);
            fds.push(next);
        }
        if todo.iter().any(|name| name == "..") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let fd = fds.pop().ok_or(io::ErrorKind::NotFound)?;
        Ok((Self { fd, path, way }, todo.into()))
    }

    /// Returns its path, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the directory itself.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn look(&self) -> io::Result<Look> {
        Ok(look_of(&fstat(&self.fd)?))
    }

    /// Looks at an entry; a link is not followed.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn look_at(&self, name: &OsStr) -> io::Result<Look> {
        Ok(look_of(&fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?))
    }

    /// Returns the names of its entries.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut entries = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in entries.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Checks that only root and `owner` could have changed where the way to it leads.
    ///
    /// # Errors
    /// [`PlaceError::Unsafe`] names the directory or link that others can change.
    pub fn check_way(&self, owner: u32) -> Result<(), PlaceError> {
        check_passed(&self.way, &[0, own_uid(), owner])
    }

    /// Checks that this process may change what is in it: it belongs to this user, and no other
    /// user could have changed where the way leads. Not even root acts in a directory of another
    /// user.
    ///
    /// # Errors
    /// [`PlaceError::Unsafe`] if it may not, with the reason.
    pub fn check_own(&self) -> Result<(), PlaceError> {
        self.check_way(own_uid())?;
        let failed = |source| PlaceError::Io { path: self.path.clone(), source };
        let uid = self.look().map_err(failed)?.uid;
        if uid == own_uid() {
            return Ok(());
        }
        let why = format!(
            "owned by user id {uid}, and this program runs as {}; use a directory of yours with \
             --server DIR/",
            own_uid()
        );
        Err(PlaceError::Unsafe { path: self.path.clone(), why })
    }

    /// Checks that no other user writes to it.
    ///
    /// # Errors
    /// [`PlaceError::Unsafe`] if others do.
    pub fn check_closed(&self) -> Result<(), PlaceError> {
        let failed = |source| PlaceError::Io { path: self.path.clone(), source };
        let mode = self.look().map_err(failed)?.mode.unwrap_or_default();
        let why = match mode & 0o7000 {
            _ if mode & 0o022 == 0 => return Ok(()),
            0 => "writable by others; chmod go-w",
            // A place that several share on purpose.
            _ => "writable by others; use a directory of your own",
        };
        Err(PlaceError::Unsafe { path: self.path.clone(), why: why.to_owned() })
    }

    /// Checks that a directory can be made in it, which only this user and root could replace.
    pub(super) fn check_above(&self) -> Result<(), PlaceError> {
        self.check_way(own_uid())?;
        let failed = |e: Errno| PlaceError::Io { path: self.path.clone(), source: e.into() };
        let own = passed(&self.path, &fstat(&self.fd).map_err(failed)?);
        check_passed(&[own], &[0, own_uid()])?;
        let may = AccessFlags::W_OK | AccessFlags::X_OK;
        faccessat(&self.fd, ".", may, AtFlags::AT_EACCESS).map_err(failed)
    }

    /// Checks that it and all on the way to it belong to this user or root.
    pub(super) fn check_owners(&self) -> Result<(), PlaceError> {
        let uid =
            self.look().map_err(|source| PlaceError::Io { path: self.path.clone(), source })?.uid;
        let owners =
            self.way.iter().map(|passed| (&passed.path, passed.uid)).chain([(&self.path, uid)]);
        match { owners }.find(|(_, uid)| *uid != 0 && *uid != own_uid()) {
            None => Ok(()),
            Some((path, uid)) => {
                let why = format!("owned by user id {uid}, and this program runs as {}", own_uid());
                Err(PlaceError::Unsafe { path: path.clone(), why })
            }
        }
    }

    /// Makes a directory in it, with exactly this mode, and opens it; none if there is one already.
    pub(super) fn make(&self, name: &OsStr, mode: u32) -> io::Result<Option<Self>> {
        let mode = Mode::from_bits_truncate(mode as libc::mode_t);
        match mkdirat(&self.fd, name, mode) {
            Err(Errno::EEXIST) => return Ok(None),
            made => made?,
        }
        // Whatever the umask is.
        fchmodat(&self.fd, name, mode, FchmodatFlags::FollowSymlink)?;
        let fd = openat(&self.fd, name, step_flags(), Mode::empty())?;
        Ok(Some(Self { fd, path: self.path.join(name), way: Vec::new() }))
    }

    /// Removes an empty directory in it.
    pub(super) fn unmake(&self, name: &OsStr) {
        // A directory that was filled meanwhile stays.
        let _ = unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir);
    }

    /// Removes an entry if it is what the caller takes it for; one that is gone is removed.
    ///
    /// # Errors
    /// If it is something else, if others write to the directory, or from the system.
    pub fn remove(&self, name: &OsStr, is_it: impl Fn(&Look) -> bool) -> io::Result<()> {
        self.check_unshared()?;
        match self.look_at(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Ok(look) if is_it(&look) => {}
            Ok(_) => return Err(io::Error::other("replaced by something else")),
            Err(e) => return Err(e),
        }
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Sets the mode of the directory itself.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn set_own_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(mode as libc::mode_t);
        Ok(fchmodat(&self.fd, ".", mode, FchmodatFlags::FollowSymlink)?)
    }

    /// Sets the mode of a file or socket in it that is this user's, and that has no other name
    /// elsewhere.
    ///
    /// # Errors
    /// If it is anything else, if others write to the directory, or from the system.
    pub fn set_mode(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        self.check_unshared()?;
        // From here on no other user can put anything in its place.
        let found = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let is_file = matches!(look_of(&found).kind, FileKind::File | FileKind::Socket);
        if !is_file || found.st_uid != own_uid() || found.st_nlink != 1 {
            return Err(io::Error::other("not a file of this user's server"));
        }
        let mode = Mode::from_bits_truncate(mode as libc::mode_t);
        Ok(fchmodat(&self.fd, name, mode, FchmodatFlags::FollowSymlink)?)
    }

    /// In a directory that others may write to, a name can come to mean something else at any time.
    fn check_unshared(&self) -> io::Result<()> {
        self.check_own().and_then(|()| self.check_closed()).map_err(io::Error::other)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check_passed(way: &[Passed], trusted: &[u32]) -> Result<(), PlaceError> {
    let found = way.iter().find(|passed| passed.is_unsafe(trusted));
    let Some(Passed { path, uid, .. }) = found.filter(|_| !planted(Fault::WayNotChecked)) else {
        return Ok(());
    };
    let who = match trusted.contains(uid) {
        true => "others".to_owned(),
        false => format!("its owner, user id {uid},"),
    };
    let why = format!(
        "{who} could replace the directories below it; use another directory with --server DIR/"
    );
    Err(PlaceError::Unsafe { path: path.clone(), why })
}

fn put_first(todo: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => todo.push_front(name.to_owned()),
            Component::ParentDir => todo.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn passed(path: &Path, stat: &FileStat) -> Passed {
    Passed { path: path.to_owned(), uid: stat.st_uid, mode: look_of(stat).mode.unwrap_or_default() }
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

#[allow(
    clippy::unnecessary_cast,
    clippy::cast_lossless,
    reason = "widths differ between platforms"
)]
fn look_of(stat: &FileStat) -> Look {
    let kind = match kind_of(stat) {
        SFlag::S_IFREG => FileKind::File,
        SFlag::S_IFDIR => FileKind::Directory,
        SFlag::S_IFSOCK => FileKind::Socket,
        _ => FileKind::Other,
    };
    let bytes = u64::try_from(stat.st_size).unwrap_or_default();
    Look { kind, uid: stat.st_uid, mode: Some(stat.st_mode as u32 & 0o7777), bytes }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn a_directory_is_reached_where_the_kernel_finds_it() {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::write(at("a/file"), "").unwrap();
        for (link, to) in [
            ("a/up", ".."),
            ("a/b/out", "../../a/b"),
            ("chain", "a/up/a/b/out/c/.."),
            ("none", "a/new/deep"),
            ("loop", "loop"),
        ] {
            symlink(to, at(link)).unwrap();
        }
        symlink(at("a"), at("absolute")).unwrap();
        for path in
            ["a", "a/b/c/../..", "a/up", "a/up/chain", "absolute/b/out/out/c", "chain/../up/a/./b"]
        {
            let real = fs::canonicalize(at(path)).unwrap();
            assert_eq!(Dir::open(&at(path)).unwrap().path(), real, "{path}");
        }
        for (path, real, missing) in [
            ("a/x/y", "a", &["x", "y"][..]),
            ("none", "a", &["new", "deep"]),
            ("none/more", "a", &["new", "deep", "more"]),
            ("chain/d", "a/b", &["d"]),
        ] {
            let (dir, names) = Dir::reach(&at(path)).unwrap();
            assert_eq!(dir.path(), fs::canonicalize(at(real)).unwrap(), "{path}");
            assert_eq!(names, missing, "{path}");
        }
        let kind = |path: &str| Dir::reach(&at(path)).unwrap_err().kind();
        assert_eq!(kind("a/file"), io::ErrorKind::NotADirectory);
        assert_eq!(kind("a/file/x"), io::ErrorKind::NotADirectory);
        assert_eq!(kind("a/x/../b"), io::ErrorKind::NotFound);
        assert_eq!(Dir::reach(&at("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_way_is_as_safe_as_its_weakest_part() {
        let temp = tempfile::tempdir().unwrap();
        let (open, sticky) = (temp.path().join("open"), temp.path().join("sticky"));
        for (dir, mode) in [(&open, 0o777), (&sticky, 0o1777)] {
            fs::create_dir_all(dir.join("own")).unwrap();
            fs::set_permissions(dir, PermissionsExt::from_mode(mode)).unwrap();
        }
        symlink(open.join("own"), temp.path().join("link")).unwrap();
        symlink(&sticky, open.join("back")).unwrap();
        let is_safe = |path: &str| Dir::open(&temp.path().join(path)).unwrap().check_own().is_ok();
        assert!(is_safe("sticky/own") && is_safe("open"));
        // Others can put something else there, or have put the link there.
        assert!(!is_safe("open/own") && !is_safe("link") && !is_safe("open/back/own"));
        // What was passed and left again counts as well.
        assert!(!is_safe("open/own/../../sticky/own"));
        assert!(Dir::open(&open).unwrap().check_closed().is_err());
        assert!(Dir::open(&sticky).unwrap().check_closed().is_err());
    }
}
