//! The probe path on real devices: what is sent is stamped, what comes back is matched, and nothing is left behind.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use pingu::{
    config::ReceiveHook,
    probe::{
        EngineKind, LinkHeader, ProbeOrder, ProbeTransport, SendResult, Stamps,
        kernel::{KernelTransport, LoadOptions},
    },
    units::{Ifindex, SlotId},
};
use pingu_tests::bench::namespace::Namespace;

/// More than a reply takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(5);

pub struct Pair {
    pub sender: Namespace,
    pub peer: Namespace,
    pub ifindex: Ifindex,
    pub link: LinkHeader,
}

pub const HERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub const THERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
pub const HERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
pub const THERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

impl Pair {
    pub fn new() -> Self {
        let sender = Namespace::new().unwrap();
        let peer = Namespace::new().unwrap();
        sender.veth("up0", &peer, "down0").unwrap();
        for (namespace, device, number) in [(&sender, "up0", 1), (&peer, "down0", 2)] {
            namespace
                .ip(&format!("address add 192.0.2.{number}/24 dev {device}"))
                .unwrap();
            namespace
                .ip(&format!(
                    "address add 2001:db8::{number}/64 dev {device} nodad"
                ))
                .unwrap();
        }
        let ifindex = Ifindex(sender.ifindex("up0").unwrap());
        let (source, destination) = (sender.mac("up0").unwrap(), peer.mac("down0").unwrap());
        peer.ip(&format!(
            "neighbour replace 192.0.2.1 lladdr {} dev down0",
            text(source)
        ))
        .unwrap();
        peer.ip(&format!(
            "neighbour replace 2001:db8::1 lladdr {} dev down0",
            text(source)
        ))
        .unwrap();
        Self {
            sender,
            peer,
            ifindex,
            link: LinkHeader::Ethernet {
                source,
                destination,
            },
        }
    }

    pub fn order(&self, slot: u32, source: IpAddr, target: IpAddr) -> ProbeOrder {
        ProbeOrder {
            slot: SlotId(slot),
            ifindex: self.ifindex,
            link: self.link,
            source,
            target,
            ident: 0x1234,
            sequence: slot as u16,
            payload_bytes: 56,
            reflect: None,
        }
    }
}

pub fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Sends the orders from a fresh transport and waits until all are answered or the deadline is over.
pub fn probe(
    pair: &Pair,
    receive: ReceiveHook,
    orders: Vec<ProbeOrder>,
) -> (EngineKind, Vec<SendResult>, Vec<Stamps>) {
    let ifindex = pair.ifindex;
    pair.sender.run(move || {
        let mut transport = KernelTransport::load(LoadOptions::new(256, receive)).unwrap();
        let bare = orders.iter().any(|order| order.link == LinkHeader::Bare);
        let kind = transport.attach(ifindex, bare).unwrap();
        let mut results = Vec::new();
        transport.send(&orders, &mut results);
        let stamps = await_replies(&transport, &orders);
        (kind, results, stamps)
    })
}

pub fn await_replies(transport: &KernelTransport, orders: &[ProbeOrder]) -> Vec<Stamps> {
    let end = Instant::now() + DEADLINE;
    loop {
        let stamps: Vec<_> = orders
            .iter()
            .map(|order| transport.read(order.slot))
            .collect();
        if stamps.iter().all(|stamps| stamps.received_ns.is_some()) || Instant::now() > end {
            return stamps;
        }
        std::thread::yield_now();
    }
}

pub fn assert_answered(stamps: &[Stamps]) {
    for stamps in stamps {
        let (sent_ns, received_ns) = (stamps.sent_ns.unwrap(), stamps.received_ns.unwrap());
        assert!(
            sent_ns < received_ns && received_ns - sent_ns < DEADLINE.as_nanos() as u64,
            "{stamps:?}"
        );
    }
}

#[test]
fn every_hook_answers_both_families() {
    for (receive, expected) in [
        (ReceiveHook::Auto, EngineKind::Tcx),
        (ReceiveHook::Tcx, EngineKind::Tcx),
        (ReceiveHook::Clsact, EngineKind::Clsact),
        (ReceiveHook::Xdp, EngineKind::Xdp),
    ] {
        let pair = Pair::new();
        let mut orders: Vec<_> = (0..100)
            .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
            .collect();
        orders.extend((100..200).map(|slot| pair.order(slot, HERE_V6, THERE_V6)));
        let (kind, results, stamps) = probe(&pair, receive, orders);
        assert_eq!(kind, expected);
        assert_eq!(results, [SendResult::Sent; 200]);
        assert_answered(&stamps);
    }
}

