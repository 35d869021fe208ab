//! Visible facts, without a word of judgment. Nothing is started, written or held.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    client::LinkError,
    command::{args::Global, status},
    config::{self, Settings, TomlFile as _},
    history::{self, Examined, HistoryError},
    limits::{DOCTOR_ANSWER_MS, DOCTOR_HISTORY_MS},
    os::{self, FileKind, LockState, Look, PlaceError, Places, RuntimeWish, Space},
    presence::TABLE_BYTES,
    server::Status,
    session::ConnectError,
    wire::hello::RefusedCode,
};

/// A directory of the server.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
    /// None if there is none; an error in words.
    pub(super) look: Option<Result<Look, String>>,
    /// Why others could take its place.
    pub(super) unsafe_above: Option<String>,
    /// Why this process changes nothing in it.
    pub(super) foreign: Option<String>,
    /// It, or the nearest one above it that exists: everything is looked at and done by this one.
    pub(super) nearest: Option<os::Dir>,
}

impl Dir {
    /// Opens it, once.
    fn of(what: &'static str, path: &Path) -> Self {
        let dir = Self {
            what,
            path: path.to_owned(),
            look: None,
            unsafe_above: None,
            foreign: None,
            nearest: None,
        };
        let (opened, is_there) = match os::Dir::reach(path) {
            Ok((opened, missing)) => (opened, missing.is_empty()),
            // A file on the way to it: the check of the place reports that, with a remedy.
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => return dir,
            Err(e) => return Self { look: Some(Err(e.to_string())), ..dir },
        };
        let look = is_there.then(|| opened.look().map_err(|e| e.to_string()));
        let owner = match &look {
            Some(Ok(look)) => look.uid,
            Some(Err(_)) | None => os::own_uid(),
        };
        Self {
            look,
            unsafe_above: opened.check_way(owner).err().map(|e| e.to_string()),
            foreign: is_there.then(|| opened.check_own().err()).flatten().map(|e| e.to_string()),
            nearest: Some(opened),
            ..dir
        }
    }

    /// The open directory; none if there is none yet.
    pub(super) fn there(&self) -> Option<&os::Dir> {
        self.nearest.as_ref().filter(|_| matches!(self.look, Some(Ok(_))))
    }
}

/// A file of the server that is there.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
    pub(super) look: Look,
    /// A system server shows it to every user.
    pub(super) shared: bool,
}

/// Holder of the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    None,
    Server(Option<u32>),
    Unknown(String),
}

/// Answer of a server.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Status(Box<Status>),
    /// Nothing in time.
    Silence,
    /// It does not admit this user.
    Denied,
    /// Any other error.
    Failed(String),
}

/// Facts about the machine and this environment.
#[derive(Debug)]
pub(super) struct MachineFacts {
    pub(super) runtime_wish: RuntimeWish,
    /// The file of this program, which a command that starts a server needs.
    pub(super) program: Result<(), String>,
    pub(super) channel: Result<(), String>,
    pub(super) loopback_is_up: Option<bool>,
    pub(super) descriptors_max: Option<u64>,
    pub(super) receive_buffer_bytes_max: Option<u64>,
    pub(super) watches_processes: Option<bool>,
}

impl MachineFacts {
    fn gather() -> Self {
        Self {
            runtime_wish: os::runtime_wish(),
            program: std::env::current_exe().map(drop).map_err(|e| e.to_string()),
            channel: os::self_test().map_err(|fault| fault.to_string()),
            loopback_is_up: os::loopback_is_up(),
            descriptors_max: os::descriptors_max(),
            receive_buffer_bytes_max: os::receive_buffer_bytes_max(),
            watches_processes: os::watches_processes(),
        }
    }
}

/// Facts about the process that serves.
#[derive(Debug)]
pub(super) struct ServerFacts {
    pub(super) holder: Holder,
    pub(super) is_stopped: bool,
    /// A server holds the lock, and its socket stays away.
    pub(super) is_unreachable: bool,
    /// None if no server can be asked.
    pub(super) answer: Option<Answer>,
    /// A service manager listens at the socket in place of a server.
    pub(super) is_listening: bool,
    pub(super) shares_network: Option<bool>,
}

impl ServerFacts {
    /// Returns the facts where no server is.
    pub(super) fn none() -> Self {
        Self {
            holder: Holder::None,
            is_stopped: false,
            is_unreachable: false,
            answer: None,
            is_listening: false,
            shares_network: None,
        }
    }
}

