//! What the reflector's programs read and write in a probe, and what they share with their user space.
//!
//! A reflector is another pingu (`pingu reflect`). It answers where the kernel would, with two stamps of its own clock and a count of the
//! requests that reached it: by these the prober tells requests that were lost on their way from replies that were.

use core::mem::{offset_of, size_of};

use crate::{
    VlanIds,
    reflection::{self, REFLECTION_OFFSET, Reflection},
};

/// A [`Reflection`] as words, with the number of the path behind it. All of it is in the packet's byte order, which is big endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflected {
    /// [`MAGIC_REQUEST`] or [`MAGIC_REPLY`].
    pub magic: u32,
    /// When the request reached the reflector, in nanoseconds of a clock of its own: the high word, then the low one.
    pub received_ns: [u32; 2],
    /// When the reply left it.
    pub sent_ns: [u32; 2],
    /// How many requests of this path it had received by then, this one included, counted from a random number; wraps.
    pub requests: u32,
    /// The prober's number for the path, random: with source and target it says which requests are counted together.
    pub path: u32,
}

/// Bytes of [`Reflected`].
pub const REFLECTED_BYTES: usize = size_of::<Reflected>();

/// The smallest ICMP payload of a probe that asks for a reflection with a path's number.
pub const REFLECTED_PAYLOAD_BYTES_MIN: u16 = (REFLECTION_OFFSET + REFLECTED_BYTES) as u16;

/// Begins what is asked for.
pub const MAGIC_REQUEST: u32 = u32::from_ne_bytes(reflection::MAGIC_REQUEST);

/// Begins what was written.
pub const MAGIC_REPLY: u32 = u32::from_ne_bytes(reflection::MAGIC_REPLY);

const _: () = {
    assert!(offset_of!(Reflected, received_ns) == offset_of!(Reflection, received_ns));
    assert!(offset_of!(Reflected, sent_ns) == offset_of!(Reflection, sent_ns));
    assert!(offset_of!(Reflected, requests) == offset_of!(Reflection, requests));
    assert!(offset_of!(Reflected, path) == size_of::<Reflection>());
    assert!(REFLECTED_PAYLOAD_BYTES_MIN == 48);
};

/// Splits a time into the words of [`Reflected`].
#[inline(always)]
pub const fn stamp_words(ns: u64) -> [u32; 2] {
    [((ns >> 32) as u32).to_be(), (ns as u32).to_be()]
}

/// Joins the words of [`Reflected`] to a time.
#[inline(always)]
pub const fn stamp_ns(words: [u32; 2]) -> u64 {
    (u32::from_be(words[0]) as u64) << 32 | u32::from_be(words[1]) as u64
}

/// An address that a reflector answers for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedKey {
    /// The interface whose hook sees the request.
    pub ifindex: u32,
    /// The request's VLAN ids as that hook sees them.
    pub vlan: VlanIds,
    /// In the order of the packet's bytes; IPv4 is mapped.
    pub address: [u32; 4],
}

/// What else is to be known of such an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The interface's own Ethernet address: frames to another one are not for this machine. Zeros where there are no Ethernet headers.
    pub link_address: [u8; 6],
    /// Zeros.
    pub padding: [u8; 2],
}

/// Requests that are counted together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedKey {
    /// Who asks, in the order of the packet's bytes; IPv4 is mapped.
    pub source: [u32; 4],
    /// The reflector's address, likewise.
    pub target: [u32; 4],
    /// The prober's number, as it stands in the packet.
    pub path: u32,
}

/// How many they are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Requests, the first one included.
    pub requests: u64,
    /// When the last one came, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// What the count in replies begins at: random, so that a count that begins anew is told from one that goes on.
    pub begin: u32,
    /// Zeros.
    pub padding: u32,
}

/// How many requests are answered in a second: a bucket that holds those of one second, and fills as fast.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How long one takes to come back, in nanoseconds; 0: there is no limit.
    pub interval_ns: u64,
    /// How long all but one take.
    pub tolerance_ns: u64,
    /// When the bucket is full again, in nanoseconds of `CLOCK_MONOTONIC`; the programs write it.
    pub full_ns: u64,
}

impl Limit {
    /// That to so many a second; 0: none. What is no divisor of a thousand million is missed by less than a nanosecond for each request.
    pub const fn per_second(requests: u32) -> Self {
        let interval_ns = match requests {
            0 => 0,
            _ => 1_000_000_000_u64.div_ceil(requests as u64),
        };
        Self {
            interval_ns,
            tolerance_ns: interval_ns * requests.saturating_sub(1) as u64,
            full_ns: 0,
        }
    }
}

const _: () = {
    assert!(size_of::<Limit>() == 24);
    assert!(size_of::<ServedKey>() == 24);
    assert!(size_of::<Served>() == 8);
    assert!(size_of::<CountedKey>() == 36);
    assert!(size_of::<Counted>() == 24);
};

/// What the reflector's programs count, each on its own CPU.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReflectCounter {
    /// Requests answered.
    Reflected,
    /// Requests left to the kernel because their source is in none of the prefixes, or cannot be another host's.
    Refused,
    /// Requests left to the kernel because a checksum is wrong.
    Corrupt,
    /// Requests left to the kernel because the limit was reached.
    Limited,
    /// Requests that could not be rewritten, and were dropped.
    Dropped,
}

/// How many [`ReflectCounter`]s there are.
pub const REFLECT_COUNTERS: usize = ReflectCounter::Dropped as usize + 1;

/// Most addresses that are answered for: those of many interfaces with many addresses each.
pub const SERVED_MAX: u32 = 4096;

/// Most prefixes that requests may come from, with the addresses within them that cannot be another host's: this machine's own and
/// their networks' broadcast addresses. The trie takes memory for those that it holds.
pub const FROM_MAX: u32 = 1024 + 2 * SERVED_MAX;

/// Most paths that are counted at once; the one that was silent for the longest time gives way to a new one, and counts from a new
/// beginning when it speaks again. A prober with 64 targets on each of 1,024 uplinks has so many.
pub const COUNTED_MAX: u32 = 65_536;

/// The hash of [`ServedKey`] to [`Served`]. Its name carries the version of this contract.
pub const MAP_SERVED: &str = "SERVED_1";
/// The trie of the prefixes that requests may come from, with their families, 4 or 6, or 0 where none may; IPv4 is mapped.
pub const MAP_FROM: &str = "REFLECT_FROM";
/// The LRU hash of [`CountedKey`] to [`Counted`].
pub const MAP_COUNTED: &str = "COUNTED";
/// The array whose only entry is added to every stamp, so that replies do not tell this machine's uptime.
pub const MAP_CLOCK: &str = "REFLECT_CLOCK";
/// The array whose only entry is [`Limit`].
pub const MAP_LIMIT: &str = "REFLECT_LIMIT";
/// The per-CPU array whose only entry is `[u64; REFLECT_COUNTERS]`.
pub const MAP_REFLECT_COUNTERS: &str = "REFLECT_COUNTERS";

/// Ingress of a device with Ethernet headers (native XDP).
pub const PROGRAM_REFLECT_XDP: &str = "reflect_xdp";
/// Ingress of a device with Ethernet headers (TCX).
pub const PROGRAM_REFLECT_ETHERNET: &str = "reflect_ether";
/// Ingress of a layer-3 device (TCX).
pub const PROGRAM_REFLECT_BARE: &str = "reflect_bare";
