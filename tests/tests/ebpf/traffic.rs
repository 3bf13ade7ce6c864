//! What passes beside the probes is counted exactly: single packets, each way.

use std::net::IpAddr;

use pingu::{
    probe::{ProbeTransport, Traffic},
    units::Ifindex,
};
use pingu_common::{MARK, PROGRAM_REQUEST_BARE, PROGRAM_REQUEST_ETHERNET};

use crate::{
    harness::{IFINDEX, RECEIVERS, Receiver, Rig},
    packets::Echo,
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A TCP segment that begins where an ICMP message would.
fn segment(receiver: Receiver, is_ipv4: bool, flags: u8) -> Echo {
    let base = if is_ipv4 {
        Echo::reply_v4(receiver)
    } else {
        Echo::reply_v6(receiver)
    };
    Echo {
        protocol: 6,
        // Byte 13 of the header: the second of the cookie's first word.
        cookie: [u32::from_ne_bytes([0, flags, 0, 0]), 0, 0, 0],
        payload_bytes: 24,
        ..base
    }
}

fn counted(rig: &Rig) -> Traffic {
    rig.transport.traffic(Ifindex(IFINDEX)).unwrap()
}

/// What one packet at the ingress hook adds; `Rig::check` demands that it is what the reference says.
fn arriving(rig: &mut Rig, receiver: Receiver, packet: &[u8]) -> (u64, u64) {
    let before = counted(rig);
    rig.check(receiver, packet);
    let after = counted(rig);
    assert_eq!(after.egress_packets, before.egress_packets);
    let packets = after.ingress_packets - before.ingress_packets;
    let bytes = after.ingress_bytes - before.ingress_bytes;
    assert_eq!(bytes, packets * packet.len() as u64);
    let answered = after.handshakes_answered - before.handshakes_answered;
    (packets, answered)
}

/// What one packet at the egress hook adds.
fn leaving(rig: &Rig, receiver: Receiver, packet: &[u8], mark: u32) -> (u64, u64) {
    let program = match receiver {
        Receiver::Ethernet | Receiver::Xdp => PROGRAM_REQUEST_ETHERNET,
        Receiver::Bare => PROGRAM_REQUEST_BARE,
    };
    let before = counted(rig);
    let mut out = vec![0; packet.len() + 64];
    let result = rig.run(program, packet, &mut out, mark);
    assert_eq!(result.return_value, u32::MAX);
    assert_eq!(out[..result.data_size_out as usize], *packet);
    let after = counted(rig);
    assert_eq!(after.ingress_packets, before.ingress_packets);
    let packets = after.egress_packets - before.egress_packets;
    let bytes = after.egress_bytes - before.egress_bytes;
    assert_eq!(bytes, packets * packet.len() as u64);
    let begun = after.handshakes_begun - before.handshakes_begun;
    (packets, begun)
}

/// Each program and family.
fn for_each(mut check: impl FnMut(&mut Rig, Receiver, bool)) {
    let mut rig = Rig::new();
    for receiver in RECEIVERS {
        for is_ipv4 in [true, false] {
            check(&mut rig, receiver, is_ipv4);
        }
    }
}

#[test]
fn handshakes_are_told_by_their_flags() {
    for_each(|rig, receiver, is_ipv4| {
        for flags in 0..=255 {
            let packet = segment(receiver, is_ipv4, flags).bytes();
            let answers = u64::from(flags & (SYN | ACK) == SYN | ACK);
            let begins = u64::from(flags & (SYN | ACK) == SYN);
            assert_eq!(arriving(rig, receiver, &packet), (1, answers), "{flags:#x}");
            assert_eq!(
                leaving(rig, receiver, &packet, 0),
                (1, begins),
                "{flags:#x}"
            );
        }
    });
}

#[test]
fn what_goes_to_another_address_than_the_one_before_is_counted() {
    for_each(|rig, receiver, is_ipv4| {
        let elsewhere = |rig: &Rig, last_byte: u8, options: &[u8], flags| {
            let mut begin = segment(receiver, is_ipv4, flags);
            begin.destination = match begin.destination {
                IpAddr::V4(_) => IpAddr::from([203, 0, 113, last_byte]),
                IpAddr::V6(_) => format!("2001:db8::{last_byte:x}").parse().unwrap(),
            };
            begin.options = options.to_vec();
            let before = counted(rig).handshakes_elsewhere;
            leaving(rig, receiver, &begin.bytes(), 0);
            counted(rig).handshakes_elsewhere - before
        };
        // The packets with options are read by another way.
        let options: &[u8] = if is_ipv4 { &[1; 4] } else { &[] };
        assert_eq!(elsewhere(rig, 1, &[], SYN), 1);
        for _ in 0..5 {
            assert_eq!(elsewhere(rig, 1, &[], SYN), 0);
            assert_eq!(elsewhere(rig, 1, options, SYN), 0);
            assert_eq!(elsewhere(rig, 2, &[], ACK), 0, "none is begun");
        }
        assert_eq!(elsewhere(rig, 2, options, SYN), 1);
        assert_eq!(elsewhere(rig, 1, &[], SYN), 1);
    });
}

#[test]
fn options_before_a_segment_are_stepped_over() {
    for_each(|rig, receiver, _| {
        for words in 0..=10 {
            let mut answer = segment(receiver, true, SYN | ACK);
            answer.options = vec![0x12; words * 4];
            assert_eq!(arriving(rig, receiver, &answer.bytes()), (1, 1));
            let mut begin = segment(receiver, true, SYN);
            begin.options = vec![0x12; words * 4];
            assert_eq!(leaving(rig, receiver, &begin.bytes(), 0), (1, 1));
        }
    });
}

#[test]
fn only_the_first_fragment_has_flags() {
    for_each(|rig, receiver, _| {
        for (fragment, is_first) in [(0x2000, 1), (0x2001, 0), (0x0001, 0), (0x1f00, 0)] {
            for options in [vec![], vec![1; 4]] {
                let mut answer = segment(receiver, true, SYN | ACK);
                (answer.fragment, answer.options) = (fragment, options.clone());
                assert_eq!(arriving(rig, receiver, &answer.bytes()), (1, is_first));
                let mut begin = segment(receiver, true, SYN);
                (begin.fragment, begin.options) = (fragment, options);
                assert_eq!(leaving(rig, receiver, &begin.bytes(), 0), (1, is_first));
            }
        }
    });
}

#[test]
fn behind_an_extension_header_there_is_no_handshake() {
    for_each(|rig, receiver, _| {
        for protocol in [0, 43, 44, 60] {
            let packet = Echo {
                protocol,
                ..segment(receiver, false, SYN | ACK)
            };
            assert_eq!(arriving(rig, receiver, &packet.bytes()), (1, 0));
        }
    });
}

#[test]
fn short_packets_count_without_flags() {
    for_each(|rig, receiver, is_ipv4| {
        let whole = segment(receiver, is_ipv4, SYN | ACK).bytes();
        let header = segment(receiver, is_ipv4, 0).icmp_offset();
        for bytes in receiver.shortest_run(&whole).max(header)..whole.len() {
            let answers = u64::from(bytes > header + 13);
            let seen = arriving(rig, receiver, &whole[..bytes]);
            assert_eq!(seen, (1, answers), "{receiver:?} {bytes}");
            assert_eq!(leaving(rig, receiver, &whole[..bytes], 0), (1, 0));
        }
    });
}

#[test]
fn what_is_not_for_one_host_or_no_ip_does_not_count() {
    for_each(|rig, receiver, is_ipv4| {
        let mut packet = segment(receiver, is_ipv4, SYN | ACK);
        if receiver.has_ethernet() {
            for group in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
                packet.link_destination = group;
                assert_eq!(arriving(rig, receiver, &packet.bytes()), (0, 0));
                assert_eq!(leaving(rig, receiver, &packet.bytes(), 0), (0, 0));
            }
            // For another host: the device's own address is zeros. A driver's hook cannot know.
            packet.link_destination = [2, 0, 0, 0, 0, 7];
            let seen = u64::from(receiver == Receiver::Xdp);
            assert_eq!(arriving(rig, receiver, &packet.bytes()), (seen, seen));
            assert_eq!(leaving(rig, receiver, &packet.bytes(), 0), (1, 0));
            packet.link_destination = [0; 6];
            for ether_type in [0x0806_u16, 0x8847, 0x8863, 0x88cc, 0x0026] {
                let mut bytes = packet.bytes();
                bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
                assert_eq!(arriving(rig, receiver, &bytes), (0, 0));
                assert_eq!(leaving(rig, receiver, &bytes, 0), (0, 0));
            }
            for tags in [vec![(0x8100, 100)], vec![(0x88a8, 5), (0x8100, 6)]] {
                packet.tags = tags;
                assert_eq!(arriving(rig, receiver, &packet.bytes()), (0, 0));
                assert_eq!(leaving(rig, receiver, &packet.bytes(), 0), (0, 0));
            }
            // A priority is no VLAN.
            packet.tags = vec![(0x8100, 0xe000)];
            assert_eq!(arriving(rig, receiver, &packet.bytes()), (1, 1));
        } else {
            let groups: [IpAddr; 2] = if is_ipv4 {
                ["224.0.0.251", "255.255.255.255"].map(|text| text.parse().unwrap())
            } else {
                ["ff02::1", "ff0e::5"].map(|text| text.parse().unwrap())
            };
            for group in groups {
                packet.destination = group;
                assert_eq!(arriving(rig, receiver, &packet.bytes()), (0, 0));
                assert_eq!(leaving(rig, receiver, &packet.bytes(), 0), (0, 0));
            }
        }
    });
}

