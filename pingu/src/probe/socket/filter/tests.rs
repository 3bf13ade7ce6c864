//! What the filters let pass, by the kernel's own reading of them.

use std::{
    net::IpAddr,
    os::{fd::AsFd, unix::net::UnixDatagram},
};

use pingu_common::Payload;

use super::*;
use crate::{
    probe::{LinkHeader, ProbeOrder, packet},
    units::{Ifindex, SlotId},
};

const FIRST: u32 = 0x1234_5678;
const OWN: [u32; 4] = [FIRST, 2, 3, 4];
const OTHER: [u32; 4] = [FIRST ^ 0x100, 2, 3, 4];
const ETHERNET: LinkHeader = LinkHeader::Ethernet {
    source: [2; 6],
    destination: [4; 6],
};

/// Filters see what a Unix socket carries as they see packets.
fn passes(filter: Passes, bare: bool, packet: &[u8]) -> bool {
    let (here, there) = UnixDatagram::pair().unwrap();
    attach(there.as_fd(), filter, bare).unwrap();
    there.set_nonblocking(true).unwrap();
    here.send(packet).unwrap();
    there.recv(&mut [0; 2_048]).is_ok()
}

fn vlan(outer: u16, inner: u16) -> LinkHeader {
    LinkHeader::Vlan {
        source: [2; 6],
        destination: [4; 6],
        outer,
        inner,
    }
}

/// An echo request, and where its IP and ICMP headers begin.
fn request(link: LinkHeader, ipv6: bool, cookie: [u32; 4]) -> (Vec<u8>, usize, usize) {
    let address = |last: u8| -> IpAddr {
        if ipv6 {
            [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last].into()
        } else {
            [192, 0, 2, last].into()
        }
    };
    let order = ProbeOrder {
        slot: SlotId(7),
        ifindex: Ifindex(3),
        link,
        source: address(1),
        target: address(2),
        ident: 5,
        sequence: 6,
        payload_bytes: 24,
        reflect: None,
    };
    let mut frame = vec![0; 256];
    let payload = Payload { slot: 7, cookie };
    let length = packet::write(&mut frame, &order, &payload).unwrap();
    frame.truncate(length);
    let ip_bytes = if ipv6 { 40 } else { 20 };
    let icmp = length - 32;
    (frame, icmp - ip_bytes, icmp)
}

fn reply(link: LinkHeader, ipv6: bool, cookie: [u32; 4]) -> Vec<u8> {
    let (mut frame, _, icmp) = request(link, ipv6, cookie);
    frame[icmp] = if ipv6 { 129 } else { 0 };
    frame
}

/// An error that quotes the request.
fn error(link: LinkHeader, ipv6: bool, cookie: [u32; 4]) -> Vec<u8> {
    let (frame, ip, icmp) = request(link, ipv6, cookie);
    let kind = if ipv6 { 1 } else { 3 };
    let head = [kind, 0, 0, 0, 0, 0, 0, 0];
    [&frame[..icmp], &head, &frame[ip..]].concat()
}

fn shapes() -> impl Iterator<Item = (LinkHeader, bool, bool)> {
    [
        (ETHERNET, false),
        (vlan(5, 0), false),
        (vlan(5, 6), false),
        (LinkHeader::Bare, true),
    ]
    .into_iter()
    .flat_map(|(link, bare)| [(link, bare, false), (link, bare, true)])
}

#[test]
fn replies_and_errors_with_the_cookies_first_word_wait_in_the_own_queue() {
    for (link, bare, ipv6) in shapes() {
        for packet in [reply(link, ipv6, OWN), error(link, ipv6, OWN)] {
            assert!(passes(Passes::Own(FIRST), bare, &packet), "{packet:02x?}");
            assert!(
                !passes(Passes::OtherReplies(FIRST), bare, &packet),
                "{packet:02x?}"
            );
        }
        assert!(passes(Passes::AllReplies, bare, &reply(link, ipv6, OWN)));
    }
}

