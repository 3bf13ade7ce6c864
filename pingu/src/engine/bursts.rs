//! Probing in bursts: when the next one is due, those on their way, and what each says of its path.

mod left_out;
mod suspicion;

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    config::{HealthConfig, ProbeConfig},
    engine::{
        burst::{Burst, DEADLINE_GRACE, Outcome},
        causes::{CauseId, CauseKind, Detail},
        evidence::{Basis, Judged},
        health::State,
        pacing::Pacing,
        phase::Phase,
        record::{Record, Shape},
        wants::{Wants, sooner},
    },
    probe::{ProbeOrder, ProbeTransport, SendResult},
    units::SlotId,
};

/// The shortest wait between two looks at a burst whose outcome somebody waits for; doubled at each look.
pub(crate) const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);

/// The longest such wait: one more wake-up a second costs nothing.
pub(crate) const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// A path's bursts.
#[derive(Debug)]
pub(crate) struct Bursts {
    phase: Phase,
    next_burst: Instant,
    /// When the last one began.
    last_burst: Option<Instant>,
    /// A burst beside the regular ones, when it is due.
    extra_burst: Option<Instant>,
    /// When the last of those was due.
    extra_before: Option<Instant>,
    /// Another path's failure waits for this one's verdict: it is looked for before the deadline.
    awaited: bool,
    bursts: VecDeque<Burst>,
    /// Slots of lost probes and why, oldest first, until they are armed again: a reply seen there was late.
    lost: VecDeque<(SlotId, CauseId)>,
    look_again: Duration,
    /// How fast the target may be asked.
    pacing: Pacing,
}

/// How many slots a path needs: its bursts in flight, one being sent, and as many again for replies that come late.
pub(crate) fn slots_needed(probe: &ProbeConfig) -> u32 {
    let flight = probe.mode.burst().spacing * u32::from(probe.mode.burst().count)
        + probe.timeout
        + DEADLINE_GRACE;
    let bursts_in_flight = flight
        .as_nanos()
        .div_ceil(probe.mode.burst().period.as_nanos().max(1)) as u32;
    u32::from(probe.mode.burst().count) * (bursts_in_flight + suspicion::bursts(probe) + 2)
}

