//! What a script advises: an order among uplinks, vetoes, routes beside the uplinks' own. All of it stands behind what is known: no advice
//! keeps traffic on an uplink that is down, and nothing waits for advice longer than [`ANSWER_WITHIN`].

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;

use crate::{
    config::Mode,
    engine::{
        Engine, RttSummary, State,
        decide::{Candidate, Ranking},
        routes::{RouteSet, own_route},
    },
    network::{NextHop, Route, Snapshot},
    units::{GroupId, Ifindex, Metric, Protocol, TableId, UplinkId},
};

/// A switch from one uplink that is up to another waits so long for a script's word.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A veto is asked for anew after this.
const VETO_LASTS: Duration = Duration::from_secs(1);

/// So many targets of an uplink are looked at: an average over more tells a script no more.
const TARGETS_MAX: usize = 16;

/// So many targets of all uplinks together, but at least one of each: each takes some ten microseconds.
const TARGETS_ALL_MAX: usize = 256;

/// All advice that holds.
#[derive(Debug, Default)]
pub(super) struct Advice {
    /// Each uplink's place; none: the built-in order.
    places: Option<Vec<u32>>,
    /// Switches are asked for.
    gated: bool,
    questions: BTreeMap<GroupId, Question>,
    routes: Vec<ExtraRoute>,
}

impl Advice {
    /// Somebody is to be asked about a switch.
    pub(super) fn has_questions(&self) -> bool {
        let mut questions = self.questions.values();
        questions.any(|question| question.word == Word::Open)
    }
}

/// Whether traffic may leave one uplink, which is up, for another.
#[derive(Clone, Debug)]
struct Question {
    from: UplinkId,
    to: UplinkId,
    word: Word,
    /// Until when the word holds.
    until: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// Nobody has been asked yet.
    Open,
    /// The script has been asked.
    Asked,
    Allowed,
    Vetoed(String),
}

/// A route that a script wants beside those of the uplinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraRoute {
    /// Where it leads to.
    pub destination: IpNet,
    /// Its next hop; none: its interface is.
    pub gateway: Option<IpAddr>,
    /// Its interface; none: the one whose network the gateway is in.
    pub interface: Option<String>,
    /// Its metric.
    pub metric: Metric,
    /// Its table.
    pub table: TableId,
}

/// What a script sees of an uplink.
#[derive(Clone, Debug, PartialEq)]
pub struct UplinkView {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its next hop; none where the device itself is it, or none is known.
    pub gateway: Option<IpAddr>,
    /// Its state.
    pub state: State,
    /// Traffic may leave by it at all: interface, carrier, gateway and address are there.
    pub usable: bool,
    /// The kernel's routes leave by it.
    pub active: bool,
    /// The share of recent probes that was not answered, in percent; none before the first.
    pub loss_percent: Option<f64>,
    /// Recent round-trip times in microseconds; none before the first answer.
    pub rtt_us: Option<RttSummary>,
}

impl Engine {
    /// Takes an order of uplinks, the most wanted first; those that are not in it follow in the order of the configuration. None: the
    /// built-in order. In mode `balance` it means nothing.
    pub fn advise_order(&mut self, order: Option<&[UplinkId]>, now: Instant) {
        let places = order.map(|order| {
            let last = order.len() as u32;
            let mut places: Vec<u32> = (0..self.uplinks.len() as u32)
                .map(|index| last + index)
                .collect();
            for (place, id) in order.iter().enumerate().rev() {
                places[id.index()] = place as u32;
            }
            places
        });
        if self.advice.places != places {
            self.advice.places = places;
            self.revision += 1;
            self.unsettle_all();
            self.rank(now);
        }
    }

    /// From here on a switch from one uplink that is up to another is asked for, or no more.
    pub fn gate_switches(&mut self, gated: bool, now: Instant) {
        if self.advice.gated != gated {
            self.advice.gated = gated;
            self.advice.questions.clear();
            self.unsettle_all();
            self.rank(now);
        }
    }

    /// Switches that nobody has been asked about yet: from which uplink to which.
    pub fn switches_asked(&mut self) -> Vec<(UplinkId, UplinkId)> {
        let questions = self.advice.questions.values_mut();
        let open = questions.filter(|question| question.word == Word::Open);
        open.map(|question| {
            question.word = Word::Asked;
            (question.from, question.to)
        })
        .collect()
    }

