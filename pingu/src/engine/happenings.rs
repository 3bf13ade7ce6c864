//! What hooks are run for: uplinks that were judged bad, where traffic leaves, and what there is to say of an uplink then.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    config::{Config, HookEvent},
    engine::{CauseKind, Engine, State, census::Mark, health::Verdict, record::Record},
    network::{NextHop, Route},
    units::{Metric, TableId, UplinkId},
};

/// The uplinks of which a burst was bad, until somebody asks.
#[derive(Debug)]
pub(super) struct Happenings {
    /// Nobody asks otherwise.
    is_wanted: bool,
    bad: BTreeSet<UplinkId>,
}

impl Happenings {
    pub(super) fn new(config: &Config) -> Self {
        let mut hooks = config.hooks.iter();
        Self {
            is_wanted: hooks.any(|hook| hook.on.contains(&HookEvent::Bad)),
            bad: BTreeSet::new(),
        }
    }

    /// Somebody has something to ask for.
    pub(super) fn any(&self) -> bool {
        !self.bad.is_empty()
    }

    /// A path of this uplink was judged.
    pub(super) fn judged(&mut self, uplink: UplinkId, mark: &Mark) {
        if self.is_wanted && mark.bad {
            self.bad.insert(uplink);
        }
    }
}

/// What there is to say of an uplink when something happens to it.
#[derive(Clone, Debug, PartialEq)]
pub struct UplinkFacts {
    /// Its name.
    pub name: String,
    /// Its interface, as configured.
    pub interface: String,
    /// The name of its group.
    pub group: String,
    /// Its state.
    pub state: State,
    /// Why, for people.
    pub reason: String,
    /// Metric of its own route.
    pub metric: Metric,
    /// Its next hop of each family, where one is known.
    pub gateways: [Option<IpAddr>; 2],
    /// Its address of each family, while it can be left by.
    pub sources: [Option<IpAddr>; 2],
    /// Why most of the last bad burst's probes were not answered.
    pub cause: Option<CauseKind>,
    /// The recent loss of its best target.
    pub loss_percent: Option<f64>,
    /// The recent mean round-trip time of its nearest target, in milliseconds.
    pub rtt_ms: Option<f64>,
}

impl Engine {
    /// The uplinks that bad bursts were judged of since the last call, where the last bursts alone would take them down: too few of
    /// their targets are left that did not fail.
    pub fn bad_uplinks(&mut self) -> Vec<UplinkId> {
        let bad = std::mem::take(&mut self.happenings.bad);
        let is_bad = |id: &UplinkId| {
            let quorum = self.config.uplinks[id.index()].health.quorum;
            let (mut counted, mut bad) = (0, 0);
            let paths = &self.uplinks[id.index()].paths;
            for (path, mark) in self.paths[paths.clone()]
                .iter()
                .zip(&self.marks[paths.clone()])
            {
                // One that fails everywhere says nothing of an uplink.
                if path.counted.is_some() || paths.len() == 1 {
                    counted += 1;
                    bad += usize::from(mark.bad);
                }
            }
            bad > 0 && counted - bad < quorum.of(counted).max(1)
        };
        bad.into_iter().filter(is_bad).collect()
    }

    /// The uplinks that the kernel's routes of each group leave by, as [`Engine::active_in`] has them; none before the first look.
    pub fn carriers(&self) -> Option<Vec<Vec<UplinkId>>> {
        if !self.oriented {
            return None;
        }
        let first = |index: usize, ipv6: bool| {
            let mut prefixes = self.config.groups[index].prefixes.iter();
            prefixes.find(|prefix| prefix.addr().is_ipv6() == ipv6)
        };
        let places = || {
            (0..self.config.groups.len())
                .flat_map(|index| [false, true].map(|ipv6| (index, first(index, ipv6))))
                .filter_map(|(index, prefix)| Some((index, prefix?)))
        };
        let mut chosen: HashMap<&IpNet, Option<&Route>> =
            places().map(|(_, prefix)| (prefix, None)).collect();
        for route in &self.snapshot.routes {
            if route.table != TableId::MAIN || matches!(route.next_hop, NextHop::Selective(_)) {
                continue;
            }
            if let Some(best) = chosen.get_mut(&route.destination)
                && best.is_none_or(|best| route.metric < best.metric)
            {
                *best = Some(route);
            }
        }
        let mut carriers = vec![Vec::new(); self.config.groups.len()];
        for (index, prefix) in places() {
            let leads_to = chosen[prefix].map(|route| self.leads_to(route));
            for id in leads_to.unwrap_or_default() {
                if !carriers[index].contains(&id) {
                    carriers[index].push(id);
                }
            }
        }
        Some(carriers)
    }

    /// What there is to say of an uplink.
    pub fn facts(&self, id: UplinkId) -> UplinkFacts {
        let (uplink, config) = (&self.uplinks[id.index()], &self.config.uplinks[id.index()]);
        let ways = uplink.ways.each_ref().map(|way| way.as_ref().ok());
        let records = || uplink.own_paths(&self.paths).map(|path| &path.record);
        let cause = |record: &Record| {
            let judged = record.judged.as_ref();
            let judged = judged.filter(|judged| judged.verdict == Verdict::Bad)?;
            let (cause, _) = judged.cause?;
            Some(record.causes.get(cause).kind)
        };
        let loss = records().filter_map(|record| record.recent.loss_percent());
        let rtt_us = records().filter_map(|record| record.window.summary());
        UplinkFacts {
            name: config.name.clone(),
            interface: config.interface.clone(),
            group: self.config.groups[config.group.index()].name.clone(),
            state: uplink.state_noted,
            reason: uplink.reason(
                config,
                &self.paths,
                self.checks.of(id),
                &self.snapshot.links,
            ),
            metric: config.metric,
            gateways: ways.map(|way| way?.gateway),
            sources: ways.map(|way| Some(way?.source)),
            cause: records().find_map(cause),
            loss_percent: loss.min_by(f64::total_cmp),
            rtt_ms: rtt_us.map(|rtt| rtt.mean / 1000.0).min_by(f64::total_cmp),
        }
    }
}
