//! The reflector's programs on single packets: what goes back, to the byte, and what is left to the kernel untouched.

mod limit;
mod rig;
mod wire;

use std::net::IpAddr;

use pingu::units::Ifindex;
use pingu_common::VlanIds;
use rig::{CLOCK_BEGIN_NS, HOOKS, Hook, OWN, PATH, Rig, request};

use crate::{
    harness::IFINDEX,
    packets::{Echo, HERE_V4, HERE_V6, THERE_V4, THERE_V6},
    reference,
};

fn be64(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// The reply that a request must become, with this much of it taken from the reply itself: stamps and count.
fn expected(request: &Echo, reply: &[u8]) -> Vec<u8> {
    let place = request.icmp_offset() + 8 + 20;
    let mut tail = b"PGrp".to_vec();
    tail.extend(&reply[place + 4..place + 24]);
    tail.extend(PATH.to_be_bytes());
    let turned = Echo {
        source: request.destination,
        destination: request.source,
        kind: if request.source.is_ipv4() { 0 } else { 129 },
        tail,
        ..request.clone()
    };
    let mut bytes = turned.bytes();
    if request.has_ethernet {
        let (to, from) = bytes[..12].split_at_mut(6);
        to.swap_with_slice(from);
    }
    bytes
}

fn check_reply(request: &Echo, reply: &[u8]) -> u32 {
    assert_eq!(reply, expected(request, reply), "{request:?}");
    let place = request.icmp_offset() + 8 + 20;
    let (received, sent) = (
        be64(&reply[place + 4..place + 12]),
        be64(&reply[place + 12..place + 20]),
    );
    assert!(received >= CLOCK_BEGIN_NS, "{received}");
    assert!(
        sent >= received && sent - received < 1_000_000_000,
        "{received} {sent}"
    );
    be32(&reply[place + 20..place + 24])
}

#[test]
fn a_probe_becomes_its_own_reply_to_the_byte() {
    let rig = Rig::new(&["0.0.0.0/0", "::/0"]);
    for hook in HOOKS {
        for is_ipv4 in [true, false] {
            for payload_bytes in [48, 49, 56, 57, 500, 1_472] {
                for padding in [0, 6] {
                    let request = Echo {
                        payload_bytes,
                        padding,
                        ..request(hook, is_ipv4)
                    };
                    let (verdict, reply) = rig.run(hook, &request.bytes());
                    assert_eq!(verdict, hook.sent_back(), "{request:?}");
                    check_reply(&request, &reply);
                }
            }
        }
    }
    assert_eq!(rig.0.counters().unwrap().reflected, 3 * 2 * 6 * 2);
}

#[test]
fn tags_stay_and_say_which_addresses_are_served() {
    let rig = Rig::new(&["0.0.0.0/0", "::/0"]);
    for hook in [Hook::Xdp, Hook::Ethernet] {
        for is_ipv4 in [true, false] {
            for (tags, is_served) in [
                (vec![(0x8100, 0xe000)], true),
                (vec![(0x88a8, 7), (0x8100, 0x6009)], true),
                (vec![(0x8100, 7)], false),
                (vec![(0x88a8, 9), (0x8100, 7)], false),
            ] {
                let request = Echo {
                    tags,
                    ..request(hook, is_ipv4)
                };
                if !is_served {
                    rig.passes_untouched(hook, &request.bytes(), "another VLAN");
                    continue;
                }
                let (verdict, reply) = rig.run(hook, &request.bytes());
                assert_eq!(verdict, hook.sent_back(), "{request:?}");
                // The kernel takes the outer tag of a test packet out, as a network card may.
                if hook == Hook::Xdp || reply.len() == request.bytes().len() {
                    check_reply(&request, &reply);
                }
            }
        }
    }
}

#[test]
fn each_path_is_counted_for_itself_from_a_random_beginning() {
    let rig = Rig::new(&["0.0.0.0/0", "::/0"]);
    let mut beginnings = Vec::new();
    for (number, is_ipv4) in [(1_u32, true), (2, true), (1, false)] {
        let mut request = request(Hook::Xdp, is_ipv4);
        request.tail[24..28].copy_from_slice(&number.to_be_bytes());
        let count = |hook| {
            let (_, reply) = rig.run(hook, &request.bytes());
            let place = request.icmp_offset() + 8 + 20 + 20;
            be32(&reply[place..place + 4])
        };
        let first = count(Hook::Xdp);
        for step in 1..10 {
            // One count, whichever program sees the request.
            let hook = if step % 2 == 0 {
                Hook::Xdp
            } else {
                Hook::Ethernet
            };
            assert_eq!(count(hook), first.wrapping_add(step));
        }
        beginnings.push(first);
    }
    beginnings.dedup();
    assert_eq!(beginnings.len(), 3, "three paths began at one number");
    let mut paths = rig.0.paths();
    paths.sort_by_key(|path| (path.source.is_ipv6(), path.path));
    let seen: Vec<(IpAddr, IpAddr, u32, u64)> = paths
        .iter()
        .map(|path| (path.source, path.target, path.path, path.requests))
        .collect();
    assert_eq!(
        seen,
        [
            (THERE_V4, HERE_V4, 1, 10),
            (THERE_V4, HERE_V4, 2, 10),
            (THERE_V6, HERE_V6, 1, 10),
        ]
    );
}

/// A way in which a request differs from one that is reflected.
type Oddity = (&'static str, fn(&mut Echo));

const ODDITIES: [Oddity; 12] = [
    ("an ordinary ping", |echo| echo.tail = Vec::new()),
    ("a reply", |echo| {
        echo.kind = if echo.source.is_ipv4() { 0 } else { 129 };
    }),
    ("a reflector's reply", |echo| echo.tail[3] = b'p'),
    ("a code", |echo| echo.code = 1),
    ("a payload that is too short", |echo| {
        echo.payload_bytes = 47;
        echo.tail.truncate(27);
    }),
    ("a payload that is too long", |echo| {
        echo.payload_bytes = 2_104
    }),
    ("a wrong checksum", |echo| echo.checksum_error = 0x0100),
    ("another address", |echo| {
        echo.destination = match echo.destination {
            IpAddr::V4(_) => "192.0.2.2".parse().unwrap(),
            IpAddr::V6(_) => "2001:db8::2".parse().unwrap(),
        }
    }),
    ("a broadcast", |echo| {
        echo.destination = match echo.destination {
            IpAddr::V4(_) => "255.255.255.255".parse().unwrap(),
            IpAddr::V6(_) => "ff02::1".parse().unwrap(),
        }
    }),
    ("its own address as source", |echo| {
        echo.source = echo.destination
    }),
    ("a multicast source", |echo| {
        echo.source = match echo.source {
            IpAddr::V4(_) => "224.0.0.1".parse().unwrap(),
            IpAddr::V6(_) => "ff02::1".parse().unwrap(),
        }
    }),
    ("a source that is nobody's", |echo| {
        echo.source = match echo.source {
            IpAddr::V4(_) => "0.0.0.0".parse().unwrap(),
            IpAddr::V6(_) => "::1".parse().unwrap(),
        }
    }),
];

#[test]
fn whatever_is_odd_is_left_to_the_kernel_untouched() {
    let rig = Rig::new(&["0.0.0.0/0", "::/0"]);
    for hook in HOOKS {
        for is_ipv4 in [true, false] {
            let good = request(hook, is_ipv4);
            for (what, change) in ODDITIES {
                let mut odd = good.clone();
                change(&mut odd);
                rig.passes_untouched(hook, &odd.bytes(), what);
            }
            if is_ipv4 {
                let options = Echo {
                    options: vec![1, 1, 1, 0],
                    ..good.clone()
                };
                rig.passes_untouched(hook, &options.bytes(), "options");
                for fragment in [0x2000, 0x0010] {
                    let fragment = Echo {
                        fragment,
                        ..good.clone()
                    };
                    rig.passes_untouched(hook, &fragment.bytes(), "a fragment");
                }
                let mut wrong = good.bytes();
                wrong[good.ip_offset() + 10] ^= 0x40;
                rig.passes_untouched(hook, &wrong, "a wrong header checksum");
            }
            if good.has_ethernet {
                let mut elsewhere = good.bytes();
                elsewhere[5] = 9;
                rig.passes_untouched(hook, &elsewhere, "a frame to another station");
                let mut multicast = good.bytes();
                multicast[6] = 3;
                rig.passes_untouched(hook, &multicast, "a frame from a group");
                for group in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
                    let mut to_group = good.bytes();
                    to_group[..6].copy_from_slice(&group);
                    rig.passes_untouched(hook, &to_group, "a frame to a group");
                }
            }
            let whole = good.bytes();
            for bytes in harness_shortest(hook, is_ipv4)..whole.len() {
                rig.passes_untouched(hook, &whole[..bytes], "a truncated packet");
            }
            let (verdict, _) = rig.run(hook, &whole);
            assert_eq!(verdict, hook.sent_back(), "the good one");
        }
    }
    assert!(rig.0.counters().unwrap().corrupt > 0);
}

/// What the kernel test-runs at least.
fn harness_shortest(hook: Hook, is_ipv4: bool) -> usize {
    match (hook, is_ipv4) {
        (Hook::Ethernet, true) => 34,
        (Hook::Ethernet, false) => 54,
        (Hook::Xdp | Hook::Bare, _) => 14,
    }
}

#[test]
fn an_address_that_is_served_no_more_and_another_interface_s_are_the_kernel_s() {
    let mut rig = Rig::new(&["0.0.0.0/0", "::/0"]);
    rig.0.forget(Ifindex(IFINDEX), VlanIds::default(), HERE_V4);
    rig.0
        .serve(Ifindex(IFINDEX + 1), VlanIds::default(), HERE_V4, OWN)
        .unwrap();
    for hook in HOOKS {
        rig.passes_untouched(hook, &request(hook, true).bytes(), "forgotten");
        let (verdict, _) = rig.run(hook, &request(hook, false).bytes());
        assert_eq!(verdict, hook.sent_back());
    }
}

#[test]
fn only_sources_within_the_prefixes_are_answered() {
    for (from, answered) in [
        (&["198.51.100.0/24"][..], [true, false]),
        (&["198.51.100.8/29"], [false, false]),
        (&["198.51.100.7/32", "2001:db8::ffff:0/112"], [true, true]),
        (&["2001:db8::/32"], [false, true]),
        (&["::/0"], [false, true]),
        (&["0.0.0.0/0"], [true, false]),
        (&[], [false, false]),
    ] {
        let rig = Rig::new(from);
        for hook in HOOKS {
            for (is_ipv4, is_answered) in [(true, answered[0]), (false, answered[1])] {
                let request = request(hook, is_ipv4);
                if is_answered {
                    let (verdict, _) = rig.run(hook, &request.bytes());
                    assert_eq!(verdict, hook.sent_back(), "{from:?} {hook:?} {is_ipv4}");
                } else {
                    rig.passes_untouched(hook, &request.bytes(), "a source from elsewhere");
                }
            }
        }
    }
}

#[test]
fn nobody_is_answered_who_uses_a_source_that_is_not_another_host_s() {
    let here = [
        "127.0.0.1",
        "0.1.2.3",
        "224.0.0.5",
        "255.255.255.255",
        "240.0.0.1",
    ];
    let there = [
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:192.0.2.9",
        "ff02::1",
        "ff05::2",
    ];
    let mut rig = Rig::new(&["0.0.0.0/0", "::/0", "198.51.100.7/32"]);
    for hook in HOOKS {
        for (is_ipv4, sources) in [(true, &here[..]), (false, &there[..])] {
            for source in sources {
                let odd = Echo {
                    source: source.parse().unwrap(),
                    ..request(hook, is_ipv4)
                };
                rig.passes_untouched(hook, &odd.bytes(), source);
            }
        }
        // Its own addresses and broadcasts are given; they may be whole prefixes that were asked for, and come and go.
        let own = [THERE_V4, THERE_V6];
        for is_refused in [true, false, true, false] {
            rig.0
                .refuse(own.into_iter().filter(|_| is_refused).collect())
                .unwrap();
            for is_ipv4 in [true, false] {
                let request = request(hook, is_ipv4);
                if is_refused {
                    rig.passes_untouched(hook, &request.bytes(), "an own address");
                } else {
                    let (verdict, _) = rig.run(hook, &request.bytes());
                    assert_eq!(verdict, hook.sent_back(), "{hook:?} {is_ipv4}");
                }
            }
        }
    }
}

#[test]
fn a_reply_s_checksums_are_right_by_the_naive_reading() {
    let rig = Rig::new(&["0.0.0.0/0", "::/0"]);
    for sequence in (0..=u16::MAX).step_by(97) {
        let request = Echo {
            sequence,
            ..request(Hook::Bare, true)
        };
        let (_, reply) = rig.run(Hook::Bare, &request.bytes());
        assert_eq!(reference::sum(&reply[..20]), 0xffff);
        assert_eq!(reference::sum(&reply[20..]), 0xffff);
    }
}
