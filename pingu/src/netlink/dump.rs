//! What the kernel's messages say, as pingu's own plain values: links, addresses, default routes and neighbours.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    netlink::{
        codec::{
            INET, INET6, RawMessage, RouteHeader, address, attributes, exact_attributes, number,
            push_attribute,
        },
        next_hop::{self, RTNH_F_ONLINK},
    },
    network::{Address, Link, LinkLayer, Neighbour, NeighbourState, Route, default_of},
    units::{Ifindex, Metric, Protocol, TableId},
};

/// Sizes in bytes of `struct ifinfomsg`, `struct ifaddrmsg` and `struct ndmsg`.
const LINK_HEADER_LEN: usize = 16;
const ADDRESS_HEADER_LEN: usize = 8;
const NEIGHBOUR_HEADER_LEN: usize = 12;

// Of the kernel's UAPI headers; libc does not have them.
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IF_OPER_UNKNOWN: u8 = 0;
const IF_OPER_UP: u8 = 6;
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_IP6GRE: u16 = 823;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_SECONDARY: u32 = 0x01;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;
/// `RTM_F_CLONED`: a cached route, no entry of a table.
const RTM_F_CLONED: u32 = 0x200;

/// Asks for every link.
pub(crate) fn links_request() -> RawMessage {
    let mut body = vec![0; LINK_HEADER_LEN];
    // Counters are most of a link's message, and nobody reads them here.
    push_attribute(
        &mut body,
        IFLA_EXT_MASK,
        &RTEXT_FILTER_SKIP_STATS.to_ne_bytes(),
    );
    RawMessage {
        kind: libc::RTM_GETLINK,
        body,
    }
}

/// Asks for one link.
pub(crate) fn link_request(ifindex: Ifindex) -> RawMessage {
    let mut request = links_request();
    request.body[4..8].copy_from_slice(&ifindex.0.to_ne_bytes());
    request
}

/// Asks for every address of both families.
pub(crate) fn addresses_request() -> RawMessage {
    RawMessage {
        kind: libc::RTM_GETADDR,
        body: vec![0; ADDRESS_HEADER_LEN],
    }
}

/// Asks for every neighbour of both families.
pub(crate) fn neighbours_request() -> RawMessage {
    RawMessage {
        kind: libc::RTM_GETNEIGH,
        body: vec![0; NEIGHBOUR_HEADER_LEN],
    }
}

/// Reads an `RTM_NEWLINK` body.
pub(crate) fn link(body: &[u8]) -> Option<Link> {
    let header: &[u8; LINK_HEADER_LEN] = body.first_chunk()?;
    if header[0] != libc::AF_UNSPEC as u8 {
        // A bridge port's own view of itself (AF_BRIDGE): the same interface once more.
        return None;
    }
    let hardware = u16::from_ne_bytes([header[2], header[3]]);
    let flags = number(&header[8..12])?;
    let (mut name, mut mac, mut mtu_bytes, mut operstate) = (None, None, 0, IF_OPER_UNKNOWN);
    let (mut alternative_names, mut is_port) = (Vec::new(), false);
    for (kind, value) in attributes(body, LINK_HEADER_LEN) {
        match kind {
            libc::IFLA_IFNAME => name = Some(text(value)),
            libc::IFLA_ADDRESS => mac = <[u8; 6]>::try_from(value).ok(),
            libc::IFLA_MTU => mtu_bytes = number(value).unwrap_or(0),
            IFLA_PROP_LIST => {
                let names = attributes(value, 0).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                alternative_names.extend(names.map(|(_, value)| text(value)));
            }
            libc::IFLA_LINKINFO => {
                let kinds = attributes(value, 0).filter(|(kind, _)| *kind == IFLA_INFO_SLAVE_KIND);
                is_port |= kinds.into_iter().any(|(_, value)| text(value) != "vrf");
            }
            IFLA_OPERSTATE => operstate = value.first().copied().unwrap_or(IF_OPER_UNKNOWN),
            _ => {}
        }
    }
    let layer = match (hardware, mac) {
        (libc::ARPHRD_ETHER, Some(mac)) => LinkLayer::Ethernet(mac),
        (
            libc::ARPHRD_PPP
            | ARPHRD_RAWIP
            | libc::ARPHRD_NONE
            | libc::ARPHRD_TUNNEL
            | libc::ARPHRD_TUNNEL6
            | libc::ARPHRD_SIT
            | libc::ARPHRD_IPGRE
            | ARPHRD_IP6GRE,
            _,
        ) => LinkLayer::Bare,
        (other, _) => LinkLayer::Other(other),
    };
    Some(Link {
        ifindex: Ifindex(number(&header[4..8])?),
        name: name?,
        alternative_names,
        layer,
        admin_up: flags & libc::IFF_UP as u32 != 0,
        carrier: flags & libc::IFF_LOWER_UP as u32 != 0
            && matches!(operstate, IF_OPER_UNKNOWN | IF_OPER_UP),
        is_port,
        mtu_bytes,
    })
}

/// Reads an `RTM_NEWADDR` body.
pub(crate) fn interface_address(body: &[u8]) -> Option<Address> {
    let header: &[u8; ADDRESS_HEADER_LEN] = body.first_chunk()?;
    let [family, prefix_len, flags, scope, ..] = *header;
    if !matches!(family, INET | INET6) {
        return None;
    }
    let (mut local, mut peer, mut flags) = (None, None, u32::from(flags));
    for (kind, value) in attributes(body, ADDRESS_HEADER_LEN) {
        match kind {
            IFA_LOCAL => local = address(value),
            IFA_ADDRESS => peer = address(value),
            IFA_FLAGS => flags = number(value).unwrap_or(flags),
            _ => {}
        }
    }
    Some(Address {
        ifindex: Ifindex(number(&header[4..8])?),
        // On a point-to-point interface IFA_ADDRESS is the other end.
        address: local.or(peer)?,
        prefix_len,
        global: scope == libc::RT_SCOPE_UNIVERSE,
        usable: flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED) == 0,
        secondary: flags & IFA_F_SECONDARY != 0,
    })
}

