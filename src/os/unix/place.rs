//! Places of servers: directories, their safety, and the server that a command means.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

#[cfg(target_os = "linux")]
use nix::sys::statfs::statfs;

use super::{
    dir::Dir,
    lock::query,
    user::{home, own_uid},
};
use crate::{
    chat::names::RoomName,
    faults::{Fault, planted},
    os::{
        entries::check_entries,
        note::LockState,
        places::{HOST, OWN, PlaceError, Places, is_directory},
    },
};

/// Longest path of a Unix socket, without its final zero.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// File systems that other hosts write to: there a lock or a database is not exclusive to this
/// host.
#[cfg(target_os = "linux")]
const NETWORK_FILE_SYSTEMS: [(i64, &str); 6] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42_u32 as i64, "CIFS"),
    (0xfe53_4d42_u32 as i64, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
];

/// Settings that decide where servers live.
#[derive(Debug, Clone)]
pub struct Env {
    /// Value of `XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// Value of `XDG_STATE_HOME`.
    pub state: Option<PathBuf>,
    /// `HOME`, or the user database's word.
    pub home: Option<PathBuf>,
    /// The user id that asks.
    pub uid: u32,
    /// Runtime and state directory of the system server.
    pub host: (PathBuf, PathBuf),
    /// Configuration of the system server.
    pub host_config: PathBuf,
    /// Returns true if that configuration has commands use the user server while the host's
    /// does not run.
    pub falls_back: fn(&Path) -> bool,
}

impl Env {
    /// As this process finds it.
    #[must_use]
    pub fn from_process() -> Self {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        Self {
            runtime: absolute("XDG_RUNTIME_DIR"),
            state: absolute("XDG_STATE_HOME"),
            home: absolute("HOME").or_else(home),
            uid: own_uid(),
            host: ("/run/moot".into(), "/var/lib/moot".into()),
            host_config: config_path(true),
            falls_back: |_| false,
        }
    }

    /// The same with the policy of the host.
    #[must_use]
    pub fn falling_back_by(self, falls_back: fn(&Path) -> bool) -> Self {
        Self { falls_back, ..self }
    }

    fn host(&self) -> Places {
        let (runtime, state) = self.host.clone();
        Places { runtime, state, host: true }
    }

    fn state_home(&self) -> Result<PathBuf, PlaceError> {
        let fall_back = || self.home.as_ref().map(|home| home.join(".local/state"));
        self.state.clone().or_else(fall_back).ok_or(PlaceError::NoHome)
    }

    /// The user's own places for a server of that name; without one, the user's only one.
    fn own(&self, name: Option<&str>) -> Result<Places, PlaceError> {
        let under = |base: &Path| match name {
            None => base.join("moot"),
            Some(name) => base.join("moot.d").join(name),
        };
        let state = under(&self.state_home()?);
        let system = PathBuf::from(format!("/run/user/{}", self.uid));
        let is_ours = |dir: &Path, private: bool| {
            fs::metadata(dir).is_ok_and(|m| {
                m.is_dir() && m.uid() == self.uid && (!private || m.mode() & 0o077 == 0)
            })
        };
        let runtime = match &self.runtime {
            Some(dir) if is_ours(dir, false) => under(dir),
            _ if is_ours(&system, true) => under(&system),
            _ => state.join("run"),
        };
        Ok(Places { runtime, state, host: false })
    }
}

/// The places of the server that a command means: the choice (`--server`), else the system server
/// if this host has one, else the user's own. A server that runs says itself where its socket is.
///
/// # Errors
/// See [`PlaceError`].
pub fn resolve(choice: Option<&str>, env: &Env) -> Result<Places, PlaceError> {
    let is_host = match choice {
        None => host_server_is_meant(env),
        Some(HOST) => true,
        Some(dir) => is_host_directory(Path::new(dir), env),
    };
    if is_host {
        return Ok(env.host());
    }
    let places = located(&places_of(choice, env, false)?);
    check_length(&places)?;
    Ok(places)
}

