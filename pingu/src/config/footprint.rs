//! How much memory a configuration takes, so that it can be told before it is taken.

use std::fmt;

use pingu_common::{Slot, remark::Remark};

use super::{Config, UplinkConfig};

impl Config {
    /// What it takes of memory.
    pub fn footprint(&self) -> Footprint {
        let slots = |uplink: &UplinkConfig| {
            let each = crate::engine::slots_needed(&uplink.probe) as usize;
            each * uplink.probe.targets.len()
        };
        let path_bytes = |uplink: &UplinkConfig| {
            crate::engine::bytes_needed(&uplink.probe) * uplink.probe.targets.len()
        };
        let paths = self.uplinks.iter().map(|uplink| uplink.probe.targets.len());
        Footprint {
            paths: paths.sum(),
            slots: self.uplinks.iter().map(slots).sum(),
            path_bytes: self.uplinks.iter().map(path_bytes).sum(),
        }
    }
}

/// How much a configuration takes: `100000 paths, 900000 slots, 240 MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// (Uplink, target) pairs.
    pub paths: usize,
    /// Probe slots with the remarks beside them, which lie in the kernel's memory.
    pub slots: usize,
    /// What the paths take of the daemon's memory.
    path_bytes: usize,
}

impl Footprint {
    /// Of the slots and of the paths, once each has its figures, in bytes; the program itself takes some ten megabytes beside it.
    pub fn bytes(&self) -> usize {
        self.path_bytes + self.slots * (size_of::<Slot>() + size_of::<Remark>())
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.bytes() as f64 / 1e6;
        let Self { paths, slots, .. } = self;
        write!(f, "{paths} paths, {slots} slots, {megabytes:.1} MB")
    }
}
