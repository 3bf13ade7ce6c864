//! What the kernel knows of links, addresses, neighbours and default routes, as plain values without a socket in sight.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::units::{Ifindex, Metric, Protocol, TableId};

/// One consistent look at the kernel: a dump that was interrupted never becomes a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every address, of both families.
    pub addresses: Vec<Address>,
    /// Of the main table, of both families: every default route, whoever owns it.
    pub routes: Vec<Route>,
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
    /// What stands before the IP header on its wire.
    pub layer: LinkLayer,
    /// Set up by the administrator (`IFF_UP`).
    pub admin_up: bool,
    /// Running: carrier present and operational (`IFF_LOWER_UP` and operstate up or unknown).
    pub carrier: bool,
    /// Largest IP packet in bytes.
    pub mtu_bytes: u32,
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

/// A default route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Its table.
    pub table: TableId,
    /// Its priority.
    pub metric: Metric,
    /// Its origin.
    pub protocol: Protocol,
    /// Where it leads.
    pub next_hop: NextHop,
    /// Preferred source address (`RTA_PREFSRC`).
    pub preferred_source: Option<IpAddr>,
    /// The message body as the kernel wrote it (rtmsg and attributes, without volatile ones such as `RTA_CACHEINFO`), so that
    /// a route can be put back exactly; empty in routes that pingu makes itself.
    pub wire: Vec<u8>,
}

/// As iproute2 would show it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            metric,
            protocol,
            next_hop,
            ..
        } = self;
        write!(
            f,
            "default{} {next_hop} proto {protocol} metric {metric}",
            if self.ipv6 { " (IPv6)" } else { "" }
        )
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway {
                ifindex, gateway, ..
            } => write!(f, "via {gateway} dev #{ifindex}"),
            Self::Device { ifindex } => write!(f, "dev #{ifindex}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextHop {
    /// A gateway on an interface.
    Gateway {
        /// The interface.
        ifindex: Ifindex,
        /// The next hop; of the other family for `via inet6`.
        gateway: IpAddr,
        /// Reachable although no connected network covers it (`RTNH_F_ONLINK`).
        onlink: bool,
    },
    /// An interface without a gateway (PPP, tun; scope link).
    Device {
        /// The interface.
        ifindex: Ifindex,
    },
    /// Something pingu leaves alone: multipath, a nexthop object, unreachable, blackhole; named for people.
    Other(String),
}

impl NextHop {
    /// The interface it leaves by, where there is exactly one.
    pub fn ifindex(&self) -> Option<Ifindex> {
        match self {
            Self::Gateway { ifindex, .. } | Self::Device { ifindex } => Some(*ifindex),
            Self::Other(_) => None,
        }
    }
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

/// One change to the main table. Each names exact table, prefix, metric, interface, gateway and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add an own route to a free slot (`NLM_F_CREATE | NLM_F_EXCL`).
    Add(Route),
    /// Add an own route beside another own one of the same metric (`NLM_F_CREATE | NLM_F_APPEND`), which is deleted next.
    AddBeside(Route),
    /// Delete exactly this own route.
    Delete(Route),
    /// Delete exactly this route of somebody else's: only in adopt mode, and only one that has been remembered.
    TakeOver(Route),
    /// Put a route of somebody else's back from its `wire` bytes (`NLM_F_CREATE | NLM_F_EXCL`).
    Restore(Route),
}

/// News from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A link, an address or a default route (or an own route) changed: look again.
    Changed,
    /// A neighbour entry changed.
    Neighbour(Neighbour),
    /// Messages were lost (ENOBUFS): everything may have changed.
    Overrun,
}
