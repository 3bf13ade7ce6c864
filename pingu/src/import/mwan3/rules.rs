//! The rules: which destinations a policy is for. pingu's groups have destinations and nothing else.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    interface::Uplink,
    policies::{Group, Policy, Share},
};
use crate::import::{
    findings::{Findings, quote},
    uci::{Entry, Section},
};

/// Options that say nothing about which packets a rule is for.
const HARMLESS: [&str; 5] = ["use_policy", "family", "dest_ip", "logging", "enabled"];

/// Everything of both families.
pub(super) const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// A rule that is about destinations only.
struct Destination<'a> {
    policy: &'a Policy,
    prefixes: Vec<String>,
    is_default: bool,
    line: usize,
}

/// The groups that the rules come to. Uplinks get the networks that lead out of them alone.
pub(super) fn groups(
    rules: &[&Section],
    policies: &[Policy],
    uplinks: &mut [Uplink<'_>],
    findings: &mut Findings,
) -> Vec<Group> {
    let mut rules: Vec<Destination<'_>> = rules
        .iter()
        .filter_map(|rule| destination(rule, policies, findings))
        .collect();
    if !rules.iter().any(|rule| rule.is_default)
        && let Some(policy) = policies.iter().find(|policy| !policy.shares.is_empty())
    {
        let message = format!(
            "no rule leads everything to a policy: the policy {} is taken for it",
            quote(&policy.name)
        );
        findings.differs(policy.line, message);
        rules.push(Destination {
            policy,
            prefixes: EVERYTHING.map(str::to_owned).to_vec(),
            is_default: true,
            line: policy.line,
        });
    }
    let mut groups: Vec<Group> = Vec::new();
    let defaults = rules.iter().filter(|rule| rule.is_default);
    for rule in defaults.chain(rules.iter().filter(|rule| !rule.is_default)) {
        carry_over(rule, &mut groups, uplinks, findings);
    }
    for (place, uplink) in uplinks.iter().enumerate() {
        if !groups
            .iter()
            .any(|group| group.uplinks.iter().any(|share| share.uplink == place))
        {
            let message = format!(
                "the interface {}: no policy that is carried over has it",
                quote(uplink.name)
            );
            findings.lost(uplink.line(), message);
        }
    }
    groups
}

/// What a rule is about; none with a word said, if it is about more than destinations.
fn destination<'a>(
    rule: &Section,
    policies: &'a [Policy],
    findings: &mut Findings,
) -> Option<Destination<'a>> {
    let name = rule.name.as_deref().unwrap_or("without a name");
    let mut lose = |line, why: &str| {
        findings.lost(line, format!("the rule {}: {why}", quote(name)));
    };
    let is_any = |entry: &&Entry| {
        let (key, value) = (entry.key.as_str(), entry.value.as_str());
        value.is_empty()
            || (key == "proto" && value == "all")
            || (key == "sticky" && value == "0")
            || HARMLESS.contains(&key)
    };
    let others = rule.entries.iter().filter(|entry| !is_any(entry));
    let (sticky, narrower): (Vec<_>, Vec<_>) =
        others.partition(|entry| matches!(entry.key.as_str(), "sticky" | "timeout"));
    if let Some(entry) = narrower.first() {
        let why = format!(
            "it is about `{}`, and pingu's groups have destinations only; your firewall can set the uplink's `fwmark` instead",
            entry.key
        );
        lose(rule.line, &why);
        return None;
    }
    if let Some(entry) = sticky.first() {
        let why = "`sticky`: connections stay where they are, but new ones of a host are not kept together";
        lose(entry.line, why);
    }
    let Some((used, line)) = rule.option("use_policy") else {
        lose(rule.line, "it uses no policy");
        return None;
    };
    let Some(policy) = policies.iter().find(|policy| policy.name == used) else {
        lose(
            line,
            &format!("the policy {} is none that has members", quote(used)),
        );
        return None;
    };
    if policy.shares.is_empty() {
        lose(
            line,
            &format!("the policy {} has no interface left", quote(used)),
        );
        return None;
    }
    let mut prefixes = Vec::new();
    for (word, line) in rule.list("dest_ip") {
        for part in word.split(',').filter(|part| !part.is_empty()) {
            let network = part
                .parse::<IpNet>()
                .or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
            match network {
                Ok(network) => prefixes.push(network.trunc()),
                Err(_) => {
                    lose(line, &format!("`dest_ip` {} is no network", quote(part)));
                    return None;
                }
            }
        }
    }
    let is_default = prefixes.iter().all(|prefix| prefix.prefix_len() == 0);
    let mut prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    if prefixes.is_empty() {
        match rule.option("family") {
            Some(("ipv4", _)) => prefixes.push("0.0.0.0/0".to_owned()),
            Some(("ipv6", _)) => prefixes.push("::/0".to_owned()),
            _ => prefixes.extend(EVERYTHING.map(str::to_owned)),
        }
    }
    Some(Destination {
        policy,
        prefixes,
        is_default,
        line: rule.line,
    })
}

fn carry_over(
    rule: &Destination<'_>,
    groups: &mut Vec<Group>,
    uplinks: &mut [Uplink<'_>],
    findings: &mut Findings,
) {
    let policy = rule.policy;
    // A default of the same policy has them inside.
    let everything = |prefix: &str| EVERYTHING[usize::from(prefix.contains(':'))];
    let has = |group: &Group, prefix: &String| {
        let whole = group.name == policy.name && group.leads_to(everything(prefix));
        whole || group.leads_to(prefix)
    };
    let fresh: Vec<String> = rule
        .prefixes
        .iter()
        .filter(|prefix| !groups.iter().any(|group| has(group, prefix)))
        .cloned()
        .collect();
    if fresh.is_empty() {
        if !groups.iter().any(|group| group.name == policy.name) {
            let message = "this rule: one above it is for the same packets";
            findings.lost(rule.line, message);
        }
        return;
    }
    if let Some(group) = groups.iter_mut().find(|group| group.name == policy.name) {
        group.prefixes.extend(fresh);
        return;
    }
    let taken = |share: &&Share| {
        let place = share.uplink;
        groups
            .iter()
            .any(|group| group.uplinks.iter().any(|share| share.uplink == place))
    };
    let (in_use, free): (Vec<&Share>, Vec<&Share>) = policy.shares.iter().partition(taken);
    if in_use.is_empty() || (rule.is_default && !free.is_empty()) {
        for share in &in_use {
            let message = format!(
                "the policy {}: {} is in another one already, and can be in one only",
                quote(&policy.name),
                quote(uplinks[share.uplink].name)
            );
            findings.lost(rule.line, message);
        }
        let mut group = policy.group(free.into_iter().cloned().collect(), rule.line);
        group.prefixes = fresh;
        if !policy.is_ordered() && !group.is_balanced() && group.uplinks.len() > 1 {
            let message = format!(
                "the policy {}: pingu's groups are ordered or balanced, not both; this one is ordered",
                quote(&policy.name)
            );
            findings.lost(policy.line, message);
        }
        groups.push(group);
    } else if !rule.is_default && free.is_empty() && policy.is_ordered() {
        for (rank, share) in (1..).zip(&policy.shares) {
            let advertise = (fresh.clone(), rank, rule.line);
            uplinks[share.uplink].advertise.push(advertise);
        }
    } else {
        let message = format!(
            "the rule of this line: the interfaces of its policy {} are in another one already",
            quote(&policy.name)
        );
        findings.lost(rule.line, message);
    }
}
