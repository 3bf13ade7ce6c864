//! How many requests of each path came. The map evicts the path that was silent for the longest time when it is full, so that a flood of
//! forged sources costs nothing but counts, which then begin anew.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_NOEXIST, helpers::bpf_get_prandom_u32, macros::map, maps::LruHashMap,
};
use pingu_common::reflector::{COUNTED_MAX, Counted, CountedKey};

#[map(name = "COUNTED")]
static COUNTED: LruHashMap<CountedKey, Counted> = LruHashMap::with_max_entries(COUNTED_MAX, 0);

/// Counts a request, and returns what its reply says; none if there is no room to count it in.
#[inline(always)]
pub fn count(key: &CountedKey, now_ns: u64) -> Option<u32> {
    if let Some(counted) = COUNTED.get_ptr_mut(key) {
        return Some(add(counted, now_ns));
    }
    // SAFETY: the helper has no precondition.
    let begin = unsafe { bpf_get_prandom_u32() };
    let first = Counted {
        requests: 1,
        last_ns: now_ns,
        begin,
        padding: 0,
    };
    if COUNTED.insert(key, first, BPF_NOEXIST.into()).is_ok() {
        return Some(begin.wrapping_add(1));
    }
    // Another CPU was faster.
    COUNTED.get_ptr_mut(key).map(|counted| add(counted, now_ns))
}

#[inline(always)]
fn add(counted: *mut Counted, now_ns: u64) -> u32 {
    let mut before = 1;
    // SAFETY: the pointer comes from a lookup that found it. The instruction (Linux 5.12) touches these 8 bytes and one register; it is
    // written out because the target's `core` has no such operation.
    unsafe {
        asm!(
            "{before} = atomic_fetch_add((u64 *)({counted} + 0), {before})",
            counted = in(reg) &raw mut (*counted).requests,
            before = inout(reg) before,
        );
    }
    let requests: u64 = before + 1;
    // SAFETY: as above. Of two CPUs that write the time either is good enough.
    let begin = unsafe {
        (&raw mut (*counted).last_ns).write_volatile(now_ns);
        (*counted).begin
    };
    begin.wrapping_add(requests as u32)
}
