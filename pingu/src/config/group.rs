//! The `[[group]]`s, and the `[rules]` of policy routing.

use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use toml::de::DeValue;

use super::{
    Failback, GROUPS_MAX, GroupConfig, Mode, RulesConfig, UPLINKS_MAX, WhenAllDown,
    check::between,
    keys,
    reader::{At, Reader},
    uplink::{NAME_ALLOWED, name_is_good},
};
use crate::{
    network,
    units::{Metric, TableId},
};

/// The name of the only group, if none is written.
pub(super) const IMPLICIT: &str = "default";

const HOUR_MS: u64 = 3_600_000;

/// A group of more destinations than this would take minutes to write.
const PREFIXES_MAX: usize = 100_000;

/// Behind the built-in tables, and with room for one of each uplink.
const CHECK_TABLES: RangeInclusive<u32> = 256..=u32::MAX - UPLINKS_MAX as u32;

/// What is read of the groups.
pub(super) struct Groups {
    /// At least one.
    pub(super) list: Vec<At<GroupConfig>>,
    /// There is none in the file.
    pub(super) implicit: bool,
}

impl Groups {
    /// The one group of a file that names none.
    pub(super) fn any() -> Self {
        let value = GroupConfig {
            name: IMPLICIT.to_owned(),
            mode: Mode::Metric,
            start_metric: keys::START_METRIC_DEFAULT,
            when_all_down: WhenAllDown::Keep,
            prefixes: every_default(),
            failback: Failback::Hard,
        };
        Self {
            list: vec![At { value, span: 0..0 }],
            implicit: true,
        }
    }

    /// Reads every group; none with an error said.
    pub(super) fn read(top: &mut Reader<'_, '_, '_>) -> Option<Self> {
        let tables = top.tables("group", GROUPS_MAX)?;
        if tables.is_empty() {
            return Some(Self::any());
        }
        let mut list: Vec<At<GroupConfig>> = Vec::new();
        let mut all_good = true;
        for (index, (span, table)) in tables.into_iter().enumerate() {
            let path = format!("group[{}].", index + 1);
            let reader = Reader::new(table, span.clone(), path, top.findings());
            let Some(value) = read(reader) else {
                all_good = false;
                continue;
            };
            if list.iter().any(|other| other.value.name == value.name) {
                let message = format!("there are two groups named {:?}", value.name);
                top.error(span.clone(), message);
            }
            list.push(At { value, span });
        }
        all_good.then_some(Self {
            list,
            implicit: false,
        })
    }
}

fn read(mut reader: Reader<'_, '_, '_>) -> Option<GroupConfig> {
    let name = reader.required("name", name_is_good, NAME_ALLOWED);
    let mode = reader.choice("mode", &keys::MODES);
    let start_metric = reader.integer("start_metric", 1..=u32::MAX - GROUPS_MAX as u32);
    let when_all_down = reader.choice("when_all_down", &keys::WHEN_ALL_DOWN);
    let prefixes = if reader.has("prefixes") {
        prefixes(&mut reader, "prefixes").map(|at| at.value)
    } else {
        Some(every_default())
    };
    let failback = failback(&mut reader);
    let mode = mode.map_or(Mode::Metric, |at| at.value);
    if let (Mode::Metric, Some(at)) = (mode, &start_metric) {
        let message = "`start_metric` is for the modes \"ordered\" and \"balance\"; in mode \"metric\" each uplink has its \
                       own `metric`";
        reader.error(at.span.clone(), message.to_owned());
    }
    reader.finish();
    Some(GroupConfig {
        name: name?.value,
        mode,
        start_metric: start_metric.map_or(keys::START_METRIC_DEFAULT, |at| Metric(at.value)),
        when_all_down: when_all_down.map_or(WhenAllDown::Keep, |at| at.value),
        prefixes: prefixes?,
        failback: failback?,
    })
}

