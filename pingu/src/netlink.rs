//! The kernel's routes, links, addresses and neighbours over rtnetlink.

use std::{io, net::IpAddr};

use crate::{
    netlink::{
        codec::{RawMessage, RouteHeader, family, push_attribute},
        request::Requests,
    },
    network::{Change, Route, Snapshot},
    units::{Ifindex, Protocol, TableId},
};

pub mod conntrack;

pub mod watch;

pub mod model;

mod apply;

mod codec;

mod dump;

mod multipath;

mod netfilter;

mod request;

/// The kernel's route table, or a model of it.
pub trait RouteTable {
    /// Looks at everything; repeats dumps that the kernel marked as interrupted.
    fn snapshot(&mut self) -> impl Future<Output = Result<Snapshot, NetlinkError>>;

    /// Makes one change. "Already there" for an addition that is exactly there, and "already gone" for a deletion, are successes.
    fn apply(&mut self, change: &Change) -> impl Future<Output = Result<(), NetlinkError>>;

    /// Asks the kernel to resolve or confirm a neighbour (`NTF_USE`); the answer arrives as news.
    fn solicit(
        &mut self,
        ifindex: Ifindex,
        address: IpAddr,
    ) -> impl Future<Output = Result<(), NetlinkError>>;
}

/// Why a netlink request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused, with its own words where it gave any (extended ack).
    #[error("{what}: {source}{}", hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Refused {
        /// What was asked.
        what: String,
        /// The kernel's errno.
        source: io::Error,
        /// The kernel's extended acknowledgement text.
        hint: Option<String>,
    },
    /// A dump was interrupted by changes too many times in a row.
    #[error("the kernel's {0} table changed under every dump")]
    Interrupted(&'static str),
    /// The netlink connection is gone.
    #[error("the netlink connection closed")]
    Closed,
}

/// The kernel's route table, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct KernelRoutes {
    requests: Requests,
    protocol: Protocol,
}

impl KernelRoutes {
    /// Opens it, with the protocol that marks own routes, and spawns its socket's task on the current runtime.
    pub fn new(protocol: Protocol) -> io::Result<Self> {
        Ok(Self {
            requests: Requests::new()?,
            protocol,
        })
    }

    async fn default_routes(&mut self, ipv6: bool) -> Result<Vec<Route>, NetlinkError> {
        let header = RouteHeader {
            family: family(ipv6),
            table: libc::RT_TABLE_MAIN,
            ..RouteHeader::default()
        };
        let mut body = header.write();
        push_attribute(&mut body, libc::RTA_TABLE, &TableId::MAIN.0.to_ne_bytes());
        let request = RawMessage {
            kind: libc::RTM_GETROUTE,
            body,
        };
        let what = if ipv6 { "IPv6 route" } else { "IPv4 route" };
        let messages = match self.requests.dump(what, &request).await {
            // A namespace without any IPv4 route has no main table yet.
            Err(error) if error.is(&[libc::ENOENT]) => Vec::new(),
            messages => messages?,
        };
        let bodies = messages.iter().map(|message| message.body.as_slice());
        Ok(bodies
            .filter_map(dump::default_route)
            .flat_map(|route| multipath::apart(route, self.protocol))
            .collect())
    }

    async fn add(&mut self, route: &Route, flags: u16) -> Result<(), NetlinkError> {
        let what = format!("adding {}", route);
        self.only_own(route, &what)?;
        let request = apply::addition(route).ok_or_else(|| impossible(&what))?;
        match self.requests.change(&what, request, flags).await {
            Err(error) if error.is(&[libc::EEXIST]) => {
                let is_there = self.is_there(route).await?;
                is_there.then_some(()).ok_or(error)
            }
            done => done,
        }
    }

    /// The kernel appends behind anybody's route, and for IPv6 merges with it: the slot has to be proven ours.
    async fn add_beside(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let routes = self.default_routes(route.ipv6()).await?;
        let foreign = routes
            .iter()
            .find(|other| other.metric == route.metric && other.protocol != self.protocol);
        if let Some(foreign) = foreign {
            return Err(NetlinkError::Refused {
                what: format!("adding {}", route),
                source: io::Error::from_raw_os_error(libc::EEXIST),
                hint: Some(format!("{} is in its place", foreign)),
            });
        }
        self.add(route, apply::BESIDE).await
    }

