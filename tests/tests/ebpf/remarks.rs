//! What else is noted beside a probe: single packets on each of the three receiving programs. `Rig::check` demands that nothing else is
//! noted.

use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pingu::{
    probe::{LinkHeader, ProbeOrder, ProbeTransport, Reflection, Remarks},
    units::{Ifindex, SlotId},
};
use pingu_common::{MARK, PROGRAM_REPLY_XDP, PROGRAM_REQUEST_BARE, PROGRAM_REQUEST_ETHERNET};
use pingu_tests::bench::bpf;

use crate::{
    harness::{self, IFINDEX, OTHER_IFINDEX, Receiver, Rig, SENT_NS},
    packets::{COOKIE, Echo},
    quotes::{error, for_each_reply},
    reference::Decision,
};

const SLOT: SlotId = SlotId(3);

#[test]
fn replies_that_do_not_count_are_noted_each_by_its_kind() {
    for_each_reply(|rig, receiver, reply| {
        rig.expect(&reply);
        let mut forged = reply.clone();
        forged.cookie[3] ^= 1;
        let mut corrupt = reply.clone();
        corrupt.checksum_error = 0x55;
        for (packet, times) in [(forged, 3), (corrupt, 2), (reply.clone(), 5)] {
            for _ in 0..times {
                rig.check(receiver, &packet.bytes());
            }
        }
        let noted = Remarks {
            forged: 3,
            corrupt: 2,
            // The first one counted.
            duplicates: 4,
            ..Remarks::default()
        };
        assert_eq!(rig.transport.remarks(SLOT), noted);
        rig.expect_on(&reply, OTHER_IFINDEX, SENT_NS);
        for _ in 0..2 {
            rig.check(receiver, &reply.bytes());
        }
        let noted = Remarks {
            wrong_uplink: 2,
            came_in_by: Some(Ifindex(IFINDEX)),
            ..Remarks::default()
        };
        assert_eq!(rig.transport.remarks(SLOT), noted);
    });
}

#[test]
fn a_slots_next_probe_has_none_of_the_last_ones_remarks() {
    for_each_reply(|rig, receiver, last| {
        rig.expect(&last);
        for packet in [last.bytes(), last.bytes(), error(&last)] {
            rig.check(receiver, &packet);
        }
        assert_ne!(rig.transport.remarks(SLOT), Remarks::default());
        let mut next = last.clone();
        next.cookie = COOKIE.map(|word| word.rotate_left(7));
        rig.expect(&next);
        assert_eq!(rig.transport.remarks(SLOT), Remarks::default());
        // Nor has one that is not sent.
        rig.check(receiver, &error(&next));
        assert_ne!(rig.transport.remarks(SLOT), Remarks::default());
        let nowhere = ProbeOrder {
            slot: SLOT,
            ifindex: Ifindex(4_711),
            link: LinkHeader::Bare,
            source: next.destination,
            target: next.source,
            ident: 1,
            sequence: 1,
            payload_bytes: 24,
            reflect: None,
        };
        rig.transport.send(&[nowhere], &mut Vec::new());
        assert_eq!(rig.transport.remarks(SLOT), Remarks::default());
        rig.disarm(3);
        rig.entries[3].remarks = Remarks::default();
    });
}

#[test]
fn counts_stay_at_their_largest_value() {
    let mut rig = Rig::new();
    let reply = Echo::reply_v4(Receiver::Xdp);
    rig.expect(&reply);
    let mut forged = reply.clone();
    forged.cookie[0] ^= 1;
    let program = rig.transport.program(PROGRAM_REPLY_XDP);
    let program = program.unwrap();
    harness::run(program, &forged.bytes(), &mut [0; 512], 0, 70_000);
    let remarks = rig.transport.remarks(SLOT);
    assert_eq!((remarks.forged, remarks.corrupt), (u16::MAX, 0));
    // Every remark has a version of its own, and they begin anew after 65,535.
    harness::run(program, &reply.bytes(), &mut [0; 512], 0, 2);
    assert_eq!(rig.transport.remarks(SLOT).duplicates, 1);
}