#[test]
fn neighbour_discovery_does_not_count_and_other_icmp_does() {
    for_each(|rig, receiver, is_ipv4| {
        let base = segment(receiver, is_ipv4, 0);
        for kind in 0..=255 {
            let mut packet = base.clone();
            (packet.protocol, packet.kind) = (if is_ipv4 { 1 } else { 58 }, kind);
            // No number of a slot.
            packet.slot = u32::MAX;
            let seen = u64::from(is_ipv4 || !(133..=137).contains(&kind));
            assert_eq!(
                arriving(rig, receiver, &packet.bytes()),
                (seen, 0),
                "{kind}"
            );
            assert_eq!(
                leaving(rig, receiver, &packet.bytes(), 0),
                (seen, 0),
                "{kind}"
            );
        }
    });
}

#[test]
fn neither_probes_nor_what_answers_them_count() {
    for_each(|rig, receiver, is_ipv4| {
        let reply = if is_ipv4 {
            Echo::reply_v4(receiver)
        } else {
            Echo::reply_v6(receiver)
        };
        rig.expect(&reply);
        let quote = reply.quote();
        let error = reply.error(reply.source, if is_ipv4 { 11 } else { 3 }, 0, &quote);
        for packet in [&error, &reply.bytes(), &reply.bytes()] {
            assert_eq!(arriving(rig, receiver, packet), (0, 0));
        }
        assert_eq!(leaving(rig, receiver, &reply.bytes(), MARK), (0, 0));
        assert_eq!(leaving(rig, receiver, &reply.bytes(), MARK ^ 1), (1, 0));
    });
}
