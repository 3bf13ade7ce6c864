//! One operation: a line for `ip`, and the same for the model.

use std::fmt;

use ipnet::IpNet;
use pingu::{
    netlink::model::{Addition, Answer, Deletion, End, FakeKernel, Filter, RuleDeletion, Verb},
    network::{Change, Link, LinkLayer, NextHop, Nexthop, NexthopKind, Rule, Selector},
    units::{Ifindex, NexthopId},
};

use super::kernel::{PEERS, UPLINKS};

/// What is done to both.
#[derive(Clone, Debug)]
pub enum Operation {
    Route(Verb, Addition),
    DeleteRoute(Deletion),
    Flush(Filter),
    AddAddress(Ifindex, IpNet),
    DeleteAddress(Ifindex, IpNet),
    Link(Ifindex, bool),
    AddPair(usize),
    DeletePair(usize),
    AddNexthop(Nexthop),
    ReplaceNexthop(Nexthop),
    DeleteNexthop(NexthopId),
    AddRule(Rule),
    DeleteRule(RuleDeletion),
    /// Through the adapter instead of `ip`.
    Change(Change),
}

/// Which `ip` is asked: `ip`, `ip -4` or `ip -6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Any,
    Inet,
    Inet6,
}

impl Family {
    pub fn of(ipv6: bool) -> Self {
        if ipv6 { Self::Inet6 } else { Self::Inet }
    }
}

/// How many [`Operation::kind`]s there are.
pub const KINDS: usize = 23;

impl Operation {
    /// Its name in a tally.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Route(Verb::Add, _) => "route add",
            Self::Route(Verb::Change, _) => "route change",
            Self::Route(Verb::Replace, _) => "route replace",
            Self::Route(Verb::Prepend, _) => "route prepend",
            Self::Route(Verb::Append, _) => "route append",
            Self::DeleteRoute(_) => "route del",
            Self::Flush(_) => "route flush",
            Self::AddAddress(..) => "addr add",
            Self::DeleteAddress(..) => "addr del",
            Self::Link(..) => "link set",
            Self::AddPair(_) => "link add",
            Self::DeletePair(_) => "link del",
            Self::AddNexthop(_) => "nexthop add",
            Self::ReplaceNexthop(_) => "nexthop replace",
            Self::DeleteNexthop(_) => "nexthop del",
            Self::AddRule(_) => "rule add",
            Self::DeleteRule(_) => "rule del",
            Self::Change(Change::Add(_)) => "Add",
            Self::Change(Change::AddBeside(_)) => "AddBeside",
            Self::Change(Change::Delete(_)) => "Delete",
            Self::Change(Change::TakeOver(_)) => "TakeOver",
            Self::Change(Change::Restore(_)) => "Restore",
            Self::Change(_) => "rules and nexthops",
        }
    }

    /// A link's state follows, some time after.
    pub fn moves_links(&self) -> bool {
        matches!(
            self,
            Self::Link(..) | Self::AddPair(_) | Self::DeletePair(_)
        )
    }

    /// The model's answer.
    pub fn apply(&self, model: &mut FakeKernel) -> Answer {
        match self {
            Self::Route(verb, addition) => model.route(*verb, addition),
            Self::DeleteRoute(deletion) => model.delete_route(deletion),
            Self::Flush(filter) => {
                model.flush(filter);
                Ok(())
            }
            Self::AddAddress(ifindex, own) => {
                model.add_address(*ifindex, own.addr(), own.prefix_len())
            }
            Self::DeleteAddress(ifindex, own) => {
                model.delete_address(*ifindex, own.addr(), own.prefix_len())
            }
            Self::Link(ifindex, up) => model.set_link(*ifindex, *up),
            Self::AddPair(uplink) => {
                add_pair(model, *uplink);
                Ok(())
            }
            Self::DeletePair(uplink) => model.delete_link(UPLINKS[*uplink]),
            Self::AddNexthop(object) => model.add_nexthop(object),
            Self::ReplaceNexthop(object) => model.replace_nexthop(object),
            Self::DeleteNexthop(id) => model.delete_nexthop(*id),
            Self::AddRule(rule) => model.add_rule(rule),
            Self::DeleteRule(deletion) => model.delete_rule(deletion),
            Self::Change(_) => unreachable!("the adapter is asked"),
        }
    }

    /// The line for `ip`.
    pub fn line(&self) -> (Family, String) {
        match self {
            Self::Route(verb, addition) => {
                let ipv6 = matches!(addition.destination, IpNet::V6(_));
                (Family::of(ipv6), route(*verb, addition))
            }
            Self::DeleteRoute(deletion) => {
                let ipv6 = matches!(deletion.destination, IpNet::V6(_));
                (Family::of(ipv6), delete_route(deletion))
            }
            Self::Flush(filter) => (Family::of(filter.ipv6), flush(filter)),
            Self::AddAddress(ifindex, own) => {
                let nodad = if own.addr().is_ipv6() { " nodad" } else { "" };
                let line = format!("addr add {own} dev {}{nodad}", name(*ifindex));
                (Family::Any, line)
            }
            Self::DeleteAddress(ifindex, own) => {
                let line = format!("addr del {own} dev {}", name(*ifindex));
                (Family::Any, line)
            }
            Self::Link(ifindex, up) => {
                let state = if *up { "up" } else { "down" };
                (Family::Any, format!("link set {} {state}", name(*ifindex)))
            }
            Self::AddPair(uplink) => (Family::Any, pair(*uplink)),
            Self::DeletePair(uplink) => {
                (Family::Any, format!("link del {}", name(UPLINKS[*uplink])))
            }
            Self::AddNexthop(object) => nexthop("add", object),
            Self::ReplaceNexthop(object) => nexthop("replace", object),
            Self::DeleteNexthop(id) => (Family::Any, format!("nexthop del id {id}")),
            Self::AddRule(rule) => {
                let line = format!(
                    "rule add pref {} {} table {} proto {}",
                    rule.priority,
                    selector(&rule.selector),
                    rule.table,
                    rule.protocol
                );
                (Family::of(rule.ipv6), line)
            }
            Self::DeleteRule(deletion) => (Family::of(deletion.ipv6), delete_rule(deletion)),
            Self::Change(change) => (Family::Any, change.to_string()),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(change) => write!(f, "adapter: {change:?}"),
            _ => {
                let (family, line) = self.line();
                write!(f, "{family:?}: {line}")
            }
        }
    }
}

