//! An interface that mwan3 tracks, as an uplink.

use std::net::IpAddr;

use super::{
    devices::Devices,
    limits,
    policies::{Group, Share},
};
use crate::import::{
    draft::{Section as Table, address, text, texts},
    findings::{Findings, quote},
    uci::Section,
};

/// What is read, or listed elsewhere.
const KNOWN: [&str; 17] = [
    "enabled",
    "family",
    "track_ip",
    "track_method",
    "reliability",
    "count",
    "timeout",
    "interval",
    "down",
    "up",
    "size",
    "check_quality",
    "failure_latency",
    "recovery_latency",
    "failure_loss",
    "recovery_loss",
    "flush_conntrack",
];

/// Options without a counterpart, and why.
const LOST: [(&str, &str); 6] = [
    ("max_ttl", "pingu's probes have a TTL of 64"),
    (
        "failure_interval",
        "bursts of an uplink that fails have the same period; `mode = \"rolling\"` has `suspect_interval`",
    ),
    (
        "recovery_interval",
        "bursts of an uplink that recovers have the same period",
    ),
    (
        "keep_failure_interval",
        "bursts of an uplink that fails have the same period",
    ),
    (
        "initial_state",
        "an uplink is neither up nor down before it was probed, which is at once",
    ),
    (
        "httping_ssl",
        "pings are sent instead; `[[uplink.check]]` has the kind https",
    ),
];

/// An interface, or two: one of each family on the same device.
pub(super) struct Uplink<'a> {
    pub(super) name: &'a str,
    /// Its number: that of its table, and its mark's.
    number: u32,
    device: String,
    sections: Vec<&'a Section>,
    targets: Vec<(IpAddr, usize)>,
    /// Networks that lead out of it while it is up: those, their metric, and the line of the rule.
    pub(super) advertise: Vec<(Vec<String>, u32, usize)>,
}

/// The uplinks: the interfaces that are enabled.
pub(super) fn uplinks<'a>(
    sections: &[&'a Section],
    devices: &Devices,
    findings: &mut Findings,
) -> Vec<Uplink<'a>> {
    let mut all: Vec<Uplink<'a>> = Vec::new();
    for (index, &section) in sections.iter().enumerate() {
        let Some(name) = section.name.as_deref() else {
            findings.error(section.line, "this interface has no name");
            continue;
        };
        if !section.is_on("enabled", false) {
            let message = format!("the interface {}: it is not enabled", quote(name));
            findings.lost(section.line, message);
            continue;
        }
        let device = devices.of(name);
        if let Some(other) = same_device(&mut all, section, name, device.as_deref(), devices) {
            let message = format!(
                "the interface {} is taken for the IPv{} part of {}, whose limits count",
                quote(name),
                family(section),
                quote(other.name)
            );
            findings.differs(section.line, message);
            other.sections.push(section);
            other.targets.extend(targets(section, findings));
            continue;
        }
        if device.is_none() {
            let why = if devices.is_known() {
                "the network configuration does not tell its device"
            } else {
                "its device is in /etc/config/network (--network FILE)"
            };
            let message = format!(
                "the interface {} is left as it is: {why}; correct `interface` by hand",
                quote(name)
            );
            findings.differs(section.line, message);
        }
        all.push(Uplink {
            name,
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            device: device.unwrap_or_else(|| name.to_owned()),
            sections: vec![section],
            targets: targets(section, findings),
            advertise: Vec::new(),
        });
    }
    lend_targets(&mut all, findings);
    all
}

/// The uplink of the other family on the same device, which on OpenWrt is an interface of its own.
fn same_device<'u, 'a>(
    all: &'u mut [Uplink<'a>],
    section: &Section,
    name: &str,
    device: Option<&str>,
    devices: &Devices,
) -> Option<&'u mut Uplink<'a>> {
    all.iter_mut().find(|other| {
        let other_family =
            other.sections.len() == 1 && family(other.sections[0]) != family(section);
        let same = match device {
            Some(device) => other.device == device,
            // The name that OpenWrt itself gives it.
            None if !devices.is_known() => {
                name.strip_suffix('6')
                    .map(|base| base.trim_end_matches('_'))
                    == Some(other.name)
            }
            None => false,
        };
        other_family && same
    })
}

fn family(section: &Section) -> u8 {
    match section.option("family") {
        Some(("ipv6", _)) => 6,
        _ => 4,
    }
}

fn targets(section: &Section, findings: &mut Findings) -> Vec<(IpAddr, usize)> {
    let mut targets: Vec<(IpAddr, usize)> = Vec::new();
    for (word, line) in section.list("track_ip") {
        match address(word) {
            Some(found) if targets.iter().any(|(other, _)| *other == found) => {}
            Some(found) => targets.push((found, line)),
            None => findings.lost(
                line,
                format!("`track_ip` {}: names are not resolved", quote(word)),
            ),
        }
    }
    targets
}

