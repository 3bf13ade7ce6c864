//! What the daemon publishes: the stable shape of `pingu status --json`.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Instant, SystemTime},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{CheckStatus, Engine, PassiveStatus, State, causes::status::time_of, reconcile},
    network::Route,
    probe::EngineKind,
    units::{GroupId, Metric, TableId, UplinkId},
};

mod hooks;
mod targets;

pub use hooks::{HookRun, HookStatus};
pub use targets::TargetStatus;
pub(super) use targets::target_status;

/// Which hooks serve an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// None: its interface is not there.
    Detached,
    /// None yet: they are being attached, and what is due waits for that.
    Attaching,
    /// These.
    Attached(EngineKind),
    /// They could not be attached, and why.
    Failed(String),
}

/// By what an uplink is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinnedBy {
    /// The sticky file.
    File,
    /// `pingu pin`.
    Command,
}

/// Everything published about a running daemon. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The uplink that the kernel's default route leaves by (IPv4, or IPv6 where there is no IPv4 default); null when it leaves
    /// by none of them.
    pub active: Option<String>,
    /// The uplinks, in the order of the configuration.
    pub uplinks: Vec<UplinkStatus>,
    /// What stands in pingu's way, for people.
    pub warnings: Vec<String>,
    /// Targets that fail over every uplink while others answer: they are left out until they answer again.
    #[serde(default)]
    pub dead_targets: Vec<IpAddr>,
    /// The pinned uplink; null where none is.
    #[serde(default)]
    pub pinned: Option<String>,
    /// By what it is pinned; null where none is.
    #[serde(default)]
    pub pinned_by: Option<PinnedBy>,
    /// The hooks, in the order of the configuration.
    #[serde(default)]
    pub hooks: Vec<HookStatus>,
}

/// One uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its next hop, IPv4 before IPv6; null where the device itself is it, or none is known.
    pub gateway: Option<IpAddr>,
    /// Its state.
    pub state: State,
    /// Why, for people.
    pub reason: String,
    /// Since when it has been in this state (RFC 3339, UTC).
    pub since: String,
    /// The kernel's routes of its group leave by it; in mode `balance`, or with two families, that may hold of several.
    pub active: bool,
    /// Which hooks serve it; null while its interface is not there, or until they are attached.
    pub engine: Option<EngineKind>,
    /// Why sockets serve it and no hooks; null where hooks do.
    #[serde(default)]
    pub engine_reason: Option<String>,
    /// Metric of its own route.
    pub metric: Metric,
    /// Its targets, in the order of the configuration.
    pub targets: Vec<TargetStatus>,
    /// Its checks, in the order of the configuration.
    #[serde(default)]
    pub checks: Vec<CheckStatus>,
    /// Traffic is steered to it although another uplink may outrank it: it is pinned, or better.
    #[serde(default)]
    pub preferred: bool,
    /// What its falls have brought upon it; null without flap damping.
    #[serde(default)]
    pub damping: Option<DampingStatus>,
    /// What traffic says of it, and what probing it costs.
    #[serde(flatten)]
    pub passive: PassiveStatus,
}

/// The flap damping of one uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DampingStatus {
    /// What is left of its penalty: 1000 for each fall, decaying.
    pub penalty: f64,
    /// It draws no traffic while another uplink is up.
    pub suppressed: bool,
    /// Seconds until it is not suppressed any more; null while it is not.
    pub reuse_in_s: Option<f64>,
}

impl Engine {
    /// The published view. `wall` is the time of day at `now`.
    pub fn status(&self, now: Instant, wall: SystemTime) -> Status {
        let mut status = self.status_without_targets(now, wall);
        self.add_targets(&mut status, (0, self.paths.len()), (now, wall));
        status
    }

    /// The same but for the targets, which [`Engine::add_targets`] adds.
    pub fn status_without_targets(&self, now: Instant, wall: SystemTime) -> Status {
        let active = self.active();
        let groups = 0..self.config.groups.len();
        let active_in: Vec<Vec<UplinkId>> = groups
            .map(|index| self.active_in(GroupId(index as u16)))
            .collect();
        let uplinks = (0..self.uplinks.len())
            .map(|index| {
                let id = UplinkId(index as u16);
                let carries = &active_in[self.config.uplinks[index].group.index()];
                self.uplink_status(id, carries.contains(&id), now, wall)
            })
            .collect();
        Status {
            active: active.map(|id| self.config.uplinks[id.index()].name.clone()),
            uplinks,
            warnings: self
                .warnings()
                .into_iter()
                .chain(self.fight_warnings())
                .collect(),
            dead_targets: self.dead_targets().collect(),
            pinned: self
                .pinned
                .map(|id| self.config.uplinks[id.index()].name.clone()),
            pinned_by: None,
            hooks: Vec::new(),
        }
    }

    /// Takes what the kernel refused in the last attempt to make it agree.
    pub fn note_refusals(&mut self, refusals: Vec<String>) {
        self.refusals = refusals;
    }

    /// Tells which hooks serve an uplink.
    pub fn set_hook(&mut self, id: UplinkId, state: HookState) {
        let uplink = &mut self.uplinks[id.index()];
        if uplink.hook == state {
            return;
        }
        let is_served = state != HookState::Attaching;
        uplink.hook = state;
        for path in &mut self.paths[uplink.paths.clone()] {
            path.record.is_served = is_served;
        }
    }

    /// Tells why sockets serve an uplink and no hooks.
    pub fn set_engine_reason(&mut self, id: UplinkId, reason: Option<String>) {
        self.uplinks[id.index()].engine_reason = reason;
    }

