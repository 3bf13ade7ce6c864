//! OpenWrt's /etc/config/mwan3: interfaces that are tracked, members, policies, and rules that lead to them.

mod devices;
mod interface;
mod limits;
mod policies;
mod rules;

use super::{
    draft::{Draft, Section as Table, text, texts},
    findings::{Findings, quote},
    uci::{self, Section},
};
use interface::Uplink;
use policies::Group;

/// What mwan3 marks with, if `globals` says nothing.
const MASK: u32 = 0x3f00;

/// Reads the file; `network` is `/etc/config/network`.
pub(super) fn convert(source: &str, network: Option<&str>, findings: &mut Findings) -> Draft {
    let sections = uci::parse(source, findings);
    let own = |section: &&Section| {
        section
            .package
            .as_deref()
            .is_none_or(|name| name == "mwan3")
    };
    let of_kind = |kind: &'static str| -> Vec<&Section> {
        sections
            .iter()
            .filter(own)
            .filter(|section| section.kind == kind)
            .collect()
    };
    let known = ["interface", "member", "policy", "rule", "globals"];
    for section in sections.iter().filter(own) {
        if !known.contains(&section.kind.as_str()) {
            let message = format!(
                "the section {}: mwan3 has none of this kind",
                quote(&section.kind)
            );
            findings.lost(section.line, message);
        }
    }
    let devices = devices::Devices::read(&sections, network);
    let mask = globals(&of_kind("globals"), findings);
    let mut uplinks = interface::uplinks(&of_kind("interface"), &devices, findings);
    let policies = policies::read(&of_kind("policy"), &of_kind("member"), &uplinks, findings);
    let groups = rules::groups(&of_kind("rule"), &policies, &mut uplinks, findings);
    let mut draft = Draft::default();
    draft.sections.push(top(&uplinks));
    let mut health = Table::new("[health]", 1, "");
    health.own(
        "handshakes",
        text("off"),
        "mwan3 judges by its tests alone. \"report\", pingu's default, spares an uplink whose pings are lost while TCP works.",
    );
    draft.sections.push(health);
    let mut start_metric = 1;
    for group in &groups {
        draft.sections.push(group_table(group, start_metric));
        start_metric += group.uplinks.len();
    }
    for group in &groups {
        for share in &group.uplinks {
            let uplink = &uplinks[share.uplink];
            draft
                .sections
                .push(uplink.table(group, share, mask, findings));
            draft.sections.extend(uplink.advertised());
        }
    }
    if groups.is_empty() && !findings.has_errors() {
        findings.error(1, "no policy leads anywhere: nothing is left to import");
    }
    draft
}

/// The mask of marks; everything else of `globals` is listed.
fn globals(globals: &[&Section], findings: &mut Findings) -> u32 {
    let mut mask = MASK;
    for entry in globals.iter().flat_map(|section| &section.entries) {
        match entry.key.as_str() {
            "mmx_mask" => {
                let digits = entry
                    .value
                    .trim_start_matches("0x")
                    .trim_start_matches("0X");
                match u32::from_str_radix(digits, 16) {
                    Ok(value) if value != 0 => mask = value,
                    _ => findings.wrong(
                        entry.line,
                        "mmx_mask",
                        "a mask such as 0x3F00",
                        &quote(&entry.value),
                    ),
                }
            }
            "logging" | "loglevel" => {
                findings.lost(
                    entry.line,
                    format!(
                        "`{}`: pingu's log goes to standard error, RUST_LOG says how much",
                        entry.key
                    ),
                );
            }
            "enabled" => {}
            key => findings.lost(
                entry.line,
                format!("`{key}` of globals: pingu needs nothing like it"),
            ),
        }
    }
    mask
}

fn top(uplinks: &[Uplink<'_>]) -> Table {
    let mut top = Table::new("", 1, "");
    top.own(
        "learned_routes",
        text("adopt"),
        "netifd's default routes are taken out of the main table once pingu's own stand, and put back when it ends.",
    );
    let flushes = uplinks.iter().find_map(|uplink| uplink.flushes());
    match flushes {
        Some(line) => top.set("flush_connections", true, line, "flush_conntrack"),
        None => top.own(
            "flush_connections",
            false,
            "No `flush_conntrack` asks for it. With true, connections of an uplink that dies are routed anew.",
        ),
    }
    top
}

fn group_table(group: &Group, start_metric: usize) -> Table {
    let mut table = Table::new("[[group]]", group.line, "");
    let key = format!("policy {}", group.name);
    table.set("name", text(&group.name), group.line, &key);
    let mode = if group.is_balanced() {
        "balance"
    } else {
        "ordered"
    };
    table.set("mode", text(mode), group.line, "the metrics of its members");
    table.own("start_metric", start_metric, "");
    let (word, line) = &group.when_all_down;
    table.set("when_all_down", text(word), *line, "last_resort");
    let prefixes = if rules::EVERYTHING.iter().all(|all| group.leads_to(all)) {
        let others = group.prefixes.iter().map(String::as_str);
        let others = others.filter(|own| !rules::EVERYTHING.contains(own));
        texts(["default"].into_iter().chain(others))
    } else {
        texts(&group.prefixes)
    };
    table.set("prefixes", prefixes, group.rule_line, "its rules");
    table
}
