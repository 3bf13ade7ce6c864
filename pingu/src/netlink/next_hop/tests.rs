//! Next hops from bytes: whole ones, cut ones, and any at all.

use proptest::prelude::*;

use super::*;
use crate::netlink::{
    codec::{INET, INET6, push_address, push_attribute},
    dump, multipath,
};

const OWN: Protocol = Protocol(136);

fn header(ipv6: bool, protocol: u8) -> RouteHeader {
    RouteHeader {
        family: if ipv6 { INET6 } else { INET },
        table: libc::RT_TABLE_MAIN,
        protocol,
        kind: libc::RTN_UNICAST,
        ..RouteHeader::default()
    }
}

/// One `struct rtnexthop` with its attributes.
fn member(ifindex: u32, flags: u8, attributes: &[u8]) -> Vec<u8> {
    let len = (NEXT_HOP_HEADER_LEN + attributes.len()) as u16;
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend([flags, 0]);
    bytes.extend(ifindex.to_ne_bytes());
    bytes.extend(attributes);
    bytes
}

fn gateway(address: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_address(&mut bytes, libc::RTA_GATEWAY, address.parse().unwrap());
    bytes
}

fn via(address: [u8; 16]) -> Vec<u8> {
    let mut value = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
    value.extend(address);
    let mut bytes = Vec::new();
    push_attribute(&mut bytes, RTA_VIA, &value);
    bytes
}

fn hop(ifindex: u32, gateway: Option<&str>, onlink: bool) -> Hop {
    Hop {
        ifindex: Ifindex(ifindex),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        onlink,
    }
}

/// The next hop of a default route of main with these attributes.
fn read(header: RouteHeader, attributes: &[(u16, Vec<u8>)]) -> NextHop {
    route(header, attributes).next_hop
}

fn route(header: RouteHeader, attributes: &[(u16, Vec<u8>)]) -> Route {
    let mut body = header.write();
    for (kind, value) in attributes {
        push_attribute(&mut body, *kind, value);
    }
    dump::default_route(&body, OWN).unwrap()
}

fn interface_attribute(ifindex: u32) -> (u16, Vec<u8>) {
    (libc::RTA_OIF, ifindex.to_ne_bytes().to_vec())
}

fn object_attribute(id: u32) -> (u16, Vec<u8>) {
    (RTA_NH_ID, id.to_ne_bytes().to_vec())
}

fn three_kinds() -> Vec<u8> {
    [
        member(2, 4, &gateway("192.0.2.1")),
        member(3, 0, &via([0xfe; 16])),
        member(4, 16, &[]),
    ]
    .concat()
}

#[test]
fn every_hop_of_a_multipath_route_is_read() {
    let found = read(header(false, 4), &[(libc::RTA_MULTIPATH, three_kinds())]);
    let v6 = "fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe";
    let hops = vec![
        hop(2, Some("192.0.2.1"), true),
        hop(3, Some(v6), false),
        hop(4, None, false),
    ];
    let what = "multipath".to_owned();
    assert_eq!(found, NextHop::Several { what, hops });
}

#[test]
fn a_hop_that_does_something_to_packets_is_refused_by_name() {
    let mut encapsulated = gateway("192.0.2.1");
    push_attribute(&mut encapsulated, RTA_ENCAP, &[0; 4]);
    let hops = [
        member(2, 0, &gateway("192.0.2.9")),
        member(3, 0, &encapsulated),
    ]
    .concat();
    let several = (libc::RTA_MULTIPATH, hops);
    let alone = [interface_attribute(2), (RTA_ENCAP, vec![0; 4])];
    for (attributes, name) in [
        (vec![several.clone()], "multipath, encapsulated"),
        (
            vec![object_attribute(5), several],
            "nexthop object 5, encapsulated",
        ),
        (alone.to_vec(), "encapsulated"),
    ] {
        let found = read(header(false, 4), &attributes);
        assert_eq!(found, NextHop::Other(name.to_owned()));
    }
}

#[test]
fn the_hops_of_an_object_are_those_that_the_kernel_names() {
    let gateway = (libc::RTA_GATEWAY, vec![192, 0, 2, 1]);
    let found = read(
        header(false, 4),
        &[object_attribute(5), interface_attribute(2), gateway],
    );
    let what = "nexthop object 5".to_owned();
    let hops = vec![hop(2, Some("192.0.2.1"), false)];
    assert_eq!(found, NextHop::Several { what, hops });
}

fn object(id: u32, kind: NexthopKind) -> Nexthop {
    Nexthop {
        id: NexthopId(id),
        protocol: Protocol(4),
        ipv6: false,
        kind,
    }
}

#[test]
fn the_hops_that_the_kernel_does_not_name_come_from_the_objects() {
    let single = |id, hop: Hop| object(id, NexthopKind::Single(hop.next_hop()));
    let (first, second) = (hop(2, Some("192.0.2.1"), false), hop(3, None, false));
    let group = |id, members: &[u32]| {
        let members = members.iter().map(|id| (NexthopId(*id), 1)).collect();
        object(id, NexthopKind::Group(members))
    };
    let objects = [
        single(5, first),
        single(6, second),
        group(7, &[5, 6]),
        object(8, NexthopKind::Other("encapsulated".to_owned())),
        group(9, &[5, 8]),
        object(10, NexthopKind::Single(NextHop::Blackhole)),
        group(11, &[11]),
    ];
    let several = |id, hops: &[Hop]| NextHop::Several {
        what: format!("nexthop object {id}"),
        hops: hops.to_vec(),
    };
    let other = |what: &str| NextHop::Other(format!("nexthop object {what}"));
    for (id, expected) in [
        (5, several(5, &[first])),
        (7, several(7, &[first, second])),
        (8, other("8, encapsulated")),
        (9, other("9, encapsulated")),
        (10, other("10, blackhole")),
        (11, other("11, a group of groups")),
        (12, several(12, &[])),
    ] {
        let mut routes = [route(header(false, 4), &[object_attribute(id)])];
        resolve(&mut routes, &objects);
        assert_eq!(routes[0].next_hop, expected);
    }
}

