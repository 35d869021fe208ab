//! `moot status --metrics`: the server's state in the text form that Prometheus reads.
//!
//! Users have no metrics of their own: there could be thousands of them. Names once given stay.

use std::fmt::Write;

use crate::{chat::text::is_unsafe_to_show, server::Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MetricKind {
    Counter,
    Gauge,
}

/// The text, each line ended. Without a server only that there is none.
pub(super) fn metrics(status: Option<&Status>) -> String {
    let mut text = MetricsText(String::new());
    let up = u64::from(status.is_some());
    text.put(MetricKind::Gauge, "moot_up", "1 if the server replied.", &[], up);
    let Some(status) = status else { return text.0 };
    text.put(
        MetricKind::Gauge,
        "moot_build_info",
        "Version of the server, as a label.",
        &[("version", &status.version)],
        1,
    );
    text.put(
        MetricKind::Gauge,
        "moot_broadcast_info",
        "Broadcast channel (multicast, mailslot, session), as a label.",
        &[("channel", &status.broadcast)],
        1,
    );
    for (kind, name, help, value) in numbers(status) {
        text.put(kind, name, help, &[], value);
    }
    text.0
}

/// A number of the server: its kind, its name, its help, its value.
type Number = (MetricKind, &'static str, &'static str, u64);

fn numbers(status: &Status) -> [Number; 15] {
    let degraded = u64::from(!status.degraded.is_empty());
    [
        (
            MetricKind::Gauge,
            "moot_uptime_seconds",
            "Time since the server started.",
            status.uptime_s,
        ),
        (MetricKind::Gauge, "moot_degraded", "1 if the server is degraded.", degraded),
        (MetricKind::Gauge, "moot_sessions", "Sessions, including visitors.", status.sessions),
        (MetricKind::Gauge, "moot_members", "Sessions with subscriptions.", status.members),
        (MetricKind::Gauge, "moot_rooms", "Public rooms.", status.rooms),
        (MetricKind::Counter, "moot_messages_total", "Messages numbered.", status.messages),
        (
            MetricKind::Counter,
            "moot_broadcast_datagrams_total",
            "Datagrams handed to the broadcast channel.",
            status.broadcast_sent,
        ),
        (
            MetricKind::Counter,
            "moot_repaired_messages_total",
            "Messages sent again by session to members that missed them.",
            status.repaired,
        ),
        (MetricKind::Gauge, "moot_lagging", "Subscriptions that lag behind.", status.lagging),
        (
            MetricKind::Gauge,
            "moot_deaf",
            "Subscriptions served by session although a channel exists.",
            status.deaf,
        ),
        (
            MetricKind::Gauge,
            "moot_history_enabled",
            "1 if messages are stored on disk.",
            u64::from(status.stored.history),
        ),
        (
            MetricKind::Gauge,
            "moot_history_messages",
            "Approximate number of messages in the history.",
            status.stored.history_messages,
        ),
        (
            MetricKind::Gauge,
            "moot_history_bytes",
            "Bytes of the history in use.",
            status.stored.history_bytes,
        ),
        (
            MetricKind::Gauge,
            "moot_history_disk_bytes",
            "Bytes of the history on disk, including free pages and its log.",
            status.stored.history_disk_bytes,
        ),
        (
            MetricKind::Gauge,
            "moot_index_disk_bytes",
            "Bytes of the search index on disk, including its log.",
            status.stored.index_disk_bytes,
        ),
    ]
}

struct MetricsText(String);

impl MetricsText {
    fn put(
        &mut self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: u64,
    ) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        // Writing to a string does not fail.
        let _ =
            write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n");
    }
}

/// As a label's value is written. What came from a server of another version may be anything.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\\' | '"' => text.extend(['\\', c]),
            // Without braces, which simple collectors take for the end of the labels.
            c if is_unsafe_to_show(c) => {
                let _ = write!(text, "\\\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_parse::{Scrape, Value};

    use super::*;

    fn status() -> Status {
        let json = serde_json::json!({
            "pid": 1, "version": "1.\"0\\\n", "uptime_s": 7, "dir": "/x", "sessions": 3, "members": 2,
            "rooms": 1, "messages": u64::MAX, "broadcast": "multicast", "broadcast_sent": 5,
            "repaired": 6, "lagging": 0, "history_messages": 8, "history_bytes": 9,
            "degraded": ["x"],
        });
        serde_json::from_value(json).unwrap()
    }

    fn parsed(text: &str) -> Scrape {
        Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
    }

    #[test]
    fn a_parser_reads_all_of_it_with_kinds_and_help() {
        let text = metrics(Some(&status()));
        let scrape = parsed(&text);
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(scrape.samples.len(), samples, "each line is understood");
        for sample in &scrape.samples {
            let counts = matches!(sample.value, Value::Counter(_));
            assert_eq!(counts, sample.metric.ends_with("_total"), "{}", sample.metric);
            assert!(counts || matches!(sample.value, Value::Gauge(_)), "{}", sample.metric);
            assert!(scrape.docs.contains_key(&sample.metric), "{} has no help", sample.metric);
            assert!(sample.metric.starts_with("moot_"));
        }
    }

    #[test]
    fn a_label_that_means_harm_stays_one_line() {
        let text = metrics(Some(&status()));
        assert!(text.contains("moot_build_info{version=\"1.\\\"0\\\\\\n\"} 1\n"), "{text}");
    }

    #[test]
    fn control_characters_in_a_label_are_written_out() {
        let hostile = Status { version: "\x1b]52;c;AAAA\x07\u{9b}31m\r\n".to_owned(), ..status() };
        let text = metrics(Some(&hostile));
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe_to_show(c)), "{text:?}");
        let sample = parsed(&text).samples.into_iter().find(|s| s.metric == "moot_build_info");
        let value = sample.unwrap().labels.get("version").unwrap().to_owned();
        assert_eq!(value, r"\\u001b]52;c;AAAA\\u0007\\u009b31m\\u000d\n");
    }

    #[test]
    fn without_a_server_it_is_down_and_nothing_else_is_said() {
        let scrape = parsed(&metrics(None));
        assert_eq!(scrape.samples.len(), 1);
        assert_eq!(
            (&*scrape.samples[0].metric, &scrape.samples[0].value),
            ("moot_up", &Value::Gauge(0.0))
        );
    }
}
