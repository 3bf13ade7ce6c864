//! Templates on real devices: each probe that the egress program makes of one is what it would be alone.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use pingu::{
    config::ReceiveHook,
    probe::{
        LinkHeader, ProbeOrder, ProbeTransport, SendResult, Stamps,
        kernel::{KernelTransport, LoadOptions},
        packet,
    },
    units::SlotId,
};
use pingu_common::{MARK, Payload, fan::FAN_SLOT};
use pingu_tests::lab::raw_socket::RawSocket;

use crate::live::{DEADLINE, HERE_V4, Pair, THERE_V4};

/// Two whole templates and one of a single probe.
const ORDERS: u32 = 17;
/// Two templates, the fewest that leave as such.
const FEWEST: u32 = 16;
const PATIENCE: Duration = Duration::from_millis(200);

fn orders(pair: &Pair, link: LinkHeader, is_ipv4: bool) -> Vec<ProbeOrder> {
    let v6 = |last: u32| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0xffff, 0, 0x0102, last as u16);
    (0..ORDERS)
        .map(|slot| {
            let (source, target): (IpAddr, IpAddr) = if is_ipv4 {
                (HERE_V4, Ipv4Addr::new(192, 0, 2, 2 + slot as u8).into())
            } else {
                (v6(1).into(), v6(2 + slot).into())
            };
            ProbeOrder {
                link,
                ident: 0xfff0 + slot as u16 % 16,
                sequence: 0xfffe_u16.wrapping_add(slot as u16),
                payload_bytes: 24 + 33 * u16::from(is_ipv4),
                ..pair.order(slot, source, target)
            }
        })
        .collect()
}

/// The frames that arrive at the peer until as many as were ordered have, or the deadline is over.
fn arriving(pair: &Pair, send: impl FnOnce(), count: usize) -> Vec<Vec<u8>> {
    let down0 = pair.peer.ifindex("down0").unwrap();
    let destination = pair.peer.mac("down0").unwrap();
    let socket = pair
        .peer
        .run(move || RawSocket::frames(down0, PATIENCE))
        .unwrap();
    send();
    let end = Instant::now() + DEADLINE;
    let mut frames = Vec::new();
    let mut buffer = [0; 2048];
    // Once all have come, one more patience shows that there are no others.
    loop {
        match socket.receive(&mut buffer).unwrap() {
            Some(frame) if frame[..6] == destination => frames.push(frame.to_vec()),
            Some(_) => {}
            None if frames.len() >= count || Instant::now() > end => return frames,
            None => {}
        }
    }
}

fn sent(
    pair: &Pair,
    receive: ReceiveHook,
    orders: &[ProbeOrder],
) -> (Vec<SendResult>, Vec<Stamps>) {
    let (ifindex, orders) = (pair.ifindex, orders.to_vec());
    pair.sender.run(move || {
        let mut transport = KernelTransport::load(LoadOptions::new(ORDERS, receive)).unwrap();
        transport.attach(ifindex, false).unwrap();
        let mut results = Vec::new();
        transport.send(&orders, &mut results);
        let stamps = orders.iter().map(|order| transport.read(order.slot));
        (results, stamps.collect())
    })
}

#[test]
fn each_probe_of_a_template_is_to_the_byte_what_it_would_be_alone() {
    let pair = Pair::new();
    let LinkHeader::Ethernet {
        source,
        destination,
    } = pair.link
    else {
        panic!("Ethernet")
    };
    let tagged = |outer, inner| LinkHeader::Vlan {
        source,
        destination,
        outer,
        inner,
    };
    for (link, is_ipv4) in [
        (pair.link, true),
        (pair.link, false),
        (tagged(7, 0), true),
        (tagged(7, 8), false),
    ] {
        let orders = orders(&pair, link, is_ipv4);
        let frames = arriving(
            &pair,
            || {
                let (results, stamps) = sent(&pair, ReceiveHook::Tcx, &orders);
                assert_eq!(results, [SendResult::Sent; ORDERS as usize]);
                assert!(
                    stamps.iter().all(|stamps| stamps.sent_ns.is_some()),
                    "{stamps:?}"
                );
            },
            orders.len(),
        );
        let mut by_slot: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for frame in frames {
            let payload_at = frame.len() - usize::from(orders[0].payload_bytes);
            let (words, _) = frame[payload_at..payload_at + 20].as_chunks::<4>();
            let words: Vec<u32> = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
            let Some(order) = orders.get(words[0] as usize) else {
                continue;
            };
            let payload = Payload {
                slot: words[0],
                cookie: [words[1], words[2], words[3], words[4]],
            };
            let mut alone = [0; 256];
            let length = packet::write(&mut alone, order, &payload).unwrap();
            let mut alone = alone[..length].to_vec();
            if matches!(link, LinkHeader::Vlan { .. }) {
                // The receiving kernel takes the outer tag out of the frame.
                alone.drain(12..16);
            }
            assert_eq!(frame, alone, "{order:?}");
            assert!(
                by_slot.insert(words[0], frame).is_none(),
                "twice: {order:?}"
            );
        }
        assert_eq!(by_slot.len(), orders.len(), "{link:?}, IPv4: {is_ipv4}");
    }
}

