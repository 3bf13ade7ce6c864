//! One uplink's way to one target: when it is probed, what came of it, and whether it works.

mod pace;

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    config::{HealthConfig, ProbeConfig},
    engine::{
        burst::{Burst, DEADLINE_GRACE, Outcome},
        evidence::{Evidence, Judged},
        health::{Health, State, Verdict},
        way_out::Readiness,
        window::{Recent, Window},
    },
    probe::{ProbeOrder, SendResult, Stamps},
    units::{SlotId, UplinkId},
};

/// The shortest wait between two looks at a burst whose outcome somebody waits for; doubled at each look.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);

/// The longest such wait: one more wake-up a second costs nothing.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// What became of all probes ever ordered on a path: sent = answered + lost + late + not_sent + pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    pub(crate) late: u64,
    /// Refused by the kernel, vanished before the egress hook, or without a neighbour.
    pub(crate) not_sent: u64,
    /// Those of `not_sent` whose next hop had no link-layer address.
    pub(crate) no_neighbour: u64,
}

/// A path's own share of the slots, used in turns.
#[derive(Clone, Copy, Debug)]
struct SlotRing {
    base: u32,
    len: u32,
    next: u32,
}

impl SlotRing {
    fn take(&mut self) -> SlotId {
        let slot = SlotId(self.base + self.next);
        self.next = (self.next + 1) % self.len;
        slot
    }
}

/// An (uplink, target) pair.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) uplink: UplinkId,
    pub(crate) target: IpAddr,
    pub(crate) readiness: Readiness,
    pub(crate) health: Health,
    pub(crate) tally: Tally,
    pub(crate) window: Window,
    pub(crate) recent: Recent,
    /// The last judged burst.
    pub(crate) judged: Option<Judged>,
    pub(crate) evidence: Evidence,
    /// What it counts for in its uplink's quorum; none: it is left out.
    pub(crate) counted: Option<State>,
    /// Since when its failure waits for other uplinks to say whether the target is dead.
    pub(crate) waits_since: Option<Instant>,
    slots: SlotRing,
    sequence: u16,
    next_burst: Instant,
    /// A burst beside the regular ones, when it is due.
    extra_burst: Option<Instant>,
    /// When the last of those was due.
    extra_before: Option<Instant>,
    /// Another path's failure waits for this one's verdict: it is looked for before the deadline.
    awaited: bool,
    /// Since when the next hop's link-layer address has been unknown.
    resolving_since: Option<Instant>,
    bursts: VecDeque<Burst>,
    /// Slots of lost probes, oldest first, until they are armed again: a reply seen there was late.
    lost: VecDeque<SlotId>,
    look_again: Duration,
    /// When the last burst began.
    last_burst: Option<Instant>,
    /// Bursts that were due and left out.
    pub(crate) skipped: u64,
}

/// Whether what is due still waits for the next hop's link-layer address.
fn waits(resolving_since: Option<Instant>, timeout: Duration, now: Instant) -> bool {
    resolving_since.is_some_and(|since| now < since + timeout)
}

/// How many slots a path needs: its bursts in flight, one being sent, and as many again for replies that come late.
pub(crate) fn slots_needed(probe: &ProbeConfig) -> u32 {
    let flight = probe.spacing * u32::from(probe.count) + probe.timeout + DEADLINE_GRACE;
    let bursts_in_flight = flight.as_nanos().div_ceil(probe.period.as_nanos().max(1)) as u32;
    u32::from(probe.count) * (bursts_in_flight + 2)
}

impl Path {
    pub(crate) fn new(
        uplink: UplinkId,
        target: IpAddr,
        first_slot: u32,
        probe: &ProbeConfig,
        now: Instant,
    ) -> Self {
        Self {
            uplink,
            target,
            readiness: Readiness::Blocked,
            health: Health::unknown(),
            tally: Tally::default(),
            window: Window::default(),
            recent: Recent::default(),
            judged: None,
            evidence: Evidence::default(),
            counted: Some(State::Down),
            waits_since: None,
            slots: SlotRing {
                base: first_slot,
                len: slots_needed(probe),
                next: 0,
            },
            sequence: 0,
            next_burst: now,
            extra_burst: None,
            extra_before: None,
            awaited: false,
            resolving_since: None,
            bursts: VecDeque::new(),
            lost: VecDeque::new(),
            look_again: LOOK_AGAIN_MIN,
            last_burst: None,
            skipped: 0,
        }
    }

