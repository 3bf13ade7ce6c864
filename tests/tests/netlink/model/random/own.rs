//! Nexthop objects, rules, and pingu's own changes.

use pingu::{
    netlink::model::{FakeKernel, RuleDeletion},
    network::{Change, NextHop, Nexthop, NexthopKind, Route, Rule, Selector},
    units::{Metric, NexthopId, TableId},
};

use super::{ADDRESSES, DESTINATIONS, GROUPS, IpNet, PROTOCOLS, Random, SINGLES};
use crate::{
    harness::OWN,
    model::{kernel::UPLINKS, operation::Operation},
};

impl Random {
    pub(super) fn nexthop(&mut self, model: &FakeKernel) -> Operation {
        let there = model.nexthops();
        if !there.is_empty() && self.percent(12) {
            return Operation::DeleteNexthop(self.of(&there).id);
        }
        let ipv6 = self.percent(50);
        let family = usize::from(ipv6);
        let group = self.percent(40);
        let id = NexthopId(if group {
            self.of(&GROUPS[family])
        } else {
            self.of(&SINGLES[family])
        });
        let kind = if group {
            let mut members: Vec<(NexthopId, u16)> = Vec::new();
            for single in SINGLES[family] {
                // `ip` has no words for a group of none.
                if self.percent(50) || (members.is_empty() && single == SINGLES[family][2]) {
                    members.push((NexthopId(single), 1 + self.below(3) as u16));
                }
            }
            NexthopKind::Group(members)
        } else if self.percent(20) {
            NexthopKind::Single(NextHop::Device {
                ifindex: self.of(&UPLINKS),
            })
        } else {
            NexthopKind::Single(self.gateway(family))
        };
        let object = Nexthop {
            id,
            protocol: self.of(&PROTOCOLS),
            ipv6: ipv6 && !group,
            kind,
        };
        match self.below(10) {
            0..6 => Operation::AddNexthop(object),
            6..9 => Operation::ReplaceNexthop(object),
            _ => Operation::DeleteNexthop(id),
        }
    }

    pub(super) fn rule(&mut self, model: &FakeKernel) -> Operation {
        if self.percent(55) {
            return Operation::AddRule(self.new_rule());
        }
        let there: Vec<&Rule> = model
            .rules()
            .iter()
            .filter(|rule| rule.table.0 < 250)
            .collect();
        let rule = if there.is_empty() || self.percent(20) {
            self.new_rule()
        } else {
            self.of(&there).clone()
        };
        Operation::DeleteRule(RuleDeletion {
            priority: Some(rule.priority),
            selector: self.maybe(rule.selector.clone()),
            table: self.maybe(rule.table),
            protocol: self.maybe(rule.protocol),
            ipv6: rule.ipv6,
        })
    }

    fn new_rule(&mut self) -> Rule {
        let ipv6 = self.percent(50);
        let selector = if self.percent(50) {
            let source = self.of(&ADDRESSES[0].map(|text| text.parse::<IpNet>().unwrap()));
            let other_family = matches!(source, IpNet::V6(_)) != ipv6;
            let host = if other_family {
                DESTINATIONS[usize::from(ipv6)][1].parse().unwrap()
            } else {
                IpNet::from(source.addr())
            };
            Selector::From(host)
        } else {
            Selector::Mark {
                value: self.of(&[1, 2]),
                mask: self.of(&[0xf, u32::MAX]),
            }
        };
        Rule {
            ipv6,
            priority: self.of(&[1000, 1001]),
            selector,
            table: self.of(&[TableId(100), TableId(200)]),
            protocol: self.of(&PROTOCOLS),
        }
    }

    /// One of pingu's own, as the engine asks for them.
    pub(super) fn change(&mut self, model: &FakeKernel) -> Operation {
        let snapshot = model.look();
        let own: Vec<Route> = snapshot
            .routes
            .iter()
            .filter(|route| route.protocol == OWN && route.next_hop.is_exact())
            .cloned()
            .collect();
        let ipv6 = self.percent(50);
        let addition = self.addition(ipv6, OWN);
        let route = Route {
            destination: addition.destination,
            table: addition.table,
            metric: Metric(addition.metric.0.max(100)),
            protocol: OWN,
            next_hop: addition.next_hop,
            preferred_source: addition.preferred_source,
            wire: Vec::new(),
        };
        let place = |route: &Route| (route.table, route.destination, route.metric);
        // The engine asks for it only beside exactly one.
        let mut alone = own.clone();
        alone.retain(|route| {
            own.iter()
                .filter(|other| place(other) == place(route))
                .count()
                == 1
        });
        alone.retain(|route| route.ipv6() == ipv6);
        let foreign: Vec<Route> = snapshot
            .routes
            .iter()
            .filter(|route| route.protocol != OWN && route.next_hop.ifindex().is_some())
            .cloned()
            .collect();
        let change = match self.below(8) {
            0 | 1 if !alone.is_empty() => {
                let other = self.of(&alone);
                let (table, destination, metric) = place(&other);
                Change::AddBeside(Route {
                    destination,
                    table,
                    metric,
                    ..route
                })
            }
            2 | 3 if !own.is_empty() => Change::Delete(self.of(&own)),
            4 | 7 if !foreign.is_empty() => {
                let route = self.of(&foreign);
                self.taken_over.push(route.clone());
                Change::TakeOver(route)
            }
            3 | 5 if !self.taken_over.is_empty() => {
                let place = self.below(self.taken_over.len());
                Change::Restore(self.taken_over.swap_remove(place))
            }
            5 => Change::Delete(route),
            6 => self.change_beside_routes(model),
            _ => Change::Add(route),
        };
        Operation::Change(change)
    }

    /// To a rule or a nexthop object of pingu's own.
    fn change_beside_routes(&mut self, model: &FakeKernel) -> Change {
        let mut operation = if self.percent(40) {
            self.rule(model)
        } else {
            self.nexthop(model)
        };
        if let Operation::AddRule(rule) = &mut operation {
            rule.protocol = OWN;
        }
        if let Operation::AddNexthop(object) | Operation::ReplaceNexthop(object) = &mut operation {
            object.protocol = OWN;
        }
        match operation {
            Operation::AddRule(rule) => Change::AddRule(rule),
            Operation::AddNexthop(object) => Change::AddNexthop(object),
            Operation::ReplaceNexthop(object) => Change::ReplaceNexthop(object),
            Operation::DeleteNexthop(id) => {
                let there = model.nexthops();
                let found = there.into_iter().find(|object| object.id == id);
                let found = found.filter(|object| object.protocol == OWN);
                found.map_or_else(
                    || Change::AddRule(self.new_own_rule()),
                    Change::DeleteNexthop,
                )
            }
            _ => {
                let own = model.rules().iter().find(|rule| rule.protocol == OWN);
                let own = own.cloned();
                own.map_or_else(|| Change::AddRule(self.new_own_rule()), Change::DeleteRule)
            }
        }
    }

    fn new_own_rule(&mut self) -> Rule {
        Rule {
            protocol: OWN,
            ..self.new_rule()
        }
    }
}
