//! Where the kernel says that a route leads: one next hop, several, a nexthop object, or something that pingu names and leaves alone.
//!
//! What cannot be read whole yields no next hop at all: half a message must never become a gateway, nor a route without one.

use crate::{
    netlink::codec::{RouteHeader, address, attributes, number, whole_attributes},
    network::{Hop, NextHop, Nexthop, NexthopKind, Route},
    units::{Ifindex, NexthopId, Protocol},
};

// Of the kernel's UAPI headers; libc does not have them.
const RTA_VIA: u16 = 18;
/// `RTA_ENCAP`: a tunnel that begins at the route.
const RTA_ENCAP: u16 = 22;
const RTA_NEWDST: u16 = 19;
const RTA_NH_ID: u16 = 30;
/// `RTNH_F_ONLINK`: the only flag of a next hop that is configuration; the others tell its state.
pub(crate) const RTNH_F_ONLINK: u32 = 4;

/// Size in bytes of `struct rtnexthop`: length, flags, hops and interface.
const NEXT_HOP_HEADER_LEN: usize = 8;

/// Bytes of address family before the address in `RTA_VIA`.
const VIA_HEADER_LEN: usize = 2;

/// Members of members are followed so deep: the kernel allows no group within a group.
const GROUP_DEPTH_MAX: usize = 1;

/// Where a route leads; one of pingu's own protocol in the terms in which pingu writes.
pub(crate) fn of(header: &RouteHeader, body: &[u8], own: Protocol) -> NextHop {
    let for_all = header.source_len == 0 && header.tos == 0;
    match (header.kind, object_of(body)) {
        _ if header.protocol != own.0 || !for_all => foreign(header, body),
        (_, Some(id)) => NextHop::Object(id),
        (libc::RTN_UNREACHABLE, None) => NextHop::Unreachable,
        (libc::RTN_BLACKHOLE, None) => NextHop::Blackhole,
        (_, None) => foreign(header, body),
    }
}

fn foreign(header: &RouteHeader, body: &[u8]) -> NextHop {
    if header.source_len != 0 {
        return NextHop::Selective("for packets from certain sources".to_owned());
    }
    if header.tos != 0 {
        return NextHop::Selective(format!("for packets with tos {:#04x}", header.tos));
    }
    let object = object_of(body);
    let what = object.map_or_else(
        || "multipath".to_owned(),
        |id| format!("nexthop object {id}"),
    );
    match header.kind {
        libc::RTN_UNICAST => {}
        libc::RTN_BLACKHOLE => return NextHop::Other("blackhole".to_owned()),
        libc::RTN_UNREACHABLE => return NextHop::Other("unreachable".to_owned()),
        libc::RTN_PROHIBIT => return NextHop::Other("prohibit".to_owned()),
        libc::RTN_THROW => return NextHop::Other("throw".to_owned()),
        kind => return NextHop::Other(format!("route type {kind}")),
    }
    let single = match Parts::read(
        body.get(RouteHeader::LEN..).unwrap_or_default(),
        header.flags,
    ) {
        Ok(parts) => parts,
        Err(unfit) => return unfit.named(object.map(|_| what.as_str())),
    };
    match (single.several, single.hop(), object) {
        (Some(several), _, _) => match next_hops(several) {
            Ok(hops) => NextHop::Several { what, hops },
            Err(unfit) => unfit.named(Some(&what)),
        },
        (None, hop, Some(_)) => NextHop::Several {
            what,
            hops: hop.into_iter().collect(),
        },
        (None, Some(hop), None) => hop.next_hop(),
        (None, None, None) => NextHop::Other("without an interface".to_owned()),
    }
}

/// Tells where routes by nexthop objects lead, which the kernel leaves out of a dump with `nexthop_compat_mode=0`.
pub(crate) fn resolve(routes: &mut [Route], nexthops: &[Nexthop]) {
    for route in routes {
        let NextHop::Several { what, hops } = &route.next_hop else {
            continue;
        };
        let Some(id) = object_of(&route.wire).filter(|_| hops.is_empty()) else {
            continue;
        };
        let what = what.clone();
        route.next_hop = match members(id, nexthops, GROUP_DEPTH_MAX) {
            Ok(hops) => NextHop::Several { what, hops },
            Err(kind) => NextHop::Other(format!("{what}, {kind}")),
        };
    }
}