#[test]
fn own_routes_are_read_in_the_terms_in_which_they_were_written() {
    let own = |ipv6, kind, attributes: &[(u16, Vec<u8>)]| {
        let header = RouteHeader {
            kind,
            ..header(ipv6, OWN.0)
        };
        let routes = multipath::apart(route(header, attributes), OWN);
        routes
            .into_iter()
            .map(|route| route.next_hop)
            .collect::<Vec<_>>()
    };
    let several = (libc::RTA_MULTIPATH, three_kinds());
    let object = [object_attribute(7), several];
    assert_eq!(
        own(false, libc::RTN_UNICAST, &object),
        [NextHop::Object(NexthopId(7))]
    );
    let loopback = [interface_attribute(1)];
    assert_eq!(
        own(true, libc::RTN_UNREACHABLE, &loopback),
        [NextHop::Unreachable]
    );
    assert_eq!(own(false, libc::RTN_BLACKHOLE, &[]), [NextHop::Blackhole]);
    let prohibit = NextHop::Other("prohibit".to_owned());
    assert_eq!(own(false, libc::RTN_PROHIBIT, &[]), [prohibit]);
    let merged = [
        member(2, 0, &gateway("fe80::1")),
        member(3, 0, &gateway("fe80::1")),
    ]
    .concat();
    let apart = own(true, libc::RTN_UNICAST, &[(libc::RTA_MULTIPATH, merged)]);
    let hops = [
        hop(2, Some("fe80::1"), false),
        hop(3, Some("fe80::1"), false),
    ];
    assert_eq!(apart, hops.map(Hop::next_hop));
}

#[test]
fn routes_for_some_packets_only_are_told_from_those_for_all() {
    let for_tos = RouteHeader {
        tos: 0x10,
        ..header(false, OWN.0)
    };
    let from = RouteHeader {
        source_len: 48,
        ..header(true, 9)
    };
    for header in [for_tos, from] {
        let found = route(header, &[interface_attribute(2)]);
        let [found] = multipath::apart(found, OWN).try_into().unwrap();
        assert!(
            !found.is_for_all() && !found.next_hop.is_exact(),
            "{found:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_multipath_route_that_was_cut_yields_its_hops_or_none(
        gateways in prop::collection::vec((1_u32..9, prop::option::of(any::<[u8; 4]>()), any::<bool>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        let mut hops = Vec::new();
        let mut ends = Vec::new();
        for (ifindex, address, onlink) in gateways {
            let mut attributes = Vec::new();
            if let Some(address) = address {
                push_attribute(&mut attributes, libc::RTA_GATEWAY, &address);
            }
            bytes.extend(member(ifindex, if onlink { 4 } else { 0 }, &attributes));
            ends.push(bytes.len());
            hops.push(Hop { ifindex: Ifindex(ifindex), gateway: address.map(Into::into), onlink });
        }
        prop_assert_eq!(next_hops(&bytes), Ok(hops.clone()));
        let cut = cut.index(bytes.len());
        match next_hops(&bytes[..cut]) {
            Ok(found) => {
                prop_assert!(ends.contains(&cut));
                prop_assert_eq!(&found[..], &hops[..found.len()]);
            }
            Err(unfit) => prop_assert_eq!(unfit, Unfit::Damaged),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        ipv6 in any::<bool>(),
        id in 0_u32..4,
    ) {
        let mut body = header(ipv6, OWN.0).write();
        body.extend(&bytes);
        let _ = next_hops(&bytes);
        if let Some(route) = dump::default_route(&body, OWN) {
            let mut routes = multipath::apart(route, OWN);
            let group = NexthopKind::Group(vec![(NexthopId(id), 1)]);
            resolve(&mut routes, &[object(id, group)]);
        }
        for kind in [libc::RTA_MULTIPATH, RTA_VIA, RTA_NH_ID, libc::RTA_GATEWAY, libc::RTA_OIF] {
            let _ = read(header(ipv6, 4), &[(kind, bytes.clone())]);
        }
    }

    #[test]
    fn a_gateway_that_was_cut_never_becomes_a_route_without_one(cut in 1_usize..16) {
        let mut body = header(false, 4).write();
        push_attribute(&mut body, libc::RTA_OIF, &2_u32.to_ne_bytes());
        push_attribute(&mut body, libc::RTA_GATEWAY, &[192, 0, 2, 1]);
        let found = dump::default_route(&body[..body.len() - cut], OWN).unwrap();
        // Only exactly at the attributes' border is it another message, not a damaged one.
        let expected = match cut {
            8 => NextHop::Device { ifindex: Ifindex(2) },
            _ => NextHop::Other("unreadable".to_owned()),
        };
        prop_assert_eq!(found.next_hop, expected);
    }
}
