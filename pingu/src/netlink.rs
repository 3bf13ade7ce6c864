//! The kernel's routes, links, addresses and neighbours over rtnetlink.

use std::{io, net::IpAddr};

use crate::{
    network::{Change, Snapshot},
    units::Ifindex,
};

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
