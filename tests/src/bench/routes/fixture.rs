//! The network in which routes are moved: a router with two uplinks to one neighbour, which never sees a packet.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::{Result, bail, ensure};

use super::wire::{HostRoute, Wire, prefix};
use crate::bench::namespace::Namespace;

/// pingu's protocol number in these namespaces.
pub(super) const OWN: u8 = 136;

/// The protocol number of everybody else's routes.
pub(super) const FOREIGN: u8 = 250;

/// The metric of routes that stand where pingu's best ones would.
pub(super) const METRIC: u32 = 100;

/// The router's interfaces.
pub(super) const INTERFACES: [&str; 2] = ["wan1", "wan2"];

/// The two gateways.
pub(super) const GATEWAYS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::new(10, 0, 2, 1)];

/// The namespaces.
pub(super) struct Fixture {
    pub(super) router: Namespace,
    pub(super) ifindexes: [u32; 2],
    /// Holds the other ends.
    _neighbour: Namespace,
}

impl Fixture {
    /// Builds it; the gateways' link-layer addresses are set, so that nobody has to ask for them.
    pub(super) fn new() -> Result<Self> {
        let (router, neighbour) = (Namespace::new()?, Namespace::new()?);
        let mut ifindexes = [0; 2];
        for (place, interface) in INTERFACES.iter().enumerate() {
            let there = format!("peer{place}");
            router.veth(interface, &neighbour, &there)?;
            let number = place + 1;
            router.ip(&format!("address add 10.0.{number}.2/24 dev {interface}"))?;
            let mac: Vec<String> = neighbour
                .mac(&there)?
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            router.ip(&format!(
                "neighbour replace {} lladdr {} dev {interface} nud permanent",
                GATEWAYS[place],
                mac.join(":")
            ))?;
            ifindexes[place] = router.ifindex(interface)?;
        }
        Ok(Self {
            router,
            ifindexes,
            _neighbour: neighbour,
        })
    }

    /// A foreign route of each of so many prefixes by one of the uplinks.
    pub(super) fn routes(&self, count: u32, uplink: usize) -> Vec<HostRoute> {
        let of = |number| HostRoute {
            destination: prefix(number),
            gateway: GATEWAYS[uplink],
            ifindex: self.ifindexes[uplink],
            table: u32::from(libc::RT_TABLE_MAIN),
            metric: METRIC,
            protocol: FOREIGN,
        };
        (0..count).map(of).collect()
    }

    /// Fails unless so many prefixes leave by this uplink, and no other prefix is there.
    pub(super) fn verify(&self, count: u32, uplink: usize) -> Result<()> {
        let interface_of = object_interfaces(&self.router.ip("nexthop show")?, self.ifindexes);
        let ways = self.router.run(move || Wire::open()?.ways(&interface_of))?;
        ensure!(
            ways.len() == count as usize,
            "{} of {count} prefixes have a route",
            ways.len()
        );
        let wrong = ways.iter().find(|(_, by)| **by != self.ifindexes[uplink]);
        if let Some((to, by)) = wrong {
            bail!("{} still leaves by #{by}", Ipv4Addr::from(*to));
        }
        Ok(())
    }

    /// Removes what anybody left.
    pub(super) fn clear(&self) -> Result<()> {
        // Routes by nexthop objects go with these; iproute2 could not name them.
        self.router.ip("nexthop flush")?;
        for protocol in [OWN, FOREIGN] {
            self.router
                .ip(&format!("route flush table all protocol {protocol}"))?;
        }
        Ok(())
    }
}

/// By which interface each nexthop object leaves, of what `ip nexthop show` prints: a single one by its device, a group of one by its
/// member's. A larger group leaves by several, and is not named.
fn object_interfaces(listing: &str, ifindexes: [u32; 2]) -> BTreeMap<u32, u32> {
    let value = |line: &str, key: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != key);
        words.nth(1).map(str::to_owned)
    };
    let id = |line: &str| value(line, "id")?.parse::<u32>().ok();
    let mut interfaces = BTreeMap::new();
    for line in listing.lines() {
        let device = value(line, "dev");
        let place = INTERFACES
            .iter()
            .position(|interface| device.as_deref() == Some(interface));
        if let (Some(id), Some(place)) = (id(line), place) {
            interfaces.insert(id, ifindexes[place]);
        }
    }
    for line in listing.lines() {
        let member = value(line, "group").and_then(|group| group.split(',').next()?.parse().ok());
        let member: Option<&u32> = member.and_then(|member: u32| interfaces.get(&member));
        if let (Some(id), Some(&interface)) = (id(line), member)
            && !line.contains('/')
        {
            interfaces.insert(id, interface);
        }
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_one_leaves_by_its_member_and_a_larger_one_is_not_named() {
        let listing = "id 5 via 10.0.1.1 dev wan1 scope link proto 136\n\
                       id 7 via 10.0.2.1 dev wan2 scope link proto 136\n\
                       id 9 group 7 proto 136\nid 10 group 5/7,2 proto 136\n";
        let interfaces = object_interfaces(listing, [3, 4]);
        assert_eq!(interfaces, BTreeMap::from([(5, 3), (7, 4), (9, 4)]));
    }
}