#[test]
fn other_replies_wait_in_the_other_queue() {
    for (link, bare, ipv6) in shapes() {
        let packet = reply(link, ipv6, OTHER);
        assert!(!passes(Passes::Own(FIRST), bare, &packet), "{packet:02x?}");
        assert!(
            passes(Passes::OtherReplies(FIRST), bare, &packet),
            "{packet:02x?}"
        );
        assert!(passes(Passes::AllReplies, bare, &packet), "{packet:02x?}");
    }
}

#[test]
fn nothing_else_waits_anywhere() {
    for (link, bare, ipv6) in shapes() {
        let (request, ip, icmp) = request(link, ipv6, OWN);
        let mut other_protocol = reply(link, ipv6, OWN);
        other_protocol[ip + if ipv6 { 6 } else { 9 }] = 17;
        let mut short = reply(link, ipv6, OWN);
        short.truncate(icmp + 12);
        for filter in [
            Passes::Own(FIRST),
            Passes::OtherReplies(FIRST),
            Passes::AllReplies,
        ] {
            for packet in [&request, &other_protocol, &short, &vec![0; 60]] {
                assert!(!passes(filter, bare, packet), "{filter:?} {packet:02x?}");
            }
        }
        let foreign = error(link, ipv6, OTHER);
        assert!(
            !passes(Passes::Own(FIRST), bare, &foreign),
            "{foreign:02x?}"
        );
    }
}

#[test]
fn ipv4_options_are_stepped_over_and_fragments_are_not_read() {
    let plain = reply(ETHERNET, false, OWN);
    let mut with_options = [&plain[..34], &[1; 8], &plain[34..]].concat();
    with_options[14] = 0x47;
    assert!(passes(Passes::Own(FIRST), false, &with_options));
    let mut fragment = plain;
    fragment[14 + 7] = 1;
    assert!(!passes(Passes::Own(FIRST), false, &fragment));
}

/// An UDP datagram from the request's source.
fn datagram(link: LinkHeader, ipv6: bool) -> (Vec<u8>, usize) {
    let (mut packet, ip, _) = request(link, ipv6, OTHER);
    packet[ip + if ipv6 { 6 } else { 9 }] = 17;
    (packet, ip)
}

fn without_tags() -> impl Iterator<Item = (LinkHeader, bool, bool)> {
    shapes().filter(|(link, _, _)| !matches!(link, LinkHeader::Vlan { .. }))
}

#[test]
fn traffic_is_counted_and_own_replies_and_errors_are_not() {
    let filter = Passes::Traffic(FIRST);
    for (link, bare, ipv6) in without_tags() {
        let (request, _, _) = request(link, ipv6, OTHER);
        for packet in [datagram(link, ipv6).0, request, reply(link, ipv6, OTHER)] {
            assert!(passes(filter, bare, &packet), "{packet:02x?}");
        }
        for packet in [
            reply(link, ipv6, OWN),
            error(link, ipv6, OWN),
            error(link, ipv6, OTHER),
        ] {
            assert!(!passes(filter, bare, &packet), "{packet:02x?}");
        }
    }
}

#[test]
fn what_is_for_many_or_about_neighbours_or_of_a_vlan_is_no_traffic() {
    let filter = Passes::Traffic(FIRST);
    for (link, bare, ipv6) in without_tags() {
        let (mut for_many, ip) = datagram(link, ipv6);
        for_many[ip + if ipv6 { 24 } else { 16 }] = if ipv6 { 0xff } else { 239 };
        assert!(!passes(filter, bare, &for_many), "{for_many:02x?}");
        if !ipv6 {
            for_many[ip + 16..ip + 20].fill(0xff);
            assert!(!passes(filter, bare, &for_many), "{for_many:02x?}");
        }
    }
    for (link, bare) in [(ETHERNET, false), (LinkHeader::Bare, true)] {
        for (kind, counts) in [
            (1, false),
            (127, false),
            (128, true),
            (130, false),
            (135, false),
            (136, false),
            (137, false),
            (138, true),
        ] {
            let (mut packet, _, icmp) = request(link, true, OTHER);
            packet[icmp] = kind;
            assert_eq!(passes(filter, bare, &packet), counts, "{kind}");
        }
    }
    for link in [vlan(5, 0), vlan(5, 6)] {
        assert!(!passes(filter, false, &datagram(link, false).0));
    }
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    assert!(!passes(filter, false, &arp));
}
