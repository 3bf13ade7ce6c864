//! Whether and how an uplink can be left by, from what the kernel knows: interface, gateway, source address, neighbour.

use std::net::IpAddr;

use crate::{
    config::{Gateway, UplinkConfig},
    engine::{GatewayHint, way_out::learn::Sources},
    network::{
        self, Address, Link, LinkLayer, NeighbourState, NextHop, Route, Snapshot, default_of,
    },
    probe::LinkHeader,
    units::{Ifindex, Protocol, TableId},
};

mod learn;

/// Whether a path can be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// There is no way out.
    Blocked,
    /// The next hop's link-layer address is not known.
    Resolving,
    /// Everything a frame needs is known.
    Ready {
        /// The interface.
        ifindex: Ifindex,
        /// What stands before the IP header.
        link: LinkHeader,
        /// The source address.
        source: IpAddr,
    },
}

/// Why an uplink cannot be left by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Nobody has looked yet.
    Unseen,
    NoInterface,
    AdminDown,
    NoCarrier,
    UnsupportedLink(u16),
    Port,
    NoGateway,
    NoAddress,
}

impl Obstacle {
    /// What a person is told; `interface` is the configured name.
    pub(crate) fn reason(self, interface: &str) -> String {
        match self {
            Self::Unseen => format!("the kernel has not told of {interface} yet"),
            Self::NoInterface => format!("there is no interface {interface}"),
            Self::AdminDown => format!("{interface} is set down"),
            Self::NoCarrier => format!("no carrier on {interface}"),
            Self::UnsupportedLink(kind) => {
                format!("{interface} has link type {kind}, which pingu cannot send on")
            }
            Self::Port => {
                format!("{interface} is a port of a bridge or a bond, which takes what comes in")
            }
            Self::NoGateway => format!("no gateway known on {interface}"),
            Self::NoAddress => format!("no usable address on {interface}"),
        }
    }
}

/// One family's way out by an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WayOut {
    pub(crate) ifindex: Ifindex,
    pub(crate) layer: LinkLayer,
    /// The gateway; none where the device itself is the next hop.
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) onlink: bool,
    /// The source address of probes.
    pub(crate) source: IpAddr,
    /// The source address that the learned route asked for.
    pub(crate) preferred_source: Option<IpAddr>,
}

impl WayOut {
    /// The address whose link-layer address a frame to `target` needs; none on a layer-3 device.
    pub(crate) fn neighbour(&self, target: IpAddr) -> Option<(Ifindex, IpAddr)> {
        match self.layer {
            LinkLayer::Ethernet(_) => Some((self.ifindex, self.gateway.unwrap_or(target))),
            LinkLayer::Bare | LinkLayer::Other(_) => None,
        }
    }

    /// Whether a probe may leave, given what is known of that neighbour.
    pub(crate) fn readiness(&self, neighbour: Option<NeighbourState>) -> Readiness {
        let ready = |link| Readiness::Ready {
            ifindex: self.ifindex,
            link,
            source: self.source,
        };
        match (self.layer, neighbour) {
            (LinkLayer::Bare, _) => ready(LinkHeader::Bare),
            (
                LinkLayer::Ethernet(source),
                Some(NeighbourState::Usable(destination) | NeighbourState::Fixed(destination)),
            ) => ready(LinkHeader::Ethernet {
                source,
                destination,
            }),
            (LinkLayer::Ethernet(_), _) => Readiness::Resolving,
            (LinkLayer::Other(_), _) => Readiness::Blocked,
        }
    }

    /// Whether a default route of the main table leads this way.
    pub(crate) fn is_taught_by(&self, route: &Route) -> bool {
        let family = default_of(self.source.is_ipv6());
        let leads_here =
            |hop: &network::Hop| (hop.ifindex, hop.gateway) == (self.ifindex, self.gateway);
        route.destination == family
            && route.table == TableId::MAIN
            && route.next_hop.hops().iter().any(leads_here)
    }

    /// Where an own route by this way leads.
    pub(crate) fn next_hop(&self) -> NextHop {
        match self.gateway {
            Some(gateway) => NextHop::Gateway {
                ifindex: self.ifindex,
                gateway,
                onlink: self.onlink,
            },
            None => NextHop::Device {
                ifindex: self.ifindex,
            },
        }
    }
}

/// The link-level obstacle of an uplink's interface, or the interface.
fn usable(link: Option<&Link>) -> Result<&Link, Obstacle> {
    match link.ok_or(Obstacle::NoInterface)? {
        Link {
            layer: LinkLayer::Other(kind),
            ..
        } => Err(Obstacle::UnsupportedLink(*kind)),
        Link {
            admin_up: false, ..
        } => Err(Obstacle::AdminDown),
        Link { carrier: false, .. } => Err(Obstacle::NoCarrier),
        Link { is_port: true, .. } => Err(Obstacle::Port),
        link => Ok(link),
    }
}

/// What is known of one family's gateway beside the table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// Learned routes that pingu itself took out of the table.
    pub(crate) adopted: &'a [Route],
    /// The way found at the last look: a learned gateway stays known after its route has gone, as long as the address that it came
    /// with is there (a flushed table is not a withdrawn lease).
    pub(crate) before: Option<&'a WayOut>,
    /// What an earlier run knew. It counts while this run knows nothing, as long as that address is there.
    pub(crate) hint: Option<&'a GatewayHint>,
}

