//! A target that answers only so often: found by its pattern, and asked less often, until it answers everything.
//!
//! While it is asked less often, a failure is seen later, and a return too. A shorter interval is tried now and then, and given up at the
//! first loss.

use std::time::Duration;

use crate::config::RollingConfig;

/// What is looked at together holds so many probes at least.
const BLOCK: u32 = 20;

/// And so many answers, so that they tell a rate.
const BLOCK_ANSWERS: u32 = 4;

/// A block that has fewer answers among so many tells nothing.
const BLOCK_MAX: u32 = 1000;

/// So many blocks in a row must be answered at the same rate before less is asked.
const ALIKE_MIN: u8 = 3;

/// A bucket that fills steadily answers steadily: the losses between two answers differ by so many at most, where chance has no rule.
const UNEVEN_MAX: u32 = 1;

/// How far the rates of two of these may be apart.
const ALIKE_WITHIN: f64 = 0.3;

/// At a longer interval so many are looked at together: a bucket that is full hides for a while that it is emptied too fast.
const LONG_BLOCK: u32 = 3 * BLOCK;

/// Of these, so many lost say that the interval is still too short.
const LONG_BLOCK_LOSSY: u32 = 4;

/// Less than one in so many lost is not looked into.
const LOSSY_ONE_IN: u32 = 4;

/// What is asked of the rate that was seen.
const MARGIN: f64 = 1.25;

/// So often the interval is doubled while losses go on; after that it was not the rate.
const ATTEMPTS_MAX: u8 = 3;

/// Blocks until a shorter interval is tried; doubled each time that it fails.
const RETRY_AFTER: u16 = 3;

/// So often that is doubled at most.
const DOUBLINGS_MAX: u8 = 8;

/// No target is asked less often than this, unless its regular interval is longer.
const SLOWEST: Duration = Duration::from_secs(2);

/// The window holds at least so many probes.
const WINDOW_PROBES_MIN: u32 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The regular interval.
    #[default]
    Regular,
    /// A longer one, to see whether all is answered.
    Trying,
    /// A longer one, and all is answered.
    Limited,
    /// A shorter one than the limit, so many times longer than the regular one, to see whether all is answered by now.
    Retrying(u32),
}

/// How often a path may be probed, by what it answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Throttle {
    phase: Phase,
    /// The interval is so many regular ones longer.
    longer_by: u32,
    /// Probes before this number were sent at another pace.
    since: u64,
    settled: u32,
    answered: u32,
    /// Losses since the last answer, and those that lay between two answers: an outage's are not counted twice.
    losses_in_a_row: u32,
    losses_between: u32,
    /// The fewest and the most losses between two answers; none before two.
    gaps: Option<(u32, u32)>,
    /// Probes for each answer in the block before, and how many blocks were like it.
    probes_an_answer: f64,
    alike: u8,
    attempts: u8,
    /// Blocks until something else is tried.
    wait: u16,
    doublings: u8,
}

impl Throttle {
    /// From one probe to the next.
    pub(super) fn interval(&self, pace: &RollingConfig) -> Duration {
        pace.interval * (1 + self.longer_by)
    }

    /// It is not the regular one.
    pub(super) fn is_slowed(&self) -> bool {
        self.longer_by > 0
    }

    /// The interval at which all is answered; none if no limit is known.
    pub(super) fn limit(&self, pace: &RollingConfig) -> Option<Duration> {
        (self.phase == Phase::Limited).then(|| self.interval(pace))
    }

    /// Takes what became of a probe; `next` is the number of the next one. Whether the interval is another from here on.
    pub(super) fn note(
        &mut self,
        (number, next): (u64, u64),
        is_answered: bool,
        pace: &RollingConfig,
    ) -> bool {
        if number < self.since {
            return false;
        }
        let before = self.longer_by;
        self.settled += 1;
        if is_answered {
            let gap = std::mem::take(&mut self.losses_in_a_row);
            if self.answered > 0 {
                self.losses_between += gap;
                let (least, most) = self.gaps.unwrap_or((gap, gap));
                self.gaps = Some((least.min(gap), most.max(gap)));
            }
            self.answered += 1;
        } else {
            self.losses_in_a_row += 1;
        }
        let (is_whole, is_long) = (self.settled >= BLOCK, self.settled >= LONG_BLOCK);
        match self.phase {
            Phase::Regular => self.look_for_pattern(next, pace),
            Phase::Trying if !is_answered => self.slow_down(next, pace),
            Phase::Trying if is_whole => {
                self.phase = Phase::Limited;
                self.wait_longer();
                self.begin_block(next);
            }
            Phase::Limited if is_long => self.look_at_limited(next, pace),
            Phase::Retrying(longer_by) if !is_answered => {
                self.phase = Phase::Limited;
                self.longer_by = longer_by;
                self.wait_longer();
                self.begin_block(next);
            }
            Phase::Retrying(_) if is_long => {
                self.phase = match self.longer_by {
                    0 => Phase::Regular,
                    _ => Phase::Limited,
                };
                (self.alike, self.doublings, self.wait) = (0, 0, RETRY_AFTER);
                self.begin_block(next);
            }
            Phase::Trying | Phase::Limited | Phase::Retrying(_) => {}
        }
        self.longer_by != before
    }

