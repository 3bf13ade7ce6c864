//! What is against what should be: the changes that make them agree, additions before deletions.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, hash_map::Entry},
};

use ipnet::IpNet;

use crate::{
    engine::{
        reconcile::{
            exchange::{Exchanges, Turn},
            objects::{nexthop_additions, nexthop_deletions},
        },
        routes::RouteSet,
    },
    network::{Change, NextHop, Nexthop, NexthopKind, Route, Rule, Snapshot},
    units::{Metric, NexthopId, Protocol, TableId},
};

mod exchange;
mod objects;
mod rule_mark;

pub use objects::conflicts;
pub use rule_mark::RuleMark;

/// What to write, in order, and what cannot be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in the order in which they must be made.
    pub changes: Vec<Change>,
    /// Foreign routes that occupy a place of ours; nothing is written there.
    pub conflicts: Vec<Route>,
    /// Foreign nexthop objects with a number of ours; groups are written without them.
    pub nexthop_conflicts: Vec<Nexthop>,
}

/// The kernel's key of a route.
pub(crate) type Place = (TableId, IpNet, Metric);

/// Compares what the kernel has with what it should have.
///
/// Additions come before deletions, so that at no instant there is less than before: nexthop objects before the routes that use
/// them, routes before the rules that lead to them. An own route is deleted only in sight of the best that is wanted to the same
/// destination, or of one that leads as it, or where the set lets the destination end: an addition may be refused. A place
/// held by somebody else's route is left alone and reported. In sync, the plan is empty.
pub fn plan(actual: &Snapshot, desired: &RouteSet, own: Protocol) -> Plan {
    let mut plan = Plan::default();
    let taken = nexthop_additions(actual, &desired.nexthops, own, &mut plan);
    let index = Index::new(&actual.routes);
    route_additions(actual, &index, desired, own, &taken, &mut plan);
    let is_missing = |rule: &&Rule| !actual.rules.contains(rule);
    let missing_rules = desired.rules.iter().filter(is_missing).cloned();
    plan.changes.extend(missing_rules.map(Change::AddRule));

    let stale_rules = desired.rule_mark.own_rules(actual, own);
    let stale_rules = stale_rules.filter(|rule| !desired.rules.contains(rule));
    plan.changes
        .extend(stale_rules.cloned().map(Change::DeleteRule));
    route_deletions(actual, &index, desired, own, &mut plan);
    let takeovers = desired
        .taken_over
        .iter()
        .filter(|learned| replaced(learned, actual, &index, desired, own));
    plan.changes
        .extend(takeovers.cloned().map(Change::TakeOver));
    nexthop_deletions(actual, desired, own, &mut plan);
    plan
}

/// What [`plan`] begins with: new and changed nexthop objects. One message moves every route that uses one, so it need not wait until
/// ten thousand routes have been compared.
pub fn plan_nexthops(actual: &Snapshot, wanted: &[Nexthop], own: Protocol) -> Vec<Change> {
    let mut plan = Plan::default();
    nexthop_additions(actual, wanted, own, &mut plan);
    plan.changes
}

/// What may follow a plan that the kernel has acknowledged, without a look between: changes to own routes. All else waits for a look.
pub fn plan_behind(acknowledged: &Snapshot, desired: &RouteSet, own: Protocol) -> Vec<Change> {
    let mut changes = plan(acknowledged, desired, own).changes;
    // An exchange is a deletion and an addition: they stay together.
    changes.retain(|change| {
        matches!(
            change,
            Change::Delete(_) | Change::Add(_) | Change::AddBeside(_)
        )
    });
    changes
}

/// Routes, found by their keys: a table may hold ten thousand of them, and nearly every place one route.
struct Index<'a> {
    by_place: HashMap<Place, (&'a Route, Vec<&'a Route>)>,
}

impl<'a> Index<'a> {
    fn new(routes: &'a [Route]) -> Self {
        let mut by_place: HashMap<Place, (&Route, Vec<&Route>)> =
            HashMap::with_capacity(routes.len());
        for route in routes.iter().filter(|route| route.is_for_all()) {
            match by_place.entry(place(route)) {
                Entry::Vacant(empty) => {
                    empty.insert((route, Vec::new()));
                }
                Entry::Occupied(taken) => taken.into_mut().1.push(route),
            }
        }
        Self { by_place }
    }

