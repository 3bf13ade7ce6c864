//! One uplink's way to one target: how it is probed, what is known of it, and what that counts for.

mod left_out;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    config::{HealthConfig, ProbeConfig, ProbeMode},
    engine::{
        bursts::{self, Bursts},
        directions,
        health::{State, Verdict},
        phase::Phase,
        record::Record,
        rolling::{self, Rolling},
        wants::Wants,
        way_out::Readiness,
    },
    probe::{ProbeOrder, ProbeTransport, SendResult},
    units::UplinkId,
};

/// An (uplink, target) pair.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) uplink: UplinkId,
    pub(crate) target: IpAddr,
    pub(crate) record: Record,
    /// What it counts for in its uplink's quorum; none: it is left out.
    pub(crate) counted: Option<State>,
    /// Since when its failure waits for other uplinks to say whether the target is dead.
    pub(crate) waits_since: Option<Instant>,
    course: Course,
}

/// How a path is probed.
#[derive(Debug)]
enum Course {
    Bursts(Bursts),
    /// Boxed: paths in bursts may be a hundred thousand.
    Rolling(Box<Rolling>),
}

/// What one path takes of memory: itself, its place in the tables of the engine, 128 recent round-trip times, a histogram of some twenty
/// buckets, its bursts on their way or its window, and what a reflector told.
pub(crate) fn bytes_needed(probe: &ProbeConfig) -> usize {
    let course = match &probe.mode {
        ProbeMode::Burst(_) => 512,
        ProbeMode::Rolling(_) => rolling::bytes_needed(probe),
    };
    let directions = if probe.reflect { directions::BYTES } else { 0 };
    size_of::<Path>() + 160 + 512 + 192 + course + directions
}

/// How many slots a path needs.
pub(crate) fn slots_needed(probe: &ProbeConfig) -> u32 {
    match &probe.mode {
        ProbeMode::Burst(_) => bursts::slots_needed(probe),
        ProbeMode::Rolling(_) => rolling::slots_needed(probe),
    }
}

impl Path {
    pub(crate) fn new(
        uplink: UplinkId,
        target: IpAddr,
        first_slot: u32,
        probe: &ProbeConfig,
        phase: Phase,
    ) -> Self {
        Self {
            uplink,
            target,
            record: Record::new(first_slot, slots_needed(probe)),
            counted: Some(State::Down),
            waits_since: None,
            course: match &probe.mode {
                ProbeMode::Burst(_) => Course::Bursts(Bursts::new(phase)),
                ProbeMode::Rolling(_) => Course::Rolling(Box::new(Rolling::new(phase))),
            },
        }
    }

    /// Takes a new answer to "can this path be probed". A path that was blocked starts over: nothing is known, and its first probe is
    /// due at `first`.
    pub(crate) fn set_readiness(&mut self, readiness: Readiness, first: Instant, now: Instant) {
        let was_blocked = self.record.is_blocked();
        self.record.set_readiness(readiness, now);
        match (&mut self.course, self.record.is_blocked()) {
            (Course::Bursts(bursts), true) => bursts.block(),
            (Course::Rolling(rolling), true) => rolling.block(),
            (Course::Bursts(bursts), false) if was_blocked => bursts.start_over(first),
            (Course::Rolling(rolling), false) if was_blocked => rolling.start_over(first),
            (Course::Bursts(_) | Course::Rolling(_), false) => {}
        }
    }

    /// Sees to it that its next probe is due then, if not before.
    pub(crate) fn begin_by(&mut self, first: Instant) {
        match &mut self.course {
            Course::Bursts(bursts) => bursts.begin_by(first),
            Course::Rolling(rolling) => rolling.begin_by(first),
        }
    }

    /// Down without a way out, else as its probes say.
    pub(crate) fn state(&self) -> State {
        if self.record.is_blocked() {
            State::Down
        } else {
            self.record.health.state()
        }
    }

    /// It is up, and what was judged last was good.
    pub(crate) fn answers(&self) -> bool {
        self.state() == State::Up && self.record.evidence.is_good()
    }

    /// Its probes say something about the target: it has a way out, and they leave.
    pub(crate) fn tells(&self) -> bool {
        !self.record.is_blocked() && self.record.evidence.last != Some(Verdict::Blind)
    }

