//! What the kernel knows of links, addresses, neighbours, routes, rules and nexthop objects, as plain values without a socket in sight.

use std::net::IpAddr;

use crate::units::Ifindex;

mod change;
mod nexthop;
mod route;
mod rule;

pub use change::Change;
pub use nexthop::{Nexthop, NexthopKind};
pub use route::{DEFAULT_V4, DEFAULT_V6, Hop, NextHop, Route, default_of};
pub use rule::{Rule, Selector};

/// One consistent look at the kernel: a dump that was interrupted never becomes a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every address, of both families.
    pub addresses: Vec<Address>,
    /// Of the main table, of both families: every default route, whoever owns it. Of every table: routes of pingu's own protocol.
    pub routes: Vec<Route>,
    /// Every rule of both families.
    pub rules: Vec<Rule>,
    /// Every nexthop object.
    pub nexthops: Vec<Nexthop>,
    /// Neighbour entries of both families.
    pub neighbours: Vec<Neighbour>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: Ifindex,
    /// Its name (`IFLA_IFNAME`).
    pub name: String,
    /// Further names of it (`IFLA_ALT_IFNAME`); no other interface has any of them.
    pub alternative_names: Vec<String>,
    /// What stands before the IP header on its wire.
    pub layer: LinkLayer,
    /// Set up by the administrator (`IFF_UP`).
    pub admin_up: bool,
    /// Running: carrier present and operational (`IFF_LOWER_UP` and operstate up or unknown).
    pub carrier: bool,
    /// A port of a bridge, a bond or the like, which takes what comes in by it (`IFLA_INFO_SLAVE_KIND`); a VRF takes nothing away.
    pub is_port: bool,
    /// Largest IP packet in bytes.
    pub mtu_bytes: u32,
}

impl Link {
    /// Whether this is one of its names.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.alternative_names.iter().any(|other| other == name)
    }
}

/// What stands before the IP header on an interface's wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// An Ethernet header; the interface's own address.
    Ethernet([u8; 6]),
    /// Nothing (`ARPHRD_NONE`, `ARPHRD_PPP`, tunnels): layer-3 devices.
    Bare,
    /// Something pingu cannot build; the ARPHRD number.
    Other(u16),
}

impl LinkLayer {
    /// Bytes before the IP header.
    pub(crate) fn header_bytes(self) -> u64 {
        match self {
            Self::Ethernet(_) => 14,
            Self::Bare | Self::Other(_) => 0,
        }
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub ifindex: Ifindex,
    /// The local address.
    pub address: IpAddr,
    /// Prefix length of its connected network.
    pub prefix_len: u8,
    /// Scope universe: usable towards the Internet.
    pub global: bool,
    /// Neither tentative, nor failed duplicate detection, nor deprecated.
    pub usable: bool,
    /// A secondary (IPv4) or temporary (IPv6) address (`IFA_F_SECONDARY`).
    pub secondary: bool,
}

/// A neighbour entry: what the kernel knows about reaching an address on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface.
    pub ifindex: Ifindex,
    /// The neighbour's IP address.
    pub address: IpAddr,
    /// Its state, reduced to what matters to a sender.
    pub state: NeighbourState,
}

/// A neighbour's state, reduced to what matters to a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// A link-layer address that may be used (reachable, stale, delay, probe).
    Usable([u8; 6]),
    /// One that somebody set, or that the link implies (permanent, noarp). The kernel must not be asked for it: that would make
    /// it forget what was set.
    Fixed([u8; 6]),
    /// Being asked for.
    Incomplete,
    /// It did not answer (`NUD_FAILED`), or the entry was deleted.
    Failed,
}

/// What somebody else did to a route of pingu's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interference {
    /// What was done.
    pub deed: Deed,
    /// The route that was deleted, or the one that was put in a place (`NLM_F_REPLACE`), perhaps one of pingu's.
    pub route: Route,
    /// The netlink port of whoever asked the kernel for it.
    pub port: u32,
}

/// What somebody else did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Deleted an own route.
    Deleted,
    /// Put a route of his own in its place.
    Replaced,
}

/// News from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A link, an address or a default route (or an own route) changed: look again.
    Changed,
    /// A neighbour entry changed.
    Neighbour(Neighbour),
    /// Somebody deleted an own route, or put a route of his own in a place.
    Interfered(Box<Interference>),
    /// Messages were lost (ENOBUFS): everything may have changed.
    Overrun,
}
