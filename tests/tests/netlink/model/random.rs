//! What a seed makes: operations on two uplinks, drawn from small pools so that they meet.

use ipnet::IpNet;
use pingu::{
    netlink::model::{Addition, Deletion, FakeKernel, Filter, Listed, RuleDeletion, Verb},
    network::{Change, NextHop, Nexthop, NexthopKind, Route, Rule, Selector},
    units::{Metric, NexthopId, Protocol, TableId},
};

use super::{
    kernel::{PEERS, UPLINKS},
    operation::Operation,
};
use crate::harness::OWN;

const TABLES: [TableId; 4] = [TableId::MAIN, TableId::MAIN, TableId(100), TableId(200)];
const PROTOCOLS: [Protocol; 3] = [OWN, Protocol(16), Protocol(99)];
const DESTINATIONS: [[&str; 3]; 2] = [
    ["0.0.0.0/0", "198.51.100.0/24", "10.0.0.0/8"],
    ["::/0", "2001:db8:100::/48", "2001:db8::/32"],
];
/// Two for each uplink, and two more.
const GATEWAYS: [[&str; 6]; 2] = [
    [
        "10.0.0.1",
        "10.0.0.7",
        "10.1.0.1",
        "10.1.0.7",
        "10.0.5.1",
        "192.0.2.1",
    ],
    [
        "2001:db8::1",
        "2001:db8::7",
        "2001:db8:1::1",
        "2001:db8:1::7",
        "fe80::1",
        "2001:db8:9::1",
    ],
];
/// Of each uplink; the last one of the second is in a network of the first.
pub const ADDRESSES: [[&str; 5]; 2] = [
    [
        "10.0.0.2/24",
        "2001:db8::2/64",
        "10.0.0.3/24",
        "10.0.5.2/24",
        "2001:db8::3/64",
    ],
    [
        "10.1.0.2/24",
        "2001:db8:1::2/64",
        "10.1.0.3/24",
        "10.0.0.9/24",
        "2001:db8::9/64",
    ],
];
/// Numbers of single nexthop objects, and behind them of groups, for each family.
const SINGLES: [[u32; 3]; 2] = [[1, 2, 3], [4, 5, 6]];
const GROUPS: [[u32; 2]; 2] = [[10, 11], [12, 13]];

