//! Bursts that follow one that failed sooner than others, until the path is down or one of them is good.

use crate::{
    config::{HealthConfig, ProbeConfig},
    engine::{bursts::Bursts, record::Record},
};

/// So many bursts may be on their way at a time when another one begins for a suspicion: as few verdicts as anybody waits for, and each
/// takes slots.
const ON_THEIR_WAY_MAX: u32 = 4;

/// How many bursts more may be on their way for suspicions.
pub(super) fn bursts(probe: &ProbeConfig) -> u32 {
    let suspects = probe.mode.burst().suspect_interval.is_some();
    if suspects { ON_THEIR_WAY_MAX } else { 0 }
}

impl Bursts {
    /// Has the next burst begin sooner where the last one that was judged failed, unless those on their way are enough to take the path
    /// down.
    pub(super) fn suspect(
        &mut self,
        record: &Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
    ) {
        let pace = probe.mode.burst();
        let (Some(interval), Some(last)) = (pace.suspect_interval, self.last_burst) else {
            return;
        };
        let Some(wanted) = record.health.suspected(&health.rule) else {
            return;
        };
        let undecided = self.bursts.iter().filter(|burst| !burst.decided).count();
        if undecided < usize::from(wanted) && self.bursts.len() < ON_THEIR_WAY_MAX as usize {
            // One is sent at a time.
            let soonest = last + interval.max(pace.sending());
            self.next_burst = self.next_burst.min(soonest);
        }
    }
}
