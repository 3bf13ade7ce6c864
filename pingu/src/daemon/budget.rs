//! How fast routes may be written, whatever happens: a fight with another program must not become a storm.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use ipnet::IpNet;

use crate::{
    network::{Change, Nexthop, Route},
    units::{Metric, NexthopId, TableId},
};

/// Writes allowed at once, beyond what every uplink may need.
const BURST: f64 = 64.0;

/// Writes allowed at once for each object that there may be: an addition and a deletion, twice.
const BURST_PER_OBJECT: f64 = 4.0;

/// Writes allowed each second in the long run, whatever there is.
const PER_SECOND: f64 = 2.0;

/// Within this time all objects may be written once more in the long run.
const ALL_WITHIN_SECONDS: f64 = 30.0;

/// A token bucket.
#[derive(Debug)]
pub(super) struct WriteBudget {
    capacity: f64,
    per_second: f64,
    left: f64,
    refilled: Instant,
}

impl WriteBudget {
    /// `objects` is how many routes, rules and nexthop objects there may be.
    pub(super) fn new(objects: usize, now: Instant) -> Self {
        let capacity = BURST + BURST_PER_OBJECT * objects as f64;
        Self {
            capacity,
            per_second: PER_SECOND.max(objects as f64 / ALL_WITHIN_SECONDS),
            left: capacity,
            refilled: now,
        }
    }

    /// Gives one back: nothing was written.
    pub(super) fn refund(&mut self) {
        self.left += 1.0;
    }

    /// Takes one write, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.left = (self.left + passed * self.per_second).min(self.capacity);
        let taken = self.left >= 1.0;
        self.left -= if taken { 1.0 } else { 0.0 };
        taken
    }
}

type Place = (TableId, IpNet, Metric);

/// What may be written whatever the budget says: what is wanted anew, once. Hold-down and damping bound how often that changes; what
/// others take away is not wanted anew, and is the budget's.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    routes: Vec<Route>,
    nexthops: Vec<Nexthop>,
    new_places: HashSet<Place>,
    new_nexthops: HashSet<NexthopId>,
}

impl Allowance {
    /// Takes the routes that are wanted from now on.
    pub(super) fn want_routes(&mut self, wanted: &[Route]) {
        if self.routes == wanted {
            return;
        }
        let mut before: HashMap<Place, Vec<&Route>> = HashMap::new();
        for route in &self.routes {
            before.entry(place(route)).or_default().push(route);
        }
        let is_new = |route: &&Route| {
            let there = before.get(&place(route));
            there.is_none_or(|there| !there.contains(route))
        };
        let new: HashSet<Place> = wanted.iter().filter(is_new).map(place).collect();
        let places: HashSet<Place> = wanted.iter().map(place).collect();
        self.new_places.retain(|old| places.contains(old));
        self.new_places.extend(new);
        self.routes = wanted.to_vec();
    }

    /// Takes the nexthop objects that are wanted from now on.
    pub(super) fn want_nexthops(&mut self, wanted: &[Nexthop]) {
        let new = wanted.iter().filter(|new| !self.nexthops.contains(new));
        let new: Vec<NexthopId> = new.map(|nexthop| nexthop.id).collect();
        self.new_nexthops
            .retain(|id| wanted.iter().any(|nexthop| nexthop.id == *id));
        self.new_nexthops.extend(new);
        self.nexthops = wanted.to_vec();
    }

    /// Takes the write of a change, if it is the first of what is wanted anew.
    pub(super) fn take(&mut self, change: &Change) -> bool {
        match change {
            Change::Add(route) | Change::AddBeside(route) => self.new_places.remove(&place(route)),
            Change::AddNexthop(nexthop) | Change::ReplaceNexthop(nexthop) => {
                self.new_nexthops.remove(&nexthop.id)
            }
            _ => false,
        }
    }
}

fn place(route: &Route) -> Place {
    (route.table, route.destination, route.metric)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        network::NextHop,
        units::{Ifindex, Protocol},
    };

    fn routes(ifindex: u32) -> Vec<Route> {
        let route = |n: u8| Route {
            destination: format!("198.51.100.{n}/32").parse().expect("a prefix"),
            table: TableId::MAIN,
            metric: Metric(100),
            protocol: Protocol(136),
            next_hop: NextHop::Device {
                ifindex: Ifindex(ifindex),
            },
            preferred_source: None,
            wire: Vec::new(),
        };
        (0..100).map(route).collect()
    }

    /// How many of these may be added.
    fn taken(allowance: &mut Allowance, routes: &[Route]) -> usize {
        let additions = routes.iter().cloned().map(Change::AddBeside);
        additions.filter(|change| allowance.take(change)).count()
    }

    #[test]
    fn a_switch_is_never_withheld_and_what_others_delete_is_not_wanted_anew() {
        let mut allowance = Allowance::default();
        for ifindex in (1..=2).cycle().take(20) {
            let wanted = routes(ifindex);
            allowance.want_routes(&wanted);
            assert_eq!(taken(&mut allowance, &wanted), 100);
            allowance.want_routes(&wanted);
            assert_eq!(taken(&mut allowance, &wanted), 0, "a restoration");
        }
        let mut wanted = routes(2);
        wanted[7] = routes(1)[7].clone();
        allowance.want_routes(&wanted);
        assert_eq!(taken(&mut allowance, &wanted), 1);
        allowance.want_routes(&routes(1));
        allowance.want_routes(&[]);
        assert_eq!(taken(&mut allowance, &wanted), 0, "not wanted any more");
    }

    #[test]
    fn a_storm_is_cut_to_the_long_run_rate() {
        let start = crate::engine::test_clock();
        let mut budget = WriteBudget::new(2, start);
        assert_eq!((0..1000).filter(|_| budget.take(start)).count(), 72);
        let later = start + Duration::from_secs(3);
        assert_eq!((0..1000).filter(|_| budget.take(later)).count(), 6);
        budget.refund();
        assert_eq!((0..1000).filter(|_| budget.take(later)).count(), 1);
    }
}
