//! How long the parts take that every message goes through: `cargo bench --bench micro`.
//!
//! It takes 100 seconds; `-- --quick` is a look of 20, `-- hub` what has that in its name,
//! `-- --measurement-time 5` more exact. `-- --save-baseline NAME` and `-- --baseline NAME` compare. Rates are
//! messages, bytes or rows a second.

mod parts;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use moot::{
    broadcast::{Opener, Sealer},
    chat::{
        batch::Builder,
        frames::{Ack, Frame, Report},
        inbox::{Inbox, Via},
        member::{Kind, SessionId, State},
        names::{RoomName, UserName},
        presence_row::Row,
    },
    limits::FRAME_HEADER_BYTES,
    os::{Lock, LockNote, Places},
    presence::{Snapshot, Table},
    wire::{control, frame, server_frame::ServerFrame},
};

use parts::{
    bodies,
    house::{House, Way},
};

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .configure_from_args();
    hub(&mut criterion);
    codec(&mut criterion);
    control_frames(&mut criterion);
    seal(&mut criterion);
    inbox(&mut criterion);
    presence(&mut criterion);
    criterion.final_summary();
}

/// From a submit to what the shell is told, with the reports of all members; and these alone.
fn hub(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hub");
    for (way, name) in [(Way::Broadcast, "broadcast"), (Way::Session, "session")] {
        for (store, kept) in [(false, ""), (true, " stored")] {
            for listeners in [1, 100] {
                for texts in [1, 256] {
                    let id = BenchmarkId::new(
                        format!("{name}{kept}"),
                        format!("{listeners} members, {texts} texts"),
                    );
                    group.throughput(Throughput::Elements(texts as u64));
                    let mut house = House::new(way, listeners, store, texts);
                    group.bench_function(id, |b| {
                        b.iter(|| {
                            house.say();
                            house.report();
                        });
                    });
                }
            }
        }
        group.throughput(Throughput::Elements(100));
        let mut house = House::new(way, 100, false, 1);
        group.bench_function(BenchmarkId::new("reports of 100", name), |b| {
            b.iter_custom(|rounds| {
                let mut all = Duration::ZERO;
                for _ in 0..rounds {
                    house.say();
                    let since = Instant::now();
                    house.report();
                    all += since.elapsed();
                }
                all
            });
        });
    }
    group.finish();
}

/// Full bodies of 64-byte texts: written and read.
fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for senders in [1, 8] {
        let members = bodies::members(senders);
        let mut builder = Builder::default();
        let count = bodies::fill(&mut builder, &members, 1, u32::MAX);
        let body = bodies::full_body(senders);
        let of = format!("{senders} senders, {count} texts");
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(BenchmarkId::new("build", &of), |b| {
            b.iter(|| bodies::fill(&mut builder, black_box(&members), 1, u32::MAX));
        });
        group.bench_function(BenchmarkId::new("read", &of), |b| {
            b.iter(|| bodies::read(black_box(&body)));
        });
        group.bench_function(BenchmarkId::new("read each", &of), |b| {
            b.iter(|| bodies::read_each(black_box(&body)));
        });
        group.bench_function(BenchmarkId::new("read each text", &of), |b| {
            b.iter(|| bodies::read_texts(black_box(&body)));
        });
    }
    group.finish();
}

/// What goes over a session beside bodies.
fn control_frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("control");
    let mut bytes = Vec::new();
    for lines in [1, 256] {
        let submit = bodies::submit(lines);
        group.throughput(Throughput::Elements(lines as u64));
        group.bench_function(BenchmarkId::new("put submit", lines), |b| {
            b.iter(|| {
                bytes.clear();
                control::put_submit(&mut bytes, black_box(&submit));
            });
        });
        group.bench_function(BenchmarkId::new("read submit", lines), |b| {
            b.iter(|| control::read_submit(black_box(&bytes[FRAME_HEADER_BYTES..])).unwrap());
        });
    }
    group.throughput(Throughput::Elements(1));
    let report =
        Report { stream: bodies::TAG, delivered: 70_000, by_broadcast: 69_000, datagrams: 900 };
    group.bench_function("put and read report", |b| {
        b.iter(|| {
            bytes.clear();
            control::put_report(&mut bytes, black_box(&report));
            let parsed = frame::parse(&bytes).unwrap().unwrap();
            control::read_report(parsed.body)
        });
    });
    let ack = Ack { first: 70_000, count: 256, seq: 80_000, members: 100, stored: true };
    group.bench_function("put and read ack", |b| {
        b.iter(|| {
            bytes.clear();
            control::put_frame(&mut bytes, Frame::Ack(black_box(ack)));
            let parsed = frame::parse(&bytes).unwrap().unwrap();
            ServerFrame::read(parsed.kind, parsed.body).is_ok()
        });
    });
    group.finish();
}

