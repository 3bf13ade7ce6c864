//! What to do about a place that holds an own route other than the wanted one.
//!
//! Two routes in one place should not last: of IPv4 defaults with one metric the kernel takes turns, packet by packet, and of IPv6
//! routes it makes one with several next hops. A crash between an addition and a deletion would leave it so. Where traffic leaves by
//! another own route meanwhile, and by the wanted way, the old one therefore goes first.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use crate::{
    engine::{
        reconcile::{is_own, place},
        routes::RouteSet,
    },
    network::{NextHop, Route},
    units::{Protocol, TableId},
};

/// What makes routes alternatives to each other.
type Destination = (TableId, IpNet);

/// How a wanted route comes to its place.
pub(super) enum Turn {
    /// Beside what is there: nothing else would carry the traffic.
    Beside,
    /// After what is there has been deleted.
    Instead,
    /// Once another place of this destination has been seen in order.
    Later,
}

/// The routes of one look by destination, and the destinations in which an exchange has begun.
pub(super) struct Exchanges<'a> {
    there: HashMap<Destination, Vec<&'a Route>>,
    best: HashMap<Destination, &'a Route>,
    begun: HashSet<Destination>,
    own: Protocol,
}

impl<'a> Exchanges<'a> {
    pub(super) fn new(actual: &'a [Route], desired: &'a RouteSet, own: Protocol) -> Self {
        let mut there: HashMap<Destination, Vec<&Route>> = HashMap::new();
        for route in actual.iter().filter(|route| route.is_for_all()) {
            there.entry(destination(route)).or_default().push(route);
        }
        let mut best: HashMap<Destination, &Route> = HashMap::new();
        for wanted in &desired.wanted {
            let entry = best.entry(destination(wanted)).or_insert(wanted);
            if wanted.metric < entry.metric {
                *entry = wanted;
            }
        }
        Self {
            there,
            best,
            begun: HashSet::new(),
            own,
        }
    }

    /// How this route comes to its place, which own routes hold.
    pub(super) fn turn(&mut self, wanted: &Route) -> Turn {
        let destination = destination(wanted);
        if self.begun.contains(&destination) {
            return Turn::Later;
        }
        if matches!(wanted.next_hop, NextHop::Unreachable | NextHop::Blackhole) {
            // It carries nothing that must not be interrupted. And beside an IPv6 route by a nexthop object it could not be deleted:
            // the kernel takes that for any route of its protocol and metric, whatever leads where.
            self.begun.insert(destination);
            return Turn::Instead;
        }
        let others = self.there.get(&destination).into_iter().flatten();
        let meanwhile = others
            .filter(|route| place(route) != place(wanted))
            .min_by_key(|route| route.metric);
        let best = self.best.get(&destination);
        match (meanwhile, best) {
            (Some(meanwhile), Some(best))
                if is_own(meanwhile, self.own) && meanwhile.next_hop.leads_as(&best.next_hop) =>
            {
                self.begun.insert(destination);
                Turn::Instead
            }
            _ => Turn::Beside,
        }
    }
}

fn destination(route: &Route) -> Destination {
    (route.table, route.destination)
}
