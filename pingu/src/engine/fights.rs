//! Who takes own routes away, how often, and how long a route is then left to whatever else stands.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    engine::{
        Engine,
        reconcile::{Place, place},
    },
    network::{Deed, Interference, NextHop, Route},
    units::TableId,
};

/// How far back deeds count.
const MINUTE: Duration = Duration::from_secs(60);

/// Deeds of one kind at one place that are remembered: more in a minute make no difference.
const DEEDS_MAX: usize = 64;

/// Places that are remembered. Whoever deletes more is no rival about a route.
const PLACES_MAX: usize = 256;

/// From so many in a minute on people are told: once is an accident.
const TOLD_FROM: usize = 3;

/// From so many losses of a route in a minute on, it is put back no more often than this while another one stands. Many losses are
/// mended at once, and even in a fight the route is back within a second for long.
const PATIENCE: [(usize, Duration); 2] = [
    (30, Duration::from_secs(10)),
    (10, Duration::from_millis(500)),
];

/// Deeds by place and kind.
#[derive(Debug, Default)]
pub(super) struct Fights(BTreeMap<(Place, Deed), Fight>);

#[derive(Debug)]
struct Fight {
    /// The route of the last deed.
    route: Route,
    /// Who did it.
    by: String,
    times: VecDeque<Instant>,
    /// When the own route was last put back.
    restored: Option<Instant>,
}

impl Fight {
    /// How long to wait between two restorations.
    fn patience(&self) -> Option<Duration> {
        let count = self.times.len();
        let from = PATIENCE.iter().find(|(from, _)| count >= *from);
        from.map(|(_, every)| *every)
    }
}

impl Fights {
    /// Takes a deed, and says how many there were in a minute.
    fn note(&mut self, what: &Interference, by: String, now: Instant) -> usize {
        self.forget(now);
        let key = (place(&what.route), what.deed);
        if self.0.len() >= PLACES_MAX && !self.0.contains_key(&key) {
            return 0;
        }
        let fight = self.0.entry(key).or_insert_with(|| Fight {
            route: what.route.clone(),
            by: String::new(),
            times: VecDeque::new(),
            restored: None,
        });
        (fight.route, fight.by) = (what.route.clone(), by);
        if fight.times.len() == DEEDS_MAX {
            fight.times.pop_front();
        }
        fight.times.push_back(now);
        fight.times.len()
    }

    /// Forgets what is older than a minute.
    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, fight| {
            let is_old = |at: &Instant| now.saturating_duration_since(*at) >= MINUTE;
            while fight.times.front().is_some_and(is_old) {
                fight.times.pop_front();
            }
            !fight.times.is_empty()
        });
    }
}

impl Engine {
    /// Takes what somebody else did to an own route, and who it was. What was replaced counts where a route of pingu's belongs. Returns
    /// what people should be told of it, when it has become a fight.
    pub fn interfered(&mut self, what: &Interference, by: String, now: Instant) -> Option<String> {
        let at = place(&what.route);
        let is_wanted = || {
            self.route_set()
                .wanted
                .iter()
                .any(|route| place(route) == at)
        };
        if what.deed == Deed::Replaced && !is_wanted() {
            return None;
        }
        let count = self.fights.note(what, by, now);
        let fight = self.fights.0.get(&(at, what.deed))?;
        (count == TOLD_FROM).then(|| self.told(what.deed, fight))
    }

    /// Until when an own route that somebody keeps taking away is not put back: another one stands that packets can leave by.
    pub fn restoration_held(&self, route: &Route, now: Instant) -> Option<Instant> {
        let fight = self.fights.0.get(&(place(route), Deed::Deleted))?;
        let until = fight.restored? + fight.patience()?;
        (now < until && self.another_stands(route)).then_some(until)
    }

    /// Tells that an own route is put where it was taken away.
    pub fn restored(&mut self, route: &Route, now: Instant) {
        if let Some(fight) = self.fights.0.get_mut(&(place(route), Deed::Deleted)) {
            fight.restored = Some(now);
        }
    }

    /// The fights of the last minute, for people.
    pub(super) fn fight_warnings(&self) -> impl Iterator<Item = String> + '_ {
        let told = |fight: &&Fight| fight.times.len() >= TOLD_FROM;
        let fights = self.fights.0.iter();
        fights
            .filter(move |(_, fight)| told(fight))
            .map(|((_, deed), fight)| self.told(*deed, fight))
    }

    fn told(&self, deed: Deed, fight: &Fight) -> String {
        let (route, count, by) = (&fight.route, fight.times.len(), &fight.by);
        let own = match deed {
            Deed::Deleted => self.described(route),
            Deed::Replaced => {
                let metric = route.metric;
                format!("{} with metric {metric}", self.described_by(route, None))
            }
        };
        match deed {
            Deed::Deleted => {
                let held = fight.patience().map_or_else(String::new, |every| {
                    format!(
                        "; while another stands it is put back every {} s only",
                        every.as_secs_f64()
                    )
                });
                format!("own {own} was deleted {count} times in a minute by {by}{held}")
            }
            Deed::Replaced => format!(
                "own {own} was replaced {count} times in a minute by {by}, with one of protocol {}",
                route.protocol
            ),
        }
    }

    /// An own route in people's words.
    fn described(&self, route: &Route) -> String {
        let links = &self.snapshot.links;
        let link = links
            .iter()
            .find(|link| Some(link.ifindex) == route.next_hop.ifindex());
        self.described_by(route, link.map(|link| link.name.as_str()))
    }

    fn described_by(&self, route: &Route, interface: Option<&str>) -> String {
        let mut text = match (route.is_default(), route.ipv6()) {
            (true, false) => "default route".to_owned(),
            (true, true) => "IPv6 default route".to_owned(),
            (false, _) => format!("route to {}", route.destination),
        };
        if let Some(interface) = interface {
            text.push_str(&format!(" over {interface}"));
        }
        if route.table != TableId::MAIN {
            text.push_str(&format!(" in table {}", route.table));
        }
        text
    }

    /// Whether packets to the destination of an own route that is missing leave all the same, and by nothing that is known to be dead.
    fn another_stands(&self, missing: &Route) -> bool {
        let to_the_same = self.snapshot.routes.iter().filter(|route| {
            (route.table, route.destination) == (missing.table, missing.destination)
                && route.is_for_all()
        });
        let Some(chosen) = to_the_same.min_by_key(|route| route.metric) else {
            return false;
        };
        let uplinks = self.leads_to(chosen);
        if !uplinks.is_empty() {
            return uplinks.iter().any(|&id| self.carries(id, chosen.ipv6()));
        }
        let runs = |hop: &crate::network::Hop| {
            let mut links = self.snapshot.links.iter();
            links.any(|link| link.ifindex == hop.ifindex && link.admin_up && link.carrier)
        };
        !matches!(chosen.next_hop, NextHop::Object(_)) && chosen.next_hop.hops().iter().any(runs)
    }
}

#[cfg(test)]
mod tests;
