//! Probing one by one, judged continuously: loss and delay over a sliding window as dpinger reckons them, and misses in a row.
//!
//! A probe counts once it is answered or past its timeout. A late answer takes back its loss while the probe is in the window; its
//! delay then counts in the mean, as it does with dpinger, but it is no answer in time: the path's counts call it late.

mod estimate;
mod judge;
mod left_out;
mod pace;
mod sliding;
mod throttle;

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    config::{HealthConfig, ProbeConfig, RollingConfig},
    engine::{
        bursts::LOOK_AGAIN_MIN,
        causes::{self, CauseId, CauseKind, Detail},
        phase::Phase,
        record::{Record, Shape},
    },
    probe::{ProbeOrder, ProbeTransport, SendResult},
    units::SlotId,
};
use estimate::Estimate;
use sliding::{Fate, Probe, Sliding};
use throttle::Throttle;

/// A late answer is noticed until this many further probes have been sent: so many slots the default window has, and those of a
/// longer one would lock too much memory.
const LATE_SLOTS_MAX: u32 = 128;

/// What a path that is probed one by one knows.
#[derive(Debug)]
pub(crate) struct Rolling {
    phase: Phase,
    /// When the next regular probe is due.
    next_send: Instant,
    last_sent: Option<Instant>,
    probes: Sliding,
    /// Every probe before this number is settled.
    first_pending: u64,
    /// Slots of lost probes, their numbers and why, oldest first, until they are armed again: an answer seen there was late.
    lost: VecDeque<(SlotId, u64, CauseId)>,
    estimate: Estimate,
    /// Losses since the path came up, without those taken back.
    missed_since_rise: u32,
    /// Only answers to probes from this number on bring the path up: to that which took it down, and later ones.
    answers_from: u64,
    /// Probes in a row that never left.
    not_sent_in_a_row: u32,
    /// A probe beside the regular ones is wanted; when the last such one was sent.
    extra: bool,
    extra_before: Option<Instant>,
    /// Another path's failure waits for an answer to a probe sent after this: it is looked for before the deadline.
    awaited: Option<Instant>,
    look_again: Duration,
    throttle: Throttle,
}

/// How many slots a path needs: its probes in flight, those of a suspicion and one beside, and those whose late answers are noticed.
pub(crate) fn slots_needed(probe: &ProbeConfig) -> u32 {
    let pace = probe.mode.rolling();
    let in_flight = probe.timeout.as_nanos().div_ceil(pace.interval.as_nanos());
    let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX / 2);
    in_flight + 2 + pace.window_probes().min(LATE_SLOTS_MAX)
}

/// What it takes of memory: itself, a ring of the probes that count or are on their way, and those lost probes whose late answers would be
/// noticed. Rings double as they grow.
pub(crate) fn bytes_needed(probe: &ProbeConfig) -> usize {
    let slots = slots_needed(probe);
    let in_flight = slots - probe.mode.rolling().window_probes().min(LATE_SLOTS_MAX);
    let counting = probe.mode.rolling().window_probes() + in_flight;
    size_of::<Rolling>()
        + counting.next_power_of_two() as usize * size_of::<Probe>()
        + slots.next_power_of_two() as usize * size_of::<(SlotId, u64, CauseId)>()
}

