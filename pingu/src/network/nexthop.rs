//! Nexthop objects: next hops with a number, which many routes may share and one message changes.

use std::fmt;

use crate::{
    network::NextHop,
    units::{NexthopId, Protocol},
};

/// A nexthop object (`RTM_NEWNEXTHOP`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nexthop {
    /// Its number (`NHA_ID`), unique in the network namespace.
    pub id: NexthopId,
    /// Its origin (`nh_protocol`).
    pub protocol: Protocol,
    /// IPv6 rather than IPv4. A group has no family of its own (`AF_UNSPEC`) and is listed under IPv4.
    pub ipv6: bool,
    /// What it is.
    pub kind: NexthopKind,
}

/// What a nexthop object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopKind {
    /// One next hop.
    Single(NextHop),
    /// Several by their weights (1..=255): each flow takes one (`NEXTHOP_GRP_TYPE_MPATH`).
    Group(Vec<(NexthopId, u16)>),
    /// Something pingu leaves alone; named for people.
    Other(String),
}

impl fmt::Display for Nexthop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, protocol, .. } = self;
        match &self.kind {
            NexthopKind::Single(next_hop) => write!(f, "id {id} {next_hop} proto {protocol}"),
            NexthopKind::Group(members) => {
                let members: Vec<String> = members
                    .iter()
                    .map(|(member, weight)| format!("{member},{weight}"))
                    .collect();
                write!(f, "id {id} group {} proto {protocol}", members.join("/"))
            }
            NexthopKind::Other(what) => write!(f, "id {id} {what} proto {protocol}"),
        }
    }
}
