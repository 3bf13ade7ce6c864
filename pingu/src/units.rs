//! Numbers that mean something: identifiers and kernel quantities, each its own type, so that one cannot stand in for another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares a newtype over an integer, with the conversions every such type needs.
macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// An uplink's place in the configuration, counted from 0: the order of preference.
    UplinkId(u16)
}
number! {
    /// One (uplink, target) pair, counted over the whole configuration.
    PathId(u32)
}
number! {
    /// A place in the array of probe slots shared with the kernel.
    SlotId(u32)
}
number! {
    /// The kernel's number of a network interface (`if_nametoindex(3)`); never 0 for a real one.
    Ifindex(u32)
}
number! {
    /// A route's priority (`RTA_PRIORITY`, iproute2's `metric`): the lowest wins.
    Metric(u32)
}
number! {
    /// A route's origin (`rtm_protocol`): 136 marks pingu's own routes by default.
    Protocol(u8)
}
number! {
    /// A routing table's number (`RTA_TABLE`).
    TableId(u32)
}

number! {
    /// A nexthop object's number (`NHA_ID`, `RTA_NH_ID`); never 0.
    NexthopId(u32)
}
number! {
    /// A group of uplinks' place in the configuration, counted from 0.
    GroupId(u16)
}

impl TableId {
    /// The main table (`RT_TABLE_MAIN`).
    pub const MAIN: Self = Self(254);

    /// The tables that every system has: default, main and local.
    pub const BUILT_IN: [Self; 3] = [Self(253), Self::MAIN, Self(255)];
}

impl UplinkId {
    /// The uplink's index in a slice ordered as the configuration is.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl GroupId {
    /// The group's index in a slice ordered as the configuration is.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl PathId {
    /// The path's index in a slice ordered as the configuration is.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
