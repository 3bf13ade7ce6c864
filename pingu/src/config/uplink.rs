//! One `[[uplink]]`, the defaults of `[probe]` and `[health]` behind it, and what several uplinks may not have in common.

use std::{collections::BTreeMap, net::IpAddr, ops::Range, time::Duration};

use pingu_common::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};
use toml::de::DeValue;

use super::{
    Gateway, HealthConfig, ProbeConfig, UplinkConfig,
    check::{between, is_unicast},
    keys,
    problem::Findings,
    reader::{At, Reader},
};
use crate::units::Metric;

/// One burst of a path is sent by a single thread between other work.
const COUNT_MAX: u32 = 1000;
/// Bursts in a row; more than this is a typing error.
const ROW_MAX: u32 = 1000;
/// One uplink's targets are all probed in the same period.
const TARGETS_MAX: usize = 64;
/// Names stand in tables and logs.
const NAME_CHARS_MAX: usize = 64;
/// `IFNAMSIZ` is 16 with the terminating NUL (netdevice(7)).
const INTERFACE_BYTES_MAX: usize = 15;
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
    max_lost: Option<At<u16>>,
    max_delay: Option<At<Duration>>,
    fall: Option<At<u16>>,
    rise: Option<At<u16>>,
    hold_down: Option<At<Duration>>,
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
    }

    fn read_health(&mut self, reader: &mut Reader<'_, '_, '_>) {
        self.max_lost = small(reader, "max_lost", 0, COUNT_MAX);
        self.max_delay = reader.duration("max_delay", between(1, 60_000));
        self.fall = small(reader, "fall", 1, ROW_MAX);
        self.rise = small(reader, "rise", 1, ROW_MAX);
        self.hold_down = reader.duration("hold_down", between(0, 24 * HOUR_MS));
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
            max_lost: self.max_lost.or(other.max_lost),
            max_delay: self.max_delay.or(other.max_delay),
            fall: self.fall.or(other.fall),
            rise: self.rise.or(other.rise),
            hold_down: self.hold_down.or(other.hold_down),
        }
    }
}

/// What `[probe]` and `[health]` say for every uplink.
pub(super) struct Defaults(Keys);

impl Defaults {
    pub(super) fn read(top: &mut Reader<'_, '_, '_>) -> Self {
        let mut keys = Keys::default();
        if let Some(mut probe) = top.table("probe") {
            keys.read_probe(&mut probe);
            probe.finish();
        }
        if let Some(mut health) = top.table("health") {
            keys.read_health(&mut health);
            health.finish();
        }
        Self(keys)
    }
}

/// An uplink as read, with the places that comparisons point at.
pub(super) struct Draft {
    /// None where an error was said.
    pub(super) config: Option<UplinkConfig>,
    header: Range<usize>,
    name: Option<At<String>>,
    interface: Option<At<String>>,
    gateway: Option<At<Gateway>>,
    metric: At<Metric>,
}

impl Draft {
    /// Reads the uplink at a place counted from 0.
    pub(super) fn read(mut reader: Reader<'_, '_, '_>, defaults: &Defaults, index: usize) -> Self {
        let header = reader.span.clone();
        let name = required(&mut reader, "name", name_is_good, NAME_ALLOWED);
        let interface = required(
            &mut reader,
            "interface",
            interface_is_good,
            INTERFACE_ALLOWED,
        );
        let gateway = gateway(&mut reader);
        let metric = reader.integer("metric", 1..=u32::MAX);
        let mut own = Keys::default();
        own.read_probe(&mut reader);
        own.read_health(&mut reader);
        let effective = own.or(&defaults.0);
        let probe = probe(&mut reader, &effective);
        let health = probe
            .as_ref()
            .map(|probe| health(&mut reader, &effective, probe.count));
        if let (Some(gateway), Some(targets)) = (&gateway, &effective.targets) {
            reachable(&mut reader, gateway, targets);
        }
        reader.finish();
        let metric = metric.map_or_else(
            || At {
                value: Metric(keys::METRIC_BASE + index as u32),
                span: header.clone(),
            },
            |at| At {
                value: Metric(at.value),
                span: at.span,
            },
        );
        let config = || {
            Some(UplinkConfig {
                name: name.clone()?.value,
                interface: interface.clone()?.value,
                gateway: gateway.clone()?.value,
                metric: metric.value,
                probe: probe?,
                health: health?,
            })
        };
        Self {
            config: config(),
            header,
            name,
            interface,
            gateway,
            metric,
        }
    }
}