/// Returns the same places with the runtime directory that a server now says it uses: the process
/// that started it may have known another one.
#[must_use]
pub fn located(places: &Places) -> Places {
    let all_in_one = places.runtime == places.state;
    if places.host || (all_in_one && fs::symlink_metadata(places.socket()).is_ok()) {
        return places.clone();
    }
    match query(&places.lock()) {
        Ok(LockState::Held(Some(note))) if is_same_owner(&note.runtime_dir, &places.state) => {
            Places { runtime: note.runtime_dir, ..places.clone() }
        }
        _ => places.clone(),
    }
}

/// A directory leads to another one only of the same user's: a server there is trusted for its
/// owner.
fn is_same_owner(runtime: &Path, state: &Path) -> bool {
    let owner = |dir: &Path| fs::metadata(dir).map(|meta| meta.uid());
    matches!((owner(runtime), owner(state)), (Ok(a), Ok(b)) if a == b)
}

/// Returns true if a directory is that of the system server, which keeps its history elsewhere.
fn is_host_directory(dir: &Path, env: &Env) -> bool {
    dir == env.host.0 && host_server_is_meant(env) && fs::metadata(dir.join("lock")).is_err()
}

/// The places that a server of this user is to use, whatever runs elsewhere.
///
/// # Errors
/// See [`PlaceError`].
pub fn resolve_own(choice: Option<&str>, env: &Env, system: bool) -> Result<Places, PlaceError> {
    let places = places_of(choice, env, system)?;
    check_length(&places)?;
    Ok(places)
}

fn places_of(choice: Option<&str>, env: &Env, system: bool) -> Result<Places, PlaceError> {
    Ok(match choice {
        Some(dir) if is_directory(dir) => {
            let path = std::path::absolute(dir)
                .map_err(|source| PlaceError::Io { path: dir.into(), source })?;
            Places { host: system, ..Places::all_in(path) }
        }
        Some(OWN) if !system => env.own(None)?,
        Some(HOST) if system => env.host(),
        Some(name @ (OWN | HOST)) => {
            let why = "`moot serve --system` runs the system server, and `moot serve` your own";
            return Err(PlaceError::Name { name: name.to_owned(), why: why.to_owned() });
        }
        Some(name) => {
            let wrong = |why: String| PlaceError::Name { name: name.to_owned(), why };
            let name = RoomName::new(name).map_err(|e| wrong(e.to_string()))?;
            env.own(Some(name.key()))?
        }
        None if system => env.host(),
        None => env.own(None)?,
    })
}

/// A host has a server of its own if one was ever started or configured there, whether it runs or
/// not: no command moves to another server because that one ended. A policy of the host can say
/// otherwise.
fn host_server_is_meant(env: &Env) -> bool {
    // What this user may not look at is there.
    let is_there = |path: &Path| match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(e) => e.kind() == io::ErrorKind::PermissionDenied,
    };
    let (socket, lock) = (env.host.0.join("socket"), env.host.1.join("lock"));
    if nix::unistd::access(&socket, nix::unistd::AccessFlags::W_OK).is_ok() {
        return true;
    }
    if planted(Fault::EndedHostServerPassedOver) {
        return false;
    }
    let marks = [&env.host.0, &lock, &env.host_config];
    marks.into_iter().any(|path| is_there(path)) && !(env.falls_back)(&env.host_config)
}

fn check_length(places: &Places) -> Result<(), PlaceError> {
    let path = places.socket();
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(PlaceError::TooLong { path, bytes, max: SOCKET_PATH_BYTES_MAX });
    }
    Ok(())
}

/// Returns the path of the configuration of a system server, or of the user's own.
#[must_use]
pub fn config_path(system: bool) -> PathBuf {
    if system {
        return "/etc/moot/moot.toml".into();
    }
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let config = absolute("XDG_CONFIG_HOME");
    let config = config.or_else(|| absolute("HOME").or_else(home).map(|h| h.join(".config")));
    config.unwrap_or_else(|| "/etc".into()).join("moot/moot.toml")
}