    /// Takes the word on a switch: why not, or nothing.
    pub fn answer_switch(
        &mut self,
        (from, to): (UplinkId, UplinkId),
        veto: Option<String>,
        now: Instant,
    ) {
        let group = self.config.uplinks[from.index()].group;
        let question = self.advice.questions.get_mut(&group);
        let Some(question) = question.filter(|question| (question.from, question.to) == (from, to))
        else {
            return;
        };
        question.word = veto.map_or(Word::Allowed, Word::Vetoed);
        question.until = now + VETO_LASTS;
        self.unsettled.groups.insert(group);
        self.rank(now);
    }

    /// Takes the routes that a script wants; all of them.
    pub fn advise_routes(&mut self, routes: Vec<ExtraRoute>) {
        if self.advice.routes != routes {
            self.advice.routes = routes;
            self.revision += 1;
        }
    }

    /// What a script sees of the uplinks.
    pub fn uplink_views(&self) -> Vec<UplinkView> {
        let groups = 0..self.config.groups.len();
        let active: Vec<Vec<UplinkId>> = groups
            .map(|index| self.active_in(GroupId(index as u16)))
            .collect();
        let targets_max = (TARGETS_ALL_MAX / self.uplinks.len()).clamp(1, TARGETS_MAX);
        let of = |index: usize| {
            let (uplink, config) = (&self.uplinks[index], &self.config.uplinks[index]);
            let paths = || uplink.own_paths(&self.paths).take(targets_max);
            let losses = paths().filter_map(|path| path.record.recent.loss_percent());
            UplinkView {
                name: config.name.clone(),
                interface: config.interface.clone(),
                gateway: uplink.ways.iter().flatten().find_map(|way| way.gateway),
                state: uplink.state_noted,
                usable: uplink.ways.iter().any(Result::is_ok),
                active: active[config.group.index()].contains(&UplinkId(index as u16)),
                loss_percent: mean(losses),
                rtt_us: mean_rtt(paths().filter_map(|path| path.record.window.summary())),
            }
        };
        (0..self.uplinks.len()).map(of).collect()
    }

    /// The place of an uplink that a script gave it.
    pub(super) fn advised_place(&self, id: UplinkId) -> Option<u32> {
        let mode = self.group(self.config.uplinks[id.index()].group).mode;
        let places = self.advice.places.as_ref()?;
        (mode != Mode::Balance).then(|| places[id.index()])
    }

    /// A script says the order of a group.
    pub(super) fn is_advised(&self, group: GroupId) -> bool {
        self.advice.places.is_some() && self.group(group).mode != Mode::Balance
    }

    /// The uplink that traffic stays on, although the ranking says another, until a script's word is known or while it is a veto.
    pub(super) fn stays_on(
        &mut self,
        group: GroupId,
        candidates: &[Candidate],
        ranking: &Ranking,
        now: Instant,
    ) -> Option<UplinkId> {
        let before = &self.rankings[group.index()];
        let switch = before
            .standing
            .first()
            .copied()
            .zip(ranking.standing.first().copied());
        let may_stay = |id: UplinkId| {
            let of = candidates.iter().find(|candidate| candidate.id == id);
            of.is_some_and(|candidate| candidate.state == State::Up && candidate.usable)
        };
        let gated = self.advice.gated && self.group(group).mode != Mode::Balance;
        let switch = switch
            .filter(|&(from, to)| gated && from != to && may_stay(from) && self.pinned != Some(to));
        let Some((from, to)) = switch else {
            self.advice.questions.remove(&group);
            return None;
        };
        let asked = Question {
            from,
            to,
            word: Word::Open,
            until: now + ANSWER_WITHIN,
        };
        let question = self
            .advice
            .questions
            .entry(group)
            .or_insert_with(|| asked.clone());
        if (question.from, question.to) != (from, to) {
            *question = asked;
            return Some(from);
        }
        match question.word {
            Word::Open | Word::Asked if now < question.until => Some(from),
            Word::Vetoed(_) if now < question.until => Some(from),
            // The last word stands while the next is waited for.
            Word::Vetoed(_) => {
                *question = asked;
                Some(from)
            }
            Word::Open | Word::Asked | Word::Allowed => {
                self.advice.questions.remove(&group);
                None
            }
        }
    }

