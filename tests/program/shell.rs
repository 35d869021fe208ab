//! Programs of a POSIX shell that are run for messages: `listen --exec`, `answer --exec`, queues.

use std::{path::Path, process::Stdio};

use serde_json::Value;

use super::{
    ask::{answer, ask},
    world::{Done, Process, World, eventually},
};

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_request_is_answered_with_what_a_program_writes() {
    let world = World::new();
    let _server = world.serve();
    let script = "read -r text; echo \"$MOOT_USER $MOOT_ROOM $MOOT_ATTEMPT: $text\"";
    let _answerer = answer(&world, &["dev", "--exec", "sh", "-c", script]);
    let user = super::world::user_name(moot::os::own_uid());
    let done = world.run(&["ask", "dev", "is it", "green?"]).ok();
    assert_eq!(done.out, format!("{user} dev 1: is it green?\n"));
    // It stands in the room, as a reply.
    let said = world.run(&["history", "dev", "--json"]).ok().objects();
    assert_eq!(said[1]["reply_to"], said[0]["id"]);
    // From standard input, and as JSON.
    let done = Done::of(world.moot(&["ask", "dev", "--json"]), Some("두 번째\n".as_bytes())).ok();
    let [reply] = &done.objects()[..] else { panic!("{}", done.out) };
    assert_eq!(reply["text"], format!("{user} dev 1: 두 번째"));
    assert_eq!((&reply["reply_to"], &reply["failed"]), (&Value::from("dev:3"), &false.into()));
}

#[test]
fn failures_and_empty_answers_are_told() {
    let world = World::new();
    let _server = world.serve();
    let script = "read -r text; case $text in \
        empty) ;; fails) exit 3 ;; half) echo half; exit 4 ;; bytes) printf 'a\\377\\033b' ;; \
        long) head -c 40000 /dev/zero | tr '\\0' x ;; esac";
    let mut answerer = answer(&world, &["dev", "--exec", "sh", "-c", script]);
    let empty = world.run(&["ask", "dev", "empty"]).ok();
    assert_eq!((empty.out.as_str(), empty.err.as_str()), ("\n", ""));
    let fails = world.run(&["ask", "dev", "fails"]).exits(1);
    assert_eq!(fails.out, "");
    assert!(fails.err.contains(") failed"), "{}", fails.err);
    let half = world.run(&["ask", "dev", "half", "--json"]).exits(1);
    assert_eq!(half.objects()[0]["text"], "half");
    assert_eq!(half.objects()[0]["failed"], true);
    let bytes = world.run(&["ask", "dev", "bytes"]).ok();
    assert_eq!(bytes.out, "a\\xff\u{1b}b\n");
    let long = world.run(&["ask", "dev", "long"]).ok();
    assert_eq!(long.out.len(), moot::limits::TEXT_BYTES_MAX + 1);
    assert!(long.out.ends_with("…\n"));
    let answered: Vec<_> = (0..5).map(|_| answerer.next_of("answered")["failed"].clone()).collect();
    let failed: Vec<_> = answered.iter().map(|f| !f.is_null()).collect();
    assert_eq!(failed, [false, true, true, false, false]);
    assert!(answerer.errors().contains("exit status: 3"), "{}", answerer.errors());
}

#[test]
fn ten_workers_share_a_sum() {
    let world = World::new();
    let _server = world.serve();
    let script = "read -r from to; s=0; while [ $from -le $to ]; do s=$((s + from)); from=$((from + 1)); done; echo $s";
    let workers: Vec<_> = (0..10)
        .map(|n| {
            let label = format!("w{n}");
            answer(
                &world,
                &["work", "--as", &label, "--queue", "sum", "--exec", "sh", "-c", script],
            )
        })
        .collect();
    let ranges: Vec<_> = (0..10).map(|n| format!("{} {}", n * 1000 + 1, (n + 1) * 1000)).collect();
    let mut askers: Vec<_> = ranges.iter().map(|range| ask(&world, &["work", range])).collect();
    let sum: u64 = askers
        .iter_mut()
        .map(|asker| asker.next("a sum")["text"].as_str().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, 50_005_000);
    drop(workers);
}

/// Waits for a file, or for the end of the test, which may have killed whoever waits for this.
fn until_there(gate: &Path) -> String {
    let world = gate.parent().unwrap().display();
    format!("until [ -e {} ] || [ ! -d {world} ]; do sleep 0.01; done", gate.display())
}

