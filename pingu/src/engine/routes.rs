//! From the ranking to the routes that should be there.

use crate::{
    config::LearnedRoutes,
    engine::{Engine, State},
    network::{NextHop, Route},
    units::{Ifindex, Metric, Protocol, TableId, UplinkId},
};

/// The routes that should carry pingu's protocol, and those that may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSet {
    /// Must be there.
    pub wanted: Vec<Route>,
    /// Own routes at these (IPv6, metric) places stay as they are, if they are there: their uplink is the last resort although it
    /// cannot be left by at the moment.
    pub kept: Vec<(bool, Metric)>,
    /// Whether the last own route of a family (IPv4, IPv6) may go without another in its place: its only ways out are gone, and
    /// some uplink stands.
    pub may_end: [bool; 2],
    /// Learned routes that adopt mode may take out of the table, once an own route stands.
    pub taken_over: Vec<Route>,
}

/// An own default route.
pub(crate) fn own_default(
    ipv6: bool,
    metric: Metric,
    protocol: Protocol,
    next_hop: NextHop,
    preferred_source: Option<std::net::IpAddr>,
) -> Route {
    // The kernel chooses IPv6 sources by RFC 6724; a fixed one would outlive its prefix.
    let preferred_source = preferred_source.filter(|_| !ipv6);
    Route {
        ipv6,
        table: TableId::MAIN,
        metric,
        protocol,
        next_hop,
        preferred_source,
        wire: Vec::new(),
    }
}

/// The default that the kernel takes for one family: the lowest metric among those it can use.
pub(crate) fn kernel_choice(routes: &[Route], ipv6: bool) -> Option<&Route> {
    routes
        .iter()
        .filter(|route| route.ipv6 == ipv6)
        .min_by_key(|route| route.metric)
}

/// Whether a route is a foreign default over this interface.
pub(crate) fn is_learned_on(route: &Route, own: Protocol, ifindex: Ifindex) -> bool {
    route.protocol != own && route.next_hop.ifindex() == Some(ifindex)
}

impl Engine {
    /// The routes that should be there.
    pub fn route_set(&self) -> RouteSet {
        let mut set = RouteSet::default();
        for ipv6 in [false, true] {
            let carries = |id: UplinkId| {
                self.uplinks[id.index()].family_state(ipv6, &self.paths) != State::Down
            };
            let another_carries = self.ranking.standing.iter().any(|&id| carries(id));
            for &id in &self.ranking.standing {
                let metric = self.config.uplinks[id.index()].metric;
                match &self.uplinks[id.index()].ways[usize::from(ipv6)] {
                    Ok(_) if another_carries && !carries(id) => {}
                    Ok(way) => set.wanted.push(own_default(
                        ipv6,
                        metric,
                        self.config.protocol,
                        way.next_hop(),
                        way.preferred_source,
                    )),
                    Err(_) if self.ranking.standing.len() == 1 => set.kept.push((ipv6, metric)),
                    Err(_) => {}
                }
            }
            let wanted = set.wanted.iter().any(|route| route.ipv6 == ipv6);
            set.may_end[usize::from(ipv6)] = !wanted && !self.ranking.standing.is_empty();
        }
        if self.config.learned_routes == LearnedRoutes::Adopt {
            set.taken_over = self.learned_routes();
        }
        set
    }

    /// Uplinks whose own routes an earlier run left behind, by metric.
    pub(super) fn found_standing(&self) -> Vec<UplinkId> {
        let mut found: Vec<(Metric, UplinkId)> = Vec::new();
        let links = &self.snapshot.links;
        for (index, uplink) in self.config.uplinks.iter().enumerate() {
            let link = links.iter().find(|link| link.name == uplink.interface);
            let ifindex = link.map(|link| link.ifindex);
            let left = |route: &Route| {
                route.protocol == self.config.protocol
                    && route.metric == uplink.metric
                    && route.next_hop.ifindex() == ifindex
                    && ifindex.is_some()
            };
            if self.snapshot.routes.iter().any(left) {
                found.push((uplink.metric, UplinkId(index as u16)));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }
}
