//! The checks of uplinks: when each is due, what its results come to, and what that does to its uplink.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fmt,
    net::IpAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::{CheckConfig, CheckKind, Config},
    engine::{Engine, State},
    network::{Route, Rule, Selector},
    units::{Ifindex, TableId, UplinkId},
};

mod status;
mod verdicts;

pub use status::CheckStatus;
pub(crate) use verdicts::Verdicts;

/// One run of one check; no two have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// A check that is to be run.
#[derive(Clone, Debug)]
pub struct CheckOrder {
    /// The run.
    pub run: RunId,
    /// The uplink's name.
    pub uplink: Arc<str>,
    /// What is to be tried.
    pub check: Arc<CheckConfig>,
    /// How it leaves.
    pub way: CheckWay,
}

/// How a check leaves by its uplink: its sockets are bound to the interface and to the source of their family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckWay {
    /// The interface's name in the kernel.
    pub interface: String,
    /// Its number.
    pub ifindex: Ifindex,
    /// Its largest IP packet in bytes.
    pub mtu_bytes: u32,
    /// The table that leads out.
    pub table: TableId,
    /// That table is there for checks alone: no rule leads answers back by it.
    pub is_lent: bool,
    /// By IPv4; none: it cannot be left by.
    pub v4: Option<Exit>,
    /// By IPv6.
    pub v6: Option<Exit>,
}

/// How packets of one family leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Their source.
    pub source: IpAddr,
    /// The next hop; none where the device itself is it.
    pub gateway: Option<IpAddr>,
}

impl CheckWay {
    /// The exit of an address's family.
    pub fn exit(&self, ipv6: bool) -> Option<&Exit> {
        if ipv6 { &self.v6 } else { &self.v4 }.as_ref()
    }

    /// What of it a check can use; none if it cannot run.
    fn for_check(&self, kind: &CheckKind) -> Option<Self> {
        let peers = kind.peers();
        let is_used = |ipv6: bool| {
            let of_family = |peer: &IpAddr| peer.is_ipv6() == ipv6;
            // A name may have addresses of either family, whoever resolves it.
            let any = match kind {
                CheckKind::Http(http) => http.address.or(http.url.address()).is_none(),
                CheckKind::Exec(_) => true,
                CheckKind::Tcp(_) | CheckKind::Dns(_) | CheckKind::Mtu(_) => false,
            };
            any || peers.iter().any(of_family)
        };
        let can_start = peers.is_empty() || peers.iter().any(|p| self.exit(p.is_ipv6()).is_some());
        let own = Self {
            v4: self.v4.filter(|_| is_used(false)),
            v6: self.v6.filter(|_| is_used(true)),
            ..self.clone()
        };
        (can_start && (own.v4.is_some() || own.v6.is_some())).then_some(own)
    }
}

/// What one run came to.
pub type CheckOutcome = Result<String, Failure>;

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub cause: Cause,
    /// For people.
    pub text: String,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// No answer in time.
    Timeout,
    /// The connection was refused.
    Refused,
    /// The network, or a router on the way, says that it cannot be reached.
    Unreachable,
    /// The connection broke.
    Broken,
    /// TLS failed: a certificate that is not right, or no TLS at all.
    Tls,
    /// Somebody on the way answers in place of the one who was asked.
    Portal,
    /// The server answers with another status.
    Status,
    /// The server answers with another body.
    Body,
    /// The host's name could not be resolved.
    Resolve,
    /// There is no such name.
    Nxdomain,
    /// The resolver failed.
    Servfail,
    /// The resolver answers, but not what was asked for.
    Dns,
    /// The program failed.
    Exit,
    /// Large packets do not pass.
    Mtu,
    /// This machine could not try: it says nothing of the uplink.
    Local,
}

impl Failure {
    /// Pingu itself made a mistake.
    pub(crate) fn fault() -> Self {
        Self {
            cause: Cause::Local,
            text: "a fault of pingu's own: its log says more".to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A change of a check's state, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckChange {
    /// The uplink's name.
    pub uplink: Arc<str>,
    /// The check's name.
    pub check: String,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// What its last run came to.
    pub text: String,
}

/// What is known of every check.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    list: Vec<Check>,
    /// Those of each uplink.
    of_uplink: Vec<Range<usize>>,
    wakes: BinaryHeap<Reverse<(Instant, usize)>>,
    running: HashMap<RunId, usize>,
    cancelled: Vec<RunId>,
    next_run: u64,
}

/// What is known of one check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) config: Arc<CheckConfig>,
    uplink: UplinkId,
    uplink_name: Arc<str>,
    pub(crate) verdicts: Verdicts,
    /// How it leaves; none while it cannot.
    way: Option<CheckWay>,
    run: Option<RunId>,
    /// Its valid entry in `wakes`; others there are stale.
    due: Option<Instant>,
    ordered: Instant,
    /// It has run by this way.
    has_run: bool,
    /// What of its period its second run waits beyond half of it, so that not all run at once.
    phase: f64,
}

