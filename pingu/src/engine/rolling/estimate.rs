//! When an answer is overdue, by the path's own round-trip times (in the manner of RFC 6298).

use std::time::Duration;

/// An answer is never called overdue sooner than so long after the mean: two processors' turns, and what a short queue takes.
const MARGIN: Duration = Duration::from_micros(500);

/// Where probes follow each other so fast that this would be most of the time that a cut takes to be found, it is a quarter of their
/// interval, and no less than one processor's turn: the answers to the probes before have been missing for whole intervals then.
const MARGIN_MIN: Duration = Duration::from_micros(200);

/// Smoothed round-trip time and its variation; none before the first answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    smoothed: Option<(Duration, Duration)>,
}

impl Estimate {
    /// Takes a round-trip time (RFC 6298 section 2.2 and 2.3).
    pub(crate) fn push(&mut self, rtt: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (rtt, rtt / 2),
            Some((mean, variation)) => (
                (mean * 7 + rtt) / 8,
                (variation * 3 + mean.abs_diff(rtt)) / 4,
            ),
        });
    }

    /// How long after its sending a probe's answer is overdue: the mean and four variations, a half of the mean at least, and never
    /// later than the timeout. `suspect_interval` is from one probe to the next while an answer is overdue.
    pub(crate) fn overdue_after(
        &self,
        timeout: Duration,
        suspect_interval: Option<Duration>,
    ) -> Duration {
        let Some((mean, variation)) = self.smoothed else {
            return timeout;
        };
        let of_interval = suspect_interval.map_or(MARGIN, |interval| interval / 4);
        let least = of_interval.clamp(MARGIN_MIN, MARGIN);
        let margin = (variation * 4).max(mean / 2).max(least);
        (mean + margin).min(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn after(rtts_ms: &[u64]) -> Duration {
        let mut estimate = Estimate::default();
        for &ms in rtts_ms {
            estimate.push(Duration::from_millis(ms));
        }
        estimate.overdue_after(TIMEOUT, None)
    }

    #[test]
    fn nothing_is_overdue_before_the_timeout_until_an_answer_was_seen() {
        assert_eq!(after(&[]), TIMEOUT);
    }

    #[test]
    fn the_first_answer_gives_three_times_itself() {
        assert_eq!(after(&[40]), Duration::from_millis(120));
    }

    #[test]
    fn steady_answers_bring_it_down_to_one_and_a_half_round_trips() {
        let found = after(&[40; 100]);
        assert!(found >= Duration::from_millis(60) && found < Duration::from_millis(61));
        assert_eq!(after(&[0; 100]), MARGIN);
    }

    #[test]
    fn where_probes_follow_fast_a_quarter_of_their_interval_is_margin_enough() {
        let mut estimate = Estimate::default();
        estimate.push(Duration::ZERO);
        for (interval_us, margin_us) in [
            (100, 200),
            (1_000, 250),
            (1_600, 400),
            (2_000, 500),
            (50_000, 500),
        ] {
            let after = estimate.overdue_after(TIMEOUT, Some(Duration::from_micros(interval_us)));
            assert_eq!(after, Duration::from_micros(margin_us), "{interval_us} us");
        }
    }

    #[test]
    fn unsteady_answers_raise_it_and_the_timeout_bounds_it() {
        assert!(after(&[10, 90, 10, 90, 10, 90]) > Duration::from_millis(150));
        assert_eq!(after(&[10, 900, 10, 900, 10, 900]), TIMEOUT);
    }
}
