//! How an uplink is probed and judged: the keys of `[probe]` and `[health]`, there or in an `[[uplink]]`.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use pingu_common::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, reflector::REFLECTED_PAYLOAD_BYTES_MIN};

use super::{
    HealthConfig, ProbeConfig,
    check::{address_fault, between},
    health::HealthKeys,
    keys,
    pace::{PaceKeys, ProbeMode},
    passive::{PassiveKeys, Round},
    reader::{At, Reader},
};

/// All addresses of a /16; all uplinks together have at most [`super::check::PATHS_MAX`].
const TARGETS_MAX: usize = 65_536;

/// The keys of `[probe]` and `[health]`, as far as they were given.
#[derive(Clone, Default)]
struct Keys {
    targets: Option<At<Vec<IpAddr>>>,
    pace: PaceKeys,
    timeout: Option<At<Duration>>,
    size_bytes: Option<At<u16>>,
    reflect: Option<At<bool>>,
    passive: PassiveKeys,
    health: HealthKeys,
}

impl Keys {
    fn read_probe(&mut self, reader: &mut Reader<'_, '_, '_>) {
        self.targets = targets(reader);
        self.pace = PaceKeys::read(reader);
        self.timeout = reader.duration("timeout", between(1, 60_000));
        self.size_bytes = small(
            reader,
            "size",
            PAYLOAD_BYTES_MIN.into(),
            PAYLOAD_BYTES_MAX.into(),
        );
        self.reflect = reader.boolean("reflect");
        self.passive = PassiveKeys::read(reader);
    }

    /// These keys where given, else those.
    fn or(self, other: &Self) -> Self {
        let other = other.clone();
        let health = if self.pace.chooses_another(&other.pace) {
            other.health.for_other_mode()
        } else {
            other.health
        };
        Self {
            targets: self.targets.or(other.targets),
            pace: self.pace.or(other.pace),
            timeout: self.timeout.or(other.timeout),
            size_bytes: self.size_bytes.or(other.size_bytes),
            reflect: self.reflect.or(other.reflect),
            passive: self.passive.or(&other.passive),
            health: self.health.or(&health),
        }
    }

    fn timeout(&self) -> Duration {
        value(&self.timeout, keys::TIMEOUT_DEFAULT)
    }

    fn probe(&self, reader: &mut Reader<'_, '_, '_>, mode: ProbeMode) -> Option<ProbeConfig> {
        let size_bytes = value(&self.size_bytes, keys::SIZE_BYTES_DEFAULT);
        if let Some(At { value: true, span }) = &self.reflect
            && size_bytes < REFLECTED_PAYLOAD_BYTES_MIN
        {
            let message = format!(
                "`size` {size_bytes} is too small for `reflect`: a reflector writes up to byte {REFLECTED_PAYLOAD_BYTES_MIN} of the payload"
            );
            let size = self.size_bytes.as_ref().map(|at| at.span.clone());
            reader.error(size.unwrap_or(span.clone()), message);
        }
        let targets = self.targets.as_ref()?.value.clone();
        let probes = [false, true].map(|ipv6| {
            let of_family = targets.iter().filter(|target| target.is_ipv6() == ipv6);
            of_family.count() as u64 * u64::from(mode.probes_at_once())
        });
        let round = Round { probes, size_bytes };
        let passive = self.passive.config(reader, mode.period(), round);
        Some(ProbeConfig {
            targets,
            mode,
            timeout: self.timeout(),
            size_bytes,
            reflect: value(&self.reflect, keys::REFLECT_DEFAULT),
            passive,
        })
    }

    fn health(&self, reader: &mut Reader<'_, '_, '_>, mode: ProbeMode) -> HealthConfig {
        let targets = self.targets.as_ref().map(|at| at.value.len());
        self.health.config(reader, mode, self.timeout(), targets)
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
            let no_mode = PaceKeys::default();
            keys.pace.refuse_strangers(&mut probe, &no_mode);
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
        own.pace.refuse_strangers(reader, &self.keys.pace);
        let keys = own.or(&self.keys);
        if !self.targets_given && !reader.has("targets") {
            let key = reader.key("targets");
            let message =
                "is needed, here or in [probe]: a list of addresses that answer echo requests";
            reader.missing(reader.span.clone(), format!("`{key}` {message}"));
        }
        let mode = keys.pace.mode(reader, keys.timeout());
        let probe = keys.probe(reader, mode);
        let health = keys.health(reader, mode);
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
    let mut targets: Vec<IpAddr> = Vec::with_capacity(found.len());
    let mut known = HashSet::new();
    for At {
        value: target,
        span,
    } in found
    {
        if !known.insert(target) {
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
