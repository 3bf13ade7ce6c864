//! What several uplinks may not have in common, and metrics that contradict their order.

use std::{collections::BTreeMap, ops::Range};

use super::{FirewallMark, Mode, group::Groups, problem::Findings, reader::At, uplink::Draft};
use crate::units::GroupId;

/// Reports what two uplinks may not share, and metrics that contradict the order of preference.
pub(super) fn compare(drafts: &[Draft], groups: &Groups, findings: &mut Findings<'_>) {
    let mut names = Taken::new("name", "names");
    let mut metrics = Taken::new("metric", "metrics");
    let mut tables = Taken::new("table", "tables of uplinks");
    let mut marks = Taken::new("fwmark", "marks");
    let mut hops: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let mut balanced: Vec<GroupId> = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        let place = index + 1;
        if let Some(name) = &draft.name {
            names.take(format!("{:?}", name.value), &name.span, place, findings);
        }
        let shares_metric = draft.group.is_some_and(|group| {
            groups.list[group.index()].value.mode == Mode::Balance && balanced.contains(&group)
        });
        if !shares_metric {
            let metric = draft.metric.value.to_string();
            metrics.take(metric, &draft.metric.span, place, findings);
            balanced.extend(draft.group);
        }
        if let Some(table) = &draft.table {
            tables.take(table.value.id.to_string(), &table.span, place, findings);
        }
        if let Some(mark) = &draft.fwmark {
            let text = format!("{:#x}/{:#x}", mark.value.value, mark.value.mask);
            marks.take(text, &mark.span, place, findings);
            if draft.table.is_none() {
                let message = format!(
                    "`uplink[{place}].fwmark` needs `table` beside it: where marked packets are looked up"
                );
                findings.error(mark.span.clone(), message);
            }
        }
        if let (Some(interface), Some(gateway)) = (&draft.interface, &draft.gateway)
            && let Some(first) = hops.insert(
                (
                    &interface.value,
                    format!("{:?} {:?}", gateway.value, draft.source),
                ),
                place,
            )
        {
            findings.error(
                interface.span.clone(),
                format!("`uplink[{place}]` has interface and gateway of uplink[{first}]: both would be the same way out"),
            );
        }
    }
    let masks: Vec<(usize, &At<FirewallMark>)> = drafts
        .iter()
        .enumerate()
        .filter_map(|(index, draft)| Some((index + 1, draft.fwmark.as_ref()?)))
        .collect();
    for pair in masks.windows(2) {
        let [(first, before), (place, after)] = pair else {
            continue;
        };
        if before.value.mask != after.value.mask {
            let message = format!(
                "`uplink[{place}].fwmark` has mask {:#x} and uplink[{first}] has {:#x}: marks of uplinks share one mask",
                after.value.mask, before.value.mask
            );
            findings.error(after.span.clone(), message);
        }
    }
    for (index, group) in groups.list.iter().enumerate() {
        let id = GroupId(index as u16);
        let all_known = drafts.iter().all(|draft| draft.group.is_some());
        if all_known && !drafts.iter().any(|draft| draft.group == Some(id)) {
            let message = format!("group {:?} has no uplink", group.value.name);
            findings.error(group.span.clone(), message);
        }
    }
    contradictions(drafts, findings);
}

/// Values of which each may be had once.
struct Taken {
    key: &'static str,
    all: &'static str,
    by: BTreeMap<String, usize>,
}

impl Taken {
    fn new(key: &'static str, all: &'static str) -> Self {
        let by = BTreeMap::new();
        Self { key, all, by }
    }

    fn take(
        &mut self,
        value: String,
        span: &Range<usize>,
        place: usize,
        findings: &mut Findings<'_>,
    ) {
        let Self { key, all, .. } = *self;
        if let Some(first) = self.by.get(&value) {
            let message = format!(
                "`uplink[{place}].{key}` {value} is taken by uplink[{first}]; {all} must be unique"
            );
            findings.error(span.clone(), message);
        } else {
            self.by.insert(value, place);
        }
    }
}

/// Metrics that contradict the order of preference.
fn contradictions(drafts: &[Draft], findings: &mut Findings<'_>) {
    for (index, pair) in drafts.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        if before.group == after.group && before.metric.value > after.metric.value {
            let (first, second) = (index + 1, index + 2);
            let span = if after.metric.span == after.header {
                &before.metric.span
            } else {
                &after.metric.span
            };
            findings.warning(
                span.clone(),
                format!(
                    "uplink[{second}] has metric {}, lower than {} of uplink[{first}] before it: the kernel prefers the lower \
                     metric, the order of the file says otherwise",
                    after.metric.value, before.metric.value
                ),
            );
        }
    }
}