    fn at(&self, place: &Place) -> impl Iterator<Item = &'a Route> {
        let there = self.by_place.get(place);
        there
            .into_iter()
            .flat_map(|(first, others)| std::iter::once(*first).chain(others.iter().copied()))
    }

    fn has(&self, wanted: &Route) -> bool {
        self.at(&place(wanted)).any(|route| same(route, wanted))
    }
}

/// A route that cannot be named exactly is never ours, whatever protocol it carries.
fn is_own(route: &Route, own: Protocol) -> bool {
    route.protocol == own && route.next_hop.is_exact()
}

fn route_additions(
    actual: &Snapshot,
    index: &Index<'_>,
    desired: &RouteSet,
    own: Protocol,
    taken: &HashSet<NexthopId>,
    plan: &mut Plan,
) {
    // Only made where it is needed: a table may hold ten thousand routes.
    let mut exchanges: Option<Exchanges<'_>> = None;
    for wanted in &desired.wanted {
        if matches!(&wanted.next_hop, NextHop::Object(id) if taken.contains(id)) {
            continue;
        }
        let place = place(wanted);
        let there = || index.at(&place);
        if let Some(foreign) = there().find(|route| !is_own(route, own)) {
            plan.conflicts.push(foreign.clone());
        } else if there().next().is_none() {
            plan.changes.push(Change::Add(wanted.clone()));
        } else if !there().any(|route| same(route, wanted)) {
            let turn = exchanges
                .get_or_insert_with(|| Exchanges::new(&actual.routes, desired, own))
                .turn(wanted);
            exchange(turn, wanted, there(), plan);
        }
    }
}

/// Plans the addition to a place that other own routes hold.
fn exchange<'a>(
    turn: Turn,
    wanted: &Route,
    there: impl Iterator<Item = &'a Route>,
    plan: &mut Plan,
) {
    match turn {
        Turn::Beside => plan.changes.push(Change::AddBeside(wanted.clone())),
        Turn::Instead => {
            let old = there.map(|route| Change::Delete(route.clone()));
            plan.changes.extend(old);
            plan.changes.push(Change::Add(wanted.clone()));
        }
        Turn::Later => {}
    }
}

fn route_deletions(
    actual: &Snapshot,
    index: &Index<'_>,
    desired: &RouteSet,
    own: Protocol,
    plan: &mut Plan,
) {
    let mut wanted_at: HashMap<Place, Vec<&Route>> = HashMap::new();
    let mut best: HashMap<(TableId, IpNet), &Route> = HashMap::new();
    for wanted in &desired.wanted {
        wanted_at.entry(place(wanted)).or_default().push(wanted);
        let best = best
            .entry((wanted.table, wanted.destination))
            .or_insert(wanted);
        if wanted.metric < best.metric {
            *best = wanted;
        }
    }
    let successors = successors(actual, &best, &wanted_at, own);
    let conflicts: HashSet<Place> = plan.conflicts.iter().map(place).collect();
    let exchanged: HashSet<Place> = plan
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Delete(route) => Some(place(route)),
            _ => None,
        })
        .collect();
    let mut stale: Vec<&Route> = Vec::new();
    for route in actual.routes.iter().filter(|route| is_own(route, own)) {
        let destination = (route.table, route.destination);
        let may_go = match best.get(&destination) {
            Some(best) if index.has(best) => true,
            Some(best) => {
                let leads_on = |left: &&Route| left.next_hop.leads_as(&best.next_hop);
                successors.get(&destination).is_some_and(leads_on)
                    && !route.next_hop.leads_as(&best.next_hop)
            }
            None => !desired.held.contains(&destination),
        };
        let is_wanted = is_wanted(route, &wanted_at);
        let stays = !may_go
            || is_wanted
            || desired.kept.contains(&place(route))
            || route.next_hop.ifindex().is_some_and(|ifindex| {
                let by_uplink = (route.table, route.ipv6(), ifindex);
                desired.kept_tables.contains(&by_uplink)
            })
            || conflicts.contains(&place(route));
        if !stays && !exchanged.contains(&place(route)) {
            stale.push(route);
        }
    }
    // The worst first: else what stood behind another stale one would carry the traffic until its own turn.
    stale.sort_by_key(|route| Reverse(route.metric));
    let deletions = stale.into_iter().cloned().map(Change::Delete);
    plan.changes.extend(deletions);
}

