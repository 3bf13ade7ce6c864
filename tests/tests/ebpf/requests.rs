//! Requests at the egress hook: only ours are looked at, only once, and all pass.

use pingu::{probe::ProbeTransport, units::SlotId};
use pingu_common::{MARK, PROGRAM_REQUEST_BARE, PROGRAM_REQUEST_ETHERNET};

use crate::{
    harness::{IFINDEX, OTHER_IFINDEX, Receiver, Rig},
    packets::Echo,
};

/// TCX_NEXT.
const PASS: u32 = u32::MAX;

/// Each egress program with a request of each family and the reply that its slot is armed for.
fn for_each_request(mut check: impl FnMut(&str, Echo, Echo)) {
    for (program, receiver) in [
        (PROGRAM_REQUEST_ETHERNET, Receiver::Ethernet),
        (PROGRAM_REQUEST_BARE, Receiver::Bare),
    ] {
        for reply in Echo::replies(receiver) {
            let kind = if reply.source.is_ipv4() { 8 } else { 128 };
            let request = Echo {
                kind,
                source: reply.destination,
                destination: reply.source,
                ..reply.clone()
            };
            check(program, request, reply);
        }
    }
}

/// Runs the packet, demands that it passes unchanged, and says whether the slot is stamped.
fn is_stamped_by(rig: &Rig, program: &str, packet: &[u8], mark: u32) -> bool {
    let mut out = vec![0; packet.len() + 64];
    let result = rig.run(program, packet, &mut out, mark);
    assert_eq!(result.return_value, PASS);
    assert_eq!(out[..result.data_size_out as usize], *packet);
    rig.transport.read(SlotId(3)).sent_ns.is_some()
}

#[test]
fn a_request_is_stamped_the_first_time() {
    for_each_request(|program, request, reply| {
        let mut rig = Rig::new();
        rig.expect_on(&reply, IFINDEX, 0);
        assert!(is_stamped_by(&rig, program, &request.bytes(), MARK));
        let first = rig.transport.read(SlotId(3));
        assert!(is_stamped_by(&rig, program, &request.bytes(), MARK));
        assert_eq!(rig.transport.read(SlotId(3)), first);
        assert_eq!(rig.transport.counters().unwrap().stamped, 1);
    });
}

#[test]
fn a_request_without_our_mark_is_foreign() {
    for_each_request(|program, request, reply| {
        let mut rig = Rig::new();
        rig.expect_on(&reply, IFINDEX, 0);
        for mark in [0, 1, MARK ^ 1, !MARK, MARK.swap_bytes()] {
            assert!(!is_stamped_by(&rig, program, &request.bytes(), mark));
        }
        assert_eq!(rig.transport.counters().unwrap(), Default::default());
    });
}

#[test]
fn a_request_on_another_interface_is_counted_and_not_stamped() {
    for_each_request(|program, request, reply| {
        let mut rig = Rig::new();
        rig.expect_on(&reply, OTHER_IFINDEX, 0);
        assert!(!is_stamped_by(&rig, program, &request.bytes(), MARK));
        assert_eq!(rig.transport.counters().unwrap().strayed, 1);
    });
}

#[test]
fn a_request_of_another_probe_stamps_nothing() {
    for_each_request(|program, request, reply| {
        let mut rig = Rig::new();
        assert!(
            !is_stamped_by(&rig, program, &request.bytes(), MARK),
            "a dead slot"
        );
        rig.expect_on(&reply, IFINDEX, 0);
        for bit in 0..128 {
            let mut other = request.clone();
            other.cookie[bit / 32] ^= 1 << (bit % 32);
            assert!(
                !is_stamped_by(&rig, program, &other.bytes(), MARK),
                "cookie bit {bit}"
            );
        }
        assert!(
            !is_stamped_by(&rig, program, &reply.bytes(), MARK),
            "a reply"
        );
        let bytes = request.bytes();
        for length in Receiver::Ethernet.shortest_run(&bytes)..bytes.len() {
            assert!(
                !is_stamped_by(&rig, program, &bytes[..length], MARK),
                "{length} bytes"
            );
        }
        assert_eq!(rig.transport.counters().unwrap(), Default::default());
        assert!(is_stamped_by(&rig, program, &bytes, MARK));
    });
}
