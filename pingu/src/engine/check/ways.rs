//! How a check leaves by its uplink, as the last look at the kernel shows it.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use crate::{
    config::CheckKind,
    engine::Engine,
    network::{Route, Rule, Selector},
    units::{Ifindex, TableId, UplinkId},
};

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
    pub(super) fn for_check(&self, kind: &CheckKind) -> Option<Self> {
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

/// The rules and tables for checks that the kernel has.
pub(super) struct Standing<'a> {
    engine: &'a Engine,
    rules: HashMap<(TableId, bool), Vec<&'a Rule>>,
    /// The own defaults of each table and family.
    defaults: HashMap<(TableId, bool), Vec<&'a Route>>,
}

impl<'a> Standing<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
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

    /// How the checks of an uplink leave; none where it has none, or no interface.
    pub(super) fn way(&self, id: UplinkId) -> Option<CheckWay> {
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

impl Engine {
    /// Finds how each check leaves, in a fresh look at the kernel: its uplink must have a way, and the kernel the rule and the table that
    /// lead there.
    pub(in crate::engine) fn find_check_ways(&mut self, now: Instant) {
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
}
