//! The kernel's routing in memory, for tests without a kernel: links, addresses, tables, rules and nexthop objects.
//!
//! It makes the kernel's choices, its silent deletions and odd ones included. A lab test runs the same operations on both and compares
//! what they answer and what they then hold; where they differ, the kernel is right.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::{
    netlink::{NetlinkError, RouteTable},
    network::{Change, Neighbour, NextHop, Nexthop, Route, Rule, Snapshot},
    units::{Ifindex, Metric, NexthopId, Protocol, TableId},
};

mod inet;
mod inet6;
mod interfaces;
mod listing;
mod objects;
mod request;

pub use interfaces::{Device, End};
pub use listing::Listed;
pub use request::{Addition, Answer, Deletion, Errno, Filter, RuleDeletion, Verb};

/// `RT_SCOPE_LINK`.
pub(crate) const SCOPE_LINK: u8 = 253;
/// `LOOPBACK_IFINDEX`: where IPv6 keeps the routes that lead nowhere.
const LOOPBACK: Ifindex = Ifindex(1);
/// `RTPROT_KERNEL`.
const PROTOCOL_KERNEL: Protocol = Protocol(2);

/// The model.
#[derive(Clone, Debug)]
pub struct FakeKernel {
    devices: BTreeMap<Ifindex, Device>,
    addresses: Vec<crate::network::Address>,
    /// Routes to each destination of each table, in the kernel's order.
    tables: BTreeMap<(TableId, IpNet), Vec<Entry>>,
    objects: BTreeMap<NexthopId, Nexthop>,
    rules: Vec<Rule>,
    /// Neighbour entries, for tests to set.
    pub neighbours: Vec<Neighbour>,
    /// Every change that was asked for, in order, refused ones too.
    pub asked: Vec<Change>,
    /// Every neighbour that was asked for, in order.
    pub solicited: Vec<(Ifindex, IpAddr)>,
    /// Every neighbour that was doubted, in order.
    pub doubted: Vec<(Ifindex, IpAddr)>,
    protocol: Protocol,
}

/// A route of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    metric: Metric,
    protocol: Protocol,
    next_hop: NextHop,
    preferred_source: Option<IpAddr>,
    tos: u8,
    scope: u8,
    /// One of several IPv6 next hops whose interface was set down: it stays, unused.
    dead: bool,
}

impl FakeKernel {
    /// A namespace with the rules that every namespace has, to whose user this protocol belongs.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            devices: BTreeMap::new(),
            addresses: Vec::new(),
            tables: BTreeMap::new(),
            objects: BTreeMap::new(),
            rules: objects::first_rules(),
            neighbours: Vec::new(),
            asked: Vec::new(),
            solicited: Vec::new(),
            doubted: Vec::new(),
            protocol,
        }
    }

    /// Asks for a route, of either family.
    pub fn route(&mut self, verb: Verb, addition: &Addition) -> Answer {
        match addition.destination {
            IpNet::V4(_) => self.add_inet(verb, addition),
            IpNet::V6(_) => self.add_inet6(verb, addition),
        }
    }

    /// Deletes the first route with the given attributes, of either family.
    pub fn delete_route(&mut self, deletion: &Deletion) -> Answer {
        if let Some(id) = deletion.object
            && !self.objects.contains_key(&id)
        {
            return Err(Errno(libc::EINVAL));
        }
        match deletion.destination {
            IpNet::V4(_) => self.delete_inet(deletion),
            IpNet::V6(_) => self.delete_inet6(deletion),
        }
    }

    /// Deletes what a dump shows and the filter takes, route by route, until none is shown, as iproute2 does.
    pub fn flush(&mut self, filter: &Filter) {
        loop {
            let shown: Vec<Listed> = self.list(filter.ipv6);
            let taken: Vec<Deletion> = shown
                .iter()
                .filter(|listed| filter.takes(listed))
                .flat_map(Listed::deletions)
                .collect();
            let before = self.tables.clone();
            for deletion in &taken {
                // One may have gone with another.
                let _ = self.delete_route(deletion);
            }
            if taken.is_empty() || self.tables == before {
                return;
            }
        }
    }

    /// Puts somebody else's route into a free slot, as a DHCP client would.
    pub fn put(&mut self, route: &Route) -> Answer {
        self.route(Verb::Add, &Addition::from(route))
    }

    fn leaf(&self, table: TableId, destination: IpNet) -> &[Entry] {
        self.tables
            .get(&(table, destination))
            .map_or(&[], Vec::as_slice)
    }

    /// Drops the entries that a predicate takes, everywhere.
    fn drop_entries(&mut self, takes: impl Fn(TableId, &IpNet, &Entry) -> bool) {
        for ((table, destination), leaf) in &mut self.tables {
            leaf.retain(|entry| !takes(*table, destination, entry));
        }
        self.tables.retain(|_, leaf| !leaf.is_empty());
    }

    fn add(&mut self, route: &Route) -> Result<(), NetlinkError> {
        match self.route(Verb::Add, &Addition::from(route)) {
            Err(Errno(libc::EEXIST)) if self.shows(route) => Ok(()),
            answer => answer.map_err(refused),
        }
    }

    fn add_beside(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let foreign = |other: &Listed| {
            (other.table, other.destination, other.metric)
                == (route.table, route.destination, route.metric)
                && other.tos == 0
                && other.protocol != self.protocol
        };
        if self.list(route.ipv6()).iter().any(foreign) {
            return Err(refused(Errno(libc::EEXIST)));
        }
        match self.route(Verb::Append, &Addition::from(route)) {
            Err(Errno(libc::EEXIST)) if self.shows(route) => Ok(()),
            answer => answer.map_err(refused),
        }
    }

    fn delete(&mut self, route: &Route) -> Result<(), NetlinkError> {
        if route.metric.0 == 0 && !self.shows(route) {
            return Ok(());
        }
        match self.delete_route(&exact(route)) {
            Err(_) if !self.shows(route) => Ok(()),
            answer => answer.map_err(refused),
        }
    }

    fn shows(&self, route: &Route) -> bool {
        let found = self.look().routes;
        found.iter().any(|other| {
            (other.table, other.destination, other.metric)
                == (route.table, route.destination, route.metric)
                && (other.protocol, &other.next_hop) == (route.protocol, &route.next_hop)
                && other.preferred_source == route.preferred_source
        })
    }

    fn only_own(&self, route: &Route) -> Result<(), NetlinkError> {
        let is_own = route.protocol == self.protocol && route.next_hop.is_exact();
        is_own.then_some(()).ok_or_else(impossible)
    }
}

