//! How an uplink is judged: the keys of `[health]`, there or in an `[[uplink]]`, and what they come to.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    check::between,
    duration, keys,
    limits::{LimitKeys, Limits},
    pace::{self, ProbeMode, RollingConfig},
    passive::Handshakes,
    policy::{small, value},
    reader::{At, Reader},
};

/// Verdicts in a row or in a window; more than this is a typing error.
const ROW_MAX: u32 = 1000;
const HOLD_DOWN_MAX_MS: u64 = 24 * 3_600_000;

/// When an uplink counts as up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// What a burst may show at most while its path is up.
    pub fail: Limits,
    /// What a burst may show at most while its path is not up; nowhere above `fail`.
    pub recover: Limits,
    /// How verdicts make a state.
    pub rule: Rule,
    /// How many targets must be up for the uplink to be up.
    pub quorum: Quorum,
    /// How long an uplink must have been good before traffic goes back to it.
    pub hold_down: Duration,
    /// What the fate of TCP handshakes means for it.
    pub handshakes: Handshakes,
}

impl HealthConfig {
    /// What a burst of a path may show at most.
    pub(crate) fn limits(&self, is_up: bool) -> &Limits {
        if is_up { &self.fail } else { &self.recover }
    }
}

/// How verdicts make a state. In mode `rolling`, probes take the place of bursts, and there is no window of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// So many in a row.
    InARow {
        /// Bad bursts in a row until down; at least 1.
        fall: u16,
        /// Good bursts in a row until up; at least 1.
        rise: u16,
    },
    /// Up if and only if, of the last `window` verdicts, at most `max_failed` are bad and more than `min_consecutive` at the end are
    /// good.
    Window {
        /// How many verdicts are looked back on; at least 1.
        window: u16,
        /// Bad ones among them, at most.
        max_failed: u16,
        /// Good ones in a row at the end, to be exceeded; below `window`.
        min_consecutive: u16,
    },
}

impl Rule {
    /// `fall` and `rise`. Mode `rolling` has no other rule.
    pub(crate) fn in_a_row(&self) -> (u16, u16) {
        match *self {
            Self::InARow { fall, rise } => (fall, rise),
            Self::Window { .. } => {
                unreachable!("a window of verdicts is refused with mode rolling")
            }
        }
    }
}

/// How many of an uplink's targets must be up for it to be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// One.
    Any,
    /// Every one.
    All,
    /// So many; at least 1, at most the number of targets.
    AtLeast(u16),
}

impl Quorum {
    /// How many of so many targets.
    pub(crate) fn of(self, targets: usize) -> usize {
        match self {
            Self::Any => 1,
            Self::All => targets,
            Self::AtLeast(count) => usize::from(count).min(targets),
        }
    }
}

/// The keys of `[health]`, as far as they were given.
#[derive(Clone, Default)]
pub(super) struct HealthKeys {
    limits: LimitKeys,
    fall: Option<At<u16>>,
    rise: Option<At<u16>>,
    window: Option<At<u16>>,
    max_failed: Option<At<u16>>,
    min_consecutive: Option<At<u16>>,
    quorum: Option<At<Quorum>>,
    hold_down: Option<At<Duration>>,
    handshakes: Option<At<Handshakes>>,
}

impl HealthKeys {
    pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Self {
        Self {
            limits: LimitKeys::read(reader),
            fall: small(reader, "fall", 1, ROW_MAX),
            rise: small(reader, "rise", 1, ROW_MAX),
            window: window(reader),
            max_failed: small(reader, "max_failed", 0, ROW_MAX),
            min_consecutive: small(reader, "min_consecutive", 0, ROW_MAX),
            quorum: quorum(reader),
            hold_down: reader.duration("hold_down", between(0, HOLD_DOWN_MAX_MS)),
            handshakes: reader.choice("handshakes", &keys::HANDSHAKES),
        }
    }

    /// These keys where given, else those. An uplink that says how verdicts make its state in one way does not inherit the other.
    pub(super) fn or(self, other: &Self) -> Self {
        let mut other = other.clone();
        let own_row = self.fall.is_some() || self.rise.is_some();
        let own_window =
            self.window.is_some() || self.max_failed.is_some() || self.min_consecutive.is_some();
        if own_row {
            (other.window, other.max_failed, other.min_consecutive) = (None, None, None);
        }
        if own_window {
            (other.fall, other.rise) = (None, None);
        }
        Self {
            limits: self.limits.or(other.limits),
            fall: self.fall.or(other.fall),
            rise: self.rise.or(other.rise),
            window: self.window.or(other.window),
            max_failed: self.max_failed.or(other.max_failed),
            min_consecutive: self.min_consecutive.or(other.min_consecutive),
            quorum: self.quorum.or(other.quorum),
            hold_down: self.hold_down.or(other.hold_down),
            handshakes: self.handshakes.or(other.handshakes),
        }
    }

    /// These keys without those that count bursts, or probes: what an uplink in another mode inherits.
    pub(super) fn for_other_mode(&self) -> Self {
        Self {
            limits: self.limits.without_losses(),
            quorum: self.quorum.clone(),
            hold_down: self.hold_down.clone(),
            handshakes: self.handshakes.clone(),
            ..Self::default()
        }
    }

