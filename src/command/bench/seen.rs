//! Results of a measurement: latencies, and the messages that members saw.

use hdrhistogram::Histogram;

/// Latencies in microseconds, three digits.
pub(super) type Latencies = Histogram<u64>;

pub(super) fn latencies() -> Latencies {
    Histogram::new(3).expect("three digits are possible")
}

/// Counts of the messages that the members saw.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Messages that came to any of them.
    pub(super) deliveries: u64,
    /// Those that were not the next ones of their sender.
    pub(super) disordered: u64,
}
