//! One burst: what became of each of its probes, and what they say together.

use std::time::{Duration, Instant};

use crate::{
    config::Limits,
    engine::{
        causes::{self, CauseId, CauseKind, Causes, Detail},
        health::Verdict,
        pacing::Plan,
    },
    probe::ProbeTransport,
    units::SlotId,
};

/// Added to a probe's deadline: the request passes the egress hook a little after user space has handed it over.
pub(crate) const DEADLINE_GRACE: Duration = Duration::from_millis(1);

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// On its way; judged by its slot's stamps, at the deadline at the latest.
    Pending {
        /// Where its stamps are.
        slot: SlotId,
        /// When it counts as lost.
        deadline: Instant,
    },
    /// Answered in time.
    Answered(Duration),
    /// Not answered by its deadline, and why.
    Lost(SlotId, CauseId),
    /// Answered, but after the timeout.
    Late(CauseId),
    /// The kernel refused it, with the errno.
    NotSent(i32),
    /// Handed over, but it never passed the egress hook.
    NotStamped(CauseId),
    /// The next hop has no link-layer address.
    NoNeighbour,
}

/// How many probes of a burst ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) answered: u32,
    pub(crate) lost: u32,
    pub(crate) late: u32,
    pub(crate) no_neighbour: u32,
    pub(crate) not_sent: u32,
    pub(crate) pending: u32,
    pub(crate) rtt_mean: Duration,
    /// The mean absolute difference of consecutive RTTs (RFC 3550's D, not smoothed), by order of sending; none before the second
    /// answer.
    pub(crate) jitter: Option<Duration>,
    /// The last errno of a probe that was not sent; none if it vanished before the egress hook.
    pub(crate) errno: Option<i32>,
}

impl Report {
    /// Probes that should have been answered in time and were not, for reasons beyond this machine.
    pub(crate) fn missing(&self) -> u32 {
        self.lost + self.late + self.no_neighbour
    }

    /// The jitter is judged, known and not below its limit.
    pub(crate) fn is_unsteady(&self, limits: &Limits) -> bool {
        matches!((self.jitter, limits.max_jitter), (Some(jitter), Some(most)) if jitter >= most)
    }
}

/// A burst being sent, awaited and judged.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    pub(crate) started: Instant,
    pub(crate) ident: u16,
    /// How many probes it is to have.
    count: u16,
    /// How many a whole one has: limits are for that.
    whole: u16,
    spacing: Duration,
    pub(crate) outcomes: Vec<Outcome>,
    /// Its verdict has been given, or is not wanted any more.
    pub(crate) decided: bool,
    /// Nothing is concluded from it.
    pub(crate) abandoned: bool,
}

impl Burst {
    pub(crate) fn new(started: Instant, ident: u16, plan: Plan, whole: u16) -> Self {
        Self {
            started,
            ident,
            count: plan.count,
            whole,
            spacing: plan.spacing,
            outcomes: Vec::with_capacity(usize::from(plan.count)),
            decided: false,
            abandoned: false,
        }
    }

    /// When the next probe is due; none once all have been handed over.
    pub(crate) fn next_send(&self) -> Option<Instant> {
        let sent = self.outcomes.len() as u32;
        (sent < u32::from(self.count)).then(|| self.started + self.spacing * sent)
    }