impl Rolling {
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            phase,
            next_send: phase.0,
            last_sent: None,
            probes: Sliding::default(),
            first_pending: 0,
            lost: VecDeque::new(),
            estimate: Estimate::default(),
            missed_since_rise: 0,
            answers_from: 0,
            not_sent_in_a_row: 0,
            extra: false,
            extra_before: None,
            awaited: None,
            look_again: LOOK_AGAIN_MIN,
            throttle: Throttle::default(),
        }
    }

    /// The interval at which the target answers everything, where that is longer than the regular one.
    pub(crate) fn rate_limit(&self, probe: &ProbeConfig) -> Option<Duration> {
        self.throttle.limit(probe.mode.rolling())
    }

    /// There is no way out any more: what is on its way says nothing.
    pub(crate) fn block(&mut self) {
        self.probes.start_over();
        self.estimate = Estimate::default();
        self.missed_since_rise = 0;
        self.not_sent_in_a_row = 0;
        self.extra = false;
        self.awaited = None;
    }

    /// There is a way out again: a probe is due then.
    pub(crate) fn start_over(&mut self, first: Instant) {
        self.next_send = first;
    }

    /// A probe is due then, if not before.
    pub(crate) fn begin_by(&mut self, first: Instant) {
        self.next_send = self.next_send.min(first);
    }

    /// Sees to it that a probe leaves as soon as may be, unless one sent after `began` is on its way already or follows soon. Returns
    /// when to look.
    pub(crate) fn probe_since(
        &mut self,
        began: Instant,
        probe: &ProbeConfig,
        now: Instant,
    ) -> Option<Instant> {
        let was_awaited = self.awaited.replace(began).is_some();
        let newest = self.probes.newest();
        let on_its_way = newest
            .is_some_and(|newest| matches!(newest.fate, Fate::Pending(_)) && newest.sent > began);
        if on_its_way || self.extra {
            return (!was_awaited).then_some(now);
        }
        let too_often = |before: Instant| now < before + probe.timeout;
        if self.next_send <= now || self.extra_before.is_some_and(too_often) {
            return None;
        }
        self.extra = true;
        Some(now)
    }

    /// Reads what came back since the last look, and judges.
    pub(crate) fn collect(
        &mut self,
        record: &mut Record,
        (probe, health): (&ProbeConfig, &HealthConfig),
        now: Instant,
        transport: &impl ProbeTransport,
    ) {
        self.sweep_late(record, probe.timeout, now, transport);
        if self.due(record, (probe, health), now) <= now {
            record.sweep_slots(1, transport, now);
        }
        self.settle_pending(record, probe, now, transport);
        // Before the first window has passed there is nothing to forget.
        if let Some(start) = now.checked_sub(probe.mode.rolling().window) {
            self.probes.forget_before(start);
        }
        self.judge(record, (probe, health), now);
    }

    /// Orders the probe that is due, if one is. What was due while this program was stopped is not made up for.
    pub(crate) fn order(
        &mut self,
        record: &mut Record,
        (probe, target): (&ProbeConfig, IpAddr),
        health: &HealthConfig,
        ident: impl FnOnce() -> u16,
        now: Instant,
        orders: &mut Vec<ProbeOrder>,
    ) {
        let is_due = self.due(record, (probe, health), now) <= now;
        if !is_due || record.waits_until(probe.timeout, now).is_some() {
            return;
        }
        if let Some((_, oldest)) = self.oldest_pending()
            && oldest == record.next_slot()
        {
            // Every slot is in use. The next one is free at its probe's deadline.
            self.next_send = now + probe.timeout;
            return;
        }
        if std::mem::take(&mut self.extra) {
            self.extra_before = Some(now);
        }
        if self.next_send <= now {
            let interval = self.throttle.interval(probe.mode.rolling());
            self.next_send = if self.throttle.is_slowed() {
                now + interval
            } else {
                self.phase
                    .next(self.next_send, now, interval, Duration::ZERO)
            };
        }
        self.last_sent = Some(now);
        self.look_again = LOOK_AGAIN_MIN;
        let shape = Shape {
            target,
            ident: ident(),
            payload_bytes: probe.size_bytes,
            now,
        };
        let fate = match record.order(&shape, orders) {
            Some(slot) => {
                // The slot's last look has just been taken by `sweep_late`.
                self.lost.retain(|&(lost, ..)| lost != slot);
                Fate::Pending(slot)
            }
            None => {
                self.missed_since_rise = self.missed_since_rise.saturating_add(1);
                Fate::NoNeighbour
            }
        };
        self.probes.push(Probe { sent: now, fate });
    }

    /// Takes the kernel's answer to the last order, and the time at which it had been handed over: deadlines count from there.
    pub(crate) fn sent(&mut self, record: &mut Record, results: &[SendResult], now: Instant) {
        for result in results {
            self.probes.handed_over(now);
            match result {
                // By then it has passed the egress hook: the hook runs within the call.
                SendResult::Sent => {}
                SendResult::Dropped(errno) => {
                    if let Some(Fate::Pending(slot)) = self.probes.newest().map(|p| p.fate) {
                        record.causes.note_dropped(slot, *errno);
                    }
                }
                SendResult::NotSent(errno) => {
                    let newest = self.probes.end() - 1;
                    self.probes.settle(newest, Fate::NotSent(*errno));
                    self.not_sent_in_a_row = self.not_sent_in_a_row.saturating_add(1);
                    record.tally.not_sent += 1;
                    let detail = Detail::Errno(*errno);
                    record.causes.count(CauseKind::NotSent, detail, 1, now);
                }
            }
        }
    }

    /// An answer in the slot of a lost probe was late, or in time although somebody reported that the probe was not delivered: its loss
    /// is taken back.
    fn sweep_late(
        &mut self,
        record: &mut Record,
        timeout: Duration,
        now: Instant,
        transport: &impl ProbeTransport,
    ) {
        let (probes, estimate) = (&mut self.probes, &mut self.estimate);
        let mut answered = 0;
        self.lost.retain_mut(|(slot, number, cause)| {
            let Some(rtt) = transport.read(*slot).rtt() else {
                *cause = record.causes.amend(*cause, &transport.remarks(*slot), now);
                return true;
            };
            answered += 1;
            estimate.push(rtt);
            let is_late = record.answered_after_all(*cause, (rtt, timeout), now);
            probes.settle(*number, Fate::Received { rtt, is_late });
            false
        });
        self.missed_since_rise = self.missed_since_rise.saturating_sub(answered);
    }

    fn settle_pending(
        &mut self,
        record: &mut Record,
        probe: &ProbeConfig,
        now: Instant,
        transport: &impl ProbeTransport,
    ) {
        let mut answered = Vec::new();
        for number in self.first_pending.max(self.probes.begin())..self.probes.end() {
            let Some(&Probe {
                sent,
                fate: Fate::Pending(slot),
            }) = self.probes.get(number)
            else {
                continue;
            };
            let stamps = transport.read(slot);
            let fate = if let Some(rtt) = stamps.rtt() {
                let is_late = rtt > probe.timeout;
                if !is_late {
                    answered.push((stamps.received_ns, rtt));
                }
                Fate::Received { rtt, is_late }
            } else {
                let remarks = transport.remarks(slot);
                // Who quotes the probe's cookie knows that it was not delivered: there is nothing to wait for.
                let is_refused = remarks.error.as_ref().is_some_and(causes::is_final);
                match stamps.sent_ns {
                    _ if now < sent + probe.timeout && !is_refused => continue,
                    None => Fate::NotStamped(record.causes.vanish(&remarks, now)),
                    Some(_) => Fate::Lost(record.causes.lose(slot, &remarks, now)),
                }
            };
            self.count(record, (number, slot), fate, now);
            self.throttle((number, fate), probe.mode.rolling(), now);
        }
        answered.sort_by_key(|(received_ns, _)| *received_ns);
        for (_, rtt) in answered {
            record.answered(rtt);
        }
        let is_settled = |number: &u64| {
            let probe = self.probes.get(*number);
            !probe.is_some_and(|probe| matches!(probe.fate, Fate::Pending(_)))
        };
        let mut numbers = self.first_pending.max(self.probes.begin())..self.probes.end();
        self.first_pending = numbers
            .find(|number| !is_settled(number))
            .unwrap_or(self.probes.end());
    }

    /// Learns from a probe that is settled how often the target answers.
    fn throttle(&mut self, (number, fate): (u64, Fate), pace: &RollingConfig, now: Instant) {
        let is_answered = match fate {
            Fate::Received { .. } => true,
            Fate::Lost(_) => false,
            Fate::NotSent(_) | Fate::NotStamped(_) | Fate::Pending(_) | Fate::NoNeighbour => return,
        };
        let next = self.probes.end();
        if self.throttle.note((number, next), is_answered, pace) {
            let last = self.last_sent.unwrap_or(now);
            self.next_send = (last + self.throttle.interval(pace)).max(now);
        }
    }

    /// Counts what became of a probe that was pending.
    fn count(
        &mut self,
        record: &mut Record,
        (number, slot): (u64, SlotId),
        fate: Fate,
        now: Instant,
    ) {
        self.probes.settle(number, fate);
        match fate {
            Fate::Received { rtt, is_late } => {
                self.estimate.push(rtt);
                self.not_sent_in_a_row = 0;
                record.recent.push(1, is_late);
                record.causes.take_dropped(slot);
                if is_late {
                    record.tally.late += 1;
                    record.causes.count(CauseKind::Late, Detail::None, 1, now);
                } else {
                    record.tally.answered += 1;
                }
            }
            Fate::Lost(cause) => {
                self.not_sent_in_a_row = 0;
                self.missed_since_rise = self.missed_since_rise.saturating_add(1);
                self.lost.push_back((slot, number, cause));
                record.recent.push(1, true);
                record.tally.lost += 1;
            }
            Fate::NotSent(_) | Fate::NotStamped(_) => {
                self.not_sent_in_a_row = self.not_sent_in_a_row.saturating_add(1);
                record.tally.not_sent += 1;
            }
            Fate::Pending(_) | Fate::NoNeighbour => {}
        }
    }

    fn oldest_pending(&self) -> Option<(Instant, SlotId)> {
        let probe = self.probes.get(self.first_pending)?;
        match probe.fate {
            Fate::Pending(slot) => Some((probe.sent, slot)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
