//! The report of a measurement, for people and as JSON.

use serde_json::{Value, json};

use super::seen::Latencies;
use crate::{
    chat::text::counted,
    command::args::{BenchArgs, BenchRate},
};

/// Results of a measurement.
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) deliveries: u64,
    pub(super) lost: u64,
    pub(super) disordered: u64,
    pub(super) latencies: Latencies,
    /// Processor time of the server during the measurement.
    pub(super) cpu_us: Option<u64>,
    /// Memory of the server for each member.
    pub(super) memory_bytes: Option<u64>,
}

/// A whole number, its digits in groups of three.
pub(super) fn grouped(number: f64) -> String {
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
pub(super) struct Report<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) broadcast: String,
    pub(super) measured: Measured,
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

    pub(super) fn json(&self) -> Value {
        let (args, measured) = (self.args, &self.measured);
        let latency = match measured.latencies.is_empty() {
            true => Value::Null,
            false => json!({
                "p50": measured.latencies.value_at_quantile(0.5),
                "p99": measured.latencies.value_at_quantile(0.99),
                "max": measured.latencies.max(),
            }),
        };
        let rate = match args.rate {
            BenchRate::Max => Value::Null,
            BenchRate::PerSecond(n) => json!(n),
        };
        let per_s = self.deliveries_per_s();
        json!({
            "type": "bench",
            "members": args.members,
            "senders": args.senders,
            "size": args.size,
            "rate": rate,
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

    pub(super) fn text(&self) -> String {
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
