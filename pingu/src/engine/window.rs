//! The recent round-trip times of one path, and what they amount to.

use std::{collections::VecDeque, time::Duration};

/// How many round-trip times are kept: enough that a 99th percentile means something, 4 KiB a path.
const SAMPLES_MAX: usize = 512;

/// A sliding window over the last [`SAMPLES_MAX`] round-trip times, and the running jitter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    rtt_ns: VecDeque<u64>,
    jitter_ns: f64,
}

/// What became of the last [`RECENT_MAX`] judged probes of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recent {
    /// A bit for each, the newest lowest: 1 for one that was not answered in time.
    missing: u128,
    count: u32,
}

/// So many probes make a loss that one can read in percent.
const RECENT_MAX: u32 = 100;

impl Recent {
    /// Adds so many probes of one outcome.
    pub(crate) fn push(&mut self, probes: u32, is_missing: bool) {
        for _ in 0..probes.min(RECENT_MAX) {
            self.missing = (self.missing << 1 | u128::from(is_missing)) & ((1 << RECENT_MAX) - 1);
        }
        self.count = (self.count.saturating_add(probes)).min(RECENT_MAX);
    }

    /// The share of them that was missing, in percent; none before the first.
    pub(crate) fn loss_percent(&self) -> Option<f64> {
        let missing = f64::from(self.missing.count_ones());
        (self.count > 0).then(|| 100.0 * missing / f64::from(self.count))
    }
}

/// Round-trip times in microseconds over the recent answered probes.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RttSummary {
    /// The shortest.
    pub min: f64,
    /// The median (nearest rank).
    pub p50: f64,
    /// The 99th percentile (nearest rank).
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// Interarrival jitter as RFC 3550 section 6.4.1 smooths it, over consecutive answered probes.
    pub jitter: f64,
}

impl Window {
    /// Adds the round-trip time of an answered probe, in order of sending.
    pub(crate) fn push(&mut self, rtt: Duration) {
        let rtt_ns = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        if let Some(&previous) = self.rtt_ns.back() {
            self.jitter_ns += (rtt_ns.abs_diff(previous) as f64 - self.jitter_ns) / 16.0;
        }
        if self.rtt_ns.len() == SAMPLES_MAX {
            self.rtt_ns.pop_front();
        }
        self.rtt_ns.push_back(rtt_ns);
    }

    /// The mean of the last [`RECENT_MAX`], or none before the first.
    pub(crate) fn recent_mean(&self) -> Option<Duration> {
        let recent = || self.rtt_ns.iter().rev().take(RECENT_MAX as usize);
        let count = recent().count() as u64;
        (count > 0).then(|| Duration::from_nanos(recent().sum::<u64>() / count))
    }

    /// The figures, or none before the first answer.
    pub(crate) fn summary(&self) -> Option<RttSummary> {
        let mut sorted: Vec<u64> = self.rtt_ns.iter().copied().collect();
        sorted.sort_unstable();
        let us = |ns: u64| ns as f64 / 1000.0;
        let rank = |percent: usize| us(sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]);
        let mean_ns = sorted.iter().map(|&ns| ns as f64).sum::<f64>() / sorted.len() as f64;
        Some(RttSummary {
            min: us(*sorted.first()?),
            p50: rank(50),
            p99: rank(99),
            max: us(*sorted.last()?),
            mean: mean_ns / 1000.0,
            jitter: self.jitter_ns / 1000.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rtts_us: impl IntoIterator<Item = u64>) -> Window {
        let mut window = Window::default();
        rtts_us
            .into_iter()
            .for_each(|us| window.push(Duration::from_micros(us)));
        window
    }

    #[test]
    fn an_empty_window_has_no_figures() {
        assert_eq!(Window::default().summary(), None);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let summary = filled(1..=100).summary().expect("filled");
        assert_eq!(
            (summary.min, summary.p50, summary.p99, summary.max),
            (1.0, 50.0, 99.0, 100.0)
        );
        assert_eq!(summary.mean, 50.5);
    }

    #[test]
    fn only_the_recent_samples_count() {
        let summary = filled((0..600).map(|n| if n < 88 { 9_000 } else { 10 }))
            .summary()
            .expect("filled");
        assert_eq!((summary.min, summary.max), (10.0, 10.0));
    }

    #[test]
    fn jitter_smooths_as_rfc_3550() {
        let summary = filled([100, 116, 116]).summary().expect("filled");
        assert_eq!(summary.jitter, 1.0 - 1.0 / 16.0);
    }

    #[test]
    fn loss_is_that_of_the_last_hundred_probes() {
        let mut recent = Recent::default();
        assert_eq!(recent.loss_percent(), None);
        recent.push(30, false);
        recent.push(10, true);
        assert_eq!(recent.loss_percent(), Some(25.0));
        recent.push(1000, true);
        assert_eq!(recent.loss_percent(), Some(100.0));
        recent.push(99, false);
        assert_eq!(recent.loss_percent(), Some(1.0));
    }
}
