//! Requests and replies: `ask`, `answer`, queues, and what becomes of a request when its answerer ends.

use std::process::Stdio;

use serde_json::Value;

use super::world::{Done, Process, World, eventually};

/// An answerer, ready.
#[track_caller]
fn answer(world: &World, args: &[&str]) -> Process {
    let mut all = vec!["answer", "--json"];
    all.extend(args);
    Process::ready(world.moot(&all))
}

/// A request that runs by itself; its replies as JSON.
fn ask(world: &World, args: &[&str]) -> Process {
    let mut all = vec!["ask", "--json", "--timeout", "25s"];
    all.extend(args);
    Process::spawn(world.moot(&all))
}

fn lines(path: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

// The programs are those of a POSIX shell.
#[cfg(unix)]
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

#[cfg(unix)]
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
    assert_eq!(fails.out, "\n");
    assert!(fails.err.contains("could not do it"), "{}", fails.err);
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
fn people_answer_as_well_and_time_is_out_without_them() {
    let world = World::new();
    let _server = world.serve();
    let done = world.run(&["ask", "dev", "anybody?", "--timeout", "200ms"]).exits(124);
    assert!(done.err.contains("nobody answers in dev"), "{}", done.err);
    let mut listener = world.listen(&["dev", "--last", "0"]);
    let mut asker = ask(&world, &["dev", "who is there?", "--replies", "2"]);
    let id = listener.next_of("message")["id"].as_str().unwrap().to_owned();
    world.run(&["send", "dev", "not a reply"]).ok();
    world.run(&["send", "dev", "me", "--reply-to", &id]).ok();
    assert_eq!(asker.next("a reply")["text"], "me");
    world.run(&["send", "dev", "me too", "--reply-to", &id]).ok();
    assert_eq!(asker.next("a reply")["text"], "me too");
    assert_eq!(asker.code(), 0);
}

#[test]
fn one_user_is_asked_directly() {
    let world = World::new();
    let _server = world.serve();
    let mut other = world.join(&["dev", "--as", "other"]);
    let user = other_user(&world);
    let mut asker = ask(&world, &[&format!("@{user}/other"), "may I?"]);
    let id = other.next_of("direct")["id"].as_str().unwrap().to_owned();
    world.run(&["send", &format!("@{user}"), "yes", "--reply-to", &id]).ok();
    let reply = asker.next("a reply");
    assert_eq!((&reply["type"], &reply["text"]), (&"direct".into(), &"yes".into()));
    assert_eq!(asker.code(), 0);
}

fn other_user(world: &World) -> String {
    world.who(&[]).0[0]["user"].as_str().unwrap().to_owned()
}

#[test]
fn without_a_server_nothing_is_started() {
    let world = World::new();
    world.run(&["ask", "dev", "hi"]).exits(3);
    world.run(&["answer", "dev", "--exec", env!("CARGO_BIN_EXE_moot")]).exits(3);
    world.run(&["answer", "dev"]).exits(2);
    world.run(&["ask", "dev", ""]).exits(2);
    world.run(&["ask", "dev", "x", "--replies", "0"]).exits(2);
    assert!(!super::world::exists(&world.dir));
}

#[cfg(unix)]
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

/// Answerers that note each request that they begin, and wait for a file before they reply.
#[cfg(unix)]
fn noting(world: &World, label: &str, gate: &str) -> Process {
    let (notes, gate) = (world.path("notes"), world.path(gate));
    let script = format!(
        "read -r text; echo \"$text $MOOT_ATTEMPT\" >> {}; until [ -e {} ]; do sleep 0.01; done; echo \"done $text\"",
        notes.display(),
        gate.display()
    );
    answer(world, &["work", "--as", label, "--queue", "q", "--exec", "sh", "-c", &script])
}

#[cfg(unix)]
#[test]
fn when_an_answerer_is_killed_another_one_takes_over_and_that_is_said() {
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

#[cfg(unix)]
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

#[cfg(unix)]
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

#[cfg(unix)]
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

#[cfg(unix)]
#[test]
fn an_answerer_ends_after_its_count_and_leaves_the_rest_to_others() {
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

#[cfg(unix)]
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
    assert_eq!(asker.code(), 130);
}