/// Answerers that note each request that they begin, and wait for a file before they reply.
fn noting(world: &World, label: &str, gate: &str) -> Process {
    let (notes, gate) = (world.path("notes"), world.path(gate));
    let script = format!(
        "read -r text; echo \"$text $MOOT_ATTEMPT\" >> {}; {}; echo \"done $text\"",
        notes.display(),
        until_there(&gate)
    );
    answer(world, &["work", "--as", label, "--queue", "q", "--exec", "sh", "-c", &script])
}

#[test]
fn takeover_from_a_killed_worker_is_reported() {
    let world = World::new();
    let _server = world.serve();
    let mut first = noting(&world, "first", "never");
    let mut asker = ask(&world, &["work", "job"]);
    eventually("the first has it", || lines(&world.path("notes")) == ["job 1"]);
    let mut second = noting(&world, "second", "gate");
    first.kill();
    eventually("the second has it", || lines(&world.path("notes")) == ["job 1", "job 2"]);
    std::fs::write(world.path("gate"), "").unwrap();
    let reply = asker.next("a reply");
    assert_eq!(reply["text"], "done job");
    assert!(reply["from"]["name"].as_str().unwrap().ends_with("/second"), "{reply}");
    assert_eq!(asker.code(), 0);
    assert!(asker.errors().contains("abandoned"), "{}", asker.errors());
    let answered = second.next_of("answered");
    assert_eq!((&answered["attempt"], &answered["failed"]), (&2.into(), &Value::Null));
    // What the first one had begun goes on without it; the test ends it.
    std::fs::write(world.path("never"), "").unwrap();
}

#[test]
fn no_request_is_lost_or_done_twice_while_answerers_are_killed() {
    let world = World::new();
    let _server = world.serve();
    let notes = world.path("notes");
    let script = format!(
        "read -r text; echo \"$text $MOOT_ATTEMPT\" >> {}; sleep 0.02; echo \"$text\"",
        notes.display()
    );
    let worker = |n: usize| {
        let label = format!("w{n}");
        answer(
            &world,
            &["work", "--as", &label, "--queue", "q", "--jobs", "2", "--exec", "sh", "-c", &script],
        )
    };
    let mut workers: Vec<_> = (0..4).map(worker).collect();
    let mut askers: Vec<_> =
        (0..40).map(|n| (n, ask(&world, &["work", &format!("job{n}")]))).collect();
    for n in 0..6 {
        let at = n % workers.len();
        let before = lines(&notes).len();
        eventually("some more began", || lines(&notes).len() > before || before >= 40);
        workers[at].kill();
        workers[at] = worker(n + 10);
    }
    for (n, asker) in &mut askers {
        assert_eq!(asker.next("a reply")["text"], format!("job{n}"));
        assert_eq!(asker.code(), 0, "{}", asker.errors());
    }
    // Begun once, or once more for each time that its answerer was killed; and then the number says so.
    let began = lines(&notes);
    for n in 0..40 {
        let of: Vec<_> = began.iter().filter_map(|l| l.strip_prefix(&format!("job{n} "))).collect();
        let attempts: Vec<_> = of.iter().map(|a| a.parse::<u32>().unwrap()).collect();
        assert!(!attempts.is_empty(), "job{n} was never begun");
        assert!(attempts.windows(2).all(|w| w[0] < w[1]), "job{n} was done twice: {attempts:?}");
    }
}

#[test]
fn a_restart_of_the_server_loses_no_request_and_does_none_twice() {
    let world = World::new();
    let mut server = world.serve();
    let worker = noting(&world, "w", "gate");
    let mut askers: Vec<_> = (0..3).map(|n| ask(&world, &["work", &format!("job{n}")])).collect();
    eventually("one is begun", || lines(&world.path("notes")).len() == 1);
    eventually("all are asked", || world.run(&["history", "work"]).out.lines().count() == 3);
    server.kill();
    let _server = world.serve();
    std::fs::write(world.path("gate"), "").unwrap();
    let mut replies: Vec<_> =
        askers.iter_mut().map(|asker| asker.next("a reply")["text"].to_string()).collect();
    replies.sort();
    assert_eq!(replies, ["\"done job0\"", "\"done job1\"", "\"done job2\""]);
    let mut began = lines(&world.path("notes"));
    began.sort();
    assert_eq!(began, ["job0 1", "job1 1", "job2 1"]);
    drop(worker);
}

