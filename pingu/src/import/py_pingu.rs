//! py-pingu's JSON file.

mod map;

use std::time::Duration;

use super::{
    draft::{Draft, Section, address, duration, milliseconds, seconds, text, texts},
    findings::{Findings, quote},
    json::{self, Kind, Member, Value},
};
use map::Map;

/// What py-pingu takes for what is not given.
const PROTO: i64 = 89;
const PERIOD: Duration = Duration::from_secs(5);
const COUNT: i64 = 5;
const MAX_LOST: i64 = 2;
const MAX_DELAY: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(600);

/// What it waits between two requests of a burst, and for an answer.
const SPACING: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(1);

/// pingu's largest limits of delay, and of losses.
const MAX_DELAY_MAX: Duration = Duration::from_secs(60);
const MAX_LOST_MAX: i64 = 1000;

/// pingu kills a hook then at the latest.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(600);

/// Reads the file.
pub(super) fn convert(text: &str, findings: &mut Findings) -> Draft {
    let mut draft = Draft::default();
    let root = match json::parse(text) {
        Ok(root) => root,
        Err((line, message)) => {
            findings.error(line, message);
            return draft;
        }
    };
    let Kind::Map(members) = &root.kind else {
        findings.error(
            root.line,
            format!("must be a map in braces, not {}", root.found()),
        );
        return draft;
    };
    let mut map = Map::new(String::new(), members);
    draft.sections.push(top(&mut map, findings));
    let base = map.time("period", seconds, findings);
    draft
        .sections
        .push(probe(&mut map, root.line, base, findings));
    draft.sections.push(health(root.line));
    draft.sections.push(group(root.line));
    let period = base.map_or(PERIOD, |(period, _)| period);
    match map.take("interfaces", findings) {
        Some(Value {
            kind: Kind::Map(members),
            line,
        }) => interfaces(&mut draft, members, *line, period, findings),
        Some(other) => {
            let allowed = "a map of interfaces, in braces";
            findings.wrong(other.line, "interfaces", allowed, &other.found());
        }
        None => findings.error(root.line, "`interfaces` is needed: a map of interfaces"),
    }
    if let Some((file, line)) = map.string("gateways_file", findings) {
        let message = format!(
            "`gateways_file` {}: pingu remembers gateways by itself, in its `state_directory`",
            quote(file)
        );
        findings.lost(line, message);
    }
    map.finish(findings);
    draft
}

fn top(map: &mut Map<'_>, findings: &mut Findings) -> Section {
    let mut section = Section::new("", 1, "");
    match map.whole("proto", findings) {
        Some((proto, line)) => section.set("protocol", proto, line, "proto"),
        None => section.own("protocol", PROTO, "py-pingu's, where no `proto` is given."),
    }
    section.own(
        "learned_routes",
        text("adopt"),
        "As py-pingu does, the default routes of DHCP clients are taken out of the table. Unlike it, pingu does so only once its own \
         route stands, and puts them back when it ends.",
    );
    section
}

fn probe(
    map: &mut Map<'_>,
    line: usize,
    base: Option<(Duration, usize)>,
    findings: &mut Findings,
) -> Section {
    let mut section = Section::new("[probe]", line, "");
    match map.string("host", findings) {
        Some((host, line)) => match address(host) {
            Some(host) => section.set("targets", texts([host]), line, "host"),
            None => {
                let allowed = "the address of a host (names are not resolved)";
                findings.wrong(line, "host", allowed, &quote(host));
            }
        },
        None => map.needed("host", line, "the address that is pinged", findings),
    }
    let how = "From the start of one burst to the start of the next; py-pingu counts from the end of one.";
    match base {
        Some((period, line)) => {
            section.set_with("period", duration(period), (line, "period"), how);
        }
        None => section.own("period", duration(PERIOD), how),
    }
    section.own(
        "count",
        COUNT,
        "py-pingu's, where an interface has no `count`.",
    );
    section.own(
        "spacing",
        duration(spacing(base.map_or(PERIOD, |(period, _)| period), COUNT)),
        "py-pingu sends a request each 500 ms, and waits for an answer before; here they go on without waiting.",
    );
    section.own("timeout", duration(TIMEOUT), "As py-pingu has it.");
    section
}

fn health(line: usize) -> Section {
    let mut section = Section::new("[health]", line, "");
    section.own(
        "max_lost",
        MAX_LOST,
        "py-pingu's, where an interface has no `max_lost` and no `max_delay`.",
    );
    section.own("max_delay", duration(MAX_DELAY), "");
    section.own(
        "fall",
        1,
        "One bad burst takes an uplink down, one good one brings it back.",
    );
    section.own("rise", 1, "");
    section.own(
        "handshakes",
        text("off"),
        "py-pingu judges by pings alone. \"report\", pingu's default, spares an uplink whose pings are lost while TCP works.",
    );
    section
}

fn group(line: usize) -> Section {
    let mut section = Section::new(
        "[[group]]",
        line,
        "Each interface that is good has a route with its own metric.",
    );
    section.own("name", text("default"), "");
    section.own("mode", text("metric"), "");
    section.own(
        "when_all_down",
        text("keep"),
        "py-pingu has no default route when none is good; here the last good one stays.",
    );
    section
}

