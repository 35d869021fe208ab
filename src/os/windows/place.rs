//! Places of servers: directories, their safety, and the server that a command means.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use windows_sys::Win32::Storage::FileSystem::{CreateDirectoryW, GetDriveTypeW};

use super::{
    clock::monotonic_us,
    dir::{Dir, check_fits, check_safe},
    files::owner_of,
    lock::query,
    security::{Descriptor, is_of_host, of_file, wide},
};
use crate::{
    chat::names::RoomName,
    os::{
        entries::check_entries,
        note::LockState,
        places::{HOST, OWN, PlaceError, Places, is_directory},
    },
};

/// Settings that decide where servers live.
#[derive(Debug, Clone)]
pub struct Env {
    /// Value of `LOCALAPPDATA`.
    pub local: Option<PathBuf>,
    /// Value of `ProgramData`.
    pub common: Option<PathBuf>,
}

impl Env {
    /// As this process finds it.
    #[must_use]
    pub fn from_process() -> Self {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        Self { local: absolute("LOCALAPPDATA"), common: absolute("ProgramData") }
    }

    /// The same: a server that ended is passed over here.
    #[must_use]
    pub fn falling_back_by(self, _falls_back: fn(&Path) -> bool) -> Self {
        self
    }

    /// The user's own place for a server of that name; without one, the user's only one.
    fn own(&self, name: Option<&str>) -> Result<Places, PlaceError> {
        let base = self.local.as_ref().ok_or(PlaceError::NoHome)?;
        Ok(Places::all_in(match name {
            None => base.join("moot"),
            Some(name) => base.join("moot.d").join(name),
        }))
    }

    fn host(&self) -> Result<Places, PlaceError> {
        let base = self.common.as_ref().ok_or(PlaceError::NoHome)?;
        Ok(Places { host: true, ..Places::all_in(base.join("moot")) })
    }
}

/// The places of the server that a command means: the choice (`--server`), else the system server
/// if there is one, else the user's own.
///
/// # Errors
/// See [`PlaceError`].
pub fn resolve(choice: Option<&str>, env: &Env) -> Result<Places, PlaceError> {
    if choice == Some(HOST) {
        return env.host();
    }
    if choice.is_none()
        && let Ok(places) = env.host()
        && host_server_is_meant(&places)
    {
        return Ok(places);
    }
    let places = resolve_own(choice, env, false)?;
    // Named by its directory, the system server is the host's server.
    match env.host() {
        Ok(host) if host.runtime == places.runtime && host_server_is_meant(&host) => Ok(host),
        Ok(_) | Err(_) => Ok(places),
    }
}

/// The same places: everything of a server is in one directory here.
#[must_use]
pub fn located(places: &Places) -> Places {
    places.clone()
}

/// Returns true if a system server counts as there: its directory is the system's or the
/// administrators' (any user may make directories beside it) and its file was written since the
/// host started, living or dead: a dead one is reported, not passed over.
fn host_server_is_meant(places: &Places) -> bool {
    let Ok(meta) = fs::symlink_metadata(places.socket()) else { return false };
    let up = Duration::from_micros(monotonic_us());
    let is_fresh = meta.modified().is_ok_and(|at| at.elapsed().is_ok_and(|since| since <= up));
    is_fresh && of_file(&places.runtime).is_ok_and(|security| is_of_host(&security.owner))
}

/// The places that a server of this user is to use, whatever runs elsewhere.
///
/// # Errors
/// See [`PlaceError`].
pub fn resolve_own(choice: Option<&str>, env: &Env, system: bool) -> Result<Places, PlaceError> {
    match choice {
        Some(dir) if is_directory(dir) => {
            let path = std::path::absolute(dir)
                .map_err(|source| PlaceError::Io { path: dir.into(), source })?;
            Ok(Places { host: system, ..Places::all_in(path) })
        }
        Some(OWN) if !system => env.own(None),
        Some(HOST) if system => env.host(),
        Some(name @ (OWN | HOST)) => {
            let why = "`moot serve --system` runs the system server, and `moot serve` your own";
            Err(PlaceError::Name { name: name.to_owned(), why: why.to_owned() })
        }
        Some(name) => {
            let wrong = |why: String| PlaceError::Name { name: name.to_owned(), why };
            let name = RoomName::new(name).map_err(|e| wrong(e.to_string()))?;
            env.own(Some(name.key()))
        }
        None if system => env.host(),
        None => env.own(None),
    }
}

/// Returns the path of the configuration of a system server, or of the user's own.
#[must_use]
pub fn config_path(system: bool) -> PathBuf {
    let base = env::var_os(if system { "ProgramData" } else { "APPDATA" });
    base.map_or_else(|| PathBuf::from("C:\\"), PathBuf::from).join("moot\\moot.toml")
}

/// Returns the directory where a user's own screens save their state between two runs.
///
/// # Errors
/// [`PlaceError::NoHome`].
pub fn screen_dir(env: &Env) -> Result<PathBuf, PlaceError> {
    let base = env.local.as_ref().ok_or(PlaceError::NoHome)?;
    Ok(base.join("moot").join("screen"))
}

/// Access lists see to it.
///
/// # Errors
/// None on this platform.
pub fn check_private_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes a directory if there is none, and all above it, for this user and the system alone.
///
/// # Errors
/// If a system call fails.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    make_dir(dir, false)
}

