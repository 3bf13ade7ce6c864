//! When the kernel is asked about the neighbours that frames are sent to.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    engine::Engine,
    network::NeighbourState,
    units::{Ifindex, PathId},
};

/// How often a neighbour that answers is confirmed again, so that the kernel notices when it stops: well inside the kernel's
/// own reachable time (15 to 45 s).
const CONFIRM_EVERY: Duration = Duration::from_secs(5);

/// How often a neighbour that does not answer is asked for again: the kernel's own retransmission time.
const RESOLVE_EVERY: Duration = Duration::from_secs(1);

/// How often a neighbour behind which nothing answers is doubted. The kernel takes three seconds to find out that it is gone.
const DOUBT_EVERY: Duration = Duration::from_secs(5);

impl Engine {
    /// The neighbours that the kernel should be asked for; asking is noted.
    pub fn solicitations(&mut self, now: Instant) -> Vec<(Ifindex, IpAddr)> {
        let mut due = Vec::new();
        for path in 0..self.paths.len() {
            let Some(key) = self.neighbour_of(PathId(path as u32)) else {
                continue;
            };
            let every = match self.neighbours.get(&key) {
                Some(NeighbourState::Fixed(_)) => continue,
                Some(NeighbourState::Usable(_)) => CONFIRM_EVERY,
                Some(NeighbourState::Incomplete | NeighbourState::Failed) | None => RESOLVE_EVERY,
            };
            if self
                .solicited
                .get(&key)
                .is_none_or(|&last| now >= last + every)
            {
                self.solicited.insert(key, now);
                due.push(key);
            }
        }
        due
    }

    /// The neighbours that the kernel should ask anew although it trusts what it knows of them: all probes by way of them are lost.
    /// Hardware that was exchanged without a word is found so, in seconds instead of half a minute. Asking is noted.
    pub fn doubts(&mut self, now: Instant) -> Vec<(Ifindex, IpAddr)> {
        let (mut silent, mut heard) = (BTreeSet::new(), BTreeSet::new());
        for (index, path) in self.paths.iter().enumerate() {
            let (Some(key), Some(judged)) =
                (self.neighbour_of(PathId(index as u32)), &path.record.judged)
            else {
                continue;
            };
            let report = &judged.report;
            if report.answered > 0 {
                heard.insert(key);
            } else if report.lost > 0 {
                silent.insert(key);
            }
        }
        let is_trusted = |key: &(Ifindex, IpAddr)| {
            // One that was set by hand is never touched: asked anew, the kernel would forget what was set.
            matches!(self.neighbours.get(key), Some(NeighbourState::Usable(_)))
        };
        let is_due = |key: &(Ifindex, IpAddr)| {
            let last = self.doubted.get(key);
            last.is_none_or(|&last| now >= last + DOUBT_EVERY)
        };
        let due: Vec<(Ifindex, IpAddr)> = silent
            .difference(&heard)
            .filter(|key| is_trusted(key) && is_due(key))
            .copied()
            .collect();
        self.doubted.extend(due.iter().map(|key| (*key, now)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        engine::{
            burst::Report,
            evidence::{Basis, Judged},
            health::Verdict,
            test_clock,
        },
        network::{Address, Link, LinkLayer, Neighbour, Snapshot},
    };

    const TWO_TARGETS: &str = "[probe]\ntargets = [\"192.0.2.1\", \"192.0.2.2\"]\n\
        [[uplink]]\nname = \"a\"\ninterface = \"wan2\"\ngateway = \"10.0.2.1\"\n";

    const GATEWAY: (Ifindex, IpAddr) =
        (Ifindex(2), IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 1)));

    fn engine(state: NeighbourState) -> Engine {
        let (config, _) = Config::parse(TWO_TARGETS, "test").unwrap();
        let mut engine = Engine::new(config, 7, test_clock());
        let snapshot = Snapshot {
            links: vec![Link {
                ifindex: GATEWAY.0,
                name: "wan2".to_owned(),
                alternative_names: Vec::new(),
                layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, 1]),
                admin_up: true,
                carrier: true,
                mtu_bytes: 1500,
            }],
            addresses: vec![Address {
                ifindex: GATEWAY.0,
                address: [10, 0, 2, 2].into(),
                prefix_len: 24,
                global: true,
                usable: true,
                secondary: false,
            }],
            neighbours: vec![Neighbour {
                ifindex: GATEWAY.0,
                address: GATEWAY.1,
                state,
            }],
            ..Snapshot::default()
        };
        engine.network(snapshot, test_clock());
        engine
    }

    /// A judged burst of three.
    fn judged(answered: u32, lost: u32) -> Option<Judged> {
        let report = Report {
            answered,
            lost,
            ..Report::default()
        };
        Some(Judged {
            basis: Basis::Burst,
            verdict: Verdict::Bad,
            report,
            was_up: true,
            cause: None,
            started: test_clock(),
        })
    }

    #[test]
    fn a_gateway_behind_which_nothing_answers_is_doubted_now_and_then() {
        let now = test_clock();
        let mut engine = engine(NeighbourState::Usable([2; 6]));
        assert_eq!(engine.doubts(now), [], "nothing is known");
        engine.paths[0].record.judged = judged(0, 3);
        engine.paths[1].record.judged = judged(1, 2);
        assert_eq!(engine.doubts(now), [], "another target answers");
        engine.paths[1].record.judged = judged(0, 3);
        assert_eq!(engine.doubts(now), [GATEWAY]);
        assert_eq!(engine.doubts(now), [], "asked just now");
        assert_eq!(engine.doubts(now + DOUBT_EVERY), [GATEWAY]);
    }

    #[test]
    fn only_what_the_kernel_found_out_by_itself_is_doubted() {
        for state in [
            NeighbourState::Fixed([2; 6]),
            NeighbourState::Incomplete,
            NeighbourState::Failed,
        ] {
            let mut engine = engine(state);
            for path in &mut engine.paths {
                path.record.judged = judged(0, 3);
            }
            assert_eq!(engine.doubts(test_clock()), [], "{state:?}");
        }
    }
}
