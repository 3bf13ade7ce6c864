//! One uplink: its ways out, the state that its paths give it, and why.

use std::{
    net::IpAddr,
    ops::Range,
    time::{Duration, Instant},
};

use crate::{
    config::UplinkConfig,
    engine::{
        GatewayHint, any_up,
        burst::Report,
        decide::Candidate,
        health::{State, Verdict},
        path::Path,
        status::HookState,
        way_out::{self, Known, Obstacle, Readiness, WayOut},
    },
    network::{Route, Snapshot},
    units::{Protocol, UplinkId},
};

/// What is known of an uplink.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// Its paths, in the engine's order.
    paths: Range<usize>,
    /// The way out of each family: IPv4, IPv6.
    pub(crate) ways: [Result<WayOut, Obstacle>; 2],
    /// The last way found of each family, while there is none.
    ways_before: [Option<WayOut>; 2],
    /// Which hooks serve it.
    pub(crate) hook: HookState,
    pub(crate) since: Instant,
    pub(crate) state_noted: State,
    /// It was up once and then was not: its next rise is a return.
    fell: bool,
    /// The state of each family at the last look.
    families_noted: [State; 2],
}

impl Uplink {
    pub(crate) fn new(paths: Range<usize>, now: Instant) -> Self {
        Self {
            paths,
            ways: [Err(Obstacle::NoInterface); 2],
            ways_before: [None; 2],
            hook: HookState::Detached,
            since: now,
            state_noted: State::Unknown,
            fell: false,
            families_noted: [State::Unknown; 2],
        }
    }

    /// Finds its ways out in a fresh look at the kernel.
    pub(crate) fn look(
        &mut self,
        config: &UplinkConfig,
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
            self.ways[family] = way_out::find(config, ipv6, snapshot, own, known);
        }
    }

    /// Its way to a target.
    pub(crate) fn way(&self, target: IpAddr) -> Option<&WayOut> {
        self.ways[usize::from(target.is_ipv6())].as_ref().ok()
    }

    /// Up as soon as one path is; a path without a way out counts as down.
    pub(crate) fn state(&self, paths: &[Path]) -> State {
        any_up(paths[self.paths.clone()].iter().map(path_state))
    }

    /// What is known of one family: by its own targets, where there are any.
    pub(crate) fn family_state(&self, ipv6: bool, paths: &[Path]) -> State {
        let mut of_family = paths[self.paths.clone()]
            .iter()
            .filter(|path| path.target.is_ipv6() == ipv6)
            .peekable();
        if of_family.peek().is_none() {
            return self.state(paths);
        }
        any_up(of_family.map(path_state))
    }

    /// Notes a change of state, and says whether there was any.
    pub(crate) fn note_state(&mut self, paths: &[Path], now: Instant) -> bool {
        let before = (self.state_noted, self.families_noted);
        let state = self.state(paths);
        self.families_noted = [false, true].map(|ipv6| self.family_state(ipv6, paths));
        if state != self.state_noted {
            self.fell |= self.state_noted == State::Up;
            self.since = now;
            self.state_noted = state;
        }
        before != (self.state_noted, self.families_noted)
    }

    /// What the decision needs to know of it.
    pub(crate) fn candidate(
        &self,
        id: UplinkId,
        config: &UplinkConfig,
        paths: &[Path],
    ) -> Candidate {
        Candidate {
            id,
            metric: config.metric,
            state: self.state_noted,
            usable: self.ways.iter().any(Result::is_ok),
            good_since: self
                .own_paths(paths)
                .filter_map(|path| path.health.good_since())
                .min(),
            returned: self.fell,
            hold_down: config.health.hold_down,
        }
    }

    /// Its paths.
    pub(crate) fn own_paths<'a>(
        &self,
        paths: &'a [Path],
    ) -> impl Iterator<Item = &'a Path> + use<'a> {
        paths[self.paths.clone()].iter()
    }

    /// Why it is in its state, for people.
    pub(crate) fn reason(&self, config: &UplinkConfig, paths: &[Path]) -> String {
        if let [Err(v4), Err(v6)] = self.ways {
            let any_v4 = config.probe.targets.iter().any(IpAddr::is_ipv4);
            return if any_v4 { v4 } else { v6 }.reason(&config.interface);
        }
        if let HookState::Failed(error) = &self.hook {
            return error.clone();
        }
        let path_of = |wanted: State| {
            self.own_paths(paths)
                .find(|path| path_state(path) == wanted)
        };
        match self.state_noted {
            State::Up => match path_of(State::Up).and_then(|path| path.report.as_ref()) {
                Some((_, report)) => describe(report, config),
                None => "answers".to_owned(),
            },
            State::Down => match path_of(State::Down) {
                Some(path) => self.describe_down(path, config),
                None => "no target answers".to_owned(),
            },
            State::Unknown => match self.own_paths(paths).find_map(|path| path.report.as_ref()) {
                Some((Verdict::Blind, report)) => describe(report, config),
                Some((Verdict::Good | Verdict::Bad, _)) | None => {
                    "waiting for the first bursts".to_owned()
                }
            },
        }
    }

    fn describe_down(&self, path: &Path, config: &UplinkConfig) -> String {
        match (&path.report, self.way(path.target)) {
            (_, None) => self.ways[usize::from(path.target.is_ipv6())]
                .err()
                .unwrap_or(Obstacle::NoGateway)
                .reason(&config.interface),
            (Some((Verdict::Bad, report)), Some(way)) if report.no_neighbour > report.lost => {
                let next_hop = way.gateway.unwrap_or(path.target);
                format!("gateway {next_hop} does not answer on {}", config.interface)
            }
            (Some((_, report)), _) => format!("{}: {}", path.target, describe(report, config)),
            (None, _) => format!("{}: no burst yet", path.target),
        }
    }
}

fn path_state(path: &Path) -> State {
    if path.readiness == Readiness::Blocked {
        State::Down
    } else {
        path.health.state()
    }
}

fn describe(report: &Report, config: &UplinkConfig) -> String {
    let count = config.probe.count;
    let missing = report.missing();
    let rtt = report.rtt_mean;
    match (missing, report.answered) {
        (0, 0) => match report.errno {
            Some(errno) => format!("nothing sent: {}", std::io::Error::from_raw_os_error(errno)),
            None => "probes vanish before they leave".to_owned(),
        },
        (_, 0) => format!("{missing} of {count} lost"),
        (_, _) if rtt >= config.health.max_delay => format!(
            "mean RTT {}, limit {} ms",
            rounded(rtt),
            config.health.max_delay.as_secs_f64() * 1e3
        ),
        (0, _) => format!("answers in {}", rounded(rtt)),
        (_, _) => format!(
            "{missing} of {count} lost, limit {}; mean RTT {}",
            config.health.max_lost,
            rounded(rtt)
        ),
    }
}

fn rounded(rtt: Duration) -> String {
    match rtt.as_micros() {
        us if us < 1000 => format!("{us} us"),
        us => format!("{:.1} ms", us as f64 / 1e3),
    }
}
