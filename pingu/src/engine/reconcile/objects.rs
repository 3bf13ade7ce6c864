//! Nexthop objects: what to make, change and delete, and whose numbers somebody else has.

use std::collections::{HashMap, HashSet};

use crate::{
    engine::{reconcile::Plan, routes::RouteSet},
    network::{Change, NextHop, Nexthop, NexthopKind, Snapshot},
    units::{NexthopId, Protocol},
};

/// Plans new and changed nexthop objects, and returns the numbers that somebody else has.
pub(super) fn nexthop_additions(
    actual: &Snapshot,
    desired: &[Nexthop],
    own: Protocol,
    plan: &mut Plan,
) -> HashSet<NexthopId> {
    let there: HashMap<NexthopId, &Nexthop> = actual
        .nexthops
        .iter()
        .map(|object| (object.id, object))
        .collect();
    let mut taken = HashSet::new();
    let (singles, groups): (Vec<&Nexthop>, Vec<&Nexthop>) = desired
        .iter()
        .partition(|object| !matches!(object.kind, NexthopKind::Group(_)));
    for wanted in singles.into_iter().chain(groups) {
        let wanted = without(wanted, &taken);
        match there.get(&wanted.id) {
            Some(found) if found.protocol != own => {
                taken.insert(wanted.id);
                plan.nexthop_conflicts.push((*found).clone());
            }
            // Nothing remains of the group: a dead one that stands is no worse than none.
            _ if matches!(&wanted.kind, NexthopKind::Group(members) if members.is_empty()) => {
                taken.insert(wanted.id);
            }
            None => plan.changes.push(Change::AddNexthop(wanted)),
            Some(found) if !same_nexthop(found, &wanted) => {
                plan.changes.push(Change::ReplaceNexthop(wanted));
            }
            Some(_) => {}
        }
    }
    taken
}

/// Objects that nothing uses any more; with one that is used the kernel would delete its routes. Users go first, and another look
/// shows that they have gone.
pub(super) fn nexthop_deletions(
    actual: &Snapshot,
    desired: &RouteSet,
    own: Protocol,
    plan: &mut Plan,
) {
    let mut needed: HashSet<NexthopId> = desired.nexthops.iter().map(|object| object.id).collect();
    for route in &actual.routes {
        if let NextHop::Object(id) = route.next_hop {
            needed.insert(id);
        }
    }
    for object in &actual.nexthops {
        if let NexthopKind::Group(members) = &object.kind {
            needed.extend(members.iter().map(|(member, _)| *member));
        }
    }
    let stale = actual
        .nexthops
        .iter()
        .filter(|object| object.protocol == own && !needed.contains(&object.id));
    plan.changes
        .extend(stale.cloned().map(Change::DeleteNexthop));
}

pub(super) fn same_nexthop(a: &Nexthop, b: &Nexthop) -> bool {
    match (&a.kind, &b.kind) {
        (NexthopKind::Single(one), NexthopKind::Single(other)) => {
            // With a gateway, the object is of the gateway's family, whatever the routes are that use it.
            let has_gateway = matches!(one, NextHop::Gateway { .. });
            (has_gateway || a.ipv6 == b.ipv6) && one.leads_as(other)
        }
        (one, other) => one == other,
    }
}

/// The wanted nexthop objects whose numbers somebody else has, in words.
pub fn conflicts(actual: &Snapshot, desired: &[Nexthop], own: Protocol) -> Vec<String> {
    let mut plan = Plan::default();
    nexthop_additions(actual, desired, own, &mut plan);
    let in_words = |found: &Nexthop| {
        format!(
            "nexthop object {} belongs to protocol {}: what needs it is not written (nexthop_base moves pingu's numbers)",
            found.id.0, found.protocol.0
        )
    };
    plan.nexthop_conflicts.iter().map(in_words).collect()
}

/// A wanted object without the members whose numbers somebody else has: the others must not wait for them.
fn without(wanted: &Nexthop, taken: &HashSet<NexthopId>) -> Nexthop {
    let mut wanted = wanted.clone();
    if let NexthopKind::Group(members) = &mut wanted.kind {
        members.retain(|(member, _)| !taken.contains(member));
    }
    wanted
}
