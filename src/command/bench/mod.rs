//! `moot bench`: how fast this server is on this machine. Real sessions; each member counts, checks
//! order and misses nothing.

mod members;
mod seen;
mod senders;
mod stamp;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::{members::Members, seen::Latencies, senders::Senders};
use super::{
    args::{BenchArgs, BenchRate},
    connect::Context,
    exit_code::{Exit, Failure},
    interrupt::{self, Leave},
};
use crate::{
    chat::{
        names::{RoomName, Target},
        reply::Reply,
        request::Request,
        stream_id::StreamTag,
        text::counted,
    },
    client::{Link, Mailbox},
    os,
};

/// Before it is measured: channels are proven, buffers are grown.
const WARM_UP: Duration = Duration::from_millis(500);
/// Interval between reports of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Maximum time for the last message to reach its last member.
const DRAIN_MAX: Duration = Duration::from_secs(30);

pub(super) fn run(context: &mut Context, args: &BenchArgs) -> Result<Exit, Failure> {
    if let Some(room) = &args.as_member {
        return members::be_one(context, room, args.rate != BenchRate::Max);
    }
    let interrupted = interrupt::catch_to_clean_up()?;
    os::raise_descriptor_limit();
    let mut control = context.link()?;
    let (pid, broadcast) = {
        let welcome = control.welcome()?;
        (welcome.pid, welcome.broadcast.clone())
    };
    let room = make_room(&mut control, args.room_history())?;
    let measured = number_of(&mut control, &room)
        .and_then(|stream| measure(context, args, (&room, stream), pid, &interrupted));
    control.set_deadline(Some(context.deadline()));
    let gone = control.ask(&Request::DeleteRoom { room });
    let measured = measured?;
    gone?;
    control.quit();
    let result = Report { args, broadcast, measured };
    match context.global.json {
        true => context.out.json(&result.json())?,
        false => context.out.lines(&result.text())?,
    }
    if result.measured.lost > 0 || result.measured.disordered > 0 {
        return Err(Failure::new(Exit::Failed, "messages were lost, or came out of order"));
    }
    Ok(Exit::Done)
}

fn make_room(control: &mut Link, history: bool) -> Result<RoomName, Failure> {
    let number = os::random_u32()
        .map_err(|e| Failure::new(Exit::Failed, format!("can't get random numbers: {e}")))?;
    let room = RoomName::new(&format!("bench-{number:08x}")).expect("a good name");
    let request =
        Request::CreateRoom { room: room.clone(), history, private: false, read_only: false };
    match control.ask(&request)? {
        Reply::Done => Ok(room),
        other => Err(Failure::new(Exit::Failed, format!("unexpected reply: {other:?}"))),
    }
}

/// Returns the room's number: a sender that still runs does not make the room again once it is
/// gone.
fn number_of(control: &mut Link, room: &RoomName) -> Result<StreamTag, Failure> {
    match control.ask(&Request::Open { target: Target::Room(room.clone()) })? {
        Reply::Opened(info) => Ok(info.tag),
        other => Err(Failure::new(Exit::Failed, format!("unexpected reply: {other:?}"))),
    }
}

/// Results of a measurement.
struct Measured {
    seconds: f64,
    deliveries: u64,
    lost: u64,
    disordered: u64,
    latencies: Latencies,
    /// Of the server, while it was measured.
    cpu_us: Option<u64>,
    /// Of the server, for each member.
    memory_bytes: Option<u64>,
}

fn measure(
    context: &Context,
    args: &BenchArgs,
    (room, stream): (&RoomName, StreamTag),
    pid: u32,
    interrupted: &Mailbox<Leave>,
) -> Result<Measured, Failure> {
    let usage = || os::process_usage(pid);
    let check = || match interrupted.try_recv() {
        None => Ok(()),
        Some(why) => Err(Failure::new(why.exit(), "")),
    };
    let before = usage();
    let mut members = Members::join(context, args, room, &check)?;
    let joined = usage();
    let memory = |usage: Option<os::Usage>| usage.and_then(|usage| usage.memory_bytes);
    let memory_bytes = memory(joined)
        .zip(memory(before))
        .map(|(after, before)| after.saturating_sub(before) / u64::from(args.members));
    let senders = Senders::start(context, args, stream)?;
    members.wait(WARM_UP, &check)?;
    let (began, at_begin, cpu_begin) = (Instant::now(), members.begin()?, usage());
    let mut last = (began, at_begin);
    while began.elapsed() < args.duration() && !senders.have_failed() {
        let left = args.duration().saturating_sub(began.elapsed());
        members.wait(PROGRESS_EVERY.min(left), &check)?;
        if let Some(seen) = members.seen()
            && last.0.elapsed() >= PROGRESS_EVERY / 2
        {
            let secs = last.0.elapsed().as_secs_f64();
            let rate = (seen.deliveries - last.1.deliveries) as f64 / secs;
            context.out.note(&format!(
                "{:5.1} s  {:>11}/s messages  {:>13}/s deliveries",
                began.elapsed().as_secs_f64(),
                grouped(rate / f64::from(args.members)),
                grouped(rate),
            ));
            last = (Instant::now(), seen);
        }
    }
    let at_end = members.end()?;
    let (seconds, cpu_end) = (began.elapsed().as_secs_f64(), usage());
    let sent = senders.stop()?;
    let (seen, latencies) = members.drain(sent, DRAIN_MAX, &check)?;
    let cpu = |usage: Option<os::Usage>| usage.map(|usage| usage.cpu_us);
    Ok(Measured {
        seconds,
        deliveries: at_end.deliveries - at_begin.deliveries,
        lost: (sent * u64::from(args.members)).saturating_sub(seen.deliveries),
        disordered: seen.disordered,
        latencies,
        cpu_us: cpu(cpu_end).zip(cpu(cpu_begin)).map(|(end, begin)| end.saturating_sub(begin)),
        memory_bytes,
    })
}

