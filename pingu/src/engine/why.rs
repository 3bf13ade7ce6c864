//! Why each uplink is what it is, in plain words: its state, what was judged last, what became of its probes, and whether routes
//! follow.

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::UplinkConfig,
    engine::{
        CauseStatus, CheckStatus, DampingStatus, DirectionsStatus, Engine, PassiveStatus, State,
        causes::status::{statuses, time_of},
        reason,
    },
    units::{PathId, UplinkId},
};

/// What there is to say of the uplinks. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The uplinks asked for, in the order of the configuration.
    pub uplinks: Vec<WhyUplink>,
    /// What stands in pingu's way, for people.
    pub warnings: Vec<String>,
}

/// What there is to say of one uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyUplink {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its state.
    pub state: State,
    /// Since when (RFC 3339, UTC).
    pub since: String,
    /// Why, for people.
    pub reason: String,
    /// Traffic leaves by it.
    pub active: bool,
    /// Whether routes follow, and why or why not, for people.
    pub routes: String,
    /// Its targets.
    pub targets: Vec<WhyTarget>,
    /// Its checks, as in the status.
    #[serde(default)]
    pub checks: Vec<CheckStatus>,
    /// What traffic says of it, and what probing it costs.
    #[serde(flatten)]
    pub passive: PassiveStatus,
}

/// What there is to say of one target over one uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyTarget {
    /// Its address.
    pub address: IpAddr,
    /// Its state over this uplink.
    pub state: State,
    /// Since when (RFC 3339, UTC); null while nothing is known.
    pub since: Option<String>,
    /// What was judged last, with its numbers and limits, for people; null before.
    pub judgement: Option<String>,
    /// What it takes to be up, for people.
    pub limits: String,
    /// The target answers only so many probes at a time; null where no such limit is known.
    #[serde(default)]
    pub rate_limited: Option<u16>,
    /// In mode `rolling`: the target answers everything at this interval alone, in milliseconds; null where no such limit is known.
    #[serde(default)]
    pub rate_limited_interval_ms: Option<f64>,
    /// Which direction loses what; null where no reflector was asked or none has answered.
    #[serde(default)]
    pub directions: Option<DirectionsStatus>,
    /// It is left out of the quorum: it fails over every uplink while others answer.
    pub left_out: bool,
    /// Probes ordered.
    pub sent: u64,
    /// Answered in time.
    pub answered: u64,
    /// What became of the others, the commonest cause first.
    pub causes: Vec<WhyCause>,
}

/// A cause of what was not answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyCause {
    /// What, how often, and when last.
    #[serde(flatten)]
    pub cause: CauseStatus,
    /// What that means.
    pub meaning: String,
    /// What one can do.
    pub remedy: String,
}

impl Engine {
    /// Everything there is to say of an uplink, or of all.
    ///
    /// # Errors
    /// Where there is no such uplink.
    pub fn why(&self, uplink: Option<&str>, now: Instant, wall: SystemTime) -> Result<Why, String> {
        let named = |config: &&UplinkConfig| uplink.is_none_or(|name| config.name == name);
        if let Some(name) = uplink
            && !self.config.uplinks.iter().any(|config| config.name == name)
        {
            let names = self
                .config
                .uplinks
                .iter()
                .map(|config| config.name.as_str());
            let names: Vec<&str> = names.take(NAMES_SAID_MAX).collect();
            return Err(format!(
                "there is no uplink {name:?}; there are {}",
                names.join(", ")
            ));
        }
        let uplinks = self.config.uplinks.iter().enumerate();
        let uplinks = uplinks
            .filter(|(_, config)| named(config))
            .map(|(index, _)| self.why_uplink(UplinkId(index as u16), (now, wall)))
            .collect();
        let warnings = self.warnings().into_iter().chain(self.fight_warnings());
        Ok(Why {
            uplinks,
            warnings: warnings.collect(),
        })
    }

    fn why_uplink(&self, id: UplinkId, clock: (Instant, SystemTime)) -> WhyUplink {
        let (uplink, config) = (&self.uplinks[id.index()], &self.config.uplinks[id.index()]);
        let active_in = self.active_in(config.group);
        let links = &self.snapshot.links;
        WhyUplink {
            name: config.name.clone(),
            interface: config.interface.clone(),
            state: uplink.state_noted,
            since: time_of(uplink.since, clock),
            reason: uplink.reason(config, &self.paths, self.checks.of(id), links),
            active: active_in.contains(&id),
            routes: self.why_routes(id, &active_in, clock.0),
            targets: uplink
                .paths
                .clone()
                .map(|index| self.why_target(PathId(index as u32), config, clock))
                .collect(),
            checks: self.checks_status(id, clock),
            passive: self.passive_status(id, clock.0),
        }
    }

