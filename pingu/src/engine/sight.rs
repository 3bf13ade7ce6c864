//! Which interfaces need hooks, and whether these see anything.

use std::time::Instant;

use crate::{
    config::UplinkConfig,
    engine::{Engine, health::Verdict, path::Path},
    network::LinkLayer,
    units::{Ifindex, UplinkId},
};

impl Engine {
    /// The interfaces that need hooks, by uplink: number, and whether its packets have no link header.
    pub fn hooks_wanted(&self) -> Vec<(UplinkId, Ifindex, bool)> {
        let of = |(index, uplink): (usize, &UplinkConfig)| {
            let link = self
                .snapshot
                .links
                .iter()
                .find(|link| link.is_called(&uplink.interface))?;
            match link.layer {
                LinkLayer::Ethernet(_) => Some((UplinkId(index as u16), link.ifindex, false)),
                LinkLayer::Bare => Some((UplinkId(index as u16), link.ifindex, true)),
                LinkLayer::Other(_) => None,
            }
        };
        self.config
            .uplinks
            .iter()
            .enumerate()
            .filter_map(of)
            .collect()
    }

    /// Uplinks whose last burst said nothing because its probes never left, with the errno if the kernel gave one: their hooks or
    /// sockets may be dead.
    pub fn blind(&self) -> impl Iterator<Item = (UplinkId, Option<i32>)> + '_ {
        let of = |path: &Path| {
            let judged = path
                .record
                .judged
                .filter(|judged| judged.verdict == Verdict::Blind)?;
            Some((path.uplink, judged.report.errno))
        };
        self.paths.iter().filter_map(of)
    }

    /// Uplinks with a target whose probes left in the last burst, and none came back.
    pub fn silent(&self) -> impl Iterator<Item = UplinkId> + '_ {
        let of = |path: &Path| {
            let report = path.record.judged.as_ref()?.report;
            (report.answered == 0 && report.lost > 0).then_some(path.uplink)
        };
        self.paths.iter().filter_map(of)
    }

    /// Whether a burst over this uplink that began no earlier said something: its probes left.
    pub fn saw_since(&self, id: UplinkId, since: Instant) -> bool {
        let mut paths = self.uplinks[id.index()].own_paths(&self.paths);
        paths.any(|path| {
            let judged = path.record.judged.as_ref();
            judged.is_some_and(|judged| judged.verdict != Verdict::Blind && judged.started >= since)
        })
    }
}
