//! When a reply came: by the kernel's own stamp, where it took one.

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_ktime_get_tai_ns};

use crate::packet::Packet;

const NS_PER_S: u64 = 1_000_000_000;

/// International Atomic Time is ahead of the real-time clock by whole seconds: 37 since 2017, or 0 where nobody told the kernel. More
/// leap seconds than that are not to be expected.
const LEAP_SECONDS_MAX: u64 = 100;

/// A packet waits for the hook no longer than this; what looks like more is a clock that was set meanwhile.
const WAIT_MAX_NS: u64 = 100_000_000;

/// Nanoseconds of the monotonic clock.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// When the packet came, which the hook saw at `seen_ns`, not before `sent_ns`; all in nanoseconds of the monotonic clock.
///
/// While any program asks the kernel for receive stamps (a capture, most time daemons), it takes one of every packet where that enters
/// the stack, which is before it queues for a processor and before the hook. The stamp is the real-time clock's. Programs can read
/// CLOCK_TAI alone, which is ahead of that by whole seconds; a packet waits for less than one.
#[inline(always)]
pub fn received_ns<P: Packet>(packet: P, seen_ns: u64, sent_ns: u64) -> u64 {
    let stamp_ns = packet.kernel_stamp_ns();
    if stamp_ns == 0 {
        return seen_ns;
    }
    // SAFETY: the helper has no precondition.
    let since_ns = unsafe { bpf_ktime_get_tai_ns() }.wrapping_sub(stamp_ns);
    let now_ns = now_ns();
    let waited_ns = since_ns % NS_PER_S;
    let received_ns = now_ns.wrapping_sub(waited_ns);
    let is_plausible = since_ns < LEAP_SECONDS_MAX * NS_PER_S
        && waited_ns <= WAIT_MAX_NS
        && received_ns > sent_ns
        && received_ns <= seen_ns;
    if is_plausible { received_ns } else { seen_ns }
}
