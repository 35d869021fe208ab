//! Counters of a link as a collector of Prometheus reads them.

use std::fmt::Write as _;

use crate::{
    chat::names::HostName,
    link::{HostCounts, LinkCounts},
};

/// Returns the counters in the text format of Prometheus.
pub(super) fn text(own: &HostName, counts: &LinkCounts) -> String {
    let mut text = String::new();
    let mut metric =
        |name: &str, kind: &str, help: &str, values: &[(Option<&HostName>, String)]| {
            let _ =
                writeln!(text, "# HELP moot_link_{name} {help}\n# TYPE moot_link_{name} {kind}");
            for (host, value) in values {
                let label = host.map_or_else(String::new, |host| format!("{{host=\"{host}\"}}"));
                let _ = writeln!(text, "moot_link_{name}{label} {value}");
            }
        };
    let one = |value: u64| [(None, value.to_string())];
    let own_counts = counts.hosts.get(own).copied().unwrap_or_default();
    metric(
        "connected",
        "gauge",
        "1 if the NATS server is connected.",
        &one(counts.connected.into()),
    );
    metric(
        "exported_total",
        "counter",
        "Messages of this host published.",
        &one(own_counts.messages),
    );
    metric("waiting", "gauge", "Numbers that wait to be published.", &one(counts.waiting));
    let others = |of: fn(&HostCounts) -> String| -> Vec<_> {
        let others = counts.hosts.iter().filter(|(host, _)| *host != own);
        others.map(|(host, counts)| (Some(host), of(counts))).collect()
    };
    for (name, kind, help, of) in [
        (
            "imported_total",
            "counter",
            "Messages of other hosts stored here.",
            (|of| of.messages.to_string()) as fn(&HostCounts) -> String,
        ),
        ("refused_total", "counter", "Messages, batches and receipts refused.", |of| {
            of.refused.to_string()
        }),
        ("gaps_total", "counter", "Times at which messages were missing.", |of| {
            of.gaps.to_string()
        }),
        (
            "lag_seconds",
            "gauge",
            "Time from the publication to the import of the last batch.",
            |of| format!("{:.6}", of.lag_us as f64 / 1e6),
        ),
        ("reachable", "gauge", "1 if the link of the host was heard of in the last 15 s.", |of| {
            u8::from(of.reachable).to_string()
        }),
    ] {
        metric(name, kind, help, &others(of));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_a_collector() {
        let host = |name| HostName::new(name).unwrap();
        let mut counts = LinkCounts { connected: true, waiting: 3, ..LinkCounts::default() };
        let of =
            HostCounts { messages: 7, lag_us: 1_500, reachable: true, ..HostCounts::default() };
        counts.hosts.insert(host("web1"), HostCounts { messages: 5, ..HostCounts::default() });
        counts.hosts.insert(host("db1"), of);
        let text = text(&host("web1"), &counts);
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
        let found: Vec<_> = scrape
            .samples
            .iter()
            .map(|s| (s.metric.as_str(), s.labels.get("host").unwrap_or_default().to_owned()))
            .collect();
        assert!(found.contains(&("moot_link_exported_total", String::new())), "{text}");
        assert!(found.contains(&("moot_link_imported_total", "db1".to_owned())), "{text}");
        assert!(text.contains("moot_link_lag_seconds{host=\"db1\"} 0.001500"), "{text}");
    }
}
