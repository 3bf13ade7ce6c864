//! IPv6's tables, as `net/ipv6/ip6_fib.c` and `route.c` keep them.

use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;

use super::{Addition, Answer, Deletion, Entry, Errno, FakeKernel, LOOPBACK, Verb};
use crate::{
    network::NextHop,
    units::{Ifindex, Metric, TableId},
};

/// `IP6_RT_PRIO_USER`: what a metric of 0 becomes.
const METRIC_DEFAULT: Metric = Metric(1024);

impl Entry {
    /// Whether it may be one of several next hops of what is shown as one route.
    pub(super) fn may_be_sibling(&self) -> bool {
        matches!(self.next_hop, NextHop::Gateway { .. })
    }

    /// Whether both lead to the same: the kernel compares nothing else.
    fn leads_as(&self, other: &Self) -> bool {
        match (&self.next_hop, &other.next_hop) {
            (
                NextHop::Gateway {
                    ifindex, gateway, ..
                },
                NextHop::Gateway {
                    ifindex: of_other,
                    gateway: by_other,
                    ..
                },
            ) => (ifindex, gateway) == (of_other, by_other),
            // Both are of the loopback interface.
            (
                NextHop::Unreachable | NextHop::Blackhole,
                NextHop::Unreachable | NextHop::Blackhole,
            ) => true,
            (a, b) => a == b,
        }
    }
}

impl FakeKernel {
    pub(super) fn add_inet6(&mut self, verb: Verb, asked: &Addition) -> Answer {
        self.check_inet6(asked)?;
        let metric = match asked.metric {
            Metric(0) => METRIC_DEFAULT,
            given => given,
        };
        let new = Entry {
            metric,
            protocol: asked.protocol,
            next_hop: asked.next_hop.clone(),
            preferred_source: asked.preferred_source,
            tos: 0,
            scope: 0,
            dead: false,
        };
        let key = (asked.table, asked.destination);
        let leaf = self.leaf(asked.table, asked.destination);
        let first = leaf.partition_point(|entry| entry.metric < metric);
        let end = leaf.partition_point(|entry| entry.metric <= metric);
        let rivals = &leaf[first..end];
        if verb.replaces() {
            let alike = |entry: &Entry| entry.may_be_sibling() == new.may_be_sibling();
            let Some(replaced) = rivals
                .iter()
                .position(alike)
                .or((!rivals.is_empty()).then_some(0))
            else {
                return self.create_inet6(verb, key, end, new);
            };
            // With one of several next hops the others go, too.
            let several = rivals[replaced].may_be_sibling()
                && rivals.iter().filter(|entry| entry.may_be_sibling()).count() > 1;
            let leaf = self.tables.get_mut(&key).expect("it has rivals");
            leaf[first + replaced] = new;
            let mut place = 0;
            leaf.retain(|entry| {
                let after = place > first + replaced && entry.metric == metric;
                place += 1;
                !(several && after && entry.may_be_sibling())
            });
            return Ok(());
        }
        let taken = match verb {
            Verb::Add => !rivals.is_empty(),
            _ => rivals.iter().any(|entry| entry.leads_as(&new)),
        };
        if taken {
            return Err(Errno(libc::EEXIST));
        }
        self.create_inet6(verb, key, end, new)
    }

    fn create_inet6(
        &mut self,
        verb: Verb,
        key: (TableId, IpNet),
        place: usize,
        new: Entry,
    ) -> Answer {
        if !verb.creates() {
            return Err(Errno(libc::ENOENT));
        }
        self.tables.entry(key).or_default().insert(place, new);
        Ok(())
    }

    pub(super) fn delete_inet6(&mut self, asked: &Deletion) -> Answer {
        let gone = Err(Errno(libc::ESRCH));
        let Some(leaf) = self.tables.get_mut(&(asked.table, asked.destination)) else {
            return gone;
        };
        let Some(place) = leaf.iter().position(|entry| takes(asked, entry)) else {
            return gone;
        };
        let (metric, sibling) = (leaf[place].metric, leaf[place].may_be_sibling());
        if asked.gateway.is_none() && sibling {
            // Without a gateway's name all of them go.
            leaf.retain(|entry| entry.metric != metric || !entry.may_be_sibling());
        } else {
            leaf.remove(place);
        }
        self.tables.retain(|_, leaf| !leaf.is_empty());
        Ok(())
    }

    fn check_inet6(&self, asked: &Addition) -> Answer {
        match &asked.next_hop {
            NextHop::Gateway {
                ifindex,
                gateway: IpAddr::V6(gateway),
                onlink,
            } => self.check_gateway_inet6(asked.table, *ifindex, *gateway, *onlink)?,
            NextHop::Device { ifindex } => self.is_up(*ifindex)?,
            NextHop::Object(id) => match self.objects.get(id) {
                None => return Err(Errno(libc::EINVAL)),
                Some(object) if !object.ipv6 && !self.is_group(*id) => {
                    return Err(Errno(libc::EINVAL));
                }
                Some(_) => {}
            },
            NextHop::Unreachable | NextHop::Blackhole => {}
            _ => return Err(Errno(libc::EINVAL)),
        }
        match asked.preferred_source {
            Some(source) if !self.is_local(source) => Err(Errno(libc::EINVAL)),
            _ => Ok(()),
        }
    }

