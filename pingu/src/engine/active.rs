//! Where traffic goes: the uplinks that the kernel's routes leave by, as the last look shows them.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    config::Mode,
    engine::{Engine, State, routes},
    network::{Link, NextHop, Route},
    units::{GroupId, Ifindex, TableId, UplinkId},
};

impl Engine {
    /// The uplink that the kernel's default route leaves by.
    pub fn active(&self) -> Option<UplinkId> {
        let routes = &self.snapshot.routes;
        let chosen =
            routes::kernel_choice(routes, false).or_else(|| routes::kernel_choice(routes, true))?;
        self.leads_to(chosen).first().copied()
    }

    /// The uplinks that a route leaves by: several for a group of nexthop objects.
    pub fn leads_to(&self, route: &Route) -> Vec<UplinkId> {
        let groups = || (0..self.config.groups.len()).map(|index| GroupId(index as u16));
        if let NextHop::Object(object) = route.next_hop {
            let mut all = groups().map(|group| self.members_of_object(group, object));
            return all.find(|ids| !ids.is_empty()).unwrap_or_default();
        }
        if let NextHop::Several { hops, .. } = &route.next_hop {
            let all = (0..self.uplinks.len()).map(|index| UplinkId(index as u16));
            let over_it = |id: &UplinkId| {
                let ifindex = self.interface_index(*id);
                hops.iter().any(|hop| Some(hop.ifindex) == ifindex)
            };
            return all.filter(over_it).collect();
        }
        let own_metric = |id: &UplinkId| {
            let config = &self.config.uplinks[id.index()];
            self.group(config.group).mode == Mode::Metric
                && route.protocol == self.config.protocol
                && route.metric == config.metric
        };
        let ids = || (0..self.uplinks.len()).map(|index| UplinkId(index as u16));
        let by_metric = ids().find(own_metric);
        let id = by_metric.or_else(|| groups().find_map(|group| self.owner(group, route)));
        id.into_iter().collect()
    }

    /// The uplinks that the kernel's routes of a group leave by, of both families; several in mode `balance`.
    pub fn active_in(&self, group: GroupId) -> Vec<UplinkId> {
        let prefixes = &self.group(group).prefixes;
        let mut active = Vec::new();
        for ipv6 in [false, true] {
            let first = prefixes
                .iter()
                .find(|prefix| prefix.addr().is_ipv6() == ipv6);
            let routes = self.snapshot.routes.iter();
            let chosen = routes
                .filter(|route| route.table == TableId::MAIN && Some(&route.destination) == first)
                .filter(|route| !matches!(route.next_hop, NextHop::Selective(_)))
                .min_by_key(|route| route.metric);
            for id in chosen.map(|route| self.leads_to(route)).unwrap_or_default() {
                if !active.contains(&id) {
                    active.push(id);
                }
            }
        }
        active
    }

    /// What is known of an uplink.
    pub fn state_of(&self, id: UplinkId) -> State {
        self.uplinks[id.index()].state_noted
    }

    /// The addresses that an uplink has: those of its interface, or with several uplinks on it the ones that it uses.
    pub fn addresses_of(&self, id: UplinkId) -> Vec<IpAddr> {
        let Some(link) = self.link_of(id) else {
            return Vec::new();
        };
        let of_family = |ipv6| self.own_addresses(id, link, ipv6);
        let both = [false, true].into_iter().flat_map(of_family);
        both.map(|address| address.address).collect()
    }

    /// The interfaces that there are of uplinks.
    pub fn interfaces(&self) -> BTreeSet<Ifindex> {
        self.uplinks_on.keys().copied().collect()
    }

    /// Whether the uplink whose interface a route leaves by is up.
    pub fn is_up_by(&self, route: &Route) -> bool {
        let ids = (0..self.uplinks.len()).map(|index| UplinkId(index as u16));
        ids.filter(|id| self.uplinks[id.index()].state_noted == State::Up)
            .any(|id| self.interface_index(id) == route.next_hop.ifindex())
    }

    /// The number of an uplink's interface, while there is one.
    pub(super) fn interface_index(&self, id: UplinkId) -> Option<Ifindex> {
        self.link_of(id).map(|link| link.ifindex)
    }

    /// An uplink's interface, while there is one.
    pub(super) fn link_of(&self, id: UplinkId) -> Option<&Link> {
        self.link_places[id.index()].map(|place| &self.snapshot.links[place])
    }
}
