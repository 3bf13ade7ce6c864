//! Replies one by one: which count, and that nothing else does, on each of the three receiving programs.

use std::net::IpAddr;

use pingu_common::PAYLOAD_BYTES_MAX;

use crate::{
    harness::{OTHER_IFINDEX, RECEIVERS, Receiver, Rig, SENT_NS, SLOTS},
    packets::{COOKIE, Echo},
    reference::Decision,
};

const VLAN: u16 = 0x8100;
const VLAN_OUTER: u16 = 0x88a8;
/// Expects `right`, receives `changed`, and demands the decision.
fn assert_decision(
    rig: &mut Rig,
    receiver: Receiver,
    right: &Echo,
    changed: &[u8],
    decision: Decision,
) {
    rig.expect(right);
    assert_eq!(
        rig.check(receiver, changed),
        decision,
        "{receiver:?} {changed:02x?}"
    );
    // Whatever it was, the right reply still has its chance.
    if decision != Decision::Matched {
        assert_eq!(rig.check(receiver, &right.bytes()), Decision::Matched);
    }
}

fn for_each_reply(mut check: impl FnMut(&mut Rig, Receiver, Echo)) {
    let mut rig = Rig::new();
    for receiver in RECEIVERS {
        for reply in Echo::replies(receiver) {
            check(&mut rig, receiver, reply);
        }
    }
}

#[test]
fn a_right_reply_counts_once() {
    for_each_reply(|rig, receiver, reply| {
        rig.expect(&reply);
        assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Matched);
        assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Duplicate);
        assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Duplicate);
    });
}

#[test]
fn every_payload_length_counts() {
    for_each_reply(|rig, receiver, mut reply| {
        for payload_bytes in (20..=300).chain([1_472, 1_473, PAYLOAD_BYTES_MAX]) {
            reply.payload_bytes = payload_bytes;
            rig.expect(&reply);
            assert_eq!(
                rig.check(receiver, &reply.bytes()),
                Decision::Matched,
                "{payload_bytes}"
            );
        }
    });
}

#[test]
fn every_slot_counts_and_no_other_number() {
    for_each_reply(|rig, receiver, mut reply| {
        for slot in 0..SLOTS {
            reply.slot = slot;
            rig.expect(&reply);
            assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Matched);
        }
        for slot in [
            SLOTS,
            SLOTS + 1,
            1 << 16,
            i32::MAX as u32,
            1 << 31,
            u32::MAX,
        ] {
            reply.slot = slot;
            assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Foreign);
        }
    });
}

#[test]
fn one_wrong_cookie_bit_is_one_too_many() {
    for_each_reply(|rig, receiver, right| {
        rig.expect(&right);
        for bit in 0..128 {
            let mut reply = right.clone();
            reply.cookie[bit / 32] ^= 1 << (bit % 32);
            assert_eq!(
                rig.check(receiver, &reply.bytes()),
                Decision::Forged,
                "bit {bit}"
            );
        }
        assert_eq!(rig.check(receiver, &right.bytes()), Decision::Matched);
    });
}

#[test]
fn a_wrong_identifier_sequence_or_source_is_forged() {
    for_each_reply(|rig, receiver, right| {
        let mut ident = right.clone();
        ident.ident ^= 1;
        assert_decision(rig, receiver, &right, &ident.bytes(), Decision::Forged);
        let mut sequence = right.clone();
        sequence.sequence ^= 0x8000;
        assert_decision(rig, receiver, &right, &sequence.bytes(), Decision::Forged);
        for bit in 0..if right.source.is_ipv4() { 32 } else { 128 } {
            let mut source = right.clone();
            source.source = match right.source {
                IpAddr::V4(address) => IpAddr::V4((u32::from(address) ^ 1 << bit).into()),
                IpAddr::V6(address) => IpAddr::V6((u128::from(address) ^ 1 << bit).into()),
            };
            assert_decision(rig, receiver, &right, &source.bytes(), Decision::Forged);
        }
    });
}