/// SplitMix64, so that a seed is a run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn of<T: Clone>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())].clone()
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        self.percent(50).then_some(value)
    }

    pub fn operation(&mut self, model: &FakeKernel) -> Operation {
        match self.below(100) {
            0..30 => self.route(model),
            30..45 => Operation::DeleteRoute(self.deletion(model)),
            45..47 => self.flush(),
            47..53 => self.address(true),
            53..58 => self.address(false),
            58..63 => self.link(),
            63..65 => self.pair(model),
            65..78 => self.nexthop(model),
            78..84 => self.rule(model),
            _ => self.change(model),
        }
    }

    fn route(&mut self, model: &FakeKernel) -> Operation {
        const VERBS: [Verb; 7] = [
            Verb::Add,
            Verb::Add,
            Verb::Add,
            Verb::Append,
            Verb::Prepend,
            Verb::Replace,
            Verb::Change,
        ];
        let ipv6 = self.percent(50);
        let protocol = self.of(&PROTOCOLS);
        let mut addition = self.addition(ipv6, protocol);
        let there = model.list(ipv6);
        if !there.is_empty() && self.percent(40) {
            let listed = self.of(&there);
            addition = Addition {
                destination: listed.destination,
                table: listed.table,
                metric: listed.metric,
                tos: listed.tos,
                ..addition
            };
        }
        Operation::Route(self.of(&VERBS), addition)
    }

    fn addition(&mut self, ipv6: bool, protocol: Protocol) -> Addition {
        let next_hop = self.next_hop(ipv6);
        let destination: IpNet = match self.below(6) {
            0 => DESTINATIONS[usize::from(ipv6)][1],
            1 => DESTINATIONS[usize::from(ipv6)][2],
            _ => DESTINATIONS[usize::from(ipv6)][0],
        }
        .parse()
        .unwrap();
        let route = Route {
            destination,
            table: self.of(&TABLES),
            metric: self.metric(),
            protocol,
            next_hop,
            preferred_source: (!ipv6 && self.percent(25)).then(|| self.own_address().addr()),
            wire: Vec::new(),
        };
        Addition {
            tos: if !ipv6 && self.percent(6) { 0x10 } else { 0 },
            ..Addition::from(&route)
        }
    }

    fn metric(&mut self) -> Metric {
        self.of(&[
            Metric(0),
            Metric(100),
            Metric(100),
            Metric(101),
            Metric(102),
        ])
    }

    fn own_address(&mut self) -> IpNet {
        let uplink = self.below(2);
        self.of(&[0, 2, 3].map(|index| ADDRESSES[uplink][index]))
            .parse()
            .unwrap()
    }

    fn next_hop(&mut self, ipv6: bool) -> NextHop {
        let family = usize::from(ipv6);
        match self.below(100) {
            0..20 => NextHop::Device {
                ifindex: self.of(&UPLINKS),
            },
            20..32 => NextHop::Object(NexthopId(self.of(&SINGLES[family]))),
            32..40 => NextHop::Object(NexthopId(self.of(&GROUPS[family]))),
            40..44 => NextHop::Unreachable,
            44..46 => NextHop::Blackhole,
            46..49 => self.gateway(1),
            _ => self.gateway(family),
        }
    }

    fn gateway(&mut self, family: usize) -> NextHop {
        let uplink = self.below(2);
        let pool = &GATEWAYS[family];
        let gateway = if self.percent(70) {
            self.of(&pool[2 * uplink..2 * uplink + 2])
        } else {
            self.of(pool)
        };
        NextHop::Gateway {
            ifindex: UPLINKS[uplink],
            gateway: gateway.parse().unwrap(),
            onlink: self.percent(10),
        }
    }

    /// Some of the attributes of a route that is there, or of one that may be.
    fn deletion(&mut self, model: &FakeKernel) -> Deletion {
        let ipv6 = self.percent(50);
        let there: Vec<Listed> = model.list(ipv6);
        let (addition, hop) = if there.is_empty() || self.percent(20) {
            let addition = self.addition(ipv6, OWN);
            let hop = addition.next_hop.clone();
            (addition, hop)
        } else {
            let listed = self.of(&there);
            let hop = self.of(&listed.hops);
            let addition = Addition {
                destination: listed.destination,
                table: listed.table,
                tos: listed.tos,
                metric: listed.metric,
                protocol: listed.protocol,
                next_hop: hop.clone(),
                scope: listed.scope,
                preferred_source: listed.preferred_source,
            };
            (addition, hop)
        };
        let gateway = match &hop {
            NextHop::Gateway { gateway, .. } => self.maybe(*gateway),
            _ => None,
        };
        let object = match hop {
            NextHop::Object(id) => self.maybe(id),
            _ => None,
        };
        // The kernel refuses both at once.
        let device = hop.ifindex().and_then(|ifindex| self.maybe(ifindex));
        Deletion {
            tos: addition.tos,
            metric: self.maybe(addition.metric),
            protocol: self.maybe(addition.protocol),
            ifindex: device,
            gateway,
            object,
            preferred_source: addition
                .preferred_source
                .and_then(|source| self.maybe(source)),
            ..Deletion::of(addition.destination, addition.table)
        }
    }

    fn flush(&mut self) -> Operation {
        let ipv6 = self.percent(50);
        let destination = DESTINATIONS[usize::from(ipv6)][0].parse().unwrap();
        Operation::Flush(Filter {
            ipv6,
            table: self.of(&TABLES),
            protocol: self.percent(60).then(|| self.of(&PROTOCOLS)),
            destination: self.percent(40).then_some(destination),
        })
    }

    fn address(&mut self, add: bool) -> Operation {
        let uplink = self.below(2);
        let (ifindex, address) = (UPLINKS[uplink], self.of(&ADDRESSES[uplink]));
        let address = address.parse().unwrap();
        if add {
            Operation::AddAddress(ifindex, address)
        } else {
            Operation::DeleteAddress(ifindex, address)
        }
    }

    fn link(&mut self) -> Operation {
        let ifindex = if self.percent(60) {
            self.of(&UPLINKS)
        } else {
            self.of(&PEERS)
        };
        // A link that is up most of the time shows more.
        Operation::Link(ifindex, self.percent(65))
    }

    fn pair(&mut self, model: &FakeKernel) -> Operation {
        let is_there = |uplink: &usize| {
            let mut devices = model.devices();
            devices.any(|device| device.link.ifindex == UPLINKS[*uplink])
        };
        match [0, 1].into_iter().find(|uplink| !is_there(uplink)) {
            Some(missing) => Operation::AddPair(missing),
            None => Operation::DeletePair(self.below(2)),
        }
    }

    fn nexthop(&mut self, model: &FakeKernel) -> Operation {
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

    fn rule(&mut self, model: &FakeKernel) -> Operation {
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
    fn change(&mut self, model: &FakeKernel) -> Operation {
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
        let change = match self.below(7) {
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
            4 if !foreign.is_empty() => Change::TakeOver(self.of(&foreign)),
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
