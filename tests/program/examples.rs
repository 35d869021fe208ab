//! Every example of README.md, docs/ and the manual, run as it is written, by bash, in a town that has the people,
//! rooms and files which the examples name.
//!
//! The names of people have to be users of the system: each process sees a list of users of its own, which
//! takes root and Linux. Elsewhere the examples are not run, and that is said.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use super::world::{Done, PATIENCE, Process, World, eventually, is_root, skipped};

const PEOPLE: [(&str, u32); 4] =
    [("ann", 61_001), ("bob", 61_002), ("carol", 61_003), ("eve", 61_004)];
/// Programs of the system that examples use. Without them, those examples are not run.
const TOOLS: [&str; 2] = ["jq", "man"];
/// Programs that examples name and that have nothing to do with `moot`: stand-ins.
const STAND_INS: [(&str, &str); 5] = [
    ("git", "echo 'commit 1: more tests'"),
    ("make", "echo 'cc -c main.c'; echo 'main.c: all is well' >&2"),
    ("logger", "exit 1"),
    ("notify-send", "exit 0"),
    ("fish", "exit 0"),
];
/// Lines with one of these go on until they are ended.
const GO_ON: [&str; 6] =
    ["moot join", "moot listen", "tail -F", "moot serve", "moot answer", "moot bench"];
/// But not with one of these.
const ENDS: [&str; 4] = ["--count", "--check", "/quit", "| head"];

/// Pages of the manual whose examples run at the same time.
const TOWNS_AT_A_TIME: usize = 4;

/// What has to have been done before a line with this part.
const BEFORE: [(&str, &str); 5] = [
    ("moot restore", "moot backup --force moot.db"),
    ("room deop dev @carol", "moot room op dev @carol"),
    ("room unban dev @eve", "moot room ban dev @eve"),
    ("room unmute dev @eve", "moot room mute dev @eve"),
    ("room leave dev", "echo /quit | moot join dev"),
];

/// People, rooms and files.
struct Town {
    world: World,
    server: Option<Process>,
    people: Vec<Process>,
    /// Process ids of the members before the last line.
    here: Vec<u32>,
}

impl Town {
    fn new() -> Self {
        let world = World::new();
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        let entry =
            |(name, uid): &(&str, u32)| format!("{name}:x:{uid}:{uid}::/nonexistent:/bin/sh\n");
        let ours: String = PEOPLE.iter().map(entry).collect();
        std::fs::write(world.path("passwd"), ours + &users).unwrap();
        let bin = world.path("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(world.copy_of_moot(), bin.join("moot")).unwrap();
        for (name, text) in STAND_INS {
            script(&bin.join(name), text);
        }
        script(&world.path("backup.sh"), "echo 'copied 3 files'");
        std::fs::write(world.path("app.log"), "started\nlistening\n").unwrap();
        std::fs::create_dir_all(world.path(".local/state")).unwrap();
        std::os::unix::fs::symlink(&world.dir, world.path(".local/state/moot")).unwrap();
        let mut town = Self { world, server: None, people: Vec::new(), here: Vec::new() };
        town.open();
        town
    }

    /// With everybody in the rooms, something said, and something announced.
    fn lively() -> Self {
        let mut town = Self::new();
        let rooms = ["lobby", "dev", "ops", "ci", "build", "jobs"];
        for room in rooms {
            town.done_by(0, &format!("moot room create {room}"));
        }
        for (name, uid) in PEOPLE {
            let args = [&["join", "--json", "--no-start"], &rooms[..]].concat();
            town.come(name, uid, &args);
        }
        town.come("ann/ci", PEOPLE[0].1, &["--as", "ci", "listen", "--json", "dev", "@"]);
        let (_, bob) = PEOPLE[1];
        town.done_by(bob, "seq 45 | moot send dev --lines");
        town.done_by(bob, "moot send dev 'build failed'");
        town.done_by(bob, "moot send dev '내일 회의 있습니다'");
        town.done_by(0, "moot send @ann 'are you there?'");
        for more in ["--ack 'one'", "'two'", "'three'", "--in 1h 'later'"] {
            town.done_by(0, &format!("moot announce {more}"));
        }
        town
    }

    /// One more member.
    fn come(&mut self, name: &str, uid: u32, args: &[&str]) {
        let mut command = self.as_user(uid, "exec moot \"$@\"", args);
        command.stdin(Stdio::piped());
        let member = Process::ready(command);
        self.people.push(member);
        let name = serde_json::Value::from(name);
        eventually("a member in the table", || {
            self.world.who(&[]).0.iter().any(|row| row["name"] == name)
        });
    }

    /// The server, if it was ended.
    fn open(&mut self) {
        let ended = self.server.as_mut().is_none_or(|s| s.child.try_wait().unwrap().is_some());
        if ended {
            let broadcast = super::world::broadcast();
            let line =
                format!("exec moot --config moot.toml serve --system --broadcast {broadcast}");
            let mut server = Process::spawn(self.as_user(0, &line, &[]));
            let first = server.line("the server's first line");
            assert!(first.starts_with("listening on "), "{first}");
            self.server = Some(server);
            let of_those_who_were_here = |member: &mut Process| {
                let lives = member.child.try_wait().unwrap().is_none();
                Some(member.pid()).filter(|pid| lives && self.here.contains(pid))
            };
            let back: Vec<u32> =
                self.people.iter_mut().filter_map(of_those_who_were_here).collect();
            eventually("everybody is back", || {
                let here = self.pids();
                back.iter().all(|pid| here.contains(pid))
            });
        }
    }

    /// Process ids of the members.
    fn pids(&self) -> Vec<u32> {
        let rows = self.world.who(&["--all"]).0;
        rows.iter().filter_map(|row| row["pid"].as_u64()?.try_into().ok()).collect()
    }

    fn close(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.signal("TERM");
            server.code();
        }
    }

