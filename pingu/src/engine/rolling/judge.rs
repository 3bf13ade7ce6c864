//! What the probes of a path say, whenever one of them is settled: misses in a row, and loss, delay and jitter over the window.

use std::time::Instant;

use super::{
    Rolling,
    sliding::{Fate, Row},
};
use crate::{
    config::{HealthConfig, Limits, ProbeConfig, Rule},
    engine::{
        burst::Report,
        evidence::{Basis, Judged},
        health::{State, Verdict},
        record::Record,
    },
};

/// A verdict here is reached by as many probes as it takes: it decides at once.
const AT_ONCE: Rule = Rule::InARow { fall: 1, rise: 1 };

/// So many of the newest probes are searched for the cause of a row of misses, of which few are ever longer.
const ROW_LOOKED_AT: usize = 16;

/// So many for that of a window's losses: enough for every window that is not of milliseconds.
const WINDOW_LOOKED_AT: usize = 1000;

impl Rolling {
    /// Judges the path as of this look.
    pub(super) fn judge(
        &mut self,
        record: &mut Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
        now: Instant,
    ) {
        if record.is_blocked() {
            return;
        }
        let before = record.health.state();
        let was_up = before == State::Up;
        let (fall, rise) = health.rule.in_a_row();
        let (fall, rise) = (u32::from(fall), u32::from(rise));
        let missing = self
            .probes
            .missing_row(fall, self.is_overdue(record, probe, now));
        let answered = self.probes.answered_row(rise, self.answers_from);
        let causes = |probes: usize| {
            let newest = self.probes.newest_first().take(probes);
            let ids = newest.filter_map(|probe| match probe.fate {
                Fate::Lost(id) | Fate::NotStamped(id) => Some(id),
                _ => None,
            });
            record.causes.commonest(ids)
        };
        let judged = |basis, verdict, report: Report, started| Judged {
            of: report.answered + report.missing(),
            cause: match (verdict, basis) {
                (Verdict::Good, _) => None,
                (_, Basis::Row | Basis::Burst) => causes(ROW_LOOKED_AT),
                (_, Basis::Window) => causes(WINDOW_LOOKED_AT),
            },
            basis,
            verdict,
            report,
            was_up,
            started,
        };
        let window = self.probes.report();
        let found = if let Some(row) = missing.filter(|row| row.count >= fall) {
            // The target lived no longer than until its first answer was overdue.
            let hurry = probe.mode.rolling().suspect_interval;
            let began = row.oldest + self.estimate.overdue_after(probe.timeout, hurry);
            let judged = judged(Basis::Row, Verdict::Bad, report_of(&row), row.newest);
            Some((judged, began))
        } else if self.not_sent_in_a_row >= fall {
            let report = Report {
                not_sent: self.not_sent_in_a_row,
                errno: window.errno,
                ..Report::default()
            };
            Some((judged(Basis::Row, Verdict::Blind, report, now), now))
        } else {
            let newest = answered.or(missing).map(|row| row.newest);
            let verdict = self.of_window(&window, health.limits(was_up), (fall, rise), answered);
            let verdict = verdict.filter(|verdict| match verdict {
                Verdict::Good => was_up || answered.is_some_and(|row| row.count >= rise),
                Verdict::Bad | Verdict::Blind => true,
            });
            newest
                .zip(verdict)
                .map(|(newest, verdict)| (judged(Basis::Window, verdict, window, newest), newest))
        };
        let Some((judged, began)) = found else {
            return;
        };
        record.judged = Some(judged);
        record.evidence.note(judged.verdict, judged.started, began);
        record.health.judge(judged.verdict, &AT_ONCE, now);
        match (before, record.health.state()) {
            (State::Up, State::Up) | (State::Down, State::Down) => {}
            (State::Down | State::Unknown, State::Up) => self.missed_since_rise = 0,
            (State::Up | State::Unknown, State::Down) => {
                let row = missing.filter(|_| judged.basis == Basis::Row);
                self.answers_from = row.map_or(self.probes.end(), |row| row.first);
            }
            (_, State::Unknown) => {}
        }
        if self.awaited.is_some_and(|began| judged.started > began) {
            self.awaited = None;
        }
    }

    /// What the window says, if anything: nothing before `rise` answers, and nothing bad for its losses before `fall` of them, all since
    /// the path came up. It is good only with an answer at its end.
    fn of_window(
        &self,
        report: &Report,
        limits: &Limits,
        (fall, rise): (u32, u32),
        answered: Option<Row>,
    ) -> Option<Verdict> {
        if report.answered < rise {
            return None;
        }
        let settled = report.answered + report.missing();
        let is_lossy = report.missing() > limits.loss.of(settled);
        if is_lossy && self.missed_since_rise.min(report.missing()) >= fall {
            return Some(Verdict::Bad);
        }
        if report.rtt_mean >= limits.max_delay || report.is_unsteady(limits) {
            return Some(Verdict::Bad);
        }
        (!is_lossy && answered.is_some()).then_some(Verdict::Good)
    }
}

fn report_of(row: &Row) -> Report {
    Report {
        lost: row.count - row.no_neighbour,
        no_neighbour: row.no_neighbour,
        ..Report::default()
    }
}
