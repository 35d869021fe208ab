//! Time from a submit to its acknowledgement, beside each attack of another user.

#[path = "../tests/program/hostile/kinds.rs"]
mod kinds;
#[path = "../tests/program/hostile/raw.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod raw;
#[path = "../tests/program/hostile/victim.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod victim;

use std::{
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kinds::{ATTACKS, Attack, Scene};
use moot::os;
use victim::{QUIET, Victim};

use super::{Server, say};

const VICTIM_UID: u32 = 1;
/// Time from one submit to the next.
const EVERY: Duration = Duration::from_millis(10);
/// Bounds of a 99th percentile: milliseconds, and times the quiet one.
const P99_MS_MAX: f64 = 50.0;
const P99_RATIO_MAX: f64 = 5.0;

/// Processor time of an attacker alone.
const SPIN: Attack = Attack {
    name: "spin",
    begin: |_| {
        vec![Box::new(|| {
            (0..1_000_000).for_each(|_| std::hint::spin_loop());
            true
        })]
    },
};

pub fn measure() {
    if os::own_uid() != 0 {
        return say("hostile: needs root, to be several users");
    }
    os::raise_descriptor_limit();
    let args: Vec<String> = std::env::args().collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let named = |attack: &Attack| args.iter().any(|arg| arg == attack.name);
    let all = [SPIN].iter().chain(ATTACKS).collect::<Vec<_>>();
    let any_named = all.iter().any(|attack| named(attack));
    let size = if quick { QUICK } else { WHOLE };
    say(
        "hostile: milliseconds from a submit to its acknowledgement, quiet, then beside the attack",
    );
    say(&format!(
        "hostile: {:<14}{:>8}{:>8}{:>8}{:>10}{:>8}{:>8}{:>8}",
        "attack", "p50", "p99", "max", "p50", "p99", "max", "ratio"
    ));
    let mut failed = 0;
    for attack in all.into_iter().filter(|attack| !any_named || named(attack)) {
        match row(attack, size) {
            Ok((quiet, beside)) => {
                let ratio = beside.p99 / quiet.p99;
                let holds = beside.p99 <= P99_MS_MAX && ratio <= P99_RATIO_MAX;
                failed += usize::from(!holds);
                let mark = if holds { "" } else { "  above the bound" };
                say(&format!("hostile: {:<14}{quiet}  {beside}{ratio:>8.1}{mark}", attack.name));
            }
            Err(why) => {
                failed += 1;
                say(&format!("hostile: {:<14}{why}", attack.name));
            }
        }
    }
    say(&format!(
        "hostile: {failed} above the bounds (p99 {P99_MS_MAX} ms, and {P99_RATIO_MAX} times the quiet one)"
    ));
}

/// Size of the measurement.
#[derive(Clone, Copy)]
struct Size {
    submits: usize,
    /// A row ends after this time, however few submits were acknowledged.
    row_max: Duration,
    /// Divides the sessions, rooms and texts of an attack.
    divisor: usize,
}

const WHOLE: Size = Size { submits: 400, row_max: Duration::from_secs(20), divisor: 1 };
const QUICK: Size = Size { submits: 20, row_max: Duration::from_secs(2), divisor: 10 };

/// Times in milliseconds.
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>8.1}{:>8.1}{:>8.1}", self.p50, self.p99, self.max)
    }
}

/// Quiet times, and those beside an attack.
fn row(attack: &Attack, size: Size) -> victim::Outcome<(Times, Times)> {
    let server = Server::start_with(&["--system"]);
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(server.temp.path(), open).map_err(|e| e.to_string())?;
    let dir = server.dir();
    let mut victim = Victim::new(&dir, VICTIM_UID);
    times(&mut victim, QUICK)?;
    let quiet = times(&mut victim, size)?;
    let socket = &dir.join("socket");
    let scene = Scene { socket, divisor: size.divisor, victim: VICTIM_UID };
    let rounds = (attack.begin)(&scene);
    let over = AtomicBool::new(false);
    let beside = thread::scope(|scope| {
        for mut round in rounds {
            let over = &over;
            scope.spawn(move || while !over.load(Ordering::Relaxed) && round() {});
        }
        let beside = times(&mut victim, size);
        over.store(true, Ordering::Relaxed);
        beside
    });
    Ok((quiet, beside?))
}

/// Submits at fixed times, however long the previous one took: a server that hangs delays all that fall due.
fn times(victim: &mut Victim, size: Size) -> victim::Outcome<Times> {
    victim.begin();
    let start = Instant::now();
    let mut samples = Vec::with_capacity(size.submits);
    let mut due = start;
    while samples.len() < size.submits && start.elapsed() < size.row_max {
        due += EVERY;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        victim.send(QUIET, "a text of a usual length")?;
        samples.push(due.elapsed().as_secs_f64() * 1e3);
    }
    let (p50, p99) = super::quantiles(&mut samples);
    Ok(Times { p50, p99, max: samples.last().copied().unwrap_or(p99) })
}
