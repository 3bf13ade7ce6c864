//! Packets that may be written, and IP headers that turn round.

use aya_ebpf::helpers::generated::{bpf_skb_pull_data, bpf_skb_store_bytes};

use crate::packet::{Packet, SocketBuffer, XdpFrame, icmp::Message};

const IPV4_WORDS: usize = 5;
const IPV6_WORDS: usize = 10;
/// Version 4 and a header without options.
const IPV4_PLAIN: u8 = 0x45;
/// What hosts use (RFC 1700, RFC 4861), and so what the kernel's own reply has.
const TTL: u8 = 64;
/// `::ffff:0:0/96`, third word.
const IPV4_MAPPED: u32 = 0xffff_u32.to_be();

/// A packet that may be changed.
pub trait Rewrite: Packet {
    /// Makes the first bytes writable; after that no write within them fails.
    fn prepare(self, bytes: usize) -> bool;
    /// Writes `T` into the packet.
    fn write<T: Copy>(self, offset: usize, value: &T) -> bool;
}

impl Rewrite for SocketBuffer {
    #[inline(always)]
    fn prepare(self, bytes: usize) -> bool {
        // SAFETY: the context is valid; pointers into the packet are not kept across this.
        unsafe { bpf_skb_pull_data(self.buffer(), bytes as u32) == 0 }
    }

    #[inline(always)]
    fn write<T: Copy>(self, offset: usize, value: &T) -> bool {
        /// The sum that a network card took of the packet is kept right.
        const BPF_F_RECOMPUTE_CSUM: u64 = 1;
        let bytes = size_of::<T>() as u32;
        let from = (&raw const *value).cast();
        // SAFETY: the helper reads so many bytes of `value`, and checks the packet's bounds.
        unsafe {
            bpf_skb_store_bytes(
                self.buffer(),
                offset as u32,
                from,
                bytes,
                BPF_F_RECOMPUTE_CSUM,
            ) == 0
        }
    }
}

impl Rewrite for XdpFrame {
    #[inline(always)]
    fn prepare(self, bytes: usize) -> bool {
        bytes <= self.bytes()
    }

    #[inline(always)]
    fn write<T: Copy>(self, offset: usize, value: &T) -> bool {
        match self.peek::<T>(offset) {
            Some(place) => {
                // SAFETY: `peek` checked the bounds, and stores need no alignment here.
                unsafe { *place.cast_mut() = *value };
                true
            }
            None => false,
        }
    }
}

/// An IP header without options.
pub struct Network {
    is_ipv4: bool,
    /// Those of an IPv4 header are the first.
    words: [u32; IPV6_WORDS],
}

impl Network {
    /// Reads a message's; none if it has options.
    #[inline(always)]
    pub fn read<P: Packet>(packet: P, message: &Message) -> Option<Self> {
        let is_ipv4 = message.ip_version == 4;
        let words = if is_ipv4 {
            let [a, b, c, d, e] = packet.read::<[u32; IPV4_WORDS]>(message.ip_offset)?;
            if a.to_ne_bytes()[0] != IPV4_PLAIN {
                return None;
            }
            [a, b, c, d, e, 0, 0, 0, 0, 0]
        } else {
            packet.read::<[u32; IPV6_WORDS]>(message.ip_offset)?
        };
        Some(Self { is_ipv4, words })
    }

    /// The destination; IPv4 is mapped.
    #[inline(always)]
    pub fn target(&self) -> [u32; 4] {
        if self.is_ipv4 {
            [0, 0, IPV4_MAPPED, self.words[4]]
        } else {
            [self.words[6], self.words[7], self.words[8], self.words[9]]
        }
    }

    /// Whether an IPv4 header's own checksum is right; IPv6 has none.
    #[inline(always)]
    pub fn checksum_is_right(&self) -> bool {
        !self.is_ipv4 || fold(self.sum_v4()) == 0xffff
    }

    /// Makes it a reply's.
    #[inline(always)]
    pub fn turn_round(&mut self) {
        let words = &mut self.words;
        if self.is_ipv4 {
            words.swap(3, 4);
            let [_, protocol, ..] = words[2].to_ne_bytes();
            words[2] = u32::from_ne_bytes([TTL, protocol, 0, 0]);
            let [low, high] = (!fold(self.sum_v4())).to_ne_bytes();
            self.words[2] = u32::from_ne_bytes([TTL, protocol, low, high]);
        } else {
            words.swap(2, 6);
            words.swap(3, 7);
            words.swap(4, 8);
            words.swap(5, 9);
            let [high, low, next_header, _] = words[1].to_ne_bytes();
            words[1] = u32::from_ne_bytes([high, low, next_header, TTL]);
        }
    }

    /// Puts it back.
    #[inline(always)]
    pub fn write<P: Rewrite>(&self, packet: P, offset: usize) -> bool {
        if self.is_ipv4 {
            let [a, b, c, d, e, ..] = self.words;
            packet.write(offset, &[a, b, c, d, e])
        } else {
            packet.write(offset, &self.words)
        }
    }

    #[inline(always)]
    fn sum_v4(&self) -> u64 {
        let mut sum = 0;
        for word in 0..IPV4_WORDS {
            sum += u64::from(self.words[word]);
        }
        sum
    }
}

/// 64 bits into 16 (RFC 1071): each step leaves a carry that the next one takes in.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
