//! What a good burst, or a good window, may show at most: limits of losses, delay and jitter, and those to recover.

use std::{ops::Range, time::Duration};

use super::{
    duration, keys,
    pace::ProbeMode,
    policy::{small, value},
    reader::{At, Reader},
};

/// As many requests as a burst may have.
const LOST_MAX: u32 = 1000;
const PERCENT_MAX: u32 = 100;
/// The wire to a neighbour takes some ten microseconds.
const DELAY_MIN: Duration = Duration::from_micros(1);
const DELAY_MAX: Duration = Duration::from_secs(60);

/// What a good burst, or a good window of mode `rolling`, may show at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What lost more requests than this is bad.
    pub loss: LossLimit,
    /// A burst whose mean RTT is not below this is bad.
    pub max_delay: Duration,
    /// A burst whose jitter is not below this is bad; none: jitter is not judged. The jitter of a burst is the mean absolute
    /// difference of consecutive RTTs, RFC 3550's D without its smoothing; a burst with fewer than two answers has none.
    pub max_jitter: Option<Duration>,
}

/// How many requests may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossLimit {
    /// So many of those that are judged together (`max_lost`).
    Probes(u16),
    /// This share of them in percent, at most 100 (`max_loss`).
    Percent(u8),
}

impl LossLimit {
    /// How many of so many.
    pub fn of(self, probes: u32) -> u32 {
        match self {
            Self::Probes(most) => most.into(),
            // Their share exceeds the limit exactly where their number exceeds this one, rounded down.
            Self::Percent(percent) => {
                let most = u64::from(probes) * u64::from(percent) / 100;
                u32::try_from(most).expect("a share of a u32")
            }
        }
    }
}

impl std::fmt::Display for LossLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Probes(most) => write!(f, "{most}"),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

/// The keys that say it, as far as they were given.
#[derive(Clone, Default)]
pub(super) struct LimitKeys {
    max_lost: Option<At<u16>>,
    max_loss: Option<At<u16>>,
    max_delay: Option<At<Duration>>,
    max_jitter: Option<At<Duration>>,
    recover_lost: Option<At<u16>>,
    recover_loss: Option<At<u16>>,
    recover_delay: Option<At<Duration>>,
    recover_jitter: Option<At<Duration>>,
}

impl LimitKeys {
    pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Self {
        Self {
            max_lost: small(reader, "max_lost", 0, LOST_MAX),
            max_loss: small(reader, "max_loss", 0, PERCENT_MAX),
            max_delay: reader.duration("max_delay", DELAY_MIN..=DELAY_MAX),
            max_jitter: reader.duration("max_jitter", DELAY_MIN..=DELAY_MAX),
            recover_lost: small(reader, "recover_lost", 0, LOST_MAX),
            recover_loss: small(reader, "recover_loss", 0, PERCENT_MAX),
            recover_delay: reader.duration("recover_delay", DELAY_MIN..=DELAY_MAX),
            recover_jitter: reader.duration("recover_jitter", DELAY_MIN..=DELAY_MAX),
        }
    }

    /// These keys where given, else those. An uplink that limits losses in one way does not inherit the other.
    pub(super) fn or(self, mut other: Self) -> Self {
        if self.max_lost.is_some() || self.recover_lost.is_some() {
            (other.max_loss, other.recover_loss) = (None, None);
        }
        if self.max_loss.is_some() || self.recover_loss.is_some() {
            (other.max_lost, other.recover_lost) = (None, None);
        }
        Self {
            max_lost: self.max_lost.or(other.max_lost),
            max_loss: self.max_loss.or(other.max_loss),
            max_delay: self.max_delay.or(other.max_delay),
            max_jitter: self.max_jitter.or(other.max_jitter),
            recover_lost: self.recover_lost.or(other.recover_lost),
            recover_loss: self.recover_loss.or(other.recover_loss),
            recover_delay: self.recover_delay.or(other.recover_delay),
            recover_jitter: self.recover_jitter.or(other.recover_jitter),
        }
    }

    /// These keys but for the limits of losses.
    pub(super) fn without_losses(&self) -> Self {
        Self {
            max_lost: None,
            max_loss: None,
            recover_lost: None,
            recover_loss: None,
            ..self.clone()
        }
    }