/// Returns true if a server holds the lock of these places.
#[must_use]
pub fn is_served(places: &Places) -> bool {
    matches!(query(&places.lock()), Ok(LockState::Held(_)))
}

/// Checks whether a server of this user could live there. Nothing is made.
///
/// # Errors
/// See [`PlaceError`].
pub fn check(places: &Places) -> Result<(), PlaceError> {
    for path in [&places.state, &places.runtime] {
        let (dir, missing) = Dir::reach(path).map_err(|e| unusable(path, places, e))?;
        if missing.is_empty() {
            check_fits(path, places.host)?;
            check_entries(&dir, path == &places.state)?;
        }
    }
    check_local(&places.state)
}

/// Makes the directories of a server, if they are missing, after [`check`].
///
/// # Errors
/// See [`PlaceError`].
pub fn prepare(places: &Places, system: bool) -> Result<(), PlaceError> {
    check(places)?;
    for dir in [&places.state, &places.runtime] {
        make_dir(dir, system).map_err(|e| unusable(dir, places, e))?;
        check_fits(dir, system)?;
    }
    Ok(())
}

/// Adds the directory where the attempt ended, and the remedy, to an error of the system.
fn unusable(path: &Path, places: &Places, source: io::Error) -> PlaceError {
    let at = path.ancestors().find(|dir| dir.exists()).unwrap_or(path);
    let remedy = match places.host {
        true => "run `moot serve --system` as an administrator",
        false => {
            "use a directory that this user can write to, with --server DIR/, MOOT_SERVER or \
             LOCALAPPDATA"
        }
    };
    PlaceError::Unusable { path: path.to_owned(), at: at.to_owned(), source, remedy }
}

/// Makes directories of a running server again that were removed: files that are open keep them
/// here.
///
/// # Errors
/// As [`prepare`].
pub fn make_again(places: &Places, system: bool) -> Result<(), PlaceError> {
    prepare(places, system)
}

/// Returns the owner of a directory, if only they and the system could have put it there.
///
/// # Errors
/// [`PlaceError::Unsafe`] names the directory that others can change.
pub fn safe_owner_of(path: &Path) -> Result<u32, PlaceError> {
    let failed = |source| PlaceError::Io { path: path.to_owned(), source };
    let owner = owner_of(path).map_err(failed)?;
    check_safe(path, owner)?;
    Ok(owner)
}

/// Makes a directory if it is missing: for this user and the system alone, or readable by every
/// user.
fn make_dir(dir: &Path, everybody_reads: bool) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let name = wide(dir);
    let descriptor = Descriptor::of_file(everybody_reads)?;
    let attributes = descriptor.attributes();
    // SAFETY: the name ends with a zero; attributes and what they point to live through the call.
    if unsafe { CreateDirectoryW(name.as_ptr(), &raw const attributes) } != 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        e => Err(e),
    }
}

/// Refuses a file system that other hosts write to: locks and a database there are not exclusive.
///
/// # Errors
/// [`PlaceError::Network`] names its kind.
pub fn check_local(dir: &Path) -> Result<(), PlaceError> {
    /// Type of a network drive, `DRIVE_REMOTE`.
    const REMOTE: u32 = 4;
    let Some(root) = dir.ancestors().last() else { return Ok(()) };
    let root = wide(root);
    // SAFETY: the text ends with a zero.
    match unsafe { GetDriveTypeW(root.as_ptr()) } {
        REMOTE => Err(PlaceError::Network { path: dir.to_owned(), kind: "network drive" }),
        _ => Ok(()),
    }
}

/// Returns true if a server of that user may be trusted with a directory of that owner.
#[must_use]
pub fn acceptable_server(peer: u32, dir_owner: u32, own: u32) -> bool {
    peer == dir_owner || peer == own || peer == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::own_uid;

    #[test]
    fn a_directory_holds_everything_and_a_name_has_its_own() {
        let env = Env { local: Some("C:\\local".into()), common: Some("C:\\common".into()) };
        let all = resolve(Some("D:\\srv\\x"), &env).unwrap();
        assert_eq!(
            (all.socket(), all.lock()),
            ("D:\\srv\\x\\socket".into(), "D:\\srv\\x\\lock".into())
        );
        assert_eq!(resolve(None, &env).unwrap().state, Path::new("C:\\local\\moot"));
        assert_eq!(
            resolve(Some("Work"), &env).unwrap().state,
            Path::new("C:\\local\\moot.d\\work")
        );
        assert_eq!(resolve_own(None, &env, true).unwrap().state, Path::new("C:\\common\\moot"));
        for bad in ["..", ".", "", "a b", "a\u{1b}"] {
            assert!(resolve(Some(bad), &env).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn directory_below_a_file_is_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let places = Places::all_in(file.join("moot"));
        for result in [check(&places), prepare(&places, false)] {
            let Err(e) = result else { continue };
            let text = e.to_string();
            assert!(text.contains("file") && text.contains("--server DIR/"), "{text}");
        }
        assert!(prepare(&places, false).is_err());
    }

    #[test]
    fn prepared_directory_is_owned_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::all_in(dir.path().join("moot"));
        prepare(&places, false).unwrap();
        prepare(&places, false).unwrap();
        assert_eq!(owner_of(&places.state).unwrap(), own_uid());
        check_safe(&places.state, own_uid()).unwrap();
    }
}
