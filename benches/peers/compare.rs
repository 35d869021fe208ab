//! The comparison itself: what is asked for, in rounds, and what is said of it.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{
    chart, payload,
    sample::{Described, Measured, Report, Run, Sample},
    server::end_all_when_interrupted,
    systems::{self, System, is_moot},
    tables,
};

const FAIRNESS: &str = "\
Each system has one publisher and so many receivers, each with a connection of its own.
Peers: the publisher writes up to 64 KiB of messages at once, never more than a window ahead of the
slowest receiver: peers do not hold publishers back, and would cut receivers off or fill memory. The
receivers run on two epoll threads (--own-threads: a blocking thread each), parse the peer's protocol,
compare every message's number with the last one's, and count. Payloads are not copied.
moot: measured by its own command `bench`, in the same way. Its deliveries are decoded with their
sender, in order, opened from their seal, repaired and acknowledged.
Ratios are medians of the rounds' ratios. '!' marks loss or disorder.";

/// Compare this program with its peers.
#[derive(Debug, Parser)]
struct Options {
    /// Numbers of receivers
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    members: Vec<usize>,
    /// Bytes of a message
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024])]
    sizes: Vec<usize>,
    /// How often each system has its turn
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Length of each measurement, after warming up
    #[arg(long = "for", value_name = "TIME", default_value = "3s", value_parser = duration)]
    length: Duration,
    /// Messages a second while latency is measured; 0: no latency
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Of moot, moot-history, moot-session, redis, nats, mosquitto
    #[arg(long, value_delimiter = ',', value_parser = systems::names())]
    only: Vec<String>,
    /// A blocking thread for each receiver (moot: a process)
    #[arg(long)]
    own_threads: bool,
    /// One round of a second
    #[arg(long)]
    quick: bool,
    /// Messages on their way, instead of what is best for each peer
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    window: Option<u64>,
    /// Another build of moot
    #[arg(long, value_name = "PROGRAM", default_value = env!("CARGO_BIN_EXE_moot"))]
    moot: PathBuf,
    /// Keep the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print and draw what --json has kept, measure nothing
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// `cargo bench` says this
    #[arg(long, hide = true)]
    bench: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(span).map_err(|error| format!("{error}"))
}

pub fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.length) = (1, Duration::from_secs(1));
    }
    options.sizes.iter_mut().for_each(|size| *size = payload::BYTES_MIN.max(*size));
    match compare(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("peers: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether moot did its work.
fn compare(options: &Options) -> io::Result<bool> {
    let (report, fine) = match &options.from {
        Some(file) => (serde_json::from_slice(&std::fs::read(file)?)?, true),
        None => measured(options)?,
    };
    // Before anything is printed: what reads this may have gone.
    keep(options, &report)?;
    let own = report.samples.iter().any(|sample| sample.own_threads);
    let threads = if own { "a thread or process each" } else { "on two threads" };
    say(&format!("\n{}; receivers {threads}", report.machine));
    tables::all(&report).iter().for_each(|line| say(line));
    say("\nsettings");
    report.systems.iter().for_each(say_settings);
    Ok(fine)
}

fn keep(options: &Options, report: &Report) -> io::Result<()> {
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(report)? + "\n")?;
    }
    if let Some(file) = &options.svg {
        let chart = chart::draw(report).ok_or_else(|| io::Error::other("nothing to draw"))?;
        std::fs::write(file, chart)?;
    }
    Ok(())
}

fn say_settings(system: &Described) {
    say(&format!("  {} {}", system.name, system.version));
    system.settings.iter().for_each(|setting| say(&format!("    {setting}")));
}

fn measured(options: &Options) -> io::Result<(Report, bool)> {
    end_all_when_interrupted();
    let most = options.members.iter().max().copied().unwrap_or(1);
    allow_files(most as u64 * 2 + 200)?;
    let (systems, missing) = systems::installed(Path::new(&options.moot), &options.only);
    say(FAIRNESS);
    if !missing.is_empty() {
        say(&format!("\nnot installed, not measured: {}", missing.join(", ")));
        say("  Debian and Ubuntu: apt-get install redis-server nats-server mosquitto");
    }
    let described = systems.iter().map(|system| system.described.clone()).collect();
    let mut report = Report { machine: machine(), systems: described, samples: Vec::new() };
    let mut fine = true;
    for round in 1..=options.rounds {
        for run in runs(options) {
            for system in turns(&systems, round) {
                let result = system.measure(&run);
                tell(&progress(round, &run, system, &result));
                let whole = result.as_ref().is_ok_and(|m| m.lost == 0 && m.disordered == 0);
                fine &= whole || !is_moot(system.name());
                let Ok(measured) = result else { continue };
                report.samples.push(Sample {
                    system: system.name().to_owned(),
                    round,
                    members: run.members,
                    size: run.size,
                    rate: run.rate,
                    own_threads: run.own_threads,
                    measured,
                });
            }
        }
    }
    Ok((report, fine))
}

/// Every other round backwards, so that nobody is always first or behind the same one.
fn turns(systems: &[System], round: u32) -> Vec<&System> {
    let mut turns: Vec<_> = systems.iter().collect();
    if round.is_multiple_of(2) {
        turns.reverse();
    }
    turns
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, Linux {}", kernel.trim())
}

/// One round: each cell at full speed, and the smallest messages at a modest rate.
fn runs(options: &Options) -> Vec<Run> {
    let run = |members: &usize, size: &usize, rate| Run {
        members: *members.max(&1),
        size: *size,
        rate,
        length: options.length,
        own_threads: options.own_threads,
        window: options.window,
    };
    let mut runs = Vec::new();
    for size in &options.sizes {
        runs.extend(options.members.iter().map(|members| run(members, size, None)));
    }
    if let Some(size) = options.sizes.iter().min().filter(|_| options.rate > 0) {
        let rate = Some(options.rate);
        runs.extend(options.members.iter().map(|members| run(members, size, rate)));
    }
    runs
}

fn progress(round: u32, run: &Run, system: &System, result: &io::Result<Measured>) -> String {
    let rate = run.rate.map_or_else(|| "max".into(), |rate| format!("{rate}/s"));
    let Run { members, size, .. } = run;
    let what = format!("round {round}: {members} x {size} B, {rate}: {}:", system.name());
    match result {
        Ok(Measured { messages_per_s, lost, disordered, .. }) => {
            let speed = tables::short(*messages_per_s);
            format!("{what} {speed} messages/s, {lost} lost, {disordered} disordered")
        }
        Err(error) => format!("{what} failed: {error}"),
    }
}

/// Connections of receivers here, and of the servers, who inherit it.
fn allow_files(needed: u64) -> io::Result<()> {
    // Redis wants 32 more than clients it is made for.
    let needed = needed.max(10_100);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < needed {
        let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
        raised.or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))?;
    }
    Ok(())
}

fn say(line: &str) {
    // The closed pipe of `| head` ends the run.
    if writeln!(io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