    fn why_target(
        &self,
        id: PathId,
        config: &UplinkConfig,
        clock: (Instant, SystemTime),
    ) -> WhyTarget {
        let path = &self.paths[id.index()];
        let record = &path.record;
        let links = &self.snapshot.links;
        let causes = statuses(&record.causes, (links, &config.interface), clock);
        let explained = |cause: CauseStatus| WhyCause {
            meaning: cause.cause.meaning().to_owned(),
            remedy: cause.cause.remedy().to_owned(),
            cause,
        };
        WhyTarget {
            address: path.target,
            state: path.state(),
            since: record.health.since().map(|since| time_of(since, clock)),
            judgement: reason::of_path(path, config, links),
            limits: reason::limits(config),
            rate_limited: path.rate_limit(&config.probe),
            rate_limited_interval_ms: path.slowed_to(&config.probe).map(milliseconds),
            directions: self.directions_status(id, clock.0),
            left_out: path.counted.is_none(),
            sent: record.tally.sent,
            answered: record.tally.answered,
            causes: causes.into_iter().map(explained).collect(),
        }
    }

    /// Whether an uplink's routes carry traffic, and why.
    fn why_routes(&self, id: UplinkId, active_in: &[UplinkId], now: Instant) -> String {
        let uplink = &self.uplinks[id.index()];
        let damping = self.damping_status(id, now);
        let remark = self.remark(id, damping.as_ref(), now);
        let behind = |text: &str| match &remark {
            Some(remark) => format!("{text}: {remark}"),
            None => text.to_owned(),
        };
        let has_way = uplink.ways.iter().any(Result::is_ok);
        match (active_in.contains(&id), uplink.state_noted) {
            (true, State::Up) => behind("traffic leaves by it"),
            (true, State::Down | State::Unknown) => match remark {
                Some(remark) => format!("traffic leaves by it although it is not up: {remark}"),
                None => "traffic leaves by it although it is not up, since none of its group is, or a foreign route leads there"
                    .to_owned(),
            },
            (false, State::Up) => match remark {
                Some(remark) => format!("no traffic leaves by it: {remark}"),
                None => format!("no traffic leaves by it: {}", self.names_of(active_in)),
            },
            (false, State::Down) if !has_way => {
                "no traffic leaves by it: it cannot be left by".to_owned()
            }
            (false, State::Down) => {
                format!("its routes have yielded: {}", self.names_of(active_in))
            }
            (false, State::Unknown) => {
                "no traffic leaves by it: unknown is never taken for up".to_owned()
            }
        }
    }

    fn names_of(&self, active: &[UplinkId]) -> String {
        let names: Vec<&str> = active
            .iter()
            .map(|id| self.config.uplinks[id.index()].name.as_str())
            .collect();
        match names.as_slice() {
            [] => "the kernel's routes leave by none of the uplinks".to_owned(),
            names => format!("it leaves by {}", names.join(", ")),
        }
    }

    /// Why an uplink carries traffic, or does not, beside its state.
    pub(super) fn remark(
        &self,
        id: UplinkId,
        damping: Option<&DampingStatus>,
        now: Instant,
    ) -> Option<String> {
        let ranking = &self.rankings[self.config.uplinks[id.index()].group.index()];
        let held = ranking.held.iter().find(|(held, _)| *held == id);
        let suppressed = damping.and_then(|damping| damping.reuse_in_s);
        let name = |id: UplinkId| &self.config.uplinks[id.index()].name;
        if self.pinned == Some(id) {
            return Some("pinned".to_owned());
        }
        if let Some(advice) = self.advice_on(id) {
            return Some(advice);
        }
        if ranking.preferred == Some(id) {
            return Some("better than those before it".to_owned());
        }
        if let Some(left_s) = suppressed {
            return Some(format!(
                "suppressed for flapping, for another {left_s:.0} s"
            ));
        }
        if let Some((_, until)) = held {
            let left = until.saturating_duration_since(now).as_secs();
            return Some(format!("held down for another {left} s"));
        }
        let preferred = ranking.preferred?;
        if !ranking.passed_over.contains(&id) {
            return None;
        }
        Some(if self.pinned == Some(preferred) {
            format!("yields to {}, which is pinned", name(preferred))
        } else if let Some(advice) = self.advice_on(preferred) {
            format!("yields to {}: {advice}", name(preferred))
        } else {
            format!("yields to {}, which is better", name(preferred))
        })
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// So many names are told to somebody who mistyped one.
const NAMES_SAID_MAX: usize = 8;
