//! ICMP errors one by one: only one that quotes the probe with its whole cookie is noted. `Rig::check` demands that nothing else is.

use std::net::IpAddr;

use pingu::{
    probe::{IcmpError, ProbeTransport, Remarks},
    units::SlotId,
};

use crate::{
    harness::{IFINDEX, OTHER_IFINDEX, RECEIVERS, Receiver, Rig, SENT_NS},
    packets::{COOKIE, Echo, HERE_V4, HERE_V6},
    reference::Decision,
};

const VLAN: u16 = 0x8100;
const VLAN_OUTER: u16 = 0x88a8;
const SLOT: SlotId = SlotId(3);

/// The errors of each family that say why a probe did not arrive.
fn errors(reply: &Echo) -> [u8; 4] {
    if reply.source.is_ipv4() {
        [3, 4, 11, 12]
    } else {
        [1, 2, 3, 4]
    }
}

fn router(reply: &Echo) -> IpAddr {
    if reply.source.is_ipv4() {
        HERE_V4
    } else {
        HERE_V6
    }
}

/// Each program with a right reply of each family, untagged and, where there are tags, with one and two.
pub fn for_each_reply(mut check: impl FnMut(&mut Rig, Receiver, Echo)) {
    let mut rig = Rig::new();
    for receiver in RECEIVERS {
        let tags: &[&[(u16, u16)]] = if receiver.has_ethernet() {
            &[&[], &[(VLAN, 100)], &[(VLAN_OUTER, 100), (VLAN, 200)]]
        } else {
            &[&[]]
        };
        for tags in tags {
            for reply in Echo::replies(receiver) {
                let tags = tags.to_vec();
                check(&mut rig, receiver, Echo { tags, ..reply });
            }
        }
    }
}

/// An error of the first kind that quotes the whole request.
pub fn error(reply: &Echo) -> Vec<u8> {
    reply.error(router(reply), errors(reply)[0], 1, &reply.quote())
}

fn assert_unnoted(rig: &mut Rig, receiver: Receiver, reply: &Echo, packet: &[u8], why: &str) {
    let decision = rig.check(receiver, packet);
    assert!(
        matches!(decision, Decision::ErrorUnproven | Decision::Foreign),
        "{why}: {receiver:?} {decision:?}"
    );
    assert_eq!(rig.transport.remarks(SLOT), Remarks::default(), "{why}");
    // Whatever it was, the right error still has its chance.
    assert_eq!(rig.check(receiver, &error(reply)), Decision::Error, "{why}");
    rig.expect(reply);
}

#[test]
fn every_kind_of_error_is_noted_with_its_code_and_sender() {
    for_each_reply(|rig, receiver, reply| {
        for kind in errors(&reply) {
            for code in [0, 1, 4, 255] {
                rig.expect(&reply);
                let from = router(&reply);
                let packet = reply.error(from, kind, code, &reply.quote());
                assert_eq!(rig.check(receiver, &packet), Decision::Error);
                let noted = rig.transport.remarks(SLOT).error;
                assert_eq!(noted, Some(IcmpError { from, kind, code }));
                // It is no answer, and takes none away.
                assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Matched);
            }
        }
    });
}

#[test]
fn the_last_error_stands() {
    for_each_reply(|rig, receiver, reply| {
        rig.expect(&reply);
        for (kind, from) in errors(&reply)
            .into_iter()
            .zip([router(&reply), reply.source])
        {
            let packet = reply.error(from, kind, 3, &reply.quote());
            assert_eq!(rig.check(receiver, &packet), Decision::Error);
            let noted = rig.transport.remarks(SLOT).error.unwrap();
            assert_eq!((noted.from, noted.kind), (from, kind));
        }
    });
}

#[test]
fn no_other_message_is_an_error() {
    for_each_reply(|rig, receiver, reply| {
        let (reply_kind, errors) = (reply.kind, errors(&reply));
        for kind in (0..=255).filter(|kind| *kind != reply_kind && !errors.contains(kind)) {
            rig.expect(&reply);
            let packet = reply.error(router(&reply), kind, 0, &reply.quote());
            assert_unnoted(rig, receiver, &reply, &packet, "another type");
        }
    });
}

#[test]
fn one_wrong_bit_in_what_proves_the_probe_is_one_too_many() {
    for_each_reply(|rig, receiver, reply| {
        let quote = reply.quote();
        let icmp = quote.len() - 8 - usize::from(reply.payload_bytes);
        let address_bytes = if reply.source.is_ipv4() { 4 } else { 16 };
        let cookie = (icmp + 12) * 8..(icmp + 28) * 8;
        let numbers = (icmp + 4) * 8..(icmp + 8) * 8;
        let target = (icmp - address_bytes) * 8..icmp * 8;
        let kind = icmp * 8..(icmp + 2) * 8;
        let slot = (icmp + 8) * 8..(icmp + 12) * 8;
        for bit in cookie.chain(numbers).chain(target).chain(kind).chain(slot) {
            rig.expect(&reply);
            let mut wrong = quote.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let packet = reply.error(router(&reply), errors(&reply)[0], 1, &wrong);
            assert_unnoted(rig, receiver, &reply, &packet, &format!("bit {bit}"));
        }
    });
}

