//! The kernel's routes, links, addresses and neighbours over rtnetlink.

use std::{io, net::IpAddr};

use crate::{
    netlink::{batch::Batch, codec::RawMessage, request::Requests, tables::Tables},
    network::{Change, Nexthop, Route, Rule, Snapshot},
    units::{Ifindex, Protocol},
};

pub mod conntrack;

pub mod watch;

pub mod model;

pub(crate) mod apply;

pub(crate) mod ask;

mod batch;

pub(crate) mod codec;

pub(crate) mod dump;

mod look;

mod many;

mod multipath;

mod netfilter;

pub(crate) mod nftables;

mod next_hop;

mod nexthops;

mod request;

mod rules;

mod sieve;

pub(crate) mod tables;

/// The kernel's route table, or a model of it.
pub trait RouteTable {
    /// Looks at everything; repeats dumps that the kernel marked as interrupted.
    fn snapshot(&mut self) -> impl Future<Output = Result<Snapshot, NetlinkError>>;

    /// Makes one change. "Already there" for an addition that is exactly there, and "already gone" for a deletion, are successes.
    fn apply(&mut self, change: &Change) -> impl Future<Output = Result<(), NetlinkError>>;

    /// Makes changes in their order, and returns what became of each; one that is refused stops no other.
    fn apply_all(
        &mut self,
        changes: &[Change],
    ) -> impl Future<Output = Vec<Result<(), NetlinkError>>> {
        async move {
            let mut outcomes = Vec::with_capacity(changes.len());
            for change in changes {
                outcomes.push(self.apply(change).await);
            }
            outcomes
        }
    }

    /// Asks the kernel to find out whether a neighbour still is where it was (`NUD_PROBE`); the answer arrives as news.
    fn doubt(
        &mut self,
        ifindex: Ifindex,
        address: IpAddr,
    ) -> impl Future<Output = Result<(), NetlinkError>>;

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

/// Fewer changes than this are made one by one: each then has the kernel's own words where it is refused.
const BATCH_FROM: usize = 16;

/// The kernel's route table, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct KernelRoutes {
    requests: Requests,
    protocol: Protocol,
    /// Opened when it is first needed.
    batch: Option<Batch>,
    tables: Tables,
    /// A dump of the main table shows IPv4 networks by their numbers.
    main_ascends: bool,
}

impl KernelRoutes {
    /// Opens it, with the protocol that marks own routes, and spawns its socket's task on the current runtime.
    pub fn new(protocol: Protocol) -> io::Result<Self> {
        Ok(Self {
            requests: Requests::new()?,
            protocol,
            batch: None,
            tables: Tables::default(),
            main_ascends: false,
        })
    }

    /// The ports of its sockets: who asked, in the kernel's announcements.
    pub fn ports(&mut self) -> Vec<u32> {
        // Opened for the answer: what a batch changes must be known for pingu's own before it is announced.
        let batch = self.batch().ok().map(|batch| batch.port());
        std::iter::once(self.requests.port()).chain(batch).collect()
    }

    async fn change_rule(&mut self, change: &Change, rule: &Rule) -> Result<(), NetlinkError> {
        let is_addition = matches!(change, Change::AddRule(_));
        let what = format!(
            "{} {rule}",
            if is_addition {
                "adding rule"
            } else {
                "deleting rule"
            }
        );
        let body = rules::body(rule).ok_or_else(|| impossible(&what))?;
        let (kind, flags, settled) = if is_addition {
            (
                libc::RTM_NEWRULE,
                apply::INTO_FREE_SLOT,
                &[libc::EEXIST][..],
            )
        } else {
            (libc::RTM_DELRULE, 0, &[libc::ENOENT, libc::ESRCH][..])
        };
        let request = RawMessage { kind, body };
        match self.requests.change(&what, request, flags).await {
            Err(error) if error.is(settled) => {
                let is_there = self.rules(rule.ipv6).await?.contains(rule);
                (is_there == is_addition).then_some(()).ok_or(error)
            }
            done => done,
        }
    }

    async fn change_nexthop(
        &mut self,
        change: &Change,
        nexthop: &Nexthop,
    ) -> Result<(), NetlinkError> {
        let what = format!("writing nexthop {nexthop}");
        if nexthop.protocol != self.protocol {
            return Err(impossible(&what));
        }
        let added = || nexthops::addition(nexthop).ok_or_else(|| impossible(&what));
        let (request, flags) = match change {
            Change::AddNexthop(_) => (added()?, apply::INTO_FREE_SLOT),
            Change::ReplaceNexthop(_) => (added()?, netlink_packet_core::NLM_F_REPLACE),
            _ => {
                // Only the number can be named: what has it must be seen to be ours.
                let mut there = self.nexthops().await?;
                there.retain(|other| other.id == nexthop.id);
                match there.first() {
                    None => return Ok(()),
                    Some(other) if other.protocol != self.protocol => return Ok(()),
                    Some(_) => (nexthops::deletion(nexthop), 0),
                }
            }
        };
        match self.requests.change(&what, request, flags).await {
            Err(error) if error.is(&[libc::EEXIST]) => {
                let is_there = self.nexthops().await?.contains(nexthop);
                is_there.then_some(()).ok_or(error)
            }
            Err(error) if error.is(&[libc::ENOENT]) && change.is_deletion() => Ok(()),
            done => done,
        }
    }