    /// At the end of a block. One that nothing answers from some time on is a failure, and no sign of a rate.
    fn look_at_limited(&mut self, next: u64, pace: &RollingConfig) {
        let is_lossy = self.losses_between >= LONG_BLOCK_LOSSY && self.answered >= BLOCK_ANSWERS;
        self.begin_block(self.since);
        self.wait = self.wait.saturating_sub(1);
        if is_lossy {
            self.phase = Phase::Trying;
            self.attempts = 0;
            self.slow_down(next, pace);
        } else if self.wait == 0 {
            self.phase = Phase::Retrying(self.longer_by);
            self.longer_by /= 2;
            self.begin_block(next);
        }
    }

    /// Answers at a steady rate, and much that is lost: as a bucket of answers that fills so fast.
    fn look_for_pattern(&mut self, next: u64, pace: &RollingConfig) {
        let lost = self.settled - self.answered;
        if self.settled >= BLOCK_MAX {
            self.alike = 0;
            self.begin_block(self.since);
            return;
        }
        if self.settled < BLOCK || self.answered < BLOCK_ANSWERS {
            return;
        }
        let probes_an_answer = f64::from(self.settled) / f64::from(self.answered);
        let is_lossy = lost * LOSSY_ONE_IN >= self.settled;
        let is_even = self
            .gaps
            .is_some_and(|(least, most)| most - least <= UNEVEN_MAX);
        let off = (probes_an_answer - self.probes_an_answer).abs();
        let is_alike = self.alike == 0 || off <= ALIKE_WITHIN * self.probes_an_answer;
        self.alike = match (is_lossy && is_even, is_alike) {
            (true, true) => self.alike.saturating_add(1),
            (true, false) => 1,
            (false, _) => 0,
        };
        self.probes_an_answer = probes_an_answer;
        self.begin_block(self.since);
        self.wait = self.wait.saturating_sub(1);
        if self.alike >= ALIKE_MIN && self.wait == 0 {
            let times = (probes_an_answer * MARGIN).ceil();
            self.phase = Phase::Trying;
            self.attempts = 0;
            self.set(times as u32, next, pace);
        }
    }

    /// Twice as slow; where that has been tried enough, it was not the rate.
    fn slow_down(&mut self, next: u64, pace: &RollingConfig) {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_MAX {
            self.be_regular(next);
            self.wait_longer();
            return;
        }
        self.set((1 + self.longer_by) * 2, next, pace);
    }

    /// The interval is so many regular ones from here on.
    fn set(&mut self, times: u32, next: u64, pace: &RollingConfig) {
        let slowest = SLOWEST.min(pace.window / WINDOW_PROBES_MIN);
        let most = slowest.as_nanos() / pace.interval.as_nanos().max(1);
        let times = times.min(u32::try_from(most).unwrap_or(u32::MAX));
        if times <= 1 + self.longer_by {
            // There is no slower.
            self.be_regular(next);
            self.wait_longer();
            return;
        }
        self.longer_by = times - 1;
        self.begin_block(next);
    }

    fn be_regular(&mut self, next: u64) {
        self.phase = Phase::Regular;
        self.longer_by = 0;
        self.alike = 0;
        self.begin_block(next);
    }

    fn begin_block(&mut self, next: u64) {
        self.since = next;
        (self.settled, self.answered) = (0, 0);
        (self.losses_in_a_row, self.losses_between) = (0, 0);
        self.gaps = None;
    }

    fn wait_longer(&mut self) {
        self.wait = RETRY_AFTER << self.doublings;
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
    }
}
