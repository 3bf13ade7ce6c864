//! Many changes at once: whatever a plain message can say goes into a batch, the rest one by one between batches.

use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
    io,
};

use netlink_packet_core::NLM_F_REPLACE;

use crate::{
    netlink::{
        KernelRoutes, NetlinkError, RouteTable, apply, batch::Batch, codec::RawMessage,
        dump::Place, nexthops, same,
    },
    network::{Change, Route},
    units::TableId,
};

/// Changes that are tried once more by themselves, for the kernel's own words: each may take a dump, and the loop waits for all.
const TRIED_SINGLY_MAX: usize = 16;

/// What an addition or a deletion that has happened already is refused with, beside what is refused for other reasons.
const ADDED: &[i32] = &[libc::EEXIST];
// EINVAL: the route's nexthop object is gone, and the route with it.
const DELETED: &[i32] = &[libc::ESRCH, libc::ENOENT, libc::ENODEV, libc::EINVAL];

/// `NLMSG_NOOP`: the kernel acknowledges it, and that is all.
const NOOP: u16 = 1;

type Outcome = Result<(), NetlinkError>;

/// Changes on their way.
struct Progress<'a> {
    changes: &'a [Change],
    outcomes: Vec<Option<Outcome>>,
    /// What waits for the next batch, by the places of their changes.
    pending: Vec<usize>,
    requests: Vec<(RawMessage, u16)>,
    tried_singly: usize,
}

