//! The engine without eBPF on real devices: what is sent is stamped, what comes back is matched, and what else comes is remarked.

use std::time::{Duration, Instant};

use pingu::{
    probe::{
        IcmpError, LinkHeader, ProbeOrder, ProbeTransport, Remarks, SendResult, Stamps,
        socket::{SocketTransport, Sockets},
    },
    units::{Ifindex, SlotId},
};
use pingu_tests::lab::raw_socket::RawSocket;

use crate::{
    live::{DEADLINE, HERE_V4, HERE_V6, Pair, THERE_V4, THERE_V6, assert_answered},
    reference::sum,
};

/// Where the IP and the ICMP header begin, and the cookie, in an IPv4 frame without tags.
const IP: usize = 14;
const ICMP: usize = IP + 20;
const COOKIE: usize = ICMP + 12;

/// How long the peer waits for a frame before it looks whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[test]
fn sockets_answer_both_families() {
    let pair = Pair::new();
    let mut orders: Vec<_> = (0..100)
        .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
        .collect();
    orders.extend((100..200).map(|slot| pair.order(slot, HERE_V6, THERE_V6)));
    let mut transport = transport(&pair, 256);
    let mut results = Vec::new();
    transport.send(&orders, &mut results);
    assert_eq!(results, [SendResult::Sent; 200]);
    let stamps = until(|| {
        transport.refresh();
        let stamps: Vec<Stamps> = orders
            .iter()
            .map(|order| transport.read(order.slot))
            .collect();
        let answered = stamps.iter().all(|stamps| stamps.received_ns.is_some());
        answered.then_some(stamps)
    });
    assert_answered(&stamps);
}

#[test]
fn nothing_but_the_right_reply_counts_and_everything_else_is_remarked() {
    let pair = Pair::new();
    let mut transport = transport(&pair, 16);
    pair.peer
        .sysctl("net.ipv4.icmp_echo_ignore_all", "1")
        .unwrap();
    pair.sender.veth("up1", &pair.peer, "down1").unwrap();
    let other = Ifindex(pair.sender.ifindex("up1").unwrap());
    let (wire, other_wire) = (wire(&pair, "down0"), wire(&pair, "down1"));
    let sockets = pair.sender.run(move || {
        let sockets = transport.attach(other, false).unwrap();
        (transport, sockets)
    });
    assert_eq!(sockets.1, Sockets::Packet);
    let mut transport = sockets.0;
    let orders: Vec<ProbeOrder> = (0..6)
        .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
        .collect();
    transport.send(&orders, &mut Vec::new());
    for _ in 0..orders.len() {
        let request = next_request(&wire);
        let right = reply_to(&request);
        match request[ICMP + 8] {
            0 => (0..3).for_each(|_| wire.send(&right).unwrap()),
            1 => wire.send(&flipped(&right, ICMP + 30, false)).unwrap(),
            2 => wire.send(&flipped(&right, COOKIE + 15, true)).unwrap(),
            // The word that the kernel sieves by.
            3 => wire.send(&flipped(&right, COOKIE, true)).unwrap(),
            4 => other_wire.send(&right).unwrap(),
            _ => wire.send(&unreachable(&request)).unwrap(),
        }
    }
    let nothing = Remarks::default();
    let forged = Remarks {
        forged: 1,
        ..nothing
    };
    let expected = [
        Remarks {
            duplicates: 2,
            ..nothing
        },
        Remarks {
            corrupt: 1,
            ..nothing
        },
        forged,
        forged,
        Remarks {
            wrong_uplink: 1,
            came_in_by: Some(other),
            ..nothing
        },
        Remarks {
            error: Some(IcmpError {
                from: THERE_V4,
                kind: 3,
                code: 1,
            }),
            ..nothing
        },
    ];
    until(|| {
        transport.refresh();
        let remarks: Vec<Remarks> = orders
            .iter()
            .map(|order| transport.remarks(order.slot))
            .collect();
        (remarks == expected).then_some(())
    });
    for order in &orders {
        let stamps = transport.read(order.slot);
        assert!(stamps.sent_ns.is_some(), "{order:?}");
        let is_right = order.slot == SlotId(0);
        assert_eq!(stamps.received_ns.is_some(), is_right, "{order:?}");
    }
    transport.send(&orders[1..2], &mut Vec::new());
    assert_eq!(transport.remarks(SlotId(1)), nothing, "of the probe before");
}