/// The deletion of exactly this route.
fn exact(route: &Route) -> Deletion {
    let addition = Addition::from(route);
    let (ifindex, gateway, object) = match &route.next_hop {
        NextHop::Gateway {
            ifindex, gateway, ..
        } => (Some(*ifindex), Some(*gateway), None),
        NextHop::Device { ifindex } => (
            Some(*ifindex),
            // What an IPv6 route without a gateway has in its place.
            route.ipv6().then_some(Ipv6Addr::UNSPECIFIED.into()),
            None,
        ),
        NextHop::Object(id) => (None, None, Some(*id)),
        NextHop::Unreachable | NextHop::Blackhole if route.ipv6() => (Some(LOOPBACK), None, None),
        _ => (None, None, None),
    };
    Deletion {
        destination: route.destination,
        table: route.table,
        tos: addition.tos,
        metric: Some(route.metric),
        protocol: Some(route.protocol),
        ifindex,
        gateway,
        object,
        scope: Some(addition.scope),
        preferred_source: route.preferred_source,
        kind: Some(request::kind(&route.next_hop)),
    }
}

impl RouteTable for FakeKernel {
    async fn snapshot(&mut self) -> Result<Snapshot, NetlinkError> {
        Ok(self.look())
    }

    async fn apply(&mut self, change: &Change) -> Result<(), NetlinkError> {
        self.change(change)
    }

    async fn doubt(&mut self, ifindex: Ifindex, address: IpAddr) -> Result<(), NetlinkError> {
        self.doubted.push((ifindex, address));
        Ok(())
    }

    async fn solicit(&mut self, ifindex: Ifindex, address: IpAddr) -> Result<(), NetlinkError> {
        self.solicited.push((ifindex, address));
        Ok(())
    }
}

impl FakeKernel {
    /// [`RouteTable::apply`] without waiting.
    pub fn change(&mut self, change: &Change) -> Result<(), NetlinkError> {
        self.asked.push(change.clone());
        match change {
            Change::Add(route) => {
                self.only_own(route)?;
                self.add(route)
            }
            Change::AddBeside(route) => {
                self.only_own(route)?;
                self.add_beside(route)
            }
            Change::Delete(route) => {
                self.only_own(route)?;
                self.delete(route)
            }
            Change::TakeOver(route) => {
                route.next_hop.ifindex().ok_or_else(impossible)?;
                self.delete(route)
            }
            Change::Restore(route) if route.wire.is_empty() => Err(impossible()),
            Change::Restore(route) => self.add(route),
            Change::AddRule(rule) => match self.add_rule(rule) {
                Err(Errno(libc::EEXIST)) => Ok(()),
                answer => answer.map_err(refused),
            },
            Change::DeleteRule(rule) => match self.delete_rule(&RuleDeletion::from(rule)) {
                Err(Errno(libc::ENOENT)) => Ok(()),
                answer => answer.map_err(refused),
            },
            Change::AddNexthop(object) => {
                self.only_own_object(object)?;
                match self.add_nexthop(object) {
                    Err(Errno(libc::EEXIST)) if self.objects.get(&object.id) == Some(object) => {
                        Ok(())
                    }
                    answer => answer.map_err(refused),
                }
            }
            Change::ReplaceNexthop(object) => {
                self.only_own_object(object)?;
                self.check_nexthop(object).map_err(refused)?;
                if !self.objects.contains_key(&object.id) {
                    return Err(refused(Errno(libc::ENOENT)));
                }
                self.replace_nexthop(object).map_err(refused)
            }
            Change::DeleteNexthop(object) => {
                if object.protocol != self.protocol {
                    return Err(impossible());
                }
                match self.objects.get(&object.id) {
                    Some(other) if other.protocol == self.protocol => {
                        self.delete_nexthop(object.id).map_err(refused)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn only_own_object(&self, object: &Nexthop) -> Result<(), NetlinkError> {
        let is_own = object.protocol == self.protocol;
        is_own.then_some(()).ok_or_else(impossible)
    }
}

fn refused(errno: Errno) -> NetlinkError {
    NetlinkError::Refused {
        what: "a change to the model".to_owned(),
        source: io::Error::from_raw_os_error(errno.0),
        hint: None,
    }
}

fn impossible() -> NetlinkError {
    NetlinkError::Refused {
        what: "a change to the model".to_owned(),
        source: io::ErrorKind::InvalidInput.into(),
        hint: None,
    }
}