fn route(verb: Verb, asked: &Addition) -> String {
    let verb = match verb {
        Verb::Add => "add",
        Verb::Change => "change",
        Verb::Replace => "replace",
        Verb::Prepend => "prepend",
        Verb::Append => "append",
    };
    let kind = match asked.next_hop {
        NextHop::Unreachable => "unreachable ",
        NextHop::Blackhole => "blackhole ",
        _ => "",
    };
    let mut line = format!(
        "route {verb} {kind}{}{} table {} metric {} proto {}",
        asked.destination,
        hop(&asked.next_hop),
        asked.table,
        asked.metric,
        asked.protocol
    );
    if asked.tos != 0 {
        line += &format!(" tos {:#x}", asked.tos);
    }
    if let Some(source) = asked.preferred_source {
        line += &format!(" src {source}");
    }
    line
}

fn hop(next_hop: &NextHop) -> String {
    match next_hop {
        NextHop::Gateway {
            ifindex,
            gateway,
            onlink,
        } => {
            let family = if gateway.is_ipv6() { "inet6 " } else { "" };
            let onlink = if *onlink { " onlink" } else { "" };
            format!(" via {family}{gateway} dev {}{onlink}", name(*ifindex))
        }
        NextHop::Device { ifindex } => format!(" dev {}", name(*ifindex)),
        NextHop::Object(id) => format!(" nhid {id}"),
        _ => String::new(),
    }
}