/// Every hop of an object; or what it is, where that is nothing to learn from.
fn members(id: NexthopId, nexthops: &[Nexthop], depth: usize) -> Result<Vec<Hop>, String> {
    // One that is not listed was made after the list: the next look shows it.
    let Some(object) = nexthops.iter().find(|object| object.id == id) else {
        return Ok(Vec::new());
    };
    match &object.kind {
        NexthopKind::Single(next_hop) => match next_hop.hops() {
            hops if hops.is_empty() => Err(next_hop.to_string()),
            hops => Ok(hops),
        },
        NexthopKind::Group(group) if depth > 0 => {
            let mut all = Vec::new();
            for (member, _) in group {
                all.extend(members(*member, nexthops, depth - 1)?);
            }
            Ok(all)
        }
        NexthopKind::Group(_) => Err("a group of groups".to_owned()),
        NexthopKind::Other(what) => Err(what.clone()),
    }
}

/// The nexthop object that a route uses.
fn object_of(body: &[u8]) -> Option<NexthopId> {
    let mut attributes = attributes(body, RouteHeader::LEN);
    let (_, value) = attributes.find(|(kind, _)| *kind == RTA_NH_ID)?;
    number(value).map(NexthopId)
}

/// Why next hops are nothing to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Something is done to packets on the way: a label, a tunnel.
    Encapsulated,
    /// It is not whole.
    Damaged,
}

impl Unfit {
    fn named(self, what: Option<&str>) -> NextHop {
        let why = match self {
            Self::Encapsulated => "encapsulated",
            Self::Damaged => "unreadable",
        };
        NextHop::Other(match what {
            Some(what) => format!("{what}, {why}"),
            None => why.to_owned(),
        })
    }
}

/// What the attributes of a route, or of one of several next hops, say.
struct Parts<'a> {
    interface: Option<Ifindex>,
    gateway: Option<std::net::IpAddr>,
    onlink: bool,
    several: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8], flags: u32) -> Result<Self, Unfit> {
        let mut parts = Self {
            interface: None,
            gateway: None,
            onlink: flags & RTNH_F_ONLINK != 0,
            several: None,
        };
        for (kind, value) in whole_attributes(bytes).ok_or(Unfit::Damaged)? {
            match kind {
                libc::RTA_OIF => parts.interface = Some(interface(value)?),
                libc::RTA_GATEWAY => parts.gateway = Some(address(value).ok_or(Unfit::Damaged)?),
                RTA_VIA => {
                    let via = value.get(VIA_HEADER_LEN..).and_then(address);
                    parts.gateway = Some(via.ok_or(Unfit::Damaged)?);
                }
                libc::RTA_MULTIPATH => parts.several = Some(value),
                RTA_ENCAP | RTA_NEWDST => return Err(Unfit::Encapsulated),
                _ => {}
            }
        }
        Ok(parts)
    }

    fn hop(&self) -> Option<Hop> {
        Some(Hop {
            ifindex: self.interface?,
            gateway: self.gateway,
            onlink: self.onlink,
        })
    }
}

/// Every next hop of an `RTA_MULTIPATH`.
pub(crate) fn next_hops(mut rest: &[u8]) -> Result<Vec<Hop>, Unfit> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let header: &[u8; NEXT_HOP_HEADER_LEN] = rest.first_chunk().ok_or(Unfit::Damaged)?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let attributes = rest.get(NEXT_HOP_HEADER_LEN..len).ok_or(Unfit::Damaged)?;
        let parts = Parts::read(attributes, u32::from(header[2]))?;
        if parts.interface.is_some() || parts.several.is_some() {
            return Err(Unfit::Damaged);
        }
        all.push(Hop {
            ifindex: interface(&header[4..])?,
            gateway: parts.gateway,
            onlink: parts.onlink,
        });
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    if all.is_empty() {
        return Err(Unfit::Damaged);
    }
    Ok(all)
}

fn interface(value: &[u8]) -> Result<Ifindex, Unfit> {
    let number = number(value).filter(|number| *number != 0);
    number.map(Ifindex).ok_or(Unfit::Damaged)
}

#[cfg(test)]
mod tests;
