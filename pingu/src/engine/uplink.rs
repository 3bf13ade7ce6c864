//! One uplink: its ways out, the state that its paths give it, and why.

use std::{net::IpAddr, ops::Range, time::Instant};

use crate::{
    config::{DampingConfig, Quorum, UplinkConfig},
    engine::{
        GatewayHint,
        census::UplinkCensus,
        check::Check,
        damping::Penalty,
        decide::{Candidate, Quality},
        health::{State, Verdict},
        passive::Passive,
        path::Path,
        reason,
        signs::Sign,
        spending::Spending,
        status::HookState,
        way_out::{self, Known, Obstacle, WayOut},
    },
    network::{Link, Route, Snapshot},
    units::{PathId, Protocol, UplinkId},
};

/// What is known of an uplink.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// Its paths, in the engine's order.
    pub(crate) paths: Range<usize>,
    quorum: Quorum,
    /// Its paths, counted.
    pub(crate) census: UplinkCensus,
    /// The way out of each family: IPv4, IPv6.
    pub(crate) ways: [Result<WayOut, Obstacle>; 2],
    /// The last way found of each family, while there is none.
    ways_before: [Option<WayOut>; 2],
    /// Which hooks serve it.
    pub(crate) hook: HookState,
    /// Why sockets serve it and no hooks.
    pub(crate) engine_reason: Option<String>,
    pub(crate) since: Instant,
    pub(crate) state_noted: State,
    /// It was up once and then was not: its next rise is a return.
    fell: bool,
    pub(crate) penalty: Penalty,
    /// The state of each family at the last look.
    families_noted: [State; 2],
    pub(crate) passive: Passive,
    pub(crate) spending: Spending,
    /// What handshakes say against the pings.
    pub(crate) sign: Sign,
    /// Since when it is down by its pings.
    pub(crate) fell_by_pings: Option<Instant>,
    /// Bursts were left out for traffic since the last ones.
    pub(crate) owes: bool,
    /// Answers to some uplink's handshakes come in by another: who gets none cannot be told.
    pub(crate) answers_stray: bool,
    /// Probes of one burst to each target, by family.
    pub(crate) round: [u64; 2],
    /// A required check is down.
    pub(crate) failed_check: bool,
    /// Since when no required check has failed.
    pub(crate) checks_good_since: Option<Instant>,
}

impl Uplink {
    pub(crate) fn new(paths: Range<usize>, config: &UplinkConfig, now: Instant) -> Self {
        Self {
            paths,
            quorum: config.health.quorum,
            census: UplinkCensus::default(),
            ways: [Err(Obstacle::Unseen); 2],
            ways_before: [None; 2],
            hook: HookState::Detached,
            engine_reason: None,
            since: now,
            state_noted: State::Unknown,
            fell: false,
            penalty: Penalty::default(),
            families_noted: [State::Unknown; 2],
            passive: Passive::new(config),
            spending: Spending::new(&config.probe),
            sign: Sign::None,
            fell_by_pings: None,
            owes: false,
            answers_stray: false,
            round: [false, true].map(|ipv6| {
                let targets = config.probe.targets.iter();
                let of_family = targets.filter(|target| target.is_ipv6() == ipv6);
                of_family.count() as u64 * u64::from(config.probe.mode.probes_at_once())
            }),
            failed_check: false,
            checks_good_since: None,
        }
    }

    /// Finds its ways out in a fresh look at the kernel.
    pub(crate) fn look(
        &mut self,
        config: &UplinkConfig,
        link: Option<&Link>,
        snapshot: &Snapshot,
        own: Protocol,
        adopted: &[Route],
        hints: [Option<&GatewayHint>; 2],
    ) {
        for ipv6 in [false, true] {
            let family = usize::from(ipv6);
            if let Ok(way) = &self.ways[family] {
                self.ways_before[family] = Some(*way);
            }
            let known = Known {
                adopted,
                before: self.ways_before[family].as_ref(),
                hint: hints[family],
            };
            self.ways[family] = way_out::find(config, link, ipv6, snapshot, own, known);
        }
    }

