//! `moot run`: a command with its output in a room. The command comes first, whatever the server does.

use std::process::Stdio;

use serde_json::Value;

use super::world::{Done, Process, World, eventually};

const MOOT: &str = env!("CARGO_BIN_EXE_moot");

impl World {
    /// `moot run` with this command, flags before `--` included.
    #[track_caller]
    fn run_it(&self, flags: &[&str], command: &[&str]) -> Done {
        Done::of(self.run_command(flags, command), None)
    }

    fn run_command(&self, flags: &[&str], command: &[&str]) -> std::process::Command {
        let mut args = vec!["run"];
        args.extend(flags);
        if !flags.contains(&"--title") {
            // What is looked for in a room is not to be found in the command line.
            args.extend(["--title", "job"]);
        }
        args.push("--");
        args.extend(command);
        self.moot(&args)
    }

    /// All that was said in a room.
    #[track_caller]
    fn said(&self, room: &str) -> Vec<String> {
        let all = self.run(&["history", "--json", room]).objects();
        all.iter().map(|o| o["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// The result that `--json` prints.
#[track_caller]
fn result_of(done: &Done) -> Value {
    let line = done.err.lines().rfind(|line| line.contains("\"type\":\"run\"")).expect(&done.err);
    serde_json::from_str(line).unwrap()
}

/// A line of a room without the parts that differ from run to run.
fn plain(text: &str) -> String {
    let end = text.find(" (pid ").or_else(|| text.find(" after ")).unwrap_or(text.len());
    text[..end].to_owned()
}

#[test]
fn a_command_is_told_with_its_start_its_output_and_its_end() {
    let world = World::new();
    let _server = world.serve();
    let version = format!("moot {}", env!("CARGO_PKG_VERSION"));
    let done = world.run_it(&["dev", "--json", "--title", "job"], &[MOOT, "--version"]).ok();
    assert_eq!(done.out.trim_end(), version);
    let said = world.said("dev");
    assert_eq!(plain(&said[0]), "started: job");
    assert_eq!(said[1], version);
    assert_eq!(plain(&said[2]), "job: ok");
    assert_eq!(said.len(), 3);
    let result = result_of(&done);
    assert_eq!(said[0], format!("started: job (pid {})", result["pid"]));
    assert_eq!((&result["target"], &result["title"]), (&"dev".into(), &"job".into()));
    assert_eq!((&result["code"], &result["signal"]), (&0.into(), &Value::Null));
    assert_eq!((&result["messages"], &result["unsent"]), (&3.into(), &0.into()));
    assert_eq!((&result["lines"], &result["bytes"]), (&1.into(), &done.out.len().into()));
}

#[test]
fn failed_command_passes_its_code_and_standard_error() {
    let world = World::new();
    let _server = world.serve();
    let done = world.run_it(&["dev", "--title", "look"], &[MOOT, "history", "nowhere"]).exits(5);
    assert_eq!(done.out, "");
    let said = world.said("dev");
    assert_eq!(done.err.trim_end(), said[1]);
    assert_eq!(plain(&said[2]), "look: failed with exit code 5");
}

#[test]
fn the_commands_own_moot_means_the_same_server_and_room() {
    let world = World::new();
    let _server = world.serve();
    world.run_it(&["dev"], &[MOOT, "send", "other", "from the child"]).ok();
    assert_eq!(world.said("other"), ["from the child"]);
}

#[test]
fn command_that_can_not_run_has_its_code_and_a_message() {
    let world = World::new();
    let _server = world.serve();
    let done = world.run_it(&["dev"], &["no-such-command-anywhere"]).exits(127);
    assert!(done.err.contains("can't run no-such-command-anywhere"), "{}", done.err);
    assert!(world.said("dev")[0].starts_with("job: could not be run: "));
    let file = world.path("file");
    std::fs::write(&file, "just words").unwrap();
    world.run_it(&["dev"], &[file.to_str().unwrap()]).exits(126);
    assert_eq!(world.said("dev").len(), 2);
}

#[test]
fn a_run_that_is_written_wrongly_runs_nothing() {
    let world = World::new();
    world.run(&["run", "dev"]).exits(2);
    world.run(&["run", "dev", "--"]).exits(2);
    world.run(&["run", "--", MOOT, "--version"]).exits(2);
    let done = world.run_it(&["@ann", "--will", "gone"], &[MOOT, "--version"]).exits(2);
    assert_eq!(done.out, "");
}

#[test]
fn without_a_server_the_command_runs_all_the_same() {
    let world = World::new();
    let done = world.run_it(&["--no-start", "--json", "dev"], &[MOOT, "--version"]).ok();
    assert!(done.out.starts_with("moot "), "{}", done.out);
    assert!(done.err.contains("no server in"), "{}", done.err);
    let result = result_of(&done);
    assert_eq!((&result["messages"], &result["unsent"]), (&0.into(), &3.into()));
}

#[test]
fn a_server_is_started_beside_the_command() {
    let world = World::new();
    let done = world.run_it(&["dev", "--title", "job"], &[MOOT, "--version"]).ok();
    assert!(done.err.starts_with("no server: starting one in the background"), "{}", done.err);
    assert_eq!(world.said("dev").len(), 3);
    world.run(&["stop"]).ok();
}

#[test]
fn a_refusal_is_noted_once_and_the_command_gets_on() {
    let world = World::with_config("[limits]\nrooms_per_user = 1\n");
    let _server = world.serve();
    let _bob = world.listen(&["dev"]);
    let done = world.run_it(&["other", "--json"], &[MOOT, "--version"]).ok();
    assert_eq!(done.err.matches("limit").count(), 1, "{}", done.err);
    assert_eq!(result_of(&done)["unsent"], 3);
}

#[test]
fn a_member_stands_in_the_room_while_the_command_runs() {
    let world = World::new();
    let _server = world.serve();
    let mut watcher = world.join(&["dev"]);
    let mut listen = world.run_command(&["dev", "--as", "ci"], &[MOOT, "listen", "--json", "x"]);
    listen.stdin(Stdio::null());
    let mut run = Process::ready(listen);
    assert!(watcher.next_of("joined")["member"]["name"].as_str().unwrap().ends_with("/ci"));
    assert_eq!(watcher.texts(1).len(), 1);
    // If `run` itself is killed, the server says so.
    run.kill();
    let left = watcher.next_of("message");
    let text = left["text"].as_str().unwrap();
    // What the command printed may come before.
    let text = if text.contains("ready") { watcher.texts(1).remove(0) } else { text.to_owned() };
    assert!(text.contains("result unknown"), "{text}");
}

#[test]
fn result_in_a_room_is_an_object_in_json() {
    let world = World::new();
    let _server = world.serve();
    let mut members = [world.listen(&["dev"]), world.join(&["dev"])];
    let wait = world.moot(&["wait", "--json", "dev", "--match", "failed with"]);
    let mut wait = Process::spawn(wait);
    eventually("it listens", || wait.errors().contains("\"ready\""));
    // A title that looks like a result itself.
    let title = "a (b): ok after 1.0 s\n";
    world.run_it(&["dev", "--title", title], &[MOOT, "history", "nowhere"]).exits(5);
    let want = serde_json::json!({
        "state": "ended",
        "title": "a (b): ok after 1.0 s\\n",
        "code": 5,
        "signal": null,
        "timed_out": false,
    });
    for member in &mut members {
        let messages: Vec<_> = (0..3).map(|_| member.next_of("message")).collect();
        assert_eq!(messages[2]["run"], want);
        assert!(messages[..2].iter().all(|message| message.get("run").is_none()));
    }
    assert_eq!(wait.next("the result")["run"], want);
    for command in [&["history", "dev"][..], &["search", "failed"], &["export", "dev"]] {
        let done = world.run(&[&["--json"], command].concat()).ok();
        let objects = done.objects();
        let runs: Vec<_> = objects.iter().filter_map(|object| object.get("run")).collect();
        assert_eq!(runs, [&want], "{command:?}");
    }
    // Anyone can write such a text, and be told apart by their name.
    world.run(&["send", "dev", "x: result unknown: `moot run` itself was killed"]).ok();
    let lost = members[0].next_of("message");
    assert_eq!((&lost["run"]["state"], &lost["run"]["title"]), (&"lost".into(), &"x".into()));
    world.run(&["wait", "dev", "--run", title, "--since", "1h"]).exits(5);
    world.run(&["wait", "dev", "--run", "a (b)", "--since", "1h", "--timeout", "10ms"]).exits(124);
}

#[test]
fn chronic_run_is_silent_unless_the_command_fails() {
    let world = World::new();
    let _server = world.serve();
    let done = world.run_it(&["dev", "--chronic"], &[MOOT, "--version"]).ok();
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    assert!(world.said("dev")[1].starts_with("moot "), "the room gets all");
    let done = world.run_it(&["dev", "--chronic"], &[MOOT, "history", "nowhere"]).exits(5);
    assert_eq!(done.out, "");
    assert!(done.err.contains("nowhere"), "{}", done.err);
    // Together with --on-fail nothing is said in the room either.
    let before = world.said("dev").len();
    let flags = ["dev", "--chronic", "--on-fail", "--json"];
    let done = world.run_it(&flags, &[MOOT, "--version"]).ok();
    assert_eq!((done.out.as_str(), &result_of(&done)["lines"]), ("", &1.into()));
    assert_eq!(world.said("dev").len(), before);
    world.run_it(&["dev", "--chronic"], &["no-such-command-anywhere"]).exits(127);
}

#[test]
fn a_user_can_be_told_as_well() {
    let world = World::new();
    let _server = world.serve();
    let me = moot::os::user_name(moot::os::own_uid()).unwrap();
    let mut ears = world.listen(&["@", "--as", "ears"]);
    world.run_it(&[&format!("@{me}/ears"), "--title", "job"], &[MOOT, "--version"]).ok();
    let mut direct = || ears.next_of("direct")["text"].as_str().unwrap().to_owned();
    let told = [direct(), direct(), direct()];
    assert_eq!((plain(&told[0]), plain(&told[2])), ("started: job".into(), "job: ok".into()));
}

#[cfg(unix)]
mod posix {
    //! What a POSIX shell, signals and pipes are needed for.

    use std::{
        ffi::CStr,
        fs::File,
        io::{Read, Write},
        os::{
            fd::AsRawFd,
            unix::{fs::OpenOptionsExt, process::CommandExt},
        },
        process::{Child, Command},
        time::{Duration, Instant},
    };

    use nix::sys::termios::{LocalFlags, OutputFlags, Termios, tcgetattr};

    use super::*;
    use crate::world::{PATIENCE, kill};

    fn sh(script: &str) -> [&str; 3] {
        ["sh", "-c", script]
    }

    impl World {
        /// `moot run dev` with a script that runs on; its first line has come.
        #[track_caller]
        fn script(&self, flags: &[&str], script: &str) -> Process {
            let mut run = Process::spawn(self.run_command(flags, &sh(script)));
            assert_eq!(run.line("its first line"), "ready");
            run
        }

        /// Waits until something was said.
        #[track_caller]
        fn hears(&self, room: &str, what: &str) {
            eventually(what, || self.said(room).iter().any(|text| text.contains(what)));
        }
    }

    #[test]
    fn output_passes_as_it_is_and_is_made_visible_in_the_room() {
        let world = World::new();
        let _server = world.serve();
        let script = r"printf 'a\377\033[31m\033[K\n한\n'; printf 'no end'";
        let mut command = world.run_command(&["dev"], &sh(script));
        let output = command.output().unwrap();
        assert_eq!(output.stdout, b"a\xff\x1b[31m\x1b[K\n\xed\x95\x9c\nno end");
        assert_eq!(output.stderr, b"");
        assert_eq!(world.said("dev")[1], "a\\xff\\u{1b}[K\n한\nno end");
    }

    #[test]
    fn chatty_command_costs_few_messages_and_loses_no_line() {
        let world = World::new();
        let _server = world.serve();
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do seq $i 50; sleep 0.1; done";
        let done = world.run_it(&["dev", "--json"], &sh(script)).ok();
        let said = world.said("dev");
        let output = said[1..said.len() - 1].join("\n") + "\n";
        assert_eq!(output, done.out);
        let result = result_of(&done);
        assert_eq!(result["lines"], done.out.lines().count());
        let most = result["duration_ms"].as_u64().unwrap() / 250 + 4;
        assert!(said.len() as u64 <= most, "{} messages, {most} at most", said.len());
    }

    #[test]
    fn of_the_output_the_end_is_said_or_nothing_unless_it_fails() {
        let world = World::new();
        let _server = world.serve();
        let flags = ["dev", "--title", "job"];
        let with = |more: &[&'static str]| [&flags[..], more].concat();
        assert_eq!(world.run_it(&with(&["--tail", "2"]), &sh("seq 9")).ok().out.len(), 18);
        let said = world.said("dev");
        assert_eq!((said.len(), said[1].as_str()), (3, "8\n9"));
        let done = world.run_it(&with(&["--on-fail", "--json"]), &sh("seq 9")).ok();
        assert_eq!((result_of(&done)["messages"].as_u64(), world.said("dev").len()), (Some(0), 3));
        world.run_it(&with(&["--on-fail"]), &sh("seq 100; exit 3")).exits(3);
        let said = world.said("dev");
        let tail: Vec<_> = (81..=100).map(|n| n.to_string()).collect();
        assert_eq!((said.len(), &said[3]), (5, &tail.join("\n")));
        assert_eq!(plain(&said[4]), "job: failed with exit code 3");
        world.run_it(&with(&["--on-fail", "--tail", "1"]), &sh("seq 100; kill -9 $$")).exits(137);
        let said = world.said("dev");
        assert_eq!((said[5].as_str(), plain(&said[6])), ("100", "job: killed by SIGKILL".into()));
    }

    #[test]
    fn wait_ends_with_the_exit_code_of_a_run() {
        let world = World::new();
        let _server = world.serve();
        for (script, code) in [("exit 0", 0), ("echo out; exit 7", 7), ("kill -9 $$", 137)] {
            let mut wait = Process::spawn(world.moot(&["wait", "dev", "--run", "job", "--json"]));
            eventually("it listens", || wait.errors().contains("\"ready\""));
            // Others end meanwhile, and what is said is not a result.
            world.run_it(&["dev", "--title", "other"], &sh("exit 3")).exits(3);
            world.run(&["send", "dev", "job: ok, or so"]).ok();
            world.run_it(&["dev", "--title", "job"], &sh(script)).exits(code);
            assert_eq!(wait.code(), code, "{}", wait.errors());
            assert_eq!(
                plain(wait.next("the result")["text"].as_str().unwrap()).split(':').next(),
                Some("job")
            );
        }
        // What ended before, too.
        world.run(&["wait", "dev", "--run", "job", "--since", "dev:1"]).ok();
        world.run(&["wait", "dev", "--run", "other", "--since", "1h"]).exits(3);
        world.run(&["wait", "dev", "--run", "job", "--match", "x"]).exits(2);
        world.run(&["wait", "dev", "--run", "never", "--timeout", "10ms"]).exits(124);
        if crate::world::is_root() {
            let by_other = crate::world::user_name(crate::world::OTHER_UID);
            let from = format!("@{by_other}");
            world
                .run(&[
                    "wait",
                    "dev",
                    "--run",
                    "job",
                    "--from",
                    &from,
                    "--since",
                    "1h",
                    "--timeout",
                    "10ms",
                ])
                .exits(124);
        }
    }

    #[test]
    fn a_prompt_without_a_line_end_is_seen_in_the_room() {
        let world = World::new();
        let _server = world.serve();
        let mut command = world.run_command(&["dev"], &sh("printf 'name? '; read x; echo hi $x"));
        command.stdin(Stdio::piped());
        let mut run = Process::spawn(command);
        world.hears("dev", "name? ");
        run.say("ann");
        assert_eq!(run.code(), 0);
        assert!(world.said("dev").contains(&"hi ann".to_owned()));
    }

    #[test]
    fn signals_reach_the_command_and_its_end_is_ours() {
        let world = World::new();
        let _server = world.serve();
        for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("USR1", 138)] {
            let mut run = world.script(&["dev"], "echo ready; exec sleep 1000");
            run.signal(signal);
            assert_eq!(run.code(), code);
            world.hears("dev", &format!("killed by SIG{signal}"));
        }
    }

    #[test]
    fn a_command_that_ignores_sigterm_is_waited_for() {
        let world = World::new();
        let _server = world.serve();
        let script = "trap 'echo no' TERM; trap 'echo bye; exit 7' USR1; echo ready; \
                      while :; do sleep 0.01; done";
        let mut run = world.script(&["dev"], script);
        for _ in 0..2 {
            run.signal("TERM");
            assert_eq!(run.line("its answer"), "no");
        }
        run.signal("USR1");
        assert_eq!(run.line("its answer"), "bye");
        assert_eq!(run.code(), 7);
    }

    #[test]
    fn when_time_is_out_the_command_is_ended_however_stubborn() {
        let world = World::new();
        let _server = world.serve();
        let flags = ["dev", "--timeout", "200ms", "--json"];
        let done = world.run_it(&flags, &["sleep", "1000"]).exits(124);
        assert_eq!(result_of(&done)["signal"], "SIGTERM");
        let script = "trap '' TERM; while :; do sleep 0.01; done";
        let done = world.run_it(&flags, &sh(script)).exits(124);
        let result = result_of(&done);
        assert_eq!((&result["signal"], &result["timed_out"]), (&"SIGKILL".into(), &true.into()));
        world.hears("dev", "killed by SIGKILL at its time limit");
        // A stopped one can't end before it goes on.
        world.run_it(&flags, &sh("kill -STOP $$")).exits(124);
    }

    #[test]
    fn stopped_and_continued_the_command_is_too() {
        let world = World::new();
        let _server = world.serve();
        let script = "trap 'echo woke; exit 3' CONT; echo ready; while :; do sleep 0.01; done";
        let mut command = world.run_command(&["dev"], &sh(script));
        // In a group that no shell looks after, the kernel stops nobody by that signal.
        command.process_group(0);
        let mut run = Process::spawn(command);
        assert_eq!(run.line("its first line"), "ready");
        let state = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().unwrap().chars().next().unwrap_or('-')
        };
        let said = || world.said("dev").into_iter().find(|text| text.contains("(pid "));
        world.hears("dev", "(pid ");
        let child: u32 =
            said().unwrap().rsplit(' ').next().unwrap().trim_end_matches(')').parse().unwrap();
        run.signal("TSTP");
        eventually("both stop", || state(run.pid()) == 'T' && state(child) == 'T');
        run.signal("CONT");
        assert_eq!(run.line("it goes on"), "woke");
        assert_eq!(run.code(), 3);
    }

    #[test]
    fn the_command_finds_its_surroundings_as_if_it_were_alone() {
        let world = World::new();
        let _server = world.serve();
        // What this process has from elsewhere is there in both cases.
        let alone = |command: &[&str]| {
            Done::of(world.command(command[0].as_ref(), &command[1..]), None).ok().out
        };
        let descriptors = ["ls", "/proc/self/fd"];
        let out = world.run_it(&["dev"], &descriptors).ok().out;
        assert_eq!(out, alone(&descriptors));
        // Two numbers beyond the real signals are the C library's own, whose value depends on how it begins a
        // process.
        let masks = |out: &str| -> Vec<u64> {
            let masks = out.lines().map(|line| line.rsplit('\t').next().unwrap());
            masks.map(|mask| u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff).collect()
        };
        let command = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
        let out = world.run_it(&["dev"], &command).ok().out;
        assert_eq!(masks(&out).len(), 2, "{out}");
        assert_eq!(masks(&out), masks(&alone(&command)));
        let done = world.run_it(&["dev"], &sh("echo $MOOT_ROOM $MOOT_SERVER")).ok();
        assert_eq!(done.out.trim_end(), format!("dev {}", world.dir.display()));
    }

    #[test]
    fn command_ignores_the_signals_that_its_caller_ignores() {
        let world = World::new();
        let _server = world.serve();
        let run =
            format!("trap '' HUP; exec {MOOT} run dev -- sh -c 'echo ready; exec sleep 1000'");
        let mut command = Command::new("sh");
        command.args(["-c", &run]).env("MOOT_SERVER", &world.dir).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = Process::spawn(command);
        assert_eq!(run.line("ready"), "ready");
        run.signal("HUP");
        run.signal("TERM");
        assert_eq!(run.code(), 143, "by the second, not by the first");
    }

    #[test]
    fn the_default_server_is_found_from_other_surroundings() {
        let world = World::new();
        let runtime = world.path("runtime");
        crate::machine::private_dir(&runtime);
        let with = |mut command: Command| {
            command.env_remove("MOOT_SERVER").env("XDG_RUNTIME_DIR", &runtime);
            command.env("XDG_STATE_HOME", world.path("state"));
            command
        };
        // It is started by `run`, and the command may be faster.
        let script =
            format!("env -u XDG_RUNTIME_DIR -u XDG_STATE_HOME -u HOME {MOOT} send other hi");
        Done::of(with(world.run_command(&["dev"], &sh(&script))), None).ok();
        for room in ["dev", "other"] {
            let done = Done::of(with(world.moot(&["history", room])), None).ok();
            assert!(!done.out.is_empty(), "{room}: {}", done.err);
        }
        Done::of(with(world.moot(&["stop"])), None).ok();
    }

    #[test]
    fn ctrl_c_at_a_terminal_comes_once() {
        let world = World::new();
        let _server = world.serve();
        let file = world.path("got");
        let script = format!(
            "trap 'echo got >> {}' INT; trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done",
            file.display()
        );
        let (mut terminal, mut run) = on_terminal(world.run_command(&["dev"], &sh(&script)));
        let mut line = [0; 5];
        terminal.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"ready");
        // The command has taken its own before `run` sees one: two at once would look like one.
        kill(run.id(), "STOP");
        terminal.write_all(b"\x03").unwrap();
        let got = || std::fs::read_to_string(&file).unwrap_or_default();
        eventually("the terminal's", || got() == "got\n");
        kill(run.id(), "CONT");
        kill(run.id(), "TERM");
        assert_eq!(run.wait().unwrap().code(), Some(9));
        assert_eq!(got(), "got\n");
        // What another process sends does reach the command.
        let script = "trap 'echo got; exit 3' INT; echo ready; while :; do sleep 0.01; done";
        let (mut terminal, mut run) = on_terminal(world.run_command(&["dev"], &sh(script)));
        let mut byte = [0];
        terminal.read_exact(&mut byte).unwrap();
        kill(run.id(), "INT");
        assert_eq!(run.wait().unwrap().code(), Some(3));
    }

    /// Runs a command on a terminal of its own, whose other end this is.
    fn on_terminal(mut command: Command) -> (File, Child) {
        let open = |path: &str| {
            let mut options = File::options();
            // Not into what other tests begin meanwhile, and not yet anybody's terminal.
            options.read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap()
        };
        let near = open("/dev/ptmx");
        let mut name = [0; 64];
        // SAFETY: the descriptor is open.
        assert_eq!(unsafe { libc::unlockpt(near.as_raw_fd()) }, 0);
        // SAFETY: the name is written to a buffer of ours, of this length.
        let named = unsafe { libc::ptsname_r(near.as_raw_fd(), name.as_mut_ptr(), name.len()) };
        assert_eq!(named, 0);
        // SAFETY: it ends with a zero: it was named.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        let far = open(name.to_str().unwrap());
        command.stdin(far.try_clone().unwrap()).stdout(far.try_clone().unwrap()).stderr(far);
        let own_session = || {
            // Whoever runs these tests in the background ignores them.
            for signal in [nix::sys::signal::SIGINT, nix::sys::signal::SIGQUIT] {
                // SAFETY: the default has no handler.
                unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }?;
            }
            nix::unistd::setsid()?;
            // SAFETY: a system call on this process's standard input.
            match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        // SAFETY: it makes system calls only, and allocates nothing.
        unsafe { command.pre_exec(own_session) };
        let child = command.spawn().unwrap();
        (near, child)
    }

    #[test]
    fn when_nobody_reads_the_output_a_command_ends_as_without_us() {
        let world = World::new();
        let _server = world.serve();
        let script = format!("{MOOT} run dev --title yes -- yes; echo $? >&2");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("({script}) | head -n 1")]).env("MOOT_SERVER", &world.dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = Done::of(command, None).ok();
        assert_eq!((done.out.as_str(), done.err.trim_end()), ("y\n", "141"));
        world.hears("dev", "yes: killed by SIGPIPE");
    }

    #[test]
    fn run_ends_while_a_grandchild_holds_the_output() {
        let world = World::new();
        let _server = world.serve();
        let mut run = Process::spawn(world.run_command(&["dev"], &sh("sleep 1000 & echo $!")));
        let sleeper = run.line("its pid");
        assert_eq!(run.code(), 0);
        assert!(run.output_is_open(), "the reader waits for the sleeper, as without moot");
        world.hears("dev", &format!("still running: pid {sleeper} holds the output"));
        kill(sleeper.parse().unwrap(), "KILL");
        eventually("the end of the output", || !run.output_is_open());
        // One that never stops writing is not waited for either.
        let mut run = Process::spawn(world.run_command(&["dev"], &sh("yes >&2 & echo $!")));
        let yes = run.line("its pid");
        assert_eq!(run.code(), 0);
        kill(yes.parse().unwrap(), "KILL");
    }

    #[test]
    fn background_child_of_a_run_lives_on_and_its_output_passes() {
        let world = World::new();
        let _server = world.serve();
        let late = "read go <fifo; /bin/echo late; echo \"rc=$?\" >";
        for (at, (flags, script)) in [
            (&["dev"][..], "(LATE) & echo started"),
            (&["dev"], "(LATE) & echo started; exit 3"),
            (&["dev"], "nohup setsid sh -c 'LATE' & echo started"),
            (&["dev"], "(LATE) 2>&1 >/dev/null & echo started"),
            (&["dev", "--on-fail"], "(LATE) & echo started"),
            (&["dev", "--tail", "1", "--json"], "(LATE) & echo started"),
        ]
        .into_iter()
        .enumerate()
        {
            let fifo = world.path("fifo");
            let _ = std::fs::remove_file(&fifo);
            nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
            let result = format!("result{at}");
            let script = script.replace("LATE", &format!("{late}{result}"));
            let mut run = Process::spawn(world.run_command(flags, &sh(&script)));
            assert_eq!(run.line("its first line"), "started");
            let code = run.code();
            assert_eq!(code, if script.contains("exit 3") { 3 } else { 0 });
            std::fs::write(&fifo, "go\n").unwrap();
            let read = || std::fs::read_to_string(world.path(&result)).unwrap_or_default();
            eventually("its own end", || read() == "rc=0\n");
            if !script.contains("/dev/null") {
                assert_eq!(run.line("what it writes later"), "late", "{script}");
            }
            eventually("the end of the output", || !run.output_is_open());
        }
        let told = world.said("dev").iter().filter(|t| t.starts_with("still running: ")).count();
        assert_eq!(told, 5, "each but that of --on-fail, which went well");
    }

    #[test]
    fn outputs_of_one_file_keep_their_order() {
        let world = World::new();
        let _server = world.serve();
        let script = "for i in 1 2 3 4 5 6 7 8 9; do echo out$i; echo err$i >&2; done; printf o; \
                      printf e >&2; echo ut; exit 2";
        let lines = (1..10).map(|i| format!("out{i}\nerr{i}\n")).collect::<String>() + "oeut\n";
        for (at, flags) in ["", "--on-fail", "--tail 99"].into_iter().enumerate() {
            let room = format!("room{at}");
            let mut command = Command::new("sh");
            let line = format!("{MOOT} run {room} {flags} --title job -- sh -c \"$SCRIPT\" 2>&1");
            command.args(["-c", &line]).env("MOOT_SERVER", &world.dir).env("SCRIPT", script);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            assert_eq!(Done::of(command, None).exits(2).out, lines);
            let said = world.said(&room);
            let output = said.iter().filter(|t| !t.contains("job")).cloned();
            assert_eq!(output.collect::<Vec<_>>().join("\n") + "\n", lines);
        }
        // To two files each goes where it belongs.
        let done = world.run_it(&["two"], &sh(script)).exits(2);
        assert_eq!((done.out.lines().count(), done.err.lines().count()), (10, 10));
    }

    #[test]
    fn reader_of_one_output_does_not_delay_the_other() {
        let world = World::new();
        let _server = world.serve();
        // More than the pipes take while no reader of standard output reads.
        let script = "head -c 1000000 /dev/zero & echo free >&2; wait";
        let mut run = world.run_command(&["dev"], &sh(script)).spawn().unwrap();
        let mut errors = [0; 5];
        run.stderr.as_mut().unwrap().read_exact(&mut errors).unwrap();
        assert_eq!(&errors, b"free\n");
        let mut output = Vec::new();
        run.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        assert_eq!((output.len(), run.wait().unwrap().code()), (1_000_000, Some(0)));
    }

    #[test]
    fn background_child_of_an_answer_lives_on() {
        let world = World::new();
        let _server = world.serve();
        let script = world.path("later.sh");
        let text = "cat >/dev/null; (trap '' PIPE; read go <fifo; /bin/echo late; echo \"rc=$?\" >result) & echo done\n";
        std::fs::write(&script, text).unwrap();
        let fifo = world.path("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let exec = format!("sh {}", script.display());
        let _worker = Process::ready(world.moot(&["answer", "--json", "work", "--exec", &exec]));
        assert_eq!(world.run(&["ask", "work", "x"]).ok().out.matches("done").count(), 1);
        std::fs::write(&fifo, "go\n").unwrap();
        let read = || std::fs::read_to_string(world.path("result")).unwrap_or_default();
        eventually("its own end", || read() == "rc=0\n");
    }

    #[test]
    fn a_command_that_closes_its_output_goes_on() {
        let world = World::new();
        let _server = world.serve();
        let script = "echo ready; exec >&- 2>&-; trap 'exit 5' USR1; while :; do sleep 0.01; done";
        let mut run = world.script(&["dev"], script);
        world.hears("dev", "ready");
        run.signal("USR1");
        assert_eq!(run.code(), 5);
    }

    #[test]
    fn slow_reader_gets_all_output() {
        let world = World::new();
        let _server = world.serve();
        let mut command = world.run_command(&["dev"], &sh("head -c 120000 /dev/zero"));
        let mut run = command.stderr(Stdio::null()).spawn().unwrap();
        let started = || world.said("dev").into_iter().find(|text| text.contains("(pid "));
        eventually("its start", || started().is_some());
        let pid = started().unwrap().rsplit(' ').next().unwrap().trim_end_matches(')').to_owned();
        eventually("its end", || !crate::world::exists(format!("/proc/{pid}").as_ref()));
        // Longer than anything that nobody reads is waited for.
        std::thread::sleep(2 * Duration::from_millis(moot::limits::RUN_DRAIN_MS));
        let mut output = Vec::new();
        run.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        assert_eq!((output.len(), run.wait().unwrap().code()), (120_000, Some(0)));
    }

    #[test]
    fn a_flood_passes_and_what_the_room_lacks_is_told() {
        let world = World::new();
        let server = world.serve();
        server.signal("STOP");
        let mut command = world.run_command(
            &["dev", "--json"],
            &sh("yes 123456789 | head -c 50000000; echo last; read x; exit 0"),
        );
        command.stdin(Stdio::piped());
        let mut flood = command.spawn().unwrap();
        let mut output = vec![0; 50_000_005];
        flood.stdout.take().unwrap().read_exact(&mut output).unwrap();
        assert!(output.ends_with(b"456789\nlast\n"), "all of it, while the server hangs");
        server.signal("CONT");
        drop(flood.stdin.take());
        let mut errors = String::new();
        flood.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(flood.wait().unwrap().code(), Some(0), "{errors}");
        let result: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
        let left_out = result["left_out"].as_u64().unwrap();
        assert_eq!(
            (&result["lines"], &result["unsent"]),
            (&5_000_001.into(), &0.into()),
            "{errors}"
        );
        let said = world.said("dev");
        let told: u64 = said
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.strip_prefix("… ")?.split(' ').next()?.parse::<u64>().ok())
            .sum();
        assert!(told == left_out && left_out > 4_000_000, "{told} {left_out}");
        let kept = said.iter().flat_map(|text| text.lines()).filter(|l| *l == "123456789").count();
        assert_eq!(kept as u64 + left_out, 5_000_000);
    }

    #[test]
    fn a_server_that_goes_away_and_comes_back_has_everything() {
        let world = World::new();
        let mut server = world.serve();
        let script = "echo ready; while read x; do echo $x; done; exit 4";
        let mut command = world.run_command(&["dev", "--json"], &sh(script));
        command.stdin(Stdio::piped());
        let mut run = Process::spawn(command);
        assert_eq!(run.line("ready"), "ready");
        world.hears("dev", "ready");
        server.kill();
        for at in 0..1_000 {
            run.say(&format!("line {at}"));
            assert_eq!(run.line("what it reads"), format!("line {at}"));
        }
        let _server = world.serve();
        world.hears("dev", "line 999");
        run.input = None;
        assert_eq!(run.code(), 4);
        let said = world.said("dev").join("\n");
        let lines: Vec<_> = said.lines().filter(|l| l.starts_with("line ")).collect();
        assert_eq!(lines.len(), 1_000, "each once");
        assert!(lines.iter().enumerate().all(|(at, line)| *line == format!("line {at}")));
    }

    #[test]
    fn output_in_flight_to_a_user_survives_the_server() {
        let world = World::new();
        let mut server = world.serve();
        let me = moot::os::user_name(moot::os::own_uid()).unwrap();
        let mut ears = world.listen(&["@"]);
        let script = "echo ready; read x; echo after; read x; exit 0";
        let mut command = world.run_command(&[&format!("@{me}")], &sh(script));
        command.stdin(Stdio::piped());
        let mut run = Process::spawn(command);
        let mut hears = |what: &str| {
            while !ears.next_of("direct")["text"].as_str().unwrap().contains(what) {}
        };
        hears("ready");
        // It is said, and not acknowledged.
        server.signal("STOP");
        run.say("");
        assert_eq!(run.line("ready"), "ready");
        assert_eq!(run.line("after"), "after");
        // Nobody can see from outside that it was; either way it has to arrive.
        std::thread::sleep(2 * Duration::from_millis(moot::limits::RUN_EVERY_MS));
        server.kill();
        let _server = world.serve();
        hears("after");
        run.input = None;
        assert_eq!(run.code(), 0);
        hears(": ok");
    }

    #[test]
    fn a_server_that_hangs_keeps_nobody_for_long() {
        let world = World::new();
        let server = world.serve();
        server.signal("STOP");
        let done = world.run_it(&["dev", "--json"], &sh("echo hi; exit 9")).exits(9);
        assert_eq!((done.out.as_str(), result_of(&done)["unsent"].as_u64()), ("hi\n", Some(3)));
        assert!(done.err.contains("3 messages"), "{}", done.err);
        server.signal("CONT");
    }

    #[test]
    fn a_room_that_is_deleted_stays_deleted_and_the_command_gets_on() {
        let world = World::new();
        let _server = world.serve();
        let script = "trap 'exit 0' USR1; echo ready; while :; do echo more; sleep 0.01; done";
        let mut run = world.script(&["dev"], script);
        world.hears("dev", "more");
        world.run(&["room", "delete", "dev"]).ok();
        eventually("a note", || run.errors().contains("was deleted"));
        run.rest();
        assert_eq!(run.line("what it says then"), "more");
        run.signal("USR1");
        assert_eq!(run.code(), 0);
        world.run(&["history", "dev"]).exits(5);
        assert_eq!(run.errors().matches("was deleted").count(), 1);
    }

    #[test]
    fn output_of_a_chronic_run_comes_at_the_end_and_in_order() {
        let world = World::new();
        let _server = world.serve();
        let script = "echo out; echo err >&2; printf 'a\\377\\033[1m'; ";
        for (end, code) in [("exit 3", 3), ("kill -9 $$", 137), ("exec sleep 1000", 124)] {
            let script = format!("{script}{end}");
            let flags = ["dev", "--chronic", "--timeout", "1s"];
            let output = world.run_command(&flags, &sh(&script)).output().unwrap();
            assert_eq!(output.status.code(), Some(code));
            assert_eq!(output.stdout, b"out\na\xff\x1b[1m");
            assert_eq!(output.stderr, b"err\n");
        }
        // Nothing comes before the end.
        let script = "echo early; touch here; read x; echo late; exit 3";
        let mut command = world.run_command(&["dev", "--chronic"], &sh(script));
        command.stdin(Stdio::piped());
        let mut run = Process::spawn(command);
        world.hears("dev", "early");
        assert_eq!(run.rest(), Vec::<String>::new());
        run.say("");
        assert_eq!(
            (run.line("at the end"), run.line("at the end")),
            ("early".into(), "late".into())
        );
        assert_eq!(run.code(), 3);
        // In one file both are in order.
        let script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done; exit 2";
        let line = format!("{MOOT} run dev --chronic --title job -- sh -c \"$SCRIPT\" 2>&1");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env("MOOT_SERVER", &world.dir).env("SCRIPT", script);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let lines: String = (1..4).map(|i| format!("out{i}\nerr{i}\n")).collect();
        assert_eq!(Done::of(command, None).exits(2).out, lines);
    }

    #[test]
    fn signal_ends_a_chronic_run_whose_output_has_no_reader() {
        let world = World::new();
        let _server = world.serve();
        let script = "head -c 200000 /dev/zero; echo end >&2; exit 3";
        let mut run = world.run_command(&["dev", "--chronic"], &sh(script)).spawn().unwrap();
        world.hears("dev", "job: failed with exit code 3");
        let mut some = [0; 1000];
        run.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
        kill(run.id(), "TERM");
        assert_eq!(run.wait().unwrap().code(), Some(3));
        // Without a reader of one output, the other one is written all the same.
        let mut run = world.run_command(&["dev", "--chronic"], &sh(script)).spawn().unwrap();
        drop(run.stdout.take());
        let mut errors = String::new();
        run.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!((run.wait().unwrap().code(), errors.as_str()), (Some(3), "end\n"));
    }

    #[test]
    fn chronic_run_without_a_place_for_output_shows_it() {
        let world = World::new();
        let _server = world.serve();
        let mut command = world.run_command(&["dev", "--chronic"], &sh("echo out"));
        command.env("TMPDIR", "/nonexistent");
        let done = Done::of(command, None).ok();
        assert_eq!(done.out, "out\n");
        assert!(done.err.contains("can't save output in /nonexistent"), "{}", done.err);
    }

    #[test]
    fn command_on_a_pseudo_terminal_has_one_and_the_room_gets_text() {
        let world = World::new();
        let _server = world.serve();
        let script = "[ -t 1 ] && [ -t 2 ] && stty size </dev/tty; \
                      printf '\\033[32m10%%\\r\\033[K20%%\\r\\033]0;t\\007\\033[K30%%\\033[0m\\n'; exit 7";
        let done = world.run_it(&["dev", "--pty", "--json"], &sh(script)).exits(7);
        let colored = "\u{1b}[32m10%\r\u{1b}[K20%\r\u{1b}]0;t\u{7}\u{1b}[K30%\u{1b}[0m\r\n";
        assert_eq!(done.out, format!("24 80\r\n{colored}"));
        assert_eq!(result_of(&done)["bytes"], done.out.len());
        assert_eq!(world.said("dev")[1], "24 80\n30%");
        // Input that is not a terminal is the command's own.
        let mut command = world.run_command(&["dev", "--pty"], &["cat"]);
        command.stdin(Stdio::null());
        assert_eq!(Done::of(command, None).ok().out, "");
        let command = world.run_command(&["dev", "--pty"], &["cat"]);
        assert_eq!(Done::of(command, Some(b"hello\n")).ok().out, "hello\r\n");
        // Codes and signals are as without it.
        world.run_it(&["dev", "--pty"], &sh("kill -9 $$")).exits(137);
        world.run_it(&["dev", "--pty"], &["no-such-command-anywhere"]).exits(127);
        world.run_it(&["dev", "--pty", "--timeout", "200ms"], &["sleep", "1000"]).exits(124);
        for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("USR1", 138)] {
            let mut run = Process::spawn(
                world.run_command(&["dev", "--pty"], &sh("echo ready; exec sleep 1000")),
            );
            assert_eq!(run.line("its first line"), "ready\r");
            run.signal(signal);
            assert_eq!(run.code(), code);
        }
        let done = world.run_it(&["dev", "--pty", "--chronic"], &sh("echo no; exit 0")).ok();
        assert_eq!(done.out, "");
        let done = world.run_it(&["dev", "--pty", "--chronic"], &sh("echo yes; exit 2")).exits(2);
        assert_eq!(done.out, "yes\r\n");
    }

