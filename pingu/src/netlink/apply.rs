//! Changes to the main table as requests: every key spelled out, never a replacement.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

use crate::{
    netlink::{
        codec::{RawMessage, RouteHeader, family, push_address, push_attribute},
        next_hop::RTNH_F_ONLINK,
    },
    network::{NextHop, Route},
    units::{Ifindex, TableId},
};

/// `RTA_VIA`: a gateway of the other family.
const RTA_VIA: u16 = 18;

/// `RTA_NH_ID`: a nexthop object.
pub(crate) const RTA_NH_ID: u16 = 30;

/// `LOOPBACK_IFINDEX`: the same in every network namespace.
const LOOPBACK: Ifindex = Ifindex(1);

/// Flags for a free slot.
pub(crate) const INTO_FREE_SLOT: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// Flags for a slot that holds another own route.
pub(crate) const BESIDE: u16 = NLM_F_CREATE | NLM_F_APPEND;

/// The request that adds an own route; `None` if its next hop is not one that pingu makes.
pub(crate) fn addition(route: &Route) -> Option<RawMessage> {
    let mut body = key(route, None)?;
    if let Some(source) = route.preferred_source {
        push_address(&mut body, libc::RTA_PREFSRC, source);
    }
    Some(RawMessage {
        kind: libc::RTM_NEWROUTE,
        body,
    })
}

/// The request that deletes exactly this route.
pub(crate) fn deletion(route: &Route) -> Option<RawMessage> {
    // Somebody else's device route may have scope universe; as the kernel wrote it is as it is found.
    let scope = RouteHeader::read(&route.wire).map(|header| header.scope);
    let mut body = key(route, scope)?;
    if route.ipv6() && matches!(route.next_hop, NextHop::Unreachable | NextHop::Blackhole) {
        // The kernel does not look at a route's type here; those that lead nowhere are on the loopback interface.
        push_attribute(&mut body, libc::RTA_OIF, &LOOPBACK.0.to_ne_bytes());
    }
    if route.ipv6() && matches!(route.next_hop, NextHop::Device { .. }) {
        // Without a gateway the kernel takes any route of this interface and metric, one with a gateway as well. The
        // unspecified address is what a route without a gateway has in its place.
        push_address(
            &mut body,
            libc::RTA_GATEWAY,
            std::net::Ipv6Addr::UNSPECIFIED.into(),
        );
    }
    if !route.ipv6()
        && let Some(source) = route.preferred_source
    {
        push_address(&mut body, libc::RTA_PREFSRC, source);
    }
    Some(RawMessage {
        kind: libc::RTM_DELROUTE,
        body,
    })
}

/// The request that puts a remembered route back; `None` if it was not remembered.
pub(crate) fn restoration(route: &Route) -> Option<RawMessage> {
    RouteHeader::read(&route.wire)?;
    Some(RawMessage {
        kind: libc::RTM_NEWROUTE,
        body: route.wire.clone(),
    })
}

/// The request that makes the kernel resolve or confirm a neighbour.
pub(crate) fn solicitation(ifindex: Ifindex, address: IpAddr) -> RawMessage {
    neighbour(ifindex, address, libc::NUD_NONE, libc::NTF_USE)
}

/// The request that makes the kernel ask a neighbour anew, at the link-layer address that it knows.
pub(crate) fn doubt(ifindex: Ifindex, address: IpAddr) -> RawMessage {
    neighbour(ifindex, address, libc::NUD_PROBE, 0)
}

fn neighbour(ifindex: Ifindex, address: IpAddr, state: u16, flags: u8) -> RawMessage {
    // struct ndmsg: family, padding, interface, state, flags, type.
    let mut body = vec![family(address.is_ipv6()), 0, 0, 0];
    body.extend_from_slice(&ifindex.0.to_ne_bytes());
    body.extend_from_slice(&state.to_ne_bytes());
    body.extend_from_slice(&[flags, 0]);
    push_address(&mut body, libc::NDA_DST, address);
    RawMessage {
        kind: libc::RTM_NEWNEIGH,
        body,
    }
}

/// Family, table, destination, protocol, metric and next hop of a route.
fn key(route: &Route, scope: Option<u8>) -> Option<Vec<u8>> {
    let mut kind = libc::RTN_UNICAST;
    let (mut ifindex, mut gateway, mut onlink, mut object) = (None, None, false, None);
    match &route.next_hop {
        NextHop::Gateway {
            ifindex: interface,
            gateway: next_hop,
            onlink: flag,
        } => (ifindex, gateway, onlink) = (Some(*interface), Some(*next_hop), *flag),
        NextHop::Device { ifindex: interface } => ifindex = Some(*interface),
        NextHop::Object(id) => object = Some(*id),
        NextHop::Unreachable => kind = libc::RTN_UNREACHABLE,
        NextHop::Blackhole => kind = libc::RTN_BLACKHOLE,
        NextHop::Several { .. } | NextHop::Selective(_) | NextHop::Other(_) => return None,
    }
    let is_device = matches!(route.next_hop, NextHop::Device { .. });
    let own_scope = if is_device && !route.ipv6() {
        libc::RT_SCOPE_LINK
    } else {
        libc::RT_SCOPE_UNIVERSE
    };
    let header = RouteHeader {
        family: family(route.ipv6()),
        table: header_table(route.table),
        protocol: route.protocol.0,
        scope: scope.unwrap_or(own_scope),
        kind,
        destination_len: route.destination.prefix_len(),
        flags: if onlink { RTNH_F_ONLINK } else { 0 },
        ..RouteHeader::default()
    };
    let mut body = header.write();
    push_attribute(&mut body, libc::RTA_TABLE, &route.table.0.to_ne_bytes());
    push_attribute(&mut body, libc::RTA_PRIORITY, &route.metric.0.to_ne_bytes());
    if !route.is_default() {
        push_address(&mut body, libc::RTA_DST, route.destination.network());
    }
    if let Some(ifindex) = ifindex {
        push_attribute(&mut body, libc::RTA_OIF, &ifindex.0.to_ne_bytes());
    }
    if let Some(id) = object {
        push_attribute(&mut body, RTA_NH_ID, &id.0.to_ne_bytes());
    }
    match gateway {
        Some(IpAddr::V6(gateway)) if !route.ipv6() => {
            let mut via = libc::AF_INET6.to_ne_bytes()[..2].to_vec();
            if cfg!(target_endian = "big") {
                via = libc::AF_INET6.to_ne_bytes()[2..].to_vec();
            }
            via.extend_from_slice(&gateway.octets());
            push_attribute(&mut body, RTA_VIA, &via);
        }
        Some(gateway) => push_address(&mut body, libc::RTA_GATEWAY, gateway),
        None => {}
    }
    Some(body)
}

/// The header's eight bits of a table's number; larger ones stand in the attribute alone.
fn header_table(table: TableId) -> u8 {
    u8::try_from(table.0).unwrap_or(libc::RT_TABLE_UNSPEC)
}