    /// How many of its probes are due and not handed over yet.
    pub(crate) fn due(&self, now: Instant) -> u32 {
        let sent = self.outcomes.len() as u32;
        // A u64 of nanoseconds lasts for 584 years, and is divided in hardware.
        let nanos = |time: Duration| time.as_nanos() as u64;
        let passed =
            nanos(now.saturating_duration_since(self.started)) / nanos(self.spacing).max(1);
        let due = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1);
        due.min(self.count.into()).saturating_sub(sent)
    }

    /// Sends no more: what is on its way is still awaited, but nothing is concluded from it.
    pub(crate) fn abandon(&mut self) {
        self.count = self.outcomes.len() as u16;
        self.decided = true;
        self.abandoned = true;
    }

    /// Reads the pending probes' stamps. Returns the round-trip times of those answered since the last look, as their replies came.
    pub(crate) fn collect(
        &mut self,
        causes: &mut Causes,
        timeout: Duration,
        now: Instant,
        transport: &impl ProbeTransport,
    ) -> Vec<Duration> {
        let mut answered = Vec::new();
        for outcome in &mut self.outcomes {
            let Outcome::Pending { slot, deadline } = *outcome else {
                continue;
            };
            let stamps = transport.read(slot);
            if let Some(rtt) = stamps.rtt() {
                causes.take_dropped(slot);
                *outcome = if rtt > timeout {
                    Outcome::Late(causes.count(CauseKind::Late, Detail::None, 1, now))
                } else {
                    answered.push((stamps.received_ns, rtt));
                    Outcome::Answered(rtt)
                };
                continue;
            }
            let remarks = transport.remarks(slot);
            // Who quotes the probe's cookie knows that it was not delivered: there is nothing to wait for.
            let is_refused = remarks.error.as_ref().is_some_and(causes::is_final);
            *outcome = match stamps.sent_ns {
                _ if now < deadline && !is_refused => continue,
                None => Outcome::NotStamped(causes.vanish(&remarks, now)),
                Some(_) => Outcome::Lost(slot, causes.lose(slot, &remarks, now)),
            };
        }
        answered.sort_by_key(|(received_ns, _)| *received_ns);
        answered.into_iter().map(|(_, rtt)| rtt).collect()
    }

    /// The commonest cause of what was not answered, and how often it is.
    pub(crate) fn main_cause(&self, causes: &Causes) -> Option<(CauseId, u32)> {
        let ids = self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Lost(_, id) | Outcome::Late(id) | Outcome::NotStamped(id) => Some(*id),
            Outcome::Pending { .. }
            | Outcome::Answered(_)
            | Outcome::NotSent(_)
            | Outcome::NoNeighbour => None,
        });
        causes.commonest(ids)
    }

    /// The count so far.
    pub(crate) fn report(&self) -> Report {
        let mut report = Report::default();
        let mut rtt_sum = Duration::ZERO;
        let mut rtt_before = None;
        let mut jitter_sum = Duration::ZERO;
        for outcome in &self.outcomes {
            match *outcome {
                Outcome::Pending { .. } => report.pending += 1,
                Outcome::Answered(rtt) => {
                    report.answered += 1;
                    rtt_sum += rtt;
                    if let Some(before) = rtt_before.replace(rtt) {
                        jitter_sum += rtt.abs_diff(before);
                    }
                }
                Outcome::Lost(..) => report.lost += 1,
                Outcome::Late(_) => report.late += 1,
                Outcome::NoNeighbour => report.no_neighbour += 1,
                Outcome::NotStamped(_) => report.not_sent += 1,
                Outcome::NotSent(errno) => {
                    report.not_sent += 1;
                    report.errno = Some(errno);
                }
            }
        }
        report.rtt_mean = rtt_sum / report.answered.max(1);
        report.jitter = (report.answered > 1).then(|| jitter_sum / (report.answered - 1));
        report
    }

    /// When its losses began: with the first probe of those after the last answer, else with the first that was lost.
    pub(crate) fn failure_began(&self) -> Instant {
        let is_answered = |outcome: &Outcome| matches!(outcome, Outcome::Answered(_));
        let behind_answers = self
            .outcomes
            .iter()
            .rposition(is_answered)
            .map_or(0, |n| n + 1);
        let first = if behind_answers < self.outcomes.len() {
            behind_answers
        } else {
            let lost = self
                .outcomes
                .iter()
                .position(|outcome| !is_answered(outcome));
            lost.unwrap_or(0)
        };
        self.started + self.spacing * first as u32
    }

    /// All sent, none pending.
    pub(crate) fn complete(&self) -> bool {
        self.outcomes.len() == usize::from(self.count)
            && !self
                .outcomes
                .iter()
                .any(|outcome| matches!(outcome, Outcome::Pending { .. }))
    }

    /// The verdict, as soon as nothing that is still pending can change it.
    pub(crate) fn verdict(&self, limits: &Limits) -> Option<Verdict> {
        let report = self.report();
        if report.missing() > self.max_lost(limits) {
            return Some(Verdict::Bad);
        }
        if !self.complete() {
            return None;
        }
        Some(match report.answered {
            0 if report.missing() == 0 => Verdict::Blind,
            0 => Verdict::Bad,
            _ if report.rtt_mean >= limits.max_delay => Verdict::Bad,
            _ if report.is_unsteady(limits) => Verdict::Bad,
            _ => Verdict::Good,
        })
    }

    /// How many probes it is to have.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// How many of its probes may be lost.
    fn max_lost(&self, limits: &Limits) -> u32 {
        let of_whole = limits.loss.of(self.whole.into());
        match self.count {
            count if count >= self.whole => of_whole,
            count => of_whole * u32::from(count) / u32::from(self.whole.max(1)),
        }
    }

    /// The earliest instant at which passing time alone can decide the verdict: when so many pending probes have met
    /// their deadline that the limit is exceeded, or the last one's deadline.
    pub(crate) fn next_deadline(&self, limits: &Limits) -> Option<Instant> {
        let until_bad = (self.max_lost(limits) + 1)
            .saturating_sub(self.report().missing())
            .max(1);
        let mut last = None;
        let mut pending = 0;
        for outcome in &self.outcomes {
            if let Outcome::Pending { deadline, .. } = outcome {
                pending += 1;
                last = Some(*deadline);
                if pending == until_bad && !self.decided {
                    break;
                }
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LossLimit,
        probe::{ProbeOrder, SendResult, Stamps},
    };

    /// Of each slot's probe when it left and when its reply came, in milliseconds.
    struct Replied(&'static [(u64, u64)]);

    impl ProbeTransport for Replied {
        fn send(&mut self, _: &[ProbeOrder], _: &mut Vec<SendResult>) {}

        fn read(&self, slot: SlotId) -> Stamps {
            let (sent_ms, received_ms) = self.0[slot.0 as usize];
            Stamps {
                sent_ns: Some(sent_ms * 1_000_000),
                received_ns: Some(received_ms * 1_000_000),
            }
        }
    }

    #[test]
    fn answers_are_told_as_they_came() {
        let mut burst = burst(3, &[]);
        let deadline = burst.started + Duration::from_secs(1);
        let pending = |slot| Outcome::Pending {
            slot: SlotId(slot),
            deadline,
        };
        burst.outcomes.extend((0..3).map(pending));
        let replied = Replied(&[(0, 90), (20, 22), (40, 60)]);
        let timeout = Duration::from_secs(1);
        let (causes, now) = (&mut Causes::default(), burst.started);
        let rtts = burst.collect(causes, timeout, now, &replied);
        assert_eq!(rtts, [2, 20, 90].map(Duration::from_millis));
    }

    const LIMITS: Limits = Limits {
        loss: LossLimit::Probes(2),
        max_delay: Duration::from_millis(100),
        max_jitter: Some(Duration::from_millis(10)),
    };

    /// A burst of so many probes of which the first were answered after so many milliseconds, or lost where there is none.
    fn burst(count: u16, rtts_ms: &[Option<u64>]) -> Burst {
        let plan = Plan {
            count,
            spacing: Duration::from_millis(20),
        };
        let mut burst = Burst::new(crate::engine::test_clock(), 1, plan, count);

        let mut causes = Causes::default();
        let lost = causes.count(CauseKind::NoReply, Detail::None, 1, burst.started);
        for rtt_ms in rtts_ms {
            burst.outcomes.push(match rtt_ms {
                Some(ms) => Outcome::Answered(Duration::from_millis(*ms)),
                None => Outcome::Lost(SlotId(0), lost),
            });
        }
        burst
    }

    #[test]
    fn the_jitter_of_a_burst_is_the_mean_step_from_answer_to_answer() {
        for (rtts_ms, jitter_ms) in [
            (&[Some(10)][..], None),
            (&[Some(10), None], None),
            (&[Some(10), Some(30)], Some(20)),
            (&[Some(10), None, Some(30), Some(20)], Some(15)),
            (&[Some(30), Some(30), Some(30)], Some(0)),
        ] {
            let report = burst(rtts_ms.len() as u16, rtts_ms).report();
            assert_eq!(
                report.jitter,
                jitter_ms.map(Duration::from_millis),
                "{rtts_ms:?}"
            );
        }
    }

    #[test]
    fn a_burst_is_bad_by_its_losses_its_delay_or_its_jitter() {
        use Verdict::{Bad, Good};
        let judged =
            |rtts_ms: &[Option<u64>]| burst(rtts_ms.len() as u16, rtts_ms).verdict(&LIMITS);
        assert_eq!(judged(&[Some(20), Some(29), None, None]), Some(Good));
        assert_eq!(judged(&[Some(20), None, None, None]), Some(Bad));
        assert_eq!(judged(&[Some(20), Some(30)]), Some(Bad));
        assert_eq!(judged(&[Some(99), Some(101)]), Some(Bad));
        assert_eq!(judged(&[Some(99)]), Some(Good), "one answer has no jitter");
    }

    #[test]
    fn nothing_but_losses_beyond_the_limit_is_said_before_the_last_probe() {
        assert_eq!(
            burst(6, &[Some(900), Some(1), None, None]).verdict(&LIMITS),
            None
        );
        assert_eq!(
            burst(6, &[None, None, None]).verdict(&LIMITS),
            Some(Verdict::Bad)
        );
    }
}
