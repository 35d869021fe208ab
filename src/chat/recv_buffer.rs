//! Receive-buffer charge of a datagram: the kernel counts its own structures and whole pages.

/// Datagram size (bytes, at most) and its charge, as measured on Linux 6.18 over loopback.
const STEPS: [(usize, usize); 6] =
    [(197, 832), (645, 1_280), (1_669, 2_304), (3_717, 4_352), (7_813, 8_448), (16_004, 16_640)];
/// Above, the charge is the size and at most this many bytes more.
const LARGE_EXTRA_BYTES: usize = 1_024;

/// Returns the receive-buffer charge of a datagram of `datagram_bytes` bytes; never less than the
/// real one.
#[must_use]
pub fn charge_bytes(datagram_bytes: usize) -> usize {
    let step = STEPS.iter().find(|(bytes, _)| datagram_bytes <= *bytes);
    step.map_or(datagram_bytes + LARGE_EXTRA_BYTES, |(_, charge)| *charge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_covers_its_datagram_and_rises_with_it() {
        let charges: Vec<_> = (0..=65_507).map(charge_bytes).collect();
        assert!(charges.iter().enumerate().all(|(bytes, charge)| *charge > bytes));
        assert!(charges.is_sorted());
    }
}
