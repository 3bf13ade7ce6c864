//! Packets against a naive reading of the RFCs.

use std::net::{Ipv4Addr, Ipv6Addr};

use pingu_common::{Slot, VlanIds, fan::Head};
use proptest::prelude::*;

use super::*;
use crate::units::{Ifindex, SlotId};

/// RFC 1071 as its §1 says it: 16-bit words, most significant byte first, an odd byte padded with zero.
fn naive_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(pair[0]) << 8 | u32::from(low);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn order(link: LinkHeader, is_ipv4: bool, payload_bytes: u16) -> ProbeOrder {
    let (source, target) = if is_ipv4 {
        (
            Ipv4Addr::new(192, 0, 2, 1).into(),
            Ipv4Addr::new(198, 51, 100, 7).into(),
        )
    } else {
        let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xfe, 0, 0, 0, last);
        (address(1).into(), address(0xfff7).into())
    };
    ProbeOrder {
        slot: SlotId(0x0102_0304),
        ifindex: Ifindex(7),
        link,
        source,
        target,
        ident: 0xabcd,
        sequence: 0x1234,
        payload_bytes,
        reflect: None,
    }
}

const MAC_SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn built(order: &ProbeOrder, cookie: [u32; 4]) -> Vec<u8> {
    let mut frame = vec![0xa5; HEADER_BYTES_MAX + usize::from(order.payload_bytes)];
    let payload = Payload {
        slot: order.slot.0,
        cookie,
    };
    let length = write(&mut frame, order, &payload).unwrap();
    frame.truncate(length);
    frame
}

#[test]
fn an_ethernet_header_names_both_ends_and_the_family() {
    let link = LinkHeader::Ethernet {
        source: MAC_SOURCE,
        destination: MAC_DESTINATION,
    };
    let frame = built(&order(link, true, 56), [1, 2, 3, 4]);
    assert_eq!(frame[..6], MAC_DESTINATION);
    assert_eq!(frame[6..12], MAC_SOURCE);
    assert_eq!(frame[12..14], [0x08, 0x00]);
    assert_eq!(frame.len(), 14 + 20 + 8 + 56);
    let frame = built(&order(link, false, 56), [1, 2, 3, 4]);
    assert_eq!(frame[12..14], [0x86, 0xdd]);
    assert_eq!(frame.len(), 14 + 40 + 8 + 56);
}

#[test]
fn vlan_tags_stand_outer_first() {
    let link = |outer, inner| LinkHeader::Vlan {
        source: MAC_SOURCE,
        destination: MAC_DESTINATION,
        outer,
        inner,
    };
    let one = built(&order(link(100, 0), true, 24), [0; 4]);
    assert_eq!(one[12..18], [0x81, 0x00, 0, 100, 0x08, 0x00]);
    let two = built(&order(link(100, 200), true, 24), [0; 4]);
    assert_eq!(
        two[12..22],
        [0x88, 0xa8, 0, 100, 0x81, 0x00, 0, 200, 0x08, 0x00]
    );
}

#[test]
fn the_payload_begins_with_slot_and_cookie_and_ends_in_zeros() {
    let packet = built(&order(LinkHeader::Bare, true, 56), [0x0a0b_0c0d, 2, 3, 4]);
    let payload = &packet[28..];
    assert_eq!(payload[..4], 0x0102_0304_u32.to_ne_bytes());
    assert_eq!(payload[4..8], 0x0a0b_0c0d_u32.to_ne_bytes());
    assert_eq!(payload[20..], [0; 36]);
    assert_eq!(packet[24..28], [0xab, 0xcd, 0x12, 0x34]);
}

#[test]
fn what_is_asked_of_a_reflector_follows_the_cookie() {
    let mut order = order(LinkHeader::Bare, true, 56);
    order.reflect = Some(0x0102_0304);
    let packet = built(&order, [1, 2, 3, 4]);
    let payload = &packet[28..];
    assert_eq!(payload[20..24], *b"PGrq");
    assert_eq!(payload[24..44], [0; 20]);
    assert_eq!(payload[44..48], [1, 2, 3, 4]);
    assert_eq!(payload[48..], [0; 8]);
}