    /// Takes a new answer to "can this path be probed". A path that was blocked starts over: nothing is known, and a burst is due.
    pub(crate) fn set_readiness(&mut self, readiness: Readiness, now: Instant) {
        let was_blocked = self.readiness == Readiness::Blocked;
        self.readiness = readiness;
        self.resolving_since =
            (readiness == Readiness::Resolving).then(|| self.resolving_since.unwrap_or(now));
        if readiness == Readiness::Blocked {
            self.health.start_over();
            self.evidence = Evidence::default();
            self.extra_burst = None;
            self.awaited = false;
            self.bursts.iter_mut().for_each(Burst::abandon);
        } else if was_blocked {
            self.next_burst = now;
        }
    }

    /// Down without a way out, else as its bursts say.
    pub(crate) fn state(&self) -> State {
        if self.is_blocked() {
            State::Down
        } else {
            self.health.state()
        }
    }

    /// It has no way out.
    pub(crate) fn is_blocked(&self) -> bool {
        self.readiness == Readiness::Blocked
    }

    /// It is up, and its last burst was good.
    pub(crate) fn answers(&self) -> bool {
        self.state() == State::Up && self.evidence.is_good()
    }

    /// Its bursts say something about the target: it has a way out, and its probes leave.
    pub(crate) fn tells(&self) -> bool {
        !self.is_blocked() && self.evidence.last != Some(Verdict::Blind)
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
        if on_its_way || self.extra_burst.is_some() || self.is_blocked() {
            return (!was_awaited).then_some(now);
        }
        let sending = probe.spacing * u32::from(probe.count);
        let unsent = newest.filter(|burst| burst.next_send(probe.spacing).is_some());
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
        health: &HealthConfig,
        probe: &ProbeConfig,
        now: Instant,
        read: impl Fn(SlotId) -> Stamps,
    ) {
        self.sweep_late(&read);
        for burst in &mut self.bursts {
            let before = burst.report();
            for rtt in burst.collect(now, probe.timeout, &read) {
                self.window.push(rtt);
            }
            let after = burst.report();
            self.recent.push(after.answered - before.answered, false);
            self.recent.push(after.missing() - before.missing(), true);
            self.tally.answered += u64::from(after.answered - before.answered);
            self.tally.late += u64::from(after.late - before.late);
            self.tally.lost += u64::from(after.lost - before.lost);
            self.tally.not_sent += u64::from(after.not_sent - before.not_sent);
            // The burst before this one may just have changed the state, and with it the limits.
            let was_up = self.health.state() == State::Up;
            if !burst.decided
                && let Some(verdict) = burst.verdict(health.limits(was_up))
            {
                burst.decided = true;
                self.judged = Some(Judged {
                    verdict,
                    report: after,
                    was_up,
                    started: burst.started,
                });
                self.awaited = false;
                self.evidence.note(verdict, burst, probe.spacing);
                self.health.judge(verdict, &health.rule, now);
            } else if let Some(judged) = &mut self.judged
                && judged.started == burst.started
            {
                // The verdict fell before the last probe was settled; people are told the whole.
                judged.report = after;
            }
        }
        while self.bursts.front().is_some_and(Burst::complete) {
            let burst = self.bursts.pop_front().expect("the front was just seen");
            self.lost
                .extend(burst.outcomes.iter().filter_map(|outcome| match outcome {
                    Outcome::Lost(slot) => Some(*slot),
                    _ => None,
                }));
        }
    }