/// Datagrams, sealed and opened.
fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    let key = [7; 32];
    let (mut sealer, opener) = (Sealer::new(1, &key, 7), Opener::new(1, &key, 7));
    for size in [128, 1024, 8 * 1024, 60_000] {
        let body = vec![b'x'; size];
        let mut datagram = Vec::new();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("seal", size), |b| {
            b.iter(|| assert!(sealer.seal(black_box(&body), &mut datagram)));
        });
        let open = |datagram: &mut Vec<u8>| opener.open(datagram).map(<[u8]>::len);
        assert_eq!(open(&mut datagram.clone()), Some(size));
        group.bench_function(BenchmarkId::new("open", size), |b| {
            b.iter_batched_ref(|| datagram.clone(), open, BatchSize::SmallInput);
        });
    }
    group.finish();
}

const INBOX_BODIES: usize = 64;
const INBOX_MESSAGES: u64 = 64;

/// Bodies of 64 messages each, in order; and with each eighth lost, asked for, and sent again.
fn inbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbox");
    let members = bodies::members(1);
    let firsts = (1..).step_by(INBOX_MESSAGES as usize).take(INBOX_BODIES);
    let all: Vec<_> =
        firsts.map(|first| bodies::body(&members, first, INBOX_MESSAGES as u32)).collect();
    group.throughput(Throughput::Elements(INBOX_MESSAGES * INBOX_BODIES as u64));
    group.bench_function("in order", |b| b.iter(|| take(black_box(&all), |_| false)));
    group.bench_function("with holes", |b| b.iter(|| take(black_box(&all), |at| at % 8 == 1)));
    group.finish();
}

/// Everything is taken; what is lost comes by session six bodies later.
fn take(all: &[Vec<u8>], is_lost: impl Fn(usize) -> bool) -> u64 {
    let mut inbox = Inbox::new(bodies::TAG, 1, 0, false);
    let mut now_us = 1_000_000;
    for (at, body) in all.iter().enumerate() {
        now_us += 1_000;
        if !is_lost(at) {
            inbox.take(now_us, Via::Broadcast, body, 1_000).unwrap();
        }
        let again = at.checked_sub(6).filter(|at| is_lost(*at));
        if let Some(again) = again {
            assert!(inbox.repair_due(now_us).is_some());
            inbox.take(now_us, Via::Session, &all[again], 1_000).unwrap();
        }
        while let Some(released) = inbox.release(now_us, 1_000) {
            black_box(released);
        }
        black_box(inbox.report_due(now_us));
    }
    assert_eq!(inbox.next(), INBOX_MESSAGES * INBOX_BODIES as u64 + 1);
    inbox.next()
}

fn row(session: u64) -> Row {
    Row {
        session: SessionId(session),
        uid: 1000,
        pid: 4711,
        start: 99,
        kind: Kind::Person,
        state: State::Online,
        visitor: false,
        since_wall_us: 1_700_000_000_000_000,
        active_mono_us: 7,
        user: UserName::new("ann").unwrap(),
        label: None,
        status: "".into(),
        rooms: ["dev", "ops"].map(|room| RoomName::new(room).unwrap()).into(),
    }
}

/// One row written into a table of 1,000, and all of them read.
fn presence(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let places = Places { runtime: place.clone(), state: place.clone(), host: false };
    let note = LockNote { pid: std::process::id(), runtime_dir: place };
    let _lock = Lock::acquire(&places.lock(), false, &note).unwrap();
    let mut table = Table::create(&places, false, 7, true).unwrap();
    let rows: Vec<_> = (1..=1_000).map(row).collect();
    for row in &rows {
        table.put(row).unwrap();
    }
    let mut group = criterion.benchmark_group("presence");
    group.throughput(Throughput::Elements(1));
    group.bench_function("put a row", |b| b.iter(|| table.put(black_box(&rows[500])).unwrap()));
    group.throughput(Throughput::Elements(rows.len() as u64));
    group.bench_function("read 1000 rows", |b| {
        b.iter(|| {
            let snapshot = Snapshot::read(&places).unwrap();
            assert_eq!(snapshot.rows.len(), rows.len());
            snapshot
        });
    });
    group.finish();
    table.close();
}
