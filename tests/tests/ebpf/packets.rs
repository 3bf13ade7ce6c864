//! Packets made from their parts, right in all of them unless a test says otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{harness::Receiver, reference};

pub const COOKIE: [u32; 4] = [0x0123_4567, 0x89ab_cdef, 0x0f1e_2d3c, 0x4b5a_6978];

pub const HERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub const THERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
pub const HERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
pub const THERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xffff, 0xfffe));

/// An echo message in parts. What [`Echo::reply_v4`] and [`Echo::reply_v6`] make is right in all of them.
#[derive(Clone, Debug)]
pub struct Echo {
    pub has_ethernet: bool,
    /// Destination of the Ethernet header; the loopback device's own address is zeros.
    pub link_destination: [u8; 6],
    /// Protocol and control information of each VLAN tag.
    pub tags: Vec<(u16, u16)>,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IPv4 options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// The IPv4 fragment field.
    pub fragment: u16,
    /// IPv4 protocol or IPv6 next header.
    pub protocol: u8,
    pub kind: u8,
    pub code: u8,
    pub ident: u16,
    pub sequence: u16,
    pub slot: u32,
    pub cookie: [u32; 4],
    pub payload_bytes: u16,
    /// What stands behind the cookie.
    pub tail: Vec<u8>,
    /// What is wrong with the checksum.
    pub checksum_error: u16,
    /// Bytes behind the IP packet, as Ethernet pads short frames.
    pub padding: usize,
}

impl Echo {
    pub fn reply_v4(receiver: Receiver) -> Self {
        Self {
            has_ethernet: receiver.has_ethernet(),
            link_destination: [0; 6],
            tags: Vec::new(),
            source: THERE_V4,
            destination: HERE_V4,
            options: Vec::new(),
            fragment: 0x4000,
            protocol: 1,
            kind: 0,
            code: 0,
            ident: 0x1234,
            sequence: 0xabcd,
            slot: 3,
            cookie: COOKIE,
            payload_bytes: 56,
            tail: Vec::new(),
            checksum_error: 0,
            padding: 0,
        }
    }

    pub fn reply_v6(receiver: Receiver) -> Self {
        Self {
            source: THERE_V6,
            destination: HERE_V6,
            protocol: 58,
            kind: 129,
            ..Self::reply_v4(receiver)
        }
    }

    /// A right reply of each family.
    pub fn replies(receiver: Receiver) -> [Self; 2] {
        [Self::reply_v4(receiver), Self::reply_v6(receiver)]
    }

    pub fn vlan_ids(&self) -> [u16; 2] {
        let mut ids = self
            .tags
            .iter()
            .map(|(_, tag)| tag & 0xfff)
            .filter(|id| *id != 0);
        [ids.next().unwrap_or(0), ids.next().unwrap_or(0)]
    }

    /// Where the IP header begins.
    pub fn ip_offset(&self) -> usize {
        if self.has_ethernet {
            14 + 4 * self.tags.len()
        } else {
            0
        }
    }

    /// Where the ICMP header begins.
    pub fn icmp_offset(&self) -> usize {
        self.ip_offset()
            + if self.source.is_ipv4() {
                20 + self.options.len()
            } else {
                40
            }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut icmp = vec![self.kind, self.code, 0, 0];
        icmp.extend(self.ident.to_be_bytes());
        icmp.extend(self.sequence.to_be_bytes());
        icmp.extend(self.slot.to_ne_bytes());
        icmp.extend(self.cookie.iter().flat_map(|word| word.to_ne_bytes()));
        icmp.extend(&self.tail);
        icmp.resize(8 + usize::from(self.payload_bytes), 0x5a);
        self.wrapped(icmp)
    }

    /// The request that this is the reply to, without a link header: what an ICMP error quotes.
    pub fn quote(&self) -> Vec<u8> {
        let request = Self {
            has_ethernet: false,
            tags: Vec::new(),
            kind: if self.source.is_ipv4() { 8 } else { 128 },
            source: self.destination,
            destination: self.source,
            ..self.clone()
        };
        request.bytes()
    }

    /// An ICMP error that comes the way of this reply and quotes these bytes.
    pub fn error(&self, from: IpAddr, kind: u8, code: u8, quote: &[u8]) -> Vec<u8> {
        let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        icmp.extend(quote);
        Self {
            source: from,
            ..self.clone()
        }
        .wrapped(icmp)
    }

    /// The ICMP message in its packet, with the right checksum but for what should be wrong there.
    fn wrapped(&self, mut icmp: Vec<u8>) -> Vec<u8> {
        let mut packet = Vec::new();
        if self.has_ethernet {
            packet.extend(self.link_destination);
            packet.extend([2, 0, 0, 0, 0, 2]);
            for (protocol, tag) in &self.tags {
                packet.extend(protocol.to_be_bytes());
                packet.extend(tag.to_be_bytes());
            }
            packet.extend(if self.source.is_ipv4() {
                [0x08, 0x00]
            } else {
                [0x86, 0xdd]
            });
        }
        let pseudo = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = vec![0x45 + (self.options.len() / 4) as u8, 0];
                ip.extend(((20 + self.options.len() + icmp.len()) as u16).to_be_bytes());
                ip.extend([0, 0]);
                ip.extend(self.fragment.to_be_bytes());
                ip.extend([64, self.protocol, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                ip.extend(&self.options);
                let checksum = !reference::sum(&ip);
                ip[10..12].copy_from_slice(&checksum.to_be_bytes());
                packet.extend(ip);
                Vec::new()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend((icmp.len() as u16).to_be_bytes());
                packet.extend([self.protocol, 64]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
                let mut pseudo = [source.octets(), destination.octets()].concat();
                pseudo.extend((icmp.len() as u32).to_be_bytes());
                pseudo.extend([0, 0, 0, 58]);
                pseudo
            }
            _ => panic!("two families in one packet"),
        };
        let checksum = !reference::sum(&[pseudo, icmp.clone()].concat()) ^ self.checksum_error;
        icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(icmp);
        packet.resize(packet.len() + self.padding, 0);
        packet
    }
}