/// A whole number, its digits in groups of three.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Microseconds, as people read them.
fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Report at the end.
struct Report<'a> {
    args: &'a BenchArgs,
    broadcast: String,
    measured: Measured,
}

impl Report<'_> {
    fn deliveries_per_s(&self) -> f64 {
        self.measured.deliveries as f64 / self.measured.seconds
    }

    fn messages(&self) -> u64 {
        self.measured.deliveries / u64::from(self.args.members)
    }

    fn cpu_us_per_delivery(&self) -> Option<f64> {
        let cpu_us = self.measured.cpu_us?;
        (self.measured.deliveries > 0).then(|| cpu_us as f64 / self.measured.deliveries as f64)
    }

    fn json(&self) -> Value {
        let (args, measured) = (self.args, &self.measured);
        let latency = match measured.latencies.is_empty() {
            true => Value::Null,
            false => json!({
                "p50": measured.latencies.value_at_quantile(0.5),
                "p99": measured.latencies.value_at_quantile(0.99),
                "max": measured.latencies.max(),
            }),
        };
        let per_s = self.deliveries_per_s();
        json!({
            "type": "bench",
            "members": args.members,
            "senders": args.senders,
            "size": args.size,
            "rate": match args.rate {
                BenchRate::Max => Value::Null,
                BenchRate::PerSecond(n) => json!(n),
            },
            "history": args.room_history(),
            "broadcast": self.broadcast,
            "processes": args.processes,
            "seconds": round(measured.seconds),
            "messages": self.messages(),
            "messages_per_s": round(per_s / f64::from(args.members)),
            "deliveries": measured.deliveries,
            "deliveries_per_s": round(per_s),
            "lost": measured.lost,
            "disordered": measured.disordered,
            "latency_us": latency,
            "server_cpu_s": measured.cpu_us.map(|us| us as f64 / 1e6),
            "server_cpu_us_per_delivery": self.cpu_us_per_delivery(),
            "server_memory_per_member_bytes": measured.memory_bytes,
        })
    }

    fn text(&self) -> String {
        let (args, measured) = (self.args, &self.measured);
        let per_s = self.deliveries_per_s();
        let mut lines = vec![
            (
                "work",
                format!(
                    "{} to {}, {} B, {}, {}, {}, {:.1} s",
                    counted(args.senders.into(), "sender"),
                    counted(args.members.into(), "member"),
                    args.size,
                    match args.rate {
                        BenchRate::Max => "as fast as possible".to_owned(),
                        BenchRate::PerSecond(n) => format!("{n}/s"),
                    },
                    if args.room_history() { "stored" } else { "not stored" },
                    self.broadcast,
                    measured.seconds,
                ),
            ),
            (
                "messages",
                format!(
                    "{}/s ({} in total)",
                    grouped(per_s / f64::from(args.members)),
                    grouped(self.messages() as f64)
                ),
            ),
            (
                "deliveries",
                format!(
                    "{}/s, {} lost, {} out of order",
                    grouped(per_s),
                    measured.lost,
                    measured.disordered
                ),
            ),
        ];
        if !measured.latencies.is_empty() {
            let at = |quantile| micros(measured.latencies.value_at_quantile(quantile));
            let max = micros(measured.latencies.max());
            lines.push(("latency", format!("p50 {}, p99 {}, max {max}", at(0.5), at(0.99))));
        }
        if let Some(cpu) = self.cpu_us_per_delivery() {
            let memory = measured.memory_bytes.map_or(String::new(), |bytes| {
                format!(", {:.1} KiB of memory per member", bytes as f64 / 1024.0)
            });
            lines.push((
                "server",
                format!(
                    "{:.0} % of a processor, {cpu:.4} µs per delivery{memory}",
                    measured.cpu_us.unwrap_or(0) as f64 / measured.seconds / 1e4
                ),
            ));
        }
        lines.iter().map(|(key, value)| format!("{key:<11} {value}\n")).collect()
    }
}

fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0.0), "0");
        assert_eq!(grouped(999.4), "999");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(micros(999), "999 µs");
        assert_eq!(micros(1_500), "1.5 ms");
        assert_eq!(micros(2_000_000), "2.0 s");
    }
}
