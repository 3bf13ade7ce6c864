//! The slots as user space sees them: an array in mapped memory that the programs look up on other processors at any time.

use std::{
    io,
    net::IpAddr,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::maps::MapData;
use pingu_common::{COOKIE_WORDS, Slot, VlanIds};

use super::{mapped::Mapped, remarks::RemarkEntries};
use crate::{
    probe::{LinkHeader, ProbeOrder, Remarks, Stamps},
    units::{Ifindex, SlotId},
};

/// The mapped array, and what was noted beside its probes.
pub(in crate::probe) struct Slots {
    slots: Mapped<Slot>,
    /// Where programs note something.
    remarks: Option<RemarkEntries>,
}

impl Slots {
    /// Maps the array of `count` slots.
    pub(super) fn map(map: MapData, remarks: RemarkEntries, count: u32) -> io::Result<Self> {
        Ok(Self {
            slots: Mapped::new(map, count)?,
            remarks: Some(remarks),
        })
    }

    /// As many slots that only this process sees, without remarks.
    pub(in crate::probe) fn anonymous(count: u32) -> io::Result<Self> {
        Ok(Self {
            slots: Mapped::anonymous(count)?,
            remarks: None,
        })
    }

    pub(in crate::probe) fn count(&self) -> u32 {
        self.slots.count()
    }

    /// Readies a slot for an order: dead, then filled, then armed, so that no processor takes half of it for a whole.
    pub(in crate::probe) fn arm(&self, order: &ProbeOrder, cookie: [u32; COOKIE_WORDS]) {
        let Some(slot) = self.slot(order.slot) else {
            return;
        };
        let (target, ip_version) = match order.target {
            IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), 4),
            IpAddr::V6(address) => (address.octets(), 6),
        };
        let vlan = match order.link {
            LinkHeader::Bare | LinkHeader::Ethernet { .. } => VlanIds::default(),
            LinkHeader::Vlan { outer, inner, .. } => VlanIds { outer, inner },
        };
        let (words, _) = target.as_chunks::<4>();
        let filled = Slot {
            state: 0,
            sent_ns: 0,
            cookie,
            target: std::array::from_fn(|word| u32::from_ne_bytes(words[word])),
            ifindex: order.ifindex.0,
            ident: order.ident.to_be(),
            sequence: order.sequence.to_be(),
            vlan,
            ip_version,
        };
        slot.state().store(0, Ordering::Relaxed);
        if let Some(remarks) = &self.remarks {
            remarks.begin(order.slot, &cookie);
        }
        fence(Ordering::Release);
        // SAFETY: the slot lies in the mapping, and only this thread fills slots. A program that reads it meanwhile may see half
        // of it, which it discards: it cannot exchange the state of a dead slot, nor one whose cookie it did not see.
        unsafe { slot.0.as_ptr().write_volatile(filled) };
        slot.state().store(Slot::armed(&cookie), Ordering::Release);
    }

    pub(in crate::probe) fn disarm(&self, slot: SlotId) {
        if let Some(slot) = self.slot(slot) {
            slot.state().store(0, Ordering::Release);
        }
    }

    /// Makes a slot dead and forgets what it held.
    pub(in crate::probe) fn forget(&self, slot: SlotId) {
        self.disarm(slot);
        self.set_sent(slot, 0);
        if let Some(entry) = self.slot(slot) {
            // SAFETY: the slot lies in the mapping, and only this thread writes cookies. No remark belongs to one of zeros: a program
            // notes only what speaks of a live slot.
            unsafe { (&raw mut (*entry.0.as_ptr()).cookie).write_volatile([0; COOKIE_WORDS]) };
        }
    }

    pub(in crate::probe) fn set_sent(&self, slot: SlotId, sent_ns: u64) {
        if let Some(slot) = self.slot(slot) {
            slot.sent_ns().store(sent_ns, Ordering::Release);
        }
    }

    /// The times in a slot; none in one that does not exist.
    pub(in crate::probe) fn read(&self, slot: SlotId) -> Stamps {
        let Some(slot) = self.slot(slot) else {
            return Stamps {
                sent_ns: None,
                received_ns: None,
            };
        };
        // The state first: whoever wrote the time of the reply had seen that of the request.
        let state = slot.state().load(Ordering::Acquire);
        let sent_ns = slot.sent_ns().load(Ordering::Acquire);
        Stamps {
            sent_ns: (sent_ns != 0).then_some(sent_ns),
            received_ns: (state != 0 && !Slot::is_armed(state)).then_some(state),
        }
    }

    /// What a slot holds. Its state may change in the meantime: [`Self::answer`] settles whose reply it was.
    pub(in crate::probe) fn expected(&self, slot: SlotId) -> Option<Slot> {
        let slot = self.slot(slot)?;
        // SAFETY: the slot lies in the mapping, and only user space fills slots; what a program may write meanwhile are two aligned
        // words.
        Some(unsafe { slot.0.as_ptr().read_volatile() })
    }

    /// Replies over this interface may have been missed: probes that wait for one count as if they had never left.
    pub(in crate::probe) fn doubt(&self, ifindex: Ifindex) {
        for id in (0..self.count()).map(SlotId) {
            let waits = |held: Slot| held.ifindex == ifindex.0 && Slot::is_armed(held.state);
            if self.expected(id).is_some_and(waits) {
                self.set_sent(id, 0);
            }
        }
    }

    /// The reply with this cookie has come, but nobody knows when: its probe counts as if it had never left. False if the slot waits
    /// for none, or another one.
    pub(in crate::probe) fn doubt_one(&self, id: SlotId, cookie: &[u32; COOKIE_WORDS]) -> bool {
        let waits = |held: Slot| held.state == Slot::armed(cookie);
        let waits = self.expected(id).is_some_and(waits);
        if waits {
            self.set_sent(id, 0);
        }
        waits
    }

    /// Gives a slot that awaits the reply with this cookie the time; false if it awaits none, or another one.
    pub(in crate::probe) fn answer(
        &self,
        slot: SlotId,
        cookie: &[u32; COOKIE_WORDS],
        received_ns: u64,
    ) -> bool {
        self.slot(slot).is_some_and(|slot| {
            let armed = Slot::armed(cookie);
            let order = (Ordering::AcqRel, Ordering::Acquire);
            slot.state()
                .compare_exchange(armed, received_ns, order.0, order.1)
                .is_ok()
        })
    }

    /// What was noted beside a slot's probe; nothing for one that does not exist.
    pub(super) fn remarks(&self, slot: SlotId) -> Remarks {
        let Some(entry) = self.slot(slot) else {
            return Remarks::default();
        };
        // SAFETY: the slot lies in the mapping, and only this thread writes cookies.
        let cookie = unsafe { (&raw const (*entry.0.as_ptr()).cookie).read_volatile() };
        let remarks = self.remarks.as_ref();
        remarks.map_or_else(Remarks::default, |remarks| remarks.read(slot, &cookie))
    }

    fn slot(&self, slot: SlotId) -> Option<Entry> {
        self.slots.entry(slot.0).map(Entry)
    }
}

#[derive(Clone, Copy)]
struct Entry(NonNull<Slot>);

impl Entry {
    fn state(&self) -> &AtomicU64 {
        // SAFETY: the field is aligned and in the mapping, which outlives this borrow.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0.as_ptr()).state) }
    }

    fn sent_ns(&self) -> &AtomicU64 {
        // SAFETY: as in `state`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0.as_ptr()).sent_ns) }
    }
}
