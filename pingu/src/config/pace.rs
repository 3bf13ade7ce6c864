//! In what order and how fast an uplink's targets are probed: in bursts, or one probe after the other.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    check::between,
    duration, keys,
    policy::{small, value},
    reader::{At, Reader},
};

/// One burst of a path is sent by a single thread between other work.
const COUNT_MAX: u32 = 1000;
const HOUR_MS: u64 = 3_600_000;
/// Below this, the wake-ups alone would keep a core busy; in a suspicion only a few probes go so fast.
const SUSPECT_INTERVAL_MIN: Duration = Duration::from_micros(100);
/// A window keeps some 40 bytes for each of its probes: this much is 2.5 MiB for each target.
const WINDOW_PROBES_MAX: u128 = 65_536;

/// How probes follow each other (`mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeMode {
    /// Several at once, judged together.
    Burst(BurstConfig),
    /// One after the other, judged over a sliding window.
    Rolling(RollingConfig),
}

/// Probing in bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstConfig {
    /// From the start of one burst to the start of the next.
    pub period: Duration,
    /// Echo requests in a burst; at least 1.
    pub count: u16,
    /// Between two requests of a burst.
    pub spacing: Duration,
    /// From the start of a burst that may have failed to the start of the next; at most `period`. None: bursts are `period` apart.
    pub suspect_interval: Option<Duration>,
}

impl BurstConfig {
    /// How long sending one takes.
    pub(crate) fn sending(&self) -> Duration {
        self.spacing * u32::from(self.count)
    }
}

/// Probing one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollingConfig {
    /// From one probe to the next.
    pub interval: Duration,
    /// How long a probe counts after it was sent.
    pub window: Duration,
    /// From one probe to the next while an answer is overdue; at most `interval`. None: a probe is missing only after its timeout.
    pub suspect_interval: Option<Duration>,
}

impl RollingConfig {
    /// How many probes the window holds.
    pub fn window_probes(&self) -> u32 {
        let probes = self.window.as_nanos() / self.interval.as_nanos().max(1);
        u32::try_from(probes).unwrap_or(u32::MAX).max(1)
    }
}

impl ProbeMode {
    /// From the start of one burst, or one probe, to the next.
    pub fn period(&self) -> Duration {
        match self {
            Self::Burst(burst) => burst.period,
            Self::Rolling(rolling) => rolling.interval,
        }
    }

    /// How many probes leave together.
    pub(crate) fn probes_at_once(&self) -> u16 {
        match self {
            Self::Burst(burst) => burst.count,
            Self::Rolling(_) => 1,
        }
    }

    /// How long those take to be sent.
    pub(crate) fn sending(&self) -> Duration {
        match self {
            Self::Burst(burst) => burst.spacing * u32::from(burst.count),
            Self::Rolling(_) => Duration::ZERO,
        }
    }

    /// The bursts. Only for a path that is probed in bursts.
    pub(crate) fn burst(&self) -> &BurstConfig {
        match self {
            Self::Burst(burst) => burst,
            Self::Rolling(_) => unreachable!("a path has the course of its uplink's mode"),
        }
    }

    /// The pace of single probes. Only for a path that is probed so.
    pub(crate) fn rolling(&self) -> &RollingConfig {
        match self {
            Self::Burst(_) => unreachable!("a path has the course of its uplink's mode"),
            Self::Rolling(rolling) => rolling,
        }
    }

    /// How many probes are judged together.
    pub(super) fn judged_together(&self) -> u32 {
        match self {
            Self::Burst(burst) => burst.count.into(),
            Self::Rolling(rolling) => rolling.window_probes(),
        }
    }
}

/// The word alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModeWord {
    Burst,
    Rolling,
}

/// The keys that say it, as far as they were given.
#[derive(Clone, Default)]
pub(super) struct PaceKeys {
    mode: Option<At<ModeWord>>,
    period: Option<At<Duration>>,
    count: Option<At<u16>>,
    spacing: Option<At<Duration>>,
    interval: Option<At<Duration>>,
    window: Option<At<Duration>>,
    suspect_interval: Option<At<Duration>>,
}

impl PaceKeys {
    pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Self {
        Self {
            mode: reader.choice("mode", &keys::PROBE_MODES),
            period: reader.duration("period", between(1, HOUR_MS)),
            count: small(reader, "count", 1, COUNT_MAX),
            spacing: reader.duration("spacing", between(1, 10_000)),
            interval: reader.duration("interval", between(1, HOUR_MS)),
            window: window(reader),
            suspect_interval: reader.duration(
                "suspect_interval",
                SUSPECT_INTERVAL_MIN..=Duration::from_millis(HOUR_MS),
            ),
        }
    }

    /// Says of each key that it is for the other mode than the one that holds where it stands.
    pub(super) fn refuse_strangers(&self, reader: &mut Reader<'_, '_, '_>, inherited: &Self) {
        let mode = value(&self.mode, inherited.word());
        let (others, other, own) = match mode {
            ModeWord::Burst => (self.rolling_spans(), ModeWord::Rolling, ModeWord::Burst),
            ModeWord::Rolling => (self.burst_spans(), ModeWord::Burst, ModeWord::Rolling),
        };
        let word = |mode| keys::word(&keys::PROBE_MODES, &mode);
        let what = match own {
            ModeWord::Burst => "`period`, `count`, `spacing` and `suspect_interval`",
            ModeWord::Rolling => "`interval`, `window` and `suspect_interval`",
        };
        for (key, span) in others {
            let message = format!(
                "`{}` is for mode {:?}; mode {:?} has {what}",
                reader.key(key),
                word(other),
                word(own)
            );
            reader.error(span, message);
        }
    }

