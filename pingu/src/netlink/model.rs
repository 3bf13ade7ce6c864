//! A route table in memory that answers as the kernel's main table does, for tests without a kernel.
//!
//! A lab test runs the same operations on both and compares their answers and what they then hold.

use std::{io, net::IpAddr};

use crate::{
    netlink::{NetlinkError, RouteTable},
    network::{Address, Change, Link, NextHop, Route, Snapshot},
    units::{Ifindex, Protocol},
};

/// The model. Its links, addresses and neighbours are plain values for tests to set.
#[derive(Clone, Debug)]
pub struct FakeRoutes {
    /// Links, addresses and neighbours as they are; routes as single next hops, in the kernel's order.
    pub now: Snapshot,
    /// Every change that was asked for, in order, refused ones too.
    pub asked: Vec<Change>,
    /// Every neighbour that was asked for, in order.
    pub solicited: Vec<(Ifindex, IpAddr)>,
    /// Every neighbour that was doubted, in order.
    pub doubted: Vec<(Ifindex, IpAddr)>,
    protocol: Protocol,
}

impl FakeRoutes {
    /// A table without anything in it, to whose user this protocol belongs.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            now: Snapshot::default(),
            asked: Vec::new(),
            solicited: Vec::new(),
            doubted: Vec::new(),
            protocol,
        }
    }

    /// Puts somebody else's route into the table, as a DHCP client would: into a free slot.
    pub fn put(&mut self, route: Route) -> Result<(), NetlinkError> {
        let mut route = route;
        if route.wire.is_empty() {
            route.wire = format!("{route:?}").into_bytes();
        }
        if self.contains(&route) {
            return Err(refused(libc::EEXIST));
        }
        self.add_exclusively(route)
    }

    /// Sets an interface down, as `ip link set down` does: its routes are gone without a word about them.
    pub fn set_down(&mut self, ifindex: Ifindex) {
        for link in &mut self.now.links {
            if link.ifindex == ifindex {
                link.admin_up = false;
                link.carrier = false;
            }
        }
        let leaves_by = |route: &Route| route.next_hop.ifindex() == Some(ifindex);
        self.now.routes.retain(|route| !leaves_by(route));
    }

    /// Exactly there is a success, anybody's in its place is none; the kernel checks the next hop before it looks.
    fn add_exclusively(&mut self, route: Route) -> Result<(), NetlinkError> {
        self.check(&route)?;
        if self.contains(&route) {
            return Ok(());
        }
        let mut routes = self.now.routes.iter();
        if routes.any(|other| slot(other) == slot(&route)) {
            return Err(refused(libc::EEXIST));
        }
        self.insert(route);
        Ok(())
    }

    fn append(&mut self, route: Route) -> Result<(), NetlinkError> {
        let foreign =
            |other: &Route| slot(other) == slot(&route) && other.protocol != self.protocol;
        if self.now.routes.iter().any(foreign) {
            return Err(refused(libc::EEXIST));
        }
        self.check(&route)?;
        if !self.contains(&route) {
            self.insert(route);
        }
        Ok(())
    }

    /// Behind the last route that is not worse, as the kernel sorts.
    fn insert(&mut self, route: Route) {
        let order = |route: &Route| (route.ipv6(), route.metric);
        let place = self
            .now
            .routes
            .partition_point(|other| order(other) <= order(&route));
        self.now.routes.insert(place, route);
    }

    fn delete(&mut self, route: &Route) {
        self.now.routes.retain(|other| !same(other, route));
    }

    fn contains(&self, route: &Route) -> bool {
        self.now.routes.iter().any(|other| same(other, route))
    }

    /// What the kernel checks of a next hop, in its order.
    fn check(&self, route: &Route) -> Result<(), NetlinkError> {
        let Some(ifindex) = route.next_hop.ifindex() else {
            return Ok(());
        };
        let mut links = self.now.links.iter();
        let link = links.find(|link| link.ifindex == ifindex);
        let unreachable = match &route.next_hop {
            NextHop::Gateway {
                gateway,
                onlink: false,
                ..
            } => !link.is_some_and(|link| self.is_on_link(link, *gateway)),
            _ => false,
        };
        let errno = match link {
            // IPv4 looks for the gateway before it looks for the interface.
            _ if unreachable && !route.ipv6() => libc::ENETUNREACH,
            None => libc::ENODEV,
            Some(_) if unreachable => libc::EHOSTUNREACH,
            Some(link) if !link.admin_up => libc::ENETDOWN,
            Some(_) => 0,
        };
        if errno != 0 {
            return Err(refused(errno));
        }
        let is_local = |source| self.now.addresses.iter().any(|own| own.address == source);
        if route
            .preferred_source
            .is_some_and(|source| !is_local(source))
        {
            return Err(refused(libc::EINVAL));
        }
        Ok(())
    }

    fn is_on_link(&self, link: &Link, gateway: IpAddr) -> bool {
        let link_local = matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
        let is_device = |route: &Route| matches!(route.next_hop, NextHop::Device { .. });
        let mut defaults = self.now.routes.iter().filter(|route| {
            route.ipv6() == gateway.is_ipv6() && route.next_hop.ifindex() == Some(link.ifindex)
        });
        // A device route covers every address. IPv4 passes over those by a gateway in its search, IPv6 ends at the first.
        let default = if gateway.is_ipv6() {
            defaults.next().is_some_and(is_device)
        } else {
            defaults.any(is_device)
        };
        let mut own = self
            .now
            .addresses
            .iter()
            .filter(|own| link.admin_up && own.ifindex == link.ifindex);
        link_local || default || own.any(|own| covers(own, gateway))
    }
}