/// The table, of which the header has only eight bits.
pub(crate) fn route_table(header: &RouteHeader, body: &[u8]) -> TableId {
    let table = attributes(body, RouteHeader::LEN).find(|(kind, _)| *kind == libc::RTA_TABLE);
    let table = table.and_then(|(_, value)| number(value));
    TableId(table.unwrap_or(u32::from(header.table)))
}

/// Reads an `RTM_NEWROUTE` body, if it is a default route of the main table.
pub(crate) fn default_route(body: &[u8], own: Protocol) -> Option<Route> {
    let header = RouteHeader::read(body)?;
    let is_default = header.destination_len == 0 && route_table(&header, body) == TableId::MAIN;
    is_default.then(|| route(body, own))?
}

/// Reads an `RTM_NEWROUTE` body.
pub(crate) fn route(body: &[u8], own: Protocol) -> Option<Route> {
    let header = RouteHeader::read(body)?;
    if !matches!(header.family, INET | INET6) || header.flags & RTM_F_CLONED != 0 {
        return None;
    }
    let table = route_table(&header, body);
    let (mut metric, mut preferred_source) = (0, None);
    let mut destination = default_of(header.family == INET6);
    for (kind, value) in attributes(body, RouteHeader::LEN) {
        match kind {
            libc::RTA_DST => {
                destination = IpNet::new(address(value)?, header.destination_len).ok()?;
            }
            libc::RTA_PRIORITY => metric = number(value)?,
            libc::RTA_PREFSRC => preferred_source = address(value),
            _ => {}
        }
    }
    Some(Route {
        destination,
        table,
        metric: Metric(metric),
        protocol: Protocol(header.protocol),
        next_hop: next_hop::of(&header, body, own),
        preferred_source,
        wire: wire(&header, body),
    })
}

/// The kernel's key of a route.
pub(crate) type Place = (TableId, IpNet, Metric);

/// The place of a route in an `RTM_NEWROUTE` body.
pub(crate) fn place(body: &[u8]) -> Option<Place> {
    let header = RouteHeader::read(body)?;
    let (mut table, mut metric) = (u32::from(header.table), 0);
    let mut destination = default_of(header.family == INET6);
    for (kind, value) in attributes(body, RouteHeader::LEN) {
        match kind {
            libc::RTA_DST => {
                destination = IpNet::new(address(value)?, header.destination_len).ok()?;
            }
            libc::RTA_TABLE => table = number(value)?,
            libc::RTA_PRIORITY => metric = number(value)?,
            _ => {}
        }
    }
    Some((TableId(table), destination, Metric(metric)))
}

/// The number of an IPv4 route's network in an `RTM_NEWROUTE` body; none if it has no destination.
pub(crate) fn network_v4(body: &[u8]) -> Option<u32> {
    let destination = attributes(body, RouteHeader::LEN).find(|(kind, _)| *kind == libc::RTA_DST);
    Some(u32::from_be(number(destination?.1)?))
}

/// The body without what tells the route's state rather than its configuration: the kernel refuses `linkdown` in a request.
fn wire(header: &RouteHeader, body: &[u8]) -> Vec<u8> {
    let configured = RouteHeader {
        flags: header.flags & RTNH_F_ONLINK,
        ..*header
    };
    let mut wire = configured.write();
    for (kind, value) in exact_attributes(body, RouteHeader::LEN) {
        if kind != libc::RTA_CACHEINFO {
            push_attribute(&mut wire, kind, value);
        }
    }
    wire
}

/// Reads an `RTM_NEWNEIGH` or `RTM_DELNEIGH` body, if it is about an Ethernet neighbour that one may send to.
pub(crate) fn neighbour(body: &[u8], deleted: bool) -> Option<Neighbour> {
    let header: &[u8; NEIGHBOUR_HEADER_LEN] = body.first_chunk()?;
    if !matches!(header[0], INET | INET6) {
        // The forwarding entries of bridges are neighbours, too (AF_BRIDGE).
        return None;
    }
    let state = u16::from_ne_bytes([header[8], header[9]]);
    let (mut ip, mut mac) = (None, None);
    for (kind, value) in attributes(body, NEIGHBOUR_HEADER_LEN) {
        match kind {
            libc::NDA_DST => ip = address(value),
            libc::NDA_LLADDR => mac = <[u8; 6]>::try_from(value).ok(),
            _ => {}
        }
    }
    let ip = ip.filter(is_unicast)?;
    let state = match state {
        _ if deleted => NeighbourState::Failed,
        libc::NUD_FAILED => NeighbourState::Failed,
        libc::NUD_INCOMPLETE => NeighbourState::Incomplete,
        libc::NUD_NONE => return None,
        _ => {
            // Layer-3 devices have entries without an address; loopback and broadcast ones are no stations.
            let mac = mac.filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6])?;
            if state & (libc::NUD_PERMANENT | libc::NUD_NOARP) == 0 {
                NeighbourState::Usable(mac)
            } else {
                NeighbourState::Fixed(mac)
            }
        }
    };
    Some(Neighbour {
        ifindex: Ifindex(number(&header[4..8])?),
        address: ip,
        state,
    })
}

fn is_unicast(address: &IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_multicast() || address.is_unspecified() || broadcast)
}

fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}
