//! Learning a gateway: from what others teach, from what was known before, and from what an earlier run left.

use std::net::IpAddr;

use crate::{
    engine::{
        GatewayHint,
        way_out::{Hop, WayOut, is_usable},
    },
    network::{self, NextHop, NexthopKind, Route, Snapshot, default_of},
    units::{Ifindex, Protocol, TableId},
};

/// Where one family's gateway on an interface may be learned from.
pub(super) struct Sources<'a> {
    pub(super) ifindex: Ifindex,
    pub(super) ipv6: bool,
    pub(super) snapshot: &'a Snapshot,
    pub(super) own: Protocol,
    /// Learned routes that pingu itself took out of the table.
    pub(super) adopted: &'a [Route],
    /// The uplink's own table.
    pub(super) table: Option<TableId>,
}

impl Sources<'_> {
    /// The gateway; `before` is the way found at the last look, `hint` what an earlier run knew.
    pub(super) fn learn(&self, before: Option<&WayOut>, hint: Option<&GatewayHint>) -> Option<Hop> {
        let before = before.filter(|before| before.ifindex == self.ifindex);
        let hint = hint
            .filter(|_| before.is_none())
            .and_then(|hint| self.remembered(hint));
        let taught = self.taught();
        // Where several are learned, the one that was in use stays in use, over a restart as well; with its source if that is
        // taught, too.
        if let Some(known) = before.map(Hop::from).or(hint) {
            let same = taught.iter().find(|hop| **hop == known);
            let kept = same.or_else(|| taught.iter().find(|hop| hop.gateway == known.gateway));
            if let Some(kept) = kept {
                return Some(*kept);
            }
        }
        if let Some(first) = taught.first() {
            return Some(*first);
        }
        let Some(before) = before else {
            return self.left_behind().or_else(|| hint.filter(|_| !self.ipv6));
        };
        // An IPv6 router that takes its advertisement back says that it is no way out any more; IPv4 has no such word.
        let address_stands = is_usable(self.ifindex, before.source, &self.snapshot.addresses);
        (!self.ipv6 && address_stands).then_some(Hop::from(before))
    }

    /// What a hint says, if all the addresses that it names are there.
    fn remembered(&self, hint: &GatewayHint) -> Option<Hop> {
        let addresses = &self.snapshot.addresses;
        let asked_for = hint.preferred_source;
        let stands = is_usable(self.ifindex, hint.address, addresses)
            && asked_for.is_none_or(|own| addresses.iter().any(|a| a.address == own && a.usable));
        stands.then_some(Hop {
            gateway: hint.gateway,
            onlink: hint.onlink,
            preferred_source: hint.preferred_source,
        })
    }

    /// Every next hop of others' defaults over the interface, the best metric first.
    fn taught(&self) -> Vec<Hop> {
        let foreign = self
            .defaults(TableId::MAIN)
            .filter(|r| r.protocol != self.own);
        let standing = self.hops(foreign.collect());
        if !standing.is_empty() {
            // What stands is newer than what was adopted: a renewed lease has brought it.
            return standing;
        }
        let adopted = self
            .adopted
            .iter()
            .filter(|route| route.ipv6() == self.ipv6);
        self.hops(adopted.collect())
    }

    /// What an earlier run left: own defaults in the main table or the uplink's own, or an own nexthop object.
    fn left_behind(&self) -> Option<Hop> {
        let in_table = |table| {
            let own = self
                .defaults(table)
                .filter(|route| route.protocol == self.own);
            self.hops(own.collect()).first().copied()
        };
        let of_object = || {
            let own = |object: &&network::Nexthop| {
                object.protocol == self.own && object.ipv6 == self.ipv6
            };
            let mut objects = self.snapshot.nexthops.iter().filter(own);
            objects.find_map(|object| match &object.kind {
                NexthopKind::Single(next_hop) => self.over(next_hop, None).next(),
                NexthopKind::Group(_) | NexthopKind::Other(_) => None,
            })
        };
        in_table(TableId::MAIN)
            .or_else(|| self.table.and_then(in_table))
            .or_else(of_object)
    }

    fn defaults(&self, table: TableId) -> impl Iterator<Item = &Route> {
        let destination = default_of(self.ipv6);
        let routes = self.snapshot.routes.iter();
        routes.filter(move |route| route.destination == destination && route.table == table)
    }

    fn hops(&self, mut routes: Vec<&Route>) -> Vec<Hop> {
        routes.sort_by_key(|route| route.metric);
        let over = |route: &Route| self.over(&route.next_hop, route.preferred_source);
        routes.into_iter().flat_map(over).collect()
    }

    /// Every next hop over the interface.
    fn over(
        &self,
        next_hop: &NextHop,
        preferred_source: Option<IpAddr>,
    ) -> impl Iterator<Item = Hop> + use<> {
        let on = self.ifindex;
        let hops = next_hop.hops().into_iter();
        hops.filter(move |hop| hop.ifindex == on)
            .map(move |hop| Hop {
                gateway: hop.gateway,
                onlink: hop.onlink,
                preferred_source,
            })
    }
}