    /// A link-local gateway is believed; another must be on the link: by the route's own table, then as any packet's destination.
    pub(super) fn check_gateway_inet6(
        &self,
        table: TableId,
        ifindex: Ifindex,
        gateway: Ipv6Addr,
        onlink: bool,
    ) -> Answer {
        if !self.devices.contains_key(&ifindex) {
            return Err(Errno(libc::ENODEV));
        }
        if onlink {
            self.is_up(ifindex)?;
        }
        let own = |own: &&crate::network::Address| {
            own.address == IpAddr::V6(gateway)
                && (!gateway.is_unicast_link_local() || own.ifindex == ifindex)
        };
        if self.addresses.iter().find(own).is_some() {
            return Err(Errno(libc::EINVAL));
        }
        if !gateway.is_unicast_link_local() && onlink {
            self.check_onlink(gateway, ifindex)?;
        }
        if !gateway.is_unicast_link_local() && !onlink {
            let is_on_link = |table| {
                self.best(table, gateway, ifindex)
                    .is_some_and(|entry| !self.has_gateway(&entry.next_hop, ifindex))
            };
            if !is_on_link(table) && !is_on_link(TableId::MAIN) {
                return Err(Errno(libc::EHOSTUNREACH));
            }
        }
        self.is_up(ifindex)
    }

    /// What main knows better than that a gateway is on the link is believed, unless it is but a default route.
    fn check_onlink(&self, gateway: Ipv6Addr, ifindex: Ifindex) -> Answer {
        for (destination, leaf) in self.prefixes_of(TableId::MAIN, gateway) {
            let alive = || leaf.iter().filter(|entry| !entry.dead);
            let Some(first) = alive().next() else {
                continue;
            };
            let over_it = |entry: &&Entry| self.interfaces_of(&entry.next_hop).contains(&ifindex);
            let found = alive()
                .filter(|entry| entry.metric == first.metric)
                .find(over_it);
            let refuses = matches!(first.next_hop, NextHop::Unreachable | NextHop::Blackhole);
            if found.is_none() && !refuses && destination.prefix_len() > 0 {
                return Err(Errno(libc::EINVAL));
            }
            return Ok(());
        }
        Ok(())
    }

    /// The destinations of a table that hold an address, the longest first.
    fn prefixes_of(&self, table: TableId, address: Ipv6Addr) -> Vec<(&IpNet, &Vec<Entry>)> {
        let mut prefixes: Vec<(&IpNet, &Vec<Entry>)> = self
            .tables
            .iter()
            .filter(|((of, prefix), _)| *of == table && prefix.contains(&IpAddr::V6(address)))
            .map(|((_, prefix), leaf)| (prefix, leaf))
            .collect();
        prefixes.sort_by_key(|(prefix, _)| Reverse(prefix.prefix_len()));
        prefixes
    }

    /// The route over an interface that a lookup finds: the longest prefix, the lowest metric, the first.
    fn best(&self, table: TableId, gateway: Ipv6Addr, ifindex: Ifindex) -> Option<&Entry> {
        self.prefixes_of(table, gateway)
            .into_iter()
            .flat_map(|(_, leaf)| leaf)
            .find(|entry| !entry.dead && self.interfaces_of(&entry.next_hop).contains(&ifindex))
    }
}

/// Whether a deletion's attributes are a route's. IPv6 looks at neither type nor preferred source.
fn takes(asked: &Deletion, entry: &Entry) -> bool {
    let hop_fits = match (&entry.next_hop, asked.object) {
        (NextHop::Object(id), Some(object)) => *id == object,
        // Neither interface nor gateway are looked at.
        (NextHop::Object(_), None) => true,
        (_, Some(_)) => false,
        (next_hop, None) => {
            let (ifindex, gateway) = match next_hop {
                NextHop::Gateway {
                    ifindex, gateway, ..
                } => (Some(*ifindex), *gateway),
                NextHop::Device { ifindex } => (Some(*ifindex), Ipv6Addr::UNSPECIFIED.into()),
                _ => (Some(LOOPBACK), Ipv6Addr::UNSPECIFIED.into()),
            };
            asked.ifindex.is_none_or(|asked| Some(asked) == ifindex)
                && asked.gateway.is_none_or(|asked| asked == gateway)
        }
    };
    let given = |metric: &Metric| metric.0 != 0;
    hop_fits
        && asked
            .metric
            .filter(given)
            .is_none_or(|metric| metric == entry.metric)
        && asked
            .protocol
            .is_none_or(|protocol| protocol == entry.protocol)
}
