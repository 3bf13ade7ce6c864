//! Links and addresses, and the routes that come and go with them without a word.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Addition, Answer, Deletion, Entry, Errno, FakeKernel, PROTOCOL_KERNEL, SCOPE_LINK, Verb,
    objects::of_family,
};
use crate::{
    network::{Address, Link, NextHop},
    units::{Ifindex, Metric, TableId},
};

/// `IP6_RT_PRIO_ADDRCONF`: metric of IPv6's connected networks.
const METRIC_CONNECTED_INET6: Metric = Metric(256);

/// A link and what gives it its carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As the kernel shows it.
    pub link: Link,
    /// What is at its other end.
    pub end: End,
}

/// What is at a link's other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other device of a veth pair in the same namespace.
    Peer(Ifindex),
    /// Something outside, which lets it have a carrier or not.
    Outside(bool),
}

impl FakeKernel {
    /// Adds a link, set down and without addresses.
    pub fn add_link(&mut self, link: Link, end: End) {
        let link = Link {
            admin_up: false,
            carrier: false,
            ..link
        };
        self.devices.insert(link.ifindex, Device { link, end });
    }

    /// Deletes a link, and the other one of its pair.
    pub fn delete_link(&mut self, ifindex: Ifindex) -> Answer {
        self.set_link(ifindex, false)?;
        while let Some(place) = self.addresses.iter().position(|own| own.ifindex == ifindex) {
            let own = self.addresses.remove(place);
            // A secondary one is deleted after its primary: the kernel does not look for the routes that name it any more.
            if !own.secondary {
                self.without_inet(&own);
            }
        }
        let Some(device) = self.devices.remove(&ifindex) else {
            return Err(Errno(libc::ENODEV));
        };
        self.flush_nexthops(ifindex);
        self.drop_entries(|_, _, entry| entry.next_hop.ifindex() == Some(ifindex));
        self.neighbours.retain(|entry| entry.ifindex != ifindex);
        if let End::Peer(peer) = device.end {
            // It is not there any more where the deletion began with it.
            let _ = self.delete_link(peer);
        }
        Ok(())
    }

    /// Sets a link up or down.
    pub fn set_link(&mut self, ifindex: Ifindex, up: bool) -> Answer {
        let Some(device) = self.devices.get_mut(&ifindex) else {
            return Err(Errno(libc::ENODEV));
        };
        if device.link.admin_up == up {
            return Ok(());
        }
        device.link.admin_up = up;
        let end = device.end;
        if up {
            self.connect(ifindex);
        } else {
            self.flush_nexthops(ifindex);
            self.drop_inet(ifindex);
            self.addresses
                .retain(|own| own.ifindex != ifindex || !own.address.is_ipv6());
            self.drop_inet6(ifindex);
        }
        self.settle(ifindex);
        if let End::Peer(peer) = end {
            self.settle(peer);
        }
        Ok(())
    }

    /// Plugs something outside in or out.
    pub fn set_carrier(&mut self, ifindex: Ifindex, carrier: bool) {
        if let Some(device) = self.devices.get_mut(&ifindex) {
            device.end = End::Outside(carrier);
            self.settle(ifindex);
        }
    }

    /// Every link, with what is at its other end.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// Every address.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Works out a link's carrier and what follows from it.
    fn settle(&mut self, ifindex: Ifindex) {
        let Some(device) = self.devices.get(&ifindex) else {
            return;
        };
        let other_end = match device.end {
            End::Peer(peer) => self
                .devices
                .get(&peer)
                .is_some_and(|peer| peer.link.admin_up),
            End::Outside(carrier) => carrier,
        };
        let carrier = device.link.admin_up && other_end;
        let had_it = device.link.carrier;
        if let Some(device) = self.devices.get_mut(&ifindex) {
            device.link.carrier = carrier;
        }
        if had_it && !carrier {
            self.flush_nexthops(ifindex);
        }
        if carrier && !had_it {
            for (key, leaf) in &mut self.tables {
                for entry in leaf.iter_mut().filter(|_| matches!(key.1, IpNet::V6(_))) {
                    entry.dead &= entry.next_hop.ifindex() != Some(ifindex);
                }
            }
        }
    }

    /// Adds an address, with the route to its network where the link is up.
    pub fn add_address(&mut self, ifindex: Ifindex, address: IpAddr, prefix_len: u8) -> Answer {
        if !self.devices.contains_key(&ifindex) {
            return Err(Errno(libc::ENODEV));
        }
        let ipv6 = address.is_ipv6();
        let on_it = |own: &&Address| own.ifindex == ifindex && of_family(own.address, ipv6);
        let mut twice = self.addresses.iter().filter(on_it);
        if twice.any(|own| own.address == address && (ipv6 || own.prefix_len == prefix_len)) {
            return Err(Errno(libc::EEXIST));
        }
        let network = network(address, prefix_len);
        let secondary = !ipv6
            && self
                .addresses
                .iter()
                .filter(on_it)
                .any(|own| network_of(own) == network);
        let own = Address {
            ifindex,
            address,
            prefix_len,
            global: true,
            usable: true,
            secondary,
        };
        self.addresses.push(own.clone());
        if self.is_up(ifindex).is_ok() {
            self.connect_address(&own);
        }
        Ok(())
    }

