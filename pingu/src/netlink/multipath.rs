//! Own IPv6 routes that the kernel shows as one.
//!
//! IPv6 keeps gateways of one metric as routes of their own, each deleted by its own key, and merges them only in a dump. A new
//! own gateway beside the old one is such a pair; whoever could not tell them apart could not finish what was interrupted.

use crate::{
    netlink::{
        codec::{RouteHeader, address, attributes, number},
        dump::{RTA_ENCAP, RTNH_F_ONLINK},
    },
    network::{NextHop, Route},
    units::{Ifindex, Protocol},
};

/// Size in bytes of `struct rtnexthop`: length, flags, hops and interface.
const NEXT_HOP_HEADER_LEN: usize = 8;

/// The routes that a dump merged into this one, if they are own IPv6 routes; else the route as it is.
///
/// The message names the first one's protocol only. A deletion names it, too, so that a foreign route among them stays.
pub(crate) fn apart(route: Route, own: Protocol) -> Vec<Route> {
    let hops = if route.ipv6() && route.protocol == own {
        attributes(&route.wire, RouteHeader::LEN)
            .find(|(kind, _)| *kind == libc::RTA_MULTIPATH)
            .and_then(|(_, hops)| next_hops(hops))
    } else {
        None
    };
    match hops {
        Some(hops) => hops.into_iter().map(|hop| single(&route, hop)).collect(),
        None => vec![route],
    }
}

/// A route of the kernel's that it never wrote as such: without bytes to put it back from.
fn single(merged: &Route, next_hop: NextHop) -> Route {
    Route {
        next_hop,
        wire: Vec::new(),
        ..merged.clone()
    }
}

/// The gateways, if all are gateways and nothing else.
fn next_hops(mut rest: &[u8]) -> Option<Vec<NextHop>> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let header: &[u8; NEXT_HOP_HEADER_LEN] = rest.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let hop = rest.get(..len.max(NEXT_HOP_HEADER_LEN))?;
        let mut gateway = None;
        for (kind, value) in attributes(hop, NEXT_HOP_HEADER_LEN) {
            match kind {
                libc::RTA_GATEWAY => gateway = address(value),
                RTA_ENCAP => return None,
                _ => {}
            }
        }
        all.push(NextHop::Gateway {
            ifindex: Ifindex(number(&header[4..8])?),
            gateway: gateway?,
            onlink: u32::from(header[2]) & RTNH_F_ONLINK != 0,
        });
        rest = rest
            .get(hop.len().next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Some(all)
}
