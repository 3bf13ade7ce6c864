//! What is published of a path's directions, in numbers and in words.

use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    engine::{Engine, TargetStatus, status::target_status},
    units::PathId,
};

/// Below this share of losses no direction is named, in percent.
const TOLD_FROM_PERCENT: f64 = 1.0;

/// What a reflector tells of one path's directions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectionsStatus {
    /// Requests that are told of: those of the last 200 that left before the last reply, and those back to the reply before them.
    pub of: u64,
    /// Those that did not reach the reflector.
    pub forward_lost: u64,
    /// Those that reached it, and whose reply did not come back.
    pub backward_lost: u64,
    /// The share of requests that were lost on their way there; null where there were none.
    pub forward_loss_percent: Option<f64>,
    /// The share of replies that were lost on their way back; null where there were none.
    pub backward_loss_percent: Option<f64>,
    /// Requests since the last reply that are past their timeout: of these nothing is known yet.
    pub untold: u64,
    /// How long a request was inside the reflector, on average, in microseconds; null before the first reply.
    pub reflector_us: Option<f64>,
    /// How much longer the way there takes than the shortest that was seen, in microseconds. The two clocks may drift apart, so that small
    /// changes mean nothing.
    pub forward_delay_rise_us: Option<f64>,
    /// The same for the way back.
    pub backward_delay_rise_us: Option<f64>,
    /// Which direction loses, for people; null while neither does.
    pub fault: Option<String>,
}

impl DirectionsStatus {
    pub(super) fn describe(&self) -> Option<String> {
        let told = |share: Option<f64>| share.filter(|percent| *percent >= TOLD_FROM_PERCENT);
        let forward = told(self.forward_loss_percent);
        let backward = told(self.backward_loss_percent);
        match (forward, backward) {
            (None, None) => None,
            (Some(forward), None) => Some(format!(
                "requests are lost on the way there: {forward:.0} % of {}",
                self.of
            )),
            (None, Some(backward)) => Some(format!(
                "requests arrive, replies are lost on the way back: {backward:.0} % of {}",
                self.of - self.forward_lost
            )),
            (Some(forward), Some(backward)) => Some(format!(
                "both directions lose: {forward:.0} % of {} requests on the way there, {backward:.0} % of {} replies on the way back",
                self.of,
                self.of - self.forward_lost
            )),
        }
    }
}

impl Engine {
    /// What is known of a path's directions.
    pub(in crate::engine) fn directions_status(
        &self,
        id: PathId,
        now: Instant,
    ) -> Option<DirectionsStatus> {
        let path = &self.paths[id.index()];
        let timeout = self.config.uplinks[path.uplink.index()].probe.timeout;
        self.reflections.of(id)?.status(timeout, now)
    }

    /// A path's target, with what is known of directions.
    pub(crate) fn path_status(&self, id: PathId, clock: (Instant, SystemTime)) -> TargetStatus {
        let path = &self.paths[id.index()];
        let config = &self.config.uplinks[path.uplink.index()];
        let probe = &config.probe;
        TargetStatus {
            directions: self.directions_status(id, clock.0),
            rate_limited: path.rate_limit(probe),
            rate_limited_interval_ms: path.slowed_to(probe).map(|time| time.as_secs_f64() * 1e3),
            ..target_status(path, (&self.snapshot.links, &config.interface), clock)
        }
    }
}

/// Which direction loses most, over all targets.
pub(crate) fn worst_direction(targets: &[TargetStatus]) -> Option<String> {
    let faults = targets.iter().filter_map(|target| {
        let directions = target.directions.as_ref()?;
        let share = |percent: Option<f64>| percent.unwrap_or(0.0);
        let worst =
            share(directions.forward_loss_percent).max(share(directions.backward_loss_percent));
        Some((target.address, worst, directions.fault.as_ref()?))
    });
    let (address, _, fault) = faults.max_by(|(_, a, _), (_, b, _)| a.total_cmp(b))?;
    Some(format!("{address}: {fault}"))
}