    /// A line of bash as a user, who sees the town's list of users.
    fn as_user(&self, uid: u32, line: &str, args: &[&str]) -> Command {
        let begin = r#"mount --bind "$1" /etc/passwd && exec setpriv --reuid "$2" --regid "$2" --clear-groups bash -c "$3" bash "${@:4}""#;
        let mut command = self.world.program_as(0, Path::new("unshare"), &[]);
        command.args(["-m", "bash", "-c", begin, "bash"]);
        command.arg(self.world.path("passwd")).arg(uid.to_string()).arg(line).args(args);
        let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", self.world.path("bin").display());
        command.env("PATH", path).env("LC_ALL", "C.UTF-8").env("MANPAGER", "cat").process_group(0);
        command
    }

    /// What others in the town do, which has to succeed.
    #[track_caller]
    fn done_by(&self, uid: u32, line: &str) -> Done {
        Done::of(self.as_user(uid, line, &[]), None).ok()
    }

    /// Runs an example.
    fn run(&mut self, line: &str) -> Result<(), String> {
        self.prepare(line);
        let mut running = Running::start(self.as_user(0, line, &[]), &self.world);
        let goes_on = GO_ON.iter().any(|part| line.contains(part))
            && !ENDS.iter().any(|part| line.contains(part));
        let deadline = Instant::now() + PATIENCE;
        let ended = loop {
            if let Some(code) = running.ended() {
                break Some(code);
            }
            if goes_on && self.sees(&running, line) {
                break None;
            }
            if Instant::now() > deadline {
                return Err(format!("does not end\n{}", running.said()));
            }
            self.do_our_part(line);
            thread::sleep(Duration::from_millis(20));
        };
        running.end();
        if line.contains("moot stop") {
            // It is gone before the next line wants one.
            self.close();
        }
        let (said, wanted) = (running.said(), stated_code(line));
        match ended {
            Some(code) if code != wanted => Err(format!("exit code {code}, not {wanted}\n{said}")),
            _ if said.lines().any(|l| l.starts_with("moot: ")) => Err(said),
            Some(_) | None => Ok(()),
        }
    }

    /// What a line needs beside the people of the town.
    fn prepare(&mut self, line: &str) {
        let begins_server = line.contains("moot serve") && !line.contains("--check");
        if begins_server {
            self.close();
        } else {
            self.open();
            self.here = self.pids();
        }
        if let Some((_, number)) = line.split_once("moot drop ") {
            let number: u64 = number.split_whitespace().next().unwrap().parse().unwrap();
            while !self.world.who(&[]).0.iter().any(|row| row["session"] == number) {
                self.come("eve", PEOPLE[3].1, &["join", "--json", "lobby"]);
                assert!(self.people.len() < 100, "session {number} has to come yet");
            }
        }
        for (_, before) in BEFORE.iter().filter(|(part, _)| line.contains(part)) {
            self.done_by(0, before);
        }
        if line.contains("moot ask ") {
            let answer = "exec moot answer math --exec echo 500500";
            self.people.push(Process::spawn(self.as_user(PEOPLE[1].1, answer, &[])));
        }
    }

