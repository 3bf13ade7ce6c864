//! Members and policies: which interfaces stand in for each other, in which order, with which shares.

use super::interface::Uplink;
use crate::import::{
    findings::{Findings, quote},
    uci::Section,
};

/// The largest share that pingu has.
const WEIGHT_MAX: u32 = 255;

/// An uplink's part in a policy.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Its place among the uplinks.
    pub(super) uplink: usize,
    pub(super) metric: u32,
    pub(super) weight: u32,
    /// The line of the member.
    pub(super) line: usize,
}

/// A policy, with its shares in order.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) shares: Vec<Share>,
    /// pingu's word, and the line of `last_resort`.
    when_all_down: (&'static str, usize),
}

/// A policy that is carried over.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) uplinks: Vec<Share>,
    pub(super) when_all_down: (&'static str, usize),
    /// Where it leads to.
    pub(super) prefixes: Vec<String>,
    pub(super) rule_line: usize,
}

impl Group {
    pub(super) fn is_balanced(&self) -> bool {
        is_balanced(&self.uplinks)
    }

    pub(super) fn leads_to(&self, prefix: &str) -> bool {
        self.prefixes.iter().any(|own| own == prefix)
    }
}

impl Policy {
    /// The group of these shares of it.
    pub(super) fn group(&self, shares: Vec<Share>, rule_line: usize) -> Group {
        Group {
            name: self.name.clone(),
            line: self.line,
            uplinks: shares,
            when_all_down: self.when_all_down,
            prefixes: Vec::new(),
            rule_line,
        }
    }

    /// Whether its members follow each other, none beside another.
    pub(super) fn is_ordered(&self) -> bool {
        self.shares
            .windows(2)
            .all(|pair| pair[0].metric != pair[1].metric)
    }
}

/// All members have the same metric, and there are several.
fn is_balanced(shares: &[Share]) -> bool {
    shares.len() > 1
        && shares
            .windows(2)
            .all(|pair| pair[0].metric == pair[1].metric)
}

/// The policies.
pub(super) fn read(
    policies: &[&Section],
    members: &[&Section],
    uplinks: &[Uplink<'_>],
    findings: &mut Findings,
) -> Vec<Policy> {
    let mut all = Vec::new();
    for section in policies {
        let Some(name) = section.name.clone() else {
            findings.error(section.line, "this policy has no name");
            continue;
        };
        let shares = shares(section, members, uplinks, findings);
        for entry in &section.entries {
            if !matches!(entry.key.as_str(), "use_member" | "last_resort") {
                findings.lost(
                    entry.line,
                    format!("`{}`: pingu knows no such option of a policy", entry.key),
                );
            }
        }
        all.push(Policy {
            name,
            line: section.line,
            shares,
            when_all_down: last_resort(section, findings),
        });
    }
    all
}

fn shares(
    policy: &Section,
    members: &[&Section],
    uplinks: &[Uplink<'_>],
    findings: &mut Findings,
) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for (name, line) in policy.list("use_member") {
        let member = members
            .iter()
            .find(|member| member.name.as_deref() == Some(name));
        let Some(member) = member else {
            findings.lost(
                line,
                format!("the member {}: there is none of this name", quote(name)),
            );
            continue;
        };
        let interface = member.option("interface");
        let place = uplinks
            .iter()
            .position(|uplink| interface.is_some_and(|(interface, _)| uplink.has(interface)));
        let Some(place) = place else {
            let message = format!(
                "the member {}: its interface is not there or not enabled",
                quote(name)
            );
            findings.lost(line, message);
            continue;
        };
        if shares.iter().any(|share| share.uplink == place) {
            continue;
        }
        let metric = whole(member, "metric", findings);
        let weight = whole(member, "weight", findings);
        shares.push(Share {
            uplink: place,
            metric,
            weight,
            line: member
                .option("weight")
                .map_or(member.line, |(_, line)| line),
        });
    }
    shares.sort_by_key(|share| (share.metric, std::cmp::Reverse(share.weight)));
    let heaviest = shares.iter().map(|share| share.weight).max().unwrap_or(1);
    if heaviest > WEIGHT_MAX {
        let message = format!(
            "weights are at most {WEIGHT_MAX}: those of {} are scaled down",
            quote(policy.name.as_deref().unwrap_or_default())
        );
        findings.differs(policy.line, message);
        for share in &mut shares {
            let scaled = u64::from(share.weight) * u64::from(WEIGHT_MAX) / u64::from(heaviest);
            share.weight = u32::try_from(scaled).unwrap_or(WEIGHT_MAX).max(1);
        }
    }
    shares
}

/// A number of a member, 1 if it is not given.
fn whole(member: &Section, key: &str, findings: &mut Findings) -> u32 {
    let Some((value, line)) = member.option(key) else {
        return 1;
    };
    match value.trim().parse() {
        Ok(number) if number > 0 => number,
        _ => {
            findings.wrong(line, key, "a whole number from 1", &quote(value));
            1
        }
    }
}

fn last_resort(policy: &Section, findings: &mut Findings) -> (&'static str, usize) {
    let Some((word, line)) = policy.option("last_resort") else {
        return ("unreachable", policy.line);
    };
    match word {
        "unreachable" => ("unreachable", line),
        "blackhole" => {
            findings.differs(
                line,
                "`last_resort` \"blackhole\": packets are refused (\"unreachable\"), not dropped",
            );
            ("unreachable", line)
        }
        "default" => {
            findings.differs(
                line,
                "`last_resort` \"default\": the uplink that worked last keeps its route (\"keep\")",
            );
            ("keep", line)
        }
        other => {
            let allowed = "\"unreachable\", \"blackhole\" or \"default\"";
            findings.wrong(line, "last_resort", allowed, &quote(other));
            ("keep", line)
        }
    }
}