    /// Other end of the terminal of a process.
    struct Screen {
        near: File,
        seen: String,
    }

    impl Screen {
        fn new(near: File) -> Self {
            use nix::fcntl::{FcntlArg, OFlag, fcntl};
            fcntl(&near, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
            Self { near, seen: String::new() }
        }

        /// Waits until a text is on it, and takes all up to there.
        #[track_caller]
        fn shows(&mut self, what: &str) -> String {
            let (near, seen) = (&mut self.near, &mut self.seen);
            let mut bytes = [0; 4096];
            let deadline = Instant::now() + PATIENCE;
            while !seen.contains(what) {
                assert!(Instant::now() < deadline, "{what:?} never came, but {seen:?}");
                match near.read(&mut bytes) {
                    Ok(read) => seen.push_str(&String::from_utf8_lossy(&bytes[..read])),
                    Err(_) => std::thread::sleep(Duration::from_millis(3)),
                }
            }
            let end = self.seen.find(what).unwrap() + what.len();
            self.seen.drain(..end).collect()
        }

        fn resize(&self, rows: u16, columns: u16) {
            let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // SAFETY: the structure is read from a variable of this function.
            let done = unsafe { libc::ioctl(self.near.as_raw_fd(), libc::TIOCSWINSZ, &size) };
            assert_eq!(done, 0);
        }

        fn mode(&self) -> Termios {
            tcgetattr(&self.near).unwrap()
        }

        fn is_raw(&self) -> bool {
            let mode = self.mode();
            let is_cooked = mode.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO);
            assert_eq!(mode.output_flags.contains(OutputFlags::OPOST), is_cooked);
            !is_cooked
        }
    }

