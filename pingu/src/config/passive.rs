//! What passing traffic changes about probing and judging: `probe_when`, `probe_at_least`, `silence`, `budget`, and `[health] handshakes`.

use std::time::Duration;

use super::{
    EngineChoice, UplinkConfig,
    bytes::{self, Budget},
    check::between,
    duration, keys,
    policy::value,
    reader::{At, Reader},
};

const HOUR_MS: u64 = 3_600_000;

/// Below this, a request and its answer over a slow link are a silence.
const SILENCE_MIN: Duration = Duration::from_millis(100);

/// What stands before the IP header of nearly every uplink's frames.
const ETHERNET_BYTES: u64 = 14;

/// What passing traffic changes about probing, and what probing may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassiveConfig {
    /// Whether due bursts are left out while traffic shows that the uplink works.
    pub when: ProbeWhen,
    /// However much traffic passes and however little budget is left, a burst begins at least so often; no shorter than the period.
    pub at_least: Duration,
    /// Traffic that leaves without any coming in for so long causes a burst at once; none: it does not.
    pub silence: Option<Duration>,
    /// What probes and their replies may cost; none: whatever they do.
    pub budget: Option<Budget>,
}

impl Default for PassiveConfig {
    fn default() -> Self {
        Self {
            when: ProbeWhen::Always,
            at_least: keys::PROBE_AT_LEAST_DEFAULT,
            silence: Some(keys::SILENCE_DEFAULT),
            budget: None,
        }
    }
}

/// When due bursts are sent (`probe_when`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeWhen {
    /// Each one.
    Always,
    /// Those that fall into a time without traffic that shows that the uplink works.
    Idle,
}

/// What the fate of TCP handshakes means for an uplink (`handshakes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshakes {
    /// Nothing.
    Off,
    /// Those that succeed keep an uplink up whose pings are lost; where none succeeds although pings do, that is said.
    Report,
    /// The same, and an uplink where none succeeds is down.
    Judge,
}

/// The keys, as far as they were given.
#[derive(Clone, Default)]
pub(super) struct PassiveKeys {
    when: Option<At<ProbeWhen>>,
    at_least: Option<At<Duration>>,
    silence: Option<At<Duration>>,
    budget: Option<At<Budget>>,
}

impl PassiveKeys {
    pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Self {
        Self {
            when: reader.choice("probe_when", &keys::PROBE_WHENS),
            at_least: reader.duration("probe_at_least", between(1000, 24 * HOUR_MS)),
            silence: silence(reader),
            budget: budget(reader),
        }
    }

    /// These keys where given, else those.
    pub(super) fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            when: self.when.or(other.when),
            at_least: self.at_least.or(other.at_least),
            silence: self.silence.or(other.silence),
            budget: self.budget.or(other.budget),
        }
    }

    /// What they come to for bursts that begin each `period`. A round is one burst to each target, whose probes have so many bytes.
    pub(super) fn config(
        &self,
        reader: &mut Reader<'_, '_, '_>,
        period: Duration,
        round: Round,
    ) -> PassiveConfig {
        let at_least = value(&self.at_least, keys::PROBE_AT_LEAST_DEFAULT);
        if let Some(At { value, span }) = &self.at_least
            && *value < period
        {
            let message = format!(
                "`probe_at_least` {} is shorter than `period` {}, which counts instead",
                duration::write(*value),
                duration::write(period)
            );
            reader.warning(span.clone(), message);
        }
        let at_least = at_least.max(period);
        if let Some(At { value, span }) = &self.budget {
            let least = least_bytes(*value, at_least, round);
            if least > value.bytes {
                let message = format!(
                    "`budget` {} is less than bursts each `probe_at_least` {} cost, about {} bytes: it will be exceeded",
                    value,
                    duration::write(at_least),
                    least
                );
                reader.warning(span.clone(), message);
            }
        }
        let silence = value(&self.silence, keys::SILENCE_DEFAULT);
        PassiveConfig {
            when: value(&self.when, ProbeWhen::Always),
            at_least,
            silence: (!silence.is_zero()).then_some(silence),
            budget: self.budget.as_ref().map(|at| at.value),
        }
    }
}

/// Says which keys do nothing without programs, where none shall be loaded.
pub(super) fn warn_without_programs(
    top: &mut Reader<'_, '_, '_>,
    engine: &At<EngineChoice>,
    uplinks: &[UplinkConfig],
) {
    let judging = uplinks
        .iter()
        .filter(|uplink| uplink.health.handshakes == Handshakes::Judge);
    let judging: Vec<&str> = judging.map(|uplink| uplink.name.as_str()).collect();
    if engine.value == EngineChoice::Socket && !judging.is_empty() {
        let message = format!(
            "`engine = \"socket\"` loads no programs, and only these see TCP handshakes: `handshakes = \"judge\"` finds no portal ({})",
            judging.join(", ")
        );
        top.warning(engine.span.clone(), message);
    }
}

/// One burst to each target.
#[derive(Clone, Copy)]
pub(super) struct Round {
    /// Probes of it to IPv4 and to IPv6 targets.
    pub(super) probes: [u64; 2],
    /// ICMP payload in bytes.
    pub(super) size_bytes: u16,
}

/// What bursts cost in a budget's time that begin each `every`, replies included.
fn least_bytes(budget: Budget, every: Duration, round: Round) -> u64 {
    let frame = |ip: u64| ETHERNET_BYTES + ip + 8 + u64::from(round.size_bytes);
    let bytes = 2 * (round.probes[0] * frame(20) + round.probes[1] * frame(40));
    let rounds = budget.per.length_max().as_secs() / every.as_secs().max(1);
    bytes.saturating_mul(rounds)
}

fn silence(reader: &mut Reader<'_, '_, '_>) -> Option<At<Duration>> {
    let at = reader.duration("silence", between(0, HOUR_MS))?;
    if at.value.is_zero() || at.value >= SILENCE_MIN {
        return Some(at);
    }
    let allowed = format!(
        "at least {}, or \"0s\" for none",
        duration::write(SILENCE_MIN)
    );
    reader.wrong("silence", at.span, &allowed)
}

fn budget(reader: &mut Reader<'_, '_, '_>) -> Option<At<Budget>> {
    let At { value, span } = reader.string("budget")?;
    match bytes::parse(&value) {
        Some(value) => Some(At { value, span }),
        None => reader.wrong("budget", span, bytes::ALLOWED),
    }
}