/// How far apart requests are, so that a burst ends before the next begins.
fn spacing(period: Duration, count: i64) -> Duration {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    if SPACING
        .checked_mul(count - 1)
        .is_some_and(|burst| burst < period)
    {
        return SPACING;
    }
    let ms = period.as_millis() / u128::from(count);
    Duration::from_millis(u64::try_from(ms).unwrap_or(1).clamp(1, 500))
}

/// An interface, with what it is ordered by.
struct Interface {
    metric: i64,
    uplink: Section,
    hook: Option<Section>,
}

fn interfaces(
    draft: &mut Draft,
    members: &[Member],
    line: usize,
    base: Duration,
    findings: &mut Findings,
) {
    let mut all: Vec<Interface> = Vec::new();
    for (index, member) in members.iter().enumerate() {
        if let Some(again) = members[index + 1..].iter().find(|m| m.key == member.key) {
            let message = format!(
                "`interfaces.{}` is given again in line {}, which counts",
                member.key, again.line
            );
            findings.differs(member.line, message);
            continue;
        }
        match &member.value.kind {
            Kind::Map(own) => all.push(interface(member, own, base, findings)),
            _ => {
                let key = format!("interfaces.{}", member.key);
                let allowed = "a map in braces";
                findings.wrong(member.line, &key, allowed, &member.value.found());
            }
        }
    }
    if members.is_empty() {
        findings.error(line, "`interfaces` has none, and one at least is needed");
    }
    all.sort_by_key(|interface| interface.metric);
    let mut hooks = Vec::new();
    for interface in all {
        draft.sections.push(interface.uplink);
        hooks.extend(interface.hook);
    }
    draft.sections.extend(hooks);
}

fn interface(
    member: &Member,
    own: &[Member],
    base: Duration,
    findings: &mut Findings,
) -> Interface {
    let path = format!("interfaces.{}.", member.key);
    let mut map = Map::new(path, own);
    let name = |key: &str| format!("interfaces.{}.{key}", member.key);
    let mut uplink = Section::new("[[uplink]]", member.line, "");
    let here = format!("interfaces.{}", member.key);
    uplink.set("name", text(&member.key), member.line, &here);
    uplink.set("interface", text(&member.key), member.line, &here);
    let metric = map.whole("metric", findings);
    match metric {
        Some((metric, line)) => uplink.set("metric", metric, line, &name("metric")),
        None => map.needed("metric", member.line, "the metric of its route", findings),
    }
    let period = map.time("period", seconds, findings);
    if let Some((period, line)) = period {
        uplink.set("period", duration(period), line, &name("period"));
    }
    let count = map.whole("count", findings);
    if let Some((count, line)) = count {
        uplink.set("count", count, line, &name("count"));
    }
    let requests = count.map_or(COUNT, |(count, _)| count);
    let own_spacing = spacing(period.map_or(base, |(period, _)| period), requests);
    if own_spacing != spacing(base, COUNT) {
        uplink.own("spacing", duration(own_spacing), "");
    }
    match map.whole("max_lost", findings) {
        Some((max_lost, line)) => {
            uplink.set(
                "max_lost",
                max_lost.min(MAX_LOST_MAX),
                line,
                &name("max_lost"),
            );
        }
        None if requests <= MAX_LOST => {
            let why = "py-pingu's 2 is all of them: what answers nothing at all is bad.";
            uplink.own("max_lost", (requests - 1).max(0), why);
        }
        None => {}
    }
    if let Some((max_delay, line)) = map.time("max_delay", milliseconds, findings) {
        let max_delay = max_delay.min(MAX_DELAY_MAX);
        uplink.set("max_delay", duration(max_delay), line, &name("max_delay"));
    }
    let hook = hook(member, &mut map, findings);
    if let Some((_, line)) = map.string("gateways_file", findings) {
        findings.lost(
            line,
            "`gateways_file`: pingu remembers gateways by itself, in its `state_directory`",
        );
    }
    map.finish(findings);
    Interface {
        metric: metric.map_or(i64::MAX, |(metric, _)| metric),
        uplink,
        hook,
    }
}

/// The reset script.
fn hook(member: &Member, map: &mut Map<'_>, findings: &mut Findings) -> Option<Section> {
    let script = map.string("reset_script", findings);
    let grace = map.time("reset_script_grace_period", seconds, findings);
    let (script, line) = script?;
    let key = map.name("reset_script");
    if script.is_empty() {
        return None;
    }
    let mut hook = Section::new(
        "[[hook]]",
        line,
        "Run when a burst over the uplink was bad, beside the probing; py-pingu waits for it.",
    );
    hook.own("on", texts(["bad", "down"]), "");
    hook.set("command", texts([script]), line, &key);
    hook.own("uplinks", texts([&member.key]), "");
    hook.own("timeout", duration(SCRIPT_TIMEOUT), "It is killed then.");
    let period = grace.map_or(GRACE, |(grace, _)| grace);
    if !period.is_zero() {
        let key = map.name("reset_script_grace_period");
        match grace {
            Some((_, line)) => hook.set("at_most_every", duration(period), line, &key),
            None => hook.own(
                "at_most_every",
                duration(period),
                "py-pingu's, where none is given.",
            ),
        }
    }
    if !script.starts_with('/') {
        let message = format!(
            "`{key}` {}: a path that depends on where py-pingu is started; it is left as a comment, to be made absolute",
            quote(script)
        );
        findings.lost(line, message);
        hook.comment_out();
    }
    Some(hook)
}
