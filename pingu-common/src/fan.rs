//! Several probes in one system call: user space hands the kernel one template, and the egress program makes a clone of it for each
//! probe. A packet's way from user space to the egress hook costs more than a clone, and the receiving side's work comes in one
//! piece; together that is a third of a probe's time on a veth pair.

use core::mem::{offset_of, size_of};

use crate::{ICMP_HEADER_BYTES, PAYLOAD_HEADER_BYTES, Payload, Slot};

/// Most probes of one template. Softirq waits while they leave, about 1 us each: so a reply that comes at once is seen at most so
/// much later, and more would gain little (8 reach 98 % of what 64 do).
pub const FAN_PROBES_MAX: usize = 8;

/// What stands in a template's payload instead of a slot's number.
pub const FAN_SLOT: u32 = u32::MAX;

/// In [`Fan::results`] until the program has written there.
pub const FAN_UNTOUCHED: i32 = i32::MIN;

/// What the egress program needs to know of a template, written by user space before it sends one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fan {
    /// 128 random bits, which the template carries, too: no other packet sets off what is here.
    pub cookie: [u32; 4],
    /// The constant part of the checksums.
    pub sums: Sums,
    /// Probes to send; the program sets it to 0 before the first.
    pub count: u32,
    /// Their slots, which are armed.
    pub slots: [u32; FAN_PROBES_MAX],
    /// What became of each clone: 0, a queue's drop (1) or congestion notice (2), or a negative errno. The last probe is no clone
    /// but the template itself.
    pub results: [i32; FAN_PROBES_MAX],
}

/// Sums (RFC 1071, not complemented, in the packet's byte order) over what is the same in all probes of a template: everything but the
/// IPv4 identification, the target, ICMP identifier and sequence, slot and cookie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Of the IPv4 header; 0 for IPv6.
    pub ip: u16,
    /// Of the ICMP message, for ICMPv6 with the pseudo-header.
    pub icmp: u16,
}

/// The part of a packet in which the probes of a template differ: from 16 bytes before the ICMP header to the end of the cookie. In
/// IPv4 that begins with the identification, in IPv6 it is the destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last 16 bytes of the IP header.
    pub ip: [u16; 8],
    /// ICMP type and code.
    pub kind: u16,
    /// ICMP checksum.
    pub checksum: u16,
    /// ICMP identifier.
    pub ident: u16,
    /// ICMP sequence number.
    pub sequence: u16,
    /// The probe's own payload.
    pub payload: Payload,
}

/// Bytes of the IP header in a [`Head`].
pub const HEAD_IP_BYTES: usize = 16;

/// Places in [`Head::ip`] of an IPv4 header without options.
const IPV4_IDENTIFICATION: usize = 0;
const IPV4_CHECKSUM: usize = 3;
const IPV4_DESTINATION: usize = 6;

const _: () = {
    assert!(offset_of!(Head, kind) == HEAD_IP_BYTES);
    assert!(size_of::<Head>() == HEAD_IP_BYTES + ICMP_HEADER_BYTES + PAYLOAD_HEADER_BYTES);
    assert!(size_of::<Fan>() == 24 + 8 * FAN_PROBES_MAX);
};

impl Head {
    /// Makes it that of the probe in this slot.
    #[inline(always)]
    pub fn become_probe(&mut self, number: u32, slot: &Slot, sums: Sums) {
        let target = halves(slot.target);
        let mut icmp = u64::from(sums.icmp);
        if slot.ip_version == 4 {
            // A packet that is never cut up may have any identification (RFC 6864, 4.1).
            self.ip[IPV4_IDENTIFICATION] = slot.sequence;
            self.ip[IPV4_DESTINATION] = target[6];
            self.ip[IPV4_DESTINATION + 1] = target[7];
            let ip = u64::from(sums.ip)
                + u64::from(slot.sequence)
                + u64::from(target[6])
                + u64::from(target[7]);
            self.ip[IPV4_CHECKSUM] = !fold(ip);
        } else {
            self.ip = target;
            icmp += words(slot.target);
        }
        self.ident = slot.ident;
        self.sequence = slot.sequence;
        self.payload = Payload {
            slot: number,
            cookie: slot.cookie,
        };
        icmp += u64::from(slot.ident) + u64::from(slot.sequence) + u64::from(number);
        self.checksum = !fold(icmp + words(slot.cookie));
    }
}

#[inline(always)]
fn words(words: [u32; 4]) -> u64 {
    u64::from(words[0]) + u64::from(words[1]) + u64::from(words[2]) + u64::from(words[3])
}

#[inline(always)]
fn halves(words: [u32; 4]) -> [u16; 8] {
    // SAFETY: both are plain old data of 16 bytes, in the order of memory.
    unsafe { core::mem::transmute(words) }
}

#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
