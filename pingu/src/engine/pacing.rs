//! A target that answers only so many probes at a time: found by its pattern, and asked for fewer, farther apart, until it answers all.
//!
//! A slowed burst takes no longer than a whole one, so a failure is seen as soon; and after one that nothing answered, the next is whole.

use std::time::Duration;

use crate::{
    config::BurstConfig,
    engine::burst::{Burst, Outcome},
};

/// So many bursts in a row must lose their tails alike before fewer probes are tried: chance does that once in a long time.
const ALIKE_MIN: u8 = 3;

/// So many slowed bursts in a row without any loss show that it was the rate.
const CONFIRM: u8 = 3;

/// A burst is never cut below this: one lost probe says nothing.
const COUNT_MIN: u16 = 3;

/// Bursts until the faster pace is tried again; doubled each time that it fails.
const RETRY_AFTER: u16 = 60;

/// So often that is doubled at most: at a burst each five seconds, a try in five hours.
const DOUBLINGS_MAX: u8 = 6;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Whole bursts.
    #[default]
    Whole,
    /// Shorter ones, to see whether they lose nothing.
    Trying,
    /// Shorter ones, which lose nothing.
    Limited,
}

/// How fast a path may be probed, by what its bursts showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pacing {
    phase: Phase,
    /// How often the burst is halved.
    step: u8,
    /// Bursts in a row that showed what the phase looks for.
    alike: u8,
    /// How many probes at the beginning of the last burst were answered.
    head: u16,
    /// Bursts until something else is tried.
    wait: u16,
    doublings: u8,
}

/// How the next burst is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) count: u16,
    pub(crate) spacing: Duration,
}

impl Pacing {
    /// How the next burst is sent: halved so often, over the time of a whole one.
    pub(crate) fn plan(&self, pace: &BurstConfig) -> Plan {
        let count = halved(pace.count, self.step);
        if count == pace.count {
            return Plan {
                count,
                spacing: pace.spacing,
            };
        }
        let span = pace.spacing * u32::from(pace.count - 1);
        Plan {
            count,
            spacing: span / u32::from(count - 1),
        }
    }

    /// So many probes at a time are all answered, and more are not; none if no limit is known.
    pub(crate) fn limit(&self, pace: &BurstConfig) -> Option<u16> {
        (self.phase == Phase::Limited).then(|| self.plan(pace).count)
    }

    /// Takes a burst that is complete.
    pub(crate) fn judge(&mut self, burst: &Burst, pace: &BurstConfig) {
        let report = burst.report();
        if report.answered == 0 {
            // A real failure, or nothing at all: it is looked at with whole bursts, and what was tried says nothing.
            if report.missing() > 0 {
                self.phase = Phase::Whole;
                (self.step, self.alike) = (0, 0);
            }
            return;
        }
        let is_lossy = report.missing() > 0;
        match self.phase {
            Phase::Whole => self.look_for_pattern(&burst.outcomes, pace),
            Phase::Trying if is_lossy => self.slow_down(pace),
            Phase::Trying => {
                self.alike += 1;
                if self.alike >= CONFIRM {
                    self.phase = Phase::Limited;
                    self.alike = 0;
                    self.wait = RETRY_AFTER << self.doublings;
                    self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
                }
            }
            Phase::Limited if is_lossy => {
                self.alike += 1;
                if self.alike >= 2 {
                    self.phase = Phase::Trying;
                    self.slow_down(pace);
                }
            }
            Phase::Limited => {
                self.alike = 0;
                self.wait = self.wait.saturating_sub(1);
                if self.wait == 0 {
                    self.step -= 1;
                    self.phase = if self.step == 0 {
                        Phase::Whole
                    } else {
                        Phase::Trying
                    };
                }
            }
        }
    }

    /// The first ones answered, and of those behind more lost than not: as a bucket of answers that is empty after so many.
    fn look_for_pattern(&mut self, outcomes: &[Outcome], pace: &BurstConfig) {
        self.wait = self.wait.saturating_sub(1);
        let is_answered = |outcome: &Outcome| matches!(outcome, Outcome::Answered(_));
        let head = outcomes.iter().take_while(|o| is_answered(o)).count();
        let tail = &outcomes[head..];
        let lost = tail.iter().filter(|o| !is_answered(o)).count();
        let is_pattern = head > 0 && lost >= 2 && lost * 2 > tail.len();
        let head = u16::try_from(head).unwrap_or(u16::MAX);
        let is_alike = self.alike == 0 || head.abs_diff(self.head) <= 1;
        self.alike = match (is_pattern, is_alike) {
            (true, true) => self.alike + 1,
            (true, false) => 1,
            (false, _) => 0,
        };
        self.head = head;
        if self.alike >= ALIKE_MIN && self.wait == 0 {
            self.phase = Phase::Trying;
            self.slow_down(pace);
        } else {
            self.alike = self.alike.min(ALIKE_MIN);
        }
    }

    /// Halves once more; where that is not possible, it was not the rate.
    fn slow_down(&mut self, pace: &BurstConfig) {
        self.alike = 0;
        if halved(pace.count, self.step + 1) < halved(pace.count, self.step) {
            self.step += 1;
            return;
        }
        *self = Self {
            wait: RETRY_AFTER << self.doublings,
            doublings: (self.doublings + 1).min(DOUBLINGS_MAX),
            ..Self::default()
        };
    }
}

