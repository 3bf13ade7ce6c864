//! Routes, as exactly as pingu reads and writes them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::units::{Ifindex, Metric, NexthopId, Protocol, TableId};

/// Everything in IPv4: `0.0.0.0/0`.
pub const DEFAULT_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));

/// Everything in IPv6: `::/0`.
pub const DEFAULT_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0));

/// The default destination of a family.
pub const fn default_of(ipv6: bool) -> IpNet {
    if ipv6 { DEFAULT_V6 } else { DEFAULT_V4 }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads to; host bits are zero.
    pub destination: IpNet,
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

impl Route {
    /// IPv6 rather than IPv4.
    pub fn ipv6(&self) -> bool {
        matches!(self.destination, IpNet::V6(_))
    }

    /// For every packet to its destination; else it has a key of its own and never stands in the way of one that is.
    pub fn is_for_all(&self) -> bool {
        !matches!(self.next_hop, NextHop::Selective(_))
    }

    /// A default route.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }
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
        match (self.is_default(), self.ipv6()) {
            (true, false) => f.write_str("default")?,
            (true, true) => f.write_str("default (IPv6)")?,
            (false, _) => write!(f, "{}", self.destination)?,
        }
        write!(f, " {next_hop} proto {protocol} metric {metric}")?;
        if self.table != TableId::MAIN {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway {
                ifindex, gateway, ..
            } => write!(f, "via {gateway} dev #{ifindex}"),
            Self::Device { ifindex } => write!(f, "dev #{ifindex}"),
            Self::Several { what, hops } => {
                f.write_str(what)?;
                hops.iter()
                    .try_for_each(|hop| write!(f, " nexthop {}", hop.next_hop()))
            }
            Self::Object(id) => write!(f, "nhid {id}"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Selective(what) | Self::Other(what) => f.write_str(what),
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
    /// Several at once, of somebody else's: multipath, or a nexthop object of another protocol. pingu learns from them, and never
    /// writes nor takes over such a route.
    Several {
        /// What kind of route it is, for people.
        what: String,
        /// Where it leads, as far as the kernel said.
        hops: Vec<Hop>,
    },
    /// A nexthop object of pingu's own.
    Object(NexthopId),
    /// Packets are refused: `ICMP host unreachable` (`RTN_UNREACHABLE`).
    Unreachable,
    /// Packets vanish (`RTN_BLACKHOLE`).
    Blackhole,
    /// Wherever it leads, it is for some packets only (a source, a type of service): it takes no place from a route for all of them,
    /// and stands in nobody's way. Named for people.
    Selective(String),
    /// Something pingu leaves alone: encapsulated, prohibited, and the like; named for people.
    Other(String),
}

/// One next hop of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The interface.
    pub ifindex: Ifindex,
    /// The gateway; none where the device itself is the next hop.
    pub gateway: Option<IpAddr>,
    /// Reachable although no connected network covers it (`RTNH_F_ONLINK`).
    pub onlink: bool,
}

impl Hop {
    /// The same as the next hop of a route.
    pub fn next_hop(self) -> NextHop {
        let Self {
            ifindex,
            gateway,
            onlink,
        } = self;
        match gateway {
            Some(gateway) => NextHop::Gateway {
                ifindex,
                gateway,
                onlink,
            },
            None => NextHop::Device { ifindex },
        }
    }
}

impl NextHop {
    /// The interface it leaves by, where there is exactly one.
    pub fn ifindex(&self) -> Option<Ifindex> {
        match self {
            Self::Gateway { ifindex, .. } | Self::Device { ifindex } => Some(*ifindex),
            _ => None,
        }
    }

    /// Whether both lead to the same place: whether the gateway had to be declared reachable is only how a route came to be.
    pub fn leads_as(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Gateway {
                    ifindex, gateway, ..
                },
                Self::Gateway {
                    ifindex: other_ifindex,
                    gateway: other_gateway,
                    ..
                },
            ) => (ifindex, gateway) == (other_ifindex, other_gateway),
            (one, other) => one == other,
        }
    }

    /// Every single next hop in it.
    pub fn hops(&self) -> Vec<Hop> {
        match self {
            Self::Gateway {
                ifindex,
                gateway,
                onlink,
            } => vec![Hop {
                ifindex: *ifindex,
                gateway: Some(*gateway),
                onlink: *onlink,
            }],
            Self::Device { ifindex } => vec![Hop {
                ifindex: *ifindex,
                gateway: None,
                onlink: false,
            }],
            Self::Several { hops, .. } => hops.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether a route with it can be named exactly in a deletion: only such may be pingu's own.
    pub fn is_exact(&self) -> bool {
        !matches!(
            self,
            Self::Several { .. } | Self::Selective(_) | Self::Other(_)
        )
    }
}