/// Reports what two uplinks may not share, and metrics that contradict the order of preference.
pub(super) fn compare(drafts: &[Draft], findings: &mut Findings<'_>) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut metrics: BTreeMap<Metric, usize> = BTreeMap::new();
    let mut hops: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        let place = index + 1;
        if let Some(name) = &draft.name
            && let Some(first) = names.insert(&name.value, place)
        {
            findings.error(
                name.span.clone(),
                format!(
                    "`uplink[{place}].name` {:?} is taken by uplink[{first}]; names must be unique",
                    name.value
                ),
            );
        }
        if let Some(first) = metrics.insert(draft.metric.value, place) {
            findings.error(
                draft.metric.span.clone(),
                format!("`uplink[{place}].metric` {} is taken by uplink[{first}]; metrics must be unique", draft.metric.value),
            );
        }
        if let (Some(interface), Some(gateway)) = (&draft.interface, &draft.gateway)
            && let Some(first) =
                hops.insert((&interface.value, format!("{:?}", gateway.value)), place)
        {
            findings.error(
                interface.span.clone(),
                format!("`uplink[{place}]` has interface and gateway of uplink[{first}]: both would be the same way out"),
            );
        }
    }
    for (index, pair) in drafts.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        if before.metric.value > after.metric.value {
            let (first, second) = (index + 1, index + 2);
            let span = if after.metric.span == after.header {
                &before.metric.span
            } else {
                &after.metric.span
            };
            findings.warning(
                span.clone(),
                format!(
                    "uplink[{second}] has metric {}, lower than {} of uplink[{first}] before it: the kernel prefers the lower \
                     metric, the order of the file says otherwise",
                    after.metric.value, before.metric.value
                ),
            );
        }
    }
}

fn probe(reader: &mut Reader<'_, '_, '_>, keys: &Keys) -> Option<ProbeConfig> {
    let header = reader.span.clone();
    let period = value(&keys.period, keys::PERIOD_DEFAULT);
    let count = value(&keys.count, keys::COUNT_DEFAULT);
    let spacing = value(&keys.spacing, keys::SPACING_DEFAULT);
    let burst = spacing * u32::from(count - 1);
    if burst >= period {
        let own = [&keys.period, &keys.spacing]
            .into_iter()
            .flatten()
            .map(|at| at.span.clone());
        let span = own
            .chain(keys.count.as_ref().map(|at| at.span.clone()))
            .next()
            .unwrap_or(header.clone());
        reader.error(
            span,
            format!(
                "`{}` {} is not longer than a burst: {count} requests, {} apart, take {}",
                reader.key("period"),
                super::duration::write(period),
                super::duration::write(spacing),
                super::duration::write(burst)
            ),
        );
    }
    let Some(targets) = &keys.targets else {
        if !reader.has("targets") {
            let key = reader.key("targets");
            reader.missing(
                header,
                format!(
                    "`{key}` is needed, here or in [probe]: addresses that answer echo requests"
                ),
            );
        }
        return None;
    };
    Some(ProbeConfig {
        targets: targets.value.clone(),
        period,
        count,
        spacing,
        timeout: value(&keys.timeout, keys::TIMEOUT_DEFAULT),
        size_bytes: value(&keys.size_bytes, keys::SIZE_BYTES_DEFAULT),
    })
}

fn health(reader: &mut Reader<'_, '_, '_>, keys: &Keys, count: u16) -> HealthConfig {
    if let Some(At { value, span }) = &keys.max_lost
        && *value >= count
    {
        let message = format!(
            "`{}` {value} is not below `count` {count}: only a burst without any reply is bad by its losses",
            reader.key("max_lost")
        );
        reader.warning(span.clone(), message);
    }
    HealthConfig {
        max_lost: value(&keys.max_lost, keys::MAX_LOST_DEFAULT.min(count / 2)),
        max_delay: value(&keys.max_delay, keys::MAX_DELAY_DEFAULT),
        fall: value(&keys.fall, keys::FALL_DEFAULT),
        rise: value(&keys.rise, keys::RISE_DEFAULT),
        hold_down: value(&keys.hold_down, keys::HOLD_DOWN_DEFAULT),
    }
}

