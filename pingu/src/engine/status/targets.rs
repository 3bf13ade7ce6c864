//! What is published of each target; a hundred thousand of them are told in pieces.

use std::{
    net::IpAddr,
    ops::Range,
    time::{Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    engine::{
        CauseStatus, DirectionsStatus, Engine, RttHistogram, RttSummary, State, Status,
        causes::status::statuses, directions::worst_direction, path::Path,
    },
    network::Link,
    probe::ProbeTransport,
    units::PathId,
};

/// One target as seen over one uplink, since the daemon started: sent = answered + lost + late + `not_sent` + pending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its address.
    pub address: IpAddr,
    /// Its state over this uplink.
    pub state: State,
    /// Probes ordered.
    pub sent: u64,
    /// Answered within the timeout.
    pub answered: u64,
    /// Not answered.
    pub lost: u64,
    /// Answered after the timeout.
    pub late: u64,
    /// Never left: refused by the kernel, vanished before the egress hook, or without a neighbour.
    pub not_sent: u64,
    /// Those of `not_sent` whose next hop had no link-layer address.
    pub no_neighbour: u64,
    /// On their way.
    pub pending: u64,
    /// Bursts that were due and left out: traffic proved life, or the budget asked for it.
    #[serde(default)]
    pub skipped: u64,
    /// The share of the last 100 judged probes that were not answered in time, in percent; null before the first.
    pub recent_loss_percent: Option<f64>,
    /// Recent round-trip times in microseconds; null before the first answer.
    pub rtt_us: Option<RttSummary>,
    /// All round-trip times since the daemon started.
    #[serde(default)]
    pub rtt_histogram: RttHistogram,
    /// Which direction loses what, where the target is a reflector that is asked; null where nothing is known of that.
    #[serde(default)]
    pub directions: Option<DirectionsStatus>,
    /// The target answers only so many probes at a time: it is asked for no more in a burst; null where no such limit is known.
    #[serde(default)]
    pub rate_limited: Option<u16>,
    /// In mode `rolling`: the target answers everything at this interval alone, in milliseconds, and is asked no oftener; null where no
    /// such limit is known.
    #[serde(default)]
    pub rate_limited_interval_ms: Option<f64>,
    /// Why probes were not answered, the commonest cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<CauseStatus>,
}

impl Engine {
    /// Counts the duplicates and forgeries of these paths' latest probes. Without that they are counted when their slots are used again,
    /// which takes some bursts, or a window.
    pub fn count_packets(
        &mut self,
        paths: Range<usize>,
        transport: &impl ProbeTransport,
        now: Instant,
    ) {
        for path in self.paths.iter_mut().take(paths.end).skip(paths.start) {
            path.record.look_at_slots(transport, now);
        }
    }

    /// The paths of an uplink, or all of them.
    pub fn paths_of(&self, uplink: Option<&str>) -> Range<usize> {
        let Some(name) = uplink else {
            return 0..self.paths.len();
        };
        let uplinks = &self.config.uplinks;
        let place = uplinks.iter().position(|config| config.name == name);
        place.map_or(0..0, |index| self.uplinks[index].paths.clone())
    }

    /// Adds the targets of so many paths from this one on, each as it is, and returns the next one; none once there are no more.
    pub fn add_targets(
        &self,
        status: &mut Status,
        (first, count): (usize, usize),
        clock: (Instant, SystemTime),
    ) -> Option<usize> {
        let end = self.paths.len().min(first + count);
        for index in first..end {
            let id = PathId(index as u32);
            let uplink = self.paths[index].uplink.index();
            let told = &mut status.uplinks[uplink];
            told.targets.push(self.path_status(id, clock));
            if index + 1 == self.uplinks[uplink].paths.end
                && let Some(fault) = worst_direction(&told.targets)
            {
                told.reason = format!("{}; {fault}", told.reason);
            }
        }
        (end < self.paths.len()).then_some(end)
    }
}

/// What is known of a path but for its directions.
pub(in crate::engine) fn target_status(
    path: &Path,
    (links, own): (&[Link], &str),
    clock: (Instant, SystemTime),
) -> TargetStatus {
    let tally = path.record.tally;
    TargetStatus {
        address: path.target,
        state: path.record.health.state(),
        sent: tally.sent,
        answered: tally.answered,
        lost: tally.lost,
        late: tally.late,
        not_sent: tally.not_sent,
        no_neighbour: tally.no_neighbour,
        pending: tally.sent - tally.answered - tally.lost - tally.late - tally.not_sent,
        recent_loss_percent: path.record.recent.loss_percent(),
        rtt_us: path.record.window.summary(),
        rtt_histogram: path.record.histogram.published(),
        directions: None,
        skipped: path.record.skipped,
        rate_limited: None,
        rate_limited_interval_ms: None,
        causes: statuses(&path.record.causes, (links, own), clock),
    }
}
