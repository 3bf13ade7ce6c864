//! When each path's bursts begin: spread over their period, so that nothing comes in waves, and some together, so that a wake-up, which
//! costs as much as ten probes or more, carries more of them.

use std::time::{Duration, Instant};

use crate::config::{ProbeConfig, ProbeMode, UplinkConfig};

/// So many paths begin their bursts in one wake-up, where there are so many of one period, at [`TOGETHER_RATE`] and below: three
/// kilobytes, and two thirds of the wake-up's cost are then the probes' own. Where probes are more, more of them leave together, as the
/// root of their rate: wake-ups grow as slowly.
const TOGETHER: f64 = 32.0;

/// In probes a second.
const TOGETHER_RATE: f64 = 400.0;

/// Wake-ups are not closer together than this: where paths are so many, more of them begin together.
const APART_MIN: Duration = Duration::from_millis(1);

/// One of the instants at which a path's bursts are to begin, a period apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase(pub(crate) Instant);

impl Phase {
    /// When the burst after the one that was due at `due` and begins now is due: in phase. One that began out of phase, as first ones
    /// do, is followed within a period by one that is in phase, or brings it nearer; `burst` is what sending one takes.
    pub(crate) fn next(
        self,
        due: Instant,
        now: Instant,
        period: Duration,
        burst: Duration,
    ) -> Instant {
        let to_phase = period - self.behind(now, period);
        if self.behind(due, period).is_zero() {
            return now + to_phase;
        }
        // Not much less than half a period lies between two bursts. Halfway, what is left is enough even if this wake-up is late.
        let least = (period * 3 / 8).max(burst);
        let halfway = (to_phase + period) / 2;
        match (to_phase >= least, halfway >= least) {
            (true, _) => now + to_phase,
            (false, true) => now + halfway,
            (false, false) => now + period,
        }
    }

    /// How long before `at` the last instant of this phase was.
    fn behind(self, at: Instant, period: Duration) -> Duration {
        let ahead = modulo(self.0.saturating_duration_since(at), period);
        let past = modulo(at.saturating_duration_since(self.0), period);
        modulo(period + past - ahead, period)
    }
}

/// The rest of a division of two times.
fn modulo(time: Duration, by: Duration) -> Duration {
    // A u64 of nanoseconds lasts for 584 years, and is divided in hardware.
    Duration::from_nanos(time.as_nanos() as u64 % (by.as_nanos() as u64).max(1))
}

/// The place of each path among all, in the order of the configuration: uplinks in turns, and the targets of each as far apart as may be.
pub(crate) fn places(uplinks: &[UplinkConfig]) -> Vec<usize> {
    let mut shares = Vec::new();
    for (index, uplink) in uplinks.iter().enumerate() {
        let targets = uplink.probe.targets.len();
        for target in 0..targets {
            // What share of the whole lies before it.
            let share = (target * uplinks.len() + index) as f64 / (targets * uplinks.len()) as f64;
            shares.push((share, shares.len()));
        }
    }
    shares.sort_by(|(a, path), (b, other)| a.total_cmp(b).then(path.cmp(other)));
    let mut places = vec![0; shares.len()];
    for (place, (_, path)) in shares.into_iter().enumerate() {
        places[path] = place;
    }
    places
}

/// Each path's phase, from its place among all. Those of one period share it out among themselves.
pub(crate) fn phases(uplinks: &[UplinkConfig], places: &[usize], start: Instant) -> Vec<Phase> {
    let rhythms: Vec<Rhythm> = uplinks
        .iter()
        .flat_map(|uplink| {
            uplink
                .probe
                .targets
                .iter()
                .map(|_| Rhythm::of(&uplink.probe))
        })
        .collect();
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&path| (rhythms[path].period, places[path]));
    let mut phases = vec![Phase(start); places.len()];
    for paths in order.chunk_by(|&a, &b| rhythms[a].period == rhythms[b].period) {
        let period = rhythms[paths[0]].period;
        let apart = rhythms[paths[0]].apart(paths.len());
        let beginnings = (period.as_nanos() / apart.as_nanos()).max(1) as usize;
        for (place, &path) in paths.iter().enumerate() {
            let beginning = place * beginnings / paths.len();
            phases[path] = Phase(start + apart * beginning as u32);
        }
    }
    phases
}

/// How a path is probed, whichever mode it is in.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    /// From the beginning of one burst, or one probe, to the next.
    period: Duration,
    /// Probes in it.
    count: u16,
    spacing: Duration,
}

impl Rhythm {
    fn of(probe: &ProbeConfig) -> Self {
        let (count, spacing) = match &probe.mode {
            ProbeMode::Burst(burst) => (burst.count, burst.spacing),
            ProbeMode::Rolling(_) => (1, Duration::ZERO),
        };
        Self {
            period: probe.mode.period(),
            count,
            spacing,
        }
    }

    /// How far apart bursts begin where so many paths are probed so. The requests of a burst fall on the beginnings of others, where
    /// they can.
    fn apart(self, paths: usize) -> Duration {
        let rate = paths as f64 * self.rate();
        let together = TOGETHER * (rate / TOGETHER_RATE).max(1.0).sqrt();
        let beginnings = ((paths as f64 / together).round() as usize).max(1);
        let wanted = (self.period / beginnings as u32).max(APART_MIN);
        if self.count == 1 || beginnings == 1 {
            return wanted;
        }
        let (wanted_ms, spacing_ms) = (wanted.as_millis() as u64, self.spacing.as_millis() as u64);
        if wanted_ms >= spacing_ms {
            return Duration::from_millis(wanted_ms - wanted_ms % spacing_ms.max(1));
        }
        let divides = |ms: &u64| spacing_ms.is_multiple_of(*ms);
        Duration::from_millis((1..=wanted_ms).rev().find(divides).unwrap_or(1))
    }

    /// Probes a second.
    fn rate(self) -> f64 {
        f64::from(self.count) / self.period.as_secs_f64()
    }
}

/// Paths that can be probed from one moment on, because pingu starts or an interface comes, are not all probed at that moment.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What one probe takes of the time.
    per_probe: Duration,
    /// Until when the time is taken.
    taken_until: Instant,
}

/// So many first probes are sent at once.
const FIRST_AT_ONCE: u32 = 1024;

/// Further ones follow at this rate: a tenth of what one core can send, and no slower than they will go on.
const FIRST_PER_SECOND: f64 = 20_000.0;

impl Pace {
    /// For these.
    pub(crate) fn new(uplinks: &[UplinkConfig], now: Instant) -> Self {
        let rate = uplinks
            .iter()
            .map(|uplink| uplink.probe.targets.len() as f64 * Rhythm::of(&uplink.probe).rate());
        Self {
            per_probe: Duration::from_secs_f64(1.0 / rate.sum::<f64>().max(FIRST_PER_SECOND)),
            taken_until: now,
        }
    }

    /// When a path may begin that is probed so.
    pub(crate) fn next(&mut self, probe: &ProbeConfig, now: Instant) -> Instant {
        let probes = Rhythm::of(probe).count;
        let begins = self.taken_until.max(now);
        self.taken_until = begins + self.per_probe * u32::from(probes);
        let ahead = (begins - now).saturating_sub(self.per_probe * FIRST_AT_ONCE);
        // Together with others, for a wake-up's sake.
        let whole_ms = ahead.as_nanos().div_ceil(APART_MIN.as_nanos()) as u32;
        now + APART_MIN * whole_ms
    }
}

#[cfg(test)]
mod tests;
