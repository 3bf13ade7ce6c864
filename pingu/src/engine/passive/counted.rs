//! Whose counts tell what passes: the programs', or where there are none, the interface's own.

use crate::{
    probe::{InterfaceTraffic, ProbeTransport, Traffic, TrafficSource},
    units::Ifindex,
};

/// What was counted, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) traffic: Traffic,
    pub(crate) by: Counting,
}

/// Whose counts they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// The programs'.
    Programs,
    /// The interface's own; whether packets that come in are told apart by whom they are for.
    Interface { told_apart: bool },
}

impl Counted {
    /// Reads the counters of an interface; `tell_apart`: something depends on whom packets are for.
    pub(crate) fn read(
        ifindex: Ifindex,
        tell_apart: bool,
        transport: &mut impl ProbeTransport,
    ) -> Option<Self> {
        if let Some(traffic) = transport.traffic(ifindex) {
            let by = Counting::Programs;
            return Some(Self { traffic, by });
        }
        let InterfaceTraffic {
            traffic,
            told_apart,
        } = transport.interface_traffic(ifindex, tell_apart)?;
        let by = Counting::Interface { told_apart };
        Some(Self { traffic, by })
    }
}

impl Counting {
    /// What it is called.
    pub(crate) fn source(counting: Option<Self>) -> TrafficSource {
        match counting {
            None => TrafficSource::None,
            Some(Self::Programs) => TrafficSource::Programs,
            Some(Self::Interface { .. }) => TrafficSource::Interface,
        }
    }
}