    #[test]
    fn terminal_of_a_run_is_that_of_its_command_until_the_end() {
        let world = World::new();
        let _server = world.serve();
        let script = "trap 'stty size' WINCH; trap 'echo int; exit 5' INT; stty size; \
                      read line; echo \"got $line\"; while :; do sleep 0.01; done";
        let (near, mut run) = on_terminal(world.run_command(&["dev", "--pty"], &sh(script)));
        let mut screen = Screen::new(near);
        screen.shows("\r\n");
        eventually("raw", || screen.is_raw());
        screen.near.write_all(b"hello\r").unwrap();
        screen.shows("got hello\r\n");
        screen.resize(33, 111);
        screen.shows("33 111\r\n");
        screen.near.write_all(b"\x03").unwrap();
        screen.shows("int\r\n");
        assert_eq!(run.wait().unwrap().code(), Some(5));
        assert!(!screen.is_raw());
        // A key that ends input is for the command as well.
        let (near, mut run) = on_terminal(world.run_command(&["dev", "--pty"], &["cat"]));
        let mut screen = Screen::new(near);
        eventually("raw", || screen.is_raw());
        screen.near.write_all(b"x\r\x04").unwrap();
        screen.shows("x\r\nx\r\n");
        assert_eq!(run.wait().unwrap().code(), Some(0));
        assert!(!screen.is_raw());
    }

