//! What a seed makes: operations on two uplinks, drawn from small pools so that they meet.

mod own;

use ipnet::IpNet;
use pingu::{
    netlink::model::{Addition, Deletion, FakeKernel, Filter, Listed, Verb},
    network::{NextHop, Route},
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
pub struct Random {
    state: u64,
    /// Foreign routes that were taken over, to be put back some time.
    taken_over: Vec<Route>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            taken_over: Vec::new(),
        }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
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
}