    /// It can be left by in a family, or could before.
    pub(crate) fn has_known_way(&self, ipv6: bool) -> bool {
        let family = usize::from(ipv6);
        self.ways[family].is_ok() || self.ways_before[family].is_some()
    }

    /// Its way to a target.
    pub(crate) fn way(&self, target: IpAddr) -> Option<&WayOut> {
        self.ways[usize::from(target.is_ipv6())].as_ref().ok()
    }

    /// Up as soon as enough paths are, unless a required check is down; a path without a way out counts as down.
    pub(crate) fn state(&self) -> State {
        if self.failed_check {
            State::Down
        } else {
            self.sign.heed(self.state_by_pings())
        }
    }

    /// Nothing but a check may be against it.
    pub(crate) fn is_fine_but_for_checks(&self) -> bool {
        self.sign.heed(self.state_by_pings()) == State::Up
    }

    /// The same by the pings alone.
    pub(crate) fn state_by_pings(&self) -> State {
        self.census.state(self.quorum)
    }

    /// What is known of one family: by its own targets, where there are any.
    pub(crate) fn family_state(&self, ipv6: bool) -> State {
        if self.failed_check {
            State::Down
        } else {
            self.sign.heed(self.census.family_state(self.quorum, ipv6))
        }
    }

    /// It was up, fell, and is up again: when it draws traffic depends on each verdict.
    pub(crate) fn is_returning(&self) -> bool {
        self.fell && self.state_noted == State::Up
    }

    /// Since when every burst was good to as many targets as it needs.
    fn good_since(&self, paths: &[Path]) -> Option<Instant> {
        let counted = self.own_paths(paths).filter(|path| path.counted.is_some());
        let needed = self.quorum.of(counted.clone().count()).max(1);
        let mut since: Vec<Instant> = counted
            .filter_map(|path| path.record.health.good_since())
            .collect();
        since.sort_unstable();
        since.get(needed - 1).copied()
    }

    /// Notes a change of state, and says whether there was any.
    pub(crate) fn note_state(
        &mut self,
        paths: &[Path],
        damping: Option<&DampingConfig>,
        now: Instant,
    ) -> bool {
        let before = (self.state_noted, self.families_noted);
        self.fell_by_pings = match self.state_by_pings() {
            State::Down => self.fell_by_pings.or(Some(now)),
            State::Up | State::Unknown => None,
        };
        let sign = self.read_sign(paths, now);
        let sign_before = std::mem::replace(&mut self.sign, sign);
        let state = self.state();
        self.families_noted = [false, true].map(|ipv6| self.family_state(ipv6));
        if state != self.state_noted {
            if self.state_noted == State::Up {
                self.fell = true;
                damping
                    .into_iter()
                    .for_each(|damping| self.penalty.fall(damping, now));
            }
            self.since = now;
            self.state_noted = state;
        }
        before != (self.state_noted, self.families_noted) || !sign_before.is_like(self.sign)
    }

    /// What the decision needs to know of it, but for its qualities and until when it is held.
    pub(crate) fn candidate(&self, id: UplinkId, config: &UplinkConfig) -> Candidate {
        Candidate {
            id,
            metric: config.metric,
            order: config.metric.0,
            state: self.state_noted,
            usable: self.ways.iter().any(Result::is_ok),
            held_until: None,
            qualities: Vec::new(),
        }
    }

    /// Until when it draws no traffic although it is up. Looks at each of its paths.
    pub(crate) fn held_until(
        &self,
        config: &UplinkConfig,
        paths: &[Path],
        damping: Option<&DampingConfig>,
        now: Instant,
    ) -> Option<Instant> {
        // A first rise after the start is no return.
        let hold_down = self.fell.then(|| self.hold_down_ends(config, paths));
        let suppressed = damping.and_then(|damping| self.penalty.suppressed_until(damping, now));
        hold_down.max(suppressed)
    }

    fn hold_down_ends(&self, config: &UplinkConfig, paths: &[Path]) -> Instant {
        let hold_down = config.health.hold_down;
        let last_bad = || {
            let bad = self
                .own_paths(paths)
                .filter_map(|path| path.record.evidence.bad);
            bad.map(|run| run.last).max().unwrap_or(self.since)
        };
        match self.good_since(paths) {
            Some(since) => Some(since).max(self.checks_good_since).unwrap_or(since) + hold_down,
            None if hold_down.is_zero() => self.since,
            // It is up although its last burst was bad: the next one, at least, must be good.
            None => {
                last_bad() + hold_down.max(2 * (config.probe.mode.period() + config.probe.timeout))
            }
        }
    }