/// A static gateway carries only targets of its own family.
fn reachable(reader: &mut Reader<'_, '_, '_>, gateway: &At<Gateway>, targets: &At<Vec<IpAddr>>) {
    let Gateway::Static { v4, v6 } = gateway.value else {
        return;
    };
    let out: Vec<&IpAddr> = targets
        .value
        .iter()
        .filter(|target| {
            if target.is_ipv4() {
                v4.is_none()
            } else {
                v6.is_none()
            }
        })
        .collect();
    if out.is_empty() {
        return;
    }
    let list: Vec<String> = out.iter().map(|target| target.to_string()).collect();
    let family = if v4.is_none() { "IPv4" } else { "IPv6" };
    let message = format!(
        "`{}` has no {family} address: {} cannot be probed over it",
        reader.key("gateway"),
        list.join(", ")
    );
    if out.len() == targets.value.len() {
        reader.error(gateway.span.clone(), message);
    } else {
        reader.warning(gateway.span.clone(), message);
    }
}

fn targets(reader: &mut Reader<'_, '_, '_>) -> Option<At<Vec<IpAddr>>> {
    let At { value: found, span } = reader.addresses("targets", false)?;
    if found.is_empty() || found.len() > TARGETS_MAX {
        return reader.wrong(
            "targets",
            span,
            &format!("a list of 1 to {TARGETS_MAX} IP addresses"),
        );
    }
    let mut targets: Vec<IpAddr> = Vec::new();
    for At {
        value: target,
        span,
    } in found
    {
        if !is_unicast(target) {
            reader.wrong::<()>(
                "targets",
                span,
                "addresses of single hosts that can be reached over an uplink",
            );
        } else if targets.contains(&target) {
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

fn gateway(reader: &mut Reader<'_, '_, '_>) -> Option<At<Gateway>> {
    const ALLOWED: &str =
        "\"auto\", \"none\", the next hop's address, or a list of an IPv4 and an IPv6 address";
    let Some(found) = reader.value("gateway") else {
        return Some(At {
            value: Gateway::Auto,
            span: reader.span.clone(),
        });
    };
    let span = found.span();
    match found.get_ref() {
        DeValue::String(text) if text == "auto" => {
            return Some(At {
                value: Gateway::Auto,
                span,
            });
        }
        DeValue::String(text) if text == "none" => {
            return Some(At {
                value: Gateway::Device,
                span,
            });
        }
        DeValue::String(text) if text.parse::<IpAddr>().is_err() => {
            return reader.wrong("gateway", span, ALLOWED);
        }
        DeValue::String(_) | DeValue::Array(_) => {}
        _ => return reader.wrong("gateway", span, ALLOWED),
    }
    let list = reader.addresses("gateway", true)?.value;
    let v4: Vec<_> = list
        .iter()
        .filter_map(|at| {
            if let IpAddr::V4(v4) = at.value {
                Some(v4)
            } else {
                None
            }
        })
        .collect();
    let v6: Vec<_> = list
        .iter()
        .filter_map(|at| {
            if let IpAddr::V6(v6) = at.value {
                Some(v6)
            } else {
                None
            }
        })
        .collect();
    if v4.len() > 1
        || v6.len() > 1
        || list.is_empty()
        || list.iter().any(|at| !is_unicast(at.value))
    {
        return reader.wrong("gateway", span, ALLOWED);
    }
    Some(At {
        value: Gateway::Static {
            v4: v4.first().copied(),
            v6: v6.first().copied(),
        },
        span,
    })
}

const NAME_ALLOWED: &str = "1 to 64 printable characters";

fn name_is_good(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && !name.contains(char::is_control)
}

const INTERFACE_ALLOWED: &str = "an interface's name: 1 to 15 bytes without spaces, `/` and `:`";

/// The kernel's own rule (`dev_valid_name`).
fn interface_is_good(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= INTERFACE_BYTES_MAX
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace())
}

fn required(
    reader: &mut Reader<'_, '_, '_>,
    key: &'static str,
    good: fn(&str) -> bool,
    allowed: &str,
) -> Option<At<String>> {
    if !reader.has(key) {
        let (span, key) = (reader.span.clone(), reader.key(key));
        reader.missing(span, format!("`{key}` is needed: {allowed}"));
    }
    let found = reader.string(key)?;
    if good(&found.value) {
        Some(found)
    } else {
        reader.wrong(key, found.span, allowed)
    }
}

fn small(
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

fn value<T: Copy>(given: &Option<At<T>>, default: T) -> T {
    given.as_ref().map_or(default, |at| at.value)
}
