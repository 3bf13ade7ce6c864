//! The contract between the eBPF programs and user space: what a probe slot holds, where a probe's payload carries what, what
//! is counted, and what the maps and programs are called. Both sides compile this file; neither defines any of it again.
#![no_std]

pub mod fan;
pub mod reflection;
pub mod reflector;
pub mod remark;
pub mod traffic;

use core::mem::{offset_of, size_of};

/// One probe in flight, in an array that user space owns and the programs only look up: one cache line.
///
/// `state` decides: 0 is dead, [`Slot::armed`] awaits its reply, anything else is the time at which the reply came. The armed
/// value holds half of the cookie, so that the compare-and-exchange by which the programs write the time can never hit a slot
/// that user space armed anew in the meantime.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// 0, the armed value, or the time of the reply in nanoseconds of `CLOCK_MONOTONIC`.
    pub state: u64,
    /// When the request passed the egress hook, in nanoseconds of `CLOCK_MONOTONIC`; 0 until it did.
    pub sent_ns: u64,
    /// 128 random bits, in the order of the packet's bytes.
    pub cookie: [u32; COOKIE_WORDS],
    /// The only source from which a reply counts, in the order of the packet's bytes; IPv4 is mapped (`::ffff:a.b.c.d`).
    pub target: [u32; 4],
    /// The only interface on which request and reply count.
    pub ifindex: u32,
    /// ICMP identifier, in the packet's byte order.
    pub ident: u16,
    /// ICMP sequence number, in the packet's byte order.
    pub sequence: u16,
    /// VLAN ids on the wire as the interface sees them, in the host's byte order; 0 is none.
    pub vlan: VlanIds,
    /// 4 or 6.
    pub ip_version: u32,
}

/// The outer and the inner VLAN id of a packet; 0 is none. A priority tag (VLAN id 0) counts as none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanIds {
    /// The tag nearer to the Ethernet addresses.
    pub outer: u16,
    /// The tag nearer to the IP header.
    pub inner: u16,
}

/// Words of 32 bits in a cookie.
pub const COOKIE_WORDS: usize = 4;

/// Set in the state of a slot that awaits its reply. No time has it: 2^63 ns are 292 years of uptime.
pub const STATE_ARMED: u64 = 1 << 63;

impl Slot {
    /// The state of a slot that awaits the reply with this cookie.
    #[inline(always)]
    pub const fn armed(cookie: &[u32; COOKIE_WORDS]) -> u64 {
        STATE_ARMED | ((cookie[3] as u64) << 32) | cookie[2] as u64
    }

    /// Whether a state awaits a reply.
    #[inline(always)]
    pub const fn is_armed(state: u64) -> bool {
        state & STATE_ARMED != 0
    }
}

const _: () = {
    assert!(size_of::<Slot>() == 64 && align_of::<Slot>() == 64);
    assert!(size_of::<VlanIds>() == 4);
    assert!(offset_of!(Slot, state) == 0);
    assert!(offset_of!(Slot, sent_ns) == 8);
    assert!(offset_of!(Slot, cookie) == 16);
    assert!(offset_of!(Slot, target) == 32);
    assert!(offset_of!(Slot, ifindex) == 48);
    assert!(offset_of!(Slot, ident) == 52);
    assert!(offset_of!(Slot, sequence) == 54);
    assert!(offset_of!(Slot, vlan) == 56);
    assert!(offset_of!(Slot, ip_version) == 60);
};

/// What the ICMP payload of a probe begins with: the slot's number in the sender's own byte order (only the sender reads it),
/// then the cookie. Targets that truncate long payloads still echo it (16 to 24 bytes are what one may count on).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The slot's place in the array.
    pub slot: u32,
    /// The slot's cookie.
    pub cookie: [u32; COOKIE_WORDS],
}

/// Bytes of [`Payload`].
pub const PAYLOAD_HEADER_BYTES: usize = size_of::<Payload>();

/// The smallest ICMP payload of a probe: [`Payload`] and a little padding, so that its length is a multiple of 8.
pub const PAYLOAD_BYTES_MIN: u16 = 24;