    async fn delete(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let what = format!("deleting {}", route);
        let request = apply::deletion(route).ok_or_else(|| impossible(&what))?;
        if route.metric.0 == 0 {
            // To the kernel a metric of 0 in a deletion means any.
            if !self.is_there(route).await? {
                return Ok(());
            }
        }
        match self.requests.change(&what, request, 0).await {
            Err(error) if error.is(&[libc::ESRCH, libc::ENOENT, libc::ENODEV]) => {
                // A foreign route that was appended to an own IPv6 one looks like an own one, and stays.
                let is_there = self.is_there(route).await?;
                (!is_there).then_some(()).ok_or(error)
            }
            done => done,
        }
    }

    async fn is_there(&mut self, route: &Route) -> Result<bool, NetlinkError> {
        let routes = self.default_routes(route.ipv6()).await?;
        Ok(routes.iter().any(|other| same(other, route)))
    }

    async fn restore(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let what = format!("restoring {}", route);
        let request = apply::restoration(route).ok_or_else(|| impossible(&what))?;
        let restored = self.requests.change(&what, request, apply::INTO_FREE_SLOT);
        match restored.await {
            Err(error) if error.is(&[libc::EEXIST]) => {
                let routes = self.default_routes(route.ipv6()).await?;
                let is_there = routes.iter().any(|other| other.wire == route.wire);
                is_there.then_some(()).ok_or(error)
            }
            done => done,
        }
    }

    fn only_own(&self, route: &Route, what: &str) -> Result<(), NetlinkError> {
        if route.protocol == self.protocol {
            Ok(())
        } else {
            Err(impossible(what))
        }
    }
}

impl RouteTable for KernelRoutes {
    async fn snapshot(&mut self) -> Result<Snapshot, NetlinkError> {
        let links = self.requests.dump("link", &dump::links_request()).await?;
        let addresses = self
            .requests
            .dump("address", &dump::addresses_request())
            .await?;
        let mut routes = self.default_routes(false).await?;
        routes.extend(self.default_routes(true).await?);
        let neighbours = self
            .requests
            .dump("neighbour", &dump::neighbours_request())
            .await?;
        let bodies = |messages: Vec<RawMessage>| messages.into_iter().map(|message| message.body);
        Ok(Snapshot {
            links: bodies(links).filter_map(|body| dump::link(&body)).collect(),
            addresses: bodies(addresses)
                .filter_map(|body| dump::interface_address(&body))
                .collect(),
            routes,
            neighbours: bodies(neighbours)
                .filter_map(|body| dump::neighbour(&body, false))
                .collect(),
            rules: Vec::new(),
            nexthops: Vec::new(),
        })
    }

    async fn apply(&mut self, change: &Change) -> Result<(), NetlinkError> {
        match change {
            Change::Add(route) => self.add(route, apply::INTO_FREE_SLOT).await,
            Change::AddBeside(route) => self.add_beside(route).await,
            Change::Delete(route) => {
                self.only_own(route, &format!("deleting {}", route))?;
                self.delete(route).await
            }
            Change::TakeOver(route) => self.delete(route).await,
            Change::Restore(route) => self.restore(route).await,
            Change::AddRule(_)
            | Change::DeleteRule(_)
            | Change::AddNexthop(_)
            | Change::ReplaceNexthop(_)
            | Change::DeleteNexthop(_) => Err(impossible("rules and nexthops")),
        }
    }

    async fn solicit(&mut self, ifindex: Ifindex, address: IpAddr) -> Result<(), NetlinkError> {
        let what = format!("asking for neighbour {address} on interface {ifindex}");
        let request = apply::solicitation(ifindex, address);
        self.requests
            .change(&what, request, netlink_packet_core::NLM_F_CREATE)
            .await
    }
}

impl NetlinkError {
    /// Whether the kernel refused with one of these errnos.
    fn is(&self, errnos: &[i32]) -> bool {
        match self {
            Self::Refused { source, .. } => source
                .raw_os_error()
                .is_some_and(|errno| errnos.contains(&errno)),
            Self::Interrupted(_) | Self::Closed => false,
        }
    }
}

/// Whether a route of a dump is the one that was asked for.
fn same(found: &Route, asked: &Route) -> bool {
    (found.ipv6(), found.table, found.metric, found.protocol)
        == (asked.ipv6(), asked.table, asked.metric, asked.protocol)
        && found.next_hop == asked.next_hop
        && found.preferred_source == asked.preferred_source
}

/// A request that would not be exact, or not ours to make.
fn impossible(what: &str) -> NetlinkError {
    NetlinkError::Refused {
        what: what.to_owned(),
        source: io::ErrorKind::InvalidInput.into(),
        hint: None,
    }
}