/// Without `track_ip` an interface counts as online. pingu has to probe something: what the others do.
fn lend_targets(all: &mut [Uplink<'_>], findings: &mut Findings) {
    let known: Vec<(IpAddr, usize)> = all
        .iter()
        .flat_map(|uplink| uplink.targets.clone())
        .collect();
    for uplink in all.iter_mut().filter(|uplink| uplink.targets.is_empty()) {
        let section = uplink.sections[0];
        let fits = |target: &IpAddr| target.is_ipv4() == (family(section) == 4);
        for &(target, _) in known.iter().filter(|(target, _)| fits(target)) {
            if !uplink.targets.iter().any(|(other, _)| *other == target) {
                uplink.targets.push((target, section.line));
            }
        }
        let name = quote(uplink.name);
        if uplink.targets.is_empty() {
            let message = format!(
                "the interface {name} needs a `track_ip` with an address: pingu has to probe something"
            );
            findings.error(section.line, message);
        } else {
            let message = format!(
                "the interface {name} has no `track_ip` with an address, and counts as online; pingu probes those of the others"
            );
            findings.differs(section.line, message);
        }
    }
}

impl Uplink<'_> {
    /// Whether an interface of this name is it, or part of it.
    pub(super) fn has(&self, name: &str) -> bool {
        let mut names = self.sections.iter().map(|section| section.name.as_deref());
        names.any(|own| own == Some(name))
    }

    pub(super) fn line(&self) -> usize {
        self.sections[0].line
    }

    /// The line that asks for connections to be forgotten when it dies.
    pub(super) fn flushes(&self) -> Option<usize> {
        let events = self
            .sections
            .iter()
            .flat_map(|section| section.list("flush_conntrack"));
        let mut down =
            events.filter(|(event, _)| matches!(*event, "ifdown" | "disconnected" | "always"));
        down.next().map(|(_, line)| line)
    }

    /// Its `[[uplink]]`.
    pub(super) fn table(
        &self,
        group: &Group,
        share: &Share,
        mask: u32,
        findings: &mut Findings,
    ) -> Table {
        let section = self.sections[0];
        let mut table = Table::new("[[uplink]]", section.line, "");
        let here = format!("interface {}", self.name);
        table.set("name", text(self.name), section.line, &here);
        table.set("interface", text(&self.device), section.line, &here);
        table.set("group", text(&group.name), group.line, "policy");
        if group.is_balanced() {
            table.set("weight", share.weight, share.line, "weight");
        }
        let mark = self.number.checked_shl(mask.trailing_zeros()).unwrap_or(0);
        table.own("table", self.number, "mwan3's number for it, and mark.");
        if mark != 0 && mark & mask == mark {
            table.own("fwmark", text(&format!("{mark:#x}/{mask:#x}")), "");
        } else {
            findings.lost(
                section.line,
                format!(
                    "the mark of {}: its number does not fit into `mmx_mask`",
                    quote(self.name)
                ),
            );
        }
        let targets: Vec<IpAddr> = self.targets.iter().map(|(target, _)| *target).collect();
        let line = self.targets.first().map_or(section.line, |(_, line)| *line);
        table.set("targets", texts(targets), line, "track_ip");
        limits::probe(&mut table, section, findings);
        self.listed(findings);
        table
    }

    /// What has no counterpart.
    fn listed(&self, findings: &mut Findings) {
        for entry in self.sections.iter().flat_map(|section| &section.entries) {
            let key = entry.key.as_str();
            let value = quote(&entry.value);
            if let Some((_, why)) = LOST.iter().find(|(lost, _)| *lost == key) {
                findings.lost(entry.line, format!("`{key}` {value}: {why}"));
            } else if key == "track_method"
                && !matches!(entry.value.as_str(), "ping" | "nping-icmp")
            {
                findings.lost(entry.line, format!("`{key}` {value}: pings are sent instead; `[[uplink.check]]` has other kinds"));
            } else if key == "flush_conntrack" {
                let rest = entry
                    .value
                    .split_whitespace()
                    .find(|event| matches!(*event, "ifup" | "connected"));
                if let Some(event) = rest {
                    let why = "the group's `failback` says what becomes of connections then";
                    findings.lost(entry.line, format!("`{key}` {}: {why}", quote(event)));
                }
            } else if !KNOWN.contains(&key) {
                findings.lost(
                    entry.line,
                    format!("`{key}`: pingu knows no such option of an interface"),
                );
            }
        }
    }

    /// Networks that lead out of it while it is up.
    pub(super) fn advertised(&self) -> Vec<Table> {
        let one = |(prefixes, metric, line): &(Vec<String>, u32, usize)| {
            let mut table = Table::new("[[uplink.advertise]]", *line, "");
            table.set("prefixes", texts(prefixes), *line, "dest_ip");
            table.own("metric", metric, "");
            table
        };
        self.advertise.iter().map(one).collect()
    }
}
