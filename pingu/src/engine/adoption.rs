//! Learned routes that pingu takes out of the table (`learned_routes = "adopt"`), and when they have to go back.

use crate::{
    config::{Gateway, LearnedRoutes},
    engine::{Engine, State, routes, way_out::same_network},
    network::{Address, NextHop, Route, default_of},
    units::Protocol,
};

/// `RTPROT_RA`: default routes that the kernel, or a daemon in its stead, makes of router advertisements.
const PROTOCOL_RA: Protocol = Protocol(9);

impl Engine {
    /// Learned routes that pingu took out of the table.
    pub fn adopted(&self) -> &[Route] {
        &self.adopted
    }

    /// Tells of routes taken over: by a plan just carried out, or by an earlier run that left a note of them. A newer one of the same
    /// origin, interface and metric takes the place of an older: a client that renewed its lease replaces its route, too.
    pub fn remember_adopted(&mut self, routes: impl IntoIterator<Item = Route>) {
        let key = |route: &Route| {
            let Route {
                destination,
                metric,
                protocol,
                ..
            } = route;
            (*destination, *metric, *protocol, route.next_hop.ifindex())
        };
        for route in routes {
            self.adopted.retain(|older| key(older) != key(&route));
            self.adopted.push(route);
        }
    }

    /// Adopted routes that this configuration would not take over: an earlier run did, with another one. They are to be put back.
    /// None before the first look at the kernel.
    pub fn adopted_in_vain(&self) -> Vec<Route> {
        if !self.oriented {
            return Vec::new();
        }
        let is_wanted = |route: &&Route| {
            self.config.learned_routes == LearnedRoutes::Adopt
                && self.config.uplinks.iter().any(|uplink| {
                    let link = self
                        .snapshot
                        .links
                        .iter()
                        .find(|link| link.is_called(&uplink.interface));
                    // A group that serves other destinations has nothing to put in its place.
                    let serves = &self.group(uplink.group).prefixes;
                    uplink.gateway == Gateway::Auto
                        && serves.contains(&route.destination)
                        && link.map(|link| link.ifindex) == route.next_hop.ifindex()
                })
        };
        let in_vain = self.adopted.iter().filter(|route| !is_wanted(route));
        in_vain.cloned().collect()
    }

    /// Whether somebody else's route stands in the place of an adopted one: a client has put its own there since.
    pub fn place_is_taken(&self, adopted: &Route) -> bool {
        self.snapshot.routes.iter().any(|route| {
            (route.table, route.destination, route.metric)
                == (adopted.table, adopted.destination, adopted.metric)
                && route.is_for_all()
                && route.protocol != self.config.protocol
        })
    }

    /// Tells that an adopted route has been put back, or is not wanted back.
    pub fn forget_adopted(&mut self, route: &Route) {
        self.adopted.retain(|adopted| adopted != route);
    }

    /// Learned routes over uplinks of which enough is known to do without them. Those of router advertisements stay: the kernel
    /// gives them a lifetime that could not be put back, and makes them anew at each advertisement. So do those whose metric is an
    /// uplink's: at the end they could not be put back before pingu's own is gone.
    pub(super) fn learned_routes(&self) -> Vec<Route> {
        let mut learned: Vec<Route> = Vec::new();
        for (uplink, config) in self.uplinks.iter().zip(&self.config.uplinks) {
            if config.gateway != Gateway::Auto || uplink.state() == State::Unknown {
                continue;
            }
            for (way, ipv6) in uplink.ways.iter().zip([false, true]) {
                let Ok(way) = way else { continue };
                if !self
                    .group(config.group)
                    .prefixes
                    .contains(&default_of(ipv6))
                {
                    continue;
                }
                for route in &self.snapshot.routes {
                    if route.ipv6() == ipv6
                        && routes::is_learned_on(route, self.config.protocol, way.ifindex)
                        && route.protocol != PROTOCOL_RA
                        && !self.config.uplinks.iter().any(|u| u.metric == route.metric)
                        && !learned.contains(route)
                    {
                        learned.push(route.clone());
                    }
                }
            }
        }
        learned
    }

