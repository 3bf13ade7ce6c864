//! The machine's interfaces and addresses.

use std::net::IpAddr;

use crate::{
    netlink::{
        NetlinkError, dump,
        tables::{Sight, Tables},
    },
    network::{Address, Link},
    units::Ifindex,
};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    links: Vec<Link>,
    addresses: Vec<Address>,
}

impl Interfaces {
    /// Looks at them.
    pub(super) fn look(tables: &mut Tables) -> Result<Self, NetlinkError> {
        let links = tables.dump("link", &dump::links_request(), |body| {
            dump::link(body).map_or(Sight::Pass, Sight::Keep)
        })?;
        let addresses = tables.dump("address", &dump::addresses_request(), |body| {
            dump::interface_address(body).map_or(Sight::Pass, Sight::Keep)
        })?;
        Ok(Self { links, addresses })
    }

    /// The one of this name.
    pub(super) fn called(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.is_called(name))
    }

    /// The one of this number.
    pub(super) fn link(&self, ifindex: Ifindex) -> Option<&Link> {
        self.links.iter().find(|link| link.ifindex == ifindex)
    }

    /// Whether an address is this machine's.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }

    /// An interface's addresses that a probe to there may have, the best first.
    pub(super) fn sources(&self, ifindex: Ifindex, destination: IpAddr) -> Vec<IpAddr> {
        let is_fit = |own: &&Address| {
            own.ifindex == ifindex && own.address.is_ipv6() == destination.is_ipv6()
        };
        let mut fit: Vec<&Address> = self.addresses.iter().filter(is_fit).collect();
        let to_link = is_link_local(destination);
        fit.sort_by_key(|own| {
            (
                !own.usable,
                is_link_local(own.address) != to_link,
                !own.global,
                own.secondary,
            )
        });
        fit.iter().map(|own| own.address).collect()
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_source_is_usable_of_the_right_scope_and_the_first() {
        let address = |ifindex, text: &str, usable, secondary| Address {
            ifindex: Ifindex(ifindex),
            address: text.parse().unwrap(),
            prefix_len: 64,
            global: !text.starts_with("fe80"),
            usable,
            secondary,
        };
        let interfaces = Interfaces {
            links: Vec::new(),
            addresses: vec![
                address(2, "fe80::1", true, false),
                address(2, "2001:db8::9", false, false),
                address(2, "2001:db8::2", true, true),
                address(2, "2001:db8::1", true, false),
                address(2, "192.0.2.1", true, false),
                address(3, "2001:db8:3::1", true, false),
            ],
        };
        let sources = |to: &str| interfaces.sources(Ifindex(2), to.parse().unwrap());
        let texts =
            |addresses: Vec<IpAddr>| addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(sources("2001:db8:7::7")),
            ["2001:db8::1", "2001:db8::2", "fe80::1", "2001:db8::9"]
        );
        assert_eq!(texts(sources("fe80::2"))[0], "fe80::1");
        assert_eq!(texts(sources("198.51.100.1")), ["192.0.2.1"]);
    }
}