    /// What others do while a line waits for them.
    fn do_our_part(&self, line: &str) {
        let others = |uid: u32, line: &str| drop(Done::of(self.as_user(uid, line, &[]), None));
        if line.contains("--match") {
            others(PEOPLE[1].1, "moot send ci 'build ok'");
        }
        if line.contains("wait ci --run build") {
            others(0, "moot run ci --title build -- true");
        }
        if line.contains("--wait acked") {
            let newest = "moot notices list --json | sed -n 's/.*\"id\":\"\\(![0-9]*\\)\".*/\\1/p' | head -1";
            for (_, uid) in PEOPLE {
                others(uid, &format!("moot notices ack $({newest})"));
            }
            others(PEOPLE[0].1, &format!("moot --as ci notices ack $({newest})"));
        }
    }

    /// Whether a line that goes on does what it is for.
    fn sees(&self, running: &Running, line: &str) -> bool {
        if line.contains("moot serve") {
            return running.out().contains("listening on ");
        }
        let of_ours = |row: &serde_json::Value| {
            row["pid"].as_u64().is_some_and(|pid| group_of(pid) == Some(running.group()))
        };
        self.world.who(&["--all"]).0.iter().any(of_ours)
    }
}

/// An example that runs; what it prints goes into files, which nobody has to read.
struct Running {
    child: std::process::Child,
    out: PathBuf,
    errors: PathBuf,
}

impl Running {
    fn start(mut command: Command, world: &World) -> Self {
        let (out, errors) = (world.path("example.out"), world.path("example.err"));
        let file = |path: &Path| std::fs::File::create(path).unwrap();
        command.stdout(file(&out)).stderr(file(&errors));
        Self { child: command.spawn().unwrap(), out, errors }
    }

    fn group(&self) -> u64 {
        self.child.id().into()
    }

    fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Ends all its processes.
    fn end(&mut self) {
        let group = format!("-{}", self.child.id());
        for signal in ["-TERM", "-KILL"] {
            let mut kill = Command::new("kill");
            // It may have ended by itself.
            let _ = kill.args([signal, "--", &group]).stderr(Stdio::null()).status();
            if signal == "-TERM" {
                let until = Instant::now() + Duration::from_secs(5);
                while self.ended().is_none() && Instant::now() < until {
                    thread::sleep(Duration::from_millis(3));
                }
            }
        }
        let _ = self.child.wait();
    }

    fn out(&self) -> String {
        read(&self.out)
    }