    /// Sees to it that it is probed as soon as may be, unless a probe sent after `began` is on its way already or follows soon.
    /// Returns when to look.
    pub(crate) fn probe_since(
        &mut self,
        began: Instant,
        probe: &ProbeConfig,
        now: Instant,
    ) -> Option<Instant> {
        if self.record.is_blocked() {
            return None;
        }
        match &mut self.course {
            Course::Bursts(bursts) => bursts.probe_since(began, probe, now),
            Course::Rolling(rolling) => rolling.probe_since(began, probe, now),
        }
    }

    /// So many probes at a time are all that the target answers; none if no limit is known.
    pub(crate) fn rate_limit(&self, probe: &ProbeConfig) -> Option<u16> {
        match &self.course {
            Course::Bursts(bursts) => bursts.rate_limit(probe),
            Course::Rolling(_) => None,
        }
    }

    /// The interval at which the target answers everything; none if no such limit is known.
    pub(crate) fn slowed_to(&self, probe: &ProbeConfig) -> Option<Duration> {
        match &self.course {
            Course::Bursts(_) => None,
            Course::Rolling(rolling) => rolling.rate_limit(probe),
        }
    }

    /// Reads what came back since the last look, and judges what can be judged.
    pub(crate) fn collect(
        &mut self,
        probe: &ProbeConfig,
        health: &HealthConfig,
        now: Instant,
        transport: &impl ProbeTransport,
    ) {
        let record = &mut self.record;
        match &mut self.course {
            Course::Bursts(bursts) => bursts.collect(record, (probe, health), now, transport),
            Course::Rolling(rolling) => rolling.collect(record, (probe, health), now, transport),
        }
    }

    /// Orders the probes that are due.
    pub(crate) fn order(
        &mut self,
        (probe, health): (&ProbeConfig, &HealthConfig),
        ident: impl FnOnce() -> u16,
        now: Instant,
        orders: &mut Vec<ProbeOrder>,
    ) {
        if self.record.is_blocked() {
            return;
        }
        let to = (probe, self.target);
        let record = &mut self.record;
        match &mut self.course {
            Course::Bursts(bursts) => bursts.order(record, to, ident, now, orders),
            Course::Rolling(rolling) => rolling.order(record, to, health, ident, now, orders),
        }
    }

    /// Takes the kernel's answers to the last orders of this path, and the time at which they had been handed over: deadlines count
    /// from there.
    pub(crate) fn sent(&mut self, results: &[SendResult], timeout: Duration, now: Instant) {
        match &mut self.course {
            Course::Bursts(bursts) => bursts.sent(&mut self.record, results, timeout, now),
            Course::Rolling(rolling) => rolling.sent(&mut self.record, results, now),
        }
    }

    /// When this path wants to be looked at again; never while it is blocked and nothing is on its way.
    pub(crate) fn wants(
        &mut self,
        probe: &ProbeConfig,
        health: &HealthConfig,
        now: Instant,
    ) -> Wants {
        match &mut self.course {
            Course::Bursts(bursts) => bursts.wants(&self.record, (probe, health), now),
            Course::Rolling(rolling) => rolling.wants(&self.record, (probe, health), now),
        }
    }

    /// When passing time alone may decide something next.
    pub(crate) fn deadline(
        &self,
        probe: &ProbeConfig,
        health: &HealthConfig,
        now: Instant,
    ) -> Option<Instant> {
        match &self.course {
            Course::Bursts(bursts) => bursts.deadline(&self.record, health),
            Course::Rolling(rolling) => rolling.deadline(&self.record, (probe, health), now),
        }
    }
}

/// How long a verdict that passing time brings may wait for others. Of the 50 ms behind its deadline, most is left for the machine, and a
/// short timeout is not made much longer.
pub(crate) fn patience(probe: &ProbeConfig) -> Duration {
    let suspects = match &probe.mode {
        ProbeMode::Burst(_) => None,
        ProbeMode::Rolling(rolling) => rolling.suspect_interval,
    };
    let of_interval = suspects.map(|interval| interval / PATIENCE_SHARE);
    let of_timeout = probe.timeout / PATIENCE_SHARE;
    of_interval
        .unwrap_or(of_timeout)
        .min(of_timeout)
        .min(PATIENCE_MAX)
}

/// A sixteenth of the time that a verdict takes anyway.
const PATIENCE_SHARE: u32 = 16;

const PATIENCE_MAX: Duration = Duration::from_millis(20);
