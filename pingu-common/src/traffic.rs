//! What passes an interface beside pingu's own probes, counted without a system call to read it and without an atomic to write it:
//! an entry for each interface and processor.

use core::mem::{align_of, size_of};

/// The counts of one interface on one processor: one cache line. Its place in the array is `(ifindex & mask) * processors + processor`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficEntry {
    /// Unicast IP packets that came in.
    pub ingress_packets: u64,
    /// Their bytes.
    pub ingress_bytes: u64,
    /// Unicast IP packets that left.
    pub egress_packets: u64,
    /// Their bytes.
    pub egress_bytes: u64,
    /// TCP segments that left with SYN and without ACK.
    pub handshakes_begun: u64,
    /// TCP segments that came in with SYN and ACK.
    pub handshakes_answered: u64,
    /// Those that were begun with another address than the one before: who floods one address begins many, and few of these.
    pub handshakes_elsewhere: u64,
    /// The interface that is counted here, written by user space; 0 is none. Another one that falls upon the same place is not counted.
    pub ifindex: u32,
    /// What was made of the last such address.
    pub last_destination: u32,
}

const _: () = assert!(size_of::<TrafficEntry>() == 64 && align_of::<TrafficEntry>() == 64);

/// Places for so many interfaces: a power of two, several times their number, so that numbers that are not in one row seldom collide.
pub const fn buckets(interfaces: u32) -> u32 {
    let wanted = interfaces.saturating_mul(BUCKETS_PER_INTERFACE);
    let wanted = if wanted < BUCKETS_MIN {
        BUCKETS_MIN
    } else {
        wanted
    };
    if wanted > BUCKETS_MAX {
        BUCKETS_MAX
    } else {
        wanted.next_power_of_two()
    }
}

const BUCKETS_PER_INTERFACE: u32 = 4;
const BUCKETS_MIN: u32 = 64;
/// 16 MiB for 64 processors.
const BUCKETS_MAX: u32 = 4_096;