/// Returns the directory where a user's own screens save their state between two runs.
///
/// # Errors
/// [`PlaceError::NoHome`].
pub fn screen_dir(env: &Env) -> Result<PathBuf, PlaceError> {
    Ok(env.state_home()?.join("moot/screen"))
}

/// Checks that a directory, or what there is of its path, is this user's: after `su` or `sudo` the
/// environment may name another user's.
///
/// # Errors
/// Whose it is, or from the system.
pub fn check_private_dir(dir: &Path) -> io::Result<()> {
    reach_own(dir).map(drop)
}

fn reach_own(dir: &Path) -> io::Result<(Dir, Vec<OsString>)> {
    let (dir, missing) = Dir::reach(dir)?;
    dir.check_owners().map_err(|e| io::Error::other(e.to_string()))?;
    Ok((dir, missing))
}

/// Makes a directory if there is none, and all above it, for this user alone.
///
/// # Errors
/// As [`check_private_dir`].
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    let mut made = Made::default();
    loop {
        let (above, missing) = reach_own(dir)?;
        if made.make(above, &missing, 0o700).map_err(|(_, e)| e)? {
            made.keep();
            return Ok(());
        }
    }
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
        let (dir, missing) = fitting(path, places)?;
        if missing.is_empty() {
            check_entries(&dir, path == &places.state)?;
        }
        if path == &places.state {
            check_local(dir.path())?;
        }
    }
    Ok(())
}

/// Makes the directories of a server, if they are missing, after [`check`]. What is there already
/// keeps its mode and owner; if one of them can't be made, none is left behind.
///
/// # Errors
/// See [`PlaceError`].
pub fn prepare(places: &Places, system: bool) -> Result<(), PlaceError> {
    check(places)?;
    let mut made = Made::default();
    let mode = if system { 0o755 } else { 0o700 };
    for path in [&places.state, &places.runtime] {
        loop {
            let (dir, missing) = fitting(path, places)?;
            let failed = |(at, source)| unusable(path, places, PlaceError::Io { path: at, source });
            if made.make(dir, &missing, mode).map_err(failed)? {
                break;
            }
        }
    }
    made.keep();
    Ok(())
}

/// Makes directories of a running server again that were removed. What is above them has to exist:
/// what a login made is not for this program to make.
///
/// # Errors
/// See [`PlaceError`].
pub fn make_again(places: &Places, system: bool) -> Result<(), PlaceError> {
    for path in [&places.state, &places.runtime] {
        let (above, missing) = fitting(path, places)?;
        let is_below = path != &places.state && path.starts_with(&places.state);
        if missing.len() > 1 && !is_below {
            let source = io::ErrorKind::NotFound.into();
            return Err(PlaceError::Io { path: above.path().join(&missing[0]), source });
        }
    }
    prepare(places, system)
}

/// Opens a directory that is there and this user's alone to change, or the nearest one above it in
/// which no other user could replace what is made; with the names that are missing.
fn fitting(path: &Path, places: &Places) -> Result<(Dir, Vec<OsString>), PlaceError> {
    let failed = |e| unusable(path, places, e);
    let (dir, missing) = Dir::reach(path)
        .map_err(|source| failed(PlaceError::Io { path: path.to_owned(), source }))?;
    if missing.is_empty() {
        dir.check_own().and_then(|()| dir.check_closed())
    } else {
        dir.check_above()
    }
    .map_err(failed)?;
    Ok((dir, missing))
}