    /// When the question of a group has to be looked at again.
    pub(super) fn question_until(&self, group: GroupId) -> Option<Instant> {
        self.advice
            .questions
            .get(&group)
            .map(|question| question.until)
    }

    /// What a script has to do with an uplink's carrying traffic, in words for people.
    pub(super) fn advice_on(&self, id: UplinkId) -> Option<String> {
        let group = self.config.uplinks[id.index()].group;
        let name = |id: UplinkId| &self.config.uplinks[id.index()].name;
        if let Some(question) = self.advice.questions.get(&group)
            && question.from == id
        {
            let to = name(question.to);
            return Some(match &question.word {
                Word::Vetoed(reason) if reason.is_empty() => {
                    format!("the script vetoes the switch to {to}")
                }
                Word::Vetoed(reason) => format!("the script vetoes the switch to {to}: {reason}"),
                Word::Open | Word::Asked | Word::Allowed => {
                    format!("the script is asked about the switch to {to}")
                }
            });
        }
        let ranking = &self.rankings[group.index()];
        let first = (ranking.preferred == Some(id)) && self.is_advised(group);
        first.then(|| "the script ranks it first".to_owned())
    }

    /// The routes that a script wants, where there is a way for them.
    pub(super) fn extra_routes(&self, set: &mut RouteSet) {
        for extra in &self.advice.routes {
            let place = (extra.table, extra.destination, extra.metric);
            let mut wanted = set.wanted.iter();
            // What the uplinks want goes first.
            if wanted.any(|wanted| (wanted.table, wanted.destination, wanted.metric) == place) {
                continue;
            }
            if let Some(next_hop) = extra.next_hop(&self.snapshot) {
                set.wanted.push(extra.by(next_hop, self.config.protocol));
            }
        }
    }
}

impl ExtraRoute {
    /// Where it leads, if there is a way for it now.
    pub(crate) fn next_hop(&self, snapshot: &Snapshot) -> Option<NextHop> {
        let called = |name: &String| snapshot.links.iter().find(|link| link.is_called(name));
        let Some(gateway) = self.gateway else {
            let link = called(self.interface.as_ref()?)?;
            return Some(NextHop::Device {
                ifindex: link.ifindex,
            });
        };
        let link = match &self.interface {
            Some(name) => called(name)?,
            None => {
                let mut links = snapshot.links.iter();
                links.find(|link| is_connected(snapshot, link.ifindex, gateway))?
            }
        };
        Some(NextHop::Gateway {
            ifindex: link.ifindex,
            gateway,
            onlink: !is_connected(snapshot, link.ifindex, gateway),
        })
    }

    /// The route, by a next hop of it.
    pub(crate) fn by(&self, next_hop: NextHop, protocol: Protocol) -> Route {
        own_route(
            self.destination,
            self.table,
            self.metric,
            protocol,
            next_hop,
            None,
        )
    }
}

/// Whether an address is in a network of an interface.
fn is_connected(snapshot: &Snapshot, ifindex: Ifindex, address: IpAddr) -> bool {
    snapshot.addresses.iter().any(|own| {
        let network = IpNet::new(own.address, own.prefix_len);
        own.ifindex == ifindex && network.is_ok_and(|network| network.contains(&address))
    })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn mean_rtt(all: impl Iterator<Item = RttSummary>) -> Option<RttSummary> {
    let all: Vec<RttSummary> = all.collect();
    let of = |figure: fn(&RttSummary) -> f64| mean(all.iter().map(figure));
    Some(RttSummary {
        min: of(|rtt| rtt.min)?,
        p50: of(|rtt| rtt.p50)?,
        p90: of(|rtt| rtt.p90)?,
        p99: of(|rtt| rtt.p99)?,
        max: of(|rtt| rtt.max)?,
        mean: of(|rtt| rtt.mean)?,
        jitter: of(|rtt| rtt.jitter)?,
    })
}

#[cfg(test)]
mod tests;
