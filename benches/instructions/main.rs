//! How many instructions the hub and the codec take:
//! `cargo bench --manifest-path benches/instructions/Cargo.toml`. Linux, and valgrind.
//!
//! Counts hardly depend on what else the machine does, so they show a change of some percent that a clock
//! does not. Each is compared with the last run, and if one is larger by more than [`counted::LIMIT_PERCENT`]
//! this run fails; the next one is compared with it. Against another commit: `-- --save-baseline=NAME` there,
//! `-- --baseline=NAME` here; a part only: `-- '*hub*'`. Counts differ from compiler to compiler and from
//! machine to machine, so none are kept with the source. Sealing is not here: valgrind does not have the
//! instructions that it uses.

#[cfg(target_os = "linux")]
#[expect(dead_code, reason = "some of the work is for the clock only")]
#[path = "../parts/mod.rs"]
mod parts;

#[cfg(target_os = "linux")]
mod counted {
    use std::{
        hint::black_box,
        process::{Command, Stdio},
    };

    use gungraun::prelude::*;
    use gungraun::{Callgrind, CallgrindMetrics, EventKind};
    use moot::{chat::{batch::{Builder, Malformed}, member::Member, frames::{Ack, Frame, Report, Submit}}, limits::FRAME_HEADER_BYTES, wire::{control, frame, server_frame::ServerFrame}};

    use crate::parts::{
        bodies,
        house::{House, Way},
    };

    /// More than hash tables with random keys change from run to run.
    pub const LIMIT_PERCENT: f64 = 2.0;
    /// Version of the crate, as in `Cargo.toml`.
    const RUNNER_VERSION: &str = "0.20.0";
    /// Texts that are said in one measurement, one at a time or 256.
    const TEXTS: usize = 1_024;

    /// A room where all buffers have the size that they need.
    fn house(way: Way, listeners: u64, store: bool, texts: usize) -> House {
        let mut house = House::new(way, listeners, store, texts);
        for _ in 0..8 {
            house.say();
            house.report();
        }
        house
    }

    // 1,024 texts: submitted, published, acknowledged, reported by all members.
    #[library_benchmark(setup = house)]
    #[bench::broadcast_1_member_1_text(Way::Broadcast, 1, false, 1)]
    #[bench::broadcast_1_member_256_texts(Way::Broadcast, 1, false, 256)]
    #[bench::broadcast_100_members_256_texts(Way::Broadcast, 100, false, 256)]
    #[bench::session_1_member_1_text(Way::Session, 1, false, 1)]
    #[bench::session_100_members_256_texts(Way::Session, 100, false, 256)]
    #[bench::stored_1_member_1_text(Way::Broadcast, 1, true, 1)]
    #[bench::stored_1_member_256_texts(Way::Broadcast, 1, true, 256)]
    fn said_and_reported(mut house: House) -> House {
        for _ in 0..TEXTS / house.texts() {
            house.say();
            house.report();
        }
        black_box(house)
    }

    fn house_with_news(way: Way) -> House {
        let mut house = house(way, 100, false, 1);
        house.say();
        house
    }

    // 100 reports of one message.
    #[library_benchmark(setup = house_with_news)]
    #[bench::broadcast(Way::Broadcast)]
    #[bench::session(Way::Session)]
    fn reports_of_100(mut house: House) -> House {
        house.report();
        black_box(house)
    }

    fn unsaid(way: Way) -> House {
        house(way, 100, false, 1)
    }

    // One text to 100 members, who say nothing.
    #[library_benchmark(setup = unsaid)]
    #[bench::broadcast(Way::Broadcast)]
    #[bench::session(Way::Session)]
    fn said_to_100(mut house: House) -> House {
        house.say();
        black_box(house)
    }

    fn builder(senders: u64) -> (Builder, Vec<Member>) {
        let members = bodies::members(senders);
        let mut builder = Builder::default();
        bodies::fill(&mut builder, &members, 1, u32::MAX);
        (builder, members)
    }

    // A full body of 870 texts.
    #[library_benchmark(setup = builder)]
    #[bench::one_sender(1)]
    #[bench::eight_senders(8)]
    fn build((mut builder, members): (Builder, Vec<Member>)) -> (Builder, Vec<Member>) {
        bodies::fill(&mut builder, black_box(&members), 1, u32::MAX);
        black_box((builder, members))
    }