    /// How well each target that is up answers over it, by their addresses.
    pub(crate) fn qualities(&self, paths: &[Path]) -> Vec<(IpAddr, Quality)> {
        let quality = |path: &Path| {
            let quality = Quality {
                delay: path.record.window.recent_mean()?,
                loss_percent: path.record.recent.loss_percent()?,
            };
            Some((path.target, quality))
        };
        let up = self
            .own_paths(paths)
            .filter(|path| path.state() == State::Up);
        let mut qualities: Vec<_> = up.filter_map(quality).collect();
        qualities.sort_unstable_by_key(|(target, _)| *target);
        qualities
    }

    /// The numbers of its paths.
    pub(crate) fn path_ids(&self) -> impl Iterator<Item = PathId> + use<> {
        self.paths.clone().map(|index| PathId(index as u32))
    }

    /// Its paths.
    pub(crate) fn own_paths<'a>(
        &self,
        paths: &'a [Path],
    ) -> impl Iterator<Item = &'a Path> + Clone + use<'a> {
        paths[self.paths.clone()].iter()
    }

    /// Why it is in its state, for people.
    pub(crate) fn reason(
        &self,
        config: &UplinkConfig,
        paths: &[Path],
        checks: &[Check],
        links: &[Link],
    ) -> String {
        if let [Err(v4), Err(v6)] = self.ways {
            let any_v4 = config.probe.targets.iter().any(IpAddr::is_ipv4);
            return if any_v4 { v4 } else { v6 }.reason(&config.interface);
        }
        if let HookState::Failed(error) = &self.hook {
            return error.clone();
        }
        if let Some(reason) = self.sign.reason() {
            return reason;
        }
        let path_of = |wanted: State| {
            self.own_paths(paths)
                .find(|path| path.counted == Some(wanted) && path.state() == wanted)
                .or_else(|| self.own_paths(paths).find(|path| path.state() == wanted))
        };
        if self.failed_check
            && self.census.state(self.quorum) != State::Down
            && let Some(check) = checks.iter().find(|check| check.fells())
        {
            return check.said();
        }
        match self.state_noted {
            State::Up => {
                let of_path =
                    path_of(State::Up).and_then(|path| reason::of_path(path, config, links));
                let burst = of_path.unwrap_or_else(|| "answers".to_owned());
                match checks.iter().find(|check| check.state() == State::Down) {
                    Some(check) => format!("{burst}; {}", check.said()),
                    None => burst,
                }
            }
            State::Down => match path_of(State::Down) {
                Some(path) => self.describe_down(path, config, links),
                None => "no target answers".to_owned(),
            },
            State::Unknown => {
                let is_blind = |path: &&Path| {
                    let judged = path.record.judged;
                    judged.is_some_and(|judged| judged.verdict == Verdict::Blind)
                };
                let blind = self.own_paths(paths).find(is_blind);
                let of_path = blind.and_then(|path| reason::of_path(path, config, links));
                of_path.unwrap_or_else(|| "waiting for the first bursts".to_owned())
            }
        }
    }

    fn describe_down(&self, path: &Path, config: &UplinkConfig, links: &[Link]) -> String {
        match (&path.record.judged, self.way(path.target)) {
            (_, None) => self.ways[usize::from(path.target.is_ipv6())]
                .err()
                .unwrap_or(Obstacle::NoGateway)
                .reason(&config.interface),
            (Some(judged), Some(way)) if judged.is_without_neighbour() => {
                let next_hop = way.gateway.unwrap_or(path.target);
                format!("gateway {next_hop} does not answer on {}", config.interface)
            }
            (Some(_), _) => {
                let told = reason::of_path(path, config, links).unwrap_or_default();
                format!("{}: {told}", path.target)
            }
            (None, _) => format!("{}: no burst yet", path.target),
        }
    }
}