#[test]
fn replies_count_with_the_probes_own_vlans_only() {
    let pair = Pair::new();
    let mut transport = transport(&pair, 16);
    let wire = wire(&pair, "down0");
    let LinkHeader::Ethernet {
        source,
        destination,
    } = pair.link
    else {
        panic!("the pair is Ethernet");
    };
    let order = |slot, inner| ProbeOrder {
        link: LinkHeader::Vlan {
            source,
            destination,
            outer: 5,
            inner,
        },
        ..pair.order(slot, HERE_V4, THERE_V4)
    };
    let orders = [order(0, 0), order(1, 6), order(2, 0)];
    transport.send(&orders, &mut Vec::new());
    let tags = [(0x8100_u16, 5_u16), (0x88a8, 5), (0x8100, 9)];
    for (slot, (protocol, outer)) in tags.into_iter().enumerate() {
        // The peer's kernel has taken the outer tag out.
        let inner_bytes = if slot == 1 { 4 } else { 0 };
        let mut buffer = [0; 2_048];
        let request = until(|| {
            let frame = wire.receive(&mut buffer).unwrap()?;
            let icmp = ICMP + inner_bytes;
            let is_it = frame.len() > icmp + 8
                && frame[icmp - 11] == 1
                && frame[icmp] == 8
                && usize::from(frame[icmp + 8]) == slot;
            is_it.then(|| frame.to_vec())
        });
        let (link, rest) = request.split_at(12);
        let (inner, packet) = rest.split_at(inner_bytes);
        let reply = reply_to(&[link, packet].concat());
        let (link, packet) = reply.split_at(12);
        let tag = [protocol.to_be_bytes(), outer.to_be_bytes()].concat();
        wire.send(&[link, &tag, inner, packet].concat()).unwrap();
    }
    until(|| {
        transport.refresh();
        (transport.remarks(SlotId(2)).wrong_uplink == 1).then_some(())
    });
    let answered = |slot| transport.read(SlotId(slot)).received_ns.is_some();
    assert_eq!([0, 1, 2].map(answered), [true, true, false]);
}

#[test]
fn what_is_lost_in_a_full_queue_is_no_loss_and_forgeries_do_not_fill_it() {
    let pair = Pair::new();
    let mut transport = transport(&pair, 16);
    pair.peer
        .sysctl("net.ipv4.icmp_echo_ignore_all", "1")
        .unwrap();
    let wire = wire(&pair, "down0");
    let orders: Vec<ProbeOrder> = (0..2)
        .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
        .collect();
    for floods_with_forgeries in [true, false] {
        transport.send(&orders, &mut Vec::new());
        let first = reply_to(&next_request(&wire));
        let second = reply_to(&next_request(&wire));
        let flood = if floods_with_forgeries {
            flipped(&first, COOKIE, true)
        } else {
            first.clone()
        };
        wire.send(&first).unwrap();
        // Several times what the smallest queue holds.
        for _ in 0..4_000 {
            wire.send(&flood).unwrap();
        }
        wire.send(&second).unwrap();
        // The link hands frames over at once: what has been sent is in the queue, or nowhere.
        transport.refresh();
        let (first, second) = (transport.read(SlotId(0)), transport.read(SlotId(1)));
        assert!(first.received_ns.is_some(), "{first:?}");
        if floods_with_forgeries {
            assert!(second.received_ns.is_some(), "{second:?}");
        } else {
            assert_eq!(
                second.sent_ns, None,
                "it is not known whether it was answered"
            );
        }
    }
}

/// Opens the sockets. The kernel begins to take times a moment after the first socket has asked for it, and until then a probe says
/// nothing: so one is sent until it does.
fn transport(pair: &Pair, slots: u32) -> SocketTransport {
    let ifindex = pair.ifindex;
    let mut transport = pair.sender.run(move || {
        let mut transport = SocketTransport::new(slots).unwrap();
        assert_eq!(transport.attach(ifindex, false).unwrap(), Sockets::Packet);
        transport
    });
    let order = pair.order(0, HERE_V4, THERE_V4);
    until(|| {
        transport.send(&[order], &mut Vec::new());
        until(|| {
            transport.refresh();
            let stamps = transport.read(order.slot);
            let is_over = stamps.sent_ns.is_none() || stamps.received_ns.is_some();
            is_over.then_some(stamps.received_ns)
        })
    });
    transport
}

fn wire(pair: &Pair, interface: &str) -> RawSocket {
    let ifindex = pair.peer.ifindex(interface).unwrap();
    pair.peer
        .run(move || RawSocket::frames(ifindex, LOOK_EVERY).unwrap())
}

/// The next IPv4 echo request on the wire.
fn next_request(wire: &RawSocket) -> Vec<u8> {
    let mut buffer = [0; 2_048];
    until(|| {
        let frame = wire.receive(&mut buffer).unwrap()?;
        let is_request = frame[12..14] == [8, 0] && frame[IP + 9] == 1 && frame[ICMP] == 8;
        is_request.then(|| frame.to_vec())
    })
}

fn reply_to(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[..6].copy_from_slice(&request[6..12]);
    reply[6..12].copy_from_slice(&request[..6]);
    reply[IP + 12..IP + 16].copy_from_slice(&request[IP + 16..IP + 20]);
    reply[IP + 16..IP + 20].copy_from_slice(&request[IP + 12..IP + 16]);
    reply[ICMP] = 0;
    with_checksum(reply)
}

fn flipped(reply: &[u8], offset: usize, repaired: bool) -> Vec<u8> {
    let mut reply = reply.to_vec();
    reply[offset] ^= 1;
    if repaired {
        with_checksum(reply)
    } else {
        reply
    }
}

/// "Host unreachable", as the target's own address would say it.
fn unreachable(request: &[u8]) -> Vec<u8> {
    let mut error = reply_to(request)[..ICMP].to_vec();
    error.extend([3, 1, 0, 0, 0, 0, 0, 0]);
    error.extend(&request[IP..]);
    let total_bytes = (error.len() - IP) as u16;
    error[IP + 2..IP + 4].copy_from_slice(&total_bytes.to_be_bytes());
    with_checksum(error)
}

fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    packet[ICMP + 2..ICMP + 4].fill(0);
    let checksum = !sum(&packet[ICMP..]);
    packet[ICMP + 2..ICMP + 4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

#[track_caller]
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it does not come");
        std::thread::yield_now();
    }
}