/// Adds the directory that a server needs, and the remedy, to an error of the system.
fn unusable(path: &Path, places: &Places, e: PlaceError) -> PlaceError {
    let PlaceError::Io { path: at, source } = e else { return e };
    let remedy = if places.host {
        "run `moot serve --system` as a user who can write there"
    } else if places.runtime == places.state {
        "use another directory with --server DIR/ or MOOT_SERVER"
    } else if path == places.state || path.starts_with(&places.state) {
        "set HOME or XDG_STATE_HOME to a directory that this user can write, or use --server \
         DIR/"
    } else {
        "set XDG_RUNTIME_DIR to a directory that this user can write, or unset the variable, or \
         use --server DIR/"
    };
    PlaceError::Unusable { path: path.to_owned(), at, source, remedy }
}

/// Directories that were made, each with the one above it. They go again unless they are kept.
#[derive(Default)]
struct Made(Vec<(Dir, OsString)>);

impl Made {
    /// Makes what is missing below a directory; false if another process was faster, whose
    /// directory has to be looked at like any other.
    fn make(
        &mut self,
        mut dir: Dir,
        missing: &[OsString],
        mode: u32,
    ) -> Result<bool, (PathBuf, io::Error)> {
        for name in missing {
            let Some(next) = dir.make(name, mode).map_err(|e| (dir.path().join(name), e))? else {
                return Ok(false);
            };
            self.0.push((std::mem::replace(&mut dir, next), name.clone()));
        }
        Ok(true)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (above, name) in self.0.iter().rev() {
            above.unmake(name);
        }
    }
}

/// Returns the owner of a directory, if only they, this user and root could have put it there.
///
/// # Errors
/// [`PlaceError::Unsafe`] names the directory or link on the way that others can change.
pub fn safe_owner_of(path: &Path) -> Result<u32, PlaceError> {
    let failed = |source| PlaceError::Io { path: path.to_owned(), source };
    let dir = Dir::open(path).map_err(failed)?;
    let owner = dir.look().map_err(failed)?.uid;
    dir.check_way(owner)?;
    Ok(owner)
}

/// Refuses a file system that other hosts write to: locks and a database there are not exclusive.
///
/// # Errors
/// [`PlaceError::Network`] names its kind.
#[cfg(target_os = "linux")]
pub fn check_local(dir: &Path) -> Result<(), PlaceError> {
    let found =
        statfs(dir).map_err(|e| PlaceError::Io { path: dir.to_owned(), source: e.into() })?;
    #[allow(clippy::unnecessary_cast, reason = "its width differs between platforms")]
    let magic = found.filesystem_type().0 as i64 & 0xffff_ffff;
    match NETWORK_FILE_SYSTEMS.iter().find(|(m, _)| m & 0xffff_ffff == magic) {
        Some((_, kind)) => Err(PlaceError::Network { path: dir.to_owned(), kind }),
        None => Ok(()),
    }
}

/// Not known here.
///
/// # Errors
/// None on this platform.
#[cfg(not(target_os = "linux"))]
pub fn check_local(_dir: &Path) -> Result<(), PlaceError> {
    Ok(())
}