#[test]
fn a_mapped_source_does_not_stand_for_its_ipv4_address() {
    let mut rig = Rig::new();
    for receiver in RECEIVERS {
        let right = Echo::reply_v4(receiver);
        let IpAddr::V4(address) = right.source else {
            panic!("not IPv4")
        };
        let mut mapped = Echo::reply_v6(receiver);
        mapped.source = IpAddr::V6(address.to_ipv6_mapped());
        assert_decision(
            &mut rig,
            receiver,
            &right,
            &mapped.bytes(),
            Decision::Forged,
        );
    }
}

#[test]
fn a_reply_on_another_interface_does_not_count() {
    for_each_reply(|rig, receiver, reply| {
        rig.expect_on(&reply, OTHER_IFINDEX, SENT_NS);
        assert_eq!(rig.check(receiver, &reply.bytes()), Decision::WrongUplink);
        rig.expect(&reply);
        assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Matched);
    });
}

#[test]
fn a_dead_or_unstamped_slot_takes_no_reply() {
    for_each_reply(|rig, receiver, reply| {
        rig.disarm(3);
        assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Stale, "dead");
        rig.expect_on(&reply, 1, 0);
        assert_eq!(
            rig.check(receiver, &reply.bytes()),
            Decision::Stale,
            "never left"
        );
        rig.expect(&reply);
        rig.disarm(3);
        assert_eq!(
            rig.check(receiver, &reply.bytes()),
            Decision::Stale,
            "disarmed"
        );
        let mut zeros = reply.clone();
        zeros.cookie = [0; 4];
        assert_eq!(
            rig.check(receiver, &zeros.bytes()),
            Decision::Stale,
            "zeros"
        );
    });
}

#[test]
fn a_reply_to_the_slots_last_probe_does_not_count_for_the_next() {
    for_each_reply(|rig, receiver, last| {
        rig.expect(&last);
        let mut next = last.clone();
        next.cookie = COOKIE.map(|word| !word);
        rig.expect(&next);
        assert_eq!(rig.check(receiver, &last.bytes()), Decision::Forged);
        assert_eq!(rig.check(receiver, &next.bytes()), Decision::Matched);
    });
}

#[test]
fn every_single_bit_of_the_message_is_covered_by_the_checksum() {
    for_each_reply(|rig, receiver, mut right| {
        right.payload_bytes = 57;
        let bytes = right.bytes();
        let (kind, rest) = (right.icmp_offset(), right.icmp_offset() + 28);
        rig.expect(&right);
        // The checksum's own bits, and all behind the cookie.
        for bit in ((kind + 2) * 8..(kind + 4) * 8).chain(rest * 8..bytes.len() * 8) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                rig.check(receiver, &flipped),
                Decision::Corrupt,
                "bit {bit}"
            );
        }
        assert_eq!(rig.check(receiver, &bytes), Decision::Matched);
    });
}

#[test]
fn a_packet_cut_short_anywhere_passes() {
    for_each_reply(|rig, receiver, right| {
        let bytes = right.bytes();
        rig.expect(&right);
        for length in receiver.shortest_run(&bytes)..bytes.len() {
            assert_eq!(
                rig.check(receiver, &bytes[..length]),
                Decision::Foreign,
                "{length} bytes"
            );
        }
        assert_eq!(rig.check(receiver, &bytes), Decision::Matched);
    });
}

#[test]
fn bytes_behind_the_ip_packet_do_not_matter() {
    for_each_reply(|rig, receiver, mut reply| {
        reply.padding = 37;
        assert_decision(rig, receiver, &reply, &reply.bytes(), Decision::Matched);
    });
}

#[test]
fn ipv4_options_of_every_length_are_stepped_over() {
    let mut rig = Rig::new();
    for receiver in RECEIVERS {
        for words in 0..=10 {
            let mut reply = Echo::reply_v4(receiver);
            reply.options = vec![1; words * 4];
            assert_decision(
                &mut rig,
                receiver,
                &reply,
                &reply.bytes(),
                Decision::Matched,
            );
        }
    }
}

