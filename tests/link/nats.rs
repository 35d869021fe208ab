//! A real NATS server with its files in a temporary directory, and users with the permissions of
//! hosts.

use std::{
    fs::File,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    machine,
    net::{CENTER, Entry},
    process,
};

/// Password of all users.
pub const PASSWORD: &str = "secret";

/// A version of the NATS server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// That of Debian, 2.9.10, by `PATH`.
    Debian,
    /// A current one, by `MOOT_NATS_SERVER`.
    Current,
}

impl Version {
    /// Returns its program; none, with a printed reason, if it is not here.
    pub fn find(self) -> Option<PathBuf> {
        let path = match self {
            Self::Debian => which("nats-server"),
            Self::Current => std::env::var_os("MOOT_NATS_SERVER").map(PathBuf::from),
        };
        let found = path.filter(|path| path.exists());
        if found.is_none() {
            process::skipped(match self {
                Self::Debian => "no nats-server in PATH",
                Self::Current => "MOOT_NATS_SERVER does not name a nats-server",
            });
        }
        found
    }
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.exists())
}

/// Requests of JetStream that a host may make.
pub const REQUESTS: [&str; 5] = [
    "$JS.API.STREAM.INFO.MOOT",
    "$JS.API.STREAM.MSG.GET.MOOT",
    "$JS.API.CONSUMER.CREATE.MOOT.>",
    "$JS.API.CONSUMER.DELETE.MOOT.*",
    "$JS.API.CONSUMER.MSG.NEXT.MOOT.*",
];
/// Subjects that are stored.
const STORED: [&str; 3] = ["moot.1.r.*.*", "moot.1.n.*", "moot.1.a.*.*.*"];

/// Returns the configuration of two accounts, as `config/nats` has it: the stream's, with a user
/// `admin`, and that of the hosts, each with the smallest permissions.
pub fn users(hosts: &[&str]) -> String {
    let requests = REQUESTS.map(|request| format!("{request:?}")).join(", ");
    let services = || STORED.iter().chain(["$JS.API.INFO"].iter()).chain(&REQUESTS);
    let exports: String = services()
        .map(|subject| {
            let response = if subject.contains("NEXT") { "response: stream, " } else { "" };
            format!("      {{ service: {subject:?}, {response}accounts: [HOSTS] }}\n")
        })
        .collect();
    let imports: String = services()
        .map(|subject| {
            format!("      {{ service: {{ account: CARRIER, subject: {subject:?} }} }}\n")
        })
        .collect();
    let host = |host: &&str| {
        format!(
            r#"      {{ user: {host}, password: {PASSWORD}, permissions: {{
        publish: [ "moot.1.r.*.{host}", "moot.1.n.{host}", "moot.1.a.*.*.{host}", "moot.1.p.{host}",
          {requests} ]
        subscribe: [ "_INBOX_{host}.>", "moot.1.p.*" ] }} }}
"#
        )
    };
    let hosts: String = hosts.iter().map(host).collect();
    format!(
        "accounts {{\n  CARRIER {{\n    jetstream: enabled\n    users: [ {{ user: admin, password: \
         {PASSWORD} }} ]\n    exports: [\n{exports}    ]\n  }}\n  HOSTS {{\n    imports: [\n\
         {imports}    ]\n    users: [\n{hosts}    ]\n  }}\n}}\n"
    )
}

/// See the head of this file.
pub struct Nats {
    dir: PathBuf,
    address: String,
    port: u16,
    program: PathBuf,
    child: Option<Child>,
    center: Option<Entry>,
}

impl Nats {
    /// Starts a server, in a namespace or on 127.0.0.1; `more` is appended to its configuration.
    pub fn start(program: &Path, dir: &Path, center: Option<Entry>, more: &str) -> Self {
        let (address, port) = match &center {
            Some(_) => (CENTER.to_owned(), 4222),
            None => ("127.0.0.1".to_owned(), free_port()),
        };
        std::fs::create_dir_all(dir).unwrap();
        let config = format!(
            "listen: \"{address}:{port}\"\nserver_name: test\nlog_file: {log:?}\n\
             jetstream {{ store_dir: {store:?} }}\n{more}\n",
            log = dir.join("log"),
            store = dir.join("store"),
        );
        std::fs::write(dir.join("nats.conf"), config).unwrap();
        let (dir, program) = (dir.to_owned(), program.to_owned());
        let mut nats = Self { dir, address, port, program, child: None, center };
        nats.run();
        nats
    }

    /// Starts it again after [`Nats::kill`].
    pub fn run(&mut self) {
        let errors = File::create(self.dir.join("stderr")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.dir.join("nats.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        if let Some(center) = &self.center {
            center.place(&mut command);
        }
        process::tie(&mut command);
        self.child = Some(machine::spawn(&mut command));
        process::eventually("a connection to the NATS server", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the NATS server ended {ended:?}: {}", self.log());
            self.within(|address, port| TcpStream::connect((address, port)).is_ok())
        });
    }

    /// Runs something in the namespace of the server, in a thread of its own.
    pub fn within<T: Send>(&self, act: impl FnOnce(&str, u16) -> T + Send) -> T {
        let (center, address, port) = (&self.center, self.address.as_str(), self.port);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                center.iter().for_each(Entry::enter);
                act(address, port)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs something asynchronous in the namespace of the server.
    pub fn block_on<T: Send, F: Future<Output = T>>(
        &self,
        act: impl FnOnce(String) -> F + Send,
    ) -> T {
        self.within(|address, port| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(act(format!("nats://{address}:{port}")))
        })
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Directory of its stored streams.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.address, self.port)
    }

    /// Ends the server with `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it, or lets it continue; returns once it is so.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("a running server").id();
        machine::kill(pid, signal);
        // The signal is only queued when kill returns: a running thread may still answer.
        process::eventually("a stopped server", || signal != "STOP" || all_threads_stopped(pid));
    }

    /// Sends an administrator's request to JetStream; returns the reply.
    #[track_caller]
    pub fn api(&self, what: &str, body: &str) -> serde_json::Value {
        let reply = self.block_on(async |url| {
            let client = client(&url, "admin").await;
            let request = client.request(format!("$JS.API.{what}"), body.to_owned().into());
            request.await.expect("a reply of JetStream").payload
        });
        serde_json::from_slice(&reply).expect("JSON from JetStream")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().filter(|line| !line.contains("[INF]")).collect();
            process::note(&format!("the NATS server said: {}", lines.join("\n")));
        }
        self.kill();
    }
}

/// Connects as a user, with the inbox that a host may use.
pub async fn client(url: &str, user: &str) -> async_nats::Client {
    async_nats::ConnectOptions::with_user_and_password(user.to_owned(), PASSWORD.to_owned())
        .custom_inbox_prefix(format!("_INBOX_{user}"))
        .request_timeout(Some(Duration::from_secs(30)))
        .connect(url)
        .await
        .expect("a connection to the NATS server")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn all_threads_stopped(process: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("threads");
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}