#[test]
fn a_stopped_answerer_holds_nothing_up() {
    let world = World::new();
    let _server = world.serve();
    let stopped = answer(&world, &["work", "--as", "stopped", "--queue", "q", "--exec", "cat"]);
    stopped.signal("STOP");
    let _other = answer(&world, &["work", "--as", "other", "--queue", "q", "--exec", "cat"]);
    for n in 0..3 {
        let mut asker = ask(&world, &["work", &format!("{n}")]);
        let reply = asker.next("a reply");
        assert!(reply["from"]["name"].as_str().unwrap().ends_with("/other"), "{reply}");
    }
    stopped.signal("CONT");
}

#[test]
fn worker_ends_after_its_count_and_leaves_jobs_to_others() {
    let world = World::new();
    let _server = world.serve();
    let mut one = answer(&world, &["work", "--queue", "q", "--count", "1", "--exec", "cat"]);
    let mut askers: Vec<_> = (0..3).map(|n| ask(&world, &["work", &n.to_string()])).collect();
    assert_eq!(one.code(), 0);
    assert_eq!(one.rest().len(), 1, "one was answered");
    let _other = answer(&world, &["work", "--queue", "q", "--jobs", "3", "--exec", "cat"]);
    let mut replies: Vec<_> =
        askers.iter_mut().map(|asker| asker.next("a reply")["text"].to_string()).collect();
    replies.sort();
    assert_eq!(replies, ["\"0\"", "\"1\"", "\"2\""]);
}

#[test]
fn an_answerer_that_is_interrupted_says_good_bye() {
    let world = World::new();
    let _server = world.serve();
    let mut answerer = answer(&world, &["work", "--exec", "cat"]);
    let mut watcher = world.join(&["work"]);
    answerer.signal("INT");
    assert_eq!(answerer.code(), 130);
    assert_eq!(watcher.next_of("left")["reason"], "quit");
    let mut command = world.moot(&["ask", "--json", "work", "x"]);
    command.stdin(Stdio::null());
    let mut asker = Process::spawn(command);
    watcher.next_of("message");
    asker.signal("TERM");
    assert_eq!(asker.code(), 143);
}

#[test]
fn the_program_is_told_what_the_message_is() {
    let world = World::new();
    let _server = world.serve();
    let out = world.path("out");
    let script = format!("cat >> {0}; env | grep ^MOOT_ | sort >> {0}", out.display());
    let mut listener = world.listen(&["dev", "--count", "1", "--exec", "sh", "-c", &script]);
    let mut send = world.moot(&["send", "dev", "hi", "--as", "ci"]);
    send.stdin(Stdio::null());
    Done::of(send, None).ok();
    assert_eq!(listener.code(), 0);
    let lines = lines(&out);
    assert_eq!(lines[0], "hi");
    for (key, value) in [
        ("ID", "dev:1"),
        ("ROOM", "dev"),
        ("SEQ", "1"),
        ("TYPE", "message"),
        ("LABEL", "ci"),
        ("KIND", "script"),
        ("MENTION", "0"),
        ("REPLY_TO", ""),
        ("SERVER", world.dir.to_str().unwrap()),
    ] {
        let wanted = format!("MOOT_{key}={value}");
        assert!(lines.contains(&wanted), "{wanted}: {lines:?}");
    }
}

#[test]
fn failed_program_is_reported_and_ends_only_with_fail_fast() {
    let world = World::new();
    let _server = world.serve();
    let mut listener = world.listen(&["dev", "--count", "2", "--exec", "sh -c 'exit 3'"]);
    world.run(&["send", "dev", "one"]).ok();
    world.run(&["send", "dev", "two"]).ok();
    assert_eq!(listener.code(), 0);
    let errors = listener.errors();
    assert!(errors.contains("exit status: 3 (dev:1)") && errors.contains("(dev:2)"), "{errors}");
    let mut listener = world.listen(&["dev", "--fail-fast", "--exec", "false"]);
    world.run(&["send", "dev", "three"]).ok();
    assert_eq!(listener.code(), 1);
    world.run(&["listen", "dev", "--exec", "no-such-program"]).exits(2);
    world.run(&["listen", "dev", "--jobs", "2"]).exits(2);
}

#[test]
fn so_many_programs_run_at_a_time_and_no_more() {
    let world = World::new();
    let _server = world.serve();
    let (noted, gate) = (world.path("noted"), world.path("gate"));
    let script = format!("echo + >> {0}; {1}; echo - >> {0}", noted.display(), until_there(&gate));
    let mut listener =
        world.listen(&["dev", "--jobs", "3", "--count", "8", "--exec", "sh", "-c", &script]);
    for n in 0..8 {
        world.run(&["send", "dev", &n.to_string()]).ok();
    }
    eventually("three began", || lines(&noted).len() >= 3);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(listener.code(), 0);
    let (mut running, mut most) = (0, 0);
    for line in lines(&noted) {
        running += if line == "+" { 1 } else { -1 };
        most = most.max(running);
    }
    assert_eq!((running, most, lines(&noted).len()), (0, 3, 16));
}