/// Finds one family's way out, over the uplink's interface in the snapshot.
pub(crate) fn find(
    uplink: &UplinkConfig,
    link: Option<&Link>,
    ipv6: bool,
    snapshot: &Snapshot,
    own: Protocol,
    known: Known<'_>,
) -> Result<WayOut, Obstacle> {
    let link = usable(link)?;
    let hop = match uplink.gateway {
        Gateway::Device => Hop::default(),
        Gateway::Static { v4, v6 } => {
            let gateway = if ipv6 {
                v6.map(IpAddr::V6)
            } else {
                v4.map(IpAddr::V4)
            };
            let gateway = gateway.ok_or(Obstacle::NoGateway)?;
            // Some providers give a single address and a gateway outside of it.
            let covered = snapshot.addresses.iter().any(|a| {
                a.ifindex == link.ifindex && same_network(a.address, gateway, a.prefix_len)
            });
            Hop {
                gateway: Some(gateway),
                onlink: !covered && !is_link_local(gateway),
                ..Hop::default()
            }
        }
        Gateway::Auto => {
            let sources = Sources {
                ifindex: link.ifindex,
                ipv6,
                snapshot,
                own,
                adopted: known.adopted,
                table: uplink.table.as_ref().map(|table| table.id),
            };
            sources
                .learn(known.before, known.hint)
                .ok_or(Obstacle::NoGateway)?
        }
    };
    if ipv6 && asks_in_vain(link, &snapshot.addresses) {
        return Err(Obstacle::NoAddress);
    }
    let given = uplink.source.of(ipv6);
    let source = match given {
        // Where the user names an address, another is no substitute: it may belong to another uplink on this wire.
        Some(given) => is_source(link.ifindex, given, &snapshot.addresses).then_some(given),
        None => source(link.ifindex, ipv6, &hop, uplink, &snapshot.addresses).or_else(|| {
            let named = hop.preferred_source?;
            is_source(link.ifindex, named, &snapshot.addresses).then_some(named)
        }),
    };
    let source = source.ok_or(Obstacle::NoAddress)?;
    Ok(WayOut {
        ifindex: link.ifindex,
        layer: link.layer,
        gateway: hop.gateway,
        onlink: hop.onlink,
        source,
        preferred_source: given.or(hop.preferred_source),
    })
}

/// Whether an address is there and may be used.
fn is_usable(ifindex: Ifindex, own: IpAddr, addresses: &[Address]) -> bool {
    addresses
        .iter()
        .any(|a| a.ifindex == ifindex && a.address == own && a.usable)
}

/// Whether an address that somebody names may be the source of what leaves by an interface: one of its own, or, where the interface has no
/// such address (it is unnumbered, or its network is delegated to others), one of this machine's elsewhere.
fn is_source(ifindex: Ifindex, own: IpAddr, addresses: &[Address]) -> bool {
    let named = || addresses.iter().filter(|a| a.address == own);
    if named().any(|a| a.ifindex == ifindex) {
        return is_usable(ifindex, own, addresses);
    }
    !is_link_local(own) && named().any(|a| a.usable)
}

/// Whether the kernel asks for no IPv6 neighbour on a link yet: its own link-local address there is not yet known to be unique.
fn asks_in_vain(link: &Link, addresses: &[Address]) -> bool {
    let mut own = addresses
        .iter()
        .filter(|a| a.ifindex == link.ifindex && is_link_local(a.address))
        .peekable();
    matches!(link.layer, LinkLayer::Ethernet(_)) && own.peek().is_some() && !own.any(|a| a.usable)
}

/// A next hop without an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hop {
    gateway: Option<IpAddr>,
    onlink: bool,
    preferred_source: Option<IpAddr>,
}

impl From<&WayOut> for Hop {
    fn from(way: &WayOut) -> Self {
        Self {
            gateway: way.gateway,
            onlink: way.onlink,
            preferred_source: way.preferred_source,
        }
    }
}

/// The address to probe from: the one the learned route names, else one whose network holds the gateway, else the first of the
/// targets' kind. A unique local address (RFC 4193) is no source towards the Internet, nor the reverse (RFC 6724, rule 6).
fn source(
    ifindex: Ifindex,
    ipv6: bool,
    hop: &Hop,
    uplink: &UplinkConfig,
    addresses: &[Address],
) -> Option<IpAddr> {
    let own: Vec<&Address> = addresses
        .iter()
        .filter(|a| a.ifindex == ifindex && a.address.is_ipv6() == ipv6 && a.usable)
        .collect();
    let local_targets = uplink
        .probe
        .targets
        .iter()
        .any(|target| is_unique_local(*target))
        && uplink
            .probe
            .targets
            .iter()
            .all(|t| !t.is_ipv6() || is_unique_local(*t));
    let holds_gateway = |a: &&Address| {
        hop.gateway
            .is_some_and(|gateway| same_network(a.address, gateway, a.prefix_len))
    };
    let rank = |a: &&Address| {
        (
            Some(a.address) != hop.preferred_source,
            !a.global,
            is_unique_local(a.address) != local_targets,
            !holds_gateway(a),
            a.secondary,
        )
    };
    let best = own.iter().copied().min_by_key(rank)?;
    (best.global || !ipv6 || Some(best.address) == hop.preferred_source).then_some(best.address)
}

fn is_unique_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unique_local())
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

pub(crate) fn same_network(a: IpAddr, b: IpAddr, prefix_len: u8) -> bool {
    let (a, b, bits) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let host_bits = bits - u32::from(prefix_len).min(bits);
    (a ^ b).checked_shr(host_bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests;
