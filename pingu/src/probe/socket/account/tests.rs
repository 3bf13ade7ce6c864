//! What is left of an interface's counters without pingu's own packets.

use std::net::IpAddr;

use super::*;
use crate::units::SlotId;

fn amount(packets: u64, bytes: u64) -> Amount {
    Amount { packets, bytes }
}

fn counters(ingress: u64, multicast: u64, egress: u64) -> Counters {
    Counters {
        ingress: amount(ingress, ingress * 100),
        multicast,
        egress: amount(egress, egress * 100),
    }
}

fn own(sent: u64, heard: u64) -> Own {
    Own {
        sent: amount(sent, sent * 100),
        heard: amount(heard, heard * 100),
    }
}

#[test]
fn own_probes_and_their_replies_are_no_traffic() {
    let mut ledger = Ledger::begin(counters(1_000, 10, 2_000));
    ledger.take(counters(1_300, 10, 2_300), &mut own(300, 300), None);
    assert_eq!(ledger.traffic, Traffic::default());
    // Half of the replies are lost, and somebody else's packets leave.
    ledger.take(counters(1_350, 10, 2_407), &mut own(400, 350), None);
    assert_eq!(ledger.traffic.ingress_packets, 0);
    assert_eq!(ledger.traffic.egress_packets, 7);
    assert_eq!(ledger.traffic.egress_bytes, 700);
}

#[test]
fn what_others_send_is_left_over_and_multicast_is_not() {
    let mut ledger = Ledger::begin(counters(0, 0, 0));
    ledger.take(counters(100, 30, 50), &mut own(10, 10), None);
    assert_eq!(ledger.traffic.ingress_packets, 60);
    assert_eq!(ledger.traffic.egress_packets, 40);
}

#[test]
fn what_is_for_this_host_counts_where_it_is_told_apart() {
    let mut ledger = Ledger::begin(counters(0, 0, 0));
    ledger.take(counters(5_000, 0, 50), &mut own(10, 10), Some(3));
    assert_eq!(ledger.traffic.ingress_packets, 3);
}

#[test]
fn counts_never_go_back_when_a_packet_is_counted_here_before_the_interface_does() {
    let mut ledger = Ledger::begin(counters(0, 0, 0));
    ledger.take(counters(20, 0, 20), &mut own(10, 10), None);
    let before = ledger.traffic;
    // Sent and heard, but still in the interface's queue.
    ledger.take(counters(20, 0, 20), &mut own(15, 12), None);
    assert_eq!(ledger.traffic, before);
    ledger.take(counters(22, 0, 25), &mut own(15, 12), None);
    assert_eq!(ledger.traffic, before);
    ledger.take(counters(23, 0, 26), &mut own(15, 12), None);
    assert_eq!(ledger.traffic.ingress_packets, 11);
    assert_eq!(ledger.traffic.egress_packets, 11);
}

#[test]
fn an_interface_that_counts_from_zero_begins_anew() {
    let mut ledger = Ledger::begin(counters(1_000, 0, 1_000));
    let mut own = own(0, 0);
    ledger.take(counters(1_100, 0, 1_100), &mut own, None);
    own.sent.add(100);
    ledger.take(counters(4, 0, 3), &mut own, None);
    assert_eq!(ledger.traffic, Traffic::default());
    assert_eq!(own, Own::default());
    ledger.take(counters(6, 0, 8), &mut own, None);
    assert_eq!(ledger.traffic.ingress_packets, 2);
    assert_eq!(ledger.traffic.egress_packets, 5);
}

#[test]
fn a_probe_has_the_bytes_of_its_frame() {
    let order = |link, target: &str| ProbeOrder {
        slot: SlotId(0),
        ifindex: Ifindex(2),
        link,
        source: target.parse::<IpAddr>().unwrap(),
        target: target.parse().unwrap(),
        ident: 1,
        sequence: 1,
        payload_bytes: 56,
        reflect: None,
    };
    let ethernet = LinkHeader::Ethernet {
        source: [2; 6],
        destination: [4; 6],
    };
    let vlan = |inner| LinkHeader::Vlan {
        source: [2; 6],
        destination: [4; 6],
        outer: 5,
        inner,
    };
    for (link, target, bytes) in [
        (ethernet, "192.0.2.1", 98),
        (ethernet, "2001:db8::1", 118),
        (vlan(0), "192.0.2.1", 102),
        (vlan(7), "192.0.2.1", 106),
        (LinkHeader::Bare, "192.0.2.1", 84),
    ] {
        assert_eq!(frame_bytes(&order(link, target)), bytes, "{link:?}");
    }
}
