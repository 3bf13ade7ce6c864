//! What may be asked of the kernel about routes and rules: iproute2's verbs with their attributes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Listed, SCOPE_LINK};
use crate::{
    network::{NextHop, Route, Rule, Selector},
    units::{Ifindex, Metric, NexthopId, Protocol, TableId},
};

/// The kernel's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What the kernel answers.
pub type Answer = Result<(), Errno>;

/// How a route is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `NLM_F_CREATE | NLM_F_EXCL`.
    Add,
    /// `NLM_F_REPLACE`.
    Change,
    /// `NLM_F_CREATE | NLM_F_REPLACE`.
    Replace,
    /// `NLM_F_CREATE`.
    Prepend,
    /// `NLM_F_CREATE | NLM_F_APPEND`.
    Append,
}

impl Verb {
    pub(super) fn creates(self) -> bool {
        !matches!(self, Self::Change)
    }

    pub(super) fn replaces(self) -> bool {
        matches!(self, Self::Change | Self::Replace)
    }
}

/// A route that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Where it leads to.
    pub destination: IpNet,
    /// Its table.
    pub table: TableId,
    /// Type of service; IPv4 only.
    pub tos: u8,
    /// Its priority; IPv6 makes 1024 of 0.
    pub metric: Metric,
    /// Its origin.
    pub protocol: Protocol,
    /// Where it leads.
    pub next_hop: NextHop,
    /// `rtm_scope`; IPv4 only.
    pub scope: u8,
    /// Preferred source address.
    pub preferred_source: Option<IpAddr>,
}

impl From<&Route> for Addition {
    /// As iproute2 and the adapter ask for it; what the model once wrote as the kernel's bytes is taken at its word.
    fn from(route: &Route) -> Self {
        let (scope, tos) = match route.wire.as_slice() {
            [scope, tos, ..] => (*scope, *tos),
            _ => (natural_scope(&route.next_hop, route.ipv6()), 0),
        };
        Self {
            destination: route.destination,
            table: route.table,
            tos,
            metric: route.metric,
            protocol: route.protocol,
            next_hop: route.next_hop.clone(),
            scope,
            preferred_source: route.preferred_source,
        }
    }
}

/// The scope that is given to a route where nobody says another.
pub(super) fn natural_scope(next_hop: &NextHop, ipv6: bool) -> u8 {
    match next_hop {
        NextHop::Device { .. } if !ipv6 => SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    }
}

/// `rtm_type`.
pub(super) fn kind(next_hop: &NextHop) -> u8 {
    match next_hop {
        NextHop::Unreachable => libc::RTN_UNREACHABLE,
        NextHop::Blackhole => libc::RTN_BLACKHOLE,
        _ => libc::RTN_UNICAST,
    }
}

/// A deletion; an attribute that is not given matches any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The destination.
    pub destination: IpNet,
    /// The table.
    pub table: TableId,
    /// Type of service: always given, and 0 is one.
    pub tos: u8,
    /// The priority; 0 is as none.
    pub metric: Option<Metric>,
    /// The origin.
    pub protocol: Option<Protocol>,
    /// The interface.
    pub ifindex: Option<Ifindex>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// The nexthop object.
    pub object: Option<NexthopId>,
    /// The scope; IPv4 only.
    pub scope: Option<u8>,
    /// The preferred source; IPv4 only.
    pub preferred_source: Option<IpAddr>,
    /// `rtm_type`; IPv4 only.
    pub kind: Option<u8>,
}

impl Deletion {
    /// Whatever leads to a destination.
    pub fn of(destination: IpNet, table: TableId) -> Self {
        Self {
            destination,
            table,
            tos: 0,
            metric: None,
            protocol: None,
            ifindex: None,
            gateway: None,
            object: None,
            scope: None,
            preferred_source: None,
            kind: None,
        }
    }
}

/// Which routes `ip route flush` takes; what is not given takes any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The family.
    pub ipv6: bool,
    /// The table.
    pub table: TableId,
    /// The origin.
    pub protocol: Option<Protocol>,
    /// The destination.
    pub destination: Option<IpNet>,
}

impl Filter {
    pub(super) fn takes(&self, listed: &Listed) -> bool {
        listed.table == self.table
            && self.protocol.is_none_or(|asked| asked == listed.protocol)
            && self
                .destination
                .is_none_or(|asked| asked == listed.destination)
    }
}

/// A rule's deletion; an attribute that is not given matches any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleDeletion {
    /// The family.
    pub ipv6: bool,
    /// The priority.
    pub priority: Option<u32>,
    /// Which packets it is for.
    pub selector: Option<Selector>,
    /// The table.
    pub table: Option<TableId>,
    /// The origin.
    pub protocol: Option<Protocol>,
}

impl From<&Rule> for RuleDeletion {
    /// Exactly this one.
    fn from(rule: &Rule) -> Self {
        Self {
            ipv6: rule.ipv6,
            priority: Some(rule.priority),
            selector: Some(rule.selector.clone()),
            table: Some(rule.table),
            protocol: Some(rule.protocol),
        }
    }
}