impl Bursts {
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            phase,
            next_burst: phase.0,
            last_burst: None,
            extra_burst: None,
            extra_before: None,
            awaited: false,
            bursts: VecDeque::new(),
            lost: VecDeque::new(),
            look_again: LOOK_AGAIN_MIN,
            pacing: Pacing::default(),
        }
    }

    /// So many probes at a time are all that the target answers; none if no limit is known.
    pub(crate) fn rate_limit(&self, probe: &ProbeConfig) -> Option<u16> {
        self.pacing.limit(probe.mode.burst())
    }

    /// There is no way out any more: what is on its way says nothing.
    pub(crate) fn block(&mut self) {
        self.extra_burst = None;
        self.awaited = false;
        self.bursts.iter_mut().for_each(Burst::abandon);
    }

    /// There is a way out again: a burst is due then.
    pub(crate) fn start_over(&mut self, first_burst: Instant) {
        self.next_burst = first_burst;
    }

    /// A burst is due then, if not before.
    pub(crate) fn begin_by(&mut self, first: Instant) {
        self.next_burst = self.next_burst.min(first);
    }

    /// Sees to it that a burst begins as soon as may be, unless one that began after `began` is on its way already or follows soon.
    /// Returns when to look.
    pub(crate) fn probe_since(
        &mut self,
        began: Instant,
        probe: &ProbeConfig,
        now: Instant,
    ) -> Option<Instant> {
        let was_awaited = std::mem::replace(&mut self.awaited, true);
        let newest = self.bursts.back();
        let on_its_way = newest.is_some_and(|burst| !burst.decided && burst.started > began);
        if on_its_way || self.extra_burst.is_some() {
            return (!was_awaited).then_some(now);
        }
        let pace = probe.mode.burst();
        let sending = pace.spacing * u32::from(pace.count);
        let unsent = newest.filter(|burst| burst.next_send().is_some());
        let at = unsent.map_or(now, |burst| now.max(burst.started + sending));
        // One extra burst on its way at a time: the slots are counted for that.
        let flight = sending + probe.timeout + DEADLINE_GRACE;
        let too_often = self.extra_before.is_some_and(|before| at < before + flight);
        if too_often || self.next_burst <= at + sending {
            return None;
        }
        self.extra_burst = Some(at);
        self.extra_before = Some(at);
        Some(at)
    }

    /// Reads what came back since the last look, and judges what can be judged.
    pub(crate) fn collect(
        &mut self,
        record: &mut Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
        now: Instant,
        transport: &impl ProbeTransport,
    ) {
        self.sweep_late(record, probe.timeout, now, transport);
        record.sweep_slots(self.slots_due(now), transport, now);
        for burst in &mut self.bursts {
            let before = burst.report();
            for rtt in burst.collect(&mut record.causes, probe.timeout, now, transport) {
                record.answered(rtt);
            }
            let after = burst.report();
            record.recent.push(after.answered - before.answered, false);
            record.recent.push(after.missing() - before.missing(), true);
            record.tally.answered += u64::from(after.answered - before.answered);
            record.tally.late += u64::from(after.late - before.late);
            record.tally.lost += u64::from(after.lost - before.lost);
            record.tally.not_sent += u64::from(after.not_sent - before.not_sent);
            // The burst before this one may just have changed the state, and with it the limits.
            let was_up = record.health.state() == State::Up;
            if !burst.decided
                && let Some(verdict) = burst.verdict(health.limits(was_up))
            {
                burst.decided = true;
                record.judged = Some(Judged {
                    basis: Basis::Burst,
                    verdict,
                    report: after,
                    of: burst.count().into(),
                    was_up,
                    started: burst.started,
                    cause: burst.main_cause(&record.causes),
                });
                self.awaited = false;
                let began = burst.failure_began();
                record.evidence.note(verdict, burst.started, began);
                record.health.judge(verdict, &health.rule, now);
            } else if let Some(judged) = &mut record.judged
                && judged.started == burst.started
            {
                // The verdict fell before the last probe was settled; people are told the whole.
                judged.report = after;
                judged.cause = burst.main_cause(&record.causes);
            }
        }
        while self.bursts.front().is_some_and(Burst::complete) {
            let burst = self.bursts.pop_front().expect("the front was just seen");
            if !burst.abandoned {
                self.pacing.judge(&burst, probe.mode.burst());
            }
            self.lost
                .extend(burst.outcomes.iter().filter_map(|outcome| match outcome {
                    Outcome::Lost(slot, cause) => Some((*slot, *cause)),
                    _ => None,
                }));
        }
    }

    /// Orders the probes that are due.
    pub(crate) fn order(
        &mut self,
        record: &mut Record,
        (probe, target): (&ProbeConfig, IpAddr),
        ident: impl FnOnce() -> u16,
        now: Instant,
        orders: &mut Vec<ProbeOrder>,
    ) {
        let pace = probe.mode.burst();
        let waits = record.waits_until(probe.timeout, now).is_some();
        let extra_due = self.extra_burst.is_some_and(|at| at <= now);
        if (now >= self.next_burst || extra_due) && !waits {
            self.extra_burst = None;
            if let Some(unfinished) = self
                .bursts
                .back_mut()
                .filter(|burst| burst.next_send().is_some())
            {
                // This program was stopped for longer than a period: nothing is concluded from what it could not send.
                unfinished.abandon();
            }
            self.last_burst = Some(now);
            self.bursts
                .push_back(Burst::new(now, ident(), self.pacing.plan(pace), pace.count));
            self.look_again = LOOK_AGAIN_MIN;
            if self.next_burst <= now {
                let burst = pace.spacing * u32::from(pace.count);
                let due = self.next_burst;
                self.next_burst = self.phase.next(due, now, pace.period, burst);
            }
        }
        let Some(burst) = self.bursts.back_mut() else {
            return;
        };
        let shape = Shape {
            target,
            ident: burst.ident,
            payload_bytes: probe.size_bytes,
            now,
        };
        while !waits && burst.next_send().is_some_and(|due| due <= now) {
            let Some(slot) = record.order(&shape, orders) else {
                burst.outcomes.push(Outcome::NoNeighbour);
                continue;
            };
            // The slot's last look has just been taken by `sweep_late`.
            self.lost.retain(|&(lost, _)| lost != slot);
            burst.outcomes.push(Outcome::Pending {
                slot,
                deadline: now + probe.timeout + DEADLINE_GRACE,
            });
        }
    }

    /// Takes the kernel's answers to the orders of the current burst, the last ones of it, and the time at which they had been
    /// handed over: deadlines count from there.
    pub(crate) fn sent(
        &mut self,
        record: &mut Record,
        results: &[SendResult],
        timeout: Duration,
        now: Instant,
    ) {
        let burst = self
            .bursts
            .back_mut()
            .expect("orders come from the newest burst");
        let first = burst.outcomes.len() - results.len();
        for (outcome, result) in burst.outcomes[first..].iter_mut().zip(results) {
            match (result, outcome) {
                (SendResult::Sent, Outcome::Pending { deadline, .. }) => {
                    *deadline = now + timeout + DEADLINE_GRACE;
                }
                (SendResult::Dropped(errno), Outcome::Pending { deadline, slot }) => {
                    *deadline = now + timeout + DEADLINE_GRACE;
                    record.causes.note_dropped(*slot, *errno);
                }
                (SendResult::Sent | SendResult::Dropped(_), _) => {}
                (SendResult::NotSent(errno), outcome) => {
                    *outcome = Outcome::NotSent(*errno);
                    record.tally.not_sent += 1;
                    let detail = Detail::Errno(*errno);
                    record.causes.count(CauseKind::NotSent, detail, 1, now);
                }
            }
        }
    }

    /// How many slots may be taken in this look.
    fn slots_due(&self, now: Instant) -> u32 {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let begins = self.next_burst <= now || is_due(self.extra_burst);
        let of_burst = self.bursts.back().map_or(0, |burst| burst.due(now));
        of_burst.max(u32::from(begins))
    }

    /// When this path wants to be looked at again; never while it is blocked and nothing is on its way.
    pub(crate) fn wants(
        &mut self,
        record: &Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
        now: Instant,
    ) -> Wants {
        self.suspect(record, (probe, health));
        let is_up = record.health.state() == State::Up;
        let waits_until = record.waits_until(probe.timeout, now);
        let not_before = |at: Instant| waits_until.map_or(at, |until| until.max(at));
        let regular = (!record.is_blocked()).then(|| waits_until.unwrap_or(self.next_burst));
        let mut wants = Wants {
            send: sooner(regular, self.extra_burst.map(not_before)),
            deadline: self.deadline(record, health),
            look: None,
        };
        for burst in &self.bursts {
            if let Some(due) = burst.next_send() {
                wants.send = sooner(wants.send, Some(not_before(due)));
            } else if !burst.decided && (!is_up || self.awaited) {
                wants.look = sooner(wants.look, Some(now + self.look_again));
                self.look_again = (self.look_again * 2).min(LOOK_AGAIN_MAX);
            }
        }
        wants
    }

    /// When passing time alone may decide something next.
    pub(crate) fn deadline(&self, record: &Record, health: &HealthConfig) -> Option<Instant> {
        let limits = health.limits(record.health.state() == State::Up);
        let deadlines = self
            .bursts
            .iter()
            .filter_map(|burst| burst.next_deadline(limits));
        deadlines.min()
    }

    /// A reply in a slot whose probe counted as lost was late, or in time although somebody reported that the probe was not delivered.
    fn sweep_late(
        &mut self,
        record: &mut Record,
        timeout: Duration,
        now: Instant,
        transport: &impl ProbeTransport,
    ) {
        self.lost.retain_mut(|(slot, cause)| {
            if let Some(rtt) = transport.read(*slot).rtt() {
                record.answered_after_all(*cause, (rtt, timeout), now);
                return false;
            }
            *cause = record.causes.amend(*cause, &transport.remarks(*slot), now);
            true
        });
    }
}

#[cfg(test)]
mod tests;
