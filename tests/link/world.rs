//! A world: several hosts, each with a moot server and a link, and a NATS server between them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    machine,
    nats::{self, Nats, Version},
    net::{Namespace, Network},
    process::{self, Done, Process, eventually},
};

/// Room that all hosts carry.
pub const ROOM: &str = "dev";

/// A host: a directory of a server, the server, and its link.
pub struct Host {
    pub name: String,
    pub dir: PathBuf,
    temp: PathBuf,
    namespace: Option<Namespace>,
    url: String,
    rooms: String,
    pub server: Option<Process>,
    pub link: Option<Process>,
}

impl Host {
    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        machine::isolate(&mut command, &self.temp);
        command.envs(std::env::var("MOOT_FAULT").map(|fault| ("MOOT_FAULT", fault)));
        command.env("MOOT_SERVER", &self.dir).current_dir(&self.temp);
        if let Some(namespace) = &self.namespace {
            namespace.entry().place(&mut command);
        }
        command
    }

    /// `moot` with these arguments, on this host.
    pub fn moot(&self, args: &[&str]) -> Command {
        let mut command = self.program(Path::new(env!("CARGO_BIN_EXE_moot")));
        command.arg("--no-start").args(args);
        command
    }

    /// Runs `moot` to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Done {
        Done::of(&mut self.moot(args))
    }

    /// Begins a member or sender.
    pub fn begin(&self, args: &[&str]) -> Process {
        Process::spawn(&format!("{} on {}", args.join(" "), self.name), self.moot(args))
    }

    /// Begins a member whose `ready` line has come.
    #[track_caller]
    pub fn member(&self, args: &[&str]) -> Process {
        let mut member = self.begin(args);
        member.next_of("ready");
        member
    }

    /// Starts the server, and waits until it is ready.
    #[track_caller]
    pub fn serve(&mut self) {
        self.serve_by(None);
    }

    /// Starts the server as a child of another program.
    #[track_caller]
    pub fn serve_by(&mut self, wrapper: Option<&[&str]>) {
        let config = self.temp.join("moot.toml");
        let moot = env!("CARGO_BIN_EXE_moot");
        let words = [wrapper.unwrap_or_default(), &[moot]].concat();
        let mut command = self.program(Path::new(words[0]));
        command.args(&words[1..]).arg("--config").arg(config).arg("serve");
        let mut server = Process::spawn(&format!("the server of {}", self.name), command);
        let line = server.line();
        assert!(line.starts_with("listening on "), "{line}");
        self.server = Some(server);
    }

    /// Kills the server with `kill -9`.
    pub fn kill_server(&mut self) {
        self.server.take().expect("a server").kill();
    }

    /// Ends the server as its user would.
    #[track_caller]
    pub fn end_server(&mut self) {
        let mut server = self.server.take().expect("a server");
        server.signal("TERM");
        assert_eq!(server.code(), 0, "{}", server.errors());
    }

    /// Begins the link, and does not wait for it.
    pub fn begin_link(&mut self) {
        self.link = Some(self.other_link(&self.name));
    }

    /// Begins a link under some name.
    pub fn other_link(&self, name: &str) -> Process {
        let password = self.temp.join("password");
        let (metrics, password) = (self.metrics_file(), password.to_str().unwrap().to_owned());
        let mut args = vec!["link", &self.url, "--host", name, "--announcements"];
        args.extend(["--user", name, "--password-file", &password]);
        args.extend(["--metrics", metrics.to_str().unwrap(), "--rooms", &self.rooms]);
        Process::spawn(&format!("the link of {}", self.name), self.moot(&args))
    }

    /// Checks the link under some name, as some user of the NATS server.
    pub fn check_link(&self, name: &str, user: &str) -> Done {
        let password = self.temp.join("password");
        let password = password.to_str().unwrap();
        let of_user = ["--user", user, "--password-file", password];
        let args = ["link", &self.url, "--host", name, "--rooms", &self.rooms, "--announcements"];
        self.run(&[&args[..], &of_user, &["--check"]].concat())
    }

    /// Begins the link, and waits until it carries.
    #[track_caller]
    pub fn link(&mut self) {
        self.begin_link();
        self.linked();
    }

    /// Waits until the link carries.
    #[track_caller]
    pub fn linked(&mut self) {
        self.link.as_mut().expect("a link").says("linked as ");
    }

    /// Kills the link with `kill -9`.
    pub fn kill_link(&mut self) {
        self.link.take().expect("a link").kill();
    }

    fn metrics_file(&self) -> PathBuf {
        self.temp.join("link.prom")
    }

    /// A counter of the link as it was written last; `of`: the host that it counts.
    pub fn counter(&self, name: &str, of: &str) -> u64 {
        let text = std::fs::read_to_string(self.metrics_file()).unwrap_or_default();
        let key = format!("moot_link_{name}{{host=\"{of}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&key));
        value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    }

    /// Messages of a room, oldest first.
    #[track_caller]
    pub fn history(&self, room: &str) -> Vec<Value> {
        self.run(&["--json", "history", room]).ok().objects()
    }

    /// Texts of a room, oldest first; none while the server can't be asked.
    pub fn texts(&self, room: &str) -> Vec<String> {
        let done = self.run(&["--json", "history", room]);
        let objects = if done.code == 0 { done.objects() } else { Vec::new() };
        objects.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until a room has a text.
    #[track_caller]
    pub fn hears(&self, room: &str, text: &str) {
        eventually(&format!("{text:?} in {room} on {}", self.name), || {
            self.texts(room).iter().any(|of| of == text)
        });
    }

    /// Sends a message; returns its number.
    #[track_caller]
    pub fn send(&self, room: &str, text: &str) -> u64 {
        let sent = self.run(&["--json", "send", room, text]).ok().objects();
        sent[0]["seq"].as_u64().unwrap()
    }

    /// Rows of `who` of users of another host.
    pub fn who(&self, host: &str) -> Vec<Value> {
        let done = self.run(&["--json", "who"]);
        let of_host = |row: &Value| row["member"]["host"] == host || row["host"] == host;
        done.objects().into_iter().filter(of_host).collect()
    }
}

/// See the head of this file. Hosts and servers end, and namespaces are removed, when it is dropped.
pub struct World {
    pub hosts: Vec<Host>,
    pub nats: Nats,
    network: Option<Network>,
    _temp: TempDir,
}

impl World {
    /// Creates hosts `web1`, `db1` and `lap2`, linked: each has heard each other one.
    #[track_caller]
    pub fn linked(version: Version) -> Option<Self> {
        let mut world = Self::new(version, &["web1", "db1", "lap2"], ROOM)?;
        world.link_all();
        Some(world)
    }

    /// Creates hosts with servers, and without links; none if there is no NATS server here.
    #[track_caller]
    pub fn new(version: Version, names: &[&str], rooms: &str) -> Option<Self> {
        let program = version.find()?;
        let temp = machine::temp();
        let network = Network::new();
        let network = network.map_err(|why| process::skipped(&format!("namespaces: {why}"))).ok();
        let center = network.as_ref().map(Network::entry);
        // A hostile host has a user without having a server.
        let users = nats::users(&[names, &["db9"]].concat());
        let nats = Nats::start(&program, &temp.path().join("nats"), center, &users);
        let hosts = names.iter().enumerate().map(|(number, name)| {
            let home = temp.path().join(name);
            std::fs::create_dir(&home).unwrap();
            std::fs::write(home.join("password"), nats::PASSWORD).unwrap();
            std::fs::write(home.join("moot.toml"), "").unwrap();
            let namespace = network.as_ref().map(|network| network.host(number).unwrap());
            let (dir, url, rooms) = (home.join("s"), nats.url(), rooms.to_owned());
            let (name, temp) = ((*name).to_owned(), home);
            let (server, link) = (None, None);
            Host { name, dir, temp, namespace, url, rooms, server, link }
        });
        let mut world = Self { hosts: hosts.collect(), nats, network, _temp: temp };
        world.create_stream();
        world.hosts.iter_mut().for_each(Host::serve);
        Some(world)
    }

    /// Creates the stream as an administrator.
    #[track_caller]
    pub fn create_stream(&self) {
        use moot::link::{CarrierSettings, Credentials, StreamLimits, carrier::Carrier};
        self.nats.block_on(async |url| {
            let mut settings = CarrierSettings::new(&url, "admin");
            let (user, password) = ("admin".to_owned(), nats::PASSWORD.to_owned());
            settings.credentials = Credentials::Password { user, password };
            let carrier = Carrier::connect_plain(&settings).await.expect("the administrator");
            carrier.create_stream(&StreamLimits::default()).await.expect("a stream");
        });
    }

    /// Begins all links, and waits until each host has a message of each other one.
    #[track_caller]
    pub fn link_all(&mut self) {
        self.hosts.iter_mut().for_each(Host::begin_link);
        self.hosts.iter_mut().for_each(Host::linked);
        let rooms: Vec<_> = self.hosts[0].rooms.split(',').map(str::to_owned).collect();
        for room in rooms {
            for host in &self.hosts {
                host.send(&room, &format!("{} begins", host.name));
            }
            for host in &self.hosts {
                self.hosts.iter().for_each(|of| host.hears(&room, &format!("{} begins", of.name)));
            }
        }
    }

    /// Cuts a host off for a time. Without namespaces its link is stopped instead.
    pub fn set_cable(&self, number: usize, up: bool) {
        match &self.network {
            Some(network) => network.set_cable(number, up),
            None => {
                let link = self.hosts[number].link.as_ref().expect("a link");
                link.signal(if up { "CONT" } else { "STOP" });
            }
        }
    }
}

/// Long tests run if `MOOT_LINK_LONG` is 1.
pub fn is_long() -> bool {
    std::env::var("MOOT_LINK_LONG").is_ok_and(|long| long == "1")
}

/// Sleeps a random time, where a test chooses moments and does not wait for a condition.
pub fn pause(random: &mut super::random::Random, below: Duration) {
    let below = u64::try_from(below.as_micros()).unwrap();
    std::thread::sleep(Duration::from_micros(random.below(below.max(1))));
}