/// What would carry the traffic to each destination with the stale routes gone: the lowest of the own routes that are wanted or lead
/// as the best that is wanted.
fn successors<'a>(
    actual: &'a Snapshot,
    best: &HashMap<(TableId, IpNet), &Route>,
    wanted_at: &HashMap<Place, Vec<&Route>>,
    own: Protocol,
) -> HashMap<(TableId, IpNet), &'a Route> {
    let mut lowest: HashMap<(TableId, IpNet), &Route> = HashMap::new();
    for route in actual.routes.iter().filter(|route| is_own(route, own)) {
        let destination = (route.table, route.destination);
        let leads_as_best = |best: &&Route| route.next_hop.leads_as(&best.next_hop);
        if is_wanted(route, wanted_at) || best.get(&destination).is_some_and(leads_as_best) {
            let lowest = lowest.entry(destination).or_insert(route);
            if route.metric < lowest.metric {
                *lowest = route;
            }
        }
    }
    lowest
}

fn is_wanted(route: &Route, wanted_at: &HashMap<Place, Vec<&Route>>) -> bool {
    wanted_at
        .get(&place(route))
        .is_some_and(|there| there.iter().any(|wanted| same(route, wanted)))
}

/// Whether a learned route may be taken over: in sight of the own route over its interface, or of any own one where none is wanted
/// there. The next look, after the additions, shows it. And only if its traffic then leaves by the own one, and not by what a
/// stranger has between the two.
fn replaced(
    learned: &Route,
    actual: &Snapshot,
    index: &Index<'_>,
    desired: &RouteSet,
    own: Protocol,
) -> bool {
    let interface = learned.next_hop.ifindex();
    let to_the_same =
        |route: &&Route| (route.table, route.destination) == (learned.table, learned.destination);
    let wanted = || desired.wanted.iter().filter(to_the_same);
    let over_it = |wanted: &&Route| wanted.next_hop.ifindex() == interface;
    let any_over_it = wanted().any(|wanted| over_it(&wanted));
    let standing = wanted().filter(|wanted| index.has(wanted));
    let best = standing.clone().map(|route| route.metric).min();
    let stays_between = |route: &Route| {
        !is_own(route, own)
            && route.is_for_all()
            && !desired.taken_over.contains(route)
            && route.metric >= learned.metric
            && best.is_some_and(|best| route.metric < best)
    };
    let mut stands = standing.filter(|wanted| !any_over_it || over_it(wanted));
    stands.next().is_some() && !actual.routes.iter().filter(to_the_same).any(stays_between)
}

/// What takes everything of ours back: adopted routes return first, and rules go before the tables that they lead to.
pub fn withdrawal(
    actual: &Snapshot,
    adopted: &[Route],
    rule_mark: &RuleMark,
    own: Protocol,
) -> Vec<Change> {
    let mut changes: Vec<Change> = adopted.iter().cloned().map(Change::Restore).collect();
    let rules = rule_mark.own_rules(actual, own);
    changes.extend(rules.cloned().map(Change::DeleteRule));
    let routes = actual.routes.iter().filter(|route| is_own(route, own));
    changes.extend(routes.cloned().map(Change::Delete));
    let (mut singles, groups): (Vec<&Nexthop>, Vec<&Nexthop>) = actual
        .nexthops
        .iter()
        .filter(|object| object.protocol == own)
        .partition(|object| !matches!(object.kind, NexthopKind::Group(_)));
    let mut objects = groups;
    objects.append(&mut singles);
    changes.extend(objects.into_iter().cloned().map(Change::DeleteNexthop));
    changes
}

pub(crate) fn place(route: &Route) -> Place {
    (route.table, route.destination, route.metric)
}

fn same(a: &Route, b: &Route) -> bool {
    place(a) == place(b)
        && a.protocol == b.protocol
        && a.next_hop.leads_as(&b.next_hop)
        // A source that was not asked for is the kernel's affair.
        && (a.ipv6() || a.preferred_source == b.preferred_source)
}

#[cfg(test)]
mod tests;