#[test]
fn more_than_a_program_keeps_up_with_waits_at_the_server() {
    let world = World::new();
    let _server = world.serve();
    let (began, gate) = (world.path("began"), world.path("gate"));
    let script = format!("read -r n; {}; echo $n >> {}", until_there(&gate), began.display());
    let count = moot::limits::EXEC_WAITING_MAX + 200;
    let all: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    let mut listener = world.listen(&[
        "dev",
        "--jobs",
        "8",
        "--count",
        &count.to_string(),
        "--exec",
        "sh",
        "-c",
        &script,
    ]);
    let input = all.join("\n");
    world.run_with_input(&["send", "dev", "--lines"], input.as_bytes()).ok();
    std::fs::write(&gate, "").unwrap();
    assert_eq!(listener.code(), 0);
    let mut done: Vec<usize> = lines(&began).iter().map(|l| l.parse().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, (0..count).collect::<Vec<_>>());
}

/// What happens to a program that ends while there is no server: its word is known afterwards.
#[test]
fn result_of_a_job_is_known_after_a_restart() {
    for (history, text, code) in
        [("on", "say", 0), ("off", "say", 0), ("on", "empty", 0), ("on", "fails", 1)]
    {
        let world = World::new();
        let mut server = world.serve_with(&["--history", history]);
        let (began, gate) = (world.path("began"), world.path("gate"));
        let script = format!(
            "read -r text; echo $text >> {}; {}; case $text in empty) ;; fails) echo no; exit 3 ;; *) echo \"$text\" ;; esac",
            began.display(),
            until_there(&gate)
        );
        let mut worker = answer(&world, &["work", "--queue", "q", "--exec", "sh", "-c", &script]);
        let mut asker = ask(&world, &["work", text]);
        eventually("it is begun", || lines(&began).len() == 1);
        server.kill();
        std::fs::write(&gate, "").unwrap();
        let _server = world.serve_with(&["--history", history]);
        let reply = asker.next("a reply");
        assert_eq!(asker.code(), code, "{text}: {}", asker.errors());
        assert_eq!(reply["failed"], code == 1, "{text}");
        // It has its hands free for the next one.
        let done = world.run(&["ask", "work", "another", "--timeout", "25s"]).ok();
        assert_eq!(done.out, "another\n");
        let begun = lines(&began);
        let anew = history == "off";
        assert_eq!(begun.len(), if anew { 3 } else { 2 }, "{text}: {begun:?}");
        worker.kill();
    }
}

#[test]
fn process_left_by_a_program_delays_no_job() {
    let world = World::new();
    let _server = world.serve();
    let (gate, script) = (world.path("gate"), "echo hi; (GATE) & exit 0");
    let script = script.replace("GATE", &until_there(&gate));
    let _answerer = answer(&world, &["dev", "--exec", "sh", "-c", &script]);
    assert_eq!(world.run(&["ask", "dev", "x"]).ok().out, "hi\n");
    assert_eq!(world.run(&["ask", "dev", "y"]).ok().out, "hi\n");
}

#[test]
fn worker_that_may_no_longer_reply_is_not_waited_for() {
    if !super::world::is_root() {
        super::world::skipped("needs root");
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    world.run(&["room", "create", "work"]).ok();
    let (began, gate) = (world.path("began"), world.path("gate"));
    std::fs::write(&began, "").unwrap();
    std::fs::set_permissions(&began, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let script = format!(
        "read -r text; echo $text >> {}; {}; echo done",
        began.display(),
        until_there(&gate)
    );
    let other = super::world::OTHER_UID;
    let args = ["answer", "--json", "work", "--queue", "q", "--exec", "sh", "-c", &script];
    let _muted = Process::ready(world.moot_as(other, &args));
    let mut asker = ask(&world, &["work", "x"]);
    eventually("it is begun", || lines(&began).len() == 1);
    let user = format!("@{}", super::world::user_name(other));
    world.run(&["room", "mute", "work", &user]).ok();
    std::fs::write(&gate, "").unwrap();
    let reply = asker.next("an end");
    assert_eq!((&reply["text"], &reply["failed"]), (&"".into(), &true.into()));
    assert_eq!(asker.code(), 1);
}
