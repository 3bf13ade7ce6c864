//! What becomes of connections when uplinks change: old ones are deleted once the kernel's routes have moved, and new ones are marked.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    config::Config,
    engine::{
        Engine,
        connections::{
            Connections, Flush, Reason,
            addresses::{KnownAddresses, inside},
        },
    },
    firewall::MarkTable,
    netlink::conntrack::{Conntrack, Selector},
    network::Link,
    units::{GroupId, UplinkId},
};

/// How often the table of marks is looked at: one netlink question unless some ruleset has changed.
const MARKS_AUDIT_EVERY: Duration = Duration::from_secs(5);

/// Removing the table takes some ten milliseconds; the end of the daemon waits so long for it at most.
const REMOVAL_MAX: Duration = Duration::from_secs(5);

/// The connections of every group, and what works on them.
#[derive(Debug)]
pub(super) struct Flows {
    groups: Vec<Connections>,
    addresses: KnownAddresses,
    /// None where its thread could not be started.
    conntrack: Option<Conntrack>,
    /// The deletion of an uplink that dies or that traffic leaves is wanted.
    flush: bool,
    marks: Option<Marks>,
}

impl Flows {
    /// For the groups of a configuration; the table of marks is loaded at once where one is wanted.
    pub(super) fn new(config: &Config) -> Self {
        let groups = config.groups.iter().enumerate().map(|(index, group)| {
            let id = GroupId(index as u16);
            let members = config.uplinks.iter().enumerate();
            let members = members.filter(|(_, uplink)| uplink.group == id);
            Connections::new(
                group.failback,
                members.map(|(index, _)| UplinkId(index as u16)),
            )
        });
        let conntrack = Conntrack::new();
        if let Err(error) = &conntrack {
            tracing::warn!(%error, "connections will not be deleted");
        }
        Self {
            groups: groups.collect(),
            addresses: KnownAddresses::default(),
            conntrack: conntrack.ok(),
            flush: config.flush_connections,
            marks: MarkTable::new(config).map(Marks::start),
        }
    }

    /// Takes a fresh look at the kernel, which may show that routes have moved.
    pub(super) fn observe(&mut self, engine: &Engine, now: Instant) {
        if let Some(marks) = &self.marks {
            marks.observe(&engine.snapshot().links);
        }
        let uplinks = &engine.config().uplinks;
        for index in 0..uplinks.len() {
            let id = UplinkId(index as u16);
            let own: Vec<IpAddr> = engine.addresses_of(id);
            self.addresses.observe(id, &own);
        }
        let mut due: Vec<Flush> = Vec::new();
        for (index, connections) in self.groups.iter_mut().enumerate() {
            let active = engine.active_in(GroupId(index as u16));
            due.extend(connections.observe(&active, |id| engine.state_of(id), now));
        }
        due.retain(|flush| self.flush || flush.reason == Reason::Drained);
        if due.is_empty() {
            return;
        }
        let networks = inside(&engine.snapshot().addresses, &engine.interfaces());
        for flush in due {
            self.delete(engine, flush, &networks);
        }
    }

    /// When to observe again, if nothing else happens before.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.groups.iter().filter_map(Connections::next_wake).min()
    }

    /// `inside`: the networks that are behind no uplink.
    fn delete(&self, engine: &Engine, flush: Flush, inside: &[IpNet]) {
        let Some(conntrack) = &self.conntrack else {
            return;
        };
        let config = &engine.config().uplinks[flush.uplink.index()];
        let deleted = conntrack.delete(Selector {
            mark: config.fwmark,
            addresses: self.addresses.of(flush.uplink),
            inside: inside.to_vec(),
        });
        let (uplink, reason) = (config.name.clone(), flush.reason);
        // The work is done by a thread; only its outcome is waited for here.
        tokio::spawn(async move {
            match deleted.await {
                Ok(deleted) => {
                    tracing::info!(
                        uplink,
                        ?reason,
                        connections = deleted.entries,
                        offloaded = deleted.offloaded,
                        "connections deleted"
                    );
                }
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(
                        uplink,
                        error = format!("{error:#}"),
                        "connections could not be deleted"
                    );
                }
            }
        });
    }

    /// Takes the table of marks away.
    pub(super) async fn end(&mut self) {
        if let Some(marks) = self.marks.take() {
            marks.end().await;
        }
    }
}

/// The task that keeps the table of marks: `nft` takes its time, and the loop has none.
#[derive(Debug)]
struct Marks {
    task: JoinHandle<()>,
    /// What the uplinks' interfaces are called.
    links: watch::Sender<Vec<Link>>,
    ending: mpsc::Sender<oneshot::Sender<()>>,
}

impl Marks {
    fn start(table: MarkTable) -> Self {
        let (ending, asked) = mpsc::channel(1);
        let (links, names) = watch::channel(Vec::new());
        let task = tokio::spawn(keep(table, names, asked));
        Self {
            task,
            links,
            ending,
        }
    }

    fn observe(&self, links: &[Link]) {
        self.links.send_if_modified(|known| {
            let names = |links: &[Link]| {
                let names = links.iter().map(|link| {
                    let others = link.alternative_names.clone();
                    (link.ifindex, link.name.clone(), others)
                });
                names.collect::<Vec<_>>()
            };
            let is_new = names(known) != names(links);
            if is_new {
                *known = links.to_vec();
            }
            is_new
        });
    }

    async fn end(self) {
        let (done, removed) = oneshot::channel();
        if self.ending.send(done).await.is_ok()
            && tokio::time::timeout(REMOVAL_MAX, removed).await.is_err()
        {
            tracing::warn!("the table inet pingu may still be there: nft does not answer");
        }
        self.task.abort();
    }
}

async fn keep(
    mut table: MarkTable,
    mut names: watch::Receiver<Vec<Link>>,
    mut ending: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut complaint = String::new();
    loop {
        let links = names.borrow_and_update().clone();
        match table.keep(&links).await {
            Ok(true) => {
                tracing::info!("connections are marked by their uplinks (table inet pingu)")
            }
            Ok(false) => complaint.clear(),
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::from(error));
                if text != complaint {
                    tracing::warn!(error = text, "connections are not marked");
                }
                complaint = text;
            }
        }
        let ending = tokio::select! {
            ending = ending.recv() => Some(ending),
            // Its sender ends together with the other one.
            Ok(()) = names.changed() => None,
            () = tokio::time::sleep(MARKS_AUDIT_EVERY) => None,
        };
        match ending {
            Some(Some(done)) => {
                if let Err(error) = table.remove().await {
                    tracing::warn!(%error, "the table inet pingu could not be removed");
                }
                // Whoever asked may have stopped waiting.
                let _gone = done.send(());
                return;
            }
            Some(None) => return,
            None => {}
        }
    }
}
