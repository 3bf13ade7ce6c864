//! IPv4's tables, as `net/ipv4/fib_trie.c` and `fib_semantics.c` keep them.

use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::{Addition, Answer, Deletion, Entry, Errno, FakeKernel, SCOPE_LINK, Verb, request};
use crate::{
    network::NextHop,
    units::{Ifindex, TableId},
};

impl FakeKernel {
    pub(super) fn add_inet(&mut self, verb: Verb, asked: &Addition) -> Answer {
        self.check_inet(asked)?;
        let new = Entry {
            metric: asked.metric,
            protocol: asked.protocol,
            next_hop: asked.next_hop.clone(),
            preferred_source: asked.preferred_source,
            tos: asked.tos,
            scope: asked.scope,
            dead: false,
        };
        let key = (asked.table, asked.destination);
        let leaf = self.leaf(asked.table, asked.destination);
        let order = |entry: &Entry| (Reverse(entry.tos), entry.metric);
        let first = leaf.partition_point(|entry| order(entry) < order(&new));
        let end = leaf.partition_point(|entry| order(entry) <= order(&new));
        let same = leaf[first..end].iter().position(|entry| *entry == new);
        let place = if first == end {
            if !verb.creates() {
                return Err(Errno(libc::ENOENT));
            }
            first
        } else {
            match (verb, same) {
                (Verb::Add, _) => return Err(Errno(libc::EEXIST)),
                (Verb::Change | Verb::Replace, Some(0)) => return Ok(()),
                (_, Some(_)) => return Err(Errno(libc::EEXIST)),
                (Verb::Change | Verb::Replace, None) => {
                    let leaf = self.tables.get_mut(&key);
                    leaf.expect("it has the route to be replaced")[first] = new;
                    return Ok(());
                }
                (Verb::Append, None) => end,
                (Verb::Prepend, None) => first,
            }
        };
        self.tables.entry(key).or_default().insert(place, new);
        Ok(())
    }

    pub(super) fn delete_inet(&mut self, asked: &Deletion) -> Answer {
        let gone = Err(Errno(libc::ESRCH));
        let Some(leaf) = self.tables.get_mut(&(asked.table, asked.destination)) else {
            return gone;
        };
        let Some(place) = leaf.iter().position(|entry| takes(asked, entry)) else {
            return gone;
        };
        leaf.remove(place);
        self.tables.retain(|_, leaf| !leaf.is_empty());
        Ok(())
    }

    /// What the kernel checks of a route, in its order.
    fn check_inet(&self, asked: &Addition) -> Answer {
        match &asked.next_hop {
            NextHop::Gateway {
                ifindex,
                gateway: IpAddr::V6(gateway),
                onlink,
            } => self.check_gateway_inet6(asked.table, *ifindex, *gateway, *onlink)?,
            NextHop::Gateway {
                ifindex,
                onlink: true,
                ..
            }
            | NextHop::Device { ifindex } => self.is_up(*ifindex)?,
            NextHop::Gateway {
                ifindex,
                gateway: IpAddr::V4(gateway),
                onlink: false,
            } => self.find_gateway(asked.table, *gateway, *ifindex)?,
            NextHop::Object(id) => match self.objects.get(id) {
                Some(object) if !object.ipv6 => {}
                _ => return Err(Errno(libc::EINVAL)),
            },
            // Nor is a source looked at.
            NextHop::Unreachable | NextHop::Blackhole => return Ok(()),
            NextHop::Several { .. } | NextHop::Selective(_) | NextHop::Other(_) => {
                return Err(Errno(libc::EINVAL));
            }
        }
        match asked.preferred_source {
            Some(source) if !self.is_local(source) => Err(Errno(libc::EINVAL)),
            _ => Ok(()),
        }
    }

    pub(super) fn is_up(&self, ifindex: Ifindex) -> Answer {
        match self.devices.get(&ifindex) {
            None => Err(Errno(libc::ENODEV)),
            Some(device) if !device.link.admin_up => Err(Errno(libc::ENETDOWN)),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }

    /// A gateway is looked for among routes of link scope: in the route's own table, then as any packet's destination.
    fn find_gateway(&self, table: TableId, gateway: Ipv4Addr, ifindex: Ifindex) -> Answer {
        if table != TableId::MAIN && self.covers(table, gateway, ifindex).is_ok() {
            return Ok(());
        }
        let own = self.addresses.iter();
        let is_own = |own: &crate::network::Address| {
            own.address == IpAddr::V4(gateway) && own.ifindex == ifindex
        };
        if own.into_iter().any(is_own) {
            return Ok(());
        }
        self.covers(TableId::MAIN, gateway, ifindex)
    }

    /// The longest prefix wins; routes over other interfaces are passed over, refusing ones are not.
    fn covers(&self, table: TableId, gateway: Ipv4Addr, ifindex: Ifindex) -> Answer {
        let mut prefixes: Vec<(&IpNet, &Vec<Entry>)> = self
            .tables
            .iter()
            .filter(|((of, prefix), _)| *of == table && prefix.contains(&IpAddr::V4(gateway)))
            .map(|((_, prefix), leaf)| (prefix, leaf))
            .collect();
        prefixes.sort_by_key(|(prefix, _)| Reverse(prefix.prefix_len()));
        let entries = prefixes.into_iter().flat_map(|(_, leaf)| leaf);
        // Only a route for any type of service answers a question without one.
        for entry in entries.filter(|entry| entry.scope >= SCOPE_LINK && entry.tos == 0) {
            match &entry.next_hop {
                NextHop::Unreachable => return Err(Errno(libc::EHOSTUNREACH)),
                NextHop::Blackhole => return Err(Errno(libc::EINVAL)),
                hop if self.interfaces_of(hop).contains(&ifindex) => return Ok(()),
                _ => {}
            }
        }
        Err(Errno(libc::ENETUNREACH))
    }
}

/// Whether a deletion's attributes are a route's.
fn takes(asked: &Deletion, entry: &Entry) -> bool {
    let given = |metric: &crate::units::Metric| metric.0 != 0;
    entry.tos == asked.tos
        && asked
            .kind
            .is_none_or(|kind| kind == request::kind(&entry.next_hop))
        && asked.scope.is_none_or(|scope| scope == entry.scope)
        && asked
            .preferred_source
            .is_none_or(|source| Some(source) == entry.preferred_source)
        && asked
            .protocol
            .is_none_or(|protocol| protocol == entry.protocol)
        && asked
            .metric
            .filter(given)
            .is_none_or(|metric| metric == entry.metric)
        && takes_hop(asked, &entry.next_hop)
}

fn takes_hop(asked: &Deletion, next_hop: &NextHop) -> bool {
    match (next_hop, asked.object) {
        (NextHop::Object(id), Some(object)) => return *id == object,
        (NextHop::Object(_), None) => return asked.ifindex.is_none() && asked.gateway.is_none(),
        (_, Some(_)) => return false,
        (_, None) => {}
    }
    let (ifindex, gateway) = match next_hop {
        NextHop::Gateway {
            ifindex, gateway, ..
        } => (Some(*ifindex), Some(*gateway)),
        NextHop::Device { ifindex } => (Some(*ifindex), None),
        _ => (None, None),
    };
    asked.ifindex.is_none_or(|asked| Some(asked) == ifindex)
        && asked.gateway.is_none_or(|asked| Some(asked) == gateway)
}