#[test]
fn what_routers_change_on_the_way_does_not_matter() {
    for_each_reply(|rig, receiver, reply| {
        let quote = reply.quote();
        let icmp = quote.len() - 8 - usize::from(reply.payload_bytes);
        let from = router(&reply);
        // Type of service, time to live, the checksums, and what follows the cookie.
        let changed = if reply.source.is_ipv4() {
            [1, 8, 10, icmp + 2, icmp + 28]
        } else {
            [1, 2, 7, icmp + 2, icmp + 28]
        };
        for place in changed {
            rig.expect(&reply);
            let mut other = quote.clone();
            other[place] ^= 0x11;
            let packet = reply.error(from, errors(&reply)[0], 1, &other);
            assert_eq!(
                rig.check(receiver, &packet),
                Decision::Error,
                "byte {place}"
            );
        }
    });
}

#[test]
fn a_quote_without_the_whole_cookie_proves_nothing() {
    for_each_reply(|rig, receiver, reply| {
        let quote = reply.quote();
        let needed = quote.len() - usize::from(reply.payload_bytes) + 20;
        let from = router(&reply);
        for bytes in 0..quote.len() {
            rig.expect(&reply);
            let packet = reply.error(from, errors(&reply)[0], 1, &quote[..bytes]);
            if packet.len() < receiver.shortest_run(&packet) {
                continue;
            }
            if bytes < needed {
                let decision = rig.check(receiver, &packet);
                assert_eq!(decision, Decision::Foreign, "{bytes}");
                assert_eq!(rig.transport.remarks(SLOT), Remarks::default());
            } else {
                assert_eq!(rig.check(receiver, &packet), Decision::Error, "{bytes}");
            }
        }
    });
}

#[test]
fn bytes_behind_the_error_are_no_part_of_its_quote() {
    for_each_reply(|rig, receiver, reply| {
        rig.expect(&reply);
        let quote = reply.quote();
        let cut = quote.len() - usize::from(reply.payload_bytes) + 19;
        let mut packet = reply.error(router(&reply), errors(&reply)[0], 1, &quote[..cut]);
        packet.extend(&quote[cut..]);
        assert_eq!(rig.check(receiver, &packet), Decision::Foreign);
    });
}

#[test]
fn an_error_by_another_interface_or_vlan_is_not_noted() {
    for_each_reply(|rig, receiver, reply| {
        rig.expect_on(&reply, OTHER_IFINDEX, SENT_NS);
        assert_eq!(rig.check(receiver, &error(&reply)), Decision::ErrorUnproven);
        if receiver.has_ethernet() {
            rig.expect(&reply);
            let tags = if reply.tags.is_empty() {
                vec![(VLAN, 7)]
            } else {
                Vec::new()
            };
            let elsewhere = Echo {
                tags,
                ..reply.clone()
            };
            assert_unnoted(rig, receiver, &reply, &error(&elsewhere), "another VLAN");
        }
    });
}

#[test]
fn an_error_with_a_wrong_checksum_is_not_noted() {
    for_each_reply(|rig, receiver, reply| {
        for checksum_error in [1, 0x8000, 0xffff ^ 0x1234] {
            rig.expect(&reply);
            let broken = Echo {
                checksum_error,
                ..reply.clone()
            };
            let quote = reply.quote();
            let packet = broken.error(router(&reply), errors(&reply)[0], 1, &quote);
            assert_unnoted(rig, receiver, &reply, &packet, "checksum");
        }
    });
}

#[test]
fn long_quotes_and_quoted_options_are_read() {
    for_each_reply(|rig, receiver, mut reply| {
        for payload_bytes in [20, 24, 57, 500, 1_200] {
            reply.payload_bytes = payload_bytes;
            if reply.source.is_ipv4() {
                reply.options = vec![1; usize::from(payload_bytes % 11) * 4];
            }
            rig.expect(&reply);
            assert_eq!(rig.check(receiver, &error(&reply)), Decision::Error);
        }
    });
}

#[test]
fn a_quoted_fragment_behind_the_first_proves_nothing() {
    let mut rig = Rig::new();
    for receiver in RECEIVERS {
        let reply = Echo::reply_v4(receiver);
        for fragment in [1, 0x1fff, 0x2001] {
            rig.expect(&reply);
            let quote = Echo {
                fragment,
                ..reply.clone()
            }
            .quote();
            let packet = reply.error(HERE_V4, 3, 1, &quote);
            assert_unnoted(&mut rig, receiver, &reply, &packet, "fragment");
        }
    }
}

#[test]
fn an_error_about_a_dead_unsent_or_earlier_probe_is_not_noted() {
    for_each_reply(|rig, receiver, last| {
        rig.expect(&last);
        rig.disarm(3);
        assert_eq!(rig.check(receiver, &error(&last)), Decision::ErrorUnproven);
        rig.expect_on(&last, IFINDEX, 0);
        assert_eq!(rig.check(receiver, &error(&last)), Decision::ErrorUnproven);
        let mut next = last.clone();
        next.cookie = COOKIE.map(|word| !word);
        rig.expect(&next);
        assert_unnoted(rig, receiver, &next, &error(&last), "an earlier probe's");
    });
}