    /// Orders the probes that are due.
    pub(crate) fn order(
        &mut self,
        probe: &ProbeConfig,
        ident: impl FnOnce() -> u16,
        now: Instant,
        orders: &mut Vec<ProbeOrder>,
    ) {
        if self.readiness == Readiness::Blocked {
            return;
        }
        // What is due waits for one timeout while the next hop is being asked for; after that its probes count as without one.
        let waits = waits(self.resolving_since, probe.timeout, now);
        let extra_due = self.extra_burst.is_some_and(|at| at <= now);
        if (now >= self.next_burst || extra_due) && !waits {
            self.extra_burst = None;
            if let Some(unfinished) = self
                .bursts
                .back_mut()
                .filter(|burst| burst.next_send(probe.spacing).is_some())
            {
                // This program was stopped for longer than a period: nothing is concluded from what it could not send.
                unfinished.abandon();
            }
            self.last_burst = Some(now);
            self.bursts.push_back(Burst::new(now, ident(), probe.count));
            self.look_again = LOOK_AGAIN_MIN;
            while self.next_burst <= now {
                self.next_burst += probe.period;
            }
        }
        let Some(burst) = self.bursts.back_mut() else {
            return;
        };
        while !waits && burst.next_send(probe.spacing).is_some_and(|due| due <= now) {
            self.tally.sent += 1;
            self.sequence = self.sequence.wrapping_add(1);
            let Readiness::Ready {
                ifindex,
                link,
                source,
            } = self.readiness
            else {
                self.tally.not_sent += 1;
                self.tally.no_neighbour += 1;
                self.recent.push(1, true);
                burst.outcomes.push(Outcome::NoNeighbour);
                continue;
            };
            let slot = self.slots.take();
            // The slot's last look has just been taken by `sweep_late`.
            self.lost.retain(|&lost| lost != slot);
            burst.outcomes.push(Outcome::Pending {
                slot,
                deadline: now + probe.timeout + DEADLINE_GRACE,
            });
            orders.push(ProbeOrder {
                slot,
                ifindex,
                link,
                source,
                target: self.target,
                ident: burst.ident,
                sequence: self.sequence,
                payload_bytes: probe.size_bytes,
            });
        }
    }

    /// Takes the kernel's answers to the orders of this path's current burst, the last ones of it, and the time at which
    /// they had been handed over: deadlines count from there.
    pub(crate) fn sent(&mut self, results: &[SendResult], timeout: Duration, now: Instant) {
        let burst = self
            .bursts
            .back_mut()
            .expect("orders come from the newest burst");
        let first = burst.outcomes.len() - results.len();
        for (outcome, result) in burst.outcomes[first..].iter_mut().zip(results) {
            match (result, outcome) {
                (SendResult::Sent | SendResult::Dropped(_), Outcome::Pending { deadline, .. }) => {
                    *deadline = now + timeout + DEADLINE_GRACE
                }
                (SendResult::Sent | SendResult::Dropped(_), _) => {}
                (SendResult::NotSent(errno), outcome) => {
                    *outcome = Outcome::NotSent(*errno);
                    self.tally.not_sent += 1;
                }
            }
        }
    }

    /// When this path wants to be looked at again; none while it is blocked and nothing is on its way.
    pub(crate) fn next_wake(
        &mut self,
        probe: &ProbeConfig,
        health: &HealthConfig,
        now: Instant,
    ) -> Option<Instant> {
        let is_up = self.health.state() == State::Up;
        let patience_ends = self.resolving_since.map(|since| since + probe.timeout);
        let waits_until = patience_ends.filter(|ends| now < *ends);
        let mut wake =
            (self.readiness != Readiness::Blocked).then(|| waits_until.unwrap_or(self.next_burst));
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        if let Some(extra) = self.extra_burst {
            sooner(waits_until.map_or(extra, |until| until.max(extra)));
        }
        for burst in &self.bursts {
            if let Some(due) = burst.next_send(probe.spacing) {
                sooner(waits_until.map_or(due, |until| until.max(due)));
            } else if !burst.decided && (!is_up || self.awaited) {
                sooner(now + self.look_again);
                self.look_again = (self.look_again * 2).min(LOOK_AGAIN_MAX);
            }
            if let Some(deadline) = burst.next_deadline(health.limits(is_up)) {
                sooner(deadline);
            }
        }
        wake
    }

    /// A reply in a slot whose probe counted as lost was late.
    fn sweep_late(&mut self, read: &impl Fn(SlotId) -> Stamps) {
        let before = self.lost.len();
        self.lost.retain(|&slot| read(slot).received_ns.is_none());
        let late = (before - self.lost.len()) as u64;
        self.tally.late += late;
        self.tally.lost -= late;
    }
}
