//! Router advertisements (RFC 4861 section 4.2): how an IPv6 provider says that it is a way out, or no longer one.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::lab::{
    namespace::Namespace,
    packet,
    provider::{Provider, ROUTER_SIDE},
    raw_socket::RawSocket,
};

/// All nodes on the wire, as an IPv6 and as an Ethernet address.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

const ROUTER_ADVERTISEMENT: u8 = 134;

/// Nothing is received.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(1);

/// Has the router learn its IPv6 default route over this interface from advertisements although it forwards.
#[track_caller]
pub fn accept(router: &Namespace, interface: &str) {
    router.sysctl(&format!("net.ipv6.conf.{interface}.accept_ra"), "2");
}

/// Sends one advertisement to the router's wire; with a lifetime of 0 s it takes the earlier ones back.
#[track_caller]
pub fn send(provider: &Provider, lifetime_s: u16) {
    let mac = provider.namespace.mac(ROUTER_SIDE);
    let ifindex = provider.namespace.ifindex(ROUTER_SIDE);
    let mut frame = Vec::new();
    frame.extend(ALL_NODES_MAC);
    frame.extend(mac);
    frame.extend(0x86dd_u16.to_be_bytes());
    frame.extend(advertisement(
        gateway(provider),
        mac,
        lifetime_s.to_be_bytes(),
    ));
    let socket = provider
        .namespace
        .enter(|| RawSocket::frames(ifindex, RECEIVE_TIMEOUT))
        .expect("a packet socket can be opened");
    socket.send(&frame).expect("the wire is up");
}

/// The link-local address that the advertisements come from.
#[track_caller]
pub fn gateway(provider: &Provider) -> Ipv6Addr {
    let listing = provider
        .namespace
        .ip(&format!("-6 -o address show dev {ROUTER_SIDE} scope link"));
    let address = listing
        .split_whitespace()
        .skip_while(|word| *word != "inet6")
        .nth(1)
        .and_then(|word| word.strip_suffix("/64"));
    address
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| panic!("no link-local address: `{listing}`"))
}

fn advertisement(source: Ipv6Addr, mac: [u8; 6], lifetime_s: [u8; 2]) -> Vec<u8> {
    let [lifetime_high, lifetime_low] = lifetime_s;
    let mut icmp = vec![ROUTER_ADVERTISEMENT, 0, 0, 0];
    // Hop limit for the hosts, flags, lifetime; reachable and retransmission times are left to the hosts.
    icmp.extend([64, 0, lifetime_high, lifetime_low, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Option "source link-layer address", one unit of eight bytes.
    icmp.extend([1, 1]);
    icmp.extend(mac);
    let mut packet = vec![0x60, 0, 0, 0, 0, icmp.len() as u8, 58, 255];
    packet.extend(source.octets());
    packet.extend(ALL_NODES.octets());
    let icmp_offset = packet.len();
    packet.extend(icmp);
    packet::set_icmp_checksum(&mut packet, IpAddr::V6(source), icmp_offset);
    packet
}