impl KernelRoutes {
    /// Makes changes in their order. What a batch could not make is told from what has happened already by one look at each table.
    pub(super) async fn apply_in_batches(&mut self, changes: &[Change]) -> Vec<Outcome> {
        let foreign = match self.foreign_places(changes) {
            Ok(foreign) => foreign,
            Err(error) => {
                tracing::debug!(%error, "no batch without a look at the places");
                HashMap::new()
            }
        };
        let mut progress = Progress {
            changes,
            outcomes: changes.iter().map(|_| None).collect(),
            pending: Vec::new(),
            requests: Vec::new(),
            tried_singly: 0,
        };
        // Only this makes a place of others free.
        let stays_taken = !changes.iter().any(|c| matches!(c, Change::TakeOver(_)));
        for (index, change) in changes.iter().enumerate() {
            if let Some(request) = self.plain(change, &foreign) {
                progress.pending.push(index);
                progress.requests.push(request);
            } else if stays_taken && self.is_beside_others(change, &foreign) {
                progress.outcomes[index] = Some(Err(errno_of(change, libc::EEXIST)));
            } else {
                self.flush(&mut progress).await;
                let is_beside = matches!(change, Change::AddBeside(_));
                progress.outcomes[index] = Some(if is_beside {
                    self.try_singly(&mut progress.tried_singly, change, libc::EAGAIN)
                        .await
                } else {
                    self.apply(change).await
                });
            }
        }
        self.flush(&mut progress).await;
        let outcomes = progress.outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.expect("every change was flushed, refused or applied"))
            .collect()
    }

    /// Sends what is pending.
    async fn flush(&mut self, progress: &mut Progress<'_>) {
        let pending = std::mem::take(&mut progress.pending);
        let requests = std::mem::take(&mut progress.requests);
        if pending.is_empty() {
            return;
        }
        let errnos = match self.batch().and_then(|batch| batch.change(&requests)) {
            Ok(errnos) => errnos,
            Err(error) => {
                tracing::debug!(%error, "a batch failed; few of its changes are made one by one");
                self.batch = None;
                vec![libc::EIO; pending.len()]
            }
        };
        let mut doubtful: Vec<(usize, i32)> = Vec::new();
        for (index, errno) in pending.into_iter().zip(errnos) {
            let change = &progress.changes[index];
            if errno == 0 {
                progress.outcomes[index] = Some(Ok(()));
            } else if settled_by(change).contains(&errno) {
                doubtful.push((index, errno));
            } else {
                let outcome = self.try_singly(&mut progress.tried_singly, change, errno);
                progress.outcomes[index] = Some(outcome.await);
            }
        }
        self.settle(&doubtful, progress);
    }

    /// Tells those changes that had happened already from those that were refused.
    fn settle(&mut self, doubtful: &[(usize, i32)], progress: &mut Progress<'_>) {
        let routes = doubtful
            .iter()
            .filter_map(|(index, _)| route_of(&progress.changes[*index]));
        let mut places: HashMap<(TableId, bool), HashSet<Place>> = HashMap::new();
        for route in routes {
            let of_table = places.entry((route.table, route.ipv6())).or_default();
            of_table.insert(place(route));
        }
        let mut seen: HashMap<Place, Vec<Route>> = HashMap::new();
        let mut unseen: HashSet<(TableId, bool)> = HashSet::new();
        for ((table, ipv6), places) in places {
            match self.routes_at_places(table, ipv6, &places) {
                Ok(routes) => {
                    for route in routes {
                        seen.entry(place(&route)).or_default().push(route);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "what a batch could not do is not known");
                    unseen.insert((table, ipv6));
                }
            }
        }
        for (index, errno) in doubtful {
            let change = &progress.changes[*index];
            let has_happened = route_of(change).is_some_and(|route| {
                let there = seen.get(&place(route)).into_iter().flatten();
                let is_there = there.into_iter().any(|other| same(other, route));
                !unseen.contains(&(route.table, route.ipv6())) && is_there != change.is_deletion()
            });
            let refusal = || errno_of(change, *errno);
            progress.outcomes[*index] = Some(has_happened.then_some(()).ok_or_else(refusal));
        }
    }

    /// Makes a change by itself, unless many have been.
    async fn try_singly(&mut self, tried: &mut usize, change: &Change, errno: i32) -> Outcome {
        if *tried >= TRIED_SINGLY_MAX {
            return Err(errno_of(change, errno));
        }
        *tried += 1;
        self.apply(change).await
    }

    fn is_beside_others(
        &self,
        change: &Change,
        foreign: &HashMap<(TableId, bool), HashSet<Place>>,
    ) -> bool {
        let Change::AddBeside(route) = change else {
            return false;
        };
        let places = foreign.get(&(route.table, route.ipv6()));
        route.protocol == self.protocol
            && places.is_some_and(|places| places.contains(&place(route)))
    }

    /// Makes a change that needs no look before it by one system call each way: the first of a failover waits for nothing else. Whether
    /// it is made; what is refused takes the long way, which finds out why.
    pub(super) fn make_directly(&mut self, change: &Change) -> bool {
        let Some(request) = self.direct(change) else {
            return false;
        };
        match self.batch().and_then(|batch| batch.change(&[request])) {
            Ok(errnos) => errnos == [0],
            Err(error) => {
                tracing::debug!(%error, "a change could not be made directly");
                self.batch = None;
                false
            }
        }
    }

    /// Goes the way of a change without one: lays it out, and has the kernel acknowledge a message that asks for nothing.
    pub(crate) fn rehearse(&mut self, change: Option<&Change>) {
        if let Some(change) = change {
            black_box(self.direct(change));
        }
        let nothing = RawMessage {
            kind: NOOP,
            body: Vec::new(),
        };
        if let Err(error) = self.batch().and_then(|batch| batch.change(&[(nothing, 0)])) {
            tracing::debug!(%error, "the kernel acknowledges nothing");
            self.batch = None;
        }
    }

    pub(super) fn batch(&mut self) -> io::Result<&mut Batch> {
        match &mut self.batch {
            Some(batch) => Ok(batch),
            none => Ok(none.insert(Batch::new()?)),
        }
    }

    fn direct(&self, change: &Change) -> Option<(RawMessage, u16)> {
        match change {
            Change::ReplaceNexthop(nexthop) if nexthop.protocol == self.protocol => {
                nexthops::addition(nexthop).map(|request| (request, NLM_F_REPLACE))
            }
            _ => self.plain(change, &HashMap::new()),
        }
    }

    /// The request of a change that needs no look before it.
    fn plain(
        &self,
        change: &Change,
        foreign: &HashMap<(TableId, bool), HashSet<Place>>,
    ) -> Option<(RawMessage, u16)> {
        let is_own = |route: &Route| route.protocol == self.protocol;
        match change {
            Change::Add(route) if is_own(route) => {
                Some((apply::addition(route)?, apply::INTO_FREE_SLOT))
            }
            Change::AddBeside(route) if is_own(route) => {
                let places = foreign.get(&(route.table, route.ipv6()))?;
                let is_free = !places.contains(&place(route));
                is_free.then(|| Some((apply::addition(route)?, apply::BESIDE)))?
            }
            // To the kernel a metric of 0 in a deletion means any.
            Change::Delete(route) if is_own(route) && route.metric.0 != 0 => {
                Some((apply::deletion(route)?, 0))
            }
            _ => None,
        }
    }

    /// Those places of others where something is to be added beside: a look at each table instead of one at each place.
    fn foreign_places(
        &mut self,
        changes: &[Change],
    ) -> Result<HashMap<(TableId, bool), HashSet<Place>>, NetlinkError> {
        let mut wanted: HashMap<(TableId, bool), HashSet<Place>> = HashMap::new();
        for change in changes {
            if let Change::AddBeside(route) = change {
                let places = wanted.entry((route.table, route.ipv6())).or_default();
                places.insert(place(route));
            }
        }
        let taken = wanted.into_iter().map(|((table, ipv6), places)| {
            let taken = self.places_of_others(table, ipv6, &places)?;
            Ok(((table, ipv6), taken))
        });
        taken.collect()
    }
}

fn place(route: &Route) -> Place {
    (route.table, route.destination, route.metric)
}

fn route_of(change: &Change) -> Option<&Route> {
    match change {
        Change::Add(route) | Change::AddBeside(route) | Change::Delete(route) => Some(route),
        _ => None,
    }
}

/// With these errnos a change may have happened already.
fn settled_by(change: &Change) -> &'static [i32] {
    if change.is_deletion() { DELETED } else { ADDED }
}

/// A refusal without the kernel's own words.
fn errno_of(change: &Change, errno: i32) -> NetlinkError {
    let what = match (change.is_deletion(), route_of(change)) {
        (true, Some(route)) => format!("deleting {route}"),
        (false, Some(route)) => format!("adding {route}"),
        (_, None) => change.to_string(),
    };
    NetlinkError::Refused {
        what,
        source: io::Error::from_raw_os_error(errno),
        hint: None,
    }
}
