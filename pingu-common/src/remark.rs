//! What the programs saw of a probe beside its first right reply: an array parallel to the slots, of which nothing decides anything.

use core::mem::{align_of, offset_of, size_of};

use crate::COOKIE_WORDS;

/// What was seen of the probe that the slot of the same number holds: one cache line.
///
/// `key` says whose remarks these are, so that a packet that belongs to an earlier probe of the slot never leaves its trace in those of
/// the present one. A program takes the entry by setting [`KEY_BUSY`] in a key that it knows, and gives it back with the next
/// version; user space clears only what nobody has taken, and reads again if the version changed meanwhile.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remark {
    /// [`Remark::key_of`] the probe's cookie, a version, and whether a program writes here.
    pub key: u64,
    /// Further replies to an answered probe; like all counts here it stays at its largest value.
    pub duplicates: u16,
    /// Replies with a wrong checksum.
    pub corrupt: u16,
    /// Replies that differ in cookie, identifier, sequence or source.
    pub forged: u16,
    /// Right replies by another interface or VLAN.
    pub wrong_uplink: u16,
    /// The interface that the last of those came in by.
    pub came_in_by: u32,
    /// The interface that the request tried to leave by, if it was another than its own; else 0.
    pub strayed_to: u32,
    /// Who sent the last ICMP error that quoted the probe, in the order of the packet's bytes; IPv4 is mapped.
    pub error_from: [u32; 4],
    /// Its ICMP type.
    pub error_kind: u8,
    /// Its ICMP code.
    pub error_code: u8,
    /// 4 or 6; 0 if there was none.
    pub error_ip_version: u8,
    /// 1 if the fields below are a reflector's.
    pub is_reflected: u8,
    /// How many requests of this path the reflector had received.
    pub reflection_requests: u32,
    /// When the request reached the reflector.
    pub reflection_received_ns: u64,
    /// When the reply left it.
    pub reflection_sent_ns: u64,
}

/// Set in [`Remark::key`] while a program writes.
pub const KEY_BUSY: u64 = 1;

/// Added to [`Remark::key`] with every remark.
pub const KEY_VERSION_STEP: u64 = 2;

/// The bits of [`Remark::key`] that count the remarks; 0 while there is none.
pub const KEY_VERSION: u64 = 0x1_fffe;

impl Remark {
    /// What [`Remark::key`] is for the probe with this cookie, while there is no remark.
    #[inline(always)]
    pub const fn key_of(cookie: &[u32; COOKIE_WORDS]) -> u64 {
        (((cookie[1] as u64) << 32) | cookie[0] as u64) & !(KEY_VERSION | KEY_BUSY)
    }

    /// Whether a key says that the remarks are those of the probe with this cookie.
    #[inline(always)]
    pub const fn is_of(key: u64, cookie: &[u32; COOKIE_WORDS]) -> bool {
        key & !(KEY_VERSION | KEY_BUSY) == Self::key_of(cookie)
    }

    /// The key with which a program gives back an entry that it took with `key`. The version never becomes 0 again: that means that
    /// nothing was written.
    #[inline(always)]
    pub const fn next_key(key: u64) -> u64 {
        let version = key.wrapping_add(KEY_VERSION_STEP) & KEY_VERSION;
        let version = if version == 0 {
            KEY_VERSION_STEP
        } else {
            version
        };
        key & !(KEY_VERSION | KEY_BUSY) | version
    }
}

const _: () = {
    assert!(size_of::<Remark>() == 64 && align_of::<Remark>() == 64);
    assert!(offset_of!(Remark, key) == 0);
    assert!(offset_of!(Remark, duplicates) == 8);
    assert!(offset_of!(Remark, came_in_by) == 16);
    assert!(offset_of!(Remark, error_from) == 24);
    assert!(offset_of!(Remark, error_kind) == 40);
    assert!(offset_of!(Remark, reflection_requests) == 44);
    assert!(offset_of!(Remark, reflection_received_ns) == 48);
    assert!(offset_of!(Remark, reflection_sent_ns) == 56);
};