    /// What they come to in this mode: what may be shown to stay up, and to come up.
    pub(super) fn config(
        &self,
        reader: &mut Reader<'_, '_, '_>,
        mode: ProbeMode,
    ) -> (Limits, Limits) {
        let fail = Limits {
            loss: self.loss(reader, mode),
            max_delay: value(&self.max_delay, keys::MAX_DELAY_DEFAULT),
            max_jitter: self.max_jitter.as_ref().map(|at| at.value),
        };
        (fail, self.recover(reader, fail))
    }

    fn loss(&self, reader: &mut Reader<'_, '_, '_>, mode: ProbeMode) -> LossLimit {
        let together = mode.judged_together();
        let (per_cent, name, what) = match mode {
            ProbeMode::Burst(_) => (false, "`count`", "a burst"),
            ProbeMode::Rolling(_) => (true, "the probes of `window`,", "a window"),
        };
        if let (Some(lost), Some(_)) = (&self.max_lost, &self.max_loss) {
            let message = "`max_lost` and `max_loss` exclude each other: two limits for one thing";
            reader.error(lost.span.clone(), message.to_owned());
        }
        if let Some(At { value, span }) = &self.max_lost
            && u32::from(*value) >= together
        {
            let message = format!(
                "`max_lost` {value} is not below {name} {together}: only {what} without any reply is bad by its losses"
            );
            reader.warning(span.clone(), message);
        }
        let percent = |at: &At<u16>| {
            LossLimit::Percent(u8::try_from(at.value).expect("a percentage is at most 100"))
        };
        match (&self.max_lost, &self.max_loss) {
            (Some(at), _) => LossLimit::Probes(at.value),
            (None, Some(at)) => percent(at),
            (None, None) if per_cent => LossLimit::Percent(keys::MAX_LOSS_PERCENT_DEFAULT),
            (None, None) => {
                let half = u16::try_from(together / 2).unwrap_or(u16::MAX);
                LossLimit::Probes(keys::MAX_LOST_DEFAULT.min(half))
            }
        }
    }

    /// The losses that a target may have to come up.
    fn recover_loss(&self, reader: &mut Reader<'_, '_, '_>, fail: LossLimit) -> LossLimit {
        let mut refuse = |key: &str, span: &Range<usize>, message: &str| {
            reader.error(span.clone(), format!("`{key}` {message}"));
        };
        match (&self.recover_lost, &self.recover_loss, fail) {
            (None, None, fail) => fail,
            (Some(at), None, LossLimit::Probes(_)) => LossLimit::Probes(at.value),
            (None, Some(at), LossLimit::Percent(_)) => {
                LossLimit::Percent(u8::try_from(at.value).expect("a percentage is at most 100"))
            }
            (Some(at), None, LossLimit::Percent(_)) => {
                let message = "is a number of probes, and the limit of losses is in percent: say `recover_loss`";
                refuse("recover_lost", &at.span, message);
                fail
            }
            (None, Some(at), LossLimit::Probes(_)) => {
                let message = "is in percent, and the limit of losses is a number of probes: say `recover_lost`";
                refuse("recover_loss", &at.span, message);
                fail
            }
            (Some(at), Some(_), _) => {
                let message = "and `recover_loss` exclude each other: two limits for one thing";
                refuse("recover_lost", &at.span, message);
                fail
            }
        }
    }

    fn recover(&self, reader: &mut Reader<'_, '_, '_>, fail: Limits) -> Limits {
        let recover = Limits {
            loss: self.recover_loss(reader, fail.loss),
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
            && let LossLimit::Probes(most) = fail.loss
            && *value > most
        {
            let (recover, fail) = (value.to_string(), most.to_string());
            above("recover_lost", span.clone(), recover, "max_lost", fail);
        }
        if let Some(At { value, span }) = &self.recover_loss
            && let LossLimit::Percent(most) = fail.loss
            && *value > u16::from(most)
        {
            let (recover, fail) = (value.to_string(), most.to_string());
            above("recover_loss", span.clone(), recover, "max_loss", fail);
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
}
