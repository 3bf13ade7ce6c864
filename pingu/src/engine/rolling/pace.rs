//! When the next probe is due and when the path is to be looked at: slow while answers come, fast in a suspicion.

use std::time::{Duration, Instant};

use super::{
    Rolling,
    sliding::{Fate, Probe},
};
use crate::{
    config::{HealthConfig, ProbeConfig},
    engine::{
        bursts::LOOK_AGAIN_MAX,
        health::State,
        record::Record,
        wants::{Wants, sooner},
    },
};

impl Rolling {
    /// When this path wants to be looked at again; never while it is blocked and nothing is on its way.
    pub(crate) fn wants(
        &mut self,
        record: &Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
        now: Instant,
    ) -> Wants {
        let mut wants = Wants {
            deadline: self.deadline(record, (probe, health), now),
            ..Wants::default()
        };
        if record.is_blocked() {
            return wants;
        }
        let due = self.due(record, (probe, health), now);
        let waits_until = record.waits_until(probe.timeout, now);
        wants.send = Some(waits_until.map_or(due, |until| until.max(due)));
        if self.is_awaited(record, health) {
            wants.look = Some(now + self.look_again);
            self.look_again = (self.look_again * 2).min(LOOK_AGAIN_MAX);
        }
        wants
    }

    /// When passing time alone may decide something next.
    pub(crate) fn deadline(
        &self,
        record: &Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
        now: Instant,
    ) -> Option<Instant> {
        if record.is_blocked() {
            return self
                .oldest_pending()
                .map(|(sent, _)| (sent + probe.timeout).max(now));
        }
        let due = self.due(record, (probe, health), now);
        // The look rides on the next probe where that is near.
        let slack = probe.mode.rolling().suspect_interval.unwrap_or_default() / 2;
        let suspicion = self.suspicion_at(record, probe, now);
        let suspicion = suspicion.filter(|at| due > *at + slack);
        sooner(self.certain_at(record, (probe, health)), suspicion)
    }

    /// When the next probe is due: at its regular time, or sooner in a suspicion, of which `fall` probes are enough.
    pub(super) fn due(
        &self,
        record: &Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
        now: Instant,
    ) -> Instant {
        if self.extra {
            return self.next_send.min(now);
        }
        // One that answers only so often would lose what is asked faster.
        if self.throttle.is_slowed() {
            return self.next_send;
        }
        let pace = probe.mode.rolling();
        let (Some(suspect_interval), Some(last)) = (pace.suspect_interval, self.last_sent) else {
            return self.next_send;
        };
        let (fall, _) = health.rule.in_a_row();
        let is_enough = self.unanswered_row(fall.into()) >= u32::from(fall);
        if is_enough || !self.is_suspicious(record, probe, now) {
            return self.next_send;
        }
        self.next_send.min(last + suspect_interval)
    }

    /// The path is up, and its last answer is overdue.
    pub(crate) fn is_suspicious(&self, record: &Record, probe: &ProbeConfig, now: Instant) -> bool {
        record.health.state() == State::Up
            && self
                .probes
                .missing_row(1, self.is_overdue(record, probe, now))
                .is_some()
    }

    /// Whether a pending probe counts as missing already: only while the path is up, and with `suspect_interval`.
    pub(super) fn is_overdue(
        &self,
        record: &Record,
        probe: &ProbeConfig,
        now: Instant,
    ) -> impl Fn(&Probe) -> bool + use<> {
        let after = self.missing_after(record, probe);
        move |probe: &Probe| now >= probe.sent + after
    }

    /// How long after its sending a probe counts as missing.
    fn missing_after(&self, record: &Record, probe: &ProbeConfig) -> Duration {
        let hurry = probe.mode.rolling().suspect_interval;
        if hurry.is_some() && record.health.state() == State::Up {
            self.estimate.overdue_after(probe.timeout, hurry)
        } else {
            probe.timeout
        }
    }

    /// How many probes there are since the last answer that may be missing, or are, `most` at most.
    fn unanswered_row(&self, most: u32) -> u32 {
        self.probes
            .missing_row(most, |_| true)
            .map_or(0, |row| row.count)
    }

    /// When passing time alone can take the path down: as soon as as many probes in a row are missing as it takes.
    fn certain_at(
        &self,
        record: &Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
    ) -> Option<Instant> {
        let (fall, _) = health.rule.in_a_row();
        if record.health.state() == State::Down {
            return None;
        }
        let row = || {
            let since_answer = self.probes.newest_first();
            since_answer
                .take_while(|probe| !matches!(probe.fate, Fate::Received { .. }))
                .filter(|probe| !matches!(probe.fate, Fate::NotSent(_) | Fate::NotStamped(_)))
        };
        // The oldest `fall` of them are missing first.
        let decides = row().nth(row().count().checked_sub(usize::from(fall))?)?;
        matches!(decides.fate, Fate::Pending(_))
            .then(|| decides.sent + self.missing_after(record, probe))
    }

    /// When the oldest answer that is awaited is overdue, where that makes probes follow faster.
    fn suspicion_at(&self, record: &Record, probe: &ProbeConfig, now: Instant) -> Option<Instant> {
        probe.mode.rolling().suspect_interval?;
        if record.health.state() != State::Up || self.is_suspicious(record, probe, now) {
            return None;
        }
        let behind_answers = self
            .probes
            .newest_first()
            .take_while(|probe| !matches!(probe.fate, Fate::Received { .. }));
        let oldest = behind_answers
            .filter(|probe| matches!(probe.fate, Fate::Pending(_)))
            .last()?;
        Some(oldest.sent + self.missing_after(record, probe))
    }

    /// Somebody waits for the answer to what is on its way.
    fn is_awaited(&self, record: &Record, health: &HealthConfig) -> bool {
        let pending = self
            .probes
            .newest_first()
            .take_while(|probe| matches!(probe.fate, Fate::Pending(_)))
            .count();
        if pending == 0 {
            return false;
        }
        let (_, rise) = health.rule.in_a_row();
        let answered = self.probes.answered_row(rise.into(), self.answers_from);
        let may_rise = answered.map_or(0, |row| row.count as usize) + pending >= usize::from(rise);
        self.awaited.is_some() || (record.health.state() != State::Up && may_rise)
    }
}