#[test]
fn a_request_that_strays_says_where_to() {
    for (program, receiver) in [
        (PROGRAM_REQUEST_ETHERNET, Receiver::Ethernet),
        (PROGRAM_REQUEST_BARE, Receiver::Bare),
    ] {
        for reply in Echo::replies(receiver) {
            let mut rig = Rig::new();
            rig.expect_on(&reply, OTHER_IFINDEX, 0);
            let request = Echo {
                kind: if reply.source.is_ipv4() { 8 } else { 128 },
                source: reply.destination,
                destination: reply.source,
                ..reply.clone()
            };
            rig.run(program, &request.bytes(), &mut [0; 512], MARK);
            let noted = Remarks {
                strayed_to: Some(Ifindex(IFINDEX)),
                ..Remarks::default()
            };
            assert_eq!(rig.transport.remarks(SLOT), noted);
        }
    }
}

#[test]
fn a_reflectors_numbers_are_noted_and_nobody_elses() {
    for_each_reply(|rig, receiver, reply| {
        let numbers = |magic: &[u8]| {
            let mut bytes = magic.to_vec();
            bytes.extend(0x0102_0304_0506_0708_u64.to_be_bytes());
            bytes.extend(u64::MAX.to_be_bytes());
            bytes.extend(77_u32.to_be_bytes());
            bytes
        };
        let reflected = Reflection {
            received_ns: 0x0102_0304_0506_0708,
            sent_ns: u64::MAX,
            requests: 77,
        };
        for (magic, payload_bytes, expected) in [
            (b"PGrp", 44, Some(reflected)),
            (b"PGrp", 56, Some(reflected)),
            (b"PGrp", 43, None),
            (b"PGrq", 56, None),
            (b"PGrP", 56, None),
        ] {
            let right = Echo {
                tail: numbers(magic),
                payload_bytes,
                ..reply.clone()
            };
            rig.expect(&right);
            // Only the reply that counts is believed.
            let mut broken = right.clone();
            broken.checksum_error = 1;
            assert_eq!(rig.check(receiver, &broken.bytes()), Decision::Corrupt);
            assert_eq!(rig.transport.remarks(SLOT).reflection, None);
            assert_eq!(rig.check(receiver, &right.bytes()), Decision::Matched);
            assert_eq!(rig.transport.remarks(SLOT).reflection, expected);
        }
    });
}

#[test]
fn while_a_slot_is_armed_anew_no_other_processor_leaves_an_earlier_probes_remark() {
    const ROUNDS: u32 = 20_000;
    /// On a busy machine the flood may run while this thread does not.
    const MET: u32 = 1_000;
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut rig = Rig::new();
    let first = Echo::reply_v4(Receiver::Xdp);
    let second = Echo {
        cookie: COOKIE.map(|word| !word),
        ..first.clone()
    };
    // Forged replies leave their traces beside either probe, the error beside the first alone.
    let forged = Echo {
        cookie: [0; 4],
        ..first.clone()
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let floods = [error(&first), forged.bytes()].map(|packet| {
        let program = rig.transport.program(PROGRAM_REPLY_XDP).unwrap();
        let program = program.fd().unwrap().try_clone().unwrap();
        let stop = is_over.clone();
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                bpf::test_run(program.as_fd(), &packet, 1_000).unwrap();
            }
        })
    });
    let (mut round, mut seen) = (0, 0);
    let end = Instant::now() + PATIENCE;
    while round < ROUNDS || seen < MET && Instant::now() < end {
        round += 1;
        rig.expect(&first);
        // Sometimes at once, sometimes in the midst of the next packets.
        for _ in 0..round % 300 {
            seen += u32::from(rig.transport.remarks(SLOT).error.is_some());
        }
        rig.expect(&second);
        for _ in 0..round % 40 {
            assert_eq!(rig.transport.remarks(SLOT).error, None, "{round}");
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
    assert!(
        seen >= MET,
        "the flood met the first probe {seen} times only"
    );
}