#[test]
fn sixty_four_uplinks_answer_at_once_and_a_dead_one_stops_none() {
    const UPLINKS: u32 = 64;
    const DEAD: u32 = 17;
    const PROBES: u32 = 10;
    let sender = Namespace::new().unwrap();
    let peer = Namespace::new().unwrap();
    let mut uplinks = Vec::new();
    for number in 0..UPLINKS {
        let (here, there) = (format!("up{number}"), format!("down{number}"));
        sender.veth(&here, &peer, &there).unwrap();
        // The same addresses on every uplink: whose a reply is depends on where it comes in.
        peer.ip(&format!("address add 10.1.{number}.2/24 dev {there}"))
            .unwrap();
        let (source, destination) = (sender.mac(&here).unwrap(), peer.mac(&there).unwrap());
        peer.ip(&format!(
            "neighbour add 10.1.{number}.1 lladdr {} dev {there}",
            text(source)
        ))
        .unwrap();
        uplinks.push((
            Ifindex(sender.ifindex(&here).unwrap()),
            LinkHeader::Ethernet {
                source,
                destination,
            },
        ));
    }
    sender.ip(&format!("link set up{DEAD} down")).unwrap();
    let orders: Vec<_> = (0..PROBES * UPLINKS)
        .map(|slot| {
            let number = slot % UPLINKS;
            let (ifindex, link) = uplinks[number as usize];
            ProbeOrder {
                slot: SlotId(slot),
                ifindex,
                link,
                source: Ipv4Addr::new(10, 1, number as u8, 1).into(),
                target: Ipv4Addr::new(10, 1, number as u8, 2).into(),
                ident: 1,
                sequence: slot as u16,
                payload_bytes: 56,
                reflect: None,
            }
        })
        .collect();
    let is_dead = |slot: usize| slot as u32 % UPLINKS == DEAD;
    let (results, stamps) = sender.run({
        let orders = orders.clone();
        move || {
            let mut transport =
                KernelTransport::load(LoadOptions::new(PROBES * UPLINKS, ReceiveHook::Auto))
                    .unwrap();
            for (ifindex, _) in uplinks {
                transport.attach(ifindex, false).unwrap();
            }
            let mut results = Vec::new();
            transport.send(&orders, &mut results);
            let alive: Vec<_> = orders
                .iter()
                .enumerate()
                .filter(|(slot, _)| !is_dead(*slot))
                .map(|(_, order)| *order)
                .collect();
            await_replies(&transport, &alive);
            (
                results,
                orders
                    .iter()
                    .map(|order| transport.read(order.slot))
                    .collect::<Vec<_>>(),
            )
        }
    });
    for slot in 0..orders.len() {
        if is_dead(slot) {
            assert_eq!(results[slot], SendResult::NotSent(libc::ENETDOWN));
            assert_eq!(
                stamps[slot],
                Stamps {
                    sent_ns: None,
                    received_ns: None
                }
            );
        } else {
            assert_eq!(results[slot], SendResult::Sent);
            assert_answered(&stamps[slot..=slot]);
        }
    }
}

#[test]
fn orders_that_cannot_be_sent_say_why() {
    let pair = Pair::new();
    let good = pair.order(0, HERE_V4, THERE_V4);
    let orders = [
        ProbeOrder {
            slot: SlotId(8),
            ..good
        },
        ProbeOrder {
            slot: SlotId(1),
            ifindex: Ifindex(good.ifindex.0 + 1_000),
            ..good
        },
        ProbeOrder {
            slot: SlotId(2),
            payload_bytes: 23,
            ..good
        },
        ProbeOrder {
            slot: SlotId(3),
            payload_bytes: u16::MAX,
            ..good
        },
        ProbeOrder {
            slot: SlotId(4),
            payload_bytes: 1_473,
            ..good
        },
        ProbeOrder {
            slot: SlotId(5),
            target: THERE_V6,
            ..good
        },
        good,
    ];
    let ifindex = pair.ifindex;
    let (results, stamps) = pair.sender.run(move || {
        let mut transport = KernelTransport::load(LoadOptions::new(8, ReceiveHook::Auto)).unwrap();
        transport.attach(ifindex, false).unwrap();
        let mut results = Vec::new();
        transport.send(&orders, &mut results);
        let answered = await_replies(&transport, &[good]);
        let refused = orders[..6]
            .iter()
            .map(|order| transport.read(order.slot))
            .collect::<Vec<_>>();
        (results, [answered, refused].concat())
    });
    let refused = [
        libc::EINVAL,
        libc::ENODEV,
        libc::EMSGSIZE,
        libc::EMSGSIZE,
        libc::EMSGSIZE,
        libc::EAFNOSUPPORT,
    ];
    assert_eq!(results[..6], refused.map(SendResult::NotSent));
    assert_eq!(results[6], SendResult::Sent);
    assert_answered(&stamps[..1]);
    assert_eq!(
        stamps[1..],
        [Stamps {
            sent_ns: None,
            received_ns: None
        }; 6]
    );
}

#[test]
fn without_the_capability_the_error_names_it() {
    let namespace = Namespace::new().unwrap();
    let error = namespace.run(|| {
        // SAFETY: plain system calls on structures that live through them; they change this thread alone, which ends with the test.
        unsafe {
            let header = [0x2008_0522_u32, 0];
            let nothing = [0_u32; 6];
            assert_eq!(
                libc::syscall(libc::SYS_capset, header.as_ptr(), nothing.as_ptr()),
                0
            );
        }
        KernelTransport::load(LoadOptions::new(8, ReceiveHook::Auto))
            .err()
            .unwrap()
            .to_string()
    });
    assert!(error.contains("CAP_BPF"), "{error}");
}
