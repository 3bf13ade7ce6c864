//! How an uplink is probed and judged: the keys of `[probe]` and `[health]`, there or in an `[[uplink]]`.

use std::{net::IpAddr, time::Duration};

use pingu_common::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};

use super::{
    HealthConfig, ProbeConfig,
    check::{address_fault, between},
    duration,
    health::HealthKeys,
    keys,
    passive::{PassiveKeys, Round},
    reader::{At, Reader},
};

/// One burst of a path is sent by a single thread between other work.
const COUNT_MAX: u32 = 1000;
/// One uplink's targets are all probed in the same period.
const TARGETS_MAX: usize = 64;
const HOUR_MS: u64 = 3_600_000;

/// The keys of `[probe]` and `[health]`, as far as they were given.
#[derive(Clone, Default)]
struct Keys {
    targets: Option<At<Vec<IpAddr>>>,
    period: Option<At<Duration>>,
    count: Option<At<u16>>,
    spacing: Option<At<Duration>>,
    timeout: Option<At<Duration>>,
    size_bytes: Option<At<u16>>,
    passive: PassiveKeys,
    health: HealthKeys,
}

impl Keys {
    fn read_probe(&mut self, reader: &mut Reader<'_, '_, '_>) {
        self.targets = targets(reader);
        self.period = reader.duration("period", between(1, HOUR_MS));
        self.count = small(reader, "count", 1, COUNT_MAX);
        self.spacing = reader.duration("spacing", between(1, 10_000));
        self.timeout = reader.duration("timeout", between(1, 60_000));
        self.size_bytes = small(
            reader,
            "size",
            PAYLOAD_BYTES_MIN.into(),
            PAYLOAD_BYTES_MAX.into(),
        );
        self.passive = PassiveKeys::read(reader);
    }

    /// These keys where given, else those.
    fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            targets: self.targets.or(other.targets),
            period: self.period.or(other.period),
            count: self.count.or(other.count),
            spacing: self.spacing.or(other.spacing),
            timeout: self.timeout.or(other.timeout),
            size_bytes: self.size_bytes.or(other.size_bytes),
            passive: self.passive.or(&other.passive),
            health: self.health.or(&other.health),
        }
    }

    fn probe(&self, reader: &mut Reader<'_, '_, '_>) -> Option<ProbeConfig> {
        let header = reader.span.clone();
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
                .unwrap_or(header.clone());
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
        let targets = self.targets.as_ref()?.value.clone();
        let size_bytes = value(&self.size_bytes, keys::SIZE_BYTES_DEFAULT);
        let probes = [false, true].map(|ipv6| {
            let of_family = targets.iter().filter(|target| target.is_ipv6() == ipv6);
            of_family.count() as u64 * u64::from(count)
        });
        let round = Round { probes, size_bytes };
        let passive = self.passive.config(reader, period, round);
        Some(ProbeConfig {
            targets,
            period,
            count,
            spacing,
            timeout: value(&self.timeout, keys::TIMEOUT_DEFAULT),
            size_bytes,
            passive,
        })
    }

    fn health(&self, reader: &mut Reader<'_, '_, '_>) -> HealthConfig {
        let count = value(&self.count, keys::COUNT_DEFAULT);
        let targets = self.targets.as_ref().map(|at| at.value.len());
        self.health.config(reader, count, targets)
    }
}

/// What `[probe]` and `[health]` say for every uplink.
pub(super) struct Defaults {
    keys: Keys,
    /// Whether `[probe]` has targets, rightly or not.
    targets_given: bool,
}

impl Defaults {
    pub(super) fn read(top: &mut Reader<'_, '_, '_>) -> Self {
        let mut keys = Keys::default();
        let mut targets_given = false;
        if let Some(mut probe) = top.table("probe") {
            targets_given = probe.has("targets");
            keys.read_probe(&mut probe);
            probe.finish();
        }
        if let Some(mut health) = top.table("health") {
            keys.health = HealthKeys::read(&mut health);
            health.finish();
        }
        Self {
            keys,
            targets_given,
        }
    }

    /// What holds for an uplink, whose own keys win; none with an error said.
    pub(super) fn overridden_by(
        &self,
        reader: &mut Reader<'_, '_, '_>,
    ) -> Option<(ProbeConfig, HealthConfig)> {
        let mut own = Keys::default();
        own.read_probe(reader);
        own.health = HealthKeys::read(reader);
        let keys = own.or(&self.keys);
        if !self.targets_given && !reader.has("targets") {
            let key = reader.key("targets");
            let message =
                "is needed, here or in [probe]: a list of addresses that answer echo requests";
            reader.missing(reader.span.clone(), format!("`{key}` {message}"));
        }
        let probe = keys.probe(reader);
        let health = keys.health(reader);
        Some((probe?, health))
    }
}

fn targets(reader: &mut Reader<'_, '_, '_>) -> Option<At<Vec<IpAddr>>> {
    const ALLOWED: &str = "addresses of single hosts, in quotes (names are not resolved)";
    let At { value: found, span } = reader.addresses("targets", false, (address_fault, ALLOWED))?;
    if found.is_empty() || found.len() > TARGETS_MAX {
        let allowed = format!("a list of 1 to {TARGETS_MAX} IP addresses");
        return reader.wrong("targets", span, &allowed);
    }
    let mut targets: Vec<IpAddr> = Vec::new();
    for At {
        value: target,
        span,
    } in found
    {
        if targets.contains(&target) {
            let key = reader.key("targets");
            reader.error(span, format!("`{key}` has {target} twice"));
        } else {
            targets.push(target);
        }
    }
    Some(At {
        value: targets,
        span,
    })
}

/// A whole number below 65,536.
pub(super) fn small(
    reader: &mut Reader<'_, '_, '_>,
    key: &'static str,
    from: u32,
    to: u32,
) -> Option<At<u16>> {
    let At { value, span } = reader.integer(key, from..=to)?;
    Some(At {
        value: u16::try_from(value).expect("every range ends below 65,536"),
        span,
    })
}

/// What was given, or the default.
pub(super) fn value<T: Copy>(given: &Option<At<T>>, default: T) -> T {
    given.as_ref().map_or(default, |at| at.value)
}