#[test]
fn a_payload_too_short_for_a_reflection_is_refused() {
    let mut order = order(LinkHeader::Bare, true, 47);
    order.reflect = Some(1);
    let payload = Payload {
        slot: 0,
        cookie: [0; 4],
    };
    assert_eq!(write(&mut [0; 200], &order, &payload), None);
    order.payload_bytes = 48;
    assert!(write(&mut [0; 200], &order, &payload).is_some());
}

#[test]
fn two_families_in_one_order_are_refused() {
    let mut order = order(LinkHeader::Bare, true, 56);
    order.target = Ipv6Addr::LOCALHOST.into();
    let payload = Payload {
        slot: 0,
        cookie: [0; 4],
    };
    assert_eq!(write(&mut [0; 200], &order, &payload), None);
}

proptest! {
    #[test]
    fn the_heads_that_the_egress_program_writes_make_the_same_packets(
        is_ipv4: bool, slot: u32, ident: u16, sequence: u16, cookie: [u32; 4], target: [u8; 16], payload_bytes in 48_u16..200,
        reflect: Option<u32>,
    ) {
        let mut order = order(LinkHeader::Bare, is_ipv4, payload_bytes);
        order.reflect = reflect;
        let template = built(&order, [9; 4]);
        let sums = sums(&order);
        order.slot = SlotId(slot);
        order.ident = ident;
        order.sequence = sequence;
        order.target = if is_ipv4 {
            Ipv4Addr::new(target[0], target[1], target[2], target[3]).into()
        } else {
            Ipv6Addr::from(target).into()
        };
        let mapped = match order.target {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let (words, _) = mapped.as_chunks::<4>();
        let armed = Slot {
            state: 0,
            sent_ns: 0,
            cookie,
            target: std::array::from_fn(|word| u32::from_ne_bytes(words[word])),
            ifindex: 7,
            ident: ident.to_be(),
            sequence: sequence.to_be(),
            vlan: VlanIds::default(),
            ip_version: if is_ipv4 { 4 } else { 6 },
        };
        let offset = if is_ipv4 { 4 } else { 24 };
        let mut made = template;
        let bytes = &mut made[offset..offset + size_of::<Head>()];
        // SAFETY: `Head` is plain old data of that size.
        let mut head: Head = unsafe { bytes.as_ptr().cast::<Head>().read_unaligned() };
        head.become_probe(slot, &armed, sums);
        // SAFETY: as above.
        unsafe { bytes.as_mut_ptr().cast::<Head>().write_unaligned(head) };
        prop_assert_eq!(made, built(&order, cookie));
    }

    #[test]
    fn every_checksum_verifies_by_the_naive_reading(
        is_ipv4: bool,
        payload_bytes in 48_u16..1473,
        reflect: Option<u32>,
        cookie: [u32; 4],
        ident: u16,
        sequence: u16,
        slot: u32,
    ) {
        let mut order = order(LinkHeader::Bare, is_ipv4, payload_bytes);
        (order.ident, order.sequence, order.slot) = (ident, sequence, SlotId(slot));
        order.reflect = reflect;
        let packet = built(&order, cookie);
        if is_ipv4 {
            prop_assert_eq!(naive_sum(&packet[..20]), 0xffff);
            prop_assert_eq!(naive_sum(&packet[20..]), 0xffff);
        } else {
            let mut pseudo = packet[8..40].to_vec();
            pseudo.extend_from_slice(&((packet.len() - 40) as u32).to_be_bytes());
            pseudo.extend_from_slice(&[0, 0, 0, 58]);
            pseudo.extend_from_slice(&packet[40..]);
            prop_assert_eq!(naive_sum(&pseudo), 0xffff);
        }
    }
}