fn halved(count: u16, times: u8) -> u16 {
    (count >> times.min(15)).max(COUNT_MIN.min(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            Random,
            causes::{CauseKind, Causes, Detail},
            test_clock,
        },
        units::SlotId,
    };

    const PACE: BurstConfig = BurstConfig {
        suspect_interval: None,
        period: Duration::from_secs(1),
        count: 10,
        spacing: Duration::from_millis(20),
    };

    /// A burst as the pacing wants it, of which these are answered.
    fn burst(pacing: &Pacing, mut is_answered: impl FnMut(Duration) -> bool) -> Burst {
        let plan = pacing.plan(&PACE);
        let now = test_clock();
        let lost = Causes::default().count(CauseKind::NoReply, Detail::None, 1, now);
        let mut burst = Burst::new(now, 1, plan, PACE.count);
        for number in 0..u32::from(plan.count) {
            let rtt = Duration::from_millis(1);
            burst.outcomes.push(if is_answered(plan.spacing * number) {
                Outcome::Answered(rtt)
            } else {
                Outcome::Lost(SlotId(0), lost)
            });
        }
        burst
    }

    /// A target that answers so many a second, so many at once.
    struct Bucket {
        tokens: f64,
        per_s: f64,
        most: f64,
    }

    impl Bucket {
        fn live(&mut self, pacing: &mut Pacing) -> u32 {
            let mut before = Duration::ZERO;
            let burst = burst(pacing, |at| {
                let grown = (at - before).as_secs_f64() * self.per_s;
                before = at;
                self.tokens = (self.tokens + grown).min(self.most);
                let is_answered = self.tokens >= 1.0;
                self.tokens -= f64::from(u8::from(is_answered));
                is_answered
            });
            let rest = PACE.period - before;
            self.tokens = (self.tokens + rest.as_secs_f64() * self.per_s).min(self.most);
            pacing.judge(&burst, &PACE);
            burst.report().missing()
        }
    }

    #[test]
    fn a_limit_is_found_paced_around_and_tried_again() {
        for per_s in [3.0, 4.0, 5.0] {
            let mut bucket = Bucket {
                tokens: per_s,
                per_s,
                most: per_s,
            };
            let mut pacing = Pacing::default();
            let lost: Vec<u32> = (0..400).map(|_| bucket.live(&mut pacing)).collect();
            assert!(lost[..3].iter().all(|&lost| lost > 3), "{lost:?}");
            assert!(
                lost[12..60].iter().all(|&lost| lost == 0),
                "{per_s}: {lost:?}"
            );
            let lossy = lost[60..].iter().filter(|&&lost| lost > 0).count();
            assert!(
                lossy > 0 && lossy < 24,
                "tried again now and then: {lost:?}"
            );
            assert!(pacing.phase != Phase::Whole || lossy > 0);
        }
    }

    #[test]
    fn a_limit_that_ends_is_forgotten() {
        let mut pacing = Pacing::default();
        let mut bucket = Bucket {
            tokens: 5.0,
            per_s: 5.0,
            most: 5.0,
        };
        for _ in 0..20 {
            bucket.live(&mut pacing);
        }
        assert_eq!(pacing.limit(&PACE), Some(5));
        (bucket.per_s, bucket.most) = (1e6, 1e6);
        for _ in 0..200 {
            bucket.live(&mut pacing);
        }
        assert_eq!(pacing.limit(&PACE), None);
        assert_eq!(pacing.plan(&PACE).count, 10);
    }

    #[test]
    fn a_slowed_burst_takes_no_longer_and_after_total_loss_the_next_is_whole() {
        let mut pacing = Pacing::default();
        let mut bucket = Bucket {
            tokens: 3.0,
            per_s: 3.0,
            most: 3.0,
        };
        for _ in 0..50 {
            let plan = pacing.plan(&PACE);
            assert!(plan.count >= COUNT_MIN);
            let takes = plan.spacing * u32::from(plan.count - 1);
            assert!(takes <= PACE.spacing * u32::from(PACE.count - 1));
            bucket.live(&mut pacing);
        }
        assert!(pacing.limit(&PACE).is_some());
        let silent = burst(&pacing, |_| false);
        pacing.judge(&silent, &PACE);
        assert_eq!(pacing.plan(&PACE).count, PACE.count);
    }

    #[test]
    fn random_losses_are_hardly_ever_taken_for_a_limit() {
        for percent in [1, 5, 10, 30, 50] {
            let mut random = Random(percent);
            let (mut pacing, mut limited) = (Pacing::default(), 0);
            for _ in 0..20_000 {
                let burst = burst(&pacing, |_| random.below(100) >= percent);
                pacing.judge(&burst, &PACE);
                limited += u32::from(pacing.phase == Phase::Limited);
            }
            assert!(limited < 200, "{percent} %: {limited} bursts");
        }
    }

    #[test]
    fn short_bursts_are_never_shortened() {
        for count in 1..=3 {
            let pace = BurstConfig { count, ..PACE };
            for step in 0..9 {
                let pacing = Pacing {
                    step,
                    ..Pacing::default()
                };
                assert_eq!(pacing.plan(&pace).count, count);
            }
        }
    }
}