fn delete_route(asked: &Deletion) -> String {
    let mut line = format!("route del {} table {}", asked.destination, asked.table);
    if asked.tos != 0 {
        line += &format!(" tos {:#x}", asked.tos);
    }
    if let Some(gateway) = asked.gateway {
        let family = if gateway.is_ipv6() { "inet6 " } else { "" };
        line += &format!(" via {family}{gateway}");
    }
    if let Some(ifindex) = asked.ifindex {
        line += &format!(" dev {}", name(ifindex));
    }
    if let Some(id) = asked.object {
        line += &format!(" nhid {id}");
    }
    if let Some(metric) = asked.metric {
        line += &format!(" metric {metric}");
    }
    if let Some(protocol) = asked.protocol {
        line += &format!(" proto {protocol}");
    }
    if let Some(source) = asked.preferred_source {
        line += &format!(" src {source}");
    }
    line
}

fn flush(filter: &Filter) -> String {
    let mut line = "route flush".to_owned();
    if let Some(destination) = filter.destination {
        line += &format!(" exact {destination}");
    }
    line += &format!(" table {}", filter.table);
    if let Some(protocol) = filter.protocol {
        line += &format!(" proto {protocol}");
    }
    line
}

fn nexthop(verb: &str, object: &Nexthop) -> (Family, String) {
    let Nexthop { id, protocol, .. } = object;
    let (family, what) = match &object.kind {
        NexthopKind::Single(next_hop) => (Family::of(object.ipv6), hop(next_hop)),
        NexthopKind::Group(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(member, weight)| format!("{member},{weight}"))
                .collect();
            (Family::Any, format!(" group {}", members.join("/")))
        }
        NexthopKind::Other(what) => unreachable!("never made: {what}"),
    };
    let what = what.replace("via inet6 ", "via ");
    (
        family,
        format!("nexthop {verb} id {id}{what} proto {protocol}"),
    )
}

fn delete_rule(asked: &RuleDeletion) -> String {
    let mut line = "rule del".to_owned();
    if let Some(priority) = asked.priority {
        line += &format!(" pref {priority}");
    }
    if let Some(asked) = &asked.selector {
        line += &format!(" {}", selector(asked));
    }
    if let Some(table) = asked.table {
        line += &format!(" table {table}");
    }
    if let Some(protocol) = asked.protocol {
        line += &format!(" proto {protocol}");
    }
    line
}

fn selector(selector: &Selector) -> String {
    match selector {
        Selector::From(source) => format!("from {source}"),
        Selector::Mark { value, mask } => format!("fwmark {value:#x}/{mask:#x}"),
        Selector::Bound { interface, from } => match from {
            Some(from) => format!("from {from} oif {interface}"),
            None => format!("oif {interface}"),
        },
        Selector::Other(what) => unreachable!("never made: {what}"),
    }
}

/// Numbers are given, so that both know them.
pub fn pair(uplink: usize) -> String {
    let (here, there) = (UPLINKS[uplink], PEERS[uplink]);
    format!(
        "link add {} index {here} type veth peer name {} index {there}",
        name(here),
        name(there)
    )
}

/// An interface's name by its number.
pub fn name(ifindex: Ifindex) -> &'static str {
    match ifindex {
        _ if ifindex == UPLINKS[0] => "up0",
        _ if ifindex == UPLINKS[1] => "up1",
        _ if ifindex == PEERS[0] => "peer0",
        _ if ifindex == PEERS[1] => "peer1",
        _ => "lo",
    }
}

/// A veth pair of the model.
pub fn add_pair(model: &mut FakeKernel, uplink: usize) {
    let (here, there) = (UPLINKS[uplink], PEERS[uplink]);
    for (ifindex, other) in [(here, there), (there, here)] {
        let link = Link {
            ifindex,
            name: name(ifindex).to_owned(),
            alternative_names: Vec::new(),
            layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, ifindex.0 as u8]),
            admin_up: false,
            carrier: false,
            is_port: false,
            mtu_bytes: 1500,
        };
        model.add_link(link, End::Peer(other));
    }
}
