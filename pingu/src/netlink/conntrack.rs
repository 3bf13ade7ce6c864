//! Connection tracking: deletes the kernel's entries of flows that used an uplink, and no others, so that what follows of such a
//! flow is looked up, and translated, anew.
//!
//! Never the whole table, and never by a filter that the kernel applies while it deletes: each entry is read, judged here, and
//! deleted by its own tuple, zone and id.

use std::{
    io,
    net::IpAddr,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
};

use ipnet::IpNet;
use tokio::sync::oneshot;

use crate::config::{FirewallMark, UPLINKS_MAX};

mod entry;
mod sweep;

/// Deletions that wait while one look at the table is under way; they share the next one. Each uplink may fail once in that time.
const JOBS_MAX: usize = UPLINKS_MAX;

/// Which entries belong to an uplink: those with its mark, and those with one of its addresses at this router's end.
///
/// An address counts as the original source (the router's own flows, and flows without NAT), as the reply's destination (what
/// masquerade and SNAT made of the source), and as the original destination (flows that came in over the uplink). Flows that
/// never left the router are spared: those of loopback, and, unless they carry the mark, those both of whose original ends are
/// `addresses` or `inside`, such as a LAN host's to the router's outer address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The mark that the uplink's flows carry.
    pub mark: Option<FirewallMark>,
    /// The uplink's addresses, as far as no other uplink has the same.
    pub addresses: Vec<IpAddr>,
    /// Networks of this router that are not behind any uplink.
    pub inside: Vec<IpNet>,
}

/// What came of a deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Entries that were deleted.
    pub entries: u64,
    /// Entries that the kernel keeps because a flow table has them (`IPS_OFFLOAD`, EBUSY).
    pub offloaded: u64,
}

/// Why entries were not deleted, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel has no connection tracking, or no netlink for it.
    #[error(
        "the kernel offers no connection tracking over netlink (module nf_conntrack_netlink): {0}"
    )]
    Unavailable(#[source] io::Error),
    /// The kernel refused.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The kernel's errno.
        source: io::Error,
    },
    /// Looks at the table were interrupted too many times in a row.
    #[error("the kernel's connection table could not be read whole, {0} times in a row")]
    Interrupted(usize),
    /// More deletions are waiting than there are uplinks.
    #[error("{JOBS_MAX} deletions are waiting already")]
    Busy,
    /// The thread has ended.
    #[error("the thread that deletes connections has ended")]
    Ended,
}

/// A thread that deletes entries in the network namespace that it was started in. It ends when this is dropped.
///
/// A table of 100,000 entries takes a second or two, so it is none of the probing loop's business.
#[derive(Debug)]
pub struct Conntrack {
    jobs: SyncSender<Job>,
}

/// A deletion that somebody waits for.
#[derive(Debug)]
struct Job {
    selector: Selector,
    deleted: Deleted,
    done: oneshot::Sender<Result<Deleted, ConntrackError>>,
}

impl Conntrack {
    /// Starts the thread. Nothing is asked of the kernel yet: its modules may come later than this.
    pub fn new() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        thread::Builder::new()
            .name("conntrack".to_owned())
            .spawn(move || serve(&queue))?;
        Ok(Self { jobs })
    }

    /// Deletes every entry that belongs to a selector. The work begins at once, on the thread, whether or not the future is
    /// polled; it is done even if the future is dropped.
    pub fn delete(
        &self,
        selector: Selector,
    ) -> impl Future<Output = Result<Deleted, ConntrackError>> + use<> {
        let (done, answer) = oneshot::channel();
        let queued = self.jobs.try_send(Job {
            selector,
            deleted: Deleted::default(),
            done,
        });
        async move {
            match queued {
                Ok(()) => answer.await.unwrap_or(Err(ConntrackError::Ended)),
                Err(TrySendError::Full(_)) => Err(ConntrackError::Busy),
                Err(TrySendError::Disconnected(_)) => Err(ConntrackError::Ended),
            }
        }
    }
}

/// Serves deletions until nobody can ask for any; all that wait share one look at the table.
fn serve(queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter().take(JOBS_MAX - 1));
        let outcome = sweep::sweep(&mut jobs);
        for job in jobs {
            let result = match &outcome {
                Ok(()) => Ok(job.deleted),
                Err(error) => Err(error.for_another()),
            };
            // Whoever asked may have stopped waiting.
            let _ = job.done.send(result);
        }
    }
}

impl ConntrackError {
    /// The same for another job of the same look.
    fn for_another(&self) -> Self {
        let again = |source: &io::Error| match source.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => source.kind().into(),
        };
        match self {
            Self::Unavailable(source) => Self::Unavailable(again(source)),
            Self::Refused { what, source } => Self::Refused {
                what,
                source: again(source),
            },
            Self::Interrupted(times) => Self::Interrupted(*times),
            Self::Busy => Self::Busy,
            Self::Ended => Self::Ended,
        }
    }
}
