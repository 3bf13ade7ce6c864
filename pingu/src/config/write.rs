//! The effective configuration as text that reads back to the same.

use std::{fmt::Write, net::IpAddr, time::Duration};

use super::{
    BurstConfig, Config, Failback, Gateway, GroupConfig, LossLimit, Mode, ProbeMode, Quorum,
    RollingConfig, Rule, UplinkConfig, checks, duration, hooks, keys, pace::ModeWord,
};
use crate::units::UplinkId;

/// A key of an uplink as text, none where it is absent.
type Key = (&'static str, fn(&UplinkConfig) -> Option<String>);

const PROBE: [Key; 15] = [
    ("targets", |uplink| Some(list(uplink.probe.targets.iter()))),
    ("mode", |uplink| {
        let word = match uplink.probe.mode {
            ProbeMode::Burst(_) => ModeWord::Burst,
            ProbeMode::Rolling(_) => ModeWord::Rolling,
        };
        Some(text(keys::word(&keys::PROBE_MODES, &word)))
    }),
    ("period", |uplink| time(burst(uplink)?.period)),
    ("count", |uplink| Some(burst(uplink)?.count.to_string())),
    ("spacing", |uplink| time(burst(uplink)?.spacing)),
    ("interval", |uplink| time(rolling(uplink)?.interval)),
    ("window", |uplink| time(rolling(uplink)?.window)),
    ("suspect_interval", |uplink| {
        let suspect_interval = match &uplink.probe.mode {
            ProbeMode::Burst(burst) => burst.suspect_interval,
            ProbeMode::Rolling(rolling) => rolling.suspect_interval,
        };
        suspect_interval.and_then(time)
    }),
    ("timeout", |uplink| time(uplink.probe.timeout)),
    ("size", |uplink| Some(uplink.probe.size_bytes.to_string())),
    ("reflect", |uplink| Some(uplink.probe.reflect.to_string())),
    ("probe_when", |uplink| {
        let when = keys::word(&keys::PROBE_WHENS, &uplink.probe.passive.when);
        Some(text(when))
    }),
    ("probe_at_least", |uplink| {
        time(uplink.probe.passive.at_least)
    }),
    ("silence", |uplink| {
        time(uplink.probe.passive.silence.unwrap_or_default())
    }),
    ("budget", |uplink| {
        let budget = uplink.probe.passive.budget?;
        Some(text(&budget.to_string()))
    }),
];

const HEALTH: [Key; 16] = [
    ("max_lost", |uplink| probes(uplink.health.fail.loss)),
    ("max_loss", |uplink| percent(uplink.health.fail.loss)),
    ("max_delay", |uplink| time(uplink.health.fail.max_delay)),
    ("max_jitter", |uplink| {
        uplink.health.fail.max_jitter.and_then(time)
    }),
    ("recover_lost", |uplink| {
        let (fail, recover) = (uplink.health.fail, uplink.health.recover);
        probes(recover.loss).filter(|_| recover.loss != fail.loss)
    }),
    ("recover_loss", |uplink| {
        let (fail, recover) = (uplink.health.fail, uplink.health.recover);
        percent(recover.loss).filter(|_| recover.loss != fail.loss)
    }),
    ("recover_delay", |uplink| {
        let (fail, recover) = (uplink.health.fail, uplink.health.recover);
        (recover.max_delay != fail.max_delay)
            .then_some(recover.max_delay)
            .and_then(time)
    }),
    ("recover_jitter", |uplink| {
        let (fail, recover) = (uplink.health.fail, uplink.health.recover);
        recover
            .max_jitter
            .filter(|_| recover.max_jitter != fail.max_jitter)
            .and_then(time)
    }),
    ("fall", |uplink| match uplink.health.rule {
        Rule::InARow { fall, .. } => Some(fall.to_string()),
        Rule::Window { .. } => None,
    }),
    ("rise", |uplink| match uplink.health.rule {
        Rule::InARow { rise, .. } => Some(rise.to_string()),
        Rule::Window { .. } => None,
    }),
    ("window", |uplink| match uplink.health.rule {
        Rule::Window { window, .. } => Some(window.to_string()),
        Rule::InARow { .. } => None,
    }),
    ("max_failed", |uplink| match uplink.health.rule {
        Rule::Window { max_failed, .. } => Some(max_failed.to_string()),
        Rule::InARow { .. } => None,
    }),
    ("min_consecutive", |uplink| match uplink.health.rule {
        Rule::Window {
            min_consecutive, ..
        } => Some(min_consecutive.to_string()),
        Rule::InARow { .. } => None,
    }),
    ("quorum", |uplink| {
        Some(match uplink.health.quorum {
            Quorum::AtLeast(count) => count.to_string(),
            word @ (Quorum::Any | Quorum::All) => text(keys::word(&keys::QUORUMS, &word)),
        })
    }),
    ("hold_down", |uplink| time(uplink.health.hold_down)),
    ("handshakes", |uplink| {
        let handshakes = keys::word(&keys::HANDSHAKES, &uplink.health.handshakes);
        Some(text(handshakes))
    }),
];

fn burst(uplink: &UplinkConfig) -> Option<&BurstConfig> {
    match &uplink.probe.mode {
        ProbeMode::Burst(burst) => Some(burst),
        ProbeMode::Rolling(_) => None,
    }
}

fn rolling(uplink: &UplinkConfig) -> Option<&RollingConfig> {
    match &uplink.probe.mode {
        ProbeMode::Burst(_) => None,
        ProbeMode::Rolling(rolling) => Some(rolling),
    }
}

fn probes(limit: LossLimit) -> Option<String> {
    match limit {
        LossLimit::Probes(most) => Some(most.to_string()),
        LossLimit::Percent(_) => None,
    }
}

fn percent(limit: LossLimit) -> Option<String> {
    match limit {
        LossLimit::Probes(_) => None,
        LossLimit::Percent(most) => Some(most.to_string()),
    }
}

/// Writes everything, defaults included: what all uplinks share in `[probe]` and `[health]`, the rest with each uplink.
pub(super) fn to_toml(config: &Config) -> String {
    let mut out = String::new();
    let top = [
        ("protocol", config.protocol.to_string()),
        ("engine", text(keys::word(&keys::ENGINES, &config.engine))),
        (
            "receive_hook",
            text(keys::word(&keys::RECEIVE_HOOKS, &config.receive_hook)),
        ),
        (
            "learned_routes",
            text(keys::word(&keys::LEARNED_ROUTES, &config.learned_routes)),
        ),
        ("on_exit", text(keys::word(&keys::ON_EXIT, &config.on_exit))),
        ("socket", text(&config.socket.to_string_lossy())),
        (
            "state_directory",
            text(&config.state_directory.to_string_lossy()),
        ),
    ];
    for (key, value) in top {
        line(&mut out, key, &value);
    }
    if let Some(file) = &config.sticky_file {
        line(&mut out, "sticky_file", &text(&file.to_string_lossy()));
    }
    line(
        &mut out,
        "mark_connections",
        &config.mark_connections.to_string(),
    );
    line(
        &mut out,
        "flush_connections",
        &config.flush_connections.to_string(),
    );
    line(&mut out, "nexthop_base", &config.nexthop_base.to_string());
    if let Some(better) = &config.prefer_better {
        let value = format!(
            "{{ by_delay = {}, by_loss = {}, for = {} }}",
            text(&duration::write(better.by_delay)),
            better.by_loss_percent,
            text(&duration::write(better.for_time))
        );
        line(&mut out, "prefer_better", &value);
    }
    if let Some(script) = &config.script {
        super::script::write(&mut out, script);
    }
    rules(&mut out, config);
    if let Some(damping) = &config.damping {
        out.push_str("\n[damping]\n");
        line_of(&mut out, "half_life", time(damping.half_life));
        line(&mut out, "suppress", &damping.suppress.to_string());
        line(&mut out, "reuse", &damping.reuse.to_string());
        line_of(&mut out, "max_suppress", time(damping.max_suppress));
    }
    for (section, section_keys) in [("probe", &PROBE[..]), ("health", &HEALTH[..])] {
        let shared: Vec<&Key> = section_keys
            .iter()
            .filter(|key| is_shared(config, key))
            .collect();
        if !shared.is_empty() {
            writeln!(out, "\n[{section}]").expect(INFALLIBLE);
        }
        for (key, value) in shared {
            line_of(&mut out, key, value(&config.uplinks[0]));
        }
    }
    config
        .groups
        .iter()
        .for_each(|group| write_group(&mut out, group));
    for uplink in &config.uplinks {
        out.push_str("\n[[uplink]]\n");
        line(&mut out, "name", &text(&uplink.name));
        line(&mut out, "interface", &text(&uplink.interface));
        line(&mut out, "gateway", &gateway(&uplink.gateway));
        let group = &config.groups[uplink.group.index()];
        line(&mut out, "group", &text(&group.name));
        if group.mode == Mode::Metric {
            line(&mut out, "metric", &uplink.metric.to_string());
        }
        line(&mut out, "weight", &uplink.weight.to_string());
        policy(&mut out, uplink);
        for key in PROBE
            .iter()
            .chain(&HEALTH)
            .filter(|key| !is_shared(config, key))
        {
            line_of(&mut out, key.0, key.1(uplink));
        }
        for advertise in &uplink.advertise {
            out.push_str("\n[[uplink.advertise]]\n");
            line(&mut out, "prefixes", &list(advertise.prefixes.iter()));
            line(&mut out, "table", &advertise.table.to_string());
            line(&mut out, "metric", &advertise.metric.to_string());
            let kind = keys::word(&keys::ADVERTISE_KINDS, &advertise.kind);
            line(&mut out, "kind", &text(kind));
        }
        let checks = uplink.checks.iter();
        checks.for_each(|check| checks::write::check(&mut out, check));
    }
    let name_of = |id: UplinkId| config.uplinks[id.index()].name.as_str();
    let hooks = config.hooks.iter();
    hooks.for_each(|hook| hooks::write(&mut out, hook, name_of));
    out
}

fn rules(out: &mut String, config: &Config) {
    out.push_str("\n[rules]\n");
    let rules = &config.rules;
    line(out, "from_priority", &rules.from_priority.to_string());
    line(out, "mark_priority", &rules.mark_priority.to_string());
    line(out, "check_priority", &rules.check_priority.to_string());
    line(out, "check_table", &rules.check_table.to_string());
    let protocol = keys::word(&keys::RULE_PROTOCOLS, &rules.protocol);
    line(out, "protocol", &text(protocol));
}

fn write_group(out: &mut String, group: &GroupConfig) {
    out.push_str("\n[[group]]\n");
    line(out, "name", &text(&group.name));
    line(out, "mode", &text(keys::word(&keys::MODES, &group.mode)));
    if group.mode != Mode::Metric {
        line(out, "start_metric", &group.start_metric.to_string());
    }
    let when_all_down = keys::word(&keys::WHEN_ALL_DOWN, &group.when_all_down);
    line(out, "when_all_down", &text(when_all_down));
    line(out, "prefixes", &list(group.prefixes.iter()));
    match group.failback {
        Failback::Drain(time) => line(out, "drain", &text(&duration::write(time))),
        failback => line(
            out,
            "failback",
            &text(keys::word(&Failback::WORDS, &failback)),
        ),
    }
}

fn policy(out: &mut String, uplink: &UplinkConfig) {
    let sources = uplink.source.v4.map(IpAddr::V4);
    let sources: Vec<IpAddr> = sources
        .into_iter()
        .chain(uplink.source.v6.map(IpAddr::V6))
        .collect();
    if !sources.is_empty() {
        line(out, "source", &list(sources.iter()));
    }
    if let Some(mark) = uplink.fwmark {
        let mark = format!("{:#x}/{:#x}", mark.value, mark.mask);
        line(out, "fwmark", &text(&mark));
    }
    if let Some(table) = &uplink.table {
        line(out, "table", &table.id.to_string());
        line(out, "table_name", &text(&table.name));
    }
}

const INFALLIBLE: &str = "a string takes all text";

pub(super) fn line(out: &mut String, key: &str, value: &str) {
    writeln!(out, "{key} = {value}").expect(INFALLIBLE);
}

pub(super) fn line_of(out: &mut String, key: &str, value: Option<String>) {
    if let Some(value) = value {
        line(out, key, &value);
    }
}

/// What an uplink does not inherit if it has another mode than `[probe]`.
const BOUND_TO_MODE: [&str; 9] = [
    "max_lost",
    "max_loss",
    "recover_lost",
    "recover_loss",
    "fall",
    "rise",
    "window",
    "max_failed",
    "min_consecutive",
];

fn is_shared(config: &Config, (key, value): &Key) -> bool {
    let mut modes = config
        .uplinks
        .iter()
        .map(|uplink| rolling(uplink).is_some());
    let first = modes.next();
    if BOUND_TO_MODE.contains(key) && !modes.all(|mode| Some(mode) == first) {
        return false;
    }
    let mut values = config.uplinks.iter().map(value);
    let first = values.next();
    values.all(|value| Some(value) == first)
}

fn gateway(gateway: &Gateway) -> String {
    match gateway {
        Gateway::Auto => text("auto"),
        Gateway::Device => text("none"),
        Gateway::Static {
            v4: Some(v4),
            v6: None,
        } => text(&v4.to_string()),
        Gateway::Static {
            v4: None,
            v6: Some(v6),
        } => text(&v6.to_string()),
        Gateway::Static { v4, v6 } => {
            let both = v4
                .iter()
                .map(ToString::to_string)
                .chain(v6.iter().map(ToString::to_string));
            list(both)
        }
    }
}

pub(super) fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.map(|item| text(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

pub(super) fn time(duration: Duration) -> Option<String> {
    Some(text(&duration::write(duration)))
}

/// A TOML string.
pub(super) fn text(plain: &str) -> String {
    toml::Value::String(plain.to_owned()).to_string()
}
