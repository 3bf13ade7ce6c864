//! What a shared segment carries whether its provider works or not: words to everybody, to others, and about neighbours.

use std::{net::Ipv4Addr, time::Duration};

use crate::lab::{
    provider::{Provider, ROUTER_SIDE},
    raw_socket::RawSocket,
    site::Site,
    worker::Worker,
};

const BROADCAST: [u8; 6] = [0xff; 6];
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 99];
const SOMEBODY_ELSE: [u8; 6] = [2, 0, 0, 0, 0, 98];

/// Bytes of the datagrams: as large as data would be.
const DATAGRAM_BYTES: usize = 1_000;

/// A noisy segment. Dropped, it is silent.
pub struct Noise {
    _worker: Worker<()>,
}

impl Noise {
    /// Sends every kind of frame again and again from the provider's end of the wire to the router.
    #[track_caller]
    pub fn start(site: &Site, provider: &Provider, every: Duration) -> Self {
        let ifindex = provider.namespace.ifindex(ROUTER_SIDE);
        let router = site.router.mac(provider.interface());
        let frames = frames(router, provider.gateway(), provider.router_address());
        let worker = provider.namespace.worker("noise", move |stop| {
            let socket = RawSocket::frames(ifindex, every).expect("root may have packet sockets");
            while !stop.is_wanted() {
                for frame in &frames {
                    socket.send(frame).expect("the wire is up");
                }
                std::thread::sleep(every);
            }
        });
        Self { _worker: worker }
    }
}

fn frames(router: [u8; 6], gateway: Ipv4Addr, own: Ipv4Addr) -> Vec<Vec<u8>> {
    let neighbour = Ipv4Addr::new(10, 0, 0, 99);
    let everybody = Ipv4Addr::BROADCAST;
    let group = Ipv4Addr::new(239, 1, 2, 3);
    vec![
        ethernet(BROADCAST, 0x0806, &arp(1, neighbour, gateway)),
        ethernet(router, 0x0806, &arp(2, neighbour, own)),
        ethernet(BROADCAST, 0x0800, &datagram(neighbour, everybody)),
        ethernet([1, 0, 0x5e, 1, 2, 3], 0x0800, &datagram(neighbour, group)),
        ethernet(SOMEBODY_ELSE, 0x0800, &datagram(neighbour, own)),
        ethernet(ALL_NODES, 0x86dd, &neighbour_advertisement()),
        // Out of ether types that mean nothing to the router.
        ethernet(router, 0x88b5, &[0; 64]),
    ]
}

fn ethernet(to: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &NEIGHBOUR, &ether_type.to_be_bytes(), payload].concat()
}

fn arp(operation: u8, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let (from, to) = (from.octets(), to.octets());
    [&head[..], &NEIGHBOUR, &from, &[0; 6], &to].concat()
}

/// A datagram to the port that nobody listens at, without checksum.
fn datagram(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let udp_bytes = (8 + DATAGRAM_BYTES) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_bytes).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(from.octets());
    ip.extend(to.octets());
    let sum: u32 = ip
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = vec![0, 9, 0, 9];
    udp.extend(udp_bytes.to_be_bytes());
    udp.extend([0, 0]);
    udp.resize(udp_bytes.into(), 0);
    [ip, udp].concat()
}

/// An unsolicited one to all nodes (RFC 4861, 4.4); its checksum is nobody's concern before it is counted.
fn neighbour_advertisement() -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 24, 58, 255];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([136, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend([0; 16]);
    packet
}
