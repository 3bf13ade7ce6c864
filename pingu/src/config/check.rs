//! The whole file: from text to a [`Config`], with every rule that spans more than one key.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config, EngineChoice, LearnedRoutes, OnExit, Problem, Problems, ReceiveHook, RulesConfig,
    Severity, UPLINKS_MAX, UplinkConfig, checks, compare,
    connections::Connections,
    group, hooks, keys, passive, policy,
    problem::Findings,
    reader::{At, Reader},
    script, steering, uplink,
};
use crate::units::{NexthopId, Protocol};

/// `sun_path` holds 108 bytes with the terminating NUL (unix(7)).
const SOCKET_BYTES_MAX: usize = 107;

/// 0..=4 are the kernel's own (rtnetlink(7)): unspec, redirect, kernel, boot, static.
const PROTOCOLS: RangeInclusive<u32> = 5..=255;

/// Protocols with a name in the kernel's `rtnetlink.h`: routes of that daemon would be taken for pingu's own.
const PROTOCOLS_OF_OTHERS: [(u32, &str); 19] = [
    (8, "gated"),
    (9, "router advertisements"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp clients"),
    (17, "mrouted"),
    (18, "keepalived"),
    (42, "babel"),
    (84, "ovn"),
    (99, "openr"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
    (192, "eigrp"),
];

/// Numbers of nexthop objects: one for each family of each uplink and each group, from the base on.
const NEXTHOP_BASES: RangeInclusive<u32> = 1..=u32::MAX - 4 * UPLINKS_MAX as u32;

/// Slots take 64 bytes or more of locked memory each: this many take 256 MiB, and last for a hundred thousand paths with bursts of ten.
const SLOTS_MAX: u64 = 1 << 22;

/// A hundred thousand paths, and some more; each takes one to two kilobytes.
pub(super) const PATHS_MAX: usize = 1 << 17;

/// Reads a configuration. `file` is what messages call it.
pub(super) fn parse(text: &str, file: &str) -> Result<(Config, Vec<Problem>), Problems> {
    let (table, syntax) = DeTable::parse_recoverable(text);
    let broken: Vec<Problem> = syntax
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or_default();
            let mut message = error.message().trim().replace('\n', ", ");
            if message == "duplicate key" {
                let key = text.get(span.clone()).unwrap_or_default();
                message = format!("duplicate key `{key}`: it is given above already");
            }
            Problem::new(Severity::Error, file, text, span, message)
        })
        .collect();
    let mut findings = Findings::new(file, text, broken.is_empty());
    let config = read(&table, &mut findings, file);
    let list = findings.into_list(&broken);
    match config {
        Some(config)
            if list
                .iter()
                .all(|problem| problem.severity == Severity::Warning) =>
        {
            Ok((config, list))
        }
        _ => Err(Problems {
            list,
            text: text.to_owned(),
        }),
    }
}

/// Reads everything there is; none only together with an error.
fn read<'t>(
    table: &Spanned<DeTable<'t>>,
    findings: &mut Findings<'t>,
    file: &str,
) -> Option<Config> {
    let mut top = Reader::new(table.get_ref(), 0..0, String::new(), findings);
    let protocol = top.integer("protocol", PROTOCOLS);
    let engine = top.choice("engine", &keys::ENGINES);
    let receive_hook = top.choice("receive_hook", &keys::RECEIVE_HOOKS);
    let learned_routes = top.choice("learned_routes", &keys::LEARNED_ROUTES);
    let on_exit = top.choice("on_exit", &keys::ON_EXIT);
    let socket = path(&mut top, "socket", SOCKET_BYTES_MAX);
    let state_directory = path(&mut top, "state_directory", usize::MAX);
    let sticky_file = path(&mut top, "sticky_file", usize::MAX);
    if let Some(At { value, span }) = &protocol
        && let Some((_, owner)) = PROTOCOLS_OF_OTHERS
            .iter()
            .find(|(number, _)| number == value)
    {
        top.warning(
            span.clone(),
            format!("`protocol` {value} belongs to {owner}: its default routes would be taken for pingu's own and removed"),
        );
    }
    let connections = Connections::read(&mut top);
    let nexthop_base = top.integer("nexthop_base", NEXTHOP_BASES);
    let rules = group::rules(&mut top);
    let damping = steering::damping(&mut top);
    let prefer_better = steering::prefer_better(&mut top);
    let script = script::script(&mut top, file);
    let defaults = policy::Defaults::read(&mut top);
    let groups = group::Groups::read(&mut top);
    let uplinks = uplinks(&mut top, &defaults, groups.as_ref(), &connections, &rules);
    if let (Some(engine), Some(uplinks)) = (&engine, &uplinks) {
        passive::warn_without_programs(&mut top, engine, uplinks);
    }
    let hooks = hooks::read(&mut top);
    top.finish();
    Some(Config {
        protocol: Protocol(protocol.map_or(keys::PROTOCOL_DEFAULT, |at| {
            u8::try_from(at.value).expect("the range of `protocol` ends at 255")
        })),
        engine: engine.map_or(EngineChoice::Auto, |at| at.value),
        receive_hook: receive_hook.map_or(ReceiveHook::Auto, |at| at.value),
        learned_routes: learned_routes.map_or(LearnedRoutes::Overlay, |at| at.value),
        on_exit: on_exit.map_or(OnExit::Withdraw, |at| at.value),
        socket: socket.unwrap_or_else(|| PathBuf::from(keys::SOCKET_DEFAULT)),
        state_directory: state_directory
            .unwrap_or_else(|| PathBuf::from(keys::STATE_DIRECTORY_DEFAULT)),
        sticky_file,
        mark_connections: connections.mark(),
        flush_connections: connections.flush(),
        nexthop_base: nexthop_base.map_or(keys::NEXTHOP_BASE_DEFAULT, |at| NexthopId(at.value)),
        rules,
        damping,
        prefer_better,
        script,
        groups: groups?.list.into_iter().map(|at| at.value).collect(),
        uplinks: uplinks?,
        hooks: hooks?,
    })
}

