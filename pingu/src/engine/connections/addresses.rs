//! By which addresses an uplink's connections are known, also when they have gone with the interface.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    network::Address,
    units::{Ifindex, UplinkId},
};

/// Addresses remembered for an uplink. A few change in a day; temporary IPv6 addresses are the most, with some eight at a time.
const REMEMBERED_MAX: usize = 64;

/// The addresses that uplinks have, and those they had.
#[derive(Debug, Default)]
pub struct KnownAddresses {
    known: BTreeMap<UplinkId, Vec<Known>>,
    /// In whose lists an address is.
    holders: BTreeMap<IpAddr, BTreeSet<UplinkId>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    address: IpAddr,
    /// It is on the interface now.
    current: bool,
}

impl KnownAddresses {
    /// Takes the addresses that an uplink has now. Call it at each look, for each uplink, before its connections are deleted.
    pub fn observe(&mut self, uplink: UplinkId, own: &[IpAddr]) {
        for address in own {
            let holders = self.holders.entry(*address).or_default();
            // An address that has moved is its new uplink's; on two at once it tells nothing.
            holders.retain(|id| {
                let list = self.known.get_mut(id).filter(|_| *id != uplink);
                list.is_none_or(|list| {
                    list.retain(|known| known.current || known.address != *address);
                    list.iter().any(|known| known.address == *address)
                })
            });
            holders.insert(uplink);
        }
        let list = self.known.entry(uplink).or_default();
        list.retain(|known| !own.contains(&known.address));
        list.iter_mut().for_each(|known| known.current = false);
        list.extend(own.iter().map(|&address| Known {
            address,
            current: true,
        }));
        let surplus = list.len().saturating_sub(REMEMBERED_MAX);
        let forgotten: Vec<Known> = list.drain(..surplus).collect();
        for known in forgotten {
            if list.iter().any(|other| other.address == known.address) {
                continue;
            }
            if let Entry::Occupied(mut holders) = self.holders.entry(known.address) {
                holders.get_mut().remove(&uplink);
                if holders.get().is_empty() {
                    holders.remove();
                }
            }
        }
    }

    /// The addresses that tell an uplink's connections from any other's.
    pub fn of(&self, uplink: UplinkId) -> Vec<IpAddr> {
        let of_another = |address: IpAddr| {
            let holders = self.holders.get(&address);
            holders.is_some_and(|holders| holders.iter().any(|id| *id != uplink))
        };
        let list = self.known.get(&uplink).map_or(&[][..], Vec::as_slice);
        let addresses = list.iter().map(|known| known.address);
        addresses.filter(|&address| !of_another(address)).collect()
    }
}

/// The connected networks of every interface that is none of the uplinks'.
pub fn inside(addresses: &[Address], uplink_interfaces: &BTreeSet<Ifindex>) -> Vec<IpNet> {
    let mut networks: Vec<IpNet> = addresses
        .iter()
        .filter(|address| address.global && !uplink_interfaces.contains(&address.ifindex))
        .filter_map(|address| IpNet::new(address.address, address.prefix_len).ok())
        .filter(|network| network.prefix_len() > 0)
        .map(|network| network.trunc())
        .collect();
    networks.sort_unstable();
    networks.dedup();
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: UplinkId = UplinkId(0);
    const B: UplinkId = UplinkId(1);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn addresses_are_remembered_when_they_are_gone() {
        let mut addresses = KnownAddresses::default();
        addresses.observe(A, &[ip(1), ip(2)]);
        addresses.observe(A, &[]);
        assert_eq!(addresses.of(A), [ip(1), ip(2)]);
        addresses.observe(A, &[ip(3)]);
        assert_eq!(addresses.of(A), [ip(1), ip(2), ip(3)]);
        assert!(addresses.of(B).is_empty());
    }

    #[test]
    fn an_address_that_has_moved_belongs_to_its_new_uplink() {
        let mut addresses = KnownAddresses::default();
        addresses.observe(A, &[ip(1)]);
        addresses.observe(B, &[ip(1), ip(2)]);
        // On both at once, it is nobody's.
        assert_eq!((addresses.of(A), addresses.of(B)), (vec![], vec![ip(2)]));
        addresses.observe(A, &[]);
        addresses.observe(B, &[ip(1), ip(2)]);
        assert_eq!(
            (addresses.of(A), addresses.of(B)),
            (vec![], vec![ip(1), ip(2)])
        );
    }

    #[test]
    fn an_address_that_was_on_two_is_told_apart_once_one_has_lost_it() {
        let mut addresses = KnownAddresses::default();
        addresses.observe(A, &[ip(1)]);
        addresses.observe(B, &[ip(1)]);
        // It is A's alone from the next look on.
        addresses.observe(A, &[ip(1)]);
        addresses.observe(B, &[]);
        addresses.observe(A, &[ip(1)]);
        assert_eq!((addresses.of(A), addresses.of(B)), (vec![ip(1)], vec![]));
        assert!(addresses.known[&B].is_empty());
    }

    #[test]
    fn an_address_that_was_forgotten_is_the_other_ones() {
        let mut addresses = KnownAddresses::default();
        addresses.observe(B, &[ip(255)]);
        addresses.observe(A, &[ip(255)]);
        assert!(addresses.of(A).is_empty());
        addresses.observe(B, &[]);
        for last in 0..=REMEMBERED_MAX as u8 {
            addresses.observe(B, &[ip(last)]);
        }
        assert_eq!(addresses.of(A), [ip(255)]);
        let held = addresses.known.values().flatten().count();
        assert_eq!(addresses.holders.len(), held);
    }

    #[test]
    fn the_oldest_are_forgotten_first_and_what_is_there_last() {
        let mut addresses = KnownAddresses::default();
        addresses.observe(A, &[ip(0)]);
        for last in 1..=200 {
            addresses.observe(A, &[ip(0), ip(last)]);
        }
        let known = addresses.of(A);
        assert_eq!(known.len(), REMEMBERED_MAX);
        assert!(known.contains(&ip(0)) && known.contains(&ip(200)) && !known.contains(&ip(1)));
    }

    #[test]
    fn networks_inside_are_those_of_other_interfaces() {
        let address = |ifindex, address: &str, prefix_len, global| Address {
            ifindex: Ifindex(ifindex),
            address: address.parse().unwrap(),
            prefix_len,
            global,
            usable: true,
            secondary: false,
        };
        let addresses = [
            address(1, "127.0.0.1", 8, false),
            address(2, "192.168.1.1", 24, true),
            address(2, "192.168.1.9", 24, true),
            address(2, "fe80::1", 64, false),
            address(2, "2001:db8:1::1", 64, true),
            address(3, "10.0.0.2", 24, true),
            address(4, "10.9.0.1", 0, true),
        ];
        let networks = inside(&addresses, &BTreeSet::from([Ifindex(3)]));
        let expected: Vec<IpNet> = ["192.168.1.0/24", "2001:db8:1::/64"]
            .map(|network| network.parse().unwrap())
            .into();
        assert_eq!(networks, expected);
    }
}
