//! What the programs counted beside the probes: an array in mapped memory with an entry for each interface and processor, which only the
//! programs write but for the interface's number.

use std::{
    fs, io,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use aya::maps::MapData;
use pingu_common::{
    TRAFFIC_OFF,
    traffic::{TrafficEntry, buckets},
};

use super::mapped::Mapped;
use crate::{probe::Traffic, units::Ifindex};

/// What the kernel calls the processors that it could ever have, like `0-3` or `0-1,4`.
const POSSIBLE_PROCESSORS: &str = "/sys/devices/system/cpu/possible";

/// The array's size and how a place in it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    buckets: u32,
    processors: u32,
}

impl Layout {
    /// That for so many interfaces; with 0 nothing is counted.
    pub(super) fn of(interfaces: u32) -> io::Result<Self> {
        Ok(Self {
            buckets: match interfaces {
                0 => 0,
                interfaces => buckets(interfaces),
            },
            processors: last_number(&fs::read_to_string(POSSIBLE_PROCESSORS)?)
                .ok_or_else(|| io::Error::other(POSSIBLE_PROCESSORS))?
                + 1,
        })
    }

    pub(super) fn entries(self) -> u32 {
        (self.buckets * self.processors).max(1)
    }

    /// What the programs are told.
    pub(super) fn mask(self) -> u32 {
        self.buckets.checked_sub(1).unwrap_or(TRAFFIC_OFF)
    }

    /// What the programs are told.
    pub(super) fn processors(self) -> u32 {
        self.processors
    }
}

fn last_number(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

/// The mapped array.
pub(super) struct TrafficEntries {
    mapped: Mapped<TrafficEntry>,
    layout: Layout,
    /// Whose traffic is counted, and what stood there before; in order of the interfaces' numbers.
    counted: Vec<(Ifindex, Traffic)>,
}

impl TrafficEntries {
    pub(super) fn map(map: MapData, layout: Layout) -> io::Result<Self> {
        Ok(Self {
            mapped: Mapped::new(map, layout.entries())?,
            layout,
            counted: Vec::new(),
        })
    }

    /// Counts an interface from 0 on, unless another one has its place.
    pub(super) fn begin(&mut self, ifindex: Ifindex) {
        self.end(ifindex);
        if self.layout.buckets == 0 || self.of(ifindex).any(|entry| entry.owner() != 0) {
            return;
        }
        let before = self.sum(ifindex);
        for entry in self.of(ifindex) {
            entry.set_owner(ifindex.0);
        }
        let place = self.counted.partition_point(|(other, _)| *other < ifindex);
        self.counted.insert(place, (ifindex, before));
    }

    /// Counts the interface no more. Its place is free for another.
    pub(super) fn end(&mut self, ifindex: Ifindex) {
        if let Some(place) = self.place(ifindex) {
            self.counted.remove(place);
            for entry in self.of(ifindex) {
                entry.set_owner(0);
            }
        }
    }

    /// The counts of an interface; none if it is not counted.
    pub(super) fn read(&self, ifindex: Ifindex) -> Option<Traffic> {
        let (_, before) = self.counted[self.place(ifindex)?];
        let sum = self.sum(ifindex);
        Some(Traffic {
            ingress_packets: sum.ingress_packets.wrapping_sub(before.ingress_packets),
            ingress_bytes: sum.ingress_bytes.wrapping_sub(before.ingress_bytes),
            egress_packets: sum.egress_packets.wrapping_sub(before.egress_packets),
            egress_bytes: sum.egress_bytes.wrapping_sub(before.egress_bytes),
            handshakes_begun: sum.handshakes_begun.wrapping_sub(before.handshakes_begun),
            handshakes_answered: sum
                .handshakes_answered
                .wrapping_sub(before.handshakes_answered),
            handshakes_elsewhere: sum
                .handshakes_elsewhere
                .wrapping_sub(before.handshakes_elsewhere),
        })
    }

    fn place(&self, ifindex: Ifindex) -> Option<usize> {
        self.counted
            .binary_search_by_key(&ifindex, |(ifindex, _)| *ifindex)
            .ok()
    }

    fn sum(&self, ifindex: Ifindex) -> Traffic {
        let mut sum = Traffic::default();
        for entry in self.of(ifindex) {
            let add = |total: &mut u64, count| *total = total.wrapping_add(count);
            let fields = entry.0.as_ptr();
            // SAFETY: the fields are aligned and in the mapping, which outlives this.
            let value = |field: *mut u64| unsafe { AtomicU64::from_ptr(field) };
            // SAFETY: only places are taken here.
            unsafe {
                let load = |field| value(field).load(Ordering::Relaxed);
                add(
                    &mut sum.ingress_packets,
                    load(&raw mut (*fields).ingress_packets),
                );
                add(
                    &mut sum.ingress_bytes,
                    load(&raw mut (*fields).ingress_bytes),
                );
                add(
                    &mut sum.egress_packets,
                    load(&raw mut (*fields).egress_packets),
                );
                add(&mut sum.egress_bytes, load(&raw mut (*fields).egress_bytes));
                add(
                    &mut sum.handshakes_begun,
                    load(&raw mut (*fields).handshakes_begun),
                );
                add(
                    &mut sum.handshakes_answered,
                    load(&raw mut (*fields).handshakes_answered),
                );
                add(
                    &mut sum.handshakes_elsewhere,
                    load(&raw mut (*fields).handshakes_elsewhere),
                );
            }
        }
        sum
    }

    /// The interface's entries, one for each processor.
    fn of(&self, ifindex: Ifindex) -> impl Iterator<Item = Entry> + '_ {
        let first = (ifindex.0 & self.layout.mask()) * self.layout.processors;
        (first..first + self.layout.processors)
            .filter_map(|place| self.mapped.entry(place).map(Entry))
    }
}

#[derive(Clone, Copy)]
struct Entry(NonNull<TrafficEntry>);

impl Entry {
    fn owner(self) -> u32 {
        self.owner_field().load(Ordering::Relaxed)
    }

    fn set_owner(self, ifindex: u32) {
        self.owner_field().store(ifindex, Ordering::Release);
    }

    fn owner_field(&self) -> &AtomicU32 {
        // SAFETY: the field is aligned and in the mapping, which outlives this borrow.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0.as_ptr()).ifindex) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_possible_processor_ends_the_list() {
        for (list, last) in [("0\n", 0), ("0-3\n", 3), ("0-1,4\n", 4), ("0,2-63", 63)] {
            assert_eq!(last_number(list), Some(last), "{list}");
        }
        assert_eq!(last_number(""), None);
    }

    #[test]
    fn every_interface_has_a_place_of_its_own_while_numbers_are_in_a_row() {
        for interfaces in [1, 16, 17, 1_000] {
            let buckets = buckets(interfaces);
            assert!(buckets.is_power_of_two() && buckets >= 4 * interfaces && buckets >= 64);
        }
        assert_eq!(buckets(u32::MAX), 4_096);
    }
}
