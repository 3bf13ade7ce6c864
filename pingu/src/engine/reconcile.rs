//! What is against what should be: the changes that make them agree, additions before deletions.

use crate::{
    engine::routes::RouteSet,
    network::{Change, Route},
    units::{Metric, Protocol},
};

/// What to write, in order, and what cannot be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in the order in which they must be made.
    pub changes: Vec<Change>,
    /// Foreign routes that occupy a place of ours; nothing is written there.
    pub conflicts: Vec<Route>,
}

/// Compares the default routes that are there with those that should be.
///
/// Additions come before deletions, so that at no instant there is less than before. A place held by somebody else's route is
/// left alone and reported. In sync, the plan is empty.
pub fn plan(actual: &[Route], desired: &RouteSet, own: Protocol) -> Plan {
    let mut plan = Plan::default();
    let mut deletions = Vec::new();
    // A multipath or nexthop-object route is never ours, whatever protocol it carries: its key cannot be named exactly.
    let is_own = |route: &&Route| route.protocol == own && route.next_hop.ifindex().is_some();

    for wanted in &desired.wanted {
        let at_its_place = || actual.iter().filter(|route| place(route) == place(wanted));
        if let Some(foreign) = at_its_place().find(|route| !is_own(route)) {
            plan.conflicts.push(foreign.clone());
        } else if !at_its_place().any(|route| same(route, wanted)) {
            let beside = at_its_place().next().is_some();
            let change = if beside {
                Change::AddBeside(wanted.clone())
            } else {
                Change::Add(wanted.clone())
            };
            plan.changes.push(change);
        }
    }
    for route in actual.iter().filter(is_own) {
        let stays = desired.kept.contains(&place(route))
            || desired.wanted.iter().any(|wanted| same(route, wanted))
            || plan
                .conflicts
                .iter()
                .any(|conflict| place(conflict) == place(route));
        if !stays {
            deletions.push(Change::Delete(route.clone()));
        }
    }
    // A learned route is taken over only in sight of an own one: the next look, after the additions, shows it.
    for learned in &desired.taken_over {
        let own_one_stands = actual.iter().filter(is_own).any(|route| {
            route.ipv6 == learned.ipv6 && desired.wanted.iter().any(|wanted| same(route, wanted))
        });
        if own_one_stands {
            plan.changes.push(Change::TakeOver(learned.clone()));
        }
    }
    plan.changes.append(&mut deletions);
    plan
}

/// What takes everything of ours back: adopted routes return first.
pub fn withdrawal(actual: &[Route], adopted: &[Route], own: Protocol) -> Vec<Change> {
    let restored = adopted.iter().cloned().map(Change::Restore);
    let is_own = |route: &&Route| route.protocol == own && route.next_hop.ifindex().is_some();
    let deleted = actual.iter().filter(is_own).cloned().map(Change::Delete);
    restored.chain(deleted).collect()
}

/// The kernel's key of a default route in the main table.
fn place(route: &Route) -> (bool, Metric) {
    (route.ipv6, route.metric)
}

fn same(a: &Route, b: &Route) -> bool {
    place(a) == place(b)
        && a.protocol == b.protocol
        && a.next_hop == b.next_hop
        // A source that was not asked for is the kernel's affair.
        && (a.ipv6 || a.preferred_source == b.preferred_source)
}

#[cfg(test)]
mod tests;
