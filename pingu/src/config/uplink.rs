//! One `[[uplink]]`.

use std::{net::IpAddr, ops::Range};

use toml::de::DeValue;

use super::{
    Gateway, UplinkConfig,
    check::address_fault,
    policy::Defaults,
    reader::{At, Reader},
};
use crate::units::Metric;

/// Names stand in tables and logs.
const NAME_CHARS_MAX: usize = 64;
/// `IFNAMSIZ` is 16 with the terminating NUL (netdevice(7)).
const INTERFACE_BYTES_MAX: usize = 15;

/// An uplink as read, with the places that comparisons point at.
pub(super) struct Draft {
    /// None where an error was said.
    pub(super) config: Option<UplinkConfig>,
    pub(super) header: Range<usize>,
    pub(super) name: Option<At<String>>,
    pub(super) interface: Option<At<String>>,
    pub(super) gateway: Option<At<Gateway>>,
    pub(super) metric: At<Metric>,
}

impl Draft {
    /// Reads an uplink.
    pub(super) fn read(
        mut reader: Reader<'_, '_, '_>,
        defaults: &Defaults,
        default_metric: Metric,
    ) -> Self {
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
        let policy = defaults.overridden_by(&mut reader);
        if let (Some(gateway), Some((probe, _))) = (&gateway, &policy) {
            reachable(&mut reader, gateway, &probe.targets);
        }
        reader.finish();
        let metric = metric.map_or_else(
            || At {
                value: default_metric,
                span: header.clone(),
            },
            |at| At {
                value: Metric(at.value),
                span: at.span,
            },
        );
        let config = || {
            let (probe, health) = policy?;
            Some(UplinkConfig {
                name: name.clone()?.value,
                interface: interface.clone()?.value,
                gateway: gateway.clone()?.value,
                metric: metric.value,
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
