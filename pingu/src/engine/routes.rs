//! From the ranking to the routes that should be there.

use crate::{
    config::LearnedRoutes,
    engine::{Engine, State, uplink::Uplink},
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
            if let Some(route) = self.last_resort(ipv6, &set) {
                set.wanted.push(route);
            }
            let wanted = set.wanted.iter().any(|route| route.ipv6 == ipv6);
            set.may_end[usize::from(ipv6)] = !wanted && !self.ranking.standing.is_empty();
        }
        if self.config.learned_routes == LearnedRoutes::Adopt {
            set.taken_over = self.learned_routes();
        }
        set
    }

    /// With no uplink up, a family whose route the last resort cannot carry leaves by the best that can be left by in it.
    fn last_resort(&self, ipv6: bool, set: &RouteSet) -> Option<Route> {
        let is_up = |uplink: &Uplink| uplink.state(&self.paths) == State::Up;
        if self.ranking.standing.is_empty()
            || set.wanted.iter().any(|route| route.ipv6 == ipv6)
            || self.uplinks.iter().any(is_up)
        {
            return None;
        }
        let ways = self.uplinks.iter().zip(&self.config.uplinks);
        let (way, metric) = ways
            .filter_map(|(uplink, config)| {
                let way = uplink.ways[usize::from(ipv6)].as_ref().ok()?;
                Some((way, config.metric))
            })
            .min_by_key(|(_, metric)| *metric)?;
        let (own, source) = (self.config.protocol, way.preferred_source);
        Some(own_default(ipv6, metric, own, way.next_hop(), source))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        engine::test_clock,
        network::{Address, Link, LinkLayer, Neighbour, NeighbourState, Snapshot},
    };

    const TWO: &str = "[probe]\ntargets = [\"192.0.2.1\"]\n\
        [[uplink]]\nname = \"a\"\ninterface = \"wan2\"\ngateway = [\"10.0.2.1\", \"fe80::1\"]\nmetric = 1\n\
        [[uplink]]\nname = \"b\"\ninterface = \"wan3\"\ngateway = [\"10.0.3.1\", \"fe80::1\"]\nmetric = 2\n";

    fn link(ifindex: u32) -> Link {
        Link {
            ifindex: Ifindex(ifindex),
            name: format!("wan{ifindex}"),
            layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, 1]),
            admin_up: true,
            carrier: true,
            mtu_bytes: 1500,
        }
    }

    fn address(ifindex: u32, address: &str) -> Address {
        Address {
            ifindex: Ifindex(ifindex),
            address: address.parse().unwrap(),
            prefix_len: 24,
            global: true,
            usable: true,
            secondary: false,
        }
    }

    #[test]
    fn a_last_resort_that_lost_one_family_does_not_take_it_from_the_others() {
        let (config, _) = Config::parse(TWO, "test").unwrap();
        let mut engine = Engine::new(config, 7, test_clock());
        let snapshot = Snapshot {
            links: vec![link(2), link(3)],
            addresses: vec![address(2, "2001:db8::2"), address(3, "10.0.3.2")],
            ..Snapshot::default()
        };
        engine.network(snapshot, test_clock());
        engine.ranking.standing.clear();
        assert_eq!(engine.route_set().wanted, [], "nothing has stood yet");
        engine.ranking.standing = vec![UplinkId(0)];
        let set = engine.route_set();
        let places: Vec<(bool, u32)> = set
            .wanted
            .iter()
            .map(|route| (route.ipv6, route.metric.0))
            .collect();
        assert_eq!(places, [(false, 2), (true, 1)]);
        assert_eq!(set.may_end, [false, false]);
    }

    #[test]
    fn a_neighbour_that_was_flushed_is_asked_for_at_once() {
        let (config, _) = Config::parse(TWO, "test").unwrap();
        let mut engine = Engine::new(config, 7, test_clock());
        let neighbour = |state| Neighbour {
            ifindex: Ifindex(3),
            address: [10, 0, 3, 1].into(),
            state,
        };
        let snapshot = Snapshot {
            links: vec![link(3)],
            addresses: vec![address(3, "10.0.3.2")],
            neighbours: vec![neighbour(NeighbourState::Usable([2; 6]))],
            ..Snapshot::default()
        };
        let now = test_clock();
        engine.network(snapshot, now);
        engine.solicitations(now);
        assert_eq!(engine.solicitations(now), [], "asked just now");
        engine.neighbour(&neighbour(NeighbourState::Failed), now);
        assert_eq!(
            engine.solicitations(now),
            [(Ifindex(3), [10, 0, 3, 1].into())]
        );
    }
}