    /// An adopted route is worth nothing once its interface, the source that it names or the network of its gateway has gone: its
    /// lease is over.
    pub(super) fn forget_stale_adopted(&mut self) {
        let addresses = &self.snapshot.addresses;
        self.adopted.retain(|route| {
            let on_it: Vec<&Address> = addresses
                .iter()
                .filter(|a| {
                    Some(a.ifindex) == route.next_hop.ifindex()
                        && a.address.is_ipv6() == route.ipv6()
                        && a.usable
                })
                .collect();
            let reached = match route.next_hop {
                NextHop::Gateway {
                    gateway,
                    onlink: false,
                    ..
                } => {
                    on_it
                        .iter()
                        .any(|a| same_network(a.address, gateway, a.prefix_len))
                        || gateway.is_ipv6() != route.ipv6()
                        || gateway.is_ipv6()
                }
                _ => true,
            };
            let source = route.preferred_source;
            !on_it.is_empty()
                && reached
                && source.is_none_or(|source| addresses.iter().any(|a| a.address == source))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        engine::{test_clock, way_out::Readiness},
        network::{DEFAULT_V4, Link, LinkLayer, Snapshot},
        units::{Ifindex, Metric, TableId},
    };

    fn learned() -> Route {
        Route {
            destination: DEFAULT_V4,
            table: TableId::MAIN,
            metric: Metric(100),
            protocol: Protocol(16),
            next_hop: NextHop::Device {
                ifindex: Ifindex(2),
            },
            preferred_source: None,
            wire: vec![1],
        }
    }

    /// An engine that starts with a route adopted by an earlier run, over wan0.
    fn restarted(lines: &str, gateway: &str, interface: &str) -> Engine {
        let text = format!(
            "{lines}\n[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"{interface}\"\ngateway = \"{gateway}\"\n"
        );
        let (config, _) = Config::parse(&text, "test").unwrap();
        let mut engine = Engine::new(config, 7, test_clock());
        engine.remember_adopted([learned()]);
        let link = Link {
            ifindex: Ifindex(2),
            name: "wan0".to_owned(),
            layer: LinkLayer::Bare,
            admin_up: true,
            carrier: true,
            is_port: false,
            mtu_bytes: 1500,
            alternative_names: Vec::new(),
        };
        let address = Address {
            ifindex: Ifindex(2),
            address: [10, 0, 0, 2].into(),
            prefix_len: 24,
            global: true,
            usable: true,
            secondary: false,
        };
        let snapshot = Snapshot {
            links: vec![link],
            addresses: vec![address],
            ..Snapshot::default()
        };
        engine.network(snapshot, test_clock());
        engine
    }

    #[test]
    fn what_an_earlier_run_adopted_stays_adopted_while_the_configuration_says_so() {
        let engine = restarted("learned_routes = \"adopt\"", "auto", "wan0");
        assert_eq!(engine.adopted(), [learned()]);
        assert_eq!(engine.adopted_in_vain(), []);
    }

    #[test]
    fn it_goes_back_when_the_configuration_changed() {
        for (lines, gateway, interface) in [
            ("learned_routes = \"overlay\"", "auto", "wan0"),
            ("learned_routes = \"adopt\"", "10.0.0.1", "wan0"),
            ("learned_routes = \"adopt\"", "auto", "wan1"),
        ] {
            let mut engine = restarted(lines, gateway, interface);
            assert_eq!(
                engine.adopted_in_vain(),
                [learned()],
                "{lines} {gateway} {interface}"
            );
            engine.forget_adopted(&learned());
            assert_eq!(engine.adopted_in_vain(), []);
        }
    }

    #[test]
    fn a_renewed_lease_takes_the_place_of_the_old_one() {
        let mut engine = restarted("learned_routes = \"adopt\"", "auto", "wan0");
        let renewed = Route {
            wire: vec![2],
            ..learned()
        };
        engine.remember_adopted([renewed.clone()]);
        assert_eq!(engine.adopted(), [renewed]);
    }

    #[test]
    fn what_cannot_stand_any_more_is_forgotten() {
        let gateway = |gateway: &str, onlink| NextHop::Gateway {
            ifindex: Ifindex(2),
            gateway: gateway.parse().unwrap(),
            onlink,
        };
        let source = |source: &str| Some(source.parse().unwrap());
        for (next_hop, preferred_source, stays) in [
            (gateway("10.0.0.1", false), None, true),
            (gateway("10.0.0.1", false), source("10.0.0.2"), true),
            (gateway("10.0.0.1", false), source("10.0.0.3"), false),
            (gateway("192.0.2.1", false), None, false),
            (gateway("192.0.2.1", true), None, true),
            (
                NextHop::Device {
                    ifindex: Ifindex(3),
                },
                None,
                false,
            ),
        ] {
            let mut engine = restarted("learned_routes = \"adopt\"", "auto", "wan0");
            let route = Route {
                next_hop,
                preferred_source,
                metric: Metric(7),
                ..learned()
            };
            engine.remember_adopted([route.clone()]);
            engine.forget_stale_adopted();
            assert_eq!(engine.adopted().contains(&route), stays, "{route:?}");
        }
    }

    #[test]
    fn routes_of_advertisements_and_those_at_an_uplinks_metric_are_not_adopted() {
        let mut engine = restarted("learned_routes = \"adopt\"", "auto", "wan0");
        let with = |protocol, metric| Route {
            protocol: Protocol(protocol),
            metric: Metric(metric),
            ..learned()
        };
        let mut snapshot = engine.snapshot().clone();
        snapshot.routes = vec![with(16, 50), with(9, 60), with(16, 10)];
        engine.network(snapshot, test_clock());
        assert_eq!(engine.uplinks[0].state(), State::Unknown);
        assert_eq!(
            engine.learned_routes(),
            [],
            "nothing is known of the uplink"
        );
        engine.paths[0].record.readiness = Readiness::Blocked;
        engine.review(crate::units::PathId(0), false);
        engine.weigh(test_clock());
        assert_eq!(engine.learned_routes(), [with(16, 50)]);
    }
}
