//! Policy routing: each uplink's table with its connected networks and its default, and the rules that lead there.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::{
    engine::{
        Engine,
        routes::{RouteSet, own_route},
    },
    network::{Address, Link, NextHop, Rule, Selector, default_of},
    units::{Metric, TableId, UplinkId},
};

/// Metric of every route in an uplink's table: it is the only one to its destination there. Not 0, which in a deletion means any.
const POLICY_METRIC: Metric = Metric(1);

/// Link-local addresses of IPv6 (RFC 4291 section 2.5.6).
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
    64,
));

impl Engine {
    /// The table and the rules of an uplink. They do not depend on its health; only an interface that is set down empties the table, and
    /// what is bound to it then leaves by main. An uplink that has only checks has a table for these alone: nothing but sockets that are
    /// bound to its interface is looked up there.
    pub(super) fn policy_routes(&self, id: UplinkId, set: &mut RouteSet) {
        let config = &self.config.uplinks[id.index()];
        let (Some(table), Some(link)) = (self.config.table_of(id), self.link_of(id)) else {
            return;
        };
        let (ifindex, is_for_all) = (link.ifindex, config.table.is_some());
        for ipv6 in [false, true] {
            let own = self.own_addresses(id, link, ipv6);
            for address in &own {
                if is_for_all {
                    self.rule(set, ipv6, host(address), table);
                }
                self.connected(set, address, table);
            }
            if is_for_all && !own.is_empty() {
                self.inside_networks(ipv6)
                    .for_each(|address| self.connected(set, address, table));
            }
            if !config.checks.is_empty() {
                self.check_rules(id, link, ipv6, table, set);
            }
            match self.way(id, ipv6) {
                Some(way) => {
                    let source = Some(way.source);
                    let (destination, hop) = (default_of(ipv6), way.next_hop());
                    let own = self.config.protocol;
                    set.want(own_route(
                        destination,
                        table,
                        POLICY_METRIC,
                        own,
                        hop,
                        source,
                    ));
                }
                None => {
                    set.kept_tables.insert((table, ipv6, ifindex));
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
                    table,
                    protocol: self.rule_protocol(),
                });
            }
        }
    }

    /// What leads the sockets of checks, which are bound to the interface, into the table. Where several uplinks share the interface, the
    /// source tells them apart.
    fn check_rules(
        &self,
        id: UplinkId,
        link: &Link,
        ipv6: bool,
        table: TableId,
        set: &mut RouteSet,
    ) {
        let Some(way) = self.way(id, ipv6) else {
            return;
        };
        let source = way.source;
        set.rules.push(self.check_rule(id, link, source, table));
        if ipv6 {
            // Whoever names the interface with a link-local address does not mean the gateway.
            let next_hop = NextHop::Device {
                ifindex: link.ifindex,
            };
            let own = self.config.protocol;
            let link_local = own_route(LINK_LOCAL, table, POLICY_METRIC, own, next_hop, None);
            set.want(link_local);
        }
    }

    /// The rule that leads sockets which are bound to an uplink's interface, and to this source, into its table.
    pub(in crate::engine) fn check_rule(
        &self,
        id: UplinkId,
        link: &Link,
        source: IpAddr,
        table: TableId,
    ) -> Rule {
        let is_shared = self.shares_interface(id, link);
        Rule {
            ipv6: source.is_ipv6(),
            priority: self.config.rules.check_priority,
            selector: Selector::Bound {
                interface: link.name.clone(),
                from: is_shared.then(|| IpNet::from(source)),
            },
            table,
            protocol: self.rule_protocol(),
        }
    }

    fn shares_interface(&self, id: UplinkId, link: &Link) -> bool {
        let on_it = self.uplinks_on.get(&link.ifindex);
        on_it.is_some_and(|on_it| on_it.iter().any(|other| *other != id))
    }

    /// An uplink's own addresses of a family: all of its interface, or with several uplinks on it, or one given, the one that it uses.
    pub(in crate::engine) fn own_addresses(
        &self,
        id: UplinkId,
        link: &Link,
        ipv6: bool,
    ) -> Vec<&Address> {
        let config = &self.config.uplinks[id.index()];
        let ifindex = link.ifindex;
        let shares = self.shares_interface(id, link);
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
