//! What a reflector should serve, by the kernel's links and addresses.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use crate::{
    network::{Address, Link, LinkLayer},
    units::Ifindex,
};

/// One interface as it should be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) interface: String,
    pub(super) ifindex: Ifindex,
    pub(super) layer: LinkLayer,
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl Desired {
    pub(super) fn is_bare(&self) -> bool {
        self.layer == LinkLayer::Bare
    }

    /// Its own Ethernet address; zeros where it has none.
    pub(super) fn link_address(&self) -> [u8; 6] {
        match self.layer {
            LinkLayer::Ethernet(address) => address,
            LinkLayer::Bare | LinkLayer::Other(_) => [0; 6],
        }
    }
}

/// All that should be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Desires {
    pub(super) interfaces: Vec<Desired>,
    /// Names that no interface has.
    pub(super) absent: BTreeSet<String>,
    /// Sources that cannot be another host's: whoever uses one has forged it.
    pub(super) martians: BTreeSet<IpAddr>,
}

/// What to serve on the interfaces with these names, as far as they are there and have addresses.
pub(super) fn desired(names: &[String], links: &[Link], addresses: &[Address]) -> Desires {
    let mut desires = Desires::default();
    for address in addresses {
        desires.martians.insert(address.address);
        desires.martians.extend(broadcast(address));
    }
    for name in names {
        let Some(link) = links.iter().find(|link| link.is_called(name)) else {
            desires.absent.insert(name.clone());
            continue;
        };
        let found = &mut desires.interfaces;
        if found.iter().any(|other| other.ifindex == link.ifindex) {
            continue;
        }
        let own = addresses
            .iter()
            .filter(|address| address.ifindex == link.ifindex && address.usable)
            .map(|address| address.address)
            .filter(|address| !address.is_loopback());
        found.push(Desired {
            interface: link.name.clone(),
            ifindex: link.ifindex,
            layer: link.layer,
            addresses: own.collect(),
        });
    }
    desires
}

/// The broadcast address of an address's network, where it has one (RFC 3021: two hosts have none).
fn broadcast(address: &Address) -> Option<IpAddr> {
    const LONGEST: u8 = 30;
    let network = IpNet::new(address.address, address.prefix_len).ok()?;
    let has_one = address.address.is_ipv4() && address.prefix_len <= LONGEST;
    has_one.then(|| network.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, name: &str, layer: LinkLayer) -> Link {
        Link {
            ifindex: Ifindex(ifindex),
            name: name.to_owned(),
            alternative_names: vec![format!("{name}-too")],
            layer,
            admin_up: true,
            carrier: true,
            is_port: false,
            mtu_bytes: 1500,
        }
    }

    fn address(ifindex: u32, address: &str, usable: bool) -> Address {
        Address {
            ifindex: Ifindex(ifindex),
            address: address.parse().unwrap(),
            prefix_len: 24,
            global: true,
            usable,
            secondary: false,
        }
    }

    #[test]
    fn usable_addresses_of_the_named_interfaces_are_served() {
        let links = [
            link(1, "lo", LinkLayer::Ethernet([0; 6])),
            link(2, "wan0", LinkLayer::Ethernet([2; 6])),
            link(3, "wan1", LinkLayer::Ethernet([3; 6])),
            link(4, "tun0", LinkLayer::Bare),
            link(5, "odd0", LinkLayer::Other(999)),
        ];
        let addresses = [
            address(1, "127.0.0.1", true),
            address(2, "192.0.2.1", true),
            address(2, "2001:db8::1", false),
            address(2, "fe80::1", true),
            address(3, "198.51.100.1", true),
            address(4, "10.0.0.1", true),
            address(5, "10.0.0.2", true),
        ];
        let names = ["wan0", "tun0-too", "wan0-too", "odd0", "none", "lo"].map(str::to_owned);
        let found = desired(&names, &links, &addresses);
        assert_eq!(found.absent, BTreeSet::from(["none".to_owned()]));
        let is_martian = |address: &str| found.martians.contains(&address.parse().unwrap());
        for martian in ["192.0.2.1", "192.0.2.255", "198.51.100.255", "2001:db8::1"] {
            assert!(is_martian(martian), "{martian}");
        }
        for host in ["192.0.2.2", "10.0.0.3", "2001:db8::ff"] {
            assert!(!is_martian(host), "{host}");
        }
        let summary: Vec<(&str, LinkLayer, Vec<String>)> = found
            .interfaces
            .iter()
            .map(|one| {
                let addresses = one.addresses.iter().map(IpAddr::to_string);
                (one.interface.as_str(), one.layer, addresses.collect())
            })
            .collect();
        assert_eq!(
            summary,
            [
                (
                    "wan0",
                    LinkLayer::Ethernet([2; 6]),
                    vec!["192.0.2.1".to_owned(), "fe80::1".to_owned()]
                ),
                ("tun0", LinkLayer::Bare, vec!["10.0.0.1".to_owned()]),
                ("odd0", LinkLayer::Other(999), vec!["10.0.0.2".to_owned()]),
                ("lo", LinkLayer::Ethernet([0; 6]), vec![]),
            ]
        );
    }
}