    /// Deletes an address, with its secondary ones, its network's route and the routes that cannot be without it.
    pub fn delete_address(&mut self, ifindex: Ifindex, address: IpAddr, prefix_len: u8) -> Answer {
        let asked = |own: &Address| {
            (own.ifindex, own.address, own.prefix_len) == (ifindex, address, prefix_len)
        };
        let Some(place) = self.addresses.iter().position(asked) else {
            return Err(Errno(libc::EADDRNOTAVAIL));
        };
        let own = self.addresses[place].clone();
        if address.is_ipv6() {
            self.addresses.remove(place);
            self.without_inet6(&own);
        } else {
            let mut going = Vec::new();
            if !own.secondary {
                going = self
                    .addresses
                    .iter()
                    .filter(|other| {
                        other.ifindex == ifindex
                            && other.secondary
                            && network_of(other) == network_of(&own)
                    })
                    .cloned()
                    .collect();
            }
            going.push(own);
            for own in going {
                self.addresses.retain(|other| *other != own);
                self.without_inet(&own);
            }
        }
        Ok(())
    }

    fn without_inet(&mut self, own: &Address) {
        if !own.secondary {
            let deletion = Deletion {
                protocol: Some(PROTOCOL_KERNEL),
                ifindex: Some(own.ifindex),
                scope: Some(SCOPE_LINK),
                preferred_source: Some(own.address),
                ..Deletion::of(network_of(own), TableId::MAIN)
            };
            // There is none while the link is down.
            let _ = self.delete_inet(&deletion);
        }
        if !self.is_local(own.address) {
            self.drop_entries(|table, destination, entry| {
                table == TableId::MAIN
                    && matches!(destination, IpNet::V4(_))
                    && entry.preferred_source == Some(own.address)
            });
        }
        let is_left = self
            .addresses
            .iter()
            .any(|other| other.ifindex == own.ifindex && !other.address.is_ipv6());
        if !is_left {
            self.drop_inet(own.ifindex);
        }
    }

    fn without_inet6(&mut self, own: &Address) {
        let shares = self
            .addresses
            .iter()
            .any(|other| other.ifindex == own.ifindex && network_of(other) == network_of(own));
        let key = (TableId::MAIN, network_of(own));
        if !shares && let Some(leaf) = self.tables.get_mut(&key) {
            // Whoever made it.
            let connected = |entry: &Entry| entry.next_hop == over(own.ifindex);
            if let Some(place) = leaf.iter().position(connected) {
                leaf.remove(place);
            }
            self.tables.retain(|_, leaf| !leaf.is_empty());
        }
        if !self.is_local(own.address) {
            for entry in self.tables.values_mut().flatten() {
                if entry.preferred_source == Some(own.address) {
                    entry.preferred_source = None;
                }
            }
        }
    }

    fn connect(&mut self, ifindex: Ifindex) {
        for own in self.addresses.clone() {
            if own.ifindex == ifindex {
                self.connect_address(&own);
            }
        }
    }

    fn connect_address(&mut self, own: &Address) {
        if own.secondary {
            return;
        }
        let ipv6 = own.address.is_ipv6();
        let addition = Addition {
            destination: network_of(own),
            table: TableId::MAIN,
            tos: 0,
            metric: if ipv6 {
                METRIC_CONNECTED_INET6
            } else {
                Metric(0)
            },
            protocol: PROTOCOL_KERNEL,
            next_hop: over(own.ifindex),
            scope: if ipv6 { 0 } else { SCOPE_LINK },
            preferred_source: (!ipv6).then_some(own.address),
        };
        // Another address of the network may have brought it.
        let _ = self.route(Verb::Append, &addition);
    }

    /// IPv4's routes over a link that is down or has no address.
    fn drop_inet(&mut self, ifindex: Ifindex) {
        self.drop_entries(|_, destination, entry| {
            matches!(destination, IpNet::V4(_)) && entry.next_hop.ifindex() == Some(ifindex)
        });
    }

    /// IPv6's routes over a link that is down. One of several next hops stays, dead, while another is alive.
    fn drop_inet6(&mut self, ifindex: Ifindex) {
        let over_it = |entry: &Entry| entry.next_hop.ifindex() == Some(ifindex);
        for ((_, destination), leaf) in &mut self.tables {
            if !matches!(destination, IpNet::V6(_)) {
                continue;
            }
            let before = leaf.clone();
            let siblings = |of: &Entry| {
                let metric = of.metric;
                before
                    .iter()
                    .filter(move |entry| entry.metric == metric && entry.may_be_sibling())
            };
            leaf.retain_mut(|entry| {
                let several = entry.may_be_sibling() && siblings(entry).count() > 1;
                if !several {
                    return !over_it(entry);
                }
                if !siblings(entry).any(over_it) {
                    return true;
                }
                let all_dead = siblings(entry).all(|sibling| sibling.dead || over_it(sibling));
                entry.dead |= over_it(entry);
                !all_dead
            });
        }
        self.tables.retain(|_, leaf| !leaf.is_empty());
    }
}

fn over(ifindex: Ifindex) -> NextHop {
    NextHop::Device { ifindex }
}

fn network_of(own: &Address) -> IpNet {
    network(own.address, own.prefix_len)
}

fn network(address: IpAddr, prefix_len: u8) -> IpNet {
    let network = IpNet::new(address, prefix_len);
    network
        .expect("a prefix is no longer than its address")
        .trunc()
}