/// Everything that was found out.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) places: Result<Places, PlaceError>,
    /// The server was named; the environment decides nothing.
    pub(super) named: bool,
    pub(super) uid: u32,
    pub(super) user: Option<String>,
    /// The home directory of the environment.
    pub(super) home: Option<PathBuf>,
    pub(super) machine: MachineFacts,
    pub(super) server: ServerFacts,
    pub(super) everybody: bool,
    pub(super) dirs: Vec<Dir>,
    /// Why no server of this user could live there.
    pub(super) unfit: Option<String>,
    pub(super) network_file_system: Option<String>,
    pub(super) things: Vec<Thing>,
    pub(super) strays: Vec<PathBuf>,
    pub(super) config: Result<Settings, String>,
    pub(super) space: Option<Result<Space, String>>,
    /// None if a server has it open.
    pub(super) history: Option<Result<Examined, HistoryError>>,
    pub(super) log_was_full: bool,
}

impl Facts {
    pub(super) fn gather(global: &Global) -> Self {
        let places = os::resolve(global.server.as_deref(), &config::environment());
        let mut facts = Self::of_machine(global, places);
        if let Ok(places) = &facts.places {
            let places = places.clone();
            facts.look_at_places(&places);
        }
        facts
    }

    /// Collects the facts that do not depend on a server.
    fn of_machine(global: &Global, places: Result<Places, PlaceError>) -> Self {
        let host = places.as_ref().is_ok_and(|places| places.host);
        let config = Settings::load(global.config.as_deref(), &os::config_path(host));
        Self {
            named: global.server.is_some() || host,
            uid: os::own_uid(),
            home: std::env::var_os("HOME").map(PathBuf::from),
            user: os::user_name(os::own_uid()).map(|name| name.to_string()),
            machine: MachineFacts::gather(),
            server: ServerFacts::none(),
            everybody: host,
            dirs: Vec::new(),
            unfit: None,
            network_file_system: None,
            things: Vec::new(),
            strays: Vec::new(),
            config: config.map_err(|e| e.to_string()),
            space: None,
            history: None,
            log_was_full: false,
            places,
        }
    }

    fn look_at_places(&mut self, places: &Places) {
        self.dirs = vec![Dir::of("state directory", &places.state)];
        if places.runtime != places.state {
            self.dirs.push(Dir::of("runtime directory", &places.runtime));
        }
        if self.may_change() {
            self.unfit = os::check(places).err().map(|e| match e {
                // Checks name the directory and the remedy themselves.
                PlaceError::Unusable { at, source, .. } => {
                    format!("{}: {source}", at.display())
                }
                e => e.to_string(),
            });
        }
        if let Some(above) = &self.dirs[0].nearest {
            self.network_file_system = os::check_local(above.path()).err().map(|e| e.to_string());
            self.space = Some(os::space_at(above.path()).map_err(|e| e.to_string()));
        }
        self.things = self.things(places);
        // The mode of the lock says for which users the server is.
        let lock = self.things.iter().find(|thing| thing.path == places.lock());
        self.everybody |= lock.is_some_and(|lock| lock.look.mode.is_some_and(|m| m & 0o004 != 0));
        self.server.holder = holder(places);
        match self.server.holder {
            Holder::Server(pid) => self.ask(places, pid),
            Holder::None => self.look_at_remains(places),
            Holder::Unknown(_) => {}
        }
        self.log_was_full = self.look_at(&beside(&places.log(), ".old")).is_some();
    }

    /// Only where a server holds the lock: else a service manager could start one for it.
    fn ask(&mut self, places: &Places, pid: Option<u32>) {
        let answer = match status::ask(places, Duration::from_millis(DOCTOR_ANSWER_MS)) {
            Ok(status) => Answer::Status(status.into()),
            Err(e) if status::is_silence(&e) => Answer::Silence,
            Err(LinkError::Connect(ConnectError::Denied(_))) => Answer::Denied,
            Err(LinkError::Refused(refused)) if refused.code == RefusedCode::Denied => {
                Answer::Denied
            }
            Err(e) => {
                let is_gone = matches!(e, LinkError::Connect(ConnectError::NoServer(_)));
                self.server.is_unreachable = is_gone && os::was_ready(&places.lock());
                Answer::Failed(e.to_string())
            }
        };
        let said = match &answer {
            Answer::Status(status) => Some(status.pid),
            Answer::Silence | Answer::Denied | Answer::Failed(_) => None,
        };
        self.server.answer = Some(answer);
        if let Some(pid) = said.or(pid) {
            self.server.is_stopped = os::is_stopped(pid);
            self.server.shares_network = os::shares_network_with(pid);
        }
    }