#[test]
fn fragments_pass() {
    let mut rig = Rig::new();
    for receiver in RECEIVERS {
        let right = Echo::reply_v4(receiver);
        for fragment in [0x2000, 0x0001, 0x1fff, 0x3fff] {
            let mut reply = right.clone();
            reply.fragment = fragment;
            assert_decision(
                &mut rig,
                receiver,
                &right,
                &reply.bytes(),
                Decision::Foreign,
            );
        }
        let mut whole = right.clone();
        whole.fragment = 0;
        assert_decision(
            &mut rig,
            receiver,
            &right,
            &whole.bytes(),
            Decision::Matched,
        );
    }
}

#[test]
fn other_protocols_kinds_and_codes_pass() {
    for_each_reply(|rig, receiver, right| {
        for protocol in [0, 1, 6, 17, 44, 58]
            .into_iter()
            .filter(|protocol| *protocol != right.protocol)
        {
            let mut reply = right.clone();
            reply.protocol = protocol;
            assert_decision(rig, receiver, &right, &reply.bytes(), Decision::Foreign);
        }
        for kind in (0..=255).filter(|kind| *kind != right.kind) {
            let mut reply = right.clone();
            reply.kind = kind;
            assert_decision(rig, receiver, &right, &reply.bytes(), Decision::Foreign);
        }
        let mut code = right.clone();
        code.code = 1;
        assert_decision(rig, receiver, &right, &code.bytes(), Decision::Foreign);
    });
}

#[test]
fn no_vlan_but_the_probes_own_counts() {
    let mut rig = Rig::new();
    let tags: [&[(u16, u16)]; 7] = [
        &[],
        &[(VLAN, 100)],
        &[(VLAN, 101)],
        &[(VLAN_OUTER, 100), (VLAN, 200)],
        &[(VLAN_OUTER, 200), (VLAN, 100)],
        &[(VLAN_OUTER, 100), (VLAN, 201)],
        &[(VLAN, 4_094), (VLAN, 4_094)],
    ];
    // XDP sees tags in the packet. So does a test run of a classifier; on a device they lie beside it: see `live`.
    for receiver in [Receiver::Ethernet, Receiver::Xdp] {
        for right in Echo::replies(receiver) {
            for expected in tags {
                for got in tags {
                    let with = |tags: &[(u16, u16)]| Echo {
                        tags: tags.to_vec(),
                        ..right.clone()
                    };
                    let decision = if expected == got {
                        Decision::Matched
                    } else {
                        Decision::WrongUplink
                    };
                    assert_decision(
                        &mut rig,
                        receiver,
                        &with(expected),
                        &with(got).bytes(),
                        decision,
                    );
                }
            }
        }
    }
}

#[test]
fn a_priority_tag_names_no_vlan_and_a_third_tag_passes() {
    let mut rig = Rig::new();
    for receiver in [Receiver::Ethernet, Receiver::Xdp] {
        for right in Echo::replies(receiver) {
            let with = |tags: &[(u16, u16)]| {
                Echo {
                    tags: tags.to_vec(),
                    ..right.clone()
                }
                .bytes()
            };
            assert_decision(
                &mut rig,
                receiver,
                &right,
                &with(&[(VLAN, 0xe000)]),
                Decision::Matched,
            );
            assert_decision(
                &mut rig,
                receiver,
                &right,
                &with(&[(VLAN_OUTER, 0), (VLAN, 0x1000)]),
                Decision::Matched,
            );
            assert_decision(
                &mut rig,
                receiver,
                &right,
                &with(&[(VLAN, 0); 3]),
                Decision::Foreign,
            );
            let tagged = Echo {
                tags: vec![(VLAN, 0x6064)],
                ..right.clone()
            };
            assert_decision(
                &mut rig,
                receiver,
                &tagged,
                &with(&[(VLAN_OUTER, 0), (VLAN, 100)]),
                Decision::Matched,
            );
        }
    }
}