/// The largest ICMP payload of a probe. The programs check a reply's checksum block by block, and the verifier walks through every
/// block on every path to it, at each start of pingu: this covers what a frame of 1,500 bytes holds, and takes it 70 ms.
pub const PAYLOAD_BYTES_MAX: u16 =
    (CHECKSUM_BLOCKS_MAX * CHECKSUM_BLOCK_BYTES - ICMP_HEADER_BYTES) as u16;

/// Bytes that are summed at once.
pub const CHECKSUM_BLOCK_BYTES: usize = 64;

/// Most blocks in an ICMP message that can match.
pub const CHECKSUM_BLOCKS_MAX: usize = 32;

/// Bytes of an ICMP echo header.
pub const ICMP_HEADER_BYTES: usize = 8;

const _: () =
    assert!(PAYLOAD_HEADER_BYTES == 20 && PAYLOAD_HEADER_BYTES <= PAYLOAD_BYTES_MIN as usize);

/// `SO_MARK` of the sockets that send probes ("PING" in ASCII): one load tells the egress program that a packet is foreign.
pub const MARK: u32 = 0x5049_4e47;

/// What the programs count, each on its own CPU.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Requests that passed the egress hook for the first time.
    Stamped,
    /// Requests of ours that passed the egress hook of another interface than their own.
    Strayed,
    /// Replies that counted.
    Matched,
    /// Replies to a probe that was answered before.
    Duplicate,
    /// Replies right in everything but the interface or the VLAN.
    WrongUplink,
    /// Replies that name a live slot but differ in cookie, identifier, sequence or source: forged, or later than the slot's
    /// next use.
    Forged,
    /// Replies that name a slot that is dead or whose request never passed the egress hook.
    Stale,
    /// Replies right in everything but the ICMP checksum.
    Corrupt,
    /// ICMP errors that quote a probe of ours, cookie and all.
    Error,
    /// ICMP errors that quote an echo request with the number of a live slot, and do not prove to speak of its probe.
    ErrorUnproven,
}

/// How many [`Counter`]s there are.
pub const COUNTERS: usize = Counter::ErrorUnproven as usize + 1;

/// The array of [`Slot`]s. Its name carries the version of this contract: an object of another one has no such map.
pub const MAP_SLOTS: &str = "SLOTS_1";
/// The array of [`remark::Remark`]s, as long as that of the slots.
pub const MAP_REMARKS: &str = "REMARKS_1";
/// The array of [`traffic::TrafficEntry`]s.
pub const MAP_TRAFFIC: &str = "TRAFFIC_2";
/// The array whose only entry is a [`fan::Fan`].
pub const MAP_FAN: &str = "FAN";
/// The per-CPU array whose only entry is `[u64; COUNTERS]`.
pub const MAP_COUNTERS: &str = "COUNTERS";

/// A constant of 32 bits, set when the object is loaded: the mask of [`traffic::TrafficEntry`]'s place, or [`TRAFFIC_OFF`].
pub const GLOBAL_TRAFFIC_MASK: &str = "TRAFFIC_MASK";
/// A constant of 32 bits, set when the object is loaded: the number of the last possible processor, plus one.
pub const GLOBAL_PROCESSORS: &str = "PROCESSORS";
/// A constant of 32 bits, set when the object is loaded: unless it is 0, matched replies pass on instead of ending at the hook.
pub const GLOBAL_PASS_REPLIES: &str = "PASS_REPLIES";
/// The mask that says that no traffic is counted.
pub const TRAFFIC_OFF: u32 = u32::MAX;

/// Egress of a device with Ethernet headers (TCX or clsact).
pub const PROGRAM_REQUEST_ETHERNET: &str = "request_ether";
/// Egress of a layer-3 device (TCX or clsact).
pub const PROGRAM_REQUEST_BARE: &str = "request_bare";
/// Ingress of a device with Ethernet headers (TCX or clsact).
pub const PROGRAM_REPLY_ETHERNET: &str = "reply_ether";
/// Ingress of a layer-3 device (TCX or clsact).
pub const PROGRAM_REPLY_BARE: &str = "reply_bare";
/// Ingress of a device with Ethernet headers (native XDP).
pub const PROGRAM_REPLY_XDP: &str = "reply_xdp";