    /// What they come to for probes in this mode, with this timeout, to so many targets, if that is known.
    pub(super) fn config(
        &self,
        reader: &mut Reader<'_, '_, '_>,
        mode: ProbeMode,
        timeout: Duration,
        targets: Option<usize>,
    ) -> HealthConfig {
        let (fail, recover) = self.limits.config(reader, mode);
        HealthConfig {
            fail,
            recover,
            rule: match mode {
                ProbeMode::Burst(_) => self.rule(reader),
                ProbeMode::Rolling(rolling) => self.in_a_row(reader, &rolling, timeout),
            },
            quorum: self.quorum(reader, targets),
            hold_down: value(&self.hold_down, keys::HOLD_DOWN_DEFAULT),
            handshakes: value(&self.handshakes, Handshakes::Report),
        }
    }

    fn rule(&self, reader: &mut Reader<'_, '_, '_>) -> Rule {
        let in_a_row = [("fall", &self.fall), ("rise", &self.rise)];
        let in_window = [
            ("max_failed", &self.max_failed),
            ("min_consecutive", &self.min_consecutive),
        ];
        let Some(window) = &self.window else {
            for (key, at) in in_window {
                if let Some(at) = at {
                    let message = format!("`{key}` means nothing without `window`");
                    reader.error(at.span.clone(), message);
                }
            }
            return Rule::InARow {
                fall: value(&self.fall, keys::FALL_DEFAULT),
                rise: value(&self.rise, keys::RISE_DEFAULT),
            };
        };
        for (key, at) in in_a_row {
            if let Some(at) = at {
                let message =
                    format!("`{key}` and `window` exclude each other: two rules for one state");
                reader.error(at.span.clone(), message);
            }
        }
        if let Some(At { value, span }) = &self.min_consecutive
            && *value >= window.value
        {
            let message = format!(
                "`min_consecutive` {value} is not below `window` {}: the uplink would never be up",
                window.value
            );
            reader.error(span.clone(), message);
        }
        let window = window.value;
        Rule::Window {
            window,
            max_failed: value(&self.max_failed, window),
            min_consecutive: value(
                &self.min_consecutive,
                keys::MIN_CONSECUTIVE_DEFAULT.min(window - 1),
            ),
        }
    }

    /// The rule for probes one by one: misses and answers in a row.
    fn in_a_row(
        &self,
        reader: &mut Reader<'_, '_, '_>,
        rolling: &RollingConfig,
        timeout: Duration,
    ) -> Rule {
        let strangers = [
            ("window", &self.window),
            ("max_failed", &self.max_failed),
            ("min_consecutive", &self.min_consecutive),
        ];
        for (key, at) in strangers {
            if let Some(at) = at {
                let message = format!(
                    "`{key}` as a number counts bursts, and in mode \"rolling\" there are none: `fall`, `rise` and the limits \
                     over [probe] `window` (a duration) judge"
                );
                reader.error(at.span.clone(), message);
            }
        }
        let fall = value(&self.fall, keys::ROLLING_FALL_DEFAULT);
        let rise = value(&self.rise, keys::ROLLING_RISE_DEFAULT);
        let needed = rolling.interval * u32::from(fall.max(rise)) + timeout;
        if rolling.window >= rolling.interval + timeout && rolling.window < needed {
            let own = [&self.fall, &self.rise].into_iter().flatten().next();
            let span = own.map_or(reader.span.clone(), |at| at.span.clone());
            let message = format!(
                "{} probes in a row, {} apart, and the `timeout` take {}, longer than the `window` {} in which they count",
                fall.max(rise),
                duration::write(rolling.interval),
                duration::write(needed),
                duration::write(rolling.window)
            );
            reader.error(span, message);
        }
        Rule::InARow { fall, rise }
    }

    fn quorum(&self, reader: &mut Reader<'_, '_, '_>, targets: Option<usize>) -> Quorum {
        if let Some(At {
            value: Quorum::AtLeast(count),
            span,
        }) = &self.quorum
            && let Some(targets) = targets
            && usize::from(*count) > targets
        {
            let message = format!("`quorum` {count} is more than there are `targets`: {targets}");
            reader.error(span.clone(), message);
        }
        value(&self.quorum, Quorum::Any)
    }
}

/// In an `[[uplink]]` a `window` may also be that of `[probe]`, which is a duration.
fn window(reader: &mut Reader<'_, '_, '_>) -> Option<At<u16>> {
    if reader.is_of_uplink() && !pace::is_window_of_health(reader) {
        return None;
    }
    small(reader, "window", 1, ROW_MAX)
}

fn quorum(reader: &mut Reader<'_, '_, '_>) -> Option<At<Quorum>> {
    const ALLOWED: &str = "\"any\", \"all\" or how many targets must be up, from 1";
    let found = reader.value("quorum")?;
    let value = match found.get_ref() {
        DeValue::String(word) => keys::QUORUMS
            .iter()
            .find(|(name, _)| *name == word.as_ref())
            .map(|(_, quorum)| *quorum),
        DeValue::Integer(number) => {
            u16::from_str_radix(&number.as_str().replace('_', ""), number.radix())
                .ok()
                .filter(|&count| count > 0)
                .map(Quorum::AtLeast)
        }
        _ => None,
    };
    match value {
        Some(value) => Some(At {
            value,
            span: found.span(),
        }),
        None => reader.wrong("quorum", found.span(), ALLOWED),
    }
}
