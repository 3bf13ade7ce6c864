//! What is due and left out: for traffic that proves life, or for a budget.

use std::time::{Duration, Instant};

use crate::{
    config::{HealthConfig, ProbeConfig},
    engine::{
        CauseKind,
        health::State,
        path::{Course, Path},
    },
};

impl Path {
    /// When it was last probed, if something regular is due that may be left out; what somebody waits for may not.
    pub(crate) fn may_leave_out(&self, now: Instant) -> Option<Instant> {
        match &self.course {
            _ if self.record.is_blocked() => None,
            Course::Bursts(bursts) => bursts.may_leave_out(now),
            Course::Rolling(rolling) => rolling.may_leave_out(self.record.health.state(), now),
        }
    }

    /// Leaves out what is due.
    pub(crate) fn leave_out(&mut self, period: Duration, now: Instant) {
        self.record.skipped += 1;
        match &mut self.course {
            Course::Bursts(bursts) => bursts.leave_out(period, now),
            Course::Rolling(rolling) => rolling.leave_out(period, now),
        }
    }

    /// What was judged last is not what the path counts for yet: the next verdict may change its state.
    pub(crate) fn is_undecided(&self) -> bool {
        match self.record.health.state() {
            State::Up => self.record.evidence.is_bad(),
            State::Down => self.record.evidence.is_good(),
            State::Unknown => true,
        }
    }

    /// What it was last asked was not answered.
    pub(crate) fn misses(&self) -> bool {
        let missed = match &self.course {
            Course::Bursts(_) => false,
            Course::Rolling(rolling) => rolling.misses(),
        };
        missed || self.record.evidence.is_bad()
    }

    /// It is up, and an answer is missing that should have come: the next ones may take it down.
    pub(crate) fn is_in_doubt(&self, probe: &ProbeConfig, now: Instant) -> bool {
        self.record.health.state() == State::Up
            && match &self.course {
                Course::Bursts(bursts) => self.record.evidence.is_bad() || bursts.misses(),
                Course::Rolling(rolling) => rolling.is_suspicious(&self.record, probe, now),
            }
    }

    /// It is in doubt, and what passing time decides next may take it down.
    pub(crate) fn may_fall(
        &self,
        (probe, health): (&ProbeConfig, &HealthConfig),
        now: Instant,
    ) -> bool {
        self.is_in_doubt(probe, now)
            && match &self.course {
                Course::Bursts(_) => self.record.health.may_fall(&health.rule),
                // Its only deadline is that at which enough probes in a row are missing.
                Course::Rolling(_) => true,
            }
    }

    /// When it was last probed.
    pub(crate) fn last_probed(&self) -> Option<Instant> {
        match &self.course {
            Course::Bursts(bursts) => bursts.last_began(),
            Course::Rolling(rolling) => rolling.last_sent(),
        }
    }

    /// Probes that left, and replies to them, useless ones included.
    pub(crate) fn packets(&self) -> u64 {
        let record = &self.record;
        let tally = &record.tally;
        let counted = |wanted: &[CauseKind]| -> u64 {
            let causes = record.causes.list().iter();
            causes
                .filter(|cause| wanted.contains(&cause.kind))
                .map(|cause| cause.count)
                .sum()
        };
        let left = tally.sent - tally.not_sent - counted(&[CauseKind::DroppedLocally]);
        left + tally.answered + tally.late + counted(&[CauseKind::Duplicate, CauseKind::Corrupt])
    }
}