    fn look_at_remains(&mut self, places: &Places) {
        self.server.is_listening = os::is_listening(&places.socket());
        self.strays = self.strays(places);
        let history = places.history();
        // A database is opened by its path: only where no other user can change what that is.
        let is_file = self.look_at(&history).is_none_or(|look| look.kind == FileKind::File);
        if self.may_change() && is_file {
            let found = history::examine(&history, Duration::from_millis(DOCTOR_HISTORY_MS));
            // One that started meanwhile wrote what did not fit.
            self.history = (!os::is_served(places)).then_some(found);
        }
    }

    /// Returns true if everything there is this user's to change.
    pub(super) fn may_change(&self) -> bool {
        self.dirs.iter().all(|dir| dir.foreign.is_none())
    }

    /// Owner of a directory that this process changes nothing in.
    pub(super) fn foreign_owner(&self) -> Option<u32> {
        let look = self.dirs.iter().find(|dir| dir.foreign.is_some())?.look.as_ref()?;
        look.as_ref().ok().map(|look| look.uid)
    }

    /// Returns the properties of a path in one of the directories.
    fn look_at(&self, path: &Path) -> Option<Look> {
        let dir = self.dirs.iter().find(|dir| path.parent() == Some(&dir.path))?;
        dir.there()?.look_at(path.file_name()?).ok()
    }

    fn things(&self, places: &Places) -> Vec<Thing> {
        let history = places.history();
        let index = history.with_file_name("search.db");
        let all = [
            ("socket", places.socket(), true),
            ("presence table", places.table(), true),
            ("lock", places.lock(), true),
            ("log", places.log(), false),
            ("log", beside(&places.log(), ".old"), false),
            ("history", beside(&history, "-wal"), false),
            ("history", beside(&history, "-shm"), false),
            ("history", history, false),
            ("search index", beside(&index, "-wal"), false),
            ("search index", beside(&index, "-shm"), false),
            ("search index", index, false),
        ];
        all.into_iter()
            .filter_map(|(what, path, shared)| {
                let look = self.look_at(&path)?;
                Some(Thing { what, path, look, shared })
            })
            .collect()
    }

    /// Returns the files that servers had on their way into place when they were killed.
    fn strays(&self, places: &Places) -> Vec<PathBuf> {
        let runtime = self.dirs.iter().find(|dir| dir.path == places.runtime);
        let names = runtime.and_then(|dir| dir.there()?.names().ok()).unwrap_or_default();
        let paths = names.into_iter().map(|name| places.runtime.join(name));
        paths
            .filter(|path| self.look_at(path).is_some_and(|look| is_stray(places, path, &look)))
            .collect()
    }
}

/// Returns true if a file may be removed where no server is: a socket or table, or one on its way
/// into its place.
pub(super) fn is_left_over(places: &Places, path: &Path, look: &Look) -> bool {
    let is_kind = |kind| look.kind == kind || look.kind == FileKind::File;
    (path == places.socket() && is_kind(FileKind::Socket))
        || (path == places.table() && is_kind(FileKind::File))
        || is_stray(places, path, look)
}

fn is_stray(places: &Places, path: &Path, look: &Look) -> bool {
    let is_table = look.kind == FileKind::File && look.bytes == TABLE_BYTES;
    let is_socket = look.kind == FileKind::Socket;
    // On Windows both are named by a file, and so is what is on its way.
    let is_pointer = look.mode.is_none() && look.bytes < 256;
    (os::is_hidden_name(&places.table(), path) && (is_table || is_pointer))
        || (os::is_hidden_name(&places.socket(), path) && (is_socket || is_pointer))
}

fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(more);
    name.into()
}

fn holder(places: &Places) -> Holder {
    match os::query(&places.lock()) {
        Ok(LockState::Absent | LockState::Free(_)) => Holder::None,
        Ok(LockState::Held(note)) => Holder::Server(note.map(|note| note.pid)),
        Err(e) => Holder::Unknown(format!("{}: {e}", places.lock().display())),
    }
}