    async fn add(&mut self, route: &Route, flags: u16) -> Result<(), NetlinkError> {
        let what = format!("adding {}", route);
        self.only_own(route, &what)?;
        let request = apply::addition(route).ok_or_else(|| impossible(&what))?;
        match self.requests.change(&what, request, flags).await {
            Err(error) if error.is(&[libc::EEXIST]) => {
                let is_there = self.is_there(route)?;
                is_there.then_some(()).ok_or(error)
            }
            done => done,
        }
    }

    /// The kernel appends behind anybody's route, and for IPv6 merges with it: the slot has to be proven ours.
    async fn add_beside(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let routes = self.routes_at(route)?;
        // One for some packets only has a place of its own.
        let is_foreign = |other: &&Route| other.protocol != self.protocol && other.is_for_all();
        let foreign = routes.iter().find(is_foreign);
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
            if !self.is_there(route)? {
                return Ok(());
            }
        }
        match self.requests.change(&what, request, 0).await {
            // EINVAL: the route's nexthop object is gone, and the route with it.
            Err(error) if error.is(&[libc::ESRCH, libc::ENOENT, libc::ENODEV, libc::EINVAL]) => {
                // A foreign route that was appended to an own IPv6 one looks like an own one, and stays.
                let is_there = self.is_there(route)?;
                (!is_there).then_some(()).ok_or(error)
            }
            done => done,
        }
    }

    fn is_there(&mut self, route: &Route) -> Result<bool, NetlinkError> {
        let routes = self.routes_at(route)?;
        Ok(routes.iter().any(|other| same(other, route)))
    }

    async fn restore(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let what = format!("restoring {}", route);
        let request = apply::restoration(route).ok_or_else(|| impossible(&what))?;
        let restored = self.requests.change(&what, request, apply::INTO_FREE_SLOT);
        match restored.await {
            Err(error) if error.is(&[libc::EEXIST]) => {
                let routes = self.default_routes(route.ipv6())?;
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
        let (links, addresses) = self.interfaces().await?;
        let mut routes = self.default_routes(false)?;
        routes.extend(self.default_routes(true)?);
        routes.extend(self.other_own_routes(false)?);
        routes.extend(self.other_own_routes(true)?);
        let mut rules = self.rules(false).await?;
        rules.extend(self.rules(true).await?);
        let nexthops = self.nexthops().await?;
        next_hop::resolve(&mut routes, &nexthops);
        let neighbours = self
            .requests
            .dump("neighbour", &dump::neighbours_request())
            .await?;
        let bodies = |messages: Vec<RawMessage>| messages.into_iter().map(|message| message.body);
        Ok(Snapshot {
            links,
            addresses,
            routes,
            neighbours: bodies(neighbours)
                .filter_map(|body| dump::neighbour(&body, false))
                .collect(),
            rules,
            nexthops,
        })
    }

    async fn apply(&mut self, change: &Change) -> Result<(), NetlinkError> {
        if self.make_directly(change) {
            return Ok(());
        }
        match change {
            Change::Add(route) => self.add(route, apply::INTO_FREE_SLOT).await,
            Change::AddBeside(route) => self.add_beside(route).await,
            Change::Delete(route) => {
                self.only_own(route, &format!("deleting {}", route))?;
                self.delete(route).await
            }
            Change::TakeOver(route) => self.delete(route).await,
            Change::Restore(route) => self.restore(route).await,
            Change::AddRule(rule) | Change::DeleteRule(rule) => {
                self.change_rule(change, rule).await
            }
            Change::AddNexthop(nexthop)
            | Change::ReplaceNexthop(nexthop)
            | Change::DeleteNexthop(nexthop) => self.change_nexthop(change, nexthop).await,
        }
    }

    async fn apply_all(&mut self, changes: &[Change]) -> Vec<Result<(), NetlinkError>> {
        if changes.len() < BATCH_FROM {
            let mut outcomes = Vec::with_capacity(changes.len());
            for change in changes {
                outcomes.push(self.apply(change).await);
            }
            return outcomes;
        }
        self.apply_in_batches(changes).await
    }

    async fn doubt(&mut self, ifindex: Ifindex, address: IpAddr) -> Result<(), NetlinkError> {
        let what = format!("asking anew for neighbour {address} on interface {ifindex}");
        let request = apply::doubt(ifindex, address);
        match self.requests.change(&what, request, 0).await {
            // It is gone, or being asked for already.
            Err(error) if error.is(&[libc::ENOENT, libc::EINVAL]) => Ok(()),
            done => done,
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
    /// Whether the kernel knows of no connected network that holds the gateway.
    pub fn is_unreachable(&self) -> bool {
        self.is(&[libc::ENETUNREACH, libc::EHOSTUNREACH])
    }

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
    (found.destination, found.table, found.metric, found.protocol)
        == (asked.destination, asked.table, asked.metric, asked.protocol)
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