#[test]
fn without_its_program_a_template_counts_for_nothing() {
    let pair = Pair::new();
    let orders: Vec<_> = (0..FEWEST)
        .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
        .collect();
    let (ifindex, thread) = (pair.ifindex, pair.sender.thread_id());
    let frames = arriving(
        &pair,
        || {
            let orders = orders.clone();
            let (results, stamps) = pair.sender.run(move || {
                let mut transport =
                    KernelTransport::load(LoadOptions::new(FEWEST, ReceiveHook::Clsact)).unwrap();
                transport.attach(ifindex, false).unwrap();
                let removed = std::process::Command::new("tc")
                    .args(["qdisc", "delete", "dev", "up0", "clsact"])
                    .status();
                assert!(
                    removed.unwrap().success(),
                    "in the namespace of thread {thread}"
                );
                let mut results = Vec::new();
                transport.send(&orders, &mut results);
                let stamps: Vec<_> = orders
                    .iter()
                    .map(|order| transport.read(order.slot).sent_ns)
                    .collect();
                (results, stamps)
            });
            assert_eq!(results, [SendResult::Sent; FEWEST as usize]);
            assert_eq!(
                stamps, [None; FEWEST as usize],
                "nothing has passed the hook"
            );
        },
        1,
    );
    assert_eq!(frames.len(), 2, "the templates themselves, valid requests");
}

#[test]
fn what_a_full_queue_drops_of_a_template_is_stamped_and_lost() {
    let pair = Pair::new();
    pair.sender
        .command("tc qdisc add dev up0 root pfifo limit 0")
        .unwrap();
    let orders: Vec<_> = (0..FEWEST)
        .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
        .collect();
    let (results, stamps) = sent(&pair, ReceiveHook::Tcx, &orders);
    assert_eq!(
        results,
        [SendResult::Dropped(libc::ENOBUFS); FEWEST as usize]
    );
    assert!(
        stamps
            .iter()
            .all(|stamps| stamps.sent_ns.is_some() && stamps.received_ns.is_none())
    );
}

#[test]
fn what_a_filter_ahead_of_the_hook_drops_is_stamped_and_lost_alone_and_as_a_template() {
    let pair = Pair::new();
    pair.sender.command("nft add table netdev own").unwrap();
    pair.sender
        .command("nft add chain netdev own out { type filter hook egress device up0 priority 0; policy drop; }")
        .unwrap();
    for count in [1, FEWEST] {
        let orders: Vec<_> = (0..count)
            .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
            .collect();
        let (results, stamps) = sent(&pair, ReceiveHook::Tcx, &orders);
        let dropped = SendResult::Dropped(libc::ENOBUFS);
        assert!(
            results.iter().all(|result| *result == dropped),
            "{results:?}"
        );
        let is_lost = |stamps: &Stamps| stamps.sent_ns.is_some() && stamps.received_ns.is_none();
        assert!(stamps.iter().all(is_lost), "{count} probes");
    }
}

#[test]
fn a_template_that_the_interface_refuses_says_why_for_each_probe() {
    let pair = Pair::new();
    let orders: Vec<_> = (0..FEWEST)
        .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
        .collect();
    let large: Vec<_> = orders
        .iter()
        .map(|order| ProbeOrder {
            payload_bytes: 1_473,
            ..*order
        })
        .collect();
    let (results, stamps) = sent(&pair, ReceiveHook::Tcx, &large);
    assert_eq!(
        results,
        [SendResult::NotSent(libc::EMSGSIZE); FEWEST as usize]
    );
    assert!(stamps.iter().all(|stamps| stamps.sent_ns.is_none()));
    pair.sender.ip("link set up0 down").unwrap();
    let (results, _) = sent(&pair, ReceiveHook::Tcx, &orders);
    assert_eq!(
        results,
        [SendResult::NotSent(libc::ENETDOWN); FEWEST as usize]
    );
}

#[test]
fn a_packet_that_only_looks_like_a_template_passes_as_it_is() {
    let pair = Pair::new();
    let order = ProbeOrder {
        slot: SlotId(0),
        ..pair.order(0, HERE_V4, THERE_V4)
    };
    let payload = Payload {
        slot: FAN_SLOT,
        cookie: [1, 2, 3, 4],
    };
    let mut frame = [0; 256];
    let length = packet::write(&mut frame, &order, &payload).unwrap();
    let ifindex = pair.ifindex;
    let frames = arriving(
        &pair,
        || {
            pair.sender.run(move || {
                let mut transport =
                    KernelTransport::load(LoadOptions::new(8, ReceiveHook::Tcx)).unwrap();
                transport.attach(ifindex, false).unwrap();
                let socket = marked_socket();
                // SAFETY: an address of zeros but for what is set; all of it lives through the call.
                let written = unsafe {
                    let mut address: libc::sockaddr_ll = std::mem::zeroed();
                    address.sll_family = libc::AF_PACKET as u16;
                    address.sll_ifindex = ifindex.0 as i32;
                    let bytes = size_of_val(&address) as libc::socklen_t;
                    let address = (&raw const address).cast();
                    libc::sendto(
                        socket.as_raw_fd(),
                        frame.as_ptr().cast(),
                        length,
                        0,
                        address,
                        bytes,
                    )
                };
                assert_eq!(written, length as isize);
            });
        },
        1,
    );
    assert_eq!(frames, [frame[..length].to_vec()]);
}

fn marked_socket() -> OwnedFd {
    // SAFETY: plain system calls; the option's value lives through its own.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(socket >= 0);
        let mark = MARK;
        let mark = (&raw const mark).cast();
        assert_eq!(
            libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_MARK, mark, 4),
            0
        );
        OwnedFd::from_raw_fd(socket)
    }
}