impl RouteTable for FakeRoutes {
    async fn snapshot(&mut self) -> Result<Snapshot, NetlinkError> {
        Ok(self.now.clone())
    }

    async fn apply(&mut self, change: &Change) -> Result<(), NetlinkError> {
        self.asked.push(change.clone());
        let own = |route: &Route| {
            let is_own = route.protocol == self.protocol && route.next_hop.ifindex().is_some();
            is_own.then_some(()).ok_or_else(impossible)
        };
        match change {
            Change::Add(route) => {
                own(route)?;
                self.add_exclusively(route.clone())
            }
            Change::AddBeside(route) => {
                own(route)?;
                self.append(route.clone())
            }
            Change::Delete(route) => {
                own(route)?;
                self.delete(route);
                Ok(())
            }
            Change::TakeOver(route) => {
                route.next_hop.ifindex().ok_or_else(impossible)?;
                self.delete(route);
                Ok(())
            }
            Change::Restore(route) if route.wire.is_empty() => Err(impossible()),
            Change::Restore(route) => self.add_exclusively(route.clone()),
            Change::AddRule(_)
            | Change::DeleteRule(_)
            | Change::AddNexthop(_)
            | Change::ReplaceNexthop(_)
            | Change::DeleteNexthop(_) => Err(impossible()),
        }
    }

    async fn doubt(&mut self, ifindex: Ifindex, address: IpAddr) -> Result<(), NetlinkError> {
        self.doubted.push((ifindex, address));
        Ok(())
    }

    async fn solicit(&mut self, ifindex: Ifindex, address: IpAddr) -> Result<(), NetlinkError> {
        self.solicited.push((ifindex, address));
        Ok(())
    }
}

/// The kernel's key, in the main table.
fn slot(route: &Route) -> (bool, crate::units::TableId, crate::units::Metric) {
    (route.ipv6(), route.table, route.metric)
}

fn same(a: &Route, b: &Route) -> bool {
    slot(a) == slot(b)
        && (a.protocol, &a.next_hop, a.preferred_source)
            == (b.protocol, &b.next_hop, b.preferred_source)
}

/// Whether an address's connected network holds a gateway.
fn covers(own: &Address, gateway: IpAddr) -> bool {
    let prefix_len = u32::from(own.prefix_len);
    match (own.address, gateway) {
        (IpAddr::V4(own), IpAddr::V4(gateway)) => {
            let mask = u32::MAX.checked_shl(32 - prefix_len).unwrap_or(0);
            own.to_bits() & mask == gateway.to_bits() & mask
        }
        (IpAddr::V6(own), IpAddr::V6(gateway)) => {
            let mask = u128::MAX.checked_shl(128 - prefix_len).unwrap_or(0);
            own.to_bits() & mask == gateway.to_bits() & mask
        }
        _ => false,
    }
}

fn refused(errno: i32) -> NetlinkError {
    NetlinkError::Refused {
        what: "a change to the model".to_owned(),
        source: io::Error::from_raw_os_error(errno),
        hint: None,
    }
}

fn impossible() -> NetlinkError {
    NetlinkError::Refused {
        what: "a change to the model".to_owned(),
        source: io::ErrorKind::InvalidInput.into(),
        hint: None,
    }
}
