//! Flap damping in the manner of RFC 2439: each fall adds a penalty that decays exponentially; an uplink with too much of it is
//! suppressed until little is left.

use std::time::Instant;

use crate::config::DampingConfig;

/// What one fall adds, the figure of RFC 2439's examples and of every router since.
const PENALTY_PER_FALL: f64 = 1000.0;

/// The penalty of an uplink: what it was when it last grew, and when that was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Penalty {
    grown: Option<(f64, Instant)>,
    suppressed: bool,
}

impl Penalty {
    /// What is left of it.
    pub(crate) fn value(&self, config: &DampingConfig, now: Instant) -> f64 {
        let Some((value, at)) = self.grown else {
            return 0.0;
        };
        let half_lives = now
            .saturating_duration_since(at)
            .div_duration_f64(config.half_life);
        value * (-half_lives).exp2()
    }

    /// Takes a fall.
    pub(crate) fn fall(&mut self, config: &DampingConfig, now: Instant) {
        let value = (self.value(config, now) + PENALTY_PER_FALL).min(ceiling(config));
        let still = self.suppressed_until(config, now).is_some();
        self.suppressed = still || value > f64::from(config.suppress);
        self.grown = Some((value, now));
    }

    /// When it will have decayed to the limit for reuse; none while it does not suppress.
    pub(crate) fn suppressed_until(&self, config: &DampingConfig, now: Instant) -> Option<Instant> {
        let (value, at) = self.grown.filter(|_| self.suppressed)?;
        let half_lives = (value / f64::from(config.reuse)).log2().max(0.0);
        let until = at + config.half_life.mul_f64(half_lives);
        (until > now).then_some(until)
    }
}

/// RFC 2439 section 4.2: no penalty grows so high that it would take longer than `max_suppress` to decay to `reuse`.
pub(crate) fn ceiling(config: &DampingConfig) -> f64 {
    let half_lives = config.max_suppress.div_duration_f64(config.half_life);
    f64::from(config.reuse) * half_lives.exp2()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{Random, test_clock};

    const MINUTE: Duration = Duration::from_secs(60);
    const CONFIG: DampingConfig = DampingConfig {
        half_life: Duration::from_secs(15 * 60),
        suppress: 2000,
        reuse: 750,
        max_suppress: Duration::from_secs(60 * 60),
    };

    fn after(falls_at: &[Instant]) -> Penalty {
        let mut penalty = Penalty::default();
        falls_at.iter().for_each(|&at| penalty.fall(&CONFIG, at));
        penalty
    }

    #[test]
    fn a_penalty_halves_with_each_half_life() {
        let start = test_clock();
        let penalty = after(&[start]);
        for (half_lives, value) in [(0, 1000.0), (1, 500.0), (2, 250.0), (10, 1000.0 / 1024.0)] {
            let found = penalty.value(&CONFIG, start + CONFIG.half_life * half_lives);
            assert!((found - value).abs() < 1e-9, "{found}");
        }
    }

    #[test]
    fn the_third_fall_in_a_short_time_suppresses_until_the_limit_for_reuse() {
        let start = test_clock();
        let falls = [start, start + MINUTE, start + MINUTE * 2];
        assert_eq!(after(&falls[..2]).suppressed_until(&CONFIG, falls[1]), None);
        let penalty = after(&falls);
        let until = penalty
            .suppressed_until(&CONFIG, falls[2])
            .expect("three falls are too many");
        let left = penalty.value(&CONFIG, until);
        assert!((left - 750.0).abs() < 1e-3, "{left}");
        assert_eq!(penalty.suppressed_until(&CONFIG, until), None);
        let just_before = until - Duration::from_millis(1);
        assert!(penalty.suppressed_until(&CONFIG, just_before).is_some());
    }

    #[test]
    fn the_ceiling_is_max_suppress_away_from_reuse() {
        let start = test_clock();
        let penalty = after(&[start; 100]);
        assert_eq!(penalty.value(&CONFIG, start), 12_000.0);
        assert_eq!(
            penalty.suppressed_until(&CONFIG, start),
            Some(start + CONFIG.max_suppress)
        );
    }

    #[test]
    fn over_random_falls_the_penalty_stays_in_its_bounds_and_suppression_ends() {
        let mut random = Random(3);
        for _ in 0..200 {
            let config = DampingConfig {
                half_life: Duration::from_secs(1 + random.below(3600)),
                suppress: 1001 + random.below(5000) as u32,
                reuse: 1 + random.below(1000) as u32,
                max_suppress: Duration::from_secs(1 + random.below(7200)),
            };
            let mut now = test_clock();
            let mut penalty = Penalty::default();
            let mut suppressed = false;
            for _ in 0..200 {
                now += Duration::from_millis(random.below(600_000));
                let before = penalty.value(&config, now);
                let was = penalty.suppressed_until(&config, now).is_some();
                assert!(suppressed || !was, "only a fall suppresses");
                penalty.fall(&config, now);
                let value = penalty.value(&config, now);
                assert!(value <= before + PENALTY_PER_FALL && value <= ceiling(&config));
                let until = penalty.suppressed_until(&config, now);
                suppressed = until.is_some();
                let above_reuse = value > f64::from(config.reuse);
                assert!(!suppressed || above_reuse, "{value} {config:?}");
                if value > f64::from(config.suppress) {
                    assert!(suppressed, "{value} {config:?}");
                }
                if let Some(until) = until {
                    let grace = Duration::from_micros(1);
                    assert!(until <= now + config.max_suppress + grace);
                    let left = penalty.value(&config, until) / f64::from(config.reuse);
                    assert!((left - 1.0).abs() < 1e-6, "{left}");
                }
            }
        }
    }
}
