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
/// Additions come before deletions, so that at no instant there is less than before; and an own route is deleted only in sight
/// of another that is wanted, or where the set lets a family end: an addition may be refused. A place held by somebody else's
/// route is left alone and reported. In sync, the plan is empty.
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
    let wanted_one_stands = |ipv6: bool| {
        let is_wanted = |route: &Route| desired.wanted.iter().any(|wanted| same(route, wanted));
        let mut own_of_family = actual
            .iter()
            .filter(is_own)
            .filter(|route| route.ipv6 == ipv6);
        own_of_family.any(is_wanted)
    };
    let may_delete =
        [false, true].map(|ipv6| desired.may_end[usize::from(ipv6)] || wanted_one_stands(ipv6));
    for route in actual.iter().filter(is_own) {
        let stays = !may_delete[usize::from(route.ipv6)]
            || desired.kept.contains(&place(route))
            || desired.wanted.iter().any(|wanted| same(route, wanted))
            || plan
                .conflicts
                .iter()
                .any(|conflict| place(conflict) == place(route));
        if !stays {
            deletions.push(Change::Delete(route.clone()));
        }
    }
    plan.changes.append(&mut deletions);
    let takeovers = desired
        .taken_over
        .iter()
        .filter(|learned| replaced(learned, actual, desired));
    plan.changes
        .extend(takeovers.cloned().map(Change::TakeOver));
    plan
}

/// Whether a learned route may be taken over: in sight of the own route over its interface, or of any own one where none is wanted
/// there. The next look, after the additions, shows it.
fn replaced(learned: &Route, actual: &[Route], desired: &RouteSet) -> bool {
    let interface = learned.next_hop.ifindex();
    let of_family = || {
        desired
            .wanted
            .iter()
            .filter(|wanted| wanted.ipv6 == learned.ipv6)
    };
    let over_it = |wanted: &&Route| wanted.next_hop.ifindex() == interface;
    let any_over_it = of_family().any(|wanted| over_it(&wanted));
    of_family()
        .filter(|wanted| !any_over_it || over_it(wanted))
        .any(|wanted| actual.iter().any(|route| same(route, wanted)))
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