impl Check {
    /// Its state, as far as it can be run.
    pub(crate) fn state(&self) -> State {
        match self.way {
            Some(_) => self.verdicts.state(),
            None => State::Unknown,
        }
    }

    /// Its uplink is down because of it.
    pub(crate) fn fells(&self) -> bool {
        self.config.required && self.state() == State::Down
    }
}

/// The golden ratio's fraction: multiples of it lie evenly between 0 and 1.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Entries of `wakes` for each check, of which all but one are stale, until they are swept.
const STALE_MAX: usize = 4;

impl Checks {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let mut checks = Self::default();
        for (index, uplink) in config.uplinks.iter().enumerate() {
            let first = checks.list.len();
            let name: Arc<str> = uplink.name.as_str().into();
            for check in &uplink.checks {
                let number = checks.list.len() as f64;
                checks.list.push(Check {
                    config: Arc::clone(check),
                    uplink: UplinkId(index as u16),
                    uplink_name: Arc::clone(&name),
                    verdicts: Verdicts::unknown(now),
                    way: None,
                    run: None,
                    due: None,
                    ordered: now,
                    has_run: false,
                    phase: (number * GOLDEN).fract(),
                });
            }
            checks.of_uplink.push(first..checks.list.len());
        }
        checks
    }

    /// Those of an uplink.
    pub(crate) fn of(&self, id: UplinkId) -> &[Check] {
        &self.list[self.of_uplink[id.index()].clone()]
    }

    /// The first check that fells an uplink.
    pub(crate) fn felling(&self, id: UplinkId) -> Option<&Check> {
        self.of(id).iter().find(|check| check.fells())
    }

    /// Since when no run of an uplink's required checks has failed; none where there are none, or one has just failed.
    fn good_since(&self, id: UplinkId) -> Option<Instant> {
        let required = self.of(id).iter().filter(|check| check.config.required);
        required
            .filter_map(|check| check.verdicts.good_since())
            .max()
    }

    fn next_wake(&self) -> Option<Instant> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }

    fn schedule(&mut self, index: usize, at: Instant) {
        self.list[index].due = Some(at);
        if self.wakes.len() > STALE_MAX * self.list.len() {
            let list = &self.list;
            self.wakes
                .retain(|Reverse((at, index))| list[*index].due == Some(*at));
        }
        self.wakes.push(Reverse((at, index)));
    }

    /// Takes how a check leaves from here on. A run by another way tells nothing of this one.
    fn set_way(&mut self, index: usize, way: Option<CheckWay>, now: Instant) {
        let check = &mut self.list[index];
        if check.way == way {
            return;
        }
        check.way = way;
        check.has_run = false;
        check.due = None;
        check.verdicts.start_over(now);
        if let Some(run) = check.run.take() {
            self.running.remove(&run);
            self.cancelled.push(run);
        }
        if self.list[index].way.is_some() {
            self.schedule(index, now);
        }
    }

    fn orders(&mut self, now: Instant) -> Vec<CheckOrder> {
        let mut orders = Vec::new();
        while let Some(&Reverse((at, index))) = self.wakes.peek()
            && at <= now
        {
            self.wakes.pop();
            let check = &mut self.list[index];
            if check.due != Some(at) || check.run.is_some() {
                continue;
            }
            let Some(way) = check.way.clone() else {
                continue;
            };
            let run = RunId(self.next_run);
            self.next_run += 1;
            check.due = None;
            check.run = Some(run);
            check.ordered = now;
            self.running.insert(run, index);
            orders.push(CheckOrder {
                run,
                uplink: Arc::clone(&check.uplink_name),
                check: Arc::clone(&check.config),
                way,
            });
        }
        orders
    }

    /// Takes what a run came to: the check, and its state before. None if nobody waits for it any more.
    fn take(
        &mut self,
        run: RunId,
        outcome: CheckOutcome,
        took: Duration,
        now: Instant,
    ) -> Option<(usize, State)> {
        let index = self.running.remove(&run)?;
        let check = &mut self.list[index];
        let before = check.state();
        check.run = None;
        let config = &check.config;
        let is_sure = check.verdicts.judge(outcome, took, config, now);
        let pause = if !is_sure {
            config.timeout
        } else if check.has_run {
            config.every
        } else {
            config.every.mul_f64(0.5 + 0.5 * check.phase)
        };
        check.has_run |= is_sure;
        let next = now.max(check.ordered + pause);
        self.schedule(index, next);
        Some((index, before))
    }
}