fn path(top: &mut Reader<'_, '_, '_>, key: &'static str, bytes_max: usize) -> Option<PathBuf> {
    let At { value, span } = top.string(key)?;
    let good = value.starts_with('/') && value.len() <= bytes_max && !value.contains('\0');
    if good {
        return Some(PathBuf::from(value));
    }
    let limit = match bytes_max {
        usize::MAX => String::new(),
        bytes => format!(" of at most {bytes} bytes"),
    };
    top.wrong(key, span, &format!("an absolute path{limit}"))
}

/// The uplinks, or none with an error said.
fn uplinks<'t>(
    top: &mut Reader<'_, '_, 't>,
    defaults: &policy::Defaults,
    groups: Option<&group::Groups>,
    connections: &Connections,
    rules: &RulesConfig,
) -> Option<Vec<UplinkConfig>> {
    let Some(value) = top.value("uplink") else {
        top.missing(
            0..0,
            "at least one [[uplink]] is needed, and there is none".to_owned(),
        );
        return None;
    };
    let tables = match value.get_ref() {
        DeValue::Array(items) => items
            .iter()
            .map(|item| (item.span(), item.get_ref().as_table())),
        _ => {
            return top.wrong(
                "uplink",
                value.span(),
                "written as [[uplink]], once for each",
            );
        }
    };
    let tables: Option<Vec<_>> = tables.map(|(span, table)| Some((span, table?))).collect();
    let Some(tables) = tables else {
        return top.wrong(
            "uplink",
            value.span(),
            "written as [[uplink]], once for each",
        );
    };
    if tables.is_empty() || tables.len() > UPLINKS_MAX {
        let count = tables.len();
        top.error(
            value.span(),
            format!("`uplink` must be given 1 to {UPLINKS_MAX} times, not {count}"),
        );
        return None;
    }
    // With an error said of the groups, uplinks are read as if there were one of them.
    let fallback;
    let groups = match groups {
        Some(groups) => groups,
        None => {
            fallback = group::Groups::any();
            &fallback
        }
    };
    let mut places = uplink::Places::new(groups);
    let mut drafts = Vec::with_capacity(tables.len());
    for (index, (span, table)) in tables.into_iter().enumerate() {
        let path = format!("uplink[{}].", index + 1);
        let reader = Reader::new(table, span, path, top.findings());
        drafts.push(uplink::Draft::read(reader, defaults, &mut places));
    }
    compare::compare(&drafts, groups, top.findings());
    checks::compare(&drafts, rules, top.findings());
    connections.check(&drafts, top.findings());
    let uplinks: Vec<UplinkConfig> = drafts
        .into_iter()
        .map(|draft| draft.config)
        .collect::<Option<_>>()?;
    for (index, group) in groups.list.iter().enumerate() {
        let members = uplinks
            .iter()
            .filter(|uplink| uplink.group.index() == index);
        let unmarked = group.value.failback.unmarked(members);
        if !unmarked.is_empty() {
            let message = format!(
                "group {:?} lets connections stay on an uplink that traffic has left, which needs `fwmark` (and `table`) in every \
                 uplink of it: {} has none",
                group.value.name,
                unmarked.join(", ")
            );
            top.error(group.span.clone(), message);
        }
    }
    let paths: usize = uplinks
        .iter()
        .map(|uplink| uplink.probe.targets.len())
        .sum();
    if paths > PATHS_MAX {
        top.error(
            value.span(),
            format!("all uplinks together have {paths} targets, each counted for each uplink, and {PATHS_MAX} is the most"),
        );
        return None;
    }
    let slots: u64 = uplinks
        .iter()
        .map(|uplink| {
            u64::from(crate::engine::slots_needed(&uplink.probe))
                * uplink.probe.targets.len() as u64
        })
        .sum();
    if slots > SLOTS_MAX {
        top.error(
            value.span(),
            format!(
                "all uplinks together have {slots} probes in flight at once, and {SLOTS_MAX} is the most; \
                 a smaller `count` or `timeout`, a longer `period` or fewer `targets` need fewer"
            ),
        );
        return None;
    }
    Some(uplinks)
}

/// Why an address can be no target and no next hop, which are single hosts that a packet out of an uplink can be sent to.
pub(crate) fn address_fault(address: IpAddr) -> Option<&'static str> {
    let (is_broadcast, is_reserved) = match address {
        IpAddr::V4(v4) => (v4.is_broadcast(), v4.octets()[0] >= 240),
        IpAddr::V6(v6) => (false, v6.to_ipv4_mapped().is_some()),
    };
    Some(match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_multicast() => "a multicast address",
        _ if is_broadcast => "the broadcast address",
        IpAddr::V4(_) if is_reserved => "a reserved address",
        IpAddr::V6(_) if is_reserved => "an IPv4 address in IPv6 dress",
        _ => return None,
    })
}

/// The range of a duration key.
pub(super) const fn between(from_ms: u64, to_ms: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(from_ms)..=Duration::from_millis(to_ms)
}
