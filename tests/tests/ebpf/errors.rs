//! ICMP errors of real routers, on real devices: what is noted is what the router sent, whichever hook sees it.

use std::{net::IpAddr, time::Instant};

use pingu::{
    config::ReceiveHook,
    probe::{
        IcmpError, ProbeOrder, ProbeTransport, Remarks,
        kernel::{KernelCounters, KernelTransport, LoadOptions},
    },
};
use pingu_tests::bench::namespace::Namespace;

use crate::live::{DEADLINE, HERE_V4, HERE_V6, Pair, THERE_V4, THERE_V6};

const HOOKS: [ReceiveHook; 3] = [ReceiveHook::Tcx, ReceiveHook::Clsact, ReceiveHook::Xdp];

/// The pair's peer as a router that refuses some destinations, cannot forward what is long, and sends others in a circle.
struct Lab {
    pair: Pair,
    _beyond: Namespace,
}

impl Lab {
    fn new() -> Self {
        let pair = Pair::new();
        let beyond = Namespace::new().unwrap();
        pair.peer.veth("far0", &beyond, "near0").unwrap();
        for (namespace, device, number) in [(&pair.peer, "far0", 1), (&beyond, "near0", 2)] {
            for line in [
                format!("address add 10.9.0.{number}/24 dev {device}"),
                format!("address add 2001:db8:9::{number}/64 dev {device} nodad"),
                format!("link set {device} mtu 1300"),
            ] {
                namespace.ip(&line).unwrap();
            }
            for (name, value) in [
                ("net.ipv4.ip_forward", "1"),
                ("net.ipv6.conf.all.forwarding", "1"),
                ("net.ipv4.conf.all.rp_filter", "0"),
                ("net.ipv4.icmp_ratelimit", "0"),
                ("net.ipv4.icmp_ratemask", "0"),
                ("net.ipv6.icmp.ratelimit", "0"),
            ] {
                namespace.sysctl(name, value).unwrap();
            }
        }
        for line in [
            "route add unreachable 198.51.100.0/24",
            "route add prohibit 203.0.113.0/24",
            "route add 198.18.0.0/15 via 10.9.0.2",
            "-6 route add unreachable 2001:db8:51::/48",
            "-6 route add prohibit 2001:db8:52::/48",
            "-6 route add 2001:db8:53::/48 via 2001:db8:9::2",
        ] {
            pair.peer.ip(line).unwrap();
        }
        beyond.ip("route add default via 10.9.0.1").unwrap();
        beyond.ip("-6 route add default via 2001:db8:9::1").unwrap();
        Self {
            pair,
            _beyond: beyond,
        }
    }

    /// Sends one probe, and waits for a remark.
    fn remark(&self, receive: ReceiveHook, order: ProbeOrder) -> (Remarks, KernelCounters) {
        let ifindex = self.pair.ifindex;
        self.pair.sender.run(move || {
            let mut transport = KernelTransport::load(LoadOptions::new(8, receive)).unwrap();
            transport.attach(ifindex, false).unwrap();
            transport.send(&[order], &mut Vec::new());
            let end = Instant::now() + DEADLINE;
            let counters = loop {
                let counters = transport.counters().unwrap();
                if counters.error + counters.error_unproven > 0 || Instant::now() > end {
                    break counters;
                }
                std::thread::yield_now();
            };
            assert_eq!(transport.read(order.slot).received_ns, None);
            (transport.remarks(order.slot), counters)
        })
    }
}

#[test]
fn what_a_router_says_of_a_probe_is_noted_by_every_hook() {
    let lab = Lab::new();
    for receive in HOOKS {
        for (target, payload_bytes, kind, code) in [
            ("198.51.100.9", 56, 3, 1),
            ("203.0.113.9", 24, 3, 13),
            ("198.18.0.9", 56, 11, 0),
            ("198.18.0.9", 1_400, 3, 4),
            ("2001:db8:51::9", 56, 1, 0),
            ("2001:db8:52::9", 24, 1, 1),
            ("2001:db8:53::9", 56, 3, 0),
            ("2001:db8:53::9", 1_400, 2, 0),
        ] {
            let target: IpAddr = target.parse().unwrap();
            let (source, from) = match target {
                IpAddr::V4(_) => (HERE_V4, THERE_V4),
                IpAddr::V6(_) => (HERE_V6, THERE_V6),
            };
            let order = ProbeOrder {
                payload_bytes,
                ..lab.pair.order(5, source, target)
            };
            let (remarks, counters) = lab.remark(receive, order);
            let error = remarks.error.unwrap_or_else(|| {
                panic!("nothing noted: {receive:?} {target} {payload_bytes} {counters:?}")
            });
            assert_eq!(
                (error.kind, error.code),
                (kind, code),
                "{receive:?} {target}"
            );
            // Where a packet runs in a circle, either router may be the one that ends it.
            if kind != 11 && (kind, code) != (3, 0) {
                assert_eq!(error, IcmpError { from, kind, code }, "{receive:?}");
            }
            assert_eq!((counters.error, counters.error_unproven), (1, 0));
            let only = Remarks {
                error: remarks.error,
                ..Remarks::default()
            };
            assert_eq!(remarks, only);
        }
    }
}

#[test]
fn an_answered_probe_and_its_errors_stand_side_by_side_on_many_slots() {
    let lab = Lab::new();
    let ifindex = lab.pair.ifindex;
    for receive in HOOKS {
        // Templates of eight; every other probe is too long to be forwarded. The kernel sends of those errors as many as it should,
        // while it limits what an unreachable route says in a way that no namespace can turn off.
        let orders: Vec<_> = (0..40_u32)
            .map(|slot| {
                let target = if slot % 2 == 0 {
                    THERE_V4
                } else {
                    format!("198.18.0.{slot}").parse().unwrap()
                };
                ProbeOrder {
                    payload_bytes: 1_400,
                    ..lab.pair.order(slot, HERE_V4, target)
                }
            })
            .collect();
        lab.pair.sender.run(move || {
            let mut transport = KernelTransport::load(LoadOptions::new(64, receive)).unwrap();
            transport.attach(ifindex, false).unwrap();
            transport.send(&orders, &mut Vec::new());
            let end = Instant::now() + DEADLINE;
            let is_over = |order: &ProbeOrder| {
                transport.read(order.slot).received_ns.is_some()
                    || transport.remarks(order.slot).error.is_some()
            };
            while !orders.iter().all(is_over) && Instant::now() < end {
                std::thread::yield_now();
            }
            for order in &orders {
                let is_refused = order.slot.0 % 2 == 1;
                let stamps = transport.read(order.slot);
                let remarks = transport.remarks(order.slot);
                assert_eq!(stamps.received_ns.is_none(), is_refused, "{order:?}");
                assert_eq!(remarks.error.is_some(), is_refused, "{order:?}");
            }
        });
    }
}
