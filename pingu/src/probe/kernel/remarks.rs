//! What the programs noted beside the probes: an array parallel to the slots, in mapped memory.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::maps::MapData;
use pingu_common::{
    COOKIE_WORDS,
    remark::{KEY_BUSY, KEY_VERSION, Remark},
};

use super::mapped::Mapped;
use crate::{
    probe::{IcmpError, Reflection, Remarks},
    units::{Ifindex, SlotId},
};

/// A program holds an entry for some nanoseconds; only one that the machine stopped in the midst holds it longer.
const TRIES: usize = 1_000;

/// The mapped array.
pub(super) struct RemarkEntries(Mapped<Remark>);

impl RemarkEntries {
    /// Maps the array of `count` entries.
    pub(super) fn map(map: MapData, count: u32) -> io::Result<Self> {
        Mapped::new(map, count).map(Self)
    }

    /// Makes the entry that of the probe with this cookie, without remarks. If a program is writing there this very moment, the entry stays
    /// that of the earlier probe, and this one has no remarks.
    pub(super) fn begin(&self, slot: SlotId, cookie: &[u32; COOKIE_WORDS]) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let new = Remark::key_of(cookie);
        let key = entry.key().load(Ordering::Relaxed);
        let is_clear = key & KEY_VERSION == 0;
        // Between the two, no probe's cookie is known, so no program takes the entry.
        let between = if is_clear { new } else { KEY_BUSY };
        let taken = key & KEY_BUSY == 0
            && entry
                .key()
                .compare_exchange(key, between, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if taken && !is_clear {
            let blank = Remark {
                key: KEY_BUSY,
                ..Remark::default()
            };
            // SAFETY: the entry lies in the mapping, and its busy bit keeps the programs away.
            unsafe { entry.0.as_ptr().write_volatile(blank) };
            entry.key().store(new, Ordering::Release);
        }
    }

    /// What was noted beside the probe with this cookie.
    pub(super) fn read(&self, slot: SlotId, cookie: &[u32; COOKIE_WORDS]) -> Remarks {
        let Some(entry) = self.entry(slot) else {
            return Remarks::default();
        };
        for _ in 0..TRIES {
            let key = entry.key().load(Ordering::Acquire);
            if !Remark::is_of(key, cookie) || key & KEY_VERSION == 0 && key & KEY_BUSY == 0 {
                return Remarks::default();
            }
            // SAFETY: the entry lies in the mapping; if a program writes meanwhile, the key tells and the copy is not used.
            let copy = unsafe { entry.0.as_ptr().read_volatile() };
            fence(Ordering::Acquire);
            if key & KEY_BUSY == 0 && entry.key().load(Ordering::Relaxed) == key {
                return told(&copy);
            }
            std::hint::spin_loop();
        }
        Remarks::default()
    }

    fn entry(&self, slot: SlotId) -> Option<Entry> {
        self.0.entry(slot.0).map(Entry)
    }
}

#[derive(Clone, Copy)]
struct Entry(NonNull<Remark>);

impl Entry {
    fn key(&self) -> &AtomicU64 {
        // SAFETY: the field is aligned and in the mapping, which outlives this borrow.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0.as_ptr()).key) }
    }
}

fn told(remark: &Remark) -> Remarks {
    let interface = |number: u32| (number != 0).then_some(Ifindex(number));
    Remarks {
        duplicates: remark.duplicates,
        corrupt: remark.corrupt,
        forged: remark.forged,
        wrong_uplink: remark.wrong_uplink,
        came_in_by: interface(remark.came_in_by),
        strayed_to: interface(remark.strayed_to),
        error: (remark.error_ip_version != 0).then(|| IcmpError {
            from: sender(remark),
            kind: remark.error_kind,
            code: remark.error_code,
        }),
        reflection: (remark.is_reflected != 0).then_some(Reflection {
            received_ns: remark.reflection_received_ns,
            sent_ns: remark.reflection_sent_ns,
            requests: remark.reflection_requests,
        }),
    }
}

fn sender(remark: &Remark) -> IpAddr {
    let mut octets = [0; 16];
    for (bytes, word) in octets.chunks_exact_mut(4).zip(remark.error_from) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    if remark.error_ip_version == 4 {
        let [.., a, b, c, d] = octets;
        IpAddr::from([a, b, c, d])
    } else {
        Ipv6Addr::from(octets).into()
    }
}