/// What becomes of connections; none with an error said.
fn failback(reader: &mut Reader<'_, '_, '_>) -> Option<Failback> {
    let given = reader.choice("failback", &Failback::WORDS);
    let drain = reader.duration("drain", between(1_000, 24 * HOUR_MS));
    let wrong =
        (reader.has("failback") && given.is_none()) || (reader.has("drain") && drain.is_none());
    let span = drain.as_ref().map(|at| at.span.clone());
    let found = Failback::from_keys(given.map(|at| at.value), drain.map(|at| at.value));
    if let (None, Some(span)) = (found, span) {
        let message = format!(
            "`{}` lets connections stay for a while, and `failback = \"hard\"` does not",
            reader.key("drain")
        );
        reader.error(span, message);
    }
    found.filter(|_| !wrong)
}

fn every_default() -> Vec<IpNet> {
    vec![network::DEFAULT_V4, network::DEFAULT_V6]
}

/// A list of destinations; "default" stands for everything of both families.
pub(super) fn prefixes(
    reader: &mut Reader<'_, '_, '_>,
    key: &'static str,
) -> Option<At<Vec<IpNet>>> {
    const ALLOWED: &str = "a list of networks such as \"10.0.0.0/8\" or \"2001:db8::/32\", or \"default\" for everything of both families";
    let found = reader.value(key)?;
    let span = found.span();
    let items: Vec<(Range<usize>, Option<&str>)> = match found.get_ref() {
        DeValue::Array(items) => items
            .iter()
            .map(|item| (item.span(), item.get_ref().as_str()))
            .collect(),
        _ => return reader.wrong(key, span, ALLOWED),
    };
    if items.is_empty() || items.len() > PREFIXES_MAX {
        return reader.wrong(
            key,
            span,
            &format!("{ALLOWED}, 1 to {PREFIXES_MAX} of them"),
        );
    }
    let mut all = Vec::with_capacity(items.len());
    let mut seen = std::collections::HashSet::new();
    let mut good = true;
    for (span, text) in items {
        let networks = match text {
            Some("default") => every_default(),
            Some(text) => match text.parse::<IpNet>() {
                Ok(network) if network.trunc() == network => vec![network],
                Ok(network) => {
                    let message = format!(
                        "`{}` has {text}, which has host bits; the network is {}",
                        reader.key(key),
                        network.trunc()
                    );
                    reader.error(span, message);
                    good = false;
                    continue;
                }
                Err(_) => {
                    good = reader.wrong::<()>(key, span, ALLOWED).is_some();
                    continue;
                }
            },
            None => {
                good = reader.wrong::<()>(key, span, ALLOWED).is_some();
                continue;
            }
        };
        for network in networks {
            if seen.insert(network) {
                all.push(network);
            } else {
                let message = format!("`{}` has {network} twice", reader.key(key));
                reader.error(span.clone(), message);
                good = false;
            }
        }
    }
    good.then_some(At { value: all, span })
}

/// Reads `[rules]`.
pub(super) fn rules(top: &mut Reader<'_, '_, '_>) -> RulesConfig {
    let mut rules = keys::RULES_DEFAULT;
    let Some(mut reader) = top.table("rules") else {
        return rules;
    };
    // 0 is the kernel's rule for table local, 32766 the one for main.
    let from = reader.integer("from_priority", 1..=32765);
    let mark = reader.integer("mark_priority", 1..=32765);
    let check = reader.integer("check_priority", 1..=32765);
    let table = reader.integer("check_table", CHECK_TABLES);
    let protocol = reader.choice("protocol", &keys::RULE_PROTOCOLS);
    reader.finish();
    if let Some(at) = &from {
        rules.from_priority = at.value;
    }
    if let Some(at) = &mark {
        rules.mark_priority = at.value;
    }
    if let Some(at) = protocol {
        rules.protocol = at.value;
    }
    if let Some(at) = &check {
        rules.check_priority = at.value;
    }
    if let Some(at) = table {
        rules.check_table = TableId(at.value);
    }
    let named = [
        ("from_priority", rules.from_priority, from),
        ("mark_priority", rules.mark_priority, mark),
        ("check_priority", rules.check_priority, check),
    ];
    for (index, (key, priority, at)) in named.iter().enumerate() {
        for (other, _, other_at) in named[index + 1..]
            .iter()
            .filter(|other| other.1 == *priority)
        {
            if let Some(at) = at.as_ref().or(other_at.as_ref()) {
                let message = format!(
                    "`rules.{key}` and `rules.{other}` are both {priority}: which rule comes first would be left to chance"
                );
                top.error(at.span.clone(), message);
            }
        }
    }
    rules
}
