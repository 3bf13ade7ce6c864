//! An uplink's keys of routing beyond its own default: source addresses, its table, its mark, what it advertises.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::DeValue;

use super::{
    FirewallMark, PolicyTable, Sources,
    check::address_fault,
    group, keys,
    reader::{At, Reader},
};
use crate::units::{Metric, TableId};

/// Routes that exist only while an uplink is up (`advertise`): a routing daemon redistributes them by protocol or table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertiseConfig {
    /// Where they lead to; at least one.
    pub prefixes: Vec<IpNet>,
    /// The table that they are in.
    pub table: TableId,
    /// Their metric.
    pub metric: Metric,
    /// What they do with packets.
    pub kind: AdvertiseKind,
}

/// What an advertised route does with packets (`kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvertiseKind {
    /// They leave by the uplink.
    Unicast,
    /// They vanish: the route is only for a routing daemon to see.
    Blackhole,
    /// They are refused.
    Unreachable,
}

/// An uplink's `[[uplink.advertise]]`s.
const ADVERTISE_MAX: usize = 64;

/// iproute2 reads a name up to the next blank.
const TABLE_NAME_CHARS_MAX: usize = 64;

/// The uplink's own addresses; none with an error said.
pub(super) fn sources(reader: &mut Reader<'_, '_, '_>) -> Option<Sources> {
    const ALLOWED: &str = "an own address of the uplink, or a list of an IPv4 and an IPv6 address";
    if !reader.has("source") {
        reader.value("source");
        return Some(Sources::default());
    }
    let At { value: list, span } = reader.addresses("source", true, (address_fault, ALLOWED))?;
    let mut sources = Sources::default();
    for at in &list {
        let twice = match at.value {
            IpAddr::V4(v4) => sources.v4.replace(v4).is_some(),
            IpAddr::V6(v6) => sources.v6.replace(v6).is_some(),
        };
        if twice {
            return reader.wrong("source", span, ALLOWED);
        }
    }
    if list.is_empty() {
        return reader.wrong("source", span, ALLOWED);
    }
    Some(sources)
}

/// The firewall mark: a number, or value and mask as iproute2 writes them.
#[expect(
    clippy::option_option,
    reason = "absent is good and wrong is not; only one of them has been said"
)]
pub(super) fn fwmark(reader: &mut Reader<'_, '_, '_>) -> Option<Option<At<FirewallMark>>> {
    const ALLOWED: &str = "a mark that is not 0, as a number or as \"VALUE/MASK\" with the value's bits within the mask";
    let Some(found) = reader.value("fwmark") else {
        return Some(None);
    };
    let span = found.span();
    let mark = match found.get_ref() {
        DeValue::String(text) => {
            let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
            number(value).zip(number(mask))
        }
        DeValue::Integer(number) => {
            u32::from_str_radix(&number.as_str().replace('_', ""), number.radix())
                .ok()
                .map(|value| (value, u32::MAX))
        }
        _ => None,
    };
    match mark {
        Some((value, mask)) if value != 0 && value & mask == value => Some(Some(At {
            value: FirewallMark { value, mask },
            span,
        })),
        _ => reader.wrong("fwmark", span, ALLOWED),
    }
}

fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The uplink's own table.
#[expect(
    clippy::option_option,
    reason = "absent is good and wrong is not; only one of them has been said"
)]
pub(super) fn table(
    reader: &mut Reader<'_, '_, '_>,
    uplink: Option<&At<String>>,
) -> Option<Option<At<PolicyTable>>> {
    const ALLOWED: &str = "1 to 64 characters without blanks, beginning with a letter";
    let given = reader.has("table");
    let number = reader.integer("table", 1..=u32::MAX);
    let name = reader.string("table_name");
    if let Some(At { value, span }) = &name
        && !table_name_is_good(value)
    {
        return reader.wrong("table_name", span.clone(), ALLOWED);
    }
    if let (Some(At { span, .. }), false) = (&name, given) {
        let message = format!("`{}` needs `table` beside it", reader.key("table_name"));
        reader.error(span.clone(), message);
    }
    if !given {
        return Some(None);
    }
    let number = number?;
    if TableId::BUILT_IN.contains(&TableId(number.value)) {
        let allowed =
            "a table of its own: 253 (default), 254 (main) and 255 (local) are everybody's";
        return reader.wrong("table", number.span, allowed);
    }
    let name = match (name, uplink) {
        (Some(name), _) => name.value,
        (None, Some(uplink)) if table_name_is_good(&uplink.value) => uplink.value.clone(),
        (None, _) => format!("pingu-{}", number.value),
    };
    Some(Some(At {
        value: PolicyTable {
            id: TableId(number.value),
            name,
        },
        span: number.span,
    }))
}

fn table_name_is_good(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().count() <= TABLE_NAME_CHARS_MAX
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '#' | '/' | '"' | '\'' | '\\'))
        && !matches!(
            name,
            "default" | "main" | "local" | "all" | "cache" | "unspec"
        )
}

/// What the uplink advertises, of which `metric` is the uplink's own; none with an error said.
pub(super) fn advertise(
    reader: &mut Reader<'_, '_, '_>,
    metric: Metric,
) -> Option<Vec<AdvertiseConfig>> {
    let tables = reader.tables("advertise", ADVERTISE_MAX)?;
    let mut all = Vec::with_capacity(tables.len());
    let mut good = true;
    for (index, (span, table)) in tables.into_iter().enumerate() {
        let path = format!("{}[{}].", reader.key("advertise"), index + 1);
        let inner = Reader::new(table, span, path, reader.findings());
        match one(inner, metric) {
            Some(advertise) => all.push(advertise),
            None => good = false,
        }
    }
    good.then_some(all)
}

fn one(mut reader: Reader<'_, '_, '_>, uplink: Metric) -> Option<AdvertiseConfig> {
    if !reader.has("prefixes") {
        let (span, key) = (reader.span.clone(), reader.key("prefixes"));
        reader.missing(span, format!("`{key}` is needed: a list of networks"));
    }
    let prefixes = group::prefixes(&mut reader, "prefixes");
    let table = table_of_routes(&mut reader);
    let metric = reader.integer("metric", 1..=u32::MAX);
    let kind = reader.choice("kind", &keys::ADVERTISE_KINDS);
    reader.finish();
    Some(AdvertiseConfig {
        prefixes: prefixes?.value,
        table: table?,
        metric: metric.map_or(uplink, |at| Metric(at.value)),
        kind: kind.map_or(AdvertiseKind::Unicast, |at| at.value),
    })
}

/// Any table but local and default; "main" by its name.
fn table_of_routes(reader: &mut Reader<'_, '_, '_>) -> Option<TableId> {
    const ALLOWED: &str = "a table's number from 1, or \"main\"; 253 (default) and 255 (local) are not for routes of pingu's";
    let Some(found) = reader.value("table") else {
        return Some(TableId::MAIN);
    };
    let number = match found.get_ref() {
        DeValue::String(text) if text == "main" => Some(TableId::MAIN.0),
        DeValue::Integer(number) => {
            u32::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
        }
        _ => None,
    };
    match number {
        Some(number) if number != 0 && !matches!(number, 253 | 255) => Some(TableId(number)),
        _ => reader.wrong("table", found.span(), ALLOWED),
    }
}