impl Engine {
    /// The checks that are to be run.
    pub fn check_orders(&mut self, now: Instant) -> Vec<CheckOrder> {
        self.checks.orders(now)
    }

    /// Runs that nobody waits for any more.
    pub fn cancelled_checks(&mut self) -> Vec<RunId> {
        std::mem::take(&mut self.checks.cancelled)
    }

    /// How many checks there are.
    pub fn check_count(&self) -> usize {
        self.checks.list.len()
    }

    /// Takes what a run came to, and how long it took.
    pub fn checked(
        &mut self,
        run: RunId,
        outcome: CheckOutcome,
        took: Duration,
        now: Instant,
    ) -> Option<CheckChange> {
        let (index, from) = self.checks.take(run, outcome, took, now)?;
        let check = &self.checks.list[index];
        let (id, to) = (check.uplink, check.state());
        let change = (from != to).then(|| CheckChange {
            uplink: Arc::clone(&check.uplink_name),
            check: check.config.name.clone(),
            from,
            to,
            text: check.verdicts.text(),
        });
        self.note_checks(id);
        if change.is_some() {
            self.rank(now);
        }
        change
    }

    /// When [`Engine::check_orders`] is wanted next.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.checks.next_wake()
    }

    /// Finds how each check leaves, in a fresh look at the kernel: its uplink must have a way, and the kernel the rule and the table that
    /// lead there.
    pub(super) fn find_check_ways(&mut self, now: Instant) {
        if self.checks.list.is_empty() {
            return;
        }
        let ways: Vec<Option<CheckWay>> = {
            let there = Standing::new(self);
            let ids = (0..self.uplinks.len()).map(|index| UplinkId(index as u16));
            ids.map(|id| there.way(id)).collect()
        };
        for (index, way) in ways.iter().enumerate() {
            let id = UplinkId(index as u16);
            for check in self.checks.of_uplink[index].clone() {
                let kind = &self.checks.list[check].config.kind;
                let own = way.as_ref().and_then(|way| way.for_check(kind));
                self.checks.set_way(check, own, now);
            }
            self.note_checks(id);
        }
    }

    fn note_checks(&mut self, id: UplinkId) {
        let uplink = &mut self.uplinks[id.index()];
        uplink.failed_check = self.checks.felling(id).is_some();
        uplink.checks_good_since = self.checks.good_since(id);
        self.unsettled.uplinks.insert(id);
        let group = self.config.uplinks[id.index()].group;
        self.unsettled.restless.insert(group);
    }
}

/// The rules and tables for checks that the kernel has.
struct Standing<'a> {
    engine: &'a Engine,
    rules: HashMap<(TableId, bool), Vec<&'a Rule>>,
    /// The own defaults of each table and family.
    defaults: HashMap<(TableId, bool), Vec<&'a Route>>,
}

impl<'a> Standing<'a> {
    fn new(engine: &'a Engine) -> Self {
        let mut rules: HashMap<(TableId, bool), Vec<&Rule>> = HashMap::new();
        let all = engine.snapshot.rules.iter();
        for rule in all.filter(|rule| matches!(rule.selector, Selector::Bound { .. })) {
            rules.entry((rule.table, rule.ipv6)).or_default().push(rule);
        }
        let own = engine.config.protocol;
        let mut defaults: HashMap<(TableId, bool), Vec<&Route>> = HashMap::new();
        let all = engine.snapshot.routes.iter();
        for route in all.filter(|route| route.protocol == own && route.is_default()) {
            let place = (route.table, route.ipv6());
            defaults.entry(place).or_default().push(route);
        }
        Self {
            engine,
            rules,
            defaults,
        }
    }

    fn way(&self, id: UplinkId) -> Option<CheckWay> {
        let engine = self.engine;
        if engine.checks.of(id).is_empty() {
            return None;
        }
        let table = engine.config.table_of(id)?;
        let link = engine.link_of(id)?;
        let exit = |ipv6: bool| {
            let way = engine.uplinks[id.index()].ways[usize::from(ipv6)].as_ref();
            let way = way.ok()?;
            let rule = engine.check_rule(id, link, way.source, table);
            let leads_there = self.rules.get(&(table, ipv6))?.contains(&&rule);
            let mut defaults = self.defaults.get(&(table, ipv6))?.iter();
            let leads_out = defaults.any(|route| route.next_hop.leads_as(&way.next_hop()));
            (leads_there && leads_out).then_some(Exit {
                source: way.source,
                gateway: way.gateway,
            })
        };
        Some(CheckWay {
            interface: link.name.clone(),
            ifindex: link.ifindex,
            mtu_bytes: link.mtu_bytes,
            table,
            is_lent: engine.config.uplinks[id.index()].table.is_none(),
            v4: exit(false),
            v6: exit(true),
        })
    }
}

#[cfg(test)]
mod tests;
