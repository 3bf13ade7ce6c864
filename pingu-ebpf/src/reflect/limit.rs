//! How many requests are answered in a second: one bucket for all interfaces and processors, kept as the time at which it will be full
//! again. An empty one refills whatever else happens, and a full one lets through what it holds at once.

use aya_ebpf::{macros::map, maps::Array};
use pingu_common::reflector::Limit;

use crate::maps;

/// User space writes it before any program is attached.
#[map(name = "REFLECT_LIMIT")]
static LIMIT: Array<Limit> = Array::with_max_entries(1, 0);

/// Each attempt that fails is another processor's that succeeded; a request that loses so many in a row is one too many.
const ATTEMPTS_MAX: u32 = 4;

/// Takes a request out of the bucket; false if it is empty.
#[inline(always)]
pub fn take(now_ns: u64) -> bool {
    let Some(limit) = LIMIT.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the pointer comes from a lookup that found it, and nobody writes these two while programs run.
    let (interval_ns, tolerance_ns) = unsafe { ((*limit).interval_ns, (*limit).tolerance_ns) };
    if interval_ns == 0 {
        return true;
    }
    // SAFETY: as above.
    let full_ns = unsafe { &raw mut (*limit).full_ns };
    for _ in 0..ATTEMPTS_MAX {
        // SAFETY: as above; other processors write it, by the instruction below alone.
        let before_ns = unsafe { full_ns.read_volatile() };
        if before_ns > now_ns + tolerance_ns {
            return false;
        }
        if maps::compare_exchange(full_ns, before_ns, before_ns.max(now_ns) + interval_ns) {
            return true;
        }
    }
    false
}