    /// These keys where given, else those. Keys of the mode that does not hold are never looked at.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            mode: self.mode.or(other.mode),
            period: self.period.or(other.period),
            count: self.count.or(other.count),
            spacing: self.spacing.or(other.spacing),
            interval: self.interval.or(other.interval),
            window: self.window.or(other.window),
            suspect_interval: self.suspect_interval.or(other.suspect_interval),
        }
    }

    /// They choose another mode than those.
    pub(super) fn chooses_another(&self, other: &Self) -> bool {
        let own = self.mode.as_ref().map(|at| at.value);
        own.is_some_and(|own| own != other.word())
    }

    pub(super) fn word(&self) -> ModeWord {
        value(&self.mode, ModeWord::Burst)
    }

    /// What they come to, with this timeout.
    pub(super) fn mode(&self, reader: &mut Reader<'_, '_, '_>, timeout: Duration) -> ProbeMode {
        match self.word() {
            ModeWord::Burst => ProbeMode::Burst(self.burst(reader)),
            ModeWord::Rolling => ProbeMode::Rolling(self.rolling(reader, timeout)),
        }
    }

    fn burst(&self, reader: &mut Reader<'_, '_, '_>) -> BurstConfig {
        let period = value(&self.period, keys::PERIOD_DEFAULT);
        let count = value(&self.count, keys::COUNT_DEFAULT);
        let spacing = value(&self.spacing, keys::SPACING_DEFAULT);
        let burst = spacing * u32::from(count - 1);
        if burst >= period {
            let own = [&self.period, &self.spacing]
                .into_iter()
                .flatten()
                .map(|at| at.span.clone());
            let span = own
                .chain(self.count.as_ref().map(|at| at.span.clone()))
                .next()
                .unwrap_or(reader.span.clone());
            reader.error(
                span,
                format!(
                    "`period` {} is not longer than a burst: {count} requests, {} apart, take {}",
                    duration::write(period),
                    duration::write(spacing),
                    duration::write(burst)
                ),
            );
        }
        let suspect_interval = self.suspect_interval(reader, ("period", period));
        if let (Some(suspect), Some(at)) = (suspect_interval, &self.suspect_interval)
            && burst >= suspect
        {
            let message = format!(
                "`suspect_interval` {} is not longer than a burst: {count} requests, {} apart, take {}",
                duration::write(suspect),
                duration::write(spacing),
                duration::write(burst)
            );
            reader.error(at.span.clone(), message);
        }
        BurstConfig {
            period,
            count,
            spacing,
            suspect_interval,
        }
    }

    /// What it is, where given; not longer than what it is to be shorter than.
    fn suspect_interval(
        &self,
        reader: &mut Reader<'_, '_, '_>,
        (key, usual): (&str, Duration),
    ) -> Option<Duration> {
        let at = self.suspect_interval.as_ref()?;
        if at.value > usual {
            let message = format!(
                "`suspect_interval` {} is longer than `{key}` {}: a suspicion is to be cleared up faster",
                duration::write(at.value),
                duration::write(usual)
            );
            reader.error(at.span.clone(), message);
        }
        Some(at.value)
    }

    fn rolling(&self, reader: &mut Reader<'_, '_, '_>, timeout: Duration) -> RollingConfig {
        let interval = value(&self.interval, keys::INTERVAL_DEFAULT);
        let least = interval + timeout;
        let window = value(&self.window, keys::WINDOW_DEFAULT.max(10 * least));
        let span = |first: &Option<At<Duration>>, header: std::ops::Range<usize>| {
            let given = first.as_ref().or(self.interval.as_ref());
            given.map_or(header, |at| at.span.clone())
        };
        if window < least {
            let message = format!(
                "`window` {} is shorter than `interval` and `timeout` together ({}): no probe would be judged while it counts",
                duration::write(window),
                duration::write(least)
            );
            reader.error(span(&self.window, reader.span.clone()), message);
        }
        let probes = window.as_nanos() / interval.as_nanos().max(1);
        if probes > WINDOW_PROBES_MAX {
            let message = format!(
                "`window` {} holds {probes} probes, {} apart, and {WINDOW_PROBES_MAX} is the most",
                duration::write(window),
                duration::write(interval)
            );
            reader.error(span(&self.window, reader.span.clone()), message);
        }
        let suspect_interval = self.suspect_interval(reader, ("interval", interval));
        RollingConfig {
            interval,
            window,
            suspect_interval,
        }
    }

    fn burst_spans(&self) -> Vec<(&'static str, std::ops::Range<usize>)> {
        let count = self.count.as_ref().map(|at| at.span.clone());
        [
            ("period", span_of(&self.period)),
            ("count", count),
            ("spacing", span_of(&self.spacing)),
        ]
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
        .collect()
    }

    fn rolling_spans(&self) -> Vec<(&'static str, std::ops::Range<usize>)> {
        [
            ("interval", span_of(&self.interval)),
            ("window", span_of(&self.window)),
        ]
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
        .collect()
    }
}

fn span_of(at: &Option<At<Duration>>) -> Option<std::ops::Range<usize>> {
    at.as_ref().map(|at| at.span.clone())
}

/// In an `[[uplink]]` a `window` may also be that of `[health]`, which is a whole number.
fn window(reader: &mut Reader<'_, '_, '_>) -> Option<At<Duration>> {
    if reader.is_of_uplink() && is_window_of_health(reader) {
        return None;
    }
    reader.duration("window", between(1, 24 * HOUR_MS))
}

/// Whether `window` of an `[[uplink]]` is a number of bursts and not a duration.
pub(super) fn is_window_of_health(reader: &mut Reader<'_, '_, '_>) -> bool {
    let found = reader.value("window").map(|found| found.get_ref());
    !matches!(found, None | Some(DeValue::String(_)))
}