    fn said(&self) -> String {
        format!("{}{}", self.out(), read(&self.errors))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    std::fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The process group of a process.
fn group_of(pid: u64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(2)?.parse().ok()
}

/// `# exit code N` at the end of a line says what to expect.
fn stated_code(line: &str) -> i32 {
    let stated = line.rsplit_once("# exit code ").and_then(|(_, code)| code.trim().parse().ok());
    stated.unwrap_or(0)
}

fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether the town can be made here; if not, it is said why.
fn possible() -> bool {
    let private = || {
        let mut command = Command::new("unshare");
        command.args(["-m", "setpriv", "--reuid", "1", "mount", "--version"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let possible = is_root() && private();
    if !possible {
        skipped("not root on Linux: the examples were not run");
    }
    possible
}

/// Whether a line's tools are here.
fn has_tools(line: &str) -> bool {
    if line.starts_with("moot link ") {
        // `tests/link` runs these arguments between hosts that have one.
        skipped(&format!("the example needs a NATS server, not run: {line}"));
        return false;
    }
    let absent = |tool: &&str| {
        let used = line.split([' ', '$', '(', '|']).any(|word| word == *tool);
        used && Command::new(tool).arg("--version").output().is_err()
    };
    let missing = TOOLS.iter().find(|tool| absent(tool));
    if let Some(tool) = missing {
        skipped(&format!("`{tool}` is missing, not run: {line}"));
    }
    missing.is_none()
}

/// The lines of a block of shell commands, without those that only say something.
fn commands(block: &str) -> impl Iterator<Item = &str> {
    block.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

/// Blocks of a kind in a Markdown text, but those with a reason above them why they are not run.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = "";
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match &mut open {
            Some((wanted, block)) if line == "```" => {
                if *wanted {
                    found.push(std::mem::take(block));
                }
                open = None;
            }
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {
                if let Some(of) = line.strip_prefix("```") {
                    open =
                        Some((of == kind && !before.starts_with("<!-- not run:"), String::new()));
                } else if !line.is_empty() {
                    before = line;
                }
            }
        }
    }
    assert!(open.is_none(), "a block without an end");
    found
}

/// The documents whose examples are run, one after the other.
fn documents() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &&str| std::fs::read_to_string(root.join(name)).unwrap();
    ["README.md", "docs/guide.md", "docs/screen.md"].iter().map(read).collect()
}

#[test]
fn examples_of_documents_do_what_they_say() {
    if !possible() {
        return;
    }
    let blocks = blocks(&documents(), "sh");
    assert!(blocks.len() >= 5, "{blocks:?}");
    let mut town = Town::lively();
    let mut failed = Vec::new();
    for line in blocks.iter().flat_map(|block| commands(block)).filter(|line| has_tools(line)) {
        if let Err(why) = town.run(line) {
            failed.push(format!("{line}\n{why}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The commands of a document's blocks, without comments.
fn bare_commands(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let blocks = blocks(&std::fs::read_to_string(path).unwrap(), "sh");
    let lines = blocks.iter().flat_map(|block| commands(block));
    lines.map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect()
}

#[test]
fn korean_readme_has_the_same_examples() {
    let korean = bare_commands("README.ko.md");
    assert!(korean.len() > 10, "{korean:?}");
    assert_eq!(korean, bare_commands("README.md"));
}

#[test]
fn the_manual_s_examples_do_what_they_say() {
    if !possible() {
        return;
    }
    let world = World::new();
    let dir = world.path("man");
    world.run(&["man", "--dir", dir.to_str().unwrap()]).ok();
    let mut pages: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    pages.retain(|page| page.to_str().unwrap().ends_with(".1"));
    pages.sort();
    let examples =
        pages.iter().map(|page| page.to_str().unwrap().trim_end_matches(".1")).map(|page| {
            let mut help = vec!["help"];
            help.extend(page.split('-').skip(1));
            let help = world.run(&help).ok().out;
            let (_, examples) = help.split_once("Examples:\n").unwrap();
            let lines = examples.lines().take_while(|line| line.starts_with("  "));
            let lines: Vec<_> = lines.map(|line| line.trim().to_owned()).collect();
            assert!(!lines.is_empty(), "{page}: {help}");
            (page, lines)
        });
    // Each page has a town of its own, and most lines wait for something.
    let waiting: Mutex<Vec<_>> = Mutex::new(examples.collect());
    let failed = Mutex::new(Vec::new());
    let run_pages = || {
        loop {
            let next = waiting.lock().unwrap().pop();
            let Some((page, lines)) = next else { return };
            let numbered = lines.iter().any(|line| line.contains("moot drop "));
            let mut town = if numbered { Town::new() } else { Town::lively() };
            for line in lines.iter().filter(|line| has_tools(line)) {
                if let Err(why) = town.run(line) {
                    failed.lock().unwrap().push(format!("{page}: {line}\n{why}"));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..TOWNS_AT_A_TIME {
            scope.spawn(run_pages);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn shown_output_of_a_command_is_what_it_prints() {
    if !possible() {
        return;
    }
    let mut town = Town::new();
    let shown = blocks(&documents(), "console");
    assert!(!shown.is_empty());
    for block in shown {
        let (first, rest) = block.split_once('\n').unwrap();
        let line = first.strip_prefix("$ ").unwrap();
        town.open();
        let done = town.done_by(0, line);
        // Figures differ from machine to machine; what they are of does not.
        assert_eq!(without_figures(&done.out), without_figures(rest), "{line}\n{}", done.out);
    }
}

/// The words of a text that are no figures, nor units of them, nor the way that messages took.
fn without_figures(text: &str) -> Vec<Vec<&str>> {
    let units = ["s", "s,", "ms", "ms,", "µs", "µs,", "KiB", "MiB", "B", "multicast,", "session,"];
    text.lines()
        .map(|line| {
            line.split_whitespace()
                .filter(|word| {
                    !word.contains(|c: char| c.is_ascii_digit()) && !units.contains(word)
                })
                .collect()
        })
        .collect()
}