    /// Each uplink's name, state and the reason for it.
    pub fn states(&self) -> impl Iterator<Item = (&str, State, String)> + '_ {
        self.uplinks
            .iter()
            .zip(&self.config.uplinks)
            .enumerate()
            .map(|(index, (uplink, config))| {
                let checks = self.checks.of(UplinkId(index as u16));
                (
                    config.name.as_str(),
                    uplink.state_noted,
                    uplink.reason(config, &self.paths, checks, &self.snapshot.links),
                )
            })
    }

    fn uplink_status(
        &self,
        id: UplinkId,
        active: bool,
        now: Instant,
        wall: SystemTime,
    ) -> UplinkStatus {
        let uplink = &self.uplinks[id.index()];
        let config = &self.config.uplinks[id.index()];
        let mut reason = uplink.reason(
            config,
            &self.paths,
            self.checks.of(id),
            &self.snapshot.links,
        );
        let damping = self.damping_status(id, now);
        if let Some(remark) = self.remark(id, damping.as_ref(), now) {
            reason = format!("{reason}; {remark}");
        }
        let passive = self.passive_status(id, now);
        if let Some(seconds) = passive.stretched_to_s {
            reason = format!("{reason}; probed each {seconds:.0} s for its budget");
        }
        UplinkStatus {
            name: config.name.clone(),
            interface: config.interface.clone(),
            gateway: uplink.ways.iter().flatten().find_map(|way| way.gateway),
            state: uplink.state_noted,
            reason,
            since: time_of(uplink.since, (now, wall)),
            active,
            engine: match uplink.hook {
                HookState::Attached(engine) => Some(engine),
                HookState::Detached | HookState::Attaching | HookState::Failed(_) => None,
            },
            engine_reason: uplink.engine_reason.clone(),
            metric: config.metric,
            targets: Vec::new(),
            checks: self.checks_status(id, (now, wall)),
            preferred: self.rankings[config.group.index()].preferred == Some(id),
            damping,
            passive,
        }
    }

    /// What is published of an uplink's checks.
    pub(super) fn checks_status(
        &self,
        id: UplinkId,
        clock: (Instant, SystemTime),
    ) -> Vec<CheckStatus> {
        let checks = self.checks.of(id).iter();
        checks
            .map(|check| check.status(|then| time_of(then, clock)))
            .collect()
    }

    pub(super) fn damping_status(&self, id: UplinkId, now: Instant) -> Option<DampingStatus> {
        let config = self.config.damping.as_ref()?;
        let penalty = &self.uplinks[id.index()].penalty;
        let until = penalty.suppressed_until(config, now);
        Some(DampingStatus {
            penalty: penalty.value(config, now),
            suppressed: until.is_some(),
            reuse_in_s: until.map(|until| (until - now).as_secs_f64()),
        })
    }

    /// What stands in pingu's way, for people: foreign routes that outrank pingu's or sit in the place of one, and what the kernel
    /// refused.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.rivalries();
        if let Some(id) = self.pinned
            && self.uplinks[id.index()].ways.iter().all(Result::is_err)
        {
            let name = &self.config.uplinks[id.index()].name;
            warnings.push(format!(
                "{name} is pinned, but there is no way out by it: until there is, uplinks rank as if it were not pinned"
            ));
        }
        warnings.extend(self.dead_targets().map(|target| {
            format!("target {target} fails over every uplink while others answer: it is left out until it answers")
        }));
        warnings.extend(self.sign_warnings());
        warnings.extend(reconcile::conflicts(
            &self.snapshot,
            &self.nexthop_set(),
            self.config.protocol,
        ));
        warnings.extend(self.checks.warnings());
        warnings.extend(self.refusals.iter().cloned());
        warnings.sort();
        warnings.dedup();
        warnings
    }
}

impl Engine {
    /// Routes of others that outrank wanted ones. Only defaults of others are known, which are few beside ten thousand own routes.
    fn rivalries(&self) -> Vec<String> {
        let own = self.config.protocol;
        let is_rival = |route: &&Route| route.is_for_all() && route.protocol != own;
        let mut rivals = self.snapshot.routes.iter().filter(is_rival).peekable();
        if rivals.peek().is_none() {
            return Vec::new();
        }
        let rivals: Vec<&Route> = rivals.collect();
        let set = self.route_set();
        // Only the wanted ones at the rivals' destinations matter, and few are there.
        let mut contested: HashMap<(TableId, IpNet), Vec<&Route>> = HashMap::new();
        for rival in &rivals {
            contested
                .entry((rival.table, rival.destination))
                .or_default();
        }
        for wanted in &set.wanted {
            if let Some(there) = contested.get_mut(&(wanted.table, wanted.destination)) {
                there.push(wanted);
            }
        }
        let outranked = |rival: &Route| {
            // The first that it outranks: wanted routes come in the order of their metrics.
            let there = &contested[&(rival.table, rival.destination)];
            let wanted = there.iter().find(|wanted| rival.metric <= wanted.metric)?;
            Some(rivalry(rival, wanted))
        };
        rivals.into_iter().filter_map(outranked).collect()
    }
}

fn rivalry(rival: &Route, wanted: &Route) -> String {
    let family = if rival.ipv6() { "IPv6" } else { "IPv4" };
    if rival.metric == wanted.metric {
        format!(
            "metric {} is taken by an {family} default route of protocol {}: pingu leaves it alone and cannot add its own",
            rival.metric, rival.protocol
        )
    } else {
        format!(
            "an {family} default route of protocol {} with metric {} outranks pingu's (metric {}): traffic follows it whatever \
             pingu decides; give it a higher metric, or set learned_routes = \"adopt\" if it was learned over an uplink",
            rival.protocol, rival.metric, wanted.metric
        )
    }
}
