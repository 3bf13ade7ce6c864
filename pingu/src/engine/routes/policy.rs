//! Policy routing: each uplink's table with its connected networks and its default, and the rules that lead there.

use ipnet::IpNet;

use crate::{
    engine::{
        Engine,
        routes::{RouteSet, own_route},
    },
    network::{Address, Link, NextHop, Rule, Selector, default_of},
    units::{Ifindex, Metric, TableId, UplinkId},
};

/// Metric of every route in an uplink's table: it is the only one to its destination there. Not 0, which in a deletion means any.
const POLICY_METRIC: Metric = Metric(1);

impl Engine {
    /// The table and the rules of an uplink. They do not depend on its health; only an interface that is set down empties the table, and
    /// what is bound to it then leaves by main.
    pub(super) fn policy_routes(&self, id: UplinkId, set: &mut RouteSet) {
        let config = &self.config.uplinks[id.index()];
        let (Some(table), Some(ifindex)) = (&config.table, self.interface_index(id)) else {
            return;
        };
        for ipv6 in [false, true] {
            let own = self.own_addresses(id, ifindex, ipv6);
            for address in &own {
                self.rule(set, ipv6, host(address), table.id);
                self.connected(set, address, table.id);
            }
            if !own.is_empty() {
                self.inside_networks(ipv6)
                    .for_each(|address| self.connected(set, address, table.id));
            }
            match self.way(id, ipv6) {
                Some(way) => {
                    let source = Some(way.source);
                    let (destination, hop) = (default_of(ipv6), way.next_hop());
                    let own = self.config.protocol;
                    set.want(own_route(
                        destination,
                        table.id,
                        POLICY_METRIC,
                        own,
                        hop,
                        source,
                    ));
                }
                None => {
                    set.kept_tables.insert((table.id, ipv6, ifindex));
                }
            }
            if let Some(mark) = config.fwmark
                && (!own.is_empty() || self.way(id, ipv6).is_some())
            {
                set.rules.push(Rule {
                    ipv6,
                    priority: self.config.rules.mark_priority,
                    selector: Selector::Mark {
                        value: mark.value,
                        mask: mark.mask,
                    },
                    table: table.id,
                    protocol: self.rule_protocol(),
                });
            }
        }
    }

    /// An uplink's own addresses of a family: all of its interface, or with several uplinks on it, or one given, the one that it uses.
    pub(in crate::engine) fn own_addresses(
        &self,
        id: UplinkId,
        ifindex: Ifindex,
        ipv6: bool,
    ) -> Vec<&Address> {
        let config = &self.config.uplinks[id.index()];
        let shares = (0..self.config.uplinks.len()).any(|index| {
            index != id.index() && self.interface_index(UplinkId(index as u16)) == Some(ifindex)
        });
        let only = match config.source.of(ipv6) {
            Some(given) => Some(given),
            None if shares => match self.way(id, ipv6) {
                Some(way) => Some(way.source),
                None => return Vec::new(),
            },
            None => None,
        };
        let on_it = self.snapshot.addresses.iter().filter(|address| {
            address.ifindex == ifindex
                && address.address.is_ipv6() == ipv6
                && address.global
                && address.usable
        });
        on_it
            .filter(|address| only.is_none_or(|only| address.address == only))
            .collect()
    }

    /// Addresses in the networks that are behind no uplink: hosts there that talk to an uplink's address of this router get their answers
    /// from its table, too.
    fn inside_networks(&self, ipv6: bool) -> impl Iterator<Item = &Address> {
        let is_inside = move |address: &&Address| {
            let link = self
                .snapshot
                .links
                .iter()
                .find(|link| link.ifindex == address.ifindex);
            let is_uplink = |link: &Link| {
                let mut uplinks = self.config.uplinks.iter();
                uplinks.any(|uplink| link.is_called(&uplink.interface))
            };
            address.address.is_ipv6() == ipv6
                && address.global
                && address.usable
                && !address.address.is_loopback()
                && link.is_some_and(|link| link.admin_up && !is_uplink(link))
        };
        self.snapshot.addresses.iter().filter(is_inside)
    }

    fn rule(&self, set: &mut RouteSet, ipv6: bool, from: IpNet, table: TableId) {
        let rule = Rule {
            ipv6,
            priority: self.config.rules.from_priority,
            selector: Selector::From(from),
            table,
            protocol: self.rule_protocol(),
        };
        if !set.rules.contains(&rule) {
            set.rules.push(rule);
        }
    }

    /// The network of an address, in its uplink's table; once for several addresses in it.
    fn connected(&self, set: &mut RouteSet, address: &Address, table: TableId) {
        let Ok(network) = IpNet::new(address.address, address.prefix_len) else {
            return;
        };
        let network = network.trunc();
        let is_host = network.prefix_len() == network.max_prefix_len();
        let is_there = set
            .wanted
            .iter()
            .any(|route| route.table == table && route.destination == network);
        if is_host || is_there || network.prefix_len() == 0 {
            return;
        }
        let next_hop = NextHop::Device {
            ifindex: address.ifindex,
        };
        let own = self.config.protocol;
        let source = Some(address.address);
        set.want(own_route(
            network,
            table,
            POLICY_METRIC,
            own,
            next_hop,
            source,
        ));
    }
}

/// An address as the network of itself alone.
fn host(address: &Address) -> IpNet {
    IpNet::from(address.address)
}
