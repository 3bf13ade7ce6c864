//! Probes over tun and tap devices: layer-3 devices, VLAN tags as the kernel takes them out of a packet, and packets in pieces.

use pingu::probe::{IcmpError, LinkHeader};

use crate::{
    device::{Device, Frame, error_to, icmp_offset, whole},
    live::assert_answered,
};

#[test]
fn a_layer_3_device_is_probed_without_a_link_header() {
    let mut device = Device::new(false);
    for payload_bytes in [24, 56, 1_472] {
        let orders = device.orders(LinkHeader::Bare, payload_bytes);
        let (stamps, counters) = device.exchange(orders, whole);
        assert_answered(&stamps);
        assert_eq!((counters.stamped, counters.matched), (2, 2));
    }
}

#[test]
fn tags_that_the_kernel_took_out_of_the_packet_are_seen() {
    let mut device = Device::new(true);
    for link in [device.link(), device.vlan(100, 0), device.vlan(100, 200)] {
        let orders = device.orders(link, 56);
        let (stamps, counters) = device.exchange(orders, whole);
        assert_answered(&stamps);
        assert_eq!((counters.stamped, counters.matched), (2, 2), "{link:?}");
    }
}

#[test]
fn a_reply_under_another_tag_does_not_count() {
    let mut device = Device::new(true);
    let retag = |frame: Vec<u8>, tags: &[u8]| {
        let icmp = icmp_offset(&frame, true).unwrap();
        let ip = icmp - if frame[icmp] == 129 { 40 } else { 20 };
        whole([&frame[..12], tags, &frame[ip - 2..]].concat())
    };
    let orders = device.orders(device.link(), 56);
    for tags in [
        &[0x81, 0x00, 0, 100][..],
        &[0x88, 0xa8, 0, 100, 0x81, 0x00, 0, 200],
    ] {
        let (stamps, counters) = device.exchange(orders, |frame| retag(frame, tags));
        assert!(
            stamps
                .iter()
                .all(|stamps| stamps.sent_ns.is_some() && stamps.received_ns.is_none())
        );
        assert_eq!(
            (counters.matched, counters.wrong_uplink),
            (0, 2),
            "{tags:x?}"
        );
    }
    // VLAN id 0 is a priority, not a VLAN.
    let (stamps, _) = device.exchange(orders, |frame| retag(frame, &[0x81, 0x00, 0xe0, 0]));
    assert_answered(&stamps);
}

#[test]
fn a_reply_in_pieces_counts_wherever_it_is_cut() {
    let mut device = Device::new(true);
    for payload_bytes in [24, 56, 57, 1_472] {
        for first_piece_bytes in [
            14, 15, 24, 33, 34, 35, 42, 50, 61, 62, 63, 76, 90, 98, 99, 500,
        ] {
            let orders = device.orders(device.link(), payload_bytes);
            let (stamps, counters) = device.exchange(orders, |mut bytes| {
                // Only a packet longer than a page is kept in pieces; what follows its IP length is padding.
                bytes.resize(5_000, 0);
                vec![Frame {
                    bytes,
                    first_piece_bytes,
                }]
            });
            assert_answered(&stamps);
            assert_eq!(counters.matched, 2, "{payload_bytes} {first_piece_bytes}");
        }
    }
}

#[test]
fn a_corrupt_reply_in_pieces_does_not_count() {
    let mut device = Device::new(true);
    for payload_bytes in [57_u16, 1_472] {
        let orders = device.orders(device.link(), payload_bytes);
        let (stamps, counters) = device.exchange(orders, |mut bytes| {
            *bytes.last_mut().unwrap() ^= 0x10;
            bytes.resize(5_000, 0);
            vec![Frame {
                bytes,
                first_piece_bytes: 14,
            }]
        });
        assert!(stamps.iter().all(|stamps| stamps.received_ns.is_none()));
        assert_eq!((counters.matched, counters.corrupt), (0, 2));
    }
}

#[test]
fn errors_are_noted_bare_under_tags_and_wherever_they_are_cut() {
    for is_tap in [false, true] {
        let mut device = Device::new(is_tap);
        let links = if is_tap {
            vec![device.link(), device.vlan(100, 0), device.vlan(100, 200)]
        } else {
            vec![LinkHeader::Bare]
        };
        for link in links {
            for (payload_bytes, first_piece_bytes) in [
                (24, 0),
                (1_472, 0),
                (56, 14),
                (57, 35),
                (56, 63),
                (56, 90),
                (500, 120),
            ] {
                let orders = device.orders(link, payload_bytes);
                let seen = device.exchange_requests(orders, |request| {
                    let mut bytes = error_to(request, is_tap);
                    if first_piece_bytes != 0 {
                        bytes.resize(5_000, 0);
                    }
                    vec![Frame {
                        bytes,
                        first_piece_bytes,
                    }]
                });
                assert!(
                    seen.stamps
                        .iter()
                        .all(|stamps| stamps.received_ns.is_none())
                );
                assert_eq!(seen.counters.error, 2, "{link:?} {payload_bytes}");
                for (remarks, order) in seen.remarks.iter().zip(orders) {
                    let error = IcmpError {
                        from: order.target,
                        kind: if order.target.is_ipv4() { 11 } else { 3 },
                        code: 0,
                    };
                    assert_eq!(remarks.error, Some(error));
                }
                assert_eq!(seen.traffic.ingress_packets, 0);
            }
        }
    }
}

#[test]
fn what_comes_under_a_tag_or_in_pieces_is_counted_or_not_as_it_should() {
    let mut device = Device::new(true);
    let own = device.namespace.mac("tun0").unwrap();
    let frame = |tags: &[u8]| {
        // An answer to a TCP handshake, from anybody.
        let mut frame = [&own[..], &[2, 0, 0, 0, 0, 9], tags, &[0x08, 0x00]].concat();
        frame.extend([
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 7, 192, 0, 2, 1,
        ]);
        frame.extend([
            0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0,
        ]);
        frame
    };
    let orders = device.orders(device.link(), 24);
    for (tags, first_piece_bytes, counted) in [
        (&[][..], 0, 1),
        (&[], 14, 1),
        (&[], 40, 1),
        (&[0x81, 0, 0, 100], 0, 0),
        (&[0x88, 0xa8, 0, 100, 0x81, 0, 0, 5], 0, 0),
        (&[0x81, 0, 0xe0, 0], 0, 1),
        (&[0x81, 0, 0xe0, 0], 18, 1),
    ] {
        let mut bytes = frame(tags);
        if first_piece_bytes != 0 {
            bytes.resize(5_000, 0);
        }
        let seen = device.exchange_requests(orders, |_| {
            vec![Frame {
                bytes: bytes.clone(),
                first_piece_bytes,
            }]
        });
        let traffic = seen.traffic;
        let counts = (traffic.ingress_packets, traffic.handshakes_answered);
        assert_eq!(
            counts,
            (2 * counted, 2 * counted),
            "{tags:x?} {first_piece_bytes}"
        );
    }
}

#[test]
fn a_replayed_reply_keeps_the_first_time() {
    let mut device = Device::new(false);
    let orders = device.orders(LinkHeader::Bare, 56);
    let (stamps, counters) = device.exchange(orders, |bytes| {
        [bytes.clone(), bytes.clone(), bytes]
            .into_iter()
            .flat_map(whole)
            .collect()
    });
    assert_answered(&stamps);
    assert_eq!((counters.matched, counters.duplicate), (2, 4));
}