    #[test]
    fn terminal_changes_no_output_that_outlives_its_command() {
        let world = World::new();
        let _server = world.serve();
        // 18 kB: more than a terminal holds, and less than two.
        let script = "stty -echo; read line; seq 1000 3999";
        let (near, mut run) = on_terminal(world.run_command(&["dev", "--pty"], &sh(script)));
        let mut screen = Screen::new(near);
        eventually("raw", || screen.is_raw());
        screen.near.write_all(b"\r").unwrap();
        let takes_signals = || screen.mode().local_flags.contains(LocalFlags::ISIG);
        eventually("the command has ended", takes_signals);
        let shown = screen.shows("3999\r\n");
        assert_eq!(
            shown.trim_start(),
            (1000..4000).map(|line| format!("{line}\r\n")).collect::<String>()
        );
        assert_eq!(run.wait().unwrap().code(), Some(0));
        assert!(!screen.is_raw());
    }

    #[test]
    fn terminal_has_its_mode_again_however_a_run_ends() {
        let world = World::new();
        let _server = world.serve();
        for signal in ["TERM", "INT", "HUP", "QUIT", "KILL"] {
            let script = "echo ready; exec sleep 1000";
            let (near, mut run) = on_terminal(world.run_command(&["dev", "--pty"], &sh(script)));
            let mut screen = Screen::new(near);
            screen.shows("ready");
            eventually("raw", || screen.is_raw());
            // The command's end is that of `run`.
            let child = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id()));
            let child = child.unwrap().trim().parse().unwrap();
            kill(if signal == "KILL" { child } else { run.id() }, signal);
            run.wait().unwrap();
            assert!(!screen.is_raw(), "{signal}");
        }
        let command = world.run_command(&["dev", "--pty"], &["no-such-command-anywhere"]);
        let (near, mut run) = on_terminal(command);
        assert_eq!(run.wait().unwrap().code(), Some(127));
        assert!(!Screen::new(near).is_raw());
    }

    #[test]
    fn stopped_run_gives_its_terminal_back_until_it_goes_on() {
        let world = World::new();
        let _server = world.serve();
        // A shell looks after the group, so that it can be stopped.
        let script = format!(
            "set -m; {MOOT} run dev --pty --title job -- sh -c 'echo ready; read x; exit 6' & \
             fg; while [ ! -e go ]; do sleep 0.01; done; fg; echo \"rc $?\""
        );
        let (near, mut shell) = on_terminal(world.command("sh".as_ref(), &["-c", &script]));
        let mut screen = Screen::new(near);
        screen.shows("ready");
        eventually("raw", || screen.is_raw());
        let started = || world.said("dev").into_iter().find(|text| text.contains("(pid "));
        eventually("its start", || started().is_some());
        let child = started().unwrap().rsplit(' ').next().unwrap().trim_end_matches(')').to_owned();
        let stat = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let fields =
            |at: usize| stat().rsplit(") ").next().unwrap().split(' ').nth(at).unwrap().to_owned();
        let run: u32 = fields(1).parse().unwrap();
        kill(run, "TSTP");
        eventually("the command stops", || fields(0) == "T");
        eventually("cooked", || !screen.is_raw());
        std::fs::write(world.path("go"), "").unwrap();
        eventually("raw again", || screen.is_raw());
        screen.near.write_all(b"x\r").unwrap();
        screen.shows("rc 6");
        assert_eq!(shell.wait().unwrap().code(), Some(0));
        assert!(!screen.is_raw());
    }

    #[test]
    fn pseudo_terminal_goes_with_its_reader_and_its_command() {
        let world = World::new();
        let _server = world.serve();
        // Without a reader the command's terminal hangs up.
        let script = format!("{MOOT} run dev --pty --title yes -- yes; echo $? >&2");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("({script}) | head -n 1")]).env("MOOT_SERVER", &world.dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = Done::of(command, None).ok();
        // It is ended by the signal, or by an error of its next line, whichever comes first.
        assert_eq!(done.out, "y\r\n");
        assert!(["129", "1"].contains(&done.err.trim_end()), "{}", done.err);
        // A command that closes its outputs goes on.
        let script = "echo ready; exec >&- 2>&-; trap 'exit 5' USR1; touch closed; \
                      while :; do sleep 0.01; done";
        let mut run = Process::spawn(world.run_command(&["dev", "--pty"], &sh(script)));
        assert_eq!(run.line("its first line"), "ready\r");
        eventually("it is closed", || crate::world::exists(&world.path("closed")));
        std::thread::sleep(Duration::from_millis(300));
        run.signal("USR1");
        assert_eq!(run.code(), 5);
        // A process that is left behind ends with the terminal, unless it ignores that.
        let script = "sleep 1000 & echo $!; (trap '' HUP; exec sleep 1000) & echo $!; sleep 0.3";
        let mut run = Process::spawn(world.run_command(&["dev", "--pty"], &sh(script)));
        let mut pid = || run.line("a pid").trim().parse::<u32>().unwrap();
        let (ends, stays) = (pid(), pid());
        assert_eq!(run.code(), 0);
        eventually("its end", || !crate::world::exists(format!("/proc/{ends}").as_ref()));
        world.hears("dev", &format!("still running: pid {stays} holds the output"));
        assert!(run.output_is_open(), "the reader waits for the sleeper");
        kill(stays, "KILL");
        eventually("the end of the output", || !run.output_is_open());
    }

    #[test]
    fn fifty_at_once_are_all_told() {
        let world = World::new();
        let _server = world.serve();
        let mut runs: Vec<_> = (0..50)
            .map(|at| {
                let title = format!("job{at}");
                let command = world.run_command(&["dev", "--title", &title], &sh("seq 20; exit 6"));
                Process::spawn(command)
            })
            .collect();
        for run in &mut runs {
            assert_eq!(run.code(), 6, "{}", run.errors());
        }
        let said = world.said("dev");
        for at in 0..50 {
            let mine = |what: &str| said.iter().filter(|t| t.starts_with(what)).count();
            assert_eq!(mine(&format!("started: job{at} ")), 1);
            assert_eq!(mine(&format!("job{at}: failed")), 1);
        }
        assert_eq!(said.iter().filter(|t| t.ends_with("19\n20")).count(), 50);
    }
}
