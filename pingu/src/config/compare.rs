//! What several uplinks may not have in common, and metrics that contradict their order.

use std::collections::BTreeMap;

use super::{problem::Findings, uplink::Draft};
use crate::units::Metric;

/// Reports what two uplinks may not share, and metrics that contradict the order of preference.
pub(super) fn compare(drafts: &[Draft], findings: &mut Findings<'_>) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut metrics: BTreeMap<Metric, usize> = BTreeMap::new();
    let mut hops: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        let place = index + 1;
        if let Some(name) = &draft.name
            && let Some(first) = names.insert(&name.value, place)
        {
            findings.error(
                name.span.clone(),
                format!(
                    "`uplink[{place}].name` {:?} is taken by uplink[{first}]; names must be unique",
                    name.value
                ),
            );
        }
        if let Some(first) = metrics.insert(draft.metric.value, place) {
            findings.error(
                draft.metric.span.clone(),
                format!("`uplink[{place}].metric` {} is taken by uplink[{first}]; metrics must be unique", draft.metric.value),
            );
        }
        if let (Some(interface), Some(gateway)) = (&draft.interface, &draft.gateway)
            && let Some(first) =
                hops.insert((&interface.value, format!("{:?}", gateway.value)), place)
        {
            findings.error(
                interface.span.clone(),
                format!("`uplink[{place}]` has interface and gateway of uplink[{first}]: both would be the same way out"),
            );
        }
    }
    for (index, pair) in drafts.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        if before.metric.value > after.metric.value {
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
