//! One Provider(...), as an uplink.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::import::{
    draft::{Section, address, text},
    findings::{Findings, quote},
    python::{Expression, ExpressionKind},
};

/// A provider's `[[uplink]]`; none with an error said.
pub(super) fn provider(
    index: usize,
    item: &Expression,
    findings: &mut Findings,
) -> Option<Section> {
    let place = format!("providers[{index}]");
    let arguments = match &item.kind {
        ExpressionKind::Call { name, arguments } if name == "Provider" => arguments,
        _ => {
            let allowed = "Provider(...) with its fields written out";
            findings.wrong(item.line, &place, allowed, &item.found());
            return None;
        }
    };
    let mut fields = Fields {
        place,
        line: item.line,
        values: BTreeMap::new(),
    };
    for argument in arguments {
        match &argument.name {
            Some(name) => {
                fields.values.insert(name, &argument.value);
            }
            None => {
                let message = format!("`{}` must give each field by its name", fields.place);
                findings.error(argument.value.line, message);
            }
        }
    }
    let mut section = Section::new("[[uplink]]", item.line, "");
    let id = if fields.values.contains_key("id") {
        "id"
    } else {
        "interface_name"
    };
    fields.put(&mut section, "name", id, findings);
    fields.put(&mut section, "interface", "interface_name", findings);
    fields.put(&mut section, "gateway", "gateway", findings);
    fields.put(&mut section, "source", "ipv4_address", findings);
    fields.number(&mut section, findings);
    if fields.values.contains_key("rt_table_name") {
        fields.put(&mut section, "table_name", "rt_table_name", findings);
    }
    fields.network(findings);
    let known = [
        "id",
        "interface_name",
        "ipv4_address",
        "network",
        "gateway",
        "rt_table_name",
        "rt_table_id",
    ];
    for (name, value) in &fields.values {
        if !known.contains(name) {
            let message = format!("`{}.{name}`: no field of a provider", fields.place);
            findings.lost(value.line, message);
        }
    }
    Some(section)
}

/// The arguments of a Provider.
struct Fields<'a> {
    place: String,
    line: usize,
    values: BTreeMap<&'a str, &'a Expression>,
}

impl Fields<'_> {
    fn name(&self, field: &str) -> String {
        format!("{}.{field}", self.place)
    }

    fn get(&self, field: &str) -> Option<&Expression> {
        self.values.get(field).copied()
    }

    /// A text that must be there.
    fn put(&self, section: &mut Section, key: &'static str, field: &str, findings: &mut Findings) {
        match self.get(field).map(|value| (value, &value.kind)) {
            Some((value, ExpressionKind::Text(found))) => {
                section.set(key, text(found), value.line, &self.name(field));
            }
            Some((value, _)) => {
                findings.wrong(
                    value.line,
                    &self.name(field),
                    "a text in quotes",
                    &value.found(),
                );
            }
            None => findings.error(self.line, format!("`{}` is needed", self.name(field))),
        }
    }

    fn number(&self, section: &mut Section, findings: &mut Findings) {
        const FIELD: &str = "rt_table_id";
        match self.get(FIELD).map(|value| (value, &value.kind)) {
            Some((value, ExpressionKind::Number(number))) => {
                section.set("table", number, value.line, &self.name(FIELD));
            }
            Some((value, _)) => {
                findings.wrong(
                    value.line,
                    &self.name(FIELD),
                    "a whole number",
                    &value.found(),
                );
            }
            None => findings.error(self.line, format!("`{}` is needed", self.name(FIELD))),
        }
    }

    /// pingu takes the connected networks as they are.
    fn network(&self, findings: &mut Findings) {
        let Some(value) = self.get("network") else {
            return;
        };
        let ExpressionKind::Text(found) = &value.kind else {
            return findings.wrong(
                value.line,
                &self.name("network"),
                "a text in quotes",
                &value.found(),
            );
        };
        let own = match self.get("ipv4_address").map(|value| &value.kind) {
            Some(ExpressionKind::Text(own)) => address(own),
            _ => None,
        };
        let network = found.parse::<IpNet>();
        if !matches!((&network, own), (Ok(network), Some(own)) if network.contains(&own)) {
            let message = format!(
                "`{}` {} is not the network of its address; pingu takes the connected networks of the interface",
                self.name("network"),
                quote(found)
            );
            findings.differs(value.line, message);
        }
    }
}
