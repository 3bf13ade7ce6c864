//! The reflector on a device, frame by frame: what returns, in what order, and under which tags, as the wire sees it.

use pingu::probe::kernel::reflector::{ReflectHook, Reflector};
use pingu_common::VlanIds;

use super::{
    check_reply,
    rig::{CLOCK_BEGIN_NS, Hook, request},
};
use crate::{
    device::{Device, Frame},
    packets::{Echo, HERE_V4, HERE_V6},
};

/// Where the kernel may cut a frame in two; 0 is nowhere.
const FIRST_PIECES_BYTES: [u16; 4] = [0, 14, 38, 90];

struct Wire {
    device: Device,
    kind: Hook,
    reflector: Reflector,
}

impl Wire {
    fn new(kind: Hook, clsact: bool) -> Self {
        let device = Device::new(kind == Hook::Ethernet);
        let ifindex = device.ifindex;
        let mac = match kind {
            Hook::Ethernet => device.namespace.mac("tun0").unwrap(),
            Hook::Bare | Hook::Xdp => [0; 6],
        };
        let reflector = device.namespace.run(move || {
            let from = ["0.0.0.0/0", "::/0"].map(|prefix| prefix.parse().unwrap());
            let mut reflector = Reflector::load(&from, 0, CLOCK_BEGIN_NS).unwrap();
            for vlan in [VlanIds::default(), VlanIds { outer: 7, inner: 9 }] {
                for address in [HERE_V4, HERE_V6] {
                    reflector.serve(ifindex, vlan, address, mac).unwrap();
                }
            }
            reflector
        });
        let bare = kind == Hook::Bare;
        let (reflector, attached) = device.namespace.run(move || {
            let attached = reflector.attach_classifier(ifindex, bare, clsact);
            (reflector, attached.unwrap())
        });
        let expected = match clsact {
            true => ReflectHook::Clsact,
            false => ReflectHook::Tcx,
        };
        assert_eq!(attached.hook(), expected);
        assert!(device.namespace.run(move || {
            let is_alive = attached.is_alive();
            // The device goes with its namespace.
            std::mem::forget(attached);
            is_alive
        }));
        Self {
            device,
            kind,
            reflector,
        }
    }

    fn request(&self, is_ipv4: bool, sequence: u16) -> Echo {
        let request = Echo {
            sequence,
            ..request(self.kind, is_ipv4)
        };
        match self.kind {
            Hook::Ethernet => Echo {
                link_destination: self.device.namespace.mac("tun0").unwrap(),
                ..request
            },
            Hook::Bare | Hook::Xdp => request,
        }
    }

    fn send(&mut self, bytes: Vec<u8>, first_piece_bytes: u16) {
        self.device.write(&Frame {
            bytes,
            first_piece_bytes,
        });
    }

    /// What returns next must be this one's reply, to the byte.
    fn expect_reply_to(&mut self, request: &Echo) {
        let reply = self.device.next_echo([0, 129]);
        check_reply(request, &reply);
    }
}

#[test]
fn what_returns_is_as_long_as_what_came_and_under_the_same_tags() {
    for (kind, tag_sets) in [
        (
            Hook::Ethernet,
            &[
                &[][..],
                &[(0x8100, 0)],
                &[(0x8100, 0xe000)],
                &[(0x88a8, 7), (0x8100, 0x6009)],
            ][..],
        ),
        (Hook::Bare, &[&[][..]]),
    ] {
        for clsact in [false, true] {
            let mut wire = Wire::new(kind, clsact);
            let mut sequence = 0;
            for tags in tag_sets {
                for (is_ipv4, payload_bytes) in
                    [(true, 48), (false, 48), (true, 1_472), (false, 57)]
                {
                    sequence += 1;
                    let request = Echo {
                        tags: tags.to_vec(),
                        payload_bytes,
                        ..wire.request(is_ipv4, sequence)
                    };
                    wire.send(request.bytes(), 0);
                    wire.expect_reply_to(&request);
                }
            }
            assert_eq!(
                wire.reflector.counters().unwrap().reflected,
                u64::from(sequence)
            );
        }
    }
}

#[test]
fn what_is_not_for_this_host_returns_nothing() {
    for clsact in [false, true] {
        let mut wire = Wire::new(Hook::Ethernet, clsact);
        for is_ipv4 in [true, false] {
            let good = wire.request(is_ipv4, 1);
            let mut unanswered: Vec<Vec<u8>> = Vec::new();
            for tags in [
                vec![(0x8100, 7)],
                vec![(0x8100, 100)],
                vec![(0x88a8, 7), (0x8100, 8)],
            ] {
                let tagged = Echo {
                    tags,
                    ..good.clone()
                };
                unanswered.push(tagged.bytes());
            }
            for station in [[0xff; 6], [2, 0, 0, 0, 0, 0x77], [1, 0, 0x5e, 0, 0, 1]] {
                let mut frame = good.bytes();
                frame[..6].copy_from_slice(&station);
                unanswered.push(frame);
            }
            let mut short = good.bytes();
            short.truncate(short.len() - 1);
            unanswered.push(short);
            for bytes in unanswered {
                wire.send(bytes, 0);
            }
            // Of all of them only this one returns.
            let last = wire.request(is_ipv4, 2);
            wire.send(last.bytes(), 0);
            wire.expect_reply_to(&last);
        }
        assert_eq!(wire.reflector.counters().unwrap().reflected, 2);
    }
}

#[test]
fn a_request_in_pieces_returns_whole() {
    for clsact in [false, true] {
        let mut wire = Wire::new(Hook::Ethernet, clsact);
        for (number, first_piece_bytes) in FIRST_PIECES_BYTES.into_iter().enumerate() {
            for is_ipv4 in [true, false] {
                // Only a packet longer than a page is kept in pieces; what follows its IP length is padding.
                let request = Echo {
                    padding: 5_000,
                    ..wire.request(is_ipv4, number as u16)
                };
                wire.send(request.bytes(), first_piece_bytes);
                wire.expect_reply_to(&request);
            }
        }
    }
}
