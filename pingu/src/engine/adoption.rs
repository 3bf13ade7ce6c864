//! Learned routes that pingu takes out of the table (`learned_routes = "adopt"`), and when they have to go back.

use crate::{
    config::{Gateway, LearnedRoutes},
    engine::{Engine, State, routes},
    network::Route,
};

impl Engine {
    /// Learned routes that pingu took out of the table.
    pub fn adopted(&self) -> &[Route] {
        &self.adopted
    }

    /// Tells of routes taken over: by a plan just carried out, or by an earlier run that left a note of them.
    pub fn remember_adopted(&mut self, routes: impl IntoIterator<Item = Route>) {
        for route in routes {
            if !self.adopted.contains(&route) {
                self.adopted.push(route);
            }
        }
    }

    /// Adopted routes that this configuration would not take over: an earlier run did, with another one. They are to be put back.
    pub fn adopted_in_vain(&self) -> Vec<Route> {
        let is_wanted = |route: &&Route| {
            self.config.learned_routes == LearnedRoutes::Adopt
                && self.config.uplinks.iter().any(|uplink| {
                    let link = self
                        .snapshot
                        .links
                        .iter()
                        .find(|link| link.name == uplink.interface);
                    uplink.gateway == Gateway::Auto
                        && link.map(|link| link.ifindex) == route.next_hop.ifindex()
                })
        };
        let in_vain = self.adopted.iter().filter(|route| !is_wanted(route));
        in_vain.cloned().collect()
    }

    /// Tells that an adopted route has been put back.
    pub fn forget_adopted(&mut self, route: &Route) {
        self.adopted.retain(|adopted| adopted != route);
    }

    /// Learned routes over uplinks of which enough is known to do without them.
    pub(super) fn learned_routes(&self) -> Vec<Route> {
        let mut learned = Vec::new();
        for (uplink, config) in self.uplinks.iter().zip(&self.config.uplinks) {
            if config.gateway != Gateway::Auto || uplink.state(&self.paths) == State::Unknown {
                continue;
            }
            for way in uplink.ways.iter().flatten() {
                let on_it = |route: &&Route| {
                    routes::is_learned_on(route, self.config.protocol, way.ifindex)
                };
                learned.extend(self.snapshot.routes.iter().filter(on_it).cloned());
            }
        }
        learned.dedup();
        learned
    }

    /// An adopted route is worth nothing once its interface or every address of its family there has gone.
    pub(super) fn forget_stale_adopted(&mut self) {
        let addresses = &self.snapshot.addresses;
        self.adopted.retain(|route| {
            let on = route.next_hop.ifindex();
            addresses
                .iter()
                .any(|a| Some(a.ifindex) == on && a.address.is_ipv6() == route.ipv6 && a.usable)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        engine::test_clock,
        network::{Address, Link, LinkLayer, NextHop, Snapshot},
        units::{Ifindex, Metric, Protocol, TableId},
    };

    fn learned() -> Route {
        Route {
            ipv6: false,
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
            mtu_bytes: 1500,
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
}
