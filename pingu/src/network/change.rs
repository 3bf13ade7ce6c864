//! What may be written.

use std::fmt;

use crate::network::{NextHop, Nexthop, NexthopKind, Route, Rule};

/// One change to the kernel's routing. Each names its object exactly: a route by table, destination, metric, interface, gateway and
/// protocol; a rule by priority, selector, table and protocol; a nexthop object by its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add an own route to a free slot (`NLM_F_CREATE | NLM_F_EXCL`).
    Add(Route),
    /// Add an own route beside another own one of the same metric (`NLM_F_CREATE | NLM_F_APPEND`), which is deleted next.
    AddBeside(Route),
    /// Delete exactly this own route.
    Delete(Route),
    /// Delete exactly this route of somebody else's: only in adopt mode, and only one that has been remembered.
    TakeOver(Route),
    /// Put a route of somebody else's back from its `wire` bytes (`NLM_F_CREATE | NLM_F_EXCL`).
    Restore(Route),
    /// Add an own rule (`NLM_F_CREATE | NLM_F_EXCL`).
    AddRule(Rule),
    /// Delete exactly this own rule.
    DeleteRule(Rule),
    /// Make an own nexthop object where there is none with its identifier (`NLM_F_CREATE | NLM_F_EXCL`).
    AddNexthop(Nexthop),
    /// Change an own nexthop object in place (`NLM_F_REPLACE`): every route that uses it follows in the same instant.
    ReplaceNexthop(Nexthop),
    /// Delete an own nexthop object; the kernel deletes the routes that use it.
    DeleteNexthop(Nexthop),
}

/// What has happened once it is made, and to what.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(route) | Self::AddBeside(route) => write!(f, "route added: {route}"),
            Self::Delete(route) => write!(f, "route deleted: {route}"),
            Self::TakeOver(route) => write!(f, "route taken over: {route}"),
            Self::Restore(route) => write!(f, "route put back: {route}"),
            Self::AddRule(rule) => write!(f, "rule added: {rule}"),
            Self::DeleteRule(rule) => write!(f, "rule deleted: {rule}"),
            Self::AddNexthop(nexthop) => write!(f, "nexthop added: {nexthop}"),
            Self::ReplaceNexthop(nexthop) => write!(f, "nexthop replaced: {nexthop}"),
            Self::DeleteNexthop(nexthop) => write!(f, "nexthop deleted: {nexthop}"),
        }
    }
}

impl Change {
    /// The same with the gateway declared reachable, if it is an addition by one that was not. Whoever flushes a table takes the
    /// connected networks along, and without them the kernel knows of no gateway although the addresses still stand.
    pub fn onlink(&self) -> Option<Self> {
        let declared = |next_hop: &NextHop| match *next_hop {
            NextHop::Gateway {
                ifindex,
                gateway,
                onlink: false,
            } => Some(NextHop::Gateway {
                ifindex,
                gateway,
                onlink: true,
            }),
            _ => None,
        };
        let route = |route: &Route| {
            Some(Route {
                next_hop: declared(&route.next_hop)?,
                ..route.clone()
            })
        };
        let nexthop = |nexthop: &Nexthop| match &nexthop.kind {
            NexthopKind::Single(next_hop) => Some(Nexthop {
                kind: NexthopKind::Single(declared(next_hop)?),
                ..nexthop.clone()
            }),
            NexthopKind::Group(_) | NexthopKind::Other(_) => None,
        };
        match self {
            Self::Add(added) => route(added).map(Self::Add),
            Self::AddBeside(added) => route(added).map(Self::AddBeside),
            Self::AddNexthop(added) => nexthop(added).map(Self::AddNexthop),
            Self::ReplaceNexthop(changed) => nexthop(changed).map(Self::ReplaceNexthop),
            Self::Delete(_)
            | Self::TakeOver(_)
            | Self::Restore(_)
            | Self::AddRule(_)
            | Self::DeleteRule(_)
            | Self::DeleteNexthop(_) => None,
        }
    }

    /// It takes something away.
    pub fn is_deletion(&self) -> bool {
        matches!(
            self,
            Self::Delete(_) | Self::DeleteRule(_) | Self::DeleteNexthop(_)
        )
    }
}
