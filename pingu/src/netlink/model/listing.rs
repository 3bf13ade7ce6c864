//! What a dump shows of the tables, and the snapshot that the adapter makes of it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Deletion, Entry, FakeKernel, request};
use crate::{
    network::{Hop, NextHop, Route, Snapshot},
    units::{Metric, Protocol, TableId},
};

/// A route as a dump shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it leads to.
    pub destination: IpNet,
    /// Its table.
    pub table: TableId,
    /// Type of service.
    pub tos: u8,
    /// Its priority.
    pub metric: Metric,
    /// Its origin; of several IPv6 next hops, the first one's.
    pub protocol: Protocol,
    /// Where it leads; more than one where IPv6 shows several routes as one.
    pub hops: Vec<NextHop>,
    /// Preferred source address.
    pub preferred_source: Option<IpAddr>,
    /// `rtm_scope`.
    pub scope: u8,
}

impl Listed {
    fn new(table: TableId, destination: IpNet, entry: &Entry) -> Self {
        Self {
            destination,
            table,
            tos: entry.tos,
            metric: entry.metric,
            protocol: entry.protocol,
            hops: vec![entry.next_hop.clone()],
            preferred_source: entry.preferred_source,
            scope: entry.scope,
        }
    }

    /// The deletions of all that it shows, with all that it shows.
    pub(super) fn deletions(&self) -> Vec<Deletion> {
        let of = |hop: &NextHop| {
            let mut deletion = super::exact(&self.route(hop.clone()));
            // A dump names no gateway where there is none.
            deletion.gateway = deletion
                .gateway
                .filter(|_| matches!(hop, NextHop::Gateway { .. }));
            deletion
        };
        // The kernel refuses a deletion with all that it shows of a route by an object: `ip route flush` leaves those.
        let by_object = |hop: &&NextHop| matches!(hop, NextHop::Object(_));
        self.hops
            .iter()
            .filter(|hop| !by_object(hop))
            .map(of)
            .collect()
    }

    fn route(&self, next_hop: NextHop) -> Route {
        let text = format!("{self:?}");
        Route {
            destination: self.destination,
            table: self.table,
            metric: self.metric,
            protocol: self.protocol,
            next_hop,
            preferred_source: self.preferred_source,
            wire: [&[self.scope, self.tos], text.as_bytes()].concat(),
        }
    }
}

impl FakeKernel {
    /// Every route of a family outside of table local, by table and destination, as a dump shows them.
    pub fn list(&self, ipv6: bool) -> Vec<Listed> {
        let of_family = self
            .tables
            .iter()
            .filter(|((_, destination), _)| matches!(destination, IpNet::V6(_)) == ipv6);
        let mut all = Vec::new();
        for ((table, destination), leaf) in of_family {
            if ipv6 {
                list_inet6(*table, *destination, leaf, &mut all);
            } else {
                let listed = leaf
                    .iter()
                    .map(|entry| Listed::new(*table, *destination, entry));
                all.extend(listed);
            }
        }
        all
    }

    /// Every route of a family outside of table local, each by itself as the kernel keeps it.
    pub fn routes(&self, ipv6: bool) -> Vec<Listed> {
        let of_family = self
            .tables
            .iter()
            .filter(|((_, destination), _)| matches!(destination, IpNet::V6(_)) == ipv6);
        of_family
            .flat_map(|((table, destination), leaf)| {
                leaf.iter()
                    .map(|entry| Listed::new(*table, *destination, entry))
            })
            .collect()
    }

    /// What the adapter sees: [`crate::netlink::RouteTable::snapshot`] without waiting.
    pub fn look(&self) -> Snapshot {
        let routes = [false, true].into_iter().flat_map(|ipv6| self.list(ipv6));
        let seen = routes.filter(|listed| {
            listed.protocol == self.protocol
                || (listed.table == TableId::MAIN && listed.destination.prefix_len() == 0)
        });
        Snapshot {
            links: self.devices.values().map(|d| d.link.clone()).collect(),
            addresses: self.addresses.clone(),
            routes: seen.flat_map(|listed| self.apart(&listed)).collect(),
            rules: self.rules.clone(),
            nexthops: self.nexthops(),
            neighbours: self.neighbours.clone(),
        }
    }

    /// Own next hops that a dump merged are routes of their own; somebody else's stay one.
    fn apart(&self, listed: &Listed) -> Vec<Route> {
        let own = listed.protocol == self.protocol;
        let other = |what: &str| NextHop::Other(what.to_owned());
        let several = |what: String, hops: &[NextHop]| NextHop::Several {
            what,
            hops: hops.iter().flat_map(NextHop::hops).collect::<Vec<Hop>>(),
        };
        match listed.hops.as_slice() {
            _ if listed.tos != 0 => {
                let what = format!("for packets with tos {:#04x}", listed.tos);
                vec![listed.route(NextHop::Selective(what))]
            }
            [NextHop::Object(id)] if !own => {
                let what = format!("nexthop object {id}");
                vec![listed.route(several(what, &self.single_hops(*id)))]
            }
            [NextHop::Unreachable] if !own => vec![listed.route(other("unreachable"))],
            [NextHop::Blackhole] if !own => vec![listed.route(other("blackhole"))],
            [hop] => vec![listed.route(hop.clone())],
            hops if own => hops
                .iter()
                .map(|hop| Route {
                    wire: Vec::new(),
                    ..listed.route(hop.clone())
                })
                .collect(),
            hops => vec![listed.route(several("multipath".to_owned(), hops))],
        }
    }
}

/// IPv6 shows gateways of one metric as one route. Its walk goes on behind the last of them: what stands between is not shown.
fn list_inet6(table: TableId, destination: IpNet, leaf: &[Entry], all: &mut Vec<Listed>) {
    let mut place = 0;
    while let Some(entry) = leaf.get(place) {
        let mut listed = Listed::new(table, destination, entry);
        if entry.may_be_sibling() {
            for (index, sibling) in leaf.iter().enumerate().skip(place + 1) {
                if sibling.may_be_sibling() && sibling.metric == entry.metric {
                    listed.hops.push(sibling.next_hop.clone());
                    place = index;
                }
            }
        }
        all.push(listed);
        place += 1;
    }
}

impl Listed {
    /// `rtm_type`.
    pub fn kind(&self) -> u8 {
        self.hops.first().map_or(libc::RTN_UNICAST, request::kind)
    }
}
