//! The last gateway learned for each uplink and family: what one run tells the next.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    config::{Gateway, UplinkConfig, address_fault},
    engine::{Engine, uplink::Uplink, way_out::WayOut},
    units::UplinkId,
};

/// A gateway that was learned once, and what it came with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayHint {
    /// The uplink's name.
    pub uplink: String,
    /// The interface's name.
    pub interface: String,
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// The gateway; none where the device itself is the next hop.
    pub gateway: Option<IpAddr>,
    /// Reachable although no connected network covers it.
    pub onlink: bool,
    /// The source address that the learned route asked for.
    pub preferred_source: Option<IpAddr>,
    /// The interface's address at that time: without it the hint says nothing.
    pub address: IpAddr,
}

/// The hints, by uplink and family (IPv6 or not).
#[derive(Debug, Default)]
pub(crate) struct Hints(BTreeMap<(UplinkId, bool), GatewayHint>);

impl Hints {
    /// An uplink's hints: IPv4, IPv6.
    pub(crate) fn of(&self, id: UplinkId) -> [Option<&GatewayHint>; 2] {
        [false, true].map(|ipv6| self.0.get(&(id, ipv6)))
    }

    /// Notes the ways that uplinks with learned gateways have now.
    pub(crate) fn note(&mut self, configs: &[UplinkConfig], uplinks: &[Uplink]) {
        for (index, (config, uplink)) in configs.iter().zip(uplinks).enumerate() {
            if config.gateway != Gateway::Auto {
                continue;
            }
            for ipv6 in [false, true] {
                let key = (UplinkId(index as u16), ipv6);
                if let Ok(way) = &uplink.ways[usize::from(ipv6)]
                    && !self.0.get(&key).is_some_and(|hint| is_of(hint, way))
                {
                    self.0.insert(key, hint(config, ipv6, way));
                }
            }
        }
    }
}

fn hint(config: &UplinkConfig, ipv6: bool, way: &WayOut) -> GatewayHint {
    GatewayHint {
        uplink: config.name.clone(),
        interface: config.interface.clone(),
        ipv6,
        gateway: way.gateway,
        onlink: way.onlink,
        preferred_source: way.preferred_source,
        address: way.source,
    }
}

fn is_of(hint: &GatewayHint, way: &WayOut) -> bool {
    let known = (hint.gateway, hint.onlink);
    known == (way.gateway, way.onlink)
        && (hint.preferred_source, hint.address) == (way.preferred_source, way.source)
}

impl Engine {
    /// Tells what an earlier run knew, before the first look at the kernel. Hints that do not fit the configuration, or make no sense,
    /// are dropped.
    pub fn remember_gateways(&mut self, hints: impl IntoIterator<Item = GatewayHint>) {
        for hint in hints {
            let fits = |uplink: &UplinkConfig| {
                uplink.name == hint.uplink
                    && uplink.interface == hint.interface
                    && uplink.gateway == Gateway::Auto
            };
            if let Some(index) = self.config.uplinks.iter().position(fits)
                && makes_sense(&hint)
            {
                self.hints
                    .0
                    .insert((UplinkId(index as u16), hint.ipv6), hint);
            }
        }
    }

    /// The last gateway learned for each uplink and family, in this run or, as it was told, an earlier one.
    pub fn known_gateways(&self) -> Vec<GatewayHint> {
        self.hints.0.values().cloned().collect()
    }
}

/// An IPv4 route may have an IPv6 gateway (`via inet6`), but not the reverse.
fn makes_sense(hint: &GatewayHint) -> bool {
    let of_family = |address: IpAddr| address.is_ipv6() == hint.ipv6;
    of_family(hint.address)
        && hint.preferred_source.is_none_or(of_family)
        && hint.gateway.is_none_or(|gateway| {
            address_fault(gateway).is_none() && (gateway.is_ipv6() || !hint.ipv6)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        engine::test_clock,
        network::{Address, Link, LinkLayer, Snapshot},
        units::Ifindex,
    };

    fn engine(gateway: &str) -> Engine {
        let text = format!(
            "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\ngateway = \"{gateway}\"\n"
        );
        let (config, _) = Config::parse(&text, "test").unwrap();
        Engine::new(config, 7, test_clock())
    }

    fn hint() -> GatewayHint {
        GatewayHint {
            uplink: "a".to_owned(),
            interface: "wan0".to_owned(),
            ipv6: false,
            gateway: Some([10, 0, 0, 1].into()),
            onlink: false,
            preferred_source: None,
            address: [10, 0, 0, 2].into(),
        }
    }

    fn look(engine: &mut Engine, address: [u8; 4]) {
        let link = Link {
            ifindex: Ifindex(2),
            name: "wan0".to_owned(),
            layer: LinkLayer::Ethernet([2; 6]),
            admin_up: true,
            carrier: true,
            is_port: false,
            mtu_bytes: 1500,
            alternative_names: Vec::new(),
        };
        let address = Address {
            ifindex: Ifindex(2),
            address: address.into(),
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
    }

    fn gateway(engine: &Engine) -> Option<IpAddr> {
        engine.uplinks[0].ways[0].as_ref().ok()?.gateway
    }

    #[test]
    fn what_one_run_knew_the_next_one_finds_and_passes_on() {
        let mut engine = engine("auto");
        engine.remember_gateways([hint()]);
        look(&mut engine, [10, 0, 0, 2]);
        assert_eq!(gateway(&engine), hint().gateway);
        assert_eq!(engine.known_gateways(), [hint()]);
    }

    #[test]
    fn a_hint_waits_for_its_address() {
        let mut engine = engine("auto");
        engine.remember_gateways([hint()]);
        look(&mut engine, [10, 0, 0, 3]);
        assert_eq!(gateway(&engine), None);
        assert_eq!(engine.known_gateways(), [hint()], "it is kept");
        look(&mut engine, [10, 0, 0, 2]);
        assert_eq!(gateway(&engine), hint().gateway);
    }

    #[test]
    fn hints_that_do_not_fit_or_make_no_sense_are_dropped() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        for (what, gateway, hint) in [
            (
                "another uplink",
                "auto",
                GatewayHint {
                    uplink: "b".to_owned(),
                    ..hint()
                },
            ),
            (
                "another interface",
                "auto",
                GatewayHint {
                    interface: "wan1".to_owned(),
                    ..hint()
                },
            ),
            ("a given gateway", "10.0.0.9", hint()),
            ("no gateway", "none", hint()),
            (
                "an impossible gateway",
                "auto",
                GatewayHint {
                    gateway: Some([127, 0, 0, 1].into()),
                    ..hint()
                },
            ),
            (
                "two families",
                "auto",
                GatewayHint {
                    address: v6,
                    ..hint()
                },
            ),
            (
                "another family's source",
                "auto",
                GatewayHint {
                    preferred_source: Some(v6),
                    ..hint()
                },
            ),
            (
                "an IPv4 gateway for IPv6",
                "auto",
                GatewayHint {
                    ipv6: true,
                    address: v6,
                    ..hint()
                },
            ),
        ] {
            let mut engine = engine(gateway);
            engine.remember_gateways([hint]);
            assert_eq!(engine.known_gateways(), [], "{what}");
        }
    }
}
