//! How an uplink is judged: the keys of `[health]`, there or in an `[[uplink]]`, and what they come to.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    check::between,
    duration, keys,
    passive::Handshakes,
    policy::{small, value},
    reader::{At, Reader},
};

/// Verdicts in a row or in a window; more than this is a typing error.
const ROW_MAX: u32 = 1000;
/// As many requests as a burst may have.
const LOST_MAX: u32 = 1000;
const HOLD_DOWN_MAX_MS: u64 = 24 * 3_600_000;
/// The wire to a neighbour takes some ten microseconds.
const DELAY_MIN: Duration = Duration::from_micros(1);
const DELAY_MAX: Duration = Duration::from_secs(60);

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

/// What a good burst may show at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A burst that lost more requests than this is bad.
    pub max_lost: u16,
    /// A burst whose mean RTT is not below this is bad.
    pub max_delay: Duration,
    /// A burst whose jitter is not below this is bad; none: jitter is not judged. The jitter of a burst is the mean absolute
    /// difference of consecutive RTTs, RFC 3550's D without its smoothing; a burst with fewer than two answers has none.
    pub max_jitter: Option<Duration>,
}

/// How verdicts make a state.
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
    max_lost: Option<At<u16>>,
    max_delay: Option<At<Duration>>,
    max_jitter: Option<At<Duration>>,
    recover_lost: Option<At<u16>>,
    recover_delay: Option<At<Duration>>,
    recover_jitter: Option<At<Duration>>,
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
            max_lost: small(reader, "max_lost", 0, LOST_MAX),
            max_delay: reader.duration("max_delay", DELAY_MIN..=DELAY_MAX),
            max_jitter: reader.duration("max_jitter", DELAY_MIN..=DELAY_MAX),
            recover_lost: small(reader, "recover_lost", 0, LOST_MAX),
            recover_delay: reader.duration("recover_delay", DELAY_MIN..=DELAY_MAX),
            recover_jitter: reader.duration("recover_jitter", DELAY_MIN..=DELAY_MAX),
            fall: small(reader, "fall", 1, ROW_MAX),
            rise: small(reader, "rise", 1, ROW_MAX),
            window: small(reader, "window", 1, ROW_MAX),
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
            max_lost: self.max_lost.or(other.max_lost),
            max_delay: self.max_delay.or(other.max_delay),
            max_jitter: self.max_jitter.or(other.max_jitter),
            recover_lost: self.recover_lost.or(other.recover_lost),
            recover_delay: self.recover_delay.or(other.recover_delay),
            recover_jitter: self.recover_jitter.or(other.recover_jitter),
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

    /// What they come to for bursts of so many requests to so many targets, if that is known.
    pub(super) fn config(
        &self,
        reader: &mut Reader<'_, '_, '_>,
        count: u16,
        targets: Option<usize>,
    ) -> HealthConfig {
        if let Some(At { value, span }) = &self.max_lost
            && *value >= count
        {
            let message = format!(
                "`max_lost` {value} is not below `count` {count}: only a burst without any reply is bad by its losses"
            );
            reader.warning(span.clone(), message);
        }
        let fail = Limits {
            max_lost: value(&self.max_lost, keys::MAX_LOST_DEFAULT.min(count / 2)),
            max_delay: value(&self.max_delay, keys::MAX_DELAY_DEFAULT),
            max_jitter: self.max_jitter.as_ref().map(|at| at.value),
        };
        HealthConfig {
            fail,
            recover: self.recover(reader, fail),
            rule: self.rule(reader),
            quorum: self.quorum(reader, targets),
            hold_down: value(&self.hold_down, keys::HOLD_DOWN_DEFAULT),
            handshakes: value(&self.handshakes, Handshakes::Report),
        }
    }

    fn recover(&self, reader: &mut Reader<'_, '_, '_>, fail: Limits) -> Limits {
        let recover = Limits {
            max_lost: value(&self.recover_lost, fail.max_lost),
            max_delay: value(&self.recover_delay, fail.max_delay),
            max_jitter: self
                .recover_jitter
                .as_ref()
                .map_or(fail.max_jitter, |at| Some(at.value)),
        };
        let mut above = |key: &str, span, recover: String, limit: &str, fail: String| {
            let message = format!(
                "`{key}` {recover} is above `{limit}` {fail}: what comes up must be better than what stays up"
            );
            reader.error(span, message);
        };
        if let Some(At { value, span }) = &self.recover_lost
            && *value > fail.max_lost
        {
            let (recover, fail) = (value.to_string(), fail.max_lost.to_string());
            above("recover_lost", span.clone(), recover, "max_lost", fail);
        }
        if let Some(At { value, span }) = &self.recover_delay
            && *value > fail.max_delay
        {
            let (recover, fail) = (duration::write(*value), duration::write(fail.max_delay));
            above("recover_delay", span.clone(), recover, "max_delay", fail);
        }
        if let Some(At { value, span }) = &self.recover_jitter
            && let Some(fail) = fail.max_jitter
            && *value > fail
        {
            let (recover, fail) = (duration::write(*value), duration::write(fail));
            above("recover_jitter", span.clone(), recover, "max_jitter", fail);
        }
        recover
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
