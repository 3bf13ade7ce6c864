//! One `[[uplink]]`.

use std::{net::IpAddr, ops::Range, sync::Arc};

use toml::de::DeValue;

use super::{
    FirewallMark, Gateway, Mode, PolicyTable, Sources, UplinkConfig,
    check::address_fault,
    checks,
    group::Groups,
    keys,
    policy::Defaults,
    reader::{At, Reader},
    routing,
};
use crate::units::{GroupId, Metric};

/// Names stand in tables and logs.
pub(super) const NAME_CHARS_MAX: usize = 64;
/// `ALTIFNAMSIZ` is 128 with the terminating NUL: an interface may be configured by an alternative name.
const INTERFACE_BYTES_MAX: usize = 127;

/// An uplink as read, with the places that comparisons point at.
pub(super) struct Draft {
    /// None where an error was said.
    pub(super) config: Option<UplinkConfig>,
    pub(super) header: Range<usize>,
    pub(super) name: Option<At<String>>,
    pub(super) interface: Option<At<String>>,
    pub(super) gateway: Option<At<Gateway>>,
    pub(super) metric: At<Metric>,
    /// None where it is wrong.
    pub(super) group: Option<GroupId>,
    pub(super) source: Sources,
    pub(super) table: Option<At<PolicyTable>>,
    pub(super) fwmark: Option<At<FirewallMark>>,
}

/// Where uplinks without a metric of their own get one.
pub(super) struct Places<'a> {
    groups: &'a Groups,
    /// The metric of the last uplink in mode `metric`.
    last: Option<Metric>,
    /// How many uplinks each group has so far.
    counts: Vec<u32>,
}

impl<'a> Places<'a> {
    pub(super) fn new(groups: &'a Groups) -> Self {
        Self {
            groups,
            last: None,
            counts: vec![0; groups.list.len()],
        }
    }

    /// The group that an uplink names, or the only one.
    fn group(&self, reader: &mut Reader<'_, '_, '_>) -> Option<GroupId> {
        let named = reader.string("group");
        if let Some(At { value, span }) = &named {
            let found = self
                .groups
                .list
                .iter()
                .position(|at| at.value.name == *value);
            if found.is_none() || self.groups.implicit {
                let names: Vec<String> = self.names();
                let allowed = match names.as_slice() {
                    [] => "the name of a [[group]], of which there is none".to_owned(),
                    names => format!("one of the groups {}", names.join(", ")),
                };
                return reader.wrong("group", span.clone(), &allowed);
            }
            return found.map(|index| GroupId(index as u16));
        }
        if self.groups.list.len() > 1 && !reader.has("group") {
            let message = format!(
                "`{}` is needed, one of {}",
                reader.key("group"),
                self.names().join(", ")
            );
            reader.missing(reader.span.clone(), message);
            return None;
        }
        (!reader.has("group")).then_some(GroupId(0))
    }

    fn names(&self) -> Vec<String> {
        let written = self.groups.list.iter().filter(|_| !self.groups.implicit);
        written.map(|at| format!("{:?}", at.value.name)).collect()
    }

    /// The metric of an uplink of this group, of which `given` is what the file says.
    fn metric(
        &mut self,
        reader: &mut Reader<'_, '_, '_>,
        group: Option<GroupId>,
        given: Option<At<u32>>,
    ) -> At<Metric> {
        let header = reader.span.clone();
        let config = group.map(|id| &self.groups.list[id.index()].value);
        let rank = group.map_or(0, |id| {
            let count = &mut self.counts[id.index()];
            *count += 1;
            *count - 1
        });
        let mode = config.map_or(Mode::Metric, |config| config.mode);
        if mode != Mode::Metric {
            let start = config.map_or(0, |config| config.start_metric.0);
            if let Some(at) = given {
                let message = format!(
                    "`{}` is for mode \"metric\"; in its group the metrics follow `start_metric`",
                    reader.key("metric")
                );
                reader.error(at.span, message);
            }
            let value = match mode {
                Mode::Balance => Metric(start),
                Mode::Ordered | Mode::Metric => Metric(start + rank),
            };
            return At {
                value,
                span: header,
            };
        }
        let next = self
            .last
            .map_or(keys::METRIC_FIRST, |last| last.0.saturating_add(1));
        let at = match given {
            Some(at) => At {
                value: Metric(at.value),
                span: at.span,
            },
            None => At {
                value: Metric(next),
                span: header,
            },
        };
        self.last = Some(at.value);
        at
    }
}

