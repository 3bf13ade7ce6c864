//! Nexthop objects: what the kernel's messages say of them, and the requests that make, change and delete one.

use crate::{
    netlink::{
        codec::{
            INET, INET6, RawMessage, address, attributes, family, number, push_address,
            push_attribute,
        },
        next_hop::RTNH_F_ONLINK,
    },
    network::{NextHop, Nexthop, NexthopKind},
    units::{Ifindex, NexthopId, Protocol},
};

/// Size in bytes of `struct nhmsg`.
const HEADER_LEN: usize = 8;

/// Size in bytes of `struct nexthop_grp`.
const MEMBER_LEN: usize = 8;

// Of linux/nexthop.h and linux/rtnetlink.h; libc does not have them.
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP: u16 = 8;
const NHA_FDB: u16 = 11;
/// `NEXTHOP_GRP_TYPE_MPATH`: a flow takes one member by its hash.
const GROUP_TYPE_MULTIPATH: u16 = 0;

/// Asks for every nexthop object.
pub(crate) fn request() -> RawMessage {
    RawMessage {
        kind: RTM_GETNEXTHOP,
        body: vec![0; HEADER_LEN],
    }
}

/// Reads an `RTM_NEWNEXTHOP` body.
pub(crate) fn nexthop(body: &[u8]) -> Option<Nexthop> {
    let header: &[u8; HEADER_LEN] = body.first_chunk()?;
    let [family, _, protocol, _, ..] = *header;
    let flags = number(&header[4..8])?;
    let (mut id, mut interface, mut gateway, mut members, mut other) =
        (None, None, None, None, None);
    for (kind, value) in attributes(body, HEADER_LEN) {
        match kind {
            NHA_ID => id = number(value).map(NexthopId),
            NHA_OIF => interface = number(value).map(Ifindex),
            NHA_GATEWAY => gateway = address(value),
            NHA_GROUP => {
                members = Some(value.chunks_exact(MEMBER_LEN).filter_map(member).collect())
            }
            NHA_GROUP_TYPE if number_of_16_bits(value) != Some(GROUP_TYPE_MULTIPATH) => {
                other = Some("resilient group".to_owned());
            }
            NHA_BLACKHOLE => other = Some("blackhole".to_owned()),
            NHA_ENCAP => other = Some("encapsulated".to_owned()),
            NHA_FDB => other = Some("forwarding entry of a bridge".to_owned()),
            // Counters and the like: nothing that changes where packets go.
            _ => {}
        }
    }
    let kind = match (other, members, interface) {
        (Some(other), _, _) => NexthopKind::Other(other),
        (None, Some(members), _) => NexthopKind::Group(members),
        (None, None, Some(ifindex)) => NexthopKind::Single(match gateway {
            Some(gateway) => NextHop::Gateway {
                ifindex,
                gateway,
                onlink: flags & RTNH_F_ONLINK != 0,
            },
            None => NextHop::Device { ifindex },
        }),
        (None, None, None) => NexthopKind::Other("without an interface".to_owned()),
    };
    Some(Nexthop {
        id: id?,
        protocol: Protocol(protocol),
        ipv6: family == INET6,
        kind,
    })
}

/// Number and weight of a member; the kernel keeps the weight less one, its upper byte apart (0 before Linux 6.12).
fn member(bytes: &[u8]) -> Option<(NexthopId, u16)> {
    let id = number(bytes.get(..4)?)?;
    let weight = u16::from(*bytes.get(4)?) | u16::from(*bytes.get(5)?) << 8;
    Some((NexthopId(id), weight.saturating_add(1)))
}

fn number_of_16_bits(value: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(value.try_into().ok()?))
}

/// The request that makes an object, or changes it in place; `None` if it is not one that pingu makes.
pub(crate) fn addition(nexthop: &Nexthop) -> Option<RawMessage> {
    let mut body;
    match &nexthop.kind {
        NexthopKind::Single(hop) => {
            let hop = hop.hops().first().copied()?;
            let flags = if hop.onlink { RTNH_F_ONLINK } else { 0 };
            let family = match hop.gateway {
                Some(gateway) => family(gateway.is_ipv6()),
                None => family(nexthop.ipv6),
            };
            body = header(family, nexthop.protocol, flags);
            push_attribute(&mut body, NHA_ID, &nexthop.id.0.to_ne_bytes());
            push_attribute(&mut body, NHA_OIF, &hop.ifindex.0.to_ne_bytes());
            if let Some(gateway) = hop.gateway {
                push_address(&mut body, NHA_GATEWAY, gateway);
            }
        }
        NexthopKind::Group(members) => {
            body = header(libc::AF_UNSPEC as u8, nexthop.protocol, 0);
            push_attribute(&mut body, NHA_ID, &nexthop.id.0.to_ne_bytes());
            let mut list = Vec::with_capacity(members.len() * MEMBER_LEN);
            for (member, weight) in members {
                list.extend_from_slice(&member.0.to_ne_bytes());
                let [low, high] = weight.saturating_sub(1).to_le_bytes();
                list.extend_from_slice(&[low, high, 0, 0]);
            }
            push_attribute(&mut body, NHA_GROUP, &list);
        }
        NexthopKind::Other(_) => return None,
    }
    Some(RawMessage {
        kind: RTM_NEWNEXTHOP,
        body,
    })
}

/// The request that deletes an object by its number: nothing else may be named.
pub(crate) fn deletion(nexthop: &Nexthop) -> RawMessage {
    let mut body = vec![0; HEADER_LEN];
    push_attribute(&mut body, NHA_ID, &nexthop.id.0.to_ne_bytes());
    RawMessage {
        kind: RTM_DELNEXTHOP,
        body,
    }
}

/// `struct nhmsg`: family, scope, protocol, reserved, flags.
fn header(family: u8, protocol: Protocol, flags: u32) -> Vec<u8> {
    debug_assert!(matches!(family, INET | INET6 | 0));
    let mut body = vec![family, 0, protocol.0, 0];
    body.extend_from_slice(&flags.to_ne_bytes());
    body
}
