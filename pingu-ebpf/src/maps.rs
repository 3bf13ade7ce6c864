//! The maps, and the few ways in which the programs touch them. User space owns every slot: nothing here inserts or evicts.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray},
};
use pingu_common::{
    COUNTERS as COUNTER_COUNT, Counter, Slot, fan::Fan, remark::Remark, traffic::TrafficEntry,
};

/// User space sets the number of slots when it loads the object.
#[map(name = "SLOTS_1")]
static SLOTS: Array<Slot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// As many as slots.
#[map(name = "REMARKS_1")]
static REMARKS: Array<Remark> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// User space sets the number when it loads the object.
#[map(name = "TRAFFIC_2")]
static TRAFFIC: Array<TrafficEntry> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map(name = "FAN")]
static FAN: Array<Fan> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map(name = "COUNTERS")]
static COUNTERS: PerCpuArray<[u64; COUNTER_COUNT]> = PerCpuArray::with_max_entries(1, 0);

/// The slot with this number, if there is one.
#[inline(always)]
pub fn slot(number: u32) -> Option<SlotRef> {
    SLOTS.get_ptr_mut(number).map(SlotRef)
}

/// The remarks on the probe in the slot with this number, if there is one.
#[inline(always)]
pub fn remark(number: u32) -> Option<*mut Remark> {
    REMARKS.get_ptr_mut(number)
}

/// A place where traffic is counted.
#[inline(always)]
pub fn traffic(place: u32) -> Option<*mut TrafficEntry> {
    TRAFFIC.get_ptr_mut(place)
}

/// What user space says of the template that it sends.
#[inline(always)]
pub fn fan() -> Option<*mut Fan> {
    FAN.get_ptr_mut(0)
}

/// Counts one packet on this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the pointer is to this CPU's own entry, and no program of ours interrupts another on one CPU.
        unsafe { (*counters)[counter as usize] += 1 };
    }
}

/// A slot in memory that user space and other CPUs write at any time.
#[derive(Clone, Copy)]
pub struct SlotRef(*mut Slot);

impl SlotRef {
    /// The slot's state. Read once: a second read may see another probe's.
    #[inline(always)]
    pub fn state(self) -> u64 {
        // SAFETY: the pointer comes from a lookup that found it; map memory outlives the program's run.
        unsafe { (&raw const (*self.0).state).read_volatile() }
    }

    /// When the request left; 0 if it did not.
    #[inline(always)]
    pub fn sent_ns(self) -> u64 {
        // SAFETY: as in `state`.
        unsafe { (&raw const (*self.0).sent_ns).read_volatile() }
    }

    /// Writes the time at which the request left.
    #[inline(always)]
    pub fn set_sent_ns(self, now_ns: u64) {
        // SAFETY: as in `state`.
        unsafe { (&raw mut (*self.0).sent_ns).write_volatile(now_ns) }
    }

    /// The rest of the slot. A torn read is harmless: `answer` settles whose probe it was.
    #[inline(always)]
    pub fn expected(self) -> *const Slot {
        self.0
    }

    /// Turns `armed` into `now_ns`; false if the slot was answered or armed anew since `armed` was read.
    #[inline(always)]
    pub fn answer(self, armed: u64, now_ns: u64) -> bool {
        // SAFETY: as in `state`.
        compare_exchange(unsafe { &raw mut (*self.0).state }, armed, now_ns)
    }
}

/// Writes `new` if `expected` stands there, in one step (Linux 5.12). It is written out because the target's `core` has no
/// compare-and-exchange. `place` comes from a lookup that found it.
#[inline(always)]
pub fn compare_exchange(place: *mut u64, expected: u64, new: u64) -> bool {
    let mut found = expected;
    // SAFETY: map memory outlives the program's run; the instruction touches these 8 bytes and r0 alone.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({place} + 0, r0, {new})",
            place = in(reg) place,
            new = in(reg) new,
            inout("r0") found,
        );
    }
    found == expected
}