impl Draft {
    /// Reads an uplink.
    pub(super) fn read(
        mut reader: Reader<'_, '_, '_>,
        defaults: &Defaults,
        places: &mut Places<'_>,
    ) -> Self {
        let header = reader.span.clone();
        let name = reader.required("name", name_is_good, NAME_ALLOWED);
        let interface = reader.required("interface", interface_is_good, INTERFACE_ALLOWED);
        let gateway = gateway(&mut reader);
        let group = places.group(&mut reader);
        let given = reader.integer("metric", 1..=u32::MAX);
        let metric = places.metric(&mut reader, group, given);
        let weight = reader.integer("weight", 1..=255);
        let source = routing::sources(&mut reader);
        let fwmark = routing::fwmark(&mut reader);
        let table = routing::table(&mut reader, name.as_ref());
        let advertise = routing::advertise(&mut reader, metric.value);
        let checks = checks::read(&mut reader);
        let policy = defaults.overridden_by(&mut reader);
        if let (Some(gateway), Some((probe, _))) = (&gateway, &policy) {
            reachable(&mut reader, gateway, &probe.targets);
        }
        if let (
            Some(At {
                value: Gateway::Static { v4, v6 },
                ..
            }),
            Some(checks),
        ) = (&gateway, &checks)
        {
            checks::reachable(&mut reader, checks, [v4.is_some(), v6.is_some()]);
        }
        reader.finish();
        let config = || {
            let (probe, health) = policy?;
            Some(UplinkConfig {
                name: name.clone()?.value,
                interface: interface.clone()?.value,
                gateway: gateway.clone()?.value,
                group: group?,
                metric: metric.value,
                weight: weight.map_or(keys::WEIGHT_DEFAULT, |at| {
                    u16::try_from(at.value).expect("the range of `weight` ends at 255")
                }),
                source: source?,
                fwmark: fwmark.clone()?.map(|at| at.value),
                table: table.clone()?.map(|at| at.value),
                advertise: advertise?,
                checks: checks?.into_iter().map(|at| Arc::new(at.value)).collect(),
                probe,
                health,
            })
        };
        Self {
            config: config(),
            header,
            name,
            interface,
            gateway,
            metric,
            group,
            source: source.unwrap_or_default(),
            table: table.flatten(),
            fwmark: fwmark.flatten(),
        }
    }
}

/// A static gateway carries only targets of its own family.
fn reachable(reader: &mut Reader<'_, '_, '_>, gateway: &At<Gateway>, targets: &[IpAddr]) {
    let Gateway::Static { v4, v6 } = gateway.value else {
        return;
    };
    let out: Vec<&IpAddr> = targets
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
    if out.len() == targets.len() {
        reader.error(gateway.span.clone(), message);
    } else {
        reader.warning(gateway.span.clone(), message);
    }
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
        DeValue::String(_) | DeValue::Array(_) => {}
        _ => return reader.wrong("gateway", span, ALLOWED),
    }
    let list = reader
        .addresses("gateway", true, (address_fault, ALLOWED))?
        .value;
    let mut hops = (None, None);
    for at in &list {
        let twice = match at.value {
            IpAddr::V4(v4) => hops.0.replace(v4).is_some(),
            IpAddr::V6(v6) => hops.1.replace(v6).is_some(),
        };
        if twice {
            return reader.wrong("gateway", span, ALLOWED);
        }
    }
    let (v4, v6) = hops;
    if list.is_empty() {
        return reader.wrong("gateway", span, ALLOWED);
    }
    Some(At {
        value: Gateway::Static { v4, v6 },
        span,
    })
}

pub(super) const NAME_ALLOWED: &str = "1 to 64 printable characters";

pub(super) fn name_is_good(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && !name.contains(char::is_control)
}

pub(crate) const INTERFACE_ALLOWED: &str =
    "an interface's name: 1 to 127 bytes without spaces, `/` and `:`";

/// The kernel's own rule (`dev_valid_name`).
pub(crate) fn interface_is_good(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= INTERFACE_BYTES_MAX
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace())
}