/// Returns true if a server with that user id may be trusted with a directory of that owner.
#[must_use]
pub fn acceptable_server(peer: u32, dir_owner: u32, own: u32) -> bool {
    peer == dir_owner || peer == own || peer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(dir: &Path) -> Env {
        Env {
            runtime: None,
            state: Some(dir.join("state")),
            home: None,
            uid: own_uid(),
            host: (dir.join("run-moot"), dir.join("lib-moot")),
            host_config: dir.join("etc-moot.toml"),
            falls_back: |_| false,
        }
    }

    #[test]
    fn a_directory_holds_everything_and_a_name_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env { runtime: Some(dir.path().to_owned()), ..env(dir.path()) };
        let all = resolve(Some("/srv/x"), &env).unwrap();
        assert_eq!((all.socket(), all.lock()), ("/srv/x/socket".into(), "/srv/x/lock".into()));
        let own = resolve(None, &env).unwrap();
        assert_eq!(own.runtime, dir.path().join("moot"));
        assert_eq!(own.state, dir.path().join("state/moot"));
        let named = resolve(Some("Work"), &env).unwrap();
        assert_eq!(named.runtime, dir.path().join("moot.d/work"));
        for bad in ["..", ".", "", "a b", "a\u{1b}"] {
            assert!(resolve(Some(bad), &env).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_leads_to_where_its_server_says_it_is() {
        use crate::os::{Lock, LockNote};
        let dir = tempfile::tempdir().unwrap();
        let (state, runtime) = (dir.path().join("state/moot"), dir.path().join("run"));
        fs::create_dir_all(&state).unwrap();
        fs::create_dir(&runtime).unwrap();
        let found = || resolve(state.to_str(), &env(dir.path())).unwrap();
        let note = LockNote { pid: 1, runtime_dir: runtime.clone() };
        let lock = Lock::acquire(&state.join("lock"), false, &note).unwrap();
        assert_eq!((found().runtime, found().state), (runtime, state.clone()));
        // What has its socket beside its lock is not looked for elsewhere.
        fs::write(state.join("socket"), "").unwrap();
        assert_eq!(found().runtime, state);
        fs::remove_file(state.join("socket")).unwrap();
        drop(lock);
        assert_eq!(found().runtime, state, "nobody holds it: the note is an old one");
    }

    #[test]
    fn the_directory_of_the_hosts_server_is_the_hosts_server() {
        let dir = tempfile::tempdir().unwrap();
        let env = env(dir.path());
        fs::create_dir(&env.host.0).unwrap();
        fs::write(env.host.0.join("socket"), "").unwrap();
        let host = resolve(None, &env).unwrap();
        let named = resolve(host.directory().to_str(), &env).unwrap();
        assert_eq!(named, host);
        assert!(named.host && named.state == env.host.1);
    }

    #[test]
    fn a_socket_path_that_does_not_fit_is_refused_with_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("/{}", "x".repeat(120));
        let e = resolve(Some(&long), &env(dir.path())).unwrap_err();
        assert!(e.to_string().contains("128"), "{e}");
    }

    #[test]
    fn a_host_server_that_left_its_socket_is_meant_even_if_dead() {
        let dir = tempfile::tempdir().unwrap();
        let env = env(dir.path());
        assert!(!resolve(None, &env).unwrap().host);
        fs::create_dir(&env.host.0).unwrap();
        fs::write(env.host.0.join("socket"), "").unwrap();
        assert!(resolve(None, &env).unwrap().host);
    }

    #[test]
    fn each_trace_of_a_host_server_keeps_commands_from_the_own_one() {
        for mark in ["run-moot", "lib-moot/lock", "etc-moot.toml"] {
            let dir = tempfile::tempdir().unwrap();
            let env = env(dir.path());
            assert!(!resolve(None, &env).unwrap().host, "there is none");
            fs::create_dir_all(dir.path().join(mark)).unwrap();
            assert!(resolve(None, &env).unwrap().host, "{mark}");
            assert!(!resolve(Some(OWN), &env).unwrap().host);
            let falling = env.falling_back_by(|_| true);
            assert!(!resolve(None, &falling).unwrap().host, "{mark}: the policy allows it");
        }
    }

    #[test]
    fn reserved_names_mean_the_own_and_the_host_server() {
        let dir = tempfile::tempdir().unwrap();
        let env = env(dir.path());
        assert!(resolve(Some(HOST), &env).unwrap().host, "also where there is none");
        assert_eq!(resolve(Some(OWN), &env).unwrap(), resolve(None, &env).unwrap());
        assert_eq!(resolve_own(Some(HOST), &env, true).unwrap().runtime, env.host.0);
        assert!(resolve_own(Some(HOST), &env, false).is_err());
        assert!(resolve_own(Some(OWN), &env, true).is_err());
    }

    #[test]
    fn a_server_is_trusted_if_it_is_the_owners_mine_or_roots() {
        assert!(
            acceptable_server(5, 5, 7) && acceptable_server(7, 5, 7) && acceptable_server(0, 5, 7)
        );
        assert!(!acceptable_server(6, 5, 7));
    }
}