    #[library_benchmark(setup = bodies::full_body)]
    #[bench::one_sender(1)]
    #[bench::eight_senders(8)]
    fn read(body: Vec<u8>) -> (Result<usize, Malformed>, Vec<u8>) {
        (bodies::read(black_box(&body)), body)
    }

    #[library_benchmark(setup = bodies::full_body)]
    #[bench::one_sender(1)]
    #[bench::eight_senders(8)]
    fn read_each(body: Vec<u8>) -> (Result<usize, Malformed>, Vec<u8>) {
        (bodies::read_each(black_box(&body)), body)
    }

    // A submit of 256 texts, written and read.
    #[library_benchmark]
    #[bench::of_256(bodies::submit(256), Vec::with_capacity(64 * 1024))]
    fn submit(submit: Submit<'static>, mut bytes: Vec<u8>) -> (usize, Submit<'static>, Vec<u8>) {
        control::put_submit(&mut bytes, black_box(&submit));
        let read = control::read_submit(black_box(&bytes[FRAME_HEADER_BYTES..]));
        let lines = black_box(read).map_or(0, |submit| submit.lines.len());
        (lines, submit, bytes)
    }

    // A report and an acknowledgement, written and read.
    #[library_benchmark]
    #[bench::report_and_ack(Vec::with_capacity(1024))]
    fn small_frames(mut bytes: Vec<u8>) -> Vec<u8> {
        let report =
            Report { stream: bodies::TAG, delivered: 70_000, by_broadcast: 69_000, datagrams: 900 };
        control::put_report(&mut bytes, black_box(&report));
        if let Ok(Some(parsed)) = frame::parse(black_box(&bytes)) {
            let _ = black_box(control::read_report(parsed.body));
        }
        bytes.clear();
        let ack = Ack { first: 70_000, count: 256, seq: 80_000, members: 100, stored: true };
        control::put_frame(&mut bytes, Frame::Ack(black_box(ack)));
        if let Ok(Some(parsed)) = frame::parse(black_box(&bytes)) {
            let _ = black_box(ServerFrame::read(parsed.kind, parsed.body));
        }
        black_box(bytes)
    }

    library_benchmark_group!(
        name = hub,
        benchmarks = [said_and_reported, said_to_100, reports_of_100]
    );
    library_benchmark_group!(
        name = codec,
        benchmarks = [build, read, read_each, submit, small_frames]
    );
    gungraun::main!(
        config = LibraryBenchmarkConfig::default().tool(
            Callgrind::default()
                .format([CallgrindMetrics::from(EventKind::Ir), EventKind::EstimatedCycles.into()])
                .soft_limits([(EventKind::Ir, LIMIT_PERCENT)])
        ),
        library_benchmark_groups = [hub, codec]
    );

    pub fn run() {
        main();
    }

    /// What is not installed, and how it is.
    pub fn missing() -> Option<String> {
        // As the crate looks for it.
        let runner = option_env!("GUNGRAUN_RUNNER").unwrap_or("gungraun-runner");
        let is_there = |program: &str, version: &str| {
            let mut command = Command::new(program);
            let answer = command.arg("--version").stdin(Stdio::null()).output();
            answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains(version))
        };
        let mut how = Vec::new();
        if !is_there("valgrind", "valgrind") {
            how.push("apt-get install valgrind".to_owned());
        }
        if !is_there(runner, RUNNER_VERSION) {
            how.push(format!("cargo install gungraun-runner --version {RUNNER_VERSION} --locked"));
        }
        (!how.is_empty()).then(|| how.join("; "))
    }
}

#[cfg(target_os = "linux")]
fn main() {
    // The runner starts this program again for each measurement.
    let is_measurement = std::env::args().nth(1).is_some_and(|arg| arg == "--gungraun-run");
    match (!is_measurement).then(counted::missing).flatten() {
        Some(how) => say(&format!("instructions: not counted; what is missing is got by: {how}")),
        None => counted::run(),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    say("instructions: not counted; valgrind is asked on Linux only");
}

fn say(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes());
}
